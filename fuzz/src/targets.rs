//! What each fuzz target does with its bytes. A target panics if anything panics, or if a verdict cannot be right.
//!
//! The checks know the formats by themselves: check sums, lengths and orders are worked out here a second time, from the
//! standards, so that an answer passes only if it is one.
//!
//! ```text
//!   frames   judge: envelope, question, bytes in pieces ──► only a whole, right frame is an answer
//!   forms    form_of: what rejected bytes are ──► only a whole frame is a frame
//!   decode   any words as any type, order, scale ──► a value is finite, and what is encoded is decoded again
//!   guess    any samples ──► every guess gives what the display shows
//!   links    any text as a link
//!   trace    any text as a captured line ──► what is read and written again is the same; replay tells no more than came
//!   message  any payload and pointer ──► JSON walk; a number is the one serde_json reads
//! ```
//!
//! This file is compiled into the fuzz targets beside it and into a test of the field crate, which runs every target over
//! the corpus and some thousand random inputs, so that the targets stay right without a fuzzer.

use guanjia_core::decode::{decode, decode_bit, raw_counter};
use guanjia_core::encode::encode;
use guanjia_core::guess::{Fit, Sample, Shown, guess};
use guanjia_core::profile::{Order, PointDef, Registers, Source, Table, TimeField, WireType, WordOrder};
use guanjia_core::reading::{Decimal, Value};
use guanjia_core::time::Timestamp;
use guanjia_field::Link;
use guanjia_field::fuzzing::{self, Envelope, FRAME_MAX, Judged, Question};
use guanjia_field::replay::{Meaning, Replay};
use guanjia_field::session::Content;
use guanjia_field::trace::{Line, MAGIC, Reader, Record};

#[path = "../../gateway/daemon/src/mqtt/json.rs"]
#[allow(dead_code, reason = "only the walk is a target")]
mod json;

/// What is done with one input.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 7] = [
    ("frames", frames),
    ("forms", forms),
    ("decode", decode_words),
    ("guess", guess_samples),
    ("links", links),
    ("message", message),
    ("trace", trace),
];

/// Bytes that are taken from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn long(&mut self) -> u64 {
        (0..4).fold(0, |long, _| long << 16 | u64::from(self.word()))
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }
}

const ENVELOPES: [Envelope; 3] = [Envelope::Rtu, Envelope::Mbap, Envelope::Ascii];

/// CRC-16/MODBUS by long division of the reflected polynomial, most significant step first.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut register: u32 = 0xFFFF;
    for byte in bytes {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            let bit = register & 1;
            register = register >> 1 ^ (0xA001 * bit);
        }
    }
    (register as u16).to_le_bytes()
}

fn lrc(bytes: &[u8]) -> u8 {
    (256 - bytes.iter().map(|b| usize::from(*b)).sum::<usize>() % 256) as u8
}

/// The bytes in an ASCII frame, if it is one.
fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text.strip_prefix(b":")?.strip_suffix(b"\r\n")?).ok()?;
    if text.len() % 2 != 0 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

/// Unit and PDU of a whole frame whose sum and header hold.
fn open(envelope: Envelope, tid: u16, frame: &[u8]) -> Option<(u8, Vec<u8>)> {
    match envelope {
        Envelope::Rtu => {
            let (data, sum) = frame.split_at_checked(frame.len().checked_sub(2)?)?;
            (crc(data) == sum).then(|| Some((*data.first()?, data[1..].to_vec())))?
        }
        Envelope::Mbap => {
            let [t0, t1, 0, 0, l0, l1, unit, pdu @ ..] = frame else { return None };
            let right =
                u16::from_be_bytes([*t0, *t1]) == tid && usize::from(u16::from_be_bytes([*l0, *l1])) == 1 + pdu.len();
            right.then(|| (*unit, pdu.to_vec()))
        }
        Envelope::Ascii => {
            let mut bytes = unhex(frame)?;
            let sum = bytes.pop()?;
            (lrc(&bytes) == sum).then(|| Some((*bytes.first()?, bytes[1..].to_vec())))?
        }
    }
}

