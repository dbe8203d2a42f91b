//! The ledger: wallets, transfers, top-ups.
//!
//! * A transfer's legs sum to zero; nothing is changed or deleted (the schema's triggers refuse).
//! * A wallet's balance is stored beside the sum of its postings and equal to it, and so is that of the wallet its meter
//!   keeps. Other accounts have no stored balance, so no row is written by every top-up of the site.
//! * A key is written in the transaction of its effect: it is never burnt without one, and never has two.

use guanjia_core::ledger::{AccountId, Keeper, Posting, Receipt, TopUpOutcome, TopUpRequest, Transfer, TransferKind};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Fen, Hao, Utility};

use super::statement::{self, Wallet};
use super::writer::{Command, Outcome};
use super::{Origin, Store, credits, outbox};
use crate::chain::digest;
use crate::error::{StoreError, id_at};
use crate::payload::{Payload, TopUp, WalletOpened};
use crate::sql::{Conn, Value};

/// The longest idempotency key, in characters.
const MAX_KEY_LENGTH: usize = 128;
/// The client and the channel of what is carried over: no payment.
const CARRY_OVER: &str = "carry-over";

impl Store {
    /// Opens a wallet with an opening balance; the second time it changes nothing and returns what is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if the service point's wallet is for another utility.
    pub async fn open_wallet(
        &self,
        service_point: &str,
        utility: Utility,
        opening: Hao,
        at: Timestamp,
    ) -> Result<Wallet, StoreError> {
        let service_point = service_point.to_owned();
        match self.send(Command::OpenWallet { service_point, utility, opening, at }).await? {
            Outcome::Wallet(wallet) => Ok(wallet),
            other => Err(other.unexpected()),
        }
    }

    /// Credits a payment once. Refusals are outcomes and leave no trace; in their order: the key was used (with the
    /// same request: the old answer; with another: refused), no such wallet, the channel's transaction was credited.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] if the key, channel or amount cannot be stored. After [`StoreError::Unavailable`] the
    /// outcome is unknown: the same request again gives the one true answer.
    pub async fn top_up(&self, request: TopUpRequest) -> Result<TopUpOutcome, StoreError> {
        self.send_top_up(request, Keeper::Ledger).await
    }

    /// The same for a service point whose meter keeps the wallet: what is credited here is on its way into the meter, in
    /// the same transaction (see [`Store::open_credits`]).
    ///
    /// # Errors
    ///
    /// As [`Store::top_up`].
    pub async fn top_up_meter(&self, request: TopUpRequest) -> Result<TopUpOutcome, StoreError> {
        self.send_top_up(request, Keeper::Meter).await
    }

    /// Sends what the ledger's own wallet holds, and no credit stands for, the way of a top-up into the meter: an opening
    /// balance, or what was left when the meter began to keep the credit. The receipt, or `None` if there is nothing of at
    /// least a minor unit; so a second call does nothing, and neither does one after a crash.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be written.
    pub async fn carry_over(&self, service_point: &str, at: Timestamp) -> Result<Option<Receipt>, StoreError> {
        let service_point = service_point.to_owned();
        match self.send(Command::CarryOver { service_point, at }).await? {
            Outcome::CarriedOver(receipt) => Ok(receipt),
            other => Err(other.unexpected()),
        }
    }

    async fn send_top_up(&self, request: TopUpRequest, keeper: Keeper) -> Result<TopUpOutcome, StoreError> {
        match self.send(Command::TopUp(Box::new(request), keeper)).await? {
            Outcome::TopUp(outcome) => Ok(outcome),
            other => Err(other.unexpected()),
        }
    }
}

/// Opens a wallet inside the open transaction.
pub(super) async fn open_wallet(
    conn: &mut Conn<'_>,
    origin: &Origin,
    service_point: &str,
    utility: Utility,
    opening: Hao,
    at: Timestamp,
) -> Result<Wallet, StoreError> {
    if service_point.is_empty() {
        return Err(StoreError::Invalid("a wallet needs a service point".to_owned()));
    }
    if let Some(wallet) = statement::wallet(conn, service_point).await? {
        if wallet.utility != utility {
            return Err(StoreError::Conflict(format!("wallet {service_point} is for {}", wallet.utility)));
        }
        return Ok(wallet);
    }
    conn.execute(
        "INSERT INTO wallets (service_point, utility, opened_at, balance) VALUES ($1, $2, $3, 0)",
        &[service_point.into(), utility.as_str().into(), at.into()],
    )
    .await?;
    let transfer = if opening == Hao(0) {
        None
    } else {
        let cause = "opening balance".to_owned();
        let legs = (AccountId::adjustment(), AccountId::wallet(service_point));
        let transfer = movement(TransferKind::Opening, at, cause, opening, legs)?;
        post(conn, &transfer).await?;
        Some(transfer)
    };
    let payload = WalletOpened { service_point: service_point.to_owned(), utility, at, opening: transfer };
    outbox::append(conn, origin, &Payload::Wallet(payload), at).await?;
    Ok(Wallet { service_point: service_point.to_owned(), utility, balance: opening, in_meter: Hao(0), opened_at: at })
}

