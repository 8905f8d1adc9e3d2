//! The end of a table's copy: its foreign keys, and those that waited for it.
//!
//! A foreign key is added when both of its tables are whole: then the target's rows are those of the source at this point of the log, and
//! the key holds as it does there. It is added without checking the rows, as the source itself has them: rows that break it (written with
//! `foreign_key_checks = 0`) are copied like any others. A key whose parent is not on the target waits; it is told, and never made up.

use std::{collections::HashSet, sync::Arc};

use binferry_schemas::{
    gtid::Uuid,
    record::{FoldState, GivenUp},
};
use mysql_async::{Error, prelude::Queryable};

use super::{
    CopyProblem,
    begin::{Rules, is_about_definitions, sql_mode, statement, table_text, told},
    ledger::{self, Entry, Pending, State},
    tables::is_incomplete,
};
use crate::{
    batch::Statement,
    connection::{self, Target, from_mysql},
    error::{ApplyError, Place, TableName},
    render::name::quoted,
    takeover,
};

const DOING: &str = "adding foreign keys after a copy";

/// A copy is over, or a whole job. Gives whether foreign keys were added.
pub async fn end(
    target: &mut Target,
    rules: &Rules,
    copy: Option<Uuid>,
    state: &FoldState,
    place: &Arc<Place>,
) -> Result<(Vec<Statement>, bool), ApplyError> {
    let stream = rules.stream.as_str();
    ledger::create_tables(&mut target.conn).await?;
    let entries = ledger::entries(&mut target.conn, stream).await?;
    let copy = copy.map(|copy| copy.to_string());
    // A job that is done also ends what nobody goes on with: a table that went by another name before its turn came once more.
    let (ended, others): (Vec<Entry>, Vec<Entry>) =
        (entries.into_iter()).partition(|entry| match &copy {
            Some(copy) => entry.copy == *copy,
            None => !is_incomplete(state, &entry.table),
        });
    let open: HashSet<TableName> = others.into_iter().map(|entry| entry.table).collect();
    let incomplete = |table: &TableName| open.contains(table) || is_incomplete(state, table);
    let mut statements: Vec<Statement> = (ended.iter())
        .map(|entry| statement(|sql| ledger::put_entry_removal(sql, stream, &entry.table)))
        .collect();
    let mut added = false;
    let pending = ledger::pending(&mut target.conn, stream).await?;
    for keys in pending.chunk_by(|a, b| a.child == b.child) {
        let Some(child) = keys.first().map(|key| &key.child) else {
            continue;
        };
        if incomplete(child) {
            continue;
        }
        if copy.is_none() && !exists(target, child).await? {
            statements.push(statement(|sql| {
                ledger::put_key_removal(sql, stream, child, None);
            }));
            continue;
        }
        let mut ready: Vec<&Pending> = Vec::new();
        for key in keys {
            let parent = &key.key.parent;
            if incomplete(parent) {
                continue;
            }
            match exists(target, parent).await? {
                true => ready.push(key),
                false => tracing::warn!(
                    table = %child,
                    foreign_key = key.key.name,
                    %parent,
                    "a foreign key is not added: the table that it refers to is not on the target"
                ),
            }
        }
        // It may be a plain key that they refer to.
        let parents: Vec<(String, String)> = (ready.iter())
            .map(|key| &key.key.parent)
            .map(|parent| (parent.database.clone(), parent.table.clone()))
            .collect();
        if !parents.is_empty() {
            takeover::awake(&mut target.conn, rules.keys.complete(&parents)).await?;
        }
        added |= add(target, child, &ready, place).await?;
        for key in ready {
            statements.push(statement(|sql| {
                ledger::put_key_removal(sql, stream, child, Some(&key.key.name));
            }));
        }
    }
    Ok((statements, added))
}

/// A copy ends without its end.
pub async fn given_up(
    target: &mut Target,
    stream: &str,
    copy: Uuid,
    reason: GivenUp,
) -> Result<Vec<Statement>, ApplyError> {
    let copy = copy.to_string();
    let entries = ledger::entries(&mut target.conn, stream).await?;
    let Some(mut entry) = entries.into_iter().find(|entry| entry.copy == copy) else {
        return Ok(Vec::new());
    };
    if reason == GivenUp::Gone {
        return Ok(vec![
            statement(|sql| ledger::put_entry_removal(sql, stream, &entry.table)),
            statement(|sql| ledger::put_key_removal(sql, stream, &entry.table, None)),
            statement(|sql| ledger::put_later_removal(sql, stream, &entry.table)),
        ]);
    }
    entry.state = State::GivenUp;
    Ok(vec![statement(|sql| {
        ledger::put_entry(sql, stream, &entry)
    })])
}

async fn exists(target: &mut Target, name: &TableName) -> Result<bool, ApplyError> {
    let found: Option<u8> = (target.conn)
        .exec_first(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
            (&name.database, &name.table),
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    Ok(found.is_some())
}

/// Adds those keys to a table that it does not have yet.
pub async fn add(
    target: &mut Target,
    child: &TableName,
    keys: &[&Pending],
    place: &Arc<Place>,
) -> Result<bool, ApplyError> {
    if keys.is_empty() || !exists(target, child).await? {
        return Ok(false);
    }
    let fail = |error| from_mysql(error, DOING);
    let there: Vec<String> = (target.conn)
        .exec(
            "SELECT constraint_name FROM information_schema.table_constraints WHERE table_schema = ? AND table_name = ? \
             AND constraint_type = 'FOREIGN KEY'",
            (&child.database, &child.table),
        )
        .await
        .map_err(fail)?;
    let there: HashSet<String> = there.iter().map(|name| name.to_lowercase()).collect();
    let missing: Vec<&Pending> = (keys.iter())
        .filter(|key| !there.contains(&key.key.name.to_lowercase()))
        .copied()
        .collect();
    let Some(first) = missing.first() else {
        return Ok(false);
    };
    let list: Vec<String> = (missing.iter())
        .map(|key| format!("ADD {}", key.key.text))
        .collect();
    let context = format!(
        "SET SESSION foreign_key_checks = 0, sql_mode = {}",
        sql_mode(first.sql_mode)
    );
    let default = format!("USE {}", quoted(&child.database));
    for sql in [context, default] {
        target.conn.query_drop(sql).await.map_err(fail)?;
    }
    let alter = format!("ALTER TABLE {} {}", table_text(child), list.join(", "));
    match target.conn.query_drop(alter).await {
        Ok(()) => {}
        Err(Error::Server(answer)) if is_about_definitions(&answer) => {
            return Err(ApplyError::Copy {
                table: child.clone(),
                place: Some(Arc::clone(place)),
                problem: Box::new(CopyProblem::ForeignKeys {
                    names: missing.iter().map(|key| key.key.name.clone()).collect(),
                    fault: told(answer),
                }),
            });
        }
        Err(error) => return Err(fail(error)),
    }
    connection::restore(target).await?;
    tracing::info!(table = %child, foreign_keys = missing.len(), "foreign keys added after the copy");
    Ok(true)
}
