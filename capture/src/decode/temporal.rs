//! Dates and times: MySQL's packed forms to days and microseconds; what is no point in time, to the text that MySQL prints.
//!
//! ```text
//! DATE       u24 little-endian: year (15 bits) month (4) day (5)
//! DATETIME2  u40 big-endian: 1 (sign) | year * 13 + month (17) | day (5) | hour (5) | minute (6) | second (6); fraction
//! TIMESTAMP2 u32 big-endian: seconds since the epoch; fraction
//! TIME2      u24 and fraction, one big-endian number, the top bit inverted, negative ones in two's complement:
//!            0 | hour (10) | minute (6) | second (6) | fraction
//! fraction   big-endian: 0 bytes, 1 (hundredths), 2 (ten-thousandths) or 3 (microseconds) for 0, 1-2, 3-4, 5-6 digits
//! ```
//!
//! (`mysys/my_time.cc`.)

use std::io::Write;

use binferry_schemas::datum::{self, text::days_from_civil};

use super::cursor::{Cursor, Flaw, Read};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

fn fraction_bytes(fsp: u8) -> usize {
    usize::from(fsp.div_ceil(2))
}

/// Microseconds of one unit of a fraction.
fn fraction_unit(fsp: u8) -> u32 {
    match fsp {
        0..=2 => 10_000,
        3..=4 => 100,
        _ => 1,
    }
}

#[inline]
fn fraction(cursor: &mut Cursor<'_>, fsp: u8) -> Read<u32> {
    if fsp == 0 {
        return Ok(0);
    }
    let micros = cursor.big_endian(fraction_bytes(fsp))? as u32 * fraction_unit(fsp);
    if micros >= SECOND as u32 {
        return Err(Flaw("has a fraction of more than a second"));
    }
    Ok(micros)
}

/// A date, and perhaps a time, as text: at most `YYYYY-MM-DD HH:MM:SS.ffffff`.
struct Printed {
    bytes: [u8; 32],
    length: usize,
}

impl Printed {
    fn new(arguments: std::fmt::Arguments<'_>) -> Self {
        let mut bytes = [0; 32];
        let mut rest = &mut bytes[..];
        // The longest text is shorter than the array.
        let _ = rest.write_fmt(arguments);
        let length = 32 - rest.len();
        Self { bytes, length }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let text = std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default();
        datum::put_zero_date(out, text);
    }
}

#[inline]
pub(super) fn put_date(out: &mut Vec<u8>, cursor: &mut Cursor<'_>) -> Read<()> {
    let packed = cursor.u24()?;
    put_day(
        out,
        packed >> 9,
        (packed >> 5 & 15) as u8,
        (packed & 31) as u8,
    );
    Ok(())
}

/// Appends the union of a DATE.
#[inline]
pub(super) fn put_day(out: &mut Vec<u8>, year: u32, month: u8, day: u8) {
    match days_from_civil(year as i32, month, day) {
        Some(days) => datum::put_date(out, days),
        None => Printed::new(format_args!("{year:04}-{month:02}-{day:02}")).put(out),
    }
}

#[inline]
pub(super) fn put_datetime(out: &mut Vec<u8>, cursor: &mut Cursor<'_>, fsp: u8) -> Read<()> {
    let packed = cursor.big_endian(5)?;
    let micros = fraction(cursor, fsp)?;
    let Some(packed) = packed.checked_sub(1 << 39) else {
        return Err(Flaw("is a negative date"));
    };
    let year_month = (packed >> 22) as u32;
    let (year, month) = (year_month / 13, (year_month % 13) as u8);
    let [day, hour] = [packed >> 17, packed >> 12].map(|bits| (bits & 31) as u8);
    let [minute, second] = [packed >> 6, packed].map(|bits| (bits & 63) as u8);
    put_parts(
        out,
        &Parts {
            year,
            month,
            day,
            hour,
            minute,
            second,
            micros,
        },
        fsp,
    )
}

/// A date and a time of day.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts {
    pub year: u32,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

/// Appends the union of a DATETIME.
pub(super) fn put_parts(out: &mut Vec<u8>, parts: &Parts, fsp: u8) -> Read<()> {
    let Parts {
        year,
        month,
        day,
        hour,
        minute,
        second,
        micros,
    } = *parts;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(Flaw("is a time of day that does not exist"));
    }
    if let Some(days) = days_from_civil(year as i32, month, day) {
        let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        datum::put_datetime(
            out,
            i64::from(days) * DAY + seconds * SECOND + i64::from(micros),
        );
        return Ok(());
    }
    let digits = usize::from(fsp);
    if digits == 0 {
        Printed::new(format_args!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        ))
        .put(out);
    } else {
        let fraction = micros / 10_u32.pow(6 - u32::from(fsp.min(6)));
        Printed::new(format_args!(
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{fraction:0digits$}"
        ))
        .put(out);
    }
    Ok(())
}

