//! Names that try to be something else, of databases, tables, columns and keys at once: copied, streamed and changed.

use anyhow::Result;
use binferry_servers::pair;

use crate::{
    evolution::dump,
    schema_changes::{Scene, Way, filters::NAMES},
};

#[test]
fn odd_names() -> Result<()> {
    let pair = pair()?;
    let (source, target) = (&pair.source, &pair.target);
    // 64 characters.
    let begins = format!("t{} `o'd.d\" ☃ -- /*", std::process::id());
    let database = format!("{begins:é<64}");
    let quoted = database.replace('`', "``");
    source.sql(&format!("CREATE DATABASE `{quoted}` COLLATE latin1_bin"))?;
    let mut scene = Scene::of(source, target, database.clone(), Way::Gtids)?.copying()?;
    scene.pipeline.stream = "odd `names`".to_owned();
    let each = |text: &str| -> String {
        let names = NAMES.map(|name| name.replace('`', "``"));
        names
            .map(|name| text.replace("NN", &format!("`{name}`")))
            .join(";")
    };
    let compared = || {
        scene.carry()?;
        dump::equal(source, target, std::slice::from_ref(&database))
    };
    scene.source(&each(
        "CREATE TABLE NN (`id` INT, NN VARCHAR(20) CHARACTER SET utf8mb4 DEFAULT '😀' COMMENT '😀''\\\\', e ENUM('☃', '`') CHARACTER SET utf8mb4,
           u INT, PRIMARY KEY NN (`id`, NN), UNIQUE KEY NN (u), CONSTRAINT NN CHECK (NN <> '☃'), INDEX e ((CONCAT(NN, '`'))));
         INSERT INTO NN VALUES (1, '😀', '☃', 1), (2, '`', '`', 2), (3, '\\'\"\\\\', NULL, NULL)",
    ))?;
    compared()?;
    scene.source(&each(
        "UPDATE NN SET NN = '😀😀', u = 7 WHERE `id` = 1; DELETE FROM NN WHERE `id` = 2; INSERT INTO NN VALUES (4, '', '☃', 2);
         ALTER TABLE NN CHANGE NN `other ``name` VARCHAR(30) CHARACTER SET utf8mb4 NOT NULL DEFAULT '`', ADD NN INT, DROP KEY e, DROP CHECK NN",
    ))?;
    compared()?;
    scene.source(&each("INSERT INTO NN (`id`, NN, e) VALUES (5, 5, '☃'); ALTER TABLE NN RENAME TO `x 'y`; UPDATE `x 'y` SET u = 9 WHERE `id` = 5; ALTER TABLE `x 'y` RENAME TO NN"))?;
    compared()?;
    source.sql(&format!("DROP DATABASE `{quoted}`"))?;
    scene.carry()?;
    let left = target.rows(&format!(
        "SHOW DATABASES WHERE `Database` LIKE 't{} %'",
        std::process::id()
    ))?;
    anyhow::ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
