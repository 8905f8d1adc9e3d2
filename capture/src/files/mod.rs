//! Binlog files on disk (what a backup has) as a source of events, verified as those of a dump are.
//!
//! The files of one server, in the order of their transactions. Each begins with what the server had executed before it, and that must
//! be exactly what the files before it and the log hold: a gap, or a file of another history, stops the stream at the file's beginning.
//! Transactions that the log has are read over, so any file may be given again, and a log goes from files to a server and back.
//!
//! Failure: a damaged event, or a file that stops in the middle of one, stops the stream with file and position; what was whole before
//! it is carried. The one file that may stop anywhere is the last one, when it says that its server had it open: the copy of a file that
//! was being written ends where it ends.

mod chunks;
mod error;
mod head;
mod inspect;
mod list;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, fs::File, io::Seek};

use binferry_schemas::gtid::{Gtid, GtidSet};
use tracing::{info, warn};

use crate::{
    dump::{
        Event, FLAG_ARTIFICIAL, FORMAT_DESCRIPTION, HEADER, Opener, ROTATE, TRANSACTION_PAYLOAD,
    },
    error::{CaptureError, Permanent},
    stream::events::{Events, Extent, Filled},
};
use chunks::Chunks;

pub use error::FileError;
pub use head::Head;
pub use inspect::{Inspected, inspect};
pub use list::survey;

const STOP: u8 = 3;
/// A transaction payload that is larger is lent in parts ([`Event::more`]); any other event is gathered.
const LARGEST_WHOLE: usize = 1 << 20;
const MAGIC_LENGTH: u64 = head::MAGIC.len() as u64;

/// What the files' server had executed at the end of the last file, as far as it can be read. Blocking.
pub fn history(heads: &[Head]) -> Result<GtidSet, FileError> {
    let Some(last) = heads.last() else {
        return Ok(GtidSet::new());
    };
    let mut set = head::transactions(last)?;
    if let Some(previous) = &last.previous {
        set.union_with(previous);
    }
    Ok(set)
}

/// The events of a list of files that lie open, one after the other.
#[derive(Debug)]
pub struct BinlogFiles {
    current: Head,
    rest: VecDeque<Head>,
    chunks: Chunks,
    opener: Opener,
    /// The body of a rotate event that names the present file, until it has been handed out: as a dump begins.
    announcement: Vec<u8>,
    announced: bool,
    /// What is read over.
    have: GtidSet,
    /// Handed out although it is in `have`.
    shown: Option<Gtid>,
    skipping: bool,
    /// Of an event that is lent in parts: bytes that are still to come.
    parted: usize,
    /// By the server, up to here.
    executed: GtidSet,
    /// The present file is closed by a ROTATE or STOP event.
    closed: bool,
    /// The last file stopped in the middle of an event, and may.
    cut_off: bool,
    read: u64,
    total: u64,
}

impl BinlogFiles {
    /// Reads files in the order that [`survey`] gave them, all but the transactions that are in `have`; `shown` is handed out all the
    /// same. Must be called inside a runtime.
    pub fn open(heads: Vec<Head>, have: GtidSet, shown: Option<Gtid>) -> Result<Self, FileError> {
        let total = heads.iter().map(|head| head.size).sum();
        let mut rest = VecDeque::from(heads);
        let Some(current) = rest.pop_front() else {
            return Err(FileError::UntilMissing {
                missing: GtidSet::new(),
            });
        };
        let previous = current.previous.clone().unwrap_or_default();
        let missing = previous.subtract(&have);
        if !missing.is_empty() {
            return Err(FileError::Gap {
                path: current.path,
                missing,
            });
        }
        let mut files = Self {
            chunks: chunks(&current)?,
            current,
            rest,
            opener: Opener::new(),
            announcement: Vec::new(),
            announced: false,
            have,
            shown,
            skipping: false,
            parted: 0,
            executed: previous,
            closed: false,
            cut_off: false,
            read: 0,
            total,
        };
        files.enter();
        Ok(files)
    }

    fn enter(&mut self) {
        let name = self.current.name();
        self.opener.enter(&name);
        self.announcement = [&MAGIC_LENGTH.to_le_bytes(), name.as_bytes()].concat();
        (self.announced, self.skipping, self.closed) = (false, false, false);
        info!(file = %self.current.path.display(), server = %self.current.version, bytes = self.current.size, "reading");
    }

