//! Documents as a SELECT gives them, to what the binlog has of them: their text, and beside it the types that the text does not tell.
//!
//! ```text
//! types   type of the document | ; | values of all objects | ; | values of all arrays
//! values  how many | (: | (place, from 1 | type)(, ...)*)?      those alone whose type is not in PLAIN
//! ```
//!
//! Places count the members of one object after the other (or the elements of the arrays): first all that the object itself has, then
//! those of what lies in its values, one value after the other. That is the order in which the server goes through `$**.*` and `$**[*]`.
//!
//! A document whose text carries it exactly (see `json`) stays its text. For any other its binary form is built, as the server lays out a
//! document that is written whole, and it must print as the text that came: a type that does not fit its value is an error, never a guess.
//! What nothing in SQL shows is not known here either: how many zeros a decimal's packed form has in front (its precision), and the bytes that
//! an update in place has left unused.

use binferry_schemas::{avro, datum};

use super::{
    cursor::{Flaw, Read},
    json::{self, SIGNED_IN_TEXT},
    json_binary::{self as binary, Encoded, container},
    json_text::{Node, Token, parse, unescaped},
};

/// How long the server may make a list of types: `group_concat_max_len`. A list that is cut there is longer than `max_allowed_packet` can
/// be, and then the server gives NULL for the whole of [`types`].
pub(crate) const LIST_MAX: u32 = 1 << 30;

/// Types that the text tells, once it is known that the others are not meant. (JSON's null is NULL in the lists.)
const PLAIN: &str = "'STRING','INTEGER','DOUBLE','BOOLEAN','OBJECT','ARRAY'";

/// What gives the types of a column, `quoted` being its name in SQL.
pub(super) fn types(quoted: &str) -> String {
    let values = |path: &str| {
        format!(
            "(SELECT CONCAT_WS(':', COUNT(*), GROUP_CONCAT(IF(JSON_TYPE(v) IN ({PLAIN}), NULL, CONCAT(o, JSON_TYPE(v))))) FROM JSON_TABLE({quoted}, '{path}' COLUMNS (o FOR ORDINALITY, v JSON PATH '$')) AS jt)"
        )
    };
    format!(
        "CONCAT(JSON_TYPE({quoted}), ';', {}, ';', {})",
        values("$**.*"),
        values("$**[*]")
    )
}

const UNLIKE: Flaw = Flaw(
    "is a JSON document whose text does not fit the types that the server gives for its values",
);

/// Appends the column's union for a document.
pub(super) fn put(out: &mut Vec<u8>, text: &[u8], types: &[u8]) -> Read<()> {
    let text =
        std::str::from_utf8(text).map_err(|_| Flaw("is a JSON document that is not UTF-8"))?;
    let types = std::str::from_utf8(types).map_err(|_| UNLIKE)?;
    let mut types = types.split(';');
    let (Some(root), Some(members), Some(elements), None) =
        (types.next(), types.next(), types.next(), types.next())
    else {
        return Err(UNLIKE);
    };
    let root = Kind::of(root).ok_or(UNLIKE)?;
    let plain = root == Kind::Plain && !members.contains(':') && !elements.contains(':');
    if plain && !has_long_number(text.as_bytes()) {
        datum::put_json(out, text);
        return Ok(());
    }
    let mut document = parse(text)?;
    let mut kinds = Kinds {
        members: List::parse(members)?,
        elements: List::parse(elements)?,
    };
    document.take(root)?;
    document.give(&mut kinds)?;
    kinds.members.end()?;
    kinds.elements.end()?;
    if document.is_exact()? {
        datum::put_json(out, text);
        return Ok(());
    }
    let (kind, value) = document.encode()?;
    let mut whole = Vec::with_capacity(1 + value.len());
    whole.push(kind);
    whole.extend_from_slice(&value);
    let start = out.len();
    json::put(out, &whole)?;
    let mut put = avro::Reader::new(&out[start..]);
    let printed = put.long().and_then(|_| put.str());
    match printed.is_ok_and(|printed| printed == text) {
        true => Ok(()),
        false => Err(UNLIKE),
    }
}

