//! The end-state check, by nothing of ours: the servers' own checksums, and the target's own binlog read by `mysqlbinlog`.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use binferry_servers::{MySql, TextRow};

/// Both servers hold the same rows in every table of the database. A document is compared with the types in it, where both have such.
pub fn equal(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    let compared = equal_if_any(source, target, database)?;
    ensure!(compared > 0, "no tables in {database}");
    Ok(())
}

/// The same of a database that may be empty. Answers how many tables there are.
pub fn equal_if_any(source: &MySql, target: &MySql, database: &str) -> Result<usize> {
    let schema = literal(database);
    let tables = source.rows(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = {schema} AND table_type = 'BASE TABLE' ORDER BY 1"
    ))?;
    let compared = tables.len();
    for row in tables {
        let table = row[0].as_deref().context("a table without a name")?;
        let typed = !source.release().is_mariadb() && !target.release().is_mariadb();
        let sum = |server: &MySql| {
            server
                .value(&format!(
                    "SET time_zone='+00:00'; {}",
                    rows_sum(server, database, table, typed)?
                ))
                .map_err(anyhow::Error::from)
        };
        let (s, t) = (sum(source)?, sum(target)?);
        let alike = || -> Result<bool> {
            let rows = |server| rows_with_numbers(server, database, table);
            Ok(!typed && rows(source)? == rows(target)?)
        };
        if s != t && !alike()? {
            let columns = columns_that_differ([source, target], database, table, typed)?;
            bail!(
                "{database}.{table} differs: source {s}, target {t}\n{}",
                columns.join("\n")
            );
        }
        if !typed {
            continue;
        }
        for column in source.rows(&format!(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = {schema} AND table_name = {} AND data_type = 'json'",
            literal(table)
        ))? {
            let column = column[0].as_deref().unwrap_or_default();
            let ask = paths_sum(database, table, column);
            let (s, t) = (source.value(&ask)?, target.value(&ask)?);
            ensure!(s == t, "documents in {database}.{table}.{column} differ: source {s}, target {t}");
        }
    }
    Ok(compared)
}

/// Both servers have the same tables in the database, each defined by the same text; the counter of AUTO_INCREMENT may differ.
pub fn same_definitions(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    let defined = |server: &MySql| -> Result<Vec<(String, String)>> {
        let tables = server.rows(&format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = {} AND table_type = 'BASE TABLE' ORDER BY 1",
            literal(database)
        ))?;
        let mut found = vec![(
            "the database".to_owned(),
            shown(
                server,
                &format!("SHOW CREATE DATABASE {}", quoted(database)),
            )?,
        )];
        for row in tables {
            let table = row[0].clone().context("a table without a name")?;
            let ask = format!("SHOW CREATE TABLE {}.{}", quoted(database), quoted(&table));
            found.push((table, without_counter(&shown(server, &ask)?)));
        }
        Ok(found)
    };
    let (source, target) = (defined(source)?, defined(target)?);
    let names = |defined: &[(String, String)]| -> Vec<String> {
        defined.iter().map(|(name, _)| name.clone()).collect()
    };
    ensure!(
        names(&source) == names(&target),
        "tables of {database}: source {:?}, target {:?}",
        names(&source),
        names(&target)
    );
    for ((name, source), (_, target)) in source.iter().zip(&target) {
        ensure!(
            source == target,
            "{name} of {database}: source\n{source}\ntarget\n{target}"
        );
    }
    Ok(())
}

