//! Values to MySQL's binary JSON, laid out as the server lays out a document that is written whole (`json` has the format).
//!
//! A container has the small form when its whole length fits 16 bits, and the large one otherwise. Names come in front of the values, each
//! in the order of the members, and nothing lies between them: `serialize_json_value` in `sql-common/json_binary.cc`.

use std::borrow::Cow;

use super::{
    cursor::{Flaw, Read},
    decimal,
    json::is_inline,
};

/// Type byte, and the bytes of the value behind it.
pub(super) type Encoded<'a> = (u8, Cow<'a, [u8]>);

fn owned<'a>(kind: u8, bytes: impl Into<Vec<u8>>) -> Encoded<'a> {
    (kind, Cow::Owned(bytes.into()))
}

/// 0 is null, 1 true, 2 false.
pub(super) fn literal<'a>(word: u8) -> Encoded<'a> {
    owned(0x04, [word])
}

pub(super) fn signed<'a>(value: i64) -> Encoded<'a> {
    if let Ok(value) = i16::try_from(value) {
        owned(0x05, value.to_le_bytes())
    } else if let Ok(value) = i32::try_from(value) {
        owned(0x07, value.to_le_bytes())
    } else {
        owned(0x09, value.to_le_bytes())
    }
}

pub(super) fn unsigned<'a>(value: u64) -> Encoded<'a> {
    if let Ok(value) = u16::try_from(value) {
        owned(0x06, value.to_le_bytes())
    } else if let Ok(value) = u32::try_from(value) {
        owned(0x08, value.to_le_bytes())
    } else {
        owned(0x0a, value.to_le_bytes())
    }
}

pub(super) fn double<'a>(value: f64) -> Encoded<'a> {
    owned(0x0b, value.to_le_bytes())
}

pub(super) fn string<'a>(text: &[u8]) -> Encoded<'a> {
    let mut out = Vec::with_capacity(5 + text.len());
    put_long(&mut out, text);
    owned(0x0c, out)
}

/// A value of a column's type, in its packed form.
pub(super) fn opaque<'a>(field: u8, packed: &[u8]) -> Encoded<'a> {
    let mut out = Vec::with_capacity(6 + packed.len());
    out.push(field);
    put_long(&mut out, packed);
    owned(0x0f, out)
}

/// A DECIMAL of these digits before and after the point, all ASCII. Its precision is that of the digits.
pub(super) fn decimal<'a>(negative: bool, whole: &[u8], fraction: &[u8]) -> Read<Encoded<'a>> {
    let (precision, scale) = (whole.len() + fraction.len(), fraction.len());
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ ..=65), Ok(scale @ ..=30)) => {
            let mut packed = vec![precision, scale];
            decimal::pack(&mut packed, negative, whole, fraction);
            Ok(opaque(246, &packed))
        }
        _ => Err(Flaw(
            "is a JSON document with a decimal of impossible precision",
        )),
    }
}

/// Bytes behind a length of 7 bits a byte, lowest first.
fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// An array, or an object with its members' names in their order.
pub(super) fn container<'v>(
    names: Option<&[Cow<'_, [u8]>]>,
    values: &[Encoded<'_>],
) -> Read<Encoded<'v>> {
    let large = length(names, values, false) > usize::from(u16::MAX);
    let kind = u8::from(names.is_none()) << 1 | u8::from(large);
    let width = if large { 4 } else { 2 };
    let size = length(names, values, large);
    u32::try_from(size).map_err(|_| Flaw("makes a JSON document too large"))?;
    let names = names.unwrap_or_default();
    let mut out = Vec::with_capacity(size);
    let number = |out: &mut Vec<u8>, number: usize| {
        out.extend_from_slice(&(number as u64).to_le_bytes()[..width]);
    };
    number(&mut out, values.len());
    number(&mut out, size);
    let mut offset = 2 * width + names.len() * (width + 2) + values.len() * (width + 1);
    for name in names {
        number(&mut out, offset);
        let length = u16::try_from(name.len())
            .map_err(|_| Flaw("gives a JSON document a name that is too long"))?;
        out.extend_from_slice(&length.to_le_bytes());
        offset += name.len();
    }
    for (kind, value) in values {
        out.push(*kind);
        if is_inline(*kind, large) {
            out.extend_from_slice(value);
            // As a number of the place's width: a negative one keeps its sign.
            let negative = *kind == 0x05 && value.last().is_some_and(|&byte| byte & 0x80 != 0);
            let sign = if negative { 0xff } else { 0 };
            out.resize(out.len() + width - value.len(), sign);
        } else {
            number(&mut out, offset);
            offset += value.len();
        }
    }
    for name in names {
        out.extend_from_slice(name);
    }
    for (kind, value) in values {
        if !is_inline(*kind, large) {
            out.extend_from_slice(value);
        }
    }
    debug_assert_eq!(out.len(), size);
    Ok((kind, Cow::Owned(out)))
}

