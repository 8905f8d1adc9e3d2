//! What identifies a transaction in each of its chunks, and GTIDs as the envelope has them.
//!
//! ```text
//! Gtid     fixed 16 uuid | string tag | long gno
//! ```

use super::{
    Offset, RecordError,
    envelope::{put_optional, take_optional},
};
use crate::{
    avro::{self, AvroError, Reader},
    gtid::{Gtid, MAX_GNO, Tag, Uuid},
};

/// What a transaction's every chunk says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub gtid: Gtid,
    /// Microseconds since the epoch.
    pub original_commit_us: u64,
    pub immediate_commit_us: u64,
    /// The source's own dependency tracking (manual, "replica_parallel_workers"; relative to one binlog file).
    pub last_committed: i64,
    pub sequence_number: i64,
    /// The group-log offset that the origin had applied when it committed.
    pub seen: Option<Offset>,
    /// Where the source has it, for people.
    pub file: String,
    pub position: u64,
    /// From 0.
    pub chunk: u32,
    pub last: bool,
}

impl Transaction {
    /// Most bytes that [`put`](Self::put) writes.
    pub(super) fn size(&self) -> usize {
        GTID_MAX + 8 * avro::LONG_MAX + 2 + avro::bytes_len(self.file.len())
    }

    // The fields that a fold needs come first: see `Head`.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_gtid(out, &self.gtid);
        avro::put_long(out, self.original_commit_us as i64);
        avro::put_long(out, self.immediate_commit_us as i64);
        avro::put_long(out, i64::from(self.chunk));
        avro::put_boolean(out, self.last);
        avro::put_long(out, self.last_committed);
        avro::put_long(out, self.sequence_number);
        put_optional(out, self.seen.map(|offset| offset.0));
        avro::put_string(out, &self.file);
        avro::put_long(out, self.position as i64);
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        let gtid = take_gtid(input)?;
        let original_commit_us = input.unsigned()?;
        let immediate_commit_us = input.unsigned()?;
        let chunk = take_u32(input)?;
        Ok(Self {
            gtid,
            original_commit_us,
            immediate_commit_us,
            chunk,
            last: input.boolean()?,
            last_committed: input.long()?,
            sequence_number: input.long()?,
            seen: take_optional(input)?.map(Offset),
            file: input.str()?.to_owned(),
            position: input.unsigned()?,
        })
    }
}

/// Most bytes that [`put_gtid`] writes.
pub(super) const GTID_MAX: usize = 16 + 1 + 32 + avro::LONG_MAX;

pub(super) fn put_gtid(out: &mut Vec<u8>, gtid: &Gtid) {
    out.extend_from_slice(gtid.uuid.as_bytes());
    avro::put_string(out, gtid.tag.as_str());
    avro::put_long(out, gtid.gno as i64);
}

pub(super) fn take_gtid(input: &mut Reader<'_>) -> Result<Gtid, RecordError> {
    let uuid = Uuid::from_bytes(input.fixed()?);
    let at = input.at();
    let tag = Tag::new(input.str()?).ok_or(RecordError::Tag { at })?;
    let at = input.at();
    match input.unsigned()? {
        gno @ 1..=MAX_GNO => Ok(Gtid { uuid, tag, gno }),
        _ => Err(AvroError::Range { at }.into()),
    }
}

pub(super) fn take_u32(input: &mut Reader<'_>) -> Result<u32, RecordError> {
    let at = input.at();
    u32::try_from(input.long()?).map_err(|_| AvroError::Range { at }.into())
}
