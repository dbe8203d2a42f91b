//! `guanjia read`: one point, or raw registers.

use std::process::ExitCode;

use clap::Args;
use guanjia_field::session::{Answered, Content, ReadOf, table_name};
use serde_json::{Value, json};

use super::target::{LineOptions, Target, patience};
use super::text::{self, columns, hex, millis};
use super::{EXIT_CODES, Trouble, end, usage};

const LONG_HELP: &str = "\
A point of a device of the site, decoded as the gateway decodes it:

    guanjia read --site site.toml m-101/energy_active_import

Or raw registers of any unit, as TABLE ADDRESS COUNT; the address is the one on the wire, zero based:

    guanjia read --link modbus-tcp://192.0.2.10 --unit 1 holding 0 2
    guanjia read --site site.toml --line rs485-a --unit 7 input 0x0048 2

JSON of a point: {device, point, unit_id, table, address, count, raw, value, text, unit, quality, took_ms}.
JSON of registers: {unit_id, table, address, count, raw, took_ms, asked}; `raw` is numbers, for coils 0 and 1.";

/// Options of `guanjia read`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    #[command(flatten)]
    line: LineOptions,
    /// The address of the device on the line
    #[arg(long, value_name = "N")]
    unit: Option<u8>,
    /// DEVICE/POINT of the site, or TABLE ADDRESS COUNT
    #[arg(required = true, num_args = 1..=3)]
    what: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads and prints.
///
/// # Errors
/// None; trouble is told and becomes the exit code.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    Ok(end(read(&options).await))
}

async fn read(options: &Options) -> Result<ExitCode, Trouble> {
    match &options.what[..] {
        [place] => point(options, place).await,
        [table, address, rest @ ..] => registers(options, table, address, rest.first()).await,
        [] => Err(usage("what? a point of the site, or a table and an address")),
    }
}

async fn point(options: &Options, place: &str) -> Result<ExitCode, Trouble> {
    let (device, point) = place
        .split_once('/')
        .ok_or_else(|| usage(format!("`{place}` is no point; write DEVICE/POINT, or TABLE ADDRESS COUNT")))?;
    let site = options.line.site()?.ok_or_else(|| usage("a point belongs to a site; add --site FILE"))?;
    let Target { mut session, unit, profile, .. } = options.line.device(&site, device)?;
    let profile = profile.ok_or_else(|| usage("a device of the site has a profile"))?;
    let wanted = profile.point(point).ok_or_else(|| {
        let ids: Vec<&str> = profile.points.iter().map(|p| &*p.id).collect();
        usage(format!("`{}` has no point `{point}`; it has {}", profile.id, ids.join(", ")))
    })?;
    let profile = session.introduce(unit, &profile, patience(Some(&profile))).await?;
    let looks = session.look(unit, &profile, patience(Some(&profile)), |i| i == wanted).await?;
    let look = looks.first().ok_or_else(|| Trouble::NoAnswer("this device does not have the point".into()))?;
    let def = &profile.points[wanted];
    if options.json {
        let mut body = super::probe::look_json(look, &profile);
        body["device"] = device.into();
        println!("{body:#}");
    } else {
        let value = look.value.as_ref().map_or_else(|| "no value".to_owned(), |v| text::value(v, def));
        println!("{place} = {value}   {}", text::quality(look.quality));
        if let Some(read) = look.read {
            let took = look.took.map_or_else(String::new, |t| format!(", answered in {}", millis(t)));
            println!(
                "  raw {} in the read of {read}{took}",
                if look.raw.is_empty() { "-".into() } else { hex(&look.raw) }
            );
        }
        if let Some(code) = look.exception {
            println!("  exception {code:02X}: {}", guanjia_field::session::exception_text(code));
        }
    }
    Ok(if look.quality.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn registers(options: &Options, table: &str, address: &str, count: Option<&String>) -> Result<ExitCode, Trouble> {
    let table = text::table(table)?;
    let address = text::number(address, "address")?;
    let count = count.map_or(Ok(1), |c| text::number(c, "count"))?;
    let Target { mut session, unit, profile, .. } = options.line.unit(options.unit)?;
    let read = ReadOf { unit, table, address, count };
    let answered = session.read(read, patience(profile.as_deref())).await?;
    if options.json {
        println!("{:#}", registers_json(read, &answered));
    } else {
        print!("{}", registers_text(read, &answered));
    }
    Ok(ExitCode::SUCCESS)
}

fn raw(content: &Content) -> Vec<u16> {
    match content {
        Content::Words(words) => words.clone(),
        Content::Bits(bits) => bits.iter().map(|b| u16::from(*b)).collect(),
    }
}

fn registers_json(read: ReadOf, answered: &Answered) -> Value {
    json!({
        "unit_id": read.unit,
        "table": table_name(read.table),
        "address": read.address,
        "count": read.count,
        "raw": raw(&answered.content),
        "took_ms": answered.took.as_secs_f64() * 1e3,
        "asked": answered.asked,
    })
}

fn registers_text(read: ReadOf, answered: &Answered) -> String {
    let again = if answered.asked > 1 { format!(", asked {} times", answered.asked) } else { String::new() };
    let head = format!("{read}: answered in {}{again}\n", millis(answered.took));
    let address = |i: usize| (u32::from(read.address) + i as u32).to_string();
    match &answered.content {
        Content::Bits(bits) => {
            let row = |(i, bit): (usize, &bool)| vec![address(i), u8::from(*bit).to_string()];
            head + &columns(&bits.iter().enumerate().map(row).collect::<Vec<_>>())
        }
        Content::Words(words) => {
            let mut rows = vec![["address", "hex", "u16", "i16"].map(String::from).to_vec()];
            rows.extend(
                words
                    .iter()
                    .enumerate()
                    .map(|(i, w)| vec![address(i), format!("{w:04X}"), w.to_string(), (*w as i16).to_string()]),
            );
            let hint = format!(
                "What it means: guanjia decode --address {} --words \"{}\" --shows NUMBER_ON_THE_DISPLAY\n",
                read.address,
                hex(words)
            );
            head + &columns(&rows) + &hint
        }
    }
}
