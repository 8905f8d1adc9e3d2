//! Where records lie that another log speaks of: a *copy* of a log has other offsets, and its checkpoints state offsets of the original.
//!
//! A record's name is (incarnation, sequence), and the copy keeps names and order. So the original's offset k, where a state S is the
//! fold, has its place in the copy right after the last record that counted before k: for each site of S that is the record (incarnation,
//! next - 1). The greatest of their places, plus one, is k. Between it and k no record of the original counted (it would have moved its
//! site's `next`, or ended it, or been a `Start`), and none counts when S reads it.
//!
//! What makes this sound although S may be resumed *before* k's exact place (a site of S has ended, so its last counting record has no
//! name; or a mirror has repeated a stretch): a state may be resumed at any place before its own, if every record from there on is read.
//! Records of its incarnations are repeats, until `next`. A `Start` of an older incarnation takes its site back, but then the `Start` of
//! the newer one follows, and its records count from 1 to `next` as they did in the original. Nothing is accepted on the way, because S
//! has it in its set. Resuming *behind* k would lose records; three rules exclude it:
//! - The first occurrence of a name is taken, and never one that comes after a higher number of its incarnation: that is a repeat. (Our
//!   writers never repeat a record. Mirrors do, from some place on, in order.)
//! - A site of S whose record is not found must lie before the copy's beginning: nothing else of its incarnation is found before k.
//! - The newest `Start` of a site that is found before k must be that of S. Otherwise somebody has written to the copy, and S states the
//!   fold of a log that has gone another way.
//!
//! Memory is bounded: names are kept as runs, and the oldest are forgotten. What is forgotten counts as before the beginning.

use std::collections::{HashMap, VecDeque};

use binferry_schemas::{
    gtid::{Gtid, Uuid},
    record::{
        FoldState, Head, HeadBody, Incarnation, Offset, OpenTransaction, Prepared, PreparedHead,
        SiteState,
    },
};

/// Kept of each kind. A checkpoint states an offset at most what is in flight before it.
const KEPT: usize = 1 << 14;

/// The places of records that have been read, in the log's order.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The highest number that was met.
    frontier: HashMap<Incarnation, u64>,
    runs: VecDeque<Run>,
    firsts: VecDeque<First>,
    prepared: VecDeque<PreparedPlace>,
    starts: VecDeque<Began>,
}

/// Consecutive numbers at consecutive offsets.
#[derive(Debug)]
struct Run {
    incarnation: Incarnation,
    sequence: u64,
    place: Offset,
    length: u64,
}

/// The first of a transaction's several chunks, or of a range's parts.
#[derive(Debug)]
struct First {
    incarnation: Incarnation,
    sequence: u64,
    of: Of,
    place: Offset,
}

/// What comes in several records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Transaction(Gtid),
    /// A range of a copy.
    Rows(Uuid, u64),
}

/// A prepared XA transaction, or a copy of one.
#[derive(Debug)]
struct PreparedPlace {
    gtid: Gtid,
    first: Offset,
    last: Offset,
}

#[derive(Debug)]
struct Began {
    site: String,
    incarnation: Incarnation,
    place: Offset,
}

/// Which of a state's sites must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sites {
    /// One proves that the state's place is in the copy, if it is known to lie before the place that was reached.
    Any,
    All,
}

impl Places {
    pub(super) fn take(&mut self, place: Offset, head: &Head) {
        let incarnation = head.header.incarnation;
        let sequence = head.header.sequence;
        match self.frontier.get_mut(&incarnation) {
            Some(highest) if sequence <= *highest => return,
            Some(highest) => *highest = sequence,
            None => {
                self.frontier.insert(incarnation, sequence);
            }
        }
        match self.runs.back_mut() {
            Some(run) if run.goes_on(incarnation, sequence, place) => run.length += 1,
            _ => self.runs.push_back(Run {
                incarnation,
                sequence,
                place,
                length: 1,
            }),
        }
        match &head.body {
            HeadBody::Start(start) => self.starts.push_back(Began {
                site: start.site.clone(),
                incarnation,
                place,
            }),
            HeadBody::WriteSet(chunk) | HeadBody::Ddl(chunk) if chunk.chunk == 0 && !chunk.last => {
                self.firsts.push_back(First {
                    incarnation,
                    sequence,
                    of: Of::Transaction(chunk.gtid),
                    place,
                });
            }
            HeadBody::SnapshotRows(rows) if rows.part == 0 && !rows.last => {
                self.firsts.push_back(First {
                    incarnation,
                    sequence,
                    of: Of::Rows(rows.copy, rows.chunk),
                    place,
                });
            }
            HeadBody::XaPrepared(prepared) => self.take_prepared(place, incarnation, prepared),
            _ => {}
        }
        self.forget();
    }

