//! Which event it is, and what becomes of it: decoded, passed by, or refused.
//!
//! ```text
//! FORMAT_DESCRIPTION  u16 4 | server version, 50 bytes, NUL-padded | u32 time | u8 19 | post-header lengths | u8 checksum algorithm
//! ROTATE              u64 position | file name
//! XID                 u64
//! ```
//!
//! (`libs/mysql/binlog/event/control_events.h`.)

use binferry_schemas::gtid::GtidSet;

use super::{
    cursor::{Cursor, Flaw, Read},
    error::DecodeError,
    gtid::{self, GtidEvent},
    mariadb::{self, MariaDbGtid},
    query::{self, QueryEvent},
    rows::RowsEvent,
    table_map,
    xa::{self, XaPrepare},
};

/// A known event, as far as it matters to a capture.
#[derive(Debug)]
pub enum Decoded<'a> {
    FormatDescription(FormatDescription<'a>),
    /// The file that follows.
    Rotate(Rotate<'a>),
    /// A transaction begins.
    Gtid(GtidEvent),
    /// A transaction of MariaDB's begins.
    MariaDbGtid(MariaDbGtid),
    Query(QueryEvent<'a>),
    /// The transaction is committed.
    Xid,
    /// The XA transaction is prepared, or committed in one phase.
    XaPrepare(XaPrepare),
    /// Describes the table of this id: parse the body with [`TableMap::parse`](super::TableMap::parse) unless it is known already.
    TableMap(u64),
    Rows(RowsEvent<'a>),
    /// The events of a transaction, compressed: feed the body to a [`Payload`](super::Payload).
    Payload,
    /// All that lies in the files before this one.
    PreviousGtids(GtidSet),
    /// Says nothing about data: heartbeats, statements' texts, the server's stop, a replication group's
    /// views.
    Passed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatDescription<'a> {
    /// As `9.7.4`, with suffixes.
    pub server_version: &'a str,
    /// 0: none, 1: CRC-32; `None`: the server is too old to say.
    pub checksum: Option<u8>,
    /// By type code, beginning with 1: bytes of an event's fixed part.
    pub post_header_lengths: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotate<'a> {
    pub file: &'a str,
    pub position: u64,
}

/// Whoever does not know the type may skip the event.
const IGNORABLE: u16 = 0x80;
/// Made up by the server for the one who reads.
const ARTIFICIAL: u16 = 0x20;

const NOT_YET: &str = "this version of the program does not carry it";
const ROW_FORMAT: &str =
    "SET PERSIST binlog_format = ROW on the source, and check that no session sets another value";
const SINCE_5_1: &str =
    "the source must write row events of version 1 or 2: a release of MySQL or MariaDB";

impl<'a> Decoded<'a> {
    /// Decodes the body of an event of type `type_code` with the header's `flags`.
    pub fn of(type_code: u8, flags: u16, body: &'a [u8]) -> Result<Self, DecodeError> {
        let malformed = |event| move |Flaw(flaw)| DecodeError::Malformed { event, flaw };
        let unsupported = |event, reason, hint| {
            Err(DecodeError::Unsupported {
                event,
                reason,
                hint,
            })
        };
        match type_code {
            23..=25 | 30..=32 | 39 => RowsEvent::parse(type_code, body).map(Self::Rows),
            19 => table_map::table_id(body)
                .map(Self::TableMap)
                .map_err(malformed("TABLE_MAP")),
            33 => gtid::untagged(body)
                .map(Self::Gtid)
                .map_err(malformed("GTID")),
            42 => gtid::tagged(body)
                .map(Self::Gtid)
                .map_err(malformed("GTID_TAGGED")),
            2 => query::parse(body).map(Self::Query),
            16 => match body.len() {
                8.. => Ok(Self::Xid),
                _ => Err(malformed("XID")(Flaw("ends early"))),
            },
            4 => rotate(body).map(Self::Rotate).map_err(malformed("ROTATE")),
            15 => format_description(body)
                .map(Self::FormatDescription)
                .map_err(malformed("FORMAT_DESCRIPTION")),
            162 => mariadb::gtid(body).map(Self::MariaDbGtid),
            // What the server makes up on the way does not say what lies before the file.
            163 if flags & ARTIFICIAL != 0 => Ok(Self::Passed),
            163 => mariadb::gtid_list(body).map(Self::PreviousGtids),
            // MariaDB: ANNOTATE_ROWS, BINLOG_CHECKPOINT, and the START_ENCRYPTION of a file that the server decrypts.
            160 | 161 | 164 => Ok(Self::Passed),
            // [`expand`](super::expand) makes others of them.
            165..=171 => unsupported("a compressed", "it has not been expanded", "report this"),
            172 => unsupported(
                "PARTIAL_ROW_DATA",
                NOT_YET,
                "SET GLOBAL binlog_row_event_fragment_threshold to its maximum on the source (MariaDB 12.3)",
            ),
            35 => {
                GtidSet::decode(body)
                    .map(Self::PreviousGtids)
                    .map_err(|_| DecodeError::Malformed {
                        event: "PREVIOUS_GTIDS",
                        flaw: "holds no GTID set",
                    })
            }
            // STOP, HEARTBEAT, ROWS_QUERY, HEARTBEAT_V2. And a replication group's own: TRANSACTION_CONTEXT (what
            // its members certify by, about a transaction that is logged beside it), and VIEW_CHANGE, which has a GTID, BEGIN and
            // COMMIT of its own and changes nothing.
            3 | 27 | 29 | 36 | 37 | 41 => Ok(Self::Passed),
            34 => unsupported(
                "ANONYMOUS_GTID",
                "a transaction without a GTID cannot be accounted for",
                "turn GTIDs on at the source: gtid_mode = ON, enforce_gtid_consistency = ON; anonymous transactions that were written before it cannot be carried",
            ),
            20..=22 => unsupported(
                "rows of a pre-release",
                "the format is that of the first builds of MySQL 5.1",
                SINCE_5_1,
            ),
            26 => unsupported(
                "INCIDENT",
                "the source states that events are missing from its binlog",
                "find the cause in the source's error log, then start a new log from a fresh copy of the data",
            ),
            38 => xa::prepare(body)
                .map(Self::XaPrepare)
                .map_err(malformed("XA_PREPARE")),
            40 => Ok(Self::Payload),
            // INTVAR, RAND, USER_VAR: what the statement that follows needs. It says what it changes.
            5 | 13 | 14 => Ok(Self::Passed),
            // START_V3, LOAD and its parts: changes by a statement.
            1 | 6..=12 | 17 | 18 => unsupported(
                match type_code {
                    17 => "BEGIN_LOAD_QUERY",
                    18 => "EXECUTE_LOAD_QUERY",
                    _ => "LOAD",
                },
                "it belongs to a change that is logged as a statement, not as rows",
                ROW_FORMAT,
            ),
            _ if flags & IGNORABLE != 0 => Ok(Self::Passed),
            code => Err(DecodeError::UnknownEvent { code }),
        }
    }
}

/// As the servers' sources name it; for people.
pub fn event_name(type_code: u8) -> &'static str {
    match type_code {
        2 => "QUERY",
        3 => "STOP",
        4 => "ROTATE",
        5 => "INTVAR",
        13 => "RAND",
        14 => "USER_VAR",
        15 => "FORMAT_DESCRIPTION",
        16 => "XID",
        19 => "TABLE_MAP",
        20 | 23 => "WRITE_ROWS_V1",
        21 | 24 => "UPDATE_ROWS_V1",
        22 | 25 => "DELETE_ROWS_V1",
        26 => "INCIDENT",
        27 | 41 => "HEARTBEAT",
        28 => "IGNORABLE",
        29 => "ROWS_QUERY",
        30 => "WRITE_ROWS",
        31 => "UPDATE_ROWS",
        32 => "DELETE_ROWS",
        33 => "GTID",
        34 => "ANONYMOUS_GTID",
        35 => "PREVIOUS_GTIDS",
        36 => "TRANSACTION_CONTEXT",
        37 => "VIEW_CHANGE",
        38 => "XA_PREPARE",
        39 => "PARTIAL_UPDATE_ROWS",
        40 => "TRANSACTION_PAYLOAD",
        42 => "GTID_TAGGED",
        160 => "ANNOTATE_ROWS",
        161 => "BINLOG_CHECKPOINT",
        162 => "MARIADB_GTID",
        163 => "GTID_LIST",
        164 => "START_ENCRYPTION",
        165 => "QUERY_COMPRESSED",
        166 | 169 => "WRITE_ROWS_COMPRESSED",
        167 | 170 => "UPDATE_ROWS_COMPRESSED",
        168 | 171 => "DELETE_ROWS_COMPRESSED",
        _ => "OTHER",
    }
}

fn rotate(body: &[u8]) -> Read<Rotate<'_>> {
    let mut cursor = Cursor::new(body);
    let position = cursor.u64()?;
    let file = std::str::from_utf8(cursor.rest())
        .map_err(|_| Flaw("holds a file name that is not UTF-8"))?;
    Ok(Rotate { file, position })
}

fn format_description(body: &[u8]) -> Read<FormatDescription<'_>> {
    let mut cursor = Cursor::new(body);
    if cursor.u16()? != 4 {
        return Err(Flaw("announces a binlog version other than 4"));
    }
    let version = cursor.take(50)?;
    let version = version.split(|&byte| byte == 0).next().unwrap_or_default();
    cursor.u32()?;
    if cursor.u8()? != 19 {
        return Err(Flaw("announces event headers of another length than 19"));
    }
    // Since MySQL 5.6.1 the last byte is the checksum algorithm; a body with its checksum cut off ends there.
    let rest = cursor.rest();
    let (checksum, post_header_lengths) = match rest.split_last() {
        Some((&algorithm, lengths)) if lengths.len() >= 35 => (Some(algorithm), lengths),
        _ => (None, rest),
    };
    Ok(FormatDescription {
        server_version: std::str::from_utf8(version)
            .map_err(|_| Flaw("holds a server version that is not UTF-8"))?,
        checksum,
        post_header_lengths,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_decoded_passed_or_refused() {
        for code in 0..=u8::MAX {
            match Decoded::of(code, 0, &[]) {
                Ok(Decoded::Passed) => {
                    assert!([3, 5, 13, 14, 27, 29, 36, 37, 41, 160, 161, 164].contains(&code))
                }
                Ok(Decoded::Payload) => assert_eq!(code, 40),
                Ok(other) => panic!("{code}: {other:?}"),
                Err(DecodeError::UnknownEvent { code: named }) => {
                    assert_eq!(named, code);
                    assert!(code == 0 || code == 28 || code > 42);
                    assert!(!(160..=172).contains(&code));
                    assert!(matches!(
                        Decoded::of(code, IGNORABLE, &[]),
                        Ok(Decoded::Passed)
                    ));
                }
                Err(_) => assert!(code <= 42 || (162..=172).contains(&code)),
            }
        }
    }

    #[test]
    fn rotate_names_the_file() {
        let Ok(Decoded::Rotate(rotate)) = Decoded::of(4, 0x20, b"\x04\0\0\0\0\0\0\0binlog.000002")
        else {
            panic!()
        };
        assert_eq!((rotate.file, rotate.position), ("binlog.000002", 4));
    }
}
