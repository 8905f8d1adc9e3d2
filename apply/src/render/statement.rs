//! Statements for one row and for many.
//!
//! A row has a value for each column, or `None` for one that its image lacks: that one is neither assigned nor compared. The rows of one
//! statement lack the same columns.
//!
//! A statement says how many rows it must find; the connection counts rows found, not rows changed (CLIENT_FOUND_ROWS).

use binferry_schemas::datum::Value;

use super::{
    compare::{Scope, key_is_exact, put_column, put_exact, put_key},
    literal::{self, NoLiteral, is_lax, is_plain},
};
use crate::{change::Row, dialect::Dialect, target::mapping::Mapping};

/// A column, by its index, whose value has no literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unrenderable {
    pub column: usize,
    pub reason: NoLiteral,
}

pub fn put_literal(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    at: usize,
    value: &Option<Value<'_>>,
) -> Result<(), Unrenderable> {
    let unrenderable = |reason| Unrenderable { column: at, reason };
    let Some(value) = value else {
        return Err(unrenderable(NoLiteral("the row image lacks it")));
    };
    literal::put(
        out,
        &mapping.schema.columns[at].ty,
        mapping.columns[at].charset.as_ref(),
        &as_text(mapping, value),
    )
    .map_err(unrenderable)
}

/// A document's text, where documents are text.
fn as_text<'a>(mapping: &Mapping, value: &Value<'a>) -> Value<'a> {
    match *value {
        Value::Json { text, .. } if mapping.dialect.json_is_text() => Value::Text(text),
        value => value,
    }
}

/// The literal for comparing: a JSON document is compared by its text, an ENUM value without a label as a blank.
pub(super) fn put_compared(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    at: usize,
    value: &Option<Value<'_>>,
) -> Result<(), Unrenderable> {
    match value {
        Some(Value::Json { text, .. }) => put_literal(out, mapping, at, &Some(Value::Text(text))),
        value if lax_at(mapping, at, value) => {
            out.extend_from_slice(b"' '");
            Ok(())
        }
        value => put_literal(out, mapping, at, value),
    }
}

