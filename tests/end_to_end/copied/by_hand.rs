//! A target that somebody else changes, while tables are copied and after: it is said, nothing is lost, and it goes on.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    binferry::{Running, done, eventually},
    schema_changes::{Scene, Way},
};

const ROWS: u32 = 900;

/// Runs so slowly that the copy takes longer than the step, from where it is.
fn slowly(scene: &Scene<'_>) -> Result<Running> {
    let mut command = scene.pipeline.command("run");
    command.args(["--snapshot-rate", "150"]);
    scene.pipeline.start_command(command, "run")
}

/// It ends with exit code 3 and says all of it.
fn stopped(mut running: Running, says: &[&str]) -> Result<()> {
    let code = running.wait(Duration::from_secs(60))?;
    let said = running.said()?;
    ensure!(code == Some(3), "exit {code:?}: {said}");
    for part in says {
        ensure!(said.contains(part), "does not say {part:?}: {said}");
    }
    Ok(())
}

/// Brings what was in the table.
fn copy_again(scene: &Scene<'_>) -> Result<()> {
    let tables = format!("{}.t", scene.database);
    done(
        scene
            .pipeline
            .command("snapshot")
            .args(["--tables", &tables]),
    )
}

#[test]
fn a_target_changed_by_hand() -> Result<()> {
    let scene = Scene::new("hand", Way::Gtids)?.copying()?;
    scene.source(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT DEFAULT 5, v VARCHAR(4000) CHARACTER SET latin1);
         INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) SELECT i, i, REPEAT('v', 4000) FROM n"
    ))?;
    let target = |ask: &str| {
        scene
            .target
            .value(&format!("{ask} FROM `{}`.t", scene.database))
    };
    let copied = |more: u32| -> Result<u32> {
        let asked = target("SELECT COUNT(*)");
        // It is not there yet.
        let rows: u32 = asked.unwrap_or_default().parse().unwrap_or_default();
        ensure!(rows < ROWS, "the copy was over too soon");
        Ok(rows.saturating_sub(more))
    };

    // A row that the copy has yet to bring; one that it has brought.
    let running = slowly(&scene)?;
    eventually("the copy has begun", || Ok(copied(1)? > 0))?;
    scene.target(&format!("INSERT INTO t VALUES ({ROWS}, 0, 'own')"))?;
    scene.target("UPDATE t SET v = 'changed' WHERE id = 1; DELETE FROM t WHERE id = 2")?;
    // The one that is missing may not have come yet: it is made of the change.
    scene.source("UPDATE t SET n = 0 WHERE id = 2; UPDATE t SET n = 0 WHERE id = 1")?;
    stopped(
        running,
        &[
            "row_differs",
            ".t",
            "repair the target by hand",
            "skip --gtid",
        ],
    )?;
    scene.target("UPDATE t SET v = REPEAT('v', 4000) WHERE id = 1")?;
    let running = slowly(&scene)?;
    stopped(
        running,
        &[
            "row_differs",
            ".t",
            "(of a copy)",
            "repair the target by hand",
        ],
    )?;
    scene.target(&format!("DELETE FROM t WHERE id = {ROWS}"))?;
    scene.equal()?;

    // A column: what was in it is brought again by another copy.
    scene.target("ALTER TABLE t DROP COLUMN v")?;
    scene.source("INSERT INTO t VALUES (1000, 1, 'new')")?;
    scene.stops(&[".t: column v does not exist on the target", "ADD COLUMN v"])?;
    scene.target("ALTER TABLE t ADD COLUMN v VARCHAR(4000) CHARACTER SET latin1")?;
    copy_again(&scene)?;
    scene.equal()
}

/// A column that goes while the table is being copied.
#[test]
fn a_column_dropped_by_hand_during_the_copy() -> Result<()> {
    let scene = Scene::new("hand_column", Way::Definitions)?.copying()?;
    scene.source(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(4000) CHARACTER SET latin1);
         INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) SELECT i, REPEAT('v', 4000) FROM n"
    ))?;
    let running = slowly(&scene)?;
    let copied = || {
        scene
            .target
            .value(&format!("SELECT COUNT(*) > 0 FROM `{}`.t", scene.database))
    };
    eventually("the copy has begun", || {
        Ok(copied().is_ok_and(|some| some == "1"))
    })?;
    scene.target("ALTER TABLE t DROP COLUMN v")?;
    stopped(running, &[".t", "column"])?;
    scene.target("ALTER TABLE t ADD COLUMN v VARCHAR(4000) CHARACTER SET latin1")?;
    scene.carry()?;
    copy_again(&scene)?;
    scene.equal()
}
