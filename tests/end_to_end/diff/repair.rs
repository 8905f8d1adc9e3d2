//! `diff --repair`: what differs is brought in line, journaled, and nothing else is touched.

use std::process::Command;

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, database, mariadb, pair};
use serde_json::Value;

use super::{answer, command, found, planted, readers, told};
use crate::{
    binferry::{Pipeline, TARGET_USER, done, eventually, output, program, refused},
    load::{Load, prepare},
};

fn repair(source: &MySql, target: &MySql, database: &str) -> Command {
    let mut command = command(source, target, database);
    command.arg("--repair");
    command
}

/// What became of each, sorted: `table kind key columns: repair`.
fn made(found: &[Value]) -> Vec<String> {
    let mut made: Vec<String> = (found.iter().filter(|line| line["kind"] != "note"))
        .map(|line| {
            let repair = line["repair"].as_str().unwrap_or("nothing");
            format!("{}: {repair}", told(std::slice::from_ref(line)).join(""))
        })
        .collect();
    made.sort();
    made
}

/// The journal's rows of the database.
fn journal(target: &MySql, database: &str) -> Result<Vec<Value>> {
    let mut list = program("conflicts");
    list.args(["list", "--json", "--target", &target.url(TARGET_USER)])
        .args(["--table", &format!("{database}.*")]);
    String::from_utf8(output(&mut list)?.stdout)?
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

#[test]
fn each_kind_is_healed() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "healed")?;
    for server in [source, target] {
        server.sql(&format!(
            "USE `{database}`; {} {}",
            planted::TABLES,
            planted::rows()
        ))?;
    }
    readers(source, target, &database)?;
    for (statement, _) in planted::PLANTED {
        target.sql(&format!(
            "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; USE `{database}`; {statement}"
        ))?;
    }
    target.sql(&format!(
        "USE `{database}`; DELETE FROM nokey WHERE a = 3 LIMIT 1; UPDATE nokey SET b = '' WHERE a = 2; INSERT INTO nokey VALUES (9, 'z'), (9, 'z')"
    ))?;
    let differences = found(&mut command(source, target, &database))?;
    // First what it would do: nothing of it is done.
    let (tried, summary, code) = answer(repair(source, target, &database).arg("--dry-run"))?;
    ensure!(told(&tried) == told(&differences), "{tried:#?}");
    let refused: Vec<&Value> = tried
        .iter()
        .filter(|line| line["reason"].is_string())
        .collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    ensure!(
        code == Some(1) && summary["repaired"] == tried.len(),
        "{code:?}: {summary}"
    );
    ensure!(journal(target, &database)?.is_empty());
    ensure!(found(&mut command(source, target, &database))? == differences);
    // Then it.
    let (all, summary, code) = answer(&mut repair(source, target, &database))?;
    ensure!(made(&all) == made(&tried), "{all:#?}");
    ensure!(code == Some(0), "{code:?}: {summary}");
    for line in made(&all) {
        let (kind, repair) = line.rsplit_once(": ").unwrap_or_default();
        let expected = match kind.split(' ').nth(1) {
            Some("missing") => "inserted",
            Some("extra") => "deleted",
            Some("differs") => "overwritten",
            _ => continue,
        };
        ensure!(repair == expected, "{line}");
    }
    let left = found(&mut command(source, target, &database))?;
    ensure!(told(&left).is_empty(), "{left:#?}");
    let journal = journal(target, &database)?;
    // Of the table without a key two rows each went and came.
    ensure!(
        journal.len() == all.len() + 1 && journal.iter().all(|row| row["kind"] == "repaired"),
        "{} for {}: {journal:#?}",
        journal.len(),
        all.len()
    );
    // What was overwritten is there, whole.
    let one = journal.iter().find(|row| {
        row["table"] == "kinds" && row["outcome"] == "overwritten" && row["after"]["id"] == 4
    });
    let target_row = one.map(|row| &row["target"][0]);
    ensure!(
        target_row.is_some_and(|row| row["s"] == "" && row["t"] == "text"),
        "{journal:#?}"
    );
    Ok(())
}

/// Two servers with the same tables, of which the target gets other rows.
fn tables(purpose: &str, tables: &str, rows: &str, planted: &str) -> Result<String> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], purpose)?;
    for server in [source, target] {
        server.sql(&format!("USE `{database}`; {tables}; {rows}"))?;
    }
    readers(source, target, &database)?;
    target.sql(&format!("USE `{database}`; {planted}"))?;
    Ok(database)
}

/// Values of unique keys that rows hold for one another, in a circle and across many rows.
#[test]
fn unique_keys_in_each_others_way() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let rows: Vec<String> = (1..=1200).map(|id| format!("({id}, {id})")).collect();
    let database = tables(
        "heal_unique",
        "CREATE TABLE t (id INT PRIMARY KEY, u INT, UNIQUE KEY by_u (u))",
        &format!("INSERT INTO t VALUES {}", rows.join(",")),
        "DELETE FROM t WHERE id IN (1200, 5); UPDATE t SET u = -u; UPDATE t SET u = IF(id = 1199, 1, id + 1); INSERT INTO t VALUES (-7, 1200)",
    )?;
    let (all, summary, code) = answer(&mut repair(source, target, &database))?;
    ensure!(code == Some(0), "{summary}: {all:#?}");
    let left = found(&mut command(source, target, &database))?;
    ensure!(told(&left).is_empty(), "{left:#?}");
    Ok(())
}

