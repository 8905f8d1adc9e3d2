//! Joins the fragments of rows that are larger than a record: before images first, then after images.

use std::sync::Arc;

use binferry_schemas::record::{Change, Operation};
use bytes::Bytes;

use crate::error::{ApplyError, Place};

#[derive(Debug, Default)]
pub(crate) struct Joiner {
    open: Option<Fragments>,
}

#[derive(Debug)]
struct Fragments {
    operation: Operation,
    table: u32,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
}

/// Before and after.
pub(crate) type Images = (Option<Bytes>, Option<Bytes>);

impl Joiner {
    /// The whole images, when the change completes a row.
    pub(crate) fn take(
        &mut self,
        block: &Bytes,
        change: &Change<'_>,
        place: &Arc<Place>,
    ) -> Result<Option<Images>, ApplyError> {
        if self.open.is_none() && !change.more {
            let slice = |datum: &[u8]| block.slice_ref(datum);
            return Ok(Some((
                change.before.map(|image| slice(image.datum)),
                change.after.map(|image| slice(image.datum)),
            )));
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
                whole
                    .get_or_insert_with(Vec::new)
                    .extend_from_slice(part.datum);
            }
        }
        if change.more {
            return Ok(None);
        }
        Ok(self
            .open
            .take()
            .map(|row| (row.before.map(Bytes::from), row.after.map(Bytes::from))))
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
        record::{Image, Offset},
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
            gtid: Gtid {
                uuid: Uuid::nil(),
                tag: Tag::default(),
                gno: 1,
            },
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
        assert_eq!(
            whole,
            (
                Some(Bytes::from_static(b"abc")),
                Some(Bytes::from_static(b"defgh"))
            )
        );
        assert!(joiner.finish(&place).is_ok());
        let alone = fragment(None, Some(&block[..]), false);
        assert_eq!(
            joiner.take(&block, &alone, &place).unwrap().unwrap(),
            (None, Some(block.clone()))
        );
    }
}
