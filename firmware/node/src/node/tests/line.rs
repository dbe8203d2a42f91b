//! Requests to a whole node, over its wire.

use crate::board::Version;
use crate::board::{LineSettings, Parity, ResetCause};
use crate::doubles::bench::{BOARD_ID, Bench, VERSION, World};
use crate::doubles::staging::Maker;
use crate::map::{DEVICE_TYPE, Id, MAP_VERSION};

#[test]
fn identity_in_registers_and_by_function_17_and_43() {
    let mut bench = Bench::new();
    assert_eq!(bench.read(Id::MapVersion, 0), MAP_VERSION.into());
    assert_eq!(bench.read(Id::DeviceType, 0), DEVICE_TYPE.into());
    assert_eq!(bench.read(Id::BoardId, 0), BOARD_ID.into());
    assert_eq!(bench.read(Id::FirmwareVersion, 0), VERSION.0);
    assert_eq!(bench.read(Id::StackHighWater, 0), 1234);
    assert_eq!(bench.read(Id::ResetCause, 0), 1);
    assert_eq!(bench.ask(&[3, 0, 5, 0, 8]), Some([&[3, 16][..], b"test build 00001"].concat()));
    let text = b"Guanjia field node 1.4.0";
    assert_eq!(bench.ask(&[17]), Some([&[17, text.len() as u8 + 2, 0x4E, 0xFF], &text[..]].concat()));
    let basic = [&[43, 14, 1, 0x82, 0, 0, 3, 0, 7][..], b"Guanjia", &[1, 7], b"GJ-NODE", &[2, 5], b"1.4.0"].concat();
    assert_eq!(bench.ask(&[43, 14, 1, 0]), Some(basic.clone()));
    assert_eq!(bench.ask(&[43, 14, 1, 9]), Some(basic), "an unknown object begins the stream anew");
    let from_two = [&[43, 14, 2, 0x82, 0, 0, 2, 2, 5][..], b"1.4.0", &[4, 18], b"Guanjia field node"].concat();
    assert_eq!(bench.ask(&[43, 14, 2, 2]), Some(from_two));
    assert_eq!(bench.ask(&[43, 14, 4, 1]), Some([&[43, 14, 4, 0x82, 0, 0, 1, 1, 7][..], b"GJ-NODE"].concat()));
    assert_eq!(bench.ask(&[43, 14, 4, 3]), Some(vec![0xAB, 2]));
}

#[test]
fn a_setting_is_kept_through_a_restart() {
    let mut bench = Bench::new();
    bench.set(Id::Price, 2, 123_456);
    bench.set(Id::WarningLevel, 1, -500i32 as u32);
    assert_eq!(bench.ask(&[6, 0x02, 0x04, 0, 90]), Some(vec![6, 0x02, 0x04, 0, 90]));
    let mut bench = bench.restart();
    assert_eq!(bench.read(Id::Price, 2), 123_456);
    assert_eq!(bench.read(Id::WarningLevel, 1), -500i32 as u32);
    assert_eq!(bench.read(Id::GatewayTimeout, 0), 90);
    assert_eq!(bench.read(Id::Boots, 0), 2);
}

#[test]
fn a_run_of_settings_is_taken_whole_or_not_at_all() {
    let mut bench = Bench::new();
    // Debounce 5, prepaid 1, exempt 0, output 9 (not allowed): nothing of it.
    assert_eq!(bench.write_words(0x0280, &[0, 5, 0, 1, 0, 0, 0, 9]), Some(vec![0x90, 3]));
    assert_eq!(bench.read(Id::Debounce, 0), 20);
    // Half of the price at the end: an address that cannot be written so.
    assert_eq!(bench.write_words(0x0280, &[0, 5, 0, 1, 0, 0, 0, 1, 0, 0]), Some(vec![0x90, 2]));
    assert_eq!(bench.read(Id::Debounce, 0), 20);
    assert!(bench.write_words(0x0280, &[0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7]).is_some_and(|reply| reply[0] == 16));
    assert_eq!((bench.read(Id::Debounce, 0), bench.read(Id::Price, 0)), (5, 7));
}

#[test]
fn what_is_read_only_or_half_a_value_is_not_written() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(&[6, 0, 0, 0, 9]), Some(vec![0x86, 2]), "read only");
    assert_eq!(bench.ask(&[6, 0x02, 0x84, 0, 9]), Some(vec![0x86, 2]), "half a price");
    assert_eq!(bench.write_words(0x0285, &[0, 9]), Some(vec![0x90, 2]), "the other half");
    assert_eq!(bench.write_words(0x0110, &[0; 6]), Some(vec![0x90, 2]), "a piece of a top-up");
    assert_eq!(bench.write_words(0x0110, &[0; 10]), Some(vec![0x90, 2]), "a top-up and its neighbour");
    assert_eq!(bench.write_words(0x0FFF, &[0; 2]), Some(vec![0x90, 2]), "nothing there");
    assert_eq!(bench.ask(&[3, 0xFF, 0xFF, 0, 2]), Some(vec![0x83, 2]), "beyond the last address");
    assert_eq!(bench.ask(&[3, 0, 0x22, 0, 2]), Some(vec![0x83, 2]), "into a gap");
    assert_eq!(bench.read(Id::Exceptions, 0), 8);
}

