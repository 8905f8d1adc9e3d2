//! Keys of rows, compared as the bytes that the log has of them: no hashes, no collations. Every version of a row that a transaction
//! changes is in its images, so two spellings of one key are both met.

use binferry_schemas::{
    datum::{self, Value, Values},
    fingerprint::Fingerprint,
    record::Image,
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

    /// Appends the key's datums, one behind the other; false for bytes that are no datum of the schema. What lies behind the key's columns is not looked at.
    pub fn put(&self, out: &mut Vec<u8>, datum: &[u8]) -> bool {
        self.try_put(out, datum).is_some()
    }

    fn try_put(&self, out: &mut Vec<u8>, datum: &[u8]) -> Option<()> {
        let mut values = Values::new(&self.schema, None, datum);
        let put = |out: &mut Vec<u8>, column: usize, value| {
            datum::put(out, &self.schema.columns[column].ty, &value).ok()
        };
        if self.columns.is_sorted() {
            let mut next = 0;
            for &column in &self.columns {
                for _ in next..column {
                    values.next()?.ok()??;
                }
                put(out, column, values.next()?.ok()??)?;
                next = column + 1;
            }
            return Some(());
        }
        let needed = self.columns.iter().max().map_or(0, |last| last + 1);
        let values: Option<Vec<_>> = values.take(needed).map(|value| value.ok()?).collect();
        let values = values?;
        for &column in &self.columns {
            put(out, column, *values.get(column)?)?;
        }
        Some(())
    }

    /// The keys of a change's images, which may lack columns: what an after image lacks is what the before image has. `None`: a key
    /// can't be told.
    pub fn of_images(&self, images: [Option<Image<'_>>; 2]) -> Option<[Option<Box<[u8]>>; 2]> {
        let mut keys = [None, None];
        let mut older: Vec<Option<Value<'_>>> = Vec::new();
        for (key, image) in keys.iter_mut().zip(images) {
            let Some(image) = image else { continue };
            let mut values = self.values(image.present, image.datum)?;
            for (value, older) in values.iter_mut().zip(older) {
                *value = value.or(older);
            }
            *key = Some(self.of_values(&values)?);
            older = values;
        }
        Some(keys)
    }

    /// The key's values, where the image has them; `None` for bytes that are no datum of the schema.
    fn values<'a>(
        &'a self,
        present: Option<&'a [u8]>,
        datum: &'a [u8],
    ) -> Option<Vec<Option<Value<'a>>>> {
        let mut values = vec![None; self.columns.len()];
        for (at, value) in Values::new(&self.schema, present, datum).enumerate() {
            let value = value.ok()?;
            if let Some(place) = self.columns.iter().position(|&column| column == at) {
                values[place] = value;
            }
        }
        Some(values)
    }

    fn of_values(&self, values: &[Option<Value<'_>>]) -> Option<Box<[u8]>> {
        let mut key = Vec::new();
        for (&column, value) in self.columns.iter().zip(values) {
            datum::put(&mut key, &self.schema.columns[column].ty, value.as_ref()?).ok()?;
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

#[cfg(test)]
mod tests {
    use binferry_schemas::{
        datum::Value,
        row::{Column, ColumnType, Width},
    };

    use super::*;

    #[test]
    fn the_key_comes_in_its_own_order() {
        let ty = ColumnType::Integer {
            width: Width::Int,
            unsigned: false,
        };
        let column = |name: &str| Column {
            name: name.into(),
            ty: ty.clone(),
            nullable: false,
            visible: true,
            key: None,
        };
        let schema = RowSchema {
            database: "d".into(),
            table: "t".into(),
            columns: ["a", "b", "c"].map(column).into(),
        };
        let datum_of = |values: &[i64]| {
            let mut out = Vec::new();
            for value in values {
                datum::put(&mut out, &ty, &Value::Int(*value)).unwrap();
            }
            out
        };
        let row = datum_of(&[10, 20, 30]);
        for (columns, key) in [
            (vec![1], &[20][..]),
            (vec![0, 2], &[10, 30]),
            (vec![2, 0], &[30, 10]),
        ] {
            let layout = KeyLayout::by(schema.clone(), Fingerprint(1), columns);
            let mut found = Vec::new();
            assert!(layout.put(&mut found, &row));
            assert_eq!(found, datum_of(key));
            assert!(!layout.put(&mut found, &row[..1]));
        }
    }
}
