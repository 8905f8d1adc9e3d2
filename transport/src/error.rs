//! What can go wrong with a log.
//!
//! `LogError` is `Clone`, because one failure of the writer's thread is told to everyone who waits on it.

use std::{io, path::PathBuf, sync::Arc};

use binferry_schemas::{
    fault::{Fault, Kind},
    fingerprint::Fingerprint,
    gtid::Uuid,
    record::{Incarnation, Offset, RecordError},
};

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

    /// Retention has removed everything: an end that is not 0 shows that there was a history.
    #[error("the log {log} is empty but ends at {}: its history has expired", .end.0)]
    Emptied { log: String, end: Offset },

    #[error("the log {log} begins at {} and holds no checkpoint that can be used: the history before it is unknown", .start.0)]
    NoCheckpoint { log: String, start: Offset },

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
            | Self::Ended { by: Some(_), .. } => Kind::Configuration,
            Self::Corrupt { .. }
            | Self::Expired { .. }
            | Self::Emptied { .. }
            | Self::NoCheckpoint { .. } => Kind::Data,
            Self::Record { source, .. } => source.kind(),
            Self::Io { .. } | Self::Poisoned { .. } | Self::Ended { by: None, .. } => {
                Kind::Unreachable
            }
            Self::TooBig { .. } | Self::SchemaClash { .. } | Self::Stopped | Self::Task { .. } => {
                Kind::Defect
            }
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
            Self::Poisoned { .. } => {
                "check the disk, then start again: what was acknowledged is safe"
            }
            Self::Ended { by: Some(_), .. } => "let only one capture of a site run on a log",
            Self::Record { source, .. } => return source.hint(),
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
