//! From row changes to statements: many rows each, in an order that is always right.
//!
//! - [`net_effect`] is for changes of transactions that share a target transaction: tables that allow it are folded (see `net`), the
//!   others follow in the log's order.
//! - [`in_order`] keeps the log's order, and still gathers neighbours of one kind: for parts of a huge transaction, and for tables with
//!   foreign keys.
//! - [`one`] is a single change, to find out which one is to blame.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use binferry_schemas::{datum::Value, record::Operation};

use crate::{
    change::{Row, RowChange, RowImage},
    error::{ApplyError, Place, TableName},
    net::{self, Contradiction, Lineages, Net},
    render::statement::{
        self, Unrenderable, begin_insert, is_lax_row, is_plain_row, put_delete, put_delete_join,
        put_insert, put_insert_row, put_update, put_update_join,
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

/// An image with the transaction that it is from.
#[derive(Debug, Clone)]
struct Image {
    row: RowImage,
    mapping: Arc<Mapping>,
    place: Arc<Place>,
}

impl Image {
    fn new(row: &RowImage, change: &RowChange) -> Self {
        Self {
            row: row.clone(),
            mapping: Arc::clone(&change.mapping),
            place: Arc::clone(&change.place),
        }
    }

    fn values(&self) -> Result<Row<'_>, ApplyError> {
        let values = self.mapping.values(&self.row);
        values.map_err(|source| ApplyError::Datum {
            place: Arc::clone(&self.place),
            source: Box::new(source),
        })
    }
}

impl net::Image for Image {
    fn followed(
        &self,
        first: Option<&mut Self>,
        before: Self,
        after: Option<Self>,
    ) -> Result<Option<Self>, Contradiction> {
        if !self.row.is_partial() && !before.row.is_partial() && self.row.datum == before.row.datum
        {
            return Ok(after);
        }
        let (now, old) = (
            self.values().map_err(unreadable)?,
            before.values().map_err(unreadable)?,
        );
        for pair in now.iter().zip(&old) {
            if let (Some(now), Some(old)) = pair
                && !is_same(now, old)
            {
                return Err(Contradiction::Differs);
            }
        }
        if let Some(first) = first
            && first.row.is_partial()
        {
            let known = first.values().map_err(unreadable)?;
            let known = (known.iter().zip(&now).zip(&old))
                .map(|((first, now), old)| first.or(old.filter(|_| now.is_none())));
            let row = self.mapping.image(&known.collect()).map_err(unreadable)?;
            first.row = row;
        }
        let Some(mut after) = after else {
            return Ok(None);
        };
        if after.row.is_partial() {
            let new = after.values().map_err(unreadable)?;
            let new = new.iter().zip(&now).map(|(new, now)| new.or(*now));
            after.row = self.mapping.image(&new.collect()).map_err(unreadable)?;
        }
        Ok(Some(after))
    }
}

fn unreadable<E>(_: E) -> Contradiction {
    Contradiction::Unreadable
}

/// Equal as the target compares: a document's binary form may hold the same members in another layout.
fn is_same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Json { text: a, .. }, Value::Json { text: b, .. }) => a == b,
        _ => a == b,
    }
}

struct Table {
    mapping: Arc<Mapping>,
    lineages: Lineages<Vec<u8>, Image>,
}

