//! From one log to another: to a copy with other offsets, never to a log with another history, and past what has expired.

use std::sync::Arc;

use anyhow::Result;
use binferry_apply::{Applier, ApplyError, read_progress};
use binferry_schemas::{
    datum::Value,
    fault::{Fault, Kind},
    gtid::GtidSet,
    record::{Head, HeadBody, Offset},
};
use binferry_transport::{
    embedded::{EmbeddedLog, EmbeddedOptions},
    log::Log,
};

use crate::stage::{Do, INT, Stage, Table, address, column};

/// Rows without a key: one applied twice shows.
async fn counter(stage: &Stage) -> Result<Table> {
    stage.sql("CREATE TABLE t (n int)");
    stage.table("t", vec![column("n", INT, None)]).await
}

/// Transactions of one row; every third has two chunks.
async fn write(stage: &mut Stage, table: &Table, numbers: std::ops::Range<i64>) -> Result<()> {
    for n in numbers {
        let row = Do::Insert(vec![Value::Int(n)]);
        match n % 3 {
            0 => stage.commit_chunks(&[vec![], vec![(table, &row)]]).await?,
            _ => stage.commit(table, &[row]).await?,
        };
    }
    stage.flush().await
}

fn rows(stage: &Stage) -> String {
    stage.sql("SELECT COUNT(*), COUNT(DISTINCT n) FROM t")
}

async fn records(log: &dyn Log) -> Result<Vec<Vec<u8>>> {
    let bounds = log.bounds().await?;
    let mut reader = log.reader(bounds.start).await?;
    let mut records = Vec::new();
    let mut next = bounds.start;
    while next < bounds.end {
        for stored in reader.next().await? {
            next = Offset(stored.offset.0 + 1);
            records.push(stored.bytes);
        }
    }
    Ok(records)
}

async fn put_schema(stage: &Stage, table: &Table, log: &dyn Log) -> Result<()> {
    let fingerprint = table.fingerprint();
    let text = stage.log.schema(fingerprint).await?;
    log.put_schema(fingerprint, &text.expect("the schema"))
        .await?;
    Ok(())
}

struct Copy {
    log: Arc<dyn Log>,
    _folder: tempfile::TempDir,
}

/// As a mirror makes it: the original's records from one on, behind and among those of another program.
async fn copy(stage: &Stage, table: &Table, from: usize) -> Result<Copy> {
    let folder = tempfile::tempdir()?;
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open(folder.path())?);
    let mut writer = log.writer().await?;
    let mut all = vec![b"{}".to_vec(); 17];
    for (at, record) in records(&*stage.log).await?.into_iter().enumerate() {
        if at >= from {
            all.push(record);
        }
        if at % 5 == 0 {
            all.push(b"another program's".to_vec());
        }
    }
    let accepted = writer.append(all).await?;
    writer.wait(accepted).await?;
    put_schema(stage, table, &*log).await?;
    Ok(Copy {
        log,
        _folder: folder,
    })
}

