//! What stands in the simulated building, as data.
//!
//! One list: every device with its line, unit, floor, shop and names. The servers are built from it, the site file of
//! the gateway is rendered from it, and tests ask it instead of repeating numbers.
//!
//! ```text
//!  line rs485-a  RTU over TCP 9600 8N1   units 1-20  Acrel DTSY1352          s-101 .. s-114, s-201 .. s-206
//!  line rs485-b  RTU over TCP 9600 8E1   units 1-10  Acrel DTSY1352          s-207 .. s-216
//!                                        units 11-20 Eastron SDM630          s-301 .. s-310
//!                                        units 31-38 ZENNER EDC water        floors 1 and 2
//!  line plant    Modbus TCP              units 1-8   CHINT DTSU666           the incomer (1) and common loads
//!  lines fire, lift-1, lift-2, io        unit 1      one server each
//!  broker                                4 water meters of floor 3 by MQTT
//! ```
//!
//! `rs485-b` runs with even parity because the water meters allow nothing else and a bus has one format; the
//! electricity meters on it are set to it.

use std::sync::Arc;

use serde::Serialize;

/// Chinese and English text for one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Names {
    /// Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

impl Names {
    pub(crate) fn new(zh: impl Into<String>, en: impl Into<String>) -> Self {
        Self { zh: zh.into(), en: en.into() }
    }
}

/// The lines of the building; every one has its own server and its own port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineId {
    /// The RS-485 line of floor 1 and a part of floor 2, behind a serial server.
    #[serde(rename = "rs485-a")]
    Rs485A,
    /// The RS-485 line of the rest, behind a serial server.
    #[serde(rename = "rs485-b")]
    Rs485B,
    /// The Modbus TCP gateway of the plant room.
    Plant,
    /// The fire panel's Modbus gateway.
    Fire,
    /// Lift 1.
    #[serde(rename = "lift-1")]
    Lift1,
    /// Lift 2.
    #[serde(rename = "lift-2")]
    Lift2,
    /// The utility room's input and output module.
    Io,
}

impl LineId {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Rs485A, Self::Rs485B, Self::Plant, Self::Fire, Self::Lift1, Self::Lift2, Self::Io];

    /// The name in configuration and in faults.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs485A => "rs485-a",
            Self::Rs485B => "rs485-b",
            Self::Plant => "plant",
            Self::Fire => "fire",
            Self::Lift1 => "lift-1",
            Self::Lift2 => "lift-2",
            Self::Io => "io",
        }
    }

    /// The line of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|line| line.name() == name)
    }

    /// The serial format behind a serial server; `None` for Modbus TCP.
    pub fn serial(self) -> Option<Serial> {
        match self {
            Self::Rs485A => Some(Serial { baud: 9600, parity: Parity::None }),
            Self::Rs485B => Some(Serial { baud: 9600, parity: Parity::Even }),
            _ => None,
        }
    }
}

/// The format of a serial line with 8 data bits and 1 stop bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Serial {
    /// Bits per second.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even parity.
    Even,
}

/// Which documented register map or message a device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// Acrel DTSY1352: the DTSD1352 map and a relay.
    AcrelDtsy1352,
    /// Eastron SDM630-Modbus.
    EastronSdm630,
    /// CHINT DTSU666.
    ChintDtsu666,
    /// ZENNER bulk water meter with EDC module.
    ZennerEdc,
    /// Honeywell NOTIFIER MODBUS-GW.
    NotifierModbusGw,
    /// The "Techno" lift board and three synthetic registers.
    GuanjiaSimLift,
    /// The synthetic module of the utility room.
    GuanjiaSimIo,
    /// A water meter that publishes JSON.
    MqttWaterMeter,
}

impl Model {
    /// The id of the device profile that describes it.
    pub fn profile(self) -> &'static str {
        match self {
            Self::AcrelDtsy1352 => "acrel_dtsy1352",
            Self::EastronSdm630 => "eastron_sdm630",
            Self::ChintDtsu666 => "chint_dtsu666",
            Self::ZennerEdc => "zenner_edc",
            Self::NotifierModbusGw => "notifier_modbus_gw",
            Self::GuanjiaSimLift => "guanjia_sim_lift",
            Self::GuanjiaSimIo => "guanjia_sim_io",
            Self::MqttWaterMeter => "mqtt_water_meter",
        }
    }

    pub(crate) fn is_electricity(self) -> bool {
        matches!(self, Self::AcrelDtsy1352 | Self::EastronSdm630 | Self::ChintDtsu666)
    }

    pub(crate) fn is_water(self) -> bool {
        matches!(self, Self::ZennerEdc | Self::MqttWaterMeter)
    }
}

