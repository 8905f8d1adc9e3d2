//! The fold: which records of the log count. Every reader runs it, and all come to the same answer, so that no lock, no clock and no dead
//! process has to be believed.
//!
//! 1. A record counts only if its incarnation is that of its site's newest `Start` before it, and its sequence number is the next one.
//! 2. A lower number is a repeat, and dropped. A higher one ends the incarnation: nothing of it counts any more, until another `Start`.
//! 3. A transaction is accepted at its last chunk. One that a `Start` of its site, a gap, or another transaction interrupts is void: its
//!    chunks are forgotten. What has been accepted is never taken back.
//! 4. A transaction whose GTID is in the set is dropped; its sequence numbers count all the same.
//! 5. A transaction whose last chunk is an `XaPrepared` is in the set then, and its chunks are forgotten: nothing of it is delivered. Where
//!    they lie is kept for the capture, which sends the changes again when the XA transaction commits: with the GTID of the XA COMMIT, as
//!    a transaction like any other. Its end says so (`xa_end`), and they are forgotten for good. A prepared transaction may come again
//!    before that, as a copy: it moves to where the copy lies.
//! 6. A copy's steps and rows are records without a GTID, which rules 1 and 2 suffice for. Rows count when they are the copy's next range,
//!    and a range that comes in parts counts with its last. Across incarnations the ranges go on: the state says behind which key.
//!
//! `FoldState` is a statement about a prefix of the log. A reader keeps it (with its data, in one transaction), or takes it from a
//! checkpoint, and reads on from there; nobody reads on from a bare offset.
//!
//! Pure: no I/O, no clock, and no step can fail.

pub use binferry_schemas::record::Head;
use binferry_schemas::{
    gtid::{Gtid, GtidSet, Uuid},
    record::{
        CopyState, FoldState, HeadBody, Incarnation, JobState, Newest, Offset, OpenRows,
        OpenTransaction, Prepared, PreparedHead, RowsHead, SiteState, SnapshotEnd, SnapshotGivenUp,
        SnapshotJob, SnapshotStep, Start, TransactionHead,
    },
};

/// What a record meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Step {
    pub outcome: Outcome,
    /// This open transaction has just been forgotten: what was taken of its chunks is to be undone.
    pub voided: Option<OpenTransaction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A part of a transaction.
    Chunk {
        /// Offset of the transaction's first chunk; this record's own when it is the first.
        first: Offset,
        /// The transaction is accepted with this record.
        last: bool,
        /// Read again after `Fold::resume`, because the transaction was open; the state doesn't change.
        again: bool,
    },
    /// A transaction is accepted that only prepares changes, or it comes again: there is nothing to deliver, and its chunks before this
    /// one (`voided`) are to be forgotten.
    Prepared,
    /// A step of a copy.
    Snapshot,
    /// Rows of a copy.
    Rows {
        /// Offset of the range's first part; this record's own when it has one.
        first: Offset,
        /// The range counts with this record. Parts before it may turn out to count for nothing: then part 0 comes again.
        last: bool,
        /// Read again after `Fold::resume`, because the range was open; the state doesn't change.
        again: bool,
    },
    Start,
    Checkpoint,
    Heartbeat,
    Ignored(Reason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Counted before: a lower sequence number, the newest `Start` once more, or an offset below the state's.
    Repeat,
    /// Not of its site's newest incarnation, or of one that has ended.
    Void,
    /// This record's number shows that one is missing: the incarnation has ended.
    Gap,
    /// The transaction is in the set; the range has been counted.
    Known,
    /// What came before it did not count: chunks of its transaction, its copy's beginning, ranges or parts.
    Orphan,
}

#[derive(Debug, Clone)]
pub struct Fold {
    state: FoldState,
    /// What is open and being read again, while the offset is below the state's.
    again: Vec<Again>,
}

#[derive(Debug, Clone)]
struct Again {
    incarnation: Incarnation,
    what: Open,
    first: Offset,
    /// The sequence number that counted next; `None` until the first chunk.
    next: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Transaction(Gtid),
    /// A range: the copy, and the range's number.
    Rows(Uuid, u64),
}

impl Fold {
    /// Of the empty prefix.
    pub fn new(log: Uuid) -> Self {
        Self {
            state: FoldState {
                log,
                offset: Offset(0),
                set: GtidSet::new(),
                newest: None,
                sites: Vec::new(),
            },
            again: Vec::new(),
        }
    }

