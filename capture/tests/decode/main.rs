//! The decoder against a server: what comes out of the binlog is what SELECT shows, for every type, in every kind of image; and broken
//! bytes are errors, never a panic.
//!
//! A failure prints the seed; `BINFERRY_SEED` runs it again.

mod charsets;
mod images;
mod payload;
mod second;
mod third;

use std::fmt::Write;
use std::time::Duration;

use binferry_capture::client::Connection;
use binferry_capture::decode::{Decoded, TableMap, TablePlan};
use binferry_capture::dump::{Dump, Request};
use binferry_generate::{
    self as generate, Column, Kind, Random, SESSION, Servers, collations, seed,
};
use binferry_schemas::address::{Address, Secret, Tls};
use binferry_schemas::datum::{Value, Values, text};
use binferry_schemas::gtid::{GtidSet, Uuid};
use binferry_schemas::record::{ChangesBuffer, Operation};
use binferry_schemas::row::{ColumnType, charset};
use binferry_servers::MySql;

/// What shows a column's value without loss: its text in hexadecimal. For text: in UTF-8, in its own character set, and back in that from
/// UTF-8.
fn shown(column: &Column) -> String {
    let name = format!("`{}`", column.name);
    match column.kind {
        // FLOAT's text is rounded.
        Kind::Float => format!("HEX(CAST(CAST({name} AS DOUBLE) AS CHAR))"),
        Kind::Text(_, charset) => format!(
            "CONCAT(HEX(CONVERT({name} USING utf8mb4)), '/', HEX({name}), '/', \
             HEX(CONVERT(CONVERT({name} USING utf8mb4) USING {charset})))"
        ),
        Kind::Binary(_) | Kind::Geometry | Kind::Vector(_) => format!("HEX({name})"),
        // Without the zeros that ZEROFILL shows.
        Kind::Integer { .. } => format!("HEX(CONCAT({name} + 0))"),
        Kind::Decimal { precision, scale } => {
            format!("HEX(CONCAT(CAST({name} AS DECIMAL({precision},{scale}))))")
        }
        Kind::Bit(_) => format!("HEX(CONCAT({name} + 0))"),
        // A label, or the number of a value without one.
        Kind::Enum(_) => format!("IF({name} + 0 = 0, '/0', HEX(CONVERT({name} USING utf8mb4)))"),
        Kind::Set(_) => format!("HEX(CONVERT({name} USING utf8mb4))"),
        _ => format!("HEX(CONVERT(CAST({name} AS CHAR) USING utf8mb4))"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// Whether a decoded value is the one that the server shows.
fn agrees(ty: &ColumnType, value: &Value<'_>, shown: Option<&str>) -> bool {
    let Some(shown) = shown else {
        return *value == Value::Null;
    };
    let is = |text: String| hex(text.as_bytes()) == shown;
    let number = || -> f64 {
        let bytes: Vec<_> = (0..shown.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&shown[at..at + 2], 16).unwrap())
            .collect();
        String::from_utf8(bytes).unwrap().parse().unwrap()
    };
    match (value, ty) {
        (Value::Int(number), ColumnType::Enum { .. }) => shown == format!("/{number}"),
        (Value::Int(year), ColumnType::Year) => is(format!("{year:04}")),
        (Value::Int(number), _) => is(number.to_string()),
        (Value::Unsigned(number), _) => is(number.to_string()),
        (Value::Float(float), _) => f64::from(*float) == number(),
        (Value::Double(double), _) => *double == number(),
        (Value::Decimal(unscaled), ColumnType::Decimal { scale, .. }) => {
            is(text::Decimal::new(unscaled, *scale).unwrap().to_string())
        }
        (Value::Date(days), _) => is(text::Date(*days).to_string()),
        (&Value::Time(micros), &ColumnType::Time { fsp }) => {
            is(text::Time { micros, fsp }.to_string())
        }
        (&Value::DateTime(micros), &ColumnType::DateTime { fsp })
        | (&Value::Timestamp(micros), &ColumnType::Timestamp { fsp }) => {
            is(text::DateTime { micros, fsp }.to_string())
        }
        (
            Value::Text(text),
            ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. },
        ) => {
            let parts: Vec<_> = shown.split('/').collect();
            parts[0] == hex(text.as_bytes()) && parts[1] == parts[2]
        }
        (
            Value::Bytes(bytes),
            ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. },
        ) => {
            // Only what the server itself does not bring back.
            let parts: Vec<_> = shown.split('/').collect();
            parts[1] == hex(bytes) && (parts[1] != parts[2] || malformed(bytes, ty))
        }
        (Value::Text(text), _) => is((*text).to_owned()),
        (Value::Bytes(bytes) | Value::Vector(bytes), _) => hex(bytes) == shown,
        (Value::Json { text, .. }, ColumnType::Json) => is((*text).to_owned()),
        _ => false,
    }
}

