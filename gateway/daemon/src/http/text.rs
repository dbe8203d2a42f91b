//! Every word of the console, in both languages, in one place.

use guanjia_core::text::Lang;

/// One text in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct T(pub &'static str, pub &'static str);

impl T {
    /// The text in `lang`.
    pub fn get(self, lang: Lang) -> &'static str {
        match lang {
            Lang::Zh => self.0,
            Lang::En => self.1,
        }
    }
}

macro_rules! texts {
    ($($name:ident = $zh:literal, $en:literal;)*) => {
        $(#[doc = $en] pub const $name: T = T($zh, $en);)*
        /// Every text above, for the test that neither language was forgotten.
        #[cfg(test)]
        const ALL: &[T] = &[$($name),*];
    };
}

texts! {
    PRODUCT = "管家", "Guanjia";
    OVERVIEW = "总览", "Overview";
    INCIDENTS = "事件", "Incidents";
    DEVICES = "设备", "Devices";
    SHOPS = "商铺", "Shops";
    SKIP = "跳到正文", "Skip to content";
    OTHER_LANGUAGE = "English", "中文";
    SIGN_IN = "登录", "Sign in";
    SIGN_OUT = "退出", "Sign out";
    PASSWORD = "口令", "Password";
    WRONG_PASSWORD = "口令不正确。", "That is not the password.";
    TOO_MANY_ATTEMPTS = "尝试过多,请一分钟后再试。", "Too many attempts. Try again in a minute.";
    NOT_FOUND = "找不到此页", "There is no such page";
    NOT_FOUND_HINT = "可能已更名或已移除。请从总览开始。", "It may have been renamed or removed. Start from the overview.";
    UNAVAILABLE = "暂时无法读取", "Cannot be read just now";
    UNAVAILABLE_HINT = "本地数据库没有应答,请稍后刷新。", "The local store does not answer. Reload in a moment.";
    AS_OF = "截至", "As of";
    ALL_QUIET = "一切正常", "All quiet";
    ALL_QUIET_DETAIL = "没有未结事件,设备均有应答。", "No open incident, and every device answers.";
    ONE_NEEDS_YOU = "1 项需要处理", "1 thing needs attention";
    MANY_NEED_YOU = "{n} 项需要处理", "{n} things need attention";
    WORST_FIRST = "需要处理(按轻重排序)", "Needs attention, worst first";
    SUPPLY_NOW = "当前用量", "Use now";
    POWER_NOW = "商铺用电功率", "Tenants' power";
    FLOW_NOW = "商铺用水流量(有流量读数的表)", "Tenants' water, where flow is read";
    FRESH_OF = "{a}/{b} 个表计数据有效", "{a} of {b} meters fresh";
    SUPPLIES = "供电供水", "Supplies";
    SYSTEMS = "系统", "Systems";
    UNDELIVERED = "通知未送达", "Page not delivered";
    NOT_WAITING = "此处没有等待确认的供应。", "No paid supply waits for a word there.";
    WAITS_FOR_PERMIT = "已付清,等待确认安全后恢复", "Paid, and waiting for somebody to say that it is safe";
    PERMIT_HINT = "请先向店内的人确认:龙头已关、用电设备已断开、无人在检修。确认后才恢复供应。", "Ask somebody in the shop first: taps closed, appliances off, nobody working on the line. Only then does the supply come back.";
    PERMIT = "已确认安全,恢复供应", "It is safe, restore the supply";
    METER_CREDITS = "写入表内的充值", "Top-ups into the meter";
    CREDIT_UNDER_WAY = "写入中", "on its way";
    CREDIT_HELD = "等待用量下降", "waits for use";
    CREDIT_UNCERTAIN = "未确认", "not confirmed";
    CREDIT_MANUAL = "待人工核对", "waits for a person";
    IS_IN_METER = "已入表", "in the meter";
    IS_NOT_IN_METER = "未入表", "not in the meter";
    CREDIT_WAITS = "收据 {n} 的充值待人工核对", "The top-up of receipt {n} waits for a person";
    CREDIT_HINT = "请到表读取购买次数和最近一次充值金额。本次购买次数:{n}。已入表则记入表内账,未入表则款项留在账上。只能结清一次。", "Read the purchase count and the last amount at the meter. The count of this one: {n}. In the meter, its money is booked there; not in the meter, it stays in the ledger. It is settled once.";
    METER_SHOWS = "核对结果", "What was found";
    REASON = "依据", "How it was found";
    SETTLE = "结清", "Settle";
    NO_CREDIT_WAITS = "此笔充值不需人工核对,或已结清。", "This top-up waits for no person, or is settled already.";
    REASON_MISSING = "请写明依据(1 至 500 字)。", "Say how it was found, in 1 to 500 characters.";
    READ_ONLY = "消防与电梯设备仅监视,不下发任何控制。", "Fire and lift equipment is only watched here, never controlled.";
    OPEN = "未结", "Open";
    PAST = "已结", "Closed";
    NO_OPEN_INCIDENT = "没有未结事件。", "No incident is open.";
    NO_PAST_INCIDENT = "还没有已结事件。", "No incident has been closed yet.";
    STANDING_ALARMS = "当前报警", "Standing alarms";
    NO_ALARM = "没有报警。", "No alarm stands.";
    CODE = "代码", "Code";
    PLAN = "预案", "Plan";
    OWNER = "责任人", "Owner";
    OPENED = "开始", "Opened";
    ESCALATES = "下次升级", "Next step of the ladder";
    LADDER_LEVEL = "已升级到第 {n} 级", "Ladder step {n}";
    ACCEPTED_BY = "受理人", "Accepted by";
    CLOSED_AT = "结束", "Closed";
    STEPS = "处置步骤", "What to do";
    FORBIDDEN = "系统不会做的事", "What the gateway will not do";
    TIMELINE = "经过", "Timeline";
    PAGES = "通知", "Pages";
    NO_PAGES = "没有发出通知。", "Nobody was paged.";
    ATTEMPTS = "{n} 次尝试", "{n} attempts";
    ACKNOWLEDGE = "受理", "Acknowledge";
    WHO_ARE_YOU = "您是谁?", "Who are you?";
    CHOOSE = "请选择", "Choose";
    ACK_HINT = "受理后停止升级,由您负责处置。", "Accepting stops the ladder: it is yours from then on.";
    CLOSE_INCIDENT = "结束事件", "Close the incident";
    RESET = "复位", "Reset";
    RESET_HINT = "条件已消失,等待人工复位。", "The condition has gone; a person resets it.";
    ALREADY_ACCEPTED = "已由 {who} 受理。", "Accepted already by {who}.";
    IS_CLOSED = "事件已结束,不会重新打开。", "The incident is closed; it is not opened again.";
    DONE_ACCEPTED = "已受理,谢谢。", "Accepted. Thank you.";
    ACCEPT_FIRST = "尚未有人确认,请先确认再复位。", "Nobody has accepted it yet; acknowledge it first, then reset it.";
    STILL_ACTIVE = "条件仍然存在,不能执行。", "The condition still holds, so that cannot be done.";
    NO_SUCH_OPEN = "没有这样的未结事件或报警。", "No such incident or alarm is open.";
    NOT_WRITTEN = "未能写入数据库,请重试。", "It could not be written down. Please try again.";
    CHOOSE_A_PERSON = "请先选择您的姓名。", "Please choose your name first.";
    BACK = "返回", "Back";
    LINK_TITLE = "受理事件", "Accept the incident";
    LINK_UNKNOWN = "链接无效", "This link is not valid";
    LINK_UNKNOWN_HINT = "请检查链接是否完整,或致电值班室。", "Check that it is complete, or call the duty room.";
    LINK_EXPIRED = "链接已过期", "This link has expired";
    LINK_EXPIRED_HINT = "请在控制台查看事件,或致电值班室。", "Look at the console, or call the duty room.";
    LINK_FOR = "发给 {who}", "Sent to {who}";
    SYSTEM = "系统", "System";
    FLOOR = "楼层", "Floor";
    STATE = "状态", "State";
    ANY = "全部", "All";
    FILTER = "筛选", "Filter";
    NO_DEVICE = "没有符合条件的设备。", "No device matches.";
    DEVICE_CLOCK = "设备时钟", "Its clock";
    LAST_ANSWER = "最近应答", "Last answer";
    NEVER = "从未", "never";
    POINT = "测点", "Point";
    VALUE = "数值", "Value";
    QUALITY = "质量", "Quality";
    AGE = "时间", "Age";
    MODEL = "型号", "Model";
    BUS = "总线", "Bus";
    BALANCE = "余额", "Balance";
    DEBT = "其中欠费", "Of it owed";
    COVER = "预计可用", "Should last";
    DAYS = "{n} 天", "{n} days";
    HOURS = "{n} 小时", "{n} h";
    UNDER_AN_HOUR = "不到 1 小时", "under 1 h";
    WANTED = "应为", "Wanted";
    REPORTED = "实际", "Reported";
    NOT_READ = "未读取", "not read";
    WHY = "原因", "Why";
    WHY_DARK = "为什么没有供应?", "Why is it off?";
    BLOCKED = "暂不中断,因为", "Not cut, because";
    MUST_LOOK = "需要人员处理", "Somebody must see to this";
    CUT_BY_METER = "由表计自行通断", "the meter cuts by itself";
    WARNING = "提醒", "Warning";
    REGISTER = "表底", "Register";
    EXEMPT = "不得中断", "Never cut";
    STATEMENT = "账单", "Statement";
    NO_STATEMENT = "还没有记录。", "Nothing has been posted yet.";
    DATE = "时间", "When";
    WHAT = "事项", "What";
    AMOUNT = "金额", "Amount";
    RECEIPT = "收据 {n}", "Receipt {n}";
    NO_SHOPS = "本站点没有预付费商铺。", "This site has no prepaid shops.";
    NOTICES = "已发通知", "Notices";
    DELIVERED_AT = "送达 {t}", "delivered {t}";
    NOT_DELIVERED = "未送达", "not delivered";
    METER = "表计", "Meter";
    ON = "供应中", "On";
    OFF = "已中断", "Off";
    AT_ONCE = "立即", "at once";
    WITHIN_SECONDS = "{n} 秒内", "within {n} s";
    WITHIN_MINUTES = "{n} 分钟内", "within {n} min";
    WITHIN_HOURS = "{n} 小时内", "within {n} h";
    JUST_NOW = "刚刚", "just now";
    SECONDS_AGO = "{n} 秒前", "{n} s ago";
    MINUTES_AGO = "{n} 分钟前", "{n} min ago";
    HOURS_AGO = "{n} 小时前", "{n} h ago";
    DAYS_AGO = "{n} 天前", "{n} d ago";
    LINES = "线路", "Lines";
    NO_LINE = "本站点没有线路。", "This site has no lines.";
    NOT_CONNECTED = "未连接", "Not connected";
    LINE_WELL = "线路正常", "Nothing wrong";
    LINE_ILL = "线路有问题", "Something is wrong";
    FINDING = "诊断", "Finding";
    LINES_ILL = "{n} 条线路有诊断结果", "{n} with findings";
    FOUNDED_ON = "依据:{b} 次通信中的 {a} 次", "Founded on {a} of {b} transactions";
    REQUESTS = "各设备通信", "Requests by device";
    DEVICE = "设备", "Device";
    ANSWERED = "有应答", "Answered";
    TIMEOUTS = "超时", "Time-outs";
    DAMAGED = "受损或不符", "Discarded";
    EXCEPTIONS = "被拒绝", "Refused";
    PROFILE = "型号文件", "Profile";
    TOPIC = "主题", "Topic";
    FORMULA = "公式", "Formula";
    POINT_ABSENT = "此设备没有这个测点。", "This device has no such point.";
    LISTENED = "只听", "Only listened to";
    POINTER = "字段", "Field of the message";
    WHERE_FROM = "数据来源", "Where it is read";
    UNIT_ADDRESS = "从站地址", "Unit";
    FUNCTION = "功能码", "Function";
    REGISTERS = "寄存器", "Registers";
    LAST_ATTEMPT = "最近一次读取:", "Last attempt";
    UNANSWERED_SINCE = "此后 {n} 次未读到", "{n} attempts without an answer since";
    ANSWERS = "应答报文", "Answers";
    EARLIER = "更早的应答", "Earlier answers";
    NO_ANSWER_KEPT = "启动以来没有收到应答。", "No answer since the start.";
    ROUND_TRIP = "往返时间", "Round trip";
    ATTEMPT = "第几次尝试", "Attempt";
    SENT = "发送", "Sent";
    RECEIVED = "接收", "Received";
    ITS_WORDS = "本测点的字", "Its words";
    MEANS = "数值为", "They say";
    DISCARDED = "最近丢弃的报文", "Thrown away lately";
    NOTHING_DISCARDED = "没有丢弃的报文。", "Nothing was thrown away.";
}

/// Stable words that appear in rows and boards, and how people say them. A word that is missing here is shown as it
/// is: better a word from the inside than nothing.
const WORDS: &[(&str, T)] = &[
    // Priorities and severities.
    ("P1", T("特急", "Critical")),
    ("P2", T("紧急", "Major")),
    ("P3", T("一般", "Minor")),
    ("P4", T("提示", "Info")),
    // Systems.
    ("electricity", T("电", "Electricity")),
    ("water", T("水", "Water")),
    ("fire", T("消防", "Fire")),
    ("elevator", T("电梯", "Lifts")),
    ("drainage", T("排水", "Drainage")),
    ("power", T("供电", "Power supply")),
    ("environment", T("环境", "Environment")),
    // Quality and silence.
    ("good", T("有效", "good")),
    ("suspect", T("待确认", "unconfirmed")),
    ("stale", T("过期", "stale")),
    ("bad", T("无效", "bad")),
    ("never_read", T("尚未读取", "never read")),
    ("no_answer", T("无应答", "no answer")),
    ("line_down", T("线路中断", "line down")),
    ("refused", T("设备拒绝", "refused by the device")),
    ("sentinel", T("设备报告无值", "device says: no value")),
    ("undecodable", T("无法解码", "cannot be decoded")),
    ("offline", T("离线", "offline")),
    ("input", T("缺少比例、变比或单位", "a factor, ratio, unit or part is missing")),
    ("frozen", T("设备心跳停止,数据陈旧", "its heartbeat stands still")),
    ("wrong_device", T("设备型号不符", "another device answers")),
    ("absent", T("本设备没有此点", "this device does not have it")),
    ("answering", T("在线", "answering")),
    ("silent", T("无应答", "silent")),
    // Lines and evidence.
    ("modbus_rtu", T("串口", "serial port")),
    ("rtu_over_tcp", T("串口服务器", "serial server")),
    ("modbus_tcp", T("网络", "network")),
    ("answered", T("已应答", "answered")),
    ("timeout", T("超时", "time-out")),
    ("discarded", T("已丢弃", "discarded")),
    ("link_error", T("连接中断", "connection broke")),
    ("scrap_late", T("迟到", "late")),
    ("scrap_foreign", T("非本次应答", "answer to another question")),
    ("scrap_damaged", T("受损", "damaged")),
    ("scrap_unasked", T("未请求而来", "nobody asked for it")),
    ("form_type", T("类型", "Type")),
    ("form_bytes", T("字节序", "Byte order")),
    ("form_words", T("字序", "Word order")),
    ("form_scale", T("倍率", "Scale")),
    ("form_bit", T("位", "Bit")),
    ("form_mask", T("掩码", "Mask")),
    ("form_offset", T("偏移", "Offset")),
    ("order_big", T("高位在前", "high first")),
    ("order_little", T("低位在前", "low first")),
    ("order_swapped-in-pairs", T("相邻互换", "swapped in pairs")),
    ("order_swapped-pairs", T("双字互换", "pairs swapped")),
    // Incidents, alarms, pages.
    ("open", T("待受理", "open")),
    ("acknowledged", T("已受理", "acknowledged")),
    ("unacknowledged", T("待受理", "not acknowledged")),
    ("suppressed", T("随根因", "under a root cause")),
    ("closed", T("已结束", "closed")),
    ("latched", T("待复位", "waits for reset")),
    ("pending", T("等待发送", "waiting")),
    ("sending", T("发送中", "being sent")),
    ("delivered", T("已送达", "delivered")),
    ("failed", T("失败", "failed")),
    ("expired", T("已过期", "expired")),
    ("alarm_raised", T("报警", "alarm raised")),
    ("alarm_cleared", T("报警消失", "alarm cleared")),
    ("alarm_attached", T("并入报警", "alarm joined")),
    ("alarm_reset", T("报警复位", "alarm reset")),
    ("incident_opened", T("事件开始", "incident opened")),
    ("opened", T("事件开始", "opened")),
    ("escalated", T("升级", "escalated")),
    ("called_again", T("再次呼叫", "called again")),
    ("priority_raised", T("级别提高", "priority raised")),
    ("root_changed", T("根因更新", "root cause changed")),
    ("step_empty", T("该级无人值班", "nobody on duty at this step")),
    ("reoccurred", T("再次发生", "came again")),
    ("page_delivered", T("通知送达", "page delivered")),
    ("page_failed", T("通知失败", "page failed")),
    ("page_expired", T("通知过期", "page expired")),
    ("recovered", T("恢复", "recovered")),
    // Supply.
    ("normal", T("正常", "normal")),
    ("warned", T("余额不足", "low balance")),
    ("cut", T("已中断", "cut")),
    ("exempt", T("不得中断", "never cut")),
    ("switching", T("切换中", "switching")),
    ("balance", T("余额不足", "balance used up")),
    ("topped_up", T("已充值", "topped up")),
    ("in_credit", T("余额充足", "in credit")),
    ("emergency_credit", T("使用应急透支", "on emergency credit")),
    ("cut_blocked", T("有停供理由,但暂不允许", "there is a reason to cut, and it is not allowed now")),
    ("dispute", T("争议处理中", "a dispute is open")),
    ("safety", T("安全原因", "danger to people or property")),
    ("owner_request", T("用户申请", "the tenant asked for it")),
    ("court_order", T("司法或供能单位要求", "ordered by a court or the utility")),
    // What stands between a reason to cut and the cut.
    ("no_relay", T("表计无继电器", "the meter has no relay")),
    ("no_reading", T("表底尚未读取", "the register was never read")),
    ("bad_reading", T("表底读数无效", "the register's reading is not good")),
    ("stale_reading", T("表底读数过期", "the register's reading is too old")),
    ("register_held", T("表底读数待核实", "the register's reading waits for a check")),
    ("clock_untrusted", T("时钟未经确认", "the clock is not trusted")),
    ("store_unhealthy", T("本地数据库异常", "the journal is not healthy")),
    ("payment_pending", T("有付款在途", "a payment is on its way")),
    ("dispute_open", T("争议处理中", "a dispute is open")),
    ("final_notice_not_sent", T("最后通知尚未发出", "the final notice was not sent yet")),
    ("final_notice_not_delivered", T("最后通知尚未送达", "the final notice was not delivered yet")),
    ("final_notice_expired", T("最后通知已失效", "the final notice is too old")),
    ("meter_credit_held", T("充值超过表内限额,等待用量下降", "a top-up waits: the meter holds no more")),
    ("meter_credit_manual", T("充值需人工核对", "a top-up waits for a person")),
    ("meter_credit_uncertain", T("充值尚未在表内确认", "a top-up is not seen in the meter yet")),
    (
        "ledger_debt",
        T(
            "表计保管余额之前的欠费留在账上:请在收银处结清",
            "a debt of before the meter kept the credit: settle it at the till",
        ),
    ),
    // What a person must look at.
    ("bypass", T("已断供但仍有流量:触点粘连或被跨接", "cut, and something flows: welded, or bridged")),
    (
        "found_open",
        T("供应被他人断开,未自动恢复", "the supply was interrupted by somebody else; it is not restored from here"),
    ),
    ("found_closed", T("已断的供应被他人恢复", "a supply that was cut was restored by somebody else")),
    ("stuck", T("继电器或阀门多次命令后未动作", "the relay or valve does not move, however often it is told to")),
    ("jammed", T("阀门卡阻,未到位", "the valve is jammed half way")),
    // Why a top-up waits for a person.
    (
        "the meter has this purchase count with another amount",
        T("表内该购买次数对应另一金额", "the meter has this purchase count with another amount"),
    ),
    (
        "the meter has this purchase count and amount, but not from a frame: perhaps from a card",
        T(
            "表内该购买次数与金额相符,但并非由充值帧写入:可能是充值卡",
            "the meter has this purchase count and amount, but not from a frame: perhaps from a card",
        ),
    ),
    (
        "the meter's purchase count moved without this gateway: a card, another program, or another meter",
        T(
            "表内购买次数并非由本网关改变:充值卡、其他程序或换表",
            "the meter's purchase count moved without this gateway: a card, another program, or another meter",
        ),
    ),
    ("the meter's purchase count is used up", T("表内购买次数已用尽", "the meter's purchase count is used up")),
    (
        "the amount is more than the meter's register holds",
        T("金额超过表内寄存器的容量", "the amount is more than the meter's register holds"),
    ),
    ("the meter takes no such amount", T("表计不接受该金额", "the meter takes no such amount")),
    ("notice_lead", T("通知期未满", "the notice period is not over")),
    ("outside_window", T("不在允许停供时段", "outside the hours in which supply may be cut")),
    ("breaker_open", T("批量停供保护已动作", "the mass-cut breaker is open")),
    ("intent_open", T("上一条命令结果未知", "the last command's outcome is not known")),
    // Exemptions.
    ("fire-protection", T("消防用途", "fire protection")),
    ("lift", T("电梯", "lift")),
    ("emergency-lighting", T("应急照明", "emergency lighting")),
    ("medical", T("医疗用途", "somebody's health depends on it")),
    ("cold-store", T("冷库", "cold store")),
    ("telecom", T("通信机房", "telecommunication room")),
    ("shared", T("多户共用", "shared by several")),
    ("not-prepaid", T("非预付费", "not prepaid")),
    ("notice1", T("第一次提醒", "first notice")),
    ("notice2", T("第二次提醒", "second notice")),
    ("final", T("最后通知", "final notice")),
    ("top_up", T("充值", "Top-up")),
    ("usage", T("用量", "Use")),
    ("meter_credit", T("写入表内", "Entered into the meter")),
    ("carry_over", T("余额转入表内", "Balance carried over into the meter")),
    ("meter_difference_explained", T("说明表账差异", "difference of meter and ledger explained")),
    ("meter_credit_decided", T("人工结清充值", "top-up settled by a person")),
    ("opening", T("期初余额", "Opening balance")),
    ("reversal", T("冲正", "Reversal")),
];

/// How people say a stable word.
pub fn word(word: &str, lang: Lang) -> String {
    match WORDS.iter().find(|(known, _)| *known == word) {
        Some((_, text)) => text.get(lang).to_owned(),
        None => word.replace('_', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_language_was_forgotten() {
        let han = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for text in ALL.iter().chain(WORDS.iter().map(|(_, text)| text)) {
            assert!(!text.0.is_empty() && !text.1.is_empty(), "{text:?}");
            if *text != OTHER_LANGUAGE {
                assert!(!han(text.1), "Chinese in the English text {text:?}");
                assert!(han(text.0), "no Chinese in the Chinese text {text:?}");
            }
            for hole in ["{n}", "{a}", "{b}", "{who}", "{t}"] {
                assert_eq!(text.0.contains(hole), text.1.contains(hole), "{text:?}");
            }
        }
    }

    #[test]
    fn why_a_top_up_waits_for_a_person_is_said_in_both_languages() {
        use guanjia_core::credit::{CreditState, MeterCredit, Step};
        use guanjia_core::profile::{Verdict, WalletSeen};
        use guanjia_core::time::Timestamp;
        use guanjia_core::units::Fen;
        let credit = MeterCredit {
            receipt: 1,
            service_point: "s".to_owned(),
            amount: Fen(100),
            count: Some(8),
            state: CreditState::Sent,
            attempts: 1,
            detail: String::new(),
            at: Timestamp::EPOCH,
            paid_at: Timestamp::EPOCH,
            decided_by: None,
        };
        let seen = |count, amount| WalletSeen {
            count,
            amount,
            balance: 0,
            verdict: Verdict::AmountNotAllowed,
            verdict_count: 8,
        };
        let mut whys = vec![credit.judge(8, &seen(7, 0))];
        let pending = MeterCredit { count: None, ..credit.clone() };
        let large = MeterCredit { amount: Fen(i64::MAX), ..credit.clone() };
        for (credit, seen) in [
            (&credit, seen(8, 5)),
            (&credit, seen(8, 100)),
            (&credit, seen(20, 5)),
            (&pending, seen(u32::MAX, 5)),
            (&large, seen(7, 0)),
        ] {
            let Step::Settle(state, why) = credit.next(&seen) else { panic!("{seen:?}") };
            whys.push((state, why));
        }
        for (state, why) in whys {
            assert_eq!(state, CreditState::Manual, "{why}");
            assert!(WORDS.iter().any(|(known, _)| *known == why), "{why}");
            assert_eq!(word(why, Lang::En), why);
        }
    }
}
