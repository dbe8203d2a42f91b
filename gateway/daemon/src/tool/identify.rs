//! Which model is this? Every profile of the library is held against what the device answers.
//!
//! Each profile has a few of its own requests asked, those that say most: a frequency between 45 and 65 Hz is hardly
//! chance, a zero is. What a profile expects and what came is scored point by point; a request the device refuses speaks
//! against the profile as much as an impossible value. Answers are kept, so that models with common registers cost one
//! request together. Nothing is written, and nothing is asked that no profile asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::decode::{Answer, DecodeError, Decoder};
use guanjia_core::profile::{Extent, PointDef, Profile, Table};
use guanjia_core::reading::Value;
use guanjia_field::ReadRequest;
use guanjia_field::session::{Content, Patience, ReadOf, Session, SessionError};

/// Requests of one profile that are asked.
const REQUESTS_MAX: usize = 2;

/// Requests without any answer after which the unit counts as silent.
const SILENT_MAX: u32 = 3;

/// A score from which on a match is more than chance, and how far ahead of the next it must be.
const SCORE_MIN: f64 = 6.0;
const LEAD_MIN: f64 = 3.0;

/// What a device that answers by its own name speaks for its profile, or against another's.
const NAMED: f64 = 20.0;

/// The share of a profile's points that must fit.
const SHARE_MIN: f64 = 0.8;

/// How well a profile fits.
#[derive(Clone, Debug)]
pub struct Score {
    /// Which.
    pub profile: Arc<Profile>,
    /// The sum over its points; what fits adds, what cannot be subtracts.
    pub score: f64,
    /// Points with a value as it should be.
    pub fitting: u32,
    /// Points with a value that cannot be.
    pub odd: u32,
    /// Points in requests that were refused or not answered.
    pub missing: u32,
}

impl Score {
    /// The share of its points that fit, 0 to 1.
    pub fn share(&self) -> f64 {
        let all = self.fitting + self.odd + self.missing;
        if all == 0 { 0.0 } else { f64::from(self.fitting) / f64::from(all) }
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
enum Heard {
    Content(Content),
    /// It was refused, or not answered.
    Nothing,
}

/// Scores every profile against a unit, the best first. `progress` is told what is tried.
///
/// # Errors
/// [`SessionError`] if the line fails or the unit is silent to everything.
pub async fn identify(
    session: &mut Session,
    unit: u8,
    profiles: &[Arc<Profile>],
    mut progress: impl FnMut(usize, &Profile),
) -> Result<Vec<Score>, SessionError> {
    let mut talk = Talk { session, unit, heard: BTreeMap::new(), answers: 0, silent: 0 };
    let mut scores = Vec::new();
    for (i, profile) in profiles.iter().enumerate() {
        progress(i, profile);
        scores.push(talk.score(profile).await?);
    }
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(scores)
}

/// A conversation with one unit.
struct Talk<'a> {
    session: &'a mut Session,
    unit: u8,
    heard: BTreeMap<(Table, u16, u16), Heard>,
    answers: u32,
    silent: u32,
}

impl Talk<'_> {
    async fn score(&mut self, profile: &Arc<Profile>) -> Result<Score, SessionError> {
        let mut score = Score { profile: profile.clone(), score: 0.0, fitting: 0, odd: 0, missing: 0 };
        match self.session.introduce(self.unit, profile, self.patience(profile)).await {
            Ok(fit) => {
                if !profile.identity.is_empty() || profile.sunspec.is_some() {
                    score.score += NAMED;
                    self.answers += 1;
                }
                score.profile = fit;
            }
            Err(SessionError::Another { .. }) => {
                self.answers += 1;
                score.score -= NAMED;
                score.odd += 1;
                return Ok(score);
            }
            Err(error) => {
                self.missed(error, profile)?;
                score.score -= NAMED;
                score.missing += 1;
                return Ok(score);
            }
        }
        for request in telling(self.session, &score.profile) {
            let key = (request.table, request.address, request.count);
            if !self.heard.contains_key(&key) {
                let came = self.ask(&request, profile).await?;
                self.heard.insert(key, came);
            }
            weigh(&mut score, &request, self.heard.get(&key));
        }
        Ok(score)
    }

    async fn ask(&mut self, request: &ReadRequest, profile: &Profile) -> Result<Heard, SessionError> {
        let read = ReadOf { unit: self.unit, table: request.table, address: request.address, count: request.count };
        match self.session.read(read, self.patience(profile)).await {
            Ok(answered) => {
                self.answers += 1;
                Ok(Heard::Content(answered.content))
            }
            Err(SessionError::Refused { code, .. }) if !matches!(code, 0x0A | 0x0B) => {
                self.answers += 1;
                Ok(Heard::Nothing)
            }
            Err(error) => self.missed(error, profile).map(|()| Heard::Nothing),
        }
    }

