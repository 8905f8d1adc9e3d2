//! The copy of tables that are there already, into the log, while the stream flows: docs/snapshot.md has the rules and the argument.
//!
//! A coordinator goes through the jobs that the fold has; readers, each on a connection of its own, read tables range by range out of
//! consistent snapshots; the [`desk`] is where the stream takes what they hand in. Everything that must survive is in the log: after any
//! end, the next attempt goes on behind the last range of each copy.
//!
//! No lock is taken and nothing is written on the source. An error of any reader ends the attempt, as one of the stream does.

mod definition;
pub(crate) mod desk;
pub mod error;
mod keys;
mod ranges;
mod reader;
pub mod request;
mod sql;
mod table;
mod window;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use binferry_schemas::{
    address::Address,
    fault::Fault,
    filter::TableFilter,
    gtid::Uuid,
    record::{CopyState, JobState, Over, SnapshotDatabase, SnapshotJob, SnapshotStep},
};
use binferry_transport::log::Log;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(crate) use self::definition::CASCADES;
pub use self::definition::Name;
use self::{
    definition::Definition,
    desk::{Content, Desk, Order, Verdict},
    error::SnapshotError,
    reader::Reader,
    request::Request,
    table::{Loaded, TableCopy},
    window::What,
};
use crate::{client::Connection, error::CaptureError, preflight, stream::Progress};

/// Orders that wait at the desk.
const ORDERS: usize = 16;
/// While something is too busy.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How often requests beside the log are looked for.
const REQUESTS_EVERY: Duration = Duration::from_secs(2);

/// How tables are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOptions {
    /// Tables that are read at the same time, each on a connection of its own.
    pub readers: usize,
    /// At most so many rows a second, of all readers together.
    pub rate: Option<u64>,
    /// Nothing is read while the stream is farther behind the source.
    pub lag: Option<Duration>,
    /// Nothing is read while more of the source's threads are at work (its Threads_running).
    pub threads: Option<u64>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            rate: None,
            lag: None,
            threads: None,
        }
    }
}

/// A table that is being copied, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyProgress {
    pub database: String,
    pub table: String,
    pub rows: u64,
    /// The server's estimate.
    pub estimated_rows: u64,
    pub estimated_bytes: u64,
    /// When this capture began with it, and how many rows there were then.
    pub since: Option<std::time::Instant>,
    pub rows_before: u64,
}

impl CopyProgress {
    /// About so many, by the table's average row.
    pub fn bytes(&self) -> u64 {
        bytes_of(self.rows, self.estimated_rows, self.estimated_bytes)
    }

