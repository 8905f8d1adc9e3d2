//! Why bytes are not a record.

use crate::{
    avro::AvroError,
    fault::{Fault, Kind},
    fingerprint::Fingerprint,
    gtid::GtidTextError,
};

/// Bytes that are not a record (or a fold state) of a version that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record does not begin as a record does")]
    Marker,
    #[error("the record has the schema {fingerprint}, which this version does not know")]
    NewerVersion { fingerprint: Fingerprint },
    #[error("corrupt record")]
    Avro(#[from] AvroError),
    #[error("corrupt record: a GTID set")]
    Gtids(#[from] GtidTextError),
    #[error("corrupt record: a GTID's tag, at byte {at}")]
    Tag { at: usize },
    #[error("corrupt record: the changes are not one block with its length, at byte {at}")]
    Blocks { at: usize },
    #[error(
        "corrupt record: the changes have the checksum {computed:08x}, and should have {stored:08x}"
    )]
    Checksum { stored: i64, computed: u32 },
}

impl Fault for RecordError {
    fn kind(&self) -> Kind {
        match self {
            Self::NewerVersion { .. } => Kind::Configuration,
            _ => Kind::Data,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NewerVersion { .. } => {
                "the log was written by a newer version of binferry: use that version".to_owned()
            }
            _ => "the record was damaged after it was written: check the storage, and restore the log from a copy"
                .to_owned(),
        })
    }
}
