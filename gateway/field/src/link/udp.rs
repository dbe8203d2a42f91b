//! Modbus TCP's frames in UDP datagrams.
//!
//! A datagram is a whole frame or it is nothing: one whose header says another length than it has is thrown away here
//! and counted as damaged, so that what follows it is never read as its rest. The socket is connected, so the kernel
//! keeps away whatever comes from another address. A datagram that is late, or comes twice, has the transaction number
//! of an earlier question, and `frame` passes it over.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::{UdpSocket, lookup_host};

use crate::frame::{MBAP_HEADER, MBAP_MAX, mbap_len};
use crate::stats::{Discard, LineStats};

/// One byte more than the longest frame: what fills it is too long.
const DATAGRAM_MAX: usize = MBAP_MAX + 1;

/// A socket that gives its datagrams out byte by byte.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    datagram: [u8; DATAGRAM_MAX],
    /// What of `datagram` was not read yet.
    rest: std::ops::Range<usize>,
    stats: Arc<LineStats>,
}

impl Datagrams {
    pub(super) async fn open(address: &str, stats: Arc<LineStats>) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for peer in lookup_host(address).await? {
            let any = if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let connected = async {
                let socket = UdpSocket::bind(any).await?;
                socket.connect(peer).await?;
                Ok(socket)
            };
            match connected.await {
                Ok(socket) => return Ok(Self { socket, datagram: [0; DATAGRAM_MAX], rest: 0..0, stats }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) async fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).await.map(drop)
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        std::future::poll_fn(|cx| self.poll_read(cx, &mut buffer)).await?;
        Ok(buffer.filled().len())
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            let mut datagram = ReadBuf::new(&mut self.datagram);
            ready!(self.socket.poll_recv(cx, &mut datagram))?;
            let length = datagram.filled().len();
            match mbap_len(datagram.filled()) {
                Some(total) if total == length && length >= MBAP_HEADER => self.rest = 0..length,
                _ => self.stats.discarded(Discard::Damaged),
            }
        }
        let some = self.rest.len().min(into.remaining());
        into.put_slice(&self.datagram[self.rest.start..self.rest.start + some]);
        self.rest.start += some;
        Poll::Ready(Ok(()))
    }
}
