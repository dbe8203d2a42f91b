//! `guanjia probe`: what is this device, and what does it say?

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use guanjia_core::profile::{Profile, Source};
use guanjia_field::session::{Look, Session, exception_text, table_name};
use serde_json::{Value, json};

use super::identify::{self, Score};
use super::target::{self, LibraryOptions, LineOptions, Target, patience};
use super::text::{self, columns, hex, millis};
use super::{EXIT_CODES, Trouble, end, usage};
use crate::config::ProfileShelf;

/// Candidates that are listed.
const LISTED_MAX: usize = 5;

const LONG_HELP: &str = "\
A unit nobody knows is held against every profile of the library; the one that fits is shown with all its points:

    guanjia probe --link rtu-over-tcp://192.0.2.11:4001?baud=9600 --unit 7

With --profile it is read as that model; a device of a site file is read as the site says:

    guanjia probe --site site.toml m-101

It only reads. The unit is asked one thing at a time.

JSON: {device, unit_id, profile, identified, candidates: [{profile, score, share, fitting, odd, missing}],
points: [{point, unit_id, table, address, count, raw, value, text, unit, quality, took_ms, exception}]}; `quality` is good
or bad: REASON, `raw` is numbers as received, `text` the exact value.";

/// Options of `guanjia probe`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    #[command(flatten)]
    line: LineOptions,
    #[command(flatten)]
    library: LibraryOptions,
    /// The address of the device on the line
    #[arg(long, value_name = "N")]
    unit: Option<u8>,
    /// Read it as this model instead of finding out
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// A device of the site file
    #[arg(requires = "site", conflicts_with_all = ["unit", "line"])]
    device: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Probes and prints.
///
/// # Errors
/// None; trouble is told and becomes the exit code.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    Ok(end(probe(&options).await))
}

