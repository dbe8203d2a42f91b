//! Time: a free-running SysTick for the microseconds, and a timer that ticks once a millisecond.
//!
//! The microseconds never come from counting ticks: an emulator on a busy host, or a long critical section, loses some.
//! SysTick runs down from 249,999 µs; its overflow is counted by its exception, and one that is pending but not yet
//! counted is seen in the same reading, so that the time never steps back.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use embedded_hal::delay::DelayNs;
use guanjia_node::board::Clock;

use super::register::registers;
use super::system::SYSTEM_HZ;

registers! { 0x4003_0000:
    /// Width of timer 0: 0 = 32 bits.
    GPTMCFG = 0x000;
    /// Mode: 2 = periodic.
    GPTMTAMR = 0x004;
    /// Bit 0 starts it.
    GPTMCTL = 0x00C;
    /// Interrupts let through; bit 0 = time-out.
    GPTMIMR = 0x018;
    /// Interrupts cleared.
    GPTMICR = 0x024;
    /// Cycles of one period.
    GPTMTAILR = 0x028;
}

/// Time from one tick to the next.
pub const TICK_US: u32 = 1_000;

const PERIOD_US: u32 = 250_000;
const PERIOD_CYCLES: u32 = SYSTEM_HZ / 1_000_000 * PERIOD_US + SYSTEM_HZ % 1_000_000 / 1_000 * (PERIOD_US / 1_000);
/// 12.5 cycles make a microsecond.
const HALF_CYCLES_PER_US: u32 = SYSTEM_HZ / 500_000;

/// Reads in which SysTick loads its period: one cycle.
const LOAD_READS: u32 = 100;

static PERIODS: AtomicU32 = AtomicU32::new(0);

/// The clock of the processor.
#[derive(Clone, Copy)]
pub struct SysTickClock(());

impl SysTickClock {
    /// The clock; [`SysTickClock::start`] makes it run.
    pub const fn the() -> Self {
        Self(())
    }

    /// Starts it.
    pub fn start(self, mut timer: SYST) {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(PERIOD_CYCLES - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        // It shows 0 until it has loaded its period, which would be read as the end of one.
        for _ in 0..LOAD_READS {
            if SYST::get_current() != 0 {
                break;
            }
        }
    }
}

impl Clock for SysTickClock {
    fn micros(&self) -> u32 {
        cortex_m::interrupt::free(|_| {
            let before = SYST::get_current();
            let pending = SCB::is_pendst_pending();
            // With an overflow pending the first reading may be from either side of it: the second is from after it.
            let left = if pending { SYST::get_current() } else { before };
            let periods = PERIODS.load(Ordering::Relaxed).wrapping_add(u32::from(pending));
            let cycles = match left {
                // It stands at the overflow: before it while that is not pending, else behind it.
                0 if pending => 0,
                0 => PERIOD_CYCLES - 1,
                _ => PERIOD_CYCLES.saturating_sub(left),
            };
            let gone = cycles * 2 / HALF_CYCLES_PER_US;
            periods.wrapping_mul(PERIOD_US).wrapping_add(gone)
        })
    }
}

/// Counts an overflow of SysTick; for its exception only.
pub fn overflowed() {
    PERIODS.store(PERIODS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Starts the tick.
pub fn start_tick() {
    GPTMCTL.write(0);
    GPTMCFG.write(0);
    GPTMTAMR.write(2);
    GPTMTAILR.write(SYSTEM_HZ / 1_000_000 * TICK_US + SYSTEM_HZ % 1_000_000 / 1_000 * (TICK_US / 1_000) - 1);
    GPTMIMR.write(1);
    GPTMCTL.write(1);
}

/// Ends the interrupt of a tick.
pub fn tick_seen() {
    GPTMICR.write(1);
}

/// Waits by the clock.
pub struct Delay(pub SysTickClock);

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        let from = self.0.micros();
        // The microsecond under way does not count.
        let whole = ns.div_ceil(1_000).saturating_add(1);
        while self.0.micros().wrapping_sub(from) < whole {}
    }
}
