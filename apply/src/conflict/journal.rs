//! The conflict journal: `binferry.conflict` on the target, a row for each decision.
//!
//! Written in the target transaction of the decision, and so committed with it and with the progress that covers it. Images are JSON in
//! the form that `tail` prints; the target's rows are an array of such objects, with all columns that the target has. docs/apply lists the
//! columns.

use binferry_schemas::{
    address::Address,
    gtid::Uuid,
    record::{Offset, Operation},
};
use mysql_async::{Conn, Row, prelude::Queryable};

use super::{ConflictKind, Policy};
use crate::{
    connection::{self, from_mysql},
    error::{ApplyError, Place, TableName},
    render::literal::put_quoted,
};

pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS binferry.conflict (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  at DATETIME(6) NOT NULL,
  stream VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  kind VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  policy VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  outcome VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  gtid VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  log_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  log_offset BIGINT UNSIGNED NOT NULL,
  change_index BIGINT UNSIGNED NULL,
  operation VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NULL,
  table_schema VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  key_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  error_code INT UNSIGNED NULL,
  before_image LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  after_image LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  target_rows LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  statement LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  KEY stream (stream, id)
) ENGINE = InnoDB COMMENT = 'binferry: conflicts, with both sides, as they were decided'";

const COLUMNS: &str = "(at,stream,kind,policy,outcome,gtid,log_id,log_offset,change_index,operation,table_schema,table_name,key_name,\
                       error_code,before_image,after_image,target_rows,statement)";

const DOING: &str = "reading the conflict journal";

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Conflict(ConflictKind, Policy),
    /// `binferry skip`.
    Skipped,
    /// `binferry diff --repair`.
    Repaired,
}

/// What became of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The target is as it was: the change was left out.
    Kept,
    /// The row that was missing was inserted.
    Inserted,
    /// The target's row was made equal to the after image.
    Overwritten,
    /// The target's row was deleted.
    Deleted,
    /// There was nothing to do.
    Nothing,
    /// The whole transaction was left out.
    Skipped,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Inserted => "inserted",
            Self::Overwritten => "overwritten",
            Self::Deleted => "deleted",
            Self::Nothing => "nothing",
            Self::Skipped => "skipped",
        }
    }
}

/// A row of the journal that is to be written. Images are JSON.
#[derive(Debug)]
pub struct Entry {
    pub subject: Subject,
    pub outcome: Outcome,
    pub place: Place,
    /// Of the change in its transaction, from 0; `None` for what is no row change.
    pub index: Option<u64>,
    pub operation: Option<Operation>,
    pub table: Option<TableName>,
    pub key: Option<String>,
    pub error: Option<u16>,
    pub before: Option<Vec<u8>>,
    pub after: Option<Vec<u8>>,
    /// The target's rows as they were found.
    pub found: Vec<Vec<u8>>,
    pub statement: Option<String>,
}

impl Entry {
    /// Bytes of its images and its statement.
    pub fn size(&self) -> usize {
        let image = |image: &Option<Vec<u8>>| image.as_ref().map_or(0, Vec::len);
        let found: usize = self.found.iter().map(Vec::len).sum();
        let statement = self.statement.as_ref().map_or(0, String::len);
        image(&self.before) + image(&self.after) + found + statement
    }
}

/// The INSERT of some entries.
pub fn put_insert(out: &mut Vec<u8>, stream: &str, log: Uuid, entries: &[Entry]) {
    out.extend_from_slice(b"INSERT INTO binferry.conflict ");
    out.extend_from_slice(COLUMNS.as_bytes());
    out.extend_from_slice(b" VALUES ");
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_row(out, stream, log, entry);
    }
}

fn put_row(out: &mut Vec<u8>, stream: &str, log: Uuid, entry: &Entry) {
    let (kind, policy) = match entry.subject {
        Subject::Conflict(kind, policy) => (kind.name(), policy.name()),
        Subject::Skipped => ("skipped", "skip"),
        Subject::Repaired => ("repaired", "repair"),
    };
    // The rows of a copy have none.
    let gtid = (entry.place.gtid).map_or_else(String::new, |gtid| gtid.to_string());
    out.extend_from_slice(b"(UTC_TIMESTAMP(6)");
    for text in [
        stream,
        kind,
        policy,
        entry.outcome.name(),
        &gtid,
        &log.to_string(),
    ] {
        out.push(b',');
        put_quoted(out, text.as_bytes());
    }
    put_number(out, Some(entry.place.offset.0));
    put_number(out, entry.index);
    let table = entry.table.as_ref();
    for text in [
        entry.operation.map(Operation::name),
        table.map(|table| table.database.as_str()),
        table.map(|table| table.table.as_str()),
        entry.key.as_deref(),
    ] {
        put_text(out, text.map(str::as_bytes));
    }
    put_number(out, entry.error.map(u64::from));
    put_text(out, entry.before.as_deref());
    put_text(out, entry.after.as_deref());
    let found = (!entry.found.is_empty()).then(|| {
        let mut list = b"[".to_vec();
        list.extend(entry.found.join(&b","[..]));
        list.push(b']');
        list
    });
    put_text(out, found.as_deref());
    put_text(out, entry.statement.as_deref().map(str::as_bytes));
    out.push(b')');
}

fn put_number(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(b',');
    match number {
        Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
        None => out.extend_from_slice(b"NULL"),
    }
}

fn put_text(out: &mut Vec<u8>, text: Option<&[u8]>) {
    out.push(b',');
    match text {
        Some(text) => put_quoted(out, text),
        None => out.extend_from_slice(b"NULL"),
    }
}

