//! How fast are rows like sysbench's applied?
//!
//! Writes sysbench's oltp_write_only into a log (a load of 4 tables, then transactions of two updates, a delete and an insert), applies it
//! to a MySQL server of the test kit with durable commits, then the same rows as a copy of tables, and prints rows per second for the parts.
//!
//!     cargo run --release -p binferry-apply --example apply_rate [ROWS [TRANSACTIONS]]

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use binferry_apply::{Applier, Options, Progress};
use binferry_schemas::{
    address::Address,
    datum::{self, Value},
    gtid::{Gtid, GtidSet, Tag, Uuid},
    record::{
        Body, Change, ChangesBuffer, ForeignKeys, Image, Operation, Over, RowsHead, Snapshot,
        SnapshotBegin, SnapshotEnd, SnapshotRows, SnapshotStep, Start, TableRef, Transaction,
        Window, WriteSet,
    },
    row::{Column, ColumnType, KeyPart, RowSchema, Width},
};
use binferry_servers::MySql;
use binferry_transport::{
    embedded::EmbeddedLog,
    log::Log,
    session::{Session, SessionOptions},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const TABLES: usize = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn digits(&mut self, groups: usize) -> String {
        let groups: Vec<String> = (0..groups)
            .map(|_| format!("{:011}", self.below(100_000_000_000)))
            .collect();
        groups.join("-")
    }
}

#[derive(Clone)]
struct Row {
    k: i64,
    c: String,
    pad: String,
}

impl Row {
    fn random(random: &mut Random, rows: u64) -> Self {
        Self {
            k: random.below(rows) as i64,
            c: random.digits(10),
            pad: random.digits(5),
        }
    }

    fn datum(&self, schema: &RowSchema, id: usize) -> Vec<u8> {
        let values = [
            Value::Int(id as i64),
            Value::Int(self.k),
            Value::Text(&self.c),
            Value::Text(&self.pad),
        ];
        let mut out = Vec::new();
        for (column, value) in schema.columns.iter().zip(&values) {
            datum::put(&mut out, &column.ty, value).expect("values of these types");
        }
        out
    }
}

fn schema(table: usize) -> RowSchema {
    let int = || ColumnType::Integer {
        width: Width::Int,
        unsigned: false,
    };
    let char = |bytes| ColumnType::Char {
        bytes,
        collation: 255,
    };
    let column = |name: &str, ty, key| Column {
        name: name.into(),
        ty,
        nullable: false,
        visible: true,
        key,
    };
    let key = KeyPart {
        position: 0,
        prefix: 0,
    };
    RowSchema {
        database: "sbtest".into(),
        table: format!("sbtest{table}"),
        columns: vec![
            column("id", int(), Some(key)),
            column("k", int(), None),
            column("c", char(480), None),
            column("pad", char(240), None),
        ],
    }
}

struct Pen {
    session: Session,
    tables: Vec<TableRef>,
    written: GtidSet,
    uuid: Uuid,
}

impl Pen {
    async fn commit(&mut self, buffer: &ChangesBuffer) -> Result<()> {
        let gtid = Gtid {
            uuid: self.uuid,
            tag: Tag::default(),
            gno: self.written.len() as u64 + 1,
        };
        self.written.insert(gtid);
        let write_set = WriteSet {
            transaction: Transaction {
                gtid,
                original_commit_us: 1,
                immediate_commit_us: 1,
                last_committed: 0,
                sequence_number: 0,
                seen: None,
                file: "binlog.000001".into(),
                position: 4,
                chunk: 0,
                last: true,
                xa_end: None,
            },
            tables: self.tables.clone(),
            changes: buffer.as_changes(),
        };
        self.session.append(Body::WriteSet(write_set)).await?;
        Ok(())
    }
}

fn push(
    buffer: &mut ChangesBuffer,
    table: usize,
    operation: Operation,
    before: Option<&[u8]>,
    after: Option<&[u8]>,
) {
    let image = |datum| Image {
        present: None,
        datum,
    };
    buffer.push(&Change {
        table: table as u32,
        operation,
        before: before.map(image),
        after: after.map(image),
        more: false,
    });
}

