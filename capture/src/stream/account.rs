//! Does the log hold every GTID that the source says it executed?
//!
//! Asked at two places, beside the check when a stream attaches:
//! - Where a binlog file begins, it states the set of everything before it (`PREVIOUS_GTIDS`, MariaDB's `GTID_LIST`). All of that is in the
//!   log by then, or was there before the log began (`base`), or is lost ([`lost`]). What the filter leaves out is in the log too: every
//!   GTID counts.
//! - Where the stream ends, the source is asked once more ([`ask`]).
//!
//! What the log has beyond the source is an errant transaction: the log is another server's, or the source has lost transactions.

use std::time::Duration;

use binferry_schemas::{address::Address, gtid::GtidSet};
use tracing::{info, warn};

use super::{attach, error::StreamError, semi_sync};
use crate::{
    client::Connection,
    error::{CaptureError, Permanent},
    preflight::Flavour,
};

/// An end waits so long for the source's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What of `stated` neither the fold nor what has been appended since has.
pub fn lost(stated: &GtidSet, folded: &GtidSet, appended: &GtidSet) -> GtidSet {
    if folded.contains_set(stated) {
        return GtidSet::new();
    }
    stated.subtract(folded).subtract(appended)
}

/// Where a stream has ended.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub file: &'a str,
    pub position: u64,
    /// Inside a transaction: the rest of it has not been read, although the position may be where its event ends.
    pub within: bool,
    /// What the log holds.
    pub held: &'a GtidSet,
}

/// Compares with what the source says now. A source that does not answer soon is not waited for: a stop is a stop.
pub(super) async fn ask(source: &Address, ended: &Ended<'_>) -> Result<(), CaptureError> {
    match tokio::time::timeout(PATIENCE, compare(source, ended)).await {
        Ok(Err(error)) if !is_finding(&error) => {
            info!(%error, "the source cannot be asked at the end whether the log holds all that it executed");
            Ok(())
        }
        Ok(compared) => compared,
        Err(_) => {
            warn!(
                "the source does not answer at the end whether the log holds all that it executed"
            );
            Ok(())
        }
    }
}

fn is_finding(error: &CaptureError) -> bool {
    matches!(
        error,
        CaptureError::Permanent(Permanent::Errant { .. })
            | CaptureError::Stream(StreamError::NotAll { .. })
    )
}

async fn compare(source: &Address, ended: &Ended<'_>) -> Result<(), CaptureError> {
    let mut connection = Connection::open(source).await?;
    let facts = attach::facts(&mut connection, ended.held).await?;
    let errant = facts.errant(ended.held);
    if !errant.is_empty() && !semi_sync::is_told(&mut connection, &facts, &errant).await? {
        return Err(Permanent::Errant {
            server: connection.server().to_owned(),
            errant,
        }
        .into());
    }
    // The set first, then the place: all of the set lies before it.
    let statement = match facts.version.flavour {
        Flavour::MySql if facts.version.number >= (8, 2, 0) => "SHOW BINARY LOG STATUS",
        _ => "SHOW MASTER STATUS",
    };
    let rows = connection.query(statement).await?;
    let file = rows.value(0, "File").unwrap_or_default();
    let position: Option<u64> = rows.value(0, "Position").and_then(|text| text.parse().ok());
    connection.close().await;
    // Short of it, the rest has not been read: the next start goes on there.
    let at_end = !ended.within
        && file == ended.file
        && position.is_some_and(|position| ended.position >= position);
    let missing = facts.executed.subtract(ended.held);
    if at_end && !missing.is_empty() {
        return Err(StreamError::NotAll {
            file,
            position: ended.position,
            missing,
        }
        .into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_is_what_neither_has() {
        let set = |text: &str| text.parse::<GtidSet>().unwrap();
        let a = "aea450da-e566-11f1-8ab5-02fc00000001";
        let stated = set(&format!("{a}:1-100:blue:1-5"));
        let folded = set(&format!("{a}:1-90:blue:1-3"));
        assert_eq!(
            lost(&stated, &folded, &set(&format!("{a}:91-99:blue:4"))),
            set(&format!("{a}:100:blue:5"))
        );
        assert!(lost(&stated, &folded, &stated).is_empty());
        assert!(
            lost(
                &stated,
                &set(&format!("{a}:1-200:blue:1-9")),
                &GtidSet::new()
            )
            .is_empty()
        );
    }
}
