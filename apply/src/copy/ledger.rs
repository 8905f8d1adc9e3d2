//! What the target itself knows of copies: the tables that are being copied into it, and the foreign keys that they are to get.
//!
//! Which tables are being copied, and how far, is in the fold of the progress row. What the fold can't tell is here: rows of
//! `binferry.copy` and `binferry.foreign_key` are written in the transaction of the progress that covers them, with one exception. Before a
//! table is created, a row says so: should the applier die between the two, its successor knows whose the table is. With that row come
//! those of the keys that the table is created without (`later_key`); they go when the keys are there (see `keys`).

use mysql_async::{Conn, prelude::Queryable};

use super::definition::{ForeignKey, LaterKey};
use crate::{
    connection::from_mysql,
    error::{ApplyError, TableName},
    render::literal::put_quoted,
};

const TABLES: [(&str, &str); 3] = [
    (
        "copy",
        "CREATE TABLE IF NOT EXISTS binferry.copy (
  stream VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  table_schema VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  copy_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  made BOOLEAN NOT NULL,
  keyless BOOLEAN NOT NULL,
  updated DATETIME(6) NOT NULL,
  PRIMARY KEY (stream, table_schema, table_name)
) ENGINE = InnoDB COMMENT = 'binferry: tables that are being copied into this server'",
    ),
    (
        "foreign_key",
        "CREATE TABLE IF NOT EXISTS binferry.foreign_key (
  stream VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  table_schema VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  place INT UNSIGNED NOT NULL,
  parent_schema VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  parent_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  sql_mode BIGINT UNSIGNED NOT NULL,
  definition LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (stream, table_schema, table_name, name)
) ENGINE = InnoDB COMMENT = 'binferry: foreign keys that copied tables get when both ends are copied'",
    ),
    (
        "later_key",
        "CREATE TABLE IF NOT EXISTS binferry.later_key (
  stream VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  table_schema VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  place INT UNSIGNED NOT NULL,
  name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  sql_mode BIGINT UNSIGNED NOT NULL,
  claim CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  definition LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  PRIMARY KEY (stream, table_schema, table_name, place)
) ENGINE = InnoDB COMMENT = 'binferry: keys that copied tables get after their rows'",
    ),
];

const DOING: &str = "reading what is being copied";

/// How far a table's copy is on this target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The applier is about to create the table.
    Creating,
    /// The copy has begun.
    Copying,
    /// It was given up, and the table holds what had come until then.
    GivenUp,
}

impl State {
    const ALL: [Self; 3] = [Self::Creating, Self::Copying, Self::GivenUp];

    fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Copying => "copying",
            Self::GivenUp => "given_up",
        }
    }
}

/// A row of `binferry.copy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub table: TableName,
    pub copy: String,
    pub state: State,
    /// The applier has made the table.
    pub made: bool,
    /// No key tells its rows apart.
    pub keyless: bool,
}

/// A row of `binferry.foreign_key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub child: TableName,
    pub sql_mode: u64,
    pub key: ForeignKey,
}

fn fail(error: mysql_async::Error) -> ApplyError {
    from_mysql(error, DOING)
}

/// The keys that a table is still to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    pub table: TableName,
    pub sql_mode: u64,
    /// Whose session is adding them, or was; empty: nobody's yet.
    pub claim: String,
    /// In the order of their definitions.
    pub keys: Vec<LaterKey>,
}

async fn exists(conn: &mut Conn, name: &str) -> Result<bool, ApplyError> {
    let found: Option<u8> = conn
        .exec_first(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = 'binferry' AND table_name = ?",
            (name,),
        )
        .await
        .map_err(fail)?;
    Ok(found.is_some())
}

/// Creates the tables where they are missing: when the first copy comes.
pub async fn create_tables(conn: &mut Conn) -> Result<(), ApplyError> {
    for (name, create) in TABLES {
        if !exists(conn, name).await? {
            conn.query_drop(create).await.map_err(fail)?;
        }
    }
    Ok(())
}

/// The stream's entries; none where nothing was ever copied.
pub async fn entries(conn: &mut Conn, stream: &str) -> Result<Vec<Entry>, ApplyError> {
    if !exists(conn, "copy").await? {
        return Ok(Vec::new());
    }
    type Stored = (String, String, String, String, bool, bool);
    let rows: Vec<Stored> = conn
        .exec(
            "SELECT table_schema, table_name, copy_id, state, made, keyless FROM binferry.copy WHERE stream = ? ORDER BY table_schema, table_name",
            (stream,),
        )
        .await
        .map_err(fail)?;
    let entry = |(database, table, copy, state, made, keyless): Stored| {
        let state = State::ALL.into_iter().find(|known| known.name() == state);
        let state = state.ok_or_else(|| ApplyError::Progress {
            stream: stream.to_owned(),
            reason: "a state in binferry.copy is not known".to_owned(),
        })?;
        let table = TableName { database, table };
        Ok(Entry {
            table,
            copy,
            state,
            made,
            keyless,
        })
    };
    rows.into_iter().map(entry).collect()
}

