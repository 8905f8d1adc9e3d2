//! Writing: an idempotent producer, and a thread that takes its delivery reports.
//!
//! - `Durable` is what a delivery report says, and nothing else: with acks=all every in-sync replica has the record then.
//! - Bytes in flight are limited by us; librdkafka's queues are larger than that, so sending never fails for want of room.
//! - While nothing is acknowledged, `stall` says so and why; after the log's patience the writer fails. librdkafka itself tries for ever,
//!   in order, without repeats.
//! - Offsets only rise. One that does not shows that the brokers have lost the end of the log, or that the topic is another one.
//! - A report can come without an offset (the acknowledgement was lost, and the broker no longer knew the batch): the record is durable
//!   somewhere below the log's end, and whoever needs its place reads.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use binferry_schemas::record::Offset;
use rdkafka::{
    Message,
    config::FromClientConfigAndContext,
    error::RDKafkaErrorCode,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    Shared,
    cluster::{ANSWER, Context, Deliveries, GONE, Trouble, Verdict, code_of, verdict},
    handed::Handed,
    properties,
    topic_id::topic_id,
};
use crate::{
    error::LogError,
    log::{Accepted, Durable, Retention, Stall, Writer},
    meter::LogMeter,
    room,
};

const DOING: &str = "writing";
/// Appended, not yet durable: an append waits for more.
const IN_FLIGHT: usize = 16 * 1024 * 1024;
/// What librdkafka needs for a record besides its bytes, so that many small ones are counted too.
const RECORD_OVERHEAD: usize = 256;
/// Reports are taken as they come; so often we look at the clock. The binding's `poll` does not sleep in its last millisecond.
const POLL: Duration = Duration::from_millis(500);
const CONFIRMING: Duration = Duration::from_secs(1);
/// Without an acknowledgement for so long, the writer is stalled.
const STALLED: Duration = Duration::from_secs(2);
/// The topic's id is confirmed so often.
const CONFIRM: Duration = Duration::from_secs(5);

type LogProducer = BaseProducer<Context<Reports>>;

/// What the delivery reports say.
pub(super) struct Reports {
    log: String,
    room: Arc<Semaphore>,
    /// In flight beyond what room was taken for.
    debt: AtomicUsize,
    sent: AtomicU64,
    state: Mutex<Delivered>,
    /// Gone when the writer has failed, which closes the channel.
    announce: Mutex<Option<watch::Sender<Option<Durable>>>>,
    failure: OnceLock<LogError>,
    /// Why a record was not taken, or why the producer can't go on.
    undelivered: OnceLock<RDKafkaErrorCode>,
    stall: watch::Sender<Option<Stall>>,
}

struct Delivered {
    /// Records with a report.
    count: u64,
    newest: Option<Durable>,
    /// The newest offset that a report gave.
    reported: Option<u64>,
    /// Without an offset, until one is found: the newest such ordinal.
    adrift: Option<u64>,
    /// The newest report, or when something came to be in flight again.
    at: Instant,
    handed: Handed,
}

impl Reports {
    fn new(log: String, meter: Arc<LogMeter>, announce: watch::Sender<Option<Durable>>) -> Self {
        Self {
            log,
            room: Arc::new(Semaphore::new(IN_FLIGHT)),
            debt: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            state: Mutex::new(Delivered {
                count: 0,
                newest: None,
                reported: None,
                adrift: None,
                at: Instant::now(),
                handed: Handed::new(meter),
            }),
            announce: Mutex::new(Some(announce)),
            failure: OnceLock::new(),
            undelivered: OnceLock::new(),
            stall: watch::Sender::new(None),
        }
    }

