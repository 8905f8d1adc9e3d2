//! Values as MySQL prints them, and decimals from their digits.
//!
//! Each type here is a value with a `Display`. Dates are those of the proleptic Gregorian calendar, as in MySQL; years outside 0 to 9999,
//! which MySQL does not have, are printed with the digits or the sign that they need.

use std::fmt;

use super::{DECIMAL_MAX, values::ValueError};

const MICROS_A_SECOND: i64 = 1_000_000;
const MICROS_A_DAY: i64 = 86_400 * MICROS_A_SECOND;

/// `YYYY-MM-DD`, from days since 1970-01-01.
#[derive(Debug, Clone, Copy)]
pub struct Date(pub i32);

/// `[-]HHH:MM:SS[.ffffff]`, from microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    pub micros: i64,
    /// Digits after the point.
    pub fsp: u8,
}

/// `YYYY-MM-DD HH:MM:SS[.ffffff]`, from microseconds since 1970-01-01 00:00:00; a TIMESTAMP in UTC.
#[derive(Debug, Clone, Copy)]
pub struct DateTime {
    pub micros: i64,
    /// Digits after the point.
    pub fsp: u8,
}

/// A DECIMAL with all digits of its scale.
#[derive(Debug, Clone, Copy)]
pub struct Decimal<'a> {
    unscaled: &'a [u8],
    scale: u8,
}

impl<'a> Decimal<'a> {
    /// `unscaled`: big-endian two's complement, 1 to [`DECIMAL_MAX`] bytes, as [`Values`](super::Values) gives it.
    pub fn new(unscaled: &'a [u8], scale: u8) -> Result<Self, ValueError> {
        if (1..=DECIMAL_MAX).contains(&unscaled.len()) {
            Ok(Self { unscaled, scale })
        } else {
            let bytes = unscaled.len();
            Err(ValueError::Decimal { bytes })
        }
    }
}

/// Year, month, day of a day since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, u8, u8) {
    // Counted in cycles of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let days = days + 719_468;
    let cycle = days.div_euclid(146_097);
    let day_of_cycle = days.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

/// Days since 1970-01-01; `None` when there is no such day.
pub fn days_from_civil(year: i32, month: u8, day: u8) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u8::from(leap),
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    let year = i64::from(year) - i64::from(month <= 2);
    let cycle = year.div_euclid(400);
    let year_of_cycle = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    i32::try_from(cycle * 146_097 + day_of_cycle - 719_468).ok()
}

fn put_date(f: &mut fmt::Formatter<'_>, days: i64) -> fmt::Result {
    let (year, month, day) = civil_from_days(days);
    write!(f, "{year:04}-{month:02}-{day:02}")
}

/// `micros` below a second, cut to `fsp` digits: MySQL has no more in a column of that precision.
fn put_fraction(f: &mut fmt::Formatter<'_>, micros: u64, fsp: u8) -> fmt::Result {
    let digits = usize::from(fsp.min(6));
    if digits == 0 {
        return Ok(());
    }
    let value = micros / 10_u64.pow(6 - digits as u32);
    write!(f, ".{value:0digits$}")
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_date(f, i64::from(self.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros.unsigned_abs();
        let seconds = micros / MICROS_A_SECOND as u64;
        let sign = if self.micros < 0 { "-" } else { "" };
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{sign}{hours:02}:{minutes:02}:{seconds:02}")?;
        put_fraction(f, micros % MICROS_A_SECOND as u64, self.fsp)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_date(f, self.micros.div_euclid(MICROS_A_DAY))?;
        let micros = self.micros.rem_euclid(MICROS_A_DAY);
        let seconds = micros / MICROS_A_SECOND;
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, " {hours:02}:{minutes:02}:{seconds:02}")?;
        put_fraction(f, (micros % MICROS_A_SECOND) as u64, self.fsp)
    }
}

const LIMBS: usize = DECIMAL_MAX / 4;
/// 2^256 has 78 digits; a scale may ask for as many zeros as a `u8` counts.
const DIGITS: usize = 81;

impl fmt::Display for Decimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let negative = self.unscaled.first().is_some_and(|byte| byte & 0x80 != 0);
        let mut magnitude = magnitude(self.unscaled, negative);
        let mut digits = [0; DIGITS];
        let mut at = DIGITS;
        while magnitude.iter().any(|limb| *limb != 0) {
            let mut nine = divide(&mut magnitude, 1_000_000_000);
            for _ in 0..9 {
                at -= 1;
                digits[at] = b'0' + (nine % 10) as u8;
                nine /= 10;
            }
        }
        while at < DIGITS && digits[at] == b'0' {
            at += 1;
        }
        // Only ASCII digits were put in.
        let digits = std::str::from_utf8(&digits[at..]).map_err(|_| fmt::Error)?;
        if negative {
            f.write_str("-")?;
        }
        let scale = usize::from(self.scale);
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
        f.write_str(if whole.is_empty() { "0" } else { whole })?;
        if scale > 0 {
            write!(f, ".{fraction:0>scale$}")?;
        }
        Ok(())
    }
}

/// Little-endian limbs of the absolute value.
fn magnitude(unscaled: &[u8], negative: bool) -> [u32; LIMBS] {
    let mut wide = [if negative { 0xff } else { 0 }; DECIMAL_MAX];
    wide[DECIMAL_MAX - unscaled.len()..].copy_from_slice(unscaled);
    if negative {
        negate(&mut wide);
    }
    let mut limbs = [0; LIMBS];
    for (limb, bytes) in limbs.iter_mut().zip(wide.rchunks_exact(4)) {
        *limb = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    }
    limbs
}

