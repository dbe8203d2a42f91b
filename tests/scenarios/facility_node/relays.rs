//! The node's outputs as the relays of two shops whose balances the gateway keeps: each is cut, proved and restored alone.

use guanjia_tests::books::Books;

use super::*;

/// Two shops on two channels, with ten fen each, that the gateway cuts.
const SHOPS: [(&str, &str, u8); 2] = [("s-101-w1", "s-101", 1), ("s-102-w2", "s-102", 2)];
/// How long a coil is driven, in seconds: the time between the write and its proof.
const PULSE_WIDTH: &str = "2";

pub(super) fn with_two_shops(site: &str, node: &Node) -> String {
    let mut text = format!(
        "{site}\n[rtu_over_tcp.node]\naddress = \"{}\"\nbaud = 9600\nparity = \"even\"\noverload = \"accept\"\n\n\
         [device.node-1]\nprofile = \"facility_node\"\nline = \"node\"\nunit = 1\nfloor = \"1F\"\n\
         polling = {{ alarm = \"500ms\", billing = \"1s\", bulk = \"5s\" }}\n\n\
         [policy.node]\nemergency_credit = \"0\"\nnotice1 = {{ balance = \"0.08\" }}\nnotice2 = {{ balance = \"0.04\" }}\n\
         final = {{ balance = \"0\" }}\nnotice_lead = \"1s\"\nreading_max_age = \"1m\"\nreconnect = \"direct\"\n\
         bypass_above = \"50 L/h\"\ncut_windows = [{{ days = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"], \
         from = \"00:00\", to = \"24:00\" }}]\n\n",
        node.address()
    );
    for (id, shop, channel) in SHOPS {
        text += &format!(
            "[service_point.{id}]\nshop = \"{shop}\"\ndevice = \"node-1\"\nutility = \"water\"\n\
             register = \"volume_total_{channel}\"\ntariff = \"shop-water\"\npolicy = \"node\"\nflow_max = \"500 m3/h\"\n\
             supply = \"prepaid\"\nopening_balance = \"0.10\"\n\n"
        );
    }
    text
}

/// Waits until the gateway reports a service point so.
pub(super) async fn reported(house: &House, id: &str, wanted: &str) -> anyhow::Result<()> {
    eventually(&format!("{id} is {wanted}"), SOON, || async {
        let point = house.service_point(id).await?;
        anyhow::ensure!(point["reported"] == wanted, "{point:#}");
        Ok(Some(()))
    })
    .await
}

pub(super) async fn pay_for(house: &House, id: &str, key: &str) -> anyhow::Result<()> {
    let body = json!({ "service_point": id, "amount": "20.00", "channel": "cashier" });
    assert_eq!(house.gateway.top_up(TOKEN, key, &body).await?.0, 201);
    Ok(())
}

