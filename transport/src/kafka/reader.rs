//! Reading: a thread with a consumer, which hands out portions.
//!
//! - Read from an offset that the caller knows; there is no group and no committed offset.
//! - While brokers are away it waits, for as long as the log's patience lasts.
//! - librdkafka goes on at the same offset when a topic was deleted and made again (its own FIXME in `rd_kafka_topic_metadata_update`). So
//!   the topic's id is asked for again every second while records come, and nothing is handed out until it has been confirmed; at the
//!   end of the log, every few seconds.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use binferry_schemas::record::Offset;
use rdkafka::{
    Message, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::sync::mpsc;

use super::{
    Shared,
    cluster::{ANSWER, Context, GONE, REPORTS, Trouble, Verdict, code_of, verdict},
    properties,
    topic_id::topic_id,
};
use crate::{
    error::LogError,
    log::{Reader, Stored},
};

const DOING: &str = "reading";
/// Records are handed out in portions of about so many bytes.
const PORTION: usize = 1024 * 1024;
/// Counted for a record besides its bytes: those of another program may have none.
const RECORD_OVERHEAD: usize = 64;
/// Portions that wait to be taken.
const AHEAD: usize = 1;
const POLL: Duration = Duration::from_millis(100);
/// The topic's id is confirmed so often while records come, and at the log's end.
const CONFIRM: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
const PAUSE: Duration = Duration::from_secs(2);
/// The log's end where the last offsets have no record: a new leader may not know the true end for a moment.
const QUIET: Duration = Duration::from_secs(1);
/// Consumers that are kept for the next reader.
const SPARE: usize = 2;

type Portion = Result<Vec<Stored>, LogError>;
type LogConsumer = BaseConsumer<Context>;

/// Connected consumers that nobody reads with.
#[derive(Default)]
pub(super) struct Spare(Mutex<Vec<LogConsumer>>);

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spare")
    }
}

impl Spare {
    fn take(&self) -> Option<LogConsumer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn listen(&self) {
        for consumer in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for _ in 0..REPORTS {
                consumer.poll(Duration::ZERO);
            }
        }
    }

    fn keep(&self, consumer: LogConsumer) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(consumer);
        }
    }
}

#[derive(Debug)]
pub(super) struct KafkaReader {
    portions: mpsc::Receiver<Portion>,
}

impl KafkaReader {
    /// `end` is the log's end when the reader was asked for.
    pub(super) fn start(shared: Arc<Shared>, from: Offset, end: Offset) -> Result<Self, LogError> {
        let (sender, portions) = mpsc::channel(AHEAD);
        let thread = Thread {
            shared,
            next: from.0,
            end: end.0,
            confirmed: Instant::now(),
            asked: Instant::now(),
            troubled: None,
            missing: None,
            sender,
        };
        std::thread::Builder::new()
            .name("log reader".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| LogError::Task {
                reason: error.to_string(),
            })?;
        Ok(Self { portions })
    }
}

#[async_trait]
impl Reader for KafkaReader {
    async fn next(&mut self) -> Portion {
        self.portions.recv().await.unwrap_or(Err(LogError::Stopped))
    }
}

struct Thread {
    shared: Arc<Shared>,
    /// Offset of the next record; or of one after it that has none.
    next: u64,
    /// The log's end when the reader was made, or the newest that it has met.
    end: u64,
    confirmed: Instant,
    /// Not more often than that, also while there is no answer: asking a cluster that is away is work.
    asked: Instant,
    troubled: Option<Instant>,
    missing: Option<Instant>,
    sender: mpsc::Sender<Portion>,
}

/// Why the thread ends.
enum Stop {
    /// Nobody reads any more.
    Closed,
    Failed(LogError),
}

impl Thread {
    fn run(mut self) {
        let consumer = match self.assigned() {
            Ok(consumer) => consumer,
            Err(error) => {
                let _ = self.sender.blocking_send(Err(error));
                return;
            }
        };
        match self.read(&consumer) {
            Stop::Closed => {
                // At the log's end its next question would wait behind the one that the broker holds until something comes.
                if self.next < self.end && consumer.unassign().is_ok() {
                    self.shared.spare.keep(consumer);
                }
            }
            Stop::Failed(error) => {
                let _ = self.sender.blocking_send(Err(error));
            }
        }
    }

    fn assigned(&self) -> Result<LogConsumer, LogError> {
        let cluster = &self.shared.cluster;
        let consumer = match self.shared.spare.take() {
            Some(consumer) => consumer,
            None => BaseConsumer::from_config_and_context(
                &cluster
                    .properties
                    .consumer(&cluster.address, cluster.round_trip()),
                Context::new(Arc::new(Trouble::default())),
            )
            .map_err(properties::from_client)?,
        };
        let mut place = TopicPartitionList::new();
        let from = i64::try_from(self.next).unwrap_or(i64::MAX);
        place
            .add_partition_offset(&self.shared.topic, 0, KafkaOffset::Offset(from))
            .and_then(|()| consumer.assign(&place))
            .map_err(|error| cluster.error(DOING, code_of(&error)))?;
        Ok(consumer)
    }

