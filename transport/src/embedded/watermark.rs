//! The durable watermark: how far the log is on the disk, for readers in any process.
//!
//! The file `durable` has two slots, at bytes 0 and 512 (sectors of their own), written in turn; the valid one of the higher generation
//! holds. A reader therefore always finds one slot that is not being written.
//!
//! ```text
//!  0 ┌─────────────────────────────┐
//!    │ generation              u64 │  slot number = generation mod 2
//!  8 ├─────────────────────────────┤
//!    │ end                     u64 │  one past the last durable record
//! 16 ├─────────────────────────────┤
//!    │ segment                 u64 │  first offset of the segment that holds the end
//! 24 ├─────────────────────────────┤
//!    │ position                u64 │  byte in that segment, just past the last durable frame
//! 32 ├──────────────┬──────────────┘
//!    │ crc      u32 │  CRC-32C over the log's id and bytes 0..32
//! 36 └──────────────┘
//! ```
//! It is written after the data's fdatasync and not synced itself, except when a segment is finished: after a power cut it may be too
//! low, within the last segment only, and recovery raises it again. It is never too high.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use super::{
    disk::Disk,
    frame::{Salt, u32_at, u64_at},
};
use crate::error::LogError;

const SLOT: usize = 512;
const USED: usize = 36;
const CRC: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Watermark {
    pub generation: u64,
    pub end: u64,
    pub segment: u64,
    pub position: u64,
}

impl Watermark {
    fn encode(&self, salt: Salt) -> [u8; USED] {
        let mut slot = [0; USED];
        slot[0..8].copy_from_slice(&self.generation.to_le_bytes());
        slot[8..16].copy_from_slice(&self.end.to_le_bytes());
        slot[16..24].copy_from_slice(&self.segment.to_le_bytes());
        slot[24..32].copy_from_slice(&self.position.to_le_bytes());
        let crc = salt.crc(&slot[..CRC]);
        slot[CRC..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    fn decode(salt: Salt, slot: &[u8]) -> Option<Self> {
        let watermark = Self {
            generation: u64_at(slot, 0)?,
            end: u64_at(slot, 8)?,
            segment: u64_at(slot, 16)?,
            position: u64_at(slot, 24)?,
        };
        (u32_at(slot, CRC)? == salt.crc(slot.get(..CRC)?)).then_some(watermark)
    }

    /// The content of a new file, whose both slots are valid.
    pub(crate) fn initial(&self, salt: Salt) -> Vec<u8> {
        let mut file = vec![0; 2 * SLOT];
        for generation in 0..2u64 {
            let at = SLOT * generation as usize;
            let slot = Self {
                generation,
                ..*self
            }
            .encode(salt);
            file[at..at + USED].copy_from_slice(&slot);
        }
        file
    }

    pub(crate) fn read(salt: Salt, file: &File, path: &Path) -> Result<Self, LogError> {
        // A slot may be in the middle of being written, and a slow reader may meet both in that state; a writer can't do that to it
        // again and again.
        for _ in 0..100 {
            let mut bytes = [0; SLOT + USED];
            match file.read_exact_at(&mut bytes, 0) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Err(LogError::corrupt(path, None, 0, "it is too short"));
                }
                Err(error) => return Err(LogError::io("read", path)(error)),
            }
            let slots = [
                Self::decode(salt, &bytes[..USED]),
                Self::decode(salt, &bytes[SLOT..]),
            ];
            if let Some(newest) = slots.into_iter().flatten().max_by_key(|w| w.generation) {
                return Ok(newest);
            }
            std::thread::yield_now();
        }
        Err(LogError::corrupt(path, None, 0, "neither slot is valid"))
    }

    pub(crate) fn write(&self, salt: Salt, file: &File, disk: &dyn Disk) -> std::io::Result<()> {
        disk.write_at(
            file,
            &self.encode(salt),
            SLOT as u64 * (self.generation % 2),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::disk::RealDisk;

    #[test]
    fn the_newer_valid_slot_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("durable");
        let salt = Salt::of(&[9; 16]);
        let mut mark = Watermark {
            generation: 1,
            end: 5,
            segment: 0,
            position: 64,
        };
        std::fs::write(&path, mark.initial(salt)).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(Watermark::read(salt, &file, &path).unwrap(), mark);
        let before = mark;
        mark.generation = 2;
        mark.end = 9;
        mark.write(salt, &file, &RealDisk).unwrap();
        assert_eq!(Watermark::read(salt, &file, &path).unwrap(), mark);
        // Half written: the other slot still says what was true before.
        file.write_all_at(&[0xff; 7], 9).unwrap();
        assert_eq!(Watermark::read(salt, &file, &path).unwrap(), before);
        file.write_all_at(&[0xff; 7], 512 + 9).unwrap();
        assert!(Watermark::read(salt, &file, &path).is_err());
    }
}
