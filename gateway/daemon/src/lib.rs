//! `guanjia`: the steward of a building, as a library that has one door, [`main`], and one for fuzz targets, [`fuzzing`].
//!
//! This file is the life of the process; everything it names lives in a module of its own.

mod alarms;
mod ask;
mod cli;
mod clock;
mod config;
mod demo;
mod device_clock;
mod explain;
mod field_thread;
mod forward;
pub mod fuzzing;
mod http;
mod hub;
mod line_plan;
mod live;
mod logging;
mod metrics;
mod mqtt;
mod notify;
mod pager;
mod prepaid;
mod receipt;
mod run;
mod site;
mod tasks;
mod tool;
mod trace;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// Exit code of a wrong configuration or command line (`EX_USAGE` of sysexits.h, as linkers of service managers know it).
pub const EXIT_CONFIG: u8 = 64;

/// Does what the command line says, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are printed to standard output and are no mistakes.
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS };
            return if error.print().is_ok() { code } else { ExitCode::FAILURE };
        }
    };
    match cli.command {
        Command::Check { site } => config::check(&site),
        Command::Plan(options) => line_plan::run(&options),
        Command::Schema { what } => cli::print_schema(what),
        Command::Run { site, log_format, until_stdin_closes } => {
            logging::start(log_format);
            let parent = if until_stdin_closes { run::Parent::HoldsStdin } else { run::Parent::None };
            block_on(run::run(&site, parent))
        }
        Command::Demo(options) => {
            logging::start(options.log_format);
            block_on(demo::run(options))
        }
        Command::Story(options) => block_on(demo::story(options)),
        Command::Decode(options) => tool::decode::run(&options),
        Command::Read(options) => block_on(tool::read::run(options)),
        Command::Probe(options) => block_on(tool::probe::run(options)),
        Command::Profiles(options) => tool::profiles::run(&options),
        Command::Scan(options) => block_on(tool::scan::run(options)),
        Command::Listen(options) => block_on(tool::listen::run(options)),
        Command::ExplainReading(options) => block_on(explain::run(options)),
        Command::Capture(options) => block_on(trace::capture::run(options)),
        Command::Replay(options) => trace::replay::run(&options).unwrap_or_else(failed),
        Command::Watch(options) => block_on(tool::watch::run(options)),
        Command::Node(options) => block_on(tool::node::run(options)),
        Command::Write(options) => block_on(tool::write::run(options)),
    }
}

/// Says why a command failed.
fn failed(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn block_on(life: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: another crypto provider is already installed in this process");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the asynchronous runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(life);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match code {
        Ok(code) => code,
        Err(error) => failed(error),
    }
}
