//! Where a reader goes on that has kept the fold of what it took, and finds that offset gone, or another log: a copy, as a mirror makes.
//!
//! A target's set says exactly what it has. Read with that set, the fold drops those transactions as known, so any state of the log whose
//! set lies within it is a place to go on from: nothing is repeated, and nothing skipped. The best one is the reader's own state, when the
//! last records that counted for it are found; otherwise the newest checkpoint that knows of no more than the reader has.
//!
//! That holds for transactions. Rows of copies have no GTID: where there are any, only the reader's own state will do.
//!
//! Two logs are never taken for one another without evidence: a record of an incarnation that the reader has followed, or a checkpoint
//! about the reader's log. A topic that was made again has neither.

use binferry_schemas::{
    gtid::GtidSet,
    record::{FoldState, Head, HeadBody, Incarnation, Offset},
};

use super::{
    ATTEMPTS,
    places::Sites,
    scan::Scan,
    search::{self, Beginning, Search},
};
use crate::{
    error::LogError,
    fold::Fold,
    log::{Bounds, Log},
};

/// Why a reader cannot go on in a log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AdoptError {
    #[error(transparent)]
    Log(#[from] LogError),
    /// Nothing shows that the log has the history that the reader knows.
    #[error("the log has nothing of the history that the reader has followed")]
    Unrelated,
    /// The place can be told by the transactions that the reader has, and not by its own last records: rows of copies have no GTID, so they
    /// would come twice, or not at all.
    #[error("the log has copies of tables, the first at record {}, and the records that name the reader's place are not there", .first.0)]
    Copies { first: Offset },
    /// Transactions that the reader lacks are not in the log any more.
    #[error("the log begins at record {}, and the transactions {missing} have expired", .start.0)]
    Expired { start: Offset, missing: GtidSet },
}

/// Whether the log shows the history that `progress` is about.
pub async fn related(log: &dyn Log, progress: &FoldState) -> Result<bool, LogError> {
    if progress.log == log.id() {
        return Ok(true);
    }
    let mut attempt = 1;
    loop {
        match look_for_evidence(log, progress).await {
            Err(LogError::Expired { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

/// The state with which a reader goes on that has taken what `progress` says, of this log or of one that this is a copy of. It is
/// `progress` itself wherever that can be resumed; its set is always that of `progress`. A reader that has nothing yet comes with the fold
/// of the empty prefix.
pub async fn adopt(log: &dyn Log, progress: &FoldState) -> Result<FoldState, AdoptError> {
    let mut attempt = 1;
    loop {
        match attempt_to_adopt(log, progress).await {
            Err(AdoptError::Log(LogError::Expired { .. })) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

async fn look_for_evidence(log: &dyn Log, progress: &FoldState) -> Result<bool, LogError> {
    let bounds = log.bounds().await?;
    let mut scan = Scan::new(log, bounds.start, bounds.end).await?;
    while let Some((_, head)) = scan.next().await? {
        if is_evidence(&head, progress) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_evidence(head: &Head, progress: &FoldState) -> bool {
    let followed = |incarnation: Incarnation| {
        let mut sites = progress.sites.iter();
        sites.any(|site| site.incarnation == incarnation)
    };
    followed(head.header.incarnation)
        || match &head.body {
            HeadBody::Checkpoint(state) => {
                state.log == progress.log || state.sites.iter().any(|s| followed(s.incarnation))
            }
            _ => false,
        }
}

async fn attempt_to_adopt(log: &dyn Log, progress: &FoldState) -> Result<FoldState, AdoptError> {
    let bounds = log.bounds().await?;
    let own = progress.log == log.id();
    // The beginning is no exception from "the offset is still there", but in a topic it has to be proven.
    let needs = Fold::resume(progress.clone()).1;
    if own && (bounds.end == Offset(0) || progress.offset > Offset(0) && needs >= bounds.start) {
        return Ok(progress.clone());
    }
    let mut choice = Choice::new(progress, bounds);
    let mut search = Search::new(log, bounds);
    let mut evidence = own;
    let mut copies = None;
    let mut scan = Scan::new(log, bounds.start, bounds.end).await?;
    while let Some((offset, head)) = scan.next().await? {
        evidence |= is_evidence(&head, progress);
        if matches!(head.body, HeadBody::Snapshot(_) | HeadBody::SnapshotRows(_)) {
            copies = copies.or(Some(offset));
        }
        if let Some(found) = search.take(offset, &head) {
            choice.consider(found.state);
        }
        // Each time that one of the records is met which name the place of the reader's own state.
        let names_place = progress.sites.iter().any(|site| {
            site.incarnation == head.header.incarnation
                && site.next == head.header.sequence.checked_add(1)
        });
        if names_place
            && let Some(state) = search.places().translate(progress, log.id(), Sites::All)
        {
            return Ok(state);
        }
        // What comes after a state that knows of more than the reader has is of no use.
        if evidence
            && choice.beyond.is_some()
            && !matches!(search.beginning(), Beginning::Perhaps(_))
        {
            break;
        }
    }
    if matches!(search.beginning(), Beginning::Unread) && own {
        return Err(LogError::Emptied {
            log: log.name(),
            end: bounds.end,
        }
        .into());
    }
    if !evidence {
        return Err(AdoptError::Unrelated);
    }
    if progress.offset > Offset(0) {
        let under_way = |state: &FoldState| {
            let mut sites = state.sites.iter();
            sites.any(|site| !(site.jobs.is_empty() && site.copies.is_empty()))
        };
        let best = choice.best.as_ref().filter(|state| under_way(state));
        let at = best.map(|state| state.offset);
        let at = at.or(under_way(progress).then_some(bounds.start));
        if let Some(first) = copies.or(at) {
            return Err(AdoptError::Copies { first });
        }
    }
    if let Beginning::Perhaps(_) | Beginning::Proven = search.beginning() {
        let beginning = choice.with(search::beginning(log).state);
        return Ok(choice.best.unwrap_or(beginning));
    }
    match (choice.best, choice.beyond) {
        (Some(best), _) => Ok(best),
        (None, Some(missing)) => Err(AdoptError::Expired {
            start: bounds.start,
            missing,
        }),
        (None, None) => Err(search::no_checkpoint(log, bounds).into()),
    }
}

/// Among the log's states, in order.
struct Choice<'a> {
    progress: &'a FoldState,
    bounds: Bounds,
    /// The newest one that knows of no more than the reader has.
    best: Option<FoldState>,
    /// What the first one that knows of more has beyond the reader.
    beyond: Option<GtidSet>,
}

impl<'a> Choice<'a> {
    fn new(progress: &'a FoldState, bounds: Bounds) -> Self {
        Self {
            progress,
            bounds,
            best: None,
            beyond: None,
        }
    }

    fn consider(&mut self, state: FoldState) {
        let has = &self.progress.set;
        if !has.contains_set(&state.set) {
            if self.beyond.is_none() {
                self.beyond = Some(state.set.subtract(has));
            }
            return;
        }
        let state = self.with(state);
        if Fold::resume(state.clone()).1 >= self.bounds.start {
            self.best = Some(state);
        }
    }

    /// The log's place, and what the reader has.
    fn with(&self, mut state: FoldState) -> FoldState {
        for site in &mut state.sites {
            // The rest of it will be dropped as known.
            site.open
                .take_if(|open| self.progress.set.contains(&open.gtid));
            // Their ends may be in the reader's set, and be dropped; they are the capture's business.
            site.prepared.clear();
        }
        FoldState {
            set: self.progress.set.clone(),
            newest: self.progress.newest.clone(),
            ..state
        }
    }
}
