//! The log's two topics: what they must be like, made so when they are missing, looked at when they are there.
//!
//! Judging is pure. What may not be asked for want of an ACL is a finding too, never taken for good.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use binferry_schemas::{
    finding::{Finding, Severity},
    gtid::Uuid,
};
use rdkafka::{
    admin::{AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    error::RDKafkaErrorCode,
};

use super::{
    cluster::{ANSWER, Cluster, Verdict, code_of, pauses, verdict},
    topic_id::topic_id,
};
use crate::{
    error::LogError,
    log::{MAX_RECORD_BYTES, Retention},
};

/// A batch with one record is so much larger than the record, at most (KIP-98: 61 bytes, and the record's own lengths).
pub(super) const BATCH_OVERHEAD: usize = 4 * 1024;
/// Below this, chunks would be so small that the envelope outweighs them.
const SMALLEST_MESSAGE: usize = 64 * 1024;
/// So many answers without settings, a quarter of a second apart, are believed.
const EMPTY_ANSWERS: u32 = 8;
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Log,
    Schemas,
}

/// A topic as it is.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub id: Uuid,
    pub partitions: usize,
    pub replicas: usize,
    pub in_sync: usize,
    /// `None`: DescribeConfigs is not allowed.
    pub settings: Option<HashMap<String, String>>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Copies of each record; `None`: three, or as many as there are brokers.
    pub replicas: Option<u16>,
    pub retention: Retention,
}

impl Topic {
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.as_ref()?.get(name).map(String::as_str)
    }

    /// The largest batch that the topic takes.
    pub(super) fn largest_batch(&self) -> usize {
        self.setting("max.message.bytes")
            .and_then(|bytes| bytes.parse().ok())
            // Kafka's default.
            .unwrap_or(1_048_588)
    }
}

/// Asks for one topic; `None` when it isn't there.
pub(super) async fn describe(
    cluster: &Arc<Cluster>,
    name: &str,
) -> Result<Option<Topic>, LogError> {
    let topic = name.to_owned();
    let shape = cluster
        .ask("asking for the topic", move |cluster| {
            let id = match topic_id(cluster.client(), &topic, ANSWER) {
                Err(code) if verdict(code) == Verdict::Missing => return Ok(None),
                other => other?,
            };
            let metadata = cluster
                .client()
                .fetch_metadata(Some(&topic), ANSWER)
                .map_err(|error| code_of(&error))?;
            let Some(found) = metadata.topics().first() else {
                return Ok(None);
            };
            if let Some(error) = found.error() {
                let code = RDKafkaErrorCode::from(error);
                return match verdict(code) {
                    Verdict::Missing => Ok(None),
                    _ => Err(code),
                };
            }
            let first = found.partitions().first();
            Ok(Some((
                id,
                found.partitions().len(),
                first.map_or(0, |partition| partition.replicas().len()),
                first.map_or(0, |partition| partition.isr().len()),
            )))
        })
        .await?;
    let Some((id, partitions, replicas, in_sync)) = shape else {
        return Ok(None);
    };
    let id = id.ok_or_else(|| LogError::Kafka {
        log: cluster.name(),
        doing: "asking for the topic's id",
        reason: "the brokers give none: Kafka 2.8 or newer is needed".to_owned(),
    })?;
    Ok(Some(Topic {
        id,
        partitions,
        replicas,
        in_sync,
        settings: settings(cluster, name).await?,
    }))
}

