//! Prepaid supply: warned, cut, restored, billed to the register; and everything that keeps a cut from being made.

use std::time::Duration;

use anyhow::Context;
use guanjia_sim::{BuildingConfig, Contactor, Fault, PayMode, Person, PhoneMode, Relay, Standing};
use guanjia_tests::books::{Books, proved_journal};
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, quick};
use serde_json::json;

/// The building's hours pass this fast, so that a shop uses up its money in seconds.
const SPEED: f64 = 900.0;
/// How long a busy machine may take from the first reading to a cut, with all the notices in between.
const CUT_WITHIN: Duration = Duration::from_secs(120);
/// What a shop draws that wants to be out of credit soon, in watts: at that speed, 3.85 yuan in a second.
const HEAVY_W: f64 = 18_000.0;
/// `notice_lead` of the test's site file.
const LEAD_MS: i64 = 2_000;
/// The electricity price of `config/tariffs`, in hao for a kilowatt-hour.
const HAO_PER_KWH: i64 = 8_560;
/// Watt-hours in one count of the register.
const WH_PER_COUNT: i64 = 10;

fn fast() -> BuildingConfig {
    BuildingConfig { speed: SPEED, ..quick() }
}

/// Yuan with four decimals as hao.
fn hao(text: &str) -> anyhow::Result<i64> {
    let (whole, decimals) = text.split_once('.').context("money has decimals")?;
    anyhow::ensure!(decimals.len() == 4, "{text} has not four decimals");
    Ok(format!("{whole}{decimals}").parse()?)
}

/// What the statement says was used: watt-hours, and hao as a positive number.
async fn used(house: &House, service_point: &str) -> anyhow::Result<(i64, i64)> {
    let statement = house.api(&format!("/service-points/{service_point}/statement")).await?;
    let lines = statement["lines"].as_array().context("a list of lines")?;
    let mut sum = (0, 0);
    for line in lines.iter().filter(|line| line["kind"] == "usage") {
        sum.0 += line["quantity"].as_i64().context("a quantity")?;
        sum.1 -= hao(line["amount"].as_str().context("an amount")?)?;
    }
    Ok(sum)
}

async fn opening(house: &House, service_point: &str) -> anyhow::Result<i64> {
    let mut journal = Books::journal(house).await?;
    let sql = "SELECT CAST(raw AS INTEGER) FROM first_baselines WHERE service_point = $1";
    journal.number(sql, service_point).await?.context("metering has begun")
}

