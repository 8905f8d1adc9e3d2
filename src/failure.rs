//! How the program ends: an error with its exit code and remedy.

use std::{fmt, process::ExitCode};

use binferry_schemas::fault::{Fault, Kind};

/// The answer is no: `check` found a problem, `wait` ran out of time, `skip` was told another transaction than the next.
pub const NO: u8 = 1;

#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Configuration,
            message: message.into(),
            hint: None,
        }
    }

    pub fn data(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Data,
            message: message.into(),
            hint: None,
        }
    }

    pub fn unreachable(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Unreachable,
            message: message.into(),
            hint: None,
        }
    }

    pub fn defect(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Defect,
            message: message.into(),
            hint: Some(
                "this is a defect of Binferry; please report it with the lines above".into(),
            ),
        }
    }

    /// Says in front which option it is about.
    pub fn within(mut self, option: &str) -> Self {
        self.message = format!("{option}: {}", self.message);
        self
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Exit codes are part of the interface (docs/operate).
    pub fn code(&self) -> u8 {
        match self.kind {
            Kind::Configuration => 2,
            Kind::Data => 3,
            Kind::Unreachable => 4,
            Kind::Defect => 70,
        }
    }

    pub fn exit(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl<E: Fault> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Many errors print their cause themselves.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        Self {
            kind: error.kind(),
            message,
            hint: error.hint(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  remedy: {hint}")?;
        }
        Ok(())
    }
}
