//! Exact comparison of a column with a value: byte for byte, NULL equal to NULL.
//!
//! `=` would blur what differs: text by its collation, JSON by the order of members. So text is compared as bytes in the column's own
//! character set, JSON as the text that the server prints or keeps, the two zeros of FLOAT and DOUBLE as text, and an ENUM value without
//! a label (it prints as an empty string) as a blank, which no label is: the server takes blanks off their ends. What `=` tells apart
//! exactly is compared as it is, so that an index helps.

use binferry_schemas::row::ColumnType;

use super::literal::is_text;
use crate::target::mapping::{MappedColumn, Mapping};

/// Where a column's name stands: alone in its statement, or beside those of the joined values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Alone,
    Joined,
}

/// `column <=> other`, exact.
pub fn put_exact(
    out: &mut Vec<u8>,
    scope: Scope,
    mapping: &Mapping,
    at: usize,
    mut put_other: impl FnMut(&mut Vec<u8>),
) {
    let (column, ty) = (&mapping.columns[at], &mapping.schema.columns[at].ty);
    match ty {
        _ if is_text(ty) || is_text_document(mapping, ty) => {
            out.extend_from_slice(b"CAST(");
            put_column(out, scope, column);
            out.extend_from_slice(b" AS BINARY)<=>CAST(");
            match column.charset.as_ref().filter(|charset| !charset.is_utf8()) {
                None => put_other(out),
                Some(charset) => {
                    out.extend_from_slice(b"CONVERT(");
                    put_other(out);
                    out.extend_from_slice(b" USING ");
                    out.extend_from_slice(charset.name().as_bytes());
                    out.push(b')');
                }
            }
            out.extend_from_slice(b" AS BINARY)");
        }
        ColumnType::Float { .. } | ColumnType::Double { .. } => {
            out.extend_from_slice(b"IF(");
            put_column(out, scope, column);
            out.extend_from_slice(b"=0,CONCAT(");
            put_column(out, scope, column);
            out.extend_from_slice(b")<=>CONCAT(");
            put_other(out);
            out.extend_from_slice(b"),");
            put_column(out, scope, column);
            out.extend_from_slice(b"<=>");
            put_other(out);
            out.push(b')');
        }
        ColumnType::Enum { .. } | ColumnType::Set { .. } => {
            out.extend_from_slice(b"CAST(CONVERT(");
            if matches!(ty, ColumnType::Enum { .. }) {
                out.extend_from_slice(b"IF(");
                put_column(out, scope, column);
                out.extend_from_slice(b"+0=0,' ',");
                put_column(out, scope, column);
                out.push(b')');
            } else {
                put_column(out, scope, column);
            }
            out.extend_from_slice(b" USING utf8mb4) AS BINARY)<=>CAST(");
            put_other(out);
            out.extend_from_slice(b" AS BINARY)");
        }
        ColumnType::Json => {
            out.extend_from_slice(b"CAST(CAST(");
            put_column(out, scope, column);
            out.extend_from_slice(b" AS CHAR) AS BINARY)<=>CAST(");
            put_other(out);
            out.extend_from_slice(b" AS BINARY)");
        }
        ColumnType::Geometry { .. } | ColumnType::Vector { .. } => {
            out.extend_from_slice(b"CAST(");
            put_column(out, scope, column);
            out.extend_from_slice(b" AS BINARY)<=>");
            put_other(out);
        }
        _ => {
            put_column(out, scope, column);
            out.extend_from_slice(b"<=>");
            put_other(out);
        }
    }
}

/// `column = other` in the form that finds the row by the key's index; it may find a row that is equal only by collation.
pub fn put_key(
    out: &mut Vec<u8>,
    scope: Scope,
    mapping: &Mapping,
    at: usize,
    put_other: impl FnOnce(&mut Vec<u8>),
) {
    let column = &mapping.columns[at];
    put_column(out, scope, column);
    out.push(b'=');
    match (&column.charset, &column.collation) {
        (Some(charset), Some(collation)) => {
            out.extend_from_slice(b"CONVERT(");
            put_other(out);
            out.extend_from_slice(b" USING ");
            out.extend_from_slice(charset.name().as_bytes());
            out.extend_from_slice(b") COLLATE ");
            out.extend_from_slice(collation.name().as_bytes());
        }
        _ => put_other(out),
    }
}

/// A JSON column whose server keeps its text as it was given.
fn is_text_document(mapping: &Mapping, ty: &ColumnType) -> bool {
    *ty == ColumnType::Json && mapping.dialect.json_is_text()
}

/// True when [`put_key`] alone is exact.
pub fn key_is_exact(ty: &ColumnType) -> bool {
    let blurred = matches!(
        ty,
        ColumnType::Enum { .. }
            | ColumnType::Set { .. }
            | ColumnType::Float { .. }
            | ColumnType::Double { .. }
    );
    !is_text(ty) && !blurred
}

pub fn put_column(out: &mut Vec<u8>, scope: Scope, column: &MappedColumn) {
    if scope == Scope::Joined {
        out.extend_from_slice(b"t.");
    }
    out.extend_from_slice(column.quoted.as_bytes());
}
