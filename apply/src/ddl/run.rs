//! Runs one statement: finds out whether it was done before, claims it, runs it, and moves the progress behind it.
//!
//! The statement has a connection of its own, so that its session leaves nothing behind; the worker's connection carries the progress.
//! A statement may take hours: it has no time limit, the connections live meanwhile, and a stop waits for it.

use std::{pin::pin, time::Duration};

use binferry_schemas::record::{Replay, WHICH_ZONE};
use mysql_async::{Conn, Error, prelude::Queryable};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    DdlUnit, SESSION,
    absent::{self, Part},
    definition::{self, Answer},
    session::{self, GUARDED, Present, Zones},
    standing::{self, Claim, Open, Standing},
    waiting,
};
use crate::{
    connection::{self, KEEPALIVE, Target, from_mysql},
    copy::{LaterKeys, ledger},
    dialect::Dialect,
    error::{ApplyError, TableName},
    executor::Executor,
    options::{Gtids, Options},
    preserve,
    render::name::quoted,
    takeover,
};

const DOING: &str = "preparing a schema change";
/// It is said so often that a statement is still running.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Runs it, unless it has been done. When this returns, the target's progress is behind it.
pub(crate) async fn run(
    executor: &mut Executor,
    unit: &DdlUnit,
    options: &Options,
    keys: &LaterKeys,
) -> Result<(), ApplyError> {
    let replay = unit.ddl.replay.as_deref();
    let replay = replay.ok_or(ApplyError::Defect("a statement without its session"))?;
    let mut standing = standing::read(executor.conn(), &options.stream).await?;
    let gtid = unit.ddl.transaction.gtid.to_string();
    let begun = standing.open.take().filter(|open| open.gtid == gtid);
    if begun.as_ref().is_some_and(|open| open.done) {
        return Ok(());
    }
    let later = ledger::later(executor.conn(), &options.stream).await?;
    if !later.is_empty() {
        meanwhile(executor, unit, whole(keys, unit)).await?;
    }
    let mut target = connection::connect(&options.address).await?;
    let outcome = async {
        let means = Means::of(&mut target, options.gtids).await?;
        if let Some(open) = &begun
            && was_done(&mut target, unit, open, means, &options.stream).await?
        {
            tracing::info!(place = %unit.place, "the schema change was done before");
            forget_dropped(executor, &mut target, unit, options).await?;
            let numbered = open.name.as_deref() == Some(standing.name().to_string().as_str());
            return done(executor, unit, options, numbered).await;
        }
        absent::leave(&mut target.conn, &options.stream, unit).await?;
        let words = match absent::part(&mut target.conn, unit).await? {
            Part::All => None,
            Part::Some(words) => Some(words),
            Part::Nothing => {
                tracing::info!(place = %unit.place, statement = %unit.ddl.statement, "a schema change is passed over: its tables come with their copies");
                // Rows that follow in the same transaction are passed over, too, and move the progress.
                return match unit.state.as_deref() {
                    Some(state) => executor.bookkeep(Some(state), Vec::new()).await,
                    None => Ok(()),
                };
            }
        };
        absent::empty(&mut target.conn, &options.stream, unit).await?;
        let owner = executor.incarnation();
        // Before anyone can see that it is open.
        takeover::hold(&mut target.conn, &owner, SESSION).await?;
        waiting::add(&mut target, &options.stream, unit).await?;
        let before = definition::read(&mut target.conn, &unit.ddl.tables).await?;
        if replay.numbers_rows {
            refuse_other_order(&mut target, unit).await?;
        }
        prepare(&mut target, unit, replay).await?;
        let again = begun.as_ref().and_then(|open| open.name.as_deref());
        let name = Named::of(unit, means, again, &mut standing, &mut target.conn).await?;
        let mut sql = Vec::new();
        let claim = Claim {
            log: options.log.id(),
            offset: unit.place.offset,
            name: name.gtid.as_deref(),
            incarnation: owner,
        };
        standing.put_open(&mut sql, &options.stream, &unit.ddl, &claim, &before);
        executor.bookkeep(None, sql).await?;
        let statement = match &words {
            Some(words) => words.as_bytes(),
            None => session::statement(&unit.ddl, replay),
        };
        let statement = marked(&standing, statement);
        tracing::info!(place = %unit.place, statement = %unit.ddl.statement, "running a schema change");
        let began = Instant::now();
        let ran = execute(&mut target.conn, &name, statement);
        match meanwhile(executor, unit, ran).await? {
            Ok(()) => {}
            Err(error) => return Err(refused(executor, unit, options, error).await),
        }
        tracing::info!(place = %unit.place, took_ms = began.elapsed().as_millis() as u64, "the schema change is done");
        forget_dropped(executor, &mut target, unit, options).await?;
        done(executor, unit, options, name.is_numbered).await
    }
    .await;
    // The session ends either way.
    let _ = tokio::time::timeout(Duration::from_secs(2), target.conn.disconnect()).await;
    outcome
}

