//! Kafka's jars and the Java that runs them: from `KAFKA_HOME`, from a distribution whose scripts are on the PATH, or from
//! Maven's artifacts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::maven;
use crate::error::{Error, Result};

/// The oldest Java that Kafka 4 runs on.
const OLDEST_JAVA: u32 = 17;

/// The oldest major version of Kafka whose settings are the ones used here.
const OLDEST_KAFKA: u32 = 4;

/// The folder of a distribution, as Kafka's own documentation calls it.
pub(super) const HOME: &str = "KAFKA_HOME";

#[derive(Debug, Clone)]
pub(super) struct Distribution {
    java: PathBuf,
    libraries: PathBuf,
}

impl Distribution {
    /// The folder that `KAFKA_HOME` names, else the one from which `kafka-server-start.sh` on the PATH is.
    pub(super) fn installed() -> Result<Self> {
        if let Some(home) = std::env::var_os(HOME).filter(|home| !home.is_empty()) {
            return Self::with(&Path::new(&home).join("libs"));
        }
        let script = find("kafka-server-start.sh")
            .or_else(|| find("kafka-server-start"))
            .and_then(|path| path.canonicalize().ok())
            .ok_or_else(|| {
                Error::system(
                    "look for Kafka",
                    format!("{HOME} is not set, and kafka-server-start.sh is not on the PATH"),
                )
            })?;
        let home = script.parent().and_then(Path::parent);
        Self::with(&home.unwrap_or(Path::new("/")).join("libs"))
    }

    /// Fetched the first time.
    pub(super) fn from_maven() -> Result<Self> {
        // Before the download: without Java it would be for nothing.
        let java = java()?;
        let libraries = maven::libraries()?;
        Ok(Distribution { java, libraries })
    }

    fn with(libraries: &Path) -> Result<Self> {
        let java = java()?;
        let version = version(libraries)?;
        let major = version
            .split('.')
            .next()
            .and_then(|m| m.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST_KAFKA) {
            return Err(Error::system(
                "look for Kafka",
                format!("{} has version {version}", libraries.display()),
            ));
        }
        Ok(Distribution {
            java,
            libraries: libraries.to_owned(),
        })
    }

    /// Changes with the Java and the jars, or nearly so.
    pub(super) fn identity(&self) -> String {
        let java = self.java.canonicalize().unwrap_or_default();
        let changed = java.metadata().and_then(|file| file.modified()).ok();
        format!("{java:?} {changed:?} {:?}", self.libraries)
    }

    /// Java with Kafka's classes; options of the JVM and then the main class are to be added.
    pub(super) fn java(&self) -> Command {
        let mut classes = OsString::from(&self.libraries);
        classes.push("/*");
        let mut command = Command::new(&self.java);
        command.arg("-cp").arg(classes).stdin(Stdio::null());
        command
    }
}

/// As the broker's jar is named: `kafka_2.13-4.3.1.jar`.
fn version(libraries: &Path) -> Result<String> {
    let files = std::fs::read_dir(libraries).map_err(|e| Error::file("list", libraries, e))?;
    files
        .flatten()
        .find_map(|file| version_in(file.file_name().to_str()?))
        .ok_or_else(|| Error::file("look for Kafka in", libraries, "no kafka_….jar there"))
}

fn version_in(jar: &str) -> Option<String> {
    let (scala, version) = jar
        .strip_prefix("kafka_")?
        .strip_suffix(".jar")?
        .split_once('-')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (plain(scala) && plain(version)).then(|| version.to_owned())
}

/// `JAVA_HOME`'s, else the one on the PATH.
fn java() -> Result<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java"));
    let java = home
        .filter(|java| java.is_file())
        .or_else(|| find("java"))
        .ok_or_else(|| Error::system("java", "not on the PATH, and JAVA_HOME names none"))?;
    let output = Command::new(&java)
        .arg("-version")
        .output()
        .map_err(|e| Error::system("run java -version", e))?;
    let printed = String::from_utf8_lossy(&output.stderr);
    match java_version(&printed) {
        Some(major) if major >= OLDEST_JAVA => Ok(java),
        _ => Err(Error::system(
            "java -version",
            format!("not Java {OLDEST_JAVA} or newer: {:?}", printed.trim()),
        )),
    }
}

/// `openjdk version "17.0.15" 2025-04-15` as 17; what came before Java 9 (`"1.8.0_312"`) as 1.
fn java_version(printed: &str) -> Option<u32> {
    let quoted = printed.split('"').nth(1)?;
    let digits = quoted.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_named_and_printed() {
        assert_eq!(version_in("kafka_2.13-4.3.1.jar").as_deref(), Some("4.3.1"));
        assert_eq!(version_in("kafka_2.13-4.3.1-sources.jar"), None);
        assert_eq!(version_in("kafka-clients-4.3.1.jar"), None);
        assert_eq!(
            java_version("openjdk version \"17.0.15\" 2025-04-15"),
            Some(17)
        );
        assert_eq!(java_version("openjdk version \"25\" 2025-09-16"), Some(25));
        assert_eq!(java_version("java version \"1.8.0_312\""), Some(1));
        assert_eq!(java_version("command not found"), None);
    }
}