    /// Makes room again, after what is owed.
    fn give_back(&self, bytes: usize) {
        let paid = |debt: usize| Some(debt - debt.min(bytes));
        let owed = self
            .debt
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, paid)
            .unwrap_or_default();
        self.room.add_permits(bytes - owed.min(bytes));
    }

    fn fail(&self, error: LogError) {
        if self.failure.set(error).is_ok() {
            self.room.close();
            *self.announce() = None;
        }
    }

    fn announce(&self) -> MutexGuard<'_, Option<watch::Sender<Option<Durable>>>> {
        self.announce.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, durable: Durable) {
        if let Some(announce) = &*self.announce() {
            announce.send_replace(Some(durable));
        }
    }

    fn state(&self) -> MutexGuard<'_, Delivered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before sending: a report may come at once.
    fn sending(&self, records: u64, bytes: u64) {
        let mut state = self.state();
        let before = self.sent.fetch_add(records, Ordering::AcqRel);
        // Quiet begins with the first record that waits, however many come after it.
        if state.count == before {
            state.at = Instant::now();
        }
        state.handed.group(before, records, bytes);
    }

    /// How long nothing has been acknowledged of what is in flight.
    fn quiet(&self) -> Option<Duration> {
        let state = self.state();
        let waiting = state.count < self.sent.load(Ordering::Acquire) || state.adrift.is_some();
        waiting.then(|| state.at.elapsed())
    }

    /// The records up to `ordinal` are durable; the last one is at `offset`.
    fn durable(&self, state: &mut Delivered, ordinal: u64, offset: u64) {
        // One that was found lies at or above its record's, and may be above this one's.
        if let Some(reported) = state.reported.filter(|&reported| reported >= offset) {
            self.fail(LogError::Truncated {
                log: self.log.clone(),
                durable: Offset(reported),
                end: Offset(offset),
            });
            return;
        }
        state.reported = Some(offset);
        let run_start = match state.newest {
            Some(newest) if newest.offset.0 + 1 == offset && newest.ordinal + 1 == ordinal => {
                newest.run_start
            }
            _ => ordinal,
        };
        let newest = Durable {
            ordinal,
            offset: Offset(offset),
            run_start,
        };
        state.newest = Some(newest);
        state.adrift = None;
        state.handed.durable(ordinal);
        self.tell(newest);
    }

    /// `ordinal`, whose report had no offset, lies below `end`.
    fn found(&self, ordinal: u64, end: u64) {
        let mut state = self.state();
        let Some(newest) = end.checked_sub(1).filter(|_| state.adrift == Some(ordinal)) else {
            return;
        };
        let newest = Durable {
            ordinal,
            offset: Offset(newest),
            // No own record's place follows from this.
            run_start: ordinal + 1,
        };
        state.newest = Some(newest);
        state.adrift = None;
        state.handed.durable(ordinal);
        self.tell(newest);
    }
}

impl Deliveries for Reports {
    /// In the order of sending.
    fn delivered(&self, result: &DeliveryResult<'_>, ordinal: usize) {
        let mut state = self.state();
        state.at = Instant::now();
        state.count += 1;
        let (message, error) = match result {
            Ok(message) => (message, None),
            Err((error, message)) => (message, Some(error)),
        };
        self.give_back(message.payload_len() + RECORD_OVERHEAD);
        if let Some(error) = error {
            // What it means is for the thread to find out. Nothing that comes after it counts.
            let _ = self.undelivered.set(code_of(error));
        }
        if self.undelivered.get().is_some() || self.failure.get().is_some() {
            return;
        }
        let ordinal = ordinal as u64;
        match u64::try_from(message.offset()) {
            Ok(offset) => self.durable(&mut state, ordinal, offset),
            Err(_) => state.adrift = Some(ordinal),
        }
    }

    fn failed(&self) {
        let _ = self.undelivered.set(RDKafkaErrorCode::Fatal);
    }
}

/// The handle. When it is dropped, what has not been delivered is given up.
pub(super) struct KafkaWriter {
    shared: Arc<Shared>,
    producer: Arc<LogProducer>,
    reports: Arc<Reports>,
    durable: watch::Receiver<Option<Durable>>,
    reserved: Option<OwnedSemaphorePermit>,
    /// Ordinal of the next record.
    next: u64,
    closing: Arc<AtomicBool>,
}

impl std::fmt::Debug for KafkaWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaWriter")
            .field("log", &self.shared.name)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl KafkaWriter {
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self, LogError> {
        let (announce, durable) = watch::channel(None);
        let reports = Arc::new(Reports::new(
            shared.name.clone(),
            shared.meter.clone(),
            announce,
        ));
        let trouble = Arc::new(Trouble::default());
        let cluster = &shared.cluster;
        let config = cluster
            .properties
            .producer(&cluster.address, shared.largest_batch);
        let context = Context {
            trouble: trouble.clone(),
            deliveries: reports.clone(),
        };
        let producer = BaseProducer::from_config_and_context(&config, context);
        let producer: Arc<LogProducer> = Arc::new(producer.map_err(properties::from_client)?);
        let closing = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            shared: shared.clone(),
            producer: producer.clone(),
            reports: reports.clone(),
            trouble,
            closing: closing.clone(),
            confirmed: Instant::now(),
        };
        std::thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || thread.run())
            .map_err(|error| LogError::Task {
                reason: error.to_string(),
            })?;
        Ok(Self {
            shared,
            producer,
            durable,
            reports,
            reserved: None,
            next: 0,
            closing,
        })
    }

    fn stopped(&self) -> LogError {
        self.failure().unwrap_or(LogError::Stopped)
    }
}

