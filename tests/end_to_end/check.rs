//! `check`: what it finds about a server beside other servers, and about the room that there is. Settings of a source, grants and topics are
//! tested where the commands refuse them.

mod capacity;
mod topology;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use binferry_servers::MySql;
use serde_json::Value;

use crate::binferry::{PASSWORD, output, program};

/// An account that may see all.
const USER: &str = "looks";

fn account(server: &MySql) -> Result<()> {
    let quoted = PASSWORD.replace('\'', "''");
    server.sql(&format!(
        "CREATE USER IF NOT EXISTS {USER}@'%' IDENTIFIED BY '{quoted}'; GRANT ALL ON *.* TO {USER}@'%'"
    ))?;
    Ok(())
}

fn check(source: &MySql, target: &MySql) -> Command {
    let mut command = program("check");
    command
        .args(["--source", &source.url(USER), "--target", &target.url(USER)])
        .args(["--from", "now"]);
    command
}

/// The findings about a subject, each as its severity and all of its text.
fn about(command: &mut Command, subject: &str) -> Result<Vec<(String, String)>> {
    let output = output(command.arg("--json"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!printed.contains(PASSWORD), "shows the password: {printed}");
    let all: Vec<Value> =
        serde_json::from_str(&printed).with_context(|| format!("{printed}{said}"))?;
    let mut found = Vec::new();
    let mut blocks = false;
    for finding in &all {
        let severity = finding["severity"].as_str().context("severity")?;
        blocks |= severity == "blocking";
        let text = finding["subject"].as_str().context("subject")?;
        if text.starts_with(subject) {
            ensure!(
                severity == "fine" || severity == "info" || finding["remedy"].is_string(),
                "no remedy: {finding}"
            );
            found.push((severity.to_owned(), finding.to_string()));
        }
    }
    let expected = i32::from(blocks);
    ensure!(
        output.status.code() == Some(expected),
        "exit {:?} instead of {expected}: {printed}{said}",
        output.status.code()
    );
    Ok(found)
}

/// There is one finding about the subject, it is as bad as that, and says all of it.
fn one(command: &mut Command, subject: &str, severity: &str, says: &[&str]) -> Result<()> {
    let found = about(command, subject)?;
    let [(found, text)] = found.as_slice() else {
        anyhow::bail!("{subject}: {found:?}");
    };
    ensure!(found == severity, "{found} instead of {severity}: {text}");
    for part in says {
        ensure!(text.contains(part), "does not say {part:?}: {text}");
    }
    Ok(())
}

fn none(command: &mut Command, subject: &str) -> Result<()> {
    let found = about(command, subject)?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}
