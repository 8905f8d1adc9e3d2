//! MariaDB as a source: its GTIDs by domain, its events, its types, and what it cannot give.

use anyhow::{Context, Result, ensure};
use binferry_schemas::gtid::GtidSet;
use binferry_servers::{MySql, Release, database, mariadb, pair};
use serde_json::Value;

use crate::binferry::{Pipeline, executed, output, refused};

/// Two domains, every engine's end of a transaction, rows by the thousand, and statements in between that change nothing.
fn work(source: &MySql, name: &str, round: u32) -> Result<()> {
    let base = round * 10_000;
    source.sql(&format!(
        "USE `{name}`;
         INSERT INTO a (id, v, n) VALUES ({base} + 1, 'x', 1.5), ({base} + 2, '\u{fc}', NULL);
         BEGIN; UPDATE a SET v = CONCAT(v, 'z') WHERE id > {base}; SAVEPOINT s; DELETE FROM a WHERE id = {base} + 2;
         ROLLBACK TO SAVEPOINT s; DELETE FROM a WHERE id = {base} + 1; COMMIT;
         SET SESSION gtid_domain_id = 5; INSERT INTO a (id, v) VALUES ({base} + 3, 'domain 5');
         INSERT INTO m SELECT id, v FROM a WHERE id = {base} + 3; SET SESSION gtid_domain_id = 0;
         INSERT INTO m VALUES ({base} + 4, 'not transactional');
         INSERT INTO a (id, v) SELECT {base} + 100 + seq, REPEAT(CHAR(65 + seq % 26), seq % 200) FROM seq_1_to_3000;
         UPDATE a SET n = id / 7 WHERE id > {base} + 100;
         CREATE TEMPORARY TABLE tmp (a INT); INSERT INTO tmp VALUES (1); DROP TEMPORARY TABLE tmp;
         ANALYZE TABLE a; FLUSH TABLES; DO NEXTVAL(sq);
         CREATE OR REPLACE TABLE c AS SELECT id, v FROM a WHERE id < {base} + 110"
    ))?;
    Ok(())
}

fn tables(servers: [&MySql; 2], name: &str) -> Result<()> {
    for (server, engine) in servers.into_iter().zip(["MyISAM", "InnoDB"]) {
        server.sql(&format!(
            "USE `{name}`; CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(250), n DECIMAL(20,6)) CHARACTER SET utf8mb4;
             CREATE TABLE m (id INT PRIMARY KEY, v VARCHAR(50)) ENGINE={engine} CHARACTER SET utf8mb4"
        ))?;
    }
    servers[0].sql(&format!("USE `{name}`; CREATE SEQUENCE sq"))?;
    Ok(())
}

fn pipeline(source: &MySql, target: &MySql, name: &str) -> Result<Pipeline> {
    let mut pipeline = Pipeline::new(source, target, name)?;
    pipeline.tables = format!("{name}.a,{name}.m");
    Ok(pipeline)
}

fn carried(source: &MySql, target: &MySql) -> Result<()> {
    let name = database([source, target], "maria")?;
    tables([source, target], &name)?;
    let pipeline = pipeline(source, target, &name)?;
    let mut had = String::new();
    // The setting is global, and does others no harm.
    for (round, compress) in [(1, 0), (2, 1), (3, 0)] {
        source.sql(&format!(
            "SET GLOBAL log_bin_compress = {compress}, GLOBAL log_bin_compress_min_len = 10"
        ))?;
        work(source, &name, round)?;
        if round == 2 {
            source.sql("FLUSH BINARY LOGS")?;
        }
        had = executed(source)?;
        pipeline.catch_up()?;
    }
    for table in ["a", "m"] {
        let sum = |server: &MySql| {
            server.value(&format!(
                "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS('|', t.id, t.v)))) FROM `{name}`.{table} t"
            ))
        };
        ensure!(sum(source)? == sum(target)?, "{table} differs");
    }
    let status = output(pipeline.command("status").arg("--json"))?;
    let status: Value = serde_json::from_slice(&status.stdout)?;
    // Others write on the source as well: what it had before the end, and nothing that it does not have.
    let held = status["log"]["gtids"].as_str().context("a set")?;
    let (held, has): (GtidSet, GtidSet) = (held.parse()?, executed(source)?.parse()?);
    let had: GtidSet = had.parse()?;
    ensure!(
        held.contains_set(&had) && has.contains_set(&held),
        "{held} is not between {had} and {has}"
    );
    let lines = pipeline.tail()?;
    let gtid = lines[0]["gtid"].as_str().context("a GTID")?;
    ensure!(
        gtid.starts_with("0-") && gtid.split('-').count() == 3,
        "{gtid}"
    );
    Ok(())
}

