//! What the broker keeps for one client: its filters, its queue and what it has not acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rumqttc::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Messages that wait for one client; of more, the oldest are lost.
const QUEUE_MAX: usize = 1_000;
/// Replies that wait for one client; they are as many as its own packets in one burst.
const REPLIES_MAX: usize = 1_000;
/// Messages that one client may leave unacknowledged.
const INFLIGHT_MAX: usize = 32;
/// Subscriptions of one client.
const FILTERS_MAX: usize = 200;

/// The state of one client.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The connection that serves it now, and how to close that.
    pub(super) owner: Option<(u64, CancellationToken)>,
    /// Kept when the client goes away.
    pub(super) kept: bool,
    pub(super) filters: BTreeMap<String, QoS>,
    pub(super) wake: Arc<Notify>,
    replies: VecDeque<Packet>,
    queue: VecDeque<Publish>,
    inflight: BTreeMap<u16, Publish>,
    last_id: u16,
}

impl Session {
    /// False: it has too many filters already.
    pub(super) fn subscribe(&mut self, filter: &str, qos: QoS) -> bool {
        let fits = self.filters.len() < FILTERS_MAX || self.filters.contains_key(filter);
        if fits {
            self.filters.insert(filter.to_owned(), qos);
        }
        fits
    }

    /// The highest QoS of the filters that match a topic.
    pub(super) fn wants(&self, topic: &str) -> Option<QoS> {
        self.filters
            .iter()
            .filter(|(filter, _)| matches(topic, filter))
            .map(|(_, qos)| *qos)
            .max_by_key(|qos| *qos as u8)
    }

    /// Queues a message. A client that is away gets no QoS 0.
    pub(super) fn offer(&mut self, publish: Publish) {
        if self.owner.is_none() && publish.qos == QoS::AtMostOnce {
            return;
        }
        if self.queue.len() >= QUEUE_MAX {
            self.queue.pop_front();
        }
        self.queue.push_back(publish);
        self.wake.notify_one();
    }

    pub(super) fn reply(&mut self, packet: Packet) {
        if self.replies.len() < REPLIES_MAX {
            self.replies.push_back(packet);
            self.wake.notify_one();
        }
    }

    pub(super) fn acknowledged(&mut self, id: u16) {
        self.inflight.remove(&id);
        self.wake.notify_one();
    }

    /// Unacknowledged messages go out again, marked as duplicates, before anything newer.
    pub(super) fn reconnected(&mut self) {
        self.replies.clear();
        for (_, publish) in std::mem::take(&mut self.inflight).into_iter().rev() {
            self.queue.push_front(Publish { dup: true, ..publish });
        }
    }

    /// What may be sent now: all replies, and messages as far as the window allows.
    pub(super) fn take(&mut self) -> Vec<Packet> {
        let mut due: Vec<Packet> = self.replies.drain(..).collect();
        while self.inflight.len() < INFLIGHT_MAX {
            let Some(mut publish) = self.queue.pop_front() else { break };
            if publish.qos != QoS::AtMostOnce {
                publish.pkid = self.free_id();
                self.inflight.insert(publish.pkid, publish.clone());
            }
            due.push(Packet::Publish(publish));
        }
        due
    }

    fn free_id(&mut self) -> u16 {
        // At most INFLIGHT_MAX of 65 535 ids are taken, so this ends.
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.inflight.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

/// Whether a topic matches a filter: `+` is one level, `#` all that follow and their parent; wildcards do not reach
/// topics that begin with `$` (MQTT 3.1.1, 4.7). rumqttc's own function panics on topics that begin with a Chinese
/// character, which any client could send.
pub(super) fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut levels, mut wanted) = (topic.split('/'), filter.split('/'));
    loop {
        match (levels.next(), wanted.next()) {
            (_, Some("#")) | (None, None) => return true,
            (Some(_), Some("+")) => {}
            (Some(level), Some(want)) if level == want => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (topic, filter, expected) in [
            ("site/water/w-301/state", "site/water/+/state", true),
            ("site/water/w-301/state", "site/#", true),
            ("site", "site/#", true),
            ("site/water", "site/+/+", false),
            ("site/water", "site", false),
            ("site", "site/water", false),
            ("site/", "site/+", true),
            ("$SYS/uptime", "#", false),
            ("$SYS/uptime", "+/uptime", false),
            ("$SYS/uptime", "$SYS/#", true),
            ("水表/一层", "水表/+", true),
        ] {
            assert_eq!(matches(topic, filter), expected, "{topic} and {filter}");
        }
    }
}
