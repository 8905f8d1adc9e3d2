//! Do rows differ, or is one server only behind? docs/diff.md has the argument. Pure: looks come in, verdicts go out.
//!
//! A look at the target comes with what the stream had applied there, in one snapshot; it lies between two looks at the source: the last one
//! before it that the target had passed (*from*), and the one after it (*to*), which had all that the target had. So
//! - a row that is like any look at the source from *from* to *to* is equal;
//! - a row that is unlike all of them, while they are like each other, is suspected: it differs, or it has changed and changed back. It is
//!   found to differ by two looks at the target at least, and [`ENOUGH`] at the source, of which none counts twice;
//! - a row that changed between them is open.

use std::collections::VecDeque;

use binferry_schemas::gtid::GtidSet;

use super::server::Digest;

/// Looks at the source that must agree on a difference.
const ENOUGH: usize = 8;
/// As many looks is a pair worth between which the source has committed nothing.
const QUIET: usize = 4;
/// Looks at the source that are remembered. When there are more, every other one is forgotten.
const REMEMBERED: usize = 128;

pub type Rows = Vec<Option<Digest>>;

/// Rows of the source, read after one and before the other of these was committed.
#[derive(Debug)]
pub struct Look {
    pub before: GtidSet,
    pub after: GtidSet,
    pub rows: Rows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Open,
    Equal,
    /// What the source has, and what the target has.
    Differs(Option<Digest>, Option<Digest>),
}

#[derive(Debug, Clone, Copy, Default)]
struct Suspicion {
    pair: (Option<Digest>, Option<Digest>),
    source: usize,
    target: usize,
}

#[derive(Debug)]
pub struct Judge {
    looks: VecDeque<(u64, Look)>,
    number: u64,
    /// The newest look that speaks in a suspicion.
    used: Option<u64>,
    verdicts: Vec<Verdict>,
    suspicions: Vec<Suspicion>,
}

impl Judge {
    pub fn new(rows: usize) -> Self {
        Self {
            looks: VecDeque::new(),
            number: 0,
            used: None,
            verdicts: vec![Verdict::Open; rows],
            suspicions: vec![Suspicion::default(); rows],
        }
    }

    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    pub fn is_open(&self) -> bool {
        self.verdicts.contains(&Verdict::Open)
    }

    /// Takes a verdict back.
    pub fn reopen(&mut self, row: usize) {
        self.verdicts[row] = Verdict::Open;
        self.suspicions[row] = Suspicion::default();
    }

    pub fn source(&mut self, look: Look) {
        self.looks.push_back((self.number, look));
        self.number += 1;
        if self.looks.len() > REMEMBERED {
            let newest = self.number - 1;
            // The newest stays: it is the next one's neighbour.
            self.looks
                .retain(|(number, _)| *number == newest || number % 2 == 0);
            for (at, (number, _)) in self.looks.iter_mut().enumerate() {
                *number = at as u64;
            }
            self.number = self.looks.len() as u64;
            self.used = None;
        }
    }

    /// Judges a look at the target that came between the two newest looks at the source. `applied` is `None` where no stream says what the
    /// target has. False: it lies between no two looks.
    pub fn target(&mut self, applied: Option<&GtidSet>, rows: &[Option<Digest>]) -> bool {
        let Some(to) = self.looks.len().checked_sub(1) else {
            return false;
        };
        let has_all = |look: &Look| applied.is_none_or(|set| look.before.contains_set(set));
        let passed = |look: &Look| applied.is_none_or(|set| set.contains_set(&look.before));
        let from = (0..to).rev().find(|at| passed(&self.looks[*at].1));
        let (Some(from), true) = (from, has_all(&self.looks[to].1)) else {
            return false;
        };
        // The target only goes on.
        self.looks.drain(..from);
        let is_quiet = match (self.looks.front(), self.looks.back()) {
            (Some((_, first)), Some((_, last))) => first.before == last.after,
            _ => false,
        };
        let unused = |(number, _): &&(u64, Look)| self.used.is_none_or(|used| *number > used);
        let mut fresh = self.looks.iter().filter(unused).count();
        if is_quiet && fresh > 0 {
            fresh = fresh.max(QUIET);
        }
        for (at, there) in rows.iter().enumerate() {
            if self.verdicts[at] == Verdict::Open {
                self.weigh(at, *there, fresh);
            }
        }
        self.used = self.looks.back().map(|(number, _)| *number);
        true
    }

