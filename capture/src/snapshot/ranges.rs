//! Rows that were read, and the records that are made of them: each a range by itself, none larger than a record may be.

use std::{collections::HashSet, sync::Arc};

use binferry_schemas::{
    gtid::Uuid,
    record::{
        Body, Change, ChangesBuffer, ForeignKeys, Image, Offset, Operation, RowsHead, SnapshotRows,
        TableRef, Window,
    },
};
use binferry_transport::session::Session;

use super::keys::KeyLayout;
use crate::{error::CaptureError, stream::split};

/// Of a record, for everything but keys and rows.
const OVERHEAD: usize = 16 * 1024;

/// Rows behind `lower`, up to and with `upper`, in the key's order.
#[derive(Debug)]
pub(super) struct Rows {
    pub copy: Uuid,
    pub layout: Arc<KeyLayout>,
    /// Number of the first record that is made of them.
    pub chunk: u64,
    pub lower: Option<Vec<u8>>,
    /// `None`: there are no more rows.
    pub upper: Option<Vec<u8>>,
    pub buffer: RowBuffer,
}

/// Rows, one behind the other: datum and key.
#[derive(Debug, Default)]
pub(super) struct RowBuffer {
    bytes: Vec<u8>,
    /// Where the datum and the key of each end.
    ends: Vec<(usize, usize)>,
    /// Of the row that is pushed.
    key: Vec<u8>,
}

impl RowBuffer {
    /// `write` appends the datum, of which `key` then appends the key. False, or an error: nothing of the row is kept.
    pub fn push<E>(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>, &[u8]) -> bool,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let begin = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(begin);
            return Err(error);
        }
        let datum = self.bytes.len();
        self.key.clear();
        if !key(&mut self.key, &self.bytes[begin..]) {
            self.bytes.truncate(begin);
            return Ok(false);
        }
        self.bytes.extend_from_slice(&self.key);
        self.ends.push((datum, self.bytes.len()));
        Ok(true)
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Key and datum of each.
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |&(datum, key)| {
            let row = (&self.bytes[datum..key], &self.bytes[begin..datum]);
            begin = key;
            row
        })
    }

    pub fn has_any(&self, keys: &HashSet<Box<[u8]>>) -> bool {
        !keys.is_empty() && self.iter().any(|(key, _)| keys.contains(key))
    }

    pub fn last_key(&self) -> Option<&[u8]> {
        let &(datum, key) = self.ends.last()?;
        Some(&self.bytes[datum..key])
    }
}

/// Makes records of rows.
#[derive(Debug, Default)]
pub(super) struct Logged {
    pub rows: u64,
    pub left_out: u64,
    /// Number of the next record.
    pub chunk: u64,
}

/// A record under way.
struct Range<'a> {
    rows: &'a Rows,
    left_out: Vec<Vec<u8>>,
    window: &'a Window,
    lower: Option<Vec<u8>>,
    chunk: u64,
    /// Rows that are whole with it.
    whole: u64,
}

impl Logged {
    /// Appends what is left of the rows.
    pub async fn rows(
        &mut self,
        rows: Rows,
        touched: &HashSet<Box<[u8]>>,
        window: &Window,
        limit: usize,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        let left_out: Vec<Vec<u8>> = touched.iter().map(|key| key.to_vec()).collect();
        let taken = left_out.iter().map(|key| key.len() + 4).sum::<usize>() + window.open.len();
        let limit = limit.saturating_sub(taken + OVERHEAD).max(1024);
        let whole = rows.layout.is_empty();
        let mut range = Range {
            rows: &rows,
            left_out,
            window,
            lower: rows.lower.clone(),
            chunk: rows.chunk,
            whole: 0,
        };
        let mut changes = ChangesBuffer::new();
        let mut upper: Option<&[u8]> = None;
        for (key, datum) in rows.buffer.iter() {
            if touched.contains(key) {
                self.left_out += 1;
                upper = Some(key);
                continue;
            }
            let change = insert(datum);
            if !changes.is_empty() && changes.len() + change.size() > limit {
                let to = upper.filter(|_| !whole).map(<[u8]>::to_vec);
                range.send(&mut changes, 0, true, to, session).await?;
            }
            if change.size() > limit {
                let to = (!whole).then(|| key.to_vec());
                for (part, fragment) in (0..).zip(split::fragments(change, limit)) {
                    changes.push(&fragment);
                    let last = !fragment.more;
                    range.whole += u64::from(last);
                    range
                        .send(&mut changes, part, last, to.clone(), session)
                        .await?;
                }
            } else {
                changes.push(&change);
                range.whole += 1;
            }
            self.rows += 1;
            upper = Some(key);
        }
        // Also when no row is left: the copy goes on behind the range.
        let ends = rows.upper.is_none();
        if !whole && (ends || range.lower != rows.upper) || !changes.is_empty() {
            let to = rows.upper.clone();
            range.send(&mut changes, 0, true, to, session).await?;
        }
        self.chunk = range.chunk;
        Ok(())
    }
}

fn insert(datum: &[u8]) -> Change<'_> {
    Change {
        table: 0,
        operation: Operation::Insert,
        before: None,
        after: Some(Image {
            present: None,
            datum,
        }),
        more: false,
    }
}

impl Range<'_> {
    async fn send(
        &mut self,
        changes: &mut ChangesBuffer,
        part: u32,
        last: bool,
        upper: Option<Vec<u8>>,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        let layout = &self.rows.layout;
        let rows = std::mem::take(&mut self.whole);
        let body = Body::SnapshotRows(SnapshotRows {
            head: RowsHead {
                copy: self.rows.copy,
                chunk: self.chunk,
                part,
                last,
                rows,
                upper: upper.clone(),
                table: TableRef {
                    database: layout.schema.database.clone(),
                    table: layout.schema.table.clone(),
                    schema: layout.fingerprint,
                    foreign_keys: ForeignKeys::Unchecked,
                },
            },
            lower: self.lower.clone(),
            seen: None::<Offset>,
            window: self.window.clone(),
            left_out: self.left_out.clone(),
            rows: changes.as_changes(),
        });
        session.append(body).await?;
        changes.clear();
        if last {
            self.lower = upper;
            self.chunk += 1;
        }
        Ok(())
    }
}
