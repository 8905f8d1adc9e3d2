//! Why an event can't be decoded. Facts only: the event, the table, the column, the reason; never a value.

use binferry_schemas::fault::{Fault, Kind};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not what the event's type says: damage, or a server that writes something new.
    #[error("{event} event {flaw}")]
    Malformed {
        event: &'static str,
        flaw: &'static str,
    },
    /// Known, and not carried (yet).
    #[error("{event} event: {reason}")]
    Unsupported {
        event: &'static str,
        reason: &'static str,
        hint: &'static str,
    },
    #[error("event of unknown type {code}")]
    UnknownEvent { code: u8 },
    #[error(
        "the table map of {database}.{table} has no column names: binlog_row_metadata is not FULL"
    )]
    NoMetadata { database: String, table: String },
    #[error("table map of {database}.{table} {flaw}")]
    TableMap {
        database: String,
        table: String,
        flaw: &'static str,
    },
    #[error("column {database}.{table}.{column}: {reason}")]
    ColumnType {
        database: String,
        table: String,
        column: String,
        reason: String,
    },
    #[error("a value in column {database}.{table}.{column} {flaw}")]
    Value {
        database: String,
        table: String,
        column: String,
        flaw: &'static str,
    },
    #[error("rows event for {database}.{table} {flaw}")]
    Rows {
        database: String,
        table: String,
        flaw: &'static str,
    },
    /// The before document is nowhere.
    #[error(
        "an update of column {database}.{table}.{column} holds only what changes in the document, and the row's before image lacks the document"
    )]
    DocumentMissing {
        database: String,
        table: String,
        column: String,
    },
    /// At a byte of the decompressed content.
    #[error("TRANSACTION_PAYLOAD event {flaw}, at byte {offset} of its content")]
    Payload { offset: u64, flaw: &'static str },
    #[error(
        "the zstd stream of a TRANSACTION_PAYLOAD event cannot be read on after {offset} bytes: {reason}"
    )]
    Zstd { offset: u64, reason: &'static str },
    /// A sequence of MariaDB's is a table, whose one row is logged as an insert each time.
    #[error("{database}.{table} is a sequence, and its state is not carried")]
    Sequence { database: String, table: String },
    /// What was just written cannot be read again.
    #[error("a defect of the program: {what}")]
    Defect { what: &'static str },
}

impl DecodeError {
    /// The table that it is about.
    pub fn table(&self) -> Option<(&str, &str)> {
        match self {
            Self::NoMetadata { database, table }
            | Self::TableMap {
                database, table, ..
            }
            | Self::ColumnType {
                database, table, ..
            }
            | Self::Value {
                database, table, ..
            }
            | Self::Rows {
                database, table, ..
            }
            | Self::DocumentMissing {
                database, table, ..
            } => Some((database, table)),
            _ => None,
        }
    }

    /// A state that only an error of our own can bring about.
    pub fn defect() -> Self {
        Self::Defect {
            what: "an encoded change cannot be read back",
        }
    }
}

impl Fault for DecodeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Defect { .. } => Kind::Defect,
            _ => Kind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { hint, .. } => Some((*hint).to_owned()),
            Self::NoMetadata { .. } => Some(
                "SET PERSIST binlog_row_metadata = FULL on the source (MariaDB: SET GLOBAL, and in my.cnf; MySQL 8.0 or newer; older ones can't write it: replicate to a newer server with log_replica_updates = ON, and capture from that one); transactions that were written before it cannot be read, so start a new log behind them"
                    .to_owned(),
            ),
            Self::DocumentMissing { .. } => Some(
                "SET PERSIST binlog_row_value_options = '' or SET PERSIST binlog_row_image = FULL on the source, and check that no session sets another value; transactions that were written before it cannot be carried, so start a new log behind them, or leave the table out with --tables"
                    .to_owned(),
            ),
            Self::Malformed { .. } | Self::TableMap { .. } | Self::Value { .. } | Self::Rows { .. }
            | Self::Payload { .. }
            | Self::Zstd { .. } => Some(
                "check the binlog on the source with mysqlbinlog --verify-binlog-checksum; if it is sound, report this"
                    .to_owned(),
            ),
            Self::UnknownEvent { .. } => Some(
                "the source is newer than this program, or has a plugin that writes its own events: look for a newer version"
                    .to_owned(),
            ),
            Self::Sequence { database, table } => Some(format!(
                "leave it out: --tables '*.*,!{database}.{table}'; at a change of servers set it with SETVAL"
            )),
            Self::Defect { .. } => None,
            Self::ColumnType { .. } => {
                Some("leave the table out with --tables, or change the column's type".to_owned())
            }
        }
    }
}
