//! The end-state check, by nothing of ours: the servers' own checksums, and the target's own binlog read by `mysqlbinlog`.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use binferry_servers::MySql;

/// Both servers hold the same rows in every table of the database. A document is compared with the types in it, where both have such.
pub fn equal(source: &MySql, target: &MySql, database: &str) -> Result<()> {
    let tables = source.rows(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{database}' AND table_type = 'BASE TABLE' ORDER BY 1"
    ))?;
    ensure!(!tables.is_empty(), "no tables in {database}");
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
        ensure!(s == t, "{database}.{table} differs: source {s}, target {t}");
        if !typed {
            continue;
        }
        for column in source.rows(&format!(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = '{database}' AND table_name = '{table}' AND data_type = 'json'"
        ))? {
            let column = column[0].as_deref().unwrap_or_default();
            let ask = paths_sum(database, table, column);
            let (s, t) = (source.value(&ask)?, target.value(&ask)?);
            ensure!(s == t, "documents in {database}.{table}.{column} differ: source {s}, target {t}");
        }
    }
    Ok(())
}

/// Count and an order-free sum over the path, the type and the text of each value inside the column's documents.
fn paths_sum(database: &str, table: &str, column: &str) -> String {
    let (table, column) = (table.replace('`', "``"), column.replace('`', "``"));
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
    let columns = server.rows(&format!(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = '{database}' AND table_name = '{table}' ORDER BY column_name"
    ))?;
    let parts: Vec<String> = columns
        .iter()
        .map(|c| {
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
                Some(kind) if typed && (kind.ends_with("char") || kind.ends_with("text")) => {
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
        })
        .collect();
    Ok(format!(
        "SELECT CONCAT(COUNT(*), ' ', COALESCE(SUM(CAST(CONV(SUBSTRING(SHA2(CONCAT_WS('|', {}), 256), 1, 15), 16, 10) AS DECIMAL(30))), 0)) FROM `{database}`.`{}`",
        parts.join(", "),
        table.replace('`', "``")
    ))
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
