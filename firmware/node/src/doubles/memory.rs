//! A 24Cxx that loses its power after any byte, wraps within its page, is busy for a while after each write, and wears.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

use crate::board::Memory;

pub const ADDRESS: u8 = 0x50;

/// In what order the cells of a page take their bytes when the power goes: the datasheet does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// First byte first.
    Forward,
    /// Last byte first.
    Backward,
    /// First byte first, and the byte under way is neither old nor new.
    Garbage,
    /// As forward, but what was not reached is erased, as parts with an erase cycle leave it.
    Erased,
}

#[derive(Debug)]
struct Cells {
    bytes: Vec<u8>,
    page: usize,
    tear: Tear,
    /// Bytes until the power goes.
    fuel: Option<usize>,
    dead: bool,
    written: usize,
    /// Accesses that are refused after a write.
    busy_for: u32,
    busy: u32,
    worn: BTreeSet<usize>,
    writes_of_page: Vec<u32>,
    pointer: usize,
}

/// The chip; clones are the same chip.
#[derive(Clone, Debug)]
pub struct Chip(Rc<RefCell<Cells>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack;

impl Error for Nack {
    fn kind(&self) -> ErrorKind {
        ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)
    }
}

impl Chip {
    pub fn new(page: u8) -> Self {
        let bytes = vec![0xFF; 8192];
        let writes_of_page = vec![0; bytes.len() / usize::from(page)];
        Self(Rc::new(RefCell::new(Cells {
            bytes,
            page: usize::from(page),
            tear: Tear::Forward,
            fuel: None,
            dead: false,
            written: 0,
            busy_for: 0,
            busy: 0,
            worn: BTreeSet::new(),
            writes_of_page,
            pointer: 0,
        })))
    }

    pub fn memory(&self) -> Memory {
        Memory { address: ADDRESS, page: self.0.borrow().page as u8 }
    }

    /// The power goes after so many more bytes.
    pub fn cut_after(&self, bytes: usize, tear: Tear) {
        let mut cells = self.0.borrow_mut();
        cells.fuel = Some(bytes);
        cells.tear = tear;
    }

    /// Power is back.
    pub fn power_up(&self) {
        let mut cells = self.0.borrow_mut();
        cells.fuel = None;
        cells.dead = false;
        cells.busy = 0;
    }

    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// Bytes written since it was made.
    pub fn written(&self) -> usize {
        self.0.borrow().written
    }

    /// Refuses so many accesses after each write.
    pub fn busy_for(&self, accesses: u32) {
        self.0.borrow_mut().busy_for = accesses;
    }

    /// Refuses so many accesses from now: a write goes on in the cells, which a reset does not end.
    pub fn make_busy(&self, accesses: u32) {
        self.0.borrow_mut().busy = accesses;
    }

    /// A cell that keeps 0xFF whatever is written.
    pub fn wear(&self, address: usize) {
        self.0.borrow_mut().worn.insert(address);
    }

    /// The bus is cut off, or connected again.
    pub fn set_dead(&self, dead: bool) {
        self.0.borrow_mut().dead = dead;
    }

    pub fn writes_of_page(&self) -> Vec<u32> {
        self.0.borrow().writes_of_page.clone()
    }

    pub fn poke(&self, address: usize, byte: u8) {
        self.0.borrow_mut().bytes[address] = byte;
    }

    pub fn snapshot(&self) -> Vec<u8> {
        self.0.borrow().bytes.clone()
    }

    pub fn restore(&self, bytes: &[u8]) {
        self.0.borrow_mut().bytes.copy_from_slice(bytes);
    }
}

impl Cells {
    fn set(&mut self, address: usize, byte: u8) {
        self.bytes[address] = if self.worn.contains(&address) { 0xFF } else { byte };
    }

    fn program(&mut self, start: usize, data: &[u8]) {
        let base = start / self.page * self.page;
        self.writes_of_page[base / self.page] += 1;
        let page = self.page;
        let place = |i: usize| base + (start - base + i) % page;
        let order: Vec<usize> = match self.tear {
            Tear::Backward => (0..data.len()).rev().collect(),
            _ => (0..data.len()).collect(),
        };
        for (done, &i) in order.iter().enumerate() {
            if self.fuel == Some(0) {
                match self.tear {
                    Tear::Garbage => self.set(place(i), !data[i] ^ 0x5A),
                    Tear::Erased => order[done..].iter().for_each(|&i| self.set(place(i), 0xFF)),
                    Tear::Forward | Tear::Backward => {}
                }
                self.dead = true;
                return;
            }
            self.fuel = self.fuel.map(|fuel| fuel - 1);
            self.written += 1;
            self.set(place(i), data[i]);
        }
        self.busy = self.busy_for;
    }
}

impl ErrorType for Chip {
    type Error = Nack;
}

impl I2c for Chip {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Nack> {
        let mut cells = self.0.borrow_mut();
        if cells.dead || address != ADDRESS {
            return Err(Nack);
        }
        if cells.busy > 0 {
            cells.busy -= 1;
            return Err(Nack);
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) => {
                    let (pointer, data) = bytes.split_at(2);
                    cells.pointer = usize::from(pointer[0]) << 8 | usize::from(pointer[1]);
                    assert!(data.len() <= cells.page, "a write of {} bytes wraps in its page", data.len());
                    let start = cells.pointer;
                    if !data.is_empty() {
                        cells.program(start, data);
                    }
                    if cells.dead {
                        return Err(Nack);
                    }
                }
                Operation::Read(buffer) => {
                    for byte in buffer.iter_mut() {
                        let at = cells.pointer % cells.bytes.len();
                        *byte = cells.bytes[at];
                        cells.pointer += 1;
                    }
                }
            }
        }
        Ok(())
    }
}

/// No time passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _ns: u32) {}
}
