//! What the people on duty are told of meters that keep the credit, or could.
//!
//! ```text
//!  rows of open credits ──► what holds at each service point ──► changes only ──Declaration──► alarms task ──► incident, pages
//! ```
//!
//! * Every service point whose meter keeps the credit has its own alarms, beside those of its device. No point shows what
//!   they are about, so the gateway declares them; raising, paging, accepting and clearing are those of any alarm.
//! * A credit under way is news to nobody. One whose fate is still not known after [`UNCERTAIN_FOR`] is, and one that waits
//!   for a person is at once. Both clear by themselves when the credit is settled.
//! * That a meter's own balance or price is not the ledger's is found out by [`super::reconcile`] and told here with its
//!   numbers.
//! * So is a meter whose own account is not as its service point has it: credit that never cuts, or a tenant whom the meter
//!   would cut by itself, without a balance here, a notice or a window. The alarm says the command that ends it.
//! * After a start everything is declared anew, so that what was settled while the gateway was down clears.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use guanjia_core::alarm::{AlarmClass, AlarmDef, Condition, Declaration, Latching, Priority};
use guanjia_core::credit::{CreditState, MeterCredit};
use guanjia_core::plan::OTHER_EVENTS;
use guanjia_core::text::Bilingual;
use tokio::sync::mpsc;

use crate::hub::Observation;
use crate::site::{Device, ServicePoint, Shop, Site};

/// How long the fate of a credit may be unknown before people are called: a few tries of a meter that was off.
const UNCERTAIN_FOR: Duration = Duration::from_secs(120);

/// How long a setting of the meter may be another than the site's: somebody who changes both needs a moment.
const SETTING_DRIFT_FOR: Duration = Duration::from_secs(60);

