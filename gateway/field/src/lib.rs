//! `guanjia-field`: everything that talks to a bus.
//!
//! One task owns one line: the port or socket, the order of requests, the silences, the deadlines. Nobody else touches
//! the bytes, so there is exactly one conversation at a time and nobody can cancel it half way.
//!
//! # Layout
//!
//! * [`link`]: serial port, serial server, TCP, TLS, UDP, modems that dial in; character timing; link errors
//! * `frame`: requests to bytes, bytes to verdicts (pure)
//! * `bus`: one transaction at a time, with every precaution against the answer to another question
//! * [`plan`]: points to reads (pure); [`budget`]: whether they fit the line (pure)
//! * [`line`]: the task: slots, health, back-off, relay commands
//! * [`report`], [`stats`]: what others see of it
//! * [`tap`]: where its bytes can be watched; [`evidence`]: how its last values came to be;
//!   [`doctor`]: what its failures mean; [`sniff`]: frames whose question is not known
//! * [`passive`]: a line of another master, heard only
//! * [`trace`], [`replay`]: a line's bytes as a file, and what they mean
//! * [`rehearsal`]: frames from documents, judged like those of a line
//! * [`session`]: one question and its answer, for the tools of the command line
//!
//! # The one thing that must not happen
//!
//! A value must never appear under another point's name. Modbus RTU has no transaction number, so a late answer looks
//! like the one that is waited for. What is done about it is written down in `bus`. There is no function in this
//! crate's interface that writes to a register: only [`line::LineHandle::relay`], [`line::LineHandle::write`] and
//! [`line::LineHandle::wallet`], which can say nothing but what the device's profile allows, and
//! [`session::NodeSession`], which writes to nobody but a unit that has answered that it is a field node.

pub mod budget;
mod bus;
pub mod clock;
pub mod doctor;
pub mod evidence;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod line;
pub mod link;
pub mod passive;
pub mod plan;
pub mod rehearsal;
pub mod replay;
pub mod report;
pub mod session;
pub mod sniff;
pub mod stats;
pub mod tap;
pub mod trace;

pub use clock::now;
pub use line::{
    CreditFrame, FieldDevice, LineHandle, Periods, RelayCommand, RelayOutcome, SettingCommand, SettingOutcome,
    WalletCommand, WalletOutcome, listen_line, start_dial_in_line, start_line,
};
pub use link::dial_in::{Caller, Carries, DialIn, EntranceConfig, EntranceHandle, start_entrance};
pub use link::tls::TlsFiles;
pub use link::{LineConfig, Link, LinkError, Parity, SerialFormat};
pub use plan::{Layout, Learned, Pace, ReadRequest, plan};
pub use report::{DeviceHealth, FieldReport};
pub use stats::LineStats;
