//! Catching up on the same binlog: `binferry apply` beside a native replica with 4 workers, same durability.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use binferry_servers::MySql;
use tempfile::TempDir;

use crate::{
    Figure,
    load::{Loaded, TABLES, users},
    median,
    process::{binferry, timed},
};

const ROUNDS: usize = 3;
const DURABLE: [&str; 3] = [
    "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=512M",
];

pub fn run(program: &Path, loaded: &Loaded) -> Result<Vec<Figure>> {
    let folder = TempDir::new()?;
    let log = folder.path().join("log");
    timed(
        binferry(program, "capture")
            .args([
                "--source",
                &loaded.source.url("bench"),
                "--from",
                "earliest",
                "--until",
                "now",
                "--tables",
                "sbtest.*",
            ])
            .arg("--log")
            .arg(&log),
    )?;
    let (mut ours, mut native, mut ratios, mut peak, mut cpu) = (vec![], vec![], vec![], 0, vec![]);
    for round in 1..=ROUNDS {
        eprintln!("apply: round {round} of {ROUNDS}");
        let theirs = replica(loaded)?;
        let target = MySql::builder().args(DURABLE).start()?;
        users(&target)?;
        target.sql(&format!("USE sbtest; {}", loaded.schema))?;
        // Its own registration, so that the log can be read again.
        let timed = timed(
            binferry(program, "apply")
                .args([
                    "--target",
                    &target.url("bench"),
                    "--until",
                    "now",
                    "--stream",
                    &format!("round{round}"),
                ])
                .arg("--log")
                .arg(&log),
        )?;
        equal(&loaded.source, &target)?;
        ratios.push(theirs / timed.seconds);
        native.push(theirs);
        ours.push(timed.seconds);
        cpu.push(timed.cpu_seconds);
        peak = peak.max(timed.peak_bytes);
    }
    let rows = loaded.rows as f64;
    let line = |what: &str, seconds: f64| Figure {
        what: what.into(),
        value: format!("{seconds:.1} s, {:.1} k rows/s", rows / seconds / 1e3),
    };
    Ok(vec![
        line(
            "native replica, 4 workers, catching up (sync_binlog=1, flush_log=1)",
            median(native),
        ),
        line(
            "`binferry apply`, one connection, before images checked, the same settings",
            median(ours),
        ),
        Figure {
            what: "apply against the native replica, pair by pair".into(),
            value: format!("{:.2} x", median(ratios)),
        },
        Figure {
            what: "apply: CPU, peak memory".into(),
            value: format!(
                "{:.2} s per million rows, {} MiB",
                median(cpu) / rows * 1e6,
                peak >> 20
            ),
        },
    ])
}

/// Seconds that a native replica takes for all of it, fetching included.
fn replica(loaded: &Loaded) -> Result<f64> {
    let replica = MySql::builder().args(DURABLE).start()?;
    let set = loaded
        .source
        .value("SELECT @@GLOBAL.gtid_executed")?
        .replace('\n', "");
    replica.sql(&format!(
        "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root',
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; SET GLOBAL replica_parallel_workers = 4",
        loaded.source.port()
    ))?;
    let start = Instant::now();
    replica.sql("START REPLICA")?;
    loop {
        if replica.value(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', 20)"))? == "0" {
            break;
        }
        let error = replica.value("SELECT COALESCE(MAX(LAST_ERROR_MESSAGE), '') FROM performance_schema.replication_applier_status_by_worker")?;
        ensure!(
            error.is_empty() && start.elapsed().as_secs() < 600,
            "the replica: {error}"
        );
    }
    Ok(start.elapsed().as_secs_f64())
}

fn equal(source: &MySql, target: &MySql) -> Result<()> {
    for n in 1..=TABLES {
        let sum = |server: &MySql| server.sql(&format!("CHECKSUM TABLE sbtest.sbtest{n}"));
        let (s, t) = (sum(source)?, sum(target)?);
        ensure!(s == t, "sbtest{n} differs: {s}, {t}");
    }
    Ok(())
}
