//! The executing side of an attempt: hands units to workers, each with a connection of its own, and tells how far the target is.
//!
//! A group goes to a worker as soon as one is free; `turns` sees to it that they are committed in their order. A transaction that comes in
//! parts is alone: it begins when everything before is committed, and the next group begins after it.
//!
//! What has been committed is told in the groups' order. The first group that fails ends the attempt; those before it are committed by
//! then, and those behind it are given up.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use binferry_schemas::{
    gtid::Uuid,
    record::{FoldState, Offset},
};
use binferry_transport::fold::Fold;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    applier::{self, Progress, reader_name},
    connection::KEEPALIVE,
    copy::{LaterKeys, Step},
    ddl::{self, DdlUnit},
    error::ApplyError,
    executor::{Executor, Outcome},
    options::Options,
    plan::{CopyUnit, End, Group, Part, Unit},
    turns::Turns,
};

/// The log is told at most so often what is no longer needed.
const REGISTER_EVERY: Duration = Duration::from_secs(1);
/// Groups that are given up get so long to roll back.
const GIVEN_UP: Duration = Duration::from_secs(2);

pub struct Workers<'a> {
    options: &'a Options,
    /// The one that has rested longest first.
    idle: Vec<Executor>,
    running: JoinSet<Finished>,
    /// Ended, and waiting to be told after those before it.
    ended: BTreeMap<u64, (Group, Result<Outcome, ApplyError>)>,
    /// The next group to be told.
    next: u64,
    /// A group has failed: the attempt ends when those before it have been told.
    failing: bool,
    turns: Arc<Turns>,
    /// Has a transaction open that comes in parts.
    streaming: Option<Executor>,
    progress: &'a watch::Sender<Progress>,
    registered: Option<Instant>,
    /// First record that the target still needs.
    needs: Offset,
    keys: Arc<LaterKeys>,
    adding_keys: JoinHandle<()>,
}

struct Finished {
    executor: Executor,
    group: Group,
    outcome: Result<Outcome, ApplyError>,
}

impl<'a> Workers<'a> {
    pub fn new(
        options: &'a Options,
        executors: Vec<Executor>,
        progress: &'a watch::Sender<Progress>,
        needs: Offset,
        incarnation: Uuid,
    ) -> Self {
        let (address, stream) = (options.address.clone(), options.stream.clone());
        let keys = Arc::new(LaterKeys::new(address, stream, incarnation));
        Self {
            adding_keys: tokio::spawn(Arc::clone(&keys).run()),
            keys,
            options,
            idle: executors,
            running: JoinSet::new(),
            ended: BTreeMap::new(),
            next: 1,
            failing: false,
            turns: Arc::new(Turns::default()),
            streaming: None,
            progress,
            registered: None,
            needs,
        }
    }

    /// Priority: stop, then what has ended, then keeping the sessions alive, then new units.
    pub async fn run(
        &mut self,
        mut units: mpsc::Receiver<Unit>,
        cancel: &CancellationToken,
    ) -> Result<applier::Outcome, ApplyError> {
        let mut keepalive = interval(KEEPALIVE);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A unit that waits until all groups are committed.
        let mut held: Option<Unit> = None;
        loop {
            if self.running.is_empty()
                && let Some(unit) = held.take()
            {
                match unit {
                    Unit::Part(part) => self.part(&part).await?,
                    Unit::Copy(unit) => self.copy(unit, &mut keepalive).await?,
                    Unit::Ddl(unit) => self.ddl(*unit).await?,
                    Unit::End(End::Reached) => return self.reached(cancel, &mut keepalive).await,
                    Unit::End(End::Failed(error)) => return Err(error),
                    Unit::Group(group) => self.begin(group),
                }
            }
            let unit = tokio::select! {
                biased;
                () = cancel.cancelled() => return self.stop().await,
                Some(finished) = self.running.join_next() => {
                    self.finished(finished).await?;
                    continue;
                }
                _ = keepalive.tick() => {
                    self.keep_alive().await?;
                    self.register(false).await;
                    continue;
                }
                unit = units.recv(), if held.is_none() && !self.failing && self.takes_more() => unit,
            };
            match unit {
                Some(Unit::Group(group)) => self.begin(group),
                Some(other) => held = Some(other),
                None => return Err(ApplyError::Defect("the planner ended without a word")),
            }
        }
    }

    /// A worker is free, or waits for the next part of its transaction.
    fn takes_more(&self) -> bool {
        !self.idle.is_empty() || self.streaming.is_some()
    }

    fn begin(&mut self, group: Group) {
        // A unit is taken only while a worker is free.
        let mut executor = self.idle.remove(0);
        let turns = Arc::clone(&self.turns);
        self.running.spawn(async move {
            let outcome = executor.group(&group, &turns).await;
            Finished {
                executor,
                group,
                outcome,
            }
        });
    }

    /// Tells what has ended, in order.
    async fn finished(&mut self, finished: Result<Finished, JoinError>) -> Result<(), ApplyError> {
        let Finished {
            mut executor,
            group,
            outcome,
        } = finished.map_err(|_| ApplyError::Defect("a worker panicked"))?;
        self.tell_conflicts(&mut executor);
        match outcome {
            Ok(_) => self.idle.push(executor),
            // Its transaction may be open, and must not become part of another: the session ends with it.
            Err(_) => {
                self.failing = true;
                executor.close().await;
            }
        }
        self.ended.insert(group.number, (group, outcome));
        while let Some((group, outcome)) = self.ended.remove(&self.next) {
            self.next += 1;
            match outcome? {
                Outcome::Committed => {}
                Outcome::Abandoned => {
                    return Err(ApplyError::Defect(
                        "a group was abandoned and none before it has failed",
                    ));
                }
            }
            let (transactions, rows) = (group.transactions(), group.rows());
            self.measure(&group);
            self.committed(&group.state, transactions, rows).await;
        }
        Ok(())
    }

