//! From row changes to statements: many rows each, in an order that is always right.
//!
//! - [`net_effect`] is for changes of transactions that share a target transaction: tables that allow it are folded (see `net`), the
//!   others follow in the log's order.
//! - [`in_order`] keeps the log's order, and still gathers neighbours of one kind: for parts of a huge transaction, and for tables with
//!   foreign keys.
//! - [`one`] is a single change, to find out which one is to blame.

mod copied;
mod image;
mod related;
mod run;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use binferry_schemas::record::Operation;
use bytes::Bytes;

pub use self::{
    copied::{Bulk, put_copied},
    run::{PACKET_MARGIN, value_error},
};
use self::{
    image::Image,
    run::{Run, kind, single},
};
use crate::{
    change::{RowChange, RowImage},
    documents,
    error::{ApplyError, Place, TableName},
    net::{Contradiction, Lineages, Net},
    target::mapping::{Mapping, Order},
};

#[derive(Debug)]
pub struct Statement {
    pub sql: Vec<u8>,
    /// Rows that it must find or insert; `None`: however many.
    pub rows: Option<u64>,
    /// The lines of a LOAD DATA LOCAL, which must do without a warning too.
    pub lines: Option<Bytes>,
}

impl Statement {
    pub fn new(sql: Vec<u8>, rows: Option<u64>) -> Self {
        let lines = None;
        Self { sql, rows, lines }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A statement with many rows stays below.
    pub statement_bytes: usize,
    pub statement_rows: usize,
    /// The target's max_allowed_packet.
    pub packet: usize,
}

/// The changes contradict each other or cannot be rendered. One after the other, they will show which one is to blame.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("{place}: table {table}: {contradiction}")]
    Contradiction {
        place: Arc<Place>,
        table: TableName,
        contradiction: Contradiction,
    },
}

struct Table {
    mapping: Arc<Mapping>,
    lineages: Lineages<Vec<u8>, Image>,
}

pub fn net_effect<'a>(
    changes: impl Iterator<Item = &'a RowChange> + Clone,
    limits: &Limits,
) -> Result<Vec<Statement>, Unfit> {
    let mut tables: Vec<Table> = Vec::new();
    let mut logged: Vec<RowChange> = Vec::new();
    let places = related::parents_first(changes.clone())?;
    // Tables with a change that has to stay where it is.
    let mut whole: HashMap<*const Mapping, bool> = HashMap::new();
    for change in changes.clone() {
        let folds = whole.entry(Arc::as_ptr(&change.mapping)).or_insert(true);
        let may = match change.mapping.order {
            Order::Folded => true,
            Order::Related => places.contains_key(&change.mapping.keys.table()),
            Order::Logged | Order::Keyless => false,
        };
        *folds = *folds && may && folds_exactly(change)?;
    }
    for change in changes {
        if !whole.get(&Arc::as_ptr(&change.mapping)).unwrap_or(&true) {
            logged.push(change.clone());
            continue;
        }
        let at = tables
            .iter()
            .position(|table| Arc::ptr_eq(&table.mapping, &change.mapping));
        let at = at.unwrap_or_else(|| {
            tables.push(Table {
                mapping: Arc::clone(&change.mapping),
                lineages: Lineages::default(),
            });
            tables.len() - 1
        });
        follow(&mut tables[at].lineages, change)?;
    }
    let mut out = Vec::new();
    let mut relatives = Vec::new();
    for Table { mapping, lineages } in tables {
        let phases = phases(&mapping, lineages.into_nets())?;
        if mapping.order == Order::Related {
            relatives.push((mapping, phases));
            continue;
        }
        for rows in [phases.deletes, phases.updates, phases.inserts] {
            gather(&mapping, rows, limits, &mut out)?;
        }
    }
    relatives.sort_by_key(|(mapping, _)| places.get(&mapping.keys.table()).copied());
    let (mut inserts, mut updates) = (Vec::new(), Vec::new());
    for (mapping, phases) in relatives {
        gather(&mapping, phases.deletes, limits, &mut out)?;
        inserts.push((Arc::clone(&mapping), phases.inserts));
        updates.push((mapping, phases.updates));
    }
    for (mapping, rows) in inserts.into_iter().chain(updates) {
        gather(&mapping, rows, limits, &mut out)?;
    }
    out.extend(in_order(&logged, limits)?);
    Ok(out)
}

