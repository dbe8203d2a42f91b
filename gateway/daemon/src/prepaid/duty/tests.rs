//! What is declared, when, and with which numbers.

use guanjia_core::time::Timestamp;
use guanjia_core::units::Fen;

use super::*;

/// The example site with a field node whose first channel keeps a tenant's credit, and whose second does not.
pub(in crate::prepaid) fn site_with_node() -> Site {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let example = std::fs::read_to_string(directory.join("site.toml")).unwrap();
    let node = r#"
[rtu_over_tcp.node]
address = "192.0.2.77:4196"
baud = 9600
parity = "even"

[device.node-1]
profile = "facility_node"
line = "node"
unit = 1
floor = "1F"
name = { zh = "一号节点", en = "Node 1" }

[service_point.s-101-w1]
shop = "s-101"
device = "node-1"
utility = "water"
register = "volume_total_1"
tariff = "shop-water"
policy = "water"
flow_max = "50 m3/h"
supply = "meter-wallet"

[service_point.s-101-w2]
shop = "s-101"
device = "node-1"
utility = "water"
register = "volume_total_2"
tariff = "shop-water"
policy = "water"
flow_max = "50 m3/h"
supply = "prepaid"
"#;
    let (site, report) = crate::config::text_for_plan("site.toml", &format!("{example}{node}"), &directory);
    site.unwrap_or_else(|| panic!("{report}"))
}

fn credit(receipt: i64, state: CreditState, attempts: u32) -> MeterCredit {
    MeterCredit {
        receipt,
        service_point: "s-101-w1".to_owned(),
        amount: Fen(5_000),
        count: Some(8),
        state,
        attempts,
        detail: String::new(),
        at: Timestamp::EPOCH,
        paid_at: Timestamp::EPOCH,
        decided_by: None,
    }
}

/// What was declared since the last look: the alarm's word, whether it holds, the numbers.
fn declared(queue: &mut mpsc::Receiver<Observation>) -> Vec<(String, bool, String)> {
    let mut all = Vec::new();
    while let Ok(Observation::Declared(Declaration { key, holds, detail })) = queue.try_recv() {
        let word = key.strip_prefix("node-1/").and_then(|key| key.rsplit_once("_s-101-")).unwrap().0;
        all.push((word.to_owned(), holds, detail.en));
    }
    all
}

#[test]
fn every_service_point_whose_meter_keeps_the_credit_has_its_alarms_and_one_whose_meter_could_has_one() {
    let site = site_with_node();
    let declared: Vec<_> = site.alarms.iter().filter(|def| def.condition == Condition::Declared).collect();
    let (one, others): (Vec<_>, Vec<_>) = declared.into_iter().partition(|def| def.key.ends_with("_s-101-w2"));
    let [one] = one.as_slice() else { panic!("{one:?}") };
    assert_eq!((&*one.key, one.priority), ("node-1/account_on_s-101-w2", Priority::P2));
    for text in [&one.action.zh, &one.action.en] {
        assert!(text.contains("guanjia write --site FILE node-1/prepaid_2 0"), "{text}");
    }
    let off = others.iter().find(|def| def.key.starts_with("node-1/account_off_")).unwrap();
    for text in [&off.action.zh, &off.action.en] {
        assert!(text.contains("guanjia write --site FILE node-1/prepaid_1 1"), "{text}");
    }
    assert_eq!(others.len(), Trouble::ALL.len() - 1, "one whose meter keeps the credit has all but that");
    for def in &others {
        assert!(def.key.starts_with("node-1/") && def.key.ends_with("_s-101-w1"), "{}", def.key);
        assert_eq!((def.priority, def.plan.as_deref()), (Priority::P3, Some("EP-11")), "it rings somebody");
        assert!(def.text.en.starts_with("Cafe 101: ") && def.text.zh.starts_with("101咖啡"), "{:?}", def.text);
    }
}

#[tokio::test]
async fn a_credit_is_declared_with_its_numbers_when_it_changes_and_never_silently() {
    let site = Arc::new(site_with_node());
    let (sender, mut queue) = mpsc::channel(16);
    let mut desk = Desk::new(Arc::clone(&site), sender.clone());
    let word = |word: &str, holds: bool, numbers: &str| (word.to_owned(), holds, numbers.to_owned());

    // After a start everything is declared once, so that what was settled meanwhile clears.
    desk.tell_credits(&[]).await;
    assert_eq!(declared(&mut queue), [word("credit_uncertain", false, ""), word("credit_manual", false, "")]);
    desk.tell_credits(&[credit(7, CreditState::Pending, 0), credit(6, CreditState::Held, 3)]).await;
    desk.tell_credits(&[credit(7, CreditState::Sent, 1)]).await;
    assert_eq!(declared(&mut queue), [], "what is on its way, or has no room in the meter, is no trouble");

    desk.tell_credits(&[credit(7, CreditState::Uncertain, 1)]).await;
    assert_eq!(declared(&mut queue), [word("credit_uncertain", true, "receipt 7, 50.00 yuan")]);
    desk.tell_credits(&[credit(7, CreditState::Sent, 2)]).await;
    assert_eq!(declared(&mut queue), [], "while it is tried again its fate is still not known");
    desk.tell_credits(&[credit(7, CreditState::Manual, 2), credit(8, CreditState::Manual, 1)]).await;
    let both = "receipt 7, 50.00 yuan; receipt 8, 50.00 yuan";
    assert_eq!(declared(&mut queue), [word("credit_uncertain", false, ""), word("credit_manual", true, both)]);

    // The next start says again what holds.
    let mut desk = Desk::new(site, sender);
    desk.tell_credits(&[credit(8, CreditState::Manual, 1)]).await;
    let one = "receipt 8, 50.00 yuan";
    assert_eq!(declared(&mut queue), [word("credit_uncertain", false, ""), word("credit_manual", true, one)]);
}

#[tokio::test]
async fn an_account_that_is_not_as_the_site_has_it_is_told_until_it_is() {
    let site = Arc::new(site_with_node());
    let (sender, mut queue) = mpsc::channel(16);
    let mut desk = Desk::new(Arc::clone(&site), sender);
    let by_id = |id: &str| site.service_points.iter().find(|point| *point.id == *id).unwrap();
    let (keeps, keeps_not) = (by_id("s-101-w1"), by_id("s-101-w2"));
    let word = |word: &str, holds: bool, reads: &str| (word.to_owned(), holds, reads.to_owned());
    desk.tell_account(keeps, true).await;
    desk.tell_account(keeps_not, false).await;
    assert_eq!(declared(&mut queue), [word("account_off", false, ""), word("account_on", false, "")]);
    desk.tell_account(keeps, false).await;
    desk.tell_account(keeps_not, true).await;
    let told = [word("account_off", true, "the meter reads 0"), word("account_on", true, "the meter reads 1")];
    assert_eq!(declared(&mut queue), told);
    desk.tell_account(keeps, false).await;
    assert_eq!(declared(&mut queue), [], "nothing has changed");
    desk.tell_account(keeps, true).await;
    desk.tell_account(keeps_not, false).await;
    assert_eq!(declared(&mut queue), [word("account_off", false, ""), word("account_on", false, "")]);
}
