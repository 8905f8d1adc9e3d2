//! Comparing while a load writes and a pipeline carries it.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, database, pair};

use super::{command, found, readers, told};
use crate::{
    binferry::Pipeline,
    load::{Load, prepare},
};

/// Rounds of comparing under a load whose rows come and go, change and change back: nothing is found but what is planted.
fn under_load(source: &MySql, target: &MySql, purpose: &str, rounds: u64) -> Result<()> {
    let database = database([source, target], purpose)?;
    prepare(source, target, &database)?;
    for server in [source, target] {
        server.sql(&format!(
            "USE `{database}`; CREATE TABLE still (id INT PRIMARY KEY, v INT); INSERT INTO still VALUES (1, 1), (2, 2)"
        ))?;
    }
    let pipeline = Pipeline::new(source, target, &database)?;
    readers(source, target, &database)?;
    let running = pipeline.start("run")?;
    crate::binferry::eventually("the stream is there", || {
        Ok(running.said()?.contains("applying"))
    })?;
    let load = Load::start(source, &database, 77);
    load.wait_for(20)?;
    let compare = || {
        let mut command = command(source, target, &database);
        found(command.args(["--stream", &pipeline.stream]))
    };
    for round in 0..rounds {
        let all = compare()?;
        ensure!(told(&all).is_empty(), "round {round}: {all:#?}");
        load.wait_for(5)?;
    }
    target.sql(&format!("UPDATE `{database}`.still SET v = 3 WHERE id = 2"))?;
    let all = compare()?;
    ensure!(told(&all) == ["still differs 2 v"], "{all:#?}");
    load.stop()?;
    running.stop()
}

#[test]
fn nothing_is_found_that_is_not_there() -> Result<()> {
    let pair = pair()?;
    // `make comparisons` asks for more.
    let rounds = std::env::var("BINFERRY_COMPARISONS").ok();
    let rounds = rounds.and_then(|text| text.parse().ok()).unwrap_or(20);
    under_load(&pair.source, &pair.target, "diff_load", rounds)
}
