//! What statements are taken for.

use super::*;
use crate::decode::XaVerb;

fn event(statement: &str, sql_mode: u64) -> Vec<u8> {
    let mut body = vec![0; 8];
    body.push(4);
    body.extend_from_slice(&[0, 0, 16, 0, 1]);
    body.extend_from_slice(&sql_mode.to_le_bytes());
    // utf8mb4 client.
    body.extend_from_slice(&[4, 255, 0, 255, 0, 255, 0]);
    body.extend_from_slice(b"shop\0");
    body.extend_from_slice(statement.as_bytes());
    body
}

fn of(statement: &str) -> Statement {
    by(statement, false)
}

fn by(statement: &str, mariadb: bool) -> Statement {
    let body = event(statement, 0);
    classify(&crate::decode::query::parse(&body).unwrap(), mariadb).unwrap()
}

#[track_caller]
pub(super) fn definition(statement: &str, mariadb: bool) -> Definition {
    match by(statement, mariadb) {
        Statement::Definition(definition) => *definition,
        other => panic!("{statement}: {other:?}"),
    }
}

#[track_caller]
fn check(statement: &str, effect: DdlEffect, tables: &[&str]) {
    check_by(statement, false, effect, tables);
}

#[track_caller]
fn check_mariadb(statement: &str, effect: DdlEffect, tables: &[&str]) {
    check_by(statement, true, effect, tables);
}

#[track_caller]
fn check_by(statement: &str, mariadb: bool, effect: DdlEffect, tables: &[&str]) {
    let Definition {
        effect: found,
        tables: names,
        rows_follow,
        ..
    } = definition(statement, mariadb);
    let names: Vec<_> = names.iter().map(|(d, t)| format!("{d}.{t}")).collect();
    assert_eq!(
        (found, &names[..]),
        (
            effect,
            &tables.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
        ),
        "{statement}"
    );
    assert!(!rows_follow);
}

#[test]
fn transactions() {
    assert_eq!(of("BEGIN"), Statement::Begin);
    assert_eq!(of(" start transaction"), Statement::Begin);
    assert_eq!(of("COMMIT /* xid=1 */"), Statement::Commit);
    assert_eq!(of("SAVEPOINT `a`"), Statement::Savepoint);
    assert!(matches!(
        of("XA COMMIT X'01',X'',1"),
        Statement::Xa(XaVerb::Commit, _)
    ));
    for (statement, whole) in [
        ("ROLLBACK", true),
        ("ROLLBACK /* x */ WORK AND CHAIN", true),
        ("ROLLBACK TO `a`", false),
        ("rollback work to savepoint `a`", false),
    ] {
        assert_eq!(of(statement), Statement::Rollback { whole });
    }
    let body = event("XA COMMIT X'01'", 0);
    assert!(classify(&crate::decode::query::parse(&body).unwrap(), false).is_err());
}

#[test]
fn settings_of_one_statement() {
    use DdlEffect::*;
    for statement in [
        "set statement max_statement_time=100 for truncate table o.t",
        "SET STATEMENT sql_mode='FOR', x=IF(1 FOR 2, 3) FOR TRUNCATE o.t",
        "SET STATEMENT x = NEXT VALUE FOR s FOR TRUNCATE o.t",
        "SET STATEMENT x=1 FOR /* y */ SET STATEMENT y=2 FOR TRUNCATE o.t",
        "/*M!100100 SET STATEMENT x=1 FOR */ TRUNCATE o.t",
    ] {
        check_mariadb(statement, Truncate, &["o.t"]);
        check(statement.trim_start_matches("/*M!100100 "), None, &[]);
    }
    for secret in [
        "SET STATEMENT x=1 FOR CREATE USER a@b IDENTIFIED BY 'pw'",
        "SET STATEMENT x=NEXT VALUE FOR s FOR ALTER USER a@b IDENTIFIED BY 'pw'",
        "SET STATEMENT x=1 FOR SET PASSWORD FOR a@b = PASSWORD('pw')",
        "SET STATEMENT x=1 FOR SET STATEMENT y=1 FOR GRANT ALL ON *.* TO a IDENTIFIED BY 'pw'",
        "SET STATEMENT x=1 FOR CREATE OR REPLACE SERVER s OPTIONS (PASSWORD 'pw')",
    ] {
        check_mariadb(secret, None, &[]);
    }
    check_mariadb("SET STATEMENT x=1", Unknown, &[]);
    check_mariadb("SET STATEMENT x=1 FOR FROBNICATE", Unknown, &[]);
    let change = Statement::Change {
        verb: "INSERT shop.t".into(),
        tables: vec![],
    };
    assert_eq!(by("SET STATEMENT x=1 FOR INSERT t SET a=1", true), change);
    // As deep as a packet is long.
    let nested = "SET STATEMENT x=1 FOR ".repeat(200_000) + "TRUNCATE t";
    check_mariadb(&nested, Truncate, &["shop.t"]);
}

