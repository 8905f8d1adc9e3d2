//! What a cluster is started with.

use std::path::PathBuf;

use super::Kafka;
use crate::error::Result;

/// See [`Kafka::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    pub(super) brokers: usize,
    pub(super) properties: Vec<(String, String)>,
    pub(super) users: Vec<(String, String)>,
    pub(super) heap: Option<u32>,
    pub(super) benchmark: bool,
    pub(super) proxied: bool,
    pub(super) authorizer: bool,
    pub(super) data: Option<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            brokers: 1,
            properties: Vec::new(),
            users: Vec::new(),
            heap: None,
            benchmark: false,
            proxied: false,
            authorizer: false,
            data: None,
        }
    }
}

impl Builder {
    /// How many nodes, each a broker and a controller; one, if this is not called. With three, any one of them may be dead.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers.max(1);
        self
    }

    /// A setting of `server.properties`; it wins over those that every node gets.
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((key.into(), value.into()));
        self
    }

    /// The largest heap of a node, in MiB: 384 without this, 1024 for benchmarks.
    pub fn heap(mut self, mebibytes: u32) -> Self {
        self.heap = Some(mebibytes);
        self
    }

    /// A JVM as in production (all compilers, G1) and as many threads as Kafka wants, in place of a quick start.
    pub fn benchmark(mut self) -> Self {
        self.benchmark = true;
        self
    }

    /// Starts a [`Proxy`](crate::Proxy) for each node, which clients of [`Kafka::proxied_bootstrap`] meet.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// A listener with TLS and SCRAM-SHA-256, for clients of [`Kafka::secure_bootstrap`], and a user for it. May be called
    /// for several users.
    pub fn secure(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.push((user.into(), password.into()));
        self
    }

    /// Users of the secure listener may do nothing; clients of the plain one may do everything.
    pub fn authorizer(mut self) -> Self {
        self.authorizer = true;
        self
    }

    /// Puts the nodes' data under this folder, on a file system of the test's choice. It is removed with the handle.
    pub fn data_on(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// Starts the cluster and waits until all of its brokers answer.
    pub fn start(self) -> Result<Kafka> {
        Kafka::launch(self)
    }

    /// Whether a cluster that runs already would do.
    pub(super) fn wants_its_own(&self) -> bool {
        !self.properties.is_empty()
            || !self.users.is_empty()
            || self.proxied
            || self.authorizer
            || self.data.is_some()
    }

    pub(super) fn jvm_options(&self) -> Vec<String> {
        let heap = self.heap.unwrap_or(if self.benchmark { 1024 } else { 384 });
        let mut options = vec![format!("-Xmx{heap}m")];
        if self.benchmark {
            options.push("-XX:+UseG1GC".into());
        } else {
            options.extend(["-XX:+UseSerialGC".into(), "-XX:TieredStopAtLevel=1".into()]);
        }
        options
    }
}
