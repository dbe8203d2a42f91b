//! A field node behind the gateway: the real firmware, emulated, on a line of the real program.
//!
//! Without QEMU, or without the tools to build the firmware, each test says that it was skipped.

use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use guanjia_core::credit::{CreditState, MeterCredit, Step};
use guanjia_core::profile::{EquipmentClass, Extent, Table, Wallet, WalletParts, WalletSeen};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Fen, Hao};
use guanjia_node::board::Version;
use guanjia_node::map::{Id, MAP_VERSION, REGISTERS, rule};
use guanjia_tests::books::proved_journal;
use guanjia_tests::gateway::{binary, eventually};
use guanjia_tests::house::{House, TOKEN, quick};
use guanjia_tests::node::{Answer, Loop, MAKER, Master, Node, Terminal, package};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::node::fallback::{Wrong, bad};

mod accounts;
mod relays;
mod valves;

/// How long a loaded machine may take for something that a node does at once.
const SOON: Duration = Duration::from_secs(60);
/// The shortest commit interval of a node, and a second for the commit.
const COMMIT: Duration = Duration::from_secs(11);
/// The service point that is topped up.
const POINT: &str = "s-101-w1";

/// A building with the node on a line of its own.
fn with_node(site: &str, node: &Node) -> String {
    let line = format!(
        "[rtu_over_tcp.node]\naddress = \"{}\"\nbaud = 9600\nparity = \"even\"\noverload = \"accept\"\n\n\
         [device.node-1]\nprofile = \"facility_node\"\nline = \"node\"\nunit = 1\nfloor = \"1F\"\n\
         polling = {{ alarm = \"500ms\", billing = \"1s\", bulk = \"5s\" }}\n\
         name = {{ zh = \"一号节点\", en = \"Node 1\" }}\n\n",
        node.address()
    );
    let point = format!(
        "[service_point.{POINT}]\nshop = \"s-101\"\ndevice = \"node-1\"\nutility = \"water\"\nregister = \"volume_total_1\"\n\
         tariff = \"shop-water\"\npolicy = \"water\"\nflow_max = \"50 m3/h\"\nsupply = \"meter-wallet\"\n\n"
    );
    format!("{site}\n{line}{point}")
}

async fn house(node: &Node) -> anyhow::Result<House> {
    House::start_with(quick(), |_| {}, |site| with_node(&site, node)).await
}

/// Runs `guanjia` on the node's line; what it printed.
async fn guanjia(node: &Node, what: &[&str], more: &[&str]) -> anyhow::Result<String> {
    guanjia_at(node, "1", "9600", what, more).await
}

/// The same for a node that was given another address or speed.
async fn guanjia_at(node: &Node, unit: &str, baud: &str, what: &[&str], more: &[&str]) -> anyhow::Result<String> {
    let link = format!("rtu-over-tcp://{}?baud={baud}&parity=even", node.address());
    let mut arguments = what.to_vec();
    arguments.extend(["--link", &link, "--unit", unit]);
    arguments.extend(more);
    let child = Command::new(binary()).args(&arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), child).await.context("the tool does not end")??;
    let said = String::from_utf8(output.stdout)?;
    anyhow::ensure!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

fn value(master: &mut Master, id: Id) -> anyhow::Result<u32> {
    let rule = rule(id).context("it is in the map")?;
    master.value(rule.address, rule.kind.words())
}

async fn reading(house: &House, point: &str) -> anyhow::Result<Option<Value>> {
    let device = house.api("/devices/node-1").await?;
    let points = device["points"].as_array().context("a list of points")?;
    Ok(points.iter().find(|p| p["id"] == point).cloned())
}

/// What a point says, exactly; `None` until it was read.
async fn text(house: &House, point: &str) -> anyhow::Result<Option<String>> {
    Ok(reading(house, point).await?.and_then(|point| point["text"].as_str().map(str::to_owned)))
}

/// Waits until points say so.
async fn read_as(house: &House, what: &str, wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    eventually(what, SOON, || async {
        for (point, wanted) in wanted {
            let said = text(house, point).await?;
            anyhow::ensure!(said.as_deref() == Some(wanted), "{point} says {said:?}");
        }
        Ok(Some(()))
    })
    .await
}

async fn credits(house: &House) -> anyhow::Result<Vec<Value>> {
    let point = house.service_point(POINT).await?;
    Ok(point["meter_credits"].as_array().context("a list of credits")?.clone())
}