/// CPU seconds of a process so far; 0 where /proc does not tell.
fn cpu(pid: Option<u32>) -> f64 {
    let pid = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    (ticks(12).unwrap_or(0.0) + ticks(13).unwrap_or(0.0)) / 100.0
}

fn print(part: &str, rows: u64, seconds: f64, cpu: [f64; 2]) {
    let rate = rows as f64 / seconds;
    let [ours, server] = cpu;
    println!(
        "{part:14}{rows:>8} rows in {seconds:6.2} s: {rate:>8.0} rows/s; CPU seconds: ours {ours:.2}, the server's {server:.2}"
    );
}

async fn apply(options: &Options, until: &GtidSet) -> Result<(u64, f64)> {
    let applier = Applier::connect(options.clone()).await?;
    let (sender, receiver) = watch::channel(Progress::default());
    let started = Instant::now();
    applier
        .run(Some(until.clone().into()), CancellationToken::new(), sender)
        .await?;
    let rows = receiver.borrow().rows;
    Ok((rows, started.elapsed().as_secs_f64()))
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rows: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let transactions: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let server = MySql::builder()
        .args([
            "--innodb-buffer-pool-size=512M",
            "--innodb-redo-log-capacity=512M",
        ])
        .start()?;
    let mut define = "CREATE DATABASE sbtest;".to_owned();
    for table in 1..=TABLES {
        define.push_str(&format!(
            "CREATE TABLE sbtest.sbtest{table} (id int NOT NULL PRIMARY KEY, k int NOT NULL, c char(120) NOT NULL, pad char(60) NOT NULL, KEY (k));"
        ));
    }
    server.sql(&define)?;
    let folder = tempfile::tempdir()?;
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open(folder.path())?);
    let schemas: Vec<RowSchema> = (1..=TABLES).map(schema).collect();
    let mut tables = Vec::new();
    for schema in &schemas {
        let (text, fingerprint) = schema.to_avro();
        log.put_schema(fingerprint, &text).await?;
        tables.push(TableRef {
            database: schema.database.clone(),
            table: schema.table.clone(),
            schema: fingerprint,
            foreign_keys: ForeignKeys::default(),
        });
    }
    let uuid = Uuid::from_u128(1);
    let start = Start {
        site: "main".into(),
        server: uuid,
        filter: "*.*".into(),
        base: GtidSet::new(),
        version: "example".into(),
        job: None,
    };
    let mut pen = Pen {
        session: Session::start(Arc::clone(&log), start, SessionOptions::default()).await?,
        tables,
        written: GtidSet::new(),
        uuid,
    };
    let mut address: Address =
        format!("{}/?tls=disabled", server.url(server.admin_user())).parse()?;
    address.password = binferry_schemas::address::Secret::new(server.admin_password());
    let options = Options::new(address, Arc::clone(&log));

    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut state: Vec<Vec<Row>> = Vec::new();
    let mut buffer = ChangesBuffer::new();
    for (table, schema) in schemas.iter().enumerate() {
        let mut all = Vec::with_capacity(rows);
        for id in 0..rows {
            let row = Row::random(&mut random, rows as u64);
            push(
                &mut buffer,
                table,
                Operation::Insert,
                None,
                Some(&row.datum(schema, id)),
            );
            all.push(row);
            if buffer.count == 2_000 || id + 1 == rows {
                pen.commit(&buffer).await?;
                buffer.clear();
            }
        }
        state.push(all);
    }
    pen.session.flush().await?;
    let before = [cpu(None), cpu(server.pid())];
    let (count, seconds) = apply(&options, &pen.written).await?;
    let after = [cpu(None), cpu(server.pid())];
    print(
        "load",
        count,
        seconds,
        [after[0] - before[0], after[1] - before[1]],
    );

    for _ in 0..transactions {
        let table = random.below(TABLES as u64) as usize;
        let schema = &schemas[table];
        for column in 0..2 {
            let id = random.below(rows as u64) as usize;
            let before = state[table][id].datum(schema, id);
            match column {
                0 => state[table][id].k += 1,
                _ => state[table][id].c = random.digits(10),
            }
            let after = state[table][id].datum(schema, id);
            push(
                &mut buffer,
                table,
                Operation::Update,
                Some(&before),
                Some(&after),
            );
        }
        let id = random.below(rows as u64) as usize;
        let before = state[table][id].datum(schema, id);
        push(&mut buffer, table, Operation::Delete, Some(&before), None);
        state[table][id] = Row::random(&mut random, rows as u64);
        let after = state[table][id].datum(schema, id);
        push(&mut buffer, table, Operation::Insert, None, Some(&after));
        pen.commit(&buffer).await?;
        buffer.clear();
    }
    pen.session.flush().await?;
    let before = [cpu(None), cpu(server.pid())];
    let (changes, took) = apply(&options, &pen.written).await?;
    let after = [cpu(None), cpu(server.pid())];
    print(
        "transactions",
        changes,
        took,
        [after[0] - before[0], after[1] - before[1]],
    );
    for (table, rows) in state.iter().enumerate() {
        copy(&mut pen, &log, table, rows).await?;
    }
    // A transaction that comes after all rows: these have no GTID to wait for.
    pen.commit(&buffer).await?;
    pen.session.flush().await?;
    let before = [cpu(None), cpu(server.pid())];
    let (copied, took) = apply(&options, &pen.written).await?;
    let after = [cpu(None), cpu(server.pid())];
    print(
        "copy",
        copied,
        took,
        [after[0] - before[0], after[1] - before[1]],
    );
    for table in 0..TABLES {
        let there = server.value(&format!("SELECT COUNT(*) FROM sbtest.copied{table}"))?;
        assert_eq!(there, rows.to_string(), "rows of copied{table}");
    }
    server.stop()?;
    Ok(())
}

