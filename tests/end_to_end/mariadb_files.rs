//! MariaDB's binlog files: from disk as the source, and as what the live log is accounted by.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, Release, pair};

use crate::{
    binferry::{Pipeline, done, eventually, executed, output, program, refused},
    files::{Backup, current, gtids, lines, source},
};

const ANNOTATE_ROWS: u8 = 160;

const RELEASES: [Release; 2] = [Release::MariaDb10_11, Release::MariaDb11_8];

const TABLES: &str = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100), b LONGBLOB, d DECIMAL(20,5));
     CREATE TABLE m (id INT PRIMARY KEY, v VARCHAR(50)) ENGINE=MyISAM";

/// Two domains, both kinds of engines, compressed events, statements that change nothing, and a row of several megabytes.
fn steps(database: &str) -> [String; 3] {
    [
        format!(
            "SET GLOBAL log_bin_compress = 0; CREATE DATABASE `{database}`; USE `{database}`; {TABLES};
             INSERT INTO t (v) VALUES ('one'), ('two')"
        ),
        format!(
            "SET GLOBAL log_bin_compress = 1, GLOBAL log_bin_compress_min_len = 10; USE `{database}`;
             BEGIN; UPDATE t SET v = REPEAT('x', 90); SAVEPOINT s; INSERT INTO t (v, d) VALUES ('three', 1.5);
             DELETE FROM t WHERE id = 1; ROLLBACK TO s; COMMIT;
             SET SESSION gtid_domain_id = 5; INSERT INTO m VALUES (1, REPEAT('m', 50)); DELETE FROM t WHERE id = 1;
             SET SESSION gtid_domain_id = 0; ALTER TABLE t ADD COLUMN n INT NULL COMMENT 'a column that a long statement adds'"
        ),
        format!(
            "USE `{database}`; INSERT INTO t (v, b) VALUES ('four', REPEAT('b', 3000000));
             INSERT INTO t (v, n) SELECT CONCAT('s', seq), seq FROM seq_1_to_2000; UPDATE t SET n = n + 1 WHERE n > 1000;
             ANALYZE TABLE t; CREATE TEMPORARY TABLE tmp (a INT); DROP TEMPORARY TABLE tmp;
             INSERT INTO m SELECT n, v FROM t WHERE n BETWEEN 10 AND 20; DELETE FROM m"
        ),
    ]
}

fn taken(server: &MySql, database: &str, live: bool) -> Result<Backup> {
    Backup::of(
        server,
        &steps(database).each_ref().map(String::as_str),
        live,
    )
}

/// GTIDs and rows of files, by the server's own reader.
fn named(server: &MySql, files: &[PathBuf]) -> Result<(Vec<String>, usize)> {
    let (mut gtids, mut rows) = (Vec::new(), 0);
    for file in files {
        let mut command = server.mysqlbinlog()?;
        command.args([
            "--verify-binlog-checksum",
            "--base64-output=decode-rows",
            "-v",
        ]);
        let output = command.arg(file).output()?;
        ensure!(output.status.success(), "mariadb-binlog fails");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some((_, gtid)) = line
                .strip_prefix('#')
                .and_then(|line| line.split_once("\tGTID "))
            {
                gtids.extend(gtid.split(' ').next().map(str::to_owned));
            }
            let changes = ["### INSERT INTO", "### UPDATE", "### DELETE FROM"];
            rows += usize::from(changes.iter().any(|what| line.starts_with(what)));
        }
    }
    Ok((gtids, rows))
}

#[test]
fn files_give_the_same_log_as_their_server() -> Result<()> {
    for release in RELEASES {
        let server = MySql::builder().release(release).start()?;
        let before = executed(&server)?;
        let backup = taken(&server, "files_same", false)?;
        let output = output(&mut backup.capture(&backup.source()))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(0), "{said}");
        ensure!(!said.contains("WARN"), "{said}");
        let from_files = lines(&backup.log())?;

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
        let (named, rows) = named(&server, &backup.files)?;
        ensure!(rows == from_files.len() && rows > 3000, "{rows} rows");
        let mut of_lines = Vec::new();
        for line in &from_files {
            let line: serde_json::Value = serde_json::from_str(line)?;
            of_lines.push(line["gtid"].as_str().context("a GTID")?.to_owned());
        }
        of_lines.dedup();
        let with_rows: Vec<_> = named.iter().filter(|g| of_lines.contains(g)).collect();
        ensure!(with_rows.into_iter().eq(&of_lines), "another order");

        // A check reads them whole, and compressed events through.
        let mut check = program("check");
        let check = self::output(check.args(["--source", &backup.source()]))?;
        let said = String::from_utf8(check.stdout)?;
        ensure!(check.status.code() == Some(0), "{said}");
        ensure!(said.contains("MariaDB 1"), "{said}");
        let mut total = 0;
        for file in &backup.files {
            let count = self::named(&server, std::slice::from_ref(file))?.0.len();
            total += count;
            ensure!(
                said.contains(&format!("{count} transactions and ")),
                "{said}"
            );
        }
        ensure!(total == named.len() && total > 10, "{total} transactions");

        // A folder, another order, the same again, and one file after the other.
        for sources in [
            vec![format!("file:{}", backup.folder.path().display())],
            vec![source(&backup.files.iter().rev().collect::<Vec<_>>())],
            [1, 1, 2, 3, 2]
                .map(|count| source(&backup.files[..count]))
                .to_vec(),
        ] {
            let log = backup.folder.path().join("again");
            for source in sources {
                let mut capture = program("capture");
                capture.args(["--source", &source, "--from", "earliest", "--log"]);
                done(capture.arg(&log))?;
            }
            ensure!(lines(&log)? == from_files);
            ensure!(gtids(&log)? == gtids(&live)?);
            fs::remove_dir_all(&log)?;
        }
    }
    Ok(())
}

