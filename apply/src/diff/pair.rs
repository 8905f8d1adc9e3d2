//! A table at both servers: which columns are compared, by which key rows are told apart, and what their definitions have against each other.

use super::{
    Both,
    column::{self, Column, KeyPart},
    report::Definition,
};
use crate::{
    error::TableName,
    render::name::quoted,
    target::table::{TargetTable, UniqueKey},
};

#[derive(Debug)]
pub struct Pair {
    pub name: TableName,
    /// Quoted, with the database.
    pub quoted: Both<String>,
    pub columns: Vec<Column>,
    pub key: Vec<KeyPart>,
    /// The name of the key's index, quoted.
    pub index: Both<String>,
    /// Both servers cut the key's order at the same places.
    pub ordered: bool,
    /// Both servers have bit functions over binary strings (MySQL).
    pub wide: bool,
    pub definitions: Vec<Definition>,
    /// The target's.
    pub there: TargetTable,
}

impl Pair {
    pub fn new(names: Both<&TableName>, tables: Both<&TargetTable>, wide: bool) -> Self {
        let mut definitions = Vec::new();
        let mut columns = Vec::new();
        for here in &tables.source.columns {
            let Some(there) = tables.target.column(&here.name) else {
                definitions.push(Definition::ColumnMissing {
                    column: here.name.clone(),
                });
                continue;
            };
            // What the target computes is neither written nor compared by an applier.
            if there.generated {
                continue;
            }
            let types = || format!("{} and {}", here.column_type, there.column_type);
            match column::narrower(here, there) {
                Some(types) => definitions.push(Definition::Narrower {
                    column: here.name.clone(),
                    types,
                }),
                None if here.column_type != there.column_type => {
                    definitions.push(Definition::Wider {
                        column: here.name.clone(),
                        types: types(),
                    });
                }
                None => {}
            }
            if here.collation != there.collation {
                let name = |collation: &Option<crate::render::name::Charset>| {
                    (collation.as_ref())
                        .map_or("none", |collation| collation.name())
                        .to_owned()
                };
                definitions.push(Definition::Collation {
                    column: here.name.clone(),
                    collations: format!("{} and {}", name(&here.collation), name(&there.collation)),
                });
            }
            let both = Both {
                source: here,
                target: there,
            };
            if let Some(reason) = column::why_apart(tables, both) {
                definitions.push(Definition::NotCompared {
                    column: here.name.clone(),
                    reason,
                });
            } else {
                columns.push(column::column(tables, both));
            }
        }
        for there in &tables.target.columns {
            if tables.source.column(&there.name).is_none() {
                definitions.push(Definition::ColumnExtra {
                    column: there.name.clone(),
                });
            }
        }
        let order = |table: &TargetTable, other: &TargetTable| -> Vec<String> {
            let names = table
                .columns
                .iter()
                .map(|column| column.name.to_lowercase());
            names.filter(|name| other.column(name).is_some()).collect()
        };
        if order(tables.source, tables.target) != order(tables.target, tables.source) {
            definitions.push(Definition::Order);
        }
        keys(tables, &mut definitions);
        let (key, index, ordered) = key(tables).unwrap_or_default();
        Self {
            name: names.source.clone(),
            quoted: names.map(|name| format!("{}.{}", quoted(&name.database), quoted(&name.table))),
            columns,
            key,
            index,
            ordered,
            wide,
            definitions,
            there: tables.target.clone(),
        }
    }
}

/// An index by what it is made of, whatever its name.
fn parts(index: &UniqueKey) -> Option<Vec<(String, Option<u64>)>> {
    let names = index.columns.iter().zip(&index.prefixes);
    let mut parts: Vec<_> = names
        .map(|(name, prefix)| Some((name.as_ref()?.to_lowercase(), *prefix)))
        .collect::<Option<_>>()?;
    parts.sort();
    Some(parts)
}

/// A unique key says which rows there may be; other indexes do not.
fn keys(tables: Both<&TargetTable>, definitions: &mut Vec<Definition>) {
    let lacks = |table: &TargetTable, other: &TargetTable| -> Vec<String> {
        let other: Vec<_> = other.unique.iter().map(parts).collect();
        let missing = table
            .unique
            .iter()
            .filter(|index| !other.contains(&parts(index)));
        missing.map(|index| index.name.clone()).collect()
    };
    for key in lacks(tables.source, tables.target) {
        definitions.push(Definition::KeyMissing { key });
    }
    for key in lacks(tables.target, tables.source) {
        definitions.push(Definition::KeyExtra { key });
    }
}

type Found = (Vec<KeyPart>, Both<String>, bool);

/// The primary key, or the first unique key, that both tables have and whose columns are never NULL.
fn key(tables: Both<&TargetTable>) -> Option<Found> {
    tables.source.unique.iter().find_map(|here| {
        let wanted = parts(here)?;
        let there =
            (tables.target.unique.iter()).find(|there| parts(there).as_ref() == Some(&wanted))?;
        let mut ordered = true;
        let mut key = Vec::new();
        for (name, prefix) in here.columns.iter().zip(&here.prefixes) {
            let columns = Both {
                source: tables.source.column(name.as_deref()?)?,
                target: tables.target.column(name.as_deref()?)?,
            };
            let nullable = columns.source.nullable || columns.target.nullable;
            if prefix.is_some() || nullable || column::why_apart(tables, columns).is_some() {
                return None;
            }
            ordered &= column::orders_alike(columns);
            key.push(column::key_part(columns)?);
        }
        // An index serves a range in its own order only.
        ordered &= here.columns.iter().zip(&there.columns).all(|(a, b)| {
            let lower = |name: &Option<String>| name.as_ref().map(|name| name.to_lowercase());
            lower(a) == lower(b)
        });
        let index = Both {
            source: quoted(&here.name),
            target: quoted(&there.name),
        };
        Some((key, index, ordered))
    })
}
