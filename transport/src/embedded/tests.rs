//! The embedded log under kills, torn writes, damage, a full disk, a failing fsync, and other processes.

mod faults;

use std::{fs, os::unix::fs::FileExt, time::Duration};

use binferry_schemas::fingerprint::rabin;

use super::*;
use crate::log::Stored;

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 4096,
        in_flight_bytes: 1 << 20,
    }
}

fn create(path: &Path) -> EmbeddedLog {
    EmbeddedLog::create_or_open_with(path, options()).unwrap()
}

/// Different in content and length for each offset.
fn payload(offset: u64) -> Vec<u8> {
    let length = 20 + (offset * 37 % 200) as usize;
    (0..length)
        .map(|i| (offset as usize * 7 + i) as u8)
        .collect()
}

async fn fill(writer: &mut dyn Writer, offsets: std::ops::Range<u64>) -> Durable {
    let mut accepted = None;
    for offset in offsets {
        let last = writer.append(vec![payload(offset)]).await.unwrap();
        // A group lies in one segment, so that many small ones are needed for many segments.
        if offset % 10 == 9 {
            writer.wait(last).await.unwrap();
        }
        accepted = Some(last);
    }
    writer.wait(accepted.unwrap()).await.unwrap()
}

/// Everything from `from` to the end.
async fn read(log: &EmbeddedLog, from: u64) -> Result<Vec<Stored>, LogError> {
    let end = log.bounds().await?.end;
    let mut reader = log.reader(Offset(from)).await?;
    let mut all = Vec::new();
    let mut next = from;
    while next < end.0 {
        for stored in reader.next().await? {
            assert_eq!(stored.offset.0, next);
            assert_eq!(stored.bytes, payload(next), "record {next}");
            next += 1;
            all.push(stored);
        }
    }
    Ok(all)
}

#[tokio::test]
async fn what_is_written_is_read_from_any_offset_over_segments() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let mut writer = log.writer().await.unwrap();
    let durable = fill(&mut *writer, 0..300).await;
    assert_eq!(durable.offset, Offset(299));
    assert!(log.shared.layout.segments().unwrap().len() > 3);
    for from in (0..300).step_by(17) {
        assert_eq!(read(&log, from).await.unwrap().len() as u64, 300 - from);
    }
    drop(writer);
    let again = create(dir.path());
    assert_eq!(again.id(), log.id());
    let mut writer = again.writer().await.unwrap();
    fill(&mut *writer, 300..301).await;
    assert_eq!(read(&log, 0).await.unwrap().len(), 301);
}

#[tokio::test]
async fn the_index_finds_records_and_is_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::create_or_open(dir.path()).unwrap();
    let mut writer = log.writer().await.unwrap();
    for round in 0..40 {
        let records = (round * 500..(round + 1) * 500).map(payload).collect();
        let accepted = writer.append(records).await.unwrap();
        writer.wait(accepted).await.unwrap();
    }
    let index = log.shared.layout.index(0);
    assert!(fs::metadata(&index).unwrap().len() >= 5 * 16);
    read(&log, 19_990).await.unwrap();
    // A wrong index is noticed; none is no harm.
    let mut bytes = fs::read(&index).unwrap();
    bytes[8] ^= 1;
    let crc = log.shared.layout.salt.crc(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&crc);
    bytes.truncate(16);
    fs::write(&index, &bytes).unwrap();
    read(&log, 19_990).await.unwrap();
    fs::remove_file(&index).unwrap();
    read(&log, 19_990).await.unwrap();
}

