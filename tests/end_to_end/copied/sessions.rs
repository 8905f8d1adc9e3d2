//! What a statement and a value mean depends on the session: on `sql_mode`, on the time zone, on what is shown of generated keys. Here neither the servers nor their sessions
//! agree, and `mysqldump` of both must, in copies and in the stream.

use anyhow::Result;
use binferry_servers::MySql;

use crate::{
    evolution::dump,
    schema_changes::{Scene, Way},
};

/// Every session of the source has it: nothing is strict, a backslash is a character like any other, and `"` quotes names.
const MODE: &str =
    "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,ALLOW_INVALID_DATES";

/// Tables that are copied, each as it is written in that mode.
const MODES: &str = r#"
CREATE TABLE zero (id INT PRIMARY KEY, d DATE NOT NULL DEFAULT '0000-00-00', p DATETIME(3) NOT NULL DEFAULT '2021-00-31 00:00:00', i DATE DEFAULT '2021-02-31',
  s TIMESTAMP NOT NULL DEFAULT '0000-00-00 00:00:00', y YEAR NOT NULL DEFAULT '0000');
INSERT INTO zero (id) VALUES (1), (2), (3), (4);
CREATE TABLE by_date (d DATE, t DATETIME, PRIMARY KEY (d, t));
INSERT INTO by_date VALUES ('0000-00-00', '0000-00-00'), ('2021-00-31', '2021-00-00 01:02:03'), ('2021-02-31', '2021-02-30 01:02:03'), ('2021-03-01', '2021-03-01');
CREATE TABLE "back\slash" (id INT PRIMARY KEY, "a\" VARCHAR(20) NOT NULL DEFAULT 'a\' COMMENT 'c\n''"', e ENUM('\', '"', '\\', 'n\n') NOT NULL DEFAULT '\', KEY "k\" ("a\"))
  COMMENT 'no newline: \n';
INSERT INTO "back\slash" (id, "a\") VALUES (1, 'x\'), (2, '\0\n\''"'), (3, '"');
INSERT INTO "back\slash" (id, e) VALUES (4, '\\'), (5, 'n\n');
CREATE TABLE padded (c CHAR(5), b BINARY(3), v VARCHAR(5), PRIMARY KEY (c, v));
INSERT INTO padded VALUES ('a', 'b', 'c '), ('a', 'b', 'd'), ('', '', ''), ('12345', 'b  ', ' ');"#;

/// (By its event each statement with a date depends on the time zone.)
const MODES_LATER: &str = r#"SET time_zone = '+01:00';
ALTER TABLE zero ADD d2 DATE NOT NULL DEFAULT '0000-00-00', ADD d3 DATE NOT NULL, ADD "q\" DATETIME DEFAULT '2021-00-00 01:00:00';
INSERT INTO zero (id) VALUES (5); UPDATE zero SET p = '0000-00-00 00:00:00', d3 = '2021-02-31' WHERE id = 2; DELETE FROM zero WHERE id = 3;
ALTER TABLE "back\slash" ADD "x\" VARCHAR(9) DEFAULT 'b\' COMMENT '\'; INSERT INTO "back\slash" (id) VALUES (6); UPDATE "back\slash" SET "a\" = 'new\' WHERE id = 2;
CREATE TABLE "made\" (id INT PRIMARY KEY, v VARCHAR(9) DEFAULT '\') AS SELECT id, "a\" || '\' AS w FROM "back\slash" WHERE id < 3;
ALTER TABLE padded ADD w CHAR(3) NOT NULL DEFAULT 'w '; UPDATE padded SET w = 'x' WHERE v = 'd'; INSERT INTO padded VALUES ('e', '', '', '');"#;

/// The source's zone is SYSTEM, with an hour that comes twice: 2021-10-31 00:30:00 and 01:30:00 UTC both print as 02:30:00.
const ZONES: &str = "
CREATE TABLE zoned (id INT PRIMARY KEY, t TIMESTAMP(3) NULL, d DATETIME, f TIMESTAMP NOT NULL DEFAULT '2020-07-01 00:00:00',
  n TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);
INSERT INTO zoned (id, t, d) VALUES (1, '2021-07-01 12:00:00', '2021-07-01 12:00:00'), (2, '1970-01-01 01:00:01', NULL), (3, NULL, '2021-03-28 04:30:00');
CREATE TABLE by_time (t TIMESTAMP PRIMARY KEY, n INT) PARTITION BY RANGE (UNIX_TIMESTAMP(t))
  (PARTITION p VALUES LESS THAN (UNIX_TIMESTAMP('2021-07-01 00:00:00')), PARTITION q VALUES LESS THAN MAXVALUE);
INSERT INTO by_time VALUES ('2021-06-30 23:30:00', 1);
SET time_zone = '+00:00'; INSERT INTO by_time VALUES ('2021-10-31 00:30:00', 2), ('2021-10-31 01:30:00', 3);
INSERT INTO zoned (id, t) VALUES (4, '2021-10-31 00:30:00.5'), (5, '2021-10-31 01:30:00.5'), (6, '2038-01-19 03:14:07');
SET time_zone = '-04:00';
CREATE TABLE west (id INT PRIMARY KEY, t TIMESTAMP NULL DEFAULT '2020-07-01 00:00:00'); INSERT INTO west (id) VALUES (1); INSERT INTO west VALUES (2, '2021-01-01 00:00:00')";

const ZONES_LATER: &str = "
UPDATE zoned SET t = '2021-10-31 02:30:00' WHERE id = 2; DELETE FROM by_time WHERE n = 2; INSERT INTO zoned (id, t) VALUES (10, '2021-03-28 03:00:00');
CREATE TABLE plain (id INT PRIMARY KEY); ALTER TABLE plain ADD n INT DEFAULT 5; INSERT INTO plain (id) VALUES (1);
SET time_zone = '+05:30'; ALTER TABLE zoned ADD m INT; ALTER TABLE zoned ADD a TIMESTAMP NOT NULL DEFAULT '2020-01-01 00:00:00', MODIFY d TIMESTAMP NULL; INSERT INTO zoned (id) VALUES (7);
ALTER TABLE by_time REORGANIZE PARTITION q INTO (PARTITION q VALUES LESS THAN (UNIX_TIMESTAMP('2021-10-31 06:15:00')), PARTITION r VALUES LESS THAN MAXVALUE);
ALTER TABLE west ALTER t SET DEFAULT '2020-07-01 00:00:00'; INSERT INTO west (id) VALUES (3); UPDATE west SET t = '2021-01-01 00:00:00' WHERE id = 2";

const ZONE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

#[test]
fn modes_and_time_zones_of_the_source() -> Result<()> {
    let source = MySql::builder().time_zone(ZONE).start()?;
    // Not the same zone, whatever it is called.
    let target = MySql::builder().time_zone("CET-1").start()?;
    let scene = Scene::on(&source, &target, "sessions", Way::Gtids)?.copying()?;
    source.sql(&format!("SET GLOBAL sql_mode = '{MODE}'"))?;
    let show_keys = |shown: &str| {
        let set = format!("SET GLOBAL show_gipk_in_create_table_and_information_schema = {shown}");
        source.sql(&set).and_then(|_| target.sql(&set))
    };
    let compared = || {
        show_keys("OFF")?;
        scene.carry()?;
        show_keys("ON")?;
        dump::equal(&source, &target, std::slice::from_ref(&scene.database))
    };
    scene.source(MODES)?;
    scene.source(ZONES)?;
    scene.source("SET sql_generate_invisible_primary_key = ON; CREATE TABLE unkeyed (a INT); INSERT INTO unkeyed VALUES (1), (1), (2)")?;
    compared()?;
    scene.source("UPDATE unkeyed SET a = 3 ORDER BY a LIMIT 1; ALTER TABLE unkeyed ADD b INT; INSERT INTO unkeyed VALUES (1, 1)")?;
    scene.source(MODES_LATER)?;
    scene.source(ZONES_LATER)?;
    compared()?;
    // A statement that depends on a zone which the target does not have.
    let statement = "ALTER TABLE zoned ADD b TIMESTAMP NOT NULL DEFAULT '2020-07-01 00:00:00'";
    scene.source(&format!("{statement}; INSERT INTO zoned (id) VALUES (8)"))?;
    let said = scene.stops(&[
        "SYSTEM",
        "CET",
        "not the same zone",
        "SET PERSIST time_zone",
        statement,
    ])?;
    scene.target(&format!("SET time_zone = '+02:00'; {statement}"))?;
    scene.skip(&said)?;
    source.sql("SET GLOBAL time_zone = '+01:00'")?;
    scene.source("ALTER TABLE zoned ADD c TIMESTAMP NOT NULL DEFAULT '2020-07-01 00:00:00'; INSERT INTO zoned (id) VALUES (9)")?;
    compared()
}
