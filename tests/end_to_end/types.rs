//! Every type at its extremes, from the source's SELECT to the target's.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, database, pair};

use crate::{binferry::Pipeline, judge};

/// (column definition, values as SQL)
pub const COLUMNS: &[(&str, &[&str])] = &[
    ("TINYINT", &["-128", "127"]),
    ("TINYINT UNSIGNED", &["0", "255"]),
    ("SMALLINT", &["-32768", "32767"]),
    ("SMALLINT UNSIGNED", &["65535"]),
    ("MEDIUMINT", &["-8388608", "8388607", "-1"]),
    ("MEDIUMINT UNSIGNED", &["16777215"]),
    ("INT", &["-2147483648", "2147483647"]),
    ("INT UNSIGNED ZEROFILL", &["4294967295", "7"]),
    ("BIGINT", &["-9223372036854775808", "9223372036854775807"]),
    (
        "BIGINT UNSIGNED",
        &["18446744073709551615", "9223372036854775808", "0"],
    ),
    (
        "FLOAT",
        &["1.1", "-3.4028234e38", "1.17549435e-38", "0.1", "16777217"],
    ),
    (
        "DOUBLE",
        &["0.1", "-1.7976931348623157e308", "5e-324", "1e22", "-0e0"],
    ),
    (
        "DECIMAL(65,30)",
        &[
            "-12345678901234567890123456789012345.123456789012345678901234567890",
            "0.000000000000000000000000000001",
            "0",
        ],
    ),
    ("DECIMAL(10,0)", &["-9999999999", "5"]),
    ("DECIMAL(5,5) UNSIGNED", &["0.99999"]),
    ("BIT(1)", &["b'1'", "b'0'"]),
    ("BIT(9)", &["b'101010101'"]),
    ("BIT(64)", &["0xFFFFFFFFFFFFFFFF", "1"]),
    ("YEAR", &["1901", "2155", "0"]),
    (
        "DATE",
        &[
            "'0000-00-00'",
            "'2026-00-00'",
            "'2024-02-29'",
            "'9999-12-31'",
            "'1000-01-01'",
            "'2026-02-31'",
        ],
    ),
    ("TIME", &["'-838:59:59'", "'838:59:59'", "'00:00:00'"]),
    (
        "TIME(6)",
        &[
            "'-838:59:58.999999'",
            "'-00:00:00.000001'",
            "'12:34:56.789012'",
        ],
    ),
    ("TIME(1)", &["'-00:00:00.1'", "'-12:00:00.9'"]),
    (
        "DATETIME",
        &[
            "'0000-00-00 00:00:00'",
            "'9999-12-31 23:59:59'",
            "'2026-00-10 01:02:03'",
        ],
    ),
    (
        "DATETIME(6)",
        &[
            "'1000-01-01 00:00:00.000001'",
            "'2026-11-21 12:00:00.999999'",
        ],
    ),
    ("DATETIME(3)", &["'2026-11-21 12:00:00.5'"]),
    (
        "TIMESTAMP NULL",
        &[
            "'0000-00-00 00:00:00'",
            "'1970-01-01 00:00:01'",
            "'2038-01-19 03:14:07'",
        ],
    ),
    (
        "TIMESTAMP(6) NULL",
        &[
            "'2026-03-29 02:30:00.123456'",
            "'0000-00-00 00:00:00.000000'",
        ],
    ),
    ("CHAR(10)", &["'trail  '", "''", "'ünï©'"]),
    (
        "VARCHAR(300)",
        &["'trail  '", "'\\'\"\\\\ \\0 \\n \\Z'", "'😀'"],
    ),
    (
        "VARCHAR(20) CHARACTER SET latin1",
        &["'naïve €'", "_latin1 x'81'"],
    ),
    ("VARCHAR(20) CHARACTER SET utf8mb3", &["'ünï'"]),
    ("VARCHAR(20) CHARACTER SET ascii", &["'plain'"]),
    ("VARCHAR(20) CHARACTER SET gbk", &["'汉字'"]),
    ("VARCHAR(20) CHARACTER SET sjis", &["'表示'"]),
    ("VARCHAR(20) CHARACTER SET ucs2", &["'汉字'"]),
    ("VARCHAR(20) CHARACTER SET utf16", &["'汉😀'"]),
    ("VARCHAR(20) CHARACTER SET utf16le", &["'汉😀'"]),
    ("VARCHAR(20) CHARACTER SET utf32", &["'汉😀'"]),
    ("TEXT", &["REPEAT('abcü', 10000)", "''"]),
    ("MEDIUMTEXT CHARACTER SET cp1251", &["'привет'"]),
    (
        "BINARY(8)",
        &["x'0102000000'", "x'00'", "x'FF20202020202020'"],
    ),
    ("VARBINARY(300)", &["x'00FF00'", "x''"]),
    ("TINYBLOB", &["x'00'"]),
    ("LONGBLOB", &["REPEAT(x'00FF', 50000)"]),
    ("ENUM('a','B','ü','x''y')", &["'a'", "'ü'", "'x''y'", "'B'"]),
    ("ENUM('ä','ö') CHARACTER SET latin1", &["'ö'"]),
    ("SET('a','b','c','ü')", &["''", "'a,ü'", "'a,b,c,ü'"]),
    (
        "JSON",
        &[
            "'{\"b\": [1, 2.5, \"x\\\\u00e9\\\\n\", null, true], \"a\": {\"\": 1e100}}'",
            "'null'",
            "'18446744073709551615'",
            "'-0.0'",
            "JSON_OBJECT('d', CAST('1.50' AS DECIMAL(10,2)), 'u', CAST(1 AS UNSIGNED), 't', CAST('12:00:00.5' AS TIME(6)))",
            "JSON_ARRAY(CAST('2026-01-02' AS DATE), CAST('2026-01-02 03:04:05.678' AS DATETIME(3)), CAST('x' AS BINARY))",
            // Milliseconds are signed out of an expression, unsigned out of text.
            "JSON_OBJECT('d', 1700000000000, 'u', '4294967296', 'l', JSON_ARRAY(4294967295, 4294967296, 9223372036854775807, -9223372036854775808, -4294967297))",
            "'{\"d\": 1700000000000, \"u\": \"4294967296\", \"l\": [4294967295, 4294967296, 9223372036854775807, -9223372036854775808, -4294967297]}'",
            "JSON_ARRAY(CAST(4294967295 AS UNSIGNED), CAST(4294967296 AS UNSIGNED), CAST(18446744073709551615 AS UNSIGNED))",
            "CAST(1700000000000 AS JSON)",
            "CAST(-0.5 AS JSON)",
            "CAST(TIME'-838:59:59' AS JSON)",
            "JSON_SET('{\"d\": 1, \"list\": [1, {\"at\": 0}, [[]], {}]}', '$.n', 5.5, '$.list[1].at', TIMESTAMP'2026-01-02 03:04:05', '$.list[2][1]', DATE'2026-01-02', '$.\"2026-01-02\"', '2026-01-02')",
            "JSON_OBJECT('long', REPEAT('\"x', 40000), 'd', 5.5, 'in', JSON_OBJECT('n', 70000, 'in', JSON_ARRAY(70000, 1.5, CAST(70000 AS UNSIGNED), TRUE, NULL)))",
            "(SELECT JSON_ARRAY(t, bit, b, JSON_OBJECT('tiny', tiny, 'medium', medium, 'long', l, 'fixed', fixed)) FROM JSON_TABLE('[\"2026-01-02 03:04:05.678\", 5, \"ab\"]', '$' COLUMNS (t TIMESTAMP(3) PATH '$[0]', bit BIT(9) PATH '$[1]', b BLOB PATH '$[2]', tiny TINYBLOB PATH '$[2]', medium MEDIUMBLOB PATH '$[2]', l LONGBLOB PATH '$[2]', fixed BINARY(70) PATH '$[2]')) AS j)",
            "CAST(ST_GeomFromText('POINT(1 2)') AS JSON)",
        ],
    ),
    (
        "GEOMETRY",
        &[
            "ST_GeomFromText('POINT(1 2)')",
            "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 4326)",
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')",
        ],
    ),
    ("POINT", &["ST_GeomFromText('POINT(3 4)', 4326)"]),
    ("VECTOR(3)", &["STRING_TO_VECTOR('[1,-2.5,3e10]')"]),
];

