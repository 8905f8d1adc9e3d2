//! From events to records: one transaction at a time, in chunks of bounded size.
//!
//! A transaction begins with its GTID event and counts with the event that ends it (R6): XID, a COMMIT statement, or the statement itself
//! where it is DDL. Its changes leave in chunks; the last one is marked. Table maps hold for one transaction at most, so a table id that
//! means another table later can't be mistaken; the plan made from a table map is kept for as long as the same bytes come again.
//!
//! The events inside a transaction payload go the same way, one by one as they are decompressed. A large payload comes in parts, before
//! its checksum is known: its changes leave in chunks all the same, because only the last one makes them count, and that one comes from
//! the payload's last event, which is held back until everything was right.

mod counters;
mod definition;
mod rollback;
mod xa;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use binferry_schemas::{
    filter::TableFilter,
    fingerprint::Fingerprint,
    gtid::{Gtid, GtidSet},
    record::{
        Body, Change, Changes, ChangesBuffer, Counts, Ddl, ForeignKeys, TableRef, Transaction,
        WriteSet,
    },
};
use binferry_transport::{log::Log, session::Session};

use self::counters::EventCounts;
pub use self::{counters::Counters, definition::SourceSettings};
use super::{account, error::StreamError, split};
use crate::snapshot::desk::{Desk, Place, Received};
use crate::{
    decode::{
        DecodeError, Decoded, GtidEvent, InnerEvent, MariaDbGtid, MariaDbXa, Payload, QueryEvent,
        RowsEvent, Statement, TableMap, TablePlan, classify, expand, expanded_type,
    },
    dump::Event,
    error::CaptureError,
    preflight::{Flavour, Version},
};

/// A bit of `sql_mode`.
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
/// Bytes that are kept for the next compressed event.
const KEPT: usize = 1 << 20;

/// What an event did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progressed {
    Nothing,
    /// This transaction is whole and appended.
    Transaction(Gtid),
}

#[derive(Debug)]
pub struct Assembly {
    filter: TableFilter,
    settings: SourceSettings,
    /// Of the event under way, seconds since the epoch.
    timestamp: u32,
    limit: usize,
    file: String,
    position: u64,
    plans: HashMap<u64, Mapped>,
    stored: HashSet<Fingerprint>,
    /// Whether MariaDB wrote the present file, and then the newest sequence number of each domain.
    mariadb: bool,
    domains: HashMap<u32, u64>,
    open: Option<Open>,
    payload: Payload,
    /// Where we are in it; `None` outside of one.
    within: Option<Within>,
    /// Kept for its memory: the body of a compressed event, expanded.
    expanded: Vec<u8>,
    /// `Session::appended_bytes` when prepared transactions were last copied for the log's size.
    copied_at_bytes: u64,
    /// Kept for its memory.
    spare: ChangesBuffer,
    counters: Counters,
    events: EventCounts,
    since_us: u64,
    /// GTIDs that were appended; the session's fold follows when they are durable.
    appended: GtidSet,
    /// Where readers of snapshots hand in what they have read.
    desk: Desk,
}

/// What a table id means.
#[derive(Debug)]
struct Mapped {
    /// The table map event that said so.
    body: Vec<u8>,
    /// `None`: not captured.
    plan: Option<Arc<TablePlan>>,
    reference: TableRef,
    /// The number of the transaction that had this table map, and the table's places in the present chunk: one for each kind of changes.
    seen_in: u64,
    places: [Option<((u64, u32), u32)>; ForeignKeys::ALL.len()],
}

#[derive(Debug, Clone, Copy)]
struct Within {
    /// Of the inner event under way.
    offset: u64,
    /// It is the last one.
    last: bool,
}

