//! From events to records: one transaction at a time, in chunks of bounded size.
//!
//! A transaction begins with its GTID event and counts with the event that ends it (R6): XID, a COMMIT statement, or the statement itself
//! where it is DDL. Its changes leave in chunks; the last one is marked. Table maps hold for one transaction at most, so a table id that
//! means another table later can't be mistaken; the plan made from a table map is kept for as long as the same bytes come again.
//!
//! The events inside a transaction payload go the same way, one by one as they are decompressed. A large payload comes in parts, before
//! its checksum is known: its changes leave in chunks all the same, because only the last one makes them count, and that one comes from
//! the payload's last event, which is held back until everything was right.

mod beginning;
mod counters;
mod definition;
mod rollback;
mod rows;
mod statement;
mod xa;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicU64},
};

use binferry_schemas::{
    filter::TableFilter,
    fingerprint::Fingerprint,
    gtid::{Gtid, GtidSet},
    record::{
        Body, Change, Changes, ChangesBuffer, Counts, ForeignKeys, TableRef, Transaction, WriteSet,
    },
};
use binferry_transport::{log::Log, meter::TableRows, session::Session};

use self::counters::EventCounts;
pub use self::{counters::Counters, definition::SourceSettings};
use super::{error::StreamError, split};
use crate::snapshot::desk::{Desk, Place, Received};
use crate::{
    decode::{DecodeError, Decoded, InnerEvent, Payload, TablePlan, expand, expanded_type},
    dump::Event,
    error::CaptureError,
    preflight::{Flavour, Version},
};

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
    tables: Arc<TableRows>,
}

/// What a table id means.
#[derive(Debug)]
struct Mapped {
    /// The table map event that said so.
    body: Vec<u8>,
    /// `None`: not captured.
    plan: Option<Arc<TablePlan>>,
    /// Its captured rows.
    rows: Arc<AtomicU64>,
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
            tables: Arc::default(),
        }
    }

    /// What the source says of itself.
    pub fn with_settings(self, settings: SourceSettings) -> Self {
        Self { settings, ..self }
    }

    /// Counts rows there.
    pub fn with_tables(self, tables: Arc<TableRows>) -> Self {
        Self { tables, ..self }
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

    async fn commit(&mut self, session: &mut Session) -> Result<Progressed, CaptureError> {
        self.may_end()?;
        match &mut self.open {
            Some(open) => open.send(true, session).await?,
            None => return Err(self.outside("the end of a transaction")),
        }
        Ok(self.ended())
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