    /// At the rate since `since`; `None`: there is none yet.
    pub fn left(&self) -> Option<Duration> {
        let took = self.since?.elapsed();
        let fresh = self.rows.saturating_sub(self.rows_before);
        if fresh == 0 || took < Duration::from_secs(1) {
            return None;
        }
        let missing = self.estimated_rows.saturating_sub(self.rows);
        let seconds = took.as_secs_f64() * missing as f64 / fresh as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// What rows of a table take, by the server's estimates of all of it.
pub fn bytes_of(rows: u64, estimated_rows: u64, estimated_bytes: u64) -> u64 {
    let all = u128::from(rows) * u128::from(estimated_bytes);
    u64::try_from(all / u128::from(estimated_rows.max(1))).unwrap_or(u64::MAX)
}

/// What the readers of an attempt share.
#[derive(Debug)]
struct Shared {
    address: Address,
    server_uuid: Uuid,
    filter: TableFilter,
    log: Arc<dyn Log>,
    desk: mpsc::Sender<Order>,
    options: CopyOptions,
    /// When the next rows may be read.
    paced: tokio::sync::Mutex<Option<Instant>>,
    progress: watch::Sender<Progress>,
    tables: Mutex<BTreeMap<Name, CopyProgress>>,
}

impl Shared {
    async fn reader(&self) -> Result<Reader, CaptureError> {
        Reader::open(&self.address, self.server_uuid, self.desk.clone()).await
    }

    fn check(&self, definition: &Definition) -> Result<(), SnapshotError> {
        match &definition.cascade {
            None => Ok(()),
            Some(constraint) => Err(SnapshotError::Cascade {
                database: definition.schema.database.clone(),
                table: definition.schema.table.clone(),
                constraint: constraint.clone(),
            }),
        }
    }

    /// Waits while the stream or the source is too busy for a copy. Not inside a window.
    async fn wait_for_leave(&self, reader: &mut Reader) -> Result<(), CaptureError> {
        loop {
            let reason = self.busy(reader).await?;
            if self.progress.borrow().copies_wait != reason {
                match &reason {
                    Some(reason) => info!(reason, "the copy waits"),
                    None => info!("the copy goes on"),
                }
                self.progress
                    .send_modify(|progress| progress.copies_wait.clone_from(&reason));
            }
            if reason.is_none() {
                return Ok(());
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn busy(&self, reader: &mut Reader) -> Result<Option<String>, CaptureError> {
        let behind = (self.options.lag).and_then(|most| behind(&self.progress.borrow(), most));
        if behind.is_some() {
            return Ok(behind);
        }
        if let Some(most) = self.options.threads {
            let running = reader.threads_running().await?;
            if running > most {
                return Ok(Some(format!("{running} threads run on the source")));
            }
        }
        Ok(None)
    }

    async fn throttle(&self, rows: u64) {
        let Some(rate) = self.options.rate.filter(|rate| *rate > 0) else {
            return;
        };
        let until = {
            let mut paced = self.paced.lock().await;
            let now = Instant::now();
            let from = paced.map_or(now, |paced| paced.max(now));
            let until = from + Duration::from_secs_f64(rows as f64 / rate as f64);
            *paced = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }

    fn tell(&self, state: &CopyState) {
        let name = (state.table.database.clone(), state.table.table.clone());
        let told = CopyProgress {
            database: name.0.clone(),
            table: name.1.clone(),
            rows: state.rows,
            estimated_rows: state.estimated_rows,
            estimated_bytes: state.estimated_bytes,
            since: Some(std::time::Instant::now()),
            rows_before: state.rows,
        };
        self.publish(|tables| match tables.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(told);
            }
            Entry::Occupied(mut entry) => {
                let (since, rows_before) = (entry.get().since, entry.get().rows_before);
                entry.insert(CopyProgress {
                    since,
                    rows_before,
                    ..told
                });
            }
        });
    }

    fn forget(&self, state: &CopyState) {
        let name = (state.table.database.clone(), state.table.table.clone());
        self.publish(|tables| tables.remove(&name));
    }

    fn publish<T>(&self, change: impl FnOnce(&mut BTreeMap<Name, CopyProgress>) -> T) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tables);
        let copies = tables.values().cloned().collect();
        self.progress
            .send_modify(|progress| progress.copies = copies);
    }
}

/// What an attempt begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub address: Address,
    pub server_uuid: Uuid,
    pub filter: TableFilter,
    pub options: CopyOptions,
    pub jobs: Vec<JobState>,
    pub copies: Vec<CopyState>,
    pub cancel: CancellationToken,
}

/// Opens the desk, and answers with the work behind it, which ends only with an error.
pub(crate) fn begin(
    beginning: Beginning,
    log: Arc<dyn Log>,
    progress: &watch::Sender<Progress>,
    desk: &mut Desk,
) -> impl Future<Output = CaptureError> + use<> {
    let (orders, received) = mpsc::channel(ORDERS);
    let (wanted, jobs) = mpsc::unbounded_channel();
    desk.open_for(received, wanted, &beginning.copies, beginning.cancel);
    let shared = Arc::new(Shared {
        address: beginning.address,
        server_uuid: beginning.server_uuid,
        filter: beginning.filter,
        log,
        desk: orders,
        options: beginning.options,
        paced: tokio::sync::Mutex::default(),
        progress: progress.clone(),
        tables: Mutex::default(),
    });
    let coordinator = Coordinator {
        shared,
        readers: beginning.options.readers.max(1),
        jobs: beginning.jobs,
        wanted: jobs,
        running: JoinSet::new(),
        active: BTreeMap::new(),
    };
    async move {
        match coordinator.run(beginning.copies).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }
}

/// Goes through the jobs.
struct Coordinator {
    shared: Arc<Shared>,
    readers: usize,
    jobs: Vec<JobState>,
    wanted: mpsc::UnboundedReceiver<SnapshotJob>,
    /// Each answers with its job.
    running: JoinSet<Result<Uuid, CaptureError>>,
    /// How many copies of each job are under way.
    active: BTreeMap<Uuid, usize>,
}

impl Coordinator {
    async fn run(
        mut self,
        copies: Vec<CopyState>,
    ) -> Result<std::convert::Infallible, CaptureError> {
        self.requests().await?;
        let ready = self.shared.desk.send(Order::Ready).await;
        ready.map_err(|_| SnapshotError::Ended)?;
        // What is to be copied once more need not be copied to its end before.
        let jobs = &self.jobs;
        let is_awaited = |copy: &CopyState| {
            let table = &copy.table;
            let mut jobs = jobs.iter().filter(|job| job.job.over != Over::Repair);
            jobs.any(|job| job.awaits(&table.database, &table.table))
        };
        let copies: Vec<CopyState> = copies.into_iter().filter(|c| !is_awaited(c)).collect();
        let mut resumed = copies.into_iter();
        let mut planner: Option<Reader> = None;
        loop {
            while self.running.len() < self.readers
                && let Some(state) = resumed.next()
            {
                info!(
                    database = state.table.database,
                    table = state.table.table,
                    rows = state.rows,
                    "copy goes on"
                );
                self.spawn(state, None);
            }
            let next = self.jobs.iter().position(|job| !job.planned);
            if self.running.len() < self.readers
                && let Some(next) = next
            {
                if planner.is_none() {
                    planner = Some(self.shared.reader().await?);
                }
                if let Some(reader) = &mut planner {
                    self.plan(next, reader).await?;
                }
                continue;
            }
            planner = None;
            if resumed.len() == 0 {
                self.finish().await?;
            }
            tokio::select! {
                () = tokio::time::sleep(REQUESTS_EVERY) => self.requests().await?,
                Some(ended) = self.running.join_next() => {
                    let job = ended.map_err(|_| SnapshotError::Ended)??;
                    if let Some(active) = self.active.get_mut(&job) {
                        *active -= 1;
                    }
                }
                Some(job) = self.wanted.recv() => self.jobs.push(JobState {
                    job,
                    cursor: None,
                    planned: false,
                }),
            }
        }
    }

