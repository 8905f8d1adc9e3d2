//! How an applier becomes the owner of a stream, and how a stream goes from one log to another.
//!
//! - Taking over: set the header's incarnation to a fresh one; then bump every worker row by primary key, each in its own transaction and
//!   without a condition on the incarnation; then read them; then compute. A transaction of the older applier either commits before the
//!   bump, and is seen by the read, or finds no row after it.
//! - An applier that has lost its connection takes over again, but only from itself: the header must still have its incarnation.
//! - An applier that was stopped inside a transaction blocks the bump. Each of its sessions holds a named lock of its incarnation and
//!   worker, so it can be found and killed, and never another's.
//! - Another log than the one that the stream belongs to is taken only with evidence that it is a copy, and before that nothing is changed.
//!   Where the stream goes on in it is computed from the progress that the takeover has read; header and row then move in one transaction,
//!   under the same conditions as every other progress. An older applier, still on the other log, finds itself superseded.

use std::time::Duration;

use binferry_schemas::{gtid::Uuid, record::FoldState};
use binferry_transport::log::Log;
use mysql_async::{Conn, prelude::Queryable};
use tokio::time::{Instant, sleep};

use crate::{
    connection::{KEEPALIVE, from_mysql},
    ddl,
    error::ApplyError,
    place,
    progress::{FIRST_WORKER, FORMAT, Ownership, fail, read},
};

/// The lock that the session of an applier's worker holds while it lives.
fn lock_name(incarnation: &str, worker: u32) -> String {
    format!("binferry-{incarnation}-{worker}")
}

/// Makes the session of a worker known.
pub async fn hold(conn: &mut Conn, incarnation: &Uuid, worker: u32) -> Result<(), ApplyError> {
    conn.exec_drop(
        "DO GET_LOCK(?, 0)",
        (lock_name(&incarnation.to_string(), worker),),
    )
    .await
    .map_err(fail)
}

/// The incarnations of one applier: who has once owned the stream may take it only from itself.
#[derive(Debug, Default)]
pub struct Mine {
    /// A takeover has been completed.
    held: bool,
    /// The newest one that was completed, and those that were begun since: of each, the header may tell.
    incarnations: Vec<Uuid>,
}

/// So often an applier that begins takes over again from one that died while it took over.
const FROM_THE_DEAD: u32 = 5;

/// Makes the stream ours, with a row for each of `count` workers, and the state from which the log goes on for it.
///
/// The last statement of an applier that was killed may land after our first: then the header has the incarnation of one that is gone. Its
/// lock tells, which it held before its incarnation could be seen. Beginning again is what the next start would do.
pub async fn take_over(
    conn: &mut Conn,
    stream: &str,
    count: u32,
    log: &dyn Log,
    ours: &mut Mine,
) -> Result<(Vec<Ownership>, FoldState), ApplyError> {
    let mut attempt = 0;
    loop {
        let taken = attempt_to_take_over(conn, stream, count, log, ours).await;
        let begins = !ours.held && attempt < FROM_THE_DEAD;
        match taken {
            Err(ApplyError::Superseded { .. })
                if begins && by_the_dead(conn, stream, ours).await? =>
            {
                attempt += 1;
            }
            taken => return taken,
        }
    }
}

