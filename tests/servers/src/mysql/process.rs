//! A server that is a process of ours.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::programs::Programs;
use super::{Control, Launch};
use crate::error::{Error, Result, log_tail};

/// How long a clean shutdown may take before it is a failure.
const SHUTDOWN: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Process {
    programs: Programs,
    data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(super) fn new(programs: Programs, folder: &Path, socket: PathBuf) -> Self {
        Process {
            programs,
            data: folder.join("data"),
            socket,
            log: folder.join("mysqld.log"),
            child: None,
        }
    }

    fn pid_file(&self) -> String {
        format!("{}/mysqld.pid", self.data.display())
    }

    /// Only ever the child of this handle, and only while it has not been waited for: its id cannot mean another process.
    fn signal(&self, signal: Signal, port: u16) -> Result<()> {
        let child = self.child.as_ref().ok_or(Error::NotRunning { port })?;
        kill_process(Pid::from_child(child), signal).map_err(|e| Error::system("send a signal", e))
    }
}

impl Control for Process {
    fn launch(&mut self, launch: &Launch) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let output = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|e| Error::file("open", &self.log, e))?;
        let mut command = self.programs.server();
        command
            .arg(format!("--datadir={}", self.data.display()))
            .arg(format!("--socket={}", self.socket.display()))
            .arg(format!("--pid-file={}", self.pid_file()))
            .arg(format!("--port={}", launch.port))
            .arg("--bind-address=127.0.0.1")
            .args(&launch.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output);
        self.child = Some(crate::keeper::spawn(command)?);
        Ok(())
    }

    fn check_alive(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                self.child = None;
                Err(Error::Program {
                    program: "mysqld".into(),
                    reason: status.to_string(),
                    log: log_tail(&self.log),
                })
            }
            Err(e) => Err(Error::system("look after mysqld", e)),
        }
    }

    fn kill(&mut self, _: u16) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child
            .kill()
            .and_then(|()| child.wait())
            .map(drop)
            .map_err(|e| Error::system("kill mysqld", e))
    }

    fn stop(&mut self, port: u16) -> Result<()> {
        if self.child.is_none() {
            return Ok(());
        }
        self.signal(Signal::TERM, port)?;
        let deadline = Instant::now() + SHUTDOWN;
        while let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(Some(_)) => self.child = None,
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(None) => {
                    self.kill(port)?;
                    return Err(Error::Program {
                        program: "mysqld".into(),
                        reason: format!("no shutdown within {} s", SHUTDOWN.as_secs()),
                        log: log_tail(&self.log),
                    });
                }
                Err(e) => return Err(Error::system("wait for mysqld", e)),
            }
        }
        Ok(())
    }

    fn pause(&mut self, port: u16) -> Result<()> {
        self.signal(Signal::STOP, port)
    }

    fn resume(&mut self, port: u16) -> Result<()> {
        self.signal(Signal::CONT, port)
    }

    fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn identity(&self) -> (&'static str, String) {
        ("SELECT @@pid_file", self.pid_file())
    }

    fn last_words(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The port matters in messages only; a failure means that it is gone already.
        let _ = self.kill(0);
    }
}
