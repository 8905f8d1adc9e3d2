//! What brokers do to a log that is written and read: they die, lose their disk, pause, and answers get lost. The processes are the same
//! from the first fault to the last; each test ends with the end-state check.

use std::{
    net::TcpListener,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use binferry_servers::{Kafka, Pair, pair, peak_memory};

use crate::{
    binferry::{Pipeline, Running, eventually, refused},
    faults::proved,
    load::{Load, prepare},
};

/// What each process may have resident, whatever it waits for.
const MEMORY: u64 = 256 * 1024 * 1024;
const WAITS: &str = "the log takes no records; waiting";
const GOES_ON: &str = "the brokers acknowledge again";

/// In a line of the program's log.
fn lag_ms(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("lag_ms=")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A cluster whose brokers come to harm, for one test at a time.
struct Harmed(Mutex<Option<Kafka>>);

impl Harmed {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// With all its brokers, whatever the test before has left.
    fn whole(&self, brokers: usize) -> Result<Turn<'_>> {
        let mut turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*turn {
            Some(kafka) => (0..brokers).try_for_each(|node| kafka.start_again(node))?,
            None => *turn = Some(Kafka::builder().brokers(brokers).proxied().start()?),
        }
        Ok(Turn(turn))
    }
}

struct Turn<'a>(MutexGuard<'a, Option<Kafka>>);

impl Turn<'_> {
    fn kafka(&self) -> Result<&Kafka> {
        self.0.as_ref().context("the cluster has gone")
    }
}

static ONE: Harmed = Harmed::new();
static THREE: Harmed = Harmed::new();

/// A capture and an applier, each a process, and a load.
struct Busy<'a> {
    pair: &'a Pair,
    database: String,
    pipeline: Pipeline,
    capture: Running,
    apply: Running,
    load: Load,
}

impl Busy<'static> {
    fn start(kafka: &Kafka, bootstrap: &str, purpose: &str, seed: u64) -> Result<Self> {
        Self::over(pair()?, kafka, bootstrap, purpose, seed)
    }
}

impl<'a> Busy<'a> {
    /// `bootstrap` is how the program reaches the cluster.
    fn over(
        pair: &'a Pair,
        kafka: &Kafka,
        bootstrap: &str,
        purpose: &str,
        seed: u64,
    ) -> Result<Self> {
        let database = pair.database(purpose)?;
        prepare(&pair.source, &pair.target, &database)?;
        let mut pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
        let name = pipeline.topic();
        let name = name.trim_end_matches(".log");
        pipeline.place = Some(format!("kafka://{bootstrap}/{name}"));
        let capture = pipeline.start("capture")?;
        eventually("it captures", || Ok(capture.said()?.contains("capturing")))?;
        let busy = Self {
            apply: pipeline.start("apply")?,
            load: Load::start(&pair.source, &database, seed),
            pair,
            database,
            pipeline,
            capture,
        };
        busy.goes_through(100)?;
        Ok(busy)
    }

    /// So many more transactions come to the target.
    fn goes_through(&self, more: u64) -> Result<()> {
        self.load.wait_for(more)?;
        let ledger = format!(
            "SELECT COALESCE(MAX(id), 0) FROM `{}`.ledger",
            self.database
        );
        let newest: u64 = self.pair.source.value(&ledger)?.trim().parse()?;
        eventually("it comes to the target", || {
            Ok(self.pair.target.value(&ledger)?.trim().parse::<u64>()? >= newest)
        })
    }

    /// How often the capture has begun to wait, and gone on again.
    fn waits(&self) -> Result<(usize, usize)> {
        let said = self.capture.said()?;
        Ok((said.matches(WAITS).count(), said.matches(GOES_ON).count()))
    }

    /// While nothing can be written, the source's clients write on, and the capture says why it doesn't.
    fn held_up_nowhere_but_in_the_capture(&self, waits: usize) -> Result<()> {
        eventually("the capture says that it waits", || {
            Ok(self.waits()?.0 >= waits)
        })?;
        self.load.wait_for(500)
    }

