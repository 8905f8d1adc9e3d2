//! What becomes of a table's changes: the fold says which tables are being copied, or will be.
//!
//! - A table that a job has yet to begin: its changes are passed over, as its rows are read later and have them.
//! - A table that is being copied by a key: its changes are applied, and rows may be missing.
//! - A table that is being copied without a key: its changes are passed over until the end; the rows come at once, and have them.
//! - A table whose copy was given up and not begun anew holds part of the rows. As while it was being copied.

use std::collections::HashMap;

use binferry_schemas::record::{CopyState, FoldState, Over};

use super::ledger::{Entry, State};
use crate::error::TableName;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Apply,
    /// Rows that a change is about may not be there yet.
    Tolerate,
    /// The rows that the copy brings later have it.
    Pass,
}

/// Remembers the answers until the next step of a copy.
#[derive(Debug, Default)]
pub struct Fates {
    known: HashMap<TableName, Fate>,
    /// Copies that were given up, and have rows on the target.
    left: HashMap<TableName, Fate>,
}

impl Fates {
    pub fn new(entries: &[Entry]) -> Self {
        let left = entries.iter().filter(|entry| entry.state == State::GivenUp);
        Self {
            known: HashMap::new(),
            left: left
                .map(|entry| (entry.table.clone(), of_copy(entry.keyless)))
                .collect(),
        }
    }

    pub fn of(&mut self, state: &FoldState, table: &TableName) -> Fate {
        if let Some(fate) = self.known.get(table) {
            return *fate;
        }
        let fate = match fate(state, table) {
            Fate::Apply => self.left.get(table).copied().unwrap_or(Fate::Apply),
            fate => fate,
        };
        self.known.insert(table.clone(), fate);
        fate
    }

    /// After a step of a copy, or a `Start`.
    pub fn changed(&mut self) {
        self.known.clear();
    }

    pub fn begun(&mut self, table: &TableName) {
        self.left.remove(table);
        self.changed();
    }

    pub fn given_up(&mut self, table: TableName, keyless: bool) {
        self.left.insert(table, of_copy(keyless));
        self.changed();
    }
}

fn of_copy(keyless: bool) -> Fate {
    match keyless {
        true => Fate::Pass,
        false => Fate::Tolerate,
    }
}

fn fate(state: &FoldState, table: &TableName) -> Fate {
    for site in &state.sites {
        if let Some(copy) = site.copies.iter().find(|copy| is_of(copy, table)) {
            return of_copy(copy.key.is_empty());
        }
    }
    match awaited(state, table) {
        true => Fate::Pass,
        false => Fate::Apply,
    }
}

/// Does the target lack rows of the table, as far as the log tells?
pub fn is_incomplete(state: &FoldState, table: &TableName) -> bool {
    let mut copies = state.sites.iter().flat_map(|site| &site.copies);
    copies.any(|copy| is_of(copy, table)) || awaited(state, table)
}

/// A job will begin its copy. What is to be repaired has its rows until then.
pub fn awaited(state: &FoldState, table: &TableName) -> bool {
    let mut jobs = state.sites.iter().flat_map(|site| &site.jobs);
    jobs.any(|job| job.job.over != Over::Repair && job.awaits(&table.database, &table.table))
}

fn is_of(copy: &CopyState, table: &TableName) -> bool {
    copy.table.database == table.database && copy.table.table == table.table
}
