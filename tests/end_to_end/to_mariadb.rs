//! From MySQL to MariaDB: the same tables, the same rows, through kills of the program and of the target.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, database, mariadb, pair};

use crate::{
    binferry::{Pipeline, done, executed, output, refused},
    faults, judge,
    load::{Load, prepare},
    types,
};

fn target() -> Result<&'static MySql> {
    Ok(mariadb(Release::MariaDb11_8)?)
}

#[test]
fn every_type_at_its_extremes() -> Result<()> {
    types::every_type(&pair()?.source, target()?)
}

#[test]
fn odd_tables() -> Result<()> {
    types::odd(&pair()?.source, target()?)
}

#[test]
fn killed_at_random_moments() -> Result<()> {
    faults::killed(&pair()?.source, target()?)
}

/// The oldest line that is taken, itself killed in the middle.
#[test]
fn the_target_is_killed() -> Result<()> {
    let source = &pair()?.source;
    let target = MySql::builder().release(Release::MariaDb10_11).start()?;
    let database = database([source, &target], "target_killed")?;
    prepare(source, &target, &database)?;
    let pipeline = Pipeline::new(source, &target, &database)?;
    target.sql("SET GLOBAL binlog_format = 'STATEMENT'")?;
    refused(&mut pipeline.command("check"), 1, &["binlog_format = ROW"])?;
    target.sql("SET GLOBAL binlog_format = 'ROW'")?;
    let running = pipeline.start("run")?;
    let load = Load::start(source, &database, 31);
    load.wait_for(50)?;
    for _ in 0..2 {
        target.kill()?;
        load.wait_for(20)?;
        target.start_again()?;
        load.wait_for(20)?;
    }
    load.stop()?;
    faults::proved(&pipeline, source, &target, &database)?;
    running.stop()
}

#[test]
fn the_other_commands_know_it() -> Result<()> {
    let (source, target) = (&pair()?.source, target()?);
    let database = database([source, target], "commands")?;
    prepare(source, target, &database)?;
    let pipeline = Pipeline::new(source, target, &database)?;
    let check = output(&mut pipeline.command("check"))?;
    let said = String::from_utf8(check.stdout)?;
    ensure!(
        check.status.success() && said.contains("ready to run"),
        "{said}{}",
        String::from_utf8_lossy(&check.stderr)
    );
    source.sql(&format!(
        "INSERT INTO `{database}`.item (id, code) VALUES (1, 1), (2, 2)"
    ))?;
    // Others write on the source as well: what it has after the insert, and before all is carried.
    let set = executed(source)?;
    pipeline.catch_up()?;
    done(
        pipeline
            .command("wait")
            .args(["--gtid", &set, "--timeout", "30s"]),
    )?;
    let status = output(
        pipeline
            .command("status")
            .args(["--target", &pipeline.target, "--json"]),
    )?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    ensure!(
        status["target"]["paired"] == true && status["target"]["behind_transactions"] == 0,
        "{status}"
    );
    judge::equal(source, target, &database)
}
