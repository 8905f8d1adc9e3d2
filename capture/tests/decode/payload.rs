//! Compressed transactions against the same ones uncompressed: what comes out of a payload is, byte by byte, what the server writes
//! without compression, for every type, at every level, in payloads that come whole and in parts.

use std::time::Duration;

use binferry_capture::{
    client::Connection,
    decode::Payload,
    dump::{Dump, Request, TRANSACTION_PAYLOAD},
    error::{CaptureError, Transient},
};
use binferry_schemas::{
    address::{Address, Secret, Tls},
    gtid::{GtidSet, Uuid},
};
use binferry_servers::MySql;

use super::{
    SESSION,
    generate::{self, Random},
    seed,
};

/// Of TABLE_MAP and rows events: a number of the server's, u48.
const TABLE_ID: usize = 6;

#[derive(Debug, Default)]
struct Transactions {
    /// Of each one the events between GTID and end: type and body.
    events: Vec<Vec<(u8, Vec<u8>)>>,
    payloads: u32,
    parts: u32,
    largest_part: usize,
}

async fn read(server: &MySql, executed: &str) -> Transactions {
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
        server_id: 4_000_018,
        replica_uuid: Uuid::from_u128(4_000_018),
        executed: &executed,
        heartbeat: Duration::from_secs(1),
        follow: false,
    };
    let connection = Connection::open(&address).await.unwrap();
    let mut dump = Dump::start(connection, &request).await.unwrap();
    let (mut out, mut payload, mut open) = (Transactions::default(), Payload::default(), false);
    let keep = |out: &mut Transactions, type_code, body: &[u8]| match type_code {
        33 | 42 => out.events.push(Vec::new()),
        // Some begin with a statement that carries settings, XID is a number of its own: neither is about rows.
        19 | 29..=32 => {
            let body = match type_code {
                29 => body.to_vec(),
                _ => body[TABLE_ID..].to_vec(),
            };
            out.events.last_mut().unwrap().push((type_code, body));
        }
        _ => {}
    };
    loop {
        let event = match dump.next().await {
            Ok(event) => event,
            Err(CaptureError::Transient(Transient::DumpEnded { .. })) => return out,
            Err(error) => panic!("{error}"),
        };
        if event.type_code != TRANSACTION_PAYLOAD {
            assert!(!event.more && !open);
            keep(&mut out, event.type_code, event.body);
            continue;
        }
        if !open {
            payload.begin();
            out.payloads += 1;
        }
        out.parts += u32::from(event.more);
        out.largest_part = out.largest_part.max(event.body.len());
        open = event.more;
        let (mut input, mut last) = (event.body, false);
        while let Some(inner) = payload.next(&mut input, !event.more).unwrap() {
            assert!(!last);
            last = inner.last;
            assert_eq!(last, inner.type_code == 16);
            keep(&mut out, inner.type_code, inner.body);
        }
        assert_eq!(last, !event.more);
    }
}

#[tokio::test]
async fn compressed_is_the_same_as_uncompressed() {
    let mut random = Random::new(seed());
    let server = MySql::builder()
        .arg("--max-allowed-packet=64M")
        .arg("--binlog-rows-query-log-events=ON")
        .start()
        .unwrap();
    let columns = generate::columns();
    let definitions: Vec<_> = columns
        .iter()
        .map(|c| format!("{} {}", c.name, c.definition))
        .collect();
    server
        .sql(&format!(
            "{SESSION} CREATE DATABASE payload; USE payload; CREATE TABLE drawn (id int primary key, {}); CREATE TABLE t LIKE drawn;
             CREATE TABLE wide (id int primary key, v LONGBLOB)",
            definitions.join(", ")
        ))
        .unwrap();
    for id in 0..60 {
        let literals: Vec<_> = columns
            .iter()
            .map(|c| c.kind.literal(&mut random))
            .collect();
        server
            .sql(&format!(
                "{SESSION} INSERT INTO payload.drawn VALUES ({id}, {})",
                literals.join(", ")
            ))
            .unwrap();
    }
    let small = "INSERT INTO t SELECT * FROM drawn ORDER BY id; UPDATE t SET id = id + 1000 ORDER BY id; DELETE FROM t ORDER BY id;
        INSERT INTO wide VALUES (1, REPEAT('x', 6000000)); DELETE FROM wide;
        BEGIN; INSERT INTO t SELECT * FROM drawn ORDER BY id; SAVEPOINT a; UPDATE t SET id = id + 1 ORDER BY id DESC;
        INSERT INTO wide VALUES (0, 'y'); ROLLBACK TO a; INSERT INTO wide VALUES (0, 'z'); DELETE FROM t ORDER BY id; COMMIT; DELETE FROM wide";
    // Noise that does not compress: its payload is larger than the dump's buffer, and than a packet's piece.
    let large = "INSERT INTO wide SELECT n, v FROM noise ORDER BY n; TRUNCATE wide";
    server
        .sql(
            "USE payload; CREATE TABLE noise (n INT PRIMARY KEY, v LONGBLOB); SET SESSION cte_max_recursion_depth = 30000;
             INSERT INTO noise WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 17000)
             SELECT n, RANDOM_BYTES(1000) FROM s",
        )
        .unwrap();
    let run = |settings: &str, work: &str| {
        let executed = server.value("SELECT @@gtid_executed").unwrap();
        server
            .sql(&format!("{SESSION} {settings}; USE payload; {work}"))
            .unwrap();
        executed
    };
    let off = "SET SESSION binlog_transaction_compression = OFF";
    let plain = read(&server, &run(off, &format!("{small}; {large}"))).await;
    // TRUNCATE is never compressed.
    assert_eq!((plain.payloads, plain.events.len()), (0, 9));
    // The highest level takes its time.
    for (level, checksum, work) in [
        (1, "CRC32", [small, large].as_slice()),
        (3, "NONE", &[small, large]),
        (22, "CRC32", &[small]),
    ] {
        server
            .sql(&format!("SET GLOBAL binlog_checksum = {checksum}"))
            .unwrap();
        let on = format!(
            "SET SESSION binlog_transaction_compression = ON, binlog_transaction_compression_level_zstd = {level}"
        );
        let compressed = read(&server, &run(&on, &work.join("; "))).await;
        let transactions = if work.len() == 2 { 9 } else { 7 };
        assert_eq!(compressed.events.len(), transactions);
        assert_eq!(compressed.payloads, transactions.min(8) as u32);
        assert!(
            compressed.parts > 16 || work.len() == 1,
            "{}",
            compressed.parts
        );
        assert!(compressed.largest_part <= 1 << 20);
        for (n, (a, b)) in plain.events.iter().zip(&compressed.events).enumerate() {
            assert!(a == b, "transaction {n} at level {level}");
        }
        assert!(compressed.events[..7].iter().all(|events| events.len() > 1));
    }
}
