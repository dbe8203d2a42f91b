//! Shops, tariffs and service points: who pays by which register.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use guanjia_core::profile::Relay;
use guanjia_core::reading::PointIx;
use guanjia_core::supply::ServiceKind;
use guanjia_core::tariff::{RawTariffPlan, TariffPlan};
use guanjia_core::units::{Fen, Hao, Quantity, Utility};
use guanjia_core::usage::{Ratio, Register, RegisterError, RegisterSpec};
use jiff::tz::TimeZone;

use super::context::Context;
use super::devices::Devices;
use super::diagnostic::{Report, Source};
use super::document::Entry;
use super::people;
use super::policy::LoadedPolicy;
use super::raw::{RawDevice, RawServicePoint, RawShop, RawSupply};
use super::unit::{self, Kind};
use super::value::{At, Measure};
use crate::site::{Attachment, Device, LoadPoint, ServicePoint, Shop};

/// Reads every tariff of the library. A tariff that is wrong is an error even if nobody uses it yet.
pub fn tariffs(
    files: &BTreeMap<String, Arc<Source>>,
    zone: Option<&TimeZone>,
    report: &mut Report,
) -> BTreeMap<String, Option<Arc<TariffPlan>>> {
    let mut tariffs = BTreeMap::new();
    for (stem, source) in files.iter().filter(|(stem, _)| !stem.starts_with('_')) {
        let raw: RawTariffPlan = match toml::from_str(&source.text) {
            Ok(raw) => raw,
            Err(error) => {
                report.error(source, error.span().unwrap_or(0..0), error.message());
                tariffs.insert(stem.clone(), None);
                continue;
            }
        };
        let id = raw.id.clone();
        let plan = zone.and_then(|zone| match TariffPlan::new(raw, zone) {
            Ok(plan) => Some(Arc::new(plan)),
            Err(errors) => {
                for error in errors {
                    report.error(source, 0..0, error.to_string());
                }
                None
            }
        });
        if tariffs.insert(id.clone(), plan).is_some() {
            report.error(source, 0..0, format!("there are two tariffs `{id}`"));
        }
    }
    tariffs
}

/// Checks every shop.
pub fn shops(context: &mut Context, raw: &[Entry<RawShop>], channels: &[String]) -> Vec<Shop> {
    let mut shops = Vec::new();
    for entry in raw {
        let contacts = people::reach(context, &entry.contacts, channels);
        shops.push(Shop { id: entry.key.clone(), name: entry.name.clone(), floor: entry.floor.clone(), contacts });
    }
    shops
}

/// What service points refer to.
pub struct Surroundings<'a> {
    /// `[shop.…]`
    pub shops: &'a [Entry<RawShop>],
    /// `[device.…]`
    pub raw_devices: &'a [Entry<RawDevice>],
    /// The devices that are right.
    pub devices: &'a Devices,
    /// Every tariff; `None` for one with an error.
    pub tariffs: &'a BTreeMap<String, Option<Arc<TariffPlan>>>,
    /// Every policy.
    pub policies: &'a [Entry<Option<LoadedPolicy>>],
}

