//! Metrics for Prometheus. [`ALL`] describes each of them, once; docs/operate.md shows the same table, and a test compares the two.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use binferry_apply::conflict::ConflictKind;
use binferry_transport::meter::{Distribution, TableRows};
use prometheus::{
    Encoder, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::watch::board::{APPLY, CAPTURE, View};

pub const CONTENT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, PartialEq, Eq)]
pub struct Described {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Histogram,
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(const $constant: Described = Described {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)+
        /// In the order in which they are shown.
        pub const ALL: &[&Described] = &[$(&$constant),+];
    };
}

metrics! {
    BUILD: Gauge "binferry_build_info" ["version"] "1, with the program's version";
    START: Gauge "process_start_time_seconds" [] "When the process began, seconds since the epoch";
    HEALTHY: Gauge "binferry_healthy" [] "1 while nothing is wrong, as /healthz says; 0 otherwise";
    READY: Gauge "binferry_ready" [] "1 while every stage is connected and nothing is wrong, as /readyz says";
    CONNECTED: Gauge "binferry_connected" ["stage"] "1 while the stage has its connection to the server";
    STALLED: Gauge "binferry_stalled" ["stage"] "1 when the stage is connected, has something to carry, and nothing has moved for --stall-after";
    LAG: Gauge "binferry_lag_seconds" ["stage"] "Age of what the stage has yet to carry: capture, from the source's commit to the log; apply, from the source's commit to the target";
    BEHIND: Gauge "binferry_lag_transactions" ["stage"] "Transactions that the stage has yet to carry: of the source into the log, of the log to the target";
    TRANSACTIONS: Counter "binferry_transactions_total" ["stage"] "Transactions that the stage has carried since the process began, those that the filter leaves empty among them";
    ROWS: Counter "binferry_rows_total" ["stage"] "Row changes that the stage has carried";
    TABLE_ROWS: Counter "binferry_table_rows_total" ["stage", "database", "table"] "Row changes by table, of the first 100 tables; those of all others have an empty database and table";
    RETRIES: Counter "binferry_retries_total" ["stage"] "How often the stage was interrupted and tried again";
    CONNECTS: Counter "binferry_source_connects_total" [] "How often the capture has connected to the source";
    SOURCE_BYTES: Counter "binferry_source_bytes_total" [] "Bytes of binlog events that were read";
    COPY_ROWS: Gauge "binferry_copy_rows" ["database", "table"] "Rows that are copied of a table whose copy is under way";
    COPY_ESTIMATE: Gauge "binferry_copy_rows_estimated" ["database", "table"] "Rows of that table, as the source estimates them";
    COPY_WAITS: Gauge "binferry_copy_waiting" [] "1 while copies wait for leave (--snapshot-max-lag, --snapshot-max-threads)";
    LOG_START: Gauge "binferry_log_start_offset" [] "First offset that the log keeps";
    LOG_END: Gauge "binferry_log_end_offset" [] "Offset behind the log's last durable record";
    LOG_BYTES: Gauge "binferry_log_size_bytes" [] "Bytes of the records that the log keeps; not of a log in Kafka";
    LOG_WAITS: Gauge "binferry_log_blocked" [] "1 while the log takes no records: its disk is full, or its brokers do not answer";
    READER_BEHIND: Gauge "binferry_reader_lag_records" ["reader"] "Records of the log that a registered reader still needs";
    APPEND: Histogram "binferry_log_append_seconds" [] "From handing a group of records to the disk (write and fdatasync) or the brokers until it is durable";
    GROUP_RECORDS: Histogram "binferry_log_group_records" [] "Records that became durable together";
    GROUP_BYTES: Histogram "binferry_log_group_bytes" [] "Bytes that became durable together";
    COMMIT: Histogram "binferry_apply_commit_seconds" [] "From sending COMMIT to the target until its answer";
    APPLY_TRANSACTIONS: Histogram "binferry_apply_group_transactions" [] "The source's transactions in a target transaction";
    APPLY_ROWS: Histogram "binferry_apply_group_rows" [] "Row changes in a target transaction";
    CONFLICTS: Counter "binferry_conflicts_total" ["kind"] "Conflicts that a policy has decided and the journal has";
}

