//! What the log, the target and the source tell. docs/operate.md describes the members; they are added, and not taken away.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use binferry_apply::conflict::{self, Journaled, Wanted};
use binferry_capture::{
    snapshot::{bytes_of, request::Request},
    stream::Probe,
};
use binferry_schemas::{
    address::Address,
    gtid::Uuid,
    record::{CopyState, FoldState, Heartbeat, Incarnation, SiteState},
    source::SourceAddress,
};
use binferry_transport::{log::Log, resume::tail_report, trouble::Trouble};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    cli::Options,
    failure::Failure,
    watch::board::{APPLY, CAPTURE, count},
};

/// A capture writes its counts every minute, an applier its place every few seconds: also when there is nothing to carry.
const SILENT_CAPTURE: u64 = 180;
const SILENT_APPLIER: u64 = 60;
/// A server that does not answer must not hold back what the others say.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Asker {
    log: Arc<dyn Log>,
    target: Option<Address>,
    source: Option<Probe>,
    stream: String,
    earlier: Option<Mark>,
}

/// What rates are told from.
struct Mark {
    at: Instant,
    end: u64,
    applied: Option<u64>,
}

impl Asker {
    pub async fn open(options: &Options) -> Result<Self, Failure> {
        let source = match &options.source {
            Some(_) => Some(options.source()?),
            None => None,
        };
        Ok(Self {
            target: options
                .target
                .as_ref()
                .map(|_| options.target())
                .transpose()?,
            source: match source {
                Some(SourceAddress::Server(address)) => Some(Probe::new(address)),
                _ => None,
            },
            stream: options.stream(),
            log: super::super::open_log(options).await?,
            earlier: None,
        })
    }

    /// With the exit code: servers that are out of reach are among the problems, beside what the log says.
    pub async fn look(&mut self) -> Result<(Value, ExitCode), Failure> {
        let bounds = self.log.bounds().await?;
        let (state, heartbeats) = tail_report(self.log.as_ref()).await?;
        let now_us = us(SystemTime::now());
        let beside = self.log.requests().await?;
        let (mut problems, mut code) = (troubles(&beside), ExitCode::SUCCESS);
        let mut status = json!({
            "at_us": now_us,
            "log": {
                "name": self.log.name(),
                "id": self.log.id().to_string(),
                "start": bounds.start.0,
                "end": bounds.end.0,
                "bytes": self.log.kept_bytes().await?,
                "gtids": state.set.to_string(),
                "transactions": count(&state.set),
                "newest": state.newest.as_ref().map(|n| json!({"gtid": n.gtid.to_string(), "committed_us": n.original_commit_us})),
                "sites": state.sites.iter().map(|s| site(s, &heartbeats)).collect::<Vec<_>>(),
                "records_per_second": null,
            },
            "requests": requests(&beside),
            "readers": self.log.registrations().await?.iter().map(|r| json!({
                "name": r.name,
                "needs": r.needs.0,
                "behind_records": bounds.end.0.saturating_sub(r.needs.0),
                "seen_seconds_ago": r.updated.elapsed().unwrap_or_default().as_secs(),
            })).collect::<Vec<_>>(),
        });
        problems.extend(silent_captures(&status["log"]["sites"], now_us));
        if let Some(probe) = &mut self.source {
            match timeout(PATIENCE, probe.executed()).await {
                Ok(Ok(executed)) => {
                    let missing = executed.subtract(&state.set);
                    status["source"] = json!({
                        "gtids": executed.to_string(),
                        "missing": missing.to_string(),
                        "behind_transactions": count(&missing),
                    });
                }
                Ok(Err(error)) => problems.push(unanswered("source", &error.into())),
                Err(_) => problems.push(unanswered("source", &silence())),
            }
        }
        if let Some(address) = &self.target {
            let asked = timeout(PATIENCE, target(address, &self.stream, &state, &self.log)).await;
            match asked.unwrap_or_else(|_| Err(silence())) {
                Ok(found) => {
                    problems.extend(target_problems(&found, &status["readers"]));
                    status["target"] = found;
                }
                Err(failure) => {
                    problems.push(unanswered("target", &failure));
                    code = failure.exit();
                }
            }
        }
        status["problems"] = Value::Array(problems);
        self.rates(&mut status);
        Ok((status, code))
    }

