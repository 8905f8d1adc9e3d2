//! Bad input: a clear error with its remedy, the exit code of the design, and nothing lost.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, Pair, Proxy, pair};

use crate::{
    binferry::{
        PASSWORD, Pipeline, SOURCE_USER, TARGET_USER, done, executed, output, program, refused,
    },
    judge,
    load::prepare,
};

/// A pipeline that has carried something, on the shared pair.
fn working(purpose: &str) -> Result<(Pipeline, String)> {
    working_on(pair()?, purpose)
}

/// For transactions that stop every capture that meets them, whatever tables it carries: one test at a time.
fn poisoned() -> Result<MutexGuard<'static, Option<Pair>>> {
    static PAIR: Mutex<Option<Pair>> = Mutex::new(None);
    let mut pair = PAIR.lock().unwrap_or_else(PoisonError::into_inner);
    if pair.is_none() {
        *pair = Some(Pair::start()?);
    }
    Ok(pair)
}

fn working_on(pair: &Pair, purpose: &str) -> Result<(Pipeline, String)> {
    let database = pair.database(purpose)?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.item (id, code) VALUES (1, 1), (2, 2)"
    ))?;
    pipeline.catch_up()?;
    Ok((pipeline, database))
}

#[test]
fn passwords_and_privileges() -> Result<()> {
    let pair = pair()?;
    let (pipeline, _) = working("login")?;
    refused(
        pipeline
            .command("run")
            .env("BINFERRY_SOURCE_PASSWORD", "wrong-secret"),
        2,
        &["1045", SOURCE_USER, "BINFERRY_SOURCE_PASSWORD"],
    )?;
    refused(
        pipeline
            .command("run")
            .env("BINFERRY_TARGET_PASSWORD", "wrong-secret"),
        2,
        &[TARGET_USER, "BINFERRY_TARGET_PASSWORD"],
    )?;
    pair.source.sql(&format!(
        "CREATE USER bf_bare@'%' IDENTIFIED BY '{}'",
        PASSWORD.replace('\'', "''")
    ))?;
    let (mut bare, _) = working("bare")?;
    bare.source = pair.source.url("bf_bare");
    refused(
        &mut bare.command("capture"),
        2,
        &["REPLICATION SLAVE", "GRANT"],
    )?;
    pair.target.sql(&format!(
        "CREATE USER bf_bare@'%' IDENTIFIED BY '{}'",
        PASSWORD.replace('\'', "''")
    ))?;
    bare.target = pair.target.url("bf_bare");
    refused(&mut bare.command("apply"), 2, &["GRANT"])?;
    Ok(())
}

#[test]
fn servers_that_are_down() -> Result<()> {
    let pair = pair()?;
    let (mut pipeline, _) = working("down")?;
    let proxy = Proxy::to(&pair.source)?;
    proxy.refuse(true);
    pipeline.source = proxy.url(SOURCE_USER);
    refused(
        pipeline.command("capture").args(["--retry-for", "1s"]),
        4,
        &["127.0.0.1"],
    )?;
    let proxy = Proxy::to(&pair.target)?;
    proxy.refuse(true);
    pipeline.target = proxy.url(TARGET_USER);
    refused(
        pipeline.command("apply").args(["--retry-for", "1s"]),
        4,
        &["127.0.0.1"],
    )?;
    Ok(())
}

#[test]
fn options_that_cannot_be_read() -> Result<()> {
    let (pipeline, _) = working("options")?;
    for (option, value, says) in [
        ("--source", "mysql:/nowhere", "--source"),
        ("--source", "mysql://user@host:99999/", "port"),
        ("--source", "mysql://user@host/?tls=sometimes", "TLS"),
        ("--source", "mysql://user@host/?tsl=required", "tsl"),
        ("--from", "yesterday", "--from"),
        (
            "--until",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-x",
            "--until",
        ),
        ("--tables", "shop", "--tables"),
        ("--keep-bytes", "many", "--keep-bytes"),
        ("--keep-age", "soon", "--keep-age"),
        ("--retry-for", "x", "--retry-for"),
    ] {
        let mut command = program("run");
        command
            .args(["--source", &pipeline.source, "--target", &pipeline.target])
            .arg("--log")
            .arg(pipeline.log());
        // The option under test comes instead of the good one.
        let mut command = if option == "--source" {
            program("run")
        } else {
            command
        };
        if option == "--source" {
            command
                .args(["--target", &pipeline.target])
                .arg("--log")
                .arg(pipeline.log());
        }
        refused(command.args([option, value]), 2, &[says])?;
    }
    refused(
        program("run").arg("--no-such-option"),
        2,
        &["--no-such-option"],
    )?;
    refused(
        program("capture").args(["--log", "redis://h:1/x", "--source", &pipeline.source]),
        2,
        &["a log is a directory, or kafka://"],
    )?;
    let secret = refused(
        program("run").args([
            "--source",
            "mysql://u:hidden@host/?x=1",
            "--target",
            &pipeline.target,
        ]),
        2,
        &[],
    )?;
    ensure!(!secret.contains("hidden"), "{secret}");
    Ok(())
}

