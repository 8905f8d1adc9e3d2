//! DECIMAL's packed form to the unscaled number.
//!
//! ```text
//! digits before the point | digits after it
//! before: the digits that don't fill a group of 9 first; after: last. A full group is 4 bytes, big-endian; 1-2 digits are 1 byte,
//! 3-4 are 2, 5-6 are 3, 7-9 are 4. The first bit is inverted: 1 for a number that isn't negative. All bits of a negative one are inverted.
//! ```
//!
//! (`strings/decimal.cc`.)

use binferry_schemas::datum;

use super::cursor::{Cursor, Flaw, Read};

const GROUP_BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
const POWERS: [u32; 10] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];
/// 65 digits: 8 groups, two of them not full.
const BYTES_MAX: usize = 32;

/// Where the groups of a DECIMAL(precision, scale) are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    bytes: u8,
    precision: u8,
    /// Digits of the group before the full ones, and full groups before the point.
    first_digits: u8,
    whole_groups: u8,
    /// The same after it.
    fraction_groups: u8,
    last_digits: u8,
}

impl Layout {
    pub(super) fn new(precision: u8, scale: u8) -> Self {
        let whole = precision.saturating_sub(scale);
        let (first_digits, whole_groups) = (whole % 9, whole / 9);
        let (last_digits, fraction_groups) = (scale % 9, scale / 9);
        Self {
            bytes: GROUP_BYTES[usize::from(first_digits)]
                + GROUP_BYTES[usize::from(last_digits)]
                + 4 * (whole_groups + fraction_groups),
            precision,
            first_digits,
            whole_groups,
            fraction_groups,
            last_digits,
        }
    }

    pub(super) fn bytes(self) -> usize {
        usize::from(self.bytes)
    }

    /// The groups in order: value, digits.
    #[inline]
    fn groups(self, packed: &[u8], mut each: impl FnMut(u32, u8)) -> Read<()> {
        let mut copy = [0; BYTES_MAX];
        let copy = copy
            .get_mut(..packed.len())
            .ok_or(Flaw("is a decimal that is too long"))?;
        let flip = match packed.first() {
            Some(first) if first & 0x80 != 0 => 0,
            _ => 0xff,
        };
        for (to, from) in copy.iter_mut().zip(packed) {
            *to = from ^ flip;
        }
        if let Some(first) = copy.first_mut() {
            *first ^= 0x80;
        }
        let mut cursor = Cursor::new(copy);
        let mut group = |digits: u8| {
            let value = cursor.big_endian(usize::from(GROUP_BYTES[usize::from(digits)]))? as u32;
            if value >= POWERS[usize::from(digits)] {
                return Err(Flaw("is a decimal with a digit that is none"));
            }
            each(value, digits);
            Ok(())
        };
        if self.first_digits > 0 {
            group(self.first_digits)?;
        }
        for _ in 0..self.whole_groups + self.fraction_groups {
            group(9)?;
        }
        if self.last_digits > 0 {
            group(self.last_digits)?;
        }
        Ok(())
    }

    /// Appends the column's union: the unscaled number in as few bytes as hold it.
    #[inline]
    pub(super) fn put(self, out: &mut Vec<u8>, packed: &[u8]) -> Read<()> {
        let negative = packed.first().is_some_and(|first| first & 0x80 == 0);
        if self.precision <= 38 {
            let mut unscaled = 0_i128;
            self.groups(packed, |value, digits| {
                unscaled = unscaled * i128::from(POWERS[usize::from(digits)]) + i128::from(value);
            })?;
            if negative {
                unscaled = -unscaled;
            }
            datum::put_decimal(out, shortest(&unscaled.to_be_bytes()));
            return Ok(());
        }
        // Little-endian limbs of 32 bits: 256 bits hold 77 digits.
        let mut limbs = [0_u32; 8];
        self.groups(packed, |value, digits| {
            let mut carry = u64::from(value);
            for limb in &mut limbs {
                carry += u64::from(*limb) * u64::from(POWERS[usize::from(digits)]);
                *limb = carry as u32;
                carry >>= 32;
            }
        })?;
        if negative {
            let mut carry = true;
            for limb in &mut limbs {
                (*limb, carry) = (!*limb).overflowing_add(u32::from(carry));
            }
        }
        let mut bytes = [0; 32];
        for (to, limb) in bytes
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(limbs.iter().rev())
        {
            *to = limb.to_be_bytes();
        }
        datum::put_decimal(out, shortest(&bytes));
        Ok(())
    }

    /// Appends the number as the server prints it inside a JSON document: all digits of the scale, no zeros in front.
    pub(super) fn print(self, out: &mut Vec<u8>, packed: &[u8]) -> Read<()> {
        let mut digits = [b'0'; 72];
        let mut end = 0;
        self.groups(packed, |value, count| {
            let mut rest = value;
            for place in (end..end + usize::from(count)).rev() {
                // At most 65 digits.
                if let Some(digit) = digits.get_mut(place) {
                    *digit = b'0' + (rest % 10) as u8;
                }
                rest /= 10;
            }
            end += usize::from(count);
        })?;
        let digits = digits
            .get(..end)
            .ok_or(Flaw("is a decimal that is too long"))?;
        let scale = usize::from(self.fraction_groups) * 9 + usize::from(self.last_digits);
        let (whole, fraction) = digits
            .split_at_checked(end - scale.min(end))
            .ok_or(Flaw("is a decimal that is too long"))?;
        if packed.first().is_some_and(|first| first & 0x80 == 0) {
            out.push(b'-');
        }
        let zeros = whole.iter().take_while(|&&digit| digit == b'0').count();
        if zeros == whole.len() {
            out.push(b'0');
        } else {
            out.extend_from_slice(&whole[zeros..]);
        }
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
        Ok(())
    }
}

