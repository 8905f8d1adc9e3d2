//! Packets out of a byte stream, without copying where a packet lies whole in the buffer.
//!
//! ```text
//! piece:   | length u24le | sequence u8 | length bytes |
//! packet:  pieces of 16 MiB - 1 bytes, ended by the first piece that is shorter (it may be empty)
//! ```
//!
//! (manual, "MySQL Packets"). The sequence counts pieces from 0 at each command, over both directions, and wraps at 256.
//!
//! [`Frames`] is the pure half: it owns the buffer, the socket fills it. A packet that fits is lent out of the buffer. A larger
//! one is gathered in memory of its own, which is given back with the next call. No length is believed before its bytes have
//! come, except that room for one piece (at most 16 MiB) is made at its header.

use std::ops::Range;

use bytes::{BufMut, buf::Limit};

/// The length that says "more follows".
pub(super) const PIECE: usize = 0xFF_FFFF;
const HEADER: usize = 4;
/// The server's own limit of a packet, and some room for the header of an event.
const LARGEST: usize = (1 << 30) + (1 << 20);

/// The stream does not hold MySQL packets; the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("packet out of sequence")]
    Sequence,
    #[error("packet over 1 GiB")]
    TooLarge,
}

/// Where the next bytes of the socket belong.
pub(super) enum Room<'a> {
    Buffer(&'a mut [u8]),
    Gathered(Limit<&'a mut Vec<u8>>),
}

#[derive(Debug)]
enum Gathering {
    No,
    /// `missing` bytes of the current piece are still to come; `more`: another piece follows it.
    Piece {
        missing: usize,
        more: bool,
    },
    /// The next four bytes are the header of the packet's next piece.
    Header,
    Whole,
}

/// The receiving half of a connection, without the socket.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The packet that `ready` found inside the buffer.
    found: Option<Range<usize>>,
    gathered: Vec<u8>,
    gathering: Gathering,
    sequence: u8,
}

