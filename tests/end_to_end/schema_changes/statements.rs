//! Each kind of statement, between changes of rows.

use anyhow::{Context, Result};

use super::{Scene, Way};

/// Each a script for the source; both servers are compared after it.
const SCRIPTS: &[&str] = &[
    // CREATE in its forms.
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(20) DEFAULT 'x', b INT) COMMENT='it''s';
     INSERT INTO t (a, b) VALUES ('one', 1), ('two', 2), ('three', 3)",
    "CREATE TABLE likewise LIKE t; INSERT INTO likewise SELECT * FROM t;
     CREATE TABLE IF NOT EXISTS t (other INT PRIMARY KEY)",
    "CREATE TABLE made (id INT PRIMARY KEY) AS SELECT id, a FROM t; UPDATE made SET a = 'made' WHERE id = 1;
     CREATE TABLE bare (id INT PRIMARY KEY) AS SELECT id, a FROM t WHERE id > 100; INSERT INTO bare VALUES (1, 'no more')",
    // ALTER: several clauses, in place, instantly, in another order.
    "ALTER TABLE t ADD c INT NOT NULL DEFAULT 7 AFTER id, ADD KEY (b), DROP COLUMN a; INSERT INTO t (b, c) VALUES (4, 4);
     ALTER TABLE t ADD d VARCHAR(5) DEFAULT 'é', ALGORITHM=INSTANT; UPDATE t SET d = 'ü' WHERE id = 2;
     ALTER TABLE t MODIFY b BIGINT FIRST, CHANGE c e DECIMAL(9,2) NULL; UPDATE t SET e = 1.25;
     ALTER TABLE t RENAME COLUMN d TO f, RENAME KEY b TO kb; ALTER TABLE t ALTER f SET DEFAULT 'z'; INSERT INTO t (b) VALUES (5)",
    "ALTER TABLE t ADD at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6), ADD g INT GENERATED ALWAYS AS (b + 1) STORED,
       ADD v INT GENERATED ALWAYS AS (b * 2) VIRTUAL, ADD CHECK (b > 0), ADD u CHAR(9) DEFAULT (CONCAT('a', 'b')), ADD INDEX x ((b + e));
     INSERT INTO t (b) VALUES (6); DELETE FROM t WHERE b = 4",
    "ALTER TABLE t CONVERT TO CHARACTER SET latin1; UPDATE t SET f = 'ä' WHERE b = 6; ALTER TABLE t ENGINE=InnoDB, COMMENT='rebuilt'",
    // Indexes.
    "CREATE UNIQUE INDEX ub ON t (b); CREATE INDEX i USING BTREE ON t (f(2) DESC, b); DROP INDEX kb ON t;
     INSERT INTO t (b) VALUES (40); CREATE FULLTEXT INDEX ft ON likewise (a); DROP INDEX `ft` ON likewise",
    // Names.
    "RENAME TABLE t TO swap, likewise TO t, swap TO likewise; INSERT INTO t (a, b) VALUES ('swapped', 1); DELETE FROM likewise WHERE b = 1;
     ALTER TABLE made RENAME TO unmade, ADD z INT; INSERT INTO unmade VALUES (9, 'nine', 9)",
    // What takes rows away.
    "TRUNCATE TABLE t; INSERT INTO t (a) VALUES ('after'); TRUNCATE unmade; DROP TABLE IF EXISTS bare, nobody;
     INSERT INTO t (a) VALUES ('later'); CREATE TABLE bare (id INT PRIMARY KEY, again INT); INSERT INTO bare VALUES (1, 1)",
    // Partitions.
    "CREATE TABLE p (id INT, y INT, PRIMARY KEY (id, y)) PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20));
     INSERT INTO p VALUES (1, 1), (2, 11), (3, 12); ALTER TABLE p ADD PARTITION (PARTITION p2 VALUES LESS THAN (30)); INSERT INTO p VALUES (4, 21);
     ALTER TABLE p TRUNCATE PARTITION p1; INSERT INTO p VALUES (5, 13);
     ALTER TABLE p REORGANIZE PARTITION p0 INTO (PARTITION n0 VALUES LESS THAN (5), PARTITION n1 VALUES LESS THAN (10));
     CREATE TABLE q (id INT, y INT, PRIMARY KEY (id, y)); INSERT INTO q VALUES (9, 14), (8, 15); ALTER TABLE p EXCHANGE PARTITION p1 WITH TABLE q;
     UPDATE p SET id = 90 WHERE id = 9; ALTER TABLE p DROP PARTITION n0; DELETE FROM q",
    "ALTER TABLE p REMOVE PARTITIONING; ALTER TABLE p PARTITION BY HASH (id) PARTITIONS 3; INSERT INTO p VALUES (6, 60); ALTER TABLE p COALESCE PARTITION 1",
    // Foreign keys.
    "CREATE TABLE parent (id INT PRIMARY KEY); CREATE TABLE child (id INT PRIMARY KEY, p INT, CONSTRAINT fk FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE);
     INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2), (3, 2); DELETE FROM parent WHERE id = 1;
     ALTER TABLE child DROP FOREIGN KEY fk, ADD CONSTRAINT fk2 FOREIGN KEY (p) REFERENCES parent (id); DELETE FROM child; DELETE FROM parent;
     SET foreign_key_checks = 0; DROP TABLE parent; CREATE TABLE parent (id INT PRIMARY KEY, n INT); INSERT INTO parent VALUES (1, 1)",
    // Comments, quotes, modes.
    "/* first */ ALTER TABLE t -- a comment, with ' in it
       ADD x1 INT # another `one
       , ADD `x 2` INT /* RENAME TO nothing */; INSERT INTO t (a, `x 2`) VALUES ('c', 1);
     /*!80000 ALTER TABLE t ADD x3 INT */; ALTER TABLE t /*!99990 ADD nothing INT, */ ADD x4 INT /*! , ADD x5 INT */; UPDATE t SET x5 = 1, x3 = 2;
     SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'; ALTER TABLE \"t\" ADD \"x`6\" VARCHAR(9) DEFAULT ('a' || 'b'); INSERT INTO t (a) VALUES ('ansi');
     SET sql_mode = 'NO_BACKSLASH_ESCAPES'; ALTER TABLE t ADD x7 VARCHAR(9) DEFAULT 'a\\' COMMENT 'b\\'; INSERT INTO t (a) VALUES ('plain')",
    // The session's settings.
    "SET sql_mode = ''; CREATE TABLE zero (id INT PRIMARY KEY, d DATE NOT NULL DEFAULT '0000-00-00', t DATETIME DEFAULT '2024-00-00'); INSERT INTO zero (id) VALUES (1);
     ALTER TABLE zero ADD n TINYINT NOT NULL; ALTER TABLE zero ADD m DATE NOT NULL; INSERT INTO zero (id) VALUES (2);
     SET time_zone = '+05:30'; CREATE TABLE zoned (id INT PRIMARY KEY, t TIMESTAMP DEFAULT '2020-01-01 00:00:00'); INSERT INTO zoned (id) VALUES (1);
     ALTER TABLE zoned ADD d DATETIME DEFAULT '2020-01-01 00:00:00'; ALTER TABLE zoned MODIFY d TIMESTAMP; INSERT INTO zoned (id) VALUES (2);
     SET time_zone = 'SYSTEM'; ALTER TABLE zoned ADD e TIMESTAMP NOT NULL DEFAULT '2021-06-01 00:00:00';
     SET explicit_defaults_for_timestamp = 0; CREATE TABLE stamped (id INT PRIMARY KEY, s TIMESTAMP); INSERT INTO stamped (id) VALUES (1);
     SET auto_increment_increment = 5, auto_increment_offset = 3; ALTER TABLE stamped DROP PRIMARY KEY, ADD n INT AUTO_INCREMENT, ADD PRIMARY KEY (n);
     SET collation_connection = utf8mb4_bin; CREATE TABLE compared (id INT PRIMARY KEY, c INT GENERATED ALWAYS AS ('a' = 'A') STORED); INSERT INTO compared (id) VALUES (1)",
    "SET NAMES latin1; CREATE TABLE latin (id INT PRIMARY KEY, a VARCHAR(9) CHARACTER SET latin1 DEFAULT 'Ã©' COMMENT 'Ã¼', b VARCHAR(9) DEFAULT _latin1'Ã¶'); INSERT INTO latin (id) VALUES (1);
     SET NAMES cp1251; ALTER TABLE latin ADD c VARCHAR(9) DEFAULT 'Ð¶'; INSERT INTO latin (id) VALUES (2)",
    // The database itself.
    "ALTER DATABASE DEFAULT CHARACTER SET latin1 COLLATE latin1_german1_ci; CREATE TABLE by_default (id INT PRIMARY KEY, a VARCHAR(9)); INSERT INTO by_default VALUES (1, 'ß')",
    // Numbers for rows that are there; a table with a generated primary key.
    "CREATE TABLE numbered (a INT PRIMARY KEY); INSERT INTO numbered VALUES (5), (3), (4); ALTER TABLE numbered ADD n INT AUTO_INCREMENT UNIQUE;
     SET sql_generate_invisible_primary_key = 1; CREATE TABLE gipk (a INT); INSERT INTO gipk VALUES (1), (2); UPDATE gipk SET a = 3 WHERE a = 2",
    // Views, triggers and routines are left alone.
    "CREATE VIEW seen AS SELECT 1 AS one; CREATE TRIGGER tr BEFORE INSERT ON numbered FOR EACH ROW SET NEW.n = NEW.n; DROP TRIGGER tr; DROP VIEW seen;
     CREATE TEMPORARY TABLE tmp (a INT); DROP TEMPORARY TABLE tmp; ANALYZE TABLE numbered; OPTIMIZE TABLE numbered; INSERT INTO numbered VALUES (9, NULL)",
];

fn each(scene: &Scene<'_>) -> Result<()> {
    for script in SCRIPTS {
        let ran = scene.source(script).and_then(|()| scene.equal());
        ran.with_context(|| format!("after {script}"))?;
    }
    Ok(())
}

#[test]
fn each_kind_under_gtids() -> Result<()> {
    let scene = Scene::new("kinds", Way::Gtids)?;
    each(&scene)?;
    scene.target("DO 0")
}

#[test]
fn each_kind_by_definitions() -> Result<()> {
    each(&Scene::new("defined", Way::Definitions)?)
}
