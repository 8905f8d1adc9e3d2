//! Two counters in two tables, which one connection increments in turns: at every moment of the source's history they are equal, or the first is
//! ahead by one. The rows share no key, so an applier that does not keep the order of commits shows other states to whoever looks.

use crate::{Load, Random, Transaction};

pub const TABLES: &str = "CREATE TABLE relay_a (id INT PRIMARY KEY, n BIGINT NOT NULL);
     CREATE TABLE relay_b (id INT PRIMARY KEY, n BIGINT NOT NULL);";

/// Both rows, to be inserted in one transaction.
pub const ROWS: &str = "INSERT INTO relay_a VALUES (1, 0); INSERT INTO relay_b VALUES (1, 0)";

/// The first counter's lead, in one statement and so in one view: 0 or 1 in every state that the source had; no row where there are no counters yet.
pub const LEAD: &str = "SELECT a.n - b.n FROM relay_a a JOIN relay_b b USING (id)";

/// For one connection only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Relay {
    second: bool,
}

impl Load for Relay {
    fn draw(&mut self, _: &mut Random) -> Transaction {
        let second = self.second;
        self.second = !second;
        let table = if second { "relay_b" } else { "relay_a" };
        // Nobody else touches these rows, so none of these fails in a way that is expected.
        Transaction::commit(
            "relay",
            format!("UPDATE {table} SET n = n + 1 WHERE id = 1"),
        )
    }
}
