//! Conflicts planted on the target: each is found, decided by its policy, journaled once, and none is found that is not there.

mod kinds;
mod skipping;
mod traffic;

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, database};
use serde_json::Value;

use crate::binferry::{Pipeline, output, program};

/// A database with these tables on both servers.
pub fn begin(
    source: &MySql,
    target: &MySql,
    purpose: &str,
    tables: [&str; 2],
) -> Result<(Pipeline, String)> {
    let database = database([source, target], purpose)?;
    for (server, tables) in [source, target].into_iter().zip(tables) {
        server.sql(&format!("USE `{database}`; {tables}"))?;
    }
    let pipeline = Pipeline::new(source, target, &database)?;
    Ok((pipeline, database))
}

/// Carries all that the source has, with these rules.
pub fn carry(pipeline: &Pipeline, rules: &[&str]) -> Result<()> {
    let mut command = pipeline.command("run");
    for rule in rules {
        command.args(["--on-conflict", rule]);
    }
    crate::binferry::done(command.args(["--until", "now"]))
}

/// The stream's journal, whole.
pub fn journal(pipeline: &Pipeline) -> Result<Vec<Value>> {
    listed(pipeline, &["--json"])?
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

pub fn listed(pipeline: &Pipeline, options: &[&str]) -> Result<String> {
    let output = output(
        program("conflicts")
            .arg("list")
            .args(["--target", &pipeline.target, "--stream", &pipeline.stream])
            .args(options),
    )?;
    ensure!(
        output.status.success(),
        "conflicts list: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// `kind key outcome` of each.
pub fn told(journal: &[Value]) -> Vec<String> {
    journal
        .iter()
        .map(|row| {
            format!(
                "{} {} {}",
                row["kind"].as_str().unwrap_or("-"),
                row["key"].as_str().unwrap_or("-"),
                row["outcome"].as_str().unwrap_or("-")
            )
        })
        .collect()
}

pub fn of_table<'a>(journal: &'a [Value], table: &str) -> Vec<&'a Value> {
    journal.iter().filter(|row| row["table"] == table).collect()
}

/// The GTID in the remedy of an error.
pub fn to_skip(said: &str) -> Result<String> {
    let rest = said
        .split("binferry skip --gtid ")
        .nth(1)
        .with_context(|| format!("no hint at skip: {said}"))?;
    let end = rest
        .find(|c: char| c.is_whitespace() || c == ';')
        .unwrap_or(rest.len());
    Ok(rest[..end].to_owned())
}

/// `binferry skip`, to be run.
pub fn skip(pipeline: &Pipeline, gtid: &str) -> std::process::Command {
    let mut command = pipeline.command("skip");
    command.args(["--target", &pipeline.target, "--stream", &pipeline.stream]);
    command.args(["--gtid", gtid]);
    command
}
