//! Money: never lost, never doubled.

use guanjia_core::ledger::{TopUpOutcome, TransferKind, UsageOutcome};
use guanjia_core::units::{ExactCharge, Fen, Hao, Quantity, Utility};

use super::{Journal, SHOP, applied, at, interval, request, start};
use crate::error::StoreError;

#[tokio::test]
async fn fifty_copies_of_one_top_up_are_one_credit_and_one_answer() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let mut copies = Vec::new();
    for n in 0..50 {
        let store = journal.store.clone();
        let mut copy = request("k", 5_000);
        copy.at = at(n);
        copies.push(tokio::spawn(async move { store.top_up(copy).await.unwrap() }));
    }
    let (mut new, mut receipts) = (0, Vec::new());
    for copy in copies {
        match copy.await.unwrap() {
            TopUpOutcome::Applied(receipt) => {
                new += 1;
                receipts.push(receipt);
            }
            TopUpOutcome::Replayed(receipt) => receipts.push(receipt),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((new, receipts.len()), (1, 50));
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]));

    let journal = journal.reopen().await;
    assert_eq!(journal.store.top_up(request("k", 5_000)).await, Ok(TopUpOutcome::Replayed(receipts[0].clone())));
    assert_eq!(journal.store.top_up_by_key("kiosk", "k").await.unwrap().as_ref(), Some(&receipts[0]));
    assert_eq!(journal.balance().await, Hao(500_000));
    journal.assert_proven().await;
}