/// The rows as a copy of another table.
async fn copy(pen: &mut Pen, log: &Arc<dyn Log>, number: usize, rows: &[Row]) -> Result<()> {
    let mut schema = schema(number + 1);
    schema.table = format!("copied{number}");
    let (text, fingerprint) = schema.to_avro();
    log.put_schema(fingerprint, &text).await?;
    let table = TableRef {
        database: schema.database.clone(),
        table: schema.table.clone(),
        schema: fingerprint,
        foreign_keys: ForeignKeys::default(),
    };
    let copy = Uuid::from_u128(number as u128 + 7);
    let begin = SnapshotBegin {
        job: Uuid::nil(),
        copy,
        table: table.clone(),
        over: Over::Nothing,
        replaces: None,
        create_database: String::new(),
        create_table: format!(
            "CREATE TABLE `{}` (`id` int NOT NULL, `k` int NOT NULL, `c` char(120) NOT NULL, `pad` char(60) NOT NULL, PRIMARY KEY (`id`), KEY `k` (`k`))",
            schema.table
        ),
        sql_mode: 0,
        collations: [255; 3],
        time_zone: "+00:00".into(),
        key_name: "PRIMARY".into(),
        key: vec!["id".into()],
        estimated_rows: rows.len() as u64,
        estimated_bytes: 0,
        window: Window::default(),
    };
    step(pen, SnapshotStep::Begin(Box::new(begin))).await?;
    let mut buffer = ChangesBuffer::new();
    let ranges = rows.chunks(4_000);
    let last = ranges.len().saturating_sub(1);
    for (chunk, range) in ranges.enumerate() {
        for (at, row) in range.iter().enumerate() {
            let datum = row.datum(&schema, chunk * 4_000 + at);
            push(&mut buffer, 0, Operation::Insert, None, Some(&datum));
        }
        let upper = (chunk < last).then(|| chunk.to_string().into_bytes());
        let body = SnapshotRows {
            head: RowsHead {
                copy,
                chunk: chunk as u64,
                part: 0,
                last: true,
                rows: range.len() as u64,
                upper,
                table: table.clone(),
            },
            lower: None,
            seen: None,
            window: Window::default(),
            left_out: Vec::new(),
            rows: buffer.as_changes(),
        };
        pen.session.append(Body::SnapshotRows(body)).await?;
        buffer.clear();
    }
    let end = SnapshotEnd {
        copy,
        rows: rows.len() as u64,
        left_out: 0,
    };
    step(pen, SnapshotStep::End(end)).await
}

async fn step(pen: &mut Pen, step: SnapshotStep) -> Result<()> {
    let snapshot = Snapshot { at_us: 1, step };
    pen.session.append(Body::Snapshot(snapshot)).await?;
    Ok(())
}
