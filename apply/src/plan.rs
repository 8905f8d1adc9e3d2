//! What the planner hands to the executor.

use std::{borrow::Cow, ops::Range, sync::Arc};

use binferry_schemas::record::{FoldState, Head, Offset};
use binferry_transport::fold::Fold;

use tokio::sync::oneshot;

use crate::{
    batch::Statement,
    change::{RowChange, RowImage},
    copy::Step,
    ddl::DdlUnit,
    error::{ApplyError, Place},
    preserve::Name,
    target::mapping::Mapping,
};

#[derive(Debug)]
pub enum Unit {
    /// Whole transactions that share one target transaction.
    Group(Group),
    /// A part of a transaction that is too large to be held: one target transaction, from `first` to the part with `end`.
    Part(Part),
    /// A step of a copy, by itself: everything before is committed, and nothing follows until it is.
    Copy(CopyUnit),
    /// A statement that defines tables: everything before is committed when it runs.
    Ddl(Box<DdlUnit>),
    /// Everything before is in the units before; nothing follows.
    End(End),
}

#[derive(Debug)]
pub enum End {
    /// `until` is reached.
    Reached,
    Failed(ApplyError),
}

#[derive(Debug)]
pub struct Group {
    /// Groups are numbered from 1 on, and committed in this order.
    pub number: u64,
    pub changes: Vec<RowChange>,
    /// Rows of copies; then there are no changes.
    pub copied: Vec<Copied>,
    /// For each change, or row of a copy: it waits until the groups before are committed.
    pub late: Vec<bool>,
    pub transactions: Vec<TransactionEnd>,
    /// Of its only transaction, when it is to keep it.
    pub name: Option<Box<Name>>,
    pub history: History,
    /// The fold after the group.
    pub state: Box<FoldState>,
}

/// Rows that a copy brings with one record.
#[derive(Debug)]
pub struct Copied {
    pub mapping: Arc<Mapping>,
    pub place: Arc<Place>,
    pub rows: Vec<RowImage>,
}

#[derive(Debug)]
pub struct CopyUnit {
    pub step: Step,
    /// The fold after it.
    pub state: Box<FoldState>,
    /// Told when it is committed: whether definitions of other tables have changed.
    pub done: oneshot::Sender<bool>,
}

/// Where a transaction of a group, or a record of a copy, ends.
#[derive(Debug, Clone, Copy)]
pub struct TransactionEnd {
    /// In the group's changes, or rows of copies.
    pub changes: usize,
    /// In its history.
    pub steps: usize,
}

/// The steps of the fold in a group, to tell where it is between two transactions.
#[derive(Debug, Default)]
pub struct History {
    /// The fold before the first step.
    pub start: Option<FoldState>,
    pub steps: Vec<(Offset, Head)>,
}

impl Group {
    /// The changes that are late, or the others.
    pub fn part(&self, late: bool) -> impl Iterator<Item = &RowChange> + Clone {
        let changes = self.changes.iter().zip(&self.late);
        changes.filter_map(move |(change, is_late)| (*is_late == late).then_some(change))
    }

    /// The rows of copies that are late, or the others, record by record.
    pub fn copied_part(
        &self,
        late: bool,
    ) -> impl Iterator<Item = (&Copied, Vec<&RowImage>)> + Clone {
        let mut before = 0;
        self.copied.iter().map(move |copied| {
            let flags = &self.late[before..];
            before += copied.rows.len();
            let rows = copied.rows.iter().zip(flags);
            let rows = rows.filter_map(|(row, is_late)| (*is_late == late).then_some(row));
            (copied, rows.collect())
        })
    }

    /// The rows of copies as changes: from themselves to themselves.
    fn rows_as_changes(&self, rows: Range<usize>) -> Result<Vec<RowChange>, ApplyError> {
        let all = (self.copied.iter()).flat_map(|copied| {
            let rows = copied.rows.iter().enumerate();
            rows.map(move |(index, row)| (copied, index, row))
        });
        all.skip(rows.start)
            .take(rows.len())
            .map(|(copied, index, row)| {
                RowChange::copied(&copied.mapping, row, &copied.place, index as u64)
            })
            .collect()
    }

    /// The source's transactions that are in it.
    pub fn transactions(&self) -> u64 {
        (self.transactions.len() - self.copied.len()) as u64
    }

    pub fn rows(&self) -> u64 {
        let copied: usize = self.copied.iter().map(|copied| copied.rows.len()).sum();
        (self.changes.len() + copied) as u64
    }

    /// An error that names no place, with the place where its changes begin.
    pub fn placed(&self, error: ApplyError) -> ApplyError {
        match self.copied.is_empty() {
            true => placed_in(error, &self.changes),
            false => placed(
                error,
                self.copied
                    .iter()
                    .map(|copied| (&copied.place, &copied.mapping)),
            ),
        }
    }

    /// The changes of some of its transactions, and the fold after them.
    pub fn slice(
        &self,
        transactions: Range<usize>,
    ) -> Result<(Cow<'_, [RowChange]>, FoldState), ApplyError> {
        let end_of = |count: usize| match count.checked_sub(1) {
            None => TransactionEnd {
                changes: 0,
                steps: 0,
            },
            Some(at) => self.transactions[at],
        };
        let (from, to) = (end_of(transactions.start), end_of(transactions.end));
        let changes = match self.copied.is_empty() {
            true => Cow::Borrowed(&self.changes[from.changes..to.changes]),
            false => Cow::Owned(self.rows_as_changes(from.changes..to.changes)?),
        };
        if transactions.end == self.transactions.len() {
            return Ok((changes, FoldState::clone(&self.state)));
        }
        let start = (self.history.start.clone())
            .ok_or(ApplyError::Defect("a group without the fold before it"))?;
        let mut fold = Fold::resume(start).0;
        for (offset, head) in &self.history.steps[..to.steps] {
            let _ = fold.step(*offset, head);
        }
        Ok((changes, fold.into_state()))
    }
}

fn placed_in(error: ApplyError, changes: &[RowChange]) -> ApplyError {
    placed(
        error,
        changes
            .iter()
            .map(|change| (&change.place, &change.mapping)),
    )
}

/// With the first place, and with the table where it is the only one.
fn placed<'a>(
    error: ApplyError,
    mut changes: impl Iterator<Item = (&'a Arc<Place>, &'a Arc<Mapping>)>,
) -> ApplyError {
    match (error, changes.next()) {
        (
            ApplyError::Server {
                place: None,
                table: None,
                fault,
                ..
            },
            Some((place, first)),
        ) => ApplyError::Server {
            doing: "applying changes from here on",
            place: Some(Arc::clone(place)),
            table: (changes.all(|(_, mapping)| mapping.name == first.name))
                .then(|| first.name.clone()),
            fault,
        },
        (error, _) => error,
    }
}

#[derive(Debug)]
pub struct Part {
    pub first: bool,
    pub name: Option<Name>,
    pub changes: Vec<RowChange>,
    pub statements: Vec<Statement>,
    /// With the last part: the fold after the transaction.
    pub end: Option<Box<FoldState>>,
}

impl Part {
    /// An error that names no place, with the place where its changes begin.
    pub fn placed(&self, error: ApplyError) -> ApplyError {
        placed_in(error, &self.changes)
    }
}
