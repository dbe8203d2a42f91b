//! Where a value stands in a Modbus device, and how its words are read.

use serde::{Deserialize, Serialize};

/// The four tables of the Modbus data model (Modbus Application Protocol V1.1b3, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// Read with function 01.
    Coil,
    /// Read with function 02.
    DiscreteInput,
    /// Read with function 03.
    Holding,
    /// Read with function 04.
    Input,
}

impl Table {
    /// All four, in the order of their functions.
    pub const ALL: [Table; 4] = [Table::Coil, Table::DiscreteInput, Table::Holding, Table::Input];

    /// The function code that reads it.
    pub fn read_function(self) -> u8 {
        match self {
            Table::Coil => 1,
            Table::DiscreteInput => 2,
            Table::Holding => 3,
            Table::Input => 4,
        }
    }

    /// Whether one address is one bit (otherwise one 16-bit register).
    pub fn is_bits(self) -> bool {
        matches!(self, Table::Coil | Table::DiscreteInput)
    }
}

/// How the words of one value are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WireType {
    /// One bit: of a coil or discrete input, or bit `bit` of a register.
    Bit,
    /// Unsigned, the more significant byte of a register.
    U8High,
    /// Unsigned, the less significant byte of a register.
    U8Low,
    /// Two's complement, the more significant byte of a register.
    I8High,
    /// Two's complement, the less significant byte of a register.
    I8Low,
    /// Unsigned 16 bit.
    U16,
    /// Two's complement 16 bit.
    I16,
    /// Unsigned 32 bit, two registers.
    U32,
    /// Two's complement 32 bit, two registers.
    I32,
    /// Unsigned 48 bit, three registers.
    U48,
    /// Unsigned 64 bit, four registers.
    U64,
    /// Two's complement 64 bit, four registers.
    I64,
    /// IEEE 754 binary16, one register.
    F16,
    /// IEEE 754 binary32, two registers.
    F32,
    /// IEEE 754 binary64, four registers.
    F64,
    /// Packed binary-coded decimal of one to four registers; a nibble above 9 is an error, never a zero.
    Bcd,
    /// Two to four registers of at most 9,999 each, a number to the base of 10,000; bit 15 of the first one is the
    /// sign (ION meters). A register above 9,999 is an error.
    Mod10k,
    /// SunSpec's accumulator: unsigned 32 bit, and zero means "not there".
    Acc32,
    /// SunSpec's scale factor: a power of ten from -10 to 10, and 0x8000 means "not there".
    #[serde(rename = "sunssf")]
    SunSsf,
    /// ASCII, two characters a register, trailing NUL and space removed.
    Ascii,
    /// ASCII, one character a register, in its less significant byte.
    AsciiWide,
    /// A date and time, one field a byte in binary-coded decimal; [`Registers::fields`] says which.
    TimeBcd,
    /// A date and time, one field a byte in binary; [`Registers::fields`] says which.
    TimeBinary,
    /// The words as they are, in hexadecimal: for what a person or a support engineer reads.
    Raw,
}

impl WireType {
    /// How many registers (or bits) a value takes. `None` where the profile has to say.
    pub fn count(self) -> Option<u16> {
        use WireType::*;
        match self {
            Bit | U8High | U8Low | I8High | I8Low | U16 | I16 | F16 | SunSsf => Some(1),
            U32 | I32 | F32 | Acc32 => Some(2),
            U48 => Some(3),
            U64 | I64 | F64 => Some(4),
            Bcd | Mod10k | Ascii | AsciiWide | TimeBcd | TimeBinary | Raw => None,
        }
    }

    /// Whether the value is a line of text and can neither be scaled nor compared with a number.
    pub fn is_text(self) -> bool {
        use WireType::*;
        matches!(self, Ascii | AsciiWide | TimeBcd | TimeBinary | Raw)
    }

    /// Whether the device sends a binary fraction.
    pub fn is_float(self) -> bool {
        matches!(self, WireType::F16 | WireType::F32 | WireType::F64)
    }

    /// Whether the value is an unsigned number of which a mask can keep some bits.
    pub fn takes_mask(self) -> bool {
        use WireType::*;
        matches!(self, U8High | U8Low | U16 | U32 | U48 | U64)
    }
}

/// Which half of a register comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Most significant first, as the Modbus specification has it.
    #[default]
    Big,
    /// Least significant first.
    Little,
}

/// Which register of a value comes first. For a value of the bytes A (most significant) to H and the byte order "big":
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WordOrder {
    /// AB CD EF GH: most significant first.
    #[default]
    Big,
    /// GH EF CD AB: least significant first.
    Little,
    /// CD AB GH EF: the halves of 64 bits in order, the two registers of each swapped.
    SwappedInPairs,
    /// EF GH AB CD: the halves of 64 bits swapped, the two registers of each in order.
    SwappedPairs,
}

impl WordOrder {
    /// All of them; the last two differ from the others for four registers only.
    pub const ALL: [WordOrder; 4] =
        [WordOrder::Big, WordOrder::Little, WordOrder::SwappedInPairs, WordOrder::SwappedPairs];

    /// The place among the `count` received registers of the one that is `i`th in significance, 0 being the most
    /// significant.
    pub fn place(self, i: usize, count: usize) -> usize {
        match self {
            WordOrder::Big => i,
            WordOrder::Little => (count - 1).saturating_sub(i),
            // An odd last register has no neighbour to be swapped with.
            WordOrder::SwappedInPairs if i == count - 1 && count % 2 == 1 => i,
            WordOrder::SwappedInPairs => i ^ 1,
            WordOrder::SwappedPairs if count == 4 => i ^ 2,
            WordOrder::SwappedPairs => i,
        }
    }
}

/// What one byte of a date and time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeField {
    /// The last two digits of 2000 to 2099.
    Year,
    /// 1 to 12.
    Month,
    /// 1 to 31.
    Day,
    /// 0 to 23.
    Hour,
    /// 0 to 59.
    Minute,
    /// 0 to 59.
    Second,
    /// Anything else, such as the day of the week.
    Other,
}

/// The place and the form of a value in a Modbus device.
#[derive(Clone, Debug, PartialEq)]
pub struct Registers {
    /// Which table.
    pub table: Table,
    /// The address on the wire, zero based; not the document's 4xxxx number.
    pub address: u16,
    /// How many registers (or bits) it occupies.
    pub count: u16,
    /// How to read them.
    pub wire: WireType,
    /// Which byte of a register comes first.
    pub bytes: Order,
    /// Which register of a value comes first.
    pub words: WordOrder,
    /// For [`WireType::Bit`] in a register: 0 is the least significant.
    pub bit: Option<u8>,
    /// Bits of an unsigned integer to keep, moved down until the lowest of them is bit 0; before scaling.
    pub mask: Option<u64>,
    /// Raw values, unsigned and before scaling, with which the device says "no value".
    pub invalid: Vec<u64>,
    /// For dates and times: what each byte is, in the order they have once [`Registers::bytes`] is applied.
    pub fields: Vec<TimeField>,
}

impl Registers {
    /// A value of this type there, most significant byte and word first and without "no value". Types whose length
    /// the profile has to say get one register; set `count`.
    pub fn new(table: Table, address: u16, wire: WireType) -> Self {
        Self {
            table,
            address,
            count: wire.count().unwrap_or(1),
            wire,
            bytes: Order::Big,
            words: WordOrder::Big,
            bit: None,
            mask: None,
            invalid: Vec::new(),
            fields: Vec::new(),
        }
    }
}
