//! SQL for random values of a column.

use crate::{column::Kind, random::Random};

impl Kind {
    /// An SQL expression for a value, NULL now and then.
    pub fn literal(self, random: &mut Random) -> String {
        if random.below(8) == 0 {
            return "NULL".into();
        }
        match self {
            Self::Integer { bits, unsigned } => integer(random, bits, unsigned),
            Self::Bit(bits) => {
                (random.word() >> (64 - bits) >> random.below(u64::from(bits))).to_string()
            }
            Self::Float => format!(
                "{:e}",
                (random.word() as f32 / 1e10) * 10_f32.powi(random.below(40) as i32 - 20)
            ),
            Self::Double => double(random),
            Self::Decimal { precision, scale } => decimal(random, precision, scale),
            Self::Year => random.pick(&["0", "1901", "2155", "2026"]).to_string(),
            Self::Date => format!("'{}'", date(random)),
            Self::Time(fsp) => time(random, fsp),
            Self::DateTime(fsp) => format!("'{} {}'", date(random), clock(random, fsp)),
            Self::Timestamp(fsp) => match random.below(4) {
                0 => "'0000-00-00 00:00:00'".into(),
                1 => "'1970-01-01 00:00:01'".into(),
                _ => format!(
                    "'{}-05-{:02} {}'",
                    1971 + random.below(67),
                    1 + random.below(28),
                    clock(random, fsp)
                ),
            },
            Self::Text(length, charset) => text(random, length, charset),
            Self::Binary(length) => bytes(random, length),
            Self::Enum(count) => random.below(count + 1).to_string(),
            Self::Set(count) => (random.word() >> (64 - count) >> random.below(count)).to_string(),
            // Taken out of an array again, so that what is no document by itself becomes one.
            Self::Json => format!("JSON_EXTRACT(JSON_ARRAY({}), '$[0]')", json(random, 0)),
            Self::Geometry => format!(
                "ST_GeomFromText('POINT({} {})', {})",
                random.below(90),
                random.below(90),
                random.pick(&[0, 4326])
            ),
            Self::Vector(count) => {
                let floats: Vec<_> = (0..1 + random.below(count))
                    .map(|_| format!("{}", random.below(1000) as f32 / 7.0))
                    .collect();
                format!("to_vector('[{}]')", floats.join(","))
            }
        }
    }
}

fn integer(random: &mut Random, bits: u32, unsigned: bool) -> String {
    let (least, most) = match unsigned {
        true => (0, (1_i128 << bits) - 1),
        false => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
    };
    match random.below(6) {
        0 => least.to_string(),
        1 => most.to_string(),
        2 => "0".into(),
        _ => (least + i128::from(random.word()) % (most - least + 1)).to_string(),
    }
}

fn double(random: &mut Random) -> String {
    loop {
        let value = match random.below(4) {
            0 => f64::from_bits(random.word()),
            1 => random.word() as i64 as f64 / 1e6,
            2 => random.below(1000) as f64 / 10_f64.powi(random.below(20) as i32),
            _ => random.below(1000) as f64 * 10_f64.powi(random.below(20) as i32),
        };
        // The server's parser of SQL and JSON numbers is not made for the smallest ones.
        if value.is_finite() && (value == 0.0 || value.abs() > 1e-300) {
            return format!("{value:e}");
        }
    }
}

fn digits(random: &mut Random, count: usize) -> String {
    let fill = random.below(4);
    (0..count)
        .map(|_| match fill {
            0 => '9',
            1 => '0',
            _ => char::from(b'0' + random.below(10) as u8),
        })
        .collect()
}

fn decimal(random: &mut Random, precision: usize, scale: usize) -> String {
    let sign = random.pick(&["", "-"]);
    let whole = digits(random, precision - scale);
    let fraction = digits(random, scale);
    format!("{sign}0{whole}.{fraction}0")
}

fn date(random: &mut Random) -> String {
    match random.below(5) {
        0 => "0000-00-00".into(),
        1 => format!(
            "{}-00-{:02}",
            random.below(10000) / 10 * 10,
            random.below(29)
        )
        .replace(' ', "0"),
        2 => "2026-02-31".into(),
        3 => random
            .pick(&[
                "0001-01-01",
                "9999-12-31",
                "1970-01-01",
                "1969-12-31",
                "2000-02-29",
            ])
            .to_string(),
        _ => format!(
            "{:04}-{:02}-{:02}",
            random.below(10000),
            1 + random.below(12),
            1 + random.below(28)
        ),
    }
}

fn clock(random: &mut Random, fsp: usize) -> String {
    let fraction = digits(random, fsp);
    let point = if fsp > 0 { "." } else { "" };
    format!(
        "{:02}:{:02}:{:02}{point}{fraction}",
        random.below(24),
        random.below(60),
        random.below(60)
    )
}

