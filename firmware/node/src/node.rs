//! The node: one turn does one small step of everything.
//!
//! * While a record is on its way into the memory the state is not touched: pulses wait in their bank, ended moves in
//!   their drivers, requests in the line. So what is stored is what is live, and an acknowledged change is made live from
//!   the very bytes that were stored.
//! * A memory that cannot be read at start is never written: a restart would find zeros in place of balances. The node
//!   counts on, refuses what must last, has no address but that of its switches, and tries again every ten seconds.
//! * The first records after a start are the two that were found: see the journal for why.

mod answer;
mod registers;
mod upkeep;

use crate::board::{Board, Clock, LineSettings, Parity, Parts, ResetCause, System, Uart};
use crate::contact::Contact;
use crate::credit::{CreditState, TopUpResult};
use crate::journal::{Journal, Progress, Ring};
use crate::map::{CHANNELS, CONTACTS, OUTPUTS};
use crate::output::{Cause, Driver, Moved};
use crate::pdu::Exception;
use crate::rtu::{FRAME_MAX, Line};
use crate::settings::Settings;
use crate::state::{Position, State};
use crate::update::Update;

/// Shortest time between two commits of counted pulses, whatever the settings: see the endurance in the crate's design.
pub const COMMIT_FLOOR_S: u32 = 10;
/// Between two commits while the supply is low, as each may be the last.
pub const LOW_SUPPLY_COMMIT_S: u32 = 1;
/// How often a memory that could not be read is tried again.
pub const RELOAD_S: u32 = 10;
/// How long the cover must stay open, or shut.
pub const COVER_DEBOUNCE_MS: u32 = 100;
/// How long the button must be held for emergency credit.
pub const BUTTON_HOLD_MS: u32 = 3000;
/// Between two measurements: each turns to one contact and to the supply.
pub const MEASURE_MS: u32 = 2;
/// A clock never steps back; should one do so all the same, by no more than this, the time stands until the clock has come
/// up with it. Otherwise it would seem to have gone on by 71 minutes.
const STEP_BACK_US: u32 = 2_000_000;
/// Between two looks at the accounts.
pub const CREDIT_MS: u32 = 50;

/// The node on its board.
pub struct Node<B: Board> {
    line: Line,
    core: Core<B>,
}

/// Everything but the line, so that an answer is written straight into the line's buffer.
struct Core<B: Board> {
    parts: Parts<B>,
    time: Time,
    journal: Journal,
    /// Whether the journal was read.
    loaded: bool,
    /// The last write failed, or nothing could be read.
    storage_fault: bool,
    settings: Settings,
    /// There was state, but no settings with it.
    settings_lost: bool,
    /// The settings are to be written once more.
    refresh: bool,
    state: State,
    /// Pulses of the bank that are in the state.
    counted: [u32; CHANNELS],
    /// Pulses of the state that are not in the journal.
    unsaved: [u32; CHANNELS],
    /// The state has changed since the last commit.
    dirty: bool,
    /// It is to be saved at once.
    urgent: bool,
    last_commit_s: u32,
    last_load_s: u32,
    journal_faults: u16,
    pending: Option<Pending>,

    credit: [CreditState; CHANNELS],
    results: [(TopUpResult, u32); CHANNELS],
    last_credit_ms: u32,
    /// Local civil time when it was set, and the uptime then.
    clock: Option<(u32, u32)>,

    contacts: [Contact; CONTACTS],
    latched: u8,
    next_contact: usize,
    last_measure_ms: u32,

    drivers: [Driver; OUTPUTS],
    /// Moves that have ended and are not in the state yet.
    ended: [Moved; OUTPUTS],
    /// Moves whose intent is on its way into the journal.
    intended: [Option<Position>; OUTPUTS],
    causes: [Cause; OUTPUTS],
    /// The safe state at start holds until the first command.
    booting: [bool; OUTPUTS],
    /// A command came after a jam.
    retry: [bool; OUTPUTS],

    supply_mv: Option<u16>,
    supply_low: bool,
    supply_below: bool,
    cover_open: bool,
    cover_since_ms: u32,
    tampered: bool,
    button: Button,

