//! A message of a device, from its arrival to the receipts behind it; and what was kept of earlier ones.
//!
//! ```text
//!  known already? ──► read ──► reports ──► bill, if it dates its values itself ──► receipt ──► hub, in this order
//!                       └──► journal, if it matters and said anything new
//! ```

use tracing::{debug, error};

use super::connection::Message;
use super::inbox::{Admission, Keeping};
use super::intake::{Delivery, PAYLOAD_BYTES_MAX, Tally};
use super::{Bridge, Session};
use crate::metrics::{Metrics, MqttIn};

/// Topics nobody asked for that are unsubscribed from in one session.
const STRANGERS_MAX: usize = 64;

impl Bridge {
    /// Looks again at the last message of each topic that was acknowledged.
    pub(super) async fn resume(&mut self) {
        let name = &self.config.name;
        let kept = match self.works.store.kept_messages(name).await {
            Ok(kept) => kept,
            Err(failure) => {
                error!(broker = %name, %failure, "the journal does not tell the last messages; devices have to speak first");
                return;
            }
        };
        self.inbox.resume(&kept);
        let now = guanjia_field::now();
        for message in kept {
            if !self.intake.knows(&message.topic) {
                if let Err(failure) = self.works.store.forget_message(&self.config.name, &message.topic).await {
                    debug!(%failure, topic = message.topic, "a message nobody listens to stays in the journal");
                }
                continue;
            }
            let delivery = Delivery::Kept { received: message.at.min(now) };
            let (reports, _) = self.intake.message(&message.topic, &message.payload, delivery, now);
            self.hub.send_all(reports);
        }
    }

    pub(super) fn message(&mut self, message: &Message, session: &mut Session) {
        let (name, metrics) = (&self.config.name, &self.works.metrics);
        metrics.mqtt_in(name, MqttIn::Received, 1);
        let now = guanjia_field::now();
        let receipt = match self.inbox.admit(message) {
            Admission::Known => {
                metrics.mqtt_in(name, MqttIn::Repeated, 1);
                return;
            }
            Admission::New(receipt) => Some(receipt),
            Admission::Unpromised => None,
        };
        if self.intake.knows(&message.topic) {
            let delivery = if message.retain { Delivery::Retained } else { Delivery::Live };
            let (reports, tally) = self.intake.message(&message.topic, &message.payload, delivery, now);
            count(metrics, name, &tally);
            if let Some(receipt) = &receipt {
                let fits = message.payload.len() <= PAYLOAD_BYTES_MAX;
                let matters = self.intake.keeping(&message.topic) == Keeping::Journal;
                // What is retained the broker has kept already, and nobody knows how old it is. What says nothing new must
                // not take the place of what did.
                if fits && matters && !message.retain && !tally.is_nothing_new(&reports) {
                    self.inbox.keep(message, receipt.one_more(), now);
                }
            }
            self.hub.send_all(reports);
            if let (true, Some(receipt)) = (tally.dated, &receipt) {
                self.hub.send_bill(receipt.one_more());
            }
        } else if !self.north.message(&message.topic, &message.payload) {
            // A kept session still brings what an earlier configuration asked for.
            metrics.ingest_dropped("unknown_topic", 1);
            metrics.mqtt_in(name, MqttIn::Refused, 1);
            let new = session.strangers.len() < STRANGERS_MAX && session.strangers.insert(message.topic.clone());
            if new && let Err(failure) = session.client.unsubscribe(&message.topic) {
                debug!(broker = %name, topic = message.topic, %failure, "cannot unsubscribe now");
            }
        }
        if let Some(receipt) = receipt {
            self.hub.send_receipt(receipt);
        }
    }
}

fn count(metrics: &Metrics, broker: &str, tally: &Tally) {
    for (reason, n) in [
        ("sample_undated", tally.samples.undated),
        ("sample_repeated", tally.samples.repeated),
        ("sample_limit", tally.samples.beyond),
    ] {
        metrics.ingest_dropped(reason, n);
    }
    let counts = [("undecodable", tally.undecodable), ("oversized", tally.oversized)];
    for (reason, n) in counts.into_iter().filter(|(_, n)| *n > 0) {
        metrics.ingest_dropped(reason, n);
        metrics.mqtt_in(broker, MqttIn::Refused, 1);
    }
    if tally.repeated > 0 {
        metrics.mqtt_in(broker, MqttIn::Repeated, tally.repeated);
    }
}