/// The text of a SHOW CREATE.
fn shown(server: &MySql, ask: &str) -> Result<String> {
    let rows = server.rows(ask)?;
    let text = rows
        .into_iter()
        .next()
        .and_then(|row| row.into_iter().nth(1));
    text.flatten().context("no definition")
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn without_counter(text: &str) -> String {
    match text.rsplit_once(" AUTO_INCREMENT=") {
        Some((before, after)) if !before.ends_with('\'') => {
            format!(
                "{before}{}",
                after.trim_start_matches(|c: char| c.is_ascii_digit())
            )
        }
        _ => text.to_owned(),
    }
}

/// Count and an order-free sum over the path, the type and the text of each value inside the column's documents.
fn paths_sum(database: &str, table: &str, column: &str) -> String {
    let (table, column) = (table.replace('`', "``"), column.replace('`', "``"));
    let database = database.replace('`', "``");
    format!(
        "SET SESSION cte_max_recursion_depth = 1000;
         WITH RECURSIVE v AS (
           SELECT CAST('$' AS CHAR(2000000) CHARACTER SET utf8mb4) AS p, `{column}` AS j FROM `{database}`.`{table}` WHERE `{column}` IS NOT NULL
           UNION ALL
           SELECT CONCAT(v.p, '.', JSON_QUOTE(m.k)), JSON_EXTRACT(v.j, CONCAT('$.', JSON_QUOTE(m.k)))
           FROM v, JSON_TABLE(JSON_KEYS(IF(JSON_TYPE(v.j) = 'OBJECT', v.j, JSON_OBJECT())), '$[*]' COLUMNS (k LONGTEXT PATH '$')) AS m
           UNION ALL
           SELECT CONCAT(v.p, '[', e.n - 1, ']'), JSON_EXTRACT(v.j, CONCAT('$[', e.n - 1, ']'))
           FROM v, JSON_TABLE(IF(JSON_TYPE(v.j) = 'ARRAY', v.j, JSON_ARRAY()), '$[*]' COLUMNS (n FOR ORDINALITY)) AS e)
         SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(CAST(CONV(SUBSTRING(SHA2(CONCAT_WS('|', p, JSON_TYPE(j), HEX(CAST(j AS CHAR))), 256), 1, 15), 16, 10) AS DECIMAL(30))), 0)) FROM v"
    )
}

/// Count and an order-free sum over the exact bytes of each row.
fn rows_sum(server: &MySql, database: &str, table: &str, typed: bool) -> Result<String> {
    let columns = columns(server, database, table)?;
    Ok(sum_of(&columns, database, table, typed))
}

fn columns(server: &MySql, database: &str, table: &str) -> Result<Vec<TextRow>> {
    Ok(server.rows(&format!(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = {} AND table_name = {} ORDER BY column_name",
        literal(database),
        literal(table)
    ))?)
}

/// All rows, in an order of their own. The servers write the same FLOAT or DOUBLE in different ways: here it is its bits.
fn rows_with_numbers(server: &MySql, database: &str, table: &str) -> Result<Vec<Vec<String>>> {
    let columns = columns(server, database, table)?;
    let exact: Vec<_> = columns.iter().map(|c| exact(c, false)).collect();
    let all = server.rows(&format!(
        "SET time_zone='+00:00'; SELECT {} FROM {}.{}",
        exact.join(", "),
        quoted(database),
        quoted(table)
    ))?;
    let number = |shown: String| -> Result<String> {
        if shown == "NULL" {
            return Ok(shown);
        }
        let digits = (0..shown.len()).step_by(2);
        let digits: Result<Vec<_>, _> = digits
            .map(|at| u8::from_str_radix(&shown[at..at + 2], 16))
            .collect();
        let number: f64 = String::from_utf8(digits?)?.parse()?;
        Ok(format!("{:016x}", number.to_bits()))
    };
    let mut rows = Vec::new();
    for row in all {
        let values = row.into_iter().flatten().zip(&columns);
        let values = values.map(|(shown, column)| match column[1].as_deref() {
            Some("float" | "double") => number(shown),
            _ => Ok(shown),
        });
        rows.push(values.collect::<Result<Vec<_>>>()?);
    }
    rows.sort();
    Ok(rows)
}

/// For who reads the failure: of each column that differs by itself, some values that only one of the two has.
fn columns_that_differ(
    servers: [&MySql; 2],
    database: &str,
    table: &str,
    typed: bool,
) -> Result<Vec<String>> {
    let mut differing = Vec::new();
    let from = format!("{}.{}", quoted(database), quoted(table));
    for column in columns(servers[0], database, table)? {
        let mut values = Vec::new();
        for server in servers {
            let value = exact(&column, typed);
            let ask = format!("SET time_zone='+00:00'; SELECT {value} FROM {from} ORDER BY 1");
            values.push(
                server
                    .rows(&ask)?
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect::<Vec<_>>(),
            );
        }
        let only = |one: &[String], other: &[String]| {
            let only = one.iter().filter(|value| !other.contains(value));
            only.take(3).cloned().collect::<Vec<_>>()
        };
        let (source, target) = (&values[0], &values[1]);
        if source != target {
            differing.push(format!(
                "{:?}: {} and {} rows; at the source only {:?}, at the target only {:?}",
                column[0],
                source.len(),
                target.len(),
                only(source, target),
                only(target, source)
            ));
        }
    }
    Ok(differing)
}

