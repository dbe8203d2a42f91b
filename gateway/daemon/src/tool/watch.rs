//! `guanjia watch`: the points of a device as they change.
//!
//! On a terminal the table is drawn in place; piped into something each change is one line. Values come from the device
//! itself, or with `--api` from a running gateway, which has the line and must not be disturbed on it.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::target::{self, LibraryOptions, LineOptions, Target, patience};
use super::text::{self, columns, hex};
use super::{EXIT_CODES, Trouble, end, usage};

/// How long the gateway may take to answer.
const API_MAX: Duration = Duration::from_secs(10);

const LONG_HELP: &str = "\
    guanjia watch --site site.toml m-101
    guanjia watch --link modbus-tcp://192.0.2.10 --unit 1 --profile eastron_sdm630
    guanjia watch --api http://192.0.2.20:8080 --token-file secrets/reader.token m-101

The last one asks the running gateway (an [api_client] that may `read`) and leaves its lines alone.

JSON: one object a line for each change: {at, device, point, value, text, unit, quality}.
Ctrl-C ends it. Exit code 1 if the last round brought nothing.";

/// Options of `guanjia watch`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    #[command(flatten)]
    line: LineOptions,
    #[command(flatten)]
    library: LibraryOptions,
    /// The address of the device on the line
    #[arg(long, value_name = "N")]
    unit: Option<u8>,
    /// Its model, if it is no device of the site
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// A running gateway: http://HOST:PORT
    #[arg(long, value_name = "URL", conflicts_with_all = ["link", "site", "unit", "profile"])]
    api: Option<String>,
    /// A file with the bearer token for --api
    #[arg(long, value_name = "FILE", requires = "api")]
    token_file: Option<PathBuf>,
    /// A device of the site file, or of the running gateway
    device: Option<String>,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// End after so many looks
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
    /// Print JSON, one line a change
    #[arg(long)]
    json: bool,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    point: String,
    value: Value,
    /// The exact value; empty without one.
    text: String,
    unit: String,
    quality: String,
    /// When the device said so; empty if it is now.
    at: String,
    raw: String,
}

impl Row {
    /// What makes two rows the same to a reader; the time of a value that did not change is not news.
    fn news(&self) -> (&str, &str) {
        (&self.text, &self.quality)
    }
}

/// Where the values come from.
enum Origin {
    Line(Box<Target>),
    Api { client: reqwest::Client, url: String, token: Option<String>, device: String },
}

/// Watches until Ctrl-C.
///
/// # Errors
/// None; trouble is told and becomes the exit code.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let pressed = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            pressed.cancel();
        }
    });
    Ok(end(watch(&options, stop).await))
}

