//! Values as SQL literals, exact in the session that `connection` sets up: connection character set utf8mb4, time zone UTC, backslash
//! escapes on.

use std::io::Write;

use binferry_schemas::{
    datum::{
        Value,
        text::{Date, DateTime, Decimal, Time},
    },
    row::ColumnType,
};

use super::{json, name::Charset};

/// A value that has no literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoLiteral(pub &'static str);

/// True when the literal may stand among others in a column of a table of values: one type and one character set for all.
pub fn is_plain(ty: &ColumnType, value: &Value<'_>) -> bool {
    match value {
        Value::Json { .. } => false,
        Value::Int(_) => !matches!(ty, ColumnType::Enum { .. } | ColumnType::Set { .. }),
        Value::Bytes(_) => !is_text(ty),
        _ => true,
    }
}

/// True for a value that only a session without strict mode may assign: the 0 of an ENUM.
pub fn is_lax(ty: &ColumnType, value: &Value<'_>) -> bool {
    matches!((ty, value), (ColumnType::Enum { .. }, Value::Int(0)))
}

pub fn is_text(ty: &ColumnType) -> bool {
    matches!(
        ty,
        ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. }
    )
}

/// Writes the literal. `charset` is the target column's, for text that is given as bytes.
pub fn put(
    out: &mut Vec<u8>,
    ty: &ColumnType,
    charset: Option<&Charset>,
    value: &Value<'_>,
) -> Result<(), NoLiteral> {
    match *value {
        Value::Null => out.extend_from_slice(b"NULL"),
        Value::Int(number) => match ty {
            ColumnType::Enum { .. } if number != 0 => {
                return Err(NoLiteral(
                    "an ENUM value whose number is above those of its labels: no server stores it",
                ));
            }
            ColumnType::Set { .. } => {
                return Err(NoLiteral(
                    "a SET value with bits that have no label: no server stores it",
                ));
            }
            _ => put_int(out, number),
        },
        Value::Unsigned(number) => display(out, number),
        // A FLOAT compares as the DOUBLE of the same value; `{:e}` prints the shortest digits that read back as that DOUBLE.
        Value::Float(number) => display(out, format_args!("{:e}", f64::from(number))),
        Value::Double(number) => display(out, format_args!("{number:e}")),
        Value::Decimal(unscaled) => {
            let scale = match ty {
                ColumnType::Decimal { scale, .. } => *scale,
                _ => 0,
            };
            let decimal = Decimal::new(unscaled, scale)
                .map_err(|_| NoLiteral("a DECIMAL that is too long"))?;
            display(out, decimal);
        }
        Value::Date(days) => display(out, format_args!("DATE'{}'", Date(days))),
        Value::Time(micros) => display(out, format_args!("TIME'{}'", Time { micros, fsp: 6 })),
        Value::DateTime(micros) | Value::Timestamp(micros) => {
            display(
                out,
                format_args!("TIMESTAMP'{}'", DateTime { micros, fsp: 6 }),
            );
        }
        Value::Text(text) => {
            match ty {
                ColumnType::Date => out.extend_from_slice(b"DATE"),
                ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } => {
                    out.extend_from_slice(b"TIMESTAMP")
                }
                _ => {}
            }
            put_quoted(out, text.as_bytes());
        }
        Value::Bytes(bytes) => {
            if is_text(ty) {
                let charset = charset.ok_or(NoLiteral("text in an unknown character set"))?;
                out.push(b'_');
                out.extend_from_slice(charset.name().as_bytes());
                out.push(b' ');
                put_hex(out, bytes);
            } else {
                out.extend_from_slice(b"_binary");
                put_quoted(out, bytes);
            }
        }
        Value::Json { binary, .. } => json::put(out, binary)?,
        Value::Vector(bytes) => {
            out.extend_from_slice(b"_binary");
            put_quoted(out, bytes);
        }
    }
    Ok(())
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
}

pub fn put_int(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// `'…'` with the quote, the backslash and NUL escaped; any other byte stands for itself.
pub fn put_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'\'');
    let mut rest = bytes;
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'\'' | b'\\' | 0))
    {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\'' => b"\\'",
            b'\\' => b"\\\\",
            _ => b"\\0",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

/// `x'…'`
pub fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2 + 3);
    out.extend_from_slice(b"x'");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push(b'\'');
}

/// `x'…'`
pub fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    put_hex(&mut out, bytes);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use binferry_schemas::row::Width;

    use super::*;

    fn text(ty: &ColumnType, value: Value<'_>) -> String {
        let mut out = Vec::new();
        put(&mut out, ty, Some(&Charset::new("latin1").unwrap()), &value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn literals() {
        let int = ColumnType::Integer {
            width: Width::Big,
            unsigned: false,
        };
        assert_eq!(text(&int, Value::Int(i64::MIN)), "-9223372036854775808");
        assert_eq!(text(&int, Value::Null), "NULL");
        assert_eq!(
            text(&ColumnType::Float { unsigned: false }, Value::Float(1.1)),
            "1.100000023841858e0"
        );
        assert_eq!(
            text(&ColumnType::Double { unsigned: false }, Value::Double(-0.0)),
            "-0e0"
        );
        let decimal = ColumnType::Decimal {
            precision: 10,
            scale: 2,
            unsigned: false,
        };
        assert_eq!(text(&decimal, Value::Decimal(&[0xfb, 0x1e])), "-12.50");
        assert_eq!(text(&ColumnType::Date, Value::Date(0)), "DATE'1970-01-01'");
        assert_eq!(
            text(&ColumnType::Date, Value::Text("2020-00-00")),
            "DATE'2020-00-00'"
        );
        assert_eq!(
            text(
                &ColumnType::Time { fsp: 0 },
                Value::Time(-3_020_399_000_000)
            ),
            "TIME'-838:59:59.000000'"
        );
        assert_eq!(
            text(&ColumnType::DateTime { fsp: 3 }, Value::DateTime(-1_000)),
            "TIMESTAMP'1969-12-31 23:59:59.999000'"
        );
        let varchar = ColumnType::VarChar {
            bytes: 10,
            collation: 8,
        };
        assert_eq!(text(&varchar, Value::Text("a'\\\0é\n")), "'a\\'\\\\\\0é\n'");
        assert_eq!(
            text(&varchar, Value::Bytes(&[0x81, 0x20])),
            "_latin1 x'8120'"
        );
        assert_eq!(
            text(&ColumnType::Blob { length_bytes: 2 }, Value::Bytes(b"'")),
            "_binary'\\''"
        );
    }
}
