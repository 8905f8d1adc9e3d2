//! Conflicts planted while commits lose their answers, and while traffic flows and the applier is killed: each is found, journaled once, and none is found that is not there.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use binferry_servers::{CommitFault, MySql, Proxy, Release, database, mariadb, pair};

use super::{journal, of_table};
use crate::{
    binferry::{Pipeline, TARGET_USER, executed},
    faults, judge,
    load::{Load, prepare},
};

const ROUNDS: u32 = 36;
/// In the first ones it is quiet, and the target's commits fail; then comes the load, and the kills.
const QUIET: u32 = 12;

#[test]
fn planted_while_it_is_killed() -> Result<()> {
    let pair = pair()?;
    killed(&pair.source, &pair.target)
}

#[test]
fn planted_while_it_is_killed_on_mariadb() -> Result<()> {
    killed(&pair()?.source, mariadb(Release::MariaDb11_8)?)
}

fn killed(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "planted")?;
    prepare(source, target, &database)?;
    for server in [source, target] {
        server.sql(&format!(
            "CREATE TABLE `{database}`.p (id INT PRIMARY KEY, u VARCHAR(20), a INT, UNIQUE KEY by_u (u))"
        ))?;
    }
    let proxy = Proxy::to(target)?;
    let mut pipeline = Pipeline::new(source, target, &database)?;
    pipeline.target = proxy.url(TARGET_USER) + "/?tls=disabled";
    let start = || {
        let mut command = pipeline.command("run");
        command.args(["--on-conflict", "*.p:source_wins"]);
        pipeline.start_command(command, "run")
    };
    let mut running = start()?;
    let rows: Vec<String> = (0..ROUNDS).map(|n| format!("({n}, 'u{n}', 0)")).collect();
    source.sql(&format!(
        "INSERT INTO `{database}`.p VALUES {}",
        rows.join(",")
    ))?;
    pipeline.wait_for(&executed(source)?)?;
    let mut load = None;
    let mut expected: HashMap<u32, Vec<&str>> = HashMap::new();
    for n in 0..ROUNDS {
        let (planted, change, kinds) = match n % 6 {
            0 => (
                format!("DELETE FROM p WHERE id = {n}"),
                format!("UPDATE p SET a = 1 WHERE id = {n}"),
                vec!["row_missing inserted"],
            ),
            1 => (
                format!("UPDATE p SET a = 7 WHERE id = {n}"),
                format!("UPDATE p SET a = 1 WHERE id = {n}"),
                vec!["row_differs overwritten"],
            ),
            2 => (
                format!("INSERT INTO p VALUES (1000 + {n}, 'target', {n})"),
                format!("INSERT INTO p VALUES (1000 + {n}, 'source{n}', {n})"),
                vec!["row_exists overwritten"],
            ),
            3 => (
                format!("INSERT INTO p VALUES (2000 + {n}, 'V{n}', {n})"),
                format!("INSERT INTO p VALUES (1000 + {n}, 'v{n}', {n})"),
                vec!["unique_key deleted"],
            ),
            4 => (
                format!("DELETE FROM p WHERE id = {n}"),
                format!("DELETE FROM p WHERE id = {n}"),
                vec!["row_missing nothing"],
            ),
            _ => (
                format!("INSERT INTO p VALUES (1000 + {n}, 'w', {n}), (2000 + {n}, 'v{n}', {n})"),
                format!("UPDATE p SET id = 1000 + {n}, u = 'V{n}' WHERE id = {n}"),
                vec!["unique_key deleted", "unique_key deleted"],
            ),
        };
        target.sql(&format!("USE `{database}`; {planted}"))?;
        if n < QUIET {
            proxy.fail_next_commit(match n % 2 {
                0 => CommitFault::LoseAnswer,
                _ => CommitFault::LoseRequest,
            });
        }
        if n == QUIET {
            let started = load.insert(Load::start(source, &database, 61));
            started.wait_for(20)?;
        }
        // Beside changes that fit, in one transaction.
        source.sql(&format!(
            "USE `{database}`; BEGIN; INSERT INTO ledger (what) VALUES ('a{n}'); {change}; INSERT INTO ledger (what) VALUES ('b{n}'); COMMIT"
        ))?;
        expected.insert(n, kinds);
        if n % 6 == 2 || n < QUIET {
            // `target` and `w` are unique: it has to be through before the next one is planted.
            pipeline.wait_for(&executed(source)?)?;
        }
        if n < QUIET {
            continue;
        }
        if n % 6 == 5 {
            pipeline.wait_for(&executed(source)?)?;
            std::thread::sleep(Duration::from_millis(u64::from(n) * 7 % 40));
        } else if n % 6 == 4 || n % 18 == 7 {
            std::thread::sleep(Duration::from_millis(u64::from(n) * 13 % 60));
            running.kill()?;
            running = start()?;
        }
    }
    if let Some(load) = load {
        load.stop()?;
    }
    let failed = proxy.commits_failed();
    ensure!(
        failed >= u64::from(QUIET / 2),
        "only {failed} commits failed"
    );
    faults::proved(&pipeline, source, target, &database)?;
    running.stop()?;
    let journal = journal(&pipeline)?;
    // By the transaction, which tells the round.
    let lines = pipeline.tail()?;
    let mut found: HashMap<u32, Vec<String>> = HashMap::new();
    for row in &journal {
        let round = lines.iter().find_map(|line| {
            let what = line["after"]["what"].as_str()?;
            let round = what.strip_prefix('a')?.parse::<u32>().ok()?;
            (line["gtid"] == row["gtid"]).then_some(round)
        });
        let told = format!(
            "{} {}",
            row["kind"].as_str().unwrap_or_default(),
            row["outcome"].as_str().unwrap_or_default()
        );
        found
            .entry(round.with_context(|| format!("not planted: {row}"))?)
            .or_default()
            .push(told);
        ensure!(row["index"] == 1, "{row}");
    }
    for (round, kinds) in expected {
        let found = found.remove(&round).unwrap_or_default();
        ensure!(found == kinds, "round {round}: {found:?}, not {kinds:?}");
    }
    ensure!(of_table(&journal, "p").len() == journal.len());
    judge::equal(source, target, &database)
}
