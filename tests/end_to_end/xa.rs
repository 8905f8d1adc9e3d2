//! XA transactions: prepared here, committed there, with anything in between. On servers of their own, for the end of an XA transaction
//! stops every capture that began behind its XA PREPARE.

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, Pair};

use crate::{
    binferry::{Pipeline, SOURCE_USER, done, eventually, executed, refused},
    faults::proved,
    judge,
    load::prepare,
};

/// Rows of one large transaction: several chunks.
const MANY: u32 = 200_000;

fn begin(database: &str, xid: &str, statements: &str) -> String {
    format!("USE `{database}`; XA START {xid}; {statements}; XA END {xid}; XA PREPARE {xid}")
}

fn row(id: u32) -> String {
    format!("INSERT INTO item (id, code, label) VALUES ({id}, {id}, 'row {id}')")
}

/// Many rows, made on the server.
fn rows(from: u32, count: u32) -> String {
    format!(
        "SET SESSION cte_max_recursion_depth = 1000000;
         INSERT INTO item (id, code, label)
         WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})
         SELECT {from} + i, {from} + i, REPEAT('x', 40) FROM n"
    )
}

fn count(server: &MySql, database: &str, ids: &str) -> Result<String> {
    Ok(server.value(&format!(
        "SELECT COUNT(*) FROM `{database}`.item WHERE id {ids}"
    ))?)
}

/// Prepares, commits, rolls back, in one phase and interleaved; `catch_up` brings all to the target.
fn lifecycle(pair: &Pair, pipeline: &Pipeline, database: &str) -> Result<()> {
    let source = &pair.source;
    source.sql(&begin(database, "'a'", &row(1)))?;
    source.sql(&begin(database, "'b', 'branch', 7", &row(2)))?;
    source.sql(&begin(
        database,
        "'c'",
        "INSERT INTO ledger (what) VALUES ('c')",
    ))?;
    source.sql(&format!("USE `{database}`; {}", row(3)))?;
    source.sql(&format!(
        "USE `{database}`; XA START 'one'; {}; SAVEPOINT s; {}; ROLLBACK TO s; XA END 'one'; XA COMMIT 'one' ONE PHASE",
        row(4),
        row(5)
    ))?;
    source.sql(&format!(
        "USE `{database}`; XA START 'gone'; {}; XA END 'gone'; XA ROLLBACK 'gone'",
        row(6)
    ))?;
    pipeline.catch_up()?;
    ensure!(count(&pair.target, database, "> 0")? == "2", "3 and 4 only");
    let tailed = pipeline.tail()?.len();
    ensure!(tailed == 2, "{tailed} changes delivered instead of 2");
    // Other than prepared, in another order; the same xid again.
    source.sql("XA COMMIT 'c'")?;
    source.sql("XA ROLLBACK 'b', 'branch', 7")?;
    source.sql("XA COMMIT 'a'")?;
    source.sql(&begin(database, "'a'", &row(7)))?;
    source.sql("XA COMMIT 'a'")?;
    source.sql(&begin(
        database,
        "'a'",
        "UPDATE item SET label = 'again' WHERE id = 7",
    ))?;
    source.sql("XA COMMIT 'a'")?;
    pipeline.catch_up()?;
    proved(pipeline, source, &pair.target, database)?;
    let commit = executed(source)?;
    let lines = pipeline.tail()?;
    let last = lines.last().context("nothing delivered")?;
    let gtid = last["gtid"].as_str().unwrap_or_default();
    let (uuid, number) = gtid.rsplit_once(':').context("no GTID")?;
    ensure!(
        commit.contains(uuid) && commit.ends_with(&format!("-{number}")),
        "the newest change has {gtid}, and the source {commit}"
    );
    Ok(())
}

#[test]
fn prepared_here_and_committed_there() -> Result<()> {
    let pair = Pair::start()?;
    let database = pair.database("xa")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    lifecycle(&pair, &pipeline, &database)?;

    // Over a killed capture, an applier that begins anew, and another source process.
    let source = &pair.source;
    let capture = pipeline.start("capture")?;
    let apply = pipeline.start("apply")?;
    source.sql(&begin(&database, "'large'", &rows(1_000_000, MANY)))?;
    // Without changes; the server forgets such a one when it goes, so it ends before.
    source.sql(&begin(&database, "'empty'", "SELECT 1"))?;
    source.sql("XA COMMIT 'empty'")?;
    source.sql(&format!(
        "SET SESSION binlog_transaction_compression = ON; {}",
        begin(&database, "'killed'", &row(10))
    ))?;
    let set = executed(source)?;
    done(
        pipeline
            .command("wait")
            .args(["--gtid", &set, "--timeout", "90s"]),
    )?;
    ensure!(count(&pair.target, &database, ">= 10")? == "0");
    let prepared = source.rows("XA RECOVER")?;
    ensure!(
        prepared.len() == 2,
        "prepared before the restart: {prepared:?}"
    );
    capture.kill()?;
    apply.kill()?;
    source.restart()?;
    let prepared = source.rows("XA RECOVER")?;
    ensure!(
        prepared.len() == 2,
        "prepared after the restart: {prepared:?}"
    );
    let running = pipeline.start("run")?;
    source.sql(&format!("USE `{database}`; {}", row(11)))?;
    source.sql("XA COMMIT 'killed'")?;
    source.sql("XA COMMIT 'large'")?;
    proved(&pipeline, source, &pair.target, &database)?;
    ensure!(count(&pair.target, &database, ">= 1000000")? == MANY.to_string());
    running.stop()?;
    counted(&pipeline)
}

