//! `make bench`: figures against limits and peers, as ratios in one run on the same binlog and the same machine.
//!
//! The load is sysbench's oltp_write_only, 4 tables of 100,000 rows, about a million row changes in all. Absolute figures of a shared
//! machine mean little; the ratios are what docs/benchmarks.md states.
//!
//! Arguments: the names of the parts to run (capture, decode, payload, apply, latency, memory, payload-memory, kafka, kafka-latency, kafka-bytes, kafka-memory); all of them
//! without one.

mod apply;
mod capture;
mod debezium;
mod decode;
mod kafka;
mod latency;
mod load;
mod memory;
mod payload;
mod process;

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
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|w| w == part);
    let program = binferry()?;
    let mut figures = Vec::new();
    if [
        "capture",
        "decode",
        "payload",
        "apply",
        "kafka",
        "kafka-bytes",
    ]
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
        if wants("apply") {
            figures.extend(apply::run(&program, &loaded)?);
        }
        if wants("kafka") {
            figures.extend(kafka::throughput::run(&program, &loaded)?);
        }
        if wants("kafka-bytes") {
            figures.extend(kafka::bytes::run(&program, &loaded)?);
        }
    }
    if wants("latency") {
        figures.extend(latency::run(&program)?);
    }
    if wants("memory") {
        figures.extend(memory::embedded(&program)?);
    }
    if wants("payload-memory") {
        figures.extend(payload::large(&program)?);
    }
    if wants("kafka-latency") {
        figures.extend(kafka::latency::run(&program)?);
    }
    if wants("kafka-memory") {
        figures.extend(memory::kafka(&program)?);
    }
    println!("\n| what | figure |\n|---|---|");
    for figure in figures {
        println!("| {} | {} |", figure.what, figure.value);
    }
    Ok(())
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
