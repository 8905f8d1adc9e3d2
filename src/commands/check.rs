//! `check`: everything that would stop a start, before it does.

mod addresses;
mod space;

use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use binferry_apply::Gtids;
use binferry_capture::{
    client::Connection,
    error::CaptureError,
    preflight::{self, Sizes, Wanted},
};
use binferry_schemas::{
    address::Address,
    fault::Fault,
    filter::TableFilter,
    finding::{Finding, Severity},
    portrait::Portrait,
    record::FoldState,
    source::SourceAddress,
};
use binferry_transport::{embedded::EmbeddedLog, kafka::KafkaLog, log::Log};
use serde_json::json;

use self::addresses::Places;
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
    let (places, mut all) = addresses::look_up(options).await?;
    let (of_log, log) = match places.log {
        true => check_log(options).await?,
        false => (Vec::new(), None),
    };
    let copies = match options.from()? {
        Some(place) => place == Place::Snapshot,
        None => is_first_start(options, &places, log.as_ref()).await?,
    };
    let mut source = Source {
        copies,
        ..Source::default()
    };
    if places.source {
        match options.source()? {
            SourceAddress::Server(server) => {
                source = check_source(options, &server, &filter, copies, log.as_ref()).await;
            }
            SourceAddress::Files(paths) => {
                source.findings = check_files(&paths, &filter).await;
                if let Some(known) = &log {
                    let log = known.log.as_ref();
                    let finding = binferry_capture::stream::compare_with(&paths, log).await?;
                    source.findings.extend(finding);
                }
            }
        }
    }
    all.extend(source.findings.into_iter().map(|f| ("source", f)));
    if places.target {
        let triggers = options.allow_triggers()?;
        let wanted = binferry_apply::Wanted {
            tables: &filter,
            triggers: triggers.as_ref(),
            gtids: options.gtids()?,
            copy: source.copies.then(|| options.copy_into()).transpose()?,
            ddl: options.ddl(),
            workers: options.workers()?,
            source: source.portrait.as_ref(),
        };
        let findings = binferry_apply::preflight(&options.target()?, &wanted).await;
        all.extend(findings.into_iter().map(|finding| ("target", finding)));
    }
    all.extend(of_log.into_iter().map(|finding| ("log", finding)));
    if options.log.is_some()
        && let LogPlace::Directory(path) = options.log()?
        && let Ok(free) = EmbeddedLog::free_bytes(&path)
    {
        let is_new = log.is_none_or(|known| known.state.sites.is_empty());
        let sizes = Sizes {
            tables: source.sizes.tables.filter(|_| source.copies),
            binlogs: source.sizes.binlogs.filter(|_| is_new),
        };
        let findings = space::judge(&path, free, &sizes, &options.retention()?);
        all.extend(findings.into_iter().map(|finding| ("log", finding)));
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

/// A log that is there, and what its fold says.
struct KnownLog {
    log: Arc<dyn Log>,
    state: FoldState,
}

/// Opening and folding it is a check, too: damage is an error of its own.
async fn check_log(options: &Options) -> Result<(Vec<Finding>, Option<KnownLog>), Failure> {
    let (findings, is_there) = match options.log()? {
        LogPlace::Kafka(kafka) => KafkaLog::check(*kafka).await?,
        LogPlace::Directory(path) => EmbeddedLog::check(&path)?,
    };
    if !is_there || findings.iter().any(|f| f.severity == Severity::Blocking) {
        return Ok((findings, None));
    }
    let log = super::open_log(options).await?;
    let state = binferry_transport::resume::tail_state(log.as_ref()).await?;
    Ok((findings, Some(KnownLog { log, state })))
}

/// Without --from: would a start copy the tables? Not where the log or the stream at the target has begun.
async fn is_first_start(
    options: &Options,
    places: &Places,
    log: Option<&KnownLog>,
) -> Result<bool, Failure> {
    if options.source.is_none() || options.gtids()? == Gtids::Preserve {
        return Ok(false);
    }
    if let SourceAddress::Files(_) = options.source()? {
        return Ok(false);
    }
    // What can't be reached is told by the checks themselves.
    if places.target
        && let Ok(Some(_)) =
            binferry_apply::read_progress(&options.target()?, &options.stream()).await
    {
        return Ok(false);
    }
    Ok(log.is_none_or(|known| known.state.sites.is_empty()))
}

/// What was found about a source, and what its target is judged by.
#[derive(Default)]
struct Source {
    findings: Vec<Finding>,
    portrait: Option<Portrait>,
    sizes: Sizes,
    copies: bool,
}

async fn check_source(
    options: &Options,
    server: &Address,
    filter: &TableFilter,
    copies: bool,
    log: Option<&KnownLog>,
) -> Source {
    let mut source = Source {
        copies,
        ..Source::default()
    };
    if let Err(error) = ask_source(options, server, filter, log, &mut source).await {
        source.findings.push(Finding {
            severity: Severity::Blocking,
            subject: "connection".to_owned(),
            found: error.to_string(),
            reason: "the source cannot be used like this".to_owned(),
            remedy: error.hint(),
        });
    }
    source
}

async fn ask_source(
    options: &Options,
    server: &Address,
    filter: &TableFilter,
    log: Option<&KnownLog>,
    source: &mut Source,
) -> Result<(), CaptureError> {
    let mut connection = Connection::open(server).await?;
    let wanted = Wanted {
        tables: filter,
        copy: source.copies,
    };
    source.findings = preflight::check(&mut connection, &wanted).await?;
    let is_refused = |f: &Finding| f.subject == "version" && f.severity == Severity::Blocking;
    if source.findings.iter().any(is_refused) {
        // Such a server may not understand the other questions.
        return Ok(());
    }
    let me = log.map(|known| known.log.id());
    let id = preflight::free_id(&mut connection, options.server_id, me).await?;
    source.findings.extend(id);
    let fits = source
        .findings
        .iter()
        .all(|f| f.severity != Severity::Blocking);
    if fits && let Some(known) = log {
        let site = options.site();
        let found = preflight::continues(&mut connection, &known.state, &site).await?;
        source.findings.extend(found);
    }
    source.sizes = preflight::sizes(&mut connection, filter).await?;
    source.portrait = Some(preflight::portrait(&mut connection, filter).await?);
    connection.close().await;
    Ok(())
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
    match all.iter().any(|(_, f)| f.severity == Severity::Blocking) {
        true => Ok(()),
        false => writeln!(out, "nothing blocks: ready to run"),
    }
}