pub fn net_effect(changes: &[RowChange], limits: &Limits) -> Result<Vec<Statement>, Unfit> {
    let mut tables: Vec<Table> = Vec::new();
    let mut logged: Vec<RowChange> = Vec::new();
    // Tables with a change that has to stay where it is.
    let mut whole: HashMap<*const Mapping, bool> = HashMap::new();
    for change in changes {
        let folds = whole.entry(Arc::as_ptr(&change.mapping)).or_insert(true);
        *folds = *folds && folds_exactly(change)?;
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
    for table in tables {
        phases(&table.mapping, table.lineages.into_nets(), limits, &mut out)?;
    }
    out.extend(in_order(&logged, limits)?);
    Ok(out)
}

/// False when the order of the table's changes must be kept: its kind asks for it, or the change may move a row to another unique value,
/// and its image lacks columns, so that the row cannot be written anew.
fn folds_exactly(change: &RowChange) -> Result<bool, ApplyError> {
    let mapping = &change.mapping;
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        let partial = change.after.as_ref().is_some_and(RowImage::is_partial);
        return Ok(mapping.order == Order::Folded && !partial);
    };
    if mapping.order != Order::Folded || !after.is_partial() {
        return Ok(mapping.order == Order::Folded);
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
fn images(change: &RowChange) -> Result<(Option<&RowImage>, Option<&RowImage>), ApplyError> {
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
                let moves = mapping.moves(&before.values()?, &after.values()?);
                if moves && after.row.is_partial() {
                    return Err(ApplyError::Defect("a row that moves is not known whole"));
                }
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
    for mut rows in [deletes, updates, inserts] {
        // Rows that lack the same columns share statements.
        let lacking = |image: &Option<Image>| image.as_ref().and_then(|i| i.row.present.clone());
        if rows
            .iter()
            .any(|(b, a)| lacking(b).or(lacking(a)).is_some())
        {
            rows.sort_by_cached_key(|(before, after)| (lacking(before), lacking(after)));
        }
        let mut run = Run::new(mapping, limits);
        for (before, after) in &rows {
            run.push(before.as_ref(), after.as_ref(), out)?;
        }
        run.flush(out)?;
    }
    Ok(())
}

pub fn in_order(changes: &[RowChange], limits: &Limits) -> Result<Vec<Statement>, ApplyError> {
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
        let mut alone = false;
        let mut key = None;
        if let Some(before) = before {
            let old = before.values()?;
            alone = match after {
                _ if mapping.order == Order::Keyless => true,
                Some(after) => mapping.moves(&old, &after.values()?),
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
        limits,
    )
}

fn single(
    mapping: &Arc<Mapping>,
    place: &Arc<Place>,
    before: Option<&[Option<Value<'_>>]>,
    after: Option<&[Option<Value<'_>>]>,
    limits: &Limits,
) -> Result<Statement, ApplyError> {
    let mut sql = Vec::new();
    match (before, after) {
        (Some(before), Some(after)) => put_update(&mut sql, mapping, before, after),
        (Some(before), None) => put_delete(&mut sql, mapping, before),
        (None, Some(after)) => put_insert(&mut sql, mapping, after),
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

/// The bitmaps of an update's images, or of a change's only one; `None`: all columns.
type Shape<'a> = [Option<&'a [u8]>; 2];

/// Rows of one table, one kind and one shape, gathered into statements.
struct Run<'a> {
    mapping: &'a Arc<Mapping>,
    limits: &'a Limits,
    kind: Option<Kind>,
    bytes: usize,
    place: Option<&'a Arc<Place>>,
    /// The columns that its rows have, before and after.
    shape: Shape<'a>,
    inserts: Vec<Row<'a>>,
    updates: Vec<(Row<'a>, Row<'a>)>,
    deletes: Vec<Row<'a>>,
}

impl<'a> Run<'a> {
    fn new(mapping: &'a Arc<Mapping>, limits: &'a Limits) -> Self {
        Self {
            mapping,
            limits,
            kind: None,
            bytes: 0,
            place: None,
            shape: [None; 2],
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
        let size = |image: Option<&Image>| image.map_or(0, |image| image.row.datum.len());
        let size = size(before) + size(after);
        let shape = [before, after].map(|image| image?.row.present.as_deref());
        if self.bytes + size > self.limits.statement_bytes
            || self.rows() >= self.limits.statement_rows
            || self.shape != shape
        {
            self.flush(out)?;
        }
        self.shape = shape;
        let kind = kind(before.is_some(), after.is_some());
        let before = before.map(Image::values).transpose()?;
        let after = after.map(Image::values).transpose()?;
        let plain = |values: &Option<Row<'_>>| {
            values
                .as_ref()
                .is_none_or(|values| is_plain_row(self.mapping, values))
        };
        let lax = |values: &Option<Row<'_>>| {
            (values.as_ref()).is_some_and(|values| is_lax_row(self.mapping, values))
        };
        let special = kind != Kind::Insert && !(plain(&before) && plain(&after))
            || kind == Kind::Insert && lax(&after)
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
                let first = self.inserts.first().map_or(&[][..], Vec::as_slice);
                begin_insert(&mut sql, self.mapping, first);
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
