//! The alarms task: the one place where the control room meets the clock, the journal and people.
//!
//! ```text
//!  hub ──Observation──►┐      (and the gateway's own word on money in meters: prepaid::duty)
//!  clock ──tick───────►├─► core::incident::ControlRoom ──Batch──► journal (one transaction) ──► board, pager
//!  people ──command───►┘                                   │ refused: kept, joined with the next, tried again
//! ```
//!
//! * Nothing is shown or sent before it is durable. A batch the journal refuses is kept; people are answered only
//!   after their change is written, or told that it was not.
//! * Pages become rows here: one per way of reaching the person, all at once, for a chain of fallbacks loses minutes.
//!   The row's dedupe key makes a page that is decided twice (a crash between two steps) a page that is sent once.
//! * A power cut costs nothing that was written. After a restart the control room resumes from the rows; alarms that
//!   are already accepted stay accepted, and a ladder step that fell due meanwhile is taken at the first tick.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{AlarmRecord, Health, ResetError};
use guanjia_core::incident::{
    Batch, CommandError, ControlRoom, IncidentError, PageKind, PageRecord, PageRequest, Plant, Saved,
};
use guanjia_core::text::Lang;
use guanjia_core::time::Timestamp;
use guanjia_store::{AlarmBatch, Store};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::hub::Observation;
use crate::live::{AlarmBoard, Board, DeskCommand, DeskRefusal};
use crate::metrics::Metrics;
use crate::receipt::Receipt;
use crate::site::Site;

/// The longest time between two looks at the clock.
const TICK_MAX: Duration = Duration::from_secs(2);
/// The shortest, so that a deadline in the past cannot make a busy loop.
const TICK_MIN: Duration = Duration::from_millis(20);
/// How long the journal is left alone after it refused a batch.
const RETRY: Duration = Duration::from_millis(500);
/// Observations taken in before their changes are written together.
const BATCH_MAX: usize = 256;
/// How long an alert is worth sending.
const ALERT_LIFE: Duration = Duration::from_secs(2 * 3600);
/// How long a recovery is worth sending.
const RECOVERY_LIFE: Duration = Duration::from_secs(1800);

/// What the alarms task works with.
pub struct Alarms {
    /// The site.
    pub site: Arc<Site>,
    /// The journal.
    pub store: Store,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Where alarms and incidents are shown.
    pub board: Arc<Board<AlarmBoard>>,
    /// Rung for the pager.
    pub pager: Arc<Notify>,
}

/// Somebody who waits for the change they asked for to be durable.
type Waiting = (oneshot::Sender<Result<(), DeskRefusal>>, Result<(), DeskRefusal>);

/// Resumes the control room from the journal.
///
/// # Errors
/// When the journal cannot be read, or the site's alarms contradict each other.
pub async fn resume(alarms: &Alarms) -> anyhow::Result<ControlRoom> {
    let incidents = alarms.store.open_incidents().await?;
    let mut alerted = Vec::new();
    for incident in &incidents {
        for (page, _) in alarms.store.pages_of(incident.id).await? {
            if page.kind == PageKind::Alert {
                alerted.push((incident.id, page.person));
            }
        }
    }
    let saved = Saved { alarms: alarms.store.load_alarms().await?, incidents, alerted };
    let site = &alarms.site;
    let plant = Plant {
        alarms: site.alarms.clone(),
        topology: site.topology.clone(),
        plans: site.plans.clone(),
        roster: site.roster.clone(),
        timings: site.timings,
    };
    let ids = Box::new(|_: Timestamp| Uuid::now_v7());
    let room = ControlRoom::new(plant, saved, ids, guanjia_field::now())?;
    alarms.board.publish(board(&room));
    Ok(room)
}