#[test]
fn another_address_and_a_broken_frame_get_silence() {
    let mut bench = Bench::new();
    bench.address = 2;
    assert_eq!(bench.ask(&[3, 0, 0, 0, 1]), None);
    bench.address = 1;
    bench.wire.send(&[1, 3, 0, 0, 0, 1, 0x84, 0x0B]);
    bench.run_ms(100);
    assert!(bench.wire.receive().is_empty());
    assert_eq!(bench.read(Id::CrcErrors, 0), 1);
}

#[test]
fn a_broadcast_is_obeyed_and_not_answered() {
    let mut bench = Bench::new();
    bench.run_ms(200);
    bench.say(0, &[16, 0x01, 0xC0, 0, 2, 4, 0x70, 0, 0, 0]);
    bench.run_ms(200);
    bench.say(0, &[6, 0x02, 0x04, 0, 77]);
    bench.run_ms(200);
    // A purchase belongs to one meter; what is read into the void is not.
    bench.say(0, &[16, 0x01, 0x10, 0, 4, 8, 0, 0, 0, 1, 0, 0, 3, 0xE8]);
    bench.run_ms(200);
    bench.say(0, &[3, 0, 0, 0, 1]);
    bench.run_ms(200);
    assert!(bench.wire.receive().is_empty());
    assert!(bench.read(Id::Clock, 0) >= 0x7000_0000);
    assert_eq!(bench.read(Id::GatewayTimeout, 0), 77);
    assert_eq!(bench.read(Id::PurchaseCount, 0), 0);
}

#[test]
fn a_new_address_and_speed_hold_after_the_answer() {
    let mut bench = Bench::new();
    assert_eq!(bench.wire.settings(), Some(LineSettings { baud: 9600, parity: Parity::Even }));
    // Address 9, 38400, no parity, in one write: answered by address 1.
    assert!(bench.write_words(0x0200, &[0, 9, 0, 5, 0, 0]).is_some());
    assert_eq!(bench.wire.settings(), Some(LineSettings { baud: 38_400, parity: Parity::None }));
    assert_eq!(bench.ask(&[3, 0, 0, 0, 1]), None);
    bench.address = 9;
    assert_eq!(bench.read(Id::AddressInUse, 0), 9);
    let mut bench = bench.restart();
    bench.address = 9;
    assert_eq!(bench.read(Id::Baud, 0), 5);
}

#[test]
fn the_switches_go_before_the_register() {
    let world = World::new();
    world.dip[0].set(true);
    world.dip[4].set(true);
    let mut bench = Bench::start(world, ResetCause::External);
    bench.address = 17;
    assert_eq!(bench.read(Id::AddressInUse, 0), 17);
    bench.set(Id::Address, 0, 5);
    assert_eq!(bench.read(Id::AddressInUse, 0), 17);
}

#[test]
fn an_answer_is_not_sent_when_the_master_speaks_again() {
    let mut bench = Bench::new();
    bench.run_ms(200);
    bench.world.chip.busy_for(20);
    bench.say(1, &[6, 0x02, 0x04, 0, 77]);
    bench.run_ms(20);
    assert!(bench.wire.receive().is_empty(), "the record is on its way");
    let reply = bench.ask(&[3, 0, 0, 0, 1]);
    assert_eq!(reply, Some(vec![3, 2, 0, MAP_VERSION as u8]), "the answer of the request asked last, and no other");
    assert_eq!(bench.read(Id::GatewayTimeout, 0), 77);
}

#[test]
fn contacts_are_seen_and_latched() {
    let mut bench = Bench::new();
    bench.set(Id::ContactMode, 3, 1);
    bench.run_ms(300);
    assert_eq!(bench.read(Id::ContactState, 3), 1);
    bench.world.levels.0.borrow_mut().0[3] = Some(1365);
    bench.run_ms(100);
    bench.world.levels.0.borrow_mut().0[3] = Some(2048);
    bench.run_ms(100);
    assert_eq!(bench.read(Id::ContactState, 3), 1);
    assert_eq!((bench.read(Id::ContactLatched, 0), bench.read(Id::ContactChanges, 3)), (8, 2));
    bench.set(Id::ContactLatched, 0, 8);
    assert_eq!(bench.read(Id::ContactLatched, 0), 0);
    bench.world.levels.0.borrow_mut().0[3] = Some(4095);
    bench.run_ms(100);
    assert!(bench.discrete(8 + 3) && !bench.discrete(3));
    bench.world.levels.0.borrow_mut().0[3] = Some(1365);
    bench.run_ms(100);
    assert!(bench.discrete(3) && !bench.discrete(8 + 3));
}

