//! XA transactions. The log keeps what is prepared (`XaPrepared`), and the capture reads it back when it commits: it appends the same
//! chunks under the GTID of the XA COMMIT, so that every reader sees an ordinary transaction at the place where it was committed. Between
//! the two may lie any time, restarts of everything, and another source process; what the fold knows is all that is needed.
//!
//! A prepared transaction that grows old is copied to the log's end, so that no retention reaches it (`copy_old`). A copy has the GTID of
//! the original: readers drop it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use binferry_schemas::{
    gtid::Gtid,
    record::{Body, Prepared, Record, Transaction, WriteSet, XaEnd, XaPrepared, Xid},
    row::RowSchema,
};
use binferry_transport::{error::LogError, log::Log, session::Session, strangers::head_of};

use super::{Assembly, Progressed};
use crate::{
    decode::{XaPrepare, XaVerb},
    error::CaptureError,
    snapshot::desk::Desk,
    stream::error::StreamError,
};

/// A copy is due when the log's retention has used up this part of what it grants.
const SHARE: u32 = 4;

/// What the chunks of a prepared transaction are read back for.
enum Again<'a> {
    Commit(&'a Transaction, &'a mut Desk),
    Copy { at_us: u64 },
}

impl Assembly {
    pub(super) async fn xa_statement(
        &mut self,
        verb: XaVerb,
        xid: Xid,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        let Some(open) = &mut self.open else {
            return Err(self.outside("an XA statement"));
        };
        match verb {
            XaVerb::Start => {
                (open.begun, open.xa) = (true, true);
                Ok(Progressed::Nothing)
            }
            // The event that ends the group follows.
            XaVerb::End | XaVerb::Prepare => Ok(Progressed::Nothing),
            XaVerb::CommitOnePhase => self.commit(session).await,
            XaVerb::Commit if open.xa => self.commit(session).await,
            XaVerb::Rollback if open.xa => Err(StreamError::XaUndone {
                gtid: open.transaction.gtid,
                file: self.file.clone(),
                position: self.position,
            }
            .into()),
            XaVerb::Commit => self.end_prepared(xid, true, log, session).await,
            XaVerb::Rollback => self.end_prepared(xid, false, log, session).await,
        }
    }

    pub(super) async fn prepare(
        &mut self,
        event: XaPrepare,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        if event.one_phase {
            return self.commit(session).await;
        }
        self.may_end()?;
        let Some(open) = &mut self.open else {
            return Err(self.outside("an XA PREPARE"));
        };
        open.transaction.last = true;
        // Its keys count at its XA COMMIT; after an XA ROLLBACK, nothing has touched them.
        self.desk.forget(open.transaction.gtid);
        let body = Body::XaPrepared(XaPrepared {
            xid: event.xid,
            at_us: now_us(),
            write_set: WriteSet {
                transaction: open.transaction.clone(),
                tables: std::mem::take(&mut open.tables),
                changes: open.changes.as_changes(),
            },
        });
        session.append(body).await?;
        self.counters.xa_prepared += 1;
        Ok(self.ended())
    }

