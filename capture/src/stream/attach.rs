//! Before the first event: is the source fit, do source and log belong together, where does the dump begin?
//!
//! The checks run twice: before the `Start`, so that a source that does not fit leaves no trace in the log, and again on the fold at the
//! `Start`, because another capture may have written in between (`protocol.md`'s rule "is the log a subset of the source").

use std::{sync::Arc, time::Duration};

use binferry_schemas::{
    address::Address,
    filter::TableFilter,
    gtid::{GtidSet, Uuid},
    record::{FoldState, Over, SnapshotJob, Start, WHICH_ZONE},
};
use binferry_transport::{log::Log, resume::tail_state, session::Session};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    CaptureOptions, From, assembly::SourceSettings, error::StreamError, history::Asking, semi_sync,
};
use crate::{
    client::Connection,
    dump::{Request, choose_server_id},
    error::{CaptureError, Permanent},
    preflight::{self, Severity, SourceFacts, Wanted},
    retry::{Verdict, verdict},
    snapshot::{
        self,
        request::{self, Widening},
    },
};

/// How long, and how often, a transaction that only the log has is looked for at the source.
const SETTLE: (Duration, u32) = (Duration::from_millis(100), 20);

/// A session at the end of the log, and what to ask the source for.
#[derive(Debug)]
pub struct Attached {
    pub session: Session,
    /// With names as the source compares them.
    pub filter: TableFilter,
    pub settings: SourceSettings,
    pub server_id: u32,
    pub server_uuid: Uuid,
    pub request: Wish,
}

/// A dump request that owns its set.
#[derive(Debug)]
pub struct Wish {
    server_id: u32,
    replica_uuid: Uuid,
    executed: GtidSet,
    heartbeat: Duration,
}

impl Wish {
    pub fn as_request(&self) -> Request<'_> {
        Request {
            server_id: self.server_id,
            replica_uuid: self.replica_uuid,
            executed: &self.executed,
            heartbeat: self.heartbeat,
            follow: true,
        }
    }
}

/// `None`: cancelled.
pub async fn attach(
    options: &CaptureOptions,
    source: &Address,
    log: &Arc<dyn Log>,
    connection: &mut Connection,
    cancel: &CancellationToken,
) -> Result<Option<Attached>, CaptureError> {
    let (folds, settings) = source_settings(connection).await?;
    let before = tail_state(log.as_ref()).await?;
    let is_first = before.sites.is_empty();
    let options = &CaptureOptions {
        filter: match folds {
            true => options.filter.folded(),
            false => options.filter.clone(),
        },
        from: match &options.from {
            None if is_first && !options.no_copy => Some(From::Snapshot),
            given => given.clone(),
        },
        ..options.clone()
    };
    let before = tail_state(log.as_ref()).await?;
    let (widened, settled) = widened(options, &before, log, connection).await?;
    let options = &widened;
    let job = job(options, &before);
    let wanted = Wanted {
        tables: &options.filter,
        copy: job.is_some(),
    };
    let findings = preflight::check(connection, &wanted).await?;
    preflight::refuse(&findings)?;
    for finding in findings.iter().filter(|f| f.severity == Severity::Warning) {
        warn!(
            remedy = finding.remedy.as_deref().unwrap_or_default(),
            "{finding}"
        );
    }
    // A first start tells what a copy leaves out.
    for finding in findings.iter().filter(|f| f.severity == Severity::Info) {
        info!("{finding}");
    }
    let server = connection.server().to_owned();

    let facts = facts(connection, &before.set).await?;
    let base = match is_first {
        true => {
            if let Some(From::Now | From::Snapshot) = options.from {
                nothing_prepared(connection).await?;
            }
            first_base(options.from.as_ref(), &facts)?
        }
        false => GtidSet::new(),
    };
    semi_sync::committed(connection, &facts, &before.set).await?;
    belongs(options, &before, &base, &facts, &server)?;
    // The same log reads under the same identity, so that a new attempt ends the dump that an old one left behind.
    let (server_id, replica_uuid) = (
        choose_server_id(connection, options.server_id, log.id()).await?,
        log.id(),
    );
    let start = Start {
        site: options.site.clone(),
        server: facts.server_uuid,
        filter: options.filter.to_string(),
        base,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        job,
    };
    let session = Session::start(log.clone(), start, options.session).await?;
    for (id, text) in settled {
        match text {
            Some(text) => log.request(id, &text).await?,
            None => log.answered(id).await?,
        }
    }
    let state = session.state();
    let again = self::facts(connection, &state.set).await?;
    let mut fits = semi_sync::committed(connection, &again, &state.set).await;
    if fits.is_ok() {
        fits = belongs(options, state, &GtidSet::new(), &again, &server);
    }
    // Not before the `Start`: a dump under the log's identity ends that of another capture, which may hold the log.
    if fits.is_ok()
        && let Some(newest) = &state.newest
    {
        let asking = Asking {
            source,
            facts: &again,
            server_id,
            replica_uuid,
            heartbeat: options.heartbeat,
        };
        // A large binlog file may have to be read up to it.
        let compared = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            compared = asking.compare(&state.set, newest) => Some(compared),
        };
        fits = match compared {
            Some(compared) => compared,
            None => {
                session.close().await?;
                return Ok(None);
            }
        };
    }
    if let Err(error) = fits {
        session.close().await?;
        return Err(error);
    }
    let request = Wish {
        server_id,
        replica_uuid,
        executed: state.set.clone(),
        heartbeat: options.heartbeat,
    };
    Ok(Some(Attached {
        session,
        filter: options.filter.clone(),
        settings,
        server_id,
        server_uuid: again.server_uuid,
        request,
    }))
}

