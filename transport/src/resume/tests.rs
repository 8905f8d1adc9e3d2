//! Random histories of two sites with several captures each (successors, zombies, lost appends, dumps that begin anew, checkpoints of any
//! prefix by anyone), and copies of them: with other offsets, begun anywhere, expired anywhere, with strangers' records and gaps between,
//! with stretches that the mirror repeats.
//!
//! The judge is the fold of the original, which is judged elsewhere by what sources have (`fold::tests`).

use binferry_schemas::{
    gtid::{Gtid, GtidSet, Uuid},
    record::{
        Body, Changes, Head, Header, Heartbeat, Incarnation, Over, Record, Snapshot, SnapshotJob,
        SnapshotStep, Start, Transaction, WriteSet,
    },
};
use proptest::prelude::*;

use super::*;
use crate::{fold::Outcome, log::Stored, simulated::SimulatedLog, strangers::head_of};

/// Transactions that each site's source has.
const TRANSACTIONS: u64 = 9;
const SITES: [&str; 2] = ["main", "second"];

fn gtid(site: usize, gno: u64) -> Gtid {
    Gtid::new(Uuid::from_u128(0xa0 + site as u128), gno)
}

/// The second site's log begins behind its first two transactions.
fn base(site: usize) -> GtidSet {
    let mut set = GtidSet::new();
    if site == 1 {
        set.insert(gtid(1, 1));
        set.insert(gtid(1, 2));
    }
    set
}

/// (capture, what happens, how)
type Event = (u8, u8, u8);

fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec((any::<u8>(), 0u8..18, any::<u8>()), 1..70)
}

struct Capture {
    site: usize,
    incarnation: Incarnation,
    next: u64,
    /// (transaction, chunk, last), the next one at the end.
    todo: Vec<(u64, u32, bool)>,
    /// Chunks of the transaction in hand that have been sent.
    sent: Vec<(u64, u32, bool)>,
}

/// A log and its fold after every record.
struct History {
    log: SimulatedLog,
    fold: Fold,
    records: Vec<(Offset, Vec<u8>, Head)>,
    /// Of the first n records.
    states: Vec<FoldState>,
    /// With the number of records that it took.
    accepted: Vec<(usize, Gtid)>,
    captures: Vec<Capture>,
    /// What records point to.
    checkpoint: Option<Offset>,
}

impl History {
    /// Goes on after what a log holds.
    fn on(log: SimulatedLog, state: FoldState) -> Self {
        let (fold, _) = Fold::resume(state);
        Self {
            states: vec![fold.state().clone()],
            fold,
            log,
            records: Vec::new(),
            accepted: Vec::new(),
            captures: Vec::new(),
            checkpoint: None,
        }
    }

    fn of(events: &[Event]) -> Self {
        let log = SimulatedLog::new();
        let state = Fold::new(crate::log::Log::id(&log)).into_state();
        let mut history = Self::on(log, state);
        for &event in events {
            history.happen(event);
        }
        history
    }

    fn happen(&mut self, (who, what, how): Event) {
        let who = usize::from(who) % 6;
        let Some(capture) = self.captures.get(who) else {
            return self.start(who % 2);
        };
        match what {
            0 => {
                // Lost, whatever it is.
                self.captures[who].advance();
                self.captures[who].next += 1;
            }
            1..=3 => {
                let back = match how {
                    0..200 => usize::from(how) % 4,
                    _ => usize::from(how),
                };
                let state =
                    self.states[self.states.len() - 1 - back.min(self.states.len() - 1)].clone();
                self.checkpoint = Some(self.log.end());
                self.send(who, Body::Checkpoint(state));
            }
            4 => self.send(
                who,
                Body::Heartbeat(Heartbeat {
                    at_us: 0,
                    counts: None,
                }),
            ),
            5 => self.start(capture.site),
            6 => {
                // The dump begins anew.
                let capture = &mut self.captures[who];
                while let Some(chunk) = capture.sent.pop() {
                    capture.todo.push(chunk);
                }
            }
            _ => {
                let site = capture.site;
                if let Some((gno, chunk, last)) = self.captures[who].advance() {
                    self.send(who, write_set(site, gno, chunk, last));
                }
            }
        }
        if how.is_multiple_of(3) {
            self.log.gap();
        }
    }

