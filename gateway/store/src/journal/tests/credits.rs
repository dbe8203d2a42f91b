//! Top-ups on their way into meters: one receipt, one credit, one count, one at a time.

use guanjia_core::credit::{CreditState, Finding, MeterCredit};
use guanjia_core::ledger::TopUpOutcome;
use guanjia_core::reconcile::{Booked, MeterMark, Sight, Span};
use guanjia_core::units::{Fen, Hao};

use sqlx::{Connection, SqliteConnection};

use super::{Journal, SHOP, applied, at, interval, request, start};
use crate::error::StoreError;
use crate::journal::writer::Command;
use crate::journal::{CreditDecision, Explanation, Store};
use crate::sql::Conn;

async fn open(journal: &Journal) -> Vec<(i64, Option<u32>, CreditState, u32)> {
    let credits = journal.store.open_credits().await.unwrap();
    credits.into_iter().map(|c| (c.receipt, c.count, c.state, c.attempts)).collect()
}

#[tokio::test]
async fn a_credit_begins_with_its_receipt_and_outlives_every_restart() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let first = applied(journal.store.top_up_meter(request("k1", 5_000)).await.unwrap());
    applied(journal.store.top_up_meter(request("k2", 100)).await.unwrap());
    // One that was not for the meter, and one that was credited before, make none.
    applied(journal.store.top_up(request("k3", 700)).await.unwrap());
    assert_eq!(journal.store.top_up_meter(request("k1", 5_000)).await, Ok(TopUpOutcome::Replayed(first)));
    let journal = journal.reopen().await;
    let pending = |receipt| (receipt, None, CreditState::Pending, 0);
    assert_eq!(open(&journal).await, [pending(1), pending(2)]);

    journal.store.send_credit(1, 8, at(1)).await.unwrap();
    journal.store.settle_credit(1, CreditState::Uncertain, "no answer", at(2)).await.unwrap();
    let journal = journal.reopen().await;
    assert_eq!(open(&journal).await[0], (1, Some(8), CreditState::Uncertain, 1));
    journal.store.send_credit(1, 8, at(3)).await.unwrap();
    journal.store.settle_credit(1, CreditState::Confirmed, "the meter shows it", at(4)).await.unwrap();
    assert_eq!(open(&journal).await, [pending(2)]);
    let newest: Vec<MeterCredit> = journal.store.credits(SHOP, 10).await.unwrap();
    assert_eq!((newest.len(), newest[1].state, newest[1].attempts), (2, CreditState::Confirmed, 2));
    assert_eq!((newest[1].amount, newest[1].at), (Fen(5_000), at(4)));
    journal.assert_proven().await;
}

