//! The field side measured: how much, how even, how soon, at what cost.
//!
//!     cargo bench -p guanjia-tests --bench field                      everything, about 20 minutes
//!     cargo bench -p guanjia-tests --bench field -- many serial       only these
//!     cargo bench -p guanjia-tests --bench field -- soak --seconds 2900
//!     cargo bench -p guanjia-tests --bench field -- --quick           two minutes: does it measure what it says?
//!
//! | name | what |
//! |---|---|
//! | `many` | 500 devices x 50 points every second: cycles met, jitter, processor beside a bare tokio-modbus loop, memory |
//! | `core` | 2,000 devices x 50 points every second, the gateway on one core |
//! | `serial` | 30 meters on one 9600-baud line, behind a serial server and on a terminal; 3 of them silent |
//! | `outage` | a tenth of the devices hangs or refuses; all restart |
//! | `fast` | 10 devices as fast as it goes, beside the bare loop |
//! | `mqtt` | register change to message (needs mosquitto) |
//! | `scrape` | 50,000 points scraped; do the polls notice? |
//! | `soak` | fast cycles with outages: memory |
//!
//! Devices are one thread of this process ([`plant`]) or a wire true to the character ([`wire`]); the gateway is its
//! real binary, the bare loop and the over-committed lines are this program again in another role, so that the kernel
//! counts the processor time of each. What is compared runs in the same seconds or by turns, on the same devices.
//! Aims are for an idle machine; the load is printed beside the figures, and `--quick` judges none of them.

mod baseline;
mod fast;
mod lines;
mod load;
mod news;
mod numbers;
mod outage;
mod plant;
mod process;
mod rig;
mod serial;
mod site;
mod wire;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use numbers::Aim;

/// All benchmarks, in the order in which they run.
const NAMES: [&str; 8] = ["many", "core", "serial", "outage", "fast", "mqtt", "scrape", "soak"];

/// How much is measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    quick: bool,
    seconds: Option<u64>,
}

impl Extent {
    /// As many as wanted, or `few` when it must be quick.
    pub fn of(self, wanted: usize, few: usize) -> usize {
        if self.quick { few } else { wanted }
    }

    /// How long to count: `--seconds`, or as many as given; a fifteenth of that when it must be quick, and never less
    /// than two seconds.
    pub fn window(self, seconds: u64) -> Duration {
        Duration::from_secs(if self.quick { (seconds / 15).max(2) } else { self.seconds.unwrap_or(seconds) })
    }

    /// The aim; none when it must be quick.
    pub fn aim(self, aim: Aim) -> Aim {
        if self.quick { Aim::Stated } else { aim }
    }
}

/// The arguments that start this program in a role.
pub fn role(name: &str, numbers: &[usize]) -> Vec<String> {
    [name.to_owned()].into_iter().chain(numbers.iter().map(ToString::to_string)).collect()
}

/// The same, for a role that is told a place.
pub fn role_at(name: &str, place: &str, numbers: &[usize]) -> Vec<String> {
    let mut arguments = vec![name.to_owned(), place.to_owned()];
    arguments.extend(numbers.iter().map(ToString::to_string));
    arguments
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = play_role(&arguments) {
        return done;
    }
    let mut extent = Extent::default();
    let mut chosen: Vec<&str> = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            // cargo says this to every benchmark.
            "--bench" => {}
            "--quick" => extent.quick = true,
            "--seconds" => extent.seconds = Some(rest.next().context("--seconds N")?.parse()?),
            name if NAMES.contains(&name) => chosen.push(name),
            other => bail!("unknown benchmark {other:?}; there are {}", NAMES.join(", ")),
        }
    }
    if chosen.is_empty() {
        chosen.extend(NAMES);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        for name in chosen {
            let begun = Instant::now();
            println!("\n== {name}   [{}]", process::machine());
            match name {
                "many" => load::many(extent).await,
                "core" => load::core(extent).await,
                "serial" => serial::serial(extent).await,
                "outage" => outage::outage(extent).await,
                "fast" => fast::fast(extent).await,
                "mqtt" => news::mqtt(extent).await,
                "scrape" => news::scrape(extent).await,
                _ => outage::soak(extent).await,
            }
            .with_context(|| format!("benchmark {name}"))?;
            println!("  [{}, {} s]", process::machine(), begun.elapsed().as_secs());
        }
        Ok(())
    })
}

/// What this program does as a child of itself.
fn play_role(arguments: &[String]) -> Option<anyhow::Result<()>> {
    let number = |i: usize| arguments.get(i).and_then(|text| text.parse::<u16>().ok());
    let narrow = |i: usize| arguments.get(i).and_then(|text| text.parse::<u8>().ok());
    Some(match arguments.first()?.as_str() {
        "baseline" => {
            let (port, devices, millis) = (number(1)?, number(2)?, number(3)?);
            baseline::run(port, usize::from(devices), Duration::from_millis(u64::from(millis)))
        }
        "fast" if arguments.len() > 1 => {
            let (port, devices, reads) = (number(1)?, number(2)?, number(3)?);
            lines::fast(port, usize::from(devices), reads, narrow(4)?)
        }
        "serial" if arguments.len() > 1 => lines::serial(arguments.get(1)?, narrow(2)?, number(3)?),
        _ => return None,
    })
}
