//! What the doctor can find, and what to do about it, in both languages.

use guanjia_core::text::Bilingual;

/// Which illness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Illness {
    /// Nothing but noise comes, and not one answer.
    WrongFormat,
    /// Requests of somebody else are heard.
    AnotherMaster,
    /// What is sent comes back.
    Echo,
    /// Two devices answer as one unit.
    DoubleAddress,
    /// Up to a unit all is well, beyond it frames are damaged.
    DamageBeyond,
    /// Frames are damaged all along the line.
    DamageEverywhere,
    /// The frames of one unit are damaged.
    DamageAtUnit,
    /// Answers of all units come late by about the same.
    ServerBuffers,
    /// The answers of most units come after the time-out.
    TimeoutTooShort,
    /// The answers of one unit come after the time-out.
    SlowUnit,
    /// A unit takes much longer than it used to.
    RoundTripDrift,
    /// A unit leaves some of another master's questions unanswered.
    Gaps,
    /// A unit refuses much of what it is asked.
    Refuses,
}

impl Illness {
    /// All of them, the ones that explain the others first.
    pub const ALL: [Illness; 13] = [
        Illness::WrongFormat,
        Illness::AnotherMaster,
        Illness::Echo,
        Illness::DoubleAddress,
        Illness::DamageBeyond,
        Illness::DamageEverywhere,
        Illness::DamageAtUnit,
        Illness::ServerBuffers,
        Illness::TimeoutTooShort,
        Illness::SlowUnit,
        Illness::RoundTripDrift,
        Illness::Gaps,
        Illness::Refuses,
    ];

    /// The `finding` label of the metric, and the word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Illness::WrongFormat => "wrong_serial_format",
            Illness::AnotherMaster => "another_master",
            Illness::Echo => "echo",
            Illness::DoubleAddress => "double_address",
            Illness::DamageBeyond => "damage_beyond_unit",
            Illness::DamageEverywhere => "damage_everywhere",
            Illness::DamageAtUnit => "damage_at_unit",
            Illness::ServerBuffers => "server_buffers",
            Illness::TimeoutTooShort => "timeout_too_short",
            Illness::SlowUnit => "slow_unit",
            Illness::RoundTripDrift => "round_trip_drift",
            Illness::Gaps => "missing_answers",
            Illness::Refuses => "refuses",
        }
    }
}

/// One finding, with what it is founded on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub illness: Illness,
    /// Whose, where it is one unit's; for [`Illness::DamageBeyond`] the last unit that is well.
    pub unit: Option<u8>,
    /// Milliseconds, where it is about time: how late, or how long now.
    pub millis: Option<u32>,
    /// Events that speak for it in the window.
    pub count: u32,
    /// Transactions of the same window they are counted against.
    pub of: u32,
}

