//! Which model is this? Every profile of the library is held against what the device answers.
//!
//! ```text
//!   1 its name    the identity places of all profiles, each place once ──► one fits in name and values: found
//!                                                                      └─► it has another name: out
//!   2 first look  of each profile left the one point that says most ────► refused, silent, impossible: out
//!   3 second look of each profile left the requests that say most ──────► scored, ranked
//! ```
//!
//! * A frequency between 45 and 65 Hz is hardly chance, a zero is: what a profile expects and what came is scored point by
//!   point, and a request the device refuses speaks against the profile as much as an impossible value.
//! * A name is given only if the best is more than chance and clearly ahead of the next ([`winner`]).
//! * An answer is kept: models with common registers cost one request together, a part of what was read is not asked
//!   again, and neither is a table the device does not have ([`Talk`]).
//! * On a serial line an answer does not say to which question it is. So of the questions that are left one is asked that
//!   cannot be confused with those before it, as long as there is one.
//! * Once the device has answered a few times it is known how long it takes, and silence is waited for no longer than
//!   several times that. So a device that is silent to what it does not have costs seconds and not minutes.
//! * Nothing is written, and nothing is read that no profile reads but the beginning of what was read before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::decode::{Answer, DecodeError, Decoder};
use guanjia_core::profile::{Asked, Extent, Introduction, Next, PointDef, Profile};
use guanjia_core::reading::Value;
use guanjia_field::ReadRequest;
use guanjia_field::session::{Content, Session, SessionError};

use self::talk::{Heard, Talk};

mod talk;
#[cfg(test)]
mod tests;

/// Requests of one profile that are asked at the second look.
const REQUESTS_MAX: usize = 2;

/// Questions without any answer after which the unit counts as silent.
const GREETINGS_MAX: u32 = 12;

/// As many models with a place in common are worth asking for as one that says its name.
const NAME_WORTH: usize = 3;

/// Questions of one introduction: every model of a SunSpec device, and some points.
const INTRODUCTION_MAX: usize = 100;

/// A score from which on a match is more than chance, and how far ahead of the next it must be.
const SCORE_MIN: f64 = 6.0;
const LEAD_MIN: f64 = 3.0;

/// What a device that answers by its own name speaks for its profile, or against another's.
const NAMED: f64 = 20.0;

/// What a request that brings nothing speaks against a profile.
const MISSED: f64 = 8.0;

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
    fn of(profile: &Arc<Profile>) -> Self {
        Self { profile: Arc::clone(profile), score: 0.0, fitting: 0, odd: 0, missing: 0 }
    }

    /// The share of its points that fit, 0 to 1.
    pub fn share(&self) -> f64 {
        let all = self.fitting + self.odd + self.missing;
        if all == 0 { 0.0 } else { f64::from(self.fitting) / f64::from(all) }
    }

    fn is_contradicted(&self) -> bool {
        self.odd + self.missing > 0
    }
}

/// A request of the profile at a position of a list.
type Open = (usize, ReadRequest);

/// Scores the profiles against a unit, the best first; one that was not even asked for is left out. `progress` is told
/// how many questions were asked and which profile comes next.
///
/// # Errors
/// [`SessionError`] if the line fails or the unit is silent to everything.
pub async fn identify(
    session: &mut Session,
    unit: u8,
    profiles: &[Arc<Profile>],
    progress: &mut dyn FnMut(u32, &Profile),
) -> Result<Vec<Score>, SessionError> {
    let mut talk = Talk::new(session, unit);
    let (named, plain): (Vec<_>, Vec<_>) = profiles.iter().partition(|p| !p.identity.is_empty() || p.sunspec.is_some());
    greet(&mut talk, profiles, progress).await?;

    let (mut scores, mut fits) = (Vec::new(), Vec::new());
    for profile in named {
        progress(talk.asked(), profile);
        let (score, is_it) = introduced(&mut talk, profile).await?;
        if is_it { fits.push(score) } else { scores.push(score) }
    }
    second_look(&mut talk, &mut fits, progress).await?;
    scores.extend(fits);
    sort(&mut scores);
    if winner(&scores).is_some() {
        return Ok(scores);
    }

    let mut plausible = Vec::new();
    for score in first_look(&mut talk, &plain, progress).await? {
        if score.is_contradicted() {
            scores.push(score);
            continue;
        }
        let (again, is_it) = introduced(&mut talk, &score.profile).await?;
        if is_it { plausible.push(again) } else { scores.push(again) }
    }
    second_look(&mut talk, &mut plausible, progress).await?;
    scores.extend(plausible);
    sort(&mut scores);
    Ok(scores)
}

fn sort(scores: &mut [Score]) {
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
}

