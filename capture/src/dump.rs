//! The binlog, by GTID set: asks a source for everything that we do not have, and yields its events, verified.
//!
//! What is asked for: session variables (checksums, heartbeats, our UUID), COM_REGISTER_SLAVE, COM_BINLOG_DUMP_GTID. What comes
//! is one packet an event, `00 | event`, without end:
//!
//! ```text
//! COM_REGISTER_SLAVE    15 | server_id u32 | host u8 bytes | user u8 bytes | password u8 bytes | port u16 | 0 u32 | 0 u32
//! COM_BINLOG_DUMP_GTID  1E | flags u16 | server_id u32 | name length u32 | name | position u64 | set length u32 | set
//! ```
//!
//! MariaDB has no dump by set, but one by position, a GTID of each domain. It stands in a session variable:
//!
//! ```text
//! COM_BINLOG_DUMP       12 | position u32 | flags u16 | server_id u32 | name                  (no name: @slave_connect_state)
//! ```
//!
//! The set is the one and only position: the server finds the file. Every event is handed out, also those that the caller has no
//! use for or does not know; what to do about an unknown one is the caller's policy. An event is held whole, with one exception: a
//! TRANSACTION_PAYLOAD that is larger than the buffer comes in parts ([`Event::more`]), and its checksum is verified before the last.
//!
//! Failure: nothing is repaired here. After any error the dump is over, and the caller begins another one from what its log holds.
//! The source sends a heartbeat when it has nothing else; three periods without a byte mean that it is gone.

mod event;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod identity;
mod refusal;

use std::time::Duration;

use binferry_schemas::gtid::{GtidSet, Uuid};
use mysql_common::packets::ComRegisterSlave;

use crate::client::{Connection, Lent, Parted, err, is_eof};
use crate::error::{CaptureError, Permanent, Transient};

pub(crate) use event::{
    Checksums, FLAG_ARTIFICIAL, FLAG_IGNORABLE, FLAG_IN_USE, FLAG_RELAY_LOG, HEADER, Opener,
};
pub use event::{Event, FORMAT_DESCRIPTION, HEARTBEAT, HEARTBEAT_V2, ROTATE, TRANSACTION_PAYLOAD};
pub use identity::choose_server_id;
pub(crate) use identity::replicas;

const COM_BINLOG_DUMP_GTID: u8 = 0x1E;
const COM_BINLOG_DUMP: u8 = 0x12;
/// MariaDB: send the statements that row events come from, too. They are passed over; without them it makes up events in their place.
const ANNOTATE_ROWS: u16 = 0x02;
const THROUGH_GTID: u16 = 0x04;
/// End with EOF when there are no more events, instead of waiting for them.
const NON_BLOCK: u16 = 0x01;
/// The first position of a file: what stands before it is its magic number.
const START: u64 = 4;
/// Read at once.
const BUFFER: usize = 1 << 20;
const PATIENCE: u32 = 3;
/// Seconds for which the source waits while nothing is read here: all rows of a table without a key may have to come first, or the log
/// takes no records for a while. Its default, a minute, would end the dump, and with it the copy.
const WRITE_TIMEOUT: u32 = 86_400;
/// A packet's marker and the header of a transaction payload, which may be a gibibyte long.
const PARTED: Parted = Parted {
    look: 1 + event::HEADER,
    is: |first| first[0] == 0 && first[5] == TRANSACTION_PAYLOAD,
};

/// What to ask a source for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// From [`choose_server_id`].
    pub server_id: u32,
    /// Stable for the log: a newer dump with the same UUID ends an older one.
    pub replica_uuid: Uuid,
    /// What we have; everything else is sent.
    pub executed: &'a GtidSet,
    /// How often the source speaks when it has nothing to say, at least 1 ms.
    pub heartbeat: Duration,
    /// Follow the binlog (the usual), or end with [`Transient::DumpEnded`] at its present end.
    pub follow: bool,
}

/// A dump in progress.
#[derive(Debug)]
pub struct Dump {
    connection: Connection,
    opener: Opener,
    patience: Duration,
    server: String,
    user: String,
}