/// Runs until `stop`; what is decided by then is still written.
pub async fn run(
    alarms: Alarms,
    mut room: ControlRoom,
    mut observations: mpsc::Receiver<Observation>,
    mut commands: mpsc::Receiver<DeskCommand>,
    stop: CancellationToken,
) {
    let mut unwritten = Batch::default();
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut queue = VecDeque::new();
    let mut receipts = Vec::new();
    let mut retry_at = None;
    let mut ticked: Option<Timestamp> = None;
    let mut counted = records(&room);
    loop {
        let now = guanjia_field::now();
        let pause = room.next_deadline().map_or(TICK_MAX, |at| at.since(now)).clamp(TICK_MIN, TICK_MAX);
        tokio::select! {
            () = stop.cancelled() => break,
            command = commands.recv() => match command {
                Some(command) => waiting.push(obey(&mut room, command, &mut unwritten)),
                None => break,
            },
            observation = observations.recv() => match observation {
                Some(observation) => {
                    queue.push_back(observation);
                    while queue.len() < BATCH_MAX && let Ok(more) = observations.try_recv() {
                        queue.push_back(more);
                    }
                }
                None => break,
            },
            () = tokio::time::sleep(pause) => {}
        }
        let now = guanjia_field::now();
        let mut is_due = ticked.is_none_or(|at| now < at || now.since(at) >= TICK_MAX) || !waiting.is_empty();
        for observation in queue.drain(..) {
            match observation {
                Observation::Receipt(receipt) => receipts.push(receipt),
                observation => is_due |= observe(&mut room, now, &observation, &mut unwritten) == Effect::Some,
            }
        }
        // A tick looks at every open incident: once after whatever changed, and when a time has come.
        if is_due || room.next_deadline().is_some_and(|at| at <= now) {
            unwritten.append(room.tick(now));
            ticked = Some(now);
        }
        if retry_at.is_some_and(|at| now < at) && waiting.is_empty() {
            continue;
        }
        retry_at = match write(&alarms, &room, &mut unwritten, &mut counted, now).await {
            Ok(()) => {
                receipts.drain(..).for_each(Receipt::stored);
                None
            }
            Err(failure) => {
                alarms.metrics.storage_write_error();
                error!(%failure, "alarms cannot be written; they are kept and tried again");
                for (reply, result) in waiting.drain(..) {
                    let answer = result.and(Err(DeskRefusal::Store(failure.to_string())));
                    // Whoever asked may have gone away meanwhile.
                    let _ = reply.send(answer);
                }
                Some(now + RETRY)
            }
        };
        for (reply, result) in waiting.drain(..) {
            let _ = reply.send(result);
        }
    }
    if let Err(failure) = write(&alarms, &room, &mut unwritten, &mut counted, guanjia_field::now()).await {
        error!(%failure, "the last alarms before the stop could not be written");
    }
}

/// Whether an observation changed anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Some,
}

fn observe(room: &mut ControlRoom, now: Timestamp, observation: &Observation, unwritten: &mut Batch) -> Effect {
    match observation {
        Observation::Readings { answered, readings } => {
            if let Some(device) = answered {
                room.on_answer(now, *device);
            }
            let mut effect = Effect::None;
            for reading in readings {
                let changed = room.on_reading(now, reading);
                if !changed.is_empty() {
                    effect = Effect::Some;
                    unwritten.append(changed);
                }
            }
            effect
        }
        Observation::Health { device, silent } => {
            let health = if silent.is_none() { Health::Answering } else { Health::Silent };
            unwritten.append(room.on_health(now, *device, health));
            Effect::Some
        }
        Observation::Declared(declaration) => {
            let changed = room.on_declaration(now, declaration);
            if changed.is_empty() {
                return Effect::None;
            }
            unwritten.append(changed);
            Effect::Some
        }
        // Given back by whoever writes.
        Observation::Receipt(_) => Effect::None,
    }
}

/// Does what a person asks; the answer waits until it is durable.
fn obey(room: &mut ControlRoom, command: DeskCommand, unwritten: &mut Batch) -> Waiting {
    let now = guanjia_field::now();
    let (reply, who, via, result) = match command {
        DeskCommand::AckIncident { incident, who, via, reply } => {
            let result = room.ack_incident(incident, &who, now).map_err(refusal);
            (reply, who, via, result)
        }
        DeskCommand::CloseIncident { incident, who, via, reply } => {
            let result = room.close_incident(incident, &who, via, now).map_err(refusal);
            (reply, who, via, result)
        }
        DeskCommand::ResetAlarm { key, who, via, reply } => {
            let result = room.reset_alarm(&key, &who, now).map_err(|error| match error {
                CommandError::UnknownAlarm(_) => DeskRefusal::Unknown,
                CommandError::Incident(error) => refusal(error),
                CommandError::Reset(ResetError::NotAcknowledged) => DeskRefusal::NotAcknowledged,
                CommandError::Ack(_) | CommandError::Reset(_) => DeskRefusal::StillActive,
            });
            (reply, who, via, result)
        }
    };
    let result = result.map(|batch| unwritten.append(batch));
    match &result {
        Ok(()) => info!(%who, via, "a person has decided"),
        Err(refused) => info!(%who, via, %refused, "a person's request changes nothing"),
    }
    (reply, result)
}

fn refusal(error: IncidentError) -> DeskRefusal {
    match error {
        IncidentError::NotOpen => DeskRefusal::Closed,
        IncidentError::AlreadyAcknowledged { by } => DeskRefusal::AlreadyAcknowledged { by },
        IncidentError::NotSettled { .. } => DeskRefusal::StillActive,
    }
}