/// How the gateway reaches a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// A unit on a Modbus line.
    Modbus {
        /// The line.
        line: LineId,
        /// The unit id.
        unit: u8,
    },
    /// Two topics on the broker.
    Mqtt {
        /// Where its JSON state appears.
        topic: String,
        /// Where `online` or `offline` lies retained.
        availability: String,
    },
}

/// What kind of shop it is; decides how its load runs through the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trade {
    /// Lights and tills, ten to ten.
    Retail,
    /// Peaks at noon and in the evening.
    Restaurant,
    /// Offices and clinics, nine to six.
    Office,
    /// Cold stores and server rooms: the same all day.
    Constant,
    /// Lighting of common areas: strongest at night.
    Lighting,
}

/// One device of the building.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Unique in the building: `m-101`, `w-301`, `fire-panel`.
    pub id: Arc<str>,
    /// What it is.
    pub model: Model,
    /// The profile's id, see [`Model::profile`].
    pub profile: &'static str,
    /// Where it is.
    pub attachment: Attachment,
    /// 1 to 3; 0 is the plant room.
    pub floor: u8,
    /// The feeder that powers it; `None` for what has its own battery or hangs on the plant's supply.
    pub feeder: Option<u8>,
    /// The shop it measures.
    pub shop: Option<Arc<str>>,
    /// The service point it measures: `s-101-e`, `s-101-w`.
    pub service_point: Option<Arc<str>>,
    /// How its load or flow runs through the day.
    pub trade: Trade,
    /// What people call it.
    pub name: Names,
}

/// The five plant loads and two lifts that the incomer measures beside the shops.
const PLANT: [(&str, &str, &str, Trade); 8] = [
    ("incomer", "总进线", "Incoming feeder", Trade::Constant),
    ("p-lift-1", "1号电梯动力", "Lift 1 drive", Trade::Retail),
    ("p-lift-2", "2号电梯动力", "Lift 2 drive", Trade::Retail),
    ("p-pumps", "给排水泵房", "Pump room", Trade::Constant),
    ("p-hvac", "空调机房", "Air conditioning plant", Trade::Retail),
    ("p-lighting", "公共照明", "Common lighting", Trade::Lighting),
    ("p-smoke", "消防风机", "Smoke extraction fans", Trade::Constant),
    ("p-server", "弱电机房", "Server room", Trade::Constant),
];

/// The water meters: the shop each one measures and, on RS-485, its unit.
const WATER: [(u16, Option<u8>); 12] = [
    (101, Some(31)),
    (102, Some(32)),
    (105, Some(33)),
    (108, Some(34)),
    (201, Some(35)),
    (203, Some(36)),
    (207, Some(37)),
    (210, Some(38)),
    (301, None),
    (303, None),
    (305, None),
    (308, None),
];

/// Every device of the building, in a fixed order.
pub fn devices() -> Vec<Device> {
    let mut list = Vec::with_capacity(70);
    for (first, count, line, unit, model) in [
        (101, 14, LineId::Rs485A, 1, Model::AcrelDtsy1352),
        (201, 6, LineId::Rs485A, 15, Model::AcrelDtsy1352),
        (207, 10, LineId::Rs485B, 1, Model::AcrelDtsy1352),
        (301, 10, LineId::Rs485B, 11, Model::EastronSdm630),
    ] {
        list.extend((0..count).map(|n| shop_meter(first + n, line, unit + n as u8, model)));
    }
    list.extend((1u8..).zip(PLANT).map(|(unit, (id, zh, en, trade))| Device {
        trade,
        ..device(id, Model::ChintDtsu666, modbus(LineId::Plant, unit), Names::new(zh, en))
    }));
    list.extend(WATER.map(|(shop, unit)| water_meter(shop, unit)));
    for (id, line, model, zh, en) in [
        ("fire-panel", LineId::Fire, Model::NotifierModbusGw, "火灾报警控制器", "Fire panel"),
        ("lift-1", LineId::Lift1, Model::GuanjiaSimLift, "1号客梯", "Passenger lift 1"),
        ("lift-2", LineId::Lift2, Model::GuanjiaSimLift, "2号客梯", "Passenger lift 2"),
        ("io", LineId::Io, Model::GuanjiaSimIo, "设备间测控模块", "Utility room module"),
    ] {
        list.push(device(id, model, modbus(line, 1), Names::new(zh, en)));
    }
    list
}

