//! Do source and log share their history?
//!
//! GTIDs that start over (`RESET BINARY LOGS AND GTIDS`, a restored server) come again with other transactions. So the source shows the
//! newest transaction of the log once more, and its commit timestamp must be the one that the log holds.
//!
//! Invariant: no transaction is appended before that. The comparison has a dump, or a look into one file, of its own: the stream may hand out
//! other transactions before the one that is compared (a replica commits out of order, MariaDB's domains are independent), and each of
//! them would become the newest, which the next attempt would find to be the same.
//!
//! What cannot be compared, because the source has purged it or the files begin behind it, is told and not refused.

use std::time::Duration;

use binferry_schemas::{
    address::Address,
    gtid::{Gtid, GtidSet, Uuid},
    record::{HeadBody, Newest},
};
use binferry_transport::{error::LogError, log::Log, strangers::head_of};
use tracing::warn;

use super::{
    error::StreamError,
    events::{Events, Filled},
};
use crate::{
    client::Connection,
    decode::{DecodeError, Decoded},
    dump::{Dump, Event, Request},
    error::{CaptureError, Permanent, Transient},
    files::{BinlogFiles, Head},
    preflight::SourceFacts,
};

/// A log that is ahead of the files is searched for their newest transaction, but not without end.
const SEARCHED: u64 = 1 << 30;

/// Whom to ask, and as whom: under the log's own identity, as the dump that follows.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub source: &'a Address,
    /// What the server has said that the dump will come from.
    pub facts: &'a SourceFacts,
    pub server_id: u32,
    pub replica_uuid: Uuid,
    pub heartbeat: Duration,
}

impl Asking<'_> {
    /// Compares the log's newest transaction with the source's of that name.
    pub async fn compare(&self, logged: &GtidSet, newest: &Newest) -> Result<(), CaptureError> {
        // It may be purged between the question and the dump; the second time that is seen.
        for _ in 0..2 {
            match self.shown(logged, newest).await {
                Ok(Some(source_us)) => {
                    return same(newest.gtid, source_us, newest.original_commit_us);
                }
                Ok(None) => {
                    warn!(gtid = %newest.gtid, "the source has purged the log's newest transaction: that both have the same history cannot be asked");
                    return Ok(());
                }
                Err(
                    CaptureError::Transient(Transient::DumpEnded { .. })
                    | CaptureError::Permanent(
                        Permanent::Purged { .. } | Permanent::PurgedUnnamed { .. },
                    ),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StreamError::NotShown { gtid: newest.gtid }.into())
    }

    /// Its commit on the source in microseconds; `None` when it is purged.
    async fn shown(&self, logged: &GtidSet, newest: &Newest) -> Result<Option<u64>, CaptureError> {
        let mut connection = Connection::open(self.source).await?;
        let facts = SourceFacts::read(&mut connection).await?;
        // Behind an address may be more than one server, and the newest one's word says nothing about another.
        if (facts.server_uuid, facts.server_id) != (self.facts.server_uuid, self.facts.server_id) {
            return Err(Transient::AnotherServer {
                server: connection.server().to_owned(),
            }
            .into());
        }
        if facts.purged.contains(&newest.gtid) {
            connection.close().await;
            return Ok(None);
        }
        let request = Request {
            server_id: self.server_id,
            replica_uuid: self.replica_uuid,
            executed: &all_but(&newest.gtid, logged, &facts.executed),
            heartbeat: self.heartbeat,
            follow: false,
        };
        let mut dump = Dump::start(connection, &request).await?;
        loop {
            let event = dump.next().await?;
            match begun(&event) {
                Ok(Some((gtid, commit_us))) if gtid == newest.gtid => return Ok(Some(commit_us)),
                // The dump of its domain was asked for from just before it.
                Ok(Some((got, _)))
                    if domain(&got).is_some() && domain(&got) == domain(&newest.gtid) =>
                {
                    return Err(StreamError::Unexpected {
                        expected: newest.gtid,
                        got,
                    }
                    .into());
                }
                // What is new since the question.
                Ok(_) => {}
                Err(reason) => {
                    let position = u64::from(event.log_pos);
                    return Err(StreamError::At {
                        gtid: newest.gtid.to_string(),
                        file: dump.file().to_owned(),
                        position,
                        reason,
                    }
                    .into());
                }
            }
        }
    }
}

fn domain(gtid: &Gtid) -> Option<u32> {
    gtid.as_mariadb().map(|(domain, ..)| domain)
}

/// What to say that we have, to be sent that one alone. A MariaDB domain goes on behind it; the server must know the GTID that we name
/// of a domain, and in the log's set that is one that it is asked about all the same.
fn all_but(gtid: &Gtid, logged: &GtidSet, executed: &GtidSet) -> GtidSet {
    let mut set = logged.clone();
    set.remove(gtid);
    for (uuid, tag, start, end) in executed.iter() {
        let range = Gtid {
            uuid,
            tag,
            gno: end,
        };
        if domain(gtid).is_none() || domain(&range) != domain(gtid) {
            set.insert_range(uuid, tag, start, end);
        }
    }
    if domain(gtid).is_none() {
        set.remove(gtid);
    }
    set
}

/// The transaction that begins with this event, and its commit in microseconds as a record has it.
fn begun(event: &Event<'_>) -> Result<Option<(Gtid, u64)>, DecodeError> {
    if event.more {
        return Ok(None);
    }
    Ok(
        match Decoded::of(event.type_code, event.flags, event.body)? {
            Decoded::Gtid(event) => Some((event.gtid, event.original_commit_us)),
            Decoded::MariaDbGtid(gtid) => {
                Gtid::mariadb(gtid.domain, event.server_id, gtid.sequence)
                    .map(|gtid| (gtid, u64::from(event.timestamp) * 1_000_000))
            }
            _ => None,
        },
    )
}

fn same(gtid: Gtid, source_us: u64, logged_us: u64) -> Result<(), CaptureError> {
    match source_us == logged_us {
        true => Ok(()),
        false => Err(StreamError::OtherHistory {
            gtid,
            source_us,
            logged_us,
        }
        .into()),
    }
}

/// Compares the log's newest transaction with the files' of that name; or, when the log is ahead of the files as it seems, the files'
/// newest with the log's of that name. `history`: all that the files' server had executed. Answers why nothing could be compared.
pub(super) async fn compare_files(
    heads: &[Head],
    history: &GtidSet,
    log: &dyn Log,
    newest: &Newest,
) -> Result<Option<&'static str>, CaptureError> {
    if history.contains(&newest.gtid) {
        // In the last file that does not begin behind it.
        let lacks =
            |head: &&Head| !(head.previous.as_ref()).is_some_and(|set| set.contains(&newest.gtid));
        let shown = match heads.iter().rfind(lacks) {
            Some(head) => in_file(head, history, Some(newest.gtid)).await?,
            None => None,
        };
        let Some((_, files_us)) = shown else {
            return Ok(Some("the files begin behind the log's newest transaction"));
        };
        same(newest.gtid, files_us, newest.original_commit_us)?;
        return Ok(None);
    }
    let mut last = None;
    for head in heads.iter().rev() {
        last = in_file(head, &GtidSet::new(), None).await?;
        if last.is_some() {
            break;
        }
    }
    let Some((gtid, files_us)) = last else {
        return Ok(Some("the files hold no transaction"));
    };
    let Some(logged_us) = logged(log, &gtid).await? else {
        return Ok(Some(
            "the log's newest transaction is not in the files, and theirs is not found in the log: it has expired, or lies too far in it",
        ));
    };
    same(gtid, files_us, logged_us)?;
    Ok(None)
}

