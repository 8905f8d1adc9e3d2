//! A column type as the text of the property `mysql.type`, as SHOW CREATE TABLE would have it, and back.
//!
//! What the text can't carry stands in other properties: the collation, the labels, the length in bytes of CHAR and VARCHAR (whose text
//! counts characters, and leaves the count out when the character set is not known), and the kind of a geometry without a name.

use std::fmt;

use super::{ColumnType, Width, charset};

const GEOMETRIES: [&str; 8] = [
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
];

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unsigned_suffix = |unsigned: bool| if unsigned { " unsigned" } else { "" };
        match self {
            Self::Integer { width, unsigned } => {
                let name = match width {
                    Width::Tiny => "tinyint",
                    Width::Small => "smallint",
                    Width::Medium => "mediumint",
                    Width::Int => "int",
                    Width::Big => "bigint",
                };
                write!(f, "{name}{}", unsigned_suffix(*unsigned))
            }
            Self::Bit { bits } => write!(f, "bit({bits})"),
            Self::Float { unsigned } => write!(f, "float{}", unsigned_suffix(*unsigned)),
            Self::Double { unsigned } => write!(f, "double{}", unsigned_suffix(*unsigned)),
            Self::Decimal {
                precision,
                scale,
                unsigned,
            } => write!(
                f,
                "decimal({precision},{scale}){}",
                unsigned_suffix(*unsigned)
            ),
            Self::Year => f.write_str("year"),
            Self::Date => f.write_str("date"),
            Self::Time { fsp } => fractional(f, "time", *fsp),
            Self::DateTime { fsp } => fractional(f, "datetime", *fsp),
            Self::Timestamp { fsp } => fractional(f, "timestamp", *fsp),
            Self::Char { bytes, collation } => characters(f, "char", *bytes, *collation),
            Self::VarChar { bytes, collation } => characters(f, "varchar", *bytes, *collation),
            Self::Text { length_bytes, .. } => write!(f, "{}text", size_prefix(*length_bytes)),
            Self::Binary { bytes } => write!(f, "binary({bytes})"),
            Self::VarBinary { bytes } => write!(f, "varbinary({bytes})"),
            Self::Blob { length_bytes } => write!(f, "{}blob", size_prefix(*length_bytes)),
            Self::Enum { labels, .. } => labelled(f, "enum", labels),
            Self::Set { labels, .. } => labelled(f, "set", labels),
            Self::Json => f.write_str("json"),
            Self::Geometry { kind } => {
                f.write_str(GEOMETRIES.get(usize::from(*kind)).unwrap_or(&GEOMETRIES[0]))
            }
            Self::Vector { dimension: 0 } => f.write_str("vector"),
            Self::Vector { dimension } => write!(f, "vector({dimension})"),
        }
    }
}

fn fractional(f: &mut fmt::Formatter<'_>, name: &str, fsp: u8) -> fmt::Result {
    match fsp {
        0 => f.write_str(name),
        _ => write!(f, "{name}({fsp})"),
    }
}

fn characters(f: &mut fmt::Formatter<'_>, name: &str, bytes: u32, collation: u16) -> fmt::Result {
    match charset(collation) {
        Some(charset) => write!(f, "{name}({})", bytes / charset.longest),
        None => f.write_str(name),
    }
}

fn size_prefix(length_bytes: u8) -> &'static str {
    match length_bytes {
        0 | 1 => "tiny",
        2 => "",
        3 => "medium",
        _ => "long",
    }
}

fn labelled(f: &mut fmt::Formatter<'_>, name: &str, labels: &[String]) -> fmt::Result {
    f.write_str(name)?;
    let mut separator = '(';
    for label in labels {
        write!(f, "{separator}'{}'", label.replace('\'', "''"))?;
        separator = ',';
    }
    if labels.is_empty() {
        f.write_str("(")?;
    }
    f.write_str(")")
}

