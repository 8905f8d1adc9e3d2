//! Row changes as JSON lines, for `tail` (docs/tail gives the form of each type).

use base64::{Engine, engine::general_purpose::STANDARD};
use binferry_schemas::{
    datum::{
        Value, Values,
        text::{Date, DateTime, Decimal, Time},
    },
    record::{Image, Operation, Transaction},
    row::{ColumnType, RowSchema},
};

use crate::failure::Failure;

/// One change of a transaction, to be written as a line.
#[derive(Debug)]
pub struct Line<'a> {
    pub offset: u64,
    pub transaction: &'a Transaction,
    /// Number of the change in its transaction, from 0.
    pub index: u64,
    /// The transaction's last change.
    pub last: bool,
    pub operation: Operation,
    pub schema: &'a RowSchema,
    pub before: Option<Image<'a>>,
    pub after: Option<Image<'a>>,
}

impl Line<'_> {
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let operation = match self.operation {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
        };
        out.extend_from_slice(
            format!(
                "{{\"offset\":{},\"gtid\":\"{}\",\"index\":{},\"last\":{},\"op\":\"{operation}\",\"database\":",
                self.offset, self.transaction.gtid, self.index, self.last
            )
            .as_bytes(),
        );
        string(out, &self.schema.database);
        out.extend_from_slice(b",\"table\":");
        string(out, &self.schema.table);
        for (name, image) in [("before", self.before), ("after", self.after)] {
            let Some(image) = image else { continue };
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            object(out, self.schema, image)?;
        }
        out.extend_from_slice(
            format!(",\"ts_us\":{}}}\n", self.transaction.original_commit_us).as_bytes(),
        );
        Ok(())
    }
}

fn object(out: &mut Vec<u8>, schema: &RowSchema, image: Image<'_>) -> Result<(), Failure> {
    out.push(b'{');
    let mut first = true;
    let mut columns = schema.columns.iter();
    for value in Values::new(schema, image.present, image.datum) {
        let value = value.map_err(|e| {
            Failure::defect(format!("table {}.{}: {e}", schema.database, schema.table))
        })?;
        let Some(column) = columns.next() else { break };
        // An absent column is left out: absent is not NULL.
        let Some(value) = value else { continue };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        string(out, &column.name);
        out.push(b':');
        put(out, &column.ty, value)?;
    }
    out.push(b'}');
    Ok(())
}

fn put(out: &mut Vec<u8>, ty: &ColumnType, value: Value<'_>) -> Result<(), Failure> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Unsigned(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Float(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Double(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Text(t) => string(out, t),
        // JSON goes as text, so that its null is not SQL's NULL.
        Value::Json { text, .. } => string(out, text),
        Value::Bytes(b) => match ty {
            // Text that has no UTF-8 form must not look like text.
            ColumnType::Char { .. } | ColumnType::VarChar { .. } | ColumnType::Text { .. } => {
                out.extend_from_slice(
                    format!("{{\"base64\":\"{}\"}}", STANDARD.encode(b)).as_bytes(),
                );
            }
            _ => out.extend_from_slice(format!("\"{}\"", STANDARD.encode(b)).as_bytes()),
        },
        Value::Vector(floats) => {
            out.push(b'[');
            for (i, f) in floats.chunks_exact(4).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(
                    f32::from_le_bytes([f[0], f[1], f[2], f[3]])
                        .to_string()
                        .as_bytes(),
                );
            }
            out.push(b']');
        }
        Value::Decimal(unscaled) => {
            let scale = if let ColumnType::Decimal { scale, .. } = ty {
                *scale
            } else {
                0
            };
            let number = Decimal::new(unscaled, scale).map_err(|e| Failure::data(e.to_string()))?;
            string(out, &number.to_string());
        }
        Value::Date(days) => string(out, &Date(days).to_string()),
        Value::Time(micros) => string(
            out,
            &Time {
                micros,
                fsp: fsp(ty),
            }
            .to_string(),
        ),
        Value::DateTime(micros) | Value::Timestamp(micros) => string(
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

fn string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec does not fail, and a str is always serialisable.
    let _ = serde_json::to_writer(out, text);
}
