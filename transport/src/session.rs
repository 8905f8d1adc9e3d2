//! A capture's attempt at the log: one incarnation, from its `Start` to its end.
//!
//! - Every record gets the incarnation, the next sequence number and a pointer to the newest durable checkpoint.
//! - The session folds its own log: `state` covers what is durable, with whatever other writers put between. Own records at consecutive
//!   offsets are folded from memory; what lies between is read. A session that the fold no longer counts ends itself (`LogError::Ended`).
//! - Checkpoints come every few MiB and, by `tick`, every interval, also when nothing happens: retention must never expire the last one.
//!
//! Cancelling any of the futures loses nothing: a record is taken before the first wait, and handed to the writer in one go.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use binferry_schemas::{
    gtid::Uuid,
    record::{
        Body, Counts, FoldState, Head, HeadBody, Header, Heartbeat, Incarnation, Offset, Prepared,
        Record, Start,
    },
};
use tokio::sync::watch;

use crate::{
    error::LogError,
    fold::Fold,
    log::{Accepted, Durable, Log, MAX_RECORD_BYTES, Retention, Stall, Writer},
    resume::{self, Scan, Standing},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// A checkpoint after so many bytes of records.
    pub checkpoint_bytes: u64,
    /// A checkpoint after so much time.
    pub checkpoint_interval: Duration,
    pub retention: Retention,
    /// A prepared XA transaction that is older is copied to the log's end, so that it never expires.
    pub prepared_age: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            checkpoint_bytes: 4 * 1024 * 1024,
            checkpoint_interval: Duration::from_secs(60),
            retention: Retention::default(),
            prepared_age: Duration::from_secs(3600),
        }
    }
}

/// Handed over when it is this much.
const BUFFER: usize = 1024 * 1024;
const EXPIRE_INTERVAL: Duration = Duration::from_secs(10);
/// A checkpoint is at most this part of the log, however large its GTID set is.
const CHECKPOINT_SHARE: u64 = 8;

#[derive(Debug)]
pub struct Session {
    log: Arc<dyn Log>,
    writer: Box<dyn Writer>,
    durable: watch::Receiver<Option<Durable>>,
    options: SessionOptions,
    site: String,
    incarnation: Incarnation,
    /// Of the next record. The session is its writer's only user, so these are also the writer's ordinals.
    next: u64,
    buffer: Vec<Vec<u8>>,
    buffered: usize,
    /// Heads of own records that are not folded yet, in order.
    own: VecDeque<Head>,
    fold: Fold,
    checkpoint: Option<Standing>,
    since_checkpoint: u64,
    appended: u64,
    counts: Option<Counts>,
    checkpoint_size: u64,
    checkpointed: Instant,
    expired: Instant,
}

impl Session {
    /// Takes the log's writer, appends `start` under a fresh incarnation, and reads the log back up to it: `state` is then the fold from
    /// which the capture has to go on.
    pub async fn start(
        log: Arc<dyn Log>,
        start: Start,
        options: SessionOptions,
    ) -> Result<Self, LogError> {
        // Before the tail is looked at: recovery may find that the log is longer than its readers knew.
        let writer = log.writer().await?;
        let tail = resume::tail(&*log).await?;
        let now = Instant::now();
        let mut session = Self {
            durable: writer.durable(),
            log,
            writer,
            options,
            site: start.site.clone(),
            incarnation: Incarnation(Uuid::new_v4()),
            next: 0,
            buffer: Vec::new(),
            buffered: 0,
            own: VecDeque::new(),
            fold: tail.fold,
            checkpoint: tail.checkpoint,
            since_checkpoint: 0,
            appended: 0,
            counts: None,
            checkpoint_size: 0,
            checkpointed: now,
            expired: now,
        };
        session.push(Body::Start(start))?;
        session.flush().await?;
        session.settle().await?;
        Ok(session)
    }

    /// The fold of everything durable, as of the last call of `append`, `flush`, `tick` or `advance`.
    pub fn state(&self) -> &FoldState {
        self.fold.state()
    }

