//! Who is calling, when the caller says nothing: its devices are asked.
//!
//! Each DTU without a registration has questions: the first read of each of its devices. They are asked one after the
//! other, those of absent DTUs first, and the first right answer tells whose connection it is. Units of such DTUs
//! differ (the configuration sees to that), so no two could answer the same question.
//!
//! A question that was not answered in time may still be: what was asked goes along with the connection, and the line
//! treats it as its own unsettled questions.

use std::time::Duration;

use guanjia_core::profile::ByteCount;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::dialled::Asked;
use super::entrance::Guest;
use crate::frame::{FRAME_MAX, Request, Verdict, encode, judge_as};
use crate::line::FieldDevice;
use crate::link::LineConfig;
use crate::plan::{Layout, Learned, Pace, plan};

/// Devices of one DTU that are asked at most: any of them may be dead, all of them hardly.
const DEVICES_MAX: usize = 4;
/// Questions a caller is asked at most.
const QUESTIONS_MAX: usize = 64;
/// The silence after a question that was not answered.
const LINGER: Duration = Duration::from_millis(250);

/// One read that a device of the DTU must answer.
#[derive(Clone, Debug)]
pub(super) struct Question {
    unit: u8,
    request: Request,
    response_max: Duration,
    byte_count: ByteCount,
}

/// The first read of each device.
pub(super) fn of(devices: &[FieldDevice], config: &LineConfig) -> Vec<Question> {
    let learned = Learned::default();
    let question = |device: &FieldDevice| {
        let (points, limits) = (&device.profile.points, &device.profile.limits);
        let layout = Layout { points, limits, together: &[], learned: &learned, pace: Pace::of(config) };
        let read = plan(&layout, None).into_iter().next()?;
        Some(Question {
            unit: device.unit,
            request: read.request(),
            response_max: config.response_max.unwrap_or(device.profile.limits.response_max),
            byte_count: device.profile.limits.byte_count,
        })
    };
    devices.iter().filter_map(question).take(DEVICES_MAX).collect()
}

/// Asks until somebody answers; returns the caller's position, and everything that was asked.
pub(super) async fn ask_around(socket: &mut TcpStream, guests: &[Guest]) -> Option<(usize, Vec<Asked>)> {
    let mut asked = Vec::new();
    for (i, question) in order(guests) {
        let at = Instant::now();
        asked.push(Asked { unit: question.unit, request: question.request.clone(), at });
        match ask(socket, &guests[i], question).await {
            Heard::Answer => return Some((i, asked)),
            Heard::Nothing => {}
            Heard::Closed => return None,
        }
    }
    None
}

/// One question of each DTU, then another one of each; absent DTUs first.
fn order(guests: &[Guest]) -> Vec<(usize, &Question)> {
    let mut all: Vec<(bool, usize, usize, &Question)> = Vec::new();
    for (i, guest) in guests.iter().enumerate() {
        let is_taken = guest.seat.is_taken();
        all.extend(guest.questions.iter().enumerate().map(|(round, question)| (is_taken, round, i, question)));
    }
    all.sort_by_key(|(is_taken, round, i, _)| (*is_taken, *round, *i));
    all.into_iter().take(QUESTIONS_MAX).map(|(_, _, i, question)| (i, question)).collect()
}

enum Heard {
    Answer,
    Nothing,
    Closed,
}

async fn ask(socket: &mut TcpStream, guest: &Guest, question: &Question) -> Heard {
    let dial_in = &guest.seat.dial_in;
    let (framing, format) = (dial_in.carries.framing(), dial_in.carries.format());
    let tid = fastrand::u16(..);
    let frame = encode(framing, tid, question.unit, &question.request);
    let characters = (frame.len() + 2 * framing.reply_len(&question.request)) as u32;
    let wire_time = format.map_or(Duration::ZERO, |f| f.char_time() * characters);
    let deadline = Instant::now() + question.response_max + wire_time;
    if socket.write_all(&frame).await.is_err() {
        return Heard::Closed;
    }
    let mut heard = Vec::new();
    loop {
        let mut piece = [0; FRAME_MAX];
        let room = FRAME_MAX.saturating_sub(heard.len());
        let read = match timeout_at(deadline, socket.read(&mut piece[..room])).await {
            Err(_) => break,
            Ok(Err(_) | Ok(0)) => return Heard::Closed,
            Ok(Ok(read)) => read,
        };
        heard.extend(&piece[..read]);
        while let Some(packet) = dial_in.heartbeat.as_ref().filter(|p| !p.is_empty() && heard.starts_with(p)) {
            heard.drain(..packet.len());
            guest.seat.stats.heartbeats.add(1);
        }
        match judge_as(question.byte_count, framing, tid, question.unit, &question.request, &heard) {
            Verdict::Reply(_) => return Heard::Answer,
            Verdict::Need(_) => {}
            Verdict::Skip(_) | Verdict::Reject(_) => break,
        }
    }
    drain(socket).await
}

/// Listens to whatever still comes, until it is silent.
async fn drain(socket: &mut TcpStream) -> Heard {
    let mut scrap = [0; FRAME_MAX];
    let until = Instant::now() + LINGER;
    loop {
        match timeout_at(until, socket.read(&mut scrap)).await {
            Err(_) => return Heard::Nothing,
            Ok(Err(_) | Ok(0)) => return Heard::Closed,
            Ok(Ok(_)) => {}
        }
    }
}