async fn pay(house: &House, key: &str, amount: &str) -> anyhow::Result<u16> {
    let body = json!({ "service_point": POINT, "amount": amount, "channel": "cashier" });
    Ok(house.gateway.top_up(TOKEN, key, &body).await?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_read_topped_up_and_heard_from_pulse_to_page() -> anyhow::Result<()> {
    let Some(node) = Node::start()? else { return Ok(()) };
    // As a technician puts it in: what is it, what does it charge, which contact has a wire.
    let identity: Value = serde_json::from_str(&guanjia(&node, &["node", "identify"], &["--json"]).await?)?;
    assert_eq!((&identity["unit_id"], &identity["map_version"]), (&1.into(), &MAP_VERSION.into()), "{identity:#}");
    assert!(identity["build"].as_str().is_some_and(|build| !build.is_empty()), "{identity:#}");
    let price = guanjia(&node, &["node", "set-price"], &["--channel", "1", "--yes", "0.5"]).await?;
    assert!(price.contains("price of channel 1: 0.5000; it was 0.0000"), "{price}");
    let limits = ["--channel", "1", "--yes", "--hoarding", "20000", "--warning", "100"];
    guanjia(&node, &["node", "set-limits"], &limits).await?;
    for (setting, value) in [("prepaid_1", "1"), ("contact_mode_1", "1"), ("commit_interval", "10")] {
        let said = guanjia(&node, &["write"], &["--profile", "facility_node", "--yes", setting, value]).await?;
        assert!(said.contains("verified"), "{said}");
    }
    let map: Value = serde_json::from_str(&guanjia(&node, &["node", "map"], &["--json"]).await?)?;
    let rows = map["registers"].as_array().context("a list of registers")?;
    assert_eq!(rows.len(), REGISTERS.iter().map(|r| usize::from(r.repeat)).sum::<usize>());
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).map(|row| row["value"].clone());
    assert_eq!((row("price_1"), row("hoarding_limit_1")), (Some("0.5000".into()), Some("20000".into())));

    let house = house(&node).await?;
    // Pulses become a reading, and money of both ledgers.
    read_as(&house, "the counter is read", &[("pulses_1", "0")]).await?;
    assert_eq!(pay(&house, "first", "30.00").await?, 201);
    let credit = eventually("the node has the money", SOON, || async {
        Ok(credits(&house).await?.into_iter().find(|credit| credit["state"] == "confirmed"))
    })
    .await?;
    assert_eq!((&credit["purchase_count"], &credit["amount"]), (&1.into(), &"30.00".into()), "{credit:#}");
    node.pulses(0, 20, Duration::from_millis(100))?;
    let counted = Instant::now();
    // 20 pulses of half a fen each.
    read_as(&house, "the pulses are read and charged", &[("pulses_1", "20"), ("balance_1", "2990")]).await?;

    // More than the node may hold: the money stays in the ledger, and people are told.
    assert_eq!(pay(&house, "too-much", "500.00").await?, 201);
    eventually("it is held", SOON, || async {
        let point = house.service_point(POINT).await?;
        let held = point["meter_credits"][0]["state"] == "held";
        let told = point["blocked"].as_array().is_some_and(|words| words.contains(&"meter_credit_held".into()));
        Ok((held && told).then_some(()))
    })
    .await?;

    // A contact of the fire panel: from the loop's level to the duty phone.
    node.contact(0, Loop::Alarm)?;
    let call = house
        .wait_for_call("fire", SOON, |call| call.is_for_duty_phone() && call.title.contains("1号触点火警"))
        .await?;
    assert_eq!((call.kind.as_str(), call.priority.as_str()), ("alert", "P1"));
    assert_eq!(house.incident("EP-06", SOON).await?["priority"], "P1");
    node.contact(0, Loop::Open)?;
    house.wait_for_alarm("node-1/contact_1_open", SOON, |alarm| alarm["active"] == true).await?;
    node.contact(0, Loop::Normal)?;

    // The node charges half a fen a litre, which is not the tariff: people are told before a tenant's balance shows it.
    let drift = format!("node-1/credit_price_{POINT}");
    house.wait_for_alarm(&drift, 2 * SOON, |alarm| alarm["active"] == true).await?;
    house.wait_for_call("the drift", SOON, |call| call.title.contains("单价")).await?;

    // What was counted is kept from one commit interval to the next.
    tokio::time::sleep(COMMIT.saturating_sub(counted.elapsed())).await;
    // The part's timer fails: the watchdog restarts the node, and that is an event with a name.
    node.stop_timer()?;
    house.wait_for_alarm("node-1/watchdog_reset", SOON, |alarm| alarm["active"] == true).await?;
    read_as(
        &house,
        "counts and money are what they were",
        &[("pulses_1", "20"), ("purchase_count_1", "1"), ("boots", "2")],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_technician_moves_a_node_sets_its_clock_and_clears_its_latch() -> anyhow::Result<()> {
    let Some(node) = Node::start()? else { return Ok(()) };
    let status = async |node: &Node, unit: &str, baud: &str| {
        let map: Value = serde_json::from_str(&guanjia_at(node, unit, baud, &["node", "map"], &["--json"]).await?)?;
        let rows = map["registers"].as_array().context("a list of registers")?;
        let row = rows.iter().find(|row| row["name"] == "status").context("the status is in it")?;
        Ok::<u16, anyhow::Error>(row["value"].as_str().context("a value")?.parse()?)
    };
    // Bits of the status register: cover open, was open, clock not set.
    assert_eq!(status(&node, "1", "9600").await? & 0b10_0110, 0b10_0000);
    guanjia(&node, &["node", "set-clock"], &[]).await?;
    node.set(Terminal::Cover, false)?;
    // It must stay open for a moment before it counts.
    let open = || async { Ok((status(&node, "1", "9600").await? & 0b110 == 0b110).then_some(())) };
    eventually("the cover is seen open", SOON, open).await?;
    let told = guanjia(&node, &["node", "clear-tamper"], &[]).await;
    assert!(told.is_err(), "the cover is open: {told:?}");
    node.set(Terminal::Cover, true)?;
    // And stay shut.
    let clear = || async { Ok(guanjia(&node, &["node", "clear-tamper"], &[]).await.ok()) };
    eventually("the latch is cleared", SOON, clear).await?;
    assert_eq!(status(&node, "1", "9600").await? & 0b10_0110, 0);

    guanjia(&node, &["node", "set-address"], &["12", "--yes"]).await?;
    let deaf = guanjia(&node, &["node", "identify"], &[]).await;
    assert!(deaf.is_err(), "it still answers under its old address: {deaf:?}");
    guanjia_at(&node, "12", "9600", &["node", "set-baud"], &["19200", "--yes"]).await?;
    assert_eq!(status(&node, "12", "19200").await? & 0b10_0110, 0, "moving it has not restarted it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_firmware_arrives_over_a_cut_and_a_bad_one_leaves_the_old() -> anyhow::Result<()> {
    let Some(mut node) = Node::start()? else { return Ok(()) };
    let running = value(&mut node.master()?, Id::FirmwareVersion)?;
    let newer = Version(running + 1);
    let good = package(&node.images().update, newer, MAKER)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("node.gjnf");
    let path = file.to_str().context("a temporary path is text")?.to_owned();
    let update = async |node: &Node, bytes: &[u8], more: &[&str]| {
        std::fs::write(&file, bytes)?;
        guanjia(node, &["node", "update"], &[&[path.as_str(), "--yes"], more].concat()).await
    };

    // Files that cannot be right never leave the machine; one that was changed or is not signed is refused by the node.
    let mut other_board = good.clone();
    other_board[6] ^= 1;
    let mut changed = good.clone();
    changed[1_000] ^= 1;
    let mut unsigned = good.clone();
    let last = unsigned.len() - 1;
    unsigned[last] ^= 1;
    let cut = &good[..good.len() - 2];
    for (bytes, why) in [
        (other_board.as_slice(), "is for board"),
        (cut, "cut off"),
        (changed.as_slice(), "damaged"),
        (unsigned.as_slice(), "boot stage refused"),
    ] {
        let refused = update(&node, bytes, &[]).await.expect_err("it is wrong").to_string();
        assert!(refused.contains(why), "{refused}");
    }
    // Signed, and it hangs: three bad starts, and the old one is back.
    let hangs = update(&node, &bad(&node, Wrong::Hangs), &[]).await.expect_err("it does not run").to_string();
    assert!(hangs.contains("three times"), "{hangs}");
    let mut master = node.master()?;
    assert_eq!(value(&mut master, Id::FirmwareVersion)?, running);
    drop(master);

    // The line is cut in the middle: the same command goes on where it was, or anew if the node forgot.
    let half = tokio::time::timeout(Duration::from_secs(1), update(&node, &good, &["--no-install"])).await;
    let said = update(&node, &good, &["--no-install"]).await?;
    assert!(half.is_ok() || said.contains("bytes of this package already"), "{said}");
    let said = update(&node, &good, &[]).await?;
    assert!(said.contains(&format!("runs {} now", text_of(newer))), "{said}");
    let mut master = node.master()?;
    assert_eq!(value(&mut master, Id::FirmwareVersion)?, newer.0);
    drop(master);
    // After a power cut it is the new one, too.
    node.launch()?;
    assert_eq!(value(&mut node.master()?, Id::FirmwareVersion)?, newer.0);
    let refused = update(&node, &good, &[]).await.expect_err("it runs already").to_string();
    assert!(refused.contains("takes newer ones only"), "{refused}");
    Ok(())
}

fn text_of(version: Version) -> String {
    let [_, major, minor, patch] = version.0.to_be_bytes();
    format!("{major}.{minor}.{patch}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_of_node_or_gateway_loses_or_doubles_a_top_up_through_the_api() -> anyhow::Result<()> {
    const NODE_KILLS: u64 = 100;
    const GATEWAY_KILLS: u64 = 20;
    let Some(node) = Node::start()? else { return Ok(()) };
    let mut house = house(&node).await?;
    let node = Arc::new(Mutex::new(node));
    let mut paid = 0;
    for round in 1..=NODE_KILLS {
        let killer = {
            let node = Arc::clone(&node);
            // Before, in and after the transaction, which begins when the payment is answered.
            let after = Duration::from_millis(fastrand::u64(0..200));
            thread::spawn(move || {
                thread::sleep(after);
                lock(&node).launch()
            })
        };
        let key = format!("till-{round:03}");
        let amount = format!("{round}.00");
        if round % (NODE_KILLS / GATEWAY_KILLS) == 0 {
            let (base, body) = (
                house.gateway.base().to_owned(),
                json!({ "service_point": POINT, "amount": amount, "channel": "cashier" }),
            );
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
            let request =
                client.post(format!("{base}/api/v1/top-ups")).bearer_auth(TOKEN).header("Idempotency-Key", &key);
            let asked = tokio::spawn(request.header("Content-Type", "application/json").body(body.to_string()).send());
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..300))).await;
            house.gateway.kill();
            // Answered or not: the same key is used again below.
            let _ = asked.await?;
            house.gateway.restart().await?;
        }
        let status = pay(&house, &key, &amount).await?;
        assert!(matches!(status, 200 | 201), "{status}");
        paid += 100 * round;
        killer.join().expect("the killer does not panic")?;
        // The next kill is for the next top-up.
        eventually("the top-up is in the node", SOON, || async {
            let credits = credits(&house).await?;
            let credit = credits.iter().find(|credit| credit["purchase_count"] == round).context("it is not sent")?;
            anyhow::ensure!(credit["state"] == "confirmed", "{credit:#}");
            Ok(Some(()))
        })
        .await?;
    }
    house.gateway.kill();
    let mut master = lock(&node).master()?;
    // The node may still be about to answer the last question of the one that was killed.
    master.hear(Duration::from_millis(500))?;
    assert_eq!(u64::from(value(&mut master, Id::PurchaseCount)?), NODE_KILLS);
    assert_eq!(u64::from(value(&mut master, Id::Balance)?), paid, "fen in the node");
    let store = proved_journal(&house).await?;
    assert_eq!(store.open_credits().await?, []);
    let rows = store.credits(POINT, u32::MAX).await?;
    assert!(rows.iter().all(|row| row.state == CreditState::Confirmed), "{rows:?}");
    let mut counts: Vec<u64> = rows.iter().filter_map(|row| row.count.map(u64::from)).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=NODE_KILLS).collect::<Vec<_>>(), "each purchase once, without a hole");
    let again = rows.iter().filter(|row| row.attempts > 1).count();
    println!("{NODE_KILLS} kills of the node: {again} top-ups had to be sent again");
    assert!(again > 0, "no kill has hit a top-up before the node had it");
    // The ledger says of the meter what the meter says of itself, and nothing is left on the way.
    let wallet = store.wallet(POINT).await?.context("the service point has a wallet")?;
    assert_eq!(
        u64::try_from(wallet.in_meter.0)?,
        paid * Hao::PER_FEN.unsigned_abs(),
        "hao in the meter, by the ledger"
    );
    assert_eq!(wallet.balance, wallet.in_meter);
    let rows = store.outbox_after(0, u32::MAX).await?;
    let told = rows.iter().filter(|row| row.kind == "meter_credit").count();
    assert_eq!(told, usize::try_from(NODE_KILLS)?, "the billing store is told of each credit once");
    Ok(())
}

