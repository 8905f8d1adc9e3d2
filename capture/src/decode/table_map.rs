//! TABLE_MAP: a table id's meaning for the row events that follow.
//!
//! ```text
//! u48 table id | u16 flags | u8 length, database, NUL | u8 length, table, NUL
//! | length-encoded columns | a type byte a column | length-encoded bytes of type metadata | type metadata
//! | bitmap of nullable columns | (u8 kind | length-encoded length | value)*        (optional metadata)
//! ```
//!
//! Optional metadata (`binlog_row_metadata=FULL`), of which the kinds that count columns leave out the columns that they don't concern:
//!
//! ```text
//! 1  SIGNEDNESS       bitmap, most significant bit first, of the unsigned ones among the numeric columns (YEAR is one, BIT is not)
//! 2  DEFAULT_CHARSET  collation, (place, collation)*: character columns (strings and blobs, binary ones and VECTOR among them)
//! 3  COLUMN_CHARSET   (collation)*: the other form of 2
//! 4  COLUMN_NAME      (length, name)*
//! 5  SET_STR_VALUE, 6 ENUM_STR_VALUE: (count, (length, label)*)*, in the column's character set
//! 7  GEOMETRY_TYPE    (kind)*
//! 8  SIMPLE_PRIMARY_KEY (column)*; 9 PRIMARY_KEY_WITH_PREFIX (column, characters)*
//! 10, 11              as 2 and 3, for ENUM and SET columns
//! 12 COLUMN_VISIBILITY bitmap as 1, of all columns
//! 13 VECTOR_DIMENSIONALITY (dimension)*
//! ```
//!
//! Numbers are length-encoded (`libs/mysql/binlog/event/rows_event.h`).

use binferry_schemas::row::{Column, ColumnType, KeyPart, RowSchema, Width};

use super::{
    cursor::{Cursor, Flaw, Read},
    error::DecodeError,
    text::Encoding,
};

/// The binary character set's collation.
const BINARY: u16 = 63;

/// A table map: whose it is. The columns are read when a plan is made of it: a table that isn't captured need not be understood.
#[derive(Debug, Clone)]
pub struct TableMap<'a> {
    table_id: u64,
    database: String,
    table: String,
    mariadb: bool,
    rest: Cursor<'a>,
}

/// The columns of the table behind a sequence of MariaDB's (its `sql/sql_sequence.cc`).
const SEQUENCE: [&str; 8] = [
    "next_not_cached_value",
    "minimum_value",
    "maximum_value",
    "start_value",
    "increment",
    "cache_size",
    "cycle_option",
    "cycle_count",
];

/// The table id alone: enough to see that a table map is known.
pub(super) fn table_id(body: &[u8]) -> Read<u64> {
    Cursor::new(body).u48()
}

impl<'a> TableMap<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(body);
        let (table_id, database, table) = head(&mut cursor).map_err(|Flaw(flaw)| {
            let event = "TABLE_MAP";
            DecodeError::Malformed { event, flaw }
        })?;
        Ok(Self {
            table_id,
            database,
            table,
            mariadb: false,
            rest: cursor,
        })
    }

    /// Whether MariaDB wrote it, which counts geometries among the columns that have a character set.
    #[must_use]
    pub fn of_mariadb(self, mariadb: bool) -> Self {
        Self { mariadb, ..self }
    }

    pub fn table_id(&self) -> u64 {
        self.table_id
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// Errors: damage; no column names (the source's `binlog_row_metadata` is not FULL); a column of a type that is not known.
    pub fn schema(&self) -> Result<RowSchema, DecodeError> {
        Ok(RowSchema {
            database: self.database.clone(),
            table: self.table.clone(),
            columns: columns(self.rest, self.mariadb, &self.database, &self.table)?,
        })
    }

    /// The columns whose values are compressed one by one (MariaDB's COMPRESSED), by place; a table map that cannot be read has none.
    pub(super) fn compressed(&self) -> Vec<usize> {
        let mut cursor = self.rest;
        let types = cursor.count().and_then(|count| cursor.take(count));
        (types.unwrap_or_default().iter().enumerate())
            .filter(|(_, code)| is_compressed(**code))
            .map(|(place, _)| place)
            .collect()
    }

    /// Whether these are the columns of a sequence.
    pub(super) fn is_sequence(&self, schema: &RowSchema) -> bool {
        self.mariadb
            && schema
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .eq(SEQUENCE)
    }
}

