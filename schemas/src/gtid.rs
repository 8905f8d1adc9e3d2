//! GTIDs and sets of them, exact: holes stay holes, tags stay tags (R6).
//!
//! Text is read as the server reads it and printed as the server prints `@@GLOBAL.gtid_executed`, without its newlines. The binary form
//! is that of COM_BINLOG_DUMP_GTID and of PREVIOUS_GTIDS_LOG_EVENT.
//!
//! MariaDB's GTIDs (domain, server id, sequence number) are held by the same type, under a UUID of their own kind ([`Gtid::mariadb`]), and
//! print as MariaDB prints them. Within a domain they rise, with gaps that mean nothing, so a set holds one range of each domain: a
//! position of MariaDB's.

mod binary;
mod mariadb;
mod set;
mod text;

use std::fmt;

pub use self::{binary::GtidBinaryError, mariadb::DomainRange, set::GtidSet, text::GtidTextError};
pub use uuid::Uuid;

/// The highest transaction number of a GTID (manual, "GTID Format and Storage"): 2^63 - 2.
pub const MAX_GNO: u64 = i64::MAX as u64 - 1;

/// A GTID's tag (MySQL 8.3+): at most 32 characters `[a-z_][a-z0-9_]*`; empty when there is none.
// The bytes beyond the length are zero, so that the derived order, bytes first, is the order of the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tag {
    bytes: [u8; 32],
    length: u8,
}

impl Tag {
    pub const NONE: Self = Self {
        bytes: [0; 32],
        length: 0,
    };

    /// `None` when the server would refuse the text as a tag. Upper case is folded to lower case, as the server does; the empty text is
    /// the absence of a tag.
    pub fn new(text: &str) -> Option<Self> {
        let mut tag = Self::NONE;
        if text.len() > tag.bytes.len() {
            return None;
        }
        for (i, byte) in text.bytes().enumerate() {
            tag.bytes[i] = match byte.to_ascii_lowercase() {
                lower @ (b'a'..=b'z' | b'_') => lower,
                digit @ b'0'..=b'9' if i > 0 => digit,
                _ => return None,
            };
        }
        tag.length = text.len() as u8;
        Some(tag)
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII gets in; an impossible failure would print as no tag.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }

    pub fn is_none(&self) -> bool {
        self.length == 0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One transaction's name, the same on every server that it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    pub uuid: Uuid,
    pub tag: Tag,
    /// From 1 to 2^63 - 2.
    pub gno: u64,
}

impl Gtid {
    /// A GTID without a tag.
    pub fn new(uuid: Uuid, gno: u64) -> Self {
        Self {
            uuid,
            tag: Tag::NONE,
            gno,
        }
    }
}
