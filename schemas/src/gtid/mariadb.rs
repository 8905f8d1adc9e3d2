//! MariaDB's GTIDs: `domain-server-sequence`, and what a set holds of a domain.
//!
//! A [`Gtid`] of MariaDB's has the sequence number as its `gno`, no tag, and a UUID of RFC 9562's custom version 8, big-endian:
//!
//! ```text
//! domain u32 | 6d 61 81 72 a9 61 64 62 | server id u32
//! ```
//!
//! No server generates such a one as its own UUID (they are of version 1 or 4), so the two kinds of GTID cannot meet.

use std::collections::BTreeMap;

use super::{Gtid, MAX_GNO, Tag, Uuid};

/// The bytes in the middle; the version's and the variant's bits are in them.
const MARK: [u8; 8] = [0x6d, 0x61, 0x81, 0x72, 0xa9, 0x61, 0x64, 0x62];

impl Gtid {
    /// MariaDB's `domain-server-sequence`. `None` when the sequence number is 0 or above [`MAX_GNO`]: a log cannot hold it.
    pub fn mariadb(domain: u32, server: u32, sequence: u64) -> Option<Self> {
        (1..=MAX_GNO).contains(&sequence).then(|| Self {
            uuid: uuid(domain, server),
            tag: Tag::NONE,
            gno: sequence,
        })
    }

    /// Domain, server id and sequence number, when it is MariaDB's.
    pub fn as_mariadb(&self) -> Option<(u32, u32, u64)> {
        let (domain, server) = parts(&self.uuid, self.tag)?;
        Some((domain, server, self.gno))
    }
}

pub(super) fn uuid(domain: u32, server: u32) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&domain.to_be_bytes());
    bytes[4..12].copy_from_slice(&MARK);
    bytes[12..].copy_from_slice(&server.to_be_bytes());
    Uuid::from_bytes(bytes)
}

/// Domain and server id of a UUID of MariaDB's kind.
#[inline]
pub(super) fn parts(uuid: &Uuid, tag: Tag) -> Option<(u32, u32)> {
    let [a, b, c, d, mark @ .., e, f, g, h] = uuid.as_bytes();
    (*mark == MARK && tag.is_none()).then(|| {
        (
            u32::from_be_bytes([*a, *b, *c, *d]),
            u32::from_be_bytes([*e, *f, *g, *h]),
        )
    })
}

/// What a set holds of a domain: every GTID from `start` to `end`, whether the numbers between were used or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainRange {
    /// 1, except in what one set has and another does not.
    pub start: u64,
    pub end: u64,
    /// The server id of the GTID at the end.
    pub server: u32,
}

impl DomainRange {
    pub(super) fn contains(&self, sequence: u64) -> bool {
        (self.start..=self.end).contains(&sequence)
    }

    /// From the lower start to the higher end: a position has no holes.
    fn hull(self, other: Self) -> Self {
        let newest = if other.end > self.end { other } else { self };
        Self {
            start: self.start.min(other.start),
            ..newest
        }
    }

    /// What is left without `other`. Two pieces are no range: they stay one, so that a difference never lacks anything.
    fn without(self, other: Self) -> Option<Self> {
        let (start, end) = match () {
            () if other.end < self.start || other.start > self.end => (self.start, self.end),
            () if other.start <= self.start && other.end >= self.end => return None,
            () if other.start <= self.start => (other.end + 1, self.end),
            () if other.end >= self.end => (self.start, other.start - 1),
            () => (self.start, self.end),
        };
        Some(Self { start, end, ..self })
    }

    fn both(self, other: Self) -> Option<Self> {
        let oldest = if other.end < self.end { other } else { self };
        let start = self.start.max(other.start);
        (start <= oldest.end).then_some(Self { start, ..oldest })
    }
}

/// A set's domains, by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Domains(BTreeMap<u32, DomainRange>);

impl Domains {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, DomainRange)> + '_ {
        self.0.iter().map(|(domain, range)| (*domain, *range))
    }

    pub(super) fn get(&self, domain: u32) -> Option<DomainRange> {
        self.0.get(&domain).copied()
    }

    /// Moves the domain's end forward; false when it was there or further.
    pub(super) fn insert(&mut self, domain: u32, server: u32, sequence: u64) -> bool {
        match self.0.get_mut(&domain) {
            Some(range) if range.end >= sequence => false,
            Some(range) => {
                (range.end, range.server) = (sequence, server);
                true
            }
            None => {
                let (start, end) = (1, sequence);
                self.0.insert(domain, DomainRange { start, end, server });
                true
            }
        }
    }

    pub(super) fn insert_range(&mut self, domain: u32, range: DomainRange) {
        self.0
            .entry(domain)
            .and_modify(|ours| *ours = ours.hull(range))
            .or_insert(range);
    }

    pub(super) fn contains(&self, domain: u32, sequence: u64) -> bool {
        self.get(domain)
            .is_some_and(|range| range.contains(sequence))
    }

    /// Moves the domain's end back to before the number.
    pub(super) fn remove(&mut self, domain: u32, sequence: u64) -> bool {
        self.cut(domain, sequence, |range| range.end = sequence - 1)
    }

    /// Moves the domain's start to behind the number.
    pub(super) fn pass(&mut self, domain: u32, sequence: u64) -> bool {
        match self.get(domain) {
            Some(range) if sequence >= range.end => self.0.remove(&domain).is_some(),
            _ => self.cut(domain, sequence, |range| range.start = sequence + 1),
        }
    }

    fn cut(&mut self, domain: u32, sequence: u64, cut: impl FnOnce(&mut DomainRange)) -> bool {
        let Some(range) = self.0.get_mut(&domain).filter(|r| r.contains(sequence)) else {
            return false;
        };
        cut(range);
        if range.start > range.end {
            self.0.remove(&domain);
        }
        true
    }

    pub(super) fn contains_all(&self, other: &Self) -> bool {
        other.iter().all(|(domain, theirs)| {
            self.get(domain)
                .is_some_and(|ours| ours.start <= theirs.start && theirs.end <= ours.end)
        })
    }

    pub(super) fn union_with(&mut self, other: &Self) {
        for (domain, range) in other.iter() {
            self.insert_range(domain, range);
        }
    }

    pub(super) fn subtract(&self, other: &Self) -> Self {
        self.combine(|domain, ours| match other.get(domain) {
            Some(theirs) => ours.without(theirs),
            None => Some(ours),
        })
    }

    pub(super) fn intersect(&self, other: &Self) -> Self {
        self.combine(|domain, ours| ours.both(other.get(domain)?))
    }

    fn combine(&self, range: impl Fn(u32, DomainRange) -> Option<DomainRange>) -> Self {
        let combined = self
            .iter()
            .filter_map(|(domain, ours)| Some((domain, range(domain, ours)?)));
        Self(combined.collect())
    }
}
