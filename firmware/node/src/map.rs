//! The register map: the one table of every Modbus register, coil and discrete input of the node.
//!
//! * The node answers from [`RULES`], the numbers of this table; the words ([`REGISTERS`]) are for the host only and are
//!   not linked into a firmware that does not name them.
//! * The table in `firmware/README.md` and the gateway's profile of the node are tested against [`REGISTERS`].
//! * Holding and input registers are one space: function codes 3 and 4 read the same registers.
//! * Values of more than one register have their high word first, and are written whole or not at all.
//! * A write names either settings (any run of neighbours, all or none are taken) or exactly one command.
//! * A row may repeat: the n-th (from 0) stands at `address + n * stride`.
//! * Addresses are never given to another meaning; a new meaning takes a new address and raises [`MAP_VERSION`].

/// Version of this map, read at address 0.
pub const MAP_VERSION: u16 = 2;
/// What register 1 says: "GN", the Guanjia field node.
pub const DEVICE_TYPE: u16 = 0x474E;
/// Pulse inputs, and with each of them one account of credit.
pub const CHANNELS: usize = 4;
/// Supervised dry contacts.
pub const CONTACTS: usize = 8;
/// Relay or valve outputs.
pub const OUTPUTS: usize = 4;
/// Windows of the week in which nobody is cut off.
pub const WINDOWS: usize = 4;
/// Characters of the build id.
pub const BUILD_ID_BYTES: usize = 16;

/// How the words of a register are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One register, unsigned.
    U16,
    /// Two registers, unsigned, high word first.
    U32,
    /// Two registers, two's complement, high word first.
    I32,
    /// Eight registers of two ASCII characters each, filled with spaces.
    Text,
    /// Four registers: purchase count (u32), then amount (i32).
    TopUp,
}

impl Kind {
    /// Registers of one value.
    pub const fn words(self) -> u16 {
        match self {
            Self::U16 => 1,
            Self::U32 | Self::I32 => 2,
            Self::TopUp => 4,
            Self::Text => 8,
        }
    }
}

/// What a master may do with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only; a write is answered with exception 2.
    Read,
    /// Read and written; kept in the journal before the write is answered.
    Setting,
    /// Read and written; a write makes the node do something.
    Command,
}

/// What the node itself needs of a row. Bounds are raw bits, compared by the row's kind.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Which value it is.
    pub id: Id,
    /// Address of its first register.
    pub address: u16,
    /// How often it repeats.
    pub repeat: u16,
    /// Registers from one repetition to the next.
    pub stride: u16,
    /// How its words are read.
    pub kind: Kind,
    /// What a master may do with it.
    pub access: Access,
    /// First of its words in the store of settings, when it is one.
    pub slot: u16,
    /// Least value a write may carry.
    pub min: u32,
    /// Greatest value a write may carry.
    pub max: u32,
    /// Value of a setting that was never written.
    pub default: u32,
}

impl Rule {
    /// Whether a value may be written here.
    pub const fn allows(&self, raw: u32) -> bool {
        match self.kind {
            Kind::I32 => raw as i32 >= self.min as i32 && raw as i32 <= self.max as i32,
            Kind::U16 | Kind::U32 | Kind::Text | Kind::TopUp => raw >= self.min && raw <= self.max,
        }
    }
}

/// A row of the map with everything a person or a gateway needs to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Name in the gateway's profile.
    pub name: &'static str,
    /// Address of its first register, counted from 0 as on the wire.
    pub address: u16,
    /// How often it repeats.
    pub repeat: u16,
    /// Registers from one repetition to the next.
    pub stride: u16,
    /// How its words are read.
    pub kind: Kind,
    /// What a master may do with it.
    pub access: Access,
    /// Least and greatest value a write may carry.
    pub range: (i64, i64),
    /// Value of a setting that was never written.
    pub default: i64,
    /// Unit of the value after scaling; empty for counts, codes and bits.
    pub unit: &'static str,
    /// What the raw value is multiplied with to give the unit.
    pub scale: &'static str,
    /// What it is, with its codes.
    pub doc: &'static str,
}

