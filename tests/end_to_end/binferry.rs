//! The program under test, as a process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use binferry_servers::{Kafka, MySql};
use tempfile::TempDir;

pub const SOURCE_USER: &str = "bf_source";
pub const TARGET_USER: &str = "bf_target";
pub const PASSWORD: &str = "p@ss 'w\"rd";

/// Makes the users of the quickstart, with no more than its grants.
pub fn users(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    let quoted = PASSWORD.replace('\'', "''");
    source.sql(&format!(
        "CREATE USER IF NOT EXISTS {SOURCE_USER}@'%' IDENTIFIED BY '{quoted}';
         GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO {SOURCE_USER}@'%'"
    ))?;
    target.sql(&format!(
        "CREATE USER IF NOT EXISTS {TARGET_USER}@'%' IDENTIFIED BY '{quoted}';
         GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON `{database}`.* TO {TARGET_USER}@'%';
         GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON binferry.* TO {TARGET_USER}@'%'"
    ))?;
    Ok(())
}

/// No `--from`.
pub const BY_DEFAULT: &str = "default";

/// A folder with a log, and how to call the program on it.
pub struct Pipeline {
    pub folder: TempDir,
    pub source: String,
    pub target: String,
    /// A stream of its own, because tests share the target's `binferry` database.
    pub stream: String,
    pub tables: String,
    pub from: String,
    /// Where the log is when it is not the folder's.
    pub place: Option<String>,
    /// Added to every command that has a log.
    pub log_options: Vec<String>,
    /// `--ddl`. Most tests make their tables on both servers by hand.
    pub ddl: &'static str,
}

impl Pipeline {
    pub fn new(source: &MySql, target: &MySql, database: &str) -> Result<Self> {
        users(source, target, database)?;
        Ok(Self {
            folder: TempDir::new()?,
            source: source.url(SOURCE_USER),
            target: target.url(TARGET_USER),
            stream: database.to_owned(),
            tables: format!("{database}.*"),
            from: executed(source)?,
            place: None,
            log_options: Vec::new(),
            ddl: "ignore",
        })
    }

    /// The same with its log in Kafka, under a name of its own.
    pub fn in_kafka(source: &MySql, target: &MySql, database: &str, kafka: &Kafka) -> Result<Self> {
        let name = kafka.topic_name(database);
        Ok(Self {
            place: Some(format!("kafka://{}/{name}", kafka.bootstrap())),
            ..Self::new(source, target, database)?
        })
    }

