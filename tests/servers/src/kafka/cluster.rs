//! The nodes of a cluster that runs here, and what they share.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::builder::Builder;
use super::classes;
use super::distribution::Distribution;
use super::node::{Jvm, Node};
use super::probe;
use super::settings::{self, Ports, Proxied};
use super::tls::Certificates;
use crate::error::{Error, Result};
use crate::place::Folder;
use crate::port;
use crate::proxy::Proxy;

/// A start includes recovery after a kill, on a machine that builds and tests at the same time.
const STARTUP: Duration = Duration::from_secs(180);

/// The fields' order is the order of dropping: nodes go before their folders.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Vec<Mutex<Node>>,
    ports: Vec<Ports>,
    proxies: Vec<Proxy>,
    id: String,
    certificates: Option<Certificates>,
    _data: Option<Folder>,
    _folder: Folder,
}

impl Cluster {
    pub(super) fn start(distribution: &Distribution, builder: &Builder) -> Result<Self> {
        let mut options = builder.jvm_options();
        if !builder.benchmark
            && let Some(archive) = classes::archive(distribution)
        {
            options.push(format!("-XX:SharedArchiveFile={}", archive.display()));
        }
        Self::start_with(distribution, builder, &options)
    }

    pub(super) fn start_with(
        distribution: &Distribution,
        builder: &Builder,
        jvm_options: &[String],
    ) -> Result<Self> {
        // Between finding a port free and a node listening on it, another process may take it.
        let mut attempts = 0;
        loop {
            attempts += 1;
            let cluster = Self::prepared(distribution, builder, jvm_options)?;
            match cluster.start_all(&builder.users) {
                Ok(()) => return Ok(cluster),
                Err(Error::Program { log, .. })
                    if attempts < 5 && log.contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ports, proxies and files; nothing runs yet but the proxies.
    fn prepared(
        distribution: &Distribution,
        builder: &Builder,
        jvm_options: &[String],
    ) -> Result<Self> {
        let folder = Folder::new()?;
        let id = unique_id();
        let data = match &builder.data {
            Some(path) => Some(Folder::at(path.join(format!("kafka-{id}")))?),
            None => None,
        };
        let (mut ports, mut proxies) = (Vec::new(), Vec::new());
        for _ in 0..builder.brokers {
            let proxied = if builder.proxied {
                let listens = port::free()?;
                let proxy = Proxy::to_kafka(listens)?;
                let advertised = proxy.port();
                proxies.push(proxy);
                Some(Proxied {
                    listens,
                    advertised,
                })
            } else {
                None
            };
            let secure = (!builder.users.is_empty()).then(port::free).transpose()?;
            ports.push(Ports {
                plain: port::free()?,
                controller: port::free()?,
                secure,
                proxied,
            });
        }
        let certificates = match builder.users.is_empty() {
            true => None,
            false => Some(Certificates::make(folder.path())?),
        };
        let jvm = Jvm {
            distribution: distribution.clone(),
            options: jvm_options.to_vec(),
        };
        let mut nodes = Vec::new();
        for node in 0..builder.brokers {
            let own = folder.path().join(format!("node-{node}"));
            let data = match &data {
                Some(elsewhere) => elsewhere.path().join(format!("node-{node}")),
                None => own.join("data"),
            };
            let settings = settings::Node {
                id: node,
                ports: &ports,
                data: &data,
                certificates: certificates.as_ref(),
                authorizer: builder.authorizer,
                benchmark: builder.benchmark,
                properties: &builder.properties,
            };
            let file = settings.file();
            let node = Node::new(jvm.clone(), &own, ports[node].plain, &file)?;
            nodes.push(Mutex::new(node));
        }
        Ok(Cluster {
            nodes,
            ports,
            proxies,
            id,
            certificates,
            _data: data,
            _folder: folder,
        })
    }

    /// All at once: a majority must be there before any of them answers.
    fn start_all(&self, users: &[(String, String)]) -> Result<()> {
        std::thread::scope(|scope| {
            let nodes = 0..self.nodes.len();
            let starts: Vec<_> = nodes
                .map(|index| {
                    scope.spawn(move || {
                        let mut node = self.node(index)?;
                        node.format(&self.id, users)?;
                        node.launch()?;
                        self.wait(&mut node, |brokers| brokers.len() == self.ports.len())
                    })
                })
                .collect();
            // All are waited for before the first failure is told.
            let mut outcome = Ok(());
            for start in starts {
                match start.join() {
                    Ok(result) => outcome = outcome.and(result),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            outcome
        })
    }

    pub(super) fn start_again(&self, index: usize) -> Result<()> {
        let mut node = self.node(index)?;
        node.launch()?;
        let port = i32::from(node.port());
        self.wait(&mut node, |brokers| {
            brokers.iter().any(|&(_, live)| live == port)
        })
    }

    /// Writes fail from now on, and the broker gives up its only data folder at the first one, and with it itself.
    pub(super) fn fill_disk(&self, index: usize) -> Result<()> {
        self.node(index)?.forbid_writes()
    }

    pub(super) fn wait_for_end(&self, index: usize) -> Result<()> {
        let mut node = self.node(index)?;
        if node.wait_for_end(STARTUP)? {
            return Ok(());
        }
        Err(Error::Program {
            program: "kafka".into(),
            reason: format!("it runs on, after {} s", STARTUP.as_secs()),
            log: node.last_words(),
        })
    }

    /// Until the node answers as one of this cluster, and names the live brokers that are waited for.
    fn wait(&self, node: &mut Node, ready: impl Fn(&[(i32, i32)]) -> bool) -> Result<()> {
        let deadline = Instant::now() + STARTUP;
        loop {
            node.check_alive()?;
            // Something else may listen on its port: the id tells.
            let answer = probe::ask(node.port(), Duration::from_secs(5));
            if answer.is_some_and(|a| a.cluster == self.id && ready(&a.brokers)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::NoAnswer {
                    port: node.port(),
                    seconds: STARTUP.as_secs(),
                    log: node.last_words(),
                });
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }

    pub(super) fn node(&self, index: usize) -> Result<MutexGuard<'_, Node>> {
        let node = self.nodes.get(index).ok_or(self.no_such(index))?;
        Ok(node.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn no_such(&self, node: usize) -> Error {
        Error::NoSuchNode {
            node,
            nodes: self.nodes.len(),
        }
    }

    pub(super) fn bootstrap(&self) -> String {
        list(self.ports.iter().map(|ports| ports.plain))
    }

    pub(super) fn proxied_bootstrap(&self) -> Result<String> {
        if self.proxies.is_empty() {
            return Err(not_built_with("proxied()"));
        }
        Ok(list(self.proxies.iter().map(Proxy::port)))
    }

    pub(super) fn proxy(&self, node: usize) -> Result<&Proxy> {
        if self.proxies.is_empty() {
            return Err(not_built_with("proxied()"));
        }
        self.proxies.get(node).ok_or(self.no_such(node))
    }

    pub(super) fn secure_bootstrap(&self) -> Result<String> {
        if self.certificates.is_none() {
            return Err(not_built_with("secure(user, password)"));
        }
        Ok(list(self.ports.iter().filter_map(|ports| ports.secure)))
    }

    pub(super) fn ca(&self) -> Result<&Path> {
        match &self.certificates {
            Some(certificates) => Ok(certificates.ca()),
            None => Err(not_built_with("secure(user, password)")),
        }
    }
}

fn not_built_with(method: &str) -> Error {
    Error::system(
        "ask a cluster for a listener",
        format!("it has none of that kind; start it with Kafka::builder().{method}"),
    )
}

fn list(ports: impl Iterator<Item = u16>) -> String {
    let addresses: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    addresses.join(",")
}

/// A cluster's id, as Kafka wants it: 16 bytes in base 64 without padding, whose 22nd digit has two bits only.
fn unique_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let digest = Sha256::digest(format!(
        "{} {number} {}",
        std::process::id(),
        now.as_nanos()
    ));
    let digits: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}A", &digits[..21])
}