    /// Takes up what has been asked for beside the log.
    async fn requests(&mut self) -> Result<(), CaptureError> {
        let log = self.shared.log.clone();
        for (id, text) in log.requests().await? {
            let (tables, over) = match Request::parse(&text) {
                Some(Request::Added { .. }) => continue,
                Some(Request::Copy { tables, over }) => (tables, over),
                None => {
                    warn!(request = %id, "a request beside the log cannot be read, and is taken away");
                    log.answered(id).await?;
                    continue;
                }
            };
            let mut reader = self.shared.reader().await?;
            if is_refused(reader.connection(), &log, id, &tables).await? {
                continue;
            }
            let filter = &self.shared.filter;
            match filter.widened(&tables) {
                Some(wider) if wider == *filter => {}
                // Their changes are not in the log yet.
                Some(_) => {
                    info!(tables = %tables, "tables are to be added");
                    return Err(SnapshotError::Widened.into());
                }
                None => {
                    warn!(request = %id, tables = %tables, "--tables leaves out tables that are to be copied: the request is taken away");
                    log.answered(id).await?;
                    continue;
                }
            }
            let over = match over {
                Over::Nothing => Over::Repair,
                over => over,
            };
            let job = request::job(id, &tables, over);
            if self.jobs.iter().all(|known| known.job.id != id) {
                let (reply, done) = oneshot::channel();
                let step = SnapshotStep::Wanted(job.clone());
                let sent = self.shared.desk.send(Order::Step { step, reply }).await;
                sent.map_err(|_| SnapshotError::Ended)?;
                done.await.map_err(|_| SnapshotError::Ended)?;
                info!(job = %job.id, tables = job.tables, "copy asked for");
                self.jobs.push(JobState {
                    job,
                    cursor: None,
                    planned: false,
                });
            }
            log.answered(id).await?;
        }
        Ok(())
    }

