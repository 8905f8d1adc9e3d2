//! What happens to tables in the middle of their copy. The middle is met for certain: the copy is slow, the log tells that it has begun,
//! and a lock on the tables keeps it from going on while the statements run.

use anyhow::{Context, Result, ensure};
use binferry_schemas::{
    gtid::GtidSet,
    record::{GivenUp, Over},
};
use binferry_servers::MySql;

use super::history::{self, Entry};
use crate::{
    binferry::{Running, done, eventually},
    load::{Load, Random},
    schema_changes::{Scene, Way},
};

/// Rows of each table: four ranges.
const ROWS: u32 = 600;

fn scene(purpose: &str) -> Result<Scene<'static>> {
    Scene::new(purpose, Way::Gtids)?.copying()
}

/// A table with rows of four kilobytes, so that a range holds some two hundred.
fn table(name: &str, more: &str) -> String {
    format!(
        "CREATE TABLE {name} (id INT PRIMARY KEY, n INT, v VARCHAR(4000) CHARACTER SET latin1 NOT NULL){more};
         INSERT INTO {name} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         SELECT i, i, REPEAT('{}', 4000) FROM n; ANALYZE TABLE {name};",
        &name[..1]
    )
}

/// Captures so slowly that nothing of the tables is over when all of them have begun.
fn slow(scene: &Scene<'_>, rate: u32) -> Result<Running> {
    let mut command = scene.pipeline.command("capture");
    let rate = rate.to_string();
    command.args(["--snapshot-rate", &rate, "--snapshot-readers", "16"]);
    scene.pipeline.start_command(command, "capture")
}

pub fn seen(scene: &Scene<'_>) -> Result<Vec<Entry>> {
    // Nothing is to be read before it has begun.
    history::read(&scene.pipeline.log()).or_else(|_| Ok(Vec::new()))
}

/// Waits until a part of each table is in the log.
fn begun(scene: &Scene<'_>, running: &mut Running, tables: &[&str]) -> Result<()> {
    eventually("a part of each table is in the log", || {
        ensure!(running.running()?, "{}", running.said()?);
        let entries = seen(scene)?;
        let begun = |name: &&str| {
            let copies = history::copies(&entries, name);
            copies
                .first()
                .is_some_and(|copy| history::rows(&entries, *copy) > 0)
        };
        Ok(tables.iter().all(begun))
    })
}

fn ensure_middle(entries: &[Entry], tables: &[&str]) -> Result<()> {
    for name in tables {
        let copy = *history::copies(entries, name).first().context("no copy")?;
        ensure!(
            history::rows(entries, copy) < u64::from(ROWS) && !history::has_ended(entries, copy),
            "the copy of {name} was over too soon"
        );
    }
    Ok(())
}

fn to_the_end(scene: &Scene<'_>) -> Result<Vec<Entry>> {
    done(scene.pipeline.command("capture").args(["--until", "now"]))?;
    let entries = history::read(&scene.pipeline.log())?;
    history::ensure_seamless(&entries)?;
    done(scene.pipeline.command("apply").args(["--until", "now"]))?;
    scene.compared()?;
    Ok(entries)
}

fn writes(source: &MySql, database: &str, tables: &'static [&'static str]) -> Load {
    Load::start_as(source, database, 41, |random: &mut Random| {
        let name = *random.pick(tables);
        let id = random.below(u64::from(ROWS) + 50);
        match random.below(4) {
            0 => format!("DELETE FROM {name} WHERE id = {id}"),
            1 => format!("REPLACE INTO {name} (id, n, v) VALUES ({id}, 0, 'new')"),
            2 => format!("UPDATE {name} SET id = id + 10000 WHERE id = {id}"),
            _ => format!("UPDATE {name} SET n = n + 1 WHERE id = {id}"),
        }
    })
}

/// ALTER, TRUNCATE, DROP, RENAME, a swap as tools do it, and an exchange of a partition; then a kill.
#[test]
fn definitions_change_in_the_middle_of_the_copy() -> Result<()> {
    definitions_change(&scene("copy_statements")?)
}

