//! A comparison of one large table, beside pt-table-checksum, and beside the servers' own speed at it.
//!
//! The target is a copy of the source's files and a native replica of it: pt-table-checksum writes its checksums through the binlog, and has
//! the replica compute them again. Nothing else is written, so all sides find the two equal, and must.

mod peer;

use std::path::Path;

use anyhow::{Context, Result};
use binferry_servers::MySql;

use crate::{
    backlog::{BUFFER_POOL, Durability},
    copy::{self, DATABASE, sysbench_rows, url},
    median,
    process::{self, timed, while_running},
    settings::Settings,
    table::Table,
};

const ROWS: u64 = 10_000_000;
const TABLE: &str = "sbtest1";

pub fn run(program: &Path, settings: &Settings) -> Result<Vec<Table>> {
    let rows = settings.rows.unwrap_or(ROWS);
    eprintln!("diff: filling the source with {rows} rows");
    let (source, target) = servers(rows)?;
    let whole = whole(program, &source, &target)?;
    let sides = Side::ALL;
    let mut runs: Vec<Vec<Run>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 1..=settings.rounds {
        for (side, runs) in sides.iter().zip(&mut runs) {
            let run = side.run(program, &source, &target, &whole, rows)?;
            eprintln!("diff: round {round}, {}: {:.1} s", side.name(), run.seconds);
            runs.push(run);
        }
    }
    let mut table = Table::new(
        format!(
            "Comparing {rows} rows of sysbench's table at a source and its native replica, both on this machine, nothing written meanwhile"
        ),
        [
            "what",
            "seconds",
            "k rows/s",
            "CPU µs a row: source, target, itself",
            "ours against it, time",
        ],
    );
    for (side, of) in sides.iter().zip(&runs) {
        let of_each = |text: &dyn Fn(&Run) -> String| {
            let texts: Vec<String> = of.iter().map(text).collect();
            texts.join(", ")
        };
        let cpu = [0, 1, 2].map(|who| {
            let spent = of.iter().map(|run| run.cpu[who]).collect();
            format!("{:.1}", median(spent) * 1e6 / rows as f64)
        });
        let pairs = of.iter().zip(&runs[0]);
        let times = pairs
            .map(|(it, ours)| ours.seconds / it.seconds)
            .collect::<Vec<f64>>();
        table.row([
            side.name().to_owned(),
            of_each(&|run| format!("{:.1}", run.seconds)),
            of_each(&|run| format!("{:.0}", rows as f64 / run.seconds / 1e3)),
            cpu.join(", "),
            match side {
                Side::Ours => String::new(),
                _ => format!("**{:.2}**", median(times)),
            },
        ]);
    }
    Ok(vec![table])
}

/// Two servers with the same rows and nothing in their binlogs, one a replica of the other.
fn servers(rows: u64) -> Result<(MySql, MySql)> {
    // How the replica wants to be found. Its peer reads the number of rows from EXPLAIN, which it does not understand as a tree.
    let options = ["--report-host=127.0.0.1", "--explain-format=TRADITIONAL"];
    let source = copy::server(Durability::Relaxed, &options)?;
    sysbench_rows(&source, 1, rows)?;
    source.sql(&format!(
        "ANALYZE TABLE {DATABASE}.{TABLE}; RESET BINARY LOGS AND GTIDS; SET GLOBAL innodb_fast_shutdown = 0"
    ))?;
    source.stop()?;
    let target = MySql::builder()
        .arg(BUFFER_POOL)
        .args(Durability::Relaxed.args())
        .args(options)
        .copy_of(&source)
        .start()?;
    source.start_again()?;
    target.sql(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{}', SOURCE_PORT = {}, SOURCE_USER = '{}', SOURCE_PASSWORD = '{}',
         SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; START REPLICA",
        source.host(),
        source.port(),
        source.admin_user(),
        source.admin_password()
    ))?;
    Ok((source, target))
}

/// The query by which ours sums a range, of all rows at once. The server's general log says how it reads.
fn whole(program: &Path, source: &MySql, target: &MySql) -> Result<String> {
    source.sql("SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON")?;
    ours(program, source, target)?;
    source.sql("SET GLOBAL general_log = OFF")?;
    let query = source.value(&format!(
        "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type IN ('Query', 'Execute')
         AND CONVERT(argument USING utf8mb4) LIKE 'SELECT COUNT(*),BIT_XOR(%`{TABLE}`% WHERE %' LIMIT 1"
    ))?;
    let (whole, _) = query.split_once(" WHERE ").context("no bounds in it")?;
    eprintln!("diff: without bounds: {whole}");
    Ok(whole.to_owned())
}

/// Who compares, or only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Peer,
    WholeSource,
    WholeTarget,
    WholeBoth,
}

/// CPU in seconds: of the source, the target, and what runs.
#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    cpu: [f64; 3],
}

impl Side {
    /// Ours first.
    const ALL: [Self; 5] = [
        Self::Ours,
        Self::Peer,
        Self::WholeSource,
        Self::WholeTarget,
        Self::WholeBoth,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "`binferry diff`",
            Self::Peer => "pt-table-checksum",
            Self::WholeSource => "the same sum in one query, at the source alone",
            Self::WholeTarget => "the same, at the target alone",
            Self::WholeBoth => "the same, at both at once, until the slower one has ended",
        }
    }

    fn run(
        self,
        program: &Path,
        source: &MySql,
        target: &MySql,
        whole: &str,
        rows: u64,
    ) -> Result<Run> {
        let [Some(one), Some(other)] = [source.pid(), target.pid()] else {
            anyhow::bail!("the servers' processes are not ours to look at");
        };
        let (run, cpu) = while_running(&[one, other], || match self {
            Self::Ours => {
                let timed = ours(program, source, target)?;
                Ok((timed.seconds, timed.cpu_seconds))
            }
            Self::Peer => {
                let timed = peer::compare(source, target, rows)?;
                Ok((timed.seconds, timed.cpu_seconds))
            }
            Self::WholeSource => sum(source, whole),
            Self::WholeTarget => sum(target, whole),
            Self::WholeBoth => std::thread::scope(|scope| {
                let here = scope.spawn(|| sum(source, whole));
                let there = sum(target, whole)?;
                let here = here.join().map_err(|_| anyhow::anyhow!("a panic"))??;
                Ok((here.0.max(there.0), here.1 + there.1))
            }),
        })?;
        let (seconds, own) = run;
        Ok(Run {
            seconds,
            cpu: [cpu[0], cpu[1], own],
        })
    }
}

fn ours(program: &Path, source: &MySql, target: &MySql) -> Result<process::Timed> {
    timed(
        process::plain(program, "diff")
            .args(["--source", &url(source), "--target", &url(target)])
            .args(["--tables", &format!("{DATABASE}.*")]),
    )
}

/// Its seconds, and those of the client's CPU.
fn sum(server: &MySql, whole: &str) -> Result<(f64, f64)> {
    let timed = timed(server.client()?.args(["--execute", whole]))?;
    Ok((timed.seconds, timed.cpu_seconds))
}
