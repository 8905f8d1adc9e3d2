//! Is there room for a copy? Tables of the target that the copy would go into, and what making tables needs.

use binferry_schemas::{
    address::Address,
    filter::TableFilter,
    finding::{Finding, Severity},
};
use mysql_async::{Conn, prelude::Queryable};

use super::{DOING, grants::Grants};
use crate::{
    connection::{self, from_mysql},
    copy::{CopyProblem, IntoTables},
    error::{ApplyError, TableName},
    render::name::quoted,
};

/// Refuses a target that has rows where a first copy is to go: before anything is read or written.
pub async fn refuse_rows(address: &Address, tables: &TableFilter) -> Result<(), ApplyError> {
    let mut target = connection::connect(address).await?;
    let found = with_rows(&mut target.conn, tables).await;
    // The session ends either way.
    let _ = target.conn.disconnect().await;
    match found?.into_iter().next() {
        None => Ok(()),
        Some(table) => Err(ApplyError::Copy {
            table,
            place: None,
            problem: Box::new(CopyProblem::NotEmpty { keyless: false }),
        }),
    }
}

/// The tables that match, are there, and are not empty.
async fn with_rows(conn: &mut Conn, tables: &TableFilter) -> Result<Vec<TableName>, ApplyError> {
    let fail = |error| from_mysql(error, DOING);
    let there: Vec<(String, String)> = conn
        .query(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' ORDER BY 1, 2",
        )
        .await
        .map_err(fail)?;
    let mut found = Vec::new();
    for (database, table) in there {
        // The filter never matches what is the server's own, or ours.
        if !tables.matches(&database, &table) || database == "binferry" {
            continue;
        }
        let ask = format!(
            "SELECT 1 FROM {}.{} LIMIT 1",
            quoted(&database),
            quoted(&table)
        );
        let row: Option<u8> = conn.query_first(ask).await.map_err(fail)?;
        if row.is_some() {
            found.push(TableName { database, table });
        }
    }
    Ok(found)
}

pub async fn room(
    conn: &mut Conn,
    grants: &Grants,
    tables: &TableFilter,
    into: IntoTables,
    findings: &mut Vec<Finding>,
) -> Result<(), ApplyError> {
    for name in with_rows(conn, tables).await? {
        let problem = CopyProblem::NotEmpty { keyless: false };
        let is_allowed = into == IntoTables::Existing;
        findings.push(Finding {
            severity: match is_allowed {
                true => Severity::Info,
                false => Severity::Blocking,
            },
            subject: format!("table {name}"),
            found: "has rows".to_owned(),
            reason: match is_allowed {
                true => "those that are copied must be equal to them, as --into existing says; the others stay",
                false => "a first copy goes into empty tables, or makes them",
            }
            .to_owned(),
            remedy: (!is_allowed).then(|| problem.hint(&name.to_string())),
        });
    }
    let missing: Vec<&str> = ["CREATE", "ALTER", "INDEX", "REFERENCES"]
        .into_iter()
        .filter(|privilege| {
            // Where only binferry.* has it, tables cannot be made.
            let scopes = grants.scopes(privilege);
            !scopes.iter().any(|scope| !scope.starts_with("`binferry`."))
        })
        .collect();
    if !missing.is_empty() {
        findings.push(Finding {
            severity: Severity::Blocking,
            subject: "privileges".to_owned(),
            found: format!("missing: {} ON the databases", missing.join(", ")),
            reason: "a copy makes tables, and adds their foreign keys".to_owned(),
            remedy: Some(format!(
                "GRANT {} ON the databases TO the user",
                missing.join(", ")
            )),
        });
    }
    Ok(())
}
