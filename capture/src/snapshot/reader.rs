//! One connection that reads: windows, definitions, and rows out of consistent snapshots. It takes no lock and writes nothing: its
//! transactions are READ ONLY.

use std::{sync::Arc, time::Duration};

use binferry_schemas::{
    address::Address,
    gtid::{GtidSet, Uuid},
};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{
    definition::{Definition, Name},
    desk::{Batch, Closed, Content, Opened, Order, Verdict},
    dialect::Dialect,
    error::SnapshotError,
    keys::KeyLayout,
    mariadb,
    ranges::{self, RowBuffer},
    sql,
    window::What,
};
use crate::{
    client::{Connection, Rows},
    decode::{LIST_MAX, Selected},
    error::{CaptureError, Permanent, Transient},
};

/// How long the server's set is waited for: a transaction is sent to replicas a moment before it is in there.
const SETTLE: (Duration, u32) = (Duration::from_millis(5), 2_000);
/// Primary keys that the server has generated are in the binlog like any other, whatever the information schema shows (from 8.0.30 on).
const SHOW_GENERATED_KEYS: &str =
    "SET SESSION show_gipk_in_create_table_and_information_schema = ON";
/// ER_PARSE_ERROR, ER_UNKNOWN_SYSTEM_VARIABLE.
const UNKNOWN_STATEMENT: u16 = 1064;
const UNKNOWN_VARIABLE: u16 = 1193;
/// Rows that the snapshot can't show under the definition that was read (manual, "Server Error Message Reference"): no database, no table,
/// no column, no index, or a definition that is newer than the snapshot.
const REDEFINED: [u16; 6] = [1049, 1146, 1054, 1176, 1412, 1615];
/// Somebody has the table locked, or changes its definition (ER_LOCK_WAIT_TIMEOUT). Nothing is to wait for that: not the stream, which a
/// reader may be holding, and not the statements that queue up behind it.
pub(super) const LOCKED: u16 = 1205;
/// A batch of rows is at most about this much; one row more may come.
pub(super) const BATCH: usize = 768 * 1024;
/// Rows beyond a batch that are still read, before the connection is given up for it.
const DRAIN: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Reader {
    address: Address,
    server_uuid: Uuid,
    connection: Connection,
    dialect: Dialect,
    desk: mpsc::Sender<Order>,
    /// That it waits for XA transactions.
    told: bool,
}

/// What came of a look at a table.
#[derive(Debug)]
pub(super) enum Read<T> {
    Rows(T),
    /// The definition is not the one that was read.
    Redefined,
    /// It is locked, or what the snapshot has to show is still being committed.
    NotNow,
}

impl Reader {
    pub async fn open(
        address: &Address,
        server_uuid: Uuid,
        desk: mpsc::Sender<Order>,
    ) -> Result<Self, CaptureError> {
        let connection = connect(address, server_uuid).await?;
        Ok(Self {
            dialect: Dialect::of(&connection),
            connection,
            address: address.clone(),
            server_uuid,
            desk,
            told: false,
        })
    }

    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// After rows were left unread.
    async fn reconnect(&mut self) -> Result<(), CaptureError> {
        self.connection = connect(&self.address, self.server_uuid).await?;
        self.dialect = Dialect::of(&self.connection);
        Ok(())
    }

    pub async fn order(&self, order: Order) -> Result<(), CaptureError> {
        self.desk
            .send(order)
            .await
            .map_err(|_| SnapshotError::Ended.into())
    }

    /// Opens a window, and answers with the open set: it holds all that the stream has passed.
    pub async fn window(
        &mut self,
        what: What,
        table: Option<Name>,
    ) -> Result<(Opened, GtidSet), CaptureError> {
        let (reply, opened) = oneshot::channel();
        self.order(Order::Open {
            what,
            table,
            prepared: self.dialect != Dialect::MySql,
            reply,
        })
        .await?;
        let opened = opened.await.map_err(|_| SnapshotError::Ended)?;
        for _ in 0..SETTLE.1 {
            let held = self.connection.query(self.dialect.held()).await?;
            let held: GtidSet = held
                .single()
                .unwrap_or_default()
                .parse()
                .map_err(|_| protocol(&self.connection, "what it holds is no GTID set"))?;
            if held.contains_set(&opened.passed) {
                return Ok((opened, held));
            }
            tokio::time::sleep(SETTLE.0).await;
        }
        Err(Transient::AnotherServer {
            server: self.connection.server().to_owned(),
        }
        .into())
    }

    /// Where the binlog ends. Needs REPLICATION CLIENT, BINLOG MONITOR on MariaDB.
    async fn end_of_binlog(&mut self) -> Result<(String, u64), CaptureError> {
        let mut status = Rows::default();
        for sql in self.dialect.end_of_binlog() {
            status = match self.connection.query(sql).await {
                Err(CaptureError::Permanent(Permanent::Refused { error, .. }))
                    if error.code == UNKNOWN_STATEMENT =>
                {
                    continue;
                }
                other => other?,
            };
            break;
        }
        let position = status.value(0, "Position").and_then(|p| p.parse().ok());
        (status.value(0, "File").zip(position))
            .ok_or_else(|| protocol(&self.connection, "no binlog position"))
    }