/// Credits a payment inside the open transaction.
pub(super) async fn top_up(
    conn: &mut Conn<'_>,
    origin: &Origin,
    request: &TopUpRequest,
    keeper: Keeper,
) -> Result<TopUpOutcome, StoreError> {
    check(request)?;
    let fingerprint = fingerprint(request);
    if let Some((stored, receipt)) = statement::by_key(conn, &request.client, &request.key).await? {
        let same = stored == fingerprint;
        return Ok(if same { TopUpOutcome::Replayed(receipt) } else { TopUpOutcome::KeyReused });
    }
    if statement::wallet(conn, &request.service_point).await?.is_none() {
        return Ok(TopUpOutcome::UnknownServicePoint);
    }
    if let Some(txn) = &request.channel_txn
        && let Some(receipt) = statement::by_channel_txn(conn, &request.channel, txn).await?
    {
        return Ok(TopUpOutcome::AlreadyCredited(receipt));
    }

    let cause = match &request.channel_txn {
        Some(txn) => format!("{}:{txn}", request.channel),
        None => format!("{}:key:{}:{}", request.channel, request.client, request.key),
    };
    let legs = (AccountId::clearing(&request.channel), AccountId::wallet(&request.service_point));
    let transfer = movement(TransferKind::TopUp, request.at, cause, Hao::from(request.amount), legs)?;
    let balance = post(conn, &transfer).await?;
    let receipt = Receipt {
        number: next_receipt(conn).await?,
        transfer: transfer.id,
        service_point: request.service_point.clone(),
        amount: request.amount,
        balance,
        channel: request.channel.clone(),
        at: request.at,
    };
    write_receipt(conn, &receipt).await?;
    write_key(conn, request, &fingerprint, receipt.number).await?;
    if keeper == Keeper::Meter {
        credits::add(conn, &receipt).await?;
    }
    let payload = TopUp {
        transfer,
        receipt: receipt.clone(),
        client: request.client.clone(),
        key: request.key.clone(),
        fingerprint,
        channel_txn: request.channel_txn.clone(),
    };
    outbox::append(conn, origin, &Payload::TopUp(Box::new(payload)), request.at).await?;
    Ok(TopUpOutcome::Applied(receipt))
}

/// Makes a credit of what the wallet holds and no credit stands for, inside the open transaction. What a person has found
/// not to be in the meter is for a person: it is not sent again by itself. Neither is a credit that is in the meter and has
/// not moved its money yet.
pub(super) async fn carry_over(
    conn: &mut Conn<'_>,
    origin: &Origin,
    service_point: &str,
    at: Timestamp,
) -> Result<Option<Receipt>, StoreError> {
    let Some(wallet) = statement::wallet(conn, service_point).await? else { return Ok(None) };
    let sql = "SELECT COALESCE(SUM(amount), 0) AS fen FROM meter_credits
               WHERE service_point = $1 AND (state <> 'confirmed' OR transfer IS NULL)";
    let row = conn.row(sql, &[service_point.into()]).await?;
    let spoken_for = row.map_or(Ok(0), |row| row.int("fen"))?;
    let free = (wallet.kept_by(Keeper::Ledger).0 / Hao::PER_FEN).saturating_sub(spoken_for);
    let amount = Fen(free.min(Fen::MAX_PAYABLE.0));
    if amount <= Fen(0) {
        return Ok(None);
    }
    let transfer = Transfer::carry_over(id_at(at), service_point, amount, at);
    let balance = post(conn, &transfer).await?;
    let number = next_receipt(conn).await?;
    let request = TopUpRequest {
        client: CARRY_OVER.to_owned(),
        key: format!("{CARRY_OVER}-{number}"),
        service_point: service_point.to_owned(),
        amount,
        channel: CARRY_OVER.to_owned(),
        channel_txn: None,
        at,
    };
    let (transfer_id, channel) = (transfer.id, request.channel.clone());
    let receipt = Receipt {
        number,
        transfer: transfer_id,
        service_point: service_point.to_owned(),
        amount,
        balance,
        channel,
        at,
    };
    let fingerprint = fingerprint(&request);
    write_receipt(conn, &receipt).await?;
    write_key(conn, &request, &fingerprint, number).await?;
    credits::add(conn, &receipt).await?;
    let TopUpRequest { client, key, channel_txn, .. } = request;
    let payload = TopUp { transfer, receipt: receipt.clone(), client, key, fingerprint, channel_txn };
    outbox::append(conn, origin, &Payload::TopUp(Box::new(payload)), at).await?;
    Ok(Some(receipt))
}