impl Dump {
    /// Asks for the dump, on a connection that it keeps. Needs REPLICATION SLAVE.
    ///
    /// The source's refusals (purged GTIDs and so on) come with the first events, not here.
    pub async fn start(
        mut connection: Connection,
        request: &Request<'_>,
    ) -> Result<Self, CaptureError> {
        let heartbeat = request.heartbeat.max(Duration::from_millis(1));
        let (period, uuid) = (heartbeat.as_nanos(), request.replica_uuid);
        let mariadb = connection.is_mariadb();
        // Not strict: the number before the newest, which a check of the history asks for, need not have been used.
        let variables = match mariadb {
            true => format!(
                "SET @mariadb_slave_capability = 4, @master_binlog_checksum = 'CRC32', @master_heartbeat_period = {period}, \
                 @slave_connect_state = '{}', @slave_gtid_strict_mode = 0, @slave_gtid_ignore_duplicates = 0, \
                 SESSION net_write_timeout = {WRITE_TIMEOUT}",
                connect_state(&connection, request.executed)?
            ),
            false => format!(
                "SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32', \
                 @source_heartbeat_period = {period}, @master_heartbeat_period = {period}, \
                 @replica_uuid = '{uuid}', @slave_uuid = '{uuid}', SESSION net_write_timeout = {WRITE_TIMEOUT}"
            ),
        };
        connection.query(&variables).await?;
        connection
            .command_of(&ComRegisterSlave::new(request.server_id))
            .await?;
        connection.ok().await.map_err(unprivileged)?;
        connection.read_ahead(BUFFER, PARTED);
        let ask = if mariadb { ask_mariadb } else { ask };
        connection.command(&ask(request)).await?;
        Ok(Self {
            opener: Opener::new(),
            patience: heartbeat * PATIENCE,
            server: connection.server().to_owned(),
            user: connection.user().to_owned(),
            connection,
        })
    }

    /// The next event, when it lies whole in the buffer: no waiting. `None`: call [`fill`](Self::fill).
    #[inline]
    pub fn buffered(&mut self) -> Result<Option<Event<'_>>, CaptureError> {
        match self.connection.ready()? {
            true => self.lent().map(Some),
            false => Ok(None),
        }
    }

    #[inline]
    fn lent(&mut self) -> Result<Event<'_>, CaptureError> {
        match (self.connection.lends(), self.connection.take()) {
            (Lent::Packet, [0, event @ ..]) => Ok(self.opener.open(event)?),
            (Lent::Packet, other) => Err(end(&self.server, &self.user, other)),
            (lent, part) => {
                // The packet's marker, which PARTED has seen.
                let marker = usize::from(!self.opener.is_parted());
                let part = part.get(marker..).unwrap_or_default();
                Ok(self.opener.part(part, lent == Lent::Part)?)
            }
        }
    }

    /// Waits for more bytes. Dropping the future loses nothing.
    ///
    /// Transient: the source was silent for three heartbeats, or the connection broke.
    pub async fn fill(&mut self) -> Result<(), CaptureError> {
        self.connection.fill(self.patience).await
    }

    /// The next event, waited for. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Event<'_>, CaptureError> {
        while !self.connection.ready()? {
            self.fill().await?;
        }
        self.lent()
    }

    /// The source's binlog file that the last event was in; empty before the first event.
    pub fn file(&self) -> &str {
        self.opener.file()
    }

    /// Whether the present file's events carry checksums (all of them are then verified).
    pub fn checksummed(&self) -> bool {
        self.opener.checksums() == Checksums::Crc32
    }
}

/// To a replica without the privilege the server answers as to a wrong password (1045).
fn unprivileged(error: CaptureError) -> CaptureError {
    match error {
        CaptureError::Permanent(Permanent::Denied {
            server,
            user,
            error,
        }) => Permanent::Unprivileged {
            server,
            user,
            error,
        }
        .into(),
        other => other,
    }
}

fn ask(request: &Request<'_>) -> Vec<u8> {
    let set = request.executed.encode();
    let flags = THROUGH_GTID | if request.follow { 0 } else { NON_BLOCK };
    let mut out = vec![COM_BINLOG_DUMP_GTID];
    out.extend(flags.to_le_bytes());
    out.extend(request.server_id.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    out.extend(START.to_le_bytes());
    out.extend((set.len() as u32).to_le_bytes());
    out.extend(set);
    out
}

fn ask_mariadb(request: &Request<'_>) -> Vec<u8> {
    let flags = ANNOTATE_ROWS | if request.follow { 0 } else { NON_BLOCK };
    let mut out = vec![COM_BINLOG_DUMP];
    out.extend((START as u32).to_le_bytes());
    out.extend(flags.to_le_bytes());
    out.extend(request.server_id.to_le_bytes());
    out
}

/// MariaDB's form of a set that begins at the beginning of each domain.
fn connect_state(connection: &Connection, executed: &GtidSet) -> Result<String, Permanent> {
    if executed.has_sources() {
        return Err(Permanent::ErrantUnnamed {
            server: connection.server().to_owned(),
            message: "the log holds MySQL's, and this is a MariaDB server".to_owned(),
        });
    }
    let gtids: Vec<_> = executed
        .domains()
        .map(|(domain, range)| format!("{domain}-{}-{}", range.server, range.end))
        .collect();
    Ok(gtids.join(","))
}

#[cold]
fn end(server: &str, user: &str, packet: &[u8]) -> CaptureError {
    if is_eof(packet) {
        return Transient::DumpEnded {
            server: server.to_owned(),
        }
        .into();
    }
    match err(packet) {
        Some(error) => refusal::typed(server, user, error),
        None => Permanent::Event {
            file: "the dump".to_owned(),
            type_code: 0,
            length: packet.len(),
            reason: "its packet is neither event, error nor end",
        }
        .into(),
    }
}
