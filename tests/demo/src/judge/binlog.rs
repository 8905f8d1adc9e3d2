//! A server's binlog as `mysqlbinlog --verbose` prints it, boiled down to what the judge counts.
//!
//! ```text
//! SET @@SESSION.GTID_NEXT= 'UUID:NUMBER'/*!*/;
//! ### INSERT INTO `shop`.`ledger`
//! ### SET
//! ###   @1=17
//! ```

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use binferry_servers::MySql;

#[derive(Debug, Default)]
pub struct Binlog {
    pub gtids: u64,
    /// Row changes of the load's tables.
    pub row_changes: u64,
    /// In which transactions each ledger row was inserted.
    pub ledger: HashMap<u64, Vec<String>>,
    /// Updates and deletes of ledger rows: there are none.
    pub ledger_touched: u64,
    pub rows_without_ledger: Vec<String>,
}

impl Binlog {
    pub fn read(server: &MySql) -> Result<Self> {
        let first = server.rows("SHOW BINARY LOGS")?;
        let first = first.into_iter().flatten().flatten().next();
        let mut child = server
            .mysqlbinlog()?
            .args([
                "--read-from-remote-server",
                "--to-last-log",
                "--verbose",
                "--base64-output=decode-rows",
            ])
            .arg(first.context("the server has no binary log")?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("no output of mysqlbinlog")?;
        let binlog = Self::parse(BufReader::with_capacity(1 << 20, output))?;
        let ended = child.wait_with_output()?;
        if !ended.status.success() {
            bail!(
                "mysqlbinlog: {}: {}",
                ended.status,
                String::from_utf8_lossy(&ended.stderr).trim()
            );
        }
        Ok(binlog)
    }

    pub fn parse(mut text: impl BufRead) -> Result<Self> {
        let mut binlog = Binlog::default();
        let mut gtid = String::new();
        let (mut rows, mut ledger) = (0u64, 0u64);
        let mut in_ledger = false;
        let mut line = Vec::new();
        loop {
            line.clear();
            let ended = text.read_until(b'\n', &mut line)? == 0;
            let next = line.strip_prefix(b"SET @@SESSION.GTID_NEXT= '");
            if (ended || next.is_some()) && rows > 0 && ledger == 0 {
                binlog.rows_without_ledger.push(gtid.clone());
            }
            if ended {
                return Ok(binlog);
            }
            if let Some(next) = next {
                (rows, ledger) = (0, 0);
                let end = next.iter().position(|b| *b == b'\'').unwrap_or(next.len());
                gtid = String::from_utf8_lossy(&next[..end]).into_owned();
                // The printed text ends with a return to AUTOMATIC.
                binlog.gtids += u64::from(gtid.contains(':'));
            } else if let Some(change) = line.strip_prefix(b"### ") {
                if let Some(id) = change.strip_prefix(b"  @1=") {
                    if std::mem::take(&mut in_ledger) {
                        let id = std::str::from_utf8(id)?
                            .trim()
                            .parse()
                            .context("ledger id")?;
                        binlog.ledger.entry(id).or_default().push(gtid.clone());
                        ledger += 1;
                    }
                } else if let Some((insert, table)) = row_change(change) {
                    binlog.row_changes += 1;
                    rows += 1;
                    in_ledger = insert && table == b"ledger";
                    binlog.ledger_touched += u64::from(!insert && table == b"ledger");
                }
            }
        }
    }

    /// In how many transactions the ledger rows came.
    pub fn ledger_gtids(&self) -> u64 {
        let mut gtids: Vec<&String> = self.ledger.values().flatten().collect();
        gtids.sort_unstable();
        gtids.dedup();
        gtids.len() as u64
    }
}

/// Whether it inserts, and the table's name, if it is one of the load's.
fn row_change(line: &[u8]) -> Option<(bool, &[u8])> {
    let insert = line.strip_prefix(b"INSERT INTO ");
    let table = insert
        .or_else(|| line.strip_prefix(b"UPDATE "))
        .or_else(|| line.strip_prefix(b"DELETE FROM "))?;
    let table = table.strip_prefix(b"`shop`.`")?;
    let end = table.iter().position(|b| *b == b'`')?;
    Some((insert.is_some(), &table[..end]))
}
