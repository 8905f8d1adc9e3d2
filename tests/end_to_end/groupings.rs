//! One worker against many: histories of everything whose order matters (values of unique keys that are swapped and shifted, rows that are
//! deleted and come again, REPLACE, values that only their collation makes equal, NULLs, cascades, rows without a key) are applied by one
//! worker, and by drawn numbers of workers that are killed at drawn moments, so that groups begin and end anywhere. Each end is the source's.
//!
//! `BINFERRY_SEED` draws a history again; its writers run at the same time, so the server may answer in another order.
//! `BINFERRY_GROUPINGS` runs for so many minutes (`make groupings`).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use binferry_generate::{Random, seed};
use binferry_servers::{Pair, pair};

use crate::{
    binferry::{Pipeline, done},
    judge,
    load::Load,
};

const WRITERS: u64 = 3;
/// Ids and values of unique keys are drawn below it, so that they meet.
const IDS: u64 = 60;
/// Transactions of each writer.
const TRANSACTIONS: u64 = 250;

const TABLES: &str = "
    CREATE TABLE swaps (id INT PRIMARY KEY, a INT, b INT, t VARCHAR(12) COLLATE utf8mb4_general_ci, v INT NOT NULL DEFAULT 0,
        UNIQUE KEY (a), UNIQUE KEY (b, a), UNIQUE KEY (t));
    CREATE TABLE texts (k VARCHAR(12) COLLATE utf8mb4_0900_ai_ci, n SMALLINT, c CHAR(6) COLLATE latin1_german2_ci, p VARCHAR(20) COLLATE utf8mb4_bin,
        PRIMARY KEY (k, n), UNIQUE KEY (c), UNIQUE KEY (p(2), n));
    CREATE TABLE parents (id INT PRIMARY KEY, u INT UNIQUE);
    CREATE TABLE children (id INT PRIMARY KEY, parent INT, other INT, UNIQUE KEY (parent, other),
        FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE ON UPDATE CASCADE,
        FOREIGN KEY (other) REFERENCES parents (u) ON DELETE SET NULL ON UPDATE CASCADE);
    CREATE TABLE loose (x INT, y VARCHAR(6))";

fn change(random: &mut Random) -> String {
    let (id, other) = (random.below(IDS), random.below(IDS));
    let (end, value) = (id + random.below(8), random.below(9));
    let text = *random.pick(&[
        "'a'", "'A'", "'á'", "'a '", "'ß'", "'ss'", "'s'", "'ae'", "'ä'", "'Æ'", "''", "'b'",
        "NULL",
    ]);
    match random.below(24) {
        0 => format!(
            "INSERT IGNORE INTO swaps (id, a, b, t) VALUES ({id}, {other}, {value}, {text}), ({other}, {id}, NULL, NULL)"
        ),
        1 => format!(
            "REPLACE INTO swaps (id, a, b, t) VALUES ({id}, {other}, {value}, {text}), ({end}, {id}, {value}, NULL)"
        ),
        2 => format!(
            "INSERT INTO swaps (id, a) VALUES ({id}, {other}) ON DUPLICATE KEY UPDATE v = v + 1, a = IF(a IS NULL, {}, NULL)",
            other + 1000
        ),
        3 => format!("DELETE FROM swaps WHERE id BETWEEN {id} AND {end}"),
        4 => format!(
            "DELETE FROM swaps WHERE a = {id}; INSERT IGNORE INTO swaps (id, a, t) VALUES ({other}, {id}, {text})"
        ),
        5 => format!(
            "SET @a = (SELECT a FROM swaps WHERE id = {id}), @b = (SELECT a FROM swaps WHERE id = {other}); \
             UPDATE swaps SET a = NULL WHERE id = {id}; UPDATE swaps SET a = @a WHERE id = {other}; UPDATE swaps SET a = @b WHERE id = {id}"
        ),
        6 => {
            format!("UPDATE swaps SET id = id + 1 WHERE id BETWEEN {id} AND {end} ORDER BY id DESC")
        }
        7 => format!("UPDATE swaps SET a = a - 1 WHERE a BETWEEN {id} AND {end} ORDER BY a"),
        8 => format!("UPDATE IGNORE swaps SET t = {text}, v = v + 1 WHERE id IN ({id}, {other})"),
        9 => format!("UPDATE swaps SET v = v + 1 WHERE id BETWEEN {id} AND {end}"),
        10 => format!(
            "INSERT IGNORE INTO texts VALUES (IFNULL({text}, 'n'), {value}, {text}, 'p{id}')"
        ),
        11 => format!(
            "REPLACE INTO texts VALUES (IFNULL({text}, 'n'), {value}, NULL, 'q{value}{id}')"
        ),
        12 => format!("UPDATE IGNORE texts SET k = IFNULL({text}, 'n') WHERE n = {value}"),
        13 => format!("UPDATE IGNORE texts SET c = {text}, p = 'r{id}' WHERE n = {value}"),
        14 => format!("DELETE FROM texts WHERE k = {text}"),
        15 => format!("UPDATE IGNORE texts SET n = n + 1 WHERE n >= {value} ORDER BY n DESC"),
        16 | 17 => format!(
            "INSERT IGNORE INTO parents VALUES ({id}, {other}), ({other}, {end}); INSERT IGNORE INTO children VALUES ({end}, {id}, {other}), ({value}, {other}, NULL)"
        ),
        18 => {
            format!("UPDATE IGNORE parents SET id = {other} + 100, u = {id} + 200 WHERE id = {id}")
        }
        19 => format!("DELETE FROM parents WHERE id BETWEEN {id} AND {end}"),
        20 => format!("UPDATE IGNORE children SET parent = {id}, id = {other} WHERE id = {end}"),
        21 => format!("INSERT INTO loose VALUES ({value}, IFNULL({text}, 'n')), ({value}, NULL)"),
        22 => format!("UPDATE loose SET x = x + 1 WHERE x = {value} LIMIT 2"),
        _ => format!("DELETE FROM loose WHERE x = {value} LIMIT 1"),
    }
}

