//! What a log says of copies, in its order: for tests of how a copy came about, not of what it has brought.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result, ensure};
use binferry_schemas::{
    gtid::Uuid,
    record::{Body, GivenUp, Over, Record, SnapshotStep},
};
use binferry_transport::log::Stored;

use crate::records;

#[derive(Debug)]
pub enum Entry {
    Wanted,
    Begin {
        copy: Uuid,
        table: String,
        over: Over,
    },
    Range {
        copy: Uuid,
        chunk: u64,
        rows: u64,
        lower: Option<Vec<u8>>,
        upper: Option<Vec<u8>>,
    },
    End(Uuid),
    GivenUp(Uuid, GivenUp),
    Done,
    Statement(String),
}

/// Only what counts: records of an incarnation that another one has ended are left out.
pub fn read(folder: &Path) -> Result<Vec<Entry>> {
    let (mut entries, mut newest) = (Vec::new(), None);
    for stored in records::all(folder)? {
        take(&stored, &mut newest, &mut entries)?;
    }
    Ok(entries)
}

fn take(stored: &Stored, newest: &mut Option<Uuid>, entries: &mut Vec<Entry>) -> Result<()> {
    let record = Record::decode(&stored.bytes)?;
    let incarnation = record.header.incarnation.0;
    match record.body {
        Body::Start(start) => {
            *newest = Some(incarnation);
            entries.extend(start.job.map(|_| Entry::Wanted));
        }
        _ if *newest != Some(incarnation) => {}
        Body::Ddl(ddl) => entries.push(Entry::Statement(ddl.statement)),
        Body::SnapshotRows(rows) if rows.head.last => entries.push(Entry::Range {
            copy: rows.head.copy,
            chunk: rows.head.chunk,
            rows: rows.head.rows,
            lower: rows.lower,
            upper: rows.head.upper,
        }),
        Body::Snapshot(snapshot) => entries.push(match snapshot.step {
            SnapshotStep::Wanted(_) => Entry::Wanted,
            SnapshotStep::Begin(begin) => Entry::Begin {
                copy: begin.copy,
                table: begin.table.table,
                over: begin.over,
            },
            SnapshotStep::End(end) => Entry::End(end.copy),
            SnapshotStep::GivenUp(given_up) => Entry::GivenUp(given_up.copy, given_up.reason),
            SnapshotStep::Done(_) => Entry::Done,
            SnapshotStep::Planned(_) | SnapshotStep::Database(_) => return Ok(()),
        }),
        _ => {}
    }
    Ok(())
}

/// The copies of a table, in their order.
pub fn copies(entries: &[Entry], name: &str) -> Vec<Uuid> {
    let of = |entry: &Entry| match entry {
        Entry::Begin { copy, table, .. } if table == name => Some(*copy),
        _ => None,
    };
    entries.iter().filter_map(of).collect()
}

/// Why a copy was given up.
pub fn given_up(entries: &[Entry], of: Uuid) -> Option<GivenUp> {
    entries.iter().find_map(|entry| match entry {
        Entry::GivenUp(copy, reason) if *copy == of => Some(*reason),
        _ => None,
    })
}

pub fn has_ended(entries: &[Entry], of: Uuid) -> bool {
    let is_end = |entry: &Entry| matches!(entry, Entry::End(copy) if *copy == of);
    entries.iter().any(is_end)
}

/// Rows of a copy that are in the log.
pub fn rows(entries: &[Entry], of: Uuid) -> u64 {
    let of = |entry: &Entry| match entry {
        Entry::Range { copy, rows, .. } if *copy == of => *rows,
        _ => 0,
    };
    entries.iter().map(of).sum()
}

/// Each range of each copy begins where the one before has ended, and none comes twice; no range is of a copy that is over.
pub fn ensure_seamless(entries: &[Entry]) -> Result<()> {
    let mut under_way: HashMap<Uuid, (String, u64, Option<Vec<u8>>)> = HashMap::new();
    for entry in entries {
        match entry {
            Entry::Begin { copy, table, .. } => {
                under_way.retain(|_, (other, ..)| other != table);
                under_way.insert(*copy, (table.clone(), 0, None));
            }
            Entry::End(copy) | Entry::GivenUp(copy, _) => {
                under_way.remove(copy);
            }
            Entry::Range {
                copy,
                chunk,
                lower,
                upper,
                ..
            } => {
                let (table, next, end) = under_way
                    .get_mut(copy)
                    .context("a range of a copy that is over")?;
                ensure!(chunk == next, "{table}: range {chunk} instead of {next}");
                ensure!(lower == end, "{table}: range {chunk} does not go on");
                (*next, *end) = (chunk + 1, upper.clone());
            }
            _ => {}
        }
    }
    Ok(())
}
