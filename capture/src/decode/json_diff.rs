//! Partial JSON updates: an after document, rebuilt from the before document and the changes to it.
//!
//! ```text
//! changes  (operation | length-encoded length, path | unless it removes: length-encoded length, document)*
//! operation: 0 replaces what the path leads to, 1 inserts a member or an array element, 2 removes
//! path     $ (.name | ."quoted name" | [index] | [last] | [last-n])*
//! ```
//!
//! (`sql/json_diff.h`.) What no path leads to stays in its binary form: only the containers on the way are taken apart, and put together
//! again by `json_binary`. A change that does not fit the document is an error: the document would be a guess.
//!
//! The parts of a container that is taken apart must have room in it, so offsets that lead to the same bytes can't make the document grow.

use std::borrow::Cow;

use super::{
    cursor::{Cursor, Flaw, Read},
    json::{BROKEN, DEPTH_MAX, is_inline, long_bytes},
    json_binary::{Encoded, container},
    json_text::quoted,
};

/// The document after `changes`.
pub(super) fn apply(document: &[u8], changes: &[u8]) -> Read<Vec<u8>> {
    let mut root = match document.split_first() {
        None => Node::NULL,
        Some((&kind, value)) => Node::raw(kind, value)?,
    };
    let mut cursor = Cursor::new(changes);
    while !cursor.is_empty() {
        let operation = cursor.u8()?;
        let path = Path::parse(cursor.length_encoded_bytes()?)?;
        let mut value = || {
            let (kind, value) = cursor
                .length_encoded_bytes()?
                .split_first()
                .ok_or(Flaw("changes a JSON document to nothing"))?;
            Node::raw(*kind, value)
        };
        match operation {
            0 => *root.at(&path.legs)? = value()?,
            1 => root.insert(path, value()?)?,
            2 => root.remove(&path)?,
            _ => return Err(Flaw("changes a JSON document in a way that is not known")),
        }
    }
    let (kind, value) = root.finish()?;
    let mut document = Vec::with_capacity(1 + value.len());
    document.push(kind);
    document.extend_from_slice(&value);
    Ok(document)
}

const ELSEWHERE: Flaw = Flaw("changes a JSON document at a place that it does not have");

#[derive(Debug)]
enum Node<'a> {
    /// Type byte, and exactly its bytes.
    Raw(u8, &'a [u8]),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
}

