//! A session with one of the two servers.

use std::{collections::HashMap, time::Duration};

use binferry_schemas::{address::Address, filter::TableFilter, gtid::GtidSet};
use mysql_async::{Row, Value, prelude::Queryable};

use super::{
    Side,
    error::DiffError,
    pair::Pair,
    sql::{self, Key},
};
use crate::{
    connection::{self, Target, from_mysql},
    dialect::Dialect,
    error::{ApplyError, TableName},
    progress::{self, TargetProgress},
    target::{catalog, table::TargetTable},
};

const DOING: &str = "comparing tables";
/// While one server works, the session with the other may say nothing for long.
const WAIT_TIMEOUT: u32 = 28_800;
const GOODBYE: Duration = Duration::from_secs(2);

/// SHA-256, or the number of equal rows.
pub type Digest = [u8; 32];

#[derive(Debug)]
pub struct Server {
    pub side: Side,
    target: Target,
}

impl Server {
    pub async fn open(side: Side, address: &Address) -> Result<Self, DiffError> {
        let fail = |error| DiffError::Server {
            side,
            source: Box::new(error),
        };
        let target = connection::connect(address).await.map_err(fail)?;
        let mut server = Self { side, target };
        server
            .run(&format!("SET SESSION wait_timeout={WAIT_TIMEOUT}"))
            .await?;
        Ok(server)
    }

    pub fn dialect(&self) -> Dialect {
        self.target.dialect
    }

    pub fn fail(&self, error: mysql_async::Error) -> DiffError {
        DiffError::of(self.side, from_mysql(error, DOING))
    }

    pub async fn run(&mut self, sql: &str) -> Result<(), DiffError> {
        let done = self.target.conn.query_drop(sql).await;
        done.map_err(|error| self.fail(error))
    }

    /// Ends with COMMIT. What it reads is of one moment, on every statement.
    pub async fn begin_snapshot(&mut self) -> Result<(), DiffError> {
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").await
    }

    /// Ends with COMMIT or ROLLBACK. What it has locked stays as it is, and where it has found no row none comes.
    pub async fn begin_locking(&mut self) -> Result<(), DiffError> {
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.run("START TRANSACTION").await
    }

    pub async fn end(self) {
        // It ends either way.
        let _ = tokio::time::timeout(GOODBYE, self.target.conn.disconnect()).await;
    }

    pub fn connection(&mut self) -> &mut Target {
        &mut self.target
    }

    async fn query(&mut self, sql: String) -> Result<Vec<Row>, DiffError> {
        let rows = self.target.conn.query(sql).await;
        rows.map_err(|error| self.fail(error))
    }

    /// Does the query find a row?
    pub async fn finds(&mut self, sql: String) -> Result<bool, DiffError> {
        Ok(!self.query(sql).await?.is_empty())
    }

    /// A defect of ours: the catalog and the rows do not fit each other.
    pub fn odd(&self) -> DiffError {
        DiffError::Server {
            side: self.side,
            source: Box::new(ApplyError::Defect(
                "an answer of the server has other columns than expected",
            )),
        }
    }

    /// All tables that hold rows.
    pub async fn tables(&mut self, filter: &TableFilter) -> Result<Vec<TableName>, DiffError> {
        let rows = self
            .query(
                "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type IN ('BASE TABLE','SYSTEM VERSIONED') \
                 ORDER BY table_schema, table_name"
                    .to_owned(),
            )
            .await?;
        let mut names = Vec::new();
        for row in rows {
            let found: Option<(String, String)> = mysql_async::from_row_opt(row).ok();
            let (database, table) = found.ok_or_else(|| self.odd())?;
            if filter.matches(&database, &table) {
                names.push(TableName { database, table });
            }
        }
        Ok(names)
    }

    pub async fn table(&mut self, name: &TableName) -> Result<Option<TargetTable>, DiffError> {
        let found = catalog::table(&mut self.target, name).await;
        found.map_err(|error| DiffError::of(self.side, error))
    }

    /// The server's estimate.
    pub async fn estimated_rows(&mut self, name: &TableName) -> Result<u64, DiffError> {
        let found = self
            .target
            .conn
            .exec_first(
                "SELECT table_rows FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
                (&name.database, &name.table),
            )
            .await;
        let found: Option<Option<u64>> = found.map_err(|error| self.fail(error))?;
        Ok(found.flatten().unwrap_or_default())
    }

    /// What the server has committed, for its replicas to see.
    pub async fn executed(&mut self) -> Result<GtidSet, DiffError> {
        let variable = match self.dialect() {
            Dialect::MySql => "gtid_executed",
            Dialect::MariaDb => "gtid_binlog_pos",
        };
        let found = self
            .target
            .conn
            .query_first(format!("SELECT @@GLOBAL.{variable}"))
            .await;
        let text: Option<String> = found.map_err(|error| self.fail(error))?;
        let text = text.unwrap_or_default();
        text.parse().map_err(|_| self.odd())
    }

    /// How far the stream has come here; `None`: nothing has been applied by it.
    pub async fn progress(&mut self, stream: &str) -> Result<Option<TargetProgress>, DiffError> {
        let found = progress::read(&mut self.target.conn, stream).await;
        found.map_err(|error| DiffError::of(self.side, error))
    }

    /// What the stream has applied here; `None`: nothing has been applied by it.
    pub async fn applied(&mut self, stream: &str) -> Result<Option<GtidSet>, DiffError> {
        let found = self.progress(stream).await?;
        Ok(found.map(|found| found.state.set))
    }

