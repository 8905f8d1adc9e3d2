//! What a list of files holds, and whether a capture could carry it: every event is read and verified, nothing is written.

use std::{collections::BTreeMap, path::PathBuf};

use binferry_schemas::{
    fault::Fault,
    filter::TableFilter,
    finding::{Finding, Severity},
    gtid::GtidSet,
};

use super::{BinlogFiles, FileError, Head, head, survey};
use crate::{
    decode::{
        DecodeError, Decoded, Payload, ROLLED_BACK, Statement, TableMap, TablePlan, XaVerb,
        classify, expand, expanded_type,
    },
    dump::Event,
    error::CaptureError,
    preflight::Flavour,
    stream::events::{Events, Filled},
};

/// Bytes that are kept for the next compressed event.
const KEPT: usize = 1 << 20;

/// What one file holds, as far as it can be read.
#[derive(Debug)]
pub struct Inspected {
    pub head: Head,
    pub gtids: GtidSet,
    /// How many; MariaDB's GTIDs do not tell.
    pub transactions: u64,
    pub row_events: u64,
    /// Why a capture would stop, or could not be sure, each told once.
    pub findings: Vec<Finding>,
}

/// Reads the files to their ends. The second part are findings about the list.
pub async fn inspect(paths: &[PathBuf], tables: &TableFilter) -> (Vec<Inspected>, Vec<Finding>) {
    let paths = paths.to_vec();
    let heads = match tokio::task::spawn_blocking(move || survey(&paths)).await {
        Ok(Ok(heads)) => heads,
        Ok(Err(error)) => return (Vec::new(), vec![blocking("the list of files", &error)]),
        // The runtime is going.
        Err(_) => return (Vec::new(), Vec::new()),
    };
    let (mut all, mut findings) = (Vec::<Inspected>::new(), Vec::new());
    if let Some(first) = heads.first()
        && let Some(previous) = first.previous.as_ref().filter(|set| !set.is_empty())
    {
        findings.push(Finding {
            severity: Severity::Info,
            subject: "the first file".into(),
            found: first.name(),
            reason: format!("transactions came before it: {previous}"),
            remedy: Some(
                "for a new log: --from earliest, or --from GTIDSET with what the target holds"
                    .into(),
            ),
        });
    }
    for (n, head) in heads.iter().enumerate() {
        let inspected = one(head, n + 1 == heads.len(), tables).await;
        if let Some(before) = all.last() {
            findings.extend(continues(before, head));
        }
        all.push(inspected);
    }
    (all, findings)
}

async fn one(head: &Head, last: bool, tables: &TableFilter) -> Inspected {
    let mut inspection = Inspection {
        tables,
        gtids: GtidSet::new(),
        transactions: 0,
        row_events: 0,
        open: false,
        captured: false,
        revocable: false,
        mariadb: head.version.flavour == Flavour::MariaDb,
        expanded: Vec::new(),
        payload: Payload::default(),
        within: Within::Not,
        findings: BTreeMap::new(),
    };
    inspection.about(head, last);
    if let Err(error) = inspection.read(head).await {
        inspection.add(blocking(&head.name(), &error));
    }
    Inspected {
        head: head.clone(),
        gtids: inspection.gtids,
        transactions: inspection.transactions,
        row_events: inspection.row_events,
        findings: inspection.findings.into_values().collect(),
    }
}

/// Where in a transaction payload, which may come in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Not,
    Payload,
    /// Something in it was wrong: its other parts are not looked at.
    Broken,
}

struct Inspection<'a> {
    tables: &'a TableFilter,
    gtids: GtidSet,
    transactions: u64,
    row_events: u64,
    open: bool,
    /// Of the open transaction: it has the map of a captured table, and a ROLLBACK takes back all of it.
    captured: bool,
    revocable: bool,
    mariadb: bool,
    /// Kept for its memory: the body of a compressed event, expanded.
    expanded: Vec<u8>,
    payload: Payload,
    within: Within,
    /// By their text: each is told once.
    findings: BTreeMap<String, Finding>,
}

