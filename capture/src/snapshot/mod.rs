//! The copy of tables that are there already, into the log, while the stream flows: docs/snapshot.md has the rules and the argument.
//!
//! A coordinator goes through the jobs that the fold has; readers, each on a connection of its own, read tables range by range out of
//! consistent snapshots; the [`desk`] is where the stream takes what they hand in. Everything that must survive is in the log: after any
//! end, the next attempt goes on behind the last range of each copy.
//!
//! No lock is taken and nothing is written on the source. An error of any reader ends the attempt, as one of the stream does.

mod coordinator;
mod definition;
pub(crate) mod desk;
mod dialect;
pub mod error;
mod keys;
mod mariadb;
mod ranges;
mod reader;
pub mod request;
pub mod single;
mod sql;
mod table;
mod window;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use binferry_schemas::{
    address::Address,
    filter::TableFilter,
    gtid::Uuid,
    record::{CopyState, Over, SnapshotJob},
};
use binferry_transport::log::Log;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::info;

pub(crate) use self::coordinator::{Beginning, begin, is_refused};
pub(crate) use self::definition::CASCADES;
pub use self::definition::Name;
use self::{definition::Definition, desk::Order, error::SnapshotError, reader::Reader};
use crate::{error::CaptureError, stream::Progress};

/// While something is too busy.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How tables are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOptions {
    /// Tables that are read at the same time, each on a connection of its own.
    pub readers: usize,
    /// At most so many rows a second, of all readers together.
    pub rate: Option<u64>,
    /// Nothing is read while the stream is farther behind the source.
    pub lag: Option<Duration>,
    /// Nothing is read while more of the source's threads are at work (its Threads_running).
    pub threads: Option<u64>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            rate: None,
            lag: None,
            threads: None,
        }
    }
}

/// A table that is being copied, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyProgress {
    pub database: String,
    pub table: String,
    pub rows: u64,
    /// The server's estimate.
    pub estimated_rows: u64,
    pub estimated_bytes: u64,
    /// When this capture began with it, and how many rows there were then.
    pub since: Option<std::time::Instant>,
    pub rows_before: u64,
}

impl CopyProgress {
    /// About so many, by the table's average row.
    pub fn bytes(&self) -> u64 {
        bytes_of(self.rows, self.estimated_rows, self.estimated_bytes)
    }

