//! Writing a datum's fields, in the order of the columns. These run once for each column of each row: they allocate nothing beyond the
//! growth of `out`, and can't fail.
//!
//! ```text
//! 00            null
//! 02 value      branch 1
//! 04 value      branch 2
//! ```

use super::{DatumError, Value};
use crate::{
    avro,
    row::{ColumnType, Encoding},
};

const NULL: u8 = 0;
const FIRST: u8 = 2;
const SECOND: u8 = 4;

/// NULL, and a column that the image leaves out.
#[inline]
pub fn put_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// INTEGER except BIGINT UNSIGNED, BIT(1..63), YEAR.
#[inline]
pub fn put_int(out: &mut Vec<u8>, value: i64) {
    out.push(FIRST);
    avro::put_long(out, value);
}

/// BIGINT UNSIGNED, BIT(64): as a decimal of the fewest bytes.
#[inline]
pub fn put_unsigned(out: &mut Vec<u8>, value: u64) {
    let bytes = u128::from(value).to_be_bytes();
    // One bit more than the number needs, for the sign.
    let length = (64 - value.leading_zeros() as usize) / 8 + 1;
    out.push(FIRST);
    avro::put_bytes(out, &bytes[bytes.len() - length..]);
}

#[inline]
pub fn put_float(out: &mut Vec<u8>, value: f32) {
    out.push(FIRST);
    avro::put_float(out, value);
}

#[inline]
pub fn put_double(out: &mut Vec<u8>, value: f64) {
    out.push(FIRST);
    avro::put_double(out, value);
}

/// DECIMAL: the unscaled value, big-endian two's complement, at least one byte.
#[inline]
pub fn put_decimal(out: &mut Vec<u8>, unscaled: &[u8]) {
    put_bytes(out, unscaled);
}

/// Days since 1970-01-01.
#[inline]
pub fn put_date(out: &mut Vec<u8>, days: i32) {
    put_int(out, i64::from(days));
}

/// TIME: microseconds, signed.
#[inline]
pub fn put_time(out: &mut Vec<u8>, micros: i64) {
    put_int(out, micros);
}

/// DATETIME: microseconds since 1970-01-01 00:00:00, no time zone.
#[inline]
pub fn put_datetime(out: &mut Vec<u8>, micros: i64) {
    put_int(out, micros);
}

/// TIMESTAMP: microseconds since the epoch, UTC.
#[inline]
pub fn put_timestamp(out: &mut Vec<u8>, micros: i64) {
    put_int(out, micros);
}

/// A zero or partial DATE, DATETIME or TIMESTAMP, as MySQL prints it.
#[inline]
pub fn put_zero_date(out: &mut Vec<u8>, printed: &str) {
    out.push(SECOND);
    avro::put_string(out, printed);
}

/// CHAR, VARCHAR, TEXT in UTF-8; the label of an ENUM, the labels of a SET with commas between.
#[inline]
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(FIRST);
    avro::put_string(out, text);
}

/// CHAR, VARCHAR, TEXT that does not convert to UTF-8 and back, in the column's character set.
#[inline]
pub fn put_text_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(SECOND);
    avro::put_bytes(out, bytes);
}

/// BINARY, VARBINARY, BLOB, GEOMETRY.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(FIRST);
    avro::put_bytes(out, bytes);
}

/// The number of an ENUM value, or the bits of a SET value, for which there is no label.
#[inline]
pub fn put_number(out: &mut Vec<u8>, number: i64) {
    out.push(SECOND);
    avro::put_long(out, number);
}

/// JSON whose text carries it exactly.
#[inline]
pub fn put_json(out: &mut Vec<u8>, text: &str) {
    put_text(out, text);
}

/// JSON whose text does not: the text, and MySQL's binary form (type byte first).
#[inline]
pub fn put_json_exact(out: &mut Vec<u8>, text: &str, binary: &[u8]) {
    out.push(SECOND);
    avro::put_string(out, text);
    avro::put_bytes(out, binary);
}

