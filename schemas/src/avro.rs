//! Avro's binary encoding: the primitives, written to a `Vec<u8>` and read back checked.
//!
//! ```text
//! long, int    zigzag ((n << 1) ^ (n >> 63)), 7 bits a byte, lowest first, high bit set on all bytes but the last
//! bytes        long length, then the bytes; string the same, in UTF-8
//! float        4 bytes little-endian; double 8
//! boolean      00 or 01
//! fixed(n)     n bytes
//! union        long: the branch; then its value
//! array        blocks: long count, items; a negative count is followed by the block's length in bytes; a count of 0 ends it
//! ```
//!
//! The writers can't fail. The [`Reader`] never panics, and never hands out or allocates by a length that it has not checked against
//! the bytes that are there.

/// What is wrong with bytes that should be Avro, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AvroError {
    #[error("the bytes end early, at byte {at}")]
    End { at: usize },
    #[error("a number is longer than 64 bits, at byte {at}")]
    LongNumber { at: usize },
    #[error("a number is out of range for its type, at byte {at}")]
    Range { at: usize },
    #[error("a length is negative or runs past the end, at byte {at}")]
    Length { at: usize },
    #[error("a string is not UTF-8, at byte {at}")]
    Utf8 { at: usize },
    #[error("a boolean is neither 0 nor 1, at byte {at}")]
    Boolean { at: usize },
    #[error("a union has no branch {branch}, at byte {at}")]
    Branch { at: usize, branch: i64 },
    #[error("{bytes} bytes are left over")]
    Trailing { bytes: usize },
}

/// The most bytes that a `long` takes.
pub const LONG_MAX: usize = 10;

#[inline]
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    if rest < 0x80 {
        out.push(rest as u8);
        return;
    }
    let mut buffer = [0; LONG_MAX];
    let mut length = 0;
    while rest >= 0x80 {
        buffer[length] = rest as u8 | 0x80;
        rest >>= 7;
        length += 1;
    }
    buffer[length] = rest as u8;
    out.extend_from_slice(&buffer[..=length]);
}

/// How many bytes [`put_long`] writes.
#[inline]
pub fn long_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros()).div_ceil(7) as usize
}

#[inline]
pub fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_long(out, value.len() as i64);
    out.extend_from_slice(value);
}

#[inline]
pub fn put_string(out: &mut Vec<u8>, value: &str) {
    put_bytes(out, value.as_bytes());
}

/// How many bytes [`put_bytes`] and [`put_string`] write for a value of `length` bytes.
#[inline]
pub fn bytes_len(length: usize) -> usize {
    long_len(length as i64) + length
}

