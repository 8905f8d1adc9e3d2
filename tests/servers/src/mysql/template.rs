//! Data directories: initialised once per version and initialising options, then copied.
//!
//! `mysqld --initialize-insecure` takes seconds and a copy takes a tenth of one. The copy has no `auto.cnf`, so that each
//! server makes itself a uuid of its own; and no binary log, so that each starts with an empty GTID set. Certificates are
//! shared among the copies.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::programs::Programs;
use super::release::Release;
use crate::error::{Error, Result, log_tail};
use crate::place;

/// Part of the name: a change of what is initialised makes new templates.
const EDITION: u32 = 1;

/// Small, as it is copied with every server; the server grows it to its own setting when it starts.
const REDO_LOG: &str = "--innodb-redo-log-capacity=8M";

/// Tests connect over TCP, and must not depend on what `/etc/hosts` calls the loopback address.
const ACCOUNTS: &str = "CREATE USER 'root'@'%' IDENTIFIED BY '';\n\
                        GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;\n";

/// The same in MariaDB's own table: accounts cannot be made before there are privileges, and those are read with the statement
/// before. The accounts that its scripts make depend on the machine's name and on who runs them.
const MARIADB_ACCOUNTS: &str = "DELETE FROM global_priv WHERE User IN ('root', '');\n\
    FLUSH PRIVILEGES;\n\
    CREATE USER 'root'@'%' IDENTIFIED BY '';\n\
    GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;\n\
    CREATE USER 'root'@'localhost' IDENTIFIED BY '';\n\
    GRANT ALL ON *.* TO 'root'@'localhost' WITH GRANT OPTION;\n";

/// The scripts that make MariaDB's system tables, in their order.
const SYSTEM_TABLES: [&str; 4] = [
    "system_tables",
    "performance_tables",
    "system_tables_data",
    "sys_schema",
];

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
    let data = temporary.join("data");
    match programs.release {
        Release::MySql => initialise(programs, options, &temporary, &data)?,
        _ => bootstrap(programs, options, &temporary, &data)?,
    }
    std::fs::rename(&data, &path).map_err(|e| Error::file("rename into place", &path, e))?;
    place::remove(&temporary)?;
    Ok(path)
}

fn initialise(
    programs: &Programs,
    options: &[String],
    temporary: &Path,
    data: &Path,
) -> Result<()> {
    let accounts = temporary.join("accounts.sql");
    std::fs::write(&accounts, ACCOUNTS).map_err(|e| Error::file("write", &accounts, e))?;
    let mut command = programs.server();
    command
        .arg("--initialize-insecure")
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--init-file={}", accounts.display()))
        .args([REDO_LOG, "--skip-log-bin"])
        .args(options)
        .stdin(Stdio::null());
    run(
        command,
        "mysqld --initialize-insecure",
        &temporary.join("log"),
    )
}

/// What `mariadb-install-db` does, which is a script that finds no server that wants a loader of its own: the server runs
/// the statements that it is shipped with, from its standard input.
fn bootstrap(programs: &Programs, options: &[String], temporary: &Path, data: &Path) -> Result<()> {
    std::fs::create_dir(data).map_err(|e| Error::file("create", data, e))?;
    let share = programs.share();
    let mut statements = b"CREATE DATABASE mysql;\nUSE mysql;\n".to_vec();
    for part in SYSTEM_TABLES {
        let names = [format!("mariadb_{part}.sql"), format!("mysql_{part}.sql")];
        let files = names.map(|name| share.join(name));
        let file = files.iter().find(|f| f.exists()).unwrap_or(&files[0]);
        statements.extend(std::fs::read(file).map_err(|e| Error::file("read", file, e))?);
        statements.push(b'\n');
    }
    statements.extend(MARIADB_ACCOUNTS.bytes());
    let input = temporary.join("bootstrap.sql");
    std::fs::write(&input, statements).map_err(|e| Error::file("write", &input, e))?;
    let input = std::fs::File::open(&input).map_err(|e| Error::file("open", &input, e))?;
    let mut command = programs.server();
    command
        .arg("--bootstrap")
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--tmpdir={}", temporary.display()))
        .args(["--innodb-log-file-size=8M", "--skip-log-bin"])
        .args(["--max-allowed-packet=8M", "--net-buffer-length=16K"])
        .args(options)
        .stdin(input);
    run(command, "mariadbd --bootstrap", &temporary.join("log"))
}

fn run(mut command: Command, what: &'static str, log: &Path) -> Result<()> {
    let output = std::fs::File::create(log).map_err(|e| Error::file("create", log, e))?;
    command.stdout(Stdio::null()).stderr(output);
    let status = crate::keeper::spawn(command)?
        .wait()
        .map_err(|e| Error::system("wait for a data directory to be initialised", e))?;
    if !status.success() {
        return Err(Error::Program {
            program: what.into(),
            reason: status.to_string(),
            log: log_tail(log),
        });
    }
    Ok(())
}