impl Frames {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            buffer: vec![0; capacity.max(64)].into_boxed_slice(),
            start: 0,
            end: 0,
            found: None,
            gathered: Vec::new(),
            gathering: Gathering::No,
            sequence: 0,
        }
    }

    /// A buffer of another size, with what is in this one that was not found yet.
    pub(super) fn resize(&mut self, capacity: usize) {
        debug_assert!(self.found.is_none());
        let waiting = self.end - self.start;
        let mut buffer = vec![0; capacity.max(waiting).max(64)].into_boxed_slice();
        buffer[..waiting].copy_from_slice(&self.buffer[self.start..self.end]);
        (self.buffer, self.start, self.end) = (buffer, 0, waiting);
    }

    /// The sequence number that the next piece, of either side, must have.
    pub(super) fn sequence(&mut self) -> &mut u8 {
        &mut self.sequence
    }

    /// True when nothing has been received that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end && matches!(self.gathering, Gathering::No)
    }

    /// Whether a whole packet is here; `take` then lends it. Asking again changes nothing.
    pub(super) fn ready(&mut self) -> Result<bool, FrameError> {
        if self.found.is_some() {
            return Ok(true);
        }
        loop {
            match self.gathering {
                Gathering::Whole => return Ok(true),
                Gathering::No => {
                    let Some(length) = self.piece()? else {
                        return Ok(false);
                    };
                    let whole = HEADER + length;
                    if length < PIECE && whole <= self.buffer.len() {
                        if self.end - self.start < whole {
                            return Ok(false);
                        }
                        self.found = Some(self.start + HEADER..self.start + whole);
                        self.start += whole;
                        self.sequence = self.sequence.wrapping_add(1);
                        return Ok(true);
                    }
                    self.begin_piece(length)?;
                }
                Gathering::Header => {
                    let Some(length) = self.piece()? else {
                        return Ok(false);
                    };
                    self.begin_piece(length)?;
                }
                Gathering::Piece { missing, more } => {
                    let here = missing.min(self.end - self.start);
                    self.gathered
                        .extend_from_slice(&self.buffer[self.start..self.start + here]);
                    self.start += here;
                    self.gathering = match (missing - here, more) {
                        (0, false) => Gathering::Whole,
                        (0, true) => Gathering::Header,
                        (missing, more) => {
                            self.gathering = Gathering::Piece { missing, more };
                            return Ok(false);
                        }
                    };
                }
            }
        }
    }

    /// The packet that `ready` found; empty when there is none.
    pub(super) fn take(&mut self) -> &[u8] {
        if let Some(found) = self.found.take() {
            return &self.buffer[found];
        }
        if matches!(self.gathering, Gathering::Whole) {
            self.gathering = Gathering::No;
            return &self.gathered;
        }
        &[]
    }

    /// Room for what the socket has; never empty. Call it only after `ready` has answered no.
    pub(super) fn room(&mut self) -> Room<'_> {
        if let Gathering::Piece { missing, .. } = self.gathering {
            return Room::Gathered((&mut self.gathered).limit(missing));
        }
        if !self.gathered.is_empty() && matches!(self.gathering, Gathering::No) {
            self.gathered = Vec::new();
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        Room::Buffer(&mut self.buffer[self.end..])
    }

    /// `count` bytes were written into the room that `room` gave out.
    pub(super) fn filled(&mut self, count: usize) {
        match &mut self.gathering {
            Gathering::Piece { missing, .. } => *missing = missing.saturating_sub(count),
            _ => self.end = (self.end + count).min(self.buffer.len()),
        }
    }

    /// The length in the header at the front, once all four bytes are here and the sequence is right.
    fn piece(&self) -> Result<Option<usize>, FrameError> {
        let Some(&[a, b, c, sequence]) = self.buffer[self.start..self.end].first_chunk::<HEADER>()
        else {
            return Ok(None);
        };
        if sequence != self.sequence {
            // A server that gives up on a waiting client sends its reason with a number of its own (connection limits,
            // shutdown, inactivity): the reason is worth more than the rule.
            match self.buffer[self.start..self.end].get(HEADER) {
                None => return Ok(None),
                Some(0xFF) => {}
                Some(_) => return Err(FrameError::Sequence),
            }
        }
        Ok(Some(
            usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16,
        ))
    }

    fn begin_piece(&mut self, length: usize) -> Result<(), FrameError> {
        if matches!(self.gathering, Gathering::No) {
            self.gathered = Vec::new();
        }
        if self.gathered.len() + length > LARGEST {
            return Err(FrameError::TooLarge);
        }
        self.start += HEADER;
        self.sequence = self.sequence.wrapping_add(1);
        self.gathered.reserve_exact(length);
        self.gathering = Gathering::Piece {
            missing: length,
            more: length == PIECE,
        };
        Ok(())
    }
}