#[tokio::test]
async fn a_count_is_assigned_once_and_one_credit_is_under_way_at_a_time() {
    let journal = Journal::with_wallet(Hao(0)).await;
    for key in ["k1", "k2"] {
        applied(journal.store.top_up_meter(request(key, 5_000)).await.unwrap());
    }
    journal.store.send_credit(1, 8, at(1)).await.unwrap();
    let refused = journal.store.send_credit(1, 9, at(2)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    for state in [CreditState::Sent, CreditState::Uncertain, CreditState::Held] {
        journal.store.settle_credit(1, state, "", at(3)).await.unwrap();
        let refused = journal.store.send_credit(2, 9, at(3)).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{state:?}: {refused:?}");
    }
    journal.store.settle_credit(1, CreditState::Confirmed, "", at(4)).await.unwrap();
    journal.store.send_credit(2, 9, at(5)).await.unwrap();
    for receipt in [1, 3] {
        let refused = journal.store.settle_credit(receipt, CreditState::Manual, "", at(6)).await;
        assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    }
    journal.assert_proven().await;
}

#[tokio::test]
async fn nobody_rewrites_a_credit() {
    let journal = Journal::with_wallet(Hao(0)).await;
    applied(journal.store.top_up_meter(request("k1", 5_000)).await.unwrap());
    journal.store.send_credit(1, 8, at(1)).await.unwrap();
    for sql in [
        "UPDATE meter_credits SET amount = 9",
        "UPDATE meter_credits SET count = 9",
        "UPDATE meter_credits SET count = NULL, state = 'pending'",
        "DELETE FROM meter_credits",
    ] {
        assert!(journal.store.send_done(Command::Sabotage(sql)).await.is_err(), "{sql}");
    }
    let drop = "DROP TRIGGER meter_credits_content; UPDATE meter_credits SET amount = 9";
    journal.store.send_done(Command::Sabotage(drop)).await.unwrap();
    let broken: Vec<_> = journal.store.verify().await.unwrap().iter().map(|violation| violation.check).collect();
    assert!(broken.contains(&"credits_are_receipts") && broken.contains(&"history_is_guarded"), "{broken:?}");
}

#[tokio::test]
async fn what_became_of_a_credit_is_told_once() {
    let journal = Journal::with_wallet(Hao(0)).await;
    applied(journal.store.top_up_meter(request("k1", 5_000)).await.unwrap());
    for second in 1..4 {
        journal.store.send_credit(1, 8, at(second)).await.unwrap();
        journal.store.settle_credit(1, CreditState::Held, "over the limit", at(second)).await.unwrap();
    }
    journal.store.settle_credit(1, CreditState::Confirmed, "shown", at(9)).await.unwrap();
    let told = journal.store.timeline_after(0, 100).await.unwrap();
    let told: Vec<_> = told.iter().filter(|(_, row)| row.what == "meter_credit").map(|(_, row)| &row.detail).collect();
    assert_eq!(told, ["receipt 1, purchase 8: held: over the limit", "receipt 1, purchase 8: confirmed: shown"]);
}

/// What the ledger's wallet and the meter's hold, in hao.
async fn held(journal: &Journal) -> (i64, i64) {
    let wallet = journal.store.wallet(SHOP).await.unwrap().unwrap();
    (wallet.balance.0 - wallet.in_meter.0, wallet.in_meter.0)
}

fn decision(receipt: i64, finding: Finding) -> CreditDecision {
    let (who, via, reason) = ("li".to_owned(), "api".to_owned(), "read at the meter".to_owned());
    CreditDecision { receipt, finding, who, via, reason, at: at(9) }
}

#[tokio::test]
async fn money_moves_with_the_proof_and_with_nothing_else() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let store = &journal.store;
    applied(store.top_up_meter(request("k1", 5_000)).await.unwrap());
    store.send_credit(1, 8, at(1)).await.unwrap();
    for state in [CreditState::Uncertain, CreditState::Held, CreditState::Sent] {
        store.settle_credit(1, state, state.as_str(), at(2)).await.unwrap();
        assert_eq!(held(&journal).await, (500_000, 0), "{state:?}");
    }
    store.settle_credit(1, CreditState::Confirmed, "shown", at(3)).await.unwrap();
    assert_eq!(held(&journal).await, (0, 500_000));
    assert!(store.settle_credit(1, CreditState::Confirmed, "shown", at(3)).await.is_err(), "once");
    assert_eq!(held(&journal).await, (0, 500_000));
    // What is used is taken from the meter's wallet.
    store.set_first_baseline(SHOP, start()).await.unwrap();
    store.post_meter_usage(interval(&start(), 1_000)).await.unwrap();
    assert_eq!(held(&journal).await, (0, 500_000 - 5_683));
    let kinds: Vec<_> =
        store.statement(SHOP, 10).await.unwrap().iter().map(|l| (l.kind.as_str(), l.amount.0)).collect();
    assert_eq!(kinds, [("usage", -5_683), ("meter_credit", 0), ("top_up", 500_000)]);
    journal.reopen().await.assert_proven().await;
}

#[tokio::test]
async fn a_person_settles_what_the_meter_contradicts_once_and_by_name() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let store = &journal.store;
    for (key, receipt) in [("k1", 1), ("k2", 2)] {
        applied(store.top_up_meter(request(key, 5_000)).await.unwrap());
        let early = store.decide_credit(decision(receipt, Finding::Applied)).await;
        assert!(matches!(&early, Err(StoreError::Conflict(why)) if why.contains("waits for no person")), "{early:?}");
        store.send_credit(receipt, 8, at(1)).await.unwrap();
        store.settle_credit(receipt, CreditState::Manual, "another amount", at(2)).await.unwrap();
        let machine = store.settle_credit(receipt, CreditState::Confirmed, "shown", at(3)).await;
        assert!(matches!(machine, Err(StoreError::NotFound { .. })), "it waits for a person: {machine:?}");
    }
    for mute in ["", "  ", &"x".repeat(501)] {
        let refused =
            store.decide_credit(CreditDecision { reason: mute.to_owned(), ..decision(1, Finding::Applied) }).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    }
    store.decide_credit(decision(1, Finding::Applied)).await.unwrap();
    store.decide_credit(decision(2, Finding::NotApplied)).await.unwrap();
    assert_eq!(held(&journal).await, (500_000, 500_000));
    for (receipt, finding) in [(1, Finding::Applied), (1, Finding::NotApplied), (2, Finding::Applied)] {
        let again = store.decide_credit(decision(receipt, finding)).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    }
    let unknown = store.decide_credit(decision(3, Finding::Applied)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })), "{unknown:?}");
    assert_eq!(held(&journal).await, (500_000, 500_000));
    assert_eq!(store.open_credits().await, Ok(Vec::new()));
    let told = store.timeline_after(0, 100).await.unwrap();
    let told: Vec<_> =
        told.iter().filter(|(_, row)| row.what == "meter_credit_decided").map(|(_, row)| &row.detail).collect();
    assert_eq!(
        told,
        [
            "receipt 1, purchase 8: confirmed by li (api): read at the meter",
            "receipt 2, purchase 8: not_applied by li (api): read at the meter"
        ]
    );
    journal.assert_proven().await;
}

