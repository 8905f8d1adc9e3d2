//! A table's definition, as its copy needs it: the row schema that its table maps have, the key by which it is cut, and the statements
//! that make it.
//!
//! The row schema must be the one that the stream would make of a table map: same columns, same types, same fingerprint. It is read out of
//! `information_schema`; a test compares the two for every type.

use std::collections::BTreeSet;

use binferry_schemas::{
    fingerprint::Fingerprint,
    record::{CopyState, Over},
    row::{Column, ColumnType, KeyPart, RowSchema, Width},
};

use super::{
    dialect::{Dialect, SYSTEM_SCHEMAS},
    error::SnapshotError,
    mariadb::{self, told},
    reader::is_redefined,
    sql,
};
use crate::{
    client::{Connection, Rows},
    error::CaptureError,
};

/// Of a foreign key in `information_schema.REFERENTIAL_CONSTRAINTS` that changes rows by itself.
pub(crate) const CASCADES: &str =
    "(DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL'))";

/// `TABLE_TYPE` of a MariaDB table that keeps its history.
const VERSIONED: &str = "SYSTEM VERSIONED";
/// In `COLUMN_TYPE` of MariaDB's times in the format before MySQL 5.6.
const OLD_TIMES: &str = "/* mariadb-5.3 */";

/// A table by name.
pub type Name = (String, String);

/// What [`read`] has found.
#[derive(Debug)]
pub(super) struct Definition {
    pub schema: RowSchema,
    pub text: String,
    pub fingerprint: Fingerprint,
    pub key: Key,
    pub create_database: String,
    pub create_table: String,
    pub estimated_rows: u64,
    pub estimated_bytes: u64,
    pub dialect: Dialect,
    /// The server orders the key otherwise than its row schema says (MariaDB's UUID).
    pub orders_otherwise: bool,
    /// A foreign key that changes rows of the table without a word in the binlog.
    pub cascade: Option<String>,
}

/// The key by which a table is cut; without columns: none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Key {
    pub name: String,
    /// Places in the row schema, in the key's order.
    pub columns: Vec<usize>,
}

impl Definition {
    pub fn key_names(&self) -> Vec<String> {
        let name = |&at: &usize| self.schema.columns[at].name.clone();
        self.key.columns.iter().map(name).collect()
    }

    /// What a target is to do with the rows that it has. Where keys compare in more than one way, ranges of them can't be made equal one by
    /// one.
    pub fn over(&self, wanted: Over) -> Over {
        let unfit = self.key.columns.iter().any(|&at| {
            matches!(
                self.schema.columns[at].ty,
                ColumnType::Enum { .. } | ColumnType::Set { .. } | ColumnType::Double { .. }
            )
        });
        match wanted {
            Over::Repair if unfit || self.orders_otherwise => Over::Remove,
            wanted => wanted,
        }
    }

    /// Whether a copy that was cut by a key of an older definition can go on: the same columns, with the same types.
    pub fn goes_on(&self, copy: &CopyState, older: &RowSchema) -> bool {
        let types = |schema: &RowSchema| -> Option<Vec<ColumnType>> {
            let find = |name: &String| schema.columns.iter().find(|c| c.name == *name);
            copy.key
                .iter()
                .map(|name| Some(find(name)?.ty.clone()))
                .collect()
        };
        let (then, now) = (types(older), types(&self.schema));
        self.key_names() == copy.key && then.is_some() && then == now
    }
}

/// Of a column that may be NULL, or of a name, which is not.
fn text(rows: &Rows, row: usize, column: &str) -> String {
    rows.value(row, column).unwrap_or_default()
}

/// `None`: NULL, or no number of this size. What follows from that is the caller's to say.
fn number<T: std::str::FromStr>(rows: &Rows, row: usize, column: &str) -> Option<T> {
    rows.value(row, column)?.parse().ok()
}

const BARE_DATABASES: &str = "SELECT SCHEMA_NAME AS d FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN \
     (SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE')";

