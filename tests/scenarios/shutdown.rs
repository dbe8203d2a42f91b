//! Stops and starts: quick, told to the service manager, and nothing is forgotten in between.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use guanjia_sim::inventory::LineId;
use guanjia_sim::{BuildingConfig, Fault, LineFault, Server, Story};
use guanjia_tests::books::proved_journal;
use guanjia_tests::gateway::eventually;
use guanjia_tests::house::{House, TOKEN, quick};
use serde_json::json;
use tokio::net::UnixDatagram;

const LIMIT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_stop_is_quick_and_the_next_start_goes_on_from_there() -> anyhow::Result<()> {
    let mut house = House::start_with(BuildingConfig { speed: 300.0, ..quick() }, |_| {}, |text| text).await?;
    house.building.start_story(Story::FireAlarm, None)?;
    let incident = house.incident("EP-06", LIMIT).await?;
    house.order(&format!("/incidents/{}/acknowledge", incident["id"].as_str().context("an id")?)).await?;
    let paid = json!({ "service_point": "s-105-e", "amount": "12.34", "channel": "cashier" });
    assert_eq!(house.gateway.top_up(TOKEN, "before-the-stop", &paid).await?.0, 201);
    let yuan = |point: &serde_json::Value| point["balance"].as_str().and_then(|text| text.parse::<f64>().ok());
    let before = house.service_point("s-105-e").await?;
    assert!(yuan(&before) > Some(2_000.0), "the money is there at once: {}", before["balance"]);

    let (took, code) = house.gateway.terminate().await?;
    assert_eq!(code, Some(0), "{}", house.gateway.log_text());
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    house.gateway.restart().await?;

    let still = house.incident("EP-06", LIMIT).await?;
    assert_eq!(still["id"], incident["id"]);
    assert_eq!((&still["state"], &still["acknowledged_by"]), (&"acknowledged".into(), &"cashier".into()));
    assert_eq!(house.gateway.top_up(TOKEN, "before-the-stop", &paid).await?.0, 200, "the key is remembered");
    let after = house.service_point("s-105-e").await?;
    let used = yuan(&before).context("a balance")? - yuan(&after).context("a balance")?;
    assert!((0.0..200.0).contains(&used), "{} became {}", before["balance"], after["balance"]);
    let counted = |point: &serde_json::Value| point["register"]["value"].as_u64();
    eventually("the register is read again and goes on", LIMIT, || async {
        Ok((counted(&house.service_point("s-105-e").await?) > counted(&before)).then_some(()))
    })
    .await?;
    // Somebody answered; the second start rings nobody for the same thing.
    let pages = house.building.phone().pages();
    let taken: Vec<_> = pages.iter().filter(|p| p.answered < 300).filter_map(|p| p.idempotency_key()).collect();
    assert!(!taken.is_empty());
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), taken.len(), "a page was delivered twice");
    house.gateway.terminate().await?;
    proved_journal(&house).await?;
    Ok(())
}

/// The next datagrams of the gateway, until one says `wanted`.
async fn told(socket: &UnixDatagram, wanted: &str) -> anyhow::Result<()> {
    let mut bytes = [0; 1024];
    let search = async {
        loop {
            let length = socket.recv(&mut bytes).await?;
            if String::from_utf8_lossy(&bytes[..length]).lines().any(|line| line == wanted) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(LIMIT, search).await.with_context(|| format!("the service manager never hears {wanted}"))?
}

#[tokio::test]
async fn the_service_manager_is_told_and_a_stop_does_not_wait_for_what_hangs() -> anyhow::Result<()> {
    let mut house = House::start().await?;
    house.gateway.terminate().await?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    house.gateway.set_env("NOTIFY_SOCKET", path.to_string_lossy());
    house.gateway.set_env("WATCHDOG_USEC", "30000000");
    house.gateway.restart().await?;
    told(&socket, "READY=1").await?;
    told(&socket, "WATCHDOG=1").await?;
    house.gateway.signal("HUP")?;
    told(&socket, "RELOADING=1").await?;
    told(&socket, "READY=1").await?;

    // A line that accepts everything and answers nothing, and a browser that never goes away.
    let hangs = LineFault { server: Server::Hangs, ..LineFault::default() };
    for line in [LineId::Rs485A, LineId::Rs485B] {
        house.building.fault(&Fault::Line { line, fault: hangs })?;
    }
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut page = client.get(format!("{}/events?page=/", house.gateway.base())).send().await?;
    assert!(page.status().is_success());
    assert!(page.chunk().await?.is_some(), "the page is sent");
    let reader = tokio::spawn(async move { while let Ok(Some(_)) = page.chunk().await {} });

    let (took, code) = house.gateway.terminate().await?;
    told(&socket, "STOPPING=1").await?;
    let log = house.gateway.log_text();
    assert_eq!(code, Some(0), "{log}");
    assert!(took < Duration::from_secs(12), "it took {took:?}");
    assert!(took < Duration::from_secs(3) || log.contains("waiting for these to end"), "{took:?} without a word");
    tokio::time::timeout(Duration::from_secs(2), reader).await.context("the stream ends with the gateway")??;
    Ok(())
}
