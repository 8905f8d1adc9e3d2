//! The board that stages are put up on, and what it says at a moment.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use binferry_apply::{ApplyMeter, Progress as Applied};
use binferry_capture::stream::Progress as Captured;
use binferry_schemas::{address::Address, gtid::GtidSet, record::Offset, source::SourceAddress};
use binferry_transport::{
    log::{Bounds, Log},
    meter::{LastError, TableRows},
};
use tokio::sync::watch;

use super::health::{self, Condition, Movement, Problem};

pub const CAPTURE: &str = "capture";
pub const APPLY: &str = "apply";
pub const LOG: &str = "log";

const CAPTURE_STILL: &str = "look at what the source's dump thread waits for (SHOW PROCESSLIST there) and at the network between; a new start connects anew";
const APPLY_STILL: &str = "look at what the target's sessions wait for (SHOW PROCESSLIST there): a schema change, a lock, its disk; --stall-after allows longer ones";

/// What the survey has found out.
#[derive(Debug, Default, Clone)]
pub struct Survey {
    /// By the source.
    pub executed: Option<GtidSet>,
    /// Where the log stands.
    pub log: Option<LogFacts>,
    /// What the log holds, where no capture of this process says so.
    pub held: Option<GtidSet>,
    /// Why the log can't be asked.
    pub log_trouble: Option<(String, Option<String>)>,
}

#[derive(Debug, Clone)]
pub struct LogFacts {
    pub bounds: Bounds,
    pub bytes: Option<u64>,
    /// Name, and the first offset that it needs.
    pub readers: Vec<(String, Offset)>,
}

#[derive(Debug, Clone)]
struct CaptureStage {
    progress: watch::Receiver<Captured>,
    tables: Arc<TableRows>,
    source: SourceAddress,
    since: Instant,
}

#[derive(Debug, Clone)]
struct ApplyStage {
    progress: watch::Receiver<Applied>,
    meter: Arc<ApplyMeter>,
    stream: String,
    since: Instant,
}

#[derive(Debug)]
pub struct Board {
    pub begun: SystemTime,
    stall_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: Option<Arc<dyn Log>>,
    capture: Option<CaptureStage>,
    apply: Option<ApplyStage>,
    survey: Survey,
    capture_moves: Movement<CaptureMark>,
    apply_moves: Movement<(Option<Offset>, u64)>,
}

/// What changes with everything that comes from a source.
#[derive(Debug, PartialEq, Eq)]
struct CaptureMark {
    file: String,
    position: u64,
    rows: u64,
    copied: u64,
    held: GtidSet,
}

/// A stage as it is at a moment.
#[derive(Debug, Clone)]
pub struct StageView<P> {
    pub progress: P,
    pub condition: Condition,
    pub lag: Duration,
    /// Transactions that it has yet to carry, where that is known.
    pub behind: Option<u64>,
    pub last_error: Option<LastError>,
}

/// All of it at a moment.
#[derive(Debug)]
pub struct View {
    pub begun: SystemTime,
    pub capture: Option<(StageView<Captured>, Arc<TableRows>)>,
    pub apply: Option<(StageView<Applied>, Arc<ApplyMeter>, String)>,
    pub log: Option<Arc<dyn Log>>,
    pub survey: Survey,
    pub problems: Vec<Problem>,
    pub stall_after: Duration,
}

impl View {
    pub fn is_well(&self) -> bool {
        self.problems.is_empty()
    }

    /// A stage has its connection and something to carry, and nothing has moved for long.
    pub fn is_stalled(&self) -> bool {
        let stages = [
            self.capture.as_ref().map(|(stage, _)| &stage.condition),
            self.apply.as_ref().map(|(stage, ..)| &stage.condition),
        ];
        (stages.into_iter().flatten()).any(|stage| stage.is_stalled(self.stall_after))
    }

    /// Every stage that was started is connected, and nothing is wrong.
    pub fn is_ready(&self) -> bool {
        let stages = [
            self.capture.as_ref().map(|(stage, _)| &stage.condition),
            self.apply.as_ref().map(|(stage, ..)| &stage.condition),
        ];
        let mut stages = stages.into_iter().flatten().peekable();
        stages.peek().is_some() && stages.all(|stage| stage.connected) && self.is_well()
    }
}

