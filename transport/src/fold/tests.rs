//! The fold under attack: all histories of three captures on one log, and random longer ones, with lost and repeated appends, zombies,
//! checkpoints by anyone, and readers that restart anywhere.
//!
//! The judge is not the fold: a source has transactions in an order, and what a reader accepts must be a beginning of it, each
//! transaction once, with all of its chunks as one capture cut it.

mod copies;
mod xa;

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use binferry_schemas::record::{Header, Heartbeat, XaEnd, Xid};
use proptest::prelude::*;

use super::*;

/// How captures cut the source's transactions 1, 2 and 3 into chunks.
const CUTS: [[u32; 3]; 3] = [[1, 3, 1], [1, 2, 2], [2, 1, 1]];

fn gtid(gno: u64) -> Gtid {
    Gtid::new(Uuid::from_u128(0xabc), gno)
}

fn incarnation(capture: usize) -> Incarnation {
    Incarnation(Uuid::from_u128(capture as u128 + 1))
}

fn start(capture: usize, base: GtidSet) -> Head {
    let body = HeadBody::Start(Start {
        site: "main".to_owned(),
        server: Uuid::from_u128(7),
        filter: String::new(),
        base,
        version: String::new(),
        job: None,
    });
    record(capture, 0, body)
}

fn record(capture: usize, sequence: u64, body: HeadBody) -> Head {
    Head {
        header: Header {
            incarnation: incarnation(capture),
            sequence,
            checkpoint: None,
        },
        body,
    }
}

fn chunk(capture: usize, sequence: u64, gno: u64, chunk: u32, last: bool) -> Head {
    record(
        capture,
        sequence,
        HeadBody::WriteSet(head_of(gno, chunk, last)),
    )
}

fn head_of(gno: u64, chunk: u32, last: bool) -> TransactionHead {
    TransactionHead {
        gtid: gtid(gno),
        original_commit_us: gno * 10,
        immediate_commit_us: gno * 10,
        chunk,
        last,
        xa_end: None,
    }
}

fn heartbeat(capture: usize, sequence: u64) -> Head {
    record(
        capture,
        sequence,
        HeadBody::Heartbeat(Heartbeat {
            at_us: 0,
            counts: None,
        }),
    )
}

/// Capture, transaction, chunk.
type Piece = (usize, u64, u32);

/// What a reader makes of the steps: chunks of open transactions by their first offset, and accepted transactions with their chunks.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reading {
    open: BTreeMap<Offset, Vec<Piece>>,
    accepted: Vec<(u64, Vec<Piece>)>,
}

impl Reading {
    fn take(&mut self, head: &Head, step: &Step) {
        if let Some(voided) = &step.voided {
            assert!(
                self.open.remove(&voided.first).is_some(),
                "what was not open is void"
            );
        }
        if let Outcome::Chunk { first, last, .. } = step.outcome {
            let HeadBody::WriteSet(chunk) = &head.body else {
                panic!("a chunk");
            };
            let who = head.header.incarnation.0.as_u128() as usize - 1;
            self.open
                .entry(first)
                .or_default()
                .push((who, chunk.gtid.gno, chunk.chunk));
            if last {
                let chunks = self.open.remove(&first).unwrap();
                self.accepted.push((chunk.gtid.gno, chunks));
            }
        }
    }

    fn verdict(&self) -> Result<(), String> {
        for (at, (gno, chunks)) in self.accepted.iter().enumerate() {
            if *gno != at as u64 + 1 {
                return Err(format!("not in the source's order: {:?}", self.accepted));
            }
            let who = chunks[0].0;
            let whole: Vec<_> = (0..CUTS[who][at]).map(|c| (who, *gno, c)).collect();
            if *chunks != whole {
                return Err(format!("not as one capture cut it: {chunks:?}"));
            }
        }
        Ok(())
    }
}