pub fn definitions_change(scene: &Scene<'_>) -> Result<()> {
    const TABLES: [&str; 10] = [
        "added",
        "calm",
        "emptied",
        "exchanged",
        "gone",
        "keyed",
        "live",
        "moved",
        "partitioned",
        "replaced",
    ];
    let mut script = String::new();
    for name in TABLES {
        script += &match name {
            "partitioned" => table(
                name,
                " PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (10001), PARTITION high VALUES LESS THAN MAXVALUE)",
            ),
            _ => table(name, ""),
        };
    }
    scene.source(&script)?;
    let load = writes(
        scene.source,
        &scene.database,
        &["added", "emptied", "keyed", "live"],
    );
    let mut running = slow(scene, 400)?;
    begun(scene, &mut running, &TABLES)?;
    let locks: Vec<String> = TABLES.iter().map(|name| format!("{name} WRITE")).collect();
    let statements = "
        ALTER TABLE added ADD COLUMN extra VARCHAR(20) DEFAULT 'x' AFTER id, DROP COLUMN n;
        ALTER TABLE added ADD COLUMN n INT NOT NULL DEFAULT 0;
        ALTER TABLE keyed MODIFY id BIGINT;
        TRUNCATE TABLE emptied; INSERT INTO emptied VALUES (5, 5, 'after');
        DROP TABLE gone;";
    let moves = "ALTER TABLE partitioned EXCHANGE PARTITION low WITH TABLE exchanged; RENAME TABLE moved TO other_name;";
    // MariaDB does neither under a lock.
    let (within, behind) = match scene.source.release().is_mariadb() {
        true => ("", moves),
        false => (moves, ""),
    };
    scene.source(&format!(
        "LOCK TABLES {}; {statements} {within} UNLOCK TABLES; {behind}
         DROP TABLE replaced; CREATE TABLE replaced (id INT PRIMARY KEY, other TEXT);
         INSERT INTO replaced VALUES (1, 'new'), (700, 'new');
         CREATE TABLE _live_gho LIKE live; INSERT INTO _live_gho SELECT id, n + 1000, v FROM live WHERE id < 300;
         RENAME TABLE live TO _live_del, _live_gho TO live",
        locks.join(", ")
    ))?;
    let entries = seen(scene)?;
    let at = |wanted: &str| {
        let is = |entry: &Entry| matches!(entry, Entry::Statement(s) if s.contains(wanted));
        entries.iter().position(is)
    };
    let before = at("ADD COLUMN extra").unwrap_or(entries.len());
    ensure_middle(&entries[..before], &TABLES)?;
    // The same process deals with it.
    eventually("the copies are begun anew or given up", || {
        let entries = seen(scene)?;
        let again = |name: &&str| history::copies(&entries, name).len() > 1;
        let gone = history::copies(&entries, "gone");
        Ok(["keyed", "partitioned", "exchanged", "live"]
            .iter()
            .all(again)
            && history::given_up(&entries, gone[0]).is_some())
    })?;
    running.kill()?;
    load.stop()?;
    let entries = to_the_end(scene)?;
    for calm in ["calm", "added", "emptied"] {
        ensure!(history::copies(&entries, calm).len() == 1, "{calm}");
    }
    let calm = history::copies(&entries, "calm")[0];
    ensure!(history::rows(&entries, calm) == u64::from(ROWS));
    let keyed = history::copies(&entries, "keyed");
    ensure!(history::given_up(&entries, keyed[0]) == Some(GivenUp::Changed));
    let gone = history::copies(&entries, "gone");
    ensure!(history::given_up(&entries, gone[0]) == Some(GivenUp::Gone));
    for entry in &entries {
        if let Entry::Begin { copy, table, over } = entry {
            let first = history::copies(&entries, table)[0] == *copy;
            let new = ["other_name", "_live_del"].contains(&table.as_str());
            let expected = match first && !new {
                true => Over::Nothing,
                false => Over::Remove,
            };
            ensure!(*over == expected, "{table}: {over:?}");
        }
    }
    Ok(())
}

/// Images without all columns: rows in question are read again, and one that changes its place is not lost.
#[test]
fn images_lack_columns_in_the_middle_of_the_copy() -> Result<()> {
    images_lack_columns(
        &scene("copy_images")?,
        &[
            "binlog_row_image = MINIMAL, SESSION binlog_row_value_options = ''",
            "binlog_row_image = NOBLOB, SESSION binlog_row_value_options = ''",
            "binlog_row_image = FULL, SESSION binlog_row_value_options = PARTIAL_JSON",
        ],
    )
}

