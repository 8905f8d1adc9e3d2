//! `conflicts`: what the journal on a target holds.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use binferry_apply::conflict::{ConflictKind, Journaled, Wanted, read};
use binferry_schemas::filter::TableFilter;
use serde_json::json;

use crate::{
    cli::{ConflictsAction, Options},
    failure::{Failure, NO},
};

/// 0, or 1 when there is none of the id to show.
pub async fn run(options: &Options, action: &ConflictsAction) -> Result<ExitCode, Failure> {
    match action {
        ConflictsAction::List {
            table, kind, since, ..
        } => {
            let tables = tables(table.as_deref())?;
            let wanted = Wanted {
                stream: options.stream.clone(),
                kind: kind.as_deref().map(known).transpose()?,
                since_us: since.as_deref().map(since_us).transpose()?,
                id: None,
                last: false,
                whole: options.json,
            };
            let fits = |found: &Journaled| {
                tables.as_ref().is_none_or(|tables| {
                    let table = found.table.as_ref();
                    table.is_some_and(|table| tables.matches(&table.database, &table.table))
                })
            };
            let shown = print(options, &wanted, |found| match () {
                () if !fits(found) => None,
                () if options.json => Some(format!("{}\n", document(found))),
                () => Some(line(found)),
            });
            shown.await.map(|_| ExitCode::SUCCESS)
        }
        ConflictsAction::Show { id, .. } => {
            let wanted = Wanted {
                stream: options.stream.clone(),
                id: Some(*id),
                whole: true,
                ..Wanted::default()
            };
            let shown = print(options, &wanted, |found| {
                Some(match options.json {
                    true => format!("{}\n", document(found)),
                    false => page(found),
                })
            });
            if shown.await? == 0 {
                eprintln!("the journal has no conflict {id}");
                return Ok(ExitCode::from(NO));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Gives how many were printed.
async fn print(
    options: &Options,
    wanted: &Wanted,
    form: impl Fn(&Journaled) -> Option<String>,
) -> Result<u64, Failure> {
    let mut out = io::BufWriter::new(io::stdout());
    let (mut shown, mut failed) = (0, None);
    read(&options.target()?, wanted, |found| {
        let Some(text) = form(&found) else {
            return true;
        };
        shown += 1;
        failed = out.write_all(text.as_bytes()).err();
        failed.is_none()
    })
    .await?;
    match failed.or(out.flush().err()) {
        // Nobody reads on.
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::usage(format!("stdout: {error}")))
        }
        _ => Ok(shown),
    }
}

fn tables(patterns: Option<&str>) -> Result<Option<TableFilter>, Failure> {
    let tables = patterns.map(str::parse).transpose();
    tables.map_err(|error| Failure::usage(format!("--table: {error}")))
}

fn known(kind: &str) -> Result<String, Failure> {
    if matches!(kind, "skipped" | "repaired") || ConflictKind::from_name(kind).is_some() {
        return Ok(kind.to_owned());
    }
    let kinds = ConflictKind::ALL.map(ConflictKind::name).join(", ");
    Err(Failure::usage(format!(
        "--kind {kind}: the kinds are {kinds}, skipped and repaired"
    )))
}

/// A point in time, or a duration back from now; in microseconds since the epoch.
fn since_us(text: &str) -> Result<u64, Failure> {
    let at = match humantime::parse_duration(text) {
        Ok(back) => SystemTime::now().checked_sub(back),
        Err(_) => Some(humantime::parse_rfc3339_weak(text).map_err(|error| {
            Failure::usage(format!(
                "--since {text}: {error}; for example 2026-03-01T12:00:00Z, or 2h"
            ))
        })?),
    };
    let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let us = since.unwrap_or(Duration::ZERO).as_micros();
    Ok(u64::try_from(us).unwrap_or(u64::MAX))
}

fn table(found: &Journaled) -> String {
    found
        .table
        .as_ref()
        .map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn line(found: &Journaled) -> String {
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}\t{}\n",
        found.id,
        found.at,
        found.kind,
        table(found),
        found.gtid,
        found.policy,
        found.outcome
    )
}

/// Its images are documents of their own in it, with every digit that they have in the journal.
fn document(found: &Journaled) -> String {
    let head = json!({
        "id": found.id,
        "at": found.at,
        "stream": found.stream,
        "kind": found.kind,
        "policy": found.policy,
        "outcome": found.outcome,
        "gtid": found.gtid,
        "log": found.log,
        "offset": found.offset.0,
        "index": found.index,
        "op": found.operation,
        "database": found.table.as_ref().map(|table| &table.database),
        "table": found.table.as_ref().map(|table| &table.table),
        "key": found.key,
        "error": found.error,
        "statement": found.statement,
    });
    let mut text = head.to_string();
    text.pop();
    for (name, image) in [
        ("before", &found.before),
        ("after", &found.after),
        ("target", &found.found),
    ] {
        let image = image.as_deref().unwrap_or("null");
        text += &format!(",\"{name}\":{image}");
    }
    text + "}"
}

/// One screen for people.
fn page(found: &Journaled) -> String {
    let mut page = String::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            page += &format!("{name:<10}{value}\n");
        }
    };
    add("id", Some(found.id.to_string()));
    add("at", Some(format!("{} UTC", found.at)));
    add("stream", Some(found.stream.clone()));
    add("kind", Some(found.kind.clone()));
    add("policy", Some(found.policy.clone()));
    add("outcome", Some(found.outcome.clone()));
    add("gtid", Some(found.gtid.clone()));
    add("log", Some(found.log.clone()));
    add("offset", Some(found.offset.0.to_string()));
    add("index", found.index.map(|index| index.to_string()));
    add("op", found.operation.clone());
    add("table", found.table.as_ref().map(ToString::to_string));
    add("key", found.key.clone());
    add("error", found.error.map(|error| error.to_string()));
    add("before", found.before.clone());
    add("after", found.after.clone());
    add("target", found.found.clone());
    add("statement", found.statement.clone());
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        assert_eq!(since_us("1970-01-02T00:00:00Z").ok(), Some(86_400_000_000));
        assert_eq!(since_us("1970-01-01 00:00:01.5").ok(), Some(1_500_000));
        assert!(since_us("2h").is_ok_and(|us| us > 1_700_000_000_000_000));
        assert!(since_us("yesterday").is_err());
        assert!(known("unique_key").is_ok() && known("repaired").is_ok() && known("x").is_err());
    }
}