/// Puts a PDU into an envelope, for inputs that mean to be an answer.
fn close(envelope: Envelope, tid: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let data = [&[unit], pdu].concat();
    match envelope {
        Envelope::Rtu => [&data[..], &crc(&data)].concat(),
        Envelope::Mbap => {
            let length = (data.len() as u16).to_be_bytes();
            [&tid.to_be_bytes()[..], &[0, 0], &length, &data].concat()
        }
        Envelope::Ascii => {
            let hex: String = data.iter().chain([&lrc(&data)]).map(|b| format!("{b:02X}")).collect();
            format!(":{hex}\r\n").into_bytes()
        }
    }
}

fn question(input: &mut Input<'_>) -> Question {
    let table = input.pick(&Table::ALL);
    let (address, count) = (input.word(), u16::from(input.byte()));
    match input.byte() % 8 {
        0 => Question::Write(address, (0..1 + count % 4).map(|_| input.word()).collect()),
        _ if table.is_bits() => Question::Read(table, address, 1 + count * 7 % 2000),
        _ => Question::Read(table, address, 1 + count % 125),
    }
}

/// The bytes are judged as they come, piece by piece; whatever passes must be a right frame.
pub fn frames(data: &[u8]) {
    let mut input = Input(data);
    let (envelope, tid, unit) = (input.pick(&ENVELOPES), input.word(), input.byte());
    let question = question(&mut input);
    let means_well = input.byte() % 2 == 0;
    let stream = if means_well { close(envelope, tid, unit, input.0) } else { input.0.to_vec() };
    let mut taken = 0;
    loop {
        let bytes = &stream[..taken];
        match fuzzing::judge(envelope, tid, unit, &question, bytes) {
            Judged::Need(total) => {
                assert!(taken < total && total <= FRAME_MAX, "{total} bytes are needed after {taken}");
                if total > stream.len() {
                    return;
                }
                taken = total;
            }
            Judged::Skip(total) => {
                assert!(envelope == Envelope::Mbap && (9..=taken).contains(&total));
                assert_ne!(bytes[..2], tid.to_be_bytes(), "our own transaction is passed over");
                return;
            }
            Judged::Rejected => return,
            answer => {
                is_right(envelope, tid, unit, &question, bytes, &answer);
                return;
            }
        }
    }
}

fn is_right(envelope: Envelope, tid: u16, unit: u8, question: &Question, frame: &[u8], answer: &Judged) {
    let (theirs, pdu) = open(envelope, tid, frame).expect("what passes is a whole frame");
    assert_eq!(theirs, unit, "another unit's answer");
    let function = match question {
        Question::Read(table, ..) => table.read_function(),
        Question::Write(..) => 16,
    };
    match (answer, question) {
        (Judged::Exception(code), _) => assert_eq!(pdu, [function | 0x80, *code]),
        (Judged::Words(words), Question::Read(_, _, count)) => {
            assert_eq!(words.len(), usize::from(*count));
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            assert_eq!(pdu, [&[function, bytes.len() as u8], &bytes[..]].concat());
        }
        (Judged::Bits(bits), Question::Read(_, _, count)) => {
            assert_eq!(bits.len(), usize::from(*count));
            assert_eq!((pdu[0], pdu.len()), (function, 2 + usize::from(*count).div_ceil(8)));
            assert!(bits.iter().enumerate().all(|(i, bit)| *bit == (pdu[2 + i / 8] & 1 << (i % 8) != 0)));
        }
        (Judged::Written, Question::Write(address, words)) => {
            let count = (words.len() as u16).to_be_bytes();
            assert_eq!(pdu, [&[16], &address.to_be_bytes()[..], &count].concat());
        }
        (answer, question) => panic!("{answer:?} is no answer to {question:?}"),
    }
}

/// What is rejected is a frame only if it is a whole one.
pub fn forms(data: &[u8]) {
    let mut input = Input(data);
    let envelope = input.pick(&[Envelope::Rtu, Envelope::Ascii]);
    let stream = match input.byte() % 3 {
        0 => close(envelope, 0, input.byte(), input.0),
        _ => input.0.to_vec(),
    };
    let mut taken = 0;
    loop {
        match fuzzing::form_of(envelope, &stream[..taken]) {
            Some(Err(total)) => {
                assert!(taken < total && total <= FRAME_MAX, "{total} bytes are needed after {taken}");
                if total > stream.len() {
                    return;
                }
                taken = total;
            }
            Some(Ok(total)) => {
                open(envelope, 0, &stream[..total]).expect("what is called a frame is one");
                return;
            }
            None => return,
        }
    }
}

