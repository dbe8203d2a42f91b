//! The gateway's field side alone, in a process of its own: lines that are asked for more than they can bring.
//!
//! `guanjia run` refuses such a site; here the limit itself is what is looked for, so the lines are started directly.
//! The reports are taken and thrown away.

use std::sync::Arc;
use std::time::Duration;

use guanjia_core::profile::{
    EquipmentClass, PointDef, PollClass, Profile, ReadLimits, Registers, Source, Table, WireType,
};
use guanjia_core::reading::{DeviceIx, PointIx};
use guanjia_field::{FieldDevice, LineConfig, Link, Parity, Periods, SerialFormat, start_line};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::plant::address;
use crate::site::REGISTERS_READ;

/// Reports that may wait, as in the gateway.
const REPORTS_MAX: usize = 4096;
/// As often as it goes.
const PERIOD: Duration = Duration::ZERO;
/// As in the gateway.
const LINGER: Duration = Duration::from_millis(250);

/// Reads devices of the plant as fast as possible: 50 points in 100 registers, `reads` times in a row each turn.
///
/// # Errors
/// When there is no runtime to be had.
pub fn fast(port: u16, devices: usize, reads: u16, in_flight: u8) -> anyhow::Result<()> {
    let profile = Arc::new(profile(reads, in_flight));
    let lines = (0..devices).map(|device| {
        let link = Link::ModbusTcp { address: address(port, device).to_string() };
        (config(format!("line-{device}"), link), vec![field_device(&profile, device, 1, PERIOD)])
    });
    run(lines.collect())
}

/// Reads `units` meters of one serial line every second, which is far more than it can carry.
///
/// # Errors
/// When there is no runtime to be had.
pub fn serial(place: &str, units: u8, reads: u16) -> anyhow::Result<()> {
    let profile = Arc::new(profile(reads, 1));
    let format = SerialFormat { baud: 9_600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
    let link = if place.starts_with('/') {
        Link::Serial { path: place.to_owned(), format }
    } else {
        Link::RtuOverTcp { address: place.to_owned(), format }
    };
    let second = Duration::from_secs(1);
    let devices = (0..units).map(|i| field_device(&profile, usize::from(i), i + 1, second)).collect();
    run(vec![(config("bus".to_owned(), link), devices)])
}

fn run(lines: Vec<(LineConfig, Vec<FieldDevice>)>) -> anyhow::Result<()> {
    // One thread for the lines and who takes their reports, as in the gateway.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (reports, mut taken) = mpsc::channel(REPORTS_MAX);
        let stop = CancellationToken::new();
        let handles: Vec<_> = lines
            .into_iter()
            .map(|(config, devices)| start_line(config, devices, reports.clone(), stop.clone()))
            .collect();
        while let Some(report) = taken.recv().await {
            std::hint::black_box(report);
        }
        drop(handles);
    });
    Ok(())
}

fn config(name: String, link: Link) -> LineConfig {
    LineConfig { name: name.into(), link, response_max: None, turnaround: None, in_flight_max: 1, linger: LINGER }
}

fn field_device(profile: &Arc<Profile>, device: usize, unit: u8, period: Duration) -> FieldDevice {
    FieldDevice {
        ix: DeviceIx(device as u32),
        id: format!("d-{device}").into(),
        unit,
        profile: Arc::clone(profile),
        first_point: PointIx((device * profile.points.len()) as u32),
        periods: Periods { alarm: period, billing: period, bulk: period },
    }
}

/// A model with `reads` times 100 registers, two to a point.
fn profile(reads: u16, in_flight_max: u8) -> Profile {
    let point = |n: u16| {
        let place = Registers::new(Table::Holding, 2 * n, WireType::F32);
        let point = PointDef::new(&format!("value_{n}"), Source::Registers(place));
        PointDef { poll: PollClass::Alarm, ..point }
    };
    let points = (0..reads * REGISTERS_READ / 2).map(point).collect();
    let limits = ReadLimits { registers_max: REGISTERS_READ, in_flight_max, ..ReadLimits::default() };
    Profile { limits, ..Profile::new("bench", EquipmentClass::Sensor, points) }
}
