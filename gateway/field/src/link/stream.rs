//! An open port or socket, whatever it is, and how a line gets one.
//!
//! `bus` sees no more than this: read, read without waiting, write, and whether a new one is to be had after a failure.

use std::future::poll_fn;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_serial::SerialStream;

use super::dial_in::{Asked, Dialled, Seat};
use super::udp::Datagrams;
use super::{CONNECT_MAX, KNOCK_AGAIN, Link, LinkError, serial, tls};
use crate::stats::LineStats;

/// An open port or socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    // Boxed, like the session of TLS: the one of a line is passed from hand to hand with every question.
    Udp(Box<Datagrams>),
    Serial(Box<SerialStream>),
    Dialled(Box<Dialled>),
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

/// How a line gets its stream.
pub(crate) enum Dial {
    Link(Link),
    /// The place in the reception where the modem of this line is put when it dials in.
    Seat(Arc<Seat>),
    /// A test hands out the streams itself; `None` is a refused connection.
    #[cfg(test)]
    Script(Box<dyn FnMut() -> Option<Stream> + Send + Sync>),
}

impl Dial {
    pub(crate) async fn open(&mut self, stats: &Arc<LineStats>) -> Result<Stream, LinkError> {
        match self {
            Dial::Link(link) => link.open(stats).await,
            Dial::Seat(seat) => seat.take().map(|io| Stream::Dialled(Box::new(io))),
            #[cfg(test)]
            Dial::Script(next) => {
                let refused =
                    || LinkError::Open { place: "script".into(), source: std::io::ErrorKind::NotFound.into() };
                next().ok_or_else(refused)
            }
        }
    }
}

impl Link {
    async fn open(&self, stats: &Arc<LineStats>) -> Result<Stream, LinkError> {
        let place = self.place().to_owned();
        match self {
            Link::Serial { path, format } | Link::AsciiSerial { path, format } => match serial::open(path, format) {
                Ok(port) => Ok(Stream::Serial(Box::new(port))),
                Err(source) => Err(LinkError::Open { place, source }),
            },
            Link::RtuOverTcp { address, .. } | Link::AsciiOverTcp { address, .. } | Link::ModbusTcp { address } => {
                connect(address).await.map(Stream::Tcp)
            }
            Link::ModbusTls { address, tls } => {
                let socket = connect(address).await?;
                tls::handshake(address, tls, socket).await.map(|io| Stream::Tls(Box::new(io)))
            }
            Link::ModbusUdp { address } => {
                match timeout(CONNECT_MAX, Datagrams::open(address, Arc::clone(stats))).await {
                    Err(_) => Err(LinkError::OpenTimeout { place }),
                    Ok(Err(source)) => Err(LinkError::Open { place, source }),
                    Ok(Ok(socket)) => Ok(Stream::Udp(Box::new(socket))),
                }
            }
            // Who waits for a modem waits at its seat; see `dial_in`.
            Link::DialIn(dial_in) => Err(dial_in.absent()),
        }
    }
}

async fn connect(address: &str) -> Result<TcpStream, LinkError> {
    let place = address.to_owned();
    let knock = |after| async move {
        sleep(after).await;
        TcpStream::connect(address).await
    };
    // The kernel repeats an unheard knock after one second, and then after two more. A device that comes back in
    // between is found sooner by who knocks again; the first knock still counts if the network is that slow.
    let connected = async {
        tokio::select! {
            connected = TcpStream::connect(address) => connected,
            connected = knock(KNOCK_AGAIN) => connected,
            connected = knock(KNOCK_AGAIN * 2) => connected,
        }
    };
    match timeout(CONNECT_MAX, connected).await {
        Err(_) => Err(LinkError::OpenTimeout { place }),
        Ok(Err(source)) => Err(LinkError::Open { place, source }),
        Ok(Ok(socket)) => {
            // A request is one small segment; waiting for more to send would only delay it.
            socket.set_nodelay(true)?;
            Ok(socket)
        }
    }
}