const WIRES: [WireType; 24] = [
    WireType::Bit,
    WireType::U8High,
    WireType::U8Low,
    WireType::I8High,
    WireType::I8Low,
    WireType::U16,
    WireType::I16,
    WireType::U32,
    WireType::I32,
    WireType::U48,
    WireType::U64,
    WireType::I64,
    WireType::F16,
    WireType::F32,
    WireType::F64,
    WireType::Bcd,
    WireType::Mod10k,
    WireType::Acc32,
    WireType::SunSsf,
    WireType::Ascii,
    WireType::AsciiWide,
    WireType::TimeBcd,
    WireType::TimeBinary,
    WireType::Raw,
];

const FIELDS: [TimeField; 7] = [
    TimeField::Year,
    TimeField::Month,
    TimeField::Day,
    TimeField::Hour,
    TimeField::Minute,
    TimeField::Second,
    TimeField::Other,
];

/// Any words, as any type a profile can name.
pub fn decode_words(data: &[u8]) {
    let mut input = Input(data);
    let wire = input.pick(&WIRES);
    let mut place = Registers::new(input.pick(&Table::ALL), input.word(), wire);
    place.count = if input.byte() % 8 == 0 { u16::from(input.byte() % 12) } else { wire.count().unwrap_or(2) };
    place.bytes = input.pick(&[Order::Big, Order::Little]);
    place.words = input.pick(&WordOrder::ALL);
    place.bit = (input.byte() % 2 == 0).then(|| input.byte() % 20);
    place.mask = (input.byte() % 4 == 0).then(|| input.long());
    place.invalid = (0..input.byte() % 3).map(|_| input.long()).collect();
    place.fields = (0..input.byte() % 10).map(|_| input.pick(&FIELDS)).collect();
    let (count, is_bits) = (usize::from(place.count), place.table.is_bits());
    let mut point = PointDef::new("p", Source::Registers(place));
    let mantissa = i128::from(input.word()) - 1_000;
    point.scale = Decimal::new(mantissa, (input.byte() % 25) as i8 - 12);
    if input.byte() % 4 == 0 {
        point.offset = Decimal::new(i128::from(input.word()) - 30_000, (input.byte() % 25) as i8 - 12);
    }
    let wrong = if input.byte() % 16 == 0 { 1 } else { 0 };
    let words: Vec<u16> = (0..count + wrong).map(|_| input.word()).collect();
    let value = decode(&point, &words);
    if let Ok(Value::Float(x)) = value {
        assert!(x.is_finite(), "{x} passes for a value");
    }
    if let Ok(value) = &value {
        let _ = value.to_string();
        // What can be written is read back as it was, if a float's own rounding is left aside.
        if let Ok(again) = encode(&point, value)
            && !wire.is_float()
            && !is_bits
        {
            assert_eq!(decode(&point, &again).as_ref(), Ok(value), "{point:?} {words:04X?} {again:04X?}");
        }
    }
    if let Some(raw) = raw_counter(&point, &words) {
        assert!(value.is_ok(), "{raw} is counted where there is no value");
    }
    let _ = decode_bit(&point, input.byte() % 2 == 0);
}

/// Any samples; every guess must give what the display shows.
pub fn guess_samples(data: &[u8]) {
    let mut input = Input(data);
    let length = usize::from(1 + input.byte() % 6);
    let count = usize::from(1 + input.byte() % 3);
    let samples: Vec<Sample> = (0..count)
        .filter_map(|_| {
            let number = format!("{}{}", if input.byte() % 4 == 0 { "-" } else { "" }, input.word());
            let text = match input.byte() % 4 {
                0 => number,
                places => format!("{number}.{:0width$}", input.byte() % 10, width = usize::from(places)),
            };
            let shown: Shown = text.parse().ok()?;
            Some(Sample { words: (0..length).map(|_| input.word()).collect(), shown })
        })
        .collect();
    let Ok(guesses) = guess(&samples) else { return };
    for guess in &guesses {
        for sample in &samples {
            let value = guess.value(&sample.words).expect("a guess reads its own samples");
            let (shown, off) = (sample.shown.value(), (value - sample.shown.value()).abs());
            let near = guess.fit == Fit::Near;
            assert!(near || off <= 1.0 + shown.abs() * 1e-3, "{value} where {shown} is shown: {guess:?}");
        }
    }
    assert!(guesses.windows(2).all(|two| two[0].cost <= two[1].cost), "the likeliest comes first");
}