    /// The site's prepared XA transactions, as `state` has them.
    pub fn prepared(&self) -> &[Prepared] {
        let mut sites = self.fold.state().sites.iter();
        let site = sites.find(|site| site.site == self.site);
        site.map_or(&[], |site| &site.prepared)
    }

    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Bytes of records since the session's start.
    pub fn appended_bytes(&self) -> u64 {
        self.appended
    }

    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Advances when own records become durable, which does not say yet that the fold counts them: `advance` does.
    pub fn durable_watch(&self) -> watch::Receiver<Option<Durable>> {
        self.durable.clone()
    }

    /// What the log waits for, while it can't write; also while a call waits for it.
    pub fn stall(&self) -> watch::Receiver<Option<Stall>> {
        self.writer.stall()
    }

    /// Takes one record. It is handed over with others, at the latest by `flush`. Waits when too much is in flight.
    pub async fn append(&mut self, body: Body<'_>) -> Result<(), LogError> {
        self.push(body)?;
        let due = self
            .options
            .checkpoint_bytes
            .max(self.checkpoint_size.saturating_mul(CHECKPOINT_SHARE));
        if self.since_checkpoint >= due {
            self.observe().await?;
            self.push_checkpoint()?;
        }
        if self.buffered >= BUFFER {
            self.flush().await?;
        }
        Ok(())
    }

    /// Hands over everything; it is durable later.
    pub async fn flush(&mut self) -> Result<(), LogError> {
        if !self.buffer.is_empty() {
            self.writer.room(self.buffered).await?;
            // With the room reserved, this doesn't wait.
            self.buffered = 0;
            let records = std::mem::take(&mut self.buffer);
            let _: Accepted = self.writer.append(records).await?;
        }
        self.observe().await
    }

    /// What the heartbeat beside the next checkpoint says.
    pub fn tell(&mut self, counts: Counts) {
        self.counts = Some(counts);
    }

    /// Waits until everything is durable: `state` is then the fold of all that was appended.
    pub async fn settled(&mut self) -> Result<&FoldState, LogError> {
        self.flush().await?;
        self.settle().await?;
        Ok(self.fold.state())
    }

    /// To be called every second or so: flushes, folds, writes the checkpoint that is due by the clock, and applies retention.
    pub async fn tick(&mut self) -> Result<(), LogError> {
        self.flush().await?;
        let age = self.checkpointed.elapsed();
        let interval = self.options.checkpoint_interval;
        // With nothing in flight a checkpoint covers all there is. Under a steady trickle that moment may never come.
        if age >= interval && (self.own.is_empty() || age >= interval * 2) {
            self.push_checkpoint()?;
            self.flush().await?;
        }
        if self.expired.elapsed() >= EXPIRE_INTERVAL {
            self.expire().await;
        }
        Ok(())
    }

    /// Waits until more is durable, and folds it.
    pub async fn advance(&mut self) -> Result<&FoldState, LogError> {
        if self.durable.changed().await.is_err() {
            return Err(self.writer.failure().unwrap_or(LogError::Stopped));
        }
        self.observe().await?;
        Ok(self.fold.state())
    }

    /// Makes everything durable, ends with a checkpoint of all of it, and gives the writer back.
    pub async fn close(mut self) -> Result<FoldState, LogError> {
        self.settled().await?;
        self.push_checkpoint()?;
        self.settled().await?;
        Ok(self.fold.into_state())
    }

    fn push(&mut self, body: Body<'_>) -> Result<(), LogError> {
        let record = Record {
            header: Header {
                incarnation: self.incarnation,
                sequence: self.next,
                checkpoint: self.checkpoint.map(|checkpoint| checkpoint.record),
            },
            body,
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(LogError::TooBig {
                bytes: bytes.len() as u64,
                limit: MAX_RECORD_BYTES as u64,
            });
        }
        self.own.push_back(Head::of(&record));
        self.next += 1;
        self.buffered += bytes.len();
        self.since_checkpoint += bytes.len() as u64;
        self.appended += bytes.len() as u64;
        self.buffer.push(bytes);
        Ok(())
    }

    fn push_checkpoint(&mut self) -> Result<(), LogError> {
        // Before it, so that whoever goes on from the checkpoint's offset meets it.
        if let Some(counts) = self.counts.take() {
            let at = SystemTime::now().duration_since(UNIX_EPOCH);
            self.push(Body::Heartbeat(Heartbeat {
                at_us: at.map_or(0, |at| u64::try_from(at.as_micros()).unwrap_or(u64::MAX)),
                counts: Some(counts),
            }))?;
        }
        let before = self.buffered;
        self.push(Body::Checkpoint(self.fold.state().clone()))?;
        self.checkpoint_size = (self.buffered - before) as u64;
        self.since_checkpoint = 0;
        self.checkpointed = Instant::now();
        Ok(())
    }

