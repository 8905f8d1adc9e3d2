//! The copy of tables that are there already: the source's side. Each test captures the same history twice: by a stream that was there
//! before the tables, and by a copy that came later. What a reader has of both must be the same, row for row and byte for byte.

mod alone;
mod documents;
mod history;
mod live;
mod mariadb;
mod model;
mod premise;
mod requests;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use binferry_generate::Random;
use binferry_servers::{MySql, database, pair};

use crate::{
    binferry::{Pipeline, SOURCE_USER, done, eventually},
    load::{self, Load, prepare},
    types::COLUMNS,
};

fn grant(source: &MySql, database: &str) -> Result<()> {
    source.sql(&format!(
        "GRANT SELECT ON `{database}`.* TO {SOURCE_USER}@'%'"
    ))?;
    Ok(())
}

/// A capture that streams from here on, and one that copies.
fn two(source: &MySql, target: &MySql, database: &str) -> Result<(Pipeline, Pipeline)> {
    let stream = Pipeline::new(source, target, database)?;
    let copy = Pipeline {
        from: "snapshot".to_owned(),
        ..Pipeline::new(source, target, database)?
    };
    grant(source, database)?;
    Ok((stream, copy))
}

fn catch_up(pipeline: &Pipeline) -> Result<()> {
    done(pipeline.command("capture").args(["--until", "now"]))
}

/// The start of both, and where they begin to differ.
fn difference(a: &[u8], b: &[u8]) -> String {
    let at = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let show = |row: &[u8]| {
        let part = |range: std::ops::Range<usize>| {
            format!(
                "{:02x?}",
                &row[range.start.min(row.len())..range.end.min(row.len())]
            )
        };
        format!(
            "{} ... {}",
            part(0..20),
            part(at.saturating_sub(40)..at + 60)
        )
    };
    format!(
        "byte {at} of {} and {}\n{}\n{}",
        a.len(),
        b.len(),
        show(a),
        show(b)
    )
}

/// Both logs give the same tables, and as many rows as the source counts.
fn same(source: &MySql, stream: &Pipeline, copy: &Pipeline) -> Result<model::Model> {
    catch_up(stream)?;
    catch_up(copy)?;
    let expected = model::read(&stream.log(), true)?;
    let found = model::read(&copy.log(), false)?;
    let (wanted, copied) = (expected.contents(), found.contents());
    let names = |of: &std::collections::BTreeMap<&model::Name, Vec<&[u8]>>| -> Vec<model::Name> {
        of.keys().map(|name| (*name).clone()).collect()
    };
    ensure!(names(&wanted) == names(&copied), "{:?}", names(&copied));
    for (name, rows) in &wanted {
        let (a, b) = (&expected.named[*name], &found.named[*name]);
        let of = |model: &model::Model, ids: &BTreeSet<u64>| {
            let schemas = ids.iter().map(|id| format!("{:?}", model.schemas[id]));
            schemas.collect::<Vec<_>>().join("\n")
        };
        ensure!(
            a == b,
            "{name:?}: its row schema is, in the stream and in the copy,\n{}\n{}",
            of(&expected, a),
            of(&found, b)
        );
        let other = &copied[name];
        let count: usize = source
            .value(&format!("SELECT COUNT(*) FROM `{}`.`{}`", name.0, name.1))?
            .parse()?;
        ensure!(
            rows.len() == count,
            "{name:?}: the stream has {} rows of {count}",
            rows.len()
        );
        ensure!(
            other.len() == count,
            "{name:?}: the copy has {} rows of {count}",
            other.len()
        );
        let schema =
            (b.first().and_then(|schema| found.schemas.get(schema))).context("a schema")?;
        for (a, b) in rows.iter().zip(other) {
            let alike = a == b || documents::alike(schema, a, b);
            ensure!(alike, "{name:?} differs: {}", difference(a, b));
        }
    }
    Ok(found)
}

/// A value comes out of a SELECT as it comes out of the binlog.
#[test]
fn every_type_is_read_as_the_binlog_has_it() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "copy_types")?;
    let (stream, copy) = two(source, target, &database)?;
    let mut script = format!(
        "USE `{database}`; SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+02:00'"
    );
    for (n, (definition, values)) in COLUMNS.iter().enumerate() {
        script += &format!(
            "; CREATE TABLE t{n} (id INT PRIMARY KEY, v {definition}, h INT INVISIBLE, g INT AS (id + 1) VIRTUAL, s INT AS (id + 2) STORED);
             INSERT INTO t{n} (id) VALUES (0)"
        );
        for (id, value) in values.iter().enumerate() {
            script += &format!("; INSERT INTO t{n} (id, v) VALUES ({}, {value})", id + 1);
        }
    }
    source.sql(&script)?;
    let found = same(source, &stream, &copy)?;
    ensure!(found.jobs_done == 1 && found.given_up == 0);
    Ok(())
}

