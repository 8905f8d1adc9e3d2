//! The character sets against a server: every code, there and back.
//!
//! `BINFERRY_WRITE_CHARSETS=1 cargo test -p binferry-capture --test decode charsets` writes the decoder's tables as the server has them.

use std::fmt::Write as _;
use std::io::Write as _;

use binferry_capture::decode::text_of;
use binferry_schemas::row::charset;
use binferry_servers::MySql;

/// Described by rules in the decoder, not by a table.
const RULED: [&str; 2] = ["latin1", "ascii"];
const UNICODE: [&str; 6] = ["utf8mb4", "utf8mb3", "ucs2", "utf16", "utf16le", "utf32"];

/// A code and its character, when the server converts it to UTF-8 and back to the same code.
#[derive(Clone, PartialEq)]
struct Code {
    bytes: Vec<u8>,
    character: Option<String>,
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().map(|b| (b as char).to_digit(16)).collect();
    let byte = |pair: &[Option<u32>]| (pair[0].unwrap() << 4 | pair[1].unwrap()) as u8;
    digits.chunks(2).map(byte).collect()
}

/// Codes that `codes` gives as `b`: those that are one character for the server; with `back`, only those with a way back.
fn ask(server: &MySql, set: &Set, codes: &str, back: bool) -> Vec<Code> {
    let Set {
        charset, collation, ..
    } = set;
    let filter = if back { "HAVING same" } else { "" };
    // The binary casts keep collations out; a character that has no code in a set becomes a question mark, which differs.
    let rows = server
        .rows(&format!(
            "SET SESSION cte_max_recursion_depth = 70000; SET NAMES utf8mb4;
             WITH RECURSIVE n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 65535),
             codes AS ({codes}),
             texts AS (SELECT b, CONVERT(CONVERT(b USING {charset}) COLLATE {collation} USING utf8mb4) AS t,
                              CHAR_LENGTH(CONVERT(b USING {charset})) AS characters FROM codes)
             SELECT HEX(b), HEX(t), COALESCE(CAST(CONVERT(t USING {charset}) AS BINARY) = b, 0) AS same FROM texts
             WHERE characters = 1 {filter} ORDER BY b"
        ))
        .unwrap();
    let code = |row: Vec<Option<String>>| Code {
        bytes: unhex(row[0].as_deref().unwrap()),
        character: (row[2].as_deref() == Some("1"))
            .then(|| String::from_utf8(unhex(row[1].as_deref().unwrap())).unwrap()),
    };
    rows.into_iter().map(code).collect()
}

const ONE: &str = "SELECT UNHEX(LPAD(HEX(i), 2, '0')) AS b FROM n WHERE i < 256";
const TWO: &str = "SELECT UNHEX(LPAD(HEX(i), 4, '0')) AS b FROM n";

fn behind(lead: &str) -> String {
    format!("SELECT CONCAT(x'{lead}', UNHEX(LPAD(HEX(i), 4, '0'))) AS b FROM n")
}

/// Codes of four bytes with digits at the second and fourth place, by their first byte.
fn quads(lead: u8) -> String {
    format!(
        "SELECT CONCAT(CHAR({lead}), CHAR(48 + i DIV 1260), CHAR(129 + i DIV 10 MOD 126), CHAR(48 + i MOD 10)) AS b FROM n WHERE i < 12600"
    )
}

/// All codes of a character set that is no rule's.
fn codes(server: &MySql, set: &Set, back: bool) -> Vec<Code> {
    let mut codes = ask(server, set, ONE, back);
    let longest = set.longest;
    if longest >= 2 {
        codes.extend(ask(server, set, TWO, back));
    }
    // The longer codes are the same in all collations of their sets: these have no tables to differ in.
    if longest == 3 && set.default {
        codes.extend(ask(server, set, &behind("8F"), back));
    }
    if longest == 4 && set.default {
        for lead in 0x81..=0xfe {
            codes.extend(ask(server, set, &quads(lead), back));
        }
    }
    codes
}

/// A collation and its character set.
struct Set {
    charset: String,
    collation: String,
    id: u16,
    /// The character set's.
    default: bool,
    /// Bytes of the longest character.
    longest: u32,
}

/// All collations for text, those of a character set together, the default one first.
fn sets(server: &MySql) -> Vec<Set> {
    let rows = server
        .rows(
            "SELECT CHARACTER_SET_NAME, COLLATION_NAME, c.ID, s.MAXLEN, COLLATION_NAME = DEFAULT_COLLATE_NAME AS first
             FROM information_schema.CHARACTER_SETS s JOIN information_schema.COLLATIONS c USING (CHARACTER_SET_NAME)
             WHERE CHARACTER_SET_NAME <> 'binary' ORDER BY 1, 5 DESC, 3",
        )
        .unwrap();
    let text = |cell: &Option<String>| cell.clone().unwrap();
    rows.iter()
        .map(|row| Set {
            charset: text(&row[0]),
            collation: text(&row[1]),
            id: text(&row[2]).parse().unwrap(),
            default: text(&row[4]) == "1",
            longest: text(&row[3]).parse().unwrap(),
        })
        .collect()
}