/// The transaction under way.
#[derive(Debug)]
struct Open {
    transaction: Transaction,
    /// Distinguishes transactions for table maps, and chunks for places.
    number: u64,
    tables: Vec<TableRef>,
    changes: ChangesBuffer,
    /// A BEGIN has been seen: only COMMIT or XID ends it, whatever statements it holds (DROP TEMPORARY TABLE, CREATE TABLE … SELECT).
    begun: bool,
    /// An XA START has been seen, or MariaDB's GTID, which stands for it.
    xa: bool,
    /// Something of it is captured.
    captured: bool,
    /// The source says that a ROLLBACK takes back all of it.
    revocable: bool,
    /// Of the rows, when it began.
    rows_before: [u64; 4],
}

impl Assembly {
    /// `limit`: bytes of a record.
    pub fn new(filter: TableFilter, limit: usize) -> Self {
        Self {
            filter,
            settings: SourceSettings::default(),
            timestamp: 0,
            // Room for the header, the table references and the transaction's fields.
            limit: limit.saturating_sub(16 * 1024).max(1024),
            file: String::new(),
            position: 0,
            plans: HashMap::new(),
            stored: HashSet::new(),
            mariadb: false,
            domains: HashMap::new(),
            open: None,
            payload: Payload::default(),
            within: None,
            expanded: Vec::new(),
            copied_at_bytes: 0,
            spare: ChangesBuffer::new(),
            counters: Counters::default(),
            events: EventCounts::new(),
            since_us: xa::now_us(),
            appended: GtidSet::new(),
            desk: Desk::default(),
        }
    }

    /// What the source says of itself.
    pub fn with_settings(self, settings: SourceSettings) -> Self {
        Self { settings, ..self }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// For a heartbeat.
    pub fn counts(&self) -> Counts {
        counters::counts(
            self.since_us,
            &self.counters,
            &self.events,
            self.desk.copied_rows(),
        )
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    /// Serves the desk, if there is something to do. Only between transactions.
    pub(crate) async fn serve(
        &mut self,
        received: Received,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        let place = Place {
            file: &self.file,
            position: self.position,
            limit: self.limit,
        };
        self.desk
            .turn(received, place, &self.appended, session)
            .await
    }

    /// Whether the desk has something to do here.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.desk.is_open()
            && self.open.is_none()
            && self.desk.has_work(Place {
                file: &self.file,
                position: self.position,
                limit: self.limit,
            })
    }

    /// Takes the next event of the dump. After an error, or dropped before its end, no other may be given.
    pub async fn event(
        &mut self,
        event: Event<'_>,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        self.counters.bytes += (event.body.len() + 23) as u64;
        // A large event comes in parts.
        if !event.more {
            self.counters.events += 1;
            self.events.add(event.type_code);
        }
        self.timestamp = event.timestamp;
        // Before anything can go wrong with it: an error names the event's place, not the one before.
        if event.log_pos != 0 && !event.is_artificial() {
            self.position = grown(self.position, event.log_pos);
        }
        let Some(type_code) = expanded_type(event.type_code) else {
            return self.plain(event, log, session).await;
        };
        let mut body = std::mem::take(&mut self.expanded);
        expand(event.type_code, event.body, &mut body).map_err(|e| self.at(e))?;
        let body_of = Event {
            type_code,
            body: &body,
            ..event
        };
        let progressed = self.plain(body_of, log, session).await?;
        if body.capacity() <= KEPT {
            self.expanded = body;
        }
        Ok(progressed)
    }

    /// Takes an event that is not compressed.
    async fn plain(
        &mut self,
        event: Event<'_>,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        let decoded =
            Decoded::of(event.type_code, event.flags, event.body).map_err(|e| self.at(e))?;
        match decoded {
            Decoded::Payload => self.payload(event, log, session).await,
            Decoded::MariaDbGtid(gtid) => {
                self.begin_mariadb(gtid, event, session)?;
                Ok(Progressed::Nothing)
            }
            other => self.decoded(other, event.body, log, session).await,
        }
    }

    /// Takes an event, or an event inside a payload.
    #[inline]
    async fn decoded(
        &mut self,
        decoded: Decoded<'_>,
        body: &[u8],
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        match decoded {
            Decoded::Rows(rows) => self.rows(rows, session).await?,
            Decoded::TableMap(table_id) => self.table_map(table_id, body, log).await?,
            Decoded::Gtid(gtid) => self.begin(gtid, session)?,
            Decoded::Xid => return self.commit(session).await,
            Decoded::XaPrepare(event) => return self.prepare(event, session).await,
            Decoded::Query(query) => return self.statement(query, log, session).await,
            Decoded::Rotate(rotate) => {
                self.file_ends()?;
                self.file.clear();
                self.file.push_str(rotate.file);
                self.position = rotate.position;
            }
            // Table ids start over with a server.
            Decoded::FormatDescription(description) => {
                self.file_ends()?;
                self.plans.clear();
                self.mariadb = Version::parse(description.server_version)
                    .is_some_and(|version| version.flavour == Flavour::MariaDb);
            }
            Decoded::PreviousGtids(stated) => self.file_begins(&stated, session)?,
            // `plain` and `inner` see to the first two.
            Decoded::Payload | Decoded::MariaDbGtid(_) | Decoded::Passed => {}
        }
        Ok(Progressed::Nothing)
    }

    /// Takes a payload, or the next part of one.
    async fn payload(
        &mut self,
        event: Event<'_>,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        if self.open.is_none() {
            return Err(self.outside("a transaction payload"));
        }
        let mut payload = std::mem::take(&mut self.payload);
        if self.within.is_none() {
            payload.begin();
            self.within = Some(Within {
                offset: 0,
                last: false,
            });
        }
        let (mut input, mut progressed) = (event.body, Progressed::Nothing);
        loop {
            let inner = payload.next(&mut input, !event.more);
            let Some(inner) = inner.map_err(|e| self.at(e))? else {
                break;
            };
            let offset = inner.offset;
            self.within = Some(Within {
                offset,
                last: inner.last,
            });
            progressed = match self.inner(inner, log, session).await {
                Ok(progressed) => progressed,
                Err(CaptureError::Stream(error)) => {
                    return Err(StreamError::Within {
                        offset,
                        error: Box::new(error),
                    }
                    .into());
                }
                Err(error) => return Err(error),
            };
        }
        self.payload = payload;
        if !event.more {
            let offset = self.within.take().map_or(0, |within| within.offset);
            if self.open.is_some() {
                return Err(self.at(DecodeError::Payload {
                    offset,
                    flaw: "does not hold the end of its transaction",
                }));
            }
        }
        Ok(progressed)
    }