    /// No answer, or a gateway says for the unit that it has none. Once the unit has spoken that is an answer too.
    fn missed(&mut self, error: SessionError, profile: &Profile) -> Result<(), SessionError> {
        match error {
            SessionError::Refused { .. } | SessionError::Silent { .. } => self.silent += 1,
            SessionError::Garbled { .. } if self.answers > 0 => {}
            error => return Err(error),
        }
        if self.answers == 0 && self.silent >= SILENT_MAX {
            return Err(SessionError::Silent { unit: self.unit, response_max: profile.limits.response_max });
        }
        Ok(())
    }

    /// Until it has answered once a unit gets a second chance.
    fn patience(&self, profile: &Profile) -> Patience {
        Patience { attempts: if self.answers == 0 { 2 } else { 1 }, ..Patience::from(&profile.limits) }
    }
}

/// The best one, if it is more than chance and clearly ahead of the next.
pub fn winner(scores: &[Score]) -> Option<&Score> {
    let best = scores.first()?;
    let lead = scores.get(1).map_or(f64::INFINITY, |second| best.score - second.score);
    (best.score >= SCORE_MIN && lead >= LEAD_MIN && best.share() >= SHARE_MIN).then_some(best)
}

/// The requests of a profile that say most about it.
fn telling(session: &Session, profile: &Profile) -> Vec<ReadRequest> {
    let mut requests = session.plan(profile);
    let weight = |r: &ReadRequest| -> u32 { r.points.iter().map(|i| telling_power(&profile.points[*i])).sum() };
    requests.sort_by_key(|r| std::cmp::Reverse(weight(r)));
    requests.truncate(REQUESTS_MAX);
    requests
}

/// How much a fitting value of this point would say.
fn telling_power(def: &PointDef) -> u32 {
    match &*def.unit {
        "Hz" => 6,
        "V" => 4,
        "Cel" => 2,
        "" if is_power_factor(def) => 3,
        "" if !def.codes.is_empty() => 2,
        "" => 0,
        _ => 1,
    }
}

fn is_power_factor(def: &PointDef) -> bool {
    def.id.starts_with("power_factor")
}

fn weigh(score: &mut Score, request: &ReadRequest, heard: Option<&Heard>) {
    let Some(Heard::Content(content)) = heard else {
        score.missing += request.points.len() as u32;
        score.score -= 8.0;
        return;
    };
    let profile = score.profile.clone();
    let extent = Extent { table: request.table, address: request.address, count: request.count };
    let answer = match content {
        Content::Words(words) => Answer::Words(words),
        Content::Bits(bits) => Answer::Bits(bits),
    };
    let mut decoder = Decoder::new(profile.clone(), |_| Duration::MAX);
    decoder.answer(extent, answer, &request.points, Duration::ZERO, |i, value| {
        let weight = match value {
            Ok(value) => plausibility(&profile.points[i], &value),
            // What it is worked out with may lie in a request that is not asked here.
            Err(DecodeError::Input) => 0.0,
            Err(DecodeError::Sentinel) => -0.5,
            Err(_) => -4.0,
        };
        score.score += weight;
        if weight > -1.0 { score.fitting += 1 } else { score.odd += 1 }
    });
}

/// What a value says for or against its point being what the profile says: positive for, negative against. Zero is
/// found everywhere and says nothing.
fn plausibility(def: &PointDef, value: &Value) -> f64 {
    let x = match value {
        Value::Text(text) => return if text.is_empty() { 0.0 } else { 3.0 },
        Value::Bool(_) => return 0.0,
        Value::Decimal(_) | Value::Float(_) => value.as_f64().unwrap_or(f64::NAN),
    };
    if x == 0.0 {
        return if matches!(&*def.unit, "V" | "Hz") { -0.5 } else { 0.0 };
    }
    let within = |low: f64, high: f64, weight: f64| if (low..=high).contains(&x) { weight } else { -6.0 };
    // Bits that are no float look like one that is vanishingly small or enormous.
    if matches!(value, Value::Float(_)) && x.abs() < 1e-6 {
        return -6.0;
    }
    let weight = match &*def.unit {
        "Hz" => within(45.0, 65.0, 6.0),
        "V" if (90.0..=500.0).contains(&x) => 4.0,
        "V" => within(5.0, 40_000.0, 0.5),
        "kV" => within(0.05, 40.0, 2.0),
        "Cel" => within(-45.0, 200.0, 2.0),
        "%" => within(0.0, 100.0, 1.0),
        "deg" => within(-360.0, 360.0, 1.0),
        "A" => within(-20_000.0, 20_000.0, 1.0),
        "" if is_power_factor(def) => within(-1.0, 1.0, 3.0),
        "" if !def.codes.is_empty() => {
            if def.codes.iter().any(|(code, _)| *code as f64 == x) {
                2.0
            } else {
                -5.0
            }
        }
        "" => 0.0,
        unit if unit.ends_with(".h") || unit == "m3" || unit == "L" => within(0.0, 1e9, 0.5),
        _ => within(-1e7, 1e7, 0.5),
    };
    if weight > 0.0 && matches!(value, Value::Float(_)) { weight * 1.5 } else { weight }
}