async fn probe(options: &Options) -> Result<ExitCode, Trouble> {
    let mut target = match &options.device {
        Some(id) => {
            let site = options.line.site()?.ok_or_else(|| usage("a device belongs to a site; add --site FILE"))?;
            options.line.device(&site, id)?
        }
        None => options.line.unit(options.unit)?,
    };
    if let Some(id) = &options.profile {
        target.profile = Some(target::profile(&options.library, id)?);
    }
    let mut scores = Vec::new();
    if target.profile.is_none() {
        let shelf = ProfileShelf::find(options.library.profiles.as_deref()).map_err(Trouble::Config)?;
        let all = shelf.read_all().map_err(Trouble::Config)?;
        let profiles: Vec<Arc<Profile>> = all.iter().filter(|p| !p.is_mqtt()).map(|p| p.profile.clone()).collect();
        scores = find_out(&mut target.session, target.unit, &profiles).await?;
        target.profile = identify::winner(&scores).map(|s| s.profile.clone());
    }
    let looks = match target.profile.clone() {
        Some(profile) => target.session.look(target.unit, &profile, patience(Some(&profile)), |_| true).await?,
        None => Vec::new(),
    };
    if options.json {
        println!("{:#}", as_json(&target, &scores, &looks));
    } else {
        print!("{}", as_text(&target, &scores, &looks));
    }
    let good = looks.iter().any(|l| l.quality.is_good());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn find_out(session: &mut Session, unit: u8, profiles: &[Arc<Profile>]) -> Result<Vec<Score>, Trouble> {
    let visible = std::io::stderr().is_terminal();
    let scores = identify::identify(session, unit, profiles, &mut |asked, profile| {
        if visible {
            eprint!("\r\x1b[Kafter {asked} questions: {}", profile.id);
            // Progress that cannot be shown is no reason to stop.
            let _ = std::io::stderr().flush();
        }
    })
    .await;
    if visible {
        eprint!("\r\x1b[K");
    }
    Ok(scores?)
}

fn as_text(target: &Target, scores: &[Score], looks: &[Look]) -> String {
    let mut text = String::new();
    match (&target.profile, scores.first()) {
        (Some(profile), best) => {
            text += &format!("{}: {} {} ({})\n", target.name, profile.vendor, profile.model, profile.id);
            if let Some(best) = best {
                text += &format!(
                    "found out from {} points that fit and {} that do not; compare a value or two with its display\n",
                    best.fitting,
                    best.odd + best.missing
                );
            }
        }
        (None, _) => {
            text += &format!("{}: answers, and no profile fits it clearly. The nearest:\n", target.name);
            let mut rows = vec![["profile", "score", "fit", "odd", "refused or silent"].map(String::from).to_vec()];
            rows.extend(scores.iter().take(LISTED_MAX).map(|s| {
                let numbers = [s.fitting, s.odd, s.missing].map(|n| n.to_string());
                [vec![s.profile.id.clone(), format!("{:.1}", s.score)], numbers.to_vec()].concat()
            }));
            text += &columns(&rows);
            text += "Read it as one of them with --profile ID and compare with the display; or find its registers with \
                     guanjia read and guanjia decode.\n";
            return text;
        }
    }
    let Some(profile) = &target.profile else { return text };
    let mut rows = vec![["point", "value", "quality", "raw", "at", "took"].map(String::from).to_vec()];
    for look in looks {
        let def = &profile.points[look.point];
        rows.push(vec![
            def.id.to_string(),
            look.value.as_ref().map_or_else(|| "-".to_owned(), |v| text::value(v, def)),
            text::quality(look.quality) + &look.exception.map_or_else(String::new, |c| format!(" {c:02X}")),
            if look.raw.is_empty() { "-".to_owned() } else { hex(&look.raw) },
            place(profile, look),
            look.took.map_or_else(|| "-".to_owned(), millis),
        ]);
    }
    text += &columns(&rows);
    let good = looks.iter().filter(|l| l.quality.is_good()).count();
    text += &format!("{good} of {} points are good\n", looks.len());
    let mut codes: Vec<u8> = looks.iter().filter_map(|l| l.exception).collect();
    codes.sort_unstable();
    codes.dedup();
    for code in codes {
        text += &format!("exception {code:02X}: {}\n", exception_text(code));
    }
    text
}

fn place(profile: &Profile, look: &Look) -> String {
    match (profile.points[look.point].source.registers(), &profile.points[look.point].source) {
        (Some(place), _) => format!("{} {}", table_name(place.table), place.address),
        (None, Source::Derived(_)) => "calculated".to_owned(),
        (None, _) => "-".to_owned(),
    }
}

fn as_json(target: &Target, scores: &[Score], looks: &[Look]) -> Value {
    let candidate = |s: &Score| {
        json!({
            "profile": s.profile.id,
            "score": s.score,
            "share": s.share(),
            "fitting": s.fitting,
            "odd": s.odd,
            "missing": s.missing,
        })
    };
    json!({
        "device": target.name,
        "unit_id": target.unit,
        "profile": target.profile.as_ref().map(|p| &p.id),
        "identified": !scores.is_empty() && target.profile.is_some(),
        "candidates": scores.iter().take(LISTED_MAX).map(candidate).collect::<Vec<_>>(),
        "points": target.profile.as_ref().map_or_else(Vec::new, |profile| {
            looks.iter().map(|l| look_json(l, profile)).collect::<Vec<_>>()
        }),
    })
}

/// One point as JSON.
pub fn look_json(look: &Look, profile: &Profile) -> Value {
    let def = &profile.points[look.point];
    let place = def.source.registers();
    json!({
        "point": &*def.id,
        "unit_id": look.read.map(|r| r.unit),
        "table": place.map(|p| table_name(p.table)),
        "address": place.map(|p| p.address),
        "count": place.map(|p| p.count),
        "raw": look.raw,
        "value": text::value_json(look.value.as_ref()),
        "text": look.value.as_ref().map(ToString::to_string),
        "unit": def.unit,
        "quality": text::quality(look.quality),
        "took_ms": look.took.map(|t| t.as_secs_f64() * 1e3),
        "exception": look.exception,
    })
}