    pub async fn close(&mut self, open: GtidSet) -> Result<Closed, CaptureError> {
        let (file, position) = self.end_of_binlog().await?;
        Ok(Closed {
            open,
            file,
            position,
        })
    }

    /// Hands in, and waits for what the stream says.
    pub async fn submit(
        &self,
        window: u64,
        closed: Closed,
        content: Content,
    ) -> Result<Verdict, CaptureError> {
        let verdict = self.hand_in(window, closed, content).await?;
        Ok(verdict.await.map_err(|_| SnapshotError::Ended)?)
    }

    /// How many of the source's threads are at work, this one among them.
    pub async fn threads_running(&mut self) -> Result<u64, CaptureError> {
        let rows = self
            .connection
            .query("SHOW GLOBAL STATUS LIKE 'Threads_running'")
            .await?;
        let running = rows.value(0, "Value").and_then(|value| value.parse().ok());
        running.ok_or_else(|| protocol(&self.connection, "no Threads_running"))
    }

    pub async fn hand_in(
        &self,
        window: u64,
        closed: Closed,
        content: Content,
    ) -> Result<oneshot::Receiver<Verdict>, CaptureError> {
        let (reply, verdict) = oneshot::channel();
        self.order(Order::Close {
            window,
            closed,
            content,
            reply,
        })
        .await?;
        Ok(verdict)
    }

    /// Opens a snapshot, and has the table's definition stand still in it: a definition statement that came before is in the binlog before
    /// the close, one that comes later waits for our transaction.
    pub async fn snapshot(
        &mut self,
        definition: &Definition,
        opened: &Opened,
        open: GtidSet,
    ) -> Result<Read<Closed>, CaptureError> {
        if !self.shows(opened).await? {
            return Ok(Read::NotNow);
        }
        let touch = format!(
            "SELECT 1 FROM {}.{} LIMIT 1",
            sql::quoted(&definition.schema.database),
            sql::quoted(&definition.schema.table)
        );
        match self.connection.query(&touch).await {
            Ok(_) => Ok(Read::Rows(self.close(open).await?)),
            Err(error) => self.refused(error).await,
        }
    }

    /// Opens a snapshot that shows all that the open set had when it was read; false: there is none yet.
    async fn shows(&mut self, opened: &Opened) -> Result<bool, CaptureError> {
        match self.dialect {
            Dialect::MySql => self.connection.query(sql::SNAPSHOT).await.map(|_| true),
            Dialect::MariaDb { .. } => {
                let end = self.end_of_binlog().await?;
                if !mariadb::xa_is_shown(&mut self.connection, &opened.prepared).await? {
                    if !std::mem::replace(&mut self.told, true) {
                        warn!(
                            "the copy waits for XA transactions that are prepared on the source and not in what the stream has read (XA RECOVER lists them)"
                        );
                    }
                    return Ok(false);
                }
                mariadb::snapshot(&mut self.connection, &end).await
            }
        }
    }

    /// After a statement that the server has refused: what that says of the table.
    async fn refused<T>(&mut self, error: CaptureError) -> Result<Read<T>, CaptureError> {
        let read = match is_locked(&error) {
            true => Read::NotNow,
            false if is_redefined(&error) => Read::Redefined,
            false => return Err(error),
        };
        self.done().await?;
        Ok(read)
    }

    pub async fn done(&mut self) -> Result<(), CaptureError> {
        self.connection.query("COMMIT").await.map(drop)
    }

    /// Rows behind `lower` out of the open snapshot, which ends with it: at most `limit`, and about as many as a batch holds. Whether there
    /// are more behind them.
    pub async fn rows(
        &mut self,
        definition: &Definition,
        layout: &Arc<KeyLayout>,
        lower: Option<&[u8]>,
        limit: u64,
    ) -> Result<Read<(RowBuffer, bool)>, CaptureError> {
        let refuse = |problem| SnapshotError::Resume {
            database: definition.schema.database.clone(),
            table: definition.schema.table.clone(),
            problem,
        };
        let values = match lower {
            None => None,
            Some(lower) => Some(
                sql::key_values(layout.key_schema(), lower)
                    .ok_or_else(|| refuse("the log's last key is not one of the table's"))?,
            ),
        };
        let sql = sql::select(definition, values.as_deref(), limit)
            .ok_or_else(|| refuse("the log's last key can't be written in SQL"))?;
        let selected = Selected::new(&definition.schema);
        let selecting = match self.connection.select(&sql).await {
            Ok(selecting) => selecting,
            Err(error) => return self.refused(error).await,
        };
        let mut buffer = RowBuffer::default();
        let (mut read, mut beyond) = (0_u64, 0);
        loop {
            let row = match self.connection.row(&selecting).await {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => return self.refused(error).await,
            };
            read += 1;
            if beyond > 0 || buffer.bytes() > BATCH {
                beyond += row.len();
                if beyond > DRAIN {
                    self.reconnect().await?;
                    return Ok(Read::Rows((buffer, true)));
                }
                continue;
            }
            push(
                &mut buffer,
                definition,
                layout,
                &selected,
                &selecting.columns,
                row,
            )?;
        }
        self.done().await?;
        Ok(Read::Rows((buffer, read == limit || beyond > 0)))
    }

