//! The tables that are copied: nine of ten rows are sysbench's, one of ten is wide.

use anyhow::{Context, Result, ensure};
use binferry_servers::{MySql, sysbench};

pub const DATABASE: &str = "sbtest";
/// Rows of a statement that fills.
const STATEMENT: u64 = 50_000;

/// Columns of the usual kinds, some 450 bytes a row.
const WIDE: &str = "CREATE TABLE wide (
    id BIGINT UNSIGNED NOT NULL PRIMARY KEY, customer INT NOT NULL, state ENUM('new', 'paid', 'sent', 'gone') NOT NULL,
    flags SET('gift', 'fast', 'checked') NOT NULL, active TINYINT(1) NOT NULL, quantity SMALLINT UNSIGNED NOT NULL, price DECIMAL(12, 2) NOT NULL,
    tax DECIMAL(8, 4), ratio DOUBLE, weight FLOAT, day DATE NOT NULL, created DATETIME(6) NOT NULL, changed TIMESTAMP NULL,
    lasts TIME(3), made YEAR, code CHAR(12) NOT NULL, name VARCHAR(100) NOT NULL, street VARCHAR(100), city VARCHAR(60) CHARACTER SET latin1,
    mail VARCHAR(120), note TEXT, token VARBINARY(16), n1 INT, n2 INT, n3 INT, n4 BIGINT, n5 BIGINT, t1 VARCHAR(30), t2 VARCHAR(30), t3 VARCHAR(30),
    KEY customer (customer))";

/// Rows `first` to `first + count` of it, which depend on their number alone.
fn wide(first: u64, count: u64) -> String {
    format!(
        "SET SESSION cte_max_recursion_depth = {count};
         INSERT INTO wide WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last})
         SELECT n, n * 7919 % 100003, 1 + n % 4, n % 8, n % 2, n % 1000, n % 100000 / 100, IF(n % 5, n % 10000 / 10000, NULL), n / 7, n % 1000 / 8,
         '2020-01-01' + INTERVAL n % 2000 DAY, '2020-01-01' + INTERVAL n * 1000003 MICROSECOND, '2020-01-01' + INTERVAL n SECOND,
         SEC_TO_TIME(n % 80000 / 1000), 1990 + n % 40, LPAD(n, 12, 'k'), CONCAT('customer ', n, ' of the house'),
         CONCAT(n % 1000, ', long street that leads to ', LEFT(SHA2(n, 256), 40)), CONCAT('Köln ', n % 100), CONCAT(LEFT(SHA2(n, 224), 32), '@mail.example'),
         IF(n % 3, CONCAT('it''s a note\\n', SHA2(n, 256)), NULL), UNHEX(LEFT(SHA2(n, 384), 32)), n, -n, n % 10, n * 1000, NULL, LEFT(SHA2(n + 1, 256), 20), NULL, 'a text' FROM s",
        last = first + count - 1
    )
}

pub fn fill(source: &MySql, rows: u64) -> Result<()> {
    let wide_rows = rows / 10;
    sysbench_rows(source, 1, rows - wide_rows)?;
    source.sql(&format!("USE {DATABASE}; {WIDE}"))?;
    for first in (1..=wide_rows).step_by(STATEMENT as usize) {
        let count = STATEMENT.min(wide_rows + 1 - first);
        source.sql(&format!("USE {DATABASE}; {}", wide(first, count)))?;
    }
    source.sql(&format!(
        "ANALYZE TABLE {DATABASE}.sbtest1, {DATABASE}.wide"
    ))?;
    Ok(())
}

/// sysbench's tables, so many of so many rows.
pub fn sysbench_rows(source: &MySql, tables: u32, rows: u64) -> Result<()> {
    let output = sysbench()?
        .args(["oltp_write_only", "--db-driver=mysql"])
        .args(["--mysql-host=127.0.0.1", "--mysql-user=root"])
        .arg(format!("--mysql-db={DATABASE}"))
        .arg(format!("--mysql-port={}", source.port()))
        .arg(format!("--tables={tables}"))
        .arg(format!("--table-size={rows}"))
        .arg(format!("--threads={tables}"))
        .arg("prepare")
        .output()?;
    ensure!(
        output.status.success(),
        "sysbench prepare: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

pub fn tables(server: &MySql) -> Result<Vec<String>> {
    let rows = server.rows(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = '{DATABASE}' ORDER BY 1"
    ))?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// As the server estimates them, without indexes.
pub fn bytes(server: &MySql) -> Result<u64> {
    let sum = server.value(&format!(
        "SELECT SUM(data_length) FROM information_schema.tables WHERE table_schema = '{DATABASE}'"
    ))?;
    sum.parse().context("data_length")
}
