//! The applier: owns a stream on a target, and brings what the log says to it.
//!
//! One attempt is: connect, take over, start the planner at the progress row's state, execute its units. Whatever goes wrong in a way that
//! passes ends the attempt, and the next one starts from what the progress row says then: a commit whose answer was lost needs no other
//! treatment.

use std::{sync::Arc, time::Duration};

use binferry_schemas::{
    fault::Fault,
    gtid::{GtidSet, Uuid},
    record::FoldState,
};
use binferry_transport::{fold::Fold, meter::LastError};
use mysql_async::prelude::Queryable;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    batch::Limits,
    conflict::{Court, Tally, journal},
    connection::{self, from_mysql},
    copy::ledger,
    ddl::{self, DdlMode},
    error::ApplyError,
    executor::Executor,
    options::{Gtids, Options, Until},
    planner::Planner,
    preflight::refuse_triggers,
    preserve, progress,
    retry::{Verdict, backoff, verdict},
    takeover::{self, Mine},
    workers::Workers,
};

const STALL: Duration = Duration::from_secs(60);

/// How far an applier is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub state: Option<Arc<FoldState>>,
    /// Since this applier started.
    pub transactions: u64,
    pub rows: u64,
    /// Decided by a policy and journaled.
    pub conflicts: Tally,
    /// From the original commit to now, of the transaction that was applied last.
    pub lag: Option<Duration>,
    /// While the target is out of reach: why.
    pub trouble: Option<String>,
    /// How often it was tried again.
    pub retries: u64,
    /// The newest error that was tried again, and what helps.
    pub last_error: Option<LastError>,
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
    incarnation: Uuid,
    /// One for each worker.
    executors: Vec<Executor>,
    limits: Limits,
    state: FoldState,
    /// With the source's GTIDs preserved: what the target has executed.
    executed: Option<GtidSet>,
    /// What the target knows of copies.
    copies: Vec<ledger::Entry>,
}

impl Applier {
    /// Connects, checks and takes the stream over.
    pub async fn connect(options: Options) -> Result<Self, ApplyError> {
        let deadline = Instant::now() + options.patience;
        let mut delays = backoff();
        let mut mine = Mine::default();
        loop {
            let opened = async {
                refuse_triggers(&options).await?;
                open(&options, &mut mine).await
            };
            match opened.await {
                Ok(session) => {
                    return Ok(Self {
                        options,
                        mine,
                        session: Some(session),
                    });
                }
                Err(error) if verdict(&error) == Verdict::Retry && Instant::now() < deadline => {
                    warn(&error);
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
        until: Option<Until>,
        cancel: CancellationToken,
        progress: watch::Sender<Progress>,
    ) -> Result<Outcome, ApplyError> {
        let mut delays = backoff();
        let mut patience_ends = Instant::now() + self.options.patience;
        loop {
            let applied = progress.borrow().state.clone();
            let error = match self.attempt(&until, &cancel, &progress).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
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
            warn(&error);
            progress.send_modify(|progress| {
                progress.trouble = Some(error.to_string());
                progress.retries += 1;
                progress.last_error = Some(LastError::now(&error));
            });
            tokio::select! {
                () = cancel.cancelled() => return Ok(Outcome::Cancelled),
                () = sleep(delays.next().unwrap_or(STALL)) => {}
            }
        }
    }

    async fn attempt(
        &mut self,
        until: &Option<Until>,
        cancel: &CancellationToken,
        progress: &watch::Sender<Progress>,
    ) -> Result<Outcome, ApplyError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => tokio::select! {
                () = cancel.cancelled() => return Ok(Outcome::Cancelled),
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
            &self.options,
            session.state,
            session.limits,
            until.clone(),
            session.executed,
            &session.copies,
            units,
        );
        let planner = tokio::spawn(planner.run());
        let mut work = Workers::new(
            &self.options,
            session.executors,
            progress,
            Fold::resume((*state).clone()).1,
            session.incarnation,
        );
        let ended = work.run(receiver, cancel).await;
        // The receiver is gone, so the planner ends at its next step; a panic there is a defect that must show.
        planner.abort();
        let panicked = planner.await.is_err_and(|error| error.is_panic());
        work.close().await;
        if panicked {
            return Err(ApplyError::Defect("the planner panicked"));
        }
        ended
    }
}

fn warn(error: &ApplyError) {
    let hint = error.hint().unwrap_or_default();
    tracing::warn!(%error, hint, "the target does not take it, trying again");
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
    if options.gtids == Gtids::Preserve {
        // Before the stream is taken from whoever has it.
        preserve::ready(&mut target).await?;
    }
    progress::create_tables(&mut target.conn).await?;
    journal::create_table(&mut target.conn).await?;
    if options.ddl == DdlMode::Apply {
        ddl::create_table(&mut target.conn).await?;
    }
    // A DELETE from a join needs a default database, whichever (ER_NO_DB_ERROR otherwise).
    target.conn.query_drop("USE binferry").await.map_err(fail)?;
    let log = &options.log;
    let count = options.workers.max(1);
    let (owned, state) =
        takeover::take_over(&mut target.conn, &options.stream, count, &**log, mine).await?;
    // After the takeover no older applier adds to it.
    let executed = match options.gtids {
        Gtids::Own => None,
        Gtids::Preserve => Some(preserve::ready(&mut target).await?),
    };
    let copies = ledger::entries(&mut target.conn, &options.stream).await?;
    let needs = Fold::resume(state.clone()).1;
    log.register(&reader_name(&options.stream), needs).await?;
    let limits = Limits {
        // Escapes and names must not blow a statement up beyond what the server takes.
        statement_bytes: (1 << 20).min(target.max_packet / 4),
        statement_rows: 4_000,
        packet: target.max_packet,
    };
    let mut targets = vec![target];
    for owner in owned.iter().skip(1) {
        let mut target = connection::connect(&options.address).await?;
        target.conn.query_drop("USE binferry").await.map_err(fail)?;
        takeover::hold(&mut target.conn, &owner.incarnation, owner.worker).await?;
        targets.push(target);
    }
    let incarnation = owned.first().map(|owner| owner.incarnation);
    let incarnation = incarnation.ok_or(ApplyError::Defect("an applier without a worker"))?;
    tracing::info!(stream = options.stream, offset = state.offset.0, %incarnation, workers = owned.len(), "applying");
    let court = Court {
        policies: Arc::clone(&options.policies),
        stream: options.stream.clone(),
        log: log.id(),
    };
    let executors = targets
        .into_iter()
        .zip(owned)
        .map(|(target, owner)| {
            let (court, meter) = (court.clone(), Arc::clone(&options.meter));
            Executor::new(target, owner, limits, STALL, court, options.gtids, meter)
        })
        .collect();
    Ok(Session {
        incarnation,
        executors,
        limits,
        state,
        executed,
        copies,
    })
}
