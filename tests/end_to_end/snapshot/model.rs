//! The judge of copies, which shares nothing with the program but the records' decoder: what a reader makes of a log, by the rules of
//! docs/records.md, held in memory.
//!
//! It is as strict as the rules allow: while a table is being copied, an update may find no row; otherwise every change must find exactly
//! the row that it speaks of, and a snapshot row must equal the row that is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result, bail, ensure};
use binferry_schemas::{
    datum::{self, Values},
    gtid::Uuid,
    record::{Body, Changes, Operation, Over, Record, SnapshotStep, TableRef, Transaction},
    row::RowSchema,
};
use binferry_transport::{
    embedded::EmbeddedLog,
    log::{Log, Stored},
};

pub type Name = (String, String);

/// A table as the log has it. Rows are datums.
#[derive(Debug, Default)]
pub struct Table {
    key: Vec<String>,
    /// By key; without one, by themselves, and how often.
    rows: BTreeMap<Vec<u8>, (Vec<u8>, usize)>,
    copying: Option<Uuid>,
    upper: Option<Vec<u8>>,
    next_chunk: u64,
}

#[derive(Debug, Default)]
pub struct Model {
    pub tables: BTreeMap<Name, Table>,
    /// Tables are known from the beginning, and not by their copy.
    whole: bool,
    newest: Option<Uuid>,
    expected: u64,
    chunks: Vec<Stored>,
    parts: Vec<Vec<u8>>,
    pub schemas: HashMap<u64, RowSchema>,
    /// The row schemas under which each table's rows came.
    pub named: BTreeMap<Name, BTreeSet<u64>>,
    pub snapshot_rows: u64,
    pub left_out: u64,
    /// Keys that were left out of ranges, in them or not.
    pub in_question: u64,
    pub begun: u64,
    pub given_up: u64,
    pub jobs_done: u64,
}

/// Reads the log in a folder to its end. `whole`: its first record is older than all tables.
pub fn read(folder: &std::path::Path, whole: bool) -> Result<Model> {
    crate::records::with_log(folder, async |log, records| {
        let mut model = Model {
            whole,
            ..Model::default()
        };
        for stored in records {
            let offset = stored.offset.0;
            let taken = model.record(log, stored).await;
            taken.with_context(|| format!("record {offset}"))?;
        }
        Ok(model)
    })
}

