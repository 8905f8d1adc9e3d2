//! Statements for one row and for many.
//!
//! A statement says how many rows it must find; the connection counts rows found, not rows changed (CLIENT_FOUND_ROWS).

use binferry_schemas::datum::Value;

use super::{
    compare::{key_is_exact, put_column, put_exact, put_key},
    literal::{self, NoLiteral, is_plain},
};
use crate::target::mapping::Mapping;

/// A column, by its index, whose value has no literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unrenderable {
    pub column: usize,
    pub reason: NoLiteral,
}

fn put_literal(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    at: usize,
    value: &Value<'_>,
) -> Result<(), Unrenderable> {
    literal::put(
        out,
        &mapping.schema.columns[at].ty,
        mapping.columns[at].charset.as_ref(),
        value,
    )
    .map_err(|reason| Unrenderable { column: at, reason })
}

/// The literal for comparing: a JSON document is compared by its text.
fn put_compared(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    at: usize,
    value: &Value<'_>,
) -> Result<(), Unrenderable> {
    match value {
        Value::Json { text, .. } => put_literal(out, mapping, at, &Value::Text(text)),
        value => put_literal(out, mapping, at, value),
    }
}

/// May the row's values stand in `VALUES ROW(…)` with others?
pub fn is_plain_row(mapping: &Mapping, values: &[Value<'_>]) -> bool {
    mapping
        .schema
        .columns
        .iter()
        .zip(values)
        .all(|(column, value)| is_plain(&column.ty, value))
}

/// `INSERT INTO … (…) VALUES `
pub fn begin_insert(out: &mut Vec<u8>, mapping: &Mapping) {
    out.extend_from_slice(b"INSERT INTO ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" (");
    let mut separator = Separator::new(b",");
    for column in mapping.columns.iter().filter(|column| column.assigned) {
        separator.put(out);
        out.extend_from_slice(column.quoted.as_bytes());
    }
    out.extend_from_slice(b") VALUES ");
}

/// `(…)`
pub fn put_insert_row(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    after: &[Value<'_>],
) -> Result<(), Unrenderable> {
    out.push(b'(');
    let mut separator = Separator::new(b",");
    for (at, value) in after.iter().enumerate() {
        if mapping.columns[at].assigned {
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
    before: &[Value<'_>],
    after: &[Value<'_>],
) -> Result<(), Unrenderable> {
    out.extend_from_slice(b"UPDATE ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" AS t SET ");
    let assigned = assigned(mapping, |at| before[at] != after[at]);
    let mut separator = Separator::new(b",");
    for at in assigned {
        separator.put(out);
        put_column(out, &mapping.columns[at]);
        out.push(b'=');
        put_literal(out, mapping, at, &after[at])?;
    }
    put_where(out, mapping, before)
}

/// One row's DELETE.
pub fn put_delete(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Value<'_>],
) -> Result<(), Unrenderable> {
    out.extend_from_slice(b"DELETE FROM ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" AS t");
    put_where(out, mapping, before)
}

fn put_where(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Value<'_>],
) -> Result<(), Unrenderable> {
    out.extend_from_slice(b" WHERE ");
    put_key_condition(out, mapping, before)?;
    let mut failed = Ok(());
    for at in compared(mapping) {
        if !out.ends_with(b" WHERE ") {
            out.extend_from_slice(b" AND ");
        }
        put_exact(out, mapping, at, |out| {
            failed = failed.and(put_compared(out, mapping, at, &before[at]));
        });
    }
    if mapping.key.is_empty() {
        // Equal rows can't be told apart: one of them, as on the source.
        out.extend_from_slice(b" LIMIT 1");
    }
    failed
}

fn put_key_condition(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Value<'_>],
) -> Result<(), Unrenderable> {
    let mut separator = Separator::new(b" AND ");
    let mut failed = Ok(());
    for at in &mapping.key {
        separator.put(out);
        put_key(out, mapping, *at, |out| {
            failed = failed.and(put_compared(out, mapping, *at, &before[*at]));
        });
    }
    failed
}

/// `SELECT` that finds the row by its key and says for each compared column whether it equals the before image.
pub fn put_probe(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[Value<'_>],
) -> Result<(), Unrenderable> {
    out.extend_from_slice(b"SELECT 1");
    let mut failed = Ok(());
    for at in compared(mapping) {
        out.push(b',');
        put_exact(out, mapping, at, |out| {
            failed = failed.and(put_compared(out, mapping, at, &before[at]));
        });
    }
    out.extend_from_slice(b" FROM ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" AS t WHERE ");
    put_key_condition(out, mapping, before)?;
    failed
}

/// Columns whose before image is compared; those of the key that find the row exactly are left out.
pub fn compared(mapping: &Mapping) -> impl Iterator<Item = usize> + '_ {
    (0..mapping.columns.len()).filter(|at| {
        mapping.columns[*at].assigned
            && !(mapping.key.contains(at) && key_is_exact(&mapping.schema.columns[*at].ty))
    })
}

/// Columns to assign: the changed ones, and those that the server would change by itself; at least one.
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
    rows: &[(Vec<Value<'_>>, Vec<Value<'_>>)],
) -> Result<(), Unrenderable> {
    let assigned = assigned(mapping, |at| {
        rows.iter().any(|(before, after)| before[at] != after[at])
    });
    let before: Vec<usize> = needed(mapping);
    out.extend_from_slice(b"UPDATE ");
    put_values(
        out,
        mapping,
        &before,
        &assigned,
        rows.iter()
            .map(|(before, after)| (before.as_slice(), after.as_slice())),
    )?;
    put_join(out, mapping);
    out.extend_from_slice(b" SET ");
    let mut separator = Separator::new(b",");
    for at in &assigned {
        separator.put(out);
        put_column(out, &mapping.columns[*at]);
        out.extend_from_slice(b"=v.a");
        literal::put_int(out, *at as i64);
    }
    Ok(())
}

/// DELETE of many rows, each found by its key and compared with its before image. The rows' keys must differ.
pub fn put_delete_join(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    rows: &[Vec<Value<'_>>],
) -> Result<(), Unrenderable> {
    out.extend_from_slice(b"DELETE t FROM ");
    let before = needed(mapping);
    put_values(
        out,
        mapping,
        &before,
        &[],
        rows.iter().map(|row| (row.as_slice(), row.as_slice())),
    )?;
    put_join(out, mapping);
    Ok(())
}

/// Columns of the before image that the join uses.
fn needed(mapping: &Mapping) -> Vec<usize> {
    (0..mapping.columns.len())
        .filter(|at| mapping.columns[*at].assigned || mapping.key.contains(at))
        .collect()
}

fn put_values<'a, 'v: 'a>(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    before: &[usize],
    after: &[usize],
    rows: impl Iterator<Item = (&'a [Value<'v>], &'a [Value<'v>])>,
) -> Result<(), Unrenderable> {
    out.extend_from_slice(b"(VALUES ");
    let mut between_rows = Separator::new(b",");
    for (old, new) in rows {
        between_rows.put(out);
        out.extend_from_slice(b"ROW(");
        let mut separator = Separator::new(b",");
        for at in before {
            separator.put(out);
            put_literal(out, mapping, *at, &old[*at])?;
        }
        for at in after {
            separator.put(out);
            put_literal(out, mapping, *at, &new[*at])?;
        }
        out.push(b')');
    }
    out.extend_from_slice(b") AS v(");
    let mut separator = Separator::new(b",");
    for (prefix, list) in [(b'b', before), (b'a', after)] {
        for at in list {
            separator.put(out);
            out.push(prefix);
            literal::put_int(out, *at as i64);
        }
    }
    out.push(b')');
    Ok(())
}

/// The rows of `v` drive, and each finds its row by the key's index: never a scan of the table, whatever the statistics say.
fn put_join(out: &mut Vec<u8>, mapping: &Mapping) {
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
        put_key(out, mapping, *at, |out| other(out, *at));
    }
    for at in compared(mapping) {
        separator.put(out);
        put_exact(out, mapping, at, |out| other(out, at));
    }
}

struct Separator {
    text: &'static [u8],
    first: bool,
}

impl Separator {
    fn new(text: &'static [u8]) -> Self {
        Self { text, first: true }
    }

    fn put(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.first) {
            out.extend_from_slice(self.text);
        }
    }
}

#[cfg(test)]
mod tests;
