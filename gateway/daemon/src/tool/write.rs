//! `guanjia write`: one setting of a device, and the proof that it was taken.
//!
//! ```text
//!   profile has the setting? ── no ──► refused here, nothing is sent
//!        │ yes
//!   value within its limits, exact in its register? ── no ──► refused here
//!        │ yes
//!   is it that device? what does it say now? ──► asked for a yes ──► sent once ──► read back ──► verified, or not
//! ```
//!
//! The sending and the proof are the line's own (`guanjia_field::line`): once, and never again whatever happens. Fire
//! panels and lifts have no settings; there is no option to write to anything else.

use std::io::{BufRead, IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use guanjia_core::encode;
use guanjia_core::profile::{PointDef, Profile, Setting};
use guanjia_core::reading::{Decimal, DeviceIx, PointIx, Value};
use guanjia_core::time::Timestamp;
use guanjia_field::{FieldDevice, Periods, SettingCommand, SettingOutcome, start_line};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::target::{self, LibraryOptions, LineOptions, Target, patience};
use super::text;
use super::{EXIT_CODES, Trouble, end, usage};

/// How long the command may wait for its first byte.
const VALID: Duration = Duration::from_secs(30);
/// Polls are not what the line is started for.
const SELDOM: Duration = Duration::from_secs(86_400);
/// Reports nobody reads; the line drops what does not fit.
const REPORTS: usize = 16;
/// Digits behind the point that anybody sets.
const DECIMALS_MAX: usize = 9;

const LONG_HELP: &str = "\
    guanjia write --site site.toml pump-1/frequency_setpoint 45.0
    guanjia write --link modbus-tcp://192.0.2.10 --unit 3 --profile yaskawa_a1000 frequency_setpoint 45.0

Only what the profile lists as a [[setting]] can be written, within its limits; everything else is read only, and fire
panels and lifts always are. The value is sent once and read back. \"unknown\" means that it may have arrived: read it.
Stop the gateway first if it has the line.

JSON: {device, point, unit_id, before, wanted, unit, outcome, why}; `outcome` is verified, not_taken, refused, unknown or
expired.";

/// Options of `guanjia write`.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{LONG_HELP}\n\n{EXIT_CODES}"))]
pub struct Options {
    #[command(flatten)]
    line: LineOptions,
    #[command(flatten)]
    library: LibraryOptions,
    /// The address of the device on the line, with --link
    #[arg(long, value_name = "N")]
    unit: Option<u8>,
    /// Its model, with --link
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// DEVICE/POINT of the site, or the point of --profile
    point: String,
    /// The value, in the point's unit
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Writes and tells what came of it.
///
/// # Errors
/// None; trouble is told and becomes the exit code.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    Ok(end(write(&options).await))
}

async fn write(options: &Options) -> Result<ExitCode, Trouble> {
    let (mut target, point) = target(options)?;
    let profile = target.profile.clone().ok_or_else(|| usage("which model is it? add --profile ID"))?;
    // What cannot be written is said before anybody is asked.
    let command = prepare(&target, &profile, &point, &options.value)?;
    if !options.yes && !std::io::stdin().is_terminal() {
        return Err(usage("nobody is there to say yes; add --yes if you mean it"));
    }
    let patient = patience(Some(&profile));
    let profile = target.session.introduce(target.unit, &profile, patient).await?;
    let position = profile.point(&point).ok_or_else(|| usage(format!("this device has no point `{point}`")))?;
    let def = &profile.points[position];
    let looks = target.session.look(target.unit, &profile, patient, |i| i == position).await?;
    let before = looks.first().and_then(|l| l.value.clone());
    let wanted = said(&options.value, def);
    if !options.yes && !confirmed(&target.name, def, before.as_ref(), &wanted)? {
        println!("nothing was sent");
        return Ok(ExitCode::FAILURE);
    }
    let (name, unit) = (target.name.clone(), target.unit);
    let outcome = send(target, profile.clone(), command).await;
    let (word, why, code) = told(&outcome);
    if options.json {
        let body = json!({
            "device": name,
            "point": point,
            "unit_id": unit,
            "before": before.as_ref().map(ToString::to_string),
            "wanted": options.value,
            "unit": def.unit,
            "outcome": word,
            "why": why,
        });
        println!("{body:#}");
    } else {
        let before = before.as_ref().map_or_else(|| "unknown".to_owned(), |v| text::value(v, def));
        println!("{name}/{point}: {word}; it was {before}, wanted {wanted}");
        if !why.is_empty() {
            println!("{why}");
        }
    }
    Ok(code)
}

fn target(options: &Options) -> Result<(Target, String), Trouble> {
    if options.line.link.is_some() {
        let id = options.profile.as_deref().ok_or_else(|| usage("which model is it? add --profile ID"))?;
        let mut target = options.line.unit(options.unit)?;
        target.profile = Some(target::profile(&options.library, id)?);
        return Ok((target, options.point.clone()));
    }
    let site = options.line.site()?.ok_or_else(|| usage("which device? add --site FILE, or --link URL"))?;
    let (device, point) = options
        .point
        .split_once('/')
        .ok_or_else(|| usage(format!("`{}` is no point; write DEVICE/POINT", options.point)))?;
    Ok((options.line.device(&site, device)?, point.to_owned()))
}

/// The command, if the profile allows it.
fn prepare(target: &Target, profile: &Profile, point: &str, value: &str) -> Result<SettingCommand, Trouble> {
    if profile.class.is_read_only_for_ever() {
        return Err(usage(format!("`{}` is a fire panel or a lift: nothing writes to it, ever", target.name)));
    }
    let setting = profile.settings.iter().find(|s| **s.point() == *point).ok_or_else(|| read_only(profile, point))?;
    let parsed = parse(value)?;
    // The line encodes it again; asked here, the objection names the range.
    encode::setting(profile, setting, &parsed)
        .map_err(|error| usage(format!("{value} cannot be written: {error} ({})", range(setting))))?;
    let valid = i64::try_from(VALID.as_millis()).unwrap_or(i64::MAX);
    let valid_until = Timestamp::from_millis(guanjia_field::now().as_millis().saturating_add(valid));
    Ok(SettingCommand { device: DeviceIx(0), point: setting.point().clone(), value: parsed, valid_until })
}

fn read_only(profile: &Profile, point: &str) -> Trouble {
    let settings: Vec<String> = profile.settings.iter().map(|s| format!("{} ({})", s.point(), range(s))).collect();
    if settings.is_empty() {
        return usage(format!("`{}` is read only: its profile has no [[setting]]", profile.id));
    }
    usage(format!("`{point}` is read only; what can be set is {}", settings.join(", ")))
}

fn range(setting: &Setting) -> String {
    format!("{} to {}", setting.min(), setting.max())
}

/// A number, exactly as it is written.
fn parse(text: &str) -> Result<Value, Trouble> {
    let wrong = || usage(format!("`{text}` is no number; write its digits and the point, such as 45.0"));
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let right = !whole.is_empty()
        && unsigned.contains('.') != fraction.is_empty()
        && whole.len() <= 20
        && fraction.len() <= DECIMALS_MAX
        && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let mantissa: i128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let exponent = i8::try_from(fraction.len()).map_err(|_| wrong())?;
    let mantissa = if text.starts_with('-') { -mantissa } else { mantissa };
    if right { Ok(Value::Decimal(Decimal::new(mantissa, -exponent))) } else { Err(wrong()) }
}

fn said(value: &str, def: &PointDef) -> String {
    if def.unit.is_empty() { value.to_owned() } else { format!("{value} {}", def.unit) }
}

fn confirmed(name: &str, def: &PointDef, before: Option<&Value>, wanted: &str) -> Result<bool, Trouble> {
    let before = before.map_or_else(|| "something unknown".to_owned(), |v| text::value(v, def));
    yes(&format!("set {name}/{} from {before} to {wanted}?", def.id))
}

/// Whether somebody at the terminal says yes to a question.
pub(super) fn yes(question: &str) -> Result<bool, Trouble> {
    print!("{question} Type yes: ");
    std::io::stdout().flush().map_err(|e| Trouble::NoAnswer(format!("the question cannot be shown: {e}")))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|e| Trouble::NoAnswer(format!("no yes came: {e}")))?;
    Ok(answer.trim() == "yes")
}

