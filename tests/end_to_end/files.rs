//! Binlog files from disk as the source: what a backup has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, pair};
use tempfile::TempDir;

use crate::{
    binferry::{Pipeline, done, executed, output, program, refused},
    judge,
    load::{Load, prepare},
};

/// A server whose binlogs are cut as a test wants them: one test at a time.
fn server() -> Result<MutexGuard<'static, MySql>> {
    static SERVER: OnceLock<Mutex<MySql>> = OnceLock::new();
    if SERVER.get().is_none() {
        let _ = SERVER.set(Mutex::new(MySql::start()?));
    }
    let server = SERVER.get().context("just set")?;
    Ok(server.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Copies of the binlogs that a server wrote from here on.
pub struct Backup {
    pub folder: TempDir,
    pub files: Vec<PathBuf>,
}

impl Backup {
    /// A file for each step, closed; and the one that follows them, open and without a transaction, only with `live`.
    pub fn of(server: &MySql, steps: &[&str], live: bool) -> Result<Self> {
        server.sql("FLUSH BINARY LOGS")?;
        let first = current(server)?;
        for step in steps {
            server.sql(step)?;
            server.sql("FLUSH BINARY LOGS")?;
        }
        let last = current(server)?;
        let mut names: Vec<String> = server
            .rows("SHOW BINARY LOGS")?
            .into_iter()
            .filter_map(|row| row.into_iter().next()?)
            .filter(|name| *name >= first && (live || *name < last))
            .collect();
        names.sort();
        Self::copy(server, &names)
    }

    /// All that the server has; the last file is open.
    pub fn all(server: &MySql) -> Result<Self> {
        let logs = server.rows("SHOW BINARY LOGS")?;
        let names: Vec<String> = logs
            .into_iter()
            .filter_map(|row| row.into_iter().next()?)
            .collect();
        Self::copy(server, &names)
    }

    pub fn copy(server: &MySql, names: &[String]) -> Result<Self> {
        let data = server.data_dir().context("not our server")?;
        let folder = TempDir::new()?;
        let mut files = Vec::new();
        for name in names {
            let path = folder.path().join(name);
            fs::copy(data.join(name), &path)?;
            files.push(path);
        }
        Ok(Self { folder, files })
    }

    pub fn source(&self) -> String {
        source(&self.files)
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// `capture --from earliest` of these files into the folder's log.
    pub fn capture(&self, source: &str) -> Command {
        let mut command = program("capture");
        command
            .args(["--source", source, "--from", "earliest", "--log"])
            .arg(self.log());
        command
    }
}

pub fn current(server: &MySql) -> Result<String> {
    let statement = match server.release().is_mariadb() {
        true => "SHOW MASTER STATUS",
        false => "SHOW BINARY LOG STATUS",
    };
    Ok(server.value(statement)?)
}

pub fn source(files: &[impl AsRef<Path>]) -> String {
    let list: Vec<String> = files
        .iter()
        .map(|f| f.as_ref().display().to_string())
        .collect();
    format!("file:{}", list.join(","))
}

/// What the log holds, by `tail`: lines of JSON.
pub fn lines(log: &Path) -> Result<Vec<String>> {
    let output = output(
        program("tail")
            .arg("--log")
            .arg(log)
            .args(["--until", "now"]),
    )?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Offsets differ between logs that hold the same.
    Ok(String::from_utf8(output.stdout)?
        .lines()
        .map(|line| {
            let mut json: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            if let Some(object) = json.as_object_mut() {
                object.remove("offset");
            }
            json.to_string()
        })
        .collect())
}

/// The GTIDs that a log holds, as its status says.
pub fn gtids(log: &Path) -> Result<String> {
    let output = output(program("status").arg("--log").arg(log).arg("--json"))?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let set = status.pointer("/log/gtids").or(status.get("gtids"));
    Ok(set
        .and_then(|s| s.as_str())
        .with_context(|| format!("no gtids in {status}"))?
        .to_owned())
}

/// GTIDs and row events of files, by the server's own reader, which verifies every checksum.
fn mysqlbinlog(server: &MySql, files: &[PathBuf]) -> Result<(Vec<String>, usize)> {
    let (mut gtids, mut rows) = (Vec::new(), 0);
    for file in files {
        let mut command = server.mysqlbinlog()?;
        command.args([
            "--verify-binlog-checksum",
            "--base64-output=decode-rows",
            "-v",
        ]);
        let output = command.arg(file).output()?;
        ensure!(
            output.status.success(),
            "mysqlbinlog: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some(gtid) = line
                .trim_start()
                .strip_prefix("SET @@SESSION.GTID_NEXT= '")
                .and_then(|rest| rest.split('\'').next())
                .filter(|gtid| *gtid != "AUTOMATIC")
            {
                gtids.push(gtid.to_owned());
            }
            rows += usize::from(
                ["### INSERT INTO", "### UPDATE", "### DELETE FROM"]
                    .iter()
                    .any(|what| line.starts_with(what)),
            );
        }
    }
    Ok((gtids, rows))
}

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100), b LONGBLOB, d DECIMAL(20,5))";

