//! Copies that are asked for while the stream runs, or does not: tables that the log has, and tables that it has not.

use anyhow::{Result, ensure};
use binferry_schemas::record::Over;
use binferry_servers::{database, pair};
use serde_json::Value;

use super::{
    grant,
    history::{self, Entry},
};
use crate::{
    binferry::{Pipeline, Running, done, eventually, output, refused},
    judge,
    schema_changes::{Scene, Way},
};

fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (id INT PRIMARY KEY, v VARCHAR(40)); INSERT INTO {name} VALUES (1, 'one'), (2, 'two'), (3, 'three');"
    )
}

fn status(pipeline: &Pipeline) -> Result<Value> {
    let output = output(pipeline.command("status").arg("--json"))?;
    // There may be no log yet.
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout)?),
        false => Ok(Value::Null),
    }
}

/// Nothing is being copied, and nothing waits for it but tables that were added.
fn settled(pipeline: &Pipeline, added: usize) -> Result<()> {
    eventually("all copies are over", || {
        let status = status(pipeline)?;
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        let site = &status["log"]["sites"][0];
        let requests = status["requests"].as_array();
        let asked = requests.map_or(0, |all| {
            all.iter()
                .filter(|request| request["over"] != "added")
                .count()
        });
        Ok(site.is_object()
            && count(&site["jobs"]) + count(&site["copies"]) + asked == 0
            && count(&status["requests"]) == added)
    })
}

fn ask(pipeline: &Pipeline, tables: &str, more: &[&str]) -> Result<()> {
    done(
        pipeline
            .command("snapshot")
            .args(["--tables", tables])
            .args(more),
    )
}

fn bring(scene: &Scene<'_>) -> Result<()> {
    done(scene.pipeline.command("apply").args(["--until", "now"]))?;
    scene.compared()
}

fn overs(pipeline: &Pipeline, name: &str) -> Result<Vec<Over>> {
    let entries = history::read(&pipeline.log())?;
    history::ensure_seamless(&entries)?;
    let of = |entry: &Entry| match entry {
        Entry::Begin { table, over, .. } if table == name => Some(*over),
        _ => None,
    };
    Ok(entries.iter().filter_map(of).collect())
}

fn start(pipeline: &Pipeline) -> Result<Running> {
    pipeline.start("capture")
}

fn scene(purpose: &str) -> Result<Scene<'static>> {
    Scene::new(purpose, Way::Gtids)?.copying()
}

/// What the target has is made equal in its place; what the log has not is added, and stays, whatever `--tables` says at later starts.
#[test]
fn tables_are_copied_again_and_added() -> Result<()> {
    again_and_added(scene("copy_requests")?)
}

