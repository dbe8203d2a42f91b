//! The package of an update in the model's mind: its records, and what comes of it.

use ed25519_compact::Signature;

use super::{Body, Model, Phase, be, exact};
use crate::doubles::bench::{BOARD_ID, CAPACITY, VERSION};

impl Model {
    /// What comes of a package: its version, or the code of what is wrong with it first.
    pub(super) fn judge(&self) -> Result<u32, u16> {
        let package = &self.package;
        let long = |at: usize| u32::from_le_bytes([package[at], package[at + 1], package[at + 2], package[at + 3]]);
        if package.len() < 32 + 64 {
            return Err(1);
        }
        if &package[..5] != b"GJNF\x01" {
            return Err(2);
        }
        if [package[6], package[7]] != BOARD_ID.to_le_bytes() {
            return Err(3);
        }
        if long(8) <= VERSION.0 {
            return Err(4);
        }
        let (image, held) = (u64::from(long(12)), package.len() as u64 - 96);
        if image == 0 || (image < held) || image > u64::from(u32::MAX) - 32 {
            return Err(5);
        }
        if image > held {
            return Err(1);
        }
        let (message, signature) = package.split_at(package.len() - 64);
        if crc32(&message[32..]) != long(16) {
            return Err(6);
        }
        let signature = Signature::from_slice(signature).map_err(|_| 7u16)?;
        self.maker.verify(message, &signature).map_err(|_| 7u16)?;
        Ok(long(8))
    }

    pub(super) fn read_file(&mut self, body: &[u8]) -> Body {
        let groups =
            counted(body).filter(|groups| groups.len() % 7 == 0 && (7..=0xF5).contains(&groups.len())).ok_or(3)?;
        let mut answer = vec![];
        for group in groups.chunks(7) {
            let bytes = usize::from(be(group, 5)) * 2;
            if group[0] != 6 || bytes == 0 {
                return Err(3);
            }
            let at = offset(group)?;
            // Three bytes go before (address, function, length), two with each group; a frame body has 254.
            if 3 + answer.len() + 2 + bytes > 254 {
                return Err(3);
            }
            let found = self.package.get(at..at + bytes).ok_or(2)?;
            answer.extend(exact(&[bytes as u8 + 1, 6]));
            answer.extend(exact(found));
        }
        Ok([exact(&[answer.len() as u8]), answer].concat())
    }

    pub(super) fn write_file(&mut self, body: &[u8]) -> Body {
        let mut rest = counted(body).filter(|groups| (9..=0xFB).contains(&groups.len())).ok_or(3)?;
        while !rest.is_empty() {
            if rest.len() < 7 || rest[0] != 6 {
                return Err(3);
            }
            let bytes = usize::from(be(rest, 5)) * 2;
            if bytes == 0 || rest.len() < 7 + bytes {
                return Err(3);
            }
            let at = offset(rest)?;
            let data = &rest[7..7 + bytes];
            match self.phase {
                Phase::Receiving => {}
                Phase::Installing => return Err(6),
                Phase::Idle | Phase::Verified | Phase::Refused => return Err(4),
            }
            let have = self.package.len();
            if at + bytes > CAPACITY as usize || at > have || (at < have && at + bytes > have) {
                return Err(2);
            }
            if at == have {
                self.package.extend(data);
            } else if self.package[at..at + bytes] != *data {
                return Err(3);
            }
            rest = &rest[7 + bytes..];
        }
        Ok(exact(body))
    }
}

fn counted(body: &[u8]) -> Option<&[u8]> {
    let (count, data) = body.split_first()?;
    (usize::from(*count) == data.len()).then_some(data)
}

/// Byte of the package that a group begins at.
fn offset(group: &[u8]) -> Result<usize, u8> {
    let (file, record, words) = (be(group, 1), be(group, 3), be(group, 5));
    if file == 0 || u32::from(record) + u32::from(words) > 10_000 {
        return Err(2);
    }
    Ok((usize::from(file) - 1) * 20_000 + usize::from(record) * 2)
}

/// CRC-32 of IEEE 802.3, a bit at a time.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}
