//! What stops a stream that is connected and decodes.

use binferry_schemas::{
    fault::{Fault, Kind},
    gtid::{Gtid, GtidSet},
};

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(
        "the log is new and says nothing of where to begin, and the source has purged its first transactions: {purged}"
    )]
    FromNeeded { purged: GtidSet },
    #[error("--from: the source never had these transactions: {unknown}")]
    FromUnknown { unknown: GtidSet },
    #[error("--from: the source has purged transactions that would follow: {missing}")]
    FromPurged { missing: GtidSet },
    #[error(
        "the log holds the tables `{logged}`; `{wanted}` asks for more, and their history is not in the log"
    )]
    FilterWidened { logged: String, wanted: String },
    #[error("the log was written by a capture of site `{logged}`, not `{wanted}`")]
    OtherSite { logged: String, wanted: String },
    #[error(
        "the source's transaction {gtid} is not the one that the log holds: committed at {source_us} \u{b5}s there, at {logged_us} \u{b5}s in the log; the GTIDs have started over"
    )]
    OtherHistory {
        gtid: Gtid,
        source_us: u64,
        logged_us: u64,
    },
    #[error(
        "{gtid} at {file}:{position} is out of sequence: number {newest} of its domain has come before, and numbers must rise"
    )]
    OutOfSequence {
        gtid: Gtid,
        newest: u64,
        file: String,
        position: u64,
    },
    #[error("the source should have sent {expected} first, and sent {got}")]
    Unexpected { expected: Gtid, got: Gtid },
    #[error(
        "{gtid} at {file}:{position} changes a captured table by a statement, not by row events: {verb}"
    )]
    StatementChange {
        gtid: Gtid,
        file: String,
        position: u64,
        verb: String,
    },
    #[error("{event} at {file}:{position} lies outside a transaction")]
    OutsideTransaction {
        event: &'static str,
        file: String,
        position: u64,
    },
    #[error("{gtid} at {file}:{position} began before the transaction ahead of it had ended")]
    Unfinished {
        gtid: Gtid,
        file: String,
        position: u64,
    },
    #[error("a row event at {file}:{position} ({gtid}) has no table map for table id {table_id}")]
    NoTableMap {
        gtid: Gtid,
        file: String,
        position: u64,
        table_id: u64,
    },
    #[error("{error} (at byte {offset} of the content of the transaction payload there)")]
    Within {
        offset: u64,
        error: Box<StreamError>,
    },
    #[error("a change that was just encoded cannot be read back")]
    Encoded,
    #[error("{gtid} at {file}:{position}: {reason}")]
    At {
        gtid: String,
        file: String,
        position: u64,
        #[source]
        reason: crate::decode::DecodeError,
    },
}

impl Fault for StreamError {
    fn kind(&self) -> Kind {
        match self {
            Self::FromNeeded { .. }
            | Self::FromUnknown { .. }
            | Self::FromPurged { .. }
            | Self::FilterWidened { .. }
            | Self::OtherSite { .. } => Kind::Configuration,
            Self::At { reason, .. } => reason.kind(),
            Self::Within { error, .. } => error.kind(),
            Self::Encoded => Kind::Defect,
            _ => Kind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::FromNeeded { .. } => {
                "copy the data to the target and give the GTID set that the copy holds: --from GTIDSET (mysqldump prints it as GTID_PURGED); --from now when the target is equal already".into()
            }
            Self::FromUnknown { .. } => "give a GTID set of this source, as @@gtid_executed prints it".into(),
            Self::FromPurged { .. } => "make a newer copy of the data, and give the GTID set that it holds".into(),
            Self::FilterWidened { .. } => "start a new log for the wider set of tables, or leave --tables as it was".into(),
            Self::OtherSite { .. } => "give the --site that the log has, or another log".into(),
            Self::OtherHistory { .. } => {
                "after RESET BINARY LOGS AND GTIDS (or a restored copy of the server) start with a new log and a new copy of the data".into()
            }
            Self::StatementChange { .. } => {
                "let every session of the source use binlog_format=ROW; copy the table again, and start a new log behind this transaction".into()
            }
            Self::At { reason, .. } => return reason.hint(),
            Self::Within { error, .. } => return error.hint(),
            Self::OutOfSequence { .. } => {
                "SET GLOBAL gtid_strict_mode = ON on the source (and its sources), give each stream of writes a gtid_domain_id of its own, and start a new log behind this transaction".into()
            }
            Self::Encoded => return None,
            Self::Unexpected { .. } => {
                "after RESET MASTER (or on a restored copy of the server) start with a new log and a new copy of the data".into()
            }
            Self::OutsideTransaction { .. }
            | Self::Unfinished { .. }
            | Self::NoTableMap { .. } => "check the binlog file on the source with mysqlbinlog --verify-binlog-checksum".into(),
        })
    }
}
