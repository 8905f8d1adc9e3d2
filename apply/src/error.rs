//! What can go wrong while applying. No message holds a value of a row: servers put values into theirs (`Duplicate entry '…'`), so a
//! server's text is kept only for the codes that name nothing but schema objects and settings.

use std::{fmt, sync::Arc};

use binferry_schemas::{
    datum::DatumError,
    fault::{Fault, Kind},
    fingerprint::Fingerprint,
    gtid::{Gtid, GtidSet, Uuid},
    record::{DdlEffect, Offset, RecordError},
    row::RowSchemaError,
};
use binferry_transport::error::LogError;

use crate::{conflict::Conflict, copy::CopyProblem, retry::is_no_room};

/// The transaction that something happened in, or the record of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The rows of a copy have none.
    pub gtid: Option<Gtid>,
    /// Of the record.
    pub offset: Offset,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gtid {
            Some(gtid) => write!(f, "transaction {gtid} (record {})", self.offset.0),
            None => write!(f, "record {} (of a copy)", self.offset.0),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    pub database: String,
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// The server's answer, without row values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server answered error {code} ({state}){}", .message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
pub struct ServerFault {
    pub code: u16,
    pub state: String,
    pub message: Option<String>,
}

/// Why a target's table cannot take a source table's rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    #[error("the table does not exist on the target, or the user may not see it")]
    Missing,
    #[error("column {column} does not exist on the target")]
    ColumnMissing { column: String },
    #[error("column {column} is {found} on the target, which cannot hold every value of {needed}")]
    Narrow {
        column: String,
        needed: String,
        found: String,
    },
    #[error("column {column} of the target is not in the source, is NOT NULL and has no default")]
    Required { column: String },
    #[error(
        "column {column} is generated on the target, and holds values of its own on the source"
    )]
    Generated { column: String },
    #[error("the source's primary key ({}) is not a primary or unique key of the target's table", .columns.join(", "))]
    Key { columns: Vec<String> },
    #[error(
        "the target's table has the trigger {trigger}, which would change rows that the log carries as well"
    )]
    Trigger { trigger: String },
    #[error("the target's table uses the engine {engine}, which has no transactions")]
    Engine { engine: String },
    #[error("it is a view on the target")]
    View,
}

/// Why the source's GTIDs cannot be given to transactions of the target's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreserveProblem {
    #[error("the target is a MariaDB, and has no GTIDs of MySQL's")]
    MariaDbTarget,
    #[error("transaction {gtid} is of a MariaDB, and the target has no GTIDs of MariaDB's")]
    MariaDbSource { gtid: Gtid },
    #[error("gtid_mode of the target is {found}")]
    Mode { found: String },
    #[error("the user may not set gtid_next: {fault}")]
    Privilege { fault: Box<ServerFault> },
}

