//! Passing one transaction that an applier stops at: explicit, and journaled whole.
//!
//! The transaction must be the one that the stream would apply next. Its changes go into the conflict journal, the progress moves behind it,
//! and both are one target transaction; nothing of it is done to the target's tables, which need not even be there. A transaction of many
//! records is read and journaled record by record, so memory stays bounded.
//!
//! The stream is taken over for that, as a starting applier does. One that runs would find itself superseded, so it is refused while one
//! does. A lost answer is found out by asking again: the transaction is then applied, or still the next.

use std::{collections::HashMap, sync::Arc, time::Duration};

use binferry_schemas::{
    fingerprint::Fingerprint,
    gtid::Gtid,
    record::{
        Body, DdlEffect, FoldState, Head, HeadBody, Offset, Record, SnapshotStep, TableRef,
        WriteSet,
    },
    row::RowSchema,
};
use binferry_transport::{
    fold::{Fold, Outcome as FoldOutcome},
    log::{Log, Stored},
    strangers::head_of,
};
use bytes::Bytes;
use mysql_async::{Conn, prelude::Queryable};
use tokio::time::{Instant, sleep};

use crate::{
    batch::PACKET_MARGIN,
    change::RowImage,
    conflict::journal::{self, Entry, Outcome, Subject},
    connection::{self, Target, from_mysql},
    ddl,
    error::{ApplyError, Place, TableName},
    joiner::Joiner,
    options::Options,
    place,
    progress::{self, FIRST_WORKER},
    takeover::{self, Mine},
};

const DOING: &str = "journaling the transaction that is skipped";
/// Journal rows travel together up to this size.
const STATEMENT: usize = 256 << 10;
/// So long the session of an applier may outlive it.
const NOTICED: Duration = Duration::from_secs(5);

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// It is in the journal, with so many rows, and the stream goes on behind it.
    Done { journaled: u64 },
    /// It was applied, or skipped, before.
    Applied,
    /// It is not what the stream would apply next.
    NotNext { next: Option<Gtid> },
}

/// Passes a transaction. Errors: the target or the log is out of reach, the stream has never been applied, or an applier runs.
pub async fn skip(options: &Options, gtid: Gtid) -> Result<Skipped, ApplyError> {
    let mut target = connection::connect(&options.address).await?;
    let skipped = skip_on(&mut target, options, gtid).await;
    // The session ends either way.
    let _ = tokio::time::timeout(Duration::from_secs(2), target.conn.disconnect()).await;
    skipped
}

async fn skip_on(
    target: &mut Target,
    options: &Options,
    gtid: Gtid,
) -> Result<Skipped, ApplyError> {
    let (log, stream) = (&*options.log, options.stream.as_str());
    let found = progress::read(&mut target.conn, stream).await?;
    let found = found.ok_or_else(|| ApplyError::NotStarted {
        stream: stream.to_owned(),
    })?;
    // Nothing is touched for a wrong GTID.
    let state = place::go_on(log, stream, &found.state).await?;
    if let Err(answer) = next(log, state, gtid).await? {
        return Ok(answer);
    }
    // The server may take a moment to notice that an applier has just ended.
    let incarnation = found.incarnation.to_string();
    let patience = Instant::now() + NOTICED;
    while let Some(session) = runs(&mut target.conn, &incarnation).await? {
        if Instant::now() >= patience {
            return Err(ApplyError::Running {
                stream: stream.to_owned(),
                session,
            });
        }
        sleep(Duration::from_millis(100)).await;
    }
    journal::create_table(&mut target.conn).await?;
    let mut mine = Mine::default();
    let (owned, state) = takeover::take_over(&mut target.conn, stream, 1, log, &mut mine).await?;
    let owner = (owned.into_iter().next()).ok_or(ApplyError::Defect("no worker's row"))?;
    let poison = match next(log, state, gtid).await? {
        Ok(poison) => poison,
        Err(answer) => return Ok(answer),
    };
    let begun = target.conn.query_drop("START TRANSACTION").await;
    begun.map_err(|error| from_mysql(error, DOING))?;
    let mut sql = Vec::new();
    progress::put_claim(&mut sql, &owner);
    claimed(target, sql, stream).await?;
    let mut writer = Writer {
        target,
        options,
        gtid,
        schemas: HashMap::new(),
        sql: Vec::new(),
        pending: Vec::new(),
        bytes: 0,
        journaled: 0,
    };
    writer.transaction(&poison).await?;
    let journaled = writer.journaled;
    let mut sql = Vec::new();
    let claim = progress::Ownership {
        version: owner.version + 1,
        ..owner
    };
    progress::put_statement(&mut sql, &claim, &poison.state);
    claimed(target, sql, stream).await?;
    ddl::pass(&mut target.conn, stream).await?;
    let committed = target.conn.query_drop("COMMIT").await;
    committed.map_err(|error| ApplyError::Lost {
        reason: format!("the commit was not confirmed: {}", from_mysql(error, DOING)),
    })?;
    Ok(Skipped::Done { journaled })
}