/// The statement finds its tables as they are on the source, with all their keys; so it does those that it may only read or refer to.
async fn whole(keys: &LaterKeys, unit: &DdlUnit) -> Result<(), ApplyError> {
    const OTHERS: [&str; 4] = ["LIKE", "REFERENCES", "FOREIGN", "CONSTRAINT"];
    let statement = unit.ddl.statement.to_uppercase();
    match OTHERS.iter().any(|word| statement.contains(word)) {
        true => keys.complete_all().await,
        false => keys.complete(&unit.ddl.tables).await,
    }
}

/// How it can be told whether a statement was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// Its GTID.
    Gtid,
    /// The definitions before it.
    Definitions,
}

impl Means {
    async fn of(target: &mut Target, gtids: Gtids) -> Result<Self, ApplyError> {
        if gtids == Gtids::Preserve {
            return Ok(Self::Gtid);
        }
        match preserve::ready(target).await {
            Ok(_) => Ok(Self::Gtid),
            Err(ApplyError::Preserve { .. }) => Ok(Self::Definitions),
            Err(error) => Err(error),
        }
    }
}

/// What the statement is called on the target.
struct Named {
    gtid: Option<String>,
    original_commit_us: u64,
    /// The stream's next number is in it.
    is_numbered: bool,
}

impl Named {
    async fn of(
        unit: &DdlUnit,
        means: Means,
        again: Option<&str>,
        standing: &mut Standing,
        conn: &mut Conn,
    ) -> Result<Self, ApplyError> {
        let original_commit_us = unit.ddl.transaction.original_commit_us;
        if let (Some(name), Some(_)) = (&unit.name, &unit.state) {
            return Ok(Self {
                gtid: Some(name.gtid.to_string()),
                original_commit_us,
                is_numbered: false,
            });
        }
        if means == Means::Definitions {
            return Ok(Self {
                gtid: None,
                original_commit_us,
                is_numbered: false,
            });
        }
        if again == Some(standing.name().to_string().as_str()) {
            // An attempt before this one may be at it until this moment: only the same name keeps the two from doing it both.
            return Ok(Self {
                gtid: again.map(str::to_owned),
                original_commit_us,
                is_numbered: true,
            });
        }
        // A number that was used means a statement that was passed: its GTID would make the server pass over this one.
        while preserve::is_executed(conn, standing.name()).await? {
            standing.number += 1;
        }
        Ok(Self {
            gtid: Some(standing.name().to_string()),
            original_commit_us,
            is_numbered: true,
        })
    }
}

/// Was a statement done that an attempt before this one had begun?
async fn was_done(
    target: &mut Target,
    unit: &DdlUnit,
    open: &Open,
    means: Means,
    stream: &str,
) -> Result<bool, ApplyError> {
    let Some(name) = &open.name else {
        takeover::end_and_wait(&mut target.conn, &open.incarnation, SESSION).await?;
        let broken = || ApplyError::Progress {
            stream: stream.to_owned(),
            reason: "binferry.ddl holds definitions that cannot be read".to_owned(),
        };
        let before = definition::decode(&open.before).ok_or_else(broken)?;
        let now = definition::read(&mut target.conn, &unit.ddl.tables).await?;
        return match definition::compare(unit.ddl.effect, &unit.ddl.tables, &before, &now) {
            Answer::Done => Ok(true),
            Answer::NotDone => Ok(false),
            Answer::Unclear => Err(in_doubt(unit, stream)),
        };
    };
    let gtid = name.parse().map_err(|_| ApplyError::Progress {
        stream: stream.to_owned(),
        reason: "binferry.ddl holds a name that is no GTID".to_owned(),
    })?;
    if means == Means::Definitions {
        // It can't be waited for by its GTID any more.
        takeover::end_and_wait(&mut target.conn, &open.incarnation, SESSION).await?;
    }
    preserve::is_executed(&mut target.conn, gtid).await
}

fn in_doubt(unit: &DdlUnit, stream: &str) -> ApplyError {
    ApplyError::DdlInDoubt {
        place: unit.place.clone(),
        stream: stream.to_owned(),
        statement: unit.ddl.statement.clone(),
    }
}