/// The server's order of members: by length, then by bytes.
fn order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl<'a> Node<'a> {
    const NULL: Self = Self::Raw(4, &[0]);

    /// A value at the front of `bytes`.
    fn raw(kind: u8, bytes: &'a [u8]) -> Read<Self> {
        let mut cursor = Cursor::new(bytes);
        let length = match kind {
            0x00 | 0x02 => {
                cursor.u16()?;
                usize::from(cursor.u16()?)
            }
            0x01 | 0x03 => {
                cursor.u32()?;
                cursor.u32()? as usize
            }
            0x04 => 1,
            0x05 | 0x06 => 2,
            0x07 | 0x08 => 4,
            0x09..=0x0b => 8,
            0x0c => {
                long_bytes(&mut cursor)?;
                bytes.len() - cursor.rest().len()
            }
            0x0f => {
                cursor.u8()?;
                long_bytes(&mut cursor)?;
                bytes.len() - cursor.rest().len()
            }
            _ => return Err(Flaw("is a JSON document with a value of unknown type")),
        };
        Ok(Self::Raw(kind, bytes.get(..length).ok_or(BROKEN)?))
    }

    /// Takes a container apart; anything else stays as it is.
    fn open(&mut self) -> Read<()> {
        let &mut Self::Raw(kind @ 0x00..=0x03, bytes) = self else {
            return Ok(());
        };
        let (object, large) = (kind < 2, kind & 1 != 0);
        let width = if large { 4 } else { 2 };
        let mut head = Cursor::new(bytes);
        let count = head.little_endian(width)? as usize;
        head.take(width)?;
        let keys = if object { width + 2 } else { 0 };
        let heads = count.checked_mul(width + 1 + keys).ok_or(BROKEN)?;
        let mut room = bytes.len().checked_sub(2 * width + heads).ok_or(BROKEN)?;
        let mut spend = |length: usize| {
            room = room.checked_sub(length).ok_or(BROKEN)?;
            Ok(())
        };
        let mut key_entries = head;
        head.take(count * keys)?;
        let mut names = Vec::with_capacity(if object { count } else { 0 });
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            if object {
                let offset = key_entries.little_endian(width)? as usize;
                let length = usize::from(key_entries.u16()?);
                spend(length)?;
                let name = bytes.get(offset..).and_then(|rest| rest.get(..length));
                names.push(Cow::Borrowed(name.ok_or(BROKEN)?));
            }
            let kind = head.u8()?;
            let place = head.take(width)?;
            values.push(if is_inline(kind, large) {
                Self::raw(kind, place)?
            } else {
                let offset = Cursor::new(place).little_endian(width)? as usize;
                let value = Self::raw(kind, bytes.get(offset..).ok_or(BROKEN)?)?;
                if let Self::Raw(_, bytes) = value {
                    spend(bytes.len())?;
                }
                value
            });
        }
        *self = match object {
            true => Self::Object(names.into_iter().zip(values).collect()),
            false => Self::Array(values),
        };
        Ok(())
    }

    fn at(&mut self, legs: &[Leg<'_>]) -> Read<&mut Self> {
        let mut node = self;
        for leg in legs {
            node.open()?;
            let found = match (leg, node) {
                (Leg::Member(name), Self::Object(members)) => members
                    .iter_mut()
                    .find_map(|(key, value)| (key == name).then_some(value)),
                (Leg::Element(index), Self::Array(elements)) => {
                    let index = index.of(elements.len());
                    index.and_then(|index| elements.get_mut(index))
                }
                _ => None,
            };
            node = found.ok_or(ELSEWHERE)?;
        }
        Ok(node)
    }

    fn insert(&mut self, mut path: Path<'a>, value: Self) -> Read<()> {
        let last = path.legs.pop().ok_or(ELSEWHERE)?;
        let parent = self.at(&path.legs)?;
        parent.open()?;
        match (last, parent) {
            (Leg::Member(name), Self::Object(members)) => {
                let Err(place) = members.binary_search_by(|(key, _)| order(key, &name)) else {
                    return Err(Flaw("inserts a member that the JSON document has"));
                };
                members.insert(place, (name, value));
            }
            (Leg::Element(index), Self::Array(elements)) => {
                elements.insert(index.to_insert(elements.len()), value);
            }
            _ => return Err(ELSEWHERE),
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path<'_>) -> Read<()> {
        let (last, way) = path.legs.split_last().ok_or(ELSEWHERE)?;
        let parent = self.at(way)?;
        parent.open()?;
        match (last, parent) {
            (Leg::Member(name), Self::Object(members)) => {
                let place = members.iter().position(|(key, _)| key == name);
                members.remove(place.ok_or(ELSEWHERE)?);
            }
            (Leg::Element(index), Self::Array(elements)) => {
                let place = index.of(elements.len());
                elements.remove(place.ok_or(ELSEWHERE)?);
            }
            _ => return Err(ELSEWHERE),
        }
        Ok(())
    }

    /// The binary form, without the type byte that goes in front.
    fn finish(self) -> Read<Encoded<'a>> {
        let (names, values) = match self {
            Self::Raw(kind, bytes) => return Ok((kind, Cow::Borrowed(bytes))),
            Self::Array(elements) => (None, elements),
            Self::Object(members) => {
                let (names, values): (Vec<_>, _) = members.into_iter().unzip();
                (Some(names), values)
            }
        };
        // Only what a path led through is not raw, and paths are no deeper than documents: `Path::parse`.
        let values: Vec<_> = (values.into_iter())
            .map(Self::finish)
            .collect::<Result<_, _>>()?;
        container(names.as_deref(), &values)
    }
}

