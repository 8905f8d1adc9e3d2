//! A mirrored copy of a log: the same records, other offsets, as MirrorMaker makes.

use anyhow::{Result, ensure};
use binferry_servers::{Kafka, kafka, pair};

use super::{Seen, messages, write};
use crate::{
    binferry::{Pipeline, done, eventually, executed},
    faults::proved,
    judge,
    load::{Load, prepare},
};

/// Copies both topics; the copy's records come after `padding` offsets that hold nothing.
fn mirror(kafka: &Kafka, from: &Pipeline, to: &Pipeline, padding: usize) -> Result<()> {
    let keep = [("retention.ms", "-1")];
    kafka.create_topic(&to.topic(), 1, 1, &keep)?;
    let pad: Vec<Seen> = (0..padding)
        .map(|_| Seen {
            key: None,
            value: b"x".to_vec(),
        })
        .collect();
    write(&kafka.bootstrap(), &to.topic(), &pad)?;
    if padding > 0 {
        kafka.delete_records(&to.topic(), padding as i64)?;
    }
    let schemas = |pipeline: &Pipeline| pipeline.topic().replace(".log", ".schemas");
    kafka.create_topic(&schemas(to), 1, 1, &[("cleanup.policy", "compact")])?;
    for (from, to) in [(from.topic(), to.topic()), (schemas(from), schemas(to))] {
        let all = messages(&kafka.bootstrap(), &from)?;
        write(&kafka.bootstrap(), &to, &all)?;
    }
    Ok(())
}

/// The target moves to the copy, which is behind, at its place, or ahead, and a capture moves there too.
#[test]
fn a_target_moves_to_a_copy() -> Result<()> {
    let (pair, kafka) = (pair()?, kafka()?);
    let database = pair.database("k_mirror")?;
    prepare(&pair.source, &pair.target, &database)?;
    let original = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let load = Load::start(&pair.source, &database, 61);
    let capture = original.start("capture")?;
    eventually("it captures", || Ok(capture.said()?.contains("capturing")))?;
    load.wait_for(60)?;
    // Applied up to somewhere.
    let until = executed(&pair.source)?;
    done(original.command("apply").args(["--until", &until]))?;
    load.wait_for(60)?;
    load.stop()?;
    capture.stop()?;
    // Other tests write to the source too: what the copy holds is all up to here.
    let set = executed(&pair.source)?;
    done(original.command("capture").args(["--until", "now"]))?;

    let mut copy = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    copy.stream = original.stream.clone();
    mirror(kafka, &original, &copy, 137)?;
    let apply = copy.start("apply")?;
    done(
        copy.command("wait")
            .args(["--gtid", &set, "--timeout", "90s"]),
    )?;
    judge::equal(&pair.source, &pair.target, &database)?;
    judge::once(&pair.source, &pair.target, &database)?;
    let said = apply.said()?;
    apply.stop()?;
    ensure!(
        said.contains("goes on at another place"),
        "it does not say that it moves: {said}"
    );
    // The copy becomes the log: a capture goes on there.
    let load = Load::start(&pair.source, &database, 62);
    let running = copy.start("run")?;
    load.wait_for(60)?;
    load.stop()?;
    proved(&copy, &pair.source, &pair.target, &database)?;
    running.stop()
}
