//! `guanjia node update`: a new firmware over file records.
//!
//! ```text
//!  file ── its header: board, version, length ──► refused here, nothing was sent
//!    │ fits
//!    ▼                                           ┌────── answer lost: `update_received` says where to go on
//!  begun with these very bytes? ── no ─► begin ──┤
//!    │ yes: go on where it was                   ▼
//!    └────────────────────────────────► records, 128 bytes each ─► verify ─► refused: why, and what to do
//!                                                                    │ good
//!                                                                    ▼
//!                                             install ─► the node restarts ─► it runs the new version, or the old one
//! ```
//!
//! * The running firmware is not touched before the whole package is there and undamaged; a cut, a wrong file and a lost
//!   connection leave the node as it was, and the same command goes on.
//! * Who checks the maker's signature depends on the board: the node itself, or its boot stage at every start. A package that
//!   the boot stage refuses is known by the old firmware coming back.
//! * One that is signed and does not run is left by the boot stage after three bad starts; the reset cause tells it apart.
//! * A power cut of the node forgets what it received; then the transfer begins again.

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use guanjia_field::session::{NodeSession, SessionError};
use guanjia_node::board::{ResetCause, Version};
use guanjia_node::map::Id;
use guanjia_node::update::{HEADER, Header, SIGNATURE, UpdateError, UpdateState};

use super::{Where, confirm, meet, table};
use crate::tool::{Trouble, usage};

/// Bytes of one record write: a page of the node's memory.
const PIECE: usize = 128;
/// Bytes of one file: 10,000 records of two.
const FILE_BYTES: usize = 20_000;
/// The longest package that is read from the disk at all.
const PACKAGE_MAX: u64 = 16 << 20;
/// How long nothing may arrive before it is given up; the same command goes on later.
const STALLED_MAX: Duration = Duration::from_secs(60);
/// How long the node may check a package.
const VERIFY_MAX: Duration = Duration::from_secs(120);
/// How long the node may be away after it was told to install.
const RESTART_MAX: Duration = Duration::from_secs(90);
/// The pause between two looks at a node that works.
const LOOK: Duration = Duration::from_millis(500);
/// The pause after something that did not get through.
const PAUSE: Duration = Duration::from_secs(1);
/// Cells of the bar.
const BAR: usize = 40;

const BEGIN: u32 = 1;
const VERIFY: u32 = 2;
const INSTALL: u32 = 3;

/// Options of `guanjia node update`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    at: Where,
    /// The package, as the maker signed it
    file: PathBuf,
    /// Send and check it, and install nothing
    #[arg(long)]
    no_install: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// A package, looked at before anything is sent.
struct Package {
    bytes: Vec<u8>,
    header: Header,
}

impl Package {
    fn read(options: &Options) -> Result<Self, Trouble> {
        let name = options.file.display();
        let wrong = |why: &str| usage(format!("{name} {why}; ask the maker for the right file"));
        let length = std::fs::metadata(&options.file).map_err(|error| usage(format!("{name}: {error}")))?.len();
        if length > PACKAGE_MAX {
            return Err(wrong("is no firmware of a field node: it is far too long"));
        }
        let mut bytes = std::fs::read(&options.file).map_err(|error| usage(format!("{name}: {error}")))?;
        let head =
            bytes.first_chunk::<HEADER>().ok_or_else(|| wrong("is no firmware of a field node: it is too short"))?;
        let header = Header::decode(head).ok_or_else(|| wrong("is no firmware of a field node"))?;
        let expected = u64::from(header.image_bytes) + HEADER as u64 + u64::from(SIGNATURE);
        if length < expected {
            return Err(wrong("is cut off: its end is missing"));
        }
        if length > expected {
            return Err(wrong("is longer than its header says"));
        }
        if bytes.len() % 2 == 1 {
            return Err(wrong("has an odd number of bytes, which records of two cannot carry"));
        }
        bytes.shrink_to_fit();
        Ok(Self { bytes, header })
    }

    fn length(&self) -> u32 {
        // PACKAGE_MAX is below 2^32.
        self.bytes.len() as u32
    }
}

