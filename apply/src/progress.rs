//! The applier's rows on the target: who applies, and how far.
//!
//! `binferry.stream` has a row per stream: the log that feeds it and the *incarnation* of the applier that owns it. `binferry.progress`
//! has a row per worker: the fold of the log after the newest group that the worker has committed, in the same transaction as the data (R4).
//! Groups are committed in the log's order, each after the one before has been confirmed, so the greatest offset among a stream's rows
//! covers everything before it, whoever applied it.
//!
//! - The progress statement is the first row change of every target transaction and must match one row, by incarnation and version; COMMIT
//!   is not sent before its answer. No match: a newer applier has taken over, and we close.
//! - How an applier becomes a stream's owner is `takeover`'s matter.

use binferry_schemas::{
    gtid::Uuid,
    record::{FoldState, Offset},
};
use mysql_async::{Conn, Row, prelude::Queryable};

use crate::{
    connection::from_mysql,
    error::ApplyError,
    render::literal::{put_hex, put_int, put_quoted},
};

const TABLES: [&str; 3] = [
    "CREATE DATABASE IF NOT EXISTS binferry CHARACTER SET utf8mb4",
    "CREATE TABLE IF NOT EXISTS binferry.stream (
  stream VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
  format INT UNSIGNED NOT NULL,
  log_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  incarnation CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  updated DATETIME(6) NOT NULL
) ENGINE = InnoDB COMMENT = 'binferry: the log and the applier of each stream'",
    "CREATE TABLE IF NOT EXISTS binferry.progress (
  stream VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  worker INT UNSIGNED NOT NULL,
  incarnation CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  version BIGINT UNSIGNED NOT NULL,
  log_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  log_offset BIGINT UNSIGNED NOT NULL,
  fold LONGBLOB NOT NULL,
  gtid_set LONGTEXT CHARACTER SET ascii NOT NULL,
  source_commit_us BIGINT UNSIGNED NULL,
  updated DATETIME(6) NOT NULL,
  PRIMARY KEY (stream, worker)
) ENGINE = InnoDB COMMENT = 'binferry: how far each stream is applied, committed with the data'",
];

pub(crate) const FORMAT: u32 = 1;
const DOING: &str = "reading and taking over the progress";
/// The worker that every stream has.
pub(crate) const FIRST_WORKER: u32 = 0;

/// A worker's row of a stream that this applier owns, as far as it knows.
#[derive(Debug, Clone)]
pub struct Ownership {
    pub stream: String,
    pub worker: u32,
    pub incarnation: Uuid,
    /// Of the worker's row, as last committed.
    pub version: u64,
}

/// What the target says of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetProgress {
    pub log: Uuid,
    pub incarnation: Uuid,
    pub version: u64,
    /// Every record below is applied.
    pub offset: Offset,
    pub state: FoldState,
    /// Original commit of the transaction that was applied last, microseconds since the epoch.
    pub source_commit_us: Option<u64>,
    /// By the target's clock, microseconds since the epoch.
    pub updated_us: u64,
}

pub(crate) fn fail(error: mysql_async::Error) -> ApplyError {
    from_mysql(error, DOING)
}

async fn tables_exist(conn: &mut Conn) -> Result<bool, ApplyError> {
    let count: Option<u64> = conn
        .query_first(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'binferry' AND table_name IN ('stream', 'progress')",
        )
        .await
        .map_err(fail)?;
    Ok(count == Some(2))
}

/// Creates the tables where they are missing, and only there: an applier without CREATE goes on with what is there.
pub async fn create_tables(conn: &mut Conn) -> Result<(), ApplyError> {
    if tables_exist(conn).await? {
        return Ok(());
    }
    for statement in TABLES {
        match conn.query_drop(statement).await {
            Ok(()) => {}
            // Another applier was faster.
            Err(mysql_async::Error::Server(answer)) if matches!(answer.code, 1007 | 1050) => {}
            Err(error) => return Err(fail(error)),
        }
    }
    Ok(())
}

/// What the target says of a stream; `None` when it is not there.
pub async fn read(conn: &mut Conn, stream: &str) -> Result<Option<TargetProgress>, ApplyError> {
    if !tables_exist(conn).await? {
        return Ok(None);
    }
    let row: Option<Row> = conn
        .exec_first(
            "SELECT log_id, incarnation, version, fold, source_commit_us, \
             CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', updated) AS UNSIGNED) FROM binferry.progress WHERE stream = ? \
             ORDER BY log_offset DESC, worker LIMIT 1",
            (stream,),
        )
        .await
        .map_err(fail)?;
    let Some(mut row) = row else {
        return Ok(None);
    };
    let broken = |reason: String| ApplyError::Progress {
        stream: stream.to_owned(),
        reason,
    };
    let uuid = |text: Option<String>| text.and_then(|text| text.parse::<Uuid>().ok());
    let fold: Vec<u8> = row.take(3).unwrap_or_default();
    let state = FoldState::decode(&fold).map_err(|error| broken(error.to_string()))?;
    Ok(Some(TargetProgress {
        log: uuid(row.take(0)).ok_or_else(|| broken("its log id is not one".to_owned()))?,
        incarnation: uuid(row.take(1))
            .ok_or_else(|| broken("its incarnation is not one".to_owned()))?,
        version: row.take(2).unwrap_or_default(),
        offset: state.offset,
        state,
        source_commit_us: row.take::<Option<u64>, _>(4).flatten(),
        updated_us: row.take::<Option<u64>, _>(5).flatten().unwrap_or_default(),
    }))
}

/// The progress statement; it must find one row.
pub fn put_statement(out: &mut Vec<u8>, owner: &Ownership, state: &FoldState) {
    out.extend_from_slice(b"UPDATE binferry.progress SET version=version+1,log_offset=");
    out.extend_from_slice(state.offset.0.to_string().as_bytes());
    out.extend_from_slice(b",fold=");
    put_hex(out, &state.encode());
    out.extend_from_slice(b",gtid_set=");
    put_quoted(out, state.set.to_string().as_bytes());
    if let Some(newest) = &state.newest {
        out.extend_from_slice(b",source_commit_us=");
        out.extend_from_slice(newest.original_commit_us.to_string().as_bytes());
    }
    out.extend_from_slice(b",updated=UTC_TIMESTAMP(6)");
    put_condition(out, owner, owner.version);
}

/// The progress statement at the beginning of a transaction that is streamed: it takes the row's lock and leaves the position.
pub fn put_claim(out: &mut Vec<u8>, owner: &Ownership) {
    out.extend_from_slice(b"UPDATE binferry.progress SET version=version+1");
    put_condition(out, owner, owner.version);
}

fn put_condition(out: &mut Vec<u8>, owner: &Ownership, version: u64) {
    out.extend_from_slice(b" WHERE stream=");
    put_quoted(out, owner.stream.as_bytes());
    out.extend_from_slice(b" AND worker=");
    put_int(out, i64::from(owner.worker));
    out.extend_from_slice(b" AND incarnation=");
    put_quoted(out, owner.incarnation.to_string().as_bytes());
    out.extend_from_slice(b" AND version=");
    out.extend_from_slice(version.to_string().as_bytes());
}
