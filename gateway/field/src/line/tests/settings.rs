//! Settings: what a profile lets set, and nothing else.

use guanjia_core::profile::{Setting, WriteFunction};

use super::*;

/// A drive with three settings, of one register, of two, and of one bit of a register.
fn drive() -> FieldDevice {
    let point =
        |id: &str, address, wire| PointDef::new(id, Source::Registers(Registers::new(Table::Holding, address, wire)));
    let mut points = vec![
        point("frequency", 300, WireType::U16),
        point("limit", 310, WireType::U32),
        point("enabled", 320, WireType::Bit),
    ];
    points[0].scale = Decimal::new(1, -1);
    if let Source::Registers(registers) = &mut points[2].source {
        registers.bit = Some(3);
    }
    let class = EquipmentClass::Pump;
    let setting = |point: &str, function, max| {
        Setting::new(class, point.into(), function, Decimal::new(0, 0), Decimal::new(max, 0))
            .expect("a pump may be set")
    };
    let settings = vec![
        setting("frequency", WriteFunction::Register, 50),
        setting("limit", WriteFunction::Registers, 1_000_000),
        setting("enabled", WriteFunction::Mask, 1),
    ];
    let limits = ReadLimits { response_max: RESPONSE_MAX, ..ReadLimits::default() };
    let profile = Arc::new(Profile { limits, settings, ..Profile::new("drive", class, points) });
    FieldDevice { profile, ..devices(1).remove(0) }
}

fn rig(timing: Timing, facts: Facts) -> Rig {
    let facts: Shared = Arc::new(Mutex::new(facts));
    let dial = world(timing.framing, &facts);
    Rig::with_dial(timing, vec![drive()], dial, facts)
}

fn set(point: &str, mantissa: i128, exponent: i8) -> SettingCommand {
    SettingCommand {
        device: DeviceIx(0),
        point: point.into(),
        value: Value::Decimal(Decimal::new(mantissa, exponent)),
        valid_until: clock::now() + Duration::from_secs(60),
    }
}

fn writes(rig: &Rig) -> Vec<(u8, u16)> {
    rig.asked().iter().filter(|a| matches!(a.function, 6 | 16 | 22)).map(|a| (a.function, a.address)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_setting_is_written_read_back_and_published() {
    for timing in [rtu(), tcp(), several(4)] {
        let mut rig = rig(timing, Facts::default());
        rig.run(Duration::from_secs(1)).await;
        let outcomes = [
            rig.handle.write(set("frequency", 425, -1)).await,
            rig.handle.write(set("limit", 70_000, 0)).await,
            rig.handle.write(set("enabled", 0, 0)).await,
        ];
        assert!(outcomes.iter().all(|o| matches!(o, SettingOutcome::Verified { .. })), "{outcomes:?}");
        assert_eq!(writes(&rig), [(6, 300), (16, 310), (22, 320)], "each once, with the profile's function");
        rig.run(Duration::ZERO).await;
        let frequency = rig.readings().filter(|r| r.point == PointIx(0)).last().and_then(|r| r.value.clone());
        assert_eq!(frequency, Some(Value::Decimal(Decimal::new(425, -1))));
        let memory = rig.facts.lock().unwrap().memory.clone();
        assert_eq!((memory[&(1, 310)], memory[&(1, 311)]), (1, 4_464));
        let before = ident(1, Table::Holding, 320);
        assert_eq!(memory[&(1, 320)], before & !(1 << 3), "the other bits are left alone");
        rig.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_profile_does_not_allow_is_not_sent() {
    let rig = rig(tcp(), Facts::default());
    let why = |outcome| match outcome {
        SettingOutcome::NotWritable(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(rig.handle.write(set("frequency", 501, -1)).await).contains("beyond"));
    assert!(why(rig.handle.write(set("frequency", 4_255, -2)).await).contains("exactly"));
    assert!(why(rig.handle.write(set("voltage", 1, 0)).await).contains("read only"));
    let expired = SettingCommand { valid_until: Timestamp::EPOCH, ..set("frequency", 1, 0) };
    assert_eq!(rig.handle.write(expired).await, SettingOutcome::Expired);
    assert_eq!(writes(&rig), []);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_take_it_or_refuses_it_is_told_of() {
    let rig = rig(tcp(), Facts { stuck: [1].into(), ..Facts::default() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.handle.write(set("frequency", 10, 0)).await, SettingOutcome::NotTaken);
    rig.facts.lock().unwrap().script = [Act::Refuse(3)].into();
    assert_eq!(rig.handle.write(set("frequency", 10, 0)).await, SettingOutcome::Refused(3));
    assert_eq!(writes(&rig).len(), 2);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_setting_whose_echo_is_lost_is_read_back_and_never_sent_twice() {
    let rig = rig(rtu(), Facts { mute_writes: [1].into(), ..Facts::default() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = rig.handle.write(set("frequency", 10, 0)).await;
    assert!(matches!(outcome, SettingOutcome::Verified { .. }), "{outcome:?}");
    assert_eq!(writes(&rig), [(6, 300)]);
    rig.end().await;
}