    /// Goes on from a state. Reading starts at the offset in the answer: at the earliest first chunk of an open transaction (or part of
    /// a range), and otherwise at the state's. Below the state's offset, `step` hands out the chunks of what is open again, and ignores
    /// everything else.
    pub fn resume(state: FoldState) -> (Self, Offset) {
        let mut again = Vec::new();
        for site in &state.sites {
            let mut open = |what, first| {
                again.push(Again {
                    incarnation: site.incarnation,
                    what,
                    first,
                    next: None,
                });
            };
            if let Some(transaction) = &site.open {
                open(Open::Transaction(transaction.gtid), transaction.first);
            }
            for copy in &site.copies {
                if let Some(rows) = &copy.open {
                    open(Open::Rows(copy.copy, copy.next_chunk), rows.first);
                }
            }
        }
        let from = again
            .iter()
            .map(|a| a.first)
            .fold(state.offset, Offset::min);
        (Self { state, again }, from)
    }

    pub fn state(&self) -> &FoldState {
        &self.state
    }

    pub fn into_state(self) -> FoldState {
        self.state
    }

    /// Takes the record at `offset`. Offsets must rise; a log may leave some out.
    pub fn step(&mut self, offset: Offset, head: &Head) -> Step {
        if offset < self.state.offset {
            return Step::plain(self.read_again(offset, head));
        }
        self.state.offset = Offset(offset.0.saturating_add(1));
        match &head.body {
            HeadBody::Start(start) => self.start(head.header.incarnation, start),
            HeadBody::WriteSet(chunk) | HeadBody::Ddl(chunk) => {
                self.count(head, |counted| counted.chunk(offset, chunk))
            }
            HeadBody::XaPrepared(prepared) => {
                self.count(head, |counted| counted.prepared(offset, prepared))
            }
            HeadBody::Snapshot(snapshot) => self.count(head, |counted| {
                counted.snapshot(&snapshot.step);
                Step::plain(Outcome::Snapshot)
            }),
            HeadBody::SnapshotRows(rows) => {
                self.count(head, |counted| Step::plain(counted.rows(offset, rows)))
            }
            HeadBody::Checkpoint(_) => self.count(head, |_| Step::plain(Outcome::Checkpoint)),
            HeadBody::Heartbeat(_) => self.count(head, |_| Step::plain(Outcome::Heartbeat)),
        }
    }

    /// What a checkpoint that has just counted states beyond this fold. Its statement is about a prefix, so there is nothing, unless records
    /// are missing that its writer has read.
    pub fn missed(&self, head: &Head) -> Option<GtidSet> {
        match &head.body {
            HeadBody::Checkpoint(stated) if !self.state.set.contains_set(&stated.set) => {
                Some(stated.set.subtract(&self.state.set))
            }
            _ => None,
        }
    }

    /// Rule 1 and 2 for one incarnation, beginning at the first chunk. There are no gaps: the transaction is still open at the state.
    fn read_again(&mut self, offset: Offset, head: &Head) -> Outcome {
        for again in &mut self.again {
            let header = &head.header;
            if again.incarnation != header.incarnation || offset < again.first {
                continue;
            }
            if again.next.is_some_and(|next| next != header.sequence)
                || matches!(head.body, HeadBody::Start(_))
            {
                continue;
            }
            again.next = header.sequence.checked_add(1);
            let (first, last) = (again.first, false);
            match (&head.body, again.what) {
                (HeadBody::WriteSet(chunk) | HeadBody::Ddl(chunk), Open::Transaction(gtid))
                    if chunk.gtid == gtid =>
                {
                    return Outcome::Chunk {
                        first,
                        last,
                        again: true,
                    };
                }
                (HeadBody::SnapshotRows(rows), Open::Rows(copy, chunk))
                    if rows.copy == copy && rows.chunk == chunk =>
                {
                    return Outcome::Rows {
                        first,
                        last,
                        again: true,
                    };
                }
                _ => {}
            }
        }
        Outcome::Ignored(Reason::Repeat)
    }

