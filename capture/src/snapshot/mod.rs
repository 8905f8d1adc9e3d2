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
    filter::TableFilter,
    gtid::Uuid,
    record::{CopyState, JobState, Over, SnapshotJob, SnapshotStep},
};
use binferry_transport::log::Log;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{info, warn};

use self::{
    definition::{Definition, Name},
    desk::{Content, Desk, Order, Verdict},
    error::SnapshotError,
    reader::Reader,
    table::{Loaded, TableCopy},
    window::What,
};
use crate::{error::CaptureError, stream::Progress};

/// Orders that wait at the desk.
const ORDERS: usize = 16;
/// How often requests beside the log are looked for.
const REQUESTS_EVERY: Duration = Duration::from_secs(2);

/// How tables are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyOptions {
    /// Tables that are read at the same time, each on a connection of its own.
    pub readers: usize,
    /// At most so many rows a second, of all readers together.
    pub rate: Option<u64>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            rate: None,
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

/// What the readers of an attempt share.
#[derive(Debug)]
struct Shared {
    address: Address,
    server_uuid: Uuid,
    filter: TableFilter,
    log: Arc<dyn Log>,
    desk: mpsc::Sender<Order>,
    rate: Option<u64>,
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

    async fn throttle(&self, rows: u64) {
        let Some(rate) = self.rate.filter(|rate| *rate > 0) else {
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

    fn forget(&self, name: &Name) {
        self.publish(|tables| tables.remove(name));
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
    desk.open_for(received, wanted);
    let shared = Arc::new(Shared {
        address: beginning.address,
        server_uuid: beginning.server_uuid,
        filter: beginning.filter,
        log,
        desk: orders,
        rate: beginning.options.rate,
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
            match request::parse(id, &text) {
                None => {
                    warn!(request = %id, "a request beside the log cannot be read, and is taken away")
                }
                Some(job) if self.jobs.iter().any(|known| known.job.id == job.id) => {}
                Some(job) => {
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
        let step = match found {
            None => SnapshotStep::Planned(job.id),
            Some(name) => {
                let Some(definition) = definition::read(reader.connection(), &name).await? else {
                    let window = opened.window;
                    return reader.order(Order::Drop { window }).await;
                };
                shared.check(&definition)?;
                shared
                    .log
                    .put_schema(definition.fingerprint, &definition.text)
                    .await?;
                let begin = table::begin(&definition, job.id, job.over, None);
                begins = Some((name, CopyState::begun(&begin), definition));
                SnapshotStep::Begin(Box::new(begin))
            }
        };
        let closed = reader.close(open).await?;
        let verdict = reader
            .hand_in(opened.window, closed, Content::Steps(vec![step]))
            .await?;
        let Verdict::Logged { epoch, .. } = verdict.await.map_err(|_| SnapshotError::Ended)? else {
            return Ok(());
        };
        match begins {
            None => self.jobs[at].planned = true,
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