#[inline]
pub(super) fn put_timestamp(out: &mut Vec<u8>, cursor: &mut Cursor<'_>, fsp: u8) -> Read<()> {
    let seconds = u32::from_be_bytes(cursor.array()?);
    let micros = fraction(cursor, fsp)?;
    if seconds == 0 && micros == 0 {
        let zero = "0000-00-00 00:00:00.000000";
        let length = if fsp == 0 {
            19
        } else {
            20 + usize::from(fsp.min(6))
        };
        datum::put_zero_date(out, &zero[..length]);
    } else {
        datum::put_timestamp(out, i64::from(seconds) * SECOND + i64::from(micros));
    }
    Ok(())
}

#[inline]
pub(super) fn put_time(out: &mut Vec<u8>, cursor: &mut Cursor<'_>, fsp: u8) -> Read<()> {
    let fraction_bytes = fraction_bytes(fsp);
    let bits = 8 * fraction_bytes;
    let packed = cursor.big_endian(3 + fraction_bytes)? as i64 - (0x80_0000 << bits);
    let magnitude = packed.unsigned_abs();
    let fraction = (magnitude & ((1 << bits) - 1)) as i64 * i64::from(fraction_unit(fsp));
    let clock = (magnitude >> bits) as i64;
    let (hours, minutes, seconds) = (clock >> 12 & 0x3ff, clock >> 6 & 63, clock & 63);
    if clock >> 22 != 0 || minutes > 59 || seconds > 59 || fraction >= SECOND {
        return Err(Flaw("is a time that does not exist"));
    }
    let micros = (hours * 3600 + minutes * 60 + seconds) * SECOND + fraction;
    datum::put_time(out, if packed < 0 { -micros } else { micros });
    Ok(())
}

#[cfg(test)]
mod tests {
    use binferry_schemas::avro::Reader;

    use super::*;

    type Put = fn(&mut Vec<u8>, &mut Cursor<'_>, u8) -> Read<()>;

    fn number(put: Put, fsp: u8, bytes: &[u8]) -> i64 {
        let mut out = Vec::new();
        put(&mut out, &mut Cursor::new(bytes), fsp).unwrap();
        assert_eq!(out[0], 2);
        Reader::new(&out[1..]).long().unwrap()
    }

    fn printed(put: Put, fsp: u8, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        put(&mut out, &mut Cursor::new(bytes), fsp).unwrap();
        assert_eq!(out[0], 4);
        String::from_utf8(out[2..].to_vec()).unwrap()
    }

    #[test]
    fn negative_times_with_a_fraction() {
        // -00:00:00.01, -00:00:01.99 and -838:59:59.000000 as the server packs them.
        assert_eq!(number(put_time, 2, &[0x7f, 0xff, 0xff, 0xff]), -10_000);
        assert_eq!(number(put_time, 2, &[0x7f, 0xff, 0xfe, 0x9d]), -1_990_000);
        assert_eq!(
            number(put_time, 6, &[0x4b, 0x91, 0x05, 0, 0, 0]),
            -(838 * 3600 + 59 * 60 + 59) * SECOND
        );
        assert_eq!(number(put_time, 0, &[0x80, 0, 1]), SECOND);
    }

    #[test]
    fn zero_and_partial_dates_are_text() {
        assert_eq!(
            printed(put_timestamp, 3, &[0; 6]),
            "0000-00-00 00:00:00.000"
        );
        assert_eq!(printed(put_timestamp, 0, &[0; 4]), "0000-00-00 00:00:00");
        assert_eq!(
            number(put_timestamp, 1, &[0, 0, 0, 1, 50]),
            SECOND + SECOND / 2
        );
        assert_eq!(
            printed(put_datetime, 0, &[0x80, 0, 0, 0, 0]),
            "0000-00-00 00:00:00"
        );
        let mut out = Vec::new();
        // 2026-02-00.
        let packed = (2026_u32 << 9 | 2 << 5).to_le_bytes();
        put_date(&mut out, &mut Cursor::new(&packed[..3])).unwrap();
        assert_eq!(out, b"\x04\x142026-02-00");
    }

    #[test]
    fn impossible_clocks_are_an_error() {
        for (put, bytes) in [
            (put_datetime as Put, &[0xff; 5][..]),
            (put_datetime, &[0; 5]),
            (put_time, &[0xff; 3]),
            (put_time, &[0x80, 0, 63]),
        ] {
            assert!(put(&mut Vec::new(), &mut Cursor::new(bytes), 0).is_err());
        }
        assert!(put_timestamp(&mut Vec::new(), &mut Cursor::new(&[0, 0, 0, 1, 100]), 2).is_err());
    }
}
