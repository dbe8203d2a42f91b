//! `guanjia node`: a field node in a technician's hands.
//!
//! ```text
//!   identify        what it is, which firmware, why it last started          function 43 and its registers
//!   map             every register of the node, as a table                   functions 3
//!   set-address, set-baud      the line; in force after the answer           written, then looked for at the new place
//!   set-price, set-limits      an account                                    written, then read back
//!   set-clock, clear-tamper    orders
//!   update FILE     a new firmware                                           functions 21 and 20, see `update`
//!   keygen, pack    the maker's key, and a firmware signed with it           no node at all, see `pack`
//! ```
//!
//! * Nothing is written before the unit has said that it is a field node ([`NodeSession::meet`]); a wrong address on the
//!   command line costs nothing.
//! * The ranges are those of the node's own register map, the one that its firmware is built from. They are checked here,
//!   so that a mistake is told in words, and by the node, which is what counts.
//! * What was written is read back, except orders, which a register shows in another way.

mod pack;
mod table;
mod update;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use guanjia_core::profile::{ByteCount, UnitEcho};
use guanjia_field::session::{NodeSession, Patience, Session, SessionError};
use guanjia_field::{LineConfig, Link};
use guanjia_node::map::{self, Id, REGISTERS};
use jiff::tz::TimeZone;
use serde_json::json;

use super::target::{LineOptions, check_unit};
use super::write::yes;
use super::{EXIT_CODES, Trouble, end, usage};

/// How long a node may think: a write is answered when it is in the memory and was read back.
const RESPONSE_MAX: Duration = Duration::from_secs(1);
/// How often a node is asked.
const ATTEMPTS: u32 = 3;
/// How long a node takes to be there at a new address or speed.
const SETTLE: Duration = Duration::from_millis(300);
/// Decimals of a price, in minor units.
const PRICE_DECIMALS: usize = 4;

const LONG_HELP: &str = "Examples; a link with ? or & in it stands in quotes, or the shell takes it apart:

    guanjia node identify --link '/dev/serial/by-id/NAME?baud=9600&parity=even' --unit 1
    guanjia node set-price --link 'rtu-over-tcp://192.0.2.11:4001?parity=even' --unit 1 --channel 2 0.2850
    guanjia node update --site site.toml --line rs485-a --unit 1 node-1.2.0.gjnf
    guanjia node pack update.elf --version 1.2.0 --board lm3s6965evb --key maker.pem --output node-1.2.0.gjnf

A new node is 9600 8E1, address 1. Money is in minor units (fen). Stop the gateway first if it has the line.";

