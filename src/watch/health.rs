//! Well or not, and why. Pure: what is known goes in, with the time.
//!
//! A link is not well when it is closed and known to be, and also when it is open, there is something to carry, and nothing has moved for
//! long: a server that answers heartbeats and sends nothing else, a session that waits for a lock for ever.

use std::time::{Duration, Instant};

use serde::Serialize;

/// How long something may wait to be carried, of which nothing moves, by default.
pub const STALL_AFTER: Duration = Duration::from_secs(60);
/// The applier tells where it is every ten seconds when it has nothing to apply.
pub const SHORTEST_STALL: Duration = Duration::from_secs(15);

/// What is wrong, and what helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub stage: &'static str,
    pub problem: String,
    pub remedy: Option<String>,
}

/// Notices when nothing moves although there is something to move.
#[derive(Debug)]
pub struct Movement<M> {
    mark: Option<M>,
    since: Option<Instant>,
}

impl<M> Default for Movement<M> {
    fn default() -> Self {
        Self {
            mark: None,
            since: None,
        }
    }
}

impl<M: PartialEq> Movement<M> {
    /// `mark`: whatever changes with each step. `ahead`: there is more than has been carried.
    pub fn see(&mut self, mark: M, ahead: bool, now: Instant) {
        if self.mark.as_ref() != Some(&mark) {
            self.mark = Some(mark);
            self.since = None;
        }
        match ahead {
            true => {
                self.since.get_or_insert(now);
            }
            false => self.since = None,
        }
    }

    /// For how long nothing has moved.
    pub fn still(&self, now: Instant) -> Option<Duration> {
        let since = self.since?;
        Some(now.saturating_duration_since(since))
    }
}

/// How a stage is.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// It has been so at least once.
    pub begun: bool,
    pub connected: bool,
    /// Why it is not connected, or takes nothing, and what helps.
    pub trouble: Option<(String, Option<String>)>,
    /// How long nothing has moved although there is something.
    pub still: Option<Duration>,
    /// How much there is, for people.
    pub waiting: String,
    /// Since the stage was started.
    pub age: Duration,
}

impl Condition {
    /// The link is open, there is something to carry, and nothing has moved for so long.
    pub fn is_stalled(&self, stall_after: Duration) -> bool {
        self.connected && self.still.is_some_and(|still| still >= stall_after)
    }
}

/// `remedy`: for a link that is open and carries nothing.
pub fn judge(
    stage: &'static str,
    condition: &Condition,
    stall_after: Duration,
    remedy: &str,
) -> Option<Problem> {
    if let Some((problem, remedy)) = &condition.trouble {
        return Some(Problem {
            stage,
            problem: problem.clone(),
            remedy: remedy.clone(),
        });
    }
    if !condition.begun && condition.age >= stall_after {
        return Some(Problem {
            stage,
            problem: format!("has not begun for {} s", condition.age.as_secs()),
            remedy: Some("look at the log lines, which say what it waits for".to_owned()),
        });
    }
    let still = condition.still.filter(|still| *still >= stall_after)?;
    Some(Problem {
        stage,
        problem: format!(
            "nothing has moved for {} s, and {}",
            still.as_secs(),
            condition.waiting
        ),
        remedy: Some(remedy.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_what_waits_and_does_not_move_is_still() {
        let start = Instant::now();
        let mut movement = Movement::default();
        movement.see(1, false, start);
        assert_eq!(movement.still(start + 9 * SECOND), None);
        movement.see(1, true, start + 10 * SECOND);
        movement.see(1, true, start + 11 * SECOND);
        assert_eq!(movement.still(start + 12 * SECOND), Some(2 * SECOND));
        // A step, with more to come: from then on.
        movement.see(2, true, start + 13 * SECOND);
        assert_eq!(movement.still(start + 14 * SECOND), Some(SECOND));
        movement.see(2, false, start + 15 * SECOND);
        assert_eq!(movement.still(start + 16 * SECOND), None);
    }

    #[test]
    fn a_link_that_is_open_and_still_is_a_problem() {
        let mut condition = Condition {
            begun: true,
            connected: true,
            still: Some(59 * SECOND),
            waiting: "the source is 3 transactions ahead".to_owned(),
            ..Condition::default()
        };
        let judged = |condition: &Condition| judge("capture", condition, STALL_AFTER, "look");
        assert_eq!(judged(&condition), None);
        condition.still = Some(60 * SECOND);
        let problem = judged(&condition).unwrap();
        assert!(problem.problem.contains("3 transactions"), "{problem:?}");
        assert_eq!(problem.remedy.as_deref(), Some("look"));
        condition.trouble = Some(("closed".to_owned(), None));
        assert_eq!(judged(&condition).unwrap().problem, "closed");
    }

    #[test]
    fn a_stage_that_does_not_begin_is_a_problem_after_a_while() {
        let mut condition = Condition::default();
        assert_eq!(judge("apply", &condition, STALL_AFTER, ""), None);
        condition.age = STALL_AFTER;
        assert!(judge("apply", &condition, STALL_AFTER, "").is_some());
    }
}