/// Updates and tells how far it came.
///
/// # Errors
/// [`Trouble`]; what it says is what to do next.
pub async fn run(options: &Options) -> Result<ExitCode, Trouble> {
    let package = Package::read(options)?;
    let mut node = options.at.node().await?;
    let unit = node.unit();
    fits(&mut node, &package).await?;
    let (old, new) = (Version(node.value(Id::FirmwareVersion, 0).await?), package.header.version);
    let (old, new) = (table::version(old.0), table::version(new.0));
    confirm(options.yes, &format!("update unit {unit} from {old} to {new}"))?;
    send(&mut node, &package).await?;
    verify(&mut node).await?;
    if options.no_install {
        println!("{new} is in unit {unit}, whole and undamaged; without --no-install the same command installs it");
        return Ok(ExitCode::SUCCESS);
    }
    // The node restarts after its answer, which may be lost.
    match node.write_once(Id::UpdateCommand, INSTALL).await {
        Ok(()) | Err(SessionError::Silent { .. } | SessionError::Garbled { .. } | SessionError::Cut { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    drop(node);
    installed(options, package.header.version, &old).await
}

/// Whether the package is one for this node.
async fn fits(node: &mut NodeSession, package: &Package) -> Result<(), Trouble> {
    let board = node.value(Id::BoardId, 0).await?;
    if board != u32::from(package.header.board_id) {
        return Err(usage(format!(
            "the package is for board {:#06x} and the node is a {board:#06x}; ask the maker for the right file",
            package.header.board_id
        )));
    }
    let running = node.value(Id::FirmwareVersion, 0).await?;
    if package.header.version.0 <= running {
        return Err(usage(format!(
            "the node runs {} already and the package is {}; a node takes newer ones only",
            table::version(running),
            table::version(package.header.version.0)
        )));
    }
    let capacity = node.value(Id::UpdateCapacity, 0).await?;
    if capacity < package.length() {
        return Err(usage(match capacity {
            0 => "this board cannot be updated over the bus; it has no memory for a package".to_owned(),
            _ => format!("the package has {} bytes and this board stages {capacity}", package.length()),
        }));
    }
    Ok(())
}

/// Brings every byte into the node.
async fn send(node: &mut NodeSession, package: &Package) -> Result<(), Trouble> {
    let mut at = begun(node, package).await? as usize;
    let mut bar = Bar::new(package.bytes.len(), at);
    let mut moved = Instant::now();
    while at < package.bytes.len() {
        let end = (at + PIECE).min(package.bytes.len()).min((at / FILE_BYTES + 1) * FILE_BYTES);
        let words = package.bytes[at..end].chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
        // PACKAGE_MAX is below what 2^16 files hold.
        let (file, record) = ((1 + at / FILE_BYTES) as u16, (at % FILE_BYTES / 2) as u16);
        let written = node.write_file(file, record, words).await;
        match written {
            Ok(()) => {
                at = end;
                moved = Instant::now();
            }
            Err(error) if moved.elapsed() > STALLED_MAX => {
                bar.end();
                return Err(Trouble::NoAnswer(format!(
                    "nothing has arrived for {} s ({error}); the node still runs its old firmware. Look at the line, then run \
                     the same command again: it goes on at byte {at}",
                    STALLED_MAX.as_secs()
                )));
            }
            // Lost, or there was a gap: the node says where to go on.
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                if let Ok(received) = node.value(Id::UpdateReceived, 0).await {
                    at = (received as usize).min(package.bytes.len());
                }
                if let Ok(state) = node.value(Id::UpdateState, 0).await
                    && state != UpdateState::Receiving as u32
                {
                    // It restarted and has forgotten what it had, or its memory failed.
                    at = begin(node).await? as usize;
                }
            }
        }
        bar.show(at);
    }
    bar.end();
    Ok(())
}

/// Where to go on: at the beginning, unless the node has begun with these very bytes.
async fn begun(node: &mut NodeSession, package: &Package) -> Result<u32, Trouble> {
    let (state, received) = (node.value(Id::UpdateState, 0).await?, node.value(Id::UpdateReceived, 0).await?);
    let is_under_way = [UpdateState::Receiving, UpdateState::Verified].map(|state| state as u32).contains(&state);
    if is_under_way && received >= HEADER as u32 && received <= package.length() {
        let head = node.read_file(1, 0, HEADER as u16 / 2).await?;
        let same = head.iter().flat_map(|word| word.to_be_bytes()).eq(package.bytes[..HEADER].iter().copied());
        if same {
            println!("the node has {received} of {} bytes of this package already", package.length());
            return Ok(received);
        }
    }
    begin(node).await
}

async fn begin(node: &mut NodeSession) -> Result<u32, Trouble> {
    node.write(Id::UpdateCommand, 0, BEGIN).await?;
    Ok(0)
}

/// Has the package checked by the node.
async fn verify(node: &mut NodeSession) -> Result<(), Trouble> {
    println!("the node checks the package");
    if node.value(Id::UpdateState, 0).await? != UpdateState::Verified as u32 {
        node.write(Id::UpdateCommand, 0, VERIFY).await?;
    }
    let until = Instant::now() + VERIFY_MAX;
    loop {
        // A node that checks a signature answers nobody meanwhile.
        let state = node.value(Id::UpdateState, 0).await;
        match state {
            Ok(state) if state == UpdateState::Verified as u32 => return Ok(()),
            Ok(state) if state == UpdateState::Refused as u32 => {
                let why = node.value(Id::UpdateError, 0).await?;
                return Err(Trouble::NoAnswer(format!(
                    "the node refuses the package: {}. It still runs its old firmware",
                    refusal(why)
                )));
            }
            _ if Instant::now() > until => {
                return Err(Trouble::NoAnswer(
                    "the node does not say what it makes of the package; it still runs its old firmware. Run the same command \
                     again"
                        .to_owned(),
                ));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Why, and what to do next.
fn refusal(code: u32) -> String {
    let is = |error: UpdateError| code == error as u32;
    if is(UpdateError::Incomplete) {
        "bytes are missing; run the same command again".to_owned()
    } else if is(UpdateError::NotAPackage) {
        "it is no firmware of this kind; ask the maker for the right file".to_owned()
    } else if is(UpdateError::OtherBoard) {
        "it is for another board; ask the maker for the right file".to_owned()
    } else if is(UpdateError::NotNewer) {
        "it is not newer than what runs".to_owned()
    } else if is(UpdateError::Length) {
        "its length is not what its header says; get the file anew".to_owned()
    } else if is(UpdateError::Crc) {
        "it was damaged on the way or in the file; run the same command again, and if that fails get the file anew"
            .to_owned()
    } else if is(UpdateError::Signature) {
        "the maker has not signed it; do not use this file, and say where it came from".to_owned()
    } else if is(UpdateError::Staging) {
        "the memory for updates fails; the node works on, and can be updated at a bench only".to_owned()
    } else {
        format!("reason {code}, of a later firmware; see its README")
    }
}

/// Waits until the node is back, and tells which firmware it runs.
async fn installed(options: &Options, wanted: Version, old: &str) -> Result<ExitCode, Trouble> {
    let until = Instant::now() + RESTART_MAX;
    println!("the node installs it and restarts");
    let mut running = None;
    while Instant::now() < until {
        tokio::time::sleep(PAUSE).await;
        let (line, unit) = options.at.place()?;
        let Ok(mut node) = meet(line, unit).await else { continue };
        let Ok(version) = node.value(Id::FirmwareVersion, 0).await else { continue };
        let Ok(state) = node.value(Id::UpdateState, 0).await else { continue };
        let Ok(cause) = node.value(Id::ResetCause, 0).await else { continue };
        if version == wanted.0 {
            println!("unit {unit} runs {} now", table::version(version));
            return Ok(ExitCode::SUCCESS);
        }
        running = Some((version, cause));
        // It has restarted, and has forgotten the package.
        if state == UpdateState::Idle as u32 {
            break;
        }
    }
    Err(Trouble::NoAnswer(match running {
        Some((version, cause)) if cause == ResetCause::Watchdog as u32 || cause == ResetCause::Fault as u32 => format!(
            "the node is back and runs {} again: it started the new firmware three times, and each time it hung or failed. It \
             works as before. Do not use this file again before the maker has looked at it",
            table::version(version)
        ),
        Some((version, _)) => format!(
            "the node is back and still runs {}: its boot stage refused the package, most likely because the maker has not \
             signed it. It works as before. Do not use this file again before the maker has looked at it",
            table::version(version)
        ),
        None => format!(
            "the node has not come back within {} s. Switch its supply off and on: it starts the new firmware or {old}; then \
             look with guanjia node identify",
            RESTART_MAX.as_secs()
        ),
    }))
}

/// A bar on a terminal; in a file or pipe, a line for each tenth.
struct Bar {
    total: usize,
    from: usize,
    started: Instant,
    tenth: usize,
    is_terminal: bool,
}

impl Bar {
    fn new(total: usize, from: usize) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { total: total.max(1), from, started: Instant::now(), tenth: from * 10 / total.max(1), is_terminal }
    }

    fn show(&mut self, at: usize) {
        let text = self.line(at, self.started.elapsed());
        if self.is_terminal {
            eprint!("\r{text}\x1b[K");
            // What cannot be shown is not missed.
            let _ = std::io::stderr().flush();
        } else if at * 10 / self.total > self.tenth {
            self.tenth = at * 10 / self.total;
            eprintln!("{text}");
        }
    }

    fn line(&self, at: usize, elapsed: Duration) -> String {
        let cells = at * BAR / self.total;
        let sent = at.saturating_sub(self.from);
        let left = if sent == 0 { 0 } else { elapsed.as_secs() * (self.total - at) as u64 / sent as u64 };
        let (percent, total) = (at * 100 / self.total, self.total);
        format!("[{:-<BAR$}] {percent:>3} %  {at} of {total} bytes, {left} s left", "#".repeat(cells))
    }

    fn end(&self) {
        if self.is_terminal {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_counts_from_where_it_went_on() {
        let bar = Bar { total: 1_000, from: 500, started: Instant::now(), tenth: 5, is_terminal: false };
        let line = bar.line(750, Duration::from_secs(10));
        assert_eq!(line, format!("[{}{}]  75 %  750 of 1000 bytes, 10 s left", "#".repeat(30), "-".repeat(10)));
        assert!(bar.line(500, Duration::from_secs(9)).ends_with("0 s left"));
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for code in 1..=9 {
            assert!(refusal(code).len() > 20, "{code}");
        }
    }

    fn options(file: PathBuf) -> Options {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        Line::parse_from(["update".into(), file.into_os_string()]).options
    }

    #[test]
    fn a_file_that_cannot_be_right_is_refused_before_anything_is_sent() {
        let dir = tempfile::tempdir().expect("a directory");
        let header = Header { board_id: 1, version: Version(0x0001_0000), image_bytes: 64, crc: 0 };
        let whole = [&header.encode()[..], &[0; 64], &[0; 64]].concat();
        let looked_at = |bytes: &[u8]| {
            let file = dir.path().join("x.gjnf");
            std::fs::write(&file, bytes).expect("a file");
            match Package::read(&options(file)) {
                Ok(package) => Ok(package.length()),
                Err(Trouble::Usage(text)) => Err(text),
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(looked_at(&whole), Ok(160));
        for (bytes, why) in [
            (&whole[..159], "cut off"),
            (&whole[..31], "too short"),
            (&[whole.as_slice(), &[0]].concat(), "longer"),
            (&[b"X", &whole[1..]].concat(), "no firmware"),
        ] {
            let error = looked_at(bytes).expect_err("it is wrong");
            assert!(error.contains(why), "{error}");
        }
        assert!(matches!(Package::read(&options(dir.path().join("none"))), Err(Trouble::Usage(_))));
    }
}
