//! Columns of drawn types and attributes.

use crate::random::Random;

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

#[derive(Debug, Clone)]
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

/// A column as `information_schema.COLUMNS` shows it.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// `varchar`
    pub data_type: &'a str,
    /// `varchar(20)`
    pub column_type: &'a str,
    pub character_set: Option<&'a str>,
    /// Characters, or digits before the point and after it.
    pub length: u64,
    pub scale: u64,
    /// Digits of a second.
    pub fraction: u64,
}

impl Kind {
    /// What values a column of a server takes; nothing where none is known here.
    pub fn shown(column: Shown<'_>) -> Option<Self> {
        use Kind::*;
        let unsigned = column.column_type.contains("unsigned");
        let labels = || column.column_type.matches("','").count() as u64 + 1;
        let fraction = column.fraction as usize;
        // Values stay short.
        let length = column.length.clamp(1, 60);
        let character_set = || {
            let known = CHARACTER_SETS.iter();
            let mut known = known.filter(|name| column.character_set == Some(name));
            known.next().copied().unwrap_or("utf8mb4")
        };
        Some(match column.data_type {
            "tinyint" => Integer { bits: 8, unsigned },
            "smallint" => Integer { bits: 16, unsigned },
            "mediumint" => Integer { bits: 24, unsigned },
            "int" => Integer { bits: 32, unsigned },
            "bigint" => Integer { bits: 64, unsigned },
            "bit" => Bit(column.length as u32),
            "float" => Float,
            "double" => Double,
            "decimal" => Decimal {
                precision: column.length as usize,
                scale: column.scale as usize,
            },
            "year" => Year,
            "date" => Date,
            "time" => Time(fraction),
            "datetime" => DateTime(fraction),
            "timestamp" => Timestamp(fraction),
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
                Text(length, character_set())
            }
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
                Binary(length)
            }
            "enum" => Enum(labels()),
            "set" => Set(labels()),
            "json" => Json,
            "geometry" => Geometry,
            "vector" => {
                let digits = column.column_type.trim_start_matches("vector(");
                Vector(digits.trim_end_matches(')').parse().ok()?)
            }
            _ => return None,
        })
    }
}

/// Those whose texts are drawn in a way of their own.
const CHARACTER_SETS: [&str; 14] = [
    "utf8mb4", "utf8mb3", "latin1", "ascii", "cp1251", "sjis", "gbk", "swe7", "ucs2", "utf16",
    "utf32", "big5", "ujis", "gb18030",
];

/// Which servers a table can be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Servers {
    MySql,
    /// Only what both have.
    MariaDbToo,
}

/// Columns of drawn types, attributes and collations (`collations`: character set and collation, as the server lists them). Not more than a
/// row has room for.
pub fn drawn(
    count: usize,
    servers: Servers,
    collations: &[(&'static str, String)],
    random: &mut Random,
) -> Vec<Column> {
    let column = |index: usize| {
        let (mut definition, kind) = loop {
            let (definition, kind) = drawn_type(random, collations);
            // Their column is another type, whose values have all their elements.
            if servers == Servers::MySql || !matches!(kind, Kind::Vector(_)) {
                break (definition, kind);
            }
        };
        // What INSERT IGNORE puts into a VECTOR that has no value has no bytes, and no statement can write that to a target.
        let nullable = random.below(3) > 0 || matches!(kind, Kind::Vector(_));
        definition.push_str(if nullable { " null" } else { " not null" });
        // MariaDB wants a default for one without NULL.
        if random.below(6) == 0 && (nullable || servers == Servers::MySql) {
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

pub(crate) fn many(count: u64) -> String {
    let labels: Vec<_> = (0..count).map(|n| format!("'m{n}'")).collect();
    labels.join(",")
}
