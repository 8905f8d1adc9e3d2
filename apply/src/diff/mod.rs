//! Compares tables of two servers while traffic flows: docs/diff.md has the rules and the argument.
//!
//! - [`pair`] matches the tables' definitions, [`column`] finds for each column an expression that is equal on both servers for equal values.
//! - [`walk`] goes through a table by ranges of its key: both servers compute a sum over each range at the same time, and a range whose sums
//!   differ is halved until it is small, and then read row by row, as keys and digests. Tables without a key that both servers order alike go
//!   by buckets of a hash.
//! - [`settle`] looks at rows in question again, by their keys, and [`judge`] decides. No lag makes a difference out of equal rows.
//!
//! - [`repair`] brings rows that differ in line, where that is wanted. Otherwise nothing is written.
//!
//! Memory is bounded by a small range's keys, or a bucket's, whatever a table's size.

mod column;
mod error;
mod judge;
mod pair;
mod repair;
mod report;
mod server;
mod settle;
mod sql;
mod walk;

use std::{fmt, time::Duration};

use binferry_schemas::{address::Address, filter::TableFilter};
use tokio::sync::mpsc;

pub use self::{
    error::DiffError,
    repair::{Repair, SourceFault, SourceRows, SourceTable},
    report::{Definition, Finding, Repaired, ShownKey, Summary},
};
use crate::error::TableName;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// A value for each of the two servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Both<T> {
    pub source: T,
    pub target: T,
}

impl<T> Both<T> {
    fn map<U>(self, mut f: impl FnMut(T) -> U) -> Both<U> {
        Both {
            source: f(self.source),
            target: f(self.target),
        }
    }

    fn of(&self, side: Side) -> &T {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Options {
    pub source: Address,
    pub target: Address,
    pub filter: TableFilter,
    /// Names the progress on the target. `None`: nothing is carried from the one to the other, and what differs for a while differs.
    pub stream: Option<String>,
    /// Ranges that are compared at the same time, each on a connection to either server; at least 1.
    pub workers: usize,
    /// How long a row that changes all the time is looked at.
    pub settle: Duration,
    /// How long to wait for a target that is behind.
    pub patience: Duration,
    /// Tables that need not be compared, and of others the key up to which they need not.
    pub done: Vec<Done>,
    /// What differs is brought in line.
    pub repair: Option<Repair>,
}

/// How far a table is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub table: TableName,
    /// `None`: all of it.
    pub upto: Option<Vec<Vec<u8>>>,
}

#[derive(Debug)]
pub enum Event {
    /// What differs, and what became of it where it was to be repaired.
    Found(Finding, Option<Repaired>),
    /// Of one table at a time, in the order of its keys.
    Done(Done),
    /// A table begins, with the source's estimate of its rows.
    Table {
        name: TableName,
        estimated_rows: u64,
    },
    /// So many rows more were compared.
    Rows(u64),
}

/// The stream that has applied to the target under this name; `None`: none has.
pub async fn has_stream(target: &Address, stream: &str) -> Result<bool, DiffError> {
    let mut server = server::Server::open(Side::Target, target).await?;
    Ok(server.applied(stream).await?.is_some())
}

/// Compares all tables that the filter lets through on either server, and tells what it finds as it goes.
pub async fn diff(options: &Options, events: mpsc::Sender<Event>) -> Result<Summary, DiffError> {
    walk::Walk::begin(options, events).await?.tables().await
}
