//! A server's process: one at a time, started again and again, killed when dropped.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, Result, log_tail};

#[derive(Debug)]
pub(crate) struct Supervised {
    program: &'static str,
    log: PathBuf,
    child: Option<Child>,
}

impl Supervised {
    /// `log` is where the program's last words are; see [`Supervised::output`].
    pub(crate) fn new(program: &'static str, log: PathBuf) -> Self {
        Supervised {
            program,
            log,
            child: None,
        }
    }

    /// The log, to be the program's output.
    pub(crate) fn output(&self) -> Result<File> {
        File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|e| Error::file("open", &self.log, e))
    }

    pub(crate) fn is_started(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn start(&mut self, command: Command) -> Result<()> {
        self.child = Some(crate::keeper::spawn(command)?);
        Ok(())
    }

    /// An error with its last words when it ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.child = None;
                Err(self.failed(status.to_string()))
            }
            Err(e) => Err(Error::system("look after a server", e)),
        }
    }

    /// Only ever the child of this handle, and only while it has not been waited for: its id cannot mean another process.
    pub(crate) fn signal(&self, signal: Signal, port: u16) -> Result<()> {
        kill_process(self.process(port)?, signal).map_err(|e| Error::system("send a signal", e))
    }

    pub(crate) fn process(&self, port: u16) -> Result<Pid> {
        let child = self.child.as_ref().ok_or(Error::NotRunning { port })?;
        Ok(Pid::from_child(child))
    }

    /// SIGKILL; it is dead on return.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child
            .kill()
            .and_then(|()| child.wait())
            .map(drop)
            .map_err(|e| Error::system("kill a server", e))
    }

    /// SIGTERM, and waits; it is killed and an error given when it takes longer than `limit`.
    pub(crate) fn stop(&mut self, port: u16, limit: Duration) -> Result<()> {
        if self.child.is_none() {
            return Ok(());
        }
        self.signal(Signal::TERM, port)?;
        if self.wait(limit)? {
            return Ok(());
        }
        self.kill()?;
        Err(self.failed(format!("no shutdown within {} s", limit.as_secs())))
    }

    /// Whether it has ended within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(Some(_)) => self.child = None,
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(None) => return Ok(false),
                Err(e) => return Err(Error::system("wait for a server", e)),
            }
        }
        Ok(true)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn last_words(&self) -> String {
        log_tail(&self.log)
    }

    fn failed(&self, reason: String) -> Error {
        Error::Program {
            program: self.program.into(),
            reason,
            log: self.last_words(),
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // A failure means that it is gone already.
        let _ = self.kill();
    }
}
