//! A connection to a MySQL server: connect, authenticate, small queries, and packets as fast as they come.
//!
//! The packet types, scrambles and the RSA arithmetic are `mysql_common`'s; framing and the conversation are ours, because the
//! dump wants events lent out of a large buffer without a copy and without a trip through the runtime for each.
//!
//! Nothing here retries. Every error says whether a retry can help ([`crate::error`]); after any error but an answer to a query,
//! the connection is of no more use. Waiting is bounded everywhere: connecting as a whole, and each wait for bytes. All waits can
//! be cancelled by dropping the future; only [`Connection::fill`] can then be called again.

mod answer;
mod auth;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod greeting;
mod rsa;
mod socket;
mod statement;
mod tls;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use binferry_schemas::address::{Address, Tls};
use mysql_common::constants::CapabilityFlags;
use mysql_common::packets::{AuthPlugin, HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use answer::Rows;
pub(crate) use answer::{err, is_eof};
pub(crate) use frame::{Lent, Parted};
pub(crate) use statement::WireColumn;

use crate::error::{CaptureError, Permanent, Transient};
use crate::preflight::{Flavour, Version};
use answer::Malformed;
use auth::{Exchange, Method, Refusal, Step};
use frame::{Frames, Room};
use greeting::Greeting;
use socket::Socket;

/// Largest packet that we say we take: the server's own limit.
const MAX_PACKET: u32 = 1 << 30;
/// utf8mb4_general_ci, which every version knows.
const COLLATION: u8 = 45;
/// For queries; the dump takes a larger one.
const BUFFER: usize = 16 << 10;
/// Between the socket and TLS.
const TLS_BUFFER: usize = 256 << 10;
/// Queries here are about settings; more than this is not one of them.
const LARGEST_RESULT: usize = 64 << 20;

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_PING: u8 = 0x0E;

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection as a whole: name, TCP, TLS, authentication.
    pub connect: Duration,
    /// For each piece of an answer, and for a send.
    pub read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
        }
    }
}

/// An authenticated connection.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    frames: Frames,
    out: Vec<u8>,
    server: String,
    user: String,
    timeouts: Timeouts,
    version: String,
    connection_id: u32,
}

impl Connection {
    /// Connects and authenticates, with the default timeouts.
    pub async fn open(address: &Address) -> Result<Self, CaptureError> {
        Self::open_within(address, Timeouts::default()).await
    }

    /// Connects and authenticates.
    ///
    /// Permanent: the server does not let us in, or its certificate is not accepted. Transient: it is not there.
    pub async fn open_within(address: &Address, timeouts: Timeouts) -> Result<Self, CaptureError> {
        match timeout(timeouts.connect, Self::connect(address, timeouts)).await {
            Ok(result) => result,
            Err(_) => Err(Transient::ConnectTimeout {
                server: name(address),
                within: timeouts.connect,
            }
            .into()),
        }
    }

    async fn connect(address: &Address, timeouts: Timeouts) -> Result<Self, CaptureError> {
        let server = name(address);
        let password = address.password.expose();
        if address.user.contains('\0') || password.contains('\0') {
            return Err(Permanent::ZeroByte { server }.into());
        }
        // Before the network: a wrong CA file is an error even when the server is down.
        let config = match address.tls {
            Tls::Disabled => None,
            _ => Some(tls::config(address)?),
        };
        let unreachable = |cause| Transient::Unreachable {
            server: name(address),
            cause,
        };
        let stream = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let mut connection = Self {
            socket: Socket::Plain(stream),
            frames: Frames::new(BUFFER),
            out: Vec::new(),
            server,
            user: address.user.clone(),
            timeouts,
            version: String::new(),
            connection_id: 0,
        };
        let greeting = connection.greeting().await?;
        if let Some(config) = config {
            if greeting.capabilities.contains(CapabilityFlags::CLIENT_SSL) {
                connection.start_tls(config, address, &greeting).await?;
            } else if address.tls != Tls::Preferred {
                return Err(Permanent::TlsNotOffered {
                    server: connection.server,
                }
                .into());
            }
        }
        connection.authenticate(password, &greeting).await?;
        connection.version = greeting.version;
        connection.connection_id = greeting.connection_id;
        Ok(connection)
    }

    async fn greeting(&mut self) -> Result<Greeting, CaptureError> {
        let packet = self.packet().await?;
        let parsed = match err(packet) {
            Some(error) => Err(error),
            None => Ok(greeting::parse(packet)),
        };
        match parsed {
            Err(error) => Err(CaptureError::answered(&self.server, &self.user, error)),
            Ok(parsed) => parsed.map_err(|malformed| self.malformed(malformed)),
        }
    }

