//! Events in an order that cannot be, or of tables that are not what they were: each stops by name, and nothing of it counts.

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

use super::assembly::Assembly;
use crate::dump::Event;

/// Table 7 is `d.t (a INT PRIMARY KEY)`.
const MAP: (u8, &[u8]) = (
    19,
    b"\x07\0\0\0\0\0\x01\0\x01d\0\x01t\0\x01\x03\0\0\x01\x01\0\x04\x02\x01a\x08\x01\0",
);
/// A row of table 7, and one of a table with two columns.
const ROW: (u8, &[u8]) = (30, b"\x07\0\0\0\0\0\x01\0\x02\0\x01\x01\x00\x05\0\0\0");
const WIDE_ROW: (u8, &[u8]) = (
    30,
    b"\x07\0\0\0\0\0\x01\0\x02\0\x02\x03\x00\x05\0\0\0\x05\0\0\0",
);
const XID: (u8, &[u8]) = (16, b"\x01\0\0\0\0\0\0\0");

fn gtid(number: u8) -> (u8, Vec<u8>) {
    let mut body = vec![0; 42];
    body[1] = 1;
    body[17] = number;
    body[25] = 2;
    body[34] = number;
    (33, body)
}

/// The error to which the last of the events leads.
async fn stopped(events: &[(u8, &[u8])]) -> String {
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
    let mut session = Session::start(log.clone(), start, SessionOptions::default())
        .await
        .unwrap();
    let mut assembly = Assembly::new(TableFilter::default(), 1 << 20);
    for (index, (type_code, body)) in events.iter().enumerate() {
        let event = Event {
            timestamp: 0,
            type_code: *type_code,
            server_id: 1,
            log_pos: 0,
            flags: 0,
            body,
            more: false,
        };
        if let Err(error) = assembly.event(event, &log, &mut session).await {
            assert_eq!(index, events.len() - 1, "{error}");
            assert!(error.hint().is_some(), "{error}");
            let source = std::error::Error::source(&error).map(ToString::to_string);
            return format!("{error} {}", source.unwrap_or_default());
        }
    }
    panic!("it was accepted");
}

#[tokio::test]
async fn rows_and_their_table_maps() {
    let (code, first) = gtid(1);
    let first = (code, &first[..]);
    let (code, second) = gtid(2);
    let second = (code, &second[..]);
    for (events, says) in [
        (&[first, ROW][..], "table map"),
        // A table map holds for its transaction.
        (&[first, MAP, ROW, XID, second, ROW], "table map"),
        (&[first, MAP, WIDE_ROW], "d.t has another number of columns"),
        (&[ROW], "outside"),
        (&[MAP], "outside"),
        (&[XID], "outside"),
        (&[first, MAP, ROW, second], "2"),
    ] {
        let error = stopped(events).await;
        assert!(error.contains(says), "{error} instead of {says}");
    }
}
