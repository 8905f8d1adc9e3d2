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
//! one is gathered in memory of its own, which is given back with the next call, or, where its first bytes say that its reader can
//! do with that, lent in parts as it comes. No length is believed before its bytes have come, except that room for one piece (at
//! most 16 MiB) is made at its header.

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

/// What `take` lends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lent {
    Packet,
    /// The next part of a packet; there are more.
    Part,
    LastPart,
}

/// Of the packets that are larger than the buffer, those that are lent in parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parted {
    /// How many of a packet's first bytes `is` asks for.
    pub(crate) look: usize,
    pub(crate) is: fn(&[u8]) -> bool,
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
    /// As `Piece` and `Header`, of a packet that is lent in parts.
    PartedPiece {
        missing: usize,
        more: bool,
    },
    PartedHeader,
}

/// The receiving half of a connection, without the socket.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The packet that `ready` found inside the buffer.
    found: Option<Range<usize>>,
    /// What `found` is.
    lent: Lent,
    gathered: Vec<u8>,
    gathering: Gathering,
    parted: Option<Parted>,
    /// Of the packet that is lent in parts: bytes of the pieces that have begun.
    begun: usize,
    sequence: u8,
}

impl Frames {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            buffer: vec![0; capacity.max(64)].into_boxed_slice(),
            start: 0,
            end: 0,
            found: None,
            lent: Lent::Packet,
            gathered: Vec::new(),
            gathering: Gathering::No,
            parted: None,
            begun: 0,
            sequence: 0,
        }
    }

    /// From here on these packets are lent in parts.
    pub(super) fn part(&mut self, parted: Parted) {
        debug_assert!(parted.look + HEADER <= self.buffer.len());
        self.parted = Some(parted);
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
                        self.lent = Lent::Packet;
                        self.start += whole;
                        self.sequence = self.sequence.wrapping_add(1);
                        return Ok(true);
                    }
                    match self.is_parted(length) {
                        None => return Ok(false),
                        Some(true) => self.begin_parted(length)?,
                        Some(false) => self.begin_piece(length)?,
                    }
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
                Gathering::PartedHeader => {
                    let Some(length) = self.piece()? else {
                        return Ok(false);
                    };
                    self.begin_parted(length)?;
                }
                Gathering::PartedPiece {
                    missing: 0,
                    more: true,
                } => {
                    self.gathering = Gathering::PartedHeader;
                }
                Gathering::PartedPiece { missing, more } => {
                    let here = missing.min(self.end - self.start);
                    if here == 0 && missing > 0 {
                        return Ok(false);
                    }
                    self.found = Some(self.start..self.start + here);
                    self.start += here;
                    (self.gathering, self.lent) = match (missing - here, more) {
                        (0, false) => (Gathering::No, Lent::LastPart),
                        (missing, more) => (Gathering::PartedPiece { missing, more }, Lent::Part),
                    };
                    return Ok(true);
                }
            }
        }
    }

    /// What `take` will lend, once `ready` has said yes.
    #[inline]
    pub(super) fn lends(&self) -> Lent {
        match self.found {
            Some(_) => self.lent,
            None => Lent::Packet,
        }
    }

    /// The packet, or part of one, that `ready` found; empty when there is none.
    /// The packet that `ready` found, which stays found; empty when there is none. (Not a part of one.)
    pub(super) fn peek(&self) -> &[u8] {
        match &self.found {
            Some(found) => &self.buffer[found.clone()],
            None if matches!(self.gathering, Gathering::Whole) => &self.gathered,
            None => &[],
        }
    }

    /// The same, for the last time.
    #[inline]
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

    /// Whether the packet, whose first piece has `length` bytes, is to be lent in parts; `None`: more of it is needed to tell.
    fn is_parted(&self, length: usize) -> Option<bool> {
        let Some(parted) = self.parted else {
            return Some(false);
        };
        if length < parted.look {
            return Some(false);
        }
        let first = self.start + HEADER..self.start + HEADER + parted.look;
        (first.end <= self.end).then(|| (parted.is)(&self.buffer[first]))
    }

    fn begin_parted(&mut self, length: usize) -> Result<(), FrameError> {
        if matches!(self.gathering, Gathering::No) {
            self.begun = 0;
        }
        self.begun += length;
        if self.begun > LARGEST {
            return Err(FrameError::TooLarge);
        }
        self.start += HEADER;
        self.sequence = self.sequence.wrapping_add(1);
        self.gathering = Gathering::PartedPiece {
            missing: length,
            more: length == PIECE,
        };
        Ok(())
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
        frames.part(SEVENS);
        packets_of(frames, stream, portions)
    }

    fn packets_of(
        mut frames: Frames,
        stream: &[u8],
        portions: &[usize],
    ) -> Result<Vec<Vec<u8>>, FrameError> {
        let (mut out, mut open, mut rest, mut turn) = (Vec::new(), Vec::new(), stream, 0);
        loop {
            while frames.ready()? {
                let lent = frames.lends();
                open.extend_from_slice(frames.take());
                if lent != Lent::Part {
                    out.push(std::mem::take(&mut open));
                }
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

    /// Those that begin with 7.
    const SEVENS: Parted = Parted {
        look: 5,
        is: |first| first[0] == 7,
    };

    #[test]
    fn pieces_are_lent_as_they_come() {
        for length in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 5] {
            let (mut payload, mut stream, mut sequence) = (pattern(length), Vec::new(), 0);
            payload[0] = 7;
            encode(&payload, &mut sequence, &mut stream);
            encode(b"after", &mut sequence, &mut stream);
            let mut frames = Frames::new(1 << 20);
            frames.part(SEVENS);
            let (mut got, mut ended, mut rest) = (Vec::new(), false, stream.as_slice());
            loop {
                while frames.ready().unwrap() {
                    match frames.lends() {
                        Lent::Packet => {
                            assert!(ended);
                            assert_eq!(frames.take(), b"after");
                        }
                        lent => {
                            assert!(!ended);
                            ended = lent == Lent::LastPart;
                            got.extend_from_slice(frames.take());
                        }
                    }
                }
                assert_eq!(frames.gathered.capacity(), 0);
                if rest.is_empty() {
                    break;
                }
                let Room::Buffer(room) = frames.room() else {
                    panic!("it is gathered");
                };
                let count = room.len().min(rest.len()).min(700_001);
                room[..count].copy_from_slice(&rest[..count]);
                frames.filled(count);
                rest = &rest[count..];
            }
            assert!(ended && got == payload, "length {length}");
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
            lengths in prop::collection::vec((0usize..400, any::<bool>()), 1..20),
            portions in prop::collection::vec(1usize..300, 1..10),
            capacity in 64usize..500,
        ) {
            let payloads: Vec<_> = lengths
                .into_iter()
                .map(|(length, seven)| {
                    let mut payload = pattern(length);
                    if let (Some(first), true) = (payload.first_mut(), seven) {
                        *first = 7;
                    }
                    payload
                })
                .collect();
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
