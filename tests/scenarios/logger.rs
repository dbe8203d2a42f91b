//! A logger that was away over night, with a mosquitto in the middle: what it kept is billed to the hours in which it was
//! used, once, and holds for nothing else.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use guanjia_tests::books::{Books, proved_journal};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, quick};
use guanjia_tests::mosquitto::{Mosquitto, Setup};
use guanjia_tests::peer::Peer;

const LIMIT: Duration = Duration::from_secs(30);
const LOGGER: &str = "loggers/m-900/samples";
const SERVICE_POINT: &str = "s-900-e";
/// One usage interval of these houses, in seconds.
const HOUR: i64 = 3_600;
/// Watt-hours in one count of the register: hundredths of a kWh behind a ratio of 40.
const WH_PER_COUNT: i64 = 400;
/// Where the register stood when the logger went away.
const BEGIN: i64 = 123_456;
/// The age a value of a logger may reach that reports once a day.
const A_DAY: &str = "26h";
/// What the accounts may take to look at everything twice.
const TWO_PASSES: Duration = Duration::from_millis(2_500);

/// One sample: when, in seconds since 1970; the register; tenths of a volt.
#[derive(Clone, Copy)]
struct Sample(i64, i64, u16);

/// Base64 of the six bytes of a sample's registers.
fn base64(bytes: [u8; 6]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    (0..8).rev().map(|place| char::from(DIGITS[(bits >> (6 * place) & 63) as usize])).collect()
}

