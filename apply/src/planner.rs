//! From the log to units of work: reads, folds, decodes, groups and renders, ahead of the executor.
//!
//! Grouping: what has been read and is whole goes out as soon as the executor can take it, so an idle stream has no added delay; while the
//! executor is busy, a group grows up to its limits. A group never spans a schema change.
//!
//! A transaction of several chunks is not touched before its last chunk has made it count: then its chunks are read again from the first
//! one, and go out in parts, so memory stays bounded and nothing has ever to be taken back for a transaction that turns out void.
//!
//! Rows of copies have groups of their own; steps of copies are alone (see `copied`).
//!
//! An error goes out as the last unit: everything before it is applied first.

mod copied;
mod statement;

use std::{sync::Arc, time::Duration};

use binferry_schemas::{
    gtid::GtidSet,
    record::{Body, FoldState, Head as RecordHead, HeadBody, Offset, Record, TableRef, WriteSet},
};
use binferry_transport::{
    error::LogError,
    fold::{Fold, Outcome},
    log::{Log, Reader, Stored},
    strangers::{Strangers, head_of},
};
use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    batch::{self, Limits},
    change::RowChange,
    copy::{Fate, Fates, is_incomplete, ledger},
    ddl::DdlMode,
    dependency::{Touches, Tracker},
    error::{ApplyError, PassedDdl, Place, TableName},
    joiner::Joiner,
    options::{GroupLimits, Options, Until},
    plan::{Copied, End, Group, History, Part, TransactionEnd, Unit},
    preserve::{self, Name},
    tables::Tables,
    target::mapping::Mapping,
};

/// An advance that holds no transaction (a checkpoint, a heartbeat) is stored after this time.
const IDLE_ADVANCE: Duration = Duration::from_secs(10);
/// So many records without a transaction are not kept for a group.
const IDLE_STEPS: usize = 1_000;

#[derive(Debug)]
pub struct Planner {
    log: Arc<dyn Log>,
    fold: Fold,
    /// The same fold, up to the last record whose changes are in a unit or in the pending group.
    taken: Fold,
    strangers: Strangers,
    tables: Tables,
    fates: Fates,
    limits: Limits,
    group: GroupLimits,
    until: Option<Until>,
    /// With the source's GTIDs preserved: what the target has executed.
    executed: Option<GtidSet>,
    ddl: DdlMode,
    out: mpsc::Sender<Unit>,
    tracker: Tracker,
    pending: Pending,
    sent: Offset,
    sent_at: Instant,
}

/// The group that grows.
#[derive(Debug, Default)]
struct Pending {
    changes: Vec<RowChange>,
    /// Rows of copies; then there are no changes.
    copied: Vec<Copied>,
    copied_rows: usize,
    touches: Touches,
    bytes: usize,
    transactions: Vec<TransactionEnd>,
    history: History,
    /// Of its only transaction, when that keeps the source's.
    name: Option<Name>,
    /// There is something to store, be it only how far the log is read.
    due: bool,
}

/// Why planning ends without an error of its own: nobody takes the units any more.
struct Closed;

#[derive(Debug, PartialEq, Eq)]
enum Named {
    ToDo,
    /// The target has it, by another way.
    Executed,
}

enum Stop {
    Closed,
    Reached,
    Failed(ApplyError),
}

