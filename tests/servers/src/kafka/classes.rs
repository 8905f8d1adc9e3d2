//! An archive of Kafka's classes as the JVM holds them, made once: a node that maps it starts in two thirds of the time, and
//! tests start many.
//!
//! A node writes it as it stops. The JVM checks that it fits (its own version, each jar) and does without it otherwise, so
//! a stale one is never wrong, only slow. Nor does a test depend on there being one: what can't be made is left out, and an
//! empty file in its place says so to later processes.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::builder::Builder;
use super::cluster::Cluster;
use super::distribution::Distribution;
use crate::error::{Error, Result};
use crate::place;

/// The archive of the process's distribution.
pub(super) fn archive(distribution: &Distribution) -> Option<&'static Path> {
    static ARCHIVE: OnceLock<Option<PathBuf>> = OnceLock::new();
    ARCHIVE
        .get_or_init(|| ready(distribution).ok())
        .as_deref()
        .filter(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0))
}

fn ready(distribution: &Distribution) -> Result<PathBuf> {
    let base = place::base()?;
    let digest = Sha256::digest(distribution.identity());
    let key: String = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
    let path = base.join(format!("kafka-classes-{key}.jsa"));
    let _lock = place::Lock::exclusive(&base.join("kafka-classes.lock"))?;
    if path.is_file() {
        return Ok(path);
    }
    let temporary = base.join(".archiving-kafka.jsa");
    // It is left over from a process that died, if it is there.
    let _ = std::fs::remove_file(&temporary);
    if make(distribution, &temporary).is_err() || !temporary.is_file() {
        std::fs::write(&temporary, []).map_err(|e| Error::file("write", &temporary, e))?;
    }
    std::fs::rename(&temporary, &path).map_err(|e| Error::file("rename into place", &path, e))?;
    Ok(path)
}

fn make(distribution: &Distribution, path: &Path) -> Result<()> {
    let builder = Builder::default();
    let mut options = builder.jvm_options();
    options.push(format!("-XX:ArchiveClassesAtExit={}", path.display()));
    let cluster = Cluster::start_with(distribution, &builder, &options)?;
    cluster.node(0)?.stop()
}