    update: Update,
    frames: u32,
    exceptions: u16,
    last_frame_s: u32,
    /// Address of the switches; 0 = all off.
    dip: u8,
    reconfigure: bool,
    reboot: bool,
}

/// A request that is answered when its record is in the memory.
#[derive(Clone, Copy)]
struct Pending {
    /// Address and the first five bytes of the request: what a write is answered with.
    echo: [u8; 6],
    broadcast: bool,
    /// Channel and count of a top-up.
    top_up: Option<(usize, u32)>,
}

/// The tenant's button; one that is stuck asks once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Button {
    Released,
    Held { since_ms: u32 },
    Obeyed,
}

/// Time since the start, from a counter that wraps.
#[derive(Clone, Copy, Debug, Default)]
struct Time {
    us: u32,
    rest_us: u32,
    ms: u32,
    rest_ms: u32,
    s: u32,
    started: bool,
}

impl Time {
    /// Goes on to what a clock shows; the time that now is, in its µs.
    fn advance(&mut self, clock_us: u32) -> u32 {
        let elapsed = if self.started { clock_us.wrapping_sub(self.us) } else { 0 };
        if elapsed > u32::MAX - STEP_BACK_US {
            return self.us;
        }
        self.started = true;
        self.us = clock_us;
        // Split first: the rest of the last turn may not carry the sum beyond 32 bits.
        let ms = elapsed / 1000 + (elapsed % 1000 + self.rest_us) / 1000;
        self.rest_us = (elapsed % 1000 + self.rest_us) % 1000;
        self.ms = self.ms.wrapping_add(ms);
        let ms = ms + self.rest_ms;
        self.s = self.s.saturating_add(ms / 1000);
        self.rest_ms = ms % 1000;
        self.us
    }
}

impl<B: Board> Node<B> {
    /// A node that has not started. Constant, so that a board whose parts are constant has it in a static from the
    /// beginning: built on the stack and moved, it would be there twice, and that alone is three quarters of the memory.
    pub const fn new(parts: Parts<B>) -> Self {
        Self {
            line: Line::new(LineSettings { baud: 9600, parity: Parity::Even }, false),
            core: Core {
                journal: Journal::new(parts.memory),
                parts,
                time: Time { us: 0, rest_us: 0, ms: 0, rest_ms: 0, s: 0, started: false },
                loaded: false,
                storage_fault: true,
                settings: Settings::new(),
                settings_lost: false,
                refresh: false,
                state: State::new(),
                counted: [0; CHANNELS],
                unsaved: [0; CHANNELS],
                dirty: false,
                urgent: false,
                last_commit_s: 0,
                last_load_s: 0,
                journal_faults: 0,
                pending: None,
                credit: [CreditState::NotPrepaid; CHANNELS],
                results: [(TopUpResult::None, 0); CHANNELS],
                last_credit_ms: 0,
                clock: None,
                contacts: [Contact::new(); CONTACTS],
                latched: 0,
                next_contact: 0,
                last_measure_ms: 0,
                drivers: [Driver::new(); OUTPUTS],
                ended: [Moved::No; OUTPUTS],
                intended: [None; OUTPUTS],
                causes: [Cause::Kept; OUTPUTS],
                booting: [true; OUTPUTS],
                retry: [false; OUTPUTS],
                supply_mv: None,
                supply_low: false,
                supply_below: false,
                cover_open: false,
                cover_since_ms: 0,
                tampered: false,
                button: Button::Released,
                update: Update::new(),
                frames: 0,
                exceptions: 0,
                last_frame_s: 0,
                dip: 0,
                reconfigure: false,
                reboot: false,
            },
        }
    }

    /// Reads the switches and the journal; once, before the first turn. This may take some seconds, in which the watchdog
    /// is fed for every round through the memory: see [`Journal::load`].
    #[inline(never)] // Or its frame would stay below that of every turn.
    pub fn start(&mut self) {
        let Self { line, core } = self;
        for (pin, bit) in core.parts.dip.iter_mut().zip(0..) {
            if pin.is_high_or(false) {
                core.dip |= 1 << bit;
            }
        }
        core.load();
        let settings = core.settings.line();
        core.parts.uart.configure(settings);
        line.configure(settings, core.drops_gaps());
    }