/// Of everything that is known.
pub fn page(view: &View) -> prometheus::Result<String> {
    let mut page = Page::default();
    page.put(&BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    let begun = view.begun.duration_since(UNIX_EPOCH).unwrap_or_default();
    page.put(&START, &[], begun.as_secs_f64());
    page.flag(&HEALTHY, &[], view.is_well());
    page.flag(&READY, &[], view.is_ready());
    if let Some((stage, tables)) = &view.capture {
        let progress = &stage.progress;
        let carried = progress.earlier.and(progress.counters);
        page.stage(CAPTURE, &stage.condition, view);
        page.lag(CAPTURE, stage.lag, stage.behind);
        page.count(&TRANSACTIONS, &[CAPTURE], carried.transactions);
        page.count(&ROWS, &[CAPTURE], carried.rows);
        page.tables(CAPTURE, tables);
        page.count(&RETRIES, &[CAPTURE], progress.retries);
        page.count(&CONNECTS, &[], progress.connects);
        page.count(&SOURCE_BYTES, &[], carried.bytes);
        for copy in &progress.copies {
            let labels = [copy.database.as_str(), copy.table.as_str()];
            page.count(&COPY_ROWS, &labels, copy.rows);
            let estimated = copy.estimated_rows.max(copy.rows);
            page.count(&COPY_ESTIMATE, &labels, estimated);
        }
        page.flag(&COPY_WAITS, &[], progress.copies_wait.is_some());
        page.flag(&LOG_WAITS, &[], progress.stall.is_some());
    }
    if let Some((stage, meter, _)) = &view.apply {
        let progress = &stage.progress;
        page.stage(APPLY, &stage.condition, view);
        page.lag(APPLY, stage.lag, stage.behind);
        page.count(&TRANSACTIONS, &[APPLY], progress.transactions);
        page.count(&ROWS, &[APPLY], progress.rows);
        page.tables(APPLY, &meter.tables);
        page.count(&RETRIES, &[APPLY], progress.retries);
        for kind in ConflictKind::ALL {
            page.count(&CONFLICTS, &[kind.name()], progress.conflicts.of(kind));
        }
        page.times(&COMMIT, meter.commit.read());
        page.distribution(&APPLY_TRANSACTIONS, meter.group_transactions.read(), 1.0);
        page.distribution(&APPLY_ROWS, meter.group_rows.read(), 1.0);
    }
    if let Some(facts) = &view.survey.log {
        let end = facts.bounds.end.0;
        page.count(&LOG_START, &[], facts.bounds.start.0);
        page.count(&LOG_END, &[], end);
        if let Some(bytes) = facts.bytes {
            page.count(&LOG_BYTES, &[], bytes);
        }
        for (name, needs) in &facts.readers {
            page.count(&READER_BEHIND, &[name], end.saturating_sub(needs.0));
        }
    }
    // Only who writes the log measures it.
    if let (Some(log), Some(_)) = (&view.log, &view.capture) {
        let meter = log.meter();
        page.times(&APPEND, meter.append.read());
        page.distribution(&GROUP_RECORDS, meter.group_records.read(), 1.0);
        page.distribution(&GROUP_BYTES, meter.group_bytes.read(), 1.0);
    }
    page.text()
}

/// Samples, by metric.
#[derive(Default)]
struct Page(BTreeMap<&'static str, Vec<Metric>>);

impl Page {
    fn add(&mut self, of: &'static Described, labels: &[&str], fill: impl FnOnce(&mut Metric)) {
        debug_assert_eq!(of.labels.len(), labels.len(), "labels of {}", of.name);
        let pairs = of.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        fill(&mut metric);
        self.0.entry(of.name).or_default().push(metric);
    }

    fn put(&mut self, of: &'static Described, labels: &[&str], value: f64) {
        self.add(of, labels, |metric| match of.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        });
    }

    fn count(&mut self, of: &'static Described, labels: &[&str], value: u64) {
        // Exact up to 2^53, as every number in Prometheus is.
        self.put(of, labels, value as f64);
    }

    fn flag(&mut self, of: &'static Described, labels: &[&str], value: bool) {
        self.put(of, labels, f64::from(u8::from(value)));
    }

    fn stage(&mut self, stage: &str, condition: &crate::watch::health::Condition, view: &View) {
        self.flag(&CONNECTED, &[stage], condition.connected);
        let stalled = condition.is_stalled(view.stall_after);
        self.flag(&STALLED, &[stage], stalled);
    }

    fn lag(&mut self, stage: &str, lag: std::time::Duration, behind: Option<u64>) {
        self.put(&LAG, &[stage], lag.as_secs_f64());
        if let Some(behind) = behind {
            self.count(&BEHIND, &[stage], behind);
        }
    }

    fn tables(&mut self, stage: &str, tables: &TableRows) {
        let (tables, others) = tables.read();
        for (database, table, rows) in tables {
            self.count(&TABLE_ROWS, &[stage, &database, &table], rows);
        }
        if others > 0 {
            self.count(&TABLE_ROWS, &[stage, "", ""], others);
        }
    }

    fn times(&mut self, of: &'static Described, microseconds: Distribution) {
        self.distribution(of, microseconds, 1e6);
    }

    /// `unit`: how many of what was measured make one of what is shown.
    fn distribution(&mut self, of: &'static Described, measured: Distribution, unit: f64) {
        let buckets = measured.buckets.iter().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / unit);
            bucket.set_cumulative_count(*count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(measured.count);
        histogram.set_sample_sum(measured.sum as f64 / unit);
        self.add(of, &[], |metric| metric.set_histogram(histogram));
    }

    fn text(mut self) -> prometheus::Result<String> {
        let families: Vec<MetricFamily> = ALL
            .iter()
            .filter_map(|described| {
                let samples = self.0.remove(described.name)?;
                let mut family = MetricFamily::default();
                family.set_name(described.name.to_owned());
                family.set_help(described.help.to_owned());
                family.set_field_type(match described.kind {
                    Kind::Gauge => MetricType::GAUGE,
                    Kind::Counter => MetricType::COUNTER,
                    Kind::Histogram => MetricType::HISTOGRAM,
                });
                family.set_metric(samples);
                Some(family)
            })
            .collect();
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the guide's table.
    fn row(described: &Described) -> String {
        let kind = format!("{:?}", described.kind).to_lowercase();
        let labels = described.labels.join(", ");
        format!(
            "| `{}` | {kind} | {labels} | {} |",
            described.name, described.help
        )
    }

    #[test]
    fn the_guide_describes_each_metric_and_no_other() {
        let guide = include_str!("../../docs/operate.md");
        let rows: Vec<&str> = guide
            .lines()
            .filter(|line| line.starts_with("| `binferry_") || line.starts_with("| `process_"))
            .collect();
        let described: Vec<String> = ALL.iter().map(|described| row(described)).collect();
        assert_eq!(rows, described);
    }

    /// A name that nobody exports makes a rule that never fires.
    #[test]
    fn rules_and_dashboard_ask_for_metrics_that_there_are() {
        let texts = [
            include_str!("../../compose/prometheus/alerts.yaml"),
            include_str!("../../compose/grafana/binferry.json"),
        ];
        for text in texts {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let names: Vec<&str> = words.filter(|word| word.starts_with("binferry_")).collect();
            assert!(names.len() > 5, "{names:?}");
            for name in names {
                let known = ALL.iter().any(|described| match described.kind {
                    Kind::Histogram => name
                        .strip_prefix(described.name)
                        .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)),
                    Kind::Gauge | Kind::Counter => name == described.name,
                });
                assert!(known, "{name}");
            }
        }
    }

    #[test]
    fn names_from_outside_are_escaped() {
        let mut page = Page::default();
        let name = "a\"b\\c\nd";
        page.count(&COPY_ROWS, &["shop", name], 3);
        let text = page.text().unwrap();
        assert!(
            text.contains(r#"binferry_copy_rows{database="shop",table="a\"b\\c\nd"} 3"#),
            "{text}"
        );
    }
}
