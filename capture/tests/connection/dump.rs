//! The dump against the server's own listing of its binlog, and against damage, silence and refusal.

use std::time::{Duration, Instant};

use binferry_capture::client::Connection;
use binferry_capture::dump::{Dump, Request, choose_server_id};
use binferry_capture::error::{CaptureError, Permanent, Transient};
use binferry_schemas::address::Address;
use binferry_schemas::fault::Fault;
use binferry_schemas::gtid::{GtidSet, Uuid};
use binferry_servers::MySql;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::net::TcpStream;

use super::{address, listener, root, server};

fn request(server_id: u32, executed: &GtidSet) -> Request<'_> {
    Request {
        server_id,
        replica_uuid: Uuid::from_u128(u128::from(server_id)),
        executed,
        heartbeat: Duration::from_millis(200),
        follow: false,
    }
}

async fn start(address: &Address, request: &Request<'_>) -> Dump {
    let connection = Connection::open(address).await.unwrap();
    Dump::start(connection, request).await.unwrap()
}

/// File, end position and type of every event in a file, and how long the largest body was.
async fn drain(dump: &mut Dump) -> (Vec<(String, u32)>, usize, CaptureError) {
    let (mut events, mut largest) = (Vec::new(), 0);
    loop {
        match dump.next().await {
            Ok(event) => {
                largest = largest.max(event.body.len());
                if !event.is_artificial() && !event.is_heartbeat() {
                    let (rotate, position) = (event.type_code == 4, event.log_pos);
                    let file = dump.file().to_owned();
                    // A rotate event at the end of a file names the next one.
                    if !rotate {
                        events.push((file, position));
                    }
                }
            }
            Err(error) => return (events, largest, error),
        }
    }
}