#[tokio::test]
async fn one_key_with_another_amount_is_refused_and_does_nothing() {
    let journal = Journal::with_wallet(Hao(0)).await;
    applied(journal.store.top_up(request("k", 5_000)).await.unwrap());
    let mut other_channel = request("k", 5_000);
    other_channel.channel = "wechat".to_owned();
    let mut with_txn = request("k", 5_000);
    with_txn.channel_txn = Some("4200".to_owned());
    for changed in [request("k", 5_001), other_channel, with_txn] {
        assert_eq!(journal.store.top_up(changed).await, Ok(TopUpOutcome::KeyReused));
    }
    assert_eq!(journal.balance().await, Hao(500_000));
    assert_eq!(journal.store.receipts(SHOP, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys_are_the_clients_own() {
    let journal = Journal::with_wallet(Hao(0)).await;
    applied(journal.store.top_up(request("k", 100)).await.unwrap());
    let mut other = request("k", 100);
    other.client = "counter".to_owned();
    assert_eq!(applied(journal.store.top_up(other).await.unwrap()).number, 2);
}

#[tokio::test]
async fn callback_and_query_of_one_payment_are_one_credit() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let by = |key: &str| {
        let mut request = request(key, 9_900);
        (request.channel, request.channel_txn) = ("wechat".to_owned(), Some("4200001".to_owned()));
        request
    };
    let receipt = applied(journal.store.top_up(by("callback")).await.unwrap());
    for _ in 0..2 {
        let again = journal.store.top_up(by("query")).await;
        assert_eq!(again, Ok(TopUpOutcome::AlreadyCredited(receipt.clone())));
    }
    assert_eq!(journal.store.top_up_by_key("kiosk", "query").await, Ok(None), "no key without an effect");
    let mut other_channel = by("third");
    other_channel.channel = "alipay".to_owned();
    applied(journal.store.top_up(other_channel).await.unwrap());
    assert_eq!(journal.balance().await, Hao(2 * 990_000));
    journal.assert_proven().await;
}

#[tokio::test]
async fn a_refused_top_up_burns_neither_its_key_nor_a_receipt_number() {
    let journal = Journal::with_wallet(Hao(i64::MAX - 1_000)).await;
    let mut unknown = request("k", 100);
    unknown.service_point = "nowhere".to_owned();
    assert_eq!(journal.store.top_up(unknown).await, Ok(TopUpOutcome::UnknownServicePoint));
    // This one fails in the middle, after its transfer row was written.
    assert!(matches!(journal.store.top_up(request("k", 100)).await, Err(StoreError::Invalid(_))));
    assert_eq!(journal.store.top_up_by_key("kiosk", "k").await, Ok(None));
    journal.store.open_wallet("shop-2", Utility::Electricity, Hao(0), at(0)).await.unwrap();
    let mut good = request("k", 100);
    good.service_point = "shop-2".to_owned();
    assert_eq!(applied(journal.store.top_up(good).await.unwrap()).number, 1);
    journal.assert_proven().await;
}

#[tokio::test]
async fn what_no_row_may_hold_is_refused_in_words() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let long = "k".repeat(129);
    for (key, fen) in [("", 100), ("a b", 100), ("钥", 100), (long.as_str(), 100), ("k", 0), ("k", -5)] {
        let refused = journal.store.top_up(request(key, fen)).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{key:?} {fen}: {refused:?}");
    }
    let too_much = journal.store.top_up(request("k", Fen::MAX_PAYABLE.0 + 1)).await;
    assert!(matches!(too_much, Err(StoreError::Invalid(_))));
    applied(journal.store.top_up(request(&"k".repeat(128), Fen::MAX_PAYABLE.0)).await.unwrap());
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_half_top_up() {
    let journal = Journal::with_wallet(Hao(0)).await;
    for n in 0..40 {
        let store = journal.store.clone();
        let task = tokio::spawn(async move { store.top_up(request(&format!("k{n}"), 100)).await });
        if n % 4 != 0 {
            tokio::task::yield_now().await;
        }
        task.abort();
    }
    applied(journal.store.top_up(request("last", 100)).await.unwrap());
    let credited = journal.store.receipts(SHOP, 100).await.unwrap().len();
    assert_eq!(journal.balance().await, Hao(i64::try_from(credited).unwrap() * 10_000));
    journal.assert_proven().await;
}

#[tokio::test]
async fn opening_a_wallet_twice_opens_it_once() {
    let journal = Journal::with_wallet(Hao(-30_500)).await;
    let again = journal.store.open_wallet(SHOP, Utility::Electricity, Hao(99), at(5)).await.unwrap();
    assert_eq!((again.balance, again.opened_at), (Hao(-30_500), at(0)));
    let other = journal.store.open_wallet(SHOP, Utility::Water, Hao(0), at(5)).await;
    assert!(matches!(other, Err(StoreError::Conflict(_))));
    let statement = journal.store.statement(SHOP, 10).await.unwrap();
    assert_eq!(statement.len(), 1);
    assert_eq!((statement[0].kind, statement[0].balance), (TransferKind::Opening, Hao(-30_500)));
    journal.assert_proven().await;
}

#[tokio::test]
async fn an_interval_posted_twice_costs_once() {
    let journal = Journal::with_wallet(Hao(100_000)).await;
    let store = &journal.store;
    let none = store.post_usage(interval(&start(), 70)).await;
    assert!(matches!(none, Err(StoreError::NoBaseline(_))));
    store.set_first_baseline(SHOP, start()).await.unwrap();
    let first = interval(&start(), 70);
    assert_eq!(store.post_usage(first.clone()).await, Ok(UsageOutcome::Posted { balance: Hao(100_000 - 398) }));
    assert_eq!(store.post_usage(first.clone()).await, Ok(UsageOutcome::BaselineMoved(first.to.clone())));
    assert_eq!(store.baseline(SHOP).await, Ok(Some(first.to)));
    let restart = store.set_first_baseline(SHOP, start()).await;
    assert!(matches!(restart, Err(StoreError::Conflict(_))));
    journal.assert_proven().await;
}

#[tokio::test]
async fn rounding_never_drifts_over_2880_intervals() {
    let journal = Journal::with_wallet(Hao(2_000_000)).await;
    journal.store.set_first_baseline(SHOP, start()).await.unwrap();
    let mut baseline = start();
    // A month of quarters of an hour, a day at a time: more at once than are waited for would be told to come back.
    for _ in 0..30 {
        let mut pending = Vec::new();
        for _ in 0..96 {
            let next = interval(&baseline, 70);
            baseline = next.to.clone();
            let store = journal.store.clone();
            // Spawned in order on one thread, they queue in order and are committed in groups.
            pending.push(tokio::spawn(async move { store.post_usage(next).await }));
        }
        for posting in pending {
            assert!(matches!(posting.await.unwrap(), Ok(UsageOutcome::Posted { .. })));
        }
    }
    // 201.6 kWh at 0.5683 are 114.56928 yuan exactly.
    assert_eq!(journal.balance().await, Hao(2_000_000 - 1_145_693));
    journal.assert_proven().await;
}

#[tokio::test]
async fn free_usage_moves_the_baseline_and_no_money() {
    let journal = Journal::with_wallet(Hao(7)).await;
    journal.store.set_first_baseline(SHOP, start()).await.unwrap();
    let free = interval(&start(), 0);
    assert_eq!(journal.store.post_usage(free.clone()).await, Ok(UsageOutcome::Posted { balance: Hao(7) }));
    assert_eq!(journal.store.baseline(SHOP).await, Ok(Some(free.to)));
    assert_eq!(journal.store.statement(SHOP, 10).await.unwrap().len(), 1);
    journal.assert_proven().await;
}

#[tokio::test]
async fn an_interval_that_runs_backward_or_drifts_is_refused() {
    let journal = Journal::with_wallet(Hao(0)).await;
    journal.store.set_first_baseline(SHOP, start()).await.unwrap();
    let mut backward = interval(&start(), 70);
    backward.to.at = at(-1);
    let mut negative = interval(&start(), 70);
    negative.quantity = Quantity(-70);
    let mut drifted = interval(&start(), 70);
    drifted.to.posted = Hao(399);
    let mut credit = interval(&start(), 70);
    (credit.to.exact, credit.to.posted) = (ExactCharge(-1_000), Hao(-1));
    for wrong in [backward, negative, drifted, credit] {
        assert!(matches!(journal.store.post_usage(wrong).await, Err(StoreError::Invalid(_))));
    }
    let mut water = interval(&start(), 70);
    water.utility = Utility::Water;
    assert!(matches!(journal.store.post_usage(water).await, Err(StoreError::Conflict(_))));
    assert_eq!(journal.store.baseline(SHOP).await, Ok(Some(start())));
}

#[tokio::test]
async fn the_largest_registers_and_charges_come_back_exactly() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let mut huge = start();
    huge.raw = u64::MAX - 70;
    huge.exact = ExactCharge(i128::from(i64::MAX) * 1_000 - 500_000);
    huge.posted = huge.exact.round(Utility::Electricity).unwrap();
    journal.store.set_first_baseline(SHOP, huge.clone()).await.unwrap();
    let next = interval(&huge, 70);
    journal.store.post_usage(next.clone()).await.unwrap();
    let journal = journal.reopen().await;
    assert_eq!(journal.store.baseline(SHOP).await, Ok(Some(next.to)));
    journal.assert_proven().await;
}

#[tokio::test]
async fn the_statement_tells_the_story_backward() {
    let journal = Journal::with_wallet(Hao(0)).await;
    let receipt = applied(journal.store.top_up(request("k", 1_000)).await.unwrap());
    journal.store.set_first_baseline(SHOP, start()).await.unwrap();
    journal.store.post_usage(interval(&start(), 1_000)).await.unwrap();
    let lines = journal.store.statement(SHOP, 10).await.unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].kind, lines[0].amount, lines[0].balance), (TransferKind::Usage, Hao(-5_683), Hao(94_317)));
    assert_eq!((lines[0].quantity, lines[0].tariff.as_deref()), (Some(Quantity(1_000)), Some("shops@1")));
    assert_eq!((lines[1].receipt, lines[1].transfer), (Some(receipt.number), receipt.transfer));
    assert_eq!(journal.store.receipt(1).await, Ok(Some(receipt)));
    assert_eq!(journal.store.statement(SHOP, 1).await.unwrap().len(), 1);
}
