//! The file format of a line trace: what a [`crate::tap::Tap`] told, as lines of text.
//!
//! ```text
//! guanjia-trace 1                                   format and version; a reader refuses any other
//! line rs485-a                                      the line's name
//! framing rtu                                       rtu, tcp or ascii
//! role master                                       master (our own questions) or listener (a line of another master)
//!                                                   an empty line ends the header
//! 1764299400.123 0.000000 opened
//! 1764299400.125 0.001804 sent 010300000002C40B
//! 1764299400.171 0.047911 received 0103040001E24032AC
//! 1764299400.171 0.047930 settled answered 1 3 0 2 46107
//! 1764299401.002 0.878301 skipped 00
//! 1764299401.640 1.516872 discarded damaged 1 3 0 2 0103040001
//! 1764299402.100 1.976001 failed The other side closed the connection. Check that no other master uses the serial server
//! 1764299403.000 2.876011 lost 12
//! ```
//!
//! * First the time of day in Unix seconds, then seconds on a clock nobody can set, then what happened. Bytes are
//!   hexadecimal. A question is unit, function, address, count, in decimal; a transaction ends with its outcome, its
//!   question and its microseconds.
//! * Every line stands for itself: a file that ends in the middle of one, because the power was cut, is good up to there.
//! * `lost` says that so many events are missing at this place.
//! * Names and reasons are without line breaks. No line is longer than [`LINE_MAX`].

use std::fmt::Write as _;
use std::time::Duration;

use guanjia_core::time::Timestamp;

use crate::frame::Framing;
use crate::link::Link;
use crate::stats::Discard;
use crate::tap::{Event, Outcome, Question, Seen};

/// The first line of every trace.
pub const MAGIC: &str = "guanjia-trace 1";

/// The longest line: times, a word, a question and a whole frame.
pub const LINE_MAX: usize = 2_048;

/// The longest text of a `failed` line or name that is written.
const TEXT_MAX: usize = 300;

/// Which envelope the frames travel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Modbus RTU.
    Rtu,
    /// Modbus TCP, whatever carries it.
    Tcp,
    /// Modbus ASCII.
    Ascii,
}

impl Envelope {
    /// The envelope of a line's frames.
    pub fn of(link: &Link) -> Self {
        match link.framing() {
            Framing::Rtu => Envelope::Rtu,
            Framing::Mbap => Envelope::Tcp,
            Framing::Ascii => Envelope::Ascii,
        }
    }

    pub(crate) fn framing(self) -> Framing {
        match self {
            Envelope::Rtu => Framing::Rtu,
            Envelope::Tcp => Framing::Mbap,
            Envelope::Ascii => Framing::Ascii,
        }
    }

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Envelope::Rtu => "rtu",
            Envelope::Tcp => "tcp",
            Envelope::Ascii => "ascii",
        }
    }
}

/// Whose questions a trace holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Our own.
    Master,
    /// Another master's; everything in it was received.
    Listener,
}

/// What is known about a trace before its first event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The line's name in the site file.
    pub line: String,
    /// How its bytes are framed.
    pub envelope: Envelope,
    /// Whose questions it holds.
    pub role: Role,
}

/// One line after the header.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Something happened.
    Event(Event),
    /// So many events are missing here.
    Lost(u64),
}

/// Why a line of a trace cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The file is something else, or of another version.
    #[error("this is not a trace of version 1; its first line must be `{MAGIC}`")]
    NotATrace,
    /// A line of the header.
    #[error("line {0}: not a header of a trace; expected `line NAME`, `framing rtu|tcp|ascii`, `role master|listener`")]
    Header(usize),
    /// A line after the header.
    #[error("line {0}: not an event of a trace; the file was changed or cut off here")]
    Event(usize),
}

impl Header {
    /// The header as it stands in the file, with the empty line after it.
    pub fn text(&self) -> String {
        let role = match self.role {
            Role::Master => "master",
            Role::Listener => "listener",
        };
        format!("{MAGIC}\nline {}\nframing {}\nrole {role}\n\n", one_line(&self.line), self.envelope.as_str())
    }
}

impl Record {
    /// The record as it stands in the file, with its line break. `at` and `since` are those of the event before for a
    /// loss.
    pub fn text(&self, at: Timestamp, since: Duration) -> String {
        let mut line = String::new();
        let (at, since) = match self {
            Record::Event(event) => (event.at, event.since),
            Record::Lost(_) => (at, since),
        };
        let millis = at.as_millis().max(0);
        // Writing to a String cannot fail.
        let _ =
            write!(line, "{}.{:03} {}.{:06} ", millis / 1_000, millis % 1_000, since.as_secs(), since.subsec_micros());
        match self {
            Record::Lost(n) => line.push_str(&format!("lost {n}")),
            Record::Event(event) => write_seen(&mut line, &event.seen),
        }
        line.push('\n');
        line
    }
}

