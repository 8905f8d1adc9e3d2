//! Applies a log to a MySQL or MariaDB server, exactly once.
//!
//! Each record that counts (the fold decides) becomes row changes; changes of several transactions become the net effect on each row, and
//! few large statements; these and the progress row are one transaction on the target. What does not fit the target stops the stream with
//! an error that names the transaction, the table and the columns, or is decided by a policy and journaled.
//!
//! In the order of the flow: [`planner`](crate::planner) reads and folds the log, `tables` and `target` find where rows go, `net` and
//! `batch` order the changes, `render` writes SQL (`dialect` says whose), `executor` runs it, `ddl` runs statements that define tables,
//! `conflict` decides about what does not fit, `progress` makes it count once, `copy` makes and fills tables, `takeover` and `place` say
//! who goes on and where, and [`Applier`] holds the loop. `skip` passes what the
//! stream stops at. `diff` compares a target with its source.

mod applier;
mod batch;
mod change;
pub mod conflict;
mod connection;
mod copy;
mod ddl;
mod dependency;
mod dialect;
pub mod diff;
mod documents;
mod error;
mod executor;
mod joiner;
mod meter;
mod net;
mod options;
mod place;
mod plan;
mod planner;
mod preflight;
mod preserve;
mod progress;
mod render;
mod retry;
mod skip;
mod tables;
mod takeover;
mod target;
mod turns;
mod workers;

pub use self::{
    applier::{Applier, Outcome, Progress, reader_name},
    conflict::{Conflict, ConflictKind},
    copy::{CopyProblem, IntoTables},
    ddl::DdlMode,
    error::{ApplyError, PassedDdl, Place, PreserveProblem, ServerFault, TableName, TableProblem},
    meter::ApplyMeter,
    options::{Compare, GroupLimits, Gtids, Options, Until},
    preflight::{Wanted, preflight, refuse_rows},
    progress::TargetProgress,
    skip::{Skipped, skip},
};

use binferry_schemas::address::Address;

/// What the target says of a stream; `None` when it has never been applied there.
pub async fn read_progress(
    address: &Address,
    stream: &str,
) -> Result<Option<TargetProgress>, ApplyError> {
    let mut target = connection::connect(address).await?;
    let found = progress::read(&mut target.conn, stream).await;
    // The session ends either way.
    let _ = target.conn.disconnect().await;
    found
}
