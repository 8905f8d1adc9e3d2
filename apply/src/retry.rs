//! Which errors go away by themselves.

use std::time::Duration;

use crate::error::ApplyError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Connect again and go on from the progress row.
    Retry,
    /// The same, when the applier has been running already: a failover or an operator at work. At the start it is an error.
    RetryWhenRunning,
    Stop,
}

/// Unknown means stop.
pub fn verdict(error: &ApplyError) -> Verdict {
    match error {
        ApplyError::Unreachable { .. } | ApplyError::Lost { .. } => Verdict::Retry,
        ApplyError::ReadOnly { .. } => Verdict::RetryWhenRunning,
        ApplyError::Server { fault, .. } | ApplyError::Ddl { fault, .. } => match fault.code {
            // Deadlock; lock wait timeout; too many locks; the server is being stopped; out of memory for a while.
            1205 | 1213 | 1206 | 1053 | 1037 | 1040 | 1041 => Verdict::Retry,
            code if is_no_room(code) => Verdict::Retry,
            _ => Verdict::Stop,
        },
        _ => Verdict::Stop,
    }
}

/// A full disk, or a tablespace that may not grow: a file that can't be written (the server's own numbers below 1000), a table that is
/// full, a temporary file that can't be written. What was begun is rolled back, and goes on when there is room.
pub fn is_no_room(code: u16) -> bool {
    matches!(code, 3 | 20 | 1021 | 1026 | 1114 | 1878)
}

pub fn backoff() -> impl Iterator<Item = Duration> {
    use backon::BackoffBuilder;
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServerFault;

    #[test]
    fn unknown_errors_stop() {
        let server = |code| ApplyError::Server {
            doing: "",
            place: None,
            table: None,
            fault: Box::new(ServerFault {
                code,
                state: String::new(),
                message: None,
            }),
        };
        assert_eq!(verdict(&server(1213)), Verdict::Retry);
        assert_eq!(verdict(&server(1114)), Verdict::Retry);
        assert_eq!(verdict(&server(9999)), Verdict::Stop);
        assert_eq!(
            verdict(&ApplyError::ReadOnly {
                setting: "read_only"
            }),
            Verdict::RetryWhenRunning
        );
    }
}
