//! One screen for people, of the JSON that others get. Colours are for a terminal: `console` leaves them out elsewhere, and with NO_COLOR.

use std::{fmt::Display, time::Duration};

use console::style;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde_json::Value;

pub fn of(status: &Value) -> String {
    let now_us = number(&status["at_us"]);
    let mut page = log(&status["log"], now_us);
    for site in list(&status["log"]["sites"]) {
        page += &capture(site, &status["source"], now_us);
    }
    for request in list(&status["requests"]) {
        page += &match request["over"].as_str() {
            Some("added") => heading(
                "tables",
                &format!("{} beside those of --tables", text(&request["tables"])),
            ),
            _ => heading(
                "request",
                &format!(
                    "{} to copy {} (over {}): no capture has taken it",
                    text(&request["request"]),
                    text(&request["tables"]),
                    text(&request["over"])
                ),
            ),
        };
    }
    for reader in list(&status["readers"]) {
        page += &heading(
            "reader",
            &format!(
                "{}, needs offset {}, {} records behind, seen {} ago",
                text(&reader["name"]),
                whole(&reader["needs"]),
                whole(&reader["behind_records"]),
                lasting(number(&reader["seen_seconds_ago"])),
            ),
        );
    }
    page += &target(&status["target"]);
    page += &problems(&status["problems"], now_us);
    page
}

fn log(log: &Value, now_us: u64) -> String {
    let mut page = heading(
        "log",
        &format!("{} ({})", text(&log["name"]), text(&log["id"])),
    );
    let mut offsets = format!("{} to {}", whole(&log["start"]), whole(&log["end"]));
    if let Some(bytes) = log["bytes"].as_u64() {
        offsets += &format!(", {}", HumanBytes(bytes));
    }
    if let Some(rate) = log["records_per_second"].as_f64() {
        offsets += &format!(", {} records/s", HumanCount(rate.round() as u64));
    }
    page += &line("offsets", offsets);
    if let Some(committed) = log["newest"]["committed_us"].as_u64() {
        let ago = now_us.saturating_sub(committed) / 1_000_000;
        let newest = text(&log["newest"]["gtid"]);
        page += &line(
            "newest",
            format!("{newest}, committed {} ago", lasting(ago)),
        );
    }
    page + &line("gtids", text(&log["gtids"]))
}

fn capture(site: &Value, source: &Value, now_us: u64) -> String {
    let mut page = heading(
        "capture",
        &format!(
            "site {} of server {}, tables {}",
            text(&site["site"]),
            text(&site["server"]),
            text(&site["tables"])
        ),
    );
    if let Some(behind) = source["behind_transactions"].as_u64() {
        page += &line("behind", behind_by(behind, None));
        page += &missing(source);
    }
    let counts = &site["counts"];
    if !counts.is_null() {
        let of = |name: &str| number(&counts["counts"][name]);
        let (since, at) = (number(&counts["since_us"]), number(&counts["at_us"]));
        page += &line(
            "carried",
            format!(
                "{} transactions, {} inserts, {} updates, {} deletes, {} rows copied, of {}",
                HumanCount(of("transactions.written")),
                HumanCount(of("rows.insert")),
                HumanCount(of("rows.update")),
                HumanCount(of("rows.delete")),
                HumanCount(of("rows.copied")),
                HumanBytes(of("bytes.seen")),
            ),
        );
        if let Some(rate) = site["rows_per_second"].as_f64() {
            page += &line(
                "rate",
                format!("{} rows/s", HumanCount(rate.round() as u64)),
            );
        }
        page += &line(
            "counted",
            format!(
                "over {}, until {} ago",
                lasting(at.saturating_sub(since) / 1_000_000),
                lasting(now_us.saturating_sub(at) / 1_000_000)
            ),
        );
    }
    for job in list(&site["jobs"]) {
        page += &line(
            "copy",
            format!("of {}, job {}", text(&job["tables"]), text(&job["job"])),
        );
    }
    for copy in list(&site["copies"]) {
        let left = match copy["seconds_left"].as_u64() {
            Some(seconds) => format!(", about {} left", lasting(seconds)),
            None => String::new(),
        };
        page += &line(
            "table",
            format!(
                "{}.{} {} of about {} rows, {} of {}{left}",
                text(&copy["database"]),
                text(&copy["table"]),
                whole(&copy["rows"]),
                whole(&copy["estimated_rows"]),
                HumanBytes(number(&copy["bytes"])),
                HumanBytes(number(&copy["estimated_bytes"])),
            ),
        );
    }
    for prepared in list(&site["prepared"]) {
        page += &line(
            "xa",
            format!(
                "{} prepared by {}, at offset {}",
                text(&prepared["xid"]),
                text(&prepared["gtid"]),
                whole(&prepared["offset"])
            ),
        );
    }
    page
}

