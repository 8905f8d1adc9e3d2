//! Do the names in the addresses lead anywhere, and do all the addresses behind them answer?

use std::{io, net::SocketAddr, time::Duration};

use binferry_schemas::{
    finding::{Finding, Severity},
    source::SourceAddress,
};
use tokio::net::{TcpStream, lookup_host};

use crate::{
    cli::{LogPlace, Options},
    failure::Failure,
};

const ANSWER: Duration = Duration::from_secs(5);

/// What is given, and can be asked: no name of it leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    pub source: bool,
    pub target: bool,
    pub log: bool,
}

pub async fn look_up(options: &Options) -> Result<(Places, Vec<(&'static str, Finding)>), Failure> {
    let mut places = Places {
        source: options.source.is_some(),
        target: options.target.is_some(),
        log: options.log.is_some(),
    };
    let mut all = Vec::new();
    let mut judge = |side, found: Vec<Finding>| {
        let blocks = found.iter().any(|f| f.severity == Severity::Blocking);
        all.extend(found.into_iter().map(|finding| (side, finding)));
        !blocks
    };
    if places.source
        && let SourceAddress::Server(server) = options.source()?
    {
        places.source = judge("source", host(&server.host, server.port).await);
    }
    if places.target {
        let server = options.target()?;
        places.target = judge("target", host(&server.host, server.port).await);
    }
    if places.log
        && let LogPlace::Kafka(kafka) = options.log()?
    {
        let mut found = Vec::new();
        for broker in kafka.address.brokers.split(',') {
            let (name, port) = broker.rsplit_once(':').unwrap_or((broker, ""));
            let name = name.trim_start_matches('[').trim_end_matches(']');
            found.extend(host(name, port.parse().unwrap_or(9092)).await);
        }
        // One broker is enough to find the others.
        let all_lead_nowhere = found
            .iter()
            .filter(|finding| finding.severity == Severity::Blocking)
            .count()
            == kafka.address.brokers.split(',').count();
        if !all_lead_nowhere {
            for finding in &mut found {
                finding.severity = finding.severity.max(Severity::Warning);
            }
        }
        places.log = judge("log", found);
    }
    Ok((places, all))
}

async fn host(name: &str, port: u16) -> Vec<Finding> {
    let subject = format!("host {}", name.escape_debug());
    let found = match lookup_host((name, port)).await {
        Ok(addresses) => addresses.collect::<Vec<_>>(),
        Err(error) => {
            return vec![Finding {
                severity: Severity::Blocking,
                subject,
                found: format!("not to be resolved: {error}"),
                reason: "nobody here knows an address of it".to_owned(),
                remedy: Some(
                    "correct the name, or what /etc/hosts and the name servers of this machine say of it"
                        .to_owned(),
                ),
            }];
        }
    };
    if found.len() < 2 {
        // One that does not answer is told by who connects.
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut answer_none = true;
    for address in found {
        match answers(address).await {
            Ok(()) => answer_none = false,
            Err(error) => findings.push(Finding {
                severity: match error.kind() {
                    io::ErrorKind::ConnectionRefused => Severity::Info,
                    _ => Severity::Warning,
                },
                subject: subject.clone(),
                found: format!("{address}, among others, which does not answer: {error}"),
                reason: "a connection that tries it first loses time, and a client that tries one alone fails".to_owned(),
                remedy: Some(
                    "have the server listen there (bind_address), take the address out of the name, or give an address instead of the name"
                        .to_owned(),
                ),
            }),
        }
    }
    match answer_none {
        true => Vec::new(),
        false => findings,
    }
}

async fn answers(address: SocketAddr) -> io::Result<()> {
    let connected = tokio::time::timeout(ANSWER, TcpStream::connect(address)).await;
    connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_that_lead_nowhere() {
        let found = host("no-such-host.invalid", 3306).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Blocking);
        assert!(found[0].subject.contains("no-such-host.invalid"));
        assert_eq!(host("127.0.0.1", 1).await, []);
    }
}
