//! The log in Kafka: the topic `NAME.log` with one partition for the records, and the compacted topic `NAME.schemas` (`docs/kafka.md`).
//!
//! Invariants:
//! - The log's identity is the topic's id, which Kafka makes with the topic: a topic that was deleted and made again under the same name
//!   is another log, and so is a mirrored copy.
//! - A record is durable when the broker says so under acks=all. The producer is idempotent, so order holds and a retry repeats nothing;
//!   what a killed process or a second one does to the log, the fold sorts out. No transactions, no consumer groups, no side topic.
//! - Offsets rise, with gaps: control records of other programs' transactions take offsets that no reader sees.
//! - Memory is bounded by constants here: bytes in flight, the consumer's queue, two portions.
//!
//! Failure: brokers that are away are waited for (`cluster`, `writer`, `reader`), and after the log's patience that is an error. Retention
//! is the topic's own; the preflight compares it with what was asked for.

mod address;
mod cluster;
mod handed;
mod properties;
mod reader;
mod schemas;
mod topic_id;
mod topics;
mod writer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use binferry_schemas::{
    finding::{Finding, Severity},
    fingerprint::Fingerprint,
    gtid::Uuid,
    record::Offset,
};

pub use self::{
    address::{KafkaAddress, KafkaAddressError},
    properties::{Properties, PropertyError},
    topics::Wanted,
};
use self::{
    cluster::Cluster,
    reader::{KafkaReader, Spare},
    schemas::Schemas,
    topics::{BATCH_OVERHEAD, Role, Topic},
    writer::KafkaWriter,
};
use crate::{
    error::LogError,
    log::{Bounds, Log, RECORD_BYTES, Reader, Registration, Writer},
    meter::LogMeter,
};

/// A topic that is only read is believed to be missing after so long.
const SHOWS: Duration = Duration::from_secs(3);
/// A topic that was made is shown by then.
const MADE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct KafkaOptions {
    pub address: KafkaAddress,
    pub properties: Properties,
    pub wanted: Wanted,
    /// How long brokers that are out of reach are tried.
    pub patience: Duration,
}

#[derive(Debug, Clone)]
pub struct KafkaLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cluster: Arc<Cluster>,
    name: String,
    topic: String,
    id: Uuid,
    largest_batch: usize,
    schemas: Schemas,
    spare: Spare,
    meter: Arc<LogMeter>,
}

impl Shared {
    /// Takes what clients have to report that nobody uses at the moment.
    fn listen(&self) {
        self.cluster.listen();
        self.schemas.listen();
        self.spare.listen();
    }

    fn gone(&self, again: bool) -> LogError {
        LogError::TopicGone {
            log: self.name.clone(),
            topic: self.topic.clone(),
            again,
        }
    }
}

impl KafkaLog {
    /// Opens a log that is there. For everyone who only reads.
    pub async fn open(options: KafkaOptions) -> Result<Self, LogError> {
        let cluster = connect(&options)?;
        let mut found = Vec::new();
        for (name, role) in topics(&options) {
            let topic = appears(&cluster, &name, SHOWS).await?;
            // The rest is for those who write.
            if topic.partitions != 1 {
                refuse(
                    &cluster,
                    topics::judge(&name, role, &topic, Wanted::default()),
                )?;
            }
            found.push(topic);
        }
        Self::over(cluster, found)
    }

    /// Opens a log for a capture: makes the topics that are missing, and refuses ones that could lose records.
    pub async fn create_or_open(options: KafkaOptions) -> Result<Self, LogError> {
        let cluster = connect(&options)?;
        let mut found = Vec::new();
        let mut findings = Vec::new();
        for (name, role) in topics(&options) {
            let topic = match topics::describe(&cluster, &name).await? {
                Some(topic) => topic,
                None => {
                    topics::create(&cluster, &name, role, options.wanted).await?;
                    appears(&cluster, &name, MADE).await?
                }
            };
            findings.extend(topics::judge(&name, role, &topic, options.wanted));
            found.push(topic);
        }
        for finding in findings.iter().filter(|f| f.severity == Severity::Warning) {
            tracing::warn!(
                remedy = finding.remedy.as_deref().unwrap_or_default(),
                "{finding}"
            );
        }
        refuse(&cluster, findings)?;
        Self::over(cluster, found)
    }

    /// Everything that is worth telling about the cluster's side, for `check`, and whether there is a log. Changes nothing.
    pub async fn check(options: KafkaOptions) -> Result<(Vec<Finding>, bool), LogError> {
        let cluster = connect(&options)?;
        let mut findings = Vec::new();
        let mut is_there = true;
        for (name, role) in topics(&options) {
            match topics::describe(&cluster, &name).await? {
                Some(topic) => {
                    findings.extend(topics::judge(&name, role, &topic, options.wanted));
                }
                None => {
                    is_there = false;
                    findings.push(Finding {
                        severity: Severity::Info,
                        subject: format!("topic {name}"),
                        found: "not there".to_owned(),
                        reason: "the first capture makes it".to_owned(),
                        remedy: None,
                    });
                }
            }
        }
        findings.sort_by_key(|finding| finding.severity);
        Ok((findings, is_there))
    }

