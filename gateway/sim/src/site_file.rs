//! The gateway's site file for this building, rendered from the inventory.
//!
//! It is the same file a technician would write for a real building, only with the simulator's ports in it, and the
//! gateway reads it with the same loader.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::building::Addresses;
use crate::inventory::{self, Attachment, Device, LineId, Model, Parity};

/// How patient the gateway is told to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tempo {
    /// As in a building, but for the notice period, so that a person who watches the demo sees the whole story.
    #[default]
    Demo,
    /// As short as the machinery allows, for tests.
    Test,
}

/// What the building cannot know of the gateway.
#[derive(Clone, Debug)]
pub struct SiteFileOptions {
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// The physics' speed: a connection carries that much more in a real second.
    pub speed: f64,
    /// How patient it is.
    pub tempo: Tempo,
    /// The billing table's line: `sqlite = "billing.db"`, or a PostgreSQL source.
    pub billing: String,
    /// The balance of every prepaid wallet at its opening, in yuan; shop 102 has almost nothing.
    pub opening: String,
    /// The same for shop 102, which is the one that runs out of credit.
    pub opening_102: String,
}

impl Default for SiteFileOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            speed: 1.0,
            tempo: Tempo::Demo,
            billing: "sqlite = \"billing.db\"".to_owned(),
            opening: "2000.00".to_owned(),
            opening_102: "15.00".to_owned(),
        }
    }
}

/// Times that differ between a demo and a test.
struct Times {
    polling: &'static str,
    /// At 9600 baud thirty devices cannot be asked for everything every second.
    serial: &'static str,
    /// What to do about a serial line that is planned too full.
    overload: &'static str,
    interval: &'static str,
    silence: &'static str,
    hold: &'static str,
    recovery: &'static str,
    fallback: &'static str,
    lead: &'static str,
    entrapment: &'static str,
    leak: &'static str,
    evidence: &'static str,
    ladder: [&'static str; 3],
}

impl Times {
    fn of(tempo: Tempo) -> Self {
        match tempo {
            Tempo::Demo => Self {
                polling: r#"alarm = "1s", billing = "5s", bulk = "10s""#,
                serial: r#"alarm = "5s", billing = "15s", bulk = "1m""#,
                overload: "refuse",
                interval: "1m",
                silence: "15s",
                hold: "20s",
                recovery: "20s",
                fallback: "5m",
                lead: "20s",
                entrapment: "45s",
                leak: "20s",
                evidence: "2s",
                ladder: ["0s", "1m", "3m"],
            },
            Tempo::Test => Self {
                polling: r#"alarm = "500ms", billing = "1s", bulk = "2s""#,
                serial: r#"alarm = "500ms", billing = "1s", bulk = "5s""#,
                // The buses of a test take no time, whatever their speed is in the file.
                overload: "accept",
                interval: "1s",
                silence: "1s",
                hold: "3s",
                recovery: "3s",
                fallback: "10s",
                lead: "2s",
                entrapment: "2s",
                leak: "2s",
                evidence: "200ms",
                ladder: ["0s", "3s", "6s"],
            },
        }
    }
}

/// The whole file.
pub(crate) fn render(addresses: &Addresses, devices: &[Device], options: &SiteFileOptions) -> String {
    let times = Times::of(options.tempo);
    let mut out = String::from("# Written by the simulated building at every start; changes are lost.\n\n");
    head(&mut out, options, &times);
    lines(&mut out, addresses, &times);
    for device in devices {
        render_device(&mut out, device, &times);
    }
    alarms(&mut out, devices, &times);
    tenants(&mut out, devices, options, &times);
    people(&mut out, addresses, &times);
    out
}

/// Appends formatted text; writing to a `String` cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => { let _ = writeln!($out, $($text)*); };
}