#[test]
fn every_code_of_every_character_set() {
    let server = MySql::builder().start().unwrap();
    if std::env::var_os("BINFERRY_WRITE_CHARSETS").is_some() {
        write(&server);
        return;
    }
    let mut differences = Vec::new();
    for set in sets(&server) {
        let Set {
            charset, longest, ..
        } = &set;
        let codes = match charset.as_str() {
            // One rule for all collations.
            "ucs2" | "utf8mb4" | "utf8mb3" | "utf16" | "utf16le" | "utf32" if !set.default => {
                continue;
            }
            "ucs2" => ask(&server, &set, TWO, false),
            "utf8mb4" | "utf8mb3" | "utf16" | "utf16le" | "utf32" => {
                // The planes are all of one form: the first two and the last.
                let planes: &[u32] = if charset == "utf8mb3" {
                    &[0]
                } else {
                    &[0, 1, 16]
                };
                let mut all = Vec::new();
                for plane in planes {
                    // Surrogates are no characters; the server refuses to convert them.
                    let points = format!(
                        "SELECT CAST(CONVERT(CONVERT(UNHEX(LPAD(HEX({plane} * 65536 + i), 8, '0')) USING utf32) USING {charset}) AS BINARY) AS b
                         FROM n WHERE {plane} > 0 OR i NOT BETWEEN 55296 AND 57343"
                    );
                    all.extend(ask(&server, &set, &points, false));
                }
                assert_eq!(all.len(), planes.len() * 0x1_0000 - 0x800);
                all
            }
            _ => codes(&server, &set, false),
        };
        let found = codes.iter().filter(|c| c.character.is_some()).count();
        println!(
            "{}: {found} of {} codes there and back",
            set.collation,
            codes.len()
        );
        assert!(
            found >= 96 && *longest > 0,
            "{charset}: the server converts {found} codes"
        );
        for code in &codes {
            let ours = text_of(set.id, &code.bytes);
            if ours != code.character {
                differences.push(format!(
                    "{} {:02x?}: the server has {:?}, the decoder {ours:?}",
                    set.collation, code.bytes, code.character
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences[..differences.len().min(30)].join("\n")
    );
}

/// The decoder knows a collation's character set by the id that stands in the table map.
#[test]
fn every_collation() {
    let server = MySql::builder().start().unwrap();
    let rows = server
        .rows(
            "SELECT c.ID, c.CHARACTER_SET_NAME, s.MAXLEN FROM information_schema.COLLATIONS c JOIN information_schema.CHARACTER_SETS s USING (CHARACTER_SET_NAME)",
        )
        .unwrap();
    assert!(rows.len() > 200);
    for row in rows {
        let cell = |at: usize| row[at].as_deref().unwrap();
        let known = charset(cell(0).parse().unwrap()).unwrap();
        assert_eq!(
            (known.name, known.longest),
            (cell(1), cell(2).parse().unwrap()),
            "{}",
            cell(0)
        );
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The number of a code in the tables' file.
fn place(bytes: &[u8]) -> u32 {
    match *bytes {
        [a, b, c, d] => {
            let letters = (u32::from(a - 0x81) * 10 + u32::from(b - b'0')) * 126;
            (1 << 25) + (letters + u32::from(c - 0x81)) * 10 + u32::from(d - b'0')
        }
        _ => bytes
            .iter()
            .fold(1, |place, byte| place << 8 | u32::from(*byte)),
    }
}

/// Writes the decoder's tables.
fn write(server: &MySql) {
    let mut file = Vec::new();
    let mut report = String::new();
    let mut default = Vec::new();
    for set in sets(server) {
        let Set { charset, .. } = &set;
        if UNICODE.contains(&charset.as_str()) {
            continue;
        }
        if set.longest == 3 && set.default {
            // Nothing but what `codes` asks for.
            for lead in (0..=255).filter(|lead| *lead != 0x8f) {
                assert!(ask(server, &set, &behind(&format!("{lead:02X}")), true).is_empty());
            }
        }
        let codes = codes(server, &set, true);
        let name = if set.default {
            default = codes.clone();
            if RULED.contains(&charset.as_str()) {
                continue;
            }
            charset.clone()
        } else if codes
            .iter()
            .eq(default.iter().filter(|code| code.bytes.len() <= 2))
        {
            continue;
        } else {
            assert_eq!(set.longest, 1, "{}", set.collation);
            set.id.to_string()
        };
        let mut runs: Vec<(u32, u32, u32)> = Vec::new();
        for code in &codes {
            let mut characters = code.character.as_deref().unwrap().chars();
            let character = u32::from(characters.next().unwrap());
            assert!(characters.next().is_none());
            let place = place(&code.bytes);
            assert!(place >= 1 << 25 || character < 0xffff, "{charset}");
            match runs.last_mut() {
                Some((first, count, start))
                    if *first + *count == place && *start + *count == character =>
                {
                    *count += 1
                }
                _ => runs.push((place, 1, character)),
            }
        }
        let mut plain = Vec::new();
        let (mut end, mut after) = (0, 0);
        for (first, count, start) in runs {
            put_number(&mut plain, first - end);
            put_number(&mut plain, count);
            let step = i64::from(start) - i64::from(after);
            put_number(&mut plain, ((step << 1) ^ (step >> 63)) as u32);
            (end, after) = (first + count, start + count);
        }
        let level = flate2::Compression::best();
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), level);
        deflate.write_all(&plain).unwrap();
        let deflated = deflate.finish().unwrap();
        writeln!(
            report,
            "{name} ({}): {} codes, {} bytes",
            set.collation,
            codes.len(),
            deflated.len()
        )
        .unwrap();
        file.push(name.len() as u8);
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(&(deflated.len() as u32).to_le_bytes());
        file.extend_from_slice(&deflated);
    }
    println!("{report}{} bytes", file.len());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/decode/charsets.bin");
    std::fs::write(path, file).unwrap();
}
