//! Why the source ends a dump with an error: error 1236 is one code for many causes, told apart by its text.
//!
//! The texts are those of MySQL 8.0 to 9.x (`share/messages_to_clients.txt`, `sql/rpl_binlog_sender.cc`,
//! `sql/rpl_source.cc`), and of MariaDB 10.11 and 11.8 (`sql/sql_repl.cc`, `sql/share/errmsg-utf8.txt`). A text that is not known stays an error of its own, with the text in it: never a retry.

use binferry_schemas::gtid::GtidSet;

use crate::error::{CaptureError, Permanent, ServerError};

/// ER_SOURCE_FATAL_ERROR_READING_BINLOG.
const FATAL: u16 = 1236;
/// ER_SOURCE_HAS_PURGED_REQUIRED_GTIDS, ER_REPLICA_HAS_MORE_GTIDS_THAN_SOURCE: normally inside 1236.
const PURGED: u16 = 1789;
const MORE_GTIDS: u16 = 1885;
/// MariaDB's ER_GTID_POSITION_NOT_FOUND_IN_BINLOG, its second form, and ER_GTID_START_FROM_BINLOG_HOLE: normally inside 1236.
const MARIADB_NOT_FOUND: [u16; 3] = [1945, 1955, 1951];

/// The error of this crate for an ERR packet inside a dump.
pub(super) fn typed(server: &str, user: &str, error: ServerError) -> CaptureError {
    if ![FATAL, PURGED, MORE_GTIDS].contains(&error.code)
        && !MARIADB_NOT_FOUND.contains(&error.code)
    {
        return CaptureError::answered(server, user, error);
    }
    let server = server.to_owned();
    let message = error.message;
    let says = |text: &str| message.contains(text);
    let permanent = if error.code == PURGED
        || says("purged required binary logs")
        || says("purged binary logs containing GTIDs")
    {
        match missing(&message) {
            Some(missing) => Permanent::Purged { server, missing },
            None => Permanent::PurgedUnnamed { server, message },
        }
    } else if says("Could not find GTID state requested by slave in any binlog files") {
        Permanent::PurgedUnnamed { server, message }
    } else if error.code == MORE_GTIDS
        || says("has more GTIDs than the")
        || MARIADB_NOT_FOUND.contains(&error.code)
        || says("which is not in the master's binlog")
        || says("is missing the GTID")
    {
        Permanent::ErrantUnnamed { server, message }
    } else if says("same server_uuid/server_id") || says("same server_uuid as this") {
        Permanent::Replaced { server, message }
    } else if says("exceeded max_allowed_packet") {
        Permanent::EventTooLarge { server, message }
    } else if says("event read from binlog did not pass")
        || says("bogus data in log event")
        || says("log event truncated")
        || says("binlog truncated in the middle")
        || says("I/O error reading log event")
        || says("could not find next log")
        || says("memory allocation failed")
    {
        Permanent::SourceBinlog { server, message }
    } else {
        Permanent::DumpRefused { server, message }
    };
    permanent.into()
}

/// The set between quotes after "missing transactions are"; the server cuts long messages off, and half a set is none.
fn missing(message: &str) -> Option<GtidSet> {
    let (_, after) = message.split_once("missing transactions are '")?;
    let (set, _) = after.split_once('\'')?;
    set.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, message: &str) -> CaptureError {
        typed(
            "host:3306",
            "me",
            ServerError {
                code,
                state: "HY000".into(),
                message: message.into(),
            },
        )
    }

    #[test]
    fn purged_with_the_set_and_cut_off() {
        let text = "Cannot replicate because the source purged required binary logs. The GTID set sent by the replica is '', and \
                    the missing transactions are 'aea450da-e566-11f1-8ab5-02fc00000001:1-12'.";
        let CaptureError::Permanent(Permanent::Purged { missing, .. }) = error(1236, text) else {
            panic!();
        };
        assert_eq!(
            missing.to_string(),
            "aea450da-e566-11f1-8ab5-02fc00000001:1-12"
        );
        let cut = &text[..text.len() - 5];
        assert!(matches!(
            error(1236, cut),
            CaptureError::Permanent(Permanent::PurgedUnnamed { .. })
        ));
    }

    #[test]
    fn other_causes() {
        assert!(matches!(
            error(
                1236,
                "A replica with the same server_uuid/server_id as this replica has connected to the source; the first event ..."
            ),
            CaptureError::Permanent(Permanent::Replaced { .. })
        ));
        assert!(matches!(
            error(
                1236,
                "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source; the first event ..."
            ),
            CaptureError::Permanent(Permanent::EventTooLarge { .. })
        ));
        assert!(matches!(
            error(1236, "something new"),
            CaptureError::Permanent(Permanent::DumpRefused { .. })
        ));
        assert!(matches!(
            error(1053, "Server shutdown in progress"),
            CaptureError::Transient(_)
        ));
        assert!(matches!(
            error(1227, "Access denied; you need ..."),
            CaptureError::Permanent(Permanent::Unprivileged { .. })
        ));
    }
}