/// What `status` says that the last capture has done.
fn counted(pipeline: &Pipeline) -> Result<()> {
    let output = crate::binferry::output(pipeline.command("status").arg("--json"))?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let counts = &status["log"]["sites"][0]["counts"]["counts"];
    for (name, count) in [
        ("xa.committed", 2),
        ("rows.insert", 1),
        ("transactions.written", 3),
        ("events.seen.XID", 1),
    ] {
        ensure!(counts[name] == count, "{name} is not {count}: {status}");
    }
    let page = crate::binferry::output(&mut pipeline.command("status"))?;
    let page = String::from_utf8(page.stdout)?;
    ensure!(page.contains("carried  3 transactions"), "{page}");
    Ok(())
}

#[test]
fn a_killed_source_commits_what_it_had_prepared() -> Result<()> {
    let pair = Pair::start()?;
    let database = pair.database("xa_killed")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let running = pipeline.start("run")?;
    pair.source.sql(&begin(&database, "'killed'", &row(1)))?;
    let set = executed(&pair.source)?;
    done(
        pipeline
            .command("wait")
            .args(["--gtid", &set, "--timeout", "90s"]),
    )?;
    pair.source.kill()?;
    pair.source.start_again()?;
    let prepared = pair.source.rows("XA RECOVER")?;
    ensure!(prepared.len() == 1, "prepared after the kill: {prepared:?}");
    pair.source.sql("XA COMMIT 'killed'")?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    ensure!(count(&pair.target, &database, "> 0")? == "1");
    running.stop()
}

#[test]
fn a_prepared_transaction_outlives_the_logs_retention() -> Result<()> {
    let pair = Pair::start()?;
    let database = pair.database("xa_kept")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let capture = pipeline.start_command(
        {
            let mut command = pipeline.command("capture");
            command.args(["--keep-age", "2s"]);
            command
        },
        "capture",
    )?;
    pair.source
        .sql(&begin(&database, "'kept'", &rows(1, 20_000)))?;
    pair.source
        .sql(&begin(&database, "'undone'", &row(50_000)))?;
    // Copies come about every half second; each is a record or several.
    let end = || -> Result<u64> {
        let output = crate::binferry::output(pipeline.command("status").arg("--json"))?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        status["log"]["end"].as_u64().context("no end")
    };
    eventually("the log is there", || Ok(end().is_ok()))?;
    let before = end()?;
    eventually(
        "it is copied, and copied again",
        || Ok(end()? > before + 12),
    )?;
    capture.kill()?;
    let capture = pipeline.start("capture")?;
    pair.source.sql("XA ROLLBACK 'undone'")?;
    pair.source.sql("XA COMMIT 'kept'")?;
    let apply = pipeline.start("apply")?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    let delivered = pipeline.tail()?.len();
    ensure!(delivered == 20_000, "{delivered} changes delivered");
    apply.stop()?;
    capture.stop()
}

#[test]
fn one_that_was_prepared_before_the_log_is_refused() -> Result<()> {
    let pair = Pair::start()?;
    let database = pair.database("xa_before")?;
    prepare(&pair.source, &pair.target, &database)?;
    pair.source.sql(&begin(&database, "'early'", &row(1)))?;
    pair.source.sql(&begin(&database, "'undone'", &row(2)))?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let behind = std::mem::replace(&mut pipeline.from, "now".to_owned());
    pair.source.sql(&format!(
        "GRANT XA_RECOVER_ADMIN ON *.* TO {SOURCE_USER}@'%'"
    ))?;
    refused(
        &mut pipeline.command("capture"),
        2,
        &["XA transactions", "0x6561726C79", "XA RECOVER"],
    )?;
    pipeline.from = behind;
    pair.source.sql("XA ROLLBACK 'undone'")?;
    pipeline.catch_up()?;
    pair.source.sql("XA COMMIT 'early'")?;
    refused(
        pipeline.command("capture").args(["--until", "now"]),
        3,
        &["XA transaction X'6561726c79',X'',1", "prepared before"],
    )?;
    Ok(())
}

#[test]
fn in_kafka() -> Result<()> {
    let pair = Pair::start()?;
    let database = pair.database("xa_kafka")?;
    prepare(&pair.source, &pair.target, &database)?;
    let kafka = binferry_servers::kafka()?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    lifecycle(&pair, &pipeline, &database)?;
    pair.source
        .sql(&begin(&database, "'large'", &rows(1_000, 50_000)))?;
    let running = pipeline.start("run")?;
    pair.source.sql("XA COMMIT 'large'")?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    running.stop()?;
    judge::equal(&pair.source, &pair.target, &database)
}
