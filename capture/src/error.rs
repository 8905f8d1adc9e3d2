//! Why a capture stops or starts over.
//!
//! Two types, on purpose: [`Permanent`] is about data, configuration or rights, and trying again gives the same answer;
//! [`Transient`] is about reaching a server, and the remedy is another try ([`crate::retry`] decides). No variant carries a row
//! value or a password; text that a server sent has its control characters escaped before it comes here.

use std::{fmt, path::PathBuf, time::Duration};

use binferry_schemas::fault::{Fault, Kind};
use binferry_schemas::gtid::GtidSet;
use binferry_transport::error::LogError;

use crate::decode::DecodeError;
use crate::files::FileError;
use crate::preflight::Finding;
use crate::snapshot::error::SnapshotError;
use crate::stream::error::StreamError;

/// An ERR packet of the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} ({state}): {message}")]
pub struct ServerError {
    pub code: u16,
    /// Five letters and digits; `HY000` when the server sent none.
    pub state: String,
    pub message: String,
}

/// The error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Permanent(#[from] Permanent),
    #[error(transparent)]
    Transient(#[from] Transient),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The same again at the next try.
#[derive(Debug, thiserror::Error)]
pub enum Permanent {
    #[error("{server} does not let user `{user}` in: {error}")]
    Denied {
        server: String,
        user: String,
        error: Box<ServerError>,
    },
    #[error("{server} refused user `{user}` a privilege: {error}")]
    Unprivileged {
        server: String,
        user: String,
        error: Box<ServerError>,
    },
    #[error("{server} answered with error {error}")]
    Refused {
        server: String,
        error: Box<ServerError>,
    },
    #[error(
        "{server} asks for the authentication method `{method}`, which this program does not have"
    )]
    AuthenticationMethod { server: String, method: String },
    #[error("{server} sent an RSA key for the password that cannot be used")]
    PublicKey { server: String },
    #[error("the password is too long for the RSA key of {server}")]
    PasswordTooLong { server: String },
    #[error("the address of {server} holds a zero byte in the user name or the password")]
    ZeroByte { server: String },
    #[error("{server} offers no TLS, and the address asks for it")]
    TlsNotOffered { server: String },
    #[error("the certificate of {server} is not accepted: {reason}")]
    Certificate { server: String, reason: String },
    #[error("TLS with {server} failed: {reason}")]
    Tls { server: String, reason: String },
    #[error("`{host}` is not a name that a certificate can hold")]
    ServerName { host: String },
    #[error("the CA file {} cannot be used: {reason}", path.display())]
    CaFile { path: PathBuf, reason: String },
    #[error("server_id {server_id} is in use by {holder}")]
    ServerIdInUse { server_id: u32, holder: String },
    #[error("server_id 0 cannot be used by a replica")]
    ServerIdZero,
    #[error("{server} has purged transactions that the log still needs: {missing}")]
    Purged { server: String, missing: GtidSet },
    #[error("{server} has purged transactions that the log still needs: {message}")]
    PurgedUnnamed { server: String, message: String },
    #[error("the log holds transactions that {server} does not have: {errant}")]
    Errant { server: String, errant: GtidSet },
    #[error("the log holds transactions that {server} does not have: {message}")]
    ErrantUnnamed { server: String, message: String },
    #[error("another replica with our server_id or our UUID has connected to {server}: {message}")]
    Replaced { server: String, message: String },
    #[error("{server} cannot send an event, because it is too large: {message}")]
    EventTooLarge { server: String, message: String },
    #[error("{server} cannot read its binlog: {message}")]
    SourceBinlog { server: String, message: String },
    #[error("{server} does not serve the dump: {message}")]
    DumpRefused { server: String, message: String },
    #[error(
        "damaged event before position {position} of {file}: its CRC32 is {computed:08x} and should be {stated:08x} (type {type_code}, {length} bytes)"
    )]
    Checksum {
        file: String,
        position: u32,
        type_code: u8,
        length: usize,
        stated: u32,
        computed: u32,
    },
    #[error("damaged event in {file}: {reason} (type {type_code}, {length} bytes)")]
    Event {
        file: String,
        type_code: u8,
        length: usize,
        reason: &'static str,
    },
    #[error("the source is not set up for a capture: {}", Findings(.0))]
    Preflight(Vec<Finding>),
}

