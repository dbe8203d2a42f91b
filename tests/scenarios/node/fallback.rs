//! Updates that the maker signed and that do not run: after three bad starts the old image is back.
//!
//! The bad ones are the good one with a few instructions of ours at its entry. Nothing but the maker's signature tells them
//! from a program that somebody wrote wrongly.

use guanjia_node::board::LM3S6965EVB;
use guanjia_tests::node::{image_of, package};

use super::update::{NEWEST, arm, send};
use super::*;

/// Where the instructions are put: behind the vectors.
const AT: usize = 0x400;

/// What is wrong with an update.
#[derive(Clone, Copy, Debug)]
pub enum Wrong {
    /// It hangs, and the watchdog's interrupt still comes.
    Hangs,
    /// It hangs with all interrupts masked, and leaves no word.
    HangsDeaf,
    /// An instruction that there is not.
    Faults,
    /// It begins, says so, and restarts by itself before it is well.
    Restarts,
}

impl Wrong {
    /// Thumb instructions, and the words they load.
    fn code(self) -> Vec<u8> {
        let halves = |code: &[u16]| code.iter().flat_map(|half| half.to_le_bytes()).collect();
        match self {
            // b .
            Self::Hangs => halves(&[0xE7FE]),
            // cpsid i; b .
            Self::HangsDeaf => halves(&[0xB672, 0xE7FE]),
            // udf #0
            Self::Faults => halves(&[0xDE00]),
            Self::Restarts => {
                // ldr r0, [16]; ldr r1, [20]; str r1, [r0]; ldr r0, [24]; ldr r1, [28]; str r1, [r0]; b .; nop
                let mut code: Vec<u8> = halves(&[0x4803, 0x4904, 0x6001, 0x4804, 0x4904, 0x6001, 0xE7FE, 0xBF00]);
                // The retained word that an image in its first minute leaves, and a reset asked of the processor.
                for word in [0x2000_0000_u32, 0x6E6F_0006, 0xE000_ED0C, 0x05FA_0004] {
                    code.extend_from_slice(&word.to_le_bytes());
                }
                code
            }
        }
    }

    /// The cause of the reset that the old image then tells.
    fn cause(self) -> u32 {
        match self {
            // Masked, it has left the word of the boot stage; the part would say the same by itself.
            Self::Hangs | Self::HangsDeaf => 3,
            Self::Faults => 6,
            // QEMU's part cannot tell what reset it, so it counts as the reset input.
            Self::Restarts => 2,
        }
    }
}

/// The update of the build with something wrong, as its maker signed it.
pub fn bad(node: &Node, wrong: Wrong) -> Vec<u8> {
    let mut image = image_of(&update::package(node, MAKER)).to_vec();
    let code = wrong.code();
    image[AT..AT + code.len()].copy_from_slice(&code);
    // The entry, with the bit of Thumb code.
    image[4..8].copy_from_slice(&(LM3S6965EVB.image_at + AT as u32 + 1).to_le_bytes());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), image).unwrap();
    package(file.path(), NEWEST, MAKER).unwrap()
}

#[test]
fn an_update_that_does_not_run_is_left_for_the_old_image_after_three_starts() {
    let Some(node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let old = value(&mut master, Id::FirmwareVersion, 0);
    set(&mut master, Id::TopUpFrame, 0, &[0, 1, 0, 500]);
    let mut boots = value(&mut master, Id::Boots, 0);
    for wrong in [Wrong::Hangs, Wrong::HangsDeaf, Wrong::Faults, Wrong::Restarts] {
        send(&mut master, &bad(&node, wrong));
        arm(&mut master);
        let begun = Instant::now();
        until(&mut master, Id::ResetCause, 0, wrong.cause());
        println!("node: {wrong:?}: the old image is back after {} ms", begun.elapsed().as_millis());
        assert_eq!(value(&mut master, Id::FirmwareVersion, 0), old, "{wrong:?}");
        // None of the bad ones came as far as the node: only the old image counts a start, its second.
        boots += 1;
        assert_eq!(value(&mut master, Id::Boots, 0), boots, "{wrong:?}");
        assert_eq!(value(&mut master, Id::Balance, 0), 500, "{wrong:?}");
        // It stays: a restart that was asked for does not try the bad one again.
        set(&mut master, Id::Reboot, 0, &[0xB007]);
        until(&mut master, Id::ResetCause, 0, 5);
        boots += 1;
        assert_eq!(value(&mut master, Id::Boots, 0), boots, "{wrong:?}");
    }
    // And what the bad ones did is not held against a good one in the same memory.
    let new = updated(&node, &mut master);
    assert!(new > old, "{new:#x} runs instead of the new one");
}

/// Gives the node a good update; the version that runs then.
fn updated(node: &Node, master: &mut Master) -> u32 {
    send(master, &update::package(node, MAKER));
    arm(master);
    until(master, Id::ResetCause, 0, 5);
    value(master, Id::FirmwareVersion, 0)
}

#[test]
fn the_update_before_runs_again_when_the_next_does_not() {
    let Some(mut node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let factory = value(&mut master, Id::FirmwareVersion, 0);
    let good = updated(&node, &mut master);
    assert!(good > factory);
    send(&mut master, &bad(&node, Wrong::Hangs));
    arm(&mut master);
    until(&mut master, Id::ResetCause, 0, Wrong::Hangs.cause());
    assert_eq!(value(&mut master, Id::FirmwareVersion, 0), good, "the factory's image, or none");

    // Power takes the count away: the bad one is tried three times more, and left again.
    drop(master);
    node.kill();
    node.launch().unwrap();
    let mut master = node.master().unwrap();
    assert_eq!(value(&mut master, Id::ResetCause, 0), Wrong::Hangs.cause(), "it was not tried again");
    assert_eq!(value(&mut master, Id::FirmwareVersion, 0), good);
}

#[test]
fn a_check_that_takes_too_long_does_not_hold_the_node() {
    let Some(mut node) = Node::start().unwrap() else { return };
    let mut master = node.master().unwrap();
    let factory = value(&mut master, Id::FirmwareVersion, 0);
    let good = updated(&node, &mut master);
    drop(master);

    // A sick part: half a microsecond for an instruction, of which a check takes 82 million. The watchdog bites in the boot stage.
    node.kill();
    node.crawl(Some(9));
    node.launch().unwrap();
    let mut master = node.master().unwrap();
    assert_eq!(value(&mut master, Id::ResetCause, 0), 3);
    assert_eq!(value(&mut master, Id::FirmwareVersion, 0), factory);
    drop(master);

    // The update is there all the same, for a part that is well again.
    node.kill();
    node.crawl(None);
    node.launch().unwrap();
    assert_eq!(value(&mut node.master().unwrap(), Id::FirmwareVersion, 0), good);
}