fn head(out: &mut String, options: &SiteFileOptions, times: &Times) {
    put!(out, "[site]\nid = \"harbour-plaza\"\nname = {{ zh = \"海港广场\", en = \"Harbour Plaza\" }}");
    put!(out, "time_zone = \"Asia/Shanghai\"\nlanguage = \"zh\"\n");
    put!(out, "[storage]\ndirectory = \"journal\"\n");
    put!(
        out,
        "[http]\nlisten = \"{}\"\npublic_url = \"http://{}\"\nconsole = \"open\"\n",
        options.listen,
        options.listen
    );
    put!(out, "[billing]\n{}\ninterval = \"{}\"\n", options.billing, times.interval);
    put!(out, "[polling]\n{}\n", times.polling.replace(", ", "\n"));
    put!(out, "[api_client.cashier]\ntoken = {{ file = \"secrets/cashier.token\" }}");
    put!(out, "may = [\"top-up\", \"acknowledge\", \"read\"]\n");
    put!(
        out,
        "[inhibition]\nhold = \"{}\"\nrecovery_hold = \"{}\"\nfallback_after = \"{}\"\n",
        times.hold,
        times.recovery,
        times.fallback
    );
}

fn lines(out: &mut String, addresses: &Addresses, times: &Times) {
    for line in LineId::ALL {
        let address = addresses.line(line);
        match line.serial() {
            Some(serial) => {
                let parity = match serial.parity {
                    Parity::None => "none",
                    Parity::Even => "even",
                };
                put!(
                    out,
                    "[rtu_over_tcp.{}]\naddress = \"{address}\"\nbaud = {}\nparity = \"{parity}\"\noverload = \"{}\"\n",
                    line.name(),
                    serial.baud,
                    times.overload
                );
            }
            None => {
                put!(out, "[modbus_tcp.{}]\naddress = \"{address}\"\n", line.name());
            }
        }
    }
    put!(out, "[mqtt.local]\naddress = \"{}\"\npublish = \"guanjia\"\n", addresses.mqtt);
    put!(out, "[feeder.mains]\nname = {{ zh = \"市电进线\", en = \"Mains\" }}\nevidence = [\"io/ups_on_battery\"]\n");
    for floor in 1..=3 {
        put!(
            out,
            "[feeder.floor-{floor}]\nname = {{ zh = \"{floor}层馈线\", en = \"Feeder of floor {floor}\" }}\nfed_by = \"mains\""
        );
        put!(out, "evidence = [\"io/feeder_{floor}_lost\"]\n");
    }
}

fn render_device(out: &mut String, device: &Device, times: &Times) {
    put!(out, "[device.{}]\nprofile = \"{}\"", device.id, device.profile);
    match &device.attachment {
        Attachment::Modbus { line, unit } => {
            put!(out, "line = \"{}\"\nunit = {unit}", line.name());
            if line.serial().is_some() {
                put!(out, "polling = {{ {} }}", times.serial);
            }
        }
        Attachment::Mqtt { topic, availability } => {
            put!(out, "broker = \"local\"\ntopic = \"{topic}\"\navailability = \"{availability}\"\nmax_age = \"1m\"");
        }
    }
    let floor = if device.floor == 0 { "B1".to_owned() } else { format!("{}F", device.floor) };
    put!(
        out,
        "name = {{ zh = \"{}\", en = \"{}\" }}\nbuilding = \"main\"\nfloor = \"{floor}\"",
        device.name.zh,
        device.name.en
    );
    if let Some(feeder) = device.feeder {
        put!(out, "fed_by = \"floor-{feeder}\"");
    }
    put!(out, "communication = {{ on_delay = \"{}\" }}\n", times.silence);
}

