//! The judge for every schema and every golden file: the Apache project's own library.

use std::collections::HashMap;

use apache_avro::{
    Decimal, Schema, rabin::Rabin, reader::datum::GenericDatumReader, types::Value as Avro,
};
use binferry_schemas::{
    datum::{Value, text::shortest},
    fingerprint::Fingerprint,
    record::*,
};

use crate::{golden, samples};

fn parse(file: &str) -> Schema {
    Schema::parse_str(&golden::read_text(file)).unwrap()
}

fn canonical_fingerprint(schema: &Schema) -> Fingerprint {
    let bytes = schema.fingerprint::<Rabin>().bytes;
    Fingerprint(u64::from_le_bytes(bytes.try_into().unwrap()))
}

#[test]
fn the_fingerprints_are_those_of_the_canonical_forms() {
    assert_eq!(
        canonical_fingerprint(&parse("v5/envelope.avsc")),
        ENVELOPE_FINGERPRINT
    );
    assert_eq!(
        canonical_fingerprint(&parse("v4/fold.avsc")),
        FOLD_FINGERPRINT
    );
}

/// Decodes a datum; all of it must be used.
fn decode(schema: &Schema, mut bytes: &[u8]) -> Avro {
    let value = GenericDatumReader::builder(schema)
        .build()
        .unwrap()
        .read_value(&mut bytes)
        .unwrap();
    assert!(bytes.is_empty(), "{} bytes left", bytes.len());
    value
}

#[test]
fn row_datums_hold_the_same_values() {
    let schema = parse("v1/rows/all_types.avsc");
    for (name, row) in samples::rows() {
        let bytes = golden::read(&format!("v1/rows/all_types.{name}.datum"));
        let Avro::Record(fields) = decode(&schema, &bytes) else {
            panic!("not a record");
        };
        assert_eq!(fields.len(), row.len());
        for ((field, value), expected) in fields.into_iter().zip(row) {
            let Avro::Union(branch, inner) = value else {
                panic!("{field} is not a union");
            };
            assert!(
                same(branch, &inner, expected),
                "{name}.{field}: {inner:?}, not {expected:?}"
            );
        }
    }
}

fn same(branch: u32, avro: &Avro, expected: Value<'_>) -> bool {
    match (branch, avro, expected) {
        (0, Avro::Null, Value::Null) => true,
        (_, Avro::Int(a), Value::Int(b)) => i64::from(*a) == b,
        (_, Avro::Long(a), Value::Int(b)) | (1, Avro::Long(a), Value::Time(b)) => *a == b,
        (1, Avro::Decimal(a), Value::Unsigned(b)) => {
            unscaled(a) == shortest(&u128::from(b).to_be_bytes())
        }
        (1, Avro::Decimal(a), Value::Decimal(b)) => unscaled(a) == shortest(b),
        (1, Avro::Float(a), Value::Float(b)) => *a == b,
        (1, Avro::Double(a), Value::Double(b)) => *a == b,
        (1, Avro::Date(a), Value::Date(b)) => *a == b,
        (1, Avro::LocalTimestampMicros(a), Value::DateTime(b)) => *a == b,
        (1, Avro::TimestampMicros(a), Value::Timestamp(b)) => *a == b,
        (1 | 2, Avro::String(a), Value::Text(b)) => a == b,
        (1 | 2, Avro::Bytes(a), Value::Bytes(b)) => a == b,
        (2, Avro::Record(fields), Value::Json { text, binary }) => {
            *fields
                == [
                    ("text".to_owned(), Avro::String(text.to_owned())),
                    ("binary".to_owned(), Avro::Bytes(binary.to_vec())),
                ]
        }
        (1, Avro::Array(items), Value::Vector(floats)) => {
            let bits: Vec<u8> = items
                .iter()
                .flat_map(|item| match item {
                    Avro::Float(float) => float.to_le_bytes(),
                    other => panic!("{other:?} in a vector"),
                })
                .collect();
            bits == floats
        }
        _ => false,
    }
}

fn unscaled(decimal: &Decimal) -> Vec<u8> {
    shortest(&Vec::try_from(decimal).unwrap()).to_vec()
}

/// A record's fields by name.
fn fields(value: Avro) -> HashMap<String, Avro> {
    match value {
        Avro::Record(fields) => fields.into_iter().collect(),
        other => panic!("{other:?} is not a record"),
    }
}

fn uuid(uuid: binferry_schemas::gtid::Uuid) -> Avro {
    Avro::Fixed(16, uuid.as_bytes().to_vec())
}

