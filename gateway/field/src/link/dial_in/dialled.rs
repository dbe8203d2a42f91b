//! The connection of a DTU, without its heartbeats.
//!
//! A modem sends its heartbeat when it likes: in the middle of a silence, between a question and its answer, glued to
//! the end of an answer. It is the modem's word and not the bus's, so it neither breaks the silence nor is an answer.
//!
//! ```text
//!   between frames:  the bytes begin with a heartbeat ──► taken out, counted
//!                    they are the beginning of one     ──► held back until the rest comes, PIECES_APART_MAX at most
//!                    anything else                     ──► a frame has begun: nothing is touched until it is over
//! ```
//!
//! A frame is over when the line looks for silence or sends the next question. That no answer can begin like a
//! heartbeat is for the configuration to see to: it knows the units.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::seat::{Lifeline, Seat};
use super::{DialIn, DialInStats};
use crate::frame::Request;
use crate::link::LinkError;

/// The longest pause between two pieces of one packet of the modem.
const PIECES_APART_MAX: Duration = Duration::from_millis(50);

/// What is read from the socket at a time; also all that is ever held back.
const HELD_MAX: usize = 1024;

/// Pieces that are taken from the socket before others get their turn: a modem that sends nothing but heartbeats, as
/// fast as it can, must not hold the line's task.
const PIECES_MAX: usize = 16;

/// The connection itself.
#[derive(Debug)]
pub(crate) enum Wire {
    Tcp(TcpStream),
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

/// A question that was put to a DTU to find out who it is, and may still be answered.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) unit: u8,
    pub(crate) request: Request,
    pub(crate) at: Instant,
}

/// The connection of a DTU that is known.
#[derive(Debug)]
pub(crate) struct Dialled {
    wire: Wire,
    dial_in: DialIn,
    stats: Arc<DialInStats>,
    lifeline: Arc<Lifeline>,
    /// Packets that are no answers.
    packets: Vec<Arc<[u8]>>,
    /// Bytes that were received and not given out.
    held: Vec<u8>,
    place: Place,
    /// Runs while the beginning of a packet is held back.
    hold: Option<Pin<Box<Sleep>>>,
    /// Questions from before the line had the connection.
    asked: Vec<Asked>,
}

/// Where in the conversation the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BetweenFrames,
    InFrame,
}

impl Dialled {
    pub(super) fn new(seat: &Seat, wire: Wire, socket: Option<socket2::Socket>, asked: Vec<Asked>) -> Self {
        seat.stats.connected.add(1);
        Self {
            wire,
            dial_in: seat.dial_in.clone(),
            stats: Arc::clone(&seat.stats),
            lifeline: Arc::new(Lifeline::new(socket)),
            packets: seat.dial_in.packets(),
            held: Vec::new(),
            place: Place::BetweenFrames,
            hold: None,
            asked,
        }
    }

    /// A DTU of a test, in memory.
    #[cfg(test)]
    pub(crate) fn in_memory(wire: tokio::io::DuplexStream, dial_in: DialIn, stats: Arc<DialInStats>) -> Self {
        Self::new(&Seat::new(dial_in, stats), Wire::Memory(wire), None, Vec::new())
    }

    pub(super) fn lifeline(&self) -> &Arc<Lifeline> {
        &self.lifeline
    }

    /// The questions whose answers may still come; once.
    pub(crate) fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    pub(in crate::link) fn between_frames(&mut self) {
        self.place = Place::BetweenFrames;
    }

    pub(in crate::link) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LinkError> {
        let mut buffer = ReadBuf::new(buffer);
        let read = std::future::poll_fn(|cx| self.poll_read(cx, &mut buffer)).await;
        match (read, buffer.filled().len()) {
            (Ok(()), 1..) => Ok(buffer.filled().len()),
            // Why a connection breaks does not matter once there is a newer one.
            _ if self.lifeline.is_replaced() => Err(LinkError::Replaced { who: self.dial_in.who.to_string() }),
            (Ok(()), _) => Err(LinkError::Closed),
            (Err(error), _) => Err(error.into()),
        }
    }

