//! GTID events: what opens a transaction.
//!
//! ```text
//! GTID (33): u8 flags | uuid (16) | i64 gno | u8 2 | i64 last_committed | i64 sequence_number       (5.7 ends here)
//!            | u56 immediate commit timestamp, top bit: | u56 original follows                      (microseconds)
//!            | length-encoded transaction length
//!            | u32 immediate server version, top bit: | u32 original follows | [u64 commit group ticket]
//!
//! GTID_TAGGED (42), mysql::serialization: varlen version | varlen length of the whole | varlen last field that may not be ignored
//!            | (varlen field id | value)*
//! ```
//!
//! (The server's `libs/mysql/binlog/event/control_events.h`.)

use binferry_schemas::gtid::{Gtid, Tag, Uuid};

use super::cursor::{Cursor, Flaw, Read, SHORT};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GtidEvent {
    pub gtid: Gtid,
    /// Relative to one binlog file, as the source's replicas use it.
    pub last_committed: i64,
    pub sequence_number: i64,
    /// Commit on the server that wrote this binlog, microseconds since the epoch; 0 when the server does not say (before 8.0).
    pub immediate_commit_us: u64,
    /// Commit on the server where the transaction came from; 0 when that is not known.
    pub original_commit_us: u64,
    /// Length of the whole transaction in the binlog, this event and checksums included; `None` before MySQL 8.0.
    pub transaction_length: Option<u64>,
    /// As 80400 for 8.4.0.
    pub immediate_server_version: Option<u32>,
    pub original_server_version: Option<u32>,
}

const TIMESTAMP_FLAG: u64 = 1 << 55;
const VERSION_FLAG: u32 = 1 << 31;
const GNO_END: i64 = i64::MAX;

fn gtid(uuid: [u8; 16], tag: Tag, gno: i64) -> Read<Gtid> {
    if !(1..GNO_END).contains(&gno) {
        return Err(Flaw("holds a transaction number out of range"));
    }
    Ok(Gtid {
        uuid: Uuid::from_bytes(uuid),
        tag,
        gno: gno as u64,
    })
}

pub(super) fn untagged(body: &[u8]) -> Read<GtidEvent> {
    let mut cursor = Cursor::new(body);
    cursor.u8()?;
    let uuid = cursor.array()?;
    let gno = cursor.u64()? as i64;
    if cursor.u8()? != 2 {
        return Err(Flaw("has a kind of logical timestamp that is unknown"));
    }
    let mut event = GtidEvent {
        gtid: gtid(uuid, Tag::default(), gno)?,
        last_committed: cursor.u64()? as i64,
        sequence_number: cursor.u64()? as i64,
        immediate_commit_us: 0,
        original_commit_us: 0,
        transaction_length: None,
        immediate_server_version: None,
        original_server_version: None,
    };
    if cursor.is_empty() {
        return Ok(event);
    }
    let immediate = cursor.little_endian(7)?;
    let original = if immediate & TIMESTAMP_FLAG != 0 {
        cursor.little_endian(7)?
    } else {
        immediate
    };
    event.immediate_commit_us = immediate & !TIMESTAMP_FLAG;
    event.original_commit_us = original;
    if cursor.is_empty() {
        return Ok(event);
    }
    event.transaction_length = Some(cursor.length_encoded()?);
    if cursor.is_empty() {
        return Ok(event);
    }
    let immediate = cursor.u32()?;
    let original = if immediate & VERSION_FLAG != 0 {
        cursor.u32()?
    } else {
        immediate
    };
    event.immediate_server_version = Some(immediate & !VERSION_FLAG);
    event.original_server_version = Some(original);
    // What may follow (the commit group ticket, later additions) says nothing about the transaction.
    Ok(event)
}

