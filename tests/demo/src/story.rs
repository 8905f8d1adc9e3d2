//! What happens, in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use binferry_servers::{Kafka, MySql, Pair};
use tokio::runtime::Runtime;

use crate::chance::Chance;
use crate::figures::{Table, count, mebibytes, per_second, time};
use crate::judge::{Verdict, judge};
use crate::lag::Lag;
use crate::load::{self, Counts, Load, Plan};
use crate::pipeline::Pipeline;
use crate::schema::{self, APPLY, CAPTURE};

#[derive(Debug)]
pub struct Options {
    pub binary: PathBuf,
    /// How long the load runs.
    pub seconds: u64,
    /// Transactions per second at most.
    pub rate: u64,
    pub connections: u64,
    pub seed: u64,
    /// 0: the demo's own scenes; otherwise so many kills at random moments.
    pub kills: u64,
    /// Brokers of a Kafka cluster that holds the log; 0: the log is a directory.
    pub kafka: u64,
    /// Of the soak of appliers; 0: it is not what is wanted.
    pub minutes: u64,
}

impl Options {
    /// What happens when, after the load's start, in order.
    fn scenes(&self) -> Vec<(Duration, Scene)> {
        let total = Duration::from_secs(self.seconds);
        if self.kills == 0 {
            let at = |part: u64| total * u32::try_from(part).unwrap_or(0) / 100;
            return SCENES
                .iter()
                .map(|(part, scene)| (at(*part), *scene))
                .collect();
        }
        let mut chance = Chance::new(self.seed);
        let mut moment = || Duration::from_millis(chance.below(self.seconds * 1000));
        let mut scenes: Vec<_> = (0..self.kills).map(|_| (moment(), Scene::Kill)).collect();
        scenes.extend((0..self.kills / 10).map(|_| (moment(), Scene::RestartTarget)));
        if self.kafka > 0 {
            scenes.extend((0..self.kills / 10).map(|_| (moment(), Scene::KillBroker)));
        }
        scenes.extend([(moment(), Scene::Bulk(0)), (moment(), Scene::Bulk(1))]);
        scenes.sort_by_key(|(at, _)| *at);
        scenes
    }
}

/// What happens while the load runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// One transaction of 100,000 rows, while the others go on.
    Bulk(u32),
    Kill,
    RestartTarget,
    /// SIGKILL for the log's leader.
    KillBroker,
}

/// When, in parts of a hundred of the load's time. Two of the kills come while a large transaction is on its way.
const SCENES: [(u64, Scene); 7] = [
    (10, Scene::Kill),
    (20, Scene::Bulk(0)),
    (24, Scene::Kill),
    (42, Scene::Kill),
    (55, Scene::RestartTarget),
    (68, Scene::Bulk(1)),
    (73, Scene::Kill),
];

/// The log's name in Kafka.
const LOG: &str = "demo";

/// After the load has ended.
const CATCH_UP: Duration = Duration::from_secs(180);

pub fn tell(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let folder = Folder::new()?;
    println!("Binferry demo, seed {}", options.seed);
    let Pair { source, target } = Pair::start()?;
    let version = source.value("SELECT VERSION()")?;
    done(
        begun,
        &format!(
            "MySQL {version}: source on port {}, target on port {}",
            source.port(),
            target.port()
        ),
    );
    let kafka = match options.kafka {
        0 => None,
        brokers => {
            let brokers = usize::try_from(brokers)?;
            let kafka = Kafka::builder().brokers(brokers).start()?;
            done(begun, &format!("Kafka: {}", kafka.bootstrap()));
            Some(kafka)
        }
    };
    let password = format!("pw-{:x}", Chance::new(options.seed).next());
    schema::create(&source, &target, &password)?;
    let counts = Arc::new(Counts::default());
    let runtime = Runtime::new().context("starting a runtime")?;
    runtime.block_on(load::prepare(&source.opts(), &counts))?;
    let tables = schema::tables(&source)?.len();
    done(
        begun,
        &format!(
            "{tables} tables on both servers, {} rows loaded at the source",
            count(schema::ACCOUNTS + schema::SEATS + schema::TICKETS)
        ),
    );

    let mut show = Show {
        pipeline: Pipeline::new(
            options.binary.clone(),
            source.url(CAPTURE),
            target.url(APPLY),
            password,
            kafka
                .as_ref()
                .map(|kafka| format!("kafka://{}/{LOG}", kafka.bootstrap())),
            folder.path(),
        ),
        kafka,
        lag: Arc::new(Lag::default()),
        source,
        target,
        counts,
        runtime,
        begun,
        restarts: 0,
        broker_kills: 0,
    };
    let started = Instant::now();
    show.under_load(options)?;
    show.catch_up()?;
    let carried = started.elapsed();
    let committed = show.counts.committed.load(Ordering::Relaxed);
    let verdict = judge(&show.source, &show.target, committed)?;
    done(
        begun,
        &format!(
            "equal checksums in all {} tables, {} rows",
            verdict.tables,
            count(verdict.rows_held)
        ),
    );
    done(
        begun,
        &format!(
            "all {} GTIDs of the source applied, each once",
            count(verdict.gtids)
        ),
    );
    println!("\n{}", show.figures(&verdict, carried));
    folder.remove()
}

pub fn done(begun: Instant, what: &str) {
    println!("{:>6.1} s  ✓ {what}", begun.elapsed().as_secs_f64());
}

pub fn happens(begun: Instant, what: &str) {
    println!("{:>6.1} s  ↯ {what}", begun.elapsed().as_secs_f64());
}

struct Show {
    pipeline: Pipeline,
    lag: Arc<Lag>,
    source: MySql,
    target: MySql,
    counts: Arc<Counts>,
    runtime: Runtime,
    begun: Instant,
    restarts: u32,
    kafka: Option<Kafka>,
    broker_kills: u32,
}

