//! Any bytes give a value or an error: no panic, and no memory out of proportion.

use binferry_schemas::{
    datum::{Values, text},
    fault::{Fault, Kind},
    fingerprint::Fingerprint,
    record::*,
    row::RowSchema,
};
use proptest::{collection::vec, prelude::*};

use crate::{samples, strategies};

fn decode_everything(bytes: &[u8]) {
    let _ = Head::decode(bytes);
    let _ = FoldState::decode(bytes);
    let schema = samples::all_types();
    for value in Values::new(&schema, None, bytes) {
        if let Ok(Some(binferry_schemas::datum::Value::Decimal(unscaled))) = value {
            let _ = text::Decimal::new(unscaled, 2).unwrap().to_string();
        }
    }
    let _ = Values::new(&schema, Some(bytes), bytes).count();
    for change in &(Changes {
        count: u64::MAX,
        encoded: bytes,
    }) {
        let _ = change;
    }
    if let Ok(record) = Record::decode(bytes)
        && let Body::WriteSet(WriteSet { changes, .. })
        | Body::SnapshotRows(SnapshotRows { rows: changes, .. }) = record.body
    {
        let _ = changes.iter().count();
    }
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..200)) {
        decode_everything(&bytes);
        for fingerprint in [ENVELOPE_FINGERPRINT, FOLD_FINGERPRINT] {
            let mut framed = vec![0xc3, 0x01];
            framed.extend(fingerprint.0.to_le_bytes());
            framed.extend(&bytes);
            decode_everything(&framed);
        }
    }

    #[test]
    fn mutated_records(
        parts in strategies::record(),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = strategies::with_record(parts, |record| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            bytes
        });
        decode_everything(&bytes[..cut.index(bytes.len())]);
        for (at, byte) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            decode_everything(&bytes);
        }
    }

    #[test]
    fn mutated_schemas(schema in strategies::row_schema(), at in any::<prop::sample::Index>(), with in "[\"{}\\[\\]:,a0\\\\]{0,2}") {
        let (mut text, _) = schema.to_avro();
        let at = at.index(text.len());
        if text.is_char_boundary(at) {
            text.insert_str(at, &with);
        }
        let _ = RowSchema::from_avro(&text);
    }
}

#[test]
fn huge_counts_take_no_memory() {
    for count in [i64::MAX, i64::MIN, -1 << 40, 1 << 40] {
        let mut bytes = vec![0; 3];
        binferry_schemas::avro::put_long(&mut bytes, count);
        decode_everything(&bytes);
    }
}

#[test]
fn every_flipped_bit_of_the_changes_is_noticed() {
    let changes = samples::changes();
    let records = samples::records(&changes);
    let (_, record) = records
        .iter()
        .find(|(name, _)| *name == "write_set")
        .unwrap();
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    let from = bytes
        .windows(changes.len())
        .position(|window| window == changes.encoded)
        .unwrap();
    for at in from..from + changes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(
                matches!(Record::decode(&bytes), Err(RecordError::Checksum { .. })),
                "byte {at}, bit {bit}"
            );
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(Record::decode(&bytes).is_ok());
}

#[test]
fn another_version_is_told_from_damage() {
    let mut bytes = Vec::new();
    let changes = samples::changes();
    samples::records(&changes)[0].1.encode(&mut bytes);
    bytes[2..10].copy_from_slice(&7u64.to_le_bytes());
    let newer = RecordError::NewerVersion {
        fingerprint: Fingerprint(7),
    };
    assert_eq!(Record::decode(&bytes), Err(newer.clone()));
    assert_eq!(Head::decode(&bytes), Err(newer.clone()));
    assert_eq!(newer.kind(), Kind::Configuration);
    assert!(newer.hint().unwrap().contains("newer version"));
    bytes[0] = 0;
    assert_eq!(Record::decode(&bytes), Err(RecordError::Marker));
    assert_eq!(RecordError::Marker.kind(), Kind::Data);
}

#[test]
fn bytes_after_a_record_are_an_error() {
    let changes = samples::changes();
    for (name, record) in samples::records(&changes) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes.push(0);
        assert!(Record::decode(&bytes).is_err(), "{name}");
    }
}
