//! `guanjia scan`: which units are on this line?
//!
//! Every address is asked for one register, one after the other, with all the silences of the line. Any answer of the
//! unit tells that it is there, a refusal as well. An answer that is damaged tells that somebody is there and that the
//! format is wrong, or that two devices have the address; it is asked again before that is said.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use guanjia_core::profile::Table;
use guanjia_field::session::{Patience, ReadOf, Session, SessionError};
use guanjia_field::{LineConfig, Link, Parity, SerialFormat};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::target::LineOptions;
use super::text::{self, millis};
use super::{EXIT_CODES, Trouble, end, usage};

/// How long a unit may think before its answer begins, unless --timeout says otherwise.
const RESPONSE_MAX: Duration = Duration::from_millis(300);
/// After an unanswered request an RTU line is listened to for this long, so that a late answer is not taken for the
/// next unit's.
const LINGER: Duration = Duration::from_millis(100);
/// The speeds a sweep tries, the commonest first.
const BAUDS: [u32; 8] = [9600, 19_200, 4800, 2400, 38_400, 115_200, 57_600, 1200];
/// Units at one TCP address above which "all of them answer" means that the address is not looked at.
const ALL_THE_SAME: usize = 8;

const LONG_HELP: &str = "\
    guanjia scan --link modbus-tcp://192.0.2.10
    guanjia scan --link /dev/serial/by-id/NAME --sweep
    guanjia scan --link rtu-over-tcp://192.0.2.11:4001?baud=9600 --units 1-40,100

--sweep tries every usual speed with every parity on a serial port and stops at the first format in which somebody
answers; --every-format goes on. Behind a serial server the format is set in the server.
It only reads one register of each unit, one unit at a time. Ctrl-C ends it after the running question and shows what was
found. The gateway must not use the line meanwhile.

JSON: {link, complete, asked, seconds, answers_to_all, found: [{unit_id, baud, parity, stop_bits, answer, exception,
took_ms}]}; `answer` is data, exception or damaged; `complete` is false after Ctrl-C.
Exit code 1 also if nobody was found.";

/// Options of `guanjia scan`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    #[command(flatten)]
    line: LineOptions,
    /// The addresses to ask: 1-40,100; by default 1-247, on Modbus TCP 0-247 and 255
    #[arg(long, value_name = "RANGES")]
    units: Option<String>,
    /// The register every unit is asked for, as TABLE:ADDRESS
    #[arg(long, value_name = "PLACE", default_value = "holding:0")]
    register: String,
    /// Serial port: try every usual speed and parity until somebody answers
    #[arg(long)]
    sweep: bool,
    /// Serial port: as --sweep, and go on when somebody answered
    #[arg(long)]
    every_format: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a unit showed that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Data(Duration),
    Exception(u8),
    Damaged,
}

struct Found {
    unit: u8,
    format: Option<SerialFormat>,
    sign: Sign,
}

/// The course of a scan.
struct Scan<'a> {
    options: &'a Options,
    table: Table,
    address: u16,
    units: Vec<u8>,
    stop: CancellationToken,
    found: Vec<Found>,
    asked: usize,
    total: usize,
    started: Instant,
}

/// Scans and prints.
///
/// # Errors
/// None; trouble is told and becomes the exit code.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let pressed = stop.clone();
    // A question is never broken off half way: its answer would be taken for the next one's.
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            pressed.cancel();
        }
    });
    Ok(end(scan(&options, stop).await))
}

async fn scan(options: &Options, stop: CancellationToken) -> Result<ExitCode, Trouble> {
    let site = options.line.site()?;
    let mut config = options.line.config(site.as_ref())?;
    let response_max = *config.response_max.get_or_insert(RESPONSE_MAX);
    config.linger = LINGER;
    let formats = formats(options, &config.link)?;
    let units = match &options.units {
        Some(text) => ranges(text, &config.link)?,
        None => all_units(&config.link),
    };
    let (table, address) = options.register.split_once(':').unwrap_or((&options.register, "0"));
    let mut scan = Scan {
        options,
        table: text::table(table)?,
        address: text::number(address, "address")?,
        total: units.len() * formats.len(),
        units,
        stop,
        found: Vec::new(),
        asked: 0,
        started: Instant::now(),
    };
    let longest = formats.iter().map(|f| silent_takes(f.as_ref(), response_max) * scan.units.len() as u32).sum();
    eprintln!(
        "asking {} units on {}{}; at most {}",
        scan.units.len(),
        config.link.place(),
        if formats.len() > 1 { format!(" in {} formats", formats.len()) } else { String::new() },
        spoken(longest)
    );
    for format in formats {
        let before = scan.found.len();
        scan.line(with_format(&config, format), format).await?;
        if scan.stop.is_cancelled() || (scan.found.len() > before && !options.every_format) {
            break;
        }
    }
    scan.end(&config)
}

