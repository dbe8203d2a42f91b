//! The stories of the building: something happens, develops, and ends.
//!
//! A story changes the physical truth or the faults of a line, never the gateway. Each can be started and cleared one by
//! one; in automatic mode they follow each other. [`Director::step`] is called with every tick and moves those that
//! develop.
//!
//! ```text
//!  fire-alarm          smoke ─5 s► detector 1 in fire ─20 s► detector 2 in fire           clear: panel reset
//!  lift-entrapment     stuck between floors, occupied ─8 s► alarm button pressed          clear: level, door opens
//!  water-leak          steady flow through one meter, the sump rises faster               clear: tap closed
//!  shop-out-of-credit  heavy load ─relay opens► dark ─10 s► pays ─relay closes► over      clear: normal load
//!  mains-outage        feeder lost, its meters fall silent one by one                     clear: voltage is back
//!  meter-dies          one meter answers nothing                                          clear: it answers again
//!  serial-server-hangs a line accepts bytes and answers nothing                           clear: it answers again
//!  garbage-on-line     bytes from nowhere, damaged replies                                clear: quiet
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SimError;
use crate::fault::{LineFault, Noise, Server};
use crate::inventory::{LineId, Names};
use crate::line::Line;
use crate::lock;
use crate::payment::{PayMode, PaymentChannel};
use crate::world::lift::Button;
use crate::world::meter::{Feeder, Relay};
use crate::world::panel::{DETECTORS_PER_ZONE, Detector, ZONES};
use crate::world::{Life, World};

/// The flow of a leak in litres per hour.
const LEAK_L_H: f64 = 900.0;
/// What a shop draws that wants to be out of credit soon, in watts.
const HEAVY_W: f64 = 18_000.0;
/// What it pays when it is dark, in yuan.
const TOP_UP: &str = "50.00";
/// From smoke to fire.
const SMOKE: Duration = Duration::from_secs(5);
/// From the first detector to the second.
const SECOND_DETECTOR: Duration = Duration::from_secs(20);
/// Until somebody in a stuck car presses the button.
const BUTTON_AFTER: Duration = Duration::from_secs(8);
/// Until the shopkeeper has found the phone.
const DARK_FOR: Duration = Duration::from_secs(10);

/// Something that happens in the building.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Story {
    /// Fire in a zone; target: `1` to `3`.
    FireAlarm,
    /// Somebody is stuck in a lift; target: `lift-1` or `lift-2`.
    LiftEntrapment,
    /// Water runs where it should not; target: a water meter.
    WaterLeak,
    /// A shop uses up its credit; target: a shop with a relay.
    ShopOutOfCredit,
    /// A floor loses its feeder; target: `1` to `3`.
    MainsOutage,
    /// A meter dies; target: any device.
    MeterDies,
    /// A serial server hangs; target: a line.
    SerialServerHangs,
    /// Noise on a line; target: a line.
    GarbageOnLine,
}

impl Story {
    /// All stories, in the order of the automatic mode.
    pub const ALL: [Self; 8] = [
        Self::ShopOutOfCredit,
        Self::FireAlarm,
        Self::WaterLeak,
        Self::MeterDies,
        Self::LiftEntrapment,
        Self::GarbageOnLine,
        Self::MainsOutage,
        Self::SerialServerHangs,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::FireAlarm => "fire-alarm",
            Self::LiftEntrapment => "lift-entrapment",
            Self::WaterLeak => "water-leak",
            Self::ShopOutOfCredit => "shop-out-of-credit",
            Self::MainsOutage => "mains-outage",
            Self::MeterDies => "meter-dies",
            Self::SerialServerHangs => "serial-server-hangs",
            Self::GarbageOnLine => "garbage-on-line",
        }
    }

    /// The story of that name.
    ///
    /// # Errors
    /// When there is none; the message lists them.
    pub fn from_name(name: &str) -> Result<Self, SimError> {
        Self::ALL.into_iter().find(|story| story.name() == name).ok_or_else(|| SimError::UnknownStory(name.to_owned()))
    }

    /// What happens, in a sentence.
    pub fn description(self) -> Names {
        let (zh, en) = match self {
            Self::FireAlarm => {
                ("一个防火分区先有烟，随后两只探测器报火警", "smoke, then fire from two detectors of a zone")
            }
            Self::LiftEntrapment => {
                ("电梯停在两层之间，轿厢内有人并按下警铃", "a lift stops between floors with somebody inside")
            }
            Self::WaterLeak => {
                ("夜间漏水：水表持续大流量，集水坑水位上升", "a night-time leak: steady flow, and the sump rises")
            }
            Self::ShopOutOfCredit => {
                ("商铺余额用尽：预警、停电、充值、复电", "a shop runs out of credit, is cut, tops up, has power again")
            }
            Self::MainsOutage => {
                ("一层市电中断，电表在四十秒内先后失联", "a floor loses its feeder; its meters fall silent within 40 s")
            }
            Self::MeterDies => ("一只电表损坏，不再应答", "one meter dies and answers nothing"),
            Self::SerialServerHangs => {
                ("串口服务器死机：连接正常但无应答", "a serial server accepts connections and answers nothing")
            }
            Self::GarbageOnLine => ("总线受干扰，出现乱码", "noise on a line: bytes from nowhere, damaged replies"),
        };
        Names::new(zh, en)
    }

    /// What it happens to unless told otherwise.
    pub fn default_target(self) -> &'static str {
        match self {
            Self::FireAlarm => "1",
            Self::LiftEntrapment => "lift-1",
            Self::WaterLeak => "w-301",
            Self::ShopOutOfCredit => "s-102",
            Self::MainsOutage => "1",
            Self::MeterDies => "m-105",
            Self::SerialServerHangs => "rs485-b",
            Self::GarbageOnLine => "rs485-a",
        }
    }
}