    fn take_prepared(&mut self, last: Offset, incarnation: Incarnation, prepared: &PreparedHead) {
        let gtid = prepared.transaction.gtid;
        let first = match prepared.transaction.chunk {
            0 => Some(last),
            _ => {
                let mut firsts = self.firsts.iter().rev();
                let first =
                    firsts.find(|f| f.incarnation == incarnation && f.of == Of::Transaction(gtid));
                first.map(|first| first.place)
            }
        };
        if let Some(first) = first {
            self.prepared.push_back(PreparedPlace { gtid, first, last });
        }
    }

    fn forget(&mut self) {
        if self.runs.len() > KEPT {
            self.runs.pop_front();
        }
        if self.firsts.len() > KEPT {
            self.firsts.pop_front();
        }
        if self.prepared.len() > KEPT {
            self.prepared.pop_front();
        }
        if self.starts.len() > KEPT {
            self.starts.pop_front();
        }
        if self.frontier.len() > 2 * KEPT {
            let runs = &self.runs;
            self.frontier
                .retain(|incarnation, _| runs.iter().any(|run| run.incarnation == *incarnation));
        }
    }

    /// Another log's state as one of `log`, where these places are. `None`: its place, or that of an open transaction, is not known.
    pub(super) fn translate(
        &self,
        state: &FoldState,
        log: Uuid,
        wanted: Sites,
    ) -> Option<FoldState> {
        let places: Vec<Option<Offset>> = state.sites.iter().map(|s| self.last_of(s)).collect();
        if wanted == Sites::All && places.contains(&None) {
            return None;
        }
        let last = places.iter().flatten().copied().max()?;
        let mut sites = Vec::with_capacity(state.sites.len());
        for (site, place) in state.sites.iter().zip(&places) {
            if site.next.is_some()
                && (place.is_none() && self.met(site.incarnation, last) || self.other(site, last))
            {
                return None;
            }
            let open = match &site.open {
                Some(open) => Some(OpenTransaction {
                    first: self.first_of(site, Of::Transaction(open.gtid))?,
                    ..open.clone()
                }),
                None => None,
            };
            // One whose changes are not in the copy is not known there: its XA COMMIT stops the capture, and needs no reader.
            let prepared = site.prepared.iter().filter_map(|p| self.prepared(p));
            let mut copies = site.copies.clone();
            for copy in &mut copies {
                if let Some(open) = &mut copy.open {
                    open.first = self.first_of(site, Of::Rows(copy.copy, copy.next_chunk))?;
                }
            }
            sites.push(SiteState {
                open,
                copies,
                prepared: prepared.collect(),
                ..site.clone()
            });
        }
        Some(FoldState {
            log,
            offset: Offset(last.0.saturating_add(1)),
            set: state.set.clone(),
            newest: state.newest.clone(),
            sites,
        })
    }

    /// The place of the site's last record that counted.
    fn last_of(&self, site: &SiteState) -> Option<Offset> {
        let sequence = site.next?.checked_sub(1)?;
        let runs = self.runs.iter().rev();
        runs.filter(|run| run.incarnation == site.incarnation)
            .find_map(|run| run.place_of(sequence))
    }

    fn first_of(&self, site: &SiteState, of: Of) -> Option<Offset> {
        let next = site.next?;
        let first = self.firsts.iter().rev().find(|first| {
            first.incarnation == site.incarnation && first.of == of && first.sequence < next
        });
        first.map(|first| first.place)
    }

    fn prepared(&self, prepared: &Prepared) -> Option<Prepared> {
        let mut places = self.prepared.iter().rev();
        let place = places.find(|place| place.gtid == prepared.gtid)?;
        Some(Prepared {
            first: place.first,
            last: place.last,
            ..prepared.clone()
        })
    }

    /// Something of the incarnation lies at or before a place.
    fn met(&self, incarnation: Incarnation, last: Offset) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|run| run.incarnation == incarnation && run.place <= last)
    }

    /// Another incarnation of the site has started last, at or before a place.
    fn other(&self, site: &SiteState, last: Offset) -> bool {
        let mut starts = self.starts.iter().rev();
        starts
            .find(|start| start.place <= last && start.site == site.site)
            .is_some_and(|start| start.incarnation != site.incarnation)
    }
}

impl Run {
    fn goes_on(&self, incarnation: Incarnation, sequence: u64, place: Offset) -> bool {
        self.incarnation == incarnation
            && self.sequence.checked_add(self.length) == Some(sequence)
            && self.place.0.checked_add(self.length) == Some(place.0)
    }

    fn place_of(&self, sequence: u64) -> Option<Offset> {
        let behind = sequence.checked_sub(self.sequence)?;
        (behind < self.length).then(|| Offset(self.place.0.saturating_add(behind)))
    }
}

#[cfg(test)]
mod tests {
    use binferry_schemas::{
        gtid::GtidSet,
        record::{Header, Start, TransactionHead},
    };

    use super::*;

    const LOG: Uuid = Uuid::from_u128(1);

    fn incarnation(who: u128) -> Incarnation {
        Incarnation(Uuid::from_u128(who))
    }

