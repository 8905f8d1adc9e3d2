//! What people see while it runs: a bar for each stage on a terminal, a log line now and then otherwise.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use binferry_apply::Progress as Applied;
use binferry_capture::{snapshot::CopyProgress, stream::Progress as Captured};
use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use tokio::{sync::watch, time::interval};
use tracing::info;

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(30);
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
            true if !self.copies.is_empty() => copies(&self.copies),
            true => format!("{}:{} {}", self.file, self.position, HumanBytes(self.bytes)),
            false => "not connected".to_owned(),
        }
    }
}

/// How far the tables are that are being copied, with the time that is left at the present rate.
fn copies(copies: &[CopyProgress]) -> String {
    let one = |copy: &CopyProgress| {
        let mut text = format!(
            "{}.{} {}/~{} rows",
            copy.database,
            copy.table,
            HumanCount(copy.rows),
            HumanCount(copy.estimated_rows.max(copy.rows)),
        );
        let bytes = copy.estimated_bytes.checked_div(copy.estimated_rows.max(1));
        if let Some(bytes) = bytes.and_then(|bytes| bytes.checked_mul(copy.rows)) {
            text += &format!(" {}", HumanBytes(bytes));
        }
        let seconds = copy
            .since
            .map_or(0.0, |since| since.elapsed().as_secs_f64());
        let fresh = copy.rows.saturating_sub(copy.rows_before) as f64;
        if seconds > 1.0 && fresh > 0.0 {
            let missing = copy.estimated_rows.saturating_sub(copy.rows) as f64;
            text += &format!(", {} s left", (missing * seconds / fresh) as u64);
        }
        text
    };
    let texts: Vec<String> = copies.iter().map(one).collect();
    format!("copying {}", texts.join("; "))
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
        self.conflicts
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
    show(bars, stage);
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