/// A message with these samples.
fn message(samples: &[Sample]) -> String {
    let texts = samples.iter().map(|Sample(at, register, volts)| {
        let [a, b, c, d] = u32::try_from(*register).unwrap_or_default().to_be_bytes();
        let [e, f] = volts.to_be_bytes();
        format!(r#"{{"ts":{at},"ct":40,"data":"{}"}}"#, base64([a, b, c, d, e, f]))
    });
    format!("[{}]", texts.collect::<Vec<_>>().join(","))
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}

/// The last full hour but `hours`.
fn full_hour(hours: i64) -> i64 {
    (now() / HOUR - hours) * HOUR
}

/// A house that bills by the hour, with one more meter behind a logger that may be silent for `max_age`.
async fn house(broker: &Mosquitto, max_age: &str) -> anyhow::Result<House> {
    let own = format!(
        r#"
[mqtt.loggers]
address = "{}"
topic = "loggers/{{device}}/samples"

[device.m-900]
profile = "mqtt_meter_logger"
broker = "loggers"
floor = "1F"
max_age = "{max_age}"

[[alarm]]
device = "m-900"
id = "undervoltage"
when = [{{ point = "voltage_l1", below = "200 V", deadband = "5 V" }}]
priority = "P3"
text = {{ zh = "欠压", en = "Voltage too low" }}
action = {{ zh = "检查进线", en = "Look at the incomer" }}

[service_point.{SERVICE_POINT}]
shop = "s-101"
utility = "electricity"
device = "m-900"
register = "energy_active_import"
tariff = "shop-electricity"
policy = "power"
exempt = "not-prepaid"
power_max = "30 kW"
"#,
        broker.address()
    );
    let by_the_hour = |text: String| text.replace("interval = \"1s\"", "interval = \"1h\"");
    House::start_with(quick(), |_| {}, |text| format!("{}\n{own}", by_the_hour(text))).await
}

/// What was billed: the end of every interval, and watt-hours.
async fn billed(house: &House) -> anyhow::Result<Vec<(i64, i64)>> {
    let sql = "SELECT to_at || ' ' || quantity FROM usage_intervals WHERE service_point = $1 ORDER BY seq";
    let rows = Books::journal(house).await?.texts(sql, SERVICE_POINT).await?;
    let parse = |row: &String| {
        let (at, quantity) = row.split_once(' ').context("two numbers")?;
        Ok((at.parse::<i64>()? / 1_000, quantity.parse()?))
    };
    rows.iter().map(parse).collect()
}

async fn is_billed(house: &House, expected: &[(i64, i64)]) -> anyhow::Result<()> {
    eventually("the hours are billed", LIMIT, || async {
        let billed = billed(house).await?;
        anyhow::ensure!(billed == expected, "billed {billed:?} and not {expected:?}");
        Ok(Some(()))
    })
    .await
}

/// The voltage as everybody is shown it, and its quality.
async fn voltage(house: &House) -> anyhow::Result<(Option<f64>, String)> {
    let device = house.api("/devices/m-900").await?;
    let points = device["points"].as_array().context("a list of points")?;
    let voltage = points.iter().find(|point| point["id"] == "voltage_l1").context("the voltage")?;
    Ok((voltage["value"].as_f64(), voltage["quality"].as_str().context("a quality")?.to_owned()))
}

async fn shows(house: &House, volts: f64, quality: &str) -> anyhow::Result<()> {
    eventually(&format!("{volts} V are shown"), LIMIT, || async {
        let seen = voltage(house).await?;
        anyhow::ensure!(seen == (Some(volts), quality.to_owned()), "{seen:?}");
        Ok(Some(()))
    })
    .await
}

/// Waits until metering of the service point has begun at that time.
async fn metering_begins(house: &House, at: i64) -> anyhow::Result<()> {
    eventually("metering begins", LIMIT, || async {
        let sql = "SELECT at FROM first_baselines WHERE service_point = $1";
        let first = Books::journal(house).await?.number(sql, SERVICE_POINT).await?.context("no baseline yet")?;
        anyhow::ensure!(first == at * 1_000, "it begins at {first}");
        Ok(Some(()))
    })
    .await
}

async fn is_alarmed(house: &House) -> anyhow::Result<bool> {
    let alarms = house.api("/alarms").await?;
    let list = alarms["alarms"].as_array().context("a list of alarms")?;
    // One that was raised and has gone again is on the list until somebody has looked at it.
    Ok(list.iter().any(|alarm| alarm["key"] == "m-900/undervoltage"))
}

/// Waits until the gateway has acknowledged so many messages of this broker since it started.
async fn acknowledged(house: &House, count: f64) -> anyhow::Result<()> {
    eventually(&format!("{count} messages are acknowledged"), LIMIT, || async {
        let series = "guanjia_mqtt_received_messages_total{broker=\"loggers\",result=\"acknowledged\"}";
        let seen = house.gateway.metric(series).await?.context("no such series")?;
        anyhow::ensure!(seen >= count, "{seen}");
        Ok(Some(()))
    })
    .await
}

/// A night of hourly samples with a low voltage; every hour something else was used. With what is to be billed for each.
fn night(first: i64, hours: i64) -> (Vec<Sample>, Vec<(i64, i64)>) {
    let mut register = BEGIN;
    let (mut samples, mut expected) = (Vec::new(), Vec::new());
    for hour in 1..=hours {
        register += 2 * hour + 1;
        samples.push(Sample(first + hour * HOUR, register, 1_800));
        expected.push((first + hour * HOUR, (2 * hour + 1) * WH_PER_COUNT));
    }
    (samples, expected)
}

#[tokio::test]
async fn a_night_that_comes_at_once_is_billed_to_its_hours_once_and_moves_and_alarms_nothing() -> anyhow::Result<()> {
    let Some(broker) = Mosquitto::start_with(Setup::Remembering).await? else { return Ok(()) };
    let mut house = house(&broker, A_DAY).await?;
    let mut logger = Peer::start(broker.address(), &[]);
    let evening = full_hour(10);
    logger.say(LOGGER, message(&[Sample(evening, BEGIN, 2_301)]), false).await?;
    metering_begins(&house, evening).await?;
    shows(&house, 230.1, "good").await?;

    // From here on a value of an hour ago is no value of now, as with most loggers.
    house.gateway.kill();
    let site = house.site_file();
    fs::write(&site, fs::read_to_string(&site)?.replace(A_DAY, "15m"))?;
    house.gateway.restart().await?;
    let (mut samples, mut expected) = night(evening, 9);
    let register = samples.last().context("a night has hours")?.1;
    // Loggers send what they kept in any order, and some of it twice.
    fastrand::shuffle(&mut samples);
    samples.push(samples[0]);
    let night = message(&samples);
    for _ in 0..3 {
        // Without an acknowledgement it sends everything again; the gateway dies somewhere between message and end.
        logger.say(LOGGER, night.clone(), false).await?;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..60))).await;
        house.gateway.kill();
        house.gateway.restart().await?;
    }
    is_billed(&house, &expected).await?;
    assert_ne!(voltage(&house).await?.1, "good", "a voltage of an hour ago says nothing of now");

    let moment = now();
    logger.say(LOGGER, message(&[Sample(moment, register + 5, 2_305)]), false).await?;
    expected.push((moment, 5 * WH_PER_COUNT));
    is_billed(&house, &expected).await?;
    shows(&house, 230.5, "good").await?;

    // The same night once more behind the newest sample, before a kill and after it.
    logger.say(LOGGER, night.clone(), false).await?;
    house.gateway.kill();
    house.gateway.restart().await?;
    logger.say(LOGGER, night, false).await?;
    acknowledged(&house, 1.0).await?;
    tokio::time::sleep(TWO_PASSES).await;
    assert_eq!(billed(&house).await?, expected, "what was billed is not billed again");
    assert!(!is_alarmed(&house).await?, "the voltage was low in the night, and nobody can do anything about it now");

    // The alarm itself works.
    logger.say(LOGGER, message(&[Sample(now(), register + 6, 1_799)]), false).await?;
    eventually("a low voltage is an alarm", LIMIT, || async { Ok(is_alarmed(&house).await?.then_some(())) }).await?;
    house.gateway.terminate().await?;
    proved_journal(&house).await?;
    Ok(())
}