async fn watch(options: &Options, stop: CancellationToken) -> Result<ExitCode, Trouble> {
    let mut origin = origin(options)?;
    let name = origin.name();
    let redraw = std::io::stdout().is_terminal() && !options.json;
    let mut known: BTreeMap<String, Row> = BTreeMap::new();
    let (mut round, mut last) = (0, ExitCode::FAILURE);
    let mut ticks = tokio::time::interval(Duration::from_secs(options.every));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while options.rounds.is_none_or(|n| round < n) {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        round += 1;
        match origin.look().await {
            Ok(rows) => {
                last = ExitCode::SUCCESS;
                if redraw {
                    draw(&name, &rows);
                } else {
                    tell(&name, &rows, &known, options.json);
                }
                known = rows.into_iter().map(|r| (r.point.clone(), r)).collect();
            }
            // A device that is away may come back; a question that is wrong stays wrong.
            Err(Trouble::NoAnswer(text)) => {
                last = ExitCode::FAILURE;
                eprintln!("{} {text}", guanjia_field::now());
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(last)
}

fn origin(options: &Options) -> Result<Origin, Trouble> {
    if let Some(base) = &options.api {
        let device = options.device.clone().ok_or_else(|| usage("which device? name it as the site file does"))?;
        let token = options.token_file.as_ref().map(|file| {
            std::fs::read_to_string(file)
                .map(|t| t.trim().to_owned())
                .map_err(|e| usage(format!("{} cannot be read: {e}", file.display())))
        });
        let url = format!("{}/api/v1/devices/{device}", base.trim_end_matches('/'));
        let client = reqwest::Client::builder().no_proxy().timeout(API_MAX).build();
        let client = client.map_err(|e| Trouble::NoAnswer(format!("no HTTP client: {e}")))?;
        return Ok(Origin::Api { client, url, token: token.transpose()?, device });
    }
    let mut target = match &options.device {
        Some(id) => {
            let site =
                options.line.site()?.ok_or_else(|| usage("a device belongs to a site; add --site FILE or --api"))?;
            options.line.device(&site, id)?
        }
        None => options.line.unit(options.unit)?,
    };
    if let Some(id) = &options.profile {
        target.profile = Some(target::profile(&options.library, id)?);
    }
    if target.profile.is_none() {
        return Err(usage("which model is it? add --profile ID; guanjia probe finds out"));
    }
    Ok(Origin::Line(Box::new(target)))
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Origin::Line(target) => target.name.clone(),
            Origin::Api { device, .. } => device.clone(),
        }
    }

    async fn look(&mut self) -> Result<Vec<Row>, Trouble> {
        match self {
            Origin::Line(target) => from_line(target).await,
            Origin::Api { client, url, token, device } => from_api(client, url, token.as_deref(), device).await,
        }
    }
}

async fn from_line(target: &mut Target) -> Result<Vec<Row>, Trouble> {
    let Some(profile) = target.profile.clone() else { return Ok(Vec::new()) };
    let profile = target.session.introduce(target.unit, &profile, patience(Some(&profile))).await?;
    let looks = target.session.look(target.unit, &profile, patience(Some(&profile)), |_| true).await?;
    let row = |look: &guanjia_field::session::Look| {
        let def = &profile.points[look.point];
        Row {
            point: def.id.to_string(),
            value: text::value_json(look.value.as_ref()),
            text: look.value.as_ref().map(ToString::to_string).unwrap_or_default(),
            unit: def.unit.clone(),
            quality: text::quality(look.quality),
            at: String::new(),
            raw: hex(&look.raw),
        }
    };
    Ok(looks.iter().map(row).collect())
}

async fn from_api(client: &reqwest::Client, url: &str, token: Option<&str>, device: &str) -> Result<Vec<Row>, Trouble> {
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request
        .send()
        .await
        .map_err(|e| Trouble::NoAnswer(format!("the gateway does not answer at {url}: {}", e.without_url())))?;
    match answer.status().as_u16() {
        200 => {}
        401 | 403 => {
            return Err(usage(
                "the gateway wants a token that may `read`: make an [api_client] in the site file and give its secret with \
                 --token-file",
            ));
        }
        404 => return Err(usage(format!("the gateway has no device `{device}`"))),
        code => return Err(Trouble::NoAnswer(format!("the gateway answers {code} at {url}"))),
    }
    let body: Value = answer.json().await.map_err(|e| Trouble::NoAnswer(format!("no JSON came: {e}")))?;
    let text = |point: &Value, key: &str| point[key].as_str().unwrap_or_default().to_owned();
    let row = |point: &Value| {
        let why = point["why"].as_str().map_or_else(String::new, |why| format!(": {why}"));
        Row {
            point: text(point, "id"),
            value: point["value"].clone(),
            text: text(point, "text"),
            unit: text(point, "unit"),
            quality: point["quality"].as_str().unwrap_or("bad").to_owned() + &why,
            at: text(point, "at"),
            raw: String::new(),
        }
    };
    Ok(body["points"].as_array().map(|points| points.iter().map(row).collect()).unwrap_or_default())
}

/// The whole table, over the one before.
fn draw(name: &str, rows: &[Row]) {
    let mut cells = vec![["point", "value", "quality", "raw", "said at"].map(String::from).to_vec()];
    cells.extend(rows.iter().map(|r| {
        let value = if r.text.is_empty() { "-".to_owned() } else { format!("{} {}", r.text, r.unit) };
        vec![r.point.clone(), value, r.quality.clone(), r.raw.clone(), r.at.clone()]
    }));
    print!("\x1b[H\x1b[J{name}   {}\n{}", guanjia_field::now(), columns(&cells));
    // A table that cannot be shown now is shown the next time.
    let _ = std::io::Write::flush(&mut std::io::stdout());
}

/// What changed, a line each.
fn tell(name: &str, rows: &[Row], known: &BTreeMap<String, Row>, as_json: bool) {
    let now = guanjia_field::now().to_string();
    for row in rows.iter().filter(|r| known.get(&r.point).is_none_or(|k| k.news() != r.news())) {
        let at = if row.at.is_empty() { &now } else { &row.at };
        if as_json {
            let body = json!({
                "at": at,
                "device": name,
                "point": row.point,
                "value": row.value,
                "text": row.text,
                "unit": row.unit,
                "quality": row.quality,
            });
            println!("{body}");
        } else {
            let value = if row.text.is_empty() { "-" } else { &row.text };
            println!("{at} {name}/{} = {value} {}", row.point, [&*row.unit, &*row.quality].join(" ").trim());
        }
    }
}
