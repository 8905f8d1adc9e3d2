//! The main job: what a user does on a good day.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, pair};

use crate::{
    binferry::{Pipeline, SOURCE_USER, done, eventually, executed, output, program, refused},
    judge,
    load::{Load, prepare},
};

#[test]
fn a_mixed_load_arrives_while_it_runs() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("follow")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let running = pipeline.start("run")?;
    let load = Load::start(&pair.source, &database, 11);
    load.wait_for(500)?;
    load.stop()?;
    let set = executed(&pair.source)?;
    done(
        pipeline
            .command("wait")
            .args(["--gtid", &set, "--timeout", "60s"]),
    )?;
    judge::equal(&pair.source, &pair.target, &database)?;
    running.stop()?;
    judge::once(&pair.source, &pair.target, &database)
}

#[test]
fn two_processes_share_a_log_directory() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("two")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let capture = pipeline.start("capture")?;
    eventually("the log is there", || {
        Ok(output(&mut pipeline.command("status"))?.status.success())
    })?;
    let apply = pipeline.start("apply")?;
    let load = Load::start(&pair.source, &database, 12);
    load.wait_for(200)?;
    load.stop()?;
    let set = executed(&pair.source)?;
    done(
        pipeline
            .command("wait")
            .args(["--gtid", &set, "--timeout", "60s"]),
    )?;
    judge::equal(&pair.source, &pair.target, &database)?;
    let status = output(
        pipeline
            .command("status")
            .args(["--json", "--target", &pipeline.target]),
    )?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    ensure!(status["target"]["behind_transactions"] == 0, "{status}");
    ensure!(
        status["readers"][0]["name"] == format!("apply-{database}"),
        "{status}"
    );
    capture.stop()?;
    apply.stop()
}

#[test]
fn a_transaction_of_many_chunks_arrives_whole() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("huge")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("USE `{database}`; CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, pad TEXT); CREATE TABLE big (id INT PRIMARY KEY, b LONGBLOB)"))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pair.source.sql(&format!(
        "USE `{database}`; SET SESSION cte_max_recursion_depth = 200000;
         BEGIN;
         INSERT INTO t WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) SELECT n, n, REPEAT('x', 100) FROM s;
         UPDATE t SET u = -u;
         INSERT INTO big VALUES (1, REPEAT('0123456789abcdef', 262144)), (2, 'small');
         UPDATE big SET b = CONCAT(b, b) WHERE id = 1;
         COMMIT"
    ))?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    let lines = pipeline.tail()?;
    ensure!(lines.len() == 200_003, "{} lines", lines.len());
    ensure!(lines[200_002]["last"] == true && lines[200_001]["last"] == false);
    ensure!(
        lines.iter().enumerate().all(|(n, l)| l["index"] == n),
        "the changes are numbered"
    );
    Ok(())
}

#[test]
fn a_shift_and_a_swap_in_one_transaction_are_one_target_transaction() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("shift")?;
    let table =
        format!("USE `{database}`; CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(10) UNIQUE)");
    for server in [&pair.source, &pair.target] {
        server.sql(&format!(
            "{table}; INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')"
        ))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pair.source.sql(&format!(
        "USE `{database}`; BEGIN; UPDATE t SET id = 4 WHERE id = 3; UPDATE t SET id = 3 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 1;
         UPDATE t SET u = 'x' WHERE id = 2; UPDATE t SET u = 'a' WHERE id = 3; UPDATE t SET u = 'b' WHERE id = 2; COMMIT"
    ))?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)
}

#[test]
fn a_tail_follows_and_ends() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("tail")?;
    pair.source.sql(&format!("USE `{database}`; CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, d DECIMAL(10,2), t TIMESTAMP(3) NULL, b VARBINARY(10), x VARCHAR(10))"))?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pipeline.from = executed(&pair.source)?;
    pair.source.sql(&format!(
        "USE `{database}`; SET time_zone = '+00:00'; INSERT INTO t VALUES (18446744073709551615, -1.50, '2026-01-02 03:04:05.678', x'00ff', 'é');
         UPDATE t SET x = NULL; DELETE FROM t"
    ))?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    let lines = pipeline.tail()?;
    ensure!(lines.len() == 3, "{lines:?}");
    let row = &lines[0]["after"];
    ensure!(
        row["id"] == 18446744073709551615u64
            && row["d"] == "-1.50"
            && row["t"] == "2026-01-02 03:04:05.678",
        "{row}"
    );
    ensure!(row["b"] == "AP8=" && row["x"] == "é", "{row}");
    ensure!(
        lines[1]["op"] == "update"
            && lines[1]["after"]["x"].is_null()
            && lines[1]["before"]["x"] == "é",
        "{}",
        lines[1]
    );
    ensure!(
        lines[2]["op"] == "delete" && lines[2].get("after").is_none(),
        "{}",
        lines[2]
    );
    Ok(())
}