/// A running story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Which.
    pub story: Story,
    /// To what it happens.
    pub target: String,
    /// How far it is.
    pub phase: &'static str,
    /// Since when it is that far.
    #[serde(skip)]
    since: Duration,
}

/// Whether stories happen by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoryMode {
    /// Nothing happens unless somebody starts it.
    #[default]
    Off,
    /// One story after the other.
    Auto,
}

/// Starts, develops and ends the stories.
pub(crate) struct Director {
    world: Arc<Mutex<World>>,
    lines: Arc<Vec<Line>>,
    payments: PaymentChannel,
    running: BTreeMap<Story, Running>,
    mode: StoryMode,
    pace: Duration,
    /// Real time since the start.
    now: Duration,
    next_change: Duration,
    next_story: usize,
}

impl Director {
    pub(crate) fn new(
        world: Arc<Mutex<World>>,
        lines: Arc<Vec<Line>>,
        payments: PaymentChannel,
        mode: StoryMode,
        pace: Duration,
    ) -> Self {
        let running = BTreeMap::new();
        let now = Duration::ZERO;
        Self { world, lines, payments, running, mode, pace, now, next_change: pace / 4, next_story: 0 }
    }

    pub(crate) fn running(&self) -> Vec<Running> {
        self.running.values().cloned().collect()
    }

    /// Starts a story; one that runs already is cleared first.
    pub(crate) fn start(&mut self, story: Story, target: Option<&str>) -> Result<Running, SimError> {
        let target = target.unwrap_or(story.default_target()).to_owned();
        self.check(story, &target)?;
        self.clear(story)?;
        let phase = self.begin(story, &target)?;
        let running = Running { story, target, phase, since: self.now };
        self.running.insert(story, running.clone());
        Ok(running)
    }

    /// Ends a story; one that does not run is left alone.
    pub(crate) fn clear(&mut self, story: Story) -> Result<(), SimError> {
        match self.running.remove(&story) {
            Some(running) => self.end(story, &running.target),
            None => Ok(()),
        }
    }

    /// Ends all stories and faults.
    pub(crate) fn reset(&mut self) {
        self.running.clear();
        lock(&self.world).heal();
        for line in self.lines.iter() {
            line.fault.send_replace(LineFault::default());
        }
    }

    fn check(&self, story: Story, target: &str) -> Result<(), SimError> {
        let unknown = || SimError::UnknownTarget { story: story.name(), target: target.to_owned() };
        let known = match story {
            Story::FireAlarm => zone(target).is_some(),
            Story::MainsOutage => floor(target).is_some(),
            Story::LiftEntrapment => lock(&self.world).lift_mut(target).is_ok(),
            Story::WaterLeak => lock(&self.world).water_mut(target).is_ok(),
            Story::MeterDies => lock(&self.world).device(target).is_ok(),
            Story::ShopOutOfCredit => self.relay_of(target).is_some(),
            Story::SerialServerHangs | Story::GarbageOnLine => LineId::from_name(target).is_some(),
        };
        if known { Ok(()) } else { Err(unknown()) }
    }

