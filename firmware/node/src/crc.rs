//! The two checksums: CRC-16 of Modbus frames, CRC-32 (IEEE 802.3) of records and images.
//!
//! Four bits at a time: tables of 16 entries are a fair price in flash, tables of 256 are not.

const fn table_16() -> [u16; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let mut crc = i as u16;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

const fn table_32() -> [u32; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

static TABLE_16: [u16; 16] = table_16();
static TABLE_32: [u32; 16] = table_32();

/// CRC-16 of a Modbus frame, sent low byte first.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        let crc = crc ^ u16::from(*byte);
        let crc = (crc >> 4) ^ TABLE_16[usize::from(crc & 15)];
        (crc >> 4) ^ TABLE_16[usize::from(crc & 15)]
    })
}

/// A CRC-32 under way.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Crc32 {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    /// Goes on with more bytes.
    #[must_use]
    pub fn update(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, byte| {
            let crc = crc ^ u32::from(*byte);
            let crc = (crc >> 4) ^ TABLE_32[(crc & 15) as usize];
            (crc >> 4) ^ TABLE_32[(crc & 15) as usize]
        }))
    }

    /// The checksum.
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue() {
        assert_eq!(crc16(b"123456789"), 0x4B37);
        assert_eq!(Crc32::new().update(b"1234").update(b"56789").finish(), 0xCBF4_3926);
    }

    #[test]
    fn a_frame_of_the_specification() {
        // FC3 reply of unit 3, 12345678 in two registers.
        assert_eq!(crc16(&[0x03, 0x03, 0x04, 0x00, 0xBC, 0x61, 0x4E]).to_le_bytes(), [0xB1, 0xB3]);
    }
}