    async fn inner(
        &mut self,
        event: InnerEvent<'_>,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        self.counters.events += 1;
        self.events.add(event.type_code);
        let decoded =
            Decoded::of(event.type_code, event.flags, event.body).map_err(|e| self.at(e))?;
        match decoded {
            Decoded::Gtid(_)
            | Decoded::MariaDbGtid(_)
            | Decoded::Rotate(_)
            | Decoded::FormatDescription(_)
            | Decoded::PreviousGtids(_)
            | Decoded::Payload => Err(self.at(DecodeError::Payload {
                offset: event.offset,
                flaw: "holds an event that cannot be part of a transaction",
            })),
            decoded => self.decoded(decoded, event.body, log, session).await,
        }
    }

    /// Whether the transaction may end here: inside a payload only with its last event, and before that the payload may yet turn out to
    /// be damaged.
    fn may_end(&self) -> Result<(), CaptureError> {
        match self.within {
            Some(Within {
                offset,
                last: false,
            }) => Err(self.at(DecodeError::Payload {
                offset,
                flaw: "goes on after the end of its transaction",
            })),
            _ => Ok(()),
        }
    }

    /// MariaDB's GTID stands for the BEGIN, too. Within a domain the numbers must rise: a set holds everything up to a number, so one
    /// that is not above the newest would be taken for a repeat.
    fn begin_mariadb(
        &mut self,
        MariaDbGtid {
            domain,
            sequence,
            standalone,
            xa,
            transactional,
        }: MariaDbGtid,
        event: Event<'_>,
        session: &Session,
    ) -> Result<(), CaptureError> {
        let gtid = Gtid::mariadb(domain, event.server_id, sequence).ok_or_else(|| {
            self.at(DecodeError::Malformed {
                event: "GTID",
                flaw: "holds a sequence number out of range",
            })
        })?;
        let held = || {
            session
                .state()
                .set
                .domain(domain)
                .map_or(0, |range| range.end)
        };
        let newest = self.domains.entry(domain).or_insert_with(held);
        if sequence <= *newest {
            return Err(StreamError::OutOfSequence {
                gtid,
                newest: *newest,
                file: self.file.clone(),
                position: self.position,
            }
            .into());
        }
        *newest = sequence;
        let commit_us = u64::from(event.timestamp) * 1_000_000;
        self.begin(
            GtidEvent {
                gtid,
                last_committed: 0,
                sequence_number: 0,
                immediate_commit_us: commit_us,
                original_commit_us: commit_us,
                transaction_length: None,
                immediate_server_version: None,
                original_server_version: None,
            },
            session,
        )?;
        if let Some(open) = &mut self.open {
            open.begun = !standalone && xa != Some(MariaDbXa::Completed);
            open.xa = xa == Some(MariaDbXa::Prepared);
            open.revocable = transactional;
        }
        Ok(())
    }