impl Show {
    fn under_load(&mut self, options: &Options) -> Result<()> {
        self.pipeline.start(false)?;
        let plan = Plan {
            seed: options.seed,
            connections: options.connections.max(1),
            transactions_per_second: options.rate,
            vector: schema::has_vector(&self.source)?,
        };
        let load = {
            let _inside = self.runtime.enter();
            Load::start(&self.source.opts(), plan, Arc::clone(&self.counts))
        };
        self.runtime
            .spawn(Arc::clone(&self.lag).watch(self.target.opts()));
        done(
            self.begun,
            &format!(
                "binferry runs; load: {} connections, {} s",
                plan.connections, options.seconds
            ),
        );
        let started = Instant::now();
        let total = Duration::from_secs(options.seconds);
        let mut bulks = Vec::new();
        for (at, scene) in options.scenes() {
            self.watch(&load, started + at)?;
            match scene {
                Scene::Bulk(generation) => {
                    let (opts, counts) = (self.source.opts(), Arc::clone(&self.counts));
                    let rows = count(load::BULK_ROWS);
                    happens(
                        self.begun,
                        &format!("one transaction of {rows} rows begins"),
                    );
                    bulks.push(
                        self.runtime
                            .spawn(async move { load::bulk(&opts, &counts, generation).await }),
                    );
                }
                Scene::Kill => self.kill()?,
                Scene::KillBroker => self.kill_broker()?,
                Scene::RestartTarget => {
                    happens(self.begun, "the target is restarted");
                    self.target.restart()?;
                    self.restarts += 1;
                    done(self.begun, "the target is back");
                }
            }
        }
        self.watch(&load, started + total)?;
        self.lag.stop();
        for bulk in bulks {
            self.runtime
                .block_on(bulk)
                .context("a large transaction panicked")??;
        }
        self.runtime.block_on(load.stop())
    }

    /// Until then, all must go on.
    fn watch(&mut self, load: &Load, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.pipeline.check()?;
            // Its error is told when it is stopped.
            if load.has_failed() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        self.pipeline.kill()?;
        let through = self
            .target
            .value("SELECT COUNT(*) FROM shop.ledger")?
            .parse()
            .unwrap_or(0);
        let committed = self.counts.committed.load(Ordering::Relaxed);
        happens(
            self.begun,
            &format!(
                "binferry killed (SIGKILL) with {} of {} transactions through; starts again",
                count(through),
                count(committed)
            ),
        );
        self.pipeline.start(false)
    }

    fn kill_broker(&mut self) -> Result<()> {
        let kafka = self.kafka.as_ref().context("the log is not in Kafka")?;
        // Before the first capture there is no topic, and any broker will do.
        let leader = match kafka.topics()?.contains(&format!("{LOG}.log")) {
            true => kafka.leader(&format!("{LOG}.log"))?,
            false => 0,
        };
        kafka.kill(leader)?;
        happens(self.begun, &format!("Kafka's broker {leader} killed"));
        kafka.start_again(leader)?;
        self.broker_kills += 1;
        done(self.begun, "the broker is back");
        Ok(())
    }

    /// A clean stop, and a run that ends when everything up to now is through.
    fn catch_up(&mut self) -> Result<()> {
        self.pipeline.terminate()?;
        done(
            self.begun,
            "load ended; binferry stopped by SIGTERM, exit code 0",
        );
        self.pipeline.start(true)?;
        self.pipeline.wait("with --until now", CATCH_UP)?;
        done(
            self.begun,
            "binferry run --until now: everything is through, exit code 0",
        );
        let rolled_back = self.counts.rolled_back.load(Ordering::Relaxed);
        ensure!(
            rolled_back > 0,
            "the load was too short: it rolled nothing back"
        );
        Ok(())
    }

    fn figures(&self, verdict: &Verdict, carried: Duration) -> Table {
        let (median, most) = self.lag.figures();
        let mut table =
            Table::new("Both servers hold the same rows; every transaction was applied once");
        table.row("transactions", count(verdict.transactions));
        for (kind, number) in self.counts.kinds() {
            if number > 0 {
                table.row(&format!("  {kind}"), count(number));
            }
        }
        table.row(
            "rolled back, and not carried",
            count(self.counts.rolled_back.load(Ordering::Relaxed)),
        );
        table.row("row changes", count(verdict.row_changes));
        table.row(
            "rows per second, load and restarts included",
            per_second(verdict.row_changes, carried),
        );
        table.row(
            "transactions on the target",
            count(verdict.target_transactions),
        );
        table.row(
            "row changes on the target",
            count(verdict.target_row_changes),
        );
        table.row("lag, median", time(median));
        table.row("lag, most (it was down, or in 100,000 rows)", time(most));
        table.row("binferry killed", format!("{} times", self.pipeline.kills));
        table.row("target restarted", format!("{} time", self.restarts));
        if self.kafka.is_some() {
            table.row(
                "Kafka's leader killed",
                format!("{} times", self.broker_kills),
            );
        }
        table.row(
            "binferry's memory, peak",
            mebibytes(self.pipeline.peak_memory),
        );
        if self.kafka.is_none() {
            table.row("log on disk", mebibytes(self.pipeline.log_bytes()));
        }
        table.row("time in all", time(self.begun.elapsed()));
        table
    }
}

/// Where log and output lie; it stays after a failure, to be looked at.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Result<Self> {
        let beside = std::env::current_exe()?;
        let target = beside
            .parent()
            .and_then(Path::parent)
            .context("no folder for the log")?;
        let path = target.join(format!("demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Folder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.0).with_context(|| format!("removing {}", self.0.display()))
    }
}
