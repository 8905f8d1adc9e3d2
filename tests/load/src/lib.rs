//! Write loads on a source, each drawn from a seed, for tests, soak and benchmarks.
//!
//! A [`Load`] draws transactions, [`Writers`] run them on several connections. A transaction is one packet of statements: what has to be read
//! on the way stays in the server, in user variables, so that the client's share of the machine is small.
//!
//! - [`tpcc`]: a shop with foreign keys, after TPC-C (its transactions that write; no result of this is one of TPC's);
//! - [`hard`]: what is hard to carry: keys that are swapped and shifted, rows that go and come back, collisions by collation, foreign keys;
//! - [`simple`]: transactions of one row, inserts alone, a few rows that are updated all the time;
//! - [`relay`]: two counters, by which a reader sees whether it is shown a prefix of what happened.

pub mod hard;
pub mod relay;
pub mod simple;
pub mod tpcc;
mod writers;

pub use binferry_generate::Random;
pub use writers::{Plan, Writers};

/// A row of it in each transaction ([`Plan::ledger`]) lets a judge count transactions by rows.
pub const LEDGER: &str = "CREATE TABLE ledger (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, what VARCHAR(20) NOT NULL)";

/// Draws transactions.
pub trait Load: Send + 'static {
    fn draw(&mut self, random: &mut Random) -> Transaction;
}

/// What a connection does at once.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// For the ledger, and for errors.
    pub what: &'static str,
    /// Statements, without the transaction's beginning and end.
    pub body: String,
    pub ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Commit,
    RollBack,
    /// One statement that commits by itself.
    Alone,
}

impl Transaction {
    fn commit(what: &'static str, body: String) -> Self {
        let ends = Ends::Commit;
        Self { what, body, ends }
    }

    fn alone(what: &'static str, body: String) -> Self {
        let ends = Ends::Alone;
        Self { what, body, ends }
    }

    /// All of it as one packet.
    pub fn statements(&self, ledger: bool) -> String {
        let end = match self.ends {
            Ends::Alone if !ledger => return self.body.clone(),
            Ends::RollBack => "ROLLBACK",
            Ends::Alone | Ends::Commit => "COMMIT",
        };
        let (body, what) = (&self.body, self.what);
        match ledger {
            true => format!("BEGIN; {body}; INSERT INTO ledger (what) VALUES ('{what}'); {end}"),
            false => format!("BEGIN; {body}; {end}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_by_itself_needs_no_transaction() {
        let alone = Transaction::alone("one", "DELETE FROM t".into());
        assert_eq!(alone.statements(false), "DELETE FROM t");
        let with = alone.statements(true);
        assert!(with.starts_with("BEGIN; ") && with.ends_with("COMMIT"));
    }
}
