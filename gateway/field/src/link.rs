//! What a line is made of: the port or socket, its character timing, and how it is opened.
//!
//! Three links carry Modbus: RTU on a serial port, RTU through a serial server (the same bytes in a TCP stream), and
//! Modbus TCP. Whatever goes wrong below the frames becomes a [`LinkError`]; the kind of the operating system's error
//! is told to people and never decided upon, because it differs between adapters and servers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_serial::SerialStream;

/// The longest a connection may take to be accepted, name look-up included.
pub const CONNECT_MAX: Duration = Duration::from_secs(3);

/// The parity bit of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even parity, the default of Modbus over serial line.
    Even,
    /// Odd parity.
    Odd,
}

/// How characters look on a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialFormat {
    /// Bits per second.
    pub baud: u32,
    /// Data bits in a character, 5 to 8; Modbus RTU needs 8.
    pub data_bits: u8,
    /// The parity bit.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

impl SerialFormat {
    /// How long one character lasts: start bit, data, parity and stop bits.
    pub fn char_time(&self) -> Duration {
        let bits = 1 + u64::from(self.data_bits) + u64::from(self.parity != Parity::None) + u64::from(self.stop_bits);
        // A speed of zero cannot be meant; it must not divide by zero either.
        Duration::from_nanos(bits * 1_000_000_000 / u64::from(self.baud.max(1)))
    }

    /// The silence that ends a frame: 3.5 characters, and a fixed 1.75 ms above 19200 baud
    /// (Modbus over Serial Line V1.02, 2.5.1.1).
    pub fn t35(&self) -> Duration {
        if self.baud > 19_200 { Duration::from_micros(1_750) } else { self.char_time() * 7 / 2 }
    }
}

/// The way to the devices of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Modbus RTU on a serial port of this machine.
    Serial {
        /// Such as `/dev/ttyUSB0`; a `/dev/serial/by-id/` name survives replugging.
        path: String,
        /// How characters look.
        format: SerialFormat,
    },
    /// Modbus RTU frames in the TCP stream of a serial server.
    RtuOverTcp {
        /// `host:port`.
        address: String,
        /// How characters look on the serial side, for the silences and deadlines.
        format: SerialFormat,
    },
    /// Modbus TCP.
    ModbusTcp {
        /// `host:port`.
        address: String,
    },
}

impl Link {
    /// The port or address, as people know it.
    pub fn place(&self) -> &str {
        match self {
            Link::Serial { path, .. } => path,
            Link::RtuOverTcp { address, .. } | Link::ModbusTcp { address } => address,
        }
    }

    /// The character format; `None` where no serial line is known of.
    pub fn format(&self) -> Option<&SerialFormat> {
        match self {
            Link::Serial { format, .. } | Link::RtuOverTcp { format, .. } => Some(format),
            Link::ModbusTcp { .. } => None,
        }
    }
}

/// One line of the site.
#[derive(Clone, Debug)]
pub struct LineConfig {
    /// Its name in the site file, in logs and in metrics.
    pub name: Arc<str>,
    /// The way to its devices.
    pub link: Link,
    /// How long a device may think before its answer begins; overrides what its profile says.
    pub response_max: Option<Duration>,
    /// How long its devices typically think before their answer begins, where that was measured; the plan of its reads
    /// counts with it.
    pub turnaround: Option<Duration>,
    /// How long an RTU line stays silent after a request that was not answered properly, so that a late answer is
    /// heard and thrown away before anything else is asked.
    pub linger: Duration,
}

/// What can go wrong below the frames.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The port could not be opened, or the connection was refused.
    #[error("cannot open {place}: {source}; check power, cable, address and permissions")]
    Open {
        /// The port or address.
        place: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Nobody took the connection in time.
    #[error("{place} did not accept a connection within {} s; check power, cable and address", CONNECT_MAX.as_secs())]
    OpenTimeout {
        /// The address.
        place: String,
    },
    /// The other side closed the connection.
    #[error("the other side closed the connection; check that no other master uses the serial server")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection broke: {0}; check power and cable")]
    Io(#[from] io::Error),
}

/// An open port or socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Serial(SerialStream),
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
}

/// How a line gets its stream.
pub(crate) enum Dial {
    Link(Link),
    /// A test hands out the streams itself; `None` is a refused connection.
    #[cfg(test)]
    Script(Box<dyn FnMut() -> Option<Stream> + Send + Sync>),
}