/// Another try may help.
#[derive(Debug, thiserror::Error)]
pub enum Transient {
    #[error("cannot reach {server}")]
    Unreachable {
        server: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("no connection to {server} within {} s", within.as_secs_f32())]
    ConnectTimeout { server: String, within: Duration },
    #[error("{server} sent nothing for {} s", silence.as_secs_f32())]
    Silent { server: String, silence: Duration },
    #[error("the connection to {server} broke")]
    Broken {
        server: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("{server} closed the connection")]
    Closed { server: String },
    #[error(
        "{server} has sent transactions that it has not committed, because no semi-synchronous replica has acknowledged them: {waiting}"
    )]
    Unacknowledged { server: String, waiting: GtidSet },
    #[error("at {server} another server answers than a moment ago")]
    AnotherServer { server: String },
    #[error("{server} ended the dump")]
    DumpEnded { server: String },
    #[error("{server} is not available now: {error}")]
    Unavailable {
        server: String,
        error: Box<ServerError>,
    },
    #[error("{server} sent bytes that are not the MySQL protocol: {reason}")]
    Protocol {
        server: String,
        reason: &'static str,
    },
}

struct Findings<'a>(&'a [Finding]);

impl fmt::Display for Findings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// The server's codes (manual, "Server Error Message Reference") that pass by themselves.
fn passes(code: u16) -> bool {
    matches!(
        code,
        1040        // too many connections
        | 1053      // shutdown in progress
        | 1077 | 1078 | 1079 // shutdown
        | 1158
            ..=1161 // reading or writing the connection
        | 1203 | 1226 // too many connections or queries of this user
        | 1205 | 1213 // lock wait, deadlock
        | 1317      // interrupted
        | 3032      // offline mode
        | 3168      // not available
        | 3169      // session killed
        | 4031 // disconnected for inactivity
    )
}

impl CaptureError {
    /// Sorts an answer of the server into permanent and transient.
    pub(crate) fn answered(server: &str, user: &str, error: ServerError) -> Self {
        let (server, error) = (server.to_owned(), Box::new(error));
        match error.code {
            code if passes(code) => Transient::Unavailable { server, error }.into(),
            // Wrong password, no such user or host, locked, expired, TLS demanded by the account or the server.
            1044 | 1045 | 1130 | 1251 | 1524 | 1698 | 1862 | 3118 | 3159 | 3955 => {
                Permanent::Denied {
                    server,
                    user: user.to_owned(),
                    error,
                }
                .into()
            }
            1142 | 1143 | 1227 | 1370 => Permanent::Unprivileged {
                server,
                user: user.to_owned(),
                error,
            }
            .into(),
            _ => Permanent::Refused { server, error }.into(),
        }
    }
}

