//! MariaDB's own types and row images on their way to a MariaDB and to a MySQL: the same bytes, by HEX.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, database, mariadb, pair};

use crate::{binferry::Pipeline, load::Random};

/// (name, the type on a MariaDB, the type on a MySQL, what makes a value of a number, `#`); the first is the key.
type Column = (&'static str, &'static str, &'static str, &'static str);

const COLUMNS: &[Column] = &[
    ("u", "UUID", "BINARY(16)", "UNHEX(MD5(#))"),
    (
        "i6",
        "INET6",
        "BINARY(16)",
        "IF(# % 5 = 0, INET6_ATON('::ffff:10.0.0.1'), INSERT(UNHEX(MD5(#)), 9, 8, x'0000000000000000'))",
    ),
    ("o", "UUID", "BINARY(16)", "IF(# % 7 = 0, NULL, UUID())"),
    (
        "c",
        "VARCHAR(3000) COMPRESSED CHARACTER SET utf8mb4",
        "VARCHAR(3000) CHARACTER SET utf8mb4",
        "REPEAT(CONCAT('\u{e9}', #), # % 500)",
    ),
    (
        "b",
        "MEDIUMBLOB COMPRESSED",
        "MEDIUMBLOB",
        "IF(# % 4 = 0, NULL, REPEAT(CHAR(# % 256), # % 4000))",
    ),
    (
        "j",
        "JSON",
        "LONGTEXT CHARACTER SET utf8mb4",
        "CONCAT('{\"n\":  ', #, ', \"a\": [1.50, \"\u{e9}\"]}')",
    ),
    ("n", "INT", "INT", "#"),
    (
        "d",
        "DATETIME(3)",
        "DATETIME(3)",
        "'2024-02-29 01:02:03.456' + INTERVAL # SECOND",
    ),
];

/// Only the newer line has these.
const NEWER: &[Column] = &[
    (
        "i4",
        "INET4",
        "BINARY(4)",
        "IF(# % 6 = 0, NULL, UNHEX(SUBSTR(MD5(#), 1, 8)))",
    ),
    (
        "v",
        "VECTOR(3) NOT NULL",
        "VARBINARY(12) NOT NULL",
        "VEC_FromText(CONCAT('[', #, ',-0.5,', # / 8, ']'))",
    ),
];

fn statement(random: &mut Random, columns: &[&Column], image: &str) -> String {
    let (n, key, other) = (
        random.below(100_000),
        random.below(40),
        random.below(40) + 20,
    );
    let value = |column: &Column, n: u64| column.3.replace('#', &n.to_string());
    let set = |column: &Column| format!("{} = {}", column.0, value(column, n));
    let at = |key: u64| format!("WHERE u = {}", value(columns[0], key));
    let one = columns[1 + random.below(columns.len() as u64 - 1) as usize];
    let body = match random.below(8) {
        0..=2 => {
            let names: Vec<_> = columns.iter().map(|c| c.0).collect();
            let values: Vec<_> = (columns.iter().enumerate())
                .map(|(at, c)| value(c, if at == 0 { key } else { n }))
                .collect();
            format!(
                "REPLACE INTO t ({}) VALUES ({})",
                names.join(", "),
                values.join(", ")
            )
        }
        3 | 4 => format!("UPDATE t SET {} {}", set(one), at(key)),
        5 => format!(
            "UPDATE IGNORE t SET u = {} {}",
            value(columns[0], other),
            at(key)
        ),
        6 => format!("DELETE FROM t {}", at(key)),
        _ => format!(
            "UPDATE t SET {}, n = n + 1 WHERE n % 3 = {}",
            set(columns[2]),
            n % 3
        ),
    };
    format!("SET binlog_row_image = {image}; {body}")
}

fn carried(release: Release, target: &MySql, images: &[&str], more: &[Column]) -> Result<()> {
    let source = mariadb(release)?;
    let name = database([source, target], "maria_images")?;
    let columns: Vec<_> = COLUMNS.iter().chain(more).collect();
    for server in [source, target] {
        let definitions: Vec<_> = (columns.iter())
            .map(|c| {
                let ty = if server.release().is_mariadb() {
                    c.1
                } else {
                    c.2
                };
                format!("{} {ty}", c.0)
            })
            .collect();
        server.sql(&format!(
            "USE `{name}`; CREATE TABLE t ({}, PRIMARY KEY (u))",
            definitions.join(", ")
        ))?;
    }
    let pipeline = Pipeline::new(source, target, &name)?;
    let shown: Vec<_> = columns.iter().map(|c| format!("HEX({})", c.0)).collect();
    let rows = format!("SELECT {} FROM `{name}`.t ORDER BY 1", shown.join(", "));
    let seed = 51;
    let mut random = Random::new(seed);
    let mut held = 0;
    for round in 0..4 {
        let statements: Vec<_> = (0..120)
            .map(|_| {
                let image = images[random.below(images.len() as u64) as usize];
                statement(&mut random, &columns, image)
            })
            .collect();
        source.sql(&format!("USE `{name}`; {}", statements.join("; ")))?;
        // Killed, and again.
        if round == 2 {
            let running = pipeline.start("run")?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            running.kill()?;
        }
        pipeline.catch_up()?;
        let (here, there) = (source.rows(&rows)?, target.rows(&rows)?);
        let other = here.iter().zip(&there).find(|(a, b)| a != b);
        ensure!(
            here.len() == there.len() && other.is_none(),
            "{release:?}, seed {seed}, round {round}: {} and {} rows, {other:?}",
            here.len(),
            there.len()
        );
        held = here.len();
    }
    ensure!(held > 5, "{held} rows");
    Ok(())
}

#[test]
fn of_the_older_line_to_mysql() -> Result<()> {
    let images = ["FULL", "MINIMAL", "NOBLOB"];
    carried(Release::MariaDb10_11, &pair()?.target, &images, &[])
}

#[test]
fn of_the_older_line_to_the_newer_one() -> Result<()> {
    let images = ["FULL", "MINIMAL", "NOBLOB"];
    let target = mariadb(Release::MariaDb11_8)?;
    carried(Release::MariaDb10_11, target, &images, &[])
}

#[test]
fn of_the_newer_line_to_mysql() -> Result<()> {
    let images = ["FULL_NODUP", "FULL", "MINIMAL", "NOBLOB"];
    carried(Release::MariaDb11_8, &pair()?.target, &images, NEWER)
}

/// Servers of one line, where every type is the same on both.
#[test]
fn of_the_newer_line_to_its_like() -> Result<()> {
    let target = MySql::builder().release(Release::MariaDb11_8).start()?;
    carried(Release::MariaDb11_8, &target, &["FULL_NODUP"], NEWER)
}
