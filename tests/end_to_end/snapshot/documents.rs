//! JSON documents: the types inside of them, which their text does not tell.

use anyhow::{Context, Result};
use binferry_generate::{Kind, Random, SESSION, seed};
use binferry_schemas::{
    datum::{Value, Values},
    row::RowSchema,
};
use binferry_servers::{database, pair};

use super::{same, two};
use crate::values::{LOOSE, odd_documents};

/// Whether two rows are the same but for what no SELECT shows of a document: the zeros in front that decimals inside of it keep.
pub fn alike(schema: &RowSchema, a: &[u8], b: &[u8]) -> bool {
    let values = |row| Values::new(schema, None, row).collect::<Result<Vec<_>, _>>();
    let (Ok(a), Ok(b)) = (values(a), values(b)) else {
        return false;
    };
    a.len() == b.len()
        && a.iter().zip(&b).all(|pair| match pair {
            (
                Some(Value::Json { text: x, binary: a }),
                Some(Value::Json { text: y, binary: b }),
            ) => {
                x == y
                    && (a == b
                        || a.contains(&DECIMAL) && same_values((a[0], &a[1..]), (b[0], &b[1..])))
            }
            (a, b) => a == b,
        })
}

const OBJECTS: std::ops::RangeInclusive<u8> = 0..=1;
const CONTAINERS: std::ops::RangeInclusive<u8> = 0..=3;
const DECIMAL: u8 = 246;

/// Values of documents that print the same.
fn same_values(a: (u8, &[u8]), b: (u8, &[u8])) -> bool {
    match (a, b) {
        ((x, a), (y, b)) if CONTAINERS.contains(&x) && CONTAINERS.contains(&y) => {
            let (one, other) = (parts(x, a), parts(y, b));
            let pairs = one.iter().zip(&other);
            x & 2 == y & 2
                && one.len() == other.len()
                && pairs
                    .into_iter()
                    .all(|(a, b)| a.0 == b.0 && same_values(a.1, b.1))
        }
        // Type, length, precision, scale.
        ((0x0f, [DECIMAL, _, _, scale, ..]), (0x0f, [DECIMAL, _, _, other, ..])) => scale == other,
        ((x, a), (y, b)) => {
            let length = match x {
                0x04 => 1,
                0x05 | 0x06 => 2,
                0x07 | 0x08 => 4,
                0x09..=0x0b => 8,
                0x0c => counted(a),
                _ => 1 + counted(&a[1..]),
            };
            x == y && a[..length] == b[..length]
        }
    }
}

/// Bytes with their length in front.
fn counted(bytes: &[u8]) -> usize {
    let long = bytes.iter().take_while(|&&byte| byte & 0x80 != 0).count();
    let digits = bytes[..=long].iter().rev();
    long + 1 + digits.fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f))
}

type Part<'a> = (&'a [u8], (u8, &'a [u8]));

/// Names and values of a container.
fn parts(kind: u8, bytes: &[u8]) -> Vec<Part<'_>> {
    let width = if kind & 1 == 0 { 2 } else { 4 };
    let number = |at: usize, width: usize| {
        let digits = bytes[at..at + width].iter().rev();
        digits.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let count = number(0, width);
    let names = if OBJECTS.contains(&kind) { count } else { 0 };
    let entries = 2 * width + names * (width + 2);
    let part = |index: usize| {
        let at = 2 * width + index * (width + 2);
        let name = match names {
            0 => &[][..],
            _ => &bytes[number(at, width)..][..number(at + width, 2)],
        };
        let entry = entries + index * (width + 1);
        let kind = bytes[entry];
        let inline = matches!(kind, 4..=6) || width == 4 && matches!(kind, 7 | 8);
        let at = if inline {
            entry + 1
        } else {
            number(entry + 1, width)
        };
        (name, (kind, &bytes[at..]))
    };
    (0..count).map(part).collect()
}

#[test]
fn odd_and_drawn_documents_are_read_as_the_binlog_has_them() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "copy_documents")?;
    let (stream, copy) = two(source, target, &database)?;
    let seed = seed();
    let mut random = Random::new(seed);
    source.sql(&format!(
        "USE `{database}`; {LOOSE}; CREATE TABLE document (id INT AUTO_INCREMENT PRIMARY KEY, j JSON, k JSON);
         CREATE TABLE t (id INT PRIMARY KEY, j JSON, n INT); {}",
        odd_documents()
    ))?;
    for _ in 0..20 {
        let mut document = || Kind::Json.literal(&mut random);
        let rows: Vec<_> = (0..50)
            .map(|_| format!("({}, {})", document(), document()))
            .collect();
        source.sql(&format!(
            "{SESSION} INSERT INTO `{database}`.document (j, k) VALUES {}",
            rows.join(", ")
        ))?;
    }
    same(source, &stream, &copy).with_context(|| format!("seed {seed}"))?;
    Ok(())
}