fn head(cursor: &mut Cursor<'_>) -> Read<(u64, String, String)> {
    let table_id = cursor.u48()?;
    cursor.u16()?;
    let mut name = || {
        let name = cursor.short_bytes()?;
        cursor.u8()?;
        text(name)
    };
    Ok((table_id, name()?, name()?))
}

fn text(bytes: &[u8]) -> Read<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Flaw("holds a name that is not UTF-8"))
}

/// A column's type as the first parts of the event give it: `ENUM` and `SET` unwrapped from their disguise as `STRING`.
#[derive(Debug, Clone, Copy)]
struct Raw {
    code: u8,
    /// The type metadata: its meaning depends on `code`.
    meta: u16,
    nullable: bool,
    mariadb: bool,
}

mod code {
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    /// Times as they were before MySQL 5.6.4: MariaDB still has them, in tables made with mysql56_temporal_format = OFF.
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const INT24: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TIMESTAMP2: u8 = 17;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    pub(super) const BLOB_COMPRESSED: u8 = 140;
    pub(super) const VARCHAR_COMPRESSED: u8 = 141;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const JSON: u8 = 245;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
    pub(super) const BLOB: u8 = 252;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
    pub(super) const GEOMETRY: u8 = 255;
}

impl Raw {
    fn is_numeric(self) -> bool {
        matches!(
            self.code,
            code::TINY
                | code::SHORT
                | code::INT24
                | code::LONG
                | code::LONGLONG
                | code::FLOAT
                | code::DOUBLE
                | code::NEWDECIMAL
                | code::YEAR
        )
    }

    fn is_character(self) -> bool {
        matches!(
            self.code,
            code::STRING | code::VAR_STRING | code::VARCHAR | code::BLOB | code::VECTOR
        ) || self.mariadb && self.code == code::GEOMETRY
    }

    fn is_labelled(self) -> bool {
        matches!(self.code, code::ENUM | code::SET)
    }
}

/// A column whose values are compressed is otherwise one of the same type without.
fn is_compressed(code: u8) -> bool {
    matches!(code, code::BLOB_COMPRESSED | code::VARCHAR_COMPRESSED)
}

fn raw_columns(cursor: &mut Cursor<'_>, mariadb: bool) -> Read<Vec<Raw>> {
    let count = cursor.count()?;
    let types = cursor.take(count)?;
    let mut meta = Cursor::new(cursor.length_encoded_bytes()?);
    let mut raws = Vec::with_capacity(count);
    for &code in types {
        let (code, meta) = raw_type(code, &mut meta)?;
        raws.push(Raw {
            code,
            meta,
            nullable: false,
            mariadb,
        });
    }
    if !meta.is_empty() {
        return Err(Flaw("has type metadata left over"));
    }
    let nullable = cursor.take(count.div_ceil(8))?;
    for (index, raw) in raws.iter_mut().enumerate() {
        raw.nullable = nullable[index / 8] >> (index % 8) & 1 != 0;
    }
    Ok(raws)
}

fn raw_type(code: u8, meta: &mut Cursor<'_>) -> Read<(u8, u16)> {
    let meta = match code {
        code::FLOAT
        | code::DOUBLE
        | code::BLOB
        | code::GEOMETRY
        | code::JSON
        | code::VECTOR
        | code::TIMESTAMP2
        | code::DATETIME2
        | code::TIME2 => u16::from(meta.u8()?),
        code::VARCHAR | code::BIT => meta.u16()?,
        code::BLOB_COMPRESSED => return Ok((code::BLOB, u16::from(meta.u8()?))),
        // The longest value with the byte before it that says how it is compressed.
        code::VARCHAR_COMPRESSED => return Ok((code::VARCHAR, meta.u16()?.saturating_sub(1))),
        // Precision, scale.
        code::NEWDECIMAL => u16::from_be_bytes(meta.array()?),
        code::STRING | code::VAR_STRING | code::ENUM | code::SET => {
            let [real, length] = meta.array()?;
            // Bits 4 and 5 of every real type here are set; they carry bits 8 and 9 of the length, inverted.
            let high = u16::from(!real & 0x30) << 4;
            return Ok((real | 0x30, high | u16::from(length)));
        }
        code::TINY
        | code::SHORT
        | code::LONG
        | code::LONGLONG
        | code::INT24
        | code::DATE
        | code::TIMESTAMP
        | code::TIME
        | code::DATETIME
        | code::YEAR => 0,
        // The place of the next column's metadata is not known.
        _ => return Err(Flaw("has a column of a type that is not known")),
    };
    Ok((code, meta))
}

