//! The few file operations whose failures matter, behind a trait so that tests can make them fail.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::error::LogError;

pub(crate) trait Disk: Send + Sync + std::fmt::Debug {
    fn write_at(&self, file: &File, bytes: &[u8], position: u64) -> io::Result<()>;
    fn sync_data(&self, file: &File) -> io::Result<()>;
}

#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn write_at(&self, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        file.write_all_at(bytes, position)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// No space, or no quota: worth waiting for.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(crate) const TEMPORARY: &str = ".tmp";

/// Replaces or creates a file so that after a crash either the old content is there or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let temporary: PathBuf = folder.join(format!(
        ".{}.{}{TEMPORARY}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ));
    let written = File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| sync_folder(folder));
    if written.is_err() {
        // Best effort; leftovers are removed by the next writer.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// `replace`, with the error in the log's terms.
pub(crate) fn store(path: &Path, content: &[u8]) -> Result<(), LogError> {
    replace(path, content).map_err(LogError::io("write", path))
}
