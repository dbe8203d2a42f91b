//! As much of X.509 as the gateway asks of its own files: when a revocation list is due, and which role a certificate
//! carries. What is believed is decided by webpki and never here.
//!
//! DER with lengths of up to four bytes; whatever is not as RFC 5280 has it is `None`.

use guanjia_core::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `extensions [3]` of a certificate.
const EXTENSIONS: u8 = 0xA3;

/// 1.3.6.1.4.1.50316.802.1, the role of MODBUS/TCP Security v36, 8.4.
const ROLE: [u8; 11] = [0x2B, 0x06, 0x01, 0x04, 0x01, 0x83, 0x89, 0x0C, 0x86, 0x22, 0x01];

/// Elements one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag and what is in it.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let ([tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7F => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0F))?;
                (digits.iter().fold(0, |length: usize, digit| (length << 8) | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, value))
    }

    /// What is in the next element, if it has this tag; otherwise it stays where it is.
    fn one(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.any().map(|(_, value)| value) } else { None }
    }
}

/// When the next issue of a revocation list is due (`nextUpdate`).
pub(super) fn next_update(list: &[u8]) -> Option<Timestamp> {
    let mut body = Reader(Reader(Reader(list).one(SEQUENCE)?).one(SEQUENCE)?);
    let _version = body.one(INTEGER);
    let (_algorithm, _issuer) = (body.one(SEQUENCE)?, body.one(SEQUENCE)?);
    let _this_update = body.any()?;
    let (tag, text) = body.any()?;
    time(tag, text)
}

/// A date of RFC 5280, 4.1.2.5: seconds, in UTC.
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let digits = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let digits = match tag {
        UTC_TIME if digits.len() == 12 => format!("{}{digits}", if digits >= "5" { "19" } else { "20" }),
        GENERALIZED_TIME if digits.len() == 14 => digits.to_owned(),
        _ => return None,
    };
    let civil = DateTime::strptime("%Y%m%d%H%M%S", digits).ok()?;
    Some(Timestamp::from_millis(TimeZone::UTC.to_timestamp(civil).ok()?.as_millisecond()))
}

/// The role a certificate carries for MODBUS/TCP Security.
pub(super) fn role(certificate: &[u8]) -> Option<&str> {
    let mut body = Reader(Reader(Reader(certificate).one(SEQUENCE)?).one(SEQUENCE)?);
    let extensions = loop {
        if let (EXTENSIONS, value) = body.any()? {
            break value;
        }
    };
    let mut extensions = Reader(Reader(extensions).one(SEQUENCE)?);
    while let Some(extension) = extensions.one(SEQUENCE) {
        let mut extension = Reader(extension);
        if extension.one(OBJECT_IDENTIFIER) != Some(&ROLE) {
            continue;
        }
        // Between the two may stand whether it is critical.
        let value = loop {
            if let (OCTET_STRING, value) = extension.any()? {
                break value;
            }
        };
        return str::from_utf8(Reader(value).one(UTF8_STRING)?).ok();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_those_of_both_centuries_and_nothing_else() {
        let seconds = |tag, text: &str| time(tag, text.as_bytes()).map(|t| t.as_millis() / 1_000);
        assert_eq!(seconds(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(UTC_TIME, "500101000000Z"), Some(-631_152_000));
        assert_eq!(seconds(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        for (tag, text) in [
            (UTC_TIME, "2401010000Z"),
            (UTC_TIME, "240101000000"),
            (UTC_TIME, "241301000000Z"),
            (GENERALIZED_TIME, "240101000000Z"),
            (INTEGER, "240101000000Z"),
        ] {
            assert_eq!(seconds(tag, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (next_update(&bytes), role(&bytes));
            let wrapped = [&[SEQUENCE, 0x82, 0, bytes.len() as u8][..], &bytes].concat();
            let _ = (next_update(&wrapped), role(&wrapped));
        }
    }
}
