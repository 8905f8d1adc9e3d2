//! A column of both tables, as an expression that gives the same bytes on both servers for the same value, and other bytes for any other.
//!
//! | | what is compared |
//! |---|---|
//! | integers, BIT | digits, without ZEROFILL's zeros |
//! | DECIMAL | digits, with the scale of the side that has more of it |
//! | FLOAT, DOUBLE | the shortest digits that read back as the same DOUBLE: one ULP shows, FLOAT's own six digits do not |
//! | DATE, YEAR; TIME, DATETIME, TIMESTAMP | text in UTC; with microseconds where the precisions differ |
//! | text | its bytes where both columns have one character set, otherwise converted to utf8mb4; never by collation |
//! | ENUM, SET | labels; the number 0 of an ENUM is no label |
//! | JSON | text, and the types that the text does not tell (decimal, date, unsigned, …); between MySQL and MariaDB the text alone |
//! | others | bytes |

use super::{Both, Side};
use crate::{
    dialect::Dialect,
    render::{
        literal::{hex, put_quoted},
        name::quoted,
    },
    target::table::{TargetColumn, TargetTable},
};

/// A column that both tables have, with types of one family.
#[derive(Debug)]
pub struct Column {
    pub name: String,
    pub quoted: Both<String>,
    /// What the row's digest is made of; NULL for NULL.
    pub value: Both<String>,
    /// Bytes of any length, which may hold a comma.
    pub is_plain: bool,
    pub nullable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Integer,
    Bit,
    Decimal,
    Real,
    Date,
    Time,
    DateTime,
    Timestamp,
    Text,
    Enum,
    Set,
    Bytes,
    Json,
    Vector,
    /// Compared as what the server prints; only with a column of the same type.
    Printed,
}

fn family(column: &TargetColumn) -> Family {
    match column.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Family::Integer,
        "bit" => Family::Bit,
        "decimal" => Family::Decimal,
        "float" | "double" => Family::Real,
        "date" => Family::Date,
        "time" => Family::Time,
        "datetime" => Family::DateTime,
        "timestamp" => Family::Timestamp,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Family::Text,
        "enum" => Family::Enum,
        "set" => Family::Set,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry"
        | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" => Family::Bytes,
        "json" => Family::Json,
        "vector" => Family::Vector,
        _ => Family::Printed,
    }
}

/// Why a column of the target can't hold what the source's holds, as a person would say it. `None`: it can.
pub fn narrower(source: &TargetColumn, target: &TargetColumn) -> Option<String> {
    let (here, there) = (family(source), family(target));
    let both = |what: fn(&TargetColumn) -> Option<u64>| {
        (
            what(source).unwrap_or_default(),
            what(target).unwrap_or_default(),
        )
    };
    let less = |what: fn(&TargetColumn) -> Option<u64>| {
        let (here, there) = both(what);
        there < here
    };
    let types = || format!("{} and {}", source.column_type, target.column_type);
    let document = (here, there) == (Family::Json, Family::Text) && target.data_type == "longtext";
    if here != there && !document || here == Family::Printed && source.data_type != target.data_type
    {
        return Some(types());
    }
    let narrow = match here {
        Family::Integer => match (source.unsigned(), target.unsigned()) {
            (false, true) => true,
            (true, false) => bits(target) <= bits(source),
            _ => bits(target) < bits(source),
        },
        Family::Decimal => {
            let (p, tp) = both(|column| column.precision);
            let (s, ts) = both(|column| column.scale);
            ts < s || tp.saturating_sub(ts) < p.saturating_sub(s)
        }
        Family::Real => source.data_type == "double" && target.data_type == "float",
        Family::Bit => less(|column| column.precision),
        Family::Time | Family::DateTime | Family::Timestamp => less(|column| column.fsp),
        Family::Text if document => false,
        // Characters tell of CHAR and VARCHAR; a TEXT has as many as bytes in this column of the catalog.
        Family::Text => less(|column| column.characters),
        Family::Bytes => source.octets.is_some() && less(|column| column.octets),
        Family::Enum | Family::Set => {
            let there = target.labels();
            !source.labels().iter().all(|label| there.contains(label))
        }
        Family::Vector => less(|column| column.octets),
        Family::Printed => source.data_type != target.data_type,
        Family::Date | Family::Json => false,
    };
    match narrow {
        true => Some(types()),
        false if source.nullable && !target.nullable => Some(format!(
            "{} and {} NOT NULL",
            source.column_type, target.column_type
        )),
        false => None,
    }
}

fn bits(column: &TargetColumn) -> u8 {
    match column.data_type.as_str() {
        "tinyint" => 8,
        "smallint" | "year" => 16,
        "mediumint" => 24,
        "int" => 32,
        _ => 64,
    }
}