/// The wallet of the node's first channel, as its profile has it.
fn wallet() -> anyhow::Result<Wallet> {
    let at = |id| rule(id).map(|rule| rule.address).context("it is in the map");
    let first = at(Id::Balance)?;
    let place = |id| anyhow::Ok(usize::from(at(id)? - first));
    let parts = WalletParts {
        balance: 0,
        count: place(Id::PurchaseCount)?,
        amount: place(Id::LastAmount)?,
        result: place(Id::TopUpResult)?,
        result_count: place(Id::TopUpResultCount)?,
    };
    let count = at(Id::TopUpResultCount)? + 2 - first;
    let read = Extent { table: Table::Holding, address: first, count };
    Ok(Wallet::new(EquipmentClass::WaterMeter, Vec::new(), at(Id::TopUpFrame)?, read, parts)?)
}

fn look(master: &mut Master, wallet: &Wallet) -> Option<WalletSeen> {
    let extent = wallet.extent();
    match master.read(extent.address, extent.count) {
        Ok(Answer::Words(words)) => wallet.seen(&words),
        _ => None,
    }
}

/// Kills one node after the other; how many tries had no answer, and how many frames went again.
fn kills(rounds: i64) -> anyhow::Result<Option<(i64, i64)>> {
    let Some(node) = Node::start()? else { return Ok(None) };
    let node = Arc::new(Mutex::new(node));
    let wallet = wallet()?;
    let (mut credited, mut unanswered, mut again) = (0, 0, 0);
    for round in 1..=rounds {
        let killer = {
            let node = Arc::clone(&node);
            let after = Duration::from_micros(fastrand::u64(0..150_000));
            thread::spawn(move || {
                thread::sleep(after);
                lock(&node).launch()
            })
        };
        let mut row = MeterCredit {
            receipt: round,
            service_point: POINT.to_owned(),
            amount: Fen(round),
            count: None,
            state: CreditState::Pending,
            attempts: 0,
            detail: String::new(),
            at: Timestamp::EPOCH,
            paid_at: Timestamp::EPOCH,
            decided_by: None,
        };
        while row.state != CreditState::Confirmed {
            if attempt(&node, &wallet, &mut row).is_none() {
                unanswered += 1;
                quiet(&node);
            }
            anyhow::ensure!(row.state != CreditState::Manual, "round {round}: {row:?}");
        }
        again += i64::from(row.attempts > 1);
        killer.join().expect("the killer does not panic")?;
        credited += round;
        let mut master = lock(&node).master()?;
        assert_eq!(i64::from(value(&mut master, Id::PurchaseCount)?), round);
        assert_eq!(i64::from(value(&mut master, Id::Balance)?), credited, "round {round}, after the restart");
    }
    Ok(Some((unanswered, again)))
}

