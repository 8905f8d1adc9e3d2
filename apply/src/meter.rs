//! What an applier measures of itself, for whoever looks.

use std::{collections::HashMap, sync::Arc, sync::atomic::Ordering};

use binferry_transport::meter::{COUNTS, Histogram, TIMES, TableRows};

use crate::{change::RowChange, error::TableName};

/// Shared by an applier's workers, over all its attempts.
#[derive(Debug)]
pub struct ApplyMeter {
    /// From sending COMMIT to its answer, microseconds.
    pub commit: Histogram,
    /// Of the groups that were committed.
    pub group_transactions: Histogram,
    pub group_rows: Histogram,
    /// Row changes that were committed, by table of the source.
    pub tables: TableRows,
}

impl Default for ApplyMeter {
    fn default() -> Self {
        Self {
            commit: Histogram::new(TIMES),
            group_transactions: Histogram::new(COUNTS),
            group_rows: Histogram::new(COUNTS),
            tables: TableRows::default(),
        }
    }
}

impl ApplyMeter {
    pub(crate) fn changes(&self, changes: &[RowChange]) {
        // A group has many rows and few tables: names are looked at once for each.
        let mut counts: HashMap<_, (&RowChange, u64)> = HashMap::new();
        for run in changes.chunk_by(|a, b| Arc::ptr_eq(&a.mapping, &b.mapping)) {
            if let Some(first) = run.first() {
                let (_, rows) = counts
                    .entry(Arc::as_ptr(&first.mapping))
                    .or_insert((first, 0));
                *rows += run.len() as u64;
            }
        }
        for (change, rows) in counts.into_values() {
            self.rows(&change.mapping.name, rows);
        }
    }

    pub(crate) fn rows(&self, name: &TableName, rows: u64) {
        let counter = self.tables.counter(&name.database, &name.table);
        counter.fetch_add(rows, Ordering::Relaxed);
    }
}
