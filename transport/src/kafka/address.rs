//! Where a log in Kafka is: `kafka://host:port[,host:port…]/NAME`. The log's topics are `NAME.log` and `NAME.schemas`.

use std::{fmt, str::FromStr};

use binferry_schemas::fault::{Fault, Kind};

const SCHEME: &str = "kafka://";
/// Kafka allows 249 characters for a topic (`Topic.MAX_NAME_LENGTH`); the longer suffix takes 8.
const LONGEST_NAME: usize = 241;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaAddress {
    /// `host:port`, separated by commas: enough of the cluster's brokers to find the others.
    pub brokers: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaAddressError {
    #[error("the log's address does not start with kafka://")]
    Scheme,
    #[error("the log's address names no log after the brokers")]
    NameMissing,
    #[error(
        "{name:?} cannot be a log's name: letters, digits, '.', '_' and '-', at most {LONGEST_NAME}"
    )]
    Name { name: String },
    #[error("a broker in the log's address is not host:port")]
    Broker,
    #[error("the log's address holds a user or a password")]
    Credentials,
}

impl Fault for KafkaAddressError {
    fn kind(&self) -> Kind {
        Kind::Configuration
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Credentials => {
                "give them as client properties, best in a file: --kafka-config FILE with security.protocol, sasl.mechanism, \
                 sasl.username and sasl.password"
                    .to_owned()
            }
            _ => "write it as kafka://host:port,host:port/NAME".to_owned(),
        })
    }
}

impl KafkaAddress {
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The topic of the records.
    pub fn log_topic(&self) -> String {
        format!("{}.log", self.name)
    }

    /// The compacted topic of the row schemas.
    pub fn schemas_topic(&self) -> String {
        format!("{}.schemas", self.name)
    }
}

impl fmt::Display for KafkaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.brokers, self.name)
    }
}

impl FromStr for KafkaAddress {
    type Err = KafkaAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix(SCHEME).ok_or(KafkaAddressError::Scheme)?;
        if rest.contains('@') {
            return Err(KafkaAddressError::Credentials);
        }
        let (brokers, name) = rest.split_once('/').unwrap_or((rest, ""));
        if !brokers.split(',').all(is_broker) {
            return Err(KafkaAddressError::Broker);
        }
        let name = name.strip_suffix('/').unwrap_or(name);
        if name.is_empty() {
            return Err(KafkaAddressError::NameMissing);
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.len() > LONGEST_NAME || !name.chars().all(legal) {
            return Err(KafkaAddressError::Name {
                name: name.to_owned(),
            });
        }
        Ok(Self {
            brokers: brokers.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// `host:port`, with an IPv6 address in brackets.
fn is_broker(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host_is_one = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains([':', ' ', '?', '#']),
        };
        host_is_one && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        for text in [
            "kafka://a:9092/shop",
            "kafka://a:9092,b.c:9093,[::1]:9094/shop.eu-1",
        ] {
            let address: KafkaAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let address: KafkaAddress = "kafka://a:9092/shop/".parse().unwrap();
        assert_eq!(address.log_topic(), "shop.log");
        assert_eq!(address.schemas_topic(), "shop.schemas");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<KafkaAddress>().unwrap_err();
        assert_eq!(error("mysql://a/"), KafkaAddressError::Scheme);
        assert_eq!(error("kafka://a:9092"), KafkaAddressError::NameMissing);
        assert_eq!(error("kafka://a:9092/"), KafkaAddressError::NameMissing);
        assert_eq!(error("kafka:///shop"), KafkaAddressError::Broker);
        assert_eq!(error("kafka://a/shop"), KafkaAddressError::Broker);
        assert_eq!(error("kafka://a:9092,/shop"), KafkaAddressError::Broker);
        assert_eq!(error("kafka://a:0/shop"), KafkaAddressError::Broker);
        assert_eq!(
            error("kafka://me:secret@a:9092/shop"),
            KafkaAddressError::Credentials
        );
        assert!(matches!(
            error("kafka://a:9092/shop/more"),
            KafkaAddressError::Name { .. }
        ));
        assert!(matches!(
            error(&format!("kafka://a:9092/{}", "n".repeat(242))),
            KafkaAddressError::Name { .. }
        ));
        // Nothing of a password that was put there by mistake is told again.
        let told = error("kafka://me:secret@a:9092/shop").to_string();
        assert!(!told.contains("secret"));
    }
}
