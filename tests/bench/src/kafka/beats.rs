//! Transactions at a fixed rate on the source, and a stock consumer that sees them arrive in a topic.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use binferry_servers::MySql;
use mysql_async::{Conn, prelude::Queryable};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};

/// The table whose rows are counted; each transaction inserts one.
pub const TABLE: &str = "CREATE TABLE sbtest.beat (id INT PRIMARY KEY, at BIGINT NOT NULL)";

/// What the writer knows of a transaction.
#[derive(Debug, Clone, Copy)]
struct Commit {
    sent: Instant,
    answered: Instant,
}

/// Delays of the transactions, in milliseconds, sorted.
#[derive(Debug)]
pub struct Delays {
    /// From when the client has the server's answer; a reader can be sooner than that, which counts as none.
    pub from_answer: Vec<f64>,
    /// From when the client sends the statement that commits: what the source itself takes is in it.
    pub from_statement: Vec<f64>,
}

#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Transactions a second.
    pub rate: u32,
    pub seconds: u32,
    /// At the start, left out of the figures.
    pub warm_up: u32,
    /// The first row's id: each load of a run has ids of its own.
    pub first: u32,
}

/// Finds the ids of the rows that a record inserts.
pub trait Decode {
    fn ids(&mut self, record: &[u8], found: &mut Vec<i64>) -> Result<()>;
}

/// A consumer at the end of a topic.
pub struct Follower<D> {
    consumer: BaseConsumer,
    decode: D,
    ids: Vec<i64>,
}

impl<D: Decode> Follower<D> {
    /// Waits until rows that it writes arrive.
    pub fn start(
        bootstrap: &str,
        topic: &str,
        decode: D,
        source: &MySql,
        mut alive: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut follower = Self {
            consumer: consumer(bootstrap)?,
            decode,
            ids: Vec::new(),
        };
        let start = Instant::now();
        let lowest = source.value("SELECT COALESCE(MIN(id), 0) FROM sbtest.beat")?;
        let mut id = lowest.parse::<i64>()?.min(0);
        let mut assigned = false;
        loop {
            id -= 1;
            source.sql(&format!("INSERT INTO sbtest.beat VALUES ({id}, 0)"))?;
            assigned = assigned || follower.assign(topic)?;
            if assigned && follower.poll(Duration::from_secs(1))?.is_some() {
                return Ok(follower);
            }
            alive()?;
            ensure!(
                start.elapsed() < Duration::from_secs(120),
                "nothing arrives in {topic}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// False while the topic is not there.
    fn assign(&self, topic: &str) -> Result<bool> {
        let metadata = self.consumer.fetch_metadata(None, super::TIMEOUT)?;
        if !metadata.topics().iter().any(|t| t.name() == topic) {
            return Ok(false);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning)?;
        self.consumer.assign(&list)?;
        Ok(true)
    }

    /// When the next record was there, its rows' ids in `self.ids`.
    fn poll(&mut self, limit: Duration) -> Result<Option<Instant>> {
        self.ids.clear();
        let Some(message) = self.consumer.poll(limit) else {
            return Ok(None);
        };
        let now = Instant::now();
        self.decode.ids(
            message?.payload().context("a record without a value")?,
            &mut self.ids,
        )?;
        Ok(Some(now))
    }

    pub fn measure(&mut self, source: &MySql, load: Load) -> Result<Delays> {
        let opts = source.opts();
        let writer = std::thread::spawn(move || write(opts, load));
        let total = (load.rate * load.seconds) as usize;
        let mut seen: HashMap<i64, Instant> = HashMap::with_capacity(total);
        let deadline = Instant::now() + Duration::from_secs(u64::from(load.seconds) + 60);
        let ours = i64::from(load.first)..i64::from(load.first) + total as i64;
        while seen.len() < total {
            if let Some(now) = self.poll(Duration::from_millis(100))? {
                for id in self.ids.iter().filter(|id| ours.contains(id)) {
                    seen.entry(*id).or_insert(now);
                }
            }
            ensure!(Instant::now() < deadline, "the topic does not follow");
        }
        let Ok(commits) = writer.join() else {
            bail!("the writer has panicked");
        };
        let mut delays = Delays {
            from_answer: Vec::with_capacity(total),
            from_statement: Vec::with_capacity(total),
        };
        let skip = (load.rate * load.warm_up) as usize;
        for (commit, id) in commits?.into_iter().zip(ours).skip(skip) {
            let at = seen.get(&id).context("a row that never came")?;
            let since = |from| at.saturating_duration_since(from).as_secs_f64() * 1e3;
            delays.from_answer.push(since(commit.answered));
            delays.from_statement.push(since(commit.sent));
        }
        delays.from_answer.sort_by(f64::total_cmp);
        delays.from_statement.sort_by(f64::total_cmp);
        Ok(delays)
    }
}

/// As anybody has it who wants records as soon as they are there.
pub fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.queue.backoff.ms", "1")
        .create()?)
}

fn write(opts: mysql_async::Opts, load: Load) -> Result<Vec<Commit>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connection = Conn::new(opts).await?;
        let mut commits = Vec::with_capacity((load.rate * load.seconds) as usize);
        let start = Instant::now();
        for n in 0..load.rate * load.seconds {
            let due = start + Duration::from_secs(1) * n / load.rate;
            tokio::time::sleep_until(due.into()).await;
            let statement = format!("INSERT INTO sbtest.beat VALUES ({}, 0)", load.first + n);
            let sent = Instant::now();
            connection.query_drop(statement).await?;
            commits.push(Commit {
                sent,
                answered: Instant::now(),
            });
        }
        Ok(commits)
    })
}