/// The first table behind `after` in the order of the names as bytes for which `wanted` holds. See [`mariadb::next_table`].
pub(super) async fn next_table(
    connection: &mut Connection,
    seen: &mut BTreeSet<Name>,
    captured: impl Fn(&str, &str) -> bool,
    after: Option<&Name>,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<Option<Name>, CaptureError> {
    let dialect = Dialect::of(connection);
    if dialect != Dialect::MySql {
        return mariadb::next_table(connection, seen, captured, after, wanted).await;
    }
    let rows = connection
        .query(&format!(
            "SELECT TABLE_SCHEMA AS d, TABLE_NAME AS t FROM information_schema.TABLES WHERE TABLE_TYPE IN {} \
             AND TABLE_SCHEMA NOT IN {SYSTEM_SCHEMAS}",
            dialect.table_types()
        ))
        .await?;
    let names = (0..rows.rows.len()).map(|row| (text(&rows, row, "d"), text(&rows, row, "t")));
    Ok(names
        .filter(|name| after.is_none_or(|after| after < name) && wanted(&name.0, &name.1))
        .min())
}

/// Databases without a table, each with its definition.
pub(super) async fn bare_databases(
    connection: &mut Connection,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, String)>, CaptureError> {
    let rows = connection
        .query(&format!("{BARE_DATABASES} ORDER BY 1"))
        .await?;
    let names: Vec<String> = (0..rows.rows.len())
        .map(|row| text(&rows, row, "d"))
        .filter(|name| wanted(name))
        .collect();
    let mut found = Vec::new();
    for name in names {
        let shown = connection
            .query(&format!("SHOW CREATE DATABASE {}", sql::quoted(&name)))
            .await?;
        if let Some(create) = shown.value(0, "Create Database") {
            found.push((name, create));
        }
    }
    Ok(found)
}

/// `None`: there is no such table, or it has gone between two of the questions.
pub(super) async fn read(
    connection: &mut Connection,
    name: &Name,
) -> Result<Option<Definition>, CaptureError> {
    match ask(connection, name).await {
        Err(error) if is_redefined(&error) => Ok(None),
        asked => asked,
    }
}

async fn ask(
    connection: &mut Connection,
    (database, table): &Name,
) -> Result<Option<Definition>, CaptureError> {
    let name = format!("{}.{}", sql::quoted(database), sql::quoted(table));
    let which = format!(
        "TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        sql::string(database),
        sql::string(table)
    );
    let dialect = Dialect::of(connection);
    let tables = format!(
        "SELECT TABLE_TYPE AS k, ENGINE AS e, TABLE_ROWS AS r, DATA_LENGTH AS b FROM information_schema.TABLES WHERE {which} AND TABLE_TYPE IN {}",
        dialect.table_types()
    );
    let tables = told(connection, &tables).await?;
    if tables.rows.is_empty() {
        return Ok(None);
    }
    let refuse = |problem: String| SnapshotError::Table {
        database: database.clone(),
        table: table.clone(),
        problem,
    };
    let engine = text(&tables, 0, "e");
    if !engine.eq_ignore_ascii_case("InnoDB") {
        return Err(refuse(format!(
            "its engine is {engine}: only what InnoDB shows is in the binlog before it is seen"
        ))
        .into());
    }
    if text(&tables, 0, "k") == VERSIONED {
        return Err(refuse(
            "it keeps its history (WITH SYSTEM VERSIONING), and a copy would bring the present rows only"
                .to_owned(),
        )
        .into());
    }
    let (collations, full_name) = dialect.collations();
    let columns = format!(
        "SELECT COLUMN_NAME AS n, DATA_TYPE AS d, COLUMN_TYPE AS t, IS_NULLABLE AS nullable, EXTRA AS x, \
         CHARACTER_OCTET_LENGTH AS o, NUMERIC_PRECISION AS p, NUMERIC_SCALE AS s, DATETIME_PRECISION AS f, i.ID AS c \
         FROM information_schema.COLUMNS c LEFT JOIN information_schema.{collations} i ON i.{full_name} = c.COLLATION_NAME \
         WHERE {which} ORDER BY ORDINAL_POSITION"
    );
    let columns = told(connection, &columns).await?;
    let mut schema = RowSchema {
        database: database.clone(),
        table: table.clone(),
        columns: Vec::with_capacity(columns.rows.len()),
    };
    for row in 0..columns.rows.len() {
        let name = text(&columns, row, "n");
        let ty = column_type(dialect, &columns, row)
            .map_err(|problem| refuse(format!("its column {name} {problem}")))?;
        schema.columns.push(Column {
            name,
            ty,
            nullable: text(&columns, row, "nullable") == "YES",
            // MariaDB's binlog does not say.
            visible: dialect != Dialect::MySql || !text(&columns, row, "x").contains("INVISIBLE"),
            key: None,
        });
    }
    // In the server's own order of the keys.
    let indexes = connection.query(&format!("SHOW INDEX FROM {name}")).await?;
    let hashed = (0..indexes.rows.len()).find(|row| text(&indexes, *row, "Index_type") == "HASH");
    if let Some(row) = hashed {
        return Err(refuse(format!(
            "its key {} is of a hash (USING HASH: MariaDB makes that of what is too long for a key), which the binlog has as a column that no SELECT shows",
            text(&indexes, row, "Key_name")
        ))
        .into());
    }
    let key = choose_key(&mut schema, &indexes);
    let orders_otherwise = (key.columns.iter()).any(|&at| text(&columns, at, "d") == "uuid");
    let create_table = connection
        .query(&format!("SHOW CREATE TABLE {name}"))
        .await?;
    let create_database = connection
        .query(&format!("SHOW CREATE DATABASE {}", sql::quoted(database)))
        .await?;
    // A view may have taken the table's place.
    let shown = |rows: &Rows, column: &str| {
        let text = rows.value(0, column).filter(|text| !text.is_empty());
        text.ok_or_else(|| refuse(format!("has no \"{column}\" that the server shows")))
    };
    let create_table = shown(&create_table, "Create Table")?;
    let create_database = shown(&create_database, "Create Database")?;
    let cascade = match dialect {
        Dialect::MySql => unlogged_cascade(connection, database, table).await?,
        Dialect::MariaDb { .. } => mariadb::cascade(&create_table),
    };
    let (text, fingerprint) = schema.to_avro();
    Ok(Some(Definition {
        schema,
        text,
        fingerprint,
        key,
        dialect,
        orders_otherwise,
        create_database,
        create_table,
        // Estimates, for people and for the size of the first range.
        estimated_rows: number(&tables, 0, "r").unwrap_or(0),
        estimated_bytes: number(&tables, 0, "b").unwrap_or(0),
        cascade,
    }))
}

/// See [`Definition::cascade`].
async fn unlogged_cascade(
    connection: &mut Connection,
    database: &str,
    table: &str,
) -> Result<Option<String>, CaptureError> {
    // MySQL 9.6 and newer can run them above the engine, and then writes what they change.
    let native = connection
        .query("SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")
        .await?;
    let native = native.value(0, "Value");
    if native.is_some_and(|value| value.eq_ignore_ascii_case("OFF")) {
        return Ok(None);
    }
    let cascades = connection
        .query(&format!(
            "SELECT CONSTRAINT_NAME AS c FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {} AND TABLE_NAME = {} \
             AND {CASCADES}",
            sql::string(database),
            sql::string(table)
        ))
        .await?;
    Ok(cascades.value(0, "c"))
}

/// The primary key, or the unique key with the fewest columns of those without NULLs, expressions and prefixes. As the server does, the
/// first of these stands for a primary key where there is none: table maps say so.
fn choose_key(schema: &mut RowSchema, indexes: &Rows) -> Key {
    /// Of an index: its columns with their prefixes, and what it is good for.
    struct Found {
        key: Key,
        prefixes: Vec<u32>,
        promotes: bool,
        fit: bool,
    }
    let mut found: Vec<Found> = Vec::new();
    for row in 0..indexes.rows.len() {
        if text(indexes, row, "Non_unique") != "0" {
            continue;
        }
        let name = text(indexes, row, "Key_name");
        if found.last().is_none_or(|found| found.key.name != name) {
            found.push(Found {
                key: Key {
                    name,
                    columns: Vec::new(),
                },
                prefixes: Vec::new(),
                promotes: true,
                fit: text(indexes, row, "Visible") != "NO"
                    && text(indexes, row, "Ignored") != "YES",
            });
        }
        let Some(found) = found.last_mut() else {
            continue;
        };
        let column = indexes.value(row, "Column_name");
        let at = column.and_then(|c| schema.columns.iter().position(|column| column.name == c));
        let Some(at) = at else {
            // An expression.
            (found.promotes, found.fit) = (false, false);
            continue;
        };
        // NULL: all of the column.
        let prefix = match indexes.value(row, "Sub_part") {
            None => 0,
            Some(prefix) => prefix.parse().unwrap_or(u32::MAX),
        };
        let column = &schema.columns[at];
        // A float's text is not its value, and a descending part has another order.
        let ordered = !matches!(
            column.ty,
            ColumnType::Float { .. }
                | ColumnType::Json
                | ColumnType::Geometry { .. }
                | ColumnType::Vector { .. }
        );
        found.promotes &= !column.nullable && prefix == 0;
        found.fit &= found.promotes && ordered && text(indexes, row, "Collation") != "D";
        found.key.columns.push(at);
        found.prefixes.push(prefix);
    }
    let primary = found
        .iter()
        .position(|found| found.key.name == "PRIMARY")
        .or_else(|| found.iter().position(|found| found.promotes));
    if let Some(primary) = primary {
        let Found { key, prefixes, .. } = &found[primary];
        for (position, (&at, &prefix)) in key.columns.iter().zip(prefixes).enumerate() {
            schema.columns[at].key = Some(KeyPart {
                position: position as u16,
                prefix,
            });
        }
    }
    let fit = found.into_iter().enumerate().filter(|(_, found)| found.fit);
    fit.min_by_key(|(at, found)| (Some(*at) != primary, found.key.columns.len()))
        .map(|(_, found)| found.key)
        .unwrap_or_default()
}

fn column_type(dialect: Dialect, rows: &Rows, row: usize) -> Result<ColumnType, String> {
    let full = text(rows, row, "t");
    if full.contains(OLD_TIMES) {
        return Err(
            "was made with mysql56_temporal_format = OFF (ALTER TABLE … FORCE with it ON converts it)"
                .to_owned(),
        );
    }
    let unsigned = full.contains("unsigned");
    // Nothing is made up: a guess would be another row schema than the binlog's.
    let untold = |what: &str| format!("has a {what} that the server does not tell");
    let bytes = || number(rows, row, "o").ok_or_else(|| untold("length"));
    let fsp = || number(rows, row, "f").ok_or_else(|| untold("precision"));
    let precision = || number(rows, row, "p").ok_or_else(|| untold("precision"));
    let collation = || {
        let known = number(rows, row, "c").filter(|id: &u16| *id > 0);
        known.ok_or_else(|| untold("collation"))
    };
    let blob = |length_bytes| ColumnType::Blob { length_bytes };
    let clob = |length_bytes| -> Result<ColumnType, String> {
        Ok(ColumnType::Text {
            length_bytes,
            collation: collation()?,
        })
    };
    let geometry = |kind| ColumnType::Geometry { kind };
    let integer = |width| ColumnType::Integer { width, unsigned };
    let name = text(rows, row, "d").to_ascii_lowercase();
    Ok(match name.as_str() {
        "tinyint" => integer(Width::Tiny),
        "smallint" => integer(Width::Small),
        "mediumint" => integer(Width::Medium),
        "int" => integer(Width::Int),
        "bigint" => integer(Width::Big),
        "bit" => ColumnType::Bit { bits: precision()? },
        "float" => ColumnType::Float { unsigned },
        "double" => ColumnType::Double { unsigned },
        "decimal" => ColumnType::Decimal {
            precision: precision()?,
            scale: number(rows, row, "s").ok_or_else(|| untold("scale"))?,
            unsigned,
        },
        "year" => ColumnType::Year,
        "date" => ColumnType::Date,
        "time" => ColumnType::Time { fsp: fsp()? },
        "datetime" => ColumnType::DateTime { fsp: fsp()? },
        "timestamp" => ColumnType::Timestamp { fsp: fsp()? },
        "char" => ColumnType::Char {
            bytes: bytes()?,
            collation: collation()?,
        },
        "varchar" => ColumnType::VarChar {
            bytes: bytes()?,
            collation: collation()?,
        },
        "tinytext" => clob(1)?,
        "text" => clob(2)?,
        "mediumtext" => clob(3)?,
        "longtext" => clob(4)?,
        "binary" => ColumnType::Binary { bytes: bytes()? },
        "varbinary" => ColumnType::VarBinary { bytes: bytes()? },
        "tinyblob" => blob(1),
        "blob" => blob(2),
        "mediumblob" => blob(3),
        "longblob" => blob(4),
        "enum" => ColumnType::Enum {
            labels: labels(&full)?,
            collation: collation()?,
        },
        "set" => ColumnType::Set {
            labels: labels(&full)?,
            collation: collation()?,
        },
        "json" => ColumnType::Json,
        "geometry" => geometry(0),
        "point" => geometry(1),
        "linestring" => geometry(2),
        "polygon" => geometry(3),
        "multipoint" => geometry(4),
        "multilinestring" => geometry(5),
        "multipolygon" => geometry(6),
        "geomcollection" | "geometrycollection" => geometry(7),
        "uuid" | "inet6" => ColumnType::Binary { bytes: 16 },
        "inet4" => ColumnType::Binary { bytes: 4 },
        // MariaDB's, to its binlog.
        "vector" if dialect != Dialect::MySql => ColumnType::VarBinary { bytes: bytes()? },
        "vector" => ColumnType::Vector {
            dimension: inside(&full)
                .and_then(|n| n.parse().ok())
                .ok_or_else(|| untold("dimension"))?,
        },
        _ => return Err(format!("has the type {name}, which is not known")),
    })
}

fn inside(full: &str) -> Option<&str> {
    full.split_once('(')?
        .1
        .rsplit_once(')')
        .map(|(inside, _)| inside)
}

/// Out of `enum('a','it''s')`, as the server prints it: quotes doubled, backslashes and line ends escaped.
fn labels(full: &str) -> Result<Vec<String>, String> {
    let broken = || "has labels that cannot be read".to_owned();
    let mut rest = inside(full).ok_or_else(broken)?.chars().peekable();
    let mut labels = Vec::new();
    while rest.next() == Some('\'') {
        let mut label = String::new();
        loop {
            match rest.next().ok_or_else(broken)? {
                '\'' if rest.peek() == Some(&'\'') => {
                    rest.next();
                    label.push('\'');
                }
                '\'' => break,
                '\\' => label.push(match rest.next().ok_or_else(broken)? {
                    'n' => '\n',
                    'r' => '\r',
                    '0' => '\0',
                    other => other,
                }),
                // The server prints labels in utf8mb3, with this in the place of what that lacks.
                '?' => return Err("has a label with a question mark, or a character beyond the basic plane: the server prints both alike".to_owned()),
                other => label.push(other),
            }
        }
        labels.push(label);
        if rest.next().is_none() {
            return Ok(labels);
        }
    }
    Err(broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_the_server_prints_them() {
        let read = |full: &str| labels(full);
        assert_eq!(
            read(r"enum('a','it''s','a\\b','x\ny','','ß(')").unwrap(),
            ["a", "it's", "a\\b", "x\ny", "", "ß("]
        );
        assert!(read("enum('?')").is_err());
        for broken in ["enum(", "enum('a", "enum('a',)", "enum(a)"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}