/// The first checkpoint's record.
async fn first_checkpoint(log: &dyn Log) -> Result<usize> {
    let is_checkpoint = |bytes: &Vec<u8>| {
        let head = Head::decode(bytes).expect("a record");
        matches!(head.body, HeadBody::Checkpoint(_))
    };
    let records = records(log).await?;
    Ok(records
        .iter()
        .position(is_checkpoint)
        .expect("a checkpoint"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_other_offsets() -> Result<()> {
    for (purpose, whole) in [("copy", true), ("copytail", false)] {
        let mut stage = Stage::new(purpose).await?;
        let table = counter(&stage).await?;
        write(&mut stage, &table, 0..20).await?;
        stage.checkpoint().await?;
        write(&mut stage, &table, 20..40).await?;
        stage.apply().await?;
        // The original goes on before the applier moves.
        write(&mut stage, &table, 40..60).await?;
        stage.checkpoint().await?;
        let from = match whole {
            true => 0,
            false => first_checkpoint(&*stage.log).await? - 1,
        };
        let copy = copy(&stage, &table, from).await?;
        let before = read_progress(&address(stage.server), &stage.database).await?;
        let older = Applier::connect(stage.options()).await?;
        stage.promote(copy.log.clone()).await?;
        stage.apply().await?;
        assert_eq!(rows(&stage), "60\t60", "{purpose}");

        let after = read_progress(&address(stage.server), &stage.database).await?;
        let (before, after) = (before.expect("progress"), after.expect("progress"));
        assert_ne!(before.log, after.log);
        assert_eq!((after.log, after.state.log), (copy.log.id(), copy.log.id()));
        assert_eq!(
            stage.sql(&format!(
                "SELECT log_id FROM binferry.stream WHERE stream = '{}'",
                stage.database
            )),
            copy.log.id().to_string()
        );
        // One that is still on the original learns that, and does not take the stream back.
        let (sender, _receiver) = tokio::sync::watch::channel(Default::default());
        let error = older
            .run(
                Some(stage.written.clone().into()),
                Default::default(),
                sender,
            )
            .await
            .expect_err("superseded");
        assert!(matches!(error, ApplyError::Superseded { .. }), "{error}");

        // A capture writes to the copy: the applier stays there.
        write(&mut stage, &table, 60..80).await?;
        stage.apply().await?;
        stage.checkpoint().await?;
        write(&mut stage, &table, 80..90).await?;
        stage.apply().await?;
        assert_eq!(rows(&stage), "90\t90", "{purpose}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_behind() -> Result<()> {
    let mut stage = Stage::new("copybehind").await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 0..20).await?;
    let copy = copy(&stage, &table, 0).await?;
    write(&mut stage, &table, 20..40).await?;
    stage.apply().await?;
    // What the target has beyond the copy comes again from the source, and is dropped.
    stage.promote(copy.log.clone()).await?;
    stage.rewind(20);
    write(&mut stage, &table, 20..50).await?;
    stage.apply().await?;
    assert_eq!(rows(&stage), "50\t50");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_made_again() -> Result<()> {
    let mut stage = Stage::new("madeagain").await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 0..5).await?;
    stage.apply().await?;
    let owner = |stage: &Stage| {
        stage.sql(&format!(
            "SELECT incarnation, log_id FROM binferry.stream WHERE stream = '{}'",
            stage.database
        ))
    };
    let before = owner(&stage);
    // Empty; then filled anew, from the same source.
    let folder = tempfile::tempdir()?;
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open(folder.path())?);
    let mut options = stage.options();
    options.log = log.clone();
    let error = Applier::connect(options).await.expect_err("empty");
    assert!(matches!(error, ApplyError::NotPaired { .. }), "{error}");
    stage.promote(log).await?;
    write(&mut stage, &table, 5..10).await?;
    stage.checkpoint().await?;
    let error = Applier::connect(stage.options()).await.expect_err("anew");
    assert!(matches!(error, ApplyError::NotPaired { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Configuration);
    // The applier that runs on the right log, perhaps, has not been disturbed.
    assert_eq!(owner(&stage), before);
    assert_eq!(rows(&stage), "5\t5");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_named() -> Result<()> {
    let mut stage = Stage::new("expired").await?;
    let table = counter(&stage).await?;
    write(&mut stage, &table, 0..10).await?;
    stage.apply().await?;
    let has = stage.written.clone();
    write(&mut stage, &table, 10..20).await?;
    stage.checkpoint().await?;
    let lacks = stage.written.subtract(&has);
    let from = first_checkpoint(&*stage.log).await? - 1;
    let original = records(&*stage.log).await?.len();
    write(&mut stage, &table, 20..30).await?;
    stage.checkpoint().await?;
    assert!(original > from);

    let copy = copy(&stage, &table, from).await?;
    let mut options = stage.options();
    options.log = copy.log.clone();
    let named = |error: ApplyError| -> GtidSet {
        assert_eq!(error.kind(), Kind::Data, "{error}");
        match error {
            ApplyError::Expired { missing, .. } => missing,
            other => panic!("{other}"),
        }
    };
    // The last record before the checkpoint is there, and what it belongs to is not.
    let missing = named(
        Applier::connect(options.clone())
            .await
            .expect_err("expired"),
    );
    assert_eq!(missing, lacks);
    // A new stream lacks everything.
    options.stream = format!("{}-new", stage.database);
    let missing = named(Applier::connect(options).await.expect_err("expired"));
    assert!(missing.contains_set(&has) && missing.contains_set(&lacks));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_has_expired_under_a_target_that_has_everything() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let small = EmbeddedOptions {
        segment_bytes: 4 * 1024,
        ..EmbeddedOptions::default()
    };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open_with(folder.path(), small)?);
    let mut stage = Stage::new("idle").await?;
    let table = counter(&stage).await?;
    put_schema(&stage, &table, &*log).await?;
    stage.promote(log.clone()).await?;
    write(&mut stage, &table, 0..10).await?;
    stage.apply().await?;
    // The capture idles, and the reader's registration is removed: the log's beginning expires.
    for _ in 0..40 {
        stage.checkpoint().await?;
    }
    let reader = binferry_apply::reader_name(&stage.database);
    assert!(log.unregister(&reader).await?);
    stage.expire().await?;
    let progress = read_progress(&address(stage.server), &stage.database).await?;
    let offset = progress.expect("progress").offset;
    assert!(log.bounds().await?.start > offset);
    write(&mut stage, &table, 10..20).await?;
    stage.apply().await?;
    assert_eq!(rows(&stage), "20\t20");
    Ok(())
}