/// What can be wrong with the credit in a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Whether a top-up is in the meter is not known.
    Uncertain,
    /// The meter contradicts the record of a top-up.
    Manual,
    /// What the meter has left is not what the ledger says.
    Balance,
    /// The meter charges another price than the tariff.
    Price,
    /// The meter is to keep the balance and to cut by it, and its account is off.
    AccountOff,
    /// The meter is not to cut, and its account is on.
    AccountOn,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 6] = [
        Trouble::Uncertain,
        Trouble::Manual,
        Trouble::Balance,
        Trouble::Price,
        Trouble::AccountOff,
        Trouble::AccountOn,
    ];

    /// Whether a service point can have it.
    fn concerns(self, point: &ServicePoint) -> bool {
        match self {
            Trouble::AccountOn => point.wallet.is_none() && point.meter_cuts.is_some(),
            _ => point.wallet.is_some(),
        }
    }

    /// The word in the alarm's key.
    fn word(self) -> &'static str {
        match self {
            Trouble::Uncertain => "credit_uncertain",
            Trouble::Manual => "credit_manual",
            Trouble::Balance => "credit_balance",
            Trouble::Price => "credit_price",
            Trouble::AccountOff => "account_off",
            Trouble::AccountOn => "account_on",
        }
    }

    fn on_delay(self) -> Duration {
        match self {
            Trouble::Uncertain => UNCERTAIN_FOR,
            Trouble::Manual | Trouble::Balance => Duration::ZERO,
            Trouble::Price | Trouble::AccountOff | Trouble::AccountOn => SETTING_DRIFT_FOR,
        }
    }

    fn priority(self) -> Priority {
        match self {
            // A tenant may be in the dark by it, and nobody had a reason.
            Trouble::AccountOn => Priority::P2,
            _ => Priority::P3,
        }
    }

    fn text(self, shop: &Bilingual) -> Bilingual {
        let (zh, en) = match self {
            Trouble::Uncertain => ("充值是否入表不明", "not known whether a top-up is in the meter"),
            Trouble::Manual => ("充值待人工核对", "a top-up waits for a person"),
            Trouble::Balance => ("表内余额与账不符", "the meter's balance is not the ledger's"),
            Trouble::Price => ("表内单价与价目不符", "the meter's price is not the tariff's"),
            Trouble::AccountOff => {
                ("表内预付费未启用,余额用尽也不会断供", "the meter does not cut by the credit it holds")
            }
            Trouble::AccountOn => {
                ("表计自行按预付费断供,不经通知", "the meter cuts by an account of its own, without a notice")
            }
        };
        Bilingual { zh: format!("{}{zh}", shop.zh), en: format!("{}: {en}", shop.en) }
    }

    /// What to do; `set` makes the command that sets the meter's account on (1) or off (0).
    fn action(self, set: impl Fn(u8) -> Bilingual) -> Bilingual {
        match self {
            Trouble::Uncertain => Bilingual::new(
                "检查表计和线路,通信恢复后自动核对;勿在表上手工充值",
                "Check the meter and its line; it settles itself when the meter answers. Do not top up at the meter",
            ),
            Trouble::Manual => Bilingual::new(
                "到表读购买次数和余额,再到控制台商户页结清",
                "Read purchase count and balance at the meter, then settle it on the shop's page of the console",
            ),
            Trouble::Balance => Bilingual::new(
                "按所列数字查明原因(充值卡、换表、改价),说明后重新起算",
                "Find out from the numbers why (a card, another meter, a price), then explain it through the API",
            ),
            Trouble::Price => Bilingual::new(
                "用 guanjia node set-price 写入价目中的单价",
                "Write the tariff's price into the meter with guanjia node set-price",
            ),
            Trouble::AccountOff => {
                let Bilingual { zh, en } = set(1);
                Bilingual {
                    zh: format!("先确认充值已入表,再{zh};若应由网关断供,站点文件改为 supply = \"prepaid\""),
                    en: format!(
                        "See that the top-ups are in the meter. {en}; if the gateway shall cut, write supply = \"prepaid\" in the \
                         site file"
                    ),
                }
            }
            Trouble::AccountOn => {
                let Bilingual { zh, en } = set(0);
                Bilingual {
                    zh: format!("{zh};若应由表计断供,站点文件改为 supply = \"meter-wallet\""),
                    en: format!("{en}; if the meter shall cut, write supply = \"meter-wallet\" in the site file"),
                }
            }
        }
    }
}

/// The alarms of every service point whose meter keeps the credit, or has an account that could.
pub fn definitions(points: &[ServicePoint], shops: &[Shop], devices: &[Device]) -> Vec<Arc<AlarmDef>> {
    let mut definitions = Vec::new();
    for point in points {
        let Some(device) = devices.iter().find(|device| device.ix == point.device) else { continue };
        let Some(shop) = shops.get(point.shop) else { continue };
        definitions.extend(Trouble::ALL.into_iter().filter(|trouble| trouble.concerns(point)).map(|trouble| {
            Arc::new(AlarmDef {
                key: key(device, point, trouble),
                device: device.ix,
                condition: Condition::Declared,
                priority: trouble.priority(),
                class: AlarmClass::Process,
                on_delay: trouble.on_delay(),
                off_delay: Duration::ZERO,
                latching: Latching::NonLatching,
                plan: Some(OTHER_EVENTS.into()),
                text: trouble.text(&shop.name),
                action: trouble.action(|value| set_account(device, point, value)),
            })
        }));
    }
    definitions
}

/// How the meter's own account of a service point is set. Whoever writes needs the line alone.
fn set_account(device: &Device, point: &ServicePoint, value: u8) -> Bilingual {
    let id = point.meter_cuts.and_then(|ix| device.profile.points.get((ix.0 - device.first_point.0) as usize));
    let id = id.map(|def| &def.id).filter(|id| device.profile.settings.iter().any(|setting| setting.point() == *id));
    match id {
        Some(id) => {
            let command = format!("guanjia write --site FILE {}/{id} {value}", device.id);
            Bilingual { zh: format!("停网关后执行 {command}"), en: format!("Stop the gateway and run {command}") }
        }
        None => {
            let (zh, en) = if value == 1 { ("启用", "on") } else { ("关闭", "off") };
            Bilingual {
                zh: format!("在表上{zh}预付费"), en: format!("Switch its prepaid account {en} at the meter")
            }
        }
    }
}

