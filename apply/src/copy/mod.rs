//! The target side of a copy: tables are made, filled and completed, while their changes go on. docs/snapshot.md, "At the target", has
//! the rules.
//!
//! At every point of the log the target holds, of a table that is being copied, a subset of the source's rows at that point. So a row that
//! a change is about may be missing, and nothing else may be wrong.
//!
//! Which tables are being copied is in the fold, and so in the progress row, which commits with the rows (R4): it survives restarts and
//! takeovers with them. What else a target has to know is in the ledger.

mod begin;
mod database;
mod definition;
pub mod end;
mod keys;
pub mod ledger;
mod repair;
mod step;
mod tables;

pub use self::{
    begin::{Beginning, Rules},
    keys::LaterKeys,
    repair::Repair,
    step::Step,
    tables::{Fate, Fates, awaited, is_incomplete},
};

use crate::error::ServerFault;

/// What a target's table may hold when the first copy of a table comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntoTables {
    /// Nothing.
    #[default]
    Empty,
    /// Rows. Those that the copy brings must be equal to those that are there; others stay.
    Existing,
}

/// Why a table cannot be copied into the target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyProblem {
    #[error("the target's table is not empty{}", if *.keyless { ", and has no key by which its rows could be told from those that come" } else { "" })]
    NotEmpty { keyless: bool },
    #[error("the source's definition is not understood: {0}")]
    Definition(definition::Unclear),
    #[error("the target refuses the source's definition: {fault}")]
    Create { fault: Box<ServerFault> },
    #[error("the target refuses the source's database: {fault}")]
    Database { fault: Box<ServerFault> },
    #[error("foreign keys cannot be added after the rows ({}): {fault}", .names.join(", "))]
    ForeignKeys {
        names: Vec<String>,
        fault: Box<ServerFault>,
    },
    #[error("keys cannot be added after the rows ({}): {fault}", .names.join(", "))]
    Keys {
        names: Vec<String>,
        fault: Box<ServerFault>,
    },
    #[error("a copy brings rows without their GTIDs, which --gtid preserve would leave as holes")]
    Preserve,
    #[error("rows cannot be repaired by copying again: {0}")]
    Repair(&'static str),
}

impl CopyProblem {
    pub fn hint(&self, table: &str) -> String {
        match self {
            Self::NotEmpty { keyless: true } => {
                format!("empty it (TRUNCATE TABLE {table}) and start again")
            }
            Self::NotEmpty { keyless: false } => format!(
                "empty it (TRUNCATE TABLE {table}) and start again; or let the copy go into what is there: --into existing (rows on both sides must be equal, the others stay)"
            ),
            Self::Definition(_) | Self::Create { .. } => {
                format!("create {table} on the target by hand, without foreign keys, and start again")
            }
            Self::Database { .. } => {
                "create the database on the target by hand, as the target allows, and start again"
                    .to_owned()
            }
            Self::ForeignKeys { .. } => {
                "repair the tables at both ends and start again; or do without: DELETE the keys' rows from binferry.foreign_key on the target"
                    .to_owned()
            }
            Self::Keys { .. } => {
                format!("add them to {table} on the target by hand as the target allows; or do without: DELETE the table's rows from binferry.later_key on the target")
            }
            Self::Preserve => {
                "build the target from a backup of the source, with its GTIDs; or leave out --gtid preserve".to_owned()
            }
            Self::Repair(_) => "empty the table and copy it again".to_owned(),
        }
    }
}