/// The session of an applier that runs, or of a schema change that one has begun.
async fn runs(conn: &mut Conn, incarnation: &str) -> Result<Option<u64>, ApplyError> {
    match takeover::holder(conn, incarnation, FIRST_WORKER).await? {
        None => takeover::holder(conn, incarnation, ddl::SESSION).await,
        session => Ok(session),
    }
}

/// Runs the progress statement: it must find its row.
async fn claimed(target: &mut Target, sql: Vec<u8>, stream: &str) -> Result<(), ApplyError> {
    let fail = |error| from_mysql(error, DOING);
    let result = target.conn.query_iter(sql).await.map_err(fail)?;
    let rows = result.affected_rows();
    result.drop_result().await.map_err(fail)?;
    match rows {
        1 => Ok(()),
        _ => Err(ApplyError::Superseded {
            stream: stream.to_owned(),
        }),
    }
}

/// The transaction to skip, in the log.
struct Poison {
    /// Of its first record.
    first: Offset,
    /// Of its last.
    last: Offset,
    head: Head,
    /// It only prepares changes, which its XA COMMIT would bring.
    prepared: bool,
    /// The fold behind it.
    state: FoldState,
}

/// Looks for it. What changes nothing on a target may come before it.
async fn next(
    log: &dyn Log,
    state: FoldState,
    wanted: Gtid,
) -> Result<Result<Poison, Skipped>, ApplyError> {
    if state.set.contains(&wanted) {
        return Ok(Err(Skipped::Applied));
    }
    let end = log.bounds().await?.end;
    let from = state.offset;
    let mut fold = Fold::resume(state).0;
    let nothing = Ok(Err(Skipped::NotNext { next: None }));
    if from >= end {
        return nothing;
    }
    let mut reader = log.reader(from).await?;
    loop {
        let batch = reader.next().await?;
        if batch.is_empty() {
            return nothing;
        }
        for Stored { offset, bytes } in batch {
            let broken = |source| ApplyError::Record {
                offset: offset.0,
                source,
            };
            if let Some(head) = head_of(&bytes).map_err(broken)? {
                let outcome = fold.step(offset, &head).outcome;
                // An applier takes them before it can stop at what comes behind.
                if outcome == FoldOutcome::Snapshot && !is_announcement(&head)
                    || matches!(outcome, FoldOutcome::Rows { again: false, .. })
                {
                    return nothing;
                }
                let (first, prepared) = match outcome {
                    FoldOutcome::Chunk {
                        first,
                        last: true,
                        again: false,
                    } => (Some(first), false),
                    FoldOutcome::Prepared => (Some(offset), true),
                    _ => (None, false),
                };
                if let Some(first) = first {
                    let found = head.transaction().map(|transaction| transaction.gtid);
                    if found == Some(wanted) {
                        return Ok(Ok(Poison {
                            first,
                            last: offset,
                            head,
                            prepared,
                            state: fold.into_state(),
                        }));
                    }
                    let harmless = prepared || first == offset && is_harmless(&bytes, &head);
                    if !harmless {
                        return Ok(Err(Skipped::NotNext { next: found }));
                    }
                }
            }
            if offset.0 + 1 >= end.0 {
                return nothing;
            }
        }
    }
}