/// Waits until one of an output's coils is driven; (opens, closes).
pub(super) fn driven(node: &Node, output: usize) -> anyhow::Result<(bool, bool)> {
    let begun = Instant::now();
    loop {
        let coils = node.coil(output)?;
        if coils != (false, false) {
            return Ok(coils);
        }
        anyhow::ensure!(begun.elapsed() < SOON, "no coil of output {} is driven", output + 1);
        thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_shops_on_one_node_are_cut_and_restored_each_by_its_own_output() -> anyhow::Result<()> {
    let Some(mut node) = Node::start()? else { return Ok(()) };
    // As it is put in: a relay on each output, switched on once so that it is known where they are.
    for (setting, value) in [
        ("output_kind_1", "1"),
        ("output_kind_2", "1"),
        ("commit_interval", "10"),
        ("output_1", "1"),
        ("output_2", "1"),
        ("pulse_width_1", PULSE_WIDTH),
    ] {
        let said = guanjia(&node, &["write"], &["--profile", "facility_node", "--yes", setting, value]).await?;
        assert!(said.contains("verified"), "{said}");
    }
    let mut house = House::start_with(quick(), |_| {}, |site| with_two_shops(&site, &node)).await?;
    for (id, _, _) in SHOPS {
        reported(&house, id, "on").await?;
    }
    assert_eq!(node.coil(0)?, (false, false));

    // Shop 1 uses up its ten fen: 30 litres at half a fen. The gateway dies between the write and its proof.
    node.pulses(0, 30, Duration::from_millis(100))?;
    assert_eq!(driven(&node, 0)?, (true, false), "it opens");
    house.gateway.kill();
    house.gateway.restart().await?;
    reported(&house, "s-101-w1", "off").await?;
    let point = house.service_point("s-101-w1").await?;
    assert_eq!(point["state"], "cut", "{point:#}");
    reported(&house, "s-102-w2", "on").await?;
    let mut journal = Books::journal(&house).await?;
    let intents = "SELECT COUNT(*) FROM relay_intents WHERE service_point = $1";
    assert_eq!(journal.number(intents, "s-101-w1").await?, Some(1), "what was sent is not sent again");
    assert_eq!(journal.number(intents, "s-102-w2").await?, Some(0), "nobody else was touched");

    // The node loses power while it is cut. Nothing was chosen for its start, so it stays.
    tokio::time::sleep(COMMIT).await;
    node.launch()?;
    read_as(&house, "it has started and is cut", &[("boots", "2"), ("output_supply_1", "1"), ("output_supply_2", "2")])
        .await?;
    assert_eq!((node.coil(0)?, node.coil(1)?), ((false, false), (false, false)), "nothing is driven at start");
    let log = house.gateway.log_text();
    assert!(!log.contains("somebody must look at the relay"), "a cut that worked alarms nobody");

    // Paid: back, and the other one has not moved.
    pay_for(&house, "s-101-w1", "back").await?;
    assert_eq!(driven(&node, 0)?, (false, true), "it closes");
    reported(&house, "s-101-w1", "on").await?;
    read_as(&house, "both pass", &[("output_supply_1", "2"), ("output_supply_2", "2"), ("output_moves_2", "0")])
        .await?;

    // Now the other way round.
    node.pulses(1, 30, Duration::from_millis(100))?;
    reported(&house, "s-102-w2", "off").await?;
    read_as(&house, "only the second is cut", &[("output_supply_1", "2"), ("output_supply_2", "1")]).await?;
    assert_eq!(house.service_point("s-101-w1").await?["reported"], "on");
    pay_for(&house, "s-102-w2", "back-too").await?;
    reported(&house, "s-102-w2", "on").await?;
    house.gateway.terminate().await?;
    proved_journal(&house).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn money_of_before_goes_into_the_node_when_it_begins_to_keep_the_credit() -> anyhow::Result<()> {
    let Some(node) = Node::start()? else { return Ok(()) };
    let said = guanjia(&node, &["write"], &["--profile", "facility_node", "--yes", "prepaid_1", "1"]).await?;
    assert!(said.contains("verified"), "{said}");
    // The gateway has kept the balance until now.
    let kept_here =
        |site: String| with_node(&site, &node).replace("\"meter-wallet\"", "\"prepaid\"\nopening_balance = \"12.34\"");
    let mut house = House::start_with(quick(), |_| {}, kept_here).await?;
    assert_eq!(pay(&house, "before", "30.00").await?, 201);
    assert!(house.service_point(POINT).await?["meter_credits"].is_null(), "no meter is asked");
    let text = std::fs::read_to_string(house.site_file())?
        .replace("supply = \"prepaid\"\nopening_balance = \"12.34\"", "supply = \"meter-wallet\"");
    std::fs::write(house.site_file(), text)?;
    house.gateway.kill();
    // It starts, dies, and starts again: one credit of all that was there.
    house.gateway.restart().await?;
    house.gateway.kill();
    house.gateway.restart().await?;
    let credit = eventually("the node has the money", SOON, || async {
        Ok(credits(&house).await?.into_iter().find(|credit| credit["state"] == "confirmed"))
    })
    .await?;
    assert_eq!((&credit["purchase_count"], &credit["amount"]), (&1.into(), &"42.34".into()), "{credit:#}");
    read_as(&house, "it says so itself", &[("balance_1", "4234"), ("purchase_count_1", "1")]).await?;
    assert_eq!(credits(&house).await?.len(), 1);
    assert_eq!(pay(&house, "after", "1.00").await?, 201);
    read_as(&house, "later money as ever", &[("balance_1", "4334"), ("purchase_count_1", "2")]).await?;
    house.gateway.terminate().await?;
    let store = proved_journal(&house).await?;
    let wallet = store.wallet(POINT).await?.context("the service point has a wallet")?;
    assert_eq!((wallet.balance, wallet.in_meter), (Hao(433_400), Hao(433_400)));
    Ok(())
}
