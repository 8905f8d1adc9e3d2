//! What the options say, or what is wrong with them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use binferry_apply::{Compare as Compared, DdlMode, Gtids, IntoTables, conflict::Policies};
use binferry_capture::snapshot::CopyOptions;
use binferry_schemas::{
    address::{Address, Secret},
    filter::TableFilter,
    gtid::{Gtid, GtidSet},
    record::Over,
    source::SourceAddress,
};
use binferry_transport::{
    kafka::{KafkaAddress, KafkaOptions, Properties, Wanted},
    log::Retention,
};

use super::Options;
use crate::{failure::Failure, watch::health};

/// Where the log is.
#[derive(Debug, Clone)]
pub enum LogPlace {
    Directory(PathBuf),
    Kafka(Box<KafkaOptions>),
}

/// Where a first start begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Earliest,
    /// Only for the beginning.
    Snapshot,
    Now,
    Set(GtidSet),
}

impl Options {
    /// A server, or binlog files.
    pub fn source(&self) -> Result<SourceAddress, Failure> {
        if let Some(text) = self
            .source
            .as_deref()
            .filter(|t| SourceAddress::is_files(t))
        {
            if self.server_id.is_some() || self.source_password_file.is_some() {
                return Err(Failure::usage(
                    "--server-id and --source-password-file are for a server, and --source names files",
                ));
            }
            return Ok(text.parse()?);
        }
        Ok(SourceAddress::Server(self.source_server()?))
    }

    fn source_server(&self) -> Result<Address, Failure> {
        server(
            "--source",
            self.source.as_deref(),
            "BINFERRY_SOURCE_PASSWORD",
            self.source_password_file.as_deref(),
        )
    }

    pub fn target(&self) -> Result<Address, Failure> {
        server(
            "--target",
            self.target.as_deref(),
            "BINFERRY_TARGET_PASSWORD",
            self.target_password_file.as_deref(),
        )
    }

    pub fn log(&self) -> Result<LogPlace, Failure> {
        let text = self.log.as_deref().ok_or_else(|| {
            Failure::usage("--log is missing: the log's directory, or kafka://host:port/NAME")
        })?;
        if KafkaAddress::is_one(text) {
            return Ok(LogPlace::Kafka(Box::new(KafkaOptions {
                address: text.parse()?,
                properties: self.kafka_properties()?,
                wanted: Wanted {
                    replicas: self.kafka_replicas,
                    retention: self.retention()?,
                },
                patience: self.retry_for()?,
            })));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(Failure::usage(format!(
                "--log {scheme}://…: a log is a directory, or kafka://host:port/NAME"
            )));
        }
        let only_kafka =
            !self.kafka.is_empty() || self.kafka_config.is_some() || self.kafka_replicas.is_some();
        if only_kafka {
            return Err(Failure::usage(
                "--kafka, --kafka-config and --kafka-replicas are for a log in Kafka, and --log is a directory",
            ));
        }
        Ok(LogPlace::Directory(text.into()))
    }

    fn kafka_properties(&self) -> Result<Properties, Failure> {
        let mut properties = Properties::default();
        if let Some(file) = &self.kafka_config {
            let name = file.display();
            let text = std::fs::read_to_string(file)
                .map_err(|e| Failure::usage(format!("--kafka-config {name}: {e}")))?;
            properties.add_file(&text).map_err(|(line, error)| {
                Failure::usage(format!("--kafka-config {name}, line {line}: {error}"))
            })?;
        }
        for given in &self.kafka {
            properties.add(given)?;
        }
        Ok(properties)
    }

    pub fn retention(&self) -> Result<Retention, Failure> {
        Ok(Retention {
            bytes: self.keep_bytes()?,
            age: self.keep_age()?,
        })
    }

    pub fn filter(&self) -> Result<TableFilter, Failure> {
        match &self.tables {
            None => Ok(TableFilter::default()),
            Some(text) => text
                .parse()
                .map_err(|e| Failure::usage(format!("--tables: {e}"))),
        }
    }

