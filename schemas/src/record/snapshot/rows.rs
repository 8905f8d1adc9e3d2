//! `SnapshotRows`: a range of a table, without the rows that the stream has.
//!
//! ```text
//! fixed 16 copy | long chunk | long part | boolean last | long rows | union null/bytes upper | TableRef      the head
//! | union null/bytes lower | union null/long seen | Window | array bytes left_out
//! | array Change and CRC-32C, as in a WriteSet
//! ```

use super::{Window, take_uuid};
use crate::{
    avro::{self, Reader},
    gtid::Uuid,
    record::{
        Changes, Offset, RecordError, TableRef, Version,
        envelope::{put_optional, take_optional},
        transaction::take_u32,
        write_set::{put_changes, take_changes},
    },
};

/// Rows of a table as one snapshot has them. Each record is a range by itself: all rows that the snapshot had behind `lower` and up to
/// `upper`, except those with a key in `left_out`. Only a row that is larger than a record comes in several (`part`, `last`); they follow
/// each other, and are one range.
///
/// Keys are datums of the key's columns in the key's order, one behind the other, as in the row schema. They are the server's to order.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotRows<'a> {
    pub head: RowsHead,
    /// The key before the range; `None`: from the table's beginning.
    pub lower: Option<Vec<u8>>,
    /// The group-log offset that the source had applied when the snapshot opened.
    pub seen: Option<Offset>,
    pub window: Window,
    /// The keys that transactions outside of `window.open` and before this record touch: the snapshot says nothing about their rows. In
    /// the range or outside of it, whether or not there is such a row.
    pub left_out: Vec<Vec<u8>>,
    /// The rows, as inserts of table 0: `head.table`. A row in several records is cut as in a write-set.
    pub rows: Changes<'a>,
}

/// What a fold needs of [`SnapshotRows`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsHead {
    pub copy: Uuid,
    /// The range's number within the copy, from 0.
    pub chunk: u64,
    /// From 0.
    pub part: u32,
    /// The range is complete with this record.
    pub last: bool,
    /// That are complete with this record.
    pub rows: u64,
    /// The range's last key; `None`: to the table's end. A table without a key has neither bound.
    pub upper: Option<Vec<u8>>,
    pub table: TableRef,
}

impl SnapshotRows<'_> {
    /// Most bytes that [`put`](Self::put) writes.
    pub(in crate::record) fn size(&self) -> usize {
        let key =
            |key: &Option<Vec<u8>>| 1 + key.as_ref().map_or(0, |key| avro::bytes_len(key.len()));
        let left_out = self.left_out.iter().map(|key| avro::bytes_len(key.len()));
        16 + 3 * avro::LONG_MAX
            + 1
            + key(&self.head.upper)
            + self.head.table.size()
            + key(&self.lower)
            + 1
            + avro::LONG_MAX
            + self.window.size()
            + avro::LONG_MAX
            + 1
            + left_out.sum::<usize>()
            + self.rows.encoded.len()
            + 3 * avro::LONG_MAX
            + 1
    }

    // The fields that a fold needs come first: see `Head`.
    pub(in crate::record) fn put(&self, out: &mut Vec<u8>) {
        let head = &self.head;
        out.extend_from_slice(head.copy.as_bytes());
        avro::put_long(out, head.chunk as i64);
        avro::put_long(out, i64::from(head.part));
        avro::put_boolean(out, head.last);
        avro::put_long(out, head.rows as i64);
        put_key(out, head.upper.as_deref());
        head.table.put(out);
        put_key(out, self.lower.as_deref());
        put_optional(out, self.seen.map(|offset| offset.0));
        self.window.put(out);
        if !self.left_out.is_empty() {
            avro::put_long(out, self.left_out.len() as i64);
            for key in &self.left_out {
                avro::put_bytes(out, key);
            }
        }
        out.push(0);
        put_changes(out, self.rows);
    }
}

impl<'a> SnapshotRows<'a> {
    pub(in crate::record) fn take(
        input: &mut Reader<'a>,
        version: Version,
    ) -> Result<Self, RecordError> {
        let head = RowsHead::take(input, version)?;
        let lower = take_key(input)?;
        let seen = take_optional(input)?.map(Offset);
        let window = Window::take(input)?;
        let mut left_out = Vec::new();
        input.array(|input| -> Result<(), RecordError> {
            left_out.push(input.bytes()?.to_vec());
            Ok(())
        })?;
        Ok(Self {
            head,
            lower,
            seen,
            window,
            left_out,
            rows: take_changes(input)?,
        })
    }
}

impl RowsHead {
    pub(in crate::record) fn take(
        input: &mut Reader<'_>,
        version: Version,
    ) -> Result<Self, RecordError> {
        Ok(Self {
            copy: take_uuid(input)?,
            chunk: input.unsigned()?,
            part: take_u32(input)?,
            last: input.boolean()?,
            rows: input.unsigned()?,
            upper: take_key(input)?,
            table: TableRef::take(input, version)?,
        })
    }
}

pub(in crate::record) fn put_key(out: &mut Vec<u8>, key: Option<&[u8]>) {
    match key {
        None => out.push(0),
        Some(key) => {
            out.push(2);
            avro::put_bytes(out, key);
        }
    }
}

pub(in crate::record) fn take_key(input: &mut Reader<'_>) -> Result<Option<Vec<u8>>, RecordError> {
    Ok(match input.optional()? {
        false => None,
        true => Some(input.bytes()?.to_vec()),
    })
}
