//! The loads, by name.

use anyhow::{Context, Result};
use binferry_load::{
    Load, Plan, Writers,
    simple::{HotRow, InsertOnly, SingleRow},
    tpcc::{self, Scale, Shop},
};
use binferry_servers::MySql;

use super::DATABASE;
use crate::load::{self, Script};

const SEED: u64 = 20_261_121;
const CONNECTIONS: u64 = 8;
/// Of each table of the load of single rows, as sysbench has them.
const ROWS: u64 = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// sysbench's oltp_write_only from an empty server on: what fills the tables is a part of it.
    Whole,
    WriteOnly,
    /// What it reads is in no binlog: its changes are those of `WriteOnly`, spread thinner.
    ReadWrite,
    SingleRow,
    InsertOnly,
    HotRow,
    Tpcc,
}

impl Workload {
    /// Those that are run when none is named.
    pub const ALL: [Self; 6] = [
        Self::Whole,
        Self::WriteOnly,
        Self::SingleRow,
        Self::InsertOnly,
        Self::HotRow,
        Self::Tpcc,
    ];

    pub fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .chain([Self::ReadWrite])
            .find(|workload| workload.name() == name)
            .with_context(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("{name}: no load; there are {names}, read-write")
            })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::WriteOnly => "write-only",
            Self::ReadWrite => "read-write",
            Self::SingleRow => "single-row",
            Self::InsertOnly => "insert-only",
            Self::HotRow => "hot-row",
            Self::Tpcc => "tpcc",
        }
    }

    /// For the table.
    pub fn what(self) -> &'static str {
        match self {
            Self::Whole => "oltp_write_only, with what fills its tables",
            Self::WriteOnly => "oltp_write_only",
            Self::ReadWrite => "oltp_read_write",
            Self::SingleRow => "transactions of a single row",
            Self::InsertOnly => "inserts alone, four rows each",
            Self::HotRow => "sixteen hot rows",
            Self::Tpcc => "TPC-C-like, foreign keys",
        }
    }

    pub fn counts_fill(self) -> bool {
        self == Self::Whole
    }

    /// So that a native replica takes some ten seconds for each.
    fn transactions(self) -> u64 {
        match self {
            Self::Whole => 100_000,
            Self::WriteOnly | Self::ReadWrite => 40_000,
            Self::SingleRow | Self::InsertOnly | Self::HotRow => 60_000,
            Self::Tpcc => 20_000,
        }
    }

    /// Makes the tables; sysbench makes its own as it fills them.
    pub(super) fn make(self, source: &MySql) -> Result<()> {
        let tables = match self {
            Self::Whole | Self::WriteOnly | Self::ReadWrite => return Ok(()),
            Self::SingleRow => SingleRow::tables(),
            Self::InsertOnly => InsertOnly::tables(),
            Self::HotRow => HotRow::tables(),
            Self::Tpcc => tpcc::TABLES.to_owned(),
        };
        source.sql(&format!("USE {DATABASE}; {tables}"))?;
        Ok(())
    }

    pub(super) fn fill(self, source: &MySql) -> Result<()> {
        let statements = match self {
            Self::Whole | Self::WriteOnly => {
                return load::run(source, Script::WriteOnly, "prepare", &[]);
            }
            Self::ReadWrite => return load::run(source, Script::ReadWrite, "prepare", &[]),
            Self::SingleRow => SingleRow::new(ROWS).fill(),
            Self::InsertOnly => return Ok(()),
            Self::HotRow => HotRow::fill(),
            Self::Tpcc => tpcc::fill(Scale::default()).join(";"),
        };
        source.sql(&format!("USE {DATABASE}; {statements}"))?;
        Ok(())
    }

    pub(super) fn run(self, source: &MySql, transactions: Option<u64>) -> Result<()> {
        let transactions = transactions.unwrap_or(self.transactions());
        let sysbench = |script| {
            let options = ["--time=0".into(), format!("--events={transactions}")];
            load::run(source, script, "run", &options)
        };
        match self {
            Self::Whole | Self::WriteOnly => sysbench(Script::WriteOnly),
            Self::ReadWrite => sysbench(Script::ReadWrite),
            Self::SingleRow => write(source, transactions, |_| SingleRow::new(ROWS)),
            Self::InsertOnly => write(source, transactions, |_| InsertOnly),
            Self::HotRow => write(source, transactions, |_| HotRow),
            Self::Tpcc => write(source, transactions, |n| Shop::new(Scale::default(), n)),
        }
    }
}

fn write<L: Load>(source: &MySql, transactions: u64, load: impl FnMut(u64) -> L) -> Result<()> {
    let plan = Plan {
        seed: SEED,
        connections: CONNECTIONS,
        per_second: None,
        transactions: Some(transactions),
        ledger: false,
    };
    Writers::start(&source.opts(), DATABASE, plan, load).join()?;
    Ok(())
}