#[derive(Debug, PartialEq)]
enum Leg<'a> {
    Member(Cow<'a, [u8]>),
    Element(Index),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Index {
    FromStart(usize),
    /// 0 is the last element.
    FromEnd(usize),
}

impl Index {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        match text.strip_prefix("last") {
            None => text.parse().ok().map(Self::FromStart),
            Some("") => Some(Self::FromEnd(0)),
            Some(rest) => {
                let number = rest.trim_start().strip_prefix('-')?.trim_start();
                number.parse().ok().map(Self::FromEnd)
            }
        }
    }

    /// Where it is in an array of so many elements.
    fn of(self, length: usize) -> Option<usize> {
        match self {
            Self::FromStart(index) => Some(index).filter(|&index| index < length),
            Self::FromEnd(index) => length.checked_sub(index)?.checked_sub(1),
        }
    }

    /// Where an element is inserted: beyond either end means at that end.
    fn to_insert(self, length: usize) -> usize {
        self.of(length).unwrap_or(match self {
            Self::FromStart(_) => length,
            Self::FromEnd(_) => 0,
        })
    }
}

#[derive(Debug)]
struct Path<'a> {
    legs: Vec<Leg<'a>>,
}

const NO_PATH: Flaw = Flaw("changes a JSON document at a path that is none");

