//! The proof that both servers hold the same and that every transaction was applied once, made without a line of Binferry's
//! own code: by what the servers themselves say, and by their binlogs as `mysqlbinlog` prints them.
//!
//! 1. Each table has the same checksum on both servers: MySQL's own CHECKSUM TABLE, and one over the text of all rows.
//! 2. The source's `gtid_executed` and the set that Binferry has committed on the target are equal, by the source's own
//!    arithmetic.
//! 3. In the source's binlog each transaction that changes rows has one ledger row; in the target's binlog each of these
//!    ledger rows is inserted once and never touched again. So each of the source's GTIDs was applied once.

mod binlog;

use anyhow::{Context, Result, bail, ensure};
use binferry_servers::MySql;

use crate::schema::{self, DATABASE};
use binlog::Binlog;

/// What was proved.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    pub tables: usize,
    /// Rows that both servers hold.
    pub rows_held: u64,
    /// GTIDs of the source, those of statements without rows included.
    pub gtids: u64,
    pub transactions: u64,
    /// Row changes in the source's binlog.
    pub row_changes: u64,
    /// Row changes in the target's binlog: fewer where changes of one row were folded.
    pub target_row_changes: u64,
    /// Transactions on the target that carried them.
    pub target_transactions: u64,
}

/// `committed`: as many transactions as the load says that it has committed.
pub fn judge(source: &MySql, target: &MySql, committed: u64) -> Result<Verdict> {
    let (tables, rows_held) = same_rows(source, target)?;
    same_gtids(source, target)?;
    let (at_source, at_target) = std::thread::scope(|scope| {
        let at_source = scope.spawn(|| Binlog::read(source));
        let at_target = Binlog::read(target);
        let at_source = at_source
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (at_source, at_target)
    });
    let (at_source, at_target) = (
        at_source.context("reading the source's binlog")?,
        at_target.context("reading the target's binlog")?,
    );
    let transactions = each_once(&at_source, &at_target)?;
    ensure!(
        transactions == committed,
        "the load committed {committed} transactions, the source's binlog has {transactions}"
    );
    Ok(Verdict {
        tables,
        rows_held,
        gtids: at_source.gtids,
        transactions,
        row_changes: at_source.row_changes,
        target_row_changes: at_target.row_changes,
        target_transactions: at_target.ledger_gtids(),
    })
}

/// A table's rows, in short: the server's own checksum, their number, and the sum of their digests.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    checksum: String,
    rows: u64,
    digests: String,
}

fn same_rows(source: &MySql, target: &MySql) -> Result<(usize, u64)> {
    let tables = schema::tables(source)?;
    let mut rows = 0;
    let mut different = Vec::new();
    for table in &tables {
        let (ours, theirs) = (fingerprint(source, table)?, fingerprint(target, table)?);
        rows += ours.rows;
        if ours != theirs {
            different.push(format!(
                "{DATABASE}.{table}: {ours:?} at the source, {theirs:?} at the target"
            ));
        }
    }
    if !different.is_empty() {
        bail!(
            "the servers do not hold the same rows:\n{}",
            different.join("\n")
        );
    }
    Ok((tables.len(), rows))
}

fn fingerprint(server: &MySql, table: &str) -> Result<Fingerprint> {
    let columns = server.rows(&format!(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = '{DATABASE}' AND table_name = '{table}'
         ORDER BY ordinal_position"
    ))?;
    // NULL is not the empty string, and 'ab','c' is not 'a','bc'.
    let text: Vec<String> = columns
        .into_iter()
        .flatten()
        .flatten()
        .map(|column| format!("IFNULL(HEX(`{column}`), 'NULL')"))
        .collect();
    // A sum, and not an exclusive or, which loses rows that are there twice.
    let digest = format!(
        "CONV(LEFT(SHA2(CONCAT_WS(',', {}), 256), 15), 16, 10)",
        text.join(", ")
    );
    let answer = server.rows(&format!(
        "SET SESSION time_zone = '+00:00'; SELECT COUNT(*), COALESCE(SUM(CAST({digest} AS DECIMAL(30))), 0) FROM {DATABASE}.`{table}`;
         CHECKSUM TABLE {DATABASE}.`{table}`"
    ))?;
    let cell = |row: usize, column: usize| {
        let cell = answer.get(row).and_then(|cells| cells.get(column)).cloned();
        cell.flatten()
            .with_context(|| format!("no checksum of {table}"))
    };
    Ok(Fingerprint {
        rows: cell(0, 0)?.parse()?,
        digests: cell(0, 1)?,
        checksum: cell(1, 1)?,
    })
}