/// Asks what most models would answer, and for names, until the unit says anything at all, so that a device that is
/// silent to places it does not have is not taken for a silent unit. What could be confused with a question before it is
/// left out: nothing but time would settle that.
async fn greet(
    talk: &mut Talk<'_>,
    profiles: &[Arc<Profile>],
    progress: &mut dyn FnMut(u32, &Profile),
) -> Result<(), SessionError> {
    let mut common: BTreeMap<Extent, (usize, &Profile)> = BTreeMap::new();
    for profile in profiles {
        let name = Introduction::of(profile).map(|introduction| introduction.next());
        let (place, worth) = match (name, most_telling(talk.session, profile)) {
            (Some(Next::Ask(place)), _) => (place, NAME_WORTH),
            (_, Some(request)) => (extent(&request), 1),
            _ => continue,
        };
        common.entry(place).or_insert((0, profile)).0 += worth;
    }
    let mut common: Vec<_> = common.into_iter().collect();
    common.sort_by_key(|(_, (worth, _))| std::cmp::Reverse(*worth));
    for (place, (_, profile)) in common {
        if talk.has_spoken() || talk.asked() >= GREETINGS_MAX {
            break;
        }
        if !talk.is_ambiguous(place) {
            progress(talk.asked(), profile);
            talk.ask(place, profile).await?;
        }
    }
    if talk.has_spoken() { Ok(()) } else { talk.silence().map_or(Ok(()), Err) }
}

/// Asks for everything by which the profile knows its device. The score is of the profile as this very device has it; the
/// other value says whether it can be this one.
async fn introduced(talk: &mut Talk<'_>, profile: &Arc<Profile>) -> Result<(Score, bool), SessionError> {
    let mut score = Score::of(profile);
    let Some(mut introduction) = Introduction::of(profile) else { return Ok((score, true)) };
    let has_name = !profile.identity.is_empty() || profile.sunspec.is_some();
    for _ in 0..INTRODUCTION_MAX {
        let place = match introduction.next() {
            Next::Ask(place) => place,
            Next::Fit(fit) => {
                score.profile = fit;
                score.score += if has_name { NAMED } else { 0.0 };
                return Ok((score, true));
            }
            Next::Wrong(_) => break,
        };
        match talk.ask(place, profile).await? {
            Heard::Content(Content::Words(words)) => introduction.answered(Asked::Words(&words)),
            Heard::Refused(code) => introduction.answered(Asked::Refused(code)),
            Heard::Content(Content::Bits(_)) | Heard::Silence => break,
        }
    }
    score.score -= NAMED;
    score.missing += 1;
    Ok((score, false))
}

/// Looks at the one point of each profile that says most.
async fn first_look(
    talk: &mut Talk<'_>,
    profiles: &[&Arc<Profile>],
    progress: &mut dyn FnMut(u32, &Profile),
) -> Result<Vec<Score>, SessionError> {
    let mut scores: Vec<Score> = profiles.iter().map(|p| Score::of(p)).collect();
    let of = |i: usize| most_telling(talk.session, &scores[i].profile).map(|request| (i, request));
    let open: Vec<Open> = (0..scores.len()).filter_map(of).collect();
    ask_all(talk, &mut scores, open, progress).await?;
    Ok(scores)
}

/// Scores each profile by the requests that say most.
async fn second_look(
    talk: &mut Talk<'_>,
    scores: &mut [Score],
    progress: &mut dyn FnMut(u32, &Profile),
) -> Result<(), SessionError> {
    let of = |(i, score): (usize, &Score)| telling(talk.session, &score.profile).into_iter().map(move |r| (i, r));
    let open: Vec<Open> = scores.iter().enumerate().flat_map(of).collect();
    ask_all(talk, scores, open, progress).await
}

async fn ask_all(
    talk: &mut Talk<'_>,
    scores: &mut [Score],
    mut open: Vec<Open>,
    progress: &mut dyn FnMut(u32, &Profile),
) -> Result<(), SessionError> {
    while !open.is_empty() {
        let places: Vec<Extent> = open.iter().map(|(_, request)| extent(request)).collect();
        let next = talk.next_of(&places);
        let (i, request) = open.remove(next);
        let score = &mut scores[i];
        progress(talk.asked(), &score.profile);
        let heard = talk.ask(places[next], &score.profile).await?;
        weigh(score, &request, &heard);
    }
    Ok(())
}

fn extent(request: &ReadRequest) -> Extent {
    Extent { table: request.table, address: request.address, count: request.count }
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

/// The read of the point that says most by itself.
fn most_telling(session: &Session, profile: &Profile) -> Option<ReadRequest> {
    let mut points: Vec<usize> = (0..profile.points.len()).collect();
    let alone = |def: &PointDef| if def.inputs.is_empty() { 1 } else { 0 };
    points.sort_by_key(|i| std::cmp::Reverse((telling_power(&profile.points[*i]), alone(&profile.points[*i]))));
    points.into_iter().find_map(|i| session.alone(profile, i))
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

fn weigh(score: &mut Score, request: &ReadRequest, heard: &Heard) {
    let Heard::Content(content) = heard else {
        score.missing += request.points.len() as u32;
        score.score -= MISSED;
        return;
    };
    let profile = score.profile.clone();
    let answer = match content {
        Content::Words(words) => Answer::Words(words),
        Content::Bits(bits) => Answer::Bits(bits),
    };
    let mut decoder = Decoder::new(profile.clone(), |_| Duration::MAX);
    decoder.answer(extent(request), answer, &request.points, Duration::ZERO, |i, value| {
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
