//! The embedded log: a directory of segment files, with one writer and readers in any process (`docs/format.md`).
//!
//! Invariants:
//! - One writer at a time, under an exclusive file lock that a killed process gives back.
//! - Readers see what is below the durable watermark, and nothing else: it is advanced only after fdatasync. A valid checksum shows that
//!   a record is whole, not that it is durable.
//! - Offsets are the records' ordinals from 0, without gaps.
//! - What was durable is never changed, and never missing in silence: damage and expired records are errors with their offset.
//!
//! Resumption: `recovery`. Failure: `writer` (full disk, failed fsync).

mod disk;
mod frame;
mod layout;
mod preflight;
mod reader;
mod recovery;
mod registration;
mod requests;
mod retention;
mod segment;
mod task;
#[cfg(test)]
mod tests;
mod watermark;
mod writer;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use async_trait::async_trait;
use binferry_schemas::{fingerprint::Fingerprint, gtid::Uuid, record::Offset};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::{
    disk::{Disk, RealDisk},
    layout::Layout,
    reader::EmbeddedReader,
    task::blocking,
    watermark::Watermark,
    writer::{Batch, Thread},
};
use crate::{
    error::LogError,
    log::{
        Accepted, Bounds, Durable, Log, MAX_RECORD_BYTES, RECORD_BYTES, Reader, Registration,
        Retention, Stall, Writer,
    },
    meter::LogMeter,
    room,
};

#[derive(Debug, Clone, Copy)]
pub struct EmbeddedOptions {
    /// A segment is finished when it is larger than this. At most 2 GiB.
    pub segment_bytes: u64,
    /// Appended, not yet durable: an append waits for more.
    pub in_flight_bytes: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            in_flight_bytes: 16 * 1024 * 1024,
        }
    }
}

const LARGEST_SEGMENT: u64 = 2 * 1024 * 1024 * 1024;
const FULL_RETRY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    options: EmbeddedOptions,
}

#[derive(Debug)]
pub(crate) struct Shared {
    layout: Layout,
    disk: Arc<dyn Disk>,
    durable: File,
    /// Wakes readers in this process; readers elsewhere look at the file.
    announce: Arc<watch::Sender<Watermark>>,
    meter: Arc<LogMeter>,
}

impl Shared {
    fn watermark(&self) -> Result<Watermark, LogError> {
        Watermark::read(self.layout.salt, &self.durable, &self.layout.durable())
    }

    fn start(&self) -> Result<Offset, LogError> {
        let segments = self.layout.segments()?;
        Ok(Offset(segments.first().copied().unwrap_or_default()))
    }

    fn expired(&self, wanted: Offset, start: Offset) -> LogError {
        LogError::Expired {
            log: self.layout.root.display().to_string(),
            wanted,
            start,
            missing: start.0.saturating_sub(wanted.0),
        }
    }
}

