//! Bytes of the topics for each row change: ours beside Debezium's JSON and Avro, by codec.

use std::path::Path;

use anyhow::Result;

use super::{
    Broker,
    catch_up::{Log, ours, theirs},
};
use crate::{
    Figure,
    debezium::{Artifacts, Registry, Tuning},
    load::Loaded,
};

pub fn run(program: &Path, loaded: &Loaded) -> Result<Vec<Figure>> {
    let artifacts = Artifacts::fetch()?;
    let broker = Broker::start()?;
    let registry = Registry::start(&artifacts)?;
    let mut figures = Vec::new();
    let mut push = |what: String, bytes: u64| {
        figures.push(Figure {
            what,
            value: format!(
                "{:.0} bytes per row change, {:.0} MB",
                bytes as f64 / loaded.rows as f64,
                bytes as f64 / 1e6
            ),
        });
    };
    for codec in ["none", "lz4", "zstd"] {
        let name = format!("ours-{codec}");
        let run = ours(program, loaded, &broker, &Log::Kafka { name: &name, codec })?;
        push(format!("topic of capture, {codec}"), run.bytes);
    }
    for (format, avro) in [("JSON", None), ("Avro", Some(&registry))] {
        for codec in ["lz4", "zstd"] {
            eprintln!("kafka-bytes: Debezium, {format}, {codec}");
            let name = format!("peer-{format}-{codec}");
            let tuning = Tuning::Throughput { codec, avro };
            let run = theirs(&artifacts, loaded, &broker, &name, tuning)?;
            push(format!("topics of Debezium, {format}, {codec}"), run.bytes);
        }
    }
    Ok(figures)
}
