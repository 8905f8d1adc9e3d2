//! The `server.properties` of a node: what makes a broker small and quick to start, and otherwise Kafka's defaults, as those
//! are what people's clusters have.

use std::path::Path;

use super::tls::Certificates;

/// The listeners' names. Brokers and tests use the plain one; whoever is to meet a fault, or must log in, the others.
const PLAIN: &str = "PLAIN";
const PROXIED: &str = "PROXIED";
const SECURE: &str = "SECURE";
const CONTROLLER: &str = "CONTROLLER";

/// Internal topics of one partition, and no waiting for members that a test does not have.
const SMALL: [(&str, &str); 7] = [
    ("offsets.topic.num.partitions", "1"),
    ("transaction.state.log.num.partitions", "1"),
    ("share.coordinator.state.topic.num.partitions", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    // By default half of a small heap.
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("controlled.shutdown.max.retries", "1"),
    ("controlled.shutdown.retry.backoff.ms", "500"),
];

const FEW_THREADS: [(&str, &str); 5] = [
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
    ("background.threads", "2"),
    ("group.coordinator.threads", "1"),
    ("share.coordinator.threads", "1"),
];

/// How soon a node that is silent counts as dead: nine seconds by default. Alone, nobody takes over from it, and it waits that
/// long itself when it is started again after a kill. Of several, one must not lose its leadership because the machine is busy.
const ALONE: [(&str, &str); 2] = [
    ("broker.session.timeout.ms", "2000"),
    ("broker.heartbeat.interval.ms", "300"),
];
const AMONG_SEVERAL: [(&str, &str); 2] = [
    ("broker.session.timeout.ms", "4000"),
    ("broker.heartbeat.interval.ms", "500"),
];

/// One node's ports, for good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) controller: u16,
    pub(super) secure: Option<u16>,
    pub(super) proxied: Option<Proxied>,
}

/// A listener's own port, and that of the proxy that it says it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proxied {
    pub(super) listens: u16,
    pub(super) advertised: u16,
}

/// What a node's file is made of.
pub(super) struct Node<'a> {
    pub(super) id: usize,
    /// Of all nodes.
    pub(super) ports: &'a [Ports],
    pub(super) data: &'a Path,
    pub(super) certificates: Option<&'a Certificates>,
    pub(super) authorizer: bool,
    /// As many threads as Kafka has by default.
    pub(super) benchmark: bool,
    /// The test's own; they win.
    pub(super) properties: &'a [(String, String)],
}

impl Node<'_> {
    pub(super) fn file(&self) -> String {
        let mut lines = Vec::new();
        let mut set = |key: &str, value: &str| lines.push((key.to_owned(), value.to_owned()));
        let voters = self.ports.iter().enumerate();
        let voters = voters.map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller));
        set("process.roles", "broker,controller");
        set("node.id", &self.id.to_string());
        set(
            "controller.quorum.voters",
            &voters.collect::<Vec<_>>().join(","),
        );
        set("controller.listener.names", CONTROLLER);
        set("inter.broker.listener.name", PLAIN);
        set("log.dirs", &self.data.display().to_string());
        self.listeners(&mut set);
        let replication = self.ports.len().min(3).to_string();
        for topic in [
            "offsets.topic",
            "transaction.state.log",
            "share.coordinator.state.topic",
        ] {
            set(&format!("{topic}.replication.factor"), &replication);
            if topic != "offsets.topic" {
                set(&format!("{topic}.min.isr"), "1");
            }
        }
        for (key, value) in SMALL {
            set(key, value);
        }
        if !self.benchmark {
            for (key, value) in FEW_THREADS {
                set(key, value);
            }
        }
        let patience = match self.ports.len() {
            1 => ALONE,
            _ => AMONG_SEVERAL,
        };
        for (key, value) in patience {
            set(key, value);
        }
        if self.authorizer {
            set(
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            );
            // Who comes through the plain listener: the brokers and the tests themselves.
            set("super.users", "User:ANONYMOUS");
        }
        for (key, value) in self.properties {
            set(key, value);
        }
        // A backslash would be an escape in this format.
        let line =
            |(key, value): (String, String)| format!("{key}={}\n", value.replace('\\', "\\\\"));
        lines.into_iter().map(line).collect()
    }

    fn listeners(&self, set: &mut impl FnMut(&str, &str)) {
        let own = &self.ports[self.id];
        let address = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
        let mut listeners = vec![
            address(PLAIN, own.plain),
            address(CONTROLLER, own.controller),
        ];
        let mut advertised = vec![address(PLAIN, own.plain)];
        let mut protocols = vec![
            format!("{PLAIN}:PLAINTEXT"),
            format!("{CONTROLLER}:PLAINTEXT"),
        ];
        if let Some(proxied) = own.proxied {
            listeners.push(address(PROXIED, proxied.listens));
            advertised.push(address(PROXIED, proxied.advertised));
            protocols.push(format!("{PROXIED}:PLAINTEXT"));
        }
        if let (Some(port), Some(certificates)) = (own.secure, self.certificates) {
            listeners.push(address(SECURE, port));
            advertised.push(address(SECURE, port));
            protocols.push(format!("{SECURE}:SASL_SSL"));
            let prefix = format!("listener.name.{}", SECURE.to_lowercase());
            set(
                &format!("{prefix}.sasl.enabled.mechanisms"),
                "SCRAM-SHA-256",
            );
            set(
                &format!("{prefix}.scram-sha-256.sasl.jaas.config"),
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            );
            set(&format!("{prefix}.ssl.keystore.type"), "PEM");
            let keystore = certificates.server().display().to_string();
            set(&format!("{prefix}.ssl.keystore.location"), &keystore);
        }
        set("listeners", &listeners.join(","));
        set("advertised.listeners", &advertised.join(","));
        set("listener.security.protocol.map", &protocols.join(","));
    }
}
