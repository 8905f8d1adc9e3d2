//! What ends a comparison before its end.

use binferry_schemas::fault::{Fault, Kind};

use super::{Side, repair::SourceFault};
use crate::error::ApplyError;

#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("{side}: {source}")]
    Server {
        side: Side,
        #[source]
        source: Box<ApplyError>,
    },
    /// The table is not there any more, or not as it was. The comparison begins anew with it.
    #[error("{side}: a table was dropped or redefined while it was compared: {source}")]
    Redefined {
        side: Side,
        #[source]
        source: Box<ApplyError>,
    },
    #[error("no table of either server matches --tables, of those that the users may see")]
    NoTables,
    #[error("source: {0}")]
    Rows(SourceFault),
}

/// No database, no table, no column, no index, or a definition that is newer than a snapshot.
const REDEFINED: [u16; 6] = [1049, 1146, 1054, 1176, 1412, 1615];

impl DiffError {
    pub(super) fn of(side: Side, error: ApplyError) -> Self {
        let source = Box::new(error);
        match &*source {
            ApplyError::Server { fault, .. } if REDEFINED.contains(&fault.code) => {
                Self::Redefined { side, source }
            }
            _ => Self::Server { side, source },
        }
    }
}

impl DiffError {
    /// Is a table worth another attempt?
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Redefined { .. } => true,
            Self::Server { source, .. } => matches!(&**source, ApplyError::Lost { .. }),
            Self::NoTables | Self::Rows(_) => false,
        }
    }
}

impl Fault for DiffError {
    fn kind(&self) -> Kind {
        match self {
            Self::Server { source, .. } | Self::Redefined { source, .. } => source.kind(),
            Self::NoTables => Kind::Configuration,
            Self::Rows(source) => source.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        let (side, source) = match self {
            Self::NoTables => {
                return Some(
                    "check --tables, and GRANT SELECT ON the tables TO the users at both servers"
                        .to_owned(),
                );
            }
            Self::Rows(source) => return source.hint(),
            Self::Redefined { .. } => {
                return Some("compare again when the schema changes are done".to_owned());
            }
            Self::Server { side, source } => (*side, source),
        };
        match (side, &**source) {
            (_, ApplyError::Privilege { .. }) => Some(format!(
                "GRANT SELECT ON the tables TO the user of --{side}; at the target also SELECT ON binferry.*; with --repair also INSERT, UPDATE, DELETE ON the tables and CREATE, INSERT, UPDATE, DELETE ON binferry.* there"
            )),
            (Side::Target, source) => source.hint(),
            (Side::Source, ApplyError::Login { .. }) => {
                Some("check the user in --source and BINFERRY_SOURCE_PASSWORD".to_owned())
            }
            (Side::Source, ApplyError::Tls { .. }) => {
                Some("check ?tls= and ?ca= of --source".to_owned())
            }
            (Side::Source, ApplyError::Version { needed, .. }) => {
                Some(format!("diff compares with a source of {needed} or newer"))
            }
            (Side::Source, _) if source.kind() == Kind::Unreachable => Some(
                "check that the server runs and that host and port of --source are right"
                    .to_owned(),
            ),
            (Side::Source, _) => None,
        }
    }
}
