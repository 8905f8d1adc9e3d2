//! A log, a target, and a pen to write transactions with.

use std::sync::Arc;

use anyhow::Result;
use binferry_apply::{Applier, ApplyError, Options, Outcome, Progress};
use binferry_schemas::{
    address::Address,
    datum::{self, Value},
    fingerprint::Fingerprint,
    gtid::{Gtid, GtidSet, Tag, Uuid},
    record::{
        Body, Change, ChangesBuffer, Ddl, DdlEffect, ForeignKeys, Image, Offset, Operation, Replay,
        Start, TableRef, Transaction, WriteSet,
    },
    row::{Column, ColumnType, KeyPart, RowSchema, Width},
};
use binferry_servers::{MySql, Release};
use binferry_transport::{
    embedded::EmbeddedLog,
    log::{Log, Retention},
    session::{Session, SessionOptions},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Tests that take the target's release, each once on MySQL and once on MariaDB.
macro_rules! on_each_server {
    ($($test:ident)+) => {
        mod mysql {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() -> anyhow::Result<()> {
                super::$test(binferry_servers::Release::MySql).await
            })+
        }

        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() -> anyhow::Result<()> {
                super::$test(binferry_servers::Release::MariaDb11_8).await
            })+
        }
    };
}
pub(crate) use on_each_server;

pub const INT: ColumnType = ColumnType::Integer {
    width: Width::Int,
    unsigned: false,
};

/// VARCHAR(20) in utf8mb4.
pub const TEXT: ColumnType = ColumnType::VarChar {
    bytes: 80,
    collation: 255,
};

pub struct Stage {
    pub server: &'static MySql,
    pub database: String,
    pub log: Arc<dyn Log>,
    pub written: GtidSet,
    /// The newest record is no transaction.
    open_end: bool,
    /// `None` only while it is replaced.
    session: Option<Session>,
    uuid: Uuid,
    next: u64,
    _folder: tempfile::TempDir,
}

/// A table of the source.
#[derive(Clone)]
pub struct Table {
    pub schema: RowSchema,
    reference: TableRef,
}

pub type Row<'a> = Vec<Value<'a>>;

