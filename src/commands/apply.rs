//! `apply`: from the log to a target.

use std::{process::ExitCode, sync::Arc};

use binferry_apply::{Applier, Progress, Until};
use binferry_transport::{log::Log, resume::tail_state};
use indicatif::MultiProgress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Onlookers;
use crate::{
    cli::{Options, Place},
    failure::Failure,
    progress, stop,
    watch::{board::APPLY, trouble},
};

pub async fn run(options: &Options, bars: &MultiProgress) -> Result<ExitCode, Failure> {
    // Everything that can be wrong with the options is told before anything is touched.
    options.policies()?;
    options.workers()?;
    options.copy_into()?;
    let onlookers = Onlookers::start(options, bars)?;
    let cancel = stop::on_signal()?;
    let Some(log) = super::unless_stopped(&cancel, super::open_log(options)).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let until = match options.until()? {
        None => None,
        Some(Place::Set(set)) => Some(Until::from(set)),
        Some(_) => Some(Until::from(tail_state(log.as_ref()).await?)),
    };
    apply_from(options, log, until, &cancel, &onlookers).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs an applier with its progress shown.
pub async fn apply_from(
    options: &Options,
    log: Arc<dyn Log>,
    until: Option<Until>,
    cancel: &CancellationToken,
    onlookers: &Onlookers<'_>,
) -> Result<(), Failure> {
    let (sender, receiver) = watch::channel(Progress::default());
    onlookers.board.put_log(&log);
    let beside = Arc::clone(&log);
    let mut wanted = binferry_apply::Options::new(options.target()?, log);
    wanted.stream = options.stream();
    wanted.patience = options.retry_for()?;
    wanted.workers = options.workers()?;
    wanted.policies = Arc::new(options.policies()?);
    wanted.gtids = options.gtids()?;
    wanted.ddl = options.ddl();
    wanted.compare = options.compare();
    wanted.triggers = options.allow_triggers()?;
    wanted.into = options.copy_into()?;
    let (meter, stream) = (Arc::clone(&wanted.meter), wanted.stream.clone());
    (onlookers.board).put_apply(receiver.clone(), meter, stream.clone());
    progress::show_apply(onlookers.bars, receiver.clone());
    let work = async {
        let applier = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            applier = Applier::connect(wanted) => applier?,
        };
        applier.run(until, cancel.clone(), sender).await?;
        Ok(())
    };
    trouble::kept(beside, (APPLY, &stream), receiver, work).await
}
