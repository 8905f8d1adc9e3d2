//! Capture to the embedded log, durable, beside `mysqlbinlog -R --raw` and `mysql_async`'s bare decode of the same binlog.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use binferry_servers::MySql;
use futures_util::StreamExt;
use mysql_async::{BinlogStreamRequest, Conn, binlog::events::EventData};
use tempfile::TempDir;

use crate::{
    Figure,
    load::Loaded,
    median,
    process::{binferry, timed},
};

const ROUNDS: usize = 5;

pub fn run(program: &Path, loaded: &Loaded) -> Result<Vec<Figure>> {
    let (mut ours, mut raw, mut decode, mut ratios) = (vec![], vec![], vec![], vec![]);
    let (mut peak, mut cpu) = (0, vec![]);
    for round in 1..=ROUNDS {
        eprintln!("capture: round {round} of {ROUNDS}");
        let theirs = dump_raw(&loaded.source)?;
        let folder = TempDir::new()?;
        let timed = timed(
            binferry(program, "capture")
                .args([
                    "--source",
                    &loaded.source.url("bench"),
                    "--from",
                    "earliest",
                    "--until",
                    "now",
                ])
                .arg("--log")
                .arg(folder.path().join("log")),
        )?;
        ratios.push(theirs / timed.seconds);
        ours.push(timed.seconds);
        cpu.push(timed.cpu_seconds);
        raw.push(theirs);
        peak = peak.max(timed.peak_bytes);
        if round <= 3 {
            decode.push(bare_decode(&loaded.source, loaded.rows)?);
        }
    }
    let (rows, mb) = (loaded.rows as f64, loaded.bytes as f64 / 1e6);
    let line = |what: &str, seconds: f64| Figure {
        what: what.into(),
        value: format!(
            "{:.2} s, {:.0} k rows/s, {:.0} MB/s",
            seconds,
            rows / seconds / 1e3,
            mb / seconds
        ),
    };
    let (ours, raw, decode) = (median(ours), median(raw), median(decode));
    Ok(vec![
        line("`mysqlbinlog -R --raw` to a file (not synced)", raw),
        line(
            "`binferry capture` to its log: decoded, encoded, durable; start and stop included",
            ours,
        ),
        line("`mysql_async` bare decode, nothing kept", decode),
        Figure {
            what: "capture against `mysqlbinlog --raw`, pair by pair".into(),
            value: format!("{:.2} x", median(ratios)),
        },
        Figure {
            what: "capture: CPU, peak memory".into(),
            value: format!(
                "{:.2} s per million rows, {} MiB",
                median(cpu) / rows * 1e6,
                peak >> 20
            ),
        },
    ])
}

fn dump_raw(source: &MySql) -> Result<f64> {
    let folder = TempDir::new()?;
    let first = source.rows("SHOW BINARY LOGS")?[0][0]
        .clone()
        .context("no binlog")?;
    let start = Instant::now();
    let output = source
        .mysqlbinlog()?
        .args([
            "-R",
            "--raw",
            "--to-last-log",
            "--user=root",
            "--host=127.0.0.1",
        ])
        .arg(format!("--port={}", source.port()))
        .arg(first)
        .current_dir(folder.path())
        .output()?;
    ensure!(
        output.status.success(),
        "mysqlbinlog: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(start.elapsed().as_secs_f64())
}

/// Every row of every event, by the driver's own reader.
fn bare_decode(source: &MySql, rows: u64) -> Result<f64> {
    let first = source.rows("SHOW BINARY LOGS")?[0][0]
        .clone()
        .context("no binlog")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let connection = Conn::new(source.opts()).await?;
        let start = Instant::now();
        let request = BinlogStreamRequest::new(99_999).with_filename(first.as_bytes());
        let mut stream = connection.get_binlog_stream(request).await?;
        let mut seen = 0;
        while seen < rows {
            let event = stream.next().await.context("the binlog ended early")??;
            if let Some(EventData::RowsEvent(data)) = event.read_data()? {
                let table = stream
                    .get_tme(data.table_id())
                    .context("a row event without its table")?;
                for row in data.rows(table) {
                    row?;
                    seen += 1;
                }
            }
        }
        anyhow::Ok(start.elapsed().as_secs_f64())
    })
}