/// Checks every service point.
pub fn service_points(
    context: &mut Context,
    raw: &[Entry<RawServicePoint>],
    around: &Surroundings<'_>,
) -> Vec<ServicePoint> {
    let mut found = Vec::new();
    let mut payers: Vec<Payer<'_>> = Vec::new();
    for entry in raw {
        let shop = context.position("shop", &entry.shop, around.shops);
        let tariff = tariff(context, entry, around);
        let policy = context.position("policy", &entry.policy, around.policies);
        let policy = policy.and_then(|i| around.policies[i].value.as_ref());
        let kind = kind(context, entry);
        let opening = opening(context, entry.opening_balance.as_ref());
        let device = device(context, entry, around);
        let register = device.and_then(|device| register(context, entry, device));
        if let (Some(device), Some((point, _))) = (device, &register) {
            check_alone(context, &payers, (device, *point, entry));
            payers.push((device, *point, entry));
        }
        let wallet = device.and_then(|device| wallet(context, entry, device));
        let parts = (shop, tariff, policy, kind, opening, device, register, wallet);
        let (
            Some(shop),
            Some(tariff),
            Some(policy),
            Some(kind),
            Some(opening),
            Some(device),
            Some(register),
            Some(wallet),
        ) = parts
        else {
            continue;
        };
        let supplies = |relay: &Relay| relay.supplies(&entry.register);
        // A meter that keeps the wallet moves its contact itself.
        let relay = device.profile.relays.iter().position(supplies).filter(|_| wallet.is_none());
        if kind == ServiceKind::Prepaid && relay.is_none() && wallet.is_none() && !entry.shop_contacts(around) {
            context
                .warning(entry.device.span(), format!("`{}` has no relay, and its shop has no contact", entry.key))
                .help("nobody would learn that the balance is used up: add `contacts` to the shop");
        }
        found.push(ServicePoint {
            id: entry.key.clone(),
            shop,
            utility: *entry.utility,
            device: device.ix,
            register_point: register.0,
            register: register.1,
            tariff,
            kind,
            load: load(device, policy.bypass),
            policy: policy.policy.clone(),
            opening,
            relay,
            wallet,
            meter_price: meter_price(device, wallet),
            meter_cuts: meter_cuts(device, &entry.register),
        });
    }
    found
}

impl Entry<RawServicePoint> {
    fn shop_contacts(&self, around: &Surroundings<'_>) -> bool {
        around.shops.iter().find(|s| *s.key == **self.shop).is_some_and(|s| !s.contacts.is_empty())
    }
}

fn tariff(context: &mut Context, entry: &RawServicePoint, around: &Surroundings<'_>) -> Option<Arc<TariffPlan>> {
    let Some(tariff) = around.tariffs.get(&**entry.tariff) else {
        context.dangling("tariff", &entry.tariff, around.tariffs.keys().map(String::as_str));
        return None;
    };
    let tariff = tariff.clone()?;
    if tariff.utility() != *entry.utility {
        context
            .error(entry.tariff.span(), format!("`{}` is a tariff of {}", tariff.id(), tariff.utility()))
            .help(format!("choose a tariff of {}", *entry.utility));
        return None;
    }
    Some(tariff)
}

fn kind(context: &mut Context, entry: &Entry<RawServicePoint>) -> Option<ServiceKind> {
    match (&entry.supply, &entry.exempt) {
        (Some(at), None) if matches!(**at, RawSupply::Prepaid | RawSupply::MeterWallet) => Some(ServiceKind::Prepaid),
        (None, Some(why)) => Some(ServiceKind::Exempt { why: **why }),
        (Some(_), Some(why)) => {
            context
                .error(why.span(), "a service point is prepaid or exempt, not both")
                .help("remove `supply` if it must never be cut, or `exempt` if it may");
            None
        }
        _ => {
            context
                .error(entry.at.clone(), format!("may `{}` be cut?", entry.key))
                .help("write supply = \"prepaid\", or exempt = \"medical\" (or another reason) if it must never be");
            None
        }
    }
}

/// Which of the meter's wallets is topped up; `None` if one is wanted and the meter has none for this register.
#[expect(clippy::option_option, reason = "whether it is right, and whether there is one")]
fn wallet(context: &mut Context, entry: &RawServicePoint, device: &Device) -> Option<Option<usize>> {
    let Some(at) = entry.supply.as_ref().filter(|at| ***at == RawSupply::MeterWallet) else { return Some(None) };
    let wallets = &device.profile.wallets;
    let found = wallets.iter().position(|wallet| wallet.is_charged_by(&entry.register));
    if found.is_none() {
        context
            .error(at.span(), format!("`{}` keeps no balance by this register", *entry.device))
            .help("write supply = \"prepaid\", or choose a meter whose profile has a [[wallet]] for it");
        return None;
    }
    if !matches!(device.attachment, Attachment::Line { .. }) {
        context
            .error(at.span(), format!("`{}` is not on a line, so it cannot be topped up", *entry.device))
            .help("write supply = \"prepaid\"");
        return None;
    }
    Some(found)
}

