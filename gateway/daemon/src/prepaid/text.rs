//! What a tenant is told.

use std::time::Duration;

use guanjia_core::alarm::Priority;
use guanjia_core::incident::{PageKind, PageRecord};
use guanjia_core::supply::WarningLevel;
use guanjia_core::text::{Bilingual, Lang};
use guanjia_core::time::Timestamp;
use guanjia_core::units::{Hao, Utility};
use uuid::Uuid;

use crate::site::{ServicePoint, Site};

/// A notice that no channel has taken by then is worth nothing: the next level follows.
const NOTICE_LIFE: Duration = Duration::from_secs(86_400);

/// One page per contact of the shop.
pub fn notice_pages(
    site: &Site,
    sp: &ServicePoint,
    level: WarningLevel,
    cycle: u64,
    balance: Hao,
    now: Timestamp,
) -> Vec<PageRecord> {
    let shop = &site.shops[sp.shop];
    let (title, body) = wording(site, sp, level, balance);
    let page = |reach: &crate::site::Reach| PageRecord {
        id: Uuid::now_v7(),
        dedupe_key: format!("notice:{}:{cycle}:{}:{}:{}", sp.id, level.as_str(), reach.channel, reach.address),
        incident: None,
        kind: PageKind::Notice,
        priority: Priority::P3,
        person: shop.id.to_string(),
        channel: reach.channel.to_string(),
        address: reach.address.clone(),
        title: title.get(site.lang).to_owned(),
        body: match site.lang {
            Lang::Zh => format!("{}\n{}", body.zh, body.en),
            Lang::En => format!("{}\n{}", body.en, body.zh),
        },
        ack_token: None,
        not_before: now,
        expires_at: now + NOTICE_LIFE,
    };
    shop.contacts.iter().map(page).collect()
}

fn wording(site: &Site, sp: &ServicePoint, level: WarningLevel, balance: Hao) -> (Bilingual, Bilingual) {
    let shop = &site.shops[sp.shop].name;
    let (zh, en) = match sp.utility {
        Utility::Electricity => ("电费", "electricity"),
        Utility::Water => ("水费", "water"),
    };
    match level {
        WarningLevel::Notice1 | WarningLevel::Notice2 => (
            Bilingual::new(format!("【{zh}提醒】{}余额不足", shop.zh), format!("[{en}] {}: balance is low", shop.en)),
            Bilingual::new(
                format!("{}({})预付{zh}余额 {balance} 元,请及时充值。", shop.zh, sp.id),
                format!("{} ({}): prepaid {en} balance {balance} CNY. Please top up soon.", shop.en, sp.id),
            ),
        ),
        WarningLevel::Final => (
            Bilingual::new(
                format!("【停供通知】{}{zh}余额已用完", shop.zh),
                format!("[{en}] {}: supply will be cut", shop.en),
            ),
            Bilingual::new(
                format!(
                    "{}({})预付{zh}余额 {balance} 元,已用完。{} 后将停供,充值后自动恢复。",
                    shop.zh,
                    sp.id,
                    minutes(sp.policy.notice_lead).zh
                ),
                format!(
                    "{} ({}): prepaid {en} balance {balance} CNY is used up. Supply will be cut in {}; a top-up brings it back.",
                    shop.en,
                    sp.id,
                    minutes(sp.policy.notice_lead).en
                ),
            ),
        ),
    }
}

fn minutes(duration: Duration) -> Bilingual {
    match duration.as_secs() {
        seconds if seconds < 120 => Bilingual::new(format!("{seconds} 秒"), format!("{seconds} s")),
        seconds => Bilingual::new(format!("{} 分钟", seconds / 60), format!("{} min", seconds / 60)),
    }
}