#[test]
fn records_hold_the_same_values() {
    let schema = parse("v5/envelope.avsc");
    let changes = samples::changes();
    for (name, record) in samples::records(&changes) {
        let bytes = golden::read(&format!("v5/records/{name}.bin"));
        assert_eq!(bytes[..2], [0xc3, 0x01]);
        assert_eq!(bytes[2..10], ENVELOPE_FINGERPRINT.0.to_le_bytes());
        let envelope = fields(decode(&schema, &bytes[10..]));
        assert_eq!(envelope["incarnation"], uuid(record.header.incarnation.0));
        assert_eq!(
            envelope["sequence"],
            Avro::Long(record.header.sequence as i64)
        );
        let Avro::Union(branch, body) = envelope["body"].clone() else {
            panic!("not a union");
        };
        let body = fields(*body);
        match (branch, &record.body) {
            (0, Body::Start(start)) => {
                assert_eq!(body["site"], Avro::String(start.site.clone()));
                assert_eq!(body["base"], Avro::String(start.base.to_string()));
                assert_eq!(body["server"], uuid(start.server));
            }
            (1, Body::WriteSet(write_set)) => check_write_set(&body, write_set),
            (2, Body::Ddl(ddl)) => {
                assert_eq!(body["statement"], Avro::String(ddl.statement.clone()));
                assert_eq!(body["effect"], Avro::Enum(1, "define".to_owned()));
                assert_eq!(body["server_collation"], Avro::Int(8));
                if let Some(replay) = &ddl.replay {
                    let Avro::Union(1, stated) = &body["replay"] else {
                        panic!("what it takes to run it again is not there");
                    };
                    let stated = fields(stated.as_ref().clone());
                    assert_eq!(stated["now_us"], Avro::Long(replay.now_us as i64));
                    assert_eq!(stated["mariadb"], Avro::Boolean(replay.mariadb));
                    let Avro::Array(pairs) = &stated["character_set_collations"] else {
                        panic!("pairs are not an array");
                    };
                    assert_eq!(pairs.len(), replay.character_set_collations.len());
                }
            }
            (3, Body::Checkpoint(state)) => check_checkpoint(&body, state),
            (4, Body::Heartbeat(heartbeat)) => {
                assert_eq!(body["at_us"], Avro::Long(heartbeat.at_us as i64));
                if let Some(counts) = &heartbeat.counts {
                    let Avro::Union(1, stated) = &body["counts"] else {
                        panic!("counts are not there");
                    };
                    let Avro::Map(stated) = fields(stated.as_ref().clone())["counts"].clone()
                    else {
                        panic!("counts are not a map");
                    };
                    assert_eq!(stated.len(), counts.counts.len());
                    for (name, count) in &counts.counts {
                        assert_eq!(stated[name], Avro::Long(*count as i64));
                    }
                }
            }
            (5, Body::XaPrepared(prepared)) => {
                assert_eq!(body["at_us"], Avro::Long(prepared.at_us as i64));
                check_xid(&body["xid"], &prepared.xid);
                check_write_set(&body, &prepared.write_set);
            }
            (6, Body::Snapshot(snapshot)) => {
                assert_eq!(body["at_us"], Avro::Long(snapshot.at_us as i64));
                check_step(&body["step"], &snapshot.step);
            }
            (7, Body::SnapshotRows(rows)) => check_rows(&body, rows),
            (branch, body) => panic!("branch {branch} for {body:?}"),
        }
    }
}

