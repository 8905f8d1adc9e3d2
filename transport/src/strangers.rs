//! Records of other programs: anyone who may write to a topic can put something between our records.
//!
//! What does not begin with the marker of Avro's single-object encoding is not ours. It counts as nothing: it is skipped, and warned about
//! without a word of its content. Everything else is ours, and an error when it cannot be read. The fold makes skipping safe: if it was a
//! record of ours that was damaged, the sequence has a gap there, and a gap ends the incarnation.

use binferry_schemas::record::{Head, Offset, RecordError};

use crate::log::{Log, Stored};

/// The head of a record; `None` when it is none of ours.
pub fn head_of(bytes: &[u8]) -> Result<Option<Head>, RecordError> {
    match Head::decode(bytes) {
        Ok(head) => Ok(Some(head)),
        Err(RecordError::Marker) => Ok(None),
        // Too short for the marker.
        Err(_) if bytes.len() < 2 => Ok(None),
        Err(error) => Err(error),
    }
}

/// One reader's view: warns at the first stranger, and says how many there were at the end.
#[derive(Debug)]
pub struct Strangers {
    log: String,
    first: Option<Offset>,
    count: u64,
}

impl Strangers {
    pub fn new(log: &dyn Log) -> Self {
        Self {
            log: log.name(),
            first: None,
            count: 0,
        }
    }

    /// As [`head_of`].
    pub fn head(&mut self, stored: &Stored) -> Result<Option<Head>, RecordError> {
        let head = head_of(&stored.bytes)?;
        if head.is_none() {
            self.count += 1;
            if self.first.is_none() {
                self.first = Some(stored.offset);
                tracing::warn!(
                    log = self.log,
                    offset = stored.offset.0,
                    "the log holds a record of another program; such records are skipped"
                );
            }
        }
        Ok(head)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        if let (Some(first), 2..) = (self.first, self.count) {
            tracing::warn!(
                log = self.log,
                first = first.0,
                count = self.count,
                "records of another program were skipped"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lacks_the_marker_is_a_strangers() {
        for bytes in [&b""[..], b"{", b"{}", b"{\"id\":1}", &[0; 40], b"\xc3"] {
            assert_eq!(head_of(bytes), Ok(None));
        }
        // The marker, and no schema; another schema; our schema, and no record.
        let ours = binferry_schemas::record::ENVELOPE_FINGERPRINT
            .0
            .to_le_bytes();
        assert!(head_of(b"\xc3\x01").is_err());
        assert!(matches!(
            head_of(b"\xc3\x01abcdefgh-"),
            Err(RecordError::NewerVersion { .. })
        ));
        assert!(head_of(&[&b"\xc3\x01"[..], &ours, b"----"].concat()).is_err());
    }
}
