//! pt-table-checksum: sums of chunks, as statements that go through the binlog, and a look at what they gave at the replica.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, pt_table_checksum};

use super::{DATABASE, TABLE};
use crate::process::{Timed, timed};

const RESULTS: &str = "percona.checksums";

/// Ends well when the replica has all rows and they are the same.
pub fn compare(source: &MySql, target: &MySql, rows: u64) -> Result<Timed> {
    let mut login = format!(
        "h={},P={},u={}",
        source.host(),
        source.port(),
        source.admin_user()
    );
    if !source.admin_password().is_empty() {
        login += &format!(",p={}", source.admin_password());
    }
    let timed = timed(
        pt_table_checksum()?
            .arg(login)
            .args(["--databases", DATABASE, "--replicate", RESULTS])
            // The replica's binlog format matters to replicas of its own alone, and it has none.
            .args(["--no-check-binlog-format", "--recursion-method=hosts"]),
    )?;
    // Written by the replica's own hand, for the statements are computed there.
    let there = target.value(&format!(
        "SELECT SUM(this_cnt) FROM {RESULTS} WHERE db = '{DATABASE}' AND tbl = '{TABLE}'"
    ))?;
    ensure!(
        there == rows.to_string(),
        "pt-table-checksum compared {there} of {rows} rows"
    );
    Ok(timed)
}