macro_rules! access {
    (read) => {
        (Access::Read, 0, 0, 0)
    };
    (set $min:literal to $max:literal, $default:literal) => {
        (Access::Setting, $min as i64, $max as i64, $default as i64)
    };
    (cmd $min:literal to $max:literal) => {
        (Access::Command, $min as i64, $max as i64, 0)
    };
}

macro_rules! map {
    ($($id:ident $name:literal @ $address:literal x $repeat:literal by $stride:literal, $kind:ident ($($access:tt)+)
       $unit:literal $scale:literal, $doc:literal;)+) => {
        /// Every value of the map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Id {
            $(#[doc = $doc] $id,)+
        }

        /// The whole map, for people, the gateway and the tests.
        pub static REGISTERS: &[Register] = &[$({
            const ACCESS: (Access, i64, i64, i64) = access!($($access)+);
            Register {
                name: $name, address: $address, repeat: $repeat, stride: $stride, kind: Kind::$kind, access: ACCESS.0,
                range: (ACCESS.1, ACCESS.2), default: ACCESS.3, unit: $unit, scale: $scale, doc: $doc,
            }
        },)+];

        /// The numbers of the map, which the node answers from; in the order of [`Id`].
        pub static RULES: &[Rule] = &slots([$({
            const ACCESS: (Access, i64, i64, i64) = access!($($access)+);
            Rule {
                id: Id::$id, address: $address, repeat: $repeat, stride: $stride, kind: Kind::$kind, access: ACCESS.0,
                slot: 0, min: ACCESS.1 as u32, max: ACCESS.2 as u32, default: ACCESS.3 as u32,
            }
        },)+]);

        /// Words of all settings together.
        pub const SETTING_WORDS: usize = {
            let rows: &[(Access, u16, Kind)] = &[$((access!($($access)+).0, $repeat, Kind::$kind),)+];
            let mut words = 0;
            let mut row = 0;
            while row < rows.len() {
                if let (Access::Setting, repeat, kind) = rows[row] {
                    words += (repeat * kind.words()) as usize;
                }
                row += 1;
            }
            words
        };
    };
}

/// Gives every setting its place in the store, in the order of the table, when the crate is compiled.
const fn slots<const N: usize>(mut rules: [Rule; N]) -> [Rule; N] {
    let mut next = 0;
    let mut row = 0;
    while row < N {
        if matches!(rules[row].access, Access::Setting) {
            rules[row].slot = next;
            next += rules[row].repeat * rules[row].kind.words();
        }
        row += 1;
    }
    rules
}