#[test]
fn ddl_is_passed_over_or_stops_when_asked() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("ddl")?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let sql = |server: &MySql, text: &str| server.sql(&format!("USE `{database}`; {text}"));
    sql(
        &pair.source,
        "CREATE TABLE t (id INT PRIMARY KEY, a INT); INSERT INTO t VALUES (1, 1)",
    )?;
    sql(
        &pair.target,
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT)",
    )?;
    pipeline.catch_up()?;
    sql(
        &pair.source,
        "ALTER TABLE t ADD COLUMN b INT; INSERT INTO t VALUES (2, 2, 2)",
    )?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    sql(
        &pair.source,
        "ALTER TABLE t ADD COLUMN c INT; INSERT INTO t VALUES (3, 3, 3, 3)",
    )?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &["ADD COLUMN c", "column c"],
    )?;
    sql(&pair.target, "ALTER TABLE t ADD COLUMN c INT")?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    // It stops the applier, not the log.
    for (statement, word) in [
        ("TRUNCATE t", "TRUNCATE"),
        ("RENAME TABLE t TO t2", "RENAME"),
        ("DROP TABLE t2", "DROP"),
    ] {
        let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
        pipeline.stream = format!("{database}_{word}");
        pipeline.ddl = "stop";
        sql(&pair.source, statement)?;
        refused(
            pipeline.command("run").args(["--until", "now"]),
            3,
            &[word, "captured table", "binferry skip --gtid"],
        )?;
    }
    Ok(())
}

#[test]
fn tables_that_are_made_with_their_rows() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("ctas")?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let sql = |server: &MySql, text: &str| server.sql(&format!("USE `{database}`; {text}"));
    let (columns, pad) = ("(id INT PRIMARY KEY, a VARCHAR(2000))", "REPEAT('x', 2000)");
    for table in ["made", "nothing", "large"] {
        sql(&pair.target, &format!("CREATE TABLE {table} {columns}"))?;
    }
    // The last one takes several records.
    sql(
        &pair.source,
        &format!(
            "SET cte_max_recursion_depth = 5000;
             CREATE TABLE made {columns} AS SELECT 1 AS id, 'one' AS a UNION SELECT 2, NULL;
             CREATE TABLE nothing {columns} AS SELECT id, a FROM made WHERE id > 5;
             CREATE TABLE large {columns} AS WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 3000)
                 SELECT id, {pad} AS a FROM n;
             DELETE FROM made WHERE id = 1"
        ),
    )?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    // Two processes, the applier after the log is whole.
    sql(
        &pair.source,
        &format!("CREATE TABLE late {columns} AS SELECT id, a FROM made"),
    )?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &["late", "does not exist"],
    )?;
    sql(&pair.target, &format!("CREATE TABLE late {columns}"))?;
    let set = executed(&pair.source)?;
    for command in ["capture", "apply"] {
        done(pipeline.command(command).args(["--until", &set]))?;
    }
    judge::equal(&pair.source, &pair.target, &database)
}

#[test]
fn a_replica_takes_over_as_the_source() -> Result<()> {
    let [source, replica] = [MySql::start()?, MySql::start()?];
    let target = &pair()?.target;
    let database = format!("takeover_{}", std::process::id());
    for server in [&source, target] {
        server.sql(&format!("CREATE DATABASE `{database}`"))?;
    }
    // The replica holds the same transactions under the same GTIDs.
    replica.sql(&format!(
        "RESET BINARY LOGS AND GTIDS; CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root',
         SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1; START REPLICA",
        source.port()
    ))?;
    prepare(&source, target, &database)?;
    let mut pipeline = Pipeline::new(&source, target, &database)?;
    let load = Load::start(&source, &database, 13);
    load.wait_for(100)?;
    load.stop()?;
    pipeline.catch_up()?;
    let set = executed(&source)?;
    ensure!(replica.value(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', 60)"))? == "0");
    drop(source);
    replica.sql("STOP REPLICA; RESET REPLICA ALL")?;
    pipeline.source = replica.url(SOURCE_USER);
    let load = Load::start(&replica, &database, 14);
    load.wait_for(100)?;
    load.stop()?;
    pipeline.catch_up()?;
    judge::equal(&replica, target, &database)?;
    judge::once(&replica, target, &database)
}

#[test]
fn a_configuration_file_takes_the_same_names() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("config")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pair.source
        .sql(&format!("INSERT INTO `{database}`.item (id) VALUES (1)"))?;
    let file = pipeline.folder.path().join("binferry.toml");
    let text = format!(
        "source = {:?}\ntarget = {:?}\nlog = {:?}\nstream = {database:?}\ntables = {:?}\nfrom = {:?}\n",
        pipeline.source,
        pipeline.target,
        pipeline.log(),
        pipeline.tables,
        pipeline.from
    );
    std::fs::write(&file, &text)?;
    let config = file.to_str().context("path")?;
    done(program("run").args(["--config", config, "--until", "now"]))?;
    judge::equal(&pair.source, &pair.target, &database)?;
    std::fs::write(&file, text + "tabels = 'x'\n")?;
    refused(program("run").args(["--config", config]), 2, &["tabels"])?;
    Ok(())
}

#[test]
fn an_idle_pipeline_stops_cleanly() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("idle")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let running = pipeline.start("run")?;
    eventually("it captures", || Ok(running.said()?.contains("capturing")))?;
    std::thread::sleep(Duration::from_millis(300));
    running.stop()?;
    let running = pipeline.start("run")?;
    eventually("it captures again", || {
        Ok(running.said()?.matches("capturing").count() == 2)
    })?;
    running.stop()
}