#[async_trait]
impl Writer for KafkaWriter {
    async fn room(&mut self, bytes: usize) -> Result<(), LogError> {
        let reserved =
            room::reserve(&self.reports.room, &mut self.reserved, bytes, IN_FLIGHT).await;
        reserved.map_err(|_| self.stopped())
    }

    async fn append(&mut self, records: Vec<Vec<u8>>) -> Result<Accepted, LogError> {
        let largest = self
            .shared
            .largest_batch
            .saturating_sub(super::BATCH_OVERHEAD);
        if let Some(bytes) = records.iter().map(Vec::len).find(|&bytes| bytes > largest) {
            return Err(LogError::TooBig {
                bytes: bytes as u64,
                limit: largest as u64,
            });
        }
        let bytes: usize = records
            .iter()
            .map(|record| record.len() + RECORD_OVERHEAD)
            .sum();
        // Whoever has asked for as much as the records themselves does not wait here.
        let sizes = bytes - records.len() * RECORD_OVERHEAD;
        self.room(sizes).await?;
        if self.reports.failure.get().is_some() {
            return Err(self.stopped());
        }
        let count = records.len() as u64;
        self.reports.sending(count, sizes as u64);
        for record in &records {
            // Ordinals are far below the pointer's width on the 64-bit systems that this runs on.
            let ordinal = self.next as usize;
            let record = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.shared.topic, ordinal)
                .partition(0)
                .payload(record);
            if let Err((error, _)) = self.producer.send(record) {
                // The thread finds out what it means, and closes the channel.
                let _ = self.reports.undelivered.set(code_of(&error));
                while self.durable.changed().await.is_ok() {}
                return Err(self.stopped());
            }
            self.next += 1;
        }
        // The reports give back what they count, record by record; what was taken for the records is less or more.
        if let Some(reserved) = self.reserved.take() {
            let taken = reserved.num_permits();
            reserved.forget();
            if taken >= bytes {
                self.reports.give_back(taken - bytes);
            } else {
                self.reports.debt.fetch_add(bytes - taken, Ordering::AcqRel);
            }
        }
        Ok(Accepted {
            ordinal: self.next.saturating_sub(1),
        })
    }

    fn durable(&self) -> watch::Receiver<Option<Durable>> {
        self.durable.clone()
    }

    async fn wait(&mut self, accepted: Accepted) -> Result<Durable, LogError> {
        let durable = room::durable(&mut self.durable, accepted).await;
        durable.ok_or_else(|| self.stopped())
    }

    fn failure(&self) -> Option<LogError> {
        self.reports.failure.get().cloned()
    }

    fn stall(&self) -> watch::Receiver<Option<Stall>> {
        self.reports.stall.subscribe()
    }

    /// The topic's own settings expire records; `check` has compared them with what was asked for.
    async fn expire(&mut self, _: Retention, _: Offset) -> Result<(), LogError> {
        Ok(())
    }
}

impl Drop for KafkaWriter {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
    }
}

struct Thread {
    shared: Arc<Shared>,
    producer: Arc<LogProducer>,
    reports: Arc<Reports>,
    trouble: Arc<Trouble>,
    closing: Arc<AtomicBool>,
    confirmed: Instant,
}

impl Thread {
    fn run(mut self) {
        while !self.closing.load(Ordering::Acquire) && self.reports.failure.get().is_none() {
            self.producer.poll(POLL);
            self.end();
            self.find();
            self.watch();
            self.confirm();
        }
    }

    /// librdkafka has tried what could be tried; this says what it ended with.
    fn end(&self) {
        let Some(&code) = self.reports.undelivered.get() else {
            return;
        };
        let shared = &self.shared;
        let interrupted = |reason: String| LogError::Interrupted {
            log: shared.name.clone(),
            reason,
        };
        let fatal = self.producer.client().fatal_error();
        let code = fatal.as_ref().map_or(code, |(code, _)| *code);
        let too_large = matches!(
            code,
            RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge
        );
        let error = if too_large {
            LogError::MessageTooLarge {
                log: shared.name.clone(),
            }
        } else if verdict(code) == Verdict::Refused {
            shared.cluster.error(DOING, code)
        } else {
            // A deleted topic shows in several ways.
            let begun = Instant::now();
            loop {
                break match topic_id(shared.cluster.client(), &shared.topic, ANSWER) {
                    Ok(Some(id)) if id != shared.id => shared.gone(true),
                    Err(missing) if verdict(missing) == Verdict::Missing => {
                        if begun.elapsed() < GONE {
                            std::thread::sleep(POLL);
                            continue;
                        }
                        shared.gone(false)
                    }
                    _ => interrupted(fatal.map_or_else(|| code.to_string(), |(_, reason)| reason)),
                };
            }
        };
        self.reports.fail(error);
    }

