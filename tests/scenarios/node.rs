//! The field node's firmware, as it is shipped, on its emulated part.

use std::time::{Duration, Instant};

use guanjia_node::map::{Id, rule};
use guanjia_tests::node::{Answer, Loop, Node, Terminal};

#[test]
fn it_runs() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    for id in [
        Id::ResetCause,
        Id::Boots,
        Id::StackHighWater,
        Id::Supply,
        Id::Status,
        Id::FirmwareVersion,
        Id::ContactState,
        Id::ContactLevel,
        Id::TamperEvents,
        Id::JournalCommits,
    ] {
        let r = rule(id).unwrap();
        println!("{id:?} {:x}", master.value(r.address, r.kind.words()).unwrap());
    }
}
