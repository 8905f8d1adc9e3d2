//! What can go wrong with a log.
//!
//! `LogError` is `Clone`, because one failure of the writer's thread is told to everyone who waits on it.

use std::{io, path::PathBuf, sync::Arc};

use binferry_schemas::{
    fault::{Fault, Kind},
    finding::Finding,
    fingerprint::Fingerprint,
    gtid::{GtidSet, Uuid},
    record::{Incarnation, Offset, RecordError},
};

use crate::kafka::PropertyError;

#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    #[error("there is no log at {}", .path.display())]
    Missing { path: PathBuf },

    #[error("{} holds other files ({entry}) and no log", .path.display())]
    Foreign { path: PathBuf, entry: String },

    #[error("the log {} is in use by another writer{}", .path.display(), process(.pid))]
    InUse { path: PathBuf, pid: Option<u32> },

    #[error("{} was written by a newer version: format {found}, and this program knows up to {supported}", .path.display())]
    NewerVersion {
        path: PathBuf,
        found: u32,
        supported: u32,
    },

    /// `offset` is the record that should be there, `position` its byte in the file.
    #[error("{} is corrupt at byte {position}{}: {reason}", .file.display(), record(.offset))]
    Corrupt {
        file: PathBuf,
        offset: Option<Offset>,
        position: u64,
        reason: String,
    },

    /// `missing` records of those that were asked for are gone.
    #[error("record {} of log {log} has expired: the log begins at {}, {missing} records are missing", .wanted.0, .start.0)]
    Expired {
        log: String,
        wanted: Offset,
        start: Offset,
        missing: u64,
    },

    #[error("cannot {action} {}", .path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },

    /// The kernel may have dropped the pages that it could not write, so a second attempt would lie.
    #[error("writing {} to the disk failed; nothing after record {} is known to be durable", .path.display(), .durable_end.0)]
    Poisoned {
        path: PathBuf,
        durable_end: Offset,
        #[source]
        source: Arc<io::Error>,
    },

    #[error("a record of {bytes} bytes is larger than the limit of {limit}")]
    TooBig { bytes: u64, limit: u64 },

    #[error("the log's schema {fingerprint} has another text than the one to be stored")]
    SchemaClash { fingerprint: Fingerprint },

    #[error("the reader name {name:?} is empty or too long")]
    ReaderName { name: String },

    /// An end that is not 0 shows that there was a history.
    #[error("the log {log} ends at {} and holds no record of ours: its history has expired, or it is another program's", .end.0)]
    Emptied { log: String, end: Offset },

    #[error("the log {log} begins at {} and holds no checkpoint that can be used: the history before it is unknown", .start.0)]
    NoCheckpoint { log: String, start: Offset },

    /// A checkpoint that counts knows of transactions that were never met on the way to it: a mirror has left records out.
    #[error("records are missing in log {log} before record {}: of the transactions {missing} it holds nothing", .offset.0)]
    Incomplete {
        log: String,
        offset: Offset,
        missing: GtidSet,
    },

    #[error("record {} of log {log} cannot be read", .offset.0)]
    Record {
        log: String,
        offset: Offset,
        #[source]
        source: RecordError,
    },

    /// The fold counts nothing more of this capture.
    #[error("this capture's writing to log {log} has ended: {}", ended(.by))]
    Ended {
        log: String,
        site: String,
        /// `None`: by a gap in its own records.
        by: Option<Incarnation>,
    },

    #[error("progress belongs to log {progress}, but {log} is log {id}")]
    OtherLog {
        log: String,
        id: Uuid,
        progress: Uuid,
    },

    /// The brokers have not answered for as long as they are tried.
    #[error("{log} is out of reach: {doing}: {reason}")]
    Unreachable {
        log: String,
        doing: &'static str,
        reason: String,
    },

    /// Wrong credentials, an untrusted certificate, or an ACL.
    #[error("{log} refuses us: {doing}: {reason}")]
    Refused {
        log: String,
        doing: &'static str,
        reason: String,
    },

    #[error("{log} has no topic {topic}")]
    TopicMissing { log: String, topic: String },

    /// The topic was deleted while it was used, and perhaps made again.
    #[error("the topic {topic} of {log} was deleted{}: the log that was here is gone", made_again(.again))]
    TopicGone {
        log: String,
        topic: String,
        again: bool,
    },

    /// What was acknowledged is no longer there.
    #[error("{log} ends at {}, but record {} was durable: the brokers have lost the end of the log", .end.0, .durable.0)]
    Truncated {
        log: String,
        durable: Offset,
        end: Offset,
    },

    /// The preflight's blocking findings.
    #[error("{log} is not fit: {}", each(.findings))]
    Unfit { log: String, findings: Vec<Finding> },

    #[error("{log}: {doing}: {reason}")]
    Kafka {
        log: String,
        doing: &'static str,
        reason: String,
    },

    #[error("{log} does not take a record of the size that its topic allowed when we started")]
    MessageTooLarge { log: String },

    /// The writer is no more, but the log is: another one can go on.
    #[error("writing to {log} was interrupted: {reason}")]
    Interrupted { log: String, reason: String },

    #[error(transparent)]
    Property(#[from] PropertyError),

    #[error("the log's writer has stopped")]
    Stopped,

    #[error("a task of the log failed: {reason}")]
    Task { reason: String },
}

