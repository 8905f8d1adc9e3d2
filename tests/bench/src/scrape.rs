//! What `--http` costs: the same backlog applied with metrics that are scraped each second, and without, in turns.

use std::{
    net::TcpListener,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    backlog::{Backlog, Durability, Workload, apply},
    median,
    process::{Timed, timed},
    settings::Settings,
    table::Table,
};

const EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether the run has ended.
const LOOK: Duration = Duration::from_millis(20);

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let mut table = Table::new(
        "`binferry apply` with `--http`, scraped each second, against the same without",
        [
            "load",
            "without",
            "scraped",
            "time, median of pairs",
            "CPU time, median of pairs",
        ],
    );
    for workload in settings.loads(&[Workload::WriteOnly]) {
        let backlog = Backlog::new(program, *workload, settings.transactions)?;
        let (mut plain, mut scraped) = (Vec::new(), Vec::new());
        for round in 1..=settings.rounds {
            plain.push(once(program, settings, &backlog, false)?);
            scraped.push(once(program, settings, &backlog, true)?);
            eprintln!("scrape: {}: round {round}", workload.name());
        }
        let ratio = |of: fn(&Timed) -> f64| {
            let pairs = scraped.iter().zip(&plain);
            let ratios = pairs.map(|(with, without)| of(with) / of(without));
            format!("{:.3} x", median(ratios.collect()))
        };
        let rate = |side: &[Timed]| {
            let seconds = median(side.iter().map(|timed| timed.seconds).collect());
            format!("{:.1} k/s", backlog.rows as f64 / seconds / 1e3)
        };
        table.row([
            workload.what().to_owned(),
            rate(&plain),
            rate(&scraped),
            ratio(|timed| timed.seconds),
            ratio(|timed| timed.cpu_seconds),
        ]);
    }
    Ok(vec![table])
}

fn once(program: &Path, settings: &Settings, backlog: &Backlog, scraped: bool) -> Result<Timed> {
    let target = backlog.target(Durability::Relaxed)?;
    let url = target.url("bench");
    let mut command = apply(program, &url, &backlog.log(), settings.workers);
    if !scraped {
        return timed(&mut command);
    }
    // Free when the program asks for it, too, or it says that it is not.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    command.args(["--http", &port.to_string()]);
    let (over, pages) = (AtomicBool::new(false), AtomicU64::new(0));
    let took = std::thread::scope(|scope| {
        scope.spawn(|| {
            let page = format!("http://127.0.0.1:{port}/metrics");
            while !over.load(Ordering::Relaxed) {
                if matches!(binferry_servers::get(&page), Ok((200, _))) {
                    pages.fetch_add(1, Ordering::Relaxed);
                }
                let next = std::time::Instant::now() + EVERY;
                while std::time::Instant::now() < next && !over.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                }
            }
        });
        let took = timed(&mut command);
        over.store(true, Ordering::Relaxed);
        took
    })?;
    ensure!(pages.into_inner() > 0, "nothing was scraped");
    Ok(took)
}
