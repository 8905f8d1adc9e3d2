//! The package index (`Packages`): which packages there are, and what a set of them depends on. Pure: text in, choice out.
//!
//! Of alternatives (`a | b`) the first is taken and versions are not compared: one index of one suite is consistent in
//! itself. Names that no package bears are looked up among those provided by others.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};

/// Needed by maintainer scripts, services, clustering and debugging only, which are never run here; unless it is asked for by name.
const NOT_NEEDED: [&str; 23] = [
    "adduser",
    "debconf",
    "debianutils",
    "dpkg",
    "fdisk",
    "galera-4",
    "gawk",
    "gdb",
    "init-system-helpers",
    "iproute2",
    "libconfig-inifiles-perl",
    "libdbi-perl",
    "libpam0g",
    "lsof",
    "lsb-base",
    "passwd",
    "perl",
    "perl-base",
    "procps",
    "psmisc",
    "rsync",
    "socat",
    "systemd",
];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// Relative to the mirror's address.
    pub(super) filename: String,
    pub(super) sha256: String,
    pub(super) size: u64,
    depends: Vec<String>,
    provides: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    packages: HashMap<String, Package>,
    providers: HashMap<String, String>,
}

impl Index {
    pub(super) fn parse(text: &str) -> Self {
        let mut index = Index::default();
        for paragraph in text.split("\n\n") {
            let package = Package::parse(paragraph);
            if package.name.is_empty() {
                continue;
            }
            for provided in &package.provides {
                index
                    .providers
                    .entry(provided.clone())
                    .or_insert_with(|| package.name.clone());
            }
            index.packages.insert(package.name.clone(), package);
        }
        index
    }

    /// `wanted` and all that they need, `wanted` first.
    pub(super) fn closure(&self, wanted: &[&str]) -> Result<Vec<&Package>> {
        let mut chosen = Vec::new();
        let mut seen = HashSet::new();
        let mut queue: std::collections::VecDeque<(&str, &str)> =
            wanted.iter().map(|name| (*name, "(the request)")).collect();
        while let Some((name, by)) = queue.pop_front() {
            if NOT_NEEDED.contains(&name) && !wanted.contains(&name) {
                continue;
            }
            let package = self
                .packages
                .get(name)
                .or_else(|| self.packages.get(self.providers.get(name)?))
                .ok_or_else(|| Error::Package {
                    name: name.to_owned(),
                    reason: format!("needed by {by}, and not in the index"),
                })?;
            if !seen.insert(package.name.as_str()) {
                continue;
            }
            chosen.push(package);
            queue.extend(
                package
                    .depends
                    .iter()
                    .map(|d| (d.as_str(), package.name.as_str())),
            );
        }
        Ok(chosen)
    }
}

impl Package {
    fn parse(paragraph: &str) -> Self {
        let mut package = Package::default();
        for line in paragraph.lines() {
            // Continuation lines start with white space; none of the fields used here has any.
            if line.starts_with(char::is_whitespace) {
                continue;
            }
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match key {
                "Package" => package.name = value.to_owned(),
                "Version" => package.version = value.to_owned(),
                "Filename" => package.filename = value.to_owned(),
                "SHA256" => package.sha256 = value.to_owned(),
                "Size" => package.size = value.parse().unwrap_or(0),
                "Depends" | "Pre-Depends" => package.depends.extend(names(value)),
                "Provides" => package.provides.extend(names(value)),
                _ => {}
            }
        }
        package
    }
}

/// `libc6 (>= 2.38), perl:any, a | b` as `libc6`, `perl`, `a`.
fn names(list: &str) -> impl Iterator<Item = String> + '_ {
    list.split(',').filter_map(|one| {
        let first = one.split('|').next()?.trim();
        let name = first.split([' ', '(', ':', '[']).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: server\nVersion: 9.7.4-2\nDepends: libc6 (>= 2.38), perl:any, ssl-lib | other,\nFilename: pool/s.deb\nSize: 12\nSHA256: aa\nTag: x,\n Depends: not-this\n\nPackage: libc6\nVersion: 1\nPre-Depends: base-files [amd64]\n\nPackage: openssl3\nProvides: ssl-lib (= 3), x\nVersion: 2\n\nPackage: base-files\nDepends: server\nVersion: 3\n";

    fn closure(wanted: &[&str]) -> Result<Vec<String>> {
        Ok(Index::parse(TEXT)
            .closure(wanted)?
            .iter()
            .map(|p| p.name.clone())
            .collect())
    }

    #[test]
    fn dependencies_alternatives_providers_and_circles() {
        assert_eq!(
            closure(&["server"]).unwrap(),
            ["server", "libc6", "openssl3", "base-files"]
        );
    }

    #[test]
    fn what_only_scripts_need_comes_when_asked_for() {
        let text = "Package: a\nDepends: perl, perl-base\n\nPackage: perl\n\nPackage: perl-base\n";
        let chosen = |wanted: &[&str]| -> Vec<String> {
            let index = Index::parse(text);
            let chosen = index.closure(wanted).unwrap();
            chosen.iter().map(|package| package.name.clone()).collect()
        };
        assert_eq!(chosen(&["a"]), ["a"]);
        assert_eq!(chosen(&["a", "perl"]), ["a", "perl"]);
    }

    #[test]
    fn fields_of_a_package() {
        let index = Index::parse(TEXT);
        let server = &index.packages["server"];
        assert_eq!(server.version, "9.7.4-2");
        assert_eq!(server.filename, "pool/s.deb");
        assert_eq!((server.size, server.sha256.as_str()), (12, "aa"));
    }

    #[test]
    fn a_missing_package_names_who_needs_it() {
        let text = "Package: a\nDepends: b\n";
        let error = Index::parse(text).closure(&["a"]).unwrap_err().to_string();
        assert!(error.contains("package b: needed by a"), "{error}");
    }
}