    fn head(who: u128, sequence: u64, body: HeadBody) -> Head {
        Head {
            header: Header {
                incarnation: incarnation(who),
                sequence,
                checkpoint: None,
            },
            body,
        }
    }

    fn start(who: u128) -> Head {
        let body = HeadBody::Start(Start {
            site: "main".to_owned(),
            server: Uuid::nil(),
            filter: String::new(),
            base: GtidSet::new(),
            version: String::new(),
            job: None,
        });
        head(who, 0, body)
    }

    fn chunk(who: u128, sequence: u64, chunk: u32) -> Head {
        let body = HeadBody::WriteSet(TransactionHead {
            gtid: Gtid::new(LOG, 1),
            original_commit_us: 0,
            immediate_commit_us: 0,
            chunk,
            last: false,
            xa_end: None,
        });
        head(who, sequence, body)
    }

    /// Of a site called "main", and of one whose records come from `other`.
    fn state(next: Option<u64>, other: Option<u128>, open: Option<u32>) -> FoldState {
        let site = |site: &str, who, next, open: Option<u32>| SiteState {
            site: site.to_owned(),
            server: Uuid::nil(),
            incarnation: incarnation(who),
            next,
            filter: String::new(),
            open: open.map(|next_chunk| OpenTransaction {
                gtid: Gtid::new(LOG, 1),
                first: Offset(777),
                next_chunk,
            }),
            prepared: Vec::new(),
            jobs: Vec::new(),
            copies: Vec::new(),
        };
        let mut sites = vec![site("main", 5, next, open)];
        sites.extend(other.map(|who| site("other", who, Some(2), None)));
        FoldState {
            log: Uuid::from_u128(2),
            offset: Offset(1_000),
            set: GtidSet::new(),
            newest: None,
            sites,
        }
    }

    /// The records at offsets 10, 11, …; where the state's place is, and that of the open transaction.
    fn place(heads: &[Head], state: &FoldState, wanted: Sites) -> Option<(u64, Option<u64>)> {
        let mut places = Places::default();
        for (at, head) in heads.iter().enumerate() {
            places.take(Offset(10 + at as u64), head);
        }
        let state = places.translate(state, LOG, wanted)?;
        assert_eq!(state.log, LOG);
        let open = state.sites[0].open.as_ref();
        Some((state.offset.0, open.map(|open| open.first.0)))
    }

    #[test]
    fn the_last_record_that_counted_names_the_place() {
        let log = [start(5), chunk(5, 1, 0), chunk(5, 2, 1), chunk(5, 3, 2)];
        let at = |next| place(&log, &state(next, None, None), Sites::All);
        assert_eq!(at(Some(1)), Some((11, None)));
        assert_eq!(at(Some(3)), Some((13, None)));
        assert_eq!(at(Some(4)), Some((14, None)));
        assert_eq!(at(Some(5)), None);
        assert_eq!(at(None), None);
    }

    #[test]
    fn a_repeat_names_no_place() {
        let log = [chunk(5, 4, 0), chunk(5, 2, 0), chunk(5, 5, 0)];
        assert_eq!(place(&log, &state(Some(3), None, None), Sites::Any), None);
        assert_eq!(
            place(&log, &state(Some(6), None, None), Sites::Any),
            Some((13, None))
        );
    }

    #[test]
    fn a_site_without_a_record_lies_before_the_copy() {
        let log = [chunk(5, 1, 0), chunk(5, 2, 0)];
        let state = state(Some(3), Some(6), None);
        assert_eq!(place(&log, &state, Sites::Any), Some((12, None)));
        assert_eq!(place(&log, &state, Sites::All), None);
        // Something of it is there: then the record that is not must have been lost.
        let log = [chunk(6, 0, 0), chunk(5, 1, 0), chunk(5, 2, 0)];
        assert_eq!(place(&log, &state, Sites::Any), None);
    }

    #[test]
    fn a_log_that_has_gone_another_way_has_no_place() {
        // A capture has written to the copy, and the mirror has gone on.
        let log = [start(5), start(9), chunk(5, 1, 0)];
        assert_eq!(place(&log, &state(Some(2), None, None), Sites::Any), None);
        assert_eq!(
            place(&log, &state(Some(1), None, None), Sites::Any),
            Some((11, None))
        );
    }

    #[test]
    fn an_open_transaction_is_that_of_the_newest_first_chunk() {
        let log = [
            chunk(5, 1, 0),
            chunk(5, 2, 1),
            chunk(5, 3, 0),
            chunk(5, 4, 1),
            chunk(5, 5, 0),
        ];
        let at = |next, open| place(&log, &state(Some(next), None, Some(open)), Sites::Any);
        assert_eq!(at(3, 2), Some((12, Some(10))));
        assert_eq!(at(5, 2), Some((14, Some(12))));
        assert_eq!(
            place(&log[1..2], &state(Some(3), None, Some(2)), Sites::Any),
            None
        );
    }
}
