//! A table's plan: how each column's bytes in a row image become its field in the row datum.
//!
//! ```text
//! row image: bitmap of NULLs among the columns that are there, least significant bit first | their values, in order, without padding
//! ```

mod selected;

use binferry_schemas::{
    datum,
    row::{ColumnType, RowSchema, Width},
};

use super::{
    cursor::{Cursor, Flaw, Read},
    decimal::Layout,
    error::DecodeError,
    json, mariadb,
    table_map::TableMap,
    temporal,
    text::Encoding,
};

pub(crate) use selected::{Selected, expression};

/// Made once for a table map; good for every row event that refers to it.
#[derive(Debug)]
pub struct TablePlan {
    schema: RowSchema,
    columns: Box<[Decoder]>,
}

/// How many bytes a length takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    One,
    Two,
    Three,
    Four,
}

impl Prefix {
    /// Of a column that can have so many bytes.
    fn of_longest(bytes: u32) -> Self {
        if bytes > 255 { Self::Two } else { Self::One }
    }

    fn of_bytes(bytes: u8) -> Self {
        match bytes {
            0 | 1 => Self::One,
            2 => Self::Two,
            3 => Self::Three,
            _ => Self::Four,
        }
    }

    #[inline]
    fn read<'a>(self, cursor: &mut Cursor<'a>) -> Read<&'a [u8]> {
        let length = match self {
            Self::One => usize::from(cursor.u8()?),
            Self::Two => usize::from(cursor.u16()?),
            Self::Three => cursor.u24()? as usize,
            Self::Four => cursor.u32()? as usize,
        };
        cursor.take(length)
    }
}

#[derive(Debug)]
enum Decoder {
    I8,
    U8,
    I16,
    U16,
    I24,
    U24,
    I32,
    U32,
    I64,
    U64,
    /// Bytes of a field of at most 63 bits.
    Bit(u8),
    Bit64,
    Float,
    Double,
    Decimal(Layout),
    Year,
    Date,
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    Text(Prefix, Encoding),
    /// The length to which zeros that the binlog leaves off are put back.
    Binary(Prefix, u32),
    Bytes(Prefix),
    Enum(Box<Labels>),
    Set(Box<Labels>),
    Json,
    Vector,
    /// Of MariaDB's COMPRESSED columns.
    ExpandedText(Prefix, Encoding),
    ExpandedBytes(Prefix),
}

#[derive(Debug)]
struct Labels {
    labels: Box<[Box<str>]>,
    /// Bytes of the value.
    bytes: usize,
}

impl Labels {
    fn of_enum(labels: &[String]) -> Box<Self> {
        Self::boxed(labels, if labels.len() > 255 { 2 } else { 1 })
    }

    fn of_set(labels: &[String]) -> Box<Self> {
        // 1, 2, 3, 4 or 8 bytes.
        let bytes = match labels.len().div_ceil(8) {
            0 => 1,
            bytes @ 1..=4 => bytes,
            _ => 8,
        };
        Self::boxed(labels, bytes)
    }

    fn boxed(labels: &[String], bytes: usize) -> Box<Self> {
        let labels = labels.iter().map(|label| label.as_str().into()).collect();
        Box::new(Self { labels, bytes })
    }

    #[inline]
    fn put_enum(&self, out: &mut Vec<u8>, number: u64) -> Read<()> {
        // 0 stands for a value that was none of the labels when it was written.
        match (number as usize)
            .checked_sub(1)
            .and_then(|index| self.labels.get(index))
        {
            Some(label) => datum::put_text(out, label),
            None => datum::put_number(out, number as i64),
        }
        Ok(())
    }

