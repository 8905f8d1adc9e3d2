//! XA transactions: `XaPrepared`, and what marks a transaction that ends one.
//!
//! ```text
//! Xid          long format | bytes gtrid | bytes bqual
//! XaEnd        Xid | boolean committed
//! XaPrepared   Xid | long at_us | as a WriteSet
//! ```
//!
//! A transaction that ends with XA PREPARE has chunks like any other, except that the last one is an `XaPrepared`: whoever reads counts
//! its GTID and forgets its chunks. The transaction of the XA COMMIT brings the changes again, under its own GTID; so a reader sees an
//! ordinary transaction where it was committed.

use super::{RecordError, Version, WriteSet, transaction::TransactionHead};
use crate::avro::{self, AvroError, Reader};

/// The name of an XA transaction; each part has at most 64 bytes on the servers that we know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Xid {
    /// Servers print it with 32 or 64 bits; these are the low 32.
    pub format: u32,
    pub gtrid: Vec<u8>,
    pub bqual: Vec<u8>,
}

/// The transaction that has it ends a prepared one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XaEnd {
    pub xid: Xid,
    /// Otherwise it was rolled back, and this transaction has no changes.
    pub committed: bool,
}

/// The last chunk of a transaction that is prepared, or of a copy of one (which has the same GTID).
#[derive(Debug, Clone, PartialEq)]
pub struct XaPrepared<'a> {
    pub xid: Xid,
    /// When it was appended, in microseconds since the epoch, by the capture's clock.
    pub at_us: u64,
    pub write_set: WriteSet<'a>,
}

/// What a fold needs of an [`XaPrepared`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedHead {
    pub xid: Xid,
    pub at_us: u64,
    pub transaction: TransactionHead,
}

impl Xid {
    pub(super) fn size(&self) -> usize {
        avro::LONG_MAX + avro::bytes_len(self.gtrid.len()) + avro::bytes_len(self.bqual.len())
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        avro::put_long(out, i64::from(self.format));
        avro::put_bytes(out, &self.gtrid);
        avro::put_bytes(out, &self.bqual);
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        let at = input.at();
        Ok(Self {
            format: u32::try_from(input.long()?).map_err(|_| AvroError::Range { at })?,
            gtrid: input.bytes()?.to_vec(),
            bqual: input.bytes()?.to_vec(),
        })
    }
}

/// As MySQL prints it: `X'6731',X'',1`.
impl std::fmt::Display for Xid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in [&self.gtrid, &self.bqual] {
            f.write_str("X'")?;
            for byte in part {
                write!(f, "{byte:02x}")?;
            }
            f.write_str("',")?;
        }
        write!(f, "{}", self.format)
    }
}

impl XaEnd {
    pub(super) fn size(&self) -> usize {
        self.xid.size() + 1
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.xid.put(out);
        avro::put_boolean(out, self.committed);
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            xid: Xid::take(input)?,
            committed: input.boolean()?,
        })
    }
}

impl XaPrepared<'_> {
    /// Most bytes that [`put`](Self::put) writes.
    pub(super) fn size(&self) -> usize {
        self.xid.size() + avro::LONG_MAX + self.write_set.size()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.xid.put(out);
        avro::put_long(out, self.at_us as i64);
        self.write_set.put(out);
    }
}

impl<'a> XaPrepared<'a> {
    // Since version 2 of the envelope.
    pub(super) fn take(input: &mut Reader<'a>, version: Version) -> Result<Self, RecordError> {
        Ok(Self {
            xid: Xid::take(input)?,
            at_us: input.unsigned()?,
            write_set: WriteSet::take(input, version)?,
        })
    }
}

impl PreparedHead {
    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        Ok(Self {
            xid: Xid::take(input)?,
            at_us: input.unsigned()?,
            transaction: TransactionHead::take(input, version)?,
        })
    }
}

impl From<&XaPrepared<'_>> for PreparedHead {
    fn from(prepared: &XaPrepared<'_>) -> Self {
        Self {
            xid: prepared.xid.clone(),
            at_us: prepared.at_us,
            transaction: (&prepared.write_set.transaction).into(),
        }
    }
}
