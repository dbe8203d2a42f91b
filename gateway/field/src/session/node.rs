//! A field node in the hands of a person: its identity, its registers, its orders and its files.
//!
//! * The one part of a session that writes. It exists only for a unit that has answered, on this very line, that it is a
//!   field node: [`NodeSession::meet`] reads what kind of device it is first, so that a wrong address never makes a
//!   technician write into a fire panel.
//! * What may be written is what the node's own register map says; the node keeps its ranges itself. A write is sent
//!   again after a lost answer, as every order of the map may be.
//! * A frame of a file that arrived twice counts once; the node says how far it has come.

use guanjia_core::profile::Table;
use guanjia_node::map::{self, Id};

use super::{Answered, Content, Patience, ReadOf, Session, SessionError};
use crate::frame::{FILE_READ_MAX, FILE_WRITE_MAX, Identity, RECORDS_MAX, Reply, Request, Write};

/// Pieces an identity may come in: one an object, and nobody has more than the standard's 7 and some of his own.
const IDENTITY_PIECES_MAX: usize = 32;

/// Access code of the basic, regular and extended objects (Modbus Application Protocol V1.1b3, 6.21).
const REGULAR: u8 = 2;

/// Registers of one read of a map.
const READ_MAX: u16 = 120;

/// A field node on a line.
pub struct NodeSession {
    session: Session,
    unit: u8,
    patience: Patience,
}

impl NodeSession {
    /// Makes sure that a unit is a field node of a map this program knows.
    ///
    /// # Errors
    /// [`SessionError::NoNode`] if it is something else.
    pub async fn meet(session: Session, unit: u8, patience: Patience) -> Result<Self, SessionError> {
        let mut node = Self { session, unit, patience };
        let said = node.read(0, 2).await.map_err(|error| match error {
            SessionError::Refused { .. } => SessionError::NoNode { unit },
            other => other,
        })?;
        match said.as_slice() {
            [_, map::DEVICE_TYPE] => Ok(node),
            _ => Err(SessionError::NoNode { unit }),
        }
    }

    /// Its address.
    pub fn unit(&self) -> u8 {
        self.unit
    }

    /// Gives the line back.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// Holding registers, in as many reads as it takes.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn read(&mut self, address: u16, count: u16) -> Result<Vec<u16>, SessionError> {
        let mut words = Vec::with_capacity(usize::from(count));
        let mut at = 0;
        while at < count {
            let part = (count - at).min(READ_MAX);
            let address = address.checked_add(at).ok_or(SessionError::Impossible("no such register"))?;
            let read = ReadOf { unit: self.unit, table: Table::Holding, address, count: part };
            match self.session.read(read, self.patience).await? {
                Answered { content: Content::Words(part), .. } => words.extend(part),
                Answered { content: Content::Bits(_), .. } => return Err(self.garbled()),
            }
            at += part;
        }
        Ok(words)
    }

    /// The raw value of the n-th (from 0) of the values with this id: the words of it as one number, high word first.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn value(&mut self, id: Id, n: u16) -> Result<u32, SessionError> {
        let rule = map::rule(id).ok_or(SessionError::Impossible("no such register"))?;
        let words = self.read(rule.address + n * rule.stride, rule.kind.words().min(2)).await?;
        Ok(words.iter().fold(0, |value, word| value << 16 | u32::from(*word)))
    }

    /// Writes the raw value of the n-th (from 0) of the values with this id.
    ///
    /// # Errors
    /// [`SessionError::Refused`] if the node does not take it; what is not answered may have been taken.
    pub async fn write(&mut self, id: Id, n: u16, raw: u32) -> Result<(), SessionError> {
        let rule = map::rule(id).ok_or(SessionError::Impossible("no such register"))?;
        let [high, low] = [raw >> 16, raw & 0xFFFF].map(|word| word as u16);
        let words = if rule.kind.words() == 1 { vec![low] } else { vec![high, low] };
        let request = Request::Write(Write::Registers { address: rule.address + n * rule.stride, words });
        self.carry_out(&request).await.map(drop)
    }

    /// Writes once, without a second try: for what the node does not answer twice, such as a new address.
    ///
    /// # Errors
    /// As [`NodeSession::write`].
    pub async fn write_once(&mut self, id: Id, raw: u32) -> Result<(), SessionError> {
        let patience = self.patience;
        self.patience.attempts = 1;
        let written = self.write(id, 0, raw).await;
        self.patience = patience;
        written
    }

    /// What the node calls itself (function 43, type 14): objects with their ids, as text.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn identity(&mut self) -> Result<Vec<(u8, String)>, SessionError> {
        let (mut object, mut objects) = (0, Vec::new());
        for _ in 0..IDENTITY_PIECES_MAX {
            let Reply::Identity(Identity { next, objects: piece }) =
                self.carry_out(&Request::Identify { access: REGULAR, object }).await?
            else {
                return Err(self.garbled());
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(['\0', ' ']).to_owned();
            objects.extend(piece.iter().map(|(id, bytes)| (*id, text(bytes))));
            match next {
                Some(next) if next > object => object = next,
                Some(_) => return Err(self.garbled()),
                None => return Ok(objects),
            }
        }
        Err(self.garbled())
    }

    /// Reads records of a file (function 20), at most [`FILE_READ_MAX`].
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn read_file(&mut self, file: u16, record: u16, count: u16) -> Result<Vec<u16>, SessionError> {
        if count == 0 || count > FILE_READ_MAX || record >= RECORDS_MAX || count > RECORDS_MAX - record {
            return Err(SessionError::Impossible("a file read brings 1 to 121 records of a file's 10000"));
        }
        match self.carry_out(&Request::ReadFile { file, record, count }).await? {
            Reply::Words(words) => Ok(words),
            _ => Err(self.garbled()),
        }
    }

    /// Writes records of a file (function 21), at most [`FILE_WRITE_MAX`].
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn write_file(&mut self, file: u16, record: u16, words: Vec<u16>) -> Result<(), SessionError> {
        let fits = u16::try_from(words.len()).is_ok_and(|count| record < RECORDS_MAX && count <= RECORDS_MAX - record);
        if words.is_empty() || words.len() > FILE_WRITE_MAX || !fits {
            return Err(SessionError::Impossible("a file write takes 1 to 122 records of a file's 10000"));
        }
        self.carry_out(&Request::WriteFile { file, record, words }).await.map(drop)
    }

    fn garbled(&self) -> SessionError {
        SessionError::Garbled { unit: self.unit }
    }

    /// Asks as often as the patience allows. What is asked here may be asked again: the answer to it names it, or is the
    /// same for every copy.
    async fn carry_out(&mut self, request: &Request) -> Result<Reply, SessionError> {
        let mut last = self.garbled();
        for _ in 0..self.patience.attempts.max(1) {
            self.session.settle(self.unit, request, self.patience, &bridges()).await?;
            match self.session.once(self.unit, request, self.patience).await {
                Ok((Reply::Exception(code), _)) => return Err(SessionError::Refused { unit: self.unit, code }),
                Ok((reply, _)) => return Ok(reply),
                Err(
                    error @ (SessionError::Silent { .. } | SessionError::Garbled { .. } | SessionError::Cut { .. }),
                ) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// Reads of several lengths that every node has: an answer to one of them shows that older answers are past.
fn bridges() -> Vec<Request> {
    [1, 3, 5, 7].map(|count| Request::Read { table: Table::Holding, address: 0, count }).to_vec()
}
