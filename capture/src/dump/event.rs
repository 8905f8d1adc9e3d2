//! One event of the dump: header checked, checksum verified and cut off.
//!
//! ```text
//! header:  timestamp u32 | type u8 | server_id u32 | length u32 | end position u32 | flags u16      (19 bytes)
//! event:   header | body | CRC32 of all before it (u32, when the file has checksums)
//! ```
//!
//! Whether a file has checksums stands at the end of its format description event: `... | algorithm u8 | CRC32`. Before that one,
//! only a rotate event that the source makes up can come: it has a checksum exactly when its last four bytes are one.
//! (MySQL's `libs/mysql/binlog/event/binlog_event.h`, `sql/rpl_binlog_sender.cc`.)

use std::hash::Hasher;

use crc32fast::Hasher as Crc32;

use crate::error::Permanent;

pub const HEADER: usize = 19;
const CHECKSUM: usize = 4;
/// In a format description event: binlog version, server version, creation time, header length.
const DESCRIPTION_FIXED: usize = 2 + 50 + 4 + 1;

pub const ROTATE: u8 = 4;
pub const FORMAT_DESCRIPTION: u8 = 15;
pub const HEARTBEAT: u8 = 27;
pub const TRANSACTION_PAYLOAD: u8 = 40;
pub const HEARTBEAT_V2: u8 = 41;

/// The source made this event up for the dump; it is in no file.
pub const FLAG_ARTIFICIAL: u16 = 0x20;
/// Whoever does not know the type may skip it.
pub const FLAG_IGNORABLE: u16 = 0x80;
/// The file was open when the event was written; set after the checksum was computed.
pub const FLAG_IN_USE: u16 = 0x01;
/// The file is a relay log.
pub const FLAG_RELAY_LOG: u16 = 0x40;

/// An event as the source wrote it, borrowed from the connection's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Seconds since 1970; 0 in events made up by the source.
    pub timestamp: u32,
    pub type_code: u8,
    /// Of the server on which the transaction began.
    pub server_id: u32,
    /// The position in the file after this event, modulo 2^32; 0 where it has none.
    pub log_pos: u32,
    pub flags: u16,
    /// Between the header and the checksum.
    pub body: &'a [u8],
    /// `body` is a part of a large TRANSACTION_PAYLOAD's body, and its next part follows as another event. The last part (it may be
    /// empty) comes only when the checksum of all of them was right.
    pub more: bool,
}

impl Event<'_> {
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    pub fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }

    /// The source is alive and has nothing to send.
    pub fn is_heartbeat(&self) -> bool {
        matches!(self.type_code, HEARTBEAT | HEARTBEAT_V2)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksums {
    /// No format description event yet.
    Unknown,
    Off,
    Crc32,
}

/// What is known about the file that is being read.
#[derive(Debug)]
pub(crate) struct Opener {
    checksums: Checksums,
    file: String,
    /// The event that comes in parts, while it does.
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    header: [u8; HEADER],
    /// Of body and checksum.
    left: usize,
    hasher: Crc32,
    stated: u32,
}

const OTHER_LENGTH: &str = "its length is not that of its packet";
const TOO_EARLY: &str = "it comes before the format description event";

#[inline]
fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[inline]
fn length_in(header: &[u8; HEADER]) -> usize {
    u32_at(header, 9) as usize
}

#[inline]
fn under<'a>(header: &[u8; HEADER], body: &'a [u8], more: bool) -> Event<'a> {
    Event {
        timestamp: u32_at(header, 0),
        type_code: header[4],
        server_id: u32_at(header, 5),
        log_pos: u32_at(header, 13),
        flags: u16::from_le_bytes([header[17], header[18]]),
        body,
        more,
    }
}

impl Opener {
    pub(crate) fn new() -> Self {
        Self {
            checksums: Checksums::Unknown,
            file: String::new(),
            parts: None,
        }
    }

    /// The next event is the first one of this file.
    pub(crate) fn enter(&mut self, file: &str) {
        self.checksums = Checksums::Unknown;
        self.file.clear();
        self.file.push_str(file);
    }