impl EmbeddedLog {
    /// Opens a log that is there; `LogError::Missing` when it isn't. For everyone who only reads.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        Self::over(
            Layout::open(path)?,
            EmbeddedOptions::default(),
            Arc::new(RealDisk),
        )
    }

    /// Opens a log, or creates an empty one in a directory that is new or empty.
    pub fn create_or_open(path: &Path) -> Result<Self, LogError> {
        Self::create_or_open_with(path, EmbeddedOptions::default())
    }

    /// The options hold for this handle's writers; they are not stored.
    pub fn create_or_open_with(path: &Path, options: EmbeddedOptions) -> Result<Self, LogError> {
        Self::over(Layout::create_or_open(path)?, options, Arc::new(RealDisk))
    }

    fn over(
        layout: Layout,
        options: EmbeddedOptions,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, LogError> {
        let path = layout.durable();
        let durable = File::open(&path).map_err(LogError::io("open", &path))?;
        let watermark = Watermark::read(layout.salt, &durable, &path)?;
        Ok(Self {
            shared: Arc::new(Shared {
                layout,
                disk,
                durable,
                announce: Arc::new(watch::channel(watermark).0),
                meter: Arc::default(),
            }),
            options,
        })
    }

    pub fn path(&self) -> &Path {
        &self.shared.layout.root
    }

    fn start_writer(&self) -> Result<EmbeddedWriter, LogError> {
        let layout = &self.shared.layout;
        let lock = layout.lock()?;
        let recovered = recovery::recover(layout, &*self.shared.disk)?;
        let limit = self
            .options
            .in_flight_bytes
            .clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let shared = Arc::new(writer::Shared {
            failure: OnceLock::new(),
            stall: watch::Sender::new(None),
            closing: AtomicBool::new(false),
            retention: Mutex::new(None),
            room: Arc::new(Semaphore::new(limit)),
            meter: Arc::clone(&self.shared.meter),
        });
        let (thread, durable) = Thread::new(
            layout.clone(),
            self.shared.disk.clone(),
            self.options.segment_bytes.min(LARGEST_SEGMENT),
            shared.clone(),
            recovered,
            self.shared.announce.clone(),
            lock,
        );
        let (queue, batches) = mpsc::channel();
        std::thread::Builder::new()
            .name("log writer".to_owned())
            .spawn(move || thread.run(&batches))
            .map_err(LogError::io("start the writer of", &layout.root))?;
        Ok(EmbeddedWriter {
            layout: layout.clone(),
            shared,
            queue,
            limit,
            reserved: None,
            durable,
            next: 0,
        })
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn id(&self) -> Uuid {
        self.shared.layout.id
    }

    fn name(&self) -> String {
        self.shared.layout.root.display().to_string()
    }

    fn record_bytes(&self) -> usize {
        RECORD_BYTES
    }

    async fn bounds(&self) -> Result<Bounds, LogError> {
        let shared = self.shared.clone();
        blocking(move || {
            // The start first: between the two, retention may remove what is below the end, never what is above it.
            let start = shared.start()?;
            let end = Offset(shared.watermark()?.end);
            Ok(Bounds { start, end })
        })
        .await
    }

    async fn kept_bytes(&self) -> Result<Option<u64>, LogError> {
        let shared = self.shared.clone();
        blocking(move || {
            let mut bytes = 0;
            for first in shared.layout.segments()? {
                // One that is not there any more has just expired.
                bytes += std::fs::metadata(shared.layout.segment(first)).map_or(0, |m| m.len());
            }
            Ok(Some(bytes))
        })
        .await
    }

    fn meter(&self) -> Arc<LogMeter> {
        Arc::clone(&self.shared.meter)
    }

    async fn writer(&self) -> Result<Box<dyn Writer>, LogError> {
        let log = self.clone();
        let writer = blocking(move || log.start_writer()).await?;
        Ok(Box::new(writer))
    }

    async fn reader(&self, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        let shared = self.shared.clone();
        let start = blocking(move || shared.start()).await?;
        if from < start {
            return Err(self.shared.expired(from, start));
        }
        Ok(Box::new(EmbeddedReader::new(self.shared.clone(), from)))
    }

    async fn put_schema(&self, fingerprint: Fingerprint, text: &str) -> Result<(), LogError> {
        if let Some(stored) = self.schema(fingerprint).await? {
            return if stored == text {
                Ok(())
            } else {
                Err(LogError::SchemaClash { fingerprint })
            };
        }
        let path = self.schema_path(fingerprint);
        let mut told = false;
        loop {
            let (path, content) = (path.clone(), text.as_bytes().to_vec());
            match blocking(move || disk::store(&path, &content)).await {
                Err(LogError::Io { source, .. }) if disk::is_full(&source) => {
                    if !told {
                        tracing::warn!(log = %self.name(), "the disk of the log is full; waiting to store a schema");
                        told = true;
                    }
                    tokio::time::sleep(FULL_RETRY).await;
                }
                other => return other,
            }
        }
    }

    async fn schema(&self, fingerprint: Fingerprint) -> Result<Option<String>, LogError> {
        let path = self.schema_path(fingerprint);
        blocking(move || match std::fs::read(&path) {
            Ok(content) => match String::from_utf8(content) {
                Ok(text)
                    if binferry_schemas::fingerprint::rabin(text.as_bytes()) == fingerprint =>
                {
                    Ok(Some(text))
                }
                _ => Err(LogError::corrupt(
                    &path,
                    None,
                    0,
                    "the schema is not the one that its name says",
                )),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LogError::io("read", &path)(error)),
        })
        .await
    }

    async fn register(&self, name: &str, needs: Offset) -> Result<(), LogError> {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        blocking(move || registration::register(&shared.layout, &name, needs)).await
    }

    async fn registrations(&self) -> Result<Vec<Registration>, LogError> {
        let shared = self.shared.clone();
        blocking(move || registration::list(&shared.layout)).await
    }

    async fn request(&self, id: Uuid, text: &str) -> Result<(), LogError> {
        let (shared, text) = (self.shared.clone(), text.to_owned());
        blocking(move || requests::put(&shared.layout, id, &text)).await
    }

    async fn requests(&self) -> Result<Vec<(Uuid, String)>, LogError> {
        let shared = self.shared.clone();
        blocking(move || requests::list(&shared.layout)).await
    }

    async fn answered(&self, id: Uuid) -> Result<(), LogError> {
        let shared = self.shared.clone();
        blocking(move || requests::remove(&shared.layout, id)).await
    }

    async fn unregister(&self, name: &str) -> Result<bool, LogError> {
        let (shared, name) = (self.shared.clone(), name.to_owned());
        blocking(move || registration::unregister(&shared.layout, &name)).await
    }
}

impl EmbeddedLog {
    fn schema_path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.shared
            .layout
            .schemas()
            .join(format!("{fingerprint}.avsc"))
    }
}