/// Options of `guanjia node`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Tell what it is, which firmware it runs, and why and when it last started
    Identify(Where),
    /// Show every register of the node
    Map(Where),
    /// Give it another address, for when its switches are all off
    SetAddress {
        #[command(flatten)]
        at: Where,
        /// 1 to 247
        address: u8,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Give its line another speed
    SetBaud {
        #[command(flatten)]
        at: Where,
        /// Bits per second
        baud: Baud,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Set the price of one pulse of a channel, in minor units with up to four decimals
    SetPrice {
        #[command(flatten)]
        at: Where,
        /// 1 to 4
        #[arg(long, value_name = "N")]
        channel: u16,
        /// Such as 0.2850
        price: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Set the limits of a channel's account, in minor units
    SetLimits {
        #[command(flatten)]
        at: Where,
        /// 1 to 4
        #[arg(long, value_name = "N")]
        channel: u16,
        /// A top-up above this balance is refused
        #[arg(long, value_name = "AMOUNT")]
        hoarding: Option<i64>,
        /// At or below, the account is low
        #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
        warning: Option<i64>,
        /// At or below, the supply is cut
        #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
        cut: Option<i64>,
        /// Emergency credit below the cut limit; 0 for none
        #[arg(long, value_name = "AMOUNT")]
        emergency: Option<i64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Set its clock to the local time of the site, or of this machine without --site
    SetClock(Where),
    /// Clear its tamper latch
    ClearTamper(Where),
    /// Give it a new firmware, with a progress bar; after a cut the same command goes on where it was
    Update(update::Options),
    /// Make the key that a maker signs firmware with; prints its public half
    Keygen(pack::KeyOptions),
    /// Make a package for `update` of a firmware, signed by its maker
    Pack(pack::Options),
}

/// Which node.
#[derive(Clone, Debug, Args)]
pub(super) struct Where {
    #[command(flatten)]
    line: LineOptions,
    /// The node's address on the line
    #[arg(long, value_name = "N")]
    unit: Option<u8>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A speed the node knows, with its code in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Baud {
    #[value(name = "1200")]
    B1200,
    #[value(name = "2400")]
    B2400,
    #[value(name = "4800")]
    B4800,
    #[value(name = "9600")]
    B9600,
    #[value(name = "19200")]
    B19200,
    #[value(name = "38400")]
    B38400,
    #[value(name = "57600")]
    B57600,
    #[value(name = "115200")]
    B115200,
}

impl Baud {
    fn code(self) -> u32 {
        self as u32
    }

    fn bits(self) -> u32 {
        [1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200][self as usize]
    }
}

/// Does it and tells what came of it.
///
/// # Errors
/// None; trouble is told and becomes the exit code.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let done = match options.what {
        What::Identify(at) => identify(&at).await,
        What::Map(at) => show(&at).await,
        What::SetAddress { at, address, yes } => set_address(&at, address, yes).await,
        What::SetBaud { at, baud, yes } => set_baud(&at, baud, yes).await,
        What::SetPrice { at, channel, price, yes } => set_price(&at, channel, &price, yes).await,
        What::SetLimits { at, channel, hoarding, warning, cut, emergency, yes } => {
            let limits = [
                (Id::HoardingLimit, hoarding),
                (Id::WarningLevel, warning),
                (Id::CutLimit, cut),
                (Id::EmergencyLimit, emergency),
            ];
            set_limits(&at, channel, &limits, yes).await
        }
        What::SetClock(at) => set_clock(&at).await,
        What::ClearTamper(at) => clear_tamper(&at).await,
        What::Update(options) => update::run(&options).await,
        What::Keygen(options) => pack::keygen(&options),
        What::Pack(options) => pack::pack(&options),
    };
    Ok(end(done))
}

impl Where {
    /// The line and the address, before anything is asked.
    fn place(&self) -> Result<(LineConfig, u8), Trouble> {
        let target = self.line.unit(self.unit)?;
        Ok((target.line, target.unit))
    }

    /// The node there.
    async fn node(&self) -> Result<NodeSession, Trouble> {
        let (line, unit) = self.place()?;
        Ok(meet(line, unit).await?)
    }
}

async fn meet(line: LineConfig, unit: u8) -> Result<NodeSession, SessionError> {
    let patience = Patience {
        response_max: RESPONSE_MAX,
        silence_min: Duration::ZERO,
        attempts: ATTEMPTS,
        unit_echo: UnitEcho::default(),
        byte_count: ByteCount::default(),
    };
    NodeSession::meet(Session::new(line), unit, patience).await
}

async fn identify(at: &Where) -> Result<ExitCode, Trouble> {
    let mut node = at.node().await?;
    let objects = node.identity().await?;
    let named = |id: u8| objects.iter().find(|(other, _)| *other == id).map_or("", |(_, text)| text.as_str());
    let words = node.read(0, table::HEAD_WORDS).await?;
    let head = table::Head::of(&words).ok_or_else(|| Trouble::NoAnswer("the node's answer is too short".to_owned()))?;
    if at.json {
        println!("{:#}", head.json(node.unit(), named(0), named(1), named(2)));
    } else {
        let (vendor, product) = (named(0), named(1));
        println!("unit {}: {vendor} {product}, firmware {}, build {}", node.unit(), head.firmware(), head.build);
        print!("{}", head.text());
    }
    if head.map_version != map::MAP_VERSION {
        eprintln!(
            "warning: the node speaks version {} of the register map and this program version {}: update the older one",
            head.map_version,
            map::MAP_VERSION
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(at: &Where) -> Result<ExitCode, Trouble> {
    let mut node = at.node().await?;
    let rows = table::read(&mut node).await?;
    if at.json {
        let registers: Vec<_> = rows.iter().map(table::Row::json).collect();
        println!("{:#}", json!({ "unit_id": node.unit(), "registers": registers }));
    } else {
        print!("{}", table::text(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_address(at: &Where, address: u8, is_sure: bool) -> Result<ExitCode, Trouble> {
    let (line, old) = at.place()?;
    check_unit(&line.link, address)?;
    // One session at a time: many serial servers take one connection only.
    let free = |met| matches!(met, Err(SessionError::Silent { .. } | SessionError::Cut { .. }));
    if address != old && !free(meet(line, address).await) {
        return Err(usage(format!("another unit on this line has address {address}; choose a free one")));
    }
    let mut node = at.node().await?;
    confirm(is_sure, &format!("change the address of unit {} to {address}", node.unit()))?;
    let (before, in_use) = (node.value(Id::Address, 0).await?, node.value(Id::AddressInUse, 0).await?);
    answered(node.write_once(Id::Address, u32::from(address)).await)?;
    if before != in_use {
        println!("written; the node's switches say {in_use}, so it has address {address} once they are all off");
        return Ok(ExitCode::SUCCESS);
    }
    drop(node);
    tokio::time::sleep(SETTLE).await;
    let (line, _) = at.place()?;
    match meet(line, address).await {
        Ok(_) => {
            println!("unit {old} has address {address} now; change it in the site file");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(Trouble::NoAnswer(format!(
            "the node was told, and does not answer at {address} ({error}); look for it with guanjia scan"
        ))),
    }
}

async fn set_baud(at: &Where, baud: Baud, is_sure: bool) -> Result<ExitCode, Trouble> {
    let mut node = at.node().await?;
    confirm(is_sure, &format!("change the speed of unit {} to {} Bd", node.unit(), baud.bits()))?;
    let unit = node.unit();
    answered(node.write_once(Id::Baud, baud.code()).await)?;
    drop(node);
    tokio::time::sleep(SETTLE).await;
    let (mut line, _) = at.place()?;
    let in_our_hands = match &mut line.link {
        Link::Serial { format, .. } | Link::AsciiSerial { format, .. } => {
            format.baud = baud.bits();
            true
        }
        _ => false,
    };
    match meet(line, unit).await {
        Ok(_) => {
            println!(
                "unit {unit} speaks {} Bd now; change it in the site file, for all devices on the line",
                baud.bits()
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if in_our_hands => Err(Trouble::NoAnswer(format!(
            "the node was told, and does not answer at {} Bd ({error}); look for it with guanjia scan --sweep",
            baud.bits()
        ))),
        Err(_) => {
            println!(
                "the node was told; set the serial server to {} Bd now, then run guanjia node identify",
                baud.bits()
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn set_price(at: &Where, channel: u16, price: &str, is_sure: bool) -> Result<ExitCode, Trouble> {
    let raw = fixed(price, PRICE_DECIMALS).ok_or_else(|| {
        usage(format!("`{price}` is no price; write minor units with up to four decimals, such as 0.2850"))
    })?;
    set(at, channel, &[(Id::Price, raw)], is_sure).await
}

async fn set_limits(
    at: &Where,
    channel: u16,
    limits: &[(Id, Option<i64>)],
    is_sure: bool,
) -> Result<ExitCode, Trouble> {
    let wanted: Vec<(Id, i64)> = limits.iter().filter_map(|(id, limit)| Some((*id, (*limit)?))).collect();
    if wanted.is_empty() {
        return Err(usage("which limit? add --hoarding, --warning, --cut or --emergency"));
    }
    set(at, channel, &wanted, is_sure).await
}

/// Writes settings of a channel and reads each back.
async fn set(at: &Where, channel: u16, wanted: &[(Id, i64)], is_sure: bool) -> Result<ExitCode, Trouble> {
    let channels = map::CHANNELS as u16;
    if channel == 0 || channel > channels {
        return Err(usage(format!("there is no channel {channel}; a node has 1 to {channels}")));
    }
    let mut raws = Vec::with_capacity(wanted.len());
    for (id, value) in wanted {
        let register = &REGISTERS[*id as usize];
        let (least, most) = register.range;
        if *value < least || *value > most {
            let range = format!("{} to {}", table::scaled(least, register.scale), table::scaled(most, register.scale));
            return Err(usage(format!("{} is {range}", register.name)));
        }
        // The range of every setting lies within its 32 bits.
        raws.push((*id, (*value & 0xFFFF_FFFF) as u32));
    }
    let mut node = at.node().await?;
    let names: Vec<&str> = raws.iter().map(|(id, _)| REGISTERS[*id as usize].name).collect();
    confirm(is_sure, &format!("set {} of channel {channel} of unit {}", names.join(", "), node.unit()))?;
    let mut told = Vec::new();
    for (id, raw) in raws {
        let register = &REGISTERS[id as usize];
        let before = node.value(id, channel - 1).await?;
        node.write(id, channel - 1, raw).await?;
        let shown = node.value(id, channel - 1).await?;
        if shown != raw {
            return Err(Trouble::NoAnswer(format!(
                "{} was written and reads {} now: somebody else sets it too; stop the gateway and try again",
                register.name,
                table::value(register, shown)
            )));
        }
        told.push((register, table::value(register, before), table::value(register, shown)));
    }
    if at.json {
        let list: Vec<_> = told
            .iter()
            .map(|(r, before, now)| json!({ "name": r.name, "channel": channel, "before": before, "now": now }))
            .collect();
        println!("{:#}", json!({ "unit_id": node.unit(), "settings": list }));
    } else {
        for (register, before, now) in told {
            println!("{} of channel {channel}: {now}; it was {before}", register.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_clock(at: &Where) -> Result<ExitCode, Trouble> {
    let not_set = || usage("this machine's clock is not set; set it first");
    // Friendly hours are the site's.
    let zone = at.line.site()?.map_or_else(TimeZone::system, |site| site.zone);
    let mut node = at.node().await?;
    let now = jiff::Timestamp::from_millisecond(guanjia_field::now().as_millis()).map_err(|_| not_set())?;
    let seconds = now.as_second() + i64::from(zone.to_offset(now).seconds());
    let raw = u32::try_from(seconds).ok().filter(|raw| *raw > 0).ok_or_else(not_set)?;
    node.write(Id::Clock, 0, raw).await?;
    println!("the clock of unit {} is {:.0} now", node.unit(), zone.to_datetime(now));
    Ok(ExitCode::SUCCESS)
}

async fn clear_tamper(at: &Where) -> Result<ExitCode, Trouble> {
    let mut node = at.node().await?;
    node.write(Id::ClearTamper, 0, 1).await?;
    // Bits 1 and 2 of the status: open now, opened since cleared.
    let status = node.value(Id::Status, 0).await?;
    if status & 0b110 != 0 {
        return Err(Trouble::NoAnswer("the cover is still open; close it, then clear it again".to_owned()));
    }
    println!("the tamper latch of unit {} is cleared", node.unit());
    Ok(ExitCode::SUCCESS)
}

/// A lost answer to an order that changes the line is no failure: the node is looked for afterwards.
fn answered(written: Result<(), SessionError>) -> Result<(), Trouble> {
    match written {
        Ok(()) | Err(SessionError::Silent { .. } | SessionError::Garbled { .. } | SessionError::Cut { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Somebody has to say yes.
fn confirm(is_sure: bool, what: &str) -> Result<(), Trouble> {
    if is_sure {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(usage("nobody is there to say yes; add --yes if you mean it"));
    }
    if yes(&format!("{what}?"))? { Ok(()) } else { Err(Trouble::NoAnswer("nothing was sent".to_owned())) }
}

/// A number with at most so many decimals, as a whole number of its last one.
fn fixed(text: &str, decimals: usize) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) || part.len() > decimals || text.ends_with('.') {
        return None;
    }
    format!("{whole}{part:0<decimals$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_exact_or_refused() {
        let cases = [("0.2850", Some(2_850)), ("12", Some(120_000)), ("1.5", Some(15_000)), ("0", Some(0))];
        for (text, raw) in cases {
            assert_eq!(fixed(text, 4), raw, "{text}");
        }
        for text in ["", ".5", "1.", "1.23456", "-1", "1e3", "1,5", " 1", "99999999999999999999"] {
            assert_eq!(fixed(text, 4), None, "{text}");
        }
    }

    #[test]
    fn every_speed_has_the_code_of_the_map() {
        let doc = REGISTERS[Id::Baud as usize].doc;
        for baud in Baud::value_variants() {
            assert!(doc.contains(&format!("{} {}", baud.code(), baud.bits())), "{doc}");
        }
    }
}
