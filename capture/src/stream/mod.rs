//! The stream: from a source's events to the log's records, through disconnects.
//!
//! Every attempt is a new incarnation in the log. It asks the log where it stands (R1), checks that the source has the same history,
//! and dumps what the fold lacks. Nothing is kept from an attempt that failed: what was durable is in the log, the rest is sent again.
//! A transaction that was cut off is void for every reader as soon as the next `Start` stands in the log.

pub mod account;
pub mod assembly;
pub mod attach;
mod attach_files;
#[cfg(test)]
mod damage_tests;
pub mod error;
pub(crate) mod events;
mod history;
#[cfg(test)]
mod order_tests;
mod probe;
mod semi_sync;
pub(crate) mod split;

use std::{
    convert::Infallible,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use binferry_schemas::{
    address::Address,
    filter::TableFilter,
    gtid::{Gtid, GtidSet, Uuid},
    source::SourceAddress,
};
use binferry_transport::{
    log::{Log, Stall},
    meter::{LastError, TableRows},
    session::{Session, SessionOptions},
};
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    client::Connection,
    dump::Dump,
    error::CaptureError,
    files::FileError,
    preflight::SourceFacts,
    retry::{Verdict, backoff, verdict},
};
use assembly::{Assembly, Counters, Progressed, SourceSettings};

use crate::snapshot::{self, CopyOptions, CopyProgress, desk::Received, error::SnapshotError};
use events::{Events, Filled};

pub use attach_files::compare_with;
pub use events::Extent;
pub use probe::Probe;

/// Where a first start begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The source's first transaction; refused by default when the source has purged it.
    Earliest,
    /// The tables are copied; what the source has executed counts as present. In a log that has fewer tables than are asked for, those that
    /// it lacks are copied.
    Snapshot,
    /// What the source has executed counts as present.
    Now,
    /// This set counts as present.
    Set(GtidSet),
}

#[derive(Debug, Clone)]
pub struct CaptureOptions {
    pub source: SourceAddress,
    pub site: String,
    pub server_id: Option<u32>,
    pub filter: TableFilter,
    /// For a first start only. Without it the tables of a MySQL server are copied; elsewhere it begins where nothing is left out, or not
    /// at all.
    pub from: Option<From>,
    /// Without [`from`](Self::from), too, nothing is copied: who reads the log has no use for it.
    pub no_copy: bool,
    /// How tables are copied.
    pub copy: CopyOptions,
    /// End when the log holds all of it.
    pub until: Option<GtidSet>,
    pub heartbeat: Duration,
    /// How long an unreachable source is tried again.
    pub retry_for: Duration,
    pub session: SessionOptions,
    /// Counts the rows that are captured.
    pub tables: Arc<TableRows>,
}

/// For people who watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    pub connected: bool,
    pub file: String,
    pub position: u64,
    pub transactions: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Of a source that has an end.
    pub extent: Option<Extent>,
    /// Microseconds between the newest commit on the source and now; 0 when nothing is waiting.
    pub lag_us: u64,
    pub newest: Option<Gtid>,
    /// Of this connection.
    pub counters: Counters,
    /// Of the connections before.
    pub earlier: Counters,
    /// What the log durably holds, as of half a second ago at most.
    pub held: GtidSet,
    /// How often the stream was interrupted, and tried again.
    pub retries: u64,
    /// Why it was the last time.
    pub last_error: Option<LastError>,
    pub connects: u64,
    /// While the log takes nothing: what has been read since is not durable.
    pub stall: Option<Stall>,
    /// Tables that are being copied.
    pub copies: Vec<CopyProgress>,
    /// Why nothing is copied now.
    pub copies_wait: Option<String>,
}

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(500);
/// Copies that are begun anew because of a row that may have been missed, before that is an error.
const BEGUN_ANEW: u32 = 20;
/// Events between two looks at the clock and at the token, while a backlog is read.
const LOOK_EVERY: u32 = 4096;

