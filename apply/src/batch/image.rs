//! A row image in a batch, and how one follows another.

use std::sync::Arc;

use binferry_schemas::datum::Value;

use crate::{
    change::{Row, RowChange, RowImage},
    error::{ApplyError, Place},
    net::{self, Contradiction},
    target::mapping::Mapping,
};

/// An image with the transaction that it is from.
#[derive(Debug, Clone)]
pub struct Image {
    pub row: RowImage,
    pub mapping: Arc<Mapping>,
    pub place: Arc<Place>,
}

impl Image {
    pub fn new(row: &RowImage, change: &RowChange) -> Self {
        Self {
            row: row.clone(),
            mapping: Arc::clone(&change.mapping),
            place: Arc::clone(&change.place),
        }
    }

    pub fn values(&self) -> Result<Row<'_>, ApplyError> {
        let values = self.mapping.values(&self.row);
        values.map_err(|source| ApplyError::Datum {
            place: Arc::clone(&self.place),
            source: Box::new(source),
        })
    }
}

impl net::Image for Image {
    fn followed(
        &self,
        first: Option<&mut Self>,
        before: Self,
        after: Option<Self>,
    ) -> Result<Option<Self>, Contradiction> {
        if !self.row.is_partial() && !before.row.is_partial() && self.row.datum == before.row.datum
        {
            return Ok(after);
        }
        let (now, old) = (
            self.values().map_err(unreadable)?,
            before.values().map_err(unreadable)?,
        );
        for pair in now.iter().zip(&old) {
            if let (Some(now), Some(old)) = pair
                && !is_same(now, old)
            {
                return Err(Contradiction::Differs);
            }
        }
        if let Some(first) = first
            && first.row.is_partial()
        {
            let known = first.values().map_err(unreadable)?;
            let known = (known.iter().zip(&now).zip(&old))
                .map(|((first, now), old)| first.or(old.filter(|_| now.is_none())));
            let row = self.mapping.image(&known.collect()).map_err(unreadable)?;
            first.row = row;
        }
        let Some(mut after) = after else {
            return Ok(None);
        };
        if after.row.is_partial() {
            let new = after.values().map_err(unreadable)?;
            let new = new.iter().zip(&now).map(|(new, now)| new.or(*now));
            after.row = self.mapping.image(&new.collect()).map_err(unreadable)?;
        }
        Ok(Some(after))
    }
}

fn unreadable<E>(_: E) -> Contradiction {
    Contradiction::Unreadable
}

/// Equal as the target compares: a document's binary form may hold the same members in another layout.
fn is_same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Json { text: a, .. }, Value::Json { text: b, .. }) => a == b,
        _ => a == b,
    }
}