    /// XA COMMIT or XA ROLLBACK of what was prepared before.
    async fn end_prepared(
        &mut self,
        xid: Xid,
        committed: bool,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<Progressed, CaptureError> {
        self.may_end()?;
        let Some(open) = &mut self.open else {
            return Err(self.outside("the end of an XA transaction"));
        };
        // The same xid may have been prepared, ended and prepared again in what is not durable yet.
        session.settled().await?;
        let prepared = session.prepared().iter().find(|p| p.xid == xid).cloned();
        match prepared {
            Some(prepared) => {
                open.transaction.xa_end = Some(XaEnd { xid, committed });
                if committed {
                    self.counters.xa_committed += 1;
                    // InnoDB shows it some time after the binlog has it.
                    if self.mariadb {
                        self.desk.doubt(open.transaction.gtid);
                    }
                    open.captured = again(
                        &prepared,
                        Again::Commit(&open.transaction, &mut self.desk),
                        log,
                        session,
                    )
                    .await?;
                } else {
                    self.counters.xa_rolled_back += 1;
                    open.send(true, session).await?;
                }
            }
            // There is nothing to take back.
            None if !committed => open.send(true, session).await?,
            None => {
                return Err(StreamError::XaUnknown {
                    gtid: open.transaction.gtid,
                    file: self.file.clone(),
                    position: self.position,
                    xid,
                }
                .into());
            }
        }
        Ok(self.ended())
    }

    /// Copies what has been prepared for so long that the log's retention comes near. Only between transactions: a transaction's chunks
    /// lie together.
    pub async fn copy_old(
        &mut self,
        log: &Arc<dyn Log>,
        session: &mut Session,
    ) -> Result<(), CaptureError> {
        if self.open.is_some() || session.prepared().is_empty() {
            return Ok(());
        }
        let options = *session.options();
        let at_us = now_us();
        let share = |age: Duration| age / SHARE;
        let age = options.retention.age.map_or(options.prepared_age, |keep| {
            share(keep).min(options.prepared_age)
        });
        let grown = session
            .appended_bytes()
            .saturating_sub(self.copied_at_bytes);
        let by_size = options
            .retention
            .bytes
            .is_some_and(|keep| grown >= keep / u64::from(SHARE));
        let old: Vec<Prepared> = session
            .prepared()
            .iter()
            .filter(|prepared| {
                by_size || u128::from(at_us.saturating_sub(prepared.at_us)) >= age.as_micros()
            })
            .cloned()
            .collect();
        if by_size {
            self.copied_at_bytes = session.appended_bytes();
        }
        if old.is_empty() {
            return Ok(());
        }
        for prepared in &old {
            again(prepared, Again::Copy { at_us }, log, session).await?;
        }
        // The fold knows the copies from here on.
        session.settled().await?;
        Ok(())
    }
}

/// Reads the chunks of a prepared transaction, one after the other, and appends them again. Answers whether they hold a change.
async fn again(
    prepared: &Prepared,
    mut what: Again<'_>,
    log: &Arc<dyn Log>,
    session: &mut Session,
) -> Result<bool, CaptureError> {
    let broken = |reason| StreamError::XaBroken {
        xid: prepared.xid.clone(),
        gtid: prepared.gtid,
        offset: prepared.first,
        reason,
    };
    let mut reader = match log.reader(prepared.first).await {
        Ok(reader) => reader,
        Err(LogError::Expired { .. }) => return Err(broken("has expired").into()),
        Err(error) => return Err(error.into()),
    };
    let mut chunk = 0;
    let mut newest = None;
    let mut changes = false;
    loop {
        let portion = reader.next().await?;
        for stored in &portion {
            let corrupt = |source| LogError::Record {
                log: log.name(),
                offset: stored.offset,
                source,
            };
            if stored.offset > prepared.last {
                return Err(broken("lacks chunks").into());
            }
            if head_of(&stored.bytes).map_err(corrupt)?.is_none() {
                continue;
            }
            let record = Record::decode(&stored.bytes).map_err(corrupt)?;
            let header = record.header;
            let (write_set, last) = match record.body {
                Body::WriteSet(write_set) => (write_set, false),
                Body::XaPrepared(prepared) => (prepared.write_set, true),
                _ => continue,
            };
            // What lies between: other sites' records, and late repeats, whose numbers are lower.
            let goes_on = newest.is_none_or(|(incarnation, sequence)| {
                incarnation == header.incarnation && sequence < header.sequence
            });
            if !goes_on
                || write_set.transaction.gtid != prepared.gtid
                || write_set.transaction.chunk != chunk
            {
                continue;
            }
            changes |= write_set.changes.count > 0;
            if let Again::Commit(of, desk) = &mut what {
                touch(of.gtid, &write_set, desk, log, session).await?;
            }
            newest = Some((header.incarnation, header.sequence));
            session
                .append(what.body(&prepared.xid, write_set, last))
                .await?;
            chunk += 1;
            if last {
                return Ok(changes);
            }
        }
        if portion.is_empty() {
            return Err(broken("is not at its place").into());
        }
    }
}

/// The keys of an XA transaction count where it commits, wherever it was prepared.
async fn touch(
    gtid: Gtid,
    write_set: &WriteSet<'_>,
    desk: &mut Desk,
    log: &Arc<dyn Log>,
    session: &Session,
) -> Result<(), CaptureError> {
    if !desk.is_watching() {
        return Ok(());
    }
    let mut schemas: HashMap<u32, RowSchema> = HashMap::new();
    let mut cut = false;
    for change in &write_set.changes {
        let change = change.map_err(|_| StreamError::Encoded)?;
        let Some(table) = write_set.tables.get(change.table as usize) else {
            continue;
        };
        // Its fragments may lie in several chunks.
        let whole = !change.more && !cut;
        cut = change.more;
        let images = [change.before, change.after];
        if !desk.is_copying(table) {
            continue;
        }
        if !whole {
            desk.touch_blindly(gtid, table, images, session)?;
            continue;
        }
        let schema = match schemas.entry(change.table) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let text = log.schema(table.schema).await?;
                let schema = text.and_then(|text| RowSchema::from_avro(&text).ok());
                entry.insert(schema.ok_or(StreamError::Encoded)?)
            }
        };
        desk.touch(gtid, table, schema, images, session)?;
    }
    Ok(())
}

impl Again<'_> {
    fn body<'a>(&self, xid: &Xid, write_set: WriteSet<'a>, last: bool) -> Body<'a> {
        match self {
            Self::Commit(of, _) => Body::WriteSet(WriteSet {
                transaction: Transaction {
                    chunk: write_set.transaction.chunk,
                    last,
                    xa_end: of.xa_end.clone().filter(|_| last),
                    ..(*of).clone()
                },
                ..write_set
            }),
            Self::Copy { at_us } if last => Body::XaPrepared(XaPrepared {
                xid: xid.clone(),
                at_us: *at_us,
                write_set,
            }),
            Self::Copy { .. } => Body::WriteSet(write_set),
        }
    }
}

pub(super) fn now_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
        })
}
