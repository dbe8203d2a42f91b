use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

use super::*;
use crate::journal::{HEADER, Journal, Progress, Ring};

const MEMORY: Memory = Memory { address: 0x50, page: 32 };

#[test]
fn a_write_is_two_address_bytes_and_the_data_in_one_transaction() {
    let mut bus = Mock::new(&[Transaction::write(0x50, vec![0x08, 0x20, 1, 2, 3])]);
    assert_eq!(MEMORY.write(&mut bus, 0x0820, &[1, 2, 3]), Ok(()));
    bus.done();
}

#[test]
fn a_read_sets_the_address_first() {
    let mut bus = Mock::new(&[Transaction::write_read(0x50, vec![0x1F, 0xFE], vec![7, 8])]);
    let mut bytes = [0; 2];
    assert_eq!(MEMORY.read(&mut bus, 0x1FFE, &mut bytes), Ok(()));
    assert_eq!(bytes, [7, 8]);
    bus.done();
}

#[test]
fn a_nack_is_busy_and_a_lost_arbitration_is_a_fault() {
    let nack = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let mut bus = Mock::new(&[
        Transaction::write(0x50, vec![0, 0, 1]).with_error(nack),
        Transaction::write(0x50, vec![0, 0, 1]).with_error(ErrorKind::ArbitrationLoss),
    ]);
    assert_eq!(MEMORY.write(&mut bus, 0, &[1]), Err(Refusal::Busy));
    assert_eq!(MEMORY.write(&mut bus, 0, &[1]), Err(Refusal::Fault));
    bus.done();
}

#[test]
fn more_than_a_page_is_not_sent() {
    let mut bus = Mock::new(&[]);
    assert_eq!(MEMORY.write(&mut bus, 0, &[0; PAGE_MAX + 1]), Err(Refusal::Fault));
    bus.done();
}

#[test]
fn an_unsound_page_size_is_made_sound() {
    let page_bytes = |page| Memory { address: 0x50, page }.page_bytes();
    assert_eq!([0, 16, 33, 64, 127, 128, 255].map(page_bytes), [16, 16, 32, 64, 64, 128, 16]);
}

/// The exact transactions of one record of 40 bytes: body, seal, reading back, with the chip busy after each write.
#[test]
fn a_record_is_body_then_seal_then_read_back() {
    let payload: Vec<u8> = (0..28).collect();
    let mut head = vec![1, 0, 0, 0, 0x54, 1, 28, 0];
    let crc = crate::crc::Crc32::new().update(&head).update(&payload).finish();
    head.extend(crc.to_le_bytes());
    let record = [head, payload.clone()].concat();
    assert_eq!(record.len(), HEADER + 28);

    let slot = [0x08, 0x80];
    let nack = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let body = [&[0x08, 0xA0], &record[32..]].concat();
    let seal = [&slot[..], &record[..32]].concat();
    let clear = [&slot[..], &[0; HEADER]].concat();
    let mut bus = Mock::new(&[
        Transaction::write(0x50, clear),
        Transaction::write(0x50, body),
        Transaction::write(0x50, seal.clone()).with_error(nack),
        Transaction::write(0x50, seal),
        Transaction::write_read(0x50, slot.to_vec(), record[..32].to_vec()).with_error(nack),
        Transaction::write_read(0x50, slot.to_vec(), record[..32].to_vec()),
        Transaction::write_read(0x50, vec![0x08, 0xA0], record[32..].to_vec()),
    ]);
    let mut journal = Journal::new(MEMORY);
    assert!(journal.begin(Ring::State, |place| {
        place.get_mut(..28)?.copy_from_slice(&payload);
        Some(28)
    }));
    let steps: Vec<_> = (0..7).map(|ms| journal.step(&mut bus, ms * 1000)).collect();
    assert_eq!(steps[..6], [Progress::Busy; 6]);
    assert_eq!(steps[6], Progress::Stored(Ring::State));
    bus.done();
}
