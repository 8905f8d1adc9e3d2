//! A table with a primary key and a second unique key judges: random histories are cut into groups, and each group's early part runs at
//! any time that the window allows, its late part in its turn. Whatever the schedule, no unique key is violated on the way, every row is
//! as its change expects, and the end is that of the serial order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{touch::Touch, *};

/// Primary key, unique value (`None` is NULL), plain value.
type Row = (u8, Option<u8>, u8);

#[derive(Debug, Clone)]
struct Change {
    before: Option<Row>,
    after: Option<Row>,
}

/// An operation that may or may not fit the table as it is.
#[derive(Debug, Clone)]
enum Attempt {
    Put(Row),
    Delete(u8),
    /// A row gets another primary key.
    Move(u8, u8),
    /// Two rows swap their unique values, by way of NULL.
    Swap(u8, u8),
}

fn history(attempts: Vec<Attempt>) -> Vec<Change> {
    let mut rows: BTreeMap<u8, Row> = BTreeMap::new();
    let mut changes = Vec::new();
    let mut change = |rows: &mut BTreeMap<u8, Row>, before: Option<Row>, after: Option<Row>| {
        let mut next = rows.clone();
        if let Some(before) = before {
            next.remove(&before.0);
        }
        if let Some(after) = after {
            let clash = next.values().any(|row| row.1.is_some() && row.1 == after.1);
            if clash || next.contains_key(&after.0) {
                return;
            }
            next.insert(after.0, after);
        }
        if before != after {
            *rows = next;
            changes.push(Change { before, after });
        }
    };
    for attempt in attempts {
        match attempt {
            Attempt::Put(row) => {
                let before = rows.get(&row.0).copied();
                change(&mut rows, before, Some(row));
            }
            Attempt::Delete(key) => {
                if let Some(row) = rows.get(&key).copied() {
                    change(&mut rows, Some(row), None);
                }
            }
            Attempt::Move(from, to) => {
                if let Some(row) = rows.get(&from).copied() {
                    change(&mut rows, Some(row), Some((to, row.1, row.2)));
                }
            }
            Attempt::Swap(a, b) => {
                if let (Some(a), Some(b)) = (rows.get(&a).copied(), rows.get(&b).copied())
                    && a.0 != b.0
                {
                    change(&mut rows, Some(a), Some((a.0, None, a.2)));
                    change(&mut rows, Some(b), Some((b.0, a.1, b.2)));
                    change(&mut rows, Some((a.0, None, a.2)), Some((a.0, b.1, a.2)));
                }
            }
        }
    }
    changes
}

fn touches(changes: &[Change]) -> Touches {
    let mut touches = Touches::default();
    for change in changes {
        let mut touched = vec![Touch {
            token: 1,
            written: false,
        }];
        for row in [change.before, change.after].into_iter().flatten() {
            let token = 1_000 + u64::from(row.0);
            touched.push(Touch {
                token,
                written: true,
            });
            if let Some(unique) = row.1 {
                let token = 2_000 + u64::from(unique);
                touched.push(Touch {
                    token,
                    written: true,
                });
            }
        }
        touches.add(&touched);
    }
    touches
}

/// The net effect: rows that were there go, rows that are there after come.
fn run(rows: &mut BTreeMap<u8, Row>, changes: &[&Change]) -> Result<(), String> {
    let mut own = rows.clone();
    for change in changes {
        if let Some(before) = change.before
            && own.remove(&before.0) != Some(before)
        {
            return Err(format!("{before:?} is not there"));
        }
        if let Some(after) = change.after
            && own.insert(after.0, after).is_some()
        {
            return Err(format!("{after:?} is there"));
        }
    }
    let mut unique: Vec<u8> = own.values().filter_map(|row| row.1).collect();
    unique.sort_unstable();
    let count = unique.len();
    unique.dedup();
    if unique.len() < count {
        return Err("a unique value is there twice".to_owned());
    }
    *rows = own;
    Ok(())
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let row = (0..12_u8, prop::option::of(0..8_u8), any::<u8>());
    prop_oneof![
        5 => row.prop_map(Attempt::Put),
        2 => (0..12_u8).prop_map(Attempt::Delete),
        2 => (0..12_u8, 0..12_u8).prop_map(|(a, b)| Attempt::Move(a, b)),
        1 => (0..12_u8, 0..12_u8).prop_map(|(a, b)| Attempt::Swap(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_gives_the_serial_result(
        attempts in prop::collection::vec(attempt(), 1..120),
        sizes in prop::collection::vec(1..12_usize, 120),
        window in 1..6_usize,
        choices in prop::collection::vec(any::<u8>(), 400),
    ) {
        let changes = history(attempts);
        let mut tracker = Tracker::new(window);
        let mut groups: Vec<(Vec<&Change>, Vec<&Change>)> = Vec::new();
        let mut rest = &changes[..];
        for size in sizes {
            let (group, others) = rest.split_at(size.min(rest.len()));
            rest = others;
            let (number, late) = tracker.group(&touches(group));
            prop_assert_eq!(number as usize, groups.len() + 1);
            let part = |wanted: bool| {
                let chosen = group.iter().zip(&late).filter(|(_, late)| **late == wanted);
                chosen.map(|(change, _)| change).collect()
            };
            groups.push((part(false), part(true)));
        }
        prop_assert!(rest.is_empty());
        // Which group does its next step: the early part of one in the window, or the late part of the oldest.
        let mut rows = BTreeMap::new();
        let (mut committed, mut early) = (0, vec![false; groups.len()]);
        let mut choices = choices.into_iter().cycle();
        while committed < groups.len() {
            let choice = usize::from(choices.next().unwrap_or(0)) % (window + 1);
            let at = committed + choice;
            if choice < window && at < groups.len() && !early[at] {
                early[at] = true;
                let result = run(&mut rows, &groups[at].0);
                prop_assert!(result.is_ok(), "early part of group {}: {:?}", at + 1, result);
            } else if early[committed] {
                let result = run(&mut rows, &groups[committed].1);
                prop_assert!(result.is_ok(), "late part of group {}: {:?}", committed + 1, result);
                committed += 1;
            }
        }
        let mut serial = BTreeMap::new();
        let all: Vec<&Change> = changes.iter().collect();
        prop_assert!(run(&mut serial, &all).is_ok());
        prop_assert_eq!(rows, serial);
        prop_assert!(tracker.groups.len() <= window);
    }
}

fn touched(token: u64, written: bool) -> Touches {
    let mut touches = Touches::default();
    touches.add(&[Touch { token, written }]);
    touches
}

#[test]
fn readers_wait_for_writers_only() {
    let mut tracker = Tracker::new(3);
    assert_eq!(tracker.group(&touched(7, false)), (1, vec![false]));
    assert_eq!(tracker.group(&touched(7, false)), (2, vec![false]));
    assert_eq!(tracker.group(&touched(7, true)), (3, vec![true]));
    assert_eq!(tracker.group(&touched(7, false)), (4, vec![true]));
    assert_eq!(tracker.group(&touched(8, true)), (5, vec![false]));
    // The writer is out of the window.
    assert_eq!(tracker.group(&touched(7, false)), (6, vec![false]));
    assert!(tracker.seen.len() <= 3);
}

#[test]
fn after_a_barrier_everything_waits_for_what_is_before() {
    let mut tracker = Tracker::new(2);
    tracker.group(&touched(1, true));
    tracker.barrier();
    assert_eq!(tracker.group(&touched(2, true)), (2, vec![true]));
    assert_eq!(tracker.group(&touched(3, true)), (3, vec![false]));
}