#[tokio::test]
async fn a_journal_from_before_the_meter_wallets_is_booked_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(dir.path(), "harbour-mall").await.unwrap();
    store.open_wallet(SHOP, guanjia_core::units::Utility::Electricity, Hao(0), at(0)).await.unwrap();
    for key in ["k1", "k2"] {
        applied(store.top_up_meter(request(key, 5_000)).await.unwrap());
    }
    store.close().await;
    writer.await.unwrap();
    // As the older program left it: its tables, one credit confirmed and none booked.
    let file = dir.path().join("guanjia.db");
    let mut raw = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    let mut conn = Conn::Sqlite(&mut raw);
    conn.control(
        "DROP TABLE meter_marks; DROP TABLE meter_credits; ALTER TABLE wallets DROP COLUMN in_meter; DELETE FROM _sqlx_migrations WHERE version > 3;",
    )
    .await
    .unwrap();
    conn.control(include_str!("../../../migrations/sqlite/0003_meter_credits.sql")).await.unwrap();
    conn.control(
        "INSERT INTO meter_credits VALUES (1, 'shop-3-012', 5000, 8, 'confirmed', 1, 'shown', 7),
                                          (2, 'shop-3-012', 5000, 9, 'uncertain', 1, 'no answer', 8);",
    )
    .await
    .unwrap();
    raw.close().await.unwrap();
    for _ in 0..2 {
        let (store, writer) = Store::open(dir.path(), "harbour-mall").await.unwrap();
        let journal = Journal { dir: tempfile::tempdir().unwrap(), store: store.clone(), writer };
        assert_eq!(held(&journal).await, (500_000, 500_000));
        assert_eq!(open(&journal).await, [(2, Some(9), CreditState::Uncertain, 1)]);
        journal.assert_proven().await;
        store.close().await;
        journal.writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_difference_is_explained_by_name_and_comparing_begins_anew() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let store = &journal.store;
    for (key, receipt, state) in
        [("k1", 1, CreditState::Confirmed), ("k2", 2, CreditState::Manual), ("k3", 3, CreditState::Uncertain)]
    {
        applied(store.top_up_meter(request(key, 5_000)).await.unwrap());
        store.send_credit(receipt, u32::try_from(receipt).unwrap(), at(1)).await.unwrap();
        store.settle_credit(receipt, state, state.as_str(), at(2)).await.unwrap();
    }
    let booked = store.booked(SHOP).await.unwrap();
    assert_eq!((booked.credited, booked.credits, booked.unknown), (Fen(5_000), 1, 2));

    let steady = Span { least: 9, most: 9 };
    let sight = Sight { at: at(3), count: 1, balance: 5_000, counter: steady, price: steady };
    let mark = MeterMark::new(SHOP, &sight, &Booked { unknown: 0, ..booked }).unwrap();
    let explain = |reason: &str| Explanation {
        service_point: SHOP.to_owned(),
        who: "li".to_owned(),
        via: "api".to_owned(),
        reason: reason.to_owned(),
        at: at(4),
    };
    assert!(matches!(store.explain_meter(explain("a card")).await, Err(StoreError::NotFound { .. })));
    store.set_meter_mark(mark.clone()).await.unwrap();
    let journal = journal.reopen().await;
    assert_eq!(journal.store.meter_mark(SHOP).await, Ok(Some(mark)));
    assert!(matches!(journal.store.explain_meter(explain(" ")).await, Err(StoreError::Invalid(_))));
    journal.store.explain_meter(explain("a card")).await.unwrap();
    assert_eq!(journal.store.meter_mark(SHOP).await, Ok(None));
    let told = journal.store.timeline_after(0, 100).await.unwrap();
    let told = told.iter().find(|(_, row)| row.what == "meter_difference_explained").unwrap();
    assert!(told.1.detail.starts_with("by li (api): a card; compared since") && told.1.detail.contains("50.00 then"));
    journal.assert_proven().await;
}

