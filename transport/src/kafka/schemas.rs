//! The row schemas: the compacted topic `NAME.schemas`, keyed by the fingerprint's 16 hexadecimal digits. Requests to the capture lie there
//! as well, under `request-UUID`, until a record without a value takes them away.
//!
//! The same schema may be written several times, by captures that start at once; it is the same text. What isn't a schema under its own
//! fingerprint is not ours, and is left alone.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use binferry_schemas::{
    fingerprint::{Fingerprint, rabin},
    gtid::Uuid,
};
use rdkafka::{
    Message, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, PurgeConfig},
};

use super::{
    cluster::{ANSWER, Cluster, Context, Deliveries, REPORTS, Trouble, Verdict, code_of, verdict},
    properties,
};
use crate::error::LogError;

const READING: &str = "reading the schemas";
const WRITING: &str = "writing a schema";
const ASKING: &str = "writing a request";
const REQUEST: &str = "request-";

#[derive(Debug)]
pub(super) struct Schemas {
    cluster: Arc<Cluster>,
    topic: String,
    largest_batch: usize,
    known: tokio::sync::Mutex<Known>,
}

#[derive(Default)]
struct Known {
    texts: HashMap<Fingerprint, String>,
    requests: BTreeMap<Uuid, String>,
    /// Read up to here.
    next: i64,
    /// Made for the first schema that is written.
    producer: Option<Arc<SchemaProducer>>,
}

type SchemaProducer = BaseProducer<Context<Outcome>>;

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("texts", &self.texts.len())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Schemas {
    pub(super) fn new(cluster: Arc<Cluster>, topic: String, largest_batch: usize) -> Self {
        Self {
            cluster,
            topic,
            largest_batch,
            known: tokio::sync::Mutex::default(),
        }
    }

    pub(super) async fn get(&self, wanted: Fingerprint) -> Result<Option<String>, LogError> {
        let mut known = self.known.lock().await;
        if let Some(text) = known.texts.get(&wanted) {
            return Ok(Some(text.clone()));
        }
        self.read(&mut known).await?;
        Ok(known.texts.get(&wanted).cloned())
    }

    pub(super) async fn put(&self, fingerprint: Fingerprint, text: &str) -> Result<(), LogError> {
        if let Some(stored) = self.get(fingerprint).await? {
            return if stored == text {
                Ok(())
            } else {
                Err(LogError::SchemaClash { fingerprint })
            };
        }
        let mut known = self.known.lock().await;
        let producer = match &known.producer {
            Some(producer) => producer.clone(),
            None => known.producer.insert(self.producer()?).clone(),
        };
        let (topic, content) = (self.topic.clone(), text.to_owned());
        let offset = self
            .cluster
            .ask(WRITING, move |_| {
                let key = fingerprint.to_string();
                produce(&producer, &topic, &key, Some(&content))
            })
            .await?;
        known.texts.insert(fingerprint, text.to_owned());
        if offset == known.next {
            known.next += 1;
        }
        Ok(())
    }

    /// Puts a request there, or takes it away.
    pub(super) async fn ask_for(&self, id: Uuid, text: Option<&str>) -> Result<(), LogError> {
        let mut known = self.known.lock().await;
        let producer = match &known.producer {
            Some(producer) => producer.clone(),
            None => known.producer.insert(self.producer()?).clone(),
        };
        let (topic, content) = (self.topic.clone(), text.map(str::to_owned));
        self.cluster
            .ask(ASKING, move |_| {
                produce(
                    &producer,
                    &topic,
                    &format!("{REQUEST}{id}"),
                    content.as_deref(),
                )
            })
            .await?;
        Ok(())
    }

    pub(super) async fn requests(&self) -> Result<Vec<(Uuid, String)>, LogError> {
        let mut known = self.known.lock().await;
        self.read(&mut known).await?;
        let requests = known.requests.iter();
        Ok(requests.map(|(id, text)| (*id, text.clone())).collect())
    }

    /// Takes what the producer has to report while nothing is written: it would pile up.
    pub(super) fn listen(&self) {
        if let Ok(known) = self.known.try_lock()
            && let Some(producer) = &known.producer
        {
            for _ in 0..REPORTS {
                producer.poll(Duration::ZERO);
            }
        }
    }

    fn producer(&self) -> Result<Arc<SchemaProducer>, LogError> {
        let context = Context {
            trouble: Arc::new(Trouble::default()),
            deliveries: Arc::new(Outcome::default()),
        };
        let cluster = &self.cluster;
        let mut config = cluster
            .properties
            .producer(&cluster.address, self.largest_batch);
        // The same schema twice does no harm, and an idempotent producer takes half a second to begin.
        config.set("enable.idempotence", "false");
        // By the time that it is asked again, the record has failed.
        config.set("message.timeout.ms", (ANSWER * 2).as_millis().to_string());
        let producer = BaseProducer::from_config_and_context(&config, context);
        Ok(Arc::new(producer.map_err(properties::from_client)?))
    }

    /// Reads what has come since the last time.
    async fn read(&self, known: &mut Known) -> Result<(), LogError> {
        let (topic, next) = (self.topic.clone(), known.next);
        let (found, end) = self
            .cluster
            .ask(READING, move |cluster| consume(cluster, &topic, next))
            .await?;
        known.texts.extend(found.texts);
        for (id, text) in found.requests {
            match text {
                Some(text) => known.requests.insert(id, text),
                None => known.requests.remove(&id),
            };
        }
        known.next = end;
        Ok(())
    }
}

