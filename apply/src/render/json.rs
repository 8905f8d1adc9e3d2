//! An SQL expression that builds a JSON document from its binary form, types included: text has no way to say that a value inside a
//! document is a DECIMAL, a date or a binary string.
//!
//! The binary form (MySQL's `sql-common/json_binary.h`), all numbers little-endian; `N` is 2 bytes in small documents, 4 in large ones:
//!
//! ```text
//! document   type u8 | value
//! object     count N | size N | count x (key offset N, key length u16) | count x (type u8, offset or value N) | keys | values
//! array      count N | size N | count x (type u8, offset or value N) | values
//! string     length, 7 bits a byte, least first | UTF-8
//! opaque     field type u8 | length as above | bytes
//! ```
//! Offsets count from the object's or array's `count`.

use std::io::Write;

use super::literal::{NoLiteral, put_hex, put_int, put_quoted};

const BROKEN: NoLiteral = NoLiteral("a JSON document whose binary form cannot be read");
/// The server allows 100 levels.
const DEEPEST: usize = 101;

pub fn put(out: &mut Vec<u8>, binary: &[u8]) -> Result<(), NoLiteral> {
    let (kind, value) = binary.split_first().ok_or(BROKEN)?;
    if *kind <= 0x03 {
        return put_value(out, *kind, value, 0);
    }
    // A column takes documents only: a scalar becomes one in an array, and is taken out of it again.
    out.extend_from_slice(b"JSON_EXTRACT(JSON_ARRAY(");
    put_value(out, *kind, value, 0)?;
    out.extend_from_slice(b"),'$[0]')");
    Ok(())
}

fn put_value(out: &mut Vec<u8>, kind: u8, value: &[u8], depth: usize) -> Result<(), NoLiteral> {
    if depth > DEEPEST {
        return Err(BROKEN);
    }
    match kind {
        0x00 | 0x01 => put_object(out, value, kind == 0x01, depth),
        0x02 | 0x03 => put_array(out, value, kind == 0x03, depth),
        0x04 => put_literal(out, *value.first().ok_or(BROKEN)?),
        0x05 => {
            put_int(out, i64::from(i16::from_le_bytes(array(value)?)));
            Ok(())
        }
        0x06 => put_unsigned(out, u64::from(u16::from_le_bytes(array(value)?))),
        0x07 => {
            put_int(out, i64::from(i32::from_le_bytes(array(value)?)));
            Ok(())
        }
        0x08 => put_unsigned(out, u64::from(u32::from_le_bytes(array(value)?))),
        0x09 => {
            put_int(out, i64::from_le_bytes(array(value)?));
            Ok(())
        }
        0x0a => put_unsigned(out, u64::from_le_bytes(array(value)?)),
        0x0b => {
            let number = f64::from_le_bytes(array(value)?);
            write!(out, "{number:e}").map_err(|_| BROKEN)
        }
        0x0c => {
            put_quoted(out, counted(value)?);
            Ok(())
        }
        0x0f => {
            let (field, rest) = value.split_first().ok_or(BROKEN)?;
            put_opaque(out, *field, counted(rest)?)
        }
        _ => Err(BROKEN),
    }
}

fn put_literal(out: &mut Vec<u8>, literal: u8) -> Result<(), NoLiteral> {
    out.extend_from_slice(match literal {
        0 => b"CAST('null' AS JSON)",
        1 => b"TRUE",
        2 => b"FALSE",
        _ => return Err(BROKEN),
    });
    Ok(())
}

fn put_unsigned(out: &mut Vec<u8>, number: u64) -> Result<(), NoLiteral> {
    write!(out, "CAST({number} AS UNSIGNED)").map_err(|_| BROKEN)
}

fn put_object(out: &mut Vec<u8>, value: &[u8], large: bool, depth: usize) -> Result<(), NoLiteral> {
    let width = if large { 4 } else { 2 };
    let count = number(value, 0, large)?;
    let entries = 2 * width;
    let values = entries + count * (width + 2);
    out.extend_from_slice(b"JSON_OBJECT(");
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        let entry = entries + at * (width + 2);
        let offset = number(value, entry, large)?;
        let length = number(value, entry + width, false)?;
        let end = offset.checked_add(length).ok_or(BROKEN)?;
        put_quoted(out, value.get(offset..end).ok_or(BROKEN)?);
        out.push(b',');
        put_entry(out, value, values + at * (width + 1), large, depth)?;
    }
    out.push(b')');
    Ok(())
}

fn put_array(out: &mut Vec<u8>, value: &[u8], large: bool, depth: usize) -> Result<(), NoLiteral> {
    let width = if large { 4 } else { 2 };
    let count = number(value, 0, large)?;
    out.extend_from_slice(b"JSON_ARRAY(");
    for at in 0..count {
        if at > 0 {
            out.push(b',');
        }
        put_entry(out, value, 2 * width + at * (width + 1), large, depth)?;
    }
    out.push(b')');
    Ok(())
}

