//! Every task of a generation and every channel between them, in one place.
//!
//! | channel | carries | bound | when it is full |
//! |---|---|---|---|
//! | reports | lines to hub | [`hub::REPORTS_MAX`] | the sender drops the report and counts it |
//! | messages | MQTT to hub | [`hub::MESSAGES_MAX`] | the broker's task takes no more; the broker keeps the rest |
//! | alarms | hub and meter credits to alarms | [`hub::OBSERVATIONS_MAX`] | the hub waits |
//! | prepaid | hub to prepaid | [`hub::OBSERVATIONS_MAX`] | the hub drops and counts, as registers are cumulative; it waits for MQTT |
//! | desk | people to alarms | [`DESK_MAX`] | the request is refused (503) |
//! | pager, forwarder, prepaid, credits pokes | "look at the store again" | 1 | the poke already waiting is enough |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use guanjia_field::{Caller, EntranceHandle, FieldDevice, LineConfig, LineHandle};
use guanjia_store::Store;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::ClockTrust;
use crate::field_thread::FieldThread;
use crate::live::{AlarmBoard, Board, LatestTable, Live, Readiness};
use crate::metrics::Metrics;
use crate::site::{self, Site};
use crate::tasks::Tasks;
use crate::{alarms, forward, hub, mqtt, pager, prepaid};

/// Requests of people waiting for the alarms task.
const DESK_MAX: usize = 64;

/// What lives as long as the process.
pub struct Process {
    /// The journal.
    pub store: Store,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Whether time of day may decide anything.
    pub clock: Arc<ClockTrust>,
    /// Where the HTTP side listens.
    pub address: SocketAddr,
    /// Where lines, hub and alarms run.
    pub field: FieldThread,
}

/// Tasks that are stopped together.
#[derive(Default)]
struct Stage {
    stop: CancellationToken,
    tasks: Tasks,
}

impl Stage {
    async fn finish(self, within: Duration) {
        self.stop.cancel();
        self.tasks.finish(within).await;
    }
}

/// Everything that runs under one configuration.
pub struct Generation {
    /// What the looking side sees of it.
    pub live: Arc<Live>,
    /// Stopped first: whatever brings readings in.
    intake: Stage,
    /// Stopped second: whatever decides.
    deciders: Stage,
    /// Stopped last: whatever carries decisions out.
    carriers: Stage,
}

impl Generation {
    /// Starts every task, the deciding ones before those that feed them.
    ///
    /// # Errors
    /// When the journal cannot be read, or the billing store's settings cannot be used. Nothing runs then.
    pub async fn start(site: Arc<Site>, process: &Process) -> anyhow::Result<Self> {
        let now = guanjia_field::now();
        let (store, metrics) = (process.store.clone(), Arc::clone(&process.metrics));
        metrics.adopt(&site);
        let latest = Arc::new(LatestTable::new(&site, now));
        let board = Arc::new(Board::new(AlarmBoard::default()));
        let supplies = Arc::new(Board::new(Vec::new()));
        let open_credits = Arc::new(Board::new(Vec::new()));
        let ready = Arc::new(Readiness::new(now));
        let [ring_pager, ring_forwarder, ring_prepaid, ring_credits] = std::array::from_fn(|_| Arc::new(Notify::new()));
        let public_url = site.http.public_url.clone().unwrap_or_else(|| format!("http://{}", process.address));
        let (mut intake, mut deciders, mut carriers) = (Stage::default(), Stage::default(), Stage::default());

        let (reports_in, reports) = mpsc::channel(hub::REPORTS_MAX);
        let (messages_in, messages) = mpsc::channel(hub::MESSAGES_MAX);
        let (alarms_in, alarms_out) = mpsc::channel(hub::OBSERVATIONS_MAX);
        let (prepaid_in, prepaid_out) = mpsc::channel(hub::OBSERVATIONS_MAX);
        let (desk, commands) = mpsc::channel(DESK_MAX);

        let works = alarms::Alarms {
            site: Arc::clone(&site),
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            board: Arc::clone(&board),
            pager: Arc::clone(&ring_pager),
        };
        let room = alarms::resume(&works).await.context("the alarms cannot be resumed")?;
        let field = process.field.handle();
        deciders.tasks.spawn_on(field, "alarms", alarms::run(works, room, alarms_out, commands, deciders.stop.clone()));

        let (lines, entrances) = start_lines(&site, field, &reports_in, &mut intake);
        let works = prepaid::Prepaid {
            site: Arc::clone(&site),
            store: store.clone(),
            lines: lines.clone(),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&process.clock),
            board: Arc::clone(&supplies),
            poke: Arc::clone(&ring_prepaid),
            pager: Arc::clone(&ring_pager),
            forwarder: Arc::clone(&ring_forwarder),
        };
        let (accounts, breaker) = prepaid::resume(&works).await.context("the accounts cannot be resumed")?;
        deciders.tasks.spawn("prepaid", prepaid::run(works, accounts, breaker, prepaid_out, deciders.stop.clone()));