struct Event {
    code: u8,
    flags: u16,
    body: Vec<u8>,
}

/// The events since `executed`.
async fn events(server: &MySql, executed: &str) -> Vec<Event> {
    let address = Address {
        host: server.host().to_owned(),
        port: server.port(),
        user: server.admin_user().to_owned(),
        password: Secret::new(server.admin_password()),
        tls: Tls::Disabled,
        ca: None,
    };
    let executed: GtidSet = executed.parse().unwrap();
    let request = Request {
        server_id: 4_000_017,
        replica_uuid: Uuid::from_u128(4_000_017),
        executed: &executed,
        heartbeat: Duration::from_secs(1),
        follow: false,
    };
    let mut dump = Dump::start(Connection::open(&address).await.unwrap(), &request)
        .await
        .unwrap();
    let mut events = Vec::new();
    while let Ok(event) = dump.next().await {
        events.push(Event {
            code: event.type_code,
            flags: event.flags,
            body: event.body.to_vec(),
        });
    }
    events
}

struct Run {
    columns: Vec<Column>,
    /// By row, by column.
    shown: Vec<Vec<Option<String>>>,
    events: Vec<Event>,
    server: MySql,
    /// Before the first row.
    executed: String,
}

/// Bytes that no conversion reads: the server passes what it can't read of Unicode's own forms through in places.
fn malformed(bytes: &[u8], ty: &ColumnType) -> bool {
    let name = ty.collation().and_then(charset).map_or("", |set| set.name);
    match name {
        "utf8mb4" | "utf8mb3" => std::str::from_utf8(bytes).is_err(),
        "ascii" => !bytes.is_ascii(),
        _ => false,
    }
}

/// Inserts, updates and deletes rows with random values.
async fn run(database: &str, rows: usize, random: &mut Random) -> Run {
    run_with(database, rows, random, |_, _| generate::columns()).await
}

