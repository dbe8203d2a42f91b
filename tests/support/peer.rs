//! A device, or another program, on a broker: it publishes as devices do, and remembers what it hears.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long a broker may take to acknowledge a message.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(30);

/// A client that remembers every message in order, and that the broker remembers.
pub struct Peer {
    /// For messages nobody waits for.
    pub client: AsyncClient,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    acknowledged: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Peer {
    /// One that listens to `filters`, over every session.
    pub fn start(broker: SocketAddr, filters: &'static [&'static str]) -> Self {
        let mut options =
            MqttOptions::new(format!("peer-{}", fastrand::u32(..)), broker.ip().to_string(), broker.port());
        options.set_clean_session(false).set_max_packet_size(1 << 20, 1 << 20);
        Self::connect(options, filters)
    }

    /// The same, with options of one's own.
    pub fn connect(options: MqttOptions, filters: &'static [&'static str]) -> Self {
        let (client, mut events) = AsyncClient::new(options, 64);
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let (told, acknowledged) = mpsc::channel(1_024);
        let (store, subscriber) = (Arc::clone(&seen), client.clone());
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        for filter in filters {
                            drop(subscriber.try_subscribe(*filter, QoS::AtLeastOnce));
                        }
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        let text = String::from_utf8_lossy(&message.payload).into_owned();
                        store.lock().unwrap_or_else(PoisonError::into_inner).push((message.topic.clone(), text));
                    }
                    Ok(Event::Incoming(Packet::PubAck(_))) => drop(told.try_send(())),
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Self { client, seen, acknowledged, task }
    }

    /// Publishes as a device does: it may forget the message when this returns.
    ///
    /// # Errors
    /// When the broker does not acknowledge it.
    pub async fn say(&mut self, topic: &str, payload: String, retain: bool) -> anyhow::Result<()> {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await?;
        let acknowledged = tokio::time::timeout(ACKNOWLEDGE_MAX, self.acknowledged.recv()).await;
        acknowledged.context("the broker does not acknowledge")?.context("the peer is gone")
    }

    /// Everything heard on a topic, in order.
    pub fn messages(&self, topic: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(own, _)| own == topic).map(|(_, text)| text.clone()).collect()
    }

    /// Whether a message with that word was heard on a topic.
    pub fn has(&self, topic: &str, word: &str) -> bool {
        self.messages(topic).iter().any(|text| text.contains(word))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
