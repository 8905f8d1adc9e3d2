//! The binary form of COM_BINLOG_DUMP_GTID and PREVIOUS_GTIDS_LOG_EVENT (sql/rpl_gtid_set.cc, `Gtid_set::encode`); little-endian.
//!
//! ```text
//! untagged   u64 n
//!            n x { 16 uuid | u64 k | k x { u64 first | u64 last + 1 } }
//! tagged     u64 (1 << 56) | (n << 8) | 1
//!            n x { 16 uuid | u8 tag length << 1 | tag | u64 k | k x { u64 first | u64 last + 1 } }
//! ```
//!
//! The untagged form is written unless there is a tag: servers before 8.3 know no other. A MariaDB domain goes out as a source of its
//! UUID, so that nothing is left out in silence: a MySQL server refuses it as a GTID that it never had.

use super::{GtidSet, MAX_GNO, Tag, Uuid, mariadb};
use crate::fault::{Fault, Kind};

/// What is wrong with a binary GTID set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GtidBinaryError {
    #[error("the binary GTID set ends early, at byte {at}")]
    End { at: usize },
    #[error("the binary GTID set has the unknown format {format}")]
    Format { format: u8 },
    #[error("the binary GTID set has a tag that is not one, at byte {at}")]
    Tag { at: usize },
    #[error("the binary GTID set has an impossible interval, at byte {at}")]
    Interval { at: usize },
    #[error("{bytes} bytes are left over after the binary GTID set")]
    Trailing { bytes: usize },
}

impl Fault for GtidBinaryError {
    fn kind(&self) -> Kind {
        Kind::Data
    }
}

const TAGGED: u8 = 1;

impl GtidSet {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        let tagged = self.is_tagged();
        let count = (self.sources().len() + self.domains().count()) as u64;
        let header = if tagged {
            u64::from(TAGGED) << 56 | count << 8 | u64::from(TAGGED)
        } else {
            count
        };
        out.extend_from_slice(&header.to_le_bytes());
        for ((uuid, tag), list) in self.sources() {
            out.extend_from_slice(uuid.as_bytes());
            if tagged {
                out.push((tag.as_str().len() as u8) << 1);
                out.extend_from_slice(tag.as_str().as_bytes());
            }
            out.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for interval in list {
                out.extend_from_slice(&interval.start.to_le_bytes());
                out.extend_from_slice(&interval.end.saturating_add(1).to_le_bytes());
            }
        }
        for (domain, range) in self.domains() {
            out.extend_from_slice(mariadb::uuid(domain, range.server).as_bytes());
            if tagged {
                out.push(0);
            }
            for number in [1, range.start, range.end.saturating_add(1)] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out
    }

    /// How many bytes [`encode`](Self::encode) returns.
    pub fn encoded_len(&self) -> usize {
        let tagged = self.is_tagged();
        let source = |(_, tag): &(Uuid, Tag)| 24 + usize::from(tagged) * (1 + tag.as_str().len());
        8 + (40 + usize::from(tagged)) * self.domains().count()
            + self
                .sources()
                .iter()
                .map(|(key, list)| source(key) + 16 * list.len())
                .sum::<usize>()
    }

    fn is_tagged(&self) -> bool {
        self.sources().keys().any(|(_, tag)| !tag.is_none())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, GtidBinaryError> {
        let mut input = Input { bytes, at: 0 };
        let header = input.take::<8>()?;
        // The highest byte tells the format: no untagged set has 2^56 sources.
        let (tagged, count) = match header[7] {
            0 => (false, u64::from_le_bytes(header)),
            TAGGED if header[0] == TAGGED => (true, (u64::from_le_bytes(header) << 8) >> 16),
            format => return Err(GtidBinaryError::Format { format }),
        };
        let mut set = Self::new();
        for _ in 0..count {
            let uuid = Uuid::from_bytes(input.take()?);
            let tag = if tagged { input.tag()? } else { Tag::NONE };
            let intervals = u64::from_le_bytes(input.take()?);
            for _ in 0..intervals {
                let at = input.at;
                let start = u64::from_le_bytes(input.take()?);
                let end = u64::from_le_bytes(input.take()?);
                if start == 0 || end <= start || end - 1 > MAX_GNO {
                    return Err(GtidBinaryError::Interval { at });
                }
                set.insert_range(uuid, tag, start, end - 1);
            }
        }
        match bytes.len() - input.at {
            0 => Ok(set),
            bytes => Err(GtidBinaryError::Trailing { bytes }),
        }
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], GtidBinaryError> {
        let (value, _) = self.bytes[self.at..]
            .split_first_chunk::<N>()
            .ok_or(GtidBinaryError::End { at: self.at })?;
        self.at += N;
        Ok(*value)
    }

    /// The length is a variable-length integer of the server's; a tag's always fits its one-byte form, marked by a low bit of 0.
    fn tag(&mut self) -> Result<Tag, GtidBinaryError> {
        let at = self.at;
        let [length] = self.take::<1>()?;
        if length & 1 != 0 {
            return Err(GtidBinaryError::Tag { at });
        }
        let length = usize::from(length >> 1);
        let text = self.bytes[self.at..]
            .get(..length)
            .ok_or(GtidBinaryError::End { at: self.at })?;
        self.at += length;
        std::str::from_utf8(text)
            .ok()
            .and_then(Tag::new)
            .ok_or(GtidBinaryError::Tag { at })
    }
}
