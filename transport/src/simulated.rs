//! A log in memory that allows what a remote one may do: several writers at once, appends that are lost, records of others in between,
//! an expired beginning, offsets without a record, readers that answer nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use binferry_schemas::{fingerprint::Fingerprint, gtid::Uuid, record::Offset};
use tokio::sync::watch;

use crate::{
    error::LogError,
    log::{
        Accepted, Bounds, Durable, Log, RECORD_BYTES, Reader, Registration, Retention, Stall,
        Stored, Writer,
    },
    meter::LogMeter,
};

#[derive(Debug, Clone)]
pub(crate) struct SimulatedLog {
    id: Uuid,
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    start: u64,
    /// By offset; `None`: there is no record.
    records: Vec<Option<Vec<u8>>>,
    /// An offset without a record follows every append.
    gaps: bool,
    /// So many of the next appended records get lost.
    lose: usize,
}

impl SimulatedLog {
    pub(crate) fn new() -> Self {
        Self {
            id: Uuid::new_v4(),
            content: Arc::default(),
        }
    }

    /// As a topic whose writers use transactions: each append ends with an offset that holds no record.
    pub(crate) fn with_gaps() -> Self {
        let log = Self::new();
        log.content().gaps = true;
        log
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    pub(crate) fn lose(&self, records: usize) {
        self.content().lose = records;
    }

    pub(crate) fn expire_to(&self, start: u64) {
        self.content().start = start;
    }

    pub(crate) fn put(&self, bytes: Vec<u8>) {
        self.content().records.push(Some(bytes));
    }

    pub(crate) fn gap(&self) {
        self.content().records.push(None);
    }

    pub(crate) fn end(&self) -> Offset {
        Offset(self.content().records.len() as u64)
    }
}

#[async_trait]
impl Log for SimulatedLog {
    fn id(&self) -> Uuid {
        self.id
    }

    fn name(&self) -> String {
        "simulated".to_owned()
    }

    fn record_bytes(&self) -> usize {
        RECORD_BYTES
    }

    async fn bounds(&self) -> Result<Bounds, LogError> {
        let content = self.content();
        Ok(Bounds {
            start: Offset(content.start),
            end: Offset(content.records.len() as u64),
        })
    }

    async fn kept_bytes(&self) -> Result<Option<u64>, LogError> {
        Ok(None)
    }

    fn meter(&self) -> Arc<LogMeter> {
        Arc::default()
    }

    async fn writer(&self) -> Result<Box<dyn Writer>, LogError> {
        Ok(Box::new(SimulatedWriter {
            log: self.clone(),
            next: 0,
            last: None,
            durable: watch::channel(None).0,
        }))
    }

    async fn reader(&self, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        let start = Offset(self.content().start);
        if from < start {
            return Err(LogError::Expired {
                log: self.name(),
                wanted: from,
                start,
                missing: start.0 - from.0,
            });
        }
        Ok(Box::new(SimulatedReader {
            log: self.clone(),
            next: from.0,
            made: self.end(),
            answered: false,
        }))
    }

    async fn put_schema(&self, _: Fingerprint, _: &str) -> Result<(), LogError> {
        Ok(())
    }

    async fn schema(&self, _: Fingerprint) -> Result<Option<String>, LogError> {
        Ok(None)
    }

    async fn register(&self, _: &str, _: Offset) -> Result<(), LogError> {
        Ok(())
    }

    async fn registrations(&self) -> Result<Vec<Registration>, LogError> {
        Ok(Vec::new())
    }

    async fn request(&self, _: Uuid, _: &str) -> Result<(), LogError> {
        Ok(())
    }

    async fn requests(&self) -> Result<Vec<(Uuid, String)>, LogError> {
        Ok(Vec::new())
    }

    async fn answered(&self, _: Uuid) -> Result<(), LogError> {
        Ok(())
    }

    async fn unregister(&self, _: &str) -> Result<bool, LogError> {
        Ok(false)
    }
}

#[derive(Debug)]
struct SimulatedWriter {
    log: SimulatedLog,
    next: u64,
    last: Option<Durable>,
    durable: watch::Sender<Option<Durable>>,
}

#[async_trait]
impl Writer for SimulatedWriter {
    async fn room(&mut self, _: usize) -> Result<(), LogError> {
        Ok(())
    }

    async fn append(&mut self, records: Vec<Vec<u8>>) -> Result<Accepted, LogError> {
        let mut content = self.log.content();
        let mut records = VecDeque::from(records);
        while let Some(record) = records.pop_front() {
            let ordinal = self.next;
            self.next += 1;
            if content.lose > 0 {
                content.lose -= 1;
                continue;
            }
            let offset = Offset(content.records.len() as u64);
            content.records.push(Some(record));
            let run_start = match self.last {
                Some(last) if last.offset.0 + 1 == offset.0 && last.ordinal + 1 == ordinal => {
                    last.run_start
                }
                _ => ordinal,
            };
            self.last = Some(Durable {
                ordinal,
                offset,
                run_start,
            });
        }
        if content.gaps {
            content.records.push(None);
        }
        self.durable.send_replace(self.last);
        Ok(Accepted {
            ordinal: self.next - 1,
        })
    }

    fn durable(&self) -> watch::Receiver<Option<Durable>> {
        self.durable.subscribe()
    }

    async fn wait(&mut self, _: Accepted) -> Result<Durable, LogError> {
        self.last.ok_or(LogError::Stopped)
    }

    fn failure(&self) -> Option<LogError> {
        None
    }

    fn stall(&self) -> watch::Receiver<Option<Stall>> {
        watch::Sender::new(None).subscribe()
    }

    async fn expire(&mut self, _: Retention, _: Offset) -> Result<(), LogError> {
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedReader {
    log: SimulatedLog,
    next: u64,
    /// The log's end when the reader was made.
    made: Offset,
    /// It has said that it is there.
    answered: bool,
}

#[async_trait]
impl Reader for SimulatedReader {
    async fn next(&mut self) -> Result<Vec<Stored>, LogError> {
        loop {
            {
                let content = self.log.content();
                while let Some(record) = content.records.get(self.next as usize) {
                    let offset = Offset(self.next);
                    if offset >= self.made && !self.answered {
                        break;
                    }
                    self.next += 1;
                    if let Some(bytes) = record.clone() {
                        return Ok(vec![Stored { offset, bytes }]);
                    }
                }
            }
            if !self.answered {
                self.answered = true;
                return Ok(Vec::new());
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