fn target(target: &Value) -> String {
    let behind = number(&target["behind_transactions"]);
    if target.is_null() {
        return String::new();
    }
    let mut page = heading("apply", &format!("stream {}", text(&target["stream"])));
    if target["started"] != true {
        return page
            + &line(
                "behind",
                format!("nothing applied yet, {} transactions", HumanCount(behind)),
            );
    }
    page += &line("offset", whole(&target["offset"]));
    page += &line(
        "behind",
        behind_by(behind, target["behind_seconds"].as_f64()),
    );
    page += &missing(target);
    if let Some(rate) = target["transactions_per_second"].as_f64() {
        page += &line(
            "rate",
            format!("{} transactions/s", HumanCount(rate.round() as u64)),
        );
    }
    page += &line("gtids", text(&target["gtids"]));
    let conflicts = number(&target["conflicts"]);
    page += &line("journal", match &target["last_conflict"] {
        Value::Null => format!("{conflicts} conflicts"),
        last => style(format!(
            "{} conflicts; the last one, {}: {} in {}.{} by {}, {} ({}); `binferry conflicts show {}` has all of it",
            HumanCount(conflicts),
            text(&last["at"]),
            text(&last["kind"]),
            text(&last["database"]),
            text(&last["table"]),
            text(&last["gtid"]),
            text(&last["policy"]),
            text(&last["outcome"]),
            last["id"],
        )).yellow().to_string(),
    });
    page
}

fn problems(problems: &Value, now_us: u64) -> String {
    let mut page = String::new();
    for problem in list(problems) {
        let of = match (problem["name"].as_str(), problem["at_us"].as_u64()) {
            (Some(name), Some(at)) => {
                format!(
                    " {name}, {} ago",
                    lasting(now_us.saturating_sub(at) / 1_000_000)
                )
            }
            _ => String::new(),
        };
        page += &format!(
            "{} {}{of}: {}\n",
            style(format!("{:<8}", "problem")).red().bold(),
            text(&problem["stage"]),
            style(text(&problem["problem"])).red(),
        );
        let remedy = &problem["remedy"];
        if !remedy.is_null() {
            page += &line("remedy", text(remedy));
        }
    }
    page
}

fn heading(name: &str, what: &str) -> String {
    format!("{} {what}\n", style(format!("{name:<8}")).bold())
}

fn line(name: &str, what: impl Display) -> String {
    format!("  {} {what}\n", style(format!("{name:<8}")).dim())
}

fn behind_by(transactions: u64, seconds: Option<f64>) -> String {
    match (transactions, seconds) {
        (0, _) => style("nothing").green().to_string(),
        (some, None) => style(format!("{} transactions", HumanCount(some)))
            .yellow()
            .to_string(),
        (some, Some(seconds)) => {
            style(format!("{} transactions, {seconds:.1} s", HumanCount(some)))
                .yellow()
                .to_string()
        }
    }
}

/// Only where something is.
fn missing(of: &Value) -> String {
    match of["missing"].as_str() {
        None | Some("") => String::new(),
        Some(set) => line("missing", set),
    }
}

fn lasting(seconds: u64) -> HumanDuration {
    HumanDuration(Duration::from_secs(seconds))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn whole(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "-".to_owned(), |n| HumanCount(n).to_string())
}

/// Names come from outside: none may move a terminal's cursor.
fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    match text {
        "" => "-".to_owned(),
        _ => text
            .replace('\n', " ")
            .replace(char::is_control, "\u{fffd}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_does_not_write_on_the_terminal() {
        assert_eq!(text(&json!("a\u{1b}[2Jb")), "a\u{fffd}[2Jb");
    }

    #[test]
    fn problems_stand_with_their_remedies() {
        let page = of(&json!({
            "at_us": 20_000_000,
            "log": {"name": "/log", "id": "x", "start": 0, "end": 4242,
                    "newest": {"gtid": "g:7", "committed_us": 8_000_000}, "gtids": "g:1-7"},
            "target": {"stream": "main", "started": true, "offset": 4200, "behind_transactions": 3,
                       "behind_seconds": 1.25, "missing": "g:5-7", "conflicts": 0},
            "problems": [{"stage": "source", "problem": "away", "remedy": "wake it"}],
        }));
        let page = console::strip_ansi_codes(&page);
        for part in [
            "0 to 4,242",
            "g:7, committed 12 seconds ago",
            "3 transactions, 1.2 s",
            "g:5-7",
            "source: away\n  remedy   wake it\n",
        ] {
            assert!(page.contains(part), "{part:?} is not in:\n{page}");
        }
    }
}