#[test]
fn what_only_mariadb_has() {
    use DdlEffect::*;
    check_mariadb("/*M!100100 truncate table t */", Truncate, &["shop.t"]);
    check("/*M!100100 truncate table t */", None, &[]);
    let dropped = "alter table t /*M!100100 drop partition p0 */";
    check_mariadb(dropped, Truncate, &["shop.t"]);
    check(dropped, Define, &["shop.t"]);
    for wait in ["WAIT 5", "wait 1.5", "WAIT +.5", "WAIT 0x1", "NOWAIT"] {
        for action in [
            "DROP PARTITION p0",
            "TRUNCATE PARTITION IF EXISTS p1",
            "IMPORT TABLESPACE",
            "ADD c int, DROP SYSTEM VERSIONING",
        ] {
            let statement = format!("ALTER ONLINE TABLE IF EXISTS t {wait} {action}");
            check_mariadb(&statement, Truncate, &["shop.t"]);
        }
        check_mariadb(
            &format!("RENAME TABLE a {wait} TO b, o.c {wait} TO o.d"),
            Rename,
            &["shop.a", "shop.b", "o.c", "o.d"],
        );
        check_mariadb(&format!("TRUNCATE t {wait}"), Truncate, &["shop.t"]);
        check_mariadb(
            &format!("DROP TABLE t, u {wait}"),
            Drop,
            &["shop.t", "shop.u"],
        );
        check_mariadb(
            &format!("ALTER TABLE t {wait} ADD c int"),
            Define,
            &["shop.t"],
        );
    }
    check_mariadb(
        "ALTER TABLE t DROP SYSTEM VERSIONING",
        Truncate,
        &["shop.t"],
    );
    check_mariadb("ALTER TABLE t ADD SYSTEM VERSIONING", Define, &["shop.t"]);
    check(
        "ALTER TABLE t DROP system, DROP versioning",
        Define,
        &["shop.t"],
    );
    check_mariadb("ALTER IGNORE TABLE t ADD UNIQUE (v)", Truncate, &["shop.t"]);
    check_mariadb(
        "ALTER ONLINE IGNORE TABLE t RENAME u",
        Rename,
        &["shop.t", "shop.u"],
    );
}

#[test]
fn sequences_and_packages() {
    use DdlEffect::*;
    check_mariadb("create sequence if not exists o.`s`", Define, &["o.s"]);
    check_mariadb("CREATE OR REPLACE SEQUENCE s", Drop, &["shop.s"]);
    check_mariadb("ALTER SEQUENCE IF EXISTS s RESTART", Define, &["shop.s"]);
    let dropped = "DROP SEQUENCE IF EXISTS `s`,`o`.`u` /* generated by server */";
    check_mariadb(dropped, Define, &["shop.s", "o.u"]);
    for statement in [
        "create temporary sequence s",
        "DROP TEMPORARY SEQUENCE IF EXISTS `d`.`s`",
        "CREATE DEFINER=\"\" PACKAGE \"p\" as function f return int; end",
        "CREATE OR REPLACE DEFINER=`a`@`b` PACKAGE BODY p AS BEGIN DROP TABLE t; END",
        "drop package body if exists p",
        "DROP PACKAGE p",
    ] {
        check_mariadb(statement, None, &[]);
    }
}

#[test]
fn a_change_may_touch_what_the_server_says() {
    let mut body = event("UPDATE t SET a = 1", 0);
    // Behind the character sets: two databases, "a" and "b".
    let at = 13 + 16;
    body.splice(at..at, *b"\x0c\x02a\0b\0");
    body[11] += 6;
    let Statement::Change { verb, tables } =
        classify(&crate::decode::query::parse(&body).unwrap(), false).unwrap()
    else {
        panic!("a change");
    };
    assert_eq!(verb, "UPDATE shop.t");
    let all = |database: &str| (database.to_owned(), ALL_TABLES.to_owned());
    assert_eq!(tables, [all("a"), all("b")]);
}

#[test]
fn a_table_called_as_all_tables() {
    let obstacle = |statement: &str| definition(statement, false).obstacle.is_some();
    for statement in [
        "DROP TABLE `*`, t",
        "RENAME TABLE t TO shop.`*`",
        "ALTER TABLE `*` ADD a INT",
        "CREATE DATABASE `*`",
    ] {
        assert!(obstacle(statement), "{statement}");
    }
    for statement in [
        "DROP DATABASE shop",
        "ALTER TABLE t ADD `*` INT",
        "DROP TABLE `**`",
        "CREATE TABLE t (a INT DEFAULT (3 * 4))",
    ] {
        assert!(!obstacle(statement), "{statement}");
    }
}

