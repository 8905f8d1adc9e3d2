//! GTID sets against a naive model: a tree set of single GTIDs.

use std::collections::{BTreeMap, BTreeSet};

use binferry_schemas::gtid::{Gtid, GtidSet, MAX_GNO, Tag};
use proptest::prelude::*;

use crate::samples::{UUID_A, UUID_B};

type Model = BTreeSet<Gtid>;

fn gtid() -> impl Strategy<Value = Gtid> {
    let uuid = prop_oneof![Just(UUID_A), Just(UUID_B)];
    let tag = prop_oneof![3 => Just(""), 1 => Just("a"), 1 => Just("ab"), 1 => Just("b")];
    (uuid, tag, 1..24u64).prop_map(|(uuid, tag, gno)| Gtid {
        uuid,
        tag: Tag::new(tag).unwrap(),
        gno,
    })
}

fn model() -> impl Strategy<Value = Model> {
    proptest::collection::btree_set(gtid(), 0..60)
}

fn set(model: &Model) -> GtidSet {
    model.iter().copied().collect()
}

fn expand(set: &GtidSet) -> Model {
    set.iter()
        .flat_map(|(uuid, tag, first, last)| (first..=last).map(move |gno| Gtid { uuid, tag, gno }))
        .collect()
}

/// What `iter` must hold for equal sets to be equal values.
fn assert_normal(set: &GtidSet) {
    let intervals: Vec<_> = set
        .iter()
        .take(set.iter().count() - set.domains().count())
        .collect();
    for (_, _, first, last) in &intervals {
        assert!(first <= last);
    }
    for pair in intervals.windows(2) {
        let ((uuid_a, tag_a, _, last), (uuid_b, tag_b, first, _)) = (pair[0], pair[1]);
        if (uuid_a, tag_a) == (uuid_b, tag_b) {
            assert!(last + 1 < first, "{set}");
        } else {
            assert!((uuid_a, tag_a.as_str()) < (uuid_b, tag_b.as_str()), "{set}");
        }
    }
}

