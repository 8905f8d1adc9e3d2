//! XA transactions in random histories of one site: what is prepared counts and is not delivered, its commit is, and every reader, wherever
//! it begins, knows where the changes of what is prepared lie.

use super::*;

fn xid(name: u8) -> Xid {
    Xid {
        format: 1,
        gtrid: vec![name],
        bqual: Vec::new(),
    }
}

fn prepared(capture: usize, sequence: u64, gno: u64, chunk: u32, name: u8) -> Head {
    let body = HeadBody::XaPrepared(PreparedHead {
        xid: xid(name),
        at_us: sequence,
        transaction: head_of(gno, chunk, true),
    });
    record(capture, sequence, body)
}

fn ended(capture: usize, sequence: u64, gno: u64, name: u8, committed: bool) -> Head {
    let body = HeadBody::WriteSet(TransactionHead {
        xa_end: Some(XaEnd {
            xid: xid(name),
            committed,
        }),
        ..head_of(gno, 0, true)
    });
    record(capture, sequence, body)
}

fn places(fold: &Fold) -> Vec<(u8, u64, u64, u64)> {
    let sites = &fold.state().sites;
    let prepared = sites.iter().flat_map(|site| &site.prepared);
    prepared
        .map(|p| (p.xid.gtrid[0], p.gtid.gno, p.first.0, p.last.0))
        .collect()
}

#[test]
fn what_is_prepared_counts_and_is_known_until_it_ends() {
    let (fold, steps) = run(&[
        start(0, set(&[])),
        chunk(0, 1, 1, 0, false),
        prepared(0, 2, 1, 1, 7),
        prepared(0, 3, 2, 0, 8),
        chunk(0, 4, 3, 0, true),
    ]);
    assert_eq!(steps[2].outcome, Outcome::Prepared);
    assert_eq!(steps[2].voided.as_ref().map(|o| o.first), Some(Offset(1)));
    assert_eq!(steps[3].outcome, Outcome::Prepared);
    assert_eq!(steps[3].voided, None);
    assert_eq!(fold.state().set, set(&[1, 2, 3]));
    assert_eq!(places(&fold), [(7, 1, 1, 2), (8, 2, 3, 3)]);
    let mut fold = fold;
    // Another attempt, of another capture: what was prepared is the site's.
    let _ = fold.step(Offset(5), &start(1, set(&[])));
    assert_eq!(places(&fold).len(), 2);
    let step = fold.step(Offset(6), &ended(1, 1, 4, 8, false));
    assert!(matches!(step.outcome, Outcome::Chunk { last: true, .. }));
    assert_eq!(places(&fold), [(7, 1, 1, 2)]);
    let _ = fold.step(Offset(7), &ended(1, 2, 5, 7, true));
    assert_eq!(places(&fold), []);
    assert_eq!(fold.state().set, set(&[1, 2, 3, 4, 5]));
}

#[test]
fn a_copy_moves_what_is_prepared_and_counts_nothing_again() {
    let mut log = vec![
        start(0, set(&[])),
        chunk(0, 1, 1, 0, false),
        prepared(0, 2, 1, 1, 7),
        chunk(0, 3, 2, 0, true),
        chunk(0, 4, 1, 0, false),
        prepared(0, 5, 1, 1, 7),
    ];
    let (fold, steps) = run(&log);
    assert_eq!(steps[5].outcome, Outcome::Prepared);
    assert_eq!(places(&fold), [(7, 1, 4, 5)]);
    assert_eq!(fold.state().newest.as_ref().map(|n| n.gtid), Some(gtid(2)));
    // A copy that is not whole when another capture starts leaves the old place.
    log.push(chunk(0, 6, 1, 0, false));
    log.push(start(1, set(&[])));
    log.push(prepared(0, 7, 1, 1, 7));
    let (fold, steps) = run(&log);
    assert_eq!(steps[7].voided.as_ref().map(|o| o.first), Some(Offset(6)));
    assert_eq!(steps[8].outcome, Outcome::Ignored(Reason::Void));
    assert_eq!(places(&fold), [(7, 1, 4, 5)]);
    // After its end, a copy is nothing.
    log.push(ended(1, 1, 3, 7, true));
    log.push(prepared(1, 2, 1, 0, 7));
    let (fold, steps) = run(&log);
    assert_eq!(steps[10].outcome, Outcome::Ignored(Reason::Known));
    assert_eq!(places(&fold), []);
}

#[test]
fn a_copy_without_its_beginning_is_an_orphan() {
    let (fold, steps) = run(&[
        start(0, set(&[])),
        prepared(0, 1, 1, 0, 7),
        prepared(0, 2, 1, 1, 7),
    ]);
    assert_eq!(steps[2].outcome, Outcome::Ignored(Reason::Orphan));
    assert_eq!(places(&fold), [(7, 1, 1, 1)]);
}