/// Any text as a link; what is one has a place.
pub fn links(data: &[u8]) {
    const SCHEMES: [&str; 6] =
        ["", "modbus-tcp://", "modbus-udp://", "rtu-over-tcp://", "ascii-over-tcp://", "/dev/ttyS0?"];
    let mut input = Input(data);
    let scheme = input.pick(&SCHEMES);
    let text = format!("{scheme}{}", String::from_utf8_lossy(input.0));
    match text.parse::<Link>() {
        Ok(link) => assert!(!link.place().is_empty()),
        Err(error) => assert!(error.to_string().chars().count() < 400, "an error fits a screen"),
    }
}

/// Any payload and any pointer into it.
pub fn message(data: &[u8]) {
    let mut input = Input(data);
    let pointer_length = usize::from(input.byte()) % 24;
    let (pointer, payload) = input.0.split_at(pointer_length.min(input.0.len()));
    // A profile with any other pointer is refused when it is loaded.
    let pointer = match String::from_utf8_lossy(pointer) {
        pointer if pointer.is_empty() || pointer.starts_with('/') => pointer.into_owned(),
        pointer => format!("/{pointer}"),
    };
    let Some(message) = json::Message::parse(payload) else { return };
    let found = message.find(&pointer);
    let tree: serde_json::Value = match serde_json::from_slice(payload) {
        Ok(tree) => tree,
        // Numbers no double holds are valid JSON all the same.
        Err(_) => return,
    };
    if let json::Found::Number(number) = found {
        let theirs = tree.pointer(&pointer).and_then(serde_json::Value::as_f64);
        let theirs = theirs.unwrap_or_else(|| panic!("{number} where JSON has no number at {pointer:?}"));
        let ours = number.to_f64();
        assert!((ours - theirs).abs() <= theirs.abs() * 1e-12, "{ours} where JSON says {theirs}");
    }
}

/// Any text as a captured line, mostly behind a right header. What is read and written is read again as it was, and replay
/// gives no answer that is not one to the question before it.
pub fn trace(data: &[u8]) {
    const HEADERS: [&str; 5] = [
        "",
        "line a\nframing rtu\nrole master\n\n",
        "line a\nframing tcp\nrole master\n\n",
        "line a\nframing ascii\nrole master\n\n",
        "line a\nframing rtu\nrole listener\n\n",
    ];
    let mut input = Input(data);
    let header = input.pick(&HEADERS);
    let body = String::from_utf8_lossy(input.0);
    let text = if header.is_empty() { body.into_owned() } else { format!("{MAGIC}\n{header}{body}") };
    let (mut reader, mut replay) = (Reader::default(), None);
    for line in text.lines() {
        match reader.read(line) {
            Ok(Line::Header(header)) => replay = Some(Replay::new(&header)),
            Ok(Line::Record(Record::Event(event))) => {
                if event.at >= Timestamp::EPOCH {
                    let written = Record::Event(event.clone()).text(Timestamp::EPOCH, event.since);
                    let again = reader.read(written.trim_end_matches('\n'));
                    assert_eq!(again, Ok(Line::Record(Record::Event(event.clone()))), "{written}");
                }
                for told in replay.as_mut().map(|replay| replay.feed(&event)).unwrap_or_default() {
                    let count = told.asked.map(|asked| usize::from(asked.count));
                    match told.meaning {
                        Meaning::Answer(Content::Words(words)) => assert_eq!(Some(words.len()), count),
                        Meaning::Answer(Content::Bits(bits)) => assert_eq!(Some(bits.len()), count),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}
