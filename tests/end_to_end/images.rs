//! Sources whose row images lack columns, or hold changes of documents: the target ends the same.

use anyhow::{Result, ensure};
use binferry_servers::pair;

use crate::{
    binferry::{Pipeline, refused},
    faults::proved,
    judge,
    load::{self, Load, Random, prepare},
};

const DOC: &str = "CREATE TABLE doc (id INT PRIMARY KEY, note TEXT, n INT UNIQUE, body LONGBLOB, j JSON, \
     ts TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), g INT AS (n + 1) STORED, \
     small INT NOT NULL DEFAULT 7)";

const MINIMAL: &str = "SET binlog_row_image = MINIMAL, binlog_row_value_options = ''";
const NOBLOB: &str = "SET binlog_row_image = NOBLOB, binlog_row_value_options = ''";
const CHANGES: &str = "SET binlog_row_image = FULL, binlog_row_value_options = 'PARTIAL_JSON'";
const BOTH: &str = "SET binlog_row_image = NOBLOB, binlog_row_value_options = 'PARTIAL_JSON'";
const FULL: &str = "SET binlog_row_image = FULL, binlog_row_value_options = ''";

/// One transaction as a multi-statement, in a session with one of these settings.
fn transaction(random: &mut Random, settings: &[&str]) -> String {
    let setting = settings[random.below(settings.len() as u64) as usize];
    if random.below(2) == 0 {
        return format!("{setting}; {}", load::transaction(random));
    }
    let (a, b, n) = (random.below(60), random.below(60), random.below(1_000_000));
    let document = format!(
        "JSON_OBJECT('k', {n}, 'a', JSON_ARRAY(1, CAST(1.50 AS DECIMAL(5,2)), DATE'2026-01-02', {{}}), 'pad', REPEAT('p', 400))"
    )
    .replace("{}", "JSON_OBJECT('u', CAST(1 AS UNSIGNED))");
    let row = format!(
        "(id, note, n, body, j, small) VALUES ({a}, 'note {n}', {n}, REPEAT('b', {}), {document}, 1)",
        n % 3000
    );
    let near = format!("WHERE id BETWEEN {a} AND {a} + 6");
    let body = match random.below(13) {
        0..=2 => format!("REPLACE INTO doc {row}"),
        3 => format!(
            "UPDATE doc SET j = JSON_SET(j, '$.k', {n}, '$.\"new x\"', JSON_ARRAY({n}), '$.a[1]', 'z'), note = 'u' {near}"
        ),
        4 => {
            format!("UPDATE doc SET note = 'n {n}' {near}; UPDATE doc SET small = small + 1 {near}")
        }
        5 => format!("UPDATE doc SET body = x'00ff', n = NULL WHERE id = {a}"),
        6 => format!(
            "DELETE FROM doc WHERE id = {a} + 500; UPDATE doc SET id = id + 500 WHERE id = {a}"
        ),
        7 => format!(
            "DELETE FROM doc WHERE id = {a}; UPDATE doc SET id = id - 500, note = NULL WHERE id = {a} + 500"
        ),
        8 => format!(
            "UPDATE doc SET n = {n} WHERE id = {a}; UPDATE doc SET ts = ts, note = CONCAT(note, 'x') WHERE id = {b}"
        ),
        9 => format!(
            "UPDATE doc SET j = JSON_REMOVE(JSON_SET(j, '$.a[9]', {n}), '$.a[0]') {near}; UPDATE doc SET j = JSON_REPLACE(j, '$.a[last]', NULL) {near}"
        ),
        10 => format!(
            "DELETE FROM doc WHERE id = {a}; INSERT INTO doc {row}; UPDATE doc SET note = 'later' WHERE id = {a}"
        ),
        11 => format!(
            "UPDATE doc SET note = 'x' WHERE id = {a}; UPDATE doc SET n = {n}, body = NULL WHERE id = {a}; DELETE FROM doc WHERE id = {b}"
        ),
        // A row that is larger than a record.
        _ if random.below(8) == 0 => {
            format!("UPDATE doc SET body = REPEAT(CHAR({n} % 256), 2500000) WHERE id = {a}")
        }
        _ => format!(
            "UPDATE doc SET note = NULL, n = NULL WHERE id = {a}; UPDATE doc SET n = {n} WHERE id = {b}"
        ),
    };
    format!("{setting}; BEGIN; INSERT INTO ledger (what) VALUES ('doc'); {body}; COMMIT")
}

fn carried(purpose: &str, settings: &'static [&str], seed: u64, kills: u64) -> Result<()> {
    let pair = pair()?;
    let database = pair.database(purpose)?;
    prepare(&pair.source, &pair.target, &database)?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("USE `{database}`; {DOC}"))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let load = Load::start_as(&pair.source, &database, seed, move |random| {
        transaction(random, settings)
    });
    load.wait_for(150)?;
    for n in 0..kills {
        let running = pipeline.start("run")?;
        std::thread::sleep(std::time::Duration::from_millis(200 + 150 * n));
        running.kill()?;
    }
    let running = pipeline.start("run")?;
    load.wait_for(250)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    ensure!(
        !running.said()?.contains("does not fit the target"),
        "{}",
        running.said()?
    );
    running.stop()
}