/// Whether the case of names means nothing, and what statements depend on.
async fn source_settings(
    connection: &mut Connection,
) -> Result<(bool, SourceSettings), CaptureError> {
    let rows = connection
        .query("SELECT @@GLOBAL.lower_case_table_names AS folds, @@GLOBAL.system_time_zone AS zone")
        .await?;
    let text = |column| rows.value(0, column).unwrap_or_default();
    connection.query("SET SESSION time_zone = 'SYSTEM'").await?;
    let zone = connection.query(WHICH_ZONE).await?;
    connection.query("SET SESSION time_zone = DEFAULT").await?;
    let zone = zone.value(0, "zone").unwrap_or_default();
    let settings = SourceSettings {
        system_time_zone: format!("{} {zone}", text("zone")),
    };
    Ok((text("folds") != "0", settings))
}

/// With the tables that requests beside the log have added, or ask for now; and what becomes of the requests once the log has the `Start`.
async fn widened(
    options: &CaptureOptions,
    before: &FoldState,
    log: &Arc<dyn Log>,
    connection: &mut Connection,
) -> Result<(CaptureOptions, Vec<(Uuid, Option<String>)>), CaptureError> {
    let mut options = options.clone();
    let site = before.sites.iter().find(|site| site.site == options.site);
    let requests = log.requests().await?;
    let Some(site) = site.filter(|_| !requests.is_empty()) else {
        return Ok((options, Vec::new()));
    };
    let mut fit = Vec::with_capacity(requests.len());
    for (id, text) in requests {
        let refused = match request::Request::parse(&text) {
            Some(request::Request::Copy { tables, .. }) => {
                snapshot::is_refused(connection, log, id, &tables).await?
            }
            _ => false,
        };
        if !refused {
            fit.push((id, text));
        }
    }
    let requests = fit;
    let logged = site.filter.parse::<TableFilter>().ok();
    let Widening {
        filter,
        settled,
        asked,
    } = request::widen(&options.filter, logged.as_ref(), &requests);
    if filter != options.filter {
        warn!(tables = %filter, "with tables that `binferry snapshot` has added; put them into --tables");
    }
    // What is asked for, and nothing else, may be more than the log has.
    let covered = logged.and_then(|logged| {
        let mut asked = asked.iter();
        asked.try_fold(logged, |logged, more| logged.widened(more))
    });
    if !asked.is_empty() && covered.is_some_and(|covered| filter.within(&covered)) {
        options.from = Some(From::Snapshot);
    }
    options.filter = filter;
    Ok((options, settled))
}

/// The tables that a first start with `--from snapshot` copies, or one with more tables than the log has.
fn job(options: &CaptureOptions, before: &FoldState) -> Option<SnapshotJob> {
    if options.from != Some(From::Snapshot) {
        return None;
    }
    let site = before.sites.iter().find(|site| site.site == options.site);
    let logged = match site {
        None => None,
        Some(site) => match site.filter.parse::<TableFilter>() {
            Ok(logged) if !options.filter.within(&logged) => Some(logged),
            _ => return None,
        },
    };
    Some(snapshot::job(
        &options.filter,
        logged.as_ref(),
        Over::Nothing,
    ))
}

