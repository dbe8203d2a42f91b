//! Outputs: latching relays and motor valves.
//!
//! ```text
//!           start(position)                       relay: pulse width over
//!  REST ───────────────────────────► DRIVE ─────────────────────────────────────────────► REST (Settled)
//!    ▲                                │  │  valve with limits: the limit is reached
//!    │ start                          │  │  valve without:     the travel time is over
//!    └────────────── JAMMED ◄─────────┘  │
//!       a quarter beyond the travel time │ start(other): both coils off, then the other way
//!       and no limit, or both limits     └──────────────────────────────────────────────────►
//! ```
//!
//! * The two coils are never on together, and every turn sets both: a glitch of a port lasts one turn.
//! * A valve that is at its limit already is not driven.
//! * What decides where an output goes is [`wanted`]; what is durable of it is [`crate::state::Intent`].

use embedded_hal::digital::{InputPin, OutputPin};

use crate::state::{Intent, Position};

/// What hangs on an output; the codes of register `output_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// Nothing.
    Unused,
    /// A relay with two coils that stays where it was sent.
    Relay,
    /// A valve with a motor, driven to its end.
    Valve,
}

impl OutputKind {
    /// From the register.
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Relay,
            2 => Self::Valve,
            _ => Self::Unused,
        }
    }

    /// Where the supply passes, or does not.
    pub const fn position(self, passing: bool) -> Position {
        match (self, passing) {
            (Self::Valve, true) | (Self::Relay | Self::Unused, false) => Position::Open,
            (Self::Valve, false) | (Self::Relay | Self::Unused, true) => Position::Closed,
        }
    }
}

/// Why an output is where it is; the codes of register `output_cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Cause {
    /// Nobody wants anything of it.
    Kept = 0,
    /// The master's command.
    Command = 1,
    /// The account.
    Credit = 2,
    /// Its safe state at start.
    Boot = 3,
    /// Its safe state without gateway.
    Lost = 4,
}

/// What the outside wants of an output.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// An account that is carried by it is cut.
    pub cut: bool,
    /// Safe state at start, until the first command.
    pub boot: Option<Position>,
    /// Safe state, while the gateway is lost.
    pub lost: Option<Position>,
}

/// Where an output shall be, and why. `None` = where it is.
pub fn wanted(kind: OutputKind, intent: &Intent, wishes: &Wishes) -> (Option<Position>, Cause) {
    if kind == OutputKind::Unused {
        return (None, Cause::Kept);
    }
    if wishes.cut {
        return (Some(kind.position(false)), Cause::Credit);
    }
    if wishes.lost.is_some() {
        return (wishes.lost, Cause::Lost);
    }
    if wishes.boot.is_some() {
        return (wishes.boot, Cause::Boot);
    }
    if intent.command.is_some() {
        return (intent.command, Cause::Command);
    }
    // What a cut has switched off is switched on when the account is good again.
    if intent.by_credit {
        return (Some(kind.position(true)), Cause::Credit);
    }
    // A move that the power cut has interrupted is ended.
    if !intent.settled && intent.target.is_some() {
        return (intent.target, Cause::Kept);
    }
    (None, Cause::Kept)
}

/// State of an output; the codes of register `output_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum OutputState {
    /// Never moved, or moved by hand.
    Unknown = 0,
    /// Open.
    Open = 1,
    /// Closed.
    Closed = 2,
    /// On the way to open.
    Opening = 3,
    /// On the way to closed.
    Closing = 4,
    /// Did not arrive.
    Jammed = 5,
    /// Nothing hangs on it.
    Unused = 6,
}

/// Where the supply behind an output stands: the same words for a relay, which interrupts by opening, and a valve, which
/// interrupts by closing; the codes of register `output_supply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum OutputSupply {
    /// Never moved, or moved by hand.
    Unknown = 0,
    /// Interrupted.
    Cut = 1,
    /// It passes.
    Passing = 2,
    /// On the way to interrupted.
    Cutting = 3,
    /// On the way to passing.
    Restoring = 4,
    /// Did not arrive.
    Jammed = 5,
    /// Nothing hangs on it.
    Unused = 6,
}

impl OutputSupply {
    /// What a state means for what hangs on the output.
    pub const fn of(kind: OutputKind, state: OutputState) -> Self {
        let valve = matches!(kind, OutputKind::Valve);
        match state {
            OutputState::Unknown => Self::Unknown,
            OutputState::Jammed => Self::Jammed,
            OutputState::Unused => Self::Unused,
            OutputState::Open if valve => Self::Passing,
            OutputState::Open => Self::Cut,
            OutputState::Closed if valve => Self::Cut,
            OutputState::Closed => Self::Passing,
            OutputState::Opening if valve => Self::Restoring,
            OutputState::Opening => Self::Cutting,
            OutputState::Closing if valve => Self::Cutting,
            OutputState::Closing => Self::Restoring,
        }
    }
}

