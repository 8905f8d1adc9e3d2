//! The broker of the Kafka parts, and what both sides' runs on it have in common.

pub mod bytes;
pub mod latency;
pub mod sink;
pub mod throughput;

mod beats;
mod catch_up;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use binferry_servers::Kafka;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use tempfile::TempDir;

const TIMEOUT: Duration = Duration::from_secs(20);

/// One broker with a JVM as in production. The fields' order is that of dropping: it ends before its data goes.
pub struct Broker {
    kafka: Kafka,
    asker: BaseConsumer,
    data: TempDir,
}

impl Broker {
    pub fn start() -> Result<Self> {
        let data = TempDir::new()?;
        let kafka = Kafka::builder().benchmark().data_on(data.path()).start()?;
        let asker = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .create()?;
        Ok(Self { kafka, asker, data })
    }

    pub fn bootstrap(&self) -> String {
        self.kafka.bootstrap()
    }

    /// As `--log` takes it.
    pub fn log(&self, name: &str) -> String {
        format!("kafka://{}/{name}", self.bootstrap())
    }

    pub fn pid(&self) -> Result<u32> {
        self.kafka.pid(0).context("the broker is not ours")
    }

    pub fn peak_memory(&self) -> u64 {
        self.kafka.peak_memory(0).unwrap_or(0)
    }

    /// Which of these topics are there.
    pub fn existing<'a>(&self, topics: &'a [String]) -> Result<Vec<&'a String>> {
        let metadata = self.asker.fetch_metadata(None, TIMEOUT)?;
        let is_there = |name: &str| metadata.topics().iter().any(|t| t.name() == name);
        Ok(topics.iter().filter(|name| is_there(name)).collect())
    }

    /// Records in a topic that nothing was removed from.
    pub fn end(&self, topic: &str) -> Result<i64> {
        Ok(self.asker.fetch_watermarks(topic, 0, TIMEOUT)?.1)
    }

    /// Bytes of a topic's segments on the broker's disk: record batches as they were sent, compressed.
    pub fn bytes(&self, topic: &str) -> Result<u64> {
        let mut sum = 0;
        let partition = format!("{topic}-0");
        for cluster in folders(self.data.path())? {
            for node in folders(&cluster)? {
                let Ok(files) = std::fs::read_dir(node.join(&partition)) else {
                    continue;
                };
                for file in files {
                    let file = file?;
                    if file.path().extension().is_some_and(|e| e == "log") {
                        sum += file.metadata()?.len();
                    }
                }
            }
        }
        Ok(sum)
    }

    pub fn delete(&self, topic: &str) -> Result<()> {
        Ok(self.kafka.delete_topic(topic)?)
    }
}

fn folders(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}
