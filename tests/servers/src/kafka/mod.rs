//! Kafka clusters: [`Kafka::builder`] starts one, the handle kills, pauses and restarts its nodes, makes and changes topics,
//! and removes everything when dropped.
//!
//! A node's ports and data stay the same through [`Kafka::kill`] and [`Kafka::start_again`]. Nodes are counted from 0, which
//! is their `node.id` too. All methods take `&self`, so that clusters can be shared by tests; they block, and may be called
//! from asynchronous code too.
//!
//! Settings are Kafka's defaults (topics are made by whoever writes to them, records have at most a mebibyte), but for those
//! that make a broker small and quick.

mod admin;
mod builder;
mod classes;
mod cluster;
mod distribution;
mod maven;
mod node;
mod probe;
mod settings;
mod tls;
mod way;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub use builder::Builder;

use crate::error::{Error, Result, last_lines};
use crate::proxy::Proxy;
use admin::Admin;
use cluster::Cluster;
use way::Way;

/// A running cluster, killed and removed when dropped.
#[derive(Debug)]
pub struct Kafka {
    backing: Backing,
    bootstrap: String,
}

#[derive(Debug)]
enum Backing {
    /// It may be shared: topics have names of their own.
    Given,
    Own(Cluster),
}

/// The process's cluster, of one broker, for tests that do no harm to it: each uses topics of its own. It goes when the
/// process ends, however that happens.
pub fn kafka() -> Result<&'static Kafka> {
    static KAFKA: OnceLock<Result<Kafka>> = OnceLock::new();
    KAFKA
        .get_or_init(Kafka::start)
        .as_ref()
        .map_err(Error::clone)
}