#[inline]
pub fn put_float(out: &mut Vec<u8>, value: f32) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub fn put_double(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub fn put_boolean(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Takes Avro values off the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, AvroError> {
        let byte = *self
            .bytes
            .get(self.at)
            .ok_or(AvroError::End { at: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub fn long(&mut self) -> Result<i64, AvroError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(unzigzag(u64::from(first)));
        }
        self.longer(first)
    }

    fn longer(&mut self, first: u8) -> Result<i64, AvroError> {
        let at = self.at - 1;
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(AvroError::LongNumber { at });
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(unzigzag(value));
            }
        }
        Err(AvroError::LongNumber { at })
    }

    #[inline]
    pub fn int(&mut self) -> Result<i32, AvroError> {
        let at = self.at;
        i32::try_from(self.long()?).map_err(|_| AvroError::Range { at })
    }

    /// A `long` that must not be negative.
    #[inline]
    pub fn unsigned(&mut self) -> Result<u64, AvroError> {
        let at = self.at;
        u64::try_from(self.long()?).map_err(|_| AvroError::Range { at })
    }

    #[inline]
    pub fn boolean(&mut self) -> Result<bool, AvroError> {
        let at = self.at;
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(AvroError::Boolean { at }),
        }
    }

    #[inline]
    pub fn float(&mut self) -> Result<f32, AvroError> {
        Ok(f32::from_le_bytes(self.fixed()?))
    }

    #[inline]
    pub fn double(&mut self) -> Result<f64, AvroError> {
        Ok(f64::from_le_bytes(self.fixed()?))
    }

    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], AvroError> {
        let (value, _) = self.bytes[self.at..]
            .split_first_chunk::<N>()
            .ok_or(AvroError::End { at: self.at })?;
        self.at += N;
        Ok(*value)
    }

    /// The next `length` bytes as they are.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], AvroError> {
        let rest = &self.bytes[self.at..];
        let value = rest
            .get(..length)
            .ok_or(AvroError::Length { at: self.at })?;
        self.at += length;
        Ok(value)
    }

    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], AvroError> {
        let at = self.at;
        let length = usize::try_from(self.long()?).map_err(|_| AvroError::Length { at })?;
        self.take(length).map_err(|_| AvroError::Length { at })
    }

    #[inline]
    pub fn str(&mut self) -> Result<&'a str, AvroError> {
        let at = self.at;
        std::str::from_utf8(self.bytes()?).map_err(|_| AvroError::Utf8 { at })
    }

    /// A union of null and one other type: whether the other is there.
    #[inline]
    pub fn optional(&mut self) -> Result<bool, AvroError> {
        Ok(self.branch(2)? == 1)
    }

    /// The branch of a union (or the symbol of an enum) that has `count` of them.
    #[inline]
    pub fn branch(&mut self, count: u8) -> Result<u8, AvroError> {
        let at = self.at;
        let branch = self.long()?;
        match u8::try_from(branch) {
            Ok(small) if small < count => Ok(small),
            _ => Err(AvroError::Branch { at, branch }),
        }
    }

    /// Calls `item` for each item of an array.
    pub fn array<E: From<AvroError>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let before = self.at;
                item(self)?;
                // Items of no bytes could make a few bytes run for ever.
                if self.at == before {
                    return Err(AvroError::Length { at: before }.into());
                }
            }
        }
        Ok(())
    }

    /// The head of an array's next block: how many items follow; `None` at the array's end.
    pub fn block(&mut self) -> Result<Option<u64>, AvroError> {
        let at = self.at;
        match self.long()? {
            0 => Ok(None),
            count if count > 0 => Ok(Some(count as u64)),
            count => {
                let length = self.unsigned()?;
                if length > self.remaining() as u64 {
                    return Err(AvroError::Length { at });
                }
                Ok(Some(count.unsigned_abs()))
            }
        }
    }

    /// All bytes must have been read.
    pub fn finish(self) -> Result<(), AvroError> {
        match self.remaining() {
            0 => Ok(()),
            bytes => Err(AvroError::Trailing { bytes }),
        }
    }
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_as_the_specification_shows() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-2, &[0x03]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
        ] {
            let mut out = Vec::new();
            put_long(&mut out, value);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        let mut reader = Reader::new(&[0xff; 20]);
        assert_eq!(reader.long(), Err(AvroError::LongNumber { at: 0 }));
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]);
        assert_eq!(reader.long(), Err(AvroError::LongNumber { at: 0 }));
    }

    #[test]
    fn a_length_past_the_end_is_refused_before_anything_is_taken() {
        let mut bytes = Vec::new();
        put_long(&mut bytes, i64::MAX);
        assert_eq!(
            Reader::new(&bytes).bytes(),
            Err(AvroError::Length { at: 0 })
        );
        let mut bytes = Vec::new();
        put_long(&mut bytes, -5);
        assert_eq!(
            Reader::new(&bytes).bytes(),
            Err(AvroError::Length { at: 0 })
        );
    }

    proptest! {
        #[test]
        fn numbers_come_back_and_their_size_is_predicted(value in any::<i64>(), shift in 0..64u32) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_long(&mut out, value);
            prop_assert_eq!(out.len(), long_len(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.long(), Ok(value));
            prop_assert!(reader.finish().is_ok());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Reader::new(&bytes).long();
            let _ = Reader::new(&bytes).str();
            let _ = Reader::new(&bytes).fixed::<16>();
            let _ = Reader::new(&bytes).branch(3);
            let _ = Reader::new(&bytes).array::<AvroError>(|r| r.bytes().map(|_| ()));
        }
    }
}
