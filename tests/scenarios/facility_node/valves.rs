//! The node's outputs as motor valves: what the limit switches have not shown is neither cut nor restored, and a valve that
//! jams calls somebody.

use guanjia_tests::books::Books;

use super::relays::{driven, pay_for, reported, with_two_shops};
use super::*;

/// The shop whose valve moves, and the one whose valve is stuck.
const MOVES: &str = "s-101-w1";
const JAMS: &str = "s-102-w2";
/// Travel of the first, in seconds: longer than a test takes to play the valve. A quarter beyond it would be a jam.
const LONG_TRAVEL: &str = "120";
/// Travel of the second, in seconds: a jam is found before the gateway gives up waiting for its proof.
const SHORT_TRAVEL: &str = "1";
/// Longer than the gateway looks for the proof of one command.
const UNPROVED: Duration = Duration::from_secs(4);

/// Plays a valve that has arrived at one end, as its switches say; the other end is left first.
fn arrive(node: &Node, output: usize, open: bool) -> anyhow::Result<()> {
    node.set(Terminal::OpenEnd(output), false)?;
    node.set(Terminal::ClosedEnd(output), false)?;
    node.set(if open { Terminal::OpenEnd(output) } else { Terminal::ClosedEnd(output) }, true)
}

/// A valve on its way is told as nothing else.
async fn on_its_way(house: &House, id: &str) -> anyhow::Result<Value> {
    let point = house.service_point(id).await?;
    anyhow::ensure!(point["reported"].is_null() && point["state"] != "cut", "on its way it proves nothing: {point:#}");
    Ok(point)
}

/// Waits until the gateway sees a valve leave; it is never taken for one that has cut.
async fn leaves(house: &House, id: &str) -> anyhow::Result<()> {
    eventually("it is seen to move", SOON, || async { on_its_way(house, id).await.map(Some) }).await?;
    Ok(())
}

