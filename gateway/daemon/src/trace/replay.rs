//! `guanjia replay`: what every frame of a trace means, and which the gateway throws away.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use guanjia_core::decode::{Answer, Decoder};
use guanjia_core::profile::Profile;
use guanjia_field::replay::{Meaning, Replay, Told, points_in};
use guanjia_field::session::Content;
use guanjia_field::tap::Question;
use guanjia_field::trace::{Header, LINE_MAX, Line, Reader, Record, TraceError};
use serde_json::{Value, json};

use crate::config::{self, ProfileShelf};
use crate::explain::hex;
use crate::site::Site;
use crate::tool::units::Units;

/// Options of `guanjia replay`.
#[derive(Debug, Args)]
pub struct ReplayOptions {
    /// The trace
    file: PathBuf,
    /// Decode with the devices of this site file
    #[arg(long, conflicts_with = "profile")]
    site: Option<PathBuf>,
    /// The line of the site file, if it is another than the trace names
    #[arg(long, requires = "site")]
    line: Option<String>,
    /// Decode every unit with this profile of the built-in library
    #[arg(long)]
    profile: Option<String>,
    /// Only what concerns this unit
    #[arg(long)]
    unit: Option<u8>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Replays a file.
///
/// # Errors
/// A file that cannot be read or is no trace, a site file or profile that cannot be used.
pub fn run(options: &ReplayOptions) -> anyhow::Result<ExitCode> {
    let file = File::open(&options.file).with_context(|| format!("{} cannot be opened", options.file.display()))?;
    let site = match &options.site {
        Some(path) => match config::load(path) {
            Ok(site) => Some(site),
            Err(report) => bail!("the site file cannot be used:\n{report}"),
        },
        None => None,
    };
    let mut player = Player::new(options, site)?;
    let mut input = BufReader::new(file);
    let (mut reader, mut bad_lines) = (Reader::default(), 0u64);
    let mut text = String::new();
    loop {
        text.clear();
        // One byte more than a line may have shows that it has more.
        let read = input.by_ref().take(LINE_MAX as u64 + 2).read_line(&mut text);
        if read.context("the file is no text")? == 0 {
            break;
        }
        match reader.read(text.trim_end_matches(['\n', '\r'])) {
            Ok(Line::Nothing) => {}
            Ok(Line::Header(header)) => player.begin(&header)?,
            Ok(Line::Record(record)) => player.play(&record),
            Err(TraceError::Event(number)) => {
                bad_lines += 1;
                eprintln!("line {number}: no event of a trace; passed over");
            }
            Err(error) => bail!("{}: {error}", options.file.display()),
        }
    }
    player.end(bad_lines);
    Ok(ExitCode::SUCCESS)
}

/// Knows the devices and tells what is heard.
struct Player<'a> {
    options: &'a ReplayOptions,
    site: Option<Site>,
    profile: Option<Arc<Profile>>,
    replay: Option<Replay>,
    units: Units,
    decoders: HashMap<u8, Decoder>,
    answers: u64,
    refused: u64,
    unanswered: u64,
    lost: u64,
}

impl<'a> Player<'a> {
    fn new(options: &'a ReplayOptions, site: Option<Site>) -> anyhow::Result<Self> {
        let profile = match &options.profile {
            Some(id) => {
                let found = match ProfileShelf::find(None).and_then(|shelf| shelf.read(id)) {
                    Ok(found) => found,
                    Err(report) => bail!("the library cannot be used:\n{report}"),
                };
                Some(found.with_context(|| format!("the library has no profile `{id}`"))?.profile)
            }
            None => None,
        };
        Ok(Self {
            options,
            site,
            profile,
            replay: None,
            units: Units::default(),
            decoders: HashMap::new(),
            answers: 0,
            refused: 0,
            unanswered: 0,
            lost: 0,
        })
    }

    fn begin(&mut self, header: &Header) -> anyhow::Result<()> {
        self.units = Units::all(self.profile.clone());
        if let Some(site) = &self.site {
            let name = self.options.line.as_ref().unwrap_or(&header.line);
            let units = std::mem::take(&mut self.units).with_line(site, name);
            self.units = units.with_context(|| format!("the site has no line `{name}`; name one with --line"))?;
        }
        self.replay = Some(Replay::new(header).with_two_byte_counts(self.units.with_two_byte_counts()));
        if !self.options.json {
            println!("line {}, {}", header.line, header.envelope.as_str());
        }
        Ok(())
    }