#[tokio::test]
async fn a_logger_that_repeats_its_night_after_the_broker_was_away_takes_nothing_back() -> anyhow::Result<()> {
    let Some(mut broker) = Mosquitto::start_with(Setup::Remembering).await? else { return Ok(()) };
    let mut house = house(&broker, A_DAY).await?;
    let mut logger = Peer::start(broker.address(), &[]);
    let evening = full_hour(10);
    logger.say(LOGGER, message(&[Sample(evening, BEGIN, 2_301)]), false).await?;
    metering_begins(&house, evening).await?;
    let (samples, mut expected) = night(evening, 9);
    let (night, register) = (message(&samples), samples.last().context("a night has hours")?.1);
    let moment = now();
    let fresh = [&samples[..], &[Sample(moment, register + 5, 2_305)]].concat();
    logger.say(LOGGER, message(&fresh), false).await?;
    expected.push((moment, 5 * WH_PER_COUNT));
    is_billed(&house, &expected).await?;
    shows(&house, 230.5, "good").await?;

    broker.crash();
    eventually("the broker is missed", LIMIT, || async { Ok((voltage(&house).await?.1 == "bad").then_some(())) })
        .await?;
    broker.launch().await?;
    eventually("a new session", LIMIT, || async {
        let new = house.gateway.metric("guanjia_mqtt_sessions_total{broker=\"loggers\",session=\"new\"}").await?;
        Ok((new == Some(2.0)).then_some(()))
    })
    .await?;
    // All the values of the night are young enough to count, and yet others are younger.
    logger.say(LOGGER, night.clone(), false).await?;
    acknowledged(&house, 3.0).await?;
    tokio::time::sleep(TWO_PASSES).await;
    assert!(!is_alarmed(&house).await?, "the low voltage of the night is over");
    assert_ne!(voltage(&house).await?.0, Some(180.0));

    let moment = now();
    logger.say(LOGGER, message(&[Sample(moment, register + 5, 2_306)]), false).await?;
    shows(&house, 230.6, "good").await?;
    logger.say(LOGGER, night, false).await?;
    acknowledged(&house, 5.0).await?;
    house.gateway.kill();
    house.gateway.restart().await?;
    shows(&house, 230.6, "good").await?;
    tokio::time::sleep(TWO_PASSES).await;
    assert!(!is_alarmed(&house).await?, "nor is it an alarm after a kill");
    assert_eq!(billed(&house).await?, expected);
    Ok(())
}

#[tokio::test]
async fn hours_that_were_acknowledged_are_billed_as_hours_though_the_gateway_dies_at_that_moment() -> anyhow::Result<()>
{
    let Some(broker) = Mosquitto::start_with(Setup::Remembering).await? else { return Ok(()) };
    let mut house = house(&broker, A_DAY).await?;
    let mut logger = Peer::start(broker.address(), &[]);
    let evening = full_hour(13);
    logger.say(LOGGER, message(&[Sample(evening, BEGIN, 2_301)]), false).await?;
    metering_begins(&house, evening).await?;
    acknowledged(&house, 1.0).await?;
    let (samples, expected) = night(evening, 12);
    // Most loggers cannot put a night into one message.
    for (round, both) in samples.chunks(4).enumerate() {
        for piece in both.chunks(2) {
            logger.say(LOGGER, message(piece), false).await?;
        }
        acknowledged(&house, if round == 0 { 3.0 } else { 2.0 }).await?;
        house.gateway.kill();
        house.gateway.restart().await?;
    }
    is_billed(&house, &expected).await
}