/// Waits until no answer to an older question can come any more, as a line does after a miss.
fn quiet(node: &Mutex<Node>) {
    // A node that is away has nothing to say.
    let _ = lock(node).master().and_then(|mut master| master.drain(Duration::from_millis(50)));
}

/// One try of the gateway's rules at the node; `None` when the node went away in the middle.
fn attempt(node: &Mutex<Node>, wallet: &Wallet, row: &mut MeterCredit) -> Option<()> {
    // The lock is not kept: the killer must not wait for an answer.
    let mut master = lock(node).master().ok()?;
    let seen = look(&mut master, wallet)?;
    let (count, amount) = match row.next(&seen) {
        Step::Settle(state, why) => {
            (row.state, row.detail) = (state, why.to_owned());
            return Some(());
        }
        Step::Send { count, amount } => (count, amount),
    };
    // Here the gateway's row is durable.
    (row.count, row.attempts) = (Some(count), row.attempts + 1);
    row.state = CreditState::Uncertain;
    // Whatever the node answers, or does not, what it shows decides.
    let _ = master.write(wallet.address(), &Wallet::frame(count, amount));
    let seen = look(&mut master, wallet)?;
    (row.state, row.detail) = {
        let (state, why) = row.judge(count, &seen);
        (state, why.to_owned())
    };
    Some(())
}

#[test]
fn a_hundred_kills_in_the_middle_of_top_ups_credit_each_exactly_once() -> anyhow::Result<()> {
    // Four nodes at once: most of a round is waiting for QEMU.
    const NODES: usize = 4;
    const KILLS: i64 = 25;
    let nodes: Vec<_> = (0..NODES).map(|_| thread::spawn(|| kills(KILLS))).collect();
    let (mut unanswered, mut again) = (0, 0);
    for node in nodes {
        let Some(counted) = node.join().expect("a panic in a thread is a failed assertion")? else { return Ok(()) };
        (unanswered, again) = (unanswered + counted.0, again + counted.1);
    }
    println!("{} kills: {unanswered} tries without an answer, {again} frames sent again", NODES as i64 * KILLS);
    assert!(unanswered > 0, "no kill fell into a top-up");
    Ok(())
}

fn lock(node: &Mutex<Node>) -> MutexGuard<'_, Node> {
    // A thread that panicked while it held the lock has failed the test already.
    node.lock().unwrap_or_else(PoisonError::into_inner)
}