#[test]
fn from_the_older_line_to_mysql() -> Result<()> {
    carried(mariadb(Release::MariaDb10_11)?, &pair()?.target)
}

#[test]
fn from_the_newer_line_to_mariadb() -> Result<()> {
    carried(
        mariadb(Release::MariaDb11_8)?,
        mariadb(Release::MariaDb10_11)?,
    )
}

/// (column definition, how SELECT shows what `tail` prints, values); `#` stands for the column.
pub const COLUMNS: &[(&str, &str, &[&str])] = &[
    ("BIGINT UNSIGNED", "#", &["18446744073709551615", "0"]),
    ("DECIMAL(30,10)", "#", &["-12345678901234567890.0123456789"]),
    ("DOUBLE", "#", &["0.1", "-1.5e300"]),
    ("DATE", "#", &["'2024-02-29'", "'0000-00-00'"]),
    ("DATETIME(6)", "#", &["'2024-02-29 01:02:03.000456'"]),
    ("TIMESTAMP(3) NULL", "#", &["'2024-02-29 01:02:03.456'"]),
    ("TIME(2)", "#", &["'-838:59:58.25'", "'00:00:00.01'"]),
    ("YEAR", "#", &["1901"]),
    ("BIT(9)", "# + 0", &["b'101010101'"]),
    (
        "CHAR(10) CHARACTER SET latin1",
        "#",
        &["'\u{e4}\u{f6} \u{20ac}'"],
    ),
    (
        "VARCHAR(20) CHARACTER SET sjis",
        "#",
        &["'\u{65e5}\u{672c}'"],
    ),
    (
        "VARCHAR(20) CHARACTER SET ucs2 COLLATE ucs2_general_nopad_ci",
        "#",
        &["'\u{df}'"],
    ),
    (
        "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_croatian_ci",
        "#",
        &["'\u{1f600}'", "''"],
    ),
    ("JSON", "#", &["'{\"b\": [1, 2.50],  \"a\":null}'"]),
    (
        "ENUM('a','\u{e9}') CHARACTER SET latin1",
        "#",
        &["'\u{e9}'"],
    ),
    ("SET('x','y','z')", "#", &["'x,z'"]),
    ("BINARY(4)", "TO_BASE64(#)", &["x'01020000'"]),
    ("VARBINARY(300)", "TO_BASE64(#)", &["x'00ff'"]),
    ("POINT", "TO_BASE64(#)", &["POINT(1, 2)"]),
    ("TINYBLOB", "TO_BASE64(#)", &["x'00ff00'"]),
    // What the binlog does not tell from BINARY: the bytes, all of them, in their order.
    (
        "UUID",
        "TO_BASE64(UNHEX(REPLACE(#, '-', '')))",
        &[
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'00000000-0000-0000-0000-000000000000'",
        ],
    ),
    (
        "INET6",
        "TO_BASE64(INET6_ATON(#))",
        &["'2001:db8::1'", "'::'"],
    ),
    (
        "VARCHAR(255) COMPRESSED CHARACTER SET latin1",
        "#",
        &["REPEAT('abc', 80)", "'\u{e4}'", "''"],
    ),
    (
        "VARCHAR(2000) COMPRESSED CHARACTER SET utf8mb4",
        "#",
        &["REPEAT('\u{20ac}', 2000)"],
    ),
    (
        "VARBINARY(100) COMPRESSED",
        "TO_BASE64(#)",
        &["REPEAT(x'00', 50)", "x'01'"],
    ),
    (
        "LONGTEXT COMPRESSED CHARACTER SET utf8mb4",
        "#",
        &["REPEAT('def', 2000)", "'s'"],
    ),
    ("MEDIUMBLOB COMPRESSED", "TO_BASE64(#)", &["x'ff'", "''"]),
];

/// Only the newer line has these.
pub const NEWER: &[(&str, &str, &[&str])] = &[
    ("INET4", "TO_BASE64(INET6_ATON(#))", &["'10.0.0.1'"]),
    ("VECTOR(3)", "TO_BASE64(#)", &["VEC_FromText('[1,2.5,-3]')"]),
    (
        "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_german2_ai_ci",
        "#",
        &["'\u{df}'"],
    ),
    (
        "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci",
        "#",
        &["'\u{df}'"],
    ),
];

