//! What the definer does: every sort of statement that defines tables, on tables that are being copied, wait for it, or are new.
//!
//! Statements of which docs/schema-changes.md says that they stop the stream are left out; whatever else stops it is a failure.

use binferry_generate::{Random, Servers, Table};

use super::session::{Column, Shape, quoted};

/// Names that tables get, quoted where the client must.
const NAMES: [&str; 13] = [
    "a",
    "b",
    "orders",
    "Orders",
    "c c",
    "d.d",
    "e`e",
    "f'f",
    "é☃",
    "_a_gho",
    "_a_del",
    "select",
    "n234567890123456789012345678901234567890123456789012345678901234",
];
const LETTERS: [&str; 6] = ["n0", "n1", "`n 2`", "`n-3`", "`ñ`", "`key`"];
const TYPES: [&str; 13] = [
    "INT",
    "BIGINT UNSIGNED NOT NULL DEFAULT 5",
    "VARCHAR(30) DEFAULT 'x\u{e9}'",
    "CHAR(9) CHARACTER SET latin1 COLLATE latin1_bin",
    "DECIMAL(12,3) NOT NULL",
    "DATETIME(3) DEFAULT '2020-02-03 04:05:06.5'",
    "TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
    "TEXT",
    "VARBINARY(300)",
    "ENUM('a','b''b','c,c') DEFAULT 'a'",
    "SET('x','y') NOT NULL",
    "BIT(9)",
    "DOUBLE COMMENT 'it''s \\\\ odd'",
];

pub struct Definer<'a> {
    pub random: Random,
    /// Databases in which tables are made.
    pub databases: Vec<String>,
    pub collations: &'a [(&'static str, String)],
    /// After a crash only GTIDs tell whether tables of equal definitions have been swapped.
    pub by_gtid: bool,
    /// They insert without naming all columns.
    pub with_triggers: bool,
    number: u64,
}

