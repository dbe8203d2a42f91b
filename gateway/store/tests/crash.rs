//! kill -9 in the middle of many top-ups: whatever was acknowledged is there once, whatever was not is whole or
//! absent, and the proof holds.
//!
//! The test starts itself again as a child that tops up as fast as it can and says each acknowledged key aloud; the
//! parent kills it somewhere on the way and looks at what is left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guanjia_core::ledger::{TopUpOutcome, TopUpRequest};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Fen, Hao, Utility};
use guanjia_store::Store;

/// Tells the child where to work; without it the child's test does nothing.
const DIRECTORY: &str = "GUANJIA_CRASH_TEST_DIRECTORY";
/// Top-ups that wait for an answer at any moment.
const AT_ONCE: u64 = 16;
/// Lives of the child.
const LIVES: u64 = 4;

fn request(key: &str) -> TopUpRequest {
    TopUpRequest {
        client: "kiosk".to_owned(),
        key: key.to_owned(),
        service_point: "shop".to_owned(),
        amount: Fen(100),
        channel: "cashier".to_owned(),
        channel_txn: Some(format!("txn-{key}")),
        at: Timestamp::from_millis(1_795_478_400_000),
    }
}

/// The child's life: tops up until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let (store, _writer) = Store::open(Path::new(&directory), "harbour-mall").await.unwrap();
    store.open_wallet("shop", Utility::Electricity, Hao(0), Timestamp::EPOCH).await.unwrap();
    let life = store.receipts("shop", 1).await.unwrap().first().map_or(0, |receipt| receipt.number);
    let mut lanes = Vec::new();
    for lane in 0..AT_ONCE {
        let store = store.clone();
        lanes.push(tokio::spawn(async move {
            for n in 0.. {
                let key = format!("{life}-{lane}-{n}");
                let outcome = store.top_up(request(&key)).await.unwrap();
                assert!(matches!(outcome, TopUpOutcome::Applied(_)));
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {key}.").unwrap();
                out.flush().unwrap();
            }
        }));
    }
    for lane in lanes {
        lane.await.unwrap();
    }
}

#[tokio::test]
async fn killed_in_the_middle_no_acknowledged_top_up_is_lost_or_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for life in 0..LIVES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let heard = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&heard);
        let reader = std::thread::spawn(move || {
            // A line that was cut off by the kill has no end, and acknowledged nothing.
            let lines = lines.map_while(Result::ok);
            let keys = lines.filter_map(|line| Some(line.split_once("acknowledged ")?.1.strip_suffix('.')?.to_owned()));
            let counted = keys.inspect(|_| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            counted.collect::<Vec<String>>()
        });
        while heard.load(Ordering::Relaxed) < 150 + 7 * life {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(reader.join().unwrap());
        if life % 2 == 0 {
            // Every other time the child finds the log as the kill left it.
            check(dir.path(), &acknowledged).await;
        }
    }
    check(dir.path(), &acknowledged).await;
    println!("{} top-ups acknowledged over {LIVES} kills", acknowledged.len());
}

/// Looks at what is left, and repeats what was acknowledged.
async fn check(dir: &Path, acknowledged: &BTreeSet<String>) {
    let (store, writer) = Store::open(dir, "harbour-mall").await.unwrap();
    assert_eq!(store.verify().await.unwrap(), []);
    assert!(!acknowledged.is_empty());
    let before = store.wallet("shop").await.unwrap().unwrap().balance;
    let mut numbers = BTreeSet::new();
    for key in acknowledged {
        let receipt = store.top_up_by_key("kiosk", key).await.unwrap();
        let receipt = receipt.unwrap_or_else(|| panic!("{key} was acknowledged and is lost"));
        assert!(numbers.insert(receipt.number), "{key} shares a receipt");
    }
    for key in acknowledged.iter().step_by(50) {
        assert!(matches!(store.top_up(request(key)).await, Ok(TopUpOutcome::Replayed(_))), "{key} was credited again");
    }
    assert_eq!(store.wallet("shop").await.unwrap().unwrap().balance, before);
    // At most what was under way at each kill is there without having been acknowledged.
    let credited = u64::try_from(before.0 / 10_000).unwrap();
    let heard = acknowledged.len() as u64;
    assert!((heard..=heard + AT_ONCE * LIVES).contains(&credited), "{credited} credited, {heard} acknowledged");
    store.close().await;
    writer.await.unwrap();
}
