//! Segment files and their sparse indexes.
//!
//! A segment begins with a header; frames follow without gaps, with consecutive offsets.
//! ```text
//!  0 ┌─────────────────────────────┐
//!    │ "BINF SEG"                  │
//!  8 ├──────────────┬──────────────┤
//!    │ version  u32 │ 0        u32 │
//! 16 ├──────────────┴──────────────┴─────────────────────────────┐
//!    │ log id                                                    │
//! 32 ├─────────────────────────────┬─────────────────────────────┤
//!    │ offset of first record  u64 │ created, µs since epoch u64 │
//! 48 ├──────────────┬──────────────┼─────────────────────────────┘
//!    │ crc      u32 │ 0        u32 │  CRC-32C over the log's id and bytes 0..48
//! 56 └──────────────┴──────────────┘
//! ```
//! A segment is renamed into place when its header is on the disk, so a `.seg` file always has one. A segment ends where the next one
//! begins; what was appended before a segment was begun is older than its `created`.
//!
//! The index has an entry about every 256 KiB, and is never synced: an entry is believed only when the frame that it points to is intact.
//! ```text
//!  0 ┌─────────────────────────────┬──────────────┬──────────────┐
//!    │ offset                  u64 │ position u32 │ crc      u32 │  CRC-32C over the log's id and bytes 0..12
//!    └─────────────────────────────┴──────────────┴──────────────┘
//! ```

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use binferry_schemas::record::Offset;

use super::{
    disk::replace,
    frame::{self, Parsed, u32_at, u64_at},
    layout::{Layout, VERSION, belongs, fields, now_us},
};
use crate::error::LogError;

pub(crate) const HEADER: usize = 56;
const MAGIC: &[u8; 8] = b"BINF SEG";
pub(crate) const INDEX_STEP: u64 = 256 * 1024;
const ENTRY: usize = 16;

/// Creates an empty segment, durably, and answers its file.
pub(crate) fn create(layout: &Layout, first: u64) -> Result<(), LogError> {
    let path = layout.segment(first);
    create_at(layout, first, &path).map_err(LogError::io("create", &path))
}

pub(crate) fn create_at(layout: &Layout, first: u64, path: &Path) -> io::Result<()> {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..32].copy_from_slice(layout.id.as_bytes());
    header[32..40].copy_from_slice(&first.to_le_bytes());
    header[40..48].copy_from_slice(&now_us().to_le_bytes());
    let crc = layout.salt.crc(&header[..48]);
    header[48..52].copy_from_slice(&crc.to_le_bytes());
    replace(path, &header)
}

/// Opens a segment and checks its header; `None` when there is no such file. Answers the file and when it was created.
pub(crate) fn open(
    layout: &Layout,
    first: u64,
    write: bool,
) -> Result<Option<(File, u64)>, LogError> {
    let path = layout.segment(first);
    let file = match File::options().read(true).write(write).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("open", &path)(error)),
    };
    let bad = |reason| LogError::corrupt(&path, Some(Offset(first)), 0, reason);
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(bad("it has no segment header"));
        }
        Err(error) => return Err(LogError::io("read", &path)(error)),
    }
    belongs(layout, &header, MAGIC).map_err(bad)?;
    if u32_at(&header, 48) != Some(layout.salt.crc(&header[..48])) {
        return Err(bad("wrong checksum in the segment header"));
    }
    match fields(&header) {
        Some((found, created)) if found == first => Ok(Some((file, created))),
        _ => Err(bad("its name and its header do not agree")),
    }
}

/// Reads a segment's frames in order from a known place, never past `limit`.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub file: File,
    pub first: u64,
    /// Of the frame that comes next.
    pub offset: u64,
    pub position: u64,
    buffer: Vec<u8>,
    /// Unread bytes of `buffer`; the first is at `position`.
    used: std::ops::Range<usize>,
}

const READ: usize = 1024 * 1024;

