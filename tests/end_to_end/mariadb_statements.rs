//! MariaDB's statements in the binlog: what each does to captured tables, and transactions that are rolled back there.

use anyhow::{Context, Result, ensure};
use binferry_schemas::record::{Body, DdlEffect, Record};
use binferry_servers::{Release, database, mariadb, pair};

use crate::{
    binferry::{Pipeline, done, refused},
    records,
};

const SECRET: &str = "pw-that-nobody-sees";

/// What the log has, record by record.
fn told<T>(pipeline: &Pipeline, mut of: impl FnMut(&Record<'_>) -> Option<T>) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for stored in records::all(&pipeline.log())? {
        let seen = String::from_utf8_lossy(&stored.bytes).contains(SECRET);
        ensure!(!seen, "the log shows a password");
        found.extend(of(&Record::decode(&stored.bytes)?));
    }
    Ok(found)
}

#[test]
fn what_statements_do_is_seen_through_their_wrapping() -> Result<()> {
    use DdlEffect::{Define, Drop, Rename, Truncate};
    let (source, target) = (mariadb(Release::MariaDb11_8)?, &pair()?.target);
    let name = database([source, target], "wrapped")?;
    source.sql(&format!(
        "USE `{name}`;
         CREATE TABLE q (id INT PRIMARY KEY, v INT);
         CREATE TABLE n (v INT);
         CREATE TABLE w (id INT PRIMARY KEY) WITH SYSTEM VERSIONING;
         CREATE TABLE p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10),
             PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN (30), PARTITION p3 VALUES LESS THAN (40))"
    ))?;
    let mut pipeline = Pipeline::new(source, target, &name)?;
    pipeline.ddl = "stop";
    let cases: &[(&str, DdlEffect, &[&str])] = &[
        (
            "SET STATEMENT max_statement_time=100 FOR TRUNCATE TABLE q",
            Truncate,
            &["q"],
        ),
        (
            "SET STATEMENT sql_mode='', max_statement_time=IF(1,2,3) FOR SET STATEMENT lock_wait_timeout=3 FOR TRUNCATE q",
            Truncate,
            &["q"],
        ),
        ("/*M!100100 TRUNCATE TABLE q */", Truncate, &["q"]),
        ("TRUNCATE /*M!999999 TABLE o. */ q", Truncate, &["q"]),
        ("/*!50100 TRUNCATE /*!50100 TABLE */ q", Truncate, &["q"]),
        (
            "ALTER TABLE p /*M!100100 DROP PARTITION p0 */",
            Truncate,
            &["p"],
        ),
        (
            "ALTER TABLE p /*!50701 DROP PARTITION p1, */ COMMENT 'x'",
            Define,
            &["p"],
        ),
        (
            "ALTER TABLE IF EXISTS p WAIT 1.5 DROP PARTITION p1",
            Truncate,
            &["p"],
        ),
        (
            "ALTER TABLE p NOWAIT TRUNCATE PARTITION p2",
            Truncate,
            &["p"],
        ),
        ("ALTER IGNORE TABLE n ADD UNIQUE (v)", Truncate, &["n"]),
        ("ALTER TABLE w DROP SYSTEM VERSIONING", Truncate, &["w"]),
        ("CREATE SEQUENCE s", Define, &["s"]),
        ("ALTER SEQUENCE s RESTART 5", Define, &["s"]),
        ("DROP SEQUENCE s", Define, &["s"]),
        ("CREATE OR REPLACE SEQUENCE n", Drop, &["n"]),
        ("RENAME TABLE q WAIT 3 TO r", Rename, &["q", "r"]),
        ("TRUNCATE TABLE r NOWAIT", Truncate, &["r"]),
        ("DROP TABLE r WAIT 3", Drop, &["r"]),
    ];
    // What has no effect leaves nothing, secrets least of all.
    source.sql(&format!(
        "USE `{name}`;
         SET STATEMENT max_statement_time=100 FOR CREATE OR REPLACE USER wrapped@localhost IDENTIFIED BY '{SECRET}';
         SET STATEMENT max_statement_time=100 FOR SET PASSWORD FOR wrapped@localhost = PASSWORD('{SECRET}');
         DROP USER wrapped@localhost; CREATE TEMPORARY SEQUENCE ts; DROP TEMPORARY SEQUENCE ts"
    ))?;
    for (statement, ..) in cases {
        source.sql(&format!("USE `{name}`; {statement}"))?;
    }
    done(pipeline.command("capture").args(["--until", "now"]))?;
    let found = told(&pipeline, |record| match &record.body {
        Body::Ddl(ddl) => Some((ddl.effect, ddl.tables.clone(), ddl.statement.clone())),
        _ => None,
    })?;
    for ((statement, effect, tables), found) in cases.iter().zip(&found) {
        let tables: Vec<_> = (tables.iter())
            .map(|table| (name.clone(), (*table).to_owned()))
            .collect();
        ensure!(
            (found.0, &found.1) == (*effect, &tables),
            "{statement}: {found:?}"
        );
    }
    ensure!(found.len() == cases.len(), "{found:?}");
    refused(
        pipeline.command("apply").args(["--until", "now"]),
        3,
        &["TRUNCATE of a captured table", "SET STATEMENT"],
    )?;
    Ok(())
}