proptest! {
    #[test]
    fn inserting_and_removing(steps in proptest::collection::vec((any::<bool>(), gtid()), 0..200)) {
        let (mut model, mut set) = (Model::new(), GtidSet::new());
        for (insert, gtid) in steps {
            if insert {
                prop_assert_eq!(set.insert(gtid), model.insert(gtid));
            } else {
                prop_assert_eq!(set.remove(&gtid), model.remove(&gtid));
            }
            assert_normal(&set);
        }
        prop_assert_eq!(expand(&set), model.clone());
        prop_assert_eq!(set.len(), model.len() as u128);
        prop_assert_eq!(set.is_empty(), model.is_empty());
    }

    #[test]
    fn two_sets(a in model(), b in model(), probe in gtid()) {
        let (left, right) = (set(&a), set(&b));
        let mut union = left.clone();
        union.union_with(&right);
        for (result, expected) in [
            (&union, &a | &b),
            (&left.subtract(&right), &a - &b),
            (&left.intersect(&right), &a & &b),
        ] {
            assert_normal(result);
            prop_assert_eq!(result, &set(&expected));
            prop_assert_eq!(expand(result), expected);
        }
        prop_assert_eq!(left.contains_set(&right), a.is_superset(&b));
        prop_assert!(union.contains_set(&left) && union.contains_set(&right));
        prop_assert_eq!(left.contains(&probe), a.contains(&probe));
    }

    #[test]
    fn ranges(ranges in proptest::collection::vec((1..40u64, 0..12u64), 0..20)) {
        let (mut model, mut set) = (Model::new(), GtidSet::new());
        for (start, length) in ranges {
            set.insert_range(UUID_A, Tag::NONE, start, start + length - 1);
            model.extend((start..start + length).map(|gno| Gtid::new(UUID_A, gno)));
            assert_normal(&set);
        }
        prop_assert_eq!(expand(&set), model);
    }

    #[test]
    fn text_and_binary_forms_come_back(model in model()) {
        let set = set(&model);
        prop_assert_eq!(set.to_string().parse::<GtidSet>().unwrap(), set.clone());
        let bytes = set.encode();
        prop_assert_eq!(bytes.len(), set.encoded_len());
        prop_assert_eq!(GtidSet::decode(&bytes).unwrap(), set);
        for gtid in &model {
            prop_assert_eq!(gtid.to_string().parse::<Gtid>().unwrap(), *gtid);
        }
    }

    #[test]
    fn no_text_and_no_bytes_panic(text in "[0-9a-fA-F:, \\n-]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = text.parse::<GtidSet>();
        let _ = format!("{UUID_A}:{text}").parse::<GtidSet>();
        let _ = GtidSet::decode(&bytes);
    }

    #[test]
    fn damaged_binary_forms_do_not_panic(model in model(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = set(&model).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = GtidSet::decode(&bytes);
        let _ = GtidSet::decode(&bytes[..at]);
    }
}

/// What a set holds of each domain, as a model: (first, last).
type Positions = BTreeMap<u32, (u64, u64)>;

fn mariadb(domain: u32, sequence: u64) -> Gtid {
    Gtid::mariadb(domain, 10 + domain, sequence).unwrap()
}

fn positions() -> impl Strategy<Value = Positions> {
    proptest::collection::btree_map(0..3u32, (1..12u64, 0..12u64), 0..3).prop_map(|map| {
        map.into_iter()
            .map(|(domain, (start, length))| (domain, (start, start + length)))
            .collect()
    })
}

fn positioned(positions: &Positions) -> GtidSet {
    let mut set = GtidSet::new();
    for (&domain, &(start, end)) in positions {
        set.insert_range(mariadb(domain, 1).uuid, Tag::NONE, start, end);
    }
    set
}

fn held(set: &GtidSet) -> Positions {
    set.domains()
        .map(|(domain, range)| (domain, (range.start, range.end)))
        .collect()
}

/// Every (domain, number): what a position stands for.
fn numbers(positions: &Positions) -> BTreeSet<(u32, u64)> {
    let each = |(&domain, &(start, end)): (&u32, &(u64, u64))| {
        (start..=end).map(move |number| (domain, number))
    };
    positions.iter().flat_map(each).collect()
}

proptest! {
    #[test]
    fn domains_move_with_their_gtids(steps in proptest::collection::vec((0..3u8, 0..3u32, 1..40u64), 0..80)) {
        let (mut model, mut set) = (BTreeSet::new(), GtidSet::new());
        for (step, domain, number) in steps {
            let was_there = model.contains(&(domain, number));
            match step {
                0 => {
                    let newest = model.range((domain, 0)..=(domain, u64::MAX)).next_back().copied();
                    let moves = newest.is_none_or(|(_, newest)| newest < number);
                    prop_assert_eq!(set.insert(mariadb(domain, number)), moves);
                    if moves {
                        model.extend((newest.map_or(1, |(_, newest)| newest)..=number).map(|n| (domain, n)));
                    }
                }
                1 => {
                    prop_assert_eq!(set.remove(&mariadb(domain, number)), was_there);
                    if was_there {
                        model.retain(|&(d, n)| d != domain || n < number);
                    }
                }
                _ => {
                    set.pass(&mariadb(domain, number));
                    model.retain(|&(d, n)| d != domain || n > number);
                }
            }
            prop_assert_eq!(numbers(&held(&set)), model.clone());
            prop_assert_eq!(set.len(), model.len() as u128);
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(set.contains(&mariadb(domain, number)), model.contains(&(domain, number)));
        }
    }

    #[test]
    fn two_sets_of_domains(a in positions(), b in positions(), mysql in model()) {
        let (mut left, mut right) = (positioned(&a), positioned(&b));
        let (x, y) = (numbers(&a), numbers(&b));
        let both = left.intersect(&right);
        prop_assert_eq!(numbers(&held(&both)), &x & &y);
        prop_assert_eq!(left.contains_set(&right), x.is_superset(&y));
        // Of a union, the least range that holds both; of a difference, never less than there is.
        let mut union = left.clone();
        union.union_with(&right);
        prop_assert!(union.contains_set(&left) && union.contains_set(&right));
        for (domain, (start, end)) in held(&union) {
            let ends: Vec<_> = [&a, &b].into_iter().filter_map(|p| p.get(&domain)).collect();
            prop_assert_eq!(start, ends.iter().map(|e| e.0).min().unwrap());
            prop_assert_eq!(end, ends.iter().map(|e| e.1).max().unwrap());
        }
        let rest = numbers(&held(&left.subtract(&right)));
        prop_assert!(rest.is_superset(&(&x - &y)) && x.is_superset(&rest));
        for domain in a.keys() {
            let inside = matches!((a.get(domain), b.get(domain)), (Some(a), Some(b)) if a.0 < b.0 && b.1 < a.1);
            if !inside {
                let of = |set: &BTreeSet<(u32, u64)>| set.iter().filter(|(d, _)| d == domain).copied().collect::<Vec<_>>();
                prop_assert_eq!(of(&rest), of(&(&x - &y)));
            }
        }
        // Beside GTIDs of MySQL's, each kind by itself.
        left.union_with(&set(&mysql));
        right.union_with(&set(&mysql));
        prop_assert_eq!(left.intersect(&right).subtract(&set(&mysql)), both);
        prop_assert_eq!(left.subtract(&positioned(&a)), set(&mysql));
        for set in [&left, &right] {
            prop_assert_eq!(&set.to_string().parse::<GtidSet>().unwrap(), set);
            let bytes = set.encode();
            prop_assert_eq!(bytes.len(), set.encoded_len());
            prop_assert_eq!(&GtidSet::decode(&bytes).unwrap(), set);
            let mut again = GtidSet::new();
            for (uuid, tag, first, last) in set.iter() {
                again.insert_range(uuid, tag, first, last);
            }
            prop_assert_eq!(&again, set);
        }
    }

    #[test]
    fn mariadb_gtids_come_back(domain: u32, server: u32, sequence in 1..=MAX_GNO) {
        let gtid = Gtid::mariadb(domain, server, sequence).unwrap();
        prop_assert_eq!(gtid.as_mariadb(), Some((domain, server, sequence)));
        prop_assert_eq!(gtid.to_string(), format!("{domain}-{server}-{sequence}"));
        prop_assert_eq!(gtid.to_string().parse::<Gtid>().unwrap(), gtid);
        // RFC 9562: version 8 in the seventh byte, the variant in the ninth.
        prop_assert_eq!((gtid.uuid.as_bytes()[6] >> 4, gtid.uuid.as_bytes()[8] >> 6), (8, 2));
    }

    #[test]
    fn no_text_of_mariadbs_panics(text in "[0-9.,: -]{0,40}") {
        let _ = text.parse::<GtidSet>();
        let _ = text.parse::<Gtid>();
    }
}

#[test]
fn mariadb_text() {
    for (text, printed) in [
        ("0-1-100", "0-1-100"),
        (" 5-2-7 ,\n0-1-100", "0-1-100,5-2-7"),
        ("0-1-100,0-2-103", "0-2-103"),
        ("0-2-103,0-1-100", "0-2-103"),
        ("0-1-51..100", "0-1-51..100"),
        ("0-1-1..100", "0-1-100"),
        (
            "0-4294967295-9223372036854775806",
            "0-4294967295-9223372036854775806",
        ),
    ] {
        assert_eq!(
            text.parse::<GtidSet>().unwrap().to_string(),
            printed,
            "{text:?}"
        );
    }
    let mixed = format!("{UUID_A}:1-3,7-1-9");
    assert_eq!(mixed.parse::<GtidSet>().unwrap().to_string(), mixed);
    for text in [
        "0-1-0",
        "0-1-",
        "0--1",
        "-1-1",
        "0-1-5..4",
        "0-1-0..4",
        "0-1-5..",
        "0-1-05",
        "0-01-5",
        "4294967296-1-1",
        "0-4294967296-1",
        "0-1-9223372036854775807",
        "0-1-1-1",
        "0-1",
        "0-1-1 2",
        "0-1-+5",
    ] {
        assert!(text.parse::<GtidSet>().is_err(), "{text:?}");
    }
    for text in ["0-1-2,0-1-3", "0-1-1..2", "0-1-1..1", "0-1-1,5-1-1"] {
        assert!(text.parse::<Gtid>().is_err(), "{text:?}");
    }
    assert_eq!(Gtid::mariadb(0, 1, 0), None);
    assert_eq!(Gtid::mariadb(0, 1, MAX_GNO + 1), None);
    let gtid = Gtid::mariadb(0x01020304, 0x0a0b0c0d, 5).unwrap();
    assert_eq!(
        gtid.uuid.to_string(),
        "01020304-6d61-8172-a961-64620a0b0c0d"
    );
    assert_eq!(Gtid::new(UUID_A, 5).as_mariadb(), None);
}

#[test]
fn text_is_read_as_the_server_reads_it() {
    let a = UUID_A.to_string();
    for (text, printed) in [
        (String::new(), String::new()),
        (" , ,\n".to_owned(), String::new()),
        (format!("{}:1", a.to_uppercase()), format!("{a}:1")),
        (format!("{}:1", UUID_A.simple()), format!("{a}:1")),
        (format!("{{{a}}}:1"), format!("{a}:1")),
        (
            format!(" {a} : 5 - 7 : 1-3,\n{a}:4,{a}:9"),
            format!("{a}:1-7:9"),
        ),
        (format!("{a}:3-2"), String::new()),
        (format!("{a}:7-0:8"), format!("{a}:8")),
        (
            format!("{a}:tag:1-2:1:Other:5"),
            format!("{a}:other:5:tag:1-2"),
        ),
        (
            format!("{a}:1-3:5:tag:1-2:7"),
            format!("{a}:1-3:5:tag:1-2:7"),
        ),
        (format!("{a}:1-{MAX_GNO}"), format!("{a}:1-{MAX_GNO}")),
        (format!("{UUID_B}:1,{a}:2"), format!("{a}:2,{UUID_B}:1")),
    ] {
        let set: GtidSet = text
            .parse()
            .unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(set.to_string(), printed, "{text:?}");
    }
}

#[test]
fn text_that_names_nothing_certain_is_refused() {
    let a = UUID_A.to_string();
    for text in [
        "x:1".to_owned(),
        a.clone(),
        format!("{a}:"),
        format!("{a}:0"),
        format!("{a}:-1"),
        format!("{a}:1-"),
        format!("{a}:010"),
        format!("{a}:0x10"),
        format!("{a}:1x"),
        format!("{a}:tag"),
        format!("{a}:one:two:1"),
        format!("{a}:1:2tag:1"),
        format!("{a}:{}", MAX_GNO + 1),
        format!("{a}:{}:1", "t".repeat(33)),
        format!("{a}:täg:1"),
        format!("{a}:1;{a}:2"),
    ] {
        assert!(text.parse::<GtidSet>().is_err(), "{text:?}");
    }
    for text in ["", &format!("{a}:1-2"), &format!("{a}:1,{UUID_B}:1")] {
        assert!(text.parse::<Gtid>().is_err(), "{text:?}");
    }
}

#[test]
fn the_binary_forms_are_those_of_the_dump_command() {
    let plain: GtidSet = format!("{UUID_A}:1-5:7").parse().unwrap();
    let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0];
    expected.extend(UUID_A.as_bytes());
    for number in [2u64, 1, 6, 7, 8] {
        expected.extend(number.to_le_bytes());
    }
    assert_eq!(plain.encode(), expected);

    let tagged: GtidSet = format!("{UUID_A}:1:tag:2").parse().unwrap();
    let mut expected = vec![1, 2, 0, 0, 0, 0, 0, 1];
    expected.extend(UUID_A.as_bytes());
    expected.push(0);
    for number in [1u64, 1, 2] {
        expected.extend(number.to_le_bytes());
    }
    expected.extend(UUID_A.as_bytes());
    expected.extend(b"\x06tag");
    for number in [1u64, 2, 3] {
        expected.extend(number.to_le_bytes());
    }
    assert_eq!(tagged.encode(), expected);
    assert_eq!(GtidSet::new().encode(), [0; 8]);
}

#[test]
fn tags_are_ordered_as_text() {
    let tag = |text| Tag::new(text).unwrap();
    assert!(tag("") < tag("_") && tag("aa") < tag("b") && tag("a") < tag("aa"));
    assert_eq!(tag("MiXed_1").as_str(), "mixed_1");
    for bad in ["1a", "a-b", "ä", "a b", &"x".repeat(33)] {
        assert_eq!(Tag::new(bad), None, "{bad}");
    }
}

#[test]
fn the_next_number_is_cheap_among_many_holes() {
    let mut set = GtidSet::new();
    for gno in (1..2_000_000).step_by(2) {
        set.insert(Gtid::new(UUID_A, gno));
    }
    // A million holes; were each insert to walk or move them, this would take hours.
    for gno in 2_000_000..4_000_000 {
        assert!(set.insert(Gtid::new(UUID_A, gno)));
    }
    assert_eq!(set.len(), 3_000_000);
}
