//! What only MariaDB writes: GTID events of its own, and compressed events and columns.
//!
//! ```text
//! GTID (162): u64 sequence | u32 domain | u8 flags | with GROUP_COMMIT: u64 commit id
//!             | with an XA flag: u32 format, u8 length, u8 length, data | u8 more flags | …        (padded to 19 bytes with zeros)
//!
//! GTID_LIST (163): u32 flags and count (28 bits) | count x { u32 domain | u32 server id | u64 sequence }
//!
//! QUERY_COMPRESSED (165), V1 rows 166-168, V2 rows 169-171: the event without "compressed", but for its statement or its rows:
//!             u8 1 aaa 0 lll: algorithm a (0: zlib), length l | u(l * 8) uncompressed length, big-endian | zlib stream
//!
//! COMPRESSED column: u8 0 | the value                                                        (also when it is short)
//!                    u8 mmmm r lll: method m (8: zlib), r: raw deflate, length l | u(l * 8) length, big-endian | stream
//! ```
//!
//! A GTID_LIST states the newest GTID of each server in each domain before the file that it begins. To a replica the server also sends
//! lists that it makes up, with the flag of such events.
//!
//! The server id of a GTID is the one in the event's header. (MariaDB's `sql/log_event.h`, `sql/log_event.cc`, `sql/field.cc`.)

use std::io::Read as _;

use binferry_schemas::gtid::{Gtid, GtidSet};
use flate2::read::{DeflateDecoder, ZlibDecoder};

use super::{
    cursor::{Cursor, Flaw, Read},
    error::DecodeError,
};

const STANDALONE: u8 = 1;
const GROUP_COMMIT: u8 = 2;
const TRANSACTIONAL: u8 = 4;
const PREPARED_XA: u8 = 64;
const COMPLETED_XA: u8 = 128;
/// Of a GTID_LIST's first number.
const COUNT: u32 = 0x0FFF_FFFF;
/// Of the second flags: ALTER TABLE in two parts.
const START_ALTER: u8 = 2;
const COMMIT_ALTER: u8 = 4;
const ROLLBACK_ALTER: u8 = 8;

/// A transaction begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaDbGtid {
    pub domain: u32,
    pub sequence: u64,
    /// One statement follows, and it is the whole: no XID, no COMMIT.
    pub standalone: bool,
    /// All that it changes can be rolled back: no table without transactions, no DDL.
    pub transactional: bool,
    pub xa: Option<MariaDbXa>,
}

/// Which part of an XA transaction follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MariaDbXa {
    /// Its changes: the GTID stands for the XA START, and an XA_PREPARE ends it.
    Prepared,
    /// The XA COMMIT or XA ROLLBACK.
    Completed,
}

pub(super) fn gtid(body: &[u8]) -> Result<MariaDbGtid, DecodeError> {
    let (gtid, more) = read_gtid(body).map_err(|Flaw(flaw)| DecodeError::Malformed {
        event: "GTID",
        flaw,
    })?;
    if more & (START_ALTER | COMMIT_ALTER | ROLLBACK_ALTER) != 0 {
        return Err(DecodeError::Unsupported {
            event: "GTID",
            reason: "it begins a part of an ALTER TABLE that is logged in two parts",
            hint: "SET GLOBAL binlog_alter_two_phase = OFF on the source, and check that no session sets another value",
        });
    }
    Ok(gtid)
}

fn read_gtid(body: &[u8]) -> Read<(MariaDbGtid, u8)> {
    let mut cursor = Cursor::new(body);
    let sequence = cursor.u64()?;
    let domain = cursor.u32()?;
    let flags = cursor.u8()?;
    if flags & GROUP_COMMIT != 0 {
        cursor.u64()?;
    }
    let xa = match (flags & PREPARED_XA != 0, flags & COMPLETED_XA != 0) {
        (false, false) => None,
        (true, false) => Some(MariaDbXa::Prepared),
        (false, true) => Some(MariaDbXa::Completed),
        (true, true) => return Err(Flaw("begins both parts of an XA transaction")),
    };
    if xa.is_some() {
        cursor.u32()?;
        let length = usize::from(cursor.u8()?) + usize::from(cursor.u8()?);
        cursor.take(length)?;
    }
    let more = if cursor.is_empty() { 0 } else { cursor.u8()? };
    let gtid = MariaDbGtid {
        domain,
        sequence,
        standalone: flags & STANDALONE != 0,
        xa,
        transactional: flags & TRANSACTIONAL != 0,
    };
    Ok((gtid, more))
}

/// What is stated with a GTID_LIST.
pub fn gtid_list(body: &[u8]) -> Result<GtidSet, DecodeError> {
    read_list(body).map_err(|Flaw(flaw)| DecodeError::Malformed {
        event: "GTID_LIST",
        flaw,
    })
}

fn read_list(body: &[u8]) -> Read<GtidSet> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u32()? & COUNT;
    let mut set = GtidSet::new();
    for _ in 0..count {
        let (domain, server, sequence) = (cursor.u32()?, cursor.u32()?, cursor.u64()?);
        let gtid = Gtid::mariadb(domain, server, sequence);
        set.insert(gtid.ok_or(Flaw("holds a sequence number out of range"))?);
    }
    Ok(set)
}