/// Where the building's own alarms differ from those of the profiles.
fn alarms(out: &mut String, devices: &[Device], times: &Times) {
    for lift in ["lift-1", "lift-2"] {
        put!(out, "[[alarm]]\ndevice = \"{lift}\"\nid = \"entrapment\"");
        put!(
            out,
            "when = [{{ point = \"occupied\", equals = 1 }}, {{ point = \"door_close\", equals = 1 }}, {{ point = \"running\", equals = 0 }}, {{ point = \"levelled\", equals = 0 }}]"
        );
        put!(
            out,
            "priority = \"P1\"\nclass = \"life-safety\"\non_delay = \"{}\"\nlatching = \"latching\"\nplan = \"EP-05\"",
            times.entrapment
        );
        put!(out, "text = {{ zh = \"疑似困人\", en = \"Entrapment suspected\" }}");
        put!(
            out,
            "action = {{ zh = \"立即用五方通话安抚,通知维保30分钟内到场救援,严禁自行撬门\", en = \"Speak to the car at once, call the lift contractor (30 minutes on site); never force the doors\" }}\n"
        );
    }
    for device in devices.iter().filter(|device| device.model == Model::MqttWaterMeter) {
        put!(out, "[[alarm]]\ndevice = \"{}\"\nid = \"leak\"", device.id);
        put!(out, "when = [{{ point = \"flow\", above = \"700 L/h\", deadband = \"100 L/h\" }}]");
        put!(out, "priority = \"P3\"\non_delay = \"{}\"\noff_delay = \"2s\"\nplan = \"EP-03\"", times.leak);
        put!(out, "text = {{ zh = \"夜间持续大流量,疑似漏水\", en = \"Steady flow, leak suspected\" }}");
        put!(
            out,
            "action = {{ zh = \"联系商户,到现场检查,必要时关闭支路阀门\", en = \"Call the tenant, look on site, close the branch valve if needed\" }}\n"
        );
    }
    for floor in 1..=3 {
        put!(out, "[[alarm]]\ndevice = \"io\"\nid = \"feeder_{floor}_lost\"");
        put!(out, "when = [{{ point = \"feeder_{floor}_voltage\", equals = 0 }}]");
        put!(out, "priority = \"P2\"\non_delay = \"{}\"\noff_delay = \"2s\"\nplan = \"EP-02\"", times.evidence);
        put!(out, "text = {{ zh = \"{floor}层馈线失压\", en = \"Feeder of floor {floor} has no voltage\" }}");
        put!(
            out,
            "action = {{ zh = \"到配电房区分内部故障或市政停供,查困人\", en = \"At the switch room tell an internal fault from an outage; check the lifts\" }}\n"
        );
    }
}

fn tenants(out: &mut String, devices: &[Device], options: &SiteFileOptions, times: &Times) {
    let mut shops = Vec::new();
    for device in devices {
        let (Some(shop), Some(service_point)) = (&device.shop, &device.service_point) else { continue };
        if !shops.contains(shop) {
            shops.push(shop.clone());
            let number = shop.trim_start_matches("s-").parse().unwrap_or_default();
            let names = inventory::shop(number).1;
            put!(
                out,
                "[shop.{shop}]\nname = {{ zh = \"{}\", en = \"{}\" }}\nfloor = \"{}F\"",
                names.zh,
                names.en,
                device.floor
            );
            put!(out, "contacts = [{{ channel = \"phone\", address = \"shop-{shop}\" }}]\n");
        }
        put!(out, "[service_point.{service_point}]\nshop = \"{shop}\"\ndevice = \"{}\"", device.id);
        if device.model.is_electricity() {
            put!(
                out,
                "utility = \"electricity\"\nregister = \"energy_active_import\"\ntariff = \"shop-electricity\"\npolicy = \"power\""
            );
            put!(out, "power_max = \"{} kW\"", (30.0 * options.speed.max(1.0)).ceil());
        } else {
            put!(out, "utility = \"water\"\nregister = \"volume_total\"\ntariff = \"shop-water\"\npolicy = \"water\"");
            put!(out, "flow_max = \"{} m3/h\"", (5.0 * options.speed.max(1.0)).ceil());
        }
        if device.model == Model::AcrelDtsy1352 {
            let opening = if &**shop == "s-102" { &options.opening_102 } else { &options.opening };
            put!(out, "supply = \"prepaid\"\nopening_balance = \"{opening}\"\n");
        } else {
            put!(out, "exempt = \"not-prepaid\"\n");
        }
    }
    let windows =
        r#"cut_windows = [{ days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "00:00", to = "24:00" }]"#;
    put!(
        out,
        "[policy.power]\nemergency_credit = \"0\"\nnotice1 = {{ balance = \"30.00\" }}\nnotice2 = {{ balance = \"10.00\" }}\nfinal = {{ balance = \"0\" }}"
    );
    put!(
        out,
        "notice_lead = \"{}\"\n{windows}\nreading_max_age = \"1m\"\nreconnect = \"direct\"\nbypass_above = \"100 W\"\n",
        times.lead
    );
    put!(
        out,
        "[policy.water]\nemergency_credit = \"20.00\"\nnotice1 = {{ balance = \"30.00\" }}\nnotice2 = {{ balance = \"10.00\" }}\nfinal = {{ balance = \"0\" }}"
    );
    put!(
        out,
        "notice_lead = \"72h\"\ncut_windows = []\nreading_max_age = \"1h\"\nreconnect = \"close-permit\"\nbypass_above = \"50 L/h\"\n"
    );
}

