use super::*;
use crate::doubles::staging::{Maker, Stage};
use crate::map::BUILD_ID_BYTES;

const RUNNING: Identity = Identity { board_id: 7, version: Version::new(1, 4, 0), build_id: [b' '; BUILD_ID_BYTES] };
const NEWER: Version = Version::new(1, 4, 1);

fn image() -> Vec<u8> {
    (0..3000u32).map(|i| (i * 7 % 251) as u8).collect()
}

fn record(offset: u32, data: &[u8]) -> Group<'_> {
    Group { offset, words: (data.len() / 2) as u16, data }
}

/// Sends a package in records and asks for its verification.
fn send(package: &[u8], stage: &Stage) -> Update {
    let mut stage = stage.clone();
    let mut update = Update::new();
    update.command(1, &mut stage).expect("begin");
    for (i, data) in package.chunks(240).enumerate() {
        update.write(&record(i as u32 * 240, data), &mut stage).expect("in order");
    }
    assert_eq!(update.received(), package.len() as u32);
    update.command(2, &mut stage).expect("verify");
    update
}

fn verify(update: &mut Update, stage: &Stage, maker: &Maker) {
    for _ in 0..1000 {
        update.poll(&RUNNING, &mut stage.clone(), &mut maker.verifier());
        if update.state() != UpdateState::Verifying {
            return;
        }
    }
    panic!("a verification without end");
}

fn refused(package: &[u8], maker: &Maker) -> UpdateError {
    let stage = Stage::new(40_000);
    let mut update = send(package, &stage);
    verify(&mut update, &stage, maker);
    assert_eq!(update.state(), UpdateState::Refused);
    assert_eq!(
        update.command(3, &mut stage.clone()),
        Err(Exception::IllegalValue),
        "a refused update is not installed"
    );
    assert_eq!(stage.0.borrow().armed, None);
    assert_eq!(update.version(), Version(0));
    update.error()
}

#[test]
fn a_good_package_is_verified_and_armed() {
    let maker = Maker::new(1);
    let package = maker.package(7, NEWER, &image());
    let stage = Stage::new(40_000);
    let mut update = send(&package, &stage);
    assert_eq!(update.command(3, &mut stage.clone()), Err(Exception::Busy));
    verify(&mut update, &stage, &maker);
    assert_eq!((update.state(), update.version()), (UpdateState::Verified, NEWER));
    assert_eq!(stage.0.borrow().armed, None, "nothing is armed before it is asked for");
    assert_eq!(update.command(3, &mut stage.clone()), Ok(()));
    assert_eq!(update.state(), UpdateState::Installing);
    assert_eq!(stage.0.borrow().armed, Some(package.len() as u32));
}

#[test]
fn a_package_for_another_board() {
    let maker = Maker::new(1);
    assert_eq!(refused(&maker.package(8, NEWER, &image()), &maker), UpdateError::OtherBoard);
}

#[test]
fn an_older_or_replayed_package() {
    let maker = Maker::new(1);
    assert_eq!(refused(&maker.package(7, RUNNING.version, &image()), &maker), UpdateError::NotNewer);
    assert_eq!(refused(&maker.package(7, Version::new(1, 3, 255), &image()), &maker), UpdateError::NotNewer);
}

#[test]
fn a_package_cut_anywhere() {
    let maker = Maker::new(1);
    let package = maker.package(7, NEWER, &image());
    for length in (0..package.len()).step_by(2) {
        let error = refused(&package[..length], &maker);
        assert_eq!(error, UpdateError::Incomplete, "cut after {length}");
    }
}

#[test]
fn a_package_with_any_byte_changed() {
    let maker = Maker::new(1);
    // A short image, so that every byte of it has its turn.
    let package = maker.package(7, NEWER, &image()[..64]);
    for at in 0..package.len() {
        let mut bad = package.clone();
        bad[at] ^= 0x20;
        let error = refused(&bad, &maker);
        let expected: &[UpdateError] = match at {
            0..=4 => &[UpdateError::NotAPackage],
            6..=7 => &[UpdateError::OtherBoard],
            // A changed version may be older, or newer and then unsigned.
            8..=11 => &[UpdateError::NotNewer, UpdateError::Signature],
            12..=15 => &[UpdateError::Incomplete, UpdateError::Length],
            16..=19 | 32..=95 => &[UpdateError::Crc],
            _ => &[UpdateError::Signature],
        };
        assert!(expected.contains(&error), "byte {at}: {error:?}");
    }
}

#[test]
fn another_makers_package() {
    let package = Maker::new(2).package(7, NEWER, &image());
    assert_eq!(refused(&package, &Maker::new(1)), UpdateError::Signature);
}

