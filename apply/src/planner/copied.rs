//! Copies of tables, in their place among the transactions.
//!
//! Rows of copies share target transactions with each other, and with nothing else; the tracker knows them by all their keys, so they wait
//! for changes of the same rows like any other change. A step of a copy (it begins, ends or is given up) defines tables and changes what
//! becomes of their changes: planning goes on when it is committed.

use std::sync::Arc;

use binferry_schemas::record::{
    Body, CopyState, Head as RecordHead, HeadBody, Offset, Over, Record, RowsHead, SnapshotRows,
    SnapshotStep,
};
use binferry_transport::{log::Stored, strangers::head_of};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Closed, Planner, Stop};
use crate::{
    change::RowImage,
    copy::{Beginning, CopyProblem, Repair, Step},
    error::{ApplyError, Place, TableName},
    joiner::Joiner,
    plan::{Copied, CopyUnit, Unit},
};

fn broken(offset: Offset) -> impl Fn(binferry_schemas::record::RecordError) -> ApplyError + Copy {
    move |source| ApplyError::Record {
        offset: offset.0,
        source,
    }
}

fn name_of(database: &str, table: &str) -> TableName {
    TableName {
        database: database.to_owned(),
        table: table.to_owned(),
    }
}

impl Planner {
    /// A capture has begun, and may have brought a job.
    pub(super) fn restarted(&mut self) {
        self.fates.changed();
        self.tables.forget_all();
    }

    pub(super) async fn snapshot(&mut self, offset: Offset, bytes: &[u8]) -> Result<(), Stop> {
        let place = Arc::new(Place { gtid: None, offset });
        let Body::Snapshot(snapshot) = Record::decode(bytes).map_err(broken(offset))?.body else {
            return Err(Stop::Failed(ApplyError::Defect(
                "a step of a copy that is none",
            )));
        };
        // The fold has forgotten a copy that has ended; what it was about is still in the one behind.
        let before = |copy| {
            let mut copies = (self.taken.state().sites.iter()).flat_map(|site| &site.copies);
            copies.find(|state: &&CopyState| state.copy == copy)
        };
        match snapshot.step {
            SnapshotStep::Begin(begin) => {
                let name = name_of(&begin.table.database, &begin.table.table);
                if self.executed.is_some() {
                    return Err(Stop::Failed(ApplyError::Copy {
                        table: name,
                        place: Some(place),
                        problem: Box::new(CopyProblem::Preserve),
                    }));
                }
                let schema = self.tables.schema(&begin.table, &place).await?;
                let filters = self
                    .fold
                    .state()
                    .sites
                    .iter()
                    .map(|site| site.filter.parse());
                let captured = filters.filter_map(Result::ok).collect();
                let others = self
                    .step(Step::Begin(Beginning {
                        begin,
                        schema,
                        place,
                        captured,
                    }))
                    .await?;
                self.fates.begun(&name);
                self.tables.step(&name, others);
            }
            SnapshotStep::End(end) => {
                let name = before(end.copy).map(|c| name_of(&c.table.database, &c.table.table));
                let others = self.step(Step::End(Some(end.copy), place)).await?;
                self.fates.changed();
                if let Some(name) = name {
                    self.tables.step(&name, others);
                }
            }
            SnapshotStep::GivenUp(given_up) => {
                let known = before(given_up.copy).map(|copy| {
                    let name = name_of(&copy.table.database, &copy.table.table);
                    (name, copy.key.is_empty())
                });
                let reason = given_up.reason;
                self.step(Step::GivenUp(given_up.copy, reason)).await?;
                self.fates.changed();
                if let Some((name, keyless)) = known {
                    if reason != binferry_schemas::record::GivenUp::Gone {
                        self.fates.given_up(name.clone(), keyless);
                    }
                    self.tables.step(&name, false);
                }
            }
            SnapshotStep::Done(_) => {
                let others = self.step(Step::End(None, place)).await?;
                self.fates.changed();
                if others {
                    self.tables.forget_all();
                }
            }
            SnapshotStep::Database(bare) => {
                self.step(Step::Database(bare, place)).await?;
            }
            SnapshotStep::Wanted(_) | SnapshotStep::Planned(_) => self.restarted(),
        }
        Ok(())
    }

    /// Hands the step out, and waits until it is committed.
    async fn step(&mut self, step: Step) -> Result<bool, Stop> {
        self.flush().await?;
        let (done, committed) = oneshot::channel();
        let unit = Unit::Copy(CopyUnit {
            step,
            state: Box::new(self.fold.state().clone()),
            done,
        });
        self.out.send(unit).await.map_err(|_| Closed)?;
        // Nobody answers when it has failed.
        let others = committed.await.map_err(|_| Closed)?;
        self.sent_now();
        Ok(others)
    }

