//! From nothing to in sync: a full source, a target without tables, traffic, and a program that is killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, database, pair};

use crate::{
    binferry::{Pipeline, SOURCE_USER, TARGET_USER, executed},
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
        ..Pipeline::new(source, target, &database)?
    };
    source.sql(&format!(
        "GRANT SELECT ON `{database}`.* TO {SOURCE_USER}@'%'"
    ))?;
    target.sql(&format!(
        "GRANT CREATE, ALTER, INDEX, REFERENCES, DROP ON `{database}`.* TO {TARGET_USER}@'%'"
    ))?;
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
    for n in 0..5u64 {
        let running = pipeline.start("run")?;
        std::thread::sleep(Duration::from_millis(600 + 250 * n));
        running.kill()?;
    }
    let running = pipeline.start("run")?;
    load.wait_for(50)?;
    load.stop()?;
    pipeline.wait_for(&executed(source)?)?;
    // Copies have no GTID to wait for; foreign keys come last.
    crate::binferry::eventually("nothing is being copied any more", || {
        let left = target.value(&format!(
            "SELECT (SELECT COUNT(*) FROM binferry.copy WHERE stream = '{database}') + (SELECT COUNT(*) FROM binferry.foreign_key WHERE stream = '{database}')"
        ))?;
        let tables = |server: &MySql| {
            server.value(&format!(
                "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '{database}'"
            ))
        };
        Ok(left == "0" && tables(source)? == tables(target)?)
    })?;
    pipeline.wait_for(&executed(source)?)?;
    running.stop()?;
    judge::equal(source, target, &database)?;
    judge::once(source, target, &database)?;
    let (here, there) = (
        definitions(source, &database)?,
        definitions(target, &database)?,
    );
    ensure!(here == there, "{here:#?}\n{there:#?}");
    Ok(())
}

/// What SHOW CREATE prints of each table, but for the number that comes next.
fn definitions(server: &MySql, database: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for row in server.rows(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{database}' ORDER BY 1"
    ))? {
        let name = row[0].as_deref().context("a name")?.replace('`', "``");
        let shown = server.rows(&format!("SHOW CREATE TABLE `{database}`.`{name}`"))?;
        let text = shown[0][1].as_deref().context("a definition")?;
        let next = text.split(' ').filter(|word| !word.starts_with("AUTO_INCREMENT="));
        found.push(next.collect::<Vec<_>>().join(" "));
    }
    Ok(found)
}