#[test]
fn every_type_is_what_select_shows() -> Result<()> {
    for (release, more) in [
        (Release::MariaDb10_11, &[][..]),
        (Release::MariaDb11_8, NEWER),
    ] {
        let (source, target) = (mariadb(release)?, &pair()?.target);
        let name = database([source], "types")?;
        let columns: Vec<_> = COLUMNS.iter().chain(more).collect();
        let definitions: Vec<_> = (columns.iter().enumerate())
            .map(|(n, (definition, _, _))| format!("c{n} {definition}"))
            .collect();
        source.sql(&format!(
            "CREATE TABLE `{name}`.t (id INT PRIMARY KEY, {})",
            definitions.join(", ")
        ))?;
        let from = executed(source)?;
        let rows = columns.iter().map(|c| c.2.len()).max().unwrap_or(0);
        for row in 0..=rows {
            let values: Vec<_> = (columns.iter())
                .map(|(_, _, values)| values.get(row).copied().unwrap_or("NULL"))
                .collect();
            source.sql(&format!(
                "SET NAMES utf8mb4; SET time_zone = '+00:00', sql_mode = ''; INSERT INTO `{name}`.t VALUES ({row}, {})",
                values.join(", ")
            ))?;
        }
        let mut pipeline = Pipeline::new(source, target, &name)?;
        pipeline.from = from;
        crate::binferry::done(pipeline.command("capture").args(["--until", "now"]))?;
        let shown: Vec<_> = (columns.iter().enumerate())
            .map(|(n, (_, shown, _))| {
                format!(
                    "REPLACE({}, '\\n', '')",
                    shown.replace('#', &format!("c{n}"))
                )
            })
            .collect();
        let expected = source.rows(&format!(
            "SET time_zone = '+00:00'; SELECT {} FROM `{name}`.t ORDER BY id",
            shown.join(", ")
        ))?;
        let lines = pipeline.tail()?;
        ensure!(lines.len() == expected.len() && lines.len() == rows + 1);
        for (line, expected) in lines.iter().zip(&expected) {
            for (n, (definition, _, _)) in columns.iter().enumerate() {
                let got = match &line["after"][format!("c{n}")] {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    other => Some(other.to_string()),
                };
                let wanted = expected[n].clone();
                // A double's text is a matter of taste.
                let same = match (&got, &wanted) {
                    (Some(a), Some(b)) if *definition == "DOUBLE" => {
                        a.parse::<f64>()? == b.parse::<f64>()?
                    }
                    _ => got == wanted,
                };
                ensure!(
                    same,
                    "{release:?} {definition}: {got:?} instead of {wanted:?}"
                );
            }
        }
    }
    Ok(())
}

/// Of the newest GTID of domain 0.
fn last_number(source: &MySql) -> Result<u64> {
    let position = executed(source)?;
    let gtid = position.split(',').find(|gtid| gtid.starts_with("0-"));
    Ok(gtid
        .and_then(|gtid| gtid.rsplit('-').next())
        .context("a GTID")?
        .parse()?)
}

