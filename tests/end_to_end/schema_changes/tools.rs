//! Online schema-change tools: the statements that gh-ost and pt-online-schema-change send, in their order, with rows that go on.

use anyhow::{Context, Result, ensure};

use super::{Scene, Way};
use crate::binferry::refused;

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a INT, KEY (a)); INSERT INTO t (a) VALUES (1), (2), (3), (4)";

/// Rows go to a shadow table by statements of the tool's; at the end the tables change their names at once.
const GH_OST: &[&str] = &[
    "DROP TABLE IF EXISTS `_t_gho`; DROP TABLE IF EXISTS `_t_ghc`; DROP TABLE IF EXISTS `_t_del`",
    "CREATE /* gh-ost */ TABLE `_t_ghc` (id BIGINT AUTO_INCREMENT, last_update TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
       hint VARCHAR(64) CHARSET ascii NOT NULL, value VARCHAR(4096) CHARSET ascii NOT NULL, PRIMARY KEY (id), UNIQUE KEY hint_uidx (hint)) AUTO_INCREMENT=256 COMMENT='gh-ost'",
    "CREATE /* gh-ost */ TABLE `_t_gho` LIKE t",
    "ALTER /* gh-ost */ TABLE `_t_gho` ADD b VARCHAR(9) NOT NULL DEFAULT 'new', MODIFY a BIGINT",
    "INSERT /* gh-ost */ INTO `_t_ghc` (hint, value) VALUES ('state', 'ghost'); UPDATE t SET a = 22 WHERE id = 2",
    "INSERT /* gh-ost */ IGNORE INTO `_t_gho` (id, a) (SELECT id, a FROM t FORCE INDEX (`PRIMARY`) WHERE id <= 2 LOCK IN SHARE MODE); INSERT INTO t (a) VALUES (5)",
    "INSERT /* gh-ost */ IGNORE INTO `_t_gho` (id, a) (SELECT id, a FROM t FORCE INDEX (`PRIMARY`) WHERE id > 2 LOCK IN SHARE MODE); DELETE FROM t WHERE id = 1;
     REPLACE /* gh-ost `shop`.`_t_gho` */ INTO `_t_gho` (id, a) VALUES (5, 5); DELETE /* gh-ost */ FROM `_t_gho` WHERE (id = 1)",
    "CREATE TABLE `_t_del` (id INT AUTO_INCREMENT PRIMARY KEY) COMMENT='ghost-cut-over-sentry'; DROP TABLE IF EXISTS `_t_del`",
    "RENAME /* gh-ost */ TABLE t TO `_t_del`, `_t_gho` TO t; INSERT INTO t (a) VALUES (6)",
    "DROP TABLE IF EXISTS `_t_ghc`; DROP TABLE IF EXISTS `_t_del`; UPDATE t SET b = 'late' WHERE a = 6",
];

/// Triggers carry the rows of the meantime: their changes come as rows, the triggers stay on the source.
const PT_OSC: &[&str] = &[
    "CREATE TABLE `_t_new` (id INT NOT NULL AUTO_INCREMENT, a INT DEFAULT NULL, PRIMARY KEY (id), KEY (a)) ENGINE=InnoDB",
    "ALTER TABLE `_t_new` ADD c INT DEFAULT 3, DROP KEY a",
    "CREATE TRIGGER pt_osc_del AFTER DELETE ON t FOR EACH ROW DELETE IGNORE FROM `_t_new` WHERE id <=> OLD.id;
     CREATE TRIGGER pt_osc_upd AFTER UPDATE ON t FOR EACH ROW REPLACE INTO `_t_new` (id, a) VALUES (NEW.id, NEW.a);
     CREATE TRIGGER pt_osc_ins AFTER INSERT ON t FOR EACH ROW REPLACE INTO `_t_new` (id, a) VALUES (NEW.id, NEW.a)",
    "UPDATE t SET a = 22 WHERE id = 2; INSERT LOW_PRIORITY IGNORE INTO `_t_new` (id, a) SELECT id, a FROM t LOCK IN SHARE MODE /*pt-online-schema-change 1 copy table*/",
    "INSERT INTO t (a) VALUES (5); DELETE FROM t WHERE id = 1",
    "ANALYZE TABLE `_t_new` /* pt-online-schema-change */; RENAME TABLE t TO `_t_old`, `_t_new` TO t",
    "INSERT INTO t (a) VALUES (6); DROP TABLE IF EXISTS `_t_old`; UPDATE t SET c = 4 WHERE a = 6",
    "DROP TRIGGER IF EXISTS pt_osc_del; DROP TRIGGER IF EXISTS pt_osc_upd; DROP TRIGGER IF EXISTS pt_osc_ins",
];

fn followed(purpose: &str, steps: &[&str]) -> Result<()> {
    let scene = Scene::new(purpose, Way::Gtids)?;
    scene.source(TABLE)?;
    for step in steps {
        scene.source(step)?;
        scene.equal().with_context(|| format!("after {step}"))?;
    }
    // And once more, all of it in one go.
    scene.source(&format!("DROP TABLE t; {TABLE}"))?;
    for step in steps {
        scene.source(step)?;
    }
    scene.equal()
}

#[test]
fn gh_ost() -> Result<()> {
    followed("ghost", GH_OST)
}

#[test]
fn pt_online_schema_change() -> Result<()> {
    followed("pt_osc", PT_OSC)
}

/// Shadow tables that are left out: what they held is not in the log, so the cut-over stops.
#[test]
fn a_cut_over_from_outside_the_filter_stops() -> Result<()> {
    let mut scene = Scene::new("outside", Way::Gtids)?;
    scene.pipeline.tables = format!("{0}.*,!{0}.*_gho,!{0}.*_ghc,!{0}.*_del", scene.database);
    scene.source(TABLE)?;
    for step in GH_OST {
        scene.source(step)?;
    }
    let said = refused(
        scene.pipeline.command("run").args(["--until", "now"]),
        3,
        &[
            "RENAME of a captured table",
            "which is captured",
            "_t_del, which is not",
            "binferry skip",
        ],
    )?;
    ensure!(said.contains("RENAME /* gh-ost */ TABLE"), "{said}");
    Ok(())
}
