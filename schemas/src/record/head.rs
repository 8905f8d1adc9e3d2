//! The part of a record that the fold needs, read without the tables and changes.

use super::{
    Body, FoldState, Header, Heartbeat, PreparedHead, Record, RecordError, RowsHead, Snapshot,
    Start, TransactionHead,
    envelope::{Branch, Opened, open},
};

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
    XaPrepared(PreparedHead),
    Snapshot(Snapshot),
    SnapshotRows(RowsHead),
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
            Body::XaPrepared(prepared) => HeadBody::XaPrepared(prepared.into()),
            Body::Snapshot(snapshot) => HeadBody::Snapshot(snapshot.clone()),
            Body::SnapshotRows(rows) => HeadBody::SnapshotRows(rows.head.clone()),
        };
        Self {
            header: record.header,
            body,
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let Opened {
            header,
            branch,
            version,
            mut input,
        } = open(bytes)?;
        let body = match branch {
            Branch::Start => HeadBody::Start(Start::take(&mut input, version)?),
            Branch::Checkpoint => HeadBody::Checkpoint(FoldState::take(&mut input, version)?),
            Branch::Heartbeat => HeadBody::Heartbeat(Heartbeat::take(&mut input, version)?),
            Branch::Snapshot => HeadBody::Snapshot(Snapshot::take(&mut input, version)?),
            // The rest of these is not read.
            Branch::WriteSet => {
                let head = TransactionHead::take(&mut input, version)?;
                return Ok(Self {
                    header,
                    body: HeadBody::WriteSet(head),
                });
            }
            Branch::Ddl => {
                let head = TransactionHead::take(&mut input, version)?;
                return Ok(Self {
                    header,
                    body: HeadBody::Ddl(head),
                });
            }
            Branch::XaPrepared => {
                let head = PreparedHead::take(&mut input, version)?;
                return Ok(Self {
                    header,
                    body: HeadBody::XaPrepared(head),
                });
            }
            Branch::SnapshotRows => {
                let head = RowsHead::take(&mut input, version)?;
                return Ok(Self {
                    header,
                    body: HeadBody::SnapshotRows(head),
                });
            }
        };
        input.finish()?;
        Ok(Self { header, body })
    }

    /// Of the transaction that the record is a chunk of.
    pub fn transaction(&self) -> Option<&TransactionHead> {
        match &self.body {
            HeadBody::WriteSet(chunk) | HeadBody::Ddl(chunk) => Some(chunk),
            HeadBody::XaPrepared(prepared) => Some(&prepared.transaction),
            HeadBody::Start(_)
            | HeadBody::Checkpoint(_)
            | HeadBody::Heartbeat(_)
            | HeadBody::Snapshot(_)
            | HeadBody::SnapshotRows(_) => None,
        }
    }
}
