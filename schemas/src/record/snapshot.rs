//! The copy of tables that are there already, as it lies in the log between the transactions: `Snapshot`, the steps of a job, and
//! `SnapshotRows`, its rows. docs/snapshot.md has the rules.
//!
//! ```text
//! SnapshotJob     fixed 16 id | string tables | string except | enum over
//! Snapshot        long at_us | union step: SnapshotJob, SnapshotBegin, SnapshotEnd, SnapshotGivenUp, SnapshotPlanned, SnapshotDone,
//!                 SnapshotDatabase
//! SnapshotBegin   fixed 16 job | fixed 16 copy | TableRef | enum over | union null/fixed 16 replaces | string create_database
//!                 | string create_table | long sql_mode | int client, connection, server collation | string time_zone
//!                 | string key_name | array string key | long estimated_rows | long estimated_bytes | Window
//! SnapshotEnd     fixed 16 copy | long rows | long left_out
//! SnapshotGivenUp fixed 16 copy | enum reason | string detail
//! SnapshotPlanned, SnapshotDone   fixed 16 job
//! SnapshotDatabase   fixed 16 job | string database | string create_database
//! Window          string open | string file | long position
//! ```
//!
//! All since version 4, but for `SnapshotDatabase`, which came with version 5.

mod rows;

use super::{
    RecordError, TableRef, Version,
    ddl::{put_collations, take_collations},
};
use crate::{
    avro::{self, Reader},
    filter::TableFilter,
    gtid::Uuid,
};

pub use self::rows::{RowsHead, SnapshotRows};
pub(super) use self::rows::{put_key, take_key};

/// Tables to be copied. A job goes through the tables that are there, in the order of their names as bytes (database, then table), until
/// it finds none behind the last; new tables may come before it gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotJob {
    pub id: Uuid,
    /// Normalised text of a table filter.
    pub tables: String,
    /// Normalised text of a table filter: its tables are not copied. Empty: none are left out.
    pub except: String,
    pub over: Over,
}

/// What a target's table may hold when its copy begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Over {
    /// Nothing that did not come through this log.
    Nothing,
    /// Rows that are to be removed first.
    Remove,
    /// Rows that may differ from the source's: each range makes its part of the table equal, where its keys are not left out.
    Repair,
}

impl Over {
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Remove, Self::Repair];

    /// As in `schemas/binferry.avsc`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Remove => "remove",
            Self::Repair => "repair",
        }
    }
}

