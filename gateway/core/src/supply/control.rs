//! From what is desired to the relay: asked at every pass, until the contact proves it.

use std::time::Duration;

use super::{Decision, Reconnect, RelayIntent, Supply, SupplyRecord};
use crate::profile::{RelayAction, RelayPosition};
use crate::time::Timestamp;

/// After so many attempts under one version the relay is reported as stuck. Trying goes on.
pub const STUCK_AFTER: u32 = 3;

/// The wait after the first attempt; it doubles with each.
pub const RETRY_FIRST: Duration = Duration::from_secs(10);

/// The longest wait between attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(600);

/// A valve that is still on its way so long after its command is reported as stuck: twice the longest travel of a field node.
pub const MOVING_MAX: Duration = Duration::from_secs(600);

/// Where the contact of a relay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contact {
    /// The meter has no relay or valve.
    Absent,
    /// It cannot be seen: never read, not good, or too old.
    Unknown,
    /// The proof point says so, freshly and with good quality.
    Seen(Supply),
    /// The same, of a valve that is on its way there and proves nothing yet.
    Moving(Supply),
    /// It was told to move and cannot: neither here nor there.
    Jammed,
}

impl Contact {
    /// What a relay's position says of its supply.
    pub fn at(position: RelayPosition) -> Self {
        match position {
            RelayPosition::Cut => Contact::Seen(Supply::Off),
            RelayPosition::Supplied => Contact::Seen(Supply::On),
            RelayPosition::Cutting => Contact::Moving(Supply::Off),
            RelayPosition::Restoring => Contact::Moving(Supply::On),
            RelayPosition::Jammed => Contact::Jammed,
            RelayPosition::Unknown => Contact::Unknown,
        }
    }

    /// Whether it is seen not to be, and not to be on its way, where it is desired.
    fn is_elsewhere(self, desired: Supply) -> bool {
        match self {
            Contact::Seen(there) | Contact::Moving(there) => there != desired,
            Contact::Jammed => true,
            Contact::Absent | Contact::Unknown => false,
        }
    }
}

/// Since when a contact has been seen to be open. What a load read before then flowed through a closed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened(Option<Timestamp>);

impl Opened {
    /// Takes in where the contact was seen to be, and when. Not seeing it tells nothing.
    pub fn see(&mut self, contact: Contact, at: Timestamp) {
        match contact {
            Contact::Seen(Supply::Off) => {
                self.0.get_or_insert(at);
            }
            Contact::Unknown => {}
            Contact::Absent | Contact::Seen(Supply::On) | Contact::Moving(_) | Contact::Jammed => self.0 = None,
        }
    }

    /// Whether a load that was read then says something of the contact as it is now.
    pub fn is_told_by(self, read_at: Timestamp) -> bool {
        self.0.is_none_or(|opened| read_at > opened)
    }
}

/// Whether something flows through the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    /// It cannot be seen.
    Unknown,
    /// No more than the policy's `bypass_above`.
    None,
    /// More.
    Flowing,
}

impl Load {
    /// Judges a fresh, good value of power, current or flow by the policy's `bypass_above`.
    pub fn judge(value: Option<f64>, bypass_above: f64) -> Self {
        match value {
            Some(value) if value.abs() > bypass_above => Load::Flowing,
            Some(value) if value.is_finite() => Load::None,
            _ => Load::Unknown,
        }
    }
}

/// Commands already given under the current version that did not bring the contact there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many.
    pub count: u32,
    /// When the last one was made.
    pub last: Timestamp,
}

/// What the controller looks at besides the decision.
#[derive(Clone, Copy, Debug)]
pub struct ControlInputs<'a> {
    /// The record as stored, the decision already in it.
    pub record: &'a SupplyRecord,
    /// Where the contact is.
    pub contact: Contact,
    /// Whether something flows.
    pub load: Load,
    /// As in [`super::Inputs::proved`].
    pub proved: Option<u64>,
    /// Commands given under this version.
    pub attempts: Attempts,
    /// Intents of this service point that are not settled.
    pub intents: &'a [RelayIntent],
    /// How the supply comes back.
    pub reconnect: Reconnect,
    /// When somebody in the shop last permitted the contact to close.
    pub permitted_at: Option<Timestamp>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the contact is where it should be, or must be left alone.
    None,
    /// Store an intent and send it. `Open` only together with the decision's permit and a pass of the breaker.
    Send(RelayAction),
    /// Nothing yet.
    Wait(WaitReason),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// The contact to be seen.
    ContactUnknown,
    /// The outcome of a command.
    IntentOpen,
    /// A valve to arrive.
    Moving,
    /// The time of the next attempt.
    Retry {
        /// When that is.
        at: Timestamp,
    },
    /// The leave to cut.
    Permit,
    /// Somebody in the shop to say that it is safe to close.
    ClosePermit,
}

/// What a person must look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContactAlarm {
    /// The contact is open and something flows: welded, or bridged.
    Bypass,
    /// The contact was found open although the supply was on: opened by hand, or by another program. It is not
    /// closed from here, as somebody may be working behind it.
    FoundOpen,
    /// The contact was found closed although the supply was cut.
    FoundClosed,
    /// It does not move, however often it is told to.
    Stuck,
    /// A valve says that it cannot move.
    Jammed,
}

impl ContactAlarm {
    /// The word in rows, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ContactAlarm::Bypass => "bypass",
            ContactAlarm::FoundOpen => "found_open",
            ContactAlarm::FoundClosed => "found_closed",
            ContactAlarm::Stuck => "stuck",
            ContactAlarm::Jammed => "jammed",
        }
    }
}