/// Where the meter says the price that its wallet charges; `None` if it does not tell.
fn meter_price(device: &Device, wallet: Option<usize>) -> Option<PointIx> {
    point_of(device, device.profile.wallets.get(wallet?)?.price()?)
}

/// Where the meter says whether an account of its own cuts by this register.
fn meter_cuts(device: &Device, register: &str) -> Option<PointIx> {
    let account = device.profile.wallets.iter().find(|wallet| wallet.is_charged_by(register))?;
    point_of(device, account.prepaid()?)
}

fn point_of(device: &Device, id: &str) -> Option<PointIx> {
    let offset = u32::try_from(device.profile.point(id)?).ok()?;
    Some(PointIx(device.first_point.0 + offset))
}

/// A counter that has a payer: its meter, its point, and whose it is.
type Payer<'a> = (&'a Device, PointIx, &'a Entry<RawServicePoint>);

/// One counter has one payer, whatever name it goes by, and a relay that cuts somebody supplies nobody else.
fn check_alone(context: &mut Context, payers: &[Payer<'_>], (device, point, entry): Payer<'_>) {
    let source = |point: PointIx| Some(&device.profile.points.get((point.0 - device.first_point.0) as usize)?.source);
    let relay = |entry: &RawServicePoint| device.profile.relays.iter().position(|r| r.supplies(&entry.register));
    let supply = |entry: &RawServicePoint| entry.supply.as_ref().map(|at| **at);
    for (_, other_point, other) in payers.iter().filter(|(other, ..)| other.ix == device.ix) {
        if source(point) == source(*other_point) {
            let name = if point == *other_point { "this register" } else { "the counter of this register" };
            let help = match (supply(entry), supply(other)) {
                (one, two) if one == two => "one register, one payer",
                _ => {
                    "its balance is kept by the gateway (\"prepaid\") or in the meter (\"meter-wallet\"), never in both"
                }
            };
            context.error(entry.register.span(), format!("{name} is billed to `{}` already", other.key)).help(help);
            return;
        }
        let is_cut = [entry, *other].into_iter().any(|entry| supply(entry) == Some(RawSupply::Prepaid));
        if is_cut && relay(entry).is_some() && relay(entry) == relay(other) {
            context
                .error(
                    entry.register.span(),
                    format!("the relay behind this register supplies `{}` as well", other.key),
                )
                .help("a cut of one would cut the other: make both of them exempt, or give each a relay of its own");
            return;
        }
    }
}

fn opening(context: &mut Context, raw: Option<&At<String>>) -> Option<Hao> {
    let Some(raw) = raw else { return Some(Hao(0)) };
    if matches!(raw.as_str(), "0" | "0.0" | "0.00") {
        return Some(Hao(0));
    }
    match raw.parse::<Fen>() {
        Ok(fen) => Some(fen.into()),
        Err(error) => {
            context.error(raw.span(), format!("{error}")).help("write yuan as text: \"50.00\"");
            None
        }
    }
}

fn device<'a>(context: &mut Context, entry: &RawServicePoint, around: &Surroundings<'a>) -> Option<&'a Device> {
    context.position("device", &entry.device, around.raw_devices)?;
    around.devices.devices.iter().find(|d| *d.id == **entry.device)
}

