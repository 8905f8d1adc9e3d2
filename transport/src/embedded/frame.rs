//! A record in a segment file.
//!
//! ```text
//!  0 ┌──────────────┬──────────────┬─────────────────────────────┐
//!    │ crc      u32 │ length   u32 │ offset                  u64 │
//! 16 ├──────────────┼──────────────┼─────────────────────────────┘
//!    │ behind   u32 │ flags    u32 │
//! 24 ├──────────────┴──────────────┴──────────────────────── ─ ─
//!    │ payload, `length` bytes
//!    └─────────────────────────────────────────────────────── ─ ─
//! ```
//! All integers are little-endian. `crc` is CRC-32C over the log's 16 id bytes and then everything in the frame after `crc`: neither a
//! frame of another log nor a frame's image inside a row value can pass for a frame here. `flags` is 0.
//!
//! `behind` says how many records before this one were not known to be durable when it was written. So a frame proves that every record
//! below `offset - behind` had been durable, which is how recovery tells damage from a tail that never reached the disk: after a power
//! cut the pages of one unfinished write may be there in any combination, intact frames after missing ones included.

use crate::log::MAX_RECORD_BYTES;

pub(crate) const HEADER: usize = 24;

/// The CRC's start: over the log's id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(u32);

impl Salt {
    pub(crate) fn of(log: &[u8; 16]) -> Self {
        Self(crc32c::crc32c(log))
    }

    pub(crate) fn crc(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let slice = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(slice.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let slice = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(slice.try_into().ok()?))
}

/// Appends one frame to `out`. The caller has checked that the payload is within `MAX_RECORD_BYTES`.
pub(crate) fn encode(salt: Salt, offset: u64, behind: u32, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&behind.to_le_bytes());
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = salt.crc(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    Frame {
        payload: &'a [u8],
        behind: u32,
    },
    /// `bytes` ends before the frame does; so many are needed at least.
    Short(usize),
    Bad(&'static str),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// All of the frame's bytes are there.
    Complete,
    Short(usize),
    Bad(&'static str),
}

/// Looks at the header alone, without the checksum.
pub(crate) fn parse_header(offset: u64, bytes: &[u8]) -> Header {
    let (Some(length), Some(found), true) =
        (u32_at(bytes, 4), u64_at(bytes, 8), bytes.len() >= HEADER)
    else {
        return Header::Short(HEADER);
    };
    if length as usize > MAX_RECORD_BYTES {
        return Header::Bad("impossible length");
    }
    if found != offset {
        return Header::Bad("wrong offset");
    }
    let total = HEADER + length as usize;
    if bytes.len() < total {
        Header::Short(total)
    } else {
        Header::Complete
    }
}

/// Reads the frame at the start of `bytes`, which must be that of record `offset`.
pub(crate) fn parse(salt: Salt, offset: u64, bytes: &[u8]) -> Parsed<'_> {
    match parse_header(offset, bytes) {
        Header::Complete => {}
        Header::Short(needed) => return Parsed::Short(needed),
        Header::Bad(reason) => return Parsed::Bad(reason),
    }
    let (Some(crc), Some(length), Some(behind), Some(flags)) = (
        u32_at(bytes, 0),
        u32_at(bytes, 4),
        u32_at(bytes, 16),
        u32_at(bytes, 20),
    ) else {
        return Parsed::Short(HEADER);
    };
    let total = HEADER + length as usize;
    if salt.crc(&bytes[4..total]) != crc {
        return Parsed::Bad("wrong checksum");
    }
    if flags != 0 {
        return Parsed::Bad("unknown flags");
    }
    Parsed::Frame {
        payload: &bytes[HEADER..total],
        behind,
    }
}

/// Looks through `bytes`, what follows a damaged record `damaged`, for an intact frame which proves that the record had been durable.
/// Answers that frame's offset.
pub(crate) fn proof_of_durability(salt: Salt, damaged: u64, bytes: &[u8]) -> Option<u64> {
    let most = (bytes.len() / HEADER) as u64;
    let mut at = 0;
    while let (Some(length), Some(offset), Some(behind)) = (
        u32_at(bytes, at + 4),
        u64_at(bytes, at + 8),
        u32_at(bytes, at + 16),
    ) {
        let plausible = offset > damaged
            && offset - damaged <= most
            && offset.saturating_sub(u64::from(behind)) > damaged
            && length as usize <= bytes.len() - at;
        if plausible && matches!(parse(salt, offset, &bytes[at..]), Parsed::Frame { .. }) {
            return Some(offset);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(7);

    #[test]
    fn every_flipped_bit_shows() {
        let mut whole = Vec::new();
        encode(SALT, 42, 3, b"payload", &mut whole);
        assert_eq!(
            parse(SALT, 42, &whole),
            Parsed::Frame {
                payload: b"payload",
                behind: 3
            }
        );
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !matches!(parse(SALT, 42, &bad), Parsed::Frame { .. }),
                "bit {bit}"
            );
        }
        for cut in 0..whole.len() {
            assert!(matches!(parse(SALT, 42, &whole[..cut]), Parsed::Short(_)));
        }
    }

    #[test]
    fn frames_of_another_log_do_not_pass() {
        let mut frame = Vec::new();
        encode(Salt::of(&[1; 16]), 0, 0, b"x", &mut frame);
        assert_eq!(
            parse(Salt::of(&[2; 16]), 0, &frame),
            Parsed::Bad("wrong checksum")
        );
    }

    #[test]
    fn only_a_frame_written_after_a_sync_proves_durability() {
        let mut same_write = vec![0; 40];
        encode(
            SALT,
            11,
            1,
            b"in the same write as record 10",
            &mut same_write,
        );
        assert_eq!(proof_of_durability(SALT, 10, &same_write), None);
        let mut later = vec![0; 41];
        encode(
            SALT,
            11,
            0,
            b"written when record 10 was durable",
            &mut later,
        );
        assert_eq!(proof_of_durability(SALT, 10, &later), Some(11));
    }
}