    /// `found`: the topics in the order of `topics`.
    fn over(cluster: Arc<Cluster>, found: Vec<Topic>) -> Result<Self, LogError> {
        let [log, schemas] = <[Topic; 2]>::try_from(found).map_err(|_| LogError::Stopped)?;
        let address = &cluster.address;
        Ok(Self {
            shared: Arc::new(Shared {
                name: cluster.name(),
                topic: address.log_topic(),
                id: log.id,
                largest_batch: log.largest_batch(),
                schemas: Schemas::new(
                    cluster.clone(),
                    address.schemas_topic(),
                    schemas.largest_batch(),
                ),
                spare: Spare::default(),
                meter: Arc::default(),
                cluster,
            }),
        })
    }
}

fn missing(cluster: &Cluster, topic: &str) -> LogError {
    LogError::TopicMissing {
        log: cluster.name(),
        topic: topic.to_owned(),
    }
}

fn connect(options: &KafkaOptions) -> Result<Arc<Cluster>, LogError> {
    Ok(Arc::new(Cluster::new(
        options.address.clone(),
        options.properties.clone(),
        options.patience,
    )?))
}

fn topics(options: &KafkaOptions) -> [(String, Role); 2] {
    [
        (options.address.log_topic(), Role::Log),
        (options.address.schemas_topic(), Role::Schemas),
    ]
}

/// A topic as soon as it is shown: brokers learn of a new one, and after a restart of all, one after the other.
async fn appears(
    cluster: &Arc<Cluster>,
    name: &str,
    patience: Duration,
) -> Result<Topic, LogError> {
    let (begun, mut pauses) = (Instant::now(), cluster::pauses());
    loop {
        if let Some(topic) = topics::describe(cluster, name).await? {
            return Ok(topic);
        }
        if begun.elapsed() >= patience {
            return Err(missing(cluster, name));
        }
        tokio::time::sleep(pauses.next().unwrap_or_default()).await;
    }
}

fn refuse(cluster: &Cluster, findings: Vec<Finding>) -> Result<(), LogError> {
    let blocking: Vec<_> = findings
        .into_iter()
        .filter(|finding| finding.severity == Severity::Blocking)
        .collect();
    match blocking.is_empty() {
        true => Ok(()),
        false => Err(LogError::Unfit {
            log: cluster.name(),
            findings: blocking,
        }),
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn id(&self) -> Uuid {
        self.shared.id
    }

    fn name(&self) -> String {
        self.shared.name.clone()
    }

    fn record_bytes(&self) -> usize {
        // The topic's limit is for the batch, and the envelope comes on top of what a capture counts.
        let largest = self.shared.largest_batch.saturating_sub(4 * BATCH_OVERHEAD);
        RECORD_BYTES.min(largest)
    }

    async fn bounds(&self) -> Result<Bounds, LogError> {
        let topic = self.shared.topic.clone();
        let (low, high) = self
            .shared
            .cluster
            .ask("asking for the log's bounds", move |cluster| {
                cluster.bounds(&topic)
            })
            .await?;
        let offset = |value: i64| Offset(u64::try_from(value).unwrap_or_default());
        Ok(Bounds {
            start: offset(low),
            end: offset(high),
        })
    }

    async fn kept_bytes(&self) -> Result<Option<u64>, LogError> {
        Ok(None)
    }

    fn meter(&self) -> Arc<LogMeter> {
        Arc::clone(&self.shared.meter)
    }

    async fn writer(&self) -> Result<Box<dyn Writer>, LogError> {
        Ok(Box::new(KafkaWriter::start(self.shared.clone())?))
    }

    async fn reader(&self, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        let bounds = self.bounds().await?;
        if from < bounds.start {
            return Err(LogError::Expired {
                log: self.name(),
                wanted: from,
                start: bounds.start,
                missing: bounds.start.0 - from.0,
            });
        }
        if from > bounds.end {
            return Err(LogError::Truncated {
                log: self.name(),
                durable: Offset(from.0 - 1),
                end: bounds.end,
            });
        }
        let reader = KafkaReader::start(self.shared.clone(), from, bounds.end)?;
        Ok(Box::new(reader))
    }

    async fn put_schema(&self, fingerprint: Fingerprint, text: &str) -> Result<(), LogError> {
        self.shared.schemas.put(fingerprint, text).await
    }

    async fn schema(&self, fingerprint: Fingerprint) -> Result<Option<String>, LogError> {
        self.shared.schemas.get(fingerprint).await
    }

    /// Kafka keeps what the topic's retention says, whoever reads.
    async fn register(&self, _: &str, _: Offset) -> Result<(), LogError> {
        Ok(())
    }

    async fn registrations(&self) -> Result<Vec<Registration>, LogError> {
        Ok(Vec::new())
    }

    async fn request(&self, id: Uuid, text: &str) -> Result<(), LogError> {
        self.shared.schemas.ask_for(id, Some(text)).await
    }

    async fn requests(&self) -> Result<Vec<(Uuid, String)>, LogError> {
        self.shared.schemas.requests().await
    }

    async fn answered(&self, id: Uuid) -> Result<(), LogError> {
        self.shared.schemas.ask_for(id, None).await
    }

    async fn unregister(&self, _: &str) -> Result<bool, LogError> {
        Ok(false)
    }
}