pub fn images_lack_columns(scene: &Scene<'_>, images: &'static [&'static str]) -> Result<()> {
    const TABLES: [&str; 2] = ["documents", "other"];
    scene.source(&format!(
        "{} {} ALTER TABLE documents ADD COLUMN t TEXT, ADD COLUMN j JSON;
         UPDATE documents SET t = REPEAT('t', 100), j = JSON_OBJECT('a', REPEAT('j', 200), 'b', id);
         ANALYZE TABLE documents;",
        table("documents", ""),
        table("other", "")
    ))?;
    let load = Load::start_as(scene.source, &scene.database, 90, |random| {
        let id = random.below(u64::from(ROWS));
        let images = random.pick(images);
        let change = match random.below(5) {
            0 => format!("UPDATE documents SET n = n + 1 WHERE id = {id}"),
            1 => format!(
                "UPDATE documents SET j = JSON_SET(j, '$.b', {id}) WHERE id BETWEEN {id} AND {id} + 3"
            ),
            2 => format!("UPDATE documents SET t = CONCAT(t, 'u') WHERE id = {id}"),
            3 => format!("DELETE FROM other WHERE id = {id}"),
            _ => format!("INSERT IGNORE INTO other (id, v) VALUES ({id}, 'new')"),
        };
        format!("SET SESSION {images}; {change}; DO SLEEP(0.002)")
    });
    let mut running = slow(scene, 400)?;
    begun(scene, &mut running, &TABLES)?;
    // From the end, where the copy has not been, to the beginning.
    scene.source(&format!(
        "SET SESSION binlog_row_image = MINIMAL; UPDATE documents SET id = -1 WHERE id = {ROWS};
         SET SESSION binlog_row_image = NOBLOB; UPDATE other SET id = -2 WHERE id = {ROWS}"
    ))?;
    ensure_middle(&seen(scene)?, &TABLES)?;
    eventually("the table is copied once more", || {
        Ok(history::copies(&seen(scene)?, "documents").len() > 1)
    })?;
    load.stop()?;
    running.stop()?;
    let entries = to_the_end(scene)?;
    // All columns but BLOBs are all columns of a table that has none.
    ensure!(history::copies(&entries, "other").len() == 1);
    Ok(())
}

/// A table that somebody has locked holds up neither the stream nor the session that waits for it, and its copy comes when it can.
#[test]
fn a_lock_on_a_table_holds_up_nothing_else() -> Result<()> {
    a_lock_on_a_table(&scene("copy_locked")?)
}

pub fn a_lock_on_a_table(scene: &Scene<'static>) -> Result<()> {
    scene.source(
        "CREATE TABLE whole (a INT); INSERT INTO whole VALUES (1), (2);
         CREATE TABLE later (id INT PRIMARY KEY); INSERT INTO later VALUES (1)",
    )?;
    let (server, database) = (scene.source, scene.database.clone());
    let locked = || -> Result<bool> {
        let used = server.rows(&format!(
            "SHOW OPEN TABLES FROM `{database}` WHERE In_use > 0"
        ))?;
        Ok(!used.is_empty())
    };
    let lock = {
        let sql = format!("LOCK TABLES `{database}`.whole WRITE; DO SLEEP(6); UNLOCK TABLES");
        std::thread::spawn(move || server.sql(&sql))
    };
    eventually("the table is locked", locked)?;
    let running = scene.pipeline.start("capture")?;
    eventually("the stream has begun", || {
        Ok(running.said()?.contains("capturing"))
    })?;
    scene.source("INSERT INTO later VALUES (2)")?;
    let executed: GtidSet = crate::binferry::executed(server)?.parse()?;
    eventually("the stream goes on", || {
        let output = crate::binferry::output(scene.pipeline.command("status").arg("--json"))?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let held: GtidSet = status["log"]["gtids"]
            .as_str()
            .unwrap_or_default()
            .parse()?;
        Ok(held.contains_set(&executed))
    })?;
    ensure!(
        locked()?,
        "the lock was gone before the stream came through"
    );
    // Its definition can be read under the lock, its rows can't.
    let entries = seen(scene)?;
    let copies = history::copies(&entries, "whole");
    ensure!(
        copies
            .iter()
            .all(|copy| history::rows(&entries, *copy) == 0)
    );
    lock.join()
        .map_err(|_| anyhow::anyhow!("the lock's session"))??;
    eventually("the copies are over", || {
        Ok(running
            .said()?
            .contains("all tables of the copy are in the log"))
    })?;
    running.stop()?;
    to_the_end(scene)?;
    Ok(())
}

/// The thread that sends the binlog and the one that asks are two.
#[test]
fn a_copy_waits_for_a_busy_source() -> Result<()> {
    let scene = scene("copy_busy")?;
    scene.source(&table("calm", ""))?;
    let mut command = scene.pipeline.command("capture");
    command.args(["--snapshot-max-threads", "1", "--snapshot-max-lag", "1h"]);
    let running = scene.pipeline.start_command(command, "capture")?;
    eventually("the copy waits", || {
        Ok(running.said()?.contains("threads run on the source"))
    })?;
    let entries = seen(&scene)?;
    let copy = *history::copies(&entries, "calm")
        .first()
        .context("a copy")?;
    ensure!(history::rows(&entries, copy) == 0);
    running.stop()?;
    to_the_end(&scene)?;
    Ok(())
}
