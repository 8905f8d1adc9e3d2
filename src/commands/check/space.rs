//! Does what comes into a log on disk fit there?

use std::path::Path;

use binferry_capture::preflight::Sizes;
use binferry_schemas::finding::{Finding, Severity};
use binferry_transport::log::Retention;
use bytesize::ByteSize;

const REMEDY: &str = "a larger disk for --log, or --keep-bytes and --keep-age: what has been applied is removed then";

/// `free`: bytes on the disk of the log's directory.
pub fn judge(path: &Path, free: u64, sizes: &Sizes, kept: &Retention) -> Vec<Finding> {
    let show = |bytes: u64| ByteSize(bytes).display().iec().to_string();
    let mut findings = Vec::new();
    let mut add = |severity, reason: String, remedy: Option<String>| {
        findings.push(Finding {
            severity,
            subject: format!("disk of {}", path.display()),
            found: format!("{} free", show(free)),
            reason,
            remedy,
        });
    };
    if let Some(bytes) = sizes.tables.filter(|bytes| *bytes > free) {
        add(
            Severity::Warning,
            format!(
                "the tables that are copied have about {} of rows, which go through the log; when its disk is full, the capture waits",
                show(bytes)
            ),
            Some(REMEDY.to_owned()),
        );
    }
    let keeps_all = kept.bytes.is_none() && kept.age.is_none();
    if let Some(bytes) = sizes.binlogs.filter(|bytes| keeps_all && *bytes > free) {
        add(
            Severity::Warning,
            format!(
                "the source's binlogs have {} now, and a log that keeps all grows like them",
                show(bytes)
            ),
            Some(REMEDY.to_owned()),
        );
    }
    if let Some(bytes) = kept.bytes.filter(|bytes| *bytes > free) {
        add(
            Severity::Warning,
            format!(
                "--keep-bytes keeps {}, with what is there already",
                show(bytes)
            ),
            Some("a larger disk for --log, or less in --keep-bytes".to_owned()),
        );
    }
    if findings.is_empty() {
        findings.push(Finding {
            severity: Severity::Fine,
            subject: format!("disk of {}", path.display()),
            found: format!("{} free", show(free)),
            reason: "nothing that is known now is larger".to_owned(),
            remedy: None,
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_the_disk() {
        let judged = |sizes: Sizes, kept: Retention| -> Vec<Severity> {
            let findings = judge(Path::new("log"), 1000, &sizes, &kept).into_iter();
            findings.map(|finding| finding.severity).collect()
        };
        let (all, some) = (
            Retention::default(),
            Retention {
                bytes: Some(500),
                ..Retention::default()
            },
        );
        let tables = |bytes| Sizes {
            tables: Some(bytes),
            ..Sizes::default()
        };
        let binlogs = |bytes| Sizes {
            binlogs: Some(bytes),
            ..Sizes::default()
        };
        assert_eq!(judged(Sizes::default(), all), [Severity::Fine]);
        assert_eq!(judged(tables(1000), all), [Severity::Fine]);
        assert_eq!(judged(tables(1001), some), [Severity::Warning]);
        assert_eq!(judged(binlogs(1001), all), [Severity::Warning]);
        assert_eq!(judged(binlogs(1001), some), [Severity::Fine]);
        let more = Retention {
            bytes: Some(1001),
            ..all
        };
        assert_eq!(judged(Sizes::default(), more), [Severity::Warning]);
    }
}
