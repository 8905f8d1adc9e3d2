//! What is tried again, and when.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use binferry_transport::error::LogError;

use crate::error::CaptureError;

/// The first and the longest pause between two tries.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Connect again, and go on from what the log holds.
    Retry,
    Stop,
}

/// Only what is known to pass is tried again.
pub fn verdict(error: &CaptureError) -> Verdict {
    match error {
        // Another writer goes on from what is durable.
        CaptureError::Transient(_) | CaptureError::Log(LogError::Interrupted { .. }) => {
            Verdict::Retry
        }
        CaptureError::Permanent(_)
        | CaptureError::Decode(_)
        | CaptureError::Stream(_)
        | CaptureError::File(_)
        | CaptureError::Snapshot(_)
        | CaptureError::Log(_) => Verdict::Stop,
    }
}

/// The pauses between tries: doubling from 100 ms to 30 s, with jitter (so that many captures do not come back at once). Begin a
/// new one after something has been received; how many to take is the caller's option.
pub fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(SHORTEST)
        .with_max_delay(LONGEST)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Permanent, Transient};

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let pauses: Vec<_> = backoff().take(40).collect();
        assert_eq!(pauses.len(), 40);
        assert!(pauses[0] < Duration::from_millis(300));
        assert!(pauses[39] >= LONGEST && pauses[39] <= 2 * LONGEST);
    }

    #[test]
    fn only_transient_errors_are_tried_again() {
        let server = || "host:3306".to_owned();
        assert_eq!(
            verdict(&Transient::Closed { server: server() }.into()),
            Verdict::Retry
        );
        assert_eq!(
            verdict(&Permanent::TlsNotOffered { server: server() }.into()),
            Verdict::Stop
        );
    }
}