/// Whether there are ten digits in a row, as in any integer that text may give another sign. In a string, too: that is only slower.
fn has_long_number(text: &[u8]) -> bool {
    const RUN: usize = 10;
    let digits = |part: &mut dyn Iterator<Item = &u8>| {
        part.take(RUN)
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    // Every such row has one of these.
    (RUN - 1..text.len()).step_by(RUN).any(|at| {
        let (before, behind) = text.split_at(at);
        text[at].is_ascii_digit()
            && digits(&mut before.iter().rev()) + digits(&mut behind.iter()) >= RUN
    })
}

/// What is said of a value beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it is what it looks like.
    Plain,
    Unsigned,
    Decimal,
    /// With the type of column that it is packed as.
    Temporal(u8),
    /// Bytes; their text has the type.
    Bytes,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "NULL" | "BOOLEAN" | "INTEGER" | "DOUBLE" | "STRING" | "OBJECT" | "ARRAY" => {
                Self::Plain
            }
            "UNSIGNED INTEGER" => Self::Unsigned,
            "DECIMAL" => Self::Decimal,
            "TIMESTAMP" => Self::Temporal(TIMESTAMP),
            "DATE" => Self::Temporal(DATE),
            "TIME" => Self::Temporal(TIME),
            "DATETIME" => Self::Temporal(DATETIME),
            "BLOB" | "BIT" | "GEOMETRY" | "OPAQUE" => Self::Bytes,
            _ => return None,
        })
    }
}

const TIMESTAMP: u8 = 7;
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;

/// The types of the members, or of the elements, of a document.
struct List {
    /// In the order of their places.
    kinds: Vec<(usize, Kind)>,
    given: usize,
    /// Values that were gone through, and how many there are.
    place: usize,
    count: usize,
}

impl List {
    fn parse(text: &str) -> Read<Self> {
        let (count, entries) = match text.split_once(':') {
            Some((count, entries)) => (count, Some(entries)),
            None => (text, None),
        };
        let entry = |entry: &str| {
            let (place, name) = entry.split_at(entry.find(|c: char| !c.is_ascii_digit())?);
            Some((place.parse().ok()?, Kind::of(name)?))
        };
        let entries = entries.into_iter().flat_map(|entries| entries.split(','));
        let kinds: Option<Vec<_>> = entries.map(entry).collect();
        let mut kinds = kinds.ok_or(UNLIKE)?;
        kinds.sort_by_key(|(place, _)| *place);
        Ok(Self {
            kinds,
            given: 0,
            place: 0,
            count: count.parse().map_err(|_| UNLIKE)?,
        })
    }

    fn next(&mut self) -> Kind {
        self.place += 1;
        match self.kinds.get(self.given) {
            Some((place, kind)) if *place == self.place => {
                self.given += 1;
                *kind
            }
            _ => Kind::Plain,
        }
    }

    /// All of the document was gone through, and all of the list.
    fn end(&self) -> Read<()> {
        match (self.place, self.given) == (self.count, self.kinds.len()) {
            true => Ok(()),
            false => Err(UNLIKE),
        }
    }
}

struct Kinds {
    members: List,
    elements: List,
}

impl<'a> Node<'a> {
    fn take(&mut self, of: Kind) -> Read<()> {
        match self {
            Self::Scalar(_, kind) => *kind = of,
            _ if of == Kind::Plain => {}
            _ => return Err(UNLIKE),
        }
        Ok(())
    }

