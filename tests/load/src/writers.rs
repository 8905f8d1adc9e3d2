//! Connections that write until there is enough, or until they are told to stop.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use mysql_async::{Conn, Opts, prelude::Queryable};

use crate::{Ends, Load, Random, Transaction};

/// What such a load meets by its nature: the transaction is rolled back, and another drawn. Duplicate keys, foreign keys in both directions,
/// lock wait timeouts and deadlocks, checks.
const EXPECTED: [u16; 6] = [1062, 1451, 1452, 1205, 1213, 3819];

/// How to write.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Connection `n` draws from `seed + n`.
    pub seed: u64,
    pub connections: u64,
    /// Of all connections together; they write as fast as they can without it.
    pub per_second: Option<u64>,
    /// Of all connections together; they write until they are told to stop without it.
    pub transactions: Option<u64>,
    /// A row in the table `ledger` for each transaction ([`crate::LEDGER`]).
    pub ledger: bool,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    begun: AtomicU64,
    committed: AtomicU64,
    rolled_back: AtomicU64,
}

/// A running load. Dropping it lets it end by itself.
#[derive(Debug)]
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Writers {
    /// `load` makes what each connection draws from, by its number.
    pub fn start<L: Load>(
        opts: &Opts,
        database: &str,
        plan: Plan,
        mut load: impl FnMut(u64) -> L,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..plan.connections)
            .map(|number| {
                let load = load(number);
                let (opts, database, shared) =
                    (opts.clone(), database.to_owned(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()?;
                    let random = Random::new(plan.seed.wrapping_add(number));
                    runtime.block_on(write(opts, &database, plan, load, random, &shared))
                })
            })
            .collect();
        Self { shared, threads }
    }

    pub fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::Relaxed)
    }

    /// By the load's own will, or because of an expected error.
    pub fn rolled_back(&self) -> u64 {
        self.shared.rolled_back.load(Ordering::Relaxed)
    }

    /// Whether a connection has come to its end: of itself, or by an error, which [`Writers::join`] tells.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until there are as many transactions as were wanted. Committed ones.
    pub fn join(self) -> Result<u64> {
        for thread in self.threads {
            let ended = thread.join().map_err(|_| anyhow!("a writer panicked"))?;
            ended?;
        }
        Ok(self.shared.committed.load(Ordering::Relaxed))
    }

    /// Lets each connection finish its transaction. Committed ones.
    pub fn stop(self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()
    }
}

async fn write(
    opts: Opts,
    database: &str,
    plan: Plan,
    mut load: impl Load,
    mut random: Random,
    shared: &Shared,
) -> Result<()> {
    let mut connection = Conn::new(opts).await?;
    connection.query_drop(format!("USE `{database}`")).await?;
    let pause = plan.per_second.map(|rate| {
        Duration::from_secs(plan.connections) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX)
    });
    let mut next = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        if plan.transactions.is_some_and(|all| {
            let mine = shared.begun.fetch_add(1, Ordering::Relaxed);
            mine >= all
        }) {
            break;
        }
        let transaction = load.draw(&mut random);
        run(&mut connection, &transaction, plan.ledger, shared)
            .await
            .with_context(|| format!("load, transaction {}", transaction.what))?;
        if let Some(pause) = pause {
            next += pause;
            // After a hiccup of the server the lost time is not made up for: the rate is a ceiling.
            if let Some(earliest) = Instant::now().checked_sub(Duration::from_millis(200)) {
                next = next.max(earliest);
            }
            tokio::time::sleep_until(next.into()).await;
        }
    }
    connection.disconnect().await?;
    Ok(())
}

async fn run(
    connection: &mut Conn,
    transaction: &Transaction,
    ledger: bool,
    shared: &Shared,
) -> Result<()> {
    match connection.query_drop(transaction.statements(ledger)).await {
        Ok(()) if transaction.ends != Ends::RollBack => {
            shared.committed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(()) => {
            shared.rolled_back.fetch_add(1, Ordering::Relaxed);
        }
        Err(mysql_async::Error::Server(error)) if EXPECTED.contains(&error.code) => {
            connection.query_drop("ROLLBACK").await?;
            shared.rolled_back.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