/// What the source does next, by a number.
#[derive(Debug, Clone, Default)]
struct Source {
    log: Vec<Head>,
    capture: usize,
    sequence: u64,
    gno: u64,
    /// Xid, GTID.
    open: Vec<(u8, u64)>,
    delivered: Vec<u64>,
}

impl Source {
    fn send(&mut self, make: impl FnOnce(usize, u64) -> Head) {
        self.sequence += 1;
        let head = make(self.capture, self.sequence);
        self.log.push(head);
    }

    fn chunks(&mut self, gno: u64, count: u8) {
        for c in 0..u32::from(count) {
            self.send(|who, seq| chunk(who, seq, gno, c, false));
        }
    }

    fn act(&mut self, what: u8, which: u8) {
        let pick = usize::from(which) % self.open.len().max(1);
        match what {
            0 => {
                self.capture += 1;
                self.sequence = 0;
                self.log.push(start(self.capture, GtidSet::new()));
            }
            1 | 2 => {
                self.gno += 1;
                let (gno, count) = (self.gno, which % 3);
                self.chunks(gno, count);
                self.send(|who, seq| chunk(who, seq, gno, u32::from(count), true));
                self.delivered.push(gno);
            }
            3 | 4 => {
                let name = which % 5;
                if self.open.iter().any(|(open, _)| *open == name) {
                    return;
                }
                self.gno += 1;
                let (gno, count) = (self.gno, which % 3);
                self.chunks(gno, count);
                self.send(|who, seq| prepared(who, seq, gno, u32::from(count), name));
                self.open.push((name, gno));
            }
            5 | 6 if !self.open.is_empty() => {
                let (name, _) = self.open.remove(pick);
                self.gno += 1;
                let gno = self.gno;
                self.send(|who, seq| ended(who, seq, gno, name, what == 5));
                self.delivered.push(gno);
            }
            7 if !self.open.is_empty() => {
                let (name, gno) = self.open.remove(pick);
                self.chunks(gno, which % 3);
                self.send(|who, seq| prepared(who, seq, gno, u32::from(which % 3), name));
                self.open.push((name, gno));
            }
            // A capture that dies in the middle of a copy, or of a new transaction.
            8 => {
                let gno = self.open.get(pick).map_or(self.gno + 1, |open| open.1);
                self.chunks(gno, which % 3);
                self.act(0, 0);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn histories_with_prepared_transactions(
        acts in proptest::collection::vec((0u8..9, any::<u8>()), 1..40),
        at in any::<prop::sample::Index>(),
    ) {
        let mut source = Source::default();
        source.act(0, 0);
        for (what, which) in acts {
            source.act(what, which);
        }
        let (whole, steps) = run(&source.log);
        // Delivered: what has committed, in order, once. Counted: everything.
        let delivered: Vec<u64> = source.log.iter().zip(&steps).filter_map(|(head, step)| match step.outcome {
            Outcome::Chunk { last: true, .. } => head.transaction().map(|t| t.gtid.gno),
            _ => None,
        }).collect();
        prop_assert_eq!(&delivered, &source.delivered);
        let all: Vec<u64> = (1..=source.gno).collect();
        prop_assert_eq!(&whole.state().set, &set(&all));
        let known: Vec<(u8, u64)> = places(&whole).iter().map(|p| (p.0, p.1)).collect();
        prop_assert_eq!(&known, &source.open);
        // Where they are said to lie, they lie whole.
        for (name, gno, first, last) in places(&whole) {
            let between = &source.log[first as usize..=last as usize];
            let chunks: Vec<u32> = between
                .iter()
                .filter(|head| head.header.incarnation == between[0].header.incarnation)
                .filter_map(|head| head.transaction().filter(|t| t.gtid.gno == gno).map(|t| t.chunk))
                .collect();
            prop_assert_eq!(chunks, (0..between.len() as u32).collect::<Vec<_>>());
            prop_assert!(matches!(&between[between.len() - 1].body, HeadBody::XaPrepared(p) if p.xid == xid(name)));
        }
        // A restart anywhere comes to the same.
        let stop = at.index(source.log.len() + 1);
        let (before, _) = run(&source.log[..stop]);
        let (mut fold, from) = Fold::resume(before.into_state());
        for (offset, head) in source.log.iter().enumerate().skip(from.0 as usize) {
            let _ = fold.step(Offset(offset as u64), head);
        }
        prop_assert_eq!(fold.state(), whole.state());
    }
}