/// Two's complement, big-endian.
fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
}

/// Divides in place, returns the remainder.
fn divide(limbs: &mut [u32], by: u32) -> u32 {
    let mut remainder = 0;
    for limb in limbs.iter_mut().rev() {
        let value = u64::from(remainder) << 32 | u64::from(*limb);
        *limb = (value / u64::from(by)) as u32;
        remainder = (value % u64::from(by)) as u32;
    }
    remainder
}

/// A decimal's text (`-12.50`) as the unscaled value, big-endian two's complement of the fewest bytes, for a column of `scale`; missing
/// fraction digits count as 0. `None` when the text is not a decimal, has more fraction digits, or more digits in all than MySQL's 65.
pub fn parse_decimal(text: &str, scale: u8) -> Option<Vec<u8>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let missing = usize::from(scale).checked_sub(fraction.len())?;
    if whole.is_empty() && fraction.is_empty() || whole.len() + usize::from(scale) > 66 {
        return None;
    }
    let mut wide = [0; DECIMAL_MAX];
    let zeros = std::iter::repeat_n(b'0', missing);
    for digit in whole.bytes().chain(fraction.bytes()).chain(zeros) {
        let mut carry = u16::from(digit.is_ascii_digit().then_some(digit)? - b'0');
        for byte in wide.iter_mut().rev() {
            let value = u16::from(*byte) * 10 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
    }
    if negative {
        negate(&mut wide);
    }
    Some(shortest(&wide).to_vec())
}

/// The fewest bytes of a big-endian two's complement that keep its value; at least one.
pub fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let padding = if second & 0x80 == 0 { 0 } else { 0xff };
        if *first != padding {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_and_times_print_as_in_mysql() {
        assert_eq!(Date(0).to_string(), "1970-01-01");
        assert_eq!(Date(-719_528).to_string(), "0000-01-01");
        assert_eq!(Date(2_932_896).to_string(), "9999-12-31");
        assert_eq!(
            Time {
                micros: -3_020_399_000_000,
                fsp: 0
            }
            .to_string(),
            "-838:59:59"
        );
        assert_eq!(
            Time {
                micros: -500_000,
                fsp: 1
            }
            .to_string(),
            "-00:00:00.5"
        );
        assert_eq!(
            DateTime { micros: -1, fsp: 6 }.to_string(),
            "1969-12-31 23:59:59.999999"
        );
        assert_eq!(
            DateTime {
                micros: 951_782_400_120_000,
                fsp: 2
            }
            .to_string(),
            "2000-02-29 00:00:00.12"
        );
    }

    #[test]
    fn decimals_print_every_digit_of_their_scale() {
        for (text, scale) in [
            ("0", 0),
            ("0.00", 2),
            ("-0.01", 2),
            ("123.45", 2),
            ("-128", 0),
            ("128", 0),
            (
                "99999999999999999999999999999999999999999999999999999999999999999",
                0,
            ),
            (
                "-99999999999999999999999999999999999.999999999999999999999999999999",
                30,
            ),
            ("0.999999999999999999999999999999", 30),
        ] {
            let unscaled = parse_decimal(text, scale).unwrap();
            let decimal = Decimal::new(&unscaled, scale).unwrap();
            assert_eq!(decimal.to_string(), text);
        }
        assert_eq!(parse_decimal("-128", 0), Some(vec![0x80]));
        assert_eq!(parse_decimal("128", 0), Some(vec![0, 0x80]));
        assert_eq!(parse_decimal("0", 2), Some(vec![0]));
        for bad in ["", ".", "-", "1.234", "1e5", "+1", "--1"] {
            assert_eq!(parse_decimal(bad, 2), None, "{bad}");
        }
        assert!(Decimal::new(&[], 0).is_err() && Decimal::new(&[0; 33], 0).is_err());
    }

    proptest! {
        #[test]
        fn days_and_dates_are_inverse(days in -719_528..2_932_897_i32) {
            let (year, month, day) = civil_from_days(i64::from(days));
            prop_assert_eq!(days_from_civil(year as i32, month, day), Some(days));
            let (later_year, later_month, later_day) = civil_from_days(i64::from(days) + 1);
            prop_assert!((later_year, later_month, later_day) > (year, month, day));
        }

        #[test]
        fn decimals_agree_with_wide_integers(value in any::<i128>(), shift in 0..128u32, scale in 0..30u8) {
            let value = value >> shift;
            let bytes = value.to_be_bytes();
            let short = shortest(&bytes);
            let whole = Decimal::new(short, 0).unwrap().to_string();
            prop_assert_eq!(&whole, &value.to_string());
            let scaled = Decimal::new(short, scale).unwrap().to_string();
            prop_assert_eq!(parse_decimal(&scaled, scale), Some(short.to_vec()));
            prop_assert_eq!(scaled.trim_start_matches('-').len(),
                if scale == 0 { whole.trim_start_matches('-').len() } else {
                    whole.trim_start_matches('-').len().max(usize::from(scale) + 1) + 1 });
        }

        #[test]
        fn no_value_panics(micros in any::<i64>(), days in any::<i32>(), bytes in proptest::collection::vec(any::<u8>(), 0..40), scale in any::<u8>()) {
            let _ = (Date(days).to_string(), Time { micros, fsp: scale }.to_string(), DateTime { micros, fsp: scale }.to_string());
            if let Ok(decimal) = Decimal::new(&bytes, scale) {
                let _ = decimal.to_string();
            }
        }
    }
}
