//! Numbers inside JSON as the server prints them.

use std::io::Write;

/// Appends `value` in the form of the server's `my_gcvt`: the shortest digits that read back as the same number, in plain form while the
/// point is at most 15 places right (16, before a fraction) or 14 left of the first digit, otherwise with an exponent; and always recognisable as a double.
pub(super) fn put_double(out: &mut Vec<u8>, value: f64) {
    if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() {
            b"-0.0"
        } else {
            b"0.0"
        });
        return;
    }
    let (mut shortest, mut even) = ([0; SCIENTIFIC], [0; SCIENTIFIC]);
    let mut text = scientific(&mut shortest, format_args!("{value:e}"));
    // Midway between two numbers of so many digits the server takes the even one.
    let mantissa = text.iter().position(|&byte| byte == b'e').unwrap_or(0);
    let digits = text[..mantissa].iter().filter(|b| b.is_ascii_digit());
    let digits = digits.count();
    if digits >= 16
        && matches!(
            text.get(mantissa.wrapping_sub(1)),
            Some(b'1' | b'3' | b'5' | b'7' | b'9')
        )
    {
        let places = digits - 1;
        let nearest = scientific(&mut even, format_args!("{value:.places$e}"));
        let parsed = std::str::from_utf8(nearest).ok();
        if parsed.and_then(|text| text.parse().ok()) == Some(value) {
            text = nearest;
        }
    }
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut digits = [0_u8; 20];
    let mut count = 0;
    let mut exponent = 0;
    if let Some(e) = text.iter().position(|&byte| byte == b'e') {
        for &byte in text[..e]
            .iter()
            .filter(|byte| byte.is_ascii_digit())
            .take(20)
        {
            digits[count] = byte;
            count += 1;
        }
        exponent = std::str::from_utf8(&text[e + 1..])
            .ok()
            .and_then(|text| text.parse::<i32>().ok())
            .unwrap_or(0);
    }
    let digits = &digits[..count];
    if negative {
        out.push(b'-');
    }
    // Digits before the point.
    let point = exponent + 1;
    match point {
        // A fraction is not given up for an exponent.
        16 if digits.len() < 17 => put_scientific(out, digits, exponent),
        1..=16 => {
            let point = point as usize;
            let whole = digits.len().min(point);
            out.extend_from_slice(&digits[..whole]);
            out.resize(out.len() + point - whole, b'0');
            out.push(b'.');
            match &digits[whole..] {
                [] => out.push(b'0'),
                fraction => out.extend_from_slice(fraction),
            }
        }
        -14..=0 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        }
        _ => put_scientific(out, digits, exponent),
    }
}

fn put_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    if let Some((first, rest)) = digits.split_first() {
        out.push(*first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
    }
    out.push(b'e');
    put_signed(out, i64::from(exponent));
}

/// Bytes for `[-]d.ddde[-]x` with at most 17 digits.
const SCIENTIFIC: usize = 40;

fn scientific<'b>(buffer: &'b mut [u8; SCIENTIFIC], number: std::fmt::Arguments<'_>) -> &'b [u8] {
    let mut rest = &mut buffer[..];
    // There is room for any double; what can't be split later can't come.
    let _ = rest.write_fmt(number);
    let unused = rest.len();
    &buffer[..SCIENTIFIC - unused]
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    put_unsigned(out, value.unsigned_abs());
}

pub(super) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (100.0, "100.0"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (1090557525376735.9, "1090557525376735.9"),
            (-1.234567890123456e15, "-1.234567890123456e15"),
            (12345678901234568.0, "1.2345678901234568e16"),
            (1e-14, "0.00000000000001"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (1.5e300, "1.5e300"),
            (f64::MAX, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
            // Exactly in the middle.
            (2374385142843.0 + 1.0 / 32.0, "2374385142843.0312"),
            (-2374385142843.0 - 1.0 / 32.0, "-2374385142843.0312"),
            (2374385142843.0 + 3.0 / 32.0, "2374385142843.0938"),
        ] {
            let mut out = Vec::new();
            put_double(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    /// Numbers of every length, around both places where the server changes to an exponent.
    #[test]
    fn doubles_as_the_server_prints_them() {
        let seed = binferry_generate::seed();
        let mut random = binferry_generate::Random::new(seed);
        let server = binferry_servers::MySql::start().unwrap();
        for _ in 0..20 {
            let values: Vec<f64> = (0..1000)
                .map(|_| {
                    let digits = 10_u64.pow(1 + random.below(17) as u32);
                    let exponent = random.below(50) as i32 - 34;
                    format!("{}e{exponent}", random.below(digits))
                        .parse()
                        .unwrap()
                })
                .collect();
            let text: Vec<String> = values.iter().map(|value| format!("{value:e}")).collect();
            let array = server
                .value(&format!("SELECT JSON_ARRAY({})", text.join(",")))
                .unwrap();
            let printed = array.trim_matches(['[', ']']).split(", ");
            for (value, server) in values.iter().zip(printed) {
                let mut out = Vec::new();
                put_double(&mut out, *value);
                assert_eq!(
                    String::from_utf8(out).unwrap(),
                    server,
                    "seed {seed}: {value:e}"
                );
            }
        }
    }

    #[test]
    fn integers() {
        let print = |put: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            put(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            print(&|out| put_signed(out, i64::MIN)),
            i64::MIN.to_string()
        );
        assert_eq!(
            print(&|out| put_unsigned(out, u64::MAX)),
            u64::MAX.to_string()
        );
        assert_eq!(print(&|out| put_signed(out, 0)), "0");
    }
}
