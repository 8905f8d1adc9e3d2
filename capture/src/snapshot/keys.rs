//! Keys of rows, compared as the bytes that the log has of them: no hashes, no collations. Every version of a row that a transaction
//! changes is in its images, so two spellings of one key are both met.

use binferry_schemas::{
    datum::{self, Values},
    fingerprint::Fingerprint,
    row::RowSchema,
};

use super::definition::Definition;

/// How to find the key in a datum of one row schema.
#[derive(Debug)]
pub struct KeyLayout {
    pub schema: RowSchema,
    pub fingerprint: Fingerprint,
    /// Places in the schema, in the key's order.
    columns: Vec<usize>,
    /// Of the key's datums by themselves.
    key: RowSchema,
}

impl KeyLayout {
    pub(super) fn new(definition: &Definition) -> Self {
        let columns = definition.key.columns.clone();
        Self::by(definition.schema.clone(), definition.fingerprint, columns)
    }

    /// `columns`: places in the schema, in the key's order.
    pub(super) fn by(schema: RowSchema, fingerprint: Fingerprint, columns: Vec<usize>) -> Self {
        Self {
            key: key_schema(&schema, &columns),
            fingerprint,
            schema,
            columns,
        }
    }

    pub fn key_schema(&self) -> &RowSchema {
        &self.key
    }

    /// Without columns there is no key.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The key's datums, one behind the other; `None` for bytes that are no datum of the schema.
    pub fn of(&self, datum: &[u8]) -> Option<Box<[u8]>> {
        let mut values = vec![None; self.columns.len()];
        for (at, value) in Values::new(&self.schema, None, datum).enumerate() {
            let value = value.ok()??;
            if let Some(place) = self.columns.iter().position(|&column| column == at) {
                values[place] = Some(value);
            }
        }
        let mut key = Vec::new();
        for (&column, value) in self.columns.iter().zip(values) {
            datum::put(&mut key, &self.schema.columns[column].ty, &value?).ok()?;
        }
        Some(key.into())
    }
}

fn key_schema(schema: &RowSchema, columns: &[usize]) -> RowSchema {
    RowSchema {
        database: schema.database.clone(),
        table: schema.table.clone(),
        columns: columns
            .iter()
            .map(|&at| schema.columns[at].clone())
            .collect(),
    }
}