/// The properties beside the text.
pub(super) struct Extra<'a> {
    pub(super) collation: Option<u16>,
    pub(super) labels: Option<Vec<String>>,
    pub(super) bytes: Option<u32>,
    pub(super) geometry: Option<u8>,
    pub(super) text: &'a str,
}

impl Extra<'_> {
    /// `None` when the text is not that of a type, or a property is missing.
    pub(super) fn column_type(self) -> Option<ColumnType> {
        let (text, unsigned) = match self.text.strip_suffix(" unsigned") {
            Some(text) => (text, true),
            None => (self.text, false),
        };
        let (name, arguments) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')')?),
            None => (text, ""),
        };
        let number = || arguments.parse::<u32>().ok();
        let fsp = || match arguments {
            "" => Some(0),
            digits => digits.parse().ok().filter(|fsp| *fsp <= 6),
        };
        let integer = |width| Some(ColumnType::Integer { width, unsigned });
        let text_of = |length_bytes| {
            Some(ColumnType::Text {
                length_bytes,
                collation: self.collation?,
            })
        };
        let blob_of = |length_bytes| Some(ColumnType::Blob { length_bytes });
        match name {
            "tinyint" => integer(Width::Tiny),
            "smallint" => integer(Width::Small),
            "mediumint" => integer(Width::Medium),
            "int" => integer(Width::Int),
            "bigint" => integer(Width::Big),
            "bit" => Some(ColumnType::Bit {
                bits: number()?.try_into().ok().filter(|b| (1..=64).contains(b))?,
            }),
            "float" => Some(ColumnType::Float { unsigned }),
            "double" => Some(ColumnType::Double { unsigned }),
            "decimal" => {
                let (precision, scale) = arguments.split_once(',')?;
                Some(ColumnType::Decimal {
                    precision: precision.parse().ok()?,
                    scale: scale.parse().ok()?,
                    unsigned,
                })
            }
            "year" => Some(ColumnType::Year),
            "date" => Some(ColumnType::Date),
            "time" => Some(ColumnType::Time { fsp: fsp()? }),
            "datetime" => Some(ColumnType::DateTime { fsp: fsp()? }),
            "timestamp" => Some(ColumnType::Timestamp { fsp: fsp()? }),
            "char" => Some(ColumnType::Char {
                bytes: self.bytes?,
                collation: self.collation?,
            }),
            "varchar" => Some(ColumnType::VarChar {
                bytes: self.bytes?,
                collation: self.collation?,
            }),
            "tinytext" => text_of(1),
            "text" => text_of(2),
            "mediumtext" => text_of(3),
            "longtext" => text_of(4),
            "binary" => Some(ColumnType::Binary { bytes: number()? }),
            "varbinary" => Some(ColumnType::VarBinary { bytes: number()? }),
            "tinyblob" => blob_of(1),
            "blob" => blob_of(2),
            "mediumblob" => blob_of(3),
            "longblob" => blob_of(4),
            "enum" => Some(ColumnType::Enum {
                labels: self.labels?,
                collation: self.collation?,
            }),
            "set" => Some(ColumnType::Set {
                labels: self.labels?,
                collation: self.collation?,
            }),
            "json" => Some(ColumnType::Json),
            "vector" => Some(ColumnType::Vector {
                dimension: if arguments.is_empty() { 0 } else { number()? },
            }),
            _ => {
                let named = GEOMETRIES.iter().position(|known| *known == name)? as u8;
                Some(ColumnType::Geometry {
                    kind: self.geometry.unwrap_or(named),
                })
            }
        }
    }
}

/// Whether the text alone does not tell the geometry's kind.
pub(super) fn unnamed_geometry(ty: &ColumnType) -> Option<u8> {
    match ty {
        ColumnType::Geometry { kind } if usize::from(*kind) >= GEOMETRIES.len() => Some(*kind),
        _ => None,
    }
}
