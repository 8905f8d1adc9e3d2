//! The judge of copies and schema changes together: random histories of definitions and rows run on a full source, into an empty target,
//! while tables are copied, the stream flows, and the program is killed at random moments. In the end `mysqldump` of both servers is
//! equal, text for text.
//!
//! A failure prints the seed, and keeps the folder with what the source was told, the log and what the program said. `BINFERRY_SEED` runs it
//! again: writers run at the same time, so the servers may answer in another order. `BINFERRY_HISTORIES` runs so many, one after the other,
//! of `BINFERRY_SECONDS` each (`make histories`); without it there is one, always of the same seed.

mod definitions;
pub mod dump;
mod rows;
mod session;

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use binferry_generate::{Random, collations, seed};
use binferry_servers::{MySql, database, pair};

use crate::{
    binferry::{Pipeline, Running, SOURCE_USER, TARGET_USER, eventually, executed, output},
    judge,
    schema_changes::may_name,
};
use definitions::Definer;
use session::{Journal, Session, Shape, literal, quoted};

const WRITERS: u64 = 2;

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// What is drawn where nobody asks for more.
const SEED: u64 = 2000;

#[test]
fn copied_and_followed_under_kills() -> Result<()> {
    let (first, histories) = match std::env::var_os("BINFERRY_HISTORIES") {
        Some(_) => (seed(), number("BINFERRY_HISTORIES", 1)),
        None => (number("BINFERRY_SEED", SEED), 1),
    };
    for n in 0..histories {
        let seed = first.wrapping_add(n);
        let pair = pair()?;
        let told = history(&pair.source, &pair.target, seed)?;
        println!("BINFERRY_SEED={seed}: {told}");
    }
    Ok(())
}

/// What is the same for all of a history.
struct Scene<'a> {
    source: &'a MySql,
    target: &'a MySql,
    prefix: String,
    databases: Vec<String>,
    pipeline: Pipeline,
    journal: Journal,
    by_gtid: bool,
    /// Some row images lack columns.
    partial: bool,
    /// The log has begun: what was prepared before it would be refused.
    begun: AtomicBool,
    over: AtomicBool,
    statements: AtomicU64,
    definitions: AtomicU64,
}

fn history(source: &MySql, target: &MySql, seed: u64) -> Result<String> {
    let mut random = Random::new(seed);
    let scene = Scene::new(source, target, &mut random)?;
    let played = scene.play(&mut random);
    if played.is_ok() {
        for database in scene.all_databases(source)? {
            for server in [source, target] {
                server.sql(&format!(
                    "SET foreign_key_checks = 0; DROP DATABASE IF EXISTS {}",
                    quoted(&database)
                ))?;
            }
        }
        return played;
    }
    let Scene { pipeline, .. } = scene;
    let folder = pipeline.folder.keep();
    played.with_context(|| format!("BINFERRY_SEED={seed}; {}", folder.display()))
}

