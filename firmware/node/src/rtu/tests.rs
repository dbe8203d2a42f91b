use embedded_io::ErrorKind;

use super::*;
use crate::board::Parity;
use crate::doubles::wire::{Pin, Wire};

const LINE: LineSettings = LineSettings { baud: 9600, parity: Parity::Even };

struct Bench {
    line: Line,
    wire: Wire,
    driver: Pin,
    now_us: u32,
}

impl Bench {
    fn new(drop_gaps: bool) -> Self {
        let driver = Pin::default();
        // Close to the wrap of the clock: every test crosses it.
        Self { line: Line::new(LINE, drop_gaps), wire: Wire::new(&driver), driver, now_us: u32::MAX - 2_000 }
    }

    fn turn(&mut self, us: u32) -> bool {
        self.now_us = self.now_us.wrapping_add(us);
        self.line.poll(&mut self.wire, &mut self.driver, self.now_us)
    }

    /// Bytes, then quiet turns of 100 µs.
    fn hear(&mut self, bytes: &[u8], quiet_us: u32) -> bool {
        self.wire.send(bytes);
        let mut frames = false;
        for _ in 0..=quiet_us / 100 {
            frames |= self.turn(100);
        }
        frames
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    [body, &crc16(body).to_le_bytes()].concat()
}

#[test]
fn silences_of_the_specification() {
    let silence = |baud| Silence::of(LineSettings { baud, parity: Parity::Even });
    assert_eq!(silence(9600), Silence { t15_us: 1718, t35_us: 4010 });
    assert_eq!(silence(19_200), Silence { t15_us: 859, t35_us: 2005 });
    assert_eq!(silence(38_400), Silence { t15_us: 750, t35_us: 1750 });
    assert_eq!(silence(115_200), Silence { t15_us: 750, t35_us: 1750 });
    assert_eq!(silence(1200), Silence { t15_us: 13_750, t35_us: 32_083 });
}

#[test]
fn a_frame_ends_with_silence_and_not_before() {
    let mut bench = Bench::new(false);
    let request = frame(&[1, 3, 0, 0, 0, 1]);
    assert!(!bench.hear(&request, 3_800));
    assert!(bench.hear(&[], 300));
    assert_eq!(bench.line.held(), Some(&request[..6]));
}

#[test]
fn a_gap_within_t35_does_not_end_a_frame() {
    let mut bench = Bench::new(false);
    let request = frame(&[1, 3, 0, 0, 0, 1]);
    assert!(!bench.hear(&request[..3], 3_500));
    assert!(bench.hear(&request[3..], 4_200));
    assert_eq!(bench.line.counters().gaps, 1);
}

#[test]
fn a_gap_above_t15_drops_the_frame_when_told_so() {
    let mut bench = Bench::new(true);
    let request = frame(&[1, 3, 0, 0, 0, 1]);
    bench.hear(&request[..3], 1_900);
    assert!(!bench.hear(&request[3..], 10_000));
    assert_eq!(bench.line.counters(), LineCounters { gaps: 1, ..LineCounters::default() });
    bench.hear(&request[..3], 1_400);
    assert!(bench.hear(&request[3..], 4_200), "a gap below t1.5 is none");
}

#[test]
fn a_late_turn_does_not_split_a_frame() {
    let mut bench = Bench::new(true);
    let request = frame(&[1, 3, 0, 0, 0, 1]);
    bench.wire.send(&request[..3]);
    bench.turn(100);
    // Nobody looked for 20 ms; the rest came meanwhile, at the right time for all the node can know.
    bench.wire.send(&request[3..]);
    bench.turn(20_000);
    assert!(bench.hear(&[], 4_200));
}

#[test]
fn half_a_frame_then_silence_then_a_whole_one() {
    let mut bench = Bench::new(false);
    let request = frame(&[1, 3, 0, 0, 0, 1]);
    assert!(!bench.hear(&request[..4], 5_000));
    assert!(bench.hear(&request, 5_000));
    assert_eq!(bench.line.counters().crc_errors, 1);
}

#[test]
fn a_line_error_spoils_one_frame() {
    let mut bench = Bench::new(false);
    let request = frame(&[1, 3, 0, 0, 0, 1]);
    bench.wire.send_error(ErrorKind::InvalidData);
    assert!(!bench.hear(&request, 5_000));
    assert_eq!(bench.line.counters().errors, 1);
    assert!(bench.hear(&request, 5_000));
}

#[test]
fn a_babbling_line_is_survived() {
    let mut bench = Bench::new(false);
    assert!(!bench.hear(&[0x55; 5_000], 20_000));
    assert!(bench.hear(&frame(&[1, 3, 0, 0, 0, 1]), 5_000));
}

#[test]
fn a_master_that_does_not_wait_is_heard_anew() {
    let mut bench = Bench::new(false);
    assert!(bench.hear(&frame(&[1, 3, 0, 0, 0, 1]), 5_000));
    let second = frame(&[1, 3, 0, 9, 0, 1]);
    assert!(bench.hear(&second, 5_000));
    assert_eq!(bench.line.held(), Some(&second[..6]));
}

#[test]
fn the_driver_is_on_exactly_while_bytes_leave() {
    let mut bench = Bench::new(false);
    bench.wire.set_echo(true);
    assert!(bench.hear(&frame(&[1, 17]), 5_000));
    bench.wire.limit_room(Some(3));
    bench.wire.set_shifting(true);
    bench.line.send(|place| {
        place.get_mut(..4)?.copy_from_slice(&[1, 17, 1, 9]);
        Some(4)
    });
    assert!(!bench.driver.get());
    bench.turn(100);
    assert!(bench.driver.get() && !bench.line.is_listening());
    bench.wire.limit_room(None);
    (0..50).for_each(|_| assert!(!bench.turn(100)));
    assert!(bench.driver.get(), "the last byte is still leaving");
    bench.wire.set_shifting(false);
    bench.turn(100);
    assert!(!bench.driver.get() && bench.line.is_listening());
    assert_eq!(bench.wire.receive(), frame(&[1, 17, 1, 9]));
    assert_eq!(bench.wire.sent_undriven(), 0);
    assert!(!bench.hear(&[], 10_000), "the echo is not a request");
    assert_eq!(bench.line.counters(), LineCounters::default());
}

#[test]
fn a_transmitter_that_hangs_does_not_hold_the_line() {
    for (room, shifting) in [(Some(0), false), (None, true)] {
        let mut bench = Bench::new(false);
        assert!(bench.hear(&frame(&[1, 17]), 5_000));
        bench.wire.limit_room(room);
        bench.wire.set_shifting(shifting);
        bench.line.send(|place| {
            *place.first_mut()? = 1;
            Some(1)
        });
        (0..29_000).for_each(|_| assert!(!bench.turn(100)));
        assert!(bench.driver.get(), "2.9 s may be 256 characters at 1200 Bd");
        (0..2_000).for_each(|_| assert!(!bench.turn(100)));
        assert!(!bench.driver.get() && bench.line.is_silent());
        bench.wire.limit_room(None);
        assert!(bench.hear(&frame(&[1, 17]), 5_000));
    }
}
