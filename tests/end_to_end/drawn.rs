//! Drawn tables from server to server: types, attributes, collations, keys of each kind, invisible and generated columns, images of each
//! kind, compressed and not; inserts, updates and deletes of drawn values. What the target's SELECT shows is what the source's shows.
//!
//! A failure prints the seed, and the table; `BINFERRY_SEED` runs it again, `BINFERRY_TABLES` draws another number of tables.

use anyhow::{Context, Result};
use binferry_generate::{Random, SESSION, Servers, Table, collations, seed};
use binferry_servers::{MySql, Release, database, mariadb, pair};

use crate::{binferry::Pipeline, judge};

/// Rows that a table gets; as many statements change them.
const ROWS: u64 = 24;

fn tables() -> u64 {
    let given = std::env::var("BINFERRY_TABLES").ok();
    given.and_then(|count| count.parse().ok()).unwrap_or(40)
}

fn carried(source: &MySql, target: &MySql, servers: Servers) -> Result<()> {
    let seed = seed();
    let mut random = Random::new(seed);
    let collations = collations(&[source, target])?;
    let database = database([source, target], "drawn")?;
    let tables: Vec<_> = (0..tables())
        .map(|n| Table::drawn(format!("d{n}"), servers, &collations, &mut random))
        .collect();
    for table in &tables {
        for server in [source, target] {
            let create = table.create();
            server
                .sql(&format!("{SESSION} USE `{database}`; {create}"))
                .with_context(|| format!("seed {seed}: {create}"))?;
        }
    }
    let pipeline = Pipeline::new(source, target, &database)?;
    for round in 0..3 {
        for table in &tables {
            let script = match round {
                0 => table.fill(ROWS, &mut random),
                _ => table.change(ROWS, &mut random),
            };
            source
                .sql(&format!(
                    "{SESSION} USE `{database}`; {}",
                    script.join("; ")
                ))
                .with_context(|| {
                    format!("seed {seed}: {}: {}", table.create(), script.join(";\n"))
                })?;
        }
        pipeline
            .catch_up()
            .and_then(|()| judge::equal(source, target, &database))
            .map_err(|error| {
                // The one that it names.
                let said = format!("{error:#}");
                let words = || said.split(|c: char| !c.is_alphanumeric());
                let named = |table: &&Table| words().any(|word| word == table.name);
                let create: Vec<_> = tables.iter().filter(named).map(Table::create).collect();
                error.context(format!("seed {seed}, round {round}: {}", create.join("\n")))
            })?;
    }
    Ok(())
}

#[test]
fn to_mysql() -> Result<()> {
    let pair = pair()?;
    carried(&pair.source, &pair.target, Servers::MySql)
}

#[test]
fn to_mariadb() -> Result<()> {
    carried(
        &pair()?.source,
        mariadb(Release::MariaDb11_8)?,
        Servers::MariaDbToo,
    )
}