    /// One turn at what a clock shows, in wrapping microseconds; at least once a millisecond, at most 71 minutes apart.
    #[inline(never)]
    pub fn poll(&mut self, clock_us: u32) {
        let core = &mut self.core;
        let now_us = core.time.advance(clock_us);
        core.parts.system.feed_watchdog();
        core.reload();
        let outcome = match core.journal.step(&mut core.parts.i2c, now_us) {
            Progress::Stored(ring) => core.stored(ring),
            Progress::Failed(ring) => core.failed(ring),
            Progress::Idle | Progress::Busy => None,
        };
        core.measure();
        core.drive();
        if core.loaded && !core.journal.is_busy() {
            core.settle();
            core.watch();
            core.decide();
            core.save();
        }
        if let Some((pending, result)) = outcome {
            self.conclude(&pending, result);
        }
        self.serve(now_us);
    }

    /// One turn at the time of a clock.
    pub fn turn(&mut self, clock: &impl Clock) {
        self.poll(clock.micros());
    }

    /// Whether nothing waits for the memory, the line or a move: a board may sleep until its next interrupt.
    pub fn is_idle(&self) -> bool {
        let core = &self.core;
        self.line.is_silent() && !core.journal.is_busy() && core.drivers.iter().all(|driver| driver.driving().is_none())
    }

    /// Answers a request whose record is stored, unless the master has given up and speaks again.
    fn conclude(&mut self, pending: &Pending, result: Result<(), Exception>) {
        if pending.broadcast || !self.line.is_silent() {
            return;
        }
        if result.is_err() {
            self.core.exceptions = self.core.exceptions.wrapping_add(1);
        }
        self.line.send(|place| {
            let [address, function, ..] = pending.echo;
            match result {
                Ok(()) => {
                    *place.first_chunk_mut::<6>()? = pending.echo;
                    Some(6)
                }
                Err(exception) => {
                    *place.first_chunk_mut::<3>()? = [address, function | 0x80, exception as u8];
                    Some(3)
                }
            }
        });
    }

    fn serve(&mut self, now_us: u32) {
        let core = &mut self.core;
        self.line.poll(&mut core.parts.uart, &mut core.parts.driver_enable, now_us);
        if !self.line.is_listening() || core.journal.is_busy() {
            return;
        }
        if core.reconfigure {
            core.reconfigure = false;
            let line = core.settings.line();
            core.parts.uart.configure(line);
            self.line.configure(line, core.drops_gaps());
            return;
        }
        if core.reboot {
            // What was counted goes first.
            if core.dirty && !core.storage_fault {
                core.urgent = true;
            } else {
                core.reboot = false;
                core.parts.system.reboot();
            }
            return;
        }
        if let Some(held) = self.line.held() {
            let mut request = [0; FRAME_MAX];
            let length = held.len();
            for (place, byte) in request.iter_mut().zip(held) {
                *place = *byte;
            }
            let counters = self.line.counters();
            self.line.send(|place| core.answer(request.get(..length)?, &counters, place));
            return;
        }
        if self.line.is_silent() {
            core.update.poll(&core.parts.identity, &mut core.parts.staging, &mut core.parts.verifier);
        }
    }
}

impl<B: Board> Core<B> {
    fn drops_gaps(&self) -> bool {
        self.settings.flag(crate::map::Id::GapCheck, 0)
    }

    /// Address on the line; `None` while it cannot be known.
    fn address(&self) -> Option<u8> {
        match self.dip {
            0 if self.loaded => u8::try_from(self.settings.get(crate::map::Id::Address, 0)).ok(),
            0 => None,
            dip => Some(dip),
        }
    }