/// One server after another is a source that does not fit; `check` says the same as `capture`.
#[test]
fn sources_that_are_not_set_up() -> Result<()> {
    let target = &pair()?.target;
    let source = MySql::start()?;
    let database = "settings";
    source.sql("CREATE DATABASE settings")?;
    let pipeline = Pipeline::new(&source, target, database)?;
    for (setting, good, bad) in [
        ("binlog_format", "ROW", "STATEMENT"),
        ("binlog_row_metadata", "FULL", "MINIMAL"),
    ] {
        source.sql(&format!("SET GLOBAL {setting} = '{bad}'"))?;
        refused(
            &mut pipeline.command("capture"),
            2,
            &[setting, "SET PERSIST"],
        )?;
        refused(&mut pipeline.command("check"), 1, &[setting])?;
        source.sql(&format!("SET GLOBAL {setting} = '{good}'"))?;
    }
    for (args, says) in [
        (vec!["--binlog-do-db=settings"], "binlog_do_db"),
        (vec!["--binlog-ignore-db=other"], "binlog_ignore_db"),
        (
            vec!["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
            "gtid_mode",
        ),
        (vec!["--skip-log-bin"], "log_bin"),
    ] {
        source.restart_with(args)?;
        refused(&mut pipeline.command("capture"), 2, &[says])?;
        refused(&mut pipeline.command("check"), 1, &[says])?;
    }
    Ok(())
}

#[test]
fn a_replica_that_does_not_log_is_no_source() -> Result<()> {
    let source = MySql::start()?;
    let replica = MySql::builder().arg("--log-replica-updates=OFF").start()?;
    replica.sql(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
        source.port()
    ))?;
    let pipeline = Pipeline::new(&replica, &pair()?.target, "nolog")?;
    refused(
        &mut pipeline.command("capture"),
        2,
        &["log_replica_updates"],
    )?;
    Ok(())
}

/// Purged, reset, and another server's: the log is not continued with a history that is not its own.
#[test]
fn histories_that_do_not_fit() -> Result<()> {
    let target = &pair()?.target;
    let source = MySql::start()?;
    let database = format!("history_{}", std::process::id());
    for server in [&source, target] {
        server.sql(&format!("CREATE DATABASE `{database}`"))?;
    }
    prepare(&source, target, &database)?;
    let mut pipeline = Pipeline::new(&source, target, &database)?;
    let insert = |from: u32, to: u32| -> Result<()> {
        let rows: Vec<String> = (from..to)
            .map(|n| format!("INSERT INTO `{database}`.item (id) VALUES ({n})"))
            .collect();
        source.sql(&rows.join(";"))?;
        Ok(())
    };
    insert(0, 5)?;
    pipeline.catch_up()?;

    // Purged beyond what the log has: the exact set is shown.
    let uuid = source.value("SELECT @@server_uuid")?;
    let next = 1 + source
        .value("SELECT SUBSTRING_INDEX(@@GLOBAL.gtid_executed, '-', -1)")?
        .parse::<u64>()?;
    insert(5, 7)?;
    source.sql("FLUSH BINARY LOGS")?;
    let file = source.rows("SHOW BINARY LOG STATUS")?[0][0]
        .clone()
        .unwrap_or_default();
    source.sql(&format!("PURGE BINARY LOGS TO '{file}'"))?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &[&format!("{uuid}:{next}-{}", next + 1), "purged"],
    )?;
    // Where nothing may be copied, a beginning is not guessed.
    refused(
        program("run")
            .args(["--source", &pipeline.source, "--target", &pipeline.target])
            .args(["--gtid", "preserve", "--log"])
            .arg(pipeline.folder.path().join("new")),
        2,
        &["--from"],
    )?;

    // A new start of the log, then the source's GTIDs start over, with as many transactions as before.
    pipeline.from = executed(&source)?;
    target.sql(&format!(
        "INSERT INTO `{database}`.item (id) VALUES (5), (6)"
    ))?;
    std::fs::remove_dir_all(pipeline.log())?;
    pipeline.stream = format!("{database}_2");
    insert(7, 9)?;
    pipeline.catch_up()?;
    judge::equal(&source, target, &database)?;
    let before = source
        .value("SELECT SUBSTRING_INDEX(@@GLOBAL.gtid_executed, '-', -1)")?
        .parse::<u32>()?;
    source.sql("RESET BINARY LOGS AND GTIDS")?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &["does not have"],
    )?;
    insert(100, 100 + before + 3)?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &["started over"],
    )?;

    // Another server, which never had the log's transactions.
    let other = MySql::start()?;
    other.sql(&format!("CREATE DATABASE `{database}`"))?;
    let stranger = Pipeline::new(&other, target, &database)?;
    pipeline.source = stranger.source;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &["does not have", &uuid],
    )?;
    Ok(())
}

