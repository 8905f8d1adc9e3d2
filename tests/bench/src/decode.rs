//! The decoder alone: binlog files in memory to Avro, on one core, beside `mysql_async`'s reader (`mysql_common`), which decodes into values and keeps
//! nothing. Then the curve: what wide rows, large values and many tables make of it.

mod curve;

use std::{collections::HashMap, fs, io::Cursor, time::Instant};

use anyhow::{Context, Result, ensure};
use binferry_capture::decode::{Decoded, TableMap, TablePlan};
use binferry_schemas::record::ChangesBuffer;
use binferry_servers::MySql;
use mysql_common::binlog::{BinlogFile, consts::BinlogVersion, events::EventData};
use stats_alloc::Region;
use tempfile::TempDir;

use crate::{ALLOCATOR, Figure, load::Loaded, median};

const ROUNDS: usize = 5;
const MAGIC: usize = 4;
const HEADER: usize = 19;
const CHECKSUM: usize = 4;
/// A chunk of the log.
const CHUNK: usize = 1 << 20;

pub fn run(loaded: &Loaded) -> Result<Vec<Figure>> {
    eprintln!("decode: the load's binlog");
    let files = files(&loaded.source, None)?;
    let pair = Pair::measure(&files)?;
    ensure!(
        pair.rows == loaded.rows,
        "{} rows decoded, {} in the binlog",
        pair.rows,
        loaded.rows
    );
    let mut figures = vec![
        pair.figure("decode and encode, one core, from memory"),
        Figure {
            what: "allocations of the decoder, per row".into(),
            value: format!("{:.4}", pair.allocations as f64 / pair.rows as f64),
        },
    ];
    figures.extend(curve::run(&loaded.source)?);
    Ok(figures)
}

/// The same files, decoded by both.
#[derive(Debug)]
struct Pair {
    rows: u64,
    bytes: usize,
    allocations: usize,
    /// Seconds, the middle ones.
    ours: f64,
    theirs: f64,
    /// Of each round, theirs by ours.
    ratio: f64,
}

impl Pair {
    fn measure(files: &[Vec<u8>]) -> Result<Self> {
        let (mut ours_all, mut theirs_all, mut ratios) = (vec![], vec![], vec![]);
        let (mut rows, mut allocations) = (0, 0);
        for _ in 0..ROUNDS {
            let region = Region::new(ALLOCATOR);
            let begun = Instant::now();
            rows = sum(files, ours)?;
            let taken = begun.elapsed().as_secs_f64();
            allocations = region.change().allocations;
            let begun = Instant::now();
            let others = sum(files, theirs)?;
            let peer = begun.elapsed().as_secs_f64();
            ensure!(rows == others, "{rows} rows, and {others} by mysql_async");
            ours_all.push(taken);
            theirs_all.push(peer);
            ratios.push(peer / taken);
        }
        Ok(Self {
            rows,
            bytes: files.iter().map(Vec::len).sum(),
            allocations,
            ours: median(ours_all),
            theirs: median(theirs_all),
            ratio: median(ratios),
        })
    }

    fn figure(&self, what: &str) -> Figure {
        let rate = |seconds: f64| self.rows as f64 / seconds / 1e3;
        Figure {
            what: what.into(),
            value: format!(
                "{:.0} k rows/s, {:.0} MB/s; `mysql_async` decoding only {:.0} k rows/s: {:.1} x",
                rate(self.ours),
                self.bytes as f64 / self.ours / 1e6,
                rate(self.theirs),
                self.ratio
            ),
        }
    }
}

fn sum(files: &[Vec<u8>], decode: impl Fn(&[u8]) -> Result<u64>) -> Result<u64> {
    files.iter().map(|file| decode(file)).sum()
}

fn ours(file: &[u8]) -> Result<u64> {
    let mut at = MAGIC;
    let mut plans: HashMap<u64, (&[u8], TablePlan)> = HashMap::new();
    let mut changes = ChangesBuffer::new();
    let mut rows = 0;
    while let Some(header) = file.get(at..at + HEADER) {
        let length = u32::from_le_bytes([header[9], header[10], header[11], header[12]]) as usize;
        let flags = u16::from_le_bytes([header[17], header[18]]);
        let end = at + length - CHECKSUM;
        let body = file.get(at + HEADER..end).context("the file ends early")?;
        match Decoded::of(header[4], flags, body)? {
            Decoded::TableMap(id) if plans.get(&id).is_none_or(|(known, _)| *known != body) => {
                plans.insert(id, (body, TablePlan::new(&TableMap::parse(body)?)?));
            }
            Decoded::Rows(event) if !event.is_dummy() => {
                let (_, plan) = plans.get(&event.table_id()).context("no table map")?;
                let mut cursor = event.cursor(plan);
                while cursor.next(0, &mut changes)? {
                    rows += 1;
                }
                if changes.len() > CHUNK {
                    std::hint::black_box(&changes);
                    changes.clear();
                }
            }
            _ => {}
        }
        at += length;
    }
    Ok(rows)
}

fn theirs(file: &[u8]) -> Result<u64> {
    let mut events = BinlogFile::new(BinlogVersion::Version4, Cursor::new(file))?;
    let mut rows = 0;
    while let Some(event) = events.next() {
        if let Some(EventData::RowsEvent(data)) = event?.read_data()? {
            let map = events
                .reader()
                .get_tme(data.table_id())
                .context("no table map")?;
            for row in data.rows(map) {
                std::hint::black_box(row?);
                rows += 1;
            }
        }
    }
    Ok(rows)
}

/// The source's binlog files from `first` on, as `mysqlbinlog` copies them; all of them without it.
fn files(source: &MySql, first: Option<&str>) -> Result<Vec<Vec<u8>>> {
    let folder = TempDir::new()?;
    let names: Vec<String> = source
        .rows("SHOW BINARY LOGS")?
        .into_iter()
        .filter_map(|row| row[0].clone())
        .skip_while(|name| first.is_some_and(|first| name != first))
        .collect();
    let output = source
        .mysqlbinlog()?
        .args(["-R", "--raw", "--user=root", "--host=127.0.0.1"])
        .arg(format!("--port={}", source.port()))
        .args(&names)
        .current_dir(folder.path())
        .output()?;
    ensure!(
        output.status.success(),
        "mysqlbinlog: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    names
        .iter()
        .map(|name| Ok(fs::read(folder.path().join(name))?))
        .collect()
}