/// What the source says, read after the log was. A server sends a transaction to its replicas a moment before it is in gtid_executed, and
/// another capture may have logged it by then: what the log alone seems to have is asked for again.
pub(crate) async fn facts(
    connection: &mut Connection,
    logged: &GtidSet,
) -> Result<SourceFacts, CaptureError> {
    let mut facts = SourceFacts::read(connection).await?;
    for _ in 0..SETTLE.1 {
        if facts.errant(logged).is_empty() {
            break;
        }
        tokio::time::sleep(SETTLE.0).await;
        facts = SourceFacts::read(connection).await?;
    }
    Ok(facts)
}

/// A transaction that is prepared now would commit without its changes in the log. A user without the privilege to ask learns of it at the
/// XA COMMIT, which stops the capture.
async fn nothing_prepared(connection: &mut Connection) -> Result<(), CaptureError> {
    let recover = match connection.is_mariadb() {
        true => "XA RECOVER FORMAT = 'SQL'",
        false => "XA RECOVER CONVERT XID",
    };
    let rows = match connection.query(recover).await {
        Ok(rows) => rows,
        Err(error) if verdict(&error) == Verdict::Retry => return Err(error),
        Err(error) => {
            info!(%error, "whether XA transactions are prepared on the source cannot be asked (XA_RECOVER_ADMIN)");
            return Ok(());
        }
    };
    let xids: Vec<String> = (0..).map_while(|row| rows.value(row, "data")).collect();
    match xids.is_empty() {
        true => Ok(()),
        false => Err(StreamError::XaFromNow {
            xids: xids.join(", "),
        }
        .into()),
    }
}

/// What counts as present before a new log begins.
fn first_base(from: Option<&From>, facts: &SourceFacts) -> Result<GtidSet, StreamError> {
    match from {
        // Without a word, only a beginning that leaves nothing out.
        None if facts.purged.is_empty() => Ok(GtidSet::new()),
        None => Err(StreamError::FromNeeded {
            purged: facts.purged.clone(),
        }),
        Some(From::Earliest) => Ok(facts.purged.clone()),
        Some(From::Now | From::Snapshot) => Ok(facts.executed.clone()),
        Some(From::Set(set)) => {
            let unknown = facts.errant(set);
            if !unknown.is_empty() {
                return Err(StreamError::FromUnknown { unknown });
            }
            let missing = facts.purged_but_needed(set);
            if !missing.is_empty() {
                return Err(StreamError::FromPurged { missing });
            }
            Ok(set.clone())
        }
    }
}

/// Is it the log of this site, and does it hold every table that is asked for?
pub(super) fn same_stream(options: &CaptureOptions, state: &FoldState) -> Result<(), StreamError> {
    if let Some(site) = state.sites.iter().find(|site| site.site == options.site) {
        // A filter that this version cannot read is not known to be as wide.
        let covered = site
            .filter
            .parse()
            .is_ok_and(|logged: TableFilter| options.filter.within(&logged));
        // What the log lacks is copied.
        let copied =
            options.from == Some(From::Snapshot) && site.filter.parse::<TableFilter>().is_ok();
        if !covered && !copied {
            return Err(StreamError::FilterWidened {
                logged: site.filter.clone(),
                wanted: options.filter.to_string(),
            });
        }
    } else if let Some(other) = state.sites.first() {
        return Err(StreamError::OtherSite {
            logged: other.site.clone(),
            wanted: options.site.clone(),
        });
    }
    Ok(())
}

/// Does this source continue that log, under these options?
fn belongs(
    options: &CaptureOptions,
    state: &FoldState,
    base: &GtidSet,
    facts: &SourceFacts,
    server: &str,
) -> Result<(), CaptureError> {
    same_stream(options, state)?;
    let mut have = state.set.clone();
    have.union_with(base);
    let errant = facts.errant(&have);
    if !errant.is_empty() {
        return Err(Permanent::Errant {
            server: server.to_owned(),
            errant,
        }
        .into());
    }
    let missing = facts.purged_but_needed(&have);
    if !missing.is_empty() {
        return Err(Permanent::Purged {
            server: server.to_owned(),
            missing,
        }
        .into());
    }
    Ok(())
}