#[test]
fn a_log_goes_from_files_to_the_server_and_back() -> Result<()> {
    let server = MySql::builder().release(Release::MariaDb11_8).start()?;
    let pair = pair()?;
    let name = pair.database("maria_files")?;
    let create = |engine: &str| {
        format!("USE `{name}`; CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(60)) ENGINE={engine}")
    };
    server.sql(&format!("CREATE DATABASE `{name}`; {}", create("InnoDB")))?;
    pair.target.sql(&create("InnoDB"))?;
    let mut pipeline = Pipeline::new(&server, &pair.target, &name)?;
    pipeline.from = "earliest".into();
    let live = pipeline.source.clone();
    for round in 0..3 {
        server.sql(&format!(
            "SET GLOBAL log_bin_compress = {}; USE `{name}`;
             INSERT INTO t SELECT {round} * 1000 + seq, REPEAT('v', seq % 50) FROM seq_1_to_300;
             SET SESSION gtid_domain_id = {round}; UPDATE t SET v = CONCAT(v, id) WHERE id % 7 = {round};
             FLUSH BINARY LOGS; DELETE FROM t WHERE id % 11 = 1",
            round % 2
        ))?;
        // The last file is open.
        let backup = Backup::all(&server)?;
        pipeline.source = format!("file:{}", backup.folder.path().display());
        match round {
            1 => {
                done(&mut pipeline.command("capture"))?;
                done(pipeline.command("apply").args(["--until", "now"]))?;
            }
            _ => done(&mut pipeline.command("run"))?,
        }
        let sum = |server: &MySql| {
            server.value(&format!(
                "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS('|', t.id, t.v)))) FROM `{name}`.t t"
            ))
        };
        ensure!(sum(&server)? == sum(&pair.target)?, "after the files");
        pipeline.source = live.clone();
        server.sql(&format!(
            "INSERT INTO `{name}`.t VALUES ({round} + 100000, 'live')"
        ))?;
        pipeline.catch_up()?;
        ensure!(sum(&server)? == sum(&pair.target)?, "after the server");
    }
    Ok(())
}

fn check(files: &[PathBuf]) -> Command {
    let mut command = program("check");
    command.args(["--source", &source(files)]);
    command
}

