//! The words of a page.
//!
//! The title is one SMS: at most [`TITLE_UNITS_MAX`] UTF-16 units, because UCS2 carries 70. Its order is fixed, for a
//! lock screen shows the first twenty characters: class, place, what, time, one action, code.
//!
//! ```text
//! 【火警】B2-3区感烟火警 09:58 3分钟内到场确认。回1234=收到
//! [FIRE] B2 zone 3 smoke, fire 09:58 go there within 3 min. Reply 1234
//! ```
//!
//! What does not fit is shortened from the action first, then from the place; tag, time and code always stand.

use super::{IncidentRecord, PageKind};
use crate::plan::Plan;
use crate::text::{Bilingual, Lang};

/// UTF-16 units of one UCS2 short message.
pub const TITLE_UNITS_MAX: usize = 70;
/// Units the action may always have, so that a long place cannot push it out.
const ACTION_UNITS_MIN: usize = 12;

/// Whether the alarms behind the incident still stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// At least one does.
    Present,
    /// They went by themselves, and nobody has accepted the incident yet.
    Gone,
}

/// What a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// The incident.
    pub record: &'a IncidentRecord,
    /// Its plan.
    pub plan: &'a Plan,
    /// What a person has to do now.
    pub action: &'a Bilingual,
    /// `HH:MM` of its opening on the site's clocks; of the recovery for [`PageKind::Recovery`].
    pub clock: &'a str,
    /// Whether its alarms still stand.
    pub standing: Standing,
}

/// The one line for a lock screen.
pub fn title(kind: PageKind, words: &Words<'_>) -> Bilingual {
    let line = |lang: Lang| {
        let (tag, code) = (words.plan.tag.get(lang), &words.record.code);
        let (front, end) = match (lang, kind, words.standing) {
            (Lang::Zh, PageKind::Recovery, _) => (format!("【已恢复】{tag}"), format!("编号{code}")),
            (Lang::En, PageKind::Recovery, _) => (format!("[RECOVERED] {tag} "), format!("Code {code}")),
            (Lang::Zh, _, Standing::Present) => (format!("【{tag}】"), format!("回{code}=收到")),
            (Lang::En, _, Standing::Present) => (format!("[{tag}] "), format!("Reply {code}")),
            (Lang::Zh, _, Standing::Gone) => (format!("【{tag}】已恢复待确认"), format!("回{code}=收到")),
            (Lang::En, _, Standing::Gone) => (format!("[{tag}] gone, confirm: "), format!("Reply {code}")),
        };
        let (stop, action) = match (lang, kind) {
            (_, PageKind::Recovery) => (" ", ""),
            (Lang::Zh, _) => ("。", words.action.get(lang)),
            (Lang::En, _) => (". ", words.action.get(lang)),
        };
        let clock = format!(" {} ", words.clock);
        let fixed = [front.as_str(), &clock, stop, &end].into_iter().map(units).sum();
        let room = TITLE_UNITS_MAX.saturating_sub(fixed);
        let action_room = ACTION_UNITS_MIN.max(room.saturating_sub(units(words.record.title.get(lang))));
        let action = shorten(action.trim_end_matches(['。', '.']), action_room.min(room));
        let what = shorten(words.record.title.get(lang), room.saturating_sub(units(&action)));
        let stop = if action.is_empty() { "" } else { stop };
        format!("{front}{what}{clock}{action}{stop}{end}")
    };
    Bilingual { zh: line(Lang::Zh), en: line(Lang::En) }
}

