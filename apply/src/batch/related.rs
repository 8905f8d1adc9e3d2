//! Tables with foreign keys: when their changes may be folded and sorted by kind, and in which order.
//!
//! The log's order is always right, and slow: neighbours in it are seldom of one table and kind. Changes may be sorted when no row that
//! another one may refer to goes or gets another key: then nothing cascades, and every parent that a row refers to at any point of the run
//! is there from its insert to the end. So: deletes (of rows that nobody can refer to), inserts with parents before children, updates.
//! Rows of a table that refers to itself are inserted as they were in the log. Families of tables do not matter to each other.

use std::collections::{HashMap, HashSet};

use binferry_schemas::{record::ForeignKeys, row::ColumnType};

use super::{folds_exactly, images};
use crate::{change::RowChange, dependency::Keys, error::ApplyError, target::mapping::Order};

/// The tables with foreign keys whose changes may be sorted, each with its place: parents first. Those of a family that is left out keep
/// the log's order.
pub fn parents_first<'a>(
    changes: impl Iterator<Item = &'a RowChange>,
) -> Result<HashMap<u64, usize>, ApplyError> {
    let mut tables: HashMap<u64, Table<'a>> = HashMap::new();
    for change in changes {
        let mapping = &change.mapping;
        if mapping.order == Order::Folded {
            continue;
        }
        let table = tables.entry(mapping.keys.table()).or_insert(Table {
            keys: &mapping.keys,
            sorts: true,
        });
        table.sorts = table.sorts
            // What was done without checks need not fit any order with them.
            && change.foreign_keys != ForeignKeys::Unchecked
            && match mapping.order {
                Order::Related => is_calm(change)? && folds_exactly(change)?,
                // They come last, and as in the log: whatever they refer to is there, and nothing refers to them.
                Order::Folded | Order::Logged | Order::Keyless => mapping.is_leaf,
            };
    }
    let mut places = HashMap::new();
    for family in families(&tables) {
        if family.iter().all(|table| tables[table].sorts) {
            place(family, &tables, &mut places);
        }
    }
    Ok(places)
}

struct Table<'a> {
    keys: &'a Keys,
    sorts: bool,
}

/// Tables that foreign keys join, be it through one that has no change here.
fn families(tables: &HashMap<u64, Table<'_>>) -> Vec<Vec<u64>> {
    let mut families: Vec<(HashSet<u64>, Vec<u64>)> = Vec::new();
    for (&table, Table { keys, .. }) in tables {
        let mut reach: HashSet<u64> = keys.parents().chain(keys.cascades()).collect();
        reach.insert(table);
        let mut members = vec![table];
        families.retain_mut(|(others, theirs)| {
            let apart = others.is_disjoint(&reach);
            if !apart {
                reach.extend(others.iter());
                members.append(theirs);
            }
            apart
        });
        families.push((reach, members));
    }
    families.into_iter().map(|(_, members)| members).collect()
}

/// Gives each table of a family its place; none when they refer to each other in a circle.
fn place(mut family: Vec<u64>, tables: &HashMap<u64, Table<'_>>, places: &mut HashMap<u64, usize>) {
    let mut order = Vec::with_capacity(family.len());
    while !family.is_empty() {
        let waits = |table: &u64| {
            (tables[table].keys.parents())
                .any(|parent| parent != *table && family.contains(&parent))
        };
        let (later, mut free): (Vec<u64>, Vec<u64>) = family.iter().partition(|table| waits(table));
        if free.is_empty() {
            return;
        }
        free.sort_unstable();
        order.append(&mut free);
        family = later;
    }
    places.extend(order.into_iter().enumerate().map(|(at, table)| (table, at)));
}

/// No row that another one may refer to goes or gets another key.
fn is_calm(change: &RowChange) -> Result<bool, ApplyError> {
    let mapping = &change.mapping;
    let (before, after) = images(change)?;
    let (false, Some(before)) = (mapping.is_leaf, before) else {
        return Ok(true);
    };
    let Some(after) = after else {
        return Ok(false);
    };
    let failed = |error| change.datum_error(error);
    let (before, after) = (
        mapping.values(before).map_err(failed)?,
        mapping.values(after).map_err(failed)?,
    );
    // A document may have to be written anew, and what refers to its row must not notice.
    let documents = mapping.has_documents
        && (mapping.schema.columns.iter().zip(before.iter().zip(&after)))
            .any(|(column, (old, new))| column.ty == ColumnType::Json && old != new);
    Ok(!documents && !mapping.moves(&before, &after))
}