pub(super) fn tagged(body: &[u8]) -> Read<GtidEvent> {
    let mut cursor = Cursor::new(body);
    if cursor.varlen()? != 1 {
        return Err(Flaw("has a serialization version that is unknown"));
    }
    let length = usize::try_from(cursor.varlen()?).map_err(|_| SHORT)?;
    if length != body.len() {
        return Err(Flaw("states another length than it has"));
    }
    let last_required = cursor.varlen()?;
    let (mut uuid, mut gno, mut tag) = (None, None, Tag::default());
    let (mut last_committed, mut sequence_number) = (None, None);
    let mut event_times = (None, None);
    let mut transaction_length = None;
    let mut versions = (None, None);
    while !cursor.is_empty() {
        match cursor.varlen()? {
            // Flags.
            0 => drop(cursor.varlen()?),
            1 => {
                let mut bytes = [0; 16];
                for byte in &mut bytes {
                    *byte = u8::try_from(cursor.varlen()?)
                        .map_err(|_| Flaw("holds a UUID that is none"))?;
                }
                uuid = Some(bytes);
            }
            2 => gno = Some(cursor.varlen_signed()?),
            3 => {
                tag = std::str::from_utf8(cursor.varlen_bytes()?)
                    .ok()
                    .and_then(Tag::new)
                    .ok_or(Flaw("holds a tag that is none"))?;
            }
            4 => last_committed = Some(cursor.varlen_signed()?),
            5 => sequence_number = Some(cursor.varlen_signed()?),
            6 => event_times.0 = Some(cursor.varlen()?),
            7 => event_times.1 = Some(cursor.varlen()?),
            8 => transaction_length = Some(cursor.varlen()?),
            9 => versions.0 = Some(cursor.varlen()? as u32),
            10 => versions.1 = Some(cursor.varlen()? as u32),
            // The commit group ticket.
            11 => drop(cursor.varlen()?),
            // Fields come in the order of their ids, and those that may be ignored follow those that may not.
            unknown if unknown > last_required => break,
            _ => return Err(Flaw("holds a field that is unknown and may not be ignored")),
        }
    }
    let (Some(uuid), Some(gno)) = (uuid, gno) else {
        return Err(Flaw("has no GTID"));
    };
    let (Some(last_committed), Some(sequence_number)) = (last_committed, sequence_number) else {
        return Err(Flaw("has no logical timestamps"));
    };
    Ok(GtidEvent {
        gtid: gtid(uuid, tag, gno)?,
        last_committed,
        sequence_number,
        immediate_commit_us: event_times.0.unwrap_or(0),
        original_commit_us: event_times.1.or(event_times.0).unwrap_or(0),
        transaction_length,
        immediate_server_version: versions.0,
        original_server_version: versions.1.or(versions.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by MySQL 9.7.4 for `SET gtid_next = 'AUTOMATIC:mytag'`.
    const TAGGED: &[u8] = &[
        0x02, 0x72, 0x00, 0x00, 0x00, 0x02, 0xf9, 0x02, 0xca, 0x1c, 0xc1, 0x03, 0x95, 0x03, 0xcc,
        0x22, 0xc5, 0x03, 0xc5, 0x02, 0x88, 0x04, 0xf1, 0x03, 0x00, 0x00, 0x00, 0x02, 0x04, 0x04,
        0x06, 0x0a, 0x6d, 0x79, 0x74, 0x61, 0x67, 0x08, 0x0c, 0x0a, 0x10, 0x0c, 0x7f, 0xa5, 0xdb,
        0x18, 0x43, 0xc2, 0x60, 0x06, 0x10, 0x29, 0x07, 0x12, 0x83, 0x12, 0x0b,
    ];

    #[test]
    fn tagged_fields() {
        let event = tagged(TAGGED).unwrap();
        assert_eq!(
            event.gtid,
            Gtid {
                uuid: Uuid::from_u128(0xbe65_0ef0_e566_11f1_b144_02fc_0000_0001),
                tag: Tag::new("mytag").unwrap(),
                gno: 1,
            }
        );
        assert_eq!((event.last_committed, event.sequence_number), (3, 4));
        assert_eq!(event.immediate_commit_us, 0x0006_60c2_4318_dba5);
        assert_eq!(event.original_commit_us, event.immediate_commit_us);
        assert_eq!(event.transaction_length, Some(458));
        assert_eq!(event.original_server_version, Some(90704));
    }

    #[test]
    fn original_timestamp_and_version_follow_their_flags() {
        let mut body = vec![1];
        body.extend_from_slice(&[0xab; 16]);
        body.extend_from_slice(&7_u64.to_le_bytes());
        body.push(2);
        body.extend_from_slice(&3_u64.to_le_bytes());
        body.extend_from_slice(&4_u64.to_le_bytes());
        // As MySQL 5.7 writes it.
        let old = untagged(&body).unwrap();
        assert_eq!((old.gtid.gno, old.immediate_commit_us), (7, 0));
        body.extend_from_slice(&(1000 | TIMESTAMP_FLAG).to_le_bytes()[..7]);
        body.extend_from_slice(&900_u64.to_le_bytes()[..7]);
        body.extend_from_slice(&[0xfc, 0, 1]);
        body.extend_from_slice(&(80400 | VERSION_FLAG).to_le_bytes());
        body.extend_from_slice(&80036_u32.to_le_bytes());
        let event = untagged(&body).unwrap();
        assert_eq!(
            (event.immediate_commit_us, event.original_commit_us),
            (1000, 900)
        );
        assert_eq!(event.transaction_length, Some(256));
        assert_eq!(event.immediate_server_version, Some(80400));
        assert_eq!(event.original_server_version, Some(80036));
        body[17..25].fill(0);
        assert!(untagged(&body).is_err());
    }

    #[test]
    fn cut_short_is_an_error() {
        for end in 0..TAGGED.len() {
            assert!(tagged(&TAGGED[..end]).is_err());
        }
    }
}
