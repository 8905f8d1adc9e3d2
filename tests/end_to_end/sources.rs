//! What a source does while it is followed: it rotates, changes its checksums, encrypts its binlogs, comes back with other settings.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, pair};

use crate::{
    binferry::{Pipeline, done, eventually, executed, program, refused},
    files::{Backup, gtids, lines, source},
    judge,
    load::{Load, prepare},
};

/// A pipeline of its own server to the shared target.
fn own(purpose: &str, server: &MySql) -> Result<(Pipeline, String)> {
    let pair = pair()?;
    let database = pair.database(purpose)?;
    server.sql(&format!("CREATE DATABASE `{database}`"))?;
    prepare(server, &pair.target, &database)?;
    let mut pipeline = Pipeline::new(server, &pair.target, &database)?;
    pipeline.from = "earliest".into();
    Ok((pipeline, database))
}

#[test]
fn rotations_and_changes_of_checksums_under_a_load() -> Result<()> {
    let server = MySql::start()?;
    let (pipeline, database) = own("switch", &server)?;
    let target = &pair()?.target;
    let running = pipeline.start("run")?;
    eventually("it captures", || Ok(running.said()?.contains("capturing")))?;
    let load = Load::start(&server, &database, 51);
    for round in 0..12 {
        load.wait_for(15)?;
        // Each of them begins another file.
        server.sql(match round % 4 {
            0 => "SET GLOBAL binlog_checksum = NONE",
            2 => "SET GLOBAL binlog_checksum = CRC32",
            _ => "FLUSH BINARY LOGS; FLUSH BINARY LOGS; FLUSH BINARY LOGS",
        })?;
    }
    load.wait_for(15)?;
    load.stop()?;
    let set = executed(&server)?;
    done(
        pipeline
            .command("wait")
            .args(["--gtid", &set, "--timeout", "60s"]),
    )?;
    judge::equal(&server, target, &database)?;
    ensure!(
        running.said()?.matches(" capturing").count() == 1,
        "it was interrupted: {}",
        running.said()?
    );
    running.stop()?;

    // A server that stops cleanly ends its file with STOP; it comes back as another one might.
    server.restart_with(["--binlog-checksum=NONE"])?;
    let load = Load::start(&server, &database, 52);
    load.wait_for(30)?;
    load.stop()?;
    server.kill()?;
    server.start_again()?;
    let load = Load::start(&server, &database, 53);
    load.wait_for(30)?;
    load.stop()?;
    pipeline.catch_up()?;
    judge::equal(&server, target, &database)?;
    judge::once(&server, target, &database)?;

    // The files of all that hold the same.
    let names: Vec<String> = server
        .rows("SHOW BINARY LOGS")?
        .into_iter()
        .filter_map(|row| row.into_iter().next()?)
        .collect();
    ensure!(names.len() > 25, "{} files", names.len());
    let backup = Backup::copy(&server, &names)?;
    done(
        backup
            .capture(&backup.source())
            .args(["--tables", &pipeline.tables]),
    )?;
    ensure!(lines(&backup.log())? == lines(&pipeline.log())?);
    ensure!(gtids(&backup.log())? == gtids(&pipeline.log())?);
    Ok(())
}

#[test]
fn a_source_is_judged_again_at_each_connect() -> Result<()> {
    let server = MySql::start()?;
    let (pipeline, _) = own("rejudged", &server)?;
    let mut running = pipeline.start("capture")?;
    eventually("it captures", || Ok(running.said()?.contains("capturing")))?;
    server.restart_with(["--binlog-row-metadata=MINIMAL"])?;
    let code = running.wait(Duration::from_secs(60))?;
    let said = running.said()?;
    ensure!(code == Some(2), "{code:?}: {said}");
    ensure!(said.contains("binlog_row_metadata is MINIMAL"), "{said}");
    Ok(())
}

