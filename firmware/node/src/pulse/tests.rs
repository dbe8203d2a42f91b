use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use embedded_hal::digital::ErrorType;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Pin(Rc<Cell<bool>>);

impl ErrorType for Pin {
    type Error = Infallible;
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.get())
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.0.get())
    }
}

fn bank(debounce_ms: u8) -> &'static PulseBank {
    let bank = Box::leak(Box::new(PulseBank::new()));
    (0..CHANNELS).for_each(|channel| bank.set_debounce(channel, debounce_ms));
    bank
}

/// Plays a wave form into input 0, a level for so many ms each, and tells what was counted.
fn count(debounce_ms: u8, wave: &[(bool, u32)]) -> u32 {
    let bank = bank(debounce_ms);
    let pin = Pin::default();
    let mut sampler = Sampler::new([pin.clone(), Pin::default(), Pin::default(), Pin::default()], bank);
    for &(level, ms) in wave {
        pin.0.set(level);
        (0..ms).for_each(|_| sampler.tick(1));
    }
    bank.count(0)
}

#[test]
fn counts_a_hundred_hertz_for_a_minute() {
    let wave: Vec<_> = std::iter::repeat_n([(false, 5), (true, 5)], 6000).flatten().collect();
    assert_eq!(count(3, &wave), 6000);
}

#[test]
fn counts_s0_at_its_shortest() {
    let wave: Vec<_> = std::iter::repeat_n([(false, 30), (true, 30)], 500).flatten().collect();
    assert_eq!(count(20, &wave), 500);
}

#[test]
fn bounce_of_a_reed_is_one_pulse() {
    let wave =
        [(false, 100), (true, 1), (false, 2), (true, 1), (false, 1), (true, 60), (false, 3), (true, 2), (false, 99)];
    assert_eq!(count(20, &wave), 1);
}

#[test]
fn spikes_shorter_than_the_debounce_time_are_nothing() {
    assert_eq!(count(20, &[(false, 50), (true, 19), (false, 50), (true, 19), (false, 50)]), 0);
    assert_eq!(count(20, &[(false, 50), (true, 20), (false, 50)]), 1);
}

#[test]
fn an_input_closed_at_start_was_counted_before_the_reset() {
    assert_eq!(count(20, &[(true, 500)]), 0);
    assert_eq!(count(20, &[(true, 500), (false, 50), (true, 50)]), 1);
}

proptest! {
    /// Against the definition: runs of at least the debounce time decide, everything between them is bounce.
    #[test]
    fn counts_what_the_definition_counts(
        debounce in 1u8..30,
        wave in prop::collection::vec((any::<bool>(), 1u32..40), 1..60),
    ) {
        let mut samples = vec![];
        for &(level, ms) in &wave {
            samples.extend(std::iter::repeat_n(level, ms as usize));
        }
        let mut settled = samples[0];
        let mut expected = 0;
        for end in 1..=samples.len() {
            let run = samples[..end].iter().rev().take_while(|s| **s == samples[end - 1]).count();
            if samples[end - 1] != settled && run >= usize::from(debounce) {
                settled = samples[end - 1];
                expected += u32::from(settled);
            }
        }
        prop_assert_eq!(count(debounce, &wave), expected);
    }
}
