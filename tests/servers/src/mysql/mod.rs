//! MySQL and MariaDB servers: [`MySql::builder`] starts one, the handle asks, kills, pauses and restarts it, and removes it when dropped.
//!
//! A server's port, folder and uuid stay the same through [`MySql::kill`], [`MySql::start_again`] and [`MySql::restart`]. All
//! methods take `&self`, so that servers can be shared by tests; they block, and may be called from asynchronous code too.

#[cfg(feature = "docker")]
pub(crate) mod docker;
mod given;
mod keyring;
mod process;
mod programs;
mod release;
mod template;
mod way;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use programs::{find, loaded};
pub use programs::{mydumper, pt_table_checksum, sysbench};
pub use release::Release;

use crate::error::{Error, Result};
use crate::place::Folder;
use crate::query::{Login, TextRow};
use programs::Programs;
use way::Way;

/// A start includes recovery after a kill, on a machine that builds and tests at the same time.
const STARTUP: Duration = Duration::from_secs(90);

/// A query of a test that takes longer hangs.
const QUERY: Duration = Duration::from_secs(120);

/// What a server is started with. See [`MySql::builder`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Builder {
    release: Release,
    server_id: Option<u32>,
    args: Vec<String>,
    init_args: Vec<String>,
    keyring: bool,
    copied: Option<PathBuf>,
    time_zone: Option<String>,
}

impl Builder {
    /// The product and its release line; MySQL when not called.
    pub fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// `server_id`; without it each server of the process gets the next number, from 1.
    pub fn server_id(mut self, id: u32) -> Self {
        self.server_id = Some(id);
        self
    }

    /// An option of `mysqld`, like `--binlog-format=ROW`; it wins over the settings that every server gets.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// An option that must be there when the data directory is initialised too (`--lower-case-table-names=1`,
    /// `--innodb-page-size=…`).
    pub fn init_arg(mut self, arg: impl Into<String>) -> Self {
        self.init_args.push(arg.into());
        self
    }

    /// With a keyring, which `--binlog-encryption` needs. Such a server is always a process of Debian's packages: nothing else says
    /// where its program and its plugins are.
    pub fn keyring(mut self) -> Self {
        self.keyring = true;
        self
    }

    /// Starts with a copy of all that another server of ours holds, which has been stopped ([`MySql::stop`]), under a uuid of its own. Not for
    /// servers in Docker.
    pub fn copy_of(mut self, stopped: &MySql) -> Self {
        self.copied = stopped.data_dir();
        self
    }

    /// Its `system_time_zone`, as the environment variable `TZ` has it (`CET-1CEST,M3.5.0,M10.5.0/3`).
    pub fn time_zone(mut self, zone: impl Into<String>) -> Self {
        self.time_zone = Some(zone.into());
        self
    }

    /// Starts the server and waits until it answers.
    pub fn start(self) -> Result<MySql> {
        MySql::launch(self)
    }
}

/// How to start it, again and again.
#[derive(Debug, Clone)]
struct Launch {
    port: u16,
    args: Vec<String>,
    time_zone: Option<String>,
}

/// What differs between a process and a container. Ports are for messages.
trait Control: fmt::Debug + Send {
    /// Starts it when it is not running; does not wait.
    fn launch(&mut self, launch: &Launch) -> Result<()>;
    /// An error with its last words when it ended by itself.
    fn check_alive(&mut self) -> Result<()>;
    fn kill(&mut self, port: u16) -> Result<()>;
    fn stop(&mut self, port: u16) -> Result<()>;
    fn pause(&mut self, port: u16) -> Result<()>;
    fn resume(&mut self, port: u16) -> Result<()>;
    fn pid(&self) -> Option<u32>;
    /// A query and the answer that only this very server gives: something else may listen on its port.
    fn identity(&self) -> (&'static str, String);
    fn last_words(&self) -> String;
}

/// Who is behind the handle. The fields' order is the order of dropping: the server goes before its folder.
#[derive(Debug)]
enum Backing {
    Given { _lent: given::Lent },
    Own(Mutex<Own>),
}

#[derive(Debug)]
struct Own {
    control: Box<dyn Control>,
    launch: Launch,
}

/// A running MySQL or MariaDB server, killed and removed when dropped.
#[derive(Debug)]
pub struct MySql {
    backing: Backing,
    release: Release,
    login: Login,
    server_id: u32,
    programs: Option<Programs>,
    socket: Option<PathBuf>,
    folder: Option<Folder>,
}

impl MySql {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A server with the settings that every server gets.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    fn launch(builder: Builder) -> Result<Self> {
        if builder.keyring {
            let release = builder.release;
            return Self::process(builder, |folder| {
                let folder = folder.join("keyring");
                Programs::with_keyring(release, &folder)
            });
        }
        match way::chosen(builder.release)? {
            Way::Given(addresses) => Self::borrow(addresses.borrow()?, &builder),
            #[cfg(feature = "docker")]
            Way::Docker if builder.copied.is_some() => Err(Error::system(
                "copy a server's data",
                "a server in Docker was asked for it; put mysqld on the PATH",
            )),
            #[cfg(feature = "docker")]
            Way::Docker => {
                let id = number(&builder);
                let folder = Folder::new()?;
                let control = docker::Container::new(builder.release, folder.path())?;
                Self::own(Box::new(control), builder, id, folder, None, None)
            }
            Way::Programs(programs) => Self::process(builder, |_| Ok(programs.clone())),
        }
    }