    fn begin(&self, story: Story, target: &str) -> Result<&'static str, SimError> {
        let mut world = lock(&self.world);
        match story {
            Story::FireAlarm => {
                world.panel_mut()?.set_detector(first_detector(target), Detector::Prealarm);
                Ok("smoke")
            }
            Story::LiftEntrapment => {
                world.lift_mut(target)?.jam();
                Ok("stuck")
            }
            Story::WaterLeak => {
                world.water_mut(target)?.leak_l_h = LEAK_L_H;
                Ok("leaking")
            }
            Story::ShopOutOfCredit => {
                world.meter_mut(&meter_of(target))?.forced_watts = Some(HEAVY_W);
                Ok("using up its credit")
            }
            Story::MainsOutage => {
                if let Some(n) = floor(target) {
                    world.feeders[n] = Feeder::Lost;
                }
                Ok("no voltage")
            }
            Story::MeterDies => {
                world.device_mut(target)?.life = Life::Dead;
                Ok("dead")
            }
            Story::SerialServerHangs => {
                self.change_line(target, |fault| fault.server = Server::Hangs);
                Ok("hanging")
            }
            Story::GarbageOnLine => {
                self.change_line(target, |fault| fault.noise = Noise::Garbage);
                Ok("noisy")
            }
        }
    }

    fn end(&self, story: Story, target: &str) -> Result<(), SimError> {
        let mut world = lock(&self.world);
        match story {
            Story::FireAlarm => world.panel_mut()?.reset(),
            Story::LiftEntrapment => world.lift_mut(target)?.release(),
            Story::WaterLeak => world.water_mut(target)?.leak_l_h = 0.0,
            Story::ShopOutOfCredit => world.meter_mut(&meter_of(target))?.forced_watts = None,
            Story::MainsOutage => {
                if let Some(n) = floor(target) {
                    world.feeders[n] = Feeder::Live;
                }
            }
            Story::MeterDies => world.device_mut(target)?.life = Life::Alive,
            Story::SerialServerHangs => self.change_line(target, |fault| fault.server = Server::Works),
            Story::GarbageOnLine => self.change_line(target, |fault| fault.noise = Noise::Off),
        }
        Ok(())
    }

    fn change_line(&self, name: &str, change: impl FnOnce(&mut LineFault)) {
        if let Some(line) = self.lines.iter().find(|line| line.id.name() == name) {
            line.fault.send_modify(change);
        }
    }

    fn relay_of(&self, shop: &str) -> Option<Relay> {
        let truth = lock(&self.world).truth();
        truth.iter().find(|device| *device.id == meter_of(shop)).and_then(|device| device.relay)
    }

    /// Moves the stories forward by one tick.
    pub(crate) fn step(&mut self, real: Duration) {
        self.now += real;
        let mut over = Vec::new();
        for story in self.running.keys().copied().collect::<Vec<_>>() {
            let Some(mut running) = self.running.remove(&story) else { continue };
            match self.develop(&running) {
                Some("over") => over.push((story, running.target)),
                next => {
                    if let Some(phase) = next {
                        running.phase = phase;
                        running.since = self.now;
                    }
                    self.running.insert(story, running);
                }
            }
        }
        for (story, target) in over {
            // The target was checked when the story began.
            let _ = self.end(story, &target);
        }
        if self.mode == StoryMode::Auto && self.now >= self.next_change {
            self.next();
        }
    }

    /// The next phase of a story, when it is time for one.
    fn develop(&self, running: &Running) -> Option<&'static str> {
        let passed = self.now - running.since;
        let target = running.target.as_str();
        match (running.story, running.phase) {
            (Story::FireAlarm, "smoke") if passed >= SMOKE => {
                self.detector(first_detector(target));
                Some("fire")
            }
            (Story::FireAlarm, "fire") if passed >= SECOND_DETECTOR => {
                self.detector(first_detector(target) + 1);
                Some("confirmed by a second detector")
            }
            (Story::LiftEntrapment, "stuck") if passed >= BUTTON_AFTER => {
                lock(&self.world).lift_mut(target).ok()?.button = Button::Pressed;
                Some("alarm button pressed")
            }
            (Story::ShopOutOfCredit, "using up its credit") if self.relay_of(target) == Some(Relay::Open) => {
                Some("dark")
            }
            (Story::ShopOutOfCredit, "dark") if passed >= DARK_FOR => {
                self.payments.pay(&format!("{target}-e"), TOP_UP, PayMode::Twice).ok()?;
                Some("paid")
            }
            (Story::ShopOutOfCredit, "paid") if self.relay_of(target) == Some(Relay::Closed) => Some("over"),
            _ => None,
        }
    }

    fn detector(&self, number: u8) {
        if let Ok(panel) = lock(&self.world).panel_mut() {
            panel.set_detector(number, Detector::Fire);
        }
    }

    /// Ends the story of the last period and starts the next; a shop out of credit takes its own time.
    fn next(&mut self) {
        self.next_change = self.now + self.pace;
        let previous: Vec<Story> =
            self.running.keys().copied().filter(|story| *story != Story::ShopOutOfCredit).collect();
        for story in previous {
            let _ = self.clear(story);
        }
        let story = Story::ALL[self.next_story % Story::ALL.len()];
        self.next_story += 1;
        if !self.running.contains_key(&story)
            && let Err(error) = self.start(story, None)
        {
            tracing::warn!(story = story.name(), %error, "story not started");
        }
    }
}

fn zone(target: &str) -> Option<u8> {
    target.parse().ok().filter(|zone| (1..=ZONES).contains(zone))
}

fn floor(target: &str) -> Option<usize> {
    target.parse::<usize>().ok().filter(|floor| (1..=3).contains(floor)).map(|floor| floor - 1)
}

/// The number of a zone's first detector; zones were checked before.
fn first_detector(target: &str) -> u8 {
    (zone(target).unwrap_or(1) - 1) * DETECTORS_PER_ZONE + 1
}

fn meter_of(shop: &str) -> String {
    shop.replacen("s-", "m-", 1)
}