/// Why values of the two can't be compared, where they can't.
pub fn why_apart(tables: Both<&TargetTable>, columns: Both<&TargetColumn>) -> Option<&'static str> {
    let families = columns.map(family);
    let real = [families.source, families.target].contains(&Family::Real);
    let alike = match (families.source, families.target) {
        (Family::Printed, Family::Printed) => columns.source.data_type == columns.target.data_type,
        (Family::Json, Family::Text) | (Family::Text, Family::Json) => true,
        (here, there) => here == there,
    };
    if !alike {
        Some("values of two such types can't be compared")
    } else if real && tables.source.dialect != tables.target.dialect {
        Some("MySQL and MariaDB write a FLOAT or DOUBLE in different ways")
    } else {
        None
    }
}

/// A comparable pair.
pub fn column(tables: Both<&TargetTable>, columns: Both<&TargetColumn>) -> Column {
    let dialects = tables.map(|table| table.dialect);
    let value = |column: &TargetColumn, other: &TargetColumn| match normal(column, other, dialects)
    {
        Normal::Short(value) | Normal::Plain(value) => value,
        Normal::Made(value) => format!("SHA2({value},256)"),
    };
    let is_plain = matches!(
        normal(columns.source, columns.target, dialects),
        Normal::Plain(_)
    );
    Column {
        name: columns.source.name.clone(),
        quoted: columns.map(|column| quoted(&column.name)),
        value: Both {
            source: value(columns.source, columns.target),
            target: value(columns.target, columns.source),
        },
        is_plain,
        nullable: columns.source.nullable || columns.target.nullable,
    }
}

enum Normal {
    /// Never with a comma.
    Short(String),
    /// A column's own bytes.
    Plain(String),
    /// Computed, and of any length.
    Made(String),
}

fn normal(column: &TargetColumn, other: &TargetColumn, dialects: Both<Dialect>) -> Normal {
    let name = quoted(&column.name);
    let zerofill = |column: &TargetColumn| column.column_type.contains("zerofill");
    let cast = |ty: &str| Normal::Short(format!("CAST({name} AS {ty})"));
    let finer = column.fsp != other.fsp;
    match family(column) {
        Family::Integer if zerofill(column) => Normal::Short(format!("{name}+0")),
        Family::Bit => Normal::Short(format!("{name}+0")),
        Family::Integer | Family::Date => Normal::Short(name),
        Family::Decimal if column.scale != other.scale || zerofill(column) || zerofill(other) => {
            cast(&format!(
                "DECIMAL(65,{})",
                column.scale.max(other.scale).unwrap_or_default()
            ))
        }
        Family::Decimal => Normal::Short(name),
        Family::Real => cast("DOUBLE"),
        Family::Time if finer => cast("TIME(6)"),
        Family::DateTime | Family::Timestamp if finer => cast("DATETIME(6)"),
        Family::Time | Family::DateTime | Family::Timestamp => Normal::Short(name),
        Family::Text if family(other) == Family::Text && column.charset == other.charset => {
            Normal::Plain(name)
        }
        Family::Text => Normal::Made(format!("CONVERT({name} USING utf8mb4)")),
        // A label is at most 255 characters; the server takes blanks off its end.
        Family::Enum => Normal::Made(format!("IF({name}+0=0,' ',CONVERT({name} USING utf8mb4))")),
        Family::Set => Normal::Made(format!("CONVERT({name} USING utf8mb4)")),
        Family::Bytes => Normal::Plain(name),
        Family::Json if family(other) == Family::Json && dialects.source == dialects.target => {
            Normal::Made(format!("CONCAT(CAST({name} AS CHAR),{})", types(&name)))
        }
        Family::Json => Normal::Made(format!("CAST({name} AS CHAR)")),
        Family::Vector => Normal::Made(format!("HEX({name})")),
        Family::Printed => Normal::Made(format!("CAST({name} AS CHAR)")),
    }
}

/// The types of a document's values, as far as its text does not tell them: of the document, of the members of its objects, of the elements
/// of its arrays, each with its place in the order in which the server goes through them.
fn types(name: &str) -> String {
    let values = |path: &str| {
        format!(
            "(SELECT CONCAT_WS(':',COUNT(*),GROUP_CONCAT(IF(JSON_TYPE(v) IN ('STRING','INTEGER','DOUBLE','BOOLEAN','OBJECT','ARRAY'),NULL,\
             CONCAT(o,JSON_TYPE(v))) ORDER BY o)) FROM JSON_TABLE({name},'{path}' COLUMNS (o FOR ORDINALITY,v JSON PATH '$')) AS jt)"
        )
    };
    format!(
        "JSON_TYPE({name}),';',{},';',{}",
        values("$**.*"),
        values("$**[*]")
    )
}

