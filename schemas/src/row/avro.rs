//! The Avro form of a row schema.
//!
//! ```text
//! record   name: the table's, namespace: "binferry." and the database's; mysql.database, mysql.table: the real names
//! field    name: the column's; type: [null, branch 1 (, branch 2)]; default null
//!          mysql.name        the real name
//!          mysql.type        the full type
//!          mysql.nullable, mysql.visible
//!          mysql.collation   the id, mysql.charset: its character set's name when known
//!          mysql.bytes       of CHAR and VARCHAR
//!          mysql.labels      of ENUM and SET
//!          mysql.geometry    the kind, when it has no name
//!          mysql.key         the place in the primary key, from 0; mysql.key_prefix: when only a prefix is in the key
//! ```
//!
//! The text is deterministic: the same row schema has the same text and fingerprint for ever. Names stand in it as they are mangled for
//! Avro. Both branches of a union that share a name (none do) would be forbidden by Avro.

use std::fmt::Write;

use serde_json::Value as Json;

use super::{
    Column, ColumnType, Encoding, KeyPart, RowSchema, charset, names,
    type_text::{Extra, unnamed_geometry},
};
use crate::{
    fault::{Fault, Kind},
    fingerprint::{Fingerprint, rabin},
};

/// A stored row schema that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum RowSchemaError {
    #[error("the row schema is not JSON")]
    Json(#[source] serde_json::Error),
    #[error("the row schema lacks {property}, or has it in a form that is not known")]
    Property { property: &'static str },
    #[error(
        "field {field} of the row schema of {database}.{table} lacks {property}, or has it in a form that is not known"
    )]
    Field {
        database: String,
        table: String,
        field: usize,
        property: &'static str,
    },
}

impl Fault for RowSchemaError {
    fn kind(&self) -> Kind {
        Kind::Data
    }

    fn hint(&self) -> Option<String> {
        Some("the schema was damaged, or written by a newer version: use that version".to_owned())
    }
}

