//! The field node's firmware, as it is shipped, on its emulated part.

use std::time::{Duration, Instant};

use guanjia_node::map::{Id, rule};
use guanjia_tests::node::{Answer, Loop, Node, Terminal};

#[test]
fn it_runs() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    for n in 0..40 {
        let t = Instant::now();
        println!("{n} {:?} {:?}", master.read(0x0d, 12), t.elapsed());
    }
}
