//! A load as a backlog: a source that holds all of it in its binlog, the same in an embedded log, and targets that stand at its beginning.
//!
//! Every side starts from a copy of one data directory, filled by `binferry apply` and stopped: the same pages, the same indexes. A native replica is
//! told that it has what the fill committed, an applier knows it by its progress row.

mod workload;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Result, ensure};
use binferry_servers::MySql;
use tempfile::TempDir;

pub use self::workload::Workload;
use crate::{
    load::{self, users},
    process::{Timed, binferry, timed},
};

const DATABASE: &str = "sbtest";
pub const BUFFER_POOL: &str = "--innodb-buffer-pool-size=512M";
const STREAM: &str = "bench";
/// A replica that takes longer hangs.
const LONGEST: u64 = 1_200;

/// When a commit is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before it is answered.
    Durable,
    /// Within a second or so.
    Relaxed,
}

impl Durability {
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "durable" => Ok(Self::Durable),
            "relaxed" => Ok(Self::Relaxed),
            _ => anyhow::bail!("{name}: neither durable nor relaxed"),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Relaxed => "relaxed",
        }
    }

    pub fn args(self) -> [&'static str; 2] {
        match self {
            Self::Durable => ["--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"],
            Self::Relaxed => ["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"],
        }
    }
}

#[derive(Debug)]
pub struct Backlog {
    pub workload: Workload,
    pub source: MySql,
    /// Of the load, without the fill.
    pub transactions: u64,
    pub rows: u64,
    folder: TempDir,
    /// Stopped.
    filled: MySql,
    /// What the fill committed.
    fill: String,
}

impl Backlog {
    pub fn new(program: &Path, workload: Workload, transactions: Option<u64>) -> Result<Self> {
        eprintln!("loading: {}", workload.name());
        let source = MySql::builder().arg(BUFFER_POOL).start()?;
        users(&source)?;
        let folder = TempDir::new()?;
        let log = folder.path().join("log");
        workload.make(&source)?;
        let first = if workload.counts_fill() {
            // Nothing but the tables is there at the beginning.
            let begun = executed(&source)?;
            workload.fill(&source)?;
            (begun, None)
        } else {
            workload.fill(&source)?;
            capture(program, &source, &log)?;
            (executed(&source)?, Some(newest_file(&source)?))
        };
        let (fill, file) = first;
        let filled = MySql::builder().arg(BUFFER_POOL).start()?;
        users(&filled)?;
        filled.sql(&format!(
            "USE {DATABASE}; SET foreign_key_checks = 0; {}",
            schema(&source)?
        ))?;
        if !workload.counts_fill() {
            timed(&mut apply(program, &filled.url("bench"), &log, None))?;
        }
        filled.sql(&format!(
            "RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged = '{fill}'; SET GLOBAL innodb_fast_shutdown = 1"
        ))?;
        filled.stop()?;
        workload.run(&source, transactions)?;
        capture(program, &source, &log)?;
        let (transactions, rows) = load::count(&source, file.as_deref())?;
        eprintln!("loaded: {transactions} transactions, {rows} row changes");
        Ok(Self {
            workload,
            source,
            transactions,
            rows,
            folder,
            filled,
            fill,
        })
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What targets have at the beginning.
    pub fn fill(&self) -> &str {
        &self.fill
    }

    /// A server that stands at the beginning.
    pub fn target(&self, durability: Durability) -> Result<MySql> {
        let target = MySql::builder()
            .arg(BUFFER_POOL)
            .args(durability.args())
            .copy_of(&self.filled)
            .start()?;
        let there = executed(&target)?;
        ensure!(
            there == self.fill,
            "the target starts with {there} instead of {}",
            self.fill
        );
        Ok(target)
    }

    /// `binferry apply` of all of it, from its start to its end. `url`: the target, or a proxy in front of it.
    pub fn apply(&self, program: &Path, url: &str, workers: Option<u32>) -> Result<Timed> {
        timed(&mut apply(program, url, &self.log(), workers))
    }

    /// A native replica's seconds for all of it, fetching included.
    pub fn replicate(&self, durability: Durability, workers: u32) -> Result<f64> {
        let replica = self.target(durability)?;
        replica.sql(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_AUTO_POSITION=1,
             GET_SOURCE_PUBLIC_KEY=1; SET GLOBAL replica_parallel_workers = {workers}",
            self.source.port()
        ))?;
        if self.workload.counts_fill() {
            // It makes the tables itself.
            replica.sql(&format!(
                "SET sql_log_bin = 0; DROP DATABASE {DATABASE}; CREATE DATABASE {DATABASE}"
            ))?;
        }
        let set = executed(&self.source)?;
        let start = Instant::now();
        replica.sql("START REPLICA")?;
        // It answers as soon as all is there.
        while replica.value(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', 20)"))? != "0" {
            let error = replica.value(
                "SELECT CONCAT((SELECT COALESCE(MAX(LAST_ERROR_MESSAGE), '') FROM performance_schema.replication_applier_status_by_worker),
                 (SELECT COALESCE(MAX(LAST_ERROR_MESSAGE), '') FROM performance_schema.replication_connection_status))",
            )?;
            ensure!(
                error.is_empty() && start.elapsed().as_secs() < LONGEST,
                "the replica: {error}"
            );
        }
        let seconds = start.elapsed().as_secs_f64();
        self.equal(&replica)?;
        Ok(seconds)
    }

    /// The same rows in all tables.
    pub fn equal(&self, target: &MySql) -> Result<()> {
        for table in tables(&self.source)? {
            let sum = |server: &MySql| server.sql(&format!("CHECKSUM TABLE {DATABASE}.{table}"));
            let (s, t) = (sum(&self.source)?, sum(target)?);
            ensure!(s == t, "{table} differs: {s}, {t}");
        }
        Ok(())
    }
}

