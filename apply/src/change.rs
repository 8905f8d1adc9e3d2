//! A row change on its way to the target.
//!
//! Images may lack columns (`binlog_row_image` of the source). What an update's after image lacks has not changed: it is taken over from the
//! before image when the change comes in, so from there on an after image lacks a column only when the before image does too. Absent
//! columns are neither assigned nor compared. An insert's image lacks what the statement left to a constant default: where that can only
//! be NULL, it is. A change that needs a column that its image lacks is refused by [`RowChange::new`].

use std::sync::Arc;

use binferry_schemas::{
    datum::{self, DatumError, Value, Values},
    record::{ForeignKeys, Image, Operation},
    row::{ColumnType, RowSchema},
};
use bytes::Bytes;

use crate::{
    error::{ApplyError, Place},
    target::mapping::Mapping,
};

/// A row's values, one for each column; `None`: the image lacks the column.
pub type Row<'a> = Vec<Option<Value<'a>>>;

/// The first of these columns that the row lacks.
fn absent(row: &Row<'_>, mut columns: impl Iterator<Item = usize>) -> Option<usize> {
    columns.find(|&at| row.get(at).is_none_or(Option::is_none))
}

/// Is NULL all that an insert may have left the column to, on a MySQL source? A column of these types takes no constant as its default,
/// and a default that is computed is in the image (manual, "Data Type Default Values"). MariaDB's take constants.
fn defaults_to_null(mapping: &Mapping, at: usize) -> bool {
    let column = &mapping.schema.columns[at];
    let constant = !matches!(
        column.ty,
        ColumnType::Text { .. }
            | ColumnType::Blob { .. }
            | ColumnType::Json
            | ColumnType::Geometry { .. }
    );
    column.nullable && !constant
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowImage {
    pub datum: Bytes,
    /// The bitmap of the columns that are there; `None`: all.
    pub present: Option<Bytes>,
}

#[derive(Debug, Clone)]
pub struct RowChange {
    pub mapping: Arc<Mapping>,
    pub operation: Operation,
    /// The row before; there for updates and deletes.
    pub before: Option<RowImage>,
    /// The row after; there for inserts and updates.
    pub after: Option<RowImage>,
    /// What the source's foreign keys had to do with it.
    pub foreign_keys: ForeignKeys,
    pub place: Arc<Place>,
    /// Its number in its transaction, from 0.
    pub index: u64,
}

impl RowChange {
    /// Errors: an image that lacks what the change can't do without.
    pub fn new(
        mapping: Arc<Mapping>,
        operation: Operation,
        before: Option<RowImage>,
        after: Option<RowImage>,
        foreign_keys: ForeignKeys,
        place: Arc<Place>,
    ) -> Result<Self, ApplyError> {
        let mut change = Self {
            mapping,
            operation,
            before,
            after,
            foreign_keys,
            place,
            index: 0,
        };
        let partial = |image: &Option<RowImage>| image.as_ref().is_some_and(RowImage::is_partial);
        if partial(&change.before) || partial(&change.after) {
            change.complete()?;
        }
        Ok(change)
    }

    /// A row that a copy brings. Without a key it can only be new.
    pub fn copied(
        mapping: &Arc<Mapping>,
        row: &RowImage,
        place: &Arc<Place>,
        index: u64,
    ) -> Result<Self, ApplyError> {
        let keyed = (mapping.copying.as_ref()).is_some_and(|copying| !copying.key.is_empty());
        let (operation, before) = match keyed {
            true => (Operation::Update, Some(row.clone())),
            false => (Operation::Insert, None),
        };
        let mut change = Self::new(
            Arc::clone(mapping),
            operation,
            before,
            Some(row.clone()),
            ForeignKeys::default(),
            Arc::clone(place),
        )?;
        change.index = index;
        Ok(change)
    }

    fn complete(&mut self) -> Result<(), ApplyError> {
        let mapping = Arc::clone(&self.mapping);
        let failed = |error| self.datum_error(error);
        let values = |image| mapping.values(image);
        let before = self.before.as_ref().map(values).transpose();
        let after = self.after.as_ref().map(values).transpose();
        let (before, after) = (before.map_err(failed)?, after.map_err(failed)?);
        let lacks = |column: usize, reason| ApplyError::PartialImage {
            place: Arc::clone(&self.place),
            table: mapping.name.clone(),
            column: mapping.schema.columns[column].name.clone(),
            reason,
        };
        let all = 0..mapping.columns.len();
        let mut merged = None;
        match (&before, &after) {
            (Some(before), after) => {
                let missing = match mapping.key.is_empty() {
                    true => absent(before, all),
                    false => absent(before, mapping.key.iter().copied()),
                };
                if let Some(column) = missing {
                    return Err(lacks(column, "so the row cannot be found on the target"));
                }
                if let Some(after) = after {
                    let row = after.iter().zip(before).map(|(new, old)| new.or(*old));
                    let image = mapping.image(&row.collect());
                    merged = Some(image.map_err(failed)?);
                }
            }
            (None, Some(after)) => {
                let mut row = after.clone();
                let mysql = self
                    .place
                    .gtid
                    .is_none_or(|gtid| gtid.as_mariadb().is_none());
                for column in all.filter(|at| mapping.columns[*at].assigned) {
                    if row[column].is_none() && mysql && defaults_to_null(&mapping, column) {
                        row[column] = Some(Value::Null);
                    }
                    // The source's default is not in the log, and the target's may be another.
                    if row[column].is_none() {
                        return Err(lacks(
                            column,
                            "which an insert has left to its default on the source",
                        ));
                    }
                }
                merged = Some(mapping.image(&row).map_err(failed)?);
            }
            (None, None) => {}
        }
        if let Some(merged) = merged {
            self.after = Some(merged);
        }
        Ok(())
    }

    /// Must the target's foreign keys neither check it nor cascade?
    ///
    /// Where cascades are in the log, a target's own would come on top: they would find rows that REPLACE puts back at once (the source
    /// lets their children alone), or change rows that the log's next change expects as they were. What a key cascaded may also share an
    /// event, and its flags, with what the statement itself changed. An INSERT is never cascaded, and cascades nothing, so its parent is
    /// still asked for.
    pub fn without_foreign_keys(&self) -> bool {
        let inserts = self.operation != Operation::Delete;
        if self.mapping.without_foreign_keys(inserts) {
            return true;
        }
        self.mapping.has_foreign_keys
            && match self.foreign_keys {
                ForeignKeys::Enforced => false,
                ForeignKeys::Logged => self.operation != Operation::Insert,
                ForeignKeys::Unchecked => true,
            }
    }

    pub fn datum_error(&self, source: DatumError) -> ApplyError {
        ApplyError::Datum {
            place: Arc::clone(&self.place),
            source: Box::new(source),
        }
    }
}

impl RowImage {
    pub fn is_partial(&self) -> bool {
        self.present.is_some()
    }

    /// As `tail` prints it.
    pub fn json(&self, schema: &RowSchema) -> Result<Vec<u8>, DatumError> {
        let mut out = Vec::with_capacity(self.datum.len() * 2);
        let image = Image {
            present: self.present.as_deref(),
            datum: &self.datum,
        };
        datum::json::put_image(&mut out, schema, image)?;
        Ok(out)
    }
}

impl Mapping {
    pub fn values<'a>(&'a self, image: &'a RowImage) -> Result<Row<'a>, DatumError> {
        let mut values = Vec::with_capacity(self.columns.len());
        for value in Values::new(&self.schema, image.present.as_deref(), &image.datum) {
            values.push(value?);
        }
        Ok(values)
    }

    /// The image of these values.
    pub fn image(&self, row: &Row<'_>) -> Result<RowImage, DatumError> {
        let mut datum = Vec::new();
        let mut present = vec![0_u8; row.len().div_ceil(8)];
        for (at, (column, value)) in self.schema.columns.iter().zip(row).enumerate() {
            match value {
                Some(value) => {
                    present[at / 8] |= 1 << (at % 8);
                    datum::put(&mut datum, &column.ty, value)?;
                }
                None => datum::put_null(&mut datum),
            }
        }
        let partial = row.iter().any(Option::is_none);
        Ok(RowImage {
            datum: datum.into(),
            present: partial.then(|| present.into()),
        })
    }

    /// The key of a row as bytes: equal for equal values, and only for those.
    pub fn key_bytes(&self, values: &[Option<Value<'_>>]) -> Result<Vec<u8>, DatumError> {
        let mut out = Vec::with_capacity(16);
        for at in &self.key {
            // `RowChange::new` lets no image pass that lacks a column of the key.
            let value = values[*at].unwrap_or(Value::Null);
            datum::put(&mut out, &self.schema.columns[*at].ty, &value)?;
        }
        Ok(out)
    }

    /// May the change from one image to the other touch a value of a unique key? A value that only the later image has may be new.
    pub fn moves(&self, before: &[Option<Value<'_>>], after: &[Option<Value<'_>>]) -> bool {
        if self.opaque_unique && before != after {
            return true;
        }
        self.unique
            .iter()
            .chain(&self.key)
            .any(|at| before[*at] != after[*at])
    }
}