pub fn again_and_added(mut scene: Scene<'_>) -> Result<()> {
    let database = scene.database.clone();
    scene.source(&["a", "b", "c", "d"].map(table).concat())?;
    scene.source("CREATE TABLE e (k ENUM('x', 'y') PRIMARY KEY, n INT); INSERT INTO e VALUES ('x', 1), ('y', 2)")?;
    let tables = |names: &[&str]| {
        let all: Vec<_> = names
            .iter()
            .map(|name| format!("{database}.{name}"))
            .collect();
        all.join(",")
    };
    scene.pipeline.tables = tables(&["a", "e"]);
    let pipeline = &scene.pipeline;
    let running = start(pipeline)?;
    settled(pipeline, 0)?;
    done(pipeline.command("apply").args(["--until", "now"]))?;
    // Rows of its own, missing ones, and other ones: the next copy of it puts them right.
    scene.target("DELETE FROM a WHERE id = 1; UPDATE a SET v = 'other' WHERE id = 2; INSERT INTO a VALUES (9, 'own')")?;
    scene.target("UPDATE e SET n = 7")?;
    ask(pipeline, &tables(&["a", "b", "e"]), &[])?;
    scene.source("INSERT INTO b VALUES (4, 'early')")?;
    settled(pipeline, 1)?;
    scene.source("INSERT INTO b VALUES (5, 'late'); UPDATE a SET v = 'newer' WHERE id = 3")?;
    running.stop()?;
    // The same command line as before.
    done(pipeline.command("capture").args(["--until", "now"]))?;
    scene.source("INSERT INTO b VALUES (6, 'after a start'); DROP TABLE c, d")?;
    scene.source(&["c", "d"].map(table).concat())?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    ensure!(overs(pipeline, "a")? == [Over::Nothing, Over::Repair]);
    ensure!(overs(pipeline, "e")? == [Over::Nothing, Over::Remove]);
    ensure!(overs(pipeline, "b")? == [Over::Nothing]);

    // Nobody captures now.
    ask(pipeline, &tables(&["c"]), &[])?;
    let text = output(&mut pipeline.command("status"))?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    ensure!(
        text.contains("request") && text.contains(&tables(&["c"])),
        "{text}"
    );
    done(pipeline.command("capture").args(["--until", "now"]))?;
    settled(pipeline, 2)?;
    // --tables may be as wide as the requests make the log, and no wider.
    scene.pipeline.tables = tables(&["a", "b", "c", "d", "e"]);
    scene.pipeline.from = "now".to_owned();
    let pipeline = &scene.pipeline;
    refused(
        &mut pipeline.command("capture"),
        2,
        &["binferry snapshot --tables"],
    )?;
    ask(pipeline, &tables(&["d"]), &[])?;
    let running = start(pipeline)?;
    settled(pipeline, 0)?;
    scene.source("INSERT INTO d VALUES (4, 'streamed')")?;
    ask(pipeline, &tables(&["a"]), &["--over", "remove"])?;
    settled(pipeline, 0)?;
    // What may not be read is told of, and nothing stops.
    let other = binferry_servers::database([scene.source], "copy_unreadable")?;
    ask(pipeline, &format!("{database}.nothing_there"), &[])?;
    ask(pipeline, &format!("{other}.t"), &[])?;
    eventually("the request is refused", || {
        let said = running.said()?;
        Ok(said.contains("GRANT SELECT ON") && said.contains("no table to be copied"))
    })?;
    running.stop()?;
    ensure!(overs(pipeline, "a")?.last() == Some(&Over::Remove));
    ensure!(overs(pipeline, "d")? == [Over::Nothing]);
    bring(&scene)
}

#[test]
fn what_tables_leaves_out_by_name_is_not_added() -> Result<()> {
    let mut scene = scene("copy_left_out")?;
    scene.source(&["a", "b"].map(table).concat())?;
    let database = scene.database.clone();
    scene.pipeline.tables = format!("{database}.*,!{database}.b");
    let pipeline = &scene.pipeline;
    let empty = &["there is no log"];
    refused(
        pipeline
            .command("snapshot")
            .args(["--tables", &format!("{database}.a")]),
        2,
        empty,
    )?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    refused(
        pipeline
            .command("snapshot")
            .args(["--tables", &format!("{database}.b")]),
        2,
        &["left out there by name"],
    )?;
    refused(
        pipeline
            .command("snapshot")
            .args(["--tables", &format!("{database}.a"), "--over", "all"]),
        2,
        &["repair or remove"],
    )?;
    Ok(())
}

/// The same with the log in Kafka.
#[test]
fn in_kafka_as_well() -> Result<()> {
    let (pair, kafka) = (pair()?, binferry_servers::kafka()?);
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "copy_kafka")?;
    let mut pipeline = Pipeline::in_kafka(source, target, &database, kafka)?;
    (pipeline.from, pipeline.ddl) = ("snapshot".to_owned(), "apply");
    pipeline.tables = format!("{database}.a");
    grant(source, &database)?;
    target.sql(&format!(
        "GRANT CREATE, ALTER, INDEX, REFERENCES, DROP ON `{database}`.* TO {}@'%'",
        crate::binferry::TARGET_USER
    ))?;
    source.sql(&format!(
        "USE `{database}`; {}",
        ["a", "b"].map(table).concat()
    ))?;
    let running = start(&pipeline)?;
    settled(&pipeline, 0)?;
    done(pipeline.command("apply").args(["--until", "now"]))?;
    target.sql(&format!("DELETE FROM `{database}`.a WHERE id > 1"))?;
    ask(&pipeline, &format!("{database}.*"), &[])?;
    settled(&pipeline, 1)?;
    source.sql(&format!(
        "INSERT INTO `{database}`.b VALUES (4, 'streamed')"
    ))?;
    running.stop()?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    ask(&pipeline, &format!("{database}.a"), &[])?;
    done(pipeline.command("capture").args(["--until", "now"]))?;
    done(pipeline.command("apply").args(["--until", "now"]))?;
    judge::equal(source, target, &database)
}