fn time(random: &mut Random, fsp: usize) -> String {
    let sign = random.pick(&["", "-"]);
    match random.below(4) {
        0 => format!("'{sign}838:59:59'"),
        1 => format!("'{sign}00:00:00.{}'", digits(random, fsp)).replace(".'", "'"),
        _ => format!("'{sign}{}{}'", random.below(8), clock(random, fsp)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn text(random: &mut Random, longest: u64, charset: &str) -> String {
    let length = random.below(longest + 1);
    if matches!(charset, "latin1") && random.below(2) == 0 {
        return bytes(random, longest).replace("x'", "_latin1 x'");
    }
    if random.below(3) == 0 {
        // Codes as they come, most of them characters: of one byte, of two, of three, of four with digits.
        let mut codes = Vec::new();
        for _ in 0..length.min(8) {
            let high = |random: &mut Random| 0x81 + random.below(0x7e) as u8;
            match random.below(5) {
                0 => codes.push(random.word() as u8),
                1 => codes.extend([0x8f, high(random), high(random)]),
                2 => codes.extend([
                    high(random),
                    b'0' + random.below(10) as u8,
                    high(random),
                    b'0' + random.below(10) as u8,
                ]),
                _ => codes.extend([high(random), 0x40 + random.below(0xbf) as u8]),
            }
        }
        // What the server sees no characters in becomes an empty string; what is too long is cut at a character.
        return format!(
            "LEFT(COALESCE(CONVERT(x'{}' USING {charset}), ''), {longest})",
            hex(&codes)
        );
    }
    if matches!(charset, "ascii" | "cp1251" | "sjis" | "gbk" | "swe7") && random.below(3) == 0 {
        let ascii: Vec<_> = (0..length).map(|_| random.below(128) as u8).collect();
        return format!("_{charset} x'{}'", hex(&ascii));
    }
    let plain = random.below(3) == 0;
    let narrow = matches!(charset, "utf8mb3" | "ucs2");
    let one = |_| match random.below(if plain { 1 } else { 6 }) {
        0..=1 => char::from(b' ' + random.below(95) as u8),
        2 => *random.pick(&['é', 'ß', 'Ж', 'я']),
        3 => *random.pick(&['日', 'あ', '€', '\u{0}', '\n']),
        4 if !narrow => *random.pick(&['😀', '𝄞']),
        _ => 'z',
    };
    // Five bytes a character are more than any type here has room for, in the longest of them.
    let text: String = (0..length).map(one).collect();
    format!(
        "CONVERT(_utf8mb4 x'{}' USING {charset})",
        hex(text.as_bytes())
    )
}

fn bytes(random: &mut Random, longest: u64) -> String {
    let length = random.below(longest + 1);
    let zeros = random.below(3) == 0;
    let bytes: Vec<_> = (0..length)
        .map(|_| if zeros { 0 } else { random.word() as u8 })
        .collect();
    format!("x'{}'", hex(&bytes))
}

const WIDTHS: [u32; 5] = [8, 16, 24, 32, 64];

/// Documents as text, and such as text can't carry.
fn json(random: &mut Random, depth: u32) -> String {
    match random.below(if depth > 3 { 12 } else { 16 }) {
        0 => "CAST('null' AS JSON)".into(),
        1 => format!("CAST('{}' AS JSON)", random.pick(&["true", "false"])),
        2 => format!("CAST('{}' AS JSON)", {
            let bits = *random.pick(&WIDTHS);
            integer(random, bits, false)
        }),
        3 => {
            let number = random.word() >> random.below(64);
            match random.below(2) {
                0 => format!("CAST({number} AS UNSIGNED)"),
                _ => format!("{}", number as i64),
            }
        }
        4 | 5 => format!("CAST('{}' AS JSON)", double(random)),
        6 => format!("CAST({} AS DECIMAL(30,10))", decimal(random, 20, 7)),
        7 => format!("CAST('2015-01-{:02}' AS DATE)", 1 + random.below(28)),
        8 => format!("CAST({} AS TIME(6))", time(random, 6)),
        9 => format!("CAST('2015-01-15 {}' AS DATETIME(6))", clock(random, 6)),
        10 => bytes(random, 100),
        11 => text(random, 50, "utf8mb4"),
        12 | 13 => {
            let items: Vec<_> = (0..random.below(6))
                .map(|_| json(random, depth + 1))
                .collect();
            format!("JSON_ARRAY({})", items.join(","))
        }
        14 => {
            // Large enough for the large form, sometimes.
            let count = random.below(20);
            let wide = if random.below(20) == 0 { 9000 } else { 5 };
            let items: Vec<_> = (0..count)
                .map(|n| format!("'key{n}', REPEAT('a\"\\\\b\\n', {wide})"))
                .collect();
            format!("JSON_OBJECT({})", items.join(","))
        }
        _ => {
            let items: Vec<_> = (0..random.below(6))
                .map(|_| {
                    format!(
                        "{}, {}",
                        text(random, 5, "utf8mb4"),
                        json(random, depth + 1)
                    )
                })
                .collect();
            format!("JSON_OBJECT({})", items.join(","))
        }
    }
}
