//! QUERY: a statement, and the session variables that it needs to mean the same again.
//!
//! ```text
//! u32 thread | u32 seconds | u8 length of the database's name | u16 error code | u16 length of the status variables
//! | status variables | database NUL | statement
//! ```
//!
//! A status variable is a code and a value without a length (`libs/mysql/binlog/event/statement_events.h`), so an unknown code hides all
//! that follow it: an error, for what is hidden might be the character set of the statement.

use std::borrow::Cow;

use super::{
    cursor::{Cursor, Flaw, Read},
    error::DecodeError,
    text::Encoding,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryEvent<'a> {
    database: &'a str,
    statement: &'a [u8],
    error_code: u16,
    session: Session<'a>,
}

/// What of the session is written with a statement. A variable that the server left out is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session<'a> {
    /// Bits of `OPTION_*`: foreign_key_checks, unique_checks, sql_auto_is_null, autocommit.
    pub flags2: Option<u32>,
    pub sql_mode: Option<u64>,
    /// Collation ids: client, connection, server.
    pub collations: Option<[u16; 3]>,
    pub database_collation: Option<u16>,
    pub utf8mb4_collation: Option<u16>,
    pub time_zone: Option<&'a str>,
    pub auto_increment: Option<(u16, u16)>,
    pub lc_time_names: Option<u16>,
    /// Microseconds of the statement's `NOW(6)`.
    pub microseconds: Option<u32>,
    pub explicit_defaults_for_timestamp: Option<bool>,
    /// The XID of a DDL statement that commits by itself.
    pub ddl_xid: Option<u64>,
    pub sql_require_primary_key: Option<u8>,
    pub default_table_encryption: Option<u8>,
    /// The databases of all tables that the statement changes, in triggers and functions too; `None`: not said, or too many to name.
    pub databases: Option<Vec<&'a str>>,
    /// Of MariaDB: collations that character sets stand for.
    pub character_set_collations: Vec<(u16, u16)>,
    /// `user`, `host` of the invoker.
    pub invoker: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> QueryEvent<'a> {
    /// The default database; empty when there was none.
    pub fn database(&self) -> &'a str {
        self.database
    }

    /// As text. The server writes a statement in its client's character set; what does not convert from it is replaced.
    pub fn statement(&self) -> Cow<'a, str> {
        self.text()
            .unwrap_or_else(|| String::from_utf8_lossy(self.statement))
    }

    /// As text; `None` when it is none in its client's character set, or that is one that we don't convert.
    pub(super) fn text(&self) -> Option<Cow<'a, str>> {
        if self.statement.is_ascii() {
            return Some(String::from_utf8_lossy(self.statement));
        }
        let [client, ..] = self.collations();
        Encoding::of(client).to_utf8(self.statement).map(Cow::Owned)
    }

    pub fn statement_bytes(&self) -> &'a [u8] {
        self.statement
    }

    /// Its bytes say more than its text: what follows an introducer (`_latin1'…'`) is taken as it is.
    pub fn needs_its_bytes(&self) -> bool {
        !self.statement.is_ascii()
            && std::str::from_utf8(self.statement).ok() != self.text().as_deref()
    }

    /// The error that the statement had on the source, 0 for none.
    pub fn error_code(&self) -> u16 {
        self.error_code
    }

    pub fn session(&self) -> &Session<'a> {
        &self.session
    }

    pub fn sql_mode(&self) -> u64 {
        self.session.sql_mode.unwrap_or(0)
    }

    /// Collation ids: client, connection, server. utf8mb4's first one where the server does not say.
    pub fn collations(&self) -> [u16; 3] {
        self.session.collations.unwrap_or([45; 3])
    }

    /// Empty when the statement does not depend on it.
    pub fn time_zone(&self) -> &'a str {
        self.session.time_zone.unwrap_or_default()
    }
}

pub(super) fn parse(body: &[u8]) -> Result<QueryEvent<'_>, DecodeError> {
    read(body).map_err(|Flaw(flaw)| DecodeError::Malformed {
        event: "QUERY",
        flaw,
    })
}

fn read(body: &[u8]) -> Read<QueryEvent<'_>> {
    let mut cursor = Cursor::new(body);
    cursor.u32()?;
    cursor.u32()?;
    let database_length = cursor.u8()?;
    let error_code = cursor.u16()?;
    let status_length = cursor.u16()?;
    let session = session(cursor.take(usize::from(status_length))?)?;
    let database = name(cursor.take(usize::from(database_length))?)?;
    if cursor.u8()? != 0 {
        return Err(Flaw("holds a name without an end"));
    }
    Ok(QueryEvent {
        database,
        statement: cursor.rest(),
        error_code,
        session,
    })
}

