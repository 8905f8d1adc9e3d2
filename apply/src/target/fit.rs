//! Can a column of the target's hold every value of a source column, and give it back the same?
//!
//! Asked once per row schema, before the first row: a value that would be refused or rounded in the middle of the stream is found at its
//! beginning. Types must be of one family: a number in a text column would compare and sort in another way.

use binferry_schemas::row::{ColumnType, Width, charset};

use super::table::TargetColumn;
use crate::dialect::Dialect;

pub fn fits(source: &ColumnType, target: &TargetColumn, dialect: Dialect) -> bool {
    let kind = target.data_type.as_str();
    match source {
        ColumnType::Integer { width, unsigned } => integer(*width, *unsigned, target),
        ColumnType::Bit { bits } => {
            kind == "bit" && target.precision.unwrap_or(0) >= u64::from(*bits)
        }
        ColumnType::Float { unsigned } => {
            matches!(kind, "float" | "double") && sign(*unsigned, target)
        }
        ColumnType::Double { unsigned } => kind == "double" && sign(*unsigned, target),
        ColumnType::Decimal {
            precision,
            scale,
            unsigned,
        } => {
            let (p, s) = (u64::from(*precision), u64::from(*scale));
            let (tp, ts) = (target.precision.unwrap_or(0), target.scale.unwrap_or(0));
            kind == "decimal"
                && ts >= s
                && tp.saturating_sub(ts) >= p.saturating_sub(s)
                && sign(*unsigned, target)
        }
        ColumnType::Year => kind == "year",
        ColumnType::Date => kind == "date",
        ColumnType::Time { fsp } => kind == "time" && fraction(*fsp, target),
        ColumnType::DateTime { fsp } => kind == "datetime" && fraction(*fsp, target),
        ColumnType::Timestamp { fsp } => kind == "timestamp" && fraction(*fsp, target),
        ColumnType::Char { bytes, collation } => {
            matches!(
                kind,
                "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
            ) && text(u64::from(*bytes), *collation, target)
        }
        ColumnType::VarChar { bytes, collation } => {
            // CHAR would lose trailing spaces.
            matches!(
                kind,
                "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
            ) && text(u64::from(*bytes), *collation, target)
        }
        ColumnType::Text {
            length_bytes,
            collation,
        } => {
            matches!(
                kind,
                "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
            ) && text(longest(*length_bytes), *collation, target)
        }
        ColumnType::Binary { bytes } => {
            let (bytes, room) = (u64::from(*bytes), target.octets.unwrap_or(0));
            match kind {
                // A longer BINARY would pad with zeros.
                "binary" => room == bytes,
                "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => room >= bytes,
                // Any bytes of that length are a value; the binlog says no more of such a column.
                "uuid" | "inet6" => dialect == Dialect::MariaDb && bytes == 16,
                "inet4" => dialect == Dialect::MariaDb && bytes == 4,
                _ => false,
            }
        }
        // MariaDB's own VECTOR takes vectors of its one length, and its binlog calls it VARBINARY.
        ColumnType::VarBinary { bytes } if kind == "vector" => {
            dialect == Dialect::MariaDb && target.octets == Some(u64::from(*bytes))
        }
        ColumnType::VarBinary { bytes } => blob(u64::from(*bytes), target),
        ColumnType::Blob { length_bytes } => blob(longest(*length_bytes), target),
        ColumnType::Enum { labels, collation } => {
            let there = target.labels();
            kind == "enum"
                && holds(*collation, target)
                && labels.iter().all(|label| there.contains(label))
        }
        ColumnType::Set { labels, collation } => {
            // A SET prints its labels in the order of its definition: the source's must come in the same order.
            let there = target.labels();
            let mut rest = there.iter();
            kind == "set"
                && holds(*collation, target)
                && labels.iter().all(|label| rest.any(|other| other == label))
        }
        // MariaDB's JSON is LONGTEXT in this character set: the document goes in as its text.
        ColumnType::Json if dialect.json_is_text() => {
            kind == "longtext"
                && target.charset.as_ref().map(|charset| charset.name()) == Some("utf8mb4")
        }
        ColumnType::Json => kind == "json",
        ColumnType::Geometry { kind: number } => kind == "geometry" || kind == geometry(*number),
        ColumnType::Vector { dimension } => {
            // Without the source's dimension the server decides, row by row.
            let room: u64 = target
                .column_type
                .trim_start_matches("vector(")
                .trim_end_matches(')')
                .parse()
                .unwrap_or(0);
            kind == "vector" && room >= u64::from(*dimension)
        }
    }
}

fn integer(width: Width, unsigned: bool, target: &TargetColumn) -> bool {
    let bits = |width| match width {
        Width::Tiny => 8,
        Width::Small => 16,
        Width::Medium => 24,
        Width::Int => 32,
        Width::Big => 64,
    };
    let room = match target.data_type.as_str() {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        "bigint" => 64,
        _ => return false,
    };
    match (unsigned, target.unsigned()) {
        (false, false) | (true, true) => room >= bits(width),
        (true, false) => room > bits(width),
        (false, true) => false,
    }
}

fn sign(unsigned: bool, target: &TargetColumn) -> bool {
    unsigned || !target.unsigned()
}

fn fraction(fsp: u8, target: &TargetColumn) -> bool {
    target.fsp.unwrap_or(0) >= u64::from(fsp)
}

fn longest(length_bytes: u8) -> u64 {
    (1u64 << (8 * u32::from(length_bytes.clamp(1, 4)))) - 1
}

fn blob(bytes: u64, target: &TargetColumn) -> bool {
    matches!(
        target.data_type.as_str(),
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob"
    ) && target.octets.unwrap_or(0) >= bytes
}

