//! Foreign keys that cascade: MySQL from 9.6 logs what they did, everyone else leaves it to whoever applies the log.

use anyhow::Result;
use binferry_servers::{MySql, Release, database, mariadb, pair};

use crate::{
    binferry::{Pipeline, refused},
    faults, judge,
    load::{Load, Random},
};

const TABLES: &str = "
    CREATE TABLE ledger (id BIGINT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(20) NOT NULL);
    CREATE TABLE parent (id INT PRIMARY KEY, a INT UNIQUE, v INT);
    CREATE TABLE child (id INT PRIMARY KEY, p INT, v INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE grandchild (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES child (id) ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE TABLE loose (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES parent (a) ON DELETE SET NULL ON UPDATE CASCADE);
    CREATE TABLE strict_ (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id));
    CREATE TABLE tree (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES tree (id) ON DELETE CASCADE);
    CREATE TABLE shelf (id INT PRIMARY KEY, v INT);
    CREATE TABLE book (id INT PRIMARY KEY, shelf INT NOT NULL, v INT, FOREIGN KEY (shelf) REFERENCES shelf (id));
    CREATE TABLE loan (shelf INT, book INT, day INT, FOREIGN KEY (shelf) REFERENCES shelf (id))";

/// Statements on all of the tables, in one transaction. What a key forbids is passed over, or takes the transaction back.
fn transaction(random: &mut Random) -> String {
    let mut text =
        "SET foreign_key_checks = 1; BEGIN; INSERT INTO ledger (what) VALUES ('keys')".to_owned();
    for _ in 0..=random.below(4) {
        let (a, b, n) = (random.below(30), random.below(30), random.below(1000));
        text += "; ";
        text += &match random.below(20) {
            // A family of its own, where no parent ever goes.
            18 => format!(
                "INSERT IGNORE INTO shelf VALUES ({a}, {n}); INSERT IGNORE INTO book VALUES ({n}, {a}, 0), ({}, {a}, 1); \
                 INSERT IGNORE INTO loan VALUES ({a}, {n}, {b}), ({a}, {n}, {b})",
                n / 2
            ),
            19 => format!(
                "DELETE FROM book WHERE shelf = {b}; UPDATE shelf SET v = v + 1 WHERE id = {b}; \
                 DELETE FROM loan WHERE shelf = {a} LIMIT 1; UPDATE loan SET day = {n} WHERE shelf = {b}; UPDATE IGNORE book SET shelf = {a}, v = v + 1 WHERE id > {n}"
            ),
            0 | 1 => format!(
                "INSERT IGNORE INTO parent VALUES ({a}, {}, {n}), ({b}, NULL, {n})",
                b + 100
            ),
            2 | 3 => format!(
                "INSERT IGNORE INTO child VALUES ({b}, {a}, {n}), ({}, {b}, {n})",
                a + 30
            ),
            4 => format!(
                "INSERT IGNORE INTO grandchild VALUES ({}, {b}), ({}, {a})",
                n % 60,
                n % 61 + 60
            ),
            5 => format!("INSERT IGNORE INTO loose VALUES ({b}, {})", a + 100),
            6 => format!("INSERT IGNORE INTO strict_ VALUES ({}, {a})", b % 3),
            7 => format!(
                "INSERT IGNORE INTO tree VALUES ({a}, NULL), ({b}, {a}), ({}, {b})",
                n % 30
            ),
            8 => format!("DELETE FROM parent WHERE id BETWEEN {a} AND {a} + 2"),
            9 => format!("UPDATE IGNORE parent SET id = id + 50 WHERE id = {a}"),
            10 => "UPDATE IGNORE parent SET id = id - 50 WHERE id >= 50 ORDER BY id".to_owned(),
            11 => format!("UPDATE IGNORE parent SET a = a + 1, v = v + 1 WHERE id = {b}"),
            12 => format!("UPDATE IGNORE child SET id = id + 100, v = v + 1 WHERE id = {b}"),
            13 => format!("DELETE FROM tree WHERE id IN ({a}, {b})"),
            14 => format!("DELETE FROM child WHERE id BETWEEN {b} AND {b} + 3"),
            15 => format!("REPLACE INTO parent VALUES ({a}, {}, {n})", b + 100),
            16 => format!(
                "DELETE FROM strict_ WHERE id = {}; UPDATE child SET v = v + 1 WHERE p = {a}",
                b % 3
            ),
            _ => format!(
                "SET foreign_key_checks = 0; DELETE FROM parent WHERE id = {a}; INSERT IGNORE INTO child VALUES ({b}, 77, 0); \
                 UPDATE parent SET id = 90 WHERE id = {b} AND NOT EXISTS (SELECT 1 FROM (SELECT id FROM parent) q WHERE id = 90); \
                 SET foreign_key_checks = 1"
            ),
        };
    }
    text + "; COMMIT"
}

/// First a backlog, applied in large groups, then what comes while it runs.
fn every_kind(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "keys")?;
    for server in [source, target] {
        server.sql(&format!("USE `{database}`; {TABLES}"))?;
    }
    let pipeline = Pipeline::new(source, target, &database)?;
    let load = Load::start_as(source, &database, 61, transaction);
    load.wait_for(600)?;
    let running = pipeline.start("run")?;
    load.wait_for(600)?;
    load.stop()?;
    faults::proved(&pipeline, source, target, &database)?;
    running.stop()
}