/// A capture that has started: what it will send, as it follows from the fold at its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Sender {
    started: bool,
    /// (transaction, chunk, last); its sequence numbers are the index + 1.
    records: Vec<(u64, u32, bool)>,
    sent: usize,
    drops: usize,
    repeats: usize,
}

impl Sender {
    fn begin(capture: usize, set: &GtidSet) -> Self {
        let missing = (1..=3).filter(|&gno| !set.contains(&gtid(gno)));
        let records = missing.flat_map(|gno| {
            let count = CUTS[capture][gno as usize - 1];
            (0..count).map(move |c| (gno, c, c + 1 == count))
        });
        Self {
            started: true,
            records: records.collect(),
            ..Self::default()
        }
    }

    fn head(&self, capture: usize, at: usize) -> Head {
        let (gno, c, last) = self.records[at];
        chunk(capture, at as u64 + 1, gno, c, last)
    }
}

/// What happened, to which incarnation's record.
type Happened = (&'static str, usize, u64);

#[derive(Clone)]
struct World {
    fold: Fold,
    reading: Reading,
    senders: [Sender; 3],
    repeated_starts: usize,
    history: Vec<Happened>,
}

/// Breaks a rule, by showing the fold another sequence number than the record has.
type Blinker = fn(&Fold, &mut Head);

fn honest(_: &Fold, _: &mut Head) {}

fn next_of(fold: &Fold, head: &Head) -> Option<u64> {
    let sites = &fold.state().sites;
    sites
        .iter()
        .find(|s| s.incarnation == head.header.incarnation)?
        .next
}

fn gaps_do_not_matter(fold: &Fold, head: &mut Head) {
    if let Some(next) = next_of(fold, head) {
        head.header.sequence = head.header.sequence.min(next);
    }
}

fn repeats_do_not_matter(fold: &Fold, head: &mut Head) {
    if let Some(next) = next_of(fold, head) {
        head.header.sequence = head.header.sequence.max(next);
    }
}

impl World {
    fn new() -> Self {
        Self {
            fold: Fold::new(Uuid::from_u128(99)),
            reading: Reading::default(),
            senders: Default::default(),
            repeated_starts: 0,
            history: Vec::new(),
        }
    }

    fn append(&mut self, mut head: Head, blinker: Blinker, what: &'static str) {
        let who = head.header.incarnation.0.as_u128() as usize - 1;
        self.history.push((what, who, head.header.sequence));
        blinker(&self.fold, &mut head);
        let step = self.fold.step(self.fold.state().offset, &head);
        self.reading.take(&head, &step);
    }

    /// All that can happen next.
    fn next(&self, blinker: Blinker) -> Vec<World> {
        let mut worlds = Vec::new();
        for capture in 0..3 {
            let sender = &self.senders[capture];
            let mut with = |change: &dyn Fn(&mut World)| {
                let mut world = self.clone();
                change(&mut world);
                worlds.push(world);
            };
            if !sender.started {
                with(&|w| {
                    w.append(start(capture, GtidSet::new()), blinker, "start");
                    w.senders[capture] = Sender::begin(capture, &w.fold.state().set);
                });
                continue;
            }
            if sender.sent < sender.records.len() {
                let head = sender.head(capture, sender.sent);
                with(&|w| {
                    w.append(head.clone(), blinker, "append");
                    w.senders[capture].sent += 1;
                });
                if sender.drops < 1 {
                    with(&|w| {
                        w.history.push(("lost", capture, head.header.sequence));
                        w.senders[capture].sent += 1;
                        w.senders[capture].drops += 1;
                    });
                }
            }
            if sender.repeats < 1 {
                for at in 0..sender.sent {
                    with(&|w| {
                        w.append(sender.head(capture, at), blinker, "repeat");
                        w.senders[capture].repeats += 1;
                    });
                }
            }
            if self.repeated_starts < 1 {
                with(&|w| {
                    w.append(start(capture, GtidSet::new()), blinker, "start again");
                    w.repeated_starts += 1;
                });
            }
        }
        worlds
    }

    /// Names the state; what has happened before doesn't matter. (A hash: the states themselves would fill a gigabyte.)
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let site = self.fold.state().sites.first();
        site.map(|s| (s.incarnation, s.next)).hash(&mut hasher);
        site.and_then(|s| s.open.as_ref())
            .map(|o| (o.gtid, o.next_chunk))
            .hash(&mut hasher);
        for chunks in self.reading.open.values() {
            chunks.hash(&mut hasher);
        }
        self.reading.accepted.hash(&mut hasher);
        (&self.senders, self.repeated_starts).hash(&mut hasher);
        hasher.finish()
    }
}

