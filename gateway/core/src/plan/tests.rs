use super::*;

/// The headings of the trade's chapter on emergencies, byte for byte.
const TITLES: [&str; 11] = [
    "一、业主、使用人自用部位突然断水、断电、无煤气的应急措施",
    "二、小区物业管理范围内突然断水、断电、无煤气的应急措施",
    "三、业主与业主、使用人自用部位排水设施阻塞的应急措施",
    "四、雨、污水管及排水管阻塞的应急措施",
    "五、电梯、水泵等大型机电设备突然停转或机电故障的应急措施",
    "六、发生火警时的应急措施",
    "七、防汛防台应急预案",
    "八、接报刑事、治安事件处理程序",
    "九、遇燃气泄漏、触电事故处理程序",
    "十、遇爆炸物或可疑物品处理程序",
    "十一、其他突发事件的处理程序",
];

fn files() -> (Common, Vec<Plan>) {
    let plans = [
        include_str!("../../../../config/plans/ep-01.toml"),
        include_str!("../../../../config/plans/ep-02.toml"),
        include_str!("../../../../config/plans/ep-03.toml"),
        include_str!("../../../../config/plans/ep-04.toml"),
        include_str!("../../../../config/plans/ep-05.toml"),
        include_str!("../../../../config/plans/ep-06.toml"),
        include_str!("../../../../config/plans/ep-07.toml"),
        include_str!("../../../../config/plans/ep-08.toml"),
        include_str!("../../../../config/plans/ep-09.toml"),
        include_str!("../../../../config/plans/ep-10.toml"),
        include_str!("../../../../config/plans/ep-11.toml"),
    ];
    let common = toml::from_str(include_str!("../../../../config/plans/_common.toml")).unwrap();
    (common, plans.into_iter().map(|text| toml::from_str(text).unwrap()).collect())
}

/// The plans the gateway ships with.
pub(crate) fn shipped() -> PlanBook {
    let (common, plans) = files();
    PlanBook::new(common, plans).unwrap()
}

#[test]
fn the_eleven_titles_are_the_trades_own() {
    let (_, plans) = files();
    let found: Vec<&str> = plans.iter().map(|plan| plan.title.zh.as_str()).collect();
    assert_eq!(found, TITLES);
    let ids: Vec<String> = plans.iter().map(|plan| plan.id.clone()).collect();
    assert_eq!(ids, (1..=11).map(|n| format!("EP-{n:02}")).collect::<Vec<_>>());
}

#[test]
fn the_shipped_plans_fit_together_and_say_everything_in_both_languages() {
    let book = shipped();
    assert_eq!(book.iter().map(|plan| plan.steps.len()).sum::<usize>(), 81);
    assert_eq!(book.iter().map(|plan| plan.triggers.len()).sum::<usize>(), 45);
    for plan in book.iter() {
        let texts = plan.steps.iter().map(|step| &step.text).chain(plan.triggers.iter().map(|trigger| &trigger.text));
        for text in texts.chain([&plan.title, &plan.tag, &plan.close]).chain(&plan.rules) {
            assert!(!text.zh.is_empty() && !text.en.is_empty(), "{}: {text:?}", plan.id);
        }
        assert!(plan.tag.zh.chars().count() <= 4, "{} must fit the front of a lock screen", plan.id);
    }
    assert_eq!(book.get("EP-06").unwrap().priority, Priority::P1);
    assert_eq!(book.ladder("EP-06", Priority::P1)[1].after.0, Duration::from_secs(60));
    assert!(book.ladder("EP-06", Priority::P4).is_empty());
}

#[test]
fn times_read_as_people_write_them() {
    for (text, seconds) in [("0s", 0), ("90s", 90), ("3m30s", 210), ("1h", 3_600), ("1d", 86_400)] {
        assert_eq!(text.parse(), Ok(After(Duration::from_secs(seconds))), "{text}");
    }
    assert_eq!(After(Duration::from_secs(90)).to_string(), "1m30s");
    assert_eq!(After::default().to_string(), "0s");
    for text in ["", "5", "m", "3m1h", "3m3m", "-1s", "1.5h", "99999999999999999999d", "9999999999999999d", "1é"] {
        assert_eq!(text.parse::<After>(), Err(AfterError(text.to_owned())), "{text:?}");
    }
}

#[test]
fn plans_that_do_not_fit_together_are_refused_with_the_reason() {
    let refuse = |change: fn(&mut Common, &mut Vec<Plan>)| {
        let (mut common, mut plans) = files();
        change(&mut common, &mut plans);
        PlanBook::new(common, plans).unwrap_err()
    };
    assert_eq!(refuse(|_, plans| plans[2].id = "EP-01".into()), PlanError::Duplicate("EP-01".into()));
    assert_eq!(
        refuse(|common, _| drop(common.roles.remove("leader"))),
        PlanError::UnknownRole { place: "P1".into(), role: "leader".into() }
    );
    assert_eq!(
        refuse(|_, plans| plans[0].steps[1].n = 7),
        PlanError::StepNumber { plan: "EP-01".into(), n: 7, place: 2 }
    );
    assert_eq!(refuse(|common, _| common.ladders.P2.clear()), PlanError::Ladder("P2".into()));
    assert_eq!(refuse(|common, _| common.ladders.P1.reverse()), PlanError::Ladder("P1".into()));
    assert_eq!(refuse(|_, plans| plans[5].ladder = Some(Vec::new())), PlanError::Ladder("EP-06".into()));
    assert_eq!(refuse(|_, plans| drop(plans.remove(10))), PlanError::Missing("EP-11"));
}

#[test]
fn the_schema_of_a_plan_knows_its_fields_and_its_times() {
    let schema = serde_json::to_value(schemars::schema_for!(Plan)).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let pattern = &schema["$defs"]["After"]["pattern"];
    assert!(pattern.as_str().is_some_and(|pattern| pattern.contains("[0-9]+m")), "{schema}");
}

#[test]
fn a_misspelt_key_is_refused() {
    let text = include_str!("../../../../config/plans/ep-06.toml").replace("on_scene", "onscene");
    let refused = toml::from_str::<Plan>(&text).unwrap_err();
    assert!(refused.to_string().contains("onscene"), "{refused}");
}