/// Parents and children, of which the target lacks some and has others too many, with and without cascades.
#[test]
fn foreign_keys() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = tables(
        "heal_foreign",
        "CREATE TABLE a_parent (id INT PRIMARY KEY, v INT);
         CREATE TABLE b_child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES a_parent (id));
         CREATE TABLE c_grandchild (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES b_child (id))",
        "INSERT INTO a_parent VALUES (1, 1), (2, 2); INSERT INTO b_child VALUES (1, 1), (2, 2); INSERT INTO c_grandchild VALUES (1, 1), (2, 2)",
        "INSERT INTO a_parent VALUES (3, 3); INSERT INTO b_child VALUES (3, 3); INSERT INTO c_grandchild VALUES (3, 3);
         DELETE FROM c_grandchild WHERE id = 1; DELETE FROM b_child WHERE id = 1; DELETE FROM a_parent WHERE id = 1",
    )?;
    let (all, summary, code) = answer(&mut repair(source, target, &database))?;
    ensure!(code == Some(0) && all.len() == 6, "{summary}: {all:#?}");
    let left = found(&mut command(source, target, &database))?;
    ensure!(told(&left).is_empty(), "{left:#?}");
    Ok(())
}

/// What can't be brought in line is left as it is, with the reason, and the rest is repaired.
#[test]
fn what_can_not_be() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = tables(
        "heal_not",
        "CREATE TABLE own_key (id INT PRIMARY KEY, u INT); CREATE TABLE checked (id INT PRIMARY KEY, v INT);
         CREATE TABLE own_column (id INT PRIMARY KEY, v INT); CREATE TABLE cascading (id INT PRIMARY KEY, v INT)",
        "INSERT INTO own_key VALUES (1, 1), (2, 1), (3, 3); INSERT INTO checked VALUES (1, 1), (2, -2);
         INSERT INTO own_column VALUES (1, 1), (2, 2); INSERT INTO cascading VALUES (1, 1)",
        "DELETE FROM own_key WHERE id IN (2, 3); ALTER TABLE own_key ADD UNIQUE KEY own (u);
         DELETE FROM checked WHERE id > 0; ALTER TABLE checked ADD CONSTRAINT positive CHECK (v > 0);
         ALTER TABLE own_column ADD mine INT DEFAULT 7; UPDATE own_column SET mine = 8, v = 9 WHERE id = 2;
         CREATE TABLE outside (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES cascading (id) ON DELETE CASCADE);
         INSERT INTO cascading VALUES (2, 2); INSERT INTO outside VALUES (1, 2)",
    )?;
    let (all, summary, code) = answer(&mut repair(source, target, &database))?;
    ensure!(
        made(&all)
            == [
                "cascading extra 2: not_repaired",
                "checked missing 1: inserted",
                "checked missing 2: not_repaired",
                "outside definition the source has no such table: nothing",
                "own_column differs 2 v: overwritten",
                "own_key missing 2: not_repaired",
                "own_key missing 3: inserted",
            ],
        "{all:#?}"
    );
    ensure!(code == Some(1), "{summary}");
    let reasons: Vec<&str> = all
        .iter()
        .filter_map(|line| line["reason"].as_str())
        .collect();
    for part in ["(own)", "(positive)", "outside"] {
        ensure!(
            reasons.iter().any(|reason| reason.contains(part)),
            "{part}: {reasons:?}"
        );
    }
    let mine = target.sql(&format!(
        "SELECT mine FROM `{database}`.own_column WHERE id = 2"
    ))?;
    ensure!(mine.trim() == "8", "{mine}");
    let outside = target.sql(&format!("SELECT COUNT(*) FROM `{database}`.outside"))?;
    ensure!(outside.trim() == "1", "{outside}");
    Ok(())
}

/// Before anything is compared.
#[test]
fn without_the_privileges() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = tables(
        "heal_grants",
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "DELETE FROM t",
    )?;
    for privilege in ["INSERT", "UPDATE", "DELETE"] {
        target.sql(&format!(
            "REVOKE {privilege} ON `{database}`.* FROM {TARGET_USER}@'%'"
        ))?;
        refused(
            &mut repair(source, target, &database),
            2,
            &[privilege, "with --repair also INSERT, UPDATE, DELETE"],
        )?;
        target.sql(&format!(
            "GRANT {privilege} ON `{database}`.* TO {TARGET_USER}@'%'"
        ))?;
    }
    ensure!(
        target
            .sql(&format!("SELECT COUNT(*) FROM `{database}`.t"))?
            .trim()
            == "0"
    );
    refused(
        command(source, target, &database).arg("--dry-run"),
        2,
        &["--repair"],
    )?;
    done(&mut repair(source, target, &database))
}

