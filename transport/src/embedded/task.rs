//! Blocking file work off the async threads.

use crate::error::LogError;

pub(crate) fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> Result<T, LogError> {
    outcome.map_err(|error| LogError::Task {
        reason: error.to_string(),
    })
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    joined(tokio::task::spawn_blocking(work).await)?
}