/// Creates the table where it is missing, and only there: an applier without CREATE goes on with what is there.
pub async fn create_table(conn: &mut Conn) -> Result<(), ApplyError> {
    if exists(conn).await? {
        return Ok(());
    }
    match conn.query_drop(TABLE).await {
        Err(error) => Err(from_mysql(error, "creating the conflict journal")),
        Ok(()) => Ok(()),
    }
}

async fn exists(conn: &mut Conn) -> Result<bool, ApplyError> {
    let count: Option<u64> = conn
        .query_first(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'binferry' AND table_name = 'conflict'",
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    Ok(count == Some(1))
}

/// A row of the journal as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journaled {
    pub id: u64,
    /// Of the decision, by the target's clock, UTC: `YYYY-MM-DD HH:MM:SS.ffffff`.
    pub at: String,
    pub stream: String,
    pub kind: String,
    pub policy: String,
    pub outcome: String,
    pub gtid: String,
    pub log: String,
    pub offset: Offset,
    pub index: Option<u64>,
    pub operation: Option<String>,
    pub table: Option<TableName>,
    pub key: Option<String>,
    pub error: Option<u64>,
    /// JSON, like the next two; `None` where it was not asked for.
    pub before: Option<String>,
    pub after: Option<String>,
    pub found: Option<String>,
    pub statement: Option<String>,
}

/// Which rows are wanted; the default wants all.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub stream: Option<String>,
    pub kind: Option<String>,
    /// Microseconds since the epoch.
    pub since_us: Option<u64>,
    pub id: Option<u64>,
    /// Only the newest of them.
    pub last: bool,
    /// With images, rows and statement.
    pub whole: bool,
}

/// Hands the rows out in the order of their ids, one at a time, until `each` says no. A target without a journal has none.
pub async fn read(
    address: &Address,
    wanted: &Wanted,
    mut each: impl FnMut(Journaled) -> bool,
) -> Result<(), ApplyError> {
    let mut target = connection::connect(address).await?;
    let conn = &mut target.conn;
    let mut sql = b"SELECT id,CAST(at AS CHAR),stream,kind,policy,outcome,gtid,log_id,log_offset,change_index,operation,table_schema,\
                    table_name,key_name,error_code"
        .to_vec();
    if wanted.whole {
        sql.extend_from_slice(b",before_image,after_image,target_rows,statement");
    }
    sql.extend_from_slice(b" FROM binferry.conflict WHERE TRUE");
    for (column, value) in [("stream", &wanted.stream), ("kind", &wanted.kind)] {
        if let Some(value) = value {
            sql.extend_from_slice(format!(" AND {column}=").as_bytes());
            put_quoted(&mut sql, value.as_bytes());
        }
    }
    if let Some(us) = wanted.since_us {
        let since = format!(" AND at>=TIMESTAMPADD(MICROSECOND,{us},'1970-01-01')");
        sql.extend_from_slice(since.as_bytes());
    }
    if let Some(id) = wanted.id {
        sql.extend_from_slice(format!(" AND id={id}").as_bytes());
    }
    sql.extend_from_slice(match wanted.last {
        true => b" ORDER BY id DESC LIMIT 1",
        false => b" ORDER BY id",
    });
    let fail = |error| from_mysql(error, DOING);
    if exists(conn).await? {
        let mut rows = conn.query_iter(sql).await.map_err(fail)?;
        while let Some(row) = rows.next().await.map_err(fail)? {
            if !each(journaled(row)) {
                // The session ends, and with it what is left of the answer.
                return Ok(());
            }
        }
    }
    // The session ends either way.
    let _ = target.conn.disconnect().await;
    Ok(())
}

fn journaled(mut row: Row) -> Journaled {
    let number = |row: &mut Row, at: usize| {
        row.take_opt::<Option<u64>, _>(at)
            .and_then(Result::ok)
            .flatten()
    };
    let (id, offset, index, error) = (
        number(&mut row, 0).unwrap_or_default(),
        Offset(number(&mut row, 8).unwrap_or_default()),
        number(&mut row, 9),
        number(&mut row, 14),
    );
    let mut text = |at: usize| {
        row.take_opt::<Option<String>, _>(at)
            .and_then(Result::ok)
            .flatten()
    };
    let mut sure = |at: usize| text(at).unwrap_or_default();
    let (at, stream, kind, policy, outcome) = (sure(1), sure(2), sure(3), sure(4), sure(5));
    let (gtid, log) = (sure(6), sure(7));
    let table = match (text(11), text(12)) {
        (Some(database), Some(table)) => Some(TableName { database, table }),
        _ => None,
    };
    Journaled {
        id,
        at,
        stream,
        kind,
        policy,
        outcome,
        gtid,
        log,
        offset,
        index,
        operation: text(10),
        table,
        key: text(13),
        error,
        before: text(15),
        after: text(16),
        found: text(17),
        statement: text(18),
    }
}

/// How many rows the journal has of a stream.
pub async fn count(address: &Address, stream: &str) -> Result<u64, ApplyError> {
    let mut target = connection::connect(address).await?;
    let conn = &mut target.conn;
    let found = match exists(conn).await? {
        false => Some(0),
        true => conn
            .exec_first(
                "SELECT COUNT(*) FROM binferry.conflict WHERE stream = ?",
                (stream,),
            )
            .await
            .map_err(|error| from_mysql(error, DOING))?,
    };
    let _ = target.conn.disconnect().await;
    Ok(found.unwrap_or_default())
}
