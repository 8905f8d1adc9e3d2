//! How fast a binlog file is decoded and encoded: `cargo run --release -p binferry-capture --example decode_rate -- FILE [ROUNDS]`.
//!
//! One core, the file in memory. Printed beside it: `mysql_common`'s decoding of the same rows into values, nothing encoded.

use std::{collections::HashMap, io::Cursor, time::Instant};

use binferry_capture::decode::{Decoded, TableMap, TablePlan};
use binferry_schemas::record::ChangesBuffer;
use mysql_common::binlog::{
    BinlogFile,
    consts::BinlogVersion,
    events::{EventData, RowsEventData},
};

const HEADER: usize = 19;
const CHECKSUM: usize = 4;
/// A chunk of the log.
const CHUNK: usize = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: decode_rate FILE [ROUNDS]")?;
    let rounds: u32 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let file = std::fs::read(path)?;
    for _ in 0..rounds {
        let begun = Instant::now();
        let (rows, bytes) = ours(&file)?;
        report("binferry: decoded and encoded", rows, begun, &file);
        println!("    {} bytes a row", bytes / rows.max(1));
        let begun = Instant::now();
        let rows = theirs(&file)?;
        report("mysql_common: decoded", rows, begun, &file);
    }
    Ok(())
}

fn report(what: &str, rows: u64, begun: Instant, file: &[u8]) {
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{what}: {rows} rows in {seconds:.3} s: {:.2} M rows/s, {:.0} MB/s of binlog",
        rows as f64 / seconds / 1e6,
        file.len() as f64 / seconds / 1e6
    );
}

fn ours(file: &[u8]) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let mut at = 4;
    let mut plans: HashMap<u64, (&[u8], TablePlan)> = HashMap::new();
    let mut changes = ChangesBuffer::new();
    let (mut rows, mut bytes) = (0, 0);
    while let Some(header) = file.get(at..at + HEADER) {
        let length = u32::from_le_bytes([header[9], header[10], header[11], header[12]]) as usize;
        let flags = u16::from_le_bytes([header[17], header[18]]);
        let end = at + length - CHECKSUM;
        let body = file.get(at + HEADER..end).ok_or("the file ends early")?;
        match Decoded::of(header[4], flags, body)? {
            Decoded::TableMap(id) if plans.get(&id).is_none_or(|(known, _)| *known != body) => {
                plans.insert(id, (body, TablePlan::new(&TableMap::parse(body)?)?));
            }
            Decoded::Rows(event) => {
                let (_, plan) = plans.get(&event.table_id()).ok_or("no table map")?;
                let mut cursor = event.cursor(plan);
                while cursor.next(0, &mut changes)? {
                    rows += 1;
                }
                if changes.len() > CHUNK {
                    bytes += changes.len() as u64;
                    changes.clear();
                }
            }
            _ => {}
        }
        at += length;
    }
    Ok((rows, bytes + changes.len() as u64))
}

fn theirs(file: &[u8]) -> Result<u64, Box<dyn std::error::Error>> {
    let mut events = BinlogFile::new(BinlogVersion::Version4, Cursor::new(file))?;
    let mut rows = 0;
    while let Some(event) = events.next() {
        let event = event?;
        if let Some(EventData::RowsEvent(data)) = event.read_data()? {
            let map = events
                .reader()
                .get_tme(data.table_id())
                .ok_or("no table map")?;
            let data: &RowsEventData<'_> = &data;
            for row in data.rows(map) {
                let (before, after) = row?;
                std::hint::black_box((&before, &after));
                rows += 1;
            }
        }
    }
    Ok(rows)
}
