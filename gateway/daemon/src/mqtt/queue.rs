//! What waits for the hub.

use std::collections::VecDeque;

use guanjia_field::FieldReport;
use tokio::sync::mpsc;

use crate::hub;
use crate::receipt::Receipt;

/// Reports that wait for the hub before no more messages are taken. One message or one lost session may exceed it.
const WAITING_MAX: usize = 64;

/// The way into the hub, in order. It is waited for, but not by standing still.
pub(super) struct Hub {
    queue: mpsc::Sender<hub::Message>,
    waiting: VecDeque<hub::Message>,
}

/// The hub is gone.
pub(super) struct Gone;

impl Hub {
    pub(super) fn new(queue: mpsc::Sender<hub::Message>) -> Self {
        Self { queue, waiting: VecDeque::new() }
    }

    /// Whether another message may be taken from the connection.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX
    }

    pub(super) fn send_all(&mut self, reports: Vec<FieldReport>) {
        self.waiting.extend(reports.into_iter().map(hub::Message::Report));
    }

    /// The receipt of what was sent before it, as far as it is billed.
    pub(super) fn send_bill(&mut self, receipt: Receipt) {
        self.waiting.push_back(hub::Message::Bill(receipt));
    }

    /// The receipt of everything that was sent before it.
    pub(super) fn send_receipt(&mut self, receipt: Receipt) {
        self.waiting.push_back(hub::Message::Receipt(receipt));
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands over what waits longest, when there is a place for it.
    pub(super) async fn send_next(&mut self) -> Result<(), Gone> {
        let place = self.queue.reserve().await.map_err(|_| Gone)?;
        if let Some(message) = self.waiting.pop_front() {
            place.send(message);
        }
        Ok(())
    }
}
