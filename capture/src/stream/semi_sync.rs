//! Transactions that a semi-synchronous source has sent and not committed.
//!
//! With its wait point AFTER_SYNC (the default) a source hands a transaction to its dumps before a replica has acknowledged it, and only
//! then commits it. As long as no acknowledgement comes, the log holds what `gtid_executed` does not. Such a transaction is no errant
//! one, yet it is not committed either: when the source crashes, it may be lost. So an attempt waits for it, and an end only tells of it.

use binferry_schemas::gtid::{Gtid, GtidSet, Tag, Uuid};
use tracing::warn;

use crate::{
    client::Connection,
    error::{CaptureError, Transient},
    preflight::SourceFacts,
};

/// MariaDB, and MySQL's older plugin, have the second name.
const WAITING: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN \
    ('Rpl_semi_sync_source_wait_sessions', 'Rpl_semi_sync_master_wait_sessions')";

/// Before an attempt: transient while what `held` has beyond the source waits to be committed there.
pub(super) async fn committed(
    connection: &mut Connection,
    facts: &SourceFacts,
    held: &GtidSet,
) -> Result<(), CaptureError> {
    let errant = facts.errant(held);
    match is_waiting(connection, facts, &errant).await? {
        true => Err(Transient::Unacknowledged {
            server: connection.server().to_owned(),
            waiting: errant,
        }
        .into()),
        false => Ok(()),
    }
}

/// At an end: whether `errant` waits to be committed, and is told.
pub(super) async fn is_told(
    connection: &mut Connection,
    facts: &SourceFacts,
    errant: &GtidSet,
) -> Result<bool, CaptureError> {
    let is_waiting = is_waiting(connection, facts, errant).await?;
    if is_waiting {
        warn!(waiting = %errant, "the source has sent these transactions and waits to commit them until a semi-synchronous replica acknowledges them; should it crash before, it may lose them, and the log holds them");
    }
    Ok(is_waiting)
}

async fn is_waiting(
    connection: &mut Connection,
    facts: &SourceFacts,
    errant: &GtidSet,
) -> Result<bool, CaptureError> {
    let own = |uuid| {
        let server = Gtid {
            uuid,
            tag: Tag::NONE,
            gno: 1,
        }
        .as_mariadb();
        match server {
            Some((_, server, _)) => server == facts.server_id,
            None => uuid == facts.server_uuid,
        }
    };
    if errant.is_empty() || !is_tail(errant, &facts.executed, own) {
        return Ok(false);
    }
    let rows = connection.query(WAITING).await?;
    let sessions = |row| rows.value(row, "Value")?.parse::<u64>().ok();
    Ok((0..rows.rows.len()).any(|row| sessions(row).is_some_and(|count| count > 0)))
}

/// Whether it is nothing but the server's own newest, behind all that it has committed.
fn is_tail(errant: &GtidSet, executed: &GtidSet, own: impl Fn(Uuid) -> bool) -> bool {
    errant.iter().all(|(uuid, tag, first, _)| {
        own(uuid)
            && executed
                .iter()
                .filter(|(other, of, ..)| (*other, *of) == (uuid, tag))
                .all(|(.., last)| last < first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_servers_own_and_newest() {
        let (own, other) = (
            "aea450da-e566-11f1-8ab5-02fc00000001",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562",
        );
        let set = |text: &str| text.parse::<GtidSet>().unwrap();
        let uuid: Uuid = own.parse().unwrap();
        let is =
            |errant: &str, executed: &str| is_tail(&set(errant), &set(executed), |of| of == uuid);
        assert!(is(
            &format!("{own}:8-9"),
            &format!("{own}:1-7,{other}:1-20")
        ));
        assert!(is(&format!("{own}:1"), &format!("{other}:1-20")));
        assert!(is(
            &format!("{own}:8:blue:3"),
            &format!("{own}:1-7:blue:1-2")
        ));
        assert!(!is(&format!("{own}:6:8"), &format!("{own}:1-5:7")));
        assert!(!is(
            &format!("{own}:8,{other}:21"),
            &format!("{own}:1-7,{other}:1-20")
        ));
    }
}