fn steps(database: &str) -> [String; 3] {
    [
        format!(
            "CREATE DATABASE `{database}`; USE `{database}`; {TABLE}; INSERT INTO t (v) VALUES ('one'), ('two')"
        ),
        format!(
            "USE `{database}`; BEGIN; UPDATE t SET v = CONCAT(v, 'x'); INSERT INTO t (v, d) VALUES ('three', 1.5); COMMIT; DELETE FROM t WHERE id = 1"
        ),
        format!(
            "USE `{database}`; INSERT INTO t (v, b) VALUES ('four', REPEAT('b', 3000000)); INSERT INTO t (v) VALUES ('five');
             SET SESSION binlog_transaction_compression = ON; INSERT INTO t (v) VALUES ('six'), ('seven'); SET SESSION group_concat_max_len = 8000000;
             INSERT INTO t (b) SELECT GROUP_CONCAT(HEX(RANDOM_BYTES(500))) FROM
               (WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000) SELECT n FROM s) a JOIN (SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) b"
        ),
    ]
}

fn taken(database: &str, live: bool) -> Result<Backup> {
    let server = server()?;
    let steps = steps(database);
    Backup::of(&server, &steps.each_ref().map(String::as_str), live)
}

#[test]
fn files_give_the_same_log_as_their_server() -> Result<()> {
    let server = server()?;
    let steps = steps("files_same");
    let before = executed(&server)?;
    let backup = Backup::of(&server, &steps.each_ref().map(String::as_str), false)?;
    let output = output(&mut backup.capture(&backup.source()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(0), "{said}");
    ensure!(!said.contains("WARN"), "{said}");
    let from_files = lines(&backup.log())?;
    ensure!(from_files.len() == 11, "{} lines", from_files.len());

    let live = backup.folder.path().join("live");
    done(
        program("capture")
            .args(["--source", &server.url("root"), "--until", "now", "--from"])
            .arg(if before.is_empty() {
                "earliest"
            } else {
                &before
            })
            .env_remove("BINFERRY_SOURCE_PASSWORD")
            .arg("--log")
            .arg(&live),
    )?;
    ensure!(lines(&live)? == from_files);
    ensure!(gtids(&live)? == gtids(&backup.log())?);

    // The server's own reader sees the same transactions and rows in the same files.
    let (named, rows) = mysqlbinlog(&server, &backup.files)?;
    ensure!(rows == from_files.len(), "{rows} rows");
    let mut of_lines: Vec<String> = from_files
        .iter()
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(line["gtid"].as_str()?.to_owned())
        })
        .collect();
    of_lines.dedup();
    ensure!(named.len() == 9, "{named:?}");
    ensure!(of_lines.iter().all(|gtid| named.contains(gtid)));
    let ours: binferry_schemas::gtid::GtidSet = gtids(&backup.log())?.parse()?;
    for gtid in &named {
        let one: binferry_schemas::gtid::GtidSet = gtid.parse()?;
        ensure!(ours.contains_set(&one), "{gtid} is missing");
    }

    // A check reads them whole, and compressed transactions through.
    let check = self::output(program("check").args(["--source", &backup.source()]))?;
    let said = String::from_utf8(check.stdout)?;
    ensure!(check.status.code() == Some(0), "{said}");
    ensure!(said.contains("4 transactions and 4 row events"), "{said}");

    // A folder stands for its files; files in any order are put in theirs.
    for source in [
        format!("file:{}", backup.folder.path().display()),
        self::source(&backup.files.iter().rev().collect::<Vec<_>>()),
    ] {
        let log = backup.folder.path().join("again");
        done(
            program("capture")
                .args(["--source", &source, "--from", "earliest", "--log"])
                .arg(&log),
        )?;
        ensure!(lines(&log)? == from_files);
        fs::remove_dir_all(&log)?;
    }
    Ok(())
}

