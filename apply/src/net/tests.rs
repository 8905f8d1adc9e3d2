//! A table with a primary key and a second unique key judges: random histories that respect both, applied as net effects in the three
//! phases, never violate one on the way and end with the same rows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Primary key, unique value (`None` is NULL), plain value.
type Row = (u8, Option<u8>, u8);

impl Image for Row {
    fn followed(
        &self,
        _: Option<&mut Self>,
        before: Self,
        after: Option<Self>,
    ) -> Result<Option<Self>, Contradiction> {
        if *self == before {
            Ok(after)
        } else {
            Err(Contradiction::Differs)
        }
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Table(BTreeMap<u8, Row>);

impl Table {
    fn insert(&mut self, row: Row) -> Result<(), &'static str> {
        if self.0.contains_key(&row.0) {
            return Err("primary key");
        }
        if row.1.is_some() && self.0.values().any(|other| other.1 == row.1) {
            return Err("unique key");
        }
        self.0.insert(row.0, row);
        Ok(())
    }

    fn delete(&mut self, row: Row) -> Result<(), &'static str> {
        match self.0.get(&row.0) {
            Some(found) if *found == row => {
                self.0.remove(&row.0);
                Ok(())
            }
            _ => Err("missing or differs"),
        }
    }
}

fn moves(before: &Row, after: &Row) -> bool {
    before.0 != after.0 || before.1 != after.1
}

fn apply(table: &mut Table, nets: Vec<Net<Row>>) -> Result<(), &'static str> {
    let is_mover =
        |net: &Net<Row>| matches!((&net.before, &net.after), (Some(b), Some(a)) if moves(b, a));
    for net in &nets {
        if let Some(before) = net.before
            && (net.after.is_none() || is_mover(net))
        {
            table.delete(before)?;
        }
    }
    for net in &nets {
        if let (Some(before), Some(after)) = (net.before, net.after)
            && !is_mover(net)
        {
            table.delete(before)?;
            table.insert(after)?;
        }
    }
    for net in &nets {
        if let Some(after) = net.after
            && (net.before.is_none() || is_mover(net))
        {
            table.insert(after)?;
        }
    }
    Ok(())
}

#[derive(Debug, Clone)]
enum Wish {
    Insert(Row),
    Update(u8, Row),
    Delete(u8),
    /// Exchanges two rows' unique values through NULL, as a source must.
    Swap(u8, u8),
}

fn wish() -> impl Strategy<Value = Wish> {
    let row = || (0u8..6, prop::option::weighted(0.8, 0u8..6), 0u8..3);
    prop_oneof![
        row().prop_map(Wish::Insert),
        (0u8..6, row()).prop_map(|(key, row)| Wish::Update(key, row)),
        (0u8..6).prop_map(Wish::Delete),
        (0u8..6, 0u8..6).prop_map(|(a, b)| Wish::Swap(a, b)),
    ]
}

fn update(table: &mut Table, lineages: &mut Lineages<u8, Row>, key: u8, after: Row) {
    let Some(before) = table.0.get(&key).copied() else {
        return;
    };
    let mut tried = table.clone();
    tried.0.remove(&key);
    if tried.insert(after).is_ok() {
        *table = tried;
        let moved = (after.0 != key).then_some(after.0);
        lineages.update(key, moved, before, after).unwrap();
    }
}

fn grant(table: &mut Table, lineages: &mut Lineages<u8, Row>, wish: Wish) {
    match wish {
        Wish::Insert(row) => {
            if table.insert(row).is_ok() {
                lineages.insert(row.0, row).unwrap();
            }
        }
        Wish::Update(key, after) => update(table, lineages, key, after),
        Wish::Delete(key) => {
            if let Some(row) = table.0.remove(&key) {
                lineages.delete(key, row).unwrap();
            }
        }
        Wish::Swap(a, b) => {
            if let (Some(x), Some(y)) = (table.0.get(&a).copied(), table.0.get(&b).copied())
                && a != b
            {
                update(table, lineages, a, (x.0, None, x.2));
                update(table, lineages, b, (y.0, x.1, y.2));
                update(table, lineages, a, (x.0, y.1, x.2));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn net_effects_in_phases(start in prop::collection::vec((0u8..6, prop::option::of(0u8..6), 0u8..3), 0..6),
                             wishes in prop::collection::vec(wish(), 0..24)) {
        let mut target = Table::default();
        for row in start {
            let _ = target.insert(row);
        }
        let mut source = target.clone();
        let mut lineages = Lineages::default();
        for wish in wishes {
            grant(&mut source, &mut lineages, wish);
        }
        prop_assert_eq!(apply(&mut target, lineages.into_nets().collect()), Ok(()));
        prop_assert_eq!(target, source);
    }
}

#[test]
fn contradictions_are_seen() {
    let row: Row = (1, None, 0);
    let mut lineages = Lineages::default();
    lineages.insert(1, row).unwrap();
    assert_eq!(lineages.insert(1, row), Err(Contradiction::There));
    assert_eq!(
        lineages.update(1, None, (1, None, 2), row),
        Err(Contradiction::Differs)
    );
    lineages.delete(1, row).unwrap();
    assert_eq!(lineages.delete(1, row), Err(Contradiction::Missing));
    assert_eq!(lineages.into_nets().count(), 0);
}

#[test]
fn deleting_and_inserting_one_key_is_an_update() {
    let mut lineages = Lineages::default();
    lineages.delete(1, (1, None, 0)).unwrap();
    lineages.insert(1, (1, None, 5)).unwrap();
    let nets: Vec<Net<Row>> = lineages.into_nets().collect();
    assert_eq!(
        nets,
        [Net {
            before: Some((1, None, 0)),
            after: Some((1, None, 5))
        }]
    );
}
