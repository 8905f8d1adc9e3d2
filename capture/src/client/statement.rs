//! One SELECT in the binary protocol, its rows lent one by one: numbers with all their bits, dates by their parts.
//!
//! ```text
//! COM_STMT_PREPARE 16 | text         00 | statement u32 | columns u16 | parameters u16 | ...
//! COM_STMT_EXECUTE 17 | statement u32 | flags u8 | 1 u32
//! column           lenenc strings: catalog, schema, table, its name, column, its name | 0C | charset u16 | length u32 | type u8 | flags u16
//! row              00 | bitmap of NULLs from bit 2 | values
//! ```
//!
//! (manual, "Binary Protocol Resultset".) The text has its values in it: there are no parameters.

use super::{
    Connection,
    answer::{self, Malformed},
    err, is_eof,
};
use crate::error::CaptureError;

const COM_STMT_PREPARE: u8 = 0x16;
const COM_STMT_EXECUTE: u8 = 0x17;
const COM_STMT_CLOSE: u8 = 0x19;

/// How a column of the answer is written: its type's code, and whether it is unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireColumn {
    pub code: u8,
    pub unsigned: bool,
}

/// A SELECT that is running. Its rows are to be read to the end, or the connection is of no more use.
#[derive(Debug)]
pub(crate) struct Selecting {
    statement: u32,
    pub columns: Vec<WireColumn>,
}

impl Connection {
    /// Prepares and executes a SELECT. After an answer of the server (`Refused`, …) the connection can be used again.
    pub(crate) async fn select(&mut self, sql: &str) -> Result<Selecting, CaptureError> {
        let mut command = Vec::with_capacity(1 + sql.len());
        command.push(COM_STMT_PREPARE);
        command.extend_from_slice(sql.as_bytes());
        self.command(&command).await?;
        let packet = self.packet().await?;
        if let Some(error) = err(packet) {
            return Err(CaptureError::answered(&self.server, &self.user, error));
        }
        let Some((statement, columns, 0)) = prepared(packet) else {
            return Err(self.malformed(Malformed("no answer to a prepared SELECT")));
        };
        for _ in 0..columns {
            self.packet().await?;
        }
        if columns > 0 && !is_eof(self.packet().await?) {
            return Err(self.malformed(Malformed("no end of the column definitions")));
        }
        let mut command = vec![COM_STMT_EXECUTE];
        command.extend_from_slice(&statement.to_le_bytes());
        command.extend_from_slice(&[0, 1, 0, 0, 0]);
        self.command(&command).await?;
        let packet = self.packet().await?;
        if let Some(error) = err(packet) {
            let error = CaptureError::answered(&self.server, &self.user, error);
            self.discard(statement).await?;
            return Err(error);
        }
        let count = answer::column_count(packet).map_err(|malformed| self.malformed(malformed))?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            match wire_column(self.packet().await?) {
                Some(column) => columns.push(column),
                None => return Err(self.malformed(Malformed("short column definition"))),
            }
        }
        if !is_eof(self.packet().await?) {
            return Err(self.malformed(Malformed("no end of the column definitions")));
        }
        Ok(Selecting { statement, columns })
    }

    /// The next row, without its first byte: bitmap of NULLs and values. `None` at the end; the statement is closed then.
    pub(crate) async fn row(
        &mut self,
        selecting: &Selecting,
    ) -> Result<Option<&[u8]>, CaptureError> {
        while !self.ready()? {
            self.fill(self.timeouts.read).await?;
        }
        // The borrow of a packet that is lent can't end early in one branch only; so what it is, is asked twice.
        enum Kind {
            Row,
            End,
            Error(crate::error::ServerError),
            Broken,
        }
        let kind = {
            let packet = self.frames.peek();
            match (err(packet), packet.first()) {
                (Some(error), _) => Kind::Error(error),
                (None, _) if is_eof(packet) => Kind::End,
                (None, Some(0)) => Kind::Row,
                _ => Kind::Broken,
            }
        };
        match kind {
            Kind::Row => Ok(self.take().get(1..)),
            Kind::End => {
                self.take();
                self.discard(selecting.statement).await?;
                Ok(None)
            }
            Kind::Error(error) => {
                self.take();
                let error = CaptureError::answered(&self.server, &self.user, error);
                self.discard(selecting.statement).await?;
                Err(error)
            }
            Kind::Broken => Err(self.malformed(Malformed("a row that is none"))),
        }
    }

    /// The server does not answer to that.
    async fn discard(&mut self, statement: u32) -> Result<(), CaptureError> {
        let mut command = vec![COM_STMT_CLOSE];
        command.extend_from_slice(&statement.to_le_bytes());
        self.command(&command).await
    }
}

fn prepared(packet: &[u8]) -> Option<(u32, u16, u16)> {
    let rest = packet.strip_prefix(&[0])?;
    let (statement, rest) = rest.split_first_chunk::<4>()?;
    let (columns, rest) = rest.split_first_chunk::<2>()?;
    let (parameters, _) = rest.split_first_chunk::<2>()?;
    Some((
        u32::from_le_bytes(*statement),
        u16::from_le_bytes(*columns),
        u16::from_le_bytes(*parameters),
    ))
}

fn wire_column(packet: &[u8]) -> Option<WireColumn> {
    let mut rest = packet;
    for _names in 0..6 {
        (_, rest) = answer::bytes(rest)?;
    }
    // Length of what follows, character set, length.
    let rest = rest.get(1 + 2 + 4..)?;
    let (&code, rest) = rest.split_first()?;
    let (flags, _) = rest.split_first_chunk::<2>()?;
    const UNSIGNED: u16 = 32;
    Some(WireColumn {
        code,
        unsigned: u16::from_le_bytes(*flags) & UNSIGNED != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn garbage_never_panics(packet in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (prepared(&packet), wire_column(&packet));
        }
    }
}