/// `device/word_service-point`.
fn key(device: &Device, point: &ServicePoint, trouble: Trouble) -> Arc<str> {
    format!("{}/{}_{}", device.id, trouble.word(), point.id).into()
}

/// Remembers what was declared, and declares what has changed.
pub struct Desk {
    site: Arc<Site>,
    alarms: mpsc::Sender<Observation>,
    told: HashMap<Arc<str>, (bool, Bilingual)>,
}

impl Desk {
    /// One that has declared nothing yet.
    pub fn new(site: Arc<Site>, alarms: mpsc::Sender<Observation>) -> Self {
        Self { site, alarms, told: HashMap::new() }
    }

    /// Declares what the credits that are not settled mean for each service point.
    pub async fn tell_credits(&mut self, open: &[MeterCredit]) {
        let site = Arc::clone(&self.site);
        for point in site.service_points.iter().filter(|point| point.wallet.is_some()) {
            for (trouble, holds) in
                [(Trouble::Uncertain, is_uncertain as fn(&MeterCredit) -> bool), (Trouble::Manual, is_manual)]
            {
                let mine = open.iter().filter(|credit| *credit.service_point == *point.id && holds(credit));
                let detail = told(mine);
                self.declare(point, trouble, detail).await;
            }
        }
    }

    /// Declares whether the meter's own account of a service point is as the site has it, given whether the meter cuts by it.
    pub async fn tell_account(&mut self, point: &ServicePoint, cuts: bool) {
        let (trouble, is_right) =
            if point.wallet.is_some() { (Trouble::AccountOff, cuts) } else { (Trouble::AccountOn, !cuts) };
        let reads = u8::from(cuts);
        let detail = Bilingual { zh: format!("表内读数{reads}"), en: format!("the meter reads {reads}") };
        self.declare(point, trouble, (!is_right).then_some(detail)).await;
    }

    /// Declares one trouble of one service point; `None` if there is none.
    pub async fn declare(&mut self, point: &ServicePoint, trouble: Trouble, detail: Option<Bilingual>) {
        let Some(device) = self.site.devices.get(point.device.0 as usize) else { return };
        let key = key(device, point, trouble);
        let word = (detail.is_some(), detail.unwrap_or_default());
        if self.told.get(&key) == Some(&word) {
            return;
        }
        let declaration = Declaration { key: Arc::clone(&key), holds: word.0, detail: word.1.clone() };
        // The alarms task is gone only when everything stops; the next start declares everything anew.
        if self.alarms.send(Observation::Declared(declaration)).await.is_ok() {
            self.told.insert(key, word);
        }
    }
}

/// Its fate is not known: after one try without an answer, and while it is tried again.
fn is_uncertain(credit: &MeterCredit) -> bool {
    credit.state == CreditState::Uncertain || (credit.state == CreditState::Sent && credit.attempts > 1)
}

fn is_manual(credit: &MeterCredit) -> bool {
    credit.state == CreditState::Manual
}

/// Which credits, and how much; `None` if there are none.
fn told<'a>(credits: impl Iterator<Item = &'a MeterCredit>) -> Option<Bilingual> {
    let each: Vec<(String, String)> = credits
        .map(|credit| {
            let (receipt, amount) = (credit.receipt, credit.amount);
            (format!("收据{receipt} {amount}元"), format!("receipt {receipt}, {amount} yuan"))
        })
        .collect();
    let (zh, en): (Vec<String>, Vec<String>) = each.into_iter().unzip();
    (!zh.is_empty()).then(|| Bilingual { zh: zh.join("、"), en: en.join("; ") })
}

#[cfg(test)]
pub(in crate::prepaid) mod tests;
