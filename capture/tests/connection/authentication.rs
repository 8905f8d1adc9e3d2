//! Who is let in, and what those hear who are not.

use binferry_capture::client::Connection;
use binferry_capture::error::{CaptureError, Permanent, Transient};
use binferry_schemas::address::Tls;
use binferry_schemas::fault::{Fault, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{address, listener, open_impatiently, root, server};

/// The first connection of a user takes the full path (its password is in no cache), the second the fast one.
#[tokio::test]
async fn full_and_fast_path_in_every_tls_mode() {
    let server = server();
    for tls in [Tls::Disabled, Tls::Preferred, Tls::Required, Tls::VerifyCa] {
        let user = format!("auth_{}", tls.name().replace('-', "_"));
        server
            .sql(&format!("CREATE USER {user} IDENTIFIED BY 'pass wörd'"))
            .unwrap();
        let mut address = address(server, &user, "pass wörd");
        address.tls = tls;
        address.ca = server.ca_file();
        for path in ["full", "fast"] {
            let mut connection = Connection::open(&address)
                .await
                .unwrap_or_else(|error| panic!("{tls}, {path} path: {error}"));
            assert_eq!(connection.is_encrypted(), tls != Tls::Disabled, "{tls}");
            let who = connection.query("SELECT CURRENT_USER()").await.unwrap();
            assert_eq!(who.single().unwrap(), format!("{user}@%"));
            connection.ping().await.unwrap();
            connection.close().await;
        }
    }
}

#[tokio::test]
async fn an_empty_password() {
    let server = server();
    server
        .sql("CREATE USER auth_empty IDENTIFIED BY ''")
        .unwrap();
    Connection::open(&address(server, "auth_empty", ""))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_permanent_and_says_so() {
    let server = server();
    server
        .sql("CREATE USER auth_wrong IDENTIFIED BY 'right'")
        .unwrap();
    for (user, password) in [
        ("auth_wrong", "left"),
        ("auth_wrong", ""),
        ("nobody", "right"),
    ] {
        let error = Connection::open(&address(server, user, password))
            .await
            .unwrap_err();
        let CaptureError::Permanent(Permanent::Denied { error: answer, .. }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!((answer.code, answer.state.as_str()), (1045, "28000"));
        assert_eq!(error.kind(), Kind::Configuration);
        assert!(error.hint().unwrap().contains("BINFERRY_SOURCE_PASSWORD"));
    }
}

#[tokio::test]
async fn an_account_that_demands_tls() {
    let server = server();
    server
        .sql("CREATE USER auth_tls IDENTIFIED BY 'p' REQUIRE SSL")
        .unwrap();
    let mut address = address(server, "auth_tls", "p");
    let error = Connection::open(&address).await.unwrap_err();
    assert!(
        matches!(error, CaptureError::Permanent(Permanent::Denied { .. })),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("tls=required"));
    address.tls = Tls::Preferred;
    Connection::open(&address).await.unwrap();
}

#[tokio::test]
async fn sha256_password_with_and_without_tls() {
    let server = server();
    server
        .sql("CREATE USER auth_sha256 IDENTIFIED WITH sha256_password BY 'p'")
        .unwrap();
    let mut address = address(server, "auth_sha256", "p");
    for tls in [Tls::Disabled, Tls::Required] {
        address.tls = tls;
        Connection::open(&address).await.unwrap();
    }
}

/// A server that asks for the password in the clear must not get it, not even when the network is trusted.
#[tokio::test]
async fn a_clear_text_password_is_never_sent() {
    let greedy = listener(|mut stream| async move {
        let mut greeting = b"\x0a9.0.0\0\x01\0\0\x0012345678\0".to_vec();
        greeting.extend([0xff, 0xf7, 0xff, 2, 0, 0xff, 0xdf, 21]);
        greeting.extend([0; 10]);
        greeting.extend(b"901234567890\0caching_sha2_password\0");
        send(&mut stream, 0, &greeting).await;
        let mut response = vec![0; 1000];
        let _ = stream.read(&mut response).await.unwrap();
        send(&mut stream, 2, b"\xfemysql_clear_password\0\0").await;
        let mut more = Vec::new();
        stream.read_to_end(&mut more).await.unwrap();
        assert_eq!(more, b"");
    })
    .await;
    let error = open_impatiently(&greedy).await.unwrap_err();
    let CaptureError::Permanent(Permanent::AuthenticationMethod { method, .. }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(method, "mysql_clear_password");
}

async fn send(stream: &mut tokio::net::TcpStream, sequence: u8, payload: &[u8]) {
    let mut packet = vec![payload.len() as u8, 0, 0, sequence];
    packet.extend(payload);
    stream.write_all(&packet).await.unwrap();
}

#[tokio::test]
async fn out_of_reach_is_transient() {
    let mut address = root(server());
    // Nobody listens on this port any more.
    address.port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = Connection::open(&address).await.unwrap_err();
    assert!(
        matches!(
            error,
            CaptureError::Transient(Transient::Unreachable { .. })
        ),
        "{error:?}"
    );
    assert_eq!(error.kind(), Kind::Unreachable);
    address.host = "no-such-host.invalid".into();
    let error = Connection::open(&address).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");
}

#[tokio::test]
async fn silence_and_strangers_are_not_waited_for() {
    let silent = listener(|stream| async move {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        drop(stream);
    })
    .await;
    let error = open_impatiently(&silent).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");

    let stranger = listener(|mut stream| async move {
        stream
            .write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            .await
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    })
    .await;
    let error = open_impatiently(&stranger).await.unwrap_err();
    assert!(
        matches!(error, CaptureError::Transient(Transient::Protocol { .. })),
        "{error:?}"
    );

    let gone = listener(|stream| async move { drop(stream) }).await;
    let error = open_impatiently(&gone).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error:?}");
}

#[tokio::test]
async fn too_many_connections_is_transient() {
    let full = listener(|mut stream| async move {
        let mut packet = vec![0, 0, 0, 0, 0xFF];
        packet.extend(1040u16.to_le_bytes());
        packet.extend(b"Too many connections");
        packet[0] = packet.len() as u8 - 4;
        stream.write_all(&packet).await.unwrap();
    })
    .await;
    let error = open_impatiently(&full).await.unwrap_err();
    assert!(
        matches!(
            error,
            CaptureError::Transient(Transient::Unavailable { .. })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn results_of_every_size() {
    let mut connection = Connection::open(&root(server())).await.unwrap();
    let rows = connection
        .query("SELECT NULL AS a, '' AS b, REPEAT('x', 70000) AS c UNION ALL SELECT 1, 2, 3")
        .await
        .unwrap();
    assert_eq!(rows.columns, ["a", "b", "c"]);
    assert_eq!(rows.rows.len(), 2);
    assert_eq!(
        (rows.value(0, "A"), rows.value(0, "b")),
        (None, Some(String::new()))
    );
    assert_eq!(rows.value(0, "c").unwrap().len(), 70_000);
    let error = connection
        .query("SELECT broken FROM nowhere.atall")
        .await
        .unwrap_err();
    assert!(matches!(error, CaptureError::Permanent(_)), "{error:?}");
    assert_eq!(
        connection
            .query("SELECT 42")
            .await
            .unwrap()
            .single()
            .unwrap(),
        "42"
    );
    assert_eq!(connection.query("DO 1").await.unwrap().rows.len(), 0);
}
