//! A serial port, opened by its path.
//!
//! The path is looked up anew at every opening. A name under `/dev/serial/by-id` or `by-path` is a symbolic link that
//! the kernel's device manager removes and makes again, so an adapter that is replugged is found under its name
//! whatever number it got this time. Ports are opened exclusively: a second master on the bus is refused here.

use std::io;

use tokio_serial::SerialStream;

use super::{Parity, SerialFormat};

pub(super) fn open(path: &str, format: &SerialFormat) -> io::Result<SerialStream> {
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
