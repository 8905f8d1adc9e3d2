//! Joins the fragments of rows that are larger than a record: before images first, then after images.

use std::sync::Arc;

use binferry_schemas::record::{Change, Image, Operation};
use bytes::Bytes;

use crate::{
    change::RowImage,
    error::{ApplyError, Place},
};

#[derive(Debug, Default)]
pub(crate) struct Joiner {
    open: Option<Fragments>,
    /// Rows that are whole.
    taken: u64,
}

#[derive(Debug)]
struct Fragments {
    operation: Operation,
    table: u32,
    before: Option<Parts>,
    after: Option<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    present: Option<Bytes>,
    datum: Vec<u8>,
}

impl From<Parts> for RowImage {
    fn from(Parts { present, datum }: Parts) -> Self {
        let datum = datum.into();
        Self { datum, present }
    }
}

/// Before and after.
pub(crate) type Images = (Option<RowImage>, Option<RowImage>);

impl Joiner {
    /// The whole images, when the change completes a row.
    pub(crate) fn take(
        &mut self,
        block: &Bytes,
        change: &Change<'_>,
        place: &Arc<Place>,
    ) -> Result<Option<Images>, ApplyError> {
        if self.open.is_none() && !change.more {
            self.taken += 1;
            let image = |image: Image<'_>| RowImage {
                datum: block.slice_ref(image.datum),
                present: image.present.map(|bitmap| block.slice_ref(bitmap)),
            };
            return Ok(Some((change.before.map(image), change.after.map(image))));
        }
        let open = self.open.get_or_insert(Fragments {
            operation: change.operation,
            table: change.table,
            before: None,
            after: None,
        });
        if open.operation != change.operation || open.table != change.table {
            return Err(ApplyError::Malformed {
                place: Arc::clone(place),
                reason: "a row is followed by another before it is whole",
            });
        }
        for (whole, part) in [
            (&mut open.before, &change.before),
            (&mut open.after, &change.after),
        ] {
            if let Some(part) = part {
                let whole = whole.get_or_insert_default();
                whole.present = part.present.map(|bitmap| block.slice_ref(bitmap));
                whole.datum.extend_from_slice(part.datum);
            }
        }
        if change.more {
            return Ok(None);
        }
        self.taken += 1;
        Ok(self.open.take().map(|row| {
            (
                row.before.map(RowImage::from),
                row.after.map(RowImage::from),
            )
        }))
    }

    /// The number of the change that was taken last, in its transaction, from 0.
    pub(crate) fn index(&self) -> u64 {
        self.taken.saturating_sub(1)
    }

    pub(crate) fn finish(&self, place: &Arc<Place>) -> Result<(), ApplyError> {
        match self.open {
            None => Ok(()),
            Some(_) => Err(ApplyError::Malformed {
                place: Arc::clone(place),
                reason: "the transaction ends in the middle of a row",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use binferry_schemas::{
        gtid::{Gtid, Tag, Uuid},
        record::Offset,
    };

    use super::*;

    fn fragment<'a>(before: Option<&'a [u8]>, after: Option<&'a [u8]>, more: bool) -> Change<'a> {
        let image = |datum| Image {
            present: None,
            datum,
        };
        Change {
            table: 0,
            operation: Operation::Update,
            before: before.map(image),
            after: after.map(image),
            more,
        }
    }

    #[test]
    fn fragments_are_joined() {
        let place = Arc::new(Place {
            gtid: Some(Gtid {
                uuid: Uuid::nil(),
                tag: Tag::default(),
                gno: 1,
            }),
            offset: Offset(0),
        });
        let block = Bytes::from_static(b"abcdefgh");
        let mut joiner = Joiner::default();
        let parts = [
            fragment(Some(&block[0..2]), None, true),
            fragment(Some(&block[2..3]), Some(&block[3..5]), true),
        ];
        for part in &parts {
            assert!(joiner.take(&block, part, &place).unwrap().is_none());
        }
        assert!(joiner.finish(&place).is_err());
        let other = Change {
            table: 1,
            ..fragment(None, None, true)
        };
        assert!(joiner.take(&block, &other, &place).is_err());
        let end = fragment(None, Some(&block[5..8]), false);
        let whole = joiner.take(&block, &end, &place).unwrap().unwrap();
        let image = |datum: &'static [u8]| {
            Some(RowImage {
                datum: Bytes::from_static(datum),
                present: None,
            })
        };
        assert_eq!(whole, (image(b"abc"), image(b"defgh")));
        assert!(joiner.finish(&place).is_ok());
        let alone = fragment(None, Some(&block[..]), false);
        assert_eq!(
            joiner.take(&block, &alone, &place).unwrap().unwrap(),
            (None, image(b"abcdefgh"))
        );
    }
}
