//! Is a directory fit for a log, and how much is free on its disk?

use std::{
    io,
    path::{Path, PathBuf},
};

use binferry_schemas::finding::{Finding, Severity};
use rustix::fs::{Access, access, statvfs};

use super::{
    EmbeddedLog,
    layout::{Layout, refuse_strangers},
};
use crate::error::LogError;

impl EmbeddedLog {
    /// Looks at a directory; and whether a log is there, which opening judges.
    pub fn check(path: &Path) -> Result<(Vec<Finding>, bool), LogError> {
        let is_there = match Layout::open(path) {
            Ok(_) => true,
            Err(LogError::Missing { .. }) => false,
            Err(error) => return Err(error),
        };
        let mut findings = Vec::new();
        let mut add = |severity, found: &str, reason: &str, remedy: Option<String>| {
            findings.push(Finding {
                severity,
                subject: format!("directory {}", path.display()),
                found: found.to_owned(),
                reason: reason.to_owned(),
                remedy,
            });
        };
        if !is_there {
            add(
                Severity::Info,
                "no log yet",
                "the first capture makes it",
                None,
            );
        }
        let standing = standing(path);
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        if !standing.is_dir() {
            add(
                Severity::Blocking,
                "not a directory",
                "the log is a directory of files",
                Some("name another place in --log".to_owned()),
            );
        } else if access(&standing, wanted).is_err() {
            add(
                Severity::Blocking,
                "not writable",
                "a capture writes there, and every reader notes what it still needs",
                Some(format!(
                    "chown or chmod {} for the user that runs binferry",
                    standing.display()
                )),
            );
        } else if !is_there
            && path.exists()
            && let Err(error) = refuse_strangers(path)
        {
            add(
                Severity::Blocking,
                "not empty",
                &error.to_string(),
                Some("name a directory in --log that is new or empty".to_owned()),
            );
        }
        Ok((findings, is_there))
    }

    /// Bytes that are free for us on the disk of a directory, which need not be there yet.
    pub fn free_bytes(path: &Path) -> io::Result<u64> {
        let disk = statvfs(standing(path))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// What is there of a path: itself, or the nearest folder above.
fn standing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find(|folder| folder.exists());
    there.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &Path) -> Vec<(Severity, String)> {
        let findings = EmbeddedLog::check(path).unwrap().0.into_iter();
        findings.map(|f| (f.severity, f.found)).collect()
    }

    #[test]
    fn places_for_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("deep/log");
        let info = (Severity::Info, "no log yet".to_owned());
        assert_eq!(found(&new), vec![info.clone()]);
        assert!(EmbeddedLog::free_bytes(&new).unwrap() > 0);
        std::fs::write(folder.path().join("file"), "").unwrap();
        let blocking = |found: &str| (Severity::Blocking, found.to_owned());
        let below_a_file = folder.path().join("file/log");
        assert_eq!(
            found(&below_a_file),
            [info.clone(), blocking("not a directory")]
        );
        assert_eq!(found(folder.path()), [info, blocking("not empty")]);
        EmbeddedLog::create_or_open(&new).unwrap();
        assert_eq!(found(&new), []);
    }
}