#[tokio::test]
async fn a_shop_without_credit_is_warned_cut_and_restored_and_pays_for_what_the_register_counted() -> anyhow::Result<()>
{
    let mut house = House::start_with(fast(), |options| options.opening_102 = "45.00".to_owned(), |text| text).await?;
    house.building.set_load("m-102", Some(HEAVY_W))?;

    // Dark: the relay is open in the building, not only in a record of ours.
    eventually("the shop is cut", CUT_WITHIN, || async {
        let point = house.service_point("s-102-e").await?;
        Ok((point["state"] == "cut" && point["reported"] == "off").then_some(()))
    })
    .await?;
    let truth = house.building.device("m-102")?;
    assert_eq!((truth.relay, truth.relay_moves), (Some(Relay::Open), Some(1)));
    eventually("the load is gone", Duration::from_secs(2), || async {
        Ok((house.building.device("m-102")?.power_w == Some(0.0)).then_some(()))
    })
    .await?;

    // Told before, on every level, and given the time that was promised after the last one arrived.
    let point = house.service_point("s-102-e").await?;
    let levels: Vec<_> = point["notices"].as_array().context("notices")?.iter().map(|n| n["level"].clone()).collect();
    // Newest first. A level that the same reading passes on the way to a more urgent one is not told.
    let told = [json!("final"), json!("notice2"), json!("notice1")];
    assert_eq!(levels.first(), told.first());
    assert_eq!(levels, told.into_iter().filter(|level| levels.contains(level)).collect::<Vec<_>>(), "once each");
    assert!(!house.gateway.log_text().contains("somebody must look at the relay"), "a cut that worked alarms nobody");
    let pages = house.building.phone().pages();
    let tenant: Vec<_> = pages.iter().filter(|page| page.person == "shop-s-102").collect();
    assert_eq!(tenant.len(), levels.len(), "one page for each level that was told");
    let last = tenant.last().context("the last notice")?;
    assert!(last.body.contains("停供通知"), "{}", last.body);
    let mut journal = Books::journal(&house).await?;
    let cut_at = "SELECT MIN(at) FROM relay_intents WHERE service_point = $1";
    let cut_at = journal.number(cut_at, "s-102-e").await?.context("the cut is on record")?;
    assert!(cut_at - last.received_at >= LEAD_MS, "cut {} ms after the notice", cut_at - last.received_at);

    // Nobody else was touched.
    let opened: Vec<_> = house.building.truth().devices.into_iter().filter(|d| d.relay == Some(Relay::Open)).collect();
    assert_eq!(opened.iter().map(|device| &*device.id).collect::<Vec<_>>(), ["m-102"]);

    // Paid, in the middle of a reload: on again without anybody's help.
    house.building.set_load("m-102", Some(1_500.0))?;
    house.gateway.signal("HUP")?;
    let transaction = house.building.payments().pay("s-102-e", "60.00", PayMode::Twice)?;
    let payment = house.building.payments().wait_settled(&transaction, Duration::from_secs(10)).await;
    let payment = payment.context("the channel is answered")?;
    assert_eq!(payment.standing, Standing::Settled);
    assert_eq!(payment.attempts.iter().map(|a| a.status).collect::<Vec<_>>(), [Some(201), Some(200)]);
    eventually("the supply is back", Duration::from_secs(15), || async {
        let point = house.service_point("s-102-e").await?;
        let truth = house.building.device("m-102")?;
        let flows = truth.power_w.is_some_and(|watts| watts > 0.0);
        Ok((point["reported"] == "on" && truth.relay == Some(Relay::Closed) && flows).then_some(()))
    })
    .await?;

    // The books: every count of the register, at the price, to the last hao.
    house.building.set_load("m-102", Some(0.0))?;
    let first = opening(&house, "s-102-e").await?;
    let (watt_hours, charged) = eventually("everything is billed", Duration::from_secs(15), || async {
        let energy = i64::try_from(house.building.device("m-102")?.energy_wh.context("a meter")?)?;
        let (watt_hours, charged) = used(&house, "s-102-e").await?;
        let counted = (energy / WH_PER_COUNT - first) * WH_PER_COUNT;
        anyhow::ensure!(watt_hours == counted, "billed {watt_hours} Wh, counted {counted} Wh");
        Ok(Some((watt_hours, charged)))
    })
    .await?;
    let rounding = charged * 1_000 - watt_hours * HAO_PER_KWH;
    assert!(rounding.abs() <= 500, "{watt_hours} Wh cost {charged} hao");
    eventually("the balance is what was paid and not used", Duration::from_secs(5), || async {
        let balance = house.service_point("s-102-e").await?["balance"].as_str().map(hao).context("a balance")??;
        anyhow::ensure!(balance == 450_000 + 600_000 - charged, "{balance} hao after a use of {charged}");
        Ok(Some(()))
    })
    .await?;
    house.gateway.terminate().await?;
    proved_journal(&house).await?;
    Ok(())
}

/// Whether shop 102 has paid and waits for somebody's word.
async fn waits(house: &House) -> anyhow::Result<Option<()>> {
    Ok((house.service_point("s-102-e").await?["waits_for"] == "close_permit").then_some(()))
}

#[tokio::test]
async fn where_somebody_must_say_that_it_is_safe_a_paid_supply_waits_for_that_word_also_across_a_kill()
-> anyhow::Result<()> {
    let poor = |options: &mut guanjia_sim::SiteFileOptions| options.opening_102 = "45.00".to_owned();
    let careful = |text: String| text.replace("reconnect = \"direct\"", "reconnect = \"close-permit\"");
    let mut house = House::start_with(fast(), poor, careful).await?;
    let permit = "/service-points/s-102-e/permit-close";
    let early = house.order(permit).await;
    assert!(early.is_err(), "nothing waits yet: {early:?}");
    house.building.set_load("m-102", Some(HEAVY_W))?;
    eventually("the shop is cut", CUT_WITHIN, || async {
        Ok((house.service_point("s-102-e").await?["state"] == "cut").then_some(()))
    })
    .await?;
    house.building.set_load("m-102", Some(100.0))?;
    house.building.payments().pay("s-102-e", "60.00", PayMode::Once)?;
    eventually("the paid shop waits", Duration::from_secs(15), || waits(&house)).await?;
    house.gateway.kill();
    house.gateway.restart().await?;
    eventually("it still waits", Duration::from_secs(15), || waits(&house)).await?;
    assert_eq!(house.building.device("m-102")?.relay, Some(Relay::Open), "nobody has said that it is safe");
    let page = house.gateway.get("/shops/s-102-e?lang=en").await?;
    assert!(page.contains("It is safe, restore the supply"), "{page}");

    house.order(permit).await?;
    house.gateway.kill();
    house.gateway.restart().await?;
    eventually("the supply is back", Duration::from_secs(15), || async {
        let point = house.service_point("s-102-e").await?;
        let closed = house.building.device("m-102")?.relay == Some(Relay::Closed);
        Ok((point["reported"] == "on" && point["waits_for"].is_null() && closed).then_some(()))
    })
    .await?;
    let page = house.gateway.get("/shops/s-102-e?lang=en").await?;
    assert!(!page.contains("It is safe, restore the supply"), "{page}");
    Ok(())
}

