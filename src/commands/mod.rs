//! The commands, a file each.

pub mod apply;
pub mod capture;
pub mod check;
pub mod conflicts;
pub mod readers;
pub mod run;
pub mod skip;
pub mod snapshot;
pub mod status;
pub mod tail;
pub mod wait;

use std::{future::Future, sync::Arc};

use binferry_transport::{embedded::EmbeddedLog, kafka::KafkaLog, log::Log};

use tokio_util::sync::CancellationToken;

use crate::{
    cli::{LogPlace, Options},
    failure::Failure,
};

/// The log for a writer: created when it is not there.
async fn create_log(options: &Options) -> Result<Arc<dyn Log>, Failure> {
    Ok(match options.log()? {
        LogPlace::Directory(path) => Arc::new(EmbeddedLog::create_or_open(&path)?),
        LogPlace::Kafka(kafka) => Arc::new(KafkaLog::create_or_open(*kafka).await?),
    })
}

/// The log for a reader: it must be there.
async fn open_log(options: &Options) -> Result<Arc<dyn Log>, Failure> {
    Ok(match options.log()? {
        LogPlace::Directory(path) => Arc::new(EmbeddedLog::open(&path)?),
        LogPlace::Kafka(kafka) => Arc::new(KafkaLog::open(*kafka).await?),
    })
}

/// `None`: a signal came first. A log that is out of reach is asked for a long time.
async fn unless_stopped<T>(
    cancel: &CancellationToken,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<Option<T>, Failure> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Ok(None),
        answer = answer => answer.map(Some),
    }
}
