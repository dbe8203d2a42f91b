//! The field node on a Stellaris LM3S6965: what is wired where, and the life of the program.
//!
//! * The main loop takes a turn of the node and sleeps until the next interrupt, at the latest for a millisecond.
//! * Pulses are sampled in the tick's interrupt, with the time that really passed.
//! * The watchdog is fed by a turn of the node, and only while the tick goes on: a node that counts no pulses bites.
//!
//! # Terminals
//!
//! | pins | what | closed is |
//! |---|---|---|
//! | PA0, PA1, PA2 | RS-485: receive, send, driver enable | |
//! | PA3..PA7 | address switches, bit 0 first | high |
//! | PB2, PB3 | I2C0: 24C64 at 0x50 (journal), 24C512 at 0x54 and 0x55 (updates), MAX34451 at 0x70 (contacts, supply) | |
//! | PB0 | cover | low |
//! | PB1 | tenant's button | high |
//! | PC4..PC7 | pulses 1 to 4 | high |
//! | PD0..PD7 | coils: opens 1, closes 1, opens 2, ... | |
//! | PE0..PE3 | limits of outputs 1 and 2: open end 1, closed end 1, open end 2, ... | high |
//! | PF0..PF3 | limits of outputs 3 and 4 | high |

#![no_std]
#![no_main]

use core::cell::RefCell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::interrupt::Mutex;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::{ExceptionFrame, entry, exception};
use guanjia_node::board::{
    Board, Clock, Identity, LineSettings, Memory, Parity, Parts, ResetCause, Staging, System, Verifier, Version,
};
use guanjia_node::node::Node;
use guanjia_node::pulse::{PulseBank, Sampler};

use hal::clock::{Delay, SysTickClock};
use hal::gpio::{Input, Output, Port, Wiring};
use hal::i2c::I2c0;
use hal::interrupts::Interrupt;
use hal::memory::Spare;
use hal::monitor::Monitor;
use hal::retained::LastWord;
use hal::uart::Uart0;

/// The version of this build; newer is greater.
const VERSION: Version = Version(match u32::from_str_radix(env!("GUANJIA_VERSION_NUMBER"), 10) {
    Ok(number) => number,
    Err(_) => 0,
});
/// Life after which an image counts as good; see the boot stage.
const GOOD_AFTER_US: u32 = 60_000_000;

static PULSES: PulseBank = PulseBank::new();
/// Put here before the tick's interrupt is let through, and used by that only.
static SAMPLING: Mutex<RefCell<Option<Sampling>>> = Mutex::new(RefCell::new(None));
/// Ticks since the start, for the watchdog.
static TICKS: AtomicU32 = AtomicU32::new(0);

/// The sampler and when it last sampled.
struct Sampling {
    sampler: Sampler<Input>,
    clock: SysTickClock,
    last_us: u32,
}

struct Lm3s6965;

/// Signatures are checked by the boot stage, at every start: the node has not the memory for it (see `README.md`).
struct Later;

impl Verifier for Later {
    fn verify(&mut self, _signature: &[u8; 64], _staging: &mut impl Staging, _length: u32) -> bool {
        true
    }
}

impl Board for Lm3s6965 {
    type Input = Input;
    type Output = Output;
    type I2c = I2c0;
    type Delay = Delay;
    type Uart = Uart0;
    type Analog = Monitor<I2c0>;
    type System = Processor;
    type Staging = Spare<I2c0>;
    type Verifier = Later;
}

struct Processor {
    cause: ResetCause,
    ticks_seen: u32,
}

impl System for Processor {
    fn feed_watchdog(&mut self) {
        let ticks = TICKS.load(Ordering::Relaxed);
        if ticks != self.ticks_seen {
            self.ticks_seen = ticks;
            hal::watchdog::feed();
        }
    }

    fn reset_cause(&self) -> ResetCause {
        self.cause
    }

    fn stack_high_water(&self) -> u16 {
        hal::stack::high_water()
    }

    fn reboot(&mut self) {
        hal::retained::leave(LastWord::Requested);
        SCB::sys_reset();
    }
}

#[entry]
fn main() -> ! {
    let cause = hal::retained::take_reset_cause();
    hal::system::start();
    hal::gpio::give_to_peripherals();
    // `take` gives them once, and this is the only place that asks.
    let bus = I2c0::start();
    if let Some((core, staging)) = cortex_m::Peripherals::take().zip(Spare::beside(hal::retained::source(), bus)) {
        run(core.SYST, cause, bus, staging);
    }
    hal::retained::leave(LastWord::Fault);
    SCB::sys_reset()
}

