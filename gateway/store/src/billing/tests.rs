//! What only the inside of the store can provoke.

use sqlx::Connection;

use super::{Backend, BillingStore, BillingTarget};
use crate::chain::GENESIS;
use crate::journal::OutboxRow;
use crate::sql::Conn;

#[path = "../../tests/support/pg.rs"]
#[allow(dead_code, reason = "the suite in tests/ uses the rest")]
mod pg;

fn first_row() -> OutboxRow {
    let mut row = OutboxRow {
        site: "harbour-mall".to_owned(),
        epoch: uuid::Uuid::from_u128(1),
        seq: 1,
        kind: "wallet".to_owned(),
        at: guanjia_core::time::Timestamp::EPOCH,
        payload: r#"{"service_point":"shop","utility":"water","at":0,"opening":null}"#.to_owned(),
        prev_hash: GENESIS.to_owned(),
        hash: String::new(),
    };
    row.hash = row.expected_hash();
    row
}

/// transact-rs/sqlx#4393: the pool hands out connections that are inside somebody's forgotten transaction.
#[tokio::test]
async fn a_forgotten_transaction_swallows_no_row_and_commits_none() {
    let Some(server) = pg::shared() else { return };
    let target = BillingTarget::Postgres(server.database().await);
    let store = BillingStore::connect(&target).await.unwrap();
    let Backend::Postgres(pool) = &store.backend else { unreachable!("connected to PostgreSQL") };
    // Somebody's rows that were never committed; and a transaction in its failed state.
    let ghost = "BEGIN; INSERT INTO cursors (site, epoch, next, last_hash)
                 SELECT 'ghost', pg_backend_pid()::text, 1, ''";
    for spoil in [ghost, "BEGIN; SELECT 1 / 0"] {
        let mut spoiled = Vec::new();
        for _ in 0..super::CONNECTIONS {
            let mut conn = pool.acquire().await.unwrap();
            let spoiled_now = Conn::Postgres(&mut conn).control(spoil).await;
            assert_eq!(spoiled_now.is_ok(), spoil == ghost);
            spoiled.push(conn);
        }
        drop(spoiled);
        assert_eq!(store.append(&[first_row()]).await, Ok(2), "{spoil}");
        let BillingTarget::Postgres(url) = &target else { unreachable!("made above") };
        let mut other = sqlx::PgConnection::connect(url).await.unwrap();
        let row = Conn::Postgres(&mut other).row("SELECT COUNT(*) AS n FROM inbox", &[]).await.unwrap().unwrap();
        assert_eq!(row.int("n"), Ok(1), "acknowledged, and seen by another session");
        let sql = "SELECT COUNT(*) AS n FROM cursors WHERE site = 'ghost'";
        let row = Conn::Postgres(&mut other).row(sql, &[]).await.unwrap().unwrap();
        assert_eq!(row.int("n"), Ok(0), "what nobody committed stays uncommitted");
    }
}
