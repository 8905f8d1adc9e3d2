//! Data directories: initialised once per version and initialising options, then copied.
//!
//! `mysqld --initialize-insecure` takes seconds and a copy takes a tenth of one. The copy has no `auto.cnf`, so that each
//! server makes itself a uuid of its own; and no binary log, so that each starts with an empty GTID set. Certificates are
//! shared among the copies.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};

use super::programs::Programs;
use crate::error::{Error, Result, log_tail};
use crate::place;

/// Part of the name: a change of what is initialised makes new templates.
const EDITION: u32 = 1;

/// Small, as it is copied with every server; the server grows it to its own setting when it starts.
const REDO_LOG: &str = "--innodb-redo-log-capacity=8M";

/// Tests connect over TCP, and must not depend on what `/etc/hosts` calls the loopback address.
const ACCOUNTS: &str = "CREATE USER 'root'@'%' IDENTIFIED BY '';\n\
                        GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;\n";

/// Makes `data` a fresh data directory.
pub(super) fn copy(programs: &Programs, options: &[String], data: &Path) -> Result<()> {
    let template = ready(programs, options)?;
    place::copy(&template, data, &["auto.cnf"])
}

/// The template's folder, initialised when it is not there yet.
pub(super) fn ready(programs: &Programs, options: &[String]) -> Result<PathBuf> {
    let base = place::base()?;
    let digest = Sha256::digest(format!("{EDITION} {options:?}"));
    let key: String = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
    let path = base.join(format!("template-{}-{key}", programs.version));
    let _lock = place::Lock::exclusive(&base.join("template.lock"))?;
    if path.is_dir() {
        return Ok(path);
    }
    let temporary = base.join(".initialising");
    place::remove(&temporary)?;
    std::fs::create_dir(&temporary).map_err(|e| Error::file("create", &temporary, e))?;
    let (data, accounts, log) = (
        temporary.join("data"),
        temporary.join("accounts.sql"),
        temporary.join("log"),
    );
    std::fs::write(&accounts, ACCOUNTS).map_err(|e| Error::file("write", &accounts, e))?;
    let output = std::fs::File::create(&log).map_err(|e| Error::file("create", &log, e))?;
    let mut command = programs.server();
    command
        .arg("--initialize-insecure")
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--init-file={}", accounts.display()))
        .args([REDO_LOG, "--skip-log-bin"])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output);
    let status = crate::keeper::spawn(command)?
        .wait()
        .map_err(|e| Error::system("wait for mysqld --initialize-insecure", e))?;
    if !status.success() {
        return Err(Error::Program {
            program: "mysqld --initialize-insecure".into(),
            reason: status.to_string(),
            log: log_tail(&log),
        });
    }
    std::fs::rename(&data, &path).map_err(|e| Error::file("rename into place", &path, e))?;
    place::remove(&temporary)?;
    Ok(path)
}