#[test]
fn an_empty_image_and_an_absurd_length() {
    let maker = Maker::new(1);
    assert_eq!(refused(&maker.package(7, NEWER, &[]), &maker), UpdateError::Length);
    let header = Header { board_id: 7, version: NEWER, image_bytes: u32::MAX, crc: 0 };
    assert_eq!(refused(&maker.sign([&header.encode()[..], &image()].concat()), &maker), UpdateError::Length);
    let longer = maker.sign([maker.package(7, NEWER, &image()), vec![0; 10]].concat());
    assert_eq!(refused(&longer, &maker), UpdateError::Length);
}

#[test]
fn records_out_of_order_and_again() {
    let mut stage = Stage::new(1_000);
    let mut update = Update::new();
    assert_eq!(update.write(&record(0, &[1, 2]), &mut stage), Err(Exception::DeviceFailure), "not begun");
    update.command(1, &mut stage).expect("begin");
    assert_eq!(update.write(&record(2, &[3, 4]), &mut stage), Err(Exception::IllegalAddress), "a gap");
    assert_eq!(update.write(&record(0, &[1, 2, 3, 4]), &mut stage), Ok(()));
    assert_eq!(update.write(&record(0, &[1, 2, 3, 4]), &mut stage), Ok(()), "the answer was lost");
    assert_eq!(update.write(&record(2, &[3, 4]), &mut stage), Ok(()));
    assert_eq!(update.write(&record(2, &[3, 5]), &mut stage), Err(Exception::IllegalValue), "not what was received");
    assert_eq!(update.write(&record(2, &[3, 4, 5, 6]), &mut stage), Err(Exception::IllegalAddress), "half new");
    assert_eq!(update.received(), 4);
    assert_eq!(update.write(&record(4, &[0; 998]), &mut stage), Err(Exception::IllegalAddress), "beyond the capacity");
    let mut back = [0; 2];
    assert_eq!(update.read(&record(2, &[]), &mut back, &mut stage), Ok(()));
    assert_eq!(back, [3, 4]);
    assert_eq!(update.read(&record(4, &[]), &mut back, &mut stage), Err(Exception::IllegalAddress));
}

#[test]
fn commands_out_of_order() {
    let mut stage = Stage::new(1_000);
    let mut update = Update::new();
    assert_eq!(update.command(2, &mut stage), Err(Exception::IllegalValue));
    assert_eq!(update.command(3, &mut stage), Err(Exception::IllegalValue));
    assert_eq!(update.command(4, &mut stage), Ok(()));
    update.command(1, &mut stage).expect("begin");
    assert_eq!(update.command(3, &mut stage), Err(Exception::IllegalValue), "not verified");
}

#[test]
fn nothing_is_taken_between_verification_and_installation() {
    let maker = Maker::new(1);
    let stage = Stage::new(40_000);
    let mut update = send(&maker.package(7, NEWER, &image()), &stage);
    assert_eq!(update.write(&record(0, &[0; 2]), &mut stage.clone()), Err(Exception::Busy));
    verify(&mut update, &stage, &maker);
    assert_eq!(update.write(&record(0, &[0; 2]), &mut stage.clone()), Err(Exception::DeviceFailure));
    assert_eq!(update.state(), UpdateState::Verified);
}

#[test]
fn a_staging_memory_that_fails_at_any_access() {
    let maker = Maker::new(1);
    let package = maker.package(7, NEWER, &image());
    for fails_after in 0..120 {
        let stage = Stage::new(40_000);
        stage.0.borrow_mut().fails_after = Some(fails_after);
        let mut memory = stage.clone();
        let mut update = Update::new();
        let mut result = update.command(1, &mut memory);
        for (i, data) in package.chunks(240).enumerate() {
            result = result.and_then(|()| update.write(&record(i as u32 * 240, data), &mut memory));
        }
        if result.and_then(|()| update.command(2, &mut memory)).is_ok() {
            verify(&mut update, &stage, &maker);
        }
        // 1 erase, 13 writes, 24 steps of a header and a piece, 1 signature, 24 pieces hashed: 87; then it is verified.
        assert_eq!(update.state() == UpdateState::Verified, fails_after >= 87, "{fails_after}: {update:?}");
        assert_eq!(stage.0.borrow().armed, None);
    }
}

#[test]
fn the_header_comes_back() {
    let header = Header { board_id: 0x1234, version: Version::new(9, 8, 7), image_bytes: 31_000, crc: 0xDEAD_BEEF };
    assert_eq!(Header::decode(&header.encode()), Some(header));
}
