//! `diff`: compares a target with its source while traffic flows.

mod source;
mod state;

use std::{
    collections::HashSet,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use binferry_apply::diff::{self, Event, Finding, Repair, Repaired, ShownKey, Summary};
use binferry_schemas::source::SourceAddress;
use indicatif::MultiProgress;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tracing::warn;

use self::{source::Source, state::State};
use crate::{
    cli::Options,
    failure::{Failure, NO},
    progress::Compared,
    stop,
};

/// Findings and ranges that wait to be told.
const WAITING: usize = 256;
/// Findings of a table that are not told again when it begins anew. What is beyond is: memory does not grow with what differs.
const REMEMBERED: usize = 50_000;
/// In documents.
const NOT_REPAIRED: &str = "not_repaired";

/// 0 when nothing differs, or all that did is repaired; 1 when something does, or when it is not known of some rows.
pub async fn run(options: &Options, bars: &MultiProgress) -> Result<ExitCode, Failure> {
    let SourceAddress::Server(source) = options.source()? else {
        return Err(Failure::usage(
            "--source names binlog files, and diff compares two servers",
        ));
    };
    let repair = match (options.repair, options.dry_run) {
        (false, true) => return Err(Failure::usage("--dry-run goes with --repair")),
        (false, false) => None,
        (true, dry_run) => Some(Repair {
            rows: Arc::new(Source(source.clone())),
            dry_run,
            triggers: options.allow_triggers()?,
        }),
    };
    let mut wanted = diff::Options {
        source,
        target: options.target()?,
        filter: options.filter()?,
        stream: Some(options.stream()),
        workers: options.compare_workers()?,
        settle: options.settle()?,
        patience: options.retry_for()?,
        done: Vec::new(),
        repair,
    };
    let cancel = stop::on_signal()?;
    if !diff::has_stream(&wanted.target, &options.stream()).await? {
        if options.stream.is_some() {
            return Err(Failure::usage(format!(
                "the stream {:?} has never been applied on the target",
                options.stream()
            )));
        }
        warn!(
            "no stream is applied on the target: rows that change on either server while they are compared may be told as different"
        );
        wanted.stream = None;
    }
    let mut told = Told {
        out: io::stdout().lock(),
        json: options.json,
        repairs: options.repair,
        dry_run: options.dry_run,
        before: Summary::default(),
        state: None,
        table: String::new(),
        told: HashSet::new(),
    };
    if let Some(path) = &options.state {
        let (state, found) = State::open(path, &wanted)?;
        wanted.done = state.done();
        told.state = Some(state);
        for line in found {
            told.again(&line)?;
        }
    }
    let (sender, mut events) = mpsc::channel(WAITING);
    let mut shown = Compared::begin(bars);
    let telling = async {
        while let Some(event) = events.recv().await {
            told.tell(event, &mut shown)?;
        }
        Ok(())
    };
    let comparing = async { Ok(diff::diff(&wanted, sender).await?) };
    let ended = async { tokio::try_join!(comparing, telling) };
    let Some((mut summary, ())) = super::unless_stopped(&cancel, ended).await? else {
        return Ok(ExitCode::from(NO));
    };
    shown.end();
    summary.differences += told.before.differences;
    summary.not_settled += told.before.not_settled;
    summary.repaired += told.before.repaired;
    told.end(&summary)?;
    let left = match options.dry_run {
        true => summary.differences,
        false => summary.differences - summary.repaired,
    };
    Ok(match left + summary.not_settled {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(NO),
    })
}

/// What goes to stdout, and into the state.
struct Told<'a> {
    out: io::StdoutLock<'a>,
    json: bool,
    repairs: bool,
    dry_run: bool,
    /// What an interrupted comparison has found.
    before: Summary,
    state: Option<State>,
    table: String,
    /// Of this table.
    told: HashSet<String>,
}

