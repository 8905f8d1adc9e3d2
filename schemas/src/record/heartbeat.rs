//! `Heartbeat`: the capture is alive, and what it has done so far.
//!
//! ```text
//! long at_us | union null/Counts          the counts since version 2
//! Counts   long since_us | map of long
//! ```

use std::collections::BTreeMap;

use super::{RecordError, Version};
use crate::avro::{self, Reader};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Microseconds since the epoch, by the capture's clock, for display only.
    pub at_us: u64,
    pub counts: Option<Counts>,
}

/// What an incarnation has done since it began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Microseconds since the epoch, by the capture's clock.
    pub since_us: u64,
    /// By name: docs/records.md, "Counts". Names may be added.
    pub counts: BTreeMap<String, u64>,
}

impl Heartbeat {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        avro::put_long(out, self.at_us as i64);
        let Some(counts) = &self.counts else {
            out.push(0);
            return;
        };
        out.push(2);
        avro::put_long(out, counts.since_us as i64);
        if !counts.counts.is_empty() {
            avro::put_long(out, counts.counts.len() as i64);
            for (name, count) in &counts.counts {
                avro::put_string(out, name);
                avro::put_long(out, *count as i64);
            }
        }
        out.push(0);
    }

    pub(super) fn take(input: &mut Reader<'_>, version: Version) -> Result<Self, RecordError> {
        let at_us = input.unsigned()?;
        let counts = match version {
            Version::One => None,
            _ => match input.optional()? {
                false => None,
                true => Some(Counts::take(input)?),
            },
        };
        Ok(Self { at_us, counts })
    }
}

impl Counts {
    fn take(input: &mut Reader<'_>) -> Result<Self, RecordError> {
        let since_us = input.unsigned()?;
        let mut counts = BTreeMap::new();
        // A map is encoded as an array of its pairs.
        input.array(|input| -> Result<(), RecordError> {
            let name = input.str()?.to_owned();
            counts.insert(name, input.unsigned()?);
            Ok(())
        })?;
        Ok(Self { since_us, counts })
    }
}