    /// Rows of a copy, whole with this record.
    pub(super) async fn rows(
        &mut self,
        first: Offset,
        offset: Offset,
        bytes: Vec<u8>,
        head: &RecordHead,
    ) -> Result<(), Stop> {
        let place = Arc::new(Place { gtid: None, offset });
        let block = Bytes::from(bytes);
        let Body::SnapshotRows(newest) = Record::decode(&block).map_err(broken(offset))?.body
        else {
            return Err(Stop::Failed(ApplyError::Defect(
                "rows of a copy that are none",
            )));
        };
        let rows = match first == offset {
            true => {
                let mut joiner = Joiner::default();
                let rows = joined(&block, &newest, &place, &mut joiner)?;
                joiner.finish(&place)?;
                rows
            }
            false => self.parts(first, offset, &newest.head, head).await?,
        };
        let state = self.fold.state();
        let incomplete = |table: &TableName| crate::copy::is_incomplete(state, table);
        let mapping = (self.tables)
            .mapping(&newest.head.table, &place, true, incomplete)
            .await?;
        let copies = &mut state.sites.iter().flat_map(|site| &site.copies);
        let copy = copies.find(|copy| copy.copy == newest.head.copy);
        if let Some(copy) = copy.filter(|copy| copy.over == Over::Repair && !copy.key.is_empty()) {
            let repair = Repair {
                mapping,
                place,
                rows,
                key: copy.key.clone(),
                lower: newest.lower,
                upper: newest.head.upper,
                left_out: newest.left_out,
            };
            return self.step(Step::Repair(repair)).await.map(drop);
        }
        let changed = self.tables.take_changed();
        let pending = &self.pending;
        let full = pending.bytes + block.len() > self.group.bytes;
        let others = pending.due && pending.copied.is_empty();
        if full || changed || others || pending.name.is_some() {
            self.flush().await?;
        }
        if changed {
            self.tracker.barrier();
        }
        for row in &rows {
            let touched = self.pending.touches.push_copied(&mapping, row);
            touched.map_err(|source| ApplyError::Datum {
                place: Arc::clone(&place),
                source: Box::new(source),
            })?;
        }
        self.pending.bytes += block.len();
        self.pending.copied_rows += rows.len();
        self.pending.copied.push(Copied {
            mapping,
            place,
            rows,
        });
        self.accepted();
        Ok(())
    }

    /// A range that came in several records: reads it again from its first part.
    async fn parts(
        &self,
        first: Offset,
        last: Offset,
        newest: &RowsHead,
        head: &RecordHead,
    ) -> Result<Vec<RowImage>, ApplyError> {
        let mut reader = self.log.reader(first).await?;
        let (mut joiner, mut rows, mut next) = (Joiner::default(), Vec::new(), 0);
        loop {
            for Stored { offset, bytes } in reader.next().await? {
                let place = Arc::new(Place { gtid: None, offset });
                if offset > last {
                    return Err(ApplyError::Defect("a range without its last part"));
                }
                let Some(found) = head_of(&bytes).map_err(broken(offset))? else {
                    continue;
                };
                // The fold has accepted the parts of this incarnation; a repeat comes with a number that was there.
                let HeadBody::SnapshotRows(part) = &found.body else {
                    continue;
                };
                if found.header.incarnation != head.header.incarnation
                    || part.copy != newest.copy
                    || part.chunk != newest.chunk
                    || part.part != next
                {
                    continue;
                }
                next += 1;
                let block = Bytes::from(bytes);
                if let Body::SnapshotRows(part) =
                    Record::decode(&block).map_err(broken(offset))?.body
                {
                    rows.extend(joined(&block, &part, &place, &mut joiner)?);
                }
                if offset == last {
                    joiner.finish(&place)?;
                    return Ok(rows);
                }
            }
        }
    }
}

/// The rows that are whole with this record.
fn joined(
    block: &Bytes,
    part: &SnapshotRows<'_>,
    place: &Arc<Place>,
    joiner: &mut Joiner,
) -> Result<Vec<RowImage>, ApplyError> {
    let mut rows = Vec::with_capacity(usize::try_from(part.rows.count).unwrap_or(0).min(1 << 16));
    for change in &part.rows {
        let change = change.map_err(broken(place.offset))?;
        match joiner.take(block, &change, place)? {
            Some((None, Some(after))) => rows.push(after),
            Some(_) => {
                return Err(ApplyError::Malformed {
                    place: Arc::clone(place),
                    reason: "a row of a copy that is not an insert",
                });
            }
            None => {}
        }
    }
    Ok(rows)
}
