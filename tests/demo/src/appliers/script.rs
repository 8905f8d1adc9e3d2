//! What happens when: drawn before anything runs, so that a seed brings it back.

use std::time::Duration;

use crate::chance::Chance;

pub const SLOTS: usize = 2;
const WORKERS: [u64; 6] = [1, 2, 3, 4, 8, 16];

/// Something that is done to an applier; whichever is not there is started instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deed {
    pub slot: usize,
    /// Of an applier that is started.
    pub workers: u64,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The other one, which takes over.
    Start,
    Kill,
    /// SIGSTOP, wherever it is; the other one is started.
    Pause,
    /// SIGCONT.
    Resume,
    /// All its connections.
    Cut,
    /// Of its next COMMIT the target sees nothing, or it commits and the answer is lost.
    Fault {
        answer: bool,
    },
    /// Of each byte, each way.
    Delay {
        millis: u64,
    },
    KillCapture,
}

/// In order.
pub fn draw(mut chance: Chance, length: Duration) -> Vec<(Duration, Deed)> {
    let mut deeds = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        // Mostly quiet for a second or two, sometimes blow upon blow.
        at += Duration::from_millis(match chance.below(4) {
            0 => chance.below(150),
            _ => chance.between(300, 2_500),
        });
        if at >= length {
            break;
        }
        let mut deed = Deed {
            slot: chance.below(SLOTS as u64) as usize,
            workers: WORKERS[chance.below(WORKERS.len() as u64) as usize],
            what: match chance.below(20) {
                0..4 => What::Start,
                4..7 => What::Kill,
                7..11 => What::Pause,
                11..13 => What::Cut,
                13..18 => What::Fault {
                    answer: !chance.one_in(3),
                },
                18 => What::Delay {
                    millis: chance.below(6),
                },
                _ => What::KillCapture,
            },
        };
        deeds.push((at, deed));
        if deed.what == What::Pause {
            deed.what = What::Resume;
            deeds.push((at + Duration::from_millis(chance.between(50, 8_000)), deed));
        }
    }
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_brings_it_back() {
        let minute = Duration::from_secs(60);
        let deeds = draw(Chance::new(5), minute);
        assert_eq!(deeds, draw(Chance::new(5), minute));
        assert!(deeds.is_sorted_by_key(|(at, _)| *at));
        let count = |what| deeds.iter().filter(|(_, deed)| deed.what == what).count();
        assert!(count(What::Pause) > 0);
        assert_eq!(count(What::Pause), count(What::Resume));
    }
}
