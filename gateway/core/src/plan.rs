//! Emergency plans (应急预案) and escalation ladders, as data.
//!
//! A plan is one TOML file of `config/plans/`; `_common.toml` beside them names the roles and the ladders. The daemon
//! reads the files, this module says what they mean and [`PlanBook::new`] what they must fulfil. The eleven titles are
//! the headings under which the property trade files its emergencies; they are never reworded.
//!
//! Times are written as people say them: `90s`, `3m30s`, `1h`, `1d`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::alarm::Priority;
use crate::text::Bilingual;

/// The plan of what has no plan of its own, such as a line that does not answer.
pub const OTHER_EVENTS: &str = "EP-11";
/// The plan of an outage that hits more than one unit.
pub const MAINS_OUTAGE: &str = "EP-02";
/// Steps one ladder may have; [`crate::incident::IncidentRecord::level`] counts within this.
pub const LADDER_STEPS_MAX: usize = 90;

/// A span of time after an event, with whole seconds: `3m30s` in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct After(pub Duration);

/// The text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time; write digits with d, h, m or s, such as 90s, 3m30s or 1h")]
pub struct AfterError(pub String);

impl std::str::FromStr for After {
    type Err = AfterError;

    fn from_str(text: &str) -> Result<Self, AfterError> {
        let bad = || AfterError(text.to_owned());
        let (mut rest, mut seconds, mut coarser) = (text, 0u64, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let count: u64 = rest[..digits].parse().map_err(|_| bad())?;
            let unit = match rest.as_bytes()[digits] {
                b'd' => 86_400,
                b'h' => 3_600,
                b'm' => 60,
                b's' => 1,
                _ => return Err(bad()),
            };
            // Units only get finer: `3m1h` is a slip of the pen, not an hour and three minutes.
            if unit >= coarser {
                return Err(bad());
            }
            coarser = unit;
            seconds = count.checked_mul(unit).and_then(|s| seconds.checked_add(s)).ok_or_else(bad)?;
            rest = &rest[digits + 1..];
        }
        if text.is_empty() { Err(bad()) } else { Ok(Self(Duration::from_secs(seconds))) }
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seconds = self.0.as_secs();
        if seconds == 0 {
            return f.write_str("0s");
        }
        for (unit, letter) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
            if seconds >= unit {
                write!(f, "{}{letter}", seconds / unit)?;
                seconds %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for After {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for After {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "After".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$" })
    }
}

/// One step of an escalation ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LadderStep {
    /// Counted from the opening of the incident.
    pub after: After,
    /// The roles that are called; whoever is on duty for them.
    pub to: Vec<String>,
}

/// What all plans share: `_common.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// Every role a plan or a ladder may name.
    pub roles: BTreeMap<String, Bilingual>,
    /// Who is called when nobody accepts, by priority.
    pub ladders: Ladders,
}

/// The ladders. P4 has none: it rings nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(non_snake_case, reason = "the keys are the priorities' own names")]
pub struct Ladders {
    /// Life or major damage.
    pub P1: Vec<LadderStep>,
    /// Urgent.
    pub P2: Vec<LadderStep>,
    /// Within half an hour.
    pub P3: Vec<LadderStep>,
}

/// One emergency plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// `EP-01` to `EP-11`, or the site's own.
    pub id: String,
    /// The full title.
    pub title: Bilingual,
    /// One short word for the front of every page, such as 火警.
    pub tag: Bilingual,
    /// How bad it is unless the alarm says otherwise.
    pub priority: Priority,
    /// What makes it worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise: Option<Raise>,
    /// How soon a person must be on the spot.
    pub on_scene: OnScene,
    /// Who leads, and who helps.
    pub roles: PlanRoles,
    /// When it is over.
    pub close: Bilingual,
    /// How often it is practised.
    pub drill: Drill,
    /// What binds everybody who acts under it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Bilingual>,
    /// What the gateway may and must not do by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic: Option<Automatic>,
    /// What starts it.
    pub triggers: Vec<Trigger>,
    /// Kinds of event with a checklist of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subtypes: Vec<Subtype>,
    /// What people do, numbered from 1.
    pub steps: Vec<Step>,
    /// A ladder of its own instead of its priority's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<Vec<LadderStep>>,
}

/// What raises a plan's priority, by a person's judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raise {
    /// The priority it then has.
    pub to: Priority,
    /// The circumstances.
    pub when: Bilingual,
}

/// How soon a person must be on the spot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnScene {
    /// The aim.
    pub within: After,
    /// What the contract allows at most, where that is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<After>,
    /// Where the number comes from.
    pub basis: String,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRoles {
    /// Owns the incident from the first minute.
    pub lead: String,
    /// Everybody else.
    pub with: Vec<String>,
}

/// How often a plan is practised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// Months from one drill to the next.
    pub every_months: u32,
    /// The day of the year (`MM-DD`) before which it must have been practised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// What the gateway may and must not do by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Automatic {
    /// Allowed.
    pub allowed: Vec<Bilingual>,
    /// Never.
    pub forbidden: Vec<Bilingual>,
}