map! {
    // The node itself.
    MapVersion "map_version" @ 0x0000 x 1 by 0, U16 (read) "" "1", "Version of this map.";
    DeviceType "device_type" @ 0x0001 x 1 by 0, U16 (read) "" "1", "0x474E (GN): the Guanjia field node.";
    BoardId "board_id" @ 0x0002 x 1 by 0, U16 (read) "" "1", "Board the firmware is built for; an update for another one is refused.";
    FirmwareVersion "firmware_version" @ 0x0003 x 1 by 0, U32 (read) "" "1", "Major, minor and patch: 0x00MMmmpp.";
    BuildId "build_id" @ 0x0005 x 1 by 0, Text (read) "" "1", "Build the image comes from, 16 ASCII characters.";
    ResetCause "reset_cause" @ 0x000D x 1 by 0, U16 (read) "" "1", "0 unknown, 1 power on, 2 reset input, 3 watchdog, 4 brown-out, 5 asked for over the bus, 6 fault of the program.";
    Uptime "uptime" @ 0x000E x 1 by 0, U32 (read) "s" "1", "Time since the last reset.";
    Boots "boots" @ 0x0010 x 1 by 0, U32 (read) "" "1", "Starts of this node, kept.";
    WatchdogResets "watchdog_resets" @ 0x0012 x 1 by 0, U16 (read) "" "1", "Starts that the watchdog caused, kept.";
    BrownOuts "brown_outs" @ 0x0013 x 1 by 0, U16 (read) "" "1", "Times the supply fell below its limit, kept.";
    StackHighWater "stack_high_water" @ 0x0014 x 1 by 0, U16 (read) "B" "1", "Most stack ever in use since the start; 0 when the board cannot tell.";
    Supply "supply_voltage" @ 0x0015 x 1 by 0, U16 (read) "V" "0.001", "Supply of the node; 0 when the board cannot tell.";
    Status "status" @ 0x0016 x 1 by 0, U16 (read) "" "1", "Bits: 0 supply low, 1 tamper now, 2 tamper since cleared, 3 gateway lost, 4 storage fault, 5 clock not set, 6 an output jammed, 7 state was lost (accounts held until topped up).";
    TamperEvents "tamper_events" @ 0x0017 x 1 by 0, U16 (read) "" "1", "Times the cover was opened, kept.";
    JournalFaults "journal_faults" @ 0x0018 x 1 by 0, U16 (read) "" "1", "Writes to the memory that could not be read back, kept.";
    JournalCommits "journal_commits" @ 0x0019 x 1 by 0, U32 (read) "" "1", "Sequence number of the last kept record of state: how worn the memory is.";
    FramesHandled "frames_handled" @ 0x001B x 1 by 0, U32 (read) "" "1", "Good frames for this node since the start.";
    CrcErrors "crc_errors" @ 0x001D x 1 by 0, U16 (read) "" "1", "Frames with a wrong CRC since the start.";
    FrameGaps "frame_gaps" @ 0x001E x 1 by 0, U16 (read) "" "1", "Frames with a pause above t1.5 inside since the start.";
    LineErrors "line_errors" @ 0x001F x 1 by 0, U16 (read) "" "1", "Parity, framing and overrun errors since the start.";
    Exceptions "exceptions" @ 0x0020 x 1 by 0, U16 (read) "" "1", "Exceptions answered since the start.";
    AddressInUse "address_in_use" @ 0x0021 x 1 by 0, U16 (read) "" "1", "Address of this node: of the DIP switches, or of the register when they are all off.";
    Jams "jams" @ 0x0022 x 1 by 0, U16 (read) "" "1", "Valve travels that did not end in time, kept.";

    // Supervised contacts.
    ContactState "contact_state" @ 0x0040 x 8 by 1, U16 (read) "" "1", "0 not used, 1 normal, 2 alarm, 3 open circuit, 4 short circuit, 5 not yet measured.";
    ContactChanges "contact_changes" @ 0x0048 x 8 by 1, U16 (read) "" "1", "Changes of state since the start; wraps.";
    ContactLevel "contact_level" @ 0x0050 x 8 by 1, U16 (read) "" "1", "Last measured level, 0..4095 of the reference.";
    ContactLatched "contact_latched" @ 0x0058 x 1 by 0, U16 (cmd 0 to 255) "" "1", "Bit n: contact n+1 was in alarm since cleared. Writing clears the bits that are written as 1.";

    // Channels: pulse input and account.
    Pulses "pulses" @ 0x0100 x 4 by 0x20, U32 (read) "" "1", "Pulses counted, kept; wraps at 4,294,967,296.";
    Balance "balance" @ 0x0102 x 4 by 0x20, I32 (read) "minor units" "1", "Balance of the account, rounded down.";
    BalanceFraction "balance_fraction" @ 0x0104 x 4 by 0x20, U16 (read) "minor units" "0.0001", "What is to be added to the balance, 0..9999.";
    CreditState "credit_state" @ 0x0105 x 4 by 0x20, U16 (read) "" "1", "0 not prepaid, 1 in credit, 2 low, 3 on emergency credit, 4 limit reached but held (friendly hours, exempt, clock not set, state lost), 5 cut.";
    PurchaseCount "purchase_count" @ 0x0106 x 4 by 0x20, U32 (read) "" "1", "Purchases applied; the next one carries this plus 1.";
    LastAmount "last_amount" @ 0x0108 x 4 by 0x20, I32 (read) "minor units" "1", "Amount of the last purchase applied.";
    TopUpResult "top_up_result" @ 0x010A x 4 by 0x20, U16 (read) "" "1", "Of the last top-up frame; after a start, of the last purchase: 0 none, 1 applied, 2 already applied, 3 wrong count, 4 over the hoarding limit, 5 count used with another amount, 6 amount not allowed, 7 not stored.";
    TopUpResultCount "top_up_result_count" @ 0x010B x 4 by 0x20, U32 (read) "" "1", "Purchase count of the frame that the result speaks of.";
    InputLevel "input_level" @ 0x010D x 4 by 0x20, U16 (read) "" "1", "Debounced level of the pulse input: 1 closed.";
    TopUpFrame "top_up_frame" @ 0x0110 x 4 by 0x20, TopUp (cmd 0 to 0) "" "1", "Purchase count (u32) and amount (i32, minor units; negative takes back), in one write. Reads the last ones applied.";
    EmergencyRequest "emergency_request" @ 0x0114 x 4 by 0x20, U16 (cmd 1 to 1) "" "1", "Writing 1 grants the emergency credit, once until repaid. Reads 1 while it is in use.";
    PulsePreset "pulse_preset" @ 0x0115 x 4 by 0x20, U32 (cmd 0 to 4294967295) "" "1", "Sets the count of pulses (meter replaced); charges nothing. Reads the count.";

    // Outputs.
    OutputState "output_state" @ 0x0180 x 4 by 8, U16 (read) "" "1", "0 unknown, 1 open, 2 closed, 3 opening, 4 closing, 5 jammed, 6 not used.";
    OutputCause "output_cause" @ 0x0181 x 4 by 8, U16 (read) "" "1", "Why: 0 kept, 1 command, 2 credit, 3 safe state at start, 4 safe state without gateway.";
    OutputCommand "output_command" @ 0x0182 x 4 by 8, U16 (cmd 0 to 2) "" "1", "0 none (keep), 1 open, 2 close. A cut for lack of credit and a safe state go before it.";
    OutputMoves "output_moves" @ 0x0183 x 4 by 8, U16 (read) "" "1", "Drives since the start; wraps.";

    OutputLimits "output_limits" @ 0x0184 x 4 by 8, U16 (read) "" "1", "Limit switches of a valve: bit 0 open end, bit 1 closed end.";
    OutputSupply "output_supply" @ 0x0185 x 4 by 8, U16 (read) "" "1", "The supply behind it, the same for relays and valves: 0 unknown, 1 cut, 2 passing, 3 being cut, 4 being restored, 5 jammed, 6 not used.";

    // Orders to the node.
    Clock "clock" @ 0x01C0 x 1 by 0, U32 (cmd 1 to 4294967295) "s" "1", "Local civil time as seconds since 1970-01-01 00:00; 0 = not set since the start.";
    Reboot "reboot" @ 0x01C2 x 1 by 0, U16 (cmd 0xB007 to 0xB007) "" "1", "Writing 0xB007 restarts the node after the answer.";
    ClearTamper "clear_tamper" @ 0x01C3 x 1 by 0, U16 (cmd 1 to 1) "" "1", "Writing 1 clears the tamper latch.";

    // Firmware update.
    UpdateState "update_state" @ 0x01D0 x 1 by 0, U16 (read) "" "1", "0 idle, 1 receiving, 2 verifying, 3 verified, 4 refused, 5 installing.";
    UpdateError "update_error" @ 0x01D1 x 1 by 0, U16 (read) "" "1", "0 none, 1 incomplete, 2 not an image of this kind, 3 other board, 4 not newer than the running one, 5 length, 6 CRC, 7 signature, 8 staging memory.";
    UpdateReceived "update_received" @ 0x01D2 x 1 by 0, U32 (read) "B" "1", "Bytes received without a gap; where to go on.";
    UpdateCapacity "update_capacity" @ 0x01D4 x 1 by 0, U32 (read) "B" "1", "Longest package this board can stage; 0 = no updates.";
    StagedVersion "staged_version" @ 0x01D6 x 1 by 0, U32 (read) "" "1", "Version of a verified package, 0x00MMmmpp; otherwise 0.";
    UpdateCommand "update_command" @ 0x01D8 x 1 by 0, U16 (cmd 1 to 4) "" "1", "1 begin (forgets what was staged), 2 verify, 3 install and restart, 4 abandon.";

    // Settings of the node.
    Address "address" @ 0x0200 x 1 by 0, U16 (set 1 to 247, 1) "" "1", "Address when the DIP switches are all off; in force after the answer.";
    Baud "baud" @ 0x0201 x 1 by 0, U16 (set 0 to 7, 3) "" "1", "0 1200, 1 2400, 2 4800, 3 9600, 4 19200, 5 38400, 6 57600, 7 115200 Bd; in force after the answer.";
    Parity "parity" @ 0x0202 x 1 by 0, U16 (set 0 to 2, 1) "" "1", "0 none (two stop bits), 1 even, 2 odd; in force after the answer.";
    GapCheck "gap_check" @ 0x0203 x 1 by 0, U16 (set 0 to 1, 0) "" "1", "1 drops frames with a pause above t1.5 inside; 0 only counts them, as converters put such pauses.";
    GatewayTimeout "gateway_timeout" @ 0x0204 x 1 by 0, U16 (set 0 to 65535, 0) "s" "1", "Silence after which the gateway counts as lost; 0 = never.";
    CommitInterval "commit_interval" @ 0x0205 x 1 by 0, U16 (set 10 to 3600, 60) "s" "1", "Longest time that counted pulses stay unsaved.";
    CommitPulses "commit_pulses" @ 0x0206 x 1 by 0, U16 (set 10 to 10000, 100) "" "1", "Most pulses of a channel that stay unsaved.";
    SupplyLow "supply_low" @ 0x0207 x 1 by 0, U16 (set 0 to 60000, 9000) "V" "0.001", "Below this everything is saved at once; 0 = not watched.";
    FriendlyUntil "friendly_until" @ 0x0208 x 1 by 0, U32 (set 0 to 4294967295, 0) "s" "1", "Nobody is cut before this local time (holidays).";
    WindowDays "window_days" @ 0x020A x 4 by 3, U16 (set 0 to 127, 0) "" "1", "Days on which friendly hours begin: bit 0 Monday .. bit 6 Sunday; 0 = window not used.";
    WindowFrom "window_from" @ 0x020B x 4 by 3, U16 (set 0 to 1439, 0) "min" "1", "Begin of the friendly hours after midnight.";
    WindowTo "window_to" @ 0x020C x 4 by 3, U16 (set 0 to 1440, 0) "min" "1", "End of the friendly hours; not after the begin = on the next day.";
    LevelShort "level_short" @ 0x0220 x 1 by 0, U16 (set 0 to 4095, 410) "" "1", "Levels below are a short circuit.";
    LevelMiddle "level_middle" @ 0x0221 x 1 by 0, U16 (set 0 to 4095, 1700) "" "1", "Parts the lower from the upper of the two good levels.";
    LevelOpen "level_open" @ 0x0222 x 1 by 0, U16 (set 0 to 4095, 2900) "" "1", "Levels from here on are an open circuit.";
    LevelHysteresis "level_hysteresis" @ 0x0223 x 1 by 0, U16 (set 0 to 200, 40) "" "1", "How far a level must go past a limit to leave its window.";
    ContactDebounce "contact_debounce" @ 0x0224 x 1 by 0, U16 (set 10 to 5000, 50) "s" "0.001", "How long a contact must stay in another window.";
    ContactMode "contact_mode" @ 0x0225 x 8 by 1, U16 (set 0 to 4, 0) "" "1", "0 not used, 1 supervised normally open (alarm is the lower level), 2 supervised normally closed (alarm is the upper level), 3 plain normally open, 4 plain normally closed.";

    // Settings of the channels.
    Debounce "debounce" @ 0x0280 x 4 by 0x20, U16 (set 1 to 250, 20) "s" "0.001", "How long the pulse input must be steady: 3 for 100 Hz, 20 for S0 and reed.";
    Prepaid "prepaid" @ 0x0281 x 4 by 0x20, U16 (set 0 to 1, 0) "" "1", "1 = pulses are charged to the account and an empty one is cut.";
    Exempt "exempt" @ 0x0282 x 4 by 0x20, U16 (set 0 to 1, 0) "" "1", "1 = never cut (fire pump, lift, medical).";
    SupplyOutput "supply_output" @ 0x0283 x 4 by 0x20, U16 (set 0 to 4, 0) "" "1", "Output that carries the supply of this channel; 0 none.";
    Price "price" @ 0x0284 x 4 by 0x20, U32 (set 0 to 1000000000, 0) "minor units" "0.0001", "Price of one pulse.";
    HoardingLimit "hoarding_limit" @ 0x0286 x 4 by 0x20, I32 (set 0 to 1000000000, 1000000) "minor units" "1", "A top-up above this balance is refused.";
    WarningLevel "warning_level" @ 0x0288 x 4 by 0x20, I32 (set -1000000000 to 1000000000, 2000) "minor units" "1", "At or below, the account is low.";
    CutLimit "cut_limit" @ 0x028A x 4 by 0x20, I32 (set -1000000000 to 1000000000, 0) "minor units" "1", "At or below, the supply is cut.";
    EmergencyLimit "emergency_limit" @ 0x028C x 4 by 0x20, I32 (set 0 to 1000000000, 0) "minor units" "1", "Emergency credit below the cut limit; 0 = none.";

    // Settings of the outputs.
    OutputKind "output_kind" @ 0x0300 x 4 by 8, U16 (set 0 to 2, 0) "" "1", "0 not used, 1 latching relay, 2 motor valve.";
    PulseWidth "pulse_width" @ 0x0301 x 4 by 8, U16 (set 10 to 2000, 100) "s" "0.001", "How long a coil of the relay is driven.";
    TravelTime "travel_time" @ 0x0302 x 4 by 8, U16 (set 1 to 300, 30) "s" "1", "Longest time from one end of the valve to the other.";
    LimitInputs "limit_inputs" @ 0x0303 x 4 by 8, U16 (set 0 to 1, 0) "" "1", "1 = the valve has limit switches: not reaching one in time is a jam.";
    BootState "boot_state" @ 0x0304 x 4 by 8, U16 (set 0 to 2, 0) "" "1", "Safe state at start: 0 keep, 1 open, 2 close.";
    LostState "lost_state" @ 0x0305 x 4 by 8, U16 (set 0 to 2, 0) "" "1", "Safe state without gateway: 0 keep, 1 open, 2 close.";
}

