//! Compressed transactions: their rate beside the same load uncompressed, and the memory of large ones.

use std::{
    fs::File,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use binferry_capture::decode::Payload;
use binferry_servers::MySql;
use tempfile::TempDir;
use zstd_safe::{CCtx, InBuffer, OutBuffer};

use crate::{
    Figure,
    load::{Loaded, users},
    median, memory,
    process::{Timed, binferry, timed},
};

const ROUNDS: usize = 5;
const PAYLOAD: u8 = 40;
const HEADER: usize = 19;

/// The same load on a source that compresses, and how much longer or shorter a row takes.
pub fn rate(program: &Path, plain: &Loaded) -> Result<Vec<Figure>> {
    let compressed = Loaded::with(&["--binlog-transaction-compression=ON"])?;
    let (mut ratios, mut seconds, mut cpu) = (vec![], vec![], vec![]);
    for round in 1..=ROUNDS {
        eprintln!("payload: round {round} of {ROUNDS}");
        let one = capture(program, &plain.source.url("bench"), "earliest")?;
        let other = capture(program, &compressed.source.url("bench"), "earliest")?;
        let per_row = |timed: &Timed, loaded: &Loaded| timed.seconds / loaded.rows as f64;
        ratios.push(per_row(&one, plain) / per_row(&other, &compressed));
        seconds.push(other.seconds);
        cpu.push((one.cpu_seconds, other.cpu_seconds));
    }
    let rows = compressed.rows as f64;
    Ok(vec![
        Figure {
            what: "compressed: the binlog, and `binferry capture` of it".into(),
            value: format!(
                "{} transactions, {} row changes, {:.0} MB; {:.2} s, {:.0} k rows/s; CPU {:.2} s per million rows",
                compressed.transactions,
                compressed.rows,
                compressed.bytes as f64 / 1e6,
                median(seconds.clone()),
                rows / median(seconds) / 1e3,
                median(cpu.iter().map(|(_, other)| other / rows * 1e6).collect()),
            ),
        },
        Figure {
            what:
                "capture of a compressed binlog against an uncompressed one, per row, pair by pair"
                    .into(),
            value: format!("{:.2} x", median(ratios)),
        },
    ])
}

/// 2 GiB live in a compressed payload, and 10 GiB in a file that was made.
pub fn large(program: &Path) -> Result<Vec<Figure>> {
    Ok(vec![live(program)?, made(program)?])
}

fn live(program: &Path) -> Result<Figure> {
    let source = MySql::builder()
        .arg("--binlog-transaction-compression=ON")
        .start()?;
    let from = prepare(&source)?;
    eprintln!("payload: writing one transaction of 2 GiB");
    // A quarter of it is noise: a payload is at most 1 GiB.
    memory::write(
        source.opts(),
        2 << 20,
        "CONCAT(RANDOM_BYTES(256), REPEAT('b', 768))",
    )?;
    let bytes = last_file(&source)?.1;
    ensure!(bytes < 1 << 30, "it was not compressed: {bytes} bytes");
    let timed = capture(program, &source.url("bench"), &from)?;
    Ok(Figure {
        what: format!(
            "one transaction of 2 GiB live in a payload of {} MiB, captured",
            bytes >> 20
        ),
        value: peak(&timed),
    })
}

/// A file of the server's, its one payload made to hold its statement's rows again and again.
fn made(program: &Path) -> Result<Figure> {
    let source = MySql::builder()
        .arg("--binlog-transaction-compression=ON")
        .arg("--binlog-checksum=NONE")
        .start()?;
    let from = prepare(&source)?;
    source.sql("FLUSH BINARY LOGS")?;
    memory::write(
        source.opts(),
        1 << 12,
        "CONCAT(RANDOM_BYTES(16), REPEAT('b', 1008))",
    )?;
    let name = last_file(&source)?.0;
    source.sql("FLUSH BINARY LOGS")?;
    let original = std::fs::read(source.data_dir().context("a server elsewhere")?.join(name))?;
    let folder = TempDir::new()?;
    let path = folder.path().join("binlog.000001");
    eprintln!("payload: making one that expands to 10 GiB");
    let size = inflate(&original, &path, 10 << 30)?;
    let timed = capture(program, &format!("file:{}", path.display()), &from)?;
    Ok(Figure {
        what: format!(
            "a file whose payload of {} MiB expands to 10 GiB, captured",
            size >> 20
        ),
        value: peak(&timed),
    })
}

fn peak(timed: &Timed) -> String {
    format!(
        "{:.0} s, peak memory {} MiB",
        timed.seconds,
        timed.peak_bytes >> 20
    )
}

fn prepare(source: &MySql) -> Result<String> {
    users(source)?;
    source.sql("CREATE TABLE sbtest.wide (id INT PRIMARY KEY, pad VARBINARY(1100))")?;
    Ok(source
        .value("SELECT @@GLOBAL.gtid_executed")?
        .replace('\n', ""))
}

fn last_file(source: &MySql) -> Result<(String, u64)> {
    let files = source.rows("SHOW BINARY LOGS")?;
    let last = files.last().context("no binlog")?;
    let text = |n: usize| last[n].clone().context("SHOW BINARY LOGS");
    Ok((text(0)?, text(1)?.parse()?))
}

fn capture(program: &Path, source: &str, from: &str) -> Result<Timed> {
    let folder = TempDir::new()?;
    timed(
        binferry(program, "capture")
            .args(["--source", source, "--from", from, "--until", "now"])
            .arg("--log")
            .arg(folder.path().join("log")),
    )
}

/// Writes `original` to `path`, its payload expanding to `target` bytes or a little more. Answers with the payload's size.
fn inflate(original: &[u8], path: &Path, target: u64) -> Result<u64> {
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&original[..4])?;
    let (mut at, mut size) = (4, None);
    while let Some(header) = original.get(at..at + HEADER) {
        let length = u32::from_le_bytes(header[9..13].try_into()?) as usize;
        let event = original
            .get(at..at + length)
            .context("the file ends early")?;
        match header[4] {
            PAYLOAD => size = Some(inflate_event(event, &mut out, target)?),
            _ => out.write_all(event)?,
        }
        at += length;
    }
    out.flush()?;
    size.context("the transaction was not compressed")
}