/// The type of the event that a compressed event holds; `None` when `type_code` is not one of a compressed event.
pub fn expanded_type(type_code: u8) -> Option<u8> {
    Some(match type_code {
        165 => 2,
        // V1: WRITE, UPDATE, DELETE.
        166..=168 => type_code - 166 + 23,
        169..=171 => type_code - 169 + 30,
        _ => return None,
    })
}

/// Writes the body that an event of type [`expanded_type`] has in the place of a compressed event's into `out`, cleared before.
///
/// Allocates at most what the event states, and an event that states more than zlib could have made of it is refused.
pub fn expand(type_code: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let event = match type_code {
        165 => "QUERY_COMPRESSED",
        166 | 169 => "WRITE_ROWS_COMPRESSED",
        167 | 170 => "UPDATE_ROWS_COMPRESSED",
        _ => "DELETE_ROWS_COMPRESSED",
    };
    let head = match type_code {
        165 => query_head(body),
        166..=168 => rows_head(body, false, type_code == 167),
        _ => rows_head(body, true, type_code == 170),
    };
    head.and_then(|head| {
        let (head, compressed) = body.split_at_checked(head).ok_or(super::cursor::SHORT)?;
        out.clear();
        inflate_event(head, compressed, out)
    })
    .map_err(|Flaw(flaw)| DecodeError::Malformed { event, flaw })
}

/// Bytes before the statement.
fn query_head(body: &[u8]) -> Read<usize> {
    let mut cursor = Cursor::new(body);
    cursor.take(8)?;
    let database = cursor.u8()?;
    cursor.u16()?;
    let status = cursor.u16()?;
    Ok(13 + usize::from(status) + usize::from(database) + 1)
}

/// Bytes before the first row.
fn rows_head(body: &[u8], has_extra: bool, is_update: bool) -> Read<usize> {
    let mut cursor = Cursor::new(body);
    cursor.take(8)?;
    if has_extra {
        let extra = usize::from(cursor.u16()?);
        let extra = extra.checked_sub(2);
        cursor.take(extra.ok_or(Flaw("states an impossible length"))?)?;
    }
    let columns = usize::try_from(cursor.length_encoded()?)
        .map_err(|_| Flaw("has too many columns"))?
        .div_ceil(8);
    cursor.take(columns)?;
    if is_update {
        cursor.take(columns)?;
    }
    Ok(body.len() - cursor.rest().len())
}

fn inflate_event(head: &[u8], compressed: &[u8], out: &mut Vec<u8>) -> Read<()> {
    let mut cursor = Cursor::new(compressed);
    let form = cursor.u8()?;
    if form & 0xf8 != 0x80 {
        return Err(Flaw("is compressed in a way that is not known"));
    }
    let length = stated(&mut cursor, form & 7)?;
    bounded(length, cursor.rest())?;
    out.reserve_exact(head.len() + length);
    out.extend_from_slice(head);
    inflate(ZlibDecoder::new(cursor.rest()), length, out)
}

fn stated(cursor: &mut Cursor<'_>, bytes: u8) -> Read<usize> {
    if !(1..=4).contains(&bytes) {
        return Err(Flaw("is compressed and has a length that is none"));
    }
    let length = cursor.big_endian(usize::from(bytes))?;
    usize::try_from(length).map_err(|_| Flaw("is compressed and has a length that is none"))
}

/// Deflate makes at most 1032 bytes of one (its own documentation).
fn bounded(length: usize, compressed: &[u8]) -> Read<()> {
    match length.div_ceil(1032) <= compressed.len() {
        true => Ok(()),
        false => Err(Flaw(
            "states a length that its compressed bytes cannot have",
        )),
    }
}

fn inflate(stream: impl std::io::Read, length: usize, out: &mut Vec<u8>) -> Read<()> {
    let from = out.len();
    // One byte more, so that a longer stream is noticed.
    let read = stream.take(length as u64 + 1).read_to_end(out);
    match read {
        Ok(_) if out.len() - from == length => Ok(()),
        Ok(_) => Err(Flaw(
            "has another length than it states when it is expanded",
        )),
        Err(_) => Err(Flaw("cannot be expanded")),
    }
}

