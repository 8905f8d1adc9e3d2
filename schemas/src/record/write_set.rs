//! `WriteSet`: one chunk of a transaction's row changes.
//!
//! ```text
//! Transaction | array TableRef | array Change: long -count | long length | length bytes | 00 | long CRC-32C of those bytes
//! ```
//!
//! TableRef: string database | string table | fixed 8 fingerprint | since version 3: enum foreign_keys
//!
//! Without changes, the array is its end, `00`, alone. Other ways of Avro to write the array are refused: only its writer's own bytes
//! can match the checksum.

use super::{Changes, RecordError, Transaction, Version};
use crate::{
    avro::{self, AvroError, Reader},
    fingerprint::Fingerprint,
};

#[derive(Debug, Clone, PartialEq)]
pub struct WriteSet<'a> {
    pub transaction: Transaction,
    pub tables: Vec<TableRef>,
    pub changes: Changes<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    pub database: String,
    pub table: String,
    pub schema: Fingerprint,
    pub foreign_keys: ForeignKeys,
}

/// What the source's foreign keys had to do with changes; a table with changes of several kinds is referred to once for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ForeignKeys {
    /// Checked. What they cascaded, if anything, is not in the log: a target must cascade by itself.
    #[default]
    Enforced,
    /// Checked. What they cascaded are changes of their own in the log: a target must not cascade as well.
    Logged,
    /// Neither checked nor cascading: the session had switched them off, or a cascade made the changes.
    Unchecked,
}

impl ForeignKeys {
    pub const ALL: [Self; 3] = [Self::Enforced, Self::Logged, Self::Unchecked];
}

impl WriteSet<'_> {
    /// Most bytes that [`put`](Self::put) writes.
    pub(super) fn size(&self) -> usize {
        let tables = self.tables.iter().map(TableRef::size);
        self.transaction.size()
            + tables.sum::<usize>()
            + self.changes.encoded.len()
            + 4 * avro::LONG_MAX
            + 2
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.transaction.put(out);
        if !self.tables.is_empty() {
            avro::put_long(out, self.tables.len() as i64);
            for table in &self.tables {
                table.put(out);
            }
        }
        out.push(0);
        put_changes(out, self.changes);
    }
}

impl<'a> WriteSet<'a> {
    pub(super) fn take(input: &mut Reader<'a>, version: Version) -> Result<Self, RecordError> {
        let transaction = Transaction::take(input, version)?;
        let mut tables = Vec::new();
        input.array(|input| -> Result<(), RecordError> {
            tables.push(TableRef::take(input, version)?);
            Ok(())
        })?;
        let changes = take_changes(input)?;
        Ok(Self {
            transaction,
            tables,
            changes,
        })
    }
}

impl TableRef {
    /// Most bytes that [`put`](Self::put) writes.
    pub(super) fn size(&self) -> usize {
        avro::bytes_len(self.database.len()) + avro::bytes_len(self.table.len()) + 8 + 1
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        avro::put_string(out, &self.database);
        avro::put_string(out, &self.table);
        out.extend_from_slice(&self.schema.0.to_be_bytes());
        avro::put_long(out, self.foreign_keys as i64);
    }

    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        Ok(Self {
            database: input.str()?.to_owned(),
            table: input.str()?.to_owned(),
            schema: Fingerprint(u64::from_be_bytes(input.fixed()?)),
            foreign_keys: match version {
                Version::One | Version::Two => ForeignKeys::Enforced,
                _ => ForeignKeys::ALL[usize::from(input.branch(ForeignKeys::ALL.len() as u8)?)],
            },
        })
    }
}

pub(super) fn put_changes(out: &mut Vec<u8>, Changes { count, encoded }: Changes<'_>) {
    if count > 0 {
        avro::put_long(out, -(count as i64));
        avro::put_bytes(out, encoded);
    }
    out.push(0);
    avro::put_long(out, i64::from(crc32c::crc32c(encoded)));
}

pub(super) fn take_changes<'a>(input: &mut Reader<'a>) -> Result<Changes<'a>, RecordError> {
    let at = input.at();
    let count = input.long()?;
    if count > 0 {
        return Err(RecordError::Blocks { at });
    }
    let mut encoded: &[u8] = &[];
    if count < 0 {
        encoded = input.bytes()?;
        if input.long()? != 0 {
            return Err(RecordError::Blocks { at });
        }
    }
    let count = count.unsigned_abs();
    if count > encoded.len() as u64 {
        return Err(AvroError::Length { at }.into());
    }
    let (stored, computed) = (input.long()?, crc32c::crc32c(encoded));
    if stored != i64::from(computed) {
        return Err(RecordError::Checksum { stored, computed });
    }
    Ok(Changes { count, encoded })
}