    fn process(builder: Builder, programs: impl FnOnce(&Path) -> Result<Programs>) -> Result<Self> {
        let id = number(&builder);
        let folder = Folder::new()?;
        let programs = programs(folder.path())?;
        let data = folder.path().join("data");
        match &builder.copied {
            Some(other) => crate::place::copy(other, &data, &["auto.cnf"])?,
            None => template::copy(&programs, &builder.init_args, &data)?,
        }
        let socket = socket(folder.path());
        let control = process::Process::new(programs.clone(), folder.path(), socket.clone());
        Self::own(
            Box::new(control),
            builder,
            id,
            folder,
            Some(socket),
            Some(programs),
        )
    }

    fn borrow(lent: given::Lent, builder: &Builder) -> Result<Self> {
        let login = lent.login().clone();
        let server = MySql {
            backing: Backing::Given { _lent: lent },
            release: builder.release,
            login,
            server_id: 0,
            programs: None,
            socket: None,
            folder: None,
        };
        if !builder.args.is_empty() || !builder.init_args.is_empty() || builder.time_zone.is_some()
        {
            return Err(server.not_ours("starting with options of its own"));
        }
        let id = server.value("SELECT @@server_id")?;
        let server_id = id.parse().map_err(|e| Error::system("read server_id", e))?;
        Ok(MySql {
            server_id,
            ..server
        })
    }

