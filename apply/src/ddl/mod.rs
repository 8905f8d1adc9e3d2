//! Statements that define tables, on the target: each once, and in its place in the log.
//!
//! A statement is run alone: everything before it is committed, nothing behind it has begun, and the tables are looked at again after it.
//! It commits by itself, so it can't share a transaction with the progress row. What makes it count once is one row a stream in
//! `binferry.ddl` (`standing`), and an answer to the question whether a statement that was begun has been done:
//!
//! 1. a claim: the progress row (its condition fences older appliers) and the statement as *open*, in one transaction;
//! 2. the statement, in the session that it had on the source (`session`);
//! 3. the progress behind it, and the statement as done, in one transaction.
//!
//! After a crash an open statement is in doubt. Where the target lets us choose GTIDs, the statement has one that the claim names, and
//! `gtid_executed` holds it exactly if the statement was done: the server commits both at once. An attempt that is still running on
//! the server owns its GTID, so the next one waits for it, and is then passed over by the server. Elsewhere (`definition`) the session
//! of the attempt is ended, and what the statement defines is compared with what it was before; where that can't tell, the stream stops.
//!
//! A table that is still to be copied may not be on the target, and then comes as it is when its copy begins: what a statement says of it
//! until then is left out (`absent`).
//!
//! With the source's GTIDs preserved, the statement has its own; only one whose rows follow in the same transaction leaves it to these.

mod absent;
mod definition;
mod run;
mod session;
mod standing;
mod waiting;

use std::sync::Arc;

use binferry_schemas::record::{Ddl, FoldState};
use tokio::sync::oneshot;

pub(crate) use self::{
    run::run,
    standing::{create_table, forget, pass},
};
use crate::{error::Place, preserve::Name};

/// What becomes of the source's statements that define captured tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DdlMode {
    /// They are run on the target.
    #[default]
    Apply,
    /// The stream stops before the first one.
    Stop,
    /// They are passed over; the rows that follow must fit the target as it is.
    Ignore,
}

/// The session that runs a statement holds a lock under this number, as those of workers do.
pub(crate) const SESSION: u32 = u32::MAX;

/// A statement to be run.
#[derive(Debug)]
pub(crate) struct DdlUnit {
    pub place: Arc<Place>,
    pub ddl: Ddl,
    /// Those of its tables whose copy has not begun: they may not be there, and their rows are not complete.
    pub waiting: Vec<(String, String)>,
    /// Those of them whose copy is to remove what the target has.
    pub removed: Vec<(String, String)>,
    /// There are copies under way: a table that a foreign key refers to may not be there yet.
    pub copying: bool,
    /// The source's GTID, when it is to keep it.
    pub name: Option<Name>,
    /// The fold behind it; `None`: rows of the same transaction follow.
    pub state: Option<Box<FoldState>>,
    /// Told when it has been done.
    pub done: oneshot::Sender<()>,
}
