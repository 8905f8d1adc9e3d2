//! Row datums: one row image as an Avro datum of its row schema, written field by field and read back as values.
//!
//! Branch numbers of each column's union (0 is always null) are fixed by `docs/format`:
//!
//! | type | branch 1 | branch 2 |
//! |---|---|---|
//! | INTEGER except BIGINT UNSIGNED; BIT(1..63); YEAR | int or long | |
//! | BIGINT UNSIGNED, BIT(64) | bytes decimal(20,0) | |
//! | FLOAT; DOUBLE; DECIMAL | float; double; bytes decimal | |
//! | DATE; DATETIME; TIMESTAMP | int date; long local-timestamp-micros; long timestamp-micros | string |
//! | TIME | long, microseconds, signed | |
//! | CHAR, VARCHAR, TEXT | string | bytes in the column's character set |
//! | BINARY, VARBINARY, BLOB, GEOMETRY | bytes | |
//! | ENUM; SET | string | int; long (its 64 bits): the number without a label |
//! | JSON | string | record {text: string, binary: bytes}: text cannot carry the document exactly |
//! | VECTOR | array of float, in one block | |
//!
//! A column that an image leaves out stands in the datum as null, so that every datum is one of its whole schema; the image's bitmap
//! tells the two apart.

pub mod json;
pub mod text;
mod values;
mod write;

pub use self::{
    values::{DatumError, Values},
    write::{
        put, put_bytes, put_date, put_datetime, put_decimal, put_double, put_float, put_int,
        put_json, put_json_exact, put_null, put_number, put_text, put_text_bytes, put_time,
        put_timestamp, put_unsigned, put_vector, put_zero_date, size,
    },
};

/// One column's value, borrowed from a datum. Equal values are stored in the same way: 0.0 and -0.0 differ.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Null,
    /// INTEGER except BIGINT UNSIGNED, BIT(1..63), YEAR; the number of an ENUM or SET value that has no label.
    Int(i64),
    /// BIGINT UNSIGNED, BIT(64).
    Unsigned(u64),
    Float(f32),
    Double(f64),
    /// DECIMAL: the unscaled value, big-endian two's complement.
    Decimal(&'a [u8]),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds, signed.
    Time(i64),
    /// Microseconds since 1970-01-01 00:00:00, no time zone.
    DateTime(i64),
    /// Microseconds since the epoch, UTC.
    Timestamp(i64),
    /// Text in UTF-8, an ENUM or SET label, JSON text; a zero or partial date as MySQL prints it.
    Text(&'a str),
    /// Binary strings and geometry; text that does not convert, in the column's own character set.
    Bytes(&'a [u8]),
    /// JSON whose text does not carry it exactly: the text, and MySQL's binary form (type byte first).
    Json {
        text: &'a str,
        binary: &'a [u8],
    },
    /// VECTOR: its floats, little-endian, 4 bytes each.
    Vector(&'a [u8]),
}

impl PartialEq for Value<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Self::Null, Self::Null) => true,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Unsigned(a), Self::Unsigned(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Date(a), Self::Date(b)) => a == b,
            (Self::Time(a), Self::Time(b))
            | (Self::DateTime(a), Self::DateTime(b))
            | (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Decimal(a), Self::Decimal(b))
            | (Self::Bytes(a), Self::Bytes(b))
            | (Self::Vector(a), Self::Vector(b)) => a == b,
            (
                Self::Json { text, binary },
                Self::Json {
                    text: other_text,
                    binary: other_binary,
                },
            ) => binary == other_binary && text == other_text,
            _ => false,
        }
    }
}

impl Eq for Value<'_> {}

/// The longest unscaled DECIMAL that is read: MySQL's 65 digits take 28 bytes.
pub const DECIMAL_MAX: usize = 32;
