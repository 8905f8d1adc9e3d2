//! What `/status` says: the stages of this process, in JSON. docs/operate.md describes it; members are added, and not taken away.

use std::time::{SystemTime, UNIX_EPOCH};

use binferry_transport::meter::LastError;
use serde_json::{Value, json};

use crate::watch::{board::View, health::Condition};

pub fn of(view: &View) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "begun_us": us(view.begun),
        "healthy": view.is_well(),
        "ready": view.is_ready(),
        "problems": view.problems,
        "log": log(view),
        "capture": capture(view),
        "apply": apply(view),
    })
}

fn log(view: &View) -> Value {
    let Some(log) = &view.log else {
        return Value::Null;
    };
    let mut status = json!({"name": log.name(), "id": log.id().to_string()});
    if let Some(facts) = &view.survey.log {
        status["start"] = facts.bounds.start.0.into();
        status["end"] = facts.bounds.end.0.into();
        status["bytes"] = facts.bytes.into();
        let readers = facts.readers.iter().map(|(name, needs)| {
            let behind = facts.bounds.end.0.saturating_sub(needs.0);
            json!({"name": name, "needs": needs.0, "behind_records": behind})
        });
        status["readers"] = readers.collect();
    }
    status
}

fn capture(view: &View) -> Value {
    let Some((stage, _)) = &view.capture else {
        return Value::Null;
    };
    let progress = &stage.progress;
    let carried = progress.earlier.and(progress.counters);
    let mut status = json!({
        "file": progress.file,
        "position": progress.position,
        "gtids": progress.held.to_string(),
        "transactions": carried.transactions,
        "rows": carried.rows,
        "bytes": carried.bytes,
        "connects": progress.connects,
        "retries": progress.retries,
        "copies": progress.copies.iter().map(|copy| json!({
            "database": copy.database,
            "table": copy.table,
            "rows": copy.rows,
            "estimated_rows": copy.estimated_rows.max(copy.rows),
            "seconds_left": copy.left().map(|left| left.as_secs()),
        })).collect::<Vec<_>>(),
        "copies_wait": progress.copies_wait,
    });
    shared(&mut status, &stage.condition, &stage.last_error);
    status["lag_seconds"] = stage.lag.as_secs_f64().into();
    status["behind_transactions"] = stage.behind.into();
    status
}

fn apply(view: &View) -> Value {
    let Some((stage, _, stream)) = &view.apply else {
        return Value::Null;
    };
    let progress = &stage.progress;
    let state = progress.state.as_deref();
    let mut status = json!({
        "stream": stream,
        "offset": state.map(|state| state.offset.0),
        "gtids": state.map(|state| state.set.to_string()),
        "transactions": progress.transactions,
        "rows": progress.rows,
        "conflicts": progress.conflicts.total(),
        "retries": progress.retries,
    });
    shared(&mut status, &stage.condition, &stage.last_error);
    status["lag_seconds"] = stage.lag.as_secs_f64().into();
    status["behind_transactions"] = stage.behind.into();
    status
}

fn shared(status: &mut Value, condition: &Condition, last_error: &Option<LastError>) {
    status["connected"] = condition.connected.into();
    status["still_seconds"] = condition.still.map(|still| still.as_secs()).into();
    status["last_error"] = last_error.as_ref().map_or(
        Value::Null,
        |last| json!({"at_us": us(last.at), "error": last.error, "remedy": last.remedy}),
    );
}

fn us(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
