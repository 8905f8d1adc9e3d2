//! Differences of every kind.

use anyhow::{Result, ensure};
use binferry_servers::{database, pair};

use super::{command, found, readers, told};

pub const TABLES: &str = "
CREATE TABLE kinds (id INT PRIMARY KEY, n BIGINT, s VARCHAR(20), c CHAR(20), t TEXT, b BLOB, d DOUBLE, f FLOAT, x DECIMAL(20,6),
  at DATETIME(6), day DATE, j JSON, e ENUM('a','b','') , z SET('p','q'), bits BIT(9), l VARCHAR(20) CHARACTER SET latin1);
CREATE TABLE composite (a VARCHAR(20) NOT NULL, b INT UNSIGNED NOT NULL, c VARBINARY(9) NOT NULL, v INT, PRIMARY KEY (a, b, c));
CREATE TABLE nokey (a INT, b VARCHAR(20));
CREATE TABLE empty_one (id INT PRIMARY KEY);
";
const ROW: &str = "(1, 'a', 'a', 'text', 'bytes', 1.1, 1.1, 1.5, '2020-02-03 04:05:06.000007', '2020-02-03', JSON_OBJECT('k', 1), 'a', 'p', b'101', 'ä')";

/// The table's rows from 1 to 40, each with the same values; what is planted differs in the row of its number.
pub fn rows() -> String {
    let rows: Vec<String> = (1..=40).map(|id| format!("({id}, {}", &ROW[1..])).collect();
    format!(
        "INSERT INTO kinds VALUES {};
         INSERT INTO composite VALUES ('x', 1, x'00', 1), ('x', 2, x'ff', 1), ('y', 4294967295, x'', 1), ('é''\\\\', 1, x'2700', 1);
         INSERT INTO nokey VALUES (1, 'a'), (1, 'a'), (2, NULL), (3, 'x'), (3, 'x');",
        rows.join(",")
    )
}

/// What is done to the target, and what is told of it.
pub const PLANTED: [(&str, &str); 25] = [
    ("DELETE FROM kinds WHERE id = 1", "kinds missing 1"),
    ("INSERT INTO kinds (id) VALUES (1000)", "kinds extra 1000"),
    (
        "UPDATE kinds SET n = NULL WHERE id = 2",
        "kinds differs 2 n",
    ),
    (
        "UPDATE kinds SET b = 'bytez' WHERE id = 3",
        "kinds differs 3 b",
    ),
    ("UPDATE kinds SET s = '' WHERE id = 4", "kinds differs 4 s"),
    (
        "UPDATE kinds SET s = 'a ' WHERE id = 5",
        "kinds differs 5 s",
    ),
    ("UPDATE kinds SET s = 'A' WHERE id = 6", "kinds differs 6 s"),
    (
        "UPDATE kinds SET d = 1.1000000000000003 WHERE id = 7",
        "kinds differs 7 d",
    ),
    (
        "UPDATE kinds SET f = 1.1000001 WHERE id = 8",
        "kinds differs 8 f",
    ),
    (
        "UPDATE kinds SET x = 1.500001 WHERE id = 9",
        "kinds differs 9 x",
    ),
    (
        "UPDATE kinds SET at = '2020-02-03 04:05:06.000008' WHERE id = 10",
        "kinds differs 10 at",
    ),
    (
        "UPDATE kinds SET day = '0000-00-00' WHERE id = 11",
        "kinds differs 11 day",
    ),
    // The server leaves a document alone that it takes for equal.
    (
        "UPDATE kinds SET j = NULL WHERE id = 12; UPDATE kinds SET j = JSON_OBJECT('k', 1.0e0) WHERE id = 12",
        "kinds differs 12 j",
    ),
    (
        "UPDATE kinds SET j = NULL WHERE id = 13; UPDATE kinds SET j = JSON_OBJECT('k', CAST(1 AS UNSIGNED)) WHERE id = 13",
        "kinds differs 13 j",
    ),
    (
        "UPDATE kinds SET e = '' WHERE id = 14",
        "kinds differs 14 e",
    ),
    (
        "UPDATE kinds SET z = '' WHERE id = 15",
        "kinds differs 15 z",
    ),
    (
        "UPDATE kinds SET bits = b'111' WHERE id = 16",
        "kinds differs 16 bits",
    ),
    (
        "UPDATE kinds SET l = 'a' WHERE id = 17",
        "kinds differs 17 l",
    ),
    (
        "UPDATE kinds SET j = CAST('null' AS JSON) WHERE id = 18",
        "kinds differs 18 j",
    ),
    (
        "UPDATE kinds SET s = 'a,1,a', c = 'b' WHERE id = 19",
        "kinds differs 19 s+c",
    ),
    (
        "UPDATE kinds SET id = 500 WHERE id = 20",
        "kinds missing 20",
    ),
    ("SELECT 1", "kinds extra 500"),
    (
        "UPDATE composite SET v = 2 WHERE a = 'x' AND b = 2",
        "composite differs x/2/0xff v",
    ),
    (
        "DELETE FROM composite WHERE a = 'y'",
        "composite missing y/4294967295/0x",
    ),
    (
        "UPDATE composite SET v = NULL WHERE c = x'2700'",
        "composite differs é'\\/1/0x2700 v",
    ),
];