/// A foreign key whose parent is not captured waits on the target; to the source it is there, and it drops it.
#[test]
fn a_foreign_key_that_waits_is_dropped() -> Result<()> {
    let mut scene = scene("copy_waiting_key")?;
    let database = scene.database.clone();
    scene.pipeline.tables = format!("{database}.*,!{database}.parent");
    scene.source(
        "CREATE TABLE parent (id INT PRIMARY KEY); INSERT INTO parent VALUES (1);
         CREATE TABLE child (id INT PRIMARY KEY, p INT, q INT, CONSTRAINT `to p` FOREIGN KEY (p) REFERENCES parent (id), CONSTRAINT `to q` FOREIGN KEY (q) REFERENCES parent (id));
         INSERT INTO child VALUES (1, 1, 1)",
    )?;
    let bring = || {
        done(scene.pipeline.command("capture").args(["--until", "now"]))?;
        done(scene.pipeline.command("apply").args(["--until", "now"]))
    };
    bring()?;
    let waiting = || {
        scene.target.value(&format!(
            "SELECT GROUP_CONCAT(name ORDER BY name) FROM binferry.foreign_key WHERE table_schema = '{database}'"
        ))
    };
    ensure!(waiting()? == "to p,to q", "{}", waiting()?);
    scene.source("ALTER TABLE child DROP FOREIGN KEY `to p`, ADD COLUMN z INT; INSERT INTO child VALUES (2, 7, 1, 7)")?;
    bring()?;
    ensure!(waiting()? == "to q", "{}", waiting()?);
    let columns = |of: &binferry_servers::MySql| {
        of.value(&format!(
            "SELECT GROUP_CONCAT(column_name ORDER BY ordinal_position) FROM information_schema.columns WHERE table_schema = '{database}' AND table_name = 'child'"
        ))
    };
    ensure!(columns(scene.source)? == columns(scene.target)?);
    let rows = scene
        .target
        .value(&format!("SELECT COUNT(*) FROM `{database}`.child"))?;
    ensure!(rows == "2", "{rows}");
    Ok(())
}

#[test]
fn what_a_copy_needs_is_looked_at_first() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "copy_preflight")?;
    let pipeline = Pipeline {
        from: "snapshot".to_owned(),
        ..Pipeline::new(source, target, &database)?
    };
    source.sql(&format!("USE `{database}`; {}", table("a")))?;
    let select = format!("GRANT SELECT ON `{database}`.* TO");
    let says = [select.as_str(), "SELECT is not granted for all of"];
    refused(&mut pipeline.command("capture"), 2, &says)?;
    let begun = &status(&pipeline)?["log"]["sites"];
    ensure!(
        *begun == serde_json::json!([]),
        "the log has begun: {begun}"
    );
    // One table is not all of them.
    source.sql(&format!(
        "GRANT SELECT ON `{database}`.a TO {}@'%'",
        crate::binferry::SOURCE_USER
    ))?;
    refused(&mut pipeline.command("capture"), 2, &says)?;
    grant(source, &database)?;
    source.sql(&format!(
        "USE `{database}`; CREATE TABLE old (id INT PRIMARY KEY) ENGINE = MyISAM; CREATE TABLE c (id INT PRIMARY KEY, p INT, CONSTRAINT cascades FOREIGN KEY (p) REFERENCES a (id) ON DELETE CASCADE)"
    ))?;
    let check = || {
        let mut command = crate::binferry::program("check");
        command.args([
            "--source",
            &pipeline.source,
            "--tables",
            &pipeline.tables,
            "--from",
            "snapshot",
        ]);
        command
    };
    let old = format!("{database}.old is in MyISAM");
    refused(&mut check(), 1, &[&old])?;
    refused(&mut pipeline.command("capture"), 2, &[&old])?;
    source.sql(&format!("DROP TABLE `{database}`.old"))?;
    let native = source.rows("SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")?;
    let logged = native
        .first()
        .is_some_and(|row| row[1].as_deref() == Some("OFF"));
    let cascades = format!("{database}.c is subject to a foreign key that cascades (cascades)");
    match logged {
        true => done(&mut check()),
        false => refused(&mut check(), 1, &[&cascades]).map(drop),
    }
}