/// One change of a table.
pub enum Do<'a> {
    Insert(Row<'a>),
    Update(Row<'a>, Row<'a>),
    Delete(Row<'a>),
}

/// A column; `key`: its place in the primary key.
pub fn column(name: &str, ty: ColumnType, key: Option<u16>) -> Column {
    Column {
        name: name.into(),
        ty,
        nullable: key.is_none(),
        visible: true,
        key: key.map(|position| KeyPart {
            position,
            prefix: 0,
        }),
    }
}

pub fn address(server: &MySql) -> Address {
    let mut address: Address = format!("{}/?tls=disabled", server.url(server.admin_user()))
        .parse()
        .expect("an address");
    address.password = binferry_schemas::address::Secret::new(server.admin_password());
    address
}

impl Table {
    pub fn reference(&self) -> &TableRef {
        &self.reference
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.reference.schema
    }

    /// The table as it is changed in a session with `foreign_key_checks = 0`.
    pub fn unchecked(&self) -> Self {
        let mut table = self.clone();
        table.reference.foreign_keys = ForeignKeys::Unchecked;
        table
    }
}

impl Stage {
    /// On the shared MySQL.
    pub async fn new(purpose: &str) -> Result<Self> {
        Self::of(Release::MySql, purpose).await
    }

    /// On a shared server.
    pub async fn of(release: Release, purpose: &str) -> Result<Self> {
        let server = match release {
            Release::MySql => &binferry_servers::pair()?.target,
            mariadb => binferry_servers::mariadb(mariadb)?,
        };
        let database = binferry_servers::database([server], purpose)?;
        Self::on(server, database).await
    }

    pub async fn on(server: &'static MySql, database: String) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::create_or_open(folder.path())?);
        let uuid = Uuid::new_v4();
        let session = Some(start(&log, uuid).await?);
        Ok(Self {
            server,
            database,
            log,
            written: GtidSet::new(),
            open_end: false,
            session,
            uuid,
            next: 1,
            _folder: folder,
        })
    }

    /// Runs statements on the target, in the stage's database.
    pub fn sql(&self, statements: &str) -> String {
        self.server
            .sql(&format!(
                "SET time_zone = '+00:00', sql_mode = ''; USE `{}`; {statements}",
                self.database
            ))
            .expect(statements)
    }

    pub async fn table(&self, name: &str, columns: Vec<Column>) -> Result<Table> {
        let schema = RowSchema {
            database: self.database.clone(),
            table: name.into(),
            columns,
        };
        let (text, fingerprint) = schema.to_avro();
        self.log.put_schema(fingerprint, &text).await?;
        Ok(Table {
            reference: TableRef {
                database: schema.database.clone(),
                table: schema.table.clone(),
                schema: fingerprint,
                foreign_keys: ForeignKeys::default(),
            },
            schema,
        })
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("a session")
    }

    fn transaction(&mut self) -> Transaction {
        let gtid = Gtid {
            uuid: self.uuid,
            tag: Tag::default(),
            gno: self.next,
        };
        self.next += 1;
        self.written.insert(gtid);
        Transaction {
            gtid,
            original_commit_us: 1_700_000_000_000_000,
            immediate_commit_us: 1_700_000_000_000_000,
            last_committed: 0,
            sequence_number: 0,
            seen: None,
            file: "binlog.000001".into(),
            position: 4,
            chunk: 0,
            last: true,
            xa_end: None,
        }
    }

    pub async fn commit(&mut self, table: &Table, changes: &[Do<'_>]) -> Result<Gtid> {
        let changes: Vec<(&Table, &Do<'_>)> =
            changes.iter().map(|change| (table, change)).collect();
        self.commit_chunks(&[changes]).await
    }

    /// A transaction in several chunks.
    pub async fn commit_chunks(&mut self, chunks: &[Vec<(&Table, &Do<'_>)>]) -> Result<Gtid> {
        self.chunks(chunks, true).await
    }

    /// Chunks of a transaction that never ends.
    pub async fn commit_open(&mut self, chunks: &[Vec<(&Table, &Do<'_>)>]) -> Result<()> {
        let gtid = self.chunks(chunks, false).await?;
        self.written.remove(&gtid);
        Ok(())
    }

    async fn chunks(&mut self, chunks: &[Vec<(&Table, &Do<'_>)>], ends: bool) -> Result<Gtid> {
        let transaction = self.transaction();
        for (at, changes) in chunks.iter().enumerate() {
            let mut tables: Vec<TableRef> = Vec::new();
            let mut buffer = ChangesBuffer::new();
            for (table, change) in changes {
                let index = tables.iter().position(|other| *other == table.reference);
                let index = index.unwrap_or_else(|| {
                    tables.push(table.reference.clone());
                    tables.len() - 1
                });
                push(&mut buffer, index as u32, table, change);
            }
            let body = Body::WriteSet(WriteSet {
                transaction: Transaction {
                    chunk: at as u32,
                    last: ends && at + 1 == chunks.len(),
                    ..transaction.clone()
                },
                tables,
                changes: buffer.as_changes(),
            });
            self.session().append(body).await?;
        }
        Ok(transaction.gtid)
    }

    pub async fn ddl(&mut self, statement: &str, effect: DdlEffect, table: &str) -> Result<Gtid> {
        self.ddl_of(statement, effect, &[table], None).await
    }

    pub async fn rename(&mut self, statement: &str, pairs: &[(&str, &str)]) -> Result<Gtid> {
        let tables: Vec<_> = pairs.iter().flat_map(|(from, to)| [*from, *to]).collect();
        self.replayed(statement, DdlEffect::Rename, &tables).await
    }

    /// With what it takes to run it.
    pub async fn replayed(
        &mut self,
        statement: &str,
        effect: DdlEffect,
        tables: &[&str],
    ) -> Result<Gtid> {
        let replay = Some(Box::default());
        self.ddl_of(statement, effect, tables, replay).await
    }

    async fn ddl_of(
        &mut self,
        statement: &str,
        effect: DdlEffect,
        tables: &[&str],
        replay: Option<Box<Replay>>,
    ) -> Result<Gtid> {
        let transaction = self.transaction();
        let gtid = transaction.gtid;
        let ddl = Ddl {
            transaction,
            statement: statement.into(),
            database: self.database.clone(),
            sql_mode: 0,
            collations: [255; 3],
            time_zone: "+00:00".into(),
            effect,
            tables: (tables.iter())
                .map(|table| (self.database.clone(), (*table).to_owned()))
                .collect(),
            replay,
        };
        self.session().append(Body::Ddl(ddl)).await?;
        Ok(gtid)
    }

    /// A record that is not a transaction.
    pub async fn append(&mut self, body: Body<'_>) -> Result<()> {
        self.session().append(body).await?;
        self.open_end = true;
        Ok(())
    }

    pub async fn flush(&mut self) -> Result<()> {
        self.session().flush().await?;
        Ok(())
    }

    /// The capture dies and starts again: what was open is void.
    pub async fn restart_capture(&mut self) -> Result<()> {
        self.session().flush().await?;
        // The log's writer goes with the session.
        drop(self.session.take());
        self.session = Some(start(&self.log, self.uuid).await?);
        Ok(())
    }

    /// The capture states the fold, so that the log can be read from here on.
    pub async fn checkpoint(&mut self) -> Result<()> {
        let session = self.session.take().expect("a session");
        session.close().await?;
        self.session = Some(start(&self.log, self.uuid).await?);
        Ok(())
    }

    /// The source's last transactions will be written once more.
    pub fn rewind(&mut self, transactions: u64) {
        self.next -= transactions;
    }

    /// The log's retention, behind the newest checkpoint: to be called after `checkpoint`.
    pub async fn expire(&mut self) -> Result<()> {
        drop(self.session.take());
        let bytes = Some(1);
        let retention = Retention { bytes, age: None };
        let end = self.log.bounds().await?.end;
        let mut writer = self.log.writer().await?;
        writer.expire(retention, Offset(end.0 - 2)).await?;
        drop(writer);
        self.session = Some(start(&self.log, self.uuid).await?);
        Ok(())
    }

    /// Goes on with another log: the captures write there from now on.
    pub async fn promote(&mut self, log: Arc<dyn Log>) -> Result<()> {
        self.flush().await?;
        drop(self.session.take());
        self.log = log;
        self.session = Some(start(&self.log, self.uuid).await?);
        Ok(())
    }

    pub fn options(&self) -> Options {
        let mut options = Options::new(address(self.server), Arc::clone(&self.log));
        options.stream = self.database.clone();
        options
    }

    /// Applies everything written so far.
    pub async fn apply(&mut self) -> Result<Progress, ApplyError> {
        let options = self.options();
        self.apply_with(options).await
    }

    pub async fn apply_with(&mut self, options: Options) -> Result<Progress, ApplyError> {
        if std::mem::take(&mut self.open_end) {
            // Rows of copies have no GTID to wait for: a transaction behind them has.
            let nothing = self.chunks(&[Vec::new()], true).await;
            nothing.expect("a transaction without changes");
        }
        self.session().flush().await?;
        let applier = Applier::connect(options).await?;
        let (sender, receiver) = watch::channel(Progress::default());
        let until = self.written.clone().into();
        let run = applier.run(Some(until), CancellationToken::new(), sender);
        let outcome = tokio::time::timeout(std::time::Duration::from_secs(120), run)
            .await
            .expect("the applier ends")?;
        assert_eq!(outcome, Outcome::Reached);
        let progress = receiver.borrow().clone();
        Ok(progress)
    }

    /// GTIDs that the target says are applied.
    pub fn applied(&self) -> String {
        self.sql(&format!(
            "SELECT gtid_set FROM binferry.progress WHERE stream = '{}' ORDER BY log_offset DESC LIMIT 1",
            self.database
        ))
    }
}

async fn start(log: &Arc<dyn Log>, server: Uuid) -> Result<Session> {
    let start = Start {
        site: "main".into(),
        server,
        filter: "*.*,!*.elsewhere".into(),
        base: GtidSet::new(),
        version: "test".into(),
        job: None,
    };
    Ok(Session::start(Arc::clone(log), start, SessionOptions::default()).await?)
}

pub fn encode(table: &Table, row: &[Value<'_>]) -> Vec<u8> {
    assert_eq!(row.len(), table.schema.columns.len());
    let mut out = Vec::new();
    for (column, value) in table.schema.columns.iter().zip(row) {
        datum::put(&mut out, &column.ty, value).expect("a value of the column's type");
    }
    out
}

fn push(buffer: &mut ChangesBuffer, index: u32, table: &Table, change: &Do<'_>) {
    let (operation, before, after) = match change {
        Do::Insert(after) => (Operation::Insert, None, Some(after)),
        Do::Update(before, after) => (Operation::Update, Some(before), Some(after)),
        Do::Delete(before) => (Operation::Delete, Some(before), None),
    };
    let before = before.map(|row| encode(table, row));
    let after = after.map(|row| encode(table, row));
    buffer.push(&Change {
        table: index,
        operation,
        before: before.as_ref().map(|datum| Image {
            present: None,
            datum,
        }),
        after: after.as_ref().map(|datum| Image {
            present: None,
            datum,
        }),
        more: false,
    });
}