impl RowSchema {
    /// The Avro schema, as the deterministic JSON text that is stored, and its fingerprint.
    pub fn to_avro(&self) -> (String, Fingerprint) {
        let mut text = String::with_capacity(128 + 256 * self.columns.len());
        let name = names::mangle_type(&self.table);
        text.push_str(r#"{"type":"record","name":"#);
        put_text(&mut text, &name);
        text.push_str(r#","namespace":"#);
        put_text(
            &mut text,
            &format!("binferry.{}", names::mangle(&self.database)),
        );
        text.push_str(r#","mysql.database":"#);
        put_text(&mut text, &self.database);
        text.push_str(r#","mysql.table":"#);
        put_text(&mut text, &self.table);
        text.push_str(r#","fields":["#);
        let fields = names::mangle_fields(self.columns.iter().map(|c| c.name.as_str()));
        let mut json = JsonRecord {
            name: format!("{name}_json"),
            defined: false,
        };
        for (i, (column, field)) in self.columns.iter().zip(&fields).enumerate() {
            if i > 0 {
                text.push(',');
            }
            text.push_str(r#"{"name":"#);
            put_text(&mut text, field);
            text.push_str(r#","type":["null","#);
            put_branches(&mut text, &column.ty, &mut json);
            text.push_str(r#"],"default":null"#);
            put_properties(&mut text, column);
            text.push('}');
        }
        text.push_str("]}");
        let fingerprint = rabin(text.as_bytes());
        (text, fingerprint)
    }

    /// Back from the stored text.
    pub fn from_avro(text: &str) -> Result<Self, RowSchemaError> {
        let json: Json = serde_json::from_str(text).map_err(RowSchemaError::Json)?;
        let string = |property: &'static str| {
            json.get(property)
                .and_then(Json::as_str)
                .map(str::to_owned)
                .ok_or(RowSchemaError::Property { property })
        };
        let database = string("mysql.database")?;
        let table = string("mysql.table")?;
        let fields = json
            .get("fields")
            .and_then(Json::as_array)
            .ok_or(RowSchemaError::Property { property: "fields" })?;
        let columns = fields
            .iter()
            .enumerate()
            .map(|(i, field)| {
                column(field).map_err(|property| RowSchemaError::Field {
                    database: database.clone(),
                    table: table.clone(),
                    field: i,
                    property,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            database,
            table,
            columns,
        })
    }
}

/// The record of a JSON column's second branch: Avro wants it defined once, and referred to by name afterwards.
struct JsonRecord {
    name: String,
    defined: bool,
}

fn put_text(out: &mut String, text: &str) {
    // Serialising a string can't fail.
    out.push_str(&Json::from(text).to_string());
}

fn put_branches(out: &mut String, ty: &ColumnType, json: &mut JsonRecord) {
    match ty.encoding() {
        Encoding::Int => out.push_str(r#""int""#),
        Encoding::Long => out.push_str(r#""long""#),
        Encoding::Unsigned => put_decimal(out, 20, 0),
        Encoding::Float => out.push_str(r#""float""#),
        Encoding::Double => out.push_str(r#""double""#),
        Encoding::Decimal => match ty {
            ColumnType::Decimal {
                precision, scale, ..
            } => put_decimal(out, *precision, *scale),
            _ => put_decimal(out, 65, 0),
        },
        Encoding::Date => out.push_str(r#"{"type":"int","logicalType":"date"},"string""#),
        Encoding::Time => out.push_str(r#""long""#),
        Encoding::DateTime => {
            out.push_str(r#"{"type":"long","logicalType":"local-timestamp-micros"},"string""#);
        }
        Encoding::Timestamp => {
            out.push_str(r#"{"type":"long","logicalType":"timestamp-micros"},"string""#);
        }
        Encoding::Text => out.push_str(r#""string","bytes""#),
        Encoding::Bytes => out.push_str(r#""bytes""#),
        Encoding::Enum => out.push_str(r#""string","int""#),
        Encoding::Set => out.push_str(r#""string","long""#),
        Encoding::Json => {
            out.push_str(r#""string","#);
            if json.defined {
                put_text(out, &json.name);
            } else {
                json.defined = true;
                out.push_str(r#"{"type":"record","name":"#);
                put_text(out, &json.name);
                out.push_str(r#","fields":[{"name":"text","type":"string"},{"name":"binary","type":"bytes"}]}"#);
            }
        }
        Encoding::Vector => out.push_str(r#"{"type":"array","items":"float"}"#),
    }
}

fn put_decimal(out: &mut String, precision: u8, scale: u8) {
    // Writing to a string can't fail.
    let _ = write!(
        out,
        r#"{{"type":"bytes","logicalType":"decimal","precision":{precision},"scale":{scale}}}"#
    );
}

fn put_properties(out: &mut String, column: &Column) {
    let mut property = |name: &str, value: Json| {
        // Writing to a string can't fail.
        let _ = write!(out, r#","{name}":{value}"#);
    };
    property("mysql.name", column.name.as_str().into());
    property("mysql.type", column.ty.to_string().into());
    property("mysql.nullable", column.nullable.into());
    property("mysql.visible", column.visible.into());
    if let Some(collation) = column.ty.collation() {
        property("mysql.collation", collation.into());
        if let Some(charset) = charset(collation) {
            property("mysql.charset", charset.name.into());
        }
    }
    if let ColumnType::Char { bytes, .. } | ColumnType::VarChar { bytes, .. } = &column.ty {
        property("mysql.bytes", (*bytes).into());
    }
    if let Some(labels) = column.ty.labels() {
        property("mysql.labels", labels.into());
    }
    if let Some(kind) = unnamed_geometry(&column.ty) {
        property("mysql.geometry", kind.into());
    }
    if let Some(key) = column.key {
        property("mysql.key", key.position.into());
        if key.prefix > 0 {
            property("mysql.key_prefix", key.prefix.into());
        }
    }
}

/// The error is the property's name.
fn column(field: &Json) -> Result<Column, &'static str> {
    let boolean = |name| field.get(name).and_then(Json::as_bool).ok_or(name);
    let string = |name| field.get(name).and_then(Json::as_str).ok_or(name);
    let extra = Extra {
        collation: number(field, "mysql.collation")?,
        labels: labels(field)?,
        bytes: number(field, "mysql.bytes")?,
        geometry: number(field, "mysql.geometry")?,
        text: string("mysql.type")?,
    };
    let key = match number(field, "mysql.key")? {
        Some(position) => Some(KeyPart {
            position,
            prefix: number(field, "mysql.key_prefix")?.unwrap_or(0),
        }),
        None => None,
    };
    Ok(Column {
        name: string("mysql.name")?.to_owned(),
        ty: extra.column_type().ok_or("mysql.type")?,
        nullable: boolean("mysql.nullable")?,
        visible: boolean("mysql.visible")?,
        key,
    })
}

/// An absent number is `None`; one that does not fit is an error.
fn number<T: TryFrom<u64>>(field: &Json, name: &'static str) -> Result<Option<T>, &'static str> {
    match field.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|number| T::try_from(number).ok())
            .map(Some)
            .ok_or(name),
    }
}

fn labels(field: &Json) -> Result<Option<Vec<String>>, &'static str> {
    const NAME: &str = "mysql.labels";
    let Some(value) = field.get(NAME) else {
        return Ok(None);
    };
    value
        .as_array()
        .and_then(|labels| {
            labels
                .iter()
                .map(|label| label.as_str().map(str::to_owned))
                .collect()
        })
        .map(Some)
        .ok_or(NAME)
}
