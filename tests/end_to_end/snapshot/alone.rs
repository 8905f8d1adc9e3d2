//! What needs a source of its own: XA transactions, purged binlogs, and a dump that is not served for a while.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, database, pair, peak_memory};

use super::{
    deep,
    history::{self, Entry},
    same, two,
};
use crate::{
    binferry::{Pipeline, Running, eventually, executed, output, refused},
    load::Load,
};

fn source() -> Result<MySql> {
    // As soon as nobody reads, the source gives up.
    Ok(MySql::builder().arg("--net-write-timeout=1").start()?)
}

fn rows(deep: &str, table: &str, count: u32, key: &str, bytes: u32) -> String {
    format!(
        "{deep}; CREATE TABLE {table} (id INT NOT NULL {key}, n INT, v VARCHAR({bytes}));
         INSERT INTO {table} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         SELECT i, i, REPEAT('v', {bytes}) FROM n; ANALYZE TABLE {table};"
    )
}

fn slow(pipeline: &Pipeline, rate: &str) -> Result<Running> {
    let mut command = pipeline.command("capture");
    command.args(["--snapshot-rate", rate]);
    pipeline.start_command(command, "capture")
}

fn ranges(pipeline: &Pipeline) -> Result<Vec<u64>> {
    let entries = history::read(&pipeline.log()).unwrap_or_default();
    let range = |entry: &Entry| match entry {
        Entry::Range { chunk, .. } => Some(*chunk),
        _ => None,
    };
    Ok(entries.iter().filter_map(range).collect())
}

fn in_the_middle(pipeline: &Pipeline) -> Result<()> {
    eventually("a part of the table is in the log", || {
        Ok(!ranges(pipeline)?.is_empty())
    })
}

/// Prepared before a window, in it or after it, and committed wherever: the keys count at the XA COMMIT. On the way the binlogs are purged
/// up to where the stream is, the process is killed, and at last they are purged behind it.
#[test]
fn xa_transactions_across_windows_and_purged_binlogs() -> Result<()> {
    xa_transactions(&source()?)
}

pub fn xa_transactions(source: &MySql) -> Result<()> {
    let target = &pair()?.target;
    let deep = deep(source);
    let database = database([source, target], "copy_xa")?;
    let (stream, copy) = two(source, target, &database)?;
    source.sql(&format!(
        "USE `{database}`; {}",
        rows(deep, "t", 4000, "PRIMARY KEY", 4000)
    ))?;
    let streaming = stream.start("capture")?;
    let running = slow(&copy, "1500")?;
    in_the_middle(&copy)?;
    let loads: Vec<Load> = (0..4)
        .map(|n| {
            Load::start_as(source, &database, 500 + n, move |random| {
                let (at, xid) = (random.below(4000), random.below(1 << 40));
                let change = match random.below(4) {
                    0 => format!("DELETE FROM t WHERE id = {at}"),
                    1 => format!("INSERT IGNORE INTO t VALUES ({at}, 0, 'xa')"),
                    2 => format!("UPDATE t SET id = id + 4000 WHERE id = {at}"),
                    _ => format!("UPDATE t SET n = n + 1 WHERE id BETWEEN {at} AND {at} + 5"),
                };
                let end = random.pick(&["COMMIT", "COMMIT", "ROLLBACK"]);
                format!(
                    "XA START 'x{n}-{xid}'; {change}; XA END 'x{n}-{xid}'; XA PREPARE 'x{n}-{xid}'; DO SLEEP({}); XA {end} 'x{n}-{xid}'",
                    0.002 * random.below(10) as f64
                )
            })
        })
        .collect();
    for load in &loads {
        load.wait_for(5)?;
    }
    // What the stream has not read cannot be purged: it holds the file.
    source.sql("FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")?;
    let before = ranges(&copy)?.len();
    running.kill()?;
    let running = slow(&copy, "6000")?;
    eventually("the copy goes on", || Ok(ranges(&copy)?.len() > before))?;
    for load in loads {
        load.stop()?;
    }
    running.stop()?;
    eventually("the stream has all of it", || {
        let output = output(stream.command("status").arg("--json"))?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(status["log"]["gtids"].as_str() == Some(&executed(source)?))
    })?;
    streaming.stop()?;
    let found = same(source, &stream, &copy)?;
    ensure!(found.in_question > 0, "no transaction came into a window");
    let once = (found.jobs_done, found.begun);
    ensure!(once == (1, 1), "jobs done and copies begun: {once:?}");
    history::ensure_seamless(&history::read(&copy.log())?)?;

    // A copy that is interrupted, and a source that does not keep what the stream needs.
    let late = Pipeline {
        from: "snapshot".to_owned(),
        ..Pipeline::new(source, target, &database)?
    };
    let running = slow(&late, "500")?;
    in_the_middle(&late)?;
    running.kill()?;
    source.sql(&format!(
        "USE `{database}`; UPDATE t SET n = 0; FLUSH BINARY LOGS"
    ))?;
    // A dump that has just been killed may still hold a file.
    eventually("the binlogs are purged", || {
        source.sql("PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")?;
        Ok(source.rows("SHOW BINARY LOGS")?.len() == 1)
    })?;
    let before = ranges(&late)?.len();
    refused(
        &mut late.command("capture"),
        3,
        &["has purged transactions that the log still needs"],
    )?;
    ensure!(ranges(&late)?.len() == before, "it went on copying");
    Ok(())
}