/// What no row may hold.
fn check(request: &TopUpRequest) -> Result<(), StoreError> {
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if request.key.len() > MAX_KEY_LENGTH || !visible(&request.key) {
        return Err(StoreError::Invalid(format!("a key is 1 to {MAX_KEY_LENGTH} visible ASCII characters")));
    }
    if request.client.is_empty() || request.channel.is_empty() {
        return Err(StoreError::Invalid("a top-up names its client and its channel".to_owned()));
    }
    if request.channel_txn.as_deref() == Some("") {
        return Err(StoreError::Invalid("a channel transaction is not empty; leave it out".to_owned()));
    }
    if request.amount <= Fen(0) || request.amount > Fen::MAX_PAYABLE {
        return Err(StoreError::Invalid(format!("an amount lies between 0.01 and {} yuan", Fen::MAX_PAYABLE)));
    }
    Ok(())
}

/// What makes two requests the same: everything but their key and the moment they came.
fn fingerprint(request: &TopUpRequest) -> String {
    let (has_txn, txn) = match &request.channel_txn {
        Some(txn) => ("txn", txn.as_str()),
        None => ("no txn", ""),
    };
    digest(&[&request.service_point, &request.amount.0.to_string(), &request.channel, has_txn, txn])
}

/// A transfer of `amount` from one account to another (negative: the other way).
pub(super) fn movement(
    kind: TransferKind,
    at: Timestamp,
    cause: String,
    amount: Hao,
    (from, to): (AccountId, AccountId),
) -> Result<Transfer, StoreError> {
    let opposite = Hao(0).checked_sub(amount).ok_or_else(|| StoreError::Invalid(format!("amount {amount}")))?;
    let postings = vec![Posting { account: from, amount: opposite }, Posting { account: to, amount }];
    Ok(Transfer { id: id_at(at), kind, at, cause, reverses: None, postings })
}

/// Writes a transfer and moves its wallet, or the one in the meter, or both; what the tenant has then.
pub(super) async fn post(conn: &mut Conn<'_>, transfer: &Transfer) -> Result<Hao, StoreError> {
    let sum: i128 = transfer.postings.iter().map(|leg| i128::from(leg.amount.0)).sum();
    if sum != 0 {
        return Err(StoreError::Defect(format!("transfer {} sums to {sum}, not to zero", transfer.id)));
    }
    let row = conn
        .row(
            "INSERT INTO transfers (id, kind, at, cause, reverses) VALUES ($1, $2, $3, $4, $5) RETURNING seq",
            &[
                transfer.id.into(),
                transfer.kind.as_str().into(),
                transfer.at.into(),
                transfer.cause.as_str().into(),
                transfer.reverses.into(),
            ],
        )
        .await?;
    let seq = row.ok_or_else(|| StoreError::Defect("insert returned no row".to_owned()))?.int("seq")?;
    let mut has = None;
    let mut rows = Vec::with_capacity(transfer.postings.len());
    for (leg, posting) in (1i64..).zip(&transfer.postings) {
        let balance = match wallet_of(&posting.account) {
            Some((keeper, service_point)) => {
                let wallet = move_wallet(conn, keeper, service_point, posting.amount).await?;
                has = Some(wallet.balance);
                Some(wallet.kept_by(keeper).0)
            }
            None => None,
        };
        let account = posting.account.as_str();
        rows.push(vec![seq.into(), leg.into(), account.into(), posting.amount.0.into(), Value::Int(balance)]);
    }
    conn.insert("postings (transfer, leg, account, amount, balance)", &rows).await?;
    has.ok_or_else(|| StoreError::Defect(format!("transfer {} touches no wallet", transfer.id)))
}

