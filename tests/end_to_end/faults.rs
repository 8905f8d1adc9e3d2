//! Faults in the middle: everything ends with equal tables and each transaction applied once. `make soak` runs the same for longer.

use std::time::Duration;

use anyhow::{Result, ensure};
use binferry_servers::{CommitFault, MySql, Pair, Proxy, database, pair};

use crate::{
    binferry::{Pipeline, SOURCE_USER, TARGET_USER, eventually, executed, refused},
    judge,
    load::{Load, prepare},
};

/// The end-state check.
pub fn proved(pipeline: &Pipeline, source: &MySql, target: &MySql, database: &str) -> Result<()> {
    pipeline.wait_for(&executed(source)?)?;
    judge::equal(source, target, database)?;
    judge::once(source, target, database)
}

#[test]
fn killed_at_random_moments() -> Result<()> {
    let pair = pair()?;
    killed(&pair.source, &pair.target)
}

pub fn killed(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "killed")?;
    prepare(source, target, &database)?;
    let pipeline = Pipeline::new(source, target, &database)?;
    let load = Load::start(source, &database, 21);
    for n in 0..6u64 {
        let running = pipeline.start("run")?;
        std::thread::sleep(Duration::from_millis(150 + 170 * n));
        running.kill()?;
    }
    let running = pipeline.start("run")?;
    load.wait_for(50)?;
    load.stop()?;
    proved(&pipeline, source, target, &database)?;
    running.stop()
}

#[test]
fn capture_and_apply_are_killed_apart() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("apart")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let load = Load::start(&pair.source, &database, 22);
    let mut capture = pipeline.start("capture")?;
    eventually("the log is there", || {
        Ok(capture.said()?.contains("capturing"))
    })?;
    let mut apply = pipeline.start("apply")?;
    for n in 0..4u64 {
        std::thread::sleep(Duration::from_millis(200 + 90 * n));
        if n % 2 == 0 {
            capture.kill()?;
            capture = pipeline.start("capture")?;
        } else {
            apply.kill()?;
            apply = pipeline.start("apply")?;
        }
    }
    load.wait_for(50)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    capture.stop()?;
    apply.stop()
}

#[test]
fn servers_are_killed_and_restarted() -> Result<()> {
    let pair = Pair::start()?;
    let database = pair.database("servers")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let mut running = pipeline.start("run")?;
    let load = Load::start(&pair.source, &database, 23);
    load.wait_for(50)?;
    pair.source.kill()?;
    pair.source.start_again()?;
    load.wait_for(50)?;
    pair.target.kill()?;
    load.wait_for(20)?;
    pair.target.start_again()?;
    pair.target.restart()?;
    pair.source.restart()?;
    load.wait_for(50)?;
    load.stop()?;
    ensure!(running.running()?, "it has ended: {}", running.said()?);
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    running.stop()
}

#[test]
fn connections_break_and_stall_and_commits_lose_their_answer() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("network")?;
    prepare(&pair.source, &pair.target, &database)?;
    let (to_source, to_target) = (Proxy::to(&pair.source)?, Proxy::to(&pair.target)?);
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pipeline.source = to_source.url(SOURCE_USER);
    pipeline.target = to_target.url(TARGET_USER) + "/?tls=disabled";
    let running = pipeline.start("run")?;
    let load = Load::start(&pair.source, &database, 24);
    load.wait_for(30)?;
    for n in 1..=5 {
        to_target.fail_next_commit(CommitFault::LoseAnswer);
        eventually("a commit's answer is lost", || {
            Ok(to_target.commits_failed() >= n)
        })?;
        load.wait_for(10)?;
    }
    to_source.cut();
    load.wait_for(20)?;
    to_target.cut();
    load.wait_for(20)?;
    to_source.stall(true);
    std::thread::sleep(Duration::from_secs(2));
    to_source.stall(false);
    load.wait_for(20)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    running.stop()
}

#[test]
fn a_silent_source_is_noticed() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("silent")?;
    prepare(&pair.source, &pair.target, &database)?;
    let proxy = Proxy::to(&pair.source)?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    pipeline.source = proxy.url(SOURCE_USER);
    let running = pipeline.start("run")?;
    eventually("it captures", || Ok(running.said()?.contains("capturing")))?;
    proxy.stall(true);
    eventually("the silence is noticed", || {
        Ok(running.said()?.contains("sent nothing"))
    })?;
    proxy.cut();
    proxy.stall(false);
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.ledger (what) VALUES ('after')"
    ))?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    running.stop()
}

#[test]
fn a_paused_applier_never_takes_back() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("paused")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let capture = pipeline.start("capture")?;
    eventually("the log is there", || {
        Ok(capture.said()?.contains("capturing"))
    })?;
    let load = Load::start(&pair.source, &database, 25);
    let mut old = pipeline.start("apply")?;
    load.wait_for(100)?;
    old.signal("STOP")?;
    let new = pipeline.start_command(pipeline.command("apply"), "second")?;
    load.wait_for(100)?;
    pipeline.wait_for(&executed(&pair.source)?)?;
    old.signal("CONT")?;
    load.wait_for(50)?;
    ensure!(
        old.wait(Duration::from_secs(60))? == Some(2),
        "{}",
        old.said()?
    );
    ensure!(old.said()?.contains("taken over"), "{}", old.said()?);
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    new.stop()?;
    capture.stop()
}

#[test]
fn a_second_capture_is_refused_and_harmless() -> Result<()> {
    let pair = pair()?;
    let database = pair.database("second")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    let running = pipeline.start("run")?;
    eventually("it captures", || Ok(running.said()?.contains("capturing")))?;
    let load = Load::start(&pair.source, &database, 26);
    load.wait_for(20)?;
    refused(&mut pipeline.command("capture"), 2, &["in use"])?;
    load.wait_for(20)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    running.stop()
}