    fn start(&mut self, site: usize) {
        let who = self.captures.len();
        self.captures.push(Capture {
            site,
            // Others than those of a history that this one goes on from.
            incarnation: Incarnation(Uuid::from_u128(
                self.states[0].offset.0 as u128 * 1_000 + who as u128,
            )),
            next: 0,
            todo: Vec::new(),
            sent: Vec::new(),
        });
        self.send(
            who,
            Body::Start(Start {
                site: SITES[site].to_owned(),
                server: Uuid::from_u128(7),
                filter: String::new(),
                base: base(site),
                version: String::new(),
                job: None,
            }),
        );
        let set = &self.fold.state().set;
        let missing = (1..=TRANSACTIONS)
            .rev()
            .filter(|&gno| !set.contains(&gtid(site, gno)));
        // Each cuts in its own way.
        let chunks = missing.flat_map(|gno| {
            let count = (who as u32 * 2 + gno as u32) % 3 + 1;
            (0..count)
                .rev()
                .map(move |chunk| (gno, chunk, chunk + 1 == count))
        });
        self.captures[who].todo = chunks.collect();
    }

    /// Lets the newest capture of each site send the rest, after a new start.
    fn finish(&mut self) {
        for site in 0..2 {
            self.start(site);
            let who = self.captures.len() - 1;
            while let Some((gno, chunk, last)) = self.captures[who].advance() {
                self.send(who, write_set(site, gno, chunk, last));
            }
            let state = self.fold.state().clone();
            self.send(who, Body::Checkpoint(state));
        }
    }

    fn send(&mut self, who: usize, body: Body<'_>) {
        let capture = &mut self.captures[who];
        let record = Record {
            header: Header {
                incarnation: capture.incarnation,
                sequence: capture.next,
                checkpoint: self.checkpoint,
            },
            body,
        };
        capture.next += 1;
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let (offset, head) = (self.log.end(), Head::of(&record));
        self.log.put(bytes.clone());
        let step = self.fold.step(offset, &head);
        self.checkpoint = self.checkpoint.or(Some(offset));
        self.records.push((offset, bytes, head.clone()));
        self.states.push(self.fold.state().clone());
        if let (Outcome::Chunk { last: true, .. }, HeadBody::WriteSet(chunk)) =
            (step.outcome, &head.body)
        {
            self.accepted.push((self.records.len(), chunk.gtid));
        }
    }

    /// What the first `records` brought that a set lacks.
    fn accepted_beyond(&self, records: usize, set: &GtidSet) -> Vec<Gtid> {
        let within = self.accepted.iter().filter(|(at, _)| *at <= records);
        within
            .map(|(_, gtid)| *gtid)
            .filter(|gtid| !set.contains(gtid))
            .collect()
    }
}

impl Capture {
    fn advance(&mut self) -> Option<(u64, u32, bool)> {
        let chunk = self.todo.pop()?;
        match chunk.2 {
            true => self.sent.clear(),
            false => self.sent.push(chunk),
        }
        Some(chunk)
    }
}

fn write_set(site: usize, gno: u64, chunk: u32, last: bool) -> Body<'static> {
    Body::WriteSet(WriteSet {
        transaction: Transaction {
            gtid: gtid(site, gno),
            original_commit_us: gno,
            immediate_commit_us: gno,
            last_committed: 0,
            sequence_number: 0,
            seen: None,
            file: String::new(),
            position: 0,
            chunk,
            last,
            xa_end: None,
        },
        tables: Vec::new(),
        changes: Changes {
            count: 0,
            encoded: &[],
        },
    })
}

/// How a mirror copies.
#[derive(Debug, Clone)]
struct Mirroring {
    /// The part of the original that it copies.
    from: prop::sample::Index,
    to: prop::sample::Index,
    /// What it puts between, record by record.
    between: Vec<u8>,
    /// It goes back some records, now and then.
    repeats: bool,
    /// What the copy's retention has left.
    expired: Option<prop::sample::Index>,
}

fn mirroring() -> impl Strategy<Value = Mirroring> {
    let index = any::<prop::sample::Index>;
    let between = proptest::collection::vec(any::<u8>(), 70);
    let expired = proptest::option::of(index());
    (index(), index(), between, any::<bool>(), expired).prop_map(
        |(from, to, between, repeats, expired)| Mirroring {
            from,
            to,
            between,
            repeats,
            expired,
        },
    )
}

struct Copy {
    log: SimulatedLog,
    /// Records of the original that it was made from.
    from: usize,
    to: usize,
    /// The first record of the original from which on all is visible, as far as known.
    visible: usize,
}

