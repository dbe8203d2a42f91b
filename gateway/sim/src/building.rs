//! The building as a whole: its configuration, its sockets, its life, and the typed control that tests use.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::fault::Fault;
use crate::inventory::{self, Attachment, Device, LineId};
use crate::line::{Line, Setup, Wire};
use crate::payment::PaymentChannel;
use crate::phone::Phone;
use crate::registers::Table;
use crate::story::{Director, Running, Story, StoryMode};
use crate::water_node::Node;
use crate::world::panel::Detector;
use crate::world::{DeviceTruth, World};
use crate::{SimError, lock};

mod inner;

pub(crate) use inner::Inner;
use inner::physics;
pub use inner::{LineTruth, Truth};

/// How long the tasks may take to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// The highest speed of the physics.
const SPEED_MAX: f64 = 3_600.0;

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildingConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// Simulated seconds per real second for what fills counters; 0 to 3600.
    pub speed: f64,
    /// Whether stories happen by themselves.
    pub story: StoryMode,
    /// In automatic mode, how long until the next story.
    pub pace: Duration,
    /// Where the control listens on 127.0.0.1; `None` takes a free port.
    pub control_port: Option<u16>,
    /// The time of day at which the building begins; a restored one continues at its own.
    pub start: Duration,
    /// How fast the serial buses are.
    pub wire: Wire,
    /// The [`Building::snapshot`] of an earlier run to continue from.
    pub restore: Option<Value>,
}

impl Default for BuildingConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            speed: 1.0,
            story: StoryMode::Off,
            pace: Duration::from_secs(90),
            control_port: None,
            start: Duration::from_secs(11 * 3600),
            wire: Wire::Paced,
            restore: None,
        }
    }
}

/// Where everything listens; all on 127.0.0.1.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// RTU over TCP.
    pub rs485_a: SocketAddr,
    /// RTU over TCP.
    pub rs485_b: SocketAddr,
    /// Modbus TCP, eight units.
    pub plant: SocketAddr,
    /// Modbus TCP, the fire panel.
    pub fire_panel: SocketAddr,
    /// Modbus TCP.
    pub lift_1: SocketAddr,
    /// Modbus TCP.
    pub lift_2: SocketAddr,
    /// Modbus TCP, the utility room.
    pub io: SocketAddr,
    /// MQTT 3.1.1.
    pub mqtt: SocketAddr,
    /// HTTP: `POST /webhook/{person}`, `POST /ntfy`, `GET /pages`.
    pub phone: SocketAddr,
    /// SMTP without TLS.
    pub smtp: SocketAddr,
    /// HTTP: everything that can be ordered.
    pub control: SocketAddr,
}

impl Addresses {
    /// The address of a line.
    pub fn line(&self, line: LineId) -> SocketAddr {
        match line {
            LineId::Rs485A => self.rs485_a,
            LineId::Rs485B => self.rs485_b,
            LineId::Plant => self.plant,
            LineId::Fire => self.fire_panel,
            LineId::Lift1 => self.lift_1,
            LineId::Lift2 => self.lift_2,
            LineId::Io => self.io,
        }
    }
}

/// A running building. Dropping it stops it; [`Building::shutdown`] also waits.
pub struct Building {
    inner: Arc<Inner>,
    addresses: Addresses,
    tasks: TaskTracker,
}

