//! What a copy takes from a load that runs on the source: sysbench's transactions with the stream alone, and with a throttled copy beside it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, sysbench};
use tempfile::TempDir;

use crate::{
    backlog::Durability,
    copy::{DATABASE, server, sysbench_rows, url},
    median,
    process::{self, timed},
    settings::Settings,
    table::Table,
};

/// Rows a second.
const RATE: u64 = 20_000;
const TABLES: u32 = 4;
/// The load's, and what is copied.
const ROWS: u64 = 400_000;
/// Transactions that may be lost.
const MOST_LOST: f64 = 0.1;
const START: Duration = Duration::from_secs(60);

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let mut table = Table::new(
        format!(
            "sysbench oltp_write_only, 8 threads, {} s each, while {RATE} rows a second are copied, durable",
            settings.seconds
        ),
        [
            "into",
            "stream alone, transactions/s",
            "with the copy",
            "rows copied a second",
            "lost, pair by pair",
            "peak memory",
        ],
    );
    let source = server(Durability::Durable, &[])?;
    eprintln!("copy-load: filling the source");
    let rows = settings.rows.unwrap_or(ROWS * u64::from(TABLES)) / u64::from(TABLES);
    sysbench_rows(&source, TABLES, rows)?;
    for into in [Into::Log, Into::Target] {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        let (mut copied, mut lost, mut peak) = (Vec::new(), Vec::new(), 0);
        let standing = Standing::new(into)?;
        for _ in 0..settings.rounds {
            standing.catch_up(program, &source)?;
            let without = standing.measure(program, settings, &source, rows, None)?;
            let fresh = Standing::new(into)?;
            let with = fresh.measure(program, settings, &source, rows, Some(RATE))?;
            eprintln!(
                "copy-load: {:.0} transactions/s, {:.0} with the copy of {:.0} rows/s",
                without.transactions, with.transactions, with.copied
            );
            lost.push(1.0 - with.transactions / without.transactions);
            alone.push(format!("{:.0}", without.transactions));
            beside.push(format!("{:.0}", with.transactions));
            copied.push(format!("{:.0}", with.copied));
            peak = peak.max(with.peak);
        }
        let each: Vec<String> = lost
            .iter()
            .map(|lost| format!("{:.1} %", lost * 100.0))
            .collect();
        let lost = median(lost);
        let held = if lost <= MOST_LOST { "" } else { ": too many" };
        table.row([
            into.name().to_owned(),
            alone.join(", "),
            beside.join(", "),
            copied.join(", "),
            format!("**{:.1} %**{held} ({})", lost * 100.0, each.join(", ")),
            format!("{} MiB", peak >> 20),
        ]);
    }
    Ok(vec![table])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Into {
    /// `capture`: nothing but the source, the load and the capture is at work.
    Log,
    /// `run`: the machine has the target too.
    Target,
}

impl Into {
    fn name(self) -> &'static str {
        match self {
            Self::Log => "the log (`capture`)",
            Self::Target => "a target on the same machine (`run`)",
        }
    }
}

struct Measured {
    /// A second.
    transactions: f64,
    /// A second.
    copied: f64,
    peak: u64,
}

/// Where the stream goes when nothing is copied: a log, and a target that has been filled.
struct Standing {
    folder: TempDir,
    target: Option<MySql>,
}

impl Standing {
    fn new(into: Into) -> Result<Self> {
        let target = match into {
            Into::Log => None,
            Into::Target => Some(server(Durability::Durable, &["--local-infile=ON"])?),
        };
        Ok(Self {
            folder: TempDir::new()?,
            target,
        })
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn command(&self, program: &Path, source: &MySql) -> Command {
        let mut command = match &self.target {
            None => process::plain(program, "capture"),
            Some(target) => {
                let mut run = process::plain(program, "run");
                run.args(["--target", &url(target)]);
                run
            }
        };
        command
            .args(["--source", &url(source), "--from", "snapshot", "--tables"])
            .arg(format!("{DATABASE}.*"))
            .arg("--log")
            .arg(self.log())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// All there is now.
    fn catch_up(&self, program: &Path, source: &MySql) -> Result<()> {
        timed(self.command(program, source).args(["--until", "now"]))?;
        Ok(())
    }

    /// sysbench beside it. With a rate, a copy must be under way from before its beginning to after its end.
    fn measure(
        &self,
        program: &Path,
        settings: &Settings,
        source: &MySql,
        rows: u64,
        rate: Option<u64>,
    ) -> Result<Measured> {
        let mut command = self.command(program, source);
        if let Some(rate) = rate {
            command.args(["--snapshot-rate", &rate.to_string()]);
        }
        let mut ours = Ours(binferry_servers::spawn(command)?);
        let begun = Instant::now();
        let ready = |rows: Option<u64>| rate.is_none() || rows.is_some_and(|rows| rows > 0);
        while !ready(copied(program, &self.log())) {
            ensure!(begun.elapsed() < START, "no copy has begun");
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_secs(2));
        let before = copied(program, &self.log()).unwrap_or(0);
        let start = Instant::now();
        let transactions = load(source, rows, settings.seconds)?;
        let seconds = start.elapsed().as_secs_f64();
        let after = copied(program, &self.log());
        let peak = binferry_servers::peak_memory(ours.0.id()).unwrap_or_default();
        ensure!(ours.0.try_wait()?.is_none(), "binferry has ended");
        ensure!(
            rate.is_none() || after.is_some(),
            "the copy was over before the load: give it more --rows"
        );
        Ok(Measured {
            transactions: transactions as f64 / f64::from(settings.seconds),
            copied: after.unwrap_or(before).saturating_sub(before) as f64 / seconds,
            peak,
        })
    }
}

/// Rows of the copies that are under way; `None`: there is none.
fn copied(program: &Path, log: &Path) -> Option<u64> {
    let output = process::plain(program, "status")
        .arg("--json")
        .arg("--log")
        .arg(log)
        .output()
        .ok()?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let sites = status["log"]["sites"].as_array()?.iter();
    let copies = sites.flat_map(|site| site["copies"].as_array().into_iter().flatten());
    let rows: Vec<u64> = copies.filter_map(|copy| copy["rows"].as_u64()).collect();
    (!rows.is_empty()).then(|| rows.iter().sum())
}

/// sysbench's transactions in so many seconds.
fn load(source: &MySql, rows: u64, seconds: u32) -> Result<u64> {
    let output = sysbench()?
        .args(["oltp_write_only", "--db-driver=mysql", "--threads=8"])
        .args(["--mysql-host=127.0.0.1", "--mysql-user=root"])
        .arg(format!("--mysql-db={DATABASE}"))
        .arg(format!("--mysql-port={}", source.port()))
        .arg(format!("--tables={TABLES}"))
        .arg(format!("--table-size={rows}"))
        .arg(format!("--time={seconds}"))
        .args(["--report-interval=0", "run"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "sysbench run: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("transactions:"));
    let count = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    count.with_context(|| format!("sysbench does not say its transactions: {text}"))
}

/// Killed when dropped.
#[derive(Debug)]
struct Ours(Child);

impl Drop for Ours {
    fn drop(&mut self) {
        // Gone already, if this fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
