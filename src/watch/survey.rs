//! Asks, beside the stages, what they cannot tell. Every question has its limit in time, and an answer that does not come leaves what was
//! known before: a source that is out of reach has not executed less.

use std::{convert::Infallible, sync::Arc, time::Duration};

use binferry_capture::stream::Probe;
use binferry_schemas::{address::Address, fault::Fault};
use binferry_transport::{error::LogError, log::Log, resume::tail_state};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::board::{Board, LogFacts};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOG_EVERY: Duration = Duration::from_secs(2);
const SOURCE_EVERY: Duration = Duration::from_secs(5);
/// It is read from its newest checkpoint on.
const HELD_EVERY: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(board: &Board) -> Infallible {
    let (never, ..) = tokio::join!(look(board), log(board), held(board), source(board));
    never
}

async fn look(board: &Board) -> Infallible {
    let mut ticks = ticks(LOOK_EVERY);
    loop {
        ticks.tick().await;
        board.look();
    }
}

async fn log(board: &Board) -> Infallible {
    let mut ticks = ticks(LOG_EVERY);
    loop {
        ticks.tick().await;
        let Some(log) = board.log() else { continue };
        match timeout(PATIENCE, facts(&log)).await {
            Ok(Ok(facts)) => board.survey(|survey| {
                survey.log = Some(facts);
                survey.log_trouble = None;
            }),
            Ok(Err(error)) => board.survey(|survey| {
                survey.log_trouble = Some((error.to_string(), error.hint()));
            }),
            Err(_) => board.survey(|survey| {
                let problem = format!("the log does not answer for {} s", PATIENCE.as_secs());
                survey.log_trouble = Some((problem, None));
            }),
        }
    }
}

async fn facts(log: &Arc<dyn Log>) -> Result<LogFacts, LogError> {
    let readers = log.registrations().await?;
    Ok(LogFacts {
        bounds: log.bounds().await?,
        bytes: log.kept_bytes().await?,
        readers: readers.into_iter().map(|r| (r.name, r.needs)).collect(),
    })
}

async fn held(board: &Board) -> Infallible {
    let mut ticks = ticks(HELD_EVERY);
    loop {
        ticks.tick().await;
        let Some(log) = board.log().filter(|_| board.needs_held()) else {
            continue;
        };
        // What goes wrong here is told where the log's bounds are asked for.
        if let Ok(Ok(state)) = timeout(PATIENCE, tail_state(log.as_ref())).await {
            board.survey(|survey| survey.held = Some(state.set));
        }
    }
}

async fn source(board: &Board) -> Infallible {
    let mut ticks = ticks(SOURCE_EVERY);
    let mut probe: Option<(Address, Probe)> = None;
    loop {
        ticks.tick().await;
        let Some(address) = board.source() else {
            probe = None;
            continue;
        };
        let kept = probe.take().filter(|(of, _)| *of == address);
        let (_, asked) = probe.insert(kept.unwrap_or_else(|| {
            let probe = Probe::new(address.clone());
            (address, probe)
        }));
        match timeout(PATIENCE, asked.executed()).await {
            Ok(Ok(executed)) => board.survey(|survey| survey.executed = Some(executed)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the source does not say what it has executed")
            }
            Err(_) => tracing::debug!("the source does not say in time what it has executed"),
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