/// The transaction in this file, or its last one, and its commit in microseconds; `read_over`: what need not be looked at.
async fn in_file(
    head: &Head,
    read_over: &GtidSet,
    wanted: Option<Gtid>,
) -> Result<Option<(Gtid, u64)>, CaptureError> {
    let mut have = head.previous.clone().unwrap_or_default();
    have.union_with(read_over);
    let mut files = BinlogFiles::open(vec![head.clone()], have, wanted)?;
    let mut last = None;
    loop {
        while let Some(event) = files.buffered()? {
            if let Ok(Some((gtid, commit_us))) = begun(&event) {
                last = Some((gtid, commit_us));
                if wanted == Some(gtid) {
                    return Ok(last);
                }
            }
        }
        if files.fill(false).await? == Filled::End {
            return Ok(last.filter(|_| wanted.is_none()));
        }
    }
}

/// The commit that the log's record of a transaction states.
async fn logged(log: &dyn Log, gtid: &Gtid) -> Result<Option<u64>, CaptureError> {
    let bounds = log.bounds().await?;
    // Its reader would wait for a first record.
    if bounds.start >= bounds.end {
        return Ok(None);
    }
    let mut reader = match log.reader(bounds.start).await {
        Ok(reader) => reader,
        Err(LogError::Expired { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut searched = 0;
    while searched < SEARCHED {
        let portion = reader.next().await?;
        for stored in &portion {
            searched += stored.bytes.len() as u64;
            let head = head_of(&stored.bytes).map_err(|source| LogError::Record {
                log: log.name(),
                offset: stored.offset,
                source,
            })?;
            let transaction = match head.map(|head| head.body) {
                Some(HeadBody::WriteSet(transaction) | HeadBody::Ddl(transaction)) => {
                    Some(transaction)
                }
                Some(HeadBody::XaPrepared(prepared)) => Some(prepared.transaction),
                _ => None,
            };
            if let Some(transaction) = transaction
                && transaction.gtid == *gtid
            {
                return Ok(Some(transaction.original_commit_us));
            }
            if stored.offset.0 + 1 >= bounds.end.0 {
                return Ok(None);
            }
        }
        if portion.is_empty() {
            break;
        }
    }
    Ok(None)
}
