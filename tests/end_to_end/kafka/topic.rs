//! What happens to a topic: foreign records, a smaller message limit, retention, deletion.

use std::time::Duration;

use anyhow::{Result, ensure};
use binferry_servers::{kafka, pair};

use super::{Seen, write};
use crate::{
    binferry::{Pipeline, done, eventually, executed, refused},
    faults::proved,
    judge,
    load::{Load, prepare},
};

/// Records of another program count as nothing, and are told.
#[test]
fn foreign_records_in_the_topic() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_foreign")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let running = pipeline.start("run")?;
    eventually("it captures", || Ok(running.said()?.contains("capturing")))?;
    let load = Load::start(&pair.source, &database, 51);
    for n in 0..5 {
        load.wait_for(20)?;
        let foreign = [
            Seen {
                key: Some(b"key".to_vec()),
                value: format!("secret of another program {n}").into_bytes(),
            },
            Seen {
                key: None,
                value: Vec::new(),
            },
        ];
        write(&kafka.bootstrap(), &pipeline.topic(), &foreign)?;
    }
    load.wait_for(20)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    let said = running.said()?;
    running.stop()?;
    ensure!(said.contains("another program"), "{said}");
    ensure!(!said.contains("secret"), "{said}");
    // One at the very end does not keep anybody from starting.
    write(
        &kafka.bootstrap(),
        &pipeline.topic(),
        &[Seen {
            key: None,
            value: b"x".to_vec(),
        }],
    )?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.ledger (what) VALUES ('after')"
    ))?;
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)
}

/// The topic's limit is lowered under a running capture: that is an error with its remedy, and the next start fits.
#[test]
fn a_message_is_too_large() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_large")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let mut capture = pipeline.start("capture")?;
    eventually("it captures", || Ok(capture.said()?.contains("capturing")))?;
    kafka.alter_topic(&pipeline.topic(), &[("max.message.bytes", "100000")])?;
    pair.source.sql(&format!(
        "USE `{database}`; SET SESSION cte_max_recursion_depth = 200000;
         INSERT INTO item (id, label) WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 40000)
         SELECT n, HEX(RANDOM_BYTES(16)) FROM s"
    ))?;
    let code = capture.wait(Duration::from_secs(60))?;
    let said = capture.said()?;
    ensure!(code == Some(2), "exit {code:?}: {said}");
    ensure!(said.contains("max.message.bytes"), "{said}");
    pipeline.catch_up()?;
    judge::equal(&pair.source, &pair.target, &database)
}

/// The topic is deleted under a running pipeline; then it is there again, empty, and filled by a new capture.
#[test]
fn the_topic_is_deleted_and_made_again() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_deleted")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let mut capture = pipeline.start("capture")?;
    eventually("it captures", || Ok(capture.said()?.contains("capturing")))?;
    let mut apply = pipeline.start("apply")?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.ledger (what) VALUES ('before')"
    ))?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    kafka.delete_topic(&pipeline.topic())?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.ledger (what) VALUES ('lost?')"
    ))?;
    for process in [&mut capture, &mut apply] {
        let code = process.wait(Duration::from_secs(120))?;
        let said = process.said()?;
        ensure!(code == Some(3), "exit {code:?}: {said}");
        ensure!(said.contains("was deleted"), "{said}");
    }
    ensure!(
        !kafka.topics()?.contains(&pipeline.topic()),
        "it came back by itself"
    );

    // Empty, while the target has progress.
    kafka.create_topic(&pipeline.topic(), 1, 1, &[("retention.ms", "-1")])?;
    let not_ours = ["log and progress do not match", "remedy"];
    refused(&mut pipeline.command("apply"), 2, &not_ours)?;
    // Filled anew, from now on: what came between would be lost.
    let mut anew = pipeline.command("capture");
    anew.args(["--until", "now"]);
    done(&mut anew)?;
    refused(&mut pipeline.command("apply"), 2, &not_ours)?;
    let rows = pair
        .target
        .value(&format!("SELECT COUNT(*) FROM `{database}`.ledger"))?;
    ensure!(rows == "1", "{rows} rows at the target");
    Ok(())
}

/// Retention has taken what a target still needs: it stops and names the transactions. A new target is refused too.
#[test]
fn retention_overtakes_a_target() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_expired")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let insert = |what: &str| {
        pair.source.sql(&format!(
            "INSERT INTO `{database}`.ledger (what) VALUES ('{what}')"
        ))
    };
    insert("applied")?;
    pipeline.catch_up()?;
    let capture = || done(pipeline.command("capture").args(["--until", "now"]));
    let before = executed(&pair.source)?;
    insert("expires")?;
    let missing = pair.source.value(&format!(
        "SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{before}')"
    ))?;
    capture()?;
    let (_, end) = kafka.offsets(&pipeline.topic())?;
    insert("stays")?;
    capture()?;
    // The checkpoint that the first of the two captures ended with stays.
    kafka.delete_records(&pipeline.topic(), end - 1)?;
    // Other tests write to the same source; this one's transaction is among what is missing.
    let said = refused(&mut pipeline.command("apply"), 3, &["remedy"])?;
    let told = said
        .split_once("have expired: ")
        .and_then(|(_, rest)| rest.lines().next())
        .unwrap_or_default();
    let named = pair
        .source
        .value(&format!("SELECT GTID_SUBSET('{missing}', '{told}')"))?;
    ensure!(named == "1", "{missing} is not told: {said}");
    // A target that has nothing yet.
    let stream = format!("{database}_2");
    let mut other = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    other.stream = stream;
    other.place = pipeline.place.clone();
    refused(&mut other.command("apply"), 3, &["have expired", "remedy"])?;
    Ok(())
}

/// Nothing at all is left: the log had a history, and nobody may take it for a new one.
#[test]
fn everything_has_expired() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_emptied")?;
    prepare(&pair.source, &pair.target, &database)?;
    let pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    pair.source.sql(&format!(
        "INSERT INTO `{database}`.ledger (what) VALUES ('gone')"
    ))?;
    pipeline.catch_up()?;
    let (_, end) = kafka.offsets(&pipeline.topic())?;
    kafka.delete_records(&pipeline.topic(), end)?;
    for command in ["capture", "apply", "status", "tail"] {
        refused(&mut pipeline.command(command), 3, &["expired", "remedy"])?;
    }
    Ok(())
}
