//! Rows of the target as JSON: every column that the target has, each value exactly, in the form that `tail` prints.
//!
//! The server sends text, which is exact for all but a few types. FLOAT and DOUBLE are asked for with all their digits; text in a character
//! set that has no exact way to UTF-8 and back is asked for as bytes as well, and an ENUM for whether it has a label.

use binferry_schemas::datum::json;
use mysql_async::Row;

use crate::{
    render::name::quoted,
    target::table::{TargetColumn, TargetTable},
};

#[derive(Debug)]
pub struct Columns {
    /// What a SELECT asks for.
    pub list: Vec<u8>,
    shown: Vec<Shown>,
}

#[derive(Debug)]
struct Shown {
    name: String,
    form: Form,
    /// The value's exception, if it has one, comes in the next column of the answer.
    exception: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Integer,
    Float,
    Double,
    /// Text as the server prints it.
    Text,
    Bytes,
    Vector,
}

impl Form {
    fn of(data_type: &str) -> Self {
        match data_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" | "bit" => {
                Self::Integer
            }
            "float" => Self::Float,
            "double" => Self::Double,
            "vector" => Self::Vector,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob"
            | "geometry" | "point" | "linestring" | "polygon" | "multipoint"
            | "multilinestring" | "multipolygon" | "geomcollection" | "geometrycollection" => {
                Self::Bytes
            }
            _ => Self::Text,
        }
    }
}

impl Columns {
    pub fn new(table: &TargetTable) -> Self {
        let mut list = String::new();
        let shown = table.columns.iter().map(|column| {
            let name = quoted(&column.name);
            let form = Form::of(&column.data_type);
            if !list.is_empty() {
                list.push(',');
            }
            match form {
                Form::Integer if column.data_type == "bit" => list.push_str(&format!("{name}+0")),
                // The product keeps the sign of a zero.
                Form::Float | Form::Double => list.push_str(&format!("{name}*1e0")),
                _ => list.push_str(&name),
            }
            let exception = exception(column, &name);
            if let Some(asked) = &exception {
                list.push(',');
                list.push_str(asked);
            }
            Shown {
                name: column.name.clone(),
                form,
                exception: exception.is_some(),
            }
        });
        let shown = shown.collect();
        Self {
            list: list.into_bytes(),
            shown,
        }
    }

    /// How many columns the answer has for them.
    pub fn width(&self) -> usize {
        let exceptions = self.shown.iter().filter(|shown| shown.exception).count();
        self.shown.len() + exceptions
    }

    /// A row of the answer, from its first column on.
    pub fn json(&self, row: &Row) -> Vec<u8> {
        let mut out = vec![b'{'];
        let mut at = 0;
        for shown in &self.shown {
            if out.len() > 1 {
                out.push(b',');
            }
            json::put_string(&mut out, &shown.name);
            out.push(b':');
            let value = bytes(row, at);
            at += 1;
            let exception = match shown.exception {
                true => {
                    at += 1;
                    bytes(row, at - 1)
                }
                false => None,
            };
            put(&mut out, shown.form, value, exception);
        }
        out.push(b'}');
        out
    }
}

fn bytes(row: &Row, at: usize) -> Option<&[u8]> {
    match row.as_ref(at) {
        Some(mysql_async::Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// What is asked for beside a column that may hold more than its text tells; NULL: it does not.
fn exception(column: &TargetColumn, name: &str) -> Option<String> {
    if column.data_type == "enum" {
        return Some(format!("IF({name}+0=0,0,NULL)"));
    }
    let charset = column.charset.as_ref()?;
    let text = matches!(
        column.data_type.as_str(),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext"
    );
    (text && !charset.is_utf8()).then(|| {
        let charset = charset.name();
        format!(
            "IF(CAST(CONVERT(CONVERT({name} USING utf8mb4) USING {charset}) AS BINARY)<=>CAST({name} AS BINARY),NULL,CAST({name} AS BINARY))"
        )
    })
}

fn put(out: &mut Vec<u8>, form: Form, value: Option<&[u8]>, exception: Option<&[u8]>) {
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    let text = std::str::from_utf8(value).ok();
    match (form, exception) {
        (Form::Text, Some(b"0")) => out.push(b'0'),
        (Form::Text, Some(raw)) => json::put_text_bytes(out, raw),
        (Form::Text, None) => match text {
            Some(text) => json::put_string(out, text),
            None => json::put_text_bytes(out, value),
        },
        (Form::Bytes, _) => json::put_base64(out, value),
        (Form::Vector, _) => json::put_vector(out, value),
        (Form::Integer, _) => number::<i128>(out, text),
        (Form::Double, _) => number::<f64>(out, text),
        // The DOUBLE of a FLOAT is exact, and so is the way back.
        (Form::Float, _) => {
            let float = text.and_then(|text| text.parse::<f64>().ok());
            number::<f32>(
                out,
                float.map(|float| (float as f32).to_string()).as_deref(),
            );
        }
    }
}

/// As Rust prints it, which is what `tail` does; what is no number after all, as a string.
fn number<N: std::str::FromStr + ToString>(out: &mut Vec<u8>, text: Option<&str>) {
    match text.map(|text| (text, text.parse::<N>())) {
        Some((_, Ok(number))) => out.extend_from_slice(number.to_string().as_bytes()),
        Some((text, Err(_))) => json::put_string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: Form, value: &[u8], exception: Option<&[u8]>) -> String {
        let mut out = Vec::new();
        put(&mut out, form, Some(value), exception);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_as_tail_prints_them() {
        assert_eq!(shown(Form::Integer, b"00042", None), "42");
        assert_eq!(
            shown(Form::Integer, b"18446744073709551615", None),
            "18446744073709551615"
        );
        assert_eq!(shown(Form::Float, b"1.100000023841858", None), "1.1");
        assert_eq!(shown(Form::Double, b"-0", None), "-0");
        assert_eq!(shown(Form::Double, b"1e20", None), "100000000000000000000");
        assert_eq!(shown(Form::Text, b"a\"b", None), "\"a\\\"b\"");
        assert_eq!(shown(Form::Text, b"", Some(b"0")), "0");
        assert_eq!(
            shown(Form::Text, b"?", Some(b"\x81")),
            "{\"base64\":\"gQ==\"}"
        );
        assert_eq!(shown(Form::Bytes, b"\x81", None), "\"gQ==\"");
        assert_eq!(shown(Form::Vector, &1.5_f32.to_le_bytes(), None), "[1.5]");
    }
}
