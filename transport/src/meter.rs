//! What stages measure of themselves while they run, for whoever looks: read at any time, never waited for.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use binferry_schemas::fault::Fault;

/// Upper bounds of times, microseconds: 100 µs to 10 s.
pub const TIMES: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];
/// Of counts: transactions, rows and records of a group.
pub const COUNTS: &[u64] = &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384];
/// Of sizes in bytes: 1 KiB to 4 MiB.
pub const SIZES: &[u64] = &[
    1 << 10,
    1 << 12,
    1 << 14,
    1 << 16,
    1 << 18,
    1 << 20,
    1 << 22,
];

/// How often values came that are at most as large as each bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// (bound, how many values are at most that), rising.
    pub buckets: Vec<(u64, u64)>,
    pub count: u64,
    pub sum: u64,
}

impl Histogram {
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// In microseconds.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let mut up_to = self.counts.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let buckets = self.bounds.iter().copied().zip(&mut up_to).collect();
        up_to.for_each(drop);
        Distribution {
            buckets,
            count,
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What the writers of a log's handle have made durable.
#[derive(Debug)]
pub struct LogMeter {
    /// From handing a group to the disk or the brokers until it is durable, microseconds.
    pub append: Histogram,
    /// Of what became durable together.
    pub group_records: Histogram,
    pub group_bytes: Histogram,
}

impl Default for LogMeter {
    fn default() -> Self {
        Self {
            append: Histogram::new(TIMES),
            group_records: Histogram::new(COUNTS),
            group_bytes: Histogram::new(SIZES),
        }
    }
}

/// Tables with a count of their own; those that come later share one, so that a source's number of tables bounds nothing else.
pub const MOST_TABLES: usize = 100;

/// Row changes by table.
#[derive(Debug, Default)]
pub struct TableRows {
    tables: Mutex<BTreeMap<(String, String), Arc<AtomicU64>>>,
    others: Arc<AtomicU64>,
}

impl TableRows {
    /// The table's counter, to be kept and added to; that of all others where there are too many tables.
    pub fn counter(&self, database: &str, table: &str) -> Arc<AtomicU64> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (database.to_owned(), table.to_owned());
        let room = tables.len() < MOST_TABLES;
        match tables.get(&name) {
            Some(counter) => Arc::clone(counter),
            None if room => Arc::clone(tables.entry(name).or_default()),
            None => Arc::clone(&self.others),
        }
    }

    /// (database, table, rows), and the rows of all other tables.
    pub fn read(&self) -> (Vec<(String, String, u64)>, u64) {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = tables.iter().map(|((database, table), rows)| {
            let rows = rows.load(Ordering::Relaxed);
            (database.clone(), table.clone(), rows)
        });
        (rows.collect(), self.others.load(Ordering::Relaxed))
    }
}

/// An error that did not end a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    pub at: SystemTime,
    /// With its causes.
    pub error: String,
    pub remedy: Option<String>,
}

impl LastError {
    pub fn now(error: &impl Fault) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            // Many errors print their cause themselves.
            if !text.contains(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
            cause = inner.source();
        }
        Self {
            at: SystemTime::now(),
            error: text,
            remedy: error.hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11] {
            histogram.observe(value);
        }
        assert_eq!(
            histogram.read(),
            Distribution {
                buckets: vec![(1, 2), (10, 4)],
                count: 5,
                sum: 24
            }
        );
    }

    #[test]
    fn tables_beyond_the_bound_share_a_counter() {
        let rows = TableRows::default();
        for number in 0..MOST_TABLES + 5 {
            let counter = rows.counter("shop", &format!("t{number:03}"));
            counter.fetch_add(2, Ordering::Relaxed);
        }
        // One that has its own keeps it.
        rows.counter("shop", "t000").fetch_add(1, Ordering::Relaxed);
        let (tables, others) = rows.read();
        assert_eq!(tables.len(), MOST_TABLES);
        assert_eq!(tables[0], ("shop".to_owned(), "t000".to_owned(), 3));
        assert_eq!(others, 10);
    }
}