async fn run_with(
    database: &str,
    rows: usize,
    random: &mut Random,
    columns: impl FnOnce(&MySql, &mut Random) -> Vec<Column>,
) -> Run {
    let server = MySql::builder()
        .arg("--max-allowed-packet=64M")
        .start()
        .unwrap();
    let columns = columns(&server, random);
    let definitions: Vec<_> = columns
        .iter()
        .map(|c| format!("`{}` {}", c.name, c.definition))
        .collect();
    server
        .sql(&format!(
            "{SESSION} CREATE DATABASE {database}; CREATE TABLE {database}.t (id int primary key, n int invisible, {})",
            definitions.join(", ")
        ))
        .unwrap();
    let executed = server.value("SELECT @@gtid_executed").unwrap();
    let names: Vec<_> = columns.iter().map(|c| format!("`{}`", c.name)).collect();
    for id in 0..rows {
        let literals: Vec<_> = columns.iter().map(|c| c.literal(random)).collect();
        let insert = format!(
            "{SESSION} INSERT INTO {database}.t (id, n, {}) VALUES ({id}, 1, {})",
            names.join(", "),
            literals.join(", ")
        );
        if let Err(error) = server.sql(&insert) {
            let culprit = error.to_string();
            panic!(
                "{culprit}\n{}",
                columns
                    .iter()
                    .map(|c| c.definition.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
    }
    let expressions: Vec<_> = columns.iter().map(shown).collect();
    let shown = server
        .rows(&format!(
            "{SESSION} SELECT {} FROM {database}.t ORDER BY id",
            expressions.join(", ")
        ))
        .unwrap();
    server
        .sql(&format!(
            "{SESSION} UPDATE {database}.t SET n = 2 ORDER BY id; DELETE FROM {database}.t ORDER BY id"
        ))
        .unwrap();
    let events = events(&server, &executed).await;
    Run {
        columns,
        shown,
        events,
        server,
        executed,
    }
}

#[tokio::test]
async fn every_type_in_every_image() {
    let seed = seed();
    let run = run("decode", 150, &mut Random::new(seed)).await;
    judge(&run, "decode", 150, seed);
}

/// Tables of drawn columns: types, attributes, names, and all the collations that the server has.
#[tokio::test]
async fn drawn_tables() {
    let seed = seed();
    let mut random = Random::new(seed);
    for table in 0..4 {
        let database = format!("drawn{table}");
        let run = run_with(&database, 40, &mut random, |server, random| {
            generate::drawn(40, Servers::MySql, &collations(&[server]).unwrap(), random)
        })
        .await;
        judge(&run, &database, 40, seed);
    }
}

fn judge(run: &Run, database: &str, rows: usize, seed: u64) {
    let mut plan = None;
    let mut images = [0; 3];
    let mut differences = Vec::new();
    for event in &run.events {
        match Decoded::of(event.code, event.flags, &event.body).unwrap() {
            Decoded::TableMap(_) => {
                let map = TableMap::parse(&event.body).unwrap();
                assert_eq!((map.database(), map.table()), (database, "t"));
                plan = Some(TablePlan::new(&map).unwrap());
            }
            Decoded::Rows(rows) => {
                let plan = plan.as_ref().unwrap();
                let mut changes = ChangesBuffer::new();
                let mut cursor = rows.cursor(plan);
                while cursor.next(7, &mut changes).unwrap() {}
                for change in changes.as_changes().iter() {
                    let change = change.unwrap();
                    images[change.operation as usize] += 1;
                    let n = [
                        (
                            change.before,
                            1 + i64::from(change.operation == Operation::Delete),
                        ),
                        (
                            change.after,
                            1 + i64::from(change.operation == Operation::Update),
                        ),
                    ];
                    for (image, n) in n.into_iter().filter_map(|(image, n)| Some((image?, n))) {
                        compare(run, plan, image.datum, n, &mut differences);
                    }
                }
            }
            _ => {}
        }
    }
    assert_eq!(images, [rows; 3]);
    assert!(
        differences.is_empty(),
        "seed {seed}: {} differences\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

fn compare(run: &Run, plan: &TablePlan, datum: &[u8], n: i64, differences: &mut Vec<String>) {
    let values: Vec<_> = Values::new(plan.schema(), None, datum)
        .map(|v| v.unwrap().unwrap())
        .collect();
    let Value::Int(id) = values[0] else { panic!() };
    assert_eq!(values[1], Value::Int(n));
    let shown = &run.shown[id as usize];
    for (index, column) in run.columns.iter().enumerate() {
        let found = &plan.schema().columns[index + 2];
        assert_eq!(found.name, column.name);
        if !agrees(&found.ty, &values[index + 2], shown[index].as_deref()) {
            differences.push(format!(
                "row {id}, {} {}: {:?} is {:?}",
                column.name,
                column.definition,
                shown[index],
                values[index + 2]
            ));
        }
    }
}

#[tokio::test]
async fn broken_bytes_are_errors() {
    let seed = seed();
    let mut random = Random::new(seed);
    let run = run("mutate", 12, &mut random).await;
    let mut maps = Vec::new();
    let mut tried = 0_u32;
    let attempt = |code: u8, body: &[u8], plan: Option<&TablePlan>| {
        match Decoded::of(code, 0, body) {
            Ok(Decoded::TableMap(_)) => {
                if let Ok(map) = TableMap::parse(body) {
                    let _ = TablePlan::new(&map);
                }
            }
            Ok(Decoded::Rows(rows)) => {
                let mut changes = ChangesBuffer::new();
                if let Some(plan) = plan {
                    let mut cursor = rows.cursor(plan);
                    while let Ok(true) = cursor.next(0, &mut changes) {}
                    // Whatever was accepted can be read.
                    for change in changes.as_changes().iter() {
                        let change = change.unwrap();
                        for image in [change.before, change.after].into_iter().flatten() {
                            assert!(
                                Values::new(plan.schema(), image.present, image.datum)
                                    .all(|value| value.is_ok())
                            );
                        }
                    }
                }
            }
            Ok(Decoded::Query(query)) => {
                let _ = binferry_capture::decode::classify(&query, false);
                let _ = binferry_capture::decode::classify(&query, true);
            }
            _ => {}
        }
    };
    for event in &run.events {
        if event.code == 19 {
            maps.push(TablePlan::new(&TableMap::parse(&event.body).unwrap()).unwrap());
        }
        let plan = maps.last();
        for _ in 0..300 {
            let cut = random.below(event.body.len() as u64) as usize;
            attempt(event.code, &event.body[..cut], plan);
            let mut flipped = event.body.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(flipped.len() as u64) as usize;
                flipped[at] ^= 1 << random.below(8);
            }
            attempt(event.code, &flipped, plan);
            tried += 2;
        }
    }
    println!("{tried} broken events, seed {seed}");
}

#[tokio::test]
async fn gtids_times_and_lengths() {
    let server = MySql::builder().start().unwrap();
    let executed = server.value("SELECT @@gtid_executed").unwrap();
    let before: u64 = server
        .value("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)")
        .unwrap()
        .parse()
        .unwrap();
    let tags = server.value("SELECT VERSION() >= '8.4'").unwrap() == "1";
    server
        .sql("CREATE DATABASE gtids; CREATE TABLE gtids.t (id int primary key)")
        .unwrap();
    for (next, id) in [
        ("AUTOMATIC", 1),
        ("AUTOMATIC:a_tag", 2),
        ("AUTOMATIC:b", 3),
        ("AUTOMATIC", 4),
    ] {
        let next = if tags { next } else { "AUTOMATIC" };
        server
            .sql(&format!(
                "SET gtid_next = '{next}'; INSERT INTO gtids.t VALUES ({id})"
            ))
            .unwrap();
    }
    let after: u64 = server
        .value("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)")
        .unwrap()
        .parse()
        .unwrap();
    let mut found: GtidSet = executed.parse().unwrap();
    let mut left = None;
    let mut transactions = 0;
    for event in events(&server, &executed).await {
        // Header and checksum.
        let length = event.body.len() as u64 + 23;
        match Decoded::of(event.code, event.flags, &event.body).unwrap() {
            Decoded::Gtid(gtid) => {
                assert_eq!(left.unwrap_or(0), 0);
                assert!(found.insert(gtid.gtid));
                assert!((before..=after).contains(&gtid.original_commit_us));
                assert_eq!(gtid.original_commit_us, gtid.immediate_commit_us);
                assert!(gtid.sequence_number > gtid.last_committed);
                left = gtid.transaction_length.map(|whole| whole - length);
                transactions += 1;
            }
            _ => left = left.map(|left| left.saturating_sub(length)),
        }
    }
    assert_eq!((left, transactions), (Some(0), 6));
    let now: GtidSet = server
        .value("SELECT @@gtid_executed")
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(found, now);
}
