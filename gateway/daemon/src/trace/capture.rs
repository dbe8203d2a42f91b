//! `guanjia capture`: what passes on a line of a running gateway, into files of bounded size.
//!
//! Each file begins with the header, so each can be replayed by itself. A file that is full becomes `FILE.1`, the one
//! before `FILE.2`, and so on; the oldest goes. A power cut costs what the system had not written to disk yet; the last
//! line may be cut off, and a reader says so.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use guanjia_field::trace::{Line, Reader, Record};
use serde_json::json;
use tokio::time::Instant;

use crate::ask::{Gateway, GatewayOptions};

/// The shortest file that is worth rotating.
const FILE_KIB_MIN: u64 = 64;
/// The longest unfinished line that is waited for; the gateway writes none near it.
const REST_MAX: usize = 64 * 1024;

/// Options of `guanjia capture`.
#[derive(Debug, Args)]
pub struct CaptureOptions {
    #[command(flatten)]
    gateway: GatewayOptions,
    /// The line, by its name in the site file
    #[arg(long)]
    line: String,
    /// The file to write; older ones become FILE.1, FILE.2, ...
    #[arg(long, short)]
    out: PathBuf,
    /// Stop after so many seconds (default: until interrupted)
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// The size of one file in KiB
    #[arg(long, value_name = "KIB", default_value_t = 16 * 1024)]
    file_kib: u64,
    /// Files kept, the one that is being written included
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    files: u32,
    /// Print what was captured as JSON
    #[arg(long)]
    json: bool,
}

/// Captures until the time is over, somebody interrupts it, or the gateway is gone.
///
/// # Errors
/// A gateway that does not answer, a file that cannot be written.
pub async fn run(options: CaptureOptions) -> anyhow::Result<ExitCode> {
    let gateway = Gateway::find(&options.gateway)?;
    let mut response = gateway.get(&format!("/lines/{}/trace", options.line)).await?;
    let file_max = options.file_kib.max(FILE_KIB_MIN) * 1024;
    let mut files = Files::new(options.out.clone(), file_max, options.files);
    let started = Instant::now();
    let over = async {
        match options.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let (mut rest, mut reader, mut tally) = (Vec::new(), Reader::default(), Tally::default());
    let end = loop {
        let chunk = tokio::select! {
            () = &mut over => break "the time is over",
            _ = tokio::signal::ctrl_c() => break "interrupted",
            chunk = response.chunk() => chunk,
        };
        let Ok(Some(chunk)) = chunk else { break "the gateway has stopped or reloaded its configuration" };
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            take(&line, &mut reader, &mut files, &mut tally)?;
        }
        files.flush()?;
        anyhow::ensure!(rest.len() < REST_MAX, "what comes is no trace");
    };
    files.flush()?;
    let seconds = started.elapsed().as_secs_f64();
    if options.json {
        let body = json!({ "line": options.line, "file": options.out, "events": tally.events, "lost": tally.lost,
            "seconds": seconds, "end": end });
        println!("{body}");
    } else {
        let lost =
            if tally.lost > 0 { format!(", {} lost because this was too slow", tally.lost) } else { String::new() };
        println!("{}: {} events in {seconds:.0} s{lost}; {end}", options.out.display(), tally.events);
    }
    Ok(ExitCode::SUCCESS)
}

/// What was captured.
#[derive(Debug, Default)]
struct Tally {
    events: u64,
    lost: u64,
}

fn take(line: &[u8], reader: &mut Reader, files: &mut Files, tally: &mut Tally) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(line);
    match reader.read(text.trim_end_matches('\n')).context("the gateway's trace cannot be read")? {
        Line::Nothing => return Ok(()),
        Line::Header(header) => {
            files.header = header.text();
            return files.begin();
        }
        Line::Record(Record::Event(_)) => tally.events += 1,
        Line::Record(Record::Lost(n)) => tally.lost += n,
    }
    files.write(&text)
}

/// Files that make room for the next.
struct Files {
    path: PathBuf,
    file_max: u64,
    kept: u32,
    header: String,
    open: Option<(BufWriter<File>, u64)>,
}

impl Files {
    fn new(path: PathBuf, file_max: u64, kept: u32) -> Self {
        Self { path, file_max, kept, header: String::new(), open: None }
    }

    /// Begins a new file with the header; the ones before move on.
    fn begin(&mut self) -> anyhow::Result<()> {
        self.flush()?;
        self.open = None;
        let numbered = |n: u32| match n {
            0 => self.path.clone(),
            n => PathBuf::from(format!("{}.{n}", self.path.display())),
        };
        for n in (0..self.kept.saturating_sub(1)).rev() {
            let from = numbered(n);
            if from.exists() {
                std::fs::rename(&from, numbered(n + 1)).with_context(|| cannot(&from))?;
            }
        }
        let file = File::create(&self.path).with_context(|| cannot(&self.path))?;
        let mut file = BufWriter::new(file);
        file.write_all(self.header.as_bytes()).with_context(|| cannot(&self.path))?;
        self.open = Some((file, self.header.len() as u64));
        Ok(())
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        if self.open.as_ref().is_none_or(|(_, written)| *written + text.len() as u64 > self.file_max) {
            self.begin()?;
        }
        if let Some((file, written)) = &mut self.open {
            file.write_all(text.as_bytes()).with_context(|| cannot(&self.path))?;
            *written += text.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match &mut self.open {
            Some((file, _)) => file.flush().with_context(|| cannot(&self.path)),
            None => Ok(()),
        }
    }
}

fn cannot(path: &Path) -> String {
    format!("{} cannot be written; is the disk full, may this user write there?", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_in_size_and_number_and_each_begins_with_the_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("line.trace");
        let mut files = Files::new(path.clone(), 100, 3);
        files.header = "header\n".to_owned();
        for n in 0..40 {
            files.write(&format!("{n:09}\n")).unwrap();
        }
        files.flush().unwrap();
        let mut found: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        found.sort();
        assert_eq!(found, ["line.trace", "line.trace.1", "line.trace.2"]);
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        for name in ["line.trace", "line.trace.1", "line.trace.2"] {
            assert!(read(name).starts_with("header\n") && read(name).len() <= 100, "{name}");
        }
        assert!(read("line.trace").ends_with("000000039\n"));
        assert!(read("line.trace.1").contains("000000035\n"), "{}", read("line.trace.1"));
    }
}