impl Inspection<'_> {
    fn add(&mut self, finding: Finding) {
        self.findings.entry(finding.to_string()).or_insert(finding);
    }

    fn about(&mut self, head: &Head, last: bool) {
        if !head.checksums {
            self.add(Finding {
                severity: Severity::Warning,
                subject: head.name(),
                found: "without checksums".into(),
                reason: "damage to the file would go unnoticed".into(),
                remedy: Some("SET PERSIST binlog_checksum = CRC32, for the next files".into()),
            });
        }
        if head.in_use && last {
            self.add(Finding {
                severity: Severity::Warning,
                subject: head.name(),
                found: "open".into(),
                reason: "it was copied while its server wrote it, or after a crash: it may stop anywhere".into(),
                remedy: Some("FLUSH BINARY LOGS before the copy; or go on from the server when the files are through".into()),
            });
        }
    }

    async fn read(&mut self, head: &Head) -> Result<(), CaptureError> {
        let before = head.previous.clone().unwrap_or_default();
        let mut files = BinlogFiles::open(vec![head.clone()], before, None)?;
        loop {
            while let Some(event) = files.buffered()? {
                if let Err(error) = self.event(&event) {
                    self.add(blocking(&head.name(), &error));
                }
            }
            if files.fill(self.open).await? == Filled::End {
                return files.end(self.open);
            }
        }
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), DecodeError> {
        if head::begins(event.type_code)
            && let Some(gtid) = head::begun(event.type_code, event.server_id, event.body)
        {
            self.gtids.insert(gtid);
            self.transactions += 1;
            self.open = true;
            (self.captured, self.revocable) = (false, false);
        }
        if let Some(type_code) = expanded_type(event.type_code) {
            let mut body = std::mem::take(&mut self.expanded);
            let result = expand(event.type_code, event.body, &mut body)
                .and_then(|()| Decoded::of(type_code, event.flags, &body))
                .and_then(|decoded| self.decoded(decoded, &body));
            if body.capacity() <= KEPT {
                self.expanded = body;
            }
            return result;
        }
        match Decoded::of(event.type_code, event.flags, event.body)? {
            Decoded::Payload => self.payload(event.body, event.more),
            decoded => self.decoded(decoded, event.body),
        }
    }

    /// A payload, or the next part of one.
    fn payload(&mut self, mut input: &[u8], more: bool) -> Result<(), DecodeError> {
        if self.within == Within::Not {
            self.payload.begin();
            self.within = Within::Payload;
        }
        let mut result = Ok(());
        if self.within == Within::Payload {
            let mut payload = std::mem::take(&mut self.payload);
            result = loop {
                match payload.next(&mut input, !more) {
                    Ok(None) => break Ok(()),
                    Ok(Some(inner)) => {
                        let decoded = Decoded::of(inner.type_code, inner.flags, inner.body);
                        if let Err(error) = decoded.and_then(|d| self.decoded(d, inner.body)) {
                            break Err(error);
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            self.payload = payload;
        }
        if result.is_err() {
            self.within = Within::Broken;
        }
        if !more {
            (self.within, self.open) = (Within::Not, false);
        }
        result
    }

    fn decoded(&mut self, decoded: Decoded<'_>, body: &[u8]) -> Result<(), DecodeError> {
        match decoded {
            Decoded::Xid | Decoded::XaPrepare(_) => self.open = false,
            Decoded::MariaDbGtid(gtid) => self.revocable = gtid.transactional,
            Decoded::Rows(_) => self.row_events += 1,
            Decoded::TableMap(_) => {
                match TableMap::parse(body).map(|map| map.of_mariadb(self.mariadb)) {
                    Ok(map) if self.tables.matches(map.database(), map.table()) => {
                        self.captured = true;
                        TablePlan::new(&map)?;
                    }
                    Err(error) if error.table().is_none_or(|(d, t)| self.tables.matches(d, t)) => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
            Decoded::Query(query) => match classify(&query, self.mariadb)? {
                Statement::Begin | Statement::Savepoint => {}
                Statement::Xa(XaVerb::Start | XaVerb::End | XaVerb::Prepare, _) => {}
                Statement::Change { tables, .. } => {
                    if tables.is_empty() || tables.iter().any(|(d, t)| self.tables.matches(d, t)) {
                        return Err(DecodeError::Unsupported {
                            event: "QUERY",
                            reason: "a change of a captured table is logged as a statement, not as rows",
                            hint: "let every session of the source use binlog_format=ROW; copy the table again, and start behind it",
                        });
                    }
                }
                Statement::Rollback { whole } => {
                    self.open &= !whole;
                    if self.captured && !(whole && self.revocable) {
                        return Err(ROLLED_BACK);
                    }
                }
                // A statement that ends its transaction. Whether it does can be wrong inside a BEGIN, for the time being.
                _ => self.open = false,
            },
            _ => {}
        }
        Ok(())
    }
}

fn blocking(subject: &str, error: &impl Fault) -> Finding {
    Finding {
        severity: Severity::Blocking,
        subject: subject.to_owned(),
        found: "not fit".into(),
        reason: error.to_string(),
        remedy: error.hint(),
    }
}

/// The same rules as [`BinlogFiles`] has at the beginning of a file.
fn continues(before: &Inspected, next: &Head) -> Option<Finding> {
    let mut executed = before.head.previous.clone().unwrap_or_default();
    executed.union_with(&before.gtids);
    let previous = next.previous.clone().unwrap_or_default();
    let lost = executed.subtract(&previous);
    let missing = previous.subtract(&executed);
    let error = if !lost.is_empty() {
        FileError::NotContinued {
            path: next.path.clone(),
            before: before.head.path.clone(),
            lost,
        }
    } else if !missing.is_empty() {
        FileError::Gap {
            path: next.path.clone(),
            missing,
        }
    } else {
        return None;
    };
    Some(blocking(&next.name(), &error))
}