/// Writes what has changed in one transaction; then, and only then, shows it and rings for the pager.
async fn write(
    alarms: &Alarms,
    room: &ControlRoom,
    unwritten: &mut Batch,
    counted: &mut Counted,
    now: Timestamp,
) -> anyhow::Result<()> {
    if unwritten.is_empty() {
        return Ok(());
    }
    let mut pages = Vec::new();
    for request in &unwritten.pages {
        pages.extend(page_rows(&alarms.site, request, now)?);
    }
    let rows = AlarmBatch {
        alarms: unwritten.alarms.clone(),
        incidents: unwritten.incidents.clone(),
        pages,
        timeline: unwritten.timeline.clone(),
    };
    alarms.store.commit_alarms(rows).await?;
    let written = std::mem::take(unwritten);
    count(alarms, counted, &written);
    alarms.board.publish(board(room));
    if !written.pages.is_empty() {
        alarms.pager.notify_one();
    }
    Ok(())
}

/// One row per way of reaching the person. A person without any is an error the configuration refuses.
fn page_rows(site: &Site, request: &PageRequest, now: Timestamp) -> anyhow::Result<Vec<PageRecord>> {
    let Some(person) = site.people.iter().find(|person| *person.id == *request.person) else {
        warn!(person = %request.person, "a page is for somebody the site file does not know");
        return Ok(Vec::new());
    };
    let (title, body) = match site.lang {
        Lang::Zh => (&request.title.zh, format!("{}\n\n{}", request.body.zh, request.body.en)),
        Lang::En => (&request.title.en, format!("{}\n\n{}", request.body.en, request.body.zh)),
    };
    let mut rows = Vec::with_capacity(person.reach.len());
    for reach in &person.reach {
        let kind = match request.kind {
            PageKind::Alert => "alert",
            PageKind::Recovery => "recovery",
            PageKind::Notice => "notice",
        };
        rows.push(PageRecord {
            id: Uuid::now_v7(),
            dedupe_key: format!(
                "{}:{}:{}:{}:{}:{kind}",
                request.incident, request.level, person.id, reach.channel, reach.address
            ),
            incident: Some(request.incident),
            kind: request.kind,
            priority: request.priority,
            person: person.id.to_string(),
            channel: reach.channel.to_string(),
            address: reach.address.clone(),
            title: title.clone(),
            body: body.clone(),
            ack_token: if request.kind == PageKind::Alert { Some(ack_token()?) } else { None },
            not_before: now,
            expires_at: now + if request.kind == PageKind::Alert { ALERT_LIFE } else { RECOVERY_LIFE },
        });
    }
    Ok(rows)
}

/// 128 random bits in hex: who holds it has received the page.
fn ack_token() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What was last counted of each alarm: its occurrence, and whether that was accepted.
type Counted = HashMap<String, (u64, bool)>;

fn count(alarms: &Alarms, counted: &mut Counted, written: &Batch) {
    for record in &written.alarms {
        let before = counted.insert(record.key.clone(), (record.occurrence, record.acked));
        let (occurrence, acked) = before.unwrap_or((0, true));
        let Some(def) = alarms.site.alarms.iter().find(|def| *def.key == *record.key) else { continue };
        if record.occurrence > occurrence {
            let device = &alarms.site.devices[def.device.0 as usize];
            let system = crate::metrics::system_of(device.profile.class);
            alarms.metrics.alarm_raised(system, def.priority, &device.building);
        }
        let accepted = record.acked && (record.occurrence > occurrence || !acked);
        if let (true, Some(at)) = (accepted, record.acked_at) {
            alarms.metrics.alarm_acknowledged(def.priority, at.since(record.raised_at).as_secs_f64());
        }
    }
    for entry in written.timeline.iter().filter(|entry| entry.what == "escalated") {
        let incident = written.incidents.iter().find(|incident| Some(incident.id) == entry.incident);
        alarms.metrics.escalation(incident.map_or(1, guanjia_core::incident::IncidentRecord::steps_taken));
    }
}

fn records(room: &ControlRoom) -> Counted {
    room.alarms().snapshot().into_iter().map(|record| (record.key, (record.occurrence, record.acked))).collect()
}

fn board(room: &ControlRoom) -> AlarmBoard {
    let mut incidents: Vec<_> = room.incidents().cloned().collect();
    incidents.sort_by_key(|incident| std::cmp::Reverse(incident.opened_at));
    let settled = |record: &AlarmRecord| !record.active && record.acked && !record.latched;
    let alarms = room.alarms().snapshot().into_iter().filter(|record| !settled(record)).collect();
    AlarmBoard { alarms, incidents }
}
