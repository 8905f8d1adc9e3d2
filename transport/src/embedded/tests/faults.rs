//! A full disk, a failing fsync, and writers that are killed in other processes.

use std::{
    collections::BTreeSet,
    io,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use super::*;

/// Fails as told; a write that fails for want of space leaves half of itself behind.
#[derive(Debug, Default)]
struct Faulty {
    full: AtomicBool,
    sync_fails: AtomicUsize,
}

impl Disk for Faulty {
    fn write_at(&self, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        if self.full.load(SeqCst) {
            file.write_all_at(&bytes[..bytes.len() / 2], position)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, position)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        if self.sync_fails.load(SeqCst) > 0 {
            self.sync_fails.fetch_sub(1, SeqCst);
            return Err(io::Error::other("input/output error"));
        }
        file.sync_data()
    }
}

fn over(path: &Path, disk: &Arc<Faulty>) -> EmbeddedLog {
    EmbeddedLog::over(
        Layout::create_or_open(path).unwrap(),
        options(),
        disk.clone(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Faulty::default());
    let log = over(dir.path(), &disk);
    let mut writer = log.writer().await.unwrap();
    fill(&mut *writer, 0..10).await;
    disk.full.store(true, SeqCst);
    let accepted = writer.append(vec![payload(10), payload(11)]).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(300), writer.wait(accepted)).await;
    assert!(waited.is_err());
    assert!(writer.stall().borrow().is_some());
    assert_eq!(read(&log, 0).await.unwrap().len(), 10);
    disk.full.store(false, SeqCst);
    writer.wait(accepted).await.unwrap();
    assert_eq!(*writer.stall().borrow(), None);
    assert_eq!(read(&log, 0).await.unwrap().len(), 12);

    // In flight is limited meanwhile, and the end does not wait for space.
    disk.full.store(true, SeqCst);
    let much = async {
        loop {
            let _ = writer.append(vec![vec![0; 100_000]]).await.unwrap();
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(100), much)
            .await
            .is_err()
    );
    drop(writer);
    disk.full.store(false, SeqCst);
    drop(log.writer().await.unwrap());
}

#[tokio::test]
async fn a_failed_fsync_poisons_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Faulty::default());
    let log = over(dir.path(), &disk);
    let mut writer = log.writer().await.unwrap();
    fill(&mut *writer, 0..3).await;
    disk.sync_fails.store(1, SeqCst);
    let accepted = writer.append(vec![payload(3)]).await.unwrap();
    match writer.wait(accepted).await {
        Err(LogError::Poisoned { durable_end, .. }) => assert_eq!(durable_end, Offset(3)),
        other => panic!("{other:?}"),
    }
    // The next fsync would succeed; it is not asked.
    assert!(matches!(
        writer.append(vec![payload(4)]).await,
        Err(LogError::Poisoned { .. })
    ));
    assert_eq!(read(&log, 0).await.unwrap().len(), 3);
    drop(writer);
    let mut writer = log.writer().await.unwrap();
    let end = log.bounds().await.unwrap().end.0;
    assert_eq!(end, 4);
    fill(&mut *writer, end..9).await;
    read(&log, 0).await.unwrap();
}

#[tokio::test]
async fn too_large_a_record_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let mut writer = log.writer().await.unwrap();
    let refused = writer.append(vec![vec![0; MAX_RECORD_BYTES + 1]]).await;
    assert!(matches!(refused, Err(LogError::TooBig { .. })));
    // As large as allowed is larger than what may be in flight, and goes through all the same.
    let accepted = writer
        .append(vec![vec![7; MAX_RECORD_BYTES]])
        .await
        .unwrap();
    writer.wait(accepted).await.unwrap();
    let mut reader = log.reader(Offset(0)).await.unwrap();
    assert_eq!(
        reader.next().await.unwrap()[0].bytes.len(),
        MAX_RECORD_BYTES
    );
}

const CHILD: &str = "BINFERRY_TEST_LOG_CHILD";

/// Not a test of its own: the process that the next test starts and kills. Prints every durable offset.
#[tokio::test]
async fn child_that_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let log = create(Path::new(&path));
    let mut writer = log.writer().await.unwrap();
    let mut next = log.bounds().await.unwrap().end.0;
    loop {
        let batch = 1 + next % 7;
        let records = (next..next + batch).map(payload).collect();
        let accepted = writer.append(records).await.unwrap();
        next += batch;
        if next.is_multiple_of(3) {
            let durable = writer.wait(accepted).await.unwrap();
            println!("durable {}", durable.offset.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_writer_loses_nothing_durable_and_readers_elsewhere_see_only_that() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let mut reader = log.reader(Offset(0)).await.unwrap();
    let mut seen = 0u64;
    for round in 0..8u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "embedded::tests::faults::child_that_appends_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let told = std::thread::spawn(move || {
            let mut newest = 0u64;
            for line in output.lines().map_while(Result::ok) {
                if let Some(number) = line.strip_prefix("durable ").and_then(|n| n.parse().ok()) {
                    newest = newest.max(number);
                }
            }
            newest
        });
        let began = std::time::Instant::now();
        let mut portions = 0;
        while portions < 3 || began.elapsed() < Duration::from_millis(60 + 23 * round) {
            for stored in reader.next().await.unwrap() {
                assert_eq!(stored.offset.0, seen);
                assert_eq!(stored.bytes, payload(seen));
                seen += 1;
            }
            portions += 1;
        }
        // While it lives, its lock holds.
        if round == 0 {
            assert!(
                matches!(log.writer().await, Err(LogError::InUse { pid: Some(pid), .. }) if pid == child.id())
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let told = told.join().unwrap();
        let writer = log.writer().await.unwrap();
        let end = log.bounds().await.unwrap().end.0;
        assert!(
            end > told && end >= seen,
            "end {end}, told {told}, seen {seen}"
        );
        drop(writer);
    }
    let all = read(&log, 0).await.unwrap();
    let offsets: BTreeSet<_> = all.iter().map(|stored| stored.offset).collect();
    assert_eq!(offsets.len(), all.len());
}
