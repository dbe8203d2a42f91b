//! A whole node on a board of doubles, and the master that talks to it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::memory::{Chip, NoDelay};
use super::staging::{Maker, Stage};
use super::wire::{Pin, Wire};
use crate::board::{Analog, Board, DIP_SWITCHES, Identity, Parts, ResetCause, System, Version};
use crate::crc::crc16;
use crate::ed25519::Ed25519;
use crate::map::{CHANNELS, CONTACTS, Id, OUTPUTS, rule};
use crate::node::Node;
use crate::pulse::{PulseBank, Sampler};

pub const BOARD_ID: u16 = 7;
pub const VERSION: Version = Version::new(1, 4, 0);
/// Bytes the staging memory takes.
pub const CAPACITY: u32 = 20_600;

#[derive(Debug)]
pub struct TestBoard;

impl Board for TestBoard {
    type Input = Pin;
    type Output = Pin;
    type I2c = Chip;
    type Delay = NoDelay;
    type Uart = Wire;
    type Analog = Levels;
    type System = Processor;
    type Staging = Stage;
    type Verifier = Ed25519;
}

/// Levels of the contacts, and the supply.
type Measured = ([Option<u16>; CONTACTS], Option<u16>);

/// Levels that the test sets.
#[derive(Clone, Debug)]
pub struct Levels(pub Rc<RefCell<Measured>>);

impl Analog for Levels {
    fn contact(&mut self, index: usize) -> Option<u16> {
        self.0.borrow().0.get(index).copied().flatten()
    }

    fn supply_mv(&mut self) -> Option<u16> {
        self.0.borrow().1
    }
}

/// A processor that counts what is asked of it.
#[derive(Clone, Debug)]
pub struct Processor {
    pub cause: ResetCause,
    pub reboots: Rc<Cell<u32>>,
    pub feeds: Rc<Cell<u32>>,
}

impl System for Processor {
    fn feed_watchdog(&mut self) {
        self.feeds.set(self.feeds.get() + 1);
    }

    fn reset_cause(&self) -> ResetCause {
        self.cause
    }

    fn stack_high_water(&self) -> u16 {
        1234
    }

    fn reboot(&mut self) {
        self.reboots.set(self.reboots.get() + 1);
    }
}

/// The world around the node, which a restart does not change.
#[derive(Clone)]
pub struct World {
    pub chip: Chip,
    pub pulses: [Pin; CHANNELS],
    pub dip: [Pin; DIP_SWITCHES],
    pub cover: Pin,
    pub button: Pin,
    pub limits: [[Pin; 2]; OUTPUTS],
    pub coils: [[Pin; 2]; OUTPUTS],
    pub levels: Levels,
    pub stage: Stage,
}

impl World {
    pub fn new() -> Self {
        let cover = Pin::default();
        cover.set(true);
        Self {
            chip: Chip::new(32),
            pulses: Default::default(),
            dip: Default::default(),
            cover,
            button: Pin::default(),
            limits: Default::default(),
            coils: Default::default(),
            levels: Levels(Rc::new(RefCell::new(([Some(2048); CONTACTS], Some(24_000))))),
            stage: Stage::new(CAPACITY),
        }
    }
}

/// The node in its world, from one start to the next.
pub struct Bench {
    pub world: World,
    pub node: Node<TestBoard>,
    pub wire: Wire,
    pub processor: Processor,
    sampler: Sampler<Pin>,
    now_us: u32,
    pub address: u8,
}

impl Bench {
    pub fn new() -> Self {
        Self::start(World::new(), ResetCause::PowerOn)
    }

    pub fn start(world: World, cause: ResetCause) -> Self {
        Self::start_with(world, cause, || {})
    }

    /// Starts, with something done to the world before the node sees it.
    pub fn start_with(world: World, cause: ResetCause, before: impl FnOnce()) -> Self {
        world.chip.power_up();
        before();
        world.coils.iter().flatten().for_each(|coil| coil.set(false));
        let driver = Pin::default();
        let wire = Wire::new(&driver);
        let bank: &'static PulseBank = Box::leak(Box::new(PulseBank::new()));
        let processor = Processor { cause, reboots: Rc::default(), feeds: Rc::default() };
        let w = world.clone();
        let memory = w.chip.memory();
        let mut node = Node::new(Parts {
            i2c: w.chip,
            delay: NoDelay,
            uart: wire.clone(),
            driver_enable: driver,
            analog: w.levels,
            dip: w.dip,
            cover: w.cover,
            button: w.button,
            limits: w.limits,
            coils: w.coils,
            pulses: bank,
            system: processor.clone(),
            staging: w.stage,
            verifier: Maker::new(1).verifier(),
            memory,
            identity: Identity { board_id: BOARD_ID, version: VERSION, build_id: *b"test build 00001" },
        });
        node.start();
        let sampler = Sampler::new(world.pulses.clone(), bank);
        Self { world, node, wire, processor, sampler, now_us: 0, address: 1 }
    }

