//! The algebra of GTID sets.
//!
//! Invariant of every [`GtidSet`]: no list of intervals is empty; within a list, intervals are in order, disjoint, and at least one
//! number apart; of MariaDB's domains each has one range that isn't empty, and no source has a UUID of MariaDB's kind. Equal sets are
//! therefore equal as values.

use std::collections::BTreeMap;

use super::{
    Gtid, Tag, Uuid,
    mariadb::{self, DomainRange, Domains},
};

/// A closed interval of transaction numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A set of GTIDs: for each (uuid, tag), disjoint, non-adjacent intervals in order; for each MariaDB domain, one range.
///
/// MariaDB states a position as one GTID of each domain, which stands for all up to it, and the numbers between two transactions need
/// not have been used. So of a domain, adding a GTID adds all below it, and taking one out takes out all above it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet {
    sources: BTreeMap<(Uuid, Tag), Vec<Interval>>,
    domains: Domains,
}

impl GtidSet {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.domains.is_empty()
    }

    /// How many GTIDs there are; of a MariaDB domain, how many there can be.
    pub fn len(&self) -> u128 {
        self.iter()
            .map(|(_, _, start, end)| u128::from(end - start) + 1)
            .sum()
    }

    /// Adds one GTID; false when it was there. The number after a source's highest costs one look-up in the map of sources.
    /// Of a MariaDB domain, the end moves forward to it; false when it was there or further.
    pub fn insert(&mut self, gtid: Gtid) -> bool {
        if let Some((domain, server, sequence)) = gtid.as_mariadb() {
            return self.domains.insert(domain, server, sequence);
        }
        let list = self.sources.entry((gtid.uuid, gtid.tag)).or_default();
        match list.last_mut() {
            Some(last) if last.end.checked_add(1) == Some(gtid.gno) => {
                last.end = gtid.gno;
                true
            }
            Some(last) if last.end >= gtid.gno => {
                let absent = !list_contains(list, gtid.gno);
                if absent {
                    list_insert(list, gtid.gno, gtid.gno);
                }
                absent
            }
            _ => {
                list.push(Interval {
                    start: gtid.gno,
                    end: gtid.gno,
                });
                true
            }
        }
    }

    /// Adds the GTIDs from `start` to `end`, both included; nothing when `start` is above `end`.
    pub fn insert_range(&mut self, uuid: Uuid, tag: Tag, start: u64, end: u64) {
        if start > end {
            return;
        }
        match mariadb::parts(&uuid, tag) {
            Some((domain, server)) => self
                .domains
                .insert_range(domain, DomainRange { start, end, server }),
            None => list_insert(self.sources.entry((uuid, tag)).or_default(), start, end),
        }
    }

    /// Takes one GTID out, and of a MariaDB domain all above it, too; false when it was not there.
    pub fn remove(&mut self, gtid: &Gtid) -> bool {
        if let Some((domain, _, sequence)) = gtid.as_mariadb() {
            return self.domains.remove(domain, sequence);
        }
        let key = (gtid.uuid, gtid.tag);
        let Some(list) = self.sources.get_mut(&key) else {
            return false;
        };
        let at = list.partition_point(|interval| interval.end < gtid.gno);
        let Some(interval) = list.get_mut(at).filter(|i| i.start <= gtid.gno) else {
            return false;
        };
        let Interval { start, end } = *interval;
        match (start == gtid.gno, end == gtid.gno) {
            (true, true) => {
                list.remove(at);
                if list.is_empty() {
                    self.sources.remove(&key);
                }
            }
            (true, false) => interval.start += 1,
            (false, true) => interval.end -= 1,
            (false, false) => {
                interval.end = gtid.gno - 1;
                let start = gtid.gno + 1;
                list.insert(at + 1, Interval { start, end });
            }
        }
        true
    }

    /// Takes out a GTID that has come, for a set of what is still to come: of a MariaDB domain all below it with it, since numbers rise
    /// and some are never used.
    pub fn pass(&mut self, gtid: &Gtid) -> bool {
        match gtid.as_mariadb() {
            Some((domain, _, sequence)) => self.domains.pass(domain, sequence),
            None => self.remove(gtid),
        }
    }

    /// Adds a range of a MariaDB domain. A domain has one range, so what lies between this one and what was there is added, too.
    pub(super) fn insert_domain(&mut self, domain: u32, range: DomainRange) {
        self.domains.insert_range(domain, range);
    }

    /// What the set holds of a MariaDB domain.
    pub fn domain(&self, domain: u32) -> Option<DomainRange> {
        self.domains.get(domain)
    }

    /// MariaDB's domains and what the set holds of each, by number.
    pub fn domains(&self) -> impl Iterator<Item = (u32, DomainRange)> + '_ {
        self.domains.iter()
    }

    /// Whether there is a GTID of MySQL's in it.
    pub fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }

    pub fn contains(&self, gtid: &Gtid) -> bool {
        if let Some((domain, _, sequence)) = gtid.as_mariadb() {
            return self.domains.contains(domain, sequence);
        }
        self.sources
            .get(&(gtid.uuid, gtid.tag))
            .is_some_and(|list| list_contains(list, gtid.gno))
    }

    /// Whether every GTID of `other` is in this set.
    pub fn contains_set(&self, other: &Self) -> bool {
        let sources = other.sources.iter().all(|(key, theirs)| {
            self.sources.get(key).is_some_and(|ours| {
                theirs.iter().all(|wanted| {
                    let at = ours.partition_point(|interval| interval.end < wanted.start);
                    ours.get(at)
                        .is_some_and(|i| i.start <= wanted.start && wanted.end <= i.end)
                })
            })
        });
        sources && self.domains.contains_all(&other.domains)
    }

    /// Adds all of `other`.
    pub fn union_with(&mut self, other: &Self) {
        for (key, theirs) in &other.sources {
            let ours = self.sources.entry(*key).or_default();
            if ours.is_empty() {
                ours.clone_from(theirs);
            } else {
                *ours = list_union(ours, theirs);
            }
        }
        self.domains.union_with(&other.domains);
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let domains = self.domains.subtract(&other.domains);
        self.combine(domains, |key, ours| match other.sources.get(key) {
            Some(theirs) => list_subtract(ours, theirs),
            None => ours.to_vec(),
        })
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let domains = self.domains.intersect(&other.domains);
        self.combine(domains, |key, ours| match other.sources.get(key) {
            Some(theirs) => list_intersect(ours, theirs),
            None => Vec::new(),
        })
    }

    /// Every interval as (uuid, tag, first, last), in the order of the printed form; a MariaDB domain's range with the UUID of the GTID at
    /// its end.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, Tag, u64, u64)> + '_ {
        let sources = self
            .sources
            .iter()
            .flat_map(|((uuid, tag), list)| list.iter().map(|i| (*uuid, *tag, i.start, i.end)));
        let domains = self.domains.iter().map(|(domain, range)| {
            let uuid = mariadb::uuid(domain, range.server);
            (uuid, Tag::NONE, range.start, range.end)
        });
        sources.chain(domains)
    }

    pub(super) fn sources(&self) -> &BTreeMap<(Uuid, Tag), Vec<Interval>> {
        &self.sources
    }

    fn combine(
        &self,
        domains: Domains,
        mut list: impl FnMut(&(Uuid, Tag), &[Interval]) -> Vec<Interval>,
    ) -> Self {
        let mut result = Self {
            domains,
            ..Self::default()
        };
        for (key, ours) in &self.sources {
            let list = list(key, ours);
            if !list.is_empty() {
                result.sources.insert(*key, list);
            }
        }
        result
    }
}

