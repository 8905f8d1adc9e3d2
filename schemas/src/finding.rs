//! What a preflight finds: one setting or privilege, why it matters, and what mends it. The same for a source, a log and a target.

use std::fmt;

/// The worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot work, or data could be lost: nothing starts.
    Blocking,
    /// It works, with a reservation.
    Warning,
    Info,
    /// It was looked at and is as it should be.
    Fine,
}

impl Severity {
    /// For people and for `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Fine => "fine",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The setting or privilege, as the server calls it.
    pub subject: String,
    pub found: String,
    pub reason: String,
    /// The statement or option that mends it.
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.subject, self.found, self.reason)
    }
}
