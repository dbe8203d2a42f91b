//! MAX34451, the 16-channel voltage monitor on I2C0 that measures the loops of the contacts and the supply.
//!
//! The processor has four analogue inputs and the node needs nine. Channels 0 to 7 see the loops through a divider by
//! four: 4,095 mV of the loop are full scale, so a level is the reading in mV. Channel 8 sees the supply, in mV.

use embedded_hal::i2c::I2c;
use guanjia_node::board::Analog;

/// 7-bit address of the monitor.
const ADDRESS: u8 = 0x70;
/// PMBus: selects the channel.
const PAGE: u8 = 0x00;
/// PMBus: the voltage of the channel, low byte first.
const READ_VOUT: u8 = 0x8B;
const SUPPLY_CHANNEL: u8 = 8;
const FULL_SCALE: u16 = 4095;

/// The monitor.
pub struct Monitor<I> {
    bus: I,
}

impl<I: I2c> Monitor<I> {
    /// The monitor on a bus.
    pub const fn new(bus: I) -> Self {
        Self { bus }
    }

    fn millivolts(&mut self, channel: u8) -> Option<u16> {
        let mut word = [0; 2];
        self.bus.write(ADDRESS, &[PAGE, channel]).ok()?;
        self.bus.write_read(ADDRESS, &[READ_VOUT], &mut word).ok()?;
        Some(u16::from_le_bytes(word))
    }
}

impl<I: I2c> Analog for Monitor<I> {
    fn contact(&mut self, index: usize) -> Option<u16> {
        let channel = u8::try_from(index).ok().filter(|channel| *channel < SUPPLY_CHANNEL)?;
        self.millivolts(channel).map(|level| level.min(FULL_SCALE))
    }

    fn supply_mv(&mut self) -> Option<u16> {
        self.millivolts(SUPPLY_CHANNEL)
    }
}
