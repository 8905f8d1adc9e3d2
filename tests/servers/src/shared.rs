//! Servers that are started once per process and shared by its tests, each in databases of its own: a pair of a source and a
//! target, and one MariaDB of each release line.
//!
//! Starting two servers for each of a hundred tests would take minutes. Tests that kill, pause or reconfigure a server start
//! their own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};
use crate::mysql::{MySql, Release};

#[derive(Debug)]
pub struct Pair {
    pub source: MySql,
    pub target: MySql,
}

impl Pair {
    /// A pair of its own, for tests that do harm to it.
    pub fn start() -> Result<Self> {
        std::thread::scope(|scope| {
            let source = scope.spawn(|| MySql::builder().start());
            let target = MySql::builder().start();
            let source = match source.join() {
                Ok(source) => source?,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            Ok(Pair {
                source,
                target: target?,
            })
        })
    }

    /// Makes a database on both servers that no other test uses, and gives its name.
    pub fn database(&self, purpose: &str) -> Result<String> {
        database([&self.source, &self.target], purpose)
    }
}

/// Makes a database that no other test uses on each of the servers, and gives its name.
pub fn database<'a>(servers: impl IntoIterator<Item = &'a MySql>, purpose: &str) -> Result<String> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("t{}_{number}_{purpose}", std::process::id());
    for server in servers {
        server.sql(&format!("CREATE DATABASE `{name}`"))?;
    }
    Ok(name)
}

/// The process's pair. It goes when the process ends, however that happens.
pub fn pair() -> Result<&'static Pair> {
    static PAIR: OnceLock<Result<Pair>> = OnceLock::new();
    PAIR.get_or_init(Pair::start).as_ref().map_err(Error::clone)
}

/// The process's MariaDB of a release line, started when first asked for, so that a process whose tests need none has none.
/// Tests share it, each in a [`database`] of its own.
pub fn mariadb(release: Release) -> Result<&'static MySql> {
    static SERVERS: [OnceLock<Result<MySql>>; Release::ALL.len()] =
        [const { OnceLock::new() }; Release::ALL.len()];
    SERVERS[release as usize]
        .get_or_init(|| MySql::builder().release(release).start())
        .as_ref()
        .map_err(Error::clone)
}
