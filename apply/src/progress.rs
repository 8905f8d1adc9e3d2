//! The applier's rows on the target: who applies, and how far.
//!
//! `binferry.stream` has a row per stream: the log that feeds it and the *incarnation* of the applier that owns it. `binferry.progress`
//! has a row per worker: the fold of the log at the low watermark, committed in the same transaction as the data (R4).
//!
//! - The progress statement is the first row change of every target transaction and must match one row, by incarnation and version; COMMIT
//!   is not sent before its answer. No match: a newer applier has taken over, and we close.
//! - Taking over: set the header's incarnation to a fresh one; then bump every worker row by primary key, each in its own transaction and
//!   without a condition on the incarnation; then read them; then compute. A transaction of the older applier either commits before the
//!   bump, and is seen by the read, or finds no row after it.
//! - An applier that has lost its connection takes over again, but only from itself: the header must still have its incarnation.
//! - An applier that was stopped inside a transaction blocks the bump. Each holds a named lock of its incarnation, so its session can be
//!   found and killed, and never another's.

use std::time::Duration;

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

const FORMAT: u32 = 1;
const DOING: &str = "reading and taking over the progress";
/// One worker for now; the row's key has room for more.
const WORKER: u32 = 0;

/// A stream that this applier owns, as far as it knows.
#[derive(Debug, Clone)]
pub struct Ownership {
    pub stream: String,
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

fn fail(error: mysql_async::Error) -> ApplyError {
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

/// The lock that an applier's session holds while it lives.
fn lock_name(incarnation: &str) -> String {
    format!("binferry-{incarnation}")
}

/// The incarnations of one applier: who has once owned the stream may take it only from itself.
#[derive(Debug, Default)]
pub struct Mine {
    /// A takeover has been completed.
    held: bool,
    /// The newest one that was completed, and those that were begun since: of each, the header may tell.
    incarnations: Vec<Uuid>,
}

/// Makes the stream ours. `fresh` is the fold to begin with when the stream is not on the target yet, or why it can't begin.
pub async fn take_over(
    conn: &mut Conn,
    stream: &str,
    log: Uuid,
    ours: &mut Mine,
    fresh: Result<FoldState, ApplyError>,
) -> Result<(Ownership, FoldState), ApplyError> {
    let incarnation = Uuid::new_v4();
    ours.incarnations.push(incarnation);
    let mine = incarnation.to_string();
    let superseded = || ApplyError::Superseded {
        stream: stream.to_owned(),
    };
    // Before anyone can see the incarnation.
    conn.exec_drop("DO GET_LOCK(?, 0)", (lock_name(&mine),))
        .await
        .map_err(fail)?;
    header(conn, stream, log, &mine, ours, fresh).await?;
    let workers: Vec<(u32, String)> = conn
        .exec(
            "SELECT worker, incarnation FROM binferry.progress WHERE stream = ? ORDER BY worker",
            (stream,),
        )
        .await
        .map_err(fail)?;
    for (worker, older) in workers {
        bump(conn, stream, worker, &mine, &older).await?;
    }
    let progress = read(conn, stream).await?.ok_or_else(superseded)?;
    if progress.incarnation != incarnation {
        return Err(superseded());
    }
    if progress.log != log {
        return Err(ApplyError::NotPaired {
            stream: stream.to_owned(),
            target: progress.log,
            log,
        });
    }
    *ours = Mine {
        held: true,
        incarnations: vec![incarnation],
    };
    let ownership = Ownership {
        stream: stream.to_owned(),
        incarnation,
        version: progress.version,
    };
    Ok((ownership, progress.state))
}

/// Sets the header's incarnation, or creates header and worker row.
async fn header(
    conn: &mut Conn,
    stream: &str,
    log: Uuid,
    mine: &str,
    ours: &Mine,
    fresh: Result<FoldState, ApplyError>,
) -> Result<(), ApplyError> {
    let found: Option<(u32, String, String)> = conn
        .exec_first(
            "SELECT format, log_id, incarnation FROM binferry.stream WHERE stream = ?",
            (stream,),
        )
        .await
        .map_err(fail)?;
    let Some((format, paired, owner)) = found else {
        if ours.held {
            return Err(ApplyError::Progress {
                stream: stream.to_owned(),
                reason: "it was removed while the applier ran".to_owned(),
            });
        }
        let state = fresh?;
        return create(conn, stream, log, mine, &state).await;
    };
    if format > FORMAT {
        return Err(ApplyError::Progress {
            stream: stream.to_owned(),
            reason: format!("it has format {format}, and this program knows up to {FORMAT}"),
        });
    }
    if paired != log.to_string() {
        return Err(ApplyError::NotPaired {
            stream: stream.to_owned(),
            target: paired.parse().unwrap_or_default(),
            log,
        });
    }
    let superseded = || ApplyError::Superseded {
        stream: stream.to_owned(),
    };
    if ours.held
        && !ours
            .incarnations
            .iter()
            .any(|mine| mine.to_string() == owner)
    {
        return Err(superseded());
    }
    // The owner that was read must be the owner still: of two that take over at once, one goes on.
    conn.exec_drop(
        "UPDATE binferry.stream SET incarnation = ?, updated = UTC_TIMESTAMP(6) WHERE stream = ? AND incarnation = ?",
        (mine, stream, &owner),
    )
    .await
    .map_err(fail)?;
    if conn.affected_rows() != 1 {
        return Err(superseded());
    }
    Ok(())
}

async fn create(
    conn: &mut Conn,
    stream: &str,
    log: Uuid,
    mine: &str,
    state: &FoldState,
) -> Result<(), ApplyError> {
    conn.query_drop("START TRANSACTION").await.map_err(fail)?;
    let header = conn
        .exec_drop(
            "INSERT INTO binferry.stream (stream, format, log_id, incarnation, updated) VALUES (?, ?, ?, ?, UTC_TIMESTAMP(6))",
            (stream, FORMAT, log.to_string(), mine),
        )
        .await;
    match header {
        Ok(()) => {}
        Err(mysql_async::Error::Server(answer)) if answer.code == 1062 => {
            return Err(ApplyError::Superseded {
                stream: stream.to_owned(),
            });
        }
        Err(error) => return Err(fail(error)),
    }
    conn.exec_drop(
        "INSERT INTO binferry.progress (stream, worker, incarnation, version, log_id, log_offset, fold, gtid_set, source_commit_us, updated) \
         VALUES (?, ?, ?, 0, ?, ?, ?, ?, NULL, UTC_TIMESTAMP(6))",
        (
            stream,
            WORKER,
            mine,
            log.to_string(),
            state.offset.0,
            state.encode(),
            state.set.to_string(),
        ),
    )
    .await
    .map_err(fail)?;
    conn.query_drop("COMMIT").await.map_err(fail)
}

/// Makes one worker's row ours: waits for the transaction that holds it, and ends its session when that takes too long.
async fn bump(
    conn: &mut Conn,
    stream: &str,
    worker: u32,
    mine: &str,
    older: &str,
) -> Result<(), ApplyError> {
    const ATTEMPTS: u32 = 12;
    conn.query_drop("SET SESSION innodb_lock_wait_timeout = 3")
        .await
        .map_err(fail)?;
    let mut attempt = 0;
    loop {
        let answer = conn
            .exec_drop(
                "UPDATE binferry.progress SET incarnation = ?, version = version + 1 WHERE stream = ? AND worker = ?",
                (mine, stream, worker),
            )
            .await;
        match answer {
            Ok(()) => break,
            Err(mysql_async::Error::Server(error))
                if matches!(error.code, 1205 | 1213) && attempt < ATTEMPTS =>
            {
                attempt += 1;
                end_session(conn, older).await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(fail(error)),
        }
    }
    conn.query_drop("SET SESSION innodb_lock_wait_timeout = 10")
        .await
        .map_err(fail)
}

/// Kills the session that holds an incarnation's lock, if there is one and we may; its `wait_timeout` ends it otherwise.
async fn end_session(conn: &mut Conn, incarnation: &str) -> Result<(), ApplyError> {
    let holder: Option<Option<u64>> = conn
        .exec_first("SELECT IS_USED_LOCK(?)", (lock_name(incarnation),))
        .await
        .map_err(fail)?;
    if let Some(Some(session)) = holder {
        tracing::warn!(
            session,
            "ending the session of an older applier that holds the progress row"
        );
        if let Err(error) = conn.query_drop(format!("KILL {session}")).await {
            let error = fail(error);
            tracing::warn!(%error, "cannot end it; waiting for its wait_timeout");
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
             CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', updated) AS UNSIGNED) FROM binferry.progress WHERE stream = ? AND worker = ?",
            (stream, WORKER),
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
    put_int(out, i64::from(WORKER));
    out.extend_from_slice(b" AND incarnation=");
    put_quoted(out, owner.incarnation.to_string().as_bytes());
    out.extend_from_slice(b" AND version=");
    out.extend_from_slice(version.to_string().as_bytes());
}
