//! What a read of a device must respect.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Table;

/// What a read of this device must respect. The planner keeps every one of these; a profile that contradicts itself is
/// refused when it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Registers in one request; at most 125 (Modbus Application Protocol V1.1b3, 6.3).
    pub registers_max: u16,
    /// Coils or discrete inputs in one request; at most 2,000 (the same, 6.1).
    pub bits_max: u16,
    /// Registers without a point that one request may span. `None`: as many as cost less time on the wire than another
    /// request.
    pub gap_max: Option<u16>,
    /// Places the device refuses: no request may touch them.
    pub holes: Vec<Extent>,
    /// Places that can only be read exactly so: with this first address and this count, never in part.
    pub blocks: Vec<Extent>,
    /// Places that must be read alone: a request that begins before such an address may not go beyond it, and one that
    /// begins at it brings its point only.
    pub barriers: Vec<Place>,
    /// Whether the device takes odd addresses and odd counts.
    pub alignment: Alignment,
    /// Every point is read by a request of its own.
    pub one_point_a_request: bool,
    /// Silence the device wants between its answer and the next request, beyond the standard's 3.5 characters.
    pub silence_min: Duration,
    /// Time it wants between the starts of two requests.
    pub interval_min: Duration,
    /// How long it may think before its answer begins.
    pub response_max: Duration,
    /// Requests it can have under way at once on Modbus TCP; 1 where nobody has tried more.
    pub in_flight_max: u8,
    /// Which unit id its answers bear on Modbus TCP.
    pub unit_echo: UnitEcho,
    /// How its answers over RTU say how long they are.
    pub byte_count: ByteCount,
}

/// Which unit id the answers of a device bear on Modbus TCP. Over RTU and ASCII it is always the one that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnitEcho {
    /// The one it was asked under, as the standard has it.
    #[default]
    Asked,
    /// That, or 0 or 255: many devices that have no line behind them do not care. The transaction number still tells
    /// their answers apart.
    AskedOrNone,
}

/// How an answer to a read over RTU says how many bytes of data it has. Over Modbus TCP and ASCII it is always one byte:
/// whatever stands between such a line and the device speaks the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ByteCount {
    /// In one byte, as the standard has it.
    #[default]
    OneByte,
    /// In two bytes, the high one first; nothing else is different. Some lift controllers do that.
    TwoBytes,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            registers_max: 125,
            bits_max: 2_000,
            gap_max: None,
            holes: Vec::new(),
            blocks: Vec::new(),
            barriers: Vec::new(),
            alignment: Alignment::Any,
            one_point_a_request: false,
            silence_min: Duration::ZERO,
            interval_min: Duration::ZERO,
            response_max: Duration::from_millis(500),
            in_flight_max: 1,
            unit_echo: UnitEcho::Asked,
            byte_count: ByteCount::OneByte,
        }
    }
}

/// One address of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which table.
    pub table: Table,
    /// The address on the wire, zero based.
    pub address: u16,
}

/// Some neighbouring addresses of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// Which table.
    pub table: Table,
    /// The first address on the wire, zero based.
    pub address: u16,
    /// How many; at least 1.
    pub count: u16,
}

/// Where a request may begin and how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Alignment {
    /// Anywhere.
    #[default]
    Any,
    /// Address and count are even; the device refuses anything else.
    Even,
    /// The count is even where a 32-bit value is read; single registers may be read alone.
    EvenCountOfPairs,
}
