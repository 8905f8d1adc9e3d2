//! The `binferry` process: started, killed, watched, asked to end.

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

#[derive(Debug)]
pub struct Pipeline {
    binary: PathBuf,
    source: String,
    target: String,
    password: String,
    log: String,
    folder: PathBuf,
    child: Option<Child>,
    /// Of all processes so far, in bytes.
    pub peak_memory: u64,
    pub kills: u32,
}

impl Pipeline {
    /// `folder` takes the log, where it is not elsewhere, and, where stderr is not a terminal, what the process writes.
    pub fn new(
        binary: PathBuf,
        source: String,
        target: String,
        password: String,
        log: Option<String>,
        folder: &Path,
    ) -> Self {
        Pipeline {
            binary,
            source,
            target,
            password,
            log: log.unwrap_or_else(|| folder.join("log").display().to_string()),
            folder: folder.to_owned(),
            child: None,
            peak_memory: 0,
            kills: 0,
        }
    }

    /// `binferry run`, from the source's beginning on a first start.
    pub fn start(&mut self, until_now: bool) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command
            .args(["run", "--source", &self.source, "--target", &self.target])
            .args(["--log", &self.log, "--ddl", "ignore"])
            .args(["--tables", "shop.*", "--from", "earliest"])
            .env("BINFERRY_SOURCE_PASSWORD", &self.password)
            .env("BINFERRY_TARGET_PASSWORD", &self.password)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if until_now {
            command.args(["--until", "now"]);
        }
        // On a terminal its progress bar is what there is to see.
        if !std::io::stderr().is_terminal() {
            let output = File::options()
                .create(true)
                .append(true)
                .open(self.output())?;
            command.stderr(output);
        }
        self.child = Some(binferry_servers::spawn(command)?);
        Ok(())
    }

    fn output(&self) -> PathBuf {
        self.folder.join("binferry.stderr")
    }

    fn running(&mut self) -> Result<&mut Child> {
        self.child.as_mut().context("binferry is not running")
    }

    /// Fails when it has ended by itself. Called often: it is also when memory is looked at.
    pub fn check(&mut self) -> Result<()> {
        let child = self.running()?;
        let peak = binferry_servers::peak_memory(child.id());
        let ended = child.try_wait()?;
        self.peak_memory = self.peak_memory.max(peak.unwrap_or(0));
        match ended {
            None => Ok(()),
            Some(status) => bail!("binferry ended by itself: {status}{}", self.last_words()),
        }
    }

    /// SIGKILL: no warning, no last word.
    pub fn kill(&mut self) -> Result<()> {
        self.check()?;
        let mut child = self.child.take().context("binferry is not running")?;
        child.kill()?;
        child.wait()?;
        self.kills += 1;
        Ok(())
    }

    /// SIGTERM, and the exit code of a clean drain.
    pub fn terminate(&mut self) -> Result<()> {
        self.check()?;
        kill_process(Pid::from_child(self.running()?), Signal::TERM)?;
        self.wait("after SIGTERM", Duration::from_secs(60))
    }

    /// Waits for a process that ends by itself.
    pub fn wait(&mut self, when: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let status = loop {
            let child = self.running()?;
            let peak = binferry_servers::peak_memory(child.id());
            let ended = child.try_wait()?;
            self.peak_memory = self.peak_memory.max(peak.unwrap_or(0));
            match ended {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    bail!(
                        "binferry did not end within {} s {when}{}",
                        limit.as_secs(),
                        self.last_words()
                    )
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        self.child = None;
        if !ExitStatus::success(&status) {
            bail!("binferry failed {when}: {status}{}", self.last_words());
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.output()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.len().saturating_sub(15);
        match lines.is_empty() {
            true => String::new(),
            false => format!("; its last lines:\n{}", lines[last..].join("\n")),
        }
    }

    /// 0 when the log is not on this disk.
    pub fn log_bytes(&self) -> u64 {
        size(Path::new(&self.log))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
