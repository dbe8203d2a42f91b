//! `guanjia listen`: what another master reads on a line, and what a gateway there would read.
//!
//! Nothing is sent. What is heard is shown as it is learned: units, registers, periods, times; with a profile, values.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use guanjia_core::decode::{Answer, Decoder};
use guanjia_core::profile::Table;
use guanjia_field::passive::{Learned, Listening, Seen};
use guanjia_field::replay::points_in;
use guanjia_field::tap::Question;
use guanjia_field::trace::Envelope;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::target::{self, LibraryOptions, LineOptions};
use super::text::columns;
use super::units::Units;
use super::{EXIT_CODES, Trouble, end, usage};

/// How often the table is drawn anew.
const REDRAW: Duration = Duration::from_secs(2);

/// Data bytes of an answer that a table shows.
const BYTES_SHOWN: usize = 12;

const LONG_HELP: &str = "\
    guanjia listen --link '/dev/serial/by-id/NAME?baud=9600&parity=even'
    guanjia listen --link 'rtu-over-tcp://192.0.2.11:4001?baud=9600' --seconds 60 --json
    guanjia listen --site site.toml --line rs485-a
    guanjia listen --site site.toml --line rs485-a --profile eastron_sdm630 --propose

With a site file the units that it knows have their names, and their answers are told as the values of their points;
--profile is for the others.

It never sends a byte. To let the gateway itself take its readings from such a line, write `passive = true` there.

JSON: {seconds, noise_bytes, orphans, units: [{unit, device, ranges: [{function, first, last}], questions: [{function,
address, count, asked, answered, refused, doubtful, period_ms, took_ms: [min, max], data, values: [{point, value,
unit}]}]}]}.
Exit code 1 if no unit was heard.";

/// Options of `guanjia listen`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    #[command(flatten)]
    line: LineOptions,
    #[command(flatten)]
    library: LibraryOptions,
    /// Decode every unit with this profile, but those that the site file knows
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// End after so many seconds (default: until Ctrl-C)
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Print the devices that were heard, for a site file
    #[arg(long, conflicts_with = "json")]
    propose: bool,
    /// Print JSON at the end
    #[arg(long)]
    json: bool,
}

/// Listens until the time is over.
///
/// # Errors
/// None; trouble is told and becomes the exit code.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    Ok(end(listen(&options).await))
}