/// Whose wallet an account is, and who keeps it.
fn wallet_of(account: &AccountId) -> Option<(Keeper, &str)> {
    let text = account.as_str();
    let ledger = text.strip_prefix("wallet:").map(|service_point| (Keeper::Ledger, service_point));
    ledger.or_else(|| text.strip_prefix("meter_wallet:").map(|service_point| (Keeper::Meter, service_point)))
}

/// Adds `amount` to what the ledger or the meter keeps for a service point.
async fn move_wallet(
    conn: &mut Conn<'_>,
    keeper: Keeper,
    service_point: &str,
    amount: Hao,
) -> Result<Wallet, StoreError> {
    let wallet = statement::wallet(conn, service_point)
        .await?
        .ok_or_else(|| StoreError::UnknownServicePoint(service_point.to_owned()))?;
    let moved = |balance: Hao| {
        let too_much = || StoreError::Invalid(format!("the balance of {service_point} would overflow"));
        balance.checked_add(amount).ok_or_else(too_much)
    };
    let in_meter = if keeper == Keeper::Meter { moved(wallet.in_meter)? } else { wallet.in_meter };
    let wallet = Wallet { balance: moved(wallet.balance)?, in_meter, ..wallet };
    let sql = "UPDATE wallets SET balance = $1, in_meter = $2 WHERE service_point = $3";
    let args = [wallet.kept_by(Keeper::Ledger).0.into(), in_meter.0.into(), service_point.into()];
    conn.execute(sql, &args).await?;
    Ok(wallet)
}

/// The number after the last receipt's. A refused top-up gives its number back with its savepoint.
async fn next_receipt(conn: &mut Conn<'_>) -> Result<i64, StoreError> {
    let row = conn.row("SELECT COALESCE(MAX(number), 0) + 1 AS number FROM receipts", &[]).await?;
    row.map_or(Ok(1), |row| row.int("number"))
}

async fn write_receipt(conn: &mut Conn<'_>, receipt: &Receipt) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO receipts (number, transfer, service_point, amount, balance, channel, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        &[
            receipt.number.into(),
            receipt.transfer.into(),
            receipt.service_point.as_str().into(),
            receipt.amount.0.into(),
            receipt.balance.0.into(),
            receipt.channel.as_str().into(),
            receipt.at.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn write_key(
    conn: &mut Conn<'_>,
    request: &TopUpRequest,
    fingerprint: &str,
    receipt: i64,
) -> Result<(), StoreError> {
    conn.execute(
        "INSERT INTO top_up_keys (client, key, fingerprint, channel, channel_txn, receipt)
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            request.client.as_str().into(),
            request.key.as_str().into(),
            fingerprint.into(),
            request.channel.as_str().into(),
            request.channel_txn.as_deref().into(),
            receipt.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A transfer as the rows have it.
pub(super) async fn read_transfer(conn: &mut Conn<'_>, id: uuid::Uuid) -> Result<Option<Transfer>, StoreError> {
    let sql = "SELECT seq, kind, at, cause, reverses FROM transfers WHERE id = $1";
    let Some(row) = conn.row(sql, &[id.into()]).await? else { return Ok(None) };
    let sql = "SELECT account, amount FROM postings WHERE transfer = $1 ORDER BY leg";
    let legs = conn.rows(sql, &[row.int("seq")?.into()]).await?;
    let mut postings = Vec::with_capacity(legs.len());
    for leg in &legs {
        postings.push(Posting { account: leg.word("account")?, amount: Hao(leg.int("amount")?) });
    }
    let reverses = row.opt_text("reverses")?.map(|text| text.parse()).transpose();
    let reverses = reverses.map_err(|error| StoreError::corrupt("transfers", id, error))?;
    Ok(Some(Transfer {
        id,
        kind: row.word("kind")?,
        at: row.time("at")?,
        cause: row.text("cause")?,
        reverses,
        postings,
    }))
}

/// The word of a transfer's kind agrees with serde's, which reads it back.
#[cfg(test)]
#[test]
fn kinds_read_back_as_they_are_written() {
    use TransferKind::{CarryOver, MeterCredit, Opening, Reversal, TopUp, Usage};
    for kind in [TopUp, Usage, MeterCredit, CarryOver, Opening, Reversal] {
        assert_eq!(crate::sql::to_word(&kind).unwrap(), kind.as_str());
    }
}
