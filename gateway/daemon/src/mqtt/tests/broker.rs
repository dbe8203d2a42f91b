//! A broker for one client at a time, that can be told to misbehave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, PingResp, PubAck, SubAck};
use rumqttc::{Packet, Publish as Packet3, QoS, SubscribeReasonCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct BrokerState {
    /// What arrived since the broker last lost its memory, the latest of each topic.
    pub(super) retained: BTreeMap<String, String>,
    /// Every publication that arrived, in order.
    pub(super) arrived: Vec<(String, String)>,
    pub(super) wills: Vec<(String, String)>,
    pub(super) connects: u32,
    pub(super) subscribed: Vec<String>,
    /// Publications without an answer.
    pub(super) mute: bool,
    /// Their packet ids.
    pub(super) held: Vec<u16>,
    /// What the gateway has acknowledged.
    pub(super) acknowledged: Vec<u16>,
    /// Whether it is told that its session is still there.
    pub(super) resumes: bool,
    pub(super) refuse_subscriptions: bool,
    pub(super) disconnected_politely: bool,
}

/// The broker; a copy is the same broker.
#[derive(Clone)]
pub(super) struct FakeBroker {
    pub(super) port: u16,
    pub(super) state: Arc<Mutex<BrokerState>>,
    pub(super) say: tokio::sync::broadcast::Sender<Order>,
}

#[derive(Clone, Debug)]
pub(super) enum Order {
    Publish {
        topic: &'static str,
        payload: Vec<u8>,
        retain: bool,
    },
    /// With QoS 1.
    Deliver {
        packet_id: u16,
        payload: &'static str,
        duplicate: bool,
    },
    /// Acknowledges two publications, the later first.
    AcknowledgeBackwards,
    Drop,
}

impl FakeBroker {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = Self { port, state: Arc::default(), say: tokio::sync::broadcast::Sender::new(64) };
        let serving = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.state.lock().unwrap().connects += 1;
                let orders = serving.say.subscribe();
                serving.serve(stream, orders).await;
            }
        });
        broker
    }

    async fn serve(&self, mut stream: TcpStream, mut orders: tokio::sync::broadcast::Receiver<Order>) {
        let mut buffer = BytesMut::new();
        let mut will = None;
        loop {
            let mut out = BytesMut::new();
            tokio::select! {
                order = orders.recv() => match order.unwrap() {
                    Order::Drop => break,
                    Order::Publish { topic, payload, retain } => {
                        let mut publish = Packet3::new(topic, QoS::AtMostOnce, payload);
                        publish.retain = retain;
                        publish.write(&mut out).unwrap();
                    }
                    Order::Deliver { packet_id, payload, duplicate } => {
                        let mut publish = Packet3::new("water/w-1/state", QoS::AtLeastOnce, payload);
                        (publish.pkid, publish.dup) = (packet_id, duplicate);
                        publish.write(&mut out).unwrap();
                    }
                    Order::AcknowledgeBackwards => {
                        let held = std::mem::take(&mut self.state.lock().unwrap().held);
                        for packet_id in held.into_iter().rev() {
                            PubAck::new(packet_id).write(&mut out).unwrap();
                        }
                    }
                },
                read = stream.read_buf(&mut buffer) => if !read.is_ok_and(|n| n > 0) { break },
            }
            while let Ok(packet) = Packet::read(&mut buffer, 1 << 20) {
                if let Packet::Connect(connect) = &packet {
                    will = connect.last_will.clone();
                }
                if let Packet::Disconnect = packet {
                    self.state.lock().unwrap().disconnected_politely = true;
                    return;
                }
                self.answer(packet, &mut out);
            }
            if stream.write_all(&out).await.is_err() {
                break;
            }
        }
        if let Some(will) = will {
            let message = String::from_utf8(will.message.to_vec()).unwrap();
            let mut state = self.state.lock().unwrap();
            if will.retain {
                state.retained.insert(will.topic.clone(), message.clone());
            }
            state.wills.push((will.topic, message));
        }
    }

    fn answer(&self, packet: Packet, out: &mut BytesMut) {
        let mut state = self.state.lock().unwrap();
        match packet {
            Packet::Connect(_) => {
                ConnAck::new(ConnectReturnCode::Success, state.resumes).write(out).unwrap();
            }
            Packet::PubAck(ack) => state.acknowledged.push(ack.pkid),
            Packet::PingReq => drop(PingResp.write(out).unwrap()),
            Packet::Subscribe(subscribe) => {
                let refused = state.refuse_subscriptions;
                let code =
                    if refused { SubscribeReasonCode::Failure } else { SubscribeReasonCode::Success(QoS::AtLeastOnce) };
                let codes = vec![code; subscribe.filters.len()];
                state.subscribed.extend(subscribe.filters.into_iter().map(|f| f.path));
                SubAck::new(subscribe.pkid, codes).write(out).unwrap();
            }
            Packet::Publish(publish) => {
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                state.arrived.push((publish.topic.clone(), payload.clone()));
                if state.mute {
                    state.held.push(publish.pkid);
                    return;
                }
                if publish.retain {
                    state.retained.insert(publish.topic, payload);
                }
                if publish.qos == QoS::AtLeastOnce {
                    PubAck::new(publish.pkid).write(out).unwrap();
                }
            }
            _ => {}
        }
    }

    pub(super) fn publish(&self, topic: &'static str, payload: impl Into<Vec<u8>>, retain: bool) {
        self.say.send(Order::Publish { topic, payload: payload.into(), retain }).unwrap();
    }

    pub(super) fn retained(&self, topic: &str) -> Option<String> {
        self.state.lock().unwrap().retained.get(topic).cloned()
    }

    pub(super) async fn until(&self, what: &str, mut reached: impl FnMut(&BrokerState) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !reached(&self.state.lock().unwrap()) {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
