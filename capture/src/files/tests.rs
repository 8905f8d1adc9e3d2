//! Damage at every place of a file. The files are a server's; what must come of them is said by what it is without the damage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::decode::{Decoded, TableMap, TablePlan};
use binferry_schemas::record::ChangesBuffer;

const CLOSED: &[u8] = include_bytes!("fixtures/closed");
const OPEN: &[u8] = include_bytes!("fixtures/open");
const PLAIN: &[u8] = include_bytes!("fixtures/plain");

/// An event: type, flags without the one that says that the file is open, and body.
type Seen = (u8, u16, Vec<u8>);

/// How a list of files was read: every event before the first error, and that error.
#[derive(Debug)]
struct Outcome {
    events: Vec<Seen>,
    /// The last event was in the middle of a transaction.
    open: bool,
    error: Option<CaptureError>,
    cut_off: bool,
}

async fn read(paths: &[PathBuf], have: &GtidSet) -> Outcome {
    let mut outcome = Outcome {
        events: Vec::new(),
        open: false,
        error: None,
        cut_off: false,
    };
    if let Err(error) = read_on(paths, have, &mut outcome).await {
        outcome.error = Some(error);
    }
    outcome
}

async fn read_on(
    paths: &[PathBuf],
    have: &GtidSet,
    outcome: &mut Outcome,
) -> Result<(), CaptureError> {
    let heads = survey(paths)?;
    history(&heads)?;
    let mut files = BinlogFiles::open(heads, have.clone(), None)?;
    let (mut plans, mut changes) = (Vec::<(u64, TablePlan)>::new(), ChangesBuffer::new());
    loop {
        while let Some(event) = files.buffered()? {
            let seen = (event.type_code, event.flags & !1, event.body.to_vec());
            // What a stream does with it: nothing of it may panic, and what cannot be decoded stops it.
            match Decoded::of(event.type_code, event.flags, event.body)? {
                Decoded::Gtid(_) => outcome.open = true,
                Decoded::Xid => outcome.open = false,
                Decoded::Query(query) => {
                    outcome.open &= !query.statement().starts_with("CREATE");
                }
                Decoded::TableMap(id) => {
                    plans.push((id, TablePlan::new(&TableMap::parse(event.body)?)?));
                }
                Decoded::Rows(rows) => {
                    if let Some((_, plan)) =
                        plans.iter().rev().find(|(id, _)| *id == rows.table_id())
                    {
                        changes.clear();
                        let mut cursor = rows.cursor(plan);
                        while cursor.next(0, &mut changes)? {}
                    }
                }
                _ => {}
            }
            outcome.events.push(seen);
        }
        if files.fill(outcome.open).await? == Filled::End {
            outcome.cut_off = files.cut_off;
            return files.end(outcome.open);
        }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// What the server had executed before the open file.
fn before_open(folder: &Path) -> GtidSet {
    Head::read(&write(folder, "head", OPEN))
        .unwrap()
        .previous
        .unwrap()
}

#[tokio::test]
async fn every_event_of_both_files_in_either_order() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (
        write(folder.path(), "b.000001", CLOSED),
        write(folder.path(), "b.000002", OPEN),
    );
    for paths in [
        vec![one.clone(), two.clone()],
        vec![two, one],
        vec![folder.path().to_owned()],
    ] {
        let outcome = read(&paths, &GtidSet::new()).await;
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        let gtids = outcome
            .events
            .iter()
            .filter(|(code, ..)| *code == 33)
            .count();
        assert_eq!((outcome.events.len(), gtids), (28, 5));
    }
}

#[tokio::test]
async fn what_is_there_is_read_over() {
    let folder = TempDir::new().unwrap();
    let path = write(folder.path(), "b.000001", CLOSED);
    let all = read(std::slice::from_ref(&path), &GtidSet::new())
        .await
        .events;
    let mut have = GtidSet::new();
    for event in &all {
        if let Ok(Decoded::Gtid(begun)) = Decoded::of(event.0, 0, &event.2) {
            have.insert(begun.gtid);
            let left = read(std::slice::from_ref(&path), &have).await.events;
            let gtids = |events: &[Seen]| events.iter().filter(|e| e.0 == 33).count() as u128;
            assert_eq!(gtids(&left), gtids(&all) - have.len());
        }
    }
    // The name, the description, the GTIDs before it and the rotate event stay.
    let left = read(&[path], &have).await.events;
    let codes: Vec<u8> = left.iter().map(|(code, ..)| *code).collect();
    assert_eq!(codes, [ROTATE, FORMAT_DESCRIPTION, 35, ROTATE]);
}

#[tokio::test]
async fn cut_off_at_every_place() {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in [("closed", CLOSED), ("plain", PLAIN)] {
        let path = write(folder.path(), name, bytes);
        let whole = read(std::slice::from_ref(&path), &GtidSet::new()).await;
        assert!(whole.error.is_none());
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let outcome = read(std::slice::from_ref(&path), &GtidSet::new()).await;
            assert!(whole.events.starts_with(&outcome.events), "{name} {length}");
            // Between two transactions a file looks as after a crash of its server, and is whole as far as one can see.
            let Some(CaptureError::File(error)) = outcome.error else {
                assert!(outcome.error.is_none() && !outcome.open, "{name} {length}");
                continue;
            };
            let named = error.to_string();
            assert!(named.contains(name), "{named}");
            match error {
                FileError::Empty { .. } => assert_eq!(length, 0),
                FileError::NotBinlog { .. } => assert!(length < 4),
                FileError::Truncated { .. } | FileError::Unfinished { .. } => assert!(length >= 4),
                other => panic!("{name} {length}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn an_open_file_may_end_anywhere_when_it_is_the_last() {
    let folder = TempDir::new().unwrap();
    let before = before_open(folder.path());
    let path = write(folder.path(), "b.000002", OPEN);
    let whole = read(std::slice::from_ref(&path), &before).await;
    let first = write(folder.path(), "b.000001", CLOSED);
    // Behind the description and the GTIDs, without which nobody knows what it is.
    let top = 4 + 123 + 71;
    for length in top..OPEN.len() {
        fs::write(&path, &OPEN[..length]).unwrap();
        let alone = read(std::slice::from_ref(&path), &before).await;
        assert!(alone.error.is_none(), "{length}: {:?}", alone.error);
        assert!(whole.events.starts_with(&alone.events), "{length}");
        let both = read(&[first.clone(), path.clone()], &GtidSet::new()).await;
        assert!(both.error.is_none(), "{length}: {:?}", both.error);
    }
    // Cut in its first events it is as if it were not there yet.
    for length in 4 + 123..top {
        fs::write(&path, &OPEN[..length]).unwrap();
        let both = read(&[first.clone(), path.clone()], &GtidSet::new()).await;
        assert!(both.error.is_none(), "{length}: {:?}", both.error);
        assert!(
            read(std::slice::from_ref(&path), &before)
                .await
                .error
                .is_some()
        );
    }
    // Not as the first of two.
    let mut closed = CLOSED[..CLOSED.len() - 60].to_vec();
    closed[4 + 17] |= 1;
    fs::write(&first, closed).unwrap();
    fs::write(&path, OPEN).unwrap();
    let outcome = read(&[first, path], &GtidSet::new()).await;
    assert!(
        matches!(
            outcome.error,
            Some(CaptureError::File(FileError::Truncated { .. }))
        ),
        "{:?}",
        outcome.error
    );
}

/// With checksums a changed bit is an error, or changes nothing that is carried.
#[tokio::test]
async fn every_changed_bit_is_noticed_with_checksums() {
    let folder = TempDir::new().unwrap();
    let before = before_open(folder.path());
    for (name, bytes, have) in [("closed", CLOSED, &GtidSet::new()), ("open", OPEN, &before)] {
        let path = write(folder.path(), name, bytes);
        let whole = read(std::slice::from_ref(&path), have).await;
        let mut changed = bytes.to_vec();
        for at in 0..bytes.len() {
            for bit in [at % 8, (at + 3) % 8] {
                changed[at] ^= 1 << bit;
                fs::write(&path, &changed).unwrap();
                let outcome = read(std::slice::from_ref(&path), have).await;
                if outcome.error.is_none() {
                    assert_eq!(outcome.events, whole.events, "{name}: byte {at}, bit {bit}");
                    assert!(!outcome.cut_off, "{name}: byte {at}, bit {bit}");
                } else {
                    assert!(
                        whole.events.starts_with(&outcome.events),
                        "{name}: byte {at}"
                    );
                }
                changed[at] ^= 1 << bit;
            }
        }
    }
}

/// Without checksums nobody can notice, but nothing panics, and no length makes it read what is not there.
#[tokio::test]
async fn a_changed_bit_without_checksums_never_panics() {
    let folder = TempDir::new().unwrap();
    let path = write(folder.path(), "plain", PLAIN);
    let mut changed = PLAIN.to_vec();
    let mut errors = 0;
    for at in 0..PLAIN.len() {
        for bit in [at % 8, (at + 3) % 8] {
            changed[at] ^= 1 << bit;
            fs::write(&path, &changed).unwrap();
            errors += usize::from(
                read(std::slice::from_ref(&path), &GtidSet::new())
                    .await
                    .error
                    .is_some(),
            );
            changed[at] ^= 1 << bit;
        }
    }
    // Two bits a byte were tried; most of those in headers and lengths are noticed.
    assert!(errors > PLAIN.len() / 4, "{errors} errors");
}

#[tokio::test]
async fn lists_that_are_wrong() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let closed = write(folder.path(), "b.000001", CLOSED);
    let open = write(folder.path(), "b.000002", OPEN);
    let error = async |paths: &[PathBuf]| match read(paths, &GtidSet::new()).await.error {
        Some(CaptureError::File(error)) => error,
        other => panic!("{paths:?}: {other:?}"),
    };
    assert!(matches!(
        error(&[path("none")]).await,
        FileError::Unreadable { .. }
    ));
    assert!(matches!(
        error(&[closed.clone(), closed.clone()]).await,
        FileError::Twice { .. }
    ));
    assert!(matches!(
        error(&[closed.clone(), path("./b.000001")]).await,
        FileError::Twice { .. }
    ));
    // A copy of it: the second one knows nothing of the first.
    let copy = write(folder.path(), "c.000001", CLOSED);
    assert!(matches!(
        error(&[closed.clone(), copy]).await,
        FileError::NotContinued { .. }
    ));
    let plain = write(folder.path(), "plain", PLAIN);
    assert!(matches!(
        error(&[closed.clone(), plain]).await,
        FileError::NotContinued { .. }
    ));
    let FileError::Gap { missing, .. } = error(&[open]).await else {
        panic!()
    };
    assert_eq!(missing, before_open(folder.path()));
    let text = write(folder.path(), "text", b"binlog.000001\nbinlog.000002\n");
    assert!(matches!(error(&[text]).await, FileError::NotBinlog { .. }));
    let mut encrypted = CLOSED.to_vec();
    encrypted[0] = 0xfd;
    let encrypted = write(folder.path(), "encrypted", &encrypted);
    assert!(matches!(
        error(&[encrypted]).await,
        FileError::Encrypted { .. }
    ));
    let relay = write(folder.path(), "relay", &description("9.7.4", 0x40));
    assert!(matches!(error(&[relay]).await, FileError::RelayLog { .. }));
    let old = write(folder.path(), "old", &description("5.5.62-log", 0));
    assert!(matches!(error(&[old]).await, FileError::Version { .. }));
}

/// The beginning of a file, by a server of this version, with these flags.
fn description(version: &str, flags: u8) -> Vec<u8> {
    let mut bytes = CLOSED[..4 + 123].to_vec();
    let text = &mut bytes[4 + HEADER + 2..][..50];
    text.fill(0);
    text[..version.len()].copy_from_slice(version.as_bytes());
    bytes[4 + 17] = flags;
    let sum = crc32fast::hash(&bytes[4..4 + 119]);
    bytes[4 + 119..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Two versions in a row: the server was upgraded between the files. Each file's own description decides.
#[tokio::test]
async fn files_of_two_versions_in_a_row() {
    let folder = TempDir::new().unwrap();
    let mut older = CLOSED.to_vec();
    older[4..4 + 123].copy_from_slice(&description("8.0.36", 0)[4..]);
    let one = write(folder.path(), "b.000001", &older);
    let two = write(folder.path(), "b.000002", OPEN);
    let heads = survey(&[one.clone(), two.clone()]).unwrap();
    let versions: Vec<String> = heads.iter().map(|h| h.version.to_string()).collect();
    assert_eq!(versions, ["MySQL 8.0.36", "MySQL 9.7.4"]);
    let outcome = read(&[one, two], &GtidSet::new()).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    assert_eq!(outcome.events.len(), 28);
}
