//! What is wrong with a binlog file, or with a list of them.

use std::path::PathBuf;

use binferry_schemas::{
    fault::{Fault, Kind},
    gtid::GtidSet,
};

use crate::error::Permanent;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the folder {} holds no binlog file", path.display())]
    EmptyFolder { path: PathBuf },
    #[error("the folder {} holds binlogs of more than one series: {}", path.display(), series.join(", "))]
    SeveralSeries { path: PathBuf, series: Vec<String> },
    #[error("{} is in the list twice", path.display())]
    Twice { path: PathBuf },
    #[error("{} is empty", path.display())]
    Empty { path: PathBuf },
    #[error("{} is not a binlog file: it begins with other bytes than fe 62 69 6e", path.display())]
    NotBinlog { path: PathBuf },
    #[error("{} is encrypted (binlog_encryption, MariaDB's encrypt_binlog), and its keys are the server's", path.display())]
    Encrypted { path: PathBuf },
    #[error("{} is a relay log, not a binlog", path.display())]
    RelayLog { path: PathBuf },
    #[error("{} was written by {version}, whose format is not read", path.display())]
    Version { path: PathBuf, version: String },
    #[error("{} states neither PREVIOUS_GTIDS nor a GTID_LIST, so that its place among the files is not known", path.display())]
    NoPreviousGtids { path: PathBuf },
    #[error("{} stops in the middle of an event: at position {position} an event of {expected} bytes begins, and {found} are there", path.display())]
    Truncated {
        path: PathBuf,
        position: u64,
        expected: u64,
        found: u64,
    },
    #[error("{} ends at position {position} in the middle of a transaction", path.display())]
    Unfinished { path: PathBuf, position: u64 },
    #[error("{} is damaged at position {position}: {reason}", path.display())]
    Damaged {
        path: PathBuf,
        position: u64,
        reason: Box<Permanent>,
    },
    #[error("transactions are missing before {}: {missing}", path.display())]
    Gap { path: PathBuf, missing: GtidSet },
    #[error("{} does not continue {}: it knows nothing of {lost}", path.display(), before.display())]
    NotContinued {
        path: PathBuf,
        before: PathBuf,
        lost: GtidSet,
    },
    #[error("the log holds transactions that the files' server did not have: {errant}")]
    Errant { errant: GtidSet },
    #[error(
        "the log is new and says nothing of where to begin, and transactions came before the first file, {}: {previous}", path.display()
    )]
    FromNeeded { path: PathBuf, previous: GtidSet },
    #[error("--from now means nothing for files")]
    FromNow,
    #[error("--from: the files' server never had these transactions: {unknown}")]
    FromUnknown { unknown: GtidSet },
    #[error("--until: the files end without these transactions: {missing}")]
    UntilMissing { missing: GtidSet },
}

impl Fault for FileError {
    fn kind(&self) -> Kind {
        match self {
            Self::Truncated { .. }
            | Self::Unfinished { .. }
            | Self::Damaged { .. }
            | Self::Gap { .. }
            | Self::NotContinued { .. }
            | Self::UntilMissing { .. }
            | Self::Errant { .. } => Kind::Data,
            _ => Kind::Configuration,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Unreadable { .. } => "name files that are there and may be read: --source file:PATH[,PATH...]",
                Self::EmptyFolder { .. } => "binlogs are named NAME.NUMBER, as binlog.000001; list files of other names one by one",
                Self::SeveralSeries { .. } => "list the files of the one that you mean: --source file:PATH[,PATH...]",
                Self::Twice { .. } => "list each file once",
                Self::Empty { .. } => "the copy failed: copy the file again",
                Self::NotBinlog { .. } => "name binlog files only (not their index); decompress what a backup has compressed",
                Self::Encrypted { .. } => {
                    "have the server decrypt it: mysqlbinlog (or mariadb-binlog) --read-from-remote-server --raw FILE, and give the file that this \
                     writes; or read through the server: --source mysql://user@host/"
                }
                Self::RelayLog { .. } => "give the binlogs of the replica (log_replica_updates = ON) or of its source",
                Self::Version { .. } => "MySQL 5.7 and newer write files that are understood, and MySQL 8.0 and MariaDB 10.5 and newer those that can be carried: replicate to a newer server with log_replica_updates = ON, and take that one's binlogs",
                Self::NoPreviousGtids { .. } => "binlogs must be written by MariaDB, or with gtid_mode = ON by MySQL 5.7 or newer",
                Self::Truncated { .. } | Self::Unfinished { .. } => {
                    "what was whole before it is in the log; give a complete copy of the file, and the capture goes on there"
                }
                Self::Damaged { .. } => {
                    "what was whole before it is in the log; check the file with mysqlbinlog --verify-binlog-checksum, and give \
                     another copy of it"
                }
                Self::Gap { .. } => "add the files that hold them to the list, or capture them from a server first",
                Self::NotContinued { .. } => {
                    "the files must come from one server, without a RESET BINARY LOGS AND GTIDS (MariaDB: RESET MASTER, or DELETE_DOMAIN_ID) between them; leave out what is not \
                     of the series"
                }
                Self::Errant { .. } => {
                    "give files of the server that the log was written from, or of a replica that has these transactions; otherwise \
                     start a new log"
                }
                Self::FromNeeded { .. } => {
                    "add the files from the first one on; or copy the data to the target and give the GTID set that the copy holds: \
                     --from GTIDSET; or --from earliest, to begin with what the files hold"
                }
                Self::FromNow => "give --from earliest or --from GTIDSET",
                Self::FromUnknown { .. } => "give a GTID set of the server that wrote the files",
                Self::UntilMissing { .. } => "add the files that hold them, or leave --until out",
            }
            .to_owned(),
        )
    }
}
