//! Who keeps the balance, by the site file and by the node: where they differ people are told, and a debt of before is not lost.

use super::relays::with_two_shops;
use super::*;

/// The shop of the node's second channel, whose balance the gateway keeps.
const KEPT_HERE: &str = "s-102-w2";

/// The first channel's credit is in the node, the second's is not.
fn mixed(site: &str, node: &Node) -> String {
    let in_node = "supply = \"meter-wallet\"";
    with_two_shops(site, node).replacen("supply = \"prepaid\"\nopening_balance = \"0.10\"", in_node, 1)
}

async fn set(node: &Node, setting: &str, value: &str) -> anyhow::Result<()> {
    let said = guanjia(node, &["write"], &["--profile", "facility_node", "--yes", setting, value]).await?;
    anyhow::ensure!(said.contains("verified"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_the_node_that_is_not_as_the_site_has_it_calls_somebody() -> anyhow::Result<()> {
    let Some(node) = Node::start()? else { return Ok(()) };
    // Somebody has mixed the channels up: the node charges the second and not the first.
    set(&node, "prepaid_2", "1").await?;
    let mut house = House::start_with(quick(), |_| {}, |site| mixed(&site, &node)).await?;
    let alarms = [
        (format!("node-1/account_off_{POINT}"), "P3", "node-1/prepaid_1 1", "余额用尽也不会断供"),
        (format!("node-1/account_on_{KEPT_HERE}"), "P2", "node-1/prepaid_2 0", "不经通知"),
    ];
    for (key, priority, command, title) in &alarms {
        let alarm = house.wait_for_alarm(key, 2 * SOON, |alarm| alarm["active"] == true).await?;
        assert_eq!(alarm["priority"], *priority, "{alarm:#}");
        for lang in ["zh", "en"] {
            let action = alarm["action"][lang].as_str().context("it says what to do")?;
            assert!(action.contains(&format!("guanjia write --site FILE {command}")), "{action}");
        }
        house.wait_for_call(key, SOON, |call| call.is_for_duty_phone() && call.title.contains(title)).await?;
    }
    // What the alarms say, with the site's own file.
    house.gateway.kill();
    let file = house.site_file();
    let file = file.to_str().context("a temporary path is text")?;
    for (_, _, command, _) in &alarms {
        let mut arguments = vec!["write", "--site", file, "--yes"];
        arguments.extend(command.split(' '));
        let child = Command::new(binary()).args(&arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(SOON, child).await.context("the tool does not end")??;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("verified"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    house.gateway.restart().await?;
    for (key, ..) in &alarms {
        house.wait_for_alarm(key, SOON, |alarm| alarm["active"] != true).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debt_of_before_the_node_kept_the_credit_is_seen_and_settled_at_the_till() -> anyhow::Result<()> {
    let Some(node) = Node::start()? else { return Ok(()) };
    let before = "\"prepaid\"\nopening_balance = \"0.01\"";
    let kept_here = |site: String| with_node(&site, &node).replace("\"meter-wallet\"", before);
    let mut house = House::start_with(quick(), |_| {}, kept_here).await?;
    read_as(&house, "the counter is read", &[("pulses_1", "0")]).await?;
    node.pulses(0, 20, Duration::from_millis(100))?;
    eventually("more is used than was paid", SOON, || async {
        let point = house.service_point(POINT).await?;
        anyhow::ensure!(point["debt"].is_null(), "where the ledger keeps it a debt is the balance: {point:#}");
        let register = point["register"]["value"].as_i64() == Some(20_000);
        let owes = point["balance"].as_str().is_some_and(|balance| balance.starts_with('-'));
        Ok((register && owes).then_some(()))
    })
    .await?;
    // The last interval is posted at its end.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let text = std::fs::read_to_string(house.site_file())?.replace(before, "\"meter-wallet\"");
    std::fs::write(house.site_file(), text)?;
    house.gateway.kill();
    set(&node, "prepaid_1", "1").await?;
    house.gateway.restart().await?;
    let owed = async |house: &House| {
        let point = house.service_point(POINT).await?;
        let told = point["blocked"].as_array().is_some_and(|words| words.contains(&"ledger_debt".into()));
        let debt = point["debt"].as_str().map(str::to_owned);
        anyhow::ensure!(told == debt.is_some(), "a word and an amount: {point:#}");
        Ok(debt)
    };
    let debt = eventually("people see the debt", SOON, || owed(&house)).await?;
    let page = house.gateway.get(&format!("/shops/{POINT}?lang=en")).await?;
    assert!(page.contains("settle it at the till"), "{page}");
    // A top-up goes into the node, whole, and the debt stays.
    assert_eq!(pay(&house, "top-up", "1.00").await?, 201);
    read_as(&house, "the node has it", &[("balance_1", "100"), ("purchase_count_1", "1")]).await?;
    assert_eq!(owed(&house).await?.as_ref(), Some(&debt));
    // The till takes it, and no more than that.
    let settle = async |key: &str, amount: &str| {
        let body = json!({ "service_point": POINT, "amount": amount, "channel": "cashier", "pays": "debt" });
        anyhow::Ok(house.gateway.top_up(TOKEN, key, &body).await?.0)
    };
    assert_eq!(settle("too-much", "1.00").await?, 409);
    assert_eq!(settle("settled", &debt).await?, 201);
    eventually("it is gone", SOON, || async { Ok(owed(&house).await?.is_none().then_some(())) }).await?;
    house.gateway.terminate().await?;
    let store = proved_journal(&house).await?;
    assert!(store.debts().await?.iter().all(|(id, _)| id != POINT), "it is not owed any more");
    assert_eq!(store.credits(POINT, u32::MAX).await?.len(), 1, "and only the top-up went into the node");
    Ok(())
}
