//! Text: MySQL's character sets to UTF-8, as far as the way there and back gives the same bytes.

use binferry_schemas::{avro, datum, row};

use super::charset::{self, Table};

/// How the bytes of a character set become UTF-8.
#[derive(Debug, Clone, Copy)]
pub(super) enum Encoding {
    Utf8mb4,
    /// UTF-8 of at most 3 bytes a character.
    Utf8mb3,
    /// Windows-1252, with the five bytes that it leaves open as control characters.
    Latin1,
    /// Big-endian, without surrogates.
    Ucs2,
    Utf16,
    Utf16le,
    Utf32,
    /// Bytes below 128; others are not converted.
    Ascii,
    /// Code by code.
    Table(&'static Table),
    /// Not converted.
    Other,
}

/// Windows-1252 from 0x80 to 0x9f, as in the server's `latin1`.
const LATIN1_C1: [u16; 32] = [
    0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039,
    0x152, 0x8d, 0x17d, 0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc,
    0x2122, 0x161, 0x203a, 0x153, 0x9d, 0x17e, 0x178,
];

fn latin1_char(byte: u8) -> char {
    let code = match byte {
        0x80..=0x9f => u32::from(LATIN1_C1[usize::from(byte - 0x80)]),
        _ => u32::from(byte),
    };
    // None of the table's entries is a surrogate.
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Bytes of a collation's character set in UTF-8: `None` when they do not convert there and back to the same bytes, or the character set
/// is not known.
pub fn text_of(collation: u16, bytes: &[u8]) -> Option<String> {
    Encoding::of(collation).to_utf8(bytes)
}

impl Encoding {
    /// Of a collation's character set. One that is not known is [`Encoding::Other`]: nothing is assumed.
    pub(super) fn of(collation: u16) -> Self {
        if let Some(table) = charset::own_table(collation) {
            return Self::Table(table);
        }
        match row::charset(collation).map_or("", |charset| charset.name) {
            "ascii" => Self::Ascii,
            "utf8mb4" => Self::Utf8mb4,
            "utf8mb3" => Self::Utf8mb3,
            "latin1" => Self::Latin1,
            "ucs2" => Self::Ucs2,
            "utf16" => Self::Utf16,
            "utf16le" => Self::Utf16le,
            "utf32" => Self::Utf32,
            name => charset::table(name).map_or(Self::Other, Self::Table),
        }
    }

    /// Appends a column's union: the text in UTF-8, or the bytes as they are where they don't convert there and back.
    #[inline]
    pub(super) fn put(self, out: &mut Vec<u8>, bytes: &[u8]) {
        let fits = match self {
            Self::Utf8mb4 => std::str::from_utf8(bytes).is_ok(),
            Self::Utf8mb3 => {
                std::str::from_utf8(bytes).is_ok() && bytes.iter().all(|&byte| byte < 0xf0)
            }
            Self::Latin1 if bytes.is_ascii() => true,
            Self::Ascii => bytes.is_ascii(),
            Self::Table(table) if table.is_ascii() && bytes.is_ascii() => true,
            Self::Table(table) => return put_by_table(table, out, bytes),
            Self::Other => false,
            _ => return self.put_converted(out, bytes),
        };
        if fits {
            // The union's first branch, whose string is these bytes.
            datum::put_bytes(out, bytes);
        } else {
            datum::put_text_bytes(out, bytes);
        }
    }

    #[cold]
    fn put_converted(self, out: &mut Vec<u8>, bytes: &[u8]) {
        let Some(length) = self.chars(bytes, |_| {}) else {
            return datum::put_text_bytes(out, bytes);
        };
        out.push(2);
        avro::put_long(out, length as i64);
        let mut utf8 = [0; 4];
        self.chars(bytes, |c| {
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes())
        });
    }

    pub(super) fn to_utf8(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Utf8mb4 => String::from_utf8(bytes.to_vec()).ok(),
            Self::Utf8mb3 => {
                let text = String::from_utf8(bytes.to_vec()).ok();
                text.filter(|text| text.bytes().all(|byte| byte < 0xf0))
            }
            Self::Ascii => String::from_utf8(bytes.to_vec())
                .ok()
                .filter(|text| text.is_ascii()),
            Self::Table(table) => {
                let mut text = Vec::with_capacity(bytes.len() * 2);
                let whole = table.convert(bytes, &mut text);
                String::from_utf8(text).ok().filter(|_| whole)
            }
            Self::Other => None,
            _ => {
                let mut text = String::with_capacity(bytes.len());
                self.chars(bytes, |c| text.push(c))?;
                Some(text)
            }
        }
    }

