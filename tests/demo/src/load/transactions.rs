//! The kinds of transactions, and how each is made.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::values;
use crate::chance::Chance;
use crate::schema::{ACCOUNTS, SEATS};

type Result<T = ()> = std::result::Result<T, mysql_async::Error>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One row: the ledger's own.
    Single,
    /// Two rows of one table.
    Transfer,
    /// An order with its lines.
    Order,
    /// Unique values change places.
    Swap,
    /// A primary key moves.
    Move,
    /// Several primary keys, each to its neighbour's place.
    Shift,
    /// An order with its lines goes.
    Delete,
    /// All types.
    Types,
    /// Rows without a key.
    Keyless,
    /// Work that is undone up to a savepoint.
    Savepoint,
    /// Work that is undone: nothing of it may arrive.
    Rollback,
    /// Many rows; not drawn, but made at its time.
    Bulk,
}

impl Kind {
    pub const ALL: [Kind; 12] = [
        Kind::Single,
        Kind::Transfer,
        Kind::Order,
        Kind::Swap,
        Kind::Move,
        Kind::Shift,
        Kind::Delete,
        Kind::Types,
        Kind::Keyless,
        Kind::Savepoint,
        Kind::Rollback,
        Kind::Bulk,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Single => "single row",
            Kind::Transfer => "transfer",
            Kind::Order => "order",
            Kind::Swap => "unique swap",
            Kind::Move => "key move",
            Kind::Shift => "key shift",
            Kind::Delete => "delete",
            Kind::Types => "every type",
            Kind::Keyless => "no key",
            Kind::Savepoint => "savepoint",
            Kind::Rollback => "rollback",
            Kind::Bulk => "loaded in bulk",
        }
    }

    pub fn ledger(self) -> String {
        format!("INSERT INTO ledger (kind) VALUES ('{}')", self.name())
    }
}

/// A connection's part of the load.
#[derive(Debug)]
pub struct Draw {
    chance: Chance,
    /// Of the connection: ticket numbers end with it, so that no two connections move to the same number.
    number: u64,
    vector: bool,
}

impl Draw {
    pub fn new(chance: Chance, number: u64, vector: bool) -> Self {
        Draw {
            chance,
            number,
            vector,
        }
    }

    pub fn kind(&mut self) -> Kind {
        match self.chance.below(100) {
            0..10 => Kind::Single,
            10..40 => Kind::Transfer,
            40..57 => Kind::Order,
            57..65 => Kind::Swap,
            65..71 => Kind::Move,
            71..75 => Kind::Shift,
            75..81 => Kind::Delete,
            81..89 => Kind::Types,
            89..93 => Kind::Keyless,
            93..96 => Kind::Savepoint,
            _ => Kind::Rollback,
        }
    }

    /// Makes a transaction of this kind, from BEGIN to COMMIT (or ROLLBACK).
    pub async fn run(&mut self, kind: Kind, on: &mut Conn) -> Result {
        on.query_drop("BEGIN").await?;
        match kind {
            Kind::Single | Kind::Bulk => {}
            Kind::Transfer => self.transfer(on).await?,
            Kind::Order => self.order(on).await?,
            Kind::Swap => self.swap(on).await?,
            Kind::Move => self.move_key(on).await?,
            Kind::Shift => self.shift_keys(on).await?,
            Kind::Delete => self.delete(on).await?,
            Kind::Types => self.types(on).await?,
            Kind::Keyless => self.keyless(on).await?,
            Kind::Savepoint => {
                self.transfer(on).await?;
                on.query_drop("SAVEPOINT here").await?;
                self.order(on).await?;
                on.query_drop("ROLLBACK TO SAVEPOINT here").await?;
            }
            Kind::Rollback => {
                self.transfer(on).await?;
                self.order(on).await?;
            }
        }
        on.query_drop(kind.ledger()).await?;
        on.query_drop(match kind {
            Kind::Rollback => "ROLLBACK",
            _ => "COMMIT",
        })
        .await
    }

    async fn transfer(&mut self, on: &mut Conn) -> Result {
        let (from, to) = (
            self.chance.between(1, ACCOUNTS),
            self.chance.between(1, ACCOUNTS),
        );
        let cents = self.chance.between(1, 5000);
        for (id, sign) in [(from, '-'), (to, '+')] {
            on.query_drop(format!(
                "UPDATE accounts SET balance = balance {sign} {cents} / 100, version = version + 1 WHERE id = {id}"
            ))
            .await?;
        }
        if self.chance.one_in(10) {
            // A unique key with letters beyond ASCII gets another value.
            let salt = self.chance.next();
            on.query_drop(format!(
                "UPDATE accounts SET email = CONCAT('user', id, '.{salt:x}@exämple.org') WHERE id = {to}"
            ))
            .await?;
        }
        Ok(())
    }

