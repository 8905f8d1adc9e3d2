//! Debian's packages, unpacked into a folder without installing them: no root, no package manager, any Linux.
//!
//! The packages come with their own C library and are started through their own dynamic loader, so that the distribution
//! underneath does not matter. Each `.deb` is checked against the SHA-256 of the package index. The index itself is as
//! trustworthy as its transport: HTTPS by default; a mirror that apt is set up with is used as it is.
//!
//! An unpacked folder appears under its final name only when it is complete (unpacked beside it, then renamed, under a file
//! lock), and is used from then on without any network, until someone deletes it.

mod archive;
mod index;
mod mirror;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::place;

pub(crate) use mirror::MIRROR;

/// A folder with packages and everything that they depend on.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folders of the shared libraries, as the loader wants them named. The older suites have two.
    pub(crate) fn libraries(&self) -> OsString {
        let folders = self.library_folders();
        std::env::join_paths(&folders).unwrap_or_else(|_| folders[0].clone().into())
    }

    pub(crate) fn loader(&self) -> PathBuf {
        let [usr, old] = self.library_folders().map(|f| f.join(Machine::LOADER));
        if usr.exists() { usr } else { old }
    }

    /// Of MariaDB's client library.
    pub(crate) fn client_plugins(&self) -> PathBuf {
        self.path
            .join("usr/lib")
            .join(Machine::TRIPLE)
            .join("libmariadb3/plugin")
    }

    /// Where the packages' perl looks for modules. It was built to look where they would be installed.
    pub(crate) fn perl_modules(&self) -> Result<OsString> {
        let machine = Path::new("usr/lib").join(Machine::TRIPLE);
        let mut folders = Vec::new();
        for parent in [
            machine.join("perl5"),
            machine.join("perl"),
            "usr/share/perl".into(),
        ] {
            folders.extend(versions(&self.path.join(parent))?);
        }
        folders.push(self.path.join("usr/share/perl5"));
        folders.push(self.path.join(machine).join("perl-base"));
        std::env::join_paths(folders).map_err(|e| Error::system("name perl's folders", e))
    }

    fn library_folders(&self) -> [PathBuf; 2] {
        ["usr/lib", "lib"].map(|folder| self.path.join(folder).join(Machine::TRIPLE))
    }
}

/// What Debian calls this machine.
pub(crate) struct Machine;

#[cfg(target_arch = "aarch64")]
impl Machine {
    const ARCHITECTURE: &'static str = "arm64";
    const TRIPLE: &'static str = "aarch64-linux-gnu";
    const LOADER: &'static str = "ld-linux-aarch64.so.1";
}

#[cfg(not(target_arch = "aarch64"))]
impl Machine {
    const ARCHITECTURE: &'static str = "amd64";
    const TRIPLE: &'static str = "x86_64-linux-gnu";
    const LOADER: &'static str = "ld-linux-x86-64.so.2";
}

/// The newest unpacked folder named `NAME-<version>`, or a new one with `packages` of a suite and their dependencies; the
/// version is that of the first package.
pub(crate) fn unpacked(name: &str, suite: &str, packages: &[&str]) -> Result<Root> {
    if !cfg!(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )) {
        return Err(Error::Package {
            name: packages.join(" "),
            reason: "Debian's packages run on Linux on x86-64 and arm64 only".into(),
        });
    }
    let base = place::base()?;
    let _lock = place::Lock::exclusive(&base.join(format!("{name}.lock")))?;
    if let Some(path) = newest(&base, name)? {
        return Ok(Root { path });
    }
    let (mirror, index) = mirror::index(suite, Machine::ARCHITECTURE)?;
    let chosen = index.closure(packages)?;
    let version = file_name(&chosen[0].version);
    // Under the lock nobody else is unpacking: whatever lies there was left by a process that died.
    let temporary = base.join(format!(".unpacking-{name}"));
    place::remove(&temporary)?;
    std::fs::create_dir_all(&temporary).map_err(|e| Error::file("create", &temporary, e))?;
    for package in &chosen {
        let deb = mirror.package(package)?;
        archive::unpack(&package.name, &deb, &temporary)?;
    }
    let path = base.join(format!("{name}-{version}"));
    std::fs::rename(&temporary, &path).map_err(|e| Error::file("rename into place", &path, e))?;
    Ok(Root { path })
}

/// The folders in one that are named after versions.
fn versions(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::file("list", folder, e))? {
        let entry = entry.map_err(|e| Error::file("list", folder, e))?;
        found.push(entry.path());
    }
    Ok(found)
}

fn newest(base: &Path, name: &str) -> Result<Option<PathBuf>> {
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(base).map_err(|e| Error::file("list", base, e))? {
        let entry = entry.map_err(|e| Error::file("list", base, e))?;
        let file = entry.file_name();
        let is_ours = file
            .to_str()
            .and_then(|f| f.strip_prefix(name)?.strip_prefix('-'))
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if is_ours && entry.path().join("usr").is_dir() {
            let changed = entry.metadata().and_then(|m| m.modified());
            found.push((
                changed.unwrap_or(std::time::SystemTime::UNIX_EPOCH),
                entry.path(),
            ));
        }
    }
    Ok(found.into_iter().max().map(|(_, path)| path))
}

/// A version as a file name: epochs have colons, and nothing from an index may leave the folder.
fn file_name(version: &str) -> String {
    version
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".+-~".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}