fn copy(history: &History, how: &Mirroring) -> Copy {
    let count = history.records.len();
    // Often from the beginning, and to the end.
    let (a, b) = (how.from.index(2 * count + 1), how.to.index(2 * count + 1));
    let from = a.saturating_sub(count);
    let to = b.min(count).max(from);
    let log = SimulatedLog::new();
    let mut places = Vec::new();
    for at in from..to {
        let noise = how.between[at % how.between.len()];
        if noise.is_multiple_of(5) {
            log.gap();
        }
        if noise.is_multiple_of(7) {
            log.put(b"{\"a\": \"stranger's\"}".to_vec());
        }
        let back = match how.repeats && noise.is_multiple_of(9) {
            true => usize::from(noise) % 5,
            false => 0,
        };
        for at in at.saturating_sub(back).max(from)..=at {
            places.push((log.end(), at));
            log.put(history.records[at].1.clone());
        }
    }
    let mut visible = from;
    if let Some(expired) = &how.expired {
        let start = Offset(expired.index(log.end().0 as usize + 1) as u64);
        log.expire_to(start.0);
        let left = places.iter().filter(|(place, _)| *place >= start);
        visible = left.map(|(_, at)| *at).next().unwrap_or(to);
    }
    Copy {
        log,
        from,
        to,
        visible,
    }
}

/// Site, incarnation, the number that counts next, the open transaction and its next chunk.
type MeantSite = (String, Incarnation, Option<u64>, Option<(Gtid, u32)>);

/// The same state, whatever the offsets.
#[derive(Debug, PartialEq)]
struct Meaning {
    set: GtidSet,
    newest: Option<Gtid>,
    sites: Vec<MeantSite>,
}

fn meaning(state: &FoldState) -> Meaning {
    let sites = state.sites.iter().map(|s| {
        let open = s.open.as_ref().map(|open| (open.gtid, open.next_chunk));
        (s.site.clone(), s.incarnation, s.next, open)
    });
    Meaning {
        set: state.set.clone(),
        newest: state.newest.as_ref().map(|newest| newest.gtid),
        sites: sites.collect(),
    }
}

/// As a reader sees it that has a set already: what it has is never open.
fn known(state: &FoldState, set: &GtidSet) -> Meaning {
    let mut meaning = meaning(state);
    for site in &mut meaning.sites {
        site.3.take_if(|(gtid, _)| set.contains(gtid));
    }
    meaning
}

async fn stored(log: &dyn Log, from: Offset) -> Vec<(Offset, Head)> {
    let mut reader = log.reader(from).await.unwrap();
    let mut all = Vec::new();
    loop {
        let portion = reader.next().await.unwrap();
        if portion.is_empty() {
            return all;
        }
        for Stored { offset, bytes } in portion {
            all.extend(head_of(&bytes).unwrap().map(|head| (offset, head)));
        }
    }
}

