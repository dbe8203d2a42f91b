//! A field node of one's own: the real firmware in QEMU, with its memories in files and its terminals in our hands.
//!
//! * The programs are those of the board `lm3s6965evb`, unchanged: nothing in it knows that it is tested. Contacts are
//!   opened and closed at the pins of the emulated part, loops and supply are voltages of its emulated monitor.
//! * The gateway reaches the node over RTU-over-TCP at [`Node::address`]. That port belongs to this process and stays the
//!   same when the node is killed and started again: connections are then ended, as by a serial server that lost power.
//! * [`Node::master`] speaks to it directly. The line has one master at a time: the second waits until the first is gone.
//! * [`Node::kill`] is SIGKILL. What the node wrote to its memory before is in the file, as after a power cut; QEMU's
//!   memory writes a transfer at once or not at all, so torn writes are tested on the host and not here.
//! * Only the process that was started here is ever ended, at the latest when the [`Node`] is dropped.
//!
//! ```text
//!  gateway ── TCP ── relay ──┐
//!                            ├── unix socket ── UART0 ┐
//!  test ────────── Master ───┘                        │  QEMU, lm3s6965evb
//!  test ── close, open, pulse ── qtest ── PL061 pins ─┤
//!  test ── contact, supply ────── QMP ─── MAX34451 ───┤
//!                             three files ── 24C64, two 24C512
//! ```

mod image;
mod line;
mod master;
mod package;
mod terminals;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use guanjia_node::map::CHANNELS;
use tempfile::TempDir;

use crate::prometheus::find_program;

pub use image::{Images, images, ram_end};
use line::Line;
pub use master::{Answer, Master, crc16, framed};
pub use package::{MAKER, STRANGER, image_of, package};
use terminals::{Controls, Standing};
pub use terminals::{Loop, Terminal};

/// The memories: file, bus address, bytes. A 24C64 for the journal, two 24C512 in which updates wait.
const MEMORIES: [(&str, &str, usize); 3] =
    [("journal", "0x50", 8 * 1024), ("first", "0x54", 64 * 1024), ("second", "0x55", 64 * 1024)];
/// How long QEMU may take to open its sockets, and the node to answer, on a loaded machine.
const START: Duration = Duration::from_secs(20);
/// How long a node that is up may take for the answer to one question, and how often it is asked on one connection.
const AWAKE: Duration = Duration::from_millis(100);
const ASKED_AT_START: usize = 50;
/// Registers of UART0: which interrupts are let through, and which are cleared.
const LINE_INTERRUPTS: u64 = 0x4000_C038;
const LINE_INTERRUPTS_CLEARED: u64 = 0x4000_C044;
/// Something was received, now or a while ago.
const LINE_RECEIVED: u32 = 0x50;
/// How long QEMU takes to read what came over the line.
const LINE_READ: Duration = Duration::from_millis(50);
/// Address of a node whose switches are all off and whose register was never written.
pub const DEFAULT_UNIT: u8 = 1;

/// A field node.
pub struct Node {
    qemu: PathBuf,
    images: Images,
    dir: TempDir,
    line: Line,
    standing: Arc<Standing>,
    /// Nanoseconds of the part's time that an instruction takes, as a power of two; none: as fast as QEMU can.
    crawl: Option<u8>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    controls: Controls,
}

impl Node {
    /// Starts one that has never run; `None` (and a line that says why) where QEMU or the tools to build the image are
    /// missing.
    ///
    /// # Errors
    /// When they are there and it does not start, or the image does not build.
    pub fn start() -> anyhow::Result<Option<Self>> {
        let Some(qemu) = find_program("qemu-system-arm") else {
            println!("skipped: field node in QEMU (qemu-system-arm is not installed)");
            return Ok(None);
        };
        let Some(images) = images()? else { return Ok(None) };
        let dir = tempfile::tempdir()?;
        for (name, _, bytes) in MEMORIES {
            // As it comes from its maker: all ones.
            std::fs::write(dir.path().join(name), vec![0xFF; bytes])?;
        }
        let line = Line::open(dir.path().join("uart"))?;
        let mut node =
            Self { qemu, images, dir, line, standing: Arc::new(Standing::new()), crawl: None, running: None };
        node.launch()?;
        Ok(Some(node))
    }