    #[inline]
    fn put_set(&self, out: &mut Vec<u8>, bits: u64) -> Read<()> {
        let labelled = self.labels.len();
        if labelled < 64 && bits >> labelled != 0 {
            // The number is an `int` of Avro's.
            let number = i32::try_from(bits).map_err(|_| Flaw("has members without a label"))?;
            datum::put_number(out, i64::from(number));
            return Ok(());
        }
        let members = || (self.labels.iter().enumerate()).filter(|(bit, _)| bits >> bit & 1 != 0);
        let length: usize = members().map(|(_, label)| label.len() + 1).sum();
        out.push(2);
        binferry_schemas::avro::put_long(out, length.saturating_sub(1) as i64);
        for (nth, (_, label)) in members().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            out.extend_from_slice(label.as_bytes());
        }
        Ok(())
    }
}

impl Decoder {
    fn new(ty: &ColumnType) -> Self {
        match ty {
            ColumnType::Integer { width, unsigned } => match (width, unsigned) {
                (Width::Tiny, false) => Self::I8,
                (Width::Tiny, true) => Self::U8,
                (Width::Small, false) => Self::I16,
                (Width::Small, true) => Self::U16,
                (Width::Medium, false) => Self::I24,
                (Width::Medium, true) => Self::U24,
                (Width::Int, false) => Self::I32,
                (Width::Int, true) => Self::U32,
                (Width::Big, false) => Self::I64,
                (Width::Big, true) => Self::U64,
            },
            ColumnType::Bit { bits: 64.. } => Self::Bit64,
            ColumnType::Bit { bits } => Self::Bit(bits.div_ceil(8)),
            ColumnType::Float { .. } => Self::Float,
            ColumnType::Double { .. } => Self::Double,
            ColumnType::Decimal {
                precision, scale, ..
            } => Self::Decimal(Layout::new(*precision, *scale)),
            ColumnType::Year => Self::Year,
            ColumnType::Date => Self::Date,
            ColumnType::Time { fsp } => Self::Time(*fsp),
            ColumnType::DateTime { fsp } => Self::DateTime(*fsp),
            ColumnType::Timestamp { fsp } => Self::Timestamp(*fsp),
            ColumnType::Char { bytes, collation } | ColumnType::VarChar { bytes, collation } => {
                Self::Text(Prefix::of_longest(*bytes), Encoding::of(*collation))
            }
            ColumnType::Text {
                length_bytes,
                collation,
            } => Self::Text(Prefix::of_bytes(*length_bytes), Encoding::of(*collation)),
            ColumnType::Binary { bytes } => Self::Binary(Prefix::of_longest(*bytes), *bytes),
            ColumnType::VarBinary { bytes } => Self::Bytes(Prefix::of_longest(*bytes)),
            ColumnType::Blob { length_bytes } => Self::Bytes(Prefix::of_bytes(*length_bytes)),
            ColumnType::Geometry { .. } => Self::Bytes(Prefix::Four),
            ColumnType::Enum { labels, .. } => Self::Enum(Labels::of_enum(labels)),
            ColumnType::Set { labels, .. } => Self::Set(Labels::of_set(labels)),
            ColumnType::Json => Self::Json,
            ColumnType::Vector { .. } => Self::Vector,
        }
    }

    /// The same for a column whose values are compressed. The byte before each value counts for the length of its length.
    fn expanding(self, ty: &ColumnType) -> Self {
        let of = |bytes: u32| Prefix::of_longest(bytes.saturating_add(1));
        match (self, ty) {
            (Self::Text(_, encoding), ColumnType::VarChar { bytes, .. }) => {
                Self::ExpandedText(of(*bytes), encoding)
            }
            (Self::Bytes(_), ColumnType::VarBinary { bytes }) => Self::ExpandedBytes(of(*bytes)),
            (Self::Text(prefix, encoding), _) => Self::ExpandedText(prefix, encoding),
            (Self::Bytes(prefix), _) => Self::ExpandedBytes(prefix),
            (other, _) => other,
        }
    }