/// How the relay commands for a service point ended, the oldest first.
async fn outcomes(house: &House, id: &str) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT COALESCE(outcome, 'open') FROM relay_intents WHERE service_point = $1 ORDER BY at";
    Books::journal(house).await?.texts(sql, id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_valve_cuts_and_restores_when_its_limit_says_so_and_one_that_jams_calls_somebody() -> anyhow::Result<()> {
    let Some(node) = Node::start()? else { return Ok(()) };
    // As they are put in: both valves open, each with a switch at both ends.
    arrive(&node, 0, true)?;
    arrive(&node, 1, true)?;
    for (setting, value) in [
        ("limit_inputs_1", "1"),
        ("limit_inputs_2", "1"),
        ("travel_time_1", LONG_TRAVEL),
        ("travel_time_2", SHORT_TRAVEL),
        ("output_kind_1", "2"),
        ("output_kind_2", "2"),
    ] {
        let said = guanjia(&node, &["write"], &["--profile", "facility_node", "--yes", setting, value]).await?;
        assert!(said.contains("verified"), "{said}");
    }
    let mut house = House::start_with(quick(), |_| {}, |site| with_two_shops(&site, &node)).await?;
    for id in [MOVES, JAMS] {
        reported(&house, id, "on").await?;
    }
    assert_eq!(
        (node.coil(0)?, node.coil(1)?),
        ((false, false), (false, false)),
        "where they are is known without a move"
    );

    cut_and_restored(&node, &mut house).await?;
    jammed_and_freed(&node, &house).await?;
    house.gateway.terminate().await?;
    proved_journal(&house).await?;
    Ok(())
}

async fn cut_and_restored(node: &Node, house: &mut House) -> anyhow::Result<()> {
    // Used up: the motor turns. Until the switch says so nothing is cut, however long it takes.
    node.pulses(0, 30, Duration::from_millis(100))?;
    assert_eq!(driven(node, 0)?, (false, true), "it closes");
    read_as(house, "it closes", &[("output_supply_1", "3"), ("output_limits_1", "1")]).await?;
    leaves(house, MOVES).await?;
    node.set(Terminal::OpenEnd(0), false)?;
    read_as(house, "it has left its open end", &[("output_supply_1", "3"), ("output_limits_1", "0")]).await?;
    eventually("the command is settled without a proof", SOON, || async {
        Ok((outcomes(house, MOVES).await? == ["moving"]).then_some(()))
    })
    .await?;
    let point = on_its_way(house, MOVES).await?;
    assert_eq!((&point["desired"], &point["state"]), (&"off".into(), &"pending".into()), "{point:#}");
    // The gateway dies and comes back in the middle of it, and waits as before.
    house.gateway.kill();
    house.gateway.restart().await?;
    read_as(house, "it still closes", &[("output_supply_1", "3")]).await?;
    tokio::time::sleep(UNPROVED).await;
    on_its_way(house, MOVES).await?;
    assert_eq!(node.coil(0)?, (false, true), "the motor turns");
    arrive(node, 0, false)?;
    reported(house, MOVES, "off").await?;
    assert_eq!(house.service_point(MOVES).await?["state"], "cut");
    assert_eq!(node.coil(0)?, (false, false), "the switch stops the motor");
    assert_eq!(outcomes(house, MOVES).await?, ["moving"], "one command was enough");

    // Paid: the same the other way.
    pay_for(house, MOVES, "back").await?;
    assert_eq!(driven(node, 0)?, (true, false), "it opens");
    read_as(house, "it opens", &[("output_supply_1", "4")]).await?;
    node.set(Terminal::ClosedEnd(0), false)?;
    tokio::time::sleep(UNPROVED).await;
    let point = on_its_way(house, MOVES).await?;
    assert_eq!(point["desired"], "on", "{point:#}");
    arrive(node, 0, true)?;
    reported(house, MOVES, "on").await?;
    read_as(house, "it passes", &[("output_supply_1", "2"), ("output_moves_1", "2"), ("jams", "0")]).await?;
    assert_eq!(node.coil(0)?, (false, false));
    assert!(!house.gateway.log_text().contains("somebody must look at the relay"), "a slow valve alarms nobody");
    Ok(())
}

async fn jammed_and_freed(node: &Node, house: &House) -> anyhow::Result<()> {
    // Something keeps the second one from closing: it stays at its open end.
    node.pulses(1, 30, Duration::from_millis(100))?;
    assert_eq!(driven(node, 1)?, (false, true), "it is told to close");
    let gives_up = || async { Ok((node.coil(1)? == (false, false)).then_some(())) };
    eventually("the motor is switched off", UNPROVED, gives_up).await?;
    let jam = "node-1/output_2_jammed";
    let alarm = house.wait_for_alarm(jam, SOON, |alarm| alarm["active"] == true).await?;
    assert_eq!(alarm["priority"], "P2", "{alarm:#}");
    house.wait_for_call("the jam", SOON, |call| call.is_for_duty_phone() && call.title.contains("2路阀门卡阻")).await?;
    leaves(house, JAMS).await?;
    eventually("the shop's page says so", SOON, || async {
        let point = on_its_way(house, JAMS).await?;
        let says = point["blocked"].as_array().is_some_and(|words| words.contains(&"jammed".into()));
        Ok((says && point["state"] == "pending").then_some(()))
    })
    .await?;
    assert!(house.gateway.log_text().contains("somebody must look at the relay"));
    // It is tried again, and again it is not claimed; the alarm does not come and go with it.
    assert_eq!(driven(node, 1)?, (false, true));
    on_its_way(house, JAMS).await?;
    let again = house.alarm(jam).await?.context("it is still jammed")?;
    assert_eq!((&again["active"], &again["occurrence"]), (&true.into(), &alarm["occurrence"]), "{again:#}");
    let ended = outcomes(house, JAMS).await?;
    assert!(ended.iter().any(|word| word == "jammed") && ended.len() > 1, "{ended:?}");
    assert_eq!(house.service_point(MOVES).await?["reported"], "on", "nobody else was touched");

    // A fitter frees it: the next drive ends where it should.
    eventually("a drive finds it free", 2 * SOON, || async {
        if node.coil(1)? == (false, true) {
            arrive(node, 1, false)?;
        }
        Ok((house.service_point(JAMS).await?["reported"] == "off").then_some(()))
    })
    .await?;
    let point = house.service_point(JAMS).await?;
    assert_eq!((&point["state"], &point["blocked"]), (&"cut".into(), &json!([])), "{point:#}");
    Ok(())
}