/// A value entry: small values stand in it, others at the offset it holds.
fn put_entry(
    out: &mut Vec<u8>,
    value: &[u8],
    at: usize,
    large: bool,
    depth: usize,
) -> Result<(), NoLiteral> {
    let kind = *value.get(at).ok_or(BROKEN)?;
    let inlined = matches!(kind, 0x04..=0x06) || large && matches!(kind, 0x07 | 0x08);
    let start = if inlined {
        at + 1
    } else {
        number(value, at + 1, large)?
    };
    put_value(out, kind, value.get(start..).ok_or(BROKEN)?, depth + 1)
}

fn put_opaque(out: &mut Vec<u8>, field: u8, bytes: &[u8]) -> Result<(), NoLiteral> {
    match field {
        246 => put_decimal(out, bytes),
        10 => put_date_time(out, bytes, "DATE", false),
        12 => put_date_time(out, bytes, "DATETIME(6)", true),
        11 => put_time(out, bytes),
        // No expression has these types, but a column of JSON_TABLE may have any.
        7 => put_column(out, "TIMESTAMP(6)", |out| {
            put_date_time(out, bytes, "DATETIME(6)", true)
        }),
        15 => put_binary(out, &format!("VARBINARY({})", bytes.len()), bytes),
        16 => {
            let bits = bytes.len() * 8;
            let number = bytes
                .iter()
                .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
            if !(8..=64).contains(&bits) {
                return Err(BROKEN);
            }
            put_column(out, &format!("BIT({bits})"), |out| {
                put_unsigned(out, number)
            })
        }
        // LONGBLOB: the type of GROUP_CONCAT over binary strings; the session has no limit on its length.
        251 => {
            out.extend_from_slice(b"(SELECT GROUP_CONCAT(");
            put_hex(out, bytes);
            out.extend_from_slice(b"))");
            Ok(())
        }
        // MEDIUMBLOB: the type of a binary string that is longer than a VARBINARY can be.
        250 if bytes.len() > 65_535 => {
            out.extend_from_slice(b"CAST(");
            put_hex(out, bytes);
            out.extend_from_slice(b" AS BINARY)");
            Ok(())
        }
        249 => put_blob(out, "TINYBLOB", bytes),
        250 => put_blob(out, "MEDIUMBLOB", bytes),
        252 => put_binary(out, "BLOB", bytes),
        254 => put_binary(out, &format!("BINARY({})", bytes.len()), bytes),
        _ => Err(NoLiteral(
            "a JSON document with a binary value of a type that SQL text cannot give",
        )),
    }
}

fn put_binary(out: &mut Vec<u8>, ty: &str, bytes: &[u8]) -> Result<(), NoLiteral> {
    put_column(out, ty, |out| {
        put_hex(out, bytes);
        Ok(())
    })
}

/// A scalar subquery makes a BLOB of every such column; a document out of one is left as it is.
fn put_blob(out: &mut Vec<u8>, ty: &str, bytes: &[u8]) -> Result<(), NoLiteral> {
    out.extend_from_slice(
        b"(SELECT JSON_EXTRACT(JSON_ARRAY(c),'$[0]') FROM JSON_TABLE(JSON_ARRAY(",
    );
    put_hex(out, bytes);
    write!(out, "),'$[0]' COLUMNS (c {ty} PATH '$')) AS j)").map_err(|_| BROKEN)
}

/// The value as that of a column of the type.
fn put_column(
    out: &mut Vec<u8>,
    ty: &str,
    put_value: impl FnOnce(&mut Vec<u8>) -> Result<(), NoLiteral>,
) -> Result<(), NoLiteral> {
    out.extend_from_slice(b"(SELECT c FROM JSON_TABLE(JSON_ARRAY(");
    put_value(out)?;
    write!(out, "),'$[0]' COLUMNS (c {ty} PATH '$')) AS j)").map_err(|_| BROKEN)
}

fn put_date_time(out: &mut Vec<u8>, bytes: &[u8], ty: &str, time: bool) -> Result<(), NoLiteral> {
    let packed = i64::from_le_bytes(array(bytes)?);
    if packed < 0 {
        return Err(BROKEN);
    }
    let (whole, micros) = (packed >> 24, packed & 0xff_ffff);
    let (date, clock) = (whole >> 17, whole & 0x1_ffff);
    let (month, day) = (date >> 5, date & 31);
    write!(out, "CAST('{:04}-{:02}-{:02}", month / 13, month % 13, day).map_err(|_| BROKEN)?;
    if time {
        write!(
            out,
            " {:02}:{:02}:{:02}.{micros:06}",
            clock >> 12,
            clock >> 6 & 63,
            clock & 63
        )
        .map_err(|_| BROKEN)?;
    }
    write!(out, "' AS {ty})").map_err(|_| BROKEN)
}