fn length(names: Option<&[Cow<'_, [u8]>]>, values: &[Encoded<'_>], large: bool) -> usize {
    let width = if large { 4 } else { 2 };
    let names = names.unwrap_or_default();
    2 * width
        + names.len() * (width + 2)
        + names.iter().map(|name| name.len()).sum::<usize>()
        + values.len() * (width + 1)
        + (values.iter())
            .filter(|(kind, _)| !is_inline(*kind, large))
            .map(|(_, value)| value.len())
            .sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_take_the_smallest_form() {
        let kinds = |values: &[i64]| values.iter().map(|&v| signed(v).0).collect::<Vec<_>>();
        assert_eq!(kinds(&[-32768, 32767, -32769, 32768]), [5, 5, 7, 7]);
        assert_eq!(kinds(&[i64::from(i32::MIN), i64::from(i32::MAX)]), [7, 7]);
        assert_eq!(kinds(&[i64::from(i32::MAX) + 1, i64::MIN]), [9, 9]);
        let kinds = |values: &[u64]| values.iter().map(|&v| unsigned(v).0).collect::<Vec<_>>();
        assert_eq!(
            kinds(&[65535, 65536, 4294967295, 4294967296]),
            [6, 8, 8, 10]
        );
    }

    #[test]
    fn lengths_have_seven_bits_a_byte() {
        assert_eq!(string(b"").1[..], [0]);
        assert_eq!(string(&[b'x'; 127]).1[..2], [127, b'x']);
        assert_eq!(string(&[b'x'; 128]).1[..3], [0x80, 1, b'x']);
        assert_eq!(string(&[b'x'; 16384]).1[..4], [0x80, 0x80, 1, b'x']);
    }

    #[test]
    fn decimals() {
        let bytes = |negative, whole: &str, fraction: &str| {
            decimal(negative, whole.as_bytes(), fraction.as_bytes())
        };
        let (kind, value) = bytes(true, "12", "5").unwrap();
        assert_eq!((kind, &value[..]), (0x0f, &[246, 4, 3, 1, !0x8c, !5][..]));
        assert!(bytes(false, &"9".repeat(65), "").is_ok());
        assert!(bytes(false, &"9".repeat(66), "").is_err());
        assert!(bytes(false, "0", &"9".repeat(31)).is_err());
    }

    #[test]
    fn what_stands_in_its_place_fills_it() {
        let long = string(&[b'x'; 65536]);
        let values = [
            signed(-2),
            unsigned(65534),
            literal(1),
            signed(-65537),
            long,
        ];
        let (kind, bytes) = container(None, &values).unwrap();
        assert_eq!(kind, 3);
        let entries = [
            [5, 0xfe, 0xff, 0xff, 0xff],
            [6, 0xfe, 0xff, 0, 0],
            [4, 1, 0, 0, 0],
            [7, 0xff, 0xff, 0xfe, 0xff],
        ];
        assert_eq!(bytes[8..28], entries.concat());
    }

    #[test]
    fn a_container_is_small_up_to_its_last_byte() {
        let whole = |length: usize| {
            let (kind, bytes) = container(None, &[string(&vec![b'x'; length])]).unwrap();
            (kind, bytes.len())
        };
        // Count and size, an entry, the string's length.
        assert_eq!(whole(65535 - 4 - 3 - 3), (2, 65535));
        assert_eq!(whole(65536 - 4 - 3 - 3), (3, 65536 + 4 + 2));
    }
}
