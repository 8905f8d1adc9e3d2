//! Real database servers for tests, demo and benchmarks: started in seconds, killed, paused, restarted, and gone at the end.
//!
//! The first of these ways that works is taken:
//! 1. addresses in the environment: `BINFERRY_TEST_MYSQL=mysql://root:password@host:port`, several separated by commas. Such
//!    servers can't be killed, paused or started with other options: tests that need that fail and say so;
//! 2. Docker, with the feature `docker` (compiled in the project's checks, but not exercised where it was written);
//! 3. `mysqld` on the PATH;
//! 4. Debian's packages of it, unpacked into the target folder without installing them: needs Linux on x86-64 or arm64, a
//!    mirror the first time, and nothing else.
//!
//! MariaDB servers come in the same ways, a release line each ([`Release`]): their addresses are in
//! `BINFERRY_TEST_MARIADB_10_11` and `BINFERRY_TEST_MARIADB_11_8`, their program is `mariadbd`, and they have the same handle.
//!
//! Kafka clusters come in the same manner:
//! 1. addresses in the environment: `BINFERRY_TEST_KAFKA=host:port[,host:port]`, a cluster that lets everyone make topics;
//! 2. Kafka 4 that is installed: `KAFKA_HOME`, or `kafka-server-start.sh` on the PATH;
//! 3. its artifacts, which Maven fetches into the target folder: needs `mvn` on the PATH and a repository the first time.
//!
//! The last two need Java 17 or newer. Kafka is not started in Docker here; one that runs there (`docker run -p 9092:9092
//! apache/kafka:4.3.1`) is given by its address, and does for the tests that do no harm to it.
//!
//! Nothing is skipped in silence: where no way works, the error lists each one, why it failed, and the remedy.
//!
//! ```no_run
//! # fn main() -> binferry_servers::Result<()> {
//! let server = binferry_servers::MySql::builder().arg("--binlog-row-image=MINIMAL").start()?;
//! server.sql("CREATE DATABASE shop")?;
//! server.kill()?;
//! server.start_again()?;
//! assert_eq!(server.value("SELECT @@binlog_row_image")?, "MINIMAL");
//! # Ok(())
//! # }
//! ```
//!
//! ```no_run
//! # fn main() -> binferry_servers::Result<()> {
//! use binferry_servers::{MySql, Release, database, mariadb};
//! let own = MySql::builder().release(Release::MariaDb11_8).arg("--binlog-row-image=MINIMAL").start()?;
//! let shared = mariadb(Release::MariaDb10_11)?;
//! let name = database([&own, shared], "orders")?;
//! # Ok(())
//! # }
//! ```
//!
//! ```no_run
//! # fn main() -> binferry_servers::Result<()> {
//! let kafka = binferry_servers::Kafka::builder().brokers(3).start()?;
//! kafka.create_topic("orders", 1, 3, &[("min.insync.replicas", "2")])?;
//! let leader = kafka.leader("orders")?;
//! kafka.kill(leader)?;
//! while kafka.leader("orders")? == leader {}
//! # Ok(())
//! # }
//! ```
//!
//! Servers and their files go with their handle, when a test panics too. Those of statics, and those of a process that was
//! killed, go when the process ends: see `place` and `keeper` for how.

mod child;
mod debian;
mod error;
mod kafka;
mod keeper;
mod mysql;
mod place;
mod port;
mod prometheus;
mod proxy;
mod query;
mod shared;
mod web;

pub use error::{Error, FailedWay, Result};
pub use kafka::{Builder as KafkaBuilder, Kafka, kafka};
pub use keeper::{peak_memory, spawn};
pub use mysql::{Builder, MySql, Release, mydumper, pt_table_checksum, sysbench};
pub use prometheus::{Prometheus, promtool};
pub use proxy::{Catch, CommitFault, Proxy};
pub use query::TextRow;
pub use shared::{Pair, database, mariadb, pair};
pub use web::get;

/// The environment variable with the addresses of servers that run already.
pub const ADDRESSES: &str = "BINFERRY_TEST_MYSQL";

/// The same for Kafka: the bootstrap servers of a cluster.
pub const KAFKA_ADDRESSES: &str = "BINFERRY_TEST_KAFKA";
