//! A debt of before the meter kept the credit: seen by people, paid at the till, and by nothing else.

use std::time::Duration;

use guanjia_core::ledger::{Baseline, UsageInterval, UsageQuality};
use guanjia_core::supply::Supply;
use guanjia_core::units::{ExactCharge, Fen, Hao, Price, Quantity, Utility};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::house::{House, long_ago};
use crate::live::SupplyView;
use crate::prepaid::meter::LEDGER_DEBT;

/// The house, with five yuan that were used before the meter of `s-2-w` kept the credit.
async fn with_a_debt() -> House {
    let house = House::open().await;
    let from = Baseline { raw: 0, at: long_ago(), exact: ExactCharge(0), posted: Hao(0) };
    house.live.store.set_first_baseline("s-2-w", from.clone()).await.unwrap();
    let cubic_metre = Quantity(1_000_000);
    let exact = ExactCharge::of(cubic_metre, Price(50_000));
    let posted = exact.round(Utility::Water).unwrap();
    let interval = UsageInterval {
        service_point: "s-2-w".to_owned(),
        device: "w-1".to_owned(),
        utility: Utility::Water,
        to: Baseline { raw: 1_000, at: from.at + Duration::from_secs(900), exact, posted },
        from,
        quantity: cubic_metre,
        tariff: "shop-water@1".to_owned(),
        quality: UsageQuality::Measured,
    };
    house.live.store.post_usage(interval).await.unwrap();
    assert_eq!(house.live.store.debts().await.unwrap(), [("s-2-w".to_owned(), Fen(500))]);
    house
}

async fn pay(house: &House, key: &str, point: &str, amount: &str, pays: Option<&str>) -> (StatusCode, Value) {
    let mut body = json!({ "service_point": point, "amount": amount, "channel": "cashier" });
    if let Some(pays) = pays {
        body["pays"] = json!(pays);
    }
    let request = house.http.post(format!("{}/api/v1/top-ups", house.url)).bearer_auth("cashier-token");
    let answer = request.header("Idempotency-Key", key).body(body.to_string()).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_debt_beside_the_meter_is_paid_at_the_till_and_never_with_too_much() {
    let house = with_a_debt().await;
    let store = &house.live.store;
    for (point, amount, pays, status, why) in [
        ("s-2-w", "5.01", "debt", StatusCode::CONFLICT, "5.00 is owed"),
        ("s-1-e", "1.00", "debt", StatusCode::CONFLICT, "every top-up pays its debt"),
        ("s-2-w", "1.00", "rent", StatusCode::BAD_REQUEST, "rent"),
    ] {
        let (found, problem) = pay(&house, "refused", point, amount, Some(pays)).await;
        assert_eq!(found, status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    assert_eq!(pay(&house, "part", "s-2-w", "2.00", Some("debt")).await.0, StatusCode::CREATED);
    assert_eq!(store.debts().await.unwrap(), [("s-2-w".to_owned(), Fen(300))]);
    assert_eq!(pay(&house, "rest", "s-2-w", "3.00", Some("debt")).await.0, StatusCode::CREATED);
    assert_eq!((store.debts().await.unwrap(), store.open_credits().await.unwrap()), (vec![], vec![]));
    // Asked again it is the old answer, although nothing is owed any more.
    assert_eq!(pay(&house, "rest", "s-2-w", "3.00", Some("debt")).await.0, StatusCode::OK);
    let (found, problem) = pay(&house, "more", "s-2-w", "1.00", Some("debt")).await;
    assert!(
        found == StatusCode::CONFLICT && problem["detail"].as_str().unwrap().contains("nothing is owed"),
        "{problem}"
    );
    // And a top-up goes into the meter, whole.
    assert_eq!(pay(&house, "top-up", "s-2-w", "10.00", None).await.0, StatusCode::CREATED);
    let credits: Vec<Fen> = store.open_credits().await.unwrap().iter().map(|credit| credit.amount).collect();
    assert_eq!(credits, [Fen(1_000)]);
    assert_eq!(store.wallet("s-2-w").await.unwrap().unwrap().balance, Hao(100_000));
}

#[tokio::test]
async fn a_debt_beside_the_meter_stands_on_the_shops_page_with_what_to_do() {
    let house = House::open().await;
    let view = SupplyView {
        service_point: "s-2-w".into(),
        balance: Hao(150_000),
        debt: Some(Fen(500)),
        desired: Supply::On,
        reported: None,
        reasons: vec![],
        blocked: vec![LEDGER_DEBT.to_owned()],
        waits_for: None,
        cover: None,
        warning: None,
        register: None,
    };
    house.live.supplies.publish(vec![view]);
    let ask = house.http.get(format!("{}/api/v1/service-points/s-2-w", house.url)).bearer_auth("office-token");
    let point: Value = ask.send().await.unwrap().json().await.unwrap();
    assert_eq!((&point["debt"], &point["blocked"]), (&json!("5.00"), &json!(["ledger_debt"])));
    let (_, page) = house.get("/shops/s-2-w?lang=en").await;
    assert!(page.contains("settle it at the till") && page.contains("¥ -5.00"), "{page}");
    let (_, page) = house.get("/shops/s-2-w?lang=zh").await;
    assert!(page.contains("请在收银处结清"), "{page}");
}
