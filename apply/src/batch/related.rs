//! Tables with foreign keys: when their changes may be folded and sorted by kind, and in which order.
//!
//! The log's order is always right, and slow: neighbours in it are seldom of one table and kind. Changes may be sorted when no row that
//! another one may refer to goes or gets another key: then nothing cascades, and every parent that a row refers to at any point of the run
//! is there from its insert to the end. So: deletes (of rows that nobody can refer to), inserts with parents before children, updates.
//! Rows of a table that refers to itself are inserted as they were in the log.

use std::collections::HashMap;

use binferry_schemas::record::ForeignKeys;

use super::{folds_exactly, images};
use crate::{change::RowChange, error::ApplyError, target::mapping::Order};

/// The tables with foreign keys, parents first; `None` when the changes must keep the log's order.
pub fn parents_first<'a>(
    changes: impl Iterator<Item = &'a RowChange>,
) -> Result<Option<Vec<u64>>, ApplyError> {
    let mut tables: HashMap<u64, Vec<u64>> = HashMap::new();
    for change in changes {
        let (mapping, keys) = (&change.mapping, &change.mapping.keys);
        let calm = match mapping.order {
            Order::Folded => continue,
            Order::Related => {
                // What was done without checks need not fit any order with them.
                change.foreign_keys != ForeignKeys::Unchecked
                    && is_calm(change)?
                    && folds_exactly(change)?
            }
            // Relatives that can't be sorted keep the others in the log's order.
            Order::Logged | Order::Keyless => mapping.is_leaf && keys.parents().next().is_none(),
        };
        if !calm {
            return Ok(None);
        }
        if mapping.order != Order::Related {
            continue;
        }
        tables
            .entry(keys.table())
            .or_insert_with(|| keys.parents().filter(|p| *p != keys.table()).collect());
    }
    let mut order = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let mut free: Vec<u64> = tables
            .iter()
            .filter(|(_, parents)| parents.iter().all(|parent| !tables.contains_key(parent)))
            .map(|(table, _)| *table)
            .collect();
        if free.is_empty() {
            // They refer to each other in a circle.
            return Ok(None);
        }
        free.sort_unstable();
        for table in free {
            tables.remove(&table);
            order.push(table);
        }
    }
    Ok(Some(order))
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
    Ok(!mapping.moves(&before, &after))
}
