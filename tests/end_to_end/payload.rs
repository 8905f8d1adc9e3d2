//! Compressed transactions, end to end: mixed with others, killed in the middle, large, and damaged.

use std::time::Duration;

use anyhow::{Result, ensure};
use binferry_servers::{MySql, pair};

use crate::{
    binferry::{Pipeline, eventually},
    faults::proved,
    judge,
    load::{Load, prepare},
};

#[test]
fn compressed_and_not_by_turns_and_killed() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("payload")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let load = Load::compressed(&pair.source, &database, 61);
    for n in 0..5u64 {
        let running = pipeline.start("run")?;
        std::thread::sleep(Duration::from_millis(200 + 130 * n));
        running.kill()?;
        pair.source.sql("FLUSH BINARY LOGS")?;
    }
    let running = pipeline.start("run")?;
    load.wait_for(50)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    ensure!(
        compressed(&pair.source)? > 20,
        "nothing has been compressed"
    );
    running.stop()
}

/// How many of the source's transactions were compressed, as it says itself.
fn compressed(source: &MySql) -> Result<u64> {
    Ok(source
        .value(
            "SELECT SUM(transaction_counter) FROM performance_schema.binary_log_transaction_compression_stats
             WHERE log_type = 'BINARY' AND compression_type = 'ZSTD'",
        )?
        .trim()
        .parse()?)
}

/// A payload of 20 MiB, which is decompressed as it comes, and one whose rows are a hundred times as large as it is.
#[test]
fn large_ones_and_a_kill_in_the_middle() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("payloads")?;
    let table = format!(
        "USE `{database}`; CREATE TABLE ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(20) NOT NULL);
         CREATE TABLE wide (id INT PRIMARY KEY, v LONGBLOB)"
    );
    for server in [&pair.source, &pair.target] {
        server.sql(&table)?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let rows = |first: u32, count: u32, value: &str| {
        format!(
            "SET SESSION cte_max_recursion_depth = 100000, binlog_transaction_compression = ON; USE `{database}`;
             BEGIN; INSERT INTO ledger (what) VALUES ('large');
             INSERT INTO wide WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})
             SELECT {first} + n, {value} FROM s; COMMIT"
        )
    };
    pair.source.sql(&rows(0, 20_000, "RANDOM_BYTES(1024)"))?;
    pair.source
        .sql(&rows(100_000, 40, "REPEAT(CHAR(65 + n), 1500000)"))?;
    let running = pipeline.start("capture")?;
    eventually("some of it is in the log", || {
        let said = running.said()?;
        Ok(said.contains("capturing"))
    })?;
    std::thread::sleep(Duration::from_millis(300));
    running.kill()?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    judge::once(&pair.source, &pair.target, &database)
}
