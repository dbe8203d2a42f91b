//! Updates: the running image stays until a whole one of the maker's is there.

use guanjia_node::board::Version;
use guanjia_tests::node::{MAKER, STRANGER};

use super::*;

/// Bytes of a package in one request.
const PIECE: usize = 200;
/// Bytes of one file: 10,000 records of two bytes.
const FILE: usize = 20_000;
/// Newer than anything.
pub const NEWEST: Version = Version(u32::MAX >> 8);

/// The update of the build, signed by somebody.
pub fn package(node: &Node, signer: &str) -> Vec<u8> {
    guanjia_tests::node::package(&node.images().update, NEWEST, signer).unwrap()
}

/// Begins an update and sends a package, all of it.
pub fn send(master: &mut Master, package: &[u8]) {
    set(master, Id::UpdateCommand, 0, &[1]);
    send_from(master, package, 0, package.len());
}

fn send_from(master: &mut Master, package: &[u8], from: usize, to: usize) {
    let mut at = from;
    while at < to {
        let end = (at + PIECE).min(to).min((at / FILE + 1) * FILE);
        let data = &package[at..end];
        let (file, record) = (1 + at / FILE, at % FILE / 2);
        let mut group = vec![6];
        for word in [file as u16, record as u16, (data.len() / 2) as u16] {
            group.extend_from_slice(&word.to_be_bytes());
        }
        group.extend_from_slice(data);
        let mut request = vec![21, group.len() as u8];
        request.extend_from_slice(&group);
        // A lost answer costs one repetition: what was received is compared.
        let answer = (0..ATTEMPTS).map(|_| master.ask(&request).unwrap()).find(|answer| !answer.is_empty());
        assert_eq!(answer.unwrap_or_default(), request, "at {at}");
        at = end;
    }
}

/// Verifies and installs; the node restarts.
fn install(master: &mut Master) {
    arm(master);
    until(master, Id::ResetCause, 0, 5);
}

/// The same, whatever comes of it.
pub fn arm(master: &mut Master) {
    set(master, Id::UpdateCommand, 0, &[2]);
    until(master, Id::UpdateState, 0, 3);
    set(master, Id::UpdateCommand, 0, &[3]);
}

#[test]
fn an_update_of_the_maker_runs_and_keeps_what_the_node_knows() {
    let Some(mut node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let old = value(&mut master, Id::FirmwareVersion, 0);
    set(&mut master, Id::TopUpFrame, 0, &[0, 1, 0, 500]);
    pulse(&node, &mut master, 0);
    let package = package(&node, MAKER);
    send(&mut master, &package);
    assert_eq!(value(&mut master, Id::UpdateReceived, 0), package.len() as u32);
    install(&mut master);
    let new = value(&mut master, Id::FirmwareVersion, 0);
    assert!(new > old, "{new:#x} runs instead of something newer than {old:#x}");
    assert_eq!(value(&mut master, Id::Pulses, 0), 1);
    assert_eq!(value(&mut master, Id::PurchaseCount, 0), 1);
    assert_eq!(value(&mut master, Id::Balance, 0), 500);

    // It is found again after a power cut; and while the next one is on its way, cut anywhere, it stays.
    drop(master);
    node.kill();
    node.launch().unwrap();
    let mut master = node.master().unwrap();
    assert_eq!(value(&mut master, Id::FirmwareVersion, 0), new);
    set(&mut master, Id::UpdateCommand, 0, &[1]);
    send_from(&mut master, &package, 0, 5000);
    drop(master);
    node.kill();
    node.launch().unwrap();
    let mut master = node.master().unwrap();
    assert_eq!(value(&mut master, Id::FirmwareVersion, 0), new, "a cut update took the running one away");
    assert_eq!(value(&mut master, Id::PurchaseCount, 0), 1);
}

#[test]
fn an_update_that_somebody_else_signed_does_not_run() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let old = value(&mut master, Id::FirmwareVersion, 0);
    send(&mut master, &package(&node, STRANGER));
    install(&mut master);
    assert_eq!(value(&mut master, Id::FirmwareVersion, 0), old);
}

#[test]
fn an_update_with_one_bit_turned_is_refused_before_anything_restarts() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let boots = value(&mut master, Id::Boots, 0);
    let mut damaged = package(&node, MAKER);
    damaged[4321] ^= 0x10;
    send(&mut master, &damaged);
    set(&mut master, Id::UpdateCommand, 0, &[2]);
    until(&mut master, Id::UpdateState, 0, 4);
    assert_eq!(value(&mut master, Id::UpdateError, 0), 6, "CRC");
    assert_eq!(ask(&mut master, |master| master.write(address(Id::UpdateCommand, 0), &[3])), Answer::Exception(3));
    assert_eq!(value(&mut master, Id::Boots, 0), boots);
}
