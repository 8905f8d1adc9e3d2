//! The writing thread: group commit, the watermark, a full disk, a failed fsync.
//!
//! ```text
//! append ──bytes in flight──► [queue] ──► all that waits: one write, one fdatasync ──► watermark ──► watchers
//! ```
//! - A group lies in one segment. A segment is finished (synced, with the watermark) before the next is begun.
//! - Disk full: what was written of the group is cut off again, and the group is tried again until there is space. Callers wait, because
//!   the bytes in flight are limited.
//! - After a failed fsync the writer writes no more (`LogError::Poisoned`): the kernel reports such a failure once, and a second fsync
//!   would succeed without the data. The next writer's recovery reads and rewrites.

use std::{
    fs::File,
    io,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime},
};

use binferry_schemas::record::Offset;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{
    disk::{Disk, is_full},
    frame,
    layout::Layout,
    recovery::Recovered,
    retention,
    segment::{self, IndexBuilder},
    watermark::Watermark,
};
use crate::{
    error::LogError,
    log::{Durable, Retention, Stall},
    meter::LogMeter,
};

/// A group is written at this size even when more waits: it bounds the buffer.
const GROUP_BYTES: usize = 2 * 1024 * 1024;
const FULL_RETRY: Duration = Duration::from_millis(200);
const FULL_REMINDER: Duration = Duration::from_secs(30);

pub(crate) struct Batch {
    pub records: Vec<Vec<u8>>,
    /// Given back when the records are durable.
    pub room: OwnedSemaphorePermit,
}

/// What the thread and its handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub failure: OnceLock<LogError>,
    pub stall: watch::Sender<Option<Stall>>,
    /// The handle is gone: don't wait for space any more.
    pub closing: AtomicBool,
    /// Applied again while the disk is full.
    pub retention: Mutex<Option<(Retention, Offset)>>,
    pub room: Arc<Semaphore>,
    pub meter: Arc<LogMeter>,
}

pub(crate) struct Thread {
    pub layout: Layout,
    pub disk: Arc<dyn Disk>,
    pub segment_bytes: u64,
    pub shared: Arc<Shared>,
    pub segment: File,
    pub index: File,
    pub builder: IndexBuilder,
    pub durable_file: File,
    pub watermark: Watermark,
    /// For readers in this process.
    pub announce: Arc<watch::Sender<Watermark>>,
    /// For this writer's own appends.
    pub durable: watch::Sender<Option<Durable>>,
    pub next_ordinal: u64,
    /// The writer's lock, given back at the end.
    pub lock: File,
}

/// Wakes whoever waits, also when the thread panics.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.failure.set(LogError::Stopped);
        self.0.room.close();
    }
}

enum Stop {
    /// The handle is gone while there was no space.
    Closing,
    Failed(LogError),
}

impl Thread {
    pub(crate) fn new(
        layout: Layout,
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        shared: Arc<Shared>,
        recovered: Recovered,
        announce: Arc<watch::Sender<Watermark>>,
        lock: File,
    ) -> (Self, watch::Receiver<Option<Durable>>) {
        let (durable, watcher) = watch::channel(None);
        announce.send_replace(recovered.watermark);
        let thread = Self {
            layout,
            disk,
            segment_bytes,
            shared,
            segment: recovered.segment,
            index: recovered.index,
            builder: recovered.builder,
            durable_file: recovered.durable,
            watermark: recovered.watermark,
            announce,
            durable,
            next_ordinal: 0,
            lock,
        };
        (thread, watcher)
    }

    pub(crate) fn run(mut self, queue: &mpsc::Receiver<Batch>) {
        let ending = Ending(self.shared.clone());
        let mut buffer = Vec::new();
        let mut rooms = Vec::new();
        while let Ok(first) = queue.recv() {
            buffer.clear();
            let mut taken = Taken::default();
            self.take(first, &mut buffer, &mut rooms, &mut taken);
            while buffer.len() < GROUP_BYTES {
                let Ok(batch) = queue.try_recv() else { break };
                self.take(batch, &mut buffer, &mut rooms, &mut taken);
            }
            match self.commit(&buffer, &taken) {
                Ok(()) => rooms.clear(),
                Err(Stop::Closing) => break,
                Err(Stop::Failed(error)) => {
                    tracing::error!(log = %self.layout.root.display(), %error, "the log's writer stops");
                    let _ = self.shared.failure.set(error);
                    break;
                }
            }
            buffer.shrink_to(2 * GROUP_BYTES);
        }
        // A clean end leaves an exact watermark on the disk.
        if self.shared.failure.get().is_none() {
            let _ = self.disk.sync_data(&self.durable_file);
        }
        // In this order: whoever learns of the end can take the lock.
        drop(self.lock);
        drop(ending);
        drop(self.durable);
    }

    fn take(
        &self,
        batch: Batch,
        buffer: &mut Vec<u8>,
        rooms: &mut Vec<OwnedSemaphorePermit>,
        taken: &mut Taken,
    ) {
        for record in batch.records {
            let offset = self.watermark.end + taken.records;
            // Bytes in flight are far fewer than 2^32.
            let behind = u32::try_from(taken.records).unwrap_or(u32::MAX);
            taken.frame(offset, buffer.len() as u64);
            frame::encode(self.layout.salt, offset, behind, &record, buffer);
        }
        rooms.push(batch.room);
    }

