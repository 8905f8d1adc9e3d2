//! From nothing to in sync: a full source, a target without tables, traffic, and a program that is killed.

mod by_hand;
mod full;
mod mariadb;
mod names;
mod objects;
mod sessions;

use std::time::Duration;

use anyhow::{Result, ensure};
use binferry_servers::{MySql, database, pair};

use crate::{
    binferry::{
        BY_DEFAULT, Pipeline, SOURCE_USER, TARGET_USER, done, eventually, executed, refused,
    },
    judge,
    load::{Load, prepare},
};

/// Tables that take a while, of each kind of key, and a name that has to be quoted.
const MORE: &str = "
CREATE TABLE `odd ``name` (a VARCHAR(20), b INT, v VARBINARY(60), PRIMARY KEY (a, b)) COMMENT = 'it''s \\\\ odd';
CREATE TABLE single (x INT NOT NULL, y INT, UNIQUE KEY (x));
CREATE TABLE parent (id INT PRIMARY KEY, n INT);
CREATE TABLE `a child` (id INT PRIMARY KEY, p INT, KEY (p), CONSTRAINT `to p` FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE);
SET SESSION cte_max_recursion_depth = 100000;
INSERT INTO parent WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, i FROM n;
INSERT INTO `a child` SELECT id, id DIV 2 + 1 FROM parent;
INSERT INTO single SELECT id, id FROM parent;
INSERT INTO `odd ``name` SELECT CONCAT(CHAR(65 + id % 26), id), id % 7, RANDOM_BYTES(40) FROM parent;";

/// With what docs/snapshot.md has users granted.
pub fn granted(source: &MySql, target: &MySql, database: &str) -> Result<Pipeline> {
    let pipeline = Pipeline::new(source, target, database)?;
    source.sql(&format!(
        "GRANT SELECT ON `{database}`.* TO {SOURCE_USER}@'%'"
    ))?;
    target.sql(&format!(
        "GRANT CREATE, ALTER, INDEX, REFERENCES, DROP ON `{database}`.* TO {TARGET_USER}@'%'"
    ))?;
    Ok(pipeline)
}

#[test]
fn under_traffic_and_kills() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "copied")?;
    prepare(source, target, &database)?;
    target.sql(&format!("DROP DATABASE `{database}`"))?;
    source.sql(&format!("USE `{database}`; {MORE}"))?;
    let pipeline = Pipeline {
        from: "snapshot".to_owned(),
        ..granted(source, target, &database)?
    };
    let load = Load::start_as(source, &database, 71, |random| {
        let at = random.below(20_000);
        match random.below(12) {
            0 => format!("UPDATE single SET y = y + 1 WHERE x BETWEEN {at} AND {at} + 5"),
            1 => format!("DELETE FROM single WHERE x = {at}"),
            2 => format!("UPDATE parent SET n = n + 1 WHERE id = {at}"),
            3 => format!("DELETE FROM parent WHERE id = {at}"),
            4 => format!("UPDATE `a child` SET id = id + 100000 WHERE id = {at}"),
            5 => format!("UPDATE `odd ``name` SET b = b + 10 WHERE a LIKE '%{at}'"),
            _ => crate::load::transaction(random),
        }
    });
    under_kills(&pipeline, load, source, target, &database)?;
    judge::same_definitions(source, target, &database)
}

/// Kills the pipeline while it copies and the load runs; then lets it come to an end, with all rows equal and none twice.
pub fn under_kills(
    pipeline: &Pipeline,
    load: Load,
    source: &MySql,
    target: &MySql,
    database: &str,
) -> Result<()> {
    for n in 0..5u64 {
        let running = pipeline.start("run")?;
        std::thread::sleep(Duration::from_millis(600 + 250 * n));
        running.kill()?;
    }
    let running = pipeline.start("run")?;
    load.wait_for(50)?;
    load.stop()?;
    pipeline.wait_for(&executed(source)?)?;
    settled(source, target, database)?;
    pipeline.wait_for(&executed(source)?)?;
    running.stop()?;
    judge::equal(source, target, database)?;
    judge::once(source, target, database)
}

/// All tables of the database are copied: copies have no GTID to wait for, and foreign keys come last.
pub fn settled(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    eventually("nothing is being copied any more", || {
        let left = target.value(&format!(
            "SELECT (SELECT COUNT(*) FROM binferry.copy WHERE stream = '{database}') + (SELECT COUNT(*) FROM binferry.foreign_key WHERE stream = '{database}') + (SELECT COUNT(*) FROM binferry.later_key WHERE stream = '{database}')"
        ))?;
        let tables = |server: &MySql| {
            server.value(&format!(
                "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{database}'"
            ))
        };
        Ok(left == "0" && tables(source)? == tables(target)?)
    })
}