/// One server of each line, done harm to step by step.
#[test]
fn what_cannot_be_continued_is_refused() -> Result<()> {
    for release in [Release::MariaDb10_11, Release::MariaDb11_8] {
        let source = MySql::builder().release(release).start()?;
        let target = &pair()?.target;
        let name = database([&source, target], "harm")?;
        tables([&source, target], &name)?;
        let mut pipeline = pipeline(&source, target, &name)?;
        let id = source.server_id();
        let insert = |id: u32| source.sql(&format!("INSERT INTO `{name}`.a (id) VALUES ({id})"));
        insert(1)?;
        pipeline.catch_up()?;

        // A position that only another server of the domain has written since, and numbers that are left out.
        source.sql(&format!(
            "SET SESSION server_id = 77; INSERT INTO `{name}`.a (id) VALUES (2)"
        ))?;
        pipeline.catch_up()?;
        source.sql(&format!(
            "SET SESSION gtid_seq_no = 1000; INSERT INTO `{name}`.a (id) VALUES (3)"
        ))?;
        pipeline.catch_up()?;
        insert(4)?;
        pipeline.catch_up()?;
        ensure!(target.value(&format!("SELECT COUNT(*) FROM `{name}`.a"))? == "4");
        let behind = executed(&source)?;

        // Settings.
        source.sql("SET GLOBAL binlog_format = MIXED, GLOBAL binlog_row_metadata = NO_LOG, GLOBAL gtid_strict_mode = 0")?;
        refused(
            &mut pipeline.command("check"),
            1,
            &[
                "SET GLOBAL binlog_format = ROW",
                "SET GLOBAL binlog_row_metadata = FULL",
                "SET GLOBAL gtid_strict_mode = ON",
            ],
        )?;
        source.sql("SET GLOBAL binlog_format = ROW, GLOBAL binlog_row_metadata = FULL")?;

        // A sequence.
        pipeline.tables = format!("{name}.*");
        pipeline.from = behind.clone();
        let log = std::mem::replace(&mut pipeline.folder, tempfile::TempDir::new()?);
        source.sql(&format!("DO NEXTVAL(`{name}`.sq)"))?;
        refused(
            pipeline.command("capture").args(["--until", "now"]),
            3,
            &["is a sequence", "--tables"],
        )?;
        pipeline.folder = log;
        pipeline.tables = format!("{name}.a,{name}.m");
        pipeline.catch_up()?;

        // Out of sequence.
        source.sql(&format!(
            "SET SESSION gtid_seq_no = 500; INSERT INTO `{name}`.a (id) VALUES (5)"
        ))?;
        source.sql(&format!(
            "SET SESSION gtid_seq_no = 2000; INSERT INTO `{name}`.a (id) VALUES (6)"
        ))?;
        refused(
            pipeline.command("capture").args(["--until", "now"]),
            3,
            &[
                &format!("0-{id}-500"),
                "out of sequence",
                "gtid_strict_mode = ON",
            ],
        )?;

        // The same numbers, other transactions.
        let newest = executed(&source)?;
        source.sql("SET GLOBAL gtid_strict_mode = 1")?;
        let mut other = self::pipeline(&source, target, &name)?;
        other.from = newest;
        other.stream = format!("{name}_2");
        insert(7)?;
        other.catch_up()?;
        let number = last_number(&source)?;
        std::thread::sleep(std::time::Duration::from_millis(1100));
        source.sql("RESET MASTER")?;
        refused(
            other.command("capture").args(["--until", "now"]),
            3,
            &["does not have", "start a new log"],
        )?;
        source.sql(&format!(
            "SET SESSION gtid_seq_no = {number}; INSERT INTO `{name}`.a (id) VALUES (8)"
        ))?;
        refused(
            other.command("capture").args(["--until", "now"]),
            3,
            &[&format!("0-{id}-{number}"), "started over"],
        )?;

        // Purged.
        let mut late = self::pipeline(&source, target, &name)?;
        late.from = String::new();
        crate::binferry::done(late.command("capture").args(["--until", "now"]))?;
        insert(9)?;
        let number = last_number(&source)?;
        source.sql("FLUSH BINARY LOGS")?;
        let newest = source.rows("SHOW BINARY LOGS")?;
        let newest = newest
            .last()
            .and_then(|row| row[0].clone())
            .context("a binlog")?;
        // A dump that has just ended may still hold the file.
        crate::binferry::eventually("the binlog is purged", || {
            source.sql(&format!("PURGE BINARY LOGS TO '{newest}'"))?;
            Ok(source.rows("SHOW BINARY LOGS")?.len() == 1)
        })?;
        refused(
            late.command("capture").args(["--until", "now"]),
            3,
            &["has purged", &format!("0-{id}-{number}")],
        )?;
    }
    Ok(())
}

#[test]
fn killed_captures_resume_in_both_domains() -> Result<()> {
    let (source, target) = (mariadb(Release::MariaDb11_8)?, &pair()?.target);
    let name = database([source, target], "killed")?;
    tables([source, target], &name)?;
    let pipeline = pipeline(source, target, &name)?;
    for round in 1..6 {
        let running = pipeline.start("run")?;
        work(source, &name, round)?;
        running.kill()?;
    }
    pipeline.catch_up()?;
    let count = |server: &MySql| {
        server.value(&format!("SELECT CONCAT((SELECT COUNT(*) FROM `{name}`.a), ' ', (SELECT COUNT(*) FROM `{name}`.m))"))
    };
    ensure!(count(source)? == count(target)?);
    Ok(())
}
