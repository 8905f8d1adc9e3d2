//! Kafka's artifacts from a Maven repository: the broker, its tools, and what they depend on. Maven does the work, with the
//! mirrors and credentials that this machine has set up for it, and checks what it fetches.
//!
//! As with other downloads, the folder appears under its final name only when it is complete, and is used from then on
//! without any network.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::distribution::find;
use crate::error::{Error, Result, log_tail};
use crate::place;

const VERSION: &str = "4.3.1";

/// Group, artifact and version. Log4j is what Kafka's own distribution logs through; its artifacts only depend on the
/// interface (SLF4J 1.7).
const ARTIFACTS: [[&str; 3]; 4] = [
    ["org.apache.kafka", "kafka_2.13", VERSION],
    ["org.apache.kafka", "kafka-tools", VERSION],
    ["org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4"],
    ["org.apache.logging.log4j", "log4j-core", "2.25.4"],
];

/// The folder with the jars.
pub(super) fn libraries() -> Result<PathBuf> {
    let base = place::base()?;
    let _lock = place::Lock::exclusive(&base.join("kafka.lock"))?;
    let path = base.join(format!("kafka-{VERSION}"));
    if path.is_dir() {
        return Ok(path);
    }
    let maven = find("mvn").ok_or_else(|| Error::system("mvn", "not on the PATH"))?;
    // Under the lock nobody else is fetching: whatever lies there was left by a process that died.
    let temporary = base.join(".fetching-kafka");
    place::remove(&temporary)?;
    std::fs::create_dir_all(&temporary).map_err(|e| Error::file("create", &temporary, e))?;
    let libraries = temporary.join("libs");
    fetch(&maven, &temporary, &libraries)?;
    std::fs::rename(&libraries, &path).map_err(|e| Error::file("rename into place", &path, e))?;
    place::remove(&temporary)?;
    Ok(path)
}

fn fetch(maven: &Path, folder: &Path, libraries: &Path) -> Result<()> {
    let (project, log) = (folder.join("pom.xml"), folder.join("log"));
    std::fs::write(&project, pom()).map_err(|e| Error::file("write", &project, e))?;
    let output = std::fs::File::create(&log).map_err(|e| Error::file("create", &log, e))?;
    let errors = output
        .try_clone()
        .map_err(|e| Error::file("open", &log, e))?;
    let mut command = Command::new(maven);
    command
        .args(["--batch-mode", "--no-transfer-progress", "--file"])
        .arg(&project)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", libraries.display()))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let status = crate::keeper::spawn(command)?
        .wait()
        .map_err(|e| Error::system("wait for mvn", e))?;
    if status.success() && libraries.is_dir() {
        return Ok(());
    }
    Err(Error::Program {
        program: "mvn dependency:copy-dependencies".into(),
        reason: status.to_string(),
        log: log_tail(&log),
    })
}

/// A project that does nothing but depend on the artifacts.
fn pom() -> String {
    let mut dependencies = String::new();
    for [group, artifact, version] in ARTIFACTS {
        dependencies.push_str(&format!(
            "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n"
        ));
    }
    format!(
        "<project>\n  <modelVersion>4.0.0</modelVersion>\n  <groupId>binferry</groupId>\n  <artifactId>servers</artifactId>\n  \
         <version>1</version>\n  <dependencies>\n{dependencies}  </dependencies>\n</project>\n"
    )
}