impl Scan<'_> {
    async fn line(&mut self, config: LineConfig, format: Option<SerialFormat>) -> Result<(), Trouble> {
        let patience =
            Patience { response_max: config.response_max.unwrap_or(RESPONSE_MAX), attempts: 1, ..Patience::default() };
        let mut session = Session::new(config);
        for i in 0..self.units.len() {
            if self.stop.is_cancelled() {
                break;
            }
            let unit = self.units[i];
            self.progress(unit, format);
            let read = ReadOf { unit, table: self.table, address: self.address, count: 1 };
            let sign = match sign(session.read(read, patience).await)? {
                // Perhaps only the late answer of the unit before.
                Some(Sign::Damaged) => sign(session.read(read, patience).await)?,
                sign => sign,
            };
            self.asked += 1;
            if let Some(sign) = sign {
                self.clear();
                let found = Found { unit, format, sign };
                if !self.options.json {
                    println!("{}", found.text());
                }
                self.found.push(found);
            }
        }
        self.clear();
        Ok(())
    }

    fn progress(&self, unit: u8, format: Option<SerialFormat>) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let spent = self.started.elapsed();
        let left = if self.asked == 0 { spent } else { spent / self.asked as u32 * (self.total - self.asked) as u32 };
        let format = format.map_or_else(String::new, |f| format!(" at {}", format_text(&f)));
        eprint!("\r\x1b[Kunit {unit}{format}, {} found, about {} left", self.found.len(), spoken(left));
        // Progress that cannot be shown is no reason to stop.
        let _ = std::io::stderr().flush();
    }

    fn clear(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }

    fn end(self, config: &LineConfig) -> Result<ExitCode, Trouble> {
        let complete = !self.stop.is_cancelled();
        let to_all = config.link.format().is_none()
            && self.asked > ALL_THE_SAME
            && self.found.len() == self.asked
            && self.found.iter().all(|f| !matches!(f.sign, Sign::Damaged));
        if self.options.json {
            let body = json!({
                "link": config.link.place(),
                "complete": complete,
                "asked": self.asked,
                "seconds": self.started.elapsed().as_secs_f64(),
                "answers_to_all": to_all,
                "found": self.found.iter().map(Found::json).collect::<Vec<_>>(),
            });
            println!("{body:#}");
        } else {
            let took = spoken(self.started.elapsed());
            let stopped = if complete { "" } else { ", stopped by Ctrl-C" };
            println!("{} of {} units answer, after {took}{stopped}", self.found.len(), self.asked);
            if to_all {
                println!("It answers to every address: this is one device that does not look at its unit id.");
            }
            if self.found.is_empty() {
                println!("{}", nobody(config));
            } else if self.found.iter().any(|f| f.sign == Sign::Damaged) {
                println!("damaged: wrong baud or parity, two devices with one address, or a wire without termination.");
            } else if !to_all {
                println!("Next: guanjia probe --link LINK --unit N finds out what each of them is.");
            }
        }
        Ok(if self.found.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// What nobody's answer may come from.
fn nobody(config: &LineConfig) -> &'static str {
    match config.link {
        Link::Serial { .. } => "Try --sweep (the format may be another), swap the wires A and B, check power.",
        _ if config.link.format().is_some() => {
            "Check baud and parity in the serial server, swap the wires A and B, check power; try --timeout 1000."
        }
        _ => "Check that this address is a Modbus server; try --timeout 1000.",
    }
}

/// Whether a unit is there; `None` if nobody is.
fn sign(answer: Result<guanjia_field::session::Answered, SessionError>) -> Result<Option<Sign>, Trouble> {
    match answer {
        Ok(answered) => Ok(Some(Sign::Data(answered.took))),
        // A gateway says for a unit behind it that it is not there.
        Err(SessionError::Refused { code: 0x0A | 0x0B, .. }) | Err(SessionError::Silent { .. }) => Ok(None),
        Err(SessionError::Refused { code, .. }) => Ok(Some(Sign::Exception(code))),
        Err(SessionError::Garbled { .. }) => Ok(Some(Sign::Damaged)),
        // Some servers close the connection instead of answering for a unit they do not have.
        Err(SessionError::Cut { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Found {
    fn text(&self) -> String {
        let format = self.format.map_or_else(String::new, |f| format!(" at {}", format_text(&f)));
        let sign = match self.sign {
            Sign::Data(took) => format!("answers in {}", millis(took)),
            Sign::Exception(code) => format!("answers, and refuses that register with exception {code:02X}"),
            Sign::Damaged => "somebody answers, damaged".to_owned(),
        };
        format!("unit {}{format}: {sign}", self.unit)
    }

    fn json(&self) -> Value {
        let (answer, exception, took) = match self.sign {
            Sign::Data(took) => ("data", None, Some(took.as_secs_f64() * 1e3)),
            Sign::Exception(code) => ("exception", Some(code), None),
            Sign::Damaged => ("damaged", None, None),
        };
        json!({
            "unit_id": self.unit,
            "baud": self.format.map(|f| f.baud),
            "parity": self.format.map(|f| parity_text(f.parity)),
            "stop_bits": self.format.map(|f| f.stop_bits),
            "answer": answer,
            "exception": exception,
            "took_ms": took,
        })
    }
}

/// The formats to try; one that is `None` where no serial line is known of.
fn formats(options: &Options, link: &Link) -> Result<Vec<Option<SerialFormat>>, Trouble> {
    if !options.sweep && !options.every_format {
        return Ok(vec![link.format().copied()]);
    }
    let Link::Serial { format, .. } = link else {
        return Err(usage(
            "a sweep is for a serial port of this machine; behind a serial server set the format in the server, and in the \
             link as ?baud=...",
        ));
    };
    let mut formats = vec![*format];
    for baud in BAUDS {
        for (parity, stop_bits) in [(Parity::None, 1), (Parity::Even, 1), (Parity::Odd, 1), (Parity::None, 2)] {
            let next = SerialFormat { baud, parity, stop_bits, ..*format };
            if !formats.contains(&next) {
                formats.push(next);
            }
        }
    }
    Ok(formats.into_iter().map(Some).collect())
}

fn with_format(config: &LineConfig, format: Option<SerialFormat>) -> LineConfig {
    let mut config = config.clone();
    if let (Link::Serial { format: own, .. }, Some(format)) = (&mut config.link, format) {
        *own = format;
    }
    config
}

fn all_units(link: &Link) -> Vec<u8> {
    if link.format().is_some() { (1..=247).collect() } else { (0..=247).chain([255]).collect() }
}

/// `1-40,100`, each address once, in ascending order.
fn ranges(text: &str, link: &Link) -> Result<Vec<u8>, Trouble> {
    let wrong = || usage(format!("`{text}` are no addresses; write 1-40 or 1-40,100"));
    let mut units = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u8 = first.trim().parse().map_err(|_| wrong())?;
        let last: u8 = last.trim().parse().map_err(|_| wrong())?;
        if first > last {
            return Err(wrong());
        }
        units.extend(first..=last);
    }
    units.sort_unstable();
    units.dedup();
    for unit in &units {
        super::target::check_unit(link, *unit)?;
    }
    Ok(units)
}

/// What a unit that does not answer costs.
fn silent_takes(format: Option<&SerialFormat>, response_max: Duration) -> Duration {
    // The request, and twice the answer's characters until its deadline; then the silence.
    let wire = format.map_or(Duration::ZERO, |f| f.char_time() * 22 + f.t35());
    response_max + wire + if format.is_some() { LINGER } else { Duration::ZERO }
}

fn format_text(format: &SerialFormat) -> String {
    let parity = match format.parity {
        Parity::None => 'N',
        Parity::Even => 'E',
        Parity::Odd => 'O',
    };
    format!("{} {}{parity}{}", format.baud, format.data_bits, format.stop_bits)
}

fn parity_text(parity: Parity) -> &'static str {
    match parity {
        Parity::None => "none",
        Parity::Even => "even",
        Parity::Odd => "odd",
    }
}

/// `5 s`, `3 min 20 s`, `1 h 5 min`
fn spoken(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{:.1} s", time.as_secs_f64()),
        s @ 1..=59 => format!("{s} s"),
        s @ 60..=3599 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let tcp = Link::ModbusTcp { address: "192.0.2.10:502".into() };
        assert_eq!(ranges("3-5,4,1", &tcp).ok(), Some(vec![1, 3, 4, 5]));
        for text in ["", "5-3", "a", "1-", "256", "1,,2", "248-254"] {
            assert!(matches!(ranges(text, &tcp), Err(Trouble::Usage(_))), "{text}");
        }
        assert_eq!((all_units(&tcp).len(), all_units(&tcp).last()), (249, Some(&255)));
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = [200, 5_000, 200_000, 3_900_000].map(|ms| spoken(Duration::from_millis(ms)));
        assert_eq!(said, ["0.2 s", "5 s", "3 min 20 s", "1 h 5 min"]);
    }
}