    async fn order(&mut self, on: &mut Conn) -> Result {
        let account = self.chance.between(1, ACCOUNTS);
        let note = self
            .chance
            .of(&["NULL", "''", "'gift — 🎁'", "'it\\'s \\\\ urgent'"]);
        on.query_drop(format!(
            "INSERT INTO orders (account, note, placed) VALUES ({account}, {note}, NOW(6))"
        ))
        .await?;
        let lines: Vec<String> = (1..=self.chance.between(2, 9))
            .map(|line| {
                let article = self.chance.of(&["crème brûlée", "чай", "茶", "tea"]);
                let (pieces, cents) = (self.chance.between(1, 12), self.chance.below(100_000));
                format!("(LAST_INSERT_ID(), {line}, '{article}', {pieces}, {cents} / 100)")
            })
            .collect();
        on.query_drop(format!(
            "INSERT INTO order_lines VALUES {}",
            lines.join(",")
        ))
        .await
    }

    /// Two rows exchange their unique values, by way of NULL, as SQL makes one do it.
    async fn swap(&mut self, on: &mut Conn) -> Result {
        let mut ids = [self.chance.between(1, SEATS), self.chance.between(1, SEATS)];
        // In one order, or every other swap would be a deadlock.
        ids.sort_unstable();
        let [a, b] = ids;
        let query = format!("SELECT seat FROM seats WHERE id IN ({a}, {b}) ORDER BY id FOR UPDATE");
        let seats: Vec<u64> = on.query(query).await?;
        let [seat_a, seat_b] = seats[..] else {
            // The same row twice: there is nothing to exchange.
            return Ok(());
        };
        for (id, seat) in [
            (a, "NULL".to_owned()),
            (b, seat_a.to_string()),
            (a, seat_b.to_string()),
        ] {
            on.query_drop(format!("UPDATE seats SET seat = {seat} WHERE id = {id}"))
                .await?;
        }
        Ok(())
    }

    async fn move_key(&mut self, on: &mut Conn) -> Result {
        let from = self.chance.below(10_000_000);
        let to = self.chance.between(1_000_000, 100_000_000) * 10 + self.number % 10;
        on.query_drop(format!(
            "UPDATE IGNORE tickets SET number = {to} WHERE number >= {from} ORDER BY number LIMIT 1"
        ))
        .await
    }

    /// The last first, so that each finds the place free: in the binlog these are updates that chase one another.
    async fn shift_keys(&mut self, on: &mut Conn) -> Result {
        let first = self.chance.below(10_000_000);
        let query = format!(
            "SELECT number FROM tickets WHERE number >= {first} ORDER BY number LIMIT 6 FOR UPDATE"
        );
        let numbers: Vec<u64> = on.query(query).await?;
        let Some((last, others)) = numbers.split_last() else {
            return Ok(());
        };
        let free = last + 1;
        let taken: Option<u64> = on
            .query_first(format!(
                "SELECT number FROM tickets WHERE number = {free} FOR UPDATE"
            ))
            .await?;
        if taken.is_some() {
            return Ok(());
        }
        let mut place = free;
        for number in std::iter::once(last).chain(others.iter().rev()) {
            on.query_drop(format!(
                "UPDATE tickets SET number = {place} WHERE number = {number}"
            ))
            .await?;
            place = *number;
        }
        Ok(())
    }

    async fn delete(&mut self, on: &mut Conn) -> Result {
        let from = self.chance.next() as f64 / u64::MAX as f64;
        let id: Option<u64> = on
            .query_first(format!(
                "SELECT id FROM orders WHERE id >= {from} * (SELECT MAX(id) FROM orders) ORDER BY id LIMIT 1"
            ))
            .await?;
        if let Some(id) = id {
            on.query_drop(format!("DELETE FROM order_lines WHERE order_id = {id}"))
                .await?;
            on.query_drop(format!("DELETE FROM orders WHERE id = {id}"))
                .await?;
        }
        Ok(())
    }

    async fn types(&mut self, on: &mut Conn) -> Result {
        let assignments = values::assignments(&mut self.chance, self.vector);
        if self.chance.one_in(3) {
            on.query_drop(format!("INSERT INTO every_type SET {assignments}"))
                .await?;
        } else {
            let id = self.chance.between(1, 2000);
            let choice = format!("WHERE id >= {id} ORDER BY id LIMIT 1");
            if self.chance.one_in(8) {
                on.query_drop(format!("DELETE FROM every_type {choice}"))
                    .await?;
            } else {
                on.query_drop(format!("UPDATE every_type SET {assignments} {choice}"))
                    .await?;
            }
        }
        Ok(())
    }

    async fn keyless(&mut self, on: &mut Conn) -> Result {
        let page = self.chance.of(&["home", "cart", "help", "Home"]);
        on.query_drop(format!(
            "INSERT INTO visits VALUES ('{page}', 1), ('{page}', 1)"
        ))
        .await?;
        // One of rows that may be equal. The table stays small, as each row is found by looking at all.
        let kind = self.chance.below(3);
        on.query_drop(match kind {
            0 => "UPDATE visits SET times = times + 1 LIMIT 1",
            _ => "DELETE FROM visits LIMIT 2",
        })
        .await
    }
}