#[test]
fn a_server_id_in_use() -> Result<()> {
    let pair = pair()?;
    let (pipeline, database) = working("serverid")?;
    let mut first = pipeline.command("capture");
    first.args(["--server-id", "4242"]);
    let running = pipeline.start_command(first, "first")?;
    crate::binferry::eventually("it is a replica", || {
        Ok(pair
            .source
            .rows("SHOW REPLICAS")?
            .iter()
            .any(|r| r[0].as_deref() == Some("4242")))
    })?;
    let mut other = Pipeline::new(&pair.source, &pair.target, &database)?;
    other.stream += "_2";
    refused(
        other.command("capture").args(["--server-id", "4242"]),
        2,
        &["4242", "--server-id"],
    )?;
    refused(
        other
            .command("capture")
            .args(["--server-id", &pair.source.server_id().to_string()]),
        2,
        &["--server-id"],
    )?;
    running.stop()
}

#[test]
fn targets_that_do_not_fit() -> Result<()> {
    let pair = pair()?;
    for (name, source, target, code, says) in [
        (
            "missing",
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "SELECT 1",
            3,
            vec!["does not exist", "CREATE TABLE"],
        ),
        (
            "column",
            "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
            "CREATE TABLE t (id INT PRIMARY KEY)",
            3,
            vec!["column a"],
        ),
        (
            "narrow",
            "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
            "CREATE TABLE t (id INT PRIMARY KEY, a SMALLINT)",
            3,
            vec!["column a", "smallint"],
        ),
        (
            "sign",
            "CREATE TABLE t (id INT PRIMARY KEY, a INT UNSIGNED)",
            "CREATE TABLE t (id INT PRIMARY KEY, a INT)",
            3,
            vec!["column a"],
        ),
        (
            "short",
            "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20))",
            "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10))",
            3,
            vec!["column a"],
        ),
        (
            "enum",
            "CREATE TABLE t (id INT PRIMARY KEY, a ENUM('x','y'))",
            "CREATE TABLE t (id INT PRIMARY KEY, a ENUM('x'))",
            3,
            vec!["column a"],
        ),
    ] {
        let database = pair.database(name)?;
        let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
        pair.source.sql(&format!(
            "USE `{database}`; {source}; INSERT INTO t (id) VALUES (1)"
        ))?;
        pair.target.sql(&format!("USE `{database}`; {target}"))?;
        refused(
            pipeline.command("run").args(["--until", "now"]),
            code,
            &says,
        )?;
        // Mended, it goes on where it stopped.
        pair.target.sql(&format!(
            "USE `{database}`; DROP TABLE IF EXISTS t; {source}"
        ))?;
        pipeline.catch_up()?;
        judge::equal(&pair.source, &pair.target, &database)?;
    }
    Ok(())
}

