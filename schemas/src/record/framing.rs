//! Avro's single-object encoding (the Avro specification, "Single-object encoding").
//!
//! ```text
//! C3 01 | u64 LE CRC-64-AVRO of the schema's parsing canonical form | datum
//! ```

use super::{RecordError, Version};
use crate::{avro::Reader, fingerprint::Fingerprint};

const MARKER: [u8; 2] = [0xc3, 0x01];

/// Bytes before the datum.
pub(super) const LENGTH: usize = 10;

pub(super) fn put(out: &mut Vec<u8>, fingerprint: Fingerprint) {
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&fingerprint.0.to_le_bytes());
}

/// The schema's version, by the fingerprints of those that are known, and the datum.
pub(super) fn take<'a>(
    bytes: &'a [u8],
    known: &[(Fingerprint, Version)],
) -> Result<(Version, Reader<'a>), RecordError> {
    let mut input = Reader::new(bytes);
    if input.fixed::<2>()? != MARKER {
        return Err(RecordError::Marker);
    }
    let fingerprint = Fingerprint(u64::from_le_bytes(input.fixed()?));
    match known.iter().find(|(known, _)| *known == fingerprint) {
        Some((_, version)) => Ok((*version, input)),
        None => Err(RecordError::NewerVersion { fingerprint }),
    }
}