    fn own(
        control: Box<dyn Control>,
        builder: Builder,
        server_id: u32,
        folder: Folder,
        socket: Option<PathBuf>,
        programs: Option<Programs>,
    ) -> Result<Self> {
        let release = builder.release;
        let mut args: Vec<String> = release.defaults().map(str::to_owned).collect();
        args.push(format!("--server-id={server_id}"));
        args.extend(builder.init_args);
        args.extend(builder.args);
        let mut server = MySql {
            backing: Backing::Own(Mutex::new(Own {
                control,
                launch: Launch {
                    port: 0,
                    args,
                    time_zone: builder.time_zone,
                },
            })),
            release,
            login: Login {
                host: "127.0.0.1".into(),
                port: 0,
                user: "root".into(),
                password: String::new(),
            },
            server_id,
            programs,
            socket,
            folder: Some(folder),
        };
        // Between finding a port free and the server listening on it, another process may take it.
        let mut attempts = 0;
        loop {
            attempts += 1;
            let port = crate::port::free()?;
            server.login.port = port;
            server.locked("start")?.launch.port = port;
            match server.start_again() {
                Err(Error::Program { log, .. })
                    if attempts < 5 && log.contains("Address already in use") => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
    }

    fn not_ours(&self, operation: &'static str) -> Error {
        Error::NotOurs {
            variable: self.release.variable(),
            operation,
            address: format!("{}:{}", self.login.host, self.login.port),
        }
    }

    fn locked(&self, operation: &'static str) -> Result<MutexGuard<'_, Own>> {
        match &self.backing {
            Backing::Given { .. } => Err(self.not_ours(operation)),
            Backing::Own(own) => Ok(own.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    pub fn release(&self) -> Release {
        self.release
    }

    pub fn host(&self) -> &str {
        &self.login.host
    }

    pub fn port(&self) -> u16 {
        self.login.port
    }

    pub fn server_id(&self) -> u32 {
        self.server_id
    }

    /// `mysql://user@host:port`, without a password.
    pub fn url(&self, user: &str) -> String {
        format!("mysql://{user}@{}:{}", self.login.host, self.login.port)
    }

    /// The account with all privileges.
    pub fn admin_user(&self) -> &str {
        &self.login.user
    }

    /// Empty for servers that are started here.
    pub fn admin_password(&self) -> &str {
        &self.login.password
    }

    /// Options for a `mysql_async` connection as the administrator.
    pub fn opts(&self) -> mysql_async::Opts {
        self.login.opts()
    }

    /// The Unix socket, where there is one on this machine.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The data directory of a server that was started here.
    pub fn data_dir(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.path().join("data"))
    }

    /// The certificate that the server's own certificate is signed with, for `verify-ca`. The server made both itself;
    /// MariaDB makes no such file.
    pub fn ca_file(&self) -> Option<PathBuf> {
        let file = self.data_dir()?.join("ca.pem");
        (!self.release.is_mariadb()).then_some(file)
    }

    /// The id of the server's process, while it is one of ours and runs.
    pub fn pid(&self) -> Option<u32> {
        self.locked("pid").ok()?.control.pid()
    }

    /// The most memory that the server has had resident, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        crate::peak_memory(self.pid()?)
    }

    /// Runs one or several statements as the administrator; rows come as lines, columns separated by tabs, NULL as `NULL`.
    pub fn sql(&self, statements: &str) -> Result<String> {
        let rows = self.rows(statements)?;
        let line = |row: &TextRow| {
            let cells: Vec<&str> = row.iter().map(|c| c.as_deref().unwrap_or("NULL")).collect();
            cells.join("\t")
        };
        Ok(rows.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    /// Runs one or several statements as the administrator and gives the rows of all results.
    pub fn rows(&self, statements: &str) -> Result<Vec<TextRow>> {
        self.login.rows(statements, QUERY)
    }

    /// The first column of the first row; NULL and no row are errors.
    pub fn value(&self, query: &str) -> Result<String> {
        self.rows(query)?
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next()?)
            .ok_or_else(|| Error::Statement {
                port: self.login.port,
                reason: "no row, or NULL in it".into(),
            })
    }

    /// SIGKILL: what a power cut looks like to the server. Returns when it is dead.
    pub fn kill(&self) -> Result<()> {
        self.locked("kill")?.control.kill(self.login.port)
    }

    /// A clean shutdown. Returns when it is complete.
    pub fn stop(&self) -> Result<()> {
        self.locked("stop")?.control.stop(self.login.port)
    }

    /// Starts a killed or stopped server with the same options and data, and waits until it answers.
    pub fn start_again(&self) -> Result<()> {
        let mut own = self.locked("start_again")?;
        let launch = own.launch.clone();
        own.control.launch(&launch)?;
        let deadline = Instant::now() + STARTUP;
        loop {
            own.control.check_alive()?;
            let (query, expected) = own.control.identity();
            let answer = self.login.rows(query, Duration::from_secs(10));
            if answer.is_ok_and(|rows| rows == [[Some(expected)]]) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::NoAnswer {
                    port: self.login.port,
                    seconds: STARTUP.as_secs(),
                    log: own.control.last_words(),
                });
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    /// [`MySql::stop`], then [`MySql::start_again`].
    pub fn restart(&self) -> Result<()> {
        self.restart_with::<String>([])
    }

    /// Restarts with more options; they stay for later starts, and win over those given before.
    pub fn restart_with<A: Into<String>>(&self, args: impl IntoIterator<Item = A>) -> Result<()> {
        self.stop()?;
        let more = args.into_iter().map(Into::into);
        self.locked("restart")?.launch.args.extend(more);
        self.start_again()
    }

    /// SIGSTOP: connections stay open and nothing answers, until [`MySql::resume`].
    pub fn pause(&self) -> Result<()> {
        self.locked("pause")?.control.pause(self.login.port)
    }

    pub fn resume(&self) -> Result<()> {
        self.locked("resume")?.control.resume(self.login.port)
    }

    /// The `mysql` (or `mariadb`) client, to connect as the administrator.
    pub fn client(&self) -> Result<Command> {
        self.program("mysql")
    }

    /// `mysqlbinlog`, to connect as the administrator once `--read-from-remote-server` is added; for files of
    /// [`MySql::data_dir`] it needs no connection.
    pub fn mysqlbinlog(&self) -> Result<Command> {
        self.program("mysqlbinlog")
    }

    /// Any client program by MySQL's name for it (`mysqldump` is `mariadb-dump` for such a server), with the options to connect as the administrator.
    pub fn program(&self, name: &str) -> Result<Command> {
        let mut command = programs::client(self.release, self.programs.as_ref(), name)?;
        command
            .arg("--protocol=TCP")
            .arg(format!("--host={}", self.login.host))
            .arg(format!("--port={}", self.login.port))
            .arg(format!("--user={}", self.login.user));
        if self.release.is_mariadb() {
            // Its newer clients want a certificate that they can verify of whoever takes no password.
            command.arg("--skip-ssl");
        }
        if !self.login.password.is_empty() {
            // Not on the command line, where everyone on the machine can read it.
            command.env("MYSQL_PWD", &self.login.password);
        }
        Ok(command)
    }
}

/// The server's id.
fn number(builder: &Builder) -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    builder
        .server_id
        .unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A socket's path may have 107 bytes on Linux (103 elsewhere), fewer than a deep checkout needs.
fn socket(folder: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let near = folder.join("mysql.sock");
    if near.as_os_str().len() <= 100 {
        return near;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("binferry-{}-{number}.sock", std::process::id()))
}
