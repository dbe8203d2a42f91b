//! Registers as text, times, arrays.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{MessageForm, Order, Registers, Table, WireType, WordOrder};
use proptest::prelude::*;

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
    let all: Vec<usize> = (0..device.profile.points.len()).collect();
    read(device, &all, payload, delivery, now)
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
