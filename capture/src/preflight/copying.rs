//! What a copy of tables needs of its source beside what a capture does.
//!
//! A table that the user may not read does not show in the information schema: it would be left out in silence. So the privileges must be
//! certain to reach every table that is asked for.

use binferry_schemas::{
    filter::TableFilter,
    finding::{Finding, Severity},
};

use super::{grants::Grants, shown};
use crate::{client::Connection, error::CaptureError, snapshot::CASCADES};

/// Settings of MariaDB under which a snapshot's place in its binlog is not told, or not known to be true: (setting, what it must be where it
/// is there, why).
const MARIADB: [(&str, &str, &str); 3] = [
    (
        "binlog_optimize_thread_scheduling",
        "ON",
        "without it transactions are shown some time after the place that a snapshot states",
    ),
    (
        "wsrep_on",
        "OFF",
        "a Galera node commits in an order of its own, of which it is not known whether a snapshot's place says all",
    ),
    (
        "binlog_storage_engine",
        "",
        "a binlog inside of InnoDB states no place that a snapshot could be compared by",
    ),
];

/// Looks whether tables can be copied out of this source.
pub async fn copying(
    connection: &mut Connection,
    tables: &TableFilter,
) -> Result<Vec<Finding>, CaptureError> {
    let lines = shown(connection).await?;
    let grants = Grants::parse(lines.iter().map(String::as_str));
    let user = connection.user().replace('\'', "''");
    let mut findings = Vec::new();
    let mut blocking = |subject: String, found: String, reason: &str, remedy: String| {
        findings.push(Finding {
            severity: Severity::Blocking,
            subject,
            found,
            reason: reason.to_owned(),
            remedy: Some(remedy),
        });
    };
    if !grants.may_read(tables) {
        let objects: Vec<String> = match tables.databases() {
            Some(databases) => (databases.iter())
                .map(|name| format!("`{}`.*", name.replace('`', "``")))
                .collect(),
            None => vec!["*.*".to_owned()],
        };
        let remedy: Vec<String> = (objects.iter())
            .map(|object| format!("GRANT SELECT ON {object} TO '{user}'@'HOST'"))
            .collect();
        blocking(
            "SELECT".to_owned(),
            format!("not granted for all of `{tables}`"),
            "a copy reads the tables, and would not even see those that it may not read",
            format!(
                "{}; or name in --tables what may be read",
                remedy.join("; ")
            ),
        );
    }
    // Of MariaDB a capture needs it in any case.
    if !connection.is_mariadb() && !grants.has("REPLICATION CLIENT") {
        blocking(
            "REPLICATION CLIENT".to_owned(),
            "not granted".to_owned(),
            "a copy asks where the binlog ends",
            format!("GRANT REPLICATION CLIENT ON *.* TO '{user}'@'HOST'"),
        );
    }
    let settings = connection
        .query(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('lower_case_table_names', 'innodb_native_foreign_keys', \
             'binlog_optimize_thread_scheduling', 'wsrep_on', 'binlog_storage_engine')",
        )
        .await?
        .pairs();
    let setting = |name: &str| settings.get(name).map(String::as_str).unwrap_or_default();
    if setting("lower_case_table_names") == "2" {
        blocking(
            "lower_case_table_names".to_owned(),
            "2".to_owned(),
            "the binlog and the information schema may spell one name in two ways, so which changes are a table's own is not certain",
            "copy the tables with the server's own tools, and begin with --from now".to_owned(),
        );
    }
    for (name, fit, reason) in MARIADB {
        let found = settings.get(name).filter(|_| connection.is_mariadb());
        if let Some(found) = found.filter(|found| !found.eq_ignore_ascii_case(fit)) {
            blocking(
                name.to_owned(),
                found.clone(),
                reason,
                "copy the tables out of a replica without it, or with the server's own tools, and begin with a GTID set".to_owned(),
            );
        }
    }
    let found = connection
        .query(
            "SELECT TABLE_SCHEMA AS d, TABLE_NAME AS t, ENGINE AS x FROM information_schema.TABLES \
             WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE <> 'InnoDB' ORDER BY 1, 2",
        )
        .await?;
    for (table, engine) in names(&found, tables) {
        blocking(
            table,
            format!("in {engine}"),
            "only what InnoDB shows is in the binlog before it is seen",
            "ALTER TABLE … ENGINE = InnoDB, or leave it out with --tables '…,!DATABASE.TABLE'"
                .to_owned(),
        );
    }
    let found = connection
        .query(
            "SELECT TABLE_SCHEMA AS d, TABLE_NAME AS t, TABLE_TYPE AS x FROM information_schema.TABLES \
             WHERE TABLE_TYPE = 'SYSTEM VERSIONED' ORDER BY 1, 2",
        )
        .await?;
    for (table, _) in names(&found, tables) {
        blocking(
            table,
            "WITH SYSTEM VERSIONING".to_owned(),
            "a copy would bring the present rows only, and not the history that the binlog goes on with",
            "leave it out with --tables '…,!DATABASE.TABLE', or drop its versioning".to_owned(),
        );
    }
    // Servers that run them above the engine write what they change.
    if !setting("innodb_native_foreign_keys").eq_ignore_ascii_case("OFF") {
        let found = connection
            .query(&format!(
                "SELECT CONSTRAINT_SCHEMA AS d, TABLE_NAME AS t, CONSTRAINT_NAME AS x \
                 FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE {CASCADES} ORDER BY 1, 2, 3"
            ))
            .await?;
        for (table, constraint) in names(&found, tables) {
            blocking(
                table,
                format!("subject to a foreign key that cascades ({constraint})"),
                "this source does not write to its binlog what that changes",
                "drop the constraint for the time of the copy, or leave the table out with --tables '…,!DATABASE.TABLE'".to_owned(),
            );
        }
    }
    findings.extend(others(connection, tables).await?);
    Ok(findings)
}