#[test]
fn encrypted_binlogs_come_from_the_server_and_not_from_files() -> Result<()> {
    let server = MySql::builder()
        .keyring()
        .arg("--binlog-encryption=ON")
        .start()?;
    let (pipeline, database) = own("encrypted", &server)?;
    let load = Load::start(&server, &database, 54);
    load.wait_for(30)?;
    server.sql("FLUSH BINARY LOGS")?;
    load.wait_for(30)?;
    load.stop()?;
    let listed = server.rows("SHOW BINARY LOGS")?;
    ensure!(
        listed.iter().all(|row| row[2].as_deref() == Some("Yes")),
        "{listed:?}"
    );
    pipeline.catch_up()?;
    judge::equal(&server, &pair()?.target, &database)?;

    let names: Vec<String> = listed
        .into_iter()
        .filter_map(|row| row.into_iter().next()?)
        .collect();
    let backup = Backup::copy(&server, &names)?;
    let first = backup.files[0].display().to_string();
    let says = [
        first.as_str(),
        "is encrypted",
        "mysqlbinlog (or mariadb-binlog) --read-from-remote-server --raw",
    ];
    refused(&mut backup.capture(&backup.source()), 2, &says)?;
    refused(
        program("check").args(["--source", &backup.source()]),
        1,
        &says,
    )?;

    // The remedy.
    let raw = backup.folder.path().join("raw");
    fs::create_dir(&raw)?;
    let status = server
        .mysqlbinlog()?
        .args(["--read-from-remote-server", "--raw"])
        .arg(format!("--result-file={}/", raw.display()))
        .args(&names)
        .status()?;
    ensure!(status.success());
    let files: Vec<_> = names.iter().map(|name| raw.join(name)).collect();
    done(
        backup
            .capture(&source(&files))
            .args(["--tables", &pipeline.tables]),
    )?;
    ensure!(lines(&backup.log())? == lines(&pipeline.log())?);
    Ok(())
}

#[test]
fn damaged_and_missing_files_end_with_their_names() -> Result<()> {
    let server = MySql::start()?;
    let backup = Backup::of(
        &server,
        &[
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1)",
            "INSERT INTO d.t VALUES (2)",
            "INSERT INTO d.t VALUES (3)",
        ],
        false,
    )?;
    let [one, two, three] = &backup.files[..] else {
        anyhow::bail!("{} files", backup.files.len())
    };
    let name = |path: &std::path::PathBuf| path.display().to_string();
    // A gap: what comes before it is carried, and a later run with the file goes on.
    refused(
        &mut backup.capture(&source(&[one, three])),
        3,
        &["missing before", &name(three)],
    )?;
    ensure!(lines(&backup.log())?.len() == 1);
    // One that stops in the middle, and one that is damaged.
    let whole = fs::read(two)?;
    fs::write(two, &whole[..whole.len() - 70])?;
    refused(
        &mut backup.capture(&backup.source()),
        3,
        &["stops in the middle of an event", &name(two), "at position"],
    )?;
    let mut damaged = whole.clone();
    let middle = damaged.len() - 120;
    damaged[middle] ^= 4;
    fs::write(two, &damaged)?;
    refused(
        &mut backup.capture(&backup.source()),
        3,
        &["is damaged at position", &name(two), "CRC32"],
    )?;
    ensure!(lines(&backup.log())?.len() == 1);
    fs::write(two, &whole)?;
    done(&mut backup.capture(&backup.source()))?;
    ensure!(lines(&backup.log())?.len() == 3);
    // Not files of binlogs at all.
    let folder = backup.folder.path();
    let text = folder.join("text");
    fs::write(&text, "binlog.000001\n")?;
    let empty = folder.join("empty");
    fs::write(&empty, "")?;
    let missing = folder.join("missing");
    for (files, says) in [
        (vec![&text], "is not a binlog file"),
        (vec![&empty], "is empty"),
        (vec![&missing], "cannot be read"),
        (vec![one, one], "is in the list twice"),
    ] {
        let path = name(files.last().context("a file")?);
        refused(&mut backup.capture(&source(&files)), 2, &[says, &path])?;
    }
    refused(
        backup.capture(&backup.source()).args(["--server-id", "7"]),
        2,
        &["--server-id"],
    )?;
    Ok(())
}
