mod credit;
mod fuzz;
mod line;
mod model;
mod outputs;
mod storage;

#[test]
fn a_clock_that_steps_back_stands_until_it_has_come_up() {
    let mut time = super::Time::default();
    let seen = [1_000, 2_001_000, 2_000_990, 2_000_999, 2_001_990, 2_001_989].map(|clock_us| time.advance(clock_us));
    assert_eq!(seen, [1_000, 2_001_000, 2_001_000, 2_001_000, 2_001_990, 2_001_990]);
    // Of 2,000,990 us: nothing of what was seen before and after the step back counts twice.
    assert_eq!((time.s, time.ms, time.rest_us), (2, 2_000, 990));
    let mut wrapping = super::Time::default();
    for clock_us in [u32::MAX - 999_999, 0, 1_000_000, 999_000] {
        wrapping.advance(clock_us);
    }
    assert_eq!((wrapping.s, wrapping.ms), (2, 2_000));
}
