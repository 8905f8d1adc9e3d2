//! Out of MariaDB, into either kind of server.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, database, mariadb, pair};

use super::{granted, under_kills};
use crate::{
    binferry::{BY_DEFAULT, Pipeline, done, output, refused},
    judge,
    load::{Load, prepare},
};

const MORE: &str = "
CREATE TABLE `odd ``name` (a VARCHAR(20), b INT, v VARBINARY(60), PRIMARY KEY (a, b)) COMMENT = 'it''s \\\\ odd';
CREATE TABLE single (x INT NOT NULL, y INT, UNIQUE KEY (x));
CREATE TABLE parent (id INT PRIMARY KEY, n INT, KEY (n));
CREATE TABLE `a child` (id INT PRIMARY KEY, p INT, j JSON, KEY (p), CONSTRAINT `to p` FOREIGN KEY (p) REFERENCES parent (id));
INSERT INTO parent SELECT seq, seq FROM seq_1_to_20000;
INSERT INTO `a child` SELECT id, id DIV 2 + 1, CONCAT('{\"n\":', id, '}') FROM parent;
INSERT INTO single SELECT id, id FROM parent;
INSERT INTO `odd ``name` SELECT CONCAT(CHAR(65 + id % 26), id), id % 7, REPEAT(UNHEX(MD5(id)), 2) FROM parent;";

/// A pipeline that has just been granted what the guides say, and a source whose database has the same defaults everywhere.
fn begin(source: &MySql, target: &MySql, purpose: &str) -> Result<(String, Pipeline)> {
    let database = database([source, target], purpose)?;
    source.sql(&format!(
        "ALTER DATABASE `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
    ))?;
    let pipeline = Pipeline {
        from: BY_DEFAULT.to_owned(),
        ddl: "apply",
        ..granted(source, target, &database)?
    };
    Ok((database, pipeline))
}

fn under_traffic_and_kills(source: &MySql, target: &MySql) -> Result<()> {
    let (database, pipeline) = begin(source, target, "copied")?;
    prepare(source, target, &database)?;
    target.sql(&format!("DROP DATABASE `{database}`"))?;
    // The older line has not all collations of the newer one.
    source.sql(&format!(
        "USE `{database}`; {MORE} ALTER TABLE pair MODIFY b VARCHAR(10) COLLATE utf8mb4_unicode_ci"
    ))?;
    let load = Load::start_as(source, &database, 72, |random| {
        let at = random.below(20_000);
        match random.below(12) {
            0 => format!("UPDATE single SET y = y + 1 WHERE x BETWEEN {at} AND {at} + 5"),
            1 => format!("DELETE FROM single WHERE x = {at}"),
            2 => format!("UPDATE parent SET n = n + 1 WHERE id = {at}"),
            3 => {
                format!("DELETE FROM `a child` WHERE p = {at}; DELETE FROM parent WHERE id = {at}")
            }
            4 => format!("UPDATE `a child` SET id = id + 100000 WHERE id = {at}"),
            5 => format!("UPDATE `odd ``name` SET b = b + 10 WHERE a LIKE '%{at}'"),
            _ => crate::load::transaction(random),
        }
    });
    under_kills(&pipeline, load, source, target, &database)?;
    match target.release().is_mariadb() {
        true => judge::same_definitions(source, target, &database),
        false => Ok(()),
    }
}

#[test]
fn to_mysql() -> Result<()> {
    under_traffic_and_kills(mariadb(Release::MariaDb10_11)?, &pair()?.target)
}

#[test]
fn to_the_older_line() -> Result<()> {
    under_traffic_and_kills(
        mariadb(Release::MariaDb11_8)?,
        mariadb(Release::MariaDb10_11)?,
    )
}

#[test]
fn to_the_newer_line() -> Result<()> {
    under_traffic_and_kills(
        mariadb(Release::MariaDb10_11)?,
        mariadb(Release::MariaDb11_8)?,
    )
}

