//! Time: a free-running SysTick for the microseconds, and a timer that ticks once a millisecond.
//!
//! * The microseconds never come from counting ticks: an emulator on a busy host, or a long critical section, loses some.
//! * SysTick runs down for 1.25 s, the longest whole period of its 24 bits; its exception counts the ends. How the time is
//!   made of both, and why it does not step back, is told in [`guanjia_node::countdown`].
//! * What that needs: the exception runs once a period. A period is longer than both time-outs of the watchdog together, so
//!   whatever keeps the exception from running for that long has reset the part before. And it is as urgent as whatever
//!   reads the time in an interrupt, so that nothing does so in the middle of it.

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use embedded_hal::delay::DelayNs;
use guanjia_node::board::Clock;
use guanjia_node::countdown::Countdown;

use super::register::registers;
use super::system::SYSTEM_HZ;
use super::watchdog;

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

const COUNTDOWN: Countdown = Countdown {
    period_us: 1_250_000,
    // 12.5 cycles make a microsecond.
    half_cycles_per_us: match NonZeroU32::new(SYSTEM_HZ / 500_000) {
        Some(half_cycles) => half_cycles,
        None => NonZeroU32::MIN,
    },
};
const _: () = assert!(COUNTDOWN.period_cycles() as u64 * 1_000_000 == COUNTDOWN.period_us as u64 * SYSTEM_HZ as u64);
const _: () = assert!(COUNTDOWN.period_cycles() <= 1 << 24);
const _: () = assert!(COUNTDOWN.period_us > 2 * watchdog::STEP_MS * 1_000);

/// Reads in which SysTick loads its period: one cycle.
const LOAD_READS: u32 = 100;

/// Ends of SysTick that its exception has seen.
static ENDS: AtomicU32 = AtomicU32::new(0);

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
        timer.set_reload(COUNTDOWN.period_cycles() - 1);
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
            COUNTDOWN.micros(ENDS.load(Ordering::Relaxed), SYST::get_current, SCB::is_pendst_pending)
        })
    }
}

/// Counts an end of SysTick; for its exception only.
pub fn ended() {
    ENDS.store(ENDS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
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
