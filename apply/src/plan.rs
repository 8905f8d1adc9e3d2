//! What the planner hands to the executor.

use std::ops::Range;

use binferry_schemas::record::{FoldState, Head, Offset};
use binferry_transport::fold::Fold;

use crate::{batch::Statement, change::RowChange, error::ApplyError, preserve::Name};

#[derive(Debug)]
pub enum Unit {
    /// Whole transactions that share one target transaction.
    Group(Group),
    /// A part of a transaction that is too large to be held: one target transaction, from `first` to the part with `end`.
    Part(Part),
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
    /// For each change: it waits until the groups before are committed.
    pub late: Vec<bool>,
    pub transactions: Vec<TransactionEnd>,
    /// Of its only transaction, when it is to keep it.
    pub name: Option<Box<Name>>,
    pub history: History,
    /// The fold after the group.
    pub state: Box<FoldState>,
}

/// Where a transaction of a group ends.
#[derive(Debug, Clone, Copy)]
pub struct TransactionEnd {
    /// In the group's changes.
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

    /// The changes of some of its transactions, and the fold after them.
    pub fn slice(
        &self,
        transactions: Range<usize>,
    ) -> Result<(&[RowChange], FoldState), ApplyError> {
        let end_of = |count: usize| match count.checked_sub(1) {
            None => TransactionEnd {
                changes: 0,
                steps: 0,
            },
            Some(at) => self.transactions[at],
        };
        let (from, to) = (end_of(transactions.start), end_of(transactions.end));
        let changes = &self.changes[from.changes..to.changes];
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

#[derive(Debug)]
pub struct Part {
    pub first: bool,
    pub name: Option<Name>,
    pub changes: Vec<RowChange>,
    pub statements: Vec<Statement>,
    /// With the last part: the fold after the transaction.
    pub end: Option<Box<FoldState>>,
}