#[test]
fn minimal_images() -> Result<()> {
    carried("minimal", &[MINIMAL], 31, 0)
}

#[test]
fn images_without_blobs() -> Result<()> {
    carried("noblob", &[NOBLOB], 32, 0)
}

#[test]
fn changes_of_documents() -> Result<()> {
    carried("changes", &[CHANGES, BOTH], 33, 0)
}

#[test]
fn all_kinds_of_images_and_kills() -> Result<()> {
    carried("mixed", &[MINIMAL, NOBLOB, CHANGES, BOTH, FULL], 34, 4)
}

#[test]
fn tail_leaves_out_what_is_absent() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("absent")?;
    pair.source.sql(&format!("USE `{database}`; {DOC}"))?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pair.source.sql(&format!(
        "USE `{database}`; SET timestamp = 1; INSERT INTO doc (id, n) VALUES (1, 5); {MINIMAL};
         UPDATE doc SET note = NULL, n = 6, small = 8; INSERT INTO doc (id, n) VALUES (2, NULL);
         UPDATE doc SET body = REPEAT('x', 3000000) WHERE id = 1; DELETE FROM doc WHERE id = 1"
    ))?;
    crate::binferry::done(pipeline.command("capture").args(["--until", "now"]))?;
    let names = |value: &serde_json::Value| {
        let object = value.as_object();
        object.map(|object| object.keys().cloned().collect::<Vec<_>>())
    };
    let lines = pipeline.tail()?;
    let shown: Vec<_> = lines
        .iter()
        .map(|line| (names(&line["before"]), names(&line["after"])))
        .collect();
    let list = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    let expected = [
        (
            None,
            list(&["body", "g", "id", "j", "n", "note", "small", "ts"]),
        ),
        (list(&["id"]), list(&["g", "n", "note", "small", "ts"])),
        (None, list(&["g", "id", "n", "ts"])),
        (list(&["id"]), list(&["body", "ts"])),
        (list(&["id"]), None),
    ];
    let sorted = |mut names: Option<Vec<String>>| {
        names.iter_mut().for_each(|names| names.sort());
        names
    };
    let shown: Vec<_> = (shown.into_iter())
        .map(|(before, after)| (sorted(before), sorted(after)))
        .collect();
    ensure!(shown == expected, "{shown:?}");
    ensure!(lines[1]["after"]["n"] == 6 && lines[1]["after"]["note"].is_null());
    ensure!(lines[3]["after"]["body"].as_str().map(str::len) == Some(4_000_000));
    Ok(())
}

/// What a statement leaves out is in the image where it is computed; where it is a constant, that can only be NULL for some types.
#[test]
fn inserts_that_leave_columns_out() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("left_out")?;
    let tables = "CREATE TABLE doc (id INT AUTO_INCREMENT PRIMARY KEY, note TEXT, body LONGBLOB, j JSON, p POINT, n INT DEFAULT (6 * 7),
        made TEXT DEFAULT ('x'), ts TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), hidden TEXT INVISIBLE, g TEXT AS (CONCAT(note, 'g')) STORED)";
    pair.source.sql(&format!("USE `{database}`; {tables}"))?;
    // The target's own defaults are not asked.
    let other = tables.replace("note TEXT,", "note TEXT DEFAULT ('other'),");
    pair.target.sql(&format!("USE `{database}`; {other}"))?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    for setting in [MINIMAL, NOBLOB, FULL] {
        pair.source.sql(&format!(
            "USE `{database}`; {setting}; INSERT INTO doc () VALUES (); INSERT INTO doc (note) VALUES ('a'), (DEFAULT); INSERT INTO doc (body, j) VALUES ('b', '{{}}');
             UPDATE doc SET body = 'c' ORDER BY id DESC LIMIT 2; DELETE FROM doc ORDER BY id LIMIT 1; REPLACE INTO doc (id, p) VALUES (3, POINT(1, 2))"
        ))?;
    }
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)
}

#[test]
fn what_cannot_be_carried_is_named() -> Result<()> {
    let pair = pair()?;
    for (purpose, statement, code, says) in [
        (
            "default",
            format!("{MINIMAL}; INSERT INTO doc (id, note, n) VALUES (3, 'x', 3)"),
            3,
            ["doc: a row image lacks the column small", "left to its default", "binlog_row_image = FULL"],
        ),
        (
            "lost",
            "SET binlog_row_image = MINIMAL, binlog_row_value_options = 'PARTIAL_JSON'; UPDATE doc SET j = JSON_SET(j, '$.k', 2)".into(),
            3,
            ["doc.j holds only what changes", "lacks the document", "binlog_row_value_options = ''"],
        ),
    ] {
        let database = pair.database(purpose)?;
        for server in [&pair.source, &pair.target] {
            server.sql(&format!("USE `{database}`; {DOC}"))?;
        }
        let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
        pair.source.sql(&format!(
            "USE `{database}`; INSERT INTO doc (id, j) VALUES (1, JSON_OBJECT('k', 1, 'pad', REPEAT('p', 500))); {statement}"
        ))?;
        refused(pipeline.command("run").args(["--until", "now"]), code, &says)?;
        let rows = format!("SELECT COUNT(*) FROM `{database}`.doc WHERE id <> 1");
        ensure!(pair.target.value(&rows)? == "0");
    }
    Ok(())
}
