//! Target transactions under the source's names: `gtid_next`, one target transaction for each of the source's.
//!
//! A GTID is given to the target exactly once, with the progress row in the same transaction. So native replicas can hang below the
//! target, and a native replica of the source can take over from an applier, and an applier from it:
//! - What a native replica has applied is in `gtid_executed` and not in the progress row. The server would pass over every statement of
//!   such a transaction in silence, the progress statement too. So its changes are left out, and the progress moves in a transaction of
//!   the target's own name. It is in the target whole: a GTID is executed with its transaction, or not at all.
//! - A transaction of which nothing is to be applied (the filter left nothing, a statement that defines tables, XA PREPARE) is given all
//!   the same, with the progress row alone in it: a hole would be asked of the source again by whoever takes over.
//!
//! What the applier writes for itself (taking over, how far it has read while nothing comes) has names of the target's own.

use binferry_schemas::{
    gtid::{Gtid, GtidSet},
    record::TransactionHead,
};
use mysql_async::{Conn, prelude::Queryable};

use crate::{
    connection::{Target, from_mysql},
    dialect::Dialect,
    error::{ApplyError, PreserveProblem},
};

/// The name of a target transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub gtid: Gtid,
    /// Microseconds since the epoch; replicas below the target count their lag from it.
    pub original_commit_us: u64,
}

impl From<&TransactionHead> for Name {
    fn from(head: &TransactionHead) -> Self {
        Self {
            gtid: head.gtid,
            original_commit_us: head.original_commit_us,
        }
    }
}

impl Name {
    /// The statement before the transaction.
    pub fn put(&self, out: &mut Vec<u8>) {
        // Hexadecimal digits, hyphens, a tag's letters, and numbers: nothing to quote.
        let Self {
            gtid,
            original_commit_us,
        } = self;
        let text =
            format!("SET gtid_next='{gtid}',original_commit_timestamp={original_commit_us};");
        out.extend_from_slice(text.as_bytes());
    }
}

/// The statement after the transaction, however it ended. The number is the one that stands for "not known" (`UNDEFINED_COMMIT_TIMESTAMP`,
/// 2^55).
pub const AUTOMATIC: &str = "SET gtid_next='AUTOMATIC',original_commit_timestamp=36028797018963968";

const DOING: &str = "asking for the target's GTIDs";

/// Can the source's names be given on this target? What it has executed already.
pub async fn ready(target: &mut Target) -> Result<GtidSet, ApplyError> {
    let problem = |problem| ApplyError::Preserve {
        problem: Box::new(problem),
    };
    if target.dialect == Dialect::MariaDb {
        return Err(problem(PreserveProblem::MariaDbTarget));
    }
    let conn = &mut target.conn;
    let found: Option<(String, String)> = conn
        .query_first("SELECT @@global.gtid_mode, @@global.gtid_executed")
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    let (mode, executed) = found.unwrap_or_default();
    if mode != "ON" {
        return Err(problem(PreserveProblem::Mode { found: mode }));
    }
    match conn
        .query_drop(AUTOMATIC)
        .await
        .map_err(|error| from_mysql(error, DOING))
    {
        Ok(()) => {}
        Err(ApplyError::Privilege { fault }) => {
            return Err(problem(PreserveProblem::Privilege { fault }));
        }
        Err(error) => return Err(error),
    }
    let executed = executed.replace('\n', "");
    executed
        .parse()
        .map_err(|_| ApplyError::Defect("the target's gtid_executed cannot be read"))
}

pub async fn is_executed(conn: &mut Conn, gtid: Gtid) -> Result<bool, ApplyError> {
    let answer: Option<bool> = conn
        .exec_first(
            "SELECT GTID_SUBSET(?, @@global.gtid_executed)",
            (gtid.to_string(),),
        )
        .await
        .map_err(|error| from_mysql(error, DOING))?;
    Ok(answer == Some(true))
}

/// A source's GTID that MySQL has no form for.
pub fn refuse_foreign(gtid: Gtid) -> Result<(), ApplyError> {
    match gtid.as_mariadb() {
        None => Ok(()),
        Some(_) => Err(ApplyError::Preserve {
            problem: Box::new(PreserveProblem::MariaDbSource { gtid }),
        }),
    }
}

#[cfg(test)]
mod tests {
    use binferry_schemas::gtid::{Tag, Uuid};

    use super::*;

    #[test]
    fn names() {
        let uuid = Uuid::from_u128(0x3e11_fa47_71ca_11e1_9e33_c80a_a942_9562);
        let mut out = Vec::new();
        Name {
            gtid: Gtid {
                uuid,
                tag: Tag::new("blue_1").unwrap(),
                gno: 7,
            },
            original_commit_us: 5,
        }
        .put(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "SET gtid_next='3e11fa47-71ca-11e1-9e33-c80aa9429562:blue_1:7',original_commit_timestamp=5;"
        );
    }
}