/// Gives the value of a COMPRESSED column to `put`.
pub(super) fn column<T>(value: &[u8], put: impl FnOnce(&[u8]) -> T) -> Read<T> {
    // An empty value has no header.
    let Some((&form, rest)) = value.split_first() else {
        return Ok(put(value));
    };
    match form >> 4 {
        0 if form == 0 => Ok(put(rest)),
        8 => {
            let mut cursor = Cursor::new(rest);
            let length = stated(&mut cursor, form & 7)?;
            bounded(length, cursor.rest())?;
            let mut expanded = Vec::with_capacity(length + 1);
            match form & 8 {
                0 => inflate(ZlibDecoder::new(cursor.rest()), length, &mut expanded)?,
                _ => inflate(DeflateDecoder::new(cursor.rest()), length, &mut expanded)?,
            }
            Ok(put(&expanded))
        }
        _ => Err(Flaw("is compressed in a way that is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `repeat('def', 200)` in a LONGTEXT COMPRESSED, by MariaDB 11.8.9.
    const DEF: &[u8] = b"\x8a\x02\x58\x4b\x49\x4d\x4b\x19\x45\xa3\x88\xda\x08\x00";

    #[test]
    fn gtids() {
        let mut body = 7u64.to_le_bytes().to_vec();
        body.extend(5u32.to_le_bytes());
        body.extend([0x0c, 0, 0, 0, 0, 0, 0]);
        let expected = MariaDbGtid {
            domain: 5,
            sequence: 7,
            standalone: false,
            xa: None,
            transactional: true,
        };
        assert_eq!(gtid(&body), Ok(expected));
        body[12] = STANDALONE | GROUP_COMMIT;
        assert!(gtid(&body).is_err(), "the commit id is cut off");
        body.extend([0, 0]);
        assert!(gtid(&body).is_ok_and(|gtid| gtid.standalone));
        // Format 1, a gtrid of two bytes and none behind it; what follows are the other flags.
        let xid = [1, 0, 0, 0, 2, 0, b'a', b'b'];
        for (flag, part) in [
            (PREPARED_XA, MariaDbXa::Prepared),
            (COMPLETED_XA, MariaDbXa::Completed),
        ] {
            let mut begun = [&body[..12], &[flag], &xid[..], &[0]].concat();
            assert!(gtid(&begun).is_ok_and(|gtid| gtid.xa == Some(part)));
            begun[21] = START_ALTER;
            assert!(gtid(&begun).is_err());
            assert!(gtid(&begun[..20]).is_err(), "the xid is cut off");
        }
        assert!(gtid(&[&body[..12], &[PREPARED_XA | COMPLETED_XA], &xid[..]].concat()).is_err());
        body[12] = 0;
        body[13] = START_ALTER;
        assert!(matches!(gtid(&body), Err(DecodeError::Unsupported { .. })));
        for end in 0..13 {
            assert!(gtid(&body[..end]).is_err());
        }
    }

    #[test]
    fn lists() {
        let entry = |domain: u32, server: u32, sequence: u64| {
            [
                &domain.to_le_bytes()[..],
                &server.to_le_bytes(),
                &sequence.to_le_bytes(),
            ]
            .concat()
        };
        let two = [
            &[3, 0, 0, 0x10][..],
            &entry(0, 1, 70),
            &entry(5, 1, 9),
            &entry(0, 2, 60),
        ]
        .concat();
        let set = gtid_list(&two).unwrap();
        assert_eq!(set.to_string(), "0-1-70,5-1-9");
        assert!(gtid_list(&[0; 4]).unwrap().is_empty());
        for end in 0..two.len() {
            assert!(gtid_list(&two[..end]).is_err(), "{end}");
        }
        assert!(gtid_list(&[&[1, 0, 0, 0][..], &entry(0, 1, 0)].concat()).is_err());
    }

    #[test]
    fn columns() {
        let bytes = |value: &[u8]| column(value, <[u8]>::to_vec);
        assert_eq!(bytes(DEF), Ok(b"def".repeat(200)));
        assert_eq!(bytes(b"\0zz"), Ok(b"zz".to_vec()));
        assert_eq!(bytes(b""), Ok(Vec::new()));
        for end in 1..DEF.len() - 2 {
            assert!(bytes(&DEF[..end]).is_err(), "{end}");
        }
        for bad in [
            &b"\x01zz"[..],
            b"\x90zz",
            b"\x88zz",
            b"\x8dzzzzzz",
            b"\x8c\xff\xff\xff\xff\x4b\x49",
        ] {
            assert!(bytes(bad).is_err());
        }
    }

    #[test]
    fn events() {
        use std::io::Write;
        let rows = b"row".repeat(500);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(&rows).unwrap();
        let mut compressed = vec![0x82];
        compressed.extend((rows.len() as u16).to_be_bytes());
        compressed.extend(zlib.finish().unwrap());
        let v1_update: &[u8] = &[9, 0, 0, 0, 0, 0, 1, 0, 3, 7, 7];
        let v2_insert: &[u8] = &[9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 7];
        let query: &[u8] = &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 2, 0, 7, 7, b't', 0];
        let mut out = Vec::new();
        for (code, plain, head) in [(167, 24, v1_update), (169, 30, v2_insert), (165, 2, query)] {
            assert_eq!(expanded_type(code), Some(plain));
            let body = [head, &compressed].concat();
            expand(code, &body, &mut out).unwrap();
            assert_eq!(out, [head, &rows].concat());
            for end in 0..body.len() - 4 {
                assert!(
                    expand(code, &body[..end], &mut out).is_err(),
                    "{code} {end}"
                );
            }
            for at in 0..body.len() {
                for bit in 0..8 {
                    let mut bad = body.clone();
                    bad[at] ^= 1 << bit;
                    let _ = expand(code, &bad, &mut out);
                    assert!(out.capacity() <= 1033 * body.len() + 64);
                }
            }
        }
        assert_eq!(expanded_type(172), None);
    }
}