    /// Gives the values of a container their types: first all of its own, then what lies in them. No deeper than the parser goes.
    fn give(&mut self, kinds: &mut Kinds) -> Read<()> {
        match self {
            Self::Scalar(..) => {}
            Self::Array(elements) => {
                for value in elements.iter_mut() {
                    value.take(kinds.elements.next())?;
                }
                for value in elements {
                    value.give(kinds)?;
                }
            }
            Self::Object(members) => {
                for (_, value) in members.iter_mut() {
                    value.take(kinds.members.next())?;
                }
                for (_, value) in members {
                    value.give(kinds)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the server makes the same document of its text.
    fn is_exact(&self) -> Read<bool> {
        match self {
            Self::Scalar(Token::Number(text), Kind::Plain) if !is_double(text) => {
                let value: i64 = text.parse().map_err(|_| UNLIKE)?;
                Ok(value <= i64::from(SIGNED_IN_TEXT))
            }
            Self::Scalar(Token::Number(text), Kind::Unsigned) => {
                let value: u64 = text.parse().map_err(|_| UNLIKE)?;
                Ok(value > u64::from(SIGNED_IN_TEXT))
            }
            Self::Scalar(_, kind) => Ok(*kind == Kind::Plain),
            Self::Array(elements) => all(elements.iter()),
            Self::Object(members) => all(members.iter().map(|(_, value)| value)),
        }
    }

    fn encode(self) -> Read<Encoded<'a>> {
        match self {
            Self::Scalar(token, kind) => scalar(token, kind),
            Self::Array(elements) => {
                let values: Vec<_> = encode_all(elements.into_iter())?;
                container(None, &values)
            }
            Self::Object(members) => {
                let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
                let names: Vec<_> = (names.into_iter().map(unescaped)).collect::<Result<_, _>>()?;
                let values = encode_all(values.into_iter())?;
                container(Some(&names), &values)
            }
        }
    }
}

fn all<'n>(mut nodes: impl Iterator<Item = &'n Node<'n>>) -> Read<bool> {
    nodes.try_fold(true, |exact, node| Ok(node.is_exact()? && exact))
}

fn encode_all<'a>(nodes: impl Iterator<Item = Node<'a>>) -> Read<Vec<Encoded<'a>>> {
    nodes.map(Node::encode).collect()
}

fn is_double(number: &str) -> bool {
    number.bytes().any(|byte| matches!(byte, b'.' | b'e'))
}

fn scalar<'a>(token: Token<'_>, kind: Kind) -> Read<Encoded<'a>> {
    Ok(match (token, kind) {
        (Token::Literal(word), Kind::Plain) => binary::literal(word),
        (Token::Number(text), Kind::Plain) => match is_double(text) {
            true => binary::double(text.parse().map_err(|_| UNLIKE)?),
            false => binary::signed(text.parse().map_err(|_| UNLIKE)?),
        },
        (Token::Number(text), Kind::Unsigned) => {
            binary::unsigned(text.parse().map_err(|_| UNLIKE)?)
        }
        (Token::Number(text), Kind::Decimal) => {
            let (negative, digits) = match text.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, text),
            };
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            binary::decimal(negative, whole.as_bytes(), fraction.as_bytes())?
        }
        (Token::String(text), Kind::Plain) => binary::string(&unescaped(text)?),
        (Token::String(text), Kind::Temporal(field)) => {
            let packed = packed(field, &unescaped(text)?).ok_or(UNLIKE)?;
            binary::opaque(field, &packed.to_le_bytes())
        }
        (Token::String(text), Kind::Bytes) => {
            let (field, bytes) = based(&unescaped(text)?).ok_or(UNLIKE)?;
            binary::opaque(field, &bytes)
        }
        _ => return Err(UNLIKE),
    })
}

/// A date or time in the server's packed form: `json` has it.
fn packed(field: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = rest.split(['-', ' ', ':', '.']).map(|digits| {
        let short = (1..=6).contains(&digits.len());
        digits.parse().ok().filter(|_: &i64| short)
    });
    let mut next = || parts.next()?;
    let day = match field {
        TIME => 0,
        _ => ((next()? * 13 + next()?) << 5 | next()?) << 17,
    };
    let clock = match field {
        DATE => 0,
        _ => (next()? << 12 | next()? << 6 | next()?) << 24 | next()?,
    };
    let packed = day << 24 | clock;
    Some(if negative {
        packed.wrapping_neg()
    } else {
        packed
    })
}

