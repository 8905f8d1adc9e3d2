//! Schema changes that a target refuses, or that are not run anywhere else than where they were written.

use anyhow::{Context, Result, ensure};
use binferry_servers::pair;

use super::{Scene, Way};
use crate::binferry::{Pipeline, executed, refused};

/// A table that was changed by hand: the server's error, the statement, and both ways on.
#[test]
fn a_target_that_was_changed_by_hand() -> Result<()> {
    let scene = Scene::new("by_hand", Way::Definitions)?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)")?;
    scene.equal()?;
    for (by_hand, statement, says) in [
        (
            "ALTER TABLE t ADD a INT",
            "ALTER TABLE t ADD a INT",
            "error 1060",
        ),
        (
            "CREATE TABLE u (id INT PRIMARY KEY)",
            "CREATE TABLE u (id INT PRIMARY KEY)",
            "error 1050",
        ),
        ("DROP TABLE u", "DROP TABLE u", "error 1051"),
    ] {
        scene.target(by_hand)?;
        scene.source(&format!(
            "{statement}; INSERT INTO t (id) SELECT MAX(id) + 1 FROM t AS o"
        ))?;
        for _ in 0..2 {
            scene.stops(&[
                says,
                "the target refuses the schema change",
                "binferry skip --gtid",
                "record ",
            ])?;
        }
        // As it was before the statement: it goes on.
        match by_hand {
            "ALTER TABLE t ADD a INT" => scene.target("ALTER TABLE t DROP a")?,
            "DROP TABLE u" => scene.target("CREATE TABLE u (id INT PRIMARY KEY)")?,
            _ => scene.target("DROP TABLE u")?,
        }
        scene.equal().context(statement)?;
    }
    Ok(())
}

#[test]
fn a_privilege_that_is_missing() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("ungranted")?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pipeline.ddl = "apply";
    pair.source
        .sql(&format!("CREATE TABLE `{database}`.t (id INT PRIMARY KEY)"))?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        2,
        &["CREATE TABLE", "GRANT CREATE, ALTER, DROP"],
    )?;
    ensure!(
        pair.target
            .rows(&format!("SHOW TABLES FROM `{database}`"))?
            .is_empty()
    );
    Ok(())
}

#[test]
fn what_is_not_run_elsewhere() -> Result<()> {
    let scene = Scene::new("not_run", Way::Gtids)?;
    scene.source("CREATE TABLE nokey (a INT); INSERT INTO nokey VALUES (1), (2); CREATE TABLE t (id INT PRIMARY KEY)")?;
    scene.equal()?;
    for (statement, says) in [
        (
            "ALTER TABLE nokey ADD id INT AUTO_INCREMENT PRIMARY KEY",
            "order that only the source has",
        ),
        ("ALTER TABLE t DISCARD TABLESPACE", "file of the source's"),
        (
            "CREATE TABLE `*` (id INT PRIMARY KEY)",
            "the name `*` cannot be told",
        ),
        ("DROP TABLE `*`", "the name `*` cannot be told"),
        (
            "SET time_zone = 'SYSTEM'; CREATE TABLE z (id INT PRIMARY KEY, t TIMESTAMP DEFAULT '2020-01-01 00:00:00')",
            "",
        ),
    ] {
        scene.source(statement)?;
        if says.is_empty() {
            continue;
        }
        let said = scene.stops(&[says, "binferry skip --gtid"])?;
        scene.skip(&said)?;
    }
    // Both servers are in one zone here.
    scene.carry()?;
    let zone = scene.target.value(&format!("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{}' AND table_name = 'z'", scene.database))?;
    ensure!(zone == "1");
    Ok(())
}

/// Which of the target's statements are ours can be told from its binlog.
#[test]
fn statements_say_whose_they_are() -> Result<()> {
    let scene = Scene::new("marked", Way::Gtids)?;
    let before = executed(scene.target)?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY); ALTER TABLE t ADD a INT; DROP TABLE t; CREATE TABLE t (id INT PRIMARY KEY)")?;
    scene.equal()?;
    let mine = scene.target.value(&format!(
        "SELECT CONCAT(uuid, ':1-', number - 1) FROM binferry.ddl WHERE stream = '{}'",
        scene.pipeline.stream
    ))?;
    ensure!(
        mine.ends_with(":1-4") && mine.contains("-6266-8464-ac6c-"),
        "{mine}"
    );
    let new = scene.target.value(&format!(
        "SELECT GTID_SUBSET('{mine}', GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{before}'))"
    ))?;
    ensure!(new == "1");
    Ok(())
}