    /// A transaction lies in one file.
    fn file_ends(&self) -> Result<(), CaptureError> {
        match &self.open {
            None => Ok(()),
            Some(open) => Err(StreamError::CutOff {
                gtid: open.transaction.gtid,
                file: self.file.clone(),
            }
            .into()),
        }
    }

    /// A file states the set of everything before it: the log has it all, or was never sent it.
    pub fn file_begins(&self, stated: &GtidSet, session: &Session) -> Result<(), CaptureError> {
        let missing = account::lost(stated, &session.state().set, &self.appended);
        match missing.is_empty() {
            true => Ok(()),
            false => Err(StreamError::Lost {
                file: self.file.clone(),
                missing,
            }
            .into()),
        }
    }

    fn begin(&mut self, event: GtidEvent, session: &Session) -> Result<(), CaptureError> {
        if self.open.is_some() {
            return Err(StreamError::Unfinished {
                gtid: event.gtid,
                file: self.file.clone(),
                position: self.position,
            }
            .into());
        }
        if self.appended.contains(&event.gtid) || session.state().set.contains(&event.gtid) {
            return Err(StreamError::SentAgain {
                gtid: event.gtid,
                file: self.file.clone(),
                position: self.position,
            }
            .into());
        }
        let mut changes = std::mem::take(&mut self.spare);
        changes.clear();
        self.counters.transactions += 1;
        self.open = Some(Open {
            transaction: Transaction {
                gtid: event.gtid,
                original_commit_us: event.original_commit_us,
                immediate_commit_us: event.immediate_commit_us,
                last_committed: event.last_committed,
                sequence_number: event.sequence_number,
                seen: None,
                file: self.file.clone(),
                position: self.position,
                chunk: 0,
                last: false,
                xa_end: None,
            },
            number: self.counters.transactions,
            tables: Vec::new(),
            changes,
            begun: false,
            xa: false,
            captured: false,
            revocable: false,
            rows_before: self.counters.rows(),
        });
        Ok(())
    }

