//! Values that few tables have, from the source's SELECT to the target's: every character set, labels by the ten thousand, documents with
//! values that JSON's text does not know, fields of many megabytes.

use anyhow::Result;
use binferry_servers::{MySql, pair};

use crate::{binferry::Pipeline, judge};

/// As old applications write: zero dates, and numbers without a label.
pub const LOOSE: &str =
    "SET NAMES utf8mb4; SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'";

/// Makes the tables on both servers, runs the script on the source, and compares; then once more, after each row was a before image.
fn there(purpose: &str, tables: &str, script: &str, again: &str) -> Result<()> {
    let pair = pair()?;
    let database = pair.database(purpose)?;
    for server in [&pair.source, &pair.target] {
        server.sql(&format!("USE `{database}`; {LOOSE}; {tables}"))?;
    }
    let pipeline = Pipeline::new(&pair.source, &pair.target, &database)?;
    for script in [script, again] {
        pair.source
            .sql(&format!("USE `{database}`; {LOOSE}; {script}"))?;
        pipeline.catch_up()?;
        judge::equal(&pair.source, &pair.target, &database)?;
    }
    Ok(())
}

fn charsets(server: &MySql) -> Result<Vec<String>> {
    let rows = server.rows(
        "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME <> 'binary' ORDER BY 1",
    )?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// Text in each character set that the server has: every code of one byte, some of two and of four, with and without a way back from
/// UTF-8; as a key, and as labels.
#[test]
fn every_character_set() -> Result<()> {
    let charsets = charsets(&pair()?.source)?;
    let (mut tables, mut script, mut again) = (String::new(), String::new(), String::new());
    for charset in &charsets {
        // Letters that the set has, as the server finds them out: the rest become question marks.
        let letters = ["é", "Ж", "я", "ß", "漢", "字", "가", "あ", "ﾊ", "ก"];
        let labels: Vec<_> = charset_letters(charset, &letters);
        tables += &format!(
            "CREATE TABLE k_{charset} (k VARCHAR(20) CHARACTER SET {charset} COLLATE {charset}_bin PRIMARY KEY, c CHAR(20) CHARACTER SET {charset}, t TEXT CHARACTER SET {charset}, n INT);
             CREATE TABLE l_{charset} (id INT PRIMARY KEY, e ENUM({0}) CHARACTER SET {charset}, s SET({0}) CHARACTER SET {charset});",
            labels
                .iter()
                .map(|label| format!("'{label}'"))
                .collect::<Vec<_>>()
                .join(",")
        )
        .replace("utf8mb4_bin", "utf8mb4_0900_bin");
        // Not all codes are text; a strict session would refuse what is not, IGNORE takes what can be taken.
        script += &format!(
            "SET SESSION cte_max_recursion_depth = 70000;
             INSERT IGNORE INTO k_{charset} WITH RECURSIVE n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 65535),
               b AS (SELECT UNHEX(LPAD(HEX(i), 2, '0')) AS b, i FROM n WHERE i < 256
                     UNION ALL SELECT UNHEX(LPAD(HEX(i), 4, '0')), i FROM n WHERE i % 131 = 7
                     UNION ALL SELECT UNHEX(CONCAT('8F', LPAD(HEX(i), 4, '0'))), i FROM n WHERE i % 257 = 9
                     UNION ALL SELECT CONCAT(CHAR(144 + i % 83), CHAR(48 + i % 10), CHAR(129 + i % 126), CHAR(48 + i % 7)), i FROM n WHERE i % 331 = 5)
               SELECT t, CONCAT(t, 'x'), CONCAT(t, 'a', t), i FROM (SELECT CONVERT(b USING {charset}) AS t, i FROM b) x WHERE t IS NOT NULL;
             INSERT INTO l_{charset} VALUES (1, 1, 1), (2, 2, 3), (3, 0, 0), (4, 3, 7), (5, NULL, NULL);"
        );
        again += &format!(
            "UPDATE k_{charset} SET n = -n WHERE n % 2; DELETE FROM k_{charset} WHERE n % 3 = 0; UPDATE l_{charset} SET id = -id;"
        );
    }
    there("charsets", &tables, &script, &again)
}