/// False when the order of the table's changes must be kept: the change may move a row to another unique value, and its image lacks
/// columns, so that the row cannot be written anew.
fn folds_exactly(change: &RowChange) -> Result<bool, ApplyError> {
    let mapping = &change.mapping;
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return Ok(!change.after.as_ref().is_some_and(RowImage::is_partial));
    };
    if !after.is_partial() {
        return Ok(true);
    }
    let failed = |error| change.datum_error(error);
    let (old, new) = (
        mapping.values(before).map_err(failed)?,
        mapping.values(after).map_err(failed)?,
    );
    Ok(!mapping.moves(&old, &new))
}

fn follow(lineages: &mut Lineages<Vec<u8>, Image>, change: &RowChange) -> Result<(), Unfit> {
    let mapping = &change.mapping;
    let key = |row: &RowImage| {
        mapping
            .values(row)
            .and_then(|values| mapping.key_bytes(&values))
            .map_err(|error| change.datum_error(error))
    };
    let image = |row: &RowImage| Image::new(row, change);
    let (before, after) = images(change)?;
    let followed = match (before, after) {
        (None, Some(after)) => lineages.insert(key(after)?, image(after)),
        (Some(before), None) => lineages.delete(key(before)?, image(before)),
        (Some(before), Some(after)) => {
            let (old, new) = (key(before)?, key(after)?);
            let moved = (old != new).then_some(new);
            lineages.update(old, moved, image(before), image(after))
        }
        (None, None) => Ok(()),
    };
    followed.map_err(|contradiction| Unfit::Contradiction {
        place: Arc::clone(&change.place),
        table: mapping.name.clone(),
        contradiction,
    })
}

/// The images that the operation must have.
pub fn images(change: &RowChange) -> Result<(Option<&RowImage>, Option<&RowImage>), ApplyError> {
    let missing = |reason| ApplyError::Malformed {
        place: Arc::clone(&change.place),
        reason,
    };
    let before = || {
        change
            .before
            .as_ref()
            .ok_or(missing("a change without its before image"))
    };
    let after = || {
        change
            .after
            .as_ref()
            .ok_or(missing("a change without its after image"))
    };
    Ok(match change.operation {
        Operation::Insert => (None, Some(after()?)),
        Operation::Update => (Some(before()?), Some(after()?)),
        Operation::Delete => (Some(before()?), None),
    })
}

/// Before and after.
type Images = (Option<Image>, Option<Image>);

/// The net effects on a table, by kind; a mover is a delete and an insert.
#[derive(Default)]
struct Phases {
    deletes: Vec<Images>,
    updates: Vec<Images>,
    inserts: Vec<Images>,
}

fn phases(mapping: &Mapping, nets: impl Iterator<Item = Net<Image>>) -> Result<Phases, ApplyError> {
    let mut phases = Phases::default();
    for net in nets {
        match (net.before, net.after) {
            (Some(before), Some(after)) => {
                let (old, new) = (before.values()?, after.values()?);
                let whole = !(before.row.is_partial() || after.row.is_partial());
                let moves = mapping.moves(&old, &new)
                    || whole && mapping.is_leaf && mapping.leaves_alone(&old, &new);
                if moves && after.row.is_partial() {
                    return Err(ApplyError::Defect("a row that moves is not known whole"));
                }
                if moves {
                    phases.deletes.push((Some(before), None));
                    phases.inserts.push((None, Some(after)));
                } else {
                    phases.updates.push((Some(before), Some(after)));
                }
            }
            (Some(before), None) => phases.deletes.push((Some(before), None)),
            (None, Some(after)) => phases.inserts.push((None, Some(after))),
            (None, None) => {}
        }
    }
    Ok(phases)
}

