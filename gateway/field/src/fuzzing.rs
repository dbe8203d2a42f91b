//! The door through which the fuzz targets reach the judges of everything that comes from a bus. Nothing else uses it.
//!
//! The judges are private, because nobody but `bus` may believe a frame. What comes out here says the same in public
//! words; whether it is right is checked by the targets (`fuzz/src/targets.rs`), which know the formats by themselves.

use guanjia_core::profile::Table;

use crate::frame::{self, Form, Framing, Reply, Request, Verdict, Write};

/// The longest frame of any kind.
pub const FRAME_MAX: usize = frame::FRAME_MAX;

/// The envelope of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Modbus RTU.
    Rtu,
    /// Modbus TCP.
    Mbap,
    /// Modbus ASCII.
    Ascii,
}

impl Envelope {
    fn framing(self) -> Framing {
        match self {
            Envelope::Rtu => Framing::Rtu,
            Envelope::Mbap => Framing::Mbap,
            Envelope::Ascii => Framing::Ascii,
        }
    }
}

/// What was asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// A read.
    Read(Table, u16, u16),
    /// Function 16.
    Write(u16, Vec<u16>),
}

impl Question {
    fn request(&self) -> Request {
        match self {
            Question::Read(table, address, count) => Request::Read { table: *table, address: *address, count: *count },
            Question::Write(address, words) => {
                Request::Write(Write::Registers { address: *address, words: words.clone() })
            }
        }
    }
}

/// A verdict on bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// So many bytes are needed before anything is said.
    Need(usize),
    /// Registers.
    Words(Vec<u16>),
    /// Coils or inputs.
    Bits(Vec<bool>),
    /// The echo of a write.
    Written,
    /// An exception.
    Exception(u8),
    /// A whole frame of another transaction, so long.
    Skip(usize),
    /// Not the answer.
    Rejected,
}

/// The frame of a question.
pub fn encode(envelope: Envelope, tid: u16, unit: u8, question: &Question) -> Vec<u8> {
    frame::encode(envelope.framing(), tid, unit, &question.request())
}

/// The verdict on `bytes` as the answer to a question.
pub fn judge(envelope: Envelope, tid: u16, unit: u8, question: &Question, bytes: &[u8]) -> Judged {
    match frame::judge(envelope.framing(), tid, unit, &question.request(), bytes) {
        Verdict::Need(total) => Judged::Need(total),
        Verdict::Reply(Reply::Words(words)) => Judged::Words(words),
        Verdict::Reply(Reply::Bits(bits)) => Judged::Bits(bits),
        Verdict::Reply(Reply::Written) => Judged::Written,
        Verdict::Reply(Reply::Exception(code)) => Judged::Exception(code),
        Verdict::Skip(total) => Judged::Skip(total),
        // No question here asks for one.
        Verdict::Reply(Reply::Identity(_)) | Verdict::Reject(_) => Judged::Rejected,
    }
}

/// What rejected bytes are: how many are needed to say it, or the length of the whole frame they begin with; `None` if
/// they are noise.
pub fn form_of(envelope: Envelope, bytes: &[u8]) -> Option<Result<usize, usize>> {
    match frame::form_of(envelope.framing(), bytes) {
        Form::Need(total) => Some(Err(total)),
        Form::Frame { total, .. } => Some(Ok(total)),
        Form::Noise => None,
    }
}
