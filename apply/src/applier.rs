//! The applier: owns a stream on a target, and brings what the log says to it.
//!
//! One attempt is: connect, take over, start the planner at the progress row's state, execute its units. Whatever goes wrong in a way that
//! passes ends the attempt, and the next one starts from what the progress row says then: a commit whose answer was lost needs no other
//! treatment.

use std::{sync::Arc, time::Duration};

use binferry_schemas::{
    gtid::GtidSet,
    record::{FoldState, Offset},
};
use binferry_transport::fold::Fold;
use mysql_async::prelude::Queryable;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    batch::Limits,
    conflict::{Court, journal},
    connection::{self, KEEPALIVE, from_mysql},
    error::ApplyError,
    executor::{self, Executor},
    options::{GroupLimits, Options},
    plan::{End, Unit},
    planner::Planner,
    progress,
    retry::{Verdict, backoff, verdict},
    takeover::{self, Mine},
};

const STALL: Duration = Duration::from_secs(60);
/// The log is told at most so often what is no longer needed.
const REGISTER_EVERY: Duration = Duration::from_secs(1);

/// How far an applier is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub state: Option<Arc<FoldState>>,
    /// Since this applier started.
    pub transactions: u64,
    pub rows: u64,
    /// Decided by a policy and journaled.
    pub conflicts: u64,
    /// From the original commit to now, of the transaction that was applied last.
    pub lag: Option<Duration>,
    /// While the target is out of reach: why.
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything of `until` is applied.
    Reached,
    Cancelled,
}

#[derive(Debug)]
pub struct Applier {
    options: Options,
    session: Option<Session>,
    mine: Mine,
}

#[derive(Debug)]
struct Session {
    executor: Executor,
    limits: Limits,
    state: FoldState,
}

/// How an attempt ended.
enum Ended {
    Done(Outcome),
    /// Go on with single transactions, so many.
    Isolate(u64),
}

