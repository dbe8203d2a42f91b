//! The tools of the command line: what a technician holds in the hand beside a meter.
//!
//! ```text
//!   decode                    words and a display ──► core::guess
//!   read  probe  scan  watch  a line (--link, or --site and --line) ──► field::session ──► the device
//!   write                     the same line ──► field::line, which proves what it wrote
//!   node                      a field node on such a line ──► field::session::NodeSession
//!   listen                    a line of another master ──► field::passive; nothing is sent
//!   watch --api               a running gateway ──► its API
//!   profiles                  the library: which models are known
//! ```
//!
//! * Every tool but `write` and `node` looks only. `write` can say nothing that a profile's settings do not allow; fire panels
//!   and lifts have none. `node` speaks to nobody but a unit that has said that it is a field node.
//! * A line is asked by one program at a time. If the gateway runs, it has the line; the tools say so and point to
//!   `watch --api`, which asks the gateway itself.
//! * Results go to standard output, progress and trouble to standard error. `--json` prints one JSON document (`watch`:
//!   one a line) whose keys stand in each tool's long help and do not change.
//! * The exit code is 0 if the question was answered, 1 if there is no answer or a bad one, and 64 if the question was
//!   put wrongly.

pub mod decode;
mod identify;
pub mod listen;
pub mod node;
pub mod probe;
pub mod profiles;
pub mod read;
pub mod scan;
mod target;
mod text;
pub(crate) mod units;
pub mod watch;
pub mod write;

use std::process::ExitCode;

use crate::config::Report;

/// The end of every long help.
const EXIT_CODES: &str = "\
Exit codes: 0 answered, 1 no answer or a bad one, 64 wrong usage or site file.";

/// Why a tool ends without a result.
#[derive(Debug)]
pub enum Trouble {
    /// The question was put wrongly: exit 64.
    Usage(String),
    /// The site file or a profile is wrong: exit 64.
    Config(Report),
    /// No answer: exit 1.
    NoAnswer(String),
}

impl Trouble {
    /// Says it on standard error.
    fn tell(self) -> ExitCode {
        match self {
            Trouble::Usage(text) => {
                eprintln!("error: {text}");
                ExitCode::from(crate::EXIT_CONFIG)
            }
            Trouble::Config(report) => {
                eprint!("{report}");
                ExitCode::from(crate::EXIT_CONFIG)
            }
            Trouble::NoAnswer(text) => {
                eprintln!("error: {text}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<guanjia_field::session::SessionError> for Trouble {
    fn from(error: guanjia_field::session::SessionError) -> Self {
        match error {
            guanjia_field::session::SessionError::Impossible(text) => Trouble::Usage(text.to_owned()),
            error => Trouble::NoAnswer(error.to_string()),
        }
    }
}

/// The end of a tool: its own exit code, or its trouble told.
fn end(result: Result<ExitCode, Trouble>) -> ExitCode {
    result.unwrap_or_else(Trouble::tell)
}

fn usage(text: impl Into<String>) -> Trouble {
    Trouble::Usage(text.into())
}
