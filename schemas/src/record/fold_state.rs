//! The fold's state: the body of a checkpoint, and on its own what a reader keeps as its progress.
//!
//! ```text
//! on its own   C3 01 | u64 LE fingerprint of fold.avsc | datum
//! ```

use super::{
    FOLD_FINGERPRINT, FOLD_VERSIONS, Incarnation, Offset, Over, RecordError, SnapshotBegin,
    SnapshotJob, TableRef, Version, Xid,
    envelope::{put_optional, take_optional},
    framing,
    snapshot::{put_key, put_strings, take_key, take_over, take_strings, take_uuid},
    transaction::{put_gtid, take_gtid, take_u32},
};
use crate::{
    avro::{self, Reader},
    gtid::{Gtid, GtidSet, Uuid},
};

/// The fold of a prefix of the log: what a checkpoint states, and what a reader keeps as its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldState {
    /// The log that it is about.
    pub log: Uuid,
    /// Every record below this offset is folded in, none from it on.
    pub offset: Offset,
    pub set: GtidSet,
    /// The transaction that was accepted last.
    pub newest: Option<Newest>,
    /// By site, ordered by name.
    pub sites: Vec<SiteState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    pub gtid: Gtid,
    pub original_commit_us: u64,
    pub immediate_commit_us: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteState {
    pub site: String,
    pub server: Uuid,
    pub incarnation: Incarnation,
    /// The sequence number that counts next; `None`: this incarnation has ended.
    pub next: Option<u64>,
    pub filter: String,
    pub open: Option<OpenTransaction>,
    /// XA transactions that are prepared and have not ended, in the order of their last chunks.
    pub prepared: Vec<Prepared>,
    /// Jobs that are not done, in the order in which they were asked for.
    pub jobs: Vec<JobState>,
    /// Copies that have begun and not ended, in the order in which they began; at most one of a table.
    pub copies: Vec<CopyState>,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    pub job: SnapshotJob,
    /// The table (database, table) that was begun last.
    pub cursor: Option<(String, String)>,
    /// All of its tables have begun.
    pub planned: bool,
}

/// How far the copy of a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyState {
    pub job: Uuid,
    pub copy: Uuid,
    /// As the copy's newest record has it.
    pub table: TableRef,
    /// The columns by which it is cut; none: it is read at once.
    pub key: Vec<String>,
    pub over: Over,
    pub next_chunk: u64,
    /// Of the last range that counted. `None`: there is none, or it went to the table's end; `next_chunk` tells which.
    pub upper: Option<Vec<u8>>,
    /// In the log so far.
    pub rows: u64,
    pub estimated_rows: u64,
    pub estimated_bytes: u64,
    pub open: Option<OpenRows>,
}

impl CopyState {
    /// As it begins.
    pub fn begun(begin: &SnapshotBegin) -> Self {
        Self {
            job: begin.job,
            copy: begin.copy,
            table: begin.table.clone(),
            key: begin.key.clone(),
            over: begin.over,
            next_chunk: 0,
            upper: None,
            rows: 0,
            estimated_rows: begin.estimated_rows,
            estimated_bytes: begin.estimated_bytes,
            open: None,
        }
    }
}

/// A range of which only the first parts have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRows {
    /// Offset of part 0.
    pub first: Offset,
    pub next_part: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    pub gtid: Gtid,
    /// Offset of its first chunk.
    pub first: Offset,
    pub next_chunk: u32,
}

/// A prepared XA transaction, and where its changes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub xid: Xid,
    /// Of its XA PREPARE.
    pub gtid: Gtid,
    /// Offset of its first chunk, or of that of its newest copy.
    pub first: Offset,
    /// Offset of its last chunk, the `XaPrepared`.
    pub last: Offset,
    /// As the `XaPrepared` has it.
    pub at_us: u64,
}

impl FoldState {
    /// The bytes of a progress row.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        framing::put(&mut out, FOLD_FINGERPRINT);
        self.put(&mut out);
        out
    }

    /// Back from the bytes of a progress row.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (version, mut input) = framing::take(bytes, &FOLD_VERSIONS)?;
        let state = Self::take(&mut input, version)?;
        input.finish()?;
        Ok(state)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.log.as_bytes());
        avro::put_long(out, self.offset.0 as i64);
        avro::put_string(out, &self.set.to_string());
        match &self.newest {
            None => out.push(0),
            Some(newest) => {
                out.push(2);
                put_gtid(out, &newest.gtid);
                avro::put_long(out, newest.original_commit_us as i64);
                avro::put_long(out, newest.immediate_commit_us as i64);
            }
        }
        if !self.sites.is_empty() {
            avro::put_long(out, self.sites.len() as i64);
            for site in &self.sites {
                site.put(out);
            }
        }
        out.push(0);
    }

    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        let log = Uuid::from_bytes(input.fixed()?);
        let offset = Offset(input.unsigned()?);
        let set = input.str()?.parse()?;
        let newest = if input.optional()? {
            Some(Newest {
                gtid: take_gtid(input)?,
                original_commit_us: input.unsigned()?,
                immediate_commit_us: input.unsigned()?,
            })
        } else {
            None
        };
        let mut sites = Vec::new();
        input.array(|input| -> Result<(), RecordError> {
            sites.push(SiteState::take(input, version)?);
            Ok(())
        })?;
        Ok(Self {
            log,
            offset,
            set,
            newest,
            sites,
        })
    }
}

