//! What the server answers to a command: OK, ERR, EOF, and the rows of a text result set.
//!
//! ```text
//! OK   00 | affected lenenc | last id lenenc | status u16 | warnings u16 | ...
//! ERR  FF | code u16 | '#' state[5] | message to the end      (no state before the handshake)
//! EOF  FE | warnings u16 | status u16                          (shorter than 9 bytes; a longer FE is a row)
//! row  each value: lenenc bytes, or FB for NULL
//! lenenc: < FB itself, FC u16, FD u24, FE u64
//! ```
//!
//! (manual, "Generic Response Packets", "Text Protocol"; CLIENT_DEPRECATE_EOF is not asked for.) Checked reads only: `None` and
//! [`Malformed`] mean that the bytes are not what the protocol says.

use std::collections::HashMap;

use crate::error::ServerError;

/// The bytes are not this packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A small result set of the text protocol; values as the server prints them, `None` for NULL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
}

impl Rows {
    /// The first value of the first row, as text.
    pub fn single(&self) -> Option<String> {
        text(self.rows.first()?.first()?)
    }

    /// A value by column name, without regard to case; `None` also when there is no such column.
    pub fn value(&self, row: usize, column: &str) -> Option<String> {
        let at = self
            .columns
            .iter()
            .position(|name| name.eq_ignore_ascii_case(column))?;
        text(self.rows.get(row)?.get(at)?)
    }

    /// Two columns as a map, keys in lower case: the shape of SHOW VARIABLES.
    pub fn pairs(&self) -> HashMap<String, String> {
        self.rows
            .iter()
            .filter_map(|row| Some((text(row.first()?)?.to_ascii_lowercase(), text(row.get(1)?)?)))
            .collect()
    }
}

fn text(value: &Option<Vec<u8>>) -> Option<String> {
    value
        .as_ref()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Text of the server for messages: control characters escaped, at most 4,000 bytes.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        if out.len() > 4000 {
            out.push('…');
            break;
        }
        match character {
            '\n' => out.push(' '),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// An ERR packet, or `None` when this is none.
pub(crate) fn err(packet: &[u8]) -> Option<ServerError> {
    let (&code, rest) = packet.strip_prefix(&[0xFF])?.split_first_chunk::<2>()?;
    let (state, message) = match rest
        .strip_prefix(b"#")
        .and_then(|rest| rest.split_at_checked(5))
    {
        Some((state, message)) => (printable(state), message),
        None => ("HY000".to_owned(), rest),
    };
    Some(ServerError {
        code: u16::from_le_bytes(code),
        state,
        message: printable(message),
    })
}

pub(super) fn is_ok(packet: &[u8]) -> bool {
    packet.first() == Some(&0) && packet.len() >= 7
}

pub(crate) fn is_eof(packet: &[u8]) -> bool {
    packet.first() == Some(&0xFE) && packet.len() < 9
}

/// The number of columns of the result set that follows.
pub(super) fn column_count(packet: &[u8]) -> Result<usize, Malformed> {
    match number(packet) {
        Some((count @ 1..=4096, [])) => Ok(count as usize),
        _ => Err(Malformed("no column count")),
    }
}

/// The name in a column definition.
pub(super) fn column_name(packet: &[u8]) -> Result<String, Malformed> {
    let mut rest = packet;
    for _catalog_schema_table_original in 0..4 {
        (_, rest) = bytes(rest).ok_or(Malformed("short column definition"))?;
    }
    let (name, _) = bytes(rest).ok_or(Malformed("short column definition"))?;
    Ok(String::from_utf8_lossy(name).into_owned())
}

pub(super) fn row(packet: &[u8], columns: usize) -> Result<Vec<Option<Vec<u8>>>, Malformed> {
    let (mut rest, mut values) = (packet, Vec::with_capacity(columns));
    for _ in 0..columns {
        if let Some(after) = rest.strip_prefix(&[0xFB]) {
            values.push(None);
            rest = after;
        } else {
            let (value, after) = bytes(rest).ok_or(Malformed("short row"))?;
            values.push(Some(value.to_vec()));
            rest = after;
        }
    }
    if rest.is_empty() {
        Ok(values)
    } else {
        Err(Malformed("long row"))
    }
}

fn number(from: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = from.split_first()?;
    let width = match first {
        0..=0xFA => return Some((u64::from(first), rest)),
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        _ => return None,
    };
    let (bytes, rest) = rest.split_at_checked(width)?;
    Some((
        bytes
            .iter()
            .rev()
            .fold(0, |n, &byte| n << 8 | u64::from(byte)),
        rest,
    ))
}

pub(super) fn bytes(from: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(from)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn err_with_and_without_a_state() {
        let error = err(b"\xff\x15\x04#28000Access denied for user 'a'@'b'\n").unwrap();
        assert_eq!((error.code, error.state.as_str()), (1045, "28000"));
        assert_eq!(error.message, "Access denied for user 'a'@'b' ");
        let error = err(b"\xff\x6a\x04Host 'h' is not allowed").unwrap();
        assert_eq!((error.code, error.state.as_str()), (1130, "HY000"));
        assert_eq!(error.message, "Host 'h' is not allowed");
        assert_eq!(err(b"\xff\x15"), None);
        assert_eq!(err(b"\x00\x15\x04"), None);
        assert_eq!(err(b"\xff\x01\x00\x1b[31m").unwrap().message, "\\u{1b}[31m");
    }

    #[test]
    fn rows_with_null_empty_and_long_values() {
        let mut packet = vec![0xFB, 0, 0xFC, 44, 1];
        packet.extend([b'x'; 300]);
        assert_eq!(
            row(&packet, 3),
            Ok(vec![None, Some(vec![]), Some(vec![b'x'; 300])])
        );
        assert!(row(&packet, 2).is_err());
        assert!(row(&packet, 4).is_err());
        assert!(row(&packet[..100], 3).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(packet in prop::collection::vec(any::<u8>(), 0..200), columns in 0usize..10) {
            let _ = (err(&packet), row(&packet, columns), column_name(&packet), column_count(&packet), is_ok(&packet), is_eof(&packet));
        }
    }
}
