//! Character sets by collation id, as far as the ids are fixed in the server (`information_schema.collations`).
//!
//! MySQL's end at 323. MariaDB has most of those, and of its own: some languages' from 576 on, those without padding 1024 above the padded
//! one, and the ones of UCA 14 in a block of 256 for each character set. No id means one character set there and another here.

/// A character set of the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset {
    /// As in `information_schema.character_sets`.
    pub name: &'static str,
    /// The most bytes that a character takes.
    pub longest: u32,
}

/// The character set of a collation; `None` when the id is not known here.
pub fn charset(collation: u16) -> Option<Charset> {
    let (name, longest) = match collation {
        576..=607 | 2048..=2303 => ("utf8mb3", 3),
        608..=639 | 2304..=2559 => ("utf8mb4", 4),
        640..=671 | 2560..=2815 => ("ucs2", 2),
        672..=703 | 2816..=3071 => ("utf16", 4),
        736..=767 | 3072..=3327 => ("utf32", 4),
        1025..=1279 => return charset(collation - 1024),
        1 | 84 => ("big5", 2),
        2 | 9 | 21 | 27 | 77 => ("latin2", 1),
        3 | 69 => ("dec8", 1),
        4 | 80 => ("cp850", 1),
        5 | 8 | 15 | 31 | 47 | 48 | 49 | 94 => ("latin1", 1),
        6 | 72 => ("hp8", 1),
        7 | 74 => ("koi8r", 1),
        10 | 82 => ("swe7", 1),
        11 | 65 => ("ascii", 1),
        12 | 91 => ("ujis", 3),
        13 | 88 => ("sjis", 2),
        14 | 23 | 50..=52 => ("cp1251", 1),
        16 | 71 => ("hebrew", 1),
        18 | 89 => ("tis620", 1),
        19 | 85 => ("euckr", 2),
        20 | 41 | 42 | 79 => ("latin7", 1),
        22 | 75 => ("koi8u", 1),
        24 | 86 => ("gb2312", 2),
        25 | 70 => ("greek", 1),
        26 | 34 | 44 | 66 | 99 => ("cp1250", 1),
        28 | 87 => ("gbk", 2),
        29 | 58 | 59 => ("cp1257", 1),
        30 | 78 => ("latin5", 1),
        32 | 64 => ("armscii8", 1),
        33 | 76 | 83 | 192..=215 | 223 => ("utf8mb3", 3),
        35 | 90 | 128..=151 | 159 => ("ucs2", 2),
        36 | 68 => ("cp866", 1),
        37 | 73 => ("keybcs2", 1),
        38 | 43 => ("macce", 1),
        39 | 53 => ("macroman", 1),
        40 | 81 => ("cp852", 1),
        45 | 46 | 224..=247 | 255..=323 => ("utf8mb4", 4),
        54 | 55 | 101..=124 => ("utf16", 4),
        56 | 62 => ("utf16le", 4),
        57 | 67 => ("cp1256", 1),
        60 | 61 | 160..=183 => ("utf32", 4),
        63 => ("binary", 1),
        92 | 93 => ("geostd8", 1),
        95 | 96 => ("cp932", 2),
        97 | 98 => ("eucjpms", 3),
        248..=250 => ("gb18030", 4),
        _ => return None,
    };
    Some(Charset { name, longest })
}