impl SiteState {
    fn put(&self, out: &mut Vec<u8>) {
        avro::put_string(out, &self.site);
        out.extend_from_slice(self.server.as_bytes());
        out.extend_from_slice(self.incarnation.0.as_bytes());
        put_optional(out, self.next);
        avro::put_string(out, &self.filter);
        match &self.open {
            None => out.push(0),
            Some(open) => {
                out.push(2);
                put_gtid(out, &open.gtid);
                avro::put_long(out, open.first.0 as i64);
                avro::put_long(out, i64::from(open.next_chunk));
            }
        }
        if !self.prepared.is_empty() {
            avro::put_long(out, self.prepared.len() as i64);
            for prepared in &self.prepared {
                prepared.put(out);
            }
        }
        out.push(0);
        if !self.jobs.is_empty() {
            avro::put_long(out, self.jobs.len() as i64);
            for job in &self.jobs {
                job.put(out);
            }
        }
        out.push(0);
        if !self.copies.is_empty() {
            avro::put_long(out, self.copies.len() as i64);
            for copy in &self.copies {
                copy.put(out);
            }
        }
        out.push(0);
    }

    fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        let mut site = Self::take_older(input, version)?;
        if matches!(version, Version::Four | Version::Five) {
            input.array(|input| -> Result<(), RecordError> {
                site.jobs.push(JobState::take(input)?);
                Ok(())
            })?;
            input.array(|input| -> Result<(), RecordError> {
                site.copies.push(CopyState::take(input, version)?);
                Ok(())
            })?;
        }
        Ok(site)
    }

    fn take_older(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        Ok(Self {
            site: input.str()?.to_owned(),
            server: Uuid::from_bytes(input.fixed()?),
            incarnation: Incarnation(Uuid::from_bytes(input.fixed()?)),
            next: take_optional(input)?,
            filter: input.str()?.to_owned(),
            open: if input.optional()? {
                Some(OpenTransaction {
                    gtid: take_gtid(input)?,
                    first: Offset(input.unsigned()?),
                    next_chunk: take_u32(input)?,
                })
            } else {
                None
            },
            prepared: match version {
                Version::One => Vec::new(),
                _ => {
                    let mut prepared = Vec::new();
                    input.array(|input| -> Result<(), RecordError> {
                        prepared.push(Prepared::take(input)?);
                        Ok(())
                    })?;
                    prepared
                }
            },
            jobs: Vec::new(),
            copies: Vec::new(),
        })
    }
}

impl JobState {
    /// Whether the job will begin the table's copy: what the log says of it until then, the copy says again.
    pub fn awaits(&self, database: &str, table: &str) -> bool {
        let behind = |(d, t): &(String, String)| (d.as_str(), t.as_str()) < (database, table);
        !self.planned && self.cursor.as_ref().is_none_or(behind) && self.job.covers(database, table)
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.job.put(out);
        match &self.cursor {
            None => out.push(0),
            Some((database, table)) => {
                out.push(2);
                avro::put_string(out, database);
                avro::put_string(out, table);
            }
        }
        avro::put_boolean(out, self.planned);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            job: SnapshotJob::take(input)?,
            cursor: match input.optional()? {
                false => None,
                true => Some((input.str()?.to_owned(), input.str()?.to_owned())),
            },
            planned: input.boolean()?,
        })
    }
}

impl CopyState {
    /// Nothing is missing but the end.
    pub fn is_complete(&self) -> bool {
        !self.key.is_empty() && self.next_chunk > 0 && self.upper.is_none()
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.job.as_bytes());
        out.extend_from_slice(self.copy.as_bytes());
        self.table.put(out);
        put_strings(out, &self.key);
        avro::put_long(out, self.over as i64);
        avro::put_long(out, self.next_chunk as i64);
        put_key(out, self.upper.as_deref());
        avro::put_long(out, self.rows as i64);
        avro::put_long(out, self.estimated_rows as i64);
        avro::put_long(out, self.estimated_bytes as i64);
        match &self.open {
            None => out.push(0),
            Some(open) => {
                out.push(2);
                avro::put_long(out, open.first.0 as i64);
                avro::put_long(out, i64::from(open.next_part));
            }
        }
    }

    fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        Ok(Self {
            job: take_uuid(input)?,
            copy: take_uuid(input)?,
            table: TableRef::take(input, version)?,
            key: take_strings(input)?,
            over: take_over(input)?,
            next_chunk: input.unsigned()?,
            upper: take_key(input)?,
            rows: input.unsigned()?,
            estimated_rows: input.unsigned()?,
            estimated_bytes: input.unsigned()?,
            open: match input.optional()? {
                false => None,
                true => Some(OpenRows {
                    first: Offset(input.unsigned()?),
                    next_part: take_u32(input)?,
                }),
            },
        })
    }
}

impl Prepared {
    fn put(&self, out: &mut Vec<u8>) {
        self.xid.put(out);
        put_gtid(out, &self.gtid);
        avro::put_long(out, self.first.0 as i64);
        avro::put_long(out, self.last.0 as i64);
        avro::put_long(out, self.at_us as i64);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            xid: Xid::take(input)?,
            gtid: take_gtid(input)?,
            first: Offset(input.unsigned()?),
            last: Offset(input.unsigned()?),
            at_us: input.unsigned()?,
        })
    }
}
