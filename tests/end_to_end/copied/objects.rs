//! What is there beside tables: views, triggers, routines and events are told of and left alone; databases without a table are made.

use anyhow::{Context, Result, ensure};

use crate::{
    binferry::{SOURCE_USER, eventually},
    schema_changes::{Scene, Way},
};

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