#[derive(Default)]
struct Texts {
    texts: HashMap<Fingerprint, String>,
    /// In the topic's order; `None`: taken away.
    requests: Vec<(Uuid, Option<String>)>,
}

/// Everything from `next` to the topic's end as it is now.
fn consume(cluster: &Cluster, topic: &str, next: i64) -> Result<(Texts, i64), RDKafkaErrorCode> {
    let (low, high) = cluster.bounds(topic)?;
    let mut texts = Texts::default();
    // A topic that was made anew ends before what was read.
    let from = if next > high { low } else { next.max(low) };
    let mut next = from;
    if from >= high {
        return Ok((texts, high));
    }
    let code = |error: KafkaError| code_of(&error);
    let consumer: BaseConsumer<Context> = BaseConsumer::from_config_and_context(
        &cluster
            .properties
            .consumer(&cluster.address, cluster.round_trip()),
        Context::new(Arc::new(Trouble::default())),
    )
    .map_err(code)?;
    let mut place = TopicPartitionList::new();
    place
        .add_partition_offset(topic, 0, KafkaOffset::Offset(from))
        .map_err(code)?;
    consumer.assign(&place).map_err(code)?;
    let begun = Instant::now();
    while begun.elapsed() < ANSWER * 4 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                if let Some((fingerprint, text)) = schema_of(&message) {
                    texts.texts.insert(fingerprint, text);
                }
                texts.requests.extend(request_of(&message));
                next = message.offset() + 1;
                if next >= high {
                    return Ok((texts, next));
                }
            }
            // Compaction may have taken the last records; what a new leader does not show yet is read the next time.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok((texts, next)),
            Some(Err(error)) => {
                let code = code_of(&error);
                let harmless = verdict(code) == Verdict::Passing
                    || code == RDKafkaErrorCode::GroupAuthorizationFailed;
                if !harmless {
                    return Err(code);
                }
            }
            None => {}
        }
    }
    Err(RDKafkaErrorCode::OperationTimedOut)
}

fn schema_of(message: &impl Message) -> Option<(Fingerprint, String)> {
    let key = std::str::from_utf8(message.key()?).ok()?;
    let fingerprint = Fingerprint(u64::from_str_radix(key, 16).ok()?);
    let text = String::from_utf8(message.payload()?.to_vec()).ok()?;
    (rabin(text.as_bytes()) == fingerprint).then_some((fingerprint, text))
}

fn request_of(message: &impl Message) -> Option<(Uuid, Option<String>)> {
    let key = std::str::from_utf8(message.key()?).ok()?;
    let id = key.strip_prefix(REQUEST)?.parse().ok()?;
    let text = match message.payload() {
        None => None,
        Some(payload) => Some(String::from_utf8(payload.to_vec()).ok()?),
    };
    Some((id, text))
}

/// Where the record that is under way has come to.
#[derive(Default)]
struct Outcome(Mutex<Option<Result<i64, RDKafkaErrorCode>>>);

impl Outcome {
    fn lock(&self) -> MutexGuard<'_, Option<Result<i64, RDKafkaErrorCode>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deliveries for Outcome {
    fn delivered(&self, result: &DeliveryResult<'_>, _: usize) {
        *self.lock() = Some(match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(code_of(error)),
        });
    }

    fn failed(&self) {}
}

/// Durable on return; answers with the offset. One at a time.
fn produce(
    producer: &SchemaProducer,
    topic: &str,
    key: &str,
    text: Option<&str>,
) -> Result<i64, RDKafkaErrorCode> {
    let outcome = producer.context().deliveries.clone();
    *outcome.lock() = None;
    let mut record = BaseRecord::with_opaque_to(topic, 0).partition(0).key(key);
    record.payload = text;
    producer
        .send(record)
        .map_err(|(error, _)| code_of(&error))?;
    let begun = Instant::now();
    while begun.elapsed() < ANSWER * 3 {
        // It does not return before its time, and does not sleep in the last millisecond.
        producer.poll(Duration::from_millis(5));
        match *outcome.lock() {
            // It may be there all the same; once more does no harm.
            Some(Err(RDKafkaErrorCode::MessageTimedOut)) => {
                return Err(RDKafkaErrorCode::RequestTimedOut);
            }
            Some(done) => return done,
            None => {}
        }
    }
    producer.purge(PurgeConfig::default().queue().inflight());
    producer.poll(Duration::from_millis(5));
    Err(RDKafkaErrorCode::OperationTimedOut)
}
