//! Who keeps the balance, by the site file and by the node: where they differ people are told.

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