#[test]
fn conflicts_stop_and_are_named() -> Result<()> {
    let pair = pair()?;
    for (name, planted, change, says) in [
        (
            "gone",
            "DELETE FROM item WHERE id = 1",
            "UPDATE item SET price = 5 WHERE id = 1",
            "row_missing",
        ),
        (
            "there",
            "INSERT INTO item (id) VALUES (3)",
            "INSERT INTO item (id) VALUES (3)",
            "row_exists",
        ),
        (
            "differs",
            "UPDATE item SET price = 77 WHERE id = 1",
            "UPDATE item SET price = 5 WHERE id = 1",
            "row_differs",
        ),
        (
            "lettercase",
            "UPDATE item SET label = 'LABEL' WHERE id = 1",
            "UPDATE item SET price = 5 WHERE id = 1",
            "row_differs",
        ),
        (
            "unique",
            "INSERT INTO item (id, code) VALUES (9, 33)",
            "INSERT INTO item (id, code) VALUES (3, 33)",
            "unique_key",
        ),
        (
            "deleted",
            "DELETE FROM item WHERE id = 2",
            "DELETE FROM item WHERE id = 2",
            "row_missing",
        ),
    ] {
        let database = pair.database(name)?;
        prepare(&pair.source, &pair.target, &database)?;
        let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
        pair.source.sql(&format!("USE `{database}`; INSERT INTO item (id, code, label) VALUES (1, 1, 'label'), (2, 2, 'label')"))?;
        pipeline.catch_up()?;
        pair.target.sql(&format!("USE `{database}`; {planted}"))?;
        pair.source.sql(&format!(
            "USE `{database}`; INSERT INTO nokey VALUES (1, 'with it'); {change}"
        ))?;
        let gtid = executed(&pair.source)?;
        let uuid = &gtid[..36];
        refused(
            pipeline.command("run").args(["--until", "now"]),
            3,
            &[says, &database, "item", uuid, "id"],
        )?;
        // The transactions before the conflict stand; the one with the conflict left nothing.
        ensure!(
            pair.target
                .value(&format!("SELECT COUNT(*) FROM `{database}`.nokey"))?
                == "1",
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn a_read_only_target() -> Result<()> {
    let source = &pair()?.source;
    let target = MySql::start()?;
    let database = pair()?.database("readonly")?;
    target.sql(&format!("CREATE DATABASE `{database}`"))?;
    prepare(source, &target, &database)?;
    let pipeline = Pipeline::new(source, &target, &database)?;
    target.sql("SET GLOBAL super_read_only = ON")?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        2,
        &["read_only"],
    )?;
    refused(&mut pipeline.command("check"), 1, &["read_only"])?;
    Ok(())
}

#[test]
fn tables_are_not_widened() -> Result<()> {
    let (mut pipeline, database) = working("widen")?;
    pipeline.tables = format!("{database}.item");
    pipeline.catch_up()?;
    pipeline.tables = format!("{database}.*");
    refused(
        pipeline.command("run").args(["--until", "now"]),
        2,
        &["asks for more"],
    )?;
    Ok(())
}

#[test]
fn a_statement_that_changes_a_captured_table() -> Result<()> {
    let guard = poisoned()?;
    let pair = guard.as_ref().context("it was started")?;
    let (pipeline, database) = working_on(pair, "statement")?;
    // Elsewhere it is of no interest, whatever comes along with it (INTVAR, RAND, USER_VAR).
    let other = pair.database("elsewhere")?;
    pair.source.sql(&format!(
        "CREATE TABLE `{other}`.t (id INT AUTO_INCREMENT PRIMARY KEY, a DOUBLE, b INT);
         SET SESSION binlog_format = 'STATEMENT';
         SET @b = 5;
         INSERT INTO `{other}`.t (a, b) VALUES (RAND(), @b);
         UPDATE `{other}`.t SET b = b + 1; DELETE FROM `{other}`.t;
         ANALYZE TABLE `{other}`.t; FLUSH TABLES; OPTIMIZE TABLE `{other}`.t;
         GRANT SELECT ON `{other}`.* TO {SOURCE_USER}@'%'"
    ))?;
    pipeline.catch_up()?;
    pair.source.sql(&format!(
        "SET SESSION binlog_format = 'STATEMENT'; UPDATE `{database}`.item SET price = 1"
    ))?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &[
            "statement",
            "binlog_format",
            &format!("UPDATE {database}.item"),
        ],
    )?;
    Ok(())
}

#[test]
fn check_finds_nothing_on_a_good_pair() -> Result<()> {
    let (pipeline, _) = working("check")?;
    let output = output(&mut pipeline.command("check"))?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    done(
        pipeline
            .command("status")
            .args(["--target", &pipeline.target]),
    )
}