/// The shop of a number such as 207: its id, and what people call it.
pub fn shop(number: u16) -> (Arc<str>, Names) {
    let (zh, en) = match trade_of(number) {
        Trade::Restaurant => ("餐饮", "Restaurant"),
        Trade::Office => ("办公", "Office"),
        Trade::Constant => ("冷库", "Cold store"),
        Trade::Retail | Trade::Lighting => ("零售", "Retail"),
    };
    (format!("s-{number}").into(), Names::new(format!("{number}号{zh}商铺"), format!("{en} {number}")))
}

fn trade_of(number: u16) -> Trade {
    match number % 5 {
        0 => Trade::Constant,
        1 | 3 => Trade::Restaurant,
        2 => Trade::Retail,
        _ => Trade::Office,
    }
}

fn shop_meter(number: u16, line: LineId, unit: u8, model: Model) -> Device {
    let (shop, name) = shop(number);
    let floor = (number / 100) as u8;
    Device {
        floor,
        feeder: Some(floor),
        service_point: Some(format!("{shop}-e").into()),
        shop: Some(shop),
        trade: trade_of(number),
        ..device(
            &format!("m-{number}"),
            model,
            modbus(line, unit),
            Names::new(format!("{}电表", name.zh), format!("{} electricity meter", name.en)),
        )
    }
}

fn water_meter(number: u16, unit: Option<u8>) -> Device {
    let (shop, name) = shop(number);
    let id = format!("w-{number}");
    let (model, attachment) = match unit {
        Some(unit) => (Model::ZennerEdc, modbus(LineId::Rs485B, unit)),
        None => (
            Model::MqttWaterMeter,
            Attachment::Mqtt {
                topic: format!("site/water/{id}/state"),
                availability: format!("site/water/{id}/online"),
            },
        ),
    };
    Device {
        floor: (number / 100) as u8,
        service_point: Some(format!("{shop}-w").into()),
        shop: Some(shop),
        trade: trade_of(number),
        ..device(&id, model, attachment, Names::new(format!("{}水表", name.zh), format!("{} water meter", name.en)))
    }
}

fn device(id: &str, model: Model, attachment: Attachment, name: Names) -> Device {
    Device {
        id: id.into(),
        model,
        profile: model.profile(),
        attachment,
        floor: 0,
        feeder: None,
        shop: None,
        service_point: None,
        trade: Trade::Constant,
        name,
    }
}

fn modbus(line: LineId, unit: u8) -> Attachment {
    Attachment::Modbus { line, unit }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_building_has_what_was_promised_and_no_two_devices_share_an_address() {
        let list = devices();
        let of = |model| list.iter().filter(|device| device.model == model).count();
        assert_eq!(of(Model::AcrelDtsy1352) + of(Model::EastronSdm630), 40);
        assert_eq!((of(Model::AcrelDtsy1352), of(Model::EastronSdm630), of(Model::ChintDtsu666)), (30, 10, 8));
        assert_eq!((of(Model::ZennerEdc), of(Model::MqttWaterMeter)), (8, 4));
        assert_eq!((of(Model::NotifierModbusGw), of(Model::GuanjiaSimLift), of(Model::GuanjiaSimIo)), (1, 2, 1));
        let addresses: BTreeSet<String> = list.iter().map(|device| format!("{:?}", device.attachment)).collect();
        let ids: BTreeSet<&str> = list.iter().map(|device| &*device.id).collect();
        assert_eq!((addresses.len(), ids.len()), (list.len(), list.len()));
    }

    #[test]
    fn each_floor_hangs_on_its_own_feeder() {
        let on = |feeder| devices().iter().filter(|device| device.feeder == Some(feeder)).count();
        assert_eq!((on(1), on(2), on(3)), (14, 16, 10));
    }
}
