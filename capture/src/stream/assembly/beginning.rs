//! What a transaction begins with: its GTID event, and on MariaDB the events between binlog files, which may not cut one.

use binferry_schemas::{
    gtid::{Gtid, GtidSet},
    record::Transaction,
};
use binferry_transport::session::Session;

use super::{Assembly, Open};
use crate::{
    decode::{DecodeError, GtidEvent, MariaDbGtid, MariaDbXa},
    dump::Event,
    error::CaptureError,
    stream::{account, error::StreamError},
};

impl Assembly {
    /// MariaDB's GTID stands for the BEGIN, too. Within a domain the numbers must rise: a set holds everything up to a number, so one
    /// that is not above the newest would be taken for a repeat.
    pub(super) fn begin_mariadb(
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
    pub(super) fn file_ends(&self) -> Result<(), CaptureError> {
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

    pub(super) fn begin(
        &mut self,
        event: GtidEvent,
        session: &Session,
    ) -> Result<(), CaptureError> {
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
}
