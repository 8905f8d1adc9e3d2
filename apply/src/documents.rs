//! JSON documents that a server takes for equal though they are not.
//!
//! MySQL compares documents by value: `1`, `1.0` and `1e0` are equal, of whatever type they are. An UPDATE that changes nothing but such documents
//! leaves the row as it is, without an error, and counts it as found (`compare_records` in sql/sql_update.cc). A REPLACE on the source does write
//! them, and so do two changes of a row whose net effect they are. Such a row is deleted and inserted again; where it has columns that only the
//! target has, and that would be lost, it is updated twice, by way of documents that are equal to neither.

use binferry_schemas::{
    datum::{DatumError, Value},
    record::{ForeignKeys, Operation},
    row::ColumnType,
};

use crate::{
    batch,
    change::{RowChange, RowImage},
    error::ApplyError,
    target::mapping::{Mapping, Order},
};

impl Mapping {
    /// May the server leave a row alone in an UPDATE from one image to the other, though they differ?
    pub fn leaves_alone(&self, before: &[Option<Value<'_>>], after: &[Option<Value<'_>>]) -> bool {
        if !self.has_documents {
            return false;
        }
        let mut differs = false;
        for ((column, old), new) in self.schema.columns.iter().zip(before).zip(after) {
            if old == new {
                continue;
            }
            let (ColumnType::Json, Some(old), Some(new)) = (&column.ty, text(old), text(new))
            else {
                return false;
            };
            if !may_be_equal(old, new) {
                return false;
            }
            differs = true;
        }
        differs
    }
}

/// A document has its types beside its text where the text does not tell them.
fn text<'a>(value: &Option<Value<'a>>) -> Option<&'a str> {
    match *value {
        Some(Value::Text(text) | Value::Json { text, .. }) => Some(text),
        _ => None,
    }
}

/// The two changes that an update is which the server would leave alone.
pub fn written_anew(change: &RowChange) -> Result<Option<[RowChange; 2]>, ApplyError> {
    let mapping = &change.mapping;
    if !mapping.has_documents {
        return Ok(None);
    }
    let (Some(before), Some(after)) = batch::images(change)? else {
        return Ok(None);
    };
    let values = |image| {
        let values = mapping.values(image);
        values.map_err(|error| change.datum_error(error))
    };
    if before.is_partial() || after.is_partial() {
        return Ok(None);
    }
    let (old, new) = (values(before)?, values(after)?);
    if !mapping.leaves_alone(&old, &new) {
        return Ok(None);
    }
    let part = |operation, before, after| RowChange {
        operation,
        before,
        after,
        // The row comes back at once: nothing is to follow it.
        foreign_keys: ForeignKeys::Unchecked,
        ..change.clone()
    };
    if mapping.order == Order::Logged {
        let between = between(mapping, &new).map_err(|error| change.datum_error(error))?;
        return Ok(Some([
            part(
                Operation::Update,
                change.before.clone(),
                Some(between.clone()),
            ),
            part(Operation::Update, Some(between), change.after.clone()),
        ]));
    }
    Ok(Some([
        part(Operation::Delete, change.before.clone(), None),
        part(Operation::Insert, None, change.after.clone()),
    ]))
}

/// The row with each document in an array: equal to none that is like it.
fn between(mapping: &Mapping, row: &[Option<Value<'_>>]) -> Result<RowImage, DatumError> {
    let columns = mapping.schema.columns.iter().zip(row);
    let texts: Vec<Option<String>> = columns
        .map(|(column, value)| {
            let document = text(value).filter(|_| column.ty == ColumnType::Json);
            document.map(|document| format!("[{document}]"))
        })
        .collect();
    let values = row.iter().zip(&texts);
    let values = values.map(|(value, document)| match document {
        Some(document) => Some(Value::Text(document)),
        None => *value,
    });
    mapping.image(&values.collect())
}

/// Are the documents the same but for how their numbers are written, or for types that their texts do not tell? Both are as the server prints
/// them: members in its order, blanks in its places.
fn may_be_equal(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let (mut inside, mut escaped) = (false, false);
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
        if !inside && is_number(x) && is_number(y) {
            let (one, other) = (number(&mut a), number(&mut b));
            if one != other {
                return false;
            }
            continue;
        }
        if x != y {
            return false;
        }
        match (inside, *x) {
            (true, b'\\') if !escaped => escaped = true,
            (_, b'"') if !escaped => inside = !inside,
            _ => escaped = false,
        }
        (a, b) = (&a[1..], &b[1..]);
    }
    a.is_empty() && b.is_empty()
}

/// Takes a number off the front; what is none is none of any other.
fn number(text: &mut &[u8]) -> f64 {
    let part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let end = text.iter().position(|byte| !part(byte));
    let (number, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    let number = std::str::from_utf8(number).ok();
    number.and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_that_differ_in_how_numbers_are_written() {
        for (a, b) in [
            ("1", "1.0"),
            (r#"{"k": 1}"#, r#"{"k": 1e0}"#),
            (r#"[1.50, {"a\"1": -2}]"#, r#"[1.5, {"a\"1": -2.0}]"#),
            ("18446744073709551615", "18446744073709551616.0"),
            // A date, and the same text.
            ("\"2020-01-01\"", "\"2020-01-01\""),
        ] {
            assert!(may_be_equal(a, b) && may_be_equal(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("1", "2"),
            ("1", "10"),
            ("1", "\"1\""),
            (r#"{"1": 1}"#, r#"{"1.0": 1}"#),
            (r#"["\\", 1]"#, r#"["\\1", 1]"#),
            ("[1]", "[1, 1]"),
            ("[]", ""),
        ] {
            assert!(!may_be_equal(a, b) && !may_be_equal(b, a), "{a} {b}");
        }
    }
}
