//! Avro's single-object encoding (the Avro specification, "Single-object encoding").
//!
//! ```text
//! C3 01 | u64 LE CRC-64-AVRO of the schema's parsing canonical form | datum
//! ```

use super::RecordError;
use crate::{avro::Reader, fingerprint::Fingerprint};

const MARKER: [u8; 2] = [0xc3, 0x01];

/// Bytes before the datum.
pub(super) const LENGTH: usize = 10;

pub(super) fn put(out: &mut Vec<u8>, fingerprint: Fingerprint) {
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&fingerprint.0.to_le_bytes());
}

pub(super) fn take(bytes: &[u8], expected: Fingerprint) -> Result<Reader<'_>, RecordError> {
    let mut input = Reader::new(bytes);
    if input.fixed::<2>()? != MARKER {
        return Err(RecordError::Marker);
    }
    let fingerprint = Fingerprint(u64::from_le_bytes(input.fixed()?));
    if fingerprint != expected {
        return Err(RecordError::NewerVersion { fingerprint });
    }
    Ok(input)
}
