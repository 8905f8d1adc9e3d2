//! The states from which a log can be read whose own tail does not lead to one: from its beginning, or from its checkpoints, in order.

use binferry_schemas::record::{FoldState, Head, HeadBody, Offset};

use super::{
    places::{Places, Sites},
    scan::Scan,
    standing,
};
use crate::{
    error::LogError,
    fold::{Fold, Outcome},
    log::{Bounds, Log},
};

/// A state that can be resumed from.
#[derive(Debug)]
pub(super) struct Found {
    /// The checkpoint, or the log's beginning.
    pub record: Offset,
    /// The earliest record that is needed to find it and to go on from it.
    pub needs: Offset,
    pub state: FoldState,
}

/// Whether the first record is the first that was ever written. An offset of 0 does not prove it: a copy begins at 0 with whatever was
/// left of the original.
#[derive(Debug)]
pub(super) enum Beginning {
    /// Nothing of ours has been read.
    Unread,
    /// The log begins with a `Start` that points nowhere: its writer found an empty log. The fold from there, to compare with the first
    /// checkpoint that counts, which must not know of more: several captures may have found the log empty.
    Perhaps(Box<Fold>),
    Proven,
    /// What was before has expired.
    No,
}

/// Takes the records from the log's start on.
#[derive(Debug)]
pub(super) struct Search<'a> {
    log: &'a dyn Log,
    start: Offset,
    beginning: Beginning,
    places: Places,
}

impl<'a> Search<'a> {
    pub(super) fn new(log: &'a dyn Log, bounds: Bounds) -> Self {
        Self {
            log,
            start: bounds.start,
            beginning: Beginning::Unread,
            places: Places::default(),
        }
    }

    pub(super) fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The state of a record that is a checkpoint and can be resumed from. Chunks of open transactions may have expired.
    pub(super) fn take(&mut self, offset: Offset, head: &Head) -> Option<Found> {
        self.judge(offset, head);
        let found = match &head.body {
            HeadBody::Checkpoint(state) if state.log == self.log.id() => {
                standing(self.log, self.start, offset, state).map(|standing| Found {
                    record: offset,
                    needs: standing.needs,
                    state: state.clone(),
                })
            }
            HeadBody::Checkpoint(state) => {
                let state = self.places.translate(state, self.log.id(), Sites::Any);
                state.map(|state| Found {
                    record: offset,
                    // Its place is found by the records before it.
                    needs: self.start,
                    state,
                })
            }
            _ => None,
        };
        self.places.take(offset, head);
        found
    }

    fn judge(&mut self, offset: Offset, head: &Head) {
        if let Beginning::Unread = self.beginning {
            let header = &head.header;
            let first = matches!(head.body, HeadBody::Start(_))
                && header.sequence == 0
                && header.checkpoint.is_none();
            self.beginning = if first && self.start == Offset(0) {
                Beginning::Perhaps(Box::new(Fold::new(self.log.id())))
            } else {
                Beginning::No
            };
        }
        let Beginning::Perhaps(fold) = &mut self.beginning else {
            return;
        };
        if fold.step(offset, head).outcome == Outcome::Checkpoint {
            self.beginning = match fold.missed(head) {
                None => Beginning::Proven,
                Some(_) => Beginning::No,
            };
        }
    }
}

/// The earliest state from which everything that is left can be read. With `whole`, also the transactions that are open there.
pub(super) async fn earliest(
    log: &dyn Log,
    bounds: Bounds,
    whole: bool,
) -> Result<Found, LogError> {
    let mut search = Search::new(log, bounds);
    let mut first = None;
    let mut scan = Scan::new(log, bounds.start, bounds.end).await?;
    while let Some((offset, head)) = scan.next().await? {
        let found = search.take(offset, &head);
        first = first.or(found.filter(|found| !whole || found.needs >= bounds.start));
        match search.beginning() {
            Beginning::Proven => break,
            Beginning::No if first.is_some() => break,
            _ => {}
        }
    }
    match search.beginning() {
        Beginning::Unread => Err(LogError::Emptied {
            log: log.name(),
            end: bounds.end,
        }),
        Beginning::Perhaps(_) | Beginning::Proven => Ok(beginning(log)),
        Beginning::No => first.ok_or_else(|| no_checkpoint(log, bounds)),
    }
}

pub(super) fn beginning(log: &dyn Log) -> Found {
    Found {
        record: Offset(0),
        needs: Offset(0),
        state: Fold::new(log.id()).into_state(),
    }
}

pub(super) fn no_checkpoint(log: &dyn Log, bounds: Bounds) -> LogError {
    LogError::NoCheckpoint {
        log: log.name(),
        start: bounds.start,
    }
}
