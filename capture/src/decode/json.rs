//! MySQL's binary JSON to text, exactly as the server prints it.
//!
//! ```text
//! document  type byte | value                       (no bytes at all: null)
//! object    count | size | (key offset, u16 key length)* | (type byte, offset or value)* | keys | values
//! array     count | size | (type byte, offset or value)* | values
//! string    length | bytes in utf8mb4;  opaque: column type byte | length | bytes
//! ```
//!
//! Counts, sizes and offsets are 2 bytes in the small forms and 4 in the large ones; offsets count from the count. Literals and 16-bit
//! integers stand in place of their offset, in the large forms 32-bit integers too. A string's length has 7 bits a byte, lowest first.
//! (`sql-common/json_binary.h`.)
//!
//! Text carries a document exactly unless it holds an opaque value (decimal, date, time, blob, …: it would come back as a string or a
//! double) or an integer that would come back with the other sign: out of text the server makes an INTEGER of what is negative or fits
//! 32 bits, and an UNSIGNED INTEGER of any other ([`SIGNED_IN_TEXT`]).
//!
//! Every byte of a sound document belongs to one value. So the values that are visited are paid for out of a budget of the document's
//! length: offsets that lead many values to the same bytes can't make the text grow without bound.

use std::io::Write;

use binferry_schemas::avro;

use super::{
    cursor::{Cursor, Flaw, Read},
    decimal::Layout,
    json_number::{put_double, put_signed, put_unsigned},
};

/// The server refuses deeper documents (`JSON_DOCUMENT_MAX_DEPTH`).
pub(super) const DEPTH_MAX: u32 = 100;

/// The largest integer that the server reads out of JSON text as INTEGER; larger ones are UNSIGNED INTEGER. (Its parser, RapidJSON, tells
/// numbers of 32 bits from those of 64, and gives these as unsigned unless they are negative.)
pub(super) const SIGNED_IN_TEXT: u32 = u32::MAX;

/// Appends the column's union for a document.
pub(super) fn put(out: &mut Vec<u8>, document: &[u8]) -> Read<()> {
    let start = out.len();
    let mut printer = Printer {
        out,
        budget: document.len(),
        exact: true,
    };
    match document.split_first() {
        None => printer.out.extend_from_slice(b"null"),
        Some((&kind, value)) => printer.value(kind, value, 0)?,
    }
    let exact = printer.exact;
    let length = out.len() - start;
    // The branch and the length go in front, once they are known.
    let text_end = out.len();
    out.push(if exact { 2 } else { 4 });
    avro::put_long(out, length as i64);
    let front = out.len() - text_end;
    out[start..].rotate_right(front);
    if !exact {
        // The binary form is never empty here.
        avro::put_bytes(out, document);
    }
    Ok(())
}

struct Printer<'o> {
    out: &'o mut Vec<u8>,
    budget: usize,
    exact: bool,
}

pub(super) const BROKEN: Flaw =
    Flaw("is a JSON document with an offset or a length that cannot be");