    async fn table_map(
        &mut self,
        table_id: u64,
        body: &[u8],
        log: &Arc<dyn Log>,
    ) -> Result<(), CaptureError> {
        let Some(open) = &self.open else {
            return Err(self.outside("a table map"));
        };
        let number = open.number;
        if let Some(mapped) = self.plans.get_mut(&table_id)
            && mapped.body == body
        {
            mapped.seen_in = number;
            return Ok(());
        }
        let map = match TableMap::parse(body) {
            Ok(map) => map.of_mariadb(self.mariadb),
            // What is not captured need not be understood; row events of a table without a plan are passed over.
            Err(error)
                if error
                    .table()
                    .is_some_and(|(d, t)| !self.filter.matches(d, t)) =>
            {
                let (database, table) = error.table().unwrap_or_default();
                let mapped = Mapped {
                    body: body.to_vec(),
                    plan: None,
                    reference: TableRef {
                        database: database.to_owned(),
                        table: table.to_owned(),
                        schema: Fingerprint(0),
                        foreign_keys: ForeignKeys::default(),
                    },
                    seen_in: number,
                    places: Default::default(),
                };
                self.plans.insert(table_id, mapped);
                return Ok(());
            }
            Err(error) => return Err(self.at(error)),
        };
        let plan = match self.filter.matches(map.database(), map.table()) {
            true => Some(TablePlan::new(&map).map_err(|e| self.at(e))?),
            false => None,
        };
        let mut reference = TableRef {
            database: map.database().to_owned(),
            table: map.table().to_owned(),
            schema: Fingerprint(0),
            foreign_keys: ForeignKeys::default(),
        };
        if let Some(plan) = &plan {
            let (text, fingerprint) = plan.schema().to_avro();
            reference.schema = fingerprint;
            if !self.stored.contains(&fingerprint) {
                // Durable before any record refers to it.
                log.put_schema(fingerprint, &text).await?;
                self.stored.insert(fingerprint);
            }
        }
        self.plans.insert(
            table_id,
            Mapped {
                body: body.to_vec(),
                plan: plan.map(Arc::new),
                reference,
                seen_in: number,
                places: Default::default(),
            },
        );
        Ok(())
    }

