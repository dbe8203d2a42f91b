//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config;
use crate::logging::LogFormat;
use crate::{explain, tool, trace};

/// The steward of a building: meters, fire panels, lifts, duty phones and prepaid utilities from one daemon.
#[derive(Debug, Parser)]
#[command(name = "guanjia", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look after the building described in a site file
    Run {
        /// The site file (see config/site.toml)
        site: PathBuf,
        /// How log lines look
        #[arg(long, value_enum, default_value = "text")]
        log_format: LogFormat,
        /// Stop when standard input closes, as if by SIGTERM: for a parent that must not leave a gateway behind
        #[arg(long, hide = true)]
        until_stdin_closes: bool,
    },
    /// Check a site file and everything it names; prints all errors at once, exits 64 if there are any
    Check {
        /// The site file
        site: PathBuf,
    },
    /// Show what every line is asked, how busy that makes it, and how old each value can become
    Plan(PlanOptions),
    /// Print a JSON Schema, for editors
    Schema {
        /// Of which kind of file
        #[arg(value_enum)]
        what: SchemaKind,
    },
    /// Simulate a building on this machine and look after it: needs nothing but this program
    Demo(DemoOptions),
    /// Make something happen in the running demo: fire-alarm, mains-outage, ...; without a name, list the stories
    Story(StoryOptions),
    /// Decode doctor: from raw registers and the number on the display to type, order and scale
    Decode(tool::decode::Options),
    /// Read one point, or raw registers, and tell how long it took
    Read(tool::read::Options),
    /// Find out what a device is, and dump all its points with quality, raw words and timing
    Probe(tool::probe::Options),
    /// List the models that are known, after reading every profile
    Profiles(tool::profiles::Options),
    /// Find the units on a line, and on a serial port the baud rate and parity
    Scan(tool::scan::Options),
    /// Hear what another master reads on a line, without sending a byte, and learn its units and registers
    Listen(tool::listen::Options),
    /// Tell how a reading of the running gateway came to be, down to the bytes
    ExplainReading(explain::ExplainOptions),
    /// Write what passes on a line of the running gateway into a file
    Capture(trace::capture::CaptureOptions),
    /// Say what every frame of a captured line means, and which the gateway threw away
    Replay(trace::replay::ReplayOptions),
    /// Show the points of a device as they change
    Watch(tool::watch::Options),
    /// Look after a field node: identify, read, set, update its firmware
    Node(tool::node::Options),
    /// Set one setting of a device, read it back, and tell whether it was taken
    Write(tool::write::Options),
}

/// Which schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaKind {
    /// The site file
    Site,
    /// A device profile
    Profile,
}

/// Options of `guanjia plan`.
#[derive(Debug, Args)]
pub struct PlanOptions {
    /// The site file
    pub site: PathBuf,
    /// Every point, with the request that brings it
    #[arg(long)]
    pub points: bool,
    /// Only what differs from this other site file
    #[arg(long, value_name = "OLD", conflicts_with = "points")]
    pub against: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `guanjia demo`.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Where the demo keeps its site file, journal and billing store
    #[arg(long, default_value = "data/demo")]
    pub data: PathBuf,
    /// Forget what earlier demos left there
    #[arg(long)]
    pub fresh: bool,
    /// The console's port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Which building: the same seed makes the same loads
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Simulated seconds per second: how fast the building's day passes
    #[arg(long, default_value_t = 60.0)]
    pub speed: f64,
    /// Let nothing happen by itself; use `guanjia story` to make things happen
    #[arg(long)]
    pub quiet: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Options of `guanjia story`.
#[derive(Debug, Args)]
pub struct StoryOptions {
    /// The story; none lists them all
    pub name: Option<String>,
    /// End the story instead of starting it
    #[arg(long)]
    pub clear: bool,
    /// The directory of the running demo
    #[arg(long, default_value = "data/demo")]
    pub data: PathBuf,
}

/// Prints a schema to standard output.
pub fn print_schema(what: SchemaKind) -> ExitCode {
    let schema = match what {
        SchemaKind::Site => config::site_schema(),
        SchemaKind::Profile => config::profile_schema(),
    };
    println!("{schema}");
    ExitCode::SUCCESS
}