/// Captures until it is cancelled, `until` is reached, or something stops it. Answers with what the log then holds.
pub async fn capture(
    options: &CaptureOptions,
    log: Arc<dyn Log>,
    cancel: &CancellationToken,
    progress: &watch::Sender<Progress>,
) -> Result<GtidSet, CaptureError> {
    let mut pauses = backoff();
    let mut failing_since: Option<Instant> = None;
    let (mut again, mut begun_anew) = (Vec::new(), 0);
    loop {
        let before = (progress.borrow().connects, progress.borrow().bytes);
        let error = match attempt(options, &log, cancel, progress, &again).await {
            Ok(set) => return Ok(set),
            Err(error) => error,
        };
        progress.send_modify(|p| {
            (p.connected, p.stall, p.copies_wait) = (false, None, None);
            p.copies.clear();
            (p.earlier, p.counters) = (p.earlier.and(p.counters), Counters::default());
        });
        again.clear();
        if let CaptureError::Snapshot(SnapshotError::Widened) = &error {
            continue;
        }
        // Nothing of the transaction counts, and the log is told of it first.
        if let CaptureError::Snapshot(SnapshotError::Moved { database, table }) = &error
            && begun_anew < BEGUN_ANEW
        {
            begun_anew += 1;
            warn!(reason = %error, "copying the table once more");
            again.push((database.clone(), table.clone()));
            continue;
        }
        if verdict(&error) == Verdict::Stop {
            return Err(error);
        }
        if (progress.borrow().connects, progress.borrow().bytes) != before {
            (pauses, failing_since) = (backoff(), None);
        }
        if failing_since.get_or_insert_with(Instant::now).elapsed() > options.retry_for {
            return Err(error);
        }
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        let told = LastError::now(&error);
        warn!(
            error = told.error,
            pause_ms = pause.as_millis() as u64,
            "the stream was interrupted; trying again"
        );
        progress.send_modify(|p| {
            p.retries += 1;
            p.last_error = Some(told);
        });
        tokio::select! {
            () = cancel.cancelled() => return Ok(binferry_transport::resume::tail_state(log.as_ref()).await?.set),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn attempt(
    options: &CaptureOptions,
    log: &Arc<dyn Log>,
    cancel: &CancellationToken,
    progress: &watch::Sender<Progress>,
    again: &[snapshot::Name],
) -> Result<GtidSet, CaptureError> {
    let server = match &options.source {
        SourceAddress::Server(server) => server,
        SourceAddress::Files(paths) => {
            let attached = attach_files::attach(options, paths, log).await?;
            // Files don't say how their server compares names.
            let carrying = Carrying {
                options,
                filter: options.filter.clone(),
                settings: SourceSettings::default(),
                log,
                cancel,
                progress,
                copies: None,
                again: &[],
            };
            let carried = carrying.carry(attached.files, attached.session).await?;
            return Ok(carried.held);
        }
    };
    let mut connection = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ok(binferry_transport::resume::tail_state(log.as_ref()).await?.set),
        connection = Connection::open(server) => connection?,
    };
    let Some(attached) = attach::attach(options, server, log, &mut connection, cancel).await?
    else {
        return Ok(binferry_transport::resume::tail_state(log.as_ref())
            .await?
            .set);
    };
    info!(source = %connection.server(), log = %log.name(), server_id = attached.server_id, "capturing");
    let copies = Some((server, attached.server_uuid));
    let dump = Dump::start(connection, &attached.request.as_request()).await;
    let carrying = Carrying {
        options,
        filter: attached.filter,
        settings: attached.settings,
        log,
        cancel,
        progress,
        copies,
        again,
    };
    let carried = carrying.carry(dump, attached.session).await?;
    let (file, position) = {
        let progress = progress.borrow();
        (progress.file.clone(), progress.position)
    };
    let ended = account::Ended {
        file: &file,
        position,
        within: carried.within,
        held: &carried.held,
    };
    account::ask(server, &ended).await?;
    Ok(carried.held)
}

/// What an attempt does not change.
struct Carrying<'a> {
    options: &'a CaptureOptions,
    /// With names as the source compares them.
    filter: TableFilter,
    settings: SourceSettings,
    log: &'a Arc<dyn Log>,
    cancel: &'a CancellationToken,
    progress: &'a watch::Sender<Progress>,
    /// The server out of which tables are copied.
    copies: Option<(&'a Address, Uuid)>,
    /// Tables that are to be copied once more.
    again: &'a [snapshot::Name],
}

/// What an attempt has come to.
struct Carried {
    /// What the log then holds.
    held: GtidSet,
    /// It has ended inside a transaction.
    within: bool,
}

impl Carrying<'_> {
    /// From the first event to the session's end.
    async fn carry<E: Events, F: Into<CaptureError>>(
        &self,
        events: Result<E, F>,
        mut session: Session,
    ) -> Result<Carried, CaptureError> {
        self.progress.send_modify(|p| {
            p.file.clear();
            p.position = 0;
        });
        let followed = match events {
            Ok(events) => {
                self.progress.send_modify(|p| {
                    p.connected = true;
                    p.connects += 1;
                });
                let stall = session.stall();
                tell_held(&session, self.progress);
                let mut assembly = Assembly::new(self.filter.clone(), self.log.record_bytes())
                    .with_settings(self.settings.clone())
                    .with_tables(Arc::clone(&self.options.tables));
                for name in self.again {
                    snapshot::desk::want(std::slice::from_ref(name), &mut session).await?;
                }
                let copying = self.copying(&session, &mut assembly);
                tokio::select! {
                    biased;
                    followed = self.follow(events, &mut assembly, &mut session) => followed,
                    error = copying => Err(error),
                    never = tell_stalls(stall, self.progress) => match never {},
                }
            }
            Err(error) => Err(error.into()),
        };
        // Whatever was whole becomes durable, also when the stream has failed; the stream's own error is the one to tell.
        let closed = session.close().await;
        let within = followed?;
        Ok(Carried {
            held: closed?.set,
            within,
        })
    }

    /// The copy of tables, beside the stream; for ever, or to its error.
    fn copying(
        &self,
        session: &Session,
        assembly: &mut Assembly,
    ) -> impl Future<Output = CaptureError> + use<> {
        let copying = self.copies.map(|(address, server_uuid)| {
            let mut sites = session.state().sites.iter();
            let site = sites.find(|site| site.site == self.options.site);
            let beginning = snapshot::Beginning {
                address: address.clone(),
                server_uuid,
                filter: self.filter.clone(),
                options: self.options.copy,
                jobs: site.map(|site| site.jobs.clone()).unwrap_or_default(),
                copies: site.map(|site| site.copies.clone()).unwrap_or_default(),
                cancel: self.cancel.clone(),
            };
            snapshot::begin(beginning, self.log.clone(), self.progress, assembly.desk())
        });
        async move {
            match copying {
                Some(copying) => copying.await,
                None => std::future::pending().await,
            }
        }
    }

    /// While a table without a key opens its snapshot, no transaction may pass. `false`: cancelled.
    async fn hold(
        &self,
        assembly: &mut Assembly,
        session: &mut Session,
        tick: &mut Interval,
    ) -> Result<bool, CaptureError> {
        while assembly.desk().is_holding() {
            let received = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Ok(false),
                received = assembly.desk().wait() => received,
                _ = tick.tick() => {
                    session.tick().await?;
                    continue;
                }
            };
            assembly.serve(received, session).await?;
        }
        Ok(true)
    }

    /// One loop, in this order: stop, events, time. Answers whether it has ended inside a transaction.
    async fn follow<E: Events>(
        &self,
        mut events: E,
        assembly: &mut Assembly,
        session: &mut Session,
    ) -> Result<bool, CaptureError> {
        let Self {
            options,
            log,
            cancel,
            progress,
            ..
        } = self;
        let mut missing = options
            .until
            .as_ref()
            .map(|until| until.subtract(&session.state().set));
        if missing.as_ref().is_some_and(GtidSet::is_empty) && !is_copying(session, assembly) {
            return Ok(false);
        }
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut copies_due = false;
        loop {
            if !self.hold(assembly, session, &mut tick).await? {
                return Ok(false);
            }
            let mut looked = 0u32;
            while let Some(event) = events.buffered()? {
                let progressed = assembly.event(event, log, session).await?;
                if let Some(missing) = &mut missing {
                    if let Progressed::Transaction(gtid) = progressed {
                        missing.pass(&gtid);
                    }
                    if missing.is_empty() && !is_copying(session, assembly) {
                        session.flush().await?;
                        session.tell(assembly.counts());
                        report(assembly, events.extent(), progress, false);
                        return Ok(false);
                    }
                }
                if assembly.is_due() {
                    assembly.serve(Received::NOTHING, session).await?;
                    if cancel.is_cancelled() || !self.hold(assembly, session, &mut tick).await? {
                        session.tell(assembly.counts());
                        return Ok(assembly.is_open());
                    }
                }
                if copies_due && !assembly.is_open() {
                    copies_due = false;
                    assembly.copy_old(log, session).await?;
                }
                looked += 1;
                if looked == LOOK_EVERY {
                    looked = 0;
                    report(assembly, events.extent(), progress, false);
                    if cancel.is_cancelled() {
                        session.tell(assembly.counts());
                        return Ok(assembly.is_open());
                    }
                    session.tell(assembly.counts());
                    session.tick().await?;
                    tell_held(session, progress);
                    copies_due = true;
                }
            }
            // Nothing more lies in the buffer: what is whole goes to the log at once, so the load itself sets the size of a batch.
            session.flush().await?;
            report(assembly, events.extent(), progress, !assembly.is_open());
            // One wait for bytes across all ticks, or the source's silence would never be long enough to be noticed.
            let mut filled = pin!(events.fill(assembly.is_open()));
            let filled = loop {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => {
                        session.tell(assembly.counts());
                        return Ok(assembly.is_open());
                    }
                    filled = &mut filled => break filled?,
                    received = assembly.desk().wait(), if !assembly.is_open() => {
                        assembly.serve(received, session).await?;
                        session.flush().await?;
                        let through = missing.as_ref().is_some_and(GtidSet::is_empty)
                            && !is_copying(session, assembly);
                        if through || cancel.is_cancelled() {
                            session.tell(assembly.counts());
                            return Ok(false);
                        }
                    }
                    _ = tick.tick() => {
                        session.tell(assembly.counts());
                        session.tick().await?;
                        tell_held(session, progress);
                        assembly.copy_old(log, session).await?;
                        if missing.as_ref().is_some_and(GtidSet::is_empty)
                            && !assembly.is_open()
                            && !is_copying(session, assembly)
                        {
                            return Ok(false);
                        }
                    }
                }
            };
            if filled == Filled::End {
                break;
            }
        }
        session.tell(assembly.counts());
        events.end(assembly.is_open())?;
        report(assembly, events.extent(), progress, true);
        match missing {
            Some(missing) => Err(FileError::UntilMissing { missing }.into()),
            None => Ok(assembly.is_open()),
        }
    }
}

