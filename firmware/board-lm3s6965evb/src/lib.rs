//! The part, for both programs of the board: everything that touches a register, and all of the board's `unsafe`.
//!
//! | file | what | data sheet |
//! |---|---|---|
//! | `register` | one register; the promise that it is one | |
//! | `system` | oscillator, clock gates, reset cause | 5 |
//! | `clock` | microseconds (SysTick), tick (timer 0) | 3, 9 |
//! | `interrupts` | which are used | 4 |
//! | `gpio` | pins | 8 |
//! | `uart` | the RS-485 line | 12 |
//! | `i2c` | the bus of the memories and the monitor | 14 |
//! | `monitor`, `memory` | what hangs on it; no register, no `unsafe` | |
//! | `watchdog` | the watchdog | 10 |
//! | `retained` | words that outlive a reset | |
//! | `window` | the RAM in which an update is verified and runs | |
//! | `stack` | how much of it was in use | |

#![no_std]

pub mod clock;
pub mod gpio;
pub mod i2c;
pub mod interrupts;
pub mod memory;
pub mod monitor;
pub mod register;
pub mod retained;
pub mod stack;
pub mod system;
pub mod uart;
pub mod watchdog;
pub mod window;

/// This board, in updates and in the register map.
pub const BOARD_ID: u16 = guanjia_node::board::LM3S6965EVB.id;
