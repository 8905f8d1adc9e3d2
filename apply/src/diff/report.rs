//! What a comparison finds.

use crate::{conflict::journal::Outcome, error::TableName};

/// What two definitions of a table have against each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Definition {
    #[error("the target has no such table")]
    TableMissing,
    #[error("the source has no such table")]
    TableExtra,
    #[error("the target lacks the column {column}")]
    ColumnMissing { column: String },
    #[error("the target has a column of its own, {column}")]
    ColumnExtra { column: String },
    #[error("the target's column {column} can't hold what the source's can: {types}")]
    Narrower { column: String, types: String },
    #[error("the column {column} has other types: {types}")]
    Wider { column: String, types: String },
    #[error("the column {column} has other collations: {collations}")]
    Collation { column: String, collations: String },
    #[error("the column {column} is not compared: {reason}")]
    NotCompared {
        column: String,
        reason: &'static str,
    },
    #[error("the columns come in another order")]
    Order,
    #[error("the target lacks the unique key {key}")]
    KeyMissing { key: String },
    #[error("the target has a unique key of its own, {key}")]
    KeyExtra { key: String },
}

impl Definition {
    /// False for what a target may have that carries the same rows: wider columns, other collations, columns and keys of its own.
    pub fn is_difference(&self) -> bool {
        !matches!(
            self,
            Self::ColumnExtra { .. }
                | Self::Wider { .. }
                | Self::Collation { .. }
                | Self::NotCompared { .. }
                | Self::Order
                | Self::KeyExtra { .. }
        )
    }
}

/// A row as people find it: the key's columns with their values. Bytes that are no text are hexadecimal digits.
pub type ShownKey = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Definition {
        table: TableName,
        definition: Definition,
    },
    /// The target lacks the row.
    RowMissing { table: TableName, key: ShownKey },
    /// The source lacks the row.
    RowExtra { table: TableName, key: ShownKey },
    RowDiffers {
        table: TableName,
        key: ShownKey,
        columns: Vec<String>,
    },
    /// Of a table without a key: equal rows, by the digest of all their columns, and how many there are.
    Rows {
        table: TableName,
        digest: String,
        source: u64,
        target: u64,
    },
    /// The row changed all the time; its key, or its digest in a table without one.
    NotSettled { table: TableName, key: ShownKey },
}

impl Finding {
    pub fn table(&self) -> &TableName {
        match self {
            Self::Definition { table, .. }
            | Self::RowMissing { table, .. }
            | Self::RowExtra { table, .. }
            | Self::RowDiffers { table, .. }
            | Self::Rows { table, .. }
            | Self::NotSettled { table, .. } => table,
        }
    }

    /// Its kind, for machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Definition { definition, .. } if definition.is_difference() => "definition",
            Self::Definition { .. } => "note",
            Self::RowMissing { .. } => "missing",
            Self::RowExtra { .. } => "extra",
            Self::RowDiffers { .. } => "differs",
            Self::Rows { .. } => "rows",
            Self::NotSettled { .. } => "not_settled",
        }
    }
}

/// What a repair has made of a row that differs, or under `--dry-run` would make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    Done(Outcome),
    /// Why not.
    Not(String),
}

impl Repaired {
    /// For machines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done(outcome) => outcome.name(),
            Self::Not(_) => "not_repaired",
        }
    }
}

/// What it all came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub tables: u64,
    /// At the source.
    pub rows: u64,
    /// Definitions that differ, and rows.
    pub differences: u64,
    pub not_settled: u64,
    /// Of the differences.
    pub repaired: u64,
}

impl Summary {
    pub fn add(&mut self, finding: &Finding, repaired: Option<&Repaired>) {
        self.repaired += u64::from(matches!(repaired, Some(Repaired::Done(_))));
        match finding {
            Finding::Definition { definition, .. } if !definition.is_difference() => {}
            Finding::NotSettled { .. } => self.not_settled += 1,
            _ => self.differences += 1,
        }
    }
}