/// Writes `payload` as one packet, in as many pieces as it takes, and advances `sequence`.
pub(super) fn encode(payload: &[u8], sequence: &mut u8, out: &mut Vec<u8>) {
    let mut rest = payload;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(PIECE));
        out.extend_from_slice(&(piece.len() as u32).to_le_bytes()[..3]);
        out.push(*sequence);
        out.extend_from_slice(piece);
        *sequence = sequence.wrapping_add(1);
        rest = after;
        if piece.len() < PIECE {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `stream` in portions and collects the packets.
    fn packets(
        stream: &[u8],
        capacity: usize,
        portions: &[usize],
    ) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Frames::new(capacity);
        let (mut out, mut rest, mut turn) = (Vec::new(), stream, 0);
        loop {
            while frames.ready()? {
                out.push(frames.take().to_vec());
            }
            if rest.is_empty() {
                return Ok(out);
            }
            let portion = portions[turn % portions.len()].max(1);
            turn += 1;
            let count = match frames.room() {
                Room::Buffer(room) => {
                    let count = portion.min(room.len()).min(rest.len());
                    assert!(count > 0, "no room");
                    room[..count].copy_from_slice(&rest[..count]);
                    count
                }
                Room::Gathered(mut room) => {
                    let count = portion.min(room.remaining_mut()).min(rest.len());
                    assert!(count > 0, "no room");
                    room.put_slice(&rest[..count]);
                    count
                }
            };
            frames.filled(count);
            rest = &rest[count..];
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 7 % 251) as u8).collect()
    }

    #[test]
    fn pieces_are_joined() {
        for length in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 5] {
            let (payload, mut stream, mut sequence) = (pattern(length), Vec::new(), 0);
            encode(&payload, &mut sequence, &mut stream);
            encode(b"after", &mut sequence, &mut stream);
            assert_eq!(stream.len(), length + 4 * (length / PIECE + 1) + 9);
            for capacity in [100, 1 << 20, 1 << 25] {
                let got = packets(&stream, capacity, &[1 << 20, 3, 70_000]).unwrap();
                assert_eq!(got.len(), 2);
                assert!(got[0] == payload, "length {length}, buffer {capacity}");
                assert_eq!(got[1], b"after");
            }
        }
    }

    #[test]
    fn memory_of_a_large_packet_is_given_back() {
        let (mut stream, mut sequence) = (Vec::new(), 0);
        encode(&pattern(5000), &mut sequence, &mut stream);
        let mut frames = Frames::new(64);
        for byte in stream {
            assert!(!frames.ready().unwrap());
            match frames.room() {
                Room::Buffer(room) => room[0] = byte,
                Room::Gathered(mut room) => room.put_u8(byte),
            }
            frames.filled(1);
        }
        assert!(frames.ready().unwrap());
        assert_eq!(frames.take().len(), 5000);
        assert!(!frames.ready().unwrap());
        frames.room();
        assert_eq!(frames.gathered.capacity(), 0);
    }

    #[test]
    fn truncated_is_not_ready() {
        let (mut stream, mut sequence) = (Vec::new(), 0);
        encode(b"hello", &mut sequence, &mut stream);
        for cut in 0..stream.len() {
            assert!(packets(&stream[..cut], 1000, &[1]).unwrap().is_empty());
        }
    }

    #[test]
    fn wrong_sequence_is_an_error_unless_it_is_one() {
        assert_eq!(
            packets(b"\x01\x00\x00\x05\x00", 100, &[9]),
            Err(FrameError::Sequence)
        );
        assert_eq!(
            packets(b"\x01\x00\x00\x05\xff", 100, &[9]),
            Ok(vec![vec![0xff]])
        );
    }

    #[test]
    fn over_a_gibibyte_is_refused() {
        let mut frames = Frames::new(64);
        frames.gathered = vec![0; LARGEST];
        frames.gathering = Gathering::Header;
        if let Room::Buffer(room) = frames.room() {
            room[..4].copy_from_slice(&[1, 0, 0, 0]);
        }
        frames.filled(4);
        assert_eq!(frames.ready(), Err(FrameError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_portions_give_the_same_packets(
            lengths in prop::collection::vec(0usize..400, 1..20),
            portions in prop::collection::vec(1usize..300, 1..10),
            capacity in 64usize..500,
        ) {
            let payloads: Vec<_> = lengths.into_iter().map(pattern).collect();
            let (mut stream, mut sequence) = (Vec::new(), 0);
            for payload in &payloads {
                encode(payload, &mut sequence, &mut stream);
            }
            prop_assert_eq!(packets(&stream, capacity, &portions).unwrap(), payloads);
        }

        #[test]
        fn garbage_never_panics(stream in prop::collection::vec(any::<u8>(), 0..2000), capacity in 64usize..500) {
            let _ = packets(&stream, capacity, &[17]);
        }
    }
}
