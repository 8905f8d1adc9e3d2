//! Keeps beside the log what is wrong with a stage, for `status`.

use std::{
    convert::Infallible,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use binferry_apply::Progress as Applied;
use binferry_capture::stream::Progress as Captured;
use binferry_transport::{error::LogError, log::Log, meter::LastError, trouble::Trouble};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::failure::Failure;

const EVERY: Duration = Duration::from_secs(10);
/// A log that is out of reach is not waited for: what is wrong is in this process's log lines.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a stage publishes: whether it is connected, and what went wrong last.
pub trait Stage {
    fn trouble(&self) -> (bool, Option<LastError>);
}

impl Stage for Captured {
    fn trouble(&self) -> (bool, Option<LastError>) {
        (self.connected, self.last_error.clone())
    }
}

impl Stage for Applied {
    fn trouble(&self) -> (bool, Option<LastError>) {
        let connected = self.state.is_some() && self.trouble.is_none();
        (connected, self.last_error.clone())
    }
}

/// Runs a stage.
pub async fn kept<S: Stage, T>(
    log: Arc<dyn Log>,
    (stage, name): (&str, &str),
    progress: watch::Receiver<S>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let ended = tokio::select! {
        ended = work => ended,
        never = keep(&*log, stage, name, &progress) => match never {},
    };
    match &ended {
        Ok(_) => tell(Trouble::over(&*log, stage, name)).await,
        Err(failure) => {
            let now = SystemTime::now();
            let trouble = Trouble::new(stage, name, now, failure.message(), failure.hint());
            tell(trouble.leave(&*log)).await;
        }
    }
    ended
}

async fn keep<S: Stage>(
    log: &dyn Log,
    stage: &str,
    name: &str,
    progress: &watch::Receiver<S>,
) -> Infallible {
    let mut left: Option<LastError> = None;
    loop {
        sleep(EVERY).await;
        let (connected, error) = progress.borrow().trouble();
        if connected {
            // Also one of an earlier process, or of another one that was refused because this one runs.
            tell(Trouble::over(log, stage, name)).await;
            left = None;
        } else if error.is_some() && error != left {
            if let Some(LastError { at, error, remedy }) = &error {
                let trouble = Trouble::new(stage, name, *at, error, remedy.as_deref());
                tell(trouble.leave(log)).await;
            }
            left = error;
        }
    }
}

async fn tell(told: impl Future<Output = Result<(), LogError>>) {
    match timeout(PATIENCE, told).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "what is wrong can't be left beside the log"),
        Err(_) => debug!("the log does not answer"),
    }
}
