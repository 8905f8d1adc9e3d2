//! Rows of a SELECT, as the binary protocol has them, to the datums that the same rows have out of the binlog.
//!
//! ```text
//! row       bitmap of NULLs from bit 2 | values
//! numbers   as many bytes as their type has, little-endian; FLOAT and DOUBLE as they are
//! dates     length u8: 0, 4, 7 or 11 | year u16 | month | day | hour | minute | second | microseconds u32
//! TIME      length u8: 0, 8 or 12 | negative u8 | days u32 | hour | minute | second | microseconds u32
//! others    length-encoded bytes
//! ```
//!
//! (manual, "Binary Protocol Value".) The session has `character_set_results = NULL`, so that text comes as it is stored, and the time zone
//! UTC. What a type's own form does not say is asked for by an expression: the number of an ENUM and the bits of a SET (their text does not
//! tell the empty label from none), and the types inside a JSON document (`json_selected`).

use binferry_schemas::{
    datum::{self, text::days_from_civil, text::parse_decimal},
    row::{Column, ColumnType, RowSchema, Width},
};

use super::{
    super::{
        cursor::{Cursor, Flaw, Read},
        json_selected,
        temporal::{self, Parts},
        text::Encoding,
    },
    ImageFlaw, Labels, bit, whole,
};
use crate::client::WireColumn;

const SECOND: i64 = 1_000_000;

/// What is selected for a column, `quoted` being its name in SQL.
pub(crate) fn expression(column: &Column, quoted: &str) -> String {
    match &column.ty {
        ColumnType::Enum { .. } | ColumnType::Set { .. } => format!("CAST({quoted} AS UNSIGNED)"),
        ColumnType::Json => format!("{quoted}, {}", json_selected::types(quoted)),
        _ => quoted.to_owned(),
    }
}

/// How many values [`expression`] selects.
fn value_columns(column: &Column) -> usize {
    match column.ty {
        ColumnType::Json => 2,
        _ => 1,
    }
}

/// Made once for a table's definition.
#[derive(Debug)]
pub(crate) struct Selected {
    columns: Box<[Converter]>,
    values: usize,
}

#[derive(Debug)]
enum Converter {
    Int,
    Unsigned,
    Bit,
    Bit64,
    Float,
    Double,
    Decimal(u8),
    Date,
    Time,
    DateTime(u8),
    Timestamp(u8),
    Text(Encoding),
    Bytes,
    Enum(Box<Labels>),
    Set(Box<Labels>),
    Json,
    Vector,
}

/// A value as it came.
enum Wire<'a> {
    Number(u64),
    Float(f32),
    Double(f64),
    Date(Parts),
    /// Microseconds.
    Time(i64),
    Bytes(&'a [u8]),
}

impl Converter {
    fn new(ty: &ColumnType) -> Self {
        match ty {
            ColumnType::Integer {
                width: Width::Big,
                unsigned: true,
            } => Self::Unsigned,
            ColumnType::Integer { .. } | ColumnType::Year => Self::Int,
            ColumnType::Bit { bits: 64.. } => Self::Bit64,
            ColumnType::Bit { .. } => Self::Bit,
            ColumnType::Float { .. } => Self::Float,
            ColumnType::Double { .. } => Self::Double,
            ColumnType::Decimal { scale, .. } => Self::Decimal(*scale),
            ColumnType::Date => Self::Date,
            ColumnType::Time { .. } => Self::Time,
            ColumnType::DateTime { fsp } => Self::DateTime(*fsp),
            ColumnType::Timestamp { fsp } => Self::Timestamp(*fsp),
            ColumnType::Char { collation, .. }
            | ColumnType::VarChar { collation, .. }
            | ColumnType::Text { collation, .. } => Self::Text(Encoding::of(*collation)),
            ColumnType::Binary { .. }
            | ColumnType::VarBinary { .. }
            | ColumnType::Blob { .. }
            | ColumnType::Geometry { .. } => Self::Bytes,
            ColumnType::Enum { labels, .. } => Self::Enum(Labels::of_enum(labels)),
            ColumnType::Set { labels, .. } => Self::Set(Labels::of_set(labels)),
            ColumnType::Json => Self::Json,
            ColumnType::Vector { .. } => Self::Vector,
        }
    }

