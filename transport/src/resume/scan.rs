//! Reading heads from one place of the log to another.

use binferry_schemas::record::{Head, Offset};

use crate::{
    error::LogError,
    log::{Bounds, Log, Reader, Stored},
    strangers::{Strangers, head_of},
};

/// The heads of our records from one offset to another, both at or below what was the log's end before.
pub(crate) struct Scan<'a> {
    log: &'a dyn Log,
    reader: Option<Box<dyn Reader>>,
    portion: std::vec::IntoIter<Stored>,
    next: Offset,
    end: Offset,
    /// `None`: others' records are skipped without a word.
    strangers: Option<Strangers>,
}

impl<'a> Scan<'a> {
    pub(crate) async fn new(log: &'a dyn Log, from: Offset, end: Offset) -> Result<Self, LogError> {
        let mut scan = Self::quiet(log, from, end).await?;
        scan.strangers = Some(Strangers::new(log));
        Ok(scan)
    }

    /// For a look at a few records that another scan reads as well.
    async fn quiet(log: &'a dyn Log, from: Offset, end: Offset) -> Result<Self, LogError> {
        let reader = if from < end {
            Some(log.reader(from).await?)
        } else {
            None
        };
        Ok(Self {
            log,
            reader,
            portion: Vec::new().into_iter(),
            next: from,
            end,
            strangers: None,
        })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<(Offset, Head)>, LogError> {
        while self.next < self.end {
            let Some(reader) = &mut self.reader else {
                break;
            };
            let Some(stored) = self.portion.next() else {
                let portion = reader.next().await?;
                // What was durable has been handed out: up to `end` there are no more records.
                if portion.is_empty() {
                    break;
                }
                self.portion = portion.into_iter();
                continue;
            };
            if stored.offset >= self.end {
                break;
            }
            self.next = Offset(stored.offset.0.saturating_add(1));
            let head = match &mut self.strangers {
                Some(strangers) => strangers.head(&stored),
                None => head_of(&stored.bytes),
            };
            let head = head.map_err(|source| LogError::Record {
                log: self.log.name(),
                offset: stored.offset,
                source,
            })?;
            if let Some(head) = head {
                return Ok(Some((stored.offset, head)));
            }
        }
        Ok(None)
    }
}

/// The record at an offset, if there is one of ours.
pub(super) async fn head_at(log: &dyn Log, at: Offset) -> Result<Option<Head>, LogError> {
    let mut scan = Scan::quiet(log, at, Offset(at.0.saturating_add(1))).await?;
    Ok(scan.next().await?.map(|(_, head)| head))
}

/// Our last record. Any offset may lack one, the last as well, so it is looked for in windows that grow backwards.
pub(super) async fn last(
    log: &dyn Log,
    bounds: Bounds,
) -> Result<Option<(Offset, Head)>, LogError> {
    const GROWTH: u64 = 8;
    let mut end = bounds.end;
    let mut width = 1;
    while end > bounds.start {
        let from = Offset(end.0.saturating_sub(width)).max(bounds.start);
        let mut scan = Scan::quiet(log, from, end).await?;
        let mut last = None;
        while let Some(found) = scan.next().await? {
            last = Some(found);
        }
        if last.is_some() {
            return Ok(last);
        }
        end = from;
        width = width.saturating_mul(GROWTH);
    }
    Ok(None)
}
