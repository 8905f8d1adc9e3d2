//! Golden files: what each version wrote is read for ever, and the newest one is written the same for ever. Rows have had one version.
//!
//! `BINFERRY_WRITE_GOLDEN=1 cargo test` adds files that are missing. It never changes one: a format that changes is a new version, with a
//! folder of its own.

use std::{fs, path::PathBuf};

use binferry_schemas::{datum::Values, fingerprint::rabin, record::*, row::RowSchema};

use crate::samples;

/// The version that is written.
pub const NEWEST: &str = "v5";

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("golden file {}: {error}", path.display()))
}

pub fn read_text(name: &str) -> String {
    String::from_utf8(read(name)).unwrap()
}

/// `bytes` must be what the file holds.
fn check(name: &str, bytes: &[u8]) {
    let path = folder().join(name);
    if std::env::var_os("BINFERRY_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    assert!(
        read(name) == bytes,
        "{name} is frozen, and is written differently now: a changed format is a new version"
    );
}

#[test]
fn the_published_schemas_are_those_of_their_versions() {
    check("v5/envelope.avsc", ENVELOPE_SCHEMA.as_bytes());
    check("v4/fold.avsc", FOLD_SCHEMA.as_bytes());
    for (name, version) in [
        ("binferry", "v1"),
        ("fold", "v1"),
        ("binferry", "v2"),
        ("fold", "v2"),
        ("binferry", "v3"),
        ("binferry", "v4"),
    ] {
        let published =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.{version}.avsc"));
        let golden = format!("{version}/{}.avsc", name.replace("binferry", "envelope"));
        check(&golden, &fs::read(published).unwrap());
    }
}

#[test]
fn records_are_written_and_read_as_before() {
    let changes = samples::changes();
    for (name, record) in samples::records(&changes) {
        let file = format!("{NEWEST}/records/{name}.bin");
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        check(&file, &bytes);
        assert_eq!(Record::decode(&read(&file)).unwrap(), record, "{name}");
    }
}

#[test]
fn records_of_older_versions_are_read() {
    let changes = samples::changes();
    for (version, records) in [
        ("v1", samples::of_version_1(&changes)),
        ("v2", samples::of_version_2(&changes)),
        ("v3", samples::of_version_3(&changes)),
        ("v4", samples::of_version_4(&changes)),
    ] {
        for (name, record) in records {
            let bytes = read(&format!("{version}/records/{name}.bin"));
            assert_eq!(Record::decode(&bytes).unwrap(), record, "{name}");
            assert_eq!(Head::decode(&bytes).unwrap(), Head::of(&record), "{name}");
        }
    }
    for (version, expected) in [
        ("v1", samples::fold_state()),
        ("v2", samples::fold_state_prepared()),
    ] {
        let state = FoldState::decode(&read(&format!("{version}/fold_state.bin"))).unwrap();
        assert_eq!(state, expected);
    }
}

#[test]
fn changes_are_read_as_before() {
    for version in ["v1", "v2", "v3", "v4", NEWEST] {
        changes_are_read(&read(&format!("{version}/records/write_set.bin")));
    }
}

fn changes_are_read(bytes: &[u8]) {
    let Body::WriteSet(write_set) = Record::decode(bytes).unwrap().body else {
        panic!("not a write-set");
    };
    let changes: Vec<_> = write_set.changes.iter().map(Result::unwrap).collect();
    let schema = samples::all_types();
    let datum = |row: &samples::Row| samples::encode(&schema, row);
    let (everyday, extreme) = (datum(&samples::everyday()), datum(&samples::extreme()));
    assert_eq!(changes.len(), 5);
    assert_eq!(changes[0].operation, Operation::Insert);
    assert_eq!(changes[0].after.unwrap().datum, everyday);
    assert_eq!(changes[1].after.unwrap().datum, extreme);
    assert!(changes[2].after.is_none() && changes[2].before.unwrap().present.is_none());
    assert!(changes[3].more && !changes[4].more);
    let joined = [
        changes[3].after.unwrap().datum,
        changes[4].after.unwrap().datum,
    ]
    .concat();
    assert_eq!(joined, everyday);

    let before = changes[1].before.unwrap();
    let values: Vec<_> = Values::new(&schema, before.present, before.datum)
        .map(Result::unwrap)
        .collect();
    assert_eq!(values[0], Some(samples::everyday()[0]));
    assert!(values[1..].iter().all(Option::is_none));
}

#[test]
fn fold_states_are_written_and_read_as_before() {
    let state = samples::fold_state_copies();
    check("v4/fold_state.bin", &state.encode());
    assert_eq!(
        FoldState::decode(&read("v4/fold_state.bin")).unwrap(),
        state
    );
}

#[test]
fn row_schemas_are_written_and_read_as_before() {
    for (name, schema) in [
        ("all_types", samples::all_types()),
        ("odd_names", samples::odd_names()),
    ] {
        let file = format!("v1/rows/{name}.avsc");
        let (text, fingerprint) = schema.to_avro();
        check(&file, text.as_bytes());
        assert_eq!(RowSchema::from_avro(&read_text(&file)).unwrap(), schema);
        assert_eq!(rabin(&read(&file)), fingerprint);
    }
}

#[test]
fn datums_are_written_and_read_as_before() {
    let schema = samples::all_types();
    for (name, row) in samples::rows() {
        let file = format!("v1/rows/all_types.{name}.datum");
        check(&file, &samples::encode(&schema, &row));
        let bytes = read(&file);
        let values: Vec<_> = Values::new(&schema, None, &bytes)
            .map(|value| value.unwrap().unwrap())
            .collect();
        assert_eq!(values, row, "{name}");
    }
}