/// Rows of a target that a stream brings changes to all the while. What is repaired is what the source has when the stream comes by: it finds
/// no conflict that was not planted.
#[test]
fn under_load() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "heal_load")?;
    prepare(source, target, &database)?;
    for server in [source, target] {
        server.sql(&format!(
            "USE `{database}`; CREATE TABLE still (id INT PRIMARY KEY, v INT, u INT, UNIQUE KEY (u)); CREATE TABLE busy (id INT PRIMARY KEY, v INT)"
        ))?;
        let rows: Vec<String> = (0..400).map(|id| format!("({id}, {id}, {id})")).collect();
        server.sql(&format!(
            "USE `{database}`; INSERT INTO still VALUES {}; INSERT INTO busy SELECT id, v FROM still",
            rows.join(",")
        ))?;
    }
    readers(source, target, &database)?;
    let pipeline = Pipeline::new(source, target, &database)?;
    let mut command = pipeline.command("run");
    command.args([
        "--on-conflict",
        "row_missing,row_exists,row_differs=source_wins",
    ]);
    let running = pipeline.start_command(command, "run")?;
    eventually("the stream is there", || {
        Ok(running.said()?.contains("applying"))
    })?;
    let load = Load::start(source, &database, 4177);
    // Every row of this one changes, comes and goes, again and again.
    let busy = Load::start_as(source, &database, 99, |random| {
        let id = random.below(400);
        match random.below(4) {
            0 => format!("REPLACE INTO busy VALUES ({id}, {})", random.below(1000)),
            1 => format!("DELETE FROM busy WHERE id = {id}"),
            _ => format!(
                "UPDATE busy SET v = v + 1 WHERE id BETWEEN {id} AND {}",
                id + 5
            ),
        }
    });
    load.wait_for(20)?;
    let mut mended = 0;
    for round in 0..6 {
        // The applier may be in the way.
        eventually("what is planted", || {
            Ok(target.sql(&format!(
            "USE `{database}`; START TRANSACTION; UPDATE still SET v = -1 WHERE id % 7 = {round}; DELETE FROM still WHERE id % 11 = {round};
             UPDATE busy SET v = -1 WHERE id % 13 = {round}; INSERT IGNORE INTO busy VALUES ({}, 0); COMMIT",
            1000 + round
        ))
            .is_ok())
        })?;
        let (all, summary, code) =
            answer(repair(source, target, &database).args(["--stream", &pipeline.stream]))?;
        ensure!(code == Some(0), "round {round}: {summary}: {all:#?}");
        mended += summary["repaired"].as_u64().unwrap_or_default();
    }
    ensure!(mended > 300, "{mended}");
    // Whatever the stream met of what was planted it has met by now.
    let conflicts = || {
        let all = journal(target, &database)?;
        let of_stream = all.iter().filter(|row| row["kind"] != "repaired");
        Ok::<_, anyhow::Error>(of_stream.count())
    };
    pipeline.wait_for(&crate::binferry::executed(source)?)?;
    let before = conflicts()?;
    busy.wait_for(300)?;
    load.wait_for(50)?;
    load.stop()?;
    busy.stop()?;
    pipeline.wait_for(&crate::binferry::executed(source)?)?;
    ensure!(conflicts()? == before, "a repair has brought a conflict");
    running.stop()?;
    let left =
        found(super::command(source, target, &database).args(["--stream", &pipeline.stream]))?;
    ensure!(told(&left).is_empty(), "{left:#?}");
    Ok(())
}

fn across(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "heal_across")?;
    for server in [source, target] {
        server.sql(&format!(
            "USE `{database}`; CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, s VARCHAR(20) CHARACTER SET utf8mb4, d DATETIME(6), b BLOB);
             INSERT INTO t VALUES (1, 'straße', '2020-01-01 00:00:00.5', x'00ff'), (18446744073709551615, NULL, NULL, NULL), (3, '', '0001-01-01', '')"
        ))?;
    }
    readers(source, target, &database)?;
    target.sql(&format!(
        "USE `{database}`; UPDATE t SET b = x'00fe' WHERE id = 1; DELETE FROM t WHERE id > 10; INSERT INTO t VALUES (4, 'x', NULL, NULL)"
    ))?;
    let (all, summary, code) = answer(&mut repair(source, target, &database))?;
    ensure!(
        code == Some(0) && told(&all).len() == 3,
        "{summary}: {all:#?}"
    );
    let left = found(&mut command(source, target, &database))?;
    ensure!(told(&left).is_empty(), "{left:#?}");
    Ok(())
}

#[test]
fn from_mysql_to_mariadb() -> Result<()> {
    across(&pair()?.source, mariadb(Release::MariaDb11_8)?)
}

#[test]
fn from_mariadb_to_mysql() -> Result<()> {
    across(mariadb(Release::MariaDb10_11)?, &pair()?.target)
}
