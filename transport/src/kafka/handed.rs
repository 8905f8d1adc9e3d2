//! Groups of records that librdkafka has been given and no report has come for, to measure how long they take.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crate::meter::LogMeter;

#[derive(Debug)]
pub(super) struct Handed {
    meter: Arc<LogMeter>,
    groups: VecDeque<Group>,
}

#[derive(Debug)]
struct Group {
    /// Of its last record.
    ordinal: u64,
    records: u64,
    bytes: u64,
    at: Instant,
}

impl Handed {
    pub(super) fn new(meter: Arc<LogMeter>) -> Self {
        Self {
            meter,
            groups: VecDeque::new(),
        }
    }

    /// `first`: the ordinal of its first record.
    pub(super) fn group(&mut self, first: u64, records: u64, bytes: u64) {
        let Some(ordinal) = (first + records).checked_sub(1) else {
            return;
        };
        self.groups.push_back(Group {
            ordinal,
            records,
            bytes,
            at: Instant::now(),
        });
    }

    /// All up to that ordinal are durable.
    pub(super) fn durable(&mut self, ordinal: u64) {
        let is_durable = |group: &Group| group.ordinal <= ordinal;
        while self.groups.front().is_some_and(is_durable)
            && let Some(group) = self.groups.pop_front()
        {
            self.meter.append.observe_time(group.at.elapsed());
            self.meter.group_records.observe(group.records);
            self.meter.group_bytes.observe(group.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_counts_when_its_last_record_is_durable() {
        let meter = Arc::new(LogMeter::default());
        let mut handed = Handed::new(Arc::clone(&meter));
        handed.group(0, 2, 20);
        handed.group(2, 1, 5);
        handed.durable(0);
        assert_eq!(meter.append.read().count, 0);
        handed.durable(1);
        assert_eq!(meter.group_records.read().sum, 2);
        handed.durable(2);
        assert_eq!(
            (meter.append.read().count, meter.group_bytes.read().sum),
            (2, 25)
        );
    }
}