/// `base64:typeNN:...`: the column type and the bytes.
fn based(text: &[u8]) -> Option<(u8, Vec<u8>)> {
    let rest = text.strip_prefix(b"base64:type")?;
    let colon = rest.iter().position(|&byte| byte == b':')?;
    let field = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
    let mut out = Vec::with_capacity(rest.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    // Lines end after 76 characters.
    for &byte in rest[colon + 1..].iter().filter(|&&byte| byte != b'\n') {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some((field, out))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use binferry_generate::{Random, seed};

    use super::*;

    fn selected(text: &str, types: &str) -> Read<Vec<u8>> {
        let mut out = Vec::new();
        put(&mut out, text.as_bytes(), types.as_bytes())?;
        Ok(out)
    }

    fn decoded(kind: u8, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        json::put(&mut out, &[&[kind], value].concat()).unwrap();
        out
    }

    fn is_text(datum: &[u8]) -> bool {
        datum[0] == 2
    }

    #[test]
    fn integers_of_either_sign() {
        for (text, types, exact) in [
            ("4294967295", "INTEGER;0;0", true),
            ("4294967296", "INTEGER;0;0", false),
            ("4294967296", "UNSIGNED INTEGER;0;0", true),
            ("4294967295", "UNSIGNED INTEGER;0;0", false),
            ("-9223372036854775808", "INTEGER;0;0", true),
            ("18446744073709551615", "UNSIGNED INTEGER;0;0", true),
            (r#"{"at": 1700000000000}"#, "OBJECT;1;0", false),
            (
                r#"{"at": 1700000000000}"#,
                "OBJECT;1:1UNSIGNED INTEGER;0",
                true,
            ),
            (r#"{"at": "1700000000000"}"#, "OBJECT;1;0", true),
        ] {
            let datum = selected(text, types).unwrap();
            assert_eq!(is_text(&datum), exact, "{text} {types}");
        }
    }

    #[test]
    fn long_numbers_are_found_wherever_they_stand() {
        for before in 0..25 {
            for digits in 1..25 {
                let text = ["x".repeat(before), "7".repeat(digits), "]".repeat(3)].concat();
                assert_eq!(has_long_number(text.as_bytes()), digits >= 10, "{text}");
            }
        }
        assert!(!has_long_number(b"123456789.123456789,123456789"));
    }

    #[test]
    fn places_go_through_a_container_before_what_lies_in_it() {
        let text = r#"{"a": [1, [2]], "b": {"c": 3, "d": "2026-01-02"}, "e": 4, "f": [5.0]}"#;
        let types = "OBJECT;6:6DATE,3DECIMAL;4:4DECIMAL,3UNSIGNED INTEGER";
        // Of the arrays: 1 and [2] are the first's, then 2, then 5.0.
        let datum = selected(text, types).unwrap();
        let date = binary::opaque(DATE, &(((2026 * 13 + 1) << 5 | 2_i64) << 41).to_le_bytes());
        let one = |value| container(None, &[value]).unwrap();
        let decimal = |whole, fraction| binary::decimal(false, whole, fraction).unwrap();
        let object = |members: Vec<(&'static str, Encoded<'static>)>| {
            let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            let names: Vec<_> = names.iter().map(|n| Cow::Borrowed(n.as_bytes())).collect();
            container(Some(&names), &values).unwrap()
        };
        let inner = object(vec![("c", binary::signed(3)), ("d", date)]);
        let pair = container(None, &[binary::signed(1), one(binary::unsigned(2))]).unwrap();
        let (kind, value) = object(vec![
            ("a", pair),
            ("b", inner),
            ("e", decimal(b"4", b"")),
            ("f", one(decimal(b"5", b"0"))),
        ]);
        assert_eq!(datum, decoded(kind, &value));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (text, types) in [
            (r#"{"a": 1}"#, "OBJECT;1:1DATE;0"),
            (r#"{"a": "x"}"#, "OBJECT;1:1DATE;0"),
            (r#"{"a": "2026-1-2"}"#, "OBJECT;1:1DATE;0"),
            (r#"{"a": "2026-01-02"}"#, "OBJECT;1:1DATETIME;0"),
            (r#"{"a": "999999-999999-999999"}"#, "OBJECT;1:1DATE;0"),
            (r#"{"a": "abc"}"#, "OBJECT;1:1BLOB;0"),
            (r#"{"a": "base64:type252:YW!="}"#, "OBJECT;1:1BLOB;0"),
            (r#"{"a": "base64:type300:YWJj"}"#, "OBJECT;1:1BLOB;0"),
            (r#"{"a": 1e5}"#, "OBJECT;1:1DECIMAL;0"),
            (r#"{"a": 1.5}"#, "OBJECT;1:1UNSIGNED INTEGER;0"),
            (r#"{"a": -1}"#, "OBJECT;1:1UNSIGNED INTEGER;0"),
            (r#"{"a": [1]}"#, "OBJECT;1:1DECIMAL;1"),
            (r#"{"a": true}"#, "OBJECT;1:1DECIMAL;0"),
            // Another number of values, one too few or too many in the list, a name that was cut.
            (r#"{"a": 1}"#, "OBJECT;2:1DECIMAL;0"),
            (r#"{"a": 1}"#, "OBJECT;1:1DECIMAL;1"),
            (r#"{"a": 1}"#, "OBJECT;1:2DECIMAL;0"),
            (r#"{"a": 1}"#, "OBJECT;1:1DECIMAL,1DECIMAL;0"),
            (r#"{"a": 1}"#, "OBJECT;1:1DECI;0"),
            (r#"{"a": 1}"#, "OBJECT;1:DECIMAL;0"),
            (r#"{"a": 1}"#, "OBJECT;1:1DECIMAL"),
            (r#"{"a": 1}"#, "DECIMAL;1;0"),
            ("99999999999999999999", "INTEGER;0;0"),
            // Not as the server prints it.
            (r#"{"a":1}"#, "OBJECT;1:1DECIMAL;0"),
            (r#"{"a": 1"#, "OBJECT;1:1DECIMAL;0"),
            (r#"{"a": 1}}"#, "OBJECT;1:1DECIMAL;0"),
            (r#"{"a\"#, "OBJECT;1:1DECIMAL;0"),
            ("", "DECIMAL;0;0"),
        ] {
            assert!(selected(text, types).is_err(), "{text} {types}");
        }
        let deep = ["[".repeat(101), "]".repeat(101)].concat();
        assert!(selected(&deep, "ARRAY;0;100:1DECIMAL").is_err());
    }

    /// A value, its text and its types, drawn together.
    struct Drawn {
        encoded: Encoded<'static>,
        kind: &'static str,
        values: Vec<Drawn>,
        object: bool,
    }

    fn drawn(random: &mut Random, depth: u32) -> Drawn {
        let scalar = |encoded, kind| Drawn {
            encoded,
            kind,
            values: Vec::new(),
            object: false,
        };
        let word = random.word() >> random.below(64);
        let count = random.below(6);
        let bytes = |random: &mut Random, length: u64| -> Vec<u8> {
            (0..random.below(length))
                .map(|_| random.word() as u8)
                .collect()
        };
        match random.below(if depth > 4 { 11 } else { 15 }) {
            0 => scalar(binary::literal(random.below(3) as u8), ""),
            1 => scalar(binary::signed(word as i64), ""),
            2 => scalar(binary::signed(-((word >> 1) as i64)), ""),
            3 => scalar(binary::unsigned(word), "UNSIGNED INTEGER"),
            4 => {
                let value = f64::from_bits(random.word());
                let value = if value.is_finite() { value } else { 0.5 };
                scalar(binary::double(value), "")
            }
            5 => {
                // No zeros in front, which do not show.
                let digits = |random: &mut Random, n| -> Vec<u8> {
                    (0..n).map(|_| b'1' + random.below(9) as u8).collect()
                };
                let (whole, fraction) = (1 + random.below(35), random.below(31));
                let (whole, fraction) = (digits(random, whole), digits(random, fraction));
                let negative = random.below(2) == 0;
                scalar(
                    binary::decimal(negative, &whole, &fraction).unwrap(),
                    "DECIMAL",
                )
            }
            6 => {
                let (field, kind) = *random.pick(&[
                    (DATE, "DATE"),
                    (DATETIME, "DATETIME"),
                    (TIMESTAMP, "TIMESTAMP"),
                ]);
                let date = (random.below(10_000) * 13 + random.below(13)) << 5 | random.below(32);
                let clock = random.below(24) << 12 | random.below(60) << 6 | random.below(60);
                let clock = if field == DATE {
                    0
                } else {
                    clock << 24 | random.below(1_000_000)
                };
                let packed = (date << 41 | clock).to_le_bytes();
                scalar(binary::opaque(field, &packed), kind)
            }
            7 => {
                let clock = random.below(839) << 12 | random.below(60) << 6 | random.below(60);
                let packed = (clock << 24 | random.below(1_000_000)) as i64;
                let packed = if random.below(2) == 0 {
                    -packed
                } else {
                    packed
                };
                scalar(binary::opaque(TIME, &packed.to_le_bytes()), "TIME")
            }
            8 => {
                let (field, kind) = *random.pick(&[
                    (15, "BLOB"),
                    (16, "BIT"),
                    (252, "BLOB"),
                    (254, "BLOB"),
                    (255, "GEOMETRY"),
                ]);
                let bytes = bytes(random, 200);
                scalar(binary::opaque(field, &bytes), kind)
            }
            // Quotes, backslashes, control characters, and what looks like something else.
            9 => scalar(binary::string(b"2026-01-02"), ""),
            10 => {
                let length = if random.below(50) == 0 { 40_000 } else { 40 };
                let text: String = (bytes(random, length).into_iter())
                    .map(|byte| {
                        char::from(if random.below(3) == 0 {
                            byte
                        } else {
                            byte & 0x3f
                        })
                    })
                    .collect();
                scalar(binary::string(text.as_bytes()), "")
            }
            11 | 12 => {
                let values: Vec<_> = (0..count).map(|_| drawn(random, depth + 1)).collect();
                let encoded: Vec<_> = values.iter().map(|v| v.encoded.clone()).collect();
                Drawn {
                    encoded: container(None, &encoded).unwrap(),
                    kind: "",
                    values,
                    object: false,
                }
            }
            _ => {
                let values: Vec<_> = (0..count).map(|_| drawn(random, depth + 1)).collect();
                let names: Vec<_> = (0..count)
                    .map(|n| format!("\"\\\n{n}é").into_bytes().into())
                    .collect();
                let encoded: Vec<_> = values.iter().map(|v| v.encoded.clone()).collect();
                Drawn {
                    encoded: container(Some(&names), &encoded).unwrap(),
                    kind: "",
                    values,
                    object: true,
                }
            }
        }
    }

    /// What the server would list.
    fn list(drawn: &Drawn, objects: bool, count: &mut usize, entries: &mut Vec<String>) {
        if drawn.object == objects {
            for value in &drawn.values {
                *count += 1;
                if !value.kind.is_empty() {
                    entries.push(format!("{count}{}", value.kind));
                }
            }
        }
        for value in &drawn.values {
            list(value, objects, count, entries);
        }
    }

    #[test]
    fn any_document_comes_back_out_of_its_text_and_types() {
        let seed = seed();
        let mut random = Random::new(seed);
        let mut texts = 0;
        for round in 0..5000 {
            let drawn = drawn(&mut random, 0);
            let (kind, value) = &drawn.encoded;
            let datum = decoded(*kind, value);
            let mut reader = avro::Reader::new(&datum);
            reader.long().unwrap();
            let text = reader.str().unwrap();
            let lists = [true, false].map(|objects| {
                let (mut count, mut entries) = (0, Vec::new());
                list(&drawn, objects, &mut count, &mut entries);
                match entries.is_empty() {
                    true => count.to_string(),
                    false => format!("{count}:{}", entries.join(",")),
                }
            });
            let root = if drawn.kind.is_empty() {
                "STRING"
            } else {
                drawn.kind
            };
            let types = format!("{root};{};{}", lists[0], lists[1]);
            let found = selected(text, &types);
            assert!(
                found.as_ref() == Ok(&datum),
                "seed {seed}, round {round}: {text} {types} {found:?}"
            );
            texts += usize::from(is_text(&datum));
        }
        assert!((500..4500).contains(&texts), "{texts}");
    }
}