    /// Goes on to the next file, which must continue this one.
    fn next_file(&mut self) -> Result<Filled, FileError> {
        let Some(next) = self.rest.pop_front() else {
            return Ok(Filled::End);
        };
        let previous = next.previous.clone().unwrap_or_default();
        let lost = self.executed.subtract(&previous);
        if !lost.is_empty() {
            return Err(FileError::NotContinued {
                path: next.path,
                before: self.current.path.clone(),
                lost,
            });
        }
        let missing = previous.subtract(&self.executed).subtract(&self.have);
        if !missing.is_empty() {
            return Err(FileError::Gap {
                path: next.path,
                missing,
            });
        }
        self.read += self.current.size;
        self.executed = previous;
        self.chunks = chunks(&next)?;
        self.current = next;
        self.enter();
        Ok(Filled::More)
    }

    /// Bytes of the event that begins the window: what is needed to go on.
    #[inline]
    fn expected(&self) -> Result<usize, FileError> {
        let Some(header) = self.chunks.window().first_chunk::<HEADER>() else {
            return Ok(HEADER);
        };
        let length = u32::from_le_bytes([header[9], header[10], header[11], header[12]]);
        if u64::from(length) < HEADER as u64 || u64::from(length) > head::LARGEST {
            return Err(head::damaged(
                &self.current.path,
                self.chunks.position(),
                header[4],
                u64::from(length),
                "its length is not that of an event",
            ));
        }
        Ok(length as usize)
    }

    /// Whether the event that begins the window, which has `length` bytes, is to be lent in parts. All of it is in the file then.
    fn is_parted(&self, length: usize) -> bool {
        let window = self.chunks.window();
        length > LARGEST_WHOLE
            && window.len() >= HEADER
            && window[4] == TRANSACTION_PAYLOAD
            && length as u64 <= self.current.size.saturating_sub(self.chunks.position())
    }

    fn damaged(&self, length: usize, reason: Permanent) -> FileError {
        FileError::Damaged {
            path: self.current.path.clone(),
            position: self.began(length),
            reason: Box::new(reason),
        }
    }

    /// The file has fewer bytes left than its next event needs.
    fn stopped(&mut self, expected: usize, open: bool) -> Result<Filled, FileError> {
        let (position, window) = (self.chunks.position(), self.chunks.window());
        let found = self.current.size.saturating_sub(position);
        if found == 0 {
            return self.file_end(open);
        }
        // An event that says where it ends must end there, or its length is not to be believed.
        let torn = window.first_chunk::<HEADER>().is_none_or(|header| {
            let end = u32::from_le_bytes([header[13], header[14], header[15], header[16]]);
            end == 0 || end == (position as u32).wrapping_add(expected as u32)
        });
        if self.current.in_use && self.rest.is_empty() && !self.closed && torn {
            self.cut_off = true;
            return Ok(Filled::End);
        }
        Err(FileError::Truncated {
            path: self.current.path.clone(),
            position,
            expected: expected as u64,
            found,
        })
    }

    fn file_end(&mut self, open: bool) -> Result<Filled, FileError> {
        if !self.closed && self.rest.is_empty() && !self.current.in_use {
            // So does a file of `mysqlbinlog --raw` and one whose server crashed, and so does one whose end was lost between two events.
            warn!(file = %self.current.path.display(), position = self.current.size,
                "the file ends without the event that closes one: whether more followed cannot be seen from it");
        }
        if open && !self.rest.is_empty() {
            // No transaction goes on in another file.
            return Err(self.unfinished());
        }
        self.next_file()
    }

    fn unfinished(&self) -> FileError {
        FileError::Unfinished {
            path: self.current.path.clone(),
            position: self.chunks.position(),
        }
    }

    /// Where an event that was just taken begins.
    fn began(&self, length: usize) -> u64 {
        self.chunks.position() - length as u64
    }
}

/// Whether MariaDB's numbers have gone back behind all that is read over: such a transaction only seems to be in the set, and whoever is
/// handed it refuses it.
fn is_behind(gtid: &Gtid, executed: &GtidSet, have: &GtidSet) -> bool {
    let Some((domain, _, sequence)) = gtid.as_mariadb() else {
        return false;
    };
    let end = |set: &GtidSet| set.domain(domain).map_or(0, |range| range.end);
    sequence <= end(executed) && end(executed) >= end(have)
}

fn chunks(head: &Head) -> Result<Chunks, FileError> {
    let unreadable = |cause| FileError::Unreadable {
        path: head.path.clone(),
        cause,
    };
    let mut file = File::open(&head.path).map_err(unreadable)?;
    file.seek(std::io::SeekFrom::Start(MAGIC_LENGTH))
        .map_err(unreadable)?;
    Ok(Chunks::new(file, MAGIC_LENGTH, head.size))
}