impl Printer<'_> {
    fn spend(&mut self, bytes: usize) -> Read<()> {
        self.budget = self.budget.checked_sub(bytes).ok_or(BROKEN)?;
        Ok(())
    }

    fn value(&mut self, kind: u8, value: &[u8], depth: u32) -> Read<()> {
        let mut cursor = Cursor::new(value);
        match kind {
            0x00 => self.container(value, true, false, depth),
            0x01 => self.container(value, true, true, depth),
            0x02 => self.container(value, false, false, depth),
            0x03 => self.container(value, false, true, depth),
            0x04 => {
                let word = match cursor.u8()? {
                    0 => &b"null"[..],
                    1 => b"true",
                    2 => b"false",
                    _ => return Err(Flaw("is a JSON document with an unknown literal")),
                };
                self.out.extend_from_slice(word);
                Ok(())
            }
            0x05 => self.signed(i64::from(cursor.u16()? as i16)),
            0x06 => self.unsigned(u64::from(cursor.u16()?)),
            0x07 => self.signed(i64::from(cursor.u32()? as i32)),
            0x08 => self.unsigned(u64::from(cursor.u32()?)),
            0x09 => self.signed(cursor.u64()? as i64),
            0x0a => self.unsigned(cursor.u64()?),
            0x0b => {
                let value = f64::from_bits(cursor.u64()?);
                if !value.is_finite() {
                    return Err(Flaw("is a JSON document with a number that is none"));
                }
                put_double(self.out, value);
                Ok(())
            }
            0x0c => {
                let bytes = long_bytes(&mut cursor)?;
                self.spend(bytes.len())?;
                self.string(bytes)
            }
            0x0f => {
                let field = cursor.u8()?;
                let bytes = long_bytes(&mut cursor)?;
                self.spend(bytes.len())?;
                self.exact = false;
                self.opaque(field, bytes)
            }
            _ => Err(Flaw("is a JSON document with a value of unknown type")),
        }
    }

    fn signed(&mut self, value: i64) -> Read<()> {
        self.exact &= value <= i64::from(SIGNED_IN_TEXT);
        put_signed(self.out, value);
        Ok(())
    }

    fn unsigned(&mut self, value: u64) -> Read<()> {
        self.exact &= value > u64::from(SIGNED_IN_TEXT);
        put_unsigned(self.out, value);
        Ok(())
    }

    fn container(&mut self, bytes: &[u8], object: bool, large: bool, depth: u32) -> Read<()> {
        if depth >= DEPTH_MAX {
            return Err(Flaw("is a JSON document of too many levels"));
        }
        let width = if large { 4 } else { 2 };
        let mut head = Cursor::new(bytes);
        let count = head.little_endian(width)? as usize;
        let size = head.little_endian(width)? as usize;
        let bytes = bytes.get(..size).ok_or(BROKEN)?;
        let entry = width + 1;
        let keys = if object { width + 2 } else { 0 };
        // The head lies in the container; this also bounds the loop.
        let heads = count.checked_mul(entry + keys).ok_or(BROKEN)?;
        if 2 * width + heads > size {
            return Err(BROKEN);
        }
        self.spend(2 * width + heads)?;
        let mut key_entries = Cursor::new(bytes.get(2 * width..).ok_or(BROKEN)?);
        let mut entries = key_entries;
        entries.take(count * keys)?;
        self.out.push(if object { b'{' } else { b'[' });
        for index in 0..count {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            if object {
                let offset = key_entries.little_endian(width)? as usize;
                let length = usize::from(key_entries.u16()?);
                let key = bytes
                    .get(offset..)
                    .and_then(|rest| rest.get(..length))
                    .ok_or(BROKEN)?;
                self.spend(length)?;
                self.string(key)?;
                self.out.extend_from_slice(b": ");
            }
            let kind = entries.u8()?;
            let place = entries.take(width)?;
            let value = if is_inline(kind, large) {
                place
            } else {
                let offset = Cursor::new(place).little_endian(width)? as usize;
                bytes.get(offset..).ok_or(BROKEN)?
            };
            self.value(kind, value, depth + 1)?;
        }
        self.out.push(if object { b'}' } else { b']' });
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Read<()> {
        if std::str::from_utf8(bytes).is_err() {
            return Err(Flaw("is a JSON document with a string that is not UTF-8"));
        }
        self.out.push(b'"');
        let mut rest = bytes;
        while let Some(plain) = rest
            .iter()
            .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
        {
            self.out.extend_from_slice(&rest[..plain]);
            let byte = rest[plain];
            let short = match byte {
                b'"' | b'\\' => byte,
                0x08 => b'b',
                0x09 => b't',
                0x0a => b'n',
                0x0c => b'f',
                0x0d => b'r',
                _ => 0,
            };
            if short == 0 {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                self.out.extend_from_slice(b"\\u00");
                self.out.extend_from_slice(&digits);
            } else {
                self.out.extend_from_slice(&[b'\\', short]);
            }
            rest = &rest[plain + 1..];
        }
        self.out.extend_from_slice(rest);
        self.out.push(b'"');
        Ok(())
    }

    /// A value of a column's type: decimals as numbers, dates and times quoted, the rest in base64.
    fn opaque(&mut self, field: u8, bytes: &[u8]) -> Read<()> {
        match field {
            // NEWDECIMAL: precision, scale, packed digits.
            246 => {
                let mut cursor = Cursor::new(bytes);
                let [precision, scale] = cursor.array()?;
                if !(1..=65).contains(&precision) || scale > 30 || scale > precision {
                    return Err(Flaw(
                        "is a JSON document with a decimal of impossible precision",
                    ));
                }
                let layout = Layout::new(precision, scale);
                layout.print(self.out, cursor.take(layout.bytes())?)
            }
            // TIMESTAMP, DATE, TIME, DATETIME: the packed form of 8 bytes.
            7 | 10 | 11 | 12 => {
                let packed = Cursor::new(bytes).u64()? as i64;
                self.temporal(field, packed)
            }
            _ => {
                self.out.extend_from_slice(b"\"base64:type");
                put_unsigned(self.out, u64::from(field));
                self.out.push(b':');
                base64(self.out, bytes);
                self.out.push(b'"');
                Ok(())
            }
        }
    }

    /// The server's packed form of all dates and times: microseconds in 24 bits, above them what `DATETIME2` and `TIME2` have, with the
    /// sign of the whole.
    fn temporal(&mut self, field: u8, packed: i64) -> Read<()> {
        let magnitude = packed.unsigned_abs();
        let micros = magnitude & 0xff_ffff;
        let clock = magnitude >> 24;
        let (minute, second) = (clock >> 6 & 63, clock & 63);
        let sign = if packed < 0 { "-" } else { "" };
        let out = &mut *self.out;
        // Writing to a Vec can't fail.
        let _ = if field == 11 {
            let hour = clock >> 12 & 0x3ff;
            write!(
                out,
                "\"{sign}{hour:02}:{minute:02}:{second:02}.{micros:06}\""
            )
        } else {
            let (hour, day) = (clock >> 12 & 31, clock >> 17 & 31);
            let year_month = clock >> 22;
            let (year, month) = (year_month / 13, year_month % 13);
            if field == 10 {
                write!(out, "\"{year:04}-{month:02}-{day:02}\"")
            } else {
                write!(
                    out,
                    "\"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}\""
                )
            }
        };
        Ok(())
    }
}

