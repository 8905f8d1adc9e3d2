//! What copies too, and neither follows nor resumes.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, mydumper};

use super::DATABASE;
use crate::process::timed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Mysqldump,
    Mydumper,
}

/// Rows of a file of mydumper's, so that several threads read and write one table.
const FILE_ROWS: &str = "250000";

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mysqldump => "`mysqldump \\| mysql`",
            Self::Mydumper => "mydumper, then myloader",
        }
    }

    /// Gives its own CPU seconds.
    pub fn copy(self, source: &MySql, target: &MySql, folder: &Path, threads: u32) -> Result<f64> {
        match self {
            Self::Mysqldump => mysqldump(source, target),
            Self::Mydumper => {
                let dump = folder.join("dump");
                let read = timed(
                    login("mydumper", source, threads)?
                        .args(["--database", DATABASE, "--rows", FILE_ROWS])
                        .args(["--trx-consistency-only", "--outputdir"])
                        .arg(&dump),
                )?;
                let written = timed(
                    login("myloader", target, threads)?
                        .args(["--enable-binlog", "--directory"])
                        .arg(&dump),
                )?;
                Ok(read.cpu_seconds + written.cpu_seconds)
            }
        }
    }
}

fn mysqldump(source: &MySql, target: &MySql) -> Result<f64> {
    let mut dump = source.program("mysqldump")?;
    dump.args(["--ssl-mode=DISABLED", "--get-server-public-key"])
        .args(["--single-transaction", "--set-gtid-purged=OFF"])
        .args(["--databases", DATABASE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut dump = dump.spawn()?;
    let text = dump.stdout.take().context("mysqldump has no output")?;
    let mut client = target.client()?;
    client
        .args(["--ssl-mode=DISABLED", "--get-server-public-key"])
        .stdin(text);
    let before = children();
    let status = client.status()?;
    let dumped = dump.wait()?;
    ensure!(status.success() && dumped.success(), "mysqldump | mysql");
    Ok(children() - before)
}

/// CPU seconds of all child processes that have ended and been waited for (proc(5), fields 16 and 17).
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = (stat.rsplit_once(')').map_or("", |(_, rest)| rest))
        .split_whitespace()
        .collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok());
    (ticks(13).unwrap_or(0.0) + ticks(14).unwrap_or(0.0)) / 100.0
}

fn login(program: &str, server: &MySql, threads: u32) -> Result<Command> {
    let mut command = mydumper(program)?;
    command
        .args(["--host", server.host(), "--user", server.admin_user()])
        .args(["--port", &server.port().to_string()])
        .args(["--threads", &threads.to_string(), "--verbose", "1"]);
    if !server.admin_password().is_empty() {
        command.args(["--password", server.admin_password()]);
    }
    Ok(command)
}
