//! A payment channel that calls the gateway back: once, twice, late, never, or many times at once.
//!
//! ```text
//!            pay                2xx
//!  ─────► Calling ────────────────────► Settled
//!            │  ▲ back-off after anything else
//!            │  └──┘
//!            └── attempts used up ──► GivenUp
//!  Withheld (mode Never) ── settle ──► Calling
//! ```
//!
//! Every call of one payment carries the same transaction number, in `Idempotency-Key` and in the body: the money came
//! once, whatever the network does. Channels such as WeChat Pay repeat a callback until it is answered with success.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::SimError;
use crate::{lock, now_ms};

/// Payments remembered.
const PAYMENTS_MAX: usize = 10_000;
/// Parallel copies of one callback.
const PARALLEL_MAX: u16 = 200;
/// Calls of one payment before the channel gives up.
const ATTEMPTS_MAX: usize = 40;
/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Pauses between calls; the last one repeats.
const BACK_OFF_MS: [u64; 9] = [200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 15_000, 30_000];
/// What the channel calls itself.
const CHANNEL: &str = "demo-pay";

/// How the channel calls back for one payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayMode {
    /// Until the first success.
    Once,
    /// Until the first success, then once more.
    Twice,
    /// After so many milliseconds.
    Late(u64),
    /// Not until [`PaymentChannel::settle`].
    Never,
    /// So many copies at the same time.
    Parallel(u16),
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The customer has paid; the channel keeps it to itself.
    Withheld,
    /// Calls are made or waited for.
    Calling,
    /// The gateway has answered with success.
    Settled,
    /// No attempt succeeded.
    GivenUp,
}

/// One call and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Unix milliseconds.
    pub at: i64,
    /// The HTTP status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The answer's body, or why there was none.
    pub answer: String,
}

/// One payment of a customer.
#[derive(Clone, Debug, Serialize)]
pub struct Payment {
    /// The channel's own number for it.
    pub transaction: String,
    /// What it is for: `s-101-e`.
    pub service_point: String,
    /// Yuan, as text with two decimals.
    pub amount: String,
    /// How the channel calls back.
    pub mode: PayMode,
    /// Where it stands.
    pub standing: Standing,
    /// Every call made for it.
    pub attempts: Vec<Attempt>,
}

#[derive(Clone)]
struct Gateway {
    url: String,
    token: String,
}

#[derive(Default)]
struct Book {
    gateway: Option<Gateway>,
    payments: BTreeMap<String, Payment>,
    count: u64,
}