/// `None` when we may not ask.
async fn settings(
    cluster: &Arc<Cluster>,
    topic: &str,
) -> Result<Option<HashMap<String, String>>, LogError> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER));
    let admin = cluster.admin()?;
    let mut attempts = 0;
    loop {
        let answer = admin
            .describe_configs(&[ResourceSpecifier::Topic(topic)], &options)
            .await;
        let code = match answer {
            Ok(mut resources) => match resources.pop() {
                Some(Ok(resource)) if !resource.entries.is_empty() => {
                    let entries = resource.entries.into_iter();
                    return Ok(Some(
                        entries
                            .filter_map(|entry| Some((entry.name, entry.value?)))
                            .collect(),
                    ));
                }
                Some(Err(code)) => code,
                // The binding shows a topic's own error as a topic without settings: we may not ask, or the broker that was asked has
                // not heard of the topic yet.
                Some(Ok(_)) | None if attempts < EMPTY_ANSWERS => {
                    RDKafkaErrorCode::UnknownTopicOrPartition
                }
                Some(Ok(_)) | None => return Ok(None),
            },
            Err(error) => code_of(&error),
        };
        match verdict(code) {
            Verdict::Refused => return Ok(None),
            // The topic was there a moment ago.
            Verdict::Passing | Verdict::Missing if attempts < 20 => attempts += 1,
            _ => return Err(cluster.error("asking for the topic's settings", code)),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Makes a topic; that somebody else has made it meanwhile is no error.
pub(super) async fn create(
    cluster: &Arc<Cluster>,
    name: &str,
    role: Role,
    wanted: Wanted,
) -> Result<(), LogError> {
    let brokers = cluster
        .ask("asking for the brokers", |cluster| {
            let metadata = cluster.client().fetch_metadata(None, ANSWER);
            Ok(metadata.map_err(|error| code_of(&error))?.brokers().len())
        })
        .await?;
    let replicas = wanted.replicas.map_or(brokers.clamp(1, 3), usize::from);
    // With three copies one broker may be away, and an acknowledged record is on two.
    let in_sync = replicas.saturating_sub(1).max(1).to_string();
    let retention = retention(wanted.retention);
    let largest = (MAX_RECORD_BYTES + BATCH_OVERHEAD).to_string();
    let mut topic = NewTopic::new(
        name,
        1,
        TopicReplication::Fixed(i32::try_from(replicas).unwrap_or(i32::MAX)),
    )
    .set("min.insync.replicas", &in_sync)
    .set("unclean.leader.election.enable", "false")
    .set("max.message.bytes", &largest);
    topic = match role {
        Role::Log => topic
            .set("cleanup.policy", "delete")
            .set("message.timestamp.type", "LogAppendTime")
            .set("retention.ms", &retention.0)
            .set("retention.bytes", &retention.1),
        Role::Schemas => topic.set("cleanup.policy", "compact"),
    };
    let options = AdminOptions::new()
        .request_timeout(Some(CREATE_TIMEOUT))
        .operation_timeout(Some(CREATE_TIMEOUT));
    let admin = cluster.admin()?;
    let (begun, mut pauses) = (Instant::now(), pauses());
    let code = loop {
        let answer = admin.create_topics([&topic], &options).await;
        let code = match answer.map(|mut results| results.pop()) {
            Ok(Some(Ok(_))) => {
                tracing::info!(topic = name, replicas, "made the topic");
                return Ok(());
            }
            Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => return Ok(()),
            Ok(Some(Err((_, code)))) => code,
            Ok(None) => RDKafkaErrorCode::Fail,
            Err(error) => code_of(&error),
        };
        let pause = pauses.next().unwrap_or_default();
        if verdict(code) != Verdict::Passing || begun.elapsed() + pause >= cluster.patience {
            break code;
        }
        tokio::time::sleep(pause).await;
    };
    let doing = "making a topic";
    Err(match code {
        RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig => LogError::Unfit {
            log: cluster.name(),
            findings: vec![Finding {
                severity: Severity::Blocking,
                subject: format!("making the topic {name}"),
                found: code.to_string(),
                reason: "the cluster does not allow one of the settings that we give".to_owned(),
                remedy: Some("make the topic yourself, as docs/kafka describes it".to_owned()),
            }],
        },
        RDKafkaErrorCode::InvalidReplicationFactor => LogError::Unfit {
            log: cluster.name(),
            findings: vec![Finding {
                severity: Severity::Blocking,
                subject: format!("{name} replication factor"),
                found: replicas.to_string(),
                reason: format!("the cluster has {brokers} brokers"),
                remedy: Some("give a smaller number with --kafka-replicas".to_owned()),
            }],
        },
        code => cluster.error(doing, code),
    })
}

/// `retention.ms` and `retention.bytes`; -1 keeps all.
fn retention(wanted: Retention) -> (String, String) {
    let text = |value: Option<u128>| value.map_or_else(|| "-1".to_owned(), |v| v.to_string());
    (
        text(wanted.age.map(|age| age.as_millis())),
        text(wanted.bytes.map(u128::from)),
    )
}

/// Everything that is worth telling of a topic. Blocking is what could lose data, or make the log unreadable.
pub(super) fn judge(name: &str, role: Role, topic: &Topic, wanted: Wanted) -> Vec<Finding> {
    let mut judge = Judge {
        name,
        findings: Vec::new(),
    };
    judge.shape(topic, wanted);
    if topic.settings.is_none() {
        judge.find(
            Severity::Warning,
            "settings",
            "not shown to us",
            "whether retention, compaction or an election could lose records cannot be seen, and max.message.bytes is taken to be Kafka's default",
            format!("allow DescribeConfigs on the topic {name}"),
        );
        return judge.findings;
    }
    judge.durability(topic);
    match role {
        Role::Log => judge.retention(topic, wanted.retention),
        Role::Schemas => judge.compaction(topic),
    }
    judge.findings
}

struct Judge<'a> {
    name: &'a str,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(
        &mut self,
        severity: Severity,
        subject: &str,
        found: impl Into<String>,
        reason: &str,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            subject: format!("{} {subject}", self.name),
            found: found.into(),
            reason: reason.to_owned(),
            remedy: Some(remedy.into()),
        });
    }

    fn alter(&self, setting: &str, value: &str) -> String {
        format!(
            "kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config {setting}={value}",
            self.name
        )
    }

    fn shape(&mut self, topic: &Topic, wanted: Wanted) {
        if topic.partitions != 1 {
            self.find(
                Severity::Blocking,
                "partitions",
                topic.partitions.to_string(),
                "a log is one order, so it is one partition",
                "give another name in --log: partitions cannot be taken away",
            );
        }
        if topic.replicas == 1 {
            self.find(
                Severity::Warning,
                "replication factor",
                "1",
                "when that broker's disk is lost, so is the log",
                "fine to try things out; otherwise make the log with --kafka-replicas 3",
            );
        } else if let Some(asked) = wanted.replicas
            && topic.replicas < usize::from(asked)
        {
            self.find(
                Severity::Warning,
                "replication factor",
                topic.replicas.to_string(),
                &format!("{asked} were asked for"),
                "add replicas with kafka-reassign-partitions.sh",
            );
        }
        if topic.in_sync < topic.replicas {
            self.find(
                Severity::Warning,
                "in-sync replicas",
                format!("{} of {}", topic.in_sync, topic.replicas),
                "a broker is away or behind",
                "look at the brokers",
            );
        }
    }

    fn durability(&mut self, topic: &Topic) {
        if topic.setting("unclean.leader.election.enable") == Some("true") {
            self.find(
                Severity::Blocking,
                "unclean.leader.election.enable",
                "true",
                "a replica that lacks acknowledged records may become the leader, and they are lost",
                self.alter("unclean.leader.election.enable", "false"),
            );
        }
        let in_sync = topic
            .setting("min.insync.replicas")
            .and_then(|n| n.parse::<usize>().ok());
        match in_sync {
            Some(1) if topic.replicas > 1 => self.find(
                Severity::Warning,
                "min.insync.replicas",
                "1",
                "a record may be acknowledged while only one broker has it",
                self.alter("min.insync.replicas", "2"),
            ),
            Some(least) if least > topic.replicas => self.find(
                Severity::Blocking,
                "min.insync.replicas",
                least.to_string(),
                "there are fewer replicas than that, so nothing can ever be written",
                self.alter(
                    "min.insync.replicas",
                    &topic.replicas.saturating_sub(1).max(1).to_string(),
                ),
            ),
            _ => {}
        }
        let largest = topic.largest_batch();
        if largest < SMALLEST_MESSAGE {
            self.find(
                Severity::Blocking,
                "max.message.bytes",
                largest.to_string(),
                &format!("records would have to be smaller than {SMALLEST_MESSAGE} bytes"),
                self.alter("max.message.bytes", "1048588"),
            );
        } else if largest < 1_048_588 {
            self.find(
                Severity::Warning,
                "max.message.bytes",
                largest.to_string(),
                "chunks are made smaller to fit, and a checkpoint with a large GTID set may not fit at all",
                self.alter("max.message.bytes", "1048588"),
            );
        }
    }

    fn retention(&mut self, topic: &Topic, asked: Retention) {
        let policy = topic.setting("cleanup.policy").unwrap_or("delete");
        if policy.split(',').any(|part| part.trim() == "compact") {
            self.find(
                Severity::Blocking,
                "cleanup.policy",
                policy,
                "compaction removes records out of the middle",
                self.alter("cleanup.policy", "delete"),
            );
        }
        let number = |name: &str| {
            topic
                .setting(name)
                .and_then(|value| value.parse::<i128>().ok())
                .filter(|&value| value >= 0)
                .map(|value| value as u128)
        };
        let limits = [
            (
                "retention.ms",
                number("retention.ms"),
                asked.age.map(|age| age.as_millis()),
                "--keep-age",
            ),
            (
                "retention.bytes",
                number("retention.bytes"),
                asked.bytes.map(u128::from),
                "--keep-bytes",
            ),
        ];
        for (name, has, wanted, option) in limits {
            let Some(has) = has else { continue };
            match wanted {
                Some(wanted) if has < wanted => self.find(
                    Severity::Blocking,
                    name,
                    has.to_string(),
                    &format!("{option} asks for {wanted}: records would expire too early"),
                    self.alter(name, &wanted.to_string()),
                ),
                Some(_) => {}
                None => self.find(
                    Severity::Info,
                    name,
                    has.to_string(),
                    "what is older or beyond that expires, whether or not it was read",
                    format!("to keep all: {}", self.alter(name, "-1")),
                ),
            }
        }
    }

    fn compaction(&mut self, topic: &Topic) {
        let policy = topic.setting("cleanup.policy").unwrap_or("delete");
        let parts: Vec<_> = policy.split(',').map(str::trim).collect();
        let keeps_all = |name: &str| {
            topic
                .setting(name)
                .is_some_and(|value| value.starts_with('-'))
        };
        let expires = parts.contains(&"delete")
            && !(keeps_all("retention.ms") && keeps_all("retention.bytes"));
        if expires {
            self.find(
                Severity::Blocking,
                "cleanup.policy",
                policy,
                "a schema that expires makes the records that refer to it unreadable",
                self.alter("cleanup.policy", "compact"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
