//! The node's terminals, moved from outside the emulated part: pins through QEMU's qtest protocol, voltages through QMP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use guanjia_node::map::{CHANNELS, CONTACTS, OUTPUTS};
use serde_json::{Value, json};

/// How long QEMU may take to obey.
const OBEY: Duration = Duration::from_secs(10);
/// Address switches.
const SWITCHES: usize = 5;
/// Supply of a node that nobody has changed, in mV.
const SUPPLY_MV: u16 = 12_000;
/// Channel of the monitor that sees the supply.
const SUPPLY_CHANNEL: usize = 8;
/// Control register of timer 0, the tick.
const TIMER_0_CONTROL: u64 = 0x4003_000C;
/// Base address of the port of the coils.
const PORT_D: u64 = 0x4000_7000;
/// Offset of the data register with all pins let through.
const ALL_PINS: u64 = 0x3FC;

/// A contact that a test can close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Address switch 0 to 4; read at start.
    Switch(usize),
    /// The cover's switch: closed = shut. Shut at start.
    Cover,
    /// The tenant's button.
    Button,
    /// Pulse input 0 to 3.
    Pulse(usize),
    /// Limit switch at the open end of output 0 to 3.
    OpenEnd(usize),
    /// Limit switch at the closed end of output 0 to 3.
    ClosedEnd(usize),
}

/// State of a contact's loop, in the levels of the default limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// The upper good level: end resistor alone.
    Normal,
    /// The lower good level: alarm resistor beside it.
    Alarm,
    /// Wire cut.
    Open,
    /// Wires touch.
    Short,
}

impl Loop {
    /// The level in the middle of its window, 0..4095.
    pub const fn level(self) -> u16 {
        match self {
            Self::Short => 100,
            Self::Alarm => 1_000,
            Self::Normal => 2_300,
            Self::Open => 3_800,
        }
    }
}

impl Terminal {
    /// Port (0 = A), pin, and the pin's level when it is closed: the board's wiring.
    fn pin(self) -> anyhow::Result<(usize, usize, bool)> {
        let below = |index: usize, count: usize| {
            anyhow::ensure!(index < count, "{self:?}: the node has {count}");
            Ok(index)
        };
        let limit = |output: usize, end: usize| (4 + output / 2, output % 2 * 2 + end, true);
        Ok(match self {
            Self::Switch(index) => (0, 3 + below(index, SWITCHES)?, true),
            Self::Cover => (1, 0, false),
            Self::Button => (1, 1, true),
            Self::Pulse(index) => (2, 4 + below(index, CHANNELS)?, true),
            Self::OpenEnd(output) => limit(below(output, OUTPUTS)?, 0),
            Self::ClosedEnd(output) => limit(below(output, OUTPUTS)?, 1),
        })
    }
}

/// Both of QEMU's ears.
pub struct Controls {
    qmp: Mutex<Qmp>,
    pins: Arc<Pins>,
}

struct Qmp {
    to: UnixStream,
    answers: Receiver<Value>,
}

/// How contacts and voltages stand: they stay so when the node is killed, as on a wall.
#[derive(Debug)]
pub struct Standing {
    pins: Mutex<BTreeMap<(usize, usize), bool>>,
    volts: Mutex<BTreeMap<usize, u16>>,
}

impl Standing {
    /// Of a node that was just put up: contacts open and the cover shut, loops normal, supply good.
    pub fn new() -> Self {
        let loops = (0..CONTACTS).map(|index| (index, Loop::Normal.level()));
        let volts = loops.chain([(SUPPLY_CHANNEL, SUPPLY_MV)]).collect();
        Self { pins: Mutex::default(), volts: Mutex::new(volts) }
    }

    /// What the address switches say; 0 = all off.
    pub fn switches(&self) -> u8 {
        let pins = lock(&self.pins);
        (0..SWITCHES).filter(|n| pins.get(&(0, 3 + n)) == Some(&true)).map(|n| 1 << n).sum()
    }
}

/// The pins. A reset of the part makes QEMU forget what drives them, so they are driven again.
struct Pins {
    qtest: Mutex<(BufReader<UnixStream>, UnixStream)>,
    /// QEMU's names of the ports A to G.
    ports: Mutex<Vec<String>>,
    standing: Arc<Standing>,
}