    async fn start_tls(
        &mut self,
        config: rustls::ClientConfig,
        address: &Address,
        greeting: &Greeting,
    ) -> Result<(), CaptureError> {
        let host =
            ServerName::try_from(address.host.clone()).map_err(|_| Permanent::ServerName {
                host: address.host.clone(),
            })?;
        let capabilities = greeting::settle(greeting.capabilities, true);
        self.send(&SslRequest::new(capabilities, MAX_PACKET, COLLATION))
            .await?;
        // What came in the clear before TLS must never be taken for what came through it.
        if !self.frames.is_empty() {
            return Err(self.malformed(Malformed("bytes between greeting and TLS")));
        }
        let Socket::Plain(stream) = std::mem::replace(&mut self.socket, Socket::Gone) else {
            return Err(self.malformed(Malformed("TLS inside TLS")));
        };
        let stream = TlsConnector::from(Arc::new(config))
            .connect(host, BufReader::with_capacity(TLS_BUFFER, stream))
            .await
            .map_err(|cause| self.tls_failed(cause))?;
        self.socket = Socket::Tls(Box::new(stream));
        Ok(())
    }

    fn tls_failed(&self, cause: io::Error) -> CaptureError {
        let server = self.server.clone();
        let inner = cause
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(reason)) => Permanent::Certificate {
                server,
                reason: reason.to_string(),
            }
            .into(),
            Some(
                error @ (rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_)),
            ) => Permanent::Tls {
                server,
                reason: error.to_string(),
            }
            .into(),
            _ => Transient::Broken { server, cause }.into(),
        }
    }

    async fn authenticate(
        &mut self,
        password: &str,
        greeting: &Greeting,
    ) -> Result<(), CaptureError> {
        // A server whose default is a method that we lack may still have the account under one that we have: it then switches.
        let method = Method::named(&greeting.method).unwrap_or(Method::CachingSha2);
        let mut exchange = Exchange::new(
            password,
            self.socket.is_tls(),
            method,
            greeting.nonce.clone(),
        );
        let attributes = HashMap::from([
            ("_client_name".to_owned(), "binferry".to_owned()),
            (
                "_client_version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
            ("_pid".to_owned(), std::process::id().to_string()),
            ("program_name".to_owned(), "binferry".to_owned()),
        ]);
        let response = HandshakeResponse::new(
            Some(exchange.first()),
            (8, 0, 0),
            Some(self.user.clone().into_bytes()),
            None::<Vec<u8>>,
            Some(AuthPlugin::from_bytes(method.name().as_bytes())),
            greeting::settle(greeting.capabilities, self.socket.is_tls()),
            greeting
                .capabilities
                .contains(CapabilityFlags::CLIENT_CONNECT_ATTRS)
                .then_some(attributes),
            MAX_PACKET,
        );
        self.send(&response).await?;
        loop {
            let step = exchange.step(self.packet().await?);
            match step.map_err(|refusal| self.refused(refusal))? {
                Step::Send(answer) => self.send_bytes(&answer).await?,
                Step::Wait => {}
                Step::Done => return Ok(()),
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> CaptureError {
        let server = self.server.clone();
        match refusal {
            Refusal::Server(error) => CaptureError::answered(&self.server, &self.user, error),
            Refusal::Method(method) => Permanent::AuthenticationMethod { server, method }.into(),
            Refusal::Key => Permanent::PublicKey { server }.into(),
            Refusal::PasswordTooLong => Permanent::PasswordTooLong { server }.into(),
            Refusal::Malformed(malformed) => self.malformed(malformed),
        }
    }

    /// `host:port`, for messages.
    pub fn server(&self) -> &str {
        &self.server
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// The server's version as its greeting states it, such as `8.4.6` or `9.7.4-2`.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn is_mariadb(&self) -> bool {
        Version::parse(&self.version).is_some_and(|version| version.flavour == Flavour::MariaDb)
    }

    /// The server's number of this connection.
    pub fn connection_id(&self) -> u32 {
        self.connection_id
    }

    pub fn is_encrypted(&self) -> bool {
        self.socket.is_tls()
    }

    /// Runs one statement and keeps all its rows (none for a statement without a result set): for small results.
    ///
    /// After an answer of the server (`Refused`, `Unprivileged`, …) the connection can be used again; after other errors not.
    pub async fn query(&mut self, sql: &str) -> Result<Rows, CaptureError> {
        let mut command = Vec::with_capacity(1 + sql.len());
        command.push(COM_QUERY);
        command.extend_from_slice(sql.as_bytes());
        self.command(&command).await?;
        let packet = self.packet().await?;
        if answer::is_ok(packet) {
            return Ok(Rows::default());
        }
        if let Some(error) = err(packet) {
            return Err(CaptureError::answered(&self.server, &self.user, error));
        }
        let count = answer::column_count(packet).map_err(|malformed| self.malformed(malformed))?;
        let mut result = Rows::default();
        for _ in 0..count {
            let name = answer::column_name(self.packet().await?);
            result
                .columns
                .push(name.map_err(|malformed| self.malformed(malformed))?);
        }
        if !is_eof(self.packet().await?) {
            return Err(self.malformed(Malformed("no end of the column definitions")));
        }
        let mut size = 0;
        loop {
            let packet = self.packet().await?;
            if is_eof(packet) {
                return Ok(result);
            }
            if let Some(error) = err(packet) {
                return Err(CaptureError::answered(&self.server, &self.user, error));
            }
            size += packet.len();
            let row = answer::row(packet, count);
            if size > LARGEST_RESULT {
                return Err(self.malformed(Malformed("result set too large for this connection")));
            }
            result
                .rows
                .push(row.map_err(|malformed| self.malformed(malformed))?);
        }
    }

    pub async fn ping(&mut self) -> Result<(), CaptureError> {
        self.command(&[COM_PING]).await?;
        self.ok().await
    }

    /// Says goodbye; a server that does not hear it finds out by itself.
    pub async fn close(mut self) {
        if self.command(&[COM_QUIT]).await.is_ok() {
            let _ = timeout(Duration::from_secs(1), self.socket.shutdown()).await;
        }
    }

    /// Waits for OK or ERR.
    pub(crate) async fn ok(&mut self) -> Result<(), CaptureError> {
        let packet = self.packet().await?;
        if answer::is_ok(packet) {
            return Ok(());
        }
        match err(packet) {
            Some(error) => Err(CaptureError::answered(&self.server, &self.user, error)),
            None => Err(self.malformed(Malformed("neither OK nor an error"))),
        }
    }

    /// Sends one command, from sequence 0.
    pub(crate) async fn command(&mut self, payload: &[u8]) -> Result<(), CaptureError> {
        *self.frames.sequence() = 0;
        self.send_bytes(payload).await
    }

    pub(crate) async fn command_of(
        &mut self,
        packet: &impl MySerialize,
    ) -> Result<(), CaptureError> {
        *self.frames.sequence() = 0;
        self.send(packet).await
    }

    /// From here on up to `capacity` bytes are read at once, and of the packets that are larger those that are `parted` come in parts.
    pub(crate) fn read_ahead(&mut self, capacity: usize, parted: Parted) {
        self.frames.resize(capacity);
        self.frames.part(parted);
    }

    /// Whether a whole packet, or a part of one, is here for `take`: no waiting.
    #[inline]
    pub(crate) fn ready(&mut self) -> Result<bool, CaptureError> {
        match self.frames.ready() {
            Ok(ready) => Ok(ready),
            Err(error) => Err(self.unframed(error)),
        }
    }

    /// What `take` will lend.
    #[inline]
    pub(crate) fn lends(&self) -> Lent {
        self.frames.lends()
    }

    /// The packet that `ready` announced.
    #[inline]
    pub(crate) fn take(&mut self) -> &[u8] {
        self.frames.take()
    }

    /// Waits for more bytes, at most `within`; call it when `ready` says no.
    pub(crate) async fn fill(&mut self, within: Duration) -> Result<(), CaptureError> {
        let socket = &mut self.socket;
        let read = match self.frames.room() {
            Room::Buffer(room) => timeout(within, socket.read(room)).await,
            Room::Gathered(mut room) => timeout(within, socket.read_buf(&mut room)).await,
        };
        let server = || self.server.clone();
        match read {
            Err(_) => Err(Transient::Silent {
                server: server(),
                silence: within,
            }
            .into()),
            Ok(Err(cause)) => Err(broken(server(), cause).into()),
            Ok(Ok(0)) => Err(Transient::Closed { server: server() }.into()),
            Ok(Ok(count)) => {
                self.frames.filled(count);
                Ok(())
            }
        }
    }

    async fn packet(&mut self) -> Result<&[u8], CaptureError> {
        while !self.ready()? {
            self.fill(self.timeouts.read).await?;
        }
        Ok(self.take())
    }

    async fn send(&mut self, packet: &impl MySerialize) -> Result<(), CaptureError> {
        let mut payload = Vec::new();
        packet.serialize(&mut payload);
        self.send_bytes(&payload).await
    }

    async fn send_bytes(&mut self, payload: &[u8]) -> Result<(), CaptureError> {
        self.out.clear();
        frame::encode(payload, self.frames.sequence(), &mut self.out);
        let (socket, out) = (&mut self.socket, &self.out);
        let sent = timeout(self.timeouts.read, async {
            socket.write_all(out).await?;
            socket.flush().await
        })
        .await;
        match sent {
            Err(_) => Err(Transient::Silent {
                server: self.server.clone(),
                silence: self.timeouts.read,
            }
            .into()),
            Ok(Err(cause)) => Err(broken(self.server.clone(), cause).into()),
            Ok(Ok(())) => Ok(()),
        }
    }

    fn malformed(&self, Malformed(reason): Malformed) -> CaptureError {
        Transient::Protocol {
            server: self.server.clone(),
            reason,
        }
        .into()
    }

    #[cold]
    fn unframed(&self, error: frame::FrameError) -> CaptureError {
        self.malformed(Malformed(match error {
            frame::FrameError::Sequence => "packet out of sequence",
            frame::FrameError::TooLarge => "packet over 1 GiB",
        }))
    }
}

fn name(address: &Address) -> String {
    format!("{}:{}", address.host, address.port)
}

fn broken(server: String, cause: io::Error) -> Transient {
    match cause.kind() {
        // A TLS peer that goes away without its goodbye.
        io::ErrorKind::UnexpectedEof => Transient::Closed { server },
        _ => Transient::Broken { server, cause },
    }
}
