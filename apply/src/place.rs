//! Where a stream goes on in a log: the log's rules, in the applier's words.

use binferry_schemas::record::FoldState;
use binferry_transport::{
    fold::Fold,
    log::Log,
    resume::{self, AdoptError},
};

use crate::error::ApplyError;

/// For a stream that has nothing yet.
pub async fn begin(log: &dyn Log, stream: &str) -> Result<FoldState, ApplyError> {
    go_on(log, stream, &Fold::new(log.id()).into_state()).await
}

/// For a stream with progress in this log or in one that this is a copy of.
pub async fn go_on(
    log: &dyn Log,
    stream: &str,
    progress: &FoldState,
) -> Result<FoldState, ApplyError> {
    let state = resume::adopt(log, progress)
        .await
        .map_err(|error| match error {
            AdoptError::Log(error) => ApplyError::Log(error),
            AdoptError::Unrelated => not_paired(log, stream, progress),
            AdoptError::Copies { first } => ApplyError::CopiesBetween { first: first.0 },
            AdoptError::Expired { start, missing } => ApplyError::Expired {
                start: start.0,
                missing,
            },
        })?;
    let bounds = log.bounds().await?;
    if state.offset > bounds.end {
        return Err(ApplyError::Ahead {
            applied: state.offset.0,
            end: bounds.end.0,
        });
    }
    Ok(state)
}

/// Refuses a log that shows nothing of the history that the progress is about.
pub async fn evidence(log: &dyn Log, stream: &str, progress: &FoldState) -> Result<(), ApplyError> {
    match resume::related(log, progress).await? {
        true => Ok(()),
        false => Err(not_paired(log, stream, progress)),
    }
}

fn not_paired(log: &dyn Log, stream: &str, progress: &FoldState) -> ApplyError {
    ApplyError::NotPaired {
        stream: stream.to_owned(),
        target: progress.log,
        log: log.id(),
    }
}