/// Hands the command to a line of its own and waits for the proof.
async fn send(target: Target, profile: Arc<Profile>, command: SettingCommand) -> SettingOutcome {
    // The session's connection must be gone: many serial servers take one only.
    drop(target.session);
    // It has introduced itself to the session; the line would send nothing before asking once more.
    let profile = Arc::new(Profile { identity: Vec::new(), firmware: None, sunspec: None, ..(*profile).clone() });
    let device = FieldDevice {
        ix: command.device,
        id: target.name.into(),
        unit: target.unit,
        profile,
        first_point: PointIx(0),
        periods: Periods { alarm: SELDOM, billing: SELDOM, bulk: SELDOM },
    };
    let (reports, _nobody) = tokio::sync::mpsc::channel(REPORTS);
    let stop = CancellationToken::new();
    let (line, task) = start_line(target.line, vec![device], reports, stop.clone());
    let outcome = line.write(command).await;
    stop.cancel();
    // The line ends within one transaction; a task that failed has told its command so already.
    let _ = task.await;
    outcome
}

/// The word, the advice and the exit code of an outcome.
fn told(outcome: &SettingOutcome) -> (&'static str, String, ExitCode) {
    match outcome {
        SettingOutcome::Verified { .. } => ("verified", String::new(), ExitCode::SUCCESS),
        SettingOutcome::NotTaken => {
            let why = "The device took the message and still shows another value: is it switched to local control?";
            ("not_taken", why.to_owned(), ExitCode::FAILURE)
        }
        SettingOutcome::Refused(code) => {
            let why = format!("exception {code:02X}: {}", guanjia_field::session::exception_text(*code));
            ("refused", why, ExitCode::FAILURE)
        }
        SettingOutcome::Unknown(why) => {
            ("unknown", format!("{why}. It may have been set: read it with guanjia read."), ExitCode::FAILURE)
        }
        SettingOutcome::Expired => {
            ("expired", "It was not sent: the line did not open in time.".into(), ExitCode::FAILURE)
        }
        SettingOutcome::NotWritable(why) => ("refused", why.clone(), ExitCode::from(crate::EXIT_CONFIG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_digit_by_digit() {
        let decimal = |text| match parse(text) {
            Ok(Value::Decimal(d)) => Some((d.mantissa, d.exponent)),
            _ => None,
        };
        assert_eq!(decimal("45.0"), Some((450, -1)));
        assert_eq!(decimal("-7"), Some((-7, 0)));
        for text in ["", "-", "1.", "x", "1e3", "1,5", "1.2.3", "+1", "0.1234567890"] {
            assert!(decimal(text).is_none(), "{text}");
        }
    }
}