/// A step of a job, or of one table's copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Microseconds since the epoch, by the capture's clock, for display only.
    pub at_us: u64,
    pub step: SnapshotStep,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotStep {
    /// Somebody wants a copy while the stream runs. (That of a first start is in its `Start`.)
    Wanted(SnapshotJob),
    /// The copy of a table begins.
    Begin(Box<SnapshotBegin>),
    /// All rows of a copy are in the log.
    End(SnapshotEnd),
    /// A copy ends without its end.
    GivenUp(SnapshotGivenUp),
    /// All tables of a job have begun.
    Planned(Uuid),
    /// A job is over: each of its copies has ended or been given up.
    Done(Uuid),
    /// There is a database in which no table is.
    Database(SnapshotDatabase),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotBegin {
    pub job: Uuid,
    /// Names this copy of this table.
    pub copy: Uuid,
    /// The definition's row schema; its `foreign_keys` says nothing.
    pub table: TableRef,
    pub over: Over,
    /// The copy that was given up for this one.
    pub replaces: Option<Uuid>,
    /// As SHOW CREATE DATABASE prints it.
    pub create_database: String,
    /// As SHOW CREATE TABLE prints it.
    pub create_table: String,
    /// With which the statements are to be run.
    pub sql_mode: u64,
    /// Collation ids: client, connection, server.
    pub collations: [u16; 3],
    pub time_zone: String,
    /// The index by which the table is cut; empty: none.
    pub key_name: String,
    /// Its columns in its order, by their real names; none: the table is read at once.
    pub key: Vec<String>,
    pub estimated_rows: u64,
    pub estimated_bytes: u64,
    /// In which the definition was read.
    pub window: Window,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotDatabase {
    pub job: Uuid,
    pub database: String,
    /// As SHOW CREATE DATABASE prints it.
    pub create_database: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotEnd {
    pub copy: Uuid,
    /// That are in the log.
    pub rows: u64,
    /// That were read and are not in the log: the stream has them. For display: a copy that was gone on with after a restart counts those of
    /// the last process only.
    pub left_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotGivenUp {
    pub copy: Uuid,
    pub reason: GivenUp,
    /// For people.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// The table was dropped or renamed.
    Gone,
    /// The key by which it was cut is not what it was.
    Changed,
    /// It was being read at once, and that can't be gone on with.
    Interrupted,
    /// Somebody wanted it so.
    Cancelled,
}

/// What a snapshot may lack of what it shows: it opened after `open` was executed, and before the binlog had grown behind `file` and
/// `position`, and the record stands behind all that is before them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// GTID set, as the source prints it.
    pub open: String,
    pub file: String,
    pub position: u64,
}

impl SnapshotJob {
    /// Whether it is about the table. A filter that this version can't read is about every table: a reader then waits rather than loses.
    pub fn covers(&self, database: &str, table: &str) -> bool {
        let matches = |text: &str, unreadable| match text.parse::<TableFilter>() {
            Ok(filter) => filter.matches(database, table),
            Err(_) => unreadable,
        };
        matches(&self.tables, true) && (self.except.is_empty() || !matches(&self.except, false))
    }

    /// Whether tables of this database may be among the job's.
    pub fn touches(&self, database: &str) -> bool {
        let tables = self.tables.parse::<TableFilter>();
        let except = self.except.parse::<TableFilter>();
        tables.map_or(true, |tables| tables.touches(database, ""))
            && (self.except.is_empty() || !except.is_ok_and(|except| except.covers(database)))
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        avro::put_string(out, &self.tables);
        avro::put_string(out, &self.except);
        avro::put_long(out, self.over as i64);
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            id: take_uuid(input)?,
            tables: input.str()?.to_owned(),
            except: input.str()?.to_owned(),
            over: take_over(input)?,
        })
    }
}

impl Snapshot {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        avro::put_long(out, self.at_us as i64);
        let branch = match &self.step {
            SnapshotStep::Wanted(_) => 0,
            SnapshotStep::Begin(_) => 1,
            SnapshotStep::End(_) => 2,
            SnapshotStep::GivenUp(_) => 3,
            SnapshotStep::Planned(_) => 4,
            SnapshotStep::Done(_) => 5,
            SnapshotStep::Database(_) => 6,
        };
        avro::put_long(out, branch);
        match &self.step {
            SnapshotStep::Wanted(job) => job.put(out),
            SnapshotStep::Begin(begin) => begin.put(out),
            SnapshotStep::End(end) => {
                out.extend_from_slice(end.copy.as_bytes());
                avro::put_long(out, end.rows as i64);
                avro::put_long(out, end.left_out as i64);
            }
            SnapshotStep::GivenUp(given_up) => {
                out.extend_from_slice(given_up.copy.as_bytes());
                avro::put_long(out, given_up.reason as i64);
                avro::put_string(out, &given_up.detail);
            }
            SnapshotStep::Planned(job) | SnapshotStep::Done(job) => {
                out.extend_from_slice(job.as_bytes());
            }
            SnapshotStep::Database(there) => {
                out.extend_from_slice(there.job.as_bytes());
                avro::put_string(out, &there.database);
                avro::put_string(out, &there.create_database);
            }
        }
    }

    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        let at_us = input.unsigned()?;
        let steps = match version {
            Version::Five => 7,
            _ => 6,
        };
        let step = match input.branch(steps)? {
            0 => SnapshotStep::Wanted(SnapshotJob::take(input)?),
            1 => SnapshotStep::Begin(Box::new(SnapshotBegin::take(input, version)?)),
            2 => SnapshotStep::End(SnapshotEnd {
                copy: take_uuid(input)?,
                rows: input.unsigned()?,
                left_out: input.unsigned()?,
            }),
            3 => SnapshotStep::GivenUp(SnapshotGivenUp {
                copy: take_uuid(input)?,
                reason: GivenUp::ALL[usize::from(input.branch(GivenUp::ALL.len() as u8)?)],
                detail: input.str()?.to_owned(),
            }),
            4 => SnapshotStep::Planned(take_uuid(input)?),
            5 => SnapshotStep::Done(take_uuid(input)?),
            _ => SnapshotStep::Database(SnapshotDatabase {
                job: take_uuid(input)?,
                database: input.str()?.to_owned(),
                create_database: input.str()?.to_owned(),
            }),
        };
        Ok(Self { at_us, step })
    }
}

