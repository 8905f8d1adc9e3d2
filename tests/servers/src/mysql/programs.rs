//! MySQL's programs, and how to start them: from the PATH, or from Debian's packages through their own loader.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::debian::{self, Root};
use crate::error::{Error, Result};

const PACKAGES: [&str; 3] = ["mysql-server-core", "mysql-client-core", "mysql-client"];

/// The oldest major version that has the options every server here is started with.
const OLDEST: u32 = 8;

/// A place from which the server and its clients run.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    origin: Origin,
    /// Of the server, as it prints it: `9.7.4-2`.
    pub(crate) version: String,
}

#[derive(Debug, Clone)]
enum Origin {
    Path(PathBuf),
    Packages(Root),
}

impl Programs {
    /// `mysqld` on the PATH, or where distributions put it, which is not on every user's PATH.
    pub(crate) fn on_path() -> Result<Self> {
        let mysqld = find("mysqld").ok_or_else(|| Error::system("mysqld", "not on the PATH"))?;
        Self::with_version(Origin::Path(mysqld))
    }

    pub(crate) fn from_packages() -> Result<Self> {
        Self::with_version(Origin::Packages(debian::unpacked("mysql", &PACKAGES)?))
    }

    fn with_version(origin: Origin) -> Result<Self> {
        let mut programs = Programs {
            origin,
            version: String::new(),
        };
        let output = programs
            .server()
            .arg("--version")
            .output()
            .map_err(|e| Error::system("run mysqld --version", e))?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        match version(&printed) {
            Some((major, version)) if major >= OLDEST && !printed.contains("MariaDB") => {
                programs.version = version.to_owned();
                Ok(programs)
            }
            _ => Err(Error::system(
                "mysqld --version",
                format!("not MySQL {OLDEST} or newer: {:?}", printed.trim()),
            )),
        }
    }

    /// `mysqld`, with the folders it needs to find its own files.
    pub(crate) fn server(&self) -> Command {
        let mut command = match &self.origin {
            Origin::Path(mysqld) => Command::new(mysqld),
            Origin::Packages(root) => loaded(root, "usr/sbin/mysqld"),
        };
        command.arg("--no-defaults");
        if let Origin::Packages(root) = &self.origin {
            let option =
                |name: &str, path: &str| format!("--{name}={}/{path}", root.path().display());
            command.args([
                option("basedir", "usr"),
                option("lc-messages-dir", "usr/share/mysql"),
                option("character-sets-dir", "usr/share/mysql/charsets"),
                option("plugin-dir", "usr/lib/mysql/plugin"),
            ]);
        }
        if rustix::process::geteuid().is_root() {
            // Otherwise it refuses to run as root, which is who one is in most containers.
            command.arg("--user=root");
        }
        command
    }

    /// A client program (`mysql`, `mysqlbinlog`, `mysqldump`, …) that reads no option files.
    fn client(&self, program: &str) -> Option<Command> {
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
pub(crate) fn client(servers: Option<&Programs>, program: &str) -> Result<Command> {
    if let Some(command) = servers.and_then(|programs| programs.client(program)) {
        return Ok(command);
    }
    if let Some(path) = find(program) {
        let mut command = Command::new(path);
        command.arg("--no-defaults");
        return Ok(command);
    }
    static UNPACKED: OnceLock<Result<Programs>> = OnceLock::new();
    let programs = UNPACKED
        .get_or_init(Programs::from_packages)
        .as_ref()
        .map_err(Error::clone)?;
    programs.client(program).ok_or_else(|| Error::Package {
        name: PACKAGES.join(" "),
        reason: format!("no program {program} in them"),
    })
}

/// `sysbench`, for benchmarks: from the PATH, else from Debian's package, fetched when first asked for.
pub fn sysbench() -> Result<Command> {
    if let Some(path) = find("sysbench") {
        return Ok(Command::new(path));
    }
    let root = debian::unpacked("sysbench", &["sysbench"])?;
    let mut command = loaded(&root, "usr/bin/sysbench");
    // Its Lua scripts lie where it was not installed.
    let scripts = root.path().join("usr/share/sysbench");
    command.env(
        "LUA_PATH",
        format!("{0}/?.lua;{0}/?/init.lua;;", scripts.display()),
    );
    command.current_dir(scripts);
    Ok(command)
}

fn loaded(root: &Root, program: &str) -> Command {
    let mut command = Command::new(root.loader());
    command
        .arg("--library-path")
        .arg(root.libraries())
        .arg(root.path().join(program));
    command
}

fn find(program: &str) -> Option<PathBuf> {
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

/// `… Ver 9.7.4-2 for Linux …` as `(9, "9.7.4-2")`.
fn version(printed: &str) -> Option<(u32, &str)> {
    let version = printed.split("Ver ").nth(1)?.split_whitespace().next()?;
    let major = version.split('.').next()?.parse().ok()?;
    Some((major, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_printed() {
        let debian = "/x/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))";
        assert_eq!(version(debian), Some((9, "9.7.4-2")));
        let oracle = "mysqld  Ver 8.4.6 for Linux on aarch64 (MySQL Community Server - GPL)";
        assert_eq!(version(oracle), Some((8, "8.4.6")));
        assert_eq!(version("command not found"), None);
    }
}