    /// How slow its processor is from the next start on: an instruction takes two to the power of this, in ns.
    pub fn crawl(&mut self, shift: Option<u8>) {
        self.crawl = shift;
    }

    /// Starts it again after [`Node::kill`], with its memories, contacts and voltages as they are.
    ///
    /// # Errors
    /// When QEMU does not start, or the node does not come up.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        self.kill();
        let dir = self.dir.path();
        for socket in ["uart", "qmp", "qtest"] {
            // A socket of the run before keeps the new one from listening.
            let _ = std::fs::remove_file(dir.join(socket));
        }
        let socket = |name: &str| format!("unix:{},server=on,wait=off", dir.join(name).display());
        let mut command = Command::new(&self.qemu);
        command
            .args(["-M", "lm3s6965evb", "-display", "none", "-monitor", "none", "-action", "watchdog=reset"])
            .arg("-kernel")
            .arg(&self.images.boot)
            .args(["-device", &format!("loader,file={}", self.images.factory.display())])
            .args(["-serial", &socket("uart"), "-qmp", &socket("qmp")])
            .args(["-qtest", &socket("qtest"), "-qtest-log", "none"]);
        for (name, bus_address, bytes) in MEMORIES {
            command.args(["-drive", &format!("if=none,id={name},format=raw,file={}", dir.join(name).display())]).args(
                ["-device", &format!("at24c-eeprom,bus=i2c,address={bus_address},rom-size={bytes},drive={name}")],
            );
        }
        if let Some(shift) = self.crawl {
            command.args(["-icount", &format!("shift={shift}")]);
        }
        let child = command
            .args(["-device", "max34451,id=monitor,bus=i2c,address=0x70"])
            // Paused until its terminals are as they should be: a node sees its loops from its first moment.
            .arg("-S")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("qemu.log"))?)
            .spawn()
            .context("QEMU does not start")?;
        // From here on the child is ended by `kill`, whatever fails below.
        let mut running = Guard(Some(child));
        let controls = Controls::connect(&dir.join("qmp"), &dir.join("qtest"), &self.standing, START)
            .with_context(|| format!("QEMU: {}", self.log()))?;
        controls.go()?;
        let child = running.0.take().context("QEMU is gone")?;
        self.running = Some(Running { child, controls });
        self.wait_until_up()?;
        self.line.connect_to_node(true);
        Ok(())
    }

    fn wait_until_up(&self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        let ask = framed(self.unit(), &[3, 0, 0, 0, 1]);
        loop {
            // A request that came too early is lost; waiting for its answer as long as for a real one would take seconds.
            if let Ok(mut master) = self.master() {
                for _ in 0..ASKED_AT_START {
                    master.send(&ask)?;
                    if !master.hear(AWAKE)?.is_empty() {
                        return master.drain(AWAKE);
                    }
                }
            }
            if Instant::now() >= until {
                let registers = self.controls()?.registers()?;
                anyhow::bail!("the node does not answer; QEMU: {}\n{registers}", self.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What QEMU said.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("qemu.log")).unwrap_or_default()
    }

    /// Ends it without a word: SIGKILL, as a power cut between two transfers to its memory.
    pub fn kill(&mut self) {
        self.line.connect_to_node(false);
        if let Some(Running { mut child, .. }) = self.running.take() {
            // Already gone is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The process id of QEMU, for a killer that must not wait for whoever holds the node.
    pub fn process(&self) -> anyhow::Result<u32> {
        Ok(self.controls_and_child()?.child.id())
    }

    /// Presses the reset button: RAM and memories stay. QEMU lets go of all pins then; they are driven again at once, but a
    /// node that reads its switches in its first milliseconds may find them off.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.controls()?.reset()
    }

    /// Where the gateway reaches it, RTU over TCP; the same over restarts.
    pub fn address(&self) -> SocketAddr {
        self.line.address()
    }

    /// A master on its line, speaking to the address of its switches, or to [`DEFAULT_UNIT`] when they are all off.
    pub fn master(&self) -> anyhow::Result<Master> {
        Master::connect(&self.dir.path().join("uart"), self.unit())
    }

    /// The address its switches give it, or else that of a node nobody has set up.
    fn unit(&self) -> u8 {
        match self.standing.switches() {
            0 => DEFAULT_UNIT,
            address => address,
        }
    }

    /// The file of the journal's memory.
    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// The programs it runs.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// Lets the timer stop that samples the pulses and keeps the program alive: a fault of the part.
    pub fn stop_timer(&self) -> anyhow::Result<()> {
        self.controls()?.stop_timer()
    }

    /// Keeps QEMU itself from running for a while, as a loaded machine does: the time of the part goes on.
    pub fn stand_still(&self, time: Duration) -> anyhow::Result<()> {
        let signal = |name: &str| {
            let done = Command::new("kill").args([name, &self.process()?.to_string()]).status()?;
            anyhow::ensure!(done.success(), "kill {name}: {done}");
            Ok(())
        };
        signal("-STOP")?;
        thread::sleep(time);
        signal("-CONT")
    }

    /// Loses the interrupt of what comes over the line meanwhile, as a program does that clears it at the wrong moment. The
    /// processor stands, and the time of the part with it.
    pub fn lose_line_interrupt(&self, meanwhile: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let controls = self.controls()?;
        controls.hold(true)?;
        controls.write(LINE_INTERRUPTS, 0)?;
        meanwhile()?;
        thread::sleep(LINE_READ);
        controls.write(LINE_INTERRUPTS_CLEARED, u32::MAX)?;
        controls.write(LINE_INTERRUPTS, LINE_RECEIVED)?;
        controls.hold(false)
    }

    /// Closes or opens a contact at a terminal.
    pub fn set(&self, terminal: Terminal, closed: bool) -> anyhow::Result<()> {
        self.controls()?.set(terminal, closed)
    }

    /// Gives pulses, each closed and open for `half`. The node samples in real time: on a loaded machine a half below
    /// 100 ms may be missed, as QEMU itself may not run for so long.
    pub fn pulses(&self, channel: usize, count: u32, half: Duration) -> anyhow::Result<()> {
        anyhow::ensure!(channel < CHANNELS, "the node has {CHANNELS} channels");
        for _ in 0..count {
            self.set(Terminal::Pulse(channel), true)?;
            thread::sleep(half);
            self.set(Terminal::Pulse(channel), false)?;
            thread::sleep(half);
        }
        Ok(())
    }

    /// Puts the loop of a contact into a state.
    pub fn contact(&self, index: usize, state: Loop) -> anyhow::Result<()> {
        self.controls()?.contact(index, state)
    }

    /// Sets the supply, in mV.
    pub fn supply_mv(&self, millivolts: u16) -> anyhow::Result<()> {
        self.controls()?.supply_mv(millivolts)
    }

    /// Whether the coil of an output is driven now: (opens, closes).
    pub fn coil(&self, output: usize) -> anyhow::Result<(bool, bool)> {
        self.controls()?.coil(output)
    }

    fn controls(&self) -> anyhow::Result<&Controls> {
        Ok(&self.controls_and_child()?.controls)
    }

    fn controls_and_child(&self) -> anyhow::Result<&Running> {
        self.running.as_ref().context("the node is not running")
    }
}

/// Ends a child that did not make it.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Already gone is as good as killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