fn check_step(step: &Avro, expected: &SnapshotStep) {
    let Avro::Union(branch, step) = step else {
        panic!("not a union");
    };
    let step = fields(step.as_ref().clone());
    match (branch, expected) {
        (0, SnapshotStep::Wanted(job)) => {
            assert_eq!(step["id"], uuid(job.id));
            assert_eq!(step["tables"], Avro::String(job.tables.clone()));
            assert_eq!(step["except"], Avro::String(job.except.clone()));
            assert_eq!(step["over"], Avro::Enum(0, "nothing".to_owned()));
        }
        (1, SnapshotStep::Begin(begin)) => {
            assert_eq!(step["copy"], uuid(begin.copy));
            assert_eq!(step["over"], Avro::Enum(1, "remove".to_owned()));
            let replaces = uuid(begin.replaces.unwrap());
            assert_eq!(step["replaces"], Avro::Union(1, Box::new(replaces)));
            assert_eq!(
                step["create_table"],
                Avro::String(begin.create_table.clone())
            );
            let key = begin.key.iter().cloned().map(Avro::String);
            assert_eq!(step["key"], Avro::Array(key.collect()));
            assert_eq!(
                step["estimated_bytes"],
                Avro::Long(begin.estimated_bytes as i64)
            );
            check_window(&step, &begin.window);
        }
        (2, SnapshotStep::End(end)) => {
            assert_eq!(step["copy"], uuid(end.copy));
            assert_eq!(step["left_out"], Avro::Long(end.left_out as i64));
        }
        (3, SnapshotStep::GivenUp(given_up)) => {
            assert_eq!(step["reason"], Avro::Enum(1, "changed".to_owned()));
            assert_eq!(step["detail"], Avro::String(given_up.detail.clone()));
        }
        (4, SnapshotStep::Planned(job)) | (5, SnapshotStep::Done(job)) => {
            assert_eq!(step["job"], uuid(*job));
        }
        (6, SnapshotStep::Database(bare)) => {
            assert_eq!(step["job"], uuid(bare.job));
            assert_eq!(step["database"], Avro::String(bare.database.clone()));
            assert_eq!(
                step["create_database"],
                Avro::String(bare.create_database.clone())
            );
        }
        (branch, step) => panic!("branch {branch} for {step:?}"),
    }
}

fn check_window(body: &HashMap<String, Avro>, window: &Window) {
    assert_eq!(body["open"], Avro::String(window.open.clone()));
    assert_eq!(body["file"], Avro::String(window.file.clone()));
    assert_eq!(body["position"], Avro::Long(window.position as i64));
}

fn check_rows(body: &HashMap<String, Avro>, rows: &SnapshotRows<'_>) {
    let head = &rows.head;
    assert_eq!(body["copy"], uuid(head.copy));
    assert_eq!(body["chunk"], Avro::Long(head.chunk as i64));
    assert_eq!(body["part"], Avro::Long(head.part.into()));
    assert_eq!(body["last"], Avro::Boolean(head.last));
    assert_eq!(body["rows"], Avro::Long(head.rows as i64));
    for (name, key) in [("upper", &head.upper), ("lower", &rows.lower)] {
        let key = match key {
            None => Avro::Union(0, Box::new(Avro::Null)),
            Some(key) => Avro::Union(1, Box::new(Avro::Bytes(key.clone()))),
        };
        assert_eq!(body[name], key);
    }
    check_window(body, &rows.window);
    let left_out = rows.left_out.iter().cloned().map(Avro::Bytes);
    assert_eq!(body["left_out"], Avro::Array(left_out.collect()));
    check_tables(
        std::slice::from_ref(&body["table"]),
        std::slice::from_ref(&head.table),
    );
    check_changes(body, &rows.rows);
}

fn check_write_set(body: &HashMap<String, Avro>, write_set: &WriteSet<'_>) {
    let transaction = fields(body["transaction"].clone());
    let gtid = fields(transaction["gtid"].clone());
    let expected = write_set.transaction.gtid;
    assert_eq!(gtid["uuid"], uuid(expected.uuid));
    assert_eq!(gtid["tag"], Avro::String(expected.tag.to_string()));
    assert_eq!(gtid["gno"], Avro::Long(expected.gno as i64));
    assert_eq!(
        transaction["last"],
        Avro::Boolean(write_set.transaction.last)
    );

    match (&transaction["xa_end"], &write_set.transaction.xa_end) {
        (Avro::Union(0, _), None) => {}
        (Avro::Union(1, stated), Some(end)) => {
            let stated = fields(stated.as_ref().clone());
            check_xid(&stated["xid"], &end.xid);
            assert_eq!(stated["committed"], Avro::Boolean(end.committed));
        }
        (stated, end) => panic!("xa_end is {stated:?}, not {end:?}"),
    }

    let Avro::Array(tables) = &body["tables"] else {
        panic!("tables are not an array");
    };
    check_tables(tables, &write_set.tables);
    check_changes(body, &write_set.changes);
}

fn check_tables(tables: &[Avro], expected: &[TableRef]) {
    assert_eq!(tables.len(), expected.len());
    let symbols = ["enforced", "logged", "unchecked"];
    for (table, expected) in tables.iter().zip(expected) {
        let (table, kind) = (fields(table.clone()), expected.foreign_keys as u32);
        assert_eq!(table["table"], Avro::String(expected.table.clone()));
        let symbol = symbols[kind as usize].to_owned();
        assert_eq!(table["foreign_keys"], Avro::Enum(kind, symbol));
    }
}