fn process(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn record(offset: &Option<Offset>) -> String {
    offset.map_or_else(String::new, |offset| format!(" (record {})", offset.0))
}

fn made_again(again: &bool) -> &'static str {
    if *again { " and made again" } else { "" }
}

fn each(findings: &[Finding]) -> String {
    let each: Vec<_> = findings.iter().map(Finding::to_string).collect();
    each.join("; ")
}

fn ended(by: &Option<Incarnation>) -> String {
    match by {
        Some(incarnation) => format!(
            "a newer capture of the same site has started (incarnation {})",
            incarnation.0
        ),
        None => "one of its records did not arrive".to_owned(),
    }
}

impl Fault for LogError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. }
            | Self::Foreign { .. }
            | Self::InUse { .. }
            | Self::NewerVersion { .. }
            | Self::ReaderName { .. }
            | Self::OtherLog { .. }
            | Self::Refused { .. }
            | Self::TopicMissing { .. }
            | Self::Unfit { .. }
            | Self::MessageTooLarge { .. }
            | Self::Ended { by: Some(_), .. } => Kind::Configuration,
            Self::Property(error) => error.kind(),
            Self::Corrupt { .. }
            | Self::Expired { .. }
            | Self::Emptied { .. }
            | Self::TopicGone { .. }
            | Self::Truncated { .. }
            | Self::Incomplete { .. }
            | Self::NoCheckpoint { .. } => Kind::Data,
            Self::Record { source, .. } => source.kind(),
            Self::Io { .. }
            | Self::Poisoned { .. }
            | Self::Unreachable { .. }
            | Self::Kafka { .. }
            | Self::Interrupted { .. }
            | Self::Ended { by: None, .. } => Kind::Unreachable,
            Self::TooBig { .. } => Kind::Configuration,
            Self::SchemaClash { .. } | Self::Stopped | Self::Task { .. } => Kind::Defect,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Missing { .. } => {
                "start `binferry capture` or `binferry run` first, or correct --log"
            }
            Self::Foreign { .. } => "give --log a directory that is new, empty, or holds a log",
            Self::InUse { .. } => {
                "stop the other process, or give this one another --log: one capture writes to a log at a time"
            }
            Self::NewerVersion { .. } => "use the newer version of binferry",
            Self::Corrupt { .. } => {
                "restore the log directory from a copy, or start a new log and a new copy of the data"
            }
            Self::Expired { .. } => {
                "copy the data again, and allow the log more with --keep-bytes or --keep-age"
            }
            Self::Emptied { .. } | Self::NoCheckpoint { .. } => {
                "start a new log, in another directory, and a new copy of the data"
            }
            Self::Incomplete { .. } => {
                "if this is a mirrored copy, use the original, or mirror it again from its beginning"
            }
            Self::Poisoned { .. } => {
                "check the disk, then start again: what was acknowledged is safe"
            }
            Self::Ended { by: Some(_), .. } => "let only one capture of a site run on a log",
            Self::Record { source, .. } => return source.hint(),
            Self::Unreachable { .. } => {
                "check the brokers and the network, then start again; --retry-for says how long to try"
            }
            Self::Refused { .. } => {
                "check the credentials (--kafka-config) and the ACLs: docs/kafka lists what each command needs"
            }
            Self::TopicMissing { .. } => {
                "start `binferry capture` or `binferry run` first: it makes the topics; or correct --log"
            }
            Self::TopicGone { .. } => {
                "restore the topic from a mirrored copy, or start a new log under another name and copy the data again"
            }
            Self::Truncated { .. } => {
                "the log cannot be trusted any more: start a new one, and set unclean.leader.election.enable=false"
            }
            Self::Unfit { findings, .. } => {
                let remedies = findings.iter().filter_map(|found| found.remedy.as_deref());
                return Some(remedies.collect::<Vec<_>>().join("; "));
            }
            Self::TooBig { .. } => {
                "in Kafka, raise the topic's max.message.bytes: a GTID set, a DDL statement or a list of tables is as large as that"
            }
            Self::MessageTooLarge { .. } => {
                "start again: chunks then fit the topic's max.message.bytes as it is now; or raise it"
            }
            Self::Interrupted { .. } => "start again: what was durable is safe",
            Self::Property(error) => return error.hint(),
            Self::OtherLog { .. } => "give the --log that this target was filled from",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl LogError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(
        file: &std::path::Path,
        offset: Option<Offset>,
        position: u64,
        reason: impl Into<String>,
    ) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            offset,
            position,
            reason: reason.into(),
        }
    }
}
