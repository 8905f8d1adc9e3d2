//! Heads of rows events, images that lack columns, and events that are not sound.

use binferry_schemas::{
    datum::{Value, Values},
    record::Image,
};

use super::*;
use crate::decode::{Decoded, TableMap};

#[test]
fn full_bitmaps() {
    assert!(is_full(&[0xff, 0x01], 9));
    assert!(is_full(&[0xff, 0xff], 9));
    assert!(is_full(&[0xff], 8));
    assert!(!is_full(&[0xff, 0xfe], 9));
    assert!(!is_full(&[0x7f], 8));
    assert!(is_full(&[0x7f], 7));
    assert_eq!(presence(&[0xff], 7), None);
    assert_eq!(presence(&[0x82, 0xf2], 12), Some([0x82, 0x02].into()));
    assert_eq!(presence(&[0x82], 8), Some([0x82].into()));
}

#[test]
fn dummy_ends_a_statement() {
    let rows = RowsEvent::parse(30, b"\xff\xff\xff\0\0\0\x01\0\x02\0\0").unwrap();
    assert!(rows.is_dummy() && rows.ends_statement());
    for end in 0..11 {
        assert!(RowsEvent::parse(30, &b"\xff\xff\xff\0\0\0\x01\0\x02\0\0"[..end]).is_err());
    }
    // An extra length that does not count itself.
    assert!(RowsEvent::parse(30, b"\xff\xff\xff\0\0\0\x01\0\x01\0\0").is_err());
}

#[test]
fn versions_and_extra_information_lead_to_the_same_rows() {
    // One column, one row of four bytes.
    let rows = b"\x01\x01\x00\x2a\0\0\0";
    let head = b"\x07\0\0\0\0\0\x01\0";
    let v1 = [&head[..], rows].concat();
    let plain = [&head[..], b"\x02\0", rows].concat();
    // The place of a row in its partition, and what NDB adds.
    let partition = [&head[..], b"\x05\0\x01\x03\0", rows].concat();
    let ndb = [&head[..], b"\x08\0\0\x04\0\x01\x02\x03", rows].concat();
    for (code, body) in [(23, v1), (30, plain), (30, partition), (30, ndb)] {
        let event = RowsEvent::parse(code, &body).unwrap();
        assert_eq!((event.table_id(), event.columns), (7, 1));
        assert_eq!(event.rows, b"\0\x2a\0\0\0");
        assert!(event.ends_statement() && event.operation() == Operation::Insert);
        for end in 0..body.len() - 5 {
            assert!(RowsEvent::parse(code, &body[..end]).is_err());
        }
    }
}

/// `d.t (a INT PRIMARY KEY, b INT, j JSON, k JSON)`
const MAP: &[u8] = b"\x07\0\0\0\0\0\x01\0\x01d\0\x01t\0\x04\x03\x03\xf5\xf5\x02\x04\x04\x0e\
    \x01\x01\0\x04\x08\x01a\x01b\x01j\x01k\x08\x01\0";

fn plan() -> TablePlan {
    TablePlan::new(&TableMap::parse(MAP).unwrap()).unwrap()
}

/// An event with these bitmaps and this body.
fn event(code: u8, bitmaps: &[u8], rows: &[&[u8]]) -> Vec<u8> {
    let mut body = b"\x07\0\0\0\0\0\x01\0".to_vec();
    if code >= 30 {
        body.extend_from_slice(b"\x02\0");
    }
    body.push(4);
    body.extend_from_slice(bitmaps);
    body.extend_from_slice(&rows.concat());
    body
}

fn changes(code: u8, body: &[u8]) -> Result<ChangesBuffer, DecodeError> {
    let Decoded::Rows(rows) = Decoded::of(code, 0, body)? else {
        panic!("event {code} has no rows");
    };
    let plan = plan();
    let mut changes = ChangesBuffer::new();
    let mut cursor = rows.cursor(&plan);
    while cursor.next(0, &mut changes)? {}
    Ok(changes)
}

fn values<'a>(plan: &'a TablePlan, image: Option<Image<'a>>) -> Vec<Option<Value<'a>>> {
    let image = image.unwrap();
    let values = Values::new(plan.schema(), image.present, image.datum);
    values.map(|value| value.unwrap()).collect()
}