    fn play(&mut self, record: &Record) {
        match record {
            Record::Lost(n) => {
                self.lost += n;
                if self.options.json {
                    println!("{}", json!({ "lost": n }));
                } else {
                    println!("-- {n} events are missing here --");
                }
            }
            Record::Event(event) => {
                let told = self.replay.as_mut().map(|replay| replay.feed(event)).unwrap_or_default();
                for told in told {
                    self.tell(&told);
                }
            }
        }
    }

    fn tell(&mut self, told: &Told) {
        match told.meaning {
            Meaning::Answer(_) | Meaning::Written | Meaning::Exception(_) => self.answers += 1,
            Meaning::NoAnswer => self.unanswered += 1,
            Meaning::Refused(_) => self.refused += 1,
        }
        let unit = told.asked.map(|asked| asked.unit).or(told.frame.first().copied());
        if self.options.unit.is_some_and(|wanted| unit != Some(wanted)) {
            return;
        }
        let (word, detail) = words(&told.meaning);
        let values = match (&told.meaning, &told.asked) {
            (Meaning::Answer(content), Some(asked)) => self.values(asked, content, told.since),
            _ => Vec::new(),
        };
        let device = told.asked.and_then(|asked| self.units.device(asked.unit));
        if self.options.json {
            let asked = told
                .asked
                .map(|q| json!({ "unit": q.unit, "function": q.function, "address": q.address, "count": q.count }));
            let body = json!({ "at": told.at.to_string(), "since": told.since.as_secs_f64(), "device": device,
                "asked": asked, "meaning": word, "detail": detail, "frame": hex(&told.frame),
                "values": values.iter().map(Shown::json).collect::<Vec<_>>() });
            println!("{body}");
            return;
        }
        let asked = told
            .asked
            .map_or_else(String::new, |q| format!(" unit {} fn {:02} {}+{}", q.unit, q.function, q.address, q.count));
        let detail = detail.map_or_else(String::new, |detail| format!(" {detail}"));
        println!("{:>12.6}{asked}: {word}{detail}  {}", told.since.as_secs_f64(), hex(&told.frame));
        for shown in values {
            let name = told.asked.map_or_else(String::new, |asked| self.units.name(asked.unit, &shown.point));
            println!("{:>12}   {name} = {}", "", shown.text());
        }
    }

    /// What an answer says by the device's profile, with what the device said before.
    fn values(&mut self, asked: &Question, content: &Content, since: Duration) -> Vec<Shown> {
        let Some(profile) = self.units.profile(asked.unit).map(Arc::clone) else { return Vec::new() };
        let Some((extent, points)) = points_in(&profile, asked) else { return Vec::new() };
        let decoder =
            self.decoders.entry(asked.unit).or_insert_with(|| Decoder::new(Arc::clone(&profile), |_| Duration::MAX));
        let answer = match content {
            Content::Words(words) => Answer::Words(words),
            Content::Bits(bits) => Answer::Bits(bits),
        };
        let mut shown = Vec::new();
        decoder.answer(extent, answer, &points, since, |i, value| {
            let Some(def) = profile.points.get(i) else { return };
            let value = value.map(|value| value.to_string()).map_err(|error| error.to_string());
            shown.push(Shown { point: Arc::clone(&def.id), unit: def.unit.clone(), value });
        });
        shown
    }

    fn end(&self, bad_lines: u64) {
        if !self.options.json {
            println!(
                "{} answers, {} unanswered, {} refused; {} events missing, {bad_lines} lines unreadable",
                self.answers, self.unanswered, self.refused, self.lost
            );
        }
    }
}

/// One value of an answer.
struct Shown {
    point: Arc<str>,
    unit: String,
    value: Result<String, String>,
}

impl Shown {
    fn text(&self) -> String {
        match &self.value {
            Ok(value) => format!("{value} {}", self.unit).trim_end().to_owned(),
            Err(error) => format!("no value: {error}"),
        }
    }

    fn json(&self) -> Value {
        json!({ "point": &*self.point, "unit": self.unit, "value": self.value.as_ref().ok(),
            "error": self.value.as_ref().err() })
    }
}

/// The stable word of a meaning, and what there is to add.
fn words(meaning: &Meaning) -> (&'static str, Option<String>) {
    match meaning {
        Meaning::Answer(_) => ("answer", None),
        Meaning::Written => ("written", None),
        Meaning::Exception(code) => ("exception", Some(format!("{code:02}"))),
        Meaning::NoAnswer => ("no_answer", None),
        Meaning::Refused(kind) => ("refused", Some(kind.as_str().to_owned())),
    }
}
