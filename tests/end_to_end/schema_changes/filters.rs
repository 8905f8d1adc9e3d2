//! Statements that name captured tables and others, odd names, and names without case.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, database};

use super::{Scene, Way};
use crate::{binferry::Pipeline, judge};

#[test]
fn captured_tables_and_others() -> Result<()> {
    let mut scene = Scene::new("border", Way::Gtids)?;
    let database = scene.database.clone();
    scene.pipeline.tables = format!("{database}.in*");
    scene.source(
        "CREATE TABLE in1 (id INT PRIMARY KEY); CREATE TABLE out1 (id INT PRIMARY KEY); CREATE TABLE in2 LIKE in1; CREATE TABLE out2 LIKE out1;
         INSERT INTO in1 VALUES (1); INSERT INTO out1 VALUES (1); INSERT INTO in2 VALUES (2)",
    )?;
    scene.carry()?;
    // The target has one of the others by itself: nothing may happen to it.
    scene.target("CREATE TABLE out2 (its INT PRIMARY KEY); INSERT INTO out2 VALUES (7)")?;
    scene.source(
        "DROP TABLE out2, in2; RENAME TABLE out1 TO out3, in1 TO in3; ALTER TABLE out3 ADD a INT; TRUNCATE out3; INSERT INTO in3 VALUES (3);
         CREATE DATABASE IF NOT EXISTS in_another; CREATE TABLE in_another.in1 (id INT); DROP DATABASE in_another; ALTER TABLE in3 ADD a INT",
    )?;
    scene.carry()?;
    ensure!(
        scene.target.value(&format!("SELECT GROUP_CONCAT(table_name ORDER BY 1) FROM information_schema.tables WHERE table_schema = '{database}'"))?
            == "in3,out2"
    );
    ensure!(
        scene
            .target
            .value(&format!("SELECT its FROM `{database}`.out2"))?
            == "7"
    );
    ensure!(
        scene.target.value(&format!(
            "SELECT GROUP_CONCAT(id ORDER BY id) FROM `{database}`.in3"
        ))? == "1,3"
    );
    // What can't be divided.
    for (statement, says) in [
        ("RENAME TABLE in3 TO out9", "out9, which is not"),
        ("ALTER TABLE out9 RENAME TO in4", "which is not captured"),
        ("CREATE TABLE in5 LIKE out3", "takes its definition from"),
    ] {
        scene.source(statement)?;
        let said = scene.stops(&[says, statement, "binferry skip --gtid"])?;
        scene.skip(&said)?;
    }
    scene.source("DROP DATABASE IF EXISTS nothing_there")?;
    scene.carry()
}

#[test]
fn databases() -> Result<()> {
    let scene = Scene::new("whole", Way::Gtids)?;
    let other = format!("{} `odd` é☃ \"x\"", scene.database);
    let quoted = other.replace('`', "``");
    let user = super::NAMING_USER;
    scene
        .target
        .sql(&format!("GRANT ALL ON `{quoted}`.* TO {user}@'%'"))?;
    let mut both = scene;
    both.pipeline.tables = format!("{0}.*,`{quoted}`.*", both.database);
    both.source(&format!(
        "CREATE DATABASE `{quoted}` CHARACTER SET latin1; CREATE TABLE `{quoted}`.`t 1` (id INT PRIMARY KEY, a VARCHAR(9)); INSERT INTO `{quoted}`.`t 1` VALUES (1, 'ä');
         CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1); ALTER DATABASE `{quoted}` CHARACTER SET utf8mb4"
    ))?;
    both.equal()?;
    judge::same_definitions(both.source, both.target, &other)?;
    let rows = |server: &MySql| server.value(&format!("SELECT HEX(a) FROM `{quoted}`.`t 1`"));
    ensure!(rows(both.source)? == rows(both.target)?);
    both.source(&format!("DROP DATABASE `{quoted}`"))?;
    both.equal()?;
    let there = both
        .target
        .rows(&format!("SHOW DATABASES LIKE '%{}%odd%'", both.database))?;
    ensure!(there.is_empty(), "{there:?}");
    Ok(())
}

