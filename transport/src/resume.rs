//! The fold at the log's end, and at its start, without a store beside the log.
//!
//! The last record points to the newest checkpoint that its writer knew. A checkpoint states the fold at an offset k, at or before its own
//! place; it is true whoever wrote it, so it is loaded and the log is read on from k (not from the checkpoint's place: what lies between
//! may include a `Start` that its writer had not seen). Where that does not lead to a state, the log is searched from its start. An expired
//! prefix is never assumed away: without a checkpoint that stands on what is left, that is an error.
//!
//! On a mirrored copy the pointers and the checkpoints' offsets are another log's. The pointers are not followed, and the checkpoints are
//! translated (`places`). Once a capture writes to a copy, its checkpoints are the copy's own; the mirror has to have stopped by then, for
//! two logs that have both been written to are not one history any more.

mod adopt;
mod places;
mod scan;
mod search;

use binferry_schemas::record::{FoldState, HeadBody, Heartbeat, Incarnation, Offset};

pub use self::adopt::{AdoptError, adopt, related};
pub(crate) use self::scan::Scan;
use self::search::earliest;
use crate::{
    error::LogError,
    fold::{Fold, Outcome},
    log::{Bounds, Log},
};

/// A checkpoint that can be resumed from; the log's beginning as long as it has none.
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
    /// The newest one that was met; `None` in an empty log, and only there: so a `Start` that points nowhere is a log's first record.
    pub checkpoint: Option<Standing>,
    /// The newest one with counts of each incarnation that was met.
    pub heartbeats: Vec<(Incarnation, Heartbeat)>,
}

/// Reading may race with retention; what the newest checkpoint needs is never removed, so a second look suffices, or a third.
const ATTEMPTS: usize = 3;

/// The fold of all that is durable now.
pub async fn tail_state(log: &dyn Log) -> Result<FoldState, LogError> {
    tail(log).await.map(|tail| tail.fold.into_state())
}

/// The fold of all that is durable now, and what the captures have last said of themselves.
pub async fn tail_report(
    log: &dyn Log,
) -> Result<(FoldState, Vec<(Incarnation, Heartbeat)>), LogError> {
    let tail = tail(log).await?;
    Ok((tail.fold.into_state(), tail.heartbeats))
}

/// The earliest fold from which everything that is left can be read: of the empty prefix, or of the first checkpoint that stands on what
/// is left when the log's beginning has expired.
pub async fn start_state(log: &dyn Log) -> Result<FoldState, LogError> {
    let mut attempt = 1;
    loop {
        let bounds = log.bounds().await?;
        refuse_emptied(log, bounds)?;
        if bounds.end == Offset(0) {
            return Ok(Fold::new(log.id()).into_state());
        }
        match earliest(log, bounds, true).await {
            Err(LogError::Expired { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other.map(|found| found.state),
        }
    }
}

pub(crate) async fn tail(log: &dyn Log) -> Result<Tail, LogError> {
    let mut attempt = 1;
    loop {
        match attempt_tail(log).await {
            Err(LogError::Expired { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

async fn attempt_tail(log: &dyn Log) -> Result<Tail, LogError> {
    let bounds = log.bounds().await?;
    refuse_emptied(log, bounds)?;
    if bounds.end == Offset(0) {
        return Ok(Tail {
            fold: Fold::new(log.id()),
            checkpoint: None,
            heartbeats: Vec::new(),
        });
    }
    let Some((last, head)) = scan::last(log, bounds).await? else {
        return Err(LogError::Emptied {
            log: log.name(),
            end: bounds.end,
        });
    };
    let pointer = match &head.body {
        HeadBody::Checkpoint(_) => Some(last),
        _ => head.header.checkpoint,
    };
    let mut found = None;
    if let Some(at) = pointer.filter(|&at| at >= bounds.start && at <= last) {
        // On a mirrored copy the pointer is foreign, and may lead anywhere.
        if let Some(HeadBody::Checkpoint(state)) = scan::head_at(log, at).await?.map(|h| h.body) {
            found = standing(log, bounds.start, at, &state).map(|standing| (standing, state));
        }
    }
    let (fold, checkpoint) = match found {
        Some((standing, state)) => (settled(state), Some(standing)),
        None => {
            let found = earliest(log, bounds, false).await?;
            let standing = Standing {
                record: found.record,
                needs: found.needs,
            };
            (settled(found.state), Some(standing))
        }
    };
    let mut tail = Tail {
        fold,
        checkpoint,
        heartbeats: Vec::new(),
    };
    let from = tail.fold.state().offset;
    let mut scan = Scan::new(log, from, bounds.end).await?;
    while let Some((offset, head)) = scan.next().await? {
        if let HeadBody::Checkpoint(state) = &head.body
            && let Some(newer) = standing(log, bounds.start, offset, state)
        {
            tail.checkpoint = Some(newer);
        }
        let outcome = tail.fold.step(offset, &head).outcome;
        if let HeadBody::Heartbeat(heartbeat) = &head.body
            && outcome == Outcome::Heartbeat
            && heartbeat.counts.is_some()
        {
            let incarnation = head.header.incarnation;
            tail.heartbeats.retain(|(other, _)| *other != incarnation);
            tail.heartbeats.push((incarnation, heartbeat.clone()));
        }
        if outcome == Outcome::Checkpoint
            && let Some(missing) = tail.fold.missed(&head)
        {
            return Err(LogError::Incomplete {
                log: log.name(),
                offset,
                missing,
            });
        }
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
    let transactions = state.sites.iter().filter_map(|site| site.open.as_ref());
    let copies = state.sites.iter().flat_map(|site| &site.copies);
    let rows = copies.filter_map(|copy| copy.open.as_ref());
    let needs = transactions
        .map(|open| open.first)
        .chain(rows.map(|open| open.first))
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

#[cfg(test)]
mod tests;
