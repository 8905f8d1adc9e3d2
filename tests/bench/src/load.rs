//! The source with the benchmark's binlog.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, sysbench};

use crate::process::PASSWORD;

pub const TABLES: u32 = 4;
pub const ROWS: u32 = 100_000;
const EVENTS: u64 = 100_000;

#[derive(Debug)]
pub struct Loaded {
    pub source: MySql,
    pub transactions: u64,
    pub rows: u64,
    pub bytes: u64,
    /// The statements that make the tables, for targets.
    pub schema: String,
}

/// The users of the quickstart.
pub fn users(server: &MySql) -> Result<()> {
    server.sql(&format!(
        "CREATE USER bench@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO bench@'%'; CREATE DATABASE IF NOT EXISTS sbtest"
    ))?;
    Ok(())
}

/// sysbench's, by its name.
#[derive(Debug, Clone, Copy)]
pub enum Script {
    WriteOnly,
    ReadWrite,
}

pub fn run(server: &MySql, script: Script, step: &str, options: &[String]) -> Result<()> {
    let mut command = sysbench()?;
    command
        .arg(match script {
            Script::WriteOnly => "oltp_write_only",
            Script::ReadWrite => "oltp_read_write",
        })
        .args([
            "--db-driver=mysql",
            "--mysql-host=127.0.0.1",
            "--mysql-user=root",
            "--mysql-db=sbtest",
            "--threads=8",
            "--report-interval=0",
        ])
        .arg(format!("--mysql-port={}", server.port()))
        .arg(format!("--tables={TABLES}"))
        .arg(format!("--table-size={ROWS}"))
        .args(options)
        .arg(step);
    let output = command.stdin(Stdio::null()).output()?;
    ensure!(
        output.status.success(),
        "sysbench {step}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

impl Loaded {
    pub fn new() -> Result<Self> {
        Self::with(&[])
    }

    /// On a server with these options too.
    pub fn with(options: &[&str]) -> Result<Self> {
        Self::of(options, None)
    }

    /// With so many transactions.
    pub fn of(options: &[&str], transactions: Option<u64>) -> Result<Self> {
        let source = MySql::builder()
            .arg("--innodb-buffer-pool-size=512M")
            .args(options.iter().copied())
            .start()?;
        users(&source)?;
        eprintln!("loading: sysbench oltp_write_only");
        run(&source, Script::WriteOnly, "prepare", &[])?;
        run(
            &source,
            Script::WriteOnly,
            "run",
            &[
                "--time=0".into(),
                format!("--events={}", transactions.unwrap_or(EVENTS)),
            ],
        )?;
        let bytes = source
            .rows("SHOW BINARY LOGS")?
            .iter()
            .filter_map(|r| r[1].as_deref()?.parse::<u64>().ok())
            .sum();
        let mut schema = String::new();
        for n in 1..=TABLES {
            let row = source.rows(&format!("SHOW CREATE TABLE sbtest.sbtest{n}"))?;
            schema += row[0][1].as_deref().context("SHOW CREATE TABLE")?;
            schema += ";";
        }
        let (transactions, rows) = count(&source, None)?;
        Ok(Self {
            source,
            transactions,
            rows,
            bytes,
            schema,
        })
    }
}

/// What the binlog holds from a file on: transactions and row changes, counted by mysqlbinlog.
pub fn count(source: &MySql, first: Option<&str>) -> Result<(u64, u64)> {
    let (mut transactions, mut rows) = (0, 0);
    let files = source.rows("SHOW BINARY LOGS")?.into_iter();
    for file in
        files.skip_while(|file| first.is_some_and(|first| file[0].as_deref() != Some(first)))
    {
        let output = source
            .mysqlbinlog()?
            .args([
                "-R",
                "-v",
                "--base64-output=decode-rows",
                "--user=root",
                "--host=127.0.0.1",
            ])
            .arg(format!("--port={}", source.port()))
            .arg(file[0].as_deref().unwrap_or_default())
            .output()?;
        ensure!(
            output.status.success(),
            "mysqlbinlog: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in output.stdout.split(|b| *b == b'\n') {
            if line.starts_with(b"### INSERT")
                || line.starts_with(b"### UPDATE")
                || line.starts_with(b"### DELETE")
            {
                rows += 1;
            } else if line.starts_with(b"SET @@SESSION.GTID_NEXT= '")
                && !line.ends_with(b"'AUTOMATIC' /* added by mysqlbinlog */ /*!*/;")
            {
                transactions += 1;
            }
        }
    }
    Ok((transactions, rows))
}
