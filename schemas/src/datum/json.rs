//! Row images as JSON, the form that `tail` prints and the conflict journal holds (docs/tail gives the form of each type).

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    DatumError, Value, Values,
    text::{Date, DateTime, Decimal, Time},
    values::ValueError,
};
use crate::{
    record::Image,
    row::{ColumnType, RowSchema},
};

/// The image as an object: a member for each column that is there. Errors: the datum cannot be read.
pub fn put_image(
    out: &mut Vec<u8>,
    schema: &RowSchema,
    image: Image<'_>,
) -> Result<(), DatumError> {
    out.push(b'{');
    let mut first = true;
    let mut columns = schema.columns.iter();
    for value in Values::new(schema, image.present, image.datum) {
        let value = value?;
        let Some(column) = columns.next() else { break };
        // An absent column is left out: absent is not NULL.
        let Some(value) = value else { continue };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        put_string(out, &column.name);
        out.push(b':');
        put_value(out, &column.ty, value).map_err(|source| DatumError::Column {
            database: schema.database.clone(),
            table: schema.table.clone(),
            column: column.name.clone(),
            source,
        })?;
    }
    out.push(b'}');
    Ok(())
}

fn put_value(out: &mut Vec<u8>, ty: &ColumnType, value: Value<'_>) -> Result<(), ValueError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Unsigned(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Float(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Double(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Text(t) => put_string(out, t),
        // JSON goes as text, so that its null is not SQL's NULL.
        Value::Json { text, .. } => put_string(out, text),
        Value::Bytes(b) => match ty {
            // Text that has no UTF-8 form must not look like text.
            ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. } => {
                put_text_bytes(out, b);
            }
            _ => put_base64(out, b),
        },
        Value::Vector(floats) => put_vector(out, floats),
        Value::Decimal(unscaled) => {
            let scale = if let ColumnType::Decimal { scale, .. } = ty {
                *scale
            } else {
                0
            };
            let number = Decimal::new(unscaled, scale)?;
            put_string(out, &number.to_string());
        }
        Value::Date(days) => put_string(out, &Date(days).to_string()),
        Value::Time(micros) => put_string(
            out,
            &Time {
                micros,
                fsp: fsp(ty),
            }
            .to_string(),
        ),
        Value::DateTime(micros) | Value::Timestamp(micros) => put_string(
            out,
            &DateTime {
                micros,
                fsp: fsp(ty),
            }
            .to_string(),
        ),
    }
    Ok(())
}

fn fsp(ty: &ColumnType) -> u8 {
    match ty {
        ColumnType::Time { fsp } | ColumnType::DateTime { fsp } | ColumnType::Timestamp { fsp } => {
            *fsp
        }
        _ => 0,
    }
}

/// Text that has no exact UTF-8 form.
pub fn put_text_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"base64\":");
    put_base64(out, bytes);
    out.push(b'}');
}

/// Bytes.
pub fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("\"{}\"", STANDARD.encode(bytes)).as_bytes());
}

/// A vector's floats, little-endian.
pub fn put_vector(out: &mut Vec<u8>, floats: &[u8]) {
    out.push(b'[');
    for (i, f) in floats.chunks_exact(4).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let f = f32::from_le_bytes([f[0], f[1], f[2], f[3]]);
        out.extend_from_slice(f.to_string().as_bytes());
    }
    out.push(b']');
}

/// A JSON string.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec does not fail, and a str is always serialisable.
    let _ = serde_json::to_writer(out, text);
}
