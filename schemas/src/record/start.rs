//! `Start`: the beginning of an incarnation.

use super::{RecordError, SnapshotJob, Version};
use crate::{
    avro::{self, Reader},
    gtid::{GtidSet, Uuid},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The configured name of the source's role; survives a failover, unlike the server's uuid.
    pub site: String,
    pub server: Uuid,
    /// Normalised text of the table filter.
    pub filter: String,
    /// GTIDs that count as present before the log begins; meant only in the first `Start` of a site.
    pub base: GtidSet,
    /// Binferry's version, for people.
    pub version: String,
    /// Tables that this incarnation, or one after it, is to copy. Since version 4.
    pub job: Option<SnapshotJob>,
}

impl Start {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        avro::put_string(out, &self.site);
        out.extend_from_slice(self.server.as_bytes());
        avro::put_string(out, &self.filter);
        avro::put_string(out, &self.base.to_string());
        avro::put_string(out, &self.version);
        match &self.job {
            None => out.push(0),
            Some(job) => {
                out.push(2);
                job.put(out);
            }
        }
    }

    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        Ok(Self {
            site: input.str()?.to_owned(),
            server: Uuid::from_bytes(input.fixed()?),
            filter: input.str()?.to_owned(),
            base: input.str()?.parse()?,
            version: input.str()?.to_owned(),
            job: match version {
                Version::One | Version::Two | Version::Three => None,
                Version::Four | Version::Five => match input.optional()? {
                    false => None,
                    true => Some(SnapshotJob::take(input)?),
                },
            },
        })
    }
}
