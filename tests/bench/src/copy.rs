//! The initial copy: from an empty target through the log to a full one, beside `mysqldump | mysql` and mydumper with myloader.
//!
//! All three read the same source and fill a server of their own that has just been made, with the same settings, the binlog on, and without
//! TLS. What they have copied is compared with the source, table by table.

mod peers;
mod table;

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use binferry_servers::MySql;
use tempfile::TempDir;

pub use self::table::{DATABASE, fill, sysbench_rows};
use self::{peers::Peer, table::tables};
use crate::{
    backlog::{BUFFER_POOL, Durability},
    load::users,
    median,
    process::{self, Timed, timed, while_running},
    settings::Settings,
    table::Table,
};

const ROWS: u64 = 10_000_000;
/// Connections that write, and files or tables that are read at once: the default of `binferry run`, and what the peer gets.
const THREADS: u32 = 4;
/// What docs/snapshot.md promises.
const MOST_MEMORY: u64 = 256 << 20;

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let rows = settings.rows.unwrap_or(ROWS);
    let mut tables = Vec::new();
    for durability in &settings.durability {
        tables.push(with(program, settings, rows, *durability)?);
    }
    Ok(tables)
}

fn with(program: &Path, settings: &Settings, rows: u64, durability: Durability) -> Result<Table> {
    let threads = settings.workers.unwrap_or(THREADS);
    let source = server(durability, &[])?;
    eprintln!("copy: filling the source with {rows} rows");
    fill(&source, rows)?;
    let bytes = table::bytes(&source)?;
    let sides = Side::ALL;
    let mut runs: Vec<Vec<Run>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 0..settings.rounds {
        for (side, runs) in sides.iter().zip(&mut runs) {
            let run = side.run(program, &source, durability, threads)?;
            eprintln!(
                "copy: round {}, {}: {:.1} s",
                round + 1,
                side.name(),
                run.seconds
            );
            runs.push(run);
        }
    }
    let mut shown = Table::new(
        format!(
            "Copying {rows} rows ({:.2} GiB as tables), {}, {threads} threads, TLS off",
            bytes as f64 / f64::from(1 << 30),
            durability.name()
        ),
        [
            "what",
            "seconds",
            "k rows/s",
            "CPU µs a row: source, target, itself",
            "peak memory",
            "ours against it",
            "ours without LOAD DATA against it",
        ],
    );
    for (side, of) in sides.iter().zip(&runs) {
        let of_each = |text: &dyn Fn(&Run) -> String| {
            let texts: Vec<String> = of.iter().map(text).collect();
            texts.join(", ")
        };
        let per_row = |cpu: fn(&Run) -> f64| {
            format!(
                "{:.1}",
                median(of.iter().map(cpu).collect()) * 1e6 / rows as f64
            )
        };
        let cpu = [
            per_row(|run| run.source),
            per_row(|run| run.target),
            per_row(|run| run.own),
        ];
        let peak = of.iter().filter_map(|run| run.peak).max();
        if let Some(peak) = peak {
            ensure!(peak < MOST_MEMORY, "the copy took {} MiB", peak >> 20);
        }
        shown.row([
            side.name().to_owned(),
            of_each(&|run| format!("{:.1}", run.seconds)),
            of_each(&|run| format!("{:.0}", rows as f64 / run.seconds / 1e3)),
            cpu.join(", "),
            peak.map_or_else(String::new, |peak| format!("{} MiB", peak >> 20)),
            ratios(*side, &runs[0], of),
            ratios(*side, &runs[1], of),
        ]);
    }
    Ok(shown)
}

/// Pair by pair, and the middle one.
fn ratios(side: Side, ours: &[Run], of: &[Run]) -> String {
    if let Side::Ours { .. } = side {
        return String::new();
    }
    let pairs = ours.iter().zip(of);
    let ratios: Vec<f64> = pairs
        .map(|(ours, peer)| peer.seconds / ours.seconds)
        .collect();
    let texts: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    format!("**{:.2} x** ({})", median(ratios), texts.join(", "))
}

/// Who copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// `local`: the target allows LOAD DATA LOCAL.
    Ours {
        local: bool,
    },
    Peer(Peer),
}

/// CPU in seconds, of all.
#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    source: f64,
    target: f64,
    own: f64,
    peak: Option<u64>,
}

impl Side {
    /// Ours first.
    const ALL: [Self; 4] = [
        Self::Ours { local: true },
        Self::Ours { local: false },
        Self::Peer(Peer::Mysqldump),
        Self::Peer(Peer::Mydumper),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ours { local: true } => "`binferry run --from snapshot`, `local_infile=ON`",
            Self::Ours { local: false } => "the same, `local_infile=OFF` (the server's default)",
            Self::Peer(peer) => peer.name(),
        }
    }

    fn run(
        self,
        program: &Path,
        source: &MySql,
        durability: Durability,
        threads: u32,
    ) -> Result<Run> {
        let local = match self {
            Self::Ours { local: false } => "--local-infile=OFF",
            _ => "--local-infile=ON",
        };
        let target = server(durability, &[local])?;
        let folder = TempDir::new()?;
        let pids = [source, &target].map(|server| server.pid());
        let [Some(one), Some(other)] = pids else {
            anyhow::bail!("the servers' processes are not ours to look at");
        };
        let (run, cpu) = while_running(&[one, other], || {
            let start = Instant::now();
            match self {
                Self::Ours { .. } => {
                    let timed = ours(program, source, &target, folder.path(), threads)?;
                    Ok((timed.seconds, timed.cpu_seconds, Some(timed.peak_bytes)))
                }
                Self::Peer(peer) => {
                    let own = peer.copy(source, &target, folder.path(), threads)?;
                    Ok((start.elapsed().as_secs_f64(), own, None))
                }
            }
        })?;
        let (seconds, own, peak) = run;
        equal(source, &target)?;
        Ok(Run {
            seconds,
            source: cpu[0],
            target: cpu[1],
            own,
            peak,
        })
    }
}

fn ours(
    program: &Path,
    source: &MySql,
    target: &MySql,
    folder: &Path,
    threads: u32,
) -> Result<Timed> {
    timed(
        process::plain(program, "run")
            .args(["--source", &url(source), "--target", &url(target)])
            .args(["--from", "snapshot", "--until", "now"])
            .args(["--tables", &format!("{DATABASE}.*")])
            .args(["--workers", &threads.to_string()])
            .args(["--snapshot-readers", &threads.to_string()])
            .arg("--log")
            .arg(folder.join("log")),
    )
}

/// The peer's client library has no TLS unless told, so nobody has.
pub fn url(server: &MySql) -> String {
    server.url("bench") + "/?tls=disabled"
}

pub fn server(durability: Durability, args: &[&str]) -> Result<MySql> {
    let server = MySql::builder()
        .arg(BUFFER_POOL)
        .args(durability.args())
        .args(args.iter().copied())
        .start()?;
    users(&server)?;
    Ok(server)
}

/// All tables of the source are at the target, with the same rows.
fn equal(source: &MySql, target: &MySql) -> Result<()> {
    for table in tables(source)? {
        let sum = |server: &MySql| -> Result<String> {
            let rows = server.rows(&format!("CHECKSUM TABLE {DATABASE}.{table}"))?;
            let sum = rows.into_iter().next().and_then(|row| row[1].clone());
            sum.with_context(|| format!("{table} has no checksum"))
        };
        let (s, t) = (sum(source)?, sum(target)?);
        ensure!(s == t, "{table} differs: {s}, {t}");
    }
    Ok(())
}