/// What is there beside tables, as far as the user may see it, each with its database and a name that the filter decides on.
const OTHERS: [(&str, &str); 5] = [
    (
        "views",
        "SELECT TABLE_SCHEMA AS d, TABLE_NAME AS t, TABLE_NAME AS x FROM information_schema.VIEWS",
    ),
    (
        "sequences",
        "SELECT TABLE_SCHEMA AS d, TABLE_NAME AS t, TABLE_NAME AS x FROM information_schema.TABLES WHERE TABLE_TYPE = 'SEQUENCE'",
    ),
    (
        "triggers",
        "SELECT EVENT_OBJECT_SCHEMA AS d, EVENT_OBJECT_TABLE AS t, TRIGGER_NAME AS x FROM information_schema.TRIGGERS",
    ),
    (
        "routines",
        "SELECT ROUTINE_SCHEMA AS d, '' AS t, ROUTINE_NAME AS x FROM information_schema.ROUTINES",
    ),
    (
        "events",
        "SELECT EVENT_SCHEMA AS d, '' AS t, EVENT_NAME AS x FROM information_schema.EVENTS",
    ),
];

/// Those are not copied: that is told.
async fn others(
    connection: &mut Connection,
    tables: &TableFilter,
) -> Result<Vec<Finding>, CaptureError> {
    /// Of more, the first ones are named.
    const NAMED: usize = 20;
    let mut found = Vec::new();
    for (kind, query) in OTHERS {
        let rows = connection.query(&format!("{query} ORDER BY 1, 3")).await?;
        let text = |row, column| rows.value(row, column).unwrap_or_default();
        let all: Vec<String> = (0..rows.rows.len())
            .filter(|row| tables.touches(&text(*row, "d"), &text(*row, "t")))
            .map(|row| format!("{}.{}", text(row, "d"), text(row, "x")))
            .collect();
        let more = match all.len() {
            0 => continue,
            count if count > NAMED => ", …",
            _ => "",
        };
        let named = all[..all.len().min(NAMED)].join(", ");
        found.push(Finding {
            severity: Severity::Info,
            subject: "what is there beside tables".to_owned(),
            found: format!("{} {kind} ({named}{more})", all.len()),
            reason: "a copy leaves them alone".to_owned(),
            remedy: Some(
                "create them on the target yourself, where they are wanted there; mysqldump --no-data --routines --events prints them"
                    .to_owned(),
            ),
        });
    }
    Ok(found)
}

/// Tables of the filter, each with what was found of it.
fn names(rows: &crate::client::Rows, tables: &TableFilter) -> Vec<(String, String)> {
    let text = |row, column| rows.value(row, column).unwrap_or_default();
    (0..rows.rows.len())
        .filter(|row| tables.matches(&text(*row, "d"), &text(*row, "t")))
        .map(|row| {
            (
                format!("{}.{}", text(row, "d"), text(row, "t")),
                text(row, "x"),
            )
        })
        .collect()
}
