//! From row changes to statements: many rows each, in an order that is always right.
//!
//! - [`net_effect`] is for changes of transactions that share a target transaction: tables that allow it are folded (see `net`), the
//!   others follow in the log's order.
//! - [`in_order`] keeps the log's order, and still gathers neighbours of one kind: for parts of a huge transaction, and for tables with
//!   foreign keys.
//! - [`one`] is a single change, to find out which one is to blame.

use std::{collections::HashSet, sync::Arc};

use binferry_schemas::{datum::Value, record::Operation};
use bytes::Bytes;

use crate::{
    change::RowChange,
    error::{ApplyError, Place},
    net::{Contradiction, Lineages, Net},
    render::statement::{
        self, Unrenderable, begin_insert, is_plain_row, put_delete, put_delete_join,
        put_insert_row, put_update, put_update_join,
    },
    target::mapping::{Mapping, Order},
};

#[derive(Debug)]
pub struct Statement {
    pub sql: Vec<u8>,
    /// Rows that it must find or insert.
    pub rows: u64,
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
#[derive(Debug)]
pub struct Unfit;

impl From<ApplyError> for Unfit {
    fn from(_: ApplyError) -> Self {
        Self
    }
}

impl From<Contradiction> for Unfit {
    fn from(_: Contradiction) -> Self {
        Self
    }
}

/// An image with the transaction that it is from.
#[derive(Debug, Clone)]
struct Image {
    datum: Bytes,
    place: Arc<Place>,
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.datum == other.datum
    }
}

struct Table {
    mapping: Arc<Mapping>,
    lineages: Lineages<Vec<u8>, Image>,
}