    /// Gives records without an offset one that is not below theirs: the log's end, as it is after they became durable.
    fn find(&self) {
        let Some(ordinal) = self.reports.state().adrift else {
            return;
        };
        let watermarks =
            self.shared
                .cluster
                .client()
                .fetch_watermarks(&self.shared.topic, 0, ANSWER);
        if let Ok((_, high)) = watermarks {
            let end = u64::try_from(high).unwrap_or_default();
            self.reports.found(ordinal, end);
        }
    }

    /// Tells a stall, and ends it when it lasts.
    fn watch(&self) {
        let reports = &self.reports;
        let Some(quiet) = reports.quiet().filter(|&quiet| quiet >= STALLED) else {
            if reports.stall.send_replace(None).is_some() {
                tracing::info!(log = self.shared.name, "the brokers acknowledge again");
                self.trouble.forget();
            }
            return;
        };
        let reason = self.trouble.reason().unwrap_or_else(|| {
            "no acknowledgement: brokers are away, or there are not enough in-sync replicas"
                .to_owned()
        });
        if quiet >= self.shared.cluster.patience {
            reports.fail(LogError::Unreachable {
                log: self.shared.name.clone(),
                doing: DOING,
                reason,
            });
            return;
        }
        if reports.stall.borrow().is_none() {
            tracing::warn!(
                log = self.shared.name,
                reason,
                "the log takes no records; waiting"
            );
            reports.stall.send_replace(Some(Stall {
                since: SystemTime::now() - quiet,
                reason,
            }));
        }
    }

    /// Is it the topic still? A missing one shows in the reports.
    fn confirm(&mut self) {
        if self.confirmed.elapsed() < CONFIRM {
            return;
        }
        self.confirmed = Instant::now();
        let cluster = &self.shared.cluster;
        self.shared.listen();
        // While somebody waits for an answer, librdkafka connects to brokers that are away without its pauses between (the handling of
        // `RD_KAFKA_OP_CONNECT`). What they acknowledge again is looked at then.
        if self.reports.stall.borrow().is_some() {
            return;
        }
        let answer = topic_id(cluster.client(), &self.shared.topic, CONFIRMING);
        if let Ok(Some(id)) = answer
            && id != self.shared.id
        {
            self.reports.fail(self.shared.gone(true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports() -> (Reports, watch::Receiver<Option<Durable>>) {
        let (announce, durable) = watch::channel(None);
        (
            Reports::new("log".to_owned(), Arc::default(), announce),
            durable,
        )
    }

    fn told(durable: &watch::Receiver<Option<Durable>>) -> (u64, u64, u64) {
        let durable = durable.borrow().unwrap();
        (durable.ordinal, durable.offset.0, durable.run_start)
    }

    /// The log's end is above the record whose offset got lost, and the reports of those between are still to come.
    #[test]
    fn an_offset_that_was_found_makes_no_later_one_wrong() {
        let (reports, durable) = reports();
        reports.durable(&mut reports.state(), 0, 10);
        reports.durable(&mut reports.state(), 1, 11);
        assert_eq!(told(&durable), (1, 11, 0));
        reports.state().adrift = Some(2);
        reports.found(2, 15);
        assert_eq!(told(&durable), (2, 14, 3));
        reports.durable(&mut reports.state(), 3, 13);
        reports.durable(&mut reports.state(), 4, 14);
        assert_eq!(told(&durable), (4, 14, 3));
        assert!(reports.failure.get().is_none());
        // What was reported before is not overwritten by anybody but a log that has lost its end.
        reports.durable(&mut reports.state(), 5, 14);
        assert!(matches!(
            reports.failure.get(),
            Some(LogError::Truncated { .. })
        ));
    }

    #[test]
    fn quiet_begins_with_the_first_record_that_waits() {
        let (reports, _durable) = reports();
        assert_eq!(reports.quiet(), None);
        reports.sending(2, 2);
        let begun = reports.state().at;
        reports.sending(1, 1);
        assert_eq!(reports.state().at, begun);
        assert!(reports.quiet().is_some());
        reports.state().count = 3;
        assert_eq!(reports.quiet(), None);
    }
}
