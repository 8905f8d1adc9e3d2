//! Goes through the jobs that the fold has: begins the copies of their tables, in the order of names, and takes up what is asked for beside the
//! log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use binferry_schemas::{
    address::Address,
    fault::Fault,
    filter::TableFilter,
    gtid::Uuid,
    record::{CopyState, JobState, Over, SnapshotDatabase, SnapshotJob, SnapshotStep},
};
use binferry_transport::{log::Log, trouble::Trouble};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    CopyOptions, Shared,
    definition::{self, Name},
    desk::{Content, Desk, Opened, Order, Verdict},
    error::SnapshotError,
    reader::{self, Reader},
    request::{self, Request},
    table::{self, Loaded, TableCopy},
    window::What,
};
use crate::{client::Connection, error::CaptureError, preflight, stream::Progress};

/// Orders that wait at the desk.
const ORDERS: usize = 16;
/// How often requests beside the log are looked for.
const REQUESTS_EVERY: Duration = Duration::from_secs(2);

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
        seen: BTreeSet::new(),
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
    /// Tables that were there at the last look ([`definition::next_table`]).
    seen: BTreeSet<Name>,
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
                None if Trouble::parse(&text).is_some() => continue,
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
        let captured = |database: &str, table: &str| shared.filter.matches(database, table);
        let found = definition::next_table(
            reader.connection(),
            &mut self.seen,
            captured,
            cursor.as_ref(),
            wanted,
        )
        .await;
        let found = match found {
            Err(error) if reader::is_locked(&error) => return not_now(reader, &opened).await,
            found => found?,
        };
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
                    return not_now(reader, &opened).await;
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

/// Nothing comes of the window; the next one is soon.
async fn not_now(reader: &Reader, opened: &Opened) -> Result<(), CaptureError> {
    let window = opened.window;
    tokio::time::sleep(Duration::from_millis(20)).await;
    reader.order(Order::Drop { window }).await
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
