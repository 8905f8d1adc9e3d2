//! What stops a stream that is connected and decodes.

use binferry_schemas::{
    fault::{Fault, Kind},
    gtid::{Gtid, GtidSet},
    record::{Offset, Xid},
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
        "the source says that it executed {gtid}, the log's newest transaction, and its binlogs do not show it"
    )]
    NotShown { gtid: Gtid },
    #[error(
        "{gtid} at {file}:{position} changes a captured table by a statement, not by row events: {verb}"
    )]
    StatementChange {
        gtid: Gtid,
        file: String,
        position: u64,
        verb: String,
    },
    #[error(
        "the source holds XA transactions that were prepared before its present GTID set, and whose changes would be missing: {xids}"
    )]
    XaFromNow { xids: String },
    #[error(
        "{gtid} at {file}:{position} commits the XA transaction {xid}, which was prepared before the log begins: its changes are not in the log"
    )]
    XaUnknown {
        gtid: Gtid,
        file: String,
        position: u64,
        xid: Xid,
    },
    #[error(
        "{gtid} at {file}:{position} is an XA transaction that is undone after its changes were written"
    )]
    XaUndone {
        gtid: Gtid,
        file: String,
        position: u64,
    },
    #[error("the prepared XA transaction {xid} ({gtid}), which the log should hold at offset {}, {reason}", offset.0)]
    XaBroken {
        xid: Xid,
        gtid: Gtid,
        offset: Offset,
        reason: &'static str,
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
    #[error("the binlog file {file} ends in the middle of {gtid}")]
    CutOff { gtid: Gtid, file: String },
    #[error("{gtid} at {file}:{position} comes out of sequence: the log holds it already")]
    SentAgain {
        gtid: Gtid,
        file: String,
        position: u64,
    },
    #[error(
        "transactions are lost: the source states at the beginning of {file} that it has executed them before, and it has not sent them: {missing}"
    )]
    Lost { file: String, missing: GtidSet },
    #[error(
        "transactions are lost: the source has executed them before {file}:{position}, where the stream has ended, and it has not sent them: {missing}"
    )]
    NotAll {
        file: String,
        position: u64,
        missing: GtidSet,
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
            | Self::OtherSite { .. }
            | Self::XaFromNow { .. } => Kind::Configuration,
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
            Self::FilterWidened { .. } => "have the tables added, which copies them: binferry snapshot --tables …; or start a new log for the wider set of tables, or leave --tables as it was".into(),
            Self::OtherSite { .. } => "give the --site that the log has, or another log".into(),
            Self::OtherHistory { .. } => {
                "after RESET BINARY LOGS AND GTIDS (or a restored copy of the server) start with a new log and a new copy of the data".into()
            }
            Self::StatementChange { .. } => {
                "let every session of the source use binlog_format=ROW; copy the table again, and start a new log behind this transaction".into()
            }
            Self::XaFromNow { .. } => {
                "end them on the source (XA RECOVER lists them, XA COMMIT or XA ROLLBACK ends them), then start; or begin with --from at a GTID set before they were prepared".into()
            }
            Self::XaUnknown { .. } => {
                "copy the data again, which has the transaction's changes now, and start a new log behind it (--from with the GTID set of that copy)".into()
            }
            Self::XaUndone { .. } => {
                "use InnoDB for all tables that change in the same transactions as captured ones".into()
            }
            Self::XaBroken { .. } => {
                "keep the log for longer than XA transactions stay prepared; copy the data again, and start a new log behind it".into()
            }
            Self::Lost { .. } | Self::NotAll { .. } => {
                "look for these transactions in the source's binlogs (mysqlbinlog --include-gtids=…): gtid_purged that was set by hand, or binlogs that were copied or cut, leave such gaps; copy the data again, and start a new log behind it".into()
            }
            Self::At { reason, .. } => return reason.hint(),
            Self::Within { error, .. } => return error.hint(),
            Self::OutOfSequence { .. } => {
                "SET GLOBAL gtid_strict_mode = ON on the source (and its sources), give each stream of writes a gtid_domain_id of its own, and start a new log behind this transaction".into()
            }
            Self::Encoded => return None,
            Self::Unexpected { .. } | Self::NotShown { .. } => {
                "after RESET MASTER (or on a restored copy of the server) start with a new log and a new copy of the data".into()
            }
            Self::OutsideTransaction { .. }
            | Self::CutOff { .. }
            | Self::SentAgain { .. }
            | Self::Unfinished { .. }
            | Self::NoTableMap { .. } => "check the binlog file on the source with mysqlbinlog --verify-binlog-checksum".into(),
        })
    }
}
