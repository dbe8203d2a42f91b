//! Wallets inside meters: the frame goes once, and what the meter shows is the outcome.

use guanjia_core::profile::{Extent, Verdict, Wallet, WalletParts, WalletSeen};

use super::*;
use crate::line::{CreditFrame, WalletCommand, WalletOutcome};

/// Where the wallet is read, and where its frame goes.
const READ: u16 = 400;
const FRAME: u16 = 450;

fn meter() -> FieldDevice {
    let class = EquipmentClass::WaterMeter;
    let read = Extent { table: Table::Holding, address: READ, count: 9 };
    let parts = WalletParts { balance: 0, count: 2, amount: 4, result: 6, result_count: 7 };
    let wallet = Wallet::new(class, Vec::new(), FRAME, read, parts).expect("a meter has wallets");
    let place = Registers::new(Table::Holding, 300, WireType::U16);
    let points = vec![PointDef::new("pulses", Source::Registers(place))];
    let limits = ReadLimits { response_max: RESPONSE_MAX, ..ReadLimits::default() };
    let profile = Arc::new(Profile { limits, wallets: vec![wallet], ..Profile::new("meter", class, points) });
    FieldDevice { profile, ..devices(1).remove(0) }
}

/// A meter whose wallet shows purchase 7 of 50.
fn rig(timing: Timing, facts: Facts) -> Rig {
    let words = [0, 900, 0, 7, 0, 50, 1, 0, 7];
    let memory = (READ..).zip(words).map(|(address, word)| ((1, address), word)).collect();
    let facts: Shared = Arc::new(Mutex::new(Facts { memory, ..facts }));
    let dial = world(timing.framing, &facts);
    Rig::with_dial(timing, vec![meter()], dial, facts)
}

fn command(frame: Option<CreditFrame>) -> WalletCommand {
    let valid_until = clock::now() + Duration::from_secs(60);
    WalletCommand { device: DeviceIx(0), wallet: 0, frame, valid_until }
}

fn shown() -> WalletOutcome {
    WalletOutcome::Shown(WalletSeen { count: 7, amount: 50, balance: 900, verdict: Verdict::Applied, verdict_count: 7 })
}

const NEXT: Option<CreditFrame> = Some(CreditFrame { count: 8, amount: -2 });

fn frames(rig: &Rig) -> usize {
    rig.asked().iter().filter(|asked| asked.function == 16 && asked.address == FRAME).count()
}

#[tokio::test(start_paused = true)]
async fn a_look_writes_nothing_and_a_frame_goes_once_with_high_words_first() {
    for timing in [rtu(), tcp(), several(4)] {
        let rig = rig(timing, Facts::default());
        assert_eq!(rig.handle.wallet(command(None)).await, shown());
        assert_eq!(frames(&rig), 0);
        assert_eq!(rig.handle.wallet(command(NEXT)).await, shown());
        assert_eq!(frames(&rig), 1);
        let memory = rig.facts.lock().unwrap().memory.clone();
        let frame: Vec<u16> = (FRAME..FRAME + 4).map(|address| memory[&(1, address)]).collect();
        assert_eq!(frame, [0, 8, 0xFFFF, 0xFFFE]);
        rig.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_lost_echo_are_no_outcome_the_meter_is_looked_at() {
    let refused = rig(tcp(), Facts::default());
    tokio::time::sleep(Duration::from_millis(300)).await;
    refused.facts.lock().unwrap().script = [Act::Refuse(3)].into();
    assert_eq!(refused.handle.wallet(command(NEXT)).await, shown());
    assert_eq!(frames(&refused), 1);
    refused.end().await;

    let mute = rig(rtu(), Facts { mute_writes: [1].into(), ..Facts::default() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(mute.handle.wallet(command(NEXT)).await, shown());
    assert_eq!(frames(&mute), 1);
    mute.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_meter_that_cannot_be_looked_at_is_unknown_and_what_cannot_be_sent_says_so() {
    let rig = rig(tcp(), Facts { ignored: [(1, READ)].into(), ..Facts::default() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let outcome = rig.handle.wallet(command(NEXT)).await;
    assert!(matches!(&outcome, WalletOutcome::Unknown(why) if why.contains("was sent")), "{outcome:?}");
    assert_eq!(frames(&rig), 1);
    let late = WalletCommand { valid_until: Timestamp::EPOCH, ..command(NEXT) };
    assert_eq!(rig.handle.wallet(late).await, WalletOutcome::Expired);
    let none = WalletCommand { wallet: 1, ..command(NEXT) };
    assert!(matches!(rig.handle.wallet(none).await, WalletOutcome::NotWritable(_)));
    assert_eq!(frames(&rig), 1);
    rig.end().await;
}
