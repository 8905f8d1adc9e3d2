//! The server's character sets that no rule describes, as tables: which code is which character.
//!
//! The tables are the server's own, in `charsets.bin`: a code stands there when the server converts it to UTF-8 and that character back
//! to the same code, and no other does. So text whose codes are all there goes to UTF-8 and back without a loss, as the server itself
//! would convert it. `capture/tests/decode/charsets.rs` compares every code with a live server, both ways, and writes the file.
//!
//! ```text
//! file  (u8 length, name | u32 length, little-endian | deflated table)*
//! table (gap | codes | step)*: runs of consecutive codes with consecutive characters
//!       gap    from the end of the run before to the first code
//!       codes  how many the run has
//!       step   from the character after the last one of the run before to the first one, zigzag
//! ```
//!
//! A few old collations convert otherwise than the rest of their character set (`latin2_czech_cs`); they have tables of their own, whose
//! name is the collation's id. The numbers of a table are of 7 bits a byte, lowest first. A code is its bytes as a big-endian number, behind a 1 bit (so that codes
//! of fewer bytes are smaller), but for the codes of 4 bytes of gb18030, which are numbered without gaps, see [`quad`].

use std::{io::Read as _, sync::OnceLock};

use flate2::read::DeflateDecoder;

/// No code: U+FFFF is no character, and no character set but gb18030 in 4 bytes has it.
const NONE: u16 = 0xffff;
/// Below it, a code of 1 to 3 bytes; from it on, [`quad`].
const QUADS: u32 = 1 << 25;
/// Where codes of three bytes begin (`ujis`, `eucjpms`).
const THREE: u8 = 0x8f;
/// No table is longer when it is inflated.
const TABLE_MAX: u64 = 1 << 20;

static FILE: &[u8] = include_bytes!("charsets.bin");

/// One character set's codes.
pub(super) struct Table {
    ascii: bool,
    one: [u16; 256],
    /// By the code; empty without codes of two bytes.
    two: Box<[u16]>,
    /// By the last two bytes of the code; empty without codes of three bytes.
    three: Box<[u16]>,
    /// Codes of four bytes: the first number, how many, the first character.
    four: Box<[(u32, u32, u32)]>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Table")
    }
}

/// A code of four bytes as a number without gaps: the second and the fourth byte are digits, the others go from 0x81 to 0xfe.
pub(super) fn quad(code: [u8; 4]) -> Option<u32> {
    let [a, b, c, d] = code;
    let letter = |byte: u8| {
        (0x81..=0xfe)
            .contains(&byte)
            .then(|| u32::from(byte - 0x81))
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u32::from(byte - b'0'));
    Some(((letter(a)? * 10 + digit(b)?) * 126 + letter(c)?) * 10 + digit(d)?)
}

/// The table of a collation that converts in its own way.
pub(super) fn own_table(collation: u16) -> Option<&'static Table> {
    table(&collation.to_string())
}

/// The table of a character set, by its name; `None` for one without a table.
pub(super) fn table(name: &str) -> Option<&'static Table> {
    type Entry = (&'static str, &'static [u8], OnceLock<Option<Table>>);
    static INDEX: OnceLock<Vec<Entry>> = OnceLock::new();
    let index = INDEX.get_or_init(|| {
        let mut entries = Vec::new();
        let mut rest = FILE;
        while let Some((name, table, after)) = entry(rest) {
            entries.push((name, table, OnceLock::new()));
            rest = after;
        }
        entries
    });
    let (_, deflated, table) = index.iter().find(|(known, _, _)| *known == name)?;
    table.get_or_init(|| Table::read(deflated)).as_ref()
}