/// The whole text.
pub fn body(kind: PageKind, words: &Words<'_>) -> Bilingual {
    let Words { record, plan, action, clock, .. } = words;
    let state = match (kind, words.standing) {
        (PageKind::Recovery, _) => Bilingual::new("已恢复", "recovered"),
        (_, Standing::Gone) => Bilingual::new("已恢复待确认", "gone, waits for your confirmation"),
        (_, Standing::Present) => Bilingual::new("请确认", "waits for your confirmation"),
    };
    let (priority, owner, code) = (record.priority.as_str(), &record.owner, &record.code);
    Bilingual {
        zh: format!(
            "{}\n时间:{clock}\n级别:{priority}\n状态:{}\n措施:{}\n预案:{} {}\n负责人:{owner}\n编号:{code}",
            record.title.zh, state.zh, action.zh, plan.id, plan.title.zh
        ),
        en: format!(
            "{}\nTime: {clock}\nPriority: {priority}\nState: {}\nAction: {}\nPlan: {} {}\nOwner: {owner}\nCode: {code}",
            record.title.en, state.en, action.en, plan.id, plan.title.en
        ),
    }
}

/// UTF-16 units of a text.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// At most `limit` UTF-16 units of the text, never half a character; what was cut off shows as an ellipsis.
fn shorten(text: &str, limit: usize) -> String {
    if units(text) <= limit {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut left = limit.saturating_sub(1);
    for c in text.chars() {
        let Some(rest) = left.checked_sub(c.len_utf16()) else { break };
        short.push(c);
        left = rest;
    }
    if limit > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::alarm::Priority;
    use crate::incident::IncidentState;
    use crate::time::Timestamp;

    fn record(title: Bilingual) -> IncidentRecord {
        IncidentRecord {
            id: Uuid::nil(),
            code: "1234".into(),
            plan: "EP-06".into(),
            priority: Priority::P1,
            state: IncidentState::Open,
            root: "panel/fire".into(),
            title,
            owner: "zhang".into(),
            opened_at: Timestamp::EPOCH,
            level: 1,
            escalates_at: None,
            acked_at: None,
            acked_by: None,
            closed_at: None,
        }
    }

    #[test]
    fn a_fire_page_reads_class_place_what_time_action_code() {
        let plans = crate::plan::tests::shipped();
        let record = record(Bilingual::new("B2-3区感烟(10/2)首警", "B2 zone 3 smoke (10/2)"));
        let action = Bilingual::new("3分钟内到场确认", "Go there within 3 min");
        let plan = plans.get("EP-06").unwrap();
        let words = Words { record: &record, plan, action: &action, clock: "09:58", standing: Standing::Present };
        let alert = title(PageKind::Alert, &words);
        assert_eq!(alert.zh, "【火警】B2-3区感烟(10/2)首警 09:58 3分钟内到场确认。回1234=收到");
        assert_eq!(alert.en, "[FIRE] B2 zone 3 smoke (10/2) 09:58 Go there within 3 min. Reply 1234");
        let gone = title(PageKind::Alert, &Words { standing: Standing::Gone, ..words });
        assert!(gone.zh.starts_with("【火警】已恢复待确认"), "{}", gone.zh);
        let recovery = title(PageKind::Recovery, &Words { clock: "10:20", ..words });
        assert_eq!(recovery.zh, "【已恢复】火警B2-3区感烟(10/2)首警 10:20 编号1234");
        let body = body(PageKind::Alert, &words);
        assert!(body.zh.contains("措施:3分钟内到场确认") && body.en.contains("Plan: EP-06 Fire alarm"));
    }

    proptest! {
        #[test]
        fn every_title_is_one_short_message_with_its_code(
            what in "\\PC{0,90}",
            action in "\\PC{0,90}",
            kind in prop::sample::select(vec![PageKind::Alert, PageKind::Recovery]),
            standing in prop::sample::select(vec![Standing::Present, Standing::Gone]),
        ) {
            let plans = crate::plan::tests::shipped();
            let record = record(Bilingual::new(what.clone(), what));
            let action = Bilingual::new(action.clone(), action);
            for plan in plans.iter() {
                let words = Words { record: &record, plan, action: &action, clock: "23:59", standing };
                let title = title(kind, &words);
                for line in [&title.zh, &title.en] {
                    prop_assert!(units(line) <= TITLE_UNITS_MAX, "{} units: {line}", units(line));
                    prop_assert!(line.contains("1234") && line.contains("23:59"), "{line}");
                }
            }
        }
    }
}