    pub async fn range_sum(&mut self, pair: &Pair, range: &sql::Range) -> Result<Sum, DiffError> {
        let sql = sql::range_sum(pair, self.side, range).ok_or_else(|| self.odd())?;
        let rows = self.query(sql).await?;
        let sum = rows.into_iter().next().and_then(|row| Sum::of(row, 0));
        sum.ok_or_else(|| self.odd())
    }

    pub async fn cut(
        &mut self,
        pair: &Pair,
        range: &sql::Range,
        rows: u64,
    ) -> Result<Option<Key>, DiffError> {
        let sql = sql::cut(pair, self.side, range, rows).ok_or_else(|| self.odd())?;
        let found = self.query(sql).await?.into_iter().next();
        match found {
            None => Ok(None),
            Some(mut row) => match key(&mut row, pair.key.len()) {
                Some(key) => Ok(Some(key)),
                None => Err(self.odd()),
            },
        }
    }

    pub async fn range_rows(
        &mut self,
        pair: &Pair,
        range: &sql::Range,
    ) -> Result<HashMap<Key, Digest>, DiffError> {
        let sql = sql::range_rows(pair, self.side, range).ok_or_else(|| self.odd())?;
        self.digests(pair, sql).await
    }

    /// Buckets that are not empty.
    pub async fn bucket_sums(
        &mut self,
        pair: &Pair,
        buckets: u64,
    ) -> Result<HashMap<u64, Sum>, DiffError> {
        let rows = self
            .query(sql::bucket_sums(pair, self.side, buckets))
            .await?;
        let sums: Option<_> = rows
            .into_iter()
            .map(|mut row| Some((row.take_opt(0)?.ok()?, Sum::of(row, 1)?)))
            .collect();
        sums.ok_or_else(|| self.odd())
    }

    pub async fn bucket_rows(
        &mut self,
        pair: &Pair,
        buckets: u64,
        wanted: &[u64],
    ) -> Result<HashMap<Key, Digest>, DiffError> {
        let sql = sql::bucket_rows(pair, self.side, buckets, wanted);
        self.digests(pair, sql).await
    }

    /// Of each key its row's digest, where there is a row; without a key, the number of rows with that digest.
    pub async fn look(
        &mut self,
        pair: &Pair,
        keys: &[Key],
    ) -> Result<Vec<Option<Digest>>, DiffError> {
        self.look_as(pair, keys, "").await
    }

    /// The same, and locks them, and the places where rows with these keys would be; without a key, the whole table.
    pub async fn lock(
        &mut self,
        pair: &Pair,
        keys: &[Key],
    ) -> Result<Vec<Option<Digest>>, DiffError> {
        self.look_as(pair, keys, " FOR UPDATE").await
    }

    async fn look_as(
        &mut self,
        pair: &Pair,
        keys: &[Key],
        lock: &str,
    ) -> Result<Vec<Option<Digest>>, DiffError> {
        let sql = match pair.key.is_empty() {
            true => Some(sql::counts(pair, self.side, keys)),
            false => sql::rows(pair, self.side, keys),
        };
        let sql = sql.ok_or_else(|| self.odd())?;
        let found = self.digests(pair, sql + lock).await?;
        Ok(keys.iter().map(|key| found.get(key).copied()).collect())
    }

    /// Of each key the digests of its row and of the row's columns.
    pub async fn columns(
        &mut self,
        pair: &Pair,
        keys: &[Key],
    ) -> Result<HashMap<Key, Vec<Digest>>, DiffError> {
        let sql = sql::columns(pair, self.side, keys).ok_or_else(|| self.odd())?;
        let (width, rows) = (pair.key.len(), self.query(sql).await?);
        let found: Option<_> = rows
            .into_iter()
            .map(|mut row| {
                let key = key(&mut row, width)?;
                let digests = (width..width + 1 + pair.columns.len()).map(|at| {
                    let bytes = bytes(&mut row, at)?;
                    bytes.try_into().ok()
                });
                Some((key, digests.collect::<Option<_>>()?))
            })
            .collect();
        found.ok_or_else(|| self.odd())
    }

    async fn digests(
        &mut self,
        pair: &Pair,
        sql: String,
    ) -> Result<HashMap<Key, Digest>, DiffError> {
        let rows = self.query(sql).await?;
        let found: Option<_> = rows
            .into_iter()
            .map(|mut row| match pair.key.len() {
                0 => {
                    let count: u64 = row.take_opt(1)?.ok()?;
                    Some((Key::from([bytes(&mut row, 0)?]), of_count(count)))
                }
                width => {
                    let key = key(&mut row, width)?;
                    Some((key, bytes(&mut row, width)?.try_into().ok()?))
                }
            })
            .collect();
        found.ok_or_else(|| self.odd())
    }
}

/// How many rows, and what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    pub rows: u64,
    digest: Option<Vec<u8>>,
}

impl Sum {
    fn of(mut row: Row, at: usize) -> Option<Self> {
        let rows: u64 = row.take_opt(at)?.ok()?;
        let digest = match rows {
            0 => None,
            _ => Some(bytes(&mut row, at + 1)?),
        };
        Some(Self { rows, digest })
    }
}

fn of_count(count: u64) -> Digest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&count.to_le_bytes());
    digest
}

pub fn count(digest: Option<Digest>) -> u64 {
    digest.map_or(0, |digest| {
        let (count, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        u64::from_le_bytes(*count)
    })
}

fn key(row: &mut Row, width: usize) -> Option<Key> {
    (0..width).map(|at| bytes(row, at)).collect()
}

fn bytes(row: &mut Row, at: usize) -> Option<Vec<u8>> {
    match row.take(at)? {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}
