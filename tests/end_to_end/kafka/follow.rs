//! A good day with the log in Kafka.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use binferry_servers::{kafka, pair};

use crate::{
    binferry::{Pipeline, done, eventually, executed, output},
    faults::proved,
    judge,
    load::{Load, prepare},
};

#[test]
fn two_processes_share_a_log() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_two")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let capture = pipeline.start("capture")?;
    eventually("the log is there", || {
        Ok(output(&mut pipeline.command("status"))?.status.success())
    })?;
    let apply = pipeline.start("apply")?;
    let load = Load::start(&pair.source, &database, 41);
    load.wait_for(200)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    let status = output(
        pipeline
            .command("status")
            .args(["--json", "--target", &pipeline.target]),
    )?;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    ensure!(status["target"]["behind_transactions"] == 0, "{status}");
    capture.stop()?;
    apply.stop()
}

#[test]
fn it_is_killed_at_random_moments() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_killed")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let load = Load::start(&pair.source, &database, 42);
    for n in 0..6u64 {
        let running = pipeline.start("run")?;
        std::thread::sleep(std::time::Duration::from_millis(900 + 170 * n));
        running.kill()?;
    }
    let running = pipeline.start("run")?;
    load.wait_for(50)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    running.stop()
}

/// The topic takes messages of 100 kB: a transaction is many chunks, and one row alone is larger than a message.
#[test]
fn chunks_and_rows_fit_a_small_message_limit() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_small")?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("USE `{database}`; CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, pad TEXT); CREATE TABLE big (id INT PRIMARY KEY, b LONGBLOB)"))?;
    }
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let limit = [("max.message.bytes", "100000"), ("retention.ms", "-1")];
    kafka.create_topic(&pipeline.topic(), 1, 1, &limit)?;
    pair.source.sql(&format!(
        "USE `{database}`; SET SESSION cte_max_recursion_depth = 200000;
         BEGIN;
         INSERT INTO t WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000) SELECT n, n, HEX(RANDOM_BYTES(50)) FROM s;
         UPDATE t SET u = -u;
         INSERT INTO big VALUES (1, CONCAT(RANDOM_BYTES(1000), REPEAT(RANDOM_BYTES(1000), 3000))), (2, 'small');
         UPDATE big SET b = CONCAT(b, b) WHERE id = 1;
         COMMIT"
    ))?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)?;
    ensure!(pipeline.tail()?.len() == 40_003);
    // Nothing is decoded on the way to this count: a stock client sees what fits.
    let records = super::messages(&kafka.bootstrap(), &pipeline.topic())?;
    ensure!(records.len() > 100, "{} records", records.len());
    ensure!(records.iter().all(|record| record.value.len() < 100_000));
    Ok(())
}

/// The program of docs/kafka, with stock libraries only, sees what `tail` sees.
#[test]
fn a_python_program_reads_every_change() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_python")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let load = Load::start(&pair.source, &database, 43);
    // Two incarnations, the first of which ends in the middle.
    let first = pipeline.start("capture")?;
    eventually("it captures", || Ok(first.said()?.contains("capturing")))?;
    load.wait_for(100)?;
    first.kill()?;
    load.wait_for(50)?;
    load.stop()?;
    done(pipeline.command("capture").args(["--until", "now"]))?;

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = pipeline.place.clone().unwrap_or_default();
    let (bootstrap, name) = place
        .trim_start_matches("kafka://")
        .split_once('/')
        .unwrap_or_default();
    let python = output(
        Command::new(root.join("schemas/tests/strangers/python"))
            .arg(root.join("docs/examples/read_topic.py"))
            .args(["--end", bootstrap, name]),
    )?;
    ensure!(
        python.status.success(),
        "{}",
        String::from_utf8_lossy(&python.stderr)
    );
    let theirs: Vec<serde_json::Value> = String::from_utf8(python.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let ours = pipeline.tail()?;
    ensure!(ours.len() > 200, "{} changes", ours.len());
    ensure!(
        theirs.len() == ours.len(),
        "{} changes by the program, {} by tail",
        theirs.len(),
        ours.len()
    );
    for (theirs, ours) in theirs.iter().zip(&ours) {
        ensure!(theirs == ours, "the program: {theirs}; tail: {ours}");
    }
    Ok(())
}

/// `tail` follows: what is committed while it runs comes out of it.
#[test]
fn tail_follows() -> Result<()> {
    use std::io::{BufRead, BufReader};
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_tail")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let capture = pipeline.start("capture")?;
    eventually("it captures", || Ok(capture.said()?.contains("capturing")))?;
    let mut tail = pipeline
        .command("tail")
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let lines = tail.stdout.take().map(BufReader::new);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines
            .into_iter()
            .flat_map(BufRead::lines)
            .map_while(Result::ok)
        {
            let _ = sender.send(line);
        }
    });
    for n in 1..=3 {
        pair.source.sql(&format!(
            "INSERT INTO `{database}`.ledger (what) VALUES ('line {n}')"
        ))?;
        let line = receiver.recv_timeout(std::time::Duration::from_secs(60));
        let told = line.unwrap_or_default();
        ensure!(told.contains(&format!("line {n}")), "{told}");
    }
    tail.kill()?;
    tail.wait()?;
    ensure!(!executed(&pair.source)?.is_empty());
    capture.stop()
}