/// Whether no session of the applier that has come between is left, or soon will be: a server takes a moment to see that its client is gone.
async fn by_the_dead(conn: &mut Conn, stream: &str, ours: &Mine) -> Result<bool, ApplyError> {
    for _ in 0..5 {
        let owner: Option<String> = conn
            .exec_first(
                "SELECT incarnation FROM binferry.stream WHERE stream = ?",
                (stream,),
            )
            .await
            .map_err(fail)?;
        let Some(owner) = owner else {
            return Ok(false);
        };
        // Only a row was touched: the header says that no newer one has begun.
        if (ours.incarnations.iter()).any(|mine| mine.to_string() == owner) {
            return Ok(true);
        }
        if holder(conn, &owner, FIRST_WORKER).await?.is_none() {
            return Ok(true);
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(false)
}

async fn attempt_to_take_over(
    conn: &mut Conn,
    stream: &str,
    count: u32,
    log: &dyn Log,
    ours: &mut Mine,
) -> Result<(Vec<Ownership>, FoldState), ApplyError> {
    let incarnation = Uuid::new_v4();
    ours.incarnations.push(incarnation);
    let mine = incarnation.to_string();
    let superseded = || ApplyError::Superseded {
        stream: stream.to_owned(),
    };
    // Before anyone can see the incarnation.
    hold(conn, &incarnation, FIRST_WORKER).await?;
    header(conn, stream, log, &mine, ours).await?;
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
    let found = place::go_on(log, stream, &progress.state);
    let state = awake(conn, found).await?;
    if state != progress.state {
        relocate(conn, stream, &mine, &state).await?;
        tracing::info!(
            stream,
            from_log = %progress.log,
            from_offset = progress.offset.0,
            to_log = %state.log,
            to_offset = state.offset.0,
            "the stream goes on at another place"
        );
    }
    let owned = worker_rows(conn, stream, incarnation, count, &state).await?;
    *ours = Mine {
        held: true,
        incarnations: vec![incarnation],
    };
    Ok((owned, state))
}

/// Waits for something that takes its time, and lets the server know that the session lives.
pub async fn awake<T>(
    conn: &mut Conn,
    work: impl Future<Output = Result<T, ApplyError>>,
) -> Result<T, ApplyError> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(KEEPALIVE) => conn.query_drop("DO 0").await.map_err(fail)?,
        }
    }
}

