//! Rows as lines of `LOAD DATA LOCAL`: the server neither parses a statement nor makes an expression of each value.
//!
//! It inserts like INSERT IGNORE: a row that is there already is skipped, and a value that does not fit is changed. Both are counted, in the
//! rows and the warnings of its answer, and whoever sends it takes back what does not count as wanted.
//!
//! A line has the fields of the assigned columns, with a tab between them; `\N` is NULL. Bytes come as hexadecimal digits, and bits as a number,
//! each through a user variable: text has the character set of the file, and they have none. All text is UTF-8 and is converted for its column.

use std::io::Write;

use binferry_schemas::{
    datum::{
        DatumError, Value, Values,
        text::{Date, DateTime, Decimal, Time},
    },
    row::ColumnType,
};

use super::{
    literal::{is_text, put_int},
    statement::Separator,
};
use crate::{change::RowImage, dialect::Dialect, target::mapping::Mapping};

/// May rows of the table be loaded? What makes documents, shapes and vectors of literals has no counterpart in a field.
pub fn is_loadable(mapping: &Mapping) -> bool {
    let fields = |ty: &ColumnType| {
        !matches!(
            ty,
            ColumnType::Json | ColumnType::Geometry { .. } | ColumnType::Vector { .. }
        )
    };
    mapping.dialect == Dialect::MySql
        // A statement of this kind takes no hint that switches them off.
        && !mapping.without_foreign_keys(true)
        && mapping.schema.columns.iter().all(|column| fields(&column.ty))
}

/// How a field gets into its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    AsItIs,
    Digits,
    Number,
}

fn way(ty: &ColumnType) -> Way {
    match ty {
        ColumnType::Binary { .. } | ColumnType::VarBinary { .. } | ColumnType::Blob { .. } => {
            Way::Digits
        }
        ColumnType::Bit { .. } => Way::Number,
        _ => Way::AsItIs,
    }
}

/// The statement; the lines are what the server then asks for.
pub fn put_load(out: &mut Vec<u8>, mapping: &Mapping) {
    out.extend_from_slice(b"LOAD DATA LOCAL INFILE 'rows' INTO TABLE ");
    out.extend_from_slice(mapping.quoted.as_bytes());
    out.extend_from_slice(
        br" CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\t' ENCLOSED BY '' ESCAPED BY '\\' LINES TERMINATED BY '\n' (",
    );
    let columns = || {
        let all = (mapping.columns.iter().zip(&mapping.schema.columns)).enumerate();
        all.filter(|(_, (column, _))| column.assigned)
            .map(|(at, (column, schema))| (at, column, way(&schema.ty)))
    };
    let variable = |out: &mut Vec<u8>, at: usize| {
        out.extend_from_slice(b"@v");
        put_int(out, at as i64);
    };
    let mut separator = Separator::new(b",");
    for (at, column, way) in columns() {
        separator.put(out);
        match way {
            Way::AsItIs => out.extend_from_slice(column.quoted.as_bytes()),
            Way::Digits | Way::Number => variable(out, at),
        }
    }
    out.push(b')');
    let mut set: &[u8] = b" SET ";
    for (at, column, way) in columns() {
        let (before, after): (&[u8], &[u8]) = match way {
            Way::AsItIs => continue,
            Way::Digits => (b"UNHEX(", b")"),
            Way::Number => (b"CAST(", b" AS UNSIGNED)"),
        };
        out.extend_from_slice(std::mem::replace(&mut set, b","));
        out.extend_from_slice(column.quoted.as_bytes());
        out.push(b'=');
        out.extend_from_slice(before);
        variable(out, at);
        out.extend_from_slice(after);
    }
}

/// The row's line. False, and nothing is written: a value of it has no field.
pub fn put_line(out: &mut Vec<u8>, mapping: &Mapping, row: &RowImage) -> Result<bool, DatumError> {
    let mark = out.len();
    let mut separator = Separator::new(b"\t");
    let values = Values::new(&mapping.schema, row.present.as_deref(), &row.datum);
    for (at, value) in values.enumerate() {
        let value = value?;
        if !mapping.columns[at].assigned {
            continue;
        }
        separator.put(out);
        if !value.is_some_and(|value| put_field(out, &mapping.schema.columns[at].ty, &value)) {
            out.truncate(mark);
            return Ok(false);
        }
    }
    out.push(b'\n');
    Ok(true)
}

