//! What people see while it runs: a bar for each stage on a terminal, a log line now and then otherwise.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    time::{Duration, Instant},
};

use binferry_apply::Progress as Applied;
use binferry_capture::{snapshot::CopyProgress, stream::Progress as Captured};
use indicatif::{HumanBytes, HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use tokio::{sync::watch, time::interval};
use tracing::info;

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(30);
const COPY_LINE_EVERY: Duration = Duration::from_secs(10);
/// Weight of the newest rate in the one that is shown.
const SMOOTHING: f64 = 0.2;

/// A stage that can say where it is.
trait Stage: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    fn rows(&self) -> u64;
    fn transactions(&self) -> u64;
    /// Decided by policy; a stage that has none says nothing of them.
    fn conflicts(&self) -> u64 {
        0
    }
    fn lag_us(&self) -> u64;
    fn detail(&self) -> String;
}

impl Stage for Captured {
    const NAME: &'static str = "capture";
    fn rows(&self) -> u64 {
        self.rows
    }
    fn transactions(&self) -> u64 {
        self.transactions
    }
    fn lag_us(&self) -> u64 {
        let waited = self.stall.as_ref().map_or(0, |stall| {
            stall
                .since
                .elapsed()
                .map_or(0, |time| time.as_micros() as u64)
        });
        self.lag_us.max(waited)
    }
    fn detail(&self) -> String {
        if let Some(stall) = &self.stall {
            return format!("the log takes no records: {}", stall.reason);
        }
        if let Some(extent) = self.extent {
            return format!(
                "{}:{} {} of {}",
                self.file,
                self.position,
                HumanBytes(extent.read),
                HumanBytes(extent.total)
            );
        }
        match self.connected {
            true if !self.copies.is_empty() => match &self.copies_wait {
                Some(reason) => format!("copying waits: {reason}"),
                None => format!("copying {} tables", self.copies.len()),
            },
            true => format!("{}:{} {}", self.file, self.position, HumanBytes(self.bytes)),
            false => "not connected".to_owned(),
        }
    }
}

impl Stage for Applied {
    const NAME: &'static str = "apply";
    fn rows(&self) -> u64 {
        self.rows
    }
    fn transactions(&self) -> u64 {
        self.transactions
    }
    fn conflicts(&self) -> u64 {
        self.conflicts.total()
    }
    fn lag_us(&self) -> u64 {
        self.lag.map_or(0, |lag| lag.as_micros() as u64)
    }
    fn detail(&self) -> String {
        match (&self.trouble, &self.state) {
            (Some(trouble), _) => trouble.clone(),
            (None, Some(state)) => format!("offset {}", state.offset.0),
            (None, None) => String::new(),
        }
    }
}

pub fn show_capture(bars: &MultiProgress, stage: watch::Receiver<Captured>) {
    show_copies(bars, stage.clone());
    show(bars, stage);
}

/// A bar for each table that is being copied, or a line for each now and then. Ends by itself when the stage has gone.
fn show_copies(bars: &MultiProgress, stage: watch::Receiver<Captured>) {
    let bars = std::io::stderr().is_terminal().then(|| bars.clone());
    tokio::spawn(async move {
        let every = if bars.is_some() {
            BAR_EVERY
        } else {
            COPY_LINE_EVERY
        };
        let mut tick = interval(every);
        let mut shown: BTreeMap<(String, String), ProgressBar> = BTreeMap::new();
        while stage.has_changed().is_ok() {
            tick.tick().await;
            let copies = stage.borrow().copies.clone();
            let Some(bars) = &bars else {
                copies.iter().for_each(line);
                continue;
            };
            shown.retain(|name, bar| {
                let goes_on =
                    (copies.iter()).any(|copy| (&copy.database, &copy.table) == (&name.0, &name.1));
                if !goes_on {
                    bar.finish_and_clear();
                    bars.remove(bar);
                }
                goes_on
            });
            for copy in &copies {
                let name = (copy.database.clone(), copy.table.clone());
                let bar = shown.entry(name).or_insert_with(|| copy_bar(bars, copy));
                bar.set_length(copy.estimated_rows.max(copy.rows));
                bar.set_position(copy.rows);
                bar.set_message(format!(
                    "{} of ~{} rows  {}  {}",
                    HumanCount(copy.rows),
                    HumanCount(copy.estimated_rows.max(copy.rows)),
                    HumanBytes(copy.bytes()),
                    match copy.left() {
                        Some(left) => format!("{} left", HumanDuration(left)),
                        None => String::new(),
                    }
                ));
            }
        }
        for bar in shown.values() {
            bar.finish_and_clear();
        }
    });
}