fn write_seen(line: &mut String, seen: &Seen) {
    let question = |q: &Question| format!("{} {} {} {}", q.unit, q.function, q.address, q.count);
    match seen {
        Seen::Opened => line.push_str("opened"),
        Seen::Failed(why) => line.push_str(&format!("failed {}", one_line(why))),
        Seen::Sent(bytes) => line.push_str(&format!("sent {}", hex(bytes))),
        Seen::Received(bytes) => line.push_str(&format!("received {}", hex(bytes))),
        Seen::Skipped(bytes) => line.push_str(&format!("skipped {}", hex(bytes))),
        Seen::Discarded { why, asked, frame } => {
            line.push_str(&format!("discarded {} {} {}", why.as_str(), question(asked), hex(frame)));
        }
        Seen::Settled { asked, outcome, took } => {
            let outcome = match outcome {
                Outcome::Answered => "answered".to_owned(),
                Outcome::Exception(code) => format!("exception:{code}"),
                Outcome::Timeout => "timeout".to_owned(),
                Outcome::Discarded => "discarded".to_owned(),
                Outcome::LinkError => "link_error".to_owned(),
            };
            line.push_str(&format!("settled {outcome} {} {}", question(asked), took.as_micros()));
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

/// Reads a trace line by line.
#[derive(Debug, Default)]
pub struct Reader {
    lines: usize,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Magic,
    Header {
        line: Option<String>,
        envelope: Option<Envelope>,
        role: Option<Role>,
    },
    Events,
}

/// What one line of a file is.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The header goes on.
    Nothing,
    /// The header is complete.
    Header(Header),
    /// A record.
    Record(Record),
}

impl Reader {
    /// Takes in the next line, without its line break.
    ///
    /// # Errors
    /// [`TraceError`] with the number of the line. Reading may go on behind a bad event.
    pub fn read(&mut self, text: &str) -> Result<Line, TraceError> {
        self.lines += 1;
        match &mut self.state {
            State::Magic if text == MAGIC => {
                self.state = State::Header { line: None, envelope: None, role: None };
                Ok(Line::Nothing)
            }
            State::Magic => Err(TraceError::NotATrace),
            State::Header { line, envelope, role } => {
                let wrong = TraceError::Header(self.lines);
                match text.split_once(' ') {
                    Some(("line", name)) => *line = Some(name.to_owned()),
                    Some(("framing", "rtu")) => *envelope = Some(Envelope::Rtu),
                    Some(("framing", "tcp")) => *envelope = Some(Envelope::Tcp),
                    Some(("framing", "ascii")) => *envelope = Some(Envelope::Ascii),
                    Some(("role", "master")) => *role = Some(Role::Master),
                    Some(("role", "listener")) => *role = Some(Role::Listener),
                    None if text.is_empty() => {
                        let (Some(line), Some(envelope), Some(role)) = (line.take(), *envelope, *role) else {
                            return Err(wrong);
                        };
                        self.state = State::Events;
                        return Ok(Line::Header(Header { line, envelope, role }));
                    }
                    _ => return Err(wrong),
                }
                Ok(Line::Nothing)
            }
            // Whoever sends a trace over a network says nothing now and then, so that the connection stays.
            State::Events if text.is_empty() => Ok(Line::Nothing),
            State::Events => record(text).map(Line::Record).ok_or(TraceError::Event(self.lines)),
        }
    }
}

fn record(text: &str) -> Option<Record> {
    let mut words = text.splitn(4, ' ');
    let (seconds, millis) = words.next()?.split_once('.')?;
    let at = seconds.parse::<i64>().ok()?.checked_mul(1_000)?.checked_add(fixed(millis, 3)?)?;
    let (seconds, micros) = words.next()?.split_once('.')?;
    let micros = u64::try_from(fixed(micros, 6)?).ok()?;
    let since = Duration::from_secs(seconds.parse().ok()?).checked_add(Duration::from_micros(micros))?;
    let (what, rest) = (words.next()?, words.next().unwrap_or_default());
    if what == "lost" {
        return rest.parse().ok().map(Record::Lost);
    }
    let seen = seen(what, rest)?;
    Some(Record::Event(Event { since, at: Timestamp::from_millis(at), seen }))
}

/// A number of exactly so many digits.
fn fixed(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn seen(what: &str, rest: &str) -> Option<Seen> {
    let mut words = rest.split(' ');
    match what {
        "opened" if rest.is_empty() => Some(Seen::Opened),
        "failed" => Some(Seen::Failed(rest.into())),
        "sent" => Some(Seen::Sent(unhex(rest)?.into())),
        "received" => Some(Seen::Received(unhex(rest)?.into())),
        "skipped" => Some(Seen::Skipped(unhex(rest)?.into())),
        "discarded" => {
            let why = match words.next()? {
                "late" => Discard::Late,
                "foreign" => Discard::Foreign,
                "damaged" => Discard::Damaged,
                _ => return None,
            };
            let asked = question(&mut words)?;
            let frame = unhex(words.next().unwrap_or_default())?.into();
            words.next().is_none().then_some(Seen::Discarded { why, asked, frame })
        }
        "settled" => {
            let outcome = match words.next()? {
                "answered" => Outcome::Answered,
                "timeout" => Outcome::Timeout,
                "discarded" => Outcome::Discarded,
                "link_error" => Outcome::LinkError,
                other => Outcome::Exception(other.strip_prefix("exception:")?.parse().ok()?),
            };
            let asked = question(&mut words)?;
            let took = Duration::from_micros(words.next()?.parse().ok()?);
            words.next().is_none().then_some(Seen::Settled { asked, outcome, took })
        }
        _ => None,
    }
}

fn question<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Question> {
    Some(Question {
        unit: words.next()?.parse().ok()?,
        function: words.next()?.parse().ok()?,
        address: words.next()?.parse().ok()?,
        count: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = std::sync::Arc<[u8]>> {
        prop::collection::vec(any::<u8>(), 0..260).prop_map(Into::into)
    }

    fn asked() -> impl Strategy<Value = Question> {
        any::<(u8, u8, u16, u16)>().prop_map(|(unit, function, address, count)| Question {
            unit,
            function,
            address,
            count,
        })
    }

    fn seen() -> impl Strategy<Value = Seen> {
        let why = prop::sample::select(vec![Discard::Late, Discard::Foreign, Discard::Damaged]);
        let outcome = prop_oneof![
            prop::sample::select(vec![Outcome::Answered, Outcome::Timeout, Outcome::Discarded, Outcome::LinkError]),
            any::<u8>().prop_map(Outcome::Exception),
        ];
        prop_oneof![
            Just(Seen::Opened),
            "[a-z ]{0,40}".prop_map(|why| Seen::Failed(why.into())),
            bytes().prop_map(Seen::Sent),
            bytes().prop_map(Seen::Received),
            bytes().prop_map(Seen::Skipped),
            (why, asked(), bytes()).prop_map(|(why, asked, frame)| Seen::Discarded { why, asked, frame }),
            (outcome, asked(), 0u64..1 << 40).prop_map(|(outcome, asked, us)| Seen::Settled {
                asked,
                outcome,
                took: Duration::from_micros(us),
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(at in 0i64..4_000_000_000_000, micros in 0u64..1 << 50, seen in seen()) {
            let event = Event { since: Duration::from_micros(micros), at: Timestamp::from_millis(at), seen };
            let text = Record::Event(event.clone()).text(Timestamp::EPOCH, Duration::ZERO);
            prop_assert!(text.len() <= LINE_MAX);
            prop_assert_eq!(record(text.trim_end_matches('\n')), Some(Record::Event(event)));
        }

        #[test]
        fn no_text_whatever_makes_the_reader_panic(lines in prop::collection::vec("\\PC{0,60}", 0..6)) {
            let mut reader = Reader::default();
            let _ = reader.read(MAGIC);
            for line in lines {
                let _ = reader.read(&line);
                let _ = record(&line);
            }
        }
    }

    #[test]
    fn a_file_is_read_line_by_line_and_says_where_it_is_wrong() {
        let header = Header { line: "rs485-a".into(), envelope: Envelope::Rtu, role: Role::Master };
        let text =
            header.text() + "1764299400.125 0.001804 sent 0103\n" + "1764299400.125 0.001804 lost 12\n" + "17642994";
        let mut reader = Reader::default();
        let read: Vec<_> = text.lines().map(|line| reader.read(line)).collect();
        assert_eq!(read[4], Ok(Line::Header(header)));
        let sent = Event {
            since: Duration::from_micros(1_804),
            at: Timestamp::from_millis(1_764_299_400_125),
            seen: Seen::Sent([1, 3].as_slice().into()),
        };
        assert_eq!(read[5], Ok(Line::Record(Record::Event(sent))));
        assert_eq!(read[6], Ok(Line::Record(Record::Lost(12))));
        assert_eq!(read[7], Err(TraceError::Event(8)));
        assert_eq!(Reader::default().read("guanjia-trace 2"), Err(TraceError::NotATrace));
    }
}