fn put_time(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), NoLiteral> {
    let packed = i64::from_le_bytes(array(bytes)?);
    let size = packed.unsigned_abs();
    let (clock, micros) = (size >> 24, size & 0xff_ffff);
    let sign = if packed < 0 { "-" } else { "" };
    write!(
        out,
        "CAST('{sign}{:02}:{:02}:{:02}.{micros:06}' AS TIME(6))",
        clock >> 12 & 0x3ff,
        clock >> 6 & 63,
        clock & 63
    )
    .map_err(|_| BROKEN)
}

/// `precision u8 | scale u8 | digits`: groups of nine digits in 4 bytes, big-endian, shorter groups outside; the first bit is set for
/// positive numbers, and negative ones are inverted.
fn put_decimal(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), NoLiteral> {
    const SIZES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
    let [precision, scale, digits @ ..] = bytes else {
        return Err(BROKEN);
    };
    let (precision, scale) = (usize::from(*precision), usize::from(*scale));
    if precision > 65 || scale > precision {
        return Err(BROKEN);
    }
    let whole = precision - scale;
    let mut groups = vec![whole % 9];
    groups.extend(std::iter::repeat_n(9, whole / 9));
    let whole_groups = groups.len();
    groups.extend(std::iter::repeat_n(9, scale / 9));
    groups.push(scale % 9);
    let negative = digits.first().ok_or(BROKEN)? & 0x80 == 0;
    let mut text = String::new();
    let mut at = 0;
    for (place, group) in groups.into_iter().enumerate() {
        if place == whole_groups && scale > 0 {
            if text.is_empty() {
                text.push('0');
            }
            text.push('.');
        }
        let part = digits.get(at..at + SIZES[group]).ok_or(BROKEN)?;
        let value = part.iter().enumerate().fold(0u32, |value, (index, byte)| {
            let byte = if at + index == 0 { byte ^ 0x80 } else { *byte };
            value << 8 | u32::from(if negative { !byte } else { byte })
        });
        at += SIZES[group];
        if group > 0 {
            text.push_str(&format!("{value:0group$}"));
        }
    }
    let sign = if negative { "-" } else { "" };
    write!(out, "CAST({sign}{text} AS DECIMAL({precision},{scale}))").map_err(|_| BROKEN)
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], NoLiteral> {
    bytes
        .get(..N)
        .and_then(|part| part.try_into().ok())
        .ok_or(BROKEN)
}

fn number(bytes: &[u8], at: usize, large: bool) -> Result<usize, NoLiteral> {
    let rest = bytes.get(at..).ok_or(BROKEN)?;
    Ok(if large {
        u32::from_le_bytes(array(rest)?) as usize
    } else {
        usize::from(u16::from_le_bytes(array(rest)?))
    })
}

/// Bytes after their length.
fn counted(bytes: &[u8]) -> Result<&[u8], NoLiteral> {
    let mut length = 0usize;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let start = at + 1;
            let end = start.checked_add(length).ok_or(BROKEN)?;
            return bytes.get(start..end).ok_or(BROKEN);
        }
    }
    Err(BROKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(binary: &[u8]) -> Result<String, NoLiteral> {
        let mut out = Vec::new();
        put(&mut out, binary)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn array_of_a_decimal_and_an_integer() {
        // [12.5, 7]: count 2, size 17, entries, then the opaque decimal: type 246, 4 bytes, precision 3, scale 1, 12 and 5.
        let binary = [
            2, 2, 0, 16, 0, 0x0f, 10, 0, 0x05, 7, 0, 246, 4, 3, 1, 0x8c, 5,
        ];
        assert_eq!(
            text(&binary).unwrap(),
            "JSON_ARRAY(CAST(12.5 AS DECIMAL(3,1)),7)"
        );
    }

    #[test]
    fn scalars_are_taken_out_of_an_array() {
        assert_eq!(
            text(&[0x0f, 246, 4, 3, 1, 0x8c, 5]).unwrap(),
            "JSON_EXTRACT(JSON_ARRAY(CAST(12.5 AS DECIMAL(3,1))),'$[0]')"
        );
    }

    #[test]
    fn cut_documents_are_errors() {
        let binary = [
            2, 2, 0, 16, 0, 0x0f, 10, 0, 0x05, 7, 0, 246, 4, 3, 1, 0x8c, 5,
        ];
        for end in 0..binary.len() {
            assert!(text(&binary[..end]).is_err(), "{end}");
        }
        assert!(text(&[1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn negative_decimals() {
        let mut out = Vec::new();
        put_decimal(&mut out, &[3, 1, !0x8c, !5]).unwrap();
        assert_eq!(out, b"CAST(-12.5 AS DECIMAL(3,1))");
    }
}