    /// All rows out of the open snapshot, batch by batch, to `into`; answers when it has gone.
    pub async fn whole(
        &mut self,
        definition: &Definition,
        layout: &Arc<KeyLayout>,
        copy: Uuid,
        into: &mpsc::Sender<Batch>,
        mut tell: impl FnMut(u64),
    ) -> Result<Read<()>, CaptureError> {
        let sql = sql::select(definition, None, 0).ok_or(SnapshotError::Ended)?;
        let selected = Selected::new(&definition.schema);
        let selecting = match self.connection.select(&sql).await {
            Ok(selecting) => selecting,
            Err(error) => return self.refused(error).await,
        };
        let (mut buffer, mut rows) = (RowBuffer::default(), 0);
        let batch = |buffer| {
            Batch::Rows(ranges::Rows {
                copy,
                layout: layout.clone(),
                chunk: 0,
                lower: None,
                upper: None,
                buffer,
            })
        };
        let mut first = true;
        loop {
            let row = match self.connection.row(&selecting).await {
                Ok(Some(row)) => row,
                Ok(None) => break,
                // A statement between the snapshot and the touch shows here; none can come later.
                Err(error) if first => return self.refused(error).await,
                Err(error) => return Err(error),
            };
            first = false;
            push(
                &mut buffer,
                definition,
                layout,
                &selected,
                &selecting.columns,
                row,
            )?;
            if buffer.bytes() > BATCH {
                rows += buffer.len() as u64;
                if into.send(batch(std::mem::take(&mut buffer))).await.is_err() {
                    self.reconnect().await?;
                    return Ok(Read::Rows(()));
                }
                tell(rows);
            }
        }
        // It has gone when the window was spoiled.
        let _ = into.send(batch(buffer)).await;
        let _ = into.send(Batch::End).await;
        self.done().await?;
        Ok(Read::Rows(()))
    }
}

fn push(
    buffer: &mut RowBuffer,
    definition: &Definition,
    layout: &KeyLayout,
    selected: &Selected,
    columns: &[crate::client::WireColumn],
    row: &[u8],
) -> Result<(), CaptureError> {
    let refuse = |problem: String| SnapshotError::Table {
        database: definition.schema.database.clone(),
        table: definition.schema.table.clone(),
        problem,
    };
    let pushed = buffer.push(
        |key, datum| layout.put(key, datum),
        |out| {
            let row = selected.row(columns, row, out);
            row.map_err(|flaw| refuse(flaw.describe(&definition.schema)))
        },
    )?;
    match pushed {
        true => Ok(()),
        false => Err(refuse("a row of it has no key".to_owned()).into()),
    }
}

/// A connection in which what a SELECT gives means the same as on every other.
pub(super) async fn session(address: &Address) -> Result<Connection, CaptureError> {
    let mut connection = Connection::open(address).await?;
    let dialect = Dialect::of(&connection);
    for sql in dialect.session() {
        connection.query(sql).await?;
    }
    if dialect == Dialect::MySql {
        let lists = format!("SET SESSION group_concat_max_len = {LIST_MAX}");
        connection.query(&lists).await?;
        match connection.query(SHOW_GENERATED_KEYS).await {
            // An older server makes none.
            Err(CaptureError::Permanent(Permanent::Refused { error, .. }))
                if error.code == UNKNOWN_VARIABLE => {}
            other => drop(other?),
        }
    }
    Ok(connection)
}

async fn connect(address: &Address, server_uuid: Uuid) -> Result<Connection, CaptureError> {
    let mut connection = session(address).await?;
    let dialect = Dialect::of(&connection);
    // Behind one address may be several servers.
    let who = connection.query(dialect.who()).await?.single();
    if who.and_then(|who| dialect.identity(&who)) != Some(server_uuid) {
        return Err(Transient::AnotherServer {
            server: connection.server().to_owned(),
        }
        .into());
    }
    Ok(connection)
}

pub(super) fn protocol(connection: &Connection, reason: &'static str) -> CaptureError {
    Transient::Protocol {
        server: connection.server().to_owned(),
        reason,
    }
    .into()
}

/// See [`LOCKED`].
pub(super) fn is_locked(error: &CaptureError) -> bool {
    match error {
        CaptureError::Transient(Transient::Unavailable { error, .. }) => error.code == LOCKED,
        CaptureError::Permanent(Permanent::Refused { error, .. }) => error.code == LOCKED,
        _ => false,
    }
}

pub(super) fn is_redefined(error: &CaptureError) -> bool {
    match error {
        CaptureError::Permanent(Permanent::Refused { error, .. }) => {
            REDEFINED.contains(&error.code)
        }
        _ => false,
    }
}