impl Told<'_> {
    fn tell(&mut self, event: Event, shown: &mut Compared) -> Result<(), Failure> {
        match event {
            Event::Table {
                name,
                estimated_rows,
            } => {
                let name = name.to_string();
                if self.table != name {
                    self.told.clear();
                }
                shown.table(&name, estimated_rows);
                self.table = name;
            }
            Event::Rows(rows) => shown.rows(rows),
            Event::Done(done) => {
                if let Some(state) = &mut self.state {
                    state.put_done(&done)?;
                }
            }
            Event::Found(finding, repaired) => {
                let mut document = document(&finding);
                let mut line = line(&finding);
                if let Some(repaired) = &repaired {
                    line.push_str(&format!(": {}", made_of_it(repaired, self.dry_run)));
                    document["repair"] = json!(repaired.name());
                    if let Repaired::Not(reason) = repaired {
                        document["reason"] = json!(reason);
                    }
                }
                // A table may have begun anew, and a comparison gone on with what it had told before.
                if self.told.contains(&line) {
                    return Ok(());
                }
                if self.told.len() < REMEMBERED {
                    self.told.insert(line.clone());
                }
                if let Some(state) = &mut self.state
                    && !state.put_found(&document, &line)?
                {
                    return Ok(());
                }
                shown.found();
                match self.json {
                    true => self.print(&document.to_string())?,
                    false => self.print(&line)?,
                }
            }
        }
        Ok(())
    }

    /// A finding out of the state.
    fn again(&mut self, found: &state::Found) -> Result<(), Failure> {
        match found.document["kind"].as_str() {
            Some("note") => {}
            Some("not_settled") => self.before.not_settled += 1,
            _ => self.before.differences += 1,
        }
        let repair = found.document["repair"].as_str();
        self.before.repaired += u64::from(repair.is_some_and(|made| made != NOT_REPAIRED));
        match self.json {
            true => self.print(&found.document.to_string()),
            false => self.print(&found.line),
        }
    }

    fn end(&mut self, summary: &Summary) -> Result<(), Failure> {
        if self.json {
            let mut document = json!({
                "kind": "summary",
                "tables": summary.tables,
                "rows": summary.rows,
                "differences": summary.differences,
                "not_settled": summary.not_settled,
            });
            if self.repairs {
                document["repaired"] = json!(summary.repaired);
            }
            return self.print(&document.to_string());
        }
        let repaired = match (self.repairs, self.dry_run) {
            (false, _) => String::new(),
            (true, false) => format!(", {} of them repaired", summary.repaired),
            (true, true) => format!(", {} of them could be repaired", summary.repaired),
        };
        eprintln!(
            "{} tables, {} rows compared: {} differences{repaired}, {} rows not settled",
            summary.tables, summary.rows, summary.differences, summary.not_settled
        );
        Ok(())
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        let printed = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        printed.map_err(|error| Failure::usage(format!("stdout: {error}")))
    }
}

/// For people.
fn made_of_it(repaired: &Repaired, dry_run: bool) -> String {
    match (repaired, dry_run) {
        (Repaired::Done(outcome), false) => outcome.name().to_owned(),
        (Repaired::Done(outcome), true) => format!("would be {}", outcome.name()),
        (Repaired::Not(reason), _) => format!("not repaired: {reason}"),
    }
}

fn key_text(key: &ShownKey) -> String {
    let parts: Vec<String> = (key.iter())
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    parts.join(", ")
}

/// For people.
fn line(finding: &Finding) -> String {
    let table = finding.table();
    match finding {
        Finding::Definition { definition, .. } => match definition.is_difference() {
            true => format!("{table}: {definition}"),
            false => format!("{table}: (note) {definition}"),
        },
        Finding::RowMissing { key, .. } => {
            format!("{table}: the target lacks the row {}", key_text(key))
        }
        Finding::RowExtra { key, .. } => {
            format!("{table}: the source lacks the row {}", key_text(key))
        }
        Finding::RowDiffers { key, columns, .. } => format!(
            "{table}: the row {} differs in {}",
            key_text(key),
            columns.join(", ")
        ),
        Finding::Rows {
            digest,
            source,
            target,
            ..
        } => format!(
            "{table}: {source} and {target} equal rows with the digest {digest} at source and target"
        ),
        Finding::NotSettled { key, .. } => format!(
            "{table}: not settled, it changed all the time: the row {}",
            key_text(key)
        ),
    }
}

/// For machines.
fn document(finding: &Finding) -> Value {
    let table = finding.table();
    let mut document = json!({
        "kind": finding.name(),
        "database": table.database,
        "table": table.table,
    });
    let named = |key: &ShownKey| {
        let pairs = key.iter().map(|(name, value)| (name.clone(), json!(value)));
        Value::Object(pairs.collect::<Map<_, _>>())
    };
    match finding {
        Finding::Definition { definition, .. } => {
            document["definition"] = json!(definition.to_string());
        }
        Finding::RowMissing { key, .. }
        | Finding::RowExtra { key, .. }
        | Finding::NotSettled { key, .. } => document["key"] = named(key),
        Finding::RowDiffers { key, columns, .. } => {
            document["key"] = named(key);
            document["columns"] = json!(columns);
        }
        Finding::Rows {
            digest,
            source,
            target,
            ..
        } => {
            document["digest"] = json!(digest);
            document["source"] = json!(source);
            document["target"] = json!(target);
        }
    }
    document
}
