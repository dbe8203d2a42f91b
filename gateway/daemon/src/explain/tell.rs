//! `guanjia explain-reading`: the explanation of one point, on a terminal.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use guanjia_field::evidence::ANSWERS_KEPT;
use serde_json::Value;

use crate::ask::{Gateway, GatewayOptions};

/// Options of `guanjia explain-reading`.
#[derive(Debug, Args)]
pub struct ExplainOptions {
    #[command(flatten)]
    gateway: GatewayOptions,
    /// The point, as DEVICE/POINT
    point: String,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

/// Asks the gateway and prints its answer.
///
/// # Errors
/// A gateway that does not answer, a point that does not exist.
pub async fn run(options: ExplainOptions) -> anyhow::Result<ExitCode> {
    let (device, point) =
        options.point.split_once('/').context("write the point as DEVICE/POINT, such as m-101/energy_active_import")?;
    let gateway = Gateway::find(&options.gateway)?;
    let response = gateway.get(&format!("/devices/{device}/points/{point}/explain")).await?;
    let body: Value = response.json().await.context("what came is no explanation")?;
    if options.json {
        println!("{body:#}");
    } else {
        print!("{}", told(&body));
    }
    Ok(ExitCode::SUCCESS)
}

/// The explanation in lines.
fn told(body: &Value) -> String {
    let mut lines = Vec::new();
    let published = &body["published"];
    let value = published["value"].as_str().unwrap_or("no value");
    let why = published["why"].as_str().map_or_else(String::new, |why| format!(" ({why})"));
    lines.push(format!("{}/{}  {}", text(&body["device"]), text(&body["point"]), text(&body["name"]["en"])));
    lines.push(format!("  published   {value} {}", text(&body["unit"])));
    lines.push(format!("  quality     {}{why} since {}", text(&published["quality"]), text(&published["since"])));
    lines.push(format!("  said at     {}", published["at"].as_str().unwrap_or("never")));
    let profile = &body["profile"];
    lines.push(format!(
        "  profile     {} {} ({})",
        text(&profile["id"]),
        text(&profile["print"]),
        text(&profile["confidence"])
    ));
    if let Some(message) = body["message"].as_object() {
        let member = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("  message     {} {}", member("topic"), member("pointer")));
    }
    if let Some(formula) = body["formula"].as_str() {
        lines.push(format!("  formula     {formula}"));
    }
    if let Some(parts) = body["parts"].as_array() {
        let parts: Vec<String> = parts.iter().map(text).collect();
        lines.push(format!("  needs       {}", parts.join(", ")));
    }
    if body["place"].is_object() {
        let place = &body["place"];
        let at = |key: &str| text(&place[key]);
        let form = body["form"].as_object().into_iter().flatten();
        let form: Vec<String> = form.map(|(key, value)| format!("{key} {}", text(value))).collect();
        lines.push(format!(
            "  read from   line {}, unit {}, function {}, address {}, count {}",
            at("line"),
            at("unit"),
            at("function"),
            at("address"),
            at("count")
        ));
        lines.push(format!("  read as     {}", form.join(", ")));
        request(&mut lines, &body["request"]);
        answers(&mut lines, body);
    }
    lines.join("\n") + "\n"
}

fn request(lines: &mut Vec<String>, request: &Value) {
    if !request.is_object() {
        lines.push("  request     not sent since the start".to_owned());
        return;
    }
    let misses = request["unanswered_since"].as_u64().unwrap_or(0);
    let misses = if misses > 0 { format!(", {misses} attempts without an answer") } else { String::new() };
    lines.push(format!(
        "  request     {} from {}, last at {}: {}{misses}",
        text(&request["count"]),
        text(&request["address"]),
        text(&request["last_attempt"]),
        text(&request["outcome"])
    ));
}

fn answers(lines: &mut Vec<String>, body: &Value) {
    for (age, answer) in body["answers"].as_array().into_iter().flatten().enumerate() {
        let round_trip = answer["round_trip_ms"].as_f64().unwrap_or(0.0);
        let value = match answer["value"].as_str() {
            Some(value) => value.to_owned(),
            None => format!("no value: {}", text(&answer["error"])),
        };
        // The older ones in a line each, to see when a value jumped; `--json` has their frames.
        if age >= ANSWERS_KEPT {
            lines.push(format!(
                "  before      {}  attempt {}, {round_trip:.1} ms  {}  =  {value} {}",
                text(&answer["at"]),
                text(&answer["attempt"]),
                text(&answer["words"]),
                text(&body["unit"])
            ));
            continue;
        }
        lines.push(format!(
            "  answer at   {}  attempt {}, {round_trip:.1} ms",
            text(&answer["at"]),
            text(&answer["attempt"])
        ));
        lines.push(format!("    sent      {}", text(&answer["sent"])));
        lines.push(format!("    received  {}", text(&answer["received"])));
        lines.push(format!("    words     {}  =  {value} {}", text(&answer["words"]), text(&body["unit"])));
    }
    for scrap in body["discarded"].as_array().into_iter().flatten() {
        lines.push(format!("  discarded   {}  {}  {}", text(&scrap["at"]), text(&scrap["why"]), text(&scrap["frame"])));
    }
}

/// A JSON value without quotation marks.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
