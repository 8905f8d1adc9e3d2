//! `diff`: planted differences are found exactly, and none is found that is not there.

mod across;
mod planted;
mod repair;
mod traffic;
mod unusual;

use anyhow::{Context, Result, ensure};
use binferry_servers::MySql;
use serde_json::Value;

use crate::binferry::{PASSWORD, SOURCE_USER, TARGET_USER, output, program, users};

/// The users of the quickstart, and what comparing needs beside: to read the source's tables.
pub fn readers(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    users(source, target, database)?;
    source.sql(&format!(
        "GRANT SELECT ON `{database}`.* TO {SOURCE_USER}@'%'"
    ))?;
    Ok(())
}

pub fn command(source: &MySql, target: &MySql, database: &str) -> std::process::Command {
    let mut command = program("diff");
    command
        .args(["--source", &source.url(SOURCE_USER)])
        .args(["--target", &target.url(TARGET_USER)])
        .args(["--tables", &format!("{database}.*")])
        .arg("--json");
    command
}

/// What it finds, without the summary; and its exit code fits that.
pub fn found(command: &mut std::process::Command) -> Result<Vec<Value>> {
    let (found, summary, code) = answer(command)?;
    let differing = found.iter().filter(|line| line["kind"] != "note").count();
    let expected = i32::from(differing > 0);
    ensure!(
        code == Some(expected),
        "exit {code:?} with {differing} differences: {summary}"
    );
    Ok(found)
}

/// What it finds, the summary, and its exit code.
pub fn answer(command: &mut std::process::Command) -> Result<(Vec<Value>, Value, Option<i32>)> {
    let output = output(command)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!said.contains(PASSWORD), "shows the password: {said}");
    let lines: Vec<Value> = String::from_utf8(output.stdout)?
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<_>>()?;
    let (summary, found) = lines
        .split_last()
        .with_context(|| format!("says nothing: {said}"))?;
    ensure!(summary["kind"] == "summary", "ends with {summary}: {said}");
    Ok((found.to_vec(), summary.clone(), output.status.code()))
}

/// `table kind key columns` of each that is a difference, sorted.
pub fn told(found: &[Value]) -> Vec<String> {
    let mut told: Vec<String> = (found.iter().filter(|line| line["kind"] != "note"))
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let key = line["key"].as_object().map_or_else(String::new, |key| {
                let values: Vec<&str> = key.values().filter_map(Value::as_str).collect();
                values.join("/")
            });
            let columns = line["columns"]
                .as_array()
                .map_or_else(String::new, |columns| {
                    let names: Vec<&str> = columns.iter().filter_map(Value::as_str).collect();
                    names.join("+")
                });
            let parts = [
                text("table"),
                text("kind"),
                key,
                columns,
                text("definition"),
            ];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            parts.join(" ")
        })
        .collect();
    told.sort();
    told
}