impl SnapshotBegin {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.job.as_bytes());
        out.extend_from_slice(self.copy.as_bytes());
        self.table.put(out);
        avro::put_long(out, self.over as i64);
        match self.replaces {
            None => out.push(0),
            Some(replaces) => {
                out.push(2);
                out.extend_from_slice(replaces.as_bytes());
            }
        }
        avro::put_string(out, &self.create_database);
        avro::put_string(out, &self.create_table);
        avro::put_long(out, self.sql_mode as i64);
        put_collations(out, self.collations);
        avro::put_string(out, &self.time_zone);
        avro::put_string(out, &self.key_name);
        put_strings(out, &self.key);
        avro::put_long(out, self.estimated_rows as i64);
        avro::put_long(out, self.estimated_bytes as i64);
        self.window.put(out);
    }

    fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        Ok(Self {
            job: take_uuid(input)?,
            copy: take_uuid(input)?,
            table: TableRef::take(input, version)?,
            over: take_over(input)?,
            replaces: match input.optional()? {
                false => None,
                true => Some(take_uuid(input)?),
            },
            create_database: input.str()?.to_owned(),
            create_table: input.str()?.to_owned(),
            // 64 flags: all bits are taken as they are.
            sql_mode: input.long()? as u64,
            collations: take_collations(input)?,
            time_zone: input.str()?.to_owned(),
            key_name: input.str()?.to_owned(),
            key: take_strings(input)?,
            estimated_rows: input.unsigned()?,
            estimated_bytes: input.unsigned()?,
            window: Window::take(input)?,
        })
    }
}

impl GivenUp {
    pub const ALL: [Self; 4] = [
        Self::Gone,
        Self::Changed,
        Self::Interrupted,
        Self::Cancelled,
    ];
}

impl Window {
    pub(super) fn size(&self) -> usize {
        avro::bytes_len(self.open.len()) + avro::bytes_len(self.file.len()) + avro::LONG_MAX
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        avro::put_string(out, &self.open);
        avro::put_string(out, &self.file);
        avro::put_long(out, self.position as i64);
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            open: input.str()?.to_owned(),
            file: input.str()?.to_owned(),
            position: input.unsigned()?,
        })
    }
}

pub(super) fn take_uuid(input: &mut Reader<'_>) -> Result<Uuid, RecordError> {
    Ok(Uuid::from_bytes(input.fixed()?))
}

pub(super) fn take_over(input: &mut Reader<'_>) -> Result<Over, RecordError> {
    Ok(Over::ALL[usize::from(input.branch(Over::ALL.len() as u8)?)])
}

pub(super) fn put_strings(out: &mut Vec<u8>, strings: &[String]) {
    if !strings.is_empty() {
        avro::put_long(out, strings.len() as i64);
        for string in strings {
            avro::put_string(out, string);
        }
    }
    out.push(0);
}

pub(super) fn take_strings(input: &mut Reader<'_>) -> Result<Vec<String>, RecordError> {
    let mut strings = Vec::new();
    input.array(|input| -> Result<(), RecordError> {
        strings.push(input.str()?.to_owned());
        Ok(())
    })?;
    Ok(strings)
}