#[tokio::test]
async fn every_event_of_every_file_with_and_without_checksums() {
    let server = MySql::builder()
        .arg("--max-allowed-packet=1G")
        .start()
        .unwrap();
    server
        .sql(
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, b LONGBLOB); \
             INSERT INTO d.t VALUES (1, REPEAT('x', 16777215)); INSERT INTO d.t VALUES (2, REPEAT('y', 40000000)); \
             FLUSH BINARY LOGS; INSERT INTO d.t VALUES (3, 'z'); SET GLOBAL binlog_checksum = NONE; \
             UPDATE d.t SET b = 'w' WHERE id = 3; SET GLOBAL binlog_checksum = CRC32; DELETE FROM d.t WHERE id = 3",
        )
        .unwrap();
    let mut listed = Vec::new();
    for file in server.rows("SHOW BINARY LOGS").unwrap() {
        let file = file[0].clone().unwrap();
        for event in server
            .rows(&format!("SHOW BINLOG EVENTS IN '{file}'"))
            .unwrap()
        {
            if event[2].as_deref() != Some("Rotate") {
                listed.push((
                    file.clone(),
                    event[4].as_ref().unwrap().parse::<u32>().unwrap(),
                ));
            }
        }
    }
    let nothing = GtidSet::new();
    for tls in [
        binferry_schemas::address::Tls::Disabled,
        binferry_schemas::address::Tls::Required,
    ] {
        let mut address = root(&server);
        address.tls = tls;
        let mut dump = start(&address, &request(1001, &nothing)).await;
        let (events, largest, end) = drain(&mut dump).await;
        assert!(
            matches!(end, CaptureError::Transient(Transient::DumpEnded { .. })),
            "{end:?}"
        );
        assert!(largest > 40_000_000);
        assert_eq!(events, listed);
        assert!(dump.checksummed());
    }

    // Only what is not in the set.
    let executed: GtidSet = server
        .value("SELECT @@gtid_executed")
        .unwrap()
        .parse()
        .unwrap();
    let mut dump = start(&root(&server), &request(1001, &executed)).await;
    let (events, largest, _) = drain(&mut dump).await;
    assert!(
        largest < 10_000 && events.len() < listed.len(),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_damaged_event_stops_the_dump() {
    let server = server();
    server
        .sql(
            "CREATE DATABASE damage; CREATE TABLE damage.t (v VARCHAR(100)); \
             INSERT INTO damage.t VALUES ('untouched before'), ('MARKED AS PRECIOUS')",
        )
        .unwrap();
    let (host, port) = (server.host().to_owned(), server.port());
    let proxy = listener(move |client| async move {
        let upstream = TcpStream::connect((host, port)).await.unwrap();
        let (mut from_client, mut to_client) = split(client);
        let (mut from_server, mut to_server) = split(upstream);
        tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            let marker = b"AS PRECIOUS";
            if let Some(at) = buffer[..count]
                .windows(marker.len())
                .position(|window| window == marker)
            {
                buffer[at] ^= 1;
            }
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    })
    .await;
    let nothing = GtidSet::new();
    let mut dump = start(&proxy, &request(1002, &nothing)).await;
    let (_, _, end) = drain(&mut dump).await;
    let CaptureError::Permanent(Permanent::Checksum { file, .. }) = &end else {
        panic!("{end:?}");
    };
    assert!(file.starts_with("binlog."), "{end}");
}

#[tokio::test]
async fn heartbeats_keep_a_quiet_dump_and_their_absence_ends_it() {
    let server = MySql::start().unwrap();
    let executed: GtidSet = server
        .value("SELECT @@gtid_executed")
        .unwrap()
        .parse()
        .unwrap();
    let mut request = request(1003, &executed);
    request.follow = true;
    let mut dump = start(&root(&server), &request).await;
    let mut heartbeats = 0;
    while heartbeats < 3 {
        let event = tokio::time::timeout(Duration::from_secs(10), dump.next())
            .await
            .unwrap()
            .unwrap();
        heartbeats += u32::from(event.is_heartbeat());
    }
    server.pause().unwrap();
    let begin = Instant::now();
    let error = loop {
        if let Err(error) = dump.next().await {
            break error;
        }
    };
    server.resume().unwrap();
    assert!(
        matches!(error, CaptureError::Transient(Transient::Silent { .. })),
        "{error:?}"
    );
    assert!(begin.elapsed() < Duration::from_secs(3));

    let mut dump = start(&root(&server), &request).await;
    server.stop().unwrap();
    let error = loop {
        if let Err(error) = dump.next().await {
            break error;
        }
    };
    assert!(matches!(error, CaptureError::Transient(_)), "{error:?}");
}

#[tokio::test]
async fn purged_and_errant_sets_are_refused_by_name() {
    let server = MySql::start().unwrap();
    server
        .sql("CREATE DATABASE a; CREATE DATABASE b; FLUSH BINARY LOGS; CREATE DATABASE c; FLUSH BINARY LOGS")
        .unwrap();
    let last = server.rows("SHOW BINARY LOGS").unwrap().pop().unwrap()[0]
        .clone()
        .unwrap();
    server
        .sql(&format!("PURGE BINARY LOGS TO '{last}'"))
        .unwrap();
    let uuid = server.value("SELECT @@server_uuid").unwrap();
    let executed: GtidSet = format!("{uuid}:1").parse().unwrap();
    let mut dump = start(&root(&server), &request(1004, &executed)).await;
    let error = dump.next().await.map(|_| ()).unwrap_err();
    let CaptureError::Permanent(Permanent::Purged { missing, .. }) = &error else {
        panic!("{error:?}");
    };
    let purged: GtidSet = server
        .value("SELECT @@gtid_purged")
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(*missing, purged.subtract(&executed));

    let ahead: GtidSet = format!("{uuid}:1-1000").parse().unwrap();
    let mut dump = start(&root(&server), &request(1004, &ahead)).await;
    let error = dump.next().await.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            CaptureError::Permanent(Permanent::ErrantUnnamed { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_privilege_is_asked_for_before_the_dump() {
    let server = server();
    server
        .sql("CREATE USER dump_none IDENTIFIED BY 'p'")
        .unwrap();
    let mut connection = Connection::open(&address(server, "dump_none", "p"))
        .await
        .unwrap();
    let error = choose_server_id(&mut connection, None, Uuid::from_u128(1))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            CaptureError::Permanent(Permanent::Unprivileged { .. })
        ),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("GRANT REPLICATION SLAVE"));
    let nothing = GtidSet::new();
    let error = Dump::start(connection, &request(1005, &nothing))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            CaptureError::Permanent(Permanent::Unprivileged { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_id_is_ours_alone() {
    let server = server();
    let executed: GtidSet = server
        .value("SELECT @@gtid_executed")
        .unwrap()
        .parse()
        .unwrap();
    let mut connection = Connection::open(&root(server)).await.unwrap();
    let (me, other) = (Uuid::from_u128(11), Uuid::from_u128(12));
    let chosen = choose_server_id(&mut connection, None, me).await.unwrap();
    let mut request = request(chosen, &executed);
    (request.replica_uuid, request.follow) = (me, true);
    let mut first = start(&root(server), &request).await;
    first.next().await.unwrap();

    let error = choose_server_id(&mut connection, Some(chosen), other)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            CaptureError::Permanent(Permanent::ServerIdInUse { .. })
        ),
        "{error:?}"
    );
    let error = choose_server_id(&mut connection, Some(server.server_id()), me)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the source itself"), "{error}");
    // Ourselves again, after a lost connection: the older dump ends, for good.
    assert_eq!(
        choose_server_id(&mut connection, None, me).await.unwrap(),
        chosen
    );
    let mut second = start(&root(server), &request).await;
    second.next().await.unwrap();
    let error = loop {
        if let Err(error) = first.next().await {
            break error;
        }
    };
    assert!(
        matches!(error, CaptureError::Permanent(Permanent::Replaced { .. })),
        "{error:?}"
    );
}