pub fn net_effect(changes: &[RowChange], limits: &Limits) -> Result<Vec<Statement>, Unfit> {
    let mut tables: Vec<Table> = Vec::new();
    let mut logged: Vec<RowChange> = Vec::new();
    for change in changes {
        if change.mapping.order != Order::Folded {
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
    for table in tables {
        phases(&table.mapping, table.lineages.into_nets(), limits, &mut out)?;
    }
    out.extend(in_order(&logged, limits)?);
    Ok(out)
}

fn follow(lineages: &mut Lineages<Vec<u8>, Image>, change: &RowChange) -> Result<(), Unfit> {
    let mapping = &change.mapping;
    let key = |datum: &Bytes| {
        mapping
            .values(datum)
            .and_then(|values| mapping.key_bytes(&values))
            .map_err(|error| change.datum_error(error))
    };
    let image = |datum: &Bytes| Image {
        datum: datum.clone(),
        place: Arc::clone(&change.place),
    };
    let (before, after) = images(change)?;
    match (before, after) {
        (None, Some(after)) => lineages.insert(key(after)?, image(after))?,
        (Some(before), None) => lineages.delete(key(before)?, image(before))?,
        (Some(before), Some(after)) => {
            let (old, new) = (key(before)?, key(after)?);
            let moved = (old != new).then_some(new);
            lineages.update(old, moved, image(before), image(after))?;
        }
        (None, None) => {}
    }
    Ok(())
}

/// The images that the operation must have.
fn images(change: &RowChange) -> Result<(Option<&Bytes>, Option<&Bytes>), ApplyError> {
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

fn phases(
    mapping: &Arc<Mapping>,
    nets: impl Iterator<Item = Net<Image>>,
    limits: &Limits,
    out: &mut Vec<Statement>,
) -> Result<(), ApplyError> {
    let mut deletes = Vec::new();
    let mut updates = Vec::new();
    let mut inserts = Vec::new();
    for net in nets {
        match (net.before, net.after) {
            (Some(before), Some(after)) => {
                let moves = {
                    let (old, new) = (values(mapping, &before)?, values(mapping, &after)?);
                    mapping.moves(&old, &new)
                };
                if moves {
                    deletes.push((Some(before), None));
                    inserts.push((None, Some(after)));
                } else {
                    updates.push((Some(before), Some(after)));
                }
            }
            (Some(before), None) => deletes.push((Some(before), None)),
            (None, Some(after)) => inserts.push((None, Some(after))),
            (None, None) => {}
        }
    }
    for rows in [deletes, updates, inserts] {
        let mut run = Run::new(mapping, limits);
        for (before, after) in &rows {
            run.push(before.as_ref(), after.as_ref(), out)?;
        }
        run.flush(out)?;
    }
    Ok(())
}

fn values<'a>(mapping: &'a Mapping, image: &'a Image) -> Result<Vec<Value<'a>>, ApplyError> {
    mapping
        .values(&image.datum)
        .map_err(|source| ApplyError::Datum {
            place: Arc::clone(&image.place),
            source: Box::new(source),
        })
}

pub fn in_order(changes: &[RowChange], limits: &Limits) -> Result<Vec<Statement>, ApplyError> {
    let mut out = Vec::new();
    let mut rows: Vec<(Option<Image>, Option<Image>)> = Vec::with_capacity(changes.len());
    for change in changes {
        let image = |datum: &Bytes| Image {
            datum: datum.clone(),
            place: Arc::clone(&change.place),
        };
        let (before, after) = images(change)?;
        rows.push((before.map(image), after.map(image)));
    }
    let mut run: Option<Run<'_>> = None;
    // Keys of the run's updates and deletes: a row may be in it only once.
    let mut keys: HashSet<Vec<u8>> = HashSet::new();
    for (change, (before, after)) in changes.iter().zip(&rows) {
        let mapping = &change.mapping;
        let mut alone = false;
        let mut key = None;
        if let Some(before) = before {
            let old = values(mapping, before)?;
            alone = match after {
                _ if mapping.order == Order::Keyless => true,
                Some(after) => mapping.moves(&old, &values(mapping, after)?),
                // A cascade may have deleted the next row of the run.
                None => mapping.order == Order::Logged,
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
                    && run.kind == Some(kind(before.is_some(), after.is_some()))
            })
            && key.as_ref().is_none_or(|key| !keys.contains(key));
        if !goes_on {
            if let Some(mut run) = run.take() {
                run.flush(&mut out)?;
            }
            keys.clear();
        }
        let current = run.get_or_insert_with(|| Run::new(mapping, limits));
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

/// The statement of a single change.
pub fn one(change: &RowChange, limits: &Limits) -> Result<Statement, ApplyError> {
    let (before, after) = images(change)?;
    let failed = |error| change.datum_error(error);
    let before = before
        .map(|datum| change.mapping.values(datum))
        .transpose()
        .map_err(failed)?;
    let after = after
        .map(|datum| change.mapping.values(datum))
        .transpose()
        .map_err(failed)?;
    single(
        &change.mapping,
        &change.place,
        before.as_deref(),
        after.as_deref(),
        limits,
    )
}

fn single(
    mapping: &Arc<Mapping>,
    place: &Arc<Place>,
    before: Option<&[Value<'_>]>,
    after: Option<&[Value<'_>]>,
    limits: &Limits,
) -> Result<Statement, ApplyError> {
    let mut sql = Vec::new();
    match (before, after) {
        (Some(before), Some(after)) => put_update(&mut sql, mapping, before, after),
        (Some(before), None) => put_delete(&mut sql, mapping, before),
        (None, Some(after)) => {
            begin_insert(&mut sql, mapping);
            put_insert_row(&mut sql, mapping, after)
        }
        (None, None) => Ok(()),
    }
    .map_err(|error| value_error(error, mapping, place))?;
    if sql.len() + PACKET_MARGIN > limits.packet {
        return Err(ApplyError::RowTooLarge {
            place: Arc::clone(place),
            table: mapping.name.clone(),
            bytes: (sql.len() + PACKET_MARGIN) as u64,
            limit: limits.packet as u64,
        });
    }
    Ok(Statement { sql, rows: 1 })
}

/// What a packet holds beside a statement.
pub const PACKET_MARGIN: usize = 1024;

pub fn value_error(error: Unrenderable, mapping: &Mapping, place: &Arc<Place>) -> ApplyError {
    ApplyError::Value {
        place: Arc::clone(place),
        table: mapping.name.clone(),
        column: mapping.schema.columns[error.column].name.clone(),
        reason: error.reason.0,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert,
    Update,
    Delete,
}

fn kind(before: bool, after: bool) -> Kind {
    match (before, after) {
        (true, true) => Kind::Update,
        (true, false) => Kind::Delete,
        (false, _) => Kind::Insert,
    }
}

/// Rows of one table and one kind, gathered into statements.
struct Run<'a> {
    mapping: &'a Arc<Mapping>,
    limits: &'a Limits,
    kind: Option<Kind>,
    bytes: usize,
    place: Option<&'a Arc<Place>>,
    inserts: Vec<Vec<Value<'a>>>,
    updates: Vec<(Vec<Value<'a>>, Vec<Value<'a>>)>,
    deletes: Vec<Vec<Value<'a>>>,
}

impl<'a> Run<'a> {
    fn new(mapping: &'a Arc<Mapping>, limits: &'a Limits) -> Self {
        Self {
            mapping,
            limits,
            kind: None,
            bytes: 0,
            place: None,
            inserts: Vec::new(),
            updates: Vec::new(),
            deletes: Vec::new(),
        }
    }

    fn push(
        &mut self,
        before: Option<&'a Image>,
        after: Option<&'a Image>,
        out: &mut Vec<Statement>,
    ) -> Result<(), ApplyError> {
        let Some(place) = after.or(before).map(|image| &image.place) else {
            return Ok(());
        };
        let size = |image: Option<&Image>| image.map_or(0, |image| image.datum.len());
        let size = size(before) + size(after);
        if self.bytes + size > self.limits.statement_bytes
            || self.rows() >= self.limits.statement_rows
        {
            self.flush(out)?;
        }
        let kind = kind(before.is_some(), after.is_some());
        let before = before
            .map(|image| values(self.mapping, image))
            .transpose()?;
        let after = after.map(|image| values(self.mapping, image)).transpose()?;
        let plain = |values: &Option<Vec<Value<'_>>>| {
            values
                .as_ref()
                .is_none_or(|values| is_plain_row(self.mapping, values))
        };
        let special = kind != Kind::Insert && !(plain(&before) && plain(&after))
            || size > self.limits.statement_bytes;
        if special || self.mapping.order == Order::Keyless && kind != Kind::Insert {
            self.flush(out)?;
            self.kind = Some(kind);
            out.push(single(
                self.mapping,
                place,
                before.as_deref(),
                after.as_deref(),
                self.limits,
            )?);
            return Ok(());
        }
        self.kind = Some(kind);
        self.place = Some(place);
        self.bytes += size;
        match (before, after) {
            (Some(before), Some(after)) => self.updates.push((before, after)),
            (Some(before), None) => self.deletes.push(before),
            (None, Some(after)) => self.inserts.push(after),
            (None, None) => {}
        }
        Ok(())
    }

    fn rows(&self) -> usize {
        self.inserts.len() + self.updates.len() + self.deletes.len()
    }

    fn flush(&mut self, out: &mut Vec<Statement>) -> Result<(), ApplyError> {
        let (rows, Some(place)) = (self.rows(), self.place) else {
            return Ok(());
        };
        if rows == 0 {
            return Ok(());
        }
        let mut sql = Vec::with_capacity(self.bytes * 5 / 4 + 512);
        let result = match self.kind {
            _ if rows == 1 => {
                let (before, after) = (
                    self.deletes
                        .first()
                        .or(self.updates.first().map(|(before, _)| before)),
                    self.inserts
                        .first()
                        .or(self.updates.first().map(|(_, after)| after)),
                );
                out.push(single(
                    self.mapping,
                    place,
                    before.map(Vec::as_slice),
                    after.map(Vec::as_slice),
                    self.limits,
                )?);
                self.clear();
                return Ok(());
            }
            Some(Kind::Update) => put_update_join(&mut sql, self.mapping, &self.updates),
            Some(Kind::Delete) => put_delete_join(&mut sql, self.mapping, &self.deletes),
            Some(Kind::Insert) | None => {
                begin_insert(&mut sql, self.mapping);
                let mut result = Ok(());
                for (at, row) in self.inserts.iter().enumerate() {
                    if at > 0 {
                        sql.push(b',');
                    }
                    result = put_insert_row(&mut sql, self.mapping, row);
                    if result.is_err() {
                        break;
                    }
                }
                result
            }
        };
        result.map_err(|error: statement::Unrenderable| value_error(error, self.mapping, place))?;
        if sql.len() + PACKET_MARGIN > self.limits.packet {
            // Escapes have blown it up beyond the server's limit: row by row.
            for (before, after) in self.updates.iter().map(|(b, a)| (Some(b), Some(a))).chain(
                self.deletes
                    .iter()
                    .map(|before| (Some(before), None))
                    .chain(self.inserts.iter().map(|after| (None, Some(after)))),
            ) {
                out.push(single(
                    self.mapping,
                    place,
                    before.map(Vec::as_slice),
                    after.map(Vec::as_slice),
                    self.limits,
                )?);
            }
        } else {
            out.push(Statement {
                sql,
                rows: rows as u64,
            });
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.inserts.clear();
        self.updates.clear();
        self.deletes.clear();
        self.bytes = 0;
        self.place = None;
    }
}