#[test]
fn an_opened_cover_is_counted_latched_and_kept() {
    let mut bench = Bench::new();
    bench.run_ms(300);
    bench.world.cover.set(false);
    bench.run_ms(300);
    bench.world.cover.set(true);
    bench.run_ms(300);
    assert_eq!((bench.read(Id::TamperEvents, 0), bench.read(Id::Status, 0) & 6), (1, 4));
    bench.set(Id::ClearTamper, 0, 1);
    assert_eq!(bench.read(Id::Status, 0) & 6, 0);
    let mut bench = bench.restart();
    assert_eq!(bench.read(Id::TamperEvents, 0), 1);
}

#[test]
fn a_watchdog_reset_is_counted() {
    let mut bench = Bench::start(Bench::new().world, ResetCause::Watchdog);
    assert_eq!((bench.read(Id::WatchdogResets, 0), bench.read(Id::ResetCause, 0)), (1, 3));
    let mut bench = bench.restart();
    assert_eq!(bench.read(Id::WatchdogResets, 0), 1);
    let before = bench.processor.feeds.get();
    bench.run_ms(100);
    assert_eq!(bench.processor.feeds.get() - before, 200, "every turn feeds the watchdog");
}

#[test]
fn uptime_goes_on_when_the_counter_wraps() {
    let mut bench = Bench::new();
    bench.run_ms(1);
    for _ in 0..3 {
        // 70 minutes in one step, then the rest of the wrap.
        bench.turn(4_200_000_000);
    }
    assert_eq!(bench.read(Id::Uptime, 0), 12_600);
}

#[test]
fn a_reboot_waits_for_its_answer_and_saves_first() {
    let mut bench = Bench::new();
    bench.set(Id::Debounce, 0, 5);
    bench.pulse(0, 7);
    assert_eq!(bench.write(Id::Reboot, 0, 1), Some(vec![0x90, 3]));
    assert_eq!(bench.processor.reboots.get(), 0);
    bench.set(Id::Reboot, 0, 0xB007);
    bench.run_ms(100);
    assert_eq!(bench.processor.reboots.get(), 1);
    let mut bench = bench.restart();
    assert_eq!(bench.read(Id::Pulses, 0), 7);
}

/// Sends a package in file records.
fn upload(bench: &mut Bench, package: &[u8]) {
    for (i, data) in package.chunks(200).enumerate() {
        let record = (i * 100) as u16;
        let [r0, r1] = record.to_be_bytes();
        let words = (data.len() / 2) as u8;
        let pdu = [&[21, data.len() as u8 + 7, 6, 0, 1, r0, r1, 0, words], data].concat();
        assert_eq!(bench.ask(&pdu).as_ref(), Some(&pdu), "record {record}");
    }
}

#[test]
fn an_update_goes_over_the_wire() {
    let image: Vec<u8> = (0..2000u32).map(|i| (i % 251) as u8).collect();
    let package = Maker::new(1).package(BOARD_ID, Version::new(1, 5, 0), &image);
    let mut bench = Bench::new();
    assert_eq!(bench.ask(&[21, 9, 6, 0, 1, 0, 0, 0, 1, 0, 0]), Some(vec![0x95, 4]), "not begun");
    bench.set(Id::UpdateCommand, 0, 1);
    upload(&mut bench, &package);
    assert_eq!(bench.read(Id::UpdateReceived, 0), package.len() as u32);
    let back = bench.ask(&[20, 7, 6, 0, 1, 0, 16, 0, 2]).expect("an answer");
    assert_eq!(back, [&[20, 6, 5, 6], &package[32..36]].concat());
    bench.set(Id::UpdateCommand, 0, 2);
    bench.run_ms(200);
    assert_eq!(bench.read(Id::UpdateState, 0), 3);
    assert_eq!(bench.read(Id::StagedVersion, 0), 0x0001_0500);
    assert_eq!(bench.processor.reboots.get(), 0);
    bench.set(Id::UpdateCommand, 0, 3);
    bench.run_ms(100);
    assert_eq!(bench.processor.reboots.get(), 1);
    assert_eq!(bench.world.stage.0.borrow().armed, Some(package.len() as u32));
}

#[test]
fn a_bad_update_leaves_the_node_as_it_was() {
    let package = Maker::new(2).package(BOARD_ID, Version::new(1, 5, 0), &[0x55; 500]);
    let mut bench = Bench::new();
    bench.set(Id::UpdateCommand, 0, 1);
    upload(&mut bench, &package);
    bench.set(Id::UpdateCommand, 0, 2);
    bench.run_ms(200);
    assert_eq!((bench.read(Id::UpdateState, 0), bench.read(Id::UpdateError, 0)), (4, 7));
    assert_eq!(bench.write(Id::UpdateCommand, 0, 3), Some(vec![0x90, 3]));
    assert_eq!(bench.read(Id::FirmwareVersion, 0), VERSION.0);
    assert_eq!(bench.processor.reboots.get(), 0);
}
