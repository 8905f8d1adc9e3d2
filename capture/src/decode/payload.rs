//! TRANSACTION_PAYLOAD (40): a transaction's events, compressed as one (`binlog_transaction_compression`).
//!
//! ```text
//! body:    fields | compressed bytes
//! fields:  (type, length, value)* | type 0                        all of them length-encoded integers
//!          1: compressed bytes   2: 0 = zstd, 255 = none   3: bytes when decompressed   others: passed by
//! content: (event of 19 bytes of header and its body, without a checksum)*
//! ```
//!
//! (`libs/mysql/binlog/event/codecs/binary.cpp`, `compression/payload_event_buffer_istream.cpp`.)
//!
//! [`Payload`] is fed the body in parts of any size and yields one event after the other. What it holds is bounded: the window of the
//! zstd stream, at most 128 MiB (what level 22, the highest that a server can be set to, asks for; a stream that asks for more is
//! refused), and one inner event, for which memory is taken as its bytes come, not because its header says so. Both are given back when
//! they were large.
//!
//! The last inner event, which ends the transaction, is yielded only when everything else has been found right: the outer event is
//! whole (and its checksum good), the zstd stream has ended, and the sizes are what was stated. Whatever came before it can be forgotten.

use std::fmt;

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{
    cursor::{Cursor, Flaw, SHORT},
    error::DecodeError,
};

const HEADER: usize = 19;
/// The fields that a server writes take 24 bytes at most; there may be others some day.
const LARGEST_FIELDS: usize = 1024;
/// Of the zstd window, as a power of two: 128 MiB. It is zstd's own default limit, which the server's reader has too.
const LARGEST_WINDOW: u32 = 27;
/// How zstd names a window beyond the limit.
const TOO_LARGE: &str = "Frame requires too much memory for decoding";
/// Decompressed at once.
const ROOM: usize = 256 << 10;
/// An idle decoder keeps no more than this of each of its two memories.
const KEPT: usize = 4 << 20;

const END: u64 = 0;
const SIZE: u64 = 1;
const COMPRESSION: u64 = 2;
const UNCOMPRESSED_SIZE: u64 = 3;

const ZSTD: u64 = 0;
const NONE: u64 = 255;

const PAYLOAD: u8 = 40;

/// An event inside a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerEvent<'a> {
    /// Where it begins, in the decompressed content.
    pub offset: u64,
    pub type_code: u8,
    pub flags: u16,
    pub body: &'a [u8],
    /// Nothing follows it, and all of the payload was right.
    pub last: bool,
}

/// Decodes one payload after another; the memory stays.
#[derive(Default)]
pub struct Payload {
    /// What has come of the fields; `None` once they are read.
    fields: Option<Vec<u8>>,
    stored: bool,
    zstd: Option<DCtx<'static>>,
    /// The frame that was begun has ended, or none was begun.
    ended: bool,
    /// The decompressor had more to give than there was room for.
    pending: bool,
    /// Compressed bytes that have not come yet.
    left: u64,
    stated: u64,
    produced: u64,
    /// Decompressed; what was yielded ends at `taken`.
    buffer: Vec<u8>,
    taken: usize,
}

/// The head of the inner event at the front.
#[derive(Clone, Copy)]
struct Head {
    offset: u64,
    length: usize,
    last: bool,
}

impl Payload {
    /// Begins with another payload, whatever became of the one before.
    pub fn begin(&mut self) {
        self.fields = Some(Vec::new());
        self.ended = true;
        self.pending = false;
        (self.left, self.stated, self.produced) = (0, 0, 0);
        self.buffer.clear();
        self.taken = 0;
    }