impl FromIterator<Gtid> for GtidSet {
    fn from_iter<I: IntoIterator<Item = Gtid>>(gtids: I) -> Self {
        let mut set = Self::new();
        set.extend(gtids);
        set
    }
}

impl Extend<Gtid> for GtidSet {
    fn extend<I: IntoIterator<Item = Gtid>>(&mut self, gtids: I) {
        for gtid in gtids {
            self.insert(gtid);
        }
    }
}

fn list_contains(list: &[Interval], gno: u64) -> bool {
    let at = list.partition_point(|interval| interval.end < gno);
    list.get(at).is_some_and(|interval| interval.start <= gno)
}

fn list_insert(list: &mut Vec<Interval>, start: u64, end: u64) {
    // Of the intervals that touch or meet the new one: the first, and one past the last.
    let from = list.partition_point(|i| i.end.saturating_add(1) < start);
    let to = list.partition_point(|i| i.start <= end.saturating_add(1));
    let mut merged = Interval { start, end };
    if from < to {
        merged.start = start.min(list[from].start);
        merged.end = end.max(list[to - 1].end);
    }
    list.splice(from..to.max(from), [merged]);
}

fn list_union(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut result: Vec<Interval> = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let from_a = j == b.len() || (i < a.len() && a[i].start <= b[j].start);
        let next = if from_a { a[i] } else { b[j] };
        *(if from_a { &mut i } else { &mut j }) += 1;
        match result.last_mut() {
            Some(last) if next.start <= last.end.saturating_add(1) => {
                last.end = last.end.max(next.end);
            }
            _ => result.push(next),
        }
    }
    result
}

fn list_intersect(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut result = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let start = a[i].start.max(b[j].start);
        let end = a[i].end.min(b[j].end);
        if start <= end {
            result.push(Interval { start, end });
        }
        *(if a[i].end < b[j].end { &mut i } else { &mut j }) += 1;
    }
    result
}

fn list_subtract(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut result = Vec::new();
    let mut j = 0;
    for interval in a {
        let mut start = interval.start;
        let mut used_up = false;
        while j < b.len() && b[j].end < start {
            j += 1;
        }
        let mut k = j;
        while k < b.len() && b[k].start <= interval.end {
            if b[k].start > start {
                let end = b[k].start - 1;
                result.push(Interval { start, end });
            }
            if b[k].end >= interval.end {
                used_up = true;
                break;
            }
            start = b[k].end + 1;
            k += 1;
        }
        if !used_up {
            let end = interval.end;
            result.push(Interval { start, end });
        }
        j = k;
    }
    result
}