#[test]
fn from_mysql_to_mysql() -> Result<()> {
    let pair = pair()?;
    every_kind(&pair.source, &pair.target)
}

#[test]
fn from_mysql_to_mariadb() -> Result<()> {
    every_kind(&pair()?.source, mariadb(Release::MariaDb11_8)?)
}

#[test]
fn from_mariadb_to_mysql() -> Result<()> {
    every_kind(mariadb(Release::MariaDb11_8)?, &pair()?.target)
}

/// REPLACE lets the children of a row alone that it puts back; the server's own replicas lose them. And what a key cascades may share an
/// event, and its flags, with what a statement changed itself.
#[test]
fn what_the_flags_alone_do_not_tell() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("replace")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("USE `{database}`; {TABLES}"))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pair.source.sql(&format!(
        "USE `{database}`; INSERT INTO parent VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3);
         INSERT INTO child VALUES (1, 1, 1), (2, 2, 2); INSERT INTO strict_ VALUES (1, 3); INSERT INTO loose VALUES (1, 1);
         REPLACE INTO parent VALUES (1, 11, 1); REPLACE INTO parent VALUES (4, 2, 2); REPLACE INTO parent VALUES (3, 3, 4);
         INSERT INTO parent VALUES (21, 21, 1), (22, 22, 2); INSERT INTO child VALUES (21, 21, 1), (22, 22, 2), (23, 21, 3);
         UPDATE child STRAIGHT_JOIN parent ON child.p = parent.id SET child.v = 100, parent.id = parent.id + 50 WHERE parent.id > 20;
         INSERT INTO tree VALUES (1, NULL), (2, NULL), (3, 2); DELETE FROM tree WHERE id <= 2"
    ))?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)
}

#[test]
fn keys_that_only_one_side_has() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("other_keys")?;
    let tables = "CREATE TABLE parent (id INT PRIMARY KEY); CREATE TABLE child (id INT PRIMARY KEY, p INT, KEY (p))";
    let key = |action| {
        format!(
            "ALTER TABLE child ADD CONSTRAINT f FOREIGN KEY (p) REFERENCES parent (id) {action}"
        )
    };
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("USE `{database}`; {tables}"))?;
    }
    let sql = |server: &MySql, text: &str| server.sql(&format!("USE `{database}`; {text}"));
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    // Only the target's cascades.
    sql(&pair.target, &key("ON DELETE CASCADE ON UPDATE CASCADE"))?;
    sql(
        &pair.source,
        "INSERT INTO parent VALUES (1), (2), (3); INSERT INTO child VALUES (1, 1), (2, 2), (3, 3);
         DELETE FROM parent WHERE id = 1; UPDATE parent SET id = 20 WHERE id = 2",
    )?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    // Only the source's.
    sql(&pair.target, "ALTER TABLE child DROP FOREIGN KEY f")?;
    sql(
        &pair.source,
        &format!(
            "DELETE FROM child WHERE p NOT IN (SELECT id FROM parent); {}; UPDATE parent SET id = 30 WHERE id = 3; DELETE FROM parent",
            key("ON DELETE CASCADE ON UPDATE CASCADE")
        ),
    )?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    // Only the target's, and a child without its parent.
    sql(&pair.source, "ALTER TABLE child DROP FOREIGN KEY f")?;
    sql(&pair.target, &key(""))?;
    sql(&pair.source, "INSERT INTO child VALUES (9, 9)")?;
    refused(
        pipeline.command("run").args(["--until", "now"]),
        3,
        &["foreign_key", "child"],
    )?;
    Ok(())
}