    /// Whether the checksum of a format description event, header to checksum, is right. In a file it is, whatever the algorithm that
    /// the event announces for those that follow; on its way to a replica the event is changed, and without checksums nobody mends it.
    pub(crate) fn description_is_whole(bytes: &[u8]) -> bool {
        let mut closed = bytes.to_vec();
        if let Some(flags) = closed.get_mut(17) {
            *flags &= !(FLAG_IN_USE as u8);
        }
        sums(&closed).is_some_and(|(sum, _)| sum.stated == sum.computed)
    }

    pub(crate) fn checksums(&self) -> Checksums {
        self.checksums
    }

    /// The file that is being read, as the last rotate event named it; empty before the first.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Reads `bytes`, header to checksum, as an event.
    #[inline]
    pub(crate) fn open<'a>(&mut self, bytes: &'a [u8]) -> Result<Event<'a>, Permanent> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(self.damaged(0, bytes.len(), "shorter than a header"));
        };
        let type_code = header[4];
        if length_in(header) != bytes.len() {
            return Err(self.damaged(type_code, bytes.len(), OTHER_LENGTH));
        }
        let mut event = under(header, rest, false);
        match (type_code, self.checksums) {
            (FORMAT_DESCRIPTION, _) => self.describe(bytes, &mut event)?,
            (_, Checksums::Crc32) => self.verify(bytes, &mut event)?,
            (_, Checksums::Off) => {}
            (ROTATE, Checksums::Unknown) => {
                if let Some((sum, body)) = sums(bytes)
                    && sum.stated == sum.computed
                {
                    event.body = body;
                }
            }
            _ => {
                return Err(self.damaged(type_code, bytes.len(), TOO_EARLY));
            }
        }
        if type_code == ROTATE {
            self.rotate(bytes.len(), event.body)?;
        }
        Ok(event)
    }

    /// Whether the next part is not the first one of an event.
    pub(crate) fn is_parted(&self) -> bool {
        self.parts.is_some()
    }

    /// Reads `bytes` as the next part of a large event: the first one from its header on, and the last one, which has nothing after it,
    /// with the checksum.
    pub(crate) fn part<'a>(&mut self, bytes: &'a [u8], more: bool) -> Result<Event<'a>, Permanent> {
        let (mut parts, body) = match self.parts.take() {
            Some(parts) => (parts, bytes),
            None => self.begin(bytes)?,
        };
        let event = under(&parts.header, &[], more);
        let summed = match self.checksums {
            Checksums::Crc32 => CHECKSUM,
            _ => 0,
        };
        if body.len() > parts.left || (!more && body.len() < parts.left) {
            let length = length_in(&parts.header);
            return Err(self.damaged(event.type_code, length, OTHER_LENGTH));
        }
        // The checksum itself may lie in several parts.
        let (body, sum) = body.split_at(body.len().min(parts.left.saturating_sub(summed)));
        parts.left -= body.len() + sum.len();
        if summed > 0 {
            parts.hasher.write(body);
        }
        for byte in sum {
            parts.stated = parts.stated >> 8 | u32::from(*byte) << 24;
        }
        if more {
            self.parts = Some(parts);
        } else if summed > 0 {
            let sum = Sums {
                stated: parts.stated,
                computed: parts.hasher.finalize(),
            };
            if sum.stated != sum.computed {
                return Err(self.mismatch(length_in(&parts.header), &event, sum));
            }
        }
        Ok(Event { body, ..event })
    }

    fn begin<'a>(&self, bytes: &'a [u8]) -> Result<(Parts, &'a [u8]), Permanent> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(self.damaged(0, bytes.len(), "shorter than a header"));
        };
        let length = length_in(header);
        let least = match self.checksums {
            Checksums::Unknown => {
                return Err(self.damaged(header[4], length, TOO_EARLY));
            }
            Checksums::Off => HEADER,
            Checksums::Crc32 => HEADER + CHECKSUM,
        };
        if length < least {
            return Err(self.damaged(header[4], length, "shorter than header and checksum"));
        }
        let mut hasher = Crc32::new();
        hasher.write(header);
        let parts = Parts {
            header: *header,
            left: length - HEADER,
            hasher,
            stated: 0,
        };
        Ok((parts, body))
    }

    #[inline]
    fn verify<'a>(&self, bytes: &'a [u8], event: &mut Event<'a>) -> Result<(), Permanent> {
        match sums(bytes) {
            Some((sum, body)) if sum.stated == sum.computed => {
                event.body = body;
                Ok(())
            }
            Some((sum, _)) => Err(self.mismatch(bytes.len(), event, sum)),
            None => Err(self.damaged(
                event.type_code,
                bytes.len(),
                "shorter than header and checksum",
            )),
        }
    }

    fn describe<'a>(&mut self, bytes: &'a [u8], event: &mut Event<'a>) -> Result<(), Permanent> {
        let short = || self.damaged(FORMAT_DESCRIPTION, bytes.len(), "shorter than it must be");
        let (mut sum, body) = sums(bytes).ok_or_else(short)?;
        let (&algorithm, fixed) = body.split_last().ok_or_else(short)?;
        if fixed.len() < DESCRIPTION_FIXED {
            return Err(short());
        }
        self.checksums = match algorithm {
            0 => Checksums::Off,
            1 => Checksums::Crc32,
            _ => {
                return Err(self.damaged(
                    FORMAT_DESCRIPTION,
                    bytes.len(),
                    "unknown checksum algorithm",
                ));
            }
        };
        if self.checksums == Checksums::Crc32 && sum.stated != sum.computed {
            let mut closed = bytes.to_vec();
            closed[17] &= !(FLAG_IN_USE as u8);
            if let Some((again, _)) = sums(&closed) {
                sum = again;
            }
            if sum.stated != sum.computed {
                return Err(self.mismatch(bytes.len(), event, sum));
            }
        }
        event.body = body;
        Ok(())
    }

    fn rotate(&mut self, length: usize, body: &[u8]) -> Result<(), Permanent> {
        let Some((_position, file)) = body.split_first_chunk::<8>() else {
            return Err(self.damaged(ROTATE, length, "it names no file"));
        };
        self.file.clear();
        self.file.extend(
            String::from_utf8_lossy(file)
                .chars()
                .flat_map(char::escape_debug),
        );
        Ok(())
    }

    #[cold]
    fn damaged(&self, type_code: u8, length: usize, reason: &'static str) -> Permanent {
        Permanent::Event {
            file: self.place(),
            type_code,
            length,
            reason,
        }
    }

    #[cold]
    fn mismatch(&self, length: usize, event: &Event<'_>, sum: Sums) -> Permanent {
        Permanent::Checksum {
            file: self.place(),
            position: event.log_pos,
            type_code: event.type_code,
            length,
            stated: sum.stated,
            computed: sum.computed,
        }
    }

    fn place(&self) -> String {
        match self.file.as_str() {
            "" => "the dump's beginning".to_owned(),
            file => file.to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Sums {
    stated: u32,
    computed: u32,
}

/// The checksum at the end, what it should be, and the body between header and checksum.
#[inline]
fn sums(bytes: &[u8]) -> Option<(Sums, &[u8])> {
    let (covered, stated) = bytes.split_last_chunk::<CHECKSUM>()?;
    let body = covered.get(HEADER..)?;
    let mut hasher = Crc32::new();
    hasher.write(covered);
    Some((
        Sums {
            stated: u32::from_le_bytes(*stated),
            computed: hasher.finalize(),
        },
        body,
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An event with header, and a checksum when asked for.
    pub fn event(type_code: u8, flags: u16, body: &[u8], checksum: bool) -> Vec<u8> {
        let length = (HEADER + body.len() + if checksum { CHECKSUM } else { 0 }) as u32;
        let mut bytes = vec![1, 0, 0, 0, type_code, 5, 0, 0, 0];
        bytes.extend(length.to_le_bytes());
        bytes.extend(1000u32.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(body);
        if checksum {
            bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        }
        bytes
    }

    pub fn description(algorithm: u8) -> Vec<u8> {
        let mut body = vec![4; DESCRIPTION_FIXED];
        body.extend([13; 40]);
        body.push(algorithm);
        event(FORMAT_DESCRIPTION, 0, &body, true)
    }

    #[test]
    fn checksums_are_verified_once_the_file_says_so() {
        let mut opener = Opener::new();
        let rotate = event(
            ROTATE,
            FLAG_ARTIFICIAL,
            b"\x04\0\0\0\0\0\0\0binlog.000007",
            false,
        );
        assert!(opener.open(&rotate).unwrap().is_artificial());
        assert_eq!(opener.file(), "binlog.000007");
        let rotate = event(
            ROTATE,
            FLAG_ARTIFICIAL,
            b"\x04\0\0\0\0\0\0\0binlog.000008",
            true,
        );
        opener.open(&rotate).unwrap();
        assert_eq!(opener.file(), "binlog.000008");
        opener.open(&description(1)).unwrap();
        let good = event(33, 0, b"payload", true);
        assert_eq!(opener.open(&good).unwrap().body, b"payload");
        for at in (0..good.len()).filter(|at| !(9..13).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            // A changed type can make it another event, with rules of its own; it stays damaged.
            assert!(
                matches!(
                    opener.open(&bad),
                    Err(Permanent::Checksum { .. } | Permanent::Event { .. })
                ),
                "byte {at}"
            );
        }
    }

    /// The bodies of `event`'s parts, with `more`.
    fn parts(opener: &mut Opener, event: &[u8], cuts: &[usize]) -> Result<Vec<u8>, Permanent> {
        let (mut body, mut begun) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&event.len()]) {
            let more = cut < event.len();
            let part = opener.part(&event[begun..cut], more)?;
            assert_eq!((part.type_code, part.more), (40, more));
            body.extend_from_slice(part.body);
            begun = cut;
        }
        Ok(body)
    }

    #[test]
    fn parts_are_verified_wherever_they_are_cut() {
        for checksum in [false, true] {
            let good = event(40, 0, b"a payload", checksum);
            for a in HEADER..good.len() {
                for b in a..good.len() {
                    let mut opener = Opener::new();
                    opener.open(&description(checksum.into())).unwrap();
                    let body = parts(&mut opener, &good, &[a, b]).unwrap();
                    assert_eq!(body, b"a payload");
                    // And the next one.
                    assert!(opener.open(&event(33, 0, b"x", checksum)).is_ok());
                    assert_eq!(parts(&mut opener, &good, &[b]).unwrap(), body);
                    for length in [good.len() - 1, good.len() + 1] {
                        let mut bad = good.clone();
                        bad.resize(length, 0);
                        assert!(matches!(
                            parts(&mut opener, &bad, &[a.min(length)]),
                            Err(Permanent::Event { .. })
                        ));
                        opener.parts = None;
                    }
                }
            }
            for at in (0..good.len()).filter(|at| checksum && *at != 4 && !(9..13).contains(at)) {
                let mut opener = Opener::new();
                opener.open(&description(1)).unwrap();
                let mut bad = good.clone();
                bad[at] ^= 4;
                assert!(matches!(
                    parts(&mut opener, &bad, &[HEADER, good.len() - 2]),
                    Err(Permanent::Checksum { .. })
                ));
            }
        }
        assert!(Opener::new().part(&[0; 30], true).is_err());
    }

    #[test]
    fn without_checksums_nothing_is_cut_off() {
        let mut opener = Opener::new();
        opener.open(&description(0)).unwrap();
        assert_eq!(opener.checksums(), Checksums::Off);
        assert_eq!(
            opener.open(&event(33, 0, b"payload", false)).unwrap().body,
            b"payload"
        );
    }

    #[test]
    fn a_description_of_an_open_file_is_good() {
        let mut bytes = description(1);
        bytes[17] |= 1;
        assert!(Opener::new().open(&bytes).is_ok());
        bytes[30] ^= 1;
        assert!(Opener::new().open(&bytes).is_err());
        assert!(Opener::new().open(&description(2)).is_err());
    }

    #[test]
    fn events_before_the_description_are_refused() {
        assert!(Opener::new().open(&event(33, 0, b"payload", true)).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..150), type_code in 0u8..45, described: bool) {
            let mut opener = Opener::new();
            if described {
                opener.open(&description(1)).unwrap();
            }
            let _ = opener.open(&bytes);
            if bytes.len() >= HEADER {
                let length = bytes.len() as u32;
                bytes[9..13].copy_from_slice(&length.to_le_bytes());
                bytes[4] = type_code;
                let _ = opener.open(&bytes);
            }
        }
    }
}