impl Building {
    /// Opens all sockets and starts the physics.
    ///
    /// # Errors
    /// A speed out of range, a damaged snapshot, a control port that is taken, no crypto provider for the HTTP client.
    pub async fn start(config: BuildingConfig) -> Result<Self, SimError> {
        if !(0.0..=SPEED_MAX).contains(&config.speed) {
            return Err(SimError::Config(format!("a speed is between 0 and {SPEED_MAX}, not {}", config.speed)));
        }
        let mut world = World::new(config.seed, config.speed, config.start.as_millis() as u64);
        if let Some(snapshot) = &config.restore {
            world.restore(snapshot)?;
        }
        let world = Arc::new(Mutex::new(world));
        let client = reqwest::Client::builder().no_proxy().build().map_err(SimError::Client)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        // Until everything runs, an early return must stop what already does.
        let guard = stop.clone().drop_guard();

        let mut lines = Vec::with_capacity(LineId::ALL.len());
        let mut line_addresses = Vec::with_capacity(LineId::ALL.len());
        for (n, id) in (1u64..).zip(LineId::ALL) {
            let (listener, address) = listen(0).await?;
            line_addresses.push(address);
            let seed = config.seed ^ n;
            let setup = Setup { world: &world, wire: config.wire, seed, stop: &stop, tasks: &tasks };
            lines.push(Line::start(id, listener, &setup));
        }
        let lines = Arc::new(lines);
        let (mqtt_listener, mqtt) = listen(0).await?;
        let broker =
            Broker::start(mqtt_listener, &stop, &tasks).map_err(|source| SimError::Listen { port: 0, source })?;
        let (phone_listener, phone_address) = listen(0).await?;
        let (smtp_listener, smtp) = listen(0).await?;
        let phone = Phone::start(phone_listener, smtp_listener, client.clone(), &stop, &tasks);
        let payments = PaymentChannel::new(client, &stop, &tasks);
        let (control_listener, control) = listen(config.control_port.unwrap_or(0)).await?;
        let inventory = inventory::devices();
        for node in nodes(&inventory, mqtt.port()) {
            tasks.spawn(node.run(Arc::clone(&world), stop.clone()));
        }
        let director =
            Director::new(Arc::clone(&world), Arc::clone(&lines), payments.clone(), config.story, config.pace);
        let director = Mutex::new(director);
        let inner = Arc::new(Inner { world, lines, director, broker, phone, payments, inventory, stop: stop.clone() });
        tasks.spawn(physics(Arc::clone(&inner)));
        tasks.spawn(crate::control::serve(control_listener, Arc::clone(&inner)));
        tasks.close();
        guard.disarm();
        let [rs485_a, rs485_b, plant, fire_panel, lift_1, lift_2, io] =
            <[SocketAddr; 7]>::try_from(line_addresses).expect("one address per line of LineId::ALL");
        let addresses = Addresses {
            rs485_a,
            rs485_b,
            plant,
            fire_panel,
            lift_1,
            lift_2,
            io,
            mqtt,
            phone: phone_address,
            smtp,
            control,
        };
        Ok(Self { inner, addresses, tasks })
    }

    /// Where everything listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Every device.
    pub fn inventory(&self) -> &[Device] {
        &self.inner.inventory
    }

    /// The gateway's site file for this building. Secrets are expected in `secrets/` beside it.
    pub fn site_file(&self, options: &crate::SiteFileOptions) -> String {
        crate::site_file::render(self.addresses(), self.inventory(), options)
    }

    /// One line about what stands here.
    pub fn summary(&self) -> String {
        let count = |wanted: fn(&Device) -> bool| self.inner.inventory.iter().filter(|device| wanted(device)).count();
        format!(
            "{} electricity meters, {} water meters, a fire panel, 2 lifts and a utility room on {} Modbus lines and MQTT",
            count(|device| device.model.is_electricity()),
            count(|device| device.model.is_water()),
            LineId::ALL.len(),
        )
    }

    /// What an acknowledged page and a payment are sent to: the gateway's base URL and the payment channel's token.
    pub fn set_gateway(&self, url: &str, token: &str) {
        self.inner.payments.set_gateway(url, token);
    }

    /// The key with which webhooks to the duty phones must be signed.
    pub fn set_webhook_key(&self, key: &str) {
        self.inner.phone.set_webhook_key(key);
    }

    /// The duty phones.
    pub fn phone(&self) -> &Phone {
        &self.inner.phone
    }

    /// The payment channel.
    pub fn payments(&self) -> &PaymentChannel {
        &self.inner.payments
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.inner.broker
    }

    /// Starts a story, at its usual place unless told otherwise; one that runs already begins anew.
    ///
    /// # Errors
    /// A target to which this story cannot happen.
    pub fn start_story(&self, story: Story, target: Option<&str>) -> Result<Running, SimError> {
        self.inner.start_story(story, target)
    }