#[tokio::test]
async fn what_a_wallet_held_before_its_meter_kept_the_credit_is_carried_over_once() {
    // 120.0050 yuan brought in, 50 paid to the gateway's own wallet, and one top-up for the meter already.
    let journal = Journal::with_wallet(Hao(1_200_050)).await;
    applied(journal.store.top_up(request("k1", 5_000)).await.unwrap());
    applied(journal.store.top_up_meter(request("k2", 700)).await.unwrap());
    let carried = journal.store.carry_over(SHOP, at(1)).await.unwrap().unwrap();
    assert_eq!((carried.number, carried.amount, carried.channel.as_str()), (3, Fen(17_000), "carry-over"));
    assert_eq!(carried.balance, Hao(1_770_050), "nobody has more or less by it");
    assert_eq!(journal.store.carry_over(SHOP, at(2)).await.unwrap(), None);
    let journal = journal.reopen().await;
    assert_eq!(journal.store.carry_over(SHOP, at(3)).await.unwrap(), None, "half a minor unit stays");
    let pending = |receipt| (receipt, None, CreditState::Pending, 0);
    assert_eq!(open(&journal).await, [pending(2), pending(3)]);

    // One of them is found not to be in the meter: that money waits for a person and is not sent again.
    journal.store.send_credit(3, 1, at(4)).await.unwrap();
    journal.store.settle_credit(3, CreditState::Manual, "", at(4)).await.unwrap();
    let decision = CreditDecision {
        receipt: 3,
        finding: Finding::NotApplied,
        who: "li".to_owned(),
        via: "api".to_owned(),
        reason: "read at the meter".to_owned(),
        at: at(5),
    };
    journal.store.decide_credit(decision).await.unwrap();
    assert_eq!(journal.store.carry_over(SHOP, at(6)).await.unwrap(), None);
    // The other is in it.
    journal.store.send_credit(2, 1, at(7)).await.unwrap();
    journal.store.settle_credit(2, CreditState::Confirmed, "", at(7)).await.unwrap();
    assert_eq!(journal.store.carry_over(SHOP, at(8)).await.unwrap(), None);
    let wallet = journal.store.wallet(SHOP).await.unwrap().unwrap();
    assert_eq!((wallet.balance, wallet.in_meter), (Hao(1_770_050), Hao(70_000)));
    journal.assert_proven().await;
}

#[tokio::test]
async fn a_debt_of_before_is_owed_until_it_is_paid_and_no_top_up_of_the_meter_pays_it() {
    let journal = Journal::with_wallet(Hao(-50_030)).await;
    let owed = async || journal.store.debts().await.unwrap();
    let five = [(SHOP.to_owned(), Fen(500))];
    assert_eq!(owed().await, five, "whole fen");
    // Into the meter: on its way, and there.
    applied(journal.store.top_up_meter(request("k1", 2_000)).await.unwrap());
    assert_eq!(owed().await, five);
    journal.store.send_credit(1, 1, at(1)).await.unwrap();
    journal.store.settle_credit(1, CreditState::Confirmed, "", at(1)).await.unwrap();
    assert_eq!(owed().await, five);
    // At the till: a part, and the rest. What is left is less than can be paid.
    applied(journal.store.top_up(request("k2", 200)).await.unwrap());
    assert_eq!(owed().await, [(SHOP.to_owned(), Fen(300))]);
    applied(journal.store.top_up(request("k3", 300)).await.unwrap());
    assert_eq!(owed().await, []);
    let wallet = journal.store.wallet(SHOP).await.unwrap().unwrap();
    assert_eq!((wallet.balance, wallet.in_meter), (Hao(199_970), Hao(200_000)));
    assert_eq!(journal.store.carry_over(SHOP, at(2)).await.unwrap(), None, "and nothing of it goes into the meter");
    journal.assert_proven().await;
}

#[tokio::test]
async fn a_debt_is_not_carried_into_a_meter() {
    let journal = Journal::with_wallet(Hao(-50_000)).await;
    assert_eq!(journal.store.carry_over(SHOP, at(1)).await.unwrap(), None);
    applied(journal.store.top_up_meter(request("k1", 5_000)).await.unwrap());
    assert_eq!(journal.store.carry_over(SHOP, at(2)).await.unwrap(), None);
    assert_eq!(journal.store.carry_over("nobody", at(2)).await.unwrap(), None);
    journal.assert_proven().await;
}
