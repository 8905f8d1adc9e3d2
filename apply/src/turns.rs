//! Whose turn it is: groups run on several connections, and are committed one after the other in the log's order.
//!
//! - COMMIT of a group is sent when that of the group before has been confirmed. So what the target shows is always a prefix of the log, and
//!   the greatest offset among the progress rows covers all before it.
//! - A later group may hold a lock that an earlier one waits for (a gap beside a unique value, say), and waits for its turn itself: the
//!   server sees no deadlock in that. When the group whose turn it is does not end for long, those behind it *yield*: they roll
//!   back, and run again when it is their turn.
//! - When a group fails, those behind it are abandoned; those before it are not touched.

use std::{
    convert::Infallible,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// A group whose turn it is waits at least so long before those behind it yield, and at most so long.
const PATIENCE: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// The newest group that is committed, and all before.
    committed: u64,
    /// Until this group is committed, those behind it yield.
    yielding: u64,
    /// This group and those after it are not to be committed.
    failed: u64,
}

#[derive(Debug)]
pub struct Turns {
    state: watch::Sender<State>,
    /// What a group takes from its turn to its end, in microseconds: a moving average.
    usual: AtomicU64,
    /// When the turn began that lasts.
    since: Mutex<Instant>,
}

/// What becomes of a group that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All before it are committed.
    Ours,
    /// Roll back, and run again when it is our turn.
    Yield,
    /// A group before it has failed: roll back.
    Abandoned,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            state: watch::Sender::new(State {
                committed: 0,
                yielding: 0,
                failed: u64::MAX,
            }),
            usual: AtomicU64::new(0),
            since: Mutex::new(Instant::now()),
        }
    }
}

impl Turns {
    /// `stands_back`: the group has something to roll back when it is asked to yield.
    pub async fn wait(&self, group: u64, stands_back: bool) -> Turn {
        let mut states = self.state.subscribe();
        let turn = |state: &State| {
            let asked = state.yielding > state.committed && state.yielding < group;
            if state.failed <= group {
                Some(Turn::Abandoned)
            } else if state.committed + 1 >= group {
                Some(Turn::Ours)
            } else if stands_back && asked {
                Some(Turn::Yield)
            } else {
                None
            }
        };
        let found = states.wait_for(|state| turn(state).is_some()).await;
        // The sender lives as long as `self`.
        found
            .ok()
            .and_then(|state| turn(&state))
            .unwrap_or(Turn::Abandoned)
    }

    /// For the group whose turn it is: that it is committed. `begun`: when it was given to its worker.
    pub fn committed(&self, group: u64, begun: Instant) {
        let now = Instant::now();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = now.saturating_duration_since(begun.max(*since));
        *since = now;
        drop(since);
        let turn = u64::try_from(turn.as_micros()).unwrap_or(u64::MAX);
        let usual = self.usual.load(Ordering::Relaxed);
        // Turns do not overlap.
        self.usual
            .store(usual - usual / 8 + turn / 8, Ordering::Relaxed);
        self.state
            .send_modify(|state| state.committed = state.committed.max(group));
    }

    /// Neither this group nor one behind it will be committed.
    pub fn failed(&self, group: u64) {
        self.state
            .send_modify(|state| state.failed = state.failed.min(group));
    }

    /// Runs beside a group's statements; asks those behind it to yield when its turn lasts too long.
    pub async fn watch(&self, group: u64) -> Infallible {
        self.wait(group, false).await;
        let usual = Duration::from_micros(self.usual.load(Ordering::Relaxed));
        tokio::time::sleep((usual * 4).clamp(PATIENCE[0], PATIENCE[1])).await;
        tracing::debug!(group, "a group does not end; those behind it stand back");
        self.state.send_modify(|state| state.yielding = group);
        std::future::pending().await
    }
}