/// The site file with another opening balance for one service point.
fn with_opening(text: &str, service_point: &str, yuan: &str) -> String {
    let begin = text.find(&format!("[service_point.{service_point}]")).expect("the building has it");
    let (head, tail) = text.split_at(begin);
    head.to_owned() + &tail.replacen("opening_balance = \"2000.00\"", &format!("opening_balance = \"{yuan}\""), 1)
}

#[tokio::test]
async fn what_must_not_be_cut_stays_on_and_a_relay_that_does_not_move_is_never_called_off() -> anyhow::Result<()> {
    let poor = |options: &mut guanjia_sim::SiteFileOptions| options.opening_102 = "1.00".to_owned();
    let house = House::start_with(fast(), poor, |text| with_opening(&text, "s-103-e", "1.00")).await?;
    // Shop 102 cannot be told; the contactor of shop 103 does not obey; shop 301 is exempt and owes from the start.
    let deaf = Person { mode: PhoneMode::Refuse, ..Person::default() };
    house.building.phone().set_person("shop-s-102", deaf);
    house.building.fault(&Fault::Contactor { device: "m-103".to_owned(), contactor: Contactor::Stuck })?;
    for meter in ["m-102", "m-103", "m-301"] {
        house.building.set_load(meter, Some(HEAVY_W))?;
    }

    let point = eventually("the refused notice blocks the cut", Duration::from_secs(30), || async {
        let point = house.service_point("s-102-e").await?;
        let named = point["blocked"].as_array().is_some_and(|b| b.contains(&"final_notice_not_delivered".into()));
        Ok(named.then_some(point))
    })
    .await?;
    assert_eq!((&point["desired"], &point["reported"]), (&"on".into(), &"on".into()));

    let point = eventually("the exempt shop owes", Duration::from_secs(10), || async {
        let point = house.service_point("s-301-e").await?;
        Ok(point["balance"].as_str().is_some_and(|balance| balance.starts_with('-')).then_some(point))
    })
    .await?;
    assert_eq!((&point["state"], &point["exempt"]), (&"exempt".into(), &"not-prepaid".into()));
    assert_eq!(point["desired"], "on");

    // Three commands, none of which moved anything; and nobody was told that the shop is off.
    let point = eventually("the stuck relay is reported", Duration::from_secs(90), || async {
        let point = house.service_point("s-103-e").await?;
        anyhow::ensure!(point["reported"] != "off" && point["state"] != "cut", "called off: {point}");
        Ok(point["blocked"].as_array().is_some_and(|alerts| alerts.contains(&"stuck".into())).then_some(point))
    })
    .await?;
    assert_eq!((&point["desired"], &point["reported"]), (&"off".into(), &"on".into()));
    let mut journal = Books::journal(&house).await?;
    let outcomes = "SELECT outcome FROM relay_intents WHERE service_point = $1 AND outcome IS NOT NULL ORDER BY at";
    let outcomes = journal.texts(outcomes, "s-103-e").await?;
    assert!(outcomes.len() >= 2 && outcomes.iter().all(|word| word == "not_moved"), "{outcomes:?}");
    let page = house.gateway.get("/metrics").await?;
    let commands = page.lines().filter(|line| line.starts_with("guanjia_prepaid_switch_commands_total{"));
    let ended: Vec<_> = commands.filter(|line| !line.ends_with(" 0")).collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert!(ended[0].contains("action=\"open\"") && ended[0].contains("result=\"not_moved\""), "{ended:?}");

    let none = "SELECT COUNT(*) FROM relay_intents WHERE service_point = $1";
    for spared in ["s-102-e", "s-301-e"] {
        assert_eq!(journal.number(none, spared).await?, Some(0), "{spared}");
    }
    for (meter, writes) in [("m-102", 0), ("m-301", 0)] {
        assert_eq!(house.building.device(meter)?.writes, writes, "{meter}");
    }
    assert_eq!(house.building.device("m-103")?.relay, Some(Relay::Closed));
    Ok(())
}