#[test]
fn each_is_found_and_nothing_else() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "planted")?;
    for server in [source, target] {
        server.sql(&format!("USE `{database}`; {TABLES} {}", rows()))?;
    }
    readers(source, target, &database)?;
    let nothing = found(&mut command(source, target, &database))?;
    ensure!(nothing.is_empty(), "{nothing:?}");
    for (statement, _) in PLANTED {
        target.sql(&format!(
            "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; USE `{database}`; {statement}"
        ))?;
    }
    let mut expected: Vec<&str> = PLANTED.iter().map(|(_, told)| *told).collect();
    expected.sort_unstable();
    let all = found(&mut command(source, target, &database))?;
    ensure!(told(&all) == expected, "{:#?}", told(&all));
    Ok(())
}

/// Names that the statements of a comparison could take for their own.
#[test]
fn columns_of_any_name() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "diff_names")?;
    for server in [source, target] {
        server.sql(&format!(
            "USE `{database}`; CREATE TABLE keyless (digest INT, bucket INT, `a``,b` INT);
             INSERT INTO keyless VALUES (1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 1, 3);
             CREATE TABLE unordered (digest VARCHAR(9) PRIMARY KEY, bucket INT, r INT);
             INSERT INTO unordered VALUES ('a', 1, 1), ('B', 1, 2), ('c', 2, 2)"
        ))?;
    }
    target.sql(&format!(
        "ALTER TABLE `{database}`.unordered MODIFY digest VARCHAR(9) COLLATE utf8mb4_bin"
    ))?;
    readers(source, target, &database)?;
    let all = found(&mut command(source, target, &database))?;
    ensure!(told(&all).is_empty(), "{all:#?}");
    target.sql(&format!(
        "UPDATE `{database}`.keyless SET bucket = 3 WHERE digest = 2; UPDATE `{database}`.unordered SET r = 7 WHERE digest = 'B'"
    ))?;
    let all = found(&mut command(source, target, &database))?;
    ensure!(
        told(&all) == ["keyless rows", "keyless rows", "unordered differs B r"],
        "{all:#?}"
    );
    Ok(())
}

/// What a document's text does not tell.
#[test]
fn types_inside_documents() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "diff_json")?;
    let documents = [
        ("CAST(1.0 AS DECIMAL(3,1))", "1.0e0"),
        ("CAST('2020-01-01' AS DATE)", "'2020-01-01'"),
        (
            "CAST('2020-01-01' AS DATETIME(6))",
            "'2020-01-01 00:00:00.000000'",
        ),
        ("7000000000", "CAST(7000000000 AS UNSIGNED)"),
        ("1.1e0", "1.1000000000000003e0"),
    ];
    for (at, server) in [source, target].into_iter().enumerate() {
        server.sql(&format!(
            "USE `{database}`; CREATE TABLE t (id INT PRIMARY KEY, j JSON)"
        ))?;
        for (row, values) in documents.iter().enumerate() {
            let value = if at == 0 { values.0 } else { values.1 };
            for (nested, path) in [
                format!("JSON_OBJECT('k', {value})"),
                format!("JSON_ARRAY(1, 'x', JSON_OBJECT('a', JSON_ARRAY({value})))"),
            ]
            .into_iter()
            .enumerate()
            {
                server.sql(&format!(
                    "INSERT INTO `{database}`.t VALUES ({}, {path})",
                    row * 2 + nested
                ))?;
            }
        }
        server.sql(&format!(
            "INSERT INTO `{database}`.t VALUES (100, JSON_ARRAY(CAST(1.0 AS DECIMAL(3,1)), CAST('2020-01-01' AS DATE)))"
        ))?;
    }
    readers(source, target, &database)?;
    let all = found(&mut command(source, target, &database))?;
    let mut expected: Vec<String> = (0..10).map(|id| format!("t differs {id} j")).collect();
    expected.sort();
    ensure!(told(&all) == expected, "{:#?}", told(&all));
    Ok(())
}

#[test]
fn rows_without_a_key() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    let database = database([source, target], "diff_keyless")?;
    for server in [source, target] {
        server.sql(&format!("USE `{database}`; {TABLES} {}", rows()))?;
    }
    readers(source, target, &database)?;
    // Two of one kind for two of another: their number is the same, and in an exclusive or both would cancel out.
    target.sql(&format!("UPDATE `{database}`.nokey SET a = 4 WHERE a = 3"))?;
    target.sql(&format!("UPDATE `{database}`.nokey SET b = '' WHERE a = 2"))?;
    let all = found(&mut command(source, target, &database))?;
    let mut counts: Vec<(u64, u64)> = (all.iter().filter(|line| line["kind"] == "rows"))
        .map(|line| {
            let number = |side: &str| line[side].as_u64().unwrap_or(u64::MAX);
            (number("source"), number("target"))
        })
        .collect();
    counts.sort_unstable();
    ensure!(
        counts == [(0, 1), (0, 2), (1, 0), (2, 0)] && all.len() == 4,
        "{all:?}"
    );
    Ok(())
}
