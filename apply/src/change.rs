//! A row change on its way to the target.

use std::sync::Arc;

use binferry_schemas::{
    datum::{self, DatumError, Value, Values},
    record::Operation,
};
use bytes::Bytes;

use crate::{
    error::{ApplyError, Place},
    target::mapping::Mapping,
};

#[derive(Debug, Clone)]
pub struct RowChange {
    pub mapping: Arc<Mapping>,
    pub operation: Operation,
    /// Datum of the row before; there for updates and deletes.
    pub before: Option<Bytes>,
    /// Datum of the row after; there for inserts and updates.
    pub after: Option<Bytes>,
    pub place: Arc<Place>,
}

impl RowChange {
    pub fn datum_error(&self, source: DatumError) -> ApplyError {
        ApplyError::Datum {
            place: Arc::clone(&self.place),
            source: Box::new(source),
        }
    }
}

impl Mapping {
    /// A full image's values, one for each column.
    pub fn values<'a>(&'a self, image: &'a [u8]) -> Result<Vec<Value<'a>>, DatumError> {
        let mut values = Vec::with_capacity(self.columns.len());
        for value in Values::new(&self.schema, None, image) {
            // With all columns present there is no `None`.
            values.push(value?.unwrap_or(Value::Null));
        }
        Ok(values)
    }

    /// The key of a row as bytes: equal for equal values, and only for those.
    pub fn key_bytes(&self, values: &[Value<'_>]) -> Result<Vec<u8>, DatumError> {
        let mut out = Vec::with_capacity(16);
        for at in &self.key {
            datum::put(&mut out, &self.schema.columns[*at].ty, &values[*at])?;
        }
        Ok(out)
    }

    /// Does the change from one image to the other touch a value of a unique key?
    pub fn moves(&self, before: &[Value<'_>], after: &[Value<'_>]) -> bool {
        if self.opaque_unique && before != after {
            return true;
        }
        self.unique
            .iter()
            .chain(&self.key)
            .any(|at| before[*at] != after[*at])
    }
}
