//! Brings rows of the target in line with the source while the stream goes on: docs/diff.md has the argument.
//!
//! In one transaction of the target the rows in question are locked, so that the stream can't change them; the source is looked at, and the
//! stream is waited for until it has passed that moment, which it can only if nothing that it brings is about these rows; the source is
//! looked at once more. What is the same all along is written, read back, and committed with its journal. Everything else is looked at again
//! as if it had just been found.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use binferry_schemas::{
    fault::{Fault, Kind},
    filter::TableFilter,
    gtid::{GtidSet, Uuid},
    record::{ForeignKeys, Offset, Operation},
    row::RowSchema,
};
use futures_util::future::BoxFuture;

use super::{
    Both, Options, Side,
    error::DiffError,
    pair::Pair,
    report::{Definition, Repaired},
    server::{self, Digest, Server},
    settle,
    sql::{self, Key},
};
use crate::{
    batch::Limits,
    change::{RowChange, RowImage},
    conflict::{self, Court, Mend, Mender, Policies, journal},
    connection::Target,
    error::{ApplyError, Place, TableName},
    progress,
    render::name::quoted,
    retry::{Verdict, verdict},
    target::{mapping::Mapping, table::TargetTable},
};

/// How long rows are locked while the stream is waited for: less than an applier waits for a lock.
const SHORTEST_HOLD: Duration = Duration::from_millis(250);
const LONGEST_HOLD: Duration = Duration::from_secs(8);
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// Rows that are given up in a transaction are the exception, so a few statements are sent for each.
const STALL: Duration = Duration::from_secs(60);

/// Rows of the source in the form in which a log carries them.
pub trait SourceRows: fmt::Debug + Send + Sync {
    /// The rows that meet the conditions, SQL over the table's columns, each of which fits one row at most. `None`: there is no such table.
    fn read<'a>(
        &'a self,
        table: &'a TableName,
        conditions: &'a [String],
    ) -> BoxFuture<'a, Result<Option<SourceTable>, SourceFault>>;
}

pub type SourceFault = Box<dyn Fault + Send + Sync>;

#[derive(Debug)]
pub struct SourceTable {
    pub schema: RowSchema,
    /// A datum of the schema for each condition, where there is a row.
    pub rows: Vec<Option<Vec<u8>>>,
}

/// How a comparison repairs.
#[derive(Debug, Clone)]
pub struct Repair {
    pub rows: Arc<dyn SourceRows>,
    /// Everything is done and taken back.
    pub dry_run: bool,
    /// Tables of the target whose triggers may do what they do.
    pub triggers: Option<TableFilter>,
}

/// A row that differs: its key and its digests, or without a key its digest and how often it is there.
#[derive(Debug, Clone)]
pub struct Differing {
    pub key: Key,
    pub source: Option<Digest>,
    pub target: Option<Digest>,
}

/// What became of it. `None`: it has changed, or could not be held long enough, and is to be looked at again.
pub type Mended = Option<Repaired>;

/// Is all there that a repair needs? Asks the server for what the statements need, before hours are spent.
pub async fn prepare(
    server: &mut Server,
    tables: &[(TableName, TargetTable)],
    repair: &Repair,
) -> Result<(), DiffError> {
    if !repair.dry_run {
        let fail = |error| DiffError::of(Side::Target, error);
        let conn = &mut server.connection().conn;
        progress::create_tables(conn).await.map_err(fail)?;
        journal::create_table(conn).await.map_err(fail)?;
    }
    server.begin_locking().await?;
    if !repair.dry_run {
        server
            .run("INSERT INTO binferry.conflict SELECT * FROM binferry.conflict WHERE FALSE")
            .await?;
    }
    for (name, table) in tables {
        let at = format!("{}.{}", quoted(&name.database), quoted(&name.table));
        let columns: Vec<String> = (table.columns.iter())
            .filter(|column| !column.generated)
            .map(|column| quoted(&column.name))
            .collect();
        let (Some(first), list) = (columns.first(), columns.join(",")) else {
            continue;
        };
        for statement in [
            format!("INSERT INTO {at} ({list}) SELECT {list} FROM {at} WHERE FALSE"),
            format!("UPDATE {at} SET {first}={first} WHERE FALSE"),
            format!("DELETE FROM {at} WHERE FALSE"),
        ] {
            server.run(&statement).await?;
        }
    }
    server.run("ROLLBACK").await
}

