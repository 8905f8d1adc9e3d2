//! Columns of every type, and SQL for random values of them.

/// xorshift64*: a sequence that a printed seed brings back.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Integer {
        bits: u32,
        unsigned: bool,
    },
    Bit(u32),
    Float,
    Double,
    Decimal {
        precision: usize,
        scale: usize,
    },
    Year,
    Date,
    Time(usize),
    DateTime(usize),
    Timestamp(usize),
    /// Characters that fit, character set.
    Text(u64, &'static str),
    Binary(u64),
    Enum(u64),
    Set(u64),
    Json,
    Geometry,
    Vector(u64),
}

pub struct Column {
    pub name: String,
    pub definition: String,
    pub kind: Kind,
    pub nullable: bool,
}

impl Column {
    /// An SQL expression for a value.
    pub fn literal(&self, random: &mut Random) -> String {
        loop {
            let literal = self.kind.literal(random);
            if self.nullable || literal != "NULL" {
                return literal;
            }
        }
    }
}

/// Columns of drawn types, attributes and collations (`collations`: character set and collation, as the server lists them). Not more than a
/// row has room for.
pub fn drawn(
    count: usize,
    collations: &[(&'static str, String)],
    random: &mut Random,
) -> Vec<Column> {
    let column = |index: usize| {
        let (mut definition, kind) = drawn_type(random, collations);
        let nullable = random.below(3) > 0;
        definition.push_str(if nullable { " null" } else { " not null" });
        if random.below(6) == 0 {
            definition.push_str(" invisible");
        }
        if random.below(6) == 0 {
            definition.push_str(" comment 'it''s'");
        }
        // Names that must be quoted, sometimes.
        let name = match random.below(4) {
            0 => format!("select {index} é"),
            _ => format!("c{index}"),
        };
        Column {
            name,
            definition,
            kind,
            nullable,
        }
    };
    (0..count).map(column).collect()
}

fn drawn_type(random: &mut Random, collations: &[(&'static str, String)]) -> (String, Kind) {
    use Kind::*;
    let fsp = random.below(7) as usize;
    let unsigned = random.below(2) == 0;
    let sign = |random: &mut Random| match (unsigned, random.below(3)) {
        (true, 0) => " unsigned zerofill",
        (true, _) => " unsigned",
        _ => "",
    };
    let (charset, collation) = random.pick(collations).clone();
    let of = format!("character set {charset} collate {collation}");
    match random.below(20) {
        0..=2 => {
            let (name, bits) = *random.pick(&[
                ("tinyint", 8),
                ("smallint", 16),
                ("mediumint", 24),
                ("int", 32),
                ("bigint", 64),
            ]);
            let width = *random.pick(&["", "(1)", "(30)"]);
            (
                format!("{name}{width}{}", sign(random)),
                Integer { bits, unsigned },
            )
        }
        3 => {
            let precision = 1 + random.below(65) as usize;
            let scale = random.below(31.min(precision as u64 + 1)) as usize;
            let ty = format!("decimal({precision},{scale}){}", sign(random));
            (ty, Decimal { precision, scale })
        }
        4 => {
            let bits = 1 + random.below(64) as u32;
            (format!("bit({bits})"), Bit(bits))
        }
        5 => ("float".into(), Float),
        6 => ("double".into(), Double),
        7 => (format!("time({fsp})"), Time(fsp)),
        8 => (format!("datetime({fsp})"), DateTime(fsp)),
        9 => (format!("timestamp({fsp})"), Timestamp(fsp)),
        10 => match random.below(2) {
            0 => ("year".into(), Year),
            _ => ("date".into(), Date),
        },
        11..=13 => {
            let length = 1 + random.below(40);
            let ty = *random.pick(&["char", "varchar"]);
            (format!("{ty}({length}) {of}"), Text(length, charset))
        }
        14 => {
            let ty = *random.pick(&["tinytext", "text", "mediumtext", "longtext"]);
            (format!("{ty} {of}"), Text(60, charset))
        }
        15 => {
            let length = 1 + random.below(255);
            let ty = match random.below(6) {
                0 => format!("binary({length})"),
                1 => format!("varbinary({length})"),
                _ => (*random.pick(&["tinyblob", "blob", "mediumblob", "longblob"])).into(),
            };
            (ty, Binary(length))
        }
        16 => {
            let count = 1 + random.below(400);
            (format!("enum({}) {of}", many(count)), Enum(count))
        }
        17 => {
            let count = 1 + random.below(64);
            (format!("set({}) {of}", many(count)), Set(count))
        }
        18 => ("json".into(), Json),
        _ => {
            let count = 1 + random.below(30);
            match random.below(2) {
                0 => (format!("vector({count})"), Vector(count)),
                _ => ("geometry".into(), Geometry),
            }
        }
    }
}

fn many(count: u64) -> String {
    let labels: Vec<_> = (0..count).map(|n| format!("'m{n}'")).collect();
    labels.join(",")
}

const CHARSETS: [&str; 12] = [
    "utf8mb4", "utf8mb3", "latin1", "ascii", "ucs2", "utf16", "utf16le", "utf32", "cp1251", "sjis",
    "gbk", "swe7",
];

/// Every type at its edges.
pub fn columns() -> Vec<Column> {
    use Kind::*;
    let mut columns: Vec<(String, Kind)> = Vec::new();
    let mut add = |ty: String, kind| columns.push((ty, kind));
    for (name, bits) in [
        ("tinyint", 8),
        ("smallint", 16),
        ("mediumint", 24),
        ("int", 32),
        ("bigint", 64),
    ] {
        for unsigned in [false, true] {
            let ty = format!("{name}{}", if unsigned { " unsigned" } else { "" });
            add(ty, Integer { bits, unsigned });
        }
    }
    for bits in [1, 7, 8, 9, 33, 63, 64] {
        add(format!("bit({bits})"), Bit(bits));
    }
    add("float".into(), Float);
    add("float unsigned".into(), Float);
    add("double".into(), Double);
    for (precision, scale) in [
        (1, 0),
        (5, 5),
        (9, 0),
        (10, 2),
        (14, 4),
        (18, 9),
        (38, 10),
        (39, 30),
        (65, 0),
        (65, 30),
    ] {
        add(
            format!("decimal({precision},{scale})"),
            Decimal { precision, scale },
        );
    }
    add(
        "decimal(20,3) unsigned".into(),
        Decimal {
            precision: 20,
            scale: 3,
        },
    );
    add("year".into(), Year);
    add("date".into(), Date);
    for fsp in 0..=6 {
        add(format!("time({fsp})"), Time(fsp));
        add(format!("datetime({fsp})"), DateTime(fsp));
        add(format!("timestamp({fsp}) null"), Timestamp(fsp));
    }
    for charset in CHARSETS {
        add(
            format!("varchar(20) character set {charset}"),
            Text(20, charset),
        );
    }
    for charset in ["utf8mb4", "latin1", "ucs2"] {
        add(
            format!("char(30) character set {charset}"),
            Text(30, charset),
        );
        add(
            format!("char(255) character set {charset}"),
            Text(255, charset),
        );
    }
    add(
        "varchar(300) character set latin1".into(),
        Text(300, "latin1"),
    );
    add("tinytext character set latin1".into(), Text(200, "latin1"));
    add("text".into(), Text(400, "utf8mb4"));
    add("mediumtext character set utf16".into(), Text(100, "utf16"));
    add("longtext".into(), Text(400, "utf8mb4"));
    add("binary(5)".into(), Binary(5));
    add("binary(255)".into(), Binary(255));
    add("varbinary(10)".into(), Binary(10));
    add("varbinary(300)".into(), Binary(300));
    add("tinyblob".into(), Binary(200));
    add("blob".into(), Binary(400));
    add("mediumblob".into(), Binary(400));
    add("longblob".into(), Binary(400));
    add(
        "enum('a','été','','c d') character set latin1".into(),
        Enum(4),
    );
    add(format!("enum({})", many(300)), Enum(300));
    add("set('x','ü','z') character set utf16".into(), Set(3));
    for count in [8, 9, 24, 32, 33, 64] {
        add(format!("set({})", many(count)), Set(count));
    }
    add("json".into(), Json);
    add("geometry".into(), Geometry);
    add("point".into(), Geometry);
    add("vector(5)".into(), Vector(5));
    // The first types again, behind columns that some of the metadata's counts leave out.
    add(
        "int unsigned".into(),
        Integer {
            bits: 32,
            unsigned: true,
        },
    );
    add("varchar(9) character set latin1".into(), Text(9, "latin1"));
    add("enum('last')".into(), Enum(1));
    let column = |(index, (ty, kind)): (usize, (String, Kind))| Column {
        name: format!("c{index}"),
        definition: ty,
        kind,
        nullable: true,
    };
    columns.into_iter().enumerate().map(column).collect()
}

impl Kind {
    /// An SQL expression for a value, NULL now and then.
    pub fn literal(self, random: &mut Random) -> String {
        if random.below(8) == 0 {
            return "NULL".into();
        }
        match self {
            Self::Integer { bits, unsigned } => integer(random, bits, unsigned),
            Self::Bit(bits) => {
                (random.next() >> (64 - bits) >> random.below(u64::from(bits))).to_string()
            }
            Self::Float => format!(
                "{:e}",
                (random.next() as f32 / 1e10) * 10_f32.powi(random.below(40) as i32 - 20)
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
            Self::Set(count) => (random.next() >> (64 - count) >> random.below(count)).to_string(),
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
        _ => (least + i128::from(random.next()) % (most - least + 1)).to_string(),
    }
}

fn double(random: &mut Random) -> String {
    loop {
        let value = match random.below(4) {
            0 => f64::from_bits(random.next()),
            1 => random.next() as i64 as f64 / 1e6,
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
                0 => codes.push(random.next() as u8),
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
        .map(|_| if zeros { 0 } else { random.next() as u8 })
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
        3 => format!("CAST({} AS UNSIGNED)", random.next() >> random.below(64)),
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
