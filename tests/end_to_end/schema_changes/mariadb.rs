//! From MariaDB to MariaDB.

use anyhow::{Context, Result};
use binferry_servers::{Release, mariadb};

use super::{Scene, Way};

const SCRIPTS: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(20) DEFAULT 'é'); INSERT INTO t (a) VALUES ('one'), ('two'); CREATE TABLE likewise LIKE t",
    "CREATE TABLE made (id INT PRIMARY KEY) AS SELECT id, a FROM t; UPDATE made SET a = 'made' WHERE id = 1;
     CREATE OR REPLACE TABLE made (id INT PRIMARY KEY, other INT); INSERT INTO made VALUES (1, 1);
     CREATE OR REPLACE TABLE made (id INT PRIMARY KEY) AS SELECT id FROM t",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS b INT, ADD KEY IF NOT EXISTS (b); ALTER TABLE t ADD i INT, ALGORITHM=INSTANT; INSERT INTO t (b) VALUES (3);
     ALTER TABLE t WAIT 5 MODIFY b BIGINT FIRST, ADD c INT AS (b + 1) PERSISTENT; ALTER TABLE t RENAME COLUMN b TO d, DROP COLUMN IF EXISTS nothing; UPDATE t SET d = 4",
    "SET STATEMENT max_statement_time=100 FOR ALTER TABLE t ADD e INT DEFAULT 5; INSERT INTO t (a) VALUES ('e'); /*M!100100 ALTER TABLE t ADD f INT */;
     ALTER TABLE t /*M!100100 ADD g INT, */ /*!50701 ADD nothing INT, */ ADD h INT; UPDATE t SET g = 1, h = 2",
    "RENAME TABLE IF EXISTS t NOWAIT TO swap, likewise TO t, swap TO likewise; INSERT INTO t (a) VALUES ('swapped'); TRUNCATE TABLE likewise WAIT 5;
     DROP TABLE IF EXISTS made, nobody; CREATE UNIQUE INDEX ua ON t (a); DROP INDEX IF EXISTS ua ON t",
    "CREATE TABLE p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20));
     INSERT INTO p VALUES (1), (11); ALTER TABLE p TRUNCATE PARTITION p0; INSERT INTO p VALUES (2); ALTER TABLE p DROP PARTITION p1",
    "CREATE SEQUENCE s START WITH 5; ALTER SEQUENCE s INCREMENT 2; DROP SEQUENCE s; ALTER DATABASE CHARACTER SET latin1; CREATE TABLE by_default (id INT PRIMARY KEY, a VARCHAR(3));
     SET explicit_defaults_for_timestamp = 0; CREATE TABLE stamped (id INT PRIMARY KEY, s TIMESTAMP); INSERT INTO stamped (id) VALUES (1);
     SET explicit_defaults_for_timestamp = 1; CREATE TABLE plain (id INT PRIMARY KEY, s TIMESTAMP); INSERT INTO plain (id) VALUES (1)",
    "CREATE TABLE v (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING; ALTER TABLE v DROP SYSTEM VERSIONING; INSERT INTO v VALUES (1, 1); UPDATE v SET a = 2",
];

#[test]
fn each_kind() -> Result<()> {
    let (source, target) = (
        mariadb(Release::MariaDb10_11)?,
        mariadb(Release::MariaDb11_8)?,
    );
    let scene = Scene::on(source, target, "kinds", Way::Definitions)?;
    for script in SCRIPTS {
        let ran = scene.source(script).and_then(|()| scene.equal());
        ran.with_context(|| format!("after {script}"))?;
    }
    Ok(())
}