/// Of some tables the copy has ended, `m` is being copied, and those of the other database wait: they are not on the target.
const DEFINITIONS: &str = "
ALTER TABLE D.a_child DROP FOREIGN KEY `to parent`, ADD c INT;
ALTER TABLE D.a_default ALTER COLUMN n DROP DEFAULT;
CREATE TABLE D.made_like LIKE Z.waits;
DROP TABLE D.a_present, Z.gone;
RENAME TABLE D.a_there TO D.swap, Z.elsewhere TO D.a_there, D.swap TO Z.elsewhere;
ALTER TABLE D.a_parent ADD CONSTRAINT `to waiting` FOREIGN KEY (p) REFERENCES Z.waits (id);
CREATE TABLE D.fresh (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES Z.waits (id));
ALTER TABLE Z.waits ADD c INT, ALTER COLUMN n DROP DEFAULT;
RENAME TABLE Z.parent TO Z.father;
ALTER DATABASE Z CHARACTER SET latin1;
INSERT INTO D.made_like (id, n) VALUES (1, 1); INSERT INTO D.fresh VALUES (1, 2);
INSERT INTO Z.elsewhere (id) VALUES (7); INSERT INTO D.a_there (id) VALUES (8)";

#[test]
fn definitions_reach_tables_that_are_not_there_yet() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source], "waiting")?;
    let later = format!("{database}_z");
    let in_both = |text: &str| {
        let first = text.replace("D.", &format!("`{database}`."));
        let second = first.replace("Z.", &format!("`{later}`."));
        second.replace("DATABASE Z", &format!("DATABASE `{later}`"))
    };
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name} (id INT PRIMARY KEY, n INT DEFAULT 5, p INT, KEY (p)); INSERT INTO {name} (id) VALUES (1), (2);"
        )
    };
    let first = [
        "D.a_child",
        "D.a_default",
        "D.a_parent",
        "D.m",
        "D.a_present",
        "D.a_there",
    ];
    let second = ["Z.gone", "Z.waits", "Z.elsewhere", "Z.parent", "Z.child"];
    let tables: String = first
        .iter()
        .chain(&second)
        .map(|name| table(name))
        .collect();
    source.sql(&in_both(&format!(
        "CREATE DATABASE Z; {tables}
         ALTER TABLE D.a_default ALTER COLUMN n DROP DEFAULT;
         ALTER TABLE D.a_child ADD CONSTRAINT `to parent` FOREIGN KEY (p) REFERENCES D.a_parent (id);
         ALTER TABLE Z.child ADD CONSTRAINT `to parent` FOREIGN KEY (p) REFERENCES Z.parent (id) ON DELETE CASCADE;
         SET SESSION cte_max_recursion_depth = 10000;
         INSERT INTO D.m (id) WITH RECURSIVE i (n) AS (SELECT 3 UNION ALL SELECT n + 1 FROM i WHERE n < 5000) SELECT n FROM i"
    )))?;
    let pipeline = Pipeline {
        from: "snapshot".to_owned(),
        ddl: "apply",
        tables: format!("{database}.*,{later}.*"),
        ..Pipeline::new(source, target, &database)?
    };
    for name in [&database, &later] {
        source.sql(&format!("GRANT SELECT ON `{name}`.* TO {SOURCE_USER}@'%'"))?;
        target.sql(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, REFERENCES, DROP, TRIGGER ON `{name}`.* TO {TARGET_USER}@'%'"
        ))?;
    }
    // The tables in the order of their names; `m` takes minutes.
    let mut command = pipeline.command("run");
    command.args(["--snapshot-rate", "20", "--snapshot-readers", "1"]);
    let running = pipeline.start_command(command, "run")?;
    eventually("the large table is being copied", || {
        Ok(target.value(&format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{database}' AND table_name = 'm'"
        ))? == "1")
    })?;

    source.sql(&in_both(DEFINITIONS))?;
    pipeline.wait_for(&executed(source)?)?;
    running.stop()?;
    pipeline.catch_up()?;
    for name in [&database, &later] {
        judge::same_definitions(source, target, name)?;
        judge::equal(source, target, name)?;
    }
    Ok(())
}

/// Without `--from` a first start copies; an existing log goes on, and a target with rows is left alone.
#[test]
fn a_first_start_copies_by_default() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "first")?;
    let first = format!(
        "USE `{database}`; CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1), (2)"
    );
    source.sql(&first)?;
    target.sql(&first)?;
    let pipeline = Pipeline {
        from: BY_DEFAULT.to_owned(),
        ddl: "apply",
        ..granted(source, target, &database)?
    };
    let until_now = || {
        let mut command = pipeline.command("run");
        command.args(["--until", "now"]);
        command
    };
    refused(&mut until_now(), 3, &["not empty", "--into existing"])?;
    target.sql(&format!("DROP DATABASE `{database}`"))?;
    done(&mut until_now())?;
    judge::equal(source, target, &database)?;
    source.sql(&format!("INSERT INTO `{database}`.t VALUES (3)"))?;
    done(&mut until_now())?;
    judge::equal(source, target, &database)?;
    // A log that began otherwise copies nothing later.
    let other = Pipeline {
        stream: format!("{database}_2"),
        from: executed(source)?,
        ..Pipeline::new(source, target, &database)?
    };
    other.catch_up()?;
    let other = Pipeline {
        from: BY_DEFAULT.to_owned(),
        ..other
    };
    source.sql(&format!("INSERT INTO `{database}`.t VALUES (4)"))?;
    done(&mut until_now())?;
    done(other.command("capture").args(["--until", "now"]))?;
    ensure!(
        other.tail()?.iter().all(|line| line["after"]["id"] == 4),
        "{:?}",
        other.tail()?
    );
    Ok(())
}
