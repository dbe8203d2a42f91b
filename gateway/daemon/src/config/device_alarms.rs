//! The alarms of every device: those of its profile, those of the site, and the one of its silence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{AlarmClass, AlarmDef, Condition, Latching, Priority, Term};
use guanjia_core::profile::{AlarmTemplate, EquipmentClass};
use guanjia_core::reading::PointIx;
use guanjia_core::text::Bilingual;

use super::alarms::{self, RawAlarm};
use super::context::Context;
use super::document::Entry;
use super::raw::RawDevice;
use super::value::{At, Span};
use crate::site::Device;

/// The id of the alarm every device has: it does not answer.
pub const NO_ANSWER: &str = "no_answer";
/// How long a device must be silent before that counts.
const SILENCE: Duration = Duration::from_secs(60);

/// Every alarm of the site: those of the profiles, replaced and extended by the site's own, and one of silence per
/// device.
pub fn alarms(
    context: &mut Context,
    raw: &[Entry<RawAlarm>],
    raw_devices: &[Entry<RawDevice>],
    devices: &[Device],
) -> Vec<Arc<AlarmDef>> {
    let mut own: BTreeMap<usize, Vec<AlarmTemplate>> = BTreeMap::new();
    for entry in raw {
        let Some(name) = &entry.device else {
            context.error(entry.at.clone(), "the key `device` is missing").help("name the device the alarm is about");
            continue;
        };
        let Some(device) = devices.iter().position(|d| *d.id == ***name) else {
            if !raw_devices.iter().any(|d| *d.key == ***name) {
                context.dangling("device", name, raw_devices.iter().map(|d| &*d.key));
            }
            continue;
        };
        let made = alarms::templates(entry, &devices[device].profile.points, &context.source, &mut context.report);
        for template in made {
            let list = own.entry(device).or_default();
            if *template.id == *NO_ANSWER || list.iter().any(|t| t.id == template.id) {
                context
                    .error(entry.id.span(), format!("there are two alarms `{}/{}`", devices[device].id, template.id))
                    .help("every alarm of a device has its own id");
            }
            list.push(template);
        }
    }
    let mut alarms = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        let own = own.remove(&index).unwrap_or_default();
        let of_profile = device.profile.alarms.iter().filter(|t| own.iter().all(|o| o.id != t.id)).cloned();
        let templates: Vec<AlarmTemplate> = of_profile.chain(own.iter().cloned()).collect();
        alarms.extend(templates.into_iter().map(|template| Arc::new(instance(device, template))));
        if let Some(entry) = raw_devices.iter().find(|d| d.key == device.id) {
            alarms.push(Arc::new(silence(device, entry)));
        }
    }
    alarms
}

fn instance(device: &Device, template: AlarmTemplate) -> AlarmDef {
    let terms = template.when.iter().filter_map(|term| {
        let offset = u32::try_from(device.profile.point(&term.point)?).ok()?;
        Some(Term { point: PointIx(device.first_point.0 + offset), test: term.test.clone() })
    });
    AlarmDef {
        key: format!("{}/{}", device.id, template.id).into(),
        device: device.ix,
        condition: Condition::All(terms.collect()),
        priority: template.priority,
        class: template.class,
        on_delay: template.on_delay,
        off_delay: template.off_delay,
        latching: template.latching,
        plan: template.plan.map(Into::into),
        text: template.text,
        action: template.action,
    }
}

/// A meter that is silent is a matter for the next working day; a silent guard of lives is not.
fn silence(device: &Device, raw: &RawDevice) -> AlarmDef {
    let own = raw.communication.as_ref();
    let (priority, plan, action) = match device.profile.class {
        EquipmentClass::FirePanel => (
            Priority::P2,
            "EP-06",
            ("监视盲区:派人值守消防主机,通知维保", "Blind: watch the panel in person, call the contractor"),
        ),
        EquipmentClass::Lift => (
            Priority::P2,
            "EP-11",
            ("监视盲区:用五方通话逐台询问,检查网线和电源", "Blind: ask the car by intercom, check network and power"),
        ),
        EquipmentClass::Sump | EquipmentClass::PowerSupply | EquipmentClass::Generator | EquipmentClass::Ups => (
            Priority::P2,
            "EP-11",
            ("监视盲区:到现场查看,检查网线和电源", "Blind: look on site, check network and power"),
        ),
        EquipmentClass::ElectricityMeter
        | EquipmentClass::WaterMeter
        | EquipmentClass::Pump
        | EquipmentClass::Sensor => {
            (Priority::P4, "EP-11", ("检查设备电源和接线", "Check the device's power and wiring"))
        }
    };
    let priority = own.and_then(|o| o.priority).unwrap_or(priority);
    let delay = |span: Option<&At<Span>>, default: Duration| span.map_or(default, |s| s.0);
    AlarmDef {
        key: format!("{}/{NO_ANSWER}", device.id).into(),
        device: device.ix,
        condition: Condition::Silent(device.ix),
        priority,
        class: AlarmClass::Communication,
        on_delay: delay(own.and_then(|o| o.on_delay.as_ref()), SILENCE),
        off_delay: delay(own.and_then(|o| o.off_delay.as_ref()), Duration::ZERO),
        latching: Latching::NonLatching,
        // What rings nobody opens no incident.
        plan: (priority != Priority::P4).then(|| plan.into()),
        text: Bilingual::new("设备无应答", "Device does not answer"),
        action: Bilingual::new(action.0, action.1),
    }
}