/// Names that try to be something else. (None has a character outside of Unicode's first plane: no server takes one.)
pub const NAMES: [&str; 16] = [
    "a b",
    "a.b",
    "a`b",
    "a'b",
    "a\"b",
    "a\\b",
    "a--b",
    "/* a */",
    "#a",
    "1e5",
    "select",
    "größe",
    "日本 ☃",
    "%",
    "a;b",
    "éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé",
];

/// Each changed, renamed and dropped.
#[test]
fn odd_names() -> Result<()> {
    let scene = Scene::new("names", Way::Gtids)?;
    for name in NAMES {
        let name = name.replace('`', "``");
        scene.source(&format!(
            "CREATE TABLE `{name}` (id INT PRIMARY KEY, `{name}` VARCHAR(20) DEFAULT '😀' COMMENT '😀''\\\\'); INSERT INTO `{name}` (id) VALUES (1);
             ALTER TABLE `{name}` ADD `x{}y` INT, ADD KEY `{name}` (`{name}`); INSERT INTO `{name}` (id) VALUES (2);
             RENAME TABLE `{name}` TO other; TRUNCATE other; RENAME TABLE other TO `{name}`; INSERT INTO `{name}` (id) VALUES (3)",
            name.chars().take(5).filter(|c| *c != '`').collect::<String>()
        ))?;
    }
    let compared = || -> Result<()> {
        scene.carry()?;
        judge::same_definitions(scene.source, scene.target, &scene.database)?;
        for name in NAMES {
            let ask = format!(
                "SELECT * FROM `{}`.`{}`",
                scene.database,
                name.replace('`', "``")
            );
            ensure!(
                scene.source.rows(&ask)? == scene.target.rows(&ask)?,
                "{name}"
            );
        }
        Ok(())
    };
    compared()?;
    // `sql_mode` decides what quotes mean.
    scene.source("SET sql_mode = 'ANSI_QUOTES'; ALTER TABLE \"a\"\"b\" ADD \"c\"\"d\" INT; DROP INDEX \"a\"\"b\" ON \"a\"\"b\"")?;
    compared()?;
    let all: Vec<_> = NAMES
        .iter()
        .map(|name| format!("`{}`", name.replace('`', "``")))
        .collect();
    scene.source(&format!(
        "DROP TABLE {}; CREATE TABLE last (id INT PRIMARY KEY)",
        all.join(",")
    ))?;
    scene.equal()
}

/// On servers whose names have no case, neither have the patterns.
#[test]
fn names_without_case() -> Result<()> {
    let start = || {
        let builder = MySql::builder().release(Release::MariaDb11_8);
        builder.arg("--lower-case-table-names=1").start()
    };
    let (source, target) = (start()?, start()?);
    let database = database([&source, &target], "case")?;
    let mut scene = Scene::of(&source, &target, database, Way::Definitions)?;
    scene.pipeline.tables = format!(
        "{}.*,!{}.TMP_*",
        scene.database.to_uppercase(),
        scene.database
    );
    scene.source(
        "CREATE TABLE Orders (Id INT PRIMARY KEY); INSERT INTO ORDERS VALUES (1); ALTER TABLE oRDERS ADD a INT; CREATE TABLE tmp_X (id INT); INSERT INTO TMP_x VALUES (1);
         RENAME TABLE Orders TO Items; INSERT INTO items VALUES (2, 2); DROP TABLE Tmp_X",
    )?;
    scene.equal()?;
    // Where names have a case, so have the patterns.
    let pair = binferry_servers::pair()?;
    let name = pair.database("cased")?;
    let mut pipeline = Pipeline::new(&pair.source, &pair.target, &name)?;
    pipeline.tables = format!("{}.*", name.to_uppercase());
    pair.source.sql(&format!(
        "CREATE TABLE `{name}`.t (id INT PRIMARY KEY); INSERT INTO `{name}`.t VALUES (1)"
    ))?;
    pipeline.catch_up()?;
    ensure!(pipeline.tail()?.is_empty());
    Ok(())
}
