//! What a top-up must look like before anybody looks for its wallet.

use super::TopUpRequest;
use crate::units::Fen;

/// The longest idempotency key or channel transaction number.
pub const KEY_CHARS_MAX: usize = 128;

/// The longest client, service point or channel id.
pub const ID_CHARS_MAX: usize = 64;

/// Why a top-up is refused before anything is looked up. It had no effect, and its key is still free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopUpRefusal {
    /// The API client has no name.
    #[error("the client id must be 1 to 64 visible ascii characters")]
    Client,
    /// The idempotency key is missing or odd.
    #[error("the idempotency key must be 1 to 128 visible ascii characters; make one per payment and keep it")]
    Key,
    /// The service point's id is missing or odd.
    #[error("the service point must be named by its id, 1 to 64 visible ascii characters")]
    ServicePoint,
    /// The amount is zero, negative or absurd.
    #[error("a top-up lies between 0.01 and 1000000.00 yuan")]
    Amount,
    /// The channel's name is missing or odd.
    #[error("the payment channel must be 1 to 64 visible ascii characters")]
    Channel,
    /// The channel's transaction number is empty or odd.
    #[error("the channel's transaction number must be 1 to 128 visible ascii characters, or left out")]
    ChannelTransaction,
}

impl TopUpRequest {
    /// Whether the request is well formed. The first fault is named.
    ///
    /// # Errors
    /// [`TopUpRefusal`]; such a request has no effect.
    pub fn validate(&self) -> Result<(), TopUpRefusal> {
        if !is_word(&self.client, ID_CHARS_MAX) {
            return Err(TopUpRefusal::Client);
        }
        if !is_word(&self.key, KEY_CHARS_MAX) {
            return Err(TopUpRefusal::Key);
        }
        if !is_word(&self.service_point, ID_CHARS_MAX) {
            return Err(TopUpRefusal::ServicePoint);
        }
        if self.amount < Fen(1) || self.amount > Fen::MAX_PAYABLE {
            return Err(TopUpRefusal::Amount);
        }
        if !is_word(&self.channel, ID_CHARS_MAX) {
            return Err(TopUpRefusal::Channel);
        }
        match &self.channel_txn {
            Some(txn) if !is_word(txn, KEY_CHARS_MAX) => Err(TopUpRefusal::ChannelTransaction),
            _ => Ok(()),
        }
    }

    /// What the request asks for, as a text that is equal exactly for equal requests. A key that comes back with
    /// another fingerprint belongs to a different request. Who asked and when are not part of it: a repetition
    /// comes later.
    ///
    /// Every field is preceded by its length, so that no two requests can run together into one text.
    pub fn fingerprint(&self) -> String {
        let field = |text: &str| format!("{}:{text}", text.len());
        let txn = self.channel_txn.as_deref().map_or_else(|| "-".to_owned(), field);
        format!("1 {} {} {} {txn}", field(&self.service_point), self.amount.0, field(&self.channel))
    }
}

/// 1 to `most` visible ASCII characters.
fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}
