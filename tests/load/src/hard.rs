//! Transactions that are hard to carry: unique values that rows exchange, primary keys that move along, rows that go and come back within a
//! transaction, REPLACE, keys that are equal by collation alone, NULLs in unique keys, rows without a key, foreign keys in each direction.

use crate::{Ends, Load, Random, Transaction};

/// `{blind}` is a collation that is blind to case.
pub const TABLES: &str = "
CREATE TABLE item (id INT PRIMARY KEY, code INT UNIQUE, label VARCHAR(40), price DECIMAL(10,2), at DATETIME(3), KEY (label));
CREATE TABLE nokey (a INT, b VARCHAR(20));
CREATE TABLE pair (a INT, b VARCHAR(10) COLLATE {blind}, v INT NOT NULL, PRIMARY KEY (a, b), UNIQUE KEY (v));";

/// More of them, for those who want foreign keys and more than one unique key: without cascades, which servers before 9.6 don't log.
pub const FAMILY: &str = "
CREATE TABLE person (
  id INT PRIMARY KEY, name VARCHAR(20) COLLATE {blind} NOT NULL, seat INT, room INT, UNIQUE KEY (name), UNIQUE KEY (seat), UNIQUE KEY (room, seat));
CREATE TABLE post (
  id INT AUTO_INCREMENT PRIMARY KEY, author VARCHAR(20) COLLATE {blind}, reader INT, slot INT, UNIQUE KEY (slot),
  FOREIGN KEY (author) REFERENCES person (name), FOREIGN KEY (reader) REFERENCES person (id));";

/// [`TABLES`] with MySQL's collation for `{blind}`, or with one that every server has.
pub fn tables(mysql: bool) -> String {
    blind(TABLES, mysql)
}

/// The same of [`FAMILY`].
pub fn family_tables(mysql: bool) -> String {
    blind(FAMILY, mysql)
}

fn blind(tables: &str, mysql: bool) -> String {
    let blind = match mysql {
        true => "utf8mb4_0900_ai_ci",
        false => "utf8mb4_unicode_ci",
    };
    tables.replace("{blind}", blind)
}

/// Draws them, one in twenty to be rolled back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hard;

impl Load for Hard {
    fn draw(&mut self, random: &mut Random) -> Transaction {
        let (what, body) = match random.below(16) {
            0..5 => family(random),
            _ => rows(random),
        };
        Transaction {
            what,
            body,
            ends: match random.below(20) {
                0 => Ends::RollBack,
                _ => Ends::Commit,
            },
        }
    }
}

/// Of [`TABLES`]: a name, and statements.
pub fn rows(random: &mut Random) -> (&'static str, String) {
    let (a, b, n) = (
        random.below(200),
        random.below(200),
        random.below(1_000_000),
    );
    match random.below(10) {
        0 | 1 => (
            "upsert",
            format!(
                "REPLACE INTO item VALUES ({a}, {n}, 'row {n}', {}.5, '2026-01-02 03:04:05.678')",
                n % 999
            ),
        ),
        2 => (
            "update",
            format!(
                "UPDATE item SET price = price + 1, label = 'u {n}' WHERE id BETWEEN {a} AND {a} + 5"
            ),
        ),
        3 => ("delete", format!("DELETE FROM item WHERE id = {a}")),
        // Two rows exchange the values of a unique key.
        4 => (
            "swap",
            format!(
                "SET @x = (SELECT code FROM item WHERE id = {a}), @y = (SELECT code FROM item WHERE id = {b});
                 UPDATE item SET code = NULL WHERE id = {a}; UPDATE item SET code = @x WHERE id = {b} AND {a} <> {b};
                 UPDATE item SET code = @y WHERE id = {a} AND {a} <> {b}"
            ),
        ),
        // A chain of primary keys moves by one.
        5 => (
            "shift",
            format!(
                "DELETE FROM item WHERE id = {0}; UPDATE item SET id = id + 1 WHERE id BETWEEN {a} AND {0} - 1 ORDER BY id DESC",
                a + 4
            ),
        ),
        6 => (
            "nokey",
            format!(
                "INSERT INTO nokey VALUES ({a}, 'x{b}'), ({a}, 'x{b}'); UPDATE nokey SET b = 'y' WHERE a = {b} LIMIT 1;
                 DELETE FROM nokey WHERE a = {} LIMIT 1",
                a / 2
            ),
        ),
        7 => (
            "collation",
            format!(
                "REPLACE INTO pair VALUES ({}, '{}', {n}); UPDATE pair SET b = UPPER(b) WHERE a = {}",
                a % 20,
                random.pick(&["a", "b", "c"]),
                b % 20
            ),
        ),
        8 => (
            "again",
            format!(
                "DELETE FROM item WHERE id = {a}; INSERT INTO item VALUES ({a}, NULL, 'again', 0, NULL);
                 DELETE FROM item WHERE id = {a}; INSERT IGNORE INTO item VALUES ({a}, {n}, NULL, 1, NULL)"
            ),
        ),
        _ => (
            "many",
            "INSERT INTO item SELECT 1000 + n, NULL, 'many', n, NULL
             FROM (WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100) SELECT n FROM s) q
             ON DUPLICATE KEY UPDATE price = price + 1"
                .to_owned(),
        ),
    }
}