/// A coil or discrete input.
#[derive(Clone, Copy, Debug)]
pub struct Bit {
    /// Name in the gateway's profile.
    pub name: &'static str,
    /// Address of the first.
    pub address: u16,
    /// How many follow each other.
    pub repeat: u16,
    /// What 1 means.
    pub doc: &'static str,
}

/// Coils, read with function code 1 and written with 5 and 15.
pub static COILS: &[Bit] = &[Bit {
    name: "output",
    address: 0,
    repeat: OUTPUTS as u16,
    doc: "1 = passing: relay closed, valve open. Reads the state, writes the command.",
}];

/// Discrete inputs, read with function code 2.
pub static DISCRETE_INPUTS: &[Bit] = &[
    Bit { name: "contact_alarm", address: 0, repeat: CONTACTS as u16, doc: "Contact in alarm." },
    Bit { name: "contact_fault", address: 8, repeat: CONTACTS as u16, doc: "Contact with an open or short circuit." },
    Bit { name: "status", address: 16, repeat: 16, doc: "The bits of the status register." },
    Bit { name: "credit_low", address: 32, repeat: CHANNELS as u16, doc: "Account low or worse." },
    Bit { name: "credit_cut", address: 36, repeat: CHANNELS as u16, doc: "Account cut." },
];

/// Number of coils.
pub const COIL_COUNT: u16 = OUTPUTS as u16;
/// Number of discrete inputs.
pub const DISCRETE_COUNT: u16 = 40;

/// The rule of a value.
pub fn rule(id: Id) -> Option<&'static Rule> {
    RULES.get(id as usize)
}

/// The value that has its first register at an address, and which of its repetitions.
pub fn at(address: u16) -> Option<(&'static Rule, u16)> {
    RULES.iter().find_map(|rule| repetition(rule, address).filter(|(_, word)| *word == 0).map(|(n, _)| (rule, n)))
}

/// The value an address belongs to, which of its repetitions, and which of its words.
pub fn containing(address: u16) -> Option<(&'static Rule, u16, u16)> {
    RULES.iter().find_map(|rule| repetition(rule, address).map(|(n, word)| (rule, n, word)))
}

fn repetition(rule: &Rule, address: u16) -> Option<(u16, u16)> {
    let mut offset = address.checked_sub(rule.address)?;
    for n in 0..rule.repeat {
        if offset < rule.kind.words() {
            return Some((n, offset));
        }
        offset = offset.checked_sub(rule.stride)?;
    }
    None
}

#[cfg(test)]
mod tests;