/// Visits every reachable state; answers how many, or the first history that the judge rejects.
fn explore(blinker: Blinker) -> Result<usize, (Vec<Happened>, String)> {
    let mut seen = HashSet::new();
    let mut stack = vec![World::new()];
    while let Some(world) = stack.pop() {
        if let Err(reason) = world.reading.verdict() {
            return Err((world.history, reason));
        }
        let next = world.next(blinker).into_iter();
        stack.extend(next.filter(|world| seen.insert(world.key())));
    }
    Ok(seen.len())
}

#[test]
fn every_history_of_three_captures_is_accepted_in_order_once_and_whole() {
    let states = explore(honest).unwrap();
    assert!(states > 1_000_000, "{states}");
}

#[test]
fn without_the_gap_rule_a_transaction_is_skipped() {
    let (history, reason) = explore(gaps_do_not_matter).unwrap_err();
    assert!(
        history.iter().any(|h| h.0 == "lost"),
        "{history:?}: {reason}"
    );
}

#[test]
fn without_the_repeat_rule_a_transaction_is_lost_or_mixed() {
    let (history, reason) = explore(repeats_do_not_matter).unwrap_err();
    assert!(
        history.iter().any(|h| h.0 == "repeat" || h.0 == "lost"),
        "{history:?}: {reason}"
    );
}

fn run(heads: &[Head]) -> (Fold, Vec<Step>) {
    let mut fold = Fold::new(Uuid::from_u128(99));
    let steps = heads
        .iter()
        .enumerate()
        .map(|(at, head)| fold.step(Offset(at as u64), head))
        .collect();
    (fold, steps)
}

fn set(gnos: &[u64]) -> GtidSet {
    let mut set = GtidSet::new();
    for &gno in gnos {
        set.insert(gtid(gno));
    }
    set
}

#[test]
fn a_gap_ends_an_incarnation_and_halts_no_reader() {
    let (fold, steps) = run(&[
        start(0, set(&[])),
        // a1 has failed.
        chunk(0, 2, 2, 0, true),
        chunk(0, 3, 3, 0, true),
        start(1, set(&[])),
        chunk(1, 1, 1, 0, true),
    ]);
    assert_eq!(steps[1].outcome, Outcome::Ignored(Reason::Gap));
    assert_eq!(steps[2].outcome, Outcome::Ignored(Reason::Void));
    assert_eq!(fold.state().set, set(&[1]));
    assert_eq!(
        fold.state().newest.as_ref().map(|n| n.immediate_commit_us),
        Some(10)
    );
}

#[test]
fn a_transaction_that_spans_a_start_is_void() {
    let (fold, steps) = run(&[
        start(0, set(&[])),
        chunk(0, 1, 1, 0, false),
        start(1, set(&[])),
        chunk(0, 2, 1, 1, true),
        chunk(1, 1, 1, 0, true),
    ]);
    assert_eq!(steps[2].voided.as_ref().map(|o| o.first), Some(Offset(1)));
    assert_eq!(steps[3].outcome, Outcome::Ignored(Reason::Void));
    assert_eq!(
        steps[4].outcome,
        Outcome::Chunk {
            first: Offset(4),
            last: true,
            again: false
        }
    );
    assert_eq!(fold.state().set, set(&[1]));
}

