//! From a decision to the contact: intent, command, proof.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use guanjia_core::profile::RelayAction;
use guanjia_core::supply::{Action, Breaker, ControlInputs, Decision, RelayIntent, WaitReason, control};
use guanjia_core::time::Timestamp;
use guanjia_field::{RelayCommand, RelayOutcome};
use guanjia_store::StoreError;
use tokio::sync::mpsc;
use tracing::{info, warn};
use uuid::Uuid;

use super::Prepaid;
use super::account::Account;
use crate::site::Attachment;

/// The word for a paid supply that waits for somebody to say that it is safe.
pub const CLOSE_PERMIT: &str = "close_permit";

/// A relay command that has ended.
pub struct Settled {
    /// Index of the account.
    pub account: usize,
    /// What was commanded.
    pub intent: RelayIntent,
    /// How it ended, as a stable word.
    pub word: &'static str,
    /// What the relay showed.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

/// Brings the contact where it should be, one step at a time; whether a command has left.
pub async fn act(
    prepaid: &Prepaid,
    account: &mut Account,
    decision: Decision,
    breaker: &mut Breaker,
    settled: &mpsc::Sender<Settled>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sp = &prepaid.site.service_points[account.index];
    let step = control(
        &ControlInputs {
            record: &account.record,
            contact: account.contact(&prepaid.site, now),
            load: account.load(&prepaid.site, now),
            proved: account.proved,
            attempts: account.attempts,
            intents: &account.intents,
            reconnect: sp.policy.reconnect,
            permitted_at: account.permitted_at,
        },
        &decision,
        now,
    );
    let alerts: Vec<&'static str> = step.alarms.iter().map(|alarm| alarm.as_str()).collect();
    if alerts != account.alerts && !alerts.is_empty() {
        warn!(service_point = %sp.id, alerts = %alerts.join(", "), "somebody must look at the relay");
    }
    account.alerts = alerts;
    let waits_for = (step.action == Action::Wait(WaitReason::ClosePermit)).then_some(CLOSE_PERMIT);
    if waits_for.is_some() && waits_for != account.waits_for {
        info!(service_point = %sp.id, "paid; the supply comes back when somebody says on the shop's page that it is safe");
    }
    account.waits_for = waits_for;
    let id = Uuid::now_v7();
    let intent = match step.action {
        Action::Send(RelayAction::Open) => {
            let Some(permit) = decision.permit else { return Ok(false) };
            let Some(pass) = breaker.admit(&sp.id, now) else {
                warn!(service_point = %sp.id, limit = breaker.limit(), "the mass-cut breaker has opened; a person must look before anybody else is cut");
                return Ok(false);
            };
            let evidence = serde_json::to_string(permit.evidence()).unwrap_or_default();
            permit.intent(pass, id, &account.record, now, evidence).ok()
        }
        Action::Send(RelayAction::Close) => {
            RelayIntent::restore(id, &account.record, now, account.record.reasons.join(", "))
        }
        Action::None | Action::Wait(_) => None,
    };
    let Some(intent) = intent else { return Ok(false) };
    prepaid.store.intend_relay(intent.clone()).await?;
    account.attempts.count += 1;
    account.attempts.last = now;
    account.intents.push(intent.clone());
    info!(service_point = %sp.id, action = ?intent.action, version = intent.version, "relay command leaves");
    send(prepaid, account, intent, settled.clone());
    Ok(true)
}

/// Hands the command to its line and reports how it ended.
fn send(prepaid: &Prepaid, account: &Account, intent: RelayIntent, settled: mpsc::Sender<Settled>) {
    let sp = &prepaid.site.service_points[account.index];
    let device = &prepaid.site.devices[sp.device.0 as usize];
    let way = match (&device.attachment, sp.relay) {
        (&Attachment::Line { line, .. }, Some(relay)) => {
            let command = RelayCommand {
                device: device.ix,
                relay,
                action: intent.action,
                valid_until: intent.valid_until,
                version: intent.version,
                current_version: Arc::clone(&account.version),
            };
            Some((prepaid.lines[line].clone(), command))
        }
        (Attachment::Line { .. } | Attachment::Mqtt { .. }, _) => None,
    };
    debug_assert!(account.version.load(Ordering::SeqCst) >= intent.version);
    let (metrics, utility, index) = (Arc::clone(&prepaid.metrics), sp.utility, account.index);
    tokio::spawn(async move {
        let begin = Instant::now();
        let outcome = match way {
            Some((line, command)) => line.relay(command).await,
            None => RelayOutcome::NoRelay,
        };
        let (word, detail) = words(&outcome);
        let action = match intent.action {
            RelayAction::Open => "open",
            RelayAction::Close => "close",
        };
        metrics.switch_command(utility, action, word, begin.elapsed().as_secs_f64());
        let outcome = Settled { account: index, intent, word, detail, at: guanjia_field::now() };
        // The task that waits for it can only be gone when the whole generation is.
        let _ = settled.send(outcome).await;
    });
}

fn words(outcome: &RelayOutcome) -> (&'static str, String) {
    match outcome {
        RelayOutcome::Verified { at } => ("verified", format!("the contact was seen there at {at}")),
        RelayOutcome::NotMoved => ("not_moved", "accepted, and the contact did not move".to_owned()),
        RelayOutcome::Moving => ("moving", "accepted, and the valve was still on its way".to_owned()),
        RelayOutcome::Jammed => ("jammed", "accepted, and the valve says that it cannot move".to_owned()),
        RelayOutcome::Refused(code) => ("refused", format!("the meter answered with exception {code:#04x}")),
        RelayOutcome::Unknown(why) => ("unknown", why.clone()),
        RelayOutcome::Expired => {
            ("expired", "its time had passed before the line was free; nothing was sent".to_owned())
        }
        RelayOutcome::Superseded => ("superseded", "something newer was decided; nothing was sent".to_owned()),
        RelayOutcome::NoRelay => ("no_relay", "this meter has no relay that can be commanded".to_owned()),
    }
}
