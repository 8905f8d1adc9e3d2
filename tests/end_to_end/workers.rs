//! Several workers on one target: the state is that of one worker, readers see a prefix, and takeovers find every worker.

use std::{sync::mpsc, time::Duration};

use anyhow::{Context, Result, ensure};
use binferry_servers::pair;

use crate::{
    binferry::{Pipeline, Running, done, eventually, executed},
    judge,
    load::{Load, prepare},
};

/// One writer counts, in one of several tables at a time: what a prefix of its history holds is the numbers from 1 to their count.
#[test]
fn a_reader_of_the_target_sees_a_prefix_of_the_source() -> Result<()> {
    const TABLES: usize = 5;
    let pair = pair()?;
    let database = pair.database("prefix")?;
    for server in [&pair.source, &pair.target] {
        for table in 0..TABLES {
            server.sql(&format!(
                "CREATE TABLE `{database}`.t{table} (id BIGINT PRIMARY KEY, u VARCHAR(40) UNIQUE, v INT NOT NULL DEFAULT 0)"
            ))?;
        }
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let counter = std::sync::atomic::AtomicU64::new(0);
    let load = Load::start_as(&pair.source, &database, 71, move |random| {
        let number = 1 + counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let table = random.below(TABLES as u64);
        let row = random.below(number);
        format!(
            "BEGIN; INSERT INTO t{table} (id, u) VALUES ({number}, UUID());
             UPDATE t{} SET v = v + 1 WHERE id = {row}; UPDATE t{table} SET u = CONCAT('x', {number}) WHERE id = {row}; COMMIT",
            row % TABLES as u64
        )
    });
    load.wait_for(3_000)?;
    let (stop, stopped) = mpsc::channel::<()>();
    let opts = pair.target.opts();
    let name = database.clone();
    let reader = std::thread::spawn(move || -> Result<u64> {
        use mysql_async::prelude::Queryable;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut connection = mysql_async::Conn::new(opts).await?;
            let all: Vec<String> = (0..TABLES)
                .map(|table| format!("SELECT id FROM `{name}`.t{table}"))
                .collect();
            // One statement is one consistent read.
            let query = format!(
                "SELECT COUNT(*), COALESCE(MAX(id), 0) FROM ({}) AS a",
                all.join(" UNION ALL ")
            );
            let mut seen = 0;
            let mut steps = 0;
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let (count, newest): (u64, u64) =
                    connection.query_first(&query).await?.context("a row")?;
                ensure!(count == newest, "{count} rows, and the newest is {newest}");
                ensure!(count >= seen, "{count} after {seen}");
                steps += u64::from(count > seen);
                seen = count;
            }
            Ok(steps)
        })
    });
    let mut command = pipeline.command("run");
    command.args(["--workers", "6"]);
    let run = pipeline.start_command(command, "run")?;
    load.wait_for(3_000)?;
    load.stop()?;
    pipeline.wait_for(&executed(&pair.source)?)?;
    drop(stop);
    let steps = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    ensure!(steps > 3, "the reader saw {steps} states");
    run.stop()?;
    judge::equal(&pair.source, &pair.target, &database)
}

/// Unique values go and come back side by side: the server's gap locks make later groups stand in the way of earlier ones.
#[test]
fn groups_that_lock_each_other_out_go_on() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("gaps")?;
    let rows: Vec<String> = (1..=400).map(|n| format!("({n}, {}, 0)", n * 2)).collect();
    for server in [&pair.source, &pair.target] {
        server.sql(&format!(
            "USE `{database}`; CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, v INT NOT NULL); INSERT INTO t VALUES {}",
            rows.join(",")
        ))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let loads: Vec<Load> = (0..3)
        .map(|seed| {
            Load::start_as(&pair.source, &database, 90 + seed, |random| {
                let (id, u) = (1 + random.below(400), 1 + random.below(800));
                match random.below(4) {
                    0 => format!("REPLACE INTO t VALUES ({id}, {u}, {u})"),
                    1 => format!("BEGIN; DELETE FROM t WHERE id = {id}; INSERT IGNORE INTO t VALUES ({id}, {u}, 1); COMMIT"),
                    2 => format!("UPDATE IGNORE t SET u = {u} WHERE id = {id}"),
                    _ => format!("BEGIN; DELETE FROM t WHERE u BETWEEN {u} AND {u} + 3; INSERT IGNORE INTO t VALUES (1000 + {u}, {u} + 1, 2); COMMIT"),
                }
            })
        })
        .collect();
    loads[0].wait_for(500)?;
    let mut command = pipeline.command("run");
    command.args(["--workers", "8"]);
    let run = pipeline.start_command(command, "run")?;
    for load in loads {
        load.wait_for(500)?;
        load.stop()?;
    }
    pipeline.wait_for(&executed(&pair.source)?)?;
    run.stop()?;
    judge::equal(&pair.source, &pair.target, &database)
}

