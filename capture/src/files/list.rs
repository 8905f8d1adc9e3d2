//! Which files, and in which order.
//!
//! The order is that of what the servers had executed before each file (PREVIOUS_GTIDS); files without a transaction between them are
//! ordered by their number. That one file continues another is checked when it is read.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{error::FileError, head::Head};
use crate::dump::HEADER;

/// The heads of the files that the paths name, in the order of their transactions. Blocking.
pub fn survey(paths: &[PathBuf]) -> Result<Vec<Head>, FileError> {
    let (mut heads, mut seen) = (Vec::new(), HashSet::new());
    for path in paths {
        for path in expand(path)? {
            let real = path.canonicalize().map_err(|cause| FileError::Unreadable {
                path: path.clone(),
                cause,
            })?;
            if !seen.insert(real) {
                return Err(FileError::Twice { path });
            }
            heads.push(Head::read(&path)?);
        }
    }
    heads.sort_by(order);
    // A file that was copied before its server had written what comes before the first transaction.
    if let Some(last) = heads.pop_if(|head| head.previous.is_none()) {
        if let Some(head) = heads.iter().find(|head| head.previous.is_none()) {
            return Err(cut_off(head));
        }
        if heads.is_empty() {
            return Err(cut_off(&last));
        }
        warn!(file = %last.path.display(), "the file was copied before anything stood in it");
    }
    Ok(heads)
}

fn cut_off(head: &Head) -> FileError {
    FileError::Truncated {
        path: head.path.clone(),
        position: head.size,
        expected: HEADER as u64,
        found: 0,
    }
}

/// `None` last: such a file has no transaction.
fn order(a: &Head, b: &Head) -> Ordering {
    match (&a.previous, &b.previous) {
        (Some(one), Some(other)) => one
            .len()
            .cmp(&other.len())
            .then_with(|| number(&a.path).cmp(&number(&b.path))),
        (one, other) => one.is_none().cmp(&other.is_none()),
    }
}

/// The number at the end of a binlog's name.
fn number(path: &Path) -> Option<u64> {
    series(path)?.1.parse().ok()
}

/// `binlog.000012` is number 000012 of `binlog`.
fn series(path: &Path) -> Option<(&str, &str)> {
    let (series, number) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !series.is_empty()).then_some((series, number))
}

/// A file is itself; a folder is every file in it that is named like a binlog.
fn expand(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let unreadable = |cause| FileError::Unreadable {
        path: path.to_owned(),
        cause,
    };
    if !path.metadata().map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (mut files, mut all_series) = (Vec::new(), BTreeSet::new());
    for entry in path.read_dir().map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if let Some((series, _)) = series(&file)
            && file.is_file()
        {
            all_series.insert(series.escape_debug().to_string());
            files.push(file);
        }
    }
    match all_series.len() {
        0 => Err(FileError::EmptyFolder {
            path: path.to_owned(),
        }),
        1 => {
            files.sort();
            Ok(files)
        }
        _ => Err(FileError::SeveralSeries {
            path: path.to_owned(),
            series: all_series.into_iter().collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binlogs_are_known_by_their_names() {
        let of = |name| series(Path::new(name));
        assert_eq!(of("/a/binlog.000012"), Some(("binlog", "000012")));
        assert_eq!(
            of("my.server-bin.1000000"),
            Some(("my.server-bin", "1000000"))
        );
        for name in [
            "binlog.index",
            "binlog",
            ".000001",
            "binlog.",
            "binlog.~rec~",
            "a.00x",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn folders_hold_one_series() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(matches!(expand(path), Err(FileError::EmptyFolder { .. })));
        for name in ["binlog.000002", "binlog.000001", "binlog.index", "ibdata1"] {
            std::fs::write(path.join(name), "").unwrap();
        }
        let names = |files: Vec<PathBuf>| {
            files
                .iter()
                .map(|f| super::super::head::name(f))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(expand(path).unwrap()),
            ["binlog.000001", "binlog.000002"]
        );
        std::fs::write(path.join("relay.000001"), "").unwrap();
        assert!(
            matches!(expand(path), Err(FileError::SeveralSeries { series, .. }) if series == ["binlog", "relay"])
        );
        assert!(matches!(
            expand(&path.join("none")),
            Err(FileError::Unreadable { .. })
        ));
    }
}