    /// Of a second look and later ones: what has come since the one before.
    fn rates(&mut self, status: &mut Value) {
        let mark = Mark {
            at: Instant::now(),
            end: status["log"]["end"].as_u64().unwrap_or_default(),
            applied: status["target"]["transactions"].as_u64(),
        };
        if let Some(earlier) = &self.earlier {
            let seconds = mark.at.duration_since(earlier.at).as_secs_f64();
            let rate = |now: u64, then: u64| {
                (seconds > 0.0).then(|| now.saturating_sub(then) as f64 / seconds)
            };
            status["log"]["records_per_second"] = rate(mark.end, earlier.end).into();
            if let (Some(now), Some(then)) = (mark.applied, earlier.applied) {
                status["target"]["transactions_per_second"] = rate(now, then).into();
            }
        }
        self.earlier = Some(mark);
    }
}

fn silence() -> Failure {
    Failure::unreachable(format!("no answer within {} s", PATIENCE.as_secs()))
}

fn unanswered(server: &str, failure: &Failure) -> Value {
    json!({"stage": server, "problem": failure.message(), "remedy": failure.hint()})
}

async fn target(
    address: &Address,
    stream: &str,
    log: &FoldState,
    identity: &Arc<dyn Log>,
) -> Result<Value, Failure> {
    let Some(progress) = binferry_apply::read_progress(address, stream).await? else {
        return Ok(
            json!({"stream": stream, "started": false, "behind_transactions": count(&log.set)}),
        );
    };
    let missing = log.set.subtract(&progress.state.set);
    // Commit times of the same source are compared, so the two machines' clocks do not matter.
    let behind_us = match (&log.newest, &progress.state.newest) {
        (Some(log), Some(target)) if !missing.is_empty() => log
            .original_commit_us
            .saturating_sub(target.original_commit_us),
        _ => 0,
    };
    let conflicts = conflict::count(address, stream).await?;
    let mut last = None;
    if conflicts > 0 {
        let wanted = Wanted {
            stream: Some(stream.to_owned()),
            last: true,
            ..Wanted::default()
        };
        conflict::read(address, &wanted, |found| {
            last = Some(found);
            false
        })
        .await?;
    }
    Ok(json!({
        "stream": stream,
        "started": true,
        "paired": progress.state.log == identity.id(),
        "offset": progress.state.offset.0,
        "gtids": progress.state.set.to_string(),
        "transactions": count(&progress.state.set),
        "missing": missing.to_string(),
        "behind_transactions": count(&missing),
        "behind_seconds": behind_us as f64 / 1e6,
        "transactions_per_second": null,
        "conflicts": conflicts,
        "last_conflict": last.as_ref().map(last_conflict),
    }))
}

fn last_conflict(found: &Journaled) -> Value {
    json!({
        "id": found.id,
        "at": found.at,
        "kind": found.kind,
        "policy": found.policy,
        "outcome": found.outcome,
        "gtid": found.gtid,
        "database": found.table.as_ref().map(|table| &table.database),
        "table": found.table.as_ref().map(|table| &table.table),
    })
}