#[test]
fn every_type_at_its_extremes() -> Result<()> {
    let pair = pair()?;
    every_type(&pair.source, &pair.target)
}

/// To any target; on one that keeps documents as text, there are no types inside them.
pub fn every_type(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "types")?;
    let mut create = "CREATE TABLE t (id INT PRIMARY KEY".to_owned();
    for (n, (definition, _)) in COLUMNS.iter().enumerate() {
        create += &format!(", c{n} {definition}");
    }
    create += ")";
    for server in [source, target] {
        server.sql(&format!("USE `{database}`; {create}"))?;
    }
    let pipeline = Pipeline::new(source, target, &database)?;
    // As SQL scripts of old applications do: zero dates, and whatever the time zone makes of them.
    let mut script = format!(
        "USE `{database}`; SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+02:00'; INSERT INTO t (id) VALUES (0)"
    );
    let mut id = 1;
    for (n, (_, values)) in COLUMNS.iter().enumerate() {
        for value in *values {
            script += &format!("; INSERT INTO t (id, c{n}) VALUES ({id}, {value})");
            id += 1;
        }
    }
    // Each value also as a before image, as an after image, and moved.
    script += "; UPDATE t SET id = -id";
    source.sql(&script)?;
    pipeline.catch_up()?;
    judge::equal(source, target, &database)?;
    // The same once more through before images of deletes, half of the rows.
    source.sql(&format!("DELETE FROM `{database}`.t WHERE id % 2 = 0"))?;
    pipeline.catch_up()?;
    judge::equal(source, target, &database)?;
    if target.release().is_mariadb() {
        return Ok(());
    }
    // Types inside documents are the same, value by value.
    let json = COLUMNS
        .iter()
        .position(|(d, _)| *d == "JSON")
        .unwrap_or_default();
    let types = |path: &str| {
        format!(
            "(SELECT GROUP_CONCAT(o, IFNULL(JSON_TYPE(v), '') ORDER BY o) FROM JSON_TABLE(c{json}, '{path}' COLUMNS (o FOR ORDINALITY, v JSON PATH '$')) AS j)"
        )
    };
    let ask = format!(
        "SELECT /*+ SET_VAR(group_concat_max_len = 1000000) */ GROUP_CONCAT(types ORDER BY id) FROM
         (SELECT id, CONCAT_WS(':', id, JSON_TYPE(c{json}), IFNULL({}, ''), {}) AS types FROM `{database}`.t WHERE c{json} IS NOT NULL) d",
        types("$**.*"),
        types("$**[*]")
    );
    let (s, t) = (source.value(&ask)?, target.value(&ask)?);
    ensure!(s == t, "{s}\n{t}");
    Ok(())
}

