//! What on a target writes by itself: triggers and scheduled events.
//!
//! Their changes on the source are in the log. A target that makes them again has them twice, or others. Servers show triggers and events
//! only to users with the privileges TRIGGER and EVENT; without them nothing can be seen, and that is said.

use binferry_schemas::{
    filter::TableFilter,
    finding::{Finding, Severity},
};
use binferry_transport::resume::tail_state;
use mysql_async::{Conn, prelude::Queryable};

use super::{DOING, grants::Grants};
use crate::{
    connection::{self, from_mysql},
    error::{ApplyError, TableName, TableProblem},
    options::Options,
};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Trigger {
    table: TableName,
    name: String,
}

/// Those that the user may see.
async fn visible_triggers(conn: &mut Conn) -> Result<Vec<Trigger>, ApplyError> {
    let rows: Vec<(String, String, String)> = conn
        .query(
            "SELECT event_object_schema, event_object_table, trigger_name FROM information_schema.triggers \
             WHERE event_object_schema NOT IN ('sys', 'mysql') ORDER BY 1, 2, 3",
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let rows = rows.into_iter().map(|(database, table, name)| Trigger {
        table: TableName { database, table },
        name,
    });
    Ok(rows.collect())
}

/// Before anything is applied: triggers on tables that the log's captures name. Where they carry all tables, the target may have others,
/// which the log never speaks of: each table is looked at once more before its first row.
pub async fn refuse_triggers(options: &Options) -> Result<(), ApplyError> {
    let state = tail_state(&*options.log).await?;
    let captured: Vec<TableFilter> = (state.sites.iter())
        .filter_map(|site| site.filter.parse().ok())
        .collect();
    let mut target = connection::connect(&options.address).await?;
    let triggers = visible_triggers(&mut target.conn).await;
    // The session ends either way.
    let _ = target.conn.disconnect().await;
    for Trigger { table, name } in triggers? {
        let (database, on) = (&table.database, &table.table);
        let is_allowed =
            (options.triggers.as_ref()).is_some_and(|tables| tables.matches(database, on));
        if captured.iter().any(|tables| tables.names(database, on)) && !is_allowed {
            return Err(ApplyError::Table {
                table,
                place: None,
                problem: Box::new(TableProblem::Trigger { trigger: name }),
                after: None,
            });
        }
    }
    Ok(())
}

pub async fn triggers(
    conn: &mut Conn,
    grants: &Grants,
    is_captured: impl Fn(&str, &str) -> bool,
    allowed: Option<&TableFilter>,
    findings: &mut Vec<Finding>,
) -> Result<(), ApplyError> {
    for Trigger { table, name } in visible_triggers(conn).await? {
        let TableName { database, table } = table;
        if !is_captured(&database, &table) {
            continue;
        }
        let is_allowed = allowed.is_some_and(|tables| tables.matches(&database, &table));
        findings.push(Finding {
            severity: match is_allowed {
                true => Severity::Info,
                false => Severity::Blocking,
            },
            subject: format!("trigger {database}.{name}"),
            found: format!("on {database}.{table}"),
            reason: match is_allowed {
                true => "it runs for every change that is applied, as --allow-triggers says",
                false => "it would change rows that the log carries as well",
            }
            .to_owned(),
            remedy: (!is_allowed).then(|| {
                format!("DROP TRIGGER {database}.{name}; or, if what it does is wanted, --allow-triggers '{database}.{table}'")
            }),
        });
    }
    if !grants.has(&[], "TRIGGER") {
        findings.push(Finding {
            severity: Severity::Warning,
            subject: "triggers".to_owned(),
            found: "out of sight".to_owned(),
            reason: "without the privilege TRIGGER a server shows none, and they would change rows that the log carries as well".to_owned(),
            remedy: Some("GRANT TRIGGER ON the tables TO the user".to_owned()),
        });
    }
    Ok(())
}

/// MySQL starts no event that has come by replication, and Binferry makes none: an event that is enabled was made or enabled here.
pub async fn events(
    conn: &mut Conn,
    grants: &Grants,
    findings: &mut Vec<Finding>,
) -> Result<(), ApplyError> {
    const OFF: &str =
        "SET PERSIST event_scheduler = OFF (MariaDB: SET GLOBAL, and in its configuration file)";
    let fail = |error| from_mysql(error, DOING);
    let scheduler: Option<String> = conn
        .query_first("SELECT @@global.event_scheduler")
        .await
        .map_err(fail)?;
    let scheduler = scheduler.unwrap_or_default();
    let on = matches!(scheduler.as_str(), "ON" | "1");
    if !on {
        findings.push(Finding {
            severity: Severity::Fine,
            subject: "event_scheduler".to_owned(),
            found: scheduler,
            reason: "no event runs on the target".to_owned(),
            remedy: None,
        });
        return Ok(());
    }
    let enabled: Vec<(String, String)> = conn
        .query(
            "SELECT event_schema, event_name FROM information_schema.events WHERE status = 'ENABLED' \
             AND event_schema NOT IN ('sys', 'mysql') ORDER BY 1, 2",
        )
        .await
        .map_err(fail)?;
    for (database, event) in enabled {
        findings.push(Finding {
            severity: Severity::Warning,
            subject: format!("event {database}.{event}"),
            found: "ENABLED".to_owned(),
            reason: "the target's event_scheduler is ON: what the event does on the source is in the log, and it would be done twice".to_owned(),
            remedy: Some(format!("ALTER EVENT {database}.{event} DISABLE, or {OFF}")),
        });
    }
    if !grants.has(&[], "EVENT") {
        findings.push(Finding {
            severity: Severity::Info,
            subject: "event_scheduler".to_owned(),
            found: "ON".to_owned(),
            reason: "without the privilege EVENT it cannot be seen whether an event is enabled that writes by itself".to_owned(),
            remedy: Some(format!("{OFF}, or GRANT EVENT ON the databases TO the user")),
        });
    }
    Ok(())
}
