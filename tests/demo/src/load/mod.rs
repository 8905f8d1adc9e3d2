//! The load: several connections that write to the source until they are told to stop.
//!
//! Each transaction that commits has exactly one row in `ledger`, its last statement, so that the judge can count
//! transactions by looking at rows. Deadlocks are part of such a load: the transaction is rolled back and another drawn.

mod transactions;
mod values;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::schema::{ACCOUNTS, DATABASE, SEATS, TICKETS};
use transactions::{Draw, Kind};

pub const BULK_ROWS: u64 = 100_000;

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Counts {
    pub committed: AtomicU64,
    pub rolled_back: AtomicU64,
    pub deadlocks: AtomicU64,
    by_kind: [AtomicU64; Kind::ALL.len()],
}

impl Counts {
    /// Committed transactions of each kind, in the order of the kinds.
    pub fn kinds(&self) -> Vec<(&'static str, u64)> {
        Kind::ALL
            .iter()
            .zip(&self.by_kind)
            .map(|(kind, count)| (kind.name(), count.load(Ordering::Relaxed)))
            .collect()
    }

    fn count(&self, kind: Kind) {
        if kind == Kind::Rollback {
            self.rolled_back.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.committed.fetch_add(1, Ordering::Relaxed);
        if let Some(count) = self.by_kind.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Result<()>>>,
}

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub connections: u64,
    /// All connections together.
    pub transactions_per_second: u64,
    pub vector: bool,
}

impl Load {
    /// Must be called in a runtime.
    pub fn start(opts: &Opts, plan: Plan, counts: Arc<Counts>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..plan.connections)
            .map(|number| {
                let draw = Draw::new(
                    Chance::new(plan.seed.wrapping_add(number)),
                    number,
                    plan.vector,
                );
                let pause = Duration::from_secs(plan.connections)
                    / u32::try_from(plan.transactions_per_second.max(1)).unwrap_or(u32::MAX);
                let (opts, stop, counts) = (opts.clone(), Arc::clone(&stop), Arc::clone(&counts));
                tokio::spawn(async move { write(opts, draw, pause, &stop, &counts).await })
            })
            .collect();
        Load { stop, writers }
    }

    /// Whether a writer has failed: then the load is over, and [`Load::stop`] tells why.
    pub fn has_failed(&self) -> bool {
        self.writers.iter().any(JoinHandle::is_finished)
    }

    /// Lets each connection finish its transaction.
    pub async fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.context("a writer of the load panicked")??;
        }
        Ok(())
    }
}

async fn write(
    opts: Opts,
    mut draw: Draw,
    pause: Duration,
    stop: &AtomicBool,
    counts: &Counts,
) -> Result<()> {
    let mut connection = connect(opts).await?;
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let kind = draw.kind();
        match draw.run(kind, &mut connection).await {
            Ok(()) => counts.count(kind),
            Err(error) if is_deadlock(&error) => {
                counts.deadlocks.fetch_add(1, Ordering::Relaxed);
                connection.query_drop("ROLLBACK").await?;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("load, transaction {}", kind.name()));
            }
        }
        next += pause;
        // After a hiccup of the server the lost time is not made up for: the rate is a ceiling.
        next = next.max(Instant::now() - Duration::from_millis(200));
        tokio::time::sleep_until(next).await;
    }
    connection.disconnect().await?;
    Ok(())
}

/// Deadlock found; lock wait timeout exceeded.
fn is_deadlock(error: &mysql_async::Error) -> bool {
    matches!(error, mysql_async::Error::Server(server) if server.code == 1213 || server.code == 1205)
}

async fn connect(opts: Opts) -> Result<Conn> {
    let mut connection = Conn::new(opts).await?;
    // Zero and partial dates are part of the load.
    connection
        .query_drop(format!(
            "USE {DATABASE}; SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', cte_max_recursion_depth = 1000000, \
             time_zone = '+02:00'"
        ))
        .await?;
    Ok(connection)
}

/// What is there before the load starts.
pub async fn prepare(opts: &Opts, counts: &Counts) -> Result<()> {
    const STEP: u64 = 1000;
    let mut connection = connect(opts.clone()).await?;
    for from in (1..=ACCOUNTS).step_by(STEP as usize) {
        let rows = series(from, from + STEP - 1);
        transaction(
            &mut connection,
            counts,
            &format!("INSERT INTO accounts (id, email, balance) {rows} SELECT n, CONCAT('user', n, '@exämple.org'), 1000 FROM s"),
        )
        .await?;
    }
    for statement in [
        format!(
            "INSERT INTO seats {} SELECT n, n, CONCAT('guest ', n) FROM s",
            series(1, SEATS)
        ),
        // With gaps, for keys to move into.
        format!(
            "INSERT INTO tickets {} SELECT n * 10, CONCAT('holder ', n) FROM s",
            series(1, TICKETS)
        ),
    ] {
        transaction(&mut connection, counts, &statement).await?;
    }
    connection.disconnect().await?;
    Ok(())
}

/// One transaction with [`BULK_ROWS`] rows: the first generation inserts them, the next ones update them all.
pub async fn bulk(opts: &Opts, counts: &Counts, generation: u32) -> Result<()> {
    let statement = if generation == 0 {
        format!(
            "INSERT INTO bulk {} SELECT n, 0, n / 7, LEFT(SHA2(n, 256), 40) FROM s",
            series(1, BULK_ROWS)
        )
    } else {
        "UPDATE bulk SET generation = generation + 1, measure = measure * 1.5, payload = REVERSE(payload)"
            .to_owned()
    };
    let mut connection = connect(opts.clone()).await?;
    transaction(&mut connection, counts, &statement).await?;
    connection.disconnect().await?;
    Ok(())
}

async fn transaction(connection: &mut Conn, counts: &Counts, statement: &str) -> Result<()> {
    connection.query_drop("BEGIN").await?;
    connection.query_drop(statement).await?;
    connection.query_drop(Kind::Bulk.ledger()).await?;
    connection.query_drop("COMMIT").await?;
    counts.count(Kind::Bulk);
    Ok(())
}

/// The numbers from `first` to `last` as a table `s` with a column `n`.
fn series(first: u64, last: u64) -> String {
    format!(
        "WITH RECURSIVE s AS (SELECT {first} AS n UNION ALL SELECT n + 1 FROM s WHERE n < {last})"
    )
}