fn entry(rest: &'static [u8]) -> Option<(&'static str, &'static [u8], &'static [u8])> {
    let (&length, rest) = rest.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (table, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((std::str::from_utf8(name).ok()?, table, rest))
}

fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let byte = bytes.next()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl Table {
    /// `None` when the table is damaged: its character set is then one that isn't converted.
    fn read(deflated: &[u8]) -> Option<Self> {
        let mut plain = Vec::new();
        let mut inflate = DeflateDecoder::new(deflated).take(TABLE_MAX);
        inflate.read_to_end(&mut plain).ok()?;
        let mut one = [NONE; 256];
        let (mut two, mut three, mut four) = (Vec::new(), Vec::new(), Vec::new());
        let mut numbers = plain.into_iter().peekable();
        let (mut code, mut character) = (0_u32, 0_u32);
        while numbers.peek().is_some() {
            code = code.checked_add(number(&mut numbers)?)?;
            let codes = number(&mut numbers)?;
            let step = number(&mut numbers)?;
            let step = (step >> 1) as i32 ^ -((step & 1) as i32);
            character = character.checked_add_signed(step)?;
            if code >= QUADS {
                four.push((code - QUADS, codes, character));
                code = code.checked_add(codes)?;
                character = character.checked_add(codes)?;
                continue;
            }
            for _ in 0..codes {
                let slot = match code >> 8 {
                    1 => one.get_mut(code as usize - 0x100)?,
                    0x100..0x200 => {
                        two.resize(0x1_0000, NONE);
                        two.get_mut(code as usize - 0x1_0000)?
                    }
                    high if high >> 8 == 0x100 | u32::from(THREE) => {
                        three.resize(0x1_0000, NONE);
                        three.get_mut(code as usize & 0xffff)?
                    }
                    _ => return None,
                };
                *slot = u16::try_from(character).ok()?;
                code += 1;
                character += 1;
            }
        }
        Some(Self {
            ascii: (0..128).all(|byte| usize::from(one[byte]) == byte),
            one,
            two: two.into(),
            three: three.into(),
            four: four.into(),
        })
    }

    /// ASCII is itself.
    #[inline]
    pub(super) fn is_ascii(&self) -> bool {
        self.ascii
    }

    /// Appends the text in UTF-8; `false` when a part of it is no code that goes there and back.
    pub(super) fn convert(&self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let mut rest = bytes;
        while let Some((character, after)) = self.next(rest) {
            if character < '\u{80}' {
                out.push(character as u8);
            } else {
                let mut utf8 = [0; 4];
                out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            }
            rest = after;
        }
        rest.is_empty()
    }

    #[inline]
    fn next<'a>(&self, bytes: &'a [u8]) -> Option<(char, &'a [u8])> {
        let (&first, rest) = bytes.split_first()?;
        let alone = self.one[usize::from(first)];
        if alone != NONE {
            return Some((char::from_u32(u32::from(alone))?, rest));
        }
        let pair = |bytes: &[u8; 2]| usize::from(u16::from_be_bytes(*bytes));
        if first == THREE && !self.three.is_empty() {
            let (last, rest) = rest.split_first_chunk()?;
            return character(&self.three, pair(last)).map(|c| (c, rest));
        }
        if !self.four.is_empty() && rest.first().is_some_and(u8::is_ascii_digit) {
            let (code, rest) = bytes.split_first_chunk()?;
            return self.four(*code).map(|c| (c, rest));
        }
        let (code, rest) = bytes.split_first_chunk()?;
        character(&self.two, pair(code)).map(|c| (c, rest))
    }

    fn four(&self, code: [u8; 4]) -> Option<char> {
        let number = quad(code)?;
        let run = (self.four).partition_point(|(first, _, _)| *first <= number);
        let (first, codes, character) = *self.four.get(run.checked_sub(1)?)?;
        let place = number - first;
        if place >= codes {
            return None;
        }
        char::from_u32(character.checked_add(place)?)
    }
}

#[inline]
fn character(table: &[u16], code: usize) -> Option<char> {
    // NONE is a number of `char`'s, but no table has it.
    let character = *table.get(code)?;
    char::from_u32(u32::from(character)).filter(|_| character != NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, bytes: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        let whole = table(name).unwrap().convert(bytes, &mut out);
        whole.then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn characters_of_each_length() {
        let is = |name, bytes, expected: &str| {
            assert_eq!(text(name, bytes).as_deref(), Some(expected), "{name}");
        };
        is("gbk", b"a\xba\xba\xd7\xd6", "a汉字");
        is("sjis", b"\x95\x5c\x8e\xa6\xb1", "表示ｱ");
        is("cp932", b"\x87\x40", "①");
        is("big5", b"\xba\x7e", "漢");
        is("euckr", b"\xb0\xa1", "가");
        is("ujis", b"\xa4\xa2\x8e\xb1\x8f\xb0\xa1", "あｱ丂");
        is("cp1251", b"\xef\xf0\xe8", "при");
        is("swe7", b"]{", "Åä");
        is(
            "gb18030",
            b"\x94\x39\xda\x33\xba\xba\x81\x30\x81\x30",
            "💩汉\u{80}",
        );
    }

    #[test]
    fn what_has_no_way_back_stays() {
        for (name, bytes) in [
            ("sjis", &b"\\"[..]),
            ("gbk", b"\xba"),
            ("gbk", b"\xba\x20"),
            ("ujis", b"\x8f\xb0"),
            ("gb18030", b"\x94\x39\xda"),
            ("gb18030", b"\xfe\x39\xfe\x39"),
            ("tis620", b"\xdb"),
        ] {
            assert_eq!(text(name, bytes), None, "{name} {bytes:02x?}");
        }
        assert!(table("utf8mb4").is_none() && table("").is_none());
    }
}
