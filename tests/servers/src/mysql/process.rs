//! A server that is a process of ours.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::programs::Programs;
use super::{Control, Launch};
use crate::child::Supervised;
use crate::error::Result;

/// How long a clean shutdown may take before it is a failure.
const SHUTDOWN: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Process {
    programs: Programs,
    folder: PathBuf,
    data: PathBuf,
    socket: PathBuf,
    child: Supervised,
}

impl Process {
    pub(super) fn new(programs: Programs, folder: &Path, socket: PathBuf) -> Self {
        Process {
            child: Supervised::new(programs.release.program(), folder.join("mysqld.log")),
            programs,
            data: folder.join("data"),
            folder: folder.to_owned(),
            socket,
        }
    }

    fn pid_file(&self) -> String {
        format!("{}/mysqld.pid", self.data.display())
    }
}

impl Control for Process {
    fn launch(&mut self, launch: &Launch) -> Result<()> {
        if self.child.is_started() {
            return Ok(());
        }
        let mut command = self.programs.server();
        command
            .arg(format!("--datadir={}", self.data.display()))
            // Not a shared one: MariaDB begins by deleting the temporary tables that it finds, those of its neighbours too.
            .arg(format!("--tmpdir={}", self.folder.display()))
            .arg(format!("--socket={}", self.socket.display()))
            .arg(format!("--pid-file={}", self.pid_file()))
            .arg(format!("--port={}", launch.port))
            .arg("--bind-address=127.0.0.1")
            .args(&launch.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.child.output()?);
        if let Some(zone) = &launch.time_zone {
            command.env("TZ", zone);
        }
        self.child.start(command)
    }

    fn check_alive(&mut self) -> Result<()> {
        self.child.check_alive()
    }

    fn kill(&mut self, _: u16) -> Result<()> {
        self.child.kill()
    }

    fn stop(&mut self, port: u16) -> Result<()> {
        self.child.stop(port, SHUTDOWN)
    }

    fn pause(&mut self, port: u16) -> Result<()> {
        self.child.signal(Signal::STOP, port)
    }

    fn resume(&mut self, port: u16) -> Result<()> {
        self.child.signal(Signal::CONT, port)
    }

    fn pid(&self) -> Option<u32> {
        self.child.pid()
    }

    fn identity(&self) -> (&'static str, String) {
        ("SELECT @@pid_file", self.pid_file())
    }

    fn last_words(&self) -> String {
        self.child.last_words()
    }
}