/// Children before their parents, so that a row goes when nothing refers to it any more.
pub fn children_first(names: &mut Vec<TableName>, tables: &[(TableName, TargetTable)]) {
    let mut ordered = Vec::with_capacity(names.len());
    let mut seen = HashSet::new();
    fn visit(
        name: &TableName,
        tables: &[(TableName, TargetTable)],
        seen: &mut HashSet<TableName>,
        ordered: &mut Vec<TableName>,
    ) {
        if !seen.insert(name.clone()) {
            return;
        }
        for (child, table) in tables {
            if table.references.iter().any(|key| key.parent == *name) {
                visit(child, tables, seen, ordered);
            }
        }
        ordered.push(name.clone());
    }
    for name in names.iter() {
        visit(name, tables, &mut seen, &mut ordered);
    }
    ordered.retain(|name| names.contains(name));
    *names = ordered;
}

/// How long rows are held in this attempt.
pub fn hold(attempt: u32) -> Duration {
    (SHORTEST_HOLD * 2_u32.saturating_pow(attempt.min(5))).min(LONGEST_HOLD)
}

/// Brings the rows in line, in one transaction.
pub async fn mend(
    servers: &mut Both<Server>,
    pair: &Pair,
    rows: &[Differing],
    options: &Options,
    repair: &Repair,
    hold: Duration,
) -> Result<Vec<Mended>, DiffError> {
    let mut session = Server::open(Side::Target, &options.target).await?;
    let mut transaction = Transaction {
        servers,
        session: &mut session,
        pair,
        rows,
        options,
        repair,
    };
    let mended = match transaction.run(hold).await {
        // A deadlock with an applier, or a lock that did not come: nothing is done.
        Err(DiffError::Server { source, .. })
            if matches!(*source, ApplyError::Server { .. })
                && verdict(&source) == Verdict::Retry =>
        {
            Ok(vec![None; rows.len()])
        }
        mended => mended,
    };
    // The session ends either way, and with it what it has not committed.
    session.end().await;
    mended
}

struct Transaction<'a> {
    servers: &'a mut Both<Server>,
    /// Writes.
    session: &'a mut Server,
    pair: &'a Pair,
    rows: &'a [Differing],
    options: &'a Options,
    repair: &'a Repair,
}