    fn proved(mut self) -> Result<()> {
        self.goes_through(50)?;
        self.load.stop()?;
        let (source, target) = (&self.pair.source, &self.pair.target);
        proved(&self.pipeline, source, target, &self.database)?;
        for (name, process) in [("capture", &mut self.capture), ("apply", &mut self.apply)] {
            ensure!(process.running()?, "{name} has ended: {}", process.said()?);
            let peak = peak_memory(process.pid()).context("a process without memory")?;
            ensure!(peak < MEMORY, "{name} had {peak} bytes resident");
        }
        self.capture.stop()?;
        self.apply.stop()
    }
}

#[test]
fn leaders_are_killed_under_load() -> Result<()> {
    let turn = THREE.whole(3)?;
    let kafka = turn.kafka()?;
    let busy = Busy::start(kafka, &kafka.bootstrap(), "k_leaders", 51)?;
    let topic = busy.pipeline.topic();
    for _ in 0..3 {
        let leader = kafka.leader(&topic)?;
        kafka.kill(leader)?;
        eventually("another one leads", || Ok(kafka.leader(&topic)? != leader))?;
        busy.goes_through(50)?;
        kafka.start_again(leader)?;
        eventually("all are in sync", || Ok(kafka.in_sync(&topic)?.len() == 3))?;
    }
    busy.proved()
}