/// Whether the log lacks rows of tables that are to be copied.
fn is_copying(session: &Session, assembly: &mut Assembly) -> bool {
    if assembly.desk().is_preparing() {
        return true;
    }
    let mut sites = session.state().sites.iter();
    sites.any(|site| !site.jobs.is_empty() || !site.copies.is_empty())
}

fn tell_held(session: &Session, progress: &watch::Sender<Progress>) {
    let held = &session.state().set;
    progress.send_if_modified(|p| {
        let modified = p.held != *held;
        if modified {
            p.held.clone_from(held);
        }
        modified
    });
}

/// Beside `follow`, which can't tell while it waits for room.
async fn tell_stalls(
    mut stall: watch::Receiver<Option<Stall>>,
    progress: &watch::Sender<Progress>,
) -> Infallible {
    loop {
        let newest = stall.borrow_and_update().clone();
        progress.send_if_modified(|p| {
            let modified = p.stall != newest;
            p.stall = newest;
            modified
        });
        if stall.changed().await.is_err() {
            // The writer has gone; `follow` will notice.
            std::future::pending::<()>().await;
        }
    }
}

fn report(
    assembly: &Assembly,
    extent: Option<Extent>,
    progress: &watch::Sender<Progress>,
    idle: bool,
) {
    let counters = assembly.counters();
    progress.send_if_modified(|p| {
        if p.bytes == counters.bytes && p.lag_us == 0 && p.extent == extent {
            return false;
        }
        p.file.clear();
        p.file.push_str(assembly.file());
        p.position = assembly.position();
        (p.transactions, p.rows, p.bytes) = (counters.transactions, counters.rows, counters.bytes);
        p.newest = counters.newest;
        p.counters = counters;
        p.extent = extent;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_micros() as u64);
        // Files lag behind nothing.
        p.lag_us = if idle || extent.is_some() {
            0
        } else {
            now.saturating_sub(counters.newest_commit_us)
        };
        true
    });
}

/// Whether a capture with these options would begin the log with a copy of the tables, if the source is a MySQL.
pub async fn copies_first(options: &CaptureOptions, log: &dyn Log) -> Result<bool, CaptureError> {
    let wanted = match &options.from {
        None => !options.no_copy,
        Some(from) => *from == From::Snapshot,
    };
    let is_server = matches!(options.source, SourceAddress::Server(_));
    Ok(wanted
        && is_server
        && binferry_transport::resume::tail_state(log)
            .await?
            .sites
            .is_empty())
}

/// What the source has executed, for `--until now`; tried again like a capture.
pub async fn executed(source: &Address, retry_for: Duration) -> Result<GtidSet, CaptureError> {
    let (begun, mut pauses) = (Instant::now(), backoff());
    loop {
        let asked = async {
            let mut connection = Connection::open(source).await?;
            let facts = SourceFacts::read(&mut connection).await?;
            connection.close().await;
            Ok(facts.executed)
        };
        match asked.await {
            Err(error) if verdict(&error) == Verdict::Retry && begun.elapsed() < retry_for => {
                warn!(
                    error = LastError::now(&error).error,
                    "the source is out of reach; trying again"
                );
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
            other => return other,
        }
    }
}
