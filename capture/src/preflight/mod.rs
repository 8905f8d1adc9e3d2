//! Is this source fit for a capture? Every setting and privilege that decides it, each with the statement that mends it.
//!
//! Asking ([`observe`]) is apart from judging ([`judge`]), which is pure. What cannot be seen for want of a privilege is never taken
//! for good: it is a finding too. Settings can also change later, or differ in a session that wrote: the decoder has its own
//! checks of what arrives.

mod copying;
mod facts;
mod grants;
mod judge;
mod mariadb;
mod portrait;
mod sizes;
mod topology;

use std::collections::HashMap;

use binferry_schemas::filter::TableFilter;

use crate::client::{Connection, Rows};
use crate::error::{CaptureError, Permanent};
use grants::Grants;

pub use binferry_schemas::finding::{Finding, Severity};
pub use copying::copying;
pub(crate) use facts::mariadb_uuid;
pub use facts::{Flavour, SourceFacts, Version};
pub use portrait::portrait;
pub use sizes::{Sizes, sizes};
pub use topology::{continues, free_id};

/// What the capture is to carry.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub tables: &'a TableFilter,
    /// Tables that are there are copied.
    pub copy: bool,
}

/// Everything that is judged.
#[derive(Debug, Default)]
struct Observed {
    version: String,
    user: String,
    grants: Grants,
    variables: HashMap<String, String>,
    /// SHOW BINARY LOG STATUS; `None` when we may not ask.
    binlog: Option<BinlogStatus>,
    /// Whether it applies another server's transactions; `None` when we may not ask.
    is_replica: Option<bool>,
}

#[derive(Debug, Default)]
struct BinlogStatus {
    do_db: String,
    ignore_db: String,
}

/// Looks at a source; the worst findings first, none when all is well.
///
/// Errors only when the source cannot be asked at all.
pub async fn check(
    connection: &mut Connection,
    wanted: &Wanted<'_>,
) -> Result<Vec<Finding>, CaptureError> {
    let observed = observe(connection).await?;
    let mut findings = judge::judge(&observed, wanted);
    if wanted.copy {
        let copying = copying(connection, wanted.tables).await?;
        // The worse of two that say the same.
        findings.retain(|finding| copying.iter().all(|c| c.subject != finding.subject));
        findings.extend(copying);
    }
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

/// The blocking ones as an error.
pub fn refuse(findings: &[Finding]) -> Result<(), Permanent> {
    let blocking: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Blocking)
        .cloned()
        .collect();
    match blocking.is_empty() {
        true => Ok(()),
        false => Err(Permanent::Preflight(blocking)),
    }
}

async fn observe(connection: &mut Connection) -> Result<Observed, CaptureError> {
    let version = connection.version().to_owned();
    let lines = shown(connection).await?;
    let variables = connection
        .query(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('gtid_mode', 'enforce_gtid_consistency', 'log_bin', 'binlog_format', \
             'binlog_row_metadata', 'binlog_row_image', 'binlog_row_value_options', \
             'binlog_checksum', 'binlog_expire_logs_seconds', 'binlog_expire_logs_auto_purge', 'log_replica_updates', \
             'log_slave_updates', 'server_id', 'gtid_strict_mode', 'binlog_alter_two_phase', 'expire_logs_days', \
             'binlog_space_limit')",
        )
        .await?
        .pairs();
    let binlog = first_allowed(
        connection,
        &["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"],
    )
    .await?;
    let replica = first_allowed(connection, &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]).await?;
    Ok(Observed {
        version,
        user: connection.user().to_owned(),
        grants: Grants::parse(lines.iter().map(String::as_str)),
        variables,
        binlog: binlog.map(|rows| BinlogStatus {
            do_db: rows.value(0, "Binlog_Do_DB").unwrap_or_default(),
            ignore_db: rows.value(0, "Binlog_Ignore_DB").unwrap_or_default(),
        }),
        is_replica: replica.map(|rows| !rows.rows.is_empty()),
    })
}

/// The lines of SHOW GRANTS.
async fn shown(connection: &mut Connection) -> Result<Vec<String>, CaptureError> {
    // ANSI_QUOTES changes how names are shown.
    connection.query("SET SESSION sql_mode = ''").await?;
    let grants = connection.query("SHOW GRANTS").await?;
    let lines = grants.rows.iter();
    Ok(lines
        .filter_map(|row| Some(String::from_utf8_lossy(row.first()?.as_deref()?).into_owned()))
        .collect())
}

/// The answer to the first statement that this version knows; `None` when we may not ask.
async fn first_allowed(
    connection: &mut Connection,
    statements: &[&str],
) -> Result<Option<Rows>, CaptureError> {
    for statement in statements {
        match connection.query(statement).await {
            Ok(rows) => return Ok(Some(rows)),
            Err(CaptureError::Permanent(Permanent::Refused { .. })) => {}
            Err(CaptureError::Permanent(Permanent::Unprivileged { .. })) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