impl Fault for CaptureError {
    fn kind(&self) -> Kind {
        match self {
            Self::Permanent(error) => error.kind(),
            Self::Transient(_) => Kind::Unreachable,
            Self::Decode(error) => error.kind(),
            Self::Stream(error) => error.kind(),
            Self::File(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Log(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Permanent(error) => error.hint(),
            Self::Transient(error) => error.hint(),
            Self::Decode(error) => error.hint(),
            Self::Stream(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Snapshot(error) => error.hint(),
            Self::Log(error) => error.hint(),
        }
    }
}

impl Fault for Permanent {
    fn kind(&self) -> Kind {
        match self {
            Self::Checksum { .. }
            | Self::Event { .. }
            | Self::Purged { .. }
            | Self::PurgedUnnamed { .. }
            | Self::Errant { .. }
            | Self::ErrantUnnamed { .. }
            | Self::EventTooLarge { .. }
            | Self::SourceBinlog { .. } => Kind::Data,
            _ => Kind::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Denied { error, .. } => match error.code {
                1130 => "let the user connect from this host: CREATE USER ...@'HOST'".into(),
                1129 => "mysqladmin flush-hosts".into(),
                1862 => "ALTER USER ... IDENTIFIED BY '...' to renew the password".into(),
                3118 => "ALTER USER ... ACCOUNT UNLOCK".into(),
                3159 => "add ?tls=required to the address".into(),
                _ => "check user and password (environment BINFERRY_SOURCE_PASSWORD); an account may also demand TLS: add \
                      ?tls=required to the address"
                    .into(),
            },
            Self::Unprivileged { user, .. } => {
                format!("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{}'", user.replace('\'', "''"))
            }
            // MariaDB's own.
            Self::AuthenticationMethod { method, .. }
                if ["client_ed25519", "parsec", "dialog", "auth_gssapi_client"].contains(&method.as_str()) =>
            {
                "ALTER USER ... IDENTIFIED VIA mysql_native_password USING PASSWORD('...')".into()
            }
            Self::AuthenticationMethod { .. } => "ALTER USER ... IDENTIFIED WITH caching_sha2_password BY '...'".into(),
            Self::PublicKey { .. } | Self::PasswordTooLong { .. } => "use TLS: add ?tls=required to the address".into(),
            Self::TlsNotOffered { .. } => {
                "give the server a certificate (ssl_cert, ssl_key), or use ?tls=disabled where the network is trusted".into()
            }
            Self::Certificate { .. } => "name the authority that signed it: ?ca=FILE (PEM); verify-identity also needs the \
                                         host name of the address in the certificate"
                .into(),
            Self::Tls { .. } => "the server must allow TLS 1.2 or 1.3 (tls_version) with modern ciphers".into(),
            Self::ServerName { .. } => "use a host name or an IP address, or ?tls=verify-ca".into(),
            Self::CaFile { .. } => "give a PEM file with at least one certificate".into(),
            Self::ServerIdInUse { .. } | Self::ServerIdZero => {
                "leave --server-id out to have a free one chosen, or give one that no replica of this source uses".into()
            }
            Self::Purged { .. } | Self::PurgedUnnamed { .. } => {
                "capture from a server that still has them (another replica with the same GTIDs), or start a new log; keep \
                 binlogs longer: SET PERSIST (MariaDB: SET GLOBAL) binlog_expire_logs_seconds = 604800"
                    .into()
            }
            Self::Errant { .. } | Self::ErrantUnnamed { .. } => {
                "capture from the server that the log was written from, or from a replica that has these transactions; otherwise \
                 start a new log"
                    .into()
            }
            Self::Replaced { .. } => {
                "only one capture may read for this log: stop the other one, or give it a --server-id and a log of its own".into()
            }
            Self::EventTooLarge { .. } => "SET PERSIST max_allowed_packet = 1073741824 on the source".into(),
            Self::SourceBinlog { .. } | Self::Checksum { .. } | Self::Event { .. } => {
                "check the binlog file on the source with mysqlbinlog --verify-binlog-checksum; if it is whole there, start again"
                    .into()
            }
            Self::Preflight(findings) => findings
                .iter()
                .filter_map(|finding| finding.remedy.as_deref())
                .collect::<Vec<_>>()
                .join("; "),
            Self::Refused { .. } | Self::DumpRefused { .. } | Self::ZeroByte { .. } => return None,
        })
    }
}

impl Transient {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } | Self::ConnectTimeout { .. } => {
                Some("check that the server runs, and the host and port of the address".into())
            }
            Self::Unacknowledged { .. } => Some("start a semi-synchronous replica of the source again, or SET GLOBAL rpl_semi_sync_source_enabled = OFF there (MariaDB: rpl_semi_sync_master_enabled)".into()),
            _ => None,
        }
    }
}