impl<'a> Definer<'a> {
    pub fn new(
        random: Random,
        databases: Vec<String>,
        collations: &'a [(&'static str, String)],
        by_gtid: bool,
        with_triggers: bool,
    ) -> Self {
        Self {
            random,
            databases,
            collations,
            by_gtid,
            with_triggers,
            number: 0,
        }
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.random.below(of.len() as u64) as usize]
    }

    fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// A name for a table, that another one may have.
    fn name(&mut self) -> String {
        let name = self.one(&NAMES);
        let database: &String = self.random.pick(&self.databases);
        format!("{}.{}", quoted(database), quoted(name))
    }

    /// A table of any sort, with the statements that make it.
    pub fn created(&mut self) -> Vec<String> {
        let mut name = self.one(&NAMES).to_owned();
        if self.random.below(3) == 0 {
            name = format!("t{}", self.number());
        }
        let database = quoted(self.random.pick::<String>(&self.databases));
        let table = format!("{database}.{}", quoted(&name));
        let drawn = Table::drawn(
            name.replace('`', "``"),
            Servers::MySql,
            self.collations,
            &mut self.random,
        );
        let mut statements = vec![format!("USE {database}"), drawn.create()];
        if self.random.below(2) == 0 {
            statements.push(format!(
                "ALTER TABLE {table} ADD u INT, ADD UNIQUE KEY u (u)"
            ));
        }
        if self.random.below(3) == 0 {
            statements.push(format!("ALTER TABLE {table} ADD p INT, ADD KEY p (p)"));
        }
        statements
    }

    /// Simple tables of which each has another key, among them such as a copy has to read in several ranges.
    pub fn plain(&mut self) -> Vec<String> {
        let definitions = [
            "id INT AUTO_INCREMENT PRIMARY KEY, u INT UNIQUE, p INT, pad VARBINARY(9000)",
            "id INT, u INT, v VARCHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, pad VARBINARY(9000), PRIMARY KEY (v, id), UNIQUE KEY (u)",
            "id INT, k BINARY(4), pad LONGBLOB, PRIMARY KEY (k, id), g INT AS (id * 2) STORED, KEY (g)",
            "id INT NOT NULL, u INT, UNIQUE KEY k (id), UNIQUE KEY u (u)",
            "id INT PRIMARY KEY, p INT, KEY p (p), n VARCHAR(40), CHECK (id > -5)",
            "id INT, n VARCHAR(20)",
        ];
        let database = quoted(&self.databases[0]);
        let plain = definitions.iter().enumerate();
        plain
            .map(|(n, definition)| format!("CREATE TABLE {database}.plain{n} ({definition})"))
            .collect()
    }

    /// Statements that follow each other; each may fail, and then did nothing.
    pub fn statements(&mut self, shapes: &[Shape]) -> Vec<String> {
        let Some(at) = (self.random.word() as usize).checked_rem(shapes.len()) else {
            return self.created();
        };
        let shape = &shapes[at];
        let other = &shapes[self.random.below(shapes.len() as u64) as usize];
        let (t, u) = (&shape.table, &other.table);
        let n = self.number();
        match self.random.below(40) {
            0..=4 => self.created(),
            5 => vec![format!("CREATE TABLE {} LIKE {t}", self.name())],
            6 => vec![self.selected(shape)],
            7 | 8 => vec![format!("DROP TABLE {t}")],
            9 if self.by_gtid => vec![format!("DROP TABLE IF EXISTS {t}, {u}, {}", self.name())],
            10 => vec![format!("TRUNCATE TABLE {t}")],
            11 | 12 => vec![format!("RENAME TABLE {t} TO {}", self.name())],
            13 if self.by_gtid => {
                let swap = format!("{}.swap", quoted(&self.databases[0]));
                vec![format!(
                    "RENAME TABLE {t} TO {swap}, {u} TO {t}, {swap} TO {u}"
                )]
            }
            14 => vec![format!(
                "ALTER TABLE {t} RENAME TO {}, COMMENT='{n}'",
                self.name()
            )],
            15 => self.ghost(shape),
            16 if self.with_triggers => self.triggers(shape),
            17 => self.partitioned(shape),
            18 => self.partitioned(shape),
            19 => self.exchanged(shape),
            20 => vec![format!(
                "CREATE {}INDEX k{n} ON {t} ({})",
                self.one(&["", "", "UNIQUE "]),
                self.parts(shape)
            )],
            21 => match self.index(shape) {
                Some(index) => vec![format!("DROP INDEX {index} ON {t}")],
                None => vec![],
            },
            22 => vec![format!("OPTIMIZE TABLE {t}")],
            23 => vec![format!("ANALYZE TABLE {t}")],
            24 => vec![
                format!(
                    "CREATE OR REPLACE VIEW {}.`view {n}` AS SELECT * FROM {t}",
                    quoted(&self.databases[0])
                ),
                format!("DROP VIEW {}.`view {n}`", quoted(&self.databases[0])),
            ],
            25 => {
                let database = format!("{} {}", self.databases[0], self.random.below(2));
                let made = quoted(&database);
                vec![
                    format!("CREATE DATABASE {made}"),
                    format!("CREATE TABLE {made}.inner (id INT PRIMARY KEY, n INT)"),
                    format!("INSERT INTO {made}.inner VALUES ({n}, {n}), (-1, 1)"),
                    match self.random.below(2) {
                        0 => format!("ALTER DATABASE {made} CHARACTER SET latin1"),
                        _ => format!("DROP DATABASE {made}"),
                    },
                ]
            }
            26 => vec![format!(
                "/* c */ ALTER /*!50100 TABLE */ {t} /*!80000 ADD COLUMN {} {} */ /*!99999 FROBNICATE */",
                self.one(&LETTERS),
                self.one(&TYPES)
            )],
            27 => vec![format!(
                "ALTER TABLE {t} ADD {} {}, ALGORITHM=INSTANT",
                self.one(&LETTERS),
                self.one(&TYPES)
            )],
            28 => vec![format!(
                "CREATE TABLE IF NOT EXISTS {t} (id INT PRIMARY KEY)"
            )],
            _ => {
                let count = 1 + self.random.below(3);
                let clauses: Vec<_> = (0..count).map(|_| self.clause(shape, other)).collect();
                vec![format!("ALTER TABLE {t} {}", clauses.join(", "))]
            }
        }
    }

    fn column<'s>(&mut self, shape: &'s Shape) -> &'s Column {
        self.random.pick(&shape.columns)
    }

    fn index(&mut self, shape: &Shape) -> Option<String> {
        match shape.indexes.is_empty() {
            true => None,
            false => Some(quoted(self.random.pick::<String>(&shape.indexes))),
        }
    }

    /// Of an index.
    fn parts(&mut self, shape: &Shape) -> String {
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let column = self.column(shape);
            let name = column.quoted();
            if parts.iter().any(|part| part.starts_with(&name)) {
                continue;
            }
            let large = ["text", "blob"]
                .iter()
                .any(|ty| column.definition.contains(ty));
            let descending = self.random.below(6) == 0;
            parts.push(format!(
                "{name}{}{}",
                if large { "(7)" } else { "" },
                if descending { " DESC" } else { "" }
            ));
        }
        parts.join(", ")
    }

    fn place(&mut self, shape: &Shape) -> String {
        match self.random.below(4) {
            0 => " FIRST".to_owned(),
            1 => format!(" AFTER {}", self.column(shape).quoted()),
            _ => String::new(),
        }
    }

    fn clause(&mut self, shape: &Shape, other: &Shape) -> String {
        let n = self.number();
        let column = self.column(shape).clone();
        let c = column.quoted();
        let null = if column.nullable { "NULL" } else { "NOT NULL" };
        let (letter, ty) = (self.one(&LETTERS), self.one(&TYPES));
        let place = self.place(shape);
        match self.random.below(36) {
            // No column becomes JSON: its documents would hold values that their text does not tell, which the copy refuses.
            0 => format!("ADD {letter} JSON{place}"),
            1..=3 => format!("ADD {letter} {ty}{place}"),
            4 => format!(
                "ADD {letter} INT AS (COALESCE(LENGTH({c}), 0) + {n}) {}",
                self.one(&["VIRTUAL", "STORED"])
            ),
            5..=7 => format!("DROP COLUMN {c}"),
            8 | 9 => format!("MODIFY {c} {ty}{place}"),
            10..=12 if !column.generated => {
                format!("MODIFY {c} {} {null}{place}", column.definition)
            }
            13 => format!("CHANGE {c} {letter} {ty}"),
            14 | 15 => format!("RENAME COLUMN {c} TO {letter}"),
            16 => format!(
                "ALTER COLUMN {c} SET {}",
                self.one(&["INVISIBLE", "VISIBLE", "DEFAULT 3", "DEFAULT (7)"])
            ),
            17 => format!("ALTER COLUMN {c} DROP DEFAULT"),
            18 => format!(
                "ADD {}KEY k{n} ({})",
                self.one(&["", "UNIQUE "]),
                self.parts(shape)
            ),
            19 => "DROP PRIMARY KEY".to_owned(),
            20 => format!("DROP PRIMARY KEY, ADD PRIMARY KEY ({})", self.parts(shape)),
            21 => "ADD PRIMARY KEY (id)".to_owned(),
            22 => match self.index(shape) {
                Some(index) => format!(
                    "{} {index}{}",
                    if n.is_multiple_of(2) {
                        "DROP INDEX"
                    } else {
                        "ALTER INDEX"
                    },
                    if n.is_multiple_of(2) {
                        ""
                    } else {
                        " INVISIBLE"
                    }
                ),
                None => format!("COMMENT = '{n}'"),
            },
            23 => match self.index(shape) {
                Some(index) => format!("RENAME INDEX {index} TO r{n}"),
                None => format!("COMMENT = '{n}'"),
            },
            24 => format!("ADD CONSTRAINT check{n} CHECK (id <> -{n})"),
            25 => match shape.constraints.is_empty() {
                true => "FORCE".to_owned(),
                false => format!(
                    "DROP CONSTRAINT {}",
                    quoted(self.random.pick::<String>(&shape.constraints))
                ),
            },
            26 | 27 => format!(
                "ADD CONSTRAINT `to {n}` FOREIGN KEY (p) REFERENCES {} (id) ON DELETE {} ON UPDATE {}",
                other.table,
                self.one(&["CASCADE", "SET NULL", "RESTRICT"]),
                self.one(&["CASCADE", "SET NULL", "NO ACTION"]),
            ),
            28 => format!("COMMENT = 'it''s {n} \u{e9}'"),
            29 => self
                .one(&[
                    "ENGINE = InnoDB",
                    "FORCE",
                    "ROW_FORMAT = COMPACT",
                    "ROW_FORMAT = DYNAMIC",
                    "STATS_PERSISTENT = 1",
                ])
                .to_owned(),
            30 => format!("AUTO_INCREMENT = {}", 1000 + n),
            31 => self
                .one(&[
                    "CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                    "CONVERT TO CHARACTER SET latin1",
                    "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_da_0900_as_cs",
                ])
                .to_owned(),
            32 => "MODIFY id BIGINT NOT NULL".to_owned(),
            33 => "ADD u INT, ADD UNIQUE KEY u (u)".to_owned(),
            34 => "ADD p INT, ADD KEY p (p)".to_owned(),
            _ => format!(
                "ADD {letter} {ty}, ADD INDEX i{n} ({letter}{})",
                if ty.contains("TEXT") { "(4)" } else { "" }
            ),
        }
    }

    /// CREATE TABLE … SELECT, of columns whose definition the server does not write in another way.
    fn selected(&mut self, shape: &Shape) -> String {
        let columns = shape
            .columns
            .iter()
            .filter(|c| c.plain && !c.generated && !c.numbers);
        let columns: Vec<_> = columns.map(Column::quoted).collect();
        let name = self.name();
        let key = match self.random.below(3) {
            0 => "",
            1 => " (UNIQUE KEY (id))",
            _ => " (id INT PRIMARY KEY)",
        };
        format!(
            "CREATE TABLE {name}{key} {} SELECT {} FROM {} LIMIT {}",
            self.one(&["IGNORE", "REPLACE"]),
            match columns.is_empty() {
                true => "1 AS id".to_owned(),
                false => columns.join(", "),
            },
            shape.table,
            self.random.below(60)
        )
    }

    /// As gh-ost goes about it: a copy with another definition, filled in steps, and a swap.
    fn ghost(&mut self, shape: &Shape) -> Vec<String> {
        let database = quoted(&self.databases[0]);
        let (ghost, gone) = (format!("{database}._x_gho"), format!("{database}._x_del"));
        let mut statements = vec![
            format!("DROP TABLE IF EXISTS {ghost}"),
            format!("DROP TABLE IF EXISTS {gone}"),
            format!("CREATE TABLE {ghost} LIKE {}", shape.table),
            format!("ALTER TABLE {ghost} {}", self.clause(shape, shape)),
        ];
        let columns: Vec<_> = shape.writable().iter().map(|c| c.quoted()).collect();
        let columns = columns.join(", ");
        for step in 0..3 {
            statements.push(format!(
                "INSERT IGNORE INTO {ghost} ({columns}) SELECT {columns} FROM {} WHERE id % 3 = {step}",
                shape.table
            ));
        }
        statements.push(format!(
            "RENAME TABLE {0} TO {gone}, {ghost} TO {0}",
            shape.table
        ));
        if self.random.below(3) > 0 {
            statements.push(format!("DROP TABLE {gone}"));
        }
        statements
    }

    /// As pt-online-schema-change does: triggers fill the new table.
    fn triggers(&mut self, shape: &Shape) -> Vec<String> {
        let (Some((database, _)), n) = (shape.table.split_once('.'), self.number()) else {
            return vec![];
        };
        // Dots in names: the database is the first of ours, or it is left alone.
        if database != quoted(&self.databases[0]) {
            return vec![];
        }
        let t = &shape.table;
        let new = format!("{database}._x_new");
        let old = format!("{database}._x_old");
        let columns: Vec<_> = shape.writable().iter().map(|c| c.quoted()).collect();
        let values: Vec<_> = columns.iter().map(|c| format!("NEW.{c}")).collect();
        let (columns, values) = (columns.join(", "), values.join(", "));
        vec![
            format!("DROP TABLE IF EXISTS {new}, {old}"),
            format!("CREATE TABLE {new} LIKE {t}"),
            format!("ALTER TABLE {new} {}", self.clause(shape, shape)),
            format!(
                "CREATE TRIGGER {database}.ins{n} AFTER INSERT ON {t} FOR EACH ROW REPLACE INTO {new} ({columns}) VALUES ({values})"
            ),
            format!(
                "CREATE TRIGGER {database}.upd{n} AFTER UPDATE ON {t} FOR EACH ROW BEGIN DELETE IGNORE FROM {new} WHERE id = OLD.id; REPLACE INTO {new} ({columns}) VALUES ({values}); END"
            ),
            format!(
                "CREATE TRIGGER {database}.del{n} AFTER DELETE ON {t} FOR EACH ROW DELETE IGNORE FROM {new} WHERE id = OLD.id"
            ),
            format!("INSERT LOW_PRIORITY IGNORE INTO {new} ({columns}) SELECT {columns} FROM {t}"),
            format!("RENAME TABLE {t} TO {old}, {new} TO {t}"),
            format!("DROP TRIGGER IF EXISTS {database}.ins{n}"),
            format!("DROP TRIGGER IF EXISTS {database}.upd{n}"),
            format!("DROP TRIGGER IF EXISTS {database}.del{n}"),
            format!("DROP TABLE IF EXISTS {old}"),
        ]
    }

    fn partitioned(&mut self, shape: &Shape) -> Vec<String> {
        let t = &shape.table;
        let n = self.number();
        let partition = match shape.partitions.is_empty() {
            true => "p0".to_owned(),
            false => quoted(self.random.pick::<String>(&shape.partitions)),
        };
        let clause = match self.random.below(11) {
            0 => "PARTITION BY HASH (id) PARTITIONS 3".to_owned(),
            1 => "PARTITION BY KEY () PARTITIONS 2".to_owned(),
            2 | 3 => "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (300), PARTITION px VALUES LESS THAN MAXVALUE)".to_owned(),
            4 => format!("REORGANIZE PARTITION px INTO (PARTITION p{n} VALUES LESS THAN ({}), PARTITION px VALUES LESS THAN MAXVALUE)", 1000 + n * 10),
            5 => format!("TRUNCATE PARTITION {partition}"),
            6 => format!("DROP PARTITION {partition}"),
            7 => "ADD PARTITION PARTITIONS 1".to_owned(),
            8 => "COALESCE PARTITION 1".to_owned(),
            9 => format!("REBUILD PARTITION {partition}"),
            _ => "REMOVE PARTITIONING".to_owned(),
        };
        vec![format!("ALTER TABLE {t} {clause}")]
    }

    fn exchanged(&mut self, shape: &Shape) -> Vec<String> {
        if !self.by_gtid || shape.partitions.is_empty() {
            return self.partitioned(shape);
        }
        let out = format!("{}._out", quoted(&self.databases[0]));
        let partition = quoted(self.random.pick::<String>(&shape.partitions));
        vec![
            format!("DROP TABLE IF EXISTS {out}"),
            format!("CREATE TABLE {out} LIKE {}", shape.table),
            format!("ALTER TABLE {out} REMOVE PARTITIONING"),
            format!(
                "ALTER TABLE {} EXCHANGE PARTITION {partition} WITH TABLE {out}",
                shape.table
            ),
        ]
    }
}