#[test]
fn definitions() {
    use DdlEffect::*;
    check(
        "CREATE TABLE t (a int, b varchar(9) DEFAULT 'x, RENAME TO y')",
        Define,
        &["shop.t"],
    );
    check(
        "create table if not exists `a b`.`c``d` like x",
        Define,
        &["a b.c`d"],
    );
    check("CREATE TEMPORARY TABLE t (a int)", None, &[]);
    check("CREATE OR REPLACE TABLE t (a int)", Drop, &["shop.t"]);
    check(
        "CREATE UNIQUE INDEX i USING btree ON o.t (a)",
        Define,
        &["o.t"],
    );
    check("DROP INDEX `PRIMARY` ON t", Define, &["shop.t"]);
    check(
        "ALTER TABLE t ADD COLUMN truncate int, RENAME COLUMN a TO b, rename index x to y",
        Define,
        &["shop.t"],
    );
    check(
        "ALTER TABLE t ADD c int DEFAULT (1), RENAME TO d.u",
        Rename,
        &["shop.t", "d.u"],
    );
    check("ALTER TABLE t RENAME u", Rename, &["shop.t", "shop.u"]);
    check("ALTER TABLE t DROP PARTITION p0, p1", Truncate, &["shop.t"]);
    check(
        "ALTER TABLE t TRUNCATE PARTITION ALL",
        Truncate,
        &["shop.t"],
    );
    check(
        "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE o.u",
        Truncate,
        &["shop.t", "o.u"],
    );
    check("ALTER TABLE t IMPORT TABLESPACE", Truncate, &["shop.t"]);
    check(
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
        Define,
        &["shop.t"],
    );
    check(
        "ALTER TABLE t DROP COLUMN a /*!50100 PARTITION BY HASH (b) */",
        Define,
        &["shop.t"],
    );
    check(
        "DROP TABLE IF EXISTS `t`,`o`.`u` /* generated by server */",
        Drop,
        &["shop.t", "o.u"],
    );
    check("DROP TEMPORARY TABLE IF EXISTS t", None, &[]);
    check("DROP DATABASE IF EXISTS shop", Drop, &["shop.*"]);
    check("CREATE DATABASE shop", Define, &["shop.*"]);
    check("create schema if not exists `a b`", Define, &["a b.*"]);
    check("ALTER DATABASE CHARACTER SET utf8mb4", Define, &["shop.*"]);
    check("ALTER SCHEMA o COLLATE utf8mb4_bin", Define, &["o.*"]);
    check("TRUNCATE t", Truncate, &["shop.t"]);
    check("truncate table `o`.t", Truncate, &["o.t"]);
    check(
        "RENAME TABLE a TO b, o.c TO o.d",
        Rename,
        &["shop.a", "shop.b", "o.c", "o.d"],
    );
    check("/* x */ -- y\nDROP /*!40000 TABLE */ t", Drop, &["shop.t"]);
}

#[test]
fn what_holds_no_rows() {
    for statement in [
        "CREATE ALGORITHM=UNDEFINED DEFINER=`root`@`%` SQL SECURITY DEFINER VIEW v AS SELECT 1",
        "CREATE DEFINER=CURRENT_USER() TRIGGER x BEFORE INSERT ON t FOR EACH ROW DELETE FROM u",
        "CREATE DEFINER=`a`@`b` PROCEDURE p() BEGIN DROP TABLE t; END",
        "ALTER ALGORITHM=MERGE VIEW v AS SELECT 2",
        "DROP VIEW v",
        "DROP TRIGGER shop.x",
        "CREATE USER 'a'@'b' IDENTIFIED WITH 'caching_sha2_password' AS 'x'",
        "GRANT ALL ON *.* TO 'a'@'b'",
        "ANALYZE TABLE t",
        "FLUSH PRIVILEGES",
        "CREATE SPATIAL REFERENCE SYSTEM 4120 NAME 'x' DEFINITION 'y'",
        "RENAME USER a TO b",
    ] {
        check(statement, DdlEffect::None, &[]);
    }
}

#[test]
fn what_is_not_understood_may_touch_anything() {
    for statement in [
        "FROBNICATE TABLE t",
        "CREATE THING x",
        "DROP TABLE 't",
        "DROP TABLE",
        "IMPORT TABLE FROM 'x'",
        "ALTER INDEX i",
    ] {
        check(statement, DdlEffect::Unknown, &[]);
    }
}

