//! Copies out of MariaDB: what is another there than on MySQL.

use anyhow::{Result, ensure};
use binferry_servers::{MySql, Release, database, mariadb, pair};

use super::{alone, live, requests, same, two, under_load};
use crate::{
    mariadb::{COLUMNS, NEWER},
    schema_changes::{Scene, Way},
    types,
};

const RELEASES: [Release; 2] = [Release::MariaDb10_11, Release::MariaDb11_8];

/// (column definition, values): MariaDB's, and those of MySQL's that it knows.
fn columns(release: Release) -> Vec<(&'static str, &'static [&'static str])> {
    let newer = match release {
        Release::MariaDb11_8 => NEWER,
        _ => &[],
    };
    let unknown = ["JSON", "VECTOR", "POINT", "GEOMETRY"];
    let shared = (types::COLUMNS.iter().copied())
        .filter(|(definition, _)| !unknown.iter().any(|word| definition.starts_with(word)));
    let own = (COLUMNS.iter().chain(newer)).map(|(definition, _, values)| (*definition, *values));
    own.chain(shared)
        .chain(GEOMETRIES.iter().copied())
        .collect()
}

const GEOMETRIES: &[(&str, &[&str])] = &[
    (
        "GEOMETRY",
        &[
            "ST_GeomFromText('POINT(1 2)')",
            "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 4326)",
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')",
        ],
    ),
    (
        "GEOMETRYCOLLECTION",
        &["ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')"],
    ),
];

/// A value comes out of a SELECT as it comes out of the binlog; so do columns that are computed or hidden.
#[test]
fn every_type_is_read_as_the_binlog_has_it() -> Result<()> {
    for release in RELEASES {
        let (source, target) = (mariadb(release)?, &pair()?.target);
        let database = database([source, target], "copy_types")?;
        let (stream, copy) = two(source, target, &database)?;
        let mut script = format!(
            "SET NAMES utf8mb4; ALTER DATABASE `{database}` CHARACTER SET utf8mb4; USE `{database}`; SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+02:00'"
        );
        for (n, (definition, values)) in columns(release).iter().enumerate() {
            script += &format!(
                "; CREATE TABLE t{n} (id INT PRIMARY KEY, v {definition}, h INT INVISIBLE, g INT AS (id + 1) VIRTUAL, s INT AS (id + 2) STORED);
                 INSERT INTO t{n} (id) VALUES (0)"
            );
            for (id, value) in values.iter().enumerate() {
                script += &format!("; INSERT INTO t{n} (id, v) VALUES ({}, {value})", id + 1);
            }
        }
        // Columns that are computed and indexed, periods, keys that nobody is to use.
        script += "; CREATE TABLE computed (id INT PRIMARY KEY, x INT AS (id * 2) VIRTUAL, y INT AS (id + x) PERSISTENT, KEY (x)); INSERT INTO computed (id) VALUES (1), (2);
            CREATE TABLE labelled (id INT PRIMARY KEY, v ENUM('a\\\\b', 'c\\nd', 'it''s', '', '\u{20ac}', '\"', '`'), w SET('\\\\', '''', 'a b') CHARACTER SET latin1);
            INSERT INTO labelled VALUES (1, 1, 1), (2, 2, 2), (3, 3, 7), (4, 4, 0), (5, 5, NULL), (6, 6, 4), (7, 7, 5);
            CREATE TABLE single (v VARCHAR(30) NOT NULL UNIQUE, n INT, u INT NOT NULL UNIQUE); INSERT INTO single VALUES ('a', 1, 1), ('b', 2, 2);
            CREATE TABLE checked (id INT PRIMARY KEY, v INT CHECK (v > 0), d DATE DEFAULT (CURRENT_DATE + INTERVAL 1 DAY), t TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);
            INSERT INTO checked (id, v) VALUES (1, 1);
            CREATE TABLE periods (id INT, f DATE, u DATE, PERIOD FOR p(f, u), UNIQUE (id, p WITHOUT OVERLAPS)); INSERT INTO periods VALUES (1, '2026-01-01', '2026-02-01');
            CREATE TABLE ignored (a INT NOT NULL, b VARCHAR(20), PRIMARY KEY (b(3)), UNIQUE (a) IGNORED); INSERT INTO ignored VALUES (1, 'b')";
        source.sql(&script)?;
        let found = same(source, &stream, &copy)?;
        ensure!(found.jobs_done == 1 && found.given_up == 0);
    }
    Ok(())
}

/// The information schema's names of collations lead to the numbers that the binlog has.
#[test]
fn every_collation_is_known_by_its_number() -> Result<()> {
    for release in RELEASES {
        let (source, target) = (mariadb(release)?, &pair()?.target);
        let database = database([source, target], "copy_collations")?;
        let (stream, copy) = two(source, target, &database)?;
        let collations = source.rows(
            "SELECT CHARACTER_SET_NAME, FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY
             WHERE CHARACTER_SET_NAME <> 'binary' ORDER BY ID",
        )?;
        ensure!(collations.len() > 200, "{}", collations.len());
        let mut script = format!("USE `{database}`");
        for (n, some) in collations.chunks(200).enumerate() {
            let columns = some.iter().enumerate().map(|(at, row)| {
                let text = |column: usize| row[column].as_deref().unwrap_or_default();
                format!(
                    ", c{at} VARCHAR(3) CHARACTER SET {} COLLATE {}",
                    text(0),
                    text(1)
                )
            });
            let columns: String = columns.collect();
            script += &format!(
                "; CREATE TABLE t{n} (id INT PRIMARY KEY{columns}); INSERT INTO t{n} (id, c0) VALUES (1, 'x')"
            );
        }
        source.sql(&script)?;
        same(source, &stream, &copy)?;
    }
    Ok(())
}

/// Every type that can be a key is gone through in the order of its server, in small steps.
#[test]
fn every_key_is_cut() -> Result<()> {
    for release in RELEASES {
        let (source, target) = (mariadb(release)?, &pair()?.target);
        let database = database([source, target], "copy_keys")?;
        let (stream, copy) = two(source, target, &database)?;
        let mut script = format!(
            "SET NAMES utf8mb4; ALTER DATABASE `{database}` CHARACTER SET utf8mb4; USE `{database}`; SET SESSION sql_mode = 'ALLOW_INVALID_DATES'"
        );
        let filler = "REPEAT('x', 400000)";
        for (n, (definition, values)) in columns(release).iter().enumerate() {
            let unfit = [
                "TEXT",
                "BLOB",
                "JSON",
                "GEOM",
                "POINT",
                "VECTOR",
                "COMPRESSED",
            ];
            if unfit.iter().any(|word| definition.contains(word)) {
                continue;
            }
            let definition = definition.replace(" NULL", "");
            script += &format!(
                "; CREATE TABLE k{n} (v {definition}, w INT, f MEDIUMTEXT, PRIMARY KEY (v, w))"
            );
            for value in *values {
                for w in 0..2 {
                    script += &format!("; INSERT IGNORE INTO k{n} VALUES ({value}, {w}, {filler})");
                }
            }
        }
        // Ordered by the time in them, of which their text begins with the least part.
        script += &format!(
            "; CREATE TABLE uuids (v UUID PRIMARY KEY, f MEDIUMTEXT);
             INSERT INTO uuids SELECT CONCAT(HEX(255 - seq), '4e4567-e89b-1', HEX(256 + seq), '-a456-426655440000'), {filler} FROM seq_1_to_20"
        );
        source.sql(&script)?;
        same(source, &stream, &copy)?;
    }
    Ok(())
}

#[test]
fn under_load_and_kills_a_copy_is_exact() -> Result<()> {
    for release in RELEASES {
        under_load(mariadb(release)?, &pair()?.target)?;
    }
    Ok(())
}

/// InnoDB shows an XA transaction some time after the binlog has its XA COMMIT.
#[test]
fn xa_transactions_across_windows_and_purged_binlogs() -> Result<()> {
    for release in RELEASES {
        alone::xa_transactions(&MySql::builder().release(release).start()?)?;
    }
    Ok(())
}

/// From one line to the other.
fn scenes(purpose: &str) -> Result<[Scene<'static>; 2]> {
    let scene = |source, target| -> Result<Scene<'static>> {
        Scene::on(
            mariadb(source)?,
            mariadb(target)?,
            purpose,
            Way::Definitions,
        )?
        .copying()
    };
    let [older, newer] = RELEASES;
    Ok([scene(older, newer)?, scene(newer, older)?])
}

#[test]
fn definitions_change_in_the_middle_of_the_copy() -> Result<()> {
    scenes("copy_statements")?
        .iter()
        .try_for_each(live::definitions_change)
}

#[test]
fn images_lack_columns_in_the_middle_of_the_copy() -> Result<()> {
    const IMAGES: [&str; 3] = [
        "binlog_row_image = MINIMAL",
        "binlog_row_image = NOBLOB",
        "binlog_row_image = FULL",
    ];
    (scenes("copy_images")?.iter()).try_for_each(|scene| live::images_lack_columns(scene, &IMAGES))
}

#[test]
fn a_lock_on_a_table_holds_up_nothing_else() -> Result<()> {
    scenes("copy_locked")?
        .iter()
        .try_for_each(live::a_lock_on_a_table)
}

#[test]
fn tables_are_copied_again_and_added() -> Result<()> {
    scenes("copy_requests")?
        .into_iter()
        .try_for_each(requests::again_and_added)
}