#[derive(Debug, Default)]
struct Metadata<'a> {
    unsigned: Option<&'a [u8]>,
    names: Option<Vec<String>>,
    visible: Option<&'a [u8]>,
    charsets: Option<Vec<u16>>,
    label_charsets: Option<Vec<u16>>,
    enums: Vec<Vec<&'a [u8]>>,
    sets: Vec<Vec<&'a [u8]>>,
    geometries: Vec<u8>,
    dimensions: Vec<u32>,
    key: Vec<(usize, u32)>,
}

fn small<T: TryFrom<u64>>(cursor: &mut Cursor<'_>) -> Read<T> {
    T::try_from(cursor.length_encoded()?).map_err(|_| Flaw("holds a number out of range"))
}

fn all<'a, T>(value: &'a [u8], mut one: impl FnMut(&mut Cursor<'a>) -> Read<T>) -> Read<Vec<T>> {
    let mut cursor = Cursor::new(value);
    let mut items = Vec::new();
    while !cursor.is_empty() {
        items.push(one(&mut cursor)?);
    }
    Ok(items)
}

/// The two forms in which collations are written.
fn default_and_others(value: &[u8], columns: usize) -> Read<Vec<u16>> {
    let mut cursor = Cursor::new(value);
    let mut collations = vec![small(&mut cursor)?; columns];
    while !cursor.is_empty() {
        let place: usize = small(&mut cursor)?;
        *collations
            .get_mut(place)
            .ok_or(Flaw("has a character set for a column that is not there"))? =
            small(&mut cursor)?;
    }
    Ok(collations)
}

fn metadata<'a>(mut cursor: Cursor<'a>, raws: &[Raw]) -> Read<Metadata<'a>> {
    let mut found = Metadata::default();
    let characters = raws.iter().filter(|raw| raw.is_character()).count();
    let labelled = raws.iter().filter(|raw| raw.is_labelled()).count();
    while !cursor.is_empty() {
        let kind = cursor.u8()?;
        let value = cursor.length_encoded_bytes()?;
        match kind {
            1 => found.unsigned = Some(value),
            2 => found.charsets = Some(default_and_others(value, characters)?),
            3 => found.charsets = Some(all(value, small)?),
            4 => found.names = Some(all(value, |c| text(c.length_encoded_bytes()?))?),
            5 | 6 => {
                let lists = all(value, |c| {
                    let count = c.count()?;
                    (0..count).map(|_| c.length_encoded_bytes()).collect()
                })?;
                if kind == 5 {
                    found.sets = lists;
                } else {
                    found.enums = lists;
                }
            }
            7 => found.geometries = all(value, small)?,
            8 => found.key = all(value, |c| Ok((small(c)?, 0)))?,
            9 => found.key = all(value, |c| Ok((small(c)?, small(c)?)))?,
            10 => found.label_charsets = Some(default_and_others(value, labelled)?),
            11 => found.label_charsets = Some(all(value, small)?),
            12 => found.visible = Some(value),
            13 => found.dimensions = all(value, small)?,
            // Later kinds describe; they don't change how rows are written (the event's version would have to change).
            _ => {}
        }
    }
    Ok(found)
}

/// Bit `index` of a bitmap, most significant bit first.
fn high_bit(bitmap: &[u8], index: usize) -> Option<bool> {
    Some(bitmap.get(index / 8)? >> (7 - index % 8) & 1 != 0)
}

