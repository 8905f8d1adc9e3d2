//! Catching up with more and more workers, on a target that is near and on ones that are far: a proxy in between holds every byte back for so
//! many milliseconds in each direction, with as many in flight as come.

use std::{path::Path, time::Duration};

use anyhow::Result;
use binferry_servers::Proxy;

use crate::{
    backlog::{Backlog, Durability, Workload},
    settings::Settings,
    table::Table,
};

/// Enough that a start over a long way, which has many round trips, does not count for much.
const TRANSACTIONS: u64 = 100_000;
const NEAR: [u32; 3] = [1, 2, 4];
const FAR: [u32; 5] = [1, 2, 4, 8, 16];

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for workload in settings.loads(&[Workload::WriteOnly]) {
        let transactions = settings.transactions.unwrap_or(TRANSACTIONS);
        let backlog = Backlog::new(program, *workload, Some(transactions))?;
        let mut head = vec!["to the target, each way".to_owned()];
        head.extend(FAR.iter().map(|n| format!("{n} workers")));
        head.push("best, against the best at 0 ms".into());
        let mut table = Table::new(
            format!(
                "`binferry apply` by workers and distance, row changes a second (median of {}): {}; {} transactions, {} row changes",
                settings.rounds,
                workload.what(),
                backlog.transactions,
                backlog.rows
            ),
            head,
        );
        let mut near = None;
        for delay in &settings.delays {
            let workers: &[u32] = match delay {
                0 => &NEAR,
                _ => &FAR,
            };
            let mut row = vec![format!("{delay} ms")];
            let mut best = 0.0f64;
            for workers in workers {
                let rate = rate(program, settings, &backlog, *delay, *workers)?;
                best = best.max(rate);
                row.push(format!("{:.1} k/s", rate / 1e3));
            }
            row.resize(FAR.len() + 1, "".into());
            let near = *near.get_or_insert(best);
            row.push(format!("{:.0} %", best / near * 100.0));
            table.row(row);
        }
        tables.push(table);
    }
    Ok(tables)
}

fn rate(
    program: &Path,
    settings: &Settings,
    backlog: &Backlog,
    delay: u64,
    workers: u32,
) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..settings.rounds {
        let target = backlog.target(Durability::Durable)?;
        // In between at 0 ms too: it takes its part of the machine.
        let proxy = Proxy::to(&target)?;
        proxy.delay(Duration::from_millis(delay), Duration::from_millis(delay));
        let timed = backlog.apply(program, &proxy.url("bench"), Some(workers))?;
        backlog.equal(&target)?;
        eprintln!(
            "scaling: {}, {delay} ms, {workers} workers: {:.2} s",
            backlog.workload.name(),
            timed.seconds
        );
        rates.push(backlog.rows as f64 / timed.seconds);
    }
    Ok(crate::median(rates))
}
