//! Drawn histories of schema changes and rows, while the applier is killed again and again: in the end both servers have the same tables,
//! text for text, with the same rows.
//!
//! A failure prints the seed; `BINFERRY_SEED` runs it again, `BINFERRY_STATEMENTS` draws another number of statements.

use std::time::Duration;

use anyhow::{Context, Result};
use binferry_generate::{Random, seed};
use binferry_servers::{MySql, Release, mariadb, pair};

use super::{Scene, Way};
use crate::binferry::executed;

const TABLES: [&str; 6] = ["a", "b", "`c c`", "`d.d`", "`é☃`", "`_a_gho`"];
const COLUMNS: [&str; 5] = ["c0", "c1", "`c 2`", "`c-3`", "`é`"];
const TYPES: [&str; 7] = [
    "INT",
    "BIGINT NOT NULL DEFAULT 5",
    "VARCHAR(30) DEFAULT 'x'",
    "DECIMAL(12,3)",
    "VARCHAR(60) CHARACTER SET latin1",
    "DATETIME(3) DEFAULT '2020-02-03 04:05:06'",
    "TEXT",
];

struct History {
    random: Random,
    way: Way,
    number: u64,
}

impl History {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.random.below(of.len() as u64) as usize]
    }

    /// It may fail on the source: then it did nothing.
    fn statement(&mut self) -> String {
        self.number += 1;
        let n = self.number;
        let (t, u) = (self.one(&TABLES), self.one(&TABLES));
        let (c, d) = (self.one(&COLUMNS), self.one(&COLUMNS));
        let ty = self.one(&TYPES);
        let id = self.random.below(40);
        match self.random.below(34) {
            0..=2 => format!(
                "CREATE TABLE {t} (id INT PRIMARY KEY, {c} {ty}, KEY k{n} ({c}(5))) COMMENT='{n}'"
            ),
            3 => format!("CREATE TABLE {t} (id INT PRIMARY KEY, {c} {ty}) COMMENT='{n}'"),
            4 => format!("CREATE TABLE {t} LIKE {u}"),
            5 => {
                format!("CREATE TABLE {t} (id INT PRIMARY KEY) COMMENT='{n}' AS SELECT * FROM {u}")
            }
            6 => format!(
                "CREATE TABLE IF NOT EXISTS {t} (id INT PRIMARY KEY, {d} {ty}) COMMENT='{n}'"
            ),
            7 | 8 => format!("ALTER TABLE {t} ADD {c} {ty}"),
            9 => format!("ALTER TABLE {t} ADD {c} {ty} FIRST, COMMENT='{n}'"),
            10 => format!("ALTER TABLE {t} ADD {c} {ty}, ALGORITHM=INSTANT"),
            11 => format!("ALTER TABLE {t} DROP COLUMN {c}"),
            12 => format!("ALTER TABLE {t} DROP COLUMN {c}, ADD {d} {ty}, ADD KEY k{n} (id)"),
            13 => format!("ALTER TABLE {t} MODIFY {c} {ty}"),
            14 => format!("ALTER TABLE {t} RENAME COLUMN {c} TO {d}"),
            15 => format!("ALTER TABLE {t} MODIFY id BIGINT AFTER {c}"),
            16 => format!("CREATE INDEX k{n} ON {t} ({c}, id)"),
            17 => format!("ALTER TABLE {t} COMMENT='{n}', ALGORITHM=COPY"),
            18 => format!("RENAME TABLE {t} TO {u}"),
            19 if self.way == Way::Gtids => {
                format!("RENAME TABLE {t} TO swap, {u} TO {t}, swap TO {u}")
            }
            20 => format!("ALTER TABLE {t} RENAME TO {u}, COMMENT='{n}'"),
            21 => format!("DROP TABLE {t}"),
            22 => format!("DROP TABLE IF EXISTS {t}, {u}"),
            23 => format!("TRUNCATE TABLE {t}"),
            24 => format!("ALTER TABLE {t} PARTITION BY HASH (id) PARTITIONS 3"),
            25 => format!("ALTER TABLE {t} REMOVE PARTITIONING"),
            26 | 27 => format!("DELETE FROM {t} WHERE id % 5 = {}", id % 5),
            28 => format!("UPDATE {t} SET {c} = {id} WHERE id > {id}"),
            29 => format!("UPDATE {t} SET id = id + 100 WHERE id = {id}"),
            _ => format!(
                "REPLACE INTO {t} (id) VALUES ({id}), ({}), ({})",
                id + 1,
                id + 2
            ),
        }
    }
}

fn statements() -> u64 {
    let given = std::env::var("BINFERRY_STATEMENTS").ok();
    given.and_then(|count| count.parse().ok()).unwrap_or(160)
}

fn followed(source: &MySql, target: &MySql, purpose: &str, way: Way) -> Result<()> {
    let seed = seed();
    let scene = Scene::on(source, target, purpose, way)?;
    let mut history = History {
        random: Random::new(seed),
        way,
        number: 0,
    };
    let mut done = Vec::new();
    let mut ran = || -> Result<()> {
        scene.source("CREATE TABLE always (id INT PRIMARY KEY)")?;
        for _ in 0..4 {
            let running = scene.pipeline.start("run")?;
            for _ in 0..statements() / 5 {
                let statement = history.statement();
                if scene
                    .source(&format!("SET sql_mode = ''; {statement}"))
                    .is_ok()
                {
                    done.push(statement);
                }
            }
            running.kill()?;
        }
        // A backlog, killed in its middle.
        for _ in 0..statements() / 5 {
            let statement = history.statement();
            if scene
                .source(&format!("SET sql_mode = ''; {statement}"))
                .is_ok()
            {
                done.push(statement);
            }
        }
        for n in 0..3 {
            let running = scene.pipeline.start("run")?;
            std::thread::sleep(Duration::from_millis(120 + 90 * n));
            running.kill()?;
        }
        let running = scene.pipeline.start("run")?;
        scene.pipeline.wait_for(&executed(source)?)?;
        running.stop()?;
        scene.compared()
    };
    let ran = ran();
    ran.with_context(|| format!("seed {seed}, after:\n{}", done.join(";\n")))
}

#[test]
fn under_gtids() -> Result<()> {
    let pair = pair()?;
    followed(&pair.source, &pair.target, "history", Way::Gtids)
}

#[test]
fn by_definitions() -> Result<()> {
    let pair = pair()?;
    followed(&pair.source, &pair.target, "history_d", Way::Definitions)
}

#[test]
fn on_mariadb() -> Result<()> {
    let (source, target) = (
        mariadb(Release::MariaDb10_11)?,
        mariadb(Release::MariaDb11_8)?,
    );
    followed(source, target, "history_m", Way::Definitions)
}