    /// Power off and on again; what is in RAM is gone.
    pub fn restart(self) -> Self {
        Self::start(self.world, ResetCause::PowerOn)
    }

    /// Lets time pass, a turn every half millisecond.
    pub fn run_ms(&mut self, ms: u32) {
        for _ in 0..ms {
            self.sampler.tick(1);
            for _ in 0..2 {
                self.now_us = self.now_us.wrapping_add(500);
                self.node.poll(self.now_us);
            }
        }
    }

    /// Lets time pass in big steps: for hours in which little happens.
    pub fn run_s(&mut self, s: u32) {
        for _ in 0..s * 50 {
            self.sampler.tick(20);
            self.now_us = self.now_us.wrapping_add(20_000);
            self.node.poll(self.now_us);
        }
    }

    /// One turn after so many microseconds.
    pub fn turn(&mut self, us: u32) {
        self.now_us = self.now_us.wrapping_add(us);
        self.node.poll(self.now_us);
    }

    /// Gives pulses of 10 ms, 20 ms apart.
    pub fn pulse(&mut self, channel: usize, count: u32) {
        for _ in 0..count {
            self.world.pulses[channel].set(true);
            self.run_ms(10);
            self.world.pulses[channel].set(false);
            self.run_ms(10);
        }
    }

    /// Sends a PDU and waits for the answer: its PDU, or silence.
    pub fn ask(&mut self, pdu: &[u8]) -> Option<Vec<u8>> {
        self.say(self.address, pdu);
        for _ in 0..400 {
            self.run_ms(1);
            let reply = self.wire.receive();
            if !reply.is_empty() {
                let (body, crc) = reply.split_at(reply.len() - 2);
                assert_eq!(crc, crc16(body).to_le_bytes(), "the answer's CRC");
                assert_eq!(body[0], self.address, "the answer's address");
                self.run_ms(10);
                assert!(self.wire.receive().is_empty(), "two answers");
                return Some(body[1..].to_vec());
            }
        }
        None
    }

    /// Sends a PDU and does not wait.
    pub fn say(&mut self, address: u8, pdu: &[u8]) {
        let body = [&[address], pdu].concat();
        self.wire.send(&body);
        self.wire.send(&crc16(&body).to_le_bytes());
    }

    /// Raw value of the n-th register of a name.
    pub fn read(&mut self, id: Id, n: u16) -> u32 {
        let rule = rule(id).expect("a rule");
        let address = (rule.address + n * rule.stride).to_be_bytes();
        let words = rule.kind.words() as u8;
        let reply = self.ask(&[3, address[0], address[1], 0, words]).expect("an answer");
        assert_eq!(reply[..2], [3, words * 2], "{id:?}: {reply:02x?}");
        reply[2..].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    /// Writes the n-th register of a name; the answer's PDU.
    pub fn write(&mut self, id: Id, n: u16, value: u32) -> Option<Vec<u8>> {
        let rule = rule(id).expect("a rule");
        let address = rule.address + n * rule.stride;
        let bytes = value.to_be_bytes();
        let data = &bytes[4 - usize::from(rule.kind.words()) * 2..];
        self.write_words(address, data)
    }

    /// Function code 16.
    pub fn write_words(&mut self, address: u16, data: &[u8]) -> Option<Vec<u8>> {
        let head = [16, (address >> 8) as u8, address as u8, 0, (data.len() / 2) as u8, data.len() as u8];
        self.ask(&[&head[..], data].concat())
    }

    /// Writes and is obeyed.
    pub fn set(&mut self, id: Id, n: u16, value: u32) {
        let reply = self.write(id, n, value).expect("an answer");
        assert_eq!(reply[0], 16, "{id:?} = {value}: {reply:02x?}");
    }

    /// A top-up frame; the answer's PDU.
    pub fn top_up(&mut self, channel: u16, count: u32, amount: i32) -> Option<Vec<u8>> {
        let data = [count.to_be_bytes(), amount.to_be_bytes()].concat();
        self.write_words(0x0110 + channel * 0x20, &data)
    }

    /// Function code 2, one bit.
    pub fn discrete(&mut self, at: u8) -> bool {
        self.ask(&[2, 0, at, 0, 1]).expect("an answer")[2] == 1
    }
}