    fn measure(&self, group: &Group) {
        let meter = &self.options.meter;
        meter.group_transactions.observe(group.transactions());
        meter.group_rows.observe(group.rows());
        meter.changes(&group.changes);
        for copied in &group.copied {
            meter.rows(&copied.mapping.name, copied.rows.len() as u64);
        }
    }

    /// Everything before is committed, and nothing else runs.
    async fn ddl(&mut self, unit: DdlUnit) -> Result<(), ApplyError> {
        let mut executor = self.idle.remove(0);
        let ran = {
            let mut run = pin!(ddl::run(&mut executor, &unit, self.options, &self.keys));
            let mut keepalive = interval(KEEPALIVE);
            keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    ran = &mut run => break ran,
                    _ = keepalive.tick() => {
                        for other in &mut self.idle {
                            other.keep_alive().await?;
                        }
                    }
                }
            }
        };
        if let Err(error) = ran {
            executor.close().await;
            return Err(error);
        }
        self.idle.push(executor);
        if let Some(state) = &unit.state {
            self.committed(state, 1, 0).await;
        }
        // Nobody waits for it any more when the attempt ends.
        let _ = unit.done.send(());
        Ok(())
    }

    async fn part(&mut self, part: &Part) -> Result<(), ApplyError> {
        let executor = match self.streaming.take() {
            Some(executor) => executor,
            None => self.idle.remove(0),
        };
        let executor = self.streaming.insert(executor);
        executor.part(part).await?;
        let rows = part.changes.len() as u64;
        self.options.meter.changes(&part.changes);
        match &part.end {
            Some(state) => {
                if let Some(mut executor) = self.streaming.take() {
                    self.tell_conflicts(&mut executor);
                    self.idle.push(executor);
                }
                self.committed(state, 1, rows).await;
            }
            None => self.progress.send_modify(|progress| progress.rows += rows),
        }
        Ok(())
    }

    /// A step of a copy may take its time: the other sessions are kept.
    async fn copy(&mut self, unit: CopyUnit, keepalive: &mut Interval) -> Result<(), ApplyError> {
        let CopyUnit { step, state, done } = unit;
        let rules = self.options.copy_rules(Arc::clone(&self.keys));
        // A unit is taken only while a worker is free.
        let mut executor = self.idle.remove(0);
        let outcome = {
            let mut taken = pin!(executor.copy(&step, &state, &rules));
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut taken => break outcome,
                    _ = keepalive.tick() => {
                        for other in &mut self.idle {
                            other.keep_alive().await?;
                        }
                    }
                }
            }
        };
        let others = match outcome {
            Ok(others) => others,
            Err(error) => {
                // Its session may be another than it was.
                executor.close().await;
                return Err(error);
            }
        };
        self.idle.push(executor);
        if let Step::End(..) = step {
            self.keys.wake();
        }
        self.committed(&state, 0, 0).await;
        // Gone, when planning has ended for another reason.
        let _ = done.send(others);
        Ok(())
    }

    fn tell_conflicts(&self, executor: &mut Executor) {
        let conflicts = executor.take_conflicts();
        if conflicts.total() > 0 {
            self.progress
                .send_modify(|progress| progress.conflicts += conflicts);
        }
    }

    /// Everything is applied; what was copied is whole when its keys are there as well.
    async fn reached(
        &mut self,
        cancel: &CancellationToken,
        keepalive: &mut Interval,
    ) -> Result<applier::Outcome, ApplyError> {
        let keys = Arc::clone(&self.keys);
        let mut settled = pin!(keys.settle());
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(applier::Outcome::Cancelled),
                settled = &mut settled => return settled.map(|()| applier::Outcome::Reached),
                _ = keepalive.tick() => self.keep_alive().await?,
            }
        }
    }

    /// After the groups that are under way.
    async fn stop(&mut self) -> Result<applier::Outcome, ApplyError> {
        if let Some(executor) = &mut self.streaming {
            executor.roll_back().await?;
        }
        while let Some(finished) = self.running.join_next().await {
            self.finished(finished).await?;
        }
        Ok(applier::Outcome::Cancelled)
    }

    async fn keep_alive(&mut self) -> Result<(), ApplyError> {
        for executor in self.idle.iter_mut().chain(&mut self.streaming) {
            executor.keep_alive().await?;
        }
        Ok(())
    }

    async fn committed(&mut self, state: &FoldState, transactions: u64, rows: u64) {
        let lag = state.newest.as_ref().map(|newest| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            now.saturating_sub(Duration::from_micros(newest.original_commit_us))
        });
        self.needs = Fold::resume(state.clone()).1;
        self.progress.send_modify(|progress| {
            progress.state = Some(Arc::new(state.clone()));
            progress.transactions += transactions;
            progress.rows += rows;
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

    /// The sessions end, and with them whatever is not committed.
    pub async fn close(mut self) {
        self.adding_keys.abort();
        self.turns.failed(0);
        let given_up = async {
            while let Some(Ok(finished)) = self.running.join_next().await {
                self.idle.push(finished.executor);
            }
        };
        // Those that take longer lose their connections.
        let _ = timeout(GIVEN_UP, given_up).await;
        self.register(true).await;
        for executor in self.idle.drain(..).chain(self.streaming.take()) {
            executor.close().await;
        }
    }
}