/// A DDL statement of the source's that passed, and that the table's next rows depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedDdl {
    pub gtid: Gtid,
    pub statement: String,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    #[error("cannot reach the target {address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("the target {address} refuses the login: {fault}")]
    Login {
        address: String,
        fault: Box<ServerFault>,
    },
    #[error("TLS with the target {address} failed: {reason}")]
    Tls { address: String, reason: String },
    #[error("the target {address} runs MySQL {found}; {needed} or newer is needed")]
    Version {
        address: String,
        found: String,
        needed: &'static str,
    },
    #[error("the target is read-only ({setting} is ON)")]
    ReadOnly { setting: &'static str },
    #[error("the user lacks a privilege on the target: {fault}")]
    Privilege { fault: Box<ServerFault> },
    #[error("cannot preserve GTIDs: {problem}")]
    Preserve { problem: Box<PreserveProblem> },
    #[error("the connection to the target was lost: {reason}")]
    Lost { reason: String },
    #[error("the target refused a statement ({doing}{}{}): {fault}", in_place(.place), in_table(.table))]
    Server {
        doing: &'static str,
        place: Option<Arc<Place>>,
        table: Option<TableName>,
        fault: Box<ServerFault>,
    },

    #[error(
        "log and progress do not match: stream {stream:?} of the target belongs to the log {target}, and this is the log {log}, which shows nothing of the same history"
    )]
    NotPaired {
        stream: String,
        target: Uuid,
        log: Uuid,
    },
    #[error(
        "the log begins at record {start}, and transactions that the target lacks have expired: {missing}"
    )]
    Expired { start: u64, missing: GtidSet },
    #[error(
        "the log does not show where the target is in it, and has copies of tables (the first at record {first}): rows of copies have no GTID, they could come twice or be left out"
    )]
    CopiesBetween { first: u64 },
    #[error(
        "the target has applied the log up to record {applied}, and the log ends at record {end}: the log has lost records, or is an older copy"
    )]
    Ahead { applied: u64, end: u64 },
    #[error("another applier has taken over the stream {stream:?}")]
    Superseded { stream: String },
    #[error("the stream {stream:?} has never been applied on the target")]
    NotStarted { stream: String },
    #[error("an applier of the stream {stream:?} is running (session {session} of the target)")]
    Running { stream: String, session: u64 },
    #[error("the progress of stream {stream:?} on the target cannot be read: {reason}")]
    Progress { stream: String, reason: String },

    #[error("{}, table {table}: {problem}{}", place_text(.place), after_text(.after))]
    Table {
        table: TableName,
        place: Option<Arc<Place>>,
        problem: Box<TableProblem>,
        after: Option<Box<PassedDdl>>,
    },
    #[error("{place}: {}{}: {statement}", effect_text(.effect), .reason.as_ref().map(|reason| format!(", which is not run on the target: {reason}")).unwrap_or_default())]
    DdlStop {
        place: Arc<Place>,
        effect: DdlEffect,
        /// `None`: schema changes are to stop the stream.
        reason: Option<String>,
        statement: String,
    },
    #[error("{place}: the target refuses the schema change: {fault}: {statement}")]
    Ddl {
        place: Arc<Place>,
        /// When it is about one.
        table: Option<TableName>,
        statement: String,
        fault: Box<ServerFault>,
    },
    #[error(
        "{place}: an applier was interrupted while it ran a schema change, and the definitions on the target do not tell whether it was done: {statement}"
    )]
    DdlInDoubt {
        place: Arc<Place>,
        stream: String,
        statement: String,
    },
    #[error("{}, table {table}: {problem}", place_text(.place))]
    Copy {
        table: TableName,
        /// `None`: before a copy has begun.
        place: Option<Arc<Place>>,
        problem: Box<CopyProblem>,
    },
    #[error("{0}")]
    Conflict(Box<Conflict>),
    #[error("{place}, table {table}, column {column}: {reason}")]
    Value {
        place: Arc<Place>,
        table: TableName,
        column: String,
        reason: &'static str,
    },
    #[error("{place}, table {table}: a row image lacks the column {column}, {reason}")]
    PartialImage {
        place: Arc<Place>,
        table: TableName,
        column: String,
        reason: &'static str,
    },
    #[error(
        "{place}, table {table}: a row needs a statement of {bytes} bytes, and the target's max_allowed_packet is {limit}"
    )]
    RowTooLarge {
        place: Arc<Place>,
        table: TableName,
        bytes: u64,
        limit: u64,
    },

    #[error("reading the log failed")]
    Log(#[from] LogError),
    #[error("record {offset} of the log cannot be read")]
    Record {
        offset: u64,
        #[source]
        source: RecordError,
    },
    #[error("{place}: {reason}")]
    Malformed {
        place: Arc<Place>,
        reason: &'static str,
    },
    #[error("{place}: a row cannot be read")]
    Datum {
        place: Arc<Place>,
        #[source]
        source: Box<DatumError>,
    },
    #[error("the log's row schema {fingerprint} cannot be read")]
    RowSchema {
        fingerprint: Fingerprint,
        #[source]
        source: RowSchemaError,
    },
    #[error("the log lacks the row schema {fingerprint}, which {place} refers to")]
    SchemaMissing {
        fingerprint: Fingerprint,
        place: Arc<Place>,
    },
    #[error("defect in the applier: {0}")]
    Defect(&'static str),
}

fn in_place(place: &Option<Arc<Place>>) -> String {
    place
        .as_ref()
        .map(|place| format!(", {place}"))
        .unwrap_or_default()
}

fn in_table(table: &Option<TableName>) -> String {
    table
        .as_ref()
        .map(|table| format!(", table {table}"))
        .unwrap_or_default()
}

fn place_text(place: &Option<Arc<Place>>) -> String {
    place
        .as_ref()
        .map(|place| place.to_string())
        .unwrap_or_else(|| "preflight".to_owned())
}

fn after_text(ddl: &Option<Box<PassedDdl>>) -> String {
    ddl.as_ref()
        .map(|ddl| {
            format!(
                " (after the source's statement in {}: {})",
                ddl.gtid, ddl.statement
            )
        })
        .unwrap_or_default()
}

fn skip_command(place: &Place) -> String {
    match place.gtid {
        Some(gtid) => format!("binferry skip --gtid {gtid}"),
        None => "copy the table again: binferry snapshot --tables".to_owned(),
    }
}

fn is_privilege(code: u16) -> bool {
    matches!(code, 1044 | 1142 | 1143 | 1227 | 1370)
}

fn effect_text(effect: &DdlEffect) -> &'static str {
    match effect {
        DdlEffect::Truncate => "TRUNCATE of a captured table",
        DdlEffect::Drop => "DROP of a captured table",
        DdlEffect::Rename => "RENAME of a captured table",
        DdlEffect::Unknown => "a statement that is not understood and may touch a captured table",
        DdlEffect::None | DdlEffect::Define => "a schema change of a captured table",
    }
}

