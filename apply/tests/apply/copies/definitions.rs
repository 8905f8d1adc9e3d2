//! Tables are made as they are on the source: SHOW CREATE prints the same on both.

use anyhow::{Context, Result};
use binferry_apply::{ApplyError, CopyProblem};
use binferry_schemas::{datum::Value, fault::Fault, record::Over};
use binferry_servers::MySql;

use super::pen::{Begin, begin, done, want};
use crate::stage::{INT, Stage, column};

const LONG: &str = "sixty_four_characters_are_what_a_name_may_have_at_most_and_this_";

/// Each has a column `id` that is its primary key; the others may be left out of its rows.
const DEFINITIONS: [(&str, &str); 17] = [
    ("plain", "(id int PRIMARY KEY)"),
    (
        r#"it's `quoted` "twice""#,
        r#"(id int PRIMARY KEY, `a``b` int, `c'd` int, `e"f` int)"#,
    ),
    (
        "spaces and.dots",
        "(id int PRIMARY KEY, `a b.c` int, KEY `k.y z` (`a b.c`))",
    ),
    (
        "snow ☃ é",
        r"(id int PRIMARY KEY, n int COMMENT '🦀 \\ '' \' , FOREIGN KEY (') COMMENT='a\nb'",
    ),
    (LONG, "(id int PRIMARY KEY)"),
    (
        "zero_dates",
        "(id int PRIMARY KEY, d date NOT NULL DEFAULT '0000-00-00', t datetime DEFAULT '2021-00-31 00:00:00', \
         s timestamp NOT NULL DEFAULT '0000-00-00 00:00:00', v timestamp NULL DEFAULT '2024-06-01 12:00:00', \
         u timestamp(3) NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3))",
    ),
    (
        "backslashes",
        r"(id int PRIMARY KEY, c varchar(20) DEFAULT 'a\\b\'c''d\n', e enum('\\','''',',') DEFAULT ',')",
    ),
    (
        "generated",
        r"(id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a + 1) STORED, c varchar(20) AS (concat(a, '\\''')) VIRTUAL, KEY (c),
           f int, KEY fk ((abs(f) + 1)), d json DEFAULT (json_object('a', 1)))",
    ),
    (
        "checks",
        "(id int PRIMARY KEY, a int CONSTRAINT `po``s` CHECK (a > 0 OR a IS NULL), CHECK (a <> 7) NOT ENFORCED)",
    ),
    (
        "partitions",
        "(id int PRIMARY KEY, n int) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10) COMMENT 'a)b', PARTITION p1 VALUES LESS THAN MAXVALUE)",
    ),
    (
        "by_hash",
        "(id int PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 4",
    ),
    (
        "characters",
        "(id int PRIMARY KEY, a varchar(10) CHARACTER SET latin1 COLLATE latin1_german2_ci, b text CHARACTER SET sjis, \
         c char(3) CHARACTER SET ascii) DEFAULT CHARACTER SET utf8mb3 COLLATE utf8mb3_unicode_ci",
    ),
    (
        "indexes",
        "(id int PRIMARY KEY, a varchar(100), b int, g point NOT NULL SRID 4326 DEFAULT (ST_SRID(point(0, 0), 4326)), KEY (a(10)), \
         KEY i (b DESC) INVISIBLE COMMENT 'x', FULLTEXT KEY f (a), SPATIAL KEY (g))",
    ),
    (
        "options",
        "(id int NOT NULL AUTO_INCREMENT PRIMARY KEY, hidden int DEFAULT 3 INVISIBLE) AUTO_INCREMENT = 1000 ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8 STATS_PERSISTENT = 1",
    ),
    (
        "numbers",
        "(id int PRIMARY KEY, a tinyint(1) DEFAULT '1', b bigint unsigned zerofill, c decimal(65,30) DEFAULT '-1.5', d bit(5) DEFAULT b'101', \
         e double(10,3), y year)",
    ),
    (
        "to`itself",
        "(id int PRIMARY KEY, p int, CONSTRAINT `self` FOREIGN KEY (p) REFERENCES `to``itself` (id) ON DELETE SET NULL)",
    ),
    (
        "z child",
        r#"(id int PRIMARY KEY, p int, q int, CONSTRAINT `z 1` FOREIGN KEY (p) REFERENCES `plain` (id) ON DELETE CASCADE ON UPDATE RESTRICT,
           CONSTRAINT `a``2` FOREIGN KEY (q) REFERENCES `it's ``quoted`` "twice"` (id))"#,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn as_on_the_source() -> Result<()> {
    let pair = binferry_servers::pair()?;
    // ANSI_QUOTES changes what SHOW CREATE prints, and what it means. (With NO_BACKSLASH_ESCAPES the server itself cannot open the table
    // `generated`.)
    for (mode, number) in [("", 0), ("ANSI_QUOTES", 4)] {
        let database = binferry_servers::database([&pair.source, &pair.target], "c_made_as")?;
        pair.target.sql(&format!("DROP DATABASE `{database}`"))?;
        let mut stage = Stage::on(&pair.target, database.clone()).await?;
        let job = want(&mut stage, "*.*", Over::Nothing).await?;
        let quoted = |name: &str| format!("`{database}`.`{}`", name.replace('`', "``"));
        for (name, rest) in DEFINITIONS {
            let created = pair.source.sql(&format!(
                "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'; USE `{database}`; CREATE TABLE {} {rest}",
                quoted(name)
            ));
            created.with_context(|| name.to_owned())?;
        }
        for (name, _) in DEFINITIONS {
            let shown = show(&pair.source, &quoted(name), mode)?;
            let table = stage.table(name, vec![column("id", INT, Some(0))]).await?;
            let begun = Begin {
                sql_mode: number,
                ..Begin::new(shown, &["id"])
            };
            let mut copy = begin(&mut stage, job, &table, begun).await?;
            copy.rows(&mut stage, &[vec![Value::Int(1)]], None, vec![])
                .await?;
            copy.end(&mut stage).await?;
        }
        done(&mut stage, job).await?;
        stage.apply().await?;
        for (name, _) in DEFINITIONS {
            let (here, there) = (
                show(&pair.source, &quoted(name), "")?,
                show(&pair.target, &quoted(name), "")?,
            );
            assert_eq!(here, there, "{mode}");
        }
    }
    Ok(())
}