/// How an output moves: its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Motion {
    /// What hangs on it.
    pub kind: OutputKind,
    /// How long a coil is driven, in ms.
    pub pulse_ms: u32,
    /// From one end to the other, in ms.
    pub travel_ms: u32,
    /// Whether there are limit switches.
    pub limits: bool,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Nothing has ended.
    No,
    /// The output is where it was sent.
    Settled,
    /// It is not, and no longer driven.
    Jammed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Rest,
    Drive { to: Position, since_ms: u32 },
    Jammed(Position),
}

/// The drive of an output.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    phase: Phase,
    moves: u16,
    /// The limit switches as last seen: [open, closed].
    limits: [bool; 2],
}

impl Driver {
    /// At rest.
    pub const fn new() -> Self {
        Self { phase: Phase::Rest, moves: 0, limits: [false; 2] }
    }

    /// Drives since the start.
    pub const fn moves(&self) -> u16 {
        self.moves
    }

    /// Limit switches as last seen: open end, closed end.
    pub const fn limits(&self) -> [bool; 2] {
        self.limits
    }

    /// Where it is being driven to.
    pub const fn driving(&self) -> Option<Position> {
        match self.phase {
            Phase::Drive { to, .. } => Some(to),
            Phase::Rest | Phase::Jammed(_) => None,
        }
    }

    /// Where it did not get to.
    pub const fn jammed(&self) -> Option<Position> {
        match self.phase {
            Phase::Jammed(to) => Some(to),
            Phase::Rest | Phase::Drive { .. } => None,
        }
    }

    /// State for the register.
    pub fn state(&self, intent: &Intent, motion: &Motion) -> OutputState {
        if motion.kind == OutputKind::Unused {
            return OutputState::Unused;
        }
        match self.phase {
            Phase::Jammed(_) => return OutputState::Jammed,
            Phase::Drive { to: Position::Open, .. } => return OutputState::Opening,
            Phase::Drive { to: Position::Closed, .. } => return OutputState::Closing,
            Phase::Rest => {}
        }
        if motion.kind == OutputKind::Valve && motion.limits {
            return match self.limits {
                [true, false] => OutputState::Open,
                [false, true] => OutputState::Closed,
                _ => OutputState::Unknown,
            };
        }
        match intent.target {
            Some(Position::Open) if intent.settled => OutputState::Open,
            Some(Position::Closed) if intent.settled => OutputState::Closed,
            _ => OutputState::Unknown,
        }
    }

    /// Begins a drive; also the other way, in the middle of one, and again after a jam.
    pub fn start(&mut self, to: Position, now_ms: u32) {
        self.phase = Phase::Drive { to, since_ms: now_ms };
        self.moves = self.moves.wrapping_add(1);
    }

    /// One turn: sets both coils.
    pub fn poll<I: InputPin, O: OutputPin>(
        &mut self,
        motion: &Motion,
        limits: &mut [I; 2],
        coils: &mut [O; 2],
        now_ms: u32,
    ) -> Moved {
        let [open_end, closed_end] = limits;
        // A limit that cannot be read is not reached: the travel time ends the drive.
        self.limits = [open_end.is_high().unwrap_or(false), closed_end.is_high().unwrap_or(false)];
        let moved = self.advance(motion, now_ms);
        let driving = self.driving();
        let [opens, closes] = coils;
        if driving != Some(Position::Open) {
            let _ = opens.set_low();
        }
        if driving != Some(Position::Closed) {
            let _ = closes.set_low();
        }
        let _ = match driving {
            Some(Position::Open) => opens.set_high(),
            Some(Position::Closed) => closes.set_high(),
            None => Ok(()),
        };
        moved
    }

    fn advance(&mut self, motion: &Motion, now_ms: u32) -> Moved {
        let Phase::Drive { to, since_ms } = self.phase else { return Moved::No };
        let elapsed = now_ms.wrapping_sub(since_ms);
        let end = match motion.kind {
            OutputKind::Unused => Some(Moved::Settled),
            OutputKind::Relay => (elapsed >= motion.pulse_ms).then_some(Moved::Settled),
            OutputKind::Valve if !motion.limits => (elapsed >= motion.travel_ms).then_some(Moved::Settled),
            OutputKind::Valve => match (to, self.limits) {
                (_, [true, true]) => Some(Moved::Jammed),
                (Position::Open, [true, false]) | (Position::Closed, [false, true]) => Some(Moved::Settled),
                _ => (elapsed >= motion.travel_ms + motion.travel_ms / 4).then_some(Moved::Jammed),
            },
        };
        match end {
            None => Moved::No,
            Some(Moved::Jammed) => {
                self.phase = Phase::Jammed(to);
                Moved::Jammed
            }
            Some(moved) => {
                self.phase = Phase::Rest;
                moved
            }
        }
    }
}

impl Default for Driver {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
