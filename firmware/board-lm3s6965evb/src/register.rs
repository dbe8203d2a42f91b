//! One memory-mapped register. The promise that an address is one is made where the constant stands, beside its name.

/// A 32-bit register of the processor or of a peripheral.
#[derive(Clone, Copy)]
pub struct Register(usize);

impl Register {
    /// The register at an address.
    ///
    /// # Safety
    /// The address is that of a 32-bit register of this part, aligned, and no access to it changes memory that Rust
    /// knows of.
    pub const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    /// Reads it.
    pub fn read(self) -> u32 {
        // SAFETY: `at` was promised a register of this part.
        unsafe { (self.0 as *const u32).read_volatile() }
    }

    /// Writes it.
    pub fn write(self, value: u32) {
        // SAFETY: `at` was promised a register of this part.
        unsafe { (self.0 as *mut u32).write_volatile(value) }
    }

    /// Clears some bits and sets others. Not atomic: for registers that only one context changes.
    pub fn modify(self, clear: u32, set: u32) {
        self.write((self.read() & !clear) | set);
    }

    /// Whether all bits of a mask are set within a number of reads.
    pub fn wait_set(self, mask: u32, reads: u32) -> bool {
        (0..reads).any(|_| self.read() & mask == mask)
    }
}

/// Names registers of one peripheral by their offsets.
macro_rules! registers {
    ($base:literal: $($(#[$doc:meta])* $name:ident = $offset:literal;)+) => {
        $($(#[$doc])*
        // SAFETY: base and offset are of the part's data sheet (DS-LM3S6965, chapter of the peripheral).
        const $name: $crate::register::Register = unsafe { $crate::register::Register::at($base + $offset) };)+
    };
}
pub(crate) use registers;