    fn start(&mut self, incarnation: Incarnation, start: &Start) -> Step {
        let at = self
            .state
            .sites
            .binary_search_by(|site| site.site.cmp(&start.site));
        let fresh = SiteState {
            site: start.site.clone(),
            server: start.server,
            incarnation,
            next: Some(1),
            filter: start.filter.clone(),
            open: None,
            prepared: Vec::new(),
            jobs: Vec::new(),
            copies: Vec::new(),
        };
        let voided = match at {
            Ok(at) => {
                let site = &mut self.state.sites[at];
                if site.incarnation == incarnation {
                    return Step::plain(Outcome::Ignored(Reason::Repeat));
                }
                let before = std::mem::replace(site, fresh);
                site.prepared = before.prepared;
                site.jobs = before.jobs;
                site.copies = before.copies;
                site.copies.iter_mut().for_each(|copy| copy.open = None);
                if let Some(job) = &start.job {
                    want(site, job);
                }
                before.open
            }
            Err(at) => {
                self.state.sites.insert(at, fresh);
                self.state.set.union_with(&start.base);
                if let Some(job) = &start.job {
                    want(&mut self.state.sites[at], job);
                }
                None
            }
        };
        Step {
            outcome: Outcome::Start,
            voided,
        }
    }

    /// Rules 1 and 2; `counted` says what the record means when it counts.
    fn count(&mut self, head: &Head, counted: impl FnOnce(Counted<'_>) -> Step) -> Step {
        let header = &head.header;
        let FoldState {
            sites, set, newest, ..
        } = &mut self.state;
        let Some(site) = sites
            .iter_mut()
            .find(|site| site.incarnation == header.incarnation)
        else {
            return Step::plain(Outcome::Ignored(Reason::Void));
        };
        let Some(next) = site.next else {
            return Step::plain(Outcome::Ignored(Reason::Void));
        };
        if header.sequence < next {
            return Step::plain(Outcome::Ignored(Reason::Repeat));
        }
        if header.sequence > next {
            site.next = None;
            site.copies.iter_mut().for_each(|copy| copy.open = None);
            return Step {
                outcome: Outcome::Ignored(Reason::Gap),
                voided: site.open.take(),
            };
        }
        // At the end of the numbers the incarnation ends as well.
        site.next = next.checked_add(1);
        counted(Counted { site, set, newest })
    }
}

/// The parts of the state that a record which counts can change.
struct Counted<'a> {
    site: &'a mut SiteState,
    set: &'a mut GtidSet,
    newest: &'a mut Option<Newest>,
}

