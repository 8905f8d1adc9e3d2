//! Row changes, encoded one after the other.
//!
//! ```text
//! Change   int table | enum operation | union null/Image before | union null/Image after | boolean more
//! Image    union null/bytes present | bytes datum
//! ```

use super::RecordError;
use crate::avro::{self, Reader};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Update,
    Delete,
}

/// One change, or a fragment of one: while `more` is set, the images go on in the next change of the transaction (in the same chunk or
/// the next), and are to be joined: before images first, then after images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change<'a> {
    /// Index into the chunk's `tables`.
    pub table: u32,
    pub operation: Operation,
    pub before: Option<Image<'a>>,
    pub after: Option<Image<'a>>,
    pub more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Image<'a> {
    /// Bitmap, least significant bit first, of the columns that are there; `None`: all of them. Absent is not NULL.
    pub present: Option<&'a [u8]>,
    pub datum: &'a [u8],
}

/// The changes of one chunk, encoded; iterated lazily.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Changes<'a> {
    pub count: u64,
    pub encoded: &'a [u8],
}

/// Collects a chunk's changes in encoded form.
#[derive(Debug, Default)]
pub struct ChangesBuffer {
    pub count: u64,
    pub encoded: Vec<u8>,
}

impl Operation {
    const ALL: [Self; 3] = [Self::Insert, Self::Update, Self::Delete];

    /// Its name in what people read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl ChangesBuffer {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a change.
    #[inline]
    pub fn push(&mut self, change: &Change<'_>) {
        let out = &mut self.encoded;
        out.reserve(change.size());
        avro::put_long(out, i64::from(change.table));
        avro::put_long(out, change.operation as i64);
        put_image(out, change.before.as_ref());
        put_image(out, change.after.as_ref());
        avro::put_boolean(out, change.more);
        self.count += 1;
    }

    /// Appends a change whose images are complete, written in place: `write` is called for each image that the operation has, the
    /// before image first, and appends its datum. When it fails, nothing is appended.
    #[inline]
    pub fn push_with<E>(
        &mut self,
        table: u32,
        operation: Operation,
        mut write: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let out = &mut self.encoded;
        let mark = out.len();
        avro::put_long(out, i64::from(table));
        avro::put_long(out, operation as i64);
        for present in [
            operation != Operation::Insert,
            operation != Operation::Delete,
        ] {
            if !present {
                out.push(0);
            } else if let Err(error) = put_image_with(out, &mut write) {
                out.truncate(mark);
                return Err(error);
            }
        }
        avro::put_boolean(out, false);
        self.count += 1;
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.encoded.len()
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets the changes, keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.encoded.clear();
    }

    pub fn as_changes(&self) -> Changes<'_> {
        Changes {
            count: self.count,
            encoded: &self.encoded,
        }
    }
}

impl Change<'_> {
    /// Most bytes that the change takes when encoded.
    #[inline]
    pub fn size(&self) -> usize {
        let image = |image: &Option<Image<'_>>| image.map_or(0, |image| image.size());
        5 + 1 + 1 + image(&self.before) + 1 + image(&self.after) + 1
    }
}

impl Image<'_> {
    #[inline]
    fn size(&self) -> usize {
        1 + self
            .present
            .map_or(0, |bitmap| avro::bytes_len(bitmap.len()))
            + avro::bytes_len(self.datum.len())
    }
}

#[inline]
fn put_image(out: &mut Vec<u8>, image: Option<&Image<'_>>) {
    let Some(image) = image else {
        out.push(0);
        return;
    };
    out.push(2);
    match image.present {
        None => out.push(0),
        Some(bitmap) => {
            out.push(2);
            avro::put_bytes(out, bitmap);
        }
    }
    avro::put_bytes(out, image.datum);
}

/// As [`put_image`], with the datum's length filled in behind it: most rows have from 64 to 8191 bytes, whose length takes two.
#[inline]
fn put_image_with<E>(
    out: &mut Vec<u8>,
    write: &mut impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    const USUAL: usize = 2;
    out.extend_from_slice(&[2, 0]);
    let place = out.len();
    out.extend_from_slice(&[0; USUAL]);
    let start = out.len();
    write(out)?;
    let length = out.len() - start;
    let zigzag = length << 1;
    if avro::long_len(length as i64) == USUAL {
        out[place] = zigzag as u8 | 0x80;
        out[place + 1] = (zigzag >> 7) as u8;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(avro::LONG_MAX);
    avro::put_long(&mut prefix, length as i64);
    out.splice(place..start, prefix);
    Ok(())
}

impl<'a> Changes<'a> {
    /// The changes in order. After an error there is nothing more.
    pub fn iter(&self) -> ChangesIter<'a> {
        ChangesIter {
            left: self.count,
            input: Reader::new(self.encoded),
        }
    }
}

impl<'a> IntoIterator for &Changes<'a> {
    type Item = Result<Change<'a>, RecordError>;
    type IntoIter = ChangesIter<'a>;

    fn into_iter(self) -> ChangesIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Changes`].
#[derive(Debug, Clone)]
pub struct ChangesIter<'a> {
    left: u64,
    input: Reader<'a>,
}

impl<'a> Iterator for ChangesIter<'a> {
    type Item = Result<Change<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            // Left-over bytes are reported once, as the last item.
            let rest = std::mem::replace(&mut self.input, Reader::new(&[]));
            return rest.finish().err().map(|error| Err(error.into()));
        }
        self.left -= 1;
        let change = take_change(&mut self.input);
        if change.is_err() {
            self.left = 0;
            self.input = Reader::new(&[]);
        }
        Some(change)
    }
}

impl std::iter::FusedIterator for ChangesIter<'_> {}

fn take_change<'a>(input: &mut Reader<'a>) -> Result<Change<'a>, RecordError> {
    let at = input.at();
    let table = u32::try_from(input.int()?).map_err(|_| avro::AvroError::Range { at })?;
    let operation = Operation::ALL[usize::from(input.branch(Operation::ALL.len() as u8)?)];
    Ok(Change {
        table,
        operation,
        before: take_image(input)?,
        after: take_image(input)?,
        more: input.boolean()?,
    })
}

fn take_image<'a>(input: &mut Reader<'a>) -> Result<Option<Image<'a>>, RecordError> {
    if !input.optional()? {
        return Ok(None);
    }
    let present = if input.optional()? {
        Some(input.bytes()?)
    } else {
        None
    };
    Ok(Some(Image {
        present,
        datum: input.bytes()?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_place_is_the_same() {
        for length in [0, 1, 63, 64, 8191, 8192, 100_000] {
            for operation in Operation::ALL {
                let datum = vec![7; length];
                let image = Some(Image {
                    present: None,
                    datum: &datum,
                });
                let mut whole = ChangesBuffer::new();
                whole.push(&Change {
                    table: 3,
                    operation,
                    before: image.filter(|_| operation != Operation::Insert),
                    after: image.filter(|_| operation != Operation::Delete),
                    more: false,
                });
                let mut placed = ChangesBuffer::new();
                placed
                    .push_with(3, operation, |out| {
                        out.extend_from_slice(&datum);
                        Ok::<_, ()>(())
                    })
                    .unwrap();
                assert_eq!(whole.encoded, placed.encoded);
                let mark = placed.len();
                assert!(placed.push_with(3, operation, |_| Err(())).is_err());
                assert_eq!((placed.len(), placed.count), (mark, 1));
            }
        }
    }
}
