//! What the duty phones hold, read as a person reads it, and the orders people give in answer.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use guanjia_sim::{Page, Signature, Via};
use serde_json::{Value, json};

use crate::gateway::eventually;
use crate::house::{House, TOKEN};

/// One copy of a page about an incident that arrived by webhook, whether or not the phone took it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The same for every copy of one page.
    pub key: String,
    /// The incident's id.
    pub incident: String,
    /// `alert` or `recovery`.
    pub kind: String,
    /// `P1` to `P4`.
    pub priority: String,
    /// Whom it reached.
    pub person: String,
    /// The line for a lock screen.
    pub title: String,
    /// The whole text.
    pub body: String,
    /// The acknowledgement link; alerts only.
    pub link: Option<String>,
    /// Whether it was signed with the site's key.
    pub signature: Signature,
    /// What the phone answered; 0 for one that hung.
    pub answered: u16,
    /// Unix milliseconds.
    pub received_at: i64,
}

impl Call {
    /// The page if it came by webhook and is no notice to a tenant; what does not read as one is a defect of the
    /// gateway.
    fn of(page: &Page) -> Option<Self> {
        if page.via != Via::Webhook {
            return None;
        }
        let json: Value = serde_json::from_str(&page.body).expect("a webhook carries JSON");
        let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
        let key = page.idempotency_key().expect("a webhook bears an idempotency key").to_owned();
        assert_eq!(key, text("id"), "the header and the body name the same page");
        if json["kind"] == "notice" {
            return None;
        }
        Some(Self {
            key,
            incident: text("incident"),
            kind: text("kind"),
            priority: text("priority"),
            person: page.person.clone(),
            title: text("title"),
            body: text("body"),
            link: json["ack_url"].as_str().map(str::to_owned),
            signature: page.signature,
            answered: page.answered,
            received_at: page.received_at,
        })
    }

    /// Whether it reached the phone of whoever is on duty at this hour.
    pub fn is_for_duty_phone(&self) -> bool {
        self.person.starts_with("duty-")
    }

    /// Whether it is an alert about that incident.
    pub fn alerts_of(&self, incident: &Value) -> bool {
        self.kind == "alert" && incident["id"] == *self.incident
    }
}

/// How many different pages (not copies) each person got, by person.
pub fn pages_per_person<'a>(calls: impl IntoIterator<Item = &'a Call>) -> BTreeMap<String, usize> {
    let mut keys: BTreeMap<String, std::collections::BTreeSet<&str>> = BTreeMap::new();
    for call in calls {
        // Day and night share the duty phone; which of them has it depends on when the test runs.
        let person = if call.is_for_duty_phone() { "duty".to_owned() } else { call.person.clone() };
        keys.entry(person).or_default().insert(&call.key);
    }
    keys.into_iter().map(|(person, keys)| (person, keys.len())).collect()
}

/// `[("duty", 1), ("control-room", 1)]` as [`pages_per_person`] counts.
pub fn expected(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(person, count)| ((*person).to_owned(), *count)).collect()
}

/// The wall clock in Unix milliseconds, to be compared with [`Call::received_at`].
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl House {
    /// Every copy of every page about an incident that came by webhook, the oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.building.phone().pages().iter().filter_map(Call::of).collect()
    }

    /// The calls about one incident.
    pub fn calls_about(&self, incident: &Value) -> Vec<Call> {
        self.calls().into_iter().filter(|call| incident["id"] == *call.incident).collect()
    }

    /// Waits for a call, past or to come.
    pub async fn wait_for_call(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Call) -> bool,
    ) -> anyhow::Result<Call> {
        let found =
            self.building.phone().wait_for_page(|page| Call::of(page).is_some_and(|c| wanted(&c)), within).await;
        let page = found.with_context(|| format!("{what}: nobody was called within {within:?}"))?;
        Ok(Call::of(&page).expect("it was a call a moment ago"))
    }

    /// Waits until everybody has got so many different pages of a kind about an incident, counted as
    /// [`pages_per_person`] does.
    pub async fn wait_for_pages(
        &self,
        kind: &str,
        incident: &Value,
        wanted: &BTreeMap<String, usize>,
        within: Duration,
    ) -> anyhow::Result<()> {
        eventually(&format!("{kind} pages {wanted:?}"), within, || async {
            let counts = pages_per_person(self.calls_about(incident).iter().filter(|call| call.kind == kind));
            anyhow::ensure!(counts == *wanted, "{counts:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Every alarm that is not normal.
    pub async fn alarms(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.api("/alarms").await?;
        Ok(answer["alarms"].as_array().context("a list of alarms")?.clone())
    }

    /// The alarm of that key; `None` while it is normal.
    pub async fn alarm(&self, key: &str) -> anyhow::Result<Option<Value>> {
        Ok(self.alarms().await?.into_iter().find(|alarm| alarm["key"] == key))
    }

    /// Waits until the alarm of that key is as wanted; `Value::Null` stands for a normal one.
    pub async fn wait_for_alarm(
        &self,
        key: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        eventually(&format!("the alarm {key}"), within, || async {
            let alarm = self.alarm(key).await?.unwrap_or(Value::Null);
            Ok(wanted(&alarm).then_some(alarm))
        })
        .await
    }

    /// One incident with its timeline and pages, open or closed.
    pub async fn incident_by_id(&self, incident: &Value) -> anyhow::Result<Value> {
        self.api(&format!("/incidents/{}", incident["id"].as_str().context("an incident has an id")?)).await
    }

    /// Waits until the incident is in `state`.
    pub async fn wait_for_state(&self, incident: &Value, state: &str, within: Duration) -> anyhow::Result<Value> {
        eventually(&format!("the incident is {state}"), within, || async {
            let seen = self.incident_by_id(incident).await?;
            Ok((seen["state"] == state).then_some(seen))
        })
        .await
    }

    /// A POST to `/api/v1` as the cashier that may be refused; the status and the body, whatever they are.
    pub async fn try_order(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let request = plain_client()?.post(format!("{}/api/v1{path}", self.gateway.base())).bearer_auth(TOKEN);
        let answer = request.json(&json!({})).send().await?;
        Ok((answer.status().as_u16(), serde_json::from_str(&answer.text().await?).unwrap_or(Value::Null)))
    }

    /// Accepts an incident by the API.
    pub async fn accept(&self, incident: &Value) -> anyhow::Result<()> {
        let id = incident["id"].as_str().context("an incident has an id")?;
        self.order(&format!("/incidents/{id}/acknowledge")).await?;
        Ok(())
    }
}

/// Serial lines that wait less for an answer: on simulated buses that take no time, a device that has not answered
/// within this never will, and many silent ones are found out sooner.
pub fn impatient(site_file: String) -> String {
    site_file.replace("baud = 9600\n", "baud = 9600\nresponse_max = \"200ms\"\n")
}

/// A client that follows no redirects, so that each answer is seen.
pub fn plain_client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
    Ok(client.redirect(reqwest::redirect::Policy::none()).build()?)
}
