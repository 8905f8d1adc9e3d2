//! The soak of appliers: two of them on one target, whichever was started last owning the stream, with a random number of workers each. They are
//! killed, paused (one that comes back finds that it owns nothing any more), cut off, and made to lose commits and their answers, while a shop's
//! load with foreign keys and one that is hard to carry are captured; the capture is killed too. What happens when comes out of the seed.
//!
//! All the while a reader looks at the target: in every state it shows the shop's books must be right, and of two counters that are incremented in
//! turns (`binferry_load::relay`) none may run ahead. At the end the demo's judge compares the servers.

mod process;
mod reader;
mod script;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use binferry_load::{
    LEDGER, Plan, Writers,
    hard::{self, Hard},
    relay::{self, Relay},
    tpcc::{self, Scale, Shop},
};
use binferry_servers::{CommitFault, MySql, Pair, Proxy};

use crate::{
    chance::Chance,
    figures::{Table, count, per_second, time},
    judge::{Verdict, judge},
    schema::{self, APPLY, CAPTURE, DATABASE},
    story::{Folder, Options, done, happens},
};
use process::Process;
use reader::Reader;
use script::{Deed, SLOTS};

/// Until everything has arrived, after the load's end.
const CATCH_UP: Duration = Duration::from_secs(300);
const SHOP: Scale = Scale {
    warehouses: 2,
    customers: 100,
    items: 1_000,
};
/// Exit code of usage and configuration: an applier that was taken over from ends with it.
const SUPERSEDED: (i32, &str) = (2, "another applier has taken over");

pub fn soak(options: &Options, minutes: u64) -> Result<()> {
    let folder = Folder::new()?;
    play(options, minutes, folder.path()).with_context(|| {
        format!(
            "what the processes said, and the log, are in {}; --seed {} --minutes {minutes} does the same again",
            folder.path().display(),
            options.seed
        )
    })?;
    folder.remove()
}

fn play(options: &Options, minutes: u64, folder: &Path) -> Result<()> {
    let begun = Instant::now();
    println!(
        "Soak of appliers: seed {}, {minutes} minutes; again: --seed {0} --minutes {minutes}",
        options.seed
    );
    let mut chance = Chance::new(options.seed);
    let password = format!("pw-{:x}", chance.next());
    let Pair { source, target } = Pair::start()?;
    schema_and_fill(&source, &target, &password)?;
    done(begun, "two servers, tables on both, filled at the source");
    let mut stage = Stage {
        begun,
        capture: None,
        slots: Vec::new(),
        counts: Counts::default(),
        log: folder.join("log").display().to_string(),
        folder,
        options,
        password,
        source,
        target,
    };
    for _ in 0..SLOTS {
        stage.slots.push(Slot {
            proxy: Proxy::to(&stage.target)?,
            process: None,
            paused: false,
        });
    }
    stage.capture()?;
    stage.wait_for_log()?;
    let reader = Reader::start(&stage.target);
    let load = Load::start(&stage.source, options);
    let started = Instant::now();
    for (at, deed) in script::draw(chance, Duration::from_secs(minutes * 60)) {
        let at = started + at;
        while Instant::now() < at {
            ensure!(!load.has_ended(), "the load has ended: {:?}", load.stop());
            reader.check()?;
            stage.look()?;
            std::thread::sleep(Duration::from_millis(20).min(at - Instant::now().min(at)));
        }
        stage.carry_out(deed)?;
    }
    let transactions = load.stop()?;
    let states = reader.stop()?;
    done(begun, "load ended; no reader saw what the source had not");
    stage.catch_up()?;
    // Of what fills the tables.
    let filled = tpcc_fill().len() as u64 + 1;
    let verdict = judge(&stage.source, &stage.target, transactions + filled)?;
    println!("\n{}", stage.figures(&verdict, states));
    Ok(())
}

fn tpcc_fill() -> Vec<String> {
    let mut fill = tpcc::fill(SHOP);
    // The session's setting is no transaction.
    fill.retain(|statement| statement.starts_with("INSERT"));
    fill
}