impl Controls {
    /// Connects to a QEMU that is starting, and puts everything where it stood.
    pub fn connect(qmp: &Path, qtest: &Path, standing: &Arc<Standing>, wait: Duration) -> anyhow::Result<Self> {
        let until = Instant::now() + wait;
        let qtest = reach(qtest, until)?;
        let pins = Arc::new(Pins {
            qtest: Mutex::new((BufReader::new(qtest.try_clone()?), qtest)),
            ports: Mutex::default(),
            standing: Arc::clone(standing),
        });
        let to = reach(qmp, until)?;
        let from = BufReader::new(to.try_clone()?);
        // One command is under way at a time.
        let (answer, answers) = mpsc::sync_channel(1);
        let ours = Arc::clone(&pins);
        // Ends with its connection, and that with QEMU.
        thread::spawn(move || {
            for line in from.lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                if message.get("event").and_then(Value::as_str) == Some("RESET") {
                    // Without QEMU there is nothing to drive, and the next command says so.
                    let _ = ours.drive_again();
                } else if (message.get("return").is_some() || message.get("error").is_some())
                    && answer.send(message).is_err()
                {
                    return;
                }
            }
        });
        let controls = Self { qmp: Mutex::new(Qmp { to, answers }), pins };
        controls.command("qmp_capabilities", &json!({}))?;
        let parts = controls.command("qom-list", &json!({ "path": "/machine/unattached" }))?;
        let mut ports: Vec<(usize, String)> = parts
            .as_array()
            .into_iter()
            .flatten()
            .filter(|part| part["type"] == "child<pl061_luminary>")
            .filter_map(|part| part["name"].as_str())
            .filter_map(|name| Some((name.strip_prefix("device[")?.strip_suffix(']')?.parse().ok()?, name.to_owned())))
            .collect();
        ports.sort();
        anyhow::ensure!(ports.len() == 7, "QEMU has {} ports instead of 7", ports.len());
        *lock(&controls.pins.ports) = ports.into_iter().map(|(_, name)| name).collect();
        controls.pins.drive_again()?;
        let volts = lock(&standing.volts).clone();
        volts.into_iter().try_for_each(|(channel, millivolts)| controls.volts(channel, millivolts))?;
        Ok(controls)
    }

    /// Lets the processor run.
    pub fn go(&self) -> anyhow::Result<()> {
        self.command("cont", &json!({})).map(drop)
    }

    /// Stops the processor, or lets it go on.
    pub fn hold(&self, held: bool) -> anyhow::Result<()> {
        self.command(if held { "stop" } else { "cont" }, &json!({})).map(drop)
    }

    /// Presses the reset button.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.command("system_reset", &json!({})).map(drop)
    }

    /// Where the processor is, for a failure that cannot be seen otherwise.
    pub fn registers(&self) -> anyhow::Result<String> {
        let said = self.command("human-monitor-command", &json!({ "command-line": "info registers" }))?;
        Ok(said.as_str().unwrap_or_default().to_owned())
    }

    /// Closes or opens a contact.
    pub fn set(&self, terminal: Terminal, closed: bool) -> anyhow::Result<()> {
        let (port, pin, closed_is) = terminal.pin()?;
        self.pins.drive(port, pin, closed == closed_is)
    }

    /// Puts a loop into a state.
    pub fn contact(&self, index: usize, state: Loop) -> anyhow::Result<()> {
        anyhow::ensure!(index < CONTACTS, "the node has {CONTACTS} contacts");
        self.volts(index, state.level())
    }

    /// Sets the supply.
    pub fn supply_mv(&self, millivolts: u16) -> anyhow::Result<()> {
        self.volts(SUPPLY_CHANNEL, millivolts)
    }

    /// Stops timer 0.
    pub fn stop_timer(&self) -> anyhow::Result<()> {
        self.write(TIMER_0_CONTROL, 0)
    }

    /// Writes a register of the part.
    pub fn write(&self, address: u64, value: u32) -> anyhow::Result<()> {
        let said = self.pins.command(&format!("writel {address:#x} {value:#x}"))?;
        anyhow::ensure!(said.starts_with("OK"), "QEMU does not write {address:#x}: {said}");
        Ok(())
    }

    fn volts(&self, channel: usize, millivolts: u16) -> anyhow::Result<()> {
        lock(&self.pins.standing.volts).insert(channel, millivolts);
        let property = format!("vout[{channel}]");
        let path = "/machine/peripheral/monitor";
        self.command("qom-set", &json!({ "path": path, "property": property, "value": millivolts })).map(drop)
    }

    /// Whether the coils of an output are driven: (opens, closes).
    pub fn coil(&self, output: usize) -> anyhow::Result<(bool, bool)> {
        anyhow::ensure!(output < OUTPUTS, "the node has {OUTPUTS} outputs");
        let said = self.pins.command(&format!("readl {:#x}", PORT_D + ALL_PINS))?;
        let pins = said.trim().strip_prefix("OK 0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let pins = pins.with_context(|| format!("QEMU: {said}"))? >> (output * 2);
        Ok((pins & 1 == 1, pins & 2 == 2))
    }

    fn command(&self, name: &str, arguments: &Value) -> anyhow::Result<Value> {
        let mut qmp = lock(&self.qmp);
        writeln!(qmp.to, "{}", json!({ "execute": name, "arguments": arguments })).context("QEMU is gone")?;
        let answer = qmp.answers.recv_timeout(OBEY).with_context(|| format!("QEMU does not answer to {name}"))?;
        match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => anyhow::bail!("QEMU refuses {name}: {answer}"),
        }
    }
}

impl Pins {
    fn drive(&self, port: usize, pin: usize, high: bool) -> anyhow::Result<()> {
        lock(&self.standing.pins).insert((port, pin), high);
        let name = lock(&self.ports).get(port).cloned().context("no such port")?;
        let level = u8::from(high);
        let said = self.command(&format!("set_irq_in /machine/unattached/{name} unnamed-gpio-in {pin} {level}"))?;
        anyhow::ensure!(said.starts_with("OK"), "QEMU does not drive pin {pin} of port {port}: {said}");
        Ok(())
    }

    fn drive_again(&self) -> anyhow::Result<()> {
        let driven = lock(&self.standing.pins).clone();
        driven.into_iter().try_for_each(|((port, pin), high)| self.drive(port, pin, high))
    }

    fn command(&self, command: &str) -> anyhow::Result<String> {
        let mut qtest = lock(&self.qtest);
        writeln!(qtest.1, "{command}").context("QEMU is gone")?;
        let mut said = String::new();
        qtest.0.read_line(&mut said).context("QEMU is gone")?;
        Ok(said)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A test that panicked while it held the lock has failed already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects to a socket that is not there yet.
fn reach(socket: &Path, until: Instant) -> anyhow::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                stream.set_write_timeout(Some(OBEY))?;
                return Ok(stream);
            }
            Err(error) if Instant::now() >= until => return Err(error).context("QEMU does not listen"),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
