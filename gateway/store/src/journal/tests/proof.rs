//! The proof finds what was tampered with; the outbox keeps its promises.

use guanjia_core::credit::CreditState;
use guanjia_core::incident::TimelineEntry;
use guanjia_core::units::Hao;
use sqlx::{Connection, SqliteConnection};

use super::{Journal, SHOP, applied, at, interval, request, start};
use crate::error::StoreError;
use crate::journal::AlarmBatch;
use crate::sql::Conn;

/// A journal with a little of everything that never changes.
async fn lived_in() -> Journal {
    let journal = Journal::with_wallet(Hao(50_000)).await;
    let store = &journal.store;
    for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
        let mut request = request(key, 1_000);
        request.channel_txn = Some(format!("4200{n}"));
        applied(store.top_up(request).await.unwrap());
    }
    store.set_first_baseline(SHOP, start()).await.unwrap();
    let mut baseline = start();
    for _ in 0..3 {
        let next = interval(&baseline, 500);
        baseline = next.to.clone();
        store.post_usage(next).await.unwrap();
    }
    store.top_up_meter(request("m", 2_000)).await.unwrap();
    store.send_credit(4, 1, at(2)).await.unwrap();
    store.settle_credit(4, CreditState::Confirmed, "shown", at(3)).await.unwrap();
    store.post_meter_usage(interval(&baseline, 500)).await.unwrap();
    for what in ["raised", "accepted", "closed"] {
        let entry = TimelineEntry {
            at: at(1),
            incident: None,
            what: what.to_owned(),
            subject: "pump".to_owned(),
            detail: "-".to_owned(),
        };
        store.commit_alarms(AlarmBatch { timeline: vec![entry], ..AlarmBatch::default() }).await.unwrap();
    }
    journal
}

/// Runs `sql` on the file behind the writer's back.
async fn tamper(journal: &Journal, sql: &'static str) -> Result<(), StoreError> {
    let file = journal.dir.path().join("guanjia.db");
    let mut conn = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    let result = Conn::Sqlite(&mut conn).control(sql).await;
    conn.close().await.unwrap();
    result
}

#[tokio::test]
async fn history_refuses_to_be_changed_or_deleted() {
    let journal = lived_in().await;
    for table in ["transfers", "postings", "receipts", "top_up_keys", "usage_intervals", "timeline", "outbox"] {
        for sql in [format!("UPDATE {table} SET rowid = rowid"), format!("DELETE FROM {table}")] {
            let sql =
                sql.replace("SET rowid = rowid", if table == "postings" { "SET leg = leg" } else { "SET at = at" });
            let sql = if table == "top_up_keys" { sql.replace("at = at", "key = key") } else { sql };
            let sql = if table == "usage_intervals" { sql.replace("at = at", "to_at = to_at") } else { sql };
            let refused = tamper(&journal, sql.leak()).await;
            assert!(matches!(&refused, Err(StoreError::Conflict(why)) if why.contains("append only")), "{refused:?}");
        }
    }
    journal.assert_proven().await;
}