/// Statements of rows of one kind.
fn gather(
    mapping: &Arc<Mapping>,
    mut rows: Vec<Images>,
    limits: &Limits,
    out: &mut Vec<Statement>,
) -> Result<(), ApplyError> {
    // Rows that lack the same columns share statements.
    let lacking = |image: &Option<Image>| image.as_ref().and_then(|i| i.row.present.clone());
    if rows
        .iter()
        .any(|(b, a)| lacking(b).or(lacking(a)).is_some())
    {
        rows.sort_by_cached_key(|(before, after)| (lacking(before), lacking(after)));
    }
    let mut run = Run::new(mapping, limits);
    run.unchecked = mapping.without_foreign_keys(rows.iter().any(|(_, after)| after.is_some()));
    for (before, after) in &rows {
        run.push(before.as_ref(), after.as_ref(), out)?;
    }
    run.flush(out)
}

pub fn in_order(changes: &[RowChange], limits: &Limits) -> Result<Vec<Statement>, ApplyError> {
    let changes = &rewritten(changes)?[..];
    let mut out = Vec::new();
    let mut rows: Vec<(Option<Image>, Option<Image>)> = Vec::with_capacity(changes.len());
    for change in changes {
        let image = |row: &RowImage| Image::new(row, change);
        let (before, after) = images(change)?;
        rows.push((before.map(image), after.map(image)));
    }
    let mut run: Option<Run<'_>> = None;
    // Keys of the run's updates and deletes: a row may be in it only once.
    let mut keys: HashSet<Vec<u8>> = HashSet::new();
    for (change, (before, after)) in changes.iter().zip(&rows) {
        let mapping = &change.mapping;
        let unchecked = change.without_foreign_keys();
        let mut alone = false;
        let mut key = None;
        if let Some(before) = before {
            let old = before.values()?;
            alone = match after {
                _ if mapping.order == Order::Keyless => true,
                Some(after) => mapping.moves(&old, &after.values()?),
                // A cascade may have deleted the next row of the run.
                None => !unchecked && matches!(mapping.order, Order::Logged | Order::Related),
            };
            key = Some(
                mapping
                    .key_bytes(&old)
                    .map_err(|error| change.datum_error(error))?,
            );
        }
        let goes_on = !alone
            && run.as_ref().is_some_and(|run| {
                Arc::ptr_eq(run.mapping, mapping)
                    && run.unchecked == unchecked
                    && run.kind == Some(kind(before.is_some(), after.is_some()))
            })
            && key.as_ref().is_none_or(|key| !keys.contains(key));
        if !goes_on {
            if let Some(mut run) = run.take() {
                run.flush(&mut out)?;
            }
            keys.clear();
        }
        let current = run.get_or_insert_with(|| {
            let mut run = Run::new(mapping, limits);
            run.unchecked = unchecked;
            run
        });
        current.push(before.as_ref(), after.as_ref(), &mut out)?;
        keys.extend(key);
        if alone && let Some(mut run) = run.take() {
            run.flush(&mut out)?;
        }
    }
    if let Some(mut run) = run {
        run.flush(&mut out)?;
    }
    Ok(out)
}

/// The changes, but for updates that the server would leave alone: two for each of those.
fn rewritten(changes: &[RowChange]) -> Result<Cow<'_, [RowChange]>, ApplyError> {
    let mut out = Cow::Borrowed(changes);
    for (at, change) in changes.iter().enumerate() {
        let anew = documents::written_anew(change)?;
        if anew.is_some() && matches!(out, Cow::Borrowed(_)) {
            out = Cow::Owned(changes[..at].to_vec());
        }
        if let Cow::Owned(out) = &mut out {
            match anew {
                Some(parts) => out.extend(parts),
                None => out.push(change.clone()),
            }
        }
    }
    Ok(out)
}

/// The statement of a single change.
pub fn one(change: &RowChange, limits: &Limits) -> Result<Statement, ApplyError> {
    let (before, after) = images(change)?;
    let failed = |error| change.datum_error(error);
    let before = before
        .map(|row| change.mapping.values(row))
        .transpose()
        .map_err(failed)?;
    let after = after
        .map(|row| change.mapping.values(row))
        .transpose()
        .map_err(failed)?;
    single(
        &change.mapping,
        &change.place,
        before.as_deref(),
        after.as_deref(),
        change.without_foreign_keys(),
        limits,
    )
}