/// What starts a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Unique in the plan.
    pub id: String,
    /// What is seen or reported.
    pub text: Bilingual,
    /// How long it must hold, unless that depends on the line's polling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<After>,
    /// The priority, where it is not the plan's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// A kind of event under a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subtype {
    /// Unique in the plan.
    pub id: String,
    /// What it is.
    pub text: Bilingual,
    /// How bad it is.
    pub priority: Priority,
}

/// Whether a step may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// It may.
    #[default]
    Free,
    /// Only with a written reason.
    NeedsReason,
}

/// One thing a person does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its number; 1, 2, 3 in the file's order.
    pub n: u32,
    /// When it should be done, from the opening of the incident.
    pub due: After,
    /// The role that does it.
    pub who: String,
    /// What to do.
    pub text: Bilingual,
    /// Whether it may be left out.
    #[serde(default)]
    pub skip: Skip,
    /// The verdict or subtype it belongs to, such as `real` or `monitoring_blind`; always, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// Why a set of plans cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two files with one id.
    #[error("two plans have the id {0}; give one of them another id")]
    Duplicate(String),
    /// A role nobody defined.
    #[error("{place} names the role {role:?}, which _common.toml does not define; add it there or correct the name")]
    UnknownRole {
        /// The plan or ladder.
        place: String,
        /// The role.
        role: String,
    },
    /// Steps out of order.
    #[error("the steps of plan {plan} are not numbered 1, 2, 3 ...: step {n} stands in place {place}")]
    StepNumber {
        /// The plan.
        plan: String,
        /// The number found.
        n: u32,
        /// Where, from 1.
        place: usize,
    },
    /// A ladder that is empty, too long, does not start at once, or goes back in time.
    #[error("the ladder of {0} must start at 0s, climb in time, and have between 1 and {LADDER_STEPS_MAX} steps")]
    Ladder(String),
    /// A plan the gateway itself falls back on is missing.
    #[error("plan {0} is missing; the gateway needs it for events of its own")]
    Missing(&'static str),
}

/// All plans of a site, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanBook {
    common: Common,
    plans: BTreeMap<String, Plan>,
}

impl PlanBook {
    /// Checks the files against each other.
    ///
    /// # Errors
    /// The first [`PlanError`] found.
    pub fn new(common: Common, plans: Vec<Plan>) -> Result<Self, PlanError> {
        let mut book = Self { common, plans: BTreeMap::new() };
        for (name, ladder) in
            [("P1", &book.common.ladders.P1), ("P2", &book.common.ladders.P2), ("P3", &book.common.ladders.P3)]
        {
            book.check_ladder(name, ladder)?;
        }
        for plan in plans {
            book.check_plan(&plan)?;
            let id = plan.id.clone();
            if book.plans.insert(id.clone(), plan).is_some() {
                return Err(PlanError::Duplicate(id));
            }
        }
        for needed in [MAINS_OUTAGE, OTHER_EVENTS] {
            if !book.plans.contains_key(needed) {
                return Err(PlanError::Missing(needed));
            }
        }
        Ok(book)
    }

    /// The plan of that id.
    pub fn get(&self, id: &str) -> Option<&Plan> {
        self.plans.get(id)
    }

    /// All plans, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values()
    }

    /// The name of a role.
    pub fn role(&self, id: &str) -> Option<&Bilingual> {
        self.common.roles.get(id)
    }

    /// The ladder of an incident: the plan's own, else its priority's. Empty for P4.
    pub fn ladder(&self, plan: &str, priority: Priority) -> &[LadderStep] {
        let ladders = &self.common.ladders;
        let own = self.plans.get(plan).and_then(|plan| plan.ladder.as_deref());
        match (priority, own) {
            (Priority::P4, _) => &[],
            (_, Some(own)) => own,
            (Priority::P1, None) => &ladders.P1,
            (Priority::P2, None) => &ladders.P2,
            (Priority::P3, None) => &ladders.P3,
        }
    }

    fn check_plan(&self, plan: &Plan) -> Result<(), PlanError> {
        let named = std::iter::once(&plan.roles.lead).chain(&plan.roles.with).chain(plan.steps.iter().map(|s| &s.who));
        self.check_roles(&plan.id, named.collect())?;
        for (i, step) in plan.steps.iter().enumerate() {
            if usize::try_from(step.n) != Ok(i + 1) {
                return Err(PlanError::StepNumber { plan: plan.id.clone(), n: step.n, place: i + 1 });
            }
        }
        plan.ladder.as_deref().map_or(Ok(()), |ladder| self.check_ladder(&plan.id, ladder))
    }

    fn check_ladder(&self, place: &str, ladder: &[LadderStep]) -> Result<(), PlanError> {
        let starts = ladder.first().is_some_and(|step| step.after.0.is_zero());
        if !starts || !ladder.is_sorted_by_key(|step| step.after) || ladder.len() > LADDER_STEPS_MAX {
            return Err(PlanError::Ladder(place.to_owned()));
        }
        self.check_roles(place, ladder.iter().flat_map(|step| &step.to).collect())
    }

    fn check_roles(&self, place: &str, roles: BTreeSet<&String>) -> Result<(), PlanError> {
        match roles.into_iter().find(|role| !self.common.roles.contains_key(*role)) {
            Some(role) => Err(PlanError::UnknownRole { place: place.to_owned(), role: role.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
