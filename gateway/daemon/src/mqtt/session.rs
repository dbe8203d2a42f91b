//! One session with a broker: what is under way, what was subscribed to.
//!
//! Everything here lives as long as one connection and is forgotten with it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::connection::{Client, Granted};
use super::outgoing::Token;

/// Topics in one SUBSCRIBE.
const TOPICS_PER_SUBSCRIBE: usize = 50;
/// How long a message or subscription may go unacknowledged.
const ACK_MAX: Duration = Duration::from_secs(20);

/// Publications under way.
#[derive(Default)]
pub(super) struct Flight {
    /// Given to the client, without a packet id yet; first in, first out.
    submitted: VecDeque<(Token, Instant)>,
    /// On the wire, by packet id.
    handed: HashMap<u16, (Token, Instant)>,
}

impl Flight {
    pub(super) fn len(&self) -> usize {
        self.submitted.len() + self.handed.len()
    }

    pub(super) fn submitted(&mut self, token: Token) {
        self.submitted.push_back((token, Instant::now()));
    }

    /// A publication is on the wire. Without a packet id nothing more will be heard of it.
    pub(super) fn handed(&mut self, packet_id: u16) -> Option<Token> {
        let (token, since) = self.submitted.pop_front()?;
        if packet_id == 0 {
            return Some(token);
        }
        self.handed.insert(packet_id, (token, since));
        None
    }

    pub(super) fn acknowledged(&mut self, packet_id: u16) -> Option<Token> {
        self.handed.remove(&packet_id).map(|(token, _)| token)
    }

    pub(super) fn overdue(&self) -> bool {
        let late = |entry: &(Token, Instant)| entry.1.elapsed() > ACK_MAX;
        self.submitted.front().is_some_and(late) || self.handed.values().any(late)
    }
}

/// Subscriptions of one session, sent one packet at a time so that each answer is known to belong to its topics.
pub(super) struct Subscriptions {
    waiting: VecDeque<Vec<String>>,
    asked: Option<(Vec<String>, Instant)>,
}

impl Subscriptions {
    pub(super) fn new(topics: Vec<String>) -> Self {
        Self { waiting: topics.chunks(TOPICS_PER_SUBSCRIBE).map(<[String]>::to_vec).collect(), asked: None }
    }

    pub(super) fn send_next(&mut self, client: &Client) {
        if self.asked.is_some() {
            return;
        }
        let Some(topics) = self.waiting.pop_front() else { return };
        match client.subscribe(&topics) {
            Ok(()) => self.asked = Some((topics, Instant::now())),
            Err(failure) => {
                debug!(%failure, "subscription not handed over");
                self.waiting.push_front(topics);
            }
        }
    }

    /// The topics the broker refused.
    pub(super) fn acknowledged(&mut self, answers: &[Granted]) -> Vec<String> {
        let Some((topics, _)) = self.asked.take() else { return Vec::new() };
        topics.into_iter().zip(answers).filter(|(_, answer)| **answer == Granted::No).map(|(topic, _)| topic).collect()
    }

    pub(super) fn overdue(&self) -> bool {
        self.asked.as_ref().is_some_and(|(_, since)| since.elapsed() > ACK_MAX)
    }
}