impl Transaction<'_> {
    async fn run(&mut self, hold: Duration) -> Result<Vec<Mended>, DiffError> {
        let nothing = Ok(vec![None; self.rows.len()]);
        let keys: Vec<Key> = self.rows.iter().map(|row| row.key.clone()).collect();
        self.session.begin_locking().await?;
        let there = self.session.lock(self.pair, &keys).await?;
        let mut same: Vec<bool> = (self.rows.iter().zip(there))
            .map(|(row, there)| row.target == there)
            .collect();
        let look = settle::source(&mut self.servers.source, self.pair, &keys).await?;
        self.keep(&mut same, &look.rows);
        if !same.contains(&true) {
            return nothing;
        }
        let Some(court) = self.passed(&look.after, hold).await? else {
            return nothing;
        };
        let mends = match self.mends(&same, court.1).await? {
            Ok(mends) => mends,
            Err(reason) => {
                let refused = Repaired::Not(reason);
                let of = |same: bool| same.then(|| refused.clone());
                return Ok(same.into_iter().map(of).collect());
            }
        };
        let again = settle::source(&mut self.servers.source, self.pair, &keys).await?;
        self.keep(&mut same, &again.rows);
        let mut mended = self.followed(&same).await?;
        let limits = limits(self.session.connection());
        let mut mender = Mender::new(
            self.session.connection(),
            &court.0,
            &limits,
            STALL,
            !self.repair.dry_run,
        );
        // What goes may hold values of what comes.
        let (gone, come): (Vec<_>, Vec<_>) = (mends.iter())
            .filter(|(at, _)| same[*at])
            .partition(|(_, mend)| mend.change.after.is_none());
        for (at, mend) in gone.into_iter().chain(come) {
            if let Some(Repaired::Not(_)) = mended[*at] {
                continue;
            }
            mended[*at] = match mender.row(mend).await {
                Ok(outcome) => Some(Repaired::Done(outcome)),
                Err(error) => match conflict::reason(&error) {
                    Some(reason) => Some(Repaired::Not(reason)),
                    None => return Err(DiffError::of(Side::Target, error)),
                },
            };
        }
        let now = self.session.lock(self.pair, &keys).await?;
        let mut odd = false;
        for ((row, mended), now) in self.rows.iter().zip(&mut mended).zip(now) {
            if matches!(mended, Some(Repaired::Done(_))) && now != row.source {
                *mended = Some(Repaired::Not(
                    "what was written reads back as another row: a trigger or a column's definition has changed it, or the server has left a document alone that it takes for equal".to_owned(),
                ));
                odd = true;
            }
        }
        if odd || self.repair.dry_run {
            self.session.run("ROLLBACK").await?;
        } else {
            self.session.run("COMMIT").await?;
        }
        if odd {
            // The others come again, without these.
            for mended in &mut mended {
                mended.take_if(|mended| matches!(mended, Repaired::Done(_)));
            }
        }
        Ok(mended)
    }

    /// Only rows that the source has as they were found.
    fn keep(&self, same: &mut [bool], here: &[Option<Digest>]) {
        for ((same, row), here) in same.iter_mut().zip(self.rows).zip(here) {
            *same &= row.source == *here;
        }
    }

    /// Waits until the stream has passed what the source had committed; then says in whose name the journal is kept, and where. `None`: it
    /// has not come so far.
    async fn passed(
        &mut self,
        executed: &GtidSet,
        hold: Duration,
    ) -> Result<Option<(Court, Arc<Place>)>, DiffError> {
        let until = Instant::now() + hold;
        let own_key = (self.pair.definitions.iter())
            .any(|definition| matches!(definition, Definition::KeyExtra { .. }));
        let court = |stream: &str, log, offset| {
            let court = Court {
                policies: Arc::new(Policies::source_wins(!own_key)),
                stream: stream.to_owned(),
                log,
            };
            Some((court, Arc::new(Place { gtid: None, offset })))
        };
        let Some(stream) = &self.options.stream else {
            return Ok(court("", Uuid::nil(), Offset(0)));
        };
        loop {
            if let Some(found) = self.servers.target.progress(stream).await?
                && found.state.set.contains_set(executed)
            {
                return Ok(court(stream, found.log, found.offset));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// For each row that is to be mended, by its number, how. An error says why none of them can be.
    async fn mends(
        &mut self,
        same: &[bool],
        place: Arc<Place>,
    ) -> Result<Result<Vec<(usize, Mend)>, String>, DiffError> {
        let odd = |server: &Server| server.odd();
        let wanted: Vec<usize> = (0..self.rows.len())
            .filter(|at| same[*at] && self.rows[*at].source.is_some())
            .collect();
        let conditions: Vec<String> = (wanted.iter())
            .map(|at| sql::condition(self.pair, Side::Source, &self.rows[*at].key))
            .collect::<Option<_>>()
            .ok_or_else(|| odd(&self.servers.source))?;
        let read = self.repair.rows.read(&self.pair.name, &conditions).await;
        let table = match read {
            Ok(Some(table)) => table,
            Ok(None) => return Ok(Err("the source has no such table any more".to_owned())),
            Err(error) if error.kind() == Kind::Data => return Ok(Err(error.to_string())),
            Err(error) => return Err(DiffError::Rows(error)),
        };
        let mapping = match self.mapping(table.schema) {
            Ok(mapping) => Arc::new(mapping),
            Err(reason) => return Ok(Err(reason)),
        };
        let mut datums: Vec<Option<Vec<u8>>> = vec![None; self.rows.len()];
        for (at, datum) in wanted.iter().zip(table.rows) {
            datums[*at] = datum;
        }
        let mut mends = Vec::new();
        for (at, (row, datum)) in self.rows.iter().zip(datums).enumerate() {
            // A row that has just gone is found out by the next look at the source.
            if !same[at] || row.source.is_some() && datum.is_none() {
                continue;
            }
            let mut condition = sql::condition(self.pair, Side::Target, &row.key)
                .ok_or_else(|| odd(&self.servers.target))?;
            let (mut times, mut image) = (1, datum);
            if self.pair.key.is_empty() {
                let (here, there) = (server::count(row.source), server::count(row.target));
                times = here.abs_diff(there);
                condition = match here > there {
                    true => "FALSE".to_owned(),
                    false => condition + " LIMIT 1",
                };
                image = image.filter(|_| here > there);
            }
            for _ in 0..times {
                let after = image.as_ref().map(|datum| RowImage {
                    datum: datum.clone().into(),
                    present: None,
                });
                let change = RowChange {
                    mapping: Arc::clone(&mapping),
                    operation: Operation::Update,
                    before: None,
                    after,
                    foreign_keys: ForeignKeys::Unchecked,
                    place: Arc::clone(&place),
                    index: 0,
                };
                let condition = condition.clone().into_bytes();
                mends.push((at, Mend { change, condition }));
            }
        }
        Ok(Ok(mends))
    }

    /// The rows that can't go, because rows of another table would go or change with them by a foreign key. Those are locked, so none comes.
    async fn followed(&mut self, same: &[bool]) -> Result<Vec<Mended>, DiffError> {
        let mut mended: Vec<Mended> = vec![None; self.rows.len()];
        for child in &self.pair.there.cascades {
            let Some(table) = self.session.table(child).await? else {
                continue;
            };
            let keys = table.references.iter();
            for reference in keys.filter(|key| key.parent == self.pair.name) {
                let list = |columns: &[String]| {
                    let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
                    columns.join(",")
                };
                for (at, row) in self.rows.iter().enumerate() {
                    if !same[at] || row.source.is_some() || mended[at].is_some() {
                        continue;
                    }
                    let condition = sql::condition(self.pair, Side::Target, &row.key);
                    let condition = condition.ok_or_else(|| self.session.odd())?;
                    let follows = format!(
                        "SELECT 1 FROM {}.{} WHERE ({}) IN (SELECT {} FROM {} WHERE {condition}) LIMIT 1 FOR UPDATE",
                        quoted(&child.database),
                        quoted(&child.table),
                        list(&reference.columns),
                        list(&reference.parent_columns),
                        self.pair.quoted.target,
                    );
                    if self.session.finds(follows).await? {
                        let reason =
                            format!("rows of {child} would go or change with it, by a foreign key");
                        mended[at] = Some(Repaired::Not(reason));
                    }
                }
            }
        }
        Ok(mended)
    }

    fn mapping(&self, schema: RowSchema) -> Result<Mapping, String> {
        let mut there = self.pair.there.clone();
        let (database, table) = (&self.pair.name.database, &self.pair.name.table);
        if (self.repair.triggers.as_ref()).is_some_and(|tables| tables.matches(database, table)) {
            there.trigger = None;
        }
        let mapping = Mapping::new(Arc::new(schema), &there);
        let mut mapping = mapping.map_err(|problem| problem.to_string())?;
        // Rows of another table that it refers to may be missing as well.
        mapping.parents_copied = true;
        Ok(mapping)
    }
}

fn limits(target: &Target) -> Limits {
    Limits {
        statement_bytes: target.max_packet / 4,
        statement_rows: 1,
        packet: target.max_packet,
    }
}