    async fn rows(
        &mut self,
        rows: RowsEvent<'_>,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        // The end of a statement that changed nothing has a table id that means no table.
        if rows.is_dummy() {
            return Ok(());
        }
        let table_id = rows.table_id();
        let Some(open) = &mut self.open else {
            return Err(self.outside("a row event"));
        };
        let mapped = match self.plans.get_mut(&table_id) {
            Some(mapped) if mapped.seen_in == open.number => mapped,
            _ => {
                return Err(StreamError::NoTableMap {
                    gtid: open.transaction.gtid,
                    file: self.file.clone(),
                    position: self.position,
                    table_id,
                }
                .into());
            }
        };
        let Some(plan) = mapped.plan.clone() else {
            self.counters.row_events_filtered += 1;
            return Ok(());
        };
        let operation = rows.operation();
        let foreign_keys = rows.foreign_keys();
        let mut cursor = rows.cursor(&plan);
        loop {
            let place = open.place(mapped, foreign_keys);
            let mark = open.changes.len();
            let count = open.changes.count;
            match cursor.next(place, &mut open.changes) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(reason) => {
                    return Err(StreamError::At {
                        gtid: open.transaction.gtid.to_string(),
                        file: self.file.clone(),
                        position: self.position,
                        reason,
                    }
                    .into());
                }
            }
            open.captured = true;
            self.counters.row(operation);
            if self.desk.is_watching() {
                let newest = Changes {
                    count: 1,
                    encoded: &open.changes.encoded[mark..],
                };
                for change in newest.iter() {
                    let change = change.map_err(|_| StreamError::Encoded)?;
                    self.desk.touch(
                        open.transaction.gtid,
                        &mapped.reference,
                        plan.schema(),
                        [change.before, change.after],
                        session,
                    )?;
                }
            }
            if open.changes.len() > self.limit {
                open.spill((mapped, foreign_keys), mark, count, self.limit, session)
                    .await?;
            }
        }
    }

    async fn commit(&mut self, session: &mut Session) -> Result<Progressed, CaptureError> {
        self.may_end()?;
        match &mut self.open {
            Some(open) => open.send(true, session).await?,
            None => return Err(self.outside("the end of a transaction")),
        }
        Ok(self.ended())
    }

    async fn statement(
        &mut self,
        query: QueryEvent<'_>,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        let statement = classify(&query, self.mariadb).map_err(|e| self.at(e))?;
        let may_end = self.may_end();
        let Some(open) = &mut self.open else {
            return Err(self.outside("a statement"));
        };
        match statement {
            Statement::Begin => {
                open.begun = true;
                Ok(Progressed::Nothing)
            }
            Statement::Savepoint => Ok(Progressed::Nothing),
            Statement::Rollback { whole } => self.rollback(whole, session).await,
            Statement::Xa(verb, xid) => self.xa_statement(verb, xid, log, session).await,
            Statement::Commit => self.commit(session).await,
            Statement::Change { verb, tables } => {
                // Foreign to row format. The table that it names is not all that it may change (triggers, functions), so only databases
                // without a captured table are of no interest.
                if tables.is_empty() || tables.iter().any(|(d, _)| self.filter.touches(d, "")) {
                    return Err(StreamError::StatementChange {
                        gtid: open.transaction.gtid,
                        file: self.file.clone(),
                        position: self.position,
                        verb,
                    }
                    .into());
                }
                Ok(Progressed::Nothing)
            }
            Statement::Definition(definition) => {
                self.counters.statements += 1;
                let goes_on = definition.rows_follow || open.begun;
                if !goes_on {
                    may_end?;
                }
                let replay = definition::session(
                    &query,
                    &definition,
                    self.timestamp,
                    self.mariadb,
                    &self.settings,
                );
                // What touches no captured table counts and leaves nothing: statements such as CREATE USER hold secrets.
                let Some(concern) = definition::concern(&query, &definition, &self.filter, replay)
                else {
                    return if goes_on {
                        Ok(Progressed::Nothing)
                    } else {
                        self.commit(session).await
                    };
                };
                if !open.changes.is_empty() {
                    open.send(false, session).await?;
                }
                let gtid = open.transaction.gtid;
                self.desk.definition(gtid, concern.effect, &concern.tables);
                self.desk
                    .renamed(concern.effect, &concern.tables, session)
                    .await?;
                if let Some((database, table)) = &definition.like {
                    let fold = |name: &str| self.filter.fold(name).into_owned();
                    let like = (fold(database), fold(table));
                    self.desk.made_like(&like, &concern.tables, session).await?;
                }
                let mut transaction = open.transaction.clone();
                transaction.last = !goes_on;
                let ddl = Ddl {
                    transaction,
                    statement: query.statement().into_owned(),
                    database: query.database().to_owned(),
                    sql_mode: match definition.rows_follow {
                        // The server has written it anew, and escapes backslashes whatever its mode says.
                        true => query.sql_mode() & !NO_BACKSLASH_ESCAPES,
                        false => query.sql_mode(),
                    },
                    collations: query.collations(),
                    time_zone: query.time_zone().to_owned(),
                    effect: concern.effect,
                    tables: concern.tables,
                    replay: Some(Box::new(concern.replay)),
                };
                session.append(Body::Ddl(ddl)).await?;
                open.captured = true;
                self.counters.statements_written += 1;
                open.transaction.chunk += 1;
                if goes_on {
                    return Ok(Progressed::Nothing);
                }
                Ok(self.ended())
            }
        }
    }

    /// The open transaction has ended by itself: what there was to send has been sent.
    fn ended(&mut self) -> Progressed {
        let Some(open) = self.open.take() else {
            return Progressed::Nothing;
        };
        let gtid = open.transaction.gtid;
        self.counters.newest = Some(gtid);
        self.counters.newest_commit_us = open.transaction.original_commit_us;
        self.spare = open.changes;
        self.appended.insert(gtid);
        match open.captured {
            true => self.counters.transactions_written += 1,
            false => self.counters.transactions_filtered += 1,
        }
        Progressed::Transaction(gtid)
    }

    fn at(&self, reason: DecodeError) -> CaptureError {
        let gtid = self.open.as_ref().map_or_else(
            || "outside a transaction".to_owned(),
            |o| o.transaction.gtid.to_string(),
        );
        StreamError::At {
            gtid,
            file: self.file.clone(),
            position: self.position,
            reason,
        }
        .into()
    }

    fn outside(&self, event: &'static str) -> CaptureError {
        StreamError::OutsideTransaction {
            event,
            file: self.file.clone(),
            position: self.position,
        }
        .into()
    }
}

