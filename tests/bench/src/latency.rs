//! Commit on the source to visible on the target at fixed rates, through `binferry run` and through a native replica, in turns, with commits
//! that are durable on all servers.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use binferry_servers::MySql;
use mysql_async::{Conn, Opts, prelude::Queryable};
use tempfile::TempDir;

use crate::{
    backlog::Durability, load::users, process::binferry, settings::Settings, table::Table,
};

const RATES: [u32; 2] = [500, 2_000];
/// One connection can't commit 2,000 times a second where each commit waits for the disk.
const WRITERS: u32 = 8;
/// Left out: connections and plans are made.
const WARM_UP: u32 = 2;
/// Between two looks at the target.
const LOOK: Duration = Duration::from_micros(300);

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let mut table = Table::new(
        format!(
            "Commit on the source to visible on the target, {} s each, durable",
            settings.seconds
        ),
        ["transactions/s", "side", "p50", "p99", "most", "reached"],
    );
    for rate in RATES {
        for side in [Side::Native, Side::Ours] {
            eprintln!("latency: {}, {rate} transactions/s", side.name());
            let beats = Servers::start()?.measure(program, settings, side, rate)?;
            let at = |share: f64| {
                let nth = ((beats.delays.len() - 1) as f64 * share) as usize;
                format!("{:.1} ms", beats.delays[nth].as_secs_f64() * 1e3)
            };
            table.row([
                rate.to_string(),
                side.name().to_owned(),
                at(0.5),
                at(0.99),
                at(1.0),
                format!("{:.0}/s", beats.reached),
            ]);
        }
    }
    Ok(vec![table])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Native,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "`binferry run`",
            Self::Native => "native replica, 4 workers",
        }
    }
}

/// What was seen.
#[derive(Debug)]
struct Beats {
    /// Sorted.
    delays: Vec<Duration>,
    /// Transactions a second that the source took: fewer than wanted, when the machine can't.
    reached: f64,
}

#[derive(Debug)]
struct Servers {
    source: MySql,
    target: MySql,
}

impl Servers {
    fn start() -> Result<Self> {
        let start = || -> Result<MySql> {
            let server = MySql::builder().args(Durability::Durable.args()).start()?;
            users(&server)?;
            server.sql(
                "CREATE TABLE sbtest.beat (writer INT, id INT, at BIGINT NOT NULL, PRIMARY KEY (writer, id))",
            )?;
            Ok(server)
        };
        Ok(Self {
            source: start()?,
            target: start()?,
        })
    }

    fn measure(&self, program: &Path, settings: &Settings, side: Side, rate: u32) -> Result<Beats> {
        let folder = TempDir::new()?;
        let pipeline = match side {
            Side::Ours => Some(Pipeline::start(program, self, settings, folder.path())?),
            Side::Native => {
                self.replicate()?;
                None
            }
        };
        std::thread::sleep(Duration::from_secs(3));
        let beats = beat(
            self.source.opts(),
            self.target.opts(),
            rate,
            settings.seconds,
        )?;
        if let Some(mut pipeline) = pipeline {
            let ended = pipeline.0.try_wait()?;
            ensure!(ended.is_none(), "binferry run has ended: {ended:?}");
        }
        Ok(beats)
    }

    fn replicate(&self) -> Result<()> {
        let set = self.source.value("SELECT @@GLOBAL.gtid_executed")?;
        self.target.sql(&format!(
            "RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged = '{}'; SET GLOBAL replica_parallel_workers = 4;
             CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_AUTO_POSITION=1,
             GET_SOURCE_PUBLIC_KEY=1; START REPLICA",
            set.replace('\n', ""),
            self.source.port()
        ))?;
        Ok(())
    }
}

/// Killed when dropped.
#[derive(Debug)]
struct Pipeline(Child);

impl Pipeline {
    fn start(
        program: &Path,
        servers: &Servers,
        settings: &Settings,
        folder: &Path,
    ) -> Result<Self> {
        let mut command = binferry(program, "run");
        command
            .args(["--source", &servers.source.url("bench")])
            .args(["--target", &servers.target.url("bench"), "--from", "now"])
            .arg("--log")
            .arg(folder.join("log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(workers) = settings.workers {
            command.args(["--workers", &workers.to_string()]);
        }
        Ok(Self(binferry_servers::spawn(command)?))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Gone already, if this fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writer `w` inserts its rows in order, so that the highest one of its rows that is visible says that those before it are.
fn beat(source: Opts, target: Opts, rate: u32, seconds: u32) -> Result<Beats> {
    let each = rate * seconds / WRITERS;
    let start = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let source = source.clone();
            std::thread::spawn(move || -> Result<Vec<Instant>> {
                runtime()?.block_on(async {
                    let mut connection = Conn::new(source).await?;
                    let mut committed = Vec::new();
                    for n in 0..each {
                        let due = start + Duration::from_secs(1) * (n * WRITERS + writer) / rate;
                        tokio::time::sleep_until(due.into()).await;
                        connection
                            .query_drop(format!(
                                "INSERT INTO sbtest.beat VALUES ({writer}, {n}, 0)"
                            ))
                            .await?;
                        // The answer comes after the commit, so the delay is not made smaller than it is by more than that.
                        committed.push(Instant::now());
                    }
                    Ok(committed)
                })
            })
        })
        .collect();
    let seen = runtime()?.block_on(watch(target, each, start, seconds))?;
    let skip = (WARM_UP * rate / WRITERS) as usize;
    let (mut delays, mut last) = (Vec::new(), start);
    for (writer, seen) in writers.into_iter().zip(seen) {
        let committed = writer.join().map_err(|_| anyhow!("a writer panicked"))??;
        last = last.max(committed.last().copied().unwrap_or(start));
        let pairs = committed.iter().zip(&seen).skip(skip);
        delays.extend(pairs.map(|(c, s)| s.saturating_duration_since(*c)));
    }
    ensure!(!delays.is_empty(), "too short to measure anything");
    delays.sort();
    Ok(Beats {
        delays,
        reached: f64::from(each * WRITERS) / (last - start).as_secs_f64(),
    })
}

/// When each row of each writer was there.
async fn watch(target: Opts, each: u32, start: Instant, seconds: u32) -> Result<Vec<Vec<Instant>>> {
    let question: Vec<String> = (0..WRITERS)
        .map(|w| format!("(SELECT COALESCE(MAX(id), -1) FROM sbtest.beat WHERE writer = {w})"))
        .collect();
    let question = format!("SELECT CONCAT_WS(',', {})", question.join(","));
    let mut connection = Conn::new(target).await?;
    let mut seen: Vec<Vec<Instant>> = vec![Vec::new(); WRITERS as usize];
    while seen.iter().any(|of| (of.len() as u32) < each) {
        let newest: String = connection
            .query_first(question.as_str())
            .await?
            .context("no row")?;
        let now = Instant::now();
        for (of, newest) in seen.iter_mut().zip(newest.split(',')) {
            of.resize((newest.parse::<i64>()? + 1) as usize, now);
        }
        ensure!(
            start.elapsed() < Duration::from_secs(u64::from(seconds) + 60),
            "the target does not follow"
        );
        tokio::time::sleep(LOOK).await;
    }
    Ok(seen)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