/// The payment channel.
#[derive(Clone)]
pub struct PaymentChannel {
    book: Arc<Mutex<Book>>,
    /// Distinguishes the transactions of one run from those of the next.
    run: String,
    client: reqwest::Client,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl PaymentChannel {
    pub(crate) fn new(client: reqwest::Client, stop: &CancellationToken, tasks: &TaskTracker) -> Self {
        let run = format!("{:x}", now_ms());
        Self { book: Arc::default(), run, client, stop: stop.clone(), tasks: tasks.clone() }
    }

    /// Whom to call: the base URL without a slash at its end, and the bearer token.
    pub fn set_gateway(&self, url: &str, token: &str) {
        lock(&self.book).gateway = Some(Gateway { url: url.trim_end_matches('/').to_owned(), token: token.to_owned() });
    }

    /// A customer pays; the transaction number. Calls begin at once and are made in the background, also before a
    /// gateway is known: then they fail and are repeated.
    ///
    /// # Errors
    /// A full book, or more parallel copies than the channel makes.
    pub fn pay(&self, service_point: &str, amount: &str, mode: PayMode) -> Result<String, SimError> {
        if let PayMode::Parallel(copies) = mode
            && !(1..=PARALLEL_MAX).contains(&copies)
        {
            return Err(SimError::Payment(format!("1 to {PARALLEL_MAX} parallel copies, not {copies}")));
        }
        let mut book = lock(&self.book);
        if book.payments.len() >= PAYMENTS_MAX {
            return Err(SimError::Payment(format!("the channel remembers {PAYMENTS_MAX} payments; restart it")));
        }
        book.count += 1;
        let transaction = format!("demo-{}-{:05}", self.run, book.count);
        let standing = if mode == PayMode::Never { Standing::Withheld } else { Standing::Calling };
        let payment = Payment {
            transaction: transaction.clone(),
            service_point: service_point.to_owned(),
            amount: amount.to_owned(),
            mode,
            standing,
            attempts: Vec::new(),
        };
        book.payments.insert(transaction.clone(), payment);
        drop(book);
        if mode != PayMode::Never {
            self.begin(transaction.clone(), mode);
        }
        Ok(transaction)
    }

    /// Calls back (again) for a payment, whatever its mode and standing.
    ///
    /// # Errors
    /// When the channel has no such transaction.
    pub fn settle(&self, transaction: &str) -> Result<(), SimError> {
        match lock(&self.book).payments.get_mut(transaction) {
            Some(payment) => payment.standing = Standing::Calling,
            None => return Err(SimError::Payment(format!("no transaction {transaction}"))),
        }
        self.begin(transaction.to_owned(), PayMode::Once);
        Ok(())
    }

    /// Every payment, the oldest first.
    pub fn payments(&self) -> Vec<Payment> {
        lock(&self.book).payments.values().cloned().collect()
    }

    /// One payment.
    pub fn payment(&self, transaction: &str) -> Option<Payment> {
        lock(&self.book).payments.get(transaction).cloned()
    }

    /// Waits until a payment no longer changes by itself; `None` when it still did after `limit`.
    pub async fn wait_settled(&self, transaction: &str, limit: Duration) -> Option<Payment> {
        let settled = async {
            loop {
                let done = |payment: &Payment| matches!(payment.standing, Standing::Settled | Standing::GivenUp);
                if let Some(payment) = self.payment(transaction).filter(done) {
                    return payment;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(limit, settled).await.ok()
    }

    fn begin(&self, transaction: String, mode: PayMode) {
        let (channel, stop) = (self.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = channel.carry_out(&transaction, mode) => {}
            }
        });
    }

    async fn carry_out(&self, transaction: &str, mode: PayMode) {
        if let PayMode::Late(millis) = mode {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        let mut success = match mode {
            PayMode::Parallel(copies) => {
                let mut calls = tokio::task::JoinSet::new();
                for _ in 0..copies {
                    let (channel, transaction) = (self.clone(), transaction.to_owned());
                    calls.spawn(async move { channel.call(&transaction).await });
                }
                calls.join_all().await.contains(&true)
            }
            _ => self.call(transaction).await,
        };
        let mut pauses = BACK_OFF_MS.into_iter().chain(std::iter::repeat(BACK_OFF_MS[BACK_OFF_MS.len() - 1]));
        for _ in 1..ATTEMPTS_MAX {
            if success {
                break;
            }
            tokio::time::sleep(Duration::from_millis(pauses.next().unwrap_or_default())).await;
            success = self.call(transaction).await;
        }
        if success && mode == PayMode::Twice {
            self.call(transaction).await;
        }
        if let Some(payment) = lock(&self.book).payments.get_mut(transaction) {
            payment.standing = if success { Standing::Settled } else { Standing::GivenUp };
        }
    }

    /// One call; whether it was answered with success.
    async fn call(&self, transaction: &str) -> bool {
        let (gateway, payment) = {
            let book = lock(&self.book);
            (book.gateway.clone(), book.payments.get(transaction).cloned())
        };
        let Some(payment) = payment else { return false };
        let attempt = match gateway {
            None => Attempt { at: now_ms(), status: None, answer: "no gateway is set".to_owned() },
            Some(gateway) => self.post(&gateway, &payment).await,
        };
        let success = attempt.status.is_some_and(|status| (200..300).contains(&status));
        if let Some(payment) = lock(&self.book).payments.get_mut(transaction) {
            payment.attempts.push(attempt);
        }
        success
    }

    async fn post(&self, gateway: &Gateway, payment: &Payment) -> Attempt {
        let sent = self
            .client
            .post(format!("{}/api/v1/top-ups", gateway.url))
            .timeout(CALL_MAX)
            .bearer_auth(&gateway.token)
            .header("Idempotency-Key", &payment.transaction)
            .json(&json!({
                "service_point": payment.service_point,
                "amount": payment.amount,
                "channel": CHANNEL,
                "channel_transaction": payment.transaction,
            }))
            .send()
            .await;
        match sent {
            Ok(answer) => {
                let status = Some(answer.status().as_u16());
                Attempt { at: now_ms(), status, answer: answer.text().await.unwrap_or_else(|error| error.to_string()) }
            }
            Err(error) => Attempt { at: now_ms(), status: None, answer: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests;
