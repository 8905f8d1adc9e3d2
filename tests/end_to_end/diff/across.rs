//! A MySQL compared with a MariaDB, either way round.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, database, mariadb, pair};

use super::{command, found, readers, told};

const TABLES: &str = "
    CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, i INT, x DECIMAL(20,5), f DOUBLE, g FLOAT, b BIT(9), d DATE, tm TIME(3), at DATETIME(6), ts TIMESTAMP(2) NULL,
        y YEAR, e ENUM('a','b'), s SET('x','y'), v VARCHAR(20) CHARACTER SET utf8mb4, c CHAR(5) CHARACTER SET latin1, bl BLOB, bi BINARY(4));
    CREATE TABLE byname (name VARCHAR(20) CHARACTER SET utf8mb4 PRIMARY KEY, v INT);
    CREATE TABLE nokey (a INT, b VARCHAR(9) CHARACTER SET utf8mb4)";

const ROWS: &str = "SET time_zone = '+00:00';
    INSERT INTO t VALUES (1, -5, 12.5, 1e15, 0.1, b'101', '2020-02-29', '-12:34:56.789', '2021-01-01 00:00:00.000001', '2020-01-01 01:02:03.45', 1999, 'b', 'x,y',
        'straße', 'é', x'00ff10', x'0102'), (18446744073709551615, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', '', '', '');
    INSERT INTO byname VALUES ('a', 1), ('B', 2), ('é', 3), ('zz top', 4);
    INSERT INTO nokey VALUES (1, 'x'), (1, 'x'), (NULL, NULL)";

fn compared(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "diff_across")?;
    for server in [source, target] {
        // A MySQL source's document is text on MariaDB; MariaDB's own would not be kept as it is by a JSON column.
        let ty = match server.release().is_mariadb() || source.release().is_mariadb() {
            true => "LONGTEXT CHARACTER SET utf8mb4",
            false => "JSON",
        };
        server.sql(&format!(
            "USE `{database}`; {TABLES}; {ROWS};
             CREATE TABLE j (id INT PRIMARY KEY, doc {ty}); INSERT INTO j VALUES (1, '{{\"a\": [1, \"é\"]}}')"
        ))?;
    }
    readers(source, target, &database)?;
    let all = found(&mut command(source, target, &database))?;
    ensure!(told(&all).is_empty(), "{all:#?}");
    for column in ["f", "g"] {
        let note = format!("the column {column} is not compared");
        ensure!(
            all.iter().any(|line| line["definition"]
                .as_str()
                .is_some_and(|d| d.contains(&note))),
            "{column}: {all:#?}"
        );
    }
    target.sql(&format!(
        "USE `{database}`; UPDATE t SET bl = x'00ff11' WHERE id = 1; UPDATE t SET v = ' ' WHERE id > 1; UPDATE byname SET v = 9 WHERE name = 'é';
         DELETE FROM nokey WHERE a = 1 LIMIT 1; INSERT INTO byname VALUES ('new', 1)"
    ))?;
    let all = found(&mut command(source, target, &database))?;
    let told = told(&all);
    let rows: Vec<_> = told.iter().map(String::as_str).collect();
    ensure!(
        rows == [
            "byname differs é v",
            "byname extra new",
            "nokey rows",
            "t differs 1 bl",
            "t differs 18446744073709551615 v"
        ],
        "{all:#?}"
    );
    Ok(())
}

#[test]
fn mysql_with_mariadb() -> Result<()> {
    compared(&pair()?.source, mariadb(Release::MariaDb11_8)?)
}

#[test]
fn mariadb_with_mysql() -> Result<()> {
    compared(mariadb(Release::MariaDb10_11)?, &pair()?.target)
}

/// Nobody is told that such columns are equal.
#[test]
fn types_that_have_nothing_in_common() -> Result<()> {
    let (source, target) = (
        mariadb(Release::MariaDb11_8)?,
        mariadb(Release::MariaDb10_11)?,
    );
    let database = database([source, target], "diff_types")?;
    for (server, ty, value) in [
        (source, "UUID", "00112233-4455-6677-8899-aabbccddeeff"),
        (target, "INET6", "::1"),
    ] {
        server.sql(&format!(
            "USE `{database}`; CREATE TABLE t (id INT PRIMARY KEY, a {ty}); INSERT INTO t VALUES (1, '{value}')"
        ))?;
    }
    readers(source, target, &database)?;
    let all = found(&mut command(source, target, &database))?;
    let told = told(&all);
    ensure!(
        told.len() == 1 && told[0].contains("column a") && told[0].contains("uuid and inet6"),
        "{all:#?}"
    );
    let note = |line: &serde_json::Value| {
        line["definition"]
            .as_str()
            .is_some_and(|text| text.contains("the column a is not compared"))
    };
    ensure!(all.iter().any(note), "{all:#?}");
    Ok(())
}
