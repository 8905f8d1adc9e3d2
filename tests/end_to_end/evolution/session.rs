//! A connection of a history to the source: every statement of it is noted, and what the server answered.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Result, bail};
use binferry_generate::{Kind, Random, Shown};
use binferry_servers::MySql;
use mysql_async::{Conn, Error, Row, prelude::Queryable};

/// What was run on the source, in the order in which it was answered.
pub struct Journal {
    begun: Instant,
    file: Mutex<std::fs::File>,
}

impl Journal {
    pub fn create(path: &std::path::Path) -> Result<Self> {
        Ok(Self {
            begun: Instant::now(),
            file: Mutex::new(std::fs::File::create(path)?),
        })
    }

    pub fn note(&self, who: &str, what: &str, answer: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.begun.elapsed().as_millis();
        let _ = writeln!(file, "{at:>7} {who}: {what}; -- {answer}");
    }
}

pub struct Session<'a> {
    runtime: tokio::runtime::Runtime,
    connection: Conn,
    journal: &'a Journal,
    who: String,
}

impl<'a> Session<'a> {
    pub fn open(server: &MySql, journal: &'a Journal, who: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let connection = runtime.block_on(Conn::new(server.opts()))?;
        let mut session = Self {
            runtime,
            connection,
            journal,
            who: who.to_owned(),
        };
        session.must(&format!(
            "{} SET lock_wait_timeout = 5, innodb_lock_wait_timeout = 2, cte_max_recursion_depth = 100000",
            binferry_generate::SESSION
        ))?;
        Ok(session)
    }

    /// A statement that the server may refuse: then nothing has happened. Whether it was done.
    pub fn may(&mut self, statement: &str) -> Result<bool> {
        let ran = self.runtime.block_on(self.connection.query_drop(statement));
        let answer = match &ran {
            Ok(()) => "done".to_owned(),
            Err(Error::Server(error)) => format!("{} {}", error.code, error.message),
            Err(error) => format!("{error}"),
        };
        self.journal.note(&self.who, statement, &answer);
        match ran {
            Ok(()) => Ok(true),
            Err(Error::Server(_)) => Ok(false),
            Err(error) => bail!("{statement}: {error}"),
        }
    }

    pub fn must(&mut self, statement: &str) -> Result<()> {
        match self.may(statement)? {
            true => Ok(()),
            false => bail!("refused: {statement}"),
        }
    }

    fn rows(&mut self, query: &str) -> Result<Vec<Row>> {
        Ok(self.runtime.block_on(self.connection.query(query))?)
    }

    /// All tables whose database begins so.
    pub fn tables(&mut self, prefix: &str) -> Result<Vec<(String, String)>> {
        let rows = self.rows(&format!(
            "SELECT CONVERT(table_schema USING utf8mb4), CONVERT(table_name USING utf8mb4) FROM information_schema.tables
             WHERE table_schema LIKE '{prefix}%' AND table_type = 'BASE TABLE' AND table_name <> 'always' ORDER BY 1, 2"
        ))?;
        Ok(rows.into_iter().map(mysql_async::from_row).collect())
    }