impl Model {
    async fn record(&mut self, log: &EmbeddedLog, stored: Stored) -> Result<()> {
        let bytes = stored.bytes.clone();
        let record = Record::decode(&bytes)?;
        let (who, number) = (record.header.incarnation.0, record.header.sequence);
        if let Body::Start(_) = record.body {
            (self.newest, self.expected) = (Some(who), 1);
            self.chunks.clear();
            self.parts.clear();
            return Ok(());
        }
        if self.newest != Some(who) || number != self.expected {
            return Ok(());
        }
        self.expected += 1;
        let tables = match &record.body {
            Body::WriteSet(set) => set.tables.clone(),
            Body::SnapshotRows(rows) => vec![rows.head.table.clone()],
            Body::Snapshot(snapshot) => match &snapshot.step {
                SnapshotStep::Begin(begin) => vec![begin.table.clone()],
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        for table in &tables {
            let name = (table.database.clone(), table.table.clone());
            self.named.entry(name).or_default().insert(table.schema.0);
            if let std::collections::hash_map::Entry::Vacant(entry) =
                self.schemas.entry(table.schema.0)
            {
                let text = log.schema(table.schema).await?.context("no row schema")?;
                entry.insert(RowSchema::from_avro(&text)?);
            }
        }
        match record.body {
            Body::WriteSet(set) => self.chunk(&set.transaction, stored)?,
            Body::Ddl(ddl) => {
                self.definition(&ddl.statement, &ddl.tables)?;
                self.chunk(&ddl.transaction, stored)?;
            }
            Body::Snapshot(snapshot) => {
                ensure!(self.chunks.is_empty(), "a step inside a transaction");
                self.step(snapshot.step)?;
            }
            Body::SnapshotRows(rows) => {
                ensure!(self.chunks.is_empty(), "rows inside a transaction");
                let head = &rows.head;
                if head.part == 0 {
                    self.parts.clear();
                }
                ensure!(head.part as usize == self.parts.len());
                self.parts.push(bytes.clone());
                if head.last {
                    let parts = std::mem::take(&mut self.parts);
                    self.rows(&parts)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, step: SnapshotStep) -> Result<()> {
        match step {
            SnapshotStep::Begin(begin) => {
                self.begun += 1;
                let name = (begin.table.database.clone(), begin.table.table.clone());
                ensure!(begin.create_table.contains("CREATE TABLE"));
                let table = self.tables.entry(name).or_default();
                if begin.over == Over::Remove {
                    table.rows.clear();
                }
                (table.key, table.copying) = (begin.key, Some(begin.copy));
                (table.upper, table.next_chunk) = (None, 0);
            }
            SnapshotStep::End(end) => {
                self.left_out += end.left_out;
                let mut tables = self.tables.values_mut();
                let table = tables
                    .find(|t| t.copying == Some(end.copy))
                    .context("an end")?;
                ensure!(table.upper.is_none() && (table.next_chunk > 0 || table.key.is_empty()));
                table.copying = None;
            }
            SnapshotStep::GivenUp(given_up) => {
                self.given_up += 1;
                let mut tables = self.tables.values_mut();
                let table = tables.find(|t| t.copying == Some(given_up.copy));
                table.context("a copy that is given up")?.copying = None;
            }
            SnapshotStep::Done(_) => self.jobs_done += 1,
            SnapshotStep::Wanted(_) | SnapshotStep::Planned(_) | SnapshotStep::Database(_) => {}
        }
        Ok(())
    }

    fn rows(&mut self, parts: &[Vec<u8>]) -> Result<()> {
        let mut datum = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let Body::SnapshotRows(rows) = Record::decode(part)?.body else {
                bail!("no rows");
            };
            let head = &rows.head;
            let schema = &self.schemas[&head.table.schema.0];
            let name = (head.table.database.clone(), head.table.table.clone());
            let table = self.tables.get_mut(&name).context("rows of no copy")?;
            ensure!(table.copying == Some(head.copy), "rows of another copy");
            ensure!(head.chunk == table.next_chunk, "a range out of order");
            if n == 0 {
                self.in_question += rows.left_out.len() as u64;
            }
            if n == 0 && !table.key.is_empty() {
                ensure!(rows.lower == table.upper, "a gap between ranges");
            }
            for change in rows.rows.iter() {
                let change = change?;
                ensure!(change.operation == Operation::Insert && change.table == 0);
                datum.extend_from_slice(change.after.context("a row")?.datum);
                if change.more {
                    continue;
                }
                let row = std::mem::take(&mut datum);
                let key = key_of(schema, &table.key, &row)?;
                ensure!(!rows.left_out.contains(&key), "a row that is left out");
                self.snapshot_rows += 1;
                match table.key.is_empty() {
                    true => table.rows.entry(row.clone()).or_insert((row, 0)).1 += 1,
                    false => {
                        let held = table.rows.entry(key).or_insert_with(|| (row.clone(), 1));
                        ensure!(held.0 == row, "a snapshot row differs from what is there");
                    }
                }
            }
            if n + 1 == parts.len() {
                (table.upper, table.next_chunk) = (head.upper.clone(), head.chunk + 1);
            }
        }
        Ok(())
    }

    fn chunk(&mut self, transaction: &Transaction, stored: Stored) -> Result<()> {
        if transaction.chunk == 0 {
            self.chunks.clear();
        }
        ensure!(transaction.chunk as usize == self.chunks.len());
        self.chunks.push(stored);
        if !transaction.last {
            return Ok(());
        }
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for stored in std::mem::take(&mut self.chunks) {
            let Body::WriteSet(set) = Record::decode(&stored.bytes)?.body else {
                continue;
            };
            let changes: &Changes<'_> = &set.changes;
            for change in changes {
                let change = change?;
                let of = |image: Option<binferry_schemas::record::Image<'_>>| {
                    image.map(|image| image.datum.to_vec()).unwrap_or_default()
                };
                before.extend(of(change.before));
                after.extend(of(change.after));
                if !change.more {
                    let table = &set.tables[change.table as usize];
                    self.change(table, change.operation, &before, &after)
                        .with_context(|| format!("{} {}", transaction.gtid, table.table))?;
                    before.clear();
                    after.clear();
                }
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        table: &TableRef,
        operation: Operation,
        before: &[u8],
        after: &[u8],
    ) -> Result<()> {
        let schema = &self.schemas[&table.schema.0];
        let name = (table.database.clone(), table.table.clone());
        let table = match self.whole {
            true => self.tables.entry(name).or_default(),
            // What comes before its copy, the copy says again.
            false => match self.tables.get_mut(&name) {
                Some(table) => table,
                None => return Ok(()),
            },
        };
        let keyless = table.key.is_empty();
        if keyless && table.copying.is_some() {
            return Ok(());
        }
        let key = |row: &[u8]| match keyless {
            true => Ok(row.to_vec()),
            false => key_of(schema, &table.key, row),
        };
        let lenient = table.copying.is_some();
        if operation != Operation::Insert {
            let key = key(before)?;
            match table.rows.get_mut(&key) {
                Some((row, count)) => {
                    ensure!(row == before, "a row differs from the before image");
                    *count -= 1;
                    if *count == 0 {
                        table.rows.remove(&key);
                    }
                }
                None => ensure!(lenient, "a row is missing"),
            }
        }
        if operation != Operation::Delete {
            let held = table.rows.entry(key(after)?).or_insert((after.to_vec(), 0));
            held.1 += 1;
            ensure!(keyless || held.1 == 1, "a row is there already");
        }
        Ok(())
    }

    /// As much of it as the tests' histories have.
    fn definition(&mut self, statement: &str, tables: &[Name]) -> Result<()> {
        if statement.to_ascii_uppercase().starts_with("TRUNCATE") {
            for name in tables {
                if let Some(table) = self.tables.get_mut(name) {
                    table.rows.clear();
                }
            }
        }
        Ok(())
    }

    /// The rows of each table, in an order of their own.
    pub fn contents(&self) -> BTreeMap<&Name, Vec<&[u8]>> {
        let rows = |table: &'_ Table| -> Vec<Vec<u8>> {
            let all = table.rows.values();
            all.flat_map(|(row, count)| std::iter::repeat_n(row.clone(), *count))
                .collect()
        };
        let mut contents = BTreeMap::new();
        for (name, table) in &self.tables {
            // Leaked: in a test, for a simpler signature.
            let mut rows: Vec<&[u8]> = rows(table).into_iter().map(|row| &*row.leak()).collect();
            rows.sort_unstable();
            if !rows.is_empty() {
                contents.insert(name, rows);
            }
        }
        contents
    }
}

fn key_of(schema: &RowSchema, key: &[String], row: &[u8]) -> Result<Vec<u8>> {
    let values: Vec<_> = Values::new(schema, None, row).collect::<Result<_, _>>()?;
    let mut out = Vec::new();
    for name in key {
        let at = schema.columns.iter().position(|c| c.name == *name);
        let at = at.context("a key's column")?;
        let value = values[at].context("a value of the key")?;
        datum::put(&mut out, &schema.columns[at].ty, &value)?;
    }
    Ok(out)
}
