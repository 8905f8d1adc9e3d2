//! What identifies a transaction in each of its chunks, and GTIDs as the envelope has them.
//!
//! ```text
//! Gtid     fixed 16 uuid | string tag | long gno
//! ```

use super::{
    Offset, RecordError, Version, XaEnd,
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
    /// In the last chunk of a transaction that ends a prepared one.
    pub xa_end: Option<XaEnd>,
}

impl Transaction {
    /// Most bytes that [`put`](Self::put) writes.
    pub(super) fn size(&self) -> usize {
        GTID_MAX
            + 8 * avro::LONG_MAX
            + 3
            + avro::bytes_len(self.file.len())
            + self.xa_end.as_ref().map_or(0, XaEnd::size)
    }

    // The fields that a fold needs come first: see `Head`.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_gtid(out, &self.gtid);
        avro::put_long(out, self.original_commit_us as i64);
        avro::put_long(out, self.immediate_commit_us as i64);
        avro::put_long(out, i64::from(self.chunk));
        avro::put_boolean(out, self.last);
        match &self.xa_end {
            None => out.push(0),
            Some(end) => {
                out.push(2);
                end.put(out);
            }
        }
        avro::put_long(out, self.last_committed);
        avro::put_long(out, self.sequence_number);
        put_optional(out, self.seen.map(|offset| offset.0));
        avro::put_string(out, &self.file);
        avro::put_long(out, self.position as i64);
    }

    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        let head = TransactionHead::take(input, version)?;
        Ok(Self {
            gtid: head.gtid,
            original_commit_us: head.original_commit_us,
            immediate_commit_us: head.immediate_commit_us,
            chunk: head.chunk,
            last: head.last,
            xa_end: head.xa_end,
            last_committed: input.long()?,
            sequence_number: input.long()?,
            seen: take_optional(input)?.map(Offset),
            file: input.str()?.to_owned(),
            position: input.unsigned()?,
        })
    }
}

/// What a fold needs of a [`Transaction`], with its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionHead {
    pub gtid: Gtid,
    pub original_commit_us: u64,
    pub immediate_commit_us: u64,
    pub chunk: u32,
    pub last: bool,
    pub xa_end: Option<XaEnd>,
}

impl From<&Transaction> for TransactionHead {
    fn from(transaction: &Transaction) -> Self {
        Self {
            gtid: transaction.gtid,
            original_commit_us: transaction.original_commit_us,
            immediate_commit_us: transaction.immediate_commit_us,
            chunk: transaction.chunk,
            last: transaction.last,
            xa_end: transaction.xa_end.clone(),
        }
    }
}

impl TransactionHead {
    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        Ok(Self {
            gtid: take_gtid(input)?,
            original_commit_us: input.unsigned()?,
            immediate_commit_us: input.unsigned()?,
            chunk: take_u32(input)?,
            last: input.boolean()?,
            xa_end: match version {
                Version::One => None,
                _ => match input.optional()? {
                    false => None,
                    true => Some(XaEnd::take(input)?),
                },
            },
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
