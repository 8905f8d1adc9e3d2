//! Connection, dump and preflight against real servers.

mod authentication;
mod dump;
mod preflight;
mod tls;

use std::sync::OnceLock;
use std::time::Duration;

use binferry_capture::client::{Connection, Timeouts};
use binferry_capture::error::CaptureError;
use binferry_schemas::address::{Address, Secret, Tls};
use binferry_servers::MySql;

/// The server of the tests that leave it as it is. Each has users and databases of its own.
fn server() -> &'static MySql {
    static SERVER: OnceLock<MySql> = OnceLock::new();
    SERVER.get_or_init(|| {
        MySql::builder()
            .arg("--max-allowed-packet=1G")
            .start()
            .unwrap()
    })
}

fn root(server: &MySql) -> Address {
    address(server, server.admin_user(), server.admin_password())
}

/// Without TLS: what is under test elsewhere is faster to read and to run without it.
fn address(server: &MySql, user: &str, password: &str) -> Address {
    Address {
        host: server.host().to_owned(),
        port: server.port(),
        user: user.to_owned(),
        password: Secret::new(password),
        tls: Tls::Disabled,
        ca: None,
    }
}

/// A local port where `serve` handles one connection.
async fn listener<F, S>(serve: F) -> Address
where
    F: FnOnce(tokio::net::TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream).await;
    });
    Address {
        host: "127.0.0.1".into(),
        port,
        user: "root".into(),
        password: Secret::default(),
        tls: Tls::Disabled,
        ca: None,
    }
}

async fn open_impatiently(address: &Address) -> Result<Connection, CaptureError> {
    let short = Duration::from_millis(300);
    Connection::open_within(
        address,
        Timeouts {
            connect: short,
            read: short,
        },
    )
    .await
}