#[tokio::test]
async fn one_tampered_byte_of_an_old_row_is_named() {
    // (table, what is changed in an old row, what the proof must name)
    let lies = [
        ("transfers", "UPDATE transfers SET cause = replace(cause, '42001', '42009') WHERE seq = 3", "transfers "),
        ("transfers", "UPDATE transfers SET at = at + 1 WHERE seq = 2", "transfers "),
        ("postings", "UPDATE postings SET amount = amount + 1 WHERE transfer = 2 AND leg = 2", "transfers "),
        ("postings", "UPDATE postings SET account = 'wallet:shop-3-013' WHERE transfer = 2 AND leg = 2", "wallets "),
        ("postings", "UPDATE postings SET balance = balance + 1 WHERE transfer = 2 AND leg = 2", "postings 2/2"),
        ("receipts", "UPDATE receipts SET amount = 1001 WHERE number = 1", "receipts 1"),
        ("receipts", "UPDATE receipts SET channel = 'cashies' WHERE number = 2", "receipts 2"),
        ("top_up_keys", "UPDATE top_up_keys SET key = 'd' WHERE key = 'a'", "top_up_keys kiosk a"),
        ("top_up_keys", "UPDATE top_up_keys SET channel_txn = '42008' WHERE key = 'a'", "top_up_keys kiosk a"),
        ("usage_intervals", "UPDATE usage_intervals SET quantity = 501 WHERE seq = 1", "usage_intervals 1"),
        ("usage_intervals", "UPDATE usage_intervals SET to_raw = '1501' WHERE seq = 1", "usage_intervals 2"),
        ("usage_intervals", "UPDATE usage_intervals SET tariff = 'shops@2' WHERE seq = 3", "usage_intervals 3"),
        ("first_baselines", "UPDATE first_baselines SET raw = '1001'", "usage_intervals 1"),
        ("timeline", "UPDATE timeline SET what = 'accepteb' WHERE seq = 3", "timeline 3"),
        ("timeline", "DELETE FROM timeline WHERE seq = 3", "timeline 4"),
        ("outbox", "UPDATE outbox SET payload = replace(payload, '10000', '10001') WHERE seq = 2", "outbox 2"),
        ("outbox", "UPDATE outbox SET at = at + 1 WHERE seq = 1", "outbox 1"),
        (
            "outbox",
            "UPDATE outbox SET hash = iif(substr(hash, 1, 1) = 'a', 'b', 'a') || substr(hash, 2) WHERE seq = 1",
            "outbox 1",
        ),
        ("outbox", "DELETE FROM outbox WHERE seq = 3", "outbox 4"),
        ("wallets", "UPDATE wallets SET balance = balance + 1", "wallets shop-3-012"),
        ("wallets", "UPDATE wallets SET in_meter = in_meter + 1", "wallets shop-3-012"),
        ("meter_credits", "UPDATE meter_credits SET detail = 'shows'", "meter_credits 4"),
        ("meter_credits", "UPDATE meter_credits SET amount = 2001", "meter_credits 4"),
        (
            "meter_credits",
            "UPDATE meter_credits SET transfer = (SELECT id FROM transfers WHERE seq = 2)",
            "meter_credits 4",
        ),
        ("wallets", "UPDATE wallets SET opened_at = opened_at + 1", "wallets shop-3-012"),
    ];
    let journal = lived_in().await;
    journal.assert_proven().await;
    let original = journal.dir.path().join("original.db");
    let file = journal.dir.path().join("guanjia.db");
    journal.store.close().await;
    std::fs::copy(&file, &original).unwrap();
    for (table, lie, named) in lies {
        std::fs::copy(&original, &file).unwrap();
        let sql = format!(
            "PRAGMA foreign_keys = OFF;
             DROP TRIGGER IF EXISTS {table}_no_update; DROP TRIGGER IF EXISTS {table}_no_delete;
             DROP TRIGGER IF EXISTS {table}_no_rename; DROP TRIGGER IF EXISTS {table}_content;
             DROP TRIGGER IF EXISTS {table}_settled; {lie};"
        );
        tamper(&journal, sql.leak()).await.unwrap();
        let (store, _writer) = super::Store::open(journal.dir.path(), "harbour-mall").await.unwrap();
        let found = store.verify().await.unwrap();
        assert!(found.iter().any(|violation| violation.row.starts_with(named)), "{lie}: {found:#?}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_flipped_byte_in_the_file_itself_is_found() {
    let journal = lived_in().await;
    journal.store.close().await;
    let file = journal.dir.path().join("guanjia.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let needle = b"\"channel\":\"cashier\"";
    // SQLite leaves old copies of moved rows in free space, so every copy is damaged, the live one among them.
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place + 12] ^= 0x01;
    }
    std::fs::write(&file, bytes).unwrap();
    let (store, _writer) = super::Store::open(journal.dir.path(), "harbour-mall").await.unwrap();
    let found = store.verify().await.unwrap();
    assert!(found.iter().any(|violation| violation.check == "outbox_chain"), "{found:?}");
}

#[tokio::test]
async fn the_outbox_is_dense_and_confirms_only_forward() {
    let journal = lived_in().await;
    let store = &journal.store;
    let rows = store.outbox_after(0, 100).await.unwrap();
    let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["wallet", "top_up", "top_up", "top_up", "usage", "usage", "usage", "top_up", "meter_credit", "usage",]
    );
    assert!(rows.iter().zip(1..).all(|(row, seq)| row.seq == seq && row.epoch == store.epoch()));
    assert!(rows.windows(2).all(|pair| pair[1].prev_hash == pair[0].hash));
    assert_eq!(store.outbox_after(5, 1).await.unwrap()[0].seq, 6);

    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.count, backlog.oldest_at), (10, Some(at(0))));
    store.outbox_confirmed(5).await.unwrap();
    store.outbox_confirmed(2).await.unwrap();
    assert_eq!(store.outbox_cursor().await, Ok(5));
    assert_eq!(store.backlog().await.unwrap().count, 5);
    assert!(matches!(store.outbox_confirmed(11).await, Err(StoreError::Invalid(_))));
    store.outbox_confirmed(10).await.unwrap();
    let backlog = store.backlog().await.unwrap();
    assert_eq!((backlog.count, backlog.oldest_at), (0, None));
}