    /// A value that isn't NULL.
    #[inline]
    fn put(&self, out: &mut Vec<u8>, cursor: &mut Cursor<'_>) -> Read<()> {
        let integer = match self {
            Self::I32 => i64::from(cursor.u32()? as i32),
            Self::Text(prefix, encoding) => {
                encoding.put(out, prefix.read(cursor)?);
                return Ok(());
            }
            Self::I8 => i64::from(cursor.u8()? as i8),
            Self::U8 => i64::from(cursor.u8()?),
            Self::I16 => i64::from(cursor.u16()? as i16),
            Self::U16 => i64::from(cursor.u16()?),
            Self::I24 => i64::from((cursor.u24()? << 8) as i32 >> 8),
            Self::U24 => i64::from(cursor.u24()?),
            Self::U32 => i64::from(cursor.u32()?),
            Self::I64 => cursor.u64()? as i64,
            Self::Bit(bytes) => cursor.big_endian(usize::from(*bytes))? as i64,
            // 0 is the year 0000, all others count from 1900.
            Self::Year => match cursor.u8()? {
                0 => 0,
                year => i64::from(year) + 1900,
            },
            _ => return self.put_other(out, cursor),
        };
        datum::put_int(out, integer);
        Ok(())
    }

    fn put_other(&self, out: &mut Vec<u8>, cursor: &mut Cursor<'_>) -> Read<()> {
        match self {
            Self::U64 => datum::put_unsigned(out, cursor.u64()?),
            Self::Bit64 => datum::put_unsigned(out, cursor.big_endian(8)?),
            Self::Float => datum::put_float(out, f32::from_le_bytes(cursor.array()?)),
            Self::Double => datum::put_double(out, f64::from_le_bytes(cursor.array()?)),
            Self::Decimal(layout) => layout.put(out, cursor.take(layout.bytes())?)?,
            Self::Date => temporal::put_date(out, cursor)?,
            Self::Time(fsp) => temporal::put_time(out, cursor, *fsp)?,
            Self::DateTime(fsp) => temporal::put_datetime(out, cursor, *fsp)?,
            Self::Timestamp(fsp) => temporal::put_timestamp(out, cursor, *fsp)?,
            Self::Binary(prefix, length) => {
                let bytes = prefix.read(cursor)?;
                let length = *length as usize;
                if bytes.len() == length {
                    datum::put_bytes(out, bytes);
                } else {
                    let missing = length
                        .checked_sub(bytes.len())
                        .ok_or(Flaw("is longer than its type"))?;
                    out.push(2);
                    binferry_schemas::avro::put_long(out, length as i64);
                    out.extend_from_slice(bytes);
                    out.resize(out.len() + missing, 0);
                }
            }
            Self::Bytes(prefix) => datum::put_bytes(out, prefix.read(cursor)?),
            Self::Enum(labels) => {
                labels.put_enum(out, cursor.little_endian(labels.bytes)?)?;
            }
            Self::Set(labels) => labels.put_set(out, cursor.little_endian(labels.bytes)?)?,
            Self::Json => json::put(out, Prefix::Four.read(cursor)?)?,
            Self::ExpandedText(prefix, encoding) => {
                mariadb::column(prefix.read(cursor)?, |text| encoding.put(out, text))?;
            }
            Self::ExpandedBytes(prefix) => {
                mariadb::column(prefix.read(cursor)?, |bytes| datum::put_bytes(out, bytes))?;
            }
            Self::Vector => {
                let floats = Prefix::Four.read(cursor)?;
                if floats.len() % 4 != 0 {
                    return Err(Flaw("is a vector that does not end with a whole number"));
                }
                datum::put_vector(out, floats);
            }
            // `put` has taken the rest.
            _ => return Err(Flaw("has a type without a decoder")),
        }
        Ok(())
    }
}

/// Where a row image is broken: the column, when one is.
pub(crate) struct ImageFlaw {
    column: Option<usize>,
    flaw: Flaw,
}

impl ImageFlaw {
    pub(super) fn column(column: usize, flaw: Flaw) -> Self {
        let column = Some(column);
        Self { column, flaw }
    }
}