const fn int(value: i64) -> Option<Value<'static>> {
    Some(Value::Int(value))
}

const fn text(text: &'static str) -> Option<Value<'static>> {
    Some(Value::Text(text))
}

const NULL: Option<Value<'static>> = Some(Value::Null);
/// `[true]` with its length.
const DOCUMENT: &[u8] = b"\x08\0\0\0\x02\x01\0\x07\0\x04\x01\0";

#[test]
fn what_an_after_image_lacks_is_taken_from_a_full_before_image() {
    // MariaDB's FULL_NODUP; the bits beyond the last column are set in one bitmap, and not in the other.
    let body = event(
        24,
        &[0xff, 0x06],
        &[
            b"\x08\x01\0\0\0\x02\0\0\0",
            DOCUMENT,
            b"\x02\x09\0\0\0",
            b"\x0e\x02\0\0\0",
            b"\x00\x03\0\0\0",
            DOCUMENT,
        ],
    );
    let (changes, plan) = (changes(24, &body).unwrap(), plan());
    let found: Vec<_> = changes.as_changes().iter().map(Result::unwrap).collect();
    assert_eq!(found.len(), 2);
    for change in &found {
        assert_eq!(change.operation, Operation::Update);
        for image in [change.before, change.after] {
            assert_eq!(image.unwrap().present, None);
        }
    }
    let document = text("[true]");
    assert_eq!(
        values(&plan, found[0].before),
        [int(1), int(2), document, NULL]
    );
    assert_eq!(values(&plan, found[0].after), [int(1), int(9), NULL, NULL]);
    assert_eq!(values(&plan, found[1].before), [int(2), NULL, NULL, NULL]);
    assert_eq!(
        values(&plan, found[1].after),
        [int(2), int(3), document, NULL]
    );
}

#[test]
fn absent_columns_stay_absent() {
    let plan = plan();
    let body = event(31, &[0xf1, 0xf6], &[b"\x00\x01\0\0\0\x02\x05\0\0\0"]);
    let update = changes(31, &body).unwrap();
    let update = update.as_changes().iter().next().unwrap().unwrap();
    assert_eq!(update.before.unwrap().present, Some(&[0x01][..]));
    assert_eq!(update.after.unwrap().present, Some(&[0x06][..]));
    assert_eq!(values(&plan, update.before), [int(1), None, None, None]);
    assert_eq!(values(&plan, update.after), [None, int(5), NULL, None]);
    let insert = changes(30, &event(30, &[0x03], &[b"\x02\x01\0\0\0"])).unwrap();
    let insert = insert.as_changes().iter().next().unwrap().unwrap();
    assert_eq!(values(&plan, insert.after), [int(1), NULL, None, None]);
}

/// `$[0]` becomes false.
const CHANGE: &[u8] = b"\x09\0\0\0\x00\x04$[0]\x02\x04\x02";

#[test]
fn changes_of_documents() {
    let plan = plan();
    let old: &[&[u8]] = &[b"\x00\x01\0\0\0\x02\0\0\0", DOCUMENT, DOCUMENT];
    // The bits of changes count the table's documents, whether or not the image has them.
    let new: &[&[u8]] = &[b"\x01\x02\x00", CHANGE];
    let body = event(39, &[0x0f, 0x08], &[old, new].concat());
    let update = changes(39, &body).unwrap();
    let update = update.as_changes().iter().next().unwrap().unwrap();
    let after = values(&plan, update.after);
    assert_eq!(after, [int(1), int(2), text("[true]"), text("[false]")]);
    // Without options it is an update as any other.
    let body = event(39, &[0x0f, 0x02], &[old, &[b"\x00\x00\x07\0\0\0"]].concat());
    assert_eq!(changes(39, &body).unwrap().count, 1);

    let missing = event(
        39,
        &[0x01, 0x08],
        &[&[&b"\x00\x01\0\0\0"[..]], new].concat(),
    );
    let error = changes(39, &missing).unwrap_err();
    assert!(
        error.to_string().contains("d.t.k holds only what changes"),
        "{error}"
    );
    let null: &[&[u8]] = &[b"\x0c\x01\0\0\0\x02\0\0\0"];
    let error = changes(39, &event(39, &[0x0f, 0x08], &[null, new].concat())).unwrap_err();
    assert!(error.to_string().contains("that is NULL"), "{error}");
    let options = event(
        39,
        &[0x0f, 0x08],
        &[old, &[b"\x02\x02\x00", CHANGE]].concat(),
    );
    let error = changes(39, &options).unwrap_err();
    assert!(error.to_string().contains("value options"), "{error}");
}

#[test]
fn events_that_are_not_sound_are_named() {
    for (code, body, says) in [
        // Another number of columns than the table map; its bitmap is there.
        (
            30,
            b"\x07\0\0\0\0\0\x01\0\x02\0\x03\x07\x00".to_vec(),
            "d.t has another number of columns",
        ),
        (
            30,
            b"\x07\0\0\0\0\0\x01\0\x02\0\xfc\xff\xff\x07".to_vec(),
            "WRITE_ROWS event ends early",
        ),
        (
            23,
            b"\x07\0\0\0\0\0\x01\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            "WRITE_ROWS_V1 event ends early",
        ),
        (
            31,
            b"\x07\0\0\0\0\0\x01\0\x02\0\x04\x0f".to_vec(),
            "UPDATE_ROWS event ends early",
        ),
        (
            32,
            b"\x07\0\0\0\0\0\x01\0\xff\xff\x04\x0f\x00".to_vec(),
            "DELETE_ROWS event ends early",
        ),
        // Images of no columns at all: any number of rows.
        (30, event(30, &[0xf0], &[]), "images without columns"),
        (25, event(25, &[0x00], &[b"\x00"]), "images without columns"),
        // Lengths beyond the end.
        (
            30,
            event(30, &[0x0f], &[b"\x08\x01\0\0\0\x02\0\0\0\xff\xff\xff\xff"]),
            "column d.t.j ends early",
        ),
        (
            30,
            event(30, &[0x07], &[b"\x00\x01\0\0\0\x02\0\0\0\xff\xff\xff\xff"]),
            "column d.t.j ends early",
        ),
        (
            30,
            event(30, &[0x01], &[b"\x00\x01\0"]),
            "column d.t.a ends early",
        ),
        (
            31,
            event(31, &[0x01, 0x02], &[b"\x00\x01\0\0\0"]),
            "d.t ends early",
        ),
    ] {
        let error = changes(code, &body).unwrap_err().to_string();
        assert!(error.contains(says), "{error} instead of {says}");
    }
}

#[test]
fn broken_events_never_panic() {
    let old: &[&[u8]] = &[b"\x00\x01\0\0\0\x02\0\0\0", DOCUMENT, DOCUMENT];
    let full = event(
        39,
        &[0x0f, 0x0c],
        &[old, &[b"\x01\x03\x00", CHANGE, CHANGE]].concat(),
    );
    let minimal = event(
        24,
        &[0x01, 0x06],
        &[b"\x00\x01\0\0\0\x00\x05\0\0\0", DOCUMENT],
    );
    assert!(changes(39, &full).is_ok() && changes(24, &minimal).is_ok());
    for (code, body) in [(39, full), (24, minimal)] {
        for end in 0..body.len() {
            let cut = changes(code, &body[..end]);
            // A cut between the head and the first row leaves none; any other is seen.
            assert!(cut.is_ok_and(|cut| cut.count == 0) || changes(code, &body[..end]).is_err());
        }
        for at in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            let Ok(changes) = changes(code, &flipped) else {
                continue;
            };
            // Whatever was accepted can be read.
            let plan = plan();
            for change in changes.as_changes().iter() {
                let change = change.unwrap();
                for image in [change.before, change.after] {
                    values(&plan, image);
                }
            }
        }
    }
}

#[test]
fn what_foreign_keys_had_to_do_with_it() {
    for (flags, expected) in [
        (0x00, ForeignKeys::Enforced),
        (0x01, ForeignKeys::Enforced),
        (0x02, ForeignKeys::Unchecked),
        (0x11, ForeignKeys::Logged),
        (0x13, ForeignKeys::Unchecked),
    ] {
        let body = [
            b"\x07\0\0\0\0\0",
            &[flags, 0][..],
            b"\x02\0\x01\x01\0\x2a\0\0\0",
        ]
        .concat();
        let event = RowsEvent::parse(30, &body).unwrap();
        assert_eq!(event.foreign_keys(), expected, "{flags:#x}");
    }
}
