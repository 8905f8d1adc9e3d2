//! The last word: `mysqldump` of both servers, text for text.
//!
//! Rows are a line each and sorted, because a table without a key has no order. The counter of AUTO_INCREMENT is left out: a transaction
//! that was rolled back on the source has used numbers of which no binlog knows, on a native replica as here.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use binferry_servers::MySql;

/// Views, triggers, routines and events are not carried.
const OPTIONS: [&str; 12] = [
    "--single-transaction",
    "--no-tablespaces",
    "--skip-triggers",
    "--skip-comments",
    "--ignore-views",
    "--skip-extended-insert",
    "--complete-insert",
    "--hex-blob",
    "--default-character-set=utf8mb4",
    "--set-gtid-purged=OFF",
    "--skip-add-drop-table",
    "--skip-lock-tables",
];

/// Both servers have the same databases of these, and the same in them.
pub fn equal(source: &MySql, target: &MySql, databases: &[String]) -> Result<()> {
    let (here, there) = (dump(source, databases)?, dump(target, databases)?);
    if here == there {
        return Ok(());
    }
    let mut differing = Vec::new();
    let (here, there) = (here.lines(), there.lines());
    let (here, there): (Vec<_>, Vec<_>) = (here.collect(), there.collect());
    for (lines, others, sign) in [(&here, &there, '<'), (&there, &here, '>')] {
        let others: std::collections::HashSet<_> = others.iter().collect();
        let only = lines.iter().filter(|line| !others.contains(line));
        differing.extend(only.take(12).map(|line| {
            let line: String = line.chars().take(700).collect();
            format!("{sign} {line}")
        }));
    }
    anyhow::bail!(
        "mysqldump differs (< the source's {} lines, > the target's {}):\n{}",
        here.len(),
        there.len(),
        differing.join("\n")
    )
}

fn dump(server: &MySql, databases: &[String]) -> Result<String> {
    let mut command: Command = server.program("mysqldump")?;
    let output = command
        .arg(format!("--user={}", server.admin_user()))
        .arg(format!("--host={}", server.host()))
        .arg(format!("--port={}", server.port()))
        .env("MYSQL_PWD", server.admin_password())
        .args(OPTIONS)
        .arg("--databases")
        .args(databases)
        .stdin(Stdio::null())
        .output()
        .context("mysqldump")?;
    ensure!(
        output.status.success(),
        "mysqldump: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(sorted(&output.stdout))
}

/// A table's rows in an order that does not depend on how they came.
fn sorted(dump: &[u8]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut rows: Vec<String> = Vec::new();
    for line in dump.split(|byte| *byte == b'\n') {
        // Bytes that are no text stay told apart.
        let line: String = line.iter().map(|byte| char::from(*byte)).collect();
        if line.starts_with("INSERT INTO ") {
            rows.push(line);
            continue;
        }
        rows.sort();
        lines.append(&mut rows);
        lines.push(without_character_set(without_counter(&line)));
    }
    rows.sort();
    lines.append(&mut rows);
    lines.join("\n")
}

/// A column that says its collation is shown with its character set, one that has it from CONVERT TO without: SHOW CREATE TABLE, run as it
/// is, makes the one out of the other. The collation tells the character set.
fn without_character_set(line: String) -> String {
    let Some((before, after)) = line.split_once(" CHARACTER SET ") else {
        return line;
    };
    match after.split_once(" COLLATE ") {
        Some((set, collation)) if collation.starts_with(set) => {
            format!("{before} COLLATE {collation}")
        }
        _ => line,
    }
}

fn without_counter(line: &str) -> String {
    match line.split_once(" AUTO_INCREMENT=") {
        Some((before, after)) if before.starts_with(") ENGINE=") => format!(
            "{before}{}",
            after.trim_start_matches(|c: char| c.is_ascii_digit())
        ),
        _ => line.to_owned(),
    }
}