/// The generator draws tables without a key, with composite keys of text, with NULLs in unique keys; names that need quoting.
#[test]
fn odd_tables() -> Result<()> {
    let pair = pair()?;
    odd(&pair.source, &pair.target)
}

pub fn odd(source: &MySql, target: &MySql) -> Result<()> {
    let database = database([source, target], "odd")?;
    // MariaDB's names have no characters outside Unicode's first plane.
    let name = if target.release().is_mariadb() {
        "üñ"
    } else {
        "ü😀"
    };
    let tables = "
        CREATE TABLE `sp ace``d.ot` (`co l` INT PRIMARY KEY, `ü😀`  INT, `select` VARCHAR(10));
        CREATE TABLE composite (a VARCHAR(10), b VARBINARY(5), c INT, v INT, PRIMARY KEY (a, b, c));
        CREATE TABLE prefix (a TEXT, b INT, PRIMARY KEY (a(10)));
        CREATE TABLE hidden (id INT PRIMARY KEY, secret INT INVISIBLE, g INT AS (secret + 1) STORED, h INT AS (secret * 2) VIRTUAL);
        CREATE TABLE stamped (id INT PRIMARY KEY, v INT, changed TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);
        CREATE TABLE parent (id INT PRIMARY KEY);
        CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id));
        CREATE TABLE checked (id INT PRIMARY KEY, v INT CHECK (v > 0))"
        .replace("ü😀", name);
    for server in [source, target] {
        server.sql(&format!("USE `{database}`; {tables}"))?;
    }
    let pipeline = Pipeline::new(source, target, &database)?;
    let changes = format!(
        "USE `{database}`;
         INSERT INTO `sp ace``d.ot` VALUES (1, 2, 'x'), (2, NULL, NULL); UPDATE `sp ace``d.ot` SET `ü😀` = 5; DELETE FROM `sp ace``d.ot` WHERE `co l` = 2;
         INSERT INTO composite VALUES ('a', x'00', 1, 1), ('a', x'0000', 1, 2), ('b', x'', 1, 3); UPDATE composite SET a = 'A' WHERE a = 'a'; UPDATE composite SET c = c + 1;
         INSERT INTO prefix VALUES ('0123456789abc', 1), ('x', 2); UPDATE prefix SET b = 7; UPDATE prefix SET a = CONCAT('n', a);
         INSERT INTO hidden (id, secret) VALUES (1, 10), (2, NULL); UPDATE hidden SET secret = 11 WHERE id = 1; DELETE FROM hidden WHERE id = 2;
         INSERT INTO stamped (id, v, changed) VALUES (1, 1, '2020-01-01 00:00:00'); UPDATE stamped SET v = 2, changed = changed;
         BEGIN; INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2); UPDATE child SET p = 1; DELETE FROM parent WHERE id = 2; COMMIT;
         BEGIN; DELETE FROM child; DELETE FROM parent; INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1); COMMIT;
         INSERT INTO checked VALUES (1, 5); UPDATE checked SET v = 6"
    );
    source.sql(&changes.replace("ü😀", name))?;
    pipeline.catch_up()?;
    judge::equal(source, target, &database)
}
