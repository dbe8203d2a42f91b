//! The field node: the small controller that gives a bus to what has none.
//!
//! A pulse meter, a relay, a valve and the dry contacts of a fire panel or lift become one Modbus RTU slave with a
//! prepaid account for each meter. Everything here is portable: a board (see [`board`]) brings the pins.
//!
//! # Constraints
//!
//! * 32 KiB of flash, 4 KiB of RAM, no heap, no float, no `u64` division, no `unsafe`, and nothing that can panic: what
//!   comes from outside is taken apart with checked access only.
//! * Time is a parameter. [`node::Node::poll`] is called at least once a millisecond with a wrapping µs counter, never
//!   blocks, and does one small step of everything. Pulses are sampled apart from it ([`pulse::Sampler`], from a timer
//!   interrupt), so that neither a long memory write nor the check of a signature costs a pulse.
//! * What a master was told is durable. A write that must last is answered after the journal has been written *and read
//!   back*; if the master has given up and asks anew meanwhile, the late answer is not sent.
//! * Bad input changes nothing: it gets the right exception, or silence where the specification says so.
//! * Nothing here needs the bus: counting, charging, cutting, emergency credit and friendly hours go on with it dead.
//! * Lack of knowledge never cuts anybody: lost state, or an unset clock where friendly hours are configured, hold a cut.
//!
//! # Parts
//!
//! ```text
//!                  ┌────────────── node ──────────────┐
//!  RS-485 ── rtu ──┤ pdu ── registers (map)           │
//!  pulses ─ pulse ─┤ credit ── calendar               ├── output ── relay, valve
//!  loops ─ contact ┤ settings, state ── journal ──────┼── eeprom ── I2C
//!                  │ update ──────────────────────────┼── Staging, Verifier
//!                  └──────────────────────────────────┘
//! ```
//!
//! # An account
//!
//! ```text
//!            balance ≤ warning        balance ≤ limit               window over, clock set, not exempt
//!  IN CREDIT ───────────────► LOW ───────────────────► HELD ─────────────────────────────────────────► CUT
//!      ▲                       │ ▲                      ▲                                               │
//!      │ top-up                │ │   emergency credit: the limit is lowered once, until a top-up       │
//!      └───────────────────────┴─┴── brings the balance above it again ◄───────────────────────────────┘
//! ```
//!
//! A top-up is a compare-and-set on the purchase count, in one write of four registers:
//!
//! ```text
//!  count = stored + 1 ─► over the hoarding limit? ─► refused (exception 3, result 4)
//!                        otherwise ─► journal ─► applied (result 1)
//!  count = stored, same amount  ─► already applied (result 2): the same answer as applied
//!  count = stored, other amount ─► exception 3, result 5
//!  any other count              ─► exception 3, result 3
//!  the memory failed            ─► exception 4, result 7; ask again with the same count, or read the count back
//! ```
//!
//! # An output
//!
//! ```text
//!            target differs          written to the journal       pulse given / limit reached / time over
//!  SETTLED ─────────────────► INTENT ──────────────────────► DRIVEN ──────────────────────────────────► SETTLED
//!                                ▲                             │ limits there, none reached in time
//!                                │ a new command               ▼
//!                                └──────────────────────────JAMMED
//! ```
//!
//! The intent is durable before the first coil moves, so an interrupted move is finished after the restart and a latching
//! relay is never believed to be where it is not. A settled output is not touched at start (keep), unless its safe state
//! says so. What wins: cut for lack of credit, safe state, command, keep.
//!
//! # The journal
//!
//! Two rings in one memory of 8 KiB (24C64 and larger, or FRAM). See [`journal`] for the format.
//!
//! ```text
//!  0x0000  settings  8 slots of 256 bytes
//!  0x0800  state    48 slots of 128 bytes
//!  slot:   seq u32 | kind u8 | version u8 | length u16 | crc32 | payload          (little endian)
//! ```
//!
//! A record goes to slot `seq mod slots`. First the body, page by page; then the first page with number and CRC, which
//! makes it valid; then everything is read back. At start the valid record with the highest number counts, and is written
//! once more, so that a cell which the cut left half programmed is never what an answer rests on.
//!
//! # Endurance
//!
//! A commit writes each page of one slot once, and the first after a start one page twice; a cell takes 1,000,000 writes.
//!
//! * Pulses are saved every minute while they come: 525,600 commits a year over 48 slots = 10,950 writes a slot and year,
//!   91 years.
//! * At the fastest that settings allow ([`node::COMMIT_FLOOR_S`], 10 s, day and night): 65,700 a slot and year, 15 years.
//! * A supply that is always low, with pulses all day: a commit a second, a year and a half; the status bit tells before.
//! * A node that restarts every second: twice 657,000 a year of a slot's first page, nine months, long after somebody has
//!   looked at `boots`.
//! * A top-up a day and four moves of a valve a day: below a tenth of a percent of that.
//! * Settings: 8,000,000 writes; one every ten minutes for 150 years.
//!
//! FRAM (10^13) ends the question.
//!
//! # What a power cut may cost
//!
//! * Pulses since the last commit: at most `commit_interval`, normally none, as the supply watch saves when the voltage
//!   falls, and then every second. That needs 140 ms of hold-up (8 + 4 pages of 6 ms, after a start two more, reading
//!   back); with FRAM 18 ms.
//! * Of a write under way: it is wholly there or not at all, and was not yet answered.
//! * The clock: it must be set again. Until then friendly hours count as holding where any are configured.
//! * A firmware update under way: it begins again. The running image is untouched.
//! * A move under way: it is done once more.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod board;
pub mod bus;
pub mod calendar;
pub mod contact;
pub mod countdown;
pub mod crc;
pub mod credit;
#[cfg(feature = "ed25519")]
pub mod ed25519;
pub mod eeprom;
pub mod journal;
pub mod map;
pub mod node;
pub mod output;
pub mod pdu;
pub mod pulse;
pub mod rtu;
pub mod settings;
pub mod state;
pub mod update;

#[cfg(test)]
mod doubles;