    fn put(&self, out: &mut Vec<u8>, wire: Wire<'_>) -> Read<()> {
        match (self, wire) {
            (Self::Int, Wire::Number(number)) => datum::put_int(out, number as i64),
            (Self::Unsigned, Wire::Number(number)) => datum::put_unsigned(out, number),
            (Self::Bit, Wire::Bytes(bytes)) => {
                datum::put_int(out, Cursor::new(bytes).big_endian(bytes.len())? as i64);
            }
            (Self::Bit64, Wire::Bytes(bytes)) => {
                datum::put_unsigned(out, Cursor::new(bytes).big_endian(bytes.len())?);
            }
            (Self::Float, Wire::Float(number)) => datum::put_float(out, number),
            (Self::Double, Wire::Double(number)) => datum::put_double(out, number),
            (Self::Decimal(scale), Wire::Bytes(text)) => {
                let text = std::str::from_utf8(text).ok();
                let unscaled = text.and_then(|text| parse_decimal(text, *scale));
                datum::put_decimal(out, &unscaled.ok_or(Flaw("is a decimal that is none"))?);
            }
            (Self::Date, Wire::Date(parts)) => {
                temporal::put_day(out, parts.year, parts.month, parts.day);
            }
            (Self::Time, Wire::Time(micros)) => datum::put_time(out, micros),
            (Self::DateTime(fsp), Wire::Date(parts)) => temporal::put_parts(out, &parts, *fsp)?,
            (Self::Timestamp(fsp), Wire::Date(parts)) => {
                match days_from_civil(parts.year as i32, parts.month, parts.day) {
                    Some(days) => {
                        let seconds = i64::from(parts.hour) * 3600
                            + i64::from(parts.minute) * 60
                            + i64::from(parts.second);
                        let micros = (i64::from(days) * 86_400 + seconds) * SECOND;
                        datum::put_timestamp(out, micros + i64::from(parts.micros));
                    }
                    None => temporal::put_parts(out, &parts, *fsp)?,
                }
            }
            (Self::Text(encoding), Wire::Bytes(bytes)) => encoding.put(out, bytes),
            (Self::Bytes, Wire::Bytes(bytes)) => datum::put_bytes(out, bytes),
            (Self::Enum(labels), Wire::Number(number)) => labels.put_enum(out, number)?,
            (Self::Set(labels), Wire::Number(bits)) => labels.put_set(out, bits)?,
            (Self::Vector, Wire::Bytes(floats)) if floats.len() % 4 == 0 => {
                datum::put_vector(out, floats);
            }
            _ => return Err(Flaw("came in another form than its type has")),
        }
        Ok(())
    }
}

impl Selected {
    pub(crate) fn new(schema: &RowSchema) -> Self {
        let columns = schema.columns.iter();
        Self {
            columns: columns.clone().map(|c| Converter::new(&c.ty)).collect(),
            values: columns.map(value_columns).sum(),
        }
    }

    /// Appends the datum of a row. After an error the tail of `out` is of no use.
    pub(crate) fn row(
        &self,
        wire: &[WireColumn],
        row: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ImageFlaw> {
        if wire.len() != self.values {
            return Err(whole(Flaw("came with another number of columns")));
        }
        let mut cursor = Cursor::new(row);
        // Two bits before the first column's.
        let nulls = cursor.take((wire.len() + 2).div_ceil(8)).map_err(whole)?;
        let mut place = 0;
        for (index, converter) in self.columns.iter().enumerate() {
            let mut put = |out: &mut Vec<u8>, cursor: &mut Cursor<'_>| -> Read<()> {
                let value = next(wire, nulls, &mut place, cursor)?;
                if let Converter::Json = converter {
                    let types = next(wire, nulls, &mut place, cursor)?;
                    return put_json(out, value, types);
                }
                match value {
                    None => datum::put_null(out),
                    Some(value) => converter.put(out, value)?,
                }
                Ok(())
            };
            put(out, &mut cursor).map_err(|flaw| ImageFlaw::column(index, flaw))?;
        }
        match cursor.is_empty() {
            true => Ok(()),
            false => Err(whole(Flaw("has bytes left over"))),
        }
    }
}

/// The next value; `None`: NULL.
fn next<'a>(
    wire: &[WireColumn],
    nulls: &[u8],
    place: &mut usize,
    cursor: &mut Cursor<'a>,
) -> Read<Option<Wire<'a>>> {
    let at = *place;
    *place += 1;
    match bit(nulls, at + 2) {
        true => Ok(None),
        false => take(wire[at], cursor).map(Some),
    }
}

fn put_json(out: &mut Vec<u8>, text: Option<Wire<'_>>, types: Option<Wire<'_>>) -> Read<()> {
    let (text, types) = match (text, types) {
        (None, _) => {
            datum::put_null(out);
            return Ok(());
        }
        (Some(Wire::Bytes(text)), Some(Wire::Bytes(types))) => (text, types),
        (Some(_), None) => {
            return Err(Flaw(
                "is a JSON document with more values than the server can list (max_allowed_packet on the source)",
            ));
        }
        _ => return Err(Flaw("came in another form than its type has")),
    };
    json_selected::put(out, text, types)
}

