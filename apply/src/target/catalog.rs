//! Reads a table's description from the target's `information_schema`.

use mysql_async::{Row, prelude::Queryable};

use super::{
    foreign,
    table::{TargetColumn, TargetTable, UniqueKey},
};
use crate::{
    connection::{Target, from_mysql},
    error::{ApplyError, TableName},
    render::name::Charset,
};

pub(super) const DOING: &str = "reading the target's catalog";

/// `None` when there is no such table, or the user may not see it.
pub async fn table(
    target: &mut Target,
    name: &TableName,
) -> Result<Option<TargetTable>, ApplyError> {
    let conn = &mut target.conn;
    let at = (&name.database, &name.table);
    let head: Option<(String, Option<String>)> = conn
        .exec_first(
            "SELECT table_type, engine FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
            at,
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let Some((kind, engine)) = head else {
        return Ok(None);
    };
    let rows: Vec<Row> = conn
        .exec(
            "SELECT column_name, data_type, CAST(column_type AS CHAR), character_maximum_length, character_octet_length, numeric_precision, \
             numeric_scale, datetime_precision, character_set_name, collation_name, is_nullable, column_default IS NOT NULL, extra, \
             generation_expression FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position",
            at,
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let row_end = rows.iter().find_map(row_end);
    let columns = rows.into_iter().map(column).collect();
    let parts: Vec<(String, Option<String>, Option<u64>)> = conn
        .exec(
            "SELECT index_name, column_name, sub_part FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? \
             AND non_unique = 0 ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index",
            at,
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let mut unique: Vec<UniqueKey> = Vec::new();
    for (index, part, prefix) in parts {
        // The same in all rows that are not history: the key is unique without it.
        if part.is_some() && part == row_end {
            continue;
        }
        match unique.last_mut() {
            Some(last) if last.name == index => {
                last.columns.push(part);
                last.prefixes.push(prefix);
            }
            _ => unique.push(UniqueKey {
                name: index,
                columns: vec![part],
                prefixes: vec![prefix],
            }),
        }
    }
    let foreign_keys = foreign::read(conn, name).await?;
    let trigger: Option<String> = conn
        .exec_first(
            "SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = ? AND event_object_table = ? LIMIT 1",
            at,
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    Ok(Some(TargetTable {
        dialect: target.dialect,
        columns,
        unique,
        references: foreign_keys.references,
        referred: foreign_keys.referred,
        cascades: foreign_keys.cascades,
        trigger,
        engine: engine.unwrap_or_default(),
        // MariaDB has tables that keep their history; an applier writes to them as everyone does.
        view: !matches!(kind.as_str(), "BASE TABLE" | "SYSTEM VERSIONED"),
    }))
}

/// The column's name, when it ends a row's period in a MariaDB table that keeps its history. It is a hidden part of each unique key.
fn row_end(row: &Row) -> Option<String> {
    let text = |at: usize| row.get_opt::<Option<String>, _>(at)?.ok()?;
    (text(13)? == "ROW END").then(|| text(0))?
}

fn column(mut row: Row) -> TargetColumn {
    let mut text = |at: usize| {
        row.take_opt::<Option<String>, _>(at)
            .and_then(Result::ok)
            .flatten()
    };
    let name = text(0).unwrap_or_default();
    let data_type = text(1).unwrap_or_default().to_lowercase();
    let column_type = text(2).unwrap_or_default();
    let charset = text(8).as_deref().and_then(Charset::new);
    let collation = text(9).as_deref().and_then(Charset::new);
    let nullable = text(10).as_deref() == Some("YES");
    let extra = text(12).unwrap_or_default().to_uppercase();
    let expression = text(13).unwrap_or_default();
    let mut number = |at: usize| {
        row.take_opt::<Option<u64>, _>(at)
            .and_then(Result::ok)
            .flatten()
    };
    let generated = !expression.is_empty()
        || extra.contains("VIRTUAL GENERATED")
        || extra.contains("STORED GENERATED");
    TargetColumn {
        name,
        data_type,
        column_type,
        characters: number(3),
        octets: number(4),
        precision: number(5),
        scale: number(6),
        fsp: number(7),
        charset,
        collation,
        nullable,
        has_default: number(11) == Some(1) || extra.contains("DEFAULT_GENERATED"),
        automatic: generated || extra.contains("AUTO_INCREMENT"),
        generated,
        on_update: extra.contains("ON UPDATE"),
    }
}