fn people(out: &mut String, addresses: &Addresses, times: &Times) {
    put!(
        out,
        "[webhook.phone]\nurl = \"http://{}/webhook/{{address}}\"\nsecret = {{ file = \"secrets/duty-phone.key\" }}\n",
        addresses.phone
    );
    put!(out, "[ntfy.lan]\nurl = \"http://{}\"\n", addresses.phone);
    put!(out, "[smtp.mail]\naddress = \"{}\"\nsecurity = \"none\"\nfrom = \"guanjia@example.com\"\n", addresses.smtp);
    for (id, name, reach) in [
        (
            "duty-day",
            "日班值班员",
            r#"{ channel = "phone", address = "duty-day" }, { channel = "lan", address = "duty-day" }"#,
        ),
        (
            "duty-night",
            "夜班值班员",
            r#"{ channel = "phone", address = "duty-night" }, { channel = "lan", address = "duty-night" }"#,
        ),
        ("control-room", "监控中心", r#"{ channel = "phone", address = "control-room" }"#),
        ("engineer", "工程主管", r#"{ channel = "phone", address = "engineer" }"#),
        (
            "manager",
            "分管经理",
            r#"{ channel = "phone", address = "manager" }, { channel = "mail", address = "manager@example.com" }"#,
        ),
    ] {
        put!(out, "[person.{id}]\nname = \"{name}\"\nreach = [{reach}]\n");
    }
    for (role, person, from, to) in [
        ("duty_phone", "duty-day", "08:00", "20:00"),
        ("duty_phone", "duty-night", "20:00", "08:00"),
        ("control_room", "control-room", "00:00", "00:00"),
        ("engineer", "engineer", "00:00", "00:00"),
        ("eng_head", "engineer", "00:00", "00:00"),
        ("sec_head", "control-room", "00:00", "00:00"),
        ("branch_mgr", "manager", "00:00", "00:00"),
        ("leader", "manager", "00:00", "00:00"),
    ] {
        put!(out, "[[shift]]\nrole = \"{role}\"\nperson = \"{person}\"\nfrom = \"{from}\"\nto = \"{to}\"\n");
    }
    put!(out, "[duty]\nfallback = \"manager\"\n");
    let [first, second, third] = times.ladder;
    for priority in ["P1", "P2", "P3"] {
        put!(
            out,
            "[ladder.{priority}]\nsteps = [{{ after = \"{first}\", to = [\"duty_phone\", \"control_room\"] }}, {{ after = \"{second}\", to = [\"eng_head\"] }}, {{ after = \"{third}\", to = [\"branch_mgr\"] }}]\n"
        );
    }
}