impl Finding {
    /// What was found.
    pub fn text(&self) -> Bilingual {
        let unit = self.unit.map_or_else(|| "?".to_owned(), |u| u.to_string());
        let ms = self.millis.unwrap_or(0);
        match self.illness {
            Illness::WrongFormat => {
                Bilingual::new("线路上只有杂波,没有一帧正确", "Only noise, and not one right frame")
            }
            Illness::AnotherMaster => {
                Bilingual::new("线路上有另一个主站在发请求", "Another master sends requests on this line")
            }
            Illness::Echo => Bilingual::new("发出的报文又被收了回来", "What is sent comes back to the sender"),
            Illness::DoubleAddress => {
                Bilingual::new(format!("有两台设备都以地址 {unit} 应答"), format!("Two devices answer as unit {unit}"))
            }
            Illness::DamageBeyond => {
                Bilingual::new(format!("地址 {unit} 之后的报文受损"), format!("Frames are damaged beyond unit {unit}"))
            }
            Illness::DamageEverywhere => Bilingual::new("全线报文受损", "Frames are damaged all along the line"),
            Illness::DamageAtUnit => {
                Bilingual::new(format!("地址 {unit} 的报文受损"), format!("The frames of unit {unit} are damaged"))
            }
            Illness::ServerBuffers => Bilingual::new(
                format!("串口服务器攒包,每个应答晚到约 {ms} 毫秒"),
                format!("The serial server holds every answer back for about {ms} ms"),
            ),
            Illness::TimeoutTooShort => Bilingual::new(
                format!("超时设得太短,应答约需 {ms} 毫秒"),
                format!("The time-out is too short: answers take about {ms} ms"),
            ),
            Illness::SlowUnit => Bilingual::new(
                format!("地址 {unit} 应答需约 {ms} 毫秒,超过其超时"),
                format!("Unit {unit} takes about {ms} ms to answer, longer than its time-out"),
            ),
            Illness::RoundTripDrift => Bilingual::new(
                format!("地址 {unit} 的应答变慢,现约 {ms} 毫秒"),
                format!("Unit {unit} has become slow: about {ms} ms now"),
            ),
            Illness::Gaps => Bilingual::new(
                format!("地址 {unit} 对另一主站的部分请求没有应答"),
                format!("Unit {unit} leaves some of the other master's questions unanswered"),
            ),
            Illness::Refuses => Bilingual::new(
                format!("地址 {unit} 拒绝大部分请求"),
                format!("Unit {unit} refuses much of what it is asked"),
            ),
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> Bilingual {
        let (zh, en) = match self.illness {
            Illness::WrongFormat => (
                "核对波特率、校验位和停止位,并检查 A/B 线是否接反。",
                "Compare baud rate, parity and stop bits with the devices, and look whether A and B are swapped.",
            ),
            Illness::AnotherMaster => (
                "找出并断开另一个主站,或把本线路改为只听(passive = true)。",
                "Find the other master and take it off the line, or let this line only listen (passive = true).",
            ),
            Illness::Echo => (
                "关闭 RS-485 转换器的本地回显,或换用自动收发切换的转换器。",
                "Switch the local echo of the RS-485 adapter off, or take one that turns its receiver off while it sends.",
            ),
            Illness::DoubleAddress => (
                "断开其中一台,为另一台设置未用地址后再接回。",
                "Take one of them off the line, give the other a free address, and put the first back.",
            ),
            Illness::DamageBeyond => (
                "检查该设备之后的接线、屏蔽层,以及线路末端 120 Ω 终端电阻。",
                "Check terminals and shield after this device, and the 120 Ω resistor at the far end.",
            ),
            Illness::DamageEverywhere => (
                "检查两端终端电阻、偏置电阻、屏蔽层接地和是否与动力线同槽,或降低波特率。",
                "Check termination at both ends, bias, where the shield is earthed and whether it lies beside power \
                 cables; or lower the baud rate.",
            ),
            Illness::DamageAtUnit => (
                "检查该设备的接线端子和分支线长度,必要时更换其通信模块。",
                "Check the terminals of this device and the length of its stub; replace its interface if they are right.",
            ),
            Illness::ServerBuffers => (
                "把串口服务器的打包间隔调到 10 毫秒以内,关闭攒包。",
                "Set the packing interval of the serial server to 10 ms or less, and switch its packing off.",
            ),
            Illness::TimeoutTooShort => {
                ("在站点文件中加大该线路的 response_max。", "Raise response_max of this line in the site file.")
            }
            Illness::SlowUnit => (
                "加大该设备型号的 response_max,或检查设备是否过载。",
                "Raise response_max of its profile or line, or look what keeps the device busy.",
            ),
            Illness::RoundTripDrift => (
                "检查设备、网关或无线链路是否过载。",
                "Look what keeps the device, its gateway or its radio link busy.",
            ),
            Illness::Gaps => (
                "检查该设备的接线和电源,并核对另一主站的超时和轮询间隔是否过短。",
                "Check its terminals and its supply, and whether the other master asks again before it can answer.",
            ),
            Illness::Refuses => (
                "核对设备型号与固件是否与所用型号文件一致。",
                "Compare model and firmware of the device with the profile the site file names.",
            ),
        };
        Bilingual::new(zh, en)
    }
}
