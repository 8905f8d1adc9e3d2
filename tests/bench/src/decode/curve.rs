//! Shapes of tables that have been somebody's cliff.

use anyhow::{Context, Result};
use binferry_servers::MySql;

use super::{Pair, files};
use crate::Figure;

/// Rows of a transaction, and of a statement.
const BATCH: usize = 1000;

/// One point: the tables, and what fills them.
struct Shape {
    what: String,
    statements: Vec<String>,
}

pub fn run(source: &MySql) -> Result<Vec<Figure>> {
    source.sql(
        "CREATE DATABASE IF NOT EXISTS curve; USE curve; CREATE TABLE n (n INT PRIMARY KEY)",
    )?;
    let numbers: Vec<String> = (1..=BATCH).map(|n| format!("({n})")).collect();
    source.sql(&format!("INSERT INTO curve.n VALUES {}", numbers.join(",")))?;
    let mut figures = Vec::new();
    for shape in shapes() {
        eprintln!("decode: {}", shape.what);
        source.sql("FLUSH BINARY LOGS")?;
        let first = source
            .rows("SHOW BINARY LOG STATUS")?
            .first()
            .and_then(|row| row[0].clone())
            .context("no binlog")?;
        for statement in &shape.statements {
            source.sql(&format!("USE curve; {statement}"))?;
        }
        figures.push(Pair::measure(&files(source, Some(&first))?)?.figure(&shape.what));
    }
    source.sql("DROP DATABASE curve")?;
    Ok(figures)
}

fn shapes() -> Vec<Shape> {
    let wide = [4, 20, 100, 400].map(wide);
    let large = [(1 << 10, 20_000), (64 << 10, 1000), (1 << 20, 64)].map(large);
    let many = [1, 100, 10_000].map(many);
    wide.into_iter().chain(large).chain(many).collect()
}

/// Half integers, half short texts.
fn wide(columns: usize) -> Shape {
    let table = format!("wide{columns}");
    let definitions: Vec<String> = (0..columns)
        .map(|c| match c % 2 {
            0 => format!("c{c} INT"),
            _ => format!("c{c} VARCHAR(20) CHARACTER SET latin1"),
        })
        .collect();
    let values: Vec<String> = (0..columns)
        .map(|c| match c % 2 {
            0 => format!("n * {c}"),
            _ => format!("CONCAT('value ', n, ' {c}')"),
        })
        .collect();
    let insert = format!("INSERT INTO {table} SELECT {} FROM n", values.join(", "));
    let mut statements = vec![format!("CREATE TABLE {table} ({})", definitions.join(", "))];
    statements.extend((0..(4_000 / columns).max(10)).map(|_| insert.clone()));
    Shape {
        what: format!("rows of {columns} columns"),
        statements,
    }
}

fn large((bytes, rows): (usize, usize)) -> Shape {
    let table = format!("large{bytes}");
    let create = format!("CREATE TABLE {table} (t LONGTEXT)");
    let mut statements = vec![create];
    let mut left = rows;
    // A transaction of the server's cache size at most.
    let batch = (BATCH * 1024 / bytes).clamp(16, BATCH);
    while left > 0 {
        let some = left.min(batch);
        statements.push(format!(
            "INSERT INTO {table} SELECT REPEAT('{:064}', {}) FROM n LIMIT {some}",
            left,
            bytes / 64
        ));
        left -= some;
    }
    Shape {
        what: format!("rows of {} KiB", bytes >> 10),
        statements,
    }
}

/// Rows one by one, each of the next table.
fn many(tables: usize) -> Shape {
    let mut statements: Vec<String> = (0..tables)
        .map(|t| {
            format!(
                "CREATE TABLE many{tables}_{t} (id INT PRIMARY KEY AUTO_INCREMENT, t VARCHAR(40))"
            )
        })
        .collect();
    for round in 0..3 {
        for from in (0..10_000).step_by(100) {
            let inserts: Vec<String> = (from..from + 100)
                .map(|n| {
                    format!(
                        "INSERT INTO many{tables}_{} (t) VALUES ('round {round} of {n}')",
                        n % tables
                    )
                })
                .collect();
            statements.push(format!("BEGIN; {}; COMMIT", inserts.join("; ")));
        }
    }
    Shape {
        what: format!("rows of {tables} tables in turn"),
        statements,
    }
}
