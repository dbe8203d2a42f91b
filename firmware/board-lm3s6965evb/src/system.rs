//! System control: the oscillator, the clocks of the peripherals, and why the processor started.

use super::register::registers;

registers! { 0x400F_E000:
    /// Raw interrupt status; bit 6 = the PLL is locked.
    RIS = 0x050;
    /// Reset cause; stays until written.
    RESC = 0x05C;
    /// Run-mode clock configuration.
    RCC = 0x060;
    /// Clock gates: watchdog.
    RCGC0 = 0x100;
    /// Clock gates: UART, I2C, timers.
    RCGC1 = 0x104;
    /// Clock gates: ports.
    RCGC2 = 0x108;
}

/// The processor's clock, which everything that measures time counts with.
pub const SYSTEM_HZ: u32 = 12_500_000;

const BYPASS: u32 = 1 << 11;
const OEN_PWRDN: u32 = (1 << 12) | (1 << 13);
const XTAL_MASK: u32 = 0xF << 6;
const XTAL_8_MHZ: u32 = 0xE << 6;
const OSCSRC_MASK: u32 = 0b11 << 4;
const MOSCDIS: u32 = 1;
const SYSDIV_MASK: u32 = 0xF << 23;
/// 200 MHz of the PLL by 16.
const SYSDIV_16: u32 = 0xF << 23;
const USESYSDIV: u32 = 1 << 22;
const PLL_LOCKED: u32 = 1 << 6;

const WATCHDOG_GATE: u32 = 1 << 3;
const UART0_GATE: u32 = 1;
const I2C0_GATE: u32 = 1 << 12;
const TIMER0_GATE: u32 = 1 << 16;
const PORTS_A_TO_F_GATES: u32 = 0b11_1111;

/// Reads of RIS that the PLL may take: a lock takes 0.5 ms, a read at 8 MHz more than 0.5 µs.
const PLL_LOCK_READS: u32 = 20_000;
/// A peripheral answers three cycles after its gate opened.
const GATE_CYCLES: u32 = 8;
/// Cycles in which the crystal comes up.
const CRYSTAL_CYCLES: u32 = 80_000;

/// Bits of [`RESC`].
#[derive(Clone, Copy)]
pub struct ResetFlags(u32);

impl ResetFlags {
    /// The reset input.
    pub fn external(self) -> bool {
        self.0 & 0b0_0001 != 0
    }

    /// The watchdog.
    pub fn watchdog(self) -> bool {
        self.0 & 0b0_1000 != 0
    }

    /// The supply dipped.
    pub fn brown_out(self) -> bool {
        self.0 & 0b0_0100 != 0
    }

    /// Power came.
    pub fn power_on(self) -> bool {
        self.0 & 0b0_0010 != 0
    }
}

/// Reads and clears the causes of the last reset. QEMU always says 0: see [`super::retained`].
pub fn take_reset_flags() -> ResetFlags {
    let flags = RESC.read();
    RESC.write(0);
    ResetFlags(flags)
}

/// Sets the processor to [`SYSTEM_HZ`] from the 8 MHz crystal and switches the peripherals on.
///
/// QEMU starts at this speed and does not wait for a crystal; the steps are those of the data sheet (5.2.4.2). Without
/// a crystal the part stays on what it started with: the node then counts and charges, and is not understood on its bus.
pub fn start() {
    RCC.modify(USESYSDIV, BYPASS);
    RCC.modify(MOSCDIS, 0);
    cortex_m::asm::delay(CRYSTAL_CYCLES);
    RCC.modify(XTAL_MASK | OSCSRC_MASK | OEN_PWRDN, XTAL_8_MHZ);
    RCC.modify(SYSDIV_MASK, SYSDIV_16 | USESYSDIV);
    if RIS.wait_set(PLL_LOCKED, PLL_LOCK_READS) {
        RCC.modify(BYPASS, 0);
    }
    RCGC1.modify(0, UART0_GATE | I2C0_GATE | TIMER0_GATE);
    RCGC2.modify(0, PORTS_A_TO_F_GATES);
    cortex_m::asm::delay(GATE_CYCLES);
}

/// Switches the watchdog's clock on.
pub(crate) fn open_watchdog() {
    RCGC0.modify(0, WATCHDOG_GATE);
    cortex_m::asm::delay(GATE_CYCLES);
}
