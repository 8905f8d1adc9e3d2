//! Capture to Kafka beside capture to the embedded log, and beside Debezium, of the same binlog into the same broker.

use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use super::{
    Broker,
    catch_up::{Log, Run, ours, theirs},
};
use crate::{
    Figure,
    debezium::{Artifacts, Tuning, version},
    load::{Loaded, TABLES},
    median,
};

/// Of ours; the peer, which takes half a minute, has the first few.
const ROUNDS: usize = 5;
const PEER_ROUNDS: usize = 3;

pub fn run(program: &Path, loaded: &Loaded) -> Result<Vec<Figure>> {
    let artifacts = Artifacts::fetch()?;
    let broker = Broker::start()?;
    let (mut embedded, mut zstd, mut lz4, mut debezium) = (vec![], vec![], vec![], vec![]);
    // The JVM compiles what it meets often: neither side is to be the one that warms it up.
    kafka(program, loaded, &broker, "warm", "lz4")?;
    for round in 1..=ROUNDS {
        eprintln!("kafka: round {round} of {ROUNDS}");
        let folder = TempDir::new()?;
        let log = folder.path().join("log");
        embedded.push(ours(program, loaded, &broker, &Log::Embedded(&log))?);
        zstd.push(kafka(program, loaded, &broker, "ours", "zstd")?);
        lz4.push(kafka(program, loaded, &broker, "ours", "lz4")?);
        if round <= PEER_ROUNDS {
            let name = format!("peer{round}");
            let tuning = Tuning::Throughput {
                codec: "lz4",
                avro: None,
            };
            debezium.push(theirs(&artifacts, loaded, &broker, &name, tuning)?);
            for n in 1..=TABLES {
                broker.delete(&format!("{name}.sbtest.sbtest{n}"))?;
            }
        }
    }
    let peer = format!(
        "Debezium {} to Kafka: JSON, lz4, tuned; first record to last",
        version().unwrap_or_default()
    );
    let rows = loaded.rows as f64;
    let sides = [
        (
            "capture to the embedded log; start and stop included",
            &embedded,
        ),
        (
            "capture to Kafka, zstd, acks=all; start and stop included",
            &zstd,
        ),
        (
            "capture to Kafka, lz4, acks=all; start and stop included",
            &lz4,
        ),
        (peer.as_str(), &debezium),
    ];
    let mut figures: Vec<Figure> = sides
        .iter()
        .map(|(what, runs)| side(what, runs, rows))
        .collect();
    let mut ratio = |what: &str, slower: &[Run], faster: &[Run]| {
        let pairs = slower.iter().zip(faster);
        figures.push(Figure {
            what: format!("{what}, pair by pair"),
            value: format!(
                "{:.2} x",
                median(pairs.map(|(s, f)| s.seconds / f.seconds).collect())
            ),
        });
    };
    ratio(
        "capture to Kafka (zstd) against the embedded log",
        &embedded,
        &zstd,
    );
    ratio(
        "capture to Kafka (lz4) against the embedded log",
        &embedded,
        &lz4,
    );
    ratio("capture to Kafka (zstd) against Debezium", &debezium, &zstd);
    ratio("capture to Kafka (lz4) against Debezium", &debezium, &lz4);
    figures.push(Figure {
        what: "the broker: peak memory".into(),
        value: format!("{} MiB", broker.peak_memory() >> 20),
    });
    Ok(figures)
}

/// Into a log that is new, and goes again.
fn kafka(program: &Path, loaded: &Loaded, broker: &Broker, name: &str, codec: &str) -> Result<Run> {
    let run = ours(program, loaded, broker, &Log::Kafka { name, codec })?;
    for part in ["log", "schemas"] {
        broker.delete(&format!("{name}.{part}"))?;
    }
    Ok(run)
}

fn side(what: &str, runs: &[Run], rows: f64) -> Figure {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let per_million = |figure| of(figure) / rows * 1e6;
    let seconds = of(|r| r.seconds);
    Figure {
        what: what.into(),
        value: format!(
            "{seconds:.2} s, {:.0} k rows/s; CPU seconds per million rows: itself {:.2}, broker {:.2}, source {:.2}; peak memory {} MiB",
            rows / seconds / 1e3,
            per_million(|r| r.cpu),
            per_million(|r| r.broker_cpu),
            per_million(|r| r.source_cpu),
            runs.iter().map(|r| r.peak).max().unwrap_or(0) >> 20
        ),
    }
}