fn inflate_event(event: &[u8], out: &mut BufWriter<File>, target: u64) -> Result<u64> {
    // BEGIN; table map and rows; XID.
    let (mut begin, mut statement, mut end) = (Vec::new(), Vec::new(), Vec::new());
    let (mut payload, mut input) = (Payload::default(), &event[HEADER..]);
    payload.begin();
    while let Some(inner) = payload.next(&mut input, true)? {
        let into = match inner.type_code {
            16 => &mut end,
            19 | 30 => &mut statement,
            _ => &mut begin,
        };
        into.extend(&event[..4]);
        into.push(inner.type_code);
        into.extend(&event[5..9]);
        into.extend(((HEADER + inner.body.len()) as u32).to_le_bytes());
        into.extend([0; 4]);
        into.extend(inner.flags.to_le_bytes());
        into.extend(inner.body);
    }
    let times = target.div_ceil(statement.len() as u64);
    let expanded = begin.len() as u64 + times * statement.len() as u64 + end.len() as u64;
    let place = out.stream_position()?;
    out.write_all(&event[..HEADER])?;
    let number = |field: u8, value: u64| [&[field, 9, 0xfe][..], &value.to_le_bytes()].concat();
    let fields = |size| [number(2, 0), number(3, expanded), number(1, size), vec![0]].concat();
    out.write_all(&fields(0))?;
    let (mut context, mut buffer, mut size) = (CCtx::create(), vec![0; 1 << 17], 0);
    let failed = |code| anyhow::anyhow!("zstd: {}", zstd_safe::get_error_name(code));
    for n in 0..times + 2 {
        let part = match n {
            0 => &begin,
            n if n == times + 1 => &end,
            _ => &statement,
        };
        let mut source = InBuffer::around(part);
        while source.pos < part.len() {
            let mut sink = OutBuffer::around(&mut buffer[..]);
            context
                .compress_stream(&mut sink, &mut source)
                .map_err(failed)?;
            size += sink.pos() as u64;
            out.write_all(sink.as_slice())?;
        }
    }
    loop {
        let mut sink = OutBuffer::around(&mut buffer[..]);
        let left = context.end_stream(&mut sink).map_err(failed)?;
        size += sink.pos() as u64;
        out.write_all(sink.as_slice())?;
        if left == 0 {
            break;
        }
    }
    // What is only known now.
    let end = out.stream_position()?;
    let length = u32::try_from(end - place)?;
    out.seek(SeekFrom::Start(place + 9))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&(end as u32).to_le_bytes())?;
    out.write_all(&event[17..HEADER])?;
    out.write_all(&fields(size))?;
    out.seek(SeekFrom::Start(end))?;
    Ok(size)
}
