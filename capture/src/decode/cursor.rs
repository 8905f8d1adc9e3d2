//! Checked reads from the front of a slice.

/// What is wrong with the bytes: a phrase that completes "the event …". Never a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaw(pub(super) &'static str);

pub(super) const SHORT: Flaw = Flaw("ends early");

pub(super) type Read<T> = Result<T, Flaw>;

/// The unread rest of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Read<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn u24(&mut self) -> Read<u32> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Read<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn u48(&mut self) -> Read<u64> {
        self.little_endian(6)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// An unsigned number of at most 8 bytes.
    #[inline]
    pub(super) fn little_endian(&mut self, length: usize) -> Read<u64> {
        let taken = self.take(length)?;
        Ok(taken
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// An unsigned number of at most 8 bytes.
    #[inline]
    pub(super) fn big_endian(&mut self, length: usize) -> Read<u64> {
        let taken = self.take(length)?;
        Ok(taken
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A string behind its length of one byte.
    pub(super) fn short_bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// A "length-encoded integer" (manual of the protocol, "Integer Types").
    pub(super) fn length_encoded(&mut self) -> Read<u64> {
        match self.u8()? {
            small @ 0..=0xfa => Ok(u64::from(small)),
            0xfc => self.little_endian(2),
            0xfd => self.little_endian(3),
            0xfe => self.u64(),
            _ => Err(Flaw("holds a length that is none")),
        }
    }

    /// A length-encoded count of things that take at least one byte each, so that it can be trusted for an allocation.
    pub(super) fn count(&mut self) -> Read<usize> {
        let count = self.length_encoded()?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= self.rest.len())
            .ok_or(SHORT)
    }

    /// A string behind its length-encoded length.
    pub(super) fn length_encoded_bytes(&mut self) -> Read<&'a [u8]> {
        let length = usize::try_from(self.length_encoded()?).map_err(|_| SHORT)?;
        self.take(length)
    }

    /// Bytes up to a NUL, which is consumed.
    pub(super) fn until_nul(&mut self) -> Read<&'a [u8]> {
        let length = self
            .rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(Flaw("holds a name without an end"))?;
        let taken = self.take(length)?;
        self.take(1)?;
        Ok(taken)
    }

    /// A number of `mysql::serialization`: as many 1-bits at the low end of the first byte as bytes follow it, then a 0-bit, then the
    /// number, little-endian (the server's `libs/mysql/serialization/readme.md`).
    pub(super) fn varlen(&mut self) -> Read<u64> {
        let first = self.u8()?;
        let more = first.trailing_ones();
        if more == 8 {
            return self.u64();
        }
        let rest = self.little_endian(more as usize)?;
        let low = u64::from(first >> (more + 1).min(7)) & (0x7f >> more);
        Ok(rest << (7 - more) | low)
    }

    /// The signed form of [`Cursor::varlen`]: the sign in the lowest bit.
    pub(super) fn varlen_signed(&mut self) -> Read<i64> {
        let folded = self.varlen()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    pub(super) fn varlen_bytes(&mut self) -> Read<&'a [u8]> {
        let length = usize::try_from(self.varlen()?).map_err(|_| SHORT)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialization_numbers() {
        // One byte up to 7 bits, two up to 14, nine for 64.
        for (bytes, value) in [
            (&[0x02][..], 1),
            (&[0x72], 57),
            (&[0xf9, 0x02], 0xbe),
            (&[0xca], 0x65),
            (&[0x7f, 1, 0, 0, 0, 0, 0, 0], 1),
            (&[0xff, 1, 0, 0, 0, 0, 0, 0, 0x80], 0x8000_0000_0000_0001),
        ] {
            let mut cursor = Cursor::new(bytes);
            assert_eq!(cursor.varlen(), Ok(value), "{bytes:02x?}");
            assert!(cursor.is_empty());
        }
        assert_eq!(Cursor::new(&[0x04]).varlen_signed(), Ok(1));
        assert_eq!(Cursor::new(&[0x02]).varlen_signed(), Ok(-1));
        assert_eq!(Cursor::new(&[0x01]).varlen(), Err(SHORT));
    }

    #[test]
    fn reads_stop_at_the_end() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.u32(), Err(SHORT));
        assert_eq!(cursor.u24(), Ok(0x030201));
        assert_eq!(cursor.u8(), Err(SHORT));
        assert_eq!(
            Cursor::new(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255]).count(),
            Err(SHORT)
        );
        assert_eq!(
            Cursor::new(&[0xff]).length_encoded(),
            Err(Flaw("holds a length that is none"))
        );
    }
}