fn copy_bar(bars: &MultiProgress, copy: &CopyProgress) -> ProgressBar {
    let bar = bars.add(ProgressBar::new(copy.estimated_rows));
    if let Ok(style) = ProgressStyle::with_template("  {prefix:<24} [{bar:24.green}] {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(format!("{}.{}", copy.database, copy.table));
    bar
}

fn line(copy: &CopyProgress) {
    info!(
        database = copy.database,
        table = copy.table,
        rows = copy.rows,
        estimated_rows = copy.estimated_rows.max(copy.rows),
        bytes = copy.bytes(),
        seconds_left = copy.left().map(|left| left.as_secs()),
        "copying"
    );
}

/// A comparison: a bar for the table under way, or a line now and then.
pub struct Compared {
    bar: Option<ProgressBar>,
    table: String,
    estimated_rows: u64,
    rows: u64,
    found: u64,
    told: Instant,
}

impl Compared {
    pub fn begin(bars: &MultiProgress) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = bars.add(ProgressBar::new(0));
            if let Ok(style) =
                ProgressStyle::with_template("  {prefix:<24} [{bar:24.green}] {wide_msg}")
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self {
            bar,
            table: String::new(),
            estimated_rows: 0,
            rows: 0,
            found: 0,
            told: Instant::now(),
        }
    }

    pub fn table(&mut self, name: &str, estimated_rows: u64) {
        (self.table, self.rows) = (name.to_owned(), 0);
        self.estimated_rows = estimated_rows;
        if let Some(bar) = &self.bar {
            bar.set_prefix(self.table.clone());
            bar.set_length(estimated_rows);
        }
        self.show();
    }

    pub fn rows(&mut self, rows: u64) {
        self.rows += rows;
        self.show();
    }

    pub fn found(&mut self) {
        self.found += 1;
        self.show();
    }

    fn show(&mut self) {
        let estimated_rows = self.estimated_rows.max(self.rows);
        match &self.bar {
            Some(bar) => {
                bar.set_length(estimated_rows);
                bar.set_position(self.rows);
                bar.set_message(format!(
                    "{} of ~{} rows  {} findings",
                    HumanCount(self.rows),
                    HumanCount(estimated_rows),
                    HumanCount(self.found)
                ));
            }
            None if self.told.elapsed() >= COPY_LINE_EVERY => {
                self.told = Instant::now();
                info!(
                    table = self.table,
                    rows = self.rows,
                    estimated_rows,
                    findings = self.found,
                    "comparing"
                );
            }
            None => {}
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

pub fn show_apply(bars: &MultiProgress, stage: watch::Receiver<Applied>) {
    show(bars, stage);
}

/// Ends by itself when the stage has gone.
fn show<S: Stage>(bars: &MultiProgress, stage: watch::Receiver<S>) {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = bars.add(ProgressBar::new_spinner());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner:.green} {prefix:<8.bold} {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(S::NAME);
        bar
    });
    tokio::spawn(async move {
        let mut tick = interval(if bar.is_some() { BAR_EVERY } else { LINE_EVERY });
        let (mut last, mut then, mut rate) = (stage.borrow().rows(), Instant::now(), 0.0);
        while stage.has_changed().is_ok() {
            tick.tick().await;
            let now = stage.borrow().clone();
            let seconds = then.elapsed().as_secs_f64();
            if seconds > 0.0 {
                let fresh = now.rows().saturating_sub(last) as f64 / seconds;
                rate = if bar.is_some() {
                    rate + SMOOTHING * (fresh - rate)
                } else {
                    fresh
                };
            }
            (last, then) = (now.rows(), Instant::now());
            match &bar {
                Some(bar) => {
                    bar.tick();
                    bar.set_message(format!(
                        "{} transactions  {} rows  {:>8} rows/s{}  lag {}  {}",
                        HumanCount(now.transactions()),
                        HumanCount(now.rows()),
                        HumanCount(rate as u64),
                        match now.conflicts() {
                            0 => String::new(),
                            n => format!("  {} conflicts", HumanCount(n)),
                        },
                        lag(now.lag_us()),
                        now.detail()
                    ));
                }
                None => info!(
                    stage = S::NAME,
                    transactions = now.transactions(),
                    rows = now.rows(),
                    rows_per_second = rate as u64,
                    conflicts = (now.conflicts() > 0).then(|| now.conflicts()),
                    lag_ms = now.lag_us() / 1000,
                    at = now.detail(),
                    "progress"
                ),
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    });
}

fn lag(us: u64) -> String {
    match us {
        0 => "none".to_owned(),
        1..10_000_000 => format!("{} ms", us / 1000),
        _ => format!("{} s", us / 1_000_000),
    }
}