    fn read(&mut self, consumer: &LogConsumer) -> Stop {
        let mut portion = Vec::new();
        let mut bytes = 0;
        // Since when the end seems to be reached before it should be.
        let mut quiet: Option<Instant> = None;
        loop {
            if self.sender.is_closed() {
                return Stop::Closed;
            }
            let wait = if portion.is_empty() {
                POLL
            } else {
                Duration::ZERO
            };
            let mut at_end = false;
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    let offset = u64::try_from(message.offset()).unwrap_or_default();
                    // Fetched for an earlier reader.
                    if offset < self.next {
                        continue;
                    }
                    self.troubled = None;
                    quiet = None;
                    self.next = offset + 1;
                    let payload = message.payload().unwrap_or_default();
                    bytes += payload.len() + RECORD_OVERHEAD;
                    portion.push(Stored {
                        offset: Offset(offset),
                        bytes: payload.to_vec(),
                    });
                    if bytes < PORTION {
                        continue;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.troubled = None;
                    quiet = Some(Instant::now());
                    at_end = self.next >= self.end;
                }
                Some(Err(error)) => {
                    quiet = quiet.map(|_| Instant::now());
                    if let Err(stop) = self.trouble(code_of(&error)) {
                        return stop;
                    }
                    continue;
                }
                None => {
                    at_end =
                        quiet.is_some_and(|since| since.elapsed() >= QUIET) && self.next < self.end;
                }
            }
            if at_end {
                self.end = self.next;
                quiet = None;
            }
            if portion.is_empty() && !at_end {
                if self.asked.elapsed() >= CONFIRM.1
                    && let Err(stop) = self.confirm(false)
                {
                    return stop;
                }
                continue;
            }
            if self.confirmed.elapsed() >= CONFIRM.0
                && let Err(stop) = self.confirm(true)
            {
                return stop;
            }
            bytes = 0;
            if !portion.is_empty()
                && self
                    .sender
                    .blocking_send(Ok(std::mem::take(&mut portion)))
                    .is_err()
            {
                return Stop::Closed;
            }
            if at_end && self.sender.blocking_send(Ok(Vec::new())).is_err() {
                return Stop::Closed;
            }
        }
    }

    fn trouble(&mut self, code: RDKafkaErrorCode) -> Result<(), Stop> {
        // We are in no group; that we may not ask for it does not matter.
        if code == RDKafkaErrorCode::GroupAuthorizationFailed {
            return Ok(());
        }
        match verdict(code) {
            Verdict::Passing => self.endure(code),
            Verdict::Missing => self.confirm(false),
            Verdict::OutOfRange => {
                self.confirm(true)?;
                Err(Stop::Failed(self.out_of_range()))
            }
            Verdict::Refused | Verdict::Lasting => {
                Err(Stop::Failed(self.shared.cluster.error(DOING, code)))
            }
        }
    }

    /// Waits for what passes, unless it has lasted too long.
    fn endure(&mut self, code: RDKafkaErrorCode) -> Result<(), Stop> {
        let since = *self.troubled.get_or_insert_with(|| {
            tracing::warn!(log = self.shared.name, reason = %code, "the log is out of reach; waiting to read on");
            Instant::now()
        });
        if since.elapsed() >= self.shared.cluster.patience {
            return Err(Stop::Failed(self.shared.cluster.unreachable(DOING, code)));
        }
        Ok(())
    }

    /// Is it the topic still? With `must`, an answer is waited for.
    fn confirm(&mut self, must: bool) -> Result<(), Stop> {
        loop {
            if self.sender.is_closed() {
                return Err(Stop::Closed);
            }
            let cluster = &self.shared.cluster;
            let timeout = if must { ANSWER } else { POLL * 10 };
            self.shared.listen();
            self.asked = Instant::now();
            match topic_id(cluster.client(), &self.shared.topic, timeout) {
                Ok(Some(id)) if id == self.shared.id => {
                    self.confirmed = Instant::now();
                    self.missing = None;
                    // That the topic is known does not say that its leader answers.
                    if self.troubled.is_some() && cluster.bounds(&self.shared.topic).is_ok() {
                        self.troubled = None;
                    }
                    return Ok(());
                }
                Ok(_) => return Err(Stop::Failed(self.shared.gone(true))),
                Err(code) if verdict(code) == Verdict::Missing => {
                    let since = *self.missing.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GONE {
                        return Err(Stop::Failed(self.shared.gone(false)));
                    }
                }
                Err(code) if verdict(code) == Verdict::Passing => {
                    self.missing = None;
                    self.endure(code)?;
                }
                Err(code) => return Err(Stop::Failed(cluster.error(DOING, code))),
            }
            if !must {
                return Ok(());
            }
            // While a question waits, librdkafka connects again and again; with a pause between questions that is bearable.
            std::thread::sleep(if self.troubled.is_some() { PAUSE } else { POLL });
        }
    }

    fn out_of_range(&self) -> LogError {
        let cluster = &self.shared.cluster;
        match cluster
            .client()
            .fetch_watermarks(&self.shared.topic, 0, ANSWER)
        {
            Ok((low, _)) if u64::try_from(low).is_ok_and(|low| low > self.next) => {
                let start = low as u64;
                LogError::Expired {
                    log: self.shared.name.clone(),
                    wanted: Offset(self.next),
                    start: Offset(start),
                    missing: start - self.next,
                }
            }
            Ok((_, high)) => LogError::Truncated {
                log: self.shared.name.clone(),
                durable: Offset(self.next.saturating_sub(1)),
                end: Offset(u64::try_from(high).unwrap_or_default()),
            },
            Err(error) => cluster.error(DOING, code_of(&error)),
        }
    }
}