#[tokio::test]
async fn a_reader_waits_and_is_woken_and_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    // A second handle stands for another process: it has only the files.
    let other = EmbeddedLog::open(dir.path()).unwrap();
    for log_read in [&log, &other] {
        let mut writer = log.writer().await.unwrap();
        let from = log.bounds().await.unwrap().end.0;
        let mut reader = log_read.reader(Offset(from)).await.unwrap();
        for _ in 0..20 {
            let quick = tokio::time::timeout(Duration::from_micros(300), reader.next()).await;
            assert!(quick.is_err());
        }
        fill(&mut *writer, from..from + 10).await;
        let mut got = Vec::new();
        while got.len() < 10 {
            if let Ok(portion) =
                tokio::time::timeout(Duration::from_micros(50), reader.next()).await
            {
                got.extend(portion.unwrap().into_iter().map(|stored| stored.offset.0));
            }
        }
        assert_eq!(got, (from..from + 10).collect::<Vec<_>>());
        drop(writer);
    }
}

#[tokio::test]
async fn a_second_writer_is_refused_and_a_reader_never_creates() {
    let dir = tempfile::tempdir().unwrap();
    let missing = EmbeddedLog::open(&dir.path().join("none"));
    assert!(matches!(missing, Err(LogError::Missing { .. })));
    assert!(!dir.path().join("none").exists());
    let log = create(dir.path());
    let first = log.writer().await.unwrap();
    match create(dir.path()).writer().await {
        Err(LogError::InUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(first);
    log.writer().await.unwrap();
}

#[tokio::test]
async fn other_directories_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("precious"), "x").unwrap();
    let refused = EmbeddedLog::create_or_open_with(dir.path(), options());
    assert!(matches!(refused, Err(LogError::Foreign { entry, .. }) if entry == "precious"));

    // Without its identity a log is not taken for an empty directory.
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    fill(&mut *log.writer().await.unwrap(), 0..3).await;
    fs::remove_file(dir.path().join("log.meta")).unwrap();
    let refused = EmbeddedLog::create_or_open_with(dir.path(), options());
    assert!(
        matches!(refused, Err(LogError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path());
    let meta = dir.path().join("log.meta");
    let mut bytes = fs::read(&meta).unwrap();
    bytes[8] = 9;
    bytes.push(0);
    fs::write(&meta, bytes).unwrap();
    for refused in [
        EmbeddedLog::open(dir.path()),
        EmbeddedLog::create_or_open_with(dir.path(), options()),
    ] {
        assert!(matches!(
            refused,
            Err(LogError::NewerVersion { found: 9, .. })
        ));
    }
}

/// The log's files as they would be after a kill that left `tail` behind the durable part.
fn killed_with(log: &EmbeddedLog, tail: &[u8]) -> u64 {
    let watermark = log.shared.watermark().unwrap();
    let path = log.shared.layout.segment(watermark.segment);
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(watermark.position).unwrap();
    file.write_all_at(tail, watermark.position).unwrap();
    watermark.end
}

#[tokio::test]
async fn a_tail_is_kept_as_far_as_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    fill(&mut *log.writer().await.unwrap(), 0..5).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let salt = log.shared.layout.salt;
    let mut tail = Vec::new();
    let mut ends = vec![0];
    for offset in 5..8 {
        frame::encode(salt, offset, offset as u32 - 5, &payload(offset), &mut tail);
        ends.push(tail.len());
    }
    for cut in 0..=tail.len() {
        // A reader does not see it before a writer has made it durable.
        let mark = log.shared.watermark().unwrap();
        let end = killed_with(&log, &tail[..cut]);
        assert_eq!((end, log.bounds().await.unwrap().end.0), (5, 5));
        let whole = ends.iter().filter(|&&e| e <= cut).count() as u64 - 1;
        let recovered = recovery::recover(&log.shared.layout, &RealDisk).unwrap();
        assert_eq!(recovered.watermark.end, 5 + whole, "cut at {cut}");
        assert_eq!(read(&log, 0).await.unwrap().len() as u64, 5 + whole);
        // Back to where it was.
        for generation in [
            recovered.watermark.generation + 1,
            recovered.watermark.generation + 2,
        ] {
            let back = Watermark { generation, ..mark };
            back.write(salt, &recovered.durable, &RealDisk).unwrap();
        }
    }
}

/// Any byte of an undurable tail may be wrong: what is kept is a prefix. Any byte of the durable part: an error, and never another record.
#[tokio::test]
async fn damage_is_an_error_or_cuts_an_undurable_tail() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    fill(&mut *log.writer().await.unwrap(), 0..4).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let layout = &log.shared.layout;
    let path = layout.segment(0);
    let whole = fs::read(&path).unwrap();
    for bit in (0..whole.len()).map(|byte| byte * 8 + byte % 8) {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bad).unwrap();
        // The 4 bytes of padding in the headers are the only ones that mean nothing.
        let unused = (12..16).contains(&(bit / 8)) || (52..56).contains(&(bit / 8));
        let recovered = recovery::recover(layout, &RealDisk);
        if bit / 8 < segment::HEADER && unused {
            continue;
        }
        match recovered {
            Err(LogError::Corrupt { .. }) => {}
            other => panic!("bit {bit}: {other:?}"),
        }
        match read(&log, 0).await {
            Err(LogError::Corrupt { .. }) => {}
            other => panic!("bit {bit}: {other:?}"),
        }
    }
    // The same bytes as a tail above the watermark.
    let frames = &whole[segment::HEADER..];
    fs::write(&path, &whole).unwrap();
    let salt = layout.salt;
    let durable = File::options().write(true).open(layout.durable()).unwrap();
    let mut generation = 1_000;
    for bit in (0..frames.len()).map(|byte| byte * 8 + byte % 8) {
        let mut bad = whole.clone();
        bad[segment::HEADER + bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bad).unwrap();
        generation += 10;
        for generation in [generation, generation + 1] {
            let empty = Watermark {
                generation,
                end: 0,
                segment: 0,
                position: segment::HEADER as u64,
            };
            empty.write(salt, &durable, &RealDisk).unwrap();
        }
        match recovery::recover(layout, &RealDisk) {
            // Frames that were written when the damaged one was durable give it away.
            Err(LogError::Corrupt { .. }) => {}
            Ok(recovered) => {
                let kept = read(&log, 0).await.unwrap().len() as u64;
                assert_eq!(kept, recovered.watermark.end);
                assert!(kept < 4, "bit {bit}");
            }
            Err(other) => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_hole_in_an_unfinished_write_is_a_tail_and_a_hole_in_durable_records_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    fill(&mut *log.writer().await.unwrap(), 0..2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let salt = log.shared.layout.salt;
    let mut tail = Vec::new();
    frame::encode(salt, 2, 0, &payload(2), &mut tail);
    let hole = tail.len();
    frame::encode(salt, 3, 1, &payload(3), &mut tail);
    let after = tail.len();
    frame::encode(salt, 4, 2, &payload(4), &mut tail);
    tail[hole..after].fill(0);
    killed_with(&log, &tail);
    let mut later = tail.clone();
    let recovered = recovery::recover(&log.shared.layout, &RealDisk).unwrap();
    assert_eq!(recovered.watermark.end, 3);

    // Record 5 was written when 4 had been declared durable, and so 3 had been: a watermark that a power cut has set back hides nothing.
    killed_with(&log, &[]);
    frame::encode(salt, 5, 0, &payload(5), &mut later);
    killed_with(&log, &later[hole..]);
    match recovery::recover(&log.shared.layout, &RealDisk) {
        Err(LogError::Corrupt { offset, reason, .. }) => {
            assert_eq!(offset, Some(Offset(3)));
            assert!(reason.contains("record 5"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_segment_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    fill(&mut *log.writer().await.unwrap(), 0..300).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let segments = log.shared.layout.segments().unwrap();
    let kept = fs::read(log.shared.layout.segment(segments[1])).unwrap();
    fs::remove_file(log.shared.layout.segment(segments[1])).unwrap();
    for from in [0, segments[1], segments[2] - 1] {
        assert!(
            matches!(read(&log, from).await, Err(LogError::Corrupt { .. })),
            "{from}"
        );
    }
    fs::write(log.shared.layout.segment(segments[1]), kept).unwrap();
    let last = *segments.last().unwrap();
    fs::remove_file(log.shared.layout.segment(last)).unwrap();
    let refused = log.writer().await;
    assert!(
        matches!(refused, Err(LogError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn retention_keeps_what_readers_and_the_checkpoint_need() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let mut writer = log.writer().await.unwrap();
    fill(&mut *writer, 0..300).await;
    let segments = log.shared.layout.segments().unwrap();
    let small = Retention {
        bytes: Some(1),
        age: None,
    };
    let old = Retention {
        bytes: None,
        age: Some(Duration::ZERO),
    };
    let start = async || log.bounds().await.unwrap().start.0;

    writer
        .expire(Retention::default(), Offset(300))
        .await
        .unwrap();
    assert_eq!(start().await, 0);
    log.register("db2:3306/../x", Offset(segments[1]))
        .await
        .unwrap();
    log.register("fast", Offset(299)).await.unwrap();
    writer.expire(small, Offset(300)).await.unwrap();
    assert_eq!(start().await, segments[1]);
    log.register("db2:3306/../x", Offset(segments[2] + 1))
        .await
        .unwrap();
    writer.expire(old, Offset(300)).await.unwrap();
    assert_eq!(start().await, segments[2]);
    assert_eq!(log.registrations().await.unwrap().len(), 2);
    assert!(log.unregister("db2:3306/../x").await.unwrap());
    assert!(!log.unregister("db2:3306/../x").await.unwrap());
    writer.expire(small, Offset(segments[4])).await.unwrap();
    assert_eq!(start().await, segments[4]);
    writer.expire(small, Offset(300)).await.unwrap();
    let last = *segments.last().unwrap();
    assert_eq!(start().await, last);

    match log.reader(Offset(3)).await {
        Err(LogError::Expired { missing, .. }) => assert_eq!(missing, last - 3),
        other => panic!("{other:?}"),
    }
    read(&log, last).await.unwrap();
    fs::write(dir.path().join("readers/broken"), "needs nothing").unwrap();
    fill(&mut *writer, 300..400).await;
    assert!(matches!(
        writer.expire(small, Offset(400)).await,
        Err(LogError::Corrupt { .. })
    ));
}

#[tokio::test]
async fn a_reader_that_is_overtaken_by_retention_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let mut writer = log.writer().await.unwrap();
    fill(&mut *writer, 0..10).await;
    let mut reader = log.reader(Offset(0)).await.unwrap();
    assert_eq!(reader.next().await.unwrap().len(), 10);
    fill(&mut *writer, 10..300).await;
    let all = Retention {
        bytes: Some(1),
        age: None,
    };
    writer.expire(all, Offset(300)).await.unwrap();
    // It still has the first segment open, and gets what is in it.
    let error = loop {
        match reader.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Expired { .. }), "{error:?}");
}

#[tokio::test]
async fn schemas_are_stored_once_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let text = r#"{"type":"record"}"#;
    let fingerprint = rabin(text.as_bytes());
    assert_eq!(log.schema(fingerprint).await.unwrap(), None);
    log.put_schema(fingerprint, text).await.unwrap();
    log.put_schema(fingerprint, text).await.unwrap();
    let clash = log.put_schema(fingerprint, "other").await;
    assert!(matches!(clash, Err(LogError::SchemaClash { .. })));
    assert_eq!(
        log.schema(fingerprint).await.unwrap().as_deref(),
        Some(text)
    );
    fs::write(log.schema_path(fingerprint), "{}").unwrap();
    assert!(matches!(
        log.schema(fingerprint).await,
        Err(LogError::Corrupt { .. })
    ));
}
