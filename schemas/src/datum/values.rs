//! Reading a datum's columns in order, checked.

use super::{DECIMAL_MAX, Value};
use crate::{
    avro::{AvroError, Reader},
    fault::{Fault, Kind},
    row::{ColumnType, Encoding, RowSchema},
};

/// What is wrong with a datum. Holds no value of the row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatumError {
    #[error("column {column} of {database}.{table}: {source}")]
    Column {
        database: String,
        table: String,
        column: String,
        source: ValueError,
    },
    #[error("a datum of {database}.{table} has {bytes} bytes more than its columns")]
    Trailing {
        database: String,
        table: String,
        bytes: usize,
    },
    #[error(
        "the bitmap of present columns of {database}.{table} has {bytes} bytes for {columns} columns"
    )]
    Bitmap {
        database: String,
        table: String,
        bytes: usize,
        columns: usize,
    },
    #[error("a value of another type was given for a column that is encoded as {encoding:?}")]
    Type { encoding: Encoding },
}

impl Fault for DatumError {
    fn kind(&self) -> Kind {
        match self {
            Self::Type { .. } => Kind::Defect,
            _ => Kind::Data,
        }
    }
}

/// What is wrong with one column's bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error(transparent)]
    Avro(#[from] AvroError),
    #[error("a decimal of {bytes} bytes")]
    Decimal { bytes: usize },
    #[error("a number beyond 64 bits without a sign")]
    Unsigned,
    #[error("an array that is not one block")]
    Blocks,
    #[error("a value where the image leaves the column out")]
    Absent,
}

/// Reads the columns of a datum in order: `None` for a column that the image leaves out.
///
/// After the last column, left-over bytes are an error; after an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    schema: &'a RowSchema,
    present: Option<&'a [u8]>,
    rest: Reader<'a>,
    column: usize,
    done: bool,
}

impl<'a> Values<'a> {
    /// `present`: the image's bitmap.
    pub fn new(schema: &'a RowSchema, present: Option<&'a [u8]>, datum: &'a [u8]) -> Self {
        Self {
            schema,
            present,
            rest: Reader::new(datum),
            column: 0,
            done: false,
        }
    }

    fn end(&mut self) -> Option<Result<Option<Value<'a>>, DatumError>> {
        self.done = true;
        let bytes = self.rest.remaining();
        (bytes > 0).then(|| {
            Err(DatumError::Trailing {
                database: self.schema.database.clone(),
                table: self.schema.table.clone(),
                bytes,
            })
        })
    }

    fn check_bitmap(&self) -> Result<(), DatumError> {
        let columns = self.schema.columns.len();
        match self.present {
            Some(bitmap) if bitmap.len() != columns.div_ceil(8) => Err(DatumError::Bitmap {
                database: self.schema.database.clone(),
                table: self.schema.table.clone(),
                bytes: bitmap.len(),
                columns,
            }),
            _ => Ok(()),
        }
    }

    fn is_present(&self) -> bool {
        self.present.is_none_or(|bitmap| {
            bitmap
                .get(self.column / 8)
                .is_some_and(|byte| byte >> (self.column % 8) & 1 == 1)
        })
    }

    fn column_value(&mut self, ty: &ColumnType) -> Result<Option<Value<'a>>, ValueError> {
        let present = self.is_present();
        match (present, value(&mut self.rest, ty.encoding())?) {
            (true, value) => Ok(Some(value)),
            (false, Value::Null) => Ok(None),
            (false, _) => Err(ValueError::Absent),
        }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Result<Option<Value<'a>>, DatumError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.column == 0
            && let Err(error) = self.check_bitmap()
        {
            self.done = true;
            return Some(Err(error));
        }
        let schema = self.schema;
        let Some(column) = schema.columns.get(self.column) else {
            return self.end();
        };
        let value = self.column_value(&column.ty);
        self.column += 1;
        Some(value.map_err(|source| {
            self.done = true;
            DatumError::Column {
                database: schema.database.clone(),
                table: schema.table.clone(),
                column: column.name.clone(),
                source,
            }
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more than the columns: the error about bytes left over.
        (0, Some(self.schema.columns.len() + 1 - self.column))
    }
}

impl std::iter::FusedIterator for Values<'_> {}

fn value<'a>(input: &mut Reader<'a>, encoding: Encoding) -> Result<Value<'a>, ValueError> {
    let branches = match encoding {
        Encoding::Date
        | Encoding::DateTime
        | Encoding::Timestamp
        | Encoding::Text
        | Encoding::Enum
        | Encoding::Set
        | Encoding::Json => 3,
        _ => 2,
    };
    match input.branch(branches)? {
        0 => Ok(Value::Null),
        1 => first(input, encoding),
        _ => second(input, encoding),
    }
}

fn first<'a>(input: &mut Reader<'a>, encoding: Encoding) -> Result<Value<'a>, ValueError> {
    Ok(match encoding {
        Encoding::Int => Value::Int(i64::from(input.int()?)),
        Encoding::Long => Value::Int(input.long()?),
        Encoding::Unsigned => Value::Unsigned(unsigned(input.bytes()?)?),
        Encoding::Float => Value::Float(input.float()?),
        Encoding::Double => Value::Double(input.double()?),
        Encoding::Decimal => {
            let unscaled = input.bytes()?;
            if !(1..=DECIMAL_MAX).contains(&unscaled.len()) {
                let bytes = unscaled.len();
                return Err(ValueError::Decimal { bytes });
            }
            Value::Decimal(unscaled)
        }
        Encoding::Date => Value::Date(input.int()?),
        Encoding::Time => Value::Time(input.long()?),
        Encoding::DateTime => Value::DateTime(input.long()?),
        Encoding::Timestamp => Value::Timestamp(input.long()?),
        Encoding::Text | Encoding::Enum | Encoding::Set | Encoding::Json => {
            Value::Text(input.str()?)
        }
        Encoding::Bytes => Value::Bytes(input.bytes()?),
        Encoding::Vector => Value::Vector(floats(input)?),
    })
}

fn second<'a>(input: &mut Reader<'a>, encoding: Encoding) -> Result<Value<'a>, ValueError> {
    Ok(match encoding {
        Encoding::Text => Value::Bytes(input.bytes()?),
        Encoding::Enum => Value::Int(i64::from(input.int()?)),
        Encoding::Set => Value::Int(input.long()?),
        Encoding::Json => Value::Json {
            text: input.str()?,
            binary: input.bytes()?,
        },
        // `value` lets only types with a second branch come here; the rest are dates.
        _ => Value::Text(input.str()?),
    })
}

fn unsigned(bytes: &[u8]) -> Result<u64, ValueError> {
    if bytes.is_empty() || bytes.len() > 9 || bytes[0] & 0x80 != 0 {
        return Err(ValueError::Unsigned);
    }
    let wide = bytes
        .iter()
        .fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
    u64::try_from(wide).map_err(|_| ValueError::Unsigned)
}

fn floats<'a>(input: &mut Reader<'a>) -> Result<&'a [u8], ValueError> {
    let Some(count) = input.block()? else {
        return Ok(&[]);
    };
    let bytes = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(4))
        .ok_or(ValueError::Blocks)?;
    let floats = input.take(bytes)?;
    match input.block()? {
        None => Ok(floats),
        Some(_) => Err(ValueError::Blocks),
    }
}
