//! The log as capture and apply see it.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use binferry_schemas::{fingerprint::Fingerprint, gtid::Uuid, record::Offset};
use tokio::sync::watch;

use crate::{error::LogError, meter::LogMeter};

/// No log takes a larger record. Callers keep theirs below `Log::record_bytes`; only a checkpoint with a huge GTID set comes near.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// What a record is kept to where the log itself sets no lower limit.
pub const RECORD_BYTES: usize = 1024 * 1024;

/// A record as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    pub offset: Offset,
    pub bytes: Vec<u8>,
}

/// The writer has taken the records; they are *not* durable yet. Ordinals count this writer's records from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub struct Accepted {
    /// Of the last record that was handed over.
    pub ordinal: u64,
}

/// Everything that this writer appended up to and including `ordinal` is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable {
    pub ordinal: u64,
    /// Of the record with that ordinal.
    pub offset: Offset,
    /// The first ordinal of the newest run of this writer's records that lie at consecutive offsets.
    pub run_start: u64,
}

/// First offset kept, and the end: one past the last durable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub start: Offset,
    pub end: Offset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Keep at most so many bytes.
    pub bytes: Option<u64>,
    /// Keep records at most so long.
    pub age: Option<std::time::Duration>,
}

/// The writer can't write for now; nothing is lost, and it goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    pub since: SystemTime,
    /// For people.
    pub reason: String,
}

/// A registered reader: retention keeps what it still needs.
#[derive(Debug, Clone)]
pub struct Registration {
    pub name: String,
    /// The first offset that it still needs.
    pub needs: Offset,
    pub updated: SystemTime,
}

/// A totally ordered, durable log of records, and a store of schemas by fingerprint.
#[async_trait]
pub trait Log: Send + Sync + std::fmt::Debug {
    /// Fresh and random when the log was created; the same for ever.
    fn id(&self) -> Uuid;
    /// For messages: a path or an address, without secrets.
    fn name(&self) -> String;
    /// Captures keep their records at or below so many bytes; only a checkpoint with a huge GTID set may be larger.
    fn record_bytes(&self) -> usize;
    async fn bounds(&self) -> Result<Bounds, LogError>;
    /// Bytes of the records that are kept; `None` where nobody here can tell.
    async fn kept_bytes(&self) -> Result<Option<u64>, LogError>;
    /// Of the writers of this handle and its clones.
    fn meter(&self) -> Arc<LogMeter>;
    /// The embedded log allows one writer at a time; a second is `LogError::InUse`.
    async fn writer(&self) -> Result<Box<dyn Writer>, LogError>;
    /// Reads from `from` on; `LogError::Expired` when that is below the start.
    async fn reader(&self, from: Offset) -> Result<Box<dyn Reader>, LogError>;
    /// Durable on return; the same text again is no error.
    async fn put_schema(&self, fingerprint: Fingerprint, text: &str) -> Result<(), LogError>;
    async fn schema(&self, fingerprint: Fingerprint) -> Result<Option<String>, LogError>;
    async fn register(&self, name: &str, needs: Offset) -> Result<(), LogError>;
    async fn registrations(&self) -> Result<Vec<Registration>, LogError>;
    /// Leaves a request for the log's capture, which may run anywhere, or not at all now. Durable on return.
    async fn request(&self, id: Uuid, text: &str) -> Result<(), LogError>;
    /// What nobody has answered yet, in the order of the ids.
    async fn requests(&self) -> Result<Vec<(Uuid, String)>, LogError>;
    /// Takes a request away; one that is not there is no error.
    async fn answered(&self, id: Uuid) -> Result<(), LogError>;
    /// False when there was none of that name.
    async fn unregister(&self, name: &str) -> Result<bool, LogError>;
}

#[async_trait]
pub trait Writer: Send + std::fmt::Debug {
    /// Waits until so many bytes may be in flight in addition. The next `append` of at most that many then doesn't wait, so that it
    /// can't be cancelled half-way. Cancelling `room` loses nothing.
    async fn room(&mut self, bytes: usize) -> Result<(), LogError>;
    /// Takes encoded records, in order; waits while too many bytes are in flight. When it is cancelled, none has been taken.
    async fn append(&mut self, records: Vec<Vec<u8>>) -> Result<Accepted, LogError>;
    /// Advances as records become durable; closes when the writer has failed (`failure` then tells why).
    fn durable(&self) -> watch::Receiver<Option<Durable>>;
    /// Waits until `accepted` is durable.
    async fn wait(&mut self, accepted: Accepted) -> Result<Durable, LogError>;
    /// Why the writer has stopped, once it has.
    fn failure(&self) -> Option<LogError>;
    /// What it waits for, while nothing can be written. Can be looked at while a call waits.
    fn stall(&self) -> watch::Receiver<Option<Stall>>;
    /// Removes what retention no longer keeps. What a registered reader needs is always kept, and so is everything from `needed` on:
    /// what the newest checkpoint stands on.
    async fn expire(&mut self, retention: Retention, needed: Offset) -> Result<(), LogError>;
}

#[async_trait]
pub trait Reader: Send + std::fmt::Debug {
    /// The next durable records in order, at most about 1 MiB; waits for some at the log's end. Cancelling it loses nothing.
    ///
    /// Offsets may have gaps, also just before the log's end. An empty answer says that everything has been handed out that was durable
    /// when the reader was made; a log without gaps need not give one.
    async fn next(&mut self) -> Result<Vec<Stored>, LogError>;
}