/// A part of a key: what is selected, and how its values stand in SQL.
#[derive(Debug, Clone)]
pub struct KeyPart {
    pub name: String,
    /// The column on each server, quoted.
    pub quoted: Both<String>,
    /// What gives its value.
    pub value: Both<String>,
    literal: Both<Literal>,
    pub is_text: bool,
}

#[derive(Debug, Clone)]
enum Literal {
    Number,
    Quoted,
    Bytes,
    /// Bytes of the character set, compared by the collation.
    Text(String, String),
    /// From utf8mb4.
    Converted(String, String),
}

/// `None`: no key can be made of the column by which both servers find the same row.
pub fn key_part(columns: Both<&TargetColumn>) -> Option<KeyPart> {
    let (source, target) = (columns.source, columns.target);
    if family(source) != family(target) {
        return None;
    }
    let one = |column: &TargetColumn, other: &TargetColumn| {
        let name = quoted(&column.name);
        let finer = column.fsp != other.fsp;
        Some(match family(column) {
            Family::Integer | Family::Bit => (format!("{name}+0"), Literal::Number),
            Family::Decimal => {
                let scale = column.scale.max(other.scale).unwrap_or_default();
                (
                    format!("CAST({name} AS DECIMAL(65,{scale}))"),
                    Literal::Number,
                )
            }
            Family::Real => (format!("CAST({name} AS DOUBLE)"), Literal::Number),
            Family::Date => (name, Literal::Quoted),
            Family::Time if finer => (format!("CAST({name} AS TIME(6))"), Literal::Quoted),
            Family::DateTime | Family::Timestamp if finer => {
                (format!("CAST({name} AS DATETIME(6))"), Literal::Quoted)
            }
            Family::Time | Family::DateTime | Family::Timestamp => (name, Literal::Quoted),
            Family::Text => {
                let (charset, collation) = (column.charset.as_ref()?, column.collation.as_ref()?);
                let text = (charset.name().to_owned(), collation.name().to_owned());
                match column.charset == other.charset {
                    true => (
                        format!("CAST({name} AS BINARY)"),
                        Literal::Text(text.0, text.1),
                    ),
                    false => (
                        format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY)"),
                        Literal::Converted(text.0, text.1),
                    ),
                }
            }
            Family::Bytes if column.data_type.ends_with("binary") => (name, Literal::Bytes),
            Family::Enum | Family::Set if column.column_type == other.column_type => {
                (format!("{name}+0"), Literal::Number)
            }
            _ => return None,
        })
    };
    let (here, there) = (one(source, target)?, one(target, source)?);
    let is_utf8 = source
        .charset
        .as_ref()
        .is_some_and(|charset| charset.is_utf8());
    let is_text = match family(source) {
        Family::Bytes => false,
        Family::Text => is_utf8 || source.charset != target.charset,
        _ => true,
    };
    Some(KeyPart {
        name: source.name.clone(),
        quoted: columns.map(|column| quoted(&column.name)),
        is_text,
        value: Both {
            source: here.0,
            target: there.0,
        },
        literal: Both {
            source: here.1,
            target: there.1,
        },
    })
}

/// Do both servers order the column alike? Not text of different collations.
pub fn orders_alike(columns: Both<&TargetColumn>) -> bool {
    columns.source.collation == columns.target.collation
}

impl KeyPart {
    /// A value that [`KeyPart::value`] gave, as it stands in SQL at this side. `None`: it is none.
    pub fn literal(&self, side: Side, value: &[u8]) -> Option<String> {
        let hex = || hex(value);
        Some(match self.literal.of(side) {
            Literal::Number => {
                let text = std::str::from_utf8(value).ok()?;
                let fits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e');
                (!text.is_empty() && text.chars().all(fits)).then(|| text.to_owned())?
            }
            Literal::Quoted => {
                let mut out = Vec::new();
                put_quoted(&mut out, value);
                String::from_utf8(out).ok()?
            }
            Literal::Bytes => format!("_binary {}", hex()),
            Literal::Text(charset, collation) => {
                format!("_{charset} {} COLLATE {collation}", hex())
            }
            Literal::Converted(charset, collation) => {
                format!(
                    "CONVERT(_utf8mb4 {} USING {charset}) COLLATE {collation}",
                    hex()
                )
            }
        })
    }

    /// For people and machines: text as it is, other bytes as hexadecimal digits.
    pub fn shown(&self, value: &[u8]) -> String {
        match std::str::from_utf8(value) {
            Ok(text) if self.is_text => text.to_owned(),
            _ => value.iter().fold("0x".to_owned(), |mut out, byte| {
                out.push_str(&format!("{byte:02x}"));
                out
            }),
        }
    }
}
