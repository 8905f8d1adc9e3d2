//! The whole of the benchmark's binlog into Kafka, once by each side.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::Broker;
use crate::{
    debezium::{Artifacts, Debezium, Tuning},
    load::{Loaded, TABLES},
    process::{binferry, timed, while_running},
};

/// What one run took, in seconds and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub seconds: f64,
    pub peak: u64,
    pub cpu: f64,
    pub broker_cpu: f64,
    pub source_cpu: f64,
    /// Of the topics.
    pub bytes: u64,
}

/// Ours, its start and its stop included. `log` is what `--log` takes.
pub fn ours(program: &Path, loaded: &Loaded, broker: &Broker, log: &Log<'_>) -> Result<Run> {
    let mut command = binferry(program, "capture");
    command.args([
        "--source",
        &loaded.source.url("bench"),
        "--from",
        "earliest",
        "--until",
        "now",
        "--log",
    ]);
    match log {
        Log::Embedded(folder) => command.arg(folder),
        Log::Kafka { name, codec } => command
            .arg(broker.log(name))
            .args(["--kafka", &format!("compression.type={codec}")]),
    };
    let (timed, others) = while_running(&pids(loaded, broker)?, || timed(&mut command))?;
    let bytes = match log {
        Log::Embedded(_) => 0,
        Log::Kafka { name, .. } => {
            broker.bytes(&format!("{name}.log"))? + broker.bytes(&format!("{name}.schemas"))?
        }
    };
    Ok(Run {
        seconds: timed.seconds,
        peak: timed.peak_bytes,
        cpu: timed.cpu_seconds,
        broker_cpu: others[0],
        source_cpu: others[1],
        bytes,
    })
}

/// Where ours writes to.
#[derive(Debug, Clone, Copy)]
pub enum Log<'a> {
    Embedded(&'a Path),
    Kafka { name: &'a str, codec: &'a str },
}

/// The peer, from its first record's arrival to its last's; the start of Java and of the connector, some 8 s, is left out. Its CPU is counted
/// from when the connector, ready, is let go.
pub fn theirs(
    artifacts: &Artifacts,
    loaded: &Loaded,
    broker: &Broker,
    name: &str,
    tuning: Tuning<'_>,
) -> Result<Run> {
    let topics: Vec<String> = (1..=TABLES)
        .map(|n| format!("{name}.sbtest.sbtest{n}"))
        .collect();
    let mut debezium =
        Debezium::start(artifacts, &broker.bootstrap(), &loaded.source, name, tuning)?;
    let pid = debezium.pid();
    let mut all = pids(loaded, broker)?.to_vec();
    all.push(pid);
    let (seconds, cpu) = while_running(&all, || {
        debezium.resume()?;
        arrival(&mut debezium, loaded, broker, &topics)
    })?;
    let peak = binferry_servers::peak_memory(pid).context("Debezium is gone")?;
    let mut bytes = 0;
    for topic in &topics {
        bytes += broker.bytes(topic)?;
    }
    Ok(Run {
        seconds,
        peak,
        cpu: cpu[2],
        broker_cpu: cpu[0],
        source_cpu: cpu[1],
        bytes,
    })
}

/// Seconds from when the first records are there until all are.
fn arrival(
    debezium: &mut Debezium,
    loaded: &Loaded,
    broker: &Broker,
    topics: &[String],
) -> Result<f64> {
    let resumed = Instant::now();
    let mut first = None;
    loop {
        let mut there = 0;
        for topic in broker.existing(topics)? {
            there += broker.end(topic)?.unsigned_abs();
        }
        let now = Instant::now();
        let from = *first.get_or_insert(now);
        if there == 0 {
            first = None;
        }
        if there >= loaded.rows {
            ensure!(
                there == loaded.rows,
                "{there} records of {} row changes",
                loaded.rows
            );
            return Ok(now.duration_since(from).as_secs_f64());
        }
        debezium.check()?;
        ensure!(
            resumed.elapsed() < Duration::from_secs(600),
            "{there} of {} records within 10 minutes",
            loaded.rows
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The broker, the source.
fn pids(loaded: &Loaded, broker: &Broker) -> Result<[u32; 2]> {
    Ok([
        broker.pid()?,
        loaded.source.pid().context("the source is not ours")?,
    ])
}