fn put_field(out: &mut Vec<u8>, ty: &ColumnType, value: &Value<'_>) -> bool {
    match (*value, ty) {
        (Value::Null, _) => out.extend_from_slice(br"\N"),
        // A number without a label is not what its digits are: these would be looked for among the labels.
        (Value::Int(_), ColumnType::Enum { .. } | ColumnType::Set { .. }) => return false,
        // As text, 0 would be the year 2000.
        (Value::Int(year), ColumnType::Year) => display(out, format_args!("{year:04}")),
        (Value::Int(number), _) => put_int(out, number),
        (Value::Unsigned(number), _) => display(out, format_args!("{number}")),
        (Value::Float(number), _) => display(out, format_args!("{:e}", f64::from(number))),
        (Value::Double(number), _) => display(out, format_args!("{number:e}")),
        (Value::Decimal(unscaled), ColumnType::Decimal { scale, .. }) => {
            let Ok(decimal) = Decimal::new(unscaled, *scale) else {
                return false;
            };
            display(out, format_args!("{decimal}"));
        }
        (Value::Date(days), _) => display(out, format_args!("{}", Date(days))),
        (Value::Time(micros), ColumnType::Time { fsp }) => {
            display(out, format_args!("{}", Time { micros, fsp: *fsp }));
        }
        (
            Value::DateTime(micros) | Value::Timestamp(micros),
            ColumnType::DateTime { fsp } | ColumnType::Timestamp { fsp },
        ) => display(out, format_args!("{}", DateTime { micros, fsp: *fsp })),
        (Value::Text(text), _) => put_text(out, text.as_bytes()),
        (Value::Bytes(bytes), ty) if !is_text(ty) => put_digits(out, bytes),
        _ => return false,
    }
    true
}

fn display(out: &mut Vec<u8>, value: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(value);
}

/// The tab, the line's end, the backslash and NUL escaped; any other byte stands for itself.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'\t' | b'\n' | b'\\' | 0))
    {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\t' => br"\t",
            b'\n' => br"\n",
            b'\\' => br"\\",
            _ => br"\0",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn put_digits(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use binferry_schemas::row::Width;

    use super::*;

    fn field(ty: &ColumnType, value: Value<'_>) -> Option<String> {
        let mut out = Vec::new();
        put_field(&mut out, ty, &value).then(|| String::from_utf8(out).expect("UTF-8"))
    }

    fn text(ty: &ColumnType, value: Value<'_>) -> String {
        field(ty, value).expect("a field")
    }

    #[test]
    fn fields() {
        let int = ColumnType::Integer {
            width: Width::Big,
            unsigned: false,
        };
        assert_eq!(text(&int, Value::Int(i64::MIN)), "-9223372036854775808");
        assert_eq!(text(&int, Value::Null), "\\N");
        assert_eq!(text(&ColumnType::Year, Value::Int(0)), "0000");
        let varchar = ColumnType::VarChar {
            bytes: 10,
            collation: 8,
        };
        assert_eq!(
            text(&varchar, Value::Text("\\N\t\n\0'é\r")),
            "\\\\N\\t\\n\\0'é\r"
        );
        assert_eq!(text(&varchar, Value::Text("")), "");
        let blob = ColumnType::Blob { length_bytes: 2 };
        assert_eq!(text(&blob, Value::Bytes(b"\t\xff")), "09ff");
        assert_eq!(
            text(&ColumnType::DateTime { fsp: 3 }, Value::DateTime(-1_000)),
            "1969-12-31 23:59:59.999"
        );
    }

    #[test]
    fn what_has_no_field() {
        let varchar = ColumnType::VarChar {
            bytes: 10,
            collation: 8,
        };
        assert_eq!(field(&varchar, Value::Bytes(b"x")), None);
        let labels = ColumnType::Enum {
            labels: vec!["7".into()],
            collation: 8,
        };
        assert_eq!(field(&labels, Value::Int(0)), None);
        assert_eq!(text(&labels, Value::Text("7")), "7");
        let json = Value::Json {
            text: "1",
            binary: &[],
        };
        assert_eq!(field(&ColumnType::Json, json), None);
    }
}