/// Into tables that were made by hand, since the target's types have other names.
#[test]
fn what_the_target_calls_otherwise_is_made_by_hand() -> Result<()> {
    let (source, target) = (mariadb(Release::MariaDb11_8)?, &pair()?.target);
    let (database, pipeline) = begin(source, target, "by_hand")?;
    source.sql(&format!(
        "USE `{database}`; CREATE TABLE t (id UUID PRIMARY KEY, a INET6, v VARCHAR(30) COLLATE utf8mb4_uca1400_german2_ai_ci);
         INSERT INTO t SELECT UUID(), CONCAT('2001:db8::', HEX(seq)), CONCAT('v', seq) FROM seq_1_to_2000"
    ))?;
    let until_now = || {
        let mut command = pipeline.command("run");
        command.args(["--until", "now"]);
        command
    };
    target.sql(&format!("DROP DATABASE `{database}`"))?;
    refused(&mut until_now(), 3, &["the target refuses", "by hand"])?;
    target.sql(&format!(
        "CREATE DATABASE IF NOT EXISTS `{database}`; USE `{database}`;
         CREATE TABLE t (id BINARY(16) PRIMARY KEY, a BINARY(16), v VARCHAR(30) COLLATE utf8mb4_de_pb_0900_ai_ci)"
    ))?;
    done(&mut until_now())?;
    source.sql(&format!("UPDATE `{database}`.t SET v = 'new' WHERE v = 'v7'; DELETE FROM `{database}`.t WHERE v = 'v8'"))?;
    done(&mut until_now())?;
    let sum = |server: &MySql, id: &str, a: &str| {
        server.value(&format!(
            "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT({id}, {a}, v)))) FROM `{database}`.t"
        ))
    };
    let expected = sum(source, "REPLACE(id, '-', '')", "HEX(INET6_ATON(a))")?;
    ensure!(expected == sum(target, "LOWER(HEX(id))", "HEX(a)")?);
    Ok(())
}

/// (definition, what is said of it)
const REFUSED: &[(&str, &str)] = &[
    ("CREATE TABLE t (id INT PRIMARY KEY) ENGINE = Aria", "Aria"),
    (
        "CREATE TABLE t (id INT PRIMARY KEY) WITH SYSTEM VERSIONING",
        "SYSTEM VERSIONING",
    ),
    (
        "CREATE TABLE p (id INT PRIMARY KEY); CREATE TABLE t (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
        "cascades",
    ),
    (
        "CREATE TABLE t (id INT PRIMARY KEY, v TEXT UNIQUE)",
        "USING HASH",
    ),
    (
        "SET GLOBAL mysql56_temporal_format = OFF; CREATE TABLE t (id INT PRIMARY KEY, v TIME); SET GLOBAL mysql56_temporal_format = ON",
        "mysql56_temporal_format",
    ),
];

#[test]
fn what_cannot_be_copied_is_refused_by_name() -> Result<()> {
    let (source, target) = (mariadb(Release::MariaDb11_8)?, &pair()?.target);
    for (definition, says) in REFUSED {
        let (database, pipeline) = begin(source, target, "refused")?;
        source.sql(&format!("USE `{database}`; {definition}"))?;
        let mut command = pipeline.command("capture");
        let output = output(command.args(["--until", "now"]))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            matches!(output.status.code(), Some(2 | 3)) && said.contains(says),
            "{definition}: {:?} {said}",
            output.status
        );
        ensure!(said.contains(&format!("{database}.t")), "{said}");
        ensure!(said.contains("--tables"), "{said}");
    }
    let scheduled = MySql::builder()
        .release(Release::MariaDb11_8)
        .arg("--binlog-optimize-thread-scheduling=OFF")
        .start()?;
    let (_, pipeline) = begin(&scheduled, target, "scheduled")?;
    refused(
        &mut pipeline.command("check"),
        1,
        &["binlog_optimize_thread_scheduling"],
    )?;
    // A sequence is told of, and no table.
    let (database, pipeline) = begin(source, target, "sequence")?;
    source.sql(&format!(
        "USE `{database}`; CREATE SEQUENCE sq; CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)"
    ))?;
    let check = output(&mut pipeline.command("check"))?;
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    ensure!(
        said.contains(&format!("1 sequences ({database}.sq)")),
        "{said}"
    );
    done(pipeline.command("capture").args(["--until", "now"]))?;
    ensure!(pipeline.tail()?.len() == 1);
    Ok(())
}
