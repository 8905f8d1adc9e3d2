//! Transactions whose changes the binlog takes back.
//!
//! A server that rolls back writes nothing, unless something happened in between that a rollback does not undo: a temporary table was
//! created (MariaDB), a table without transactions was changed. Then the changes stand in the binlog with a ROLLBACK behind them.
//!
//! Where the source says that all of the transaction can be rolled back (MariaDB's GTID event), it is an empty one: it ends with chunk 0,
//! which begins it anew for every reader, and the chunks that the log may have by then are void. Nothing else tells which changes of a
//! captured table remain.

use binferry_transport::session::Session;

use super::{Assembly, Progressed};
use crate::{decode::ROLLED_BACK, error::CaptureError};

impl Assembly {
    /// `whole`: not only to a savepoint.
    pub(super) async fn rollback(
        &mut self,
        whole: bool,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        let Some(open) = &mut self.open else {
            return Err(self.outside("a ROLLBACK"));
        };
        if open.captured {
            if !(whole && open.revocable && !open.xa) {
                return Err(self.at(ROLLED_BACK));
            }
            open.tables.clear();
            open.changes.clear();
            open.transaction.chunk = 0;
            open.captured = false;
            self.counters.set_rows(open.rows_before);
        }
        match whole {
            true => self.commit(session).await,
            false => Ok(Progressed::Nothing),
        }
    }
}