pub fn apply(program: &Path, url: &str, log: &Path, workers: Option<u32>) -> std::process::Command {
    let mut command = binferry(program, "apply");
    command
        .args(["--target", url, "--until", "now", "--stream", STREAM])
        .arg("--log")
        .arg(log);
    if let Some(workers) = workers {
        command.args(["--workers", &workers.to_string()]);
    }
    command
}

fn capture(program: &Path, source: &MySql, log: &Path) -> Result<()> {
    let url = source.url("bench");
    let tables = format!("{DATABASE}.*");
    timed(
        binferry(program, "capture")
            .args(["--source", &url, "--from", "earliest", "--until", "now"])
            .args(["--tables", &tables])
            .arg("--log")
            .arg(log),
    )?;
    Ok(())
}

fn executed(server: &MySql) -> Result<String> {
    let set = server.rows("SELECT @@GLOBAL.gtid_executed")?;
    let set = set.into_iter().flatten().flatten().next();
    Ok(set.unwrap_or_default().replace('\n', ""))
}

/// A new one, which what comes now goes to.
fn newest_file(server: &MySql) -> Result<String> {
    server.sql("FLUSH BINARY LOGS")?;
    let files = server.rows("SHOW BINARY LOGS")?;
    let name = files.into_iter().last().and_then(|row| row[0].clone());
    name.ok_or_else(|| anyhow::anyhow!("no binlog"))
}

pub fn tables(server: &MySql) -> Result<Vec<String>> {
    let rows = server.rows(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{DATABASE}' ORDER BY 1"
    ))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// The statements that make the tables, for targets.
pub fn schema(server: &MySql) -> Result<String> {
    let mut schema = String::new();
    for table in tables(server)? {
        let row = server.rows(&format!("SHOW CREATE TABLE {DATABASE}.{table}"))?;
        let create = row[0][1].as_deref();
        schema += create.ok_or_else(|| anyhow::anyhow!("SHOW CREATE TABLE {table}"))?;
        schema += ";";
    }
    Ok(schema)
}