        let works = prepaid::meter::Credits {
            site: Arc::clone(&site),
            store: store.clone(),
            lines: lines.clone(),
            poke: Arc::clone(&ring_credits),
            alarms: alarms_in.clone(),
            board: Arc::clone(&open_credits),
            forwarder: Arc::clone(&ring_forwarder),
        };
        let reconcile = prepaid::reconcile::Reconcile {
            site: Arc::clone(&site),
            store: store.clone(),
            lines: lines.clone(),
            latest: Arc::clone(&latest),
            alarms: alarms_in.clone(),
        };
        deciders.tasks.spawn("meter reconciliation", prepaid::reconcile::run(reconcile, deciders.stop.clone()));
        deciders.tasks.spawn("meter credits", prepaid::meter::run(works, deciders.stop.clone()));

        let outputs = hub::Outputs { latest: Arc::clone(&latest), alarms: alarms_in, prepaid: prepaid_in };
        let (hub_site, hub_metrics, stop) = (Arc::clone(&site), Arc::clone(&metrics), intake.stop.clone());
        intake.tasks.spawn_on(field, "hub", hub::run(hub_site, reports, messages, outputs, hub_metrics, stop));

        let live = Arc::new(Live {
            site: Arc::clone(&site),
            latest,
            lines,
            entrances,
            alarms: board,
            supplies,
            store: store.clone(),
            desk,
            prepaid: ring_prepaid,
            credits: ring_credits,
            open_credits,
            ready,
            public_url: public_url.clone(),
        });
        let works = mqtt::Works {
            site: Arc::clone(&site),
            store: store.clone(),
            messages: messages_in,
            latest: Arc::clone(&live.latest),
            alarms: Arc::clone(&live.alarms),
            metrics: Arc::clone(&metrics),
        };
        for (index, broker) in site.brokers.iter().enumerate() {
            let name = format!("mqtt {}", broker.name);
            intake.tasks.spawn(name, mqtt::run(works.clone(), index, intake.stop.clone()));
        }
        let (channels, stop) = (site.channels.clone(), carriers.stop.clone());
        carriers
            .tasks
            .spawn("pager", pager::run(store.clone(), channels, public_url, Arc::clone(&metrics), ring_pager, stop));
        let (target, ready, stop) = (site.billing.target.clone(), Arc::clone(&live.ready), carriers.stop.clone());
        carriers.tasks.spawn("forwarder", forward::run(store, target, metrics, ready, ring_forwarder, stop));
        Ok(Self { live, intake, deciders, carriers })
    }

    /// The name of a task that has ended although nobody stopped it.
    pub fn ended(&self) -> Option<&str> {
        [&self.intake, &self.deciders, &self.carriers].into_iter().find_map(|stage| stage.tasks.ended())
    }

    /// Ends everything in order: readings first, then decisions, then what carries them out.
    pub async fn stop(self, within: Duration) {
        let deadline = Instant::now() + within;
        for stage in [self.intake, self.deciders, self.carriers] {
            stage.finish(deadline.saturating_duration_since(Instant::now())).await;
        }
    }
}

/// Starts every line, and before them the ports whose modems bring some of them their connections.
fn start_lines(
    site: &Site,
    field: &Handle,
    reports: &mpsc::Sender<guanjia_field::FieldReport>,
    intake: &mut Stage,
) -> (Vec<LineHandle>, Vec<EntranceHandle>) {
    let _field = field.enter();
    let with_devices = |(index, line): (usize, _)| (line, site::on_line(&site.devices, index));
    let lines: Vec<(&LineConfig, Vec<FieldDevice>)> = site.lines.iter().enumerate().map(with_devices).collect();
    let mut entrances = Vec::with_capacity(site.entrances.len());
    for entrance in &site.entrances {
        let callers = lines.iter().filter_map(|(line, devices)| Caller::of(line, devices, &entrance.name)).collect();
        let (handle, task) = guanjia_field::start_entrance(entrance.clone(), callers, intake.stop.clone());
        intake.tasks.adopt(format!("dial-in {}", entrance.name), task);
        entrances.push(handle);
    }
    let mut handles = Vec::with_capacity(lines.len());
    for (index, (config, devices)) in lines.into_iter().enumerate() {
        let seat = entrances.iter().find_map(|entrance| entrance.seat(&config.name));
        let (config, reports, stop) = (config.clone(), reports.clone(), intake.stop.clone());
        let name = format!("line {}", config.name);
        let (handle, task) = match seat {
            Some(seat) => guanjia_field::start_dial_in_line(config, seat, devices, reports, stop),
            None if site.is_passive(index) => guanjia_field::listen_line(config, devices, reports, stop),
            None => guanjia_field::start_line(config, devices, reports, stop),
        };
        intake.tasks.adopt(name, task);
        handles.push(handle);
    }
    (handles, entrances)
}