fn name(bytes: &[u8]) -> Read<&str> {
    std::str::from_utf8(bytes).map_err(|_| Flaw("holds a name that is not UTF-8"))
}

fn session(status: &[u8]) -> Read<Session<'_>> {
    let mut cursor = Cursor::new(status);
    let mut session = Session::default();
    while !cursor.is_empty() {
        match cursor.u8()? {
            0 => session.flags2 = Some(cursor.u32()?),
            1 => session.sql_mode = Some(cursor.u64()?),
            // The catalog, once with a NUL behind it.
            2 => {
                cursor.short_bytes()?;
                cursor.u8()?;
            }
            3 => session.auto_increment = Some((cursor.u16()?, cursor.u16()?)),
            4 => session.collations = Some([cursor.u16()?, cursor.u16()?, cursor.u16()?]),
            5 => session.time_zone = Some(name(cursor.short_bytes()?)?),
            6 => drop(cursor.short_bytes()?),
            7 => session.lc_time_names = Some(cursor.u16()?),
            8 => session.database_collation = Some(cursor.u16()?),
            // Bitmap of the tables of a multi-table update.
            9 => drop(cursor.u64()?),
            // Bytes that the first source wrote.
            10 => drop(cursor.u32()?),
            11 => session.invoker = Some((cursor.short_bytes()?, cursor.short_bytes()?)),
            // Databases that the statement touches; 254 stands for too many to name.
            12 => {
                let count = cursor.u8()?;
                if count != 254 {
                    let names = (0..count).map(|_| name(cursor.until_nul()?));
                    session.databases = Some(names.collect::<Read<_>>()?);
                }
            }
            13 => session.microseconds = Some(cursor.u24()?),
            16 => session.explicit_defaults_for_timestamp = Some(cursor.u8()? != 0),
            17 => session.ddl_xid = Some(cursor.u64()?),
            18 => session.utf8mb4_collation = Some(cursor.u16()?),
            19 => session.sql_require_primary_key = Some(cursor.u8()?),
            20 => session.default_table_encryption = Some(cursor.u8()?),
            // MariaDB: microseconds of `NOW(6)`, the XID of a statement that commits by itself, and which collation stands for a
            // character set in this session.
            128 => session.microseconds = Some(cursor.u24()?),
            129 => session.ddl_xid = Some(cursor.u64()?),
            131 => {
                let count = cursor.u8()?;
                let pairs = (0..count).map(|_| Ok((cursor.u16()?, cursor.u16()?)));
                session.character_set_collations = pairs.collect::<Read<_>>()?;
            }
            // Of 9.x, with statements that change rows; seen on 9.7.4 as one byte.
            21 => drop(cursor.u8()?),
            _ => return Err(Flaw("holds a status variable that is unknown")),
        }
    }
    Ok(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `create database t1 /* xid=20 */` by MySQL 9.7.4.
    const CREATE: &[u8] = b"\x08\0\x0c\0\0\0\0\0\0\0\x02\0\0\x2d\0\
        \0\0\0\0\0\x01\x20\0\xa0\x45\0\0\0\0\x06\x03std\x04\xff\0\xff\0\xff\0\x0c\x01t1\0\
        \x11\x14\0\0\0\0\0\0\0\x12\xff\0\x14\0t1\0create database t1";

    #[test]
    fn reads_session() {
        // The live event has thread and time in its first 8 bytes; the constant keeps 2 bytes of the thread out.
        let query = parse(&CREATE[2..]).unwrap();
        assert_eq!(query.database, "t1");
        assert_eq!(query.statement, b"create database t1");
        assert_eq!(query.session.sql_mode, Some(0x45a0_0020));
        assert_eq!(query.session.collations, Some([255; 3]));
        assert_eq!(query.session.ddl_xid, Some(20));
        assert_eq!(query.session.utf8mb4_collation, Some(255));
        for end in 0..CREATE.len() - 18 {
            assert!(parse(&CREATE[2..end.max(2)]).is_err());
        }
    }

    #[test]
    fn unknown_variable_is_an_error() {
        let body = b"\0\0\0\0\0\0\0\0\0\0\0\x01\0\x63\0x";
        assert_eq!(
            parse(body),
            Err(DecodeError::Malformed {
                event: "QUERY",
                flaw: "holds a status variable that is unknown"
            })
        );
    }
}