fn register(context: &mut Context, entry: &RawServicePoint, device: &Device) -> Option<(PointIx, Register)> {
    let profile = &device.profile;
    let Some(offset) = profile.point(&entry.register) else {
        let billable = profile.points.iter().filter(|p| fits(entry, &p.unit)).map(|p| &*p.id);
        let known: Vec<&str> = billable.collect();
        context.dangling("point", &entry.register, known);
        return None;
    };
    let max_per_hour = max_per_hour(context, entry)?;
    let ratio = match &entry.ratio {
        None => Ratio::InMeter,
        Some(ratio) => match NonZeroU32::new(**ratio) {
            Some(ratio) => Ratio::External(ratio),
            None => {
                context.error(ratio.span(), "a ratio of 0 would bill nothing").help("write 1, or leave it out");
                return None;
            }
        },
    };
    let spec = RegisterSpec::of(&profile.points[offset], *entry.utility, ratio, max_per_hour);
    match Register::new(spec) {
        Ok(register) => Some((PointIx(device.first_point.0 + offset as u32), register)),
        Err(error) => {
            let at = match error {
                RegisterError::MaxPerHour => {
                    entry.power_max.as_ref().or(entry.flow_max.as_ref()).map_or(0..0, At::span)
                }
                _ => entry.register.span(),
            };
            let message = error.to_string();
            match message.split_once("; ") {
                Some((what, help)) => context.error(at, what).help(help),
                None => drop(context.error(at, message)),
            }
            None
        }
    }
}

fn fits(entry: &RawServicePoint, code: &str) -> bool {
    let kind = match *entry.utility {
        Utility::Electricity => Kind::Energy,
        Utility::Water => Kind::Volume,
    };
    unit::find(code).is_some_and(|u| u.kind == kind)
}

/// The most Wh or mL of one hour.
fn max_per_hour(context: &mut Context, entry: &RawServicePoint) -> Option<Quantity> {
    let (key, given, stray, base, example) = match *entry.utility {
        Utility::Electricity => ("power_max", &entry.power_max, &entry.flow_max, "W", "30 kW"),
        Utility::Water => ("flow_max", &entry.flow_max, &entry.power_max, "L/h", "5 m3/h"),
    };
    if let Some(stray) = stray {
        let what = *entry.utility;
        context
            .error(stray.span(), format!("this is not a limit of {what}"))
            .help(format!("write {key} = \"{example}\""));
    }
    let Some(given): &Option<At<Measure>> = given else {
        context
            .error(entry.register.span(), format!("the key `{key}` is missing"))
            .help(format!("write {key} = \"{example}\": a register that grows faster is not believed"));
        return None;
    };
    let Some(most) = unit::find(base).and_then(|unit| given.in_unit(unit)) else {
        context
            .error(given.span(), format!("`{key}` cannot be in {}", given.unit.code))
            .help(format!("write {key} = \"{example}\""));
        return None;
    };
    // One hour at so many W is as many Wh; a litre is a thousand millilitres.
    let exponent = if *entry.utility == Utility::Water { -3 } else { 0 };
    let base_units = most.rescale(exponent).and_then(|m| i64::try_from(m).ok()).filter(|m| *m > 0);
    if base_units.is_none() {
        context
            .error(given.span(), format!("`{key}` is out of range"))
            .help(format!("write a limit above zero and in whole {base}: {key} = \"{example}\""));
    }
    base_units.map(Quantity)
}

/// The point that would show a bypass: the first of that kind of quantity, totals before phases.
fn load(device: &Device, kind: Kind) -> Option<LoadPoint> {
    let points = device.profile.points.iter().enumerate();
    let mut of_kind: Vec<_> =
        points.filter_map(|(i, p)| unit::find(&p.unit).filter(|u| u.kind == kind).map(|u| (i, p, u))).collect();
    of_kind.sort_by_key(|(i, p, _)| (!p.id.contains("total"), *i));
    let (offset, _, unit) = of_kind.first()?;
    let factor = 10f64.powi(i32::from(unit.exponent));
    Some(LoadPoint { point: PointIx(device.first_point.0 + *offset as u32), factor })
}
