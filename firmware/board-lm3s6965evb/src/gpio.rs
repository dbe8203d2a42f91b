//! Pins of the ports A to F (PL061), as [`InputPin`] and [`OutputPin`].

use core::convert::Infallible;

use embedded_hal::digital::{ErrorType, InputPin, OutputPin};

use super::register::Register;

const DIRECTION: usize = 0x400;
const ALTERNATE: usize = 0x420;
const OPEN_DRAIN: usize = 0x50C;
const PULL_UP: usize = 0x510;
const PULL_DOWN: usize = 0x514;
const DIGITAL: usize = 0x51C;

/// A port, by its base address.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Port {
    /// UART0, driver enable, address switches.
    A = 0x4000_4000,
    /// I2C0, cover, button.
    B = 0x4000_5000,
    /// Pulses.
    C = 0x4000_6000,
    /// Coils.
    D = 0x4000_7000,
    /// Limit switches.
    E = 0x4002_4000,
    /// Limit switches.
    F = 0x4002_5000,
}

impl Port {
    const fn register(self, offset: usize) -> Register {
        // SAFETY: a port's base address with an offset below 0x530, all of which are registers of that port.
        unsafe { Register::at(self as usize + (offset & 0x7FC)) }
    }

    /// The data register through its mask: a write changes the pins of the mask only, in one access.
    const fn data(self, pins: u8) -> Register {
        self.register((pins as usize) << 2)
    }
}

/// What holds an input that nothing drives, and which level means closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// A contact to the supply against a pull-down: closed = high.
    ToSupply,
    /// A contact to ground against a pull-up: closed = low.
    ToGround,
}

/// An input; [`InputPin::is_high`] = closed, whatever the wiring. [`Input::start`] makes the pin one.
pub struct Input {
    port: Port,
    mask: u8,
    wiring: Wiring,
}

impl Input {
    /// A pin that is to be an input.
    pub const fn new(port: Port, pin: u8, wiring: Wiring) -> Self {
        Self { port, mask: 1 << (pin & 7), wiring }
    }

    /// Makes it one.
    pub fn start(&self) {
        let (port, bit) = (self.port, u32::from(self.mask));
        port.register(DIRECTION).modify(bit, 0);
        let (pulled, other) = match self.wiring {
            Wiring::ToSupply => (PULL_DOWN, PULL_UP),
            Wiring::ToGround => (PULL_UP, PULL_DOWN),
        };
        port.register(other).modify(bit, 0);
        port.register(pulled).modify(0, bit);
        port.register(DIGITAL).modify(0, bit);
    }
}

impl ErrorType for Input {
    type Error = Infallible;
}

impl InputPin for Input {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok((self.port.data(self.mask).read() != 0) == (self.wiring == Wiring::ToSupply))
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

/// An output, low until it is set. [`Output::start`] makes the pin one.
pub struct Output {
    port: Port,
    mask: u8,
}

impl Output {
    /// A pin that is to be an output.
    pub const fn new(port: Port, pin: u8) -> Self {
        Self { port, mask: 1 << (pin & 7) }
    }

    /// Makes it one, without a pulse on the way.
    pub fn start(&self) {
        let (data, bit) = (self.port.data(self.mask), u32::from(self.mask));
        data.write(0);
        self.port.register(DIRECTION).modify(0, bit);
        self.port.register(DIGITAL).modify(0, bit);
        data.write(0);
    }
}

impl ErrorType for Output {
    type Error = Infallible;
}

impl OutputPin for Output {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.port.data(self.mask).write(0);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.port.data(self.mask).write(0xFF);
        Ok(())
    }
}

/// A line that is let go or pulled to ground, and never driven high: it is an output only while it is low.
pub struct OpenDrain {
    port: Port,
    mask: u8,
}

impl OpenDrain {
    /// A pin that is to be one, let go.
    fn start(port: Port, pin: u8) -> Self {
        let line = Self { port, mask: 1 << (pin & 7) };
        let bit = u32::from(line.mask);
        port.register(DIRECTION).modify(bit, 0);
        port.register(PULL_UP).modify(0, bit);
        port.register(DIGITAL).modify(0, bit);
        line.port.data(line.mask).write(0);
        line
    }
}

impl ErrorType for OpenDrain {
    type Error = Infallible;
}

impl OutputPin for OpenDrain {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.port.data(self.mask).write(0);
        self.port.register(DIRECTION).modify(0, u32::from(self.mask));
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.port.register(DIRECTION).modify(u32::from(self.mask), 0);
        Ok(())
    }
}

impl InputPin for OpenDrain {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.port.data(self.mask).read() != 0)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

const I2C: u32 = 0b1100;
const SDA: u32 = 0b1000;

/// Takes PB2 and PB3 from I2C0: its clock and its data line.
pub fn take_from_i2c() -> (OpenDrain, OpenDrain) {
    let lines = (OpenDrain::start(Port::B, 2), OpenDrain::start(Port::B, 3));
    Port::B.register(ALTERNATE).modify(I2C, 0);
    lines
}

/// Gives PB2 and PB3 to I2C0.
pub fn give_to_i2c() {
    Port::B.register(ALTERNATE).modify(0, I2C);
    Port::B.register(OPEN_DRAIN).modify(0, SDA);
    Port::B.register(DIGITAL).modify(0, I2C);
}

/// Gives PA0 and PA1 to UART0.
pub fn give_to_uart() {
    const UART: u32 = 0b0011;
    Port::A.register(ALTERNATE).modify(0, UART);
    Port::A.register(DIGITAL).modify(0, UART);
}