    pub fn from(&self) -> Result<Option<Place>, Failure> {
        match self.from.as_deref() {
            None => Ok(None),
            Some("earliest") => Ok(Some(Place::Earliest)),
            Some("now") => Ok(Some(Place::Now)),
            Some("snapshot") => Ok(Some(Place::Snapshot)),
            Some(set) => Ok(Some(Place::Set(gtid_set(
                "--from",
                set,
                "snapshot, earliest, now or a GTID set",
            )?))),
        }
    }

    pub fn until(&self) -> Result<Option<Place>, Failure> {
        match self.until.as_deref() {
            None => Ok(None),
            Some("now") => Ok(Some(Place::Now)),
            Some(set) => Ok(Some(Place::Set(gtid_set(
                "--until",
                set,
                "now or a GTID set",
            )?))),
        }
    }

    pub fn gtid(&self) -> Result<GtidSet, Failure> {
        let text = self
            .gtid
            .as_deref()
            .ok_or_else(|| Failure::usage("--gtid is missing: the GTID set to wait for"))?;
        gtid_set("--gtid", text, "a GTID set")
    }

    /// The one GTID to skip.
    pub fn gtid_to_skip(&self) -> Result<Gtid, Failure> {
        let text = self.gtid.as_deref().ok_or_else(|| {
            Failure::usage("--gtid is missing: the GTID of the transaction to skip")
        })?;
        text.trim().parse().map_err(|e| {
            Failure::usage(format!("--gtid: {e}; expected the GTID of one transaction"))
        })
    }

    /// What the target's transactions are called.
    pub fn gtids(&self) -> Result<Gtids, Failure> {
        match self.gtid.as_deref() {
            None => Ok(Gtids::Own),
            Some("preserve") => Ok(Gtids::Preserve),
            Some(_) => Err(Failure::usage(
                "--gtid: expected preserve; GTIDs are for wait and skip",
            )),
        }
    }

    pub fn ddl(&self) -> DdlMode {
        self.ddl.map(DdlMode::from).unwrap_or_default()
    }

    pub fn compare(&self) -> Compared {
        self.compare.map(Compared::from).unwrap_or_default()
    }

    pub fn allow_triggers(&self) -> Result<Option<TableFilter>, Failure> {
        (self.allow_triggers.as_deref())
            .map(|text| {
                text.parse()
                    .map_err(|e| Failure::usage(format!("--allow-triggers: {e}")))
            })
            .transpose()
    }

    /// What a table may hold when its first copy comes.
    pub fn copy_into(&self) -> Result<IntoTables, Failure> {
        match self.into.as_deref() {
            None | Some("empty") => Ok(IntoTables::Empty),
            Some("existing") => Ok(IntoTables::Existing),
            Some(other) => Err(Failure::usage(format!(
                "--into {other}: expected empty or existing"
            ))),
        }
    }

    /// What becomes of the rows of tables that are copied again.
    pub fn over(&self) -> Result<Over, Failure> {
        match self.over.as_deref() {
            None | Some("repair") => Ok(Over::Repair),
            Some("remove") => Ok(Over::Remove),
            Some(other) => Err(Failure::usage(format!(
                "--over {other}: expected repair or remove"
            ))),
        }
    }

    pub fn policies(&self) -> Result<Policies, Failure> {
        Policies::parse(&self.on_conflict)
            .map_err(|error| Failure::from(error).within("--on-conflict"))
    }

    pub fn site(&self) -> String {
        self.site.clone().unwrap_or_else(|| "main".to_owned())
    }

    pub fn stream(&self) -> String {
        self.stream.clone().unwrap_or_else(|| "main".to_owned())
    }

    fn keep_bytes(&self) -> Result<Option<u64>, Failure> {
        self.keep_bytes
            .as_deref()
            .map(|t| bytes("--keep-bytes", t))
            .transpose()
    }