/// The outcome of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What to do.
    pub action: Action,
    /// What to report, as long as it is in here.
    pub alarms: Vec<ContactAlarm>,
}

/// Whether a look at the contact proves the record, so that any later move of it was not ours: see
/// [`super::Inputs::proved`]. `unsettled` are the commands whose outcome is not known, `settled_at` is when the last
/// one's became known. A contact that was seen before that may still be moved by a command that left before the
/// record changed, and a tenant who paid in that moment would be taken for one whose contact was opened by hand.
pub fn proves(
    record: &SupplyRecord,
    contact: Contact,
    seen_at: Timestamp,
    unsettled: &[RelayIntent],
    settled_at: Option<Timestamp>,
) -> bool {
    contact == Contact::Seen(record.desired)
        && unsettled.is_empty()
        && seen_at > record.changed_at
        && settled_at.is_none_or(|at| seen_at > at)
}

/// One pass of the controller.
pub fn control(inputs: &ControlInputs<'_>, decision: &Decision, now: Timestamp) -> Control {
    let record = inputs.record;
    let mut alarms = Vec::new();
    if inputs.contact == Contact::Seen(Supply::Off) && inputs.load == Load::Flowing {
        alarms.push(ContactAlarm::Bypass);
    }
    let seen_elsewhere = inputs.contact.is_elsewhere(record.desired);
    if inputs.contact == Contact::Jammed {
        alarms.push(ContactAlarm::Jammed);
    }
    // Under version 0 nothing was ever commanded, so the contact is where somebody else put it.
    // And as long as any command is not settled, even one of an older version, it may be that command's doing.
    let not_ours = record.version == 0 || inputs.proved == Some(record.version);
    let moved_by_hand = seen_elsewhere && not_ours && inputs.intents.is_empty();
    if moved_by_hand {
        match (inputs.contact, record.desired) {
            (Contact::Jammed, _) => {}
            (_, Supply::On) => alarms.push(ContactAlarm::FoundOpen),
            (_, Supply::Off) => alarms.push(ContactAlarm::FoundClosed),
        }
        return Control { action: Action::None, alarms };
    }
    let does_not_move = matches!(inputs.contact, Contact::Seen(_)) && inputs.attempts.count >= STUCK_AFTER;
    let never_arrives = inputs.attempts.count > 0 && now.since(inputs.attempts.last) > MOVING_MAX;
    if seen_elsewhere && does_not_move || matches!(inputs.contact, Contact::Moving(_)) && never_arrives {
        alarms.push(ContactAlarm::Stuck);
    }
    let action = match (record.desired, inputs.contact) {
        (_, Contact::Absent) => Action::None,
        (desired, Contact::Seen(seen)) if seen == desired => Action::None,
        (desired, Contact::Moving(to)) if to == desired => Action::Wait(WaitReason::Moving),
        (Supply::Off, Contact::Unknown) => Action::Wait(WaitReason::ContactUnknown),
        (Supply::Off, Contact::Seen(_) | Contact::Moving(_) | Contact::Jammed) => cut(inputs, decision, now),
        (Supply::On, Contact::Unknown) if record.version == 0 || inputs.proved == Some(record.version) => {
            Action::Wait(WaitReason::ContactUnknown)
        }
        // Somebody has paid. Closing a closed contact harms nobody, so it is tried without seeing it.
        (Supply::On, Contact::Unknown | Contact::Seen(_) | Contact::Moving(_) | Contact::Jammed) => {
            restore(inputs, now)
        }
    };
    Control { action, alarms }
}

/// A cut that is desired and not made.
fn cut(inputs: &ControlInputs<'_>, decision: &Decision, now: Timestamp) -> Action {
    if inputs.intents.iter().any(|intent| now <= intent.valid_until) {
        return Action::Wait(WaitReason::IntentOpen);
    }
    let permitted = decision.permit.as_ref().is_some_and(|permit| {
        permit.version == inputs.record.version && permit.service_point == inputs.record.service_point
    });
    if !permitted {
        return Action::Wait(WaitReason::Permit);
    }
    paced(inputs.attempts, RelayAction::Open, now)
}

/// A supply that is desired and not there. A cut of an older version that is still on its way does not delay it: that
/// command is worthless under this version.
fn restore(inputs: &ControlInputs<'_>, now: Timestamp) -> Action {
    let permitted = match inputs.reconnect {
        Reconnect::Direct => true,
        Reconnect::ClosePermit => inputs.permitted_at.is_some_and(|at| at >= inputs.record.changed_at),
    };
    if !permitted {
        return Action::Wait(WaitReason::ClosePermit);
    }
    let same = |intent: &&RelayIntent| intent.version == inputs.record.version && intent.is_open(now);
    if inputs.intents.iter().any(|intent| same(&intent)) {
        return Action::Wait(WaitReason::IntentOpen);
    }
    paced(inputs.attempts, RelayAction::Close, now)
}

/// Sends, unless the last attempt is too recent. An attempt dated ahead (the clock was set back) delays nothing.
fn paced(attempts: Attempts, action: RelayAction, now: Timestamp) -> Action {
    if attempts.count == 0 || attempts.last > now {
        return Action::Send(action);
    }
    let doubled = RETRY_FIRST.saturating_mul(1 << (attempts.count - 1).min(16));
    let at = attempts.last + doubled.min(RETRY_MAX);
    if now < at { Action::Wait(WaitReason::Retry { at }) } else { Action::Send(action) }
}