/// The older one runs on while the newer one takes worker after worker from it.
#[test]
fn a_running_applier_is_taken_over_again_and_again() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("robbed")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let capture = pipeline.start("capture")?;
    eventually("it captures", || Ok(capture.said()?.contains("capturing")))?;
    let loads: Vec<Load> = (0..3)
        .map(|seed| Load::start(&pair.source, &database, 75 + seed))
        .collect();
    let mut older: Option<Running> = None;
    for round in 0..12 {
        let mut command = pipeline.command("apply");
        command.args(["--workers", ["8", "5", "3"][round % 3]]);
        let apply = pipeline.start_command(command, &format!("apply{round}"))?;
        eventually("it applies", || Ok(apply.said()?.contains("applying")))?;
        loads[0].wait_for(20)?;
        if let Some(mut older) = older.replace(apply) {
            let code = older.wait(Duration::from_secs(60))?;
            let said = older.said()?;
            ensure!(
                code == Some(2) && said.contains("another applier"),
                "{code:?}: {said}"
            );
        }
    }
    for load in loads {
        load.stop()?;
    }
    pipeline.wait_for(&executed(&pair.source)?)?;
    older.context("the last one")?.stop()?;
    capture.stop()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    judge::once(&pair.source, &pair.target, &database)
}

/// Each successor has another number of workers, and its predecessor is killed, or stopped inside whatever it does and let go later.
#[test]
fn successors_with_other_numbers_of_workers() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("successors")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let capture = pipeline.start("capture")?;
    eventually("it captures", || Ok(capture.said()?.contains("capturing")))?;
    let load = Load::start(&pair.source, &database, 72);
    let mut paused = Vec::new();
    for (round, workers) in ["8", "1", "4", "2", "6", "1", "5"].iter().enumerate() {
        let name = format!("apply{round}");
        let mut command = pipeline.command("apply");
        command.args(["--workers", workers]);
        let apply = pipeline.start_command(command, &name)?;
        eventually("it applies", || Ok(apply.said()?.contains("applying")))?;
        load.wait_for(60)?;
        if round % 2 == 0 {
            apply.signal("STOP")?;
            paused.push(apply);
        } else {
            apply.kill()?;
        }
    }
    for apply in &paused {
        apply.signal("CONT")?;
    }
    // The newest of them may still be the owner.
    let last = paused.pop().context("one is left")?;
    load.wait_for(60)?;
    load.stop()?;
    for mut apply in paused {
        let code = apply.wait(Duration::from_secs(60))?;
        ensure!(code == Some(2), "{code:?}: {}", apply.said()?);
    }
    last.stop()?;
    capture.stop()?;
    done(pipeline.command("run").args(["--until", "now"]))?;
    judge::equal(&pair.source, &pair.target, &database)?;
    judge::once(&pair.source, &pair.target, &database)
}

/// The only worker waits for the next part of its transaction, and takes it.
#[test]
fn a_single_worker_takes_transactions_of_many_records() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("single")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!(
            "CREATE TABLE `{database}`.t (id INT PRIMARY KEY, pad TEXT)"
        ))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pair.source.sql(&format!(
        "USE `{database}`; SET SESSION cte_max_recursion_depth = 10000;
         INSERT INTO t WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 5000) SELECT n, REPEAT('x', 1000) FROM s;
         DELETE FROM t WHERE id % 2 = 0"
    ))?;
    let mut command = pipeline.command("run");
    command.args(["--workers", "1"]);
    let run = pipeline.start_command(command, "run")?;
    pipeline.wait_for(&executed(&pair.source)?)?;
    run.stop()?;
    judge::equal(&pair.source, &pair.target, &database)
}