impl Board {
    pub fn new(stall_after: Duration) -> Self {
        Self {
            begun: SystemTime::now(),
            stall_after,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put_log(&self, log: &Arc<dyn Log>) {
        self.state().log = Some(Arc::clone(log));
    }

    pub fn put_capture(
        &self,
        progress: watch::Receiver<Captured>,
        tables: Arc<TableRows>,
        source: SourceAddress,
    ) {
        self.state().capture = Some(CaptureStage {
            progress,
            tables,
            source,
            since: Instant::now(),
        });
    }

    pub fn put_apply(
        &self,
        progress: watch::Receiver<Applied>,
        meter: Arc<ApplyMeter>,
        stream: String,
    ) {
        self.state().apply = Some(ApplyStage {
            progress,
            meter,
            stream,
            since: Instant::now(),
        });
    }

    pub fn log(&self) -> Option<Arc<dyn Log>> {
        self.state().log.clone()
    }

    /// The server that is captured, while it is.
    pub fn source(&self) -> Option<Address> {
        match &self.state().capture {
            Some(stage) if stage.progress.has_changed().is_ok() => match &stage.source {
                SourceAddress::Server(address) => Some(address.clone()),
                SourceAddress::Files(_) => None,
            },
            _ => None,
        }
    }

    /// What the log holds has to be asked: only an applier runs here, and it has not reached the log's end.
    pub fn needs_held(&self) -> bool {
        let state = self.state();
        let (None, Some(apply), Some(log)) = (&state.capture, &state.apply, &state.survey.log)
        else {
            return false;
        };
        let applied = apply.progress.borrow().state.as_ref().map(|s| s.offset);
        state.survey.held.is_none() || applied.is_none_or(|applied| applied < log.bounds.end)
    }

    pub fn survey(&self, change: impl FnOnce(&mut Survey)) {
        change(&mut self.state().survey);
    }

    /// Looks once; to be called every second, for movement is seen between two looks.
    pub fn look(&self) -> View {
        let (mut state, now) = (self.state(), Instant::now());
        let state = &mut *state;
        let survey = state.survey.clone();
        let capture = state.capture.as_ref().map(|stage| {
            let view = capture_view(stage, &survey, &mut state.capture_moves, now);
            (view, Arc::clone(&stage.tables))
        });
        let held = match &capture {
            Some((stage, _)) => Some(&stage.progress.held),
            None => survey.held.as_ref(),
        };
        let apply = state.apply.as_ref().map(|stage| {
            let view = apply_view(stage, held, &survey, &mut state.apply_moves, now);
            (view, Arc::clone(&stage.meter), stage.stream.clone())
        });
        let mut problems = Vec::new();
        if let Some((stage, _)) = &capture {
            let condition = &stage.condition;
            problems.extend(health::judge(
                CAPTURE,
                condition,
                self.stall_after,
                CAPTURE_STILL,
            ));
        }
        if let Some((stage, ..)) = &apply {
            let condition = &stage.condition;
            problems.extend(health::judge(
                APPLY,
                condition,
                self.stall_after,
                APPLY_STILL,
            ));
        }
        if let Some((problem, remedy)) = survey.log_trouble.clone() {
            problems.push(Problem {
                stage: LOG,
                problem,
                remedy,
            });
        }
        View {
            begun: self.begun,
            capture,
            apply,
            log: state.log.clone(),
            survey,
            problems,
            stall_after: self.stall_after,
        }
    }
}

fn capture_view(
    stage: &CaptureStage,
    survey: &Survey,
    moves: &mut Movement<CaptureMark>,
    now: Instant,
) -> StageView<Captured> {
    let progress = stage.progress.borrow().clone();
    // It has ended by itself, as it was told to.
    let over = stage.progress.has_changed().is_err();
    let executed = survey.executed.as_ref().filter(|_| !over);
    let behind = executed.map(|executed| count(&executed.subtract(&progress.held)));
    let mark = CaptureMark {
        file: progress.file.clone(),
        position: progress.position,
        rows: progress.rows,
        copied: progress.copies.iter().map(|copy| copy.rows).sum(),
        held: progress.held.clone(),
    };
    moves.see(mark, behind.is_some_and(|behind| behind > 0), now);
    let still = moves.still(now);
    let last_error = progress.last_error.clone();
    let trouble = match (&progress.stall, &last_error) {
        _ if over => None,
        (Some(stall), _) => Some((
            format!("the log takes no records: {}", stall.reason),
            Some("it goes on by itself when the log has room or answers again".to_owned()),
        )),
        (None, Some(error)) if !progress.connected => {
            Some((error.error.clone(), error.remedy.clone()))
        }
        _ => None,
    };
    let stalled = progress.stall.as_ref().map_or(Duration::ZERO, |stall| {
        stall.since.elapsed().unwrap_or_default()
    });
    let lag = Duration::from_micros(progress.lag_us)
        .max(stalled)
        .max(still.unwrap_or_default());
    StageView {
        condition: Condition {
            begun: over || progress.connects > 0 || last_error.is_some(),
            connected: over || progress.connected,
            trouble,
            still,
            waiting: format!("the source is {} transactions ahead", behind.unwrap_or(0)),
            age: now.saturating_duration_since(stage.since),
        },
        lag,
        behind,
        last_error,
        progress,
    }
}

fn apply_view(
    stage: &ApplyStage,
    held: Option<&GtidSet>,
    survey: &Survey,
    moves: &mut Movement<(Option<Offset>, u64)>,
    now: Instant,
) -> StageView<Applied> {
    let progress = stage.progress.borrow().clone();
    let over = stage.progress.has_changed().is_err();
    let applied = progress.state.as_deref();
    let behind = held
        .zip(applied)
        .map(|(held, applied)| count(&held.subtract(&applied.set)));
    let offset = applied.map(|state| state.offset);
    // In records: rows of copies have no GTID.
    let ahead = !over
        && survey
            .log
            .as_ref()
            .zip(offset)
            .is_some_and(|(log, offset)| offset < log.bounds.end);
    moves.see((offset, progress.rows), ahead, now);
    let still = moves.still(now);
    let last_error = progress.last_error.clone();
    let trouble = progress.trouble.clone().filter(|_| !over).map(|trouble| {
        let remedy = last_error.as_ref().and_then(|error| error.remedy.clone());
        (trouble, remedy)
    });
    let lag = match behind {
        Some(0) | None => Duration::ZERO,
        Some(_) => progress
            .lag
            .unwrap_or_default()
            .max(still.unwrap_or_default()),
    };
    StageView {
        condition: Condition {
            begun: over || applied.is_some(),
            connected: over || (applied.is_some() && trouble.is_none()),
            trouble,
            still,
            waiting: match behind {
                Some(behind) => format!("the log is {behind} transactions ahead"),
                None => "the log is ahead".to_owned(),
            },
            age: now.saturating_duration_since(stage.since),
        },
        lag,
        behind,
        last_error,
        progress,
    }
}

pub fn count(set: &GtidSet) -> u64 {
    u64::try_from(set.len()).unwrap_or(u64::MAX)
}