    fn spawn(&mut self, state: CopyState, loaded: Option<Loaded>) {
        let job = state.job;
        *self.active.entry(job).or_default() += 1;
        self.shared.tell(&state);
        let copy = TableCopy {
            shared: self.shared.clone(),
            state,
            left_out: 0,
        };
        self.running
            .spawn(async move { copy.run(loaded).await.map(|()| job) });
    }

    /// Begins the copy of the job's next table, or says that there is none.
    async fn plan(&mut self, at: usize, reader: &mut Reader) -> Result<(), CaptureError> {
        let shared = self.shared.clone();
        let JobState { job, cursor, .. } = &self.jobs[at];
        let job = job.clone();
        let cursor = cursor.clone();
        let (opened, open) = reader.window(What::Definitions, None).await?;
        let wanted = |database: &str, table: &str| {
            job.covers(database, table) && shared.filter.matches(database, table)
        };
        let found = definition::next_table(reader.connection(), cursor.as_ref(), wanted).await?;
        let mut begins = None;
        let steps = match found {
            None => {
                let wanted =
                    |database: &str| job.touches(database) && shared.filter.touches(database, "");
                let bare = definition::bare_databases(reader.connection(), wanted).await;
                let bare = match bare {
                    // One has gone meanwhile.
                    Err(error) if reader::is_redefined(&error) => {
                        let window = opened.window;
                        return reader.order(Order::Drop { window }).await;
                    }
                    bare => bare?,
                };
                let databases = bare.into_iter().map(|(database, create_database)| {
                    SnapshotStep::Database(SnapshotDatabase {
                        job: job.id,
                        database,
                        create_database,
                    })
                });
                databases.chain([SnapshotStep::Planned(job.id)]).collect()
            }
            Some(name) => {
                let found = match definition::read(reader.connection(), &name).await {
                    Err(error) if reader::is_locked(&error) => None,
                    found => found?,
                };
                let Some(definition) = found else {
                    let window = opened.window;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return reader.order(Order::Drop { window }).await;
                };
                shared.check(&definition)?;
                shared
                    .log
                    .put_schema(definition.fingerprint, &definition.text)
                    .await?;
                let over = definition.over(job.over);
                let begin = table::begin(&definition, job.id, over, None);
                begins = Some((name, CopyState::begun(&begin), definition));
                vec![SnapshotStep::Begin(Box::new(begin))]
            }
        };
        let closed = reader.close(open).await?;
        let content = Content::Steps(steps);
        let Verdict::Logged { epoch, .. } = reader.submit(opened.window, closed, content).await?
        else {
            return Ok(());
        };
        match begins {
            None => {
                if self.jobs[at].cursor.is_none() {
                    warn!(
                        tables = job.tables,
                        "there is no table to be copied by that name"
                    );
                }
                self.jobs[at].planned = true;
            }
            Some((name, state, definition)) => {
                info!(
                    database = name.0,
                    table = name.1,
                    key = definition.key.name,
                    estimated_rows = state.estimated_rows,
                    "copy begins"
                );
                self.jobs[at].cursor = Some(name);
                self.spawn(state, Some(Loaded::new(definition, epoch)));
            }
        }
        Ok(())
    }

