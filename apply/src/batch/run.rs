//! Statements: of one change, and of a run of changes of one kind.

use std::sync::Arc;

use binferry_schemas::datum::Value;

use super::{Limits, Statement, copied::Rows, image::Image};
use crate::{
    change::Row,
    error::{ApplyError, Place},
    render::{
        checks::without_foreign_keys,
        statement::{
            self, Unrenderable, begin_insert, is_lax_row, is_plain_row, put_delete,
            put_delete_join, put_insert, put_insert_row, put_update, put_update_join,
        },
    },
    target::mapping::{Mapping, Order},
};

pub fn single(
    mapping: &Arc<Mapping>,
    place: &Arc<Place>,
    before: Option<&[Option<Value<'_>>]>,
    after: Option<&[Option<Value<'_>>]>,
    unchecked: bool,
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
    if unchecked {
        sql = without_foreign_keys(mapping.dialect, sql);
    }
    if sql.len() + PACKET_MARGIN > limits.packet {
        return Err(ApplyError::RowTooLarge {
            place: Arc::clone(place),
            table: mapping.name.clone(),
            bytes: (sql.len() + PACKET_MARGIN) as u64,
            limit: limits.packet as u64,
        });
    }
    Ok(Statement::new(sql, Some(1)))
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
pub enum Kind {
    Insert,
    Update,
    Delete,
}

pub fn kind(before: bool, after: bool) -> Kind {
    match (before, after) {
        (true, true) => Kind::Update,
        (true, false) => Kind::Delete,
        (false, _) => Kind::Insert,
    }
}

/// The bitmaps of an update's images, or of a change's only one; `None`: all columns.
type Shape<'a> = [Option<&'a [u8]>; 2];

/// Rows of one table, one kind and one shape, gathered into statements.
pub struct Run<'a> {
    pub mapping: &'a Arc<Mapping>,
    limits: &'a Limits,
    /// Its statements run without the target's foreign keys.
    pub unchecked: bool,
    pub kind: Option<Kind>,
    bytes: usize,
    place: Option<&'a Arc<Place>>,
    /// The columns that its rows have, before and after.
    shape: Shape<'a>,
    inserts: Vec<Row<'a>>,
    updates: Vec<(Row<'a>, Row<'a>)>,
    deletes: Vec<Row<'a>>,
}

impl<'a> Run<'a> {
    pub fn new(mapping: &'a Arc<Mapping>, limits: &'a Limits) -> Self {
        Self {
            mapping,
            limits,
            unchecked: false,
            kind: None,
            bytes: 0,
            place: None,
            shape: [None; 2],
            inserts: Vec::new(),
            updates: Vec::new(),
            deletes: Vec::new(),
        }
    }

    pub fn push(
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
            return self.single(place, before.as_deref(), after.as_deref(), out);
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

    /// The statements of one row.
    fn single(
        &self,
        place: &Arc<Place>,
        before: Option<&[Option<Value<'_>>]>,
        after: Option<&[Option<Value<'_>>]>,
        out: &mut Vec<Statement>,
    ) -> Result<(), ApplyError> {
        let (mapping, limits) = (self.mapping, self.limits);
        if let Some(rows) = Rows::of(mapping, place, self.unchecked, limits)
            && rows.single(before, after, out)?
        {
            return Ok(());
        }
        out.push(single(
            mapping,
            place,
            before,
            after,
            self.unchecked,
            limits,
        )?);
        Ok(())
    }

    fn rows(&self) -> usize {
        self.inserts.len() + self.updates.len() + self.deletes.len()
    }

    pub fn flush(&mut self, out: &mut Vec<Statement>) -> Result<(), ApplyError> {
        let (rows, Some(place)) = (self.rows(), self.place) else {
            return Ok(());
        };
        if rows == 0 {
            return Ok(());
        }
        if rows > 1
            && let Some(copied) = Rows::of(self.mapping, place, self.unchecked, self.limits)
        {
            let done = match self.kind {
                Some(Kind::Update) => copied.updates(&self.updates, out)?,
                Some(Kind::Delete) => copied.deletes(&self.deletes, out)?,
                Some(Kind::Insert) | None => false,
            };
            if done {
                self.clear();
                return Ok(());
            }
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
                let (before, after) = (before.map(Vec::as_slice), after.map(Vec::as_slice));
                self.single(place, before, after, out)?;
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
        if self.unchecked {
            sql = without_foreign_keys(self.mapping.dialect, sql);
        }
        if sql.len() + PACKET_MARGIN > self.limits.packet {
            // Escapes have blown it up beyond the server's limit: row by row.
            for (before, after) in self.updates.iter().map(|(b, a)| (Some(b), Some(a))).chain(
                self.deletes
                    .iter()
                    .map(|before| (Some(before), None))
                    .chain(self.inserts.iter().map(|after| (None, Some(after)))),
            ) {
                let (before, after) = (before.map(Vec::as_slice), after.map(Vec::as_slice));
                self.single(place, before, after, out)?;
            }
        } else {
            out.push(Statement::new(sql, Some(rows as u64)));
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