fn columns(
    mut cursor: Cursor<'_>,
    mariadb: bool,
    database: &str,
    table: &str,
) -> Result<Vec<Column>, DecodeError> {
    let broken = |Flaw(flaw)| DecodeError::TableMap {
        database: database.to_owned(),
        table: table.to_owned(),
        flaw,
    };
    let raws = raw_columns(&mut cursor, mariadb).map_err(broken)?;
    let mut metadata = metadata(cursor, &raws).map_err(broken)?;
    let Some(names) = metadata.names.take() else {
        return Err(DecodeError::NoMetadata {
            database: database.to_owned(),
            table: table.to_owned(),
        });
    };
    if names.len() != raws.len() {
        return Err(broken(Flaw("does not name every column")));
    }
    let mut places = Places::default();
    let mut columns = Vec::with_capacity(raws.len());
    for (index, (raw, name)) in raws.iter().zip(names).enumerate() {
        let ty = match places.column_type(*raw, &metadata) {
            Ok(ty) => ty,
            Err(Refusal::Flaw(flaw)) => return Err(broken(flaw)),
            Err(Refusal::Type(reason)) => {
                return Err(DecodeError::ColumnType {
                    database: database.to_owned(),
                    table: table.to_owned(),
                    column: name,
                    reason,
                });
            }
        };
        columns.push(Column {
            name,
            ty,
            nullable: raw.nullable,
            visible: match metadata.visible {
                Some(bitmap) => high_bit(bitmap, index).unwrap_or(true),
                None => true,
            },
            key: None,
        });
    }
    for (position, &(index, prefix)) in metadata.key.iter().enumerate() {
        let column = columns
            .get_mut(index)
            .ok_or_else(|| broken(Flaw("has a primary key over a column that is not there")))?;
        let position = u16::try_from(position)
            .map_err(|_| broken(Flaw("has a primary key of too many columns")))?;
        column.key = Some(KeyPart { position, prefix });
    }
    Ok(columns)
}

