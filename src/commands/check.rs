//! `check`: everything that would stop a start, before it does.

use std::{io::Write, path::PathBuf, process::ExitCode};

use binferry_apply::Gtids;
use binferry_capture::{client::Connection, preflight::Wanted};
use binferry_schemas::{
    filter::TableFilter,
    finding::{Finding, Severity},
    source::SourceAddress,
};
use binferry_transport::kafka::KafkaLog;
use serde_json::json;

use crate::{
    cli::{LogPlace, Options, Place},
    failure::{Failure, NO},
};

/// 0: nothing blocks; 1: something does.
pub async fn run(options: &Options) -> Result<ExitCode, Failure> {
    if options.source.is_none() && options.target.is_none() && options.log.is_none() {
        return Err(Failure::usage(
            "nothing to check: give --source, --target or --log",
        ));
    }
    let filter = options.filter()?;
    let mut all: Vec<(&str, Finding)> = Vec::new();
    let copies = match options.from()? {
        Some(place) => place == Place::Snapshot,
        None => is_first_start(options).await?,
    };
    if options.source.is_some() {
        let findings = match options.source()? {
            SourceAddress::Server(server) => {
                let mut connection = Connection::open(&server).await?;
                let wanted = Wanted {
                    tables: &filter,
                    copy: copies,
                };
                let findings = binferry_capture::preflight::check(&mut connection, &wanted).await?;
                connection.close().await;
                findings
            }
            SourceAddress::Files(paths) => check_files(&paths, &filter).await,
        };
        all.extend(findings.into_iter().map(|finding| ("source", finding)));
    }
    if options.target.is_some() {
        let triggers = options.allow_triggers()?;
        let wanted = binferry_apply::Wanted {
            tables: &filter,
            triggers: triggers.as_ref(),
            gtids: options.gtids()?,
            copy: copies.then(|| options.copy_into()).transpose()?,
            ddl: options.ddl(),
        };
        let findings = binferry_apply::preflight(&options.target()?, &wanted).await;
        all.extend(findings.into_iter().map(|finding| ("target", finding)));
    }
    let mut readable = options.log.is_some();
    if readable && let LogPlace::Kafka(kafka) = options.log()? {
        let (findings, is_there) = KafkaLog::check(*kafka).await?;
        readable = is_there && findings.iter().all(|f| f.severity != Severity::Blocking);
        all.extend(findings.into_iter().map(|finding| ("log", finding)));
    }
    if readable {
        // Opening and folding it is the check: damage is an error of its own.
        let log = super::open_log(options).await?;
        binferry_transport::resume::tail_state(log.as_ref()).await?;
        if options.source.is_some()
            && let SourceAddress::Files(paths) = options.source()?
        {
            let finding = binferry_capture::stream::compare_with(&paths, log.as_ref()).await?;
            all.extend(finding.map(|finding| ("log", finding)));
        }
    }
    let blocking = all
        .iter()
        .any(|(_, finding)| finding.severity == Severity::Blocking);
    print(&all, options.json).map_err(|e| Failure::usage(format!("stdout: {e}")))?;
    Ok(if blocking {
        ExitCode::from(NO)
    } else {
        ExitCode::SUCCESS
    })
}

/// Without --from: would a start copy the tables? Not where the log or the stream at the target has begun.
async fn is_first_start(options: &Options) -> Result<bool, Failure> {
    if options.source.is_none() || options.gtids()? == Gtids::Preserve {
        return Ok(false);
    }
    if let SourceAddress::Files(_) = options.source()? {
        return Ok(false);
    }
    // What can't be reached is told by the checks themselves.
    if options.target.is_some()
        && let Ok(Some(_)) =
            binferry_apply::read_progress(&options.target()?, &options.stream()).await
    {
        return Ok(false);
    }
    if options.log.is_some()
        && let Ok(log) = super::open_log(options).await
    {
        let state = binferry_transport::resume::tail_state(log.as_ref()).await?;
        return Ok(state.sites.is_empty());
    }
    Ok(true)
}

/// What the files hold comes first, then what speaks against them.
async fn check_files(paths: &[PathBuf], filter: &TableFilter) -> Vec<Finding> {
    let (files, about_all) = binferry_capture::files::inspect(paths, filter).await;
    let mut findings = Vec::new();
    for file in &files {
        let head = &file.head;
        findings.push(Finding {
            severity: Severity::Info,
            subject: head.name(),
            found: format!(
                "{}, {}, {} bytes",
                head.version,
                if head.checksums {
                    "CRC32"
                } else {
                    "no checksums"
                },
                head.size
            ),
            reason: format!(
                "{} transactions and {} row events: {}",
                file.transactions,
                file.row_events,
                if file.gtids.is_empty() {
                    "none".to_owned()
                } else {
                    file.gtids.to_string()
                },
            ),
            remedy: None,
        });
    }
    findings.extend(about_all);
    findings.extend(files.into_iter().flat_map(|file| file.findings));
    findings
}

fn print(all: &[(&str, Finding)], as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let list: Vec<_> = all
            .iter()
            .map(|(side, f)| json!({"side": side, "severity": f.severity.name(), "subject": f.subject, "found": f.found, "reason": f.reason, "remedy": f.remedy}))
            .collect();
        return writeln!(out, "{}", json!(list));
    }
    let worth_telling: Vec<_> = all
        .iter()
        .filter(|(_, f)| f.severity != Severity::Fine)
        .collect();
    if worth_telling.is_empty() {
        return writeln!(out, "nothing found: ready to run");
    }
    for (side, f) in worth_telling {
        writeln!(
            out,
            "{:<8} {:<8} {} is {}: {}",
            side,
            f.severity.name(),
            f.subject,
            f.found,
            f.reason
        )?;
        if let Some(remedy) = &f.remedy {
            writeln!(out, "                  remedy: {remedy}")?;
        }
    }
    Ok(())
}