impl Stream {
    /// Reads what there is, up to the length of `buffer`. Safe to cancel: no byte is lost.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LinkError> {
        let read = match self {
            Stream::Tcp(io) => io.read(buffer).await,
            Stream::Tls(io) => io.read(buffer).await,
            Stream::Udp(io) => io.read(buffer).await,
            Stream::Serial(io) => io.read(buffer).await,
            Stream::Dialled(io) => return io.read(buffer).await,
            #[cfg(test)]
            Stream::Memory(io) => io.read(buffer).await,
        };
        closed_if_zero(read?)
    }

    /// Reads what the runtime already knows to be there; `None` if it knows of nothing. What has just come in may be
    /// missed, so this is for connections on which a number tells the old answer from the new one.
    pub(crate) async fn read_known(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
        match self {
            Stream::Tcp(io) => match io.try_read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
                read => closed_if_zero(read?).map(Some),
            },
            _ => self.read_now(buffer).await,
        }
    }

    /// Reads what there is without waiting; `None` if there is nothing.
    pub(crate) async fn read_now(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
        if let Stream::Tcp(io) = self {
            return closed_if_zero_now(recv(io.as_fd(), buffer, RecvFlags::DONTWAIT).map(|(read, _)| read));
        }
        // The runtime notices arrived bytes when it looks at the sockets; give it the occasion.
        tokio::task::yield_now().await;
        let mut buffer = ReadBuf::new(buffer);
        let polled = poll_fn(|cx| {
            let result = match self {
                Stream::Tcp(io) => Pin::new(io).poll_read(cx, &mut buffer),
                Stream::Tls(io) => Pin::new(io).poll_read(cx, &mut buffer),
                Stream::Udp(io) => io.poll_read(cx, &mut buffer),
                Stream::Serial(io) => Pin::new(io).poll_read(cx, &mut buffer),
                Stream::Dialled(io) => io.poll_read(cx, &mut buffer),
                #[cfg(test)]
                Stream::Memory(io) => Pin::new(io).poll_read(cx, &mut buffer),
            };
            Poll::Ready(match result {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            })
        });
        match tokio::task::unconstrained(polled).await {
            None => Ok(None),
            Some(done) => {
                done?;
                closed_if_zero(buffer.filled().len()).map(Some)
            }
        }
    }

    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        match self {
            Stream::Tcp(io) => io.write_all(bytes).await?,
            Stream::Tls(io) => {
                io.write_all(bytes).await?;
                // A record that does not fit the socket at once waits inside the session until it is asked for.
                io.flush().await?;
            }
            Stream::Udp(io) => io.send(bytes).await?,
            Stream::Serial(io) => io.write_all(bytes).await?,
            Stream::Dialled(io) => io.write_all(bytes).await?,
            #[cfg(test)]
            Stream::Memory(io) => io.write_all(bytes).await?,
        }
        Ok(())
    }

    /// Whether a new stream is to be had after a failure. A serial port is the same wire however often it is opened,
    /// and a modem that is hung up on takes a minute to call again while every unit behind it is dark.
    pub(crate) fn is_replaceable(&self) -> bool {
        !matches!(self, Stream::Serial(_) | Stream::Dialled(_))
    }

    /// Questions that were asked before the line had this stream, and may still be answered; once.
    pub(crate) fn take_asked(&mut self) -> Vec<Asked> {
        match self {
            Stream::Dialled(io) => io.take_asked(),
            _ => Vec::new(),
        }
    }

    /// No answer is under way: a frame may begin with the next byte.
    pub(crate) fn between_frames(&mut self) {
        if let Stream::Dialled(io) = self {
            io.between_frames();
        }
    }
}

/// What the kernel says to a read that does not wait. The runtime may believe afterwards that there is still something
/// to read; it finds out at the next read.
fn closed_if_zero_now(read: Result<usize, Errno>) -> Result<Option<usize>, LinkError> {
    match read {
        Ok(read) => closed_if_zero(read).map(Some),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(LinkError::Io(error.into())),
    }
}

fn closed_if_zero(read: usize) -> Result<usize, LinkError> {
    if read == 0 { Err(LinkError::Closed) } else { Ok(read) }
}
