//! Holding every outbox row against the ledger rows it speaks of.

use std::collections::BTreeMap;

use guanjia_core::incident::IncidentRecord;
use guanjia_core::ledger::Transfer;
use guanjia_core::units::{Hao, Utility};
use uuid::Uuid;

use super::Findings;
use crate::error::StoreError;
use crate::journal::{OutboxRow, credits, ledger, statement, usage};
use crate::payload::{CreditSettled, Mark, Payload, TopUp, Usage, WalletOpened};
use crate::sql::Conn;

/// The invariant all of this proves.
const CHECK: &str = "ledger_matches_outbox";

/// What has to be carried from row to row.
#[derive(Default)]
pub(super) struct Replay {
    /// Usage rows so far: the n-th one is interval n.
    intervals: i64,
    /// The last that was sent about each incident.
    incidents: BTreeMap<Uuid, IncidentRecord>,
}

impl Replay {
    /// Compares one outbox row with the ledger.
    pub async fn check(
        &mut self,
        conn: &mut Conn<'_>,
        row: &OutboxRow,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let name = format!("outbox {}", row.seq);
        let Some(payload) = findings.readable(&name, Payload::parse(&row.kind, &row.payload)) else {
            return Ok(());
        };
        let Some(payload) = payload else {
            findings.add(CHECK, name, format!("unknown kind {}", row.kind));
            return Ok(());
        };
        if let Some(transfer) = payload.transfer() {
            check_transfer(conn, transfer, findings).await?;
        }
        match payload {
            Payload::Wallet(wallet) => check_wallet(conn, &wallet, findings).await,
            Payload::TopUp(top_up) => check_top_up(conn, &top_up, findings).await,
            Payload::Usage(usage) => {
                self.intervals += 1;
                check_usage(conn, self.intervals, &usage, findings).await
            }
            Payload::MeterCredit(credit) => check_credit(conn, &credit, findings).await,
            Payload::Incident(incident) => {
                self.incidents.insert(incident.id, *incident);
                Ok(())
            }
        }
    }

    /// Compares the incidents with the last that was sent about them.
    pub async fn finish(self, conn: &mut Conn<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        for (id, sent) in self.incidents {
            let name = format!("incidents {id}");
            let row = conn.row("SELECT record FROM incidents WHERE id = $1", &[id.into()]).await?;
            let stored = row.map(|row| row.json::<IncidentRecord>("record")).transpose();
            if let Some(stored) = findings.readable(&name, stored)
                && stored.as_ref() != Some(&sent)
            {
                findings.add(CHECK, name, "differs from what was sent last");
            }
        }
        Ok(())
    }
}

async fn check_transfer(conn: &mut Conn<'_>, sent: &Transfer, findings: &mut Findings) -> Result<(), StoreError> {
    let name = format!("transfers {} with its postings", sent.id);
    let stored = findings.readable(&name, ledger::read_transfer(conn, sent.id).await);
    if stored.is_some_and(|stored| stored.as_ref() != Some(sent)) {
        findings.add(CHECK, name, "differs from what was sent");
    }
    Ok(())
}

async fn check_wallet(conn: &mut Conn<'_>, sent: &WalletOpened, findings: &mut Findings) -> Result<(), StoreError> {
    let name = format!("wallets {}", sent.service_point);
    let stored = findings.readable(&name, statement::wallet(conn, &sent.service_point).await);
    let same = |stored: &statement::Wallet| stored.utility == sent.utility && stored.opened_at == sent.at;
    if stored.is_some_and(|stored| !stored.as_ref().is_some_and(same)) {
        findings.add(CHECK, name, "differs from what was sent");
    }
    Ok(())
}