    /// What the table looks like now; nothing when it has gone.
    pub fn shape(&mut self, database: &str, table: &str) -> Result<Option<Shape>> {
        let (schema, name) = (literal(database), literal(table));
        let rows = self.rows(&format!(
            "SELECT column_name, data_type, CONVERT(column_type USING utf8mb4), character_set_name, collation_name,
                 COALESCE(character_maximum_length, numeric_precision, 0), COALESCE(numeric_scale, 0), COALESCE(datetime_precision, 0),
                 is_nullable = 'YES', extra, srs_id
             FROM information_schema.columns WHERE table_schema = {schema} AND table_name = {name} ORDER BY ordinal_position"
        ))?;
        let mut columns = Vec::new();
        for mut row in rows {
            let text = |row: &mut Row, at: usize| -> Option<String> {
                row.take_opt::<Option<String>, _>(at)?.ok()?
            };
            let number = |row: &mut Row, at: usize| -> u64 {
                row.take_opt(at).and_then(Result::ok).unwrap_or(0)
            };
            let Some(column) = text(&mut row, 0) else {
                continue;
            };
            let data_type = text(&mut row, 1).unwrap_or_default();
            let column_type = text(&mut row, 2).unwrap_or_default();
            let character_set = text(&mut row, 3);
            let collation = text(&mut row, 4);
            let shown = Shown {
                data_type: &data_type,
                column_type: &column_type,
                character_set: character_set.as_deref(),
                length: number(&mut row, 5),
                scale: number(&mut row, 6),
                fraction: number(&mut row, 7),
            };
            let kind = Kind::shown(shown);
            let extra = text(&mut row, 9).unwrap_or_default();
            columns.push(Column {
                kind,
                nullable: number(&mut row, 8) == 1,
                generated: extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED"),
                numbers: extra.contains("auto_increment"),
                definition: match (&character_set, &collation) {
                    (Some(set), Some(collation)) => {
                        format!("{column_type} CHARACTER SET {set} COLLATE {collation}")
                    }
                    _ => column_type.clone(),
                },
                plain: collation
                    .as_deref()
                    .is_none_or(|c| c == "utf8mb4_0900_ai_ci"),
                name: column,
            });
        }
        if columns.is_empty() {
            return Ok(None);
        }
        let of = format!("table_schema = {schema} AND table_name = {name}");
        let more = self.rows(&format!(
            "SELECT DISTINCT 'index', CONVERT(index_name USING utf8mb4), non_unique = 0 AND nullable <> 'YES' FROM information_schema.statistics WHERE {of}
             UNION ALL SELECT 'partition', CONVERT(partition_name USING utf8mb4), 0 FROM information_schema.partitions WHERE {of} AND partition_name IS NOT NULL
             UNION ALL SELECT 'constraint', CONVERT(constraint_name USING utf8mb4), 0 FROM information_schema.table_constraints
             WHERE {of} AND constraint_type IN ('FOREIGN KEY', 'CHECK')"
        ))?;
        let mut more: Vec<(String, String, bool)> =
            more.into_iter().map(mysql_async::from_row).collect();
        more.sort();
        let named = |kind: &str| -> Vec<String> {
            let of_kind = more.iter().filter(|(other, ..)| other == kind);
            let mut names: Vec<_> = of_kind.map(|(_, name, _)| name.clone()).collect();
            names.dedup();
            names
        };
        Ok(Some(Shape {
            indexes: named("index"),
            partitions: named("partition"),
            constraints: named("constraint"),
            keyless: !more.iter().any(|(.., unique)| *unique),
            table: format!("{}.{}", quoted(database), quoted(table)),
            columns,
        }))
    }
}

/// A table as it was a moment ago.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Quoted, with its database.
    pub table: String,
    pub columns: Vec<Column>,
    pub indexes: Vec<String>,
    pub partitions: Vec<String>,
    pub constraints: Vec<String>,
    pub keyless: bool,
}

#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub definition: String,
    pub kind: Option<Kind>,
    pub nullable: bool,
    pub generated: bool,
    /// AUTO_INCREMENT.
    pub numbers: bool,
    /// Its collation is what a statement means that names none.
    pub plain: bool,
}

impl Column {
    pub fn quoted(&self) -> String {
        quoted(&self.name)
    }

    /// An SQL expression for a value.
    pub fn value(&self, random: &mut Random) -> String {
        if self.nullable && random.below(6) == 0 {
            return "NULL".to_owned();
        }
        loop {
            let value = match self.kind {
                None => "DEFAULT".to_owned(),
                // Only what a document's text tells: the copy refuses the others.
                Some(Kind::Json) => format!(
                    "'{}'",
                    random.pick(&[
                        "null",
                        "true",
                        "-17",
                        "2.5e-7",
                        "\"é\"",
                        "[]",
                        "{}",
                        "[1, [2, \"x\"], null]",
                        "{\"b\": {\"a\": [false]}, \"a\": -9223372036854775807}"
                    ])
                ),
                Some(kind) => kind.literal(random),
            };
            if value != "NULL" {
                return value;
            }
        }
    }
}

impl Shape {
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.name == column)
    }

    pub fn writable(&self) -> Vec<&Column> {
        let mut columns: Vec<_> = self.columns.iter().collect();
        columns.retain(|column| !column.generated && column.name != "my_row_id");
        columns
    }
}

pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