/// The position in the file after an event that states it modulo 2^32: a transaction that is larger than that makes such files.
fn grown(position: u64, log_pos: u32) -> u64 {
    let behind = log_pos.wrapping_sub(position as u32);
    // Backwards is possible too (a replica's own events in a dump): less than half of the range is forwards.
    match behind < 1 << 31 {
        true => position.saturating_add(u64::from(behind)),
        false => u64::from(log_pos),
    }
}

impl Open {
    /// The table's index in the present chunk.
    fn place(&mut self, mapped: &mut Mapped, foreign_keys: ForeignKeys) -> u32 {
        let chunk = (self.number, self.transaction.chunk);
        match mapped.places[foreign_keys as usize] {
            Some((of, place)) if of == chunk => place,
            _ => {
                let place = self.tables.len() as u32;
                self.tables.push(TableRef {
                    foreign_keys,
                    ..mapped.reference.clone()
                });
                mapped.places[foreign_keys as usize] = Some((chunk, place));
                place
            }
        }
    }

    /// Appends what has collected as a chunk.
    async fn send(&mut self, last: bool, session: &mut Session) -> Result<(), CaptureError> {
        self.transaction.last = last;
        let body = Body::WriteSet(WriteSet {
            transaction: self.transaction.clone(),
            tables: std::mem::take(&mut self.tables),
            changes: self.changes.as_changes(),
        });
        session.append(body).await?;
        self.changes.clear();
        self.transaction.chunk += 1;
        Ok(())
    }

    /// The newest change, at `mark`, does not fit any more: what was before it leaves as a chunk, and when it is larger than a chunk by
    /// itself, it leaves in fragments.
    async fn spill(
        &mut self,
        (mapped, foreign_keys): (&mut Mapped, ForeignKeys),
        mark: usize,
        count: u64,
        limit: usize,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        // A row that is larger than a chunk, which may be a gibibyte, is neither copied nor is its memory kept.
        let encoded = &mut self.changes.encoded;
        let (newest, begin) = match encoded.len() - mark > limit {
            true => {
                let before = encoded[..mark].to_vec();
                (std::mem::replace(encoded, before), mark)
            }
            false => (encoded.split_off(mark), 0),
        };
        self.changes.count = count;
        if count > 0 {
            self.send(false, session).await?;
        }
        let only = Changes {
            count: 1,
            encoded: &newest[begin..],
        };
        for change in only.iter() {
            let change = change.map_err(|_| StreamError::Encoded)?;
            for fragment in split::fragments(change, limit) {
                let table = self.place(mapped, foreign_keys);
                self.changes.push(&Change { table, ..fragment });
                if fragment.more {
                    self.send(false, session).await?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::grown;

    #[test]
    fn positions_grow_beyond_four_gibibytes() {
        assert_eq!(grown(4, 126), 126);
        assert_eq!(grown(u64::from(u32::MAX) - 10, 5), (1 << 32) + 5);
        assert_eq!(grown((3 << 32) + 5, 0x4000_0000), (3 << 32) + 0x4000_0000);
        assert_eq!(grown((3 << 32) - 1, 1), (3 << 32) + 1);
        // A position before this one, or far behind it: what the event says.
        assert_eq!(grown(5000, 400), 400);
        assert_eq!(grown(4, 0xC000_0000), 0xC000_0000);
    }
}