#[test]
fn files_that_are_not_fit_are_named() -> Result<()> {
    let server = MySql::builder().release(Release::MariaDb10_11).start()?;
    let backup = taken(&server, "files_unfit", true)?;
    let [first, second, third, open] = &backup.files[..] else {
        anyhow::bail!("{} files", backup.files.len())
    };
    let all = lines(&{
        done(&mut backup.capture(&backup.source()))?;
        backup.log()
    })?;

    // A closed file that stops in the middle of an event, and between the events of a transaction.
    let bytes = fs::read(third)?;
    fs::write(third, &bytes[..bytes.len() / 2])?;
    let log = backup.folder.path().join("cut");
    let cut = |from: &str| {
        let mut capture = program("capture");
        capture.args(["--source", &backup.source(), "--from", from, "--log"]);
        capture.arg(&log);
        capture
    };
    refused(
        &mut cut("earliest"),
        3,
        &["stops in the middle of an event"],
    )?;
    refused(
        &mut check(&backup.files),
        1,
        &["stops in the middle of an event"],
    )?;
    let before = lines(&log)?;
    ensure!(!before.is_empty() && all.starts_with(&before));
    // A damaged one.
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 3] ^= 0x10;
    fs::write(third, &damaged)?;
    refused(&mut cut("earliest"), 3, &["is damaged at position"])?;
    // A good copy, and it goes on.
    fs::write(third, &bytes)?;
    done(&mut cut("earliest"))?;
    ensure!(lines(&log)? == all);

    // A hole, and files of another server.
    let hole = [first.clone(), third.clone()];
    refused(&mut check(&hole), 1, &["transactions are missing before"])?;
    done(&mut backup.capture(&source(&[second, third])))?;
    let mut stranger = program("capture");
    stranger.args(["--source", &source(&hole), "--from", "earliest", "--log"]);
    stranger.arg(backup.folder.path().join("hole"));
    refused(&mut stranger, 3, &["transactions are missing before"])?;

    // The file of a running server may stop anywhere.
    let running = server
        .data_dir()
        .context("not ours")?
        .join(current(&server)?);
    let before = fs::metadata(&running)?.len();
    server.sql("INSERT INTO files_unfit.t (v) VALUES ('last'), ('of all')")?;
    let whole = fs::read(&running)?;
    // In its second event, whatever the first one is.
    fs::write(open, &whole[..usize::try_from(before)? + 60])?;
    let said = output(&mut backup.capture(&backup.source()))?;
    let said = (
        said.status.code(),
        String::from_utf8_lossy(&said.stderr).into_owned(),
    );
    ensure!(
        said.0 == Some(0) && said.1.contains("in the middle of a transaction"),
        "{said:?}"
    );
    ensure!(lines(&backup.log())? == all);
    fs::write(open, &whole)?;
    done(&mut backup.capture(&backup.source()))?;
    ensure!(lines(&backup.log())?.len() == all.len() + 2);

    // A number that goes back is not taken for a repeat.
    server.sql(
        "SET GLOBAL gtid_strict_mode = 0; SET SESSION gtid_seq_no = 3; INSERT INTO files_unfit.t (v) VALUES ('back');
         FLUSH BINARY LOGS",
    )?;
    let whole = fs::read(&running)?;
    fs::write(open, &whole)?;
    refused(
        &mut backup.capture(&backup.source()),
        3,
        &["out of sequence", &format!("0-{}-3", server.server_id())],
    )?;
    Ok(())
}

#[test]
fn encrypted_files_are_refused_and_what_the_server_decrypts_is_read() -> Result<()> {
    for release in RELEASES {
        let server = MySql::builder().release(release).start()?;
        let data = server.data_dir().context("not our server")?;
        fs::write(
            data.join("keys.txt"),
            format!("1;{}\n", "0123456789abcdef".repeat(4)),
        )?;
        server.restart_with([
            "--plugin-load-add=file_key_management",
            "--file-key-management-filename=keys.txt",
            "--encrypt-binlog=ON",
        ])?;
        let before = executed(&server)?;
        let mut backup = taken(&server, "files_encrypted", false)?;
        refused(
            &mut backup.capture(&backup.source()),
            2,
            &["is encrypted", "--read-from-remote-server"],
        )?;
        refused(&mut check(&backup.files), 1, &["is encrypted"])?;

        let live = backup.folder.path().join("live");
        let mut capture = program("capture");
        capture
            .args(["--source", &server.url("root"), "--until", "now", "--from"])
            .arg(if before.is_empty() {
                "earliest"
            } else {
                &before
            })
            .env_remove("BINFERRY_SOURCE_PASSWORD");
        done(capture.arg("--log").arg(&live))?;
        ensure!(lines(&live)?.len() > 3000);

        // As the hint says.
        for file in &backup.files {
            let mut command = server.mysqlbinlog()?;
            command.args(["--read-from-remote-server", "--raw"]);
            let name = file.file_name().context("a name")?;
            let result = command
                .arg(format!("--result-file={}/", backup.folder.path().display()))
                .arg(name)
                .output()?;
            ensure!(
                result.status.success(),
                "{}",
                String::from_utf8_lossy(&result.stderr)
            );
        }
        backup.files.sort();
        done(&mut backup.capture(&backup.source()))?;
        ensure!(lines(&live)? == lines(&backup.log())?);
    }
    Ok(())
}