fn same_gtids(source: &MySql, target: &MySql) -> Result<()> {
    let executed = source.value("SELECT @@global.gtid_executed")?;
    let applied =
        target.value("SELECT gtid_set FROM binferry.progress ORDER BY log_offset DESC LIMIT 1")?;
    for (set, other, what) in [
        (
            &executed,
            &applied,
            "executed at the source and not applied",
        ),
        (
            &applied,
            &executed,
            "applied and never executed at the source",
        ),
    ] {
        let rest = source.value(&format!("SELECT GTID_SUBTRACT('{set}', '{other}')"))?;
        ensure!(rest.is_empty(), "GTIDs {what}: {rest}");
    }
    Ok(())
}

/// The number of transactions with rows, each of which is there once on both sides.
fn each_once(source: &Binlog, target: &Binlog) -> Result<u64> {
    if let Some(gtid) = source.rows_without_ledger.first() {
        bail!("the source's {gtid} changes rows and has no ledger row: the load is wrong");
    }
    for (binlog, server) in [(source, "source"), (target, "target")] {
        ensure!(
            binlog.ledger_touched == 0,
            "ledger rows were changed or deleted at the {server}"
        );
        if let Some((id, times)) = binlog.ledger.iter().find(|(_, times)| times.len() != 1) {
            bail!(
                "ledger row {id} was inserted {} times at the {server}: {times:?}",
                times.len()
            );
        }
    }
    for (one, other, what) in [
        (source, target, "was not applied"),
        (target, source, "is not the source's"),
    ] {
        if let Some((id, gtids)) = one
            .ledger
            .iter()
            .find(|(id, _)| !other.ledger.contains_key(id))
        {
            bail!("ledger row {id} of {gtids:?} {what}");
        }
    }
    Ok(source.ledger.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "SET @@SESSION.GTID_NEXT= 'a:1'/*!*/;\nCREATE TABLE t\nSET @@SESSION.GTID_NEXT= 'a:2'/*!*/;\n### UPDATE `shop`.`t`\n### WHERE\n###   @1=5\n### SET\n###   @1=6\n### INSERT INTO `shop`.`ledger`\n### SET\n###   @1=1\nSET @@SESSION.GTID_NEXT= 'a:3'/*!*/;\n### INSERT INTO `shop`.`ledger`\n### SET\n###   @1=2\n";

    fn binlog(text: &str) -> Binlog {
        Binlog::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn one_transaction_on_the_target_may_carry_several() {
        let source = binlog(SOURCE);
        assert_eq!((source.gtids, source.row_changes), (3, 3));
        let target = binlog(&SOURCE.replace("SET @@SESSION.GTID_NEXT= 'a:3'/*!*/;\n", ""));
        assert_eq!(each_once(&source, &target).unwrap(), 2);
        assert_eq!(target.ledger_gtids(), 1);
    }

    #[test]
    fn a_lost_a_repeated_and_a_foreign_transaction() {
        let source = binlog(SOURCE);
        let cut = SOURCE.rfind("SET @@").unwrap();
        let lost = each_once(&source, &binlog(&SOURCE[..cut]))
            .unwrap_err()
            .to_string();
        assert!(
            lost.contains("ledger row 2 of [\"a:3\"] was not applied"),
            "{lost}"
        );
        let twice = format!("{SOURCE}{}", SOURCE[cut..].replace("a:3", "a:4"));
        let repeated = each_once(&source, &binlog(&twice)).unwrap_err().to_string();
        assert!(
            repeated.contains("ledger row 2 was inserted 2 times at the target"),
            "{repeated}"
        );
        let other = SOURCE.replace("@1=2", "@1=3");
        assert!(each_once(&source, &binlog(&other)).is_err());
    }

    #[test]
    fn a_ledger_that_is_touched() {
        let text = format!("{SOURCE}### DELETE FROM `shop`.`ledger`\n### WHERE\n###   @1=1\n");
        assert!(each_once(&binlog(SOURCE), &binlog(&text)).is_err());
    }

    #[test]
    fn rows_without_a_ledger_row() {
        let text = "SET @@SESSION.GTID_NEXT= 'a:9'/*!*/;\n### INSERT INTO `shop`.`t`\n### SET\n###   @1=1\n";
        let error = each_once(&binlog(text), &binlog(text))
            .unwrap_err()
            .to_string();
        assert!(error.contains("a:9 changes rows"), "{error}");
    }
}
