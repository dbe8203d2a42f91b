//! MQTT, counted: what devices sent, what subscribers were told, what is not acknowledged yet.

use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::{counters, int_gauges};

/// What became of a message of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttIn {
    /// It came.
    Received,
    /// It was sent before, and read then.
    Repeated,
    /// It is too large, on a topic nobody listens to, or not as the profile promises.
    Refused,
    /// Everything that follows from it is stored, and its sender was told.
    Acknowledged,
}

/// What became of a message to subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttOut {
    /// It was handed to the connection.
    Sent,
    /// The broker has it.
    Acknowledged,
    /// The broker does not want it.
    Refused,
    /// A newer value took its place before it was sent.
    Replaced,
}

impl MqttIn {
    const ALL: [Self; 4] = [Self::Received, Self::Repeated, Self::Refused, Self::Acknowledged];

    fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Repeated => "repeated",
            Self::Refused => "refused",
            Self::Acknowledged => "acknowledged",
        }
    }
}

impl MqttOut {
    const ALL: [Self; 4] = [Self::Sent, Self::Acknowledged, Self::Refused, Self::Replaced];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
        }
    }
}

/// The counters of every broker.
pub(super) struct MqttCounters {
    received: IntCounterVec,
    published: IntCounterVec,
    open: IntGaugeVec,
    sessions: IntCounterVec,
}

impl MqttCounters {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            received: counters(
                registry,
                "guanjia_mqtt_received_messages_total",
                "Messages of devices by what became of them; one message is counted as received and then once more.",
                &["broker", "result"],
            ),
            published: counters(
                registry,
                "guanjia_mqtt_published_messages_total",
                "Messages to subscribers by what became of them; one message is counted as sent and then once more.",
                &["broker", "result"],
            ),
            open: int_gauges(
                registry,
                "guanjia_mqtt_unacknowledged_messages",
                "Messages that wait for an acknowledgement: in, of this gateway; out, of the broker.",
                &["broker", "direction"],
            ),
            sessions: counters(
                registry,
                "guanjia_mqtt_sessions_total",
                "Sessions the broker has accepted: resumed, or new because it knew none.",
                &["broker", "session"],
            ),
        }
    }

    /// Creates the children of one broker.
    pub(super) fn adopt(&self, broker: &str) {
        for result in MqttIn::ALL {
            self.received.with_label_values(&[broker, result.as_str()]);
        }
        for result in MqttOut::ALL {
            self.published.with_label_values(&[broker, result.as_str()]);
        }
        for direction in ["in", "out"] {
            self.open.with_label_values(&[broker, direction]);
        }
        for session in ["new", "resumed"] {
            self.sessions.with_label_values(&[broker, session]);
        }
    }
}

impl super::Metrics {
    /// `n` messages of devices.
    pub fn mqtt_in(&self, broker: &str, result: MqttIn, n: u64) {
        if n > 0 {
            self.mqtt.received.with_label_values(&[broker, result.as_str()]).inc_by(n);
        }
    }

    /// `n` messages to subscribers.
    pub fn mqtt_out(&self, broker: &str, result: MqttOut, n: u64) {
        self.mqtt.published.with_label_values(&[broker, result.as_str()]).inc_by(n);
    }

    /// How many messages are not acknowledged, either way.
    pub fn mqtt_open(&self, broker: &str, of_devices: usize, to_subscribers: usize) {
        for (direction, n) in [("in", of_devices), ("out", to_subscribers)] {
            self.mqtt.open.with_label_values(&[broker, direction]).set(i64::try_from(n).unwrap_or(i64::MAX));
        }
    }

    /// The broker has accepted a session.
    pub fn mqtt_session(&self, broker: &str, resumed: bool) {
        self.mqtt.sessions.with_label_values(&[broker, if resumed { "resumed" } else { "new" }]).inc();
    }
}