impl Events for BinlogFiles {
    fn buffered(&mut self) -> Result<Option<Event<'_>>, CaptureError> {
        if !self.announced {
            self.announced = true;
            return Ok(Some(Event {
                timestamp: 0,
                type_code: ROTATE,
                server_id: 0,
                log_pos: 0,
                flags: FLAG_ARTIFICIAL,
                body: &self.announcement,
                more: false,
            }));
        }
        loop {
            if self.parted > 0 {
                let count = self.chunks.window().len().min(self.parted);
                if count == 0 {
                    return Ok(None);
                }
                self.parted -= count;
                self.chunks.take(count);
                let more = self.parted > 0;
                if self.skipping {
                    if let Err(reason) = self.opener.part(self.chunks.taken(count), more) {
                        return Err(self.damaged(count, reason).into());
                    }
                    continue;
                }
                return match self.opener.part(self.chunks.taken(count), more) {
                    Ok(event) => Ok(Some(event)),
                    Err(reason) => Err(FileError::Damaged {
                        path: self.current.path.clone(),
                        position: self.chunks.position() - count as u64,
                        reason: Box::new(reason),
                    }
                    .into()),
                };
            }
            let length = self.expected()?;
            if self.chunks.window().len() < length {
                if self.is_parted(length) {
                    self.parted = length;
                    continue;
                }
                return Ok(None);
            }
            self.chunks.take(length);
            let bytes = self.chunks.taken(length);
            if bytes[4] == FORMAT_DESCRIPTION {
                head::check_description(&self.current.path, self.began(length), bytes)?;
            }
            let event = match self.opener.open(bytes) {
                Ok(event) => event,
                Err(reason) => {
                    return Err(FileError::Damaged {
                        path: self.current.path.clone(),
                        position: self.began(length),
                        reason: Box::new(reason),
                    }
                    .into());
                }
            };
            match event.type_code {
                code if head::begins(code) => {
                    // What can't be read is handed out: who decodes it again can say why.
                    self.skipping =
                        head::begun(code, event.server_id, event.body).is_some_and(|gtid| {
                            let behind = is_behind(&gtid, &self.executed, &self.have);
                            self.executed.insert(gtid);
                            self.have.contains(&gtid) && self.shown != Some(gtid) && !behind
                        });
                }
                // An anonymous transaction.
                34 => self.skipping = false,
                ROTATE | STOP => (self.skipping, self.closed) = (false, true),
                _ => {}
            }
            if !self.skipping {
                // The same bytes again: a borrow that only some turns of the loop give away is beyond the borrow checker.
                let (timestamp, type_code, server_id, log_pos, flags) = (
                    event.timestamp,
                    event.type_code,
                    event.server_id,
                    event.log_pos,
                    event.flags,
                );
                let end = HEADER + event.body.len();
                return Ok(Some(Event {
                    timestamp,
                    type_code,
                    server_id,
                    log_pos,
                    flags,
                    body: &self.chunks.taken(length)[HEADER..end],
                    more: false,
                }));
            }
        }
    }

    async fn fill(&mut self, open: bool) -> Result<Filled, CaptureError> {
        if self.cut_off {
            return Ok(Filled::End);
        }
        let expected = match self.parted {
            0 => self.expected()?,
            _ => 1,
        };
        let left = self.current.size.saturating_sub(self.chunks.position());
        if expected as u64 > left {
            return Ok(self.stopped(expected, open)?);
        }
        match self.chunks.more(expected).await {
            Ok(true) => Ok(Filled::More),
            // Someone makes it shorter while it is read.
            Ok(false) => Err(FileError::Truncated {
                path: self.current.path.clone(),
                position: self.chunks.position(),
                expected: expected as u64,
                found: self.chunks.window().len() as u64,
            }
            .into()),
            Err(cause) => Err(FileError::Unreadable {
                path: self.current.path.clone(),
                cause,
            }
            .into()),
        }
    }

    fn extent(&self) -> Option<Extent> {
        Some(Extent {
            read: self.read + self.chunks.position(),
            total: self.total,
        })
    }

    fn end(&self, open: bool) -> Result<(), CaptureError> {
        let (path, position) = (&self.current.path, self.chunks.position());
        if !self.current.in_use {
            return match open {
                false => Ok(()),
                true => Err(self.unfinished().into()),
            };
        }
        if open || self.cut_off {
            warn!(file = %path.display(), position,
                "the file was copied while its server wrote it, and stops in the middle of a transaction, which is left out; \
                 everything before it is carried");
        } else {
            info!(file = %path.display(), position, "the file was copied while its server wrote it: carried up to here");
        }
        Ok(())
    }
}