/// The stream's foreign keys that are not there yet, table by table, in the order of their definitions.
pub async fn pending(conn: &mut Conn, stream: &str) -> Result<Vec<Pending>, ApplyError> {
    type Row = (String, String, String, String, String, u64, String);
    let rows: Vec<Row> = conn
        .exec(
            "SELECT table_schema, table_name, name, parent_schema, parent_name, sql_mode, definition FROM binferry.foreign_key \
             WHERE stream = ? ORDER BY table_schema, table_name, place",
            (stream,),
        )
        .await
        .map_err(fail)?;
    let pending = |(database, table, name, parent, parent_table, sql_mode, text): Row| Pending {
        child: TableName { database, table },
        sql_mode,
        key: ForeignKey {
            text,
            name,
            parent: TableName {
                database: parent,
                table: parent_table,
            },
        },
    };
    Ok(rows.into_iter().map(pending).collect())
}

/// The stream's keys that are to come after the rows, table by table; none where nothing was ever copied.
pub async fn later(conn: &mut Conn, stream: &str) -> Result<Vec<Later>, ApplyError> {
    if !exists(conn, "later_key").await? {
        return Ok(Vec::new());
    }
    type Row = (String, String, String, u64, String, String);
    let rows: Vec<Row> = conn
        .exec(
            "SELECT table_schema, table_name, name, sql_mode, claim, definition FROM binferry.later_key WHERE stream = ? \
             ORDER BY table_schema, table_name, place",
            (stream,),
        )
        .await
        .map_err(fail)?;
    let mut later: Vec<Later> = Vec::new();
    for (database, table, name, sql_mode, claim, text) in rows {
        let table = TableName { database, table };
        let key = LaterKey { text, name };
        match later.last_mut() {
            Some(last) if last.table == table => last.keys.push(key),
            _ => later.push(Later {
                table,
                sql_mode,
                claim,
                keys: vec![key],
            }),
        }
    }
    Ok(later)
}

/// `INSERT` of the keys that a table is to get.
pub fn put_later(out: &mut Vec<u8>, stream: &str, later: &Later) {
    out.extend_from_slice(
        b"INSERT INTO binferry.later_key (stream,table_schema,table_name,place,name,sql_mode,claim,definition) VALUES ",
    );
    for (place, key) in later.keys.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"(" } else { b",(" });
        for text in [stream, &later.table.database, &later.table.table] {
            put_quoted(out, text.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(place.to_string().as_bytes());
        out.push(b',');
        put_quoted(out, key.name.as_bytes());
        out.push(b',');
        out.extend_from_slice(later.sql_mode.to_string().as_bytes());
        out.push(b',');
        put_quoted(out, later.claim.as_bytes());
        out.push(b',');
        put_quoted(out, key.text.as_bytes());
        out.push(b')');
    }
}

pub fn put_later_removal(out: &mut Vec<u8>, stream: &str, table: &TableName) {
    out.extend_from_slice(b"DELETE FROM binferry.later_key");
    put_of_table(out, stream, table);
}

/// `INSERT` or overwrite of a table's entry.
pub fn put_entry(out: &mut Vec<u8>, stream: &str, entry: &Entry) {
    out.extend_from_slice(
        b"INSERT INTO binferry.copy (stream,table_schema,table_name,copy_id,state,made,keyless,updated) VALUES (",
    );
    for text in [
        stream,
        &entry.table.database,
        &entry.table.table,
        &entry.copy,
        entry.state.name(),
    ] {
        put_quoted(out, text.as_bytes());
        out.push(b',');
    }
    for flag in [entry.made, entry.keyless] {
        out.extend_from_slice(if flag { b"1," } else { b"0," });
    }
    out.extend_from_slice(
        b"UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE copy_id=VALUES(copy_id),state=VALUES(state),made=VALUES(made),keyless=VALUES(keyless),updated=VALUES(updated)",
    );
}

pub fn put_entry_removal(out: &mut Vec<u8>, stream: &str, table: &TableName) {
    out.extend_from_slice(b"DELETE FROM binferry.copy");
    put_of_table(out, stream, table);
}

/// The keys of a table, in the place of those that it had.
pub fn put_keys(
    out: &mut Vec<u8>,
    stream: &str,
    table: &TableName,
    sql_mode: u64,
    keys: &[ForeignKey],
) {
    if keys.is_empty() {
        return;
    }
    out.extend_from_slice(
        b"REPLACE INTO binferry.foreign_key (stream,table_schema,table_name,name,place,parent_schema,parent_name,sql_mode,definition) VALUES ",
    );
    for (place, key) in keys.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"(" } else { b",(" });
        for text in [stream, &table.database, &table.table, &key.name] {
            put_quoted(out, text.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(place.to_string().as_bytes());
        out.push(b',');
        for text in [&key.parent.database, &key.parent.table] {
            put_quoted(out, text.as_bytes());
            out.push(b',');
        }
        out.extend_from_slice(sql_mode.to_string().as_bytes());
        out.push(b',');
        put_quoted(out, key.text.as_bytes());
        out.push(b')');
    }
}

/// Without a name, all keys of the table.
pub fn put_key_removal(out: &mut Vec<u8>, stream: &str, table: &TableName, name: Option<&str>) {
    out.extend_from_slice(b"DELETE FROM binferry.foreign_key");
    put_of_table(out, stream, table);
    if let Some(name) = name {
        out.extend_from_slice(b" AND name=");
        put_quoted(out, name.as_bytes());
    }
}

fn put_of_table(out: &mut Vec<u8>, stream: &str, table: &TableName) {
    out.extend_from_slice(b" WHERE stream=");
    put_quoted(out, stream.as_bytes());
    out.extend_from_slice(b" AND table_schema=");
    put_quoted(out, table.database.as_bytes());
    out.extend_from_slice(b" AND table_name=");
    put_quoted(out, table.table.as_bytes());
}