/// An acknowledgement on durability alone would acknowledge T here, though no reader ever accepts it.
#[test]
fn a_zombies_durable_transaction_is_void() {
    let (fold, steps) = run(&[
        start(0, set(&[])),
        start(1, set(&[])),
        chunk(0, 1, 1, 0, true),
    ]);
    assert_eq!(steps[2].outcome, Outcome::Ignored(Reason::Void));
    assert!(fold.state().set.is_empty());
}

#[test]
fn a_repeated_start_does_not_interrupt() {
    let (fold, steps) = run(&[
        start(0, set(&[])),
        chunk(0, 1, 1, 0, false),
        start(0, set(&[])),
        chunk(0, 2, 1, 1, true),
    ]);
    assert_eq!(steps[2].outcome, Outcome::Ignored(Reason::Repeat));
    assert_eq!(fold.state().set, set(&[1]));
}

#[test]
fn only_the_first_start_of_a_site_brings_a_base() {
    let (fold, _) = run(&[start(0, set(&[1, 2])), start(1, set(&[3]))]);
    assert_eq!(fold.state().set, set(&[1, 2]));
}

#[test]
fn a_transaction_that_is_sent_again_replaces_its_first_attempt() {
    let heads = [
        start(0, set(&[])),
        chunk(0, 1, 2, 0, false),
        chunk(0, 2, 2, 1, false),
        // The source's connection broke; the dump begins the transaction anew.
        chunk(0, 3, 2, 0, false),
        heartbeat(0, 4),
        // A late repeat of the first attempt's chunk.
        chunk(0, 2, 2, 1, false),
        chunk(0, 5, 2, 1, false),
        chunk(0, 6, 2, 2, true),
    ];
    let (fold, steps) = run(&heads);
    assert_eq!(steps[3].voided.as_ref().map(|o| o.first), Some(Offset(1)));
    assert_eq!(fold.state().set, set(&[2]));
    // Reading again from the middle takes the same chunks as the first time.
    for stop in 4..=7 {
        let (before, _) = run(&heads[..stop]);
        let (mut fold, from) = Fold::resume(before.into_state());
        assert_eq!(from, Offset(3));
        let mut taken = Vec::new();
        for (at, head) in heads.iter().enumerate().skip(3) {
            let step = fold.step(Offset(at as u64), head);
            if matches!(
                step.outcome,
                Outcome::Chunk {
                    first: Offset(3),
                    ..
                }
            ) {
                taken.push(at);
            }
        }
        assert_eq!(taken, [3, 6, 7], "stopped before {stop}");
    }
}

/// `Start A, Start B, A: Checkpoint{T1}`: what A believed at the checkpoint's place is not the fold there, though its statement about the
/// prefix before `Start B` is true.
#[test]
fn a_checkpoint_states_a_prefix_and_not_its_own_place() {
    let prefix = [start(0, set(&[]))];
    let (at_one, _) = run(&prefix);
    let log = [
        start(0, set(&[])),
        start(1, set(&[])),
        chunk(0, 1, 1, 0, true),
        record(0, 2, HeadBody::Checkpoint(at_one.state().clone())),
    ];
    let (whole, steps) = run(&log);
    assert_eq!(steps[3].outcome, Outcome::Ignored(Reason::Void));
    let HeadBody::Checkpoint(stated) = &log[3].body else {
        panic!("a checkpoint");
    };
    let resume = |skip: usize| {
        let (mut fold, _) = Fold::resume(stated.clone());
        for (at, head) in log.iter().enumerate().skip(skip) {
            let _ = fold.step(Offset(at as u64), head);
        }
        fold.into_state()
    };
    assert_eq!(resume(stated.offset.0 as usize), *whole.state());
    assert_ne!(resume(4), *whole.state());
}

