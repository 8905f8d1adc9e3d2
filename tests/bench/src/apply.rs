//! Catching up on the same binlog: `binferry apply` beside a native replica with its best number of workers, for each load, with the same
//! durability on both.

use std::path::Path;

use anyhow::Result;

use crate::{
    backlog::{self, Backlog, Durability, Workload},
    median,
    process::{Timed, timed},
    settings::Settings,
    table::Table,
};

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let mut replicas: Vec<String> = vec!["load".into(), "durability".into()];
    replicas.extend(
        settings
            .replica_workers
            .iter()
            .map(|n| format!("{n} workers")),
    );
    let mut replicas = Table::new(
        "A native replica catching up, row changes a second, by its number of workers (one run each)",
        replicas,
    );
    let mut ratios = Table::new(
        "`binferry apply` (before images checked) against a native replica with its best number of workers",
        [
            "load",
            "durability",
            "transactions, row changes",
            "replica (workers)",
            "apply",
            "ratio, median of pairs",
            "apply: CPU s per million rows, peak memory",
        ],
    );
    for workload in settings.loads(&Workload::ALL) {
        let backlog = Backlog::new(program, *workload, settings.transactions)?;
        for durability in &settings.durability {
            let side = side(program, settings, &backlog, *durability)?;
            let rate = |seconds: f64| format!("{:.1} k/s", backlog.rows as f64 / seconds / 1e3);
            let (what, durability) = (workload.what(), durability.name());
            let mut row = vec![what.to_owned(), durability.to_owned()];
            row.extend(side.tried.iter().map(|(_, seconds)| rate(*seconds)));
            replicas.row(row);
            ratios.row([
                what.to_owned(),
                durability.to_owned(),
                format!("{}, {}", backlog.transactions, backlog.rows),
                format!("{} ({})", rate(median(side.replica.clone())), side.best),
                rate(median(side.ours.iter().map(|t| t.seconds).collect())),
                format!("**{:.1} x**", side.ratio()),
                format!(
                    "{:.2}, {} MiB",
                    median(side.ours.iter().map(|t| t.cpu_seconds).collect()) / backlog.rows as f64
                        * 1e6,
                    side.ours.iter().map(|t| t.peak_bytes).max().unwrap_or(0) >> 20
                ),
            ]);
        }
    }
    Ok(vec![replicas, ratios])
}

/// What one load at one durability took, in seconds.
#[derive(Debug)]
struct Side {
    /// By the replica's workers.
    tried: Vec<(u32, f64)>,
    best: u32,
    /// With the best number of workers.
    replica: Vec<f64>,
    ours: Vec<Timed>,
}

impl Side {
    fn ratio(&self) -> f64 {
        let pairs = self.replica.iter().zip(&self.ours);
        median(pairs.map(|(theirs, ours)| theirs / ours.seconds).collect())
    }
}

/// The replica with each number of workers, then pairs with the best one, of which the first is the best of those tried.
fn side(
    program: &Path,
    settings: &Settings,
    backlog: &Backlog,
    durability: Durability,
) -> Result<Side> {
    let name = format!("{}, {}", backlog.workload.name(), durability.name());
    let mut tried = Vec::new();
    for workers in &settings.replica_workers {
        let seconds = backlog.replicate(durability, *workers)?;
        eprintln!("apply: {name}: replica, {workers} workers: {seconds:.1} s");
        tried.push((*workers, seconds));
    }
    let (best, first) = tried
        .iter()
        .copied()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((4, f64::NAN));
    let (mut replica, mut ours) = (Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        let theirs = match (round, first.is_nan()) {
            (1, false) => first,
            _ => backlog.replicate(durability, best)?,
        };
        let target = backlog.target(durability)?;
        let url = target.url("bench");
        let mut command = backlog::apply(program, &url, &backlog.log(), settings.workers);
        if settings.preserve {
            command.args(["--gtid", "preserve"]);
        }
        let timed = timed(&mut command)?;
        backlog.equal(&target)?;
        eprintln!(
            "apply: {name}: round {round}: replica {theirs:.1} s, apply {:.2} s",
            timed.seconds
        );
        replica.push(theirs);
        ours.push(timed);
    }
    Ok(Side {
        tried,
        best,
        replica,
        ours,
    })
}
