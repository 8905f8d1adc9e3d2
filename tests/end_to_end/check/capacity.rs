//! Room, the log, and what leads there.

use std::net::TcpStream;

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, pair};

use super::{USER, about, account, none, one};
use crate::binferry::{Pipeline, SOURCE_USER, done, eventually, executed, output, program, users};

#[test]
fn a_small_target() -> Result<()> {
    let source = &pair()?.source;
    let database = pair()?.database("small")?;
    let target = MySql::builder()
        .args(["--max-connections=20", "--max-allowed-packet=2M"])
        .args(["--innodb-buffer-pool-size=16M", "--connect-timeout=600"])
        .start()?;
    let pipeline = Pipeline::new(source, &target, &database)?;
    account(&target)?;
    let with = |workers: u32| {
        let mut command = program("check");
        command
            .args(["--source", &pipeline.source, "--target", &target.url(USER)])
            .args(["--from", "now", "--workers", &workers.to_string()]);
        command
    };
    let most = "max_connections";
    one(&mut with(4), most, "fine", &["20"])?;
    one(
        &mut with(30),
        most,
        "blocking",
        &["needs 32 connections", "--workers "],
    )?;
    // One that says nothing counts, too.
    let _taken = TcpStream::connect((target.host(), target.port()))?;
    eventually("the connection is counted", || {
        let counted = target.rows("SHOW GLOBAL STATUS LIKE 'Threads_connected'")?;
        Ok(counted[0][1].as_deref() == Some("2"))
    })?;
    one(
        &mut with(18),
        most,
        "warning",
        &["are taken now", "SET PERSIST max_connections"],
    )?;
    let user = "max_user_connections";
    none(&mut with(4), user)?;
    target.sql(&format!("ALTER USER {USER} WITH MAX_USER_CONNECTIONS 3"))?;
    one(
        &mut with(4),
        user,
        "blocking",
        &["needs 6 connections", "--workers 1"],
    )?;
    one(
        &mut with(4),
        "innodb_buffer_pool_size",
        "info",
        &["16777216"],
    )?;
    let packets = about(&mut with(1), "max_allowed_packet")?;
    ensure!(
        packets.iter().any(|(severity, text)| severity == "warning" && text.contains("2097152, the source's")),
        "{packets:?}"
    );
    Ok(())
}

#[test]
fn a_log_and_its_source() -> Result<()> {
    let (source, other) = (MySql::start()?, &pair()?.target);
    source.sql("CREATE DATABASE logged; CREATE TABLE logged.t (id INT PRIMARY KEY)")?;
    let pipeline = Pipeline::new(&source, other, "logged")?;
    let look = |source: &str, log: &std::path::Path| {
        let mut command = program("check");
        command
            .args([
                "--source", source, "--tables", "logged.*", "--from", "now", "--log",
            ])
            .arg(log);
        command
    };
    let log = pipeline.log();
    let place = format!("directory {}", log.display());
    one(
        &mut look(&pipeline.source, &log),
        &place,
        "info",
        &["no log yet"],
    )?;
    one(
        &mut look(&pipeline.source, &log),
        "disk of",
        "fine",
        &["free"],
    )?;
    let file = pipeline.folder.path().join("file");
    std::fs::write(&file, "")?;
    let below = about(&mut look(&pipeline.source, &file.join("log")), "directory")?;
    ensure!(
        below
            .iter()
            .any(|(severity, text)| severity == "blocking" && text.contains("not a directory")),
        "{below:?}"
    );
    source.sql("INSERT INTO logged.t VALUES (1)")?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    none(&mut look(&pipeline.source, &log), "directory")?;
    none(&mut look(&pipeline.source, &log), "history")?;
    // Another server has none of the log's transactions.
    users(other, other, "logged")?;
    let elsewhere = other.url(SOURCE_USER);
    one(
        &mut look(&elsewhere, &log),
        "history",
        "blocking",
        &["does not have", "start a new log"],
    )?;
    let mut sited = look(&pipeline.source, &log);
    one(
        sited.args(["--site", "west"]),
        "--site",
        "blocking",
        &["the log is that of"],
    )?;
    // And the right one has purged what the log lacks.
    source.sql("INSERT INTO logged.t VALUES (2); FLUSH BINARY LOGS")?;
    let newest = source.rows("SHOW BINARY LOGS")?;
    let newest = newest
        .last()
        .and_then(|row| row[0].clone())
        .unwrap_or_default();
    source.sql(&format!("PURGE BINARY LOGS TO '{newest}'"))?;
    let missing = executed(&source)?;
    let uuid = missing.split(':').next().unwrap_or_default();
    one(
        &mut look(&pipeline.source, &log),
        "binlogs",
        "blocking",
        &[uuid],
    )
}

#[test]
fn names_that_lead_nowhere() -> Result<()> {
    let mut command = program("check");
    command
        .args([
            "--source",
            "mysql://u@one.invalid/",
            "--target",
            "mysql://u@two.invalid/",
        ])
        .args(["--log", "kafka://three.invalid:9092/shop"]);
    let found = about(&mut command, "host ")?;
    for name in ["one.invalid", "two.invalid", "three.invalid"] {
        ensure!(
            found
                .iter()
                .any(|(severity, text)| severity == "blocking" && text.contains(name)),
            "{name}: {found:?}"
        );
    }
    Ok(())
}

/// Each side is told, also where the other is out of reach.
#[test]
fn a_source_that_refuses() -> Result<()> {
    let target = &pair()?.target;
    let database = pair()?.database("refuses")?;
    let pipeline = Pipeline::new(&pair()?.source, target, &database)?;
    let mut command = program("check");
    command.args([
        "--source",
        &pair()?.source.url("nobody"),
        "--target",
        &pipeline.target,
    ]);
    let output = output(&mut command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "{said}");
    ensure!(
        said.contains("connection is") && said.contains("target"),
        "{said}"
    );
    Ok(())
}

#[test]
fn binlogs_that_go_by_their_size() -> Result<()> {
    let source = MySql::builder().release(Release::MariaDb11_8).start()?;
    account(&source)?;
    let limit = "binlog_space_limit";
    let alone = || {
        let mut command = program("check");
        command.args(["--source", &source.url(USER), "--from", "now"]);
        command
    };
    none(&mut alone(), limit)?;
    source.sql("SET GLOBAL binlog_space_limit = 1073741824")?;
    one(
        &mut alone(),
        limit,
        "warning",
        &["SET GLOBAL binlog_space_limit = 0"],
    )
}