/// One thing that happens in a random history; the numbers choose among what is possible.
fn history() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    proptest::collection::vec((0u8..3, 0u8..20, any::<u8>()), 1..60)
}

/// The log that comes of it. Checkpoints state the fold at any offset that was there when they were sent, also when their writer is a
/// zombie; they take a sequence number like everything else.
fn log_of(events: &[(u8, u8, u8)]) -> Vec<Head> {
    let mut log: Vec<Head> = Vec::new();
    let mut captures: Vec<Capture> =
        vec![Capture::default(), Capture::default(), Capture::default()];
    let fold_at = |log: &[Head], end: usize| run(&log[..end]).0.into_state();
    for &(who, what, which) in events {
        let capture = &mut captures[who as usize];
        let who = who as usize;
        if !capture.started {
            log.push(start(who, GtidSet::new()));
            let state = fold_at(&log, log.len());
            capture.started = true;
            capture.todo = Sender::begin(who, &state.set).records;
            capture.todo.reverse();
            continue;
        }
        match what {
            0 => {
                // Lost.
                capture.todo.pop();
                capture.next += 1;
            }
            1 | 2 if !capture.sent.is_empty() => {
                log.push(capture.sent[which as usize % capture.sent.len()].clone());
            }
            3 => log.push(start(who, GtidSet::new())),
            4 | 5 => {
                let k = which as usize % (log.len() + 1);
                let state = fold_at(&log, k);
                capture.send(&mut log, |seq| {
                    record(who, seq, HeadBody::Checkpoint(state))
                });
            }
            6 => capture.send(&mut log, |seq| heartbeat(who, seq)),
            _ => {
                if let Some((gno, c, last)) = capture.todo.pop() {
                    capture.send(&mut log, |seq| chunk(who, seq, gno, c, last));
                }
            }
        }
    }
    log
}

#[derive(Default)]
struct Capture {
    started: bool,
    todo: Vec<(u64, u32, bool)>,
    next: u64,
    sent: Vec<Head>,
}

impl Capture {
    fn send(&mut self, log: &mut Vec<Head>, make: impl FnOnce(u64) -> Head) {
        self.next += 1;
        let head = make(self.next);
        self.sent.push(head.clone());
        log.push(head);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    /// Any history is accepted in order, once and whole; a reader that restarts anywhere, with the state that it kept, or with that of any
    /// checkpoint at or before its progress, accepts the same.
    #[test]
    fn restarts_and_checkpoints_change_nothing(events in history(), at in any::<prop::sample::Index>()) {
        let log = log_of(&events);
        let (whole, steps) = run(&log);
        let mut reading = Reading::default();
        for (head, step) in log.iter().zip(&steps) {
            reading.take(head, step);
        }
        prop_assert_eq!(reading.verdict(), Ok(()));

        // A restart at any offset, having lost the chunks of what was open.
        let stop = at.index(log.len() + 1);
        let (before, steps) = run(&log[..stop]);
        let mut partly = Reading::default();
        for (head, step) in log.iter().zip(&steps) {
            partly.take(head, step);
        }
        partly.open.clear();
        let kept = before.into_state();
        let (mut fold, from) = Fold::resume(kept.clone());
        for (offset, head) in log.iter().enumerate().skip(from.0 as usize) {
            if offset == stop {
                prop_assert_eq!(fold.state(), &kept);
            }
            let step = fold.step(Offset(offset as u64), head);
            partly.take(head, &step);
        }
        prop_assert_eq!(fold.state(), whole.state());
        prop_assert_eq!(&partly, &reading);

        // From every checkpoint, whoever wrote it.
        for head in &log {
            let HeadBody::Checkpoint(state) = &head.body else { continue };
            let (mut fold, _) = Fold::resume(state.clone());
            for (offset, head) in log.iter().enumerate().skip(state.offset.0 as usize) {
                let _ = fold.step(Offset(offset as u64), head);
            }
            prop_assert_eq!(fold.state(), whole.state());
        }
    }
}
