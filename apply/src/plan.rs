//! What the planner hands to the executor.

use binferry_schemas::record::FoldState;

use crate::{
    batch::{Statement, Unfit},
    change::RowChange,
    error::ApplyError,
};

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
    pub changes: Vec<RowChange>,
    /// When there are none, the changes go one by one.
    pub statements: Result<Vec<Statement>, Unfit>,
    /// The fold after the group.
    pub state: Box<FoldState>,
    pub transactions: u64,
}

#[derive(Debug)]
pub struct Part {
    pub first: bool,
    pub changes: Vec<RowChange>,
    pub statements: Vec<Statement>,
    /// With the last part: the fold after the transaction.
    pub end: Option<Box<FoldState>>,
}
