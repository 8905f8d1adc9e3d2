//! Where MySQL and MariaDB differ for a copy; docs/snapshot.md has what follows from it.
//!
//! | | MySQL | MariaDB |
//! |---|---|---|
//! | what the server holds | `gtid_executed`: a transaction enters it when InnoDB shows it | `gtid_binlog_pos`: it enters when it is in the binlog, a moment before InnoDB shows it |
//! | the snapshot's place in the binlog | not told | `binlog_snapshot_file`, `binlog_snapshot_position`: what is before it is shown, but for XA transactions |
//! | who it is | `server_uuid` | `server_id` |
//! | tables | `BASE TABLE` | and `SYSTEM VERSIONED`, which can't be copied |

use binferry_schemas::gtid::Uuid;

use crate::{
    client::Connection,
    preflight::{Version, mariadb_uuid},
};

/// What all sessions have: text as it is stored, times in UTC, no mode that hides or changes anything.
const SESSION: &str = "SET SESSION time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', character_set_results = NULL, \
     net_write_timeout = 86400, lock_wait_timeout = 1, sql_quote_show_create = 1, sql_select_limit = 18446744073709551615";
/// By a statement: the variable has not the same name everywhere.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
/// A large table takes long, and warnings are looked through: none of them is to be cut off.
const PATIENT: &str = "SET SESSION max_statement_time = 0, max_error_count = 65535";
/// What the information schema keeps of sizes is not to be old.
const FRESH: &str = "SET SESSION information_schema_stats_expiry = 0";
/// Not among the tables of anyone.
pub(super) const SYSTEM_SCHEMAS: &str =
    "('mysql', 'sys', 'information_schema', 'performance_schema')";
/// MariaDB's first line with `COLLATION_CHARACTER_SET_APPLICABILITY.FULL_COLLATION_NAME`.
const FULL_COLLATIONS: (u32, u32, u32) = (10, 10, 1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    MySql,
    MariaDb {
        /// From 10.10 on the names of collations in the information schema are not the columns' own.
        full_collations: bool,
    },
}

impl Dialect {
    pub fn of(connection: &Connection) -> Self {
        match connection.is_mariadb() {
            true => Self::MariaDb {
                full_collations: Version::parse(connection.version())
                    .is_some_and(|version| version.number >= FULL_COLLATIONS),
            },
            false => Self::MySql,
        }
    }

    /// Statements that make a reader's session.
    pub fn session(self) -> &'static [&'static str] {
        match self {
            Self::MySql => &[SESSION, ISOLATION, FRESH],
            Self::MariaDb { .. } => &[SESSION, ISOLATION, PATIENT],
        }
    }

    /// Asks who the server is, for [`identity`](Self::identity).
    pub fn who(self) -> &'static str {
        match self {
            Self::MySql => "SELECT @@GLOBAL.server_uuid",
            Self::MariaDb { .. } => "SELECT @@GLOBAL.server_id",
        }
    }

    /// As the source's facts have it.
    pub fn identity(self, answer: &str) -> Option<Uuid> {
        match self {
            Self::MySql => answer.parse().ok(),
            Self::MariaDb { .. } => answer.parse().ok().map(mariadb_uuid),
        }
    }

    /// The GTIDs that the server holds.
    pub fn held(self) -> &'static str {
        match self {
            Self::MySql => "SELECT @@GLOBAL.gtid_executed",
            Self::MariaDb { .. } => "SELECT @@GLOBAL.gtid_binlog_pos",
        }
    }

    /// Ways to ask where the binlog ends, the first one that the server knows: on MySQL the older name is gone from 8.4 on, and the newer
    /// one not there before 8.2.
    pub fn end_of_binlog(self) -> &'static [&'static str] {
        match self {
            Self::MySql => &["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"],
            Self::MariaDb { .. } => &["SHOW MASTER STATUS"],
        }
    }

    /// `TABLE_TYPE` of what holds rows of its own, for IN. Sequences and views are not among it.
    pub fn table_types(self) -> &'static str {
        match self {
            Self::MySql => "('BASE TABLE')",
            Self::MariaDb { .. } => "('BASE TABLE', 'SYSTEM VERSIONED')",
        }
    }

    /// The table of collations, and its column with the name that `information_schema.COLUMNS` has.
    pub fn collations(self) -> (&'static str, &'static str) {
        match self {
            Self::MariaDb {
                full_collations: true,
            } => (
                "COLLATION_CHARACTER_SET_APPLICABILITY",
                "FULL_COLLATION_NAME",
            ),
            _ => ("COLLATIONS", "COLLATION_NAME"),
        }
    }
}