/// Numbers are given in the order in which a table holds its rows. With a primary key that is its order, on each server the same.
async fn refuse_other_order(target: &mut Target, unit: &DdlUnit) -> Result<(), ApplyError> {
    let fail = |error| from_mysql(error, DOING);
    for (database, table) in &unit.ddl.tables {
        let keyed: Option<u64> = target
            .conn
            .exec_first(
                "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? AND index_name = 'PRIMARY'",
                (database, table),
            )
            .await
            .map_err(fail)?;
        if keyed.unwrap_or(0) > 0 {
            continue;
        }
        let ask = format!(
            "SELECT 1 FROM {}.{} LIMIT 1",
            quoted(database),
            quoted(table)
        );
        let row: Option<u64> = match target.conn.query_first(ask).await {
            // The statement itself will say that it is missing.
            Err(Error::Server(answer)) if matches!(answer.code, 1049 | 1146) => None,
            other => other.map_err(fail)?,
        };
        if row.is_some() {
            let reason = "it gives numbers to rows of a table without a primary key, in an order that only the source has";
            return Err(stop(unit, reason));
        }
    }
    Ok(())
}

pub(crate) fn stop(unit: &DdlUnit, reason: &str) -> ApplyError {
    ApplyError::DdlStop {
        place: unit.place.clone(),
        effect: unit.ddl.effect,
        reason: Some(reason.to_owned()),
        statement: unit.ddl.statement.clone(),
    }
}

/// Makes the source's session.
async fn prepare(target: &mut Target, unit: &DdlUnit, replay: &Replay) -> Result<(), ApplyError> {
    let fail = |error| from_mysql(error, DOING);
    let ddl = &unit.ddl;
    let mut present = Present {
        zones: match ddl.time_zone.as_str() {
            "SYSTEM" => zones(&mut target.conn).await?,
            _ => Zones::default(),
        },
        has_collations: false,
        guarded: Vec::new(),
    };
    if target.dialect == Dialect::MariaDb {
        let ask = "SELECT COUNT(*) FROM information_schema.system_variables WHERE variable_name = 'CHARACTER_SET_COLLATIONS'";
        let has: Option<bool> = target.conn.query_first(ask).await.map_err(fail)?;
        present.has_collations = has == Some(true);
    }
    if target.dialect == Dialect::MySql {
        for name in GUARDED {
            let value = match name {
                "default_collation_for_utf8mb4" => {
                    "(SELECT id FROM information_schema.collations WHERE collation_name = @@default_collation_for_utf8mb4)".to_owned()
                }
                name => format!("@@{name}"),
            };
            match target.conn.query_first(format!("SELECT {value}")).await {
                Ok(Some(value)) => present.guarded.push((name, value)),
                Ok(None) => {}
                // An older server does not have it.
                Err(Error::Server(answer)) if answer.code == 1193 => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }
    if !ddl.database.is_empty() {
        match target
            .conn
            .query_drop(session::use_database(&ddl.database))
            .await
        {
            // Names that need it will not be found, and the server says so.
            Err(Error::Server(answer)) if matches!(answer.code, 1044 | 1049) => {}
            other => other.map_err(fail)?,
        }
    }
    let settings = session::settings(ddl, replay, target.dialect, &present)
        .map_err(|reason| stop(unit, &reason))?;
    for statement in settings {
        let set = target.conn.query_drop(statement).await;
        set.map_err(|error| of_statement(error, unit))?;
    }
    if unit.copying {
        // What the source has checked, tables that are not there yet can't answer.
        let set = target.conn.query_drop("SET foreign_key_checks=0").await;
        set.map_err(fail)?;
    }
    Ok(())
}

/// Which zones there are on the target; the session's own is set anew.
async fn zones(conn: &mut Conn) -> Result<Zones, ApplyError> {
    let fail = |error| from_mysql(error, DOING);
    let mut answers = ["SYSTEM", "+00:00"].map(|zone| (zone, String::new()));
    for (zone, answer) in &mut answers {
        let set = conn.query_drop(format!("SET time_zone='{zone}'")).await;
        set.map_err(fail)?;
        let found: Option<String> = conn.query_first(WHICH_ZONE).await.map_err(fail)?;
        *answer = found.unwrap_or_default();
    }
    let name: Option<String> =
        (conn.query_first("SELECT @@system_time_zone").await).map_err(fail)?;
    let [(_, system), (_, utc)] = answers;
    Ok(Zones {
        name: name.unwrap_or_default(),
        system,
        utc,
    })
}

/// A mark of ours in front: whoever reads the target's binlog sees whose the statement is, also where it has no GTID of our choosing.
fn marked(standing: &Standing, statement: &[u8]) -> Vec<u8> {
    let mark = format!("/* binferry {} */ ", standing.name());
    [mark.as_bytes(), statement].concat()
}

/// Runs the statement under its name. The inner error is the server's refusal: nothing was done.
async fn execute(
    conn: &mut Conn,
    name: &Named,
    statement: Vec<u8>,
) -> Result<Result<(), Error>, ApplyError> {
    let fail = |error| from_mysql(error, "running a schema change");
    let Some(gtid) = &name.gtid else {
        return answer(conn.query_drop(statement).await);
    };
    let next = format!(
        "SET gtid_next='{gtid}',original_commit_timestamp={}",
        name.original_commit_us
    );
    // Waits while another session has it.
    conn.query_drop(&next).await.map_err(fail)?;
    let ran = answer(conn.query_drop(statement).await)?;
    conn.query_drop(preserve::AUTOMATIC).await.map_err(fail)?;
    if ran.is_ok() {
        let executed: Option<bool> = conn
            .exec_first("SELECT GTID_SUBSET(?, @@global.gtid_executed)", (gtid,))
            .await
            .map_err(fail)?;
        if executed != Some(true) {
            // A statement that the server took for nothing to do: its name is given all the same.
            for statement in [next.as_str(), "BEGIN", "COMMIT", preserve::AUTOMATIC] {
                conn.query_drop(statement).await.map_err(fail)?;
            }
        }
    }
    Ok(ran)
}

/// A refusal is an answer; everything else leaves it open what was done.
fn answer(ran: Result<(), Error>) -> Result<Result<(), Error>, ApplyError> {
    match ran {
        Ok(()) => Ok(Ok(())),
        Err(Error::Server(answer)) => match from_mysql(Error::Server(answer.clone()), "") {
            lost @ ApplyError::Lost { .. } => Err(lost),
            _ => Ok(Err(Error::Server(answer))),
        },
        Err(error) => Err(from_mysql(error, "running a schema change")),
    }
}

/// Keeps the worker's session alive, and says from time to time what it is waiting for.
async fn meanwhile<T>(
    executor: &mut Executor,
    unit: &DdlUnit,
    work: impl Future<Output = Result<T, ApplyError>>,
) -> Result<T, ApplyError> {
    let mut work = pin!(work);
    let began = Instant::now();
    let mut told = began;
    let mut keepalive = interval(KEEPALIVE);
    keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            ended = &mut work => return ended,
            _ = keepalive.tick() => executor.keep_alive().await?,
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let seconds = began.elapsed().as_secs();
            tracing::info!(place = %unit.place, seconds, "the schema change is still running");
        }
    }
}

