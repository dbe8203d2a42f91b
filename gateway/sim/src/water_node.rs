//! The water meters that speak MQTT: each one is a real client of the broker with a last will.
//!
//! `<topic>/state` carries the JSON state every two seconds, not retained; `<topic>/online` lies retained as `online`
//! and becomes `offline` through the will when the meter vanishes. A dead meter drops its connection without a
//! farewell, as an empty battery does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, LastWill, MqttOptions, QoS};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::SimError;
use crate::lock;
use crate::world::{Kind, World};

/// How often it publishes its state.
const PERIOD: Duration = Duration::from_secs(2);
/// How often it looks whether it is dead.
const WATCH: Duration = Duration::from_millis(200);
/// Pause before the next attempt to connect.
const RECONNECT: Duration = Duration::from_millis(500);
/// Requests that may wait in the client.
const REQUESTS_MAX: usize = 8;

/// One meter and its topics.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) device: Arc<str>,
    pub(crate) topic: String,
    pub(crate) availability: String,
    pub(crate) port: u16,
}

impl Node {
    /// Publishes until `stop`; lies still while its device is dead.
    pub(crate) async fn run(self, world: Arc<Mutex<World>>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.session(&world) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RECONNECT) => {}
            }
        }
    }

    /// One connection, from the first packet to the first error or the meter's death.
    async fn session(&self, world: &Mutex<World>) {
        if self.message(world).is_err() {
            return;
        }
        let mut options = MqttOptions::new(&*self.device, "127.0.0.1", self.port);
        options.set_keep_alive(Duration::from_secs(5));
        options.set_last_will(LastWill::new(&self.availability, "offline", QoS::AtLeastOnce, true));
        let (client, mut events) = AsyncClient::new(options, REQUESTS_MAX);
        // Each of the two is one future for the whole connection: a poll that is dropped half-way loses packets.
        tokio::select! {
            () = self.publish(&client, world) => {}
            () = self.drive(&client, &mut events) => {}
        }
    }

    /// Publishes the state every period, until the meter is dead.
    async fn publish(&self, client: &AsyncClient, world: &Mutex<World>) {
        let mut due = interval(PERIOD);
        let mut watch = interval(WATCH);
        loop {
            let Ok(message) = self.message(world) else { return };
            tokio::select! {
                // A queue that is full means that the broker does not read; the next period tries again.
                _ = due.tick() => drop(client.try_publish(&self.topic, QoS::AtLeastOnce, false, message)),
                _ = watch.tick() => {}
            }
        }
    }

    /// Runs the connection until it fails.
    async fn drive(&self, client: &AsyncClient, events: &mut EventLoop) {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                    drop(client.try_publish(&self.availability, QoS::AtLeastOnce, true, "online"));
                }
                Ok(_) => {}
                Err(error) => {
                    debug!(device = %self.device, %error, "meter lost the broker");
                    return;
                }
            }
        }
    }

    /// The state to publish; an error while the meter is dead.
    fn message(&self, world: &Mutex<World>) -> Result<String, SimError> {
        let world = lock(world);
        let device = world.device(&self.device)?;
        match &device.kind {
            Kind::Water(meter) if device.answers() => Ok(meter.message()),
            _ => Err(SimError::WrongKind { device: self.device.to_string(), wanted: "a living water meter" }),
        }
    }
}
