//! Registers as text, times, arrays.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{
    MessageForm, MessageWords, Order, PointKind, Registers, Table, WireType, WordEncoding, WordOrder,
};
use proptest::prelude::*;

use super::samples::SAMPLES_MAX;
use super::words::base64;
use super::*;
use crate::mqtt::tests::water_site;

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn device(form: MessageForm, sources: &[Source]) -> Device {
    let mut device = water_site(1883, None).devices[0].clone();
    let mut profile = (*device.profile).clone();
    profile.message = Some(form);
    profile.points.truncate(sources.len());
    for (point, source) in profile.points.iter_mut().zip(sources) {
        point.source = source.clone();
    }
    device.profile = Arc::new(profile);
    device
}

fn words(pointer: &str, encoding: WordEncoding) -> MessageForm {
    let words = MessageWords { pointer: pointer.to_owned(), encoding, table: Table::Holding, address: 100 };
    MessageForm { words: Some(words), ..MessageForm::default() }
}

fn register(address: u16, wire: WireType) -> Source {
    Source::Registers(Registers {
        table: Table::Holding,
        address,
        count: if wire == WireType::U32 { 2 } else { 1 },
        wire,
        bytes: Order::Big,
        words: WordOrder::default(),
        bit: None,
        mask: None,
        invalid: vec![0xFFFF],
        fields: Vec::new(),
    })
}

/// What all points of a device say.
fn said(device: &Device, payload: &[u8], delivery: Delivery, now: Timestamp) -> Vec<Reading> {
    whole(device, payload, delivery, None, now).latest
}

fn whole(device: &Device, payload: &[u8], delivery: Delivery, known: Option<Timestamp>, now: Timestamp) -> Said {
    let all: Vec<usize> = (0..device.profile.points.len()).collect();
    let mut decoder = Decoder::new(Arc::clone(&device.profile), |_| Duration::MAX);
    read(device, &mut decoder, &all, payload, delivery, known, now)
}

fn values(readings: &[Reading]) -> Vec<Option<String>> {
    readings.iter().map(|reading| reading.value.as_ref().map(ToString::to_string)).collect()
}

