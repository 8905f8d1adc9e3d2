//! Commit on the source to visible on the target, through `binferry run`, at a fixed rate on an otherwise idle pair.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use binferry_servers::Pair;
use mysql_async::{Conn, prelude::Queryable};
use tempfile::TempDir;

use crate::{Figure, load::users, process::binferry};

const RATE: u32 = 500;
const SECONDS: u32 = 15;
/// Left out: connections and plans are made.
const WARM_UP: u32 = 2;

pub fn run(program: &Path) -> Result<Vec<Figure>> {
    let pair = Pair::start()?;
    for server in [&pair.source, &pair.target] {
        users(server)?;
        server.sql("CREATE TABLE sbtest.beat (id INT PRIMARY KEY, at BIGINT NOT NULL)")?;
    }
    let folder = TempDir::new()?;
    let mut child = binferry(program, "run")
        .args([
            "--source",
            &pair.source.url("bench"),
            "--target",
            &pair.target.url("bench"),
            "--from",
            "now",
        ])
        .arg("--log")
        .arg(folder.path().join("log"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::sleep(Duration::from_secs(3));
    eprintln!("latency: {RATE} transactions/s for {SECONDS} s");
    let result = beat(&pair);
    child.kill()?;
    child.wait()?;
    let mut delays = result?;
    delays.sort();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    Ok(vec![Figure {
        what: format!("commit on the source to visible on the target, {RATE} transactions/s"),
        value: format!(
            "median {:.1} ms, p99 {:.1} ms, most {:.1} ms",
            at(0.5),
            at(0.99),
            at(1.0)
        ),
    }])
}

fn beat(pair: &Pair) -> Result<Vec<Duration>> {
    let start = Instant::now();
    let (source, target) = (pair.source.opts(), pair.target.opts());
    let writer = std::thread::spawn(move || -> Result<Vec<Instant>> {
        runtime()?.block_on(async {
            let mut connection = Conn::new(source).await?;
            let mut committed = Vec::new();
            for n in 0..RATE * SECONDS {
                let due = start + Duration::from_secs(1) * n / RATE;
                tokio::time::sleep_until(due.into()).await;
                connection
                    .query_drop(format!("INSERT INTO sbtest.beat VALUES ({n}, 0)"))
                    .await?;
                // The answer comes after the commit, so the delay is not made smaller than it is by more than that.
                committed.push(Instant::now());
            }
            Ok(committed)
        })
    });
    let seen = runtime()?.block_on(async {
        let mut connection = Conn::new(target).await?;
        let mut seen: Vec<Instant> = Vec::new();
        while (seen.len() as u32) < RATE * SECONDS {
            let newest: Option<i64> = connection
                .query_first("SELECT MAX(id) FROM sbtest.beat")
                .await?
                .context("no row")?;
            let now = Instant::now();
            seen.resize((newest.unwrap_or(-1) + 1) as usize, now);
            ensure!(
                start.elapsed() < Duration::from_secs(u64::from(SECONDS) + 60),
                "the target does not follow"
            );
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        anyhow::Ok(seen)
    })?;
    let committed = writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer has panicked"))??;
    let skip = (RATE * WARM_UP) as usize;
    Ok(committed
        .iter()
        .zip(&seen)
        .skip(skip)
        .map(|(c, s)| s.saturating_duration_since(*c))
        .collect())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
