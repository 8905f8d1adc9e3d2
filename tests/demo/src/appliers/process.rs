//! A process of Binferry that is stopped, continued, killed and asked why it has ended.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

#[derive(Debug)]
pub struct Process {
    child: Child,
    output: PathBuf,
    /// Where its own lines begin in the output, which those before it have written to.
    from: usize,
}

impl Process {
    pub fn start(binary: &Path, arguments: &[&str], password: &str, output: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(output)?;
        let from = usize::try_from(file.metadata()?.len())?;
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env("BINFERRY_SOURCE_PASSWORD", password)
            .env("BINFERRY_TARGET_PASSWORD", password)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        Ok(Self {
            child: binferry_servers::spawn(command)?,
            output: output.to_owned(),
            from,
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub fn terminate(&mut self, limit: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Its end, which must be good.
    pub fn wait(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            match self.ended()? {
                Some((Some(0), _)) => return Ok(()),
                Some((code, said)) => bail!("{}: {code:?}:\n{said}", self.output.display()),
                None => {}
            }
            ensure!(
                Instant::now() < deadline,
                "{} goes on after {limit:?}:\n{}",
                self.output.display(),
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some((code, said)) => bail!("{} ended: {code:?}:\n{said}", self.output.display()),
        }
    }

    /// Exit code (none: by a signal) and last lines.
    pub fn ended(&mut self) -> Result<Option<(Option<i32>, String)>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| (status.code(), self.said())))
    }

    fn said(&self) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let own = String::from_utf8_lossy(text.get(self.from..).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = own.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already, if this fails. A stopped one can be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
