//! The fold at the log's end, and at its start, without a store beside the log.
//!
//! The last record points to the newest checkpoint that its writer knew. A checkpoint states the fold at an offset k, at or before its own
//! place; it is true whoever wrote it, so it is loaded and the log is read on from k (not from the checkpoint's place: what lies between
//! may include a `Start` that its writer had not seen). Where that does not lead to a state, the log is scanned from its start. An expired
//! prefix is never assumed away: without a checkpoint that stands on what is left, that is an error.

use binferry_schemas::record::{FoldState, Head, HeadBody, Offset};

use crate::{
    error::LogError,
    fold::Fold,
    log::{Bounds, Log, Stored},
};

/// A checkpoint that can be resumed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Where it is.
    pub record: Offset,
    /// The earliest record that is needed to go on from it.
    pub needs: Offset,
}

#[derive(Debug)]
pub(crate) struct Tail {
    pub fold: Fold,
    /// The newest one that was met.
    pub checkpoint: Option<Standing>,
}

/// Reading may race with retention; what the newest checkpoint needs is never removed, so a second look suffices, or a third.
const ATTEMPTS: usize = 3;

/// The fold of all that is durable now.
pub async fn tail_state(log: &dyn Log) -> Result<FoldState, LogError> {
    let mut attempt = 1;
    loop {
        match tail(log).await {
            Err(LogError::Expired { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other.map(|tail| tail.fold.into_state()),
        }
    }
}

/// The earliest fold from which everything that is left can be read: of the empty prefix, or of the first checkpoint that stands on what
/// is left when the log's beginning has expired.
pub async fn start_state(log: &dyn Log) -> Result<FoldState, LogError> {
    let bounds = log.bounds().await?;
    refuse_emptied(log, bounds)?;
    if bounds.start.0 == 0 {
        return Ok(Fold::new(log.id()).into_state());
    }
    first_standing(log, bounds, true)
        .await
        .map(|(_, state)| state)
}

pub(crate) async fn tail(log: &dyn Log) -> Result<Tail, LogError> {
    let bounds = log.bounds().await?;
    refuse_emptied(log, bounds)?;
    if bounds.end.0 == 0 {
        return Ok(Tail {
            fold: Fold::new(log.id()),
            checkpoint: None,
        });
    }
    let last = Offset(bounds.end.0 - 1);
    let head = head_at(log, last).await?;
    let pointer = match &head.body {
        HeadBody::Checkpoint(_) => Some(last),
        _ => head.header.checkpoint,
    };
    let mut found = None;
    if let Some(at) = pointer.filter(|&at| at >= bounds.start && at <= last) {
        // On a mirrored copy the pointer is foreign, and may lead anywhere.
        if let HeadBody::Checkpoint(state) = head_at(log, at).await?.body {
            found = standing(log, bounds.start, at, &state).map(|standing| (standing, state));
        }
    }
    let (fold, checkpoint) = match found {
        Some((standing, state)) => (settled(state), Some(standing)),
        None if bounds.start.0 == 0 => (Fold::new(log.id()), None),
        None => {
            let (standing, state) = first_standing(log, bounds, false).await?;
            (settled(state), Some(standing))
        }
    };
    let mut tail = Tail { fold, checkpoint };
    let from = tail.fold.state().offset;
    let mut scan = Scan::new(log, from, bounds.end).await?;
    while let Some((offset, head)) = scan.next().await? {
        if let HeadBody::Checkpoint(state) = &head.body
            && let Some(newer) = standing(log, bounds.start, offset, state)
        {
            tail.checkpoint = Some(newer);
        }
        let _ = tail.fold.step(offset, &head);
    }
    Ok(tail)
}

/// Goes on at the state's offset: open transactions' chunks are of no interest here.
fn settled(state: FoldState) -> Fold {
    Fold::resume(state).0
}

pub(crate) fn standing(
    log: &dyn Log,
    start: Offset,
    at: Offset,
    state: &FoldState,
) -> Option<Standing> {
    let opens = state.sites.iter().filter_map(|site| site.open.as_ref());
    let needs = opens
        .map(|open| open.first)
        .fold(state.offset.min(at), Offset::min);
    (state.log == log.id() && state.offset <= at && state.offset >= start)
        .then_some(Standing { record: at, needs })
}

fn refuse_emptied(log: &dyn Log, bounds: Bounds) -> Result<(), LogError> {
    if bounds.end.0 > 0 && bounds.start >= bounds.end {
        return Err(LogError::Emptied {
            log: log.name(),
            end: bounds.end,
        });
    }
    Ok(())
}

/// With `whole`, one whose open transactions are all there from their first chunk.
async fn first_standing(
    log: &dyn Log,
    bounds: Bounds,
    whole: bool,
) -> Result<(Standing, FoldState), LogError> {
    let mut scan = Scan::new(log, bounds.start, bounds.end).await?;
    while let Some((offset, head)) = scan.next().await? {
        if let HeadBody::Checkpoint(state) = head.body
            && let Some(standing) = standing(log, bounds.start, offset, &state)
            && (!whole || standing.needs >= bounds.start)
        {
            return Ok((standing, state));
        }
    }
    Err(LogError::NoCheckpoint {
        log: log.name(),
        start: bounds.start,
    })
}

async fn head_at(log: &dyn Log, at: Offset) -> Result<Head, LogError> {
    let mut scan = Scan::new(log, at, Offset(at.0 + 1)).await?;
    match scan.next().await? {
        Some((_, head)) => Ok(head),
        None => Err(LogError::Stopped),
    }
}

/// The heads of the records from one offset to another, both below the log's end.
pub(crate) struct Scan<'a> {
    log: &'a dyn Log,
    reader: Option<Box<dyn crate::log::Reader>>,
    portion: std::vec::IntoIter<Stored>,
    next: Offset,
    end: Offset,
}

impl<'a> Scan<'a> {
    pub(crate) async fn new(log: &'a dyn Log, from: Offset, end: Offset) -> Result<Self, LogError> {
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
            let head = Head::decode(&stored.bytes).map_err(|source| LogError::Record {
                log: self.log.name(),
                offset: stored.offset,
                source,
            })?;
            return Ok(Some((stored.offset, head)));
        }
        Ok(None)
    }
}