fn run(timer: SYST, cause: ResetCause, bus: I2c0, staging: Spare<I2c0>) -> ! {
    let clock = SysTickClock::start(timer);
    start_sampling(clock);

    let mut node = Node::<Lm3s6965>::new(Parts {
        i2c: bus,
        delay: Delay(clock),
        uart: Uart0::start(LineSettings { baud: 9_600, parity: Parity::Even }),
        driver_enable: Output::new(Port::A, 2),
        analog: Monitor::new(bus),
        dip: [3, 4, 5, 6, 7].map(|pin| Input::new(Port::A, pin, Wiring::ToSupply)),
        cover: Input::new(Port::B, 0, Wiring::ToGround),
        button: Input::new(Port::B, 1, Wiring::ToSupply),
        limits: [(Port::E, 0), (Port::E, 2), (Port::F, 0), (Port::F, 2)]
            .map(|(port, pin)| [pin, pin + 1].map(|pin| Input::new(port, pin, Wiring::ToSupply))),
        coils: [0, 2, 4, 6].map(|pin| [pin, pin + 1].map(|pin| Output::new(Port::D, pin))),
        pulses: &PULSES,
        system: Processor { cause, ticks_seen: 0 },
        staging: staging,
        verifier: Later,
        memory: Memory { address: 0x50, page: 32 },
        identity: Identity { board_id: hal::BOARD_ID, version: VERSION, build_id: build_id() },
    });
    Interrupt::Uart0.enable();
    Interrupt::Watchdog.enable();
    hal::watchdog::start();
    let mut unproven = true;
    loop {
        node.turn(&clock);
        if unproven && clock.micros() > GOOD_AFTER_US {
            hal::retained::set_failures(0);
            unproven = false;
        }
        #[cfg(feature = "panics")]
        assert!(clock.micros() != 0, "one path to a panic");
        cortex_m::asm::wfi();
    }
}

/// Starts the sampler, before anything that takes time: from here on pulses count.
fn start_sampling(clock: SysTickClock) {
    let pins = [4, 5, 6, 7].map(|pin| Input::new(Port::C, pin, Wiring::ToSupply));
    let sampler = Sampler::new(pins, &PULSES);
    cortex_m::interrupt::free(|section| {
        if let Ok(mut place) = SAMPLING.borrow(section).try_borrow_mut() {
            *place = Some(Sampling { sampler, clock, last_us: clock.micros() });
        }
    });
    Interrupt::Tick.enable();
    hal::clock::start_tick();
}

/// Samples, with the whole milliseconds since the last time.
fn sample() {
    hal::clock::tick_seen();
    TICKS.store(TICKS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    cortex_m::interrupt::free(|section| {
        let Ok(mut place) = SAMPLING.borrow(section).try_borrow_mut() else { return };
        let Some(Sampling { sampler, clock, last_us }) = place.as_mut() else { return };
        // A tick comes early or late by the time other interrupts take, so halves are rounded.
        let elapsed_ms = (clock.micros().wrapping_sub(*last_us) + 500) / 1_000;
        *last_us = last_us.wrapping_add(elapsed_ms * 1_000);
        sampler.tick(u8::try_from(elapsed_ms).unwrap_or(u8::MAX));
    });
}

#[exception]
unsafe fn DefaultHandler(number: i16) {
    match Interrupt::of(number) {
        Some(Interrupt::Tick) => sample(),
        Some(Interrupt::Uart0) => hal::uart::received(),
        Some(Interrupt::Watchdog) => {
            // The main loop hangs, or the tick does. Nothing is put right here: the second time-out resets.
            hal::retained::leave(LastWord::Watchdog);
            loop {
                cortex_m::asm::nop();
            }
        }
        // Nothing else was let through.
        None => fail(),
    }
}

#[exception]
fn SysTick() {
    hal::clock::overflowed();
}

#[exception]
unsafe fn HardFault(_frame: &ExceptionFrame) -> ! {
    fail()
}

/// Starts anew and says so.
fn fail() -> ! {
    hal::retained::leave(LastWord::Fault);
    SCB::sys_reset()
}

#[cfg(not(feature = "no-panic-check"))]
#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    fail()
}

#[cfg(feature = "no-panic-check")]
#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn a_panic_path_survived() -> !;
    }
    // SAFETY: there is no such function, so an image with this call in it does not link: that is its whole purpose.
    unsafe { a_panic_path_survived() }
}

/// The build's name, as `build.rs` cut and filled it.
fn build_id<const N: usize>() -> [u8; N] {
    let mut id = [b' '; N];
    for (place, byte) in id.iter_mut().zip(env!("GUANJIA_BUILD_ID").bytes()) {
        *place = byte;
    }
    id
}
