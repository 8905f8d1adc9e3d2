//! `check`: everything that would stop a start, before it does.

use std::{io::Write, process::ExitCode};

use binferry_capture::{
    client::Connection,
    preflight::{Severity, Wanted},
};
use serde_json::json;

use crate::{
    cli::Options,
    failure::{Failure, NO},
};

struct Found {
    side: &'static str,
    blocking: bool,
    severity: &'static str,
    subject: String,
    found: String,
    reason: String,
    remedy: Option<String>,
}

/// 0: nothing blocks; 1: something does.
pub async fn run(options: &Options) -> Result<ExitCode, Failure> {
    if options.source.is_none() && options.target.is_none() && options.log.is_none() {
        return Err(Failure::usage(
            "nothing to check: give --source, --target or --log",
        ));
    }
    let mut all = Vec::new();
    if options.source.is_some() {
        let mut connection = Connection::open(&options.source()?).await?;
        let filter = options.filter()?;
        for f in
            binferry_capture::preflight::check(&mut connection, &Wanted { tables: &filter }).await?
        {
            let (blocking, severity) = match f.severity {
                Severity::Blocking => (true, "blocking"),
                Severity::Warning => (false, "warning"),
                Severity::Info => (false, "info"),
            };
            all.push(Found {
                side: "source",
                blocking,
                severity,
                subject: f.subject,
                found: f.found,
                reason: f.reason,
                remedy: f.remedy,
            });
        }
        connection.close().await;
    }
    if options.target.is_some() {
        use binferry_apply::Severity;
        let filter = options.filter()?;
        for f in binferry_apply::preflight(&options.target()?, |database, table| {
            filter.matches(database, table)
        })
        .await
        {
            let (blocking, severity) = match f.severity {
                Severity::Problem => (true, "blocking"),
                Severity::Warning => (false, "warning"),
                Severity::Fine => (false, "fine"),
            };
            all.push(Found {
                side: "target",
                blocking,
                severity,
                subject: f.subject,
                found: f.found,
                reason: f.reason,
                remedy: f.remedy,
            });
        }
    }
    if options.log.is_some() {
        // Opening and folding it is the check: damage is an error of its own.
        let log = super::open_log(options)?;
        binferry_transport::resume::tail_state(log.as_ref()).await?;
    }
    let blocking = all.iter().any(|f| f.blocking);
    print(&all, options.json).map_err(|e| Failure::usage(format!("stdout: {e}")))?;
    Ok(if blocking {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}

fn print(all: &[Found], as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let list: Vec<_> = all
            .iter()
            .map(|f| json!({"side": f.side, "severity": f.severity, "subject": f.subject, "found": f.found, "reason": f.reason, "remedy": f.remedy}))
            .collect();
        return writeln!(out, "{}", json!(list));
    }
    let worth_telling: Vec<_> = all.iter().filter(|f| f.severity != "fine").collect();
    if worth_telling.is_empty() {
        return writeln!(out, "nothing found: ready to run");
    }
    for f in worth_telling {
        writeln!(
            out,
            "{:<8} {:<8} {} is {}: {}",
            f.side, f.severity, f.subject, f.found, f.reason
        )?;
        if let Some(remedy) = &f.remedy {
            writeln!(out, "                  remedy: {remedy}")?;
        }
    }
    Ok(())
}
