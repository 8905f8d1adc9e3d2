//! `status`: where a log stands, who reads it, and what a target shows of it.

use std::{io::Write, process::ExitCode};

use binferry_capture::snapshot::{bytes_of, request::Request};
use binferry_schemas::{
    gtid::Uuid,
    record::{CopyState, Heartbeat, Incarnation},
};
use binferry_transport::resume::tail_report;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::{cli::Options, failure::Failure};

pub async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let log = super::open_log(options).await?;
    let bounds = log.bounds().await?;
    let (state, heartbeats) = tail_report(log.as_ref()).await?;
    let mut status = json!({
        "log": {
            "name": log.name(),
            "id": log.id().to_string(),
            "start": bounds.start.0,
            "end": bounds.end.0,
            "gtids": state.set.to_string(),
            "newest": state.newest.as_ref().map(|n| json!({"gtid": n.gtid.to_string(), "committed_us": n.original_commit_us})),
            "sites": state.sites.iter().map(|s| json!({
                "site": s.site,
                "server": s.server.to_string(),
                "tables": s.filter,
                "jobs": s.jobs.iter().map(|j| json!({"job": j.job.id.to_string(), "tables": j.job.tables, "planned": j.planned})).collect::<Vec<_>>(),
                "copies": s.copies.iter().map(|c| copy(c, s.copies.len(), copy_rate(&heartbeats, s.incarnation))).collect::<Vec<_>>(),
                "counts": counts(&heartbeats, s.incarnation),
                "prepared": s.prepared.iter().map(|p| json!({"xid": p.xid.to_string(), "gtid": p.gtid.to_string(), "offset": p.first.0})).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        },
        "requests": requests(&log.requests().await?),
        "readers": log.registrations().await?.iter().map(|r| json!({
            "name": r.name,
            "needs": r.needs.0,
            "behind_records": bounds.end.0.saturating_sub(r.needs.0),
            "seen_seconds_ago": r.updated.elapsed().unwrap_or_default().as_secs(),
        })).collect::<Vec<_>>(),
    });
    if options.target.is_some() {
        let progress = binferry_apply::read_progress(&options.target()?, &options.stream()).await?;
        status["target"] = match progress {
            None => {
                json!({"stream": options.stream(), "started": false, "behind_transactions": count(&state.set)})
            }
            Some(progress) => {
                let missing = state.set.subtract(&progress.state.set);
                // Commit times of the same source are compared, so the two machines' clocks do not matter.
                let behind_us = match (&state.newest, &progress.state.newest) {
                    (Some(log), Some(target)) if !missing.is_empty() => log
                        .original_commit_us
                        .saturating_sub(target.original_commit_us),
                    _ => 0,
                };
                json!({
                    "stream": options.stream(),
                    "started": true,
                    "paired": progress.state.log == log.id(),
                    "offset": progress.state.offset.0,
                    "gtids": progress.state.set.to_string(),
                    "missing": missing.to_string(),
                    "behind_transactions": count(&missing),
                    "behind_seconds": behind_us as f64 / 1e6,
                    "conflicts": binferry_apply::conflict::count(&options.target()?, &options.stream()).await?,
                })
            }
        };
    }
    let mut out = std::io::stdout().lock();
    let written = match options.json {
        true => writeln!(out, "{status}"),
        false => out.write_all(page(&status).as_bytes()),
    };
    written.map_err(|e| Failure::usage(format!("stdout: {e}")))?;
    Ok(ExitCode::SUCCESS)
}

/// What lies beside the log for its capture.
fn requests(all: &[(Uuid, String)]) -> Value {
    let shown = all.iter().filter_map(|(id, text)| {
        let (tables, over) = match Request::parse(text)? {
            Request::Copy { tables, over } => (tables, over.name()),
            Request::Added { tables } => (tables, "added"),
        };
        Some(json!({"request": id.to_string(), "tables": tables.to_string(), "over": over}))
    });
    Value::Array(shown.collect())
}

fn count(set: &binferry_schemas::gtid::GtidSet) -> u64 {
    u64::try_from(set.len()).unwrap_or(u64::MAX)
}

fn now_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn copy(copy: &CopyState, others: usize, rate: Option<f64>) -> Value {
    let missing = copy.estimated_rows.saturating_sub(copy.rows) as f64;
    // Tables that are copied at the same time share what there is.
    let left = rate.map(|rate| (missing * others.max(1) as f64 / rate).round() as u64);
    json!({
        "database": copy.table.database,
        "table": copy.table.table,
        "rows": copy.rows,
        "estimated_rows": copy.estimated_rows,
        "bytes": bytes_of(copy.rows, copy.estimated_rows, copy.estimated_bytes),
        "estimated_bytes": copy.estimated_bytes,
        "seconds_left": left,
    })
}

/// Rows a second that the site's capture has copied since it began, as of its newest heartbeat.
fn copy_rate(heartbeats: &[(Incarnation, Heartbeat)], incarnation: Incarnation) -> Option<f64> {
    let mut newest = heartbeats.iter().filter(|(of, _)| *of == incarnation);
    let (_, heartbeat) = newest.next_back()?;
    let counts = heartbeat.counts.as_ref()?;
    let rows = *counts.counts.get("rows.copied")?;
    let took = heartbeat.at_us.checked_sub(counts.since_us)? as f64 / 1e6;
    (rows > 0 && took > 0.0).then(|| rows as f64 / took)
}

/// What the site's capture has done since it began, as of its newest heartbeat.
fn counts(heartbeats: &[(Incarnation, Heartbeat)], incarnation: Incarnation) -> Value {
    let mut newest = heartbeats.iter().filter(|(of, _)| *of == incarnation);
    match newest.next_back() {
        Some((
            _,
            Heartbeat {
                at_us,
                counts: Some(counts),
            },
        )) => json!({"since_us": counts.since_us, "at_us": at_us, "counts": counts.counts}),
        _ => Value::Null,
    }
}

/// One screen for people.
fn page(status: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(s) if s.is_empty() => "-".to_owned(),
        Value::String(s) => s.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let log = &status["log"];
    let mut page = format!(
        "log      {} ({})\n  offsets  {} to {}\n  newest   {}\n  gtids    {}\n",
        text(&log["name"]),
        text(&log["id"]),
        log["start"],
        log["end"],
        text(&log["newest"]["gtid"]),
        text(&log["gtids"]),
    );
    for site in log["sites"].as_array().into_iter().flatten() {
        page += &format!(
            "source   {} server {} tables {}\n",
            text(&site["site"]),
            text(&site["server"]),
            text(&site["tables"])
        );
        let counts = &site["counts"];
        if !counts.is_null() {
            let seconds = |name: &str| counts[name].as_u64().unwrap_or_default() / 1_000_000;
            page += &format!(
                "  counts over {} s, {} s ago\n",
                seconds("at_us").saturating_sub(seconds("since_us")),
                now_seconds().saturating_sub(seconds("at_us"))
            );
            for (name, count) in counts["counts"].as_object().into_iter().flatten() {
                page += &format!("    {name:<32} {count}\n");
            }
        }
        for job in site["jobs"].as_array().into_iter().flatten() {
            page += &format!(
                "  copy   of {}, job {}\n",
                text(&job["tables"]),
                text(&job["job"])
            );
        }
        for copy in site["copies"].as_array().into_iter().flatten() {
            page += &format!(
                "  table  {}.{} {} of about {} rows, {} of {}{}\n",
                text(&copy["database"]),
                text(&copy["table"]),
                copy["rows"],
                copy["estimated_rows"],
                HumanBytes(copy["bytes"].as_u64().unwrap_or_default()),
                HumanBytes(copy["estimated_bytes"].as_u64().unwrap_or_default()),
                match copy["seconds_left"].as_u64() {
                    Some(seconds) => format!(", about {seconds} s left"),
                    None => String::new(),
                }
            );
        }
        for prepared in site["prepared"].as_array().into_iter().flatten() {
            page += &format!(
                "  xa     {} prepared by {}, at offset {}\n",
                text(&prepared["xid"]),
                text(&prepared["gtid"]),
                prepared["offset"]
            );
        }
    }
    for request in status["requests"].as_array().into_iter().flatten() {
        page += &match request["over"].as_str() {
            Some("added") => format!(
                "tables   {} beside those of --tables\n",
                text(&request["tables"])
            ),
            _ => format!(
                "request  {} to copy {} (over {})\n",
                text(&request["request"]),
                text(&request["tables"]),
                text(&request["over"])
            ),
        };
    }
    for reader in status["readers"].as_array().into_iter().flatten() {
        page += &format!(
            "reader   {} needs offset {}, {} records behind, seen {} s ago\n",
            text(&reader["name"]),
            reader["needs"],
            reader["behind_records"],
            reader["seen_seconds_ago"]
        );
    }
    let target = &status["target"];
    if target["started"] == true {
        page += &format!(
            "target   stream {}{}\n  offset   {}\n  behind   {} transactions, {} s\n  missing  {}\n  journal  {} conflicts\n",
            text(&target["stream"]),
            if target["paired"] == true {
                ""
            } else {
                " (PAIRED WITH ANOTHER LOG)"
            },
            target["offset"],
            target["behind_transactions"],
            target["behind_seconds"],
            text(&target["missing"]),
            target["conflicts"],
        );
    } else if !target.is_null() {
        page += &format!(
            "target   stream {}: nothing applied yet, {} transactions behind\n",
            text(&target["stream"]),
            target["behind_transactions"]
        );
    }
    page
}
