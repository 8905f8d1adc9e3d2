//! Grows the corpus from what servers wrote: `cargo run -p binferry-fuzz --example harvest -- BINLOG…`.
//!
//! Of each event type, and of each table map with the first rows events that follow it, the first inputs of a size are kept; what looks
//! the same as one that is kept (type, size) is left out.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Context, Result, ensure};
use binferry_capture::decode::{Decoded, TableMap, TablePlan};
use binferry_fuzz::{Target, check};
use binferry_schemas::{
    gtid::{Gtid, Uuid},
    record::{
        Body, ChangesBuffer, ForeignKeys, Header, Incarnation, Record, TableRef, Transaction,
        WriteSet,
    },
    row::ColumnType,
};

const HEADER: usize = 19;
const LARGEST: usize = 4096;

fn main() -> Result<()> {
    let mut kept = HashSet::new();
    for path in std::env::args().skip(1) {
        let file = fs::read(&path).with_context(|| path.clone())?;
        ensure!(file.starts_with(b"\xfebin"), "{path} is no binlog");
        harvest(&file, &mut kept)?;
    }
    Ok(())
}

struct Keep<'a> {
    kept: &'a mut HashSet<(Target, u8, usize)>,
}

impl Keep<'_> {
    /// Once for each kind and rough size.
    fn once(&mut self, target: Target, kind: u8, input: &[u8]) -> Result<()> {
        let size = input.len().ilog2() as usize * 4 + input.len() % 4;
        if input.len() > LARGEST || !self.kept.insert((target, kind, size)) {
            return Ok(());
        }
        check(target, input);
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let folder = target.corpus();
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{:016x}", hasher.finish())), input)?;
        Ok(())
    }
}

fn harvest(file: &[u8], kept: &mut HashSet<(Target, u8, usize)>) -> Result<()> {
    let mut keep = Keep { kept };
    let mut at = 4;
    let mut checksum = 4;
    let mut maps: HashMap<u64, Vec<u8>> = HashMap::new();
    while let Some(header) = file.get(at..at + HEADER) {
        let length = u32::from_le_bytes([header[9], header[10], header[11], header[12]]) as usize;
        let whole = file.get(at..at + length).context("the file ends early")?;
        at += length;
        let kind = header[4];
        if kind == 15 {
            checksum = if whole[whole.len() - 5] == 1 { 4 } else { 0 };
            continue;
        }
        let mut event = whole[..whole.len() - checksum].to_vec();
        let stated = event.len() as u32;
        event[9..13].copy_from_slice(&stated.to_le_bytes());
        let body = &event[HEADER..];
        let flags = u16::from_le_bytes([header[17], header[18]]);
        match Decoded::of(kind, flags, body) {
            Ok(Decoded::TableMap(id)) => {
                maps.insert(id, body.to_vec());
            }
            Ok(Decoded::Rows(rows)) => {
                let Some(map) = maps.get(&rows.table_id()) else {
                    continue;
                };
                let mut input = (map.len() as u16).to_le_bytes().to_vec();
                input.extend(map);
                input.push(kind);
                input.extend(body);
                keep.once(Target::Row, kind, &input)?;
                records(&mut keep, map, rows)?;
                document(&mut keep, map, body)?;
                // A table map and its rows, as events.
                let mut events = event[..HEADER].to_vec();
                events[4] = 19;
                events[9..13].copy_from_slice(&((HEADER + map.len()) as u32).to_le_bytes());
                events.extend(map);
                events.extend(&event);
                event = events;
            }
            Ok(Decoded::Payload) => {
                let mut input = vec![7];
                input.extend(body);
                keep.once(Target::Payload, 0, &input)?;
            }
            _ => {}
        }
        keep.once(Target::Event, kind, &event)?;
        let mut packet = vec![64];
        packet.extend(&(event.len() as u32 + 1).to_le_bytes()[..3]);
        packet.extend([0, 0]);
        packet.extend(&event);
        keep.once(Target::Packet, kind, &packet)?;
    }
    Ok(())
}

fn records(
    keep: &mut Keep<'_>,
    map: &[u8],
    rows: binferry_capture::decode::RowsEvent<'_>,
) -> Result<()> {
    let map = TableMap::parse(map)?;
    let Ok(plan) = TablePlan::new(&map) else {
        return Ok(());
    };
    let (text, schema) = plan.schema().to_avro();
    let mut changes = ChangesBuffer::new();
    let mut cursor = rows.cursor(&plan);
    while changes.len() < LARGEST && matches!(cursor.next(0, &mut changes), Ok(true)) {}
    let record = Record {
        header: Header {
            incarnation: Incarnation(Uuid::from_u128(7)),
            sequence: 3,
            checkpoint: None,
        },
        body: Body::WriteSet(WriteSet {
            transaction: Transaction {
                gtid: Gtid::new(Uuid::from_u128(8), 9),
                original_commit_us: 1,
                immediate_commit_us: 2,
                last_committed: 0,
                sequence_number: 1,
                seen: None,
                file: "binlog.000001".into(),
                position: 4,
                chunk: 0,
                last: true,
                xa_end: None,
            },
            tables: vec![TableRef {
                database: map.database().into(),
                table: map.table().into(),
                schema,
                foreign_keys: ForeignKeys::default(),
            }],
            changes: changes.as_changes(),
        }),
    };
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    keep.once(Target::Record, 0, &bytes)?;
    for change in changes.as_changes().iter() {
        let change = change?;
        for image in [change.before, change.after].into_iter().flatten() {
            datum(keep, &text, image.datum)?;
        }
    }
    Ok(())
}

fn datum(keep: &mut Keep<'_>, text: &str, datum: &[u8]) -> Result<()> {
    let mut input = vec![0];
    input.extend((text.len() as u16).to_le_bytes());
    input.extend(text.as_bytes());
    input.extend(datum);
    keep.once(Target::Record, 1, &input)?;
    Ok(())
}

/// Of a row whose last column is JSON, alone in its event: the bytes behind their own length.
fn document(keep: &mut Keep<'_>, map: &[u8], body: &[u8]) -> Result<()> {
    let json = TableMap::parse(map)
        .and_then(|map| map.schema())
        .is_ok_and(|schema| {
            schema
                .columns
                .last()
                .is_some_and(|c| c.ty == ColumnType::Json)
        });
    if json {
        for at in 8..body.len().saturating_sub(4) {
            let length = u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
            if length as usize == body.len() - at - 4 {
                let document = &body[at + 4..];
                return keep.once(
                    Target::Json,
                    document.first().copied().unwrap_or_default(),
                    document,
                );
            }
        }
    }
    Ok(())
}
