//! A serial line and pins whose other end the test holds; clones are the same wire.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;

use embedded_hal::digital::{ErrorType as PinErrorType, InputPin, OutputPin};
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

use crate::board::{LineSettings, Uart};

/// A pin; high = closed or driven.
#[derive(Clone, Debug, Default)]
pub struct Pin(Rc<Cell<bool>>);

impl Pin {
    pub fn set(&self, high: bool) {
        self.0.set(high);
    }

    pub fn get(&self) -> bool {
        self.0.get()
    }
}

impl PinErrorType for Pin {
    type Error = Infallible;
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.get())
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.get())
    }
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Ends {
    to_node: VecDeque<Result<u8, ErrorKind>>,
    from_node: Vec<u8>,
    /// Free places of the transmitter's FIFO; `None` = as many as are asked for.
    room: Option<usize>,
    shifting: bool,
    /// What is sent is heard, as on a real pair with the receiver enabled.
    echo: bool,
    settings: Option<LineSettings>,
    driver: Pin,
    sent_undriven: usize,
}

/// The line.
#[derive(Clone, Debug, Default)]
pub struct Wire(Rc<RefCell<Ends>>);

impl Wire {
    pub fn new(driver: &Pin) -> Self {
        let wire = Self::default();
        wire.0.borrow_mut().driver = driver.clone();
        wire
    }

    pub fn send(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_node.extend(bytes.iter().map(|byte| Ok(*byte)));
    }

    pub fn send_error(&self, error: ErrorKind) {
        self.0.borrow_mut().to_node.push_back(Err(error));
    }

    /// What the node has sent since last asked.
    pub fn receive(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().from_node)
    }

    pub fn limit_room(&self, room: Option<usize>) {
        self.0.borrow_mut().room = room;
    }

    pub fn set_shifting(&self, shifting: bool) {
        self.0.borrow_mut().shifting = shifting;
    }

    pub fn set_echo(&self, echo: bool) {
        self.0.borrow_mut().echo = echo;
    }

    pub fn settings(&self) -> Option<LineSettings> {
        self.0.borrow().settings
    }

    /// Bytes that were sent while the driver was off.
    pub fn sent_undriven(&self) -> usize {
        self.0.borrow().sent_undriven
    }
}

impl ErrorType for Wire {
    type Error = ErrorKind;
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut ends = self.0.borrow_mut();
        let mut count = 0;
        while count < buffer.len() {
            match ends.to_node.front() {
                Some(Ok(byte)) => buffer[count] = *byte,
                Some(Err(error)) if count == 0 => {
                    let error = *error;
                    ends.to_node.pop_front();
                    return Err(error);
                }
                _ => break,
            }
            ends.to_node.pop_front();
            count += 1;
        }
        Ok(count)
    }
}

impl ReadReady for Wire {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(!self.0.borrow().to_node.is_empty())
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let mut ends = self.0.borrow_mut();
        let count = ends.room.unwrap_or(bytes.len()).min(bytes.len());
        ends.room = ends.room.map(|room| room - count);
        ends.from_node.extend(&bytes[..count]);
        if ends.echo {
            ends.to_node.extend(bytes[..count].iter().map(|byte| Ok(*byte)));
        }
        if !ends.driver.get() {
            ends.sent_undriven += count;
        }
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl WriteReady for Wire {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.0.borrow().room != Some(0))
    }
}

impl Uart for Wire {
    fn is_idle(&mut self) -> bool {
        !self.0.borrow().shifting
    }

    fn configure(&mut self, settings: LineSettings) {
        self.0.borrow_mut().settings = Some(settings);
    }
}
