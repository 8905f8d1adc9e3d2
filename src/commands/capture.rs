//! `capture`: from a source into the log.

use std::{process::ExitCode, sync::Arc, time::Duration};

use binferry_capture::stream::{self, CaptureOptions, From, Progress};
use binferry_schemas::{gtid::GtidSet, source::SourceAddress};
use binferry_transport::{log::Log, session::SessionOptions};
use indicatif::MultiProgress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Onlookers;
use crate::{
    cli::{Options, Place},
    failure::Failure,
    progress, stop,
    watch::{board::CAPTURE, trouble},
};

const HEARTBEAT: Duration = Duration::from_secs(5);

pub async fn run(options: &Options, bars: &MultiProgress) -> Result<ExitCode, Failure> {
    let onlookers = Onlookers::start(options, bars)?;
    let cancel = stop::on_signal()?;
    let capture = self::options(options, until(options).await?)?;
    let Some(log) = super::unless_stopped(&cancel, super::create_log(options)).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let set = capture_into(&capture, log, &cancel, &onlookers).await?;
    info!(gtids = %set, "the log is complete up to here");
    Ok(ExitCode::SUCCESS)
}

/// Runs a capture with its progress shown.
pub async fn capture_into(
    options: &CaptureOptions,
    log: Arc<dyn Log>,
    cancel: &CancellationToken,
    onlookers: &Onlookers<'_>,
) -> Result<GtidSet, Failure> {
    let (sender, receiver) = watch::channel(Progress::default());
    onlookers.board.put_log(&log);
    let (tables, source) = (Arc::clone(&options.tables), options.source.clone());
    (onlookers.board).put_capture(receiver.clone(), tables, source);
    progress::show_capture(onlookers.bars, receiver.clone());
    let work = async { Ok(stream::capture(options, log.clone(), cancel, &sender).await?) };
    trouble::kept(log.clone(), (CAPTURE, &options.site), receiver, work).await
}

/// `--until` as a set: `now` is what the source has executed now.
pub async fn until(options: &Options) -> Result<Option<GtidSet>, Failure> {
    Ok(match options.until()? {
        None => None,
        Some(Place::Set(set)) => Some(set),
        Some(_) => match options.source()? {
            SourceAddress::Server(server) => {
                Some(stream::executed(&server, options.retry_for()?).await?)
            }
            // Files end by themselves.
            SourceAddress::Files(_) => None,
        },
    })
}

pub fn options(options: &Options, until: Option<GtidSet>) -> Result<CaptureOptions, Failure> {
    Ok(CaptureOptions {
        source: options.source()?,
        site: options.site(),
        server_id: options.server_id,
        filter: options.filter()?,
        from: options.from()?.map(|place| match place {
            Place::Earliest => From::Earliest,
            Place::Snapshot => From::Snapshot,
            Place::Now => From::Now,
            Place::Set(set) => From::Set(set),
        }),
        no_copy: false,
        copy: options.copy()?,
        until,
        heartbeat: HEARTBEAT,
        retry_for: options.retry_for()?,
        session: SessionOptions {
            retention: options.retention()?,
            ..SessionOptions::default()
        },
        tables: Arc::default(),
    })
}