    /// The next event, from as much of `input` as it takes. `None` when `input` is used up: more of it is needed, or, with `whole`, the
    /// payload has ended as it should.
    ///
    /// `whole`: nothing of the outer event follows `input`, and its checksum was right.
    pub fn next<'a>(
        &'a mut self,
        input: &mut &[u8],
        whole: bool,
    ) -> Result<Option<InnerEvent<'a>>, DecodeError> {
        if !self.fields(input, whole)? {
            return Ok(None);
        }
        loop {
            let head = self.head()?;
            let here = self.buffer.len() - self.taken;
            let complete = whole && input.is_empty() && self.is_complete();
            match head {
                Some(head) if here >= head.length && (!head.last || complete) => {
                    return Ok(Some(self.yielded(head)));
                }
                None if here == 0 && complete => {
                    self.give_back();
                    return Ok(None);
                }
                _ => {}
            }
            if input.is_empty() && !self.pending {
                return match whole {
                    false => Ok(None),
                    true => Err(self.flawed(self.ending())),
                };
            }
            self.make_room(head);
            self.decompress(input)?;
        }
    }

    /// Everything has come and gone through the decompressor, and was as stated.
    fn is_complete(&self) -> bool {
        self.left == 0 && self.ended && !self.pending && self.produced == self.stated
    }

    /// What is wrong with a payload that has come to its end too early.
    fn ending(&self) -> &'static str {
        if self.left > 0 {
            "is shorter than it states"
        } else if !self.ended {
            "holds a zstd stream that has no end"
        } else if self.produced < self.stated {
            "expands to less than it states"
        } else {
            "ends in the middle of an event"
        }
    }

    /// Reads the fields; false: they are not all here.
    fn fields(&mut self, input: &mut &[u8], whole: bool) -> Result<bool, DecodeError> {
        let Some(mut seen) = self.fields.take() else {
            return Ok(true);
        };
        let malformed = |Flaw(flaw)| DecodeError::Malformed {
            event: "TRANSACTION_PAYLOAD",
            flaw,
        };
        let before = seen.len();
        let part = &input[..input.len().min(LARGEST_FIELDS - before)];
        // Nearly always they are all in the first part.
        let bytes = if before == 0 {
            part
        } else {
            seen.extend_from_slice(part);
            &seen
        };
        let (length, mut cursor) = (bytes.len(), Cursor::new(bytes));
        let (mut size, mut compression, mut uncompressed) = (None, None, None);
        let read = loop {
            let field = match cursor.length_encoded() {
                Ok(END) => break Ok(length - cursor.rest().len()),
                Ok(field) => field,
                Err(flaw) => break Err(flaw),
            };
            let value = cursor
                .length_encoded()
                .and_then(|length| cursor.take(usize::try_from(length).unwrap_or(usize::MAX)));
            let value = match value {
                Ok(value) => value,
                Err(flaw) => break Err(flaw),
            };
            let slot = match field {
                SIZE => &mut size,
                COMPRESSION => &mut compression,
                UNCOMPRESSED_SIZE => &mut uncompressed,
                _ => continue,
            };
            let mut value = Cursor::new(value);
            match value.length_encoded() {
                Ok(number) if value.is_empty() => *slot = Some(number),
                _ => break Err(Flaw("has a field whose length is not that of its value")),
            }
        };
        match read {
            Ok(taken) => *input = &input[taken - before..],
            Err(flaw) if flaw == SHORT && !whole && length < LARGEST_FIELDS => {
                if before == 0 {
                    seen.extend_from_slice(part);
                }
                *input = &[];
                self.fields = Some(seen);
                return Ok(false);
            }
            Err(flaw) => return Err(malformed(flaw)),
        }
        let absent = |flaw| malformed(Flaw(flaw));
        self.left = size.ok_or_else(|| absent("does not state its size"))?;
        self.stored = match compression {
            Some(ZSTD) => false,
            Some(NONE) => true,
            Some(_) => {
                return Err(DecodeError::Unsupported {
                    event: "TRANSACTION_PAYLOAD",
                    reason: "its compression is neither zstd nor none",
                    hint: "the source is newer than this program: look for a newer version, or SET PERSIST binlog_transaction_compression = OFF on the source",
                });
            }
            None => return Err(absent("does not state its compression")),
        };
        self.stated = match (uncompressed, self.stored) {
            (Some(stated), _) => stated,
            (None, true) => self.left,
            (None, false) => return Err(absent("does not state its uncompressed size")),
        };
        if !self.stored {
            self.reset()?;
        }
        Ok(true)
    }

    /// A decompressor at the beginning of a stream.
    fn reset(&mut self) -> Result<(), DecodeError> {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => none.insert(DCtx::try_create().ok_or(DecodeError::Zstd {
                offset: 0,
                reason: "no memory for its decompressor",
            })?),
        };
        zstd.reset(ResetDirective::SessionOnly)
            .and_then(|_| zstd.set_parameter(DParameter::WindowLogMax(LARGEST_WINDOW)))
            .map_err(|code| DecodeError::Zstd {
                offset: 0,
                reason: zstd_safe::get_error_name(code),
            })?;
        Ok(())
    }

    /// The header of the event at the front, when it is here.
    fn head(&self) -> Result<Option<Head>, DecodeError> {
        let here = &self.buffer[self.taken..];
        let Some(header) = here.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let offset = self.produced - here.len() as u64;
        let length = u32::from_le_bytes([header[9], header[10], header[11], header[12]]);
        let left = self.stated - offset;
        let flaw = if header[4] == PAYLOAD {
            "holds another payload"
        } else if (length as usize) < HEADER {
            "holds an event that is shorter than its header"
        } else if u64::from(length) > left {
            "holds an event that is longer than what is left"
        } else {
            return Ok(Some(Head {
                offset,
                length: length as usize,
                last: u64::from(length) == left,
            }));
        };
        Err(DecodeError::Payload { offset, flaw })
    }

    fn yielded(&mut self, head: Head) -> InnerEvent<'_> {
        let event = &self.buffer[self.taken..self.taken + head.length];
        self.taken += head.length;
        InnerEvent {
            offset: head.offset,
            type_code: event[4],
            flags: u16::from_le_bytes([event[17], event[18]]),
            body: &event[HEADER..],
            last: head.last,
        }
    }

    /// Room for some more of the content, and for the event at the front as far as it can be believed.
    fn make_room(&mut self, head: Option<Head>) {
        let here = self.buffer.len() - self.taken;
        let wanted = head.map_or(HEADER, |head| head.length);
        if self.buffer.capacity() > KEPT && wanted.max(here) <= self.buffer.capacity() / 4 {
            let mut smaller = Vec::with_capacity(wanted.max(here).max(ROOM));
            smaller.extend_from_slice(&self.buffer[self.taken..]);
            self.buffer = smaller;
        } else if self.taken > 0 {
            self.buffer.copy_within(self.taken.., 0);
            self.buffer.truncate(here);
        }
        self.taken = 0;
        // Twice what has come already, up to the event's length; one byte more tells an end from a beginning.
        if self.buffer.capacity() <= here {
            let capacity = wanted.min(here * 2).max(here + 1).max(ROOM);
            self.buffer.reserve_exact(capacity - here);
        }
    }

    fn decompress(&mut self, input: &mut &[u8]) -> Result<(), DecodeError> {
        let allowed = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        if allowed == 0 && !input.is_empty() {
            return Err(self.flawed("is longer than it states"));
        }
        let (mut source, before) = (InBuffer::around(&input[..allowed]), self.buffer.len());
        match &mut self.zstd {
            Some(zstd) if !self.stored => {
                let mut sink = OutBuffer::around_pos(&mut self.buffer, before);
                match zstd.decompress_stream(&mut sink, &mut source) {
                    Ok(hint) => self.ended = hint == 0,
                    Err(code) => {
                        return Err(DecodeError::Zstd {
                            offset: self.produced,
                            reason: match zstd_safe::get_error_name(code) {
                                TOO_LARGE => "it asks for a window of more than 128 MiB",
                                other => other,
                            },
                        });
                    }
                }
            }
            _ => {
                let take = allowed.min(self.buffer.capacity() - before);
                self.buffer.extend_from_slice(&input[..take]);
                source.pos = take;
            }
        }
        let (consumed, count) = (source.pos, self.buffer.len() - before);
        *input = &input[consumed..];
        self.left -= consumed as u64;
        self.produced += count as u64;
        self.pending = !self.stored && !self.ended && self.buffer.len() == self.buffer.capacity();
        if self.produced > self.stated {
            return Err(self.flawed("expands to more than it states"));
        }
        if consumed == 0 && count == 0 && !input.is_empty() {
            return Err(self.flawed("holds a zstd stream that stands still"));
        }
        Ok(())
    }

    /// What only a large payload needed.
    fn give_back(&mut self) {
        if self.zstd.as_ref().is_some_and(|zstd| zstd.sizeof() > KEPT) {
            self.zstd = None;
        }
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
            self.taken = 0;
        }
    }

    #[cold]
    fn flawed(&self, flaw: &'static str) -> DecodeError {
        DecodeError::Payload {
            offset: self.produced,
            flaw,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("left", &self.left)
            .field("stated", &self.stated)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
