//! The peer's jars, fetched once by Maven into the target folder (peers/debezium/pom.xml says which).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

const POM: &str = include_str!("../../peers/debezium/pom.xml");
const LOG4J: &str = include_str!("../../peers/debezium/log4j2.properties");

/// A profile of the pom, which is also the name of its folder; Maven's goal; and the folder in it where the jars go: Connect looks for
/// plugins in folders of a folder.
const PROFILES: [(&str, &str, &str); 4] = [
    ("connect", "copy-dependencies", ""),
    ("json", "copy-dependencies", "debezium"),
    ("avro", "copy-dependencies", "debezium"),
    ("registry", "unpack-dependencies", ""),
];

#[derive(Debug)]
pub struct Artifacts {
    folder: PathBuf,
}

impl Artifacts {
    /// Beside the folder of this program, which is `target/release`.
    pub fn fetch() -> Result<Self> {
        let own = std::env::current_exe()?;
        let target = own
            .parent()
            .and_then(Path::parent)
            .context("this program lies in no folder")?;
        let version = version().context("the pom names no version of Debezium")?;
        // Another pom, another folder: what was fetched for an older one may lie in other places.
        let mut pom = DefaultHasher::new();
        POM.hash(&mut pom);
        let name = format!("debezium-{version}-{:016x}", pom.finish());
        let folder = target.join("peers").join(name);
        let artifacts = Self { folder };
        for (profile, goal, inside) in PROFILES {
            artifacts.profile(profile, goal, inside)?;
        }
        std::fs::write(artifacts.log4j(), LOG4J)?;
        Ok(artifacts)
    }

    fn profile(&self, profile: &str, goal: &str, inside: &str) -> Result<()> {
        let folder = self.path(profile);
        if folder.is_dir() {
            return Ok(());
        }
        eprintln!("debezium: fetching {profile}");
        // It gets its name when it is complete.
        let fetching = self.path(&format!("{profile}.fetching"));
        if fetching.exists() {
            std::fs::remove_dir_all(&fetching)?;
        }
        std::fs::create_dir_all(&fetching)?;
        let pom = self.path("pom.xml");
        std::fs::write(&pom, POM)?;
        let output = Command::new("mvn")
            .args(["-q", "-B", "-P", profile, "-f"])
            .arg(&pom)
            .arg(format!("dependency:{goal}"))
            .arg("-DincludeScope=runtime")
            .arg(format!(
                "-DoutputDirectory={}",
                fetching.join(inside).display()
            ))
            .stdin(Stdio::null())
            .output()
            .context("mvn, which fetches the peer: install Maven and Java 17")?;
        if !output.status.success() {
            bail!(
                "mvn dependency:{goal} of {profile}: {}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
        std::fs::rename(&fetching, &folder)?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn connect(&self) -> PathBuf {
        self.path("connect")
    }

    pub fn log4j(&self) -> PathBuf {
        self.path("log4j2.properties")
    }

    pub fn registry(&self) -> PathBuf {
        self.path("registry")
    }

    /// What Connect's `plugin.path` names: the connector that captures.
    pub fn plugins(&self, avro: bool) -> PathBuf {
        self.path(if avro { "avro" } else { "json" })
    }

    /// The same of the sink, which is fetched when it is first asked for.
    pub fn sink(&self) -> Result<PathBuf> {
        self.profile("sink", "copy-dependencies", "jdbc")?;
        Ok(self.path("sink"))
    }
}

/// As the pom says it.
pub fn version() -> Option<&'static str> {
    property("debezium.version")
}

/// The sink's.
pub fn sink_version() -> Option<&'static str> {
    property("sink.version")
}

fn property(name: &str) -> Option<&'static str> {
    let (_, rest) = POM.split_once(&format!("<{name}>"))?;
    Some(rest.split_once('<')?.0)
}
