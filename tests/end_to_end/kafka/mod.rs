//! The same with the log in Kafka, and what only Kafka does.

mod brokers;
mod captures;
mod follow;
mod mirror;
mod refusals;
mod topic;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};

/// A message as a stock client sees it.
pub struct Seen {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
}

/// All messages of partition 0, by a stock client.
pub fn messages(bootstrap: &str, topic: &str) -> Result<Vec<Seen>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "stranger")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&place)?;
    let until = Instant::now() + Duration::from_secs(60);
    let mut all = Vec::new();
    loop {
        ensure!(Instant::now() < until, "the end of {topic} does not come");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => all.push(Seen {
                key: message.key().map(<[u8]>::to_vec),
                value: message
                    .payload()
                    .context("a message without a value")?
                    .to_vec(),
            }),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return Ok(all),
            _ => {}
        }
    }
}

/// Writes messages to partition 0 in order, by a stock client.
pub fn write(bootstrap: &str, topic: &str, messages: &[Seen]) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "20000000")
        .set("queue.buffering.max.messages", "1000000")
        .create()?;
    for message in messages {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(0)
            .payload(&message.value);
        record.key = message.key.as_deref();
        producer
            .send(record)
            .map_err(|(error, _)| anyhow::anyhow!("{error}"))?;
    }
    Ok(producer.flush(Duration::from_secs(60))?)
}