    fn commit(&mut self, group: &[u8], taken: &Taken) -> Result<(), Stop> {
        if taken.records == 0 {
            return Ok(());
        }
        if self.watermark.position >= self.segment_bytes
            && self.watermark.end > self.watermark.segment
        {
            self.roll()?;
        }
        let begun = Instant::now();
        let position = self.watermark.position;
        let path = self.layout.segment(self.watermark.segment);
        let written = self.with_space("write", &path, |this| {
            this.disk
                .write_at(&this.segment, group, position)
                .inspect_err(|_| {
                    // A part of the group may be there; recovery would cut it off as well.
                    let _ = this.segment.set_len(position);
                })
        });
        written?;
        self.sync(&path)?;
        for &(offset, at) in &taken.marks {
            self.builder.see(&self.layout, offset, position + at);
        }
        if !self.builder.entries.is_empty() {
            // Advisory: seeking verifies what it finds and can do without.
            let _ = io::Write::write_all(&mut self.index, &self.builder.entries);
            self.builder.entries.clear();
        }
        let next = Watermark {
            generation: self.watermark.generation + 1,
            end: self.watermark.end + taken.records,
            segment: self.watermark.segment,
            position: position + group.len() as u64,
        };
        self.publish(next)?;
        let meter = &self.shared.meter;
        meter.append.observe_time(begun.elapsed());
        meter.group_records.observe(taken.records);
        meter.group_bytes.observe(group.len() as u64);
        self.next_ordinal += taken.records;
        self.durable.send_replace(Some(Durable {
            ordinal: self.next_ordinal - 1,
            offset: Offset(next.end - 1),
            run_start: 0,
        }));
        Ok(())
    }

    fn sync(&self, path: &std::path::Path) -> Result<(), Stop> {
        self.disk.sync_data(&self.segment).map_err(|error| {
            Stop::Failed(LogError::Poisoned {
                path: path.to_owned(),
                durable_end: Offset(self.watermark.end),
                source: Arc::new(error),
            })
        })
    }

    fn publish(&mut self, next: Watermark) -> Result<(), Stop> {
        let path = self.layout.durable();
        self.with_space("write", &path, |this| {
            next.write(this.layout.salt, &this.durable_file, &*this.disk)
        })?;
        self.watermark = next;
        self.announce.send_replace(next);
        Ok(())
    }

    /// Finishes the segment and begins the next one.
    fn roll(&mut self) -> Result<(), Stop> {
        // Recovery relies on it: the watermark on the disk is in the last segment, or at the very end of the one before.
        let path = self.layout.durable();
        self.disk
            .sync_data(&self.durable_file)
            .map_err(LogError::io("sync", &path))
            .map_err(Stop::Failed)?;
        let first = self.watermark.end;
        let path = self.layout.segment(first);
        self.with_space("create", &path, |this| {
            segment::create_at(&this.layout, first, &path)
        })?;
        let opened = segment::open(&self.layout, first, true).map_err(Stop::Failed)?;
        let (file, _) = opened.ok_or(Stop::Failed(LogError::Stopped))?;
        let index = self.layout.index(first);
        self.index = self.with_space("create", &index, |_| {
            File::options().append(true).create(true).open(&index)
        })?;
        self.builder = IndexBuilder::default();
        self.segment = file;
        let next = Watermark {
            generation: self.watermark.generation + 1,
            segment: first,
            position: segment::HEADER as u64,
            ..self.watermark
        };
        self.publish(next)
    }

    /// Repeats `write` while the disk is full.
    fn with_space<T>(
        &mut self,
        action: &'static str,
        path: &std::path::Path,
        mut write: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> Result<T, Stop> {
        let mut told: Option<Instant> = None;
        loop {
            match write(self) {
                Ok(value) => {
                    if told.is_some() {
                        self.shared.stall.send_replace(None);
                        tracing::info!(log = %self.layout.root.display(), "there is space again; the log goes on");
                    }
                    return Ok(value);
                }
                Err(error) if is_full(&error) => {
                    if told.is_none_or(|at| at.elapsed() >= FULL_REMINDER) {
                        tracing::warn!(
                            log = %self.layout.root.display(), %error,
                            "the disk of the log is full; waiting for space, nothing is lost"
                        );
                        told = Some(Instant::now());
                    }
                    if self.shared.stall.borrow().is_none() {
                        self.shared.stall.send_replace(Some(Stall {
                            since: SystemTime::now(),
                            reason: format!("no space for {}", path.display()),
                        }));
                    }
                    if self.shared.closing.load(Ordering::Acquire) {
                        return Err(Stop::Closing);
                    }
                    self.free_space();
                    std::thread::sleep(FULL_RETRY);
                }
                Err(error) => return Err(Stop::Failed(LogError::io(action, path)(error))),
            }
        }
    }

    /// The capture can't call for retention while it waits for this thread.
    fn free_space(&self) {
        let wanted = *self
            .shared
            .retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((retention, needed)) = wanted {
            // What fails here is tried and reported again when the capture asks for it.
            let _ = retention::expire(&self.layout, retention, needed);
        }
    }
}

/// What has been taken from the queue into one group.
#[derive(Default)]
struct Taken {
    records: u64,
    /// (offset, byte in the group) of frames that may become index entries.
    marks: Vec<(u64, u64)>,
    last_mark: u64,
}

impl Taken {
    fn frame(&mut self, offset: u64, at: u64) {
        if self.marks.is_empty() || at >= self.last_mark + segment::INDEX_STEP / 4 {
            self.marks.push((offset, at));
            self.last_mark = at;
        }
        self.records += 1;
    }
}
