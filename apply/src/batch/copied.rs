//! Statements for changes of a table that is being copied: the row may not be there yet, and that is the one thing that is tolerated.
//!
//! - An update: rows that are there and equal the before image are changed; then the after image is *present*: inserted where no row is,
//!   and otherwise equal. So a row of the copy is an update from itself to itself.
//! - A delete: rows that are there and equal the before image go; then no row with such a key is there.
//! - A row that gets another key, or another value of a unique key, is a delete and an insert, like everywhere in a batch.
//! - An insert is an insert: the source had no such row before, so the target has none.
//!
//! What these statements don't do is left to the row-by-row path: it sees whether a row is missing, and says what else is wrong.

use std::sync::Arc;

use binferry_schemas::datum::{DatumError, Value};

use super::{
    Limits, Statement,
    run::{PACKET_MARGIN, value_error},
};
use crate::{
    change::{Row, RowImage},
    error::{ApplyError, Place},
    plan::Copied,
    render::{
        checks::without_foreign_keys,
        copied::{put_absent, put_present},
        load::{is_loadable, put_line, put_load},
        statement::{
            Unrenderable, begin_insert, is_lax_row, put_delete, put_delete_join, put_insert,
            put_insert_row, put_update, put_update_join,
        },
    },
    target::mapping::{Copying, Mapping},
};

type Values<'a> = [Option<Value<'a>>];

/// Renders the rows of one statement, or a few.
pub struct Rows<'a> {
    mapping: &'a Arc<Mapping>,
    copying: &'a Copying,
    guard: usize,
    place: &'a Arc<Place>,
    unchecked: bool,
    limits: &'a Limits,
}

impl<'a> Rows<'a> {
    /// `None`: the table is not being copied, or has nothing that these statements need.
    pub fn of(
        mapping: &'a Arc<Mapping>,
        place: &'a Arc<Place>,
        unchecked: bool,
        limits: &'a Limits,
    ) -> Option<Self> {
        let copying = mapping.copying.as_ref()?;
        Some(Self {
            mapping,
            copying,
            guard: copying.guard?,
            place,
            unchecked,
            limits,
        })
    }

    /// False: nothing is done, and it is a matter for the strict statement.
    pub fn single(
        &self,
        before: Option<&Values<'_>>,
        after: Option<&Values<'_>>,
        out: &mut Vec<Statement>,
    ) -> Result<bool, ApplyError> {
        let mark = out.len();
        match (before, after) {
            (Some(before), Some(after)) => {
                if !self.is_whole(after) {
                    return Ok(false);
                }
                if before != after {
                    self.push(out, None, |sql| {
                        put_update(sql, self.mapping, before, after)
                    })?;
                }
                let moves = (self.copying.key.iter()).any(|at| before[*at] != after[*at]);
                if moves {
                    self.absent(&[before.to_vec()], out)?;
                }
                self.present(&[after.to_vec()], out)?;
            }
            (Some(before), None) => {
                self.push(out, None, |sql| put_delete(sql, self.mapping, before))?;
                self.absent(&[before.to_vec()], out)?;
            }
            (None, _) => return Ok(false),
        }
        self.in_packets(mark, out)
    }

    /// Of rows that keep their keys.
    pub fn updates(
        &self,
        rows: &[(Row<'_>, Row<'_>)],
        out: &mut Vec<Statement>,
    ) -> Result<bool, ApplyError> {
        let mark = out.len();
        if !rows.iter().all(|(_, after)| self.is_whole(after)) {
            return Ok(false);
        }
        if rows.iter().any(|(before, after)| before != after) {
            self.push(out, None, |sql| put_update_join(sql, self.mapping, rows))?;
        }
        let after: Vec<Row<'_>> = rows.iter().map(|(_, after)| after.clone()).collect();
        self.present(&after, out)?;
        self.in_packets(mark, out)
    }

