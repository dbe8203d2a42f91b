//! The site file of a plant: as many meters as wanted, 50 points in 100 registers and four alarms each.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Registers of a device that are read.
pub const REGISTERS_READ: u16 = 100;
/// Points in them.
pub const POINTS: usize = 50;

/// Eight points with a meaning of their own, 42 floats, and alarms that never rise while a device works.
const PROFILE: &str = r#"
vendor = "Guanjia"
model = "benchmark meter"
class = "electricity-meter"
confidence = "synthetic"
sources = []

[read]
registers_max = 125

[[point]]
id = "energy_active_import"
name = { zh = "正向有功电能", en = "Active energy import" }
table = "holding"
address = 0
type = "u32"
scale = 0.01
unit = "kW.h"
poll = "alarm"

[[point]]
id = "active_power_total"
name = { zh = "总有功功率", en = "Active power" }
table = "holding"
address = 2
type = "i32"
scale = 0.001
unit = "kW"
poll = "alarm"

[[point]]
id = "voltage_l{n}"
name = { zh = "{n}相电压", en = "Voltage of phase {n}" }
repeat = { count = 3, stride = 2 }
table = "holding"
address = 4
type = "u32"
scale = 0.1
unit = "V"
poll = "alarm"

[[point]]
id = "current_l{n}"
name = { zh = "{n}相电流", en = "Current of phase {n}" }
repeat = { count = 3, stride = 2 }
table = "holding"
address = 10
type = "u32"
scale = 0.001
unit = "A"
poll = "alarm"

[[point]]
id = "value_{n}"
name = { zh = "测量值{n}", en = "Value {n}" }
repeat = { count = 42, stride = 2 }
table = "holding"
address = 16
type = "f32"
poll = "alarm"

[[alarm]]
id = "overvoltage"
when = [{ point = "voltage_l1", above = "253 V", deadband = "5 V" }]
priority = "P3"
on_delay = "5s"
text = { zh = "过压", en = "Overvoltage" }
action = { zh = "检查进线电压", en = "Check the incoming voltage" }

[[alarm]]
id = "undervoltage"
when = [{ point = "voltage_l1", below = "176 V", deadband = "10 V" }]
priority = "P3"
on_delay = "5s"
text = { zh = "欠压", en = "Undervoltage" }
action = { zh = "检查进线电压", en = "Check the incoming voltage" }

[[alarm]]
id = "overload"
when = [{ point = "active_power_total", above = "2000000 kW", deadband = "1 kW" }]
priority = "P3"
on_delay = "60s"
text = { zh = "过载", en = "Overload" }
action = { zh = "减载", en = "Switch loads off" }

[[alarm]]
id = "value_{n}_high"
repeat = { count = 2 }
when = [{ point = "value_{n}", above = 1000, deadband = 10 }]
priority = "P4"
text = { zh = "数值{n}偏高", en = "Value {n} high" }
action = { zh = "次日查看", en = "Look into it the next day" }
"#;

/// What stands in the site file beside the devices.
pub struct Wanted<'a> {
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// How often every device is read.
    pub period: Duration,
    /// Where each device is.
    pub devices: &'a [SocketAddr],
    /// The broker readings are published to.
    pub broker: Option<SocketAddr>,
}

/// The id of a device.
pub fn device_id(device: usize) -> String {
    format!("d-{device:05}")
}

/// Writes the site file and the profile into `dir` and returns the path of the former.
///
/// # Errors
/// When the directory cannot be written to.
pub fn write(dir: &Path, wanted: &Wanted<'_>) -> anyhow::Result<PathBuf> {
    let profiles = dir.join("profiles");
    fs::create_dir_all(&profiles)?;
    fs::write(profiles.join("bench_meter.toml"), PROFILE)?;
    let millis = wanted.period.as_millis();
    let mut text = format!(
        r#"[site]
id = "bench"
name = {{ zh = "基准", en = "Benchmark" }}
time_zone = "Asia/Shanghai"

[storage]
directory = "journal"

[http]
listen = "{}"
console = "open"

[billing]
sqlite = "billing.db"

[library]
profiles = "profiles"

[polling]
alarm = "{millis}ms"
billing = "{millis}ms"
bulk = "{millis}ms"

[webhook.phone]
url = "http://127.0.0.1:9/{{address}}"

[person.li]
name = "Li"
reach = [{{ channel = "phone", address = "li" }}]

[[shift]]
role = "duty_phone"
person = "li"
from = "08:00"
to = "08:00"

[duty]
fallback = "li"

"#,
        wanted.listen
    );
    if let Some(broker) = wanted.broker {
        write!(text, "[mqtt.local]\naddress = \"{broker}\"\npublish = \"guanjia\"\n\n")?;
    }
    for (device, address) in wanted.devices.iter().enumerate() {
        let id = device_id(device);
        write!(text, "[modbus_tcp.{id}]\naddress = \"{address}\"\n\n")?;
        write!(text, "[device.{id}]\nprofile = \"bench_meter\"\nline = \"{id}\"\nunit = 1\nfloor = \"1F\"\n\n")?;
    }
    let path = dir.join("site.toml");
    fs::write(&path, text)?;
    Ok(path)
}