impl Counted<'_> {
    /// Rules 3 and 4.
    fn chunk(self, offset: Offset, chunk: &TransactionHead) -> Step {
        let before = self.site.open.take();
        // Only an `XaPrepared` ends a copy.
        if self.set.contains(&chunk.gtid) && (chunk.last || !self.is_prepared(&chunk.gtid)) {
            return Step {
                outcome: Outcome::Ignored(Reason::Known),
                voided: before,
            };
        }
        let (first, voided) = match attach(before, offset, chunk) {
            Ok(attached) => attached,
            Err(orphan) => return orphan,
        };
        if chunk.last {
            if let Some(end) = &chunk.xa_end {
                self.site.prepared.retain(|other| other.xid != end.xid);
            }
            self.set.insert(chunk.gtid);
            *self.newest = Some(Newest {
                gtid: chunk.gtid,
                original_commit_us: chunk.original_commit_us,
                immediate_commit_us: chunk.immediate_commit_us,
            });
        } else {
            self.site.open = Some(OpenTransaction {
                gtid: chunk.gtid,
                first,
                // No transaction has 2^32 chunks; one that claimed to would become an orphan.
                next_chunk: chunk.chunk.saturating_add(1),
            });
        }
        Step {
            outcome: Outcome::Chunk {
                first,
                last: chunk.last,
                again: false,
            },
            voided,
        }
    }

    /// Rule 5.
    fn prepared(self, offset: Offset, prepared: &PreparedHead) -> Step {
        let chunk = &prepared.transaction;
        let before = self.site.open.take();
        let known = self.set.contains(&chunk.gtid);
        if known && !self.is_prepared(&chunk.gtid) {
            return Step {
                outcome: Outcome::Ignored(Reason::Known),
                voided: before,
            };
        }
        let held = before.clone();
        let first = match attach(before, offset, chunk) {
            Ok((first, _)) => first,
            Err(orphan) => return orphan,
        };
        let places = &mut self.site.prepared;
        places.retain(|other| other.gtid != chunk.gtid && other.xid != prepared.xid);
        places.push(Prepared {
            xid: prepared.xid.clone(),
            gtid: chunk.gtid,
            first,
            last: offset,
            at_us: prepared.at_us,
        });
        if !known {
            self.set.insert(chunk.gtid);
            *self.newest = Some(Newest {
                gtid: chunk.gtid,
                original_commit_us: chunk.original_commit_us,
                immediate_commit_us: chunk.immediate_commit_us,
            });
        }
        Step {
            outcome: Outcome::Prepared,
            voided: held,
        }
    }

    /// Rule 6.
    fn snapshot(self, step: &SnapshotStep) {
        let site = self.site;
        match step {
            SnapshotStep::Wanted(job) => want(site, job),
            SnapshotStep::Begin(begin) => {
                let name = (begin.table.database.clone(), begin.table.table.clone());
                // There is one copy of a table: another one takes its place.
                site.copies
                    .retain(|copy| (&copy.table.database, &copy.table.table) != (&name.0, &name.1));
                // A copy that takes another's place does not move the job on.
                if let Some(state) = job_of(site, begin.job)
                    && state.cursor.as_ref().is_none_or(|cursor| *cursor < name)
                {
                    state.cursor = Some(name);
                }
                site.copies.push(CopyState::begun(begin));
            }
            SnapshotStep::End(SnapshotEnd { copy, .. })
            | SnapshotStep::GivenUp(SnapshotGivenUp { copy, .. }) => {
                site.copies.retain(|other| other.copy != *copy);
            }
            SnapshotStep::Planned(job) => {
                if let Some(state) = job_of(site, *job) {
                    state.planned = true;
                }
            }
            SnapshotStep::Database(_) => {}
            SnapshotStep::Done(job) => {
                site.jobs.retain(|state| state.job.id != *job);
                site.copies.retain(|copy| copy.job != *job);
            }
        }
    }

    /// Rule 6.
    fn rows(self, offset: Offset, rows: &RowsHead) -> Outcome {
        let mut copies = self.site.copies.iter_mut();
        let Some(copy) = copies.find(|copy| copy.copy == rows.copy) else {
            return Outcome::Ignored(Reason::Orphan);
        };
        let open = copy.open.take();
        let first = match open {
            _ if rows.chunk < copy.next_chunk => return Outcome::Ignored(Reason::Known),
            _ if rows.chunk > copy.next_chunk => return Outcome::Ignored(Reason::Orphan),
            _ if rows.part == 0 => offset,
            Some(open) if open.next_part == rows.part => open.first,
            _ => return Outcome::Ignored(Reason::Orphan),
        };
        if rows.last {
            copy.next_chunk = copy.next_chunk.saturating_add(1);
            copy.upper.clone_from(&rows.upper);
            copy.rows = copy.rows.saturating_add(rows.rows);
            copy.table.clone_from(&rows.table);
        } else {
            copy.open = Some(OpenRows {
                first,
                // As in a transaction: no row has 2^32 parts.
                next_part: rows.part.saturating_add(1),
            });
        }
        Outcome::Rows {
            first,
            last: rows.last,
            again: false,
        }
    }

    fn is_prepared(&self, gtid: &Gtid) -> bool {
        let mut prepared = self.site.prepared.iter();
        prepared.any(|prepared| prepared.gtid == *gtid)
    }
}

fn want(site: &mut SiteState, job: &SnapshotJob) {
    if job_of(site, job.id).is_none() {
        site.jobs.push(JobState {
            job: job.clone(),
            cursor: None,
            planned: false,
        });
    }
}

fn job_of(site: &mut SiteState, id: Uuid) -> Option<&mut JobState> {
    site.jobs.iter_mut().find(|state| state.job.id == id)
}

/// Rule 3: the offset of the first chunk of this chunk's transaction, and the transaction that it interrupts.
fn attach(
    open: Option<OpenTransaction>,
    offset: Offset,
    chunk: &TransactionHead,
) -> Result<(Offset, Option<OpenTransaction>), Step> {
    match open {
        // A capture that has lost its source in the middle sends the transaction again, and an empty one when it is rolled back.
        open if chunk.chunk == 0 => Ok((offset, open)),
        Some(open) if open.gtid == chunk.gtid && open.next_chunk == chunk.chunk => {
            Ok((open.first, None))
        }
        other => Err(Step {
            outcome: Outcome::Ignored(Reason::Orphan),
            voided: other,
        }),
    }
}

impl Step {
    fn plain(outcome: Outcome) -> Self {
        Self {
            outcome,
            voided: None,
        }
    }
}

#[cfg(test)]
mod tests;
