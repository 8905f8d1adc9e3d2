//! What stops a copy.

use binferry_schemas::fault::{Fault, Kind};

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the table {database}.{table} cannot be copied: {problem}")]
    Table {
        database: String,
        table: String,
        problem: String,
    },
    #[error(
        "the table {database}.{table} cannot be copied: a foreign key of it cascades ({constraint}), which this source does not write to its binlog"
    )]
    Cascade {
        database: String,
        table: String,
        constraint: String,
    },
    #[error(
        "the table {database}.{table} has no key and is written all the time: none of {attempts} moments was quiet"
    )]
    Busy {
        database: String,
        table: String,
        attempts: u32,
    },
    #[error("the copy of {database}.{table} cannot go on: {problem}")]
    Resume {
        database: String,
        table: String,
        problem: &'static str,
    },
    /// The capture goes on by copying the table once more; a few times.
    #[error(
        "a transaction gives a row of {database}.{table} another key while the table is being copied, and its images lack columns (binlog_row_image)"
    )]
    Moved { database: String, table: String },
    /// The next attempt has them.
    #[error("tables are to be added")]
    Widened,
    #[error("the copy has ended without a word")]
    Ended,
}

impl Fault for SnapshotError {
    fn kind(&self) -> Kind {
        match self {
            Self::Cascade { .. } => Kind::Configuration,
            Self::Widened | Self::Ended => Kind::Defect,
            _ => Kind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Table { .. } => "leave it out with --tables '…,!DATABASE.TABLE', or change it".into(),
            Self::Cascade { .. } => {
                "leave the table out with --tables, drop the constraint for the time of the copy, or use MySQL 9.6 or newer with innodb_native_foreign_keys = OFF".into()
            }
            Self::Busy { .. } => "give the table a primary key (an invisible one will do), or copy it in a quiet hour".into(),
            Self::Resume { .. } => "copy the table again: binferry snapshot --tables DATABASE.TABLE".into(),
            Self::Moved { .. } => {
                "SET GLOBAL binlog_row_image = FULL on the source for the time of the copy, and let sessions that are open connect again; or copy the table when no key changes".into()
            }
            Self::Widened | Self::Ended => return None,
        })
    }
}
