//! A target without room: it is said what and where, nothing is lost, and it goes on by itself when there is room.

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, pair};

use crate::{
    binferry::{eventually, executed},
    schema_changes::{Scene, Way},
};

/// All tables are in these files, which may not grow.
const FIXED: [&str; 2] = [
    "--innodb-data-file-path=ibdata1:12M;ibdata2:12M",
    "--innodb-file-per-table=OFF",
];

/// Fills the files with two tables of the same size.
fn fill(target: &MySql) -> Result<()> {
    target.sql(
        "CREATE DATABASE filler; CREATE TABLE filler.a (v BLOB); CREATE TABLE filler.b (v BLOB)",
    )?;
    loop {
        let row = "(REPEAT('v', 30000))";
        let rows = [row; 15].join(",");
        let more =
            format!("INSERT INTO filler.a VALUES {rows}; INSERT INTO filler.b VALUES {rows}");
        if let Err(error) = target.sql(&more) {
            let error = error.to_string();
            ensure!(error.contains("is full"), "{error}");
            return Ok(());
        }
    }
}

/// Takes more than a half of the files.
const TABLE: &str = "
SET SESSION cte_max_recursion_depth = 10000;
CREATE TABLE copied (id INT PRIMARY KEY, v VARCHAR(4000) CHARACTER SET latin1);
INSERT INTO copied WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1700) SELECT i, REPEAT('v', 4000) FROM n";

#[test]
fn a_target_without_room() -> Result<()> {
    let target = MySql::builder().args(FIXED).start()?;
    let source = &pair()?.source;
    let scene = Scene::on(source, &target, "room", Way::Gtids)?.copying()?;
    fill(&target)?;
    scene.source(TABLE)?;
    let running = scene.pipeline.start("run")?;
    let named = |what: &str| {
        eventually("it is said where there is no room", || {
            let said = running.said()?;
            let mut lines = said.lines().filter(|line| line.contains("error 1114"));
            Ok(lines.any(|line| line.contains(what)))
        })
        .with_context(|| running.said().unwrap_or_default())
    };
    named("the progress")?;
    target.sql("DROP TABLE filler.a")?;
    named(&format!("{}.copied", scene.database))?;
    ensure!(running.said()?.contains("make room"), "{}", running.said()?);
    target.sql("DROP TABLE filler.b")?;
    super::settled(source, &target, &scene.database)?;
    scene.compared()?;
    // The same in the stream.
    scene.source("CREATE TABLE streamed LIKE copied; TRUNCATE copied")?;
    scene.pipeline.wait_for(&executed(source)?)?;
    target.sql("DROP DATABASE filler")?;
    fill(&target)?;
    scene.source("INSERT INTO streamed WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT i, REPEAT('v', 4000) FROM n")?;
    named("transaction ")?;
    target.sql("DROP DATABASE filler")?;
    scene.pipeline.wait_for(&executed(source)?)?;
    running.stop()?;
    scene.compared()
}
