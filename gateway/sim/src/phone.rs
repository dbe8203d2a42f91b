//! The duty phones: they take pages by webhook, ntfy and mail, remember them, and acknowledge like a person.
//!
//! ```text
//!  POST /webhook/{person}   any body; X-Signature is checked when a key is set
//!  POST /ntfy               ntfy's JSON at the root; the topic is the person
//!  SMTP                     the local part of the recipient is the person
//!        └──► Inbox (bounded) ──► wait_for_page, GET /pages
//!                 └── after a person's delay: GET the link in the page, then POST its form
//! ```
//!
//! A person's phone can refuse, hang, be busy or be gone, so that the sender's behaviour can be seen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::SimError;
use crate::{lock, now_ms};

mod acknowledge;
mod http;
mod mail;

/// Pages remembered; of more, the oldest are forgotten.
const PAGES_MAX: usize = 10_000;

/// By which way a page came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A signed JSON webhook.
    Webhook,
    /// The ntfy form.
    Ntfy,
    /// Mail.
    Mail,
}

/// What checking the signature said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// It was made with the key over this body.
    Valid,
    /// It was not.
    Invalid,
    /// A key is set and the page bears no signature.
    Missing,
    /// No key is set, or the channel has no signatures.
    NotChecked,
}

/// One page as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// Counts from 1 in order of arrival.
    pub number: u64,
    /// Whom it reached.
    pub person: String,
    /// By which way.
    pub via: Via,
    /// Unix milliseconds.
    pub received_at: i64,
    /// Header names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; of mail, the decoded text after the subject.
    pub body: String,
    /// The link that acknowledges, when the body has one.
    pub ack_link: Option<String>,
    /// The signature.
    pub signature: Signature,
    /// The status that was answered: HTTP, or 250 for mail.
    pub answered: u16,
}

impl Page {
    /// The id that stays the same over all attempts to deliver a page.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.headers.get("idempotency-key").or_else(|| self.headers.get("message-id")).map(String::as_str)
    }
}

/// How a person's phone treats pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PhoneMode {
    /// It takes them.
    #[default]
    Accept,
    /// It answers 500 (mail: 451).
    Refuse,
    /// It takes the request and never answers.
    Hang,
    /// It answers 429 with this many seconds in `Retry-After` (mail: 451).
    Busy {
        /// Seconds.
        retry_after: u16,
    },
    /// It answers 410 (mail: 550).
    Gone,
}

/// A person of the duty roster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// How the phone behaves.
    #[serde(default)]
    pub mode: PhoneMode,
    /// Acknowledges each accepted page by itself after so many milliseconds.
    #[serde(default)]
    pub acknowledge_after_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Inbox {
    pages: VecDeque<Page>,
    received: u64,
    people: BTreeMap<String, Person>,
    webhook_key: Option<String>,
}

/// All duty phones of the building.
#[derive(Clone)]
pub struct Phone {
    inbox: Arc<Mutex<Inbox>>,
    arrived: watch::Sender<u64>,
    client: reqwest::Client,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Phone {
    pub(crate) fn start(
        http: TcpListener,
        smtp: TcpListener,
        client: reqwest::Client,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let phone = Self {
            inbox: Arc::default(),
            arrived: watch::channel(0).0,
            client,
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(http::serve(http, phone.clone(), stop.clone()));
        tasks.spawn(mail::serve(smtp, phone.clone(), stop.clone()));
        phone
    }

    /// With a key, webhooks whose signature does not check are answered 401 and kept for inspection.
    pub fn set_webhook_key(&self, key: &str) {
        lock(&self.inbox).webhook_key = Some(key.to_owned());
    }

    /// Changes how a person behaves.
    pub fn set_person(&self, name: &str, person: Person) {
        lock(&self.inbox).people.insert(name.to_owned(), person);
    }

    /// How a person behaves.
    pub fn person(&self, name: &str) -> Person {
        lock(&self.inbox).people.get(name).copied().unwrap_or_default()
    }

    /// Every page so far, the oldest first; also those that were refused.
    pub fn pages(&self) -> Vec<Page> {
        lock(&self.inbox).pages.iter().cloned().collect()
    }

    /// Forgets all pages.
    pub fn clear(&self) {
        lock(&self.inbox).pages.clear();
    }

    /// The first page that satisfies `wanted`, past or to come; `None` when none did within `limit`.
    pub async fn wait_for_page(&self, wanted: impl Fn(&Page) -> bool, limit: Duration) -> Option<Page> {
        let mut arrived = self.arrived.subscribe();
        let search = async {
            loop {
                arrived.borrow_and_update();
                if let Some(page) = lock(&self.inbox).pages.iter().find(|page| wanted(page)) {
                    return page.clone();
                }
                if arrived.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(limit, search).await.ok()
    }

    /// Acknowledges the newest page of a person that has a link, as a person does: opens it, then presses the button.
    ///
    /// # Errors
    /// When there is no such page, or the gateway does not answer both steps with success.
    pub async fn acknowledge(&self, person: &str) -> Result<String, SimError> {
        let link = lock(&self.inbox)
            .pages
            .iter()
            .rev()
            .filter(|page| page.person == person && page.answered < 300)
            .find_map(|page| page.ack_link.clone())
            .ok_or_else(|| SimError::NothingToAcknowledge(person.to_owned()))?;
        acknowledge::follow(&self.client, &link).await
    }

    /// Takes in a page and answers the status its person's phone gives; `None` is a phone that hangs.
    fn receive(&self, mut page: Page) -> Option<(u16, Option<u16>)> {
        let mut inbox = lock(&self.inbox);
        let person = inbox.people.get(&page.person).copied().unwrap_or_default();
        let mail = page.via == Via::Mail;
        let (status, retry_after) = match person.mode {
            PhoneMode::Accept if matches!(page.signature, Signature::Invalid | Signature::Missing) => (401, None),
            PhoneMode::Accept => (if mail { 250 } else { 200 }, None),
            PhoneMode::Refuse => (if mail { 451 } else { 500 }, None),
            PhoneMode::Busy { retry_after } => (if mail { 451 } else { 429 }, Some(retry_after)),
            PhoneMode::Gone => (if mail { 550 } else { 410 }, None),
            PhoneMode::Hang => (0, None),
        };
        inbox.received += 1;
        page.number = inbox.received;
        page.answered = status;
        page.received_at = now_ms();
        let link = page.ack_link.clone().filter(|_| status < 300 && status > 0);
        if inbox.pages.len() >= PAGES_MAX {
            inbox.pages.pop_front();
        }
        inbox.pages.push_back(page);
        let number = inbox.received;
        drop(inbox);
        self.arrived.send_replace(number);
        if let (Some(link), Some(after)) = (link, person.acknowledge_after_ms) {
            let (client, stop) = (self.client.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_millis(after)) => {
                        if let Err(error) = acknowledge::follow(&client, &link).await {
                            tracing::warn!(%error, "page not acknowledged");
                        }
                    }
                }
            });
        }
        (status > 0).then_some((status, retry_after))
    }

    fn webhook_key(&self) -> Option<String> {
        lock(&self.inbox).webhook_key.clone()
    }
}

#[cfg(test)]
mod tests;