/// Every type that can be a key is gone through in the order of its server, in small steps.
#[test]
fn every_key_is_cut() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "copy_keys")?;
    let (stream, copy) = two(source, target, &database)?;
    let mut script = format!("USE `{database}`; SET SESSION sql_mode = 'ALLOW_INVALID_DATES'");
    let filler = "REPEAT('x', 400000)";
    let mut n = 0;
    for (definition, values) in COLUMNS {
        let unfit = ["TEXT", "BLOB", "JSON", "GEOM", "POINT", "VECTOR"];
        if unfit.iter().any(|word| definition.contains(word)) || definition.contains("VARCHAR(300)")
        {
            continue;
        }
        let definition = definition.replace(" NULL", "");
        script += &format!(
            "; CREATE TABLE k{n} (v {definition}, w INT, f MEDIUMTEXT, PRIMARY KEY (v, w))"
        );
        for value in *values {
            for w in 0..2 {
                script += &format!("; INSERT IGNORE INTO k{n} VALUES ({value}, {w}, {filler})");
            }
        }
        n += 1;
    }
    source.sql(&script)?;
    same(source, &stream, &copy)?;
    Ok(())
}

const MORE_TABLES: &str = "
CREATE TABLE wide (a VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci, b BINARY(2), c DATETIME(3), v TEXT, PRIMARY KEY (a, b, c));
CREATE TABLE single (a INT NOT NULL, b INT, c VARCHAR(100), UNIQUE KEY (a));
CREATE TABLE large (id INT PRIMARY KEY, v LONGTEXT);";

/// Lets a recursive query go on for long.
fn deep(source: &MySql) -> &'static str {
    match source.release().is_mariadb() {
        true => "SET SESSION max_recursive_iterations = 1000000",
        false => "SET SESSION cte_max_recursion_depth = 1000000",
    }
}

fn fill(source: &MySql, database: &str) -> Result<()> {
    let deep = deep(source);
    source.sql(&format!(
        "USE `{database}`; {MORE_TABLES} {deep};
         INSERT INTO single WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) SELECT i, i, REPEAT('s', 60) FROM n;
         INSERT INTO wide SELECT CONCAT('ä', a), CHAR(a & 255), '2026-01-01' + INTERVAL a SECOND, REPEAT('w', 50) FROM single WHERE a <= 20000;
         INSERT INTO large SELECT a, REPEAT('l', a * 100000) FROM single WHERE a <= 30;
         INSERT INTO item (id, code, label) SELECT a + 1000, a + 100000, 'filled' FROM single WHERE a <= 20000;
         INSERT INTO nokey SELECT a, 'filled' FROM single WHERE a <= 3000"
    ))?;
    Ok(())
}

/// One of the load's, or one on the tables that take long to copy.
fn transaction(random: &mut Random) -> String {
    let at = random.below(62_000);
    match random.below(12) {
        0..4 => load::transaction(random),
        4 => format!("UPDATE single SET b = b + 1 WHERE a BETWEEN {at} AND {at} + 20"),
        5 => format!("DELETE FROM single WHERE a = {at}"),
        6 => format!("REPLACE INTO single VALUES ({at}, 0, 'new')"),
        7 => format!("UPDATE single SET a = a + 70000 WHERE a = {at}"),
        8 => format!("UPDATE wide SET a = UPPER(a) WHERE a = CONCAT('ä', {at})"),
        9 => format!("UPDATE wide SET b = x'0000' WHERE a = CONCAT('ä', {at})"),
        10 => format!("DELETE FROM wide WHERE a = CONCAT('ä', {at})"),
        _ => format!("UPDATE large SET v = CONCAT(v, 'm') WHERE id = {}", at % 31),
    }
}

#[test]
fn under_load_and_kills_a_copy_is_exact() -> Result<()> {
    let pair = pair()?;
    under_load(&pair.source, &pair.target)
}

fn under_load(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "copy_load")?;
    let (stream, copy) = two(source, target, &database)?;
    prepare(source, target, &database)?;
    fill(source, &database)?;
    let seed = 7_000;
    let loads: Vec<_> = (0..3)
        .map(|n| Load::start_as(source, &database, seed + n, transaction))
        .collect();
    loads[0].wait_for(50)?;
    let command = || {
        let mut command = copy.command("capture");
        command.args(["--snapshot-rate", "25000", "--snapshot-readers", "3"]);
        command
    };
    let mut pauses = Random::new(seed);
    for _ in 0..6 {
        let running = copy.start_command(command(), "capture")?;
        std::thread::sleep(std::time::Duration::from_millis(600 + pauses.below(1200)));
        running.kill()?;
    }
    // A definition in the middle of the copy: what was read under the older one is read again.
    let running = copy.start_command(command(), "capture")?;
    loads[0].wait_for(50)?;
    eventually("the copy is over", || {
        Ok(running
            .said()?
            .contains("all tables of the copy are in the log"))
    })?;
    for load in loads {
        load.stop()?;
    }
    running.stop()?;
    let found = same(source, &stream, &copy)?;
    ensure!(
        found.jobs_done == 1 && found.snapshot_rows > 50_000,
        "{found:?}"
    );
    Ok(())
}
