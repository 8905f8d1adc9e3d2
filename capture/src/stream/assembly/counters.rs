//! What a stream has seen, written and left out, since it began.
//!
//! Rows of tables that are not captured are counted as row events: how many rows an event holds is only known by decoding it.

use std::collections::BTreeMap;

use binferry_schemas::{
    gtid::Gtid,
    record::{Counts, Operation},
};

use crate::decode::event_name;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Seen.
    pub transactions: u64,
    /// Those of which the log has changes.
    pub transactions_written: u64,
    /// Those of which nothing is captured.
    pub transactions_filtered: u64,
    /// Written.
    pub rows: u64,
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
    /// Row events of tables that are not captured.
    pub row_events_filtered: u64,
    /// DDL statements and administration.
    pub statements: u64,
    /// Those that the log has.
    pub statements_written: u64,
    pub xa_prepared: u64,
    pub xa_committed: u64,
    pub xa_rolled_back: u64,
    pub events: u64,
    /// Of events, as the source has them.
    pub bytes: u64,
    pub newest: Option<Gtid>,
    pub newest_commit_us: u64,
}

impl Counters {
    /// Of two connections, one after the other.
    pub fn and(self, next: Self) -> Self {
        Self {
            transactions: self.transactions + next.transactions,
            transactions_written: self.transactions_written + next.transactions_written,
            transactions_filtered: self.transactions_filtered + next.transactions_filtered,
            rows: self.rows + next.rows,
            inserted: self.inserted + next.inserted,
            updated: self.updated + next.updated,
            deleted: self.deleted + next.deleted,
            row_events_filtered: self.row_events_filtered + next.row_events_filtered,
            statements: self.statements + next.statements,
            statements_written: self.statements_written + next.statements_written,
            xa_prepared: self.xa_prepared + next.xa_prepared,
            xa_committed: self.xa_committed + next.xa_committed,
            xa_rolled_back: self.xa_rolled_back + next.xa_rolled_back,
            events: self.events + next.events,
            bytes: self.bytes + next.bytes,
            newest: next.newest.or(self.newest),
            newest_commit_us: self.newest_commit_us.max(next.newest_commit_us),
        }
    }

    /// What `row` counts.
    pub(super) fn rows(&self) -> [u64; 4] {
        [self.rows, self.inserted, self.updated, self.deleted]
    }

    /// As it was: what was counted since is not written.
    pub(super) fn set_rows(&mut self, rows: [u64; 4]) {
        [self.rows, self.inserted, self.updated, self.deleted] = rows;
    }

    pub(super) fn row(&mut self, operation: Operation) {
        self.rows += 1;
        match operation {
            Operation::Insert => self.inserted += 1,
            Operation::Update => self.updated += 1,
            Operation::Delete => self.deleted += 1,
        }
    }
}

/// Events by their type codes.
#[derive(Debug, Clone)]
pub(super) struct EventCounts(Box<[u64; 256]>);

impl EventCounts {
    pub(super) fn new() -> Self {
        Self(Box::new([0; 256]))
    }

    #[inline]
    pub(super) fn add(&mut self, type_code: u8) {
        self.0[usize::from(type_code)] += 1;
    }
}

/// As a heartbeat states them; docs/records.md lists the names. What is 0 is left out.
pub(super) fn counts(
    since_us: u64,
    counters: &Counters,
    events: &EventCounts,
    copied_rows: u64,
) -> Counts {
    let mut counts: BTreeMap<String, u64> = [
        ("transactions.seen", counters.transactions),
        ("transactions.written", counters.transactions_written),
        ("transactions.filtered", counters.transactions_filtered),
        ("rows.insert", counters.inserted),
        ("rows.update", counters.updated),
        ("rows.delete", counters.deleted),
        ("row_events.filtered", counters.row_events_filtered),
        ("rows.copied", copied_rows),
        ("statements.seen", counters.statements),
        ("statements.written", counters.statements_written),
        ("xa.prepared", counters.xa_prepared),
        ("xa.committed", counters.xa_committed),
        ("xa.rolled_back", counters.xa_rolled_back),
        ("bytes.seen", counters.bytes),
        ("events.seen", counters.events),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into();
    for (code, count) in (0..=u8::MAX).zip(events.0.iter()) {
        if *count > 0 {
            // Types that have the same name here add up.
            *counts
                .entry(format!("events.seen.{}", event_name(code)))
                .or_default() += count;
        }
    }
    counts.retain(|_, count| *count > 0);
    Counts { since_us, counts }
}