    /// Waits until all that was handed over is durable, and folds it.
    async fn settle(&mut self) -> Result<(), LogError> {
        if let Some(ordinal) = self.next.checked_sub(1) {
            self.writer.wait(Accepted { ordinal }).await?;
        }
        self.observe().await
    }

    /// Folds what has become durable, without waiting for more.
    async fn observe(&mut self) -> Result<(), LogError> {
        let newest = *self.durable.borrow_and_update();
        if let Some(durable) = newest {
            self.fold_up_to(durable).await?;
            self.still_counts()?;
        }
        // The channel closes when the writer has failed; what was durable before has been folded.
        if self.durable.has_changed().is_err() {
            return Err(self.writer.failure().unwrap_or(LogError::Stopped));
        }
        Ok(())
    }

    async fn fold_up_to(&mut self, durable: Durable) -> Result<(), LogError> {
        while self.fold.state().offset <= durable.offset {
            let here = self.fold.state().offset;
            match self.own.front() {
                Some(own) if offset_of(own.header.sequence, durable) == Some(here) => {
                    if let Some(own) = self.own.pop_front() {
                        self.take(here, &own);
                    }
                }
                // It reads all there is up to what is durable; the end itself may be an offset without a record.
                _ => return self.read_between(durable).await,
            }
        }
        Ok(())
    }

    /// Reads the log up to what is durable: there are records of others, or own ones whose places are not known.
    async fn read_between(&mut self, durable: Durable) -> Result<(), LogError> {
        let log = self.log.clone();
        let end = Offset(durable.offset.0.saturating_add(1));
        let mut scan = Scan::new(&*log, self.fold.state().offset, end).await?;
        while let Some((offset, head)) = scan.next().await? {
            let front = self.own.front().map(|own| own.header.sequence);
            if head.header.incarnation == self.incarnation && front == Some(head.header.sequence) {
                self.own.pop_front();
            }
            self.take(offset, &head);
        }
        Ok(())
    }

    fn take(&mut self, offset: Offset, head: &Head) {
        if let HeadBody::Checkpoint(state) = &head.body
            && let Some(standing) = resume::standing(&*self.log, Offset(0), offset, state)
        {
            self.checkpoint = Some(standing);
        }
        // What the session needs of it is in the state.
        let _ = self.fold.step(offset, head);
    }

    /// Own records that are durable are folded: if the fold doesn't go on with this incarnation, it has ended.
    fn still_counts(&self) -> Result<(), LogError> {
        let site = self
            .fold
            .state()
            .sites
            .iter()
            .find(|site| site.site == self.site);
        let by = match site {
            Some(site) if site.incarnation != self.incarnation => Some(site.incarnation),
            Some(site) if site.next.is_some() => return Ok(()),
            _ => None,
        };
        Err(LogError::Ended {
            log: self.log.name(),
            site: self.site.clone(),
            by,
        })
    }

    async fn expire(&mut self) {
        self.expired = Instant::now();
        let retention = self.options.retention;
        let Some(checkpoint) = self.checkpoint else {
            return;
        };
        if retention == Retention::default() {
            return;
        }
        // What is prepared is read again when it commits.
        let prepared = self.prepared().iter().map(|prepared| prepared.first);
        let needed = prepared.fold(checkpoint.needs, Offset::min);
        if let Err(error) = self.writer.expire(retention, needed).await {
            // Keeping too much harms nobody yet.
            tracing::warn!(log = self.log.name(), %error, "cannot apply the log's retention");
        }
    }
}

/// Where the own record is, if it lies in the newest run of consecutive offsets.
fn offset_of(ordinal: u64, durable: Durable) -> Option<Offset> {
    let behind = durable.ordinal.checked_sub(ordinal)?;
    (ordinal >= durable.run_start)
        .then(|| durable.offset.0.checked_sub(behind).map(Offset))
        .flatten()
}

#[cfg(test)]
mod tests;
