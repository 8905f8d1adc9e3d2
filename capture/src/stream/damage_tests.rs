//! Damaged events inside a stream: the error names the transaction, the file and the position, and nothing of the transaction is in the
//! log, while what came before it stays.

use std::sync::Arc;

use binferry_schemas::{
    fault::Fault,
    filter::TableFilter,
    gtid::{GtidSet, Uuid},
    record::Start,
};
use binferry_transport::{
    embedded::EmbeddedLog,
    log::Log,
    session::{Session, SessionOptions},
};
use tempfile::TempDir;

use super::assembly::Assembly;
use crate::dump::Event;

const TABLE_MAP: u8 = 19;
const WRITE_ROWS: u8 = 30;
const PAYLOAD: u8 = 40;
const XID: (u8, &[u8]) = (16, b"\x01\0\0\0\0\0\0\0");

/// Number 1.
const FIRST: &str = "01000000-0000-0000-0000-000000000000:1";

/// Of table 7, `d.t`, with the one column `a`.
fn map(type_code: u8, metadata: &[u8]) -> (u8, Vec<u8>) {
    let mut body = b"\x07\0\0\0\0\0\x01\0\x01d\0\x01t\0\x01".to_vec();
    body.extend([type_code, metadata.len() as u8]);
    body.extend(metadata);
    body.extend(b"\x01\x01\x01\0\x04\x02\x01a");
    // VARBINARY, for what could be text.
    if type_code == 15 {
        body.extend(b"\x02\x01\x3f");
    }
    (TABLE_MAP, body)
}

fn int() -> (u8, Vec<u8>) {
    map(3, &[])
}

/// A row of the table with that value.
fn row(value: &[u8]) -> (u8, Vec<u8>) {
    let body = [b"\x07\0\0\0\0\0\x01\0\x02\0\x01\x01\x00", value].concat();
    (WRITE_ROWS, body)
}

fn gtid(number: u8) -> (u8, Vec<u8>) {
    let mut body = vec![0; 42];
    body[1] = 1;
    body[17] = number;
    body[25] = 2;
    body[34] = number;
    (33, body)
}

fn own(event: (u8, &[u8])) -> (u8, Vec<u8>) {
    (event.0, event.1.to_vec())
}

/// An event inside a payload.
fn inner((type_code, body): &(u8, Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0, *type_code, 5, 0, 0, 0];
    bytes.extend((19 + body.len() as u32).to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(body);
    bytes
}

/// A transaction payload of these bytes, which says that they are so many.
fn stating(content: &[u8], uncompressed: usize) -> (u8, Vec<u8>) {
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(content.len()));
    zstd_safe::compress(&mut frame, content, 3).unwrap();
    let mut body = vec![2, 1, 0];
    for (field, value) in [(3, uncompressed), (1, frame.len())] {
        body.extend([field, 9, 0xfe]);
        body.extend((value as u64).to_le_bytes());
    }
    body.push(0);
    body.extend(frame);
    (PAYLOAD, body)
}

fn payload(events: &[(u8, Vec<u8>)]) -> (u8, Vec<u8>) {
    let content: Vec<u8> = events.iter().flat_map(inner).collect();
    stating(&content, content.len())
}

/// A stream whose first transaction, number 1, is in the log.
struct Stream {
    log: Arc<dyn Log>,
    session: Session,
    assembly: Assembly,
    position: u32,
    _folder: TempDir,
}

impl Stream {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open(folder.path()).unwrap());
        let start = Start {
            site: "main".into(),
            server: Uuid::from_u128(1),
            filter: String::new(),
            base: GtidSet::new(),
            version: String::new(),
            job: None,
        };
        let session = Session::start(log.clone(), start, SessionOptions::default())
            .await
            .unwrap();
        let mut stream = Self {
            log,
            session,
            assembly: Assembly::new(TableFilter::default(), 1 << 20),
            position: 4,
            _folder: folder,
        };
        let rotate = (4, b"\x04\0\0\0\0\0\0\0binlog.000007".to_vec());
        for event in [rotate, gtid(1), int(), row(b"\x05\0\0\0"), own(XID)] {
            assert_eq!(stream.take(&event, 0).await, None);
        }
        stream
    }

    /// What stopped it. `flags`: of the event's header.
    async fn take(&mut self, (type_code, body): &(u8, Vec<u8>), flags: u16) -> Option<String> {
        self.position += 100;
        let event = Event {
            timestamp: 0,
            type_code: *type_code,
            server_id: 1,
            log_pos: self.position,
            flags,
            body,
            more: false,
        };
        let taken = (self.assembly)
            .event(event, &self.log, &mut self.session)
            .await;
        let error = taken.err()?;
        let mut said = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            said += &format!(" {cause}");
            source = cause.source();
        }
        assert!(error.hint().is_some(), "{said}");
        Some(said)
    }

    /// What stopped the transaction number 2 with these events; `None`: nothing did.
    async fn second(&mut self, events: &[(u8, Vec<u8>)]) -> Option<String> {
        let before = self.session.appended_bytes();
        for event in [gtid(2)].iter().chain(events) {
            if let Some(said) = self.take(event, 0).await {
                assert_eq!(self.session.appended_bytes(), before, "{said}");
                return Some(said);
            }
        }
        None
    }

    /// The transactions that the log holds in the end.
    async fn held(self) -> String {
        self.session.close().await.unwrap().set.to_string()
    }
}