/// May the row's values stand in a table of values with others?
pub fn is_plain_row(mapping: &Mapping, values: &[Option<Value<'_>>]) -> bool {
    mapping
        .schema
        .columns
        .iter()
        .zip(values)
        .filter_map(|(column, value)| Some((column, value.as_ref()?)))
        .all(|(column, value)| is_plain(&column.ty, &as_text(mapping, value)))
}

/// Has the row a value that a strict session can't assign? Its statement is then a lax one, of this row alone. The other columns lose
/// nothing by that: before the first row it was made sure that the target's types hold all values of the source's.
pub fn is_lax_row(mapping: &Mapping, values: &[Option<Value<'_>>]) -> bool {
    (values.iter().enumerate()).any(|(at, value)| lax_at(mapping, at, value))
}

pub(super) fn lax_at(mapping: &Mapping, at: usize, value: &Option<Value<'_>>) -> bool {
    (value.as_ref()).is_some_and(|value| is_lax(&mapping.schema.columns[at].ty, value))
}

/// `INSERT ` or `UPDATE `; a lax one has the session's `sql_mode` without the strict ones, for the statement alone.
pub(super) fn put_verb(out: &mut Vec<u8>, mapping: &Mapping, verb: &[u8], lax: bool) {
    match mapping.dialect {
        Dialect::MariaDb if lax => {
            out.extend_from_slice(
                b"SET STATEMENT sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES' FOR ",
            );
            out.extend_from_slice(verb);
        }
        Dialect::MySql if lax => {
            out.extend_from_slice(verb);
            out.extend_from_slice(
                b"/*+ SET_VAR(sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES') */ ",
            );
        }
        _ => out.extend_from_slice(verb),
    }
}

/// One row's `INSERT`.
pub fn put_insert(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    after: &[Option<Value<'_>>],
) -> Result<(), Unrenderable> {
    put_verb(out, mapping, b"INSERT ", is_lax_row(mapping, after));
    put_insert_into(out, mapping, after);
    put_insert_row(out, mapping, after)
}

/// `INSERT INTO … (…) VALUES `, for rows like `after`, none of them lax.
pub fn begin_insert(out: &mut Vec<u8>, mapping: &Mapping, after: &[Option<Value<'_>>]) {
    out.extend_from_slice(b"INSERT ");
    put_insert_into(out, mapping, after);
}

fn put_insert_into(out: &mut Vec<u8>, mapping: &Mapping, after: &[Option<Value<'_>>]) {
    out.extend_from_slice(b"INTO ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" (");
    let mut separator = Separator::new(b",");
    for (column, value) in mapping.columns.iter().zip(after) {
        if column.assigned && value.is_some() {
            separator.put(out);
            out.extend_from_slice(column.quoted.as_bytes());
        }
    }
    out.extend_from_slice(b") VALUES ");
}

/// `(…)`
pub fn put_insert_row(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    after: &[Option<Value<'_>>],
) -> Result<(), Unrenderable> {
    out.push(b'(');
    let mut separator = Separator::new(b",");
    for (at, value) in after.iter().enumerate() {
        if mapping.columns[at].assigned && value.is_some() {
            separator.put(out);
            put_literal(out, mapping, at, value)?;
        }
    }
    out.push(b')');
    Ok(())
}

/// One row's UPDATE.
pub fn put_update(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Option<Value<'_>>],
    after: &[Option<Value<'_>>],
) -> Result<(), Unrenderable> {
    let assigned = assigned(mapping, |at| before[at] != after[at]);
    let lax = (assigned.iter()).any(|at| lax_at(mapping, *at, &after[*at]));
    put_verb(out, mapping, b"UPDATE ", lax);
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" SET ");
    let mut separator = Separator::new(b",");
    for at in assigned {
        separator.put(out);
        put_column(out, Scope::Alone, &mapping.columns[at]);
        out.push(b'=');
        match &after[at] {
            None => put_column(out, Scope::Alone, &mapping.columns[at]),
            value => put_literal(out, mapping, at, value)?,
        }
    }
    put_where(out, mapping, before)
}

/// One row's DELETE.
pub fn put_delete(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Option<Value<'_>>],
) -> Result<(), Unrenderable> {
    out.extend_from_slice(b"DELETE FROM ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    put_where(out, mapping, before)
}

fn put_where(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Option<Value<'_>>],
) -> Result<(), Unrenderable> {
    out.extend_from_slice(b" WHERE ");
    put_key_condition(out, mapping, before)?;
    let mut failed = Ok(());
    for at in compared(mapping, before) {
        if !out.ends_with(b" WHERE ") {
            out.extend_from_slice(b" AND ");
        }
        put_exact(out, Scope::Alone, mapping, at, |out| {
            failed = failed.and(put_compared(out, mapping, at, &before[at]));
        });
    }
    if mapping.key.is_empty() {
        // Equal rows can't be told apart: one of them, as on the source.
        out.extend_from_slice(b" LIMIT 1");
    }
    failed
}

pub fn put_key_condition(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Option<Value<'_>>],
) -> Result<(), Unrenderable> {
    let mut separator = Separator::new(b" AND ");
    let mut failed = Ok(());
    for at in &mapping.key {
        separator.put(out);
        if lax_at(mapping, *at, &before[*at]) {
            put_column(out, Scope::Alone, &mapping.columns[*at]);
            out.extend_from_slice(b"=0");
            continue;
        }
        put_key(out, Scope::Alone, mapping, *at, |out| {
            failed = failed.and(put_compared(out, mapping, *at, &before[*at]));
        });
    }
    failed
}

/// `,` and, for each compared column, whether it equals the before image.
pub fn put_comparisons(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Option<Value<'_>>],
) -> Result<(), Unrenderable> {
    let mut failed = Ok(());
    for at in compared(mapping, before) {
        out.push(b',');
        put_exact(out, Scope::Alone, mapping, at, |out| {
            failed = failed.and(put_compared(out, mapping, at, &before[at]));
        });
    }
    failed
}

/// Columns that are compared with a before image; those of the key that find the row exactly are left out.
pub fn compared<'a>(
    mapping: &'a Mapping,
    before: &'a [Option<Value<'_>>],
) -> impl Iterator<Item = usize> + 'a {
    (0..mapping.columns.len()).filter(|at| {
        before[*at].is_some()
            && mapping.compares(*at)
            && !(mapping.key.contains(at) && key_is_exact(&mapping.schema.columns[*at].ty))
    })
}

/// Columns to assign: the changed ones, and those that the server would change by itself; at least one. What the after image lacks is
/// assigned itself.
fn assigned(mapping: &Mapping, changed: impl Fn(usize) -> bool) -> Vec<usize> {
    let may = |at: &usize| mapping.columns[*at].assigned;
    let all = || (0..mapping.columns.len()).filter(may);
    let list: Vec<usize> = all()
        .filter(|at| mapping.columns[*at].on_update || changed(*at))
        .collect();
    if list.is_empty() {
        all().take(1).collect()
    } else {
        list
    }
}

/// UPDATE of many rows, each found by its key and compared with its before image. The rows' keys must differ, and stay.
pub fn put_update_join(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    rows: &[(Row<'_>, Row<'_>)],
) -> Result<(), Unrenderable> {
    let Some((first, first_after)) = rows.first() else {
        return Ok(());
    };
    let assigned = assigned(mapping, |at| {
        rows.iter().any(|(before, after)| before[at] != after[at])
    });
    let before: Vec<usize> = needed(mapping, first);
    let (given, kept): (Vec<usize>, Vec<usize>) =
        (assigned.into_iter()).partition(|at| first_after[*at].is_some());
    out.extend_from_slice(b"UPDATE ");
    put_values(
        out,
        mapping,
        &before,
        &given,
        rows.iter()
            .map(|(before, after)| (before.as_slice(), after.as_slice())),
    )?;
    put_join(out, mapping, first);
    out.extend_from_slice(b" SET ");
    let mut separator = Separator::new(b",");
    for at in &given {
        separator.put(out);
        put_column(out, Scope::Joined, &mapping.columns[*at]);
        out.extend_from_slice(b"=v.a");
        literal::put_int(out, *at as i64);
    }
    for at in &kept {
        separator.put(out);
        put_column(out, Scope::Joined, &mapping.columns[*at]);
        out.push(b'=');
        put_column(out, Scope::Joined, &mapping.columns[*at]);
    }
    Ok(())
}

/// DELETE of many rows, each found by its key and compared with its before image. The rows' keys must differ.
pub fn put_delete_join(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    rows: &[Row<'_>],
) -> Result<(), Unrenderable> {
    let Some(first) = rows.first() else {
        return Ok(());
    };
    out.extend_from_slice(b"DELETE t FROM ");
    let before = needed(mapping, first);
    put_values(
        out,
        mapping,
        &before,
        &[],
        rows.iter().map(|row| (row.as_slice(), row.as_slice())),
    )?;
    put_join(out, mapping, first);
    Ok(())
}

/// Columns of the before image that the join uses.
fn needed(mapping: &Mapping, before: &[Option<Value<'_>>]) -> Vec<usize> {
    (0..mapping.columns.len())
        .filter(|at| before[*at].is_some())
        .filter(|at| mapping.compares(*at) || mapping.key.contains(at))
        .collect()
}

/// The rows as a table `v`, each column named by [`put_name`].
fn put_values<'a, 'v: 'a>(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[usize],
    after: &[usize],
    rows: impl Iterator<Item = (&'a [Option<Value<'v>>], &'a [Option<Value<'v>>])>,
) -> Result<(), Unrenderable> {
    let names = || {
        let before = before.iter().map(|at| (b'b', *at));
        before.chain(after.iter().map(|at| (b'a', *at)))
    };
    let names_first = mapping.dialect == Dialect::MariaDb;
    out.extend_from_slice(if names_first {
        b"(SELECT "
    } else {
        b"(VALUES "
    });
    for (row, (old, new)) in rows.enumerate() {
        // MariaDB takes the names of the first row.
        let named = names_first && row == 0;
        out.extend_from_slice(match (names_first, row) {
            (true, 0) => b"",
            (true, 1) => b" UNION ALL VALUES (",
            (true, _) => b",(",
            (false, 0) => b"ROW(",
            (false, _) => b",ROW(",
        });
        let mut separator = Separator::new(b",");
        for (prefix, at) in names() {
            separator.put(out);
            let values = if prefix == b'b' { old } else { new };
            put_literal(out, mapping, at, &values[at])?;
            if named {
                out.extend_from_slice(b" AS ");
                put_name(out, prefix, at);
            }
        }
        if !named {
            out.push(b')');
        }
    }
    out.extend_from_slice(b") AS v");
    if !names_first {
        out.push(b'(');
        let mut separator = Separator::new(b",");
        for (prefix, at) in names() {
            separator.put(out);
            put_name(out, prefix, at);
        }
        out.push(b')');
    }
    Ok(())
}

/// The name of a column of `v`: `b` before, `a` after, and the column's index.
fn put_name(out: &mut Vec<u8>, prefix: u8, at: usize) {
    out.push(prefix);
    literal::put_int(out, at as i64);
}

/// The rows of `v` drive, and each finds its row by the key's index: never a scan of the table, whatever the statistics say.
fn put_join(out: &mut Vec<u8>, mapping: &Mapping, before: &[Option<Value<'_>>]) {
    out.extend_from_slice(b" STRAIGHT_JOIN ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" AS t FORCE INDEX (");
    out.extend_from_slice(mapping.key_index.as_bytes());
    out.extend_from_slice(b") ON ");
    let mut separator = Separator::new(b" AND ");
    let other = |out: &mut Vec<u8>, at: usize| {
        out.extend_from_slice(b"v.b");
        literal::put_int(out, at as i64);
    };
    for at in &mapping.key {
        separator.put(out);
        put_key(out, Scope::Joined, mapping, *at, |out| other(out, *at));
    }
    for at in compared(mapping, before) {
        separator.put(out);
        put_exact(out, Scope::Joined, mapping, at, |out| other(out, at));
    }
}

pub(super) struct Separator {
    text: &'static [u8],
    first: bool,
}

impl Separator {
    pub(super) fn new(text: &'static [u8]) -> Self {
        Self { text, first: true }
    }

    pub(super) fn put(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.first) {
            out.extend_from_slice(self.text);
        }
    }
}

#[cfg(test)]
mod tests;