async fn listen(options: &Options) -> Result<ExitCode, Trouble> {
    let site = options.line.site()?;
    let config = options.line.config(site.as_ref())?;
    if Envelope::of(&config.link) != Envelope::Rtu {
        return Err(usage("only a line of RTU frames can be listened to: a serial port or rtu-over-tcp://"));
    }
    let profile = options.profile.as_ref().map(|id| target::profile(&options.library, id)).transpose()?;
    let units = Units::all(profile);
    let units = match &site {
        Some(site) => units.with_line(site, &config.name).unwrap_or_default(),
        None => units,
    };
    let line = Listening::on(&config.link, units.with_two_byte_counts()).await;
    let mut line = line.map_err(|error| Trouble::NoAnswer(error.to_string()))?;
    let redraw = std::io::stdout().is_terminal() && !options.json;
    let (started, mut drawn) = (Instant::now(), Instant::now());
    let mut learned = Learned::default();
    let over = async {
        match options.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut trouble = None;
    loop {
        let next = tokio::select! {
            () = &mut over => break,
            _ = tokio::signal::ctrl_c() => break,
            next = line.next() => next,
        };
        match next {
            Ok((now, _, heard)) => heard.iter().for_each(|heard| learned.note(now, heard)),
            Err(error) => {
                trouble = Some(error);
                break;
            }
        }
        if redraw && drawn.elapsed() >= REDRAW {
            drawn = Instant::now();
            print!("\x1b[H\x1b[J{}   {}\n{}", config.link.place(), guanjia_field::now(), table(&learned, &units));
            // A table that cannot be shown now is shown the next time.
            let _ = std::io::Write::flush(&mut std::io::stdout());
        }
    }
    if let Some(error) = trouble {
        eprintln!("error: {error}");
    }
    if options.json {
        println!("{}", document(&learned, &units, started.elapsed()));
    } else if options.propose {
        print!("{}", proposal(&learned, &config.name, &units));
    } else {
        print!("{}", table(&learned, &units));
    }
    Ok(if learned.units().is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(learned: &Learned, units: &Units) -> String {
    let head = ["unit", "fn", "address", "count", "asked", "answered", "refused", "every", "takes", "data"];
    let mut rows = vec![head.map(String::from).to_vec()];
    let mut last = None;
    for (question, seen) in learned.questions() {
        if let Some(device) = units.device(question.unit).filter(|_| last != Some(question.unit)) {
            rows.push(vec![question.unit.to_string(), device.to_string()]);
        }
        last = Some(question.unit);
        let takes =
            seen.took.map_or_else(String::new, |(min, max)| format!("{}-{} ms", min.as_millis(), max.as_millis()));
        rows.push(vec![
            question.unit.to_string(),
            format!("{:02}", question.function),
            question.address.to_string(),
            question.count.to_string(),
            seen.asked.to_string(),
            seen.answered.to_string(),
            seen.refused.to_string(),
            seen.period.map_or_else(String::new, |period| format!("{:.1} s", period.as_secs_f64())),
            takes,
            data(seen, BYTES_SHOWN),
        ]);
        for (point, value, unit) in values(&question, seen, units) {
            let name = units.name(question.unit, &point);
            rows.push(vec![String::new(), String::new(), format!("{name} = {value} {unit}").trim_end().to_owned()]);
        }
    }
    let mut text = columns(&rows);
    text.push_str(&format!("{} bytes of noise, {} answers without a question\n", learned.noise, learned.orphans));
    if learned.left_out > 0 {
        text.push_str(&format!("{} questions are not shown; there are too many different ones\n", learned.left_out));
    }
    text
}

fn data(seen: &Seen, bytes_max: usize) -> String {
    let shown = crate::explain::hex(&seen.data[..seen.data.len().min(bytes_max)]);
    if seen.data.len() > bytes_max { shown + " ..." } else { shown }
}

/// What the newest answer says by the profile.
fn values(question: &Question, seen: &Seen, units: &Units) -> Vec<(Arc<str>, String, String)> {
    let Some(profile) = units.profile(question.unit).filter(|_| !seen.data.is_empty()) else { return Vec::new() };
    let Some((extent, points)) = points_in(profile, question) else { return Vec::new() };
    let bits: Vec<bool> = seen.data.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).collect();
    let words: Vec<u16> = seen.data.chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
    let answer = if question.table().is_some_and(Table::is_bits) { Answer::Bits(&bits) } else { Answer::Words(&words) };
    let mut found = Vec::new();
    let mut decoder = Decoder::new(Arc::clone(profile), |_| Duration::MAX);
    decoder.answer(extent, answer, &points, Duration::ZERO, |i, value| {
        let Some(def) = profile.points.get(i) else { return };
        let value = value.map_or_else(|error| format!("no value: {error}"), |value| value.to_string());
        found.push((Arc::clone(&def.id), value, def.unit.clone()));
    });
    found
}

fn document(learned: &Learned, known: &Units, time: Duration) -> Value {
    let question = |(question, seen): (Question, &Seen)| {
        json!({
            "function": question.function,
            "address": question.address,
            "count": question.count,
            "asked": seen.asked,
            "answered": seen.answered,
            "refused": seen.refused,
            "doubtful": seen.doubtful,
            "period_ms": seen.period.map(|period| period.as_millis() as u64),
            "took_ms": seen.took.map(|(min, max)| [min.as_millis() as u64, max.as_millis() as u64]),
            "data": data(seen, usize::MAX),
            "values": values(&question, seen, known).into_iter()
                .map(|(point, value, unit)| json!({ "point": &*point, "value": value, "unit": unit }))
                .collect::<Vec<_>>(),
        })
    };
    let mut units: Vec<u8> = learned.questions().map(|(question, _)| question.unit).collect();
    units.dedup();
    let unit = |unit: u8| {
        let ranges = learned.ranges(unit);
        json!({
            "unit": unit,
            "device": known.device(unit),
            "ranges": ranges.iter()
                .map(|r| json!({ "function": r.function, "first": r.first, "last": r.last }))
                .collect::<Vec<_>>(),
            "questions": learned.questions().filter(|(q, _)| q.unit == unit).map(question).collect::<Vec<_>>(),
        })
    };
    json!({
        "seconds": time.as_secs_f64(),
        "noise_bytes": learned.noise,
        "orphans": learned.orphans,
        "units": units.into_iter().map(unit).collect::<Vec<_>>(),
    })
}

/// The devices that answered, as a beginning of a site file.
fn proposal(learned: &Learned, line: &str, units: &Units) -> String {
    let mut text = String::new();
    for unit in learned.units() {
        if let Some(device) = units.device(unit) {
            text.push_str(&format!("# unit {unit} is [device.{device}] already\n\n"));
            continue;
        }
        let profile = units.profile(unit).map_or("PROFILE", |profile| &profile.id);
        let ranges: Vec<String> =
            learned.ranges(unit).iter().map(|r| format!("{:02}:{}-{}", r.function, r.first, r.last)).collect();
        text.push_str(&format!(
            "# reads {}\n[device.unit-{unit}]\nprofile = \"{profile}\"\nline = \"{line}\"\nunit = {unit}\nfloor = \"\"\n\n",
            ranges.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use guanjia_field::passive::{Content, Exchange, Heard, Trust};

    use super::*;

    #[test]
    fn what_was_heard_is_told_as_a_table_a_document_and_a_proposal() {
        let mut learned = Learned::default();
        for turn in 0..3 {
            let exchange = Exchange {
                asked: Question { unit: 12, function: 3, address: 100, count: 2 },
                content: Content::Data(vec![0, 1, 0xE2, 0x40]),
                trust: Trust::Sure,
                request: Vec::new(),
                answer: Vec::new(),
                took: Duration::from_millis(20 + turn),
            };
            learned.note(Duration::from_secs(turn), &Heard::Exchange(exchange));
        }
        let table = table(&learned, &Units::default());
        assert!(
            table.contains("12    03  100      2      3      3         0        1.0 s  20-22 ms  00 01 E2 40"),
            "{table}"
        );
        let body = document(&learned, &Units::default(), Duration::from_secs(3));
        assert_eq!(body["units"][0]["ranges"][0], json!({ "function": 3, "first": 100, "last": 101 }));
        assert_eq!(body["units"][0]["questions"][0]["period_ms"], 1_000);
        let proposal = proposal(&learned, "rs485-a", &Units::default());
        assert!(
            proposal.contains("[device.unit-12]\nprofile = \"PROFILE\"\nline = \"rs485-a\"\nunit = 12\n"),
            "{proposal}"
        );
    }
}
