//! Tables and rows for tests: columns of drawn types, attributes and collations, keys of each kind, and SQL for random values and changes.
//!
//! One generator for all judges: what the decoder is asked about ([`columns`], [`drawn`]) is also carried from server to server
//! ([`Table`]). Everything comes out of a [`Random`]; a test that fails shows its [`seed`], and `BINFERRY_SEED` draws the same again
//! (from the same server version, whose collations are drawn from).

mod column;
mod edges;
mod literal;
mod random;
mod table;

use binferry_servers::{Error, MySql};

pub use column::{Column, Kind, Servers, Shown, drawn};
pub use edges::columns;
pub use random::Random;
pub use table::Table;

/// For every session that writes what is drawn: as old applications do, with zero dates and numbers without a label.
pub const SESSION: &str = "SET NAMES utf8mb4; SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'; SET time_zone = '+00:00'; ";

/// `BINFERRY_SEED`, or one of the clock's; printed.
#[expect(clippy::print_stdout, reason = "a failing test shows what it printed")]
pub fn seed() -> u64 {
    let clock = || {
        std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |e| e.as_nanos() as u64)
    };
    let given = std::env::var("BINFERRY_SEED").ok();
    let seed = given.and_then(|s| s.parse().ok()).unwrap_or_else(clock);
    println!("BINFERRY_SEED={seed}");
    seed
}

/// Character set and collation of all collations for text that each of the servers has.
pub fn collations(servers: &[&MySql]) -> Result<Vec<(&'static str, String)>, Error> {
    let mut common: Option<Vec<(&'static str, String)>> = None;
    for server in servers {
        let rows = server.rows(
            "SELECT CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLLATIONS
             WHERE COLLATION_NAME <> 'binary' AND CHARACTER_SET_NAME IS NOT NULL ORDER BY ID",
        )?;
        let pairs = rows.into_iter().filter_map(|row| {
            let mut row = row.into_iter().flatten();
            Some((&*row.next()?.leak(), row.next()?))
        });
        let pairs: Vec<(&'static str, String)> = pairs.collect();
        common = Some(match common {
            None => pairs,
            Some(common) => common
                .into_iter()
                .filter(|pair| pairs.contains(pair))
                .collect(),
        });
    }
    Ok(common.unwrap_or_default())
}