#[test]
fn rows_by_statement() {
    for (statement, verb) in [
        ("INSERT IGNORE INTO t VALUES (1)", "INSERT shop.t"),
        ("UPDATE o.t SET a = 1", "UPDATE o.t"),
        ("DELETE FROM t", "DELETE shop.t"),
        ("LOAD DATA INFILE 'x' INTO TABLE `t`", "LOAD shop.t"),
        ("SELECT f()", "SELECT"),
        ("ANALYZE FORMAT=JSON UPDATE t SET a = 1", "UPDATE shop.t"),
        ("analyze delete from t", "DELETE shop.t"),
        (
            "CREATE TABLE t (a int) AS SELECT 1",
            "CREATE TABLE shop.t … SELECT",
        ),
        ("CREATE TABLE t AS TABLE u", "CREATE TABLE shop.t … SELECT"),
    ] {
        assert_eq!(
            of(statement),
            Statement::Change {
                verb: verb.into(),
                tables: vec![]
            }
        );
    }
    assert_eq!(
        of("CREATE TABLE `t` (\n  `a` int\n) START TRANSACTION"),
        Statement::from(Definition {
            rows_follow: true,
            plain: Some("CREATE TABLE `t` (\n  `a` int\n)  ".into()),
            ..Definition::new(DdlEffect::Define, vec![("shop".into(), "t".into())])
        })
    );
}

#[test]
fn quotes_follow_the_mode() {
    let body = event("DROP TABLE \"t\"", 4);
    let statement = classify(&crate::decode::query::parse(&body).unwrap(), false).unwrap();
    assert_eq!(
        statement,
        Statement::from(Definition {
            form: Form::Drop { if_exists: false },
            ..Definition::new(DdlEffect::Drop, vec![("shop".into(), "t".into())])
        })
    );
    check("DROP TABLE \"t\"", DdlEffect::Unknown, &[]);
}

#[test]
fn what_can_be_divided() {
    for (statement, form) in [
        ("DROP TABLE a, b", Form::Drop { if_exists: false }),
        (
            "DROP TABLE IF EXISTS `a`,`b` /* generated by server */",
            Form::Drop { if_exists: true },
        ),
        ("DROP TABLE a RESTRICT", Form::Drop { if_exists: false }),
        ("DROP TABLE a, b FOR ALL", Form::Whole),
        ("RENAME TABLE a TO b, c TO d", Form::Rename),
        ("RENAME TABLE a TO b FINALLY", Form::Whole),
        ("ALTER TABLE a RENAME b", Form::Whole),
        ("DROP DATABASE a", Form::Whole),
    ] {
        assert_eq!(definition(statement, false).form, form, "{statement}");
    }
    let like = |statement| definition(statement, false).like;
    let table = || Some(("shop".to_owned(), "b".to_owned()));
    assert_eq!(like("CREATE TABLE IF NOT EXISTS a LIKE b"), table());
    assert_eq!(like("CREATE TABLE a (LIKE shop.b)"), table());
    assert_eq!(like("CREATE TABLE a (b INT)"), None);
}

#[test]
fn what_cannot_be_run_elsewhere() {
    for (statement, is) in [
        ("ALTER TABLE t IMPORT TABLESPACE", true),
        ("ALTER IGNORE TABLE t ADD UNIQUE (a)", true),
        ("ALTER TABLE t ADD u CHAR(36) DEFAULT (uuid())", true),
        ("ALTER TABLE t ADD u CHAR(99) DEFAULT CURRENT_USER", true),
        ("ALTER TABLE t ADD n INT DEFAULT (NEXT VALUE FOR s)", true),
        ("ALTER TABLE t ALTER u SET DEFAULT (uuid())", false),
        ("ALTER TABLE t ADD KEY (user(10))", false),
        ("ALTER TABLE t ADD `uuid` INT, ADD rand INT", false),
        ("ALTER TABLE t ADD c DATETIME DEFAULT NOW()", false),
    ] {
        let found = definition(statement, false).obstacle;
        assert_eq!(found.is_some(), is, "{statement}: {found:?}");
    }
    for (statement, is) in [
        ("ALTER TABLE t ADD id INT AUTO_INCREMENT PRIMARY KEY", true),
        (
            "ALTER TABLE t ADD (id INT NOT NULL auto_increment UNIQUE)",
            true,
        ),
        ("ALTER TABLE t AUTO_INCREMENT = 5", false),
        ("ALTER TABLE t AUTO_INCREMENT 5", false),
        ("ALTER TABLE t ADD `auto_increment` INT", false),
    ] {
        assert_eq!(definition(statement, false).numbers_rows, is, "{statement}");
    }
    for (statement, plain) in [
        ("DROP /*!40000 TABLE */ t", "DROP   TABLE   t"),
        (
            "CREATE TABLE t (a INT /*!80023 INVISIBLE */) START TRANSACTION COMMENT='START TRANSACTION'",
            "CREATE TABLE t (a INT   INVISIBLE  )   COMMENT='START TRANSACTION'",
        ),
    ] {
        let found = definition(statement, false).plain;
        assert_eq!(found.as_deref(), Some(plain));
    }
}
