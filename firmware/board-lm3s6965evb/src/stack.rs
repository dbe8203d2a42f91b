//! How much of the stack was ever in use: cortex-m-rt paints it at start, and the paint that is left is counted.

use core::ptr::addr_of;

/// What `paint-stack` of cortex-m-rt fills the stack with.
const PAINT: u32 = 0xCCCC_CCCC;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Most bytes of stack ever in use since the start.
pub fn high_water() -> u16 {
    let (end, start) = (addr_of!(_stack_end) as usize, addr_of!(_stack_start) as usize);
    let untouched = (end..start).step_by(4).take_while(|address| {
        // SAFETY: from the end of the statics to the top of the stack all is RAM, aligned to words by the linker script;
        // what lies there is read as it is, once, and nothing is made of it but a comparison.
        unsafe { (*address as *const u32).read_volatile() == PAINT }
    });
    let free = untouched.count() * 4;
    u16::try_from((start - end).saturating_sub(free)).unwrap_or(u16::MAX)
}
