//! Before the first event of a list of files: do the files and the log belong together, where does the log begin?
//!
//! As for a server, the checks run before the `Start` and again on the fold at the `Start`. Files do not say which server wrote them, only
//! what it had executed: the `Start` has no server's UUID, and GTIDs alone decide whether the files continue the log.

use std::{path::PathBuf, sync::Arc};

use binferry_schemas::{
    fault::Fault,
    finding::{Finding, Severity},
    gtid::{GtidSet, Uuid},
    record::{FoldState, Start},
};
use binferry_transport::{error::LogError, log::Log, resume::tail_state, session::Session};
use tracing::{info, warn};

use super::{
    CaptureOptions, From, attach::same_stream, error::StreamError, history::compare_files,
};
use crate::{
    error::CaptureError,
    files::{self, BinlogFiles, FileError, Head},
};

/// A session at the end of the log, and the files that lie open.
#[derive(Debug)]
pub(super) struct Attached {
    pub session: Session,
    pub files: Result<BinlogFiles, FileError>,
}

pub(super) async fn attach(
    options: &CaptureOptions,
    paths: &[PathBuf],
    log: &Arc<dyn Log>,
) -> Result<Attached, CaptureError> {
    let surveyed = paths.to_vec();
    let (heads, history) = blocking(move || {
        let heads = files::survey(&surveyed)?;
        let history = files::history(&heads)?;
        Ok((heads, history))
    })
    .await?;

    let before = tail_state(log.as_ref()).await?;
    let base = match before.sites.is_empty() {
        true => first_base(options.from.as_ref(), &heads)?,
        false => GtidSet::new(),
    };
    belongs(options, &before, &base, &heads, &history)?;
    if let Some(newest) = &before.newest
        && let Some(reason) = compare_files(&heads, &history, log.as_ref(), newest).await?
    {
        warn!(
            reason,
            "that the log and the files have the same history cannot be compared"
        );
    }
    let start = Start {
        site: options.site.clone(),
        server: Uuid::nil(),
        filter: options.filter.to_string(),
        base,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        job: None,
    };
    let session = Session::start(log.clone(), start, options.session).await?;
    let state = session.state();
    let mut fits = belongs(options, state, &GtidSet::new(), &heads, &history);
    if fits.is_ok()
        && let Some(newest) = state
            .newest
            .as_ref()
            .filter(|_| state.newest != before.newest)
    {
        fits = (compare_files(&heads, &history, log.as_ref(), newest).await).map(drop);
    }
    if let Err(error) = fits {
        session.close().await?;
        return Err(error);
    }
    let have = state.set.clone();
    info!(files = heads.len(), log = %log.name(), "capturing");
    Ok(Attached {
        files: BinlogFiles::open(heads, have, None),
        session,
    })
}

/// For `check`: whether files and log have the same history. What is wrong with the files themselves is for [`files::inspect`].
pub async fn compare_with(paths: &[PathBuf], log: &dyn Log) -> Result<Option<Finding>, LogError> {
    let Some(newest) = tail_state(log).await?.newest else {
        return Ok(None);
    };
    let surveyed = paths.to_vec();
    let surveyed = blocking(move || {
        let heads = files::survey(&surveyed)?;
        let history = files::history(&heads)?;
        Ok((heads, history))
    });
    let Ok((heads, history)) = surveyed.await else {
        return Ok(None);
    };
    let finding = |severity, found: &str, reason, remedy| Finding {
        severity,
        subject: "the history of log and files".into(),
        found: found.into(),
        reason,
        remedy,
    };
    Ok(match compare_files(&heads, &history, log, &newest).await {
        Ok(None) => None,
        Ok(Some(reason)) => Some(finding(
            Severity::Warning,
            "unknown",
            reason.to_owned(),
            None,
        )),
        Err(CaptureError::Stream(error @ StreamError::OtherHistory { .. })) => Some(finding(
            Severity::Blocking,
            "not the same",
            error.to_string(),
            error.hint(),
        )),
        Err(CaptureError::Log(error)) => return Err(error),
        Err(_) => None,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, CaptureError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What counts as present before a new log begins.
fn first_base(from: Option<&From>, heads: &[Head]) -> Result<GtidSet, FileError> {
    let Some(first) = heads.first() else {
        return Ok(GtidSet::new());
    };
    let previous = first.previous.clone().unwrap_or_default();
    match from {
        // Without a word, only a beginning that leaves nothing out.
        None if previous.is_empty() => Ok(previous),
        None => Err(FileError::FromNeeded {
            path: first.path.clone(),
            previous,
        }),
        Some(From::Earliest) => Ok(previous),
        Some(From::Now | From::Snapshot) => Err(FileError::FromNow),
        Some(From::Set(set)) => Ok(set.clone()),
    }
}

/// Do these files continue that log, under these options?
fn belongs(
    options: &CaptureOptions,
    state: &FoldState,
    base: &GtidSet,
    heads: &[Head],
    history: &GtidSet,
) -> Result<(), CaptureError> {
    same_stream(options, state)?;
    let mut have = state.set.clone();
    have.union_with(base);
    // A log that is ahead of the files holds all of theirs. One that holds neither all nor a part of them is another server's.
    let errant = have.subtract(history);
    if !errant.is_empty() && !history.subtract(&have).is_empty() {
        return Err(match state.sites.is_empty() {
            true => FileError::FromUnknown { unknown: errant },
            false => FileError::Errant { errant },
        }
        .into());
    }
    if let Some(first) = heads.first()
        && let Some(previous) = &first.previous
    {
        let missing = previous.subtract(&have);
        if !missing.is_empty() {
            return Err(FileError::Gap {
                path: first.path.clone(),
                missing,
            }
            .into());
        }
    }
    Ok(())
}