/// A value of this type stands in its container in place of its offset.
pub(super) fn is_inline(kind: u8, large: bool) -> bool {
    matches!(kind, 0x04..=0x06) || large && matches!(kind, 0x07 | 0x08)
}

/// Bytes behind a length of 7 bits a byte.
pub(super) fn long_bytes<'a>(cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
    let mut length = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = cursor.u8()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return cursor.take(usize::try_from(length).map_err(|_| BROKEN)?);
        }
    }
    Err(BROKEN)
}

/// Base64 in lines of 76 characters, as the server's encoder writes it; the ends of lines are escaped as in any JSON string.
fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (index, group) in bytes.chunks(3).enumerate() {
        if index > 0 && index % 19 == 0 {
            out.extend_from_slice(b"\\n");
        }
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            out.push(if i <= group.len() {
                DIGITS[(bits >> (18 - 6 * i) & 63) as usize]
            } else {
                b'='
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &[u8]) -> (u8, String) {
        let mut out = vec![7];
        put(&mut out, document).unwrap();
        let mut reader = avro::Reader::new(&out[1..]);
        let branch = reader.long().unwrap() as u8;
        let text = reader.str().unwrap().to_owned();
        if branch == 2 {
            assert_eq!(reader.bytes().unwrap(), document);
        }
        assert!(reader.is_empty());
        (branch, text)
    }

    #[test]
    fn scalars() {
        assert_eq!(text(b""), (1, "null".into()));
        assert_eq!(text(&[4, 1]), (1, "true".into()));
        assert_eq!(text(&[5, 0xff, 0xff]), (1, "-1".into()));
        assert_eq!(text(&[6, 1, 0]), (2, "1".into()));
        assert_eq!(
            text(b"\x0c\x05a\"\\\n\x01"),
            (1, r#""a\"\\\n\u0001""#.into())
        );
        // A blob of "abc"; DECIMAL(3,2) 1.50; a time of -00:00:00.5.
        assert_eq!(
            text(b"\x0f\xfc\x03abc"),
            (2, "\"base64:type252:YWJj\"".into())
        );
        assert_eq!(text(b"\x0f\xf6\x04\x03\x02\x81\x32"), (2, "1.50".into()));
        let packed = (-500_000_i64).to_le_bytes();
        let document = [&b"\x0f\x0b\x08"[..], &packed].concat();
        assert_eq!(text(&document), (2, "\"-00:00:00.500000\"".into()));
    }

    #[test]
    fn integers_that_text_gives_back() {
        let signed = |value: i64| text(&[&[9], &value.to_le_bytes()[..]].concat()).0;
        let unsigned = |value: u64| text(&[&[10], &value.to_le_bytes()[..]].concat()).0;
        for exact in [i64::MIN, -4_294_967_297, -1, 0, 4_294_967_295] {
            assert_eq!(signed(exact), 1, "{exact}");
        }
        for inexact in [4_294_967_296, 1_700_000_000_000, i64::MAX] {
            assert_eq!(signed(inexact), 2, "{inexact}");
            assert_eq!(unsigned(inexact as u64), 1, "{inexact}");
        }
        assert_eq!(unsigned(u64::MAX), 1);
        assert_eq!(unsigned(4_294_967_295), 2);
        assert_eq!(text(&[8, 255, 255, 255, 255]).0, 2);
        assert_eq!(text(&[7, 255, 255, 255, 127]).0, 1);
    }

    #[test]
    fn containers() {
        // {"a": [1, null]}
        let document = b"\x00\x01\0\x16\0\x0b\0\x01\0\x02\x0c\0a\x02\0\x0a\0\x05\x01\0\x04\0\0";
        assert_eq!(text(document), (1, r#"{"a": [1, null]}"#.into()));
        for end in 1..document.len() {
            assert!(put(&mut Vec::new(), &document[..end]).is_err());
        }
    }

    #[test]
    fn shared_offsets_cannot_grow_the_text() {
        // An array whose every entry is the same array, many levels deep.
        let mut document = vec![2];
        for level in 0..20_u16 {
            // 4 + 2 * 3 bytes a level; each level's size covers all that follow.
            let size = 10 * (20 - level) + 4;
            document.extend_from_slice(&2_u16.to_le_bytes());
            document.extend_from_slice(&size.to_le_bytes());
            for _ in 0..2 {
                document.extend_from_slice(&[2, 10, 0]);
            }
        }
        document.extend_from_slice(&[0, 0, 4, 0]);
        let mut out = Vec::new();
        assert_eq!(put(&mut out, &document), Err(BROKEN));
        assert!(out.len() < 10 * document.len());
        // And an array that holds itself.
        assert!(put(&mut Vec::new(), &[2, 1, 0, 7, 0, 2, 0, 0]).is_err());
    }

    #[test]
    fn base64_breaks_lines() {
        let mut out = Vec::new();
        base64(&mut out, &[0; 58]);
        assert_eq!(out, [&[b'A'; 76][..], b"\\nAA=="].concat());
    }
}