fn show(server: &MySql, quoted: &str, mode: &str) -> Result<String> {
    let rows = server.rows(&format!(
        "SET time_zone = '+00:00', sql_mode = '{mode}'; SHOW CREATE TABLE {quoted}"
    ))?;
    let row = rows.into_iter().next().context("no definition")?;
    row.into_iter().nth(1).flatten().context("no text")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_refuses() -> Result<()> {
    const PLAIN: &str = "CREATE TABLE `t` (`id` int NOT NULL, PRIMARY KEY (`id`))";
    for (there, create, says) in [
        ("DO 0", &*format!("{PLAIN} ENGINE=NOSUCH"), "NOSUCH"),
        ("DO 0", &PLAIN[..PLAIN.len() - 1], "not closed"),
        (
            "DO 0",
            "CREATE TABLE `t` (`id` int NOT NULL, `c` varchar(10) COLLATE utf8mb4_none, PRIMARY KEY (`id`))",
            "utf8mb4_none",
        ),
        (
            "CREATE TABLE u (id int PRIMARY KEY); CREATE VIEW t AS SELECT * FROM u",
            PLAIN,
            "view",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY); CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
            PLAIN,
            "trigger",
        ),
    ] {
        let mut stage = Stage::new("c_refused").await?;
        stage.sql(there);
        let job = want(&mut stage, "*.*", Over::Nothing).await?;
        let table = stage.table("t", vec![column("id", INT, Some(0))]).await?;
        begin(&mut stage, job, &table, Begin::new(create, &["id"])).await?;
        let error = stage.apply().await.expect_err(create);
        let fits = match &error {
            ApplyError::Copy { problem, .. } => matches!(
                **problem,
                CopyProblem::Create { .. } | CopyProblem::Definition(_)
            ),
            ApplyError::Table { .. } => true,
            _ => false,
        };
        assert!(fits && error.to_string().contains(says), "{error}");
        assert!(error.hint().is_some());
    }
    Ok(())
}
