//! A write load on a source: transactions that are hard to carry, each with a row in `ledger`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Result, anyhow};
pub use binferry_generate::Random;
use binferry_load::{LEDGER, hard};
use binferry_servers::{MySql, Release};
use mysql_async::{Conn, prelude::Queryable};

/// Makes the load's tables on both servers, and the first rows on the source.
pub fn prepare(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    for server in [source, target] {
        let tables = hard::tables(server.release() != Release::MariaDb10_11);
        server.sql(&format!("USE `{database}`; {LEDGER}; {tables}"))?;
    }
    Ok(())
}

/// Runs until it is stopped; errors of the source (killed, restarted) are waited out.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(source: &MySql, database: &str, seed: u64) -> Self {
        Self::start_as(source, database, seed, transaction)
    }

    /// Some of its transactions are compressed in the binlog, at one level or another.
    pub fn compressed(source: &MySql, database: &str, seed: u64) -> Self {
        Self::start_as(source, database, seed, |random| {
            format!("{}; {}", compression(random), transaction(random))
        })
    }

    /// With transactions of another kind.
    pub fn start_as(
        source: &MySql,
        database: &str,
        seed: u64,
        transaction: impl Fn(&mut Random) -> String + Send + 'static,
    ) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (opts, database) = (source.opts(), database.to_owned());
        let (halt, count) = (stop.clone(), done.clone());
        let thread = std::thread::spawn(move || {
            let Ok(runtime) = mysql_runtime() else { return };
            runtime.block_on(async move {
                let mut random = Random::new(seed);
                while !halt.load(Ordering::Relaxed) {
                    let Ok(mut connection) = Conn::new(opts.clone()).await else {
                        std::thread::sleep(Duration::from_millis(50));
                        continue;
                    };
                    if connection
                        .query_drop(format!("USE `{database}`"))
                        .await
                        .is_err()
                    {
                        continue;
                    }
                    while !halt.load(Ordering::Relaxed) {
                        if connection
                            .query_drop(transaction(&mut random))
                            .await
                            .is_err()
                        {
                            // A duplicate key inside the transaction, or a lost connection.
                            let _ = connection.query_drop("ROLLBACK").await;
                            if connection.ping().await.is_err() {
                                break;
                            }
                            continue;
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        });
        Self {
            stop,
            done,
            thread: Some(thread),
        }
    }

    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub fn wait_for(&self, more: u64) -> Result<()> {
        let until = self.done() + more;
        crate::binferry::eventually("the load goes on", || Ok(self.done() >= until))
    }

    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread
                .join()
                .map_err(|_| anyhow!("the load has panicked"))?;
        }
        Ok(self.done())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn mysql_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn compression(random: &mut Random) -> String {
    format!(
        "SET SESSION binlog_transaction_compression = {}, binlog_transaction_compression_level_zstd = {}",
        random.below(3).min(1),
        random.pick(&[1, 3, 9, 19])
    )
}

/// One that is hard to carry, as a multi-statement.
pub fn transaction(random: &mut Random) -> String {
    let (what, body) = hard::rows(random);
    let end = match random.below(20) {
        0 => "ROLLBACK",
        _ => "COMMIT",
    };
    format!("BEGIN; INSERT INTO ledger (what) VALUES ('{what}'); {body}; {end}")
}
