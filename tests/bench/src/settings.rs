//! The command line: parts, and what their figures are taken with.

use anyhow::{Context, Result, bail};

use crate::backlog::{Durability, Workload};

pub const USAGE: &str = "usage: binferry-bench [PART…] [--rounds N] [--transactions N] [--seconds N] [--loads NAME,…] [--workers N] \
[--replica-workers N,…] [--delays MS,…] [--durability durable,relaxed] [--gtid own|preserve] [--rows N]";

#[derive(Debug, Clone)]
pub struct Settings {
    /// All of them when there are none.
    pub parts: Vec<String>,
    /// Pairs of runs behind a ratio; parts that were written before have numbers of their own.
    pub rounds: usize,
    /// Of each backlog that is applied, where the load has no number of its own.
    pub transactions: Option<u64>,
    /// Of each rate whose latency is measured.
    pub seconds: u32,
    /// Of the parts that apply backlogs; each has its own default.
    loads: Vec<Workload>,
    /// Of `binferry apply`; its default without it.
    pub workers: Option<u32>,
    /// Tried for the native replica; the best one counts.
    pub replica_workers: Vec<u32>,
    /// Each way, in milliseconds.
    pub delays: Vec<u64>,
    pub durability: Vec<Durability>,
    /// Whether target transactions keep the source's GTIDs, in `apply`.
    pub preserve: bool,
    /// Of the copy, or the comparison.
    pub rows: Option<u64>,
}

impl Settings {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut settings = Self {
            parts: Vec::new(),
            rounds: 3,
            transactions: None,
            seconds: 15,
            loads: Vec::new(),
            workers: None,
            replica_workers: vec![1, 2, 4, 8],
            delays: vec![0, 1, 2, 5],
            durability: vec![Durability::Durable, Durability::Relaxed],
            preserve: false,
            rows: None,
        };
        while let Some(argument) = arguments.next() {
            let Some(name) = argument.strip_prefix("--") else {
                settings.parts.push(argument);
                continue;
            };
            let value = arguments
                .next()
                .with_context(|| format!("{argument} needs a value; {USAGE}"))?;
            match name {
                "rounds" => settings.rounds = number::<usize>(&value)?.max(1),
                "transactions" => settings.transactions = Some(number(&value)?),
                "seconds" => settings.seconds = number(&value)?,
                "workers" => settings.workers = Some(number(&value)?),
                "replica-workers" => settings.replica_workers = list(&value, number)?,
                "delays" => settings.delays = list(&value, number)?,
                "loads" => settings.loads = list(&value, Workload::named)?,
                "durability" => settings.durability = list(&value, Durability::named)?,
                "gtid" => {
                    settings.preserve = match value.as_str() {
                        "own" => false,
                        "preserve" => true,
                        _ => bail!("--gtid {value}: own, or preserve; {USAGE}"),
                    }
                }
                "rows" => settings.rows = Some(number(&value)?),
                _ => bail!("{argument}: unknown; {USAGE}"),
            }
        }
        Ok(settings)
    }

    pub fn loads<'a>(&'a self, default: &'a [Workload]) -> &'a [Workload] {
        match self.loads.is_empty() {
            true => default,
            false => &self.loads,
        }
    }

    pub fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse()
        .ok()
        .with_context(|| format!("{text}: not a number; {USAGE}"))
}

fn list<T>(text: &str, item: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    text.split(',').map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings> {
        Settings::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn parts_and_options() {
        let settings =
            parse("apply --loads tpcc,hot-row scaling --delays 0,2 --workers 4").unwrap();
        assert_eq!(settings.loads, [Workload::Tpcc, Workload::HotRow]);
        assert_eq!(settings.delays, [0, 2]);
        assert!(settings.wants("scaling") && settings.wants("apply") && !settings.wants("kafka"));
        assert!(parse("").unwrap().wants("kafka"));
    }

    #[test]
    fn what_is_not_known() {
        assert!(parse("--workers").is_err());
        assert!(parse("--loads tpch").is_err());
        assert!(parse("--columns 3").is_err());
        assert!(parse("--gtid other").is_err());
    }
}
