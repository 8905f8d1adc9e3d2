//! Which of the ways brings clusters up here: decided once per process, by trying each.

use std::sync::OnceLock;

use super::distribution::{Distribution, HOME};
use crate::error::{Error, FailedWay, Result};

#[derive(Debug)]
pub(super) enum Way {
    /// A cluster that runs already: its bootstrap servers.
    Given(String),
    /// Processes of our own.
    Distribution(Distribution),
}

/// The first way that works.
pub(super) fn chosen() -> Result<&'static Way> {
    static WAY: OnceLock<Result<Way>> = OnceLock::new();
    WAY.get_or_init(choose).as_ref().map_err(Error::clone)
}

fn choose() -> Result<Way> {
    // Who names a cluster wants that and no other: a mistake there is an error and not a reason to go on.
    if let Ok(list) = std::env::var(crate::KAFKA_ADDRESSES)
        && !list.trim().is_empty()
    {
        return Ok(Way::Given(parse(&list)?));
    }
    let mut tried = vec![FailedWay {
        way: "a running cluster",
        reason: format!("{} is not set", crate::KAFKA_ADDRESSES),
        remedy: format!("{}=host:port[,host:port…]", crate::KAFKA_ADDRESSES),
    }];
    match Distribution::installed() {
        Ok(distribution) => return Ok(Way::Distribution(distribution)),
        Err(error) => tried.push(FailedWay {
            way: "an installed Kafka",
            reason: error.to_string(),
            remedy: format!(
                "install Java 17 or newer and Kafka 4.0 or newer, and name its folder: {HOME}=/path/to/kafka"
            ),
        }),
    }
    match Distribution::from_maven() {
        Ok(distribution) => return Ok(Way::Distribution(distribution)),
        Err(error) => tried.push(FailedWay {
            way: "Maven's artifacts",
            reason: error.to_string(),
            remedy: "install Java 17 or newer and Maven (on Debian or Ubuntu: apt-get install openjdk-17-jre-headless \
                     maven), and make a Maven repository reachable"
                .into(),
        }),
    }
    Err(Error::NoWay {
        server: "Kafka cluster",
        tried,
    })
}

fn parse(list: &str) -> Result<String> {
    let addresses: Vec<&str> = list.split(',').map(str::trim).collect();
    for address in &addresses {
        let port = address.rsplit_once(':').and_then(|(host, port)| {
            let port: u16 = port.parse().ok()?;
            (!host.is_empty() && !host.contains('/')).then_some(port)
        });
        if port.is_none() {
            return Err(Error::BadAddress {
                variable: crate::KAFKA_ADDRESSES,
                address: (*address).to_owned(),
                reason: "not a host and a port".into(),
                form: "host:port[,host:port…]",
            });
        }
    }
    Ok(addresses.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(parse("a:1, [::1]:9092").unwrap(), "a:1,[::1]:9092");
        for bad in ["a", "a:x", ":1", "kafka://a:1", "a:1,"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("host:port"), "{bad}: {error}");
        }
    }
}