impl Kafka {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// One broker with the settings that every broker gets.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    fn launch(builder: Builder) -> Result<Self> {
        match way::chosen()? {
            Way::Given(bootstrap) => Self::borrow(bootstrap, &builder),
            Way::Distribution(distribution) => {
                let cluster = Cluster::start(distribution, &builder)?;
                Ok(Kafka {
                    bootstrap: cluster.bootstrap(),
                    backing: Backing::Own(cluster),
                })
            }
        }
    }

    fn borrow(bootstrap: &str, builder: &Builder) -> Result<Self> {
        let kafka = Kafka {
            backing: Backing::Given,
            bootstrap: bootstrap.to_owned(),
        };
        if builder.wants_its_own() {
            return Err(kafka.not_ours("starting with settings of its own"));
        }
        let brokers = kafka.admin().brokers()?;
        if brokers < builder.brokers {
            return Err(Error::Kafka {
                what: "test on more brokers than it has",
                address: bootstrap.to_owned(),
                reason: format!("{brokers} there, {} needed", builder.brokers),
            });
        }
        Ok(kafka)
    }

    fn not_ours(&self, operation: &'static str) -> Error {
        Error::NotOurs {
            variable: crate::KAFKA_ADDRESSES,
            operation,
            address: self.bootstrap.clone(),
        }
    }

    fn own(&self, operation: &'static str) -> Result<&Cluster> {
        match &self.backing {
            Backing::Given => Err(self.not_ours(operation)),
            Backing::Own(cluster) => Ok(cluster),
        }
    }

    fn admin(&self) -> Admin<'_> {
        Admin::new(&self.bootstrap)
    }

    /// `host:port[,host:port]` of the listeners without TLS or login.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// The same of the listeners behind the proxies. Needs [`Builder::proxied`].
    pub fn proxied_bootstrap(&self) -> Result<String> {
        self.own("proxied_bootstrap")?.proxied_bootstrap()
    }

    /// The proxy in front of a node. Needs [`Builder::proxied`].
    pub fn proxy(&self, node: usize) -> Result<&Proxy> {
        self.own("proxy")?.proxy(node)
    }

    /// The same of the listeners with TLS and login (`SASL_SSL`, `SCRAM-SHA-256`). Needs [`Builder::secure`].
    pub fn secure_bootstrap(&self) -> Result<String> {
        self.own("secure_bootstrap")?.secure_bootstrap()
    }

    /// The CA's certificate (PEM) that clients of the secure listeners must trust.
    pub fn ca(&self) -> Result<&Path> {
        self.own("ca")?.ca()
    }

    /// SIGKILL: what a power cut looks like to the node. Returns when it is dead.
    pub fn kill(&self, node: usize) -> Result<()> {
        self.own("kill")?.node(node)?.kill()
    }

    /// A clean shutdown. Returns when it is complete.
    pub fn stop(&self, node: usize) -> Result<()> {
        self.own("stop")?.node(node)?.stop()
    }

    /// SIGSTOP: connections stay open and nothing answers, until [`Kafka::resume`].
    pub fn pause(&self, node: usize) -> Result<()> {
        self.own("pause")?.node(node)?.pause()
    }

    pub fn resume(&self, node: usize) -> Result<()> {
        self.own("resume")?.node(node)?.resume()
    }

    /// Starts a killed or stopped node with the same settings and data, and waits until it is one of the live brokers.
    pub fn start_again(&self, node: usize) -> Result<()> {
        self.own("start_again")?.start_again(node)
    }

    /// From now on each write of the node to a file fails, as on a full disk (with another errno, which Kafka does not look at;
    /// on Linux only). At the first one it gives up its data folder and then itself, see [`Kafka::wait_for_end`]. After
    /// [`Kafka::start_again`] there is space again.
    pub fn fill_disk(&self, node: usize) -> Result<()> {
        self.own("fill_disk")?.fill_disk(node)
    }

    /// Waits until a node has ended by itself.
    pub fn wait_for_end(&self, node: usize) -> Result<()> {
        self.own("wait_for_end")?.wait_for_end(node)
    }

    /// Lets a user of the secure listener do `operations` (`Read`, `Write`, `Describe`, `Create`, …, `All`) with the topics
    /// whose names start with `prefix`. Needs [`Builder::authorizer`].
    pub fn allow(&self, user: &str, operations: &[&str], prefix: &str) -> Result<()> {
        let mut command = self.tool("org.apache.kafka.tools.AclCommand")?;
        command
            .args(["--bootstrap-server", &self.bootstrap, "--add"])
            .args(["--allow-principal", &format!("User:{user}")])
            .args(["--resource-pattern-type", "prefixed", "--topic", prefix]);
        for operation in operations {
            command.args(["--operation", operation]);
        }
        let output = command
            .output()
            .map_err(|e| Error::system("run Kafka's tool for ACLs", e))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Program {
            program: "org.apache.kafka.tools.AclCommand".into(),
            reason: output.status.to_string(),
            log: last_lines(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// One of Kafka's own tools, by its class, with Java's options already there.
    pub fn tool(&self, class: &str) -> Result<Command> {
        Ok(self.own("tool")?.node(0)?.tool(class))
    }

    /// The id of a node's process, while it is one of ours and runs.
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.own("pid").ok()?.node(node).ok()?.pid()
    }

    /// The most memory that a node has had resident, in bytes.
    pub fn peak_memory(&self, node: usize) -> Option<u64> {
        crate::peak_memory(self.pid(node)?)
    }

    /// A topic's name that no other test uses, for clusters that are shared: with other tests, and other runs.
    pub fn topic_name(&self, purpose: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        format!(
            "t{}-{}-{number}-{purpose}",
            now.as_secs(),
            std::process::id()
        )
    }

    /// Makes a topic with settings of its own, and waits until all its partitions have leaders.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: usize,
        replication: usize,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        self.admin().create(name, partitions, replication, settings)
    }

    /// Deletes a topic, and waits until nobody sees it any more.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        self.admin().delete(name)
    }

    /// Changes settings of a topic; the others stay.
    pub fn alter_topic(&self, name: &str, settings: &[(&str, &str)]) -> Result<()> {
        self.admin().alter(name, settings)
    }

    /// The settings that a topic does not have from its broker, sorted.
    pub fn topic_settings(&self, name: &str) -> Result<Vec<(String, String)>> {
        self.admin().settings(name)
    }

    /// Deletes the records of partition 0 before an offset.
    pub fn delete_records(&self, topic: &str, before: i64) -> Result<()> {
        self.admin().delete_records(topic, before)
    }

    /// All topics' names, sorted.
    pub fn topics(&self) -> Result<Vec<String>> {
        self.admin().topics()
    }

    /// The first offset of a topic's partition 0, and the one after the last.
    pub fn offsets(&self, topic: &str) -> Result<(i64, i64)> {
        self.admin().offsets(topic)
    }

    /// Which node leads a topic's partition 0; waits while none does. For a while after a node died it may still be named.
    pub fn leader(&self, topic: &str) -> Result<usize> {
        self.admin().leader(topic)
    }

    /// The nodes that have all of partition 0's records: its in-sync replicas, sorted.
    pub fn in_sync(&self, topic: &str) -> Result<Vec<usize>> {
        self.admin().in_sync(topic)
    }
}