/// A step of a copy that changes nothing on a target.
fn is_announcement(head: &Head) -> bool {
    let HeadBody::Snapshot(snapshot) = &head.body else {
        return false;
    };
    matches!(
        snapshot.step,
        SnapshotStep::Wanted(_) | SnapshotStep::Planned(_)
    )
}

/// A statement that an applier passes over.
fn is_harmless(bytes: &[u8], head: &Head) -> bool {
    if !matches!(head.body, HeadBody::Ddl(_)) {
        return false;
    }
    match Record::decode(bytes).map(|record| record.body) {
        Ok(Body::Ddl(ddl)) => ddl.effect == DdlEffect::None,
        _ => false,
    }
}

/// Writes the journal inside the open target transaction.
struct Writer<'a> {
    target: &'a mut Target,
    options: &'a Options,
    gtid: Gtid,
    schemas: HashMap<Fingerprint, Arc<RowSchema>>,
    sql: Vec<u8>,
    pending: Vec<Entry>,
    bytes: usize,
    journaled: u64,
}

impl Writer<'_> {
    async fn transaction(&mut self, poison: &Poison) -> Result<(), ApplyError> {
        if !poison.prepared {
            self.records(poison).await?;
        }
        if self.journaled == 0 && self.pending.is_empty() {
            // It changes nothing, and is journaled all the same.
            let entry = self.entry(poison.last);
            self.push(entry).await?;
        }
        self.flush().await
    }

    async fn records(&mut self, poison: &Poison) -> Result<(), ApplyError> {
        let mut reader = self.options.log.reader(poison.first).await?;
        let (mut joiner, mut next_chunk) = (Joiner::default(), 0);
        loop {
            for Stored { offset, bytes } in reader.next().await? {
                if offset > poison.last {
                    return Err(ApplyError::Defect("a transaction without its last chunk"));
                }
                let broken = |source| ApplyError::Record {
                    offset: offset.0,
                    source,
                };
                let Some(head) = head_of(&bytes).map_err(broken)? else {
                    continue;
                };
                // The fold has accepted the chunks of this incarnation; a repeat comes with a number that was there.
                let (HeadBody::WriteSet(chunk) | HeadBody::Ddl(chunk)) = &head.body else {
                    continue;
                };
                if head.header.incarnation != poison.head.header.incarnation
                    || chunk.gtid != self.gtid
                    || chunk.chunk != next_chunk
                {
                    continue;
                }
                next_chunk += 1;
                let block = Bytes::from(bytes);
                match Record::decode(&block).map_err(broken)?.body {
                    Body::WriteSet(set) => self.changes(&block, offset, &set, &mut joiner).await?,
                    Body::Ddl(ddl) => {
                        let mut entry = self.entry(offset);
                        if let [(database, table)] = &ddl.tables[..] {
                            entry.table = Some(TableName {
                                database: database.clone(),
                                table: table.clone(),
                            });
                        }
                        entry.statement = Some(ddl.statement);
                        self.push(entry).await?;
                    }
                    _ => {}
                }
                if offset == poison.last {
                    return joiner.finish(&Arc::new(self.place(offset)));
                }
            }
        }
    }

    async fn changes(
        &mut self,
        block: &Bytes,
        offset: Offset,
        set: &WriteSet<'_>,
        joiner: &mut Joiner,
    ) -> Result<(), ApplyError> {
        let place = Arc::new(self.place(offset));
        for change in &set.changes {
            let change = change.map_err(|source| ApplyError::Record {
                offset: offset.0,
                source,
            })?;
            let Some((before, after)) = joiner.take(block, &change, &place)? else {
                continue;
            };
            let table =
                set.tables
                    .get(change.table as usize)
                    .ok_or_else(|| ApplyError::Malformed {
                        place: Arc::clone(&place),
                        reason: "a change of a table that the record does not name",
                    })?;
            let schema = self.schema(table, &place).await?;
            let image = |image: Option<RowImage>| {
                let image = image.map(|image| image.json(&schema)).transpose();
                image.map_err(|source| ApplyError::Datum {
                    place: Arc::clone(&place),
                    source: Box::new(source),
                })
            };
            let mut entry = self.entry(offset);
            entry.index = Some(joiner.index());
            entry.operation = Some(change.operation);
            entry.table = Some(TableName {
                database: table.database.clone(),
                table: table.table.clone(),
            });
            entry.before = image(before)?;
            entry.after = image(after)?;
            self.push(entry).await?;
        }
        Ok(())
    }

    fn place(&self, offset: Offset) -> Place {
        Place {
            gtid: Some(self.gtid),
            offset,
        }
    }

    fn entry(&self, offset: Offset) -> Entry {
        Entry {
            subject: Subject::Skipped,
            outcome: Outcome::Skipped,
            place: self.place(offset),
            index: None,
            operation: None,
            table: None,
            key: None,
            error: None,
            before: None,
            after: None,
            found: Vec::new(),
            statement: None,
        }
    }

    async fn push(&mut self, entry: Entry) -> Result<(), ApplyError> {
        if self.bytes + entry.size() > STATEMENT {
            self.flush().await?;
        }
        self.bytes += entry.size() + 256;
        self.pending.push(entry);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ApplyError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut from = 0;
        while from < self.pending.len() {
            // Escapes may blow a statement up beyond the server's limit: then row by row.
            let mut to = self.pending.len();
            self.put(from..to);
            if self.sql.len() + PACKET_MARGIN > self.target.max_packet {
                to = from + 1;
                self.put(from..to);
            }
            let bytes = self.sql.len() + PACKET_MARGIN;
            if bytes > self.target.max_packet {
                let entry = &self.pending[from];
                return Err(ApplyError::RowTooLarge {
                    place: Arc::new(entry.place),
                    table: entry.table.clone().unwrap_or(TableName {
                        database: "binferry".to_owned(),
                        table: "conflict".to_owned(),
                    }),
                    bytes: bytes as u64,
                    limit: self.target.max_packet as u64,
                });
            }
            let sql = std::mem::take(&mut self.sql);
            let written = self.target.conn.query_drop(sql).await;
            written.map_err(|error| from_mysql(error, DOING))?;
            from = to;
        }
        self.journaled += self.pending.len() as u64;
        self.pending.clear();
        self.bytes = 0;
        Ok(())
    }

    fn put(&mut self, entries: std::ops::Range<usize>) {
        self.sql.clear();
        let (stream, log) = (&self.options.stream, self.options.log.id());
        journal::put_insert(&mut self.sql, stream, log, &self.pending[entries]);
    }

    async fn schema(
        &mut self,
        table: &TableRef,
        place: &Arc<Place>,
    ) -> Result<Arc<RowSchema>, ApplyError> {
        if let Some(schema) = self.schemas.get(&table.schema) {
            return Ok(Arc::clone(schema));
        }
        let text = self.options.log.schema(table.schema).await?;
        let text = text.ok_or_else(|| ApplyError::SchemaMissing {
            fingerprint: table.schema,
            place: Arc::clone(place),
        })?;
        let schema = RowSchema::from_avro(&text).map_err(|source| ApplyError::RowSchema {
            fingerprint: table.schema,
            source,
        })?;
        let schema = Arc::new(schema);
        self.schemas.insert(table.schema, Arc::clone(&schema));
        Ok(schema)
    }
}
