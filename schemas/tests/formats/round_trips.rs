//! What is written comes back, and takes no more bytes than the encoders said.

use binferry_schemas::{
    datum::{self, Values},
    record::*,
    row::RowSchema,
};
use proptest::prelude::*;

use crate::strategies;

proptest! {
    #[test]
    fn records(parts in strategies::record()) {
        strategies::with_record(parts, |record| {
            let mut bytes = b"before".to_vec();
            record.encode(&mut bytes);
            let bytes = &bytes[6..];
            prop_assert_eq!(&Record::decode(bytes).unwrap(), record);

            if let Body::WriteSet(_) | Body::XaPrepared(_) | Body::SnapshotRows(_) = record.body {
                prop_assert!(bytes.len() <= record.size());
                prop_assert!(record.size() - bytes.len() <= 256, "{} predicted, {} written", record.size(), bytes.len());
            }

            let head = Head::decode(bytes).unwrap();
            prop_assert_eq!(head.header, record.header);
            match (&head.body, &record.body) {
                (HeadBody::Start(head), Body::Start(start)) => prop_assert_eq!(head, start),
                (HeadBody::Checkpoint(head), Body::Checkpoint(state)) => prop_assert_eq!(head, state),
                (HeadBody::Heartbeat(head), Body::Heartbeat(beat)) => prop_assert_eq!(head, beat),
                (HeadBody::WriteSet(head), Body::WriteSet(WriteSet { transaction, .. }))
                | (HeadBody::Ddl(head), Body::Ddl(Ddl { transaction, .. })) => prop_assert_eq!(
                    head,
                    &TransactionHead {
                        gtid: transaction.gtid,
                        original_commit_us: transaction.original_commit_us,
                        immediate_commit_us: transaction.immediate_commit_us,
                        chunk: transaction.chunk,
                        last: transaction.last,
                        xa_end: transaction.xa_end.clone(),
                    }
                ),
                (HeadBody::XaPrepared(head), Body::XaPrepared(prepared)) => {
                    prop_assert_eq!(head, &prepared.into());
                }
                (HeadBody::Snapshot(head), Body::Snapshot(snapshot)) => {
                    prop_assert_eq!(head, snapshot);
                }
                (HeadBody::SnapshotRows(head), Body::SnapshotRows(rows)) => {
                    prop_assert_eq!(head, &rows.head);
                }
                (head, body) => prop_assert!(false, "{head:?} of {body:?}"),
            }
            Ok(())
        })?;
    }

    #[test]
    fn changes(changes in strategies::changes()) {
        let mut buffer = ChangesBuffer::new();
        let mut expected = Vec::new();
        for change in &changes {
            let change = change.borrow();
            let before = buffer.len();
            buffer.push(&change);
            prop_assert!(buffer.len() - before <= change.size());
            expected.push(change);
        }
        let back: Result<Vec<_>, _> = buffer.as_changes().iter().collect();
        prop_assert_eq!(back.unwrap(), expected);
        buffer.clear();
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn fold_states(state in strategies::fold_state()) {
        prop_assert_eq!(FoldState::decode(&state.encode()).unwrap(), state);
    }

    #[test]
    fn row_schemas(schema in strategies::row_schema()) {
        let (text, fingerprint) = schema.to_avro();
        prop_assert_eq!(schema.to_avro(), (text.clone(), fingerprint));
        prop_assert_eq!(RowSchema::from_avro(&text).unwrap(), schema);
        // Avro accepts every name that we give.
        let parsed = apache_avro::Schema::parse_str(&text);
        prop_assert!(parsed.is_ok(), "{}: {:?}", text, parsed.err());
    }

    #[test]
    fn rows((schema, row) in strategies::row_schema().prop_flat_map(|schema| {
        let row = strategies::row(&schema);
        (Just(schema), row)
    })) {
        let mut datum = Vec::new();
        let mut bitmap = vec![0; schema.columns.len().div_ceil(8)];
        for (i, (column, value)) in schema.columns.iter().zip(&row).enumerate() {
            let before = datum.len();
            match value {
                None => datum::put_null(&mut datum),
                Some(value) => {
                    bitmap[i / 8] |= 1 << (i % 8);
                    datum::put(&mut datum, &column.ty, value).unwrap();
                    prop_assert!(datum.len() - before <= datum::size(value));
                }
            }
        }
        let back: Result<Vec<_>, _> = Values::new(&schema, Some(&bitmap), &datum).collect();
        prop_assert_eq!(back.unwrap(), row);
    }
}