impl ImageFlaw {
    /// In words that follow the table's name.
    pub(crate) fn describe(&self, schema: &RowSchema) -> String {
        let Flaw(text) = self.flaw;
        match self.column.and_then(|index| schema.columns.get(index)) {
            Some(column) => format!("a value of its column {} {text}", column.name),
            None => format!("a row of it {text}"),
        }
    }
}

/// The image as a whole is broken.
pub(super) fn whole(flaw: Flaw) -> ImageFlaw {
    ImageFlaw { column: None, flaw }
}

/// Bit `index` of a bitmap, least significant bit first; what is beyond its end is not set.
#[inline]
pub(super) fn bit(bitmap: &[u8], index: usize) -> bool {
    (bitmap.get(index / 8)).is_some_and(|byte| byte >> (index % 8) & 1 != 0)
}

impl TablePlan {
    /// Errors: those of [`TableMap::schema`].
    pub fn new(map: &TableMap<'_>) -> Result<Self, DecodeError> {
        let schema = map.schema()?;
        if map.is_sequence(&schema) {
            return Err(DecodeError::Sequence {
                database: schema.database,
                table: schema.table,
            });
        }
        let mut columns: Box<[Decoder]> =
            schema.columns.iter().map(|c| Decoder::new(&c.ty)).collect();
        for place in map.compressed() {
            if let (Some(decoder), Some(column)) =
                (columns.get_mut(place), schema.columns.get(place))
            {
                *decoder = Decoder::new(&column.ty).expanding(&column.ty);
            }
        }
        Ok(Self { schema, columns })
    }

    pub fn schema(&self) -> &RowSchema {
        &self.schema
    }

    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Is the column a JSON document?
    pub(super) fn is_document(&self, column: usize) -> bool {
        matches!(self.columns.get(column), Some(Decoder::Json))
    }

    /// Takes a full row image off the front of `cursor` and appends it as a datum of the row schema. After an error the tail of `out` is
    /// of no use.
    #[inline]
    pub(super) fn image(
        &self,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ImageFlaw> {
        let nulls = cursor.take(self.columns.len().div_ceil(8)).map_err(whole)?;
        for (index, decoder) in self.columns.iter().enumerate() {
            if bit(nulls, index) {
                datum::put_null(out);
            } else {
                decoder
                    .put(out, cursor)
                    .map_err(|flaw| ImageFlaw::column(index, flaw))?;
            }
        }
        Ok(())
    }

    /// Takes the value of one column, not NULL, off the front of `cursor` and appends it to a datum.
    pub(super) fn value(
        &self,
        column: usize,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ImageFlaw> {
        match self.columns.get(column) {
            Some(decoder) => decoder.put(out, cursor),
            None => Err(Flaw("has a column that the table map lacks")),
        }
        .map_err(|flaw| ImageFlaw::column(column, flaw))
    }

    #[cold]
    pub(super) fn describe(&self, flaw: &ImageFlaw) -> DecodeError {
        let Flaw(text) = flaw.flaw;
        match flaw.column.and_then(|index| self.schema.columns.get(index)) {
            Some(column) => DecodeError::Value {
                database: self.schema.database.clone(),
                table: self.schema.table.clone(),
                column: column.name.clone(),
                flaw: text,
            },
            None => self.broken(text),
        }
    }

    #[cold]
    pub(super) fn broken(&self, flaw: &'static str) -> DecodeError {
        DecodeError::Rows {
            database: self.schema.database.clone(),
            table: self.schema.table.clone(),
            flaw,
        }
    }

    /// Only the change of a document is there.
    #[cold]
    pub(super) fn document_missing(&self, column: usize) -> DecodeError {
        DecodeError::DocumentMissing {
            database: self.schema.database.clone(),
            table: self.schema.table.clone(),
            column: (self.schema.columns.get(column))
                .map(|column| column.name.clone())
                .unwrap_or_default(),
        }
    }
}
