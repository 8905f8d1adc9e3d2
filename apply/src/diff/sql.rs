//! The statements of a comparison. All read, and none takes a lock.
//!
//! A row's text is unambiguous: which columns are NULL, then the values that hold no comma, then the others, each but the last one with its
//! length in front. Its digest is SHA-256 of that, and a set of rows has their number and the exclusive or of their digests: 256 bits between
//! two MySQL servers, the first 64 bits where one is a MariaDB, whose bit functions take integers only. Rows without a key may be there
//! twice, which cancels out in an exclusive or, so their digests' first 64 bits are added.

use std::fmt::Write;

use super::{Side, pair::Pair};
use crate::render::literal::hex;

/// Values of a key's columns, as [`super::column::KeyPart::value`] gives them.
pub type Key = Box<[Vec<u8>]>;

/// Rows behind a key, up to and with another one.
///
/// Consecutive ranges, the first one without a lower end and the last one without an upper end, hold each row of either server at least once
/// whatever order that server has: a row is in the first range whose upper end is not below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    pub lower: Option<Key>,
    pub upper: Option<Key>,
}

/// CONCAT is the faster one, and knows no NULL.
fn text(pair: &Pair, side: Side) -> String {
    let nulls: Vec<String> = (pair.columns.iter())
        .filter(|column| column.nullable)
        .map(|column| format!("{} IS NULL", column.quoted.of(side)))
        .collect();
    let mut parts = Vec::new();
    if !nulls.is_empty() {
        parts.push(format!("CONCAT({})", nulls.join(",")));
    }
    let (plain, others): (Vec<_>, Vec<_>) = pair.columns.iter().partition(|column| column.is_plain);
    parts.extend(others.iter().map(|column| column.value.of(side).clone()));
    for (at, column) in plain.iter().enumerate() {
        let value = column.value.of(side);
        // The last one ends with the text.
        if at + 1 < plain.len() {
            parts.push(format!("LENGTH({value})"));
        }
        parts.push(value.clone());
    }
    match nulls.is_empty() {
        true => format!("CONCAT({})", parts.join(",_binary',',")),
        false => format!("CONCAT_WS(_binary',',{})", parts.join(",")),
    }
}

fn digest(pair: &Pair, side: Side) -> String {
    format!("UNHEX(SHA2({},256))", text(pair, side))
}

fn number(pair: &Pair, side: Side) -> String {
    format!(
        "CAST(CONV(LEFT(SHA2({},256),16),16,10) AS UNSIGNED)",
        text(pair, side)
    )
}

fn sum(pair: &Pair, side: Side) -> String {
    match (pair.key.is_empty(), pair.wide) {
        (true, _) => format!("COUNT(*),SUM({})", number(pair, side)),
        (false, true) => format!("COUNT(*),BIT_XOR({})", digest(pair, side)),
        (false, false) => format!("COUNT(*),BIT_XOR({})", number(pair, side)),
    }
}

fn key_list(pair: &Pair, side: Side) -> String {
    let parts: Vec<&str> = (pair.key.iter())
        .map(|part| part.value.of(side).as_str())
        .collect();
    parts.join(",")
}

fn from(pair: &Pair, side: Side) -> String {
    format!(
        " FROM {} FORCE INDEX ({})",
        pair.quoted.of(side),
        pair.index.of(side)
    )
}

/// `a >= x AND (a > x OR a = x AND (b > y))`, which the range optimizer understands.
fn bounded(pair: &Pair, side: Side, key: &Key, sign: &str, last: &str) -> Option<String> {
    let mut condition = String::new();
    for (part, value) in pair.key.iter().zip(key).rev() {
        let (name, literal) = (part.quoted.of(side), part.literal(side, value)?);
        condition = match condition.is_empty() {
            true => format!("{name}{last}{literal}"),
            false => format!(
                "{name}{sign}={literal} AND ({name}{sign}{literal} OR {name}={literal} AND ({condition}))"
            ),
        };
    }
    Some(condition)
}

/// `None`: a key that no server gives.
fn within(pair: &Pair, side: Side, range: &Range) -> Option<String> {
    let mut out = " WHERE TRUE".to_owned();
    for (key, sign, last) in [(&range.lower, ">", ">"), (&range.upper, "<", "<=")] {
        if let Some(key) = key {
            let _ = write!(out, " AND {}", bounded(pair, side, key, sign, last)?);
        }
    }
    Some(out)
}

pub fn range_sum(pair: &Pair, side: Side, range: &Range) -> Option<String> {
    let (sum, from) = (sum(pair, side), from(pair, side));
    Some(format!("SELECT {sum}{from}{}", within(pair, side, range)?))
}