enum Refusal {
    Flaw(Flaw),
    Type(String),
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

/// How many columns of each group have gone by: the index into that group's metadata.
#[derive(Debug, Default)]
struct Places {
    numeric: usize,
    character: usize,
    labelled: usize,
    enums: usize,
    sets: usize,
    geometries: usize,
    vectors: usize,
}

fn next(place: &mut usize) -> usize {
    *place += 1;
    *place - 1
}

impl Places {
    fn column_type(&mut self, raw: Raw, metadata: &Metadata<'_>) -> Result<ColumnType, Refusal> {
        let unsigned = if raw.is_numeric() {
            let place = next(&mut self.numeric);
            let bitmap = metadata
                .unsigned
                .ok_or(Flaw("does not say which numbers are unsigned"))?;
            high_bit(bitmap, place).ok_or(Flaw("does not say which numbers are unsigned"))?
        } else {
            false
        };
        let collation = if raw.is_character() {
            let place = next(&mut self.character);
            let listed = metadata.charsets.as_ref().and_then(|c| c.get(place));
            *listed.ok_or(Flaw("lacks the character set of a column"))?
        } else if raw.is_labelled() {
            let place = next(&mut self.labelled);
            let listed = metadata.label_charsets.as_ref().and_then(|c| c.get(place));
            *listed.ok_or(Flaw("lacks the character set of a column"))?
        } else {
            BINARY
        };
        let fsp = || match raw.meta {
            fsp @ 0..=6 => Ok(fsp as u8),
            _ => Err(Flaw("has a time with more than 6 digits of a second")),
        };
        let length_bytes = || match raw.meta {
            length @ 1..=4 => Ok(length as u8),
            _ => Err(Flaw("has a blob whose length takes no bytes")),
        };
        let integer = |width| ColumnType::Integer { width, unsigned };
        Ok(match raw.code {
            code::TINY => integer(Width::Tiny),
            code::SHORT => integer(Width::Small),
            code::INT24 => integer(Width::Medium),
            code::LONG => integer(Width::Int),
            code::LONGLONG => integer(Width::Big),
            code::FLOAT => ColumnType::Float { unsigned },
            code::DOUBLE => ColumnType::Double { unsigned },
            code::YEAR => ColumnType::Year,
            code::DATE => ColumnType::Date,
            code::TIME2 => ColumnType::Time { fsp: fsp()? },
            code::DATETIME2 => ColumnType::DateTime { fsp: fsp()? },
            code::TIMESTAMP2 => ColumnType::Timestamp { fsp: fsp()? },
            code::TIMESTAMP | code::TIME | code::DATETIME => {
                return Err(Refusal::Type(
                    "its values have the form that times had before MySQL 5.6 (mysql56_temporal_format = OFF); ALTER TABLE … FORCE \
                     under mysql56_temporal_format = ON gives them the present one"
                        .to_owned(),
                ));
            }
            code::BIT => {
                let bits = (raw.meta >> 8) * 8 + (raw.meta & 0xff);
                if !(1..=64).contains(&bits) {
                    return Err(Flaw("has a bit field that is not 1 to 64 bits wide").into());
                }
                ColumnType::Bit { bits: bits as u8 }
            }
            code::NEWDECIMAL => {
                let [precision, scale] = raw.meta.to_be_bytes();
                if !(1..=65).contains(&precision) || scale > 30 || scale > precision {
                    return Err(Flaw("has a decimal of impossible precision").into());
                }
                ColumnType::Decimal {
                    precision,
                    scale,
                    unsigned,
                }
            }
            code::VARCHAR | code::VAR_STRING if collation == BINARY => ColumnType::VarBinary {
                bytes: u32::from(raw.meta),
            },
            code::VARCHAR | code::VAR_STRING => ColumnType::VarChar {
                bytes: u32::from(raw.meta),
                collation,
            },
            code::STRING if collation == BINARY => ColumnType::Binary {
                bytes: u32::from(raw.meta),
            },
            code::STRING => ColumnType::Char {
                bytes: u32::from(raw.meta),
                collation,
            },
            code::BLOB if collation == BINARY => ColumnType::Blob {
                length_bytes: length_bytes()?,
            },
            code::BLOB => ColumnType::Text {
                length_bytes: length_bytes()?,
                collation,
            },
            code::JSON => {
                if length_bytes()? != 4 {
                    return Err(Flaw("has a document whose length does not take 4 bytes").into());
                }
                ColumnType::Json
            }
            code::GEOMETRY => {
                if length_bytes()? != 4 {
                    return Err(Flaw("has a geometry whose length does not take 4 bytes").into());
                }
                let place = next(&mut self.geometries);
                let kind = metadata.geometries.get(place);
                ColumnType::Geometry {
                    kind: *kind.ok_or(Flaw("lacks the kind of a geometry"))?,
                }
            }
            code::VECTOR => {
                if length_bytes()? != 4 {
                    return Err(Flaw("has a vector whose length does not take 4 bytes").into());
                }
                let place = next(&mut self.vectors);
                ColumnType::Vector {
                    dimension: metadata.dimensions.get(place).copied().unwrap_or(0),
                }
            }
            code::ENUM => {
                let lists = metadata.enums.get(next(&mut self.enums));
                ColumnType::Enum {
                    labels: labels(lists, collation)?,
                    collation,
                }
            }
            code::SET => {
                let lists = metadata.sets.get(next(&mut self.sets));
                let labels = labels(lists, collation)?;
                if labels.len() > 64 {
                    return Err(Flaw("has a set of more than 64 members").into());
                }
                ColumnType::Set { labels, collation }
            }
            code => return Err(Refusal::Type(format!("type {code} is not known"))),
        })
    }
}

fn labels(list: Option<&Vec<&[u8]>>, collation: u16) -> Result<Vec<String>, Refusal> {
    let list = list.ok_or(Flaw("lacks the labels of a column"))?;
    let encoding = Encoding::of(collation);
    let convert = |label: &&[u8]| {
        let converted = encoding.to_utf8(label);
        converted.ok_or_else(|| {
            Refusal::Type(format!(
                "a label of the type does not convert to UTF-8 from the character set of collation {collation}"
            ))
        })
    };
    list.iter().map(convert).collect()
}
