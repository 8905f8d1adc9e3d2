//! What can go wrong while a server is brought up or handled, with the facts that a person needs to mend it.

use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where a failed server's last words are cut, in lines.
pub(crate) const LOG_TAIL: usize = 20;

#[derive(Clone, thiserror::Error)]
pub enum Error {
    /// Never a skipped test: every way is named, with the reason and the remedy.
    #[error("no {server} can be started here; each way was tried:{}", list(.tried))]
    NoWay {
        server: &'static str,
        tried: Vec<FailedWay>,
    },
    #[error(
        "{operation} is impossible on {address}, a server given by {variable}: it was not started here; \
         unset {variable} so that this test starts a server of its own"
    )]
    NotOurs {
        variable: &'static str,
        operation: &'static str,
        address: String,
    },
    #[error(
        "{variable} names {given} server(s) and this process needs at least {needed} at once; name more of them, \
         comma separated, or unset it"
    )]
    TooFewAddresses {
        variable: &'static str,
        given: usize,
        needed: usize,
    },
    #[error("{variable}: cannot read {address:?}: {reason}; it must look like {form}")]
    BadAddress {
        variable: &'static str,
        address: String,
        reason: String,
        form: &'static str,
    },
    #[error("{program} failed ({reason}); its last lines:\n{log}")]
    Program {
        program: String,
        reason: String,
        log: String,
    },
    #[error("the server on port {port} did not answer within {seconds} s; its last lines:\n{log}")]
    NoAnswer {
        port: u16,
        seconds: u64,
        log: String,
    },
    #[error("the server on port {port} is not running")]
    NotRunning { port: u16 },
    #[error("{what} {}: {reason}", .path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error("{what}: {reason}")]
    System { what: &'static str, reason: String },
    #[error("download of {url}: {reason}")]
    Download { url: String, reason: String },
    #[error("{url}: SHA-256 is {actual}, the package index says {expected}")]
    Checksum {
        url: String,
        expected: String,
        actual: String,
    },
    #[error("package {name}: {reason}")]
    Package { name: String, reason: String },
    #[error("statement failed on port {port}: {reason}")]
    Statement { port: u16, reason: String },
    #[error("the statement on port {port} got no answer within {seconds} s")]
    StatementTimeout { port: u16, seconds: u64 },
    #[error("Kafka at {address}: cannot {what}: {reason}")]
    Kafka {
        what: &'static str,
        address: String,
        reason: String,
    },
    #[error("there is no node {node} in a cluster of {nodes}: they are counted from 0")]
    NoSuchNode { node: usize, nodes: usize },
    #[error("Docker: {reason}")]
    Docker { reason: String },
}

/// Tests unwrap, and what they print then is this: the message for people is worth more there than the fields.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// One way that did not work, and what would make it work.
#[derive(Debug, Clone)]
pub struct FailedWay {
    pub way: &'static str,
    pub reason: String,
    pub remedy: String,
}

fn list(tried: &[FailedWay]) -> String {
    let mut text = String::new();
    for (index, failed) in tried.iter().enumerate() {
        text.push_str(&format!(
            "\n  {}. {}: {}\n     remedy: {}",
            index + 1,
            failed.way,
            failed.reason,
            failed.remedy
        ));
    }
    text
}

impl Error {
    pub(crate) fn file(what: &'static str, path: &Path, reason: impl ToString) -> Self {
        Error::File {
            what,
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn system(what: &'static str, reason: impl ToString) -> Self {
        Error::System {
            what,
            reason: reason.to_string(),
        }
    }
}

/// The end of a server's log: the only place where it says why it went.
pub(crate) fn log_tail(path: &Path) -> String {
    last_lines(&String::from_utf8_lossy(
        &std::fs::read(path).unwrap_or_default(),
    ))
}

pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_TAIL);
    if lines.is_empty() {
        return "(none)".to_owned();
    }
    lines[from..].join("\n")
}