impl Fault for ApplyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => Kind::Unreachable,
            Self::Login { .. }
            | Self::Tls { .. }
            | Self::Version { .. }
            | Self::ReadOnly { .. }
            | Self::Privilege { .. }
            | Self::Preserve { .. }
            | Self::NotPaired { .. }
            | Self::Superseded { .. }
            | Self::NotStarted { .. }
            | Self::Running { .. }
            | Self::Progress { .. } => Kind::Configuration,
            // As a server that is down: nothing is wrong with the data.
            Self::Server { fault, .. } | Self::Ddl { fault, .. } if is_no_room(fault.code) => {
                Kind::Unreachable
            }
            Self::Table { .. }
            | Self::Server { .. }
            | Self::Expired { .. }
            | Self::CopiesBetween { .. }
            | Self::Ahead { .. }
            | Self::DdlStop { .. }
            | Self::Copy { .. }
            | Self::DdlInDoubt { .. }
            | Self::Conflict(_)
            | Self::Value { .. }
            | Self::PartialImage { .. }
            | Self::RowTooLarge { .. }
            | Self::Malformed { .. }
            | Self::Datum { .. }
            | Self::SchemaMissing { .. } => Kind::Data,
            Self::Ddl { fault, .. } if is_privilege(fault.code) => Kind::Configuration,
            Self::Ddl { .. } => Kind::Data,
            Self::RowSchema { .. } => Kind::Data,
            Self::Log(error) => error.kind(),
            Self::Record { source, .. } => source.kind(),
            Self::Defect(_) => Kind::Defect,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { .. } | Self::Lost { .. } => {
                "check that the server runs and that host and port of --target are right".to_owned()
            }
            Self::Login { .. } => "check the user in --target and BINFERRY_TARGET_PASSWORD".to_owned(),
            Self::Tls { .. } => "check ?tls= and ?ca= of --target".to_owned(),
            Self::Version { needed, .. } => format!("use a target with {needed} or newer"),
            Self::ReadOnly {
                setting: setting @ "read_only",
            } => format!(
                "for a standby, GRANT CONNECTION_ADMIN (on MariaDB READ ONLY ADMIN) ON *.* TO the user; otherwise SET GLOBAL {setting} = OFF, or point --target at the writable server"
            ),
            Self::ReadOnly { setting } => format!("SET GLOBAL {setting} = OFF, or point --target at the writable server"),
            Self::Preserve { problem } => match &**problem {
                PreserveProblem::MariaDbTarget | PreserveProblem::MariaDbSource { .. } => {
                    "leave out --gtid preserve: it is for MySQL on both sides".to_owned()
                }
                PreserveProblem::Mode { .. } => {
                    "SET PERSIST enforce_gtid_consistency = ON, then gtid_mode = OFF_PERMISSIVE, ON_PERMISSIVE and ON in turn".to_owned()
                }
                PreserveProblem::Privilege { .. } => "GRANT REPLICATION_APPLIER ON *.* TO the user".to_owned(),
            },
            // A tag in a GTID.
            Self::Privilege { fault } if fault.code == 6038 => {
                "GRANT TRANSACTION_GTID_TAG ON *.* TO the user".to_owned()
            }
            Self::Privilege { .. } => {
                "GRANT SELECT, INSERT, UPDATE, DELETE ON the tables, and CREATE, SELECT, INSERT, UPDATE, DELETE ON binferry.* to the user; where tables are copied also CREATE, ALTER, INDEX, REFERENCES ON the databases, and DROP where --into or a copy over rows has to empty tables"
                    .to_owned()
            }
            Self::NotPaired { stream, target, .. } => format!(
                "use the log {target}; to start over with this log, empty the tables and DELETE the rows of stream {stream:?} from binferry.progress and binferry.stream"
            ),
            Self::CopiesBetween { .. } => {
                "use the log that the target was fed from, or a copy that still has the last records that it has applied; otherwise build the target again".to_owned()
            }
            Self::Expired { .. } => {
                "use a copy of the log that still has them, or build the target again from a copy of the source".to_owned()
            }
            Self::Ahead { .. } => "use the log that the target was fed from".to_owned(),
            Self::Superseded { .. } => "stop one of the two appliers; the newer one goes on".to_owned(),
            Self::NotStarted { .. } => "check --stream and --target".to_owned(),
            Self::Running { .. } => "stop it first; it goes on from the progress when it is started again".to_owned(),
            Self::Progress { .. } => "use the version of binferry that wrote it".to_owned(),
            Self::Table { problem, .. } => match &**problem {
                TableProblem::Missing => "create the table on the target as on the source, or leave it out with --tables".to_owned(),
                TableProblem::ColumnMissing { column } => format!("ALTER TABLE … ADD COLUMN {column} on the target"),
                TableProblem::Narrow { column, needed, .. } => format!("ALTER TABLE … MODIFY {column} {needed} on the target"),
                TableProblem::Required { column } => format!("give the column {column} a default, or let it be NULL"),
                TableProblem::Generated { column } => format!("let {column} be a column like the source's on the target"),
                TableProblem::Key { columns } => format!("ALTER TABLE … ADD PRIMARY KEY ({}) on the target", columns.join(", ")),
                TableProblem::Trigger { trigger } => format!(
                    "DROP TRIGGER {trigger} on the target; or, if what it does is wanted, --allow-triggers with the table's name"
                ),
                TableProblem::Engine { .. } => "ALTER TABLE … ENGINE = InnoDB on the target".to_owned(),
                TableProblem::View => "replace the view by a table".to_owned(),
            },
            Self::Server { fault, .. } | Self::Ddl { fault, .. } if is_no_room(fault.code) => {
                "make room on the target's disks, or let its tablespaces grow; what is running goes on by itself, and nothing is lost".to_owned()
            }
            Self::Ddl { fault, .. } if fault.code == 1227 => {
                "GRANT SESSION_VARIABLES_ADMIN ON *.* TO the user".to_owned()
            }
            Self::Ddl { fault, .. } if is_privilege(fault.code) => {
                "GRANT CREATE, ALTER, DROP, INDEX, REFERENCES ON the databases to the user".to_owned()
            }
            Self::Ddl { fault, place, .. } if fault.code == 1049 => format!(
                "create the database on the target as it was on the source before the statement (SHOW CREATE DATABASE there) and start again; or bring the target to the state after it by hand, then pass it: {}",
                skip_command(place)
            ),
            Self::Ddl { fault, place, .. } if fault.code == 1298 => format!(
                "load the time zones on the target (mysql_tzinfo_to_sql); or run the statement on the target by hand, then pass it: {}",
                skip_command(place)
            ),
            Self::Ddl { place, .. } => format!(
                "make the target's tables as they are on the source before the statement, and start again; or bring them to the state after it by hand, then pass it: {}",
                skip_command(place)
            ),
            Self::DdlInDoubt { place, stream, .. } => format!(
                "look at the tables on the target; if it was done, pass it: {}; if it was not: UPDATE binferry.ddl SET phase = 'none' WHERE stream = '{stream}', and start again",
                skip_command(place)
            ),
            Self::DdlStop { place, .. } => format!(
                "bring the target to the state after the statement by hand, then pass it: {}",
                skip_command(place)
            ),
            Self::Copy { table, problem, .. } => problem.hint(&table.to_string()),
            Self::Conflict(conflict) => conflict.hint(),
            Self::RowTooLarge { bytes, .. } => format!("SET GLOBAL max_allowed_packet to at least {bytes} on the target"),
            Self::PartialImage { place, .. } => format!(
                "SET PERSIST binlog_row_image = FULL on the source, or name every column in its INSERT statements; for this transaction: bring the target to the state after it by hand, then pass it: {}",
                skip_command(place)
            ),
            Self::Value { place, .. } => format!(
                "bring the target to the state after this transaction by hand, then pass it, journaled: {}; or leave such changes out: --on-conflict type=target_wins",
                skip_command(place)
            ),
            Self::Log(error) => return error.hint(),
            Self::Record { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}