fn take<'a>(column: WireColumn, cursor: &mut Cursor<'a>) -> Read<Wire<'a>> {
    let signed = |value: i64| Wire::Number(value as u64);
    Ok(match (column.code, column.unsigned) {
        (1, true) => Wire::Number(cursor.u8()?.into()),
        (1, false) => signed((cursor.u8()? as i8).into()),
        (2, true) | (13, _) => Wire::Number(cursor.u16()?.into()),
        (2, false) => signed((cursor.u16()? as i16).into()),
        (3 | 9, true) => Wire::Number(cursor.u32()?.into()),
        (3 | 9, false) => signed((cursor.u32()? as i32).into()),
        (8, _) => Wire::Number(cursor.u64()?),
        (4, _) => Wire::Float(f32::from_le_bytes(cursor.array()?)),
        (5, _) => Wire::Double(f64::from_le_bytes(cursor.array()?)),
        (7 | 10 | 12, _) => Wire::Date(take_date(cursor)?),
        (11, _) => Wire::Time(take_time(cursor)?),
        _ => Wire::Bytes(cursor.length_encoded_bytes()?),
    })
}

fn take_date(cursor: &mut Cursor<'_>) -> Read<Parts> {
    let mut parts = Parts::default();
    let length = cursor.u8()?;
    if !matches!(length, 0 | 4 | 7 | 11) {
        return Err(Flaw("is a date of a length that none has"));
    }
    if length >= 4 {
        parts.year = cursor.u16()?.into();
        parts.month = cursor.u8()?;
        parts.day = cursor.u8()?;
    }
    if length >= 7 {
        parts.hour = cursor.u8()?;
        parts.minute = cursor.u8()?;
        parts.second = cursor.u8()?;
    }
    if length >= 11 {
        parts.micros = cursor.u32()?;
    }
    Ok(parts)
}

fn take_time(cursor: &mut Cursor<'_>) -> Read<i64> {
    let length = cursor.u8()?;
    if !matches!(length, 0 | 8 | 12) {
        return Err(Flaw("is a time of a length that none has"));
    }
    if length == 0 {
        return Ok(0);
    }
    let negative = cursor.u8()? != 0;
    let days = i64::from(cursor.u32()?);
    let mut clock = || cursor.u8().map(i64::from);
    let seconds = days * 86_400 + clock()? * 3600 + clock()? * 60 + clock()?;
    let mut micros = seconds * SECOND;
    if length == 12 {
        micros += i64::from(cursor.u32()?);
    }
    Ok(if negative { -micros } else { micros })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of one document: NULL bits, then what is not NULL.
    fn document(text: Option<&str>, types: Option<&str>) -> Result<Vec<u8>, String> {
        let schema = RowSchema {
            database: "d".to_owned(),
            table: "t".to_owned(),
            columns: vec![Column {
                name: "j".to_owned(),
                ty: ColumnType::Json,
                nullable: true,
                visible: true,
                key: None,
            }],
        };
        let mut row = vec![u8::from(text.is_none()) << 2 | u8::from(types.is_none()) << 3];
        for value in [text, types].into_iter().flatten() {
            row.push(value.len() as u8);
            row.extend_from_slice(value.as_bytes());
        }
        let wire = WireColumn {
            code: 252,
            unsigned: false,
        };
        let mut out = Vec::new();
        match Selected::new(&schema).row(&[wire, wire], &row, &mut out) {
            Ok(()) => Ok(out),
            Err(flaw) => Err(flaw.describe(&schema)),
        }
    }

    #[test]
    fn documents_come_with_their_types() {
        assert_eq!(document(None, None), Ok(vec![0]));
        // SQL's NULL is no document; of JSON's null the type is known.
        assert_eq!(document(None, Some(";0;0")), Ok(vec![0]));
        let null = document(Some("null"), Some("NULL;0;0"));
        assert_eq!(null, Ok(b"\x02\x08null".to_vec()));
        let decimal = document(Some("5.5"), Some("DECIMAL;0;0"));
        assert_eq!(
            decimal,
            Ok(b"\x04\x065.5\x0e\x0f\xf6\x04\x02\x01\x85\x05".to_vec())
        );
        // The list was longer than the server's packets.
        let long = document(Some("[1]"), None).unwrap_err();
        assert!(
            long.contains("column j") && long.contains("max_allowed_packet"),
            "{long}"
        );
    }
}
