//! What a change touches.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    iter,
};

use binferry_schemas::{
    datum::{DatumError, Value, Values},
    record::Operation,
    row::RowSchema,
};

use super::collation::Folding;
use crate::{
    change::{RowChange, RowImage},
    target::{
        mapping::Mapping,
        table::{ForeignKey, TargetColumn, TargetTable},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touch {
    pub token: u64,
    pub written: bool,
}

/// What the changes of a group touch, one after the other.
#[derive(Debug, Default)]
pub struct Touches {
    touches: Vec<Touch>,
    /// For each change, where its touches end.
    ends: Vec<usize>,
}

impl Touches {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[Touch]> {
        let starts = iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.touches[start..*end])
    }

    pub fn push(&mut self, change: &RowChange) -> Result<(), DatumError> {
        let mapping = &change.mapping;
        let keys = &mapping.keys;
        let mut whole =
            keys.opaque || mapping.key.is_empty() && change.operation != Operation::Insert;
        let (before, after) = (
            self.image(mapping, change.before.as_ref())?,
            self.image(mapping, change.after.as_ref())?,
        );
        whole |= before.whole || after.whole;
        self.touches.push(Touch {
            token: keys.table,
            written: whole,
        });
        // A row that keeps its parents has nothing to do with them: the server doesn't look at them either.
        let sure = before.references.iter().all(|touch| !touch.written);
        if !sure || before.references != after.references {
            self.touches.extend(&before.references);
            self.touches.extend(&after.references);
        }
        // A parent row that goes, or gets another key, may take rows of other tables with it.
        let reaches = change.before.is_some() && (before.parent != after.parent || before.whole);
        if reaches {
            let tables = keys.cascades.iter();
            self.touches.extend(tables.map(|token| Touch {
                token: *token,
                written: true,
            }));
        }
        self.ends.push(self.touches.len());
        Ok(())
    }

    /// A row that a copy brings: all of its keys. Where the table is being copied nothing asks for its parents.
    pub fn push_copied(&mut self, mapping: &Mapping, row: &RowImage) -> Result<(), DatumError> {
        let image = self.image(mapping, Some(row))?;
        self.touches.push(Touch {
            token: mapping.keys.table,
            written: mapping.keys.opaque || image.whole,
        });
        self.ends.push(self.touches.len());
        Ok(())
    }

    #[cfg(test)]
    pub fn add(&mut self, touched: &[Touch]) {
        self.touches.extend_from_slice(touched);
        self.ends.push(self.touches.len());
    }

    fn image(&mut self, mapping: &Mapping, image: Option<&RowImage>) -> Result<Image, DatumError> {
        let mut found = Image::default();
        let Some(image) = image else {
            return Ok(found);
        };
        let keys = &mapping.keys;
        let mut row: Vec<Option<Value<'_>>> = Vec::with_capacity(keys.columns);
        let values = Values::new(&mapping.schema, image.present.as_deref(), &image.datum);
        for value in values.take(keys.columns) {
            row.push(value?);
        }
        for key in &keys.own {
            match key.token(&row) {
                Token::Of(token) => {
                    if key.parent {
                        found.parent = found.parent.rotate_left(7) ^ token;
                    }
                    self.touches.push(Touch {
                        token,
                        written: true,
                    });
                }
                Token::None => {}
                Token::Any => found.whole = true,
            }
        }
        for (parent, key) in &keys.references {
            let touch = match key.token(&row) {
                Token::Of(token) => Touch {
                    token,
                    written: false,
                },
                Token::None => continue,
                // Any row of the parent's may be meant.
                Token::Any => Touch {
                    token: *parent,
                    written: true,
                },
            };
            found.references.push(touch);
        }
        Ok(found)
    }
}

/// What an image says beside its tokens.
#[derive(Debug, Default)]
struct Image {
    /// A key of it may be equal to any other.
    whole: bool,
    /// Of the keys that foreign keys refer to: a hash of their tokens.
    parent: u64,
    /// The parents' rows.
    references: Vec<Touch>,
}

/// The keys of a table that can make changes depend on each other.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys {
    table: u64,
    own: Vec<Key>,
    /// The parent's table, and its key as the child's columns give it.
    references: Vec<(u64, Key)>,
    /// Tables whose rows a row of this one may take with it.
    cascades: Vec<u64>,
    /// A key depends on values that the images don't give.
    opaque: bool,
    /// So many of the row's first columns are needed.
    columns: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    /// Of the table and the columns.
    seed: u64,
    parts: Vec<Part>,
    /// A foreign key refers to it.
    parent: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Part {
    column: usize,
    /// For text.
    folding: Option<Folding>,
    prefix: Option<usize>,
}

enum Token {
    Of(u64),
    /// A part is NULL: it is equal to none.
    None,
    /// It may be equal to any.
    Any,
}

impl Keys {
    /// The token of the table.
    pub fn table(&self) -> u64 {
        self.table
    }

    /// The tables that its foreign keys refer to.
    pub fn parents(&self) -> impl Iterator<Item = u64> {
        self.references.iter().map(|(parent, _)| *parent)
    }

    /// The tables whose rows a row of this one may take with it.
    pub fn cascades(&self) -> impl Iterator<Item = u64> {
        self.cascades.iter().copied()
    }

    pub fn new(schema: &RowSchema, target: &TargetTable) -> Self {
        let table = name_token(&schema.database, &schema.table);
        let part = |there: &TargetColumn, prefix| {
            let name = there.name.to_lowercase();
            let column = schema
                .columns
                .iter()
                .position(|column| column.name.to_lowercase() == name)?;
            let folding = there
                .collation
                .as_ref()
                .map(|collation| Folding::of(collation.name()));
            Some(Part {
                column,
                folding,
                prefix,
            })
        };
        let mut opaque = false;
        let mut own: Vec<Key> = Vec::new();
        let mut add = |names: &mut dyn Iterator<Item = (Option<&str>, Option<u64>)>,
                       parent: bool| {
            let (mut parts, mut columns) = (Vec::new(), Vec::new());
            for (name, prefix) in names {
                let Some(there) = name.and_then(|name| target.column(name)) else {
                    opaque = true;
                    return;
                };
                if there.generated {
                    opaque = true;
                    return;
                }
                // What only the target has can only tell more rows apart.
                let prefix = prefix.map(|prefix| usize::try_from(prefix).unwrap_or(usize::MAX));
                match part(there, prefix) {
                    Some(part) => {
                        parts.push(part);
                        columns.push(there.name.as_str());
                    }
                    None => opaque |= parent,
                }
            }
            if parts.is_empty() {
                return;
            }
            let seed = key_token(table, &columns);
            match own
                .iter_mut()
                .find(|key| key.seed == seed && key.parts == parts)
            {
                Some(key) => key.parent |= parent,
                None => own.push(Key {
                    seed,
                    parts,
                    parent,
                }),
            }
        };
        for index in &target.unique {
            let prefixes = index.prefixes.iter().copied().chain(iter::repeat(None));
            let mut names = index.columns.iter().map(Option::as_deref).zip(prefixes);
            add(&mut names, false);
        }
        for columns in &target.referred {
            add(
                &mut columns.iter().map(|name| (Some(name.as_str()), None)),
                true,
            );
        }
        let mut references = Vec::new();
        for ForeignKey {
            columns,
            parent,
            parent_columns,
        } in &target.references
        {
            let parent = name_token(&parent.database, &parent.table);
            let parent_columns: Vec<&str> = parent_columns.iter().map(String::as_str).collect();
            let parts: Option<Vec<Part>> = columns
                .iter()
                .map(|name| part(target.column(name).filter(|there| !there.generated)?, None))
                .collect();
            match parts {
                Some(parts) => references.push((
                    parent,
                    Key {
                        seed: key_token(parent, &parent_columns),
                        parts,
                        parent: false,
                    },
                )),
                // A column that only the target has, or computes.
                None => opaque = true,
            }
        }
        let columns = own
            .iter()
            .chain(references.iter().map(|(_, key)| key))
            .flat_map(|key| &key.parts)
            .map(|part| part.column + 1)
            .max()
            .unwrap_or(0);
        Self {
            table,
            own,
            references,
            cascades: (target.cascades.iter())
                .map(|name| name_token(&name.database, &name.table))
                .collect(),
            opaque,
            columns,
        }
    }
}

impl Key {
    fn token(&self, row: &[Option<Value<'_>>]) -> Token {
        let mut hasher = DefaultHasher::new();
        self.seed.hash(&mut hasher);
        let mut any = false;
        for part in &self.parts {
            match row.get(part.column).copied().flatten() {
                None => any = true,
                Some(Value::Null) => return Token::None,
                Some(value) => any |= !part.hash(&value, &mut hasher),
            }
        }
        match any {
            true => Token::Any,
            false => Token::Of(hasher.finish()),
        }
    }
}

impl Part {
    /// False when the value may be equal to another one that is written in another way.
    fn hash(&self, value: &Value<'_>, hasher: &mut DefaultHasher) -> bool {
        match (*value, self.folding) {
            (Value::Text(text), Some(folding)) => match folding.fold(text, self.prefix) {
                Some(folded) => folded.hash(hasher),
                None => return false,
            },
            (Value::Text(text), None) => text.hash(hasher),
            // Text that is not text.
            (Value::Bytes(_), Some(_)) => return false,
            (Value::Bytes(bytes), None) => {
                let end = self.prefix.unwrap_or(bytes.len()).min(bytes.len());
                bytes[..end].hash(hasher);
            }
            (Value::Int(value), _) => value.hash(hasher),
            (Value::Unsigned(value), _) => value.hash(hasher),
            // 0.0 and -0.0 are equal.
            (Value::Float(value), _) => (value + 0.0).to_bits().hash(hasher),
            (Value::Double(value), _) => (value + 0.0).to_bits().hash(hasher),
            (Value::Decimal(value), _) => value.hash(hasher),
            (Value::Date(value), _) => value.hash(hasher),
            (Value::Time(value) | Value::DateTime(value) | Value::Timestamp(value), _) => {
                value.hash(hasher);
            }
            (Value::Null | Value::Json { .. } | Value::Vector(_), _) => return false,
        }
        true
    }
}

/// Servers may compare names without regard to case.
pub fn name_token(database: &str, table: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (database.to_lowercase(), table.to_lowercase()).hash(&mut hasher);
    hasher.finish()
}

fn key_token(table: u64, columns: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    table.hash(&mut hasher);
    for column in columns {
        column.to_lowercase().hash(&mut hasher);
    }
    hasher.finish()
}