/// Of [`FAMILY`]: names that differ in case only, seats that are taken over, children that keep parents from going.
fn family(random: &mut Random) -> (&'static str, String) {
    let (id, other, seat) = (random.below(60), random.below(60), random.below(80));
    let name = |random: &mut Random, id: u64| {
        let text = format!("Person {id}");
        match random.below(3) {
            0 => text.to_uppercase(),
            1 => text.to_lowercase(),
            _ => text,
        }
    };
    let (one, two) = (name(random, id), name(random, other));
    match random.below(9) {
        0 | 1 => (
            "comes",
            format!(
                "INSERT INTO person VALUES ({id}, '{one}', NULL, {0}) ON DUPLICATE KEY UPDATE name = '{one}', room = {0}",
                seat % 5
            ),
        ),
        // Whoever has the seat loses it.
        2 => (
            "seat",
            format!(
                "UPDATE person SET seat = NULL WHERE seat = {seat}; UPDATE person SET seat = {seat}, room = {} WHERE id = {id}",
                seat % 7
            ),
        ),
        3 => (
            "seats",
            format!(
                "SET @x = (SELECT seat FROM person WHERE id = {id}), @y = (SELECT seat FROM person WHERE id = {other});
                 UPDATE person SET seat = NULL WHERE id IN ({id}, {other});
                 UPDATE person SET seat = @y WHERE id = {id}; UPDATE person SET seat = @x WHERE id = {other} AND {id} <> {other}"
            ),
        ),
        4 | 5 => (
            "post",
            format!(
                "INSERT INTO post (author, reader, slot) VALUES ('{one}', {other}, NULL), ('{two}', NULL, {}), (NULL, {id}, NULL)",
                1_000 + random.below(200)
            ),
        ),
        // A slot goes from one post to another, with the old post's row.
        6 => (
            "slot",
            format!(
                "SET @s = {}; DELETE FROM post WHERE slot = @s; UPDATE post SET slot = @s WHERE reader = {id} ORDER BY id LIMIT 1",
                1_000 + random.below(200)
            ),
        ),
        // With all that refers to it, and back under another spelling.
        7 => (
            "goes",
            format!(
                "DELETE FROM post WHERE reader = {id} OR author = '{one}'; DELETE FROM person WHERE id = {id};
                 INSERT INTO person VALUES ({id}, '{}', NULL, NULL)",
                name(random, id)
            ),
        ),
        // Fails while somebody refers to it.
        _ => (
            "leaves",
            format!("DELETE FROM post WHERE reader = {id} LIMIT 3; DELETE FROM person WHERE id = {id}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_drawn() {
        let mut random = Random::new(3);
        let mut kinds: Vec<&str> = (0..2000).map(|_| Hard.draw(&mut random).what).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), 16, "{kinds:?}");
    }
}
