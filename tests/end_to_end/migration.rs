//! The walk of docs/migrate.md, from the first check to the switch and back again, while applications write; every step that can be is killed
//! in its middle and begun again.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use binferry_servers::{MySql, database};

use crate::{
    binferry::{BY_DEFAULT, Pipeline, Running, TARGET_USER, done, eventually, executed, program},
    copied::{granted, settled},
    diff, judge,
    load::{Load, prepare},
};

/// A step that ends by itself.
fn step(pipeline: &Pipeline, command: impl Fn() -> Command) -> Result<()> {
    for milliseconds in [60, 250, 600] {
        let running = pipeline.start_command(command(), "step")?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        running.kill()?;
    }
    done(&mut command())
}

/// A stream that stays, killed a few times at its beginning.
fn stream(pipeline: &Pipeline) -> Result<Running> {
    for milliseconds in [300, 900, 1500] {
        let running = pipeline.start("run")?;
        std::thread::sleep(Duration::from_millis(milliseconds));
        running.kill()?;
    }
    pipeline.start("run")
}

fn differences(pipeline: &Pipeline) -> Result<Vec<String>> {
    let mut command = program("diff");
    command
        .args(["--source", &pipeline.source, "--target", &pipeline.target])
        .args(["--tables", &pipeline.tables, "--stream", &pipeline.stream])
        .arg("--json");
    Ok(diff::told(&diff::found(&mut command)?))
}

/// What was there is applied, and the two are equal; nobody writes to the source any more.
fn drained(pipeline: &Pipeline, running: Running) -> Result<()> {
    running.stop()?;
    step(pipeline, || {
        let mut command = pipeline.command("run");
        command.args(["--until", "now"]);
        command
    })?;
    let found = differences(pipeline)?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

#[test]
fn there_and_back() -> Result<()> {
    let (old, new) = (MySql::start()?, MySql::start()?);
    let database = database([&old, &new], "moved")?;
    prepare(&old, &new, &database)?;
    new.sql(&format!("DROP DATABASE `{database}`"))?;
    let forward = Pipeline {
        from: BY_DEFAULT.to_owned(),
        ddl: "apply",
        ..granted(&old, &new, &database)?
    };

    // 1, 2: check, copy and follow.
    done(&mut forward.command("check"))?;
    let load = Load::start(&old, &database, 81);
    load.wait_for(200)?;
    let running = stream(&forward)?;
    load.wait_for(200)?;
    settled(&old, &new, &database)?;
    // 3: equal, while it flows.
    let found = differences(&forward)?;
    ensure!(found.is_empty(), "{found:?}");
    // 4, 5: no writes any more, drain, equal.
    load.stop()?;
    old.sql("SET GLOBAL read_only = ON")?;
    drained(&forward, running)?;
    judge::equal(&old, &new, &database)?;

    // 6: the way back, before the first write on the new one.
    let back = Pipeline {
        from: "now".to_owned(),
        ddl: "apply",
        stream: format!("{database}_back"),
        ..granted(&new, &old, &database)?
    };
    old.sql(&format!(
        "GRANT CONNECTION_ADMIN ON *.* TO {TARGET_USER}@'%'"
    ))?;
    done(&mut back.command("check"))?;
    let returning = stream(&back)?;
    eventually("the way back is open", || {
        Ok(returning.said()?.contains("capturing"))
    })?;
    let before = executed(&new)?;
    // 7: applications write on the new one.
    let load = Load::start(&new, &database, 82);
    load.wait_for(200)?;
    back.wait_for(&executed(&new)?)?;
    let found = differences(&back)?;
    ensure!(found.is_empty(), "{found:?}");
    load.stop()?;
    let after = executed(&new)?;
    ensure!(before != after);

    // And back: nothing that was written on the new one is lost.
    new.sql("SET GLOBAL read_only = ON")?;
    drained(&back, returning)?;
    judge::equal(&new, &old, &database)?;
    judge::once(&new, &old, &database)?;
    // What came back did not come round again.
    ensure!(executed(&new)? == after, "an echo");
    old.sql("SET GLOBAL read_only = OFF")?;
    Load::start(&old, &database, 83).wait_for(20)
}