fn schema_and_fill(source: &MySql, target: &MySql, password: &str) -> Result<()> {
    let tables = format!(
        "{LEDGER}; {}{}{}{}",
        tpcc::TABLES,
        hard::tables(true),
        hard::family_tables(true),
        relay::TABLES
    );
    for server in [source, target] {
        server.sql(&format!(
            "CREATE DATABASE {DATABASE}; USE {DATABASE}; {tables}"
        ))?;
    }
    schema::accounts(source, target, password)?;
    let mut fill = format!("USE {DATABASE}; SET SESSION cte_max_recursion_depth = 100000;");
    for statement in tpcc_fill().iter().map(String::as_str).chain([relay::ROWS]) {
        fill += &format!("BEGIN; {statement}; INSERT INTO ledger (what) VALUES ('fill'); COMMIT;");
    }
    source.sql(&fill)?;
    Ok(())
}

/// Three kinds at once.
struct Load(Vec<Writers>);

impl Load {
    fn start(source: &MySql, options: &Options) -> Self {
        let opts = source.opts();
        let plan = |part: u64, connections, per_second| Plan {
            seed: options.seed.wrapping_add(1000 * part),
            connections,
            per_second: Some(per_second),
            transactions: None,
            ledger: true,
        };
        let half = options.connections.div_ceil(2);
        Self(vec![
            Writers::start(&opts, DATABASE, plan(1, half, options.rate * 4 / 10), |n| {
                Shop::new(SHOP, n)
            }),
            Writers::start(
                &opts,
                DATABASE,
                plan(2, half, options.rate * 4 / 10),
                |_| Hard,
            ),
            Writers::start(&opts, DATABASE, plan(3, 1, options.rate * 2 / 10), |_| {
                Relay::default()
            }),
        ])
    }

    fn has_ended(&self) -> bool {
        self.0.iter().any(Writers::has_ended)
    }

    /// How many were committed.
    fn stop(self) -> Result<u64> {
        let ended: Result<Vec<u64>> = self.0.into_iter().map(Writers::stop).collect();
        Ok(ended?.iter().sum())
    }
}

/// A place for an applier, with a way to the target of its own.
struct Slot {
    process: Option<Process>,
    paused: bool,
    proxy: Proxy,
}

#[derive(Debug, Default)]
struct Counts {
    starts: u64,
    takeovers: u64,
    kills: u64,
    pauses: u64,
    cuts: u64,
    capture_kills: u64,
}

struct Stage<'a> {
    begun: Instant,
    capture: Option<Process>,
    slots: Vec<Slot>,
    counts: Counts,
    log: String,
    folder: &'a Path,
    options: &'a Options,
    password: String,
    source: MySql,
    target: MySql,
}