    fn keep_age(&self) -> Result<Option<Duration>, Failure> {
        self.keep_age
            .as_deref()
            .map(|t| duration("--keep-age", t))
            .transpose()
    }

    pub fn retry_for(&self) -> Result<Duration, Failure> {
        self.retry_for
            .as_deref()
            .map_or(Ok(Duration::from_secs(600)), |t| duration("--retry-for", t))
    }

    pub fn stall_after(&self) -> Result<Duration, Failure> {
        let Some(text) = self.stall_after.as_deref() else {
            return Ok(health::STALL_AFTER);
        };
        match duration("--stall-after", text)? {
            short if short < health::SHORTEST_STALL => Err(Failure::usage(format!(
                "--stall-after {text}: at least {} s, for an applier that has nothing to do tells so every 10 s",
                health::SHORTEST_STALL.as_secs()
            ))),
            long => Ok(long),
        }
    }

    pub fn copy(&self) -> Result<CopyOptions, Failure> {
        let readers = match self.snapshot_readers {
            None => CopyOptions::default().readers,
            Some(readers @ 1..=64) => readers,
            Some(other) => {
                return Err(Failure::usage(format!(
                    "--snapshot-readers {other}: between 1 and 64"
                )));
            }
        };
        let rate = match self.snapshot_rate {
            Some(0) => return Err(Failure::usage("--snapshot-rate 0: at least 1 row a second")),
            rate => rate,
        };
        let threads = match self.snapshot_max_threads {
            Some(0) => {
                return Err(Failure::usage(
                    "--snapshot-max-threads 0: at least 1, for the thread that asks is one of them",
                ));
            }
            threads => threads,
        };
        let lag = (self.snapshot_max_lag.as_deref())
            .map(|text| duration("--snapshot-max-lag", text))
            .transpose()?;
        Ok(CopyOptions {
            readers,
            rate,
            lag,
            threads,
        })
    }

    pub fn workers(&self) -> Result<u32, Failure> {
        match self.workers.unwrap_or(4) {
            workers @ 1..=64 => Ok(workers),
            other => Err(Failure::usage(format!(
                "--workers {other}: between 1 and 64"
            ))),
        }
    }

    pub fn compare_workers(&self) -> Result<usize, Failure> {
        match self.workers {
            None => Ok(2),
            Some(_) => Ok(self.workers()? as usize),
        }
    }

    pub fn settle(&self) -> Result<Duration, Failure> {
        Ok(self.timeout()?.unwrap_or(Duration::from_secs(60)))
    }

    pub fn timeout(&self) -> Result<Option<Duration>, Failure> {
        self.timeout
            .as_deref()
            .map(|t| duration("--timeout", t))
            .transpose()
    }
}

fn server(
    option: &str,
    url: Option<&str>,
    variable: &str,
    file: Option<&Path>,
) -> Result<Address, Failure> {
    let url =
        url.ok_or_else(|| Failure::usage(format!("{option} is missing: mysql://user@host:port/")))?;
    let mut address: Address = url
        .parse()
        .map_err(|e| Failure::usage(format!("{option}: {e}")))?;
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|e| {
            Failure::usage(format!("{option}-password-file {}: {e}", file.display()))
        })?;
        address.password = Secret::new(text.trim_end_matches(['\r', '\n']));
    } else if let Ok(password) = std::env::var(variable) {
        address.password = Secret::new(password);
    }
    Ok(address)
}

fn gtid_set(option: &str, text: &str, expected: &str) -> Result<GtidSet, Failure> {
    text.parse()
        .map_err(|e| Failure::usage(format!("{option}: {e}; expected {expected}")))
}

fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    humantime::parse_duration(text)
        .map_err(|e| Failure::usage(format!("{option} {text}: {e}; for example 90s, 10m, 7d")))
}

fn bytes(option: &str, text: &str) -> Result<u64, Failure> {
    text.parse::<bytesize::ByteSize>()
        .map(|b| b.0)
        .map_err(|e| Failure::usage(format!("{option} {text}: {e}; for example 500MiB, 20GiB")))
}
