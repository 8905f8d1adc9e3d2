//! How far the target is behind, as someone sees it who reads both servers: the age of the newest ledger row on the target.
//!
//! With hundreds of transactions a second the newest row is a few milliseconds old when nothing lags, which is the error of
//! this measurement.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};

const EVERY: Duration = Duration::from_millis(50);

const AGE: &str =
    "SELECT TIMESTAMPDIFF(MICROSECOND, at, NOW(6)) FROM shop.ledger ORDER BY id DESC LIMIT 1";

/// Samples in microseconds, and whether they count just now.
#[derive(Debug, Default)]
pub struct Lag {
    samples: Mutex<Vec<u64>>,
    stop: AtomicBool,
}

impl Lag {
    /// Looks until [`Lag::stop`]; a target that is down is no sample.
    pub async fn watch(self: Arc<Self>, target: Opts) {
        let mut connection = None;
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(EVERY).await;
            match self.look(&mut connection, &target).await {
                Ok(Some(age)) => self.lock().push(u64::try_from(age).unwrap_or(0)),
                Ok(None) => {}
                Err(_) => connection = None,
            }
        }
    }

    async fn look(&self, connection: &mut Option<Conn>, target: &Opts) -> Result<Option<i64>> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Conn::new(target.clone()).await?),
        };
        Ok(connection.query_first(AGE).await?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Median and most.
    pub fn figures(&self) -> (Duration, Duration) {
        let mut samples = self.lock().clone();
        samples.sort_unstable();
        let micros = |index: usize| Duration::from_micros(samples.get(index).copied().unwrap_or(0));
        (
            micros(samples.len() / 2),
            micros(samples.len().saturating_sub(1)),
        )
    }
}
