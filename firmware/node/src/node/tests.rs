mod credit;
mod fuzz;
mod line;
mod model;
mod outputs;
mod storage;

#[test]
fn a_clock_that_steps_back_does_not_jump_ahead() {
    let mut time = super::Time::default();
    for now_us in [1_000, 2_001_000, 2_000_990, 2_001_990, 2_001_989] {
        time.advance(now_us);
    }
    assert_eq!((time.s, time.ms), (2, 2_001));
    let mut wrapping = super::Time::default();
    for now_us in [u32::MAX - 999_999, 0, 1_000_000] {
        wrapping.advance(now_us);
    }
    assert_eq!(wrapping.s, 2);
}
