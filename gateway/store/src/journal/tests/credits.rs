//! Top-ups on their way into meters: one receipt, one credit, one count, one at a time.

use guanjia_core::credit::{CreditState, MeterCredit};
use guanjia_core::ledger::TopUpOutcome;
use guanjia_core::units::{Fen, Hao};

use super::{Journal, SHOP, applied, at, request};
use crate::error::StoreError;
use crate::journal::writer::Command;

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
    let told: Vec<_> =
        told.iter().filter(|(_, entry)| entry.what == "meter_credit").map(|(_, entry)| &entry.detail).collect();
    assert_eq!(told, ["receipt 1, purchase 8: held: over the limit", "receipt 1, purchase 8: confirmed: shown"]);
}
