//! What a target's preflight wants to know of the source.

use std::collections::{BTreeMap, HashMap};

use binferry_schemas::{
    filter::TableFilter,
    portrait::{CollationUse, Portrait},
};

use crate::{
    client::Connection,
    dump::replicas,
    error::{CaptureError, Permanent},
};

/// Needs no privilege, but shows no replicas without REPLICATION SLAVE; collations are those of columns that the user may see. The session's `time_zone` is UTC afterwards.
pub async fn portrait(
    connection: &mut Connection,
    tables: &TableFilter,
) -> Result<Portrait, CaptureError> {
    let mut answers = HashMap::new();
    for statement in Portrait::statements() {
        answers.extend(connection.query(&statement).await?.pairs());
    }
    let mut portrait = Portrait::of(&answers);
    portrait.collations = collations(connection, tables).await?;
    portrait.replicas = match replicas(connection).await {
        Ok(replicas) => {
            let replicas = replicas.into_iter();
            let known = replicas.filter_map(|one| Some((one.server_id, one.uuid?.to_string())));
            known.collect()
        }
        // The grant that it lacks is a finding of its own.
        Err(CaptureError::Permanent(Permanent::Unprivileged { .. })) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(portrait)
}

async fn collations(
    connection: &mut Connection,
    tables: &TableFilter,
) -> Result<Vec<CollationUse>, CaptureError> {
    let rows = connection
        .query(
            "SELECT table_schema AS d, table_name AS t, character_set_name AS charset, collation_name AS collation, MIN(column_name) AS c \
             FROM information_schema.columns WHERE collation_name IS NOT NULL \
             AND table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        )
        .await?;
    let mut found: BTreeMap<(String, String), CollationUse> = BTreeMap::new();
    for row in 0..rows.rows.len() {
        let text = |column| rows.value(row, column).unwrap_or_default();
        let (database, table) = (text("d"), text("t"));
        if !tables.matches(&database, &table) {
            continue;
        }
        let (charset, collation) = (text("charset"), text("collation"));
        let known = found
            .entry((charset.clone(), collation.clone()))
            .or_insert_with(|| CollationUse {
                charset,
                collation,
                columns: Vec::new(),
            });
        known.columns.push((database, table, text("c")));
    }
    Ok(found.into_values().collect())
}
