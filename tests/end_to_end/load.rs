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
use binferry_servers::{MySql, Release};
use mysql_async::{Conn, prelude::Queryable};

pub const TABLES: &str = "
    CREATE TABLE ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(20) NOT NULL);
    CREATE TABLE item (id INT PRIMARY KEY, code INT UNIQUE, label VARCHAR(40), price DECIMAL(10,2), at DATETIME(3), KEY (label));
    CREATE TABLE nokey (a INT, b VARCHAR(20));
    CREATE TABLE pair (a INT, b VARCHAR(10) COLLATE utf8mb4_0900_ai_ci, v INT NOT NULL, PRIMARY KEY (a, b), UNIQUE KEY (v))";

/// Makes the load's tables on both servers, and the first rows on the source.
pub fn prepare(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    for server in [source, target] {
        // Older MariaDB has no collation of this name; what matters is that it is blind to case.
        let tables = match server.release() {
            Release::MariaDb10_11 => TABLES.replace("0900_ai_ci", "unicode_ci"),
            _ => TABLES.to_owned(),
        };
        server.sql(&format!("USE `{database}`; {tables}"))?;
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
        Self::start_as(source, database, seed, Random::transaction)
    }

    /// Some of its transactions are compressed in the binlog, at one level or another.
    pub fn compressed(source: &MySql, database: &str, seed: u64) -> Self {
        Self::start_as(source, database, seed, |random| {
            format!("{}; {}", random.compression(), random.transaction())
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
                let mut random = Random(seed);
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

/// xorshift64*: the same seed gives the same load.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    fn compression(&mut self) -> String {
        format!(
            "SET SESSION binlog_transaction_compression = {}, binlog_transaction_compression_level_zstd = {}",
            self.below(3).min(1),
            [1, 3, 9, 19][self.below(4) as usize]
        )
    }

    /// One transaction as a multi-statement.
    pub fn transaction(&mut self) -> String {
        let (a, b) = (self.below(200), self.below(200));
        let n = self.below(1_000_000);
        let (what, body) = match self.below(10) {
            0 | 1 => ("upsert", format!("REPLACE INTO item VALUES ({a}, {n}, 'row {n}', {}.5, '2026-01-02 03:04:05.678')", n % 999)),
            2 => ("update", format!("UPDATE item SET price = price + 1, label = 'u {n}' WHERE id BETWEEN {a} AND {a} + 5")),
            3 => ("delete", format!("DELETE FROM item WHERE id = {a}")),
            // Two rows exchange the values of a unique key.
            4 => (
                "swap",
                format!(
                    "SET @x = (SELECT code FROM item WHERE id = {a}), @y = (SELECT code FROM item WHERE id = {b});
                     UPDATE item SET code = NULL WHERE id = {a}; UPDATE item SET code = @x WHERE id = {b} AND {a} <> {b};
                     UPDATE item SET code = @y WHERE id = {a} AND {a} <> {b}"
                ),
            ),
            // A chain of primary keys moves by one.
            5 => ("shift", format!("DELETE FROM item WHERE id = {0}; UPDATE item SET id = id + 1 WHERE id BETWEEN {a} AND {0} - 1 ORDER BY id DESC", a + 4)),
            6 => ("nokey", format!("INSERT INTO nokey VALUES ({a}, 'x{b}'), ({a}, 'x{b}'); UPDATE nokey SET b = 'y' WHERE a = {b} LIMIT 1; DELETE FROM nokey WHERE a = {} LIMIT 1", a / 2)),
            7 => ("collation", format!("REPLACE INTO pair VALUES ({}, '{}', {n}); UPDATE pair SET b = UPPER(b) WHERE a = {}", a % 20, ["a", "b", "c"][(b % 3) as usize], b % 20)),
            8 => ("again", format!("DELETE FROM item WHERE id = {a}; INSERT INTO item VALUES ({a}, NULL, 'again', 0, NULL); DELETE FROM item WHERE id = {a}; INSERT IGNORE INTO item VALUES ({a}, {n}, NULL, 1, NULL)")),
            _ => ("many", "INSERT INTO item SELECT 1000 + n, NULL, 'many', n, NULL FROM (WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100) SELECT n FROM s) q ON DUPLICATE KEY UPDATE price = price + 1".to_owned()),
        };
        let end = if self.below(20) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        format!("BEGIN; INSERT INTO ledger (what) VALUES ('{what}'); {body}; {end}")
    }
}
