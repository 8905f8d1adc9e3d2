//! What tests do to topics, through librdkafka's administration.

use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::error::{Error, Result};
use crate::query::apart;

/// An operation of a test that takes longer hangs.
const OPERATION: Duration = Duration::from_secs(60);

/// One request, of which an operation may need several: a broker that died may be asked first.
const REQUEST: Duration = Duration::from_secs(15);

/// Operations on a cluster, each through a connection of its own.
pub(super) struct Admin<'a> {
    bootstrap: &'a str,
}

impl<'a> Admin<'a> {
    pub(super) fn new(bootstrap: &'a str) -> Self {
        Admin { bootstrap }
    }

    fn failed(&self, what: &'static str, reason: impl ToString) -> Error {
        Error::Kafka {
            what,
            address: self.bootstrap.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn client<C: FromClientConfig>(&self) -> Result<C> {
        ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap)
            // A node that is started again is met at once.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "500")
            .create()
            .map_err(|e| self.failed("make a client", e))
    }

    fn client_for_changes(&self) -> Result<(AdminClient<DefaultClientContext>, AdminOptions)> {
        let options = AdminOptions::new()
            .request_timeout(Some(OPERATION))
            .operation_timeout(Some(OPERATION));
        Ok((self.client()?, options))
    }

    pub(super) fn create(
        &self,
        name: &str,
        partitions: usize,
        replication: usize,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let what = "create a topic";
        let number = |n: usize| i32::try_from(n).map_err(|e| self.failed(what, e));
        let replication = TopicReplication::Fixed(number(replication)?);
        let mut topic = NewTopic::new(name, number(partitions)?, replication);
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let (client, options) = self.client_for_changes()?;
        let results =
            apart(client.create_topics([&topic], &options))?.map_err(|e| self.failed(what, e))?;
        for result in results {
            result.map_err(|(topic, code)| self.failed(what, format!("{topic}: {code}")))?;
        }
        self.until(what, name, |topic| {
            let partitions = topic?.partitions();
            let led = partitions.iter().all(|p| p.leader() >= 0);
            (led && !partitions.is_empty()).then_some(())
        })
    }

    pub(super) fn delete(&self, name: &str) -> Result<()> {
        let what = "delete a topic";
        let (client, options) = self.client_for_changes()?;
        let results =
            apart(client.delete_topics(&[name], &options))?.map_err(|e| self.failed(what, e))?;
        for result in results {
            result.map_err(|(topic, code)| self.failed(what, format!("{topic}: {code}")))?;
        }
        self.until(what, name, |topic| topic.is_none().then_some(()))
    }

    /// Kafka's request replaces all of a topic's settings: those that it has are sent too.
    pub(super) fn alter(&self, name: &str, settings: &[(&str, &str)]) -> Result<()> {
        let what = "alter a topic";
        let old = self.settings(name)?;
        let mut altered = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (key, value) in &old {
            if settings.iter().all(|(new, _)| new != key) {
                altered = altered.set(key, value);
            }
        }
        for (key, value) in settings {
            altered = altered.set(key, value);
        }
        let (client, options) = self.client_for_changes()?;
        let results =
            apart(client.alter_configs([&altered], &options))?.map_err(|e| self.failed(what, e))?;
        for result in results {
            result.map_err(|(_, code)| self.failed(what, format!("{name}: {code}")))?;
        }
        Ok(())
    }

    pub(super) fn settings(&self, name: &str) -> Result<Vec<(String, String)>> {
        let what = "read a topic's settings";
        let (client, options) = self.client_for_changes()?;
        let topic = ResourceSpecifier::Topic(name);
        let results = apart(client.describe_configs([&topic], &options))?
            .map_err(|e| self.failed(what, e))?;
        let mut settings = Vec::new();
        for result in results {
            let resource = result.map_err(|code| self.failed(what, format!("{name}: {code}")))?;
            let own = resource.entries.into_iter();
            let own = own.filter(|entry| entry.source == ConfigSource::DynamicTopic);
            settings.extend(own.filter_map(|entry| Some((entry.name, entry.value?))));
        }
        settings.sort();
        Ok(settings)
    }

    pub(super) fn delete_records(&self, topic: &str, before: i64) -> Result<()> {
        let what = "delete records";
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(before))
            .map_err(|e| self.failed(what, e))?;
        let (client, options) = self.client_for_changes()?;
        let deleted =
            apart(client.delete_records(&list, &options))?.map_err(|e| self.failed(what, e))?;
        for partition in deleted.elements() {
            partition.error().map_err(|e| self.failed(what, e))?;
        }
        Ok(())
    }

    pub(super) fn brokers(&self) -> Result<usize> {
        let metadata = metadata(&self.client()?);
        let metadata = metadata.map_err(|e| self.failed("count brokers", e))?;
        Ok(metadata.brokers().len())
    }

    pub(super) fn topics(&self) -> Result<Vec<String>> {
        let metadata = metadata(&self.client()?);
        let metadata = metadata.map_err(|e| self.failed("list topics", e))?;
        let names = metadata
            .topics()
            .iter()
            .map(|topic| topic.name().to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn offsets(&self, topic: &str) -> Result<(i64, i64)> {
        let client: BaseConsumer = self.client()?;
        client
            .fetch_watermarks(topic, 0, OPERATION)
            .map_err(|e| self.failed("read a topic's offsets", e))
    }

    pub(super) fn leader(&self, topic: &str) -> Result<usize> {
        self.until("find a topic's leader", topic, |topic| {
            usize::try_from(topic?.partitions().first()?.leader()).ok()
        })
    }

    pub(super) fn in_sync(&self, topic: &str) -> Result<Vec<usize>> {
        self.until("find a topic's replicas", topic, |topic| {
            let nodes = topic?.partitions().first()?.isr().iter();
            let mut nodes: Vec<usize> = nodes.filter_map(|&id| usize::try_from(id).ok()).collect();
            nodes.sort_unstable();
            Some(nodes)
        })
    }

    /// Asks for a topic's metadata until the answer is the one that is waited for. All topics are asked for, as to ask for
    /// one may create it.
    fn until<T>(
        &self,
        what: &'static str,
        name: &str,
        ready: impl Fn(Option<&MetadataTopic>) -> Option<T>,
    ) -> Result<T> {
        let client = self.client()?;
        let deadline = Instant::now() + OPERATION;
        loop {
            let metadata = metadata(&client);
            let reason = match &metadata {
                Ok(metadata) => {
                    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
                    if let Some(value) = ready(topic) {
                        return Ok(value);
                    }
                    format!("{name}: not within {} s", OPERATION.as_secs())
                }
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                return Err(self.failed(what, reason));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn metadata(client: &BaseConsumer) -> rdkafka::error::KafkaResult<Metadata> {
    client.fetch_metadata(None, REQUEST)
}