#[test]
fn more_files_go_on_and_the_same_ones_add_nothing() -> Result<()> {
    let backup = taken("files_more", false)?;
    let whole = backup.folder.path().join("whole");
    done(
        program("capture")
            .args(["--source", &backup.source(), "--from", "earliest", "--log"])
            .arg(&whole),
    )?;
    for count in [1, 1, 2, 3, 3, 2] {
        done(&mut backup.capture(&source(&backup.files[..count])))?;
    }
    // Those that it has may be left out.
    done(&mut backup.capture(&source(&backup.files[2..])))?;
    ensure!(lines(&backup.log())? == lines(&whole)?);
    ensure!(gtids(&backup.log())? == gtids(&whole)?);
    Ok(())
}

#[test]
fn a_log_goes_from_files_to_the_server_and_back() -> Result<()> {
    let pair = pair()?;
    let server = MySql::start()?;
    let database = pair.database("files_both")?;
    server.sql(&format!("CREATE DATABASE `{database}`"))?;
    prepare(&server, &pair.target, &database)?;
    let mut pipeline = Pipeline::new(&server, &pair.target, &database)?;
    pipeline.from = "earliest".into();
    let live = pipeline.source.clone();
    for round in 0..3 {
        let load = Load::start(&server, &database, 40 + round);
        load.wait_for(40)?;
        server.sql("FLUSH BINARY LOGS")?;
        load.wait_for(40)?;
        load.stop()?;
        // The last file is open: as a copy of a running server's folder has it.
        let names: Vec<String> = server
            .rows("SHOW BINARY LOGS")?
            .into_iter()
            .filter_map(|row| row.into_iter().next()?)
            .collect();
        let backup = Backup::copy(&server, &names)?;
        pipeline.source = format!("file:{}", backup.folder.path().display());
        // In one process and in two.
        match round {
            0 => pipeline.catch_up()?,
            1 => done(&mut pipeline.command("run"))?,
            _ => {
                done(&mut pipeline.command("capture"))?;
                done(pipeline.command("apply").args(["--until", "now"]))?;
            }
        }
        judge::equal(&server, &pair.target, &database)?;
        pipeline.source = live.clone();
        server.sql(&format!(
            "INSERT INTO `{database}`.item (id) VALUES ({})",
            1_000_000 + round
        ))?;
        pipeline.catch_up()?;
        judge::equal(&server, &pair.target, &database)?;
    }
    judge::once(&server, &pair.target, &database)
}

