//! A memory on two open-drain lines that was left in the middle of a byte, at every bit of it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use embedded_hal::digital::ErrorType;

use super::*;

/// What the memory was doing when its master was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing.
    Idle,
    /// Sending this byte; so many of its bits are out, and after eight it listens for the acknowledgement.
    Sending { byte: u8, out: u8 },
    /// Taking a byte of a page; so many of its bits are in, and after eight it acknowledges.
    Taking { taken: u8 },
}

/// Two lines, a master on one side of them, a memory on the other.
struct Lines {
    /// What the master lets go.
    clock: bool,
    data: bool,
    doing: Doing,
    /// Bytes of an unfinished page that a STOP would program.
    page: u32,
    programmed: u32,
    /// A short circuit to ground.
    shorted: Option<Held>,
    /// How long the memory holds the clock low after each falling edge, and until when it does, in µs.
    stretch_us: u32,
    stretched_until_us: u32,
    now_us: u32,
    pulses: u32,
    stops: u32,
}

impl Lines {
    fn left(doing: Doing) -> Rc<RefCell<Self>> {
        let page = if matches!(doing, Doing::Taking { .. }) { 3 } else { 0 };
        Rc::new(RefCell::new(Self {
            clock: true,
            data: true,
            doing,
            page,
            programmed: 0,
            shorted: None,
            stretch_us: 0,
            stretched_until_us: 0,
            now_us: 0,
            pulses: 0,
            stops: 0,
        }))
    }

    fn memory_lets_go(&self) -> bool {
        match self.doing {
            Doing::Sending { byte, out } if out < 8 => byte >> (7 - out) & 1 == 1,
            Doing::Taking { taken: 8 } => false,
            Doing::Idle | Doing::Sending { .. } | Doing::Taking { .. } => true,
        }
    }

    fn clock_level(&self) -> bool {
        self.clock && self.shorted != Some(Held::Clock) && self.now_us >= self.stretched_until_us
    }

    fn data_level(&self) -> bool {
        self.data && self.shorted != Some(Held::Data) && self.memory_lets_go()
    }

    fn set(&mut self, clock: bool, data: bool) {
        let (clock_before, data_before) = (self.clock_level(), self.data_level());
        (self.clock, self.data) = (clock, data);
        if clock_before && !clock {
            self.stretched_until_us = self.now_us + self.stretch_us;
            self.pulses += 1;
            // The next bit is put out while the clock is low.
            self.doing = match self.doing {
                Doing::Sending { out: 8, .. } => Doing::Idle,
                Doing::Sending { byte, out } => Doing::Sending { byte, out: out + 1 },
                Doing::Taking { taken: 8 } => Doing::Taking { taken: 0 },
                Doing::Taking { taken } => Doing::Taking { taken: taken + 1 },
                Doing::Idle => Doing::Idle,
            };
        }
        let steady = clock_before && self.clock_level();
        match (steady, data_before, self.data_level()) {
            // START: whatever was begun is forgotten.
            (true, true, false) => (self.doing, self.page) = (Doing::Idle, 0),
            (true, false, true) => {
                self.stops += 1;
                self.programmed += core::mem::take(&mut self.page);
                self.doing = Doing::Idle;
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Clock,
    Data,
}

struct Pin(Rc<RefCell<Lines>>, Which);

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        let mut lines = self.0.borrow_mut();
        let (clock, data) = (lines.clock, lines.data);
        if self.1 == Which::Clock {
            lines.set(false, data)
        } else {
            lines.set(clock, false)
        }
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        let mut lines = self.0.borrow_mut();
        let (clock, data) = (lines.clock, lines.data);
        if self.1 == Which::Clock {
            lines.set(true, data)
        } else {
            lines.set(clock, true)
        }
        Ok(())
    }
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        let lines = self.0.borrow();
        Ok(if self.1 == Which::Clock { lines.clock_level() } else { lines.data_level() })
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

struct Wait(Rc<RefCell<Lines>>);

impl DelayNs for Wait {
    fn delay_ns(&mut self, ns: u32) {
        self.0.borrow_mut().now_us += ns.div_ceil(1_000);
    }
}

fn freed(lines: &Rc<RefCell<Lines>>) -> Result<(), Held> {
    let pin = |which| Pin(Rc::clone(lines), which);
    free(&mut pin(Which::Clock), &mut pin(Which::Data), &mut Wait(Rc::clone(lines)))
}

#[test]
fn a_memory_that_was_left_while_it_sent_lets_go_whatever_it_sent() {
    for byte in 0..=255 {
        for out in 0..=8 {
            let lines = Lines::left(Doing::Sending { byte, out });
            assert_eq!(freed(&lines), Ok(()), "{byte:#04x} after {out} bits");
            let lines = lines.borrow();
            assert_eq!((lines.doing, lines.stops, lines.pulses), (Doing::Idle, 1, PULSES), "{byte:#04x} after {out}");
            assert!(lines.clock_level() && lines.data_level());
        }
    }
}

#[test]
fn a_page_that_was_not_written_to_its_end_is_not_programmed() {
    for taken in 0..8 {
        let lines = Lines::left(Doing::Taking { taken });
        assert_eq!(freed(&lines), Ok(()), "after {taken} bits");
        assert_eq!((lines.borrow().programmed, lines.borrow().doing), (0, Doing::Idle), "after {taken} bits");
    }
}

#[test]
fn a_bus_that_nobody_holds_is_as_it_was() {
    let lines = Lines::left(Doing::Idle);
    assert_eq!(freed(&lines), Ok(()));
    assert!(lines.borrow().clock_level() && lines.borrow().data_level());
    assert!(lines.borrow().now_us < 200, "{} µs", lines.borrow().now_us);
}

#[test]
fn a_line_that_stays_low_is_told_in_time() {
    for held in [Held::Clock, Held::Data] {
        let lines = Lines::left(Doing::Sending { byte: 0, out: 3 });
        lines.borrow_mut().shorted = Some(held);
        assert_eq!(freed(&lines), Err(held));
        assert!(lines.borrow().now_us <= 1_200, "{} µs", lines.borrow().now_us);
    }
}

#[test]
fn a_device_that_stretches_the_clock_is_waited_for_and_not_for_ever() {
    let lines = Lines::left(Doing::Sending { byte: 0, out: 3 });
    lines.borrow_mut().stretch_us = 80;
    assert_eq!(freed(&lines), Ok(()));
    let lines = Lines::left(Doing::Sending { byte: 0, out: 3 });
    lines.borrow_mut().stretch_us = 400;
    assert_eq!(freed(&lines), Err(Held::Clock));
    assert!(lines.borrow().now_us <= 1_300, "{} µs", lines.borrow().now_us);
}