fn text(bytes: u64, collation: u16, target: &TargetColumn) -> bool {
    if !holds(collation, target) {
        return false;
    }
    let counts_characters = matches!(target.data_type.as_str(), "char" | "varchar");
    let room = if counts_characters {
        target.characters
    } else {
        target.octets
    };
    let longest = charset(collation).map_or(1, |charset| u64::from(charset.longest.max(1)));
    let needed = if counts_characters {
        bytes / longest
    } else {
        bytes
    };
    room.unwrap_or(0) >= needed
}

/// Can the target's character set hold every character of the source's?
fn holds(collation: u16, target: &TargetColumn) -> bool {
    let Some(there) = target.charset.as_ref().map(|charset| charset.name()) else {
        return false;
    };
    // All of Unicode.
    if matches!(there, "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030") {
        return true;
    }
    let Some(here) = charset(collation) else {
        return false;
    };
    here.name == there
        || here.name == "ascii" && !matches!(there, "swe7" | "binary")
        || matches!(there, "utf8mb3" | "ucs2")
            && matches!(here.name, "utf8mb3" | "ucs2" | "latin1" | "latin2")
}

/// `Field::geometry_type` numbers.
fn geometry(kind: u8) -> &'static str {
    match kind {
        1 => "point",
        2 => "linestring",
        3 => "polygon",
        4 => "multipoint",
        5 => "multilinestring",
        6 => "multipolygon",
        7 => "geomcollection",
        _ => "geometry",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::name::Charset;

    fn column(data_type: &str, column_type: &str) -> TargetColumn {
        TargetColumn {
            name: "c".into(),
            data_type: data_type.into(),
            column_type: column_type.into(),
            characters: None,
            octets: None,
            precision: None,
            scale: None,
            fsp: None,
            charset: None,
            collation: None,
            nullable: true,
            has_default: false,
            automatic: false,
            generated: false,
            on_update: false,
        }
    }

    fn mysql(source: &ColumnType, target: &TargetColumn) -> bool {
        fits(source, target, Dialect::MySql)
    }

    #[test]
    fn documents() {
        let longtext = |charset: &str| TargetColumn {
            charset: Charset::new(charset),
            ..column("longtext", "longtext")
        };
        let json = ColumnType::Json;
        assert!(mysql(&json, &column("json", "json")));
        assert!(!mysql(&json, &longtext("utf8mb4")));
        assert!(fits(&json, &longtext("utf8mb4"), Dialect::MariaDb));
        assert!(!fits(&json, &longtext("latin1"), Dialect::MariaDb));
    }

    #[test]
    fn what_mariadb_calls_binary() {
        let (four, sixteen) = (
            ColumnType::Binary { bytes: 4 },
            ColumnType::Binary { bytes: 16 },
        );
        for (kind, fit, other) in [
            ("uuid", &sixteen, &four),
            ("inet6", &sixteen, &four),
            ("inet4", &four, &sixteen),
        ] {
            let target = column(kind, kind);
            assert!(fits(fit, &target, Dialect::MariaDb), "{kind}");
            assert!(!fits(other, &target, Dialect::MariaDb), "{kind}");
            assert!(!mysql(fit, &target), "{kind}");
        }
        let vector = TargetColumn {
            octets: Some(12),
            ..column("vector", "vector(3)")
        };
        let of = |bytes| ColumnType::VarBinary { bytes };
        assert!(fits(&of(12), &vector, Dialect::MariaDb));
        assert!(!fits(&of(8), &vector, Dialect::MariaDb));
        assert!(!mysql(&of(12), &vector));
    }

    #[test]
    fn integers() {
        let small = ColumnType::Integer {
            width: Width::Small,
            unsigned: true,
        };
        assert!(mysql(&small, &column("smallint", "smallint unsigned")));
        assert!(!mysql(&small, &column("smallint", "smallint")));
        assert!(mysql(&small, &column("mediumint", "mediumint")));
        let int = ColumnType::Integer {
            width: Width::Int,
            unsigned: false,
        };
        assert!(!mysql(&int, &column("bigint", "bigint unsigned")));
        assert!(!mysql(&int, &column("varchar", "varchar(20)")));
    }

    #[test]
    fn text_by_characters_and_by_bytes() {
        let varchar = |characters, charset: &str| TargetColumn {
            characters: Some(characters),
            octets: Some(characters * 4),
            charset: Charset::new(charset),
            ..column("varchar", "varchar")
        };
        let source = ColumnType::VarChar {
            bytes: 80,
            collation: 255,
        };
        assert!(mysql(&source, &varchar(20, "utf8mb4")));
        assert!(!mysql(&source, &varchar(19, "utf8mb4")));
        assert!(!mysql(&source, &varchar(80, "latin1")));
        assert!(mysql(
            &ColumnType::VarChar {
                bytes: 20,
                collation: 8
            },
            &varchar(20, "utf8mb4")
        ));
    }

    #[test]
    fn decimals_and_labels() {
        let source = ColumnType::Decimal {
            precision: 10,
            scale: 2,
            unsigned: false,
        };
        let decimal = |p, s| TargetColumn {
            precision: Some(p),
            scale: Some(s),
            ..column("decimal", "decimal")
        };
        assert!(mysql(&source, &decimal(10, 2)));
        assert!(!mysql(&source, &decimal(10, 3)));
        assert!(mysql(&source, &decimal(11, 3)));
        let source = ColumnType::Set {
            labels: vec!["a".into(), "b".into()],
            collation: 255,
        };
        let set = |text: &str| TargetColumn {
            charset: Charset::new("utf8mb4"),
            ..column("set", text)
        };
        assert!(mysql(&source, &set("set('a','x','b')")));
        assert!(!mysql(&source, &set("set('b','a')")));
    }
}
