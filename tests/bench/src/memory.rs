//! One large transaction: the peak memory of the processes that carry it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use binferry_servers::Pair;
use mysql_async::{Conn, prelude::Queryable};
use tempfile::TempDir;

use crate::{
    Figure,
    kafka::Broker,
    load::users,
    process::{binferry, timed},
};

/// Of a row: it does not compress, so that what is compressed on the way is as large as it gets.
const ROW: u64 = 1024;

/// 1 GiB through `binferry run` and the embedded log.
pub fn embedded(program: &Path) -> Result<Vec<Figure>> {
    let large = Large::write(1)?;
    let folder = TempDir::new()?;
    let timed = timed(
        binferry(program, "run")
            .args([
                "--source",
                &large.pair.source.url("bench"),
                "--target",
                &large.pair.target.url("bench"),
                "--from",
                &large.from,
                "--until",
                "now",
            ])
            .arg("--log")
            .arg(folder.path().join("log")),
    )?;
    large.check()?;
    Ok(vec![Figure {
        what: "one transaction of 1 GiB (a million rows) through `run`".into(),
        value: format!(
            "{:.0} s, peak memory {} MiB",
            timed.seconds,
            timed.peak_bytes >> 20
        ),
    }])
}

/// 2 GiB through `binferry capture`, Kafka and `binferry apply`.
pub fn kafka(program: &Path) -> Result<Vec<Figure>> {
    let broker = Broker::start()?;
    let large = Large::write(2)?;
    let log = broker.log("large");
    let capture = timed(binferry(program, "capture").args([
        "--source",
        &large.pair.source.url("bench"),
        "--from",
        &large.from,
        "--until",
        "now",
        "--log",
        &log,
    ]))?;
    let apply = timed(binferry(program, "apply").args([
        "--target",
        &large.pair.target.url("bench"),
        "--until",
        "now",
        "--log",
        &log,
    ]))?;
    large.check()?;
    Ok(vec![Figure {
        what: "one transaction of 2 GiB (two million rows) through Kafka".into(),
        value: format!(
            "capture {:.0} s, peak memory {} MiB; apply {:.0} s, peak memory {} MiB; the broker's {} MiB, the source's {} MiB",
            capture.seconds,
            capture.peak_bytes >> 20,
            apply.seconds,
            apply.peak_bytes >> 20,
            broker.peak_memory() >> 20,
            large.pair.source.peak_memory().context("no source")? >> 20,
        ),
    }])
}

/// Two servers, and the transaction on one of them.
struct Large {
    pair: Pair,
    rows: u64,
    /// What the source had before it.
    from: String,
}

impl Large {
    fn write(gibibytes: u64) -> Result<Self> {
        let pair = Pair::start()?;
        for server in [&pair.source, &pair.target] {
            users(server)?;
            server.sql("CREATE TABLE sbtest.wide (id INT PRIMARY KEY, pad VARBINARY(1100))")?;
        }
        let from = pair
            .source
            .value("SELECT @@GLOBAL.gtid_executed")?
            .replace('\n', "");
        let rows = (gibibytes << 30) / ROW;
        eprintln!("memory: writing one transaction of {gibibytes} GiB");
        write(pair.source.opts(), rows, &format!("RANDOM_BYTES({ROW})"))?;
        Ok(Self { pair, rows, from })
    }

    /// All of it is at the target.
    fn check(&self) -> Result<()> {
        let rows = self.pair.target.value("SELECT COUNT(*) FROM sbtest.wide")?;
        ensure!(rows == self.rows.to_string(), "{rows} rows at the target");
        Ok(())
    }
}

/// One transaction, in statements of moderate size. `value`: an expression, of up to 1,100 bytes.
pub fn write(opts: mysql_async::Opts, rows: u64, value: &str) -> Result<()> {
    const STATEMENT: u64 = 1 << 16;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = Conn::new(opts).await?;
        connection
            .query_drop(format!(
                "SET SESSION cte_max_recursion_depth = {STATEMENT}; BEGIN"
            ))
            .await?;
        for first in (0..rows).step_by(STATEMENT as usize) {
            let count = STATEMENT.min(rows - first);
            connection
                .query_drop(format!(
                    "INSERT INTO sbtest.wide
                     WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})
                     SELECT {first} + n, {value} FROM s"
                ))
                .await?;
        }
        connection.query_drop("COMMIT").await?;
        Ok(())
    })
}