impl From<ApplyError> for Stop {
    fn from(error: ApplyError) -> Self {
        Self::Failed(error)
    }
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl Planner {
    pub fn new(
        options: &Options,
        state: FoldState,
        limits: Limits,
        until: Option<Until>,
        executed: Option<GtidSet>,
        copies: &[ledger::Entry],
        out: mpsc::Sender<Unit>,
    ) -> Self {
        let workers = options.workers.max(1) as usize;
        let sent = state.offset;
        let fold = Fold::resume(state).0;
        Self {
            strangers: Strangers::new(&*options.log),
            tables: Tables::new(options),
            fates: Fates::new(copies),
            log: Arc::clone(&options.log),
            taken: fold.clone(),
            fold,
            limits,
            group: options.group.of_one(workers),
            until,
            executed,
            ddl: options.ddl,
            out,
            tracker: Tracker::new(workers),
            pending: Pending::default(),
            sent,
            sent_at: Instant::now(),
        }
    }

    pub async fn run(mut self) {
        let end = match self.plan().await {
            Ok(()) | Err(Stop::Closed) => return,
            Err(Stop::Reached) => End::Reached,
            Err(Stop::Failed(error)) => End::Failed(error),
        };
        if self.flush().await.is_ok() {
            // Closed: nobody wants to know.
            let _ = self.out.send(Unit::End(end)).await;
        }
    }

    fn reached(&self) -> bool {
        self.until.as_ref().is_some_and(|until| {
            let state = self.fold.state();
            state.set.contains_set(&until.set) && state.offset >= until.offset
        })
    }

    async fn plan(&mut self) -> Result<(), Stop> {
        if self.reached() {
            return Err(Stop::Reached);
        }
        // Open transactions are read again when their last chunk has come, so reading goes on at the state's own offset.
        let reader = self
            .log
            .reader(self.fold.state().offset)
            .await
            .map_err(ApplyError::from)?;
        let mut batches = prefetch(reader);
        let out = self.out.clone();
        loop {
            let ready = self.pending.due;
            let due = self.sent_at + IDLE_ADVANCE;
            tokio::select! {
                biased;
                permit = out.reserve(), if ready => {
                    let permit = permit.map_err(|_| Closed)?;
                    permit.send(self.take_group());
                }
                batch = batches.recv() => {
                    let batch = batch
                        .ok_or(ApplyError::Defect("the log's reader ended without an error"))?
                        .map_err(ApplyError::from)?;
                    for stored in batch {
                        self.record(stored).await?;
                    }
                }
                () = tokio::time::sleep_until(due), if !ready => {
                    self.sent_at = Instant::now();
                    self.pending.due = self.taken.state().offset > self.sent;
                }
                () = out.closed() => return Err(Stop::Closed),
            }
        }
    }

    async fn record(&mut self, stored: Stored) -> Result<(), Stop> {
        let offset = stored.offset;
        let broken = |source| ApplyError::Record {
            offset: offset.0,
            source,
        };
        let Some(head) = self.strangers.head(&stored).map_err(broken)? else {
            return Ok(());
        };
        let bytes = stored.bytes;
        let step = self.fold.step(offset, &head);
        if step.outcome == Outcome::Checkpoint
            && let Some(missing) = self.fold.missed(&head)
        {
            return Err(Stop::Failed(ApplyError::Log(LogError::Incomplete {
                log: self.log.name(),
                offset,
                missing,
            })));
        }
        self.outcome(offset, bytes, &head, step.outcome).await?;
        let Pending {
            transactions,
            history,
            ..
        } = &mut self.pending;
        if transactions.is_empty() && history.steps.len() >= IDLE_STEPS {
            *history = History::default();
        }
        if history.start.is_none() {
            history.start = Some(self.taken.state().clone());
        }
        let _ = self.taken.step(offset, &head);
        history.steps.push((offset, head));
        if self.reached() {
            return Err(Stop::Reached);
        }
        Ok(())
    }

    async fn outcome(
        &mut self,
        offset: Offset,
        bytes: Vec<u8>,
        head: &RecordHead,
        outcome: Outcome,
    ) -> Result<(), Stop> {
        let broken = |source| ApplyError::Record {
            offset: offset.0,
            source,
        };
        if outcome == Outcome::Prepared {
            // It counts, and changes nothing before its XA COMMIT.
            self.named(head).await?;
            self.accepted();
            return Ok(());
        }
        match outcome {
            Outcome::Snapshot => return self.snapshot(offset, &bytes).await,
            Outcome::Rows {
                first,
                last: true,
                again: false,
            } => return self.rows(first, offset, bytes, head).await,
            Outcome::Start => self.restarted(),
            _ => {}
        }
        // Chunks of a voided transaction were never touched.
        let Outcome::Chunk {
            first,
            last,
            again: false,
        } = outcome
        else {
            return Ok(());
        };
        if !last {
            return Ok(());
        }
        if self.named(head).await? == Named::Executed {
            if let Body::Ddl(ddl) = Record::decode(&bytes).map_err(broken)?.body {
                let (gtid, statement) = (ddl.transaction.gtid, ddl.statement);
                (self.tables).forget(&ddl.tables, PassedDdl { gtid, statement });
                self.tables.forget_all();
            }
            self.accepted();
            return Ok(());
        }
        if first < offset {
            let end = self.fold.state().clone();
            // Of the parts, not of what is pending.
            let name = self.pending.name.take();
            self.flush().await?;
            self.stream(first, offset, head, end, name).await?;
            self.sent_now();
        } else {
            let block = Bytes::from(bytes);
            let record = Record::decode(&block).map_err(broken)?;
            match record.body {
                Body::WriteSet(write_set) => self.transaction(offset, &block, &write_set).await?,
                Body::Ddl(ddl) if self.runs(&ddl) => {
                    let end = self.fold.state().clone();
                    // Of the statement, not of what is pending.
                    let name = self.pending.name.take();
                    self.statement(offset, ddl, name, Some(end)).await?;
                    self.sent_now();
                }
                Body::Ddl(ddl) => {
                    self.pass(offset, ddl).await?;
                    self.accepted();
                }
                _ => {
                    return Err(Stop::Failed(ApplyError::Defect(
                        "a chunk that is neither a write-set nor a DDL",
                    )));
                }
            }
        }
        Ok(())
    }

    /// Where GTIDs are preserved, a transaction has a group of its own, with its name; those that the target has executed share one without.
    async fn named(&mut self, head: &RecordHead) -> Result<Named, Stop> {
        let (Some(executed), Some(transaction)) = (&self.executed, head.transaction()) else {
            return Ok(Named::ToDo);
        };
        preserve::refuse_foreign(transaction.gtid)?;
        let is_executed = executed.contains(&transaction.gtid);
        if self.pending.due && !(is_executed && self.pending.name.is_none()) {
            self.flush().await?;
        }
        if is_executed {
            if self.pending.transactions.len() >= self.group.transactions {
                self.flush().await?;
            }
            return Ok(Named::Executed);
        }
        self.pending.name = Some(Name::from(transaction));
        Ok(Named::ToDo)
    }

    /// A transaction that is one record.
    async fn transaction(
        &mut self,
        offset: Offset,
        block: &Bytes,
        write_set: &WriteSet<'_>,
    ) -> Result<(), Stop> {
        let place = Arc::new(Place {
            gtid: Some(write_set.transaction.gtid),
            offset,
        });
        let mut joiner = Joiner::default();
        let changes = self.changes(block, write_set, &place, &mut joiner).await?;
        joiner.finish(&place)?;
        if !self.pending.copied.is_empty() {
            self.flush().await?;
        }
        let bytes = block.len();
        let full = self.pending.bytes + bytes > self.group.bytes
            || self.pending.changes.len() + changes.len() > self.group.rows
            || self.pending.transactions.len() >= self.group.transactions;
        let changed = self.tables.take_changed();
        if full || changed {
            self.flush().await?;
        }
        if changed {
            self.tracker.barrier();
        }
        for change in &changes {
            (self.pending.touches)
                .push(change)
                .map_err(|error| change.datum_error(error))?;
        }
        self.pending.bytes += bytes;
        self.pending.changes.extend(changes);
        self.accepted();
        Ok(())
    }

    fn accepted(&mut self) {
        // The step of its last record comes next.
        self.pending.transactions.push(TransactionEnd {
            changes: self.pending.changes.len() + self.pending.copied_rows,
            steps: self.pending.history.steps.len() + 1,
        });
        self.pending.due = true;
    }

    /// A transaction that is several records: reads it again from its first chunk.
    async fn stream(
        &mut self,
        first: Offset,
        last: Offset,
        head: &RecordHead,
        end: FoldState,
        name: Option<Name>,
    ) -> Result<(), Stop> {
        let Some(gtid) = gtid_of(head) else {
            return Err(Stop::Failed(ApplyError::Defect(
                "a chunk without a transaction",
            )));
        };
        let mut reader = self.log.reader(first).await.map_err(ApplyError::from)?;
        let (mut next_chunk, mut begun) = (0, false);
        let mut joiner = Joiner::default();
        loop {
            for Stored { offset, bytes } in reader.next().await.map_err(ApplyError::from)? {
                if offset > last {
                    return Err(Stop::Failed(ApplyError::Defect(
                        "a streamed transaction without its last chunk",
                    )));
                }
                let broken = |source| ApplyError::Record {
                    offset: offset.0,
                    source,
                };
                let Some(found) = head_of(&bytes).map_err(broken)? else {
                    continue;
                };
                let (HeadBody::WriteSet(chunk) | HeadBody::Ddl(chunk)) = &found.body else {
                    continue;
                };
                // The fold has accepted the chunks from `first` to `last` of this incarnation; a repeat comes with a number that was there.
                if found.header.incarnation != head.header.incarnation
                    || chunk.gtid != gtid
                    || chunk.chunk != next_chunk
                {
                    continue;
                }
                next_chunk += 1;
                let ends = offset == last;
                let place = Arc::new(Place {
                    gtid: Some(gtid),
                    offset,
                });
                let block = Bytes::from(bytes);
                let record = Record::decode(&block).map_err(broken)?;
                let changes = match record.body {
                    Body::WriteSet(write_set) => {
                        self.changes(&block, &write_set, &place, &mut joiner)
                            .await?
                    }
                    // Of a table that is made with its rows.
                    Body::Ddl(ddl) if self.runs(&ddl) => {
                        if begun {
                            return Err(Stop::Failed(ApplyError::Malformed {
                                place,
                                reason: "a schema change behind rows of its own transaction",
                            }));
                        }
                        self.statement(offset, ddl, None, None).await?;
                        Vec::new()
                    }
                    Body::Ddl(ddl) => {
                        self.pass(offset, ddl).await?;
                        Vec::new()
                    }
                    _ => Vec::new(),
                };
                if ends {
                    joiner.finish(&place)?;
                } else if changes.is_empty() {
                    continue;
                }
                let part = Part {
                    first: !std::mem::replace(&mut begun, true),
                    name,
                    statements: batch::in_order(&changes, &self.limits)?,
                    changes,
                    end: ends.then(|| Box::new(end.clone())),
                };
                self.out.send(Unit::Part(part)).await.map_err(|_| Closed)?;
                if ends {
                    return Ok(());
                }
            }
        }
    }

    async fn changes(
        &mut self,
        block: &Bytes,
        write_set: &WriteSet<'_>,
        place: &Arc<Place>,
        joiner: &mut Joiner,
    ) -> Result<Vec<RowChange>, ApplyError> {
        let mut mappings: Vec<Option<Option<Arc<Mapping>>>> =
            Vec::with_capacity(write_set.tables.len());
        let mut out = Vec::with_capacity(
            usize::try_from(write_set.changes.count)
                .unwrap_or(0)
                .min(1 << 16),
        );
        for _ in &write_set.tables {
            mappings.push(None);
        }
        for change in &write_set.changes {
            let change = change.map_err(|source| ApplyError::Record {
                offset: place.offset.0,
                source,
            })?;
            let at = change.table as usize;
            let Some(table) = write_set.tables.get(at) else {
                return Err(ApplyError::Malformed {
                    place: Arc::clone(place),
                    reason: "a change of a table that the record does not name",
                });
            };
            let mapping = match &mappings[at] {
                Some(mapping) => mapping.clone(),
                None => {
                    // Only tables that rows follow for: the source may name others.
                    let mapping = self.mapping(table, place).await?;
                    mappings[at].insert(mapping).clone()
                }
            };
            let Some((before, after)) = joiner.take(block, &change, place)? else {
                continue;
            };
            // The rows of its copy will have it.
            let Some(mapping) = mapping else {
                continue;
            };
            let place = Arc::clone(place);
            let keys = table.foreign_keys;
            let mut change = RowChange::new(mapping, change.operation, before, after, keys, place)?;
            change.index = joiner.index();
            out.push(change);
        }
        Ok(out)
    }

    /// `None`: the table's changes are passed over.
    async fn mapping(
        &mut self,
        table: &TableRef,
        place: &Arc<Place>,
    ) -> Result<Option<Arc<Mapping>>, ApplyError> {
        let state = self.fold.state();
        let name = TableName {
            database: table.database.clone(),
            table: table.table.clone(),
        };
        let copied = match self.fates.of(state, &name) {
            Fate::Pass => return Ok(None),
            fate => fate == Fate::Tolerate,
        };
        let incomplete = |table: &TableName| is_incomplete(state, table);
        let mapping = (self.tables)
            .mapping(table, place, copied, incomplete)
            .await?;
        Ok(Some(mapping))
    }

    fn take_group(&mut self) -> Unit {
        let Pending {
            changes,
            copied,
            touches,
            transactions,
            history,
            name,
            ..
        } = std::mem::take(&mut self.pending);
        self.sent_now();
        let (number, late) = self.tracker.group(&touches);
        Unit::Group(Group {
            number,
            changes,
            copied,
            late,
            transactions,
            history,
            name: name.map(Box::new),
            state: Box::new(self.taken.state().clone()),
        })
    }

    fn sent_now(&mut self) {
        self.sent = self.taken.state().offset;
        self.sent_at = Instant::now();
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        if self.pending.due {
            let group = self.take_group();
            self.out.send(group).await.map_err(|_| Closed)?;
        }
        Ok(())
    }
}

fn gtid_of(head: &RecordHead) -> Option<binferry_schemas::gtid::Gtid> {
    match &head.body {
        HeadBody::WriteSet(head) | HeadBody::Ddl(head) => Some(head.gtid),
        _ => None,
    }
}

/// Reads ahead, at most a few batches.
fn prefetch(mut reader: Box<dyn Reader>) -> mpsc::Receiver<Result<Vec<Stored>, LogError>> {
    let (sender, receiver) = mpsc::channel(2);
    // Ends when the receiver goes: `next` at the log's end is abandoned.
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                batch = reader.next() => {
                    let failed = batch.is_err();
                    if sender.send(batch).await.is_err() || failed {
                        return;
                    }
                }
            }
        }
    });
    receiver
}
