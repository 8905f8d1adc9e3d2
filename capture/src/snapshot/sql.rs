//! The statements of a copy. Names and values reach SQL only here: names in backquotes, values as numbers, or as hexadecimal digits.

use binferry_schemas::{
    datum::{
        Value, Values,
        text::{Decimal, civil_from_days},
    },
    row::{Column, ColumnType, RowSchema, charset},
};

use super::{
    definition::{Definition, Key},
    dialect::Dialect,
};
use crate::decode::expression;

pub(super) const SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Text for the server, whatever its sql_mode.
pub(super) fn string(text: &str) -> String {
    format!("_utf8mb4 {}", hex(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(3 + 2 * bytes.len());
    out.push_str("x'");
    for byte in bytes {
        out.push_str(&format!("{byte:02x}"));
    }
    out.push('\'');
    out
}

/// All rows of the table, which is called `t`.
fn select_all(definition: &Definition) -> String {
    let schema = &definition.schema;
    let columns: Vec<String> = schema
        .columns
        .iter()
        .map(|column| value(definition, column, &format!("t.{}", quoted(&column.name))))
        .collect();
    format!(
        "SELECT {} FROM {}.{} AS t",
        columns.join(", "),
        quoted(&schema.database),
        quoted(&schema.table)
    )
}

/// One of the rows that meet a condition.
pub(super) fn select_one(definition: &Definition, condition: &str) -> String {
    format!("{} WHERE {condition} LIMIT 1", select_all(definition))
}

/// Reads rows behind a key, in the key's order: at most `limit`. Without a key: all, in any order.
pub(super) fn select(
    definition: &Definition,
    lower: Option<&[Value<'_>]>,
    limit: u64,
) -> Option<String> {
    let schema = &definition.schema;
    let mut sql = select_all(definition);
    if definition.key.columns.is_empty() {
        return Some(sql);
    }
    sql.push_str(&format!(" FORCE INDEX ({})", quoted(&definition.key.name)));
    if let Some(lower) = lower {
        sql.push_str(" WHERE ");
        sql.push_str(&behind(schema, &definition.key, lower)?);
    }
    let order: Vec<String> = definition
        .key
        .columns
        .iter()
        .map(|&at| format!("t.{}", quoted(&schema.columns[at].name)))
        .collect();
    sql.push_str(&format!(" ORDER BY {} LIMIT {limit}", order.join(", ")));
    Some(sql)
}

/// What is selected for a column. To MariaDB's binlog a UUID or an address is a BINARY, and so it is to be here.
fn value(definition: &Definition, column: &Column, name: &str) -> String {
    match (definition.dialect, &column.ty) {
        (Dialect::MariaDb { .. }, ColumnType::Binary { bytes }) => {
            format!("CAST({name} AS BINARY({bytes}))")
        }
        _ => expression(column, name),
    }
}

/// `a >= x AND (a > x OR a = x AND (b > y))`: what the range optimizer understands, which row comparisons are not.
fn behind(schema: &RowSchema, key: &Key, values: &[Value<'_>]) -> Option<String> {
    let mut condition = String::new();
    for (&at, value) in key.columns.iter().zip(values).rev() {
        let column = &schema.columns[at];
        let name = format!("t.{}", quoted(&column.name));
        let literal = literal(column, value)?;
        condition = match condition.is_empty() {
            true => format!("{name} > {literal}"),
            false => format!(
                "{name} >= {literal} AND ({name} > {literal} OR {name} = {literal} AND ({condition}))"
            ),
        };
    }
    (!condition.is_empty() && key.columns.len() == values.len()).then_some(condition)
}

/// A key's value as it compares with its column; `None` for what no key holds.
fn literal(column: &Column, value: &Value<'_>) -> Option<String> {
    Some(match (&column.ty, *value) {
        // Compared by its number, as it is ordered.
        (ColumnType::Enum { labels, .. }, Value::Text(label)) => {
            (labels.iter().position(|l| l == label)? + 1).to_string()
        }
        (ColumnType::Set { labels, .. }, Value::Text(text)) => {
            let mut bits = 0_u64;
            for label in text.split(',').filter(|label| !label.is_empty()) {
                bits |= 1 << labels.iter().position(|l| l == label)?;
            }
            bits.to_string()
        }
        (_, Value::Int(number)) => number.to_string(),
        (_, Value::Unsigned(number)) => number.to_string(),
        (_, Value::Double(number)) => format!("{number:e}"),
        (ColumnType::Decimal { scale, .. }, Value::Decimal(unscaled)) => {
            Decimal::new(unscaled, *scale).ok()?.to_string()
        }
        (_, Value::Date(days)) => format!("DATE'{}'", day(i64::from(days))),
        (_, Value::DateTime(micros) | Value::Timestamp(micros)) => {
            let (days, rest) = (
                micros.div_euclid(86_400_000_000),
                micros.rem_euclid(86_400_000_000),
            );
            format!("TIMESTAMP'{} {}'", day(days), clock(rest))
        }
        (_, Value::Time(micros)) => {
            let sign = if micros < 0 { "-" } else { "" };
            format!("TIME'{sign}{}'", clock(micros.abs()))
        }
        // A zero date is what the server prints.
        (
            ColumnType::Date | ColumnType::DateTime { .. } | ColumnType::Timestamp { .. },
            Value::Text(text),
        ) => string(text),
        (_, Value::Text(text)) => string(text),
        (ty, Value::Bytes(bytes)) => match ty.collation() {
            None => format!("_binary {}", hex(bytes)),
            // Text that has no form in UTF-8.
            Some(collation) => format!("_{} {}", charset(collation)?.name, hex(bytes)),
        },
        _ => return None,
    })
}

fn day(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(micros: i64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    format!(
        "{:02}:{:02}:{:02}.{micros:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The values of a key's datum.
pub(super) fn key_values<'a>(key_schema: &'a RowSchema, datum: &'a [u8]) -> Option<Vec<Value<'a>>> {
    Values::new(key_schema, None, datum)
        .map(|value| value.ok().flatten())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, ty: ColumnType) -> Column {
        Column {
            name: name.to_owned(),
            ty,
            nullable: false,
            visible: true,
            key: None,
        }
    }

    #[test]
    fn names_and_values_are_quoted() {
        assert_eq!(quoted("a`b"), "`a``b`");
        let schema = RowSchema {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns: vec![
                column("a", ColumnType::VarBinary { bytes: 9 }),
                column("b`", ColumnType::Date),
            ],
        };
        let key = Key {
            name: "PRIMARY".to_owned(),
            columns: vec![0, 1],
        };
        assert_eq!(
            behind(&schema, &key, &[Value::Bytes(b"'\\"), Value::Date(0)]).unwrap(),
            "t.`a` >= _binary x'275c' AND (t.`a` > _binary x'275c' OR t.`a` = _binary x'275c' AND (t.`b``` > DATE'1970-01-01'))"
        );
        assert_eq!(behind(&schema, &key, &[Value::Date(0)]), None);
    }

    #[test]
    fn labels_compare_by_their_numbers() {
        let labels = vec!["x".to_owned(), "y".to_owned()];
        let ty = ColumnType::Enum {
            labels: labels.clone(),
            collation: 255,
        };
        assert_eq!(
            literal(&column("e", ty.clone()), &Value::Text("y")).unwrap(),
            "2"
        );
        assert_eq!(literal(&column("e", ty), &Value::Int(0)).unwrap(), "0");
        let ty = ColumnType::Set {
            labels,
            collation: 255,
        };
        assert_eq!(literal(&column("s", ty), &Value::Text("x,y")).unwrap(), "3");
    }
}
