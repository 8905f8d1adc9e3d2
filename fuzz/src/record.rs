//! Log records, as any reader of a log meets them.

use binferry_schemas::{
    datum::Values,
    record::{Body, FoldState, Head, Record},
    row::RowSchema,
};

pub fn read(data: &[u8]) {
    let _ = Head::decode(data);
    let _ = FoldState::decode(data);
    if let Ok(record) = Record::decode(data) {
        // What was read is written as it was.
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(
            Record::decode(&again).as_ref(),
            Ok(&record),
            "written and read again"
        );
        if let Body::WriteSet(set) = &record.body {
            for change in set.changes.iter() {
                if change.is_err() {
                    break;
                }
            }
        }
    }
    datum(data);
}

fn datum(data: &[u8]) {
    let Some((length, rest)) = data
        .strip_prefix(&[0])
        .and_then(|data| data.split_first_chunk::<2>())
    else {
        return;
    };
    let Some((text, datum)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
    else {
        return;
    };
    let Some(schema) = std::str::from_utf8(text)
        .ok()
        .and_then(|text| RowSchema::from_avro(text).ok())
    else {
        return;
    };
    for value in Values::new(&schema, None, datum) {
        if value.is_err() {
            break;
        }
    }
}