    pub fn deletes(&self, rows: &[Row<'_>], out: &mut Vec<Statement>) -> Result<bool, ApplyError> {
        let mark = out.len();
        self.push(out, None, |sql| put_delete_join(sql, self.mapping, rows))?;
        self.absent(rows, out)?;
        self.in_packets(mark, out)
    }

    /// False, and taken back, when escapes have blown a statement up: then row by row.
    fn in_packets(&self, mark: usize, out: &mut Vec<Statement>) -> Result<bool, ApplyError> {
        let fit = out[mark..]
            .iter()
            .all(|statement| statement.sql.len() + PACKET_MARGIN <= self.limits.packet);
        if !fit {
            out.truncate(mark);
        }
        Ok(fit)
    }

    /// Can the image be inserted, and be compared in a strict statement?
    fn is_whole(&self, after: &Values<'_>) -> bool {
        let mut columns = self.mapping.columns.iter().zip(after);
        columns.all(|(column, value)| value.is_some() || !column.assigned)
            && !is_lax_row(self.mapping, after)
    }

    pub fn present(&self, rows: &[Row<'_>], out: &mut Vec<Statement>) -> Result<(), ApplyError> {
        self.push(out, Some(rows.len() as u64), |sql| {
            put_present(sql, self.mapping, self.guard, rows)
        })
    }

    fn absent(&self, rows: &[Row<'_>], out: &mut Vec<Statement>) -> Result<(), ApplyError> {
        self.push(out, Some(0), |sql| {
            put_absent(sql, self.mapping, self.copying, self.guard, rows)
        })
    }

    fn push(
        &self,
        out: &mut Vec<Statement>,
        rows: Option<u64>,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), Unrenderable>,
    ) -> Result<(), ApplyError> {
        let mut sql = Vec::new();
        put(&mut sql).map_err(|error| value_error(error, self.mapping, self.place))?;
        if self.unchecked {
            sql = without_foreign_keys(self.mapping.dialect, sql);
        }
        out.push(Statement::new(sql, rows));
        Ok(())
    }
}

/// How rows of copies get into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    /// With statements that tolerate a row that is there and equal.
    Insert,
    /// Loaded where that can be, which is faster and takes new rows only.
    Load,
}

/// The statements of rows that a copy brings with one record: as many rows in each as fit.
pub fn put_copied(
    copied: &Copied,
    rows: &[&RowImage],
    bulk: Bulk,
    limits: &Limits,
    out: &mut Vec<Statement>,
) -> Result<(), ApplyError> {
    let Copied { mapping, place, .. } = copied;
    let mut lines = Lines::default();
    let loads = bulk == Bulk::Load && is_loadable(mapping);
    let block = Block {
        mapping,
        place,
        limits,
    };
    let (mut gathered, mut bytes) = (Vec::with_capacity(limits.statement_rows), 0);
    let broken = |source| ApplyError::Datum {
        place: Arc::clone(place),
        source: Box::new(source),
    };
    for row in rows {
        // A row that large would have to be in a variable, at twice its size.
        let loads = loads && row.datum.len() <= limits.statement_bytes;
        if loads && lines.put(mapping, row, rows.len()).map_err(broken)? {
            continue;
        }
        let values = mapping.values(row).map_err(broken)?;
        let full = gathered.len() >= limits.statement_rows
            || bytes + row.datum.len() > limits.statement_bytes;
        if full && !gathered.is_empty() {
            block.put(&gathered, bytes, out)?;
            gathered.clear();
            bytes = 0;
        }
        if is_lax_row(mapping, &values) {
            // It needs a session in which nothing could guard it: if it is there, the row-by-row path compares it.
            block.statement(out, 1, 0, |sql| put_insert(sql, mapping, &values))?;
            continue;
        }
        bytes += row.datum.len();
        gathered.push(values);
    }
    block.put(&gathered, bytes, out)?;
    lines.finish(mapping, out);
    Ok(())
}

#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    rows: u64,
}

impl Lines {
    /// False: the row can't be loaded. `of`: so many rows may come.
    fn put(&mut self, mapping: &Mapping, row: &RowImage, of: usize) -> Result<bool, DatumError> {
        if self.text.capacity() == 0 {
            self.text.reserve(row.datum.len() * of * 5 / 4);
        }
        let put = put_line(&mut self.text, mapping, row)?;
        self.rows += u64::from(put);
        Ok(put)
    }

    fn finish(self, mapping: &Mapping, out: &mut Vec<Statement>) {
        if self.rows == 0 {
            return;
        }
        let mut sql = Vec::new();
        put_load(&mut sql, mapping);
        out.push(Statement {
            sql,
            rows: Some(self.rows),
            lines: Some(self.text.into()),
        });
    }
}

struct Block<'a> {
    mapping: &'a Arc<Mapping>,
    place: &'a Arc<Place>,
    limits: &'a Limits,
}

impl Block<'_> {
    fn put(
        &self,
        rows: &[Row<'_>],
        bytes: usize,
        out: &mut Vec<Statement>,
    ) -> Result<(), ApplyError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mark = out.len();
        let guard = (self.mapping.copying.as_ref()).and_then(|copying| copying.guard);
        self.statement(out, rows.len(), bytes, |sql| match guard {
            Some(guard) => put_present(sql, self.mapping, guard, rows),
            // No key: what comes is new.
            None => {
                begin_insert(sql, self.mapping, &rows[0]);
                for (at, row) in rows.iter().enumerate() {
                    if at > 0 {
                        sql.push(b',');
                    }
                    put_insert_row(sql, self.mapping, row)?;
                }
                Ok(())
            }
        })?;
        let size = out.last().map_or(0, |statement| statement.sql.len()) + PACKET_MARGIN;
        if size <= self.limits.packet {
            return Ok(());
        }
        // Escapes have blown it up beyond the server's limit.
        out.truncate(mark);
        if rows.len() == 1 {
            return Err(ApplyError::RowTooLarge {
                place: Arc::clone(self.place),
                table: self.mapping.name.clone(),
                bytes: size as u64,
                limit: self.limits.packet as u64,
            });
        }
        for half in rows.chunks(rows.len().div_ceil(2)) {
            self.put(half, bytes / 2, out)?;
        }
        Ok(())
    }

    fn statement(
        &self,
        out: &mut Vec<Statement>,
        rows: usize,
        bytes: usize,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), Unrenderable>,
    ) -> Result<(), ApplyError> {
        let mut sql = Vec::with_capacity(bytes * 5 / 4 + 512);
        put(&mut sql).map_err(|error| value_error(error, self.mapping, self.place))?;
        if self.mapping.without_foreign_keys(true) {
            sql = without_foreign_keys(self.mapping.dialect, sql);
        }
        out.push(Statement::new(sql, Some(rows as u64)));
        Ok(())
    }
}
