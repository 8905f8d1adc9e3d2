//! The part of a record that the fold needs, read without the tables and changes.

use super::{
    Body, FoldState, Header, Heartbeat, Record, RecordError, Start, Transaction,
    envelope::{Branch, open},
    transaction::{take_gtid, take_u32},
};
use crate::{avro::Reader, gtid::Gtid};

/// A record without what only an applier needs. Decoding one does not read (or check) the rest of a write-set or a DDL statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub header: Header,
    pub body: HeadBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadBody {
    Start(Start),
    WriteSet(TransactionHead),
    Ddl(TransactionHead),
    Checkpoint(FoldState),
    Heartbeat(Heartbeat),
}

/// See [`Transaction`](super::Transaction) for the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionHead {
    pub gtid: Gtid,
    pub original_commit_us: u64,
    pub immediate_commit_us: u64,
    pub chunk: u32,
    pub last: bool,
}

impl Head {
    /// Of a record that is there whole.
    pub fn of(record: &Record<'_>) -> Self {
        let body = match &record.body {
            Body::Start(start) => HeadBody::Start(start.clone()),
            Body::WriteSet(write_set) => HeadBody::WriteSet((&write_set.transaction).into()),
            Body::Ddl(ddl) => HeadBody::Ddl((&ddl.transaction).into()),
            Body::Checkpoint(state) => HeadBody::Checkpoint(state.clone()),
            Body::Heartbeat(heartbeat) => HeadBody::Heartbeat(heartbeat.clone()),
        };
        Self {
            header: record.header,
            body,
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (header, branch, mut input) = open(bytes)?;
        let body = match branch {
            Branch::Start => HeadBody::Start(Start::take(&mut input)?),
            Branch::Checkpoint => HeadBody::Checkpoint(FoldState::take(&mut input)?),
            Branch::Heartbeat => HeadBody::Heartbeat(Heartbeat::take(&mut input)?),
            Branch::WriteSet => {
                let head = TransactionHead::take(&mut input)?;
                return Ok(Self {
                    header,
                    body: HeadBody::WriteSet(head),
                });
            }
            Branch::Ddl => {
                let head = TransactionHead::take(&mut input)?;
                return Ok(Self {
                    header,
                    body: HeadBody::Ddl(head),
                });
            }
        };
        input.finish()?;
        Ok(Self { header, body })
    }
}

impl From<&Transaction> for TransactionHead {
    fn from(transaction: &Transaction) -> Self {
        Self {
            gtid: transaction.gtid,
            original_commit_us: transaction.original_commit_us,
            immediate_commit_us: transaction.immediate_commit_us,
            chunk: transaction.chunk,
            last: transaction.last,
        }
    }
}

impl TransactionHead {
    fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            gtid: take_gtid(input)?,
            original_commit_us: input.unsigned()?,
            immediate_commit_us: input.unsigned()?,
            chunk: take_u32(input)?,
            last: input.boolean()?,
        })
    }
}