/// What shows a value of the column exactly: name and type.
fn exact(c: &TextRow, typed: bool) -> String {
    let name = c[0].as_deref().unwrap_or_default().replace('`', "``");
    let value = match c[1].as_deref() {
        // FLOAT prints six digits; as a double it shows all that it has.
        Some("float") => format!("CAST(CAST(`{name}` AS DOUBLE) AS CHAR)"),
        Some("json") if typed => {
            format!("CONCAT(JSON_TYPE(`{name}`), CAST(`{name}` AS CHAR))")
        }
        // Its number tells a label that is an empty string from a value without one.
        Some("enum") => format!("CONCAT(`{name}` + 0, ' ', CAST(`{name}` AS CHAR))"),
        // Text in its own character set.
        Some(kind) if kind.ends_with("char") || kind.ends_with("text") => {
            format!("`{name}`")
        }
        Some(kind)
            if kind.contains("geom")
                || kind.contains("point")
                || kind.contains("polygon")
                || kind.contains("linestring") =>
        {
            format!("`{name}`")
        }
        Some("bit" | "vector") => format!("`{name}`"),
        Some(kind) if kind.ends_with("binary") || kind.ends_with("blob") => {
            format!("`{name}`")
        }
        _ => format!("CAST(`{name}` AS CHAR)"),
    };
    format!("COALESCE(HEX({value}), 'NULL')")
}

fn sum_of(columns: &[TextRow], database: &str, table: &str, typed: bool) -> String {
    let parts: Vec<_> = columns.iter().map(|c| exact(c, typed)).collect();
    format!(
        "SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(CAST(CONV(SUBSTRING(SHA2(CONCAT_WS('|', {}), 256), 1, 15), 16, 10) AS DECIMAL(30))), 0)) FROM {}.{}",
        parts.join(", "),
        quoted(database),
        quoted(table)
    )
}

/// Each row of `ledger` (one a transaction of the load, `id` given by the source) was inserted at the target once: the target's binlog
/// says so, whatever our own position says.
pub fn once(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    let files = target.rows("SHOW BINARY LOGS")?;
    let mut inserted: HashMap<u64, u32> = HashMap::new();
    for file in files {
        let file = file[0]
            .as_deref()
            .context("a binlog without a name")?
            .to_owned();
        let output = target
            .mysqlbinlog()?
            .args([
                "--read-from-remote-server",
                "--base64-output=decode-rows",
                "-v",
                "-v",
            ])
            .arg(format!("--user={}", target.admin_user()))
            .arg(format!("--host={}", target.host()))
            .arg(format!("--port={}", target.port()))
            .arg(&file)
            .output()?;
        ensure!(
            output.status.success(),
            "mysqlbinlog: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let heading = format!("### INSERT INTO `{database}`.`ledger`");
        let mut within = false;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if line.starts_with("### INSERT")
                || line.starts_with("### UPDATE")
                || line.starts_with("### DELETE")
            {
                within = line == heading;
            } else if let Some(value) = line.strip_prefix("###   @1=").filter(|_| within) {
                let id = value
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .parse()?;
                *inserted.entry(id).or_default() += 1;
            }
        }
    }
    let ids = source.rows(&format!("SELECT id FROM `{database}`.ledger"))?;
    for row in &ids {
        let id: u64 = row[0].as_deref().context("an id that is NULL")?.parse()?;
        let times = inserted.remove(&id).unwrap_or(0);
        ensure!(times == 1, "transaction {id} was applied {times} times");
    }
    ensure!(
        inserted.is_empty(),
        "applied, but not at the source: {:?}",
        inserted.keys().take(5)
    );
    Ok(())
}
