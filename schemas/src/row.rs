//! A table's row schema: the columns as a table map event with full metadata describes them, to and from an Avro record schema
//! whose `mysql.*` properties carry what Avro cannot say.

mod avro;
mod charset;
mod names;
mod type_text;

pub use self::{
    avro::RowSchemaError,
    charset::{Charset, charset},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSchema {
    pub database: String,
    pub table: String,
    pub columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub ty: ColumnType,
    pub nullable: bool,
    pub visible: bool,
    /// Place in the primary key, when the column is a part of it.
    pub key: Option<KeyPart>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPart {
    /// From 0.
    pub position: u16,
    /// In characters for text, bytes otherwise; 0: the whole column.
    pub prefix: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    Tiny,
    Small,
    Medium,
    Int,
    Big,
}

/// The MySQL type. `collation` is the server's collation id (`information_schema.collations.id`). Lengths are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    Integer {
        width: Width,
        unsigned: bool,
    },
    /// 1 to 64.
    Bit {
        bits: u8,
    },
    Float {
        unsigned: bool,
    },
    Double {
        unsigned: bool,
    },
    Decimal {
        precision: u8,
        scale: u8,
        unsigned: bool,
    },
    Year,
    Date,
    Time {
        fsp: u8,
    },
    DateTime {
        fsp: u8,
    },
    Timestamp {
        fsp: u8,
    },
    Char {
        bytes: u32,
        collation: u16,
    },
    VarChar {
        bytes: u32,
        collation: u16,
    },
    /// `length_bytes` 1 to 4: TINYTEXT, TEXT, MEDIUMTEXT, LONGTEXT.
    Text {
        length_bytes: u8,
        collation: u16,
    },
    Binary {
        bytes: u32,
    },
    VarBinary {
        bytes: u32,
    },
    /// `length_bytes` 1 to 4: TINYBLOB, BLOB, MEDIUMBLOB, LONGBLOB.
    Blob {
        length_bytes: u8,
    },
    Enum {
        labels: Vec<String>,
        collation: u16,
    },
    Set {
        labels: Vec<String>,
        collation: u16,
    },
    Json,
    /// The `Field::geometry_type` number (0 GEOMETRY, 1 POINT, …).
    Geometry {
        kind: u8,
    },
    /// 0 when the table map does not tell.
    Vector {
        dimension: u32,
    },
}

/// How a column's values are encoded: what the branches of its union are (see [`datum`](crate::datum)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Int,
    Long,
    /// BIGINT UNSIGNED, BIT(64).
    Unsigned,
    Float,
    Double,
    Decimal,
    Date,
    Time,
    DateTime,
    Timestamp,
    Text,
    Bytes,
    Enum,
    Set,
    Json,
    Vector,
}

impl ColumnType {
    #[inline]
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Integer {
                width: Width::Big,
                unsigned: true,
            }
            | Self::Bit { bits: 64.. } => Encoding::Unsigned,
            Self::Integer {
                width: Width::Big, ..
            }
            | Self::Integer {
                width: Width::Int,
                unsigned: true,
            }
            | Self::Bit { .. } => Encoding::Long,
            Self::Integer { .. } | Self::Year => Encoding::Int,
            Self::Float { .. } => Encoding::Float,
            Self::Double { .. } => Encoding::Double,
            Self::Decimal { .. } => Encoding::Decimal,
            Self::Date => Encoding::Date,
            Self::Time { .. } => Encoding::Time,
            Self::DateTime { .. } => Encoding::DateTime,
            Self::Timestamp { .. } => Encoding::Timestamp,
            Self::Char { .. } | Self::VarChar { .. } | Self::Text { .. } => Encoding::Text,
            Self::Binary { .. }
            | Self::VarBinary { .. }
            | Self::Blob { .. }
            | Self::Geometry { .. } => Encoding::Bytes,
            Self::Enum { .. } => Encoding::Enum,
            Self::Set { .. } => Encoding::Set,
            Self::Json => Encoding::Json,
            Self::Vector { .. } => Encoding::Vector,
        }
    }

    /// The server's collation id, for the types that have one.
    pub fn collation(&self) -> Option<u16> {
        match self {
            Self::Char { collation, .. }
            | Self::VarChar { collation, .. }
            | Self::Text { collation, .. }
            | Self::Enum { collation, .. }
            | Self::Set { collation, .. } => Some(*collation),
            _ => None,
        }
    }

    /// Of an ENUM or SET.
    pub fn labels(&self) -> Option<&[String]> {
        match self {
            Self::Enum { labels, .. } | Self::Set { labels, .. } => Some(labels),
            _ => None,
        }
    }
}

impl RowSchema {
    /// The primary key's columns, by their place in the key; empty when there is none.
    pub fn key(&self) -> Vec<usize> {
        let mut key: Vec<usize> = (0..self.columns.len())
            .filter(|i| self.columns[*i].key.is_some())
            .collect();
        key.sort_by_key(|i| self.columns[*i].key.map(|part| part.position));
        key
    }
}