async fn check_top_up(conn: &mut Conn<'_>, sent: &TopUp, findings: &mut Findings) -> Result<(), StoreError> {
    let name = format!("receipts {}", sent.receipt.number);
    let stored = findings.readable(&name, statement::by_key(conn, &sent.client, &sent.key).await);
    match stored {
        Some(Some((fingerprint, receipt))) => {
            if receipt != sent.receipt {
                findings.add(CHECK, name.as_str(), "differs from what was sent");
            }
            if fingerprint != sent.fingerprint {
                findings.add(CHECK, format!("top_up_keys {} {}", sent.client, sent.key), "another fingerprint");
            }
        }
        Some(None) => {
            findings.add(CHECK, format!("top_up_keys {} {}", sent.client, sent.key), "has no key or no receipt");
        }
        None => {}
    }
    let sql = "SELECT channel, channel_txn FROM top_up_keys WHERE receipt = $1";
    let row = conn.row(sql, &[sent.receipt.number.into()]).await?;
    let stored = row.map(|row| Ok((row.text("channel")?, row.opt_text("channel_txn")?))).transpose();
    let wanted = Some((sent.receipt.channel.clone(), sent.channel_txn.clone()));
    if let Some(stored) = findings.readable(&name, stored)
        && stored != wanted
    {
        findings.add(CHECK, format!("top_up_keys {} {}", sent.client, sent.key), "another channel transaction");
    }
    Ok(())
}

async fn check_credit(conn: &mut Conn<'_>, sent: &CreditSettled, findings: &mut Findings) -> Result<(), StoreError> {
    let name = format!("meter_credits {}", sent.receipt);
    let row = conn.row("SELECT transfer FROM meter_credits WHERE receipt = $1", &[sent.receipt.into()]).await?;
    let transfer = row.map(|row| row.opt_text("transfer")).transpose();
    let stored = findings.readable(&name, credits::find(conn, sent.receipt).await);
    let (Some(Some(stored)), Some(transfer)) = (stored, findings.readable(&name, transfer)) else {
        findings.add(CHECK, name, "is missing");
        return Ok(());
    };
    let of_stored = (&stored.service_point, stored.amount, stored.count, stored.state, stored.at);
    let of_sent = (&sent.service_point, sent.amount, sent.count, sent.state, sent.at);
    let words = (&stored.detail, &stored.decided_by) == (&sent.detail, &sent.decided_by);
    let sent_transfer = sent.transfer.as_ref().map(|transfer| transfer.id.to_string());
    if of_stored != of_sent || !words || transfer.flatten() != sent_transfer {
        findings.add(CHECK, name, "differs from what was sent");
    }
    Ok(())
}

async fn check_usage(conn: &mut Conn<'_>, seq: i64, sent: &Usage, findings: &mut Findings) -> Result<(), StoreError> {
    let name = format!("usage_intervals {seq}");
    let row = conn.row("SELECT * FROM usage_intervals WHERE seq = $1", &[seq.into()]).await?;
    let Some(row) = row else {
        findings.add(CHECK, name, "is missing");
        return Ok(());
    };
    let stored = usage::read_interval(&row).and_then(|interval| Ok((interval, row.opt_text("transfer")?)));
    if let Some((interval, transfer)) = findings.readable(&name, stored) {
        let sent_transfer = sent.transfer.as_ref().map(|transfer| transfer.id.to_string());
        if interval != sent.interval || transfer != sent_transfer {
            findings.add(CHECK, name.as_str(), "differs from what was sent");
        }
        if !telescopes(&interval.from, interval.utility) || !telescopes(&interval.to, interval.utility) {
            findings.add("posted_is_exact_rounded", name.as_str(), "posted is not exact rounded");
        }
    }
    let charged = sent.transfer.as_ref().map_or(Hao(0), charge);
    if charged.0 != sent.interval.to.posted.0 - sent.interval.from.posted.0 {
        findings.add("charge_is_difference_of_posted", name, format!("charged {charged}"));
    }
    Ok(())
}

fn telescopes(mark: &Mark, utility: Utility) -> bool {
    mark.baseline().is_ok_and(|baseline| baseline.exact.round(utility) == Some(baseline.posted))
}

/// What a usage transfer took from the wallet, or from the one in the meter.
fn charge(transfer: &Transfer) -> Hao {
    let kept = |text: &str| text.starts_with("wallet:") || text.starts_with("meter_wallet:");
    let legs = transfer.postings.iter().filter(|leg| kept(leg.account.as_str()));
    Hao(-legs.map(|leg| leg.amount.0).sum::<i64>())
}
