use proptest::prelude::*;

use super::*;

fn request() -> TopUpRequest {
    TopUpRequest {
        client: "cashier-1".into(),
        key: "k-1".into(),
        service_point: "s-101".into(),
        amount: Fen(5_000),
        channel: "cashier".into(),
        channel_txn: Some("tx-1".into()),
        at: Timestamp::from_millis(1),
    }
}

fn balance(transfers: &[&Transfer], account: &AccountId) -> i64 {
    transfers.iter().flat_map(|t| &t.postings).filter(|p| p.account == *account).map(|p| p.amount.0).sum()
}

fn interval(posted_before: i64, posted_after: i64) -> UsageInterval {
    let at = |posted| Baseline { posted: Hao(posted), ..Baseline::opening(7, Timestamp::from_millis(posted)) };
    UsageInterval {
        service_point: "s-101".into(),
        device: "m-101".into(),
        utility: Utility::Water,
        from: at(posted_before),
        to: at(posted_after),
        quantity: Quantity(1),
        tariff: "water@2026-01-01".into(),
        quality: UsageQuality::Measured,
    }
}

#[test]
fn a_top_up_moves_money_from_the_channel_to_the_wallet() {
    let transfer = Transfer::top_up(Uuid::from_u128(1), &request());
    transfer.check().unwrap();
    assert_eq!(balance(&[&transfer], &AccountId::wallet("s-101")), 500_000);
    assert_eq!(balance(&[&transfer], &AccountId::clearing("cashier")), -500_000);
    assert_eq!(transfer.cause, "cashier-1/k-1");
}

#[test]
fn usage_moves_money_from_the_wallet_to_revenue() {
    let transfer = Transfer::usage(Uuid::from_u128(1), &interval(100, 498), Keeper::Ledger, Timestamp::EPOCH).unwrap();
    assert_eq!(balance(&[&transfer], &AccountId::wallet("s-101")), -398);
    assert_eq!(balance(&[&transfer], &AccountId::revenue(Utility::Water)), 398);
    assert_eq!(Transfer::usage(Uuid::from_u128(1), &interval(100, 100), Keeper::Ledger, Timestamp::EPOCH), None);
}

#[test]
fn a_transfer_is_taken_back_exactly_and_a_reversal_is_not() {
    let original = Transfer::top_up(Uuid::from_u128(1), &request());
    let reversal = original.reversal(Uuid::from_u128(2), Timestamp::EPOCH, "paid twice".into()).unwrap();
    assert_eq!(reversal.reverses, Some(original.id));
    for posting in &original.postings {
        assert_eq!(balance(&[&original, &reversal], &posting.account), 0);
    }
    let again = reversal.reversal(Uuid::from_u128(3), Timestamp::EPOCH, String::new());
    assert_eq!(again, Err(ReversalRefusal::OfReversal(reversal.id)));
}

#[test]
fn a_damaged_transfer_is_named_and_not_reversed() {
    let mut transfer = Transfer::top_up(Uuid::from_u128(1), &request());
    transfer.postings[1].amount.0 += 1;
    let unbalanced = Unbalanced { id: transfer.id, sum: 1 };
    assert_eq!(transfer.check(), Err(unbalanced));
    let reversal = transfer.reversal(Uuid::from_u128(2), Timestamp::EPOCH, String::new());
    assert_eq!(reversal, Err(ReversalRefusal::Unbalanced(unbalanced)));
    transfer.postings.clear();
    assert!(transfer.check().is_err(), "a transfer without legs moved no money and proves nothing");
}

#[test]
fn each_odd_request_is_refused_by_name() {
    assert_eq!(request().validate(), Ok(()));
    let long = "x".repeat(KEY_CHARS_MAX + 1);
    for (refusal, spoil) in [
        (TopUpRefusal::Client, (|r, _| r.client.clear()) as fn(&mut TopUpRequest, &str)),
        (TopUpRefusal::Key, |r, _| r.key.clear()),
        (TopUpRefusal::Key, |r, long| r.key = long.to_owned()),
        (TopUpRefusal::Key, |r, _| r.key = "two words".into()),
        (TopUpRefusal::Key, |r, _| r.key = "k\n".into()),
        (TopUpRefusal::Key, |r, _| r.key = "收据".into()),
        (TopUpRefusal::ServicePoint, |r, _| r.service_point.clear()),
        (TopUpRefusal::Amount, |r, _| r.amount = Fen(0)),
        (TopUpRefusal::Amount, |r, _| r.amount = Fen(-5_000)),
        (TopUpRefusal::Amount, |r, _| r.amount.0 = Fen::MAX_PAYABLE.0 + 1),
        (TopUpRefusal::Channel, |r, _| r.channel.clear()),
        (TopUpRefusal::ChannelTransaction, |r, _| r.channel_txn = Some(String::new())),
        (TopUpRefusal::ChannelTransaction, |r, long| r.channel_txn = Some(long.to_owned())),
    ] {
        let mut request = request();
        spoil(&mut request, &long);
        assert_eq!(request.validate(), Err(refusal));
    }
}

#[test]
fn the_fingerprint_is_of_what_was_asked_not_of_who_or_when() {
    let later = TopUpRequest { at: Timestamp::MAX, key: "k-2".into(), client: "other".into(), ..request() };
    assert_eq!(later.fingerprint(), request().fingerprint());
    let texts = [
        request(),
        TopUpRequest { amount: Fen(5_001), ..request() },
        TopUpRequest { service_point: "s-102".into(), ..request() },
        TopUpRequest { channel: "wechat".into(), ..request() },
        TopUpRequest { channel_txn: None, ..request() },
        TopUpRequest { channel_txn: Some("-".into()), ..request() },
    ]
    .map(|r| r.fingerprint());
    for (i, text) in texts.iter().enumerate() {
        assert!(!texts[..i].contains(text), "{text} stands for two requests");
    }
}

proptest! {
    #[test]
    fn whatever_the_amount_every_transfer_sums_to_zero(amount in any::<i64>(), from in 0..=i64::MAX, used in 0..=i64::MAX) {
        let id = Uuid::from_u128(1);
        let to = from.saturating_add(used);
        let made = [
            Some(Transfer::top_up(id, &TopUpRequest { amount: Fen(amount), ..request() })),
            Transfer::opening(id, "s-101", Hao(amount), Timestamp::EPOCH),
            Transfer::usage(id, &interval(from, to), Keeper::Meter, Timestamp::EPOCH),
        ];
        for transfer in made.into_iter().flatten() {
            prop_assert_eq!(transfer.check(), Ok(()));
            let reversal = transfer.reversal(id, Timestamp::EPOCH, String::new()).unwrap();
            prop_assert_eq!(reversal.check(), Ok(()));
        }
    }

    #[test]
    fn different_fields_never_share_a_fingerprint(a in "[!-~]{1,6}", b in "[!-~]{1,6}", c in "[!-~]{1,6}", d in "[!-~]{1,6}") {
        let with = |sp: &str, channel: &str| TopUpRequest { service_point: sp.into(), channel: channel.into(), ..request() };
        let same = a == c && b == d;
        prop_assert_eq!(with(&a, &b).fingerprint() == with(&c, &d).fingerprint(), same);
    }
}
