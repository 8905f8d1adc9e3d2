//! Foreign keys of copied tables that wait for the table that they refer to (`binferry.foreign_key`), and statements that name them.
//!
//! To the source the key is there: a statement may drop it. So before a statement that names such a key, the key is added, without its rows
//! being checked, and without its parent having to be there; the statement then does to it what it did on the source. A key that is
//! there afterwards goes on as one that was added after the copy; of one that is not, the ledger forgets. A statement that merely has a word
//! in it which is also a key's name does no harm by that: the key belongs to the table at this place of the log.
//!
//! The key is added before the statement is claimed: whoever finds the statement done finds the key either kept or dropped by it.

use std::{collections::HashSet, sync::Arc};

use binferry_schemas::record::Ddl;
use mysql_async::{Error, prelude::Queryable};

use super::DdlUnit;
use crate::{
    connection::{Target, from_mysql},
    copy::{
        end,
        ledger::{self, Pending},
    },
    error::{ApplyError, TableName},
};

const DOING: &str = "looking for foreign keys that wait";

/// Those of the statement's tables that it names.
async fn named(target: &mut Target, stream: &str, ddl: &Ddl) -> Result<Vec<Pending>, ApplyError> {
    // Where nothing was ever copied there is no ledger.
    let ledger: Option<u8> = (target.conn)
        .query_first(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = 'binferry' AND table_name = 'foreign_key'",
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    if ledger.is_none() {
        return Ok(Vec::new());
    }
    let statement = ddl.statement.to_lowercase();
    let mut waiting = ledger::pending(&mut target.conn, stream).await?;
    waiting.retain(|key| {
        let child = (&key.child.database, &key.child.table);
        let own = ddl.tables.iter().any(|(d, t)| (d, t) == child);
        // A backquote in a name is doubled.
        let name = key.key.name.to_lowercase().replace('`', "``");
        own && statement.contains(&name)
    });
    Ok(waiting)
}

/// Adds what the statement names.
pub(super) async fn add(
    target: &mut Target,
    stream: &str,
    unit: &DdlUnit,
) -> Result<(), ApplyError> {
    let waiting = named(target, stream, &unit.ddl).await?;
    for keys in waiting.chunk_by(|a, b| a.child == b.child) {
        let keys: Vec<&Pending> = keys.iter().collect();
        if let Some(first) = keys.first() {
            end::add(target, &first.child, &keys, &Arc::clone(&unit.place)).await?;
        }
    }
    Ok(())
}

/// Of those, the ones that are not there after the statement.
pub(super) async fn dropped(
    target: &mut Target,
    stream: &str,
    unit: &DdlUnit,
) -> Result<Vec<(TableName, String)>, ApplyError> {
    let mut dropped = Vec::new();
    for Pending { child, key, .. } in named(target, stream, &unit.ddl).await? {
        let there: Result<Vec<String>, Error> = (target.conn)
            .exec(
                "SELECT constraint_name FROM information_schema.table_constraints WHERE table_schema = ? AND table_name = ? \
                 AND constraint_type = 'FOREIGN KEY'",
                (&child.database, &child.table),
            )
            .await;
        let there = there.map_err(|error| from_mysql(error, DOING))?;
        let there: HashSet<String> = there.iter().map(|name| name.to_lowercase()).collect();
        if !there.contains(&key.name.to_lowercase()) {
            dropped.push((child, key.name));
        }
    }
    Ok(dropped)
}
