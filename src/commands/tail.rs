//! `tail`: every accepted row change as a line of JSON, and on.
//!
//! A transaction is printed when its last chunk has been folded in, because only then does it count. One of several chunks is read a
//! second time for that, so memory does not depend on its size.

use std::{
    collections::HashMap,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use binferry_schemas::{
    filter::TableFilter,
    fingerprint::Fingerprint,
    gtid::{Gtid, GtidSet},
    record::{Body, Change, Image, Offset, Record, SnapshotRows, Transaction, WriteSet},
    row::RowSchema,
};
use binferry_transport::{
    error::LogError,
    fold::{Fold, Outcome},
    log::{Log, Stored},
    resume::{start_state, tail_state},
    strangers::{Strangers, head_of},
};

use crate::{
    cli::{Options, Place},
    failure::Failure,
    rows::{CopiedLine, Line},
    stop,
};

pub async fn run(options: &Options) -> Result<ExitCode, Failure> {
    let cancel = stop::on_signal()?;
    let Some(log) = super::unless_stopped(&cancel, super::open_log(options)).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    // Rows of copies have no GTID: to the log's end is to its last record.
    let (mut missing, through) = match options.until()? {
        None => (None, Offset(0)),
        Some(Place::Set(set)) => (Some(set), Offset(0)),
        Some(_) => {
            let tail = tail_state(log.as_ref()).await?;
            (Some(tail.set), tail.offset)
        }
    };
    let (mut fold, from) = Fold::resume(start_state(log.as_ref()).await?);
    let mut strangers = Strangers::new(log.as_ref());
    if let Some(missing) = &mut missing {
        *missing = missing.subtract(&fold.state().set);
        if missing.is_empty() && from >= through {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut printer = Printer {
        log: log.clone(),
        filter: options.filter()?,
        first: options.offset.unwrap_or(0),
        schemas: HashMap::new(),
        out: Vec::with_capacity(1 << 16),
    };
    let mut reader = log.reader(from).await?;
    loop {
        let batch = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(ExitCode::SUCCESS),
            batch = reader.next() => batch?,
        };
        for stored in &batch {
            let head = strangers.head(stored);
            let Some(head) = head.map_err(|e| corrupt(stored.offset, e))? else {
                continue;
            };
            let first = match fold.step(stored.offset, &head).outcome {
                // It counts, and its changes come with its XA COMMIT.
                Outcome::Prepared => Some(stored.offset),
                Outcome::Chunk {
                    first, last: true, ..
                }
                | Outcome::Rows {
                    first, last: true, ..
                } => Some(first),
                // The first one says which transactions count as present without being there.
                Outcome::Start => {
                    if let Some(missing) = &mut missing {
                        *missing = missing.subtract(&fold.state().set);
                    }
                    None
                }
                Outcome::Checkpoint => match fold.missed(&head) {
                    None => None,
                    Some(missing) => {
                        printer.flush()?;
                        return Err(Failure::from(LogError::Incomplete {
                            log: log.name(),
                            offset: stored.offset,
                            missing,
                        }));
                    }
                },
                _ => None,
            };
            if let Some(first) = first
                && let Some(gtid) = printer.record(first, stored).await?
                && let Some(missing) = &mut missing
            {
                missing.pass(&gtid);
            }
            if missing.as_ref().is_some_and(GtidSet::is_empty) && fold.state().offset >= through {
                printer.flush()?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        if !printer.flush()? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn corrupt(offset: Offset, error: impl std::fmt::Display) -> Failure {
    Failure::data(format!("record {}: {error}", offset.0))
}

struct Printer {
    log: Arc<dyn Log>,
    filter: TableFilter,
    first: u64,
    schemas: HashMap<Fingerprint, Arc<RowSchema>>,
    out: Vec<u8>,
}

/// A change whose fragments are being joined.
#[derive(Default)]
struct Joined {
    before: Option<Whole>,
    after: Option<Whole>,
}

/// An image as far as it is there.
#[derive(Default)]
struct Whole {
    present: Option<Vec<u8>>,
    datum: Vec<u8>,
}

impl Joined {
    fn add(&mut self, change: &Change<'_>) {
        for (into, part) in [
            (&mut self.before, change.before),
            (&mut self.after, change.after),
        ] {
            if let Some(part) = part {
                let into = into.get_or_insert_default();
                into.present = part.present.map(<[u8]>::to_vec);
                into.datum.extend_from_slice(part.datum);
            }
        }
    }
}

impl Whole {
    fn image(&self) -> Image<'_> {
        Image {
            present: self.present.as_deref(),
            datum: &self.datum,
        }
    }
}

impl Printer {
    /// Prints what is whole with this record; gives the transaction, when it is one.
    async fn record(&mut self, first: Offset, stored: &Stored) -> Result<Option<Gtid>, Failure> {
        let record = Record::decode(&stored.bytes).map_err(|e| corrupt(stored.offset, e))?;
        Ok(match &record.body {
            Body::WriteSet(set) => {
                if first == stored.offset {
                    self.single(stored.offset, set).await?;
                } else {
                    self.again(first, stored.offset, &record, set).await?;
                }
                Some(set.transaction.gtid)
            }
            Body::Ddl(ddl) => Some(ddl.transaction.gtid),
            Body::XaPrepared(prepared) => Some(prepared.write_set.transaction.gtid),
            Body::SnapshotRows(rows) => {
                self.copied(first, stored.offset, &record, rows).await?;
                None
            }
            _ => None,
        })
    }

    async fn single(&mut self, offset: Offset, set: &WriteSet<'_>) -> Result<(), Failure> {
        let mut index = 0;
        let mut joined = Joined::default();
        self.changes(offset, set, &set.transaction, &mut index, &mut joined)
            .await
    }

    /// A transaction of several chunks: reads its records from `first` up to `last` again.
    async fn again(
        &mut self,
        first: Offset,
        last: Offset,
        newest: &Record<'_>,
        set: &WriteSet<'_>,
    ) -> Result<(), Failure> {
        let mut reader = self.log.reader(first).await?;
        let (mut index, mut joined) = (0, Joined::default());
        let mut next_chunk = 0;
        loop {
            for stored in reader.next().await? {
                let head = head_of(&stored.bytes).map_err(|e| corrupt(stored.offset, e))?;
                let Some(head) = head else {
                    continue;
                };
                if head.header.incarnation == newest.header.incarnation {
                    let record =
                        Record::decode(&stored.bytes).map_err(|e| corrupt(stored.offset, e))?;
                    match &record.body {
                        Body::WriteSet(part)
                            if part.transaction.gtid == set.transaction.gtid
                                && part.transaction.chunk == next_chunk =>
                        {
                            next_chunk += 1;
                            self.changes(
                                stored.offset,
                                part,
                                &part.transaction,
                                &mut index,
                                &mut joined,
                            )
                            .await?;
                            self.flush()?;
                        }
                        Body::Ddl(part)
                            if part.transaction.gtid == set.transaction.gtid
                                && part.transaction.chunk == next_chunk =>
                        {
                            next_chunk += 1
                        }
                        _ => {}
                    }
                }
                if stored.offset >= last {
                    return Ok(());
                }
            }
        }
    }

    async fn changes(
        &mut self,
        offset: Offset,
        set: &WriteSet<'_>,
        transaction: &Transaction,
        index: &mut u64,
        joined: &mut Joined,
    ) -> Result<(), Failure> {
        let mut left = set.changes.count;
        for change in set.changes.iter() {
            let change = change.map_err(|e| corrupt(offset, e))?;
            left -= 1;
            let whole = joined.before.is_none() && joined.after.is_none() && !change.more;
            if !whole {
                joined.add(&change);
                if change.more {
                    continue;
                }
            }
            let parts = std::mem::take(joined);
            let (before, after) = match whole {
                true => (change.before, change.after),
                false => (
                    parts.before.as_ref().map(Whole::image),
                    parts.after.as_ref().map(Whole::image),
                ),
            };
            let number = *index;
            *index += 1;
            let Some(table) = set.tables.get(change.table as usize) else {
                return Err(corrupt(
                    offset,
                    "a change names a table that the record does not have",
                ));
            };
            if offset.0 < self.first || !self.filter.matches(&table.database, &table.table) {
                continue;
            }
            let schema = self.schema(table.schema).await?;
            let line = Line {
                offset: offset.0,
                transaction,
                index: number,
                last: transaction.last && left == 0,
                operation: change.operation,
                schema: &schema,
                before,
                after,
            };
            line.write(&mut self.out)?;
        }
        Ok(())
    }

    /// Rows of a copy. A row that is in several records is read again from its first part.
    async fn copied(
        &mut self,
        first: Offset,
        last: Offset,
        newest: &Record<'_>,
        rows: &SnapshotRows<'_>,
    ) -> Result<(), Failure> {
        let table = &rows.head.table;
        if last.0 < self.first || !self.filter.matches(&table.database, &table.table) {
            return Ok(());
        }
        let schema = self.schema(table.schema).await?;
        let mut joined = Joined::default();
        if first == last {
            return self.copied_part(last, rows, &schema, &mut joined);
        }
        let mut reader = self.log.reader(first).await?;
        let mut next = 0;
        loop {
            for stored in reader.next().await? {
                let record = Record::decode(&stored.bytes).map_err(|e| corrupt(stored.offset, e));
                if let Ok(Record {
                    header,
                    body: Body::SnapshotRows(part),
                }) = record
                    && header.incarnation == newest.header.incarnation
                    && part.head.copy == rows.head.copy
                    && part.head.chunk == rows.head.chunk
                    && part.head.part == next
                {
                    next += 1;
                    self.copied_part(last, &part, &schema, &mut joined)?;
                }
                if stored.offset >= last {
                    return Ok(());
                }
            }
        }
    }

    fn copied_part(
        &mut self,
        offset: Offset,
        rows: &SnapshotRows<'_>,
        schema: &RowSchema,
        joined: &mut Joined,
    ) -> Result<(), Failure> {
        for change in rows.rows.iter() {
            let change = change.map_err(|e| corrupt(offset, e))?;
            let whole = joined.after.is_none() && !change.more;
            if !whole {
                joined.add(&change);
            }
            if change.more {
                continue;
            }
            let parts = std::mem::take(joined);
            let after = match whole {
                true => change.after,
                false => parts.after.as_ref().map(Whole::image),
            };
            let Some(after) = after else {
                return Err(corrupt(offset, "a row of a copy without its image"));
            };
            let line = CopiedLine {
                offset: offset.0,
                schema,
                after,
            };
            line.write(&mut self.out)?;
        }
        Ok(())
    }

    async fn schema(&mut self, fingerprint: Fingerprint) -> Result<Arc<RowSchema>, Failure> {
        if let Some(schema) = self.schemas.get(&fingerprint) {
            return Ok(schema.clone());
        }
        let text = self.log.schema(fingerprint).await?;
        let text = text.ok_or_else(|| {
            Failure::data(format!(
                "the log has no schema {fingerprint}, which a record refers to"
            ))
        })?;
        let schema = RowSchema::from_avro(&text)
            .map_err(|e| Failure::data(format!("schema {fingerprint}: {e}")))?;
        let schema = Arc::new(schema);
        self.schemas.insert(fingerprint, schema.clone());
        Ok(schema)
    }

    /// False when nobody reads stdout any more.
    fn flush(&mut self) -> Result<bool, Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&self.out).and_then(|()| stdout.flush());
        self.out.clear();
        match written {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(e) => Err(Failure::usage(format!("stdout: {e}"))),
        }
    }
}
