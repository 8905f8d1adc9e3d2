//! The last error of a stage, left beside the log for whoever asks how it is: the stage may have ended, or run on another machine.
//!
//! ```text
//! binferry trouble 1
//! stage apply
//! name main                a stream, or a site
//! at 1763900000000000      microseconds since the epoch
//! error …                  one line
//! remedy …                 one line, empty where there is none
//! ```
//!
//! It takes the place of an older one of the same stage, and goes when the stage is connected again.

use std::time::{SystemTime, UNIX_EPOCH};

use binferry_schemas::{fingerprint::rabin, gtid::Uuid};

use crate::{error::LogError, log::Log};

const HEAD: &str = "binferry trouble 1\n";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub stage: String,
    /// Of the stream or the site.
    pub name: String,
    pub at_us: u64,
    pub error: String,
    pub remedy: Option<String>,
}

impl Trouble {
    pub fn new(stage: &str, name: &str, at: SystemTime, error: &str, remedy: Option<&str>) -> Self {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            stage: stage.to_owned(),
            name: name.to_owned(),
            at_us: u64::try_from(at.as_micros()).unwrap_or(u64::MAX),
            error: one_line(error),
            remedy: remedy.map(one_line),
        }
    }

    fn text(&self) -> String {
        format!(
            "{HEAD}stage {}\nname {}\nat {}\nerror {}\nremedy {}\n",
            self.stage,
            self.name,
            self.at_us,
            self.error,
            self.remedy.as_deref().unwrap_or_default()
        )
    }

    /// Out of what lies beside a log. `None`: it is none, or a newer version's.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(HEAD)?.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            stage: value("stage")?.to_owned(),
            name: value("name")?.to_owned(),
            at_us: value("at")?.parse().ok()?,
            error: value("error")?.to_owned(),
            remedy: value("remedy")
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
        })
    }

    pub async fn leave(&self, log: &dyn Log) -> Result<(), LogError> {
        log.request(id(&self.stage, &self.name), &self.text()).await
    }

    /// There is none any more. Nothing is written where there was none.
    pub async fn over(log: &dyn Log, stage: &str, name: &str) -> Result<(), LogError> {
        let id = id(stage, name);
        let left = log.requests().await?;
        match left.iter().any(|(other, _)| *other == id) {
            true => log.answered(id).await,
            false => Ok(()),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).collect::<Vec<_>>().join(" ")
}

/// The same for the same stage, and like no request's, which are random.
fn id(stage: &str, name: &str) -> Uuid {
    let half = |salt: &str| {
        rabin(format!("{salt} {stage} {name}").as_bytes())
            .0
            .to_be_bytes()
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&half("trouble"));
    bytes[8..].copy_from_slice(&half("of"));
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_found() {
        let at = UNIX_EPOCH + std::time::Duration::from_micros(17);
        for remedy in [None, Some("do this")] {
            let trouble = Trouble::new("apply", "a b", at, "two\nlines", remedy);
            assert_eq!(trouble.error, "two lines");
            assert_eq!(Trouble::parse(&trouble.text()), Some(trouble));
        }
        assert_eq!(Trouble::parse("binferry snapshot 1\ntables a.*\n"), None);
        assert_ne!(id("apply", "main"), id("capture", "main"));
    }
}
