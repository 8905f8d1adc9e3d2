//! Statements of the slow path, where the before image has failed: they find a row by its key alone, or by the value of another unique key.
//!
//! What they change has been looked at, with a lock, by a query with the same condition.

use binferry_schemas::datum::Value;

use super::{
    compare::{Scope, put_column},
    literal,
    name::quoted,
    statement::{
        Separator, Unrenderable, lax_at, put_compared, put_key_condition, put_literal, put_verb,
    },
};
use crate::target::mapping::Mapping;

type Values<'a> = [Option<Value<'a>>];

/// `UPDATE` that makes the row with the key of `keyed` equal to `after`, as far as `after` is there.
pub fn put_overwrite(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    keyed: &Values<'_>,
    after: &Values<'_>,
) -> Result<(), Unrenderable> {
    let columns = || (0..mapping.columns.len()).filter(|at| mapping.columns[*at].assigned);
    let lax = columns().any(|at| lax_at(mapping, at, &after[at]));
    put_verb(out, mapping, b"UPDATE ", lax);
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" SET ");
    let mut separator = Separator::new(b",");
    for at in columns() {
        separator.put(out);
        put_column(out, Scope::Alone, &mapping.columns[at]);
        out.push(b'=');
        match &after[at] {
            // Assigned itself, the server does not change it on its own.
            None => put_column(out, Scope::Alone, &mapping.columns[at]),
            value => put_literal(out, mapping, at, value)?,
        }
    }
    out.extend_from_slice(b" WHERE ");
    put_key_condition(out, mapping, keyed)
}

/// `DELETE` of the rows that meet a condition.
pub fn put_remove(out: &mut Vec<u8>, mapping: &Mapping, condition: &[u8]) {
    out.extend_from_slice(b"DELETE FROM ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(b" WHERE ");
    out.extend_from_slice(condition);
}

/// The value of a column for comparing with it: of the column's character set and collation, so that it is the column's own that decides
/// what is equal.
pub fn put_comparable(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    at: usize,
    value: &Option<Value<'_>>,
) -> Result<(), Unrenderable> {
    let column = &mapping.columns[at];
    if lax_at(mapping, at, value) {
        out.push(b'0');
        return Ok(());
    }
    let (Some(charset), Some(collation), false) = (
        &column.charset,
        &column.collation,
        matches!(value, Some(Value::Null)),
    ) else {
        return put_compared(out, mapping, at, value);
    };
    out.extend_from_slice(b"CONVERT(");
    put_compared(out, mapping, at, value)?;
    out.extend_from_slice(b" USING ");
    out.extend_from_slice(charset.name().as_bytes());
    out.extend_from_slice(b") COLLATE ");
    out.extend_from_slice(collation.name().as_bytes());
    Ok(())
}

/// `column = value`, or the same of their first characters or bytes.
pub fn put_equal(
    out: &mut Vec<u8>,
    column: &str,
    prefix: Option<u64>,
    mut put_other: impl FnMut(&mut Vec<u8>) -> Result<(), Unrenderable>,
) -> Result<(), Unrenderable> {
    let name = quoted(column);
    match prefix {
        None => {
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            put_other(out)
        }
        Some(length) => {
            let end = |out: &mut Vec<u8>| {
                out.push(b',');
                literal::put_int(out, i64::try_from(length).unwrap_or(i64::MAX));
                out.push(b')');
            };
            out.extend_from_slice(b"LEFT(");
            out.extend_from_slice(name.as_bytes());
            end(out);
            out.extend_from_slice(b"=LEFT(");
            put_other(out)?;
            end(out);
            Ok(())
        }
    }
}
