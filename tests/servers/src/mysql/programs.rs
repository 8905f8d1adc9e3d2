//! The servers' programs, and how to start them: from the PATH, or from Debian's packages through their own loader.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::keyring;
use super::release::{Packages, Release};
use crate::debian::{self, Root};
use crate::error::{Error, Result};

/// A place from which the server and its clients run.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(super) release: Release,
    origin: Origin,
    /// Where the program and the plugins lie for a server with a keyring.
    keyring: Option<PathBuf>,
    /// Of the server, as it prints it: `9.7.4-2`.
    pub(crate) version: String,
}

#[derive(Debug, Clone)]
enum Origin {
    Path(PathBuf),
    Packages(Root),
}

impl Programs {
    /// The server on the PATH, or where distributions put it, which is not on every user's PATH.
    pub(crate) fn on_path(release: Release) -> Result<Self> {
        let name = release.program();
        let server = find(name).ok_or_else(|| Error::system(name, "not on the PATH"))?;
        Self::with_version(release, Origin::Path(server))
    }

    pub(crate) fn from_packages(release: Release) -> Result<Self> {
        let Packages {
            folder,
            suite,
            names,
        } = release.packages();
        let root = debian::unpacked(folder, suite, names)?;
        Self::with_version(release, Origin::Packages(root))
    }

    fn with_version(release: Release, origin: Origin) -> Result<Self> {
        let mut programs = Programs {
            release,
            origin,
            keyring: None,
            version: String::new(),
        };
        let output = programs
            .server()
            .arg("--version")
            .output()
            .map_err(|e| Error::system("run the server with --version", e))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        match version(&printed) {
            Some(version) if release.accepts(version) => {
                programs.version = version.to_owned();
                Ok(programs)
            }
            _ => Err(Error::system(
                "the server's --version",
                format!("not the {} wanted: {:?}", release.server(), printed.trim()),
            )),
        }
    }

    /// The same with a keyring, which is kept in `folder`. Only packages say where the server's plugins are.
    pub(super) fn with_keyring(release: Release, folder: &Path) -> Result<Self> {
        let mut programs = Self::from_packages(release)?;
        if let Origin::Packages(root) = &programs.origin {
            let usr = root.path().join("usr");
            let program = usr.join("sbin").join(release.program());
            keyring::prepare(folder, &program, &usr.join("lib/mysql/plugin"))?;
        }
        programs.keyring = Some(folder.to_owned());
        Ok(programs)
    }

    /// The server, with the folders it needs to find its own files.
    pub(crate) fn server(&self) -> Command {
        let mut command = match &self.origin {
            Origin::Path(server) => Command::new(server),
            Origin::Packages(root) => {
                let program = self.release.program();
                match &self.keyring {
                    None => loaded(root, &format!("usr/sbin/{program}")),
                    Some(folder) => loaded(root, &folder.join(program).display().to_string()),
                }
            }
        };
        command.arg("--no-defaults");
        if let Origin::Packages(root) = &self.origin {
            let usr = root.path().join("usr");
            let option = |name: &str, path: &Path| format!("--{name}={}", usr.join(path).display());
            let share = self.share();
            command.args([
                option("basedir", Path::new("")),
                option("lc-messages-dir", &share),
                option("character-sets-dir", &share.join("charsets")),
                // A path that is absolute stays itself.
                option(
                    "plugin-dir",
                    &self.keyring.as_ref().map_or_else(
                        || PathBuf::from("lib/mysql/plugin"),
                        |folder| folder.join(keyring::PLUGINS),
                    ),
                ),
            ]);
        }
        if rustix::process::geteuid().is_root() {
            // Otherwise it refuses to run as root, which is who one is in most containers.
            command.arg("--user=root");
        }
        command
    }

    /// The folder with messages, character sets and the scripts that make MariaDB's system tables.
    pub(super) fn share(&self) -> PathBuf {
        let usr = match &self.origin {
            Origin::Packages(root) => root.path().join("usr"),
            Origin::Path(server) => server
                .canonicalize()
                .ok()
                .and_then(|file| Some(file.parent()?.parent()?.to_owned()))
                .unwrap_or_else(|| PathBuf::from("/usr")),
        };
        ["share/mariadb", "share/mysql", "share"]
            .map(|folder| usr.join(folder))
            .into_iter()
            .find(|folder| folder.join("charsets").is_dir())
            .unwrap_or_else(|| usr.join("share/mysql"))
    }