    /// At the rate since `since`; `None`: there is none yet.
    pub fn left(&self) -> Option<Duration> {
        let took = self.since?.elapsed();
        let fresh = self.rows.saturating_sub(self.rows_before);
        if fresh == 0 || took < Duration::from_secs(1) {
            return None;
        }
        let missing = self.estimated_rows.saturating_sub(self.rows);
        let seconds = took.as_secs_f64() * missing as f64 / fresh as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// What rows of a table take, by the server's estimates of all of it.
pub fn bytes_of(rows: u64, estimated_rows: u64, estimated_bytes: u64) -> u64 {
    let all = u128::from(rows) * u128::from(estimated_bytes);
    u64::try_from(all / u128::from(estimated_rows.max(1))).unwrap_or(u64::MAX)
}

/// What the readers of an attempt share.
#[derive(Debug)]
struct Shared {
    address: Address,
    server_uuid: Uuid,
    filter: TableFilter,
    log: Arc<dyn Log>,
    desk: mpsc::Sender<Order>,
    options: CopyOptions,
    /// When the next rows may be read.
    paced: tokio::sync::Mutex<Option<Instant>>,
    progress: watch::Sender<Progress>,
    tables: Mutex<BTreeMap<Name, CopyProgress>>,
}

impl Shared {
    async fn reader(&self) -> Result<Reader, CaptureError> {
        Reader::open(&self.address, self.server_uuid, self.desk.clone()).await
    }

    fn check(&self, definition: &Definition) -> Result<(), SnapshotError> {
        match &definition.cascade {
            None => Ok(()),
            Some(constraint) => Err(SnapshotError::Cascade {
                database: definition.schema.database.clone(),
                table: definition.schema.table.clone(),
                constraint: constraint.clone(),
            }),
        }
    }

    /// Waits while the stream or the source is too busy for a copy. Not inside a window.
    async fn wait_for_leave(&self, reader: &mut Reader) -> Result<(), CaptureError> {
        loop {
            let reason = self.busy(reader).await?;
            if self.progress.borrow().copies_wait != reason {
                match &reason {
                    Some(reason) => info!(reason, "the copy waits"),
                    None => info!("the copy goes on"),
                }
                self.progress
                    .send_modify(|progress| progress.copies_wait.clone_from(&reason));
            }
            if reason.is_none() {
                return Ok(());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn busy(&self, reader: &mut Reader) -> Result<Option<String>, CaptureError> {
        let behind = (self.options.lag).and_then(|most| behind(&self.progress.borrow(), most));
        if behind.is_some() {
            return Ok(behind);
        }
        if let Some(most) = self.options.threads {
            let running = reader.threads_running().await?;
            if running > most {
                return Ok(Some(format!("{running} threads run on the source")));
            }
        }
        Ok(None)
    }

    async fn throttle(&self, rows: u64) {
        let Some(rate) = self.options.rate.filter(|rate| *rate > 0) else {
            return;
        };
        let until = {
            let mut paced = self.paced.lock().await;
            let now = Instant::now();
            let from = paced.map_or(now, |paced| paced.max(now));
            let until = from + Duration::from_secs_f64(rows as f64 / rate as f64);
            *paced = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }

    fn tell(&self, state: &CopyState) {
        let name = (state.table.database.clone(), state.table.table.clone());
        let told = CopyProgress {
            database: name.0.clone(),
            table: name.1.clone(),
            rows: state.rows,
            estimated_rows: state.estimated_rows,
            estimated_bytes: state.estimated_bytes,
            since: Some(std::time::Instant::now()),
            rows_before: state.rows,
        };
        self.publish(|tables| match tables.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(told);
            }
            Entry::Occupied(mut entry) => {
                let (since, rows_before) = (entry.get().since, entry.get().rows_before);
                entry.insert(CopyProgress {
                    since,
                    rows_before,
                    ..told
                });
            }
        });
    }

    fn forget(&self, state: &CopyState) {
        let name = (state.table.database.clone(), state.table.table.clone());
        self.publish(|tables| tables.remove(&name));
    }

    fn publish<T>(&self, change: impl FnOnce(&mut BTreeMap<Name, CopyProgress>) -> T) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tables);
        let copies = tables.values().cloned().collect();
        self.progress
            .send_modify(|progress| progress.copies = copies);
    }
}

/// Why the stream is farther behind its source than that.
fn behind(progress: &Progress, most: Duration) -> Option<String> {
    if progress.file.is_empty() {
        return Some("the stream has not begun".to_owned());
    }
    // What has not been taken by the log is behind, too.
    let stalled = progress.stall.as_ref().map(|stall| stall.since);
    let stalled = stalled.and_then(|since| since.elapsed().ok());
    let lag = Duration::from_micros(progress.lag_us).max(stalled.unwrap_or_default());
    (lag > most).then(|| format!("the stream is {} s behind the source", lag.as_secs()))
}

/// A job for the tables of a filter.
pub fn job(tables: &TableFilter, except: Option<&TableFilter>, over: Over) -> SnapshotJob {
    SnapshotJob {
        id: Uuid::new_v4(),
        tables: tables.to_string(),
        except: except.map(ToString::to_string).unwrap_or_default(),
        over,
    }
}

fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use binferry_transport::log::Stall;

    use super::*;

    #[test]
    fn copies_wait_for_a_stream_that_is_behind() {
        let most = Duration::from_secs(10);
        let mut progress = Progress::default();
        assert!(behind(&progress, most).is_some());
        progress.file = "binlog.000001".to_owned();
        progress.lag_us = 10_000_000;
        assert_eq!(behind(&progress, most), None);
        progress.lag_us += 1;
        assert!(behind(&progress, most).unwrap().contains("10 s behind"));
        progress.lag_us = 0;
        progress.stall = Some(Stall {
            since: SystemTime::now() - Duration::from_secs(60),
            reason: String::new(),
        });
        assert!(behind(&progress, most).is_some());
    }

    #[test]
    fn what_is_left_is_told_by_the_rate() {
        let mut copy = CopyProgress {
            rows: 150,
            rows_before: 50,
            estimated_rows: 250,
            estimated_bytes: 2500,
            ..CopyProgress::default()
        };
        assert_eq!((copy.bytes(), copy.left()), (1500, None));
        copy.since = std::time::Instant::now().checked_sub(Duration::from_secs(100));
        assert_eq!(copy.left().map(|left| left.as_secs()), Some(100));
        // The estimate was too low.
        copy.rows = 300;
        assert_eq!(copy.left().map(|left| left.as_secs()), Some(0));
        assert_eq!(bytes_of(u64::MAX, 0, u64::MAX), u64::MAX);
    }
}