    fn weigh(&mut self, row: usize, there: Option<Digest>, fresh: usize) {
        let mut samples = self.looks.iter().map(|(_, look)| look.rows[row]);
        if samples.clone().any(|here| here == there) {
            self.verdicts[row] = Verdict::Equal;
            return;
        }
        let Some(here) = samples.next() else { return };
        let suspicion = &mut self.suspicions[row];
        if samples.any(|other| other != here) {
            *suspicion = Suspicion::default();
            return;
        }
        if suspicion.pair != (here, there) {
            *suspicion = Suspicion {
                pair: (here, there),
                ..Suspicion::default()
            };
        }
        suspicion.source += fresh;
        suspicion.target += 1;
        if suspicion.source >= ENOUGH && suspicion.target >= 2 {
            self.verdicts[row] = Verdict::Differs(here, there);
        }
    }
}

#[cfg(test)]
mod tests {
    use binferry_schemas::gtid::Uuid;

    use super::*;

    fn set(to: u64) -> GtidSet {
        let mut set = GtidSet::new();
        if to > 0 {
            set.insert_range(Uuid::default(), Default::default(), 1, to);
        }
        set
    }

    fn row(version: u8) -> Option<Digest> {
        Some([version; 32])
    }

    fn look(before: u64, after: u64, version: u8) -> Look {
        Look {
            before: set(before),
            after: set(after),
            rows: vec![row(version)],
        }
    }

    /// Rounds of (source committed, its row), (applied, the target's row); the first source look is at 0.
    fn judged(rounds: &[(u64, u8, u64, u8)]) -> Verdict {
        let mut judge = Judge::new(1);
        judge.source(look(0, 0, rounds[0].1));
        for &(committed, here, applied, there) in rounds {
            judge.source(look(committed, committed, here));
            judge.target(Some(&set(applied)), &[row(there)]);
        }
        judge.verdicts()[0]
    }

    #[test]
    fn a_target_that_lags_is_no_difference() {
        // The row is new at the source; the target shows the old one until it has the transaction.
        let behind: Vec<_> = (1..100).map(|n| (n + 10, 2, n - 1, 1)).collect();
        let mut judge = Judge::new(1);
        judge.source(look(10, 10, 2));
        for &(committed, here, applied, there) in &behind[..9] {
            judge.source(look(committed, committed, here));
            assert!(!judge.target(Some(&set(applied)), &[row(there)]));
        }
        assert_eq!(judge.verdicts(), [Verdict::Open]);
        judge.source(look(30, 30, 3));
        assert!(judge.target(Some(&set(12)), &[row(2)]));
        assert_eq!(judge.verdicts(), [Verdict::Equal]);
    }

    #[test]
    fn a_quiet_source_is_believed_sooner() {
        let quiet = [(0, 1, 0, 2); 2];
        assert_eq!(judged(&quiet), Verdict::Differs(row(1), row(2)));
        assert_eq!(judged(&quiet[..1]), Verdict::Open);
        let busy: Vec<_> = (1..4).map(|n| (n, 1, n, 2)).collect();
        assert_eq!(judged(&busy), Verdict::Open);
        let busy: Vec<_> = (1..20).map(|n| (n, 1, n, 2)).collect();
        assert_eq!(judged(&busy), Verdict::Differs(row(1), row(2)));
    }

    #[test]
    fn a_row_that_changes_stays_open() {
        // Never like the target's.
        let changing: Vec<_> = (1..200).map(|n| (n, n as u8, n, 255)).collect();
        assert_eq!(judged(&changing), Verdict::Open);
        // Like it once.
        let changing: Vec<_> = (1..200).map(|n| (n, n as u8, n, 100)).collect();
        assert_eq!(judged(&changing), Verdict::Equal);
    }

    #[test]
    fn a_target_ahead_of_what_the_source_shows_waits() {
        let ahead: Vec<_> = (1..50).map(|n| (n, 1, n + 1, 2)).collect();
        assert_eq!(judged(&ahead), Verdict::Open);
    }
}
