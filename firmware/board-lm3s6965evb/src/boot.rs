//! The boot stage: what a reset starts, and what decides which image of the node runs.
//!
//! * An update runs when its order is whole, its package is for this board and undamaged, and the maker has signed it
//!   (Ed25519 over header and image). It is checked at every start, in the RAM that it then runs in: what runs is what was
//!   checked.
//! * Of two good updates the newer order counts; without any, the factory's image runs. A cut or bad update changes nothing.
//! * An update that ends in a watchdog or a fault [`FAILURES`] times in a row is passed over until the part is reset by
//!   anything else, so that an update that does not run cannot take the node away. A minute of life clears the count.
//! * It has a budget of its own, as the node's memory is free while it runs: 16 KiB of flash, 12 KiB of RAM, of which
//!   checking a signature takes 10. Its libraries may panic; a panic starts the factory's image.

#![no_std]
#![no_main]

use core::panic::PanicInfo;

use cortex_m_rt::entry;
use guanjia_node::crc::Crc32;
use guanjia_node::update::{Header, SIGNATURE};

use hal::i2c::I2c0;
use hal::memory::{Order, UpdateMemory};
use hal::retained::{self, Source};
use hal::window::{self, HEADER, PACKAGE_MAX};

/// This board, in updates and in the register map.
const BOARD_ID: u16 = hal::BOARD_ID;
/// Whose signature counts.
static MAKER_KEY: [u8; 32] = *include_bytes!(concat!(env!("OUT_DIR"), "/maker.key"));
/// Bad ends in a row after which an update is passed over.
const FAILURES: u8 = 3;

#[entry]
fn main() -> ! {
    hal::system::start();
    hal::gpio::give_to_peripherals();
    if retained::ended_badly() {
        retained::set_failures(retained::failures().saturating_add(1));
    } else {
        retained::set_failures(0);
    }
    if retained::failures() < FAILURES
        && let Some(window) = window::take()
    {
        let bus = I2c0::the();
        bus.start();
        let order = |source| UpdateMemory::of(source, bus).and_then(|mut memory| memory.order());
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
            let good =
                order.zip(UpdateMemory::of(source, bus)).is_some_and(|(order, memory)| load(order, memory, window));
            if good {
                retained::set_source(source);
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
    if memory.read(0, package).is_err() {
        return false;
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
    let Ok(key) = salty::PublicKey::try_from(&MAKER_KEY) else { return false };
    key.verify(message, &salty::Signature::from(signature)).is_ok()
}

fn start_factory() -> ! {
    retained::set_source(Source::Factory);
    // SAFETY: the factory writes both images, and this function ends here.
    unsafe { window::start_factory() }
}

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    start_factory()
}