    /// The topic of the records.
    pub fn topic(&self) -> String {
        let place = self.place.as_deref().unwrap_or_default();
        format!("{}.log", place.rsplit('/').next().unwrap_or_default())
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn command(&self, name: &str) -> Command {
        let mut command = program(name);
        if name != "check" || self.place.is_some() {
            match &self.place {
                Some(place) => command.arg("--log").arg(place),
                None => command.arg("--log").arg(self.log()),
            };
            command.args(&self.log_options);
        }
        if matches!(name, "run" | "capture" | "check") {
            command.args(["--source", &self.source, "--tables", &self.tables]);
        }
        if matches!(name, "run" | "capture" | "check") && self.from != BY_DEFAULT {
            command.args([
                "--from",
                if self.from.is_empty() {
                    "earliest"
                } else {
                    &self.from
                },
            ]);
        }
        if matches!(name, "run" | "apply" | "check" | "wait") {
            command.args(["--target", &self.target]);
        }
        if matches!(name, "run" | "apply" | "check") {
            command.args(["--ddl", self.ddl]);
        }
        if matches!(name, "run" | "apply" | "wait" | "status") {
            command.args(["--stream", &self.stream]);
        }
        command
    }

    /// Runs to the end of what the source has now; it must succeed.
    pub fn catch_up(&self) -> Result<()> {
        done(self.command("run").args(["--until", "now"]))
    }

    /// Starts it to stay; its stderr goes to the file NAME.err in the folder, its stdout to NAME.out.
    pub fn start(&self, name: &str) -> Result<Running> {
        self.start_command(self.command(name), name)
    }

    pub fn start_command(&self, mut command: Command, name: &str) -> Result<Running> {
        let path = self.folder.path().join(format!("{name}.err"));
        let file = File::options().create(true).append(true).open(&path)?;
        let printed = File::create(self.folder.path().join(format!("{name}.out")))?;
        let child = command.stdout(printed).stderr(file).spawn()?;
        Ok(Running { child, path })
    }

    /// The target shows the set; when it does not, the error holds what the processes said last.
    pub fn wait_for(&self, set: &str) -> Result<()> {
        let waited = done(
            self.command("wait")
                .args(["--gtid", set, "--timeout", "90s"]),
        );
        let Err(mut error) = waited else {
            return Ok(());
        };
        for name in ["run", "capture", "apply"] {
            if let Ok(text) = said(&self.folder.path().join(format!("{name}.err"))) {
                let lines: Vec<_> = text.lines().collect();
                let last = lines[lines.len().saturating_sub(20)..].join("\n");
                error = error.context(format!("{name}, its last lines:\n{last}"));
            }
        }
        Err(error)
    }

    pub fn tail(&self) -> Result<Vec<serde_json::Value>> {
        let output = output(self.command("tail").args(["--until", "now"]))?;
        ensure!(
            output.status.success(),
            "tail: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)?
            .lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }
}

pub fn executed(server: &MySql) -> Result<String> {
    let variable = match server.release().is_mariadb() {
        true => "gtid_binlog_pos",
        false => "gtid_executed",
    };
    Ok(server
        .value(&format!("SELECT @@GLOBAL.{variable}"))?
        .replace('\n', ""))
}

pub fn program(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_binferry"));
    command
        .arg(name)
        .env("BINFERRY_SOURCE_PASSWORD", PASSWORD)
        .env("BINFERRY_TARGET_PASSWORD", PASSWORD)
        .stdin(Stdio::null());
    command
}

/// Waits at most two minutes: a test that hangs says so.
pub fn output(command: &mut Command) -> Result<Output> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(Duration::from_secs(120)) {
        Ok(output) => Ok(output?),
        Err(_) => {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            let output = receiver.recv()??;
            bail!(
                "no end after two minutes: {}",
                String::from_utf8_lossy(&output.stderr)
            )
        }
    }
}

/// The command succeeds.
pub fn done(command: &mut Command) -> Result<()> {
    let output = output(command)?;
    ensure!(
        output.status.success(),
        "{:?} ended with {}: {}",
        command.get_args().next(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The command fails with that exit code and says all of it; never a password.
pub fn refused(command: &mut Command, code: i32, says: &[&str]) -> Result<String> {
    let output = output(command)?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        output.status.code() == Some(code),
        "exit {:?} instead of {code}: {text}",
        output.status.code()
    );
    for part in says {
        ensure!(text.contains(part), "does not say {part:?}: {text}");
    }
    ensure!(!text.contains(PASSWORD), "shows the password: {text}");
    Ok(text)
}

/// A process of the program that stays; killed when dropped.
pub struct Running {
    child: Child,
    path: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()?;
        ensure!(status.success(), "kill -{name}");
        Ok(())
    }

    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM: it drains and ends with 0.
    pub fn stop(mut self) -> Result<()> {
        self.signal("TERM")?;
        let code = self.wait(Duration::from_secs(60))?;
        ensure!(
            code == Some(0),
            "exit {code:?} after SIGTERM: {}",
            self.said()?
        );
        Ok(())
    }

    pub fn wait(&mut self, longest: Duration) -> Result<Option<i32>> {
        let until = Instant::now() + longest;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            ensure!(
                Instant::now() < until,
                "still running after {longest:?}: {}",
                self.said()?
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Its log lines so far.
    pub fn said(&self) -> Result<String> {
        said(&self.path)
    }
}

pub fn said(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again until the answer is yes; a minute at most.
pub fn eventually(what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while !ask()? {
        if Instant::now() > until {
            bail!("not within a minute: {what}");
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    Ok(())
}