/// Foreign keys that waited, and that the statement has dropped.
async fn forget_dropped(
    executor: &mut Executor,
    target: &mut Target,
    unit: &DdlUnit,
    options: &Options,
) -> Result<(), ApplyError> {
    for (child, name) in waiting::dropped(target, &options.stream, unit).await? {
        let mut sql = Vec::new();
        ledger::put_key_removal(&mut sql, &options.stream, &child, Some(&name));
        executor.bookkeep(None, sql).await?;
    }
    Ok(())
}

/// Moves the progress behind it, or leaves that to its rows.
async fn done(
    executor: &mut Executor,
    unit: &DdlUnit,
    options: &Options,
    is_numbered: bool,
) -> Result<(), ApplyError> {
    let mut sql = Vec::new();
    standing::put_done(&mut sql, &options.stream, is_numbered, unit.state.is_none());
    executor.bookkeep(unit.state.as_deref(), sql).await
}

/// The server has refused it: it is not in doubt, whatever is done to the tables by hand now.
async fn refused(
    executor: &mut Executor,
    unit: &DdlUnit,
    options: &Options,
    error: Error,
) -> ApplyError {
    let mut sql = Vec::new();
    standing::put_refused(&mut sql, &options.stream);
    match executor.bookkeep(None, sql).await {
        Ok(()) => of_statement(error, unit),
        Err(error) => error,
    }
}

fn of_statement(error: Error, unit: &DdlUnit) -> ApplyError {
    match error {
        Error::Server(answer) => match from_mysql(Error::Server(answer.clone()), "") {
            error @ (ApplyError::Lost { .. } | ApplyError::ReadOnly { .. }) => error,
            _ => ApplyError::Ddl {
                place: unit.place.clone(),
                table: match &unit.ddl.tables[..] {
                    [(database, table)] => Some(TableName {
                        database: database.clone(),
                        table: table.clone(),
                    }),
                    _ => None,
                },
                statement: unit.ddl.statement.clone(),
                fault: Box::new(connection::ddl_fault(answer)),
            },
        },
        error => from_mysql(error, "running a schema change"),
    }
}
