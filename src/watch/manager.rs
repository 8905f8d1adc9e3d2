//! Tells the service manager (systemd, `Type=notify`) what the board shows: ready when every stage is connected for the first time, a line of
//! status, and that the watchdog need not bite.
//!
//! The watchdog is for what a new start may help with: a link that is open and carries nothing. A server that is known to be away is tried
//! again for `--retry-for` instead, and a new start would only forget for how long.

use std::{convert::Infallible, env, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use super::board::{APPLY, Board, CAPTURE, View};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The manager has asked to be told.
pub fn listens() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

pub async fn run(board: &Board) -> Infallible {
    // The manager's own advice is half of its limit; a third leaves room for a process that is held up.
    let watchdog = sd_notify::watchdog_enabled();
    let mut ticks = interval(watchdog.map_or(LOOK_EVERY, |limit| {
        LOOK_EVERY.min(limit / 3).max(Duration::from_millis(10))
    }));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut ready, mut told) = (false, String::new());
    loop {
        ticks.tick().await;
        let view = board.look();
        let status = status(&view);
        let mut states = Vec::new();
        if !ready && view.is_ready() {
            ready = true;
            states.push(NotifyState::Ready);
        }
        if watchdog.is_some() && !view.is_stalled() {
            states.push(NotifyState::Watchdog);
        }
        if status != told {
            states.push(NotifyState::Status(&status));
        }
        if !states.is_empty() {
            tell(&states);
        }
        told = status;
    }
}

/// The drain has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Nothing is said where nobody listens.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager is not told");
    }
}

/// One line, whatever the problem's text: a line break would begin another message.
fn status(view: &View) -> String {
    if let Some(problem) = view.problems.first() {
        let text = format!("{}: {}", problem.stage, problem.problem);
        return text.replace(char::is_control, " ");
    }
    let capture = view
        .capture
        .as_ref()
        .map(|(stage, _)| (CAPTURE, stage.behind));
    let apply = (view.apply.as_ref()).map(|(stage, ..)| (APPLY, stage.behind));
    let stages = capture
        .into_iter()
        .chain(apply)
        .map(|(name, behind)| match behind {
            Some(behind) => format!("{name}: {behind} transactions behind"),
            None => format!("{name}: well"),
        });
    let stages: Vec<_> = stages.collect();
    match stages.is_empty() {
        true => "starting".to_owned(),
        false => stages.join(", "),
    }
}
