//! `make bench`: figures against limits and peers, as ratios in one run on the same binlog and the same machine.
//!
//! The load is sysbench's oltp_write_only, 4 tables of 100,000 rows, about a million row changes in all; what applies has others beside it
//! (`backlog`). Absolute figures of a shared machine mean little; the ratios are what docs/benchmarks.md states.
//!
//! Arguments: the names of the parts to run (capture, decode, payload, apply, detection, scaling, scrape, latency, copy, copy-load, diff, memory, payload-memory, kafka,
//! kafka-latency, kafka-bytes, kafka-memory, sink), all of them without one; and options ([`settings::USAGE`]).

mod apply;
mod backlog;
mod capture;
mod copy;
mod copy_load;
mod debezium;
mod decode;
mod detection;
mod diff;
mod kafka;
mod latency;
mod load;
mod memory;
mod payload;
mod process;
mod scaling;
mod scrape;
mod settings;
mod table;

use std::{alloc::System, path::PathBuf};

use anyhow::{Context, Result};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts, for the decoder; the programs that are timed have allocators of their own.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A line of the table.
#[derive(Debug)]
pub struct Figure {
    pub what: String,
    pub value: String,
}

fn main() -> Result<()> {
    let settings = settings::Settings::parse(std::env::args().skip(1))?;
    let wants = |part: &str| settings.wants(part);
    let program = binferry()?;
    let mut figures = Vec::new();
    if ["capture", "decode", "payload", "kafka", "kafka-bytes"]
        .into_iter()
        .any(wants)
    {
        let loaded = load::Loaded::new()?;
        figures.push(Figure {
            what: "the binlog".into(),
            value: format!(
                "{} transactions, {} row changes, {:.0} MB",
                loaded.transactions,
                loaded.rows,
                loaded.bytes as f64 / 1e6
            ),
        });
        if wants("capture") {
            figures.extend(capture::run(&program, &loaded)?);
        }
        if wants("decode") {
            figures.extend(decode::run(&loaded)?);
        }
        if wants("payload") {
            figures.extend(payload::rate(&program, &loaded)?);
        }
        if wants("kafka") {
            figures.extend(kafka::throughput::run(&program, &loaded)?);
        }
        if wants("kafka-bytes") {
            figures.extend(kafka::bytes::run(&program, &loaded)?);
        }
    }
    if wants("apply") {
        show(apply::run(&program, &settings)?);
    }
    if wants("detection") {
        show(detection::run(&program, &settings)?);
    }
    if wants("scaling") {
        show(scaling::run(&program, &settings)?);
    }
    if wants("scrape") {
        show(scrape::run(&program, &settings)?);
    }
    if wants("latency") {
        show(latency::run(&program, &settings)?);
    }
    if wants("copy") {
        show(copy::run(&program, &settings)?);
    }
    if wants("copy-load") {
        show(copy_load::run(&program, &settings)?);
    }
    if wants("diff") {
        show(diff::run(&program, &settings)?);
    }
    if wants("memory") {
        figures.extend(memory::embedded(&program)?);
    }
    if wants("payload-memory") {
        figures.extend(payload::large(&program)?);
    }
    if wants("sink") {
        show(kafka::sink::run(&program, &settings)?);
    }
    if wants("kafka-latency") {
        figures.extend(kafka::latency::run(&program)?);
    }
    if wants("kafka-memory") {
        figures.extend(memory::kafka(&program)?);
    }
    if !figures.is_empty() {
        println!("\n| what | figure |\n|---|---|");
    }
    for figure in figures {
        println!("| {} | {} |", figure.what, figure.value);
    }
    Ok(())
}

/// At once: what fails later takes nothing away.
fn show(tables: Vec<table::Table>) {
    for table in tables {
        println!("{table}");
    }
}

/// The program, built beside this one.
fn binferry() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("binferry");
    program
        .exists()
        .then_some(program)
        .context("no binferry beside this program; make bench builds both")
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
