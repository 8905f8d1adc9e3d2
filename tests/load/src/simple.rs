//! Loads of one kind of statement, for figures.

use crate::{Load, Random, Transaction};

const TABLES: u64 = 4;

/// Tables of both loads below, with a secondary index as sysbench's have.
fn tables(prefix: &str) -> String {
    (1..=TABLES)
        .map(|n| {
            format!(
                "CREATE TABLE {prefix}{n} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k));"
            )
        })
        .collect()
}

fn fill(table: &str, rows: u64) -> String {
    format!(
        "SET SESSION cte_max_recursion_depth = {0};
         INSERT INTO {table} (id, k, c, pad)
         WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows})
         SELECT n, n * 7919 % {rows}, CONCAT(SHA2(n, 224), SHA2(-n, 224)), SHA2(n, 224) FROM s;",
        rows + 1
    )
}

/// Transactions of one row each: six updates in ten, a quarter inserts, the rest deletes of what is there.
#[derive(Debug, Clone)]
pub struct SingleRow {
    rows: u64,
}

impl SingleRow {
    pub fn new(rows: u64) -> Self {
        Self { rows }
    }

    pub fn tables() -> String {
        tables("single")
    }

    pub fn fill(&self) -> String {
        (1..=TABLES)
            .map(|n| fill(&format!("single{n}"), self.rows))
            .collect()
    }
}

impl Load for SingleRow {
    fn draw(&mut self, random: &mut Random) -> Transaction {
        let (table, id) = (1 + random.below(TABLES), 1 + random.below(self.rows));
        let value = random.below(1 << 30);
        Transaction::alone(
            "single row",
            match random.below(20) {
                0..5 => format!(
                    "INSERT INTO single{table} (k, c, pad) VALUES ({value}, SHA2({value}, 256), SHA2({id}, 224))"
                ),
                5..8 => {
                    format!("DELETE FROM single{table} WHERE id >= {id} ORDER BY id LIMIT 1")
                }
                8..14 => format!("UPDATE single{table} SET k = {value} WHERE id = {id}"),
                _ => format!("UPDATE single{table} SET c = SHA2({value}, 256) WHERE id = {id}"),
            },
        )
    }
}

/// Transactions of four rows, each of which is new.
#[derive(Debug, Clone, Copy)]
pub struct InsertOnly;

impl InsertOnly {
    pub fn tables() -> String {
        tables("insert")
    }
}

impl Load for InsertOnly {
    fn draw(&mut self, random: &mut Random) -> Transaction {
        let table = 1 + random.below(TABLES);
        let rows: Vec<String> = (0..4)
            .map(|_| {
                let value = random.below(1 << 30);
                format!("({value}, SHA2({value}, 256), SHA2({value}, 224))")
            })
            .collect();
        Transaction::alone(
            "insert",
            format!(
                "INSERT INTO insert{table} (k, c, pad) VALUES {}",
                rows.join(",")
            ),
        )
    }
}

/// Sixteen rows, of which each transaction updates one, and a row of a history: nothing here can go in parallel that shares a row.
#[derive(Debug, Clone, Copy)]
pub struct HotRow;

impl HotRow {
    const ROWS: u64 = 16;

    pub fn tables() -> String {
        "CREATE TABLE hot (id INT PRIMARY KEY, times BIGINT NOT NULL, last VARCHAR(64) NOT NULL);
         CREATE TABLE moves (id BIGINT AUTO_INCREMENT PRIMARY KEY, row_id INT NOT NULL, amount INT NOT NULL);"
            .to_owned()
    }

    pub fn fill() -> String {
        let rows: Vec<String> = (0..Self::ROWS).map(|n| format!("({n}, 0, '')")).collect();
        format!("INSERT INTO hot VALUES {};", rows.join(","))
    }
}

impl Load for HotRow {
    fn draw(&mut self, random: &mut Random) -> Transaction {
        let (id, amount) = (random.below(Self::ROWS), random.below(1000));
        Transaction::commit(
            "hot row",
            format!(
                "INSERT INTO moves (row_id, amount) VALUES ({id}, {amount});
                 UPDATE hot SET times = times + 1, last = SHA2({amount}, 224) WHERE id = {id}"
            ),
        )
    }
}