    /// Ends a story; one that does not run is left alone.
    ///
    /// # Errors
    /// None that a started story can cause.
    pub fn clear_story(&self, story: Story) -> Result<(), SimError> {
        self.inner.clear_story(story)
    }

    /// Ends all stories and mends everything; counters and relays stay as they are.
    pub fn reset(&self) {
        self.inner.reset();
    }

    /// Breaks or mends one thing.
    ///
    /// # Errors
    /// An unknown device, or one that has no contactor.
    pub fn fault(&self, fault: &Fault) -> Result<(), SimError> {
        self.inner.fault(fault)
    }

    /// Forces a register to a value, or frees it with `None`.
    ///
    /// # Errors
    /// A device or register that does not exist.
    pub fn set_register(&self, device: &str, table: Table, address: u16, value: Option<u16>) -> Result<(), SimError> {
        self.inner.set_register(device, table, address, value)
    }

    /// Fixes a meter's load in watts, or lets it follow the day again with `None`.
    ///
    /// # Errors
    /// Not an electricity meter.
    pub fn set_load(&self, device: &str, watts: Option<f64>) -> Result<(), SimError> {
        self.inner.set_load(device, watts)
    }

    /// Sets an energy counter (watt-hours) or a volume counter (litres), as an exchanged meter would.
    ///
    /// # Errors
    /// Not a meter.
    pub fn set_counter(&self, device: &str, value: u64) -> Result<(), SimError> {
        self.inner.set_counter(device, value)
    }

    /// Sets one detector of the fire panel, 1 to 24.
    ///
    /// # Errors
    /// No detector of that number.
    pub fn set_detector(&self, number: u8, state: Detector) -> Result<(), SimError> {
        self.inner.set_detector(number, state)
    }

    /// Presses or resets the manual call point of a zone, 1 to 3.
    ///
    /// # Errors
    /// No zone of that number.
    pub fn set_call_point(&self, zone: u8, state: Detector) -> Result<(), SimError> {
        self.inner.set_call_point(zone, state)
    }

    /// Sets the simulated time of day.
    pub fn set_time(&self, time_of_day: Duration) {
        self.inner.set_time(time_of_day);
    }

    /// All registers of a device as `holding:address` or `input:address`.
    ///
    /// # Errors
    /// An unknown device.
    pub fn registers(&self, device: &str) -> Result<std::collections::BTreeMap<String, u16>, SimError> {
        self.inner.registers(device)
    }

    /// What is really so.
    pub fn truth(&self) -> Truth {
        self.inner.truth()
    }

    /// What one device really is.
    ///
    /// # Errors
    /// An unknown device.
    pub fn device(&self, id: &str) -> Result<DeviceTruth, SimError> {
        let found = lock(&self.inner.world).truth().into_iter().find(|device| &*device.id == id);
        found.ok_or_else(|| SimError::UnknownDevice(id.to_owned()))
    }

    /// Counters, relays and clock, for [`BuildingConfig::restore`].
    pub fn snapshot(&self) -> Value {
        lock(&self.inner.world).snapshot()
    }

    /// Closes all sockets and waits for the tasks to end.
    pub async fn shutdown(self) {
        self.inner.stop.cancel();
        if tokio::time::timeout(SHUTDOWN_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "tasks of the simulated building still run");
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.inner.stop.cancel();
    }
}

async fn listen(port: u16) -> Result<(TcpListener, SocketAddr), SimError> {
    let failed = |source| SimError::Listen { port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn nodes(inventory: &[Device], port: u16) -> Vec<Node> {
    let node = |device: &Device| match &device.attachment {
        Attachment::Mqtt { topic, availability } => Some(Node {
            device: Arc::clone(&device.id),
            topic: topic.clone(),
            availability: availability.clone(),
            port,
        }),
        Attachment::Modbus { .. } => None,
    };
    inventory.iter().filter_map(node).collect()
}