/// A binlog that lost its end is served without it; the next one tells.
#[test]
fn what_is_lost_shows_at_the_next_file() -> Result<()> {
    for release in RELEASES {
        let server = MySql::builder().release(release).start()?;
        let name = "lost";
        server.sql("CREATE DATABASE lost; CREATE TABLE lost.t (id INT PRIMARY KEY)")?;
        let pipeline = Pipeline::new(&server, &pair()?.target, name)?;
        server.sql("INSERT INTO lost.t VALUES (1)")?;
        let capture = |code: Option<&str>| -> Result<()> {
            let mut command = pipeline.command("capture");
            command.args(["--until", "now"]);
            match code {
                None => done(&mut command),
                Some(lost) => {
                    let says = ["transactions are lost", lost];
                    refused(&mut command, 3, &says).map(|_| ())
                }
            }
        };
        capture(None)?;
        // Rotations lose nothing, with two domains and with compressed events.
        server.sql(
            "SET GLOBAL log_bin_compress = 1; INSERT INTO lost.t VALUES (2); SET SESSION gtid_domain_id = 9; FLUSH BINARY LOGS;
             INSERT INTO lost.t VALUES (3); FLUSH BINARY LOGS; FLUSH BINARY LOGS; INSERT INTO lost.t VALUES (4)",
        )?;
        capture(None)?;

        let file = server
            .data_dir()
            .context("not ours")?
            .join(current(&server)?);
        let whole_until = fs::metadata(&file)?.len();
        server.sql("SET SESSION gtid_domain_id = 9; INSERT INTO lost.t VALUES (5)")?;
        let lost = executed(&server)?;
        let lost = lost
            .split(',')
            .find(|gtid| gtid.starts_with("9-"))
            .context("a GTID")?;
        server.sql("FLUSH BINARY LOGS")?;
        server.sql("INSERT INTO lost.t VALUES (6)")?;
        let whole = fs::read(&file)?;
        fs::OpenOptions::new()
            .write(true)
            .open(&file)?
            .set_len(whole_until)?;
        capture(Some(lost))?;
        capture(Some(lost))?;
        fs::write(&file, &whole)?;
        capture(None)?;
        ensure!(pipeline.tail()?.len() == 6);
    }
    Ok(())
}

/// In the place of these bytes an event that says nothing.
fn overwrite(file: &Path, from: u64, to: u64) -> Result<()> {
    let mut bytes = fs::read(file)?;
    let place = &mut bytes[usize::try_from(from)?..usize::try_from(to)?];
    let (length, end) = (u32::try_from(place.len())?, u32::try_from(to)?);
    // The time and the server id stay.
    place[4] = ANNOTATE_ROWS;
    place[9..13].copy_from_slice(&length.to_le_bytes());
    place[13..17].copy_from_slice(&end.to_le_bytes());
    place[17..19].fill(0);
    let body = place.len() - 4;
    place[19..body].fill(b' ');
    let sum = crc32fast::hash(&place[..body]);
    place[body..].copy_from_slice(&sum.to_le_bytes());
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    file.seek(SeekFrom::Start(from))?;
    Ok(file.write_all(place)?)
}

/// A transaction that is not in the binlog any more, in the file that the server writes.
#[test]
fn what_is_lost_shows_at_the_end() -> Result<()> {
    for release in RELEASES {
        let server = MySql::builder().release(release).start()?;
        server.sql("CREATE DATABASE lost; CREATE TABLE lost.t (id INT PRIMARY KEY)")?;
        let pipeline = Pipeline::new(&server, &pair()?.target, "lost")?;
        let file = server
            .data_dir()
            .context("not ours")?
            .join(current(&server)?);
        server.sql("INSERT INTO lost.t VALUES (1); SET SESSION gtid_domain_id = 9; INSERT INTO lost.t VALUES (2)")?;
        done(pipeline.command("capture").args(["--until", "now"]))?;
        let end = |position: bool| -> Result<u64> {
            Ok(match position {
                true => server.rows("SHOW MASTER STATUS")?[0][1]
                    .as_deref()
                    .context("a position")?
                    .parse()?,
                false => fs::metadata(&file)?.len(),
            })
        };
        let from = end(true)?;
        server.sql("SET SESSION gtid_domain_id = 9; INSERT INTO lost.t VALUES (3)")?;
        let to = end(true)?;
        ensure!(to == end(false)?);
        let lost = executed(&server)?;
        let lost = lost
            .split(',')
            .find(|gtid| gtid.starts_with("9-"))
            .context("a GTID")?;
        let whole = fs::read(&file)?;
        overwrite(&file, from, to)?;
        server.sql("USE lost; INSERT INTO t SELECT 3 + seq FROM seq_1_to_50")?;

        let mut running = pipeline.start("capture")?;
        eventually("it goes on", || Ok(pipeline.tail()?.len() == 52))?;
        running.signal("TERM")?;
        let code = running.wait(std::time::Duration::from_secs(60))?;
        let said = running.said()?;
        ensure!(code == Some(3), "{release:?}: exit {code:?}: {said}");
        ensure!(said.contains("transactions are lost"), "{said}");
        ensure!(said.contains(lost), "{said}");

        // As it was, and nothing is lost.
        let mut now = fs::read(&file)?;
        let lost = usize::try_from(from)?..usize::try_from(to)?;
        now[lost.clone()].copy_from_slice(&whole[lost]);
        fs::write(&file, now)?;
        done(pipeline.command("capture").args(["--until", "now"]))?;
        ensure!(pipeline.tail()?.len() == 53);
    }
    Ok(())
}
