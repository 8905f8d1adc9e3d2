//! What is there beside tables: views, triggers, routines, events are told of, and left alone; databases without a table are made.

use anyhow::{Context, Result, ensure};

use crate::{
    binferry::{SOURCE_USER, eventually},
    judge,
    schema_changes::{NAMING_USER, Scene, Way, grant},
};

/// It is made with the first copy, unless it is there.
#[test]
fn a_database_without_a_table() -> Result<()> {
    let mut scene = Scene::new("tables", Way::Gtids)?.copying()?;
    let bare = binferry_servers::database([scene.source], "bare")?;
    let known = binferry_servers::database([scene.source, scene.target], "known")?;
    let other = binferry_servers::database([scene.source], "other")?;
    scene.pipeline.tables = format!("{}.*,{bare}.*,{known}.*", scene.database);
    let as_source = "CHARACTER SET latin1 COLLATE latin1_german1_ci";
    scene.source.sql(&format!(
        "ALTER DATABASE `{bare}` {as_source}; ALTER DATABASE `{known}` {as_source};
         GRANT SELECT ON `{bare}`.* TO {SOURCE_USER}@'%'; GRANT SELECT ON `{known}`.* TO {SOURCE_USER}@'%'; GRANT SELECT ON `{other}`.* TO {SOURCE_USER}@'%'"
    ))?;
    grant(scene.target, &bare, NAMING_USER)?;
    grant(scene.target, &known, NAMING_USER)?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY)")?;
    scene.equal()?;
    let made = format!("SHOW CREATE DATABASE `{bare}`");
    ensure!(scene.source.rows(&made)? == scene.target.rows(&made)?);
    let as_was = scene
        .target
        .rows(&format!("SHOW CREATE DATABASE `{known}`"))?;
    ensure!(
        as_was
            != scene
                .source
                .rows(&format!("SHOW CREATE DATABASE `{known}`"))?
    );
    let there = scene.target.value(&format!(
        "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '{other}'"
    ))?;
    ensure!(there == "0", "a database outside of --tables was made");
    scene.source(&format!(
        "CREATE TABLE `{bare}`.t (id INT PRIMARY KEY, v VARCHAR(9)); INSERT INTO `{bare}`.t VALUES (1, 'ß')"
    ))?;
    scene.equal()?;
    judge::same_definitions(scene.source, scene.target, &bare)?;
    judge::equal(scene.source, scene.target, &bare)
}

#[test]
fn views_triggers_routines_and_events() -> Result<()> {
    let scene = Scene::new("objects", Way::Gtids)?.copying()?;
    scene.source(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1), (2, 2); CREATE TABLE nokey (n INT); INSERT INTO nokey VALUES (1);
         CREATE VIEW a_view AS SELECT id FROM t; CREATE VIEW z_view AS SELECT n + 1 AS m FROM nokey;
         CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.n = NEW.id * 10;
         CREATE PROCEDURE p () INSERT INTO t (id) VALUES (77); CREATE FUNCTION f (n INT) RETURNS INT DETERMINISTIC RETURN n + 1;
         CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DO 1",
    )?;
    // As far as the user may see them.
    scene.source.sql(&format!(
        "GRANT SHOW VIEW, TRIGGER, EVENT, EXECUTE ON `{}`.* TO {SOURCE_USER}@'%'",
        scene.database
    ))?;
    let running = scene.pipeline.start("capture")?;
    for (kind, names) in [
        ("2 views", &["a_view", "z_view"][..]),
        ("1 triggers", &["tr"]),
        ("2 routines", &["f", "p"]),
        ("1 events", &["e"]),
    ] {
        let names: Vec<_> = (names.iter())
            .map(|name| format!("{}.{name}", scene.database))
            .collect();
        let told = format!("{kind} ({}): a copy leaves them alone", names.join(", "));
        eventually(&told, || Ok(running.said()?.contains(&told)))
            .with_context(|| running.said().unwrap_or_default())?;
    }
    running.stop()?;
    scene.source("INSERT INTO t (id) VALUES (3); CALL p(); DROP VIEW a_view; CREATE OR REPLACE VIEW z_view AS SELECT 1 AS one; DROP TRIGGER tr")?;
    scene.equal()?;
    let left = scene.target.rows(&format!(
        "SELECT table_name FROM information_schema.views WHERE table_schema = '{0}' UNION SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = '{0}'
         UNION SELECT routine_name FROM information_schema.routines WHERE routine_schema = '{0}' UNION SELECT event_name FROM information_schema.events WHERE event_schema = '{0}'",
        scene.database
    ))?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