    /// A client program (`mysql`, `mysqlbinlog`, `mysqldump`, …) that reads no option files.
    fn client(&self, program: &str) -> Option<Command> {
        let program = &self.release.client(program);
        let mut command = match &self.origin {
            Origin::Path(_) => Command::new(find(program)?),
            Origin::Packages(root) => {
                let path = format!("usr/bin/{program}");
                if !root.path().join(&path).exists() {
                    return None;
                }
                loaded(root, &path)
            }
        };
        command.arg("--no-defaults");
        Some(command)
    }
}

/// A client program: from where the servers come from, else from the PATH, else from Debian's packages. So that it is
/// there too when the servers run elsewhere.
pub(crate) fn client(
    release: Release,
    servers: Option<&Programs>,
    program: &str,
) -> Result<Command> {
    if let Some(command) = servers.and_then(|programs| programs.client(program)) {
        return Ok(command);
    }
    if let Some(path) = find(&release.client(program)) {
        let mut command = Command::new(path);
        command.arg("--no-defaults");
        return Ok(command);
    }
    static UNPACKED: [OnceLock<Result<Programs>>; Release::ALL.len()] =
        [const { OnceLock::new() }; Release::ALL.len()];
    let programs = UNPACKED[release as usize]
        .get_or_init(|| Programs::from_packages(release))
        .as_ref()
        .map_err(Error::clone)?;
    programs.client(program).ok_or_else(|| Error::Package {
        name: release.packages().names.join(" "),
        reason: format!("no program {program} in them"),
    })
}

/// `sysbench`, for benchmarks: from the PATH, else from Debian's package, fetched when first asked for.
pub fn sysbench() -> Result<Command> {
    if let Some(path) = find("sysbench") {
        return Ok(Command::new(path));
    }
    let root = debian::unpacked("sysbench", "sid", &["sysbench"])?;
    let mut command = loaded(&root, "usr/bin/sysbench");
    // Its Lua scripts lie where it was not installed.
    let scripts = root.path().join("usr/share/sysbench");
    command.env(
        "LUA_PATH",
        format!("{0}/?.lua;{0}/?/init.lua;;", scripts.display()),
    );
    command.current_dir(scripts);
    find_plugins(&mut command, &root);
    Ok(command)
}

/// `mydumper` or `myloader`, for benchmarks: from the PATH, else from Debian's package, fetched when first asked for.
pub fn mydumper(program: &str) -> Result<Command> {
    if let Some(path) = find(program) {
        return Ok(Command::new(path));
    }
    let root = debian::unpacked("mydumper", "sid", &["mydumper"])?;
    let mut command = loaded(&root, &format!("usr/bin/{program}"));
    find_plugins(&mut command, &root);
    Ok(command)
}

/// `pt-table-checksum`, for benchmarks: from the PATH, else from Debian's package, with a perl of its own, fetched when first asked for.
pub fn pt_table_checksum() -> Result<Command> {
    const PROGRAM: &str = "pt-table-checksum";
    if let Some(path) = find(PROGRAM) {
        return Ok(Command::new(path));
    }
    let packages = ["percona-toolkit", "perl", "libdbi-perl"];
    let root = debian::unpacked("percona-toolkit", "sid", &packages)?;
    let mut command = loaded(&root, "usr/bin/perl");
    command
        .arg(root.path().join("usr/bin").join(PROGRAM))
        .env("PERL5LIB", root.perl_modules()?);
    find_plugins(&mut command, &root);
    Ok(command)
}

/// How the server wants to be logged in to is a plugin of a program's client library, which looks where it was not installed.
fn find_plugins(command: &mut Command, root: &Root) {
    command.env("MARIADB_PLUGIN_DIR", root.client_plugins());
}

pub(crate) fn loaded(root: &Root, program: &str) -> Command {
    let mut command = Command::new(root.loader());
    command
        .arg("--library-path")
        .arg(root.libraries())
        .arg(root.path().join(program));
    command
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/local/mysql/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The version in `… Ver 9.7.4-2 for Linux …`.
fn version(printed: &str) -> Option<&str> {
    printed.split("Ver ").nth(1)?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_printed() {
        let debian = "/x/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))";
        assert_eq!(version(debian), Some("9.7.4-2"));
        let oracle = "mysqld  Ver 8.4.6 for Linux on aarch64 (MySQL Community Server - GPL)";
        assert_eq!(version(oracle), Some("8.4.6"));
        assert_eq!(version("command not found"), None);
    }
}