#[test]
fn a_radio_meter_sends_its_registers_as_text() {
    let sources = [register(100, WireType::U32), register(102, WireType::U16), register(103, WireType::U16)];
    // 0x0001E240 litres, 0x00FA, then nothing: the frame ends there.
    let expected = [Some("123.456".to_owned()), Some("250".to_owned())];
    let base = device(words("/data", WordEncoding::Base64), &sources);
    let readings = said(&base, br#"{"data":"AAHiQAD6","rssi":-97}"#, Delivery::Live, T0);
    assert_eq!(values(&readings), expected);
    let hex = device(words("", WordEncoding::Hex), &sources);
    for payload in [&b"0001E24000fa"[..], b" 00 01 E2 40 00 FA\n", br#""0001e24000fa""#] {
        assert_eq!(values(&said(&hex, payload, Delivery::Live, T0)), expected, "{payload:?}");
    }
    let readings = said(&base, br#"{"data":"AAHiQP//"}"#, Delivery::Live, T0);
    assert_eq!(readings[1].quality, Quality::Bad(BadReason::Sentinel));
}

#[test]
fn registers_whose_digits_look_like_a_number_beyond_measure_are_read() {
    let hex = device(words("", WordEncoding::Hex), &[register(100, WireType::U16), register(101, WireType::U16)]);
    let expected =
        |first: u16, second: u16| [some(&format!("{}.{:03}", first / 1_000, first % 1_000)), some(&second.to_string())];
    let zeros = format!("12344567{}", "0".repeat(40));
    assert_eq!(values(&said(&hex, zeros.as_bytes(), Delivery::Live, T0)), expected(0x1234, 0x4567));
    assert_eq!(values(&said(&hex, b"1234E567", Delivery::Live, T0)), expected(0x1234, 0xE567));
    for nothing in ["{\"v\":1}", "[1234]", "null", "true"] {
        let readings = said(&hex, nothing.as_bytes(), Delivery::Live, T0);
        assert!(readings.iter().all(|r| r.quality == Quality::Bad(BadReason::Undecodable)), "{nothing}");
    }
}

#[test]
fn registers_that_are_cut_or_damaged_are_no_values() {
    let sources = [register(100, WireType::U32), register(102, WireType::U16)];
    let device = device(words("/data", WordEncoding::Base64), &sources);
    for payload in [r#"{"data":"AAHiQAD6A"}"#, r#"{"data":"AAHi QA=="}"#, r#"{"data":7}"#, r#"{"data":"AAHiQAA="}"#] {
        let readings = said(&device, payload.as_bytes(), Delivery::Live, T0);
        assert!(readings.iter().all(|r| r.quality == Quality::Bad(BadReason::Undecodable)), "{payload}");
    }
    let readings = said(&device, br#"{"data":"AAHiQA=="}"#, Delivery::Live, T0);
    assert_eq!(readings.len(), 1, "a shorter frame speaks of fewer registers");
}

#[test]
fn a_value_is_as_old_as_its_device_says() {
    let time = |format| MessageForm {
        time: Some(MessageTime { pointer: "/ts".to_owned(), format }),
        ..MessageForm::default()
    };
    let source = [Source::Message { topic: None, pointer: "/v".to_owned() }];
    let judge = |format, payload: &str, delivery| {
        let readings = said(&device(time(format), &source), payload.as_bytes(), delivery, T0);
        (readings[0].at.as_millis() - T0.as_millis(), readings[0].quality)
    };
    let (unix, millis, text) = (TimeFormat::UnixSeconds, TimeFormat::UnixMillis, TimeFormat::Rfc3339);
    assert_eq!(judge(unix, r#"{"v":1,"ts":1799999990}"#, Delivery::Live), (-10_000, Quality::Good));
    assert_eq!(judge(unix, r#"{"v":1,"ts":1799999990.5}"#, Delivery::Live), (-9_500, Quality::Good));
    assert_eq!(judge(millis, r#"{"v":1,"ts":1799999990001}"#, Delivery::Live), (-9_999, Quality::Good));
    assert_eq!(judge(text, r#"{"v":1,"ts":"2027-01-15T15:59:50+08:00"}"#, Delivery::Live), (-10_000, Quality::Good));
    assert_eq!(judge(unix, r#"{"v":1,"ts":1799999900}"#, Delivery::Live), (-100_000, Quality::Suspect), "past max_age");
    assert_eq!(judge(unix, r#"{"v":1,"ts":1800000030}"#, Delivery::Live), (0, Quality::Good), "a little ahead");
    assert_eq!(judge(unix, r#"{"v":1,"ts":1800003600}"#, Delivery::Live), (0, Quality::Suspect), "an hour ahead");
    assert_eq!(judge(unix, r#"{"v":1,"ts":"soon"}"#, Delivery::Live), (0, Quality::Suspect));
    assert_eq!(judge(unix, r#"{"v":1}"#, Delivery::Live), (0, Quality::Suspect), "the profile promises a time");
    assert_eq!(judge(unix, r#"{"v":1,"ts":1799999990}"#, Delivery::Retained), (-10_000, Quality::Good));
    assert_eq!(judge(unix, r#"{"v":1,"ts":1799990000}"#, Delivery::Retained).1, Quality::Suspect);
    let kept = Delivery::Kept { received: Timestamp::from_millis(T0.as_millis() - 5_000) };
    assert_eq!(
        judge(unix, r#"{"v":1,"ts":1800000030}"#, kept),
        (-5_000, Quality::Good),
        "not younger than its arrival"
    );
    assert!(T0.since(Timestamp::from_millis(T0.as_millis() - 1)) < Duration::from_secs(60));
}

proptest! {
    #[test]
    fn base64_reads_what_was_written(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let held = chunk.iter().fold(0u32, |held, byte| held << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for digit in 0..=chunk.len() {
                text.push(char::from(DIGITS[(held >> (18 - 6 * digit) & 63) as usize]));
            }
        }
        prop_assert_eq!(base64(&text), Some(bytes));
    }

    #[test]
    fn any_payload_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let sources = [register(100, WireType::U32), register(102, WireType::U16)];
        for form in [words("", WordEncoding::Base64), words("", WordEncoding::Hex)] {
            let readings = said(&device(form, &sources), &bytes, Delivery::Live, T0);
            prop_assert!(!readings.is_empty());
        }
    }
}

/// A logger with a billing register and a temperature.
fn logger(pointer: &str) -> Device {
    let form = MessageForm {
        time: Some(MessageTime { pointer: "/ts".to_owned(), format: TimeFormat::UnixSeconds }),
        samples: Some(pointer.to_owned()),
        ..MessageForm::default()
    };
    let member = |pointer: &str| Source::Message { topic: None, pointer: pointer.to_owned() };
    let mut device = device(form, &[member("/v"), member("/t")]);
    let mut profile = (*device.profile).clone();
    (profile.points[0].scale, profile.points[1].poll) = (Decimal::new(1, 0), PollClass::Alarm);
    device.profile = Arc::new(profile);
    device
}

/// Seconds before now, and the value.
fn told(readings: &[Reading]) -> Vec<(i64, Option<String>)> {
    let age = |reading: &Reading| (T0.as_millis() - reading.at.as_millis()) / 1_000;
    readings.iter().map(|r| (age(r), r.value.as_ref().map(ToString::to_string))).collect()
}

fn at(ago: i64, rest: &str) -> String {
    format!("{{\"ts\":{},{rest}}}", T0.as_millis() / 1_000 - ago)
}

fn backlog(device: &Device, samples: &[String]) -> Said {
    whole(device, format!("[{}]", samples.join(",")).as_bytes(), Delivery::Live, None, T0)
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn samples_are_taken_by_their_time_and_only_the_newest_holds_now() {
    let samples = [at(600, "\"v\":10,\"t\":90"), at(5, "\"v\":13,\"t\":20"), at(1_200, "\"v\":8"), at(300, "\"v\":11")];
    let said = backlog(&logger(""), &samples);
    assert_eq!(told(&said.latest), [(5, some("13")), (5, some("20"))]);
    assert!(said.latest.iter().all(|reading| reading.quality == Quality::Good));
    assert_eq!(
        told(&said.past),
        [(1_200, some("8")), (600, some("10")), (300, some("11"))],
        "the heat of then is over"
    );
    assert!(said.past.iter().all(|reading| reading.quality == Quality::Good), "a counter is true of its time");
    assert_eq!((said.until, said.left_out), (Some(said.latest[0].at), LeftOut::default()));
}

#[test]
fn a_logger_that_is_there_sends_one_object_instead_of_an_array() {
    let inside = format!("{{\"d\":{{\"s\":{}}}}}", at(5, "\"v\":13"));
    let said = whole(&logger("/d/s"), inside.as_bytes(), Delivery::Live, None, T0);
    assert_eq!((told(&said.latest), said.past.len()), (vec![(5, some("13"))], 0));
}

#[test]
fn a_backlog_that_is_still_old_holds_nothing_now_and_is_billed_all_the_same() {
    let said = backlog(&logger(""), &[at(7_200, "\"v\":8"), at(3_600, "\"v\":10")]);
    assert_eq!((told(&said.latest), said.latest[0].quality), (vec![(3_600, some("10"))], Quality::Suspect));
    assert_eq!(told(&said.past), [(7_200, some("8")), (3_600, some("10"))]);
    assert!(said.past.iter().all(|reading| reading.quality == Quality::Good));
}

#[test]
fn a_sample_that_comes_twice_is_one_and_two_that_differ_are_none() {
    let (twice, other) = (at(300, "\"v\":11"), at(300, "\"v\":12"));
    let said = backlog(&logger(""), &[twice.clone(), at(5, "\"v\":13"), twice.clone()]);
    assert_eq!(told(&said.past), [(300, some("11"))]);
    let said = backlog(&logger(""), &[twice, at(5, "\"v\":13"), other]);
    assert!(said.past.is_empty(), "which of the two it was, nobody knows");
    assert_eq!(told(&said.latest), [(5, some("13"))]);
    let parts = [at(5, "\"v\":13"), at(5, "\"t\":20")];
    assert_eq!(
        told(&backlog(&logger(""), &parts).latest),
        [(5, some("13")), (5, some("20"))],
        "a value in each element"
    );
}

#[test]
fn samples_of_the_future_or_of_no_time_have_no_place() {
    let samples = [
        at(-7_200, "\"v\":99"),
        at(5, "\"v\":13"),
        "{\"v\":98}".to_owned(),
        "7".to_owned(),
        "{\"ts\":\"x\"}".to_owned(),
    ];
    let said = backlog(&logger(""), &samples);
    assert_eq!((told(&said.latest), said.past.len()), (vec![(5, some("13"))], 0));
    assert_eq!(said.left_out, LeftOut { undated: 4, ..LeftOut::default() });
    let said = backlog(&logger(""), &samples[2..]);
    assert!(
        said.latest.iter().all(|reading| reading.quality == Quality::Bad(BadReason::Undecodable)),
        "nothing is left"
    );
    let said = backlog(&logger(""), &[at(-7_200, "\"v\":99")]);
    assert_eq!(said.latest[0].quality, Quality::Suspect, "one alone is a message like any other");
    // A clock that is a little ahead keeps its order.
    let said = backlog(&logger(""), &[at(-20, "\"v\":13"), at(-30, "\"v\":14")]);
    assert_eq!(told(&said.latest), [(0, some("14"))]);
}

#[test]
fn half_a_backlog_is_read_as_far_as_its_samples_are_whole() {
    let samples =
        [at(600, "\"v\":1e99"), at(300, "\"v\":null"), at(200, "\"v\":\"12\""), at(100, "\"v\":12"), at(5, "\"t\":20")];
    let said = backlog(&logger(""), &samples);
    assert_eq!(told(&said.past), [(100, some("12"))]);
    assert_eq!(told(&said.latest), [(5, some("20"))], "the newest does not speak of the register");
    let cut = format!("[{},{}", at(600, "\"v\":1"), &at(5, "\"v\":2")[..8]);
    let said = whole(&logger(""), cut.as_bytes(), Delivery::Live, None, T0);
    assert!(said.past.is_empty() && said.latest.iter().all(|r| r.quality == Quality::Bad(BadReason::Undecodable)));
    for nothing in ["[]", "7", "{}", "[[],[]]"] {
        let said = whole(&logger(""), nothing.as_bytes(), Delivery::Live, None, T0);
        assert_eq!(said.latest.len(), 2, "{nothing}");
        assert!(said.latest.iter().all(|r| !r.quality.is_good()), "{nothing}");
    }
}

#[test]
fn a_newest_sample_about_other_things_does_not_cost_what_was_counted() {
    let said = backlog(&logger(""), &[at(600, "\"v\":10"), at(300, "\"v\":11,\"t\":20"), at(5, "\"rssi\":-90")]);
    assert_eq!(told(&said.past), [(600, some("10")), (300, some("11"))]);
    assert_eq!(told(&said.latest), [(300, some("11")), (300, some("20"))], "the last that was said of these points");
    assert_eq!(said.until, Some(Timestamp::from_millis(T0.as_millis() - 5_000)));
    let said = backlog(&logger(""), &[at(600, "\"rssi\":-88"), at(5, "\"rssi\":-90")]);
    assert!(
        said.latest.iter().all(|r| r.quality == Quality::Bad(BadReason::Undecodable)),
        "something else talks there"
    );
}

#[test]
fn what_was_told_before_is_not_told_again() {
    let device = logger("");
    let known = Some(Timestamp::from_millis(T0.as_millis() - 300_000));
    let all = format!("[{},{},{}]", at(600, "\"v\":1"), at(300, "\"v\":2"), at(5, "\"v\":3"));
    let said = whole(&device, all.as_bytes(), Delivery::Live, known, T0);
    assert_eq!((told(&said.latest), said.past.len(), said.left_out.repeated), (vec![(5, some("3"))], 0, 2));
    let old = format!("[{},{}]", at(600, "\"v\":1"), at(300, "\"v\":2"));
    let said = whole(&device, old.as_bytes(), Delivery::Live, known, T0);
    assert!(said.latest.is_empty() && said.past.is_empty(), "time does not go back: {said:?}");
}

#[test]
fn of_ten_thousand_samples_the_newest_are_taken() {
    let samples: Vec<String> = (0..10_000).map(|n| at(10_000 - n, &format!("\"v\":{n}"))).collect();
    let said = backlog(&logger(""), &samples);
    assert_eq!(told(&said.latest), [(1, some("9999"))]);
    assert_eq!(said.past.len(), SAMPLES_MAX - 1);
    assert_eq!(told(&said.past[..1]), [(SAMPLES_MAX as i64, some("9000"))]);
    assert_eq!(said.left_out, LeftOut { beyond: 9_000, ..LeftOut::default() });
}

proptest! {
    /// Whatever the order, however often: the same is told.
    #[test]
    fn the_order_in_the_array_says_nothing(order in Just((0..12i64).collect::<Vec<_>>()).prop_shuffle(), again in 0usize..12) {
        let sample = |n: &i64| at(60 * n, &format!("\"v\":{}", 100 - n));
        let mut samples: Vec<String> = order.iter().map(sample).collect();
        samples.push(sample(&order[again]));
        let said = backlog(&logger(""), &samples);
        prop_assert_eq!(told(&said.latest), vec![(0, some("100"))]);
        let expected: Vec<_> = (1..12i64).rev().map(|n| (60 * n, Some((100 - n).to_string()))).collect();
        prop_assert_eq!(told(&said.past), expected);
    }
}

/// Registers as text with the ratios of the transformers beside them, or among them.
fn behind_transformers(ratio: Source) -> Device {
    let mut device = device(words("/data", WordEncoding::Base64), &[ratio, register(100, WireType::U32)]);
    let mut profile = (*device.profile).clone();
    (profile.points[0].scale, profile.points[0].kind) = (Decimal::new(1, 0), PointKind::Configured);
    profile.points[0].unit = String::new();
    (profile.points[1].scale, profile.points[1].inputs.times) = (Decimal::new(1, -2), vec![0]);
    device.profile = Arc::new(profile);
    device
}

#[test]
fn a_ratio_in_the_same_payload_scales_the_registers() {
    let beside = behind_transformers(Source::Message { topic: None, pointer: "/ct".to_owned() });
    let readings = said(&beside, br#"{"ct":40,"data":"AAHiQA=="}"#, Delivery::Live, T0);
    assert_eq!(values(&readings), [some("40"), some("49382.40")]);
    let among = behind_transformers(register(102, WireType::U16));
    let readings = said(&among, br#"{"data":"AAHiQAAo"}"#, Delivery::Live, T0);
    assert_eq!(values(&readings), [some("40"), some("49382.40")], "as over Modbus");
}

#[test]
fn a_register_without_its_ratio_is_no_value() {
    let device = behind_transformers(Source::Message { topic: None, pointer: "/ct".to_owned() });
    for payload in [r#"{"data":"AAHiQA=="}"#, r#"{"ct":null,"data":"AAHiQA=="}"#, r#"{"ct":"x","data":"AAHiQA=="}"#] {
        let readings = said(&device, payload.as_bytes(), Delivery::Live, T0);
        let register = readings.iter().find(|r| r.point == PointIx(1)).unwrap();
        assert_eq!(register.quality, Quality::Bad(BadReason::Input), "{payload}");
    }
}

#[test]
fn a_ratio_that_came_once_is_remembered_and_a_power_of_ten_is_not() {
    let device = behind_transformers(Source::Message { topic: None, pointer: "/ct".to_owned() });
    let mut decoder = Decoder::new(Arc::clone(&device.profile), |_| Duration::MAX);
    let mut say =
        |payload: &str| read(&device, &mut decoder, &[0, 1], payload.as_bytes(), Delivery::Live, None, T0).latest;
    say(r#"{"ct":40}"#);
    assert_eq!(values(&say(r#"{"data":"AAHiQA=="}"#)), [some("49382.40")]);
    assert_eq!(values(&say(r#"{"ct":null}"#)), [None], "now it is not known any more");
    assert_eq!(say(r#"{"data":"AAHiQA=="}"#)[0].quality, Quality::Bad(BadReason::Input));

    let mut of_ten = device.clone();
    let mut profile = (*device.profile).clone();
    (profile.points[0].kind, profile.points[1].inputs.exponent) = (PointKind::Measured, Some(0));
    profile.points[1].inputs.times.clear();
    of_ten.profile = Arc::new(profile);
    let mut decoder = Decoder::new(Arc::clone(&of_ten.profile), |_| Duration::MAX);
    let mut say =
        |payload: &str| read(&of_ten, &mut decoder, &[0, 1], payload.as_bytes(), Delivery::Live, None, T0).latest;
    assert_eq!(values(&say(r#"{"ct":2,"data":"AAHiQA=="}"#))[1].as_deref().map(str::parse::<f64>), Some(Ok(123_456.0)));
    assert_eq!(say(r#"{"data":"AAHiQA=="}"#)[0].quality, Quality::Bad(BadReason::Input), "it is of another moment");
}
