//! The field node on a Stellaris LM3S6965: what is wired where, and the life of the program.
//!
//! * The main loop takes a turn of the node and sleeps until the next interrupt, at the latest for a millisecond.
//! * Pulses are sampled in the tick's interrupt, with the time that really passed.
//! * The watchdog runs since the boot stage. It is fed by a round through the journal at start and by a turn of the node, and
//!   only while the tick goes on: a node that counts no pulses bites.
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
use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use guanjia_node::board::{Board, Clock, Identity, Memory, Parts, ResetCause, Staging, System, Verifier, Version};
use guanjia_node::map::{BUILD_ID_BYTES, CHANNELS, OUTPUTS};
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
        hal::retained::reset_cause()
    }

    fn stack_high_water(&self) -> u16 {
        hal::stack::high_water()
    }

    fn reboot(&mut self) {
        hal::retained::leave(LastWord::Requested);
        SCB::sys_reset();
    }
}

const CLOCK: SysTickClock = SysTickClock::the();
const BUS: I2c0 = I2c0::the();
const DRIVER_ENABLE: Output = Output::new(Port::A, 2);
const SWITCHES: [Input; 5] = [
    closed_high(Port::A, 3),
    closed_high(Port::A, 4),
    closed_high(Port::A, 5),
    closed_high(Port::A, 6),
    closed_high(Port::A, 7),
];
const COVER: Input = Input::new(Port::B, 0, Wiring::ToGround);
const BUTTON: Input = closed_high(Port::B, 1);
const PULSE_INPUTS: [Input; CHANNELS] =
    [closed_high(Port::C, 4), closed_high(Port::C, 5), closed_high(Port::C, 6), closed_high(Port::C, 7)];
const COILS: [[Output; 2]; OUTPUTS] = [
    [Output::new(Port::D, 0), Output::new(Port::D, 1)],
    [Output::new(Port::D, 2), Output::new(Port::D, 3)],
    [Output::new(Port::D, 4), Output::new(Port::D, 5)],
    [Output::new(Port::D, 6), Output::new(Port::D, 7)],
];
const LIMITS: [[Input; 2]; OUTPUTS] = [
    [closed_high(Port::E, 0), closed_high(Port::E, 1)],
    [closed_high(Port::E, 2), closed_high(Port::E, 3)],
    [closed_high(Port::F, 0), closed_high(Port::F, 1)],
    [closed_high(Port::F, 2), closed_high(Port::F, 3)],
];

const fn closed_high(port: Port, pin: u8) -> Input {
    Input::new(port, pin, Wiring::ToSupply)
}

/// The node as it lies in flash: nothing has started yet.
const NODE: Node<Lm3s6965> = Node::new(Parts {
    i2c: BUS,
    delay: Delay(CLOCK),
    uart: Uart0::the(),
    driver_enable: DRIVER_ENABLE,
    analog: Monitor::new(BUS),
    dip: SWITCHES,
    cover: COVER,
    button: BUTTON,
    limits: LIMITS,
    coils: COILS,
    pulses: &PULSES,
    system: Processor { ticks_seen: 0 },
    staging: Spare::new(BUS),
    verifier: Later,
    memory: Memory { address: 0x50, page: 32 },
    identity: Identity { board_id: hal::BOARD_ID, version: VERSION, build_id: BUILD_ID },
});

#[entry]
fn main() -> ! {
    hal::retained::leave(LastWord::Trial);
    hal::watchdog::start();
    Interrupt::Watchdog.enable();
    hal::system::start();
    start_pins();
    // `take` gives them once, and this is the only place that asks.
    let Some(mut core) = cortex_m::Peripherals::take() else { fail() };
    hal::interrupts::rank(&mut core.NVIC, &mut core.SCB);
    CLOCK.start(core.SYST);
    start_sampling();
    BUS.start();
    // In a static, so that the budget of RAM counts it and the stack holds only what is under way.
    let Some(node) = cortex_m::singleton!(: Node<Lm3s6965> = NODE) else { fail() };
    node.start();
    Interrupt::Uart0.enable();
    let mut unproven = true;
    loop {
        node.turn(&CLOCK);
        if unproven && CLOCK.micros() > GOOD_AFTER_US {
            hal::retained::well();
            unproven = false;
        }
        #[cfg(feature = "panics")]
        assert!(CLOCK.micros() != 0, "one path to a panic");
        cortex_m::asm::wfi();
    }
}

/// Coils first: what is not an output yet floats.
fn start_pins() {
    COILS.iter().flatten().chain([&DRIVER_ENABLE]).for_each(Output::start);
    let limits = LIMITS.iter().flatten();
    limits.chain(&SWITCHES).chain(&PULSE_INPUTS).chain([&COVER, &BUTTON]).for_each(Input::start);
    hal::gpio::give_to_uart();
}

/// Starts the sampler, before anything that takes time: from here on pulses count.
fn start_sampling() {
    let sampler = Sampler::new(PULSE_INPUTS, &PULSES);
    cortex_m::interrupt::free(|section| {
        if let Ok(mut place) = SAMPLING.borrow(section).try_borrow_mut() {
            *place = Some(Sampling { sampler, last_us: CLOCK.micros() });
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
        let Some(Sampling { sampler, last_us }) = place.as_mut() else { return };
        // A tick comes early or late by the time other interrupts take, so halves are rounded.
        let elapsed_us = CLOCK.micros().wrapping_sub(*last_us).wrapping_add(500);
        // A clock that stepped back all the same has not gone on: a bounce must not pass for a pulse.
        let elapsed_ms = if elapsed_us > u32::MAX / 2 { 0 } else { elapsed_us / 1_000 };
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
    hal::clock::ended();
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

/// The build's name, as `build.rs` cut it, filled with spaces: cargo takes those at the end of what `build.rs` says away.
#[expect(clippy::indexing_slicing, reason = "a constant: an index that does not exist does not compile")]
const BUILD_ID: [u8; BUILD_ID_BYTES] = {
    let name = env!("GUANJIA_BUILD_ID").as_bytes();
    let mut id = [b' '; BUILD_ID_BYTES];
    let mut at = 0;
    while at < name.len() && at < BUILD_ID_BYTES {
        id[at] = name[at];
        at += 1;
    }
    id
};
