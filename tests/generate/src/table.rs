//! Whole tables: a key of some kind or none, generated columns, and statements that change the rows in every way that makes row events.

use crate::{
    column::{Column, Kind, Servers, drawn},
    random::Random,
};

/// A drawn table. Its rows are found by `id`, which is the key in some tables only.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: String,
    /// What is between the parentheses of CREATE TABLE.
    definition: String,
    columns: Vec<Column>,
    /// Without a key of its own, the session makes an invisible one.
    hidden_key: bool,
    /// Rows may be there twice.
    keyless: bool,
}

impl Table {
    pub fn drawn(
        name: String,
        servers: Servers,
        collations: &[(&'static str, String)],
        random: &mut Random,
    ) -> Self {
        let count = 2 + random.below(12) as usize;
        let mut columns = drawn(count, servers, collations, random);
        let mut keys = Vec::new();
        let (mut hidden_key, mut keyless) = (false, false);
        match random.below(10) {
            0 | 1 => keys.push("PRIMARY KEY (id)".to_owned()),
            2 | 3 => keys.push(key("PRIMARY KEY", 1, true, true, &mut columns, random)),
            4 => keys.push(key("PRIMARY KEY", 3, true, false, &mut columns, random)),
            5 => keys.push(key("UNIQUE KEY k", 2, true, false, &mut columns, random)),
            6 => keys.push(key("UNIQUE KEY k", 2, false, false, &mut columns, random)),
            7 if matches!(servers, Servers::MySql) => hidden_key = true,
            8 => {
                let cut = 1 + random.below(10);
                keys.push(format!("PRIMARY KEY (opening({cut}), id)"));
                let (charset, collation) = random.pick(collations);
                columns.push(Column {
                    name: "opening".into(),
                    definition: format!(
                        "text character set {charset} collate {collation} not null"
                    ),
                    kind: Kind::Text(30, charset),
                    nullable: false,
                });
            }
            _ => keyless = true,
        }
        if random.below(3) == 0 && !keyless {
            keys.push(key(
                "UNIQUE KEY also",
                1,
                false,
                false,
                &mut columns,
                random,
            ));
        }
        let mut parts = vec!["id INT NOT NULL".to_owned()];
        parts.extend(
            columns
                .iter()
                .map(|c| format!("`{}` {}", c.name, c.definition)),
        );
        parts.extend(generated(&columns, servers, random));
        parts.extend(keys.into_iter().filter(|key| !key.is_empty()));
        Self {
            name,
            definition: parts.join(", "),
            columns,
            hidden_key,
            keyless,
        }
    }

    pub fn create(&self) -> String {
        format!(
            "{}CREATE TABLE `{}` ({}); {}",
            if self.hidden_key {
                "SET sql_generate_invisible_primary_key = 1; "
            } else {
                ""
            },
            self.name,
            self.definition,
            if self.hidden_key {
                "SET sql_generate_invisible_primary_key = 0; "
            } else {
                ""
            },
        )
    }

    fn insert(&self, verb: &str, from: u64, count: u64, random: &mut Random) -> String {
        // What may be left out whatever the image.
        let defaults_to_null = |column: &Column| {
            let ty = column
                .definition
                .split([' ', '('])
                .next()
                .unwrap_or_default();
            let large = ty.ends_with("text") || ty.ends_with("blob");
            column.nullable && (large || matches!(column.kind, Kind::Json | Kind::Geometry))
        };
        let mut columns: Vec<_> = self.columns.iter().collect();
        columns.retain(|c| !defaults_to_null(c) || random.below(5) > 0);
        let names: Vec<_> = columns.iter().map(|c| format!(", `{}`", c.name)).collect();
        let row = |id: u64, random: &mut Random| {
            let values: Vec<_> = (columns.iter())
                .map(|c| format!(", {}", c.literal(random)))
                .collect();
            format!("({id}{})", values.concat())
        };
        let mut rows: Vec<_> = (from..from + count).map(|id| row(id, random)).collect();
        if self.keyless && random.below(2) == 0 {
            rows.push(rows[0].clone());
        }
        format!(
            "{verb} INTO `{}` (id{}) VALUES {}",
            self.name,
            names.concat(),
            rows.join(", ")
        )
    }

    /// Statements that put `rows` rows in.
    pub fn fill(&self, rows: u64, random: &mut Random) -> Vec<String> {
        let mut script = vec![session(random)];
        let mut id = 0;
        while id < rows {
            let count = (1 + random.below(4)).min(rows - id);
            script.push(self.insert("INSERT IGNORE", id, count, random));
            id += count;
        }
        transactions(script, random)
    }

    /// Statements that change and delete rows, and put some in again.
    pub fn change(&self, rows: u64, random: &mut Random) -> Vec<String> {
        let mut script = vec![session(random)];
        for _ in 0..rows {
            script.push(self.changed(rows, random));
        }
        transactions(script, random)
    }

    fn changed(&self, rows: u64, random: &mut Random) -> String {
        let table = &self.name;
        let id = random.below(rows);
        let which = match random.below(4) {
            0 => format!("id % 4 = {}", random.below(4)),
            // Twice the same, after the first has moved it away.
            1 => format!("id IN ({id}, {})", id + 1000),
            _ => format!("id = {id}"),
        };
        match random.below(12) {
            0 => self.insert("INSERT IGNORE", rows + id, 1, random),
            1 => self.insert("REPLACE", id, 1, random),
            2 => format!(
                "{} ON DUPLICATE KEY UPDATE {}",
                self.insert("INSERT IGNORE", id, 2, random),
                self.assignments(random)
            ),
            3 => format!("UPDATE IGNORE `{table}` SET id = id + 1000 WHERE {which}"),
            4 if self.keyless => format!("DELETE FROM `{table}` WHERE {which} LIMIT 1"),
            4 => format!("DELETE FROM `{table}` WHERE {which}"),
            5 => format!("DELETE FROM `{table}` WHERE id = {id}"),
            _ => format!(
                "UPDATE IGNORE `{table}` SET {} WHERE {which}",
                self.assignments(random)
            ),
        }
    }

    fn assignments(&self, random: &mut Random) -> String {
        let count = 1 + random.below(3);
        let mut set: Vec<String> = Vec::new();
        for _ in 0..count {
            let column = random.pick(&self.columns);
            let name = format!("`{}`", column.name);
            if set
                .iter()
                .any(|done| done.starts_with(&format!("{name} =")))
            {
                continue;
            }
            let value = match (column.kind, random.below(3)) {
                (Kind::Json, 0) => format!("JSON_SET({name}, '$[0]', {})", random.below(9)),
                (Kind::Json, 1) => format!("JSON_REMOVE({name}, '$.key1')"),
                _ => column.literal(random),
            };
            set.push(format!("{name} = {value}"));
        }
        set.join(", ")
    }
}

/// How the statements of a script are logged.
fn session(random: &mut Random) -> String {
    let image = *random.pick(&["FULL", "FULL", "FULL", "NOBLOB", "MINIMAL"]);
    let options = match random.below(3) {
        0 if image != "MINIMAL" => "PARTIAL_JSON",
        _ => "",
    };
    let compression = random.below(4) == 0;
    format!(
        "SET binlog_row_image = {image}, binlog_row_value_options = '{options}', binlog_transaction_compression = {}",
        u8::from(compression)
    )
}

/// Puts some neighbours into one transaction, some of them taken back to a savepoint.
fn transactions(statements: Vec<String>, random: &mut Random) -> Vec<String> {
    let mut script = Vec::new();
    let mut statements = statements.into_iter().peekable();
    script.extend(statements.next());
    while statements.peek().is_some() {
        let count = 1 + random.below(6) as usize;
        let mut some: Vec<_> = statements.by_ref().take(count).collect();
        if count > 1 {
            if random.below(5) == 0 {
                let taken_back = some[0].clone();
                some.insert(1, "SAVEPOINT s".into());
                some.extend([taken_back, "ROLLBACK TO SAVEPOINT s".into()]);
            }
            some.insert(0, "BEGIN".into());
            some.push(
                if random.below(10) == 0 {
                    "ROLLBACK"
                } else {
                    "COMMIT"
                }
                .into(),
            );
        }
        script.extend(some);
    }
    script
}

/// A key over up to `most` columns that can be in one, made NOT NULL where asked; nothing where no column can.
fn key(
    kind: &str,
    most: u64,
    not_null: bool,
    text: bool,
    columns: &mut [Column],
    random: &mut Random,
) -> String {
    let count = 1 + random.below(most);
    let mut parts: Vec<String> = Vec::new();
    let start = random.below(columns.len() as u64) as usize;
    for step in 0..columns.len() {
        let at = (start + step) % columns.len();
        let column = &mut columns[at];
        let first = column
            .definition
            .split([' ', '('])
            .next()
            .unwrap_or_default();
        // A text as the whole key, where there is one.
        if text && !matches!(first, "char" | "varchar") {
            continue;
        }
        let length = match (column.kind, first) {
            (Kind::Json | Kind::Geometry | Kind::Vector(_), _) => continue,
            (Kind::Text(..) | Kind::Binary(_), first)
                if first.ends_with("text") || first.ends_with("blob") =>
            {
                format!("({})", 1 + random.below(20))
            }
            _ => String::new(),
        };
        if not_null && column.nullable {
            column.nullable = false;
            column.definition = (column.definition)
                .replacen(" null", " not null", 1)
                .replacen(" invisible", "", 1);
        }
        parts.push(format!("`{}`{length}", column.name));
        if parts.len() as u64 == count {
            break;
        }
    }
    match parts.is_empty() {
        true if kind.starts_with("PRIMARY") => format!("{kind} (id)"),
        true => String::new(),
        false => format!("{kind} ({})", parts.join(", ")),
    }
}

/// Columns that are computed of others.
fn generated(columns: &[Column], servers: Servers, random: &mut Random) -> Vec<String> {
    let mut parts = Vec::new();
    for at in 0..random.below(3) {
        let kept = *random.pick(&["STORED", "VIRTUAL", "STORED INVISIBLE", "VIRTUAL INVISIBLE"]);
        let of = random.pick(columns);
        let part = match of.kind {
            // Its HEX depends on the session, and a CHAR's length.
            Kind::Text(..) | Kind::Binary(_) if servers == Servers::MariaDbToo => {
                match of.definition.starts_with("char") {
                    true => format!("g{at} INT AS (id + {at}) {kept}"),
                    false => format!("g{at} INT AS (LENGTH(`{}`)) {kept}", of.name),
                }
            }
            Kind::Text(..) | Kind::Binary(_) => format!(
                "g{at} VARCHAR(100) CHARACTER SET ascii AS (LEFT(HEX(`{}`), 100)) {kept}",
                of.name
            ),
            _ => format!("g{at} INT AS (id * 2 + {at}) {kept}"),
        };
        parts.push(part);
    }
    parts
}