impl Applier {
    /// Connects, checks and takes the stream over.
    pub async fn connect(options: Options) -> Result<Self, ApplyError> {
        let deadline = Instant::now() + options.patience;
        let mut delays = backoff();
        let mut mine = Mine::default();
        loop {
            match open(&options, &mut mine).await {
                Ok(session) => {
                    return Ok(Self {
                        options,
                        mine,
                        session: Some(session),
                    });
                }
                Err(error) if verdict(&error) == Verdict::Retry && Instant::now() < deadline => {
                    tracing::warn!(%error, "the target is out of reach, trying again");
                    sleep(delays.next().unwrap_or(STALL)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is applied, as of the takeover.
    pub fn state(&self) -> Option<&FoldState> {
        self.session.as_ref().map(|session| &session.state)
    }

    /// Applies until `until` is in the target's set, or until cancelled: then after the transaction in hand.
    pub async fn run(
        mut self,
        until: Option<GtidSet>,
        cancel: CancellationToken,
        progress: watch::Sender<Progress>,
    ) -> Result<Outcome, ApplyError> {
        let mut delays = backoff();
        let mut isolate = 0;
        let mut patience_ends = Instant::now() + self.options.patience;
        loop {
            let applied = progress.borrow().state.clone();
            let error = match self.attempt(&until, isolate, &cancel, &progress).await {
                Ok(Ended::Done(outcome)) => return Ok(outcome),
                Ok(Ended::Isolate(transactions)) => {
                    isolate = transactions;
                    continue;
                }
                Err(error) => error,
            };
            isolate = 0;
            if verdict(&error) == Verdict::Stop {
                return Err(error);
            }
            if progress.borrow().state != applied {
                delays = backoff();
                patience_ends = Instant::now() + self.options.patience;
            }
            if Instant::now() >= patience_ends {
                return Err(error);
            }
            tracing::warn!(%error, "the target is out of reach, trying again");
            progress.send_modify(|progress| progress.trouble = Some(error.to_string()));
            tokio::select! {
                () = cancel.cancelled() => return Ok(Outcome::Cancelled),
                () = sleep(delays.next().unwrap_or(STALL)) => {}
            }
        }
    }

    async fn attempt(
        &mut self,
        until: &Option<GtidSet>,
        isolate: u64,
        cancel: &CancellationToken,
        progress: &watch::Sender<Progress>,
    ) -> Result<Ended, ApplyError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => tokio::select! {
                () = cancel.cancelled() => return Ok(Ended::Done(Outcome::Cancelled)),
                session = open(&self.options, &mut self.mine) => session?,
            },
        };
        let state = Arc::new(session.state.clone());
        progress.send_modify(|progress| {
            progress.state = Some(Arc::clone(&state));
            progress.trouble = None;
        });
        let (units, receiver) = mpsc::channel(1);
        let planner = Planner::new(
            Arc::clone(&self.options.log),
            session.state,
            self.options.address.clone(),
            session.limits,
            GroupLimits {
                transactions: if isolate > 0 {
                    1
                } else {
                    self.options.group.transactions
                },
                ..self.options.group
            },
            until.clone(),
            units,
        );
        let planner = tokio::spawn(planner.run());
        let mut work = Work {
            options: &self.options,
            executor: session.executor,
            progress,
            isolate,
            registered: None,
            needs: Fold::resume((*state).clone()).1,
        };
        let ended = work.run(receiver, cancel).await;
        // The receiver is gone, so the planner ends at its next step; a panic there is a defect that must show.
        planner.abort();
        let panicked = planner.await.is_err_and(|error| error.is_panic());
        work.register(true).await;
        work.executor.close().await;
        if panicked {
            return Err(ApplyError::Defect("the planner panicked"));
        }
        ended
    }
}

/// The executing side of an attempt.
struct Work<'a> {
    options: &'a Options,
    executor: Executor,
    progress: &'a watch::Sender<Progress>,
    /// Transactions still to go one by one; 0: no limit is in force.
    isolate: u64,
    registered: Option<Instant>,
    /// First record that the target still needs.
    needs: Offset,
}

impl Work<'_> {
    /// Priority: stop, then units, then keeping the session alive.
    async fn run(
        &mut self,
        mut units: mpsc::Receiver<Unit>,
        cancel: &CancellationToken,
    ) -> Result<Ended, ApplyError> {
        loop {
            let unit = tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    if self.executor.in_transaction() {
                        self.executor.roll_back().await?;
                    }
                    return Ok(Ended::Done(Outcome::Cancelled));
                }
                unit = units.recv() => unit,
                () = sleep(KEEPALIVE) => {
                    self.executor.keep_alive().await?;
                    self.register(false).await;
                    continue;
                }
            };
            match unit {
                Some(Unit::Group(group)) => {
                    if self.executor.group(&group).await? == executor::Outcome::Isolate {
                        return Ok(Ended::Isolate(group.transactions));
                    }
                    let rows = group.changes.len() as u64;
                    self.committed(&group.state, group.transactions, rows).await;
                    if self.isolate > 0 {
                        self.isolate = self.isolate.saturating_sub(group.transactions);
                        if self.isolate == 0 {
                            // They fit one by one: together again from here on.
                            return Ok(Ended::Isolate(0));
                        }
                    }
                }
                Some(Unit::Part(part)) => {
                    self.executor.part(&part).await?;
                    let rows = part.changes.len() as u64;
                    match &part.end {
                        Some(state) => self.committed(state, 1, rows).await,
                        None => self.progress.send_modify(|progress| progress.rows += rows),
                    }
                }
                Some(Unit::End(End::Reached)) => return Ok(Ended::Done(Outcome::Reached)),
                Some(Unit::End(End::Failed(error))) => return Err(error),
                None => return Err(ApplyError::Defect("the planner ended without a word")),
            }
        }
    }

    async fn committed(&mut self, state: &FoldState, transactions: u64, rows: u64) {
        let lag = state.newest.as_ref().map(|newest| {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            now.saturating_sub(Duration::from_micros(newest.original_commit_us))
        });
        self.needs = Fold::resume(state.clone()).1;
        let conflicts = self.executor.take_conflicts();
        self.progress.send_modify(|progress| {
            progress.state = Some(Arc::new(state.clone()));
            progress.transactions += transactions;
            progress.rows += rows;
            progress.conflicts += conflicts;
            progress.lag = lag;
        });
        self.register(false).await;
    }

    /// Tells the log what is still needed. A failure only keeps more of the log than necessary.
    async fn register(&mut self, now: bool) {
        if !now
            && self
                .registered
                .is_some_and(|at| at.elapsed() < REGISTER_EVERY)
        {
            return;
        }
        self.registered = Some(Instant::now());
        let name = reader_name(&self.options.stream);
        if let Err(error) = self.options.log.register(&name, self.needs).await {
            tracing::warn!(%error, "cannot tell the log how far the target is");
        }
    }
}

/// The name under which a stream's applier is registered at the log.
pub fn reader_name(stream: &str) -> String {
    format!("apply-{stream}")
}

async fn open(options: &Options, mine: &mut Mine) -> Result<Session, ApplyError> {
    let mut target = connection::connect(&options.address).await?;
    let fail = |error| from_mysql(error, "asking for the target's state");
    let closed: Option<bool> = target
        .conn
        .query_first(target.dialect.closed_to_all())
        .await
        .map_err(fail)?;
    if closed == Some(true) {
        return Err(ApplyError::ReadOnly {
            setting: "super_read_only",
        });
    }
    progress::create_tables(&mut target.conn).await?;
    journal::create_table(&mut target.conn).await?;
    // A DELETE from a join needs a default database, whichever (ER_NO_DB_ERROR otherwise).
    target.conn.query_drop("USE binferry").await.map_err(fail)?;
    let log = &options.log;
    let (owner, state) =
        takeover::take_over(&mut target.conn, &options.stream, &**log, mine).await?;
    let needs = Fold::resume(state.clone()).1;
    log.register(&reader_name(&options.stream), needs).await?;
    let limits = Limits {
        statement_bytes: 256 << 10,
        statement_rows: 1_000,
        packet: target.max_packet,
    };
    let court = Court {
        policies: Arc::clone(&options.policies),
        stream: options.stream.clone(),
        log: log.id(),
    };
    let incarnation = owner.incarnation;
    tracing::info!(stream = options.stream, offset = state.offset.0, %incarnation, "applying");
    Ok(Session {
        executor: Executor::new(target, owner, limits, STALL, court),
        limits,
        state,
    })
}
