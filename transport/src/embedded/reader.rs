//! Reading: only below the durable watermark, every frame verified.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use binferry_schemas::record::Offset;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Shared,
    segment::{self, Cursor, Next},
    task,
    watermark::Watermark,
};
use crate::{
    error::LogError,
    log::{Reader, Stored},
};

/// Records are handed out in portions of about so many bytes.
const PORTION: usize = 1024 * 1024;
/// How often a watermark that another process writes is looked at: often after news, rarely when all is quiet.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

type Portion = Result<Vec<Stored>, LogError>;

#[derive(Debug)]
pub(crate) struct EmbeddedReader {
    shared: Arc<Shared>,
    /// `None` while a read is under way.
    place: Option<Place>,
    /// Kept here so that a cancelled `next` goes on where it was.
    reading: Option<JoinHandle<(Place, Portion)>>,
    news: watch::Receiver<Watermark>,
    patience: Duration,
}

#[derive(Debug)]
struct Place {
    next: u64,
    cursor: Option<Cursor>,
}

impl EmbeddedReader {
    pub(crate) fn new(shared: Arc<Shared>, from: Offset) -> Self {
        Self {
            news: shared.announce.subscribe(),
            shared,
            place: Some(Place {
                next: from.0,
                cursor: None,
            }),
            reading: None,
            patience: POLL.0,
        }
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn next(&mut self) -> Result<Vec<Stored>, LogError> {
        loop {
            if let Some(mut place) = self.place.take() {
                let shared = self.shared.clone();
                self.reading = Some(tokio::task::spawn_blocking(move || {
                    let portion = place.read(&shared);
                    (place, portion)
                }));
            }
            if let Some(reading) = &mut self.reading {
                let outcome = task::joined(reading.await);
                self.reading = None;
                let (place, portion) = outcome?;
                let next = place.next;
                self.place = Some(place);
                let portion = portion?;
                if !portion.is_empty() {
                    self.patience = POLL.0;
                    return Ok(portion);
                }
                self.wait(next).await;
            } else {
                // A task of ours panicked before.
                return Err(LogError::Stopped);
            }
        }
    }
}

impl EmbeddedReader {
    async fn wait(&mut self, next: u64) {
        if self.news.borrow_and_update().end > next {
            return;
        }
        tokio::select! {
            _ = self.news.changed() => {}
            () = tokio::time::sleep(self.patience) => self.patience = (self.patience * 2).min(POLL.1),
        }
    }
}

impl Place {
    /// What is there now; nothing at the end.
    fn read(&mut self, shared: &Shared) -> Result<Vec<Stored>, LogError> {
        let watermark = shared.watermark()?;
        let mut portion = Vec::new();
        let mut bytes = 0;
        while self.next < watermark.end && bytes < PORTION {
            if !self.find(shared, &watermark)? {
                break;
            }
            let Some(cursor) = &mut self.cursor else {
                break;
            };
            let layout = &shared.layout;
            let path = layout.segment(cursor.first);
            let current = cursor.first == watermark.segment;
            let limit = if current {
                watermark.position
            } else {
                let metadata = cursor
                    .file
                    .metadata()
                    .map_err(LogError::io("read", &path))?;
                metadata.len()
            };
            while bytes < PORTION {
                let (offset, position) = (cursor.offset, cursor.position);
                let bad =
                    |reason: &str| LogError::corrupt(&path, Some(Offset(offset)), position, reason);
                match cursor.next(layout, limit) {
                    Ok(Next::Frame(payload)) => {
                        bytes += payload.len();
                        portion.push(Stored {
                            offset: Offset(offset),
                            bytes: payload.to_vec(),
                        });
                        self.next = offset + 1;
                    }
                    Ok(Next::End) if position == limit && !current => {
                        // Whether the next segment begins here is seen when it is opened.
                        self.cursor = None;
                        break;
                    }
                    Ok(Next::End) if position == limit && offset == watermark.end => {
                        return Ok(portion);
                    }
                    Ok(Next::End) => return Err(bad("it is cut off")),
                    Ok(Next::Bad(reason)) => return Err(bad(reason)),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Err(bad("the file ends within its durable part"));
                    }
                    Err(error) => return Err(LogError::io("read", &path)(error)),
                }
            }
        }
        Ok(portion)
    }

    /// Opens the segment that holds the next record, when none is open.
    fn find(&mut self, shared: &Shared, watermark: &Watermark) -> Result<bool, LogError> {
        let layout = &shared.layout;
        while self.cursor.is_none() {
            let segments = layout.segments()?;
            let at = segments.partition_point(|&first| first <= self.next);
            let Some(&first) = at.checked_sub(1).and_then(|at| segments.get(at)) else {
                return Err(shared.expired(Offset(self.next), Offset(segments[0])));
            };
            // Removed by retention since it was listed: look again, for the error that says so.
            let Some((file, _)) = segment::open(layout, first, false)? else {
                continue;
            };
            let path = layout.segment(first);
            let limit = if first == watermark.segment {
                watermark.position
            } else {
                file.metadata().map_err(LogError::io("read", &path))?.len()
            };
            let mut cursor = Cursor::new(file, first);
            if !cursor.seek(layout, self.next, limit)? {
                return Err(LogError::corrupt(
                    &path,
                    Some(Offset(self.next)),
                    cursor.position,
                    "the record is not there",
                ));
            }
            // A finished segment may end just before the record: then the next one does not begin where this one ends.
            if first != watermark.segment && cursor.position == limit {
                return Err(LogError::corrupt(
                    &layout.segment(self.next),
                    Some(Offset(self.next)),
                    0,
                    "the segment is missing",
                ));
            }
            self.cursor = Some(cursor);
        }
        Ok(true)
    }
}