pub(crate) enum Next<'a> {
    Frame(&'a [u8]),
    /// Nothing intact below the limit: at the limit, or cut off by it.
    End,
    Bad(&'static str),
}

impl Cursor {
    pub(crate) fn new(file: File, first: u64) -> Self {
        Self {
            file,
            first,
            offset: first,
            position: HEADER as u64,
            buffer: Vec::new(),
            used: 0..0,
        }
    }

    fn move_to(&mut self, offset: u64, position: u64) {
        self.offset = offset;
        self.position = position;
        self.used = 0..0;
    }

    pub(crate) fn next(&mut self, layout: &Layout, limit: u64) -> io::Result<Next<'_>> {
        loop {
            // Parsed again below, because the borrow checker can't see that the loop goes on only without the borrow.
            let bytes = &self.buffer[self.used.clone()];
            let needed = match frame::parse_header(self.offset, bytes) {
                frame::Header::Complete => break,
                frame::Header::Short(needed) => needed,
                frame::Header::Bad(reason) => return Ok(Next::Bad(reason)),
            };
            if self.position + needed as u64 > limit {
                return Ok(Next::End);
            }
            self.fill(needed, limit)?;
        }
        let bytes = &self.buffer[self.used.clone()];
        match frame::parse(layout.salt, self.offset, bytes) {
            Parsed::Frame { payload, .. } => {
                let total = frame::HEADER + payload.len();
                self.used.start += total;
                self.position += total as u64;
                self.offset += 1;
                Ok(Next::Frame(payload))
            }
            Parsed::Short(_) => Ok(Next::End),
            Parsed::Bad(reason) => Ok(Next::Bad(reason)),
        }
    }

    /// Reads on, so that at least `needed` bytes from `position` on are there; the caller knows that the limit allows it.
    fn fill(&mut self, needed: usize, limit: u64) -> io::Result<()> {
        self.buffer.copy_within(self.used.clone(), 0);
        self.used = 0..self.used.len();
        let room = usize::try_from(limit - self.position).unwrap_or(usize::MAX);
        let want = needed.max(READ).min(room);
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        let from = self.position + self.used.len() as u64;
        self.file
            .read_exact_at(&mut self.buffer[self.used.end..want], from)?;
        self.used.end = want;
        Ok(())
    }

    /// Goes to `target`, which is in this segment and below `limit`, by the index as far as it goes. False when it isn't there.
    pub(crate) fn seek(
        &mut self,
        layout: &Layout,
        target: u64,
        limit: u64,
    ) -> Result<bool, LogError> {
        let path = layout.segment(self.first);
        if let Some((offset, position)) = nearest(layout, self.first, target, limit) {
            self.move_to(offset, position);
            if !matches!(self.peek(layout, limit), Ok(true)) {
                self.move_to(self.first, HEADER as u64);
            }
        }
        while self.offset < target {
            let (offset, position) = (self.offset, self.position);
            match self
                .next(layout, limit)
                .map_err(LogError::io("read", &path))?
            {
                Next::Frame(_) => {}
                Next::End => return Ok(false),
                Next::Bad(reason) => {
                    return Err(LogError::corrupt(
                        &path,
                        Some(Offset(offset)),
                        position,
                        reason,
                    ));
                }
            }
        }
        Ok(true)
    }

    fn peek(&mut self, layout: &Layout, limit: u64) -> io::Result<bool> {
        let (offset, position) = (self.offset, self.position);
        let intact = matches!(self.next(layout, limit)?, Next::Frame(_));
        self.move_to(offset, position);
        Ok(intact)
    }
}

/// The last index entry at or before `target` and below `limit`.
fn nearest(layout: &Layout, first: u64, target: u64, limit: u64) -> Option<(u64, u64)> {
    let mut bytes = Vec::new();
    File::open(layout.index(first))
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .ok()?;
    let mut best = None;
    for entry in bytes.chunks_exact(ENTRY) {
        let (offset, position) = (u64_at(entry, 0)?, u32_at(entry, 8)?);
        if u32_at(entry, 12) != Some(layout.salt.crc(&entry[..12])) {
            break;
        }
        if offset > target || u64::from(position) >= limit {
            break;
        }
        best = Some((offset, u64::from(position)));
    }
    best
}

/// Collects index entries while frames are written or scanned.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    pub entries: Vec<u8>,
    last: u64,
}

impl IndexBuilder {
    pub(crate) fn see(&mut self, layout: &Layout, offset: u64, position: u64) {
        if position < self.last + INDEX_STEP {
            return;
        }
        let Ok(short) = u32::try_from(position) else {
            return;
        };
        self.last = position;
        let start = self.entries.len();
        self.entries.extend_from_slice(&offset.to_le_bytes());
        self.entries.extend_from_slice(&short.to_le_bytes());
        let crc = layout.salt.crc(&self.entries[start..]);
        self.entries.extend_from_slice(&crc.to_le_bytes());
    }
}
