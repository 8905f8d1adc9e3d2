//! One node of a cluster: its files and its process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::distribution::Distribution;
use crate::child::Supervised;
use crate::error::{Error, Result, log_tail};

/// How long a clean shutdown may take before it is a failure.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// Warnings and errors only, to the program's output: what it says last is why it went.
const LOGGING: &str = "appender.out.type=Console\n\
                       appender.out.name=Out\n\
                       appender.out.layout.type=PatternLayout\n\
                       appender.out.layout.pattern=%d %p %c{1}: %m%n\n\
                       rootLogger.level=warn\n\
                       rootLogger.appenderRef.out.ref=Out\n";

/// What every node of a cluster runs with.
#[derive(Debug, Clone)]
pub(super) struct Jvm {
    pub(super) distribution: Distribution,
    pub(super) options: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Node {
    jvm: Jvm,
    settings: PathBuf,
    logging: PathBuf,
    format_log: PathBuf,
    port: u16,
    child: Supervised,
}

impl Node {
    /// Writes its files into `folder`; starts nothing.
    pub(super) fn new(jvm: Jvm, folder: &Path, port: u16, settings: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
        let node = Node {
            jvm,
            settings: folder.join("server.properties"),
            logging: folder.join("log4j2.properties"),
            format_log: folder.join("format.log"),
            port,
            child: Supervised::new("kafka", folder.join("kafka.log")),
        };
        for (path, text) in [(&node.settings, settings), (&node.logging, LOGGING)] {
            std::fs::write(path, text).map_err(|e| Error::file("write", path, e))?;
        }
        Ok(node)
    }

    /// Makes its data folder, with the users that log in with SCRAM.
    pub(super) fn format(&self, cluster: &str, users: &[(String, String)]) -> Result<()> {
        let log = &self.format_log;
        let output = std::fs::File::create(log).map_err(|e| Error::file("create", log, e))?;
        let errors = output
            .try_clone()
            .map_err(|e| Error::file("open", log, e))?;
        let mut command = self.tool("kafka.tools.StorageTool");
        command
            .args(["format", "--cluster-id", cluster, "--config"])
            .arg(&self.settings)
            .stdout(output)
            .stderr(errors);
        for (user, password) in users {
            let user = format!("SCRAM-SHA-256=[name={user},password={password}]");
            command.args(["--add-scram", &user]);
        }
        let status = crate::keeper::spawn(command)?
            .wait()
            .map_err(|e| Error::system("wait for Kafka's storage tool", e))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Program {
            program: "kafka.tools.StorageTool format".into(),
            reason: status.to_string(),
            log: log_tail(log),
        })
    }

    /// One of Kafka's own tools, by its class.
    pub(super) fn tool(&self, class: &str) -> Command {
        let mut command = self.java();
        command.arg(class);
        command
    }

    fn java(&self) -> Command {
        let mut command = self.jvm.distribution.java();
        command
            .arg(format!(
                "-Dlog4j2.configurationFile={}",
                self.logging.display()
            ))
            .args(&self.jvm.options);
        command
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Does not wait; nothing happens when it runs.
    pub(super) fn launch(&mut self) -> Result<()> {
        if self.child.is_started() {
            return Ok(());
        }
        let mut command = self.tool("kafka.Kafka");
        command
            .arg(&self.settings)
            .stdout(self.child.output()?)
            .stderr(self.child.output()?)
            .stdin(Stdio::null());
        self.child.start(command)
    }

    pub(super) fn check_alive(&mut self) -> Result<()> {
        self.child.check_alive()
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.kill()
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.child.stop(self.port, SHUTDOWN)
    }

    pub(super) fn pause(&self) -> Result<()> {
        self.child.signal(Signal::STOP, self.port)
    }

    pub(super) fn resume(&self) -> Result<()> {
        self.child.signal(Signal::CONT, self.port)
    }

    /// No file of the process may grow or be written to any more. The new one of the next start knows nothing of it.
    #[cfg(target_os = "linux")]
    pub(super) fn forbid_writes(&self) -> Result<()> {
        use rustix::process::{Resource, Rlimit, prlimit};
        let none = Rlimit {
            current: Some(0),
            maximum: None,
        };
        prlimit(Some(self.child.process(self.port)?), Resource::Fsize, none)
            .map(drop)
            .map_err(|e| Error::system("limit the size of files", e))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn forbid_writes(&self) -> Result<()> {
        self.child.process(self.port)?;
        Err(Error::system(
            "limit the size of files",
            "of another process: on Linux only",
        ))
    }

    /// Until the process has ended by itself.
    pub(super) fn wait_for_end(&mut self, limit: Duration) -> Result<bool> {
        self.child.wait(limit)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.pid()
    }

    pub(super) fn last_words(&self) -> String {
        self.child.last_words()
    }
}
