//! Statements for rows of a table that is being copied: a row that a change is about may not be there yet, and a row that the copy brings
//! may be there already. Nothing else is tolerated, and the server itself checks that.

use binferry_schemas::{datum::Value, row::ColumnType};

use super::{
    compare::put_key,
    literal::is_text,
    statement::{Separator, Unrenderable, begin_insert, lax_at, put_compared, put_insert_row},
};
use crate::{
    change::Row,
    dialect::Dialect,
    render::compare::Scope,
    target::mapping::{Copying, Mapping},
};

/// `INSERT` of rows of which some may be there: those must be equal, byte for byte, in each column. One that differs, in its place or
/// because it holds a value of another unique key, would have to give the column `guard`, which is NOT NULL, no value: error 1048. It counts
/// each row once. In each comparison both sides have the column's own type, so no literal's type can blur it.
pub fn put_present(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    guard: usize,
    rows: &[Row<'_>],
) -> Result<(), Unrenderable> {
    begin_insert(out, mapping, rows.first().map_or(&[][..], Vec::as_slice));
    let mut separator = Separator::new(b",");
    for row in rows {
        separator.put(out);
        put_insert_row(out, mapping, row)?;
    }
    if mapping.dialect == Dialect::MySql {
        out.extend_from_slice(b" AS n");
    }
    out.extend_from_slice(b" ON DUPLICATE KEY UPDATE ");
    let own = |out: &mut Vec<u8>, at: usize| {
        out.extend_from_slice(mapping.quoted.as_bytes());
        out.push(b'.');
        out.extend_from_slice(mapping.columns[at].quoted.as_bytes());
    };
    let new = |out: &mut Vec<u8>, at: usize| {
        let name = mapping.columns[at].quoted.as_bytes();
        match mapping.dialect {
            Dialect::MySql => {
                out.extend_from_slice(b"n.");
                out.extend_from_slice(name);
            }
            Dialect::MariaDb => {
                out.extend_from_slice(b"VALUES(");
                out.extend_from_slice(name);
                out.push(b')');
            }
        }
    };
    own(out, guard);
    out.extend_from_slice(b"=IF(");
    let mut separator = Separator::new(b" AND ");
    for at in (0..mapping.columns.len()).filter(|at| mapping.columns[*at].assigned) {
        separator.put(out);
        put_same(out, mapping, at, |out| own(out, at), |out| new(out, at));
    }
    out.push(b',');
    own(out, guard);
    out.extend_from_slice(b",NULL)");
    Ok(())
}

/// Equality of two values of the column's own type.
fn put_same(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    at: usize,
    one: impl Fn(&mut Vec<u8>),
    other: impl Fn(&mut Vec<u8>),
) {
    let ty = &mapping.schema.columns[at].ty;
    let mut both = |before: &str, after: &str| {
        for (at, side) in [&one as &dyn Fn(&mut Vec<u8>), &other]
            .into_iter()
            .enumerate()
        {
            if at == 1 {
                out.extend_from_slice(b"<=>");
            }
            out.extend_from_slice(before.as_bytes());
            side(out);
            out.extend_from_slice(after.as_bytes());
        }
    };
    match ty {
        // The collation would blur it.
        _ if is_text(ty) => both("CAST(", " AS BINARY)"),
        ColumnType::Json if !mapping.dialect.json_is_text() => {
            both("CAST(CAST(", " AS CHAR) AS BINARY)");
        }
        ColumnType::Json | ColumnType::Geometry { .. } | ColumnType::Vector { .. } => {
            both("CAST(", " AS BINARY)");
        }
        // By number: a label that is empty, and no label, are not the same.
        ColumnType::Enum { .. } | ColumnType::Set { .. } => both("(", "+0)"),
        // 0 and -0 are equal, and print otherwise.
        ColumnType::Float { .. } | ColumnType::Double { .. } => {
            out.extend_from_slice(b"IF(");
            one(out);
            out.extend_from_slice(b"=0,CONCAT(");
            one(out);
            out.extend_from_slice(b")<=>CONCAT(");
            other(out);
            out.extend_from_slice(b"),");
            one(out);
            out.extend_from_slice(b"<=>");
            other(out);
            out.push(b')');
        }
        _ => both("", ""),
    }
}

/// A statement that must find no row: none with the key of one of these rows is there. It changes nothing.
pub fn put_absent(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    copying: &Copying,
    guard: usize,
    rows: &[Row<'_>],
) -> Result<(), Unrenderable> {
    let guard = mapping.columns[guard].quoted.as_bytes();
    for part in [
        b"UPDATE ",
        mapping.quoted.as_bytes(),
        b" FORCE INDEX (",
        copying.index.as_bytes(),
        b") SET ",
        guard,
        b"=",
        guard,
        b" WHERE ",
    ] {
        out.extend_from_slice(part);
    }
    let mut separator = Separator::new(b" OR ");
    for row in rows {
        separator.put(out);
        put_own_key(out, mapping, &copying.key, row)?;
    }
    Ok(())
}

/// `(a=x AND b=y)`: by the key alone.
pub fn put_own_key(
    out: &mut Vec<u8>,
    mapping: &Mapping,
    key: &[usize],
    row: &[Option<Value<'_>>],
) -> Result<(), Unrenderable> {
    let mut separator = Separator::new(b" AND ");
    let mut failed = Ok(());
    out.push(b'(');
    for at in key {
        separator.put(out);
        if lax_at(mapping, *at, &row[*at]) {
            out.extend_from_slice(mapping.columns[*at].quoted.as_bytes());
            out.extend_from_slice(b"=0");
            continue;
        }
        put_key(out, Scope::Alone, mapping, *at, |out| {
            failed = failed.and(put_compared(out, mapping, *at, &row[*at]));
        });
    }
    out.push(b')');
    failed
}