fn check_changes(body: &HashMap<String, Avro>, expected: &Changes<'_>) {
    let Avro::Array(changes) = &body["changes"] else {
        panic!("changes are not an array");
    };
    assert_eq!(changes.len() as u64, expected.count);
    let symbols = ["insert", "update", "delete"];
    for (change, expected) in changes.iter().zip(expected) {
        let (change, expected) = (fields(change.clone()), expected.unwrap());
        assert_eq!(change["table"], Avro::Int(expected.table as i32));
        let symbol = symbols[expected.operation as usize].to_owned();
        assert_eq!(
            change["operation"],
            Avro::Enum(expected.operation as u32, symbol)
        );
        assert_eq!(change["more"], Avro::Boolean(expected.more));
        for (name, image) in [("before", expected.before), ("after", expected.after)] {
            match (&change[name], image) {
                (Avro::Union(0, _), None) => {}
                (Avro::Union(1, avro), Some(image)) => {
                    let avro = fields(avro.as_ref().clone());
                    assert_eq!(avro["datum"], Avro::Bytes(image.datum.to_vec()));
                }
                (avro, image) => panic!("{name} is {avro:?}, not {image:?}"),
            }
        }
    }
    let crc = crc32c::crc32c(expected.encoded);
    assert_eq!(body["crc"], Avro::Long(i64::from(crc)));
}

fn check_xid(stated: &Avro, xid: &Xid) {
    let stated = fields(stated.clone());
    assert_eq!(stated["format"], Avro::Long(i64::from(xid.format)));
    assert_eq!(stated["gtrid"], Avro::Bytes(xid.gtrid.clone()));
    assert_eq!(stated["bqual"], Avro::Bytes(xid.bqual.clone()));
}

fn check_checkpoint(body: &HashMap<String, Avro>, state: &FoldState) {
    assert_eq!(body["log"], uuid(state.log));
    assert_eq!(body["offset"], Avro::Long(state.offset.0 as i64));
    assert_eq!(body["gtids"], Avro::String(state.set.to_string()));
    let Avro::Array(sites) = &body["sites"] else {
        panic!("sites are not an array");
    };
    assert_eq!(sites.len(), state.sites.len());
    for (site, expected) in sites.iter().zip(&state.sites) {
        let site = fields(site.clone());
        assert_eq!(site["site"], Avro::String(expected.site.clone()));
        let next = match expected.next {
            None => Avro::Union(0, Box::new(Avro::Null)),
            Some(next) => Avro::Union(1, Box::new(Avro::Long(next as i64))),
        };
        assert_eq!(site["next"], next);
        let Avro::Array(prepared) = &site["prepared"] else {
            panic!("prepared is not an array");
        };
        assert_eq!(prepared.len(), expected.prepared.len());
        for (stated, prepared) in prepared.iter().zip(&expected.prepared) {
            let stated = fields(stated.clone());
            check_xid(&stated["xid"], &prepared.xid);
            assert_eq!(stated["first"], Avro::Long(prepared.first.0 as i64));
            assert_eq!(stated["last"], Avro::Long(prepared.last.0 as i64));
        }
        let (Avro::Array(jobs), Avro::Array(copies)) = (&site["jobs"], &site["copies"]) else {
            panic!("jobs or copies are not an array");
        };
        assert_eq!(jobs.len(), expected.jobs.len());
        for (stated, job) in jobs.iter().zip(&expected.jobs) {
            let stated = fields(stated.clone());
            let name = fields(stated["job"].clone());
            assert_eq!(name["id"], uuid(job.job.id));
            assert_eq!(stated["planned"], Avro::Boolean(job.planned));
        }
        assert_eq!(copies.len(), expected.copies.len());
        for (stated, copy) in copies.iter().zip(&expected.copies) {
            let stated = fields(stated.clone());
            assert_eq!(stated["copy"], uuid(copy.copy));
            assert_eq!(stated["next_chunk"], Avro::Long(copy.next_chunk as i64));
            assert_eq!(stated["rows"], Avro::Long(copy.rows as i64));
        }
    }
}

#[test]
fn a_fold_state_on_its_own_is_a_checkpoint() {
    let bytes = golden::read("v4/fold_state.bin");
    assert_eq!(bytes[2..10], FOLD_FINGERPRINT.0.to_le_bytes());
    let body = fields(decode(&parse("v4/fold.avsc"), &bytes[10..]));
    check_checkpoint(&body, &samples::fold_state_copies());
}

#[test]
fn odd_names_are_accepted() {
    let Schema::Record(record) = parse("v1/rows/odd_names.avsc") else {
        panic!("not a record");
    };
    assert_eq!(record.fields.len(), samples::odd_names().columns.len());
}