#[test]
fn sequences_and_packages_do_not_stop_the_tables_beside_them() -> Result<()> {
    let (source, target) = (mariadb(Release::MariaDb11_8)?, &pair()?.target);
    let name = database([source, target], "beside")?;
    let other = database([source], "beside_other")?;
    for server in [source, target] {
        server.sql(&format!("CREATE TABLE `{name}`.t (id INT PRIMARY KEY)"))?;
    }
    let mut pipeline = Pipeline::new(source, target, &name)?;
    source.sql(&format!(
        "CREATE SEQUENCE `{other}`.s; CREATE OR REPLACE SEQUENCE `{other}`.s; DO NEXTVAL(`{other}`.s); DROP SEQUENCE `{other}`.s;
         USE `{name}`; CREATE SEQUENCE s; CREATE SEQUENCE u; DROP SEQUENCE u; INSERT INTO t VALUES (1)"
    ))?;
    source.sql(&format!(
        "USE `{name}`; SET sql_mode = ORACLE; CREATE PACKAGE pk AS FUNCTION f RETURN INT; END"
    ))?;
    source.sql(&format!(
        "USE `{name}`; SET sql_mode = ORACLE; CREATE PACKAGE BODY pk AS FUNCTION f RETURN INT AS BEGIN DELETE FROM t; RETURN 1; END; END"
    ))?;
    source.sql(&format!("DROP PACKAGE `{name}`.pk"))?;
    pipeline.catch_up()?;
    source.sql(&format!(
        "DO NEXTVAL(`{name}`.s); INSERT INTO `{name}`.t VALUES (2)"
    ))?;
    refused(
        pipeline.command("capture").args(["--until", "now"]),
        3,
        &["is a sequence", "--tables"],
    )?;
    pipeline.tables = format!("{name}.*,!{name}.s");
    pipeline.catch_up()?;
    source.sql(&format!(
        "DROP SEQUENCE `{name}`.s; INSERT INTO `{name}`.t VALUES (3)"
    ))?;
    pipeline.catch_up()?;
    ensure!(target.value(&format!("SELECT COUNT(*) FROM `{name}`.t"))? == "3");
    Ok(())
}

#[test]
fn what_is_rolled_back_in_the_binlog_is_void() -> Result<()> {
    let (source, target) = (mariadb(Release::MariaDb11_8)?, &pair()?.target);
    let name = database([source, target], "rolled")?;
    let other = database([source], "rolled_other")?;
    for (server, engine) in [(source, "MyISAM"), (target, "InnoDB")] {
        server.sql(&format!(
            "USE `{name}`; CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=InnoDB;
             CREATE TABLE m (id INT PRIMARY KEY) ENGINE={engine}"
        ))?;
    }
    source.sql(&format!("CREATE TABLE `{other}`.t (id INT PRIMARY KEY)"))?;
    let pipeline = Pipeline::new(source, target, &name)?;
    source.sql(&format!(
        "USE `{name}`; INSERT INTO t VALUES (1, 'stays');
         BEGIN; CREATE TEMPORARY TABLE tmp (id INT); INSERT INTO t VALUES (2, 'void'); UPDATE t SET v = 'void'; ROLLBACK;
         BEGIN; CREATE TEMPORARY TABLE tmp2 (id INT); INSERT INTO t SELECT seq + 10, REPEAT('v', 90) FROM seq_1_to_50000;
         INSERT INTO m VALUES (1); ROLLBACK;
         INSERT INTO t VALUES (2, 'stays');
         USE `{other}`; BEGIN; INSERT INTO t VALUES (1); CREATE TEMPORARY TABLE tmp (id INT); SAVEPOINT s; INSERT INTO t VALUES (2);
         ROLLBACK TO s; INSERT INTO `{name}`.t VALUES (3, 'stays'); COMMIT;
         BEGIN; INSERT INTO t VALUES (3); CREATE TEMPORARY TABLE tmp2 SELECT 1 AS id; ROLLBACK"
    ))?;
    pipeline.catch_up()?;
    let shown = target.rows(&format!("SELECT id, v FROM `{name}`.t ORDER BY id"))?;
    ensure!(shown == source.rows(&format!("SELECT id, v FROM `{name}`.t ORDER BY id"))?);
    ensure!(shown.len() == 3, "{shown:?}");
    ensure!(target.value(&format!("SELECT COUNT(*) FROM `{name}`.m"))? == "1");
    ensure!(pipeline.tail()?.len() == 4);
    // The large one was in the log already, in part, when it was taken back.
    let chunks = told(&pipeline, |record| match &record.body {
        Body::WriteSet(set) => Some((
            set.transaction.gtid,
            set.transaction.chunk,
            set.changes.count,
        )),
        _ => None,
    })?;
    let large = chunks.iter().find(|(_, chunk, _)| *chunk > 1);
    let large = large.context("a transaction of several chunks")?.0;
    let last = chunks.iter().rfind(|(gtid, ..)| *gtid == large);
    ensure!(last == Some(&(large, 0, 0)), "{last:?}");

    // Where the server does not vouch for all of it.
    for (n, statements) in [
        "INSERT INTO t VALUES (4, 'void'); CREATE TEMPORARY TABLE tmp5 SELECT 1 AS id; ROLLBACK",
        "INSERT INTO t VALUES (4, 'stays'); CREATE TEMPORARY TABLE tmp6 (id INT); SAVEPOINT s; INSERT INTO t VALUES (5, 'void');
         ROLLBACK TO s; COMMIT",
    ]
    .into_iter()
    .enumerate()
    {
        let mut refusing = Pipeline::new(source, target, &name)?;
        refusing.stream = format!("{name}_{n}");
        source.sql(&format!("USE `{name}`; BEGIN; {statements}"))?;
        refused(
            refusing.command("capture").args(["--until", "now"]),
            3,
            &["rolled back in the binlog", "temporary tables", "InnoDB"],
        )?;
    }
    Ok(())
}
