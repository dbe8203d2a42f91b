//! The RAM in which the boot stage verifies an update and, when it is good, runs it.
//!
//! ```text
//!  0x2000_0000  retained words            16
//!  0x2000_0010  RAM of the node        4,080
//!  0x2000_1000  RAM of the boot stage 12,288   nobody's when the node runs
//!  0x2000_3FE0  header of the package     32
//!  0x2000_4000  image                 32,768   where it is linked to run
//!  ...          signature                 64   behind the image
//! ```
//!
//! On a part whose flash can be written in place, the boot stage would copy the image there instead; QEMU's flash of this
//! part is read-only.

use core::sync::atomic::{AtomicBool, Ordering};

use guanjia_node::board::LM3S6965EVB;

/// Where the image is linked to run (`memory/ram/memory.x`).
const IMAGE_AT: usize = LM3S6965EVB.image_at as usize;
/// Longest image.
pub const IMAGE_MAX: usize = LM3S6965EVB.image_max as usize;
/// Bytes before the image.
pub const HEADER: usize = guanjia_node::update::HEADER;
/// Bytes of the longest package.
pub const PACKAGE_MAX: usize = HEADER + IMAGE_MAX + guanjia_node::update::SIGNATURE as usize;
/// Where the factory's image begins (`memory/flash/memory.x`).
const FACTORY_AT: usize = 0x4000;
/// Cortex-M3: offset of the vector table.
const VTOR: super::register::Register = {
    // SAFETY: a register of the processor (ARMv7-M, B3.2.5).
    unsafe { super::register::Register::at(0xE000_ED08) }
};

/// The window; the first caller gets it, and nobody after.
pub fn take() -> Option<&'static mut [u8; PACKAGE_MAX]> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    // SAFETY: RAM of the part that no memory map gives to anything else while the boot stage runs; handed out once, and
    // bytes have no invalid values.
    Some(unsafe { &mut *((IMAGE_AT - HEADER) as *mut [u8; PACKAGE_MAX]) })
}

/// Starts the image in the window: its first words are its stack and its entry.
///
/// # Safety
/// The window holds a whole image for this part, and nothing of the caller is needed any more.
pub unsafe fn start() -> ! {
    // SAFETY: the caller's promise.
    unsafe { start_at(IMAGE_AT) }
}

/// Starts the image of the factory.
///
/// # Safety
/// It is there, and nothing of the caller is needed any more.
pub unsafe fn start_factory() -> ! {
    // SAFETY: the caller's promise.
    unsafe { start_at(FACTORY_AT) }
}

unsafe fn start_at(vectors: usize) -> ! {
    VTOR.write(vectors as u32);
    // SAFETY: both addresses are those of a vector table, by the callers' promises.
    unsafe { cortex_m::asm::bootload(vectors as *const u32) }
}
