//! What the copy out of MariaDB relies on, asked of the servers themselves: when a snapshot shows a transaction, given where the binlog is.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use binferry_schemas::gtid::{Gtid, GtidSet};
use binferry_servers::{MySql, Release};
use mysql_async::{Conn, Row, prelude::Queryable};

/// A writer's transactions: each inserts one row, `writer * STEP + n`.
const STEP: u64 = 1_000_000;
const WRITERS: u64 = 6;
const LOOKS: usize = 400;

/// What a look has found.
struct Look {
    /// Held before the snapshot opened, and after.
    before: GtidSet,
    after: GtidSet,
    /// XA transactions that XA RECOVER listed after `before` was read.
    recoverable: HashSet<String>,
    /// The snapshot was not before the end of the binlog, as it was after `before` was read.
    settled: bool,
    shown: HashSet<u64>,
}

async fn write(
    mut connection: Conn,
    writer: u64,
    stop: Arc<AtomicBool>,
) -> Result<Vec<(Gtid, u64)>> {
    let mut written = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let row = writer * STEP + n;
        let insert = format!("INSERT INTO premise.t VALUES ({row})");
        let sql = match writer % 3 {
            0 => format!(
                "XA START 'x{row}'; {insert}; XA END 'x{row}'; XA PREPARE 'x{row}'; XA COMMIT 'x{row}'"
            ),
            _ => format!("BEGIN; {insert}; COMMIT"),
        };
        connection.query_drop(sql).await?;
        let gtid: Option<String> = connection.query_first("SELECT @@last_gtid").await?;
        written.push((gtid.context("a GTID")?.parse()?, row));
    }
    Ok(written)
}

async fn look(connection: &mut Conn) -> Result<Look> {
    let held = "SELECT @@GLOBAL.gtid_binlog_pos";
    let before: Option<String> = connection.query_first(held).await?;
    let end: Option<Row> = connection.query_first("SHOW MASTER STATUS").await?;
    let end = end.context("a position")?;
    let recoverable: Vec<Row> = connection.query("XA RECOVER").await?;
    connection
        .query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        .await?;
    let place: HashMap<String, String> = (connection)
        .query("SHOW STATUS LIKE 'binlog_snapshot_%'")
        .await?
        .into_iter()
        .collect();
    let after: Option<String> = connection.query_first(held).await?;
    let shown: Vec<u64> = connection.query("SELECT id FROM premise.t").await?;
    connection.query_drop("COMMIT").await?;
    let (file, position): (String, u64) = (
        end.get("File").context("a file")?,
        end.get("Position").context("a position")?,
    );
    let snapshot = (
        place["Binlog_snapshot_file"].clone(),
        place["Binlog_snapshot_position"].parse::<u64>()?,
    );
    Ok(Look {
        before: before.context("a set")?.parse()?,
        after: after.context("a set")?.parse()?,
        recoverable: (recoverable.iter())
            .filter_map(|row| row.get("data"))
            .collect(),
        settled: snapshot >= (file, position),
        shown: shown.into_iter().collect(),
    })
}

async fn looks(source: &MySql) -> Result<(Vec<Look>, HashMap<u64, Gtid>)> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let connection = Conn::new(source.opts()).await?;
        writers.spawn(write(connection, writer, stop.clone()));
    }
    let mut connection = Conn::new(source.opts()).await?;
    let mut looks = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        looks.push(look(&mut connection).await?);
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = HashMap::new();
    while let Some(rows) = writers.join_next().await {
        written.extend(rows??.into_iter().map(|(gtid, row)| (row, gtid)));
    }
    Ok((looks, written))
}

/// With a binlog that is synced at each commit, so that a transaction is in it for a while before InnoDB shows it.
#[test]
fn a_snapshot_of_mariadb_shows_what_its_place_says() -> Result<()> {
    for release in [Release::MariaDb10_11, Release::MariaDb11_8] {
        let source = MySql::builder()
            .release(release)
            .arg("--sync-binlog=1")
            .arg("--innodb-flush-log-at-trx-commit=1")
            .start()?;
        source.sql("CREATE DATABASE premise; CREATE TABLE premise.t (id BIGINT PRIMARY KEY)")?;
        let runtime = tokio::runtime::Runtime::new()?;
        let (looks, written) = runtime.block_on(looks(&source))?;
        let mut settled = 0;
        for look in &looks {
            for (row, gtid) in &written {
                let is_shown = look.shown.contains(row);
                ensure!(
                    !is_shown || look.after.contains(gtid),
                    "{release:?}: row {row} is shown before {gtid} is in the binlog"
                );
                if !look.settled || !look.before.contains(gtid) {
                    continue;
                }
                let listed = look.recoverable.contains(&format!("x{row}"));
                ensure!(
                    is_shown || listed,
                    "{release:?}: row {row} of {gtid} is not shown by a snapshot behind it"
                );
            }
            settled += u32::from(look.settled);
        }
        ensure!(
            settled > 0,
            "{release:?}: no snapshot was behind the binlog's end"
        );
    }
    Ok(())
}