/// VECTOR: its floats, little-endian, 4 bytes each; bytes beyond the last whole float would be lost, so there must be none.
#[inline]
pub fn put_vector(out: &mut Vec<u8>, floats: &[u8]) {
    debug_assert!(floats.len().is_multiple_of(4));
    let count = floats.len() / 4;
    out.push(FIRST);
    if count > 0 {
        avro::put_long(out, count as i64);
        out.extend_from_slice(&floats[..count * 4]);
    }
    out.push(0);
}

/// Writes `value` as the column's type has it; for tests and tools, where the type is only known at run time.
pub fn put(out: &mut Vec<u8>, ty: &ColumnType, value: &Value<'_>) -> Result<(), DatumError> {
    match (ty.encoding(), *value) {
        (_, Value::Null) => put_null(out),
        (Encoding::Int, Value::Int(number)) if i32::try_from(number).is_ok() => {
            put_int(out, number);
        }
        (Encoding::Long, Value::Int(number)) => put_int(out, number),
        (Encoding::Enum, Value::Int(number)) if i32::try_from(number).is_ok() => {
            put_number(out, number);
        }
        (Encoding::Set, Value::Int(number)) => put_number(out, number),
        (Encoding::Unsigned, Value::Unsigned(number)) => put_unsigned(out, number),
        (Encoding::Float, Value::Float(number)) => put_float(out, number),
        (Encoding::Double, Value::Double(number)) => put_double(out, number),
        (Encoding::Decimal, Value::Decimal(unscaled))
            if (1..=super::DECIMAL_MAX).contains(&unscaled.len()) =>
        {
            put_decimal(out, unscaled);
        }
        (Encoding::Date, Value::Date(days)) => put_date(out, days),
        (Encoding::Time, Value::Time(micros)) => put_time(out, micros),
        (Encoding::DateTime, Value::DateTime(micros)) => put_datetime(out, micros),
        (Encoding::Timestamp, Value::Timestamp(micros)) => put_timestamp(out, micros),
        (Encoding::Date | Encoding::DateTime | Encoding::Timestamp, Value::Text(printed)) => {
            put_zero_date(out, printed);
        }
        (Encoding::Text | Encoding::Enum | Encoding::Set | Encoding::Json, Value::Text(text)) => {
            put_text(out, text);
        }
        (Encoding::Text, Value::Bytes(bytes)) => put_text_bytes(out, bytes),
        (Encoding::Bytes, Value::Bytes(bytes)) => put_bytes(out, bytes),
        (Encoding::Json, Value::Json { text, binary }) => put_json_exact(out, text, binary),
        (Encoding::Vector, Value::Vector(floats)) if floats.len().is_multiple_of(4) => {
            put_vector(out, floats);
        }
        (encoding, _) => return Err(DatumError::Type { encoding }),
    }
    Ok(())
}

/// At most so many bytes are written for a value, whatever its column's type; exact for all but numbers.
pub fn size(value: &Value<'_>) -> usize {
    1 + match value {
        Value::Null => 0,
        Value::Int(number) => avro::long_len(*number),
        Value::Unsigned(_) => 10,
        Value::Float(_) => 4,
        Value::Double(_) => 8,
        Value::Date(days) => avro::long_len(i64::from(*days)),
        Value::Time(micros) | Value::DateTime(micros) | Value::Timestamp(micros) => {
            avro::long_len(*micros)
        }
        Value::Text(text) => avro::bytes_len(text.len()),
        Value::Decimal(bytes) | Value::Bytes(bytes) => avro::bytes_len(bytes.len()),
        Value::Json { text, binary } => avro::bytes_len(text.len()) + avro::bytes_len(binary.len()),
        Value::Vector([]) => 1,
        Value::Vector(floats) => avro::long_len((floats.len() / 4) as i64) + floats.len() + 1,
    }
}