    /// Reads both rings. Settings tell whether missing state was lost.
    fn load(&mut self) {
        let parts = &mut self.parts;
        let mut alive = || parts.system.feed_watchdog();
        let Ok(found) = self.journal.load(&mut parts.i2c, &mut parts.delay, &mut alive, Ring::State) else { return };
        let state = if found { State::decode(self.journal.payload()) } else { None };
        let Ok(found) = self.journal.load(&mut parts.i2c, &mut parts.delay, &mut alive, Ring::Settings) else { return };
        self.settings = if found { Settings::decode(self.journal.payload()) } else { Settings::new() };
        self.settings_lost = !found && state.is_some();
        self.state = match (state, found) {
            (Some(state), _) => state,
            (None, true) => State::lost(),
            (None, false) => State::new(),
        };
        self.state.boots = self.state.boots.wrapping_add(1);
        if self.parts.system.reset_cause() == ResetCause::Watchdog {
            self.state.watchdog_resets = self.state.watchdog_resets.saturating_add(1);
        }
        // Every purchase came as a frame, so the last one is also the last frame that was stored: whoever reads the count
        // after a power cut sees that it was a frame that moved it.
        for (result, account) in self.results.iter_mut().zip(&self.state.accounts) {
            if account.count > 0 {
                *result = (TopUpResult::Applied, account.count);
            }
        }
        self.loaded = true;
        self.storage_fault = false;
        self.dirty = true;
        self.urgent = true;
        self.refresh = true;
        self.apply();
    }

    fn reload(&mut self) {
        if !self.loaded && self.time.s.saturating_sub(self.last_load_s) >= RELOAD_S {
            self.last_load_s = self.time.s;
            self.load();
            self.reconfigure = self.loaded;
        }
    }

    /// Hands settings to where they are used in an interrupt.
    fn apply(&mut self) {
        for channel in 0..CHANNELS {
            let debounce = self.settings.get(crate::map::Id::Debounce, channel);
            self.parts.pulses.set_debounce(channel, debounce.min(255) as u8);
        }
    }

    /// A record is in the memory: what was asked for is now so.
    fn stored(&mut self, ring: Ring) -> Option<(Pending, Result<(), Exception>)> {
        let pending = self.pending.take();
        self.storage_fault = false;
        match ring {
            Ring::Settings => {
                if pending.is_some() {
                    let old = (self.settings.line(), self.drops_gaps());
                    self.settings = Settings::decode(self.journal.payload());
                    self.settings_lost = false;
                    self.reconfigure = old != (self.settings.line(), self.drops_gaps());
                    self.apply();
                }
            }
            Ring::State => {
                if pending.is_some()
                    && let Some(state) = State::decode(self.journal.payload())
                {
                    self.state = state;
                }
                self.saved();
            }
        }
        if let Some((channel, count)) = pending.and_then(|pending| pending.top_up)
            && let Some(result) = self.results.get_mut(channel)
        {
            *result = (TopUpResult::Applied, count);
        }
        pending.map(|pending| (pending, Ok(())))
    }

    /// A record may or may not be in the memory: nothing has changed, and the master is told that it is not known.
    fn failed(&mut self, ring: Ring) -> Option<(Pending, Result<(), Exception>)> {
        self.storage_fault = true;
        if ring == Ring::State {
            // A record that was refused may still lie there: the next one, of what is live, goes before it.
            self.dirty = true;
            // Tried again after the interval; a move that is wanted is made all the same.
            self.urgent = false;
            self.last_commit_s = self.time.s;
            self.start_moves();
        }
        let pending = self.pending.take();
        if let Some((channel, count)) = pending.and_then(|pending| pending.top_up)
            && let Some(result) = self.results.get_mut(channel)
        {
            *result = (TopUpResult::NotStored, count);
        }
        pending.map(|pending| (pending, Err(Exception::DeviceFailure)))
    }

    fn saved(&mut self) {
        self.unsaved = [0; CHANNELS];
        self.dirty = false;
        self.urgent = false;
        self.last_commit_s = self.time.s;
        self.start_moves();
    }

    fn start_moves(&mut self) {
        for (driver, intended) in self.drivers.iter_mut().zip(&mut self.intended) {
            if let Some(to) = intended.take() {
                driver.start(to, self.time.ms);
            }
        }
    }
}

/// Reads a pin, and says what a pin that cannot be read counts as.
trait OrElse {
    fn is_high_or(&mut self, otherwise: bool) -> bool;
}

impl<P: embedded_hal::digital::InputPin> OrElse for P {
    fn is_high_or(&mut self, otherwise: bool) -> bool {
        self.is_high().unwrap_or(otherwise)
    }
}

#[cfg(test)]
mod tests;