/// The second transaction stops with that, at its place, and leaves nothing.
async fn refused(events: &[(u8, Vec<u8>)], says: &str) {
    let mut stream = Stream::start().await;
    let second = format!("{}2", FIRST.strip_suffix('1').unwrap());
    let said = stream.second(events).await;
    let said = said.unwrap_or_else(|| panic!("accepted, and not: {says}"));
    let position = format!("binlog.000007:{}", stream.position);
    for part in [says, &second, &position] {
        assert!(said.contains(part), "{said}; not: {part}");
    }
    assert_eq!(stream.held().await, FIRST, "{said}");
}

#[tokio::test]
async fn events_that_cannot_be() {
    let five = b"\x05\0\0\0";
    for (events, says) in [
        (vec![(50, vec![0; 20])], "unknown type 50"),
        (
            vec![map(0x60, &[])],
            "d.t has a column of a type that is not known",
        ),
        (vec![(TABLE_MAP, int().1[..17].to_vec())], "d.t ends early"),
        (vec![int(), row(&five[..3])], "column d.t.a"),
        // DECIMAL(4,2) with 100 in two digits.
        (vec![map(246, &[4, 2]), row(&[0xe4, 0])], "column d.t.a"),
        // A document that is a number of two bytes, cut after one.
        (
            vec![map(245, &[4]), row(b"\x02\0\0\0\x05\0")],
            "column d.t.a",
        ),
        // More bytes than the event has.
        (
            vec![map(245, &[4]), row(b"\xff\xff\xff\xff\x05\0\0")],
            "column d.t.a",
        ),
        (vec![map(15, &[0, 1]), row(b"\xff\xffab")], "column d.t.a"),
    ] {
        refused(&events, says).await;
    }
    // What says of itself that it may be ignored is.
    let mut stream = Stream::start().await;
    assert_eq!(stream.take(&(50, vec![0; 20]), 0x80).await, None);
    assert!(stream.take(&(50, vec![0; 20]), 0).await.is_some());
}

#[tokio::test]
async fn a_transaction_that_comes_again() {
    let mut stream = Stream::start().await;
    let said = stream.take(&gtid(1), 0).await.unwrap();
    let position = format!("binlog.000007:{}", stream.position);
    for part in ["out of sequence", &position] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn payloads_that_cannot_be() {
    let five = || row(b"\x05\0\0\0");
    let wide = row(b"\x05\0\0\0\x05\0\0\0\x05");
    let content: Vec<u8> = [int(), five(), own(XID)].iter().flat_map(inner).collect();
    let cut = &content[..10];
    let mut long = content.clone();
    long[12] = 0x40;
    let mut frame = payload(&[int(), five(), own(XID)]);
    let at = frame.1.len() - content.len() / 2;
    frame.1.truncate(at);
    for (event, says) in [
        (payload(&[five(), own(XID)]), "no table map for table id 7"),
        (payload(&[int(), wide, own(XID)]), "column d.t.a"),
        (
            payload(&[int(), (50, vec![0; 9]), own(XID)]),
            "unknown type 50",
        ),
        (
            payload(&[map(0x60, &[]), own(XID)]),
            "a type that is not known",
        ),
        (
            payload(&[gtid(3), int(), five(), own(XID)]),
            "cannot be part of a transaction",
        ),
        (
            payload(&[payload(&[int(), five(), own(XID)])]),
            "holds another payload",
        ),
        (
            payload(&[int(), five()]),
            "does not hold the end of its transaction",
        ),
        (payload(&[int(), own(XID), five()]), "goes on after the end"),
        (stating(cut, cut.len()), "in the middle of an event"),
        (stating(&long, long.len()), "longer than what is left"),
        (stating(&content, content.len() - 1), "more than it states"),
        (
            stating(&content, content.len() + 1),
            "goes on after the end",
        ),
        (stating(&vec![0; 64 << 20], 1000), "expands to more"),
        (frame, "shorter than it states"),
    ] {
        refused(&[event], says).await;
    }
}

/// A bit flipped anywhere in a payload stops the stream, or changes a value: nobody can tell that without a checksum. Never is there half a
/// transaction.
#[tokio::test]
async fn any_flipped_bit_of_a_payload() {
    let whole = payload(&[int(), row(b"\x05\0\0\0"), own(XID)]);
    let mut stopped = 0;
    for at in (0..whole.1.len()).step_by(3) {
        let mut flipped = whole.clone();
        flipped.1[at] ^= 1 << (at % 8);
        let mut stream = Stream::start().await;
        match stream.second(&[flipped]).await {
            Some(said) => {
                stopped += 1;
                assert!(said.contains("binlog.000007:"), "byte {at}: {said}");
                assert_eq!(stream.held().await, FIRST, "byte {at}");
            }
            None => assert_eq!(stream.held().await, format!("{FIRST}-2"), "byte {at}"),
        }
    }
    assert!(stopped > whole.1.len() / 9, "{stopped}");
}
