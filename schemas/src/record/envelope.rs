//! The envelope around a record's body.
//!
//! ```text
//! fixed 16 incarnation | long sequence | union null/long checkpoint | union body: Start, WriteSet, Ddl, Checkpoint, Heartbeat,
//!                                                                           since version 2 XaPrepared, since version 4 Snapshot and
//!                                                                           SnapshotRows
//! ```

use super::{
    Body, Ddl, ENVELOPE_FINGERPRINT, ENVELOPE_VERSIONS, FoldState, Header, Heartbeat, Incarnation,
    Offset, Record, RecordError, Snapshot, SnapshotRows, Start, Version, WriteSet, XaPrepared,
    framing,
};
use crate::{
    avro::{self, AvroError, Reader},
    gtid::Uuid,
};

/// The branches of the body's union.
#[derive(Debug, Clone, Copy)]
pub(super) enum Branch {
    Start,
    WriteSet,
    Ddl,
    Checkpoint,
    Heartbeat,
    XaPrepared,
    Snapshot,
    SnapshotRows,
}

impl Branch {
    const ALL: [Self; 8] = [
        Self::Start,
        Self::WriteSet,
        Self::Ddl,
        Self::Checkpoint,
        Self::Heartbeat,
        Self::XaPrepared,
        Self::Snapshot,
        Self::SnapshotRows,
    ];

    /// How many there are.
    fn count(version: Version) -> u8 {
        match version {
            Version::One => 5,
            Version::Two | Version::Three => 6,
            Version::Four | Version::Five => 8,
        }
    }
}

impl Header {
    /// Most bytes of the framing, the header and the body's branch.
    const SIZE: usize = framing::LENGTH + 16 + 2 * avro::LONG_MAX + 2;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.incarnation.0.as_bytes());
        avro::put_long(out, self.sequence as i64);
        put_optional(out, self.checkpoint.map(|offset| offset.0));
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            incarnation: Incarnation(Uuid::from_bytes(input.fixed()?)),
            sequence: input.unsigned()?,
            checkpoint: take_optional(input)?.map(Offset),
        })
    }
}

pub(super) struct Opened<'a> {
    pub header: Header,
    pub branch: Branch,
    pub version: Version,
    /// The body.
    pub input: Reader<'a>,
}

/// Reads the framing, the header and the body's branch.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, RecordError> {
    let (version, mut input) = framing::take(bytes, &ENVELOPE_VERSIONS)?;
    let header = Header::take(&mut input)?;
    let branch = Branch::ALL[usize::from(input.branch(Branch::count(version))?)];
    Ok(Opened {
        header,
        branch,
        version,
        input,
    })
}

impl Record<'_> {
    /// Appends the record's bytes. Numbers that Avro has as `long` must be below 2^63.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.size());
        framing::put(out, ENVELOPE_FINGERPRINT);
        self.header.put(out);
        let branch = match &self.body {
            Body::Start(_) => Branch::Start,
            Body::WriteSet(_) => Branch::WriteSet,
            Body::Ddl(_) => Branch::Ddl,
            Body::Checkpoint(_) => Branch::Checkpoint,
            Body::Heartbeat(_) => Branch::Heartbeat,
            Body::XaPrepared(_) => Branch::XaPrepared,
            Body::Snapshot(_) => Branch::Snapshot,
            Body::SnapshotRows(_) => Branch::SnapshotRows,
        };
        avro::put_long(out, branch as i64);
        match &self.body {
            Body::Start(start) => start.put(out),
            Body::WriteSet(write_set) => write_set.put(out),
            Body::Ddl(ddl) => ddl.put(out),
            Body::Checkpoint(state) => state.put(out),
            Body::Heartbeat(heartbeat) => heartbeat.put(out),
            Body::XaPrepared(prepared) => prepared.put(out),
            Body::Snapshot(snapshot) => snapshot.put(out),
            Body::SnapshotRows(rows) => rows.put(out),
        }
    }

    /// What `encode` reserves: at least the bytes of records with rows; the other kinds are left to grow.
    pub fn size(&self) -> usize {
        Header::SIZE
            + match &self.body {
                Body::WriteSet(write_set) => write_set.size(),
                Body::XaPrepared(prepared) => prepared.size(),
                Body::SnapshotRows(rows) => rows.size(),
                Body::Start(_)
                | Body::Ddl(_)
                | Body::Checkpoint(_)
                | Body::Heartbeat(_)
                | Body::Snapshot(_) => 0,
            }
    }
}

impl<'a> Record<'a> {
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let Opened {
            header,
            branch,
            version,
            mut input,
        } = open(bytes)?;
        let body = match branch {
            Branch::Start => Body::Start(Start::take(&mut input, version)?),
            Branch::WriteSet => Body::WriteSet(WriteSet::take(&mut input, version)?),
            Branch::Ddl => Body::Ddl(Ddl::take(&mut input, version)?),
            Branch::Checkpoint => Body::Checkpoint(FoldState::take(&mut input, version)?),
            Branch::Heartbeat => Body::Heartbeat(Heartbeat::take(&mut input, version)?),
            Branch::XaPrepared => Body::XaPrepared(XaPrepared::take(&mut input, version)?),
            Branch::Snapshot => Body::Snapshot(Snapshot::take(&mut input, version)?),
            Branch::SnapshotRows => Body::SnapshotRows(SnapshotRows::take(&mut input, version)?),
        };
        input.finish()?;
        Ok(Self { header, body })
    }
}

/// A union of null and long.
pub(super) fn put_optional(out: &mut Vec<u8>, value: Option<u64>) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(2);
            avro::put_long(out, value as i64);
        }
    }
}

pub(super) fn take_optional(input: &mut Reader<'_>) -> Result<Option<u64>, AvroError> {
    Ok(if input.optional()? {
        Some(input.unsigned()?)
    } else {
        None
    })
}