impl Dial {
    pub(crate) async fn open(&mut self) -> Result<Stream, LinkError> {
        match self {
            Dial::Link(link) => link.open().await,
            #[cfg(test)]
            Dial::Script(next) => {
                let refused = || LinkError::Open { place: "script".into(), source: io::ErrorKind::NotFound.into() };
                next().ok_or_else(refused)
            }
        }
    }
}

impl Link {
    async fn open(&self) -> Result<Stream, LinkError> {
        let place = self.place().to_owned();
        match self {
            Link::Serial { path, format } => match open_serial(path, format) {
                Ok(port) => Ok(Stream::Serial(port)),
                Err(source) => Err(LinkError::Open { place, source }),
            },
            Link::RtuOverTcp { address, .. } | Link::ModbusTcp { address } => {
                match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address.as_str())).await {
                    Err(_) => Err(LinkError::OpenTimeout { place }),
                    Ok(Err(source)) => Err(LinkError::Open { place, source }),
                    Ok(Ok(socket)) => {
                        // A request is one small segment; waiting for more to send would only delay it.
                        socket.set_nodelay(true)?;
                        Ok(Stream::Tcp(socket))
                    }
                }
            }
        }
    }
}

fn open_serial(path: &str, format: &SerialFormat) -> io::Result<SerialStream> {
    use tokio_serial::{DataBits, Parity as P, StopBits};
    let unsupported = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let data_bits =
        DataBits::try_from(format.data_bits).map_err(|()| unsupported("data bits must lie between 5 and 8"))?;
    let stop_bits = StopBits::try_from(format.stop_bits).map_err(|()| unsupported("stop bits must be 1 or 2"))?;
    let parity = match format.parity {
        Parity::None => P::None,
        Parity::Even => P::Even,
        Parity::Odd => P::Odd,
    };
    let builder = tokio_serial::new(path, format.baud).data_bits(data_bits).parity(parity).stop_bits(stop_bits);
    SerialStream::open(&builder).map_err(io::Error::from)
}

impl Stream {
    /// Reads what there is, up to the length of `buffer`. Safe to cancel: no byte is lost.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LinkError> {
        let read = match self {
            Stream::Tcp(io) => io.read(buffer).await,
            Stream::Serial(io) => io.read(buffer).await,
            #[cfg(test)]
            Stream::Memory(io) => io.read(buffer).await,
        };
        closed_if_zero(read?)
    }

    /// Reads what there is without waiting; `None` if there is nothing.
    pub(crate) async fn read_now(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LinkError> {
        // The runtime notices arrived bytes when it looks at the sockets; give it the occasion.
        tokio::task::yield_now().await;
        let mut buffer = ReadBuf::new(buffer);
        let polled = poll_fn(|cx| {
            let result = match self {
                Stream::Tcp(io) => Pin::new(io).poll_read(cx, &mut buffer),
                Stream::Serial(io) => Pin::new(io).poll_read(cx, &mut buffer),
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
            Stream::Serial(io) => io.write_all(bytes).await?,
            #[cfg(test)]
            Stream::Memory(io) => io.write_all(bytes).await?,
        }
        Ok(())
    }

    /// Whether a new stream is to be had after a failure. A serial port is the same wire however often it is opened.
    pub(crate) fn is_replaceable(&self) -> bool {
        !matches!(self, Stream::Serial(_))
    }
}

fn closed_if_zero(read: usize) -> Result<usize, LinkError> {
    if read == 0 { Err(LinkError::Closed) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_and_the_silence_after_a_frame_last_as_the_standard_says() {
        let format = |baud, parity| SerialFormat { baud, data_bits: 8, parity, stop_bits: 1 };
        assert_eq!(format(9600, Parity::Even).char_time(), Duration::from_nanos(1_145_833));
        assert_eq!(format(9600, Parity::None).char_time(), Duration::from_nanos(1_041_666));
        assert_eq!(format(9600, Parity::Even).t35(), Duration::from_nanos(4_010_415));
        assert_eq!(format(19_200, Parity::Even).t35(), Duration::from_nanos(2_005_206));
        assert_eq!(format(115_200, Parity::Even).t35(), Duration::from_micros(1_750));
    }
}