#[test]
fn check_tells_what_files_hold() -> Result<()> {
    let server = server()?;
    let backup = Backup::of(
        &server,
        &[
            "CREATE DATABASE files_check; USE files_check; CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)",
            "SET GLOBAL binlog_checksum = NONE; SET GLOBAL binlog_row_metadata = MINIMAL",
            "INSERT INTO files_check.t VALUES (2)",
            "SET GLOBAL binlog_checksum = CRC32; SET GLOBAL binlog_row_metadata = FULL",
        ],
        true,
    )?;
    drop(server);
    let check = |files: &[PathBuf]| {
        let mut command = program("check");
        command.args(["--source", &source(files)]);
        command
    };
    let good = output(&mut check(&backup.files[..1]))?;
    let said = String::from_utf8(good.stdout)?;
    ensure!(good.status.code() == Some(0), "{said}");
    for part in ["MySQL", "CRC32", "3 transactions", "1 row events"] {
        ensure!(said.contains(part), "{part}: {said}");
    }
    refused(
        &mut check(&backup.files),
        1,
        &[
            "no checksums",
            "no column names",
            "binlog_row_metadata = FULL",
            "is open",
        ],
    )?;
    // A table that is not captured may be without.
    let others = output(check(&backup.files).args(["--tables", "other.*"]))?;
    ensure!(others.status.code() == Some(0));
    refused(
        &mut backup.capture(&backup.source()),
        3,
        &["no column names", "files_check.t"],
    )?;
    done(
        program("capture")
            .args(["--source", &backup.source(), "--from", "earliest"])
            .args(["--tables", "other.*", "--log"])
            .arg(backup.folder.path().join("others")),
    )?;
    refused(
        &mut check(&[&backup.files[..1], &backup.files[backup.files.len() - 1..]].concat()),
        1,
        &["transactions are missing before"],
    )?;
    Ok(())
}

#[test]
fn a_log_begins_where_it_is_told() -> Result<()> {
    let server = server()?;
    let steps = steps("files_from");
    let before = executed(&server)?;
    let backup = Backup::of(&server, &steps.each_ref().map(String::as_str), false)?;
    drop(server);
    let capture = |log: &str, files: &[PathBuf]| {
        let mut command = program("capture");
        command
            .args(["--source", &source(files), "--log"])
            .arg(backup.folder.path().join(log));
        command
    };
    if !before.is_empty() {
        refused(
            &mut capture("a", &backup.files),
            2,
            &["came before the first file", "--from earliest"],
        )?;
    }
    refused(
        &mut capture("a", &backup.files[1..]),
        2,
        &["came before the first file", "--from earliest"],
    )?;
    refused(
        capture("a", &backup.files).args(["--from", "now"]),
        2,
        &["--from now"],
    )?;
    let other = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5";
    refused(
        capture("a", &backup.files).args(["--from", other]),
        2,
        &["never had", other],
    )?;
    ensure!(!backup.folder.path().join("a").join("x").exists());
    // From the middle: what the set has is read over.
    done(capture("all", &backup.files).args(["--from", "earliest"]))?;
    done(capture("first", &backup.files[..1]).args(["--from", "earliest"]))?;
    let first = gtids(&backup.folder.path().join("first"))?;
    done(capture("rest", &backup.files).args(["--from", &first]))?;
    let (all, rest) = (
        lines(&backup.folder.path().join("all"))?,
        lines(&backup.folder.path().join("rest"))?,
    );
    ensure!(all[2..] == rest[..], "{} {}", all.len(), rest.len());
    // Until a transaction, and one that is not there.
    done(capture("until", &backup.files).args(["--from", "earliest", "--until", &first]))?;
    ensure!(lines(&backup.folder.path().join("until"))? == all[..2]);
    refused(
        capture("until", &backup.files).args(["--until", other]),
        3,
        &["end without", other],
    )?;
    // Files of another server do not continue a log.
    let stranger = MySql::start()?;
    let theirs = Backup::of(&stranger, &["CREATE DATABASE x"], false)?;
    refused(
        capture("all", &theirs.files).args(["--from", "earliest"]),
        3,
        &["did not have"],
    )?;
    Ok(())
}