impl<'a> Path<'a> {
    fn parse(text: &'a [u8]) -> Read<Self> {
        let mut rest = text.strip_prefix(b"$").ok_or(NO_PATH)?;
        let mut legs = Vec::new();
        while let Some((&first, after)) = rest.split_first() {
            let (leg, length) = match first {
                b'[' => {
                    let end = after.iter().position(|&byte| byte == b']');
                    let digits = &after[..end.ok_or(NO_PATH)?];
                    let index = Index::parse(digits).ok_or(NO_PATH)?;
                    (Leg::Element(index), digits.len() + 1)
                }
                b'.' if after.first() == Some(&b'"') => {
                    let (name, length) = quoted(&after[1..]).ok_or(NO_PATH)?;
                    (Leg::Member(name), length + 1)
                }
                b'.' => {
                    let end = after.iter().position(|byte| matches!(byte, b'.' | b'['));
                    let length = end.unwrap_or(after.len());
                    (Leg::Member(Cow::Borrowed(&after[..length])), length)
                }
                _ => return Err(NO_PATH),
            };
            if legs.len() >= DEPTH_MAX as usize {
                return Err(NO_PATH);
            }
            legs.push(leg);
            rest = &after[length..];
        }
        Ok(Self { legs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let legs = |text: &'static [u8]| Path::parse(text).map(|path| path.legs);
        let member = |name: &'static [u8]| Leg::Member(Cow::Borrowed(name));
        assert_eq!(legs(b"$"), Ok(vec![]));
        assert_eq!(
            legs(b"$.a[10].\"b c\"[last][last-2]"),
            Ok(vec![
                member(b"a"),
                Leg::Element(Index::FromStart(10)),
                member(b"b c"),
                Leg::Element(Index::FromEnd(0)),
                Leg::Element(Index::FromEnd(2))
            ])
        );
        assert_eq!(
            legs(r#"$."q\"\\\n\u0001.[".é"#.as_bytes()),
            Ok(vec![member(b"q\"\\\n\x01.["), member("é".as_bytes())])
        );
        for text in [
            &b""[..],
            b"a",
            b"$x",
            b"$[",
            b"$[x]",
            b"$[-1]",
            b"$.\"a",
            b"$.\"\\",
            b"$.\"\\u00e9\"",
            b"$.\"\\x\"",
        ] {
            assert!(Path::parse(text).is_err(), "{text:?}");
        }
    }

    /// {"a": [1, null]}
    const DOCUMENT: &[u8] =
        b"\x00\x01\0\x16\0\x0b\0\x01\0\x02\x0c\0a\x02\0\x0a\0\x05\x01\0\x04\0\0";

    fn text(document: &[u8]) -> String {
        let mut out = Vec::new();
        super::super::json::put(&mut out, document).unwrap();
        let mut reader = binferry_schemas::avro::Reader::new(&out);
        reader.long().unwrap();
        reader.str().unwrap().to_owned()
    }

    fn change(operation: u8, path: &str, value: &[u8]) -> Vec<u8> {
        let mut change = vec![operation, path.len() as u8];
        change.extend_from_slice(path.as_bytes());
        if operation < 2 {
            change.push(value.len() as u8);
            change.extend_from_slice(value);
        }
        change
    }

    #[test]
    fn changes_follow_one_another() {
        assert_eq!(apply(DOCUMENT, b""), Ok(DOCUMENT.to_vec()));
        let changes = [
            change(1, "$.bb", b"\x0c\x01x"),
            change(1, "$.a[9]", b"\x07\0\0\x01\0"),
            change(0, "$.a[0]", b"\x04\x01"),
            change(1, "$.\"\"", b"\x00\0\0\x04\0"),
            change(1, "$.\"\".z", b"\x04\x02"),
            change(2, "$.a[last-1]", b""),
            change(1, "$.a[last-9]", b"\x05\x07\0"),
            change(0, "$.a[last]", b"\x04\x01"),
        ]
        .concat();
        assert_eq!(
            text(&apply(DOCUMENT, &changes).unwrap()),
            r#"{"": {"z": false}, "a": [7, true, true], "bb": "x"}"#
        );
        for end in 1..changes.len() {
            // Whatever it says, it ends.
            let _ = apply(DOCUMENT, &changes[..end]);
        }
        assert_eq!(apply(b"", &change(0, "$", b"\x04\x01")), Ok(vec![4, 1]));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for bad in [
            change(0, "$.b", b"\x04\0"),
            change(1, "$.a", b"\x04\0"),
            change(1, "$", b"\x04\0"),
            change(1, "$[0]", b"\x04\0"),
            change(1, "$.a.b", b"\x04\0"),
            change(2, "$.a[2]", b""),
            change(2, "$", b""),
            change(0, "$.a", b""),
            change(3, "$.a", b""),
            change(0, "$.a[0][0]", b"\x04\0"),
        ] {
            assert!(apply(DOCUMENT, &bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn small_becomes_large_and_small_again() {
        let long = [&b"\x0c\xff\xff\x03"[..], &[b'y'; 65535]].concat();
        let mut grow = vec![1, 5];
        grow.extend_from_slice(b"$.zzz");
        grow.extend_from_slice(&[0xfd, 0x03, 0, 1]);
        grow.extend_from_slice(&long);
        let large = apply(DOCUMENT, &grow).unwrap();
        assert_eq!(large[0], 1);
        assert!(text(&large).starts_with(r#"{"a": [1, null], "zzz": "yyy"#));
        let small = apply(&large, &change(2, "$.zzz", b"")).unwrap();
        assert_eq!(small, DOCUMENT);
    }

    #[test]
    fn shared_offsets_cannot_grow_the_document() {
        // An array of many elements that are all the same string.
        let mut document = vec![2];
        let (count, string) = (100_u16, 200_usize);
        let size = 4 + 3 * usize::from(count) + 2 + string;
        document.extend_from_slice(&count.to_le_bytes());
        document.extend_from_slice(&(size as u16).to_le_bytes());
        for _ in 0..count {
            document.push(12);
            document.extend_from_slice(&(4 + 3 * count).to_le_bytes());
        }
        document.extend_from_slice(&[0xc8, 0x01]);
        document.extend_from_slice(&[b's'; 200]);
        assert_eq!(apply(&document, &change(2, "$[0]", b"")), Err(BROKEN));
    }
}
