//! Client properties: ours, and what people pass through to librdkafka.
//!
//! Some are part of the log's promises and can't be given; the others win over our defaults. Values may be secrets: no error and no
//! `Debug` shows one.

use std::{fmt, time::Duration};

use binferry_schemas::fault::{Fault, Kind};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel, types::RDKafkaConfRes};

use super::address::KafkaAddress;

/// Bytes that a consumer holds ready, besides the portion that is handed out.
const CONSUMER_QUEUE_KIB: u32 = 4 * 1024;

/// Of an answer, as it is compressed; a larger batch comes alone. librdkafka decompresses an answer as a whole, and rows that are alike
/// become a few hundred times as many bytes. One request is under way at a time, so brokers that are far away get larger ones.
const FETCH_BYTES: (u32, u32) = (64 * 1024, 1024 * 1024);
/// The smallest answer suffices up to this round trip: 6 MB/s, compressed. A busy broker next door answers faster than that now and then.
const NEAR: Duration = Duration::from_millis(10);

/// What the log's promises rest on.
const OURS: [&str; 20] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "transactional.id",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "message.max.bytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "message.copy.max.bytes",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.partition.eof",
    "isolation.level",
    "check.crcs",
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// What it is instead may be a secret that lost its name.
    #[error("a client property is not given as key=value")]
    NoValue,
    #[error("the client property {key} is set by binferry")]
    Ours { key: String },
    #[error("librdkafka has no client property {key:?}")]
    Unknown { key: String },
    #[error("the value of the client property {key} is not one that librdkafka takes")]
    Value { key: String },
    #[error("librdkafka refuses the client properties: {reason}")]
    Client { reason: String },
}

impl Fault for PropertyError {
    fn kind(&self) -> Kind {
        Kind::Configuration
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoValue => "write it as key=value, for example compression.type=lz4".to_owned(),
            Self::Ours { .. } => {
                "leave it out: that nothing is lost or repeated rests on it".to_owned()
            }
            _ => "see librdkafka's CONFIGURATION.md for the names, and docs/kafka for those that matter".to_owned(),
        })
    }
}

/// Checked, in the order in which they were given: the last one of a name wins.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(Vec<(String, String)>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(key, _)| key))
            .finish()
    }
}

impl Properties {
    /// Adds `key=value`.
    pub fn add(&mut self, given: &str) -> Result<(), PropertyError> {
        let (key, value) = given.split_once('=').ok_or(PropertyError::NoValue)?;
        let (key, value) = (key.trim(), value.trim());
        if OURS.contains(&key) {
            return Err(PropertyError::Ours {
                key: key.to_owned(),
            });
        }
        let config = ClientConfig::new().set(key, value).create_native_config();
        if let Err(error) = config {
            return Err(from_client(error));
        }
        self.0.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Adds the lines of a properties file: `key=value`; empty lines and those that begin with `#` say nothing. An error names the line.
    pub fn add_file(&mut self, text: &str) -> Result<(), (usize, PropertyError)> {
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            self.add(line).map_err(|error| (at + 1, error))?;
        }
        Ok(())
    }

    fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// What all clients have in common.
    pub(super) fn client(&self, address: &KafkaAddress) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "binferry")
            .set("socket.keepalive.enable", "true")
            // A broker that is back is found within a second or two.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false");
        if !["ssl.ca.location", "ssl.ca.pem", "ssl.ca.certificate.stores"]
            .iter()
            .any(|key| self.has(key))
        {
            // OpenSSL is linked in and knows no system's folder by itself.
            config.set("ssl.ca.location", "probe");
        }
        for (key, value) in &self.0 {
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &address.brokers)
            // A topic that was deleted must not come back by somebody asking for it.
            .set("allow.auto.create.topics", "false");
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// Reads from an offset that the caller knows, and nothing else: no group, no commit, no reset.
    pub(super) fn consumer(&self, address: &KafkaAddress, round_trip: Duration) -> ClientConfig {
        let mut config = self.client(address);
        let fetch = fetch_bytes(round_trip);
        let defaults = [
            ("queued.max.messages.kbytes", CONSUMER_QUEUE_KIB.to_string()),
            ("fetch.message.max.bytes", fetch.to_string()),
            // By default a consumer whose queue was full pauses for a second.
            ("fetch.queue.backoff.ms", "2".to_owned()),
            ("fetch.error.backoff.ms", "100".to_owned()),
        ];
        for (key, value) in defaults {
            let alias = match key {
                "fetch.message.max.bytes" => "max.partition.fetch.bytes",
                other => other,
            };
            if !self.has(key) && !self.has(alias) {
                config.set(key, value);
            }
        }
        config
            // librdkafka's polling wants a name; there is no membership and no committed offset.
            .set("group.id", "binferry")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            // We write without transactions, and another program's open one must not hold the readers up.
            .set("isolation.level", "read_uncommitted")
            .set("check.crcs", "true");
        config
    }

    /// Idempotent, and it never gives up by itself. `largest` is the topic's `max.message.bytes`.
    pub(super) fn producer(&self, address: &KafkaAddress, largest: usize) -> ClientConfig {
        let mut config = self.client(address);
        let largest = largest.clamp(1_000, 1_000_000_000);
        let defaults = [
            ("compression.type", "zstd".to_owned()),
            // As small as level 3 makes row changes, for two thirds of the time.
            ("compression.level", "1".to_owned()),
            // What is there goes out at once; what comes while requests are under way makes the next batch.
            ("linger.ms", "0".to_owned()),
            ("batch.size", largest.min(1_000_000).to_string()),
            ("batch.num.messages", "100000".to_owned()),
            // The limit is the writer's own, by bytes.
            ("queue.buffering.max.messages", "10000000".to_owned()),
            ("queue.buffering.max.kbytes", "131072".to_owned()),
            ("retry.backoff.max.ms", "500".to_owned()),
        ];
        for (key, value) in defaults {
            let alias = match key {
                "compression.type" => "compression.codec",
                "linger.ms" => "queue.buffering.max.ms",
                other => other,
            };
            if !self.has(key) && !self.has(alias) {
                config.set(key, value);
            }
        }
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("message.max.bytes", largest.to_string());
        config
    }
}

/// In proportion to the round trip.
fn fetch_bytes(round_trip: Duration) -> u32 {
    let times = round_trip.as_micros() / NEAR.as_micros().max(1);
    let times = u32::try_from(times).unwrap_or(u32::MAX).max(1);
    FETCH_BYTES.0.saturating_mul(times).min(FETCH_BYTES.1)
}

/// librdkafka's errors about a configuration quote the value.
pub(super) fn from_client(error: rdkafka::error::KafkaError) -> PropertyError {
    use rdkafka::error::KafkaError;
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => {
            PropertyError::Unknown { key }
        }
        KafkaError::ClientConfig(_, _, key, _) => PropertyError::Value { key },
        KafkaError::ClientCreation(reason) => PropertyError::Client { reason },
        other => PropertyError::Client {
            reason: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> KafkaAddress {
        "kafka://a:9092/shop".parse().unwrap()
    }

    #[test]
    fn what_people_give_wins_but_for_ours() {
        let mut given = Properties::default();
        given.add("linger.ms=7").unwrap();
        given.add("compression.codec = lz4").unwrap();
        let config = given.producer(&address(), 2_000_000);
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("compression.type"), None);
        assert_eq!(config.get("compression.codec"), Some("lz4"));
        assert_eq!(config.get("acks"), Some("all"));
        let error = given.add("acks=1").unwrap_err();
        assert_eq!(
            error,
            PropertyError::Ours {
                key: "acks".to_owned()
            }
        );
    }

    #[test]
    fn fetches_grow_with_the_distance() {
        let bytes = |ms| fetch_bytes(Duration::from_millis(ms));
        assert_eq!([bytes(0), bytes(9), bytes(19)], [64 * 1024; 3]);
        assert_eq!(bytes(40), 256 * 1024);
        assert_eq!([bytes(200), bytes(10_000)], [1024 * 1024; 2]);
    }

    #[test]
    fn every_default_is_one_that_librdkafka_takes() {
        let given = Properties::default();
        for config in [
            given.client(&address()),
            given.consumer(&address(), Duration::ZERO),
            given.producer(&address(), 1_048_588),
        ] {
            config.create_native_config().unwrap();
        }
    }

    #[test]
    fn mistakes_are_named_without_their_values() {
        let mut given = Properties::default();
        assert_eq!(
            given.add("sasl.pasword=hunter2").unwrap_err(),
            PropertyError::Unknown {
                key: "sasl.pasword".to_owned()
            }
        );
        assert_eq!(
            given.add("linger.ms=hunter2").unwrap_err(),
            PropertyError::Value {
                key: "linger.ms".to_owned()
            }
        );
        let file = "# comment\n\nsasl.username=me\nhunter2\n";
        let (line, error) = given.add_file(file).unwrap_err();
        assert_eq!(line, 4);
        assert!(!error.to_string().contains("hunter2"));
        given.add("sasl.password=hunter2").unwrap();
        assert!(!format!("{given:?}").contains("hunter2"));
    }
}