fn transaction(random: &mut Random) -> String {
    let changes: Vec<_> = (0..1 + random.below(5)).map(|_| change(random)).collect();
    let end = match random.below(12) {
        0 => "ROLLBACK",
        _ => "COMMIT",
    };
    format!("BEGIN; {}; {end}", changes.join("; "))
}

fn history(pair: &Pair, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    let database = pair.database("grouped")?;
    pair.source.sql(&format!("USE `{database}`; {TABLES}"))?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let loads: Vec<Load> = (0..WRITERS)
        .map(|_| Load::start_as(&pair.source, &database, random.word(), transaction))
        .collect();
    for load in &loads {
        load.wait_for(TRANSACTIONS)?;
    }
    for load in loads {
        load.stop()?;
    }
    done(pipeline.command("capture").args(["--until", "now"]))?;
    let many = [2 + random.below(3), 5 + random.below(12)];
    for workers in [1].into_iter().chain(many) {
        pair.target.sql(&format!(
            "DROP DATABASE `{database}`; CREATE DATABASE `{database}`; USE `{database}`; {TABLES}"
        ))?;
        pipeline.stream = format!("{database}_{workers}");
        applied(&pipeline, workers, &mut random)
            .and_then(|()| judge::equal(&pair.source, &pair.target, &database))
            .with_context(|| format!("{workers} workers"))?;
    }
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("DROP DATABASE `{database}`"))?;
    }
    Ok(())
}

fn applied(pipeline: &Pipeline, workers: u64, random: &mut Random) -> Result<()> {
    let apply = || {
        let mut command = pipeline.command("apply");
        command.args(["--until", "now", "--workers", &workers.to_string()]);
        command
    };
    // One worker is the measure: nothing happens to it.
    for _ in 0..if workers == 1 { 0 } else { random.below(5) } {
        let running = pipeline.start_command(apply(), "apply")?;
        std::thread::sleep(Duration::from_millis(40 + random.below(400)));
        running.kill()?;
    }
    done(&mut apply())
}

#[test]
fn one_worker_and_many_end_alike() -> Result<()> {
    let first = seed();
    let minutes = std::env::var("BINFERRY_GROUPINGS").ok();
    let minutes: u64 = minutes.and_then(|n| n.parse().ok()).unwrap_or(0);
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let pair = pair()?;
    let mut histories = 0;
    while histories == 0 || Instant::now() < end {
        let seed = first.wrapping_add(histories);
        history(pair, seed).with_context(|| format!("BINFERRY_SEED={seed}"))?;
        histories += 1;
    }
    println!("{histories} histories");
    Ok(())
}