/// Sets the header's incarnation, or creates header and worker row.
async fn header(
    conn: &mut Conn,
    stream: &str,
    log: &dyn Log,
    mine: &str,
    ours: &Mine,
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
        ddl::forget(conn, stream).await?;
        let found = place::begin(log, stream);
        let state = awake(conn, found).await?;
        return create(conn, stream, log.id(), mine, &state).await;
    };
    if format > FORMAT {
        return Err(ApplyError::Progress {
            stream: stream.to_owned(),
            reason: format!("it has format {format}, and this program knows up to {FORMAT}"),
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
    // Before anything is taken from an applier that may run well, on the log that is the right one.
    if paired != log.id().to_string() {
        let progress = read(conn, stream).await?.ok_or_else(superseded)?;
        let evidence = place::evidence(log, stream, &progress.state);
        awake(conn, evidence).await?;
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
    insert(conn, stream, FIRST_WORKER, mine, state).await?;
    conn.query_drop("COMMIT").await.map_err(fail)
}

/// Writes another place in another log, or in the same one: header and rows at once, or nothing. Offsets of two logs can't be compared, so
/// one row remains.
async fn relocate(
    conn: &mut Conn,
    stream: &str,
    mine: &str,
    state: &FoldState,
) -> Result<(), ApplyError> {
    let log = state.log.to_string();
    conn.query_drop("START TRANSACTION").await.map_err(fail)?;
    conn.exec_drop(
        "UPDATE binferry.stream SET log_id = ?, updated = UTC_TIMESTAMP(6) WHERE stream = ? AND incarnation = ?",
        (&log, stream, mine),
    )
    .await
    .map_err(fail)?;
    let header = conn.affected_rows();
    conn.exec_drop(
        "DELETE FROM binferry.progress WHERE stream = ? AND worker <> ?",
        (stream, FIRST_WORKER),
    )
    .await
    .map_err(fail)?;
    conn.exec_drop(
        "UPDATE binferry.progress SET version = version + 1, log_id = ?, log_offset = ?, fold = ?, gtid_set = ?, updated = UTC_TIMESTAMP(6) \
         WHERE stream = ? AND worker = ? AND incarnation = ?",
        (
            &log,
            state.offset.0,
            state.encode(),
            state.set.to_string(),
            stream,
            FIRST_WORKER,
            mine,
        ),
    )
    .await
    .map_err(fail)?;
    if header != 1 || conn.affected_rows() != 1 {
        conn.query_drop("ROLLBACK").await.map_err(fail)?;
        return Err(ApplyError::Superseded {
            stream: stream.to_owned(),
        });
    }
    conn.query_drop("COMMIT").await.map_err(fail)
}

/// The rows of our workers; those that are missing are made. The header is locked meanwhile, so a newer applier sees all of them or
/// makes none of them ours.
async fn worker_rows(
    conn: &mut Conn,
    stream: &str,
    incarnation: Uuid,
    count: u32,
    state: &FoldState,
) -> Result<Vec<Ownership>, ApplyError> {
    let mine = incarnation.to_string();
    conn.query_drop("START TRANSACTION").await.map_err(fail)?;
    let header: Option<u8> = conn
        .exec_first(
            "SELECT 1 FROM binferry.stream WHERE stream = ? AND incarnation = ? FOR UPDATE",
            (stream, &mine),
        )
        .await
        .map_err(fail)?;
    let rows: Vec<(u32, String, u64)> = conn
        .exec(
            "SELECT worker, incarnation, version FROM binferry.progress WHERE stream = ? ORDER BY worker",
            (stream,),
        )
        .await
        .map_err(fail)?;
    let ours = rows.iter().all(|(_, incarnation, _)| *incarnation == mine);
    if header.is_none() || !ours {
        conn.query_drop("ROLLBACK").await.map_err(fail)?;
        return Err(ApplyError::Superseded {
            stream: stream.to_owned(),
        });
    }
    let mut owned = Vec::new();
    for worker in FIRST_WORKER..FIRST_WORKER + count {
        let found = rows.iter().find(|(other, _, _)| *other == worker);
        if found.is_none() {
            insert(conn, stream, worker, &mine, state).await?;
        }
        owned.push(Ownership {
            stream: stream.to_owned(),
            worker,
            incarnation,
            version: found.map_or(0, |(_, _, version)| *version),
        });
    }
    conn.query_drop("COMMIT").await.map_err(fail)?;
    Ok(owned)
}

async fn insert(
    conn: &mut Conn,
    stream: &str,
    worker: u32,
    mine: &str,
    state: &FoldState,
) -> Result<(), ApplyError> {
    conn.exec_drop(
        "INSERT INTO binferry.progress (stream, worker, incarnation, version, log_id, log_offset, fold, gtid_set, source_commit_us, updated) \
         VALUES (?, ?, ?, 0, ?, ?, ?, ?, NULL, UTC_TIMESTAMP(6))",
        (
            stream,
            worker,
            mine,
            state.log.to_string(),
            state.offset.0,
            state.encode(),
            state.set.to_string(),
        ),
    )
    .await
    .map_err(fail)
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
                end_session(conn, older, worker).await?;
                sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(fail(error)),
        }
    }
    conn.query_drop("SET SESSION innodb_lock_wait_timeout = 10")
        .await
        .map_err(fail)
}

/// The session of an applier's worker that lives, by its incarnation.
pub async fn holder(
    conn: &mut Conn,
    incarnation: &str,
    worker: u32,
) -> Result<Option<u64>, ApplyError> {
    let holder: Option<Option<u64>> = conn
        .exec_first("SELECT IS_USED_LOCK(?)", (lock_name(incarnation, worker),))
        .await
        .map_err(fail)?;
    Ok(holder.flatten())
}

/// Kills the session that holds a worker's lock, if there is one and we may; its `wait_timeout` ends it otherwise.
async fn end_session(conn: &mut Conn, incarnation: &str, worker: u32) -> Result<(), ApplyError> {
    if let Some(session) = holder(conn, incarnation, worker).await? {
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

/// How long the session of an older attempt may take to end when it is told to.
const ENDING: Duration = Duration::from_secs(60);

/// Ends the session of an older attempt, and waits until it is gone: only then does nothing more happen to the definitions.
pub async fn end_and_wait(
    conn: &mut Conn,
    incarnation: &str,
    worker: u32,
) -> Result<(), ApplyError> {
    let patience = Instant::now() + ENDING;
    while let Some(session) = holder(conn, incarnation, worker).await? {
        if Instant::now() >= patience {
            return Err(ApplyError::Lost {
                reason: format!(
                    "a schema change of an older attempt still runs in session {session}"
                ),
            });
        }
        match conn.query_drop(format!("KILL {session}")).await {
            // It has just ended.
            Err(mysql_async::Error::Server(answer)) if answer.code == 1094 => {}
            other => other.map_err(|error| from_mysql(error, "ending an older attempt"))?,
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