impl Stage<'_> {
    fn process(&self, name: &str, arguments: &[&str]) -> Result<Process> {
        let output = self.folder.join(format!("{name}.stderr"));
        Process::start(&self.options.binary, arguments, &self.password, &output)
    }

    fn capture(&mut self) -> Result<()> {
        let source = self.source.url(CAPTURE);
        let tables = format!("{DATABASE}.*");
        self.capture = Some(self.process(
            "capture",
            &[
                "capture", "--source", &source, "--log", &self.log, "--from", "earliest",
                "--tables", &tables,
            ],
        )?);
        Ok(())
    }

    /// Appliers want one that is there.
    fn wait_for_log(&mut self) -> Result<()> {
        let deadline = Instant::now() + CATCH_UP;
        loop {
            let mut status = self.process("status", &["status", "--log", &self.log])?;
            if status.wait(CATCH_UP).is_ok() {
                return Ok(());
            }
            self.look()?;
            ensure!(Instant::now() < deadline, "the capture makes no log");
        }
    }

    fn start(&mut self, slot: usize, workers: u64) -> Result<()> {
        let target = format!("{}/?tls=disabled", self.slots[slot].proxy.url(APPLY));
        let workers = workers.to_string();
        let arguments = [
            "apply",
            "--ddl",
            "ignore",
            "--target",
            &target,
            "--log",
            &self.log,
            "--workers",
            &workers,
        ];
        let process = self.process(&format!("apply-{slot}"), &arguments)?;
        self.slots[slot].process = Some(process);
        self.slots[slot].paused = false;
        self.counts.starts += 1;
        Ok(())
    }

    /// Nobody may have ended of its own, but appliers that were taken over from.
    fn look(&mut self) -> Result<()> {
        if let Some(capture) = &mut self.capture {
            capture.must_run()?;
        }
        for slot in &mut self.slots {
            let Some(process) = &mut slot.process else {
                continue;
            };
            if let Some((code, said)) = process.ended()? {
                let (expected, text) = SUPERSEDED;
                if code != Some(expected) || !said.contains(text) {
                    bail!("an applier ended with {code:?}:\n{said}");
                }
                self.counts.takeovers += 1;
                slot.process = None;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, deed: Deed) -> Result<()> {
        let Deed {
            slot,
            workers,
            what,
        } = deed;
        let there = &mut self.slots[slot];
        let Some(process) = &mut there.process else {
            // Whatever was to happen to it, it is not there.
            if what != script::What::Resume {
                self.start(slot, workers)?;
            }
            return Ok(());
        };
        use script::What::{Cut, Delay, Fault, Kill, KillCapture, Pause, Resume, Start};
        match what {
            // The other one is asked to come, or to go on.
            Start => {
                let other = (slot + 1) % SLOTS;
                if self.slots[other].process.is_none() {
                    self.start(other, workers)?;
                }
            }
            Kill => {
                process.kill()?;
                there.process = None;
                self.counts.kills += 1;
                happens(self.begun, &format!("applier {slot} killed"));
            }
            Pause => {
                process.pause()?;
                there.paused = true;
                self.counts.pauses += 1;
                // Its rows are locked for as long as it sleeps, unless another one comes.
                let other = (slot + 1) % SLOTS;
                if self.slots[other].process.is_none() {
                    self.start(other, workers)?;
                }
                happens(self.begun, &format!("applier {slot} paused"));
            }
            Resume if there.paused => {
                process.resume()?;
                there.paused = false;
            }
            Resume => {}
            Cut => {
                there.proxy.cut();
                self.counts.cuts += 1;
            }
            Fault { answer } => there.proxy.fail_next_commit(match answer {
                true => CommitFault::LoseAnswer,
                false => CommitFault::LoseRequest,
            }),
            Delay { millis } => {
                let delay = Duration::from_millis(millis);
                there.proxy.delay(delay, delay);
            }
            KillCapture => {
                if let Some(capture) = &mut self.capture {
                    capture.kill()?;
                }
                self.counts.capture_kills += 1;
                self.capture()?;
            }
        }
        Ok(())
    }

    /// All of them go, and one more brings what is left.
    fn catch_up(&mut self) -> Result<()> {
        for slot in &mut self.slots {
            slot.proxy.delay(Duration::ZERO, Duration::ZERO);
            if let Some(process) = &mut slot.process {
                process.resume()?;
                process.kill()?;
                slot.process = None;
            }
        }
        if let Some(mut capture) = self.capture.take() {
            capture.terminate(CATCH_UP)?;
        }
        let (source, target) = (self.source.url(CAPTURE), self.target.url(APPLY));
        let tables = format!("{DATABASE}.*");
        for (name, arguments) in [
            (
                "capture",
                vec![
                    "capture", "--source", &source, "--log", &self.log, "--until", "now",
                    "--tables", &tables,
                ],
            ),
            (
                "apply-last",
                vec![
                    "apply", "--ddl", "ignore", "--target", &target, "--log", &self.log, "--until",
                    "now",
                ],
            ),
        ] {
            // What the killed ones left may be most of it.
            let patience = CATCH_UP.max(self.begun.elapsed());
            self.process(name, &arguments)?.wait(patience)?;
            done(self.begun, &format!("{name} --until now: exit code 0"));
        }
        Ok(())
    }

    fn figures(&self, verdict: &Verdict, states: u64) -> Table {
        let mut table =
            Table::new("Both servers hold the same rows; every transaction was applied once");
        table.row("seed", self.options.seed.to_string());
        table.row("transactions", count(verdict.transactions));
        table.row("row changes", count(verdict.row_changes));
        table.row(
            "rows per second, all faults included",
            per_second(verdict.row_changes, self.begun.elapsed()),
        );
        table.row(
            "transactions on the target",
            count(verdict.target_transactions),
        );
        table.row("states that the reader saw", count(states));
        let lost: u64 = self.slots.iter().map(|s| s.proxy.commits_failed()).sum();
        for (label, number) in [
            ("appliers started", self.counts.starts),
            ("  taken over from", self.counts.takeovers),
            ("  killed", self.counts.kills),
            ("  paused", self.counts.pauses),
            ("  cut off", self.counts.cuts),
            ("commits, or their answers, lost", lost),
            ("capture killed", self.counts.capture_kills),
        ] {
            table.row(label, count(number));
        }
        table.row("time in all", time(self.begun.elapsed()));
        table
    }
}