/// Key and digest of each row.
pub fn range_rows(pair: &Pair, side: Side, range: &Range) -> Option<String> {
    let (key, digest) = (key_list(pair, side), digest(pair, side));
    let from = from(pair, side);
    Some(format!(
        "SELECT {key},{digest}{from}{}",
        within(pair, side, range)?
    ))
}

/// The key behind which the range has `rows` fewer.
pub fn cut(pair: &Pair, side: Side, range: &Range, rows: u64) -> Option<String> {
    let order: Vec<&str> = (pair.key.iter())
        .map(|part| part.quoted.of(side).as_str())
        .collect();
    Some(format!(
        "SELECT {}{}{} ORDER BY {} LIMIT 1 OFFSET {}",
        key_list(pair, side),
        from(pair, side),
        within(pair, side, range)?,
        order.join(","),
        rows.saturating_sub(1)
    ))
}

fn any(pair: &Pair, side: Side, keys: &[Key]) -> Option<String> {
    let of = |key: &Key| {
        let parts: Option<Vec<String>> = (pair.key.iter().zip(key))
            .map(|(part, value)| {
                Some(format!(
                    "{}={}",
                    part.quoted.of(side),
                    part.literal(side, value)?
                ))
            })
            .collect();
        Some(format!("({})", parts?.join(" AND ")))
    };
    let keys: Option<Vec<String>> = keys.iter().map(of).collect();
    Some(keys?.join(" OR "))
}

/// Key and digest of the rows with these keys, and of those whose keys are equal by collation.
pub fn rows(pair: &Pair, side: Side, keys: &[Key]) -> Option<String> {
    Some(format!(
        "SELECT {},{}{} WHERE {}",
        key_list(pair, side),
        digest(pair, side),
        from(pair, side),
        any(pair, side, keys)?
    ))
}

/// What finds one row: by its key, or without one a row with the digest, of which there may be several.
pub fn condition(pair: &Pair, side: Side, key: &Key) -> Option<String> {
    match pair.key.is_empty() {
        true => Some(format!("{}={}", digest(pair, side), hex(key.first()?))),
        false => any(pair, side, std::slice::from_ref(key)),
    }
}

/// Key, digest, and the digest of each column.
pub fn columns(pair: &Pair, side: Side, keys: &[Key]) -> Option<String> {
    let columns: Vec<String> = (pair.columns.iter())
        .map(|column| {
            let (name, value) = (column.quoted.of(side), column.value.of(side));
            format!("UNHEX(SHA2(CONCAT_WS(_binary',',{name} IS NULL,{value}),256))")
        })
        .collect();
    Some(format!(
        "SELECT {},{},{}{} WHERE {}",
        key_list(pair, side),
        digest(pair, side),
        columns.join(","),
        from(pair, side),
        any(pair, side, keys)?
    ))
}

/// In which of so many buckets a row is: by its key where it has one, otherwise by all of it.
fn bucket(pair: &Pair, side: Side, buckets: u64) -> String {
    let of = match pair.key.is_empty() {
        true => digest(pair, side),
        false => format!("CONCAT_WS(_binary',',{})", key_list(pair, side)),
    };
    format!("CRC32({of})%{buckets}")
}

/// Number and sum of each bucket.
pub fn bucket_sums(pair: &Pair, side: Side, buckets: u64) -> String {
    format!(
        "SELECT {},{} FROM {} GROUP BY 1",
        bucket(pair, side, buckets),
        sum(pair, side),
        pair.quoted.of(side)
    )
}

/// Key and digest of each row of a bucket; without a key, digest and number of equal rows.
pub fn bucket_rows(pair: &Pair, side: Side, buckets: u64, wanted: &[u64]) -> String {
    let digest = digest(pair, side);
    let select = match pair.key.is_empty() {
        true => format!("{digest},COUNT(*)"),
        false => format!("{},{digest}", key_list(pair, side)),
    };
    let wanted: Vec<String> = wanted.iter().map(u64::to_string).collect();
    let end = match pair.key.is_empty() {
        // By its place: the table may have a column of any name.
        true => " GROUP BY 1",
        false => "",
    };
    format!(
        "SELECT {select} FROM {} WHERE {} IN ({}){end}",
        pair.quoted.of(side),
        bucket(pair, side, buckets),
        wanted.join(",")
    )
}

/// How many rows have each of these digests.
pub fn counts(pair: &Pair, side: Side, digests: &[Key]) -> String {
    let digests: Vec<String> = digests.iter().flatten().map(|digest| hex(digest)).collect();
    let digest = digest(pair, side);
    format!(
        "SELECT {digest},COUNT(*) FROM {} WHERE {digest} IN ({}) GROUP BY 1",
        pair.quoted.of(side),
        digests.join(",")
    )
}
