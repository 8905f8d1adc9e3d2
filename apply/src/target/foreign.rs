//! The foreign keys around a table, from the target's `information_schema`.

use mysql_async::{Conn, prelude::Queryable};

use super::{catalog::DOING, table::ForeignKey};
use crate::{
    connection::from_mysql,
    error::{ApplyError, TableName},
};

#[derive(Debug, Default)]
pub struct ForeignKeys {
    pub references: Vec<ForeignKey>,
    pub referred: Vec<Vec<String>>,
    /// The tables that a change of this one reaches by cascades.
    pub cascades: Vec<TableName>,
}

/// One column of a foreign key.
struct Part {
    constraint: (String, String),
    child: TableName,
    column: String,
    parent: TableName,
    parent_column: String,
    cascades: bool,
}

pub async fn read(conn: &mut Conn, name: &TableName) -> Result<ForeignKeys, ApplyError> {
    let mut found = ForeignKeys::default();
    let parts = around(conn, name).await?;
    for key in parts.chunk_by(|a, b| a.constraint == b.constraint && a.child == b.child) {
        let (Some(first), parents) = (key.first(), key.iter().map(|part| &part.parent_column))
        else {
            continue;
        };
        let parent_columns: Vec<String> = parents.cloned().collect();
        if same(&first.parent, name) {
            found.referred.push(parent_columns.clone());
        }
        if same(&first.child, name) {
            found.references.push(ForeignKey {
                columns: key.iter().map(|part| part.column.clone()).collect(),
                parent: first.parent.clone(),
                parent_columns,
            });
        }
    }
    let mut open: Vec<TableName> = children(&parts, name);
    while let Some(child) = open.pop() {
        if found.cascades.contains(&child) {
            continue;
        }
        let parts = around(conn, &child).await?;
        open.extend(children(&parts, &child));
        found.cascades.push(child);
    }
    Ok(found)
}

/// The server may write a name in another case than the source.
fn same(a: &TableName, b: &TableName) -> bool {
    a.database.to_lowercase() == b.database.to_lowercase()
        && a.table.to_lowercase() == b.table.to_lowercase()
}

/// The tables that a change of `parent` reaches at once.
fn children(parts: &[Part], parent: &TableName) -> Vec<TableName> {
    let mut children: Vec<TableName> = parts
        .iter()
        .filter(|part| part.cascades && same(&part.parent, parent))
        .map(|part| part.child.clone())
        .collect();
    children.dedup();
    children
}

/// The foreign keys that begin or end at a table.
async fn around(conn: &mut Conn, name: &TableName) -> Result<Vec<Part>, ApplyError> {
    let fail = |error| from_mysql(error, DOING);
    let (database, table) = (&name.database, &name.table);
    // By the table at either end: servers find these without a look at all the others.
    let constraints: Vec<(String, String, String, String, String)> = conn
        .exec(
            "SELECT constraint_schema, constraint_name, table_name, delete_rule, update_rule FROM information_schema.referential_constraints \
             WHERE (constraint_schema = ? AND table_name = ?) OR (unique_constraint_schema = ? AND referenced_table_name = ?)",
            (database, table, database, table),
        )
        .await
        .map_err(fail)?;
    let mut parts = Vec::new();
    for (schema, constraint, child, on_delete, on_update) in constraints {
        let columns: Vec<(String, String, String, String)> = conn
            .exec(
                "SELECT column_name, referenced_table_schema, referenced_table_name, referenced_column_name \
                 FROM information_schema.key_column_usage WHERE table_schema = ? AND table_name = ? AND constraint_schema = ? \
                 AND constraint_name = ? AND referenced_table_name IS NOT NULL ORDER BY ordinal_position",
                (&schema, &child, &schema, &constraint),
            )
            .await
            .map_err(fail)?;
        let inert = |rule: &str| matches!(rule, "RESTRICT" | "NO ACTION");
        for (column, parent_database, parent_table, parent_column) in columns {
            parts.push(Part {
                constraint: (schema.clone(), constraint.clone()),
                child: TableName {
                    database: schema.clone(),
                    table: child.clone(),
                },
                column,
                parent: TableName {
                    database: parent_database,
                    table: parent_table,
                },
                parent_column,
                cascades: !(inert(&on_delete) && inert(&on_update)),
            });
        }
    }
    Ok(parts)
}