#[test]
fn not_enough_replicas_are_in_sync() -> Result<()> {
    let turn = THREE.whole(3)?;
    let kafka = turn.kafka()?;
    let busy = Busy::start(kafka, &kafka.bootstrap(), "k_replicas", 52)?;
    let topic = busy.pipeline.topic();
    let settings = kafka.topic_settings(&topic)?;
    ensure!(
        settings.contains(&("min.insync.replicas".to_owned(), "2".to_owned())),
        "made with {settings:?}"
    );

    // The leader is there and refuses, because a follower is missing.
    kafka.alter_topic(&topic, &[("min.insync.replicas", "3")])?;
    let follower = (kafka.leader(&topic)? + 1) % 3;
    kafka.kill(follower)?;
    busy.held_up_nowhere_but_in_the_capture(1)?;
    kafka.start_again(follower)?;
    eventually("it goes on", || Ok(busy.waits()?.1 >= 1))?;
    eventually("all are in sync", || Ok(kafka.in_sync(&topic)?.len() == 3))?;
    kafka.alter_topic(&topic, &[("min.insync.replicas", "2")])?;
    busy.goes_through(50)?;

    // Two of three: the controllers' majority goes with them.
    let waits = busy.waits()?.0;
    let survivor = kafka.leader(&topic)?;
    let (one, other) = ((survivor + 1) % 3, (survivor + 2) % 3);
    kafka.kill(one)?;
    kafka.kill(other)?;
    busy.held_up_nowhere_but_in_the_capture(waits + 1)?;
    std::thread::scope(|scope| {
        let second = scope.spawn(|| kafka.start_again(other));
        kafka.start_again(one)?;
        second
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    busy.proved()
}

#[test]
fn a_minute_without_the_broker() -> Result<()> {
    // Servers of its own: nobody has to wait for its minute, or to read its binlog.
    let (pair, kafka) = (Pair::start()?, Kafka::start()?);
    let busy = Busy::over(&pair, &kafka, &kafka.bootstrap(), "k_minute", 53)?;
    for server in [&pair.source, &pair.target] {
        let database = &busy.database;
        server.sql(&format!(
            "CREATE TABLE `{database}`.bulk (id INT AUTO_INCREMENT PRIMARY KEY, t LONGTEXT)"
        ))?;
    }
    kafka.kill(0)?;
    let back = Instant::now() + Duration::from_secs(60);
    busy.held_up_nowhere_but_in_the_capture(1)?;
    // More than it may have resident.
    for _ in 0..30 {
        let database = &busy.database;
        pair.source.sql(&format!("INSERT INTO `{database}`.bulk (t) WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 10) SELECT REPEAT(HEX(RANDOM_BYTES(512)), 1024) FROM s"))?;
    }
    eventually("the progress shows the lag", || {
        let said = busy.capture.said()?;
        let mut progress = said
            .lines()
            .filter(|line| line.contains("at=\"the log takes no records"));
        Ok(progress.any(|line| lag_ms(line).is_some_and(|lag| lag >= 2_000)))
    })?;
    std::thread::sleep(back.saturating_duration_since(Instant::now()));
    busy.load.wait_for(100)?;
    kafka.start_again(0)?;
    eventually("it goes on", || Ok(busy.waits()?.1 >= 1))?;
    busy.proved()
}

#[test]
fn the_broker_is_restarted_and_paused() -> Result<()> {
    let turn = ONE.whole(1)?;
    let kafka = turn.kafka()?;
    let busy = Busy::start(kafka, &kafka.bootstrap(), "k_restart", 54)?;
    for _ in 0..2 {
        kafka.stop(0)?;
        busy.load.wait_for(100)?;
        kafka.start_again(0)?;
        busy.goes_through(50)?;
    }
    let waits = busy.waits()?.0;
    kafka.pause(0)?;
    let outcome = busy.held_up_nowhere_but_in_the_capture(waits + 1);
    kafka.resume(0)?;
    outcome?;
    busy.proved()
}

#[test]
fn acknowledgements_are_lost_after_the_write() -> Result<()> {
    let turn = ONE.whole(1)?;
    let kafka = turn.kafka()?;
    let busy = Busy::start(kafka, &kafka.proxied_bootstrap()?, "k_answers", 55)?;
    let proxy = kafka.proxy(0)?;
    for _ in 0..5 {
        let lost = proxy.acknowledgements_lost();
        proxy.lose_next_acknowledgement();
        eventually("an acknowledgement is lost", || {
            Ok(proxy.acknowledgements_lost() > lost)
        })?;
        busy.load.wait_for(20)?;
    }
    for _ in 0..3 {
        proxy.cut();
        busy.goes_through(20)?;
    }
    // A network that swallows everything, then breaks.
    let waits = busy.waits()?.0;
    proxy.stall(true);
    let outcome = busy.held_up_nowhere_but_in_the_capture(waits + 1);
    proxy.cut();
    proxy.stall(false);
    outcome?;
    busy.proved()
}

#[test]
fn the_brokers_disk_is_full() -> Result<()> {
    let turn = ONE.whole(1)?;
    let kafka = turn.kafka()?;
    let busy = Busy::start(kafka, &kafka.bootstrap(), "k_disk", 56)?;
    let waits = busy.waits()?.0;
    kafka.fill_disk(0)?;
    kafka.wait_for_end(0)?;
    busy.held_up_nowhere_but_in_the_capture(waits + 1)?;
    kafka.start_again(0)?;
    busy.proved()
}

#[test]
fn no_broker_at_the_start() -> Result<()> {
    let turn = ONE.whole(1)?;
    let kafka = turn.kafka()?;
    let pair = pair()?;
    let database = pair.database("k_start")?;
    prepare(&pair.source, &pair.target, &database)?;

    // Where nobody listens, and nobody will.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut pipeline = Pipeline::in_kafka(&pair.source, &pair.target, &database, kafka)?;
    let place = pipeline.place.replace(format!("kafka://{nobody}/nobody"));
    let address = nobody.to_string();
    for name in ["capture", "apply"] {
        let says = [address.as_str(), "out of reach", "Connection refused"];
        refused(pipeline.command(name).args(["--retry-for", "3s"]), 4, &says)?;
    }

    // One that comes up late is waited for.
    pipeline.place = place;
    let started = |name: &str, ready: &str| -> Result<Running> {
        kafka.stop(0)?;
        let running = pipeline.start(name)?;
        eventually("it says that it waits", || {
            Ok(running
                .said()?
                .contains("the log is out of reach; trying again"))
        })?;
        kafka.start_again(0)?;
        eventually("it has started", || Ok(running.said()?.contains(ready)))?;
        Ok(running)
    };
    let capture = started("capture", "capturing")?;
    let load = Load::start(&pair.source, &database, 57);
    load.wait_for(50)?;
    let apply = started("apply", "applying")?;
    load.wait_for(50)?;
    load.stop()?;
    proved(&pipeline, &pair.source, &pair.target, &database)?;
    capture.stop()?;
    apply.stop()
}
