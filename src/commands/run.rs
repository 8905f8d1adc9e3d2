//! `run`: capture, log and apply in one process. The two stages meet in the log only, as they would in two processes.

use std::process::ExitCode;

use binferry_apply::{Gtids, IntoTables, Until};
use binferry_capture::stream;
use binferry_schemas::source::SourceAddress;
use binferry_transport::resume::tail_state;
use indicatif::MultiProgress;
use tracing::info;

use super::{Onlookers, apply, capture};
use crate::{
    cli::{DEFAULT_LOG, Options},
    failure::Failure,
    stop,
};

pub async fn run(options: &Options, bars: &MultiProgress) -> Result<ExitCode, Failure> {
    let mut options = options.clone();
    options.log.get_or_insert_with(|| DEFAULT_LOG.to_owned());
    // Everything that can be wrong with the options is told before anything is touched.
    options.target()?;
    options.policies()?;
    options.workers()?;
    options.gtids()?;
    options.allow_triggers()?;
    options.copy_into()?;
    let onlookers = Onlookers::start(&options, bars)?;
    let cancel = stop::on_signal()?;
    let until = capture::until(&options).await?;
    // The capture knows where to stop: what the log holds then is what is left to apply.
    let ends = until.is_some() || matches!(options.source()?, SourceAddress::Files(_));
    let mut capturing = capture::options(&options, until)?;
    // What the source did before would be a hole in the target's GTIDs, and the applier refuses it.
    capturing.no_copy = options.gtids()? == Gtids::Preserve;
    let Some(log) = super::unless_stopped(&cancel, super::create_log(&options)).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    if stream::copies_first(&capturing, log.as_ref()).await?
        && options.copy_into()? == IntoTables::Empty
        && binferry_apply::read_progress(&options.target()?, &options.stream())
            .await?
            .is_none()
    {
        binferry_apply::refuse_rows(&options.target()?, &capturing.filter).await?;
    }

    // The first stage to fail stops the other one; both drain.
    let through = cancel.child_token();
    let captured = async {
        let result = capture::capture_into(&capturing, log.clone(), &cancel, &onlookers).await;
        match &result {
            Err(_) => cancel.cancel(),
            Ok(_) if ends => through.cancel(),
            Ok(_) => {}
        }
        result
    };
    let applied = async {
        let mut result = apply::apply_from(&options, log.clone(), None, &through, &onlookers).await;
        if ends && result.is_ok() && !cancel.is_cancelled() {
            let all = Until::from(tail_state(log.as_ref()).await?);
            result = apply::apply_from(&options, log.clone(), Some(all), &cancel, &onlookers).await;
        }
        if result.is_err() {
            cancel.cancel();
        }
        result
    };
    let (captured, applied) = tokio::join!(captured, applied);
    match (captured, applied) {
        (Ok(set), Ok(())) => {
            info!(gtids = %set, "stopped; the log is complete up to here");
            Ok(ExitCode::SUCCESS)
        }
        (Err(failure), Ok(())) | (Ok(_), Err(failure)) => Err(failure),
        (Err(first), Err(second)) => {
            tracing::error!("apply: {second}");
            Err(first)
        }
    }
}
