//! The boot stage: what a reset starts, and what decides which image of the node runs.
//!
//! * An update runs when its order is whole, its package is for this board and undamaged, and the maker has signed it
//!   (Ed25519 over header and image). It is checked at every start, in the RAM that it then runs in: what runs is what was
//!   checked.
//! * Of two good updates the newer order counts; without any, the factory's image runs. A cut or bad update changes nothing.
//! * An update that ends badly three times in a row (see [`retained`]) is passed over, so that one which does not run cannot
//!   take the node away: the update before it runs, or else the factory's image. A minute of life clears the count, and so
//!   does a reset from outside.
//! * The watchdog runs from the first line on, and is fed for every piece that was read. The check of a signature takes
//!   longer than it gives, and has a time of its own.
//! * It has a budget of its own, as the node's memory is free while it runs: 16 KiB of flash, 12 KiB of RAM, of which
//!   checking a signature takes 10. Its libraries may panic; a panic starts the factory's image.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use guanjia_node::crc::Crc32;
use guanjia_node::update::{Header, SIGNATURE};

use hal::i2c::I2c0;
use hal::interrupts::Interrupt;
use hal::memory::{Order, UpdateMemory};
use hal::retained::{self, LastWord, Source};
use hal::window::{self, HEADER, PACKAGE_MAX};

/// This board, in updates and in the register map.
const BOARD_ID: u16 = hal::BOARD_ID;
/// Whose signature counts.
static MAKER_KEY: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/maker.key"));
/// Bytes that are read between two looks at the watchdog: 14 ms at 100 kHz.
const PIECE: usize = 128;
/// Time for the check of a signature, until the watchdog's first time-out: three cycles for each of the 82 million
/// instructions that it takes for an image of 26 KB, counted in QEMU. A Cortex-M3 takes one and a half to two.
const VERIFY_MS: u32 = 20_000;

#[entry]
fn main() -> ! {
    hal::watchdog::start();
    Interrupt::Watchdog.enable();
    retained::begin();
    hal::system::start();
    hal::watchdog::feed();
    if let Some(window) = window::take() {
        let bus = I2c0::the();
        bus.start();
        let order = |source| {
            let found = UpdateMemory::of(source, bus)?.order();
            hal::watchdog::feed();
            found.filter(|_| !retained::is_passed_over(source))
        };
        let (first, second) = (order(Source::First), order(Source::Second));
        let newer_first = match (first, second) {
            (Some(first), Some(second)) => first.number > second.number,
            _ => true,
        };
        let mut sources = [(Source::First, first), (Source::Second, second)];
        if !newer_first {
            sources.reverse();
        }
        for (source, order) in sources {
            retained::set_source(source);
            let good =
                order.zip(UpdateMemory::of(source, bus)).is_some_and(|(order, memory)| load(order, memory, window));
            if good {
                hal::watchdog::feed();
                // SAFETY: the window holds an image that the maker signed for this board, and this function ends here.
                unsafe { window::start() }
            }
        }
    }
    start_factory()
}

/// Loads a package and checks it.
fn load(order: Order, mut memory: UpdateMemory<I2c0>, window: &mut [u8; PACKAGE_MAX]) -> bool {
    let Some(package) = usize::try_from(order.length).ok().and_then(|length| window.get_mut(..length)) else {
        return false;
    };
    for (piece, at) in package.chunks_mut(PIECE).zip((0..).step_by(PIECE)) {
        if memory.read(at, piece).is_err() {
            return false;
        }
        hal::watchdog::feed();
    }
    let Some((message, signature)) = package.split_last_chunk::<{ SIGNATURE as usize }>() else { return false };
    let Some((header, image)) = message.split_first_chunk::<HEADER>() else { return false };
    let Some(header) = Header::decode(header) else { return false };
    if header.board_id != BOARD_ID
        || header.image_bytes as usize != image.len()
        || Crc32::new().update(image).finish() != header.crc
    {
        return false;
    }
    hal::watchdog::allow(VERIFY_MS);
    let signed = salty::PublicKey::try_from(&MAKER_KEY)
        .is_ok_and(|key| key.verify(message, &salty::Signature::from(signature)).is_ok());
    hal::watchdog::allow(hal::watchdog::STEP_MS);
    signed
}

fn start_factory() -> ! {
    retained::set_source(Source::Factory);
    hal::watchdog::allow(hal::watchdog::STEP_MS);
    // SAFETY: the factory writes both images, and this function ends here.
    unsafe { window::start_factory() }
}

/// Only the watchdog's was let through.
#[exception]
unsafe fn DefaultHandler(_number: i16) {
    // The second time-out resets.
    retained::leave(LastWord::Watchdog);
    loop {
        cortex_m::asm::nop();
    }
}

#[exception]
unsafe fn HardFault(_frame: &ExceptionFrame) -> ! {
    retained::leave(LastWord::Fault);
    SCB::sys_reset()
}

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    start_factory()
}
