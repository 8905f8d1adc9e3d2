//! JSON documents that the server takes for equal, and that are not: a target has the source's, not one that is like it.

use anyhow::{Result, ensure};
use binferry_servers::{database, pair};

use crate::binferry::{Pipeline, done, users};

const TABLES: &str = "
    CREATE TABLE plain (id INT PRIMARY KEY, j JSON, v INT);
    CREATE TABLE parent (id INT PRIMARY KEY, j JSON NOT NULL);
    CREATE TABLE child (id INT PRIMARY KEY, p INT, j JSON, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE);
    CREATE TABLE keyless (a INT, j JSON);
    CREATE TABLE uniq (id INT PRIMARY KEY, u INT UNIQUE, j JSON)";
const ROWS: &str = "
    INSERT INTO plain VALUES (1, '{\"k\": 1}', 1), (2, '[1, {\"a\": 2}]', 1), (3, '{\"k\": 1}', 1), (4, '1', 4);
    INSERT INTO parent VALUES (1, '1'), (2, '[1]'); INSERT INTO child VALUES (1, 1, '1'), (2, 2, '1');
    INSERT INTO keyless VALUES (1, '1'), (1, '1'); INSERT INTO uniq VALUES (1, 1, '1'), (2, 2, '1')";
/// A REPLACE writes what an UPDATE would leave alone, and so do two updates by way of another value.
const CHANGES: [&str; 9] = [
    "REPLACE INTO plain VALUES (1, '{\"k\": 1.0}', 1)",
    "UPDATE plain SET j = NULL WHERE id = 2; UPDATE plain SET j = '[1e0, {\"a\": 2.0}]' WHERE id = 2",
    "START TRANSACTION; UPDATE plain SET j = '2' WHERE id = 3; UPDATE plain SET j = JSON_OBJECT('k', CAST(1 AS UNSIGNED)) WHERE id = 3; COMMIT",
    "REPLACE INTO plain VALUES (4, CAST(CAST(1 AS DECIMAL(3,1)) AS JSON), 4)",
    "UPDATE parent SET j = 'null' WHERE id = 1; UPDATE parent SET j = '1.0' WHERE id = 1",
    "START TRANSACTION; UPDATE parent SET j = '[2]' WHERE id = 2; UPDATE parent SET j = '[1.0]' WHERE id = 2; COMMIT",
    "REPLACE INTO child VALUES (1, 1, '1.0')",
    "UPDATE keyless SET j = NULL LIMIT 1; UPDATE keyless SET j = '1.0' WHERE j IS NULL",
    "REPLACE INTO uniq VALUES (1, 1, '1e0')",
];
const DUMP: &str = "
    SELECT id, j, JSON_TYPE(j->'$.k'), JSON_TYPE(j), v FROM plain ORDER BY id; SELECT id, j FROM parent ORDER BY id;
    SELECT id, p, j FROM child ORDER BY id; SELECT a, j, COUNT(*) FROM keyless GROUP BY a, j, JSON_TYPE(j) ORDER BY 2, 3; SELECT id, u, j FROM uniq ORDER BY id";

/// `options` of the applier; what was planted at the target has it go row by row.
fn carried(purpose: &str, options: &[&str], planted: &str) -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], purpose)?;
    for server in [source, target] {
        server.sql(&format!("USE `{database}`; {TABLES}"))?;
    }
    users(source, target, &database)?;
    let pipeline = Pipeline::new(source, target, &database)?;
    let catch_up = || {
        done(
            pipeline
                .command("run")
                .args(["--until", "now"])
                .args(options),
        )
    };
    source.sql(&format!("USE `{database}`; {ROWS}"))?;
    catch_up()?;
    target.sql(&format!("USE `{database}`; {planted}"))?;
    source.sql(&format!("USE `{database}`; {}", CHANGES.join("; ")))?;
    catch_up()?;
    let dump = |server: &binferry_servers::MySql| server.sql(&format!("USE `{database}`; {DUMP}"));
    let (here, there) = (dump(source)?, dump(target)?);
    ensure!(here.contains("1.0"), "{here}");
    ensure!(here == there, "source:\n{here}\ntarget:\n{there}");
    if planted.contains("mine") {
        let mine =
            |table: &str| target.value(&format!("SELECT MIN(mine) FROM `{database}`.{table}"));
        // A REPLACE that meets two unique keys is a delete and an insert on the source, too: of `uniq` nothing is kept.
        for table in ["plain", "parent", "child"] {
            let least = mine(table)?;
            ensure!(least == "8", "{table}: {least}");
        }
    }
    Ok(())
}

#[test]
fn many_at_once() -> Result<()> {
    carried("documents", &[], "DO 0")
}

#[test]
fn beside_a_conflict() -> Result<()> {
    carried(
        "documents_slow",
        &["--on-conflict", "source_wins", "--workers", "1"],
        "UPDATE plain SET v = 7 WHERE id = 4",
    )
}

/// Columns that only the target has are kept.
#[test]
fn beside_columns_of_the_targets_own() -> Result<()> {
    let own = ["plain", "parent", "child", "uniq"].map(|table| {
        format!("ALTER TABLE {table} ADD mine INT DEFAULT 7; UPDATE {table} SET mine = 8")
    });
    carried("documents_own", &[], &own.join("; "))
}

/// Nothing is folded where each transaction keeps its own GTID.
#[test]
fn one_by_one() -> Result<()> {
    carried(
        "documents_each",
        &["--workers", "1", "--compare", "key"],
        "DO 0",
    )
}