/// Appends a number in its packed form, of its digits in ASCII: at most 9 of them are a group's.
pub(super) fn pack(out: &mut Vec<u8>, negative: bool, whole: &[u8], fraction: &[u8]) {
    let start = out.len();
    let mut group = |digits: &[u8]| {
        let digit = |&digit: &u8| u32::from(digit.wrapping_sub(b'0') % 10);
        let value = digits.iter().map(digit).fold(0, |value, d| value * 10 + d);
        let bytes = GROUP_BYTES.get(digits.len()).copied().unwrap_or(4);
        out.extend_from_slice(&u32::to_be_bytes(value)[4 - usize::from(bytes)..]);
    };
    let (first, full) = whole.split_at(whole.len() % 9);
    group(first);
    full.chunks(9).for_each(&mut group);
    fraction.chunks(9).for_each(&mut group);
    if let Some(first) = out.get_mut(start) {
        *first ^= 0x80;
    }
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Without the leading bytes that only repeat the sign; at least one byte is left.
#[inline]
fn shortest(bytes: &[u8]) -> &[u8] {
    let sign = bytes.first().map_or(0, |&first| (first as i8 >> 7) as u8);
    let repeated = bytes.iter().take_while(|&&byte| byte == sign).count();
    // The first byte that stays must show the sign by itself.
    let start = match bytes.get(repeated) {
        Some(&byte) if (byte ^ sign) & 0x80 == 0 => repeated,
        _ => repeated.saturating_sub(1),
    };
    &bytes[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unscaled(precision: u8, scale: u8, packed: &[u8]) -> Vec<u8> {
        let layout = Layout::new(precision, scale);
        assert_eq!(layout.bytes(), packed.len());
        let mut out = Vec::new();
        layout.put(&mut out, packed).unwrap();
        out[2..].to_vec()
    }

    fn printed(precision: u8, scale: u8, packed: &[u8]) -> String {
        let mut out = Vec::new();
        Layout::new(precision, scale)
            .print(&mut out, packed)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn manual_example() {
        // 1234567890.1234 and its negative, DECIMAL(14,4): the example in the server's source.
        let positive = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        let negative = [0x7e, 0xf2, 0x04, 0xc7, 0x2d, 0xfb, 0x2d];
        let number = 12_345_678_901_234_i64;
        assert_eq!(unscaled(14, 4, &positive), shortest(&number.to_be_bytes()));
        assert_eq!(
            unscaled(14, 4, &negative),
            shortest(&(-number).to_be_bytes())
        );
        assert_eq!(printed(14, 4, &positive), "1234567890.1234");
        assert_eq!(printed(14, 4, &negative), "-1234567890.1234");
        assert_eq!(printed(5, 2, &[0x80, 0, 5]), "0.05");
    }

    #[test]
    fn shortest_keeps_the_sign() {
        assert_eq!(shortest(&[0, 0, 0]), [0]);
        assert_eq!(shortest(&[255, 255]), [255]);
        assert_eq!(shortest(&[0, 0x80]), [0, 0x80]);
        assert_eq!(shortest(&[255, 0x7f]), [255, 0x7f]);
        assert_eq!(shortest(&[255, 0x80]), [0x80]);
        assert_eq!(shortest(&[0, 0x7f]), [0x7f]);
    }

    #[test]
    fn wide_numbers_take_the_long_way() {
        // 65 nines.
        let mut packed = vec![0x80 | 99];
        packed.extend([0x3b, 0x9a, 0xc9, 0xff].repeat(7));
        let value = unscaled(65, 0, &packed);
        // 10^65 - 1 in 27 bytes and a bit.
        assert_eq!(value.len(), 28);
        assert_eq!(value[27], 0xff);
        let inverted: Vec<_> = packed.iter().map(|byte| !byte).collect();
        let negative = unscaled(65, 0, &inverted);
        assert_eq!(negative.len(), 28);
        // The sum of a number and its negative is 0.
        let mut carry = 0_u16;
        for (a, b) in value.iter().zip(&negative).rev() {
            let sum = u16::from(*a) + u16::from(*b) + carry;
            assert_eq!(sum & 0xff, 0);
            carry = sum >> 8;
        }
        assert_eq!(printed(65, 0, &inverted), format!("-{}", "9".repeat(65)));
    }

    #[test]
    fn packed_and_printed_again() {
        let digits = "123456789012345678901234567890";
        for (whole, fraction) in (1..30).flat_map(|w| (0..30).map(move |f| (w, f))) {
            for negative in [false, true] {
                let (whole, fraction) = (&digits[..whole], &digits[..fraction]);
                let mut packed = Vec::new();
                pack(&mut packed, negative, whole.as_bytes(), fraction.as_bytes());
                let sign = if negative { "-" } else { "" };
                let point = if fraction.is_empty() { "" } else { "." };
                let layout =
                    Layout::new((whole.len() + fraction.len()) as u8, fraction.len() as u8);
                assert_eq!(layout.bytes(), packed.len());
                let mut text = Vec::new();
                layout.print(&mut text, &packed).unwrap();
                let text = String::from_utf8(text).unwrap();
                assert_eq!(text, format!("{sign}{whole}{point}{fraction}"));
            }
        }
    }

    #[test]
    fn impossible_digits_are_an_error() {
        let layout = Layout::new(9, 0);
        assert!(layout.put(&mut Vec::new(), &[0xff; 4]).is_err());
        assert!(layout.put(&mut Vec::new(), &[0x80; 3]).is_err());
    }
}