/// Reads a log from a state to its end: what is accepted, each time with all chunks in the log, and the fold.
async fn read_on(log: &dyn Log, state: &FoldState) -> (Vec<Gtid>, FoldState) {
    assert_eq!(state.log, log.id());
    let (mut fold, from) = Fold::resume(state.clone());
    let records = stored(log, from).await;
    let mut accepted = Vec::new();
    for (offset, head) in &records {
        let step = fold.step(*offset, head);
        let (
            Outcome::Chunk {
                first, last: true, ..
            },
            HeadBody::WriteSet(end),
        ) = (step.outcome, &head.body)
        else {
            continue;
        };
        let mut next = 0;
        for (offset, part) in records
            .iter()
            .filter(|(o, _)| (first..=*offset).contains(o))
        {
            let HeadBody::WriteSet(chunk) = &part.body else {
                continue;
            };
            if part.header.incarnation == head.header.incarnation
                && chunk.gtid == end.gtid
                && chunk.chunk == next
            {
                assert!(*offset > first || next == 0);
                next += 1;
            }
        }
        assert_eq!(next, end.chunk + 1, "every chunk is there: {}", end.gtid);
        accepted.push(end.gtid);
    }
    (accepted, fold.into_state())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// Everything that names the state's place is among the records from `visible` to `end`.
fn can_be_placed(history: &History, state: &FoldState, visible: usize, end: usize) -> bool {
    let within = &history.records[visible.min(end)..end];
    !state.sites.is_empty()
        && state.sites.iter().all(|site| {
            within.iter().any(|(_, _, head)| {
                head.header.incarnation == site.incarnation
                    && Some(head.header.sequence + 1) == site.next
            }) && site
                .open
                .as_ref()
                .is_none_or(|open| within.iter().any(|(offset, ..)| *offset == open.first))
        })
}

/// A checkpoint in the copy can be used, beyond doubt.
fn has_a_checkpoint(history: &History, copy: &Copy) -> bool {
    (copy.visible..copy.to).any(|at| match &history.records[at].2.body {
        HeadBody::Checkpoint(state) => can_be_placed(history, state, copy.visible, at),
        _ => false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Reading a copy from its start state, or from its tail, comes to what the original says at the copy's end.
    #[test]
    fn a_copy_reads_as_its_original(events in events(), how in mirroring()) {
        let history = History::of(&events);
        let copy = copy(&history, &how);
        let truth = &history.states[copy.to];
        // Of an empty log nobody can say that it is a copy.
        prop_assume!(copy.log.end() > Offset(0));
        block_on(async {
            match start_state(&copy.log).await {
                Ok(state) => {
                    let (accepted, end) = read_on(&copy.log, &state).await;
                    prop_assert_eq!(accepted, history.accepted_beyond(copy.to, &state.set));
                    prop_assert_eq!(meaning(&end), meaning(truth));
                    let tail = tail_state(&copy.log).await.unwrap();
                    prop_assert_eq!(meaning(&tail), meaning(truth));
                }
                Err(LogError::Emptied { .. }) => prop_assert_eq!(copy.visible, copy.to),
                Err(LogError::NoCheckpoint { .. }) => {
                    prop_assert!(copy.from > 0 || how.expired.is_some());
                    prop_assert!(how.repeats || !has_a_checkpoint(&history, &copy));
                }
                Err(error) => panic!("{error}"),
            }
            Ok(())
        })?;
    }

    /// An applier moves from the original to the copy, wherever it is, and the copy is written on by captures of its own: every
    /// transaction once, in order.
    #[test]
    fn a_reader_moves_to_a_copy(events in events(), how in mirroring(), at in any::<prop::sample::Index>()) {
        let history = History::of(&events);
        let copy = copy(&history, &how);
        let at = at.index(history.states.len());
        let progress = &history.states[at];
        block_on(async {
            let state = match adopt(&copy.log, progress).await {
                Ok(state) => state,
                Err(AdoptError::Expired { missing, .. }) => {
                    prop_assert!(copy.from > 0 || how.expired.is_some());
                    prop_assert!(!missing.is_empty() && missing.intersect(&progress.set).is_empty());
                    prop_assert!(truth_of(&history, &copy).contains_set(&missing));
                    prop_assert!(how.repeats || !can_be_placed(&history, progress, copy.visible, copy.to));
                    return Ok(());
                }
                Err(AdoptError::Unrelated) => {
                    let mut visible = history.records[copy.visible..copy.to].iter();
                    prop_assert!(how.repeats || !visible.any(|(_, _, head)| matches!(head.body, HeadBody::Checkpoint(_))
                        || progress.sites.iter().any(|s| s.incarnation == head.header.incarnation)));
                    return Ok(());
                }
                Err(AdoptError::Log(LogError::NoCheckpoint { .. })) => {
                    prop_assert!(copy.from > 0 || how.expired.is_some());
                    prop_assert!(how.repeats || !has_a_checkpoint(&history, &copy));
                    return Ok(());
                }
                Err(error) => panic!("{error}"),
            };
            prop_assert!(related(&copy.log, progress).await.unwrap());
            prop_assert_eq!(&state.set, &progress.set);
            let (accepted, end) = read_on(&copy.log, &state).await;
            prop_assert_eq!(accepted, history.accepted_beyond(copy.to, &progress.set));
            prop_assert_eq!(meaning(&end).sites, known(&history.states[copy.to], &progress.set).sites);

            // The copy becomes the log.
            let Ok(tail) = tail_state(&copy.log).await else { return Ok(()) };
            let mut promoted = History::on(copy.log.clone(), tail);
            promoted.finish();
            let (accepted, end) = read_on(&copy.log, &state).await;
            for site in 0..2 {
                let of_site = |gno| gtid(site, gno);
                let wanted: Vec<Gtid> = (1..=TRANSACTIONS)
                    .map(of_site)
                    .filter(|gtid| !progress.set.contains(gtid) && !(base(site).contains(gtid)))
                    .collect();
                let got: Vec<Gtid> =
                    accepted.iter().copied().filter(|gtid| gtid.uuid == of_site(1).uuid).collect();
                prop_assert_eq!(got, wanted);
            }
            prop_assert_eq!(meaning(&end).sites, known(promoted.fold.state(), &progress.set).sites);
            // And the reader's own progress in it can be resumed.
            prop_assert_eq!(&adopt(&copy.log, &end).await.unwrap(), &end);
            prop_assert_eq!(meaning(&tail_state(&copy.log).await.unwrap()), meaning(promoted.fold.state()));
            Ok(())
        })?;
    }

    /// A mirror that leaves a record out is found out, at the latest when a capture has started again and states what there was.
    #[test]
    fn a_hole_in_a_copy_is_noticed(events in events(), hole in any::<prop::sample::Index>()) {
        let mut history = History::of(&events);
        let hole = hole.index(history.records.len());
        history.finish();
        let copy = SimulatedLog::new();
        for (at, (_, bytes, _)) in history.records.iter().enumerate() {
            if at != hole {
                copy.put(bytes.clone());
            }
        }
        block_on(async {
            match tail_state(&copy).await {
                Ok(state) => prop_assert_eq!(&state.set, &history.fold.state().set),
                Err(error) => prop_assert!(matches!(error, LogError::Incomplete { .. } | LogError::NoCheckpoint { .. }), "{}", error),
            }
            Ok(())
        })?;
    }

    /// The log's beginning expires under a reader: it goes on where it can, and says what is missing where it can't.
    #[test]
    fn what_has_expired_is_named(events in events(), at in any::<prop::sample::Index>(), start in any::<prop::sample::Index>()) {
        let history = History::of(&events);
        let progress = &history.states[at.index(history.states.len())];
        let start = Offset(start.index(history.log.end().0 as usize + 1) as u64);
        history.log.expire_to(start.0);
        let visible = history.records.iter().position(|(offset, ..)| *offset >= start);
        block_on(async {
            match adopt(&history.log, progress).await {
                Ok(state) => {
                    prop_assert_eq!(&state.set, &progress.set);
                    let (accepted, end) = read_on(&history.log, &state).await;
                    prop_assert_eq!(accepted, history.accepted_beyond(history.records.len(), &progress.set));
                    prop_assert_eq!(meaning(&end), meaning(history.fold.state()));
                }
                Err(AdoptError::Expired { missing, .. }) => {
                    prop_assert!(start > Offset(0));
                    prop_assert!(!missing.is_empty() && missing.intersect(&progress.set).is_empty());
                    prop_assert!(history.fold.state().set.contains_set(&missing));
                }
                Err(AdoptError::Log(LogError::NoCheckpoint { .. })) => prop_assert!(start > Offset(0)),
                Err(AdoptError::Log(LogError::Emptied { .. })) => prop_assert_eq!(visible, None),
                Err(error) => panic!("{error}"),
            }
            Ok(())
        })?;
    }
}

fn truth_of(history: &History, copy: &Copy) -> GtidSet {
    history.states[copy.to].set.clone()
}

/// Rows of copies have no GTID: that a state knows of the same transactions does not say that the reader has those rows.
#[test]
fn copies_are_neither_skipped_nor_repeated() {
    let mut history = History::of(&[]);
    history.start(0);
    history.send(0, write_set(0, 1, 0, true));
    let progress = history.fold.state().clone();
    let expired = history.log.end();
    let job = SnapshotJob {
        id: Uuid::from_u128(7),
        tables: "shop.*".into(),
        except: String::new(),
        over: Over::Nothing,
    };
    let id = job.id;
    for step in [
        SnapshotStep::Wanted(job),
        SnapshotStep::Planned(id),
        SnapshotStep::Done(id),
    ] {
        history.send(0, Body::Snapshot(Snapshot { at_us: 0, step }));
    }
    let state = history.fold.state().clone();
    assert!(state.sites.iter().all(|site| site.jobs.is_empty()));
    history.send(0, Body::Checkpoint(state));
    history.send(0, write_set(0, 2, 0, true));
    block_on(async {
        assert_eq!(adopt(&history.log, &progress).await.unwrap(), progress);
        history.log.expire_to(expired.0);
        assert_eq!(adopt(&history.log, &progress).await.unwrap(), progress);
        history.log.expire_to(expired.0 + 1);
        let refused = adopt(&history.log, &progress).await;
        assert!(
            matches!(refused, Err(AdoptError::Copies { first }) if first.0 == expired.0 + 1),
            "{refused:?}"
        );
    });
}