fn target_problems(target: &Value, readers: &Value) -> Vec<Value> {
    let mut problems = Vec::new();
    if target["paired"] == false {
        problems.push(json!({
            "stage": APPLY,
            "problem": "what the target shows of this stream is of another log",
            "remedy": "give the --log that it was applied from, or another --stream",
        }));
    }
    let name = format!("{APPLY}-{}", target["stream"].as_str().unwrap_or_default());
    let reader = (readers.as_array().into_iter().flatten()).find(|reader| reader["name"] == name);
    let silent = reader.and_then(|reader| reader["seen_seconds_ago"].as_u64());
    let behind = target["behind_transactions"].as_u64().unwrap_or_default();
    if let Some(silent) = silent.filter(|silent| behind > 0 && *silent >= SILENT_APPLIER) {
        problems.push(json!({
            "stage": APPLY,
            "problem": format!("the applier has told nothing for {silent} s, and {behind} transactions wait for it"),
            "remedy": "start `binferry apply` or `binferry run`; its log lines say why it ended, or what it waits for",
        }));
    }
    problems
}

/// By the clocks of their machines and ours. A capture of files ends by itself.
fn silent_captures(sites: &Value, now_us: u64) -> Vec<Value> {
    let nobody = Uuid::default().to_string();
    let sites = sites.as_array().into_iter().flatten();
    let silent = sites.filter(|site| site["server"] != nobody).filter_map(|site| {
        let told = site["counts"]["at_us"].as_u64()?;
        let seconds = now_us.saturating_sub(told) / 1_000_000;
        (seconds >= SILENT_CAPTURE).then(|| json!({
            "stage": CAPTURE,
            "problem": format!("the capture of site {} has told nothing for {seconds} s", site["site"].as_str().unwrap_or_default()),
            "remedy": "start `binferry capture` or `binferry run`; its log lines say why it ended, or what it waits for",
        }))
    });
    silent.collect()
}

fn site(site: &SiteState, heartbeats: &[(Incarnation, Heartbeat)]) -> Value {
    let told = newest(heartbeats, site.incarnation);
    let copied = told.and_then(|told| rate(told, &["rows.copied"]));
    json!({
        "site": site.site,
        "server": site.server.to_string(),
        "tables": site.filter,
        "jobs": site.jobs.iter().map(|j| json!({"job": j.job.id.to_string(), "tables": j.job.tables, "planned": j.planned})).collect::<Vec<_>>(),
        "copies": site.copies.iter().map(|c| copy(c, site.copies.len(), copied)).collect::<Vec<_>>(),
        "counts": told.and_then(|told| told.counts.as_ref().map(|counts| json!({
            "since_us": counts.since_us, "at_us": told.at_us, "counts": counts.counts,
        }))),
        "rows_per_second": told.and_then(|told| rate(told, &["rows.insert", "rows.update", "rows.delete"])),
        "prepared": site.prepared.iter().map(|p| json!({"xid": p.xid.to_string(), "gtid": p.gtid.to_string(), "offset": p.first.0})).collect::<Vec<_>>(),
    })
}

/// The last errors of stages that are not connected since, or have ended with them.
fn troubles(beside: &[(Uuid, String)]) -> Vec<Value> {
    let troubles = beside.iter().filter_map(|(_, text)| Trouble::parse(text));
    let shown = troubles.map(|trouble| {
        json!({
            "stage": trouble.stage,
            "name": trouble.name,
            "at_us": trouble.at_us,
            "problem": trouble.error,
            "remedy": trouble.remedy,
        })
    });
    shown.collect()
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

/// What the site's capture said last of what it has done since it began.
fn newest(heartbeats: &[(Incarnation, Heartbeat)], incarnation: Incarnation) -> Option<&Heartbeat> {
    let mut told = heartbeats.iter().filter(|(of, _)| *of == incarnation);
    told.next_back().map(|(_, heartbeat)| heartbeat)
}

/// A second, since the capture began; `None` when there were none.
fn rate(told: &Heartbeat, names: &[&str]) -> Option<f64> {
    let counts = told.counts.as_ref()?;
    let all: u64 = (names.iter())
        .filter_map(|name| counts.counts.get(*name))
        .sum();
    let took = told.at_us.checked_sub(counts.since_us)? as f64 / 1e6;
    (all > 0 && took > 0.0).then(|| all as f64 / took)
}

fn us(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
