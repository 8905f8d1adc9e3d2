//! What detection costs: `binferry apply` beside a writer that checks nothing.
//!
//! That writer (`blind`) is the limit, and no applier: it takes the same changes from the same log, folds them per row, and writes multi-row
//! upserts and deletes by key on several connections, each with its share of the rows. It tears transactions apart, would overwrite whatever it
//! finds, and leaves the target wrong where a second unique key moves. The product has no such path.
//!
//! `--compare key` tells the before images apart from the rest: order, atomic transactions, progress.

mod blind;

use std::path::Path;

use anyhow::Result;

use crate::{
    backlog::{Backlog, Durability, Workload, apply},
    median,
    process::timed,
    settings::Settings,
    table::Table,
};

const CONNECTIONS: [usize; 3] = [1, 2, 4];

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let mut table = Table::new(
        "Detection: `binferry apply` against blind upserts of the same changes (durable)",
        [
            "load",
            "row changes",
            "blind upserts (connections)",
            "apply",
            "apply / blind, median of pairs",
            "apply / apply --compare key, median of pairs",
        ],
    );
    for workload in settings.loads(&[Workload::WriteOnly]) {
        let backlog = Backlog::new(program, *workload, settings.transactions)?;
        let rate = |seconds: f64| backlog.rows as f64 / seconds / 1e3;
        let mut tried = Vec::new();
        for connections in CONNECTIONS {
            let seconds = blind(&backlog, connections)?;
            eprintln!("detection: blind, {connections} connections: {seconds:.2} s");
            tried.push((connections, seconds));
        }
        let best = tried.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
        let best = best.map_or(1, |(connections, _)| connections);
        let (mut limit, mut ours, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=settings.rounds {
            let without = blind(&backlog, best)?;
            let [with, key] = ["image", "key"].map(|compare| {
                let target = backlog.target(Durability::Durable)?;
                let url = target.url("bench");
                let mut command = apply(program, &url, &backlog.log(), settings.workers);
                let timed = timed(command.args(["--compare", compare]))?;
                backlog.equal(&target)?;
                anyhow::Ok(timed.seconds)
            });
            let (with, key) = (with?, key?);
            eprintln!(
                "detection: round {round}: blind {without:.2} s, apply {with:.2} s, --compare key {key:.2} s"
            );
            limit.push(without);
            ours.push(with);
            keys.push(key);
        }
        let ratios = |of: &[f64]| of.iter().zip(&ours).map(|(a, b)| a / b).collect();
        let tried: Vec<String> = tried
            .iter()
            .map(|(n, seconds)| format!("{n}: {:.1}", rate(*seconds)))
            .collect();
        table.row([
            workload.what().to_owned(),
            backlog.rows.to_string(),
            format!(
                "{:.1} k/s ({best}; {} k/s)",
                rate(median(limit.clone())),
                tried.join(", ")
            ),
            format!("{:.1} k/s", rate(median(ours.clone()))),
            format!("**{:.2}**", median(ratios(&limit))),
            format!("**{:.2}**", median(ratios(&keys))),
        ]);
    }
    Ok(vec![table])
}

/// Seconds, and the end is checked.
fn blind(backlog: &Backlog, connections: usize) -> Result<f64> {
    let target = backlog.target(Durability::Durable)?;
    let seconds = blind::write(&backlog.log(), backlog.fill(), &target.opts(), connections)?;
    backlog.equal(&target)?;
    Ok(seconds)
}
