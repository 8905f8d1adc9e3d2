//! `wait`: for reads that must see a write.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    cli::Options,
    failure::{Failure, NO},
    stop,
};

const ASK_EVERY: Duration = Duration::from_millis(20);

/// 0 when the target shows it, 1 when the time is up.
pub async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let (wanted, target, stream) = (options.gtid()?, options.target()?, options.stream());
    let until = options.timeout()?.map(|t| Instant::now() + t);
    let cancel = stop::on_signal()?;
    loop {
        let shown = binferry_apply::read_progress(&target, &stream)
            .await?
            .map(|progress| progress.state.set)
            .unwrap_or_default();
        if shown.contains_set(&wanted) {
            return Ok(ExitCode::SUCCESS);
        }
        if cancel.is_cancelled() || until.is_some_and(|until| Instant::now() >= until) {
            eprintln!("not there yet: {}", wanted.subtract(&shown));
            return Ok(ExitCode::from(NO));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