/// The first of the letters that the character set has, and one of ASCII.
fn charset_letters(charset: &str, letters: &[&'static str]) -> Vec<&'static str> {
    let Ok(pair) = pair() else { return Vec::new() };
    let has = |letter: &&&str| {
        let back = format!(
            "SELECT CONVERT(CONVERT(_utf8mb4'{letter}' USING {charset}) USING utf8mb4) = _utf8mb4'{letter}' COLLATE utf8mb4_bin"
        );
        pair.source
            .value(&format!("SET NAMES utf8mb4; {back}"))
            .is_ok_and(|v| v == "1")
    };
    let mut found: Vec<&str> = letters.iter().filter(has).take(2).copied().collect();
    found.extend(["a", "b", "c"]);
    found.truncate(3.max(found.len()));
    found
}

/// ENUMs on both sides of a byte (the server takes a minute to make one of 65,535 labels, which also was tried), the value that has none, sets of every size, bit fields of every width.
#[test]
fn labels_and_bits() -> Result<()> {
    let list = |count: u32| {
        let labels: Vec<_> = (1..=count).map(|n| format!("'m{n}'")).collect();
        labels.join(",")
    };
    let (mut tables, mut script, mut again) = (String::new(), String::new(), String::new());
    for count in [1, 2, 255, 256, 257, 4096] {
        tables += &format!(
            "CREATE TABLE e{count} (e ENUM({}) CHARACTER SET latin1 COLLATE latin1_bin, id INT PRIMARY KEY);",
            list(count)
        );
        let middle = count.div_ceil(2);
        script += &format!(
            "INSERT INTO e{count} VALUES (0, 0), (1, 1), ({middle}, 2), ({count}, 3), (NULL, 4), (0, 5);"
        );
        again += &format!(
            "UPDATE e{count} SET e = 1 WHERE id = 0; UPDATE e{count} SET e = 0 WHERE id > 1; DELETE FROM e{count} WHERE id = 5;"
        );
    }
    tables += "CREATE TABLE ek (e ENUM('', 'x') NOT NULL, n INT, PRIMARY KEY (e));
        CREATE TABLE el (e ENUM('', 'x'), n INT);";
    script += "INSERT INTO ek VALUES (0, 1), (1, 2), (2, 3); INSERT INTO el VALUES (0, 1), (1, 1), (0, 1);";
    again += "UPDATE ek SET n = n + 10; DELETE FROM ek WHERE e = 1; DELETE FROM el WHERE e = 0 LIMIT 1; UPDATE el SET e = 1 - e;";
    for count in [1, 8, 9, 16, 17, 24, 25, 32, 33, 63, 64] {
        tables += &format!(
            "CREATE TABLE s{count} (s SET({}), id INT PRIMARY KEY);",
            list(count)
        );
        let all = u64::MAX >> (64 - count);
        script += &format!(
            "INSERT INTO s{count} VALUES (0, 0), (1, 1), ({all}, 2), ({}, 3);",
            1_u64 << (count - 1)
        );
        again += &format!("UPDATE s{count} SET s = {all} - s; DELETE FROM s{count} WHERE id = 1;");
    }
    for bits in 1..=64_u32 {
        tables += &format!("CREATE TABLE b{bits} (b BIT({bits}), id INT PRIMARY KEY);");
        let all = u64::MAX >> (64 - bits);
        script += &format!(
            "INSERT INTO b{bits} VALUES (0, 0), (1, 1), ({all}, 2), ({}, 3);",
            1_u64 << (bits - 1)
        );
        again += &format!("UPDATE b{bits} SET b = {all} - b;");
    }
    there("labels", &tables, &script, &again)
}

/// A script that fills a table `t (id, j, n)` with documents: values of every kind that the server puts into one, odd keys, all the depth it
/// allows, and such that are large.
pub fn odd_documents() -> String {
    let deep = |open: &str, inner: &str, close: &str, levels: usize| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    let documents = [
        // Blobs of all types, the longest of a type and one more.
        "(SELECT JSON_ARRAY(a, b, c, d, e, f, g, y, en, st, ts, dt, da, ti, de, p, tx) FROM made)".to_owned(),
        "(SELECT JSON_OBJECT('a', a, 'b', b, 'c', c, 'd', d, 'n', JSON_ARRAY(a, JSON_OBJECT('x', c))) FROM made)".to_owned(),
        "(SELECT JSON_ARRAY(c, d, b) FROM large)".to_owned(),
        // Alone, without an array or an object around them.
        "CAST(CAST(-1.50 AS DECIMAL(9,2)) AS JSON)".to_owned(),
        "CAST(CAST('2026-01-02 03:04:05.678' AS DATETIME(3)) AS JSON)".to_owned(),
        "CAST(CAST('-12:00:00.5' AS TIME(1)) AS JSON)".to_owned(),
        "CAST(CAST('2026-01-02' AS DATE) AS JSON)".to_owned(),
        "JSON_EXTRACT(JSON_ARRAY(x'00ff'), '$[0]')".to_owned(),
        "(SELECT JSON_EXTRACT(JSON_ARRAY(d), '$[0]') FROM made)".to_owned(),
        "(SELECT JSON_EXTRACT(JSON_ARRAY(g), '$[0]') FROM made)".to_owned(),
        "(SELECT JSON_EXTRACT(JSON_ARRAY(y), '$[0]') FROM made)".to_owned(),
        "(SELECT JSON_EXTRACT(JSON_ARRAY(c), '$[0]') FROM large)".to_owned(),
        "JSON_ARRAY(x'', REPEAT(x'ff', 65535), CAST(REPEAT('b', 65536) AS BINARY), CAST(REPEAT('b', 300000) AS BINARY))".to_owned(),
        "JSON_ARRAY(ST_GeomFromText('POINT(1 2)'), CAST('0000-00-00' AS DATE), CAST('2026-00-01' AS DATE), CAST('-838:59:59' AS TIME), CAST('0000-00-00' AS DATETIME(6)))".to_owned(),
        "JSON_ARRAY(CAST(-1 AS SIGNED), CAST(1 AS UNSIGNED), 1, 65535, 65536, 4294967296, 18446744073709551615, -9223372036854775808, CAST(-0.5 AS DECIMAL(65,30)), -0e0, 1e300, 5e-324, 0.1, 1e15, 1e16)".to_owned(),
        // Keys: empty, quotes, backslashes, control characters, beyond the BMP, 65,535 bytes.
        r#"JSON_OBJECT('', 1, '"', 2, '\\', 3, '\n\t\Z\0', 4, '😀', 5, 'a.b', CAST(1.5 AS DECIMAL(3,1)), '$', 7, ' ', 8, '[0]', 9, '\'', x'00')"#.to_owned(),
        r#"JSON_OBJECT('', 1, '"', 2, '\\', 3, '\n\t\Z\0', 4, '😀', 5, 'a.b', 6, '$', 7, ' ', 8, '[0]', 9, '\'', 10)"#.to_owned(),
        "JSON_OBJECT(REPEAT('k', 65535), 1, REPEAT('l', 65535), CAST(1.5 AS DECIMAL(3,1)))".to_owned(),
        deep("JSON_ARRAY(", "CAST(1.5 AS DECIMAL(3,1))", ")", 99),
        deep("JSON_OBJECT('a',", "CAST(1.5 AS DECIMAL(3,1))", ")", 99),
        format!("'{}'", deep("[", "1", "]", 99)),
        format!("'{}'", deep(r#"{"a": "#, "1.5", "}", 99)),
        // The large form of objects and arrays.
        "(SELECT JSON_OBJECTAGG(CONCAT('key', i), i) FROM numbers)".to_owned(),
        "(SELECT JSON_OBJECTAGG(CONCAT('key', i), CAST(i AS DECIMAL(9,2))) FROM numbers)".to_owned(),
        "(SELECT JSON_ARRAYAGG(IF(i % 7, JSON_ARRAY(i, CONCAT('v', i)), CAST(i AS DECIMAL(9,2)))) FROM numbers)".to_owned(),
    ];
    let mut script = "SET SESSION cte_max_recursion_depth = 70000;
        CREATE TEMPORARY TABLE made (a TINYBLOB, b BLOB, c MEDIUMBLOB, d LONGBLOB, e BINARY(3), f VARBINARY(3), g BIT(9), y YEAR, en ENUM('x'), st SET('x'),
          ts TIMESTAMP(6) NULL, dt DATETIME, da DATE, ti TIME(3), de DECIMAL(65,30), p POINT, tx TEXT);
        INSERT INTO made VALUES ('a', 'b', 'c', x'00ff', 'e', '', b'1', 2000, 'x', 'x', '2026-01-02 03:04:05.678', '9999-12-31 23:59:59', '0000-00-00',
          '-12:00:00.5', -1e-30, POINT(1, 2), 'tx');
        CREATE TEMPORARY TABLE large (b BLOB, c MEDIUMBLOB, d LONGBLOB); INSERT INTO large VALUES (REPEAT(x'01', 65535), REPEAT(x'02', 65536), REPEAT(x'03', 200000));
        CREATE TEMPORARY TABLE numbers AS WITH RECURSIVE n AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 6999) SELECT i FROM n"
        .to_owned();
    for (id, document) in documents.into_iter().enumerate() {
        script += &format!("; INSERT INTO t VALUES ({id}, {document}, 1)");
    }
    script
}

/// Documents of [`odd_documents`], as they are, and changed.
#[test]
fn documents() -> Result<()> {
    let tables = "CREATE TABLE t (id INT PRIMARY KEY, j JSON, n INT)";
    let again = "UPDATE t SET n = 2; UPDATE t a JOIN t b ON b.id = a.id + 1 SET a.j = JSON_ARRAY(b.j, x'01') WHERE JSON_DEPTH(b.j) < 90;
        DELETE FROM t WHERE id % 2";
    there("documents", tables, &odd_documents(), again)
}

/// Geometries of every kind, columns of each kind and of any, with and without a reference system.
#[test]
fn geometries() -> Result<()> {
    let kinds = [
        ("POINT", "POINT(1 2)"),
        ("LINESTRING", "LINESTRING(0 0,1 1,2 3)"),
        ("POLYGON", "POLYGON((0 0,4 0,4 4,0 0),(1 1,2 1,2 2,1 1))"),
        ("MULTIPOINT", "MULTIPOINT((0 0),(1 1))"),
        ("MULTILINESTRING", "MULTILINESTRING((0 0,1 1),(2 2,3 3))"),
        ("MULTIPOLYGON", "MULTIPOLYGON(((0 0,4 0,4 4,0 0)))"),
        (
            "GEOMETRYCOLLECTION",
            "GEOMETRYCOLLECTION(POINT(1 1),GEOMETRYCOLLECTION EMPTY,LINESTRING(0 0,1 1))",
        ),
    ];
    let (mut tables, mut script) = (String::new(), String::new());
    tables += "CREATE TABLE any_kind (id INT PRIMARY KEY, g GEOMETRY);";
    script += "INSERT INTO any_kind VALUES (100, ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')), (101, NULL);";
    for (n, (kind, text)) in kinds.iter().enumerate() {
        tables += &format!(
            "CREATE TABLE g{n} (id INT PRIMARY KEY, g {kind}, h {kind} NOT NULL SRID 4326, SPATIAL INDEX (h));"
        );
        for (m, srid) in [0, 4326, 3857].iter().enumerate() {
            let geometry = format!("ST_GeomFromText('{text}', {srid})");
            script += &format!(
                "INSERT INTO g{n} VALUES ({m}, {geometry}, ST_GeomFromText('{text}', 4326)); INSERT INTO any_kind VALUES ({}, {geometry});",
                n * 3 + m
            );
        }
    }
    let again = "UPDATE any_kind SET id = -id - 1; UPDATE g0 SET g = ST_GeomFromText('POINT(2 1)', 4326); DELETE FROM g6 WHERE id = 1; UPDATE g2 SET id = id + 10";
    there("geometries", &tables, &script, again)
}

/// Columns that hide or compute themselves, and keys that the server makes.
#[test]
fn hidden_and_generated_columns() -> Result<()> {
    let tables = "SET SESSION sql_generate_invisible_primary_key = 1;
        CREATE TABLE own_key (v INT, w VARCHAR(9));
        CREATE TABLE shown_key (v INT, w VARCHAR(9)); ALTER TABLE shown_key ALTER COLUMN my_row_id SET VISIBLE;
        SET SESSION sql_generate_invisible_primary_key = 0;
        CREATE TABLE computed (id INT PRIMARY KEY, a INT, s INT AS (a * 2) STORED, v INT AS (a * 3) VIRTUAL, sv VARCHAR(20) AS (CONCAT('x', a)) STORED INVISIBLE,
          j JSON, k VARCHAR(20) AS (j->>'$.k') VIRTUAL, KEY (v), KEY (k));
        CREATE TABLE computed_key (a INT, k INT AS (a + 1) STORED PRIMARY KEY, h INT INVISIBLE);
        CREATE TABLE multi (id INT PRIMARY KEY, j JSON, KEY m ((CAST(j->'$.a' AS UNSIGNED ARRAY))))";
    let script = "INSERT INTO own_key (v, w) VALUES (1, 'a'), (1, 'a'), (NULL, NULL); INSERT INTO shown_key (v, w) VALUES (1, 'b'), (2, NULL);
        INSERT INTO computed (id, a, j) VALUES (1, 1, '{\"k\": \"é\"}'), (2, NULL, NULL), (3, 3, '{\"k\": 1}');
        INSERT INTO computed_key (a, h) VALUES (1, 5), (2, NULL); INSERT INTO multi VALUES (1, '{\"a\": [1, 2]}'), (2, '{}')";
    let again = "UPDATE own_key SET v = 7 LIMIT 1; DELETE FROM own_key WHERE v = 1; UPDATE shown_key SET w = 'c'; UPDATE computed SET a = a + 1, j = '{}';
        DELETE FROM computed WHERE id = 2; UPDATE computed_key SET h = 6; UPDATE computed_key SET a = 9 WHERE a = 1; DELETE FROM computed_key WHERE a = 2;
        UPDATE multi SET j = '{\"a\": [3]}'";
    there("hidden", tables, script, again)
}

/// Fields beyond 16 MiB: more than a packet, and than a record of the log.
#[test]
fn fields_of_many_megabytes() -> Result<()> {
    let tables = "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT, g LONGTEXT CHARACTER SET gbk, j JSON, n INT)";
    let script =
        "INSERT INTO t (id, b) VALUES (1, REPEAT(UNHEX('00ff27'), 5800000)); INSERT INTO t (id, t) VALUES (2, REPEAT('é\\'\\\\', 4300000));
        INSERT INTO t (id, g) VALUES (3, REPEAT('汉a', 6000000)); INSERT INTO t (id, j) VALUES (4, JSON_ARRAY(REPEAT('x', 17000000), REPEAT('\"', 100)))";
    let again = "UPDATE t SET n = 1; UPDATE t SET g = CONCAT(g, '字') WHERE id = 3; DELETE FROM t WHERE id < 3";
    there("megabytes", tables, script, again)
}