impl<'a> Scene<'a> {
    fn new(source: &'a MySql, target: &'a MySql, random: &mut Random) -> Result<Self> {
        let prefix = database([source, target], "evolved")?;
        let databases = vec![prefix.clone(), format!("{prefix} o'd``é")];
        target.sql(&format!("DROP DATABASE `{prefix}`"))?;
        source.sql(&format!("CREATE DATABASE {}", quoted(&databases[1])))?;
        let by_gtid = random.below(3) > 0;
        let mut pipeline = Pipeline {
            from: "snapshot".to_owned(),
            ddl: "apply",
            tables: format!("{prefix}*.*"),
            ..Pipeline::new(source, target, &prefix)?
        };
        let pattern = prefix.replace('_', "\\_");
        source.sql(&format!(
            "GRANT SELECT ON `{pattern}%`.* TO {SOURCE_USER}@'%'"
        ))?;
        let user = match by_gtid {
            true => "bf_evolving",
            false => TARGET_USER,
        };
        if by_gtid {
            may_name(target, user)?;
            pipeline.target = target.url(user);
        }
        target.sql(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER, CREATE, ALTER, DROP, INDEX, REFERENCES ON `{pattern}%`.* TO {user}@'%'"
        ))?;
        let journal = Journal::create(&pipeline.folder.path().join("source.sql"))?;
        Ok(Self {
            source,
            target,
            prefix,
            databases,
            pipeline,
            journal,
            by_gtid,
            partial: random.below(3) == 0,
            begun: AtomicBool::new(false),
            over: AtomicBool::new(false),
            statements: AtomicU64::new(0),
            definitions: AtomicU64::new(0),
        })
    }

    fn all_databases(&self, server: &MySql) -> Result<Vec<String>> {
        let rows = server.rows(&format!(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE '{}%' ORDER BY 1",
            self.prefix
        ))?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    fn play(&self, random: &mut Random) -> Result<String> {
        let mut collations = collations(&[self.source, self.target])?;
        // Converted to utf8mb4 it makes halves of surrogate pairs, which the server then takes for no text in a statement.
        collations.retain(|(set, _)| *set != "gb18030");
        let definer = Definer::new(
            Random::new(random.word()),
            self.databases.clone(),
            &collations,
            self.by_gtid,
            !self.partial,
        );
        let definer = self.fill(definer, random)?;
        let seconds = number("BINFERRY_SECONDS", 5);
        let copied_at = 1 + random.below(100);
        let kills = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for n in 0..WRITERS {
                let random = Random::new(random.word());
                threads.push(scope.spawn(move || self.write(n, random)));
            }
            threads.push(scope.spawn(move || self.define(definer)));
            let killed = self.kill(random, Duration::from_secs(seconds));
            self.over.store(true, Ordering::Relaxed);
            for thread in threads {
                thread.join().map_err(|_| anyhow!("a writer panicked"))??;
            }
            killed
        })?;
        let running = self.start(random, copied_at)?;
        self.arrived(running)?;
        let databases = self.all_databases(self.source)?;
        let there = self.all_databases(self.target)?;
        ensure!(
            databases == there,
            "databases: {databases:?} and {there:?} at the target"
        );
        dump::equal(self.source, self.target, &databases)?;
        // What its text does not show: types inside documents, digits of a FLOAT.
        for database in &databases {
            judge::equal_if_any(self.source, self.target, database)?;
        }
        let tables = self.source.value(&format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE '{}%'",
            self.prefix
        ))?;
        Ok(format!(
            "{kills} kills, {} definitions, {} changes, {tables} tables in the end",
            self.definitions.load(Ordering::Relaxed),
            self.statements.load(Ordering::Relaxed),
        ))
    }

    /// A full source.
    fn fill<'d>(&self, mut definer: Definer<'d>, random: &mut Random) -> Result<Definer<'d>> {
        let mut session = Session::open(self.source, &self.journal, "fill")?;
        // Or a database without a table.
        let filled = 1 + random.below(2) as usize;
        for database in &self.databases[..filled] {
            session.must(&format!(
                "CREATE TABLE {}.always (id INT PRIMARY KEY)",
                quoted(database)
            ))?;
        }
        for statement in definer.plain() {
            session.must(&statement)?;
        }
        let first = quoted(&self.databases[0]);
        let series = |most: u64| {
            format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {most}) SELECT"
            )
        };
        for (table, columns, rows, values) in [
            (
                "plain0",
                "id, u, p, pad",
                900,
                "i, i, i DIV 2, REPEAT(CHAR(65 + i % 26), i % 50 * 80) FROM n",
            ),
            (
                "plain1",
                "id, u, v, pad",
                900,
                "i, 2000 - i, CONCAT(CHAR(65 + i % 26), i), REPEAT('x', i % 50 * 80) FROM n",
            ),
            (
                "plain2",
                "id, k, pad",
                900,
                "i, UNHEX(LPAD(HEX(i * 7919 % 65536), 8, '0')), REPEAT(CHAR(i % 7), i % 30 * 80) FROM n",
            ),
            ("plain3", "id, u", 300, "i, i + 1 FROM n"),
            (
                "plain4",
                "id, p, n",
                300,
                "i, i DIV 3 + 1, CONCAT('n', i) FROM n",
            ),
            ("plain5", "id, n", 300, "i DIV 2, 'x' FROM n"),
        ] {
            session.must(&format!(
                "INSERT INTO {first}.{table} ({columns}) {} {values}",
                series(rows)
            ))?;
        }
        session.must(&format!(
            "ALTER TABLE {first}.plain4 ADD CONSTRAINT `to 0` FOREIGN KEY (p) REFERENCES {first}.plain0 (id) ON DELETE CASCADE ON UPDATE CASCADE"
        ))?;
        for _ in 0..6 {
            for statement in definer.created() {
                session.may(&statement)?;
            }
        }
        let shapes = self.shapes(&mut session, usize::MAX, random)?;
        for shape in &shapes {
            for _ in 0..8 {
                session.may(&rows::insert("INSERT IGNORE", shape, random))?;
            }
        }
        Ok(definer)
    }

    /// At most so many tables, as they are now.
    fn shapes(
        &self,
        session: &mut Session<'_>,
        most: usize,
        random: &mut Random,
    ) -> Result<Vec<Shape>> {
        let mut shapes = Vec::new();
        let mut tables = session.tables(&self.prefix)?;
        while tables.len() > most {
            tables.swap_remove(random.below(tables.len() as u64) as usize);
        }
        for (database, table) in tables {
            shapes.extend(session.shape(&database, &table)?);
        }
        Ok(shapes)
    }

    fn write(&self, number: u64, mut random: Random) -> Result<()> {
        let mut session = Session::open(self.source, &self.journal, &format!("rows{number}"))?;
        let mut xids = 0;
        while !self.over.load(Ordering::Relaxed) {
            let (settings, full) = rows::settings(self.partial, &mut random);
            session.must(&settings)?;
            let mut shapes = self.shapes(&mut session, 3, &mut random)?;
            // A table without a key that is written all the time can't be copied.
            if random.below(4) > 0 {
                shapes.retain(|shape| !shape.keyless);
            }
            if shapes.is_empty() {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            for _ in 0..6 {
                let mut with_xa = None;
                if self.begun.load(Ordering::Relaxed) && random.below(10) == 0 {
                    xids += 1;
                    with_xa = Some(number * 1_000_000 + xids);
                }
                let statements = rows::transaction(&shapes, full, with_xa, &mut random);
                for statement in statements {
                    let done = session.may(&statement)?;
                    self.statements
                        .fetch_add(u64::from(done), Ordering::Relaxed);
                }
                session.must("ROLLBACK")?;
                std::thread::sleep(Duration::from_millis(random.below(8)));
            }
        }
        Ok(())
    }

    fn define(&self, mut definer: Definer<'_>) -> Result<()> {
        let mut session = Session::open(self.source, &self.journal, "define")?;
        while !self.over.load(Ordering::Relaxed) {
            let shapes = self.shapes(&mut session, 2, &mut definer.random)?;
            session.may(&format!(
                "SET time_zone = '{}', foreign_key_checks = {}, sql_mode = '{}'",
                definer.random.pick(&["+00:00", "+03:00"]),
                u8::from(definer.random.below(3) > 0),
                definer.random.pick(&[
                    "ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO",
                    "",
                    "ANSI_QUOTES,ALLOW_INVALID_DATES",
                    "NO_BACKSLASH_ESCAPES"
                ]),
            ))?;
            for statement in definer.statements(&shapes) {
                let done = session.may(&statement)?;
                self.definitions
                    .fetch_add(u64::from(done), Ordering::Relaxed);
                if self.over.load(Ordering::Relaxed) {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(definer.random.below(25)));
        }
        Ok(())
    }

    /// One process, or two.
    fn start(&self, random: &mut Random, rate: u64) -> Result<Vec<Running>> {
        let rate = (rate * 100).to_string();
        let options = ["--snapshot-rate", &rate, "--snapshot-readers", "3"];
        let command = |name: &str| {
            let mut command = self.pipeline.command(name);
            if name != "apply" {
                command.args(options);
            }
            command
        };
        if random.below(2) == 0 {
            return Ok(vec![self.pipeline.start_command(command("run"), "run")?]);
        }
        let capture = self.pipeline.start_command(command("capture"), "capture")?;
        eventually("the log is there", || {
            Ok(self.pipeline.log().join("id").exists() || capture.said()?.contains("capturing"))
        })?;
        let apply = self.pipeline.start_command(command("apply"), "apply")?;
        Ok(vec![capture, apply])
    }

    /// Starts and kills for so long. Answers how often.
    fn kill(&self, random: &mut Random, longest: Duration) -> Result<u64> {
        let until = Instant::now() + longest;
        let mut kills = 0;
        while Instant::now() < until {
            let rate = 1 + random.below(100);
            let mut running = self.start(random, rate)?;
            let pause = Duration::from_millis(100 + random.below(1_800));
            let ends = Instant::now() + pause;
            while Instant::now() < ends {
                self.look(&mut running)?;
                std::thread::sleep(Duration::from_millis(20));
            }
            for process in running {
                process.kill()?;
                kills += 1;
            }
        }
        Ok(kills)
    }

    /// None of the processes has ended by itself.
    fn look(&self, running: &mut [Running]) -> Result<()> {
        for process in running {
            let said = process.said()?;
            if said.contains("capturing") {
                self.begun.store(true, Ordering::Relaxed);
            }
            if !process.running()? {
                let lines: Vec<_> = said.lines().collect();
                let last = lines[lines.len().saturating_sub(12)..].join("\n");
                return Err(anyhow!("it has ended by itself:\n{last}"));
            }
        }
        Ok(())
    }

    /// Everything that was copied, and all that was done until then, is on the target.
    fn arrived(&self, mut running: Vec<Running>) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            self.look(&mut running)?;
            let status = output(self.pipeline.command("status").arg("--json"))?;
            let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
            let site = &status["log"]["sites"][0];
            let left = |what: &str| site[what].as_array().is_none_or(|list| !list.is_empty());
            if !left("jobs") && !left("copies") {
                break;
            }
            ensure!(Instant::now() < until, "the copy does not end: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
        // Copies have no GTID; this one comes after them.
        self.source.sql(&format!(
            "INSERT INTO {}.always VALUES (1)",
            quoted(&self.databases[0])
        ))?;
        let set = executed(self.source)?;
        loop {
            let waited =
                output(
                    self.pipeline
                        .command("wait")
                        .args(["--gtid", &set, "--timeout", "1s"]),
                )?;
            if waited.status.success() {
                break;
            }
            self.look(&mut running)?;
            ensure!(Instant::now() < until, "not all of it arrives");
        }
        // The records of a copy have no GTID: they may come behind the last transaction.
        let left = format!(
            "SELECT (SELECT COUNT(*) FROM binferry.copy WHERE stream = {0}) + (SELECT COUNT(*) FROM binferry.foreign_key WHERE stream = {0}) + (SELECT COUNT(*) FROM binferry.later_key WHERE stream = {0})",
            literal(&self.pipeline.stream)
        );
        loop {
            let left = self.target.value(&left)?;
            if left == "0" {
                break;
            }
            self.look(&mut running)?;
            ensure!(
                Instant::now() < until,
                "{left} copies or foreign keys are left"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        for process in running {
            process.stop()?;
        }
        Ok(())
    }
}