    pub(in crate::link) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        for _ in 0..PIECES_MAX {
            let ready = self.given_out();
            if ready > 0 {
                let some = ready.min(into.remaining());
                into.put_slice(&self.held[..some]);
                self.held.drain(..some);
                (self.place, self.hold) = (Place::InFrame, None);
                return Poll::Ready(Ok(()));
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.held.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    let hold = self.hold.get_or_insert_with(|| Box::pin(tokio::time::sleep(PIECES_APART_MAX)));
                    ready!(hold.as_mut().poll(cx));
                    // The rest did not come: it was no packet.
                    self.place = Place::InFrame;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes packets out of what is held, and says how much of the rest may be given out.
    fn given_out(&mut self) -> usize {
        if self.place == Place::InFrame {
            return self.held.len();
        }
        while let Some(packet) = self.packets.iter().find(|packet| self.held.starts_with(packet)) {
            self.held.drain(..packet.len());
            self.hold = None;
            self.stats.heartbeats.add(1);
        }
        let is_part = !self.held.is_empty() && self.packets.iter().any(|packet| packet.starts_with(&self.held));
        if is_part { 0 } else { self.held.len() }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0; HELD_MAX];
        let mut chunk = ReadBuf::new(&mut chunk);
        match &mut self.wire {
            Wire::Tcp(io) => ready!(Pin::new(io).poll_read(cx, &mut chunk))?,
            #[cfg(test)]
            Wire::Memory(io) => ready!(Pin::new(io).poll_read(cx, &mut chunk))?,
        }
        self.held.extend(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }

    pub(in crate::link) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.between_frames();
        match &mut self.wire {
            Wire::Tcp(io) => io.write_all(bytes).await,
            #[cfg(test)]
            Wire::Memory(io) => io.write_all(bytes).await,
        }
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.lifeline.let_go();
        self.stats.connected.sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::link::dial_in::Carries;

    fn dialled() -> (Dialled, tokio::io::DuplexStream, Arc<DialInStats>) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let dial_in = DialIn {
            entrance: "port".into(),
            who: "dtu".into(),
            registration: Some(b"IMEI".as_slice().into()),
            heartbeat: Some(b"PING".as_slice().into()),
            carries: Carries::ModbusTcp,
        };
        let stats = Arc::default();
        (Dialled::in_memory(ours, dial_in, Arc::clone(&stats)), theirs, stats)
    }

    #[tokio::test(start_paused = true)]
    async fn packets_of_the_modem_are_taken_out_between_frames_and_nowhere_else() {
        let (mut io, mut modem, stats) = dialled();
        let mut buffer = [0; 8];
        modem.write_all(b"PINGIMEI\x01\x03PING").await.unwrap();
        assert_eq!(io.read(&mut buffer[..2]).await.unwrap(), 2);
        assert_eq!(buffer[..2], [1, 3]);
        assert_eq!(io.read(&mut buffer).await.unwrap(), 4, "in a frame it is data");
        io.between_frames();
        modem.write_all(b"PI").await.unwrap();
        let rest = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            modem.write_all(b"NG\x02").await.unwrap();
        };
        let (read, ()) = tokio::join!(io.read(&mut buffer), rest);
        assert_eq!((read.unwrap(), buffer[0]), (1, 2));
        assert_eq!(stats.heartbeats.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_began_like_a_packet_is_given_out_after_a_moment() {
        let (mut io, mut modem, _) = dialled();
        let mut buffer = [0; 8];
        modem.write_all(b"PI").await.unwrap();
        let begin = Instant::now();
        assert_eq!(io.read(&mut buffer).await.unwrap(), 2);
        assert!(begin.elapsed() >= PIECES_APART_MAX);
    }

    #[tokio::test]
    async fn a_flood_of_heartbeats_gives_others_their_turn() {
        let (mut io, mut modem, stats) = dialled();
        modem.write_all(&b"PING".repeat(100_000)).await.unwrap();
        let mut buffer = [0; 8];
        let mut buffer = ReadBuf::new(&mut buffer);
        let polled = poll_fn(|cx| Poll::Ready(io.poll_read(cx, &mut buffer).is_pending()));
        assert!(tokio::task::unconstrained(polled).await, "it comes back before the flood is over");
        assert!(stats.heartbeats.get() < 100_000);
    }
}
