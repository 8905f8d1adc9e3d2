//! The commands, a file each.

pub mod apply;
pub mod capture;
pub mod check;
pub mod conflicts;
pub mod diff;
pub mod print;
pub mod readers;
pub mod run;
pub mod skip;
pub mod snapshot;
pub mod status;
pub mod tail;
pub mod wait;

use std::{future::Future, sync::Arc};

use binferry_transport::{embedded::EmbeddedLog, kafka::KafkaLog, log::Log};

use indicatif::MultiProgress;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{LogPlace, Options},
    failure::Failure,
    http,
    watch::{self, board::Board, manager},
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

/// Who is shown how the stages of a process are doing.
#[derive(Debug)]
pub struct Onlookers<'a> {
    pub bars: &'a MultiProgress,
    pub board: Arc<Board>,
}

impl<'a> Onlookers<'a> {
    /// Before anything else is started: an address that is taken is a matter of configuration.
    fn start(options: &Options, bars: &'a MultiProgress) -> Result<Self, Failure> {
        let board = Arc::new(Board::new(options.stall_after()?));
        let listener = options.http.as_deref().map(http::listen).transpose()?;
        let listens = manager::listens();
        if listener.is_some() || listens {
            let told = Arc::clone(&board);
            watch::start(Arc::clone(&board), async move {
                let served = async {
                    if let Some(listener) = listener {
                        http::serve(listener, Arc::clone(&told)).await;
                    }
                };
                let managed = async {
                    if listens {
                        manager::run(&told).await;
                    }
                };
                tokio::join!(served, managed);
            })?;
        }
        Ok(Self { bars, board })
    }
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
