//! Connections to the target: TLS modes, the fixed session, and the server's errors as ours.
//!
//! Every session has the same settings, so that a literal means the same on each server: READ COMMITTED, UTC, a strict `sql_mode` that
//! still takes zero and partial dates, checks on. `wait_timeout` is short: an applier that was stopped inside a transaction must not hold
//! its locks for hours.

use std::time::Duration;

use binferry_schemas::address::{Address, Tls};
use mysql_async::{
    Conn, DriverError, Error, IoError, Opts, OptsBuilder, SslOpts, prelude::Queryable,
};

use crate::{
    dialect::Dialect,
    error::{ApplyError, ServerFault},
};

/// Seconds that the server keeps one of our sessions that says nothing; [`KEEPALIVE`] is well below.
pub const WAIT_TIMEOUT: u64 = 30;
pub const KEEPALIVE: Duration = Duration::from_secs(8);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection, and what its server says of itself.
#[derive(Debug)]
pub struct Target {
    pub conn: Conn,
    pub dialect: Dialect,
    pub max_packet: usize,
    /// LOAD DATA LOCAL is allowed there.
    pub local_infile: bool,
}

/// Connects with the address's TLS mode and prepares the session.
pub async fn connect(address: &Address) -> Result<Target, ApplyError> {
    let conn = match address.tls {
        Tls::Disabled => open(address, None).await?,
        Tls::Preferred => match open(address, Some(lenient())).await {
            Err(ApplyError::Tls { .. }) => open(address, None).await?,
            other => other?,
        },
        Tls::Required => open(address, Some(lenient())).await?,
        Tls::VerifyCa => {
            open(
                address,
                Some(verifying(address).with_danger_skip_domain_validation(true)),
            )
            .await?
        }
        Tls::VerifyIdentity => open(address, Some(verifying(address))).await?,
    };
    prepare(conn, address).await
}

fn lenient() -> SslOpts {
    SslOpts::default()
        .with_danger_accept_invalid_certs(true)
        .with_danger_skip_domain_validation(true)
}

fn verifying(address: &Address) -> SslOpts {
    match &address.ca {
        Some(ca) => SslOpts::default()
            .with_root_certs(vec![ca.clone().into()])
            .with_disable_built_in_roots(true),
        None => SslOpts::default(),
    }
}

async fn open(address: &Address, tls: Option<SslOpts>) -> Result<Conn, ApplyError> {
    let opts: Opts = OptsBuilder::default()
        .ip_or_hostname(address.host.clone())
        .tcp_port(address.port)
        .user(Some(address.user.clone()))
        .pass(Some(address.password.expose().to_owned()))
        .prefer_socket(false)
        .client_found_rows(true)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(10)))
        .stmt_cache_size(0)
        // The greatest packet of the protocol; the server's own limit is asked for and kept to.
        .max_allowed_packet(Some(1 << 30))
        .wait_timeout(Some(WAIT_TIMEOUT as usize))
        .ssl_opts(tls)
        .into();
    match tokio::time::timeout(CONNECT_TIMEOUT, Conn::new(opts)).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(connect_error(error, address)),
        Err(_) => Err(ApplyError::Unreachable {
            address: address.to_string(),
            reason: format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
        }),
    }
}

fn connect_error(error: Error, address: &Address) -> ApplyError {
    let address = address.to_string();
    match error {
        Error::Server(answer) => {
            let fault = Box::new(server_fault(answer));
            match fault.code {
                // Too many connections; shutting down; the host's limit.
                1040 | 1053 | 1203 | 1226 => ApplyError::Unreachable {
                    address,
                    reason: fault.to_string(),
                },
                _ => ApplyError::Login { address, fault },
            }
        }
        Error::Io(IoError::Tls(error)) => ApplyError::Tls {
            address,
            reason: error.to_string(),
        },
        Error::Driver(DriverError::NoClientSslFlagFromServer) => ApplyError::Tls {
            address,
            reason: "the server offers no TLS".to_owned(),
        },
        other => ApplyError::Unreachable {
            address,
            reason: other.to_string(),
        },
    }
}

async fn prepare(mut conn: Conn, address: &Address) -> Result<Target, ApplyError> {
    const DOING: &str = "preparing the session";
    let fail = |error| from_mysql(error, DOING);
    let version: Option<String> = conn.query_first("SELECT VERSION()").await.map_err(fail)?;
    let version = version.unwrap_or_default();
    let dialect = Dialect::of(&version).map_err(|needed| ApplyError::Version {
        address: address.to_string(),
        found: version,
        needed,
    })?;
    settings(&mut conn, dialect).await?;
    if dialect == Dialect::MySql {
        // From 8.0.30 on; needs a privilege on some versions, and matters only for tables that we create.
        let _ = conn
            .query_drop("SET SESSION sql_generate_invisible_primary_key = 0")
            .await;
        // The source's rows have the generated ones, so they must show.
        let _ = conn
            .query_drop("SET SESSION show_gipk_in_create_table_and_information_schema = 1")
            .await;
    }
    let found: Option<(u64, bool)> = conn
        .query_first("SELECT @@session.max_allowed_packet, @@global.local_infile")
        .await
        .map_err(fail)?;
    let (max_packet, local_infile) = found.unwrap_or((1 << 22, false));
    Ok(Target {
        conn,
        dialect,
        max_packet: usize::try_from(max_packet).unwrap_or(usize::MAX),
        local_infile,
    })
}