/// The source waits for a reader of its binlog for as long as a copy takes. A table without a key goes through bounded memory, is begun
/// anew after an end in the middle, and others are written meanwhile.
#[test]
fn a_table_without_a_key_and_a_stream_that_waits() -> Result<()> {
    let (source, target) = (&source()?, &pair()?.target);
    let deep = deep(source);
    let database = database([source, target], "copy_whole")?;
    let (stream, copy) = two(source, target, &database)?;
    source.sql(&format!(
        "USE `{database}`; {} {}",
        rows(deep, "whole", 60_000, "", 1500),
        rows(deep, "busy", 100, "PRIMARY KEY", 100)
    ))?;
    source.sql(&format!(
        "CREATE TABLE `{database}`.more LIKE `{database}`.whole"
    ))?;
    let load = Load::start_as(source, &database, 77, |random| {
        format!("UPDATE busy SET n = n + 1 WHERE id = {}", random.below(100))
    });
    let running = copy.start("capture")?;
    in_whole(&copy)?;
    // It stops in the middle of the rows, and does not take until their end.
    running.stop()?;
    let entries = history::read(&copy.log())?;
    let first = *history::copies(&entries, "whole")
        .first()
        .context("a copy")?;
    ensure!(!history::has_ended(&entries, first), "it was over too soon");
    let running = copy.start("capture")?;
    eventually("the copy is over", || {
        Ok(running
            .said()?
            .contains("all tables of the copy are in the log"))
    })?;
    let peak = peak_memory(running.pid()).context("its memory")?;
    ensure!(peak < 256 << 20, "{peak} bytes");
    load.wait_for(20)?;
    // Longer than net_write_timeout, with more than the sockets hold.
    running.signal("STOP")?;
    source.sql(&format!(
        "USE `{database}`; INSERT INTO more SELECT * FROM whole"
    ))?;
    std::thread::sleep(Duration::from_secs(3));
    running.signal("CONT")?;
    load.stop()?;
    running.stop()?;
    let said = std::fs::read_to_string(copy.folder.path().join("capture.err"))?;
    ensure!(!said.contains("the stream was interrupted"), "{said}");
    let found = same(source, &stream, &copy)?;
    let begun = (found.begun, found.given_up);
    ensure!(begun == (4, 1), "copies begun and given up: {begun:?}");
    Ok(())
}

fn in_whole(pipeline: &Pipeline) -> Result<()> {
    eventually("a part of the table without a key is in the log", || {
        let entries = history::read(&pipeline.log()).unwrap_or_default();
        let copies = history::copies(&entries, "whole");
        Ok(copies
            .first()
            .is_some_and(|copy| history::rows(&entries, *copy) > 0))
    })
}
