//! How fast the embedded log appends and reads: `cargo bench -p binferry-transport`, with the directory to use in `BENCH_DIR`.
//!
//! 350 MB in records of 2.5 KB, in batches of 256 KB, group commit as it comes; then single appends, each waited for; then reading.

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use binferry_schemas::record::Offset;
use binferry_transport::{embedded::EmbeddedLog, log::Log};

const RECORD: usize = 2_500;
const RECORDS: u64 = 140_000;
const BATCH: u64 = 100;
const SINGLES: usize = 1_000;

#[tokio::main]
async fn main() {
    let root = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = root.join(format!("binferry-log-bench-{}", std::process::id()));
    let log = EmbeddedLog::create_or_open(&path).expect("a new log");
    let bytes = RECORDS * RECORD as u64;

    // What the disk gives at this moment: the same bytes in writes of 2 MB, each synced, and nothing else.
    let bare = path.join(".bare.tmp");
    let mut file = std::fs::File::create(&bare).expect("a file");
    let block = vec![7; 2_000_000];
    let began = Instant::now();
    for _ in 0..bytes / 2_000_000 {
        file.write_all(&block).expect("written");
        file.sync_data().expect("synced");
    }
    report("bare file, 2 MB a sync", bytes, began.elapsed());

    let mut writer = log.writer().await.expect("the writer");
    let record: Vec<u8> = (0..RECORD).map(|i| i as u8).collect();
    let began = Instant::now();
    let mut accepted = None;
    for _ in 0..RECORDS / BATCH {
        let batch = (0..BATCH).map(|_| record.clone()).collect();
        accepted = Some(writer.append(batch).await.expect("append"));
    }
    writer.wait(accepted.expect("some")).await.expect("durable");
    report("append, pipelined", bytes, began.elapsed());

    let began = Instant::now();
    for _ in 0..RECORDS / BATCH / 4 {
        let batch = (0..BATCH).map(|_| record.clone()).collect();
        let accepted = writer.append(batch).await.expect("append");
        writer.wait(accepted).await.expect("durable");
    }
    report(
        "append, every 250 KB waited for",
        bytes / 4,
        began.elapsed(),
    );

    let mut times: Vec<Duration> = Vec::with_capacity(SINGLES);
    for _ in 0..SINGLES {
        let began = Instant::now();
        let accepted = writer.append(vec![record.clone()]).await.expect("append");
        writer.wait(accepted).await.expect("durable");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!(
        "one record, durable               p50 {:.3} ms, p99 {:.3} ms",
        times[SINGLES / 2].as_secs_f64() * 1e3,
        times[SINGLES * 99 / 100].as_secs_f64() * 1e3
    );

    let end = log.bounds().await.expect("bounds").end.0;
    let began = Instant::now();
    let mut reader = log.reader(Offset(0)).await.expect("a reader");
    let (mut next, mut read) = (0, 0);
    while next < end {
        for stored in reader.next().await.expect("records") {
            next = stored.offset.0 + 1;
            read += stored.bytes.len() as u64;
        }
    }
    report("read, verified, warm", read, began.elapsed());

    let began = Instant::now();
    const SEEKS: u64 = 200;
    for at in 0..SEEKS {
        let from = Offset(at * (end - 1) / SEEKS);
        let mut reader = log.reader(from).await.expect("a reader");
        assert_eq!(reader.next().await.expect("records")[0].offset, from);
    }
    println!(
        "seek and read 1 MiB               {:.3} ms",
        began.elapsed().as_secs_f64() * 1e3 / SEEKS as f64
    );
    drop(writer);
    let _ = std::fs::remove_dir_all(&path);
}

fn report(what: &str, bytes: u64, time: Duration) {
    println!(
        "{what:<33} {:.0} MB/s",
        bytes as f64 / 1e6 / time.as_secs_f64()
    );
}