async fn settings(conn: &mut Conn, dialect: Dialect) -> Result<(), ApplyError> {
    let names = "SET NAMES utf8mb4 COLLATE utf8mb4_bin";
    for statement in [names].into_iter().chain(dialect.session()) {
        conn.query_drop(statement)
            .await
            .map_err(|error| from_mysql(error, "preparing the session"))?;
    }
    Ok(())
}

/// The session as it was, after statements that had to have another one.
pub async fn restore(target: &mut Target) -> Result<(), ApplyError> {
    settings(&mut target.conn, target.dialect).await?;
    target
        .conn
        .query_drop("USE binferry")
        .await
        .map_err(|error| from_mysql(error, "preparing the session"))
}

/// An error of the driver as one of ours, without row values.
pub fn from_mysql(error: Error, doing: &'static str) -> ApplyError {
    match error {
        Error::Server(answer) => from_fault(Box::new(server_fault(answer)), doing),
        Error::Io(error) => ApplyError::Lost {
            reason: error.to_string(),
        },
        Error::Driver(DriverError::ConnectionClosed) => ApplyError::Lost {
            reason: "the server closed it".to_owned(),
        },
        Error::Driver(
            DriverError::PacketOutOfOrder
            | DriverError::UnexpectedPacket { .. }
            | DriverError::PoolDisconnected,
        ) => ApplyError::Lost {
            reason: "its packets are out of order".to_owned(),
        },
        Error::Driver(DriverError::FromRow { .. } | DriverError::FromValue { .. }) => {
            ApplyError::Defect("an answer of the server has other columns than expected")
        }
        other => ApplyError::Lost {
            reason: other.to_string(),
        },
    }
}

fn from_fault(fault: Box<ServerFault>, doing: &'static str) -> ApplyError {
    match fault.code {
        1290 => ApplyError::ReadOnly {
            setting: match fault.message.as_deref() {
                Some(text) if text.contains("super-read-only") => "super_read_only",
                _ => "read_only",
            },
        },
        1836 => ApplyError::ReadOnly {
            setting: "innodb_read_only",
        },
        // Shutting down, killed (MySQL's code and MariaDB's), timed out while idle.
        1053 | 1079 | 1152 | 1158..=1161 | 1927 | 3169 | 4031 => ApplyError::Lost {
            reason: fault.to_string(),
        },
        1044 | 1142 | 1143 | 1227 | 1370 | 3941 | 6038 => ApplyError::Privilege { fault },
        _ => ApplyError::Server {
            doing,
            place: None,
            table: None,
            fault,
        },
    }
}

/// The fault of a statement that defines tables: its text names schema objects for many more codes than that of one about rows.
pub fn ddl_fault(answer: mysql_async::ServerError) -> ServerFault {
    let (code, text) = (answer.code, answer.message.clone());
    let fault = server_fault(answer);
    let harmless = matches!(
        code,
        1005 | 1007 | 1008 | 1022 | 1046 | 1050 | 1051 | 1056 | 1059..=1061 | 1063 | 1064 | 1067..=1075
            | 1083 | 1089..=1091 | 1101 | 1103 | 1113 | 1115 | 1118 | 1166 | 1167 | 1170 | 1171 | 1176
            | 1193 | 1214 | 1215 | 1235 | 1253 | 1267 | 1273 | 1286 | 1298 | 1347 | 1426 | 1427 | 1439
            | 1478 | 1479..=1520 | 1553 | 1558 | 1652 | 1659 | 1735 | 1750 | 1813 | 1814 | 1821..=1833
            | 1845 | 1846 | 1847 | 3105..=3109 | 3161 | 3636 | 3678 | 3719 | 3723 | 3729 | 3730 | 3733
            | 3734 | 3750 | 3757..=3780 | 3821..=3826 | 4025 | 4092
    );
    ServerFault {
        message: fault.message.clone().or(harmless.then_some(text)),
        ..fault
    }
}

pub fn server_fault(answer: mysql_async::ServerError) -> ServerFault {
    // Codes whose text names schema objects, users, settings and files, and never a value of a row.
    let harmless = matches!(
        answer.code,
        3 | 20
            | 1021
            | 1026
            | 1040
            | 1044
            | 1045
            | 1049
            | 1053
            | 1054
            | 1114
            | 1142
            | 1143
            | 1146
            | 1153
            | 1205
            | 1213
            | 1226
            | 1227
            | 1231
            | 1290
            | 1370
            | 1698
            | 1820
            | 1836
            | 1862
            | 3024
            | 3159
            | 3955
            | 6038
    );
    ServerFault {
        code: answer.code,
        state: answer.state,
        message: harmless.then_some(answer.message),
    }
}