    /// Hands out the characters; the answer is their length in UTF-8, `None` when the bytes are no text of this character set.
    fn chars(self, bytes: &[u8], mut each: impl FnMut(char)) -> Option<usize> {
        let mut length = 0;
        let mut each = |c: char| {
            length += c.len_utf8();
            each(c);
        };
        match self {
            Self::Latin1 => bytes.iter().for_each(|&byte| each(latin1_char(byte))),
            Self::Ucs2 => {
                let (units, []) = bytes.as_chunks::<2>() else {
                    return None;
                };
                for &unit in units {
                    each(char::from_u32(u32::from(u16::from_be_bytes(unit)))?);
                }
            }
            Self::Utf16 | Self::Utf16le => {
                let (units, []) = bytes.as_chunks::<2>() else {
                    return None;
                };
                let units = units.iter().map(|&unit| match self {
                    Self::Utf16 => u16::from_be_bytes(unit),
                    _ => u16::from_le_bytes(unit),
                });
                for c in char::decode_utf16(units) {
                    each(c.ok()?);
                }
            }
            Self::Utf32 => {
                let (units, []) = bytes.as_chunks::<4>() else {
                    return None;
                };
                for &unit in units {
                    each(char::from_u32(u32::from_be_bytes(unit))?);
                }
            }
            _ => return None,
        }
        Some(length)
    }
}

/// Appends the union in one pass: the length, which stands in front, gets the room of the longest text that can come, and the text
/// moves down when it needs less.
fn put_by_table(table: &Table, out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    // At most 3 bytes come of a code of one byte.
    let room = avro::long_len(bytes.len() as i64 * 3);
    out.resize(start + 1 + room, 0);
    let text = out.len();
    if !table.convert(bytes, out) {
        out.truncate(start);
        return datum::put_text_bytes(out, bytes);
    }
    let length = out.len() - text;
    let end = out.len();
    avro::put_long(out, length as i64);
    let prefix = out.len() - end;
    out[start] = 2;
    out.copy_within(end.., start + 1);
    out.copy_within(text..end, start + 1 + prefix);
    out.truncate(start + 1 + prefix + length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn union(encoding: Encoding, bytes: &[u8]) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        encoding.put(&mut out, bytes);
        assert_eq!(usize::from(out[1]), 2 * (out.len() - 2));
        (out[0] / 2, out[2..].to_vec())
    }

    #[test]
    fn text_converts_or_stays_bytes() {
        use Encoding::*;
        let kept = |bytes: &[u8]| (2, bytes.to_vec());
        let text = |text: &str| (1, text.as_bytes().to_vec());
        assert_eq!(union(Utf8mb4, "é😀".as_bytes()), text("é😀"));
        assert_eq!(union(Utf8mb4, b"a\xff"), kept(b"a\xff"));
        assert_eq!(union(Utf8mb3, "😀".as_bytes()), kept("😀".as_bytes()));
        assert_eq!(union(Latin1, b"ok"), text("ok"));
        assert_eq!(union(Latin1, b"\x80\x81\xe9\xff"), text("€\u{81}éÿ"));
        assert_eq!(union(Ucs2, b"\0a\x20\xac"), text("a€"));
        assert_eq!(union(Ucs2, b"\xd8\x3d\xde\0"), kept(b"\xd8\x3d\xde\0"));
        assert_eq!(union(Utf16, b"\xd8\x3d\xde\0"), text("😀"));
        assert_eq!(union(Utf16, b"\xd8\x3d"), kept(b"\xd8\x3d"));
        assert_eq!(union(Utf16, b"a"), kept(b"a"));
        assert_eq!(union(Utf16le, b"\x3d\xd8\0\xde"), text("😀"));
        assert_eq!(union(Utf32, b"\0\x01\xf6\0"), text("😀"));
        assert_eq!(union(Utf32, b"\0\x11\0\0"), kept(b"\0\x11\0\0"));
        assert_eq!(union(Ascii, b"ok"), text("ok"));
        assert_eq!(union(Ascii, b"\x82\xa0"), kept(b"\x82\xa0"));
        let sjis = Encoding::of(13);
        assert_eq!(union(sjis, b"ok"), text("ok"));
        assert_eq!(union(sjis, b"\x95\x5c"), text("表"));
        assert_eq!(union(sjis, b"o\\k"), kept(b"o\\k"));
        assert_eq!(union(Other, b"ok"), kept(b"ok"));
    }

    #[test]
    fn converted_text_has_its_length_in_front() {
        let thai = Encoding::of(18);
        for length in [0, 1, 20, 21, 22, 31, 32, 2730, 2731, 2732, 4096, 400_000] {
            for ascii in [0, 1, length] {
                let mut bytes = vec![0xa1; length];
                bytes.resize(length + ascii, b'a');
                let mut out = vec![9];
                thai.put(&mut out, &bytes);
                let mut reader = avro::Reader::new(&out[1..]);
                assert_eq!(reader.long().unwrap(), 1);
                let expected = "\u{e01}".repeat(length) + &"a".repeat(ascii);
                assert_eq!(reader.str().unwrap(), expected);
                assert!(reader.is_empty());
            }
        }
    }

    #[test]
    fn latin1_bytes_have_distinct_characters() {
        let characters: std::collections::HashSet<_> = (0..=255).map(latin1_char).collect();
        assert_eq!(characters.len(), 256);
    }
}