/// The handle of the writing thread. When it is dropped, the thread writes what it has been given and gives the lock back.
#[derive(Debug)]
struct EmbeddedWriter {
    layout: Layout,
    shared: Arc<writer::Shared>,
    queue: mpsc::Sender<Batch>,
    limit: usize,
    reserved: Option<OwnedSemaphorePermit>,
    durable: watch::Receiver<Option<Durable>>,
    /// Ordinal of the next record.
    next: u64,
}

impl EmbeddedWriter {
    fn stopped(&self) -> LogError {
        self.failure().unwrap_or(LogError::Stopped)
    }
}

#[async_trait]
impl Writer for EmbeddedWriter {
    async fn room(&mut self, bytes: usize) -> Result<(), LogError> {
        let reserved =
            room::reserve(&self.shared.room, &mut self.reserved, bytes, self.limit).await;
        reserved.map_err(|_| self.stopped())
    }

    async fn append(&mut self, records: Vec<Vec<u8>>) -> Result<Accepted, LogError> {
        if let Some(bytes) = records
            .iter()
            .map(Vec::len)
            .find(|&bytes| bytes > MAX_RECORD_BYTES)
        {
            return Err(LogError::TooBig {
                bytes: bytes as u64,
                limit: MAX_RECORD_BYTES as u64,
            });
        }
        let count = records.len() as u64;
        let bytes = records
            .iter()
            .map(|record| record.len() + frame::HEADER)
            .sum();
        self.room(bytes).await?;
        let room = self.reserved.take().ok_or(LogError::Stopped)?;
        self.queue
            .send(Batch { records, room })
            .map_err(|_| self.stopped())?;
        self.next += count;
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
        self.shared.failure.get().cloned()
    }

    fn stall(&self) -> watch::Receiver<Option<Stall>> {
        self.shared.stall.subscribe()
    }

    async fn expire(&mut self, retention: Retention, needed: Offset) -> Result<(), LogError> {
        *self
            .shared
            .retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((retention, needed));
        let layout = self.layout.clone();
        blocking(move || retention::expire(&layout, retention, needed)).await
    }
}

impl Drop for EmbeddedWriter {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
    }
}