    /// Says of the jobs that are over that they are.
    async fn finish(&mut self) -> Result<(), CaptureError> {
        let active = &self.active;
        let over = |job: &JobState| job.planned && active.get(&job.job.id).is_none_or(|n| *n == 0);
        while let Some(at) = self.jobs.iter().position(over) {
            let job = self.jobs.remove(at).job.id;
            let (reply, done) = oneshot::channel();
            let step = SnapshotStep::Done(job);
            let sent = self.shared.desk.send(Order::Step { step, reply }).await;
            sent.map_err(|_| SnapshotError::Ended)?;
            done.await.map_err(|_| SnapshotError::Ended)?;
            info!(job = %job, "all tables of the copy are in the log");
        }
        Ok(())
    }
}

/// Tells of a request that can't be done, and takes it away: the stream goes on without it.
pub(crate) async fn is_refused(
    connection: &mut Connection,
    log: &Arc<dyn Log>,
    id: Uuid,
    tables: &TableFilter,
) -> Result<bool, CaptureError> {
    let problems = preflight::copying(connection, tables).await?;
    let Err(problem) = preflight::refuse(&problems) else {
        return Ok(false);
    };
    let hint = problem.hint().unwrap_or_default();
    error!(request = %id, tables = %tables, hint, "{problem}: the request is taken away");
    log.answered(id).await?;
    Ok(true)
}

/// Why the stream is farther behind its source than that.
fn behind(progress: &Progress, most: Duration) -> Option<String> {
    if progress.file.is_empty() {
        return Some("the stream has not begun".to_owned());
    }
    // What has not been taken by the log is behind, too.
    let stalled = progress.stall.as_ref().map(|stall| stall.since);
    let stalled = stalled.and_then(|since| since.elapsed().ok());
    let lag = Duration::from_micros(progress.lag_us).max(stalled.unwrap_or_default());
    (lag > most).then(|| format!("the stream is {} s behind the source", lag.as_secs()))
}

/// A job for the tables of a filter.
pub fn job(tables: &TableFilter, except: Option<&TableFilter>, over: Over) -> SnapshotJob {
    SnapshotJob {
        id: Uuid::new_v4(),
        tables: tables.to_string(),
        except: except.map(ToString::to_string).unwrap_or_default(),
        over,
    }
}

fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use binferry_transport::log::Stall;

    use super::*;

    #[test]
    fn copies_wait_for_a_stream_that_is_behind() {
        let most = Duration::from_secs(10);
        let mut progress = Progress::default();
        assert!(behind(&progress, most).is_some());
        progress.file = "binlog.000001".to_owned();
        progress.lag_us = 10_000_000;
        assert_eq!(behind(&progress, most), None);
        progress.lag_us += 1;
        assert!(behind(&progress, most).unwrap().contains("10 s behind"));
        progress.lag_us = 0;
        progress.stall = Some(Stall {
            since: SystemTime::now() - Duration::from_secs(60),
            reason: String::new(),
        });
        assert!(behind(&progress, most).is_some());
    }

    #[test]
    fn what_is_left_is_told_by_the_rate() {
        let mut copy = CopyProgress {
            rows: 150,
            rows_before: 50,
            estimated_rows: 250,
            estimated_bytes: 2500,
            ..CopyProgress::default()
        };
        assert_eq!((copy.bytes(), copy.left()), (1500, None));
        copy.since = std::time::Instant::now().checked_sub(Duration::from_secs(100));
        assert_eq!(copy.left().map(|left| left.as_secs()), Some(100));
        // The estimate was too low.
        copy.rows = 300;
        assert_eq!(copy.left().map(|left| left.as_secs()), Some(0));
        assert_eq!(bytes_of(u64::MAX, 0, u64::MAX), u64::MAX);
    }
}
